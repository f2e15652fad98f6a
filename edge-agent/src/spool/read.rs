//! Handing out, and what the spool holds in numbers.

use std::io;

use models::time::Timestamp;

use super::disk::{Disk, DiskFile};
use super::format::{self, At, RECORD_HEADER, RecordHeader};
use super::{Cursor, Record, Spool, Stats};

/// Places to go on from that are remembered.
const READERS: usize = 2;

/// A record's body, or `None` when it is damaged.
pub(super) fn read_body(
    file: &impl DiskFile,
    offset: u64,
    header: &RecordHeader,
) -> io::Result<Option<Vec<u8>>> {
    let mut body = vec![0; usize::try_from(header.body_len()).map_err(io::Error::other)?];
    let n = file.read_at(&mut body, offset + RECORD_HEADER as u64)?;
    body.truncate(n);
    Ok(header.body_is_intact(&body).then_some(body))
}

impl<D: Disk> Spool<D> {
    /// The first intact, synced record after `after` that is not committed.
    ///
    /// # Errors
    /// The disk's. Damaged records are counted, logged and passed over.
    pub fn read(&mut self, after: u64) -> io::Result<Option<Record>> {
        let after = after.max(self.committed);
        let known = self.cursors.iter().position(|cursor| cursor.after == after);
        let mut cursor = match known.and_then(|i| self.cursors.remove(i)) {
            Some(cursor) => cursor,
            None => match self
                .segments
                .iter()
                .rev()
                .find(|s| s.base <= after + 1)
                .or(self.segments.front())
            {
                Some(segment) => Cursor {
                    after,
                    base: segment.base,
                    offset: segment.data,
                },
                None => return Ok(None),
            },
        };
        loop {
            let Some(i) = self
                .segments
                .iter()
                .position(|segment| segment.base >= cursor.base)
            else {
                return Ok(None);
            };
            let segment = &self.segments[i];
            if segment.base > cursor.base {
                (cursor.base, cursor.offset) = (segment.base, segment.data);
            }
            let at = if cursor.offset < segment.len {
                format::look(&*segment.file, cursor.offset, 0)?
            } else {
                At::End
            };
            match at {
                At::Record(record) if record.seq > self.synced => break,
                At::Record(record) => {
                    let offset = cursor.offset;
                    cursor.offset += record.total_len();
                    if record.seq <= after {
                        continue;
                    }
                    let Some(mut body) = read_body(&*segment.file, offset, &record)? else {
                        if self.reported.insert((cursor.base, offset)) {
                            self.damaged += 1;
                            tracing::error!(
                                seq = record.seq,
                                readings = record.readings,
                                "a batch in the spool is damaged: its readings are lost"
                            );
                        }
                        continue;
                    };
                    cursor.after = record.seq;
                    self.remember(cursor);
                    self.handed_out = self.handed_out.max(record.seq);
                    let payload = body.split_off(record.resume_len as usize);
                    return Ok(Some(Record {
                        seq: record.seq,
                        readings: record.readings,
                        payload,
                    }));
                }
                At::Damaged { next } => {
                    if self.reported.insert((cursor.base, cursor.offset)) {
                        self.damaged += 1;
                        tracing::error!(
                            segment = cursor.base,
                            offset = cursor.offset,
                            "the spool is damaged: the readings of a batch or more are lost"
                        );
                    }
                    cursor.offset = next.unwrap_or(segment.len);
                }
                At::End | At::Torn => match self.segments.get(i + 1) {
                    Some(next) => (cursor.base, cursor.offset) = (next.base, next.data),
                    None => break,
                },
            }
        }
        cursor.after = after;
        self.remember(cursor);
        Ok(None)
    }

    fn remember(&mut self, cursor: Cursor) {
        if self.cursors.len() == READERS {
            self.cursors.pop_front();
        }
        self.cursors.push_back(cursor);
    }

    /// # Errors
    /// When the oldest record can't be read.
    pub fn stats(&self) -> io::Result<Stats> {
        let pending = self
            .segments
            .iter()
            .filter(|segment| segment.last > self.committed && !segment.is_empty());
        let records = pending
            .clone()
            .map(|s| s.last + 1 - s.base.max(self.committed + 1))
            .sum();
        let mut oldest = i64::MAX;
        for segment in pending {
            if segment.base > self.committed {
                oldest = oldest.min(segment.oldest);
                continue;
            }
            let mut offset = segment.data;
            while let At::Record(record) = format::look(&*segment.file, offset, 0)? {
                if record.seq > self.committed {
                    oldest = oldest.min(record.oldest);
                }
                offset += record.total_len();
            }
        }
        Ok(Stats {
            epoch: self.epoch,
            next_seq: self.next_seq,
            committed: self.committed,
            bytes: self.bytes(),
            records,
            oldest: (oldest != i64::MAX).then(|| Timestamp::from_micros(oldest)),
            damaged: self.damaged,
            dropped_records: self.dropped_records,
            dropped_readings: self.dropped_readings,
            written_bytes: self.written_bytes,
            written_readings: self.written_readings,
            syncs: self.syncs,
        })
    }
}

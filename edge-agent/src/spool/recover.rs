//! Opening: what lies on the disk becomes a spool again, whatever happened to it.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use models::time::Timestamp;

use super::disk::{Disk, DiskFile};
use super::format::{self, At, RECORD_HEADER, SegmentHeader};
use super::read::read_body;
use super::{COMMITTED_FILE, EPOCH_FILE, Options, Recovery, Segment, Spool, segment_name};

fn segment_base(name: &str) -> Option<u64> {
    name.strip_suffix(".seg")
        .filter(|digits| digits.len() == 20)?
        .parse()
        .ok()
        .filter(|base| *base > 0)
}

/// A small text file of numbers with their checksum; `None` when there is none or it is damaged.
fn read_numbers<const N: usize>(disk: &impl Disk, name: &str) -> Option<[u64; N]> {
    let file = disk.open(name).ok()?;
    let mut bytes = vec![0; 256];
    let n = file.read_at(&mut bytes, 0).ok()?;
    let (numbers, crc) = std::str::from_utf8(&bytes[..n])
        .ok()?
        .trim_end()
        .rsplit_once(' ')?;
    if crc != format!("{:08x}", crc32fast::hash(numbers.as_bytes())) {
        return None;
    }
    numbers
        .split(' ')
        .map(|number| number.parse().ok())
        .collect::<Option<Vec<_>>>()?
        .try_into()
        .ok()
}

/// Replaces a file in one step; `durable` = it is there after a power cut.
pub(super) fn write_numbers(disk: &impl Disk, name: &str, numbers: &[u64], durable: bool) -> io::Result<()> {
    let text = numbers
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ");
    let text = format!("{text} {:08x}\n", crc32fast::hash(text.as_bytes()));
    let temporary = format!("{name}.tmp");
    let file = disk.create(&temporary)?;
    file.write_at(text.as_bytes(), 0)?;
    if durable {
        file.sync()?;
    }
    disk.rename(&temporary, name)?;
    if durable {
        disk.sync_dir()?;
    }
    Ok(())
}

impl<D: Disk> Spool<D> {
    /// Opens or makes a spool. `now` numbers a new epoch.
    ///
    /// # Errors
    /// When the disk can't be read, or a new epoch not be written. Damage is no error: see [`Recovery`].
    pub fn open(disk: D, options: Options, now: Timestamp) -> io::Result<(Self, Recovery)> {
        let mut bases: Vec<u64> = disk
            .list()?
            .iter()
            .filter_map(|name| segment_base(name))
            .collect();
        bases.sort_unstable();
        let mut spool = Self {
            disk,
            options,
            epoch: 0,
            segments: VecDeque::new(),
            active: false,
            next_seq: 1,
            synced: 0,
            synced_len: 0,
            synced_resume: Vec::new(),
            unsynced: Vec::new(),
            committed: 0,
            handed_out: 0,
            resume: Vec::new(),
            cursors: VecDeque::new(),
            damaged: 0,
            reported: BTreeSet::new(),
            dropped_records: 0,
            dropped_readings: 0,
            written_bytes: 0,
            written_readings: 0,
            syncs: 0,
        };
        let mut recovery = Recovery::default();
        let mut header_epoch = None;
        for (i, base) in bases.iter().enumerate() {
            let epoch = spool.recover(*base, i + 1 == bases.len(), &mut recovery)?;
            header_epoch = header_epoch.or(epoch);
        }
        let known = read_numbers::<1>(&spool.disk, EPOCH_FILE).map(|[epoch]| epoch);
        match known.or(header_epoch).filter(|_| !bases.is_empty()) {
            Some(epoch) => spool.epoch = epoch,
            None => {
                spool.new_epoch(now, known)?;
                recovery.new_epoch = true;
            }
        }
        if let Some([epoch, seq]) = read_numbers::<2>(&spool.disk, COMMITTED_FILE)
            && epoch == spool.epoch
        {
            spool.committed = seq;
            spool.next_seq = spool.next_seq.max(seq + 1);
        }
        spool.synced = spool.next_seq - 1;
        spool.handed_out = spool.synced;
        spool.synced_resume.clone_from(&spool.resume);
        spool.damaged = recovery.damaged;
        spool.trim();
        Ok((spool, recovery))
    }

    /// Scans one segment; returns the epoch in its header.
    fn recover(&mut self, base: u64, is_last: bool, recovery: &mut Recovery) -> io::Result<Option<u64>> {
        let file = Arc::new(self.disk.open(&segment_name(base))?);
        let header = SegmentHeader::read(&*file)?;
        let mut segment = Segment {
            base,
            data: header.as_ref().map_or(0, |(_, len)| *len),
            len: 0,
            made_at: header.as_ref().map_or(0, |(header, _)| header.made_at),
            last: base - 1,
            readings: 0,
            oldest: i64::MAX,
            file,
        };
        let epoch = header.as_ref().map(|(header, _)| header.epoch);
        match header {
            Some((header, _)) => self.resume = header.resume,
            None => recovery.damaged += 1,
        }
        self.next_seq = self.next_seq.max(base);
        let mut offset = segment.data;
        // Readings behind a damaged place may have been produced before those in it: going on from
        // before it produces some twice, which the receiver sees, and skips none, which nobody would.
        let mut last_intact = None;
        let mut damaged_here = false;
        if is_last {
            // What a killed process wrote is readable and not yet safe. It will be handed out.
            segment.file.sync()?;
            self.disk.sync_dir()?;
        }
        loop {
            match format::look(&*segment.file, offset, segment.last)? {
                At::Record(record) => {
                    // The others are checked when they are read: a spool may hold gigabytes.
                    if !is_last || read_body(&*segment.file, offset, &record)?.is_some() {
                        recovery.records += 1;
                        if !damaged_here {
                            last_intact = Some((offset, record));
                        }
                    } else {
                        recovery.damaged += 1;
                        self.reported.insert((base, offset));
                        damaged_here = is_last;
                    }
                    segment.last = segment.last.max(record.seq);
                    segment.readings += u64::from(record.readings);
                    segment.oldest = segment.oldest.min(record.oldest);
                    offset += record.total_len();
                }
                At::End => break,
                At::Torn => {
                    recovery.torn_bytes += segment.file.len()? - offset;
                    break;
                }
                // The place where a damaged segment header stood is counted already.
                At::Damaged { next } => {
                    recovery.damaged += u64::from(offset > 0);
                    self.reported.insert((base, offset));
                    damaged_here = is_last;
                    if let Some(next) = next {
                        offset = next;
                    } else {
                        let most = (segment.file.len()? - offset) / RECORD_HEADER as u64;
                        segment.last += most.max(1);
                        break;
                    }
                }
            }
        }
        if let Some((at, record)) = last_intact
            && let Some(mut body) = read_body(&*segment.file, at, &record)?
        {
            body.truncate(record.resume_len as usize);
            self.resume = body;
        }
        segment.len = offset;
        self.next_seq = self.next_seq.max(segment.last + 1);
        self.segments.push_back(segment);
        Ok(epoch)
    }

    pub(super) fn new_epoch(&mut self, now: Timestamp, before: Option<u64>) -> io::Result<()> {
        let clock = u64::try_from(now.micros()).unwrap_or(0);
        self.epoch = clock.max(before.map_or(1, |epoch| epoch + 1));
        write_numbers(&self.disk, EPOCH_FILE, &[self.epoch], true)
    }
}

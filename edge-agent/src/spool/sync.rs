//! From written to safe, and what to do when the disk says no.

use std::io;
use std::sync::Arc;

use models::time::Timestamp;

use super::Spool;
use super::disk::{Disk, DiskFile};

/// A sync under way: call [`SyncTicket::sync`] without holding any lock, then [`Spool::finish_sync`].
pub struct SyncTicket<F> {
    file: Arc<F>,
    upto: u64,
    len: u64,
}

impl<F: DiskFile> SyncTicket<F> {
    /// # Errors
    /// The disk's; the ticket still has to be given back.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

impl<D: Disk> Spool<D> {
    /// The sync that would make everything appended so far safe; `None` when it is.
    ///
    /// # Errors
    /// When an earlier sync failed and writing its records again did, too. They are still in memory.
    pub fn begin_sync(&mut self, now: Timestamp) -> io::Result<Option<SyncTicket<D::File>>> {
        if !self.active && !self.unsynced.is_empty() {
            self.write_again(now)?;
        }
        Ok(self
            .unsynced
            .last()
            .zip(self.segments.back())
            .map(|((last, _), segment)| SyncTicket {
                file: Arc::clone(&segment.file),
                upto: last.seq,
                len: segment.len,
            }))
    }

    /// Takes note of how a sync ended. After an error, the records are written anew.
    ///
    /// # Errors
    /// When the sync failed and writing anew did, too: the records are still in memory; begin again.
    pub fn finish_sync(
        &mut self,
        ticket: &SyncTicket<D::File>,
        result: io::Result<()>,
        now: Timestamp,
    ) -> io::Result<()> {
        let current = self
            .segments
            .back()
            .is_some_and(|segment| Arc::ptr_eq(&segment.file, &ticket.file));
        match result {
            Ok(()) if current => {
                self.syncs += 1;
                self.synced = self.synced.max(ticket.upto);
                self.synced_len = ticket.len;
                self.unsynced.retain(|(header, _)| header.seq > ticket.upto);
                if self.unsynced.is_empty() {
                    self.synced_resume.clone_from(&self.resume);
                }
                Ok(())
            }
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "sync of the spool failed, writing the batches again");
                self.write_again(now)
            }
        }
    }

    /// Syncs now, holding up everything else.
    ///
    /// # Errors
    /// As [`Spool::finish_sync`].
    pub fn sync(&mut self, now: Timestamp) -> io::Result<()> {
        match self.begin_sync(now)? {
            Some(ticket) => {
                let result = ticket.sync();
                self.finish_sync(&ticket, result, now)
            }
            None => Ok(()),
        }
    }

    fn write_again(&mut self, now: Timestamp) -> io::Result<()> {
        let Some((first, _)) = self.unsynced.first() else {
            return Ok(());
        };
        let base = first.seq;
        if self.active
            && let Some(segment) = self.segments.back_mut()
        {
            // What can't be cut off is intact, or is found damaged and read from the new segment.
            if let Err(error) = segment.file.set_len(self.synced_len) {
                tracing::warn!(%error, "can't cut the segment");
            }
            segment.len = self.synced_len;
            segment.last = base - 1;
            let again: u64 = self
                .unsynced
                .iter()
                .map(|(header, _)| u64::from(header.readings))
                .sum();
            segment.readings = segment.readings.saturating_sub(again);
            self.active = false;
        }
        self.make_segment(base, now)?;
        let Some(segment) = self.segments.back_mut() else {
            return Ok(());
        };
        for (header, bytes) in &self.unsynced {
            if let Err(error) = segment.file.write_at(bytes, segment.len) {
                self.active = false;
                return Err(error);
            }
            segment.len += header.total_len();
            segment.last = header.seq;
            segment.readings += u64::from(header.readings);
            segment.oldest = segment.oldest.min(header.oldest);
        }
        let ticket = SyncTicket {
            file: Arc::clone(&segment.file),
            upto: segment.last,
            len: segment.len,
        };
        if let Err(error) = ticket.sync() {
            // Nothing of it counts; the next attempt begins with another segment of the same name.
            segment.len = segment.data;
            segment.last = base - 1;
            segment.readings = 0;
            self.active = false;
            return Err(error);
        }
        self.finish_sync(&ticket, Ok(()), now)
    }
}

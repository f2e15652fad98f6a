//! Letting go of what the receiver has committed.

use std::io;

use models::time::Timestamp;

use super::disk::Disk;
use super::recover::write_numbers;
use super::{COMMITTED_FILE, Spool, segment_name};

impl<D: Disk> Spool<D> {
    /// The receiver has committed everything up to `seq` of `epoch`. Returns whether that was news.
    ///
    /// # Errors
    /// When the receiver knows more than was sent, and a new epoch can't be written.
    pub fn commit(&mut self, epoch: u64, seq: u64, now: Timestamp) -> io::Result<bool> {
        if epoch != self.epoch || seq <= self.committed {
            return Ok(false);
        }
        if seq > self.handed_out {
            tracing::error!(
                seq,
                sent = self.handed_out,
                "the receiver has committed batches this spool never sent: is its folder an old copy? \
                 starting a new epoch and sending everything again"
            );
            self.new_epoch(now, Some(self.epoch))?;
            self.committed = 0;
            self.cursors.clear();
            return Ok(true);
        }
        self.committed = seq;
        self.trim();
        Ok(true)
    }

    /// Removes segments that hold nothing but committed records, except the last.
    pub(super) fn trim(&mut self) {
        let mut removed = false;
        while self.segments.len() > 1
            && let Some(segment) = self.segments.front()
            && segment.last <= self.committed
        {
            if let Err(error) = self.disk.remove(&segment_name(segment.base)) {
                tracing::warn!(%error, base = segment.base, "can't remove a segment");
                break;
            }
            let gone = segment.last;
            self.segments.pop_front();
            self.reported.retain(|(base, _)| *base > gone);
            removed = true;
        }
        if removed {
            self.note_committed();
        }
    }

    /// Saves the watermark, so that a restart doesn't send again what is committed. Only a hint.
    pub fn note_committed(&self) {
        if let Err(error) = write_numbers(&self.disk, COMMITTED_FILE, &[self.epoch, self.committed], false) {
            tracing::warn!(%error, "can't note how far the receiver is");
        }
    }
}

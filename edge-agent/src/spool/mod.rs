//! The spool: batches on the gateway's disk until Forewarn has committed them.
//!
//! **Layout.** A folder of segments, `{first sequence number}.seg`, each a header and records one
//! after the other ([`format`]); `epoch`, the number of this spool; `committed`, a hint. Only the last
//! segment is written to. Sequence numbers count from 1 and never repeat inside an epoch, whatever
//! happens to the disk: two batches with one number would be one to the receiver, so a reading would
//! be lost without a trace.
//!
//! **Promise.** What [`Spool::finish_sync`] has confirmed is handed out by [`Spool::read`], in order,
//! until [`Spool::commit`] has passed it. Only synced records are handed out: what the receiver may
//! know of, the disk holds. Segments are removed whole, when all they hold is committed, and never
//! the last one, because the next sequence number follows from it.
//!
//! **Collectors that can go on** (simulate, replay) write how far they are into the record that holds
//! their readings (`resume`), so both are there or neither. A new segment's header repeats it, since
//! the record may be committed and gone.
//!
//! **Crashes and damage**, and what recovery makes of them:
//!
//! | found | meaning | done |
//! |---|---|---|
//! | record longer than the file, or zeros to the end | write cut short, never synced | ignored; number used again |
//! | header intact, body not | damaged record | reported; next record follows by its length |
//! | header not intact | damaged record | reported; search for the next intact header |
//! | … and none follows | unknown how many records lay here | reported; numbering goes on behind the most that fit |
//! | segment header damaged | | records still found by search; base from the name |
//! | same number twice | rewritten after a failed sync | first intact one counts |
//! | no segment | new spool, or somebody emptied it | new epoch |
//! | receiver committed more than was ever sent | folder restored from an old copy | new epoch, everything is sent again |
//!
//! Numbers that are missing show as a jump. The uplink sends `floor`, the lowest number still here,
//! and the receiver records what lies below as lost.
//!
//! **A failed sync** leaves the kernel's view of the file unknown, so the records it covered, which
//! are still in memory, are written to a new segment. **A full disk** is an error of
//! [`Spool::append`]: nothing was accepted, the caller tries again.

mod commit;
pub mod disk;
#[cfg(test)]
mod faulty;
pub mod format;
#[cfg(test)]
mod model;
mod read;
mod recover;
pub mod salvage;
mod sync;
pub mod writer;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use models::time::Timestamp;

use disk::{Disk, DiskFile, OsDisk};
use format::{RecordHeader, SegmentHeader};
pub use sync::SyncTicket;

const EPOCH_FILE: &str = "epoch";
const COMMITTED_FILE: &str = "committed";

/// What happens to new batches when the spool is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FullPolicy {
    /// They wait, and so do the collectors.
    #[default]
    Block,
    /// The oldest segment goes. That is a loss: counted, logged, told to the receiver.
    DropOldest,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub max_bytes: u64,
    /// Segments are sealed when they reach this.
    pub segment_bytes: u64,
    pub policy: FullPolicy,
    /// Seconds; older segments go when the policy is to drop. 0 = never.
    pub max_age_s: f64,
}

impl Options {
    pub fn new(max_bytes: u64) -> Self {
        let segment_bytes = (max_bytes / 64)
            .clamp(256 << 10, 64 << 20)
            .min(max_bytes / 4)
            .max(1);
        Self {
            max_bytes,
            segment_bytes,
            policy: FullPolicy::Block,
            max_age_s: 0.0,
        }
    }
}

/// One batch to keep. `payload` and `resume` mean nothing to the spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub readings: u32,
    /// Microseconds of the oldest and the newest reading.
    pub span: (i64, i64),
    pub resume: Vec<u8>,
    pub payload: Vec<u8>,
}

/// A batch kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub seq: u64,
    pub readings: u32,
    pub payload: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Waits for [`Spool::commit`].
    #[error("the spool is full")]
    Full,
    #[error("a batch of {len} bytes doesn't fit a spool of {max} bytes")]
    TooLarge { len: u64, max: u64 },
    #[error("spool")]
    Io(#[from] io::Error),
}

/// What [`Spool::open`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    pub records: u64,
    /// Places that were not readable: one or more records each.
    pub damaged: u64,
    pub torn_bytes: u64,
    pub new_epoch: bool,
}

/// What the spool holds and did since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    pub epoch: u64,
    pub next_seq: u64,
    pub committed: u64,
    pub bytes: u64,
    /// Not yet committed.
    pub records: u64,
    pub oldest: Option<Timestamp>,
    pub damaged: u64,
    pub dropped_records: u64,
    pub dropped_readings: u64,
    pub written_bytes: u64,
    pub written_readings: u64,
    pub syncs: u64,
}

struct Segment<F> {
    base: u64,
    file: Arc<F>,
    /// Where the first record begins, and the end of the last.
    data: u64,
    len: u64,
    made_at: i64,
    /// Last sequence number inside, `base - 1` when there is none.
    last: u64,
    readings: u64,
    oldest: i64,
}

impl<F> Segment<F> {
    fn is_empty(&self) -> bool {
        self.last < self.base
    }
}

/// Where reading goes on after sequence number `after`.
#[derive(Clone, Copy)]
struct Cursor {
    after: u64,
    base: u64,
    offset: u64,
}

/// See the module.
pub struct Spool<D: Disk = OsDisk> {
    disk: D,
    options: Options,
    epoch: u64,
    segments: VecDeque<Segment<D::File>>,
    /// The last segment is written to.
    active: bool,
    next_seq: u64,
    synced: u64,
    synced_len: u64,
    synced_resume: Vec<u8>,
    /// Bytes of the records that are written and not synced.
    unsynced: Vec<(RecordHeader, Vec<u8>)>,
    committed: u64,
    /// Highest number that the receiver may know.
    handed_out: u64,
    resume: Vec<u8>,
    /// Of those who read: the two lanes of the uplink.
    cursors: VecDeque<Cursor>,
    damaged: u64,
    /// Damaged places that were reported: segment and offset.
    reported: BTreeSet<(u64, u64)>,
    dropped_records: u64,
    dropped_readings: u64,
    written_bytes: u64,
    written_readings: u64,
    syncs: u64,
}

fn segment_name(base: u64) -> String {
    format!("{base:020}.seg")
}

impl<D: Disk> Spool<D> {
    /// Opaque bytes of the newest record: how far the collectors are.
    pub fn resume(&self) -> &[u8] {
        &self.resume
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// The highest number that can be read.
    pub fn newest(&self) -> u64 {
        self.synced
    }

    /// The lowest number that may still be here.
    pub fn first_seq(&self) -> u64 {
        let first = self
            .segments
            .iter()
            .find(|segment| !segment.is_empty())
            .map_or(self.next_seq, |s| s.base);
        first.max(self.committed + 1)
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// Writes a batch and returns its number. It counts as kept after the next successful sync.
    ///
    /// # Errors
    /// Nothing was accepted then; after [`AppendError::Full`] and [`AppendError::Io`] the same may be
    /// tried again.
    pub fn append(&mut self, entry: &Entry, now: Timestamp) -> Result<u64, AppendError> {
        let seq = self.next_seq;
        let bytes = RecordHeader::encode(seq, entry.readings, entry.span, &entry.resume, &entry.payload);
        let Some(header) = RecordHeader::decode(&bytes) else {
            return Err(AppendError::TooLarge {
                len: bytes.len() as u64,
                max: format::MAX_RECORD as u64,
            });
        };
        let len = header.total_len();
        let max = self.options.max_bytes;
        if len + (entry.resume.len() + format::SEGMENT_HEADER) as u64 > max {
            return Err(AppendError::TooLarge { len, max });
        }
        let too_old = self.options.max_age_s > 0.0
            && self.segments.back().is_some_and(|s| {
                now.seconds_since(Timestamp::from_micros(s.made_at)) > self.options.max_age_s / 8.0
            });
        let full = self
            .segments
            .back()
            .is_some_and(|s| !s.is_empty() && s.len + len > self.options.segment_bytes);
        if !self.active || full || (too_old && self.segments.back().is_some_and(|s| !s.is_empty())) {
            self.roll(now)?;
        }
        self.make_room(len, now)?;
        self.drop_old(now);
        let segment = self
            .segments
            .back_mut()
            .ok_or_else(|| io::Error::other("no segment to write to"))?;
        segment.file.write_at(&bytes, segment.len)?;
        segment.len += len;
        segment.last = seq;
        segment.readings += u64::from(entry.readings);
        segment.oldest = segment.oldest.min(entry.span.0);
        self.next_seq += 1;
        self.resume.clone_from(&entry.resume);
        self.written_bytes += len;
        self.written_readings += u64::from(entry.readings);
        self.unsynced.push((header, bytes));
        Ok(seq)
    }

    fn make_room(&mut self, len: u64, now: Timestamp) -> Result<(), AppendError> {
        let max = self.options.max_bytes;
        while self.bytes() + len > max {
            // What the last segment holds can only go once another one carries on the numbers.
            if self.segments.len() == 1 {
                let only = self.segments.back().filter(|segment| !segment.is_empty());
                let gone = only.is_some_and(|segment| {
                    segment.last <= self.committed || self.options.policy == FullPolicy::DropOldest
                });
                if !gone {
                    return Err(AppendError::Full);
                }
                self.roll(now)?;
                self.trim();
            } else {
                match self.options.policy {
                    FullPolicy::Block => return Err(AppendError::Full),
                    FullPolicy::DropOldest => self.drop_first("the spool is full")?,
                }
            }
        }
        Ok(())
    }

    fn drop_old(&mut self, now: Timestamp) {
        if self.options.max_age_s <= 0.0 || self.options.policy != FullPolicy::DropOldest {
            return;
        }
        // A segment is as old as its newest record, which is older than the segment after it.
        while let Some(next) = self.segments.get(1)
            && now.seconds_since(Timestamp::from_micros(next.made_at)) > self.options.max_age_s
        {
            if let Err(error) = self.drop_first("too old") {
                tracing::warn!(%error, "can't remove an old segment");
                break;
            }
        }
    }

    fn drop_first(&mut self, why: &str) -> io::Result<()> {
        let Some(segment) = self.segments.front() else {
            return Ok(());
        };
        self.disk.remove(&segment_name(segment.base))?;
        let lost = segment.last.saturating_sub(self.committed.max(segment.base - 1));
        let all = segment.last + 1 - segment.base;
        if lost > 0 {
            let readings = segment.readings * lost / all.max(1);
            self.dropped_records += lost;
            self.dropped_readings += readings;
            tracing::error!(
                why,
                batches = lost,
                readings,
                from = segment.last + 1 - lost,
                to = segment.last,
                "dropped the oldest batches: their readings are lost"
            );
        }
        self.segments.pop_front();
        Ok(())
    }

    /// Seals the last segment and makes the next.
    fn roll(&mut self, now: Timestamp) -> io::Result<()> {
        if !self.unsynced.is_empty() {
            self.sync(now)?;
        }
        self.make_segment(self.next_seq, now)
    }

    fn make_segment(&mut self, base: u64, now: Timestamp) -> io::Result<()> {
        let header = SegmentHeader {
            epoch: self.epoch,
            base,
            made_at: now.micros(),
            resume: self.synced_resume.clone(),
        };
        let bytes = header.encode();
        let name = segment_name(base);
        let temporary = format!("{name}.tmp");
        let file = self.disk.create(&temporary)?;
        file.write_at(&bytes, 0)?;
        file.sync()?;
        self.disk.rename(&temporary, &name)?;
        self.disk.sync_dir()?;
        // An empty one may have had the same name.
        self.segments.retain(|segment| segment.base != base);
        let len = bytes.len() as u64;
        self.segments.push_back(Segment {
            base,
            file: Arc::new(file),
            data: len,
            len,
            made_at: now.micros(),
            last: base - 1,
            readings: 0,
            oldest: i64::MAX,
        });
        self.active = true;
        self.synced_len = len;
        self.cursors.clear();
        Ok(())
    }
}

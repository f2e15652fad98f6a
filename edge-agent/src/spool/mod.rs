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

pub mod disk;
pub mod format;
#[cfg(test)]
mod model;
pub mod writer;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use models::time::Timestamp;

use disk::{Disk, DiskFile, OsDisk};
use format::{At, RECORD_HEADER, RecordHeader, SegmentHeader};

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
    cursor: Option<Cursor>,
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

fn segment_base(name: &str) -> Option<u64> {
    name.strip_suffix(".seg")
        .filter(|digits| digits.len() == 20)?
        .parse()
        .ok()
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
fn write_numbers(disk: &impl Disk, name: &str, numbers: &[u64], durable: bool) -> io::Result<()> {
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
            cursor: None,
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
                    offset += record.len();
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

    fn new_epoch(&mut self, now: Timestamp, before: Option<u64>) -> io::Result<()> {
        let clock = u64::try_from(now.micros()).unwrap_or(0);
        self.epoch = clock.max(before.map_or(1, |epoch| epoch + 1));
        write_numbers(&self.disk, EPOCH_FILE, &[self.epoch], true)
    }

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
        let len = header.len();
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
        self.cursor = None;
        Ok(())
    }

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
            segment.len += header.len();
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

    /// The first intact, synced record after `after` that is not committed.
    ///
    /// # Errors
    /// The disk's. Damaged records are counted, logged and passed over.
    pub fn read(&mut self, after: u64) -> io::Result<Option<Record>> {
        let after = after.max(self.committed);
        let mut cursor = match self.cursor {
            Some(cursor) if cursor.after == after => cursor,
            _ => match self
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
                    cursor.offset += record.len();
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
                    self.cursor = Some(cursor);
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
        self.cursor = Some(cursor);
        Ok(None)
    }

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
            self.cursor = None;
            return Ok(true);
        }
        self.committed = seq;
        self.trim();
        Ok(true)
    }

    /// Removes segments that hold nothing but committed records, except the last.
    fn trim(&mut self) {
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
                offset += record.len();
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

/// A record's body, or `None` when it is damaged.
fn read_body(file: &impl DiskFile, offset: u64, header: &RecordHeader) -> io::Result<Option<Vec<u8>>> {
    let mut body = vec![0; usize::try_from(header.body_len()).map_err(io::Error::other)?];
    let n = file.read_at(&mut body, offset + RECORD_HEADER as u64)?;
    body.truncate(n);
    Ok(header.body_is_intact(&body).then_some(body))
}

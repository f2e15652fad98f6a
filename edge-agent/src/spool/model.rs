//! The spool against a simple model, on a disk that loses what was not synced, tears writes, fills up,
//! refuses to sync and forgets what it refused, refuses changes of the folder, and flips bits.

use std::collections::BTreeMap;

use models::time::Timestamp;
use proptest::prelude::*;

use super::disk::{Disk, DiskFile};
use super::faulty::FaultyDisk;
use super::*;

#[derive(Clone, Debug)]
enum Op {
    Append(usize),
    Sync,
    /// Everything up to this share of what may be known is committed.
    Commit(u8),
    Crash(u64),
    /// The process dies, the machine does not.
    Kill,
    Flip(u64),
    FailWrites(u32),
    FailSyncs(u32),
    FailNames(u32),
    /// The disk is full, or not any more.
    Full(bool),
    /// A second reader, somewhere in what waits.
    Read(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0_usize..300).prop_map(Op::Append),
        5 => Just(Op::Sync),
        2 => any::<u8>().prop_map(Op::Commit),
        2 => any::<u64>().prop_map(Op::Crash),
        1 => Just(Op::Kill),
        1 => any::<u64>().prop_map(Op::Flip),
        1 => (1_u32..3).prop_map(Op::FailWrites),
        1 => (1_u32..4).prop_map(Op::FailSyncs),
        1 => (1_u32..4).prop_map(Op::FailNames),
        1 => any::<bool>().prop_map(Op::Full),
        3 => any::<u8>().prop_map(Op::Read),
    ]
}

struct Model {
    disk: FaultyDisk,
    spool: Spool<FaultyDisk>,
    clock: i64,
    epoch: u64,
    /// Confirmed by a sync, or seen after a restart.
    kept: BTreeMap<u64, Vec<u8>>,
    unsynced: BTreeMap<u64, Vec<u8>>,
    /// Progress of the last one confirmed.
    confirmed: u64,
    committed: u64,
    flips: u64,
    written: u64,
}

fn options() -> Options {
    Options {
        max_bytes: 6_000,
        segment_bytes: 900,
        policy: FullPolicy::Block,
        max_age_s: 0.0,
    }
}

impl Model {
    fn new() -> Self {
        let disk = FaultyDisk::default();
        let (spool, recovery) = Spool::open(disk.clone(), options(), Timestamp::from_micros(1)).unwrap();
        assert!(recovery.new_epoch);
        let epoch = spool.epoch();
        Self {
            disk,
            spool,
            clock: 1,
            epoch,
            kept: BTreeMap::new(),
            unsynced: BTreeMap::new(),
            confirmed: 0,
            committed: 0,
            flips: 0,
            written: 0,
        }
    }

    fn now(&mut self) -> Timestamp {
        self.clock += 1_000_000;
        Timestamp::from_micros(self.clock)
    }

    fn apply(&mut self, op: &Op) {
        let now = self.now();
        match op {
            Op::Append(len) => {
                self.written += 1;
                let mut payload = self.written.to_le_bytes().to_vec();
                payload.extend(std::iter::repeat_n(self.written as u8, *len));
                // Where the collectors are, is how much was ever written.
                let entry = Entry {
                    readings: 1,
                    span: (self.clock, self.clock),
                    resume: self.written.to_le_bytes().to_vec(),
                    payload: payload.clone(),
                };
                match self.spool.append(&entry, now) {
                    Ok(seq) => {
                        assert!(!self.kept.contains_key(&seq), "number {seq} is used twice");
                        assert!(self.unsynced.insert(seq, payload).is_none());
                        // A new segment syncs what came before.
                        let synced = self.spool.synced;
                        self.confirm(synced);
                    }
                    Err(AppendError::Full) => {
                        let pending = self.kept.range(self.committed + 1..).count() + self.unsynced.len();
                        assert!(pending > 0, "full, though everything is committed");
                    }
                    Err(AppendError::Io(_)) => {}
                    Err(error) => panic!("{error}"),
                }
                self.confirm(self.spool.synced);
            }
            Op::Sync => {
                if self.spool.sync(now).is_ok() {
                    self.confirm(u64::MAX - 1);
                }
                self.check();
            }
            Op::Commit(share) => {
                // Only what was handed out can be known to the receiver.
                let out = self.drain();
                let Some(last) = out.last().map(|record| record.seq) else {
                    return;
                };
                let seq = self.committed + (last - self.committed) * u64::from(*share) / 255;
                self.spool.commit(self.epoch, seq, now).unwrap();
                self.committed = self.committed.max(seq);
                assert_eq!(self.spool.epoch(), self.epoch);
                self.check();
            }
            Op::Crash(chance) => {
                self.disk.crash(*chance);
                self.reopen(now);
            }
            Op::Kill => self.reopen(now),
            Op::Flip(place) => self.flips += u64::from(self.disk.flip(*place)),
            Op::FailWrites(n) => self.disk.0.lock().fail_writes = *n,
            Op::FailSyncs(n) => self.disk.0.lock().fail_syncs = *n,
            Op::FailNames(n) => self.disk.0.lock().fail_names = *n,
            Op::Full(full) => self.disk.0.lock().full = *full,
            Op::Read(share) => {
                // As the live lane does it: from anywhere, beside the one that goes in order.
                let newest = self.spool.newest();
                let after = self.committed + newest.saturating_sub(self.committed) * u64::from(*share) / 256;
                if let Some(record) = self.spool.read(after).unwrap() {
                    assert!(record.seq > after && record.seq <= newest);
                    assert_eq!(
                        self.kept.get(&record.seq),
                        Some(&record.payload),
                        "batch {}",
                        record.seq
                    );
                }
            }
        }
    }

    fn confirm(&mut self, upto: u64) {
        let rest = self.unsynced.split_off(&(upto + 1));
        let mut safe = std::mem::replace(&mut self.unsynced, rest);
        if let Some((_, payload)) = safe.last_key_value() {
            self.confirmed = payload[..8].try_into().map_or(0, u64::from_le_bytes);
        }
        self.kept.append(&mut safe);
    }

    fn reopen(&mut self, now: Timestamp) {
        let (writes, syncs, names, full) = {
            let mut state = self.disk.0.lock();
            (
                std::mem::take(&mut state.fail_writes),
                std::mem::take(&mut state.fail_syncs),
                std::mem::take(&mut state.fail_names),
                std::mem::take(&mut state.full),
            )
        };
        let (spool, recovery) = Spool::open(self.disk.clone(), options(), now).unwrap();
        self.spool = spool;
        if recovery.new_epoch {
            // Nothing was ever appended, or all of it sat in a segment that never became durable.
            assert!(
                self.kept.is_empty(),
                "a new epoch, though {} batches were kept",
                self.kept.len()
            );
            self.epoch = self.spool.epoch();
            self.unsynced.clear();
        }
        let certain = self.confirmed;
        for record in self.drain() {
            if let Some(payload) = self.unsynced.get(&record.seq) {
                assert_eq!(*payload, record.payload, "batch {} changed", record.seq);
                self.kept.insert(record.seq, record.payload);
            }
        }
        let lost: Vec<Vec<u8>> = std::mem::take(&mut self.unsynced)
            .into_iter()
            .filter(|(seq, _)| !self.kept.contains_key(seq))
            .map(|(_, payload)| payload)
            .collect();
        self.check();
        if self.flips == 0 {
            let at = self.spool.resume().try_into().map_or(0, u64::from_le_bytes);
            // Not behind what was confirmed, or readings would be made twice for nothing; not ahead of
            // what can be read, or some would never be.
            assert!(
                at >= certain,
                "collectors go on from {at}, though {certain} was kept"
            );
            let read = |(_, payload): (&u64, &Vec<u8>)| payload[..8] == at.to_le_bytes();
            assert!(
                at == certain || self.kept.iter().any(read),
                "collectors go on from {at}, which is not there"
            );
            let lost = lost
                .iter()
                .all(|payload| payload[..8].try_into().map_or(0, u64::from_le_bytes) > at);
            assert!(
                lost,
                "collectors go on from {at}, though readings before it were lost"
            );
            self.confirmed = at;
        }
        let mut state = self.disk.0.lock();
        (state.fail_writes, state.fail_syncs) = (writes, syncs);
        (state.fail_names, state.full) = (names, full);
    }

    fn drain(&mut self) -> Vec<Record> {
        let mut out = Vec::new();
        let mut after = self.committed;
        while let Some(record) = self.spool.read(after).unwrap() {
            assert!(record.seq > after, "out of order: {} after {after}", record.seq);
            after = record.seq;
            out.push(record);
        }
        out
    }

    /// Everything kept and not committed is there, once and in order, or was damaged and reported.
    fn check(&mut self) {
        let got: BTreeMap<u64, Vec<u8>> = self.drain().into_iter().map(|r| (r.seq, r.payload)).collect();
        for (seq, payload) in &got {
            assert_eq!(self.kept.get(seq), Some(payload), "batch {seq}");
        }
        let missing: Vec<u64> = self
            .kept
            .range(self.committed + 1..)
            .map(|(seq, _)| *seq)
            .filter(|seq| !got.contains_key(seq))
            .collect();
        assert!(
            missing.len() as u64 <= self.flips,
            "{missing:?} are gone after {} flips",
            self.flips
        );
        assert!(
            missing.is_empty() || self.spool.damaged > 0,
            "{missing:?} are gone without a report"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(600), max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_a_spool(
        files in prop::collection::vec((0_u64..4, prop::collection::vec(any::<u8>(), 0..200)), 0..4),
    ) {
        let disk = FaultyDisk::default();
        for (base, noise) in &files {
            let file = disk.create(&segment_name(*base)).unwrap();
            let header = SegmentHeader { epoch: 5, base: *base, made_at: 0, resume: vec![1] }.encode();
            let record = RecordHeader::encode(*base + 1, 1, (0, 0), &[], &[1, 2, 3]);
            let parts = [if noise.len() % 2 == 0 { header } else { Vec::new() }, noise.clone(), record];
            file.write_at(&parts.concat(), 0).unwrap();
        }
        let (mut spool, _) = Spool::open(disk, options(), at(1)).unwrap();
        let mut after = 0;
        while let Some(record) = spool.read(after).unwrap() {
            prop_assert!(record.seq > after);
            after = record.seq;
        }
        let seq = spool.append(&entry(1, 5), at(1)).unwrap();
        prop_assert!(seq > after);
    }

    #[test]
    fn nothing_kept_is_lost_or_doubled(ops in prop::collection::vec(op(), 1..80)) {
        let mut model = Model::new();
        for op in &ops {
            model.apply(op);
        }
        model.apply(&Op::FailWrites(0));
        model.apply(&Op::FailSyncs(0));
        model.apply(&Op::FailNames(0));
        model.apply(&Op::Full(false));
        model.apply(&Op::Sync);
        model.apply(&Op::Kill);
    }
}

fn entry(n: u64, len: usize) -> Entry {
    Entry {
        readings: 10,
        span: (n as i64, n as i64),
        resume: vec![n as u8],
        payload: vec![n as u8; len],
    }
}

fn at(s: i64) -> Timestamp {
    Timestamp::from_secs(s)
}

#[test]
fn when_told_to_drop_the_oldest_go_and_are_counted() {
    let options = Options {
        policy: FullPolicy::DropOldest,
        ..options()
    };
    let (mut spool, _) = Spool::open(FaultyDisk::default(), options, at(1)).unwrap();
    for n in 1..=100 {
        spool.append(&entry(n, 200), at(1)).unwrap();
    }
    spool.sync(at(1)).unwrap();
    let stats = spool.stats().unwrap();
    assert!(stats.bytes <= 6_000, "{stats:?}");
    let first = spool.read(0).unwrap().unwrap();
    assert_eq!(first.seq, spool.first_seq());
    assert_eq!(stats.dropped_records, first.seq - 1);
    assert_eq!(stats.dropped_readings, stats.dropped_records * 10);
    assert_eq!(stats.records + stats.dropped_records, 100);
}

#[test]
fn old_segments_go_by_age() {
    let options = Options {
        policy: FullPolicy::DropOldest,
        max_age_s: 80.0,
        max_bytes: 1 << 20,
        ..options()
    };
    let (mut spool, _) = Spool::open(FaultyDisk::default(), options, at(1)).unwrap();
    for n in 1..=300 {
        spool.append(&entry(n, 20), at(n as i64)).unwrap();
    }
    let stats = spool.stats().unwrap();
    assert!((80..=110).contains(&stats.records), "{stats:?}");
}

#[test]
fn a_full_spool_takes_again_when_the_receiver_has_committed() {
    let (mut spool, _) = Spool::open(FaultyDisk::default(), options(), at(1)).unwrap();
    let mut last = 0;
    let error = loop {
        match spool.append(&entry(1, 500), at(1)) {
            Ok(seq) => last = seq,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AppendError::Full), "{error}");
    spool.sync(at(1)).unwrap();
    let mut after = 0;
    while let Some(record) = spool.read(after).unwrap() {
        after = record.seq;
    }
    assert_eq!(after, last);
    let epoch = spool.epoch();
    assert!(
        !spool.commit(epoch + 1, last, at(2)).unwrap(),
        "another epoch's watermark moves nothing"
    );
    assert!(spool.commit(epoch, last, at(2)).unwrap());
    assert_eq!(spool.append(&entry(2, 500), at(2)).unwrap(), last + 1);
    assert!(matches!(
        spool.append(&entry(3, 7_000), at(2)),
        Err(AppendError::TooLarge { .. })
    ));
}

#[test]
fn a_receiver_that_knows_more_means_a_new_epoch() {
    let disk = FaultyDisk::default();
    let (mut spool, _) = Spool::open(disk.clone(), options(), at(1)).unwrap();
    spool.append(&entry(1, 10), at(1)).unwrap();
    spool.sync(at(1)).unwrap();
    let before = spool.epoch();
    assert!(spool.commit(before, 900, at(2)).unwrap());
    assert!(spool.epoch() > before);
    assert_eq!(spool.read(0).unwrap().map(|record| record.seq), Some(1));
    let (spool, recovery) = Spool::open(disk, options(), at(3)).unwrap();
    assert!(!recovery.new_epoch && spool.epoch() > before);
}

#[test]
fn the_epoch_survives_its_file() {
    let disk = FaultyDisk::default();
    let (mut spool, _) = Spool::open(disk.clone(), options(), at(1)).unwrap();
    spool.append(&entry(1, 10), at(1)).unwrap();
    spool.sync(at(1)).unwrap();
    let epoch = spool.epoch();
    disk.remove(EPOCH_FILE).unwrap();
    let (spool, recovery) = Spool::open(disk, options(), at(9)).unwrap();
    assert_eq!((spool.epoch(), recovery.new_epoch), (epoch, false));
}

#[test]
fn an_emptied_folder_is_a_new_epoch() {
    let disk = FaultyDisk::default();
    let (mut spool, _) = Spool::open(disk.clone(), options(), at(1)).unwrap();
    spool.append(&entry(1, 10), at(1)).unwrap();
    spool.sync(at(1)).unwrap();
    let epoch = spool.epoch();
    disk.remove(&segment_name(1)).unwrap();
    let (spool, recovery) = Spool::open(disk, options(), at(1)).unwrap();
    assert!(recovery.new_epoch && spool.epoch() > epoch);
}

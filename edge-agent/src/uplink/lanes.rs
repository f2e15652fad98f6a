//! Which batch goes next, pure.
//!
//! After an outage two lanes run side by side. The *live* lane sends what was appended from the newest
//! batch at the time of connecting on; the *backlog* lane sends, in order, what lies before. When the
//! backlog has reached the first live batch the lanes merge and one goes on.
//!
//! **Why the receiver's rules hold.** Its cursor is the highest contiguous number, so live batches are
//! stored and listed as *ahead*; the watermark moves with the backlog and jumps over them at the end.
//! What must never happen is that a live batch declares the backlog lost: its floor is the number
//! behind the watermark, which gives up nothing. Only the backlog lane tells losses. Where it finds
//! numbers missing it waits until everything before them is committed; the batch behind the gap then
//! carries its own number as floor. Should that batch be one that the live lane has already sent, it
//! is sent again: a duplicate to the receiver, but its floor closes the gap.
//!
//! **Bounds.** A receiver keeps a limited list of numbers ahead (Forewarn: 10,000), so the live lane
//! stops at [`MAX_AHEAD`] that the watermark hasn't passed. That count outlives a connection.

use std::collections::VecDeque;

/// Live batches that may be stored beyond the watermark.
pub const MAX_AHEAD: u64 = 2_000;

/// Numbers sent by the live lane and not yet below the watermark, as ranges.
#[derive(Clone, Debug, Default)]
pub struct Ahead {
    ranges: VecDeque<(u64, u64)>,
}

impl Ahead {
    fn add(&mut self, seq: u64) {
        match self
            .ranges
            .iter_mut()
            .find(|(first, last)| *first <= seq && seq <= *last + 1)
        {
            Some((_, last)) => *last = seq.max(*last),
            None => self.ranges.push_back((seq, seq)),
        }
    }

    fn forget_through(&mut self, seq: u64) {
        self.ranges.retain_mut(|(first, last)| {
            *first = (*first).max(seq + 1);
            first <= last
        });
    }

    fn len(&self) -> u64 {
        self.ranges.iter().map(|(first, last)| last + 1 - first).sum()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Live {
    /// Its first number, and the last one it sent (`from - 1` at first).
    from: u64,
    sent: u64,
    /// It met a gap: what follows is left to the backlog lane.
    stopped: bool,
}

/// See the module. One for each connection; [`Ahead`] is carried over.
#[derive(Clone, Debug)]
pub struct Lanes {
    committed: u64,
    /// Highest number that the backlog lane has sent, or that is committed.
    sent: u64,
    under_way: VecDeque<u64>,
    live: Option<Live>,
    pub ahead: Ahead,
}

impl Lanes {
    pub fn new(committed: u64, ahead: Ahead) -> Self {
        let mut lanes = Self {
            committed: 0,
            sent: 0,
            under_way: VecDeque::new(),
            live: None,
            ahead,
        };
        lanes.committed(committed);
        lanes
    }

    /// Opens the live lane at `newest` when more than `window` batches lie before it.
    pub fn split(&mut self, newest: u64, window: usize) {
        if self.live.is_none() && newest > self.sent + window as u64 {
            self.live = Some(Live {
                from: newest,
                sent: newest - 1,
                stopped: false,
            });
        }
    }

    pub fn is_split(&self) -> bool {
        self.live.is_some()
    }

    /// Batches of the backlog lane that are not committed.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Behind which number the live lane goes on, if it may.
    pub fn live_after(&self) -> Option<u64> {
        self.live
            .filter(|live| !live.stopped && self.ahead.len() < MAX_AHEAD)
            .map(|live| live.sent)
    }

    /// The floor with which the live lane sends the record it found, `None` when it must not.
    pub fn send_live(&mut self, seq: u64) -> Option<u64> {
        let live = self.live.as_mut()?;
        if seq != live.sent + 1 {
            live.stopped = true;
            return None;
        }
        live.sent = seq;
        self.ahead.add(seq);
        Some((self.committed + 1).min(seq))
    }

    /// Behind which number the backlog lane goes on.
    pub fn backlog_after(&self) -> u64 {
        self.sent
    }

    /// The floor with which the backlog lane sends the record it found, `None` when it has to wait.
    /// `first_kept` is the lowest number the spool may still hold.
    pub fn send_backlog(&mut self, seq: u64, first_kept: u64) -> Option<u64> {
        if seq != self.sent + 1 && !self.under_way.is_empty() {
            return None;
        }
        let lowest = self.under_way.front().copied().unwrap_or(seq);
        self.under_way.push_back(seq);
        self.sent = seq;
        self.merge();
        Some(lowest.max(first_kept).min(seq))
    }

    /// The watermark. Returns whether it moved.
    pub fn committed(&mut self, seq: u64) -> bool {
        if seq <= self.committed {
            return false;
        }
        self.committed = seq;
        self.sent = self.sent.max(seq);
        while self.under_way.front().is_some_and(|first| *first <= seq) {
            self.under_way.pop_front();
        }
        self.ahead.forget_through(seq);
        self.merge();
        true
    }

    /// One lane again, once the backlog has come to the first live batch.
    fn merge(&mut self) {
        if let Some(live) = self.live
            && self.sent + 1 >= live.from
        {
            self.live = None;
            let first = (self.sent + 1).max(self.committed + 1);
            self.under_way.extend(first..=live.sent);
            self.sent = self.sent.max(live.sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The receiver's cursor by its definition.
    #[derive(Default)]
    struct Receiver {
        came: BTreeSet<u64>,
        floor: u64,
    }

    impl Receiver {
        fn take(&mut self, seq: u64, floor: u64) {
            self.came.insert(seq);
            self.floor = self.floor.max(floor);
        }

        fn watermark(&self) -> u64 {
            let settled = |seq: u64| self.came.contains(&seq) || seq < self.floor;
            (1..).take_while(|seq| settled(*seq)).last().unwrap_or(0)
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Append(u8),
        Live,
        Backlog,
        /// What is on the wire arrives, this many.
        Arrive(u8),
        Watermark,
        Cut,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => (1_u8..6).prop_map(Step::Append),
            4 => Just(Step::Live),
            6 => Just(Step::Backlog),
            4 => (1_u8..5).prop_map(Step::Arrive),
            3 => Just(Step::Watermark),
            1 => Just(Step::Cut),
        ]
    }

    const WINDOW: usize = 4;

    struct World {
        readable: BTreeSet<u64>,
        next: u64,
        lanes: Lanes,
        wire: VecDeque<(u64, u64)>,
        receiver: Receiver,
    }

    impl World {
        fn read(&self, after: u64) -> Option<u64> {
            self.readable.range(after + 1..).next().copied()
        }

        fn apply(&mut self, step: &Step, damaged: &BTreeSet<u64>) {
            match step {
                Step::Append(n) => {
                    for _ in 0..*n {
                        if !damaged.contains(&self.next) {
                            self.readable.insert(self.next);
                        }
                        self.next += 1;
                    }
                }
                Step::Live => {
                    if let Some(after) = self.lanes.live_after()
                        && let Some(seq) = self.read(after)
                        && let Some(floor) = self.lanes.send_live(seq)
                    {
                        self.wire.push_back((seq, floor));
                    }
                }
                Step::Backlog => {
                    if self.lanes.under_way() < WINDOW
                        && let Some(seq) = self.read(self.lanes.backlog_after())
                        && let Some(floor) = self.lanes.send_backlog(seq, 1)
                    {
                        self.wire.push_back((seq, floor));
                    }
                }
                Step::Arrive(n) => {
                    for _ in 0..*n {
                        if let Some((seq, floor)) = self.wire.pop_front() {
                            assert!(floor <= seq, "batch {seq} with floor {floor}");
                            // Nothing that can still be sent may be given up.
                            let given_up = self
                                .readable
                                .range(..floor)
                                .find(|seq| !self.receiver.came.contains(seq));
                            assert_eq!(given_up, None, "floor {floor} of batch {seq}");
                            self.receiver.take(seq, floor);
                        }
                    }
                }
                Step::Watermark => {
                    self.lanes.committed(self.receiver.watermark());
                }
                Step::Cut => {
                    self.wire.clear();
                    self.lanes = Lanes::new(self.receiver.watermark(), std::mem::take(&mut self.lanes.ahead));
                    self.lanes.split(self.next - 1, WINDOW);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn everything_readable_arrives_and_nothing_is_given_up_early(
            steps in prop::collection::vec(step(), 1..120),
            damaged in prop::collection::btree_set(1_u64..80, 0..12),
            before in 1_u64..40,
        ) {
            let mut world = World {
                readable: (1..=before).filter(|seq| !damaged.contains(seq)).collect(),
                next: before + 1,
                lanes: Lanes::new(0, Ahead::default()),
                wire: VecDeque::new(),
                receiver: Receiver::default(),
            };
            world.lanes.split(before, WINDOW);
            for step in &steps {
                world.apply(step, &damaged);
            }
            // One intact batch at the end tells what is missing before it.
            world.readable.insert(world.next);
            world.next += 1;
            for _ in 0..4 * world.next {
                for step in [Step::Live, Step::Backlog, Step::Arrive(4), Step::Watermark] {
                    world.apply(&step, &damaged);
                }
            }
            prop_assert_eq!(world.receiver.watermark(), world.next - 1);
            prop_assert!(world.readable.is_subset(&world.receiver.came));
            prop_assert_eq!(world.lanes.ahead.len(), 0);
            prop_assert!(!world.lanes.is_split());
        }
    }

    #[test]
    fn the_newest_goes_first_and_then_the_lanes_merge() {
        let mut lanes = Lanes::new(10, Ahead::default());
        lanes.split(100, 16);
        assert_eq!(lanes.live_after(), Some(99));
        assert_eq!(lanes.send_live(100), Some(11));
        for seq in 11..100 {
            assert_eq!(
                lanes.send_backlog(seq, 1),
                Some(lanes.under_way.front().copied().unwrap_or(seq))
            );
            lanes.committed(seq);
        }
        assert!(!lanes.is_split());
        assert_eq!((lanes.backlog_after(), lanes.under_way()), (100, 1));
        assert!(lanes.committed(100));
        assert_eq!(lanes.send_backlog(101, 1), Some(101));
    }

    #[test]
    fn a_short_backlog_needs_no_lane_and_a_long_one_is_bounded() {
        let mut lanes = Lanes::new(10, Ahead::default());
        lanes.split(20, 16);
        assert!(!lanes.is_split());
        lanes.split(50, 16);
        let mut sent = 0;
        while let Some(after) = lanes.live_after() {
            assert!(lanes.send_live(after + 1).is_some());
            sent += 1;
        }
        assert_eq!(sent, MAX_AHEAD);
        // The count survives the connection, which the receiver's list does, too.
        let mut lanes = Lanes::new(10, std::mem::take(&mut lanes.ahead));
        lanes.split(5_000, 16);
        assert_eq!(lanes.live_after(), None);
    }
}

//! The rule of the cursor, pure.
//!
//! A gateway numbers its batches from 1 within an epoch. The cursor is the highest *contiguous*
//! number that is committed, never the maximum: a batch beyond a gap is stored and listed as
//! `ahead`, and the cursor passes it once the gap has closed. `floor` is the lowest number that the
//! gateway still has: whatever lies below it and never came is lost; the cursor passes it, and the
//! loss is on record. Should such a batch come after all (it was on its way when the gateway
//! dropped it), it is stored and its loss is taken back.

use std::collections::{BTreeMap, BTreeSet};

/// Numbers beyond a gap that one sequence may have. A gateway sends in order, so more than a
/// window's worth of them is a gateway gone wrong.
pub const MAX_AHEAD: usize = 10_000;

/// State of one sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    contiguous: u64,
    ahead: BTreeSet<u64>,
    /// Lost ranges at or below `contiguous`: first → last.
    lost: BTreeMap<u64, u64>,
}

/// What a batch is to a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    New,
    Duplicate,
    /// More than [`MAX_AHEAD`] numbers are waiting for a gap to close. Nothing was changed.
    TooFarAhead,
}

impl Cursor {
    pub fn new(
        contiguous: u64,
        ahead: impl IntoIterator<Item = u64>,
        lost: impl IntoIterator<Item = (u64, u64)>,
    ) -> Self {
        Self {
            contiguous,
            ahead: ahead.into_iter().collect(),
            lost: lost.into_iter().collect(),
        }
    }

    /// The highest number up to which everything is committed or known to be lost.
    pub fn contiguous(&self) -> u64 {
        self.contiguous
    }

    pub fn ahead(&self) -> &BTreeSet<u64> {
        &self.ahead
    }

    /// Ranges that the gateway gave up: first → last.
    pub fn lost(&self) -> &BTreeMap<u64, u64> {
        &self.lost
    }

    /// Gaps between the cursor and the numbers ahead: first → last.
    pub fn gaps(&self) -> BTreeMap<u64, u64> {
        let mut gaps = BTreeMap::new();
        let mut next = self.contiguous + 1;
        for seq in &self.ahead {
            if *seq > next {
                gaps.insert(next, seq - 1);
            }
            next = seq + 1;
        }
        gaps
    }

    /// Takes a batch in.
    pub fn take(&mut self, seq: u64, floor: u64) -> Taken {
        if seq > self.contiguous + 1 && self.ahead.len() >= MAX_AHEAD && !self.ahead.contains(&seq) {
            return Taken::TooFarAhead;
        }
        let taken = if seq <= self.contiguous {
            if self.find(seq) {
                Taken::New
            } else {
                Taken::Duplicate
            }
        } else if self.ahead.insert(seq) {
            Taken::New
        } else {
            Taken::Duplicate
        };
        // A batch that is here is not lost, whatever its own floor says.
        self.give_up_below(floor);
        self.advance();
        taken
    }

    /// Takes `seq` out of the lost ranges.
    fn find(&mut self, seq: u64) -> bool {
        let Some((&first, &last)) = self
            .lost
            .range(..=seq)
            .next_back()
            .filter(|(_, last)| **last >= seq)
        else {
            return false;
        };
        self.lost.remove(&first);
        if first < seq {
            self.lost.insert(first, seq - 1);
        }
        if seq < last {
            self.lost.insert(seq + 1, last);
        }
        true
    }

    fn give_up_below(&mut self, floor: u64) {
        while self.contiguous + 1 < floor {
            self.advance();
            let first = self.contiguous + 1;
            if first >= floor {
                return;
            }
            let last = self
                .ahead
                .first()
                .map_or(floor - 1, |next| (next - 1).min(floor - 1));
            self.lost.insert(first, last);
            self.contiguous = last;
        }
    }

    fn advance(&mut self) {
        while self.ahead.first() == Some(&(self.contiguous + 1)) {
            self.ahead.pop_first();
            self.contiguous += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_gap_holds_the_cursor() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.take(1, 1), Taken::New);
        assert_eq!(cursor.take(3, 1), Taken::New);
        assert_eq!(cursor.take(3, 1), Taken::Duplicate);
        assert_eq!(cursor.contiguous(), 1);
        assert_eq!(cursor.gaps(), BTreeMap::from([(2, 2)]));
        assert_eq!(cursor.take(2, 1), Taken::New);
        assert_eq!(cursor.contiguous(), 3);
        assert_eq!(cursor.gaps(), BTreeMap::new());
    }

    #[test]
    fn a_floor_turns_a_gap_into_a_loss_that_can_be_taken_back() {
        let mut cursor = Cursor::default();
        cursor.take(1, 1);
        cursor.take(9, 8);
        assert_eq!(
            (cursor.contiguous(), cursor.lost().clone()),
            (7, BTreeMap::from([(2, 7)]))
        );
        assert_eq!(cursor.gaps(), BTreeMap::from([(8, 8)]));
        assert_eq!(cursor.take(4, 1), Taken::New);
        assert_eq!(cursor.lost().clone(), BTreeMap::from([(2, 3), (5, 7)]));
        assert_eq!(cursor.take(4, 1), Taken::Duplicate);
    }

    #[test]
    fn the_waiting_numbers_are_bounded() {
        let mut cursor = Cursor::default();
        for seq in 0..MAX_AHEAD as u64 {
            assert_eq!(cursor.take(seq + 10, 1), Taken::New);
        }
        assert_eq!(cursor.take(1 << 40, 1), Taken::TooFarAhead);
        assert_eq!(cursor.take(1, 1), Taken::New);
    }

    proptest! {
        /// Against the plain definition: a set of what came, and the highest floor.
        #[test]
        fn agrees_with_the_definition(batches in prop::collection::vec((1_u64..40, 0_u64..40), 1..120)) {
            let mut cursor = Cursor::default();
            let mut came = BTreeSet::new();
            let mut floor = 0;
            for (seq, said) in batches {
                let expected = if came.insert(seq) { Taken::New } else { Taken::Duplicate };
                prop_assert_eq!(cursor.take(seq, said), expected);
                floor = floor.max(said);
                let settled = |seq: u64| came.contains(&seq) || seq < floor;
                let contiguous = (1..).take_while(|seq| settled(*seq)).last().unwrap_or(0);
                prop_assert_eq!(cursor.contiguous(), contiguous);
                let lost: BTreeSet<u64> = (1..=contiguous).filter(|seq| !came.contains(seq)).collect();
                let got: BTreeSet<u64> = cursor.lost().iter().flat_map(|(first, last)| *first..=*last).collect();
                prop_assert_eq!(got, lost);
                let top = came.last().copied().unwrap_or(0);
                let gaps: BTreeSet<u64> = (contiguous + 1..=top).filter(|seq| !came.contains(seq)).collect();
                let got: BTreeSet<u64> = cursor.gaps().iter().flat_map(|(first, last)| *first..=*last).collect();
                prop_assert_eq!(got, gaps);
            }
        }
    }
}

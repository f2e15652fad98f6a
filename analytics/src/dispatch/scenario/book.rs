//! What must come of a plan, counted by the world from what it did itself: days that passed, dials that
//! were read, work that was done.

use models::id::{AssetId, PlanId};
use models::plan::OccurrenceStatus;

/// What a plan does about what fell due while nobody looked, or while the one before is still open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CatchUp {
    Stack,
    Skip,
    Supersede,
    /// Counts from the day the work was done; there is no next one while one is open.
    Floating,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Every {
    Days { every: i64, lead: i64 },
    Units(i64),
}

/// An occurrence that there must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Days after the first one, or units of the meter.
    pub due: i64,
    pub missed: i32,
    /// `Due` for every open one.
    pub status: OccurrenceStatus,
}

/// A dial that a person reads now and then, and the notes of it that have been entered.
#[derive(Clone, Debug)]
pub(super) struct Dial {
    pub meter: models::id::MeterId,
    /// Units in half a day.
    pub pace: i64,
    pub next_note: i64,
    /// Hour in which it is to be entered, hour of the note.
    pub waiting: Vec<(i64, i64)>,
    pub entered: Vec<i64>,
}

impl Dial {
    pub fn at(&self, hour: i64) -> i64 {
        self.pace * (hour / 12)
    }

    /// What is known of it when only notes up to `hour` count.
    pub fn known(&self, hour: i64) -> i64 {
        let newest = self.entered.iter().filter(|at| **at <= hour).max();
        newest.map_or(0, |at| self.at(*at))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Book {
    pub plan: PlanId,
    pub asset: AssetId,
    pub rule: CatchUp,
    pub every: Every,
    pub dial: Option<Dial>,
    /// What is counted from: a day, or units.
    pub anchor: i64,
    /// Of the work that was done last.
    pub done_at: Option<i64>,
    pub entries: Vec<Entry>,
}

impl Book {
    pub fn new(plan: PlanId, asset: AssetId, rule: CatchUp, every: Every, dial: Option<Dial>) -> Self {
        Self {
            plan,
            asset,
            rule,
            every,
            dial,
            anchor: 0,
            done_at: None,
            entries: Vec::new(),
        }
    }

    fn is_open(&self) -> bool {
        self.entries.iter().any(|entry| entry.status.is_open())
    }

    /// What has fallen due and is in no entry, one by one.
    fn waiting(&self, hour: i64) -> Vec<i64> {
        if self.rule == CatchUp::Floating && self.is_open() {
            return Vec::new();
        }
        let (every, until) = match self.every {
            Every::Days { every, lead } => (every, day(hour) + lead),
            Every::Units(every) => (every, self.dial.as_ref().map_or(0, |dial| dial.known(hour))),
        };
        let mut waiting = Vec::new();
        let mut due = self.anchor + every;
        while due <= until {
            waiting.push(due);
            due += every;
        }
        waiting
    }

    pub fn expects(&self, hour: i64) -> bool {
        !self.waiting(hour).is_empty()
    }

    /// A scheduler has looked at the plan.
    pub fn look(&mut self, hour: i64) {
        let waiting = self.waiting(hour);
        let Some(due) = waiting.last().copied() else {
            return;
        };
        let mut status = OccurrenceStatus::Due;
        if self.is_open() {
            match self.rule {
                CatchUp::Skip => status = OccurrenceStatus::Skipped,
                CatchUp::Supersede => {
                    for entry in self.entries.iter_mut().filter(|entry| entry.status.is_open()) {
                        entry.status = OccurrenceStatus::Superseded;
                    }
                }
                CatchUp::Stack | CatchUp::Floating => {}
            }
        }
        let missed = i32::try_from(waiting.len() - 1).unwrap();
        self.entries.push(Entry { due, missed, status });
        if self.rule != CatchUp::Floating {
            self.anchor = due;
        }
    }

    /// Somebody has done the work of an occurrence.
    pub fn done(&mut self, sequence: i32, hour: i64) {
        let index = usize::try_from(sequence - 1).unwrap();
        self.entries[index].status = OccurrenceStatus::Done;
        self.done_at = Some(hour);
        if let (CatchUp::Floating, Every::Days { .. }) = (self.rule, self.every) {
            self.anchor = day(hour);
        }
        self.noted();
    }

    /// A note of the dial was entered, or work was done: a floating plan counts from what the dial showed
    /// then, as far as that is known.
    pub fn noted(&mut self) {
        if let (CatchUp::Floating, Some(dial), Some(done_at)) = (self.rule, &self.dial, self.done_at) {
            self.anchor = dial.known(done_at);
        }
    }
}

/// Days on the clocks of Berlin after the one on which the world begins, at 10:00 UTC. They are two hours
/// ahead of UTC until 26 October 2025, 01:00 UTC, and again from 29 March 2026, 01:00 UTC.
pub(super) fn day(hour: i64) -> i64 {
    let winter = 24 * 24 + 15..179 * 24 - 9;
    let ahead = if winter.contains(&hour) { 1 } else { 2 };
    (10 + ahead + hour).div_euclid(24)
}

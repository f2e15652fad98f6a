//! The condition of one rule, sample by sample.
//!
//! ```text
//!            beyond                  on-delay and samples
//! inactive ─────────► pending ─────────────────────────────► active ◄──────┐
//!     ▲                  │ not beyond                          │ normal     │ beyond
//!     └──────────────────┘                                     ▼            │
//!     └──────────────────────────────────────────────────── clearing ──────┘
//!                off-delay; flapping: its window; latched: a person
//! ```
//!
//! A step is a pure function, so that a transaction which rolls back leaves nothing behind: the
//! caller keeps the new machine when it commits. All times are event times.

use serde::{Deserialize, Serialize};

use super::rule::{Condition, Direction, Kind, Params, Rule, Side};
use crate::reading::Quality;
use crate::time::Timestamp;

/// The alarm that is open, in numbers. Values are what the rule compares (for `rate` a slope, for
/// `stuck` and `no_data` seconds).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Occurrence {
    /// First sample beyond the limit. Never changes.
    pub pending_since: Timestamp,
    pub active_at: Option<Timestamp>,
    /// Since when it has been back to normal; `cleared_at` once the off-delay is over.
    pub clearing_since: Option<Timestamp>,
    /// Samples beyond the limit.
    pub samples: u32,
    pub first_value: f64,
    pub last_value: f64,
    pub peak_value: f64,
    /// Returns beyond the limit while clearing.
    pub flap_count: u32,
    pub flapping: bool,
}

/// Everything one rule remembers. Stored in `alarm.machine` and kept in memory between alarms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    #[serde(default)]
    condition: Condition,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open: Option<Occurrence>,
    /// Event time of the newest sample judged or remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_at: Option<Timestamp>,
    /// Newest good value (`rate`), or the value that has not changed since then (`stuck`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<(Timestamp, f64)>,
    /// Crossings of late, oldest first; kept across occurrences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    crossings: Vec<Timestamp>,
    /// When the state was last handed out to be stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    saved_at: Option<Timestamp>,
}

/// What happened to the condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Inactive to pending.
    Pended,
    /// Pending to inactive: it was nothing.
    Reverted,
    /// To active, at once or after the on-delay.
    Activated,
    /// Active to clearing.
    Returned,
    /// Clearing to active.
    Reactivated,
    /// Clearing to inactive: the occurrence is over.
    Cleared,
}

/// One change, with the occurrence as it was right after it (for `Reverted` and `Cleared`: as it
/// ended).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    pub change: Change,
    /// Event time of the sample that made it.
    pub at: Timestamp,
    pub occurrence: Occurrence,
}

/// The result of a row of samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub machine: Machine,
    pub transitions: Vec<Transition>,
    /// Whether the state should be stored: something changed, or an open alarm's figures are older
    /// than [`Machine::SAVE_EVERY_S`].
    pub dirty: bool,
}

impl Machine {
    /// Event seconds after which the figures of an open alarm are stored although it didn't change.
    pub const SAVE_EVERY_S: f64 = 60.0;

    pub const fn condition(&self) -> Condition {
        self.condition
    }

    /// The open occurrence; `None` exactly when inactive.
    pub const fn open(&self) -> Option<&Occurrence> {
        self.open.as_ref()
    }

    pub const fn last_at(&self) -> Option<Timestamp> {
        self.last_at
    }

    /// Judges one sample. For `no_data` the value is the silence in seconds, for `deviation`,
    /// `health_below` and `probability_above` what analytics computed; for the limit kinds it is the
    /// reading.
    #[must_use]
    pub fn step(
        &self,
        rule: &Rule,
        at: Timestamp,
        value: f64,
        quality: Quality,
    ) -> (Self, Option<Transition>) {
        let mut next = self.clone();
        let transition = next.advance(rule, at, value, quality);
        (next, transition)
    }

    /// Takes note of a sample without judging it: history that comes late and is only to be kept.
    #[must_use]
    pub fn remember(&self, rule: &Rule, at: Timestamp, value: f64, quality: Quality) -> Self {
        let mut next = self.clone();
        if next.counts(rule, at, value, quality) {
            next.last_at = Some(at);
            let _ = next.measure(rule, at, value);
        }
        next
    }

    /// Judges samples in the order given. Those before `judge_from` are remembered only.
    #[must_use]
    pub fn run(
        &self,
        rule: &Rule,
        samples: impl IntoIterator<Item = (Timestamp, f64, Quality)>,
        judge_from: Timestamp,
    ) -> Run {
        let mut machine = self.clone();
        let mut transitions = Vec::new();
        for (at, value, quality) in samples {
            if at < judge_from {
                machine = machine.remember(rule, at, value, quality);
            } else {
                transitions.extend(machine.advance(rule, at, value, quality));
            }
        }
        let mut dirty = !transitions.is_empty();
        if let (Some(_), Some(last_at)) = (&machine.open, machine.last_at) {
            let age = machine
                .saved_at
                .map_or(f64::INFINITY, |saved| last_at.seconds_since(saved));
            dirty |= age >= Self::SAVE_EVERY_S;
        }
        if dirty {
            machine.saved_at = machine.last_at;
        }
        Run {
            machine,
            transitions,
            dirty,
        }
    }

    /// A person resets a latched alarm. Only one that is back to normal for the off-delay can be.
    #[must_use]
    pub fn reset(&self, rule: &Rule, at: Timestamp) -> Option<(Self, Transition)> {
        let occurrence = self.open?;
        let since = occurrence.clearing_since?;
        if self.condition != Condition::Clearing || at.seconds_since(since) < rule.off_delay_s {
            return None;
        }
        let mut next = self.clone();
        let transition = next.clear(at, occurrence);
        Some((next, transition))
    }

    /// The same memory without the open occurrence: somebody else has ended it.
    #[must_use]
    pub fn closed_elsewhere(&self) -> Self {
        Self {
            condition: Condition::Inactive,
            open: None,
            ..self.clone()
        }
    }

    pub(super) fn counts(&self, rule: &Rule, at: Timestamp, value: f64, quality: Quality) -> bool {
        let trusted = match quality {
            Quality::Good => true,
            Quality::Suspect => rule.params.accept_suspect,
            Quality::Bad => false,
        };
        trusted && value.is_finite() && self.last_at.is_none_or(|last| at > last)
    }

    /// What the rule compares with its limit; `None` when that needs an earlier value that isn't there.
    fn measure(&mut self, rule: &Rule, at: Timestamp, value: f64) -> Option<f64> {
        match rule.kind {
            Kind::Rate => {
                let (before, was) = self.previous.replace((at, value))?;
                let slope = (value - was) / at.seconds_since(before);
                Some(match rule.params.direction {
                    Direction::Both => slope.abs(),
                    Direction::Rise => slope,
                    Direction::Fall => -slope,
                })
                .filter(|slope| slope.is_finite())
            }
            Kind::Stuck => match self.previous {
                Some((since, was)) if (value - was).abs() <= rule.params.tolerance => {
                    Some(at.seconds_since(since))
                }
                _ => {
                    self.previous = Some((at, value));
                    Some(0.0)
                }
            },
            _ => Some(value),
        }
    }

    pub(super) fn advance(
        &mut self,
        rule: &Rule,
        at: Timestamp,
        value: f64,
        quality: Quality,
    ) -> Option<Transition> {
        if !self.counts(rule, at, value, quality) {
            return None;
        }
        self.last_at = Some(at);
        let value = self.measure(rule, at, value)?;
        let mut side = rule.side(value);
        // Outside its schedule a rule raises nothing; what is raised goes on.
        if side == Side::Beyond && !self.condition.is_raised() && !rule.may_raise(at) {
            side = Side::Band;
        }
        self.forget_crossings(rule, at);

        let Some(mut occurrence) = self.open else {
            if side != Side::Beyond {
                return None;
            }
            let occurrence = Occurrence {
                pending_since: at,
                active_at: None,
                clearing_since: None,
                samples: 1,
                first_value: value,
                last_value: value,
                peak_value: value,
                flap_count: 0,
                flapping: false,
            };
            return Some(if Self::is_due(rule, &occurrence, at) {
                self.activate(rule, at, occurrence)
            } else {
                self.enter(Condition::Pending, Change::Pended, at, occurrence)
            });
        };

        occurrence.last_value = value;
        if side == Side::Beyond {
            occurrence.samples = occurrence.samples.saturating_add(1);
            occurrence.peak_value = rule.worse(occurrence.peak_value, value);
        }
        match (self.condition, side) {
            (Condition::Pending, Side::Beyond) if Self::is_due(rule, &occurrence, at) => {
                Some(self.activate(rule, at, occurrence))
            }
            (Condition::Pending, Side::Band | Side::Normal) => {
                self.condition = Condition::Inactive;
                self.open = None;
                Some(Transition {
                    change: Change::Reverted,
                    at,
                    occurrence,
                })
            }
            (Condition::Active, Side::Normal) => {
                self.cross(rule, at, &mut occurrence);
                occurrence.clearing_since = Some(at);
                // Without an off-delay the occurrence is over with this very sample.
                if Self::hold_s(rule, &occurrence) <= 0.0 && !rule.latched {
                    return Some(self.clear(at, occurrence));
                }
                Some(self.enter(Condition::Clearing, Change::Returned, at, occurrence))
            }
            (Condition::Clearing, Side::Beyond) => {
                self.cross(rule, at, &mut occurrence);
                occurrence.clearing_since = None;
                occurrence.flap_count = occurrence.flap_count.saturating_add(1);
                Some(self.enter(Condition::Active, Change::Reactivated, at, occurrence))
            }
            (Condition::Clearing, Side::Normal | Side::Band) if !rule.latched => {
                let since = occurrence.clearing_since.unwrap_or(at);
                if at.seconds_since(since) >= Self::hold_s(rule, &occurrence) {
                    return Some(self.clear(at, occurrence));
                }
                self.open = Some(occurrence);
                None
            }
            _ => {
                // Steady again: as many crossings as made it flap are no longer in the window.
                occurrence.flapping &= !self.crossings.is_empty();
                self.open = Some(occurrence);
                None
            }
        }
    }

    fn is_due(rule: &Rule, occurrence: &Occurrence, at: Timestamp) -> bool {
        occurrence.samples >= rule.min_samples
            && at.seconds_since(occurrence.pending_since) >= rule.on_delay_s
    }

    /// Seconds that an alarm stays clearing. A flapping one stays until the plant has been quiet for
    /// the whole flap window, so that one notice stands for all the crossings.
    fn hold_s(rule: &Rule, occurrence: &Occurrence) -> f64 {
        if occurrence.flapping {
            rule.off_delay_s.max(rule.params.flap_window_s)
        } else {
            rule.off_delay_s
        }
    }

    fn activate(&mut self, rule: &Rule, at: Timestamp, mut occurrence: Occurrence) -> Transition {
        occurrence.active_at = Some(at);
        self.cross(rule, at, &mut occurrence);
        self.enter(Condition::Active, Change::Activated, at, occurrence)
    }

    fn enter(&mut self, to: Condition, change: Change, at: Timestamp, occurrence: Occurrence) -> Transition {
        self.condition = to;
        self.open = Some(occurrence);
        Transition {
            change,
            at,
            occurrence,
        }
    }

    fn clear(&mut self, at: Timestamp, occurrence: Occurrence) -> Transition {
        self.condition = Condition::Inactive;
        self.open = None;
        Transition {
            change: Change::Cleared,
            at,
            occurrence,
        }
    }

    fn cross(&mut self, rule: &Rule, at: Timestamp, occurrence: &mut Occurrence) {
        self.crossings.push(at);
        let surplus = self.crossings.len().saturating_sub(Params::MOST_CROSSINGS);
        self.crossings.drain(..surplus);
        let enough = rule.params.flap_crossings.clamp(2, Params::MOST_CROSSINGS);
        occurrence.flapping |= self.crossings.len() >= enough;
    }

    fn forget_crossings(&mut self, rule: &Rule, at: Timestamp) {
        self.crossings
            .retain(|crossing| at.seconds_since(*crossing) < rule.params.flap_window_s);
    }
}

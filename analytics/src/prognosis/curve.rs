//! One curve for all that is said of the future: the probability of failing within any time. The probabilities at the
//! horizons, the middle of the remaining life and the costs that advice compares are all read from it, so that they can't
//! contradict each other.
//!
//! It never falls, because each of its parts is a cumulative hazard and the largest condition counts at each time.

use models::assessment::RemainingLife;

use super::condition::{Condition, Points};
use super::life::AgedLife;
use super::{HORIZONS_H, MOST_SURE};
use crate::learn::remaining::Left;
use crate::reliability::Estimate;

/// Ten years: nothing is looked for beyond.
const FURTHEST_H: f64 = 24.0 * 3652.0;
/// A minute: what comes sooner is now.
const NEAREST_H: f64 = 1.0 / 60.0;

/// The probability of failing within any time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    pub(super) base: Option<AgedLife>,
    pub(super) conditions: Vec<Condition>,
    pub(super) model: Option<ByModel>,
}

/// What the class's failure model says at its horizons, as probabilities, already [`bounded`].
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ByModel(pub Vec<(f64, Estimate)>);

impl Curve {
    /// Probability of failing within `hours` with its interval; `None`: nothing is known.
    pub fn p(&self, hours: f64) -> Option<Estimate> {
        let Some(model) = &self.model else {
            return self.assumed(hours);
        };
        Some(largest(self.by_model(model, hours), self.by_set_limit(hours)))
    }

    /// Cumulative hazard within `hours` with its interval, not held to what the evidence can say: that bounds one number,
    /// and over many years would have part of the machines live for ever.
    pub fn unbounded_hazard(&self, hours: f64) -> Option<Estimate> {
        let Some(model) = &self.model else {
            return self.hazard(hours);
        };
        Some(largest(
            self.model_hazard(model, hours),
            self.worst(hours, 0.0, |condition| condition.by_set_limit),
        ))
    }

    /// Whether it goes on where the condition has had its say: by life data at the machine's age, or by a model.
    pub fn goes_on(&self) -> bool {
        self.base.is_some() || self.model.is_some()
    }

    /// What the condition adds most at that time, in words, where it adds anything.
    pub(super) fn foremost(&self, hours: f64) -> Option<&Condition> {
        let base = self.base_hazard(hours).map_or(0.0, |base| base.value);
        let counted = self.conditions.iter().filter(|condition| self.counts(condition));
        counted
            .map(|condition| (condition.hazard(hours, base).value, condition))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|(hazard, _)| *hazard > 0.0)
            .map(|(_, condition)| condition)
    }

    /// Whether a limit that people set makes a failure likelier than the class's failure model has it.
    pub(super) fn limit_exceeds_model(&self, hours: f64) -> bool {
        self.model
            .as_ref()
            .is_some_and(|model| self.by_set_limit(hours).value > self.by_model(model, hours).value)
    }

    /// Beside a failure model only what it can't know counts: limits that people set.
    fn counts(&self, condition: &Condition) -> bool {
        self.model.is_none() || condition.by_set_limit
    }

    fn base_hazard(&self, hours: f64) -> Option<Estimate> {
        self.base.as_ref().and_then(|life| life.hazard(hours))
    }

    /// Life data and the worst condition, as a hazard.
    fn hazard(&self, hours: f64) -> Option<Estimate> {
        let base = self.base_hazard(hours);
        if base.is_none() && !self.conditions.iter().any(Condition::alone) {
            return None;
        }
        let worst = self.worst(hours, base.map_or(0.0, |base| base.value), |_| true);
        Some(Estimate {
            value: base.map_or(0.0, |h| h.value) + worst.value,
            low: base.map_or(0.0, |h| h.low) + worst.low,
            high: base.map_or(0.0, |h| h.high) + worst.high,
        })
    }

    /// The largest of the conditions, each bound by itself: none of them can be less than what another says alone.
    fn worst(&self, hours: f64, base: f64, which: impl Fn(&Condition) -> bool) -> Estimate {
        let nothing = Estimate {
            value: 0.0,
            low: 0.0,
            high: 0.0,
        };
        let chosen = self.conditions.iter().filter(|condition| which(condition));
        chosen.fold(nothing, |most, condition| {
            largest(most, condition.hazard(hours, base))
        })
    }

    /// Life data and condition, without a model of the class's failures.
    fn assumed(&self, hours: f64) -> Option<Estimate> {
        let hazard = self.hazard(hours)?;
        let failures = self.base.as_ref().map_or(0.0, |base| base.failures as f64);
        let worth = self.conditions.iter().map(|condition| condition.worth);
        Some(bounded(
            probability(hazard),
            1.0 + failures + worth.fold(0.0, f64::max),
        ))
    }

    fn by_set_limit(&self, hours: f64) -> Estimate {
        let worst = self.worst(hours, 0.0, |condition| condition.by_set_limit);
        let worth = self.conditions.iter().filter(|condition| condition.by_set_limit);
        bounded(
            probability(worst),
            1.0 + worth.map(|condition| condition.worth).fold(0.0, f64::max),
        )
    }

    /// At its horizons what the model says, between and beyond them by its hazard.
    fn by_model(&self, model: &ByModel, hours: f64) -> Estimate {
        if let Some((_, exact)) = model.0.iter().find(|(horizon, _)| *horizon == hours) {
            return *exact;
        }
        let p = probability(self.model_hazard(model, hours));
        // What the model may say of its last horizon bounds what is said beyond it, too.
        let most = model.0.last().map_or(MOST_SURE, |(_, last)| last.value.max(0.95));
        let value = p.value.min(most);
        Estimate {
            value,
            low: p.low.min(value),
            high: p.high.max(value).min(MOST_SURE),
        }
    }

    /// Between its horizons in proportion, beyond them as much more as life data and condition add there, or as before.
    fn model_hazard(&self, model: &ByModel, hours: f64) -> Estimate {
        let hazard = |p: f64| -(-p.min(MOST_SURE)).ln_1p();
        let known = model.0.iter().map(|(horizon, p)| {
            let hazards = Estimate {
                value: hazard(p.value),
                low: hazard(p.low),
                high: hazard(p.high),
            };
            (*horizon, hazards)
        });
        let points = Points(known.collect());
        match model.0.last() {
            Some((last, _)) if *last < hours => {
                let at = points.at(*last);
                match (self.hazard(*last), self.hazard(hours)) {
                    (Some(then), Some(later)) => Estimate {
                        value: at.value + (later.value - then.value).max(0.0),
                        low: at.low + (later.low - then.low).max(0.0),
                        high: at.high + (later.high - then.high).max(0.0),
                    },
                    _ => points.at(hours),
                }
            }
            _ => points.at(hours),
        }
    }

    /// The first time by which the share `q` has failed.
    pub(super) fn when(&self, q: f64) -> Option<f64> {
        let reached = |hours: f64| self.p(hours).is_some_and(|p| p.value >= q);
        // The horizons are asked first: what is shown there must agree with the answer exactly.
        let mut known: Vec<f64> = HORIZONS_H.iter().map(|horizon| f64::from(*horizon)).collect();
        known.insert(0, NEAREST_H);
        known.push(FURTHEST_H);
        let place = known.iter().position(|hours| reached(*hours))?;
        let Some(before) = place.checked_sub(1) else {
            return Some(0.0);
        };
        let (mut low, mut high) = (known[before].ln(), known[place].ln());
        for _ in 0..40 {
            let middle = f64::midpoint(low, high);
            if reached(middle.exp()) {
                high = middle;
            } else {
                low = middle;
            }
        }
        // exp(ln x) may be a hair above x.
        Some(high.exp().min(known[place]))
    }

    /// How much is left. `by_runs`: what the class's model of remaining life says, where it is to be shown. Its interval is
    /// as it was judged, unless its middle lies on the other side of a horizon than the probability there says.
    pub(super) fn remaining(&self, by_runs: Option<&Left>) -> Option<RemainingLife> {
        if let Some(left) = by_runs.filter(|left| self.agrees(left)) {
            return Some(left.rul);
        }
        let own = match by_runs {
            Some(left) => Some(left.rul),
            None => self.soonest(),
        };
        let Some(own) = own else {
            // A failure model alone says when only within its horizons.
            let last = self.model.as_ref()?.0.last()?.0;
            let p50_h = self.when(0.5).filter(|hours| *hours <= last)?;
            return Some(RemainingLife {
                p10_h: self.when(0.1).unwrap_or(p50_h).min(p50_h),
                p50_h,
                p90_h: self.when(0.9).filter(|hours| *hours <= last),
            });
        };
        let p50_h = self.when(0.5).unwrap_or(FURTHEST_H);
        Some(RemainingLife {
            p10_h: own.p10_h.min(p50_h),
            p50_h,
            p90_h: own.p90_h.map(|p90_h| p90_h.max(p50_h)),
        })
    }

    /// The condition that ends soonest.
    pub(super) fn soonest(&self) -> Option<RemainingLife> {
        self.conditions
            .iter()
            .filter(|condition| self.counts(condition))
            .filter_map(|condition| condition.rul)
            .min_by(|a, b| a.p50_h.total_cmp(&b.p50_h))
    }

    fn agrees(&self, left: &Left) -> bool {
        HORIZONS_H.iter().all(|horizon| {
            let horizon = f64::from(*horizon);
            let likely = self.p(horizon).is_some_and(|p| p.value >= 0.5);
            // "More than the cap" says nothing of what comes after it.
            likely == (left.rul.p50_h <= horizon) || left.beyond() && horizon >= left.cap_h
        })
    }
}

/// Each bound by itself.
fn largest(a: Estimate, b: Estimate) -> Estimate {
    Estimate {
        value: a.value.max(b.value),
        low: a.low.max(b.low),
        high: a.high.max(b.high),
    }
}

fn probability(hazard: Estimate) -> Estimate {
    let p = |hazard: f64| -(-hazard).exp_m1();
    Estimate {
        value: p(hazard.value),
        low: p(hazard.low),
        high: p(hazard.high),
    }
}

/// Keeps a probability and its interval within what `evidence` observations can say.
pub(super) fn bounded(p: Estimate, evidence: f64) -> Estimate {
    let value = p.value.min((evidence + 0.5) / (evidence + 1.0));
    Estimate {
        value,
        low: p.low.min(value).min(0.1_f64.powf(1.0 / evidence)),
        high: p.high.max(value).min(MOST_SURE),
    }
}

//! Intervals from held-out errors: what a model got wrong on machines it never saw, at predictions like this one. A
//! machine of long life, most of whose rows say that it is well, doesn't count more there than the middle one ([`evened`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stats;

/// Share of the errors that are near enough to a prediction to speak of it.
pub const NEAR: f64 = 0.05;

/// Held-out errors (actual - predicted) by prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conformal {
    /// (prediction, error), ascending.
    errors: Vec<(f64, f64)>,
    /// What each error counts ([`evened`]). Versions of before there were weights have none: all count the same.
    #[serde(default)]
    weights: Vec<f32>,
    neighbours: usize,
}

impl Conformal {
    /// Each interval is drawn from the errors at the nearest predictions, `share` of all of them but at least 50.
    pub fn new(predicted: &[f64], actual: &[f64], machines: &[u64], share: f64) -> Self {
        let mut all: Vec<(f64, f64, f64)> = predicted
            .iter()
            .zip(actual)
            .zip(evened(machines))
            .map(|((p, a), weight)| (*p, a - p, weight))
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let neighbours = ((all.len() as f64 * share) as usize).max(50).min(all.len());
        Self {
            errors: all.iter().map(|(p, error, _)| (*p, *error)).collect(),
            weights: all.iter().map(|(_, _, weight)| *weight as f32).collect(),
            neighbours,
        }
    }

    /// At most `most` of the errors, evenly by prediction: what is kept with a model.
    #[must_use]
    pub fn thinned(self, most: usize) -> Self {
        let all = self.errors.len();
        if all <= most {
            return self;
        }
        let kept = |i: usize| i * all / most;
        let errors: Vec<(f64, f64)> = (0..most).map(|i| self.errors[kept(i)]).collect();
        let weights = (0..most)
            .filter_map(|i| self.weights.get(kept(i)).copied())
            .collect();
        let neighbours = (self.neighbours * most / all).max(50).min(errors.len());
        Self {
            errors,
            weights,
            neighbours,
        }
    }

    /// What came of predictions like this one, 0 to `cap`; empty without errors. What stood at the cap is
    /// known to be more, whatever was predicted, and stays there.
    pub fn outcomes(&self, predicted: f64, cap: f64) -> Outcomes {
        let at = self.errors.partition_point(|e| e.0 < predicted);
        let from = at
            .saturating_sub(self.neighbours / 2)
            .min(self.errors.len() - self.neighbours);
        let near = from..from + self.neighbours;
        let nearly = cap * (1.0 - 1e-9);
        let values = self.errors[near.clone()].iter().map(|(own, error)| {
            if own + error >= nearly {
                cap
            } else {
                (predicted + error).clamp(0.0, cap)
            }
        });
        let weight = |place: usize| self.weights.get(place).map_or(1.0, |weight| f64::from(*weight));
        let mut sorted: Vec<(f64, f64)> = values.zip(near.map(weight)).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        Outcomes { sorted, cap }
    }

    /// p10, p50 and p90 of what came of predictions like this one. `None` without errors. Drift judges by these machines
    /// whose end has come, which an open interval that holds 80 % of all may leave out.
    pub fn band(&self, predicted: f64, cap: f64) -> Option<[f64; 3]> {
        let outcomes = self.outcomes(predicted, cap);
        (!outcomes.is_empty()).then(|| [0.1, 0.5, 0.9].map(|q| outcomes.quantile(q)))
    }

    /// The interval that holds 80 % ([`Outcomes::interval80`]): what reasons say and backtests judge.
    pub fn interval80(&self, predicted: f64, cap: f64) -> Option<(f64, f64)> {
        self.outcomes(predicted, cap).interval80()
    }
}

/// Weights of rows with which no machine counts more than one with the median number of rows. One with fewer doesn't
/// count more for each: a machine that came last month would speak as loud as those known for years.
pub fn evened(machines: &[u64]) -> Vec<f64> {
    let mut rows: BTreeMap<u64, f64> = BTreeMap::new();
    for machine in machines {
        *rows.entry(*machine).or_default() += 1.0;
    }
    let usual = stats::median(rows.values().copied());
    machines
        .iter()
        .map(|machine| rows.get(machine).map_or(1.0, |rows| usual / usual.max(*rows)))
        .collect()
}

/// What came of predictions like one, each with its weight, under a cap.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcomes {
    /// (outcome, weight), ascending.
    sorted: Vec<(f64, f64)>,
    cap: f64,
}

impl Outcomes {
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The outcome that a share of `q` stays below, between the middles of the weights; where all weigh the same it
    /// is [`stats::quantile`] to the bit. NaN without outcomes.
    pub fn quantile(&self, q: f64) -> f64 {
        let (Some(first), Some(last)) = (self.sorted.first(), self.sorted.last()) else {
            return f64::NAN;
        };
        let all: f64 = self.sorted.iter().map(|(_, weight)| weight).sum();
        let place = q.clamp(0.0, 1.0) * (all - (first.1 + last.1) / 2.0);
        let mut at = 0.0;
        for pair in self.sorted.windows(2) {
            let step = (pair[0].1 + pair[1].1) / 2.0;
            if place < at + step {
                return pair[0].0 + (pair[1].0 - pair[0].0) * ((place - at) / step);
            }
            at += step;
        }
        last.0
    }

    /// Whether p90 reaches the cap: the end is not known.
    pub fn open(&self) -> bool {
        self.quantile(0.9) >= self.cap * (1.0 - 1e-9)
    }

    /// The interval that holds 80 %. A closed one is p10 to p90. An open one, which ends at the cap here, has nothing
    /// above it: it begins at p20, from p10 on it would hold 90 %. `None` without outcomes.
    pub fn interval80(&self) -> Option<(f64, f64)> {
        let ends = if self.open() {
            (self.quantile(0.2), self.cap)
        } else {
            (self.quantile(0.1), self.quantile(0.9))
        };
        (!self.is_empty()).then_some(ends)
    }

    /// Share that failed within `hours`; of those at the cap nobody knows when they will.
    pub fn failed_within(&self, hours: f64) -> f64 {
        let weight = |outcomes: &[(f64, f64)]| outcomes.iter().map(|(_, weight)| weight).sum::<f64>();
        let failed = self
            .sorted
            .partition_point(|(left, _)| *left <= hours && *left < self.cap);
        let all = weight(&self.sorted);
        if all > 0.0 {
            weight(&self.sorted[..failed]) / all
        } else {
            0.0
        }
    }
}

/// How intervals did on machines that they were not drawn from, none counting more than the middle one ([`evened`]).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Held {
    /// Share of what came that lay in the 80 % interval, and its mean width.
    pub coverage80: f64,
    pub width80: f64,
    pub below_p10: f64,
    pub above_p90: f64,
}

/// Judges the intervals of each fold's rows by the errors of the other folds.
pub fn held(predicted: &[f64], actual: &[f64], machines: &[u64], folds: &[usize], cap: f64) -> Held {
    let weights = evened(machines);
    let all = weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let mut found = [0.0; 4];
    for fold in 0..folds.iter().max().map_or(0, |last| last + 1) {
        let others: Vec<usize> = (0..folds.len()).filter(|i| folds[*i] != fold).collect();
        let of = |values: &[f64]| others.iter().map(|i| values[*i]).collect::<Vec<_>>();
        let own: Vec<u64> = others.iter().map(|i| machines[*i]).collect();
        let errors = Conformal::new(&of(predicted), &of(actual), &own, NEAR);
        for i in (0..folds.len()).filter(|i| folds[*i] == fold) {
            let outcomes = errors.outcomes(predicted[i], cap);
            let (low, high) = outcomes.interval80().unwrap_or((0.0, cap));
            let one = |yes: bool| f64::from(u8::from(yes));
            let seen = [
                one(low <= actual[i] && actual[i] <= high),
                high - low,
                one(actual[i] < outcomes.quantile(0.1)),
                one(actual[i] > high),
            ];
            for (sum, value) in found.iter_mut().zip(seen) {
                *sum += value * weights[i] / all;
            }
        }
    }
    let [coverage80, width80, below_p10, above_p90] = found;
    Held {
        coverage80,
        width80,
        below_p10,
        above_p90,
    }
}

#[cfg(test)]
mod tests;

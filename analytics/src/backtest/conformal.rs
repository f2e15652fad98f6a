//! Intervals from held-out errors: what a model got wrong on groups it never saw, at predictions like this one.

use serde::{Deserialize, Serialize};

use super::metrics::quantile;
use crate::stats;

/// Held-out errors (actual - predicted) by prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conformal {
    /// (prediction, error), ascending.
    errors: Vec<(f64, f64)>,
    neighbours: usize,
}

impl Conformal {
    /// Each interval is drawn from the errors at the nearest predictions, `share` of all of them but at least 50.
    pub fn new(predicted: &[f64], actual: &[f64], share: f64) -> Self {
        let mut errors: Vec<(f64, f64)> = predicted.iter().zip(actual).map(|(p, a)| (*p, a - p)).collect();
        errors.sort_by(|a, b| a.0.total_cmp(&b.0));
        let neighbours = ((errors.len() as f64 * share) as usize).max(50).min(errors.len());
        Self { errors, neighbours }
    }

    /// At most `most` of the errors, evenly by prediction: what is kept with a model.
    #[must_use]
    pub fn thinned(self, most: usize) -> Self {
        let all = self.errors.len();
        if all <= most {
            return self;
        }
        let errors: Vec<(f64, f64)> = (0..most).map(|i| self.errors[i * all / most]).collect();
        let neighbours = (self.neighbours * most / all).max(50).min(errors.len());
        Self { errors, neighbours }
    }

    /// What came of predictions like this one, 0 to `cap`; empty without errors. What stood at the cap is
    /// known to be more, whatever was predicted, and stays there.
    pub fn outcomes(&self, predicted: f64, cap: f64) -> Vec<f64> {
        let nearly = cap * (1.0 - 1e-9);
        let outcome = |(own, error): &(f64, f64)| {
            if own + error >= nearly {
                cap
            } else {
                (predicted + error).clamp(0.0, cap)
            }
        };
        self.nearest(predicted).iter().map(outcome).collect()
    }

    /// p10, p50 and p90 of what came of predictions like this one: what is served and what backtests judge. `None`
    /// without errors. Where labels stand at the cap in a heap, an interval that reaches it holds more than 80 %: cutting
    /// it down to that share would leave out those machines whose end is in sight.
    pub fn band(&self, predicted: f64, cap: f64) -> Option<[f64; 3]> {
        let outcomes = stats::sorted(self.outcomes(predicted, cap));
        (!outcomes.is_empty()).then(|| [0.1, 0.5, 0.9].map(|q| stats::quantile(&outcomes, q)))
    }

    /// The value that the actual one stays below with probability `q`.
    pub fn quantile(&self, predicted: f64, q: f64) -> f64 {
        let near = self.near(predicted);
        if near.is_empty() {
            predicted
        } else {
            predicted + quantile(&near, q)
        }
    }

    /// The errors at the nearest predictions.
    fn near(&self, predicted: f64) -> Vec<f64> {
        self.nearest(predicted).iter().map(|e| e.1).collect()
    }

    fn nearest(&self, predicted: f64) -> &[(f64, f64)] {
        let at = self.errors.partition_point(|e| e.0 < predicted);
        let half = self.neighbours / 2;
        let from = at.saturating_sub(half).min(self.errors.len() - self.neighbours);
        &self.errors[from..from + self.neighbours]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_follow_the_errors() {
        let predicted: Vec<f64> = (0..2000).map(|i| f64::from(i) / 10.0).collect();
        let wave = |i: usize| ((i * 7919) % 1000) as f64 / 500.0 - 1.0;
        let actual: Vec<f64> = predicted
            .iter()
            .enumerate()
            .map(|(i, p)| p + wave(i) * (1.0 + p / 20.0))
            .collect();
        let c = Conformal::new(&predicted, &actual, 0.1);
        let width = |p: f64| c.quantile(p, 0.9) - c.quantile(p, 0.1);
        assert!((width(10.0) - 2.4).abs() < 0.6 && width(190.0) > 3.0 * width(10.0));
        let inside = predicted
            .iter()
            .zip(&actual)
            .filter(|(p, a)| c.quantile(**p, 0.1) <= **a && **a <= c.quantile(**p, 0.9))
            .count();
        assert!((inside as f64 / 2000.0 - 0.8).abs() < 0.03);
        let thin = c.clone().thinned(500);
        assert_eq!(thin.outcomes(60.0, 200.0).len(), 50);
        assert!((thin.quantile(60.0, 0.9) - c.quantile(60.0, 0.9)).abs() < 1.0);
        // A cap where a third of the labels stand: below it a band holds what it says, at it more and never less.
        let capped: Vec<f64> = actual.iter().map(|a| a.min(130.0)).collect();
        let c = Conformal::new(&predicted, &capped, 0.1);
        let inside = |from: usize, to: usize| {
            let held = (from..to).filter(|i| {
                let [low, middle, high] = c.band(predicted[*i], 130.0).unwrap();
                assert!(low <= middle && middle <= high);
                low <= capped[*i] && capped[*i] <= high
            });
            held.count() as f64 / (to - from) as f64
        };
        assert!((inside(0, 1200) - 0.8).abs() < 0.04, "{}", inside(0, 1200));
        assert!(inside(1250, 1400) > 0.85, "{}", inside(1250, 1400));
        // What stood at the cap is there exactly, and not a little below it.
        assert!(c.outcomes(150.0, 130.0).iter().all(|outcome| *outcome == 130.0));
        assert_eq!(Conformal::new(&[], &[], 0.1).quantile(5.0, 0.5), 5.0);
        assert_eq!(Conformal::new(&[], &[], 0.1).band(5.0, 9.0), None);
    }
}

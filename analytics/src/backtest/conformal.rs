//! Intervals from held-out errors: what a model got wrong on groups it never saw, at predictions like this one.

use serde::{Deserialize, Serialize};

use super::metrics::quantile;

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

    /// The interval within `limits` that holds the actual value with probability `share`. Half of the rest lies
    /// on each side, but a limit that is reached leaves nothing beyond it (labels cut at a cap stand there in
    /// a heap), and then the other side takes its half too: without that an interval at the cap holds more than
    /// it says, and is wider than it needs to be.
    pub fn interval(&self, predicted: f64, share: f64, limits: (f64, f64)) -> (f64, f64) {
        let near = self.near(predicted);
        if near.is_empty() {
            return limits;
        }
        let outcome: Vec<f64> = near
            .iter()
            .map(|e| (predicted + e).clamp(limits.0, limits.1))
            .collect();
        let n = outcome.len() as f64;
        let (rest, half) = (1.0 - share, (1.0 - share) / 2.0);
        let (low, high) = (quantile(&outcome, half), quantile(&outcome, 1.0 - half));
        let below = outcome.iter().filter(|o| **o < low).count() as f64 / n;
        let above = outcome.iter().filter(|o| **o > high).count() as f64 / n;
        match (low <= limits.0, high >= limits.1) {
            (false, true) => (quantile(&outcome, rest - above), high),
            (true, false) => (low, quantile(&outcome, 1.0 - (rest - below))),
            _ => (low, high),
        }
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
        // A cap where a third of the labels stand: the interval at it still holds what it says.
        let capped: Vec<f64> = actual.iter().map(|a| a.min(130.0)).collect();
        let c = Conformal::new(&predicted, &capped, 0.1);
        let inside = |from: usize, to: usize| {
            let held = (from..to).filter(|i| {
                let (low, high) = c.interval(predicted[*i], 0.8, (0.0, 130.0));
                low <= capped[*i] && capped[*i] <= high
            });
            held.count() as f64 / (to - from) as f64
        };
        assert!((inside(0, 1200) - 0.8).abs() < 0.04, "{}", inside(0, 1200));
        // What stood at the cap is there exactly, and not a little below it.
        assert!(c.outcomes(150.0, 130.0).iter().all(|outcome| *outcome == 130.0));
        // Beyond the cap every label stands at it, and any interval holds it.
        assert!((inside(1200, 1280) - 0.8).abs() < 0.12, "{}", inside(1200, 1280));
        assert_eq!(Conformal::new(&[], &[], 0.1).quantile(5.0, 0.5), 5.0);
        assert_eq!(
            Conformal::new(&[], &[], 0.1).interval(5.0, 0.8, (0.0, 9.0)),
            (0.0, 9.0)
        );
    }
}

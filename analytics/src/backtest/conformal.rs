//! Intervals from held-out errors: what a model got wrong on groups it never saw, at predictions like this one.

use super::metrics::quantile;

/// Held-out errors (actual - predicted) by prediction.
#[derive(Debug, Clone)]
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

    /// The value that the actual one stays below with probability `q`.
    pub fn quantile(&self, predicted: f64, q: f64) -> f64 {
        let at = self.errors.partition_point(|e| e.0 < predicted);
        let half = self.neighbours / 2;
        let from = at.saturating_sub(half).min(self.errors.len() - self.neighbours);
        let near: Vec<f64> = self.errors[from..from + self.neighbours]
            .iter()
            .map(|e| e.1)
            .collect();
        if near.is_empty() {
            predicted
        } else {
            predicted + quantile(&near, q)
        }
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
        assert_eq!(Conformal::new(&[], &[], 0.1).quantile(5.0, 0.5), 5.0);
    }
}

//! The three measures of drift, without a model or a database.

use serde::Serialize;

/// One feature now against training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shift {
    pub name: String,
    pub psi: f64,
    pub ks: f64,
}

/// Population stability index and Kolmogorov-Smirnov distance of `now` against training quantiles in
/// steps of a twentieth. `None` without values on both sides.
pub fn shift(quantiles: &[f32], now: &[f64]) -> Option<(f64, f64)> {
    let values = crate::stats::sorted(now.iter().copied());
    if quantiles.len() != 21 || values.is_empty() {
        return None;
    }
    let n = values.len() as f64;
    let below = |edge: f64| values.partition_point(|value| *value <= edge) as f64 / n;
    // Deciles; equal edges (a feature with few values) fall together and so do their shares.
    let (mut psi, mut ks, mut expected, mut before) = (0.0, 0.0_f64, 0.0, 0.0);
    for place in 1..=20 {
        let edge = f64::from(quantiles[place]);
        if place < 20 && f64::from(quantiles[place + 1]) == edge {
            continue;
        }
        let share = place as f64 / 20.0;
        let own = if place == 20 { 1.0 } else { below(edge) };
        if place < 20 {
            ks = ks.max((own - share).abs());
        }
        if place % 2 == 0 || place == 20 {
            let (e, a) = ((share - expected).max(1e-4), (own - before).max(1e-4));
            psi += (a - e) * (a / e).ln();
            (expected, before) = (share, own);
        }
    }
    Some((psi, ks))
}

/// Page and Hinkley's test for a rise of the mean of errors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PageHinkley {
    n: f64,
    mean: f64,
    sum: f64,
    lowest: f64,
}

impl PageHinkley {
    /// The next error; returns how far the sum stands above its lowest point. `slack` is a rise that is
    /// tolerated.
    pub fn push(&mut self, error: f64, slack: f64) -> f64 {
        self.n += 1.0;
        self.mean += (error - self.mean) / self.n;
        self.sum += error - self.mean - slack;
        self.lowest = self.lowest.min(self.sum);
        self.sum - self.lowest
    }
}

/// Fewest errors in whose mean a rise can be told from chance.
const LEAST_ERRORS: usize = 14;

/// Errors in order of time, independent of each other: does their mean rise? In units of their spread.
pub fn rises(errors: &[f64]) -> Option<f64> {
    if errors.len() < LEAST_ERRORS {
        return None;
    }
    let spread = crate::stats::spread(errors.iter().copied())?;
    let sd = {
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        (errors.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / errors.len() as f64).sqrt()
    };
    let unit = sd.max(spread.scale).max(1e-6);
    let mut test = PageHinkley::default();
    let highest = errors
        .iter()
        .map(|error| test.push(error / unit, 0.25))
        .fold(0.0, f64::max);
    (highest > 10.0 + 0.02 * errors.len() as f64).then_some(highest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    fn quantiles(values: &[f64]) -> Vec<f32> {
        let values = crate::stats::sorted(values.iter().copied());
        (0..=20)
            .map(|i| crate::stats::quantile(&values, f64::from(i) / 20.0) as f32)
            .collect()
    }

    #[test]
    fn a_shift_is_measured_and_the_same_distribution_is_none() {
        let train: Vec<f64> = (0..2000).map(noise).collect();
        let edges = quantiles(&train);
        let same: Vec<f64> = (5000..6000).map(noise).collect();
        let moved: Vec<f64> = same.iter().map(|v| v + 1.5).collect();
        let (psi, ks) = shift(&edges, &same).unwrap();
        assert!(psi < 0.05 && ks < 0.06, "{psi} {ks}");
        let (psi, ks) = shift(&edges, &moved).unwrap();
        assert!(psi > 1.0 && ks > 0.4, "{psi} {ks}");
        // A constant stays one, and a flag is no continuous number.
        let (psi, _) = shift(&quantiles(&[3.0; 50]), &[3.0; 70]).unwrap();
        assert_eq!(psi, 0.0);
        assert_eq!(shift(&[], &same), None);
        assert_eq!(shift(&edges, &[f64::NAN]), None);
    }

    #[test]
    fn page_and_hinkley_call_a_rise_and_not_noise() {
        let quiet: Vec<f64> = (0..1000).map(|i| noise(i).abs()).collect();
        assert_eq!(rises(&quiet), None);
        let rising: Vec<f64> = (0..1000)
            .map(|i| noise(i).abs() + if i > 600 { 1.5 } else { 0.0 })
            .collect();
        assert!(rises(&rising).is_some());
        assert_eq!(rises(&[]), None);
    }
}

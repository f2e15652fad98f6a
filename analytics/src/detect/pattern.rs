//! Many signals at once: deviations that no single channel shows, such as a temperature that is
//! normal but not at this load.
//!
//! Principal components (linfa) of the exponentially weighted deviations. T² measures how far a point
//! lies within the space of the kept components, Q how far outside of it: together they are the
//! EWMA-Mahalanobis distance, split in "more of the usual" and "a relation is broken". Each comes with
//! every channel's share, which adds up to 1. Limits: the F distribution's, widened by how far the
//! healthy data went themselves, because smoothed data are not independent.

use linfa::DatasetBase;
use linfa::traits::Fit;
use linfa_reduction::Pca;
use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, FisherSnedecor};

use crate::stats;

/// Share of the variance that the kept components carry.
const KEEP: f64 = 0.9;
/// Channels beyond which a pattern needs more rows than the components could ever get.
const MAX_COMPONENTS: usize = 10;
/// A joint picture needs two channels and this many rows for each component.
const ROWS_PER_COMPONENT: usize = 10;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pattern {
    mean: Vec<f64>,
    /// One row for each component.
    components: Vec<Vec<f64>>,
    variances: Vec<f64>,
    /// Variance of a channel that the components don't carry.
    rest: f64,
    t2_limit: f64,
    q_limit: f64,
}

/// How far a point is from the pattern. 1 = at the limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Departure {
    pub t2: f64,
    pub q: f64,
    /// Of the larger of the two; adds up to 1.
    pub shares: Vec<f64>,
}

impl Departure {
    pub fn anomaly(&self) -> f64 {
        self.t2.max(self.q)
    }
}

impl Pattern {
    /// Learns from columns of equal length, NaN = missing. `None`: too few of them.
    ///
    /// # Errors
    /// When the decomposition fails.
    pub fn learn(columns: &[&[f64]]) -> anyhow::Result<Option<Self>> {
        let steps = columns.first().map_or(0, |column| column.len());
        // A channel that is rarely there would take the rows of all others away.
        let rows: Vec<usize> = (0..steps)
            .filter(|step| columns.iter().all(|column| column[*step].is_finite()))
            .collect();
        let width = columns.len();
        let most = (rows.len() / ROWS_PER_COMPONENT).min(MAX_COMPONENTS);
        if width < 2 || most < 1 {
            return Ok(None);
        }
        let data = Array2::from_shape_fn((rows.len(), width), |(row, column)| {
            columns[column][rows[row]].clamp(-CLIP, CLIP)
        });
        let n = rows.len() as f64;
        let pca = Pca::params(width.min(rows.len() - 1)).fit(&DatasetBase::from(data.clone()))?;
        let variances: Vec<f64> = pca
            .singular_values()
            .iter()
            .map(|sigma| sigma * sigma / (n - 1.0))
            .collect();
        let total: f64 = variances.iter().sum();
        if !total.is_finite() || total <= 0.0 {
            return Ok(None);
        }
        let mut kept = 0;
        let mut carried = 0.0;
        while kept < variances.len().min(most) && carried < KEEP * total {
            carried += variances[kept];
            kept += 1;
        }
        // A component with next to no variance would make a mountain of a rounding error.
        let floor = 1e-3 * total / width as f64;
        let mut pattern = Self {
            mean: pca.mean().to_vec(),
            components: pca
                .components()
                .rows()
                .into_iter()
                .take(kept)
                .map(|row| row.to_vec())
                .collect(),
            variances: variances
                .iter()
                .take(kept)
                .map(|variance| variance.max(floor))
                .collect(),
            rest: (variances.iter().skip(kept).sum::<f64>() / width as f64).max(floor),
            t2_limit: 1.0,
            q_limit: 1.0,
        };
        let healthy: Vec<(f64, f64)> = data
            .rows()
            .into_iter()
            .map(|row| pattern.distances(&row.to_vec()))
            .map(|(t2, q, _)| (t2, q))
            .collect();
        let (p, most_t2) = (kept as f64, healthy.iter().map(|(t2, _)| *t2).fold(0.0, f64::max));
        let f = FisherSnedecor::new(p, (n - p).max(1.0))?.inverse_cdf(0.9999);
        pattern.t2_limit = (p * (n + 1.0) * (n - 1.0) / (n * (n - p).max(1.0)) * f).max(2.25 * most_t2);
        let qs = stats::sorted(healthy.iter().map(|(_, q)| *q));
        let rest = variances.iter().skip(kept).sum::<f64>().max(floor);
        pattern.q_limit = (2.25 * qs.last().copied().unwrap_or(0.0))
            .max(6.0 * stats::quantile(&qs, 0.5))
            .max(6.0 * rest);
        Ok(Some(pattern))
    }

    pub fn components(&self) -> usize {
        self.components.len()
    }

    /// How far a point of smoothed deviations is. A missing channel is taken to be where the others
    /// would have it.
    pub fn departure(&self, point: &[Option<f64>]) -> Departure {
        let point = self.complete(point);
        let (t2, q, scores) = self.distances(&point);
        // As lengths, not squares: twice as far is twice as much.
        let (t2_ratio, q_ratio) = ((t2 / self.t2_limit).sqrt(), (q / self.q_limit).sqrt());
        let mut shares: Vec<f64> = if t2_ratio >= q_ratio {
            // The channel's part in the sum over components of score²/variance; negative parts are
            // channels that hold against it.
            (0..point.len())
                .map(|j| {
                    let part = |k: usize| {
                        scores[k] / self.variances[k] * self.components[k][j] * (point[j] - self.mean[j])
                    };
                    (0..scores.len()).map(part).sum::<f64>().max(0.0)
                })
                .collect()
        } else {
            (0..point.len())
                .map(|j| self.residual(&point, &scores, j).powi(2))
                .collect()
        };
        let sum: f64 = shares.iter().sum();
        for share in &mut shares {
            *share = if sum > 0.0 { *share / sum } else { 0.0 };
        }
        Departure {
            t2: t2_ratio,
            q: q_ratio,
            shares,
        }
    }

    /// Fills what is missing by its expectation given the rest: the scores that fit the known channels
    /// best, held back by how far scores usually go.
    fn complete(&self, point: &[Option<f64>]) -> Vec<f64> {
        let centred: Vec<Option<f64>> = point
            .iter()
            .zip(&self.mean)
            .map(|(value, mean)| value.map(|value| value.clamp(-CLIP, CLIP) - mean))
            .collect();
        let k = self.components.len();
        let mut scores = Array1::zeros(k);
        if centred.iter().any(Option::is_none) {
            let known = || {
                centred
                    .iter()
                    .enumerate()
                    .filter_map(|(j, value)| value.map(|value| (j, value)))
            };
            let mut matrix = Array2::from_shape_fn((k, k), |(a, b)| {
                let product: f64 = known()
                    .map(|(j, _)| self.components[a][j] * self.components[b][j])
                    .sum();
                product
                    + if a == b {
                        self.rest / self.variances[a]
                    } else {
                        0.0
                    }
            });
            for a in 0..k {
                scores[a] = known().map(|(j, value)| self.components[a][j] * value).sum();
            }
            solve(&mut matrix, &mut scores);
        }
        (0..point.len())
            .map(|j| {
                let expected = || (0..k).map(|a| self.components[a][j] * scores[a]).sum();
                self.mean[j] + centred[j].unwrap_or_else(expected)
            })
            .collect()
    }

    fn distances(&self, point: &[f64]) -> (f64, f64, Vec<f64>) {
        let scores: Vec<f64> = self
            .components
            .iter()
            .map(|component| {
                (0..point.len())
                    .map(|j| component[j] * (point[j] - self.mean[j]))
                    .sum()
            })
            .collect();
        let t2 = scores
            .iter()
            .zip(&self.variances)
            .map(|(score, variance)| score * score / variance)
            .sum();
        let q = (0..point.len())
            .map(|j| self.residual(point, &scores, j).powi(2))
            .sum();
        (t2, q, scores)
    }

    fn residual(&self, point: &[f64], scores: &[f64], j: usize) -> f64 {
        let explained: f64 = self
            .components
            .iter()
            .zip(scores)
            .map(|(component, score)| component[j] * score)
            .sum();
        point[j] - self.mean[j] - explained
    }
}

/// Solves a symmetric, positive definite system in place, by elimination.
fn solve(matrix: &mut Array2<f64>, right: &mut Array1<f64>) {
    let n = right.len();
    for pivot in 0..n {
        for row in pivot + 1..n {
            let factor = matrix[[row, pivot]] / matrix[[pivot, pivot]];
            for column in pivot..n {
                matrix[[row, column]] -= factor * matrix[[pivot, column]];
            }
            right[row] -= factor * right[pivot];
        }
    }
    for row in (0..n).rev() {
        let rest: f64 = (row + 1..n)
            .map(|column| matrix[[row, column]] * right[column])
            .sum();
        right[row] = (right[row] - rest) / matrix[[row, row]];
    }
}

/// Deviations beyond say no more than "very far" and would drown the shares of the others.
const CLIP: f64 = 50.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    fn healthy() -> Vec<Vec<f64>> {
        // b follows a, c is on its own.
        let a: Vec<f64> = (0..200).map(noise).collect();
        let b = a
            .iter()
            .enumerate()
            .map(|(i, a)| a + 0.1 * noise(i + 1000))
            .collect();
        let c = (0..200).map(|i| noise(i + 5000)).collect();
        vec![a, b, c]
    }

    fn learn() -> Pattern {
        let columns = healthy();
        Pattern::learn(&columns.iter().map(Vec::as_slice).collect::<Vec<_>>())
            .unwrap()
            .unwrap()
    }

    #[test]
    fn healthy_points_are_inside() {
        let (pattern, columns) = (learn(), healthy());
        for i in 0..200 {
            let point: Vec<_> = columns.iter().map(|column| Some(column[i])).collect();
            assert!(pattern.departure(&point).anomaly() < 0.7);
        }
    }

    #[test]
    fn a_broken_relation_is_seen_though_each_value_is_ordinary() {
        let departure = learn().departure(&[Some(1.5), Some(-1.5), Some(0.0)]);
        assert!(departure.q > 1.0 && departure.q > departure.t2, "{departure:?}");
        assert!(departure.shares[0] + departure.shares[1] > 0.95);
        assert!((departure.shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn far_out_along_the_usual_names_its_channel() {
        let departure = learn().departure(&[Some(0.0), None, Some(12.0)]);
        assert!(departure.t2 > 1.0 && departure.shares[2] > 0.9, "{departure:?}");
    }

    #[test]
    fn a_missing_channel_is_where_the_others_have_it() {
        let (pattern, columns) = (learn(), healthy());
        for ((a, b), c) in columns[0].iter().zip(&columns[1]).zip(&columns[2]) {
            let point = [Some(*a), None, Some(*c)];
            let completed = pattern.complete(&point);
            assert!((completed[1] - b).abs() < 0.6, "{} for {b}", completed[1]);
            assert!(pattern.departure(&point).anomaly() < 0.7);
        }
        assert_eq!(pattern.departure(&[None, None, None]).anomaly().round(), 0.0);
    }

    #[test]
    fn one_channel_or_few_rows_make_no_pattern() {
        let column: Vec<f64> = (0..100).map(noise).collect();
        assert_eq!(Pattern::learn(&[&column]).unwrap(), None);
        assert_eq!(Pattern::learn(&[&column[..5], &column[5..10]]).unwrap(), None);
        assert_eq!(Pattern::learn(&[]).unwrap(), None);
    }
}

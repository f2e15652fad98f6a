use serde::{Deserialize, Serialize};

/// What a fit minimises.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Loss {
    /// Squared error: predicts the mean.
    #[default]
    Squared,
    /// Log loss of labels 0 and 1: the raw score is the log odds.
    Logistic,
    /// Pinball loss: predicts a quantile.
    Pinball { quantile: f64 },
}

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Loss {
    /// First and second derivative at raw score `f`.
    pub(super) fn gradient(&self, y: f64, f: f64) -> (f64, f64) {
        match *self {
            Loss::Squared => (f - y, 1.0),
            Loss::Logistic => {
                let p = sigmoid(f);
                (p - y, (p * (1.0 - p)).max(1e-12))
            }
            Loss::Pinball { quantile } => (if y < f { 1.0 - quantile } else { -quantile }, 1.0),
        }
    }

    pub(super) fn value(&self, y: f64, f: f64) -> f64 {
        match *self {
            Loss::Squared => (y - f) * (y - f),
            // ln(1 + e^f) - y f, without overflow.
            Loss::Logistic => f.max(0.0) + (-f.abs()).exp().ln_1p() - y * f,
            Loss::Pinball { quantile } => {
                if y < f {
                    (1.0 - quantile) * (f - y)
                } else {
                    quantile * (y - f)
                }
            }
        }
    }

    /// The best constant score.
    pub(super) fn base(&self, y: &[f64], w: &[f64]) -> f64 {
        match *self {
            Loss::Squared => mean(y, w),
            Loss::Logistic => {
                let p = mean(y, w).clamp(1e-6, 1.0 - 1e-6);
                (p / (1.0 - p)).ln()
            }
            Loss::Pinball { quantile } => {
                weighted_quantile(y.iter().copied().zip(w.iter().copied()).collect(), quantile)
            }
        }
    }
}

/// Weighted mean, summed in the order of the values so that the order of the rows does not show in the last bits.
fn mean(y: &[f64], w: &[f64]) -> f64 {
    let mut pairs: Vec<(f64, f64)> = y.iter().copied().zip(w.iter().copied()).collect();
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let weight: f64 = pairs.iter().map(|p| p.1).sum();
    pairs.iter().map(|p| p.0 * p.1).sum::<f64>() / weight
}

/// Smallest value whose cumulated weight reaches the share `q`, half-way to the next at an exact hit.
pub(super) fn weighted_quantile(mut pairs: Vec<(f64, f64)>, q: f64) -> f64 {
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let target = q * pairs.iter().map(|p| p.1).sum::<f64>();
    let mut sum = 0.0;
    for (i, (value, weight)) in pairs.iter().enumerate() {
        sum += weight;
        if sum > target {
            return *value;
        }
        if sum == target {
            return pairs.get(i + 1).map_or(*value, |next| 0.5 * (value + next.0));
        }
    }
    pairs.last().map_or(0.0, |p| p.0)
}

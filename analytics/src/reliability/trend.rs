use serde::{Deserialize, Serialize};

use super::error::{ReliabilityError, Result};
use super::numeric::normal_cdf;
use super::weibull::{Interval, two_sided};

/// Mann-Kendall test of a monotone trend.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MannKendall {
    pub s: f64,
    pub variance: f64,
    pub z: f64,
    pub p_value: f64,
}

/// Sum of t(t-1)(2t+5) over groups of equal values.
fn tie_term(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
        .chunk_by(|a, b| a == b)
        .map(|g| g.len() as f64)
        .map(|t| t * (t - 1.0) * (2.0 * t + 5.0))
        .sum()
}

fn check(values: &[f64]) -> Result<()> {
    if values.len() < 3 {
        return Err(ReliabilityError::NoData);
    }
    match values.iter().position(|v| !v.is_finite()) {
        Some(index) => Err(ReliabilityError::InvalidValue {
            index,
            value: values[index],
            what: "value",
        }),
        None => Ok(()),
    }
}

/// # Errors
/// Fewer than three values, or one that is not finite.
pub fn mann_kendall(y: &[f64]) -> Result<MannKendall> {
    check(y)?;
    let mut s = 0.0;
    for (i, a) in y.iter().enumerate() {
        s += y[i + 1..]
            .iter()
            .map(|b| f64::from(i8::from(b > a) - i8::from(b < a)))
            .sum::<f64>();
    }
    let n = y.len() as f64;
    let variance = (n * (n - 1.0) * (2.0 * n + 5.0) - tie_term(y)) / 18.0;
    let z = if s == 0.0 || variance <= 0.0 {
        0.0
    } else {
        (s - s.signum()) / variance.sqrt()
    };
    Ok(MannKendall {
        s,
        variance,
        z,
        p_value: 2.0 * normal_cdf(-z.abs()),
    })
}

/// Theil-Sen line: the median of all slopes, not moved by outliers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TheilSen {
    pub slope: f64,
    pub intercept: f64,
    pub slope_bounds: Interval,
}

/// # Errors
/// Fewer than three points, values that are not finite, or one single x.
pub fn theil_sen(x: &[f64], y: &[f64], confidence: f64) -> Result<TheilSen> {
    check(x)?;
    check(y)?;
    if x.len() != y.len() {
        return Err(ReliabilityError::NoData);
    }
    let mut slopes = Vec::with_capacity(x.len() * (x.len() - 1) / 2);
    for i in 0..x.len() {
        slopes.extend(
            (i + 1..x.len())
                .filter(|j| x[*j] != x[i])
                .map(|j| (y[j] - y[i]) / (x[j] - x[i])),
        );
    }
    if slopes.is_empty() {
        return Err(ReliabilityError::NoSpread);
    }
    slopes.sort_by(f64::total_cmp);
    let slope = median(&mut slopes.clone());
    let n = x.len() as f64;
    let variance = (n * (n - 1.0) * (2.0 * n + 5.0) - tie_term(x) - tie_term(y)) / 18.0;
    let half = two_sided(confidence)? * variance.max(0.0).sqrt();
    let count = slopes.len() as f64;
    let low = (((count - half) / 2.0).round_ties_even() - 1.0).max(0.0) as usize;
    let high = ((count + half) / 2.0).round_ties_even().min(count - 1.0) as usize;
    Ok(TheilSen {
        slope,
        intercept: median(&mut y.to_vec()) - slope * median(&mut x.to_vec()),
        slope_bounds: Interval {
            low: slopes[low],
            high: slopes[high],
        },
    })
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let m = values.len() / 2;
    if values.len() % 2 == 1 {
        values[m]
    } else {
        0.5 * (values[m - 1] + values[m])
    }
}

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, FisherSnedecor};

use super::error::{ReliabilityError, Result, confidence_level, positive};
use super::numeric::{chi2_quantile, root};
use super::recurrence::Ending;
use super::weibull::Interval;

/// Mean time between failures at a constant rate, with exact chi-square bounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mtbf {
    /// None without a failure.
    pub value: Option<f64>,
    pub low: f64,
    /// None without a failure: nothing limits it.
    pub high: Option<f64>,
}

/// # Errors
/// No operating time, a confidence level outside (0, 1), or an observation ended by a failure without one.
pub fn mtbf(failures: usize, total_time: f64, ending: Ending, confidence: f64) -> Result<Mtbf> {
    positive("the total time", total_time)?;
    confidence_level(confidence)?;
    if failures == 0 && ending == Ending::Failure {
        return Err(ReliabilityError::NoFailures);
    }
    let r = failures as f64;
    let side = (1.0 + confidence) / 2.0;
    let low_degrees = if ending == Ending::Time {
        2.0 * r + 2.0
    } else {
        2.0 * r
    };
    // Without a failure only the lower bound exists.
    Ok(Mtbf {
        value: (failures > 0).then(|| total_time / r),
        low: 2.0 * total_time / chi2_quantile(side, low_degrees),
        high: (failures > 0).then(|| 2.0 * total_time / chi2_quantile(1.0 - side, 2.0 * r)),
    })
}

/// One-sided lower bound of the MTBF.
///
/// # Errors
/// As [`mtbf`].
pub fn mtbf_lower(failures: usize, total_time: f64, confidence: f64) -> Result<f64> {
    positive("the total time", total_time)?;
    confidence_level(confidence)?;
    Ok(2.0 * total_time / chi2_quantile(confidence, 2.0 * failures as f64 + 2.0))
}

/// Mean time to repair with bounds, repairs taken as exponential.
///
/// # Errors
/// No repairs, or a repair time that is not above zero.
pub fn mttr(repairs: &[f64], confidence: f64) -> Result<(f64, Interval)> {
    if repairs.is_empty() {
        return Err(ReliabilityError::NoData);
    }
    let total: f64 = repairs.iter().sum();
    let m = mtbf(repairs.len(), total, Ending::Failure, confidence)?;
    let mean = total / repairs.len() as f64;
    Ok((
        mean,
        Interval {
            low: m.low,
            high: m.high.unwrap_or(f64::INFINITY),
        },
    ))
}

/// MTBF / (MTBF + MTTR).
pub fn inherent_availability(mtbf: f64, mttr: f64) -> f64 {
    mtbf / (mtbf + mttr)
}

/// Uptime share of the time observed.
pub fn operational_availability(uptime: f64, downtime: f64) -> f64 {
    uptime / (uptime + downtime)
}

/// Bounds of the availability after `n` exponential up times and as many repairs, from the F distribution.
///
/// # Errors
/// No cycles, times that are not above zero.
pub fn availability_bounds(uptime: f64, downtime: f64, n: usize, confidence: f64) -> Result<Interval> {
    positive("the uptime", uptime)?;
    positive("the downtime", downtime)?;
    confidence_level(confidence)?;
    let degrees = 2.0 * n as f64;
    let f = FisherSnedecor::new(degrees, degrees).map_err(|_| ReliabilityError::NoData)?;
    let side = (1.0 + confidence) / 2.0;
    // The library's quantile is coarse: solve for the logarithm of the ratio instead.
    let spread = root(0.0, 40.0, |x| f.cdf(x.exp()) - side)?.exp();
    let ratio = downtime / uptime;
    Ok(Interval {
        low: 1.0 / (1.0 + ratio * spread),
        high: 1.0 / (1.0 + ratio / spread),
    })
}

/// Availability of parts that are all needed.
pub fn series(parts: &[f64]) -> f64 {
    parts.iter().product()
}

/// Availability of parts of which one is enough.
pub fn parallel(parts: &[f64]) -> f64 {
    1.0 - parts.iter().map(|a| 1.0 - a).product::<f64>()
}

/// Availability of `n` equal parts of which `k` are needed.
pub fn k_out_of_n(k: u32, n: u32, a: f64) -> f64 {
    let choose = |i: u32| {
        (0..i)
            .map(|j| f64::from(n - j) / f64::from(j + 1))
            .product::<f64>()
    };
    (k..=n)
        .map(|i| choose(i) * a.powi(i as i32) * (1.0 - a).powi((n - i) as i32))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn availability_narrows_with_cycles() {
        let few = availability_bounds(1000.0, 20.0, 3, 0.9).unwrap();
        let many = availability_bounds(1000.0, 20.0, 300, 0.9).unwrap();
        let a = operational_availability(1000.0, 20.0);
        assert!(few.contains(a) && many.contains(a) && few.low < many.low && many.high < few.high);
        assert!(availability_bounds(1000.0, 20.0, 0, 0.9).is_err());
    }

    #[test]
    fn no_repairs_is_said() {
        assert_eq!(mttr(&[], 0.9), Err(ReliabilityError::NoData));
        let (mean, bounds) = mttr(&[1.0, 2.0, 6.0], 0.9).unwrap();
        assert!(mean == 3.0 && bounds.contains(3.0));
    }
}

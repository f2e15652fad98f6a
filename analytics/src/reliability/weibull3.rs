use serde::{Deserialize, Serialize};

use super::error::{ReliabilityError, Result};
use super::jet::{Jet, maximise};
use super::life::{Life, check};
use super::weibull::{Interval, Weibull, fit, log_bounds, log_likelihood, two_sided};

/// A fitted three-parameter Weibull.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Weibull3Fit {
    pub distribution: Weibull,
    pub log_likelihood: f64,
    pub failures: usize,
    pub suspensions: usize,
    /// Covariance of (ln η, ln β, γ).
    pub covariance: [[f64; 3]; 3],
}

impl Weibull3Fit {
    pub fn aic(&self) -> f64 {
        6.0 - 2.0 * self.log_likelihood
    }

    pub fn beta_bounds(&self, confidence: f64) -> Result<Interval> {
        log_bounds(self.distribution.beta, self.covariance[1][1].sqrt(), confidence)
    }

    pub fn eta_bounds(&self, confidence: f64) -> Result<Interval> {
        log_bounds(self.distribution.eta, self.covariance[0][0].sqrt(), confidence)
    }

    pub fn gamma_bounds(&self, confidence: f64) -> Result<Interval> {
        let half = two_sided(confidence)? * self.covariance[2][2].sqrt();
        let g = self.distribution.gamma;
        Ok(Interval {
            low: (g - half).max(0.0),
            high: g + half,
        })
    }
}

/// Fits shape, scale and failure-free time. The likelihood has a spike without end where γ meets the first failure, so
/// the estimate is its highest *interior* maximum.
///
/// # Errors
/// Fewer than four failures, and `NoFailureFreeTime` if there is no interior maximum above zero: then two parameters
/// say as much.
pub fn fit3(lives: &[Life]) -> Result<Weibull3Fit> {
    let failures = check(lives)?;
    if failures < 4 {
        return Err(ReliabilityError::TooFewFailures {
            found: failures,
            needed: 4,
        });
    }
    let first = lives
        .iter()
        .filter(|l| l.is_failure())
        .map(Life::age)
        .fold(f64::INFINITY, f64::min);
    // Distance from γ to the first failure, on a logarithmic grid.
    let profile: Vec<(f64, Option<(Weibull, f64)>)> = (0..=60)
        .map(|i| {
            let gamma = first * (1.0 - (f64::from(i) / 60.0 * -7.0).exp());
            (gamma, at(lives, gamma))
        })
        .collect();
    let height = |i: usize| profile[i].1.as_ref().map_or(f64::NEG_INFINITY, |p| p.1);
    let peak = (1..60)
        .filter(|i| height(*i) > height(i - 1) && height(*i) >= height(i + 1))
        .max_by(|a, b| height(*a).total_cmp(&height(*b)))
        .ok_or(ReliabilityError::NoFailureFreeTime)?;
    let (gamma, Some((start, _))) = &profile[peak] else {
        return Err(ReliabilityError::NoFailureFreeTime);
    };
    let from = [start.eta.ln(), start.beta.ln(), gamma / first];
    let best = maximise("the failure-free time", from, 3.0, |x| {
        let gamma = Jet::<3>::variable(x[2], 2).scale(first);
        if x[2] >= 1.0 {
            return Jet::constant(f64::NEG_INFINITY);
        }
        log_likelihood(
            lives,
            (Jet::variable(x[0], 0), Jet::variable(x[1], 1).exp()),
            gamma,
        )
    })?;
    if best.x[2] <= 0.0 {
        return Err(ReliabilityError::NoFailureFreeTime);
    }
    let mut covariance = best.covariance;
    covariance.iter_mut().for_each(|row| row[2] *= first);
    covariance[2].iter_mut().for_each(|c| *c *= first);
    Ok(Weibull3Fit {
        distribution: Weibull {
            beta: best.x[1].exp(),
            eta: best.x[0].exp(),
            gamma: best.x[2] * first,
        },
        log_likelihood: best.value,
        failures,
        suspensions: lives.len() - failures,
        covariance,
    })
}

/// Two-parameter fit after a failure-free time.
fn at(lives: &[Life], gamma: f64) -> Option<(Weibull, f64)> {
    let shifted: Vec<Life> = lives
        .iter()
        .map(|l| match *l {
            Life::Failed(t) => Life::Failed(t - gamma),
            Life::Suspended(t) => Life::Suspended((t - gamma).max(0.0)),
            Life::FailedBefore(t) => Life::FailedBefore(t - gamma),
            Life::FailedBetween(a, b) => Life::FailedBetween((a - gamma).max(0.0), b - gamma),
        })
        .collect();
    fit(&shifted).ok().map(|f| (f.distribution, f.log_likelihood))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(beta: f64, eta: f64, gamma: f64, n: usize) -> Vec<Life> {
        let life = Weibull { beta, eta, gamma };
        (0..n)
            .map(|i| Life::Failed(life.quantile((i as f64 + 0.5) / n as f64)))
            .collect()
    }

    #[test]
    fn finds_the_failure_free_time() {
        let lives = sample(2.2, 400.0, 250.0, 200);
        let fit3 = fit3(&lives).unwrap();
        let d = fit3.distribution;
        assert!(
            (d.gamma - 250.0).abs() < 15.0 && (d.beta - 2.2).abs() < 0.2,
            "{d:?}"
        );
        assert!(fit3.log_likelihood > fit(&lives).unwrap().log_likelihood);
        assert!(fit3.gamma_bounds(0.95).unwrap().contains(250.0));
    }

    #[test]
    fn early_failures_have_none() {
        assert_eq!(
            fit3(&sample(0.8, 400.0, 0.0, 100)),
            Err(ReliabilityError::NoFailureFreeTime)
        );
    }
}

//! The Weibull life distribution: maximum likelihood with every kind of censoring, and the bounds that go with it.
//!
//! The search runs on (ln η, ln β), where the likelihood is well behaved and intervals stay positive. Two kinds of
//! bounds are given: from the observed information (*Fisher*, quick, symmetric on the log scale) and from the
//! likelihood ratio (honest when failures are few).

use serde::{Deserialize, Serialize};
use statrs::function::gamma::{gamma, ln_gamma};

use super::error::{ReliabilityError, Result, confidence_level, positive};
use super::jet::{Jet, maximise};
use super::life::{Life, check};
use super::numeric::{chi2_quantile, normal_quantile, root};

/// A closed interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    pub fn contains(&self, x: f64) -> bool {
        self.low <= x && x <= self.high
    }
}

/// A Weibull distribution: shape β, scale η (characteristic life, 63.2 % failed), failure-free time γ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Weibull {
    pub beta: f64,
    pub eta: f64,
    #[serde(default)]
    pub gamma: f64,
}

impl Weibull {
    /// # Errors
    /// `InvalidParameter` unless β and η are finite and above zero.
    pub fn new(beta: f64, eta: f64) -> Result<Self> {
        positive("the shape", beta)?;
        positive("the characteristic life", eta)?;
        Ok(Self {
            beta,
            eta,
            gamma: 0.0,
        })
    }

    /// Expected number of failures up to this age, H(t) = ((t - γ) / η)^β.
    pub fn cumulative_hazard(&self, age: f64) -> f64 {
        ((age - self.gamma).max(0.0) / self.eta).powf(self.beta)
    }

    /// Share that survives this age.
    pub fn survival(&self, age: f64) -> f64 {
        (-self.cumulative_hazard(age)).exp()
    }

    /// Failure rate at this age, per unit of age.
    pub fn hazard(&self, age: f64) -> f64 {
        let x = age - self.gamma;
        if x < 0.0 {
            0.0
        } else {
            self.beta / self.eta * (x / self.eta).powf(self.beta - 1.0)
        }
    }

    /// Age by which the share `q` has failed (B10 life: q = 0.1).
    pub fn quantile(&self, q: f64) -> f64 {
        self.gamma + self.eta * (-(-q).ln_1p()).powf(1.0 / self.beta)
    }

    pub fn mean(&self) -> f64 {
        self.gamma + self.eta * gamma(1.0 + 1.0 / self.beta)
    }

    pub fn standard_deviation(&self) -> f64 {
        let second = ln_gamma(1.0 + 2.0 / self.beta).exp();
        let first = gamma(1.0 + 1.0 / self.beta);
        self.eta * (second - first * first).max(0.0).sqrt()
    }

    /// Probability of failing within `horizon` given survival to `age`.
    pub fn conditional_failure(&self, age: f64, horizon: f64) -> f64 {
        -(self.cumulative_hazard(age) - self.cumulative_hazard(age + horizon)).exp_m1()
    }

    /// Remaining life that the share `q` of those alive at `age` does not reach.
    pub fn remaining_quantile(&self, age: f64, q: f64) -> f64 {
        let h = self.cumulative_hazard(age) - (-q).ln_1p();
        (self.gamma + self.eta * h.powf(1.0 / self.beta) - age).max(0.0)
    }
}

/// A fitted two-parameter Weibull.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeibullFit {
    pub distribution: Weibull,
    pub log_likelihood: f64,
    pub failures: usize,
    pub suspensions: usize,
    /// Covariance of (ln η, ln β).
    pub log_covariance: [[f64; 2]; 2],
}

/// Below this number of failures the shape is assumed rather than fitted.
pub const MIN_FAILURES_FOR_SHAPE: usize = 3;

/// Bounds of both parameters from the likelihood ratio.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LikelihoodBounds {
    pub shape: Interval,
    pub scale: Interval,
}

/// Fits shape and scale by maximum likelihood.
///
/// # Errors
/// Without a failure, with fewer than [`MIN_FAILURES_FOR_SHAPE`], with failures of a single age that nothing outlived, or if the
/// likelihood has no maximum. Use [`super::fit_life`] for an answer in these cases too.
pub fn fit(lives: &[Life]) -> Result<WeibullFit> {
    let failures = check(lives)?;
    match failures {
        0 => return Err(ReliabilityError::NoFailures),
        found if found < MIN_FAILURES_FOR_SHAPE => {
            return Err(ReliabilityError::TooFewFailures {
                found,
                needed: MIN_FAILURES_FOR_SHAPE,
            });
        }
        _ => {}
    }
    let (low, high) = failure_range(lives);
    let oldest = lives.iter().map(Life::age).fold(0.0, f64::max);
    if low == high && oldest <= high {
        return Err(ReliabilityError::NoSpread);
    }
    let start = [start_scale(lives, 1.2).ln(), 1.2_f64.ln()];
    let optimum = maximise("the shape", start, 8.0, |x| {
        log_likelihood(lives, jets(x), Jet::constant(0.0))
    })?;
    Ok(WeibullFit {
        distribution: Weibull {
            beta: optimum.x[1].exp(),
            eta: optimum.x[0].exp(),
            gamma: 0.0,
        },
        log_likelihood: optimum.value,
        failures,
        suspensions: lives.len() - failures,
        log_covariance: optimum.covariance,
    })
}

impl WeibullFit {
    pub fn aic(&self) -> f64 {
        4.0 - 2.0 * self.log_likelihood
    }

    pub fn standard_error_beta(&self) -> f64 {
        self.distribution.beta * self.log_covariance[1][1].sqrt()
    }

    pub fn standard_error_eta(&self) -> f64 {
        self.distribution.eta * self.log_covariance[0][0].sqrt()
    }

    /// Covariance of the estimates of η and β.
    pub fn covariance_eta_beta(&self) -> f64 {
        self.log_covariance[0][1] * self.distribution.eta * self.distribution.beta
    }

    /// Fisher bounds of β, symmetric on the log scale.
    pub fn beta_bounds(&self, confidence: f64) -> Result<Interval> {
        log_bounds(
            self.distribution.beta,
            self.log_covariance[1][1].sqrt(),
            confidence,
        )
    }

    /// Fisher bounds of η, symmetric on the log scale.
    pub fn eta_bounds(&self, confidence: f64) -> Result<Interval> {
        log_bounds(
            self.distribution.eta,
            self.log_covariance[0][0].sqrt(),
            confidence,
        )
    }

    /// Fisher bounds of the age by which the share `q` has failed.
    pub fn quantile_bounds(&self, q: f64, confidence: f64) -> Result<Interval> {
        // ln t_q = ln η + ln(-ln(1 - q)) / β
        let w = (-(-q).ln_1p()).ln() / self.distribution.beta;
        log_bounds(
            self.distribution.quantile(q),
            self.deviation([1.0, -w]),
            confidence,
        )
    }

    /// Fisher bounds of the share surviving `age`, on the complementary log-log scale.
    pub fn survival_bounds(&self, age: f64, confidence: f64) -> Result<Interval> {
        let p = self.conditional_failure_bounds(0.0, age, confidence)?;
        Ok(Interval {
            low: 1.0 - p.high,
            high: 1.0 - p.low,
        })
    }

    /// Bounds of the probability of failing within `horizon` given survival to `age`; always within [0, 1].
    pub fn conditional_failure_bounds(&self, age: f64, horizon: f64, confidence: f64) -> Result<Interval> {
        let z = two_sided(confidence)?;
        let x = [self.distribution.eta.ln(), self.distribution.beta.ln()];
        let (mu, beta) = jets(x);
        let h = |t: f64| {
            if t <= 0.0 {
                Jet::constant(0.0)
            } else {
                (beta * (Jet::constant(t.ln()) - mu)).exp()
            }
        };
        let extra = h(age + horizon) - h(age);
        if extra.v <= 0.0 {
            return Ok(Interval { low: 0.0, high: 0.0 });
        }
        let log = extra.ln();
        let half = z * self.deviation(log.g);
        let p = |shift: f64| -(-(log.v + shift).exp()).exp_m1();
        Ok(Interval {
            low: p(-half),
            high: p(half),
        })
    }

    fn deviation(&self, g: [f64; 2]) -> f64 {
        let c = &self.log_covariance;
        (g[0] * g[0] * c[0][0] + 2.0 * g[0] * g[1] * c[0][1] + g[1] * g[1] * c[1][1])
            .max(0.0)
            .sqrt()
    }

    /// Likelihood-ratio bounds of β and η. `lives` are those of the fit.
    ///
    /// # Errors
    /// `Unbounded` if the data put no limit on one side.
    pub fn likelihood_ratio_bounds(&self, lives: &[Life], confidence: f64) -> Result<LikelihoodBounds> {
        confidence_level(confidence)?;
        let floor = self.log_likelihood - chi2_quantile(confidence, 1.0) / 2.0;
        let best = [self.distribution.eta.ln(), self.distribution.beta.ln()];
        let bound = |index: usize, what: &'static str| -> Result<Interval> {
            // Height of the profile above the floor when one parameter is held at `value`.
            let over = |value: f64| -> Result<f64> {
                let other = 1 - index;
                let start = best[other] - (value - best[index]) * self.slope(index);
                let top = maximise(what, [start], 30.0, |free| {
                    let mut x = [Jet::<1>::constant(value), Jet::constant(value)];
                    x[other] = Jet::variable(free[0], 0);
                    log_likelihood(lives, (x[0], x[1].exp()), Jet::constant(0.0))
                })?;
                Ok(top.value - floor)
            };
            let side = |sign: f64| -> Result<f64> {
                let mut step = self.log_covariance[index][index].sqrt().clamp(1e-6, 1.0);
                let mut near = best[index];
                for _ in 0..60 {
                    let far = near + sign * step;
                    if over(far)? < 0.0 {
                        return root(near, far, |x| over(x).unwrap_or(f64::NAN));
                    }
                    near = far;
                    step *= 1.5;
                }
                Err(ReliabilityError::Unbounded {
                    what: what.to_owned(),
                })
            };
            Ok(Interval {
                low: side(-1.0)?.exp(),
                high: side(1.0)?.exp(),
            })
        };
        Ok(LikelihoodBounds {
            shape: bound(1, "the shape")?,
            scale: bound(0, "the characteristic life")?,
        })
    }

    /// How the other parameter follows when one is moved: minus the regression slope from the covariance.
    fn slope(&self, index: usize) -> f64 {
        -self.log_covariance[0][1] / self.log_covariance[index][index]
    }
}

fn jets(x: [f64; 2]) -> (Jet<2>, Jet<2>) {
    (Jet::variable(x[0], 0), Jet::variable(x[1], 1).exp())
}

/// Log-likelihood for (ln η, β) after a failure-free time γ.
pub(crate) fn log_likelihood<const N: usize>(
    lives: &[Life],
    (mu, beta): (Jet<N>, Jet<N>),
    gamma: Jet<N>,
) -> Jet<N> {
    let shifted = gamma.v != 0.0 || gamma.g.iter().any(|g| *g != 0.0);
    let ln_beta = beta.ln();
    let ln_age = |t: f64| {
        if shifted {
            (Jet::constant(t) - gamma).ln()
        } else {
            Jet::constant(t.ln())
        }
    };
    let hazard = |t: f64| {
        if t <= gamma.v {
            Jet::constant(0.0)
        } else {
            (beta * (ln_age(t) - mu)).exp()
        }
    };
    let mut sum = Jet::constant(0.0);
    for life in lives {
        sum = sum
            + match *life {
                Life::Failed(t) => {
                    let y = ln_age(t);
                    let z = beta * (y - mu);
                    ln_beta - y + z - z.exp()
                }
                Life::Suspended(t) => -hazard(t),
                Life::FailedBefore(t) => hazard(t).ln_1m_exp_neg(),
                Life::FailedBetween(a, b) => {
                    let from = hazard(a);
                    (hazard(b) - from).ln_1m_exp_neg() - from
                }
            };
    }
    sum
}

/// Scale that fits best for an assumed shape when intervals are taken at their upper end: a start for the search.
pub(crate) fn start_scale(lives: &[Life], beta: f64) -> f64 {
    let oldest = lives.iter().map(Life::age).fold(f64::MIN_POSITIVE, f64::max);
    let failures = lives.iter().filter(|l| l.is_failure()).count().max(1);
    let sum: f64 = lives.iter().map(|l| (l.age() / oldest).powf(beta)).sum();
    oldest * (sum / failures as f64).powf(1.0 / beta)
}

fn failure_range(lives: &[Life]) -> (f64, f64) {
    let mut range = (f64::INFINITY, 0.0_f64);
    for life in lives {
        let (a, b) = match *life {
            Life::Failed(t) => (t, t),
            Life::FailedBefore(t) => (0.0, t),
            Life::FailedBetween(a, b) => (a, b),
            Life::Suspended(_) => continue,
        };
        range = (range.0.min(a), range.1.max(b));
    }
    range
}

pub(crate) fn two_sided(confidence: f64) -> Result<f64> {
    confidence_level(confidence)?;
    Ok(normal_quantile(0.5 + confidence / 2.0))
}

pub(crate) fn log_bounds(value: f64, log_deviation: f64, confidence: f64) -> Result<Interval> {
    let k = (two_sided(confidence)? * log_deviation).exp();
    Ok(Interval {
        low: value / k,
        high: value * k,
    })
}

#[cfg(test)]
mod tests;

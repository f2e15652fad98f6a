//! Weibayes: the life when failures are too few to fit a shape. The shape is assumed (from the asset's class or the
//! failure mode), the scale follows with exact chi-square bounds, because (t/η)^β is exponential.

use serde::{Deserialize, Serialize};

use super::error::{ReliabilityError, Result, confidence_level, positive};
use super::life::{Life, check};
use super::numeric::chi2_quantile;
use super::weibull::{Interval, MIN_FAILURES_FOR_SHAPE, Weibull, WeibullFit, fit};

/// Shape assumed when nothing better is known: mild wear-out.
pub const DEFAULT_SHAPE: f64 = 2.0;

/// A life with an assumed shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Weibayes {
    pub beta: f64,
    /// Best estimate of η; without a failure the value exceeded with 50 % confidence.
    pub eta: f64,
    pub failures: usize,
    pub suspensions: usize,
    /// Sum of age^β over all lives.
    exposure: f64,
}

/// Scale for an assumed shape; intervals and left-censored failures count at the age they were found.
///
/// # Errors
/// Bad ages, no exposure at all, or a shape that is not above zero.
pub fn weibayes(lives: &[Life], beta: f64) -> Result<Weibayes> {
    positive("the shape", beta)?;
    let failures = check(lives)?;
    let exposure: f64 = lives.iter().map(|l| l.age().powf(beta)).sum();
    if !exposure.is_finite() {
        return Err(ReliabilityError::InvalidParameter {
            what: "the shape",
            rule: "small enough for ages of this size to be raised to it",
            value: beta,
        });
    }
    positive("the observed age", exposure)?;
    let events = if failures == 0 {
        std::f64::consts::LN_2
    } else {
        failures as f64
    };
    Ok(Weibayes {
        beta,
        eta: (exposure / events).powf(1.0 / beta),
        failures,
        suspensions: lives.len() - failures,
        exposure,
    })
}

impl Weibayes {
    pub fn distribution(&self) -> Weibull {
        Weibull {
            beta: self.beta,
            eta: self.eta,
            gamma: 0.0,
        }
    }

    /// One-sided lower bound of η: (Σ age^β / r)^(1/β) with r = χ²/2 of 2(failures + 1) degrees; for no failure
    /// r = -ln(1 - confidence).
    pub fn eta_lower(&self, confidence: f64) -> Result<f64> {
        confidence_level(confidence)?;
        let r = chi2_quantile(confidence, 2.0 * (self.failures as f64 + 1.0)) / 2.0;
        Ok((self.exposure / r).powf(1.0 / self.beta))
    }

    /// One-sided upper bound of η; None without a failure, since nothing limits it.
    pub fn eta_upper(&self, confidence: f64) -> Result<Option<f64>> {
        confidence_level(confidence)?;
        if self.failures == 0 {
            return Ok(None);
        }
        let r = chi2_quantile(1.0 - confidence, 2.0 * self.failures as f64) / 2.0;
        Ok(Some((self.exposure / r).powf(1.0 / self.beta)))
    }

    fn conditional_bounds(&self, age: f64, horizon: f64, confidence: f64) -> Result<Interval> {
        let side = 0.5 + confidence / 2.0;
        let p = |eta: f64| {
            Weibull {
                beta: self.beta,
                eta,
                gamma: 0.0,
            }
            .conditional_failure(age, horizon)
        };
        let low = self.eta_upper(side)?.map_or(0.0, p);
        Ok(Interval {
            low,
            high: p(self.eta_lower(side)?),
        })
    }
}

/// A life, fitted or bounded, with the reason in its kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "basis")]
pub enum LifeModel {
    /// Shape and scale by maximum likelihood.
    Fitted(WeibullFit),
    /// Too few failures: the shape is assumed, the scale is bounded.
    Weibayes(Weibayes),
}

/// A probability with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// The best honest life model: the fit with three failures or more, else Weibayes with `assumed_shape`. A fit that
/// fails (failures of a single age, no maximum) falls back to Weibayes as well.
///
/// # Errors
/// Bad ages or no data.
pub fn fit_life(lives: &[Life], assumed_shape: f64) -> Result<LifeModel> {
    if check(lives)? >= MIN_FAILURES_FOR_SHAPE
        && let Ok(fitted) = fit(lives)
    {
        return Ok(LifeModel::Fitted(fitted));
    }
    weibayes(lives, assumed_shape).map(LifeModel::Weibayes)
}

impl LifeModel {
    pub fn distribution(&self) -> Weibull {
        match self {
            LifeModel::Fitted(fit) => fit.distribution,
            LifeModel::Weibayes(model) => model.distribution(),
        }
    }

    pub fn failures(&self) -> usize {
        match self {
            LifeModel::Fitted(fit) => fit.failures,
            LifeModel::Weibayes(model) => model.failures,
        }
    }

    /// Probability of failing within `horizon` given survival to `age`, with its two-sided interval.
    pub fn conditional_failure(&self, age: f64, horizon: f64, confidence: f64) -> Result<Estimate> {
        let bounds = match self {
            LifeModel::Fitted(fit) => fit.conditional_failure_bounds(age, horizon, confidence)?,
            LifeModel::Weibayes(model) => model.conditional_bounds(age, horizon, confidence)?,
        };
        let value = self.distribution().conditional_failure(age, horizon);
        Ok(Estimate {
            value,
            low: bounds.low.min(value),
            high: bounds.high.max(value),
        })
    }

    /// Plain words for the assessment: what the number rests on.
    pub fn basis(&self) -> String {
        match self {
            LifeModel::Fitted(f) => {
                format!(
                    "Weibull fitted to {} failures and {} suspensions",
                    f.failures, f.suspensions
                )
            }
            LifeModel::Weibayes(w) if w.failures >= MIN_FAILURES_FOR_SHAPE => format!(
                "no shape can be fitted to {} failures and {} suspensions: shape {} assumed, life bounded",
                w.failures, w.suspensions, w.beta
            ),
            LifeModel::Weibayes(w) => format!(
                "too few failures to fit a shape ({} failures, {} suspensions): shape {} assumed, life bounded",
                w.failures, w.suspensions, w.beta
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Abernethy, The New Weibull Handbook: seven units, β = 2.5.
    const AGES: [f64; 7] = [1500., 1750., 2250., 4000., 4300., 5000., 7000.];

    #[test]
    fn abernethy_example() {
        let model = weibayes(&Life::from_lists(&AGES[..1], &AGES[1..]), 2.5).unwrap();
        assert!((model.eta - 9391.379).abs() < 1e-2);
        let none = weibayes(&AGES.map(Life::Suspended), 2.5).unwrap();
        assert!((none.eta_lower(0.95).unwrap() - 6055.1956).abs() < 1e-3);
        assert_eq!(none.eta_upper(0.95).unwrap(), None);
    }

    #[test]
    fn few_failures_are_said() {
        let model = fit_life(&[Life::Failed(300.0), Life::Suspended(400.0)], DEFAULT_SHAPE).unwrap();
        assert!(matches!(&model, LifeModel::Weibayes(w) if w.failures == 1));
        assert!(model.basis().contains("too few failures"));
        let p = model.conditional_failure(400.0, 50.0, 0.9).unwrap();
        assert!(p.low < p.value && p.value < p.high && p.high <= 1.0);
        let one = fit_life(&[Life::Suspended(400.0)], DEFAULT_SHAPE).unwrap();
        let p = one.conditional_failure(400.0, 50.0, 0.9).unwrap();
        assert!(p.low == 0.0 && p.value > 0.0 && p.high > p.value);
    }

    #[test]
    fn failures_of_one_age_fall_back() {
        let model = fit_life(&[Life::Failed(300.0); 5], DEFAULT_SHAPE).unwrap();
        assert!(matches!(model, LifeModel::Weibayes(_)));
        // Five are not too few: their one age is what is wrong.
        assert!(model.basis().starts_with("no shape can be fitted to 5 failures"));
    }

    #[test]
    fn an_unused_life_has_no_exposure() {
        assert!(weibayes(&[Life::Suspended(0.0)], 2.0).is_err());
        let huge = weibayes(&[Life::Suspended(1e300)], 2.0).unwrap_err().to_string();
        assert!(huge.contains("small enough") && !huge.contains("inf"), "{huge}");
    }
}

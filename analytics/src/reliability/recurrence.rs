//! Failures of repaired systems: mean cumulative function, Crow-AMSAA and Duane growth, trend tests.

use serde::{Deserialize, Serialize};

use super::error::{ReliabilityError, Result, confidence_level, positive};
use super::numeric::{chi2_quantile, chi2_tail, normal_cdf, normal_quantile};
use super::survival::Test;
use super::weibull::Interval;

/// One repaired system: ages at its failures, and the age up to which it was observed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct History {
    pub failures: Vec<f64>,
    pub end: f64,
}

impl History {
    /// # Errors
    /// `InvalidValue` unless the failures ascend within (0, end].
    pub fn check(&self) -> Result<()> {
        positive("the end of observation", self.end)?;
        let mut last = 0.0;
        for (index, value) in self.failures.iter().copied().enumerate() {
            if !value.is_finite() || value <= 0.0 || value < last || value > self.end {
                return Err(ReliabilityError::InvalidValue {
                    index,
                    value,
                    what: "failure age",
                });
            }
            last = value;
        }
        Ok(())
    }
}

/// Mean number of failures per system up to an age.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct McfStep {
    pub age: f64,
    pub mcf: f64,
    pub variance: f64,
    /// One-sided bounds, each at the given confidence.
    pub bounds: Interval,
}

/// Mean cumulative function of several systems; a failure at the very end of an observation still counts.
///
/// # Errors
/// No systems, no failures, unusable ages.
pub fn mean_cumulative_function(systems: &[History], one_sided: f64) -> Result<Vec<McfStep>> {
    confidence_level(one_sided)?;
    if systems.is_empty() {
        return Err(ReliabilityError::NoData);
    }
    systems.iter().try_for_each(History::check)?;
    let z = normal_quantile(one_sided);
    let mut ages: Vec<f64> = systems.iter().flat_map(|s| s.failures.iter().copied()).collect();
    if ages.is_empty() {
        return Err(ReliabilityError::NoFailures);
    }
    ages.sort_by(f64::total_cmp);
    let (mut mcf, mut variance) = (0.0, 0.0);
    let mut steps: Vec<McfStep> = Vec::new();
    for age in ages {
        let r = systems.iter().filter(|s| s.end >= age).count() as f64;
        mcf += 1.0 / r;
        variance += ((1.0 - 1.0 / r).powi(2) + (r - 1.0) / (r * r)) / (r * r);
        let spread = (z * f64::sqrt(variance) / mcf).exp();
        let step = McfStep {
            age,
            mcf,
            variance,
            bounds: Interval {
                low: mcf / spread,
                high: mcf * spread,
            },
        };
        match steps.last_mut() {
            Some(last) if last.age == age => *last = step,
            _ => steps.push(step),
        }
    }
    Ok(steps)
}

/// How an observation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// At a time chosen beforehand.
    Time,
    /// With the last failure.
    Failure,
}

/// Power-law process: expected failures up to t are λ t^β. β < 1: reliability grows, β > 1: it wears out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrowAmsaa {
    pub beta: f64,
    pub lambda: f64,
    pub failures: usize,
    pub end: f64,
    pub ending: Ending,
    pub beta_unbiased: f64,
    /// Cramér-von Mises statistic of the fit; small is good.
    pub cramer_von_mises: f64,
}

/// Fits the power law to one system by maximum likelihood.
///
/// # Errors
/// Fewer than three failures, or ages that are not ascending up to the end.
pub fn crow_amsaa(history: &History, ending: Ending) -> Result<CrowAmsaa> {
    history.check()?;
    let n = history.failures.len();
    if n < 3 {
        return Err(ReliabilityError::TooFewFailures { found: n, needed: 3 });
    }
    let count = n as f64;
    let end = if ending == Ending::Failure {
        history.failures[n - 1]
    } else {
        history.end
    };
    let logs: f64 = history.failures.iter().map(|t| (end / t).ln()).sum();
    if logs <= 0.0 {
        return Err(ReliabilityError::NoSpread);
    }
    let beta = count / logs;
    let lost = if ending == Ending::Failure { 2.0 } else { 1.0 };
    let beta_unbiased = beta * (count - lost) / count;
    let used = if ending == Ending::Failure { n - 1 } else { n };
    let m = used as f64;
    let misfit = history.failures[..used]
        .iter()
        .enumerate()
        .map(|(i, t)| ((t / end).powf(beta_unbiased) - (2.0 * i as f64 + 1.0) / (2.0 * m)).powi(2))
        .sum::<f64>();
    Ok(CrowAmsaa {
        beta,
        lambda: count / end.powf(beta),
        failures: n,
        end,
        ending,
        beta_unbiased,
        cramer_von_mises: 1.0 / (12.0 * m) + misfit,
    })
}

impl CrowAmsaa {
    /// Crow's bounds of β.
    pub fn beta_bounds(&self, confidence: f64) -> Result<Interval> {
        confidence_level(confidence)?;
        let n = self.failures as f64;
        let degrees = if self.ending == Ending::Failure {
            2.0 * (n - 1.0)
        } else {
            2.0 * n
        };
        let side = |p: f64| self.beta * chi2_quantile(p, degrees) / (2.0 * n);
        Ok(Interval {
            low: side((1.0 - confidence) / 2.0),
            high: side((1.0 + confidence) / 2.0),
        })
    }

    pub fn growth_rate(&self) -> f64 {
        1.0 - self.beta
    }

    pub fn expected_failures(&self, age: f64) -> f64 {
        self.lambda * age.powf(self.beta)
    }

    /// Expected failures in the next `horizon` after the end of the observation.
    pub fn expected_next(&self, horizon: f64) -> f64 {
        self.expected_failures(self.end + horizon) - self.expected_failures(self.end)
    }

    pub fn mtbf_cumulative(&self) -> f64 {
        self.end / self.failures as f64
    }

    pub fn mtbf_instantaneous(&self) -> f64 {
        1.0 / (self.lambda * self.beta * self.end.powf(self.beta - 1.0))
    }

    /// Age at which the cumulative MTBF reaches `mtbf`; None if it never moves (β = 1).
    pub fn age_at_mtbf(&self, mtbf: f64) -> Option<f64> {
        let age = (1.0 / (self.lambda * mtbf)).powf(1.0 / (self.beta - 1.0));
        age.is_finite().then_some(age)
    }
}

/// Duane's straight line through ln(cumulative MTBF) over ln(age): MTBF = age^α / A.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Duane {
    pub alpha: f64,
    pub a: f64,
    pub end: f64,
}

/// # Errors
/// Fewer than three failures or unusable ages.
pub fn duane(history: &History) -> Result<Duane> {
    history.check()?;
    let n = history.failures.len();
    if n < 3 {
        return Err(ReliabilityError::TooFewFailures { found: n, needed: 3 });
    }
    let points: Vec<(f64, f64)> = history
        .failures
        .iter()
        .enumerate()
        .map(|(i, t)| (t.ln(), (t / (i as f64 + 1.0)).ln()))
        .collect();
    let mean = |f: fn(&(f64, f64)) -> f64| points.iter().map(f).sum::<f64>() / n as f64;
    let (mx, my) = (mean(|p| p.0), mean(|p| p.1));
    let sxx: f64 = points.iter().map(|p| (p.0 - mx).powi(2)).sum();
    if sxx <= 0.0 {
        return Err(ReliabilityError::NoSpread);
    }
    let alpha = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum::<f64>() / sxx;
    Ok(Duane {
        alpha,
        a: (alpha * mx - my).exp(),
        end: history.failures[n - 1],
    })
}

impl Duane {
    pub fn mtbf_cumulative(&self) -> f64 {
        self.end.powf(self.alpha) / self.a
    }

    pub fn mtbf_instantaneous(&self) -> f64 {
        self.mtbf_cumulative() / (1.0 - self.alpha)
    }

    pub fn age_at_mtbf(&self, mtbf: f64) -> f64 {
        (mtbf * self.a).powf(1.0 / self.alpha)
    }
}

/// Failures that count and the end they are compared with: the last one is not free if it ended the observation.
fn trend_terms(systems: &[History], ending: Ending) -> Result<Vec<(&[f64], f64)>> {
    systems.iter().try_for_each(History::check)?;
    let terms: Vec<(&[f64], f64)> = systems
        .iter()
        .filter_map(|s| match (ending, s.failures.split_last()) {
            (Ending::Failure, Some((last, before))) => Some((before, *last)),
            (Ending::Failure, None) => None,
            (Ending::Time, _) => Some((&s.failures[..], s.end)),
        })
        .collect();
    let found = terms.iter().map(|t| t.0.len()).sum::<usize>();
    if found < 2 {
        return Err(ReliabilityError::TooFewFailures { found, needed: 2 });
    }
    Ok(terms)
}

/// Laplace test: positive = failures come faster (worsening), negative = slower (improving). Two-sided.
///
/// # Errors
/// Fewer than two failures that count, or unusable ages.
pub fn laplace_trend(systems: &[History], ending: Ending) -> Result<Test> {
    let (mut excess, mut variance) = (0.0, 0.0);
    for (failures, end) in trend_terms(systems, ending)? {
        let n = failures.len() as f64;
        excess += failures.iter().sum::<f64>() - n * end / 2.0;
        variance += n * end * end / 12.0;
    }
    let statistic = excess / variance.sqrt();
    Ok(Test {
        statistic,
        p_value: 2.0 * normal_cdf(-statistic.abs()),
    })
}

/// MIL-HDBK-189 test against a constant rate: 2 Σ ln(end/age) is chi-square. Two-sided.
///
/// # Errors
/// As [`laplace_trend`].
pub fn mil_hdbk_189_trend(systems: &[History], ending: Ending) -> Result<Test> {
    let (mut statistic, mut degrees) = (0.0, 0.0);
    for (failures, end) in trend_terms(systems, ending)? {
        statistic += 2.0 * failures.iter().map(|t| (end / t).ln()).sum::<f64>();
        degrees += 2.0 * failures.len() as f64;
    }
    let above = chi2_tail(statistic, degrees);
    Ok(Test {
        statistic,
        p_value: (2.0 * above.min(1.0 - above)).min(1.0),
    })
}

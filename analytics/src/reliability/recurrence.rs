//! Failures of repaired systems: mean cumulative function, Crow-AMSAA and Duane growth, trend tests.

use serde::{Deserialize, Serialize};

use super::error::{ReliabilityError, Result, confidence_level, positive};
use super::numeric::{chi2_quantile, chi2_tail, normal_cdf, normal_quantile};
use super::survival::Test;
use super::weibull::Interval;

/// How an observation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// At a time chosen beforehand.
    Time,
    /// With the last failure.
    Failure,
}

/// One repaired system: ages at its failures, the age up to which it was observed, and what ended that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct History {
    pub failures: Vec<f64>,
    pub end: f64,
    pub ending: Ending,
}

impl History {
    /// Observed up to `end`, whatever happened until then.
    pub fn until(end: f64, failures: Vec<f64>) -> Self {
        Self {
            failures,
            end,
            ending: Ending::Time,
        }
    }

    /// Observed up to its last failure.
    pub fn to_last_failure(failures: Vec<f64>) -> Self {
        Self {
            end: failures.last().copied().unwrap_or(0.0),
            failures,
            ending: Ending::Failure,
        }
    }

    /// # Errors
    /// `InvalidValue` unless the failures ascend within (0, end], and end there if a failure ended the observation.
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
        if self.ending == Ending::Failure && last < self.end {
            return Err(ReliabilityError::InvalidParameter {
                what: "the last failure",
                rule: "the end of an observation that it ended",
                value: last,
            });
        }
        Ok(())
    }

    /// Failures that say where they fell: one that ended the observation could fall nowhere else.
    fn counting(&self) -> &[f64] {
        match (self.ending, self.failures.split_last()) {
            (Ending::Failure, Some((_, before))) => before,
            _ => &self.failures,
        }
    }
}

/// How an exposure over several systems ended: with a failure only if every single one did.
pub fn ending_of(systems: &[History]) -> Ending {
    if !systems.is_empty() && systems.iter().all(|s| s.ending == Ending::Failure) {
        Ending::Failure
    } else {
        Ending::Time
    }
}

/// Mean number of failures per system up to an age.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct McfStep {
    pub age: f64,
    pub mcf: f64,
    /// None from where only one system was observed: one can't show how much systems differ.
    pub variance: Option<f64>,
    /// One-sided bounds, each at the given confidence.
    pub bounds: Option<Interval>,
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
    let (mut mcf, mut variance) = (0.0, Some(0.0));
    let mut steps: Vec<McfStep> = Vec::new();
    for age in ages {
        let r = systems.iter().filter(|s| s.end >= age).count() as f64;
        mcf += 1.0 / r;
        variance = variance
            .filter(|_| r > 1.0)
            .map(|v| v + ((1.0 - 1.0 / r).powi(2) + (r - 1.0) / (r * r)) / (r * r));
        let step = McfStep {
            age,
            mcf,
            variance,
            bounds: variance.map(|v| {
                let spread = (z * f64::sqrt(v) / mcf).exp();
                Interval {
                    low: mcf / spread,
                    high: mcf * spread,
                }
            }),
        };
        match steps.last_mut() {
            Some(last) if last.age == age => *last = step,
            _ => steps.push(step),
        }
    }
    Ok(steps)
}

/// Power-law process: expected failures of a system up to t are λ t^β. β < 1: reliability grows, β > 1: it wears out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrowAmsaa {
    pub beta: f64,
    pub lambda: f64,
    pub systems: usize,
    pub failures: usize,
    /// Failures that didn't end an observation: the bounds rest on these.
    pub counting: usize,
    /// The latest age that was observed.
    pub end: f64,
    /// Ages of all systems together.
    pub exposure: f64,
    pub beta_unbiased: f64,
    /// Cramér-von Mises statistic of the fit; small is good.
    pub cramer_von_mises: f64,
}

/// Fits the power law to systems of one kind by maximum likelihood, given how often each failed: exact for one system
/// and for several that were observed equally long.
///
/// # Errors
/// Fewer than three failures, or fewer than two that did not end an observation; ages that don't ascend up to the end.
pub fn crow_amsaa(systems: &[History]) -> Result<CrowAmsaa> {
    systems.iter().try_for_each(History::check)?;
    let failures = systems.iter().map(|s| s.failures.len()).sum::<usize>();
    if failures < 3 {
        return Err(ReliabilityError::TooFewFailures {
            found: failures,
            needed: 3,
        });
    }
    // Where each failure fell, as a share of its system's observation.
    let mut shares: Vec<f64> = systems
        .iter()
        .flat_map(|s| s.counting().iter().map(|t| t / s.end))
        .collect();
    shares.sort_by(f64::total_cmp);
    let counting = shares.len();
    if counting < 2 {
        return Err(ReliabilityError::TooFewFailures {
            found: counting,
            needed: 2,
        });
    }
    let logs: f64 = shares.iter().map(|share| -share.ln()).sum();
    if logs <= 0.0 {
        return Err(ReliabilityError::NoSpread);
    }
    let (count, m) = (failures as f64, counting as f64);
    let beta = count / logs;
    let beta_unbiased = (m - 1.0) / logs;
    let misfit = shares
        .iter()
        .enumerate()
        .map(|(i, share)| (share.powf(beta_unbiased) - (2.0 * i as f64 + 1.0) / (2.0 * m)).powi(2))
        .sum::<f64>();
    Ok(CrowAmsaa {
        beta,
        lambda: count / systems.iter().map(|s| s.end.powf(beta)).sum::<f64>(),
        systems: systems.len(),
        failures,
        counting,
        end: systems.iter().map(|s| s.end).fold(0.0, f64::max),
        exposure: systems.iter().map(|s| s.end).sum(),
        beta_unbiased,
        cramer_von_mises: 1.0 / (12.0 * m) + misfit,
    })
}

impl CrowAmsaa {
    /// Crow's bounds of β: 2 β Σ ln(end/age) is chi-square.
    pub fn beta_bounds(&self, confidence: f64) -> Result<Interval> {
        confidence_level(confidence)?;
        let n = self.failures as f64;
        let degrees = 2.0 * self.counting as f64;
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
        self.exposure / self.failures as f64
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

/// Failures that count and the end they are compared with.
fn trend_terms(systems: &[History]) -> Result<Vec<(&[f64], f64)>> {
    systems.iter().try_for_each(History::check)?;
    let terms: Vec<(&[f64], f64)> = systems.iter().map(|s| (s.counting(), s.end)).collect();
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
pub fn laplace_trend(systems: &[History]) -> Result<Test> {
    let (mut excess, mut variance) = (0.0, 0.0);
    for (failures, end) in trend_terms(systems)? {
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
pub fn mil_hdbk_189_trend(systems: &[History]) -> Result<Test> {
    let (mut statistic, mut degrees) = (0.0, 0.0);
    for (failures, end) in trend_terms(systems)? {
        statistic += 2.0 * failures.iter().map(|t| (end / t).ln()).sum::<f64>();
        degrees += 2.0 * failures.len() as f64;
    }
    let above = chi2_tail(statistic, degrees);
    Ok(Test {
        statistic,
        p_value: (2.0 * above.min(1.0 - above)).min(1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGES: [f64; 6] = [100.0, 180.0, 250.0, 300.0, 330.0, 350.0];

    #[test]
    fn a_failure_that_ended_the_observation_does_not_count_as_if_it_had_been_free() {
        let system = [History::to_last_failure(AGES.to_vec())];
        let fit = crow_amsaa(&system).unwrap();
        assert!((fit.beta_unbiased - 1.6212).abs() < 1e-3, "{fit:?}");
        let test = laplace_trend(&system).unwrap();
        assert!((test.statistic - 1.2615).abs() < 1e-3 && (test.p_value - 0.207).abs() < 1e-3);
        let watched = [History::until(360.0, AGES.to_vec())];
        assert!(laplace_trend(&watched).unwrap().p_value < 0.1);
        assert!(crow_amsaa(&watched).unwrap().beta_unbiased > fit.beta_unbiased);
        assert_eq!(ending_of(&[system[0].clone(), watched[0].clone()]), Ending::Time);
        let torn = History {
            end: 360.0,
            ..system[0].clone()
        };
        assert!(torn.check().is_err());
    }

    #[test]
    fn one_system_gives_no_bounds_of_the_mean_cumulative_function() {
        let one = History::until(360.0, AGES.to_vec());
        let steps = mean_cumulative_function(std::slice::from_ref(&one), 0.95).unwrap();
        assert_eq!(steps.last().unwrap().mcf, 6.0);
        assert!(steps.iter().all(|s| s.bounds.is_none() && s.variance.is_none()));
        // Nor does the one that is left when the others are no longer observed.
        let steps = mean_cumulative_function(&[one, History::until(200.0, vec![150.0])], 0.95).unwrap();
        let known: Vec<f64> = steps
            .iter()
            .filter(|s| s.bounds.is_some())
            .map(|s| s.age)
            .collect();
        assert_eq!(known, [100.0, 150.0, 180.0]);
    }

    #[test]
    fn several_systems_share_one_power_law() {
        let one = crow_amsaa(&[History::until(360.0, AGES.to_vec())]).unwrap();
        let twice = crow_amsaa(&vec![History::until(360.0, AGES.to_vec()); 2]).unwrap();
        assert!((one.beta - twice.beta).abs() < 1e-12 && (one.lambda - twice.lambda).abs() < 1e-12);
        let width = |fit: &CrowAmsaa| fit.beta_bounds(0.9).map(|b| b.high - b.low).unwrap();
        assert!(width(&twice) < width(&one));
        assert_eq!((twice.mtbf_cumulative(), twice.exposure), (60.0, 720.0));
        assert!(crow_amsaa(&vec![History::to_last_failure(vec![100.0]); 5]).is_err());
    }
}

//! Survival without a distribution: Kaplan-Meier, Nelson-Aalen, log-rank, competing risks, concordance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::{ReliabilityError, Result};
use super::matrix::{cholesky, solve};
use super::numeric::chi2_tail;
use super::weibull::{Interval, two_sided};

/// One life, exact: its age and whether it ended in a failure. `cause` 0 = suspended, 1.. = failed by that cause.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Exit {
    pub age: f64,
    pub cause: usize,
}

impl Exit {
    pub fn new(age: f64, failed: bool) -> Self {
        Self {
            age,
            cause: usize::from(failed),
        }
    }
}

/// The step at one age.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SurvivalStep {
    pub age: f64,
    /// Lives still under observation just before.
    pub at_risk: usize,
    pub failures: usize,
    /// Kaplan-Meier share surviving.
    pub survival: f64,
    /// Greenwood standard error. None where nobody is left: that all of these failed doesn't say that all of them do.
    pub survival_se: Option<f64>,
    /// On the log-log scale, so that it stays within [0, 1].
    pub survival_bounds: Option<Interval>,
    /// Nelson-Aalen cumulative hazard and its standard error.
    pub cumulative_hazard: f64,
    pub cumulative_hazard_se: f64,
}

/// (age, at risk, failures by cause, suspensions) in ascending age.
type Table = Vec<(f64, usize, Vec<usize>, usize)>;

fn table(exits: &[Exit], causes: usize) -> Result<Table> {
    if exits.is_empty() {
        return Err(ReliabilityError::NoData);
    }
    for (index, exit) in exits.iter().enumerate() {
        if !exit.age.is_finite() || exit.age < 0.0 {
            return Err(ReliabilityError::InvalidValue {
                index,
                value: exit.age,
                what: "age",
            });
        }
    }
    let mut ages: BTreeMap<u64, (Vec<usize>, usize)> = BTreeMap::new();
    for exit in exits {
        // Ages are not negative, so that their bit patterns sort as they do.
        let entry = ages
            .entry((exit.age + 0.0).to_bits())
            .or_insert_with(|| (vec![0; causes], 0));
        if exit.cause == 0 {
            entry.1 += 1;
        } else {
            entry.0[exit.cause - 1] += 1;
        }
    }
    let mut at_risk = exits.len();
    let mut rows = Vec::with_capacity(ages.len());
    for (age, (failures, suspended)) in ages {
        let leaving = failures.iter().sum::<usize>() + suspended;
        rows.push((f64::from_bits(age), at_risk, failures, suspended));
        at_risk -= leaving;
    }
    Ok(rows)
}

/// Kaplan-Meier and Nelson-Aalen, one step per age with a failure.
///
/// # Errors
/// No lives, an unusable age, a confidence level outside (0, 1).
pub fn kaplan_meier(exits: &[Exit], confidence: f64) -> Result<Vec<SurvivalStep>> {
    let z = two_sided(confidence)?;
    let causes = exits.iter().map(|e| e.cause).max().unwrap_or(0);
    let (mut survival, mut greenwood, mut hazard, mut hazard_var) = (1.0, 0.0, 0.0, 0.0);
    let mut steps = Vec::new();
    for (age, at_risk, failures, _) in table(exits, causes)? {
        let failed: usize = failures.iter().sum();
        if failed == 0 {
            continue;
        }
        let (n, d) = (at_risk as f64, failed as f64);
        survival *= 1.0 - d / n;
        greenwood += d / (n * (n - d));
        hazard += d / n;
        hazard_var += d / (n * n);
        let left = at_risk > failed;
        let survival_bounds = left.then(|| {
            let log = f64::ln(survival);
            let spread = (z * f64::sqrt(greenwood) / log.abs()).exp();
            Interval {
                low: (log * spread).exp(),
                high: (log / spread).exp(),
            }
        });
        let survival_se = left.then(|| survival * f64::sqrt(greenwood));
        steps.push(SurvivalStep {
            age,
            at_risk,
            failures: failed,
            survival,
            survival_se,
            survival_bounds,
            cumulative_hazard: hazard,
            cumulative_hazard_se: hazard_var.sqrt(),
        });
    }
    Ok(steps)
}

/// Age at which half have failed by a Kaplan-Meier curve; None where more than half survive what was observed.
pub fn median(steps: &[SurvivalStep]) -> Option<f64> {
    // A half may come out of the product a last digit above itself.
    steps.iter().find(|s| s.survival <= 0.5 + 1e-12).map(|s| s.age)
}

/// Share surviving `age` by a Kaplan-Meier curve.
pub fn survival_at(steps: &[SurvivalStep], age: f64) -> f64 {
    steps
        .iter()
        .rev()
        .find(|s| s.age <= age)
        .map_or(1.0, |s| s.survival)
}

/// A test statistic with its probability under "no difference" or "no trend".
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Test {
    pub statistic: f64,
    pub p_value: f64,
}

/// Log-rank test of equal survival in two or more groups.
///
/// # Errors
/// Fewer than two groups, an empty one, or no ages at which the groups can be compared.
pub fn log_rank(groups: &[&[Exit]]) -> Result<Test> {
    if groups.len() < 2 || groups.iter().any(|g| g.is_empty()) {
        return Err(ReliabilityError::NoData);
    }
    let all: Vec<Exit> = groups.concat();
    let causes = all.iter().map(|e| e.cause).max().unwrap_or(0);
    let k = groups.len() - 1;
    let mut excess = vec![0.0; k];
    let mut variance = vec![vec![0.0; k]; k];
    let sorted = |group: &[Exit], failed: bool| {
        let of = group.iter().filter(|e| !failed || e.cause > 0);
        let mut ages: Vec<f64> = of.map(|e| e.age).collect();
        ages.sort_by(f64::total_cmp);
        ages
    };
    let ages: Vec<(Vec<f64>, Vec<f64>)> = groups
        .iter()
        .map(|g| (sorted(g, false), sorted(g, true)))
        .collect();
    for (age, at_risk, failures, _) in table(&all, causes)? {
        let (n, d) = (at_risk as f64, failures.iter().sum::<usize>() as f64);
        if d == 0.0 {
            continue;
        }
        let risk: Vec<f64> = ages
            .iter()
            .map(|(all, _)| (all.len() - all.partition_point(|a| *a < age)) as f64)
            .collect();
        for i in 0..k {
            let of = &ages[i].1;
            let failed = (of.partition_point(|a| *a <= age) - of.partition_point(|a| *a < age)) as f64;
            excess[i] += failed - d * risk[i] / n;
            if n > 1.0 {
                let c = d * (n - d) / (n - 1.0) * risk[i] / n;
                for (j, v) in variance[i].iter_mut().enumerate() {
                    *v += c * (f64::from(u8::from(i == j)) - risk[j] / n);
                }
            }
        }
    }
    if all.iter().all(|e| e.cause == 0) {
        return Err(ReliabilityError::NoFailures);
    }
    let factor = cholesky(&variance).map_err(|_| ReliabilityError::NotComparable)?;
    let statistic: f64 = solve(&factor, &excess)
        .iter()
        .zip(&excess)
        .map(|(a, b)| a * b)
        .sum();
    Ok(Test {
        statistic,
        p_value: chi2_tail(statistic, k as f64),
    })
}

/// The step at one age with several causes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidenceStep {
    pub age: f64,
    pub at_risk: usize,
    pub failures: Vec<usize>,
    pub survival: f64,
    /// Share failed by each cause so far; with `survival` they add up to 1.
    pub incidence: Vec<f64>,
}

/// Aalen-Johansen cumulative incidence of competing causes, one step per age at which anything ended.
///
/// # Errors
/// No lives, an unusable age, or a cause above `causes`.
pub fn cumulative_incidence(exits: &[Exit], causes: usize) -> Result<Vec<IncidenceStep>> {
    if let Some(index) = exits.iter().position(|e| e.cause > causes) {
        let value = exits[index].cause as f64;
        return Err(ReliabilityError::InvalidValue {
            index,
            value,
            what: "cause",
        });
    }
    let mut survival = 1.0;
    let mut incidence = vec![0.0; causes];
    let mut steps = Vec::new();
    for (age, at_risk, failures, _) in table(exits, causes)? {
        for (share, d) in incidence.iter_mut().zip(&failures) {
            *share += survival * *d as f64 / at_risk as f64;
        }
        survival *= 1.0 - failures.iter().sum::<usize>() as f64 / at_risk as f64;
        steps.push(IncidenceStep {
            age,
            at_risk,
            failures,
            survival,
            incidence: incidence.clone(),
        });
    }
    Ok(steps)
}

/// Share of the comparable pairs of which the earlier failure has the higher risk score; None without such a pair.
pub fn concordance(exits: &[Exit], risk: &[f64]) -> Option<f64> {
    let (mut right, mut pairs) = (0.0, 0.0);
    for (a, ra) in exits.iter().zip(risk).filter(|(e, _)| e.cause > 0) {
        for (b, rb) in exits.iter().zip(risk) {
            if b.age > a.age || (b.age == a.age && b.cause == 0) {
                pairs += 1.0;
                right += if ra > rb {
                    1.0
                } else {
                    f64::from(u8::from(ra == rb)) * 0.5
                };
            }
        }
    }
    (pairs > 0.0).then(|| right / pairs)
}

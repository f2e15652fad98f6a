//! Lives with covariates: Cox's proportional hazards and the Weibull accelerated failure time model.
//!
//! Both search on standardised columns. A coefficient that runs away means that a column separates those that fail
//! early from the rest; no finite estimate exists then, and the error names the column instead of a number.

mod accelerated;
mod hazards;

use serde::{Deserialize, Serialize};

use super::error::{ReliabilityError, Result};
use super::matrix::{cholesky, inverse, solve};
use super::numeric::{chi2_tail, normal_cdf};
use super::weibull::{Interval, two_sided};

pub use self::accelerated::weibull_aft;
pub use self::hazards::cox;

/// How failures at the same age share the risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ties {
    Efron,
    Breslow,
}

/// A coefficient with its standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Coefficient {
    pub name: String,
    pub value: f64,
    pub standard_error: f64,
}

impl Coefficient {
    pub fn bounds(&self, confidence: f64) -> Result<Interval> {
        let half = two_sided(confidence)? * self.standard_error;
        Ok(Interval {
            low: self.value - half,
            high: self.value + half,
        })
    }

    /// Probability of a value as far from zero without any effect.
    pub fn p_value(&self) -> f64 {
        2.0 * normal_cdf(-(self.value / self.standard_error).abs())
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CoxFit {
    /// Effect on the log hazard per unit of the column.
    pub coefficients: Vec<Coefficient>,
    pub log_likelihood: f64,
    pub log_likelihood_null: f64,
    pub concordance: Option<f64>,
}

impl CoxFit {
    /// Likelihood-ratio test of all columns together.
    pub fn p_value(&self) -> f64 {
        let twice = 2.0 * (self.log_likelihood - self.log_likelihood_null);
        chi2_tail(twice.max(0.0), self.coefficients.len() as f64)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeibullAftFit {
    /// Effect on the log characteristic life per unit of the column; the intercept comes last.
    pub coefficients: Vec<Coefficient>,
    pub log_shape: Coefficient,
    pub log_likelihood: f64,
}

/// Standard deviations beyond which a coefficient counts as running away.
const RUNAWAY: f64 = 15.0;
/// Standard error, in effects per standard deviation of the column, that means no information at all.
const FLAT: f64 = 50.0;
const MAX_STEPS: usize = 60;

struct Columns {
    names: Vec<String>,
    /// Standardised, one row per life.
    rows: Vec<Vec<f64>>,
    mean: Vec<f64>,
    sd: Vec<f64>,
}

impl Columns {
    fn standardise(names: &[&str], x: &[Vec<f64>], lives: usize) -> Result<Self> {
        let n = x.len() as f64;
        if x.is_empty() || x.len() != lives {
            return Err(ReliabilityError::NoData);
        }
        for (index, row) in x.iter().enumerate() {
            if row.len() != names.len() {
                let value = row.len() as f64;
                return Err(ReliabilityError::InvalidValue {
                    index,
                    value,
                    what: "number of columns",
                });
            }
            if let Some(value) = row.iter().find(|v| !v.is_finite()) {
                return Err(ReliabilityError::InvalidValue {
                    index,
                    value: *value,
                    what: "covariate",
                });
            }
        }
        let p = names.len();
        let mean: Vec<f64> = (0..p).map(|j| x.iter().map(|r| r[j]).sum::<f64>() / n).collect();
        let sd: Vec<f64> = (0..p)
            .map(|j| (x.iter().map(|r| (r[j] - mean[j]).powi(2)).sum::<f64>() / n).sqrt())
            .collect();
        if let Some(j) = (0..p).find(|j| sd[*j] <= 1e-12 * mean[*j].abs().max(1e-300)) {
            return Err(ReliabilityError::Collinear {
                what: format!("{} and the constant", names[j]),
            });
        }
        let rows: Vec<Vec<f64>> = x
            .iter()
            .map(|r| (0..p).map(|j| (r[j] - mean[j]) / sd[j]).collect())
            .collect();
        let correlation: Vec<Vec<f64>> = (0..p)
            .map(|j| {
                (0..p)
                    .map(|k| rows.iter().map(|r| r[j] * r[k]).sum::<f64>() / n)
                    .collect()
            })
            .collect();
        if let Err(row) = cholesky(&correlation) {
            return Err(ReliabilityError::Collinear {
                what: format!("{} and others", names[row]),
            });
        }
        Ok(Self {
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            rows,
            mean,
            sd,
        })
    }
}

/// Value, gradient and negative Hessian.
type Quadratic = (f64, Vec<f64>, Vec<Vec<f64>>);

/// Newton with step halving; returns the point, the value and the covariance. Where the function curves upwards, as a
/// likelihood may far from its top, the step is shortened until it leads uphill.
fn ascend(
    names: &[String],
    start: Vec<f64>,
    concave: bool,
    f: impl Fn(&[f64]) -> Quadratic,
) -> Result<(Vec<f64>, f64, Vec<Vec<f64>>)> {
    let mut x = start;
    let (mut value, mut g, mut info) = f(&x);
    for step in 0..MAX_STEPS {
        let runaway = || {
            x.iter()
                .position(|b| b.abs() > RUNAWAY)
                .filter(|j| *j < names.len())
        };
        let (factor, damped) = match (cholesky(&info), concave) {
            (Ok(factor), _) => (factor, false),
            (Err(row), true) if step == 0 => {
                let what = names
                    .get(row)
                    .map_or_else(|| "the constant".to_owned(), Clone::clone);
                return Err(ReliabilityError::Collinear {
                    what: format!("{what} and others"),
                });
            }
            (Err(row), true) => {
                let what = names
                    .get(row)
                    .map_or_else(|| "the shape".to_owned(), Clone::clone);
                return Err(ReliabilityError::Unbounded { what });
            }
            (Err(_), false) => (damp(&info, step)?, true),
        };
        if let Some(j) = runaway() {
            return Err(ReliabilityError::Unbounded {
                what: names[j].clone(),
            });
        }
        let d = solve(&factor, &g);
        let promised: f64 = d.iter().zip(&g).map(|(a, b)| a * b).sum();
        if !damped && promised.abs() < 1e-11 * (1.0 + value.abs()) {
            let covariance = inverse(&factor);
            // So flat a top is one that rises for ever, stopped by the last digit.
            return match (0..names.len()).find(|j| covariance[*j][*j].sqrt() > FLAT) {
                Some(j) => Err(ReliabilityError::Unbounded {
                    what: names[j].clone(),
                }),
                // The step that was found is taken, too: it squares what error is left.
                None => Ok((x.iter().zip(&d).map(|(x, d)| x + d).collect(), value, covariance)),
            };
        }
        let mut length = 1.0;
        loop {
            let next: Vec<f64> = x.iter().zip(&d).map(|(a, b)| a + length * b).collect();
            let tried = f(&next);
            if tried.0.is_finite() && tried.0 >= value {
                (x, (value, g, info)) = (next, tried);
                break;
            }
            length *= 0.5;
            if length < 1e-8 {
                let reason = "no step improves the fit".to_owned();
                return Err(ReliabilityError::NotConverged {
                    iterations: step,
                    reason,
                });
            }
        }
    }
    let reason = "the steps do not become small, the data may nearly separate".to_owned();
    Err(ReliabilityError::NotConverged {
        iterations: MAX_STEPS,
        reason,
    })
}

/// Factor of a matrix that is made positive definite by what it takes on its diagonal.
fn damp(info: &[Vec<f64>], step: usize) -> Result<Vec<Vec<f64>>> {
    let largest = (0..info.len()).map(|j| info[j][j].abs()).fold(0.0, f64::max);
    let mut extra = 1e-3 * largest;
    for _ in 0..12 {
        let mut raised = info.to_vec();
        raised.iter_mut().enumerate().for_each(|(j, row)| row[j] += extra);
        if let Ok(factor) = cholesky(&raised) {
            return Ok(factor);
        }
        extra *= 4.0;
    }
    let reason = "the likelihood has no top within reach".to_owned();
    Err(ReliabilityError::NotConverged {
        iterations: step,
        reason,
    })
}

fn mirror(a: &mut [Vec<f64>]) {
    for j in 0..a.len() {
        let (above, from) = a.split_at_mut(j);
        above.iter_mut().zip(&from[0]).for_each(|(row, v)| row[j] = *v);
    }
}

#[cfg(test)]
mod tests {
    use super::super::survival::Exit;
    use super::*;

    #[test]
    fn separated_lives_are_refused_by_name() {
        let exits: Vec<Exit> = (1..=40).map(|i| Exit::new(f64::from(i), true)).collect();
        let x: Vec<Vec<f64>> = (1..=40)
            .map(|i| vec![f64::from(u8::from(i <= 20)), f64::from(i % 3)])
            .collect();
        let error = cox(&exits, &["provider", "shift"], &x, Ties::Efron).unwrap_err();
        assert!(
            matches!(&error, ReliabilityError::Unbounded { what } if what == "provider"),
            "{error}"
        );
    }

    #[test]
    fn columns_that_repeat_are_refused() {
        let exits: Vec<Exit> = (1..=40).map(|i| Exit::new(f64::from(i * 7 % 41), true)).collect();
        let x: Vec<Vec<f64>> = (1..=40)
            .map(|i| vec![f64::from(i % 5), f64::from(i % 5) * 2.0])
            .collect();
        assert!(matches!(
            cox(&exits, &["a", "b"], &x, Ties::Breslow),
            Err(ReliabilityError::Collinear { .. })
        ));
        let constant: Vec<Vec<f64>> = (0..40).map(|_| vec![1.0]).collect();
        assert!(matches!(
            weibull_aft(&exits, &["c"], &constant),
            Err(ReliabilityError::Collinear { .. })
        ));
    }

    /// At the start of the search this likelihood curves upwards, which is no word against the columns.
    #[test]
    fn plain_columns_are_fitted_from_far_away() {
        let lives = 0..40_usize;
        let load = |i: usize| (i % 5) as f64;
        let exits: Vec<Exit> = lives
            .clone()
            .map(|i| Exit::new(1000.0 - 150.0 * load(i) + 7.0 * (i * 13 % 40) as f64, true))
            .collect();
        let x: Vec<Vec<f64>> = lives.map(|i| vec![load(i), (i % 3) as f64]).collect();
        let fit = weibull_aft(&exits, &["load", "shift"], &x).unwrap();
        let effect = &fit.coefficients[0];
        assert!(
            (-0.25..-0.15).contains(&effect.value) && effect.p_value() < 1e-6,
            "{fit:?}"
        );
        assert!(fit.log_shape.value.exp() > 4.0, "{fit:?}");
    }

    #[test]
    fn no_failures_is_said() {
        let exits = [Exit::new(3.0, false), Exit::new(4.0, false)];
        let x = [vec![1.0], vec![2.0]];
        assert_eq!(
            cox(&exits, &["a"], &x, Ties::Efron),
            Err(ReliabilityError::NoFailures)
        );
        assert_eq!(weibull_aft(&exits, &["a"], &x), Err(ReliabilityError::NoFailures));
    }
}

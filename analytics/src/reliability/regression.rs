//! Lives with covariates: Cox's proportional hazards and the Weibull accelerated failure time model.
//!
//! Both search on standardised columns. A coefficient that runs away means that a column separates those that fail
//! early from the rest; no finite estimate exists then, and the error names the column instead of a number.

use serde::{Deserialize, Serialize};

use super::error::{ReliabilityError, Result};
use super::matrix::{cholesky, inverse, solve};
use super::survival::{Exit, concordance};

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

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CoxFit {
    /// Effect on the log hazard per unit of the column.
    pub coefficients: Vec<Coefficient>,
    pub log_likelihood: f64,
    pub log_likelihood_null: f64,
    pub concordance: Option<f64>,
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
        let rows = x
            .iter()
            .map(|r| (0..p).map(|j| (r[j] - mean[j]) / sd[j]).collect())
            .collect();
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

/// Newton with step halving; returns the point, the value and the covariance.
fn ascend(
    names: &[String],
    start: Vec<f64>,
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
        let factor = match cholesky(&info) {
            Ok(factor) => factor,
            Err(row) if step == 0 => {
                let what = names
                    .get(row)
                    .map_or_else(|| "the constant".to_owned(), Clone::clone);
                return Err(ReliabilityError::Collinear {
                    what: format!("{what} and others"),
                });
            }
            Err(row) => {
                let what = names
                    .get(row)
                    .map_or_else(|| "the shape".to_owned(), Clone::clone);
                return Err(ReliabilityError::Unbounded { what });
            }
        };
        if let Some(j) = runaway() {
            return Err(ReliabilityError::Unbounded {
                what: names[j].clone(),
            });
        }
        let d = solve(&factor, &g);
        let promised: f64 = d.iter().zip(&g).map(|(a, b)| a * b).sum();
        if promised.abs() < 1e-11 * (1.0 + value.abs()) {
            let covariance = inverse(&factor);
            // So flat a top is one that rises for ever, stopped by the last digit.
            return match (0..names.len()).find(|j| covariance[*j][*j].sqrt() > FLAT) {
                Some(j) => Err(ReliabilityError::Unbounded {
                    what: names[j].clone(),
                }),
                None => Ok((x, value, covariance)),
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

/// Fits Cox's model.
///
/// # Errors
/// No failures, unusable values, columns that say the same (`Collinear`), a column that separates the lives
/// (`Unbounded`), or a search that does not end (`NotConverged`).
pub fn cox(exits: &[Exit], names: &[&str], x: &[Vec<f64>], ties: Ties) -> Result<CoxFit> {
    let columns = Columns::standardise(names, x, exits.len())?;
    if exits.iter().all(|e| e.cause == 0) {
        return Err(ReliabilityError::NoFailures);
    }
    // Latest first, so that the set at risk grows.
    let mut order: Vec<usize> = (0..exits.len()).collect();
    order.sort_by(|a, b| exits[*b].age.total_cmp(&exits[*a].age));
    let start = vec![0.0; names.len()];
    let f = |b: &[f64]| partial_likelihood(exits, &order, &columns.rows, b, ties);
    let null = f(&start).0;
    let (b, value, covariance) = ascend(&columns.names, start, f)?;
    let risk: Vec<f64> = columns
        .rows
        .iter()
        .map(|r| r.iter().zip(&b).map(|(a, b)| a * b).sum())
        .collect();
    let coefficients = (0..b.len())
        .map(|j| Coefficient {
            name: columns.names[j].clone(),
            value: b[j] / columns.sd[j],
            standard_error: covariance[j][j].sqrt() / columns.sd[j],
        })
        .collect();
    Ok(CoxFit {
        coefficients,
        log_likelihood: value,
        log_likelihood_null: null,
        concordance: concordance(exits, &risk),
    })
}

/// Sums of w, w x and w x x' over a set of lives.
#[derive(Clone)]
struct Moments {
    w: f64,
    wx: Vec<f64>,
    wxx: Vec<Vec<f64>>,
}

impl Moments {
    fn new(p: usize) -> Self {
        Self {
            w: 0.0,
            wx: vec![0.0; p],
            wxx: vec![vec![0.0; p]; p],
        }
    }

    fn add(&mut self, w: f64, x: &[f64]) {
        self.w += w;
        for j in 0..x.len() {
            self.wx[j] += w * x[j];
            for k in 0..=j {
                self.wxx[j][k] += w * x[j] * x[k];
            }
        }
    }
}

fn partial_likelihood(
    exits: &[Exit],
    order: &[usize],
    rows: &[Vec<f64>],
    b: &[f64],
    ties: Ties,
) -> Quadratic {
    let p = b.len();
    let score = |i: usize| rows[i].iter().zip(b).map(|(x, b)| x * b).sum::<f64>();
    let (mut value, mut g, mut info) = (0.0, vec![0.0; p], vec![vec![0.0; p]; p]);
    let mut risk = Moments::new(p);
    let mut at = 0;
    while at < order.len() {
        let age = exits[order[at]].age;
        let mut tied = Moments::new(p);
        let mut failed = 0;
        while at < order.len() && exits[order[at]].age == age {
            let i = order[at];
            let w = score(i).exp();
            risk.add(w, &rows[i]);
            if exits[i].cause > 0 {
                failed += 1;
                tied.add(w, &rows[i]);
                value += score(i);
                g.iter_mut().zip(&rows[i]).for_each(|(g, x)| *g += x);
            }
            at += 1;
        }
        for k in 0..failed {
            let c = if ties == Ties::Efron {
                k as f64 / failed as f64
            } else {
                0.0
            };
            let w = risk.w - c * tied.w;
            value -= w.ln();
            let mean: Vec<f64> = (0..p).map(|j| (risk.wx[j] - c * tied.wx[j]) / w).collect();
            for j in 0..p {
                g[j] -= mean[j];
                for m in 0..=j {
                    info[j][m] += (risk.wxx[j][m] - c * tied.wxx[j][m]) / w - mean[j] * mean[m];
                }
            }
        }
    }
    mirror(&mut info);
    (value, g, info)
}

fn mirror(a: &mut [Vec<f64>]) {
    for j in 0..a.len() {
        let (above, from) = a.split_at_mut(j);
        above.iter_mut().zip(&from[0]).for_each(|(row, v)| row[j] = *v);
    }
}

/// Fits ln(life) = x·b + W/shape with W of the smallest extreme value: a Weibull whose scale depends on covariates.
///
/// # Errors
/// As [`cox`]; also for a failure at age zero.
pub fn weibull_aft(exits: &[Exit], names: &[&str], x: &[Vec<f64>]) -> Result<WeibullAftFit> {
    let columns = Columns::standardise(names, x, exits.len())?;
    let failures = exits.iter().filter(|e| e.cause > 0).count();
    if failures == 0 {
        return Err(ReliabilityError::NoFailures);
    }
    if let Some(index) = exits.iter().position(|e| !e.age.is_finite() || e.age <= 0.0) {
        return Err(ReliabilityError::InvalidValue {
            index,
            value: exits[index].age,
            what: "age",
        });
    }
    let p = names.len();
    let (at_constant, at_shape, size) = (p, p + 1, p + 2);
    let mean_age = exits.iter().map(|e| e.age).sum::<f64>() / failures as f64;
    let mut start = vec![0.0; size];
    start[at_constant] = mean_age.ln();
    let unit: f64 = start[at_constant];
    // The constant is searched around its start, so that a large age is not taken for a runaway.
    start[at_constant] = 0.0;
    let f = |theta: &[f64]| -> Quadratic {
        let shape = theta[at_shape].exp();
        let (mut value, mut g, mut info) = (0.0, vec![0.0; size], vec![vec![0.0; size]; size]);
        let mut dz = vec![0.0; size];
        for (exit, row) in exits.iter().zip(&columns.rows) {
            let y = exit.age.ln();
            let location: f64 =
                row.iter().zip(theta).map(|(x, b)| x * b).sum::<f64>() + theta[at_constant] + unit;
            let z = shape * (y - location);
            let h = z.exp();
            let failed = f64::from(u8::from(exit.cause > 0));
            value += failed * (theta[at_shape] - y + z) - h;
            for (d, x) in dz.iter_mut().zip(row.iter().chain([&1.0])) {
                *d = -shape * x;
            }
            dz[at_shape] = z;
            let slope = failed - h;
            for j in 0..size {
                g[j] += slope * dz[j];
                for k in 0..=j {
                    // z is linear in b and exponential in the log shape.
                    let curve = if j == at_shape { dz[k] } else { 0.0 };
                    info[j][k] += h * dz[j] * dz[k] - slope * curve;
                }
            }
            g[at_shape] += failed;
        }
        mirror(&mut info);
        (value, g, info)
    };
    let (theta, value, covariance) = ascend(&columns.names, start, f)?;
    // Back to the columns as given: b/sd, and the constant without the means.
    let mut coefficients: Vec<Coefficient> = (0..p)
        .map(|j| Coefficient {
            name: columns.names[j].clone(),
            value: theta[j] / columns.sd[j],
            standard_error: covariance[j][j].sqrt() / columns.sd[j],
        })
        .collect();
    let shift: Vec<f64> = (0..p)
        .map(|j| -columns.mean[j] / columns.sd[j])
        .chain([1.0])
        .collect();
    let constant: f64 = shift.iter().zip(&theta).map(|(a, b)| a * b).sum();
    let mut variance = 0.0;
    for j in 0..=p {
        for k in 0..=p {
            variance += shift[j] * shift[k] * covariance[j][k];
        }
    }
    coefficients.push(Coefficient {
        name: "intercept".to_owned(),
        value: constant + unit,
        standard_error: variance.max(0.0).sqrt(),
    });
    let log_shape = Coefficient {
        name: "log_shape".to_owned(),
        value: theta[at_shape],
        standard_error: covariance[at_shape][at_shape].sqrt(),
    };
    Ok(WeibullAftFit {
        coefficients,
        log_shape,
        log_likelihood: value,
    })
}

#[cfg(test)]
mod tests {
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

//! Cox's proportional hazards.

use super::{Coefficient, Columns, CoxFit, Quadratic, Ties, ascend, mirror};
use crate::reliability::error::{ReliabilityError, Result};
use crate::reliability::survival::{Exit, concordance};

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
    let (b, value, covariance) = ascend(&columns.names, start, true, f)?;
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

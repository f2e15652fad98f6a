//! The Weibull whose scale depends on covariates.

use super::{Coefficient, Columns, Quadratic, WeibullAftFit, ascend, mirror};
use crate::reliability::error::{ReliabilityError, Result};
use crate::reliability::survival::Exit;

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
    let (theta, value, covariance) = ascend(&columns.names, start, false, f)?;
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

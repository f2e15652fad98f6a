//! Condition of four components of a hydraulic rig, cycle by cycle.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};
use ndarray::Array2;
use serde_json::{Value, json};

use super::metrics::{Confusion, quantile};
use super::settings::{PATIENCE, classifier, labels};
use super::table::{Matrix, find};
use crate::boost::{Feature, Training, cross_fit};

/// Files of sensors; those that a folder has are used.
const SENSORS: [&str; 17] = [
    "PS1", "PS2", "PS3", "PS4", "PS5", "PS6", "EPS1", "FS1", "FS2", "TS1", "TS2", "TS3", "TS4", "VS1", "CE",
    "CP", "SE",
];
const TARGETS: [&str; 4] = ["cooler", "valve", "pump_leakage", "accumulator"];
const PARTS: usize = 12;
const FOLDS: usize = 5;

/// Level, spread and course of one cycle.
fn describe(cycle: &[f64]) -> Vec<f64> {
    let n = cycle.len() as f64;
    let mean = cycle.iter().sum::<f64>() / n;
    let sd = (cycle.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n).sqrt();
    let mut out = vec![
        mean,
        sd,
        quantile(cycle, 0.0),
        quantile(cycle, 0.5),
        quantile(cycle, 1.0),
    ];
    for part in 0..PARTS {
        let (from, to) = (part * cycle.len() / PARTS, (part + 1) * cycle.len() / PARTS);
        let piece = &cycle[from..to.max(from + 1).min(cycle.len())];
        out.push(piece.iter().sum::<f64>() / piece.len().max(1) as f64);
    }
    out
}

/// Classifies each component, one against the rest. Cycles of one run of equal settings stay on one side of a fold,
/// since neighbouring cycles are nearly copies.
///
/// # Errors
/// A missing or malformed file, by name, line and column.
pub fn run(data: &Path, test_data: Option<&Path>) -> Result<Value> {
    if test_data.is_some() {
        bail!("the hydraulic backtest is cross-validated within one folder: leave out the test folder");
    }
    let profile = Matrix::read(data, "profile.txt", Some(5))?;
    let cycles = profile.rows.len();
    let mut rows: Vec<Vec<f64>> = vec![Vec::new(); cycles];
    let mut features = Vec::new();
    for sensor in SENSORS.iter().filter(|s| find(data, &format!("{s}.txt")).is_ok()) {
        let matrix = Matrix::read(data, &format!("{sensor}.txt"), None)?;
        if matrix.rows.len() != cycles {
            let line = matrix.rows.len().min(cycles) + 1;
            bail!(
                "{}: line {line}, column 1: {} cycles, profile.txt has {cycles}",
                matrix.path.display(),
                matrix.rows.len()
            );
        }
        for (row, cycle) in rows.iter_mut().zip(&matrix.rows) {
            row.extend(describe(cycle));
        }
        let kinds = ["mean", "sd", "min", "median", "max"].map(str::to_owned);
        let kinds = kinds.into_iter().chain((0..PARTS).map(|p| format!("part{p}")));
        features.extend(kinds.map(|k| Feature::numeric(format!("{sensor}:{k}"))));
    }
    if features.is_empty() {
        bail!("{}: no sensor file such as TS1.txt", data.display());
    }
    let x = Array2::from_shape_vec((cycles, features.len()), rows.concat())?;
    let mut group = 0_u64;
    let mut groups = Vec::with_capacity(cycles);
    for i in 0..cycles {
        if i > 0 && profile.rows[i][..4] != profile.rows[i - 1][..4] {
            group += 1;
        }
        groups.push(group);
    }
    let mut result = json!({ "set": "hydraulic", "cycles": cycles, "runs": group + 1 });
    let mut f1_sum = 0.0;
    for (target, name) in TARGETS.iter().enumerate() {
        let classes: BTreeSet<i64> = profile.rows.iter().map(|r| r[target] as i64).collect();
        let mut scores = Vec::new();
        for class in &classes {
            let y: Vec<bool> = profile.rows.iter().map(|r| r[target] as i64 == *class).collect();
            let params = classifier(&y, features.len());
            let target = labels(&y);
            let training = Training::new(x.view(), &target);
            scores.push(cross_fit(&params, &features, training, &groups, FOLDS, PATIENCE)?.predictions);
        }
        let said: Vec<usize> = (0..cycles)
            .map(|i| {
                (0..scores.len())
                    .max_by(|a, b| scores[*a][i].total_cmp(&scores[*b][i]))
                    .unwrap_or(0)
            })
            .collect();
        let is: Vec<usize> = profile
            .rows
            .iter()
            .map(|r| classes.iter().position(|c| *c == r[target] as i64).unwrap_or(0))
            .collect();
        let right = said.iter().zip(&is).filter(|(a, b)| a == b).count();
        let f1 = (0..classes.len())
            .map(|c| Confusion::of(said.iter().zip(&is).map(|(a, b)| (*a == c, *b == c))).f1())
            .sum::<f64>()
            / classes.len() as f64;
        f1_sum += f1;
        result[name] = json!({ "accuracy": right as f64 / cycles as f64, "macro_f1": f1 });
    }
    result["macro_f1"] = json!(f1_sum / TARGETS.len() as f64);
    Ok(result)
}

//! Machine failure on the AI4I 2020 milling set: five folds, physics features, no failure-mode flag as a feature.

use std::path::Path;

use anyhow::{Result, bail};
use ndarray::Array2;
use serde_json::{Value, json};

use super::metrics::{Confusion, best_f1_threshold};
use super::settings::{PATIENCE, classifier, labels, mean_prediction};
use super::table::Table;
use crate::boost::{Feature, Training, cross_fit, grouped_folds};

const FOLDS: usize = 5;
/// Targets; never features.
const FLAGS: [&str; 6] = ["Machine failure", "TWF", "HDF", "PWF", "OSF", "RNF"];
const SIGNALS: [&str; 5] = [
    "Air temperature [K]",
    "Process temperature [K]",
    "Rotational speed [rpm]",
    "Torque [Nm]",
    "Tool wear [min]",
];

struct Rows {
    x: Array2<f64>,
    y: Vec<bool>,
}

fn features() -> Vec<Feature> {
    let mut all = vec![Feature::categorical("Type")];
    all.extend(SIGNALS.map(Feature::numeric));
    all.extend(
        [
            "power [W]",
            "temperature difference [K]",
            "wear x torque [min Nm]",
        ]
        .map(Feature::numeric),
    );
    all
}

fn read(folder: &Path) -> Result<Rows> {
    let table = Table::read(folder, "ai4i2020.csv", b',')?;
    let (kind, target) = (table.column("Type")?, table.column("Machine failure")?);
    let signals = table.columns(&SIGNALS)?;
    let mut x = Vec::new();
    let mut y = Vec::new();
    for row in 0..table.len() {
        let code = match table.text(row, kind) {
            "L" => 0.0,
            "M" => 1.0,
            "H" => 2.0,
            other => return Err(table.bad(row, kind, format_args!("'{other}' is not L, M or H"))),
        };
        let v: Vec<f64> = signals
            .iter()
            .map(|c| table.number(row, *c))
            .collect::<Result<_>>()?;
        let [air, process, speed, torque, wear] = v[..] else {
            bail!("five signals are needed")
        };
        let power = torque * speed * std::f64::consts::TAU / 60.0;
        x.extend([
            code,
            air,
            process,
            speed,
            torque,
            wear,
            power,
            process - air,
            wear * torque,
        ]);
        y.push(table.flag(row, target)?);
    }
    Ok(Rows {
        x: Array2::from_shape_vec((y.len(), features().len()), x)?,
        y,
    })
}

/// Five folds by row, the threshold of each found by folds within its training rows; or trained on `data` and tested
/// on `test_data`.
///
/// # Errors
/// A missing or malformed file, by name, line and column; no failure to learn from.
pub fn run(data: &Path, test_data: Option<&Path>) -> Result<Value> {
    let all = read(data)?;
    if !all.y.contains(&true) {
        bail!("{}: no machine failure to learn from", data.display());
    }
    let features = features();
    let mut pairs = Vec::new();
    let mut judge = |x: &Array2<f64>, y: &[bool], test: &Array2<f64>, truth: &[bool]| -> Result<()> {
        let params = classifier(y, features.len());
        let target = labels(y);
        let rows: Vec<u64> = (0..y.len() as u64).collect();
        let training = Training::new(x.view(), &target);
        let inner = cross_fit(&params, &features, training, &rows, FOLDS, PATIENCE)?;
        let threshold = best_f1_threshold(&inner.predictions, y);
        let p = mean_prediction(&inner.models, test.view())?;
        pairs.extend(p.iter().map(|p| *p >= threshold).zip(truth.iter().copied()));
        Ok(())
    };
    match test_data {
        Some(folder) => {
            let test = read(folder)?;
            judge(&all.x, &all.y, &test.x, &test.y)?;
        }
        None => {
            let rows: Vec<u64> = (0..all.y.len() as u64).collect();
            let fold = grouped_folds(&rows, FOLDS, 1)?;
            for k in 0..FOLDS {
                let pick = |held: bool| -> (Array2<f64>, Vec<bool>) {
                    let index: Vec<usize> = (0..fold.len()).filter(|i| (fold[*i] == k) == held).collect();
                    (
                        all.x.select(ndarray::Axis(0), &index),
                        index.iter().map(|i| all.y[*i]).collect(),
                    )
                };
                let ((x, y), (test, truth)) = (pick(false), pick(true));
                judge(&x, &y, &test, &truth)?;
            }
        }
    }
    let c = Confusion::of(pairs);
    let leaked: Vec<&str> = features
        .iter()
        .map(|f| f.name.as_str())
        .filter(|n| FLAGS.contains(n))
        .collect();
    Ok(json!({
        "set": "ai4i",
        "f1": c.f1(),
        "precision": c.precision(),
        "recall": c.recall(),
        "failures": c.true_positive + c.false_negative,
        "leaked_features_used": leaked,
        "folds": FOLDS,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_not_features() {
        assert!(features().iter().all(|f| !FLAGS.contains(&f.name.as_str())));
    }

    #[test]
    fn malformed_rows_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let head = "UDI,Product ID,Type,Air temperature [K],Process temperature [K],Rotational speed [rpm],Torque [Nm],Tool wear [min],Machine failure,TWF,HDF,PWF,OSF,RNF\n";
        let text = format!(
            "{head}1,M1,M,298.1,308.6,1551,42.8,0,0,0,0,0,0,0\n2,X2,X,298.1,308.6,1551,42.8,0,0,0,0,0,0,0\n"
        );
        std::fs::write(dir.path().join("ai4i2020.csv"), text).unwrap();
        let error = run(dir.path(), None).unwrap_err().to_string();
        assert!(
            error.contains("ai4i2020.csv: line 3, column 3 (Type): 'X' is not L, M or H"),
            "{error}"
        );
        assert!(
            run(&dir.path().join("none"), None)
                .unwrap_err()
                .to_string()
                .contains("not found")
        );
    }
}

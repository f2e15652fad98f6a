//! Anomalous windows of an air compressor (MetroPT-3, derived windows).

use std::path::Path;

use anyhow::{Result, bail};
use ndarray::Array2;
use serde_json::{Value, json};

use super::metrics::{Confusion, best_f1_threshold, roc_auc};
use super::settings::{PATIENCE, classifier, labels, mean_prediction};
use super::table::Table;
use crate::boost::{Feature, Training, cross_fit};

const TARGET: &str = "is_anomaly";
const FOLD: &str = "fold";
const FOLDS: usize = 5;

struct Windows {
    names: Vec<String>,
    x: Array2<f64>,
    y: Vec<bool>,
}

fn read(folder: &Path, name: &str, names: Option<&[String]>) -> Result<Windows> {
    let table = Table::read(folder, name, b',')?;
    let target = table.column(TARGET)?;
    let own = || {
        table
            .header
            .iter()
            .filter(|h| *h != TARGET && *h != FOLD)
            .cloned()
            .collect()
    };
    let names: Vec<String> = names.map_or_else(own, <[String]>::to_vec);
    let columns: Vec<usize> = names.iter().map(|n| table.column(n)).collect::<Result<_>>()?;
    let mut x = Vec::with_capacity(table.len() * columns.len());
    let mut y = Vec::with_capacity(table.len());
    for row in 0..table.len() {
        for c in &columns {
            x.push(table.number(row, *c)?);
        }
        y.push(table.flag(row, target)?);
    }
    Ok(Windows {
        x: Array2::from_shape_vec((y.len(), names.len()), x)?,
        names,
        y,
    })
}

/// Trains on `window_features_train.csv` and tests on `window_features_test.csv`.
///
/// # Errors
/// A missing or malformed file, by name, line and column; no anomaly to learn from.
pub fn run(data: &Path, test_data: Option<&Path>) -> Result<Value> {
    let train = read(data, "window_features_train.csv", None)?;
    let test = read(
        test_data.unwrap_or(data),
        "window_features_test.csv",
        Some(&train.names),
    )?;
    if !train.y.contains(&true) {
        bail!(
            "{}: window_features_train.csv holds no anomaly to learn from",
            data.display()
        );
    }
    let features: Vec<Feature> = train.names.iter().map(Feature::numeric).collect();
    let y = labels(&train.y);
    let rows: Vec<u64> = (0..y.len() as u64).collect();
    let params = classifier(&train.y, features.len());
    let cross = cross_fit(
        &params,
        &features,
        Training::new(train.x.view(), &y),
        &rows,
        FOLDS,
        PATIENCE,
    )?;
    let threshold = best_f1_threshold(&cross.predictions, &train.y);
    let p = mean_prediction(&cross.models, test.x.view())?;
    let c = Confusion::of(p.iter().map(|p| *p >= threshold).zip(test.y.iter().copied()));
    Ok(json!({
        "set": "metropt",
        "f1": c.f1(),
        "precision": c.precision(),
        "recall": c.recall(),
        "roc_auc": roc_auc(&p, &test.y),
        "windows_train": train.y.len(),
        "windows_test": test.y.len(),
    }))
}

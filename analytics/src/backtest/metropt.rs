//! Anomalous windows of an air compressor (MetroPT-3, derived windows).

use std::path::Path;

use anyhow::Result;
use ndarray::Array2;
use serde_json::{Value, json};

use super::BacktestArgs;
use super::metrics::{Confusion, best_f1_threshold, reliability_table, roc_auc};
use super::settings::{PATIENCE, classifier, folds, judgeable, labels, mean_prediction, only_one_answer};
use super::table::Table;
use crate::boost::{Feature, Training, cross_fit};

const TARGET: &str = "is_anomaly";
const FOLD: &str = "fold";
const FOLDS: usize = 5;
const TRAIN: &str = "window_features_train.csv";
const TEST: &str = "window_features_test.csv";

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
pub fn run(data: &Path, args: &BacktestArgs) -> Result<Value> {
    let train = read(data, TRAIN, None)?;
    let folder = args.test_data.as_deref().unwrap_or(data);
    let test = read(folder, TEST, Some(&train.names))?;
    let mut notes = judgeable(&train.y, data.join(TRAIN).display(), "anomaly")?;
    notes.extend(only_one_answer(&test.y, folder.join(TEST).display(), "anomaly"));
    let features: Vec<Feature> = train.names.iter().map(Feature::numeric).collect();
    let y = labels(&train.y);
    let rows: Vec<u64> = (0..y.len() as u64).collect();
    let params = classifier(&train.y, features.len());
    let folds = folds(&rows, FOLDS, data.join(TRAIN).display(), "window")?;
    args.progress
        .say(format_args!("learning from {} windows, {folds} folds", y.len()));
    let cross = cross_fit(
        &params,
        &features,
        Training::new(train.x.view(), &y),
        &rows,
        folds,
        PATIENCE,
    )?;
    let threshold = best_f1_threshold(&cross.predictions, &train.y);
    let p = mean_prediction(&cross.models, test.x.view())?;
    let c = Confusion::of(p.iter().map(|p| *p >= threshold).zip(test.y.iter().copied()));
    let known = test.y.contains(&true);
    Ok(json!({
        "set": "metropt",
        "f1": known.then(|| c.f1()),
        "precision": c.precision(),
        "recall": known.then(|| c.recall()),
        "roc_auc": roc_auc(&p, &test.y),
        "windows_train": train.y.len(),
        "windows_test": test.y.len(),
        "reliability": reliability_table(&p, &test.y, 10),
        "notes": notes,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_one_kind_are_refused_or_said() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, anomaly: &dyn Fn(usize) -> bool| {
            let mut text = "a,is_anomaly\n".to_owned();
            for row in 0..200 {
                let wrong = anomaly(row);
                let value = crate::testing::noise(row) + if wrong { 6.0 } else { 0.0 };
                text += &format!("{value},{}\n", u8::from(wrong));
            }
            std::fs::write(dir.path().join(name), text).unwrap();
        };
        let args = BacktestArgs::default();
        write(TEST, &|row| row % 9 == 1);
        for (share, words) in [
            (1, "every row is labelled as anomaly"),
            (1000, "only 1 rows with anomaly"),
        ] {
            write(TRAIN, &|row| row % share == 0);
            let error = run(dir.path(), &args).unwrap_err().to_string();
            assert!(
                error.contains("window_features_train.csv: ") && error.contains(words),
                "{error}"
            );
        }
        write(TRAIN, &|row| row % 9 == 0);
        let found = run(dir.path(), &args).unwrap();
        assert!(found["f1"].as_f64().unwrap() > 0.9, "{found}");
        write(TEST, &|_| false);
        let found = run(dir.path(), &args).unwrap();
        assert!(found["f1"].is_null(), "{found}");
        assert!(
            found["notes"][1]
                .as_str()
                .unwrap()
                .contains("no row with anomaly to judge on"),
            "{found}"
        );
    }
}

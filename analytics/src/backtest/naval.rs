//! Hidden wear of a gas turbine on a ship (UCI 316, simulated): the decay of compressor and turbine from what is measured.

use std::path::Path;

use anyhow::Result;
use ndarray::Array2;
use serde_json::{Value, json};

use super::BacktestArgs;
use super::metrics::rmse;
use super::settings::{folds, mean_prediction, regressor};
use super::table::Matrix;
use crate::boost::{Feature, Training, cross_fit};
use crate::picture::Bars;

const FEATURES: usize = 16;
const TARGETS: [&str; 2] = ["compressor", "turbine"];
const FOLDS: usize = 5;

struct Rows {
    x: Array2<f64>,
    targets: [Vec<f64>; 2],
}

fn read(folder: &Path) -> Result<Rows> {
    let matrix = Matrix::read(folder, "data.txt", Some(FEATURES + TARGETS.len()))?;
    for (row, values) in matrix.rows.iter().enumerate() {
        for (target, name) in TARGETS.iter().enumerate() {
            let column = FEATURES + target;
            if !(values[column] > 0.0 && values[column] <= 1.0) {
                let what = format!("the decay of the {name} is not between 0 and 1");
                return Err(matrix.bad(row, column, what));
            }
        }
    }
    let values: Vec<f64> = matrix
        .rows
        .iter()
        .flat_map(|row| row[..FEATURES].to_vec())
        .collect();
    let target = |t: usize| matrix.rows.iter().map(|row| row[FEATURES + t]).collect();
    Ok(Rows {
        x: Array2::from_shape_vec((matrix.rows.len(), FEATURES), values)?,
        targets: [target(0), target(1)],
    })
}

/// Five folds, each without some *levels of wear*: rows of one level at nine speeds are nearly copies of each other, and
/// with rows drawn at random every level would be known. Or trained on `data` and tested on `test_data`.
///
/// # Errors
/// A missing or malformed file, by name, line and column.
pub fn run(data: &Path, args: &BacktestArgs) -> Result<Value> {
    let train = read(data)?;
    let test = args.test_data.as_deref().map(read).transpose()?;
    let features: Vec<Feature> = (1..=FEATURES)
        .map(|i| Feature::numeric(format!("x{i}")))
        .collect();
    let params = regressor(FEATURES);
    let mut result = json!({ "set": "naval", "rows": train.x.nrows() });
    let (mut bars, mut notes) = (Vec::new(), Vec::new());
    for (target, name) in TARGETS.iter().enumerate() {
        let y = &train.targets[target];
        let levels: Vec<u64> = y.iter().map(|decay| (decay * 1000.0).round() as u64).collect();
        let level = format!("level of wear of the {name}");
        let folds = folds(&levels, FOLDS, data.join("data.txt").display(), &level)?;
        args.progress
            .say(format_args!("{name}, {folds} folds by level of wear"));
        let cross = cross_fit(
            &params,
            &features,
            Training::new(train.x.view(), y),
            &levels,
            folds,
            usize::MAX,
        )?;
        let (found, truth) = match &test {
            None => (cross.predictions, y),
            Some(test) => (
                mean_prediction(&cross.models, test.x.view())?,
                &test.targets[target],
            ),
        };
        let error = rmse(&found, truth);
        let mean = truth.iter().sum::<f64>() / truth.len() as f64;
        let of_mean = rmse(&vec![mean; truth.len()], truth);
        let explained = (of_mean > 0.0).then(|| 1.0 - (error / of_mean).powi(2));
        if let Some(explained) = explained {
            bars.push(((*name).to_owned(), explained));
        } else {
            notes.push(format!(
                "{name}: its wear never changes in what is judged: nothing to explain"
            ));
        }
        result[*name] = json!({ "rmse": error, "rmse_of_mean": of_mean, "explained": explained });
    }
    let bars = Bars {
        name: "explained".to_owned(),
        title: "naval: share of the hidden wear's variance that is explained".to_owned(),
        x_name: "share explained".to_owned(),
        bars,
    };
    result["notes"] = json!(notes);
    result["detail"] = json!({ "bars": [bars] });
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_rows_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let row = |decay: &str| format!("{}{decay} 0.98\n", "1.5 ".repeat(FEATURES));
        let refused = |text: String| {
            std::fs::write(dir.path().join("data.txt"), text).unwrap();
            run(dir.path(), &BacktestArgs::default()).unwrap_err().to_string()
        };
        let error = refused(row("0.99") + &row("1.2"));
        assert!(
            error.ends_with("line 2, column 17: the decay of the compressor is not between 0 and 1"),
            "{error}"
        );
        assert!(refused("1 2 3\n".to_owned()).contains("line 1, column 4: 3 values where 18 belong"));
        assert!(
            run(&dir.path().join("none"), &BacktestArgs::default())
                .unwrap_err()
                .to_string()
                .contains("not found")
        );
    }
}

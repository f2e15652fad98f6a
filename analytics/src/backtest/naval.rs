//! Hidden wear of a gas turbine on a ship (UCI 316, simulated): the decay of compressor and turbine from what is measured.

use std::path::Path;

use anyhow::{Result, bail};
use ndarray::Array2;
use serde_json::{Value, json};

use super::metrics::rmse;
use super::settings::{mean_prediction, regressor};
use super::table::Matrix;
use crate::boost::{Feature, Training, cross_fit};

const FEATURES: usize = 16;
const TARGETS: [&str; 2] = ["compressor", "turbine"];
const FOLDS: usize = 5;

struct Rows {
    x: Array2<f64>,
    targets: [Vec<f64>; 2],
}

fn read(folder: &Path) -> Result<Rows> {
    let matrix = Matrix::read(folder, "data.txt", Some(FEATURES + TARGETS.len()))?;
    for (line, row) in matrix.rows.iter().enumerate() {
        for (target, name) in TARGETS.iter().enumerate() {
            if !(row[FEATURES + target] > 0.0 && row[FEATURES + target] <= 1.0) {
                bail!(
                    "{}: line {}, column {}: the decay of the {name} is not between 0 and 1",
                    matrix.path.display(),
                    line + 1,
                    FEATURES + target + 1
                );
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
pub fn run(data: &Path, test_data: Option<&Path>) -> Result<Value> {
    let train = read(data)?;
    let test = test_data.map(read).transpose()?;
    let features: Vec<Feature> = (1..=FEATURES)
        .map(|i| Feature::numeric(format!("x{i}")))
        .collect();
    let params = regressor(FEATURES);
    let mut result = json!({ "set": "naval", "rows": train.x.nrows() });
    for (target, name) in TARGETS.iter().enumerate() {
        let y = &train.targets[target];
        let levels: Vec<u64> = y.iter().map(|decay| (decay * 1000.0).round() as u64).collect();
        let cross = cross_fit(
            &params,
            &features,
            Training::new(train.x.view(), y),
            &levels,
            FOLDS,
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
        result[*name] =
            json!({ "rmse": error, "rmse_of_mean": of_mean, "explained": 1.0 - (error / of_mean).powi(2) });
    }
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
            run(dir.path(), None).unwrap_err().to_string()
        };
        let error = refused(row("0.99") + &row("1.2"));
        assert!(
            error.ends_with("line 2, column 17: the decay of the compressor is not between 0 and 1"),
            "{error}"
        );
        assert!(refused("1 2 3\n".to_owned()).contains("line 1, column 4: 3 values where 18 belong"));
        assert!(
            run(&dir.path().join("none"), None)
                .unwrap_err()
                .to_string()
                .contains("not found")
        );
    }
}

//! Remaining life of turbofan engines (C-MAPSS): trained on runs to failure, tested at the last cycle of cut runs.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use ndarray::Array2;
use serde_json::{Value, json};

use super::conformal::{Conformal, NEAR, held};
use super::metrics::{phm08_total, rmse};
use super::regimes::{Regimes, Scaler};
use super::settings::{mean_prediction, regressor};
use super::table::{Matrix, find, names};
use crate::boost::{Booster, Feature, Training, cross_fit};
use crate::features::rolling::{Expanding, deviation, mean, slope};

/// Label and truth are cut here: a new engine shows no wear that could tell 200 cycles from 130.
pub const CAP: f64 = 125.0;
const SETTINGS: usize = 3;
const SENSORS: usize = 21;
const FOLDS: usize = 5;

struct Unit {
    id: u64,
    settings: Vec<Vec<f64>>,
    sensors: Vec<Vec<f64>>,
}

impl Unit {
    fn len(&self) -> usize {
        self.sensors.len()
    }
}

fn read_units(folder: &Path, name: &str) -> Result<Vec<Unit>> {
    let matrix = Matrix::read(folder, name, Some(2 + SETTINGS + SENSORS))?;
    let mut units: Vec<Unit> = Vec::new();
    for (index, row) in matrix.rows.iter().enumerate() {
        let place = |column: usize, what: &str| {
            anyhow::anyhow!(
                "{}: line {}, column {column}: {what}",
                matrix.path.display(),
                index + 1
            )
        };
        if row[0] < 1.0 || row[0].fract() != 0.0 {
            return Err(place(1, "the unit is not a number from 1"));
        }
        let id = row[0] as u64;
        if units.last().is_none_or(|u| u.id != id) {
            if units.iter().any(|u| u.id == id) {
                return Err(place(1, "the unit comes back after another one"));
            }
            units.push(Unit {
                id,
                settings: Vec::new(),
                sensors: Vec::new(),
            });
        }
        // A unit was pushed just above if there was none.
        let Some(unit) = units.last_mut() else { continue };
        if row[1] != unit.len() as f64 + 1.0 {
            return Err(place(2, "the cycles of a unit must count up from 1"));
        }
        unit.settings.push(row[2..2 + SETTINGS].to_vec());
        unit.sensors.push(row[2 + SETTINGS..].to_vec());
    }
    Ok(units)
}

/// Subsets of a folder: every X with a file train_X.txt.
pub fn subsets(folder: &Path) -> Result<Vec<String>> {
    let subset = |name: &String| Some(name.strip_prefix("train_")?.strip_suffix(".txt")?.to_owned());
    Ok(names(folder)?.iter().filter_map(subset).collect())
}

/// Regimes and scales learnt from the training engines.
struct Preparation {
    regimes: Regimes,
    scaler: Scaler,
}

impl Preparation {
    fn learn(units: &[Unit]) -> Self {
        let settings: Vec<Vec<f64>> = units.iter().flat_map(|u| u.settings.iter().cloned()).collect();
        let regimes = Regimes::learn(&settings);
        let rows: Vec<(usize, &[f64])> = units
            .iter()
            .flat_map(|u| u.settings.iter().zip(&u.sensors))
            .map(|(s, x)| (regimes.of(s), &x[..]))
            .collect();
        let scaler = Scaler::learn(&rows, regimes.len());
        Self { regimes, scaler }
    }

    fn names(&self) -> Vec<Feature> {
        let kinds = [
            "mean5",
            "mean15",
            "mean30",
            "sd30",
            "mean5-mean30",
            "mean",
            "mean30-first10",
            "slope30",
        ];
        let per_sensor = self
            .scaler
            .live
            .iter()
            .flat_map(|s| kinds.map(|k| format!("s{}:{k}", s + 1)));
        per_sensor
            .chain(["cycle".to_owned()])
            .map(Feature::numeric)
            .collect()
    }

    /// Features of every cycle of a unit, each from that cycle and earlier ones.
    fn features(&self, unit: &Unit) -> Vec<Vec<f64>> {
        let scaled: Vec<Vec<f64>> = unit
            .settings
            .iter()
            .zip(&unit.sensors)
            .map(|(s, x)| self.scaler.scale(self.regimes.of(s), x))
            .collect();
        let mut rows = vec![Vec::with_capacity(8 * self.scaler.live.len() + 1); unit.len()];
        for j in 0..self.scaler.live.len() {
            let column: Vec<f64> = scaled.iter().map(|r| r[j]).collect();
            let mut expanding = Expanding::default();
            for (t, row) in rows.iter_mut().enumerate() {
                let (m5, m30) = (mean(&column, t, 5), mean(&column, t, 30));
                let first = mean(&column, t.min(9), 10);
                row.extend([
                    m5,
                    mean(&column, t, 15),
                    m30,
                    deviation(&column, t, 30),
                    m5 - m30,
                    expanding.push(column[t]),
                    m30 - first,
                    slope(&column, t, 30, 3),
                ]);
            }
        }
        for (t, row) in rows.iter_mut().enumerate() {
            row.push(t as f64 + 1.0);
        }
        rows
    }
}

fn matrix(rows: &[Vec<f64>], width: usize) -> Result<Array2<f64>> {
    Ok(Array2::from_shape_vec((rows.len(), width), rows.concat())?)
}

/// Trains on `train_<subset>` of `data` and tests on `test_<subset>` of `test_data` (or `data`).
///
/// # Errors
/// A missing or malformed file, by name, line and column; more than one subset and none named.
pub fn run(data: &Path, test_data: Option<&Path>, subset: Option<&str>) -> Result<Value> {
    let found = subsets(data)?;
    let subset = match (subset, &found[..]) {
        (Some(s), _) => s.to_owned(),
        (None, [one]) => one.clone(),
        (None, []) => {
            find(data, "train_FD001.txt")?;
            bail!("{}: no train_*.txt", data.display())
        }
        (None, many) => bail!("{}: name one of the subsets {}", data.display(), many.join(", ")),
    };
    let train = read_units(data, &format!("train_{subset}.txt"))?;
    let test_folder = test_data.unwrap_or(data);
    let test = read_units(test_folder, &format!("test_{subset}.txt"))?;
    let truth = Matrix::read(test_folder, &format!("RUL_{subset}.txt"), Some(1))?;
    if truth.rows.len() != test.len() {
        let (rows, engines) = (truth.rows.len(), test.len());
        let line = rows.min(engines) + 1;
        bail!(
            "{}: line {line}, column 1: {rows} values for {engines} engines",
            truth.path.display()
        );
    }
    let truth: Vec<f64> = truth.rows.iter().map(|r| r[0]).collect();

    let started = Instant::now();
    let preparation = Preparation::learn(&train);
    let features = preparation.names();
    let (mut rows, mut labels, mut engines) = (Vec::new(), Vec::new(), Vec::new());
    for unit in &train {
        rows.extend(preparation.features(unit));
        labels.extend((0..unit.len()).map(|t| ((unit.len() - 1 - t) as f64).min(CAP)));
        engines.extend(std::iter::repeat_n(unit.id, unit.len()));
    }
    let x = matrix(&rows, features.len())?;
    let params = regressor(features.len());
    let training = Training::new(x.view(), &labels);
    let model = Booster::fit(&params, &features, training)?;
    let train_s = started.elapsed().as_secs_f64();
    let folds = FOLDS.min(train.len());
    let cross = cross_fit(&params, &features, training, &engines, folds, usize::MAX)?;
    let held_out: Vec<f64> = cross.predictions.iter().map(|p| p.clamp(0.0, CAP)).collect();
    let conformal = Conformal::new(&held_out, &labels, &engines, NEAR);
    let cross_validated = held(&held_out, &labels, &engines, &cross.folds, CAP);
    let calibrate_s = started.elapsed().as_secs_f64() - train_s;

    let last: Vec<Vec<f64>> = test
        .iter()
        .filter_map(|unit| preparation.features(unit).pop())
        .collect();
    // The models of the folds know other engines each: their mean varies less than one model does.
    let mut models = cross.models;
    models.push(model);
    let last = matrix(&last, features.len())?;
    let predicted: Vec<f64> = mean_prediction(&models, last.view())?
        .iter()
        .map(|p| p.clamp(0.0, CAP))
        .collect();
    let capped: Vec<f64> = truth.iter().map(|t| t.min(CAP)).collect();
    let (mut inside, mut width) = (0.0, 0.0);
    let mut detail = Vec::with_capacity(predicted.len());
    for (p, t) in predicted.iter().zip(&capped) {
        let (low, high) = conformal.interval80(*p, CAP).unwrap_or((0.0, CAP));
        detail.push([*t, *p, low, high]);
        inside += f64::from(u8::from(low <= *t && *t <= high));
        width += high - low;
    }
    let n = predicted.len() as f64;
    Ok(json!({
        "set": "cmapss",
        "subset": subset,
        "rmse": rmse(&predicted, &capped),
        "phm08": phm08_total(&predicted, &capped),
        "rmse_uncapped": rmse(&predicted, &truth),
        "phm08_uncapped": phm08_total(&predicted, &truth),
        "coverage80": inside / n,
        "width80": width / n,
        "train_s": train_s,
        "calibrate_s": calibrate_s,
        "cross_validated_rmse": rmse(&held_out, &labels),
        "cross_validated_coverage80": cross_validated.coverage80,
        "cross_validated_width80": cross_validated.width80,
        "cap": CAP,
        "regimes": preparation.regimes.len(),
        "engines_train": train.len(),
        "engines_test": test.len(),
        "features": features.len(),
        // For the picture: truth, prediction, band.
        "detail": { "unit": "cycles", "lives": detail },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{Input, LONG, SHORT, SeriesFeatures};

    #[test]
    fn what_is_learned_from_an_engine_is_what_a_pass_would_see() {
        let unit = Unit {
            id: 1,
            settings: vec![vec![0.0; SETTINGS]; 90],
            sensors: (0..90_usize)
                .map(|t| (0..SENSORS).map(|s| ((t * t + 31 * s) % 17) as f64).collect())
                .collect(),
        };
        let preparation = Preparation::learn(std::slice::from_ref(&unit));
        let rows = preparation.features(&unit);
        let column: Vec<f64> = unit
            .sensors
            .iter()
            .map(|row| preparation.scaler.scale(0, row)[0])
            .collect();
        let served = SeriesFeatures::compute(&[Input {
            value: &column,
            z: &column,
            steps_per_hour: 1.0,
            wanted: column.len(),
        }])
        .unwrap()
        .remove(0);
        for (t, row) in rows.iter().enumerate() {
            assert_eq!(
                row[5].to_bits(),
                served.column("expanding_mean")[t].to_bits(),
                "{t}"
            );
            let short = mean(&column, t, SHORT);
            assert_eq!(short.to_bits(), served.column("mean_short")[t].to_bits(), "{t}");
            let long = deviation(&column, t, LONG);
            assert!(
                t == 0 || long.to_bits() == served.column("sd_long")[t].to_bits(),
                "{t}"
            );
        }
    }
}

//! Remaining life of turbofan engines (C-MAPSS): trained on runs to failure, tested at the last cycle of cut runs.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use ndarray::Array2;
use serde_json::{Value, json};

use super::BacktestArgs;
use super::conformal::{Conformal, NEAR, held};
use super::metrics::{phm08_total, rmse};
use super::regimes::{Regimes, Scaler};
use super::served::engines::{self, Engine};
use super::settings::{folds, mean_prediction, regressor};
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

    fn engine(&self) -> Engine<'_> {
        Engine {
            settings: &self.settings,
            sensors: &self.sensors,
        }
    }
}

fn read_units(folder: &Path, name: &str) -> Result<Vec<Unit>> {
    let matrix = Matrix::read(folder, name, Some(2 + SETTINGS + SENSORS))?;
    let mut units: Vec<Unit> = Vec::new();
    for (index, row) in matrix.rows.iter().enumerate() {
        let place = |column: usize, what: &str| matrix.bad(index, column, what);
        if row[0] < 1.0 || row[0].fract() != 0.0 {
            return Err(place(0, "the unit is not a number from 1"));
        }
        let id = row[0] as u64;
        if units.last().is_none_or(|u| u.id != id) {
            if units.iter().any(|u| u.id == id) {
                return Err(place(0, "the unit comes back after another one"));
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
            return Err(place(1, "the cycles of a unit must count up from 1"));
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

/// The subset that is asked for, or the only one there is.
fn subset_of(data: &Path, wanted: Option<&str>) -> Result<String> {
    let found = subsets(data)?;
    match (wanted, &found[..]) {
        (_, []) => {
            find(data, "train_FD001.txt")?;
            bail!("{}: no train_*.txt", data.display())
        }
        (Some(wanted), there) if there.iter().any(|s| s == wanted) => Ok(wanted.to_owned()),
        (Some(wanted), there) => bail!(
            "{}: no train_{wanted}.txt; the subsets there are {}",
            data.display(),
            there.join(", ")
        ),
        (None, [one]) => Ok(one.clone()),
        (None, many) => bail!("{}: name one of the subsets {}", data.display(), many.join(", ")),
    }
}

/// True remaining cycles of the test engines.
fn read_truth(folder: &Path, name: &str, engines: usize) -> Result<Vec<f64>> {
    let truth = Matrix::read(folder, name, Some(1))?;
    truth.rows_as(engines, "the test file, one for each engine")?;
    if let Some(row) = truth.rows.iter().position(|row| row[0] < 0.0) {
        return Err(truth.bad(row, 0, "a remaining life is not below 0"));
    }
    Ok(truth.rows.iter().map(|row| row[0]).collect())
}

/// Fewest training engines whose errors make an interval.
const TELLING: usize = 10;

fn notes(preparation: &Preparation, train: usize, test: usize) -> Vec<String> {
    let mut notes = Vec::new();
    if preparation.scaler.live.is_empty() {
        notes.push("no sensor ever changes: its age is all there is to tell an engine by".to_owned());
    }
    for (engines, what) in [
        (
            train,
            "learned from: the intervals are drawn from too few lives to hold what they say",
        ),
        (test, "tested on: coverage and width say little"),
    ] {
        if engines < TELLING {
            notes.push(format!("only {engines} engines were {what}"));
        }
    }
    notes
}

/// Trains on `train_<subset>` of `data` and tests on `test_<subset>` of the test folder (or `data`).
///
/// # Errors
/// A missing or malformed file, by name, line and column; more than one subset and none named; one engine only.
pub fn run(data: &Path, args: &BacktestArgs) -> Result<Value> {
    let subset = subset_of(data, args.subset.as_deref())?;
    let name = format!("train_{subset}.txt");
    let train = read_units(data, &name)?;
    let test_folder = args.test_data.as_deref().unwrap_or(data);
    let test = read_units(test_folder, &format!("test_{subset}.txt"))?;
    let truth = read_truth(test_folder, &format!("RUL_{subset}.txt"), test.len())?;
    let ids: Vec<u64> = train.iter().map(|unit| unit.id).collect();
    let folds = folds(&ids, FOLDS, data.join(&name).display(), "engine")?;

    args.progress
        .say(format_args!("learning from {} engines", train.len()));
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
    args.progress
        .say(format_args!("cross-validating, {folds} folds by engine"));
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
    args.progress.say("what serving would have learned and said");
    let served = engines::judge(
        &train.iter().map(Unit::engine).collect::<Vec<_>>(),
        &test.iter().map(Unit::engine).collect::<Vec<_>>(),
        &truth,
    )?;
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
        // What the class's model of remaining life says, learned by serving's own means from the same engines.
        "served": served,
        "notes": notes(&preparation, train.len(), test.len()),
        // For the picture: truth, prediction, band.
        "detail": { "unit": "cycles", "lives": detail },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{Input, LONG, SHORT, SeriesFeatures};
    use crate::testing::noise;

    /// A folder of engines of these lives, the test ones cut ten cycles before their end.
    fn folder(lives: &[usize], sensor: impl Fn(usize, usize) -> f64) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let text = |cut: usize| -> String {
            let mut text = String::new();
            for (unit, life) in lives.iter().enumerate() {
                for cycle in 1..=life - cut {
                    let values: Vec<String> = (0..SENSORS)
                        .map(|s| sensor(s, life - cycle).to_string())
                        .collect();
                    text += &format!("{} {cycle} 0 0 100 {}\n", unit + 1, values.join(" "));
                }
            }
            text
        };
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        write("train_A.txt", text(0));
        write("test_A.txt", text(10));
        write("RUL_A.txt", "10\n".repeat(lives.len()));
        dir
    }

    fn wear(sensor: usize, left: usize) -> f64 {
        0.1 * noise(1000 * sensor + left) + 1.0 / (1.0 + left as f64 / 10.0)
    }

    #[test]
    fn few_engines_and_dead_sensors_are_said() {
        let args = BacktestArgs::default();
        let error = run(folder(&[80], wear).path(), &args).unwrap_err().to_string();
        assert!(
            error.contains("train_A.txt: all rows are of one engine"),
            "{error}"
        );
        let found = run(folder(&[80, 90], wear).path(), &args).unwrap();
        let notes: Vec<&str> = found["notes"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert!(
            notes[0].starts_with("only 2 engines were learned from"),
            "{notes:?}"
        );
        assert!(
            found["served"]["why"].as_str().unwrap().contains("2 runs"),
            "{found}"
        );
        let found = run(folder(&[80, 90], |_, _| 1.0).path(), &args).unwrap();
        assert!(
            found["notes"][0]
                .as_str()
                .unwrap()
                .starts_with("no sensor ever changes"),
            "{found}"
        );
    }

    #[test]
    fn a_malformed_folder_is_refused_by_file_line_and_column() {
        let dir = folder(&[80, 90], wear);
        let args = BacktestArgs {
            subset: Some("B".to_owned()),
            ..BacktestArgs::default()
        };
        let error = run(dir.path(), &args).unwrap_err().to_string();
        assert!(
            error.ends_with("no train_B.txt; the subsets there are A"),
            "{error}"
        );
        std::fs::write(dir.path().join("RUL_A.txt"), "10\n-5\n").unwrap();
        let args = BacktestArgs::default();
        let error = run(dir.path(), &args).unwrap_err().to_string();
        assert!(
            error.contains("RUL_A.txt: line 2, column 1: a remaining life"),
            "{error}"
        );
        std::fs::write(dir.path().join("RUL_A.txt"), "10\n").unwrap();
        let error = run(dir.path(), &args).unwrap_err().to_string();
        assert!(
            error.contains("RUL_A.txt: line 1, column 1: 1 rows where 2 belong"),
            "{error}"
        );
        // Blank lines are counted, as an editor does.
        let row = " 0 0 100".to_owned() + &" 1".repeat(SENSORS);
        std::fs::write(dir.path().join("train_A.txt"), format!("\n1 1{row}\n1 3{row}\n")).unwrap();
        let error = run(dir.path(), &args).unwrap_err().to_string();
        assert!(
            error.contains("train_A.txt: line 3, column 2: the cycles of a unit"),
            "{error}"
        );
    }

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

//! Condition of four components of a hydraulic rig, cycle by cycle.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};
use ndarray::Array2;
use serde_json::{Value, json};

use super::BacktestArgs;
use super::metrics::{Confusion, quantile};
use super::settings::{PATIENCE, classifier, folds, labels, mean_prediction};
use super::table::{Matrix, find};
use crate::boost::{Feature, Training, cross_fit};
use crate::picture::Bars;

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

/// The cycles of a folder: features, and the condition of each component.
struct Cycles {
    x: Array2<f64>,
    profile: Matrix,
    sensors: Vec<&'static str>,
}

/// `sensors`: those that were trained on, all of which must be there; else those that are.
fn read(data: &Path, sensors: Option<&[&'static str]>) -> Result<Cycles> {
    let profile = Matrix::read(data, "profile.txt", Some(5))?;
    let cycles = profile.rows.len();
    for (row, values) in profile.rows.iter().enumerate() {
        if let Some(column) = values.iter().position(|v| v.fract() != 0.0) {
            return Err(profile.bad(row, column, "a condition is a whole number"));
        }
    }
    let there = || {
        SENSORS
            .into_iter()
            .filter(|s| find(data, &format!("{s}.txt")).is_ok())
    };
    let sensors: Vec<&'static str> = sensors.map_or_else(|| there().collect(), <[_]>::to_vec);
    if sensors.is_empty() {
        bail!("{}: no sensor file such as TS1.txt", data.display());
    }
    let mut rows: Vec<Vec<f64>> = vec![Vec::new(); cycles];
    for sensor in &sensors {
        let matrix = Matrix::read(data, &format!("{sensor}.txt"), None)?;
        matrix.rows_as(cycles, "profile.txt")?;
        for (row, cycle) in rows.iter_mut().zip(&matrix.rows) {
            row.extend(describe(cycle));
        }
    }
    let width = rows.first().map_or(0, Vec::len);
    Ok(Cycles {
        x: Array2::from_shape_vec((cycles, width), rows.concat())?,
        profile,
        sensors,
    })
}

impl Cycles {
    fn features(&self) -> Vec<Feature> {
        let kinds = || {
            let kinds = ["mean", "sd", "min", "median", "max"].map(str::to_owned);
            kinds.into_iter().chain((0..PARTS).map(|p| format!("part{p}")))
        };
        let named = |sensor: &&str| {
            let sensor = (*sensor).to_owned();
            kinds().map(move |kind| Feature::numeric(format!("{sensor}:{kind}")))
        };
        self.sensors.iter().flat_map(named).collect()
    }

    /// Cycles of one run of equal settings.
    fn runs(&self) -> Vec<u64> {
        let rows = &self.profile.rows;
        let mut run = 0;
        (0..rows.len())
            .map(|i| {
                run += u64::from(i > 0 && rows[i][..4] != rows[i - 1][..4]);
                run
            })
            .collect()
    }

    fn condition(&self, target: usize) -> Vec<i64> {
        self.profile.rows.iter().map(|r| r[target] as i64).collect()
    }
}

/// Classifies each component, one against the rest. Cycles of one run of equal settings stay on one side of a fold,
/// since neighbouring cycles are nearly copies. Or trained on `data` and tested on `test_data`.
///
/// # Errors
/// A missing or malformed file, by name, line and column; one run only.
pub fn run(data: &Path, args: &BacktestArgs) -> Result<Value> {
    args.progress.say("reading");
    let train = read(data, None)?;
    let test = match &args.test_data {
        Some(folder) => Some(read(folder, Some(&train.sensors))?),
        None => None,
    };
    if let Some(test) = test.as_ref().filter(|test| test.x.ncols() != train.x.ncols()) {
        bail!(
            "{}: line 1, column 1: its sensors have other features than those trained on",
            test.profile.path.display()
        );
    }
    let features = train.features();
    let groups = train.runs();
    let folds = folds(
        &groups,
        FOLDS,
        data.join("profile.txt").display(),
        "run of equal settings",
    )?;
    let judged = test.as_ref().unwrap_or(&train);
    let cycles = judged.profile.rows.len();
    let mut notes: Vec<String> = Vec::new();
    let mut result = json!({ "set": "hydraulic", "cycles": cycles, "runs": judged.runs().last().map_or(0, |last| last + 1) });
    let mut bars = Vec::new();
    for (target, name) in TARGETS.iter().enumerate() {
        let (own, is) = (train.condition(target), judged.condition(target));
        let classes: BTreeSet<i64> = own.iter().copied().collect();
        if classes.len() < 2 {
            notes.push(format!(
                "{name}: its condition never changes: there is nothing to tell apart"
            ));
            result[*name] = Value::Null;
            continue;
        }
        let mut scores = Vec::new();
        for (number, class) in classes.iter().enumerate() {
            args.progress
                .step(&format!("{name}, condition"), number + 1, classes.len());
            let y: Vec<bool> = own.iter().map(|condition| condition == class).collect();
            let params = classifier(&y, features.len());
            let target = labels(&y);
            let training = Training::new(train.x.view(), &target);
            let cross = cross_fit(&params, &features, training, &groups, folds, PATIENCE)?;
            scores.push(match &test {
                None => cross.predictions,
                Some(test) => mean_prediction(&cross.models, test.x.view())?,
            });
        }
        let classes: Vec<i64> = classes.into_iter().collect();
        let unknown = is.iter().filter(|condition| !classes.contains(condition)).count();
        if unknown > 0 {
            notes.push(format!(
                "{name}: {unknown} cycles are in a condition that was not trained on"
            ));
        }
        let said: Vec<i64> = (0..cycles)
            .map(|i| {
                let best = (0..scores.len()).max_by(|a, b| scores[*a][i].total_cmp(&scores[*b][i]));
                classes[best.unwrap_or(0)]
            })
            .collect();
        let right = said.iter().zip(&is).filter(|(a, b)| a == b).count();
        let f1 = classes
            .iter()
            .map(|c| Confusion::of(said.iter().zip(&is).map(|(a, b)| (a == c, b == c))).f1())
            .sum::<f64>()
            / classes.len() as f64;
        bars.push(((*name).to_owned(), f1));
        result[*name] = json!({ "accuracy": right as f64 / cycles as f64, "macro_f1": f1 });
    }
    let mean = bars.iter().map(|bar| bar.1).sum::<f64>() / bars.len().max(1) as f64;
    result["macro_f1"] = json!((!bars.is_empty()).then_some(mean));
    result["notes"] = json!(notes);
    let bars = Bars {
        name: "components".to_owned(),
        title: "hydraulic: how well the condition of each component is told".to_owned(),
        x_name: "macro F1".to_owned(),
        bars,
    };
    result["detail"] = json!({ "bars": [bars] });
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, cycles: usize, setting: impl Fn(usize) -> usize) {
        let (mut profile, mut sensor) = (String::new(), String::new());
        for cycle in 0..cycles {
            let at = setting(cycle);
            profile += &format!("{at} 100 0 130 0\n");
            let values: Vec<String> = (0..24)
                .map(|i| format!("{}", at as f64 + 0.1 * crate::testing::noise(100 * cycle + i)))
                .collect();
            sensor += &(values.join("\t") + "\n");
        }
        std::fs::write(folder.join("profile.txt"), profile).unwrap();
        std::fs::write(folder.join("TS1.txt"), sensor).unwrap();
    }

    #[test]
    fn another_folder_can_be_judged_and_what_never_changes_is_said() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(own.path(), 120, |cycle| [3, 20][cycle / 10 % 2]);
        write(other.path(), 40, |cycle| [3, 20][cycle / 20]);
        let args = BacktestArgs {
            test_data: Some(other.path().to_path_buf()),
            ..BacktestArgs::default()
        };
        let found = run(own.path(), &args).unwrap();
        assert_eq!(
            (found["cycles"].as_u64(), found["cooler"]["accuracy"].as_f64()),
            (Some(40), Some(1.0)),
            "{found}"
        );
        assert!(
            found["valve"].is_null() && found["notes"].as_array().unwrap().len() == 3,
            "{found}"
        );
        let error = run(other.path(), &BacktestArgs::default());
        assert!(error.is_ok(), "two runs are enough");
        write(own.path(), 60, |_| 3);
        let error = run(own.path(), &args).unwrap_err().to_string();
        assert!(
            error.contains("profile.txt: all rows are of one run of equal settings"),
            "{error}"
        );
        std::fs::write(own.path().join("TS1.txt"), "1 2\n").unwrap();
        let error = run(own.path(), &args).unwrap_err().to_string();
        assert!(
            error.contains("TS1.txt: line 1, column 1: 1 rows where 60 belong, as in profile.txt"),
            "{error}"
        );
    }
}

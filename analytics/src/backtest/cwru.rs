//! Which part of a bearing is damaged and how far (CWRU, features of segments).

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};
use ndarray::Array2;
use serde_json::{Value, json};

use super::BacktestArgs;
use super::metrics::Confusion;
use super::settings::{PATIENCE, classifier, folds, labels, mean_prediction};
use super::table::{Table, names};
use crate::boost::{Feature, Training, cross_fit};
use crate::picture::Bars;

const TARGET: &str = "fault";
/// Neighbouring segments are of one recording: they stay on one side of a fold, in blocks of so many.
const BLOCK: usize = 23;
const FOLDS: usize = 5;

struct Segments {
    names: Vec<String>,
    x: Array2<f64>,
    fault: Vec<String>,
}

fn files(folder: &Path) -> Result<Vec<String>> {
    let mut names = names(folder)?;
    names.retain(|name| name.starts_with("feature_time_") && name.ends_with(".csv"));
    if names.is_empty() {
        bail!("{}: no feature_time_*.csv", folder.display());
    }
    Ok(names)
}

fn read(folder: &Path) -> Result<Segments> {
    let (mut names, mut values, mut fault) = (Vec::new(), Vec::new(), Vec::new());
    for file in files(folder)? {
        let table = Table::read(folder, &file, b',')?;
        let target = table.column(TARGET)?;
        let own: Vec<String> = table
            .header
            .iter()
            .filter(|name| *name != TARGET)
            .cloned()
            .collect();
        if names.is_empty() {
            names = own;
        }
        let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
        let columns = table.columns(&wanted)?;
        for row in 0..table.len() {
            for column in &columns {
                values.push(table.number(row, *column)?);
            }
            let text = table.text(row, target);
            if text.is_empty() {
                return Err(table.bad(row, target, "the fault is empty"));
            }
            fault.push(text.to_owned());
        }
    }
    Ok(Segments {
        x: Array2::from_shape_vec((fault.len(), names.len()), values)?,
        names,
        fault,
    })
}

/// One against the rest, by blocks of neighbouring segments; or trained on `data` and tested on `test_data`.
///
/// # Errors
/// A missing or malformed file, by name, line and column; one class only.
pub fn run(data: &Path, args: &BacktestArgs) -> Result<Value> {
    let train = read(data)?;
    let test = args.test_data.as_deref().map(read).transpose()?;
    let classes: Vec<&String> = train.fault.iter().collect::<BTreeSet<_>>().into_iter().collect();
    if classes.len() < 2 {
        bail!(
            "{}: only one kind of fault: there is nothing to tell apart",
            data.display()
        );
    }
    let features: Vec<Feature> = train.names.iter().map(Feature::numeric).collect();
    let groups: Vec<u64> = (0..train.fault.len()).map(|row| (row / BLOCK) as u64).collect();
    let folds = folds(&groups, FOLDS, data.display(), "block of neighbouring segments")?;
    let mut scores: Vec<Vec<f64>> = Vec::new();
    for (number, class) in classes.iter().enumerate() {
        args.progress.step("kind of fault", number + 1, classes.len());
        let y: Vec<bool> = train.fault.iter().map(|fault| fault == *class).collect();
        let target = labels(&y);
        let training = Training::new(train.x.view(), &target);
        let cross = cross_fit(
            &classifier(&y, features.len()),
            &features,
            training,
            &groups,
            folds,
            PATIENCE,
        )?;
        scores.push(match &test {
            None => cross.predictions,
            Some(test) => mean_prediction(&cross.models, test.x.view())?,
        });
    }
    let truth = test.as_ref().map_or(&train.fault, |test| &test.fault);
    let said: Vec<&String> = (0..truth.len())
        .map(|row| {
            let best = (0..classes.len()).max_by(|a, b| scores[*a][row].total_cmp(&scores[*b][row]));
            classes[best.unwrap_or_default()]
        })
        .collect();
    let right = said.iter().zip(truth).filter(|(said, is)| *said == is).count() as f64;
    let f1 =
        |class: &String| Confusion::of(said.iter().zip(truth).map(|(s, t)| (*s == class, t == class))).f1();
    let bars = Bars {
        name: "kinds".to_owned(),
        title: "cwru: how well each kind of fault is told".to_owned(),
        x_name: "F1".to_owned(),
        bars: classes
            .iter()
            .map(|class| ((*class).clone(), f1(class)))
            .collect(),
    };
    let unknown = truth.iter().filter(|fault| !classes.contains(fault)).count();
    let notes: Vec<String> = (unknown > 0)
        .then(|| format!("{unknown} segments have a fault that was not trained on"))
        .into_iter()
        .collect();
    let macro_f1 = classes.iter().map(|class| f1(class)).sum::<f64>() / classes.len() as f64;
    // A damaged part that is called healthy is what costs.
    let healthy = |fault: &str| fault.starts_with("Normal");
    let c = Confusion::of(said.iter().zip(truth).map(|(s, t)| (!healthy(s), !healthy(t))));
    Ok(json!({
        "set": "cwru",
        "accuracy": right / truth.len() as f64,
        "macro_f1": macro_f1,
        "missed_faults": c.miss_rate(),
        "false_alarms": c.false_alarm_rate(),
        "segments": truth.len(),
        "classes": classes.len(),
        "notes": notes,
        "detail": { "bars": [bars] },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_segments_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |text: &str| {
            std::fs::write(dir.path().join("feature_time_a.csv"), text).unwrap();
            run(dir.path(), &BacktestArgs::default()).unwrap_err().to_string()
        };
        assert!(refused("rms,kurtosis\n1,2\n").contains("line 1: column 'fault' is missing"));
        assert!(refused("rms,fault\n1,a\nx,b\n").contains("line 3, column 1 (rms): 'x' is not a number"));
        assert!(refused("rms,fault\n1,\n").contains("line 2, column 2 (fault): the fault is empty"));
        assert!(refused("rms,fault\n1,a\n2,a\n").contains("only one kind of fault"));
        let none = run(&dir.path().join("none"), &BacktestArgs::default())
            .unwrap_err()
            .to_string();
        assert!(none.contains("none: "), "{none}");
    }
}

//! Failure within a horizon on the hourly telemetry of a fleet: split by machine, calibrated at the natural base rate.

mod figures;
mod fleet;
mod rows;

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use self::figures::{by_event, figures, recall_at_budget, signal_before, why_not};
use self::fleet::read;
use self::rows::{Rows, rows};
use super::isotonic::Isotonic;
use super::metrics::median;
use super::settings::{PATIENCE, classifier, labels};
use crate::boost::{Training, cross_fit, fit_grouped};

const HOUR: f64 = 3600.0;
const FOLDS: usize = 5;
/// Share of the machine-days that can be inspected.
const BUDGET: f64 = 0.05;

/// Curve from score to probability, from natural rows where there are any.
fn calibrate(score: &[f64], rows: &Rows, keep: impl Fn(usize) -> bool) -> Option<Isotonic> {
    let natural = (0..score.len()).any(|i| rows.natural[i] && rows.y[i] && keep(i));
    let weight = |i: usize| f64::from(u8::from(keep(i) && (rows.natural[i] || !natural)));
    let weights: Vec<f64> = (0..score.len()).map(weight).collect();
    Isotonic::fit(score, &rows.y, Some(&weights))
}

/// Trains and tests by machine: five folds within `data`, or all of `data` against all of `test_data`.
///
/// # Errors
/// A missing or malformed file, by name, line and column; no failure to learn from.
pub fn run(data: &Path, test_data: Option<&Path>, horizon_h: f64) -> Result<Value> {
    let fleet = read(data, &[], &[])?;
    let train = rows(&fleet, horizon_h * HOUR);
    if !train.y.contains(&true) {
        bail!(
            "{}: no failure follows any row within {horizon_h} h",
            data.display()
        );
    }
    let features = fleet.features();
    let started = Instant::now();
    let x = train.matrix()?;
    let y = labels(&train.y);
    let params = classifier(&train.y, features.len());
    let training = Training::new(x.view(), &y);
    let (raw, p, test, test_fleet) = match test_data {
        None => {
            let cross = cross_fit(&params, &features, training, &train.machine, FOLDS, PATIENCE)?;
            // A fold is calibrated by the others, so that no row has a say in its own probability.
            let curves: Vec<Option<Isotonic>> = (0..FOLDS)
                .map(|f| calibrate(&cross.predictions, &train, |i| cross.folds[i] != f))
                .collect();
            let p = cross.predictions.iter().zip(&cross.folds);
            let p: Vec<f64> = p
                .map(|(s, f)| curves[*f].as_ref().map_or(*s, |c| c.probability(*s)))
                .collect();
            (cross.predictions, p, train, fleet)
        }
        Some(folder) => {
            let (model, cross) = fit_grouped(&params, &features, training, &train.machine, FOLDS, PATIENCE)?;
            let curve = calibrate(&cross.predictions, &train, |_| true);
            let other = read(folder, &fleet.error_codes, &fleet.components)?;
            if (&other.error_codes, &other.components) != (&fleet.error_codes, &fleet.components) {
                bail!(
                    "{}: has error codes or components that were not trained on",
                    folder.display()
                );
            }
            let test = rows(&other, horizon_h * HOUR);
            let raw = model.predict(test.matrix()?.view())?;
            let p: Vec<f64> = raw
                .iter()
                .map(|s| curve.as_ref().map_or(*s, |c| c.probability(*s)))
                .collect();
            (raw, p, test, other)
        }
    };
    let train_s = started.elapsed().as_secs_f64();
    let all = figures(&raw, &p, &test, |_| true);
    let natural = figures(&raw, &p, &test, |i| test.natural[i]);
    let (leads, events) = by_event(&p, &test, &test_fleet, horizon_h);
    let before = signal_before(&p, &test, &test_fleet, horizon_h);
    let mut result = json!({
        "set": "azure",
        "horizon_h": horizon_h,
        "train_s": train_s,
        "rows": test.y.len(),
        "machines": test_fleet.machines.len(),
        "event_recall": leads.len() as f64 / f64::max(events as f64, 1.0),
        "events": events,
        "lead_time_h": (!leads.is_empty()).then(|| median(&leads)),
        "detail": { "lead_times_h": leads },
        "signal_before": before,
        "recall_at_budget": recall_at_budget(&p, &test),
        "budget": BUDGET,
        "natural": natural,
    });
    if let (Value::Object(to), Value::Object(from)) = (&mut result, all) {
        to.extend(from);
    }
    if let Some(why) = why_not(&result) {
        result["why"] = json!(why);
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [(&str, &str); 5] = [
        (
            "PdM_errors.csv",
            "datetime,machineID,errorID\n2015-01-03 07:00:00,1,error1\n",
        ),
        (
            "PdM_maint.csv",
            "datetime,machineID,comp\n2014-06-01 06:00:00,1,comp2\n",
        ),
        (
            "PdM_failures.csv",
            "datetime,machineID,failure\n2015-01-05 06:00:00,1,comp4\n",
        ),
        ("PdM_machines.csv", "machineID,model,age\n1,model3,18\n"),
        (
            "PdM_telemetry.csv",
            "datetime,machineID,volt,rotate,pressure,vibration\n2015-01-01 06:00:00,1,176.2,418.5,113.1,45.1\n",
        ),
    ];

    /// What is said of a folder in which one file is another.
    fn refused(name: &str, text: Option<&str>) -> String {
        let dir = tempfile::tempdir().unwrap();
        for (file, usual) in FILES {
            match text {
                None if file == name => {}
                Some(text) if file == name => std::fs::write(dir.path().join(file), text).unwrap(),
                _ => std::fs::write(dir.path().join(file), usual).unwrap(),
            }
        }
        run(dir.path(), None, 24.0).unwrap_err().to_string()
    }

    #[test]
    fn a_malformed_folder_is_refused_by_file_line_and_column() {
        for (name, _) in FILES {
            assert!(
                refused(name, None).contains(&format!("{name}: file not found")),
                "{name}"
            );
        }
        let head = "datetime,machineID,volt,rotate,pressure,vibration\n";
        for (rows, words) in [
            ("2015-01-01 06:00:00,1,1,2,3\n", "line 2"),
            (
                "2015-01-01 06:00:00,1,1,2,x,4\n",
                "line 2, column 5 (pressure): 'x' is not a number",
            ),
            (
                "noon,1,1,2,3,4\n",
                "line 2, column 1 (datetime): 'noon' is not a time",
            ),
            (
                "2015-01-01 06:00:00,7,1,2,3,4\n",
                "line 2, column 2 (machineID): the machine is not in PdM_machines.csv",
            ),
            (
                "2015-01-01 06:00:00,1,1,2,3,4\n2015-01-01 05:00:00,1,1,2,3,4\n",
                "line 3, column 1 (datetime): the time of a machine goes back",
            ),
        ] {
            let error = refused("PdM_telemetry.csv", Some(&format!("{head}{rows}")));
            assert!(
                error.contains("PdM_telemetry.csv") && error.contains(words),
                "{error}"
            );
        }
        let error = refused("PdM_machines.csv", Some("machineID,model,age\n1,new,18\n"));
        assert!(
            error.contains("line 2, column 2 (model): the model has no number"),
            "{error}"
        );
        let error = refused(
            "PdM_errors.csv",
            Some("datetime,machineID,errorID\n2015-01-03 07:00:00,1,\n"),
        );
        assert!(error.contains("line 2, column 3 (errorID): is empty"), "{error}");
        // One hour of telemetry, four days before the failure.
        assert!(refused("", None).contains("no failure follows any row within 24 h"));
    }
}

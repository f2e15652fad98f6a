//! Failure within a horizon on the hourly telemetry of a fleet: split by machine, calibrated at the natural base rate.

mod figures;
mod fleet;
mod rows;

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

use self::figures::{by_event, figures, recall_at_budget, signal_before, why_not};
use self::fleet::read;
use self::rows::{Rows, rows};
use super::isotonic::Isotonic;
use super::settings::{PATIENCE, classifier, folds, judgeable, labels, only_one_answer};
use super::{BacktestArgs, metrics};
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
pub fn run(data: &Path, args: &BacktestArgs) -> Result<Value> {
    let horizon_h = args.horizon_h.unwrap_or(24.0);
    args.progress.say("reading");
    let fleet = read(data, &[], &[])?;
    let train = rows(&fleet, horizon_h * HOUR);
    let event = format!("failure within {horizon_h} h after it");
    let mut notes = judgeable(&train.y, data.display(), &event)?;
    let folds = folds(&train.machine, FOLDS, data.display(), "machine")?;
    if folds < FOLDS {
        notes.push(format!(
            "only {folds} machines: what is said of machines that were not seen is unsure"
        ));
    }
    let features = fleet.features();
    let started = Instant::now();
    let x = train.matrix()?;
    let y = labels(&train.y);
    let params = classifier(&train.y, features.len());
    let training = Training::new(x.view(), &y);
    args.progress.say(format_args!(
        "learning from {} hours of machines, {folds} folds by machine",
        y.len()
    ));
    let (raw, p, test, test_fleet) = match &args.test_data {
        None => {
            let cross = cross_fit(&params, &features, training, &train.machine, folds, PATIENCE)?;
            // A fold is calibrated by the others, so that no row has a say in its own probability.
            let curves: Vec<Option<Isotonic>> = (0..folds)
                .map(|f| calibrate(&cross.predictions, &train, |i| cross.folds[i] != f))
                .collect();
            let p = cross.predictions.iter().zip(&cross.folds);
            let p: Vec<f64> = p
                .map(|(s, f)| curves[*f].as_ref().map_or(*s, |c| c.probability(*s)))
                .collect();
            (cross.predictions, p, train, fleet)
        }
        Some(folder) => {
            let (model, cross) = fit_grouped(&params, &features, training, &train.machine, folds, PATIENCE)?;
            let curve = calibrate(&cross.predictions, &train, |_| true);
            args.progress.say("testing on the other folder");
            let other = read(folder, &fleet.error_codes, &fleet.components)?;
            let test = rows(&other, horizon_h * HOUR);
            notes.extend(only_one_answer(&test.y, folder.display(), &event));
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
        "event_recall": (events > 0).then(|| leads.len() as f64 / events as f64),
        "events": events,
        "lead_time_h": (!leads.is_empty()).then(|| metrics::median(&leads)),
        "detail": { "lead_times_h": leads },
        "signal_before": before,
        "recall_at_budget": recall_at_budget(&p, &test),
        "budget": BUDGET,
        "natural": natural,
        "notes": notes,
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

    /// A folder in which one file is another.
    fn folder(name: &str, text: Option<&str>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (file, usual) in FILES {
            match text {
                None if file == name => {}
                Some(text) if file == name => std::fs::write(dir.path().join(file), text).unwrap(),
                _ => std::fs::write(dir.path().join(file), usual).unwrap(),
            }
        }
        dir
    }

    /// What is said of it.
    fn refused(name: &str, text: Option<&str>) -> String {
        let dir = folder(name, text);
        run(dir.path(), &BacktestArgs::default()).unwrap_err().to_string()
    }

    #[test]
    fn machines_that_can_not_be_are_refused() {
        let head = "machineID,model,age\n1,model3,18\n";
        for (row, words) in [
            (
                "1,model2,3\n",
                "line 3, column 1 (machineID): the machine is there twice",
            ),
            (
                "1.7,model2,3\n",
                "line 3, column 1 (machineID): '1.7' is not a whole number",
            ),
            (
                "-1,model2,3\n",
                "line 3, column 1 (machineID): '-1' is not a whole number",
            ),
        ] {
            let error = refused("PdM_machines.csv", Some(&format!("{head}{row}")));
            assert!(
                error.contains("PdM_machines.csv") && error.contains(words),
                "{error}"
            );
        }
        for (name, head, row) in [
            (
                "PdM_failures.csv",
                "datetime,machineID,failure",
                "2015-01-05 06:00:00,999,comp4",
            ),
            (
                "PdM_errors.csv",
                "datetime,machineID,errorID",
                "2015-01-05 06:00:00,999,error1",
            ),
            (
                "PdM_maint.csv",
                "datetime,machineID,comp",
                "2015-01-05 06:00:00,999,comp1",
            ),
        ] {
            let error = refused(name, Some(&format!("{head}\n{row}\n")));
            assert!(
                error.contains(&format!(
                    "{name}: line 2, column 2 (machineID): the machine is not in"
                )),
                "{error}"
            );
        }
        // What was not trained on is refused where it stands.
        let dir = folder("", None);
        let known = ["error0".to_owned()];
        let error = read(dir.path(), &known, &[]).err().unwrap().to_string();
        assert!(
            error.contains(
                "PdM_errors.csv: line 2, column 3 (errorID): 'error1' is not in the data that was trained on"
            ),
            "{error}"
        );
    }

    #[test]
    fn one_machine_is_refused_in_plain_words() {
        let mut text = "datetime,machineID,volt,rotate,pressure,vibration\n".to_owned();
        for hour in 0..72 {
            text += &format!("2015-01-{:02} {:02}:00:00,1,1,2,3,4\n", 3 + hour / 24, hour % 24);
        }
        let error = refused("PdM_telemetry.csv", Some(&text));
        assert!(error.contains("all rows are of one machine"), "{error}");
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
        assert!(refused("", None).contains("no failure within 24 h after it to learn from"));
    }
}

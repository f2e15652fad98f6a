//! Failure within a horizon on the hourly telemetry of a fleet: split by machine, calibrated at the natural base rate.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use ndarray::Array2;
use serde_json::{Value, json};

use super::isotonic::Isotonic;
use super::metrics::{Confusion, brier, calibration_error, median, reliability_table, roc_auc};
use super::settings::{PATIENCE, classifier, labels};
use super::table::Table;
use crate::boost::{Feature, Training, cross_fit, fit_grouped};
use crate::features::rolling::{back, moments};

const SIGNALS: [&str; 4] = ["volt", "rotate", "pressure", "vibration"];
const HOUR: f64 = 3600.0;
const FOLDS: usize = 5;
/// A run without a gap this long shows how often machines really fail; shorter ones were cut out around failures.
const NATURAL_ROWS: usize = 24 * 30;
/// Share of the machine-days that can be inspected.
const BUDGET: f64 = 0.05;

struct Machine {
    id: u64,
    age: f64,
    model: f64,
    /// (time, error code), (time, component) in time order.
    errors: Vec<(f64, usize)>,
    changes: Vec<(f64, usize)>,
    failures: Vec<f64>,
    /// Runs without a gap: times and one column per signal.
    runs: Vec<(Vec<f64>, Vec<Vec<f64>>)>,
}

struct Fleet {
    machines: Vec<Machine>,
    error_codes: Vec<String>,
    components: Vec<String>,
}

/// Events of a file by machine, with their kinds as codes of a sorted list that is extended as needed.
type Events = BTreeMap<u64, Vec<(f64, usize)>>;

fn events(data: &Path, name: &str, column: &str, kinds: &mut Vec<String>) -> Result<Events> {
    let table = Table::read(data, name, b',')?;
    let [time, machine, kind] = table.columns(&["datetime", "machineID", column])?[..] else {
        bail!("{name}: columns are missing")
    };
    let known: BTreeSet<String> = (0..table.len())
        .map(|r| table.text(r, kind).to_owned())
        .chain(kinds.drain(..))
        .collect();
    kinds.extend(known);
    let mut by_machine = Events::new();
    for row in 0..table.len() {
        let text = table.text(row, kind);
        if text.is_empty() {
            return Err(table.bad(row, kind, "is empty"));
        }
        let code = kinds.iter().position(|k| k == text).unwrap_or_default();
        let id = table.number(row, machine)? as u64;
        by_machine
            .entry(id)
            .or_default()
            .push((table.time(row, time)?, code));
    }
    by_machine
        .values_mut()
        .for_each(|e| e.sort_by(|a, b| a.0.total_cmp(&b.0)));
    Ok(by_machine)
}

fn read(data: &Path, error_codes: &[String], components: &[String]) -> Result<Fleet> {
    let (mut error_codes, mut components) = (error_codes.to_vec(), components.to_vec());
    let mut errors = events(data, "PdM_errors.csv", "errorID", &mut error_codes)?;
    let mut changes = events(data, "PdM_maint.csv", "comp", &mut components)?;
    let mut kinds = Vec::new();
    let mut failures = events(data, "PdM_failures.csv", "failure", &mut kinds)?;
    let table = Table::read(data, "PdM_machines.csv", b',')?;
    let (id, model, age) = (
        table.column("machineID")?,
        table.column("model")?,
        table.column("age")?,
    );
    let mut machines: BTreeMap<u64, Machine> = BTreeMap::new();
    for row in 0..table.len() {
        let digits: String = table
            .text(row, model)
            .chars()
            .filter(char::is_ascii_digit)
            .collect();
        let code = digits
            .parse()
            .map_err(|_| table.bad(row, model, "the model has no number"))?;
        let number = table.number(row, id)? as u64;
        machines.insert(
            number,
            Machine {
                id: number,
                age: table.number(row, age)?,
                model: code,
                errors: errors.remove(&number).unwrap_or_default(),
                changes: changes.remove(&number).unwrap_or_default(),
                failures: failures
                    .remove(&number)
                    .unwrap_or_default()
                    .into_iter()
                    .map(|f| f.0)
                    .collect(),
                runs: Vec::new(),
            },
        );
    }
    let name = ["PdM_telemetry.csv", "PdM_telemetry_sampled.csv"]
        .into_iter()
        .find(|n| super::table::find(data, n).is_ok())
        .unwrap_or("PdM_telemetry.csv");
    let table = Table::read(data, name, b',')?;
    let (time, machine) = (table.column("datetime")?, table.column("machineID")?);
    let signals = table.columns(&SIGNALS)?;
    for row in 0..table.len() {
        let number = table.number(row, machine)? as u64;
        let at = table.time(row, time)?;
        let Some(m) = machines.get_mut(&number) else {
            return Err(table.bad(row, machine, "the machine is not in PdM_machines.csv"));
        };
        let last = m.runs.last().and_then(|r| r.0.last().copied());
        match last {
            Some(t) if at <= t => return Err(table.bad(row, time, "the time of a machine goes back")),
            Some(t) if at - t <= 1.5 * HOUR => {}
            _ => m.runs.push((Vec::new(), vec![Vec::new(); SIGNALS.len()])),
        }
        // A run was pushed just above if there was none.
        let Some(run) = m.runs.last_mut() else { continue };
        run.0.push(at);
        for (column, signal) in run.1.iter_mut().zip(&signals) {
            column.push(table.number(row, *signal)?);
        }
    }
    Ok(Fleet {
        machines: machines.into_values().collect(),
        error_codes,
        components,
    })
}

impl Fleet {
    fn features(&self) -> Vec<Feature> {
        let kinds = ["mean3", "sd3", "mean24", "sd24"];
        let mut names: Vec<Feature> = SIGNALS
            .iter()
            .flat_map(|s| kinds.map(|k| Feature::numeric(format!("{s}:{k}"))))
            .collect();
        for e in &self.error_codes {
            names.push(Feature::numeric(format!("{e}:count24")));
            names.push(Feature::numeric(format!("{e}:hours_since")));
        }
        names.extend(
            self.components
                .iter()
                .map(|c| Feature::numeric(format!("{c}:hours_since_change"))),
        );
        names.push(Feature::categorical("model"));
        names.push(Feature::numeric("age"));
        names
    }
}

/// The rows of a fleet, ready to learn from.
struct Rows {
    x: Vec<Vec<f64>>,
    y: Vec<bool>,
    machine: Vec<u64>,
    time: Vec<f64>,
    natural: Vec<bool>,
}

fn rows(fleet: &Fleet, horizon: f64) -> Rows {
    let mut out = Rows {
        x: Vec::new(),
        y: Vec::new(),
        machine: Vec::new(),
        time: Vec::new(),
        natural: Vec::new(),
    };
    for m in &fleet.machines {
        for (times, columns) in &m.runs {
            for (i, t) in times.iter().enumerate() {
                let mut row = Vec::with_capacity(40);
                for column in columns {
                    for hours in [3, 24] {
                        let (_, mean, deviation) = moments(back(column, i, hours));
                        row.extend([mean, deviation]);
                    }
                }
                let errors = &m.errors[..m.errors.partition_point(|e| e.0 <= *t)];
                for code in 0..fleet.error_codes.len() {
                    let of = || errors.iter().rev().filter(|e| e.1 == code);
                    row.push(of().take_while(|e| t - e.0 < 24.0 * HOUR).count() as f64);
                    row.push(of().next().map_or(f64::NAN, |e| (t - e.0) / HOUR));
                }
                let changes = &m.changes[..m.changes.partition_point(|c| c.0 <= *t)];
                for code in 0..fleet.components.len() {
                    let last = changes.iter().rev().find(|c| c.1 == code);
                    row.push(last.map_or(f64::NAN, |c| (t - c.0) / HOUR));
                }
                row.extend([m.model, m.age]);
                out.x.push(row);
                out.y
                    .push(m.failures.iter().any(|f| *f > *t && *f <= t + horizon));
                out.machine.push(m.id);
                out.time.push(*t);
                out.natural.push(times.len() >= NATURAL_ROWS);
            }
        }
    }
    out
}

impl Rows {
    fn matrix(&self) -> Result<Array2<f64>> {
        Ok(Array2::from_shape_vec(
            (self.x.len(), self.x[0].len()),
            self.x.concat(),
        )?)
    }
}

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

/// Hours of a slot before the failure.
const SLOT_H: f64 = 12.0;

/// How well rows of each slot before a failure can be told from those that no failure follows: where the signal
/// begins. (hours before, rows, AUC, share at or above one half.)
fn signal_before(p: &[f64], rows: &Rows, fleet: &Fleet, horizon_h: f64) -> Vec<Value> {
    let mut ahead = vec![f64::INFINITY; p.len()];
    for m in &fleet.machines {
        for (i, hours) in ahead
            .iter_mut()
            .enumerate()
            .filter(|(i, _)| rows.machine[*i] == m.id)
        {
            let next = m
                .failures
                .iter()
                .filter(|f| **f > rows.time[i])
                .copied()
                .fold(f64::INFINITY, f64::min);
            *hours = (next - rows.time[i]) / HOUR;
        }
    }
    let natural = rows.natural.contains(&true);
    let used: Vec<usize> = (0..p.len()).filter(|i| rows.natural[*i] || !natural).collect();
    (0..(horizon_h / SLOT_H).ceil() as usize)
        .map(|slot| (slot as f64 * SLOT_H, (slot as f64 + 1.0) * SLOT_H))
        .filter_map(|(from, to)| {
            let inside = |i: &usize| ahead[*i] > from && ahead[*i] <= to;
            let kept: Vec<usize> = used
                .iter()
                .copied()
                .filter(|i| inside(i) || !rows.y[*i])
                .collect();
            let score: Vec<f64> = kept.iter().map(|i| p[*i]).collect();
            let y: Vec<bool> = kept.iter().map(inside).collect();
            let n = y.iter().filter(|y| **y).count();
            let seen = kept.iter().filter(|i| inside(i) && p[**i] >= 0.5).count();
            Some(
                json!({ "hours_before": [from, to], "rows": n, "auc": roc_auc(&score, &y)?,
                         "said_at_least_half": seen as f64 / n as f64 }),
            )
        })
        .collect()
}

/// Why a precision of 0.8 can't be had at a recall of 0.9, where it can't: what has to be called for that, how far ahead it
/// is, and that its probabilities are right.
fn why_not(result: &Value) -> Option<String> {
    let natural = result["natural"]["precision_at_recall_90"].is_number();
    let of = if natural { &result["natural"] } else { result };
    let precision = of["precision_at_recall_90"]
        .as_f64()
        .filter(|precision| *precision < 0.8)?;
    let doubtful = &of["doubtful"];
    let (said, failed) = (doubtful["said"].as_f64()?, doubtful["failed"].as_f64()?);
    let recall = of["recall_at_precision_80"].as_f64().unwrap_or_default();
    let early = result["signal_before"]
        .as_array()?
        .iter()
        .filter_map(|slot| Some((slot["said_at_least_half"].as_f64()?, &slot["hours_before"])))
        .min_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(format!(
        "precision is {precision:.2} at a recall of 0.9 because nine tenths of the rows before a failure can only be had by \
         calling {} rows whose probability is below one half ({said:.2} on average, and {failed:.2} of them failed: it is \
         calibrated); of the rows {} to {} h before a failure only {:.0} % say one half or more, the others look like rows of \
         machines that run on. At a precision of 0.8 the recall is {recall:.2}",
        doubtful["rows"],
        early.1[0],
        early.1[1],
        early.0 * 100.0
    ))
}

/// Figures over some rows. The oversampled windows are judged by the raw score, which learnt their base rate; the
/// natural rows by the calibrated probability.
fn figures(raw: &[f64], p: &[f64], rows: &Rows, keep: impl Fn(usize) -> bool) -> Value {
    let index: Vec<usize> = (0..p.len()).filter(|i| keep(*i)).collect();
    let y: Vec<bool> = index.iter().map(|i| rows.y[*i]).collect();
    let only_natural = index.iter().all(|i| rows.natural[*i]);
    let used: Vec<f64> = index
        .iter()
        .map(|i| {
            if only_natural || rows.natural[*i] {
                p[*i]
            } else {
                raw[*i]
            }
        })
        .collect();
    let c = Confusion::of(used.iter().map(|p| *p >= 0.5).zip(y.iter().copied()));
    json!({
        "precision": c.precision(),
        "recall": c.recall(),
        "brier": brier(&used, &y),
        "calibration_error": calibration_error(&used, &y, 10),
        "base_rate": y.iter().filter(|y| **y).count() as f64 / y.len().max(1) as f64,
        "precision_at_recall_90": precision_at_recall(&used, &y, 0.9),
        "recall_at_precision_80": recall_at_precision(&used, &y, 0.8),
        "doubtful": doubtful(&used, &y, 0.9),
        "reliability": reliability_table(&used, &y, 10),
    })
}

fn precision_at_recall(p: &[f64], y: &[bool], recall: f64) -> Option<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*b].total_cmp(&p[*a]));
    let positives = y.iter().filter(|y| **y).count() as f64;
    let (mut hits, mut seen) = (0.0, 0.0);
    let mut best: Option<f64> = None;
    for tie in order.chunk_by(|a, b| p[*a] == p[*b]) {
        hits += tie.iter().filter(|i| y[**i]).count() as f64;
        seen += tie.len() as f64;
        if hits >= recall * positives && positives > 0.0 {
            best = Some(best.map_or(hits / seen, |b| b.max(hits / seen)));
        }
    }
    best
}

/// The highest recall that leaves this precision.
fn recall_at_precision(p: &[f64], y: &[bool], precision: f64) -> Option<f64> {
    (1..=100)
        .rev()
        .map(|percent| f64::from(percent) / 100.0)
        .find(|recall| precision_at_recall(p, y, *recall).is_some_and(|found| found >= precision))
}

/// The rows below one half that have to be called for a recall: how many, what was said of them and what came.
fn doubtful(p: &[f64], y: &[bool], recall: f64) -> Value {
    let mut failing: Vec<f64> = (0..p.len()).filter(|i| y[*i]).map(|i| p[i]).collect();
    failing.sort_by(|a, b| b.total_cmp(a));
    let wanted = (failing.len() as f64 * recall).ceil() as usize;
    let Some(least) = wanted.checked_sub(1).and_then(|place| failing.get(place)) else {
        return Value::Null;
    };
    let called: Vec<usize> = (0..p.len()).filter(|i| p[*i] >= *least && p[*i] < 0.5).collect();
    if called.is_empty() {
        return Value::Null;
    }
    let n = called.len() as f64;
    let failed = called.iter().filter(|i| y[**i]).count() as f64;
    json!({ "rows": called.len(), "said": called.iter().map(|i| p[*i]).sum::<f64>() / n, "failed": failed / n })
}

/// Hours ahead of each failure that had an alarm within the horizon, and how many failures have telemetry before them.
fn by_event(p: &[f64], rows: &Rows, fleet: &Fleet, horizon_h: f64) -> (Vec<f64>, usize) {
    let (mut events, mut lead) = (0, Vec::new());
    for m in &fleet.machines {
        let of: Vec<usize> = (0..p.len()).filter(|i| rows.machine[*i] == m.id).collect();
        let times: BTreeSet<u64> = m.failures.iter().map(|f| f.to_bits()).collect();
        for f in times.into_iter().map(f64::from_bits) {
            let before = |i: &&usize| rows.time[**i] < f && rows.time[**i] >= f - horizon_h * HOUR;
            let mut seen = of.iter().filter(before).peekable();
            if seen.peek().is_some() {
                events += 1;
                if let Some(first) = seen.find(|i| p[**i] >= 0.5) {
                    lead.push((f - rows.time[*first]) / HOUR);
                }
            }
        }
    }
    (lead, events)
}

/// Share of the machine-days before a failure among the most suspicious ones that the budget allows to inspect; one
/// look per machine and day, on natural rows where there are any.
fn recall_at_budget(p: &[f64], rows: &Rows) -> f64 {
    let natural = rows.natural.contains(&true);
    let mut looks: BTreeMap<(u64, i64), usize> = BTreeMap::new();
    for i in (0..p.len()).filter(|i| rows.natural[*i] || !natural) {
        looks.insert((rows.machine[i], (rows.time[i] / 86_400.0) as i64), i);
    }
    let mut order: Vec<usize> = looks.into_values().collect();
    order.sort_by(|a, b| p[*b].total_cmp(&p[*a]).then(a.cmp(b)));
    let inspected = (order.len() as f64 * BUDGET).round() as usize;
    let hits = |of: &[usize]| of.iter().filter(|i| rows.y[**i]).count() as f64;
    hits(&order[..inspected]) / hits(&order).max(1.0)
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

    #[test]
    fn what_can_not_be_had_is_said_with_its_reason() {
        // Of 100 failing rows 80 are sure; the rest look like 60 rows that run on.
        let p: Vec<f64> = (0..1000)
            .map(|i| {
                if i < 80 {
                    0.95
                } else if i < 160 {
                    0.25
                } else {
                    0.001
                }
            })
            .collect();
        let y: Vec<bool> = (0..1000).map(|i| i < 100).collect();
        assert_eq!(recall_at_precision(&p, &y, 0.8), Some(0.8));
        let found = doubtful(&p, &y, 0.9);
        assert_eq!(
            (found["rows"].as_u64(), found["failed"].as_f64()),
            (Some(80), Some(0.25)),
            "{found}"
        );
        assert_eq!(doubtful(&p, &vec![false; 1000], 0.9), Value::Null);
        let all = json!({
            "precision_at_recall_90": precision_at_recall(&p, &y, 0.9), "recall_at_precision_80": 0.8, "doubtful": found,
            "signal_before": [{ "hours_before": [0, 12], "said_at_least_half": 0.97 }, { "hours_before": [12, 24], "said_at_least_half": 0.6 }],
        });
        let why = why_not(&all).unwrap();
        assert!(
            why.contains(
                "80 rows whose probability is below one half (0.25 on average, and 0.25 of them failed"
            ) && why.contains("12 to 24 h before a failure only 60 %"),
            "{why}"
        );
        assert_eq!(why_not(&json!({ "precision_at_recall_90": 0.9 })), None);
    }
}

//! Bearings run to failure (IMS): how early the level of vibration alarms, on which bearing, and how often in vain.

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::ims_raw;
use super::metrics::median;
use super::table::{Table, names};

/// The first day is taken as healthy.
const BASELINE_S: f64 = 86_400.0;
/// An alarm: this many deviations above the healthy median, for this many snapshots in a row.
const DEVIATIONS: f64 = 6.0;
const PERSIST: usize = 6;

/// The level of each bearing over time.
struct Run {
    name: String,
    times: Vec<f64>,
    bearings: Vec<(String, Vec<f64>)>,
}

/// One row per snapshot and bearing, with `rms`.
fn read_features(folder: &Path, name: &str) -> Result<Run> {
    let table = Table::read(folder, name, b',')?;
    let (time, bearing, rms) = (
        table.column("timestamp")?,
        table.column("bearing")?,
        table.column("rms")?,
    );
    let mut run = Run {
        name: name.to_owned(),
        times: Vec::new(),
        bearings: Vec::new(),
    };
    for row in 0..table.len() {
        let at = table.time(row, time)?;
        if run.times.last() != Some(&at) {
            if run.times.last().is_some_and(|t| at < *t) {
                return Err(table.bad(row, time, "the time goes back"));
            }
            run.times.push(at);
        }
        let label = table.text(row, bearing);
        let value = table.number(row, rms)?;
        let before = run.times.len() - 1;
        match run.bearings.iter_mut().find(|b| b.0 == label) {
            Some((_, values)) if values.len() == before => values.push(value),
            Some(_) => {
                return Err(table.bad(row, bearing, "a snapshot of the bearing is missing or repeated"));
            }
            None if before == 0 => run.bearings.push((label.to_owned(), vec![value])),
            None => return Err(table.bad(row, bearing, "the bearing is not in the first snapshot")),
        }
    }
    if let Some((label, _)) = run.bearings.iter().find(|b| b.1.len() != run.times.len()) {
        bail!(
            "{name}: line {}: the last snapshot of bearing {label} is missing",
            table.len() + 1
        );
    }
    Ok(run)
}

/// One row per snapshot, one column per channel such as `Bearing 3 C1`.
fn read_channels(folder: &Path, name: &str) -> Result<Run> {
    let table = Table::read(folder, name, b',')?;
    let times: Vec<f64> = (0..table.len())
        .map(|r| table.time(r, 0))
        .collect::<Result<_>>()?;
    let mut bearings: Vec<(String, Vec<f64>)> = Vec::new();
    for (c, header) in table.header.iter().enumerate().skip(1) {
        let label = header.split_whitespace().nth(1).unwrap_or(header).to_owned();
        let values = table.numbers(c)?;
        match bearings.iter_mut().find(|b| b.0 == label) {
            // Two directions of one bearing: the larger level decides.
            Some((_, all)) => all.iter_mut().zip(values).for_each(|(a, v)| *a = a.max(v)),
            None => bearings.push((label, values)),
        }
    }
    Ok(Run {
        name: name.to_owned(),
        times,
        bearings,
    })
}

/// First row of each alarm, and whether the level returned to normal after it.
fn alarms(times: &[f64], level: &[f64]) -> Vec<(usize, bool)> {
    let healthy = times.iter().take_while(|t| **t < times[0] + BASELINE_S).count();
    // The machine warms up over the first snapshots.
    let base = &level[(healthy / 10).min(healthy.saturating_sub(1))..healthy];
    let centre = median(base);
    let deviation = 1.4826 * median(&base.iter().map(|v| (v - centre).abs()).collect::<Vec<f64>>());
    let limit = centre + DEVIATIONS * deviation.max(1e-3 * centre.abs());
    let mut found: Vec<(usize, bool)> = Vec::new();
    let (mut above, mut below, mut on) = (0, 0, false);
    for (i, v) in level.iter().enumerate().skip(healthy) {
        (above, below) = if *v > limit {
            (above + 1, 0)
        } else {
            (0, below + 1)
        };
        if !on && above == PERSIST {
            on = true;
            found.push((i, false));
        } else if on && below == PERSIST {
            on = false;
            if let Some(last) = found.last_mut() {
                last.1 = true;
            }
        }
    }
    found
}

fn judge(run: &Run) -> Value {
    let end = run.times[run.times.len() - 1];
    let by_bearing: Vec<Vec<(usize, bool)>> = run.bearings.iter().map(|b| alarms(&run.times, &b.1)).collect();
    // The alarm that stays on to the end and came first; neighbours follow through the shaft.
    let origin = (0..run.bearings.len())
        .filter_map(|b| by_bearing[b].last().filter(|a| !a.1).map(|a| (a.0, b)))
        .min();
    let returned = by_bearing.iter().flatten().filter(|a| a.1).count();
    let followers: Vec<&str> = match origin {
        Some((_, first)) => (0..run.bearings.len())
            .filter(|b| *b != first && by_bearing[*b].last().is_some_and(|a| !a.1))
            .map(|b| run.bearings[b].0.as_str())
            .collect(),
        None => Vec::new(),
    };
    json!({
        "file": run.name,
        "lead_time_h": origin.map(|(row, _)| (end - run.times[row]) / 3600.0),
        "origin": origin.map(|(_, b)| run.bearings[b].0.clone()),
        "false_alarms": returned,
        "followers": followers,
        "snapshots": run.times.len(),
    })
}

/// Judges every run of the folder; the figures of the first one with features stand at the top, those of raw
/// snapshots under `raw`.
///
/// # Errors
/// A missing or malformed file, by name, line and column.
pub fn run(data: &Path, test_data: Option<&Path>) -> Result<Value> {
    let folder = test_data.unwrap_or(data);
    let names = names(folder)?;
    let is = |n: &&String, start: &str, end: &str| n.starts_with(start) && n.ends_with(end);
    let mut runs = Vec::new();
    for name in names.iter().filter(|n| is(n, "", "_features.csv")) {
        runs.push(judge(&read_features(folder, name)?));
    }
    for name in names.iter().filter(|n| is(n, "mean_abs_", ".csv")) {
        runs.push(judge(&read_channels(folder, name)?));
    }
    let mut raw = Vec::new();
    for name in names
        .iter()
        .filter(|n| is(n, "", "_raw") && folder.join(n).is_dir())
    {
        let features = name.replace("_raw", "_features.csv");
        let beside = names.contains(&features).then_some((folder, features.as_str()));
        raw.push(ims_raw::judge(&folder.join(name), beside)?);
    }
    let Some(Value::Object(first)) = runs.first().cloned() else {
        bail!("{}: no *_features.csv and no mean_abs_*.csv", folder.display());
    };
    let mut result = first;
    result.insert("set".into(), json!("ims"));
    result.insert("runs".into(), json!(runs));
    result.insert("raw".into(), json!(raw));
    Ok(Value::Object(result))
}

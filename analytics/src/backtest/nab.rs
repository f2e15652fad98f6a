//! Streaming anomalies on the Numenta Anomaly Benchmark: one detector, one setting, one threshold for all streams.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::metrics::median;
use super::nab_score::{Profile, Scored, at, best, probation};
use super::stream::NewExtreme;
use super::table::{Table, seconds};

fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    serde_json::from_str(&text).map_err(|e| {
        anyhow::anyhow!(
            "{}: line {}, column {}: {e}",
            path.display(),
            e.line(),
            e.column()
        )
    })
}

/// The streams of a NAB folder with their labelled windows.
#[derive(Debug)]
pub struct Stream {
    pub name: String,
    pub times: Vec<f64>,
    pub values: Vec<f64>,
    pub windows: Vec<(usize, usize)>,
}

/// Reads every stream named by `labels/combined_windows.json`.
///
/// # Errors
/// A missing or malformed file, by name, line and column; a window without a row.
pub fn read(data: &Path) -> Result<Vec<Stream>> {
    let labels = data.join("labels/combined_windows.json");
    let windows: BTreeMap<String, Vec<(String, String)>> = parse(&labels)?;
    let mut streams = Vec::new();
    for (name, spans) in windows {
        let table = Table::read(&data.join("data"), &name, b',')?;
        let (time, value) = (table.column("timestamp")?, table.column("value")?);
        let times: Vec<f64> = (0..table.len())
            .map(|r| table.time(r, time))
            .collect::<Result<_>>()?;
        if let Some(row) = (1..times.len()).find(|r| times[*r] < times[r - 1]) {
            return Err(table.bad(row, time, "the time goes back"));
        }
        let mut rows = Vec::new();
        for (from, to) in spans {
            let (from, to) = (seconds(&from)?, seconds(&to)?);
            let first = times.partition_point(|t| *t < from);
            let after = times.partition_point(|t| *t <= to);
            if first >= after {
                bail!("{}: a window of {name} holds no row", labels.display());
            }
            rows.push((first, after - 1));
        }
        streams.push(Stream {
            name,
            times,
            values: table.numbers(value)?,
            windows: rows,
        });
    }
    if streams.is_empty() {
        bail!("{}: line 1, column 1: there are no streams", labels.display());
    }
    Ok(streams)
}

/// Profiles by name, the standard ones if the folder has none.
fn profiles(data: &Path) -> Result<BTreeMap<String, Profile>> {
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(rename = "CostMatrix")]
        costs: Profile,
    }
    let path = data.join("config/profiles.json");
    if path.is_file() {
        let entries: BTreeMap<String, Entry> = parse(&path)?;
        return Ok(entries.into_iter().map(|(k, v)| (k, v.costs)).collect());
    }
    let profile = |miss, false_alarm| Profile {
        hit: 1.0,
        miss,
        false_alarm,
    };
    let standard = [
        ("standard", profile(1.0, 0.11)),
        ("reward_low_FP_rate", profile(1.0, 0.22)),
        ("reward_low_FN_rate", profile(2.0, 0.11)),
    ];
    Ok(standard.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}

fn scored(stream: &Stream) -> Result<Scored> {
    let mut detector = NewExtreme::new(probation(stream.values.len()));
    let score = stream
        .times
        .iter()
        .zip(&stream.values)
        .map(|(t, v)| detector.push(*t, *v))
        .collect();
    let scored = Scored {
        score,
        windows: stream.windows.clone(),
    };
    scored.check().with_context(|| stream.name.clone())?;
    Ok(scored)
}

/// Scores all streams of `data`. With `test_data` the threshold is chosen on `data` and applied there.
///
/// # Errors
/// As [`read`].
pub fn run(data: &Path, test_data: Option<&Path>) -> Result<Value> {
    let profiles = profiles(data)?;
    let learn: Vec<Scored> = read(data)?.iter().map(scored).collect::<Result<_>>()?;
    let streams = read(test_data.unwrap_or(data))?;
    let scores: Vec<Scored> = streams.iter().map(scored).collect::<Result<_>>()?;
    let named = |name: &str| {
        let found = profiles.get(name).copied();
        found.with_context(|| {
            format!(
                "{}: profile {name} is missing",
                data.join("config/profiles.json").display()
            )
        })
    };
    let result = |name: &str| -> Result<(f64, f64)> {
        let profile = named(name)?;
        let threshold = best(&learn, &profile).threshold;
        Ok((at(&scores, threshold, &profile), threshold))
    };
    let (standard, threshold) = result("standard")?;
    let (low_fp, _) = result("reward_low_FP_rate")?;
    let (low_fn, _) = result("reward_low_FN_rate")?;

    let (mut events, mut found, mut false_alarms, mut days) = (0, 0, 0, 0.0);
    let mut lead = Vec::new();
    for (stream, scored) in streams.iter().zip(&scores) {
        let from = probation(scored.score.len());
        let alarms: Vec<usize> = (from..scored.score.len())
            .filter(|r| scored.score[*r] >= threshold)
            .collect();
        days += (stream.times[scored.score.len() - 1] - stream.times[from]) / 86_400.0;
        for (first, last) in &scored.windows {
            events += 1;
            if let Some(row) = alarms.iter().find(|r| (*first..=*last).contains(r)) {
                found += 1;
                // Windows are centred on the labelled anomaly.
                let middle = 0.5 * (stream.times[*first] + stream.times[*last]);
                lead.push((middle - stream.times[*row]) / 3600.0);
            }
        }
        let inside = |r: &usize| scored.windows.iter().any(|w| w.0 <= *r && *r <= w.1);
        false_alarms += alarms.iter().filter(|r| !inside(r)).count();
    }
    Ok(json!({
        "set": "nab",
        "standard": standard,
        "low_fp": low_fp,
        "low_fn": low_fn,
        "threshold": threshold,
        "event_recall": found as f64 / f64::max(f64::from(events), 1.0),
        "false_alarms_per_day": false_alarms as f64 / days.max(f64::MIN_POSITIVE),
        "false_alarms": false_alarms,
        "lead_time_h": if lead.is_empty() { Value::Null } else { json!(median(&lead)) },
        "streams": streams.len(),
        "windows": events,
    }))
}

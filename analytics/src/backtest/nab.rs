//! Streaming anomalies on the Numenta Anomaly Benchmark: one detector, one setting, one threshold for all streams.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::BacktestArgs;
use super::metrics::median;
use super::nab_score::{Profile, Scored, at, best, probation};
use super::progress::Progress;
use super::served::{passes, usual_healthy_s};
use super::stream::NewExtreme;
use super::table::{Table, seconds};
use crate::picture::{Course, Line};

fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    serde_json::from_str(&text).map_err(|e| {
        let what = e.to_string();
        // The place stands in front already.
        let what = what.split(" at line ").next().unwrap_or_default();
        anyhow::anyhow!(
            "{}: line {}, column {}: {what}",
            path.display(),
            e.line(),
            e.column()
        )
    })
}

/// A time of a label, refused where it stands.
#[derive(Clone, serde::Deserialize)]
#[serde(try_from = "String")]
struct Labelled {
    at: f64,
    text: String,
}

impl TryFrom<String> for Labelled {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        Ok(Self {
            at: seconds(&text)?,
            text,
        })
    }
}

/// The streams of a NAB folder with their labelled windows.
#[derive(Debug)]
pub struct Stream {
    pub name: String,
    pub times: Vec<f64>,
    pub values: Vec<f64>,
    pub windows: Vec<(usize, usize)>,
}

/// Where a window of a stream begins in the text of the labels.
fn line_of(text: &str, stream: &str, window: &str) -> usize {
    let from = text.find(&format!("\"{stream}\"")).unwrap_or_default();
    let at = text[from..].find(window).map_or(from, |at| from + at);
    text[..at].lines().count().max(1)
}

/// Rows of the labelled windows, both ends inside.
fn windows_of(
    labels: &Path,
    name: &str,
    times: &[f64],
    spans: &[(Labelled, Labelled)],
) -> Result<Vec<(usize, usize)>> {
    let mut rows: Vec<(usize, usize)> = Vec::new();
    for (from, to) in spans {
        let first = times.partition_point(|t| *t < from.at);
        let after = times.partition_point(|t| *t <= to.at);
        let overlaps = rows.last().is_some_and(|before| first <= before.1);
        let what = if from.at > to.at {
            "ends before it begins"
        } else if first >= after {
            "holds no row of the stream"
        } else if overlaps {
            "overlaps the one before, or they are not in order of time"
        } else {
            rows.push((first, after - 1));
            continue;
        };
        let text = std::fs::read_to_string(labels).unwrap_or_default();
        bail!(
            "{}: line {}: the window of {name} from {} to {} {what}",
            labels.display(),
            line_of(&text, name, &from.text),
            from.text,
            to.text
        );
    }
    Ok(rows)
}

/// Reads every stream named by `labels/combined_windows.json`.
///
/// # Errors
/// A missing or malformed file, by name, line and column; a window without a row, or two that overlap.
pub fn read(data: &Path) -> Result<Vec<Stream>> {
    let labels = data.join("labels/combined_windows.json");
    let windows: BTreeMap<String, Vec<(Labelled, Labelled)>> = parse(&labels)?;
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
        let values = table.numbers(value)?;
        let windows = windows_of(&labels, &name, &times, &spans)?;
        streams.push(Stream {
            name,
            times,
            values,
            windows,
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

fn scored(streams: &[Stream], progress: &Progress) -> Result<Vec<Scored>> {
    let one = |(number, stream): (usize, &Stream)| {
        progress.step("stream", number + 1, streams.len());
        let mut detector = NewExtreme::new(probation(stream.values.len()));
        let rows = stream.times.iter().zip(&stream.values);
        let scored = Scored {
            score: rows.map(|(t, v)| detector.push(*t, *v)).collect(),
            windows: stream.windows.clone(),
        };
        scored.check().with_context(|| stream.name.clone())?;
        Ok(scored)
    };
    streams.iter().enumerate().map(one).collect()
}

/// What serving's detection says of the same streams: a row scores where an alarm begins.
fn served(streams: &[Stream], progress: &Progress) -> Result<(Vec<Scored>, Vec<String>)> {
    let (mut all, mut notes) = (Vec::new(), Vec::new());
    for (number, stream) in streams.iter().enumerate() {
        progress.step("served, stream", number + 1, streams.len());
        let said = passes(
            &stream.times,
            &[("value".to_owned(), &stream.values)],
            usual_healthy_s(),
        )?;
        let mut score = vec![0.0; stream.times.len()];
        for alarm in said.alarms() {
            // What a pass said is known after its last step.
            if let Some(row) = score.get_mut(stream.times.partition_point(|t| *t < alarm.from)) {
                *row = 1.0;
            }
        }
        notes.extend(said.why.map(|why| format!("{}: {why}", stream.name)));
        all.push(Scored {
            score,
            windows: stream.windows.clone(),
        });
    }
    Ok((all, notes))
}

/// Detections against windows at a threshold.
#[derive(Default)]
struct Counted {
    events: usize,
    found: usize,
    false_alarms: usize,
    days: f64,
    leads: Vec<f64>,
}

fn count(streams: &[Stream], scores: &[Scored], threshold: f64) -> Counted {
    let mut counted = Counted::default();
    for (stream, scored) in streams.iter().zip(scores) {
        let from = probation(scored.score.len());
        let alarms: Vec<usize> = (from..scored.score.len())
            .filter(|r| scored.score[*r] >= threshold)
            .collect();
        counted.days += (stream.times[scored.score.len() - 1] - stream.times[from]) / 86_400.0;
        for (first, last) in &scored.windows {
            counted.events += 1;
            if let Some(row) = alarms.iter().find(|r| (*first..=*last).contains(r)) {
                counted.found += 1;
                // Windows are centred on the labelled anomaly.
                let middle = 0.5 * (stream.times[*first] + stream.times[*last]);
                counted.leads.push((middle - stream.times[*row]) / 3600.0);
            }
        }
        let inside = |r: &usize| scored.windows.iter().any(|w| w.0 <= *r && *r <= w.1);
        counted.false_alarms += alarms.iter().filter(|r| !inside(r)).count();
    }
    counted
}

impl Counted {
    /// Figures; without a window there is none to find.
    fn figures(&self) -> Value {
        json!({
            "event_recall": (self.events > 0).then(|| self.found as f64 / self.events as f64),
            "false_alarms_per_day": self.false_alarms as f64 / self.days.max(f64::MIN_POSITIVE),
            "false_alarms": self.false_alarms,
            "lead_time_h": (!self.leads.is_empty()).then(|| median(&self.leads)),
        })
    }
}

/// Streams that a person sees in pictures: those with most windows.
const DRAWN: usize = 4;

fn courses(streams: &[Stream], scores: &[Scored], threshold: f64) -> Vec<Course> {
    let mut order: Vec<usize> = (0..streams.len()).collect();
    order.sort_by_key(|place| std::cmp::Reverse(streams[*place].windows.len()));
    let drawn = order.into_iter().take(DRAWN).map(|place| {
        let (stream, scored) = (&streams[place], &scores[place]);
        let day = |row: usize| (stream.times[row] - stream.times[0]) / 86_400.0;
        let point = |row: usize| (day(row), stream.values[row]);
        let plain = stream.name.trim_end_matches(".csv");
        Course {
            name: format!("stream_{}", plain.replace(|c: char| !c.is_alphanumeric(), "_")),
            title: format!("{plain}: labelled windows and what was detected"),
            x_name: "days".to_owned(),
            y_name: "value".to_owned(),
            lines: vec![Line {
                name: "value".to_owned(),
                points: (0..stream.values.len()).map(point).collect(),
            }],
            marked: stream.windows.iter().map(|w| (day(w.0), day(w.1))).collect(),
            marked_as: "labelled window".to_owned(),
            said: (probation(scored.score.len())..scored.score.len())
                .filter(|row| scored.score[*row] >= threshold)
                .map(point)
                .collect(),
            said_what: "detection".to_owned(),
        }
    });
    drawn.collect()
}

/// Scores all streams of `data`. With `test_data` the threshold is chosen on `data` and applied there.
///
/// # Errors
/// As [`read`].
pub fn run(data: &Path, args: &BacktestArgs) -> Result<Value> {
    let profiles = profiles(data)?;
    let own = read(data)?;
    let learn = scored(&own, &args.progress)?;
    let (streams, scores) = match &args.test_data {
        None => (own, learn.clone()),
        Some(test) => {
            let streams = read(test)?;
            let scores = scored(&streams, &args.progress)?;
            (streams, scores)
        }
    };
    let named = |name: &str| {
        let found = profiles.get(name).copied();
        found.with_context(|| {
            format!(
                "{}: profile {name} is missing",
                data.join("config/profiles.json").display()
            )
        })
    };
    let windows = |scores: &[Scored]| scores.iter().map(|s| s.windows.len()).sum::<usize>();
    let mut notes = Vec::new();
    for (none, what) in [
        (
            windows(&learn) == 0,
            "to choose a threshold by: nothing is detected",
        ),
        (windows(&scores) == 0, "to find: no score, and no recall"),
    ] {
        if none {
            notes.push(format!("there is no labelled window {what}"));
        }
    }
    let result = |name: &str| -> Result<(Option<f64>, f64)> {
        let profile = named(name)?;
        let threshold = best(&learn, &profile).threshold;
        Ok((
            (windows(&scores) > 0).then(|| at(&scores, threshold, &profile)),
            threshold,
        ))
    };
    let (standard, threshold) = result("standard")?;
    let (low_fp, _) = result("reward_low_FP_rate")?;
    let (low_fn, _) = result("reward_low_FN_rate")?;
    let (by_serving, why) = served(&streams, &args.progress)?;
    let mut served = count(&streams, &by_serving, 1.0).figures();
    served["standard"] = match named("standard")? {
        profile if windows(&scores) > 0 => json!(at(&by_serving, 1.0, &profile)),
        _ => Value::Null,
    };
    served["notes"] = json!(why);
    let mut found = json!({
        "set": "nab",
        "standard": standard,
        "low_fp": low_fp,
        "low_fn": low_fn,
        "threshold": threshold.is_finite().then_some(threshold),
        "streams": streams.len(),
        "windows": windows(&scores),
        "served": served,
        "notes": notes,
        "detail": { "courses": courses(&streams, &scores, threshold) },
    });
    if let (Value::Object(to), Value::Object(from)) =
        (&mut found, count(&streams, &scores, threshold).figures())
    {
        to.extend(from);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(labels: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("labels")).unwrap();
        std::fs::create_dir_all(dir.path().join("data/a")).unwrap();
        std::fs::write(dir.path().join("labels/combined_windows.json"), labels).unwrap();
        let mut text = "timestamp,value\n".to_owned();
        for i in 0..2000_usize {
            let at = jiff::Timestamp::from_second(1_400_000_000 + 300 * i as i64).unwrap();
            let at = at.to_string().replace('T', " ").replace('Z', "");
            text += &format!(
                "{at},{}\n",
                crate::testing::noise(i) + if i == 1500 { 40.0 } else { 0.0 }
            );
        }
        std::fs::write(dir.path().join("data/a/s.csv"), text).unwrap();
        dir
    }

    #[test]
    fn labels_are_refused_where_they_stand() {
        for (labels, words) in [
            (
                "{\n \"a/s.csv\": [\n  [\"foo\", \"2014-05-17 18:00:00\"]]}",
                "line 3, column 10: 'foo' is not a time",
            ),
            (
                "{\n \"a/s.csv\": [\n  [\"2014-05-17 18:00:00\", \"2014-05-17 20:00:00\"],\n  [\"2014-05-17 19:00:00\", \"2014-05-17 22:00:00\"]]}",
                "line 4: the window of a/s.csv from 2014-05-17 19:00:00 to 2014-05-17 22:00:00 overlaps",
            ),
            (
                "{\n \"a/s.csv\": [[\"2013-05-17 18:00:00\", \"2013-05-17 20:00:00\"]]}",
                "line 2: the window of a/s.csv from 2013-05-17 18:00:00 to 2013-05-17 20:00:00 holds no row",
            ),
            (
                "{\n \"a/s.csv\": [[\"2014-05-17 18:00:00\", \"2014-05-16 20:00:00\"]]}",
                "line 2: the window of a/s.csv from 2014-05-17 18:00:00 to 2014-05-16 20:00:00 ends before",
            ),
        ] {
            let dir = folder(labels);
            let error = run(dir.path(), &BacktestArgs::default()).unwrap_err().to_string();
            assert!(
                error.contains("combined_windows.json: ") && error.contains(words),
                "{error}"
            );
        }
    }

    #[test]
    fn without_windows_there_is_no_score() {
        let dir = folder("{\"a/s.csv\": []}");
        let found = run(dir.path(), &BacktestArgs::default()).unwrap();
        for figure in ["standard", "low_fp", "low_fn", "event_recall", "threshold"] {
            assert!(found[figure].is_null(), "{figure}: {found}");
        }
        assert_eq!(found["notes"].as_array().unwrap().len(), 2, "{found}");
        assert!(found["served"]["standard"].is_null());
        // Row 1500 is at 21:53:20 on the 18th.
        let dir = folder("{\"a/s.csv\": [[\"2014-05-18 21:00:00\", \"2014-05-18 23:00:00\"]]}");
        let found = run(dir.path(), &BacktestArgs::default()).unwrap();
        assert_eq!(
            (found["event_recall"].as_f64(), found["false_alarms"].as_u64()),
            (Some(1.0), Some(0)),
            "{found}"
        );
        assert!(found["notes"].as_array().unwrap().is_empty());
    }
}

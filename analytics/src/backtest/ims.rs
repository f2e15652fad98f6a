//! Bearings run to failure (IMS): how early the level of vibration alarms, on which bearing, and how often in vain.

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::ims_level::{BASELINE_S, PERSIST, follow, healthy_until};
use super::ims_raw;
use super::served::{passes, usual_healthy_s};
use super::table::{Table, names};
use super::{BacktestArgs, NOTHING_LEARNED};
use crate::picture::{Course, Line};

/// Beside the level, what serving watches of a snapshot.
const WATCHED: [&str; 2] = ["peak", "kurtosis"];

/// The level of each bearing over time.
struct Run {
    name: String,
    times: Vec<f64>,
    bearings: Vec<(String, Vec<f64>)>,
    /// Bearing, name and values of every channel.
    channels: Vec<(String, String, Vec<f64>)>,
}

impl Run {
    /// Refuses a run that there is nothing to judge in.
    fn check(self, table: &Table) -> Result<Self> {
        let healthy = healthy_until(&self.times, 0);
        if self.times.len() < healthy + PERSIST {
            return Err(table.bad(
                table.len() - 1,
                0,
                format_args!(
                    "the run ends within {:.1} h: its first {:.0} h are taken as healthy, and an alarm needs {PERSIST} snapshots after \
                     them",
                    (self.times[self.times.len() - 1] - self.times[0]) / 3600.0,
                    BASELINE_S / 3600.0
                ),
            ));
        }
        Ok(self)
    }
}

/// One row per snapshot and bearing, with `rms`.
fn read_features(folder: &Path, name: &str) -> Result<Run> {
    let table = Table::read(folder, name, b',')?;
    let (time, bearing, rms) = (
        table.column("timestamp")?,
        table.column("bearing")?,
        table.column("rms")?,
    );
    let mut wanted = vec![("rms", rms)];
    wanted.extend(
        WATCHED
            .iter()
            .filter_map(|name| Some((*name, table.column(name).ok()?))),
    );
    let mut times: Vec<f64> = Vec::new();
    let mut bearings: Vec<(String, Vec<Vec<f64>>)> = Vec::new();
    for row in 0..table.len() {
        let at = table.time(row, time)?;
        if times.last() != Some(&at) {
            if times.last().is_some_and(|t| at < *t) {
                return Err(table.bad(row, time, "the time goes back"));
            }
            times.push(at);
        }
        let label = table.text(row, bearing);
        let values: Vec<f64> = wanted
            .iter()
            .map(|(_, column)| table.number(row, *column))
            .collect::<Result<_>>()?;
        let before = times.len() - 1;
        match bearings.iter_mut().find(|b| b.0 == label) {
            Some((_, columns)) if columns[0].len() == before => {
                columns
                    .iter_mut()
                    .zip(values)
                    .for_each(|(column, value)| column.push(value));
            }
            Some(_) => {
                return Err(table.bad(row, bearing, "a snapshot of the bearing is missing or repeated"));
            }
            None if before == 0 => {
                bearings.push((
                    label.to_owned(),
                    values.into_iter().map(|value| vec![value]).collect(),
                ));
            }
            None => return Err(table.bad(row, bearing, "the bearing is not in the first snapshot")),
        }
    }
    if let Some((label, _)) = bearings.iter().find(|b| b.1[0].len() != times.len()) {
        let what = format!("the last snapshot of bearing {label} is missing");
        return Err(table.bad(table.len() - 1, bearing, what));
    }
    let channels = bearings.iter().flat_map(|(label, columns)| {
        wanted
            .iter()
            .zip(columns)
            .map(move |((name, _), values)| (label.clone(), (*name).to_owned(), values.clone()))
    });
    let run = Run {
        name: name.to_owned(),
        channels: channels.collect(),
        bearings: bearings
            .into_iter()
            .map(|(label, mut columns)| (label, columns.swap_remove(0)))
            .collect(),
        times,
    };
    run.check(&table)
}

/// One row per snapshot, one column per channel such as `Bearing 3 C1`.
fn read_channels(folder: &Path, name: &str) -> Result<Run> {
    let table = Table::read(folder, name, b',')?;
    let times: Vec<f64> = (0..table.len())
        .map(|r| table.time(r, 0))
        .collect::<Result<_>>()?;
    if let Some(row) = (1..times.len()).find(|row| times[*row] <= times[row - 1]) {
        return Err(table.bad(
            row,
            0,
            "the time goes back or stands: sort the snapshots by time, each once",
        ));
    }
    let mut bearings: Vec<(String, Vec<f64>)> = Vec::new();
    let mut channels = Vec::new();
    for (c, header) in table.header.iter().enumerate().skip(1) {
        let label = header.split_whitespace().nth(1).unwrap_or(header).to_owned();
        let values = table.numbers(c)?;
        channels.push((label.clone(), header.clone(), values.clone()));
        match bearings.iter_mut().find(|b| b.0 == label) {
            // Two directions of one bearing: the larger level decides.
            Some((_, all)) => all.iter_mut().zip(values).for_each(|(a, v)| *a = a.max(v)),
            None => bearings.push((label, values)),
        }
    }
    if bearings.is_empty() {
        bail!(
            "{}: line 1, column 2: there is no channel beside the time",
            table.place()
        );
    }
    let run = Run {
        name: name.to_owned(),
        times,
        bearings,
        channels,
    };
    run.check(&table)
}

/// What a pass of serving said of the same run.
fn served(run: &Run) -> Result<Value> {
    let end = run.times[run.times.len() - 1];
    let channels: Vec<(String, &[f64])> = run
        .channels
        .iter()
        .map(|(bearing, name, values)| (format!("bearing {bearing} {name}"), &values[..]))
        .collect();
    let said = passes(&run.times, &channels, usual_healthy_s())?;
    if let Some(why) = said.why {
        return Ok(json!({ "why": why }));
    }
    let alarms = said.alarms();
    let last = alarms.last().filter(|alarm| alarm.until.is_none());
    let origin = last.and_then(|alarm| {
        let place = channels.iter().position(|(name, _)| *name == alarm.worst)?;
        Some(run.channels[place].0.as_str())
    });
    Ok(json!({
        "lead_time_h": last.map(|alarm| (end - alarm.from) / 3600.0),
        "origin": origin,
        "false_alarms": alarms.iter().filter(|alarm| alarm.until.is_some()).count(),
        "passes": said.passes.len(),
    }))
}

/// Figures of a run and its picture.
fn judge(run: &Run) -> Result<(Value, Course)> {
    let (start, end) = (run.times[0], run.times[run.times.len() - 1]);
    let levels: Vec<&[f64]> = run.bearings.iter().map(|b| &b.1[..]).collect();
    let seen = follow(&run.times, &levels);
    let origin = seen.origin();
    let name = |bearing: usize| run.bearings[bearing].0.as_str();
    let before_end = |row: &usize| (end - run.times[*row]) / 3600.0;
    let followers: Vec<&str> = seen
        .standing()
        .filter(|alarm| origin.is_some_and(|origin| origin.bearing != alarm.bearing))
        .map(|alarm| name(alarm.bearing))
        .collect();
    let in_vain: Vec<Value> = seen
        .alarms
        .iter()
        .filter_map(|alarm| {
            let over = alarm.over?;
            Some(json!({ "bearing": name(alarm.bearing), "hours_before_end": [before_end(&alarm.row), before_end(&over)] }))
        })
        .collect();
    let mut notes: Vec<String> = Vec::new();
    if origin.is_none() {
        notes.push("no alarm stands at the end: no bearing is named".to_owned());
    }
    let figures = json!({
        "file": run.name,
        "lead_time_h": origin.map(|alarm| before_end(&alarm.row)),
        "origin": origin.map(|alarm| name(alarm.bearing)),
        "false_alarms": in_vain.len(),
        "false_alarms_at": in_vain,
        "followers": followers,
        // All bearings rose together: something about the machine changed, none of them is named for it.
        "rose_together_h": seen.together.iter().map(before_end).collect::<Vec<_>>(),
        "settled_again_h": seen.stops.iter().map(before_end).collect::<Vec<_>>(),
        "snapshots": run.times.len(),
        "served": served(run)?,
        "notes": notes,
    });
    let hour = |row: usize| (run.times[row] - start) / 3600.0;
    let stem = run.name.trim_end_matches(".csv");
    let course = Course {
        name: format!("level_{stem}"),
        title: format!("{stem}: level of vibration and its alarms; the run ends with the failure"),
        x_name: "hours of the run".to_owned(),
        y_name: "level".to_owned(),
        lines: run
            .bearings
            .iter()
            .map(|(label, level)| Line {
                name: format!("bearing {label}"),
                points: level.iter().enumerate().map(|(row, v)| (hour(row), *v)).collect(),
            })
            .collect(),
        marked: seen
            .stops
            .iter()
            .map(|row| (hour(*row - 1), hour(*row)))
            .collect(),
        marked_as: "stopped; settled again after it".to_owned(),
        said: seen
            .alarms
            .iter()
            .map(|alarm| (hour(alarm.row), levels[alarm.bearing][alarm.row]))
            .collect(),
        said_what: "alarm".to_owned(),
    };
    Ok((figures, course))
}

/// The run that a person should look at: no bearing named, else most alarms in vain, else the shortest lead time.
fn worst(runs: &[Value]) -> Option<&Value> {
    let badness = |run: &Value| {
        (
            run["origin"].is_null(),
            run["false_alarms"].as_u64().unwrap_or_default(),
            -run["lead_time_h"].as_f64().unwrap_or_default(),
        )
    };
    runs.iter().max_by(|a, b| {
        let (a, b) = (badness(a), badness(b));
        (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2))
    })
}

/// Every run of a folder, those with features first.
fn read(folder: &Path) -> Result<Vec<Run>> {
    let names = names(folder)?;
    let mut runs = Vec::new();
    for name in names.iter().filter(|n| n.ends_with("_features.csv")) {
        runs.push(read_features(folder, name)?);
    }
    for name in names
        .iter()
        .filter(|n| n.starts_with("mean_abs_") && n.ends_with(".csv"))
    {
        runs.push(read_channels(folder, name)?);
    }
    if runs.is_empty() {
        bail!("{}: no *_features.csv and no mean_abs_*.csv", folder.display());
    }
    Ok(runs)
}

/// Judges every run of the folder; the figures of the first one with features stand at the top, the worst run under
/// `worst`, those of raw snapshots under `raw`.
///
/// # Errors
/// A missing or malformed file, by name, line and column; a run too short to judge.
pub fn run(data: &Path, args: &BacktestArgs) -> Result<Value> {
    let mut found = read(data)?;
    let mut notes = Vec::new();
    let mut folder = data;
    if let Some(test) = &args.test_data {
        folder = test;
        found = read(test)?;
        notes.push(NOTHING_LEARNED);
    }
    let (mut runs, mut courses) = (Vec::new(), Vec::new());
    for (number, run) in found.iter().enumerate() {
        args.progress.step("run", number + 1, found.len());
        let (figures, course) = judge(run)?;
        runs.push(figures);
        courses.push(course);
    }
    let names = names(folder)?;
    let mut raw = Vec::new();
    for name in names
        .iter()
        .filter(|n| n.ends_with("_raw") && folder.join(n).is_dir())
    {
        args.progress.say(format_args!("raw snapshots of {name}"));
        let features = name.replace("_raw", "_features.csv");
        let beside = names.contains(&features).then_some((folder, features.as_str()));
        raw.push(ims_raw::judge(&folder.join(name), beside)?);
    }
    let Some(Value::Object(mut result)) = runs.first().cloned() else {
        bail!("{}: no run", folder.display());
    };
    let own = result.remove("notes");
    let own = own.iter().filter_map(Value::as_array).flatten().cloned();
    let notes: Vec<Value> = own.chain(notes.iter().map(|note| json!(note))).collect();
    result.insert("set".into(), json!("ims"));
    let pick = |run: &Value| json!({ "file": run["file"], "lead_time_h": run["lead_time_h"], "origin": run["origin"], "false_alarms": run["false_alarms"] });
    result.insert("worst".into(), json!(worst(&runs).map(pick)));
    result.insert("runs".into(), json!(runs));
    result.insert("raw".into(), json!(raw));
    result.insert("notes".into(), json!(notes));
    result.insert("detail".into(), json!({ "courses": courses }));
    Ok(Value::Object(result))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(rows: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(",Bearing 1,Bearing 2\n{rows}");
        std::fs::write(dir.path().join("mean_abs_a.csv"), text).unwrap();
        run(dir.path(), &BacktestArgs::default()).unwrap_err().to_string()
    }

    #[test]
    fn runs_that_can_not_be_judged_are_refused_by_place() {
        let error = refused("2004-02-12 10:32:39,1,2\n2004-02-12 10:22:39,1,2\n");
        assert!(
            error.contains("mean_abs_a.csv: line 3, column 1 (): the time goes back"),
            "{error}"
        );
        let error = refused("2004-02-12 10:32:39,1,2\n");
        assert!(
            error.contains("line 2, column 1") && error.contains("the run ends within 0.0 h"),
            "{error}"
        );
        let error = refused("2004-02-12 10:32:39,1\n");
        assert!(
            error.contains("line 2, column 3: 2 values where 3 belong"),
            "{error}"
        );
    }

    #[test]
    fn both_folders_are_looked_at_and_the_worst_run_stands_beside_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, from: usize| {
            let mut text = ",Bearing 1,Bearing 2\n".to_owned();
            for i in 0..600_usize {
                let (day, minutes) = (1 + i / 144, i % 144 * 10);
                let noise = |b: usize| 0.1 + 0.001 * crate::testing::noise(1000 * b + i);
                let own = noise(2) + if i >= from { 0.2 } else { 0.0 };
                text += &format!(
                    "2004-02-{day:02} {:02}:{:02}:00,{},{own}\n",
                    minutes / 60,
                    minutes % 60,
                    noise(1)
                );
            }
            std::fs::write(dir.path().join(name), text).unwrap();
        };
        write("mean_abs_a.csv", 300);
        write("mean_abs_b.csv", 700);
        let args = BacktestArgs::default();
        let found = run(dir.path(), &args).unwrap();
        assert_eq!(
            (found["origin"].as_str(), found["runs"].as_array().unwrap().len()),
            (Some("2"), 2)
        );
        assert!(
            (found["lead_time_h"].as_f64().unwrap() - 49.0).abs() < 0.1,
            "{found}"
        );
        assert_eq!(
            (&found["worst"]["file"], &found["worst"]["origin"]),
            (&json!("mean_abs_b.csv"), &Value::Null)
        );
        assert_eq!(found["served"]["origin"], json!("2"), "{found}");
        let args = BacktestArgs {
            test_data: Some(dir.path().to_path_buf()),
            ..args
        };
        let error = run(&dir.path().join("none"), &args).unwrap_err().to_string();
        assert!(error.contains("none"), "{error}");
        assert_eq!(run(dir.path(), &args).unwrap()["notes"], json!([NOTHING_LEARNED]));
    }
}

//! Public run-to-failure data through the same window, features, detection and health as in service.
//! The folder is `FOREWARN_DATA`; without it these tests say that they were left out.

use std::io::Read;
use std::path::PathBuf;

use models::id::AssetId;
use models::time::Timestamp;

use crate::backtest::metrics::rmse;
use crate::detect::{Baseline, Detection, detect};
use crate::features::NAMES;
use crate::health;
use crate::learn::data::{Label, Rows};
use crate::learn::{self, Layout, Named, remaining};
use crate::testing::Machine;
use crate::window::Window;

fn text(file: &str) -> Option<String> {
    let Some(folder) = std::env::var_os("FOREWARN_DATA") else {
        println!("left out: FOREWARN_DATA is not set, {file} is not there to read");
        return None;
    };
    let path = PathBuf::from(folder).join(file);
    let Ok(packed) = std::fs::File::open(&path) else {
        println!("left out: {} is not there", path.display());
        return None;
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed)
        .read_to_string(&mut text)
        .unwrap();
    Some(text)
}

/// The last `most` steps up to and with `until`, as a pass would load them.
fn up_to(window: &Window, until: usize, most: usize) -> Window {
    let mut part = window.head(until);
    let cut = until.saturating_sub(most);
    part.first_step += cut as i64;
    part.steps -= cut;
    for series in &mut part.series {
        for column in [
            &mut series.mean,
            &mut series.low,
            &mut series.high,
            &mut series.last,
        ] {
            column.drain(..cut);
        }
        series.count.drain(..cut);
    }
    part
}

fn health_of(detection: &Detection) -> f64 {
    health::index(health::reasons(detection)).value
}

#[test]
fn ims_bearing_1_is_named_days_ahead() {
    let Some(text) = text("ims-bearing/test2_features.csv.gz") else {
        return;
    };
    let mut columns = vec![Vec::new(); 12];
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let bearing: usize = fields[1].parse().unwrap();
        for (place, field) in [3, 4, 6].into_iter().enumerate() {
            columns[(bearing - 1) * 3 + place].push(fields[field].parse::<f64>().unwrap());
        }
    }
    // The last snapshots were taken after the stop.
    let steps = columns[0].iter().rposition(|rms| *rms > 0.01).unwrap() + 1;
    let mut machine = Machine::new(steps);
    for (place, column) in columns.iter().enumerate() {
        let name = ["rms", "peak", "kurtosis"][place % 3];
        machine = machine.measurement(&format!("bearing {} {name}", place / 3 + 1), |i| column[i]);
    }
    let window = machine.window();
    let baseline = Baseline::learn(&window.head(288)).unwrap();
    let mut first: Option<(usize, String)> = None;
    let mut alarms_before = 0;
    for step in (289..=steps).step_by(2) {
        let detection = detect(&baseline, &up_to(&window, step, 288)).unwrap();
        let lead_h = (steps - step) as f64 / 6.0;
        if detection.anomaly >= 1.0 {
            if first.is_none() {
                let worst = detection.worst().unwrap();
                let (pattern, shares) = detection.pattern.clone().unwrap();
                let most = shares.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
                println!(
                    "first alarm {lead_h:.1} h before the end: {} {:.2}, pattern {pattern:.2} by {}, health {:.1}",
                    worst.title,
                    worst.anomaly,
                    most.0,
                    health_of(&detection)
                );
                first = Some((step, worst.title.clone()));
            }
        } else if lead_h > 80.0 {
            alarms_before += usize::from(detection.anomaly >= 1.0);
        }
        if step % 60 == 1 {
            let worst = detection.worst().unwrap();
            println!(
                "{lead_h:6.1} h: anomaly {:6.2} {:20} health {:5.1}",
                detection.anomaly,
                worst.title,
                health_of(&detection)
            );
        }
    }
    let (step, name) = first.expect("an alarm before the end");
    let lead_h = (steps - step) as f64 / 6.0;
    assert!(
        (48.0..=90.0).contains(&lead_h),
        "lead time {lead_h} h: earlier would be a false alarm"
    );
    assert!(name.starts_with("bearing 1"), "{name}");
    assert_eq!(alarms_before, 0);
    let end = detect(&baseline, &up_to(&window, steps, 288)).unwrap();
    assert!(health_of(&end) < 40.0, "{}", health_of(&end));
}

/// Features of raw snapshots are those that came with the set, and the outer race of bearing 1 stands out of the envelope's
/// spectrum three days before it failed, when nothing else does.
#[test]
fn ims_raw_snapshots_name_the_outer_race_of_bearing_1() {
    let Some(folder) = std::env::var_os("FOREWARN_DATA").map(|f| PathBuf::from(f).join("ims-bearing")) else {
        println!("left out: FOREWARN_DATA is not set");
        return;
    };
    if !folder.join("test2_raw").is_dir() {
        println!("left out: {} has no raw snapshots", folder.display());
        return;
    }
    let found = crate::backtest::run("ims", &folder, &crate::backtest::BacktestArgs::default()).unwrap();
    let raw = &found["raw"][0];
    println!("{raw}");
    assert!(raw["features_differ_by"].as_f64().unwrap() < 2e-3, "{raw}");
    assert_eq!(
        (raw["origin"].as_str(), raw["line"].as_str()),
        (Some("1"), Some("bpfo")),
        "{raw}"
    );
    assert!(
        (70.0..80.0).contains(&raw["lead_time_h"].as_f64().unwrap()),
        "{raw}"
    );
    assert!(
        raw["highest_while_healthy"].as_f64().unwrap() < models::vibration::CLEAR,
        "{raw}"
    );
}

#[test]
fn cmapss_engines_fall_towards_their_end() {
    let Some(text) = text("cmapss/train_FD001.txt.gz") else {
        return;
    };
    let units = engines(&text);
    let (mut fallen, mut early, mut late) = (0, Vec::new(), Vec::new());
    for rows in &units {
        let (window, baseline) = engine(rows).unwrap();
        let health = |step: usize| health_of(&detect(&baseline, &up_to(&window, step, 288)).unwrap());
        // Just after the baseline, and at the end.
        let (young, old) = (health(60), health(rows.len()));
        fallen += usize::from(old < young - 15.0 && old < 70.0);
        early.push(young);
        late.push(old);
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let lowest = early.iter().copied().fold(100.0, f64::min);
    println!(
        "{fallen} of {} engines fall; mean health {:.1} (lowest {lowest:.1}) at cycle 60, {:.1} at the end",
        units.len(),
        mean(&early),
        mean(&late)
    );
    assert!(fallen * 10 >= units.len() * 9, "{fallen} of {}", units.len());
    assert!(mean(&early) > 90.0);
}

/// Engines of a C-MAPSS file: a row for each flight.
fn engines(text: &str) -> Vec<Vec<Vec<f64>>> {
    let mut units: Vec<Vec<Vec<f64>>> = Vec::new();
    for line in text.lines() {
        let row: Vec<f64> = line
            .split_whitespace()
            .map(|field| field.parse().unwrap())
            .collect();
        let unit = row[0] as usize;
        if units.len() < unit {
            units.push(Vec::new());
        }
        units[unit - 1].push(row);
    }
    units
}

/// An engine with a flight every ten minutes, and what it looked like in its first fifty; `None` = too young.
fn engine(rows: &[Vec<f64>]) -> Option<(Window, Baseline)> {
    let mut machine = Machine::new(rows.len());
    for number in 1..=3 {
        machine = machine.setting(&format!("setting {number}"), |i| rows[i][number + 1]);
    }
    for number in 1..=21 {
        machine = machine.measurement(&format!("sensor {number:02}"), |i| rows[i][number + 4]);
    }
    let window = machine.window();
    let baseline = Baseline::learn(&window.head(50)).ok()?;
    Some((window, baseline))
}

/// A channel's name and its features.
type Own = (String, Vec<f64>);

/// The features of every `every`-th flight, counted from the last, as passes would have stored them.
fn stored_rows(window: &Window, baseline: &Baseline, every: usize) -> Vec<(usize, Vec<Own>)> {
    let features = baseline.features(window, window.steps).unwrap();
    let name = |channel: &crate::detect::baseline::ChannelBaseline| {
        let series = window.series.iter().find(|s| s.channel.id == channel.channel);
        series.unwrap().channel.name.clone()
    };
    let names: Vec<String> = baseline.channels.iter().map(name).collect();
    (0..window.steps)
        .rev()
        .step_by(every)
        .map(|step| {
            let row = names.iter().zip(&features).map(|(name, own)| {
                let numbers = NAMES
                    .iter()
                    .map(|feature| learn::stored(own.column(feature)[step]));
                (name.clone(), numbers.collect())
            });
            (step, row.collect())
        })
        .collect()
}

/// What a tenant would get from the reports of a hundred engines that failed, without anything made for this set.
#[test]
fn cmapss_lives_are_learned_from_what_passes_stored() {
    let (Some(train), Some(test), Some(truth)) = (
        text("cmapss/train_FD001.txt.gz"),
        text("cmapss/test_FD001.txt.gz"),
        text("cmapss/RUL_FD001.txt.gz"),
    ) else {
        return;
    };
    let flight_h = 1.0 / 6.0;
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    let (mut asset, mut at) = (Vec::new(), Vec::new());
    let mut known_until = Timestamp::from_secs(0);
    for rows in engines(&train) {
        let (window, baseline) = engine(&rows).unwrap();
        let own = AssetId::new();
        let time = |step: usize| window.start().plus_seconds(step as f64 * 600.0);
        for (step, row) in stored_rows(&window, &baseline, 4).into_iter().rev() {
            asset.push(own);
            at.push(time(step));
            features.push(row);
        }
        labels.push(Label {
            asset: own,
            at: time(rows.len()),
            weight: 1.0,
            source: "person".to_owned(),
            mode: None,
        });
        known_until = known_until.max(time(1000));
    }
    let mut channels: Vec<String> = features.iter().flatten().map(|(name, _)| name.clone()).collect();
    channels.sort();
    channels.dedup();
    let layout = Layout {
        channels,
        features: NAMES.iter().map(|name| (*name).to_owned()).collect(),
        asset: Vec::new(),
    };
    let vectors: Vec<f64> = features
        .iter()
        .flat_map(|row| {
            layout.vector(&Named {
                channels: row,
                asset: Vec::new(),
            })
        })
        .collect();
    let rows = Rows {
        x: ndarray::Array2::from_shape_vec((at.len(), vectors.len() / at.len()), vectors).unwrap(),
        layout,
        asset,
        at,
        labels,
        known_until,
    };
    let candidate = remaining::candidate(&rows, None).unwrap();
    println!("{}", serde_json::Value::Object(candidate.figures.clone()));
    assert_eq!(candidate.better, Ok(()));
    assert!(candidate.leaks.is_empty(), "{:?}", candidate.leaks);
    let model = candidate.model;
    let cap = model.cap_h / flight_h;
    let (mut middle, mut left, mut inside, mut width, mut young) = (Vec::new(), Vec::new(), 0, 0.0, 0);
    for (rows, truth) in engines(&test).iter().zip(truth.lines()) {
        let Some((window, baseline)) = engine(rows) else {
            young += 1;
            continue;
        };
        let truth: f64 = truth.trim().parse().unwrap();
        let (_, row) = stored_rows(&window, &baseline, rows.len()).remove(0);
        let seen = model
            .foresee(&Named {
                channels: &row,
                asset: Vec::new(),
            })
            .unwrap();
        let high = seen.rul.p90_h.map_or(cap, |p90| p90 / flight_h);
        let low = seen.rul.p10_h / flight_h;
        inside += usize::from(low <= truth && (truth <= high || seen.rul.p90_h.is_none()));
        width += high - low;
        middle.push(seen.rul.p50_h / flight_h);
        left.push(truth.min(cap));
    }
    let n = left.len();
    let error = rmse(&middle, &left);
    let (coverage, width) = (inside as f64 / n as f64, width / n as f64);
    println!(
        "{n} engines ({young} too young for a baseline): error of the middle {error:.2} flights under a cap of {cap:.0}, \
         80 % interval holds {coverage:.2} at a width of {width:.1}"
    );
    assert!(error < 16.0, "{error}");
    assert!(coverage > 0.72, "{coverage}");
}

/// The result of a backtest on a folder of the data, if it is there.
fn backtest(name: &str, folder: &str, subset: Option<&str>) -> Option<serde_json::Value> {
    let Some(folder) = std::env::var_os("FOREWARN_DATA").map(|f| PathBuf::from(f).join(folder)) else {
        println!("left out: FOREWARN_DATA is not set");
        return None;
    };
    if !folder.is_dir() {
        println!("left out: {} is not there", folder.display());
        return None;
    }
    let args = crate::backtest::BacktestArgs {
        subset: subset.map(str::to_owned),
        ..Default::default()
    };
    let mut found = crate::backtest::run(name, &folder, &args).unwrap();
    if let Some(found) = found.as_object_mut() {
        found.remove("reliability");
    }
    println!("{found}");
    Some(found)
}

#[track_caller]
fn within(found: &serde_json::Value, path: &str, range: std::ops::RangeInclusive<f64>) {
    let value = found.pointer(path).and_then(serde_json::Value::as_f64);
    assert!(
        value.is_some_and(|v| range.contains(&v)),
        "{path} is {value:?}, not within {range:?}"
    );
}

#[test]
#[ignore = "half a minute each"]
fn cmapss_figures_hold() {
    for (subset, rmse, phm08) in [("FD001", 12.3, 220.0), ("FD003", 11.1, 240.0)] {
        let Some(found) = backtest("cmapss", "cmapss", Some(subset)) else {
            return;
        };
        within(&found, "/rmse", 0.0..=rmse);
        within(&found, "/phm08", 0.0..=phm08);
        within(&found, "/width80", 0.0..=28.0);
    }
}

#[test]
#[ignore = "a minute"]
fn a_hidden_state_and_a_damaged_part_are_found() {
    if let Some(found) = backtest("naval", "naval-cbm", None) {
        within(&found, "/compressor/explained", 0.9..=1.0);
        within(&found, "/turbine/explained", 0.9..=1.0);
    }
    if let Some(found) = backtest("cwru", "cwru-features", None) {
        within(&found, "/macro_f1", 0.9..=1.0);
        within(&found, "/missed_faults", 0.0..=0.01);
    }
}

//! Public run-to-failure data through the same window, features, detection and health as in service.
//! The folder is `FOREWARN_DATA`; without it these tests say that they were left out.

mod figures;

use std::io::Read;
use std::path::PathBuf;

use models::asset::ChannelKind;
use serde_json::json;

use crate::backtest::served::Signals;
use crate::backtest::served::engines::{Engine, HEALTHY, judge};
use crate::detect::{Baseline, Detection, detect};
use crate::health;
use crate::window::USUAL_STEP_S;

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
    let channels = columns.iter().enumerate().map(|(place, column)| {
        let name = ["rms", "peak", "kurtosis"][place % 3];
        let title = format!("bearing {} {name}", place / 3 + 1);
        (title, ChannelKind::Measurement, column[..steps].to_vec())
    });
    let times: Vec<f64> = (0..steps as i64).map(|i| (i * USUAL_STEP_S) as f64).collect();
    let signals = Signals::new(USUAL_STEP_S, &times, channels.collect()).unwrap();
    let baseline = Baseline::learn(&signals.until(288, 288)).unwrap();
    let mut first: Option<(usize, String)> = None;
    let mut alarms_before = 0;
    for step in (289..=steps).step_by(2) {
        let detection = detect(&baseline, &signals.until(step, 288)).unwrap();
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
    let end = detect(&baseline, &signals.until(steps, 288)).unwrap();
    assert!(health_of(&end) < 40.0, "{}", health_of(&end));
}

#[test]
fn cmapss_engines_fall_towards_their_end() {
    let Some(text) = text("cmapss/train_FD001.txt.gz") else {
        return;
    };
    let units = engines(&text);
    let (mut fallen, mut early, mut late) = (0, Vec::new(), Vec::new());
    for engine in flying(&units) {
        let signals = engine.signals().unwrap();
        let baseline = Baseline::learn(&signals.until(HEALTHY, HEALTHY)).unwrap();
        let health = |step: usize| health_of(&detect(&baseline, &signals.until(step, 288)).unwrap());
        // Just after the baseline, and at the end.
        let (young, old) = (health(60), health(engine.sensors.len()));
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

/// Settings and sensors of an engine, a row for each flight.
type Flights = (Vec<Vec<f64>>, Vec<Vec<f64>>);

/// Engines of a C-MAPSS file.
fn engines(text: &str) -> Vec<Flights> {
    let mut units: Vec<Flights> = Vec::new();
    for line in text.lines() {
        let row: Vec<f64> = line
            .split_whitespace()
            .map(|field| field.parse().unwrap())
            .collect();
        let unit = row[0] as usize;
        if units.len() < unit {
            units.push(Flights::default());
        }
        let flights = &mut units[unit - 1];
        flights.0.push(row[2..5].to_vec());
        flights.1.push(row[5..].to_vec());
    }
    units
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
    let (train, test) = (engines(&train), engines(&test));
    let truth: Vec<f64> = truth.lines().map(|line| line.trim().parse().unwrap()).collect();
    let found = judge(&flying(&train), &flying(&test), &truth).unwrap();
    println!("{found}");
    assert!(found["rmse"].as_f64().unwrap() < 16.0, "{found}");
    assert!(found["coverage_from_p10"].as_f64().unwrap() > 0.72, "{found}");
    assert_eq!(
        (&found["would_stand"], &found["leaks"]),
        (&json!(true), &json!(0)),
        "{found}"
    );
}

fn flying(units: &[Flights]) -> Vec<Engine<'_>> {
    units
        .iter()
        .map(|(settings, sensors)| Engine { settings, sensors })
        .collect()
}

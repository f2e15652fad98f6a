//! The figures of `forewarn backtest` stay where they were reached. Bounds are the goals, or what the set's usual protocol
//! gives elsewhere; the long ones are run on demand.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::backtest::{self, BacktestArgs};

/// The result of a backtest on a folder of the data, if it is there.
fn found(name: &str, folder: &str, args: &BacktestArgs) -> Option<Value> {
    let Some(folder) = std::env::var_os("FOREWARN_DATA").map(|f| PathBuf::from(f).join(folder)) else {
        println!("left out: FOREWARN_DATA is not set");
        return None;
    };
    if !folder.is_dir() {
        println!("left out: {} is not there", folder.display());
        return None;
    }
    let mut found = backtest::run(name, &folder, args).unwrap();
    if let Some(found) = found.as_object_mut() {
        found.remove("reliability");
    }
    println!("{found}");
    Some(found)
}

fn usual(name: &str, folder: &str) -> Option<Value> {
    found(name, folder, &BacktestArgs::default())
}

#[track_caller]
fn within(found: &Value, path: &str, range: RangeInclusive<f64>) {
    let value = found.pointer(path).and_then(Value::as_f64);
    assert!(
        value.is_some_and(|v| range.contains(&v)),
        "{path} is {value:?}, not within {range:?}"
    );
}

#[test]
fn azure_figures_hold() {
    let Some(found) = usual("azure", "azure-pdm") else {
        return;
    };
    for (path, least) in [
        ("/precision", 0.98),
        ("/recall", 0.96),
        ("/natural/precision", 0.98),
        ("/natural/recall", 0.95),
        ("/event_recall", 0.97),
        ("/recall_at_budget", 0.95),
    ] {
        within(&found, path, least..=1.0);
    }
    within(&found, "/natural/calibration_error", 0.0..=0.005);
}

#[test]
fn nab_figures_hold() {
    let Some(found) = usual("nab", "nab") else {
        return;
    };
    within(&found, "/standard", 70.0..=100.0);
    within(&found, "/event_recall", 0.8..=1.0);
    within(&found, "/false_alarms_per_day", 0.0..=0.08);
}

#[test]
fn ai4i_figures_hold() {
    let Some(found) = usual("ai4i", "ai4i2020") else {
        return;
    };
    within(&found, "/f1", 0.89..=0.99);
    assert_eq!(found["leaked_features_used"], json!([]));
}

/// The one that is known best, and those that nothing was chosen by: each by name, the right bearing.
#[test]
fn ims_figures_hold() {
    let Some(found) = usual("ims", "ims-bearing") else {
        return;
    };
    within(&found, "/lead_time_h", 72.0..=80.0);
    assert_eq!(
        (&found["origin"], &found["false_alarms"]),
        (&json!("1"), &json!(0))
    );
    let run = |file: &str| {
        let runs = found["runs"].as_array().unwrap();
        runs.iter().find(|run| run["file"] == file).unwrap().clone()
    };
    let first = run("mean_abs_test1.csv");
    // Bearings 3 and 4 had failed when it ended.
    assert!(first["origin"] == "3" || first["origin"] == "4", "{first}");
    within(&first, "/lead_time_h", 72.0..=200.0);
    within(&first, "/false_alarms", 0.0..=0.0);
    let third = run("mean_abs_test3.csv");
    assert_eq!(third["origin"], "3");
    within(&third, "/lead_time_h", 48.0..=90.0);
    within(&third, "/false_alarms", 0.0..=2.0);
    assert_eq!(found["worst"]["file"], "mean_abs_test3.csv");
    // Raw snapshots: features are those that came with the set, and the outer race of bearing 1 stands out of the envelope's
    // spectrum three days before it failed, when nothing else does.
    let Some(raw) = found["raw"].get(0) else {
        println!("left out: there are no raw snapshots");
        return;
    };
    within(raw, "/features_differ_by", 0.0..=2e-3);
    assert_eq!((&raw["origin"], &raw["line"]), (&json!("1"), &json!("bpfo")));
    within(raw, "/lead_time_h", 70.0..=80.0);
    within(raw, "/highest_while_healthy", 0.0..=models::vibration::CLEAR);
}

#[test]
fn femto_figures_hold() {
    if let Some(found) = usual("femto", "femto-bearing") {
        within(&found, "/score", 0.16..=1.0);
    }
}

#[test]
fn skab_figures_hold() {
    if let Some(found) = usual("skab", "skab") {
        within(&found, "/f1", 0.8..=1.0);
        within(&found, "/false_alarm_rate", 0.0..=0.41);
    }
}

#[test]
fn metropt_figures_hold() {
    if let Some(found) = usual("metropt", "metropt3") {
        within(&found, "/f1", 0.95..=1.0);
    }
}

#[test]
fn cwru_figures_hold() {
    if let Some(found) = usual("cwru", "cwru-features") {
        within(&found, "/macro_f1", 0.95..=1.0);
        within(&found, "/missed_faults", 0.0..=0.01);
    }
}

fn cmapss(subset: &str, rmse: f64, phm08: f64) {
    let args = BacktestArgs {
        subset: Some(subset.to_owned()),
        ..BacktestArgs::default()
    };
    let Some(found) = found("cmapss", "cmapss", &args) else {
        return;
    };
    within(&found, "/rmse", 0.0..=rmse);
    within(&found, "/phm08", 0.0..=phm08);
    within(&found, "/width80", 0.0..=28.0);
}

#[test]
fn cmapss_figures_hold() {
    cmapss("FD001", 12.3, 220.0);
}

#[test]
#[ignore = "half a minute"]
fn cmapss_figures_hold_for_two_failure_modes() {
    cmapss("FD003", 11.1, 240.0);
}

#[test]
#[ignore = "half a minute"]
fn hydraulic_figures_hold() {
    if let Some(found) = usual("hydraulic", "hydraulic") {
        within(&found, "/macro_f1", 0.89..=1.0);
    }
}

#[test]
#[ignore = "half a minute"]
fn naval_figures_hold() {
    if let Some(found) = usual("naval", "naval-cbm") {
        within(&found, "/compressor/explained", 0.9..=1.0);
        within(&found, "/turbine/explained", 0.9..=1.0);
    }
}

//! A few rounds of `forewarn chaos`, and the short forms of the measurements: no figures, but nothing lost and nothing
//! doubled.

use std::process::Output;

use serde_json::{Value, json};

use crate::processes::{forewarn, forewarn_edge};

async fn run(arguments: &'static [&'static str]) -> (Output, Value) {
    // The agent's executable must be there; the command itself looks for it beside its own.
    drop(forewarn_edge());
    let output = tokio::task::spawn_blocking(move || forewarn().args(arguments).output().unwrap())
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    println!("{arguments:?}: {last}");
    let answer = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}{errors}"));
    assert!(output.status.success(), "{answer}\n{errors}");
    (output, answer)
}

#[track_caller]
fn nothing_lost_or_doubled(answer: &Value) {
    assert_eq!(
        (&answer["lost"], &answer["duplicated"]),
        (&json!(0), &json!(0)),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_on_a_bad_day() {
    let (_, answer) = run(&["chaos", "--rounds", "4", "--seed", "3"]).await;
    nothing_lost_or_doubled(&answer);
    assert_eq!(answer["stored"], answer["produced"], "{answer}");
    assert_eq!(answer["ledger_closes"], true, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_measurements_in_short() {
    let (_, answer) = run(&["bench", "ingest", "--short"]).await;
    nothing_lost_or_doubled(&answer);
    for key in [
        "readings_per_s",
        "copy_limit_per_s",
        "ratio",
        "ack_p50_ms",
        "ack_p99_ms",
        "peak_rss_mib",
    ] {
        assert!(answer[key].as_f64() > Some(0.0), "{key}: {answer}");
    }
    let (_, answer) = run(&["bench", "ingest", "--plain", "--short"]).await;
    nothing_lost_or_doubled(&answer);
    assert!(answer["messages_per_s"].as_f64() > Some(0.0), "{answer}");
    let (_, answer) = run(&["bench", "connections", "--short"]).await;
    assert_eq!(answer["refused"], 0, "{answer}");
    assert!(answer["peak_rss_mib"].as_f64() > Some(0.0), "{answer}");
    assert!(answer["storm_s"].is_number(), "{answer}");
    let (_, answer) = run(&["bench", "edge", "--short"]).await;
    assert!(answer["readings_per_s"].as_f64() > Some(0.0), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_peers_in_short() {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .chain(["/usr/sbin".into()])
        .any(|folder| folder.join("mosquitto").is_file());
    if !found {
        println!("not compared: mosquitto is not installed");
        return;
    }
    let (_, answer) = run(&["bench", "peers", "--short"]).await;
    nothing_lost_or_doubled(&answer);
    assert!(answer["peer_per_s"].as_f64() > Some(0.0), "{answer}");
}

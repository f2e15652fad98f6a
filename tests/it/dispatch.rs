//! `forewarn bench dispatch` in short: no figure is looked at, but every cause has one alarm and one ticket.

use std::path::PathBuf;

use ingest::bench::{DispatchArgs, Place, dispatch};

#[tokio::test(flavor = "multi_thread")]
async fn every_reading_beyond_a_limit_has_one_alarm_and_one_ticket_under_load() {
    let place = Place {
        database_url: std::env::var("DATABASE_URL").expect("tests need DATABASE_URL"),
        executable: Some(PathBuf::from(env!("CARGO_BIN_EXE_forewarn"))),
    };
    let args = DispatchArgs {
        connections: 5,
        readings_per_s: 1_000.0,
        rules: 150,
        probes: 20,
        seconds: 2,
        rounds: 1,
    };
    let result = dispatch(args, &place).await.unwrap();
    println!("{result}");
    for key in ["alarms", "tickets", "causes"] {
        assert_eq!(result[key].as_i64(), Some(20), "{key}: {result}");
    }
    for key in ["lost", "duplicated"] {
        assert_eq!(result[key].as_i64(), Some(0), "{key}: {result}");
    }
    assert_eq!(result["rules"].as_i64(), Some(150), "{result}");
    assert!(result["ingest_ratio"].as_f64() > Some(0.0), "{result}");
}

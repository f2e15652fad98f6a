//! The measurements, in short: no figures, but nothing lost and nothing doubled.

use ingest::bench::{ConnectionsArgs, ForeignArgs, IngestArgs, Place, connections, foreign, ingest};

fn place() -> Place {
    Place {
        database_url: std::env::var("DATABASE_URL").expect("tests need DATABASE_URL"),
        executable: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_under_load() {
    for plain in [false, true] {
        let args = IngestArgs {
            connections: 5,
            seconds: 2,
            ..IngestArgs::new(plain)
        };
        let result = ingest(args, &place()).await.unwrap();
        println!("{result}");
        assert!(result["acknowledged"].as_i64() > Some(0), "{result}");
        assert!(result["ratio"].as_f64() > Some(0.0), "{result}");
        assert_eq!(
            (result["lost"].as_i64(), result["duplicated"].as_i64()),
            (Some(0), Some(0)),
            "{result}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_behind_mosquitto() {
    let Some(mosquitto) = crate::foreign::mosquitto() else {
        return;
    };
    let args = ForeignArgs {
        processes: 2,
        connections: 5,
        seconds: 1,
        in_flight: 20,
        messages_per_s: Some(500.0),
        // Here they are no processes of their own.
        kill: false,
        mosquitto,
    };
    let result = foreign(args, &place()).await.unwrap();
    println!("{result}");
    assert!(result["acknowledged"].as_i64() > Some(0), "{result}");
    assert_eq!(
        (result["lost"].as_i64(), result["duplicated"].as_i64()),
        (Some(0), Some(0)),
        "{result}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_come_back_after_a_storm() {
    let args = ConnectionsArgs {
        connections: 100,
        storm: 50,
    };
    let result = connections(args, &place()).await.unwrap();
    println!("{result}");
    assert_eq!(
        (result["refused"].as_i64(), result["undisturbed"].as_i64()),
        (Some(0), Some(50)),
        "{result}"
    );
}

//! The measurement, in short: no figures, but nothing lost and nothing doubled.

use ingest::bench::{Args, run};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_under_load() {
    let url = std::env::var("DATABASE_URL").expect("tests need DATABASE_URL");
    for plain in [false, true] {
        let args = Args {
            connections: 5,
            seconds: 2,
            plain,
            ..Args::default()
        };
        let result = run(args, &url).await.unwrap();
        println!("{result}");
        assert!(result["acknowledged"].as_i64() > Some(0), "{result}");
        assert_eq!(
            (result["lost"].as_i64(), result["duplicated"].as_i64()),
            (Some(0), Some(0)),
            "{result}"
        );
    }
}

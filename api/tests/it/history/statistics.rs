//! Statistics by their definition, whatever was rolled up and came late.

use models::time::Timestamp;
use serde_json::Value;

use super::START;
use crate::harness::Server;

/// The statistics of an hour as they are defined, before and after it is rolled up, and once a late reading came.
#[tokio::test]
async fn every_statistic_is_exact_with_rollups_and_late_readings() {
    use models::db::history::rollup::{self, Budget};
    use models::db::reading;
    use models::reading::{Quality, Reading};
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let mut owner = server.database.owner.acquire().await.unwrap();
    // One a minute; one is bad, one suspect.
    let mut hour: Vec<Reading> = (0..60)
        .map(|i| Reading {
            channel: plant.channel,
            ts: Timestamp::from_secs(START + i * 60),
            value: (i * i % 17) as f64,
            quality: match i {
                20 => Quality::Bad,
                21 => Quality::Suspect,
                _ => Quality::Good,
            },
        })
        .collect();
    reading::copy(&mut owner, &hour).await.unwrap();
    let check = async |hour: &[Reading], when: &str| {
        let used: Vec<&Reading> = hour.iter().filter(|r| r.quality != Quality::Bad).collect();
        let n = used.len() as f64;
        let sum: f64 = used.iter().map(|r| r.value).sum();
        let area: f64 = used
            .windows(2)
            .map(|pair| pair[0].value * pair[1].ts.seconds_since(pair[0].ts))
            .sum();
        let (first, last) = (used[0], used[used.len() - 1]);
        let good = hour.iter().filter(|r| r.quality == Quality::Good).count() as f64;
        for (statistic, expected) in [
            ("count", n),
            ("sum", sum),
            ("mean", sum / n),
            ("min", used.iter().map(|r| r.value).fold(f64::MAX, f64::min)),
            ("max", used.iter().map(|r| r.value).fold(f64::MIN, f64::max)),
            ("first", first.value),
            ("last", last.value),
            ("time_mean", area / last.ts.seconds_since(first.ts)),
            ("quality_share", good / hour.len() as f64),
        ] {
            for resolution in ["auto", "hour", "raw"] {
                let path = format!(
                    "/v1/series?channel_id={}&from={START}&to={}&step_s=3600&statistic={statistic}&resolution={resolution}",
                    plant.channel,
                    START + 7200
                );
                let body = server.get(&path, &token).await.expect(200);
                let got = body["data"][0]["values"][0].as_f64().unwrap();
                assert!(
                    (got - expected).abs() < 1e-9,
                    "{when}: {statistic} by {resolution} is {got}, not {expected}"
                );
                assert_eq!(body["data"][0]["values"][1], Value::Null, "{when}: {statistic}");
            }
        }
    };
    check(&hour, "as it came").await;
    rollup::advance(&mut owner, Timestamp::from_secs(START + 7200))
        .await
        .unwrap();
    let mut rolled = async || {
        while rollup::refresh_some(&mut owner, Budget::default())
            .await
            .unwrap()
            .channels
            > 0
        {}
        sqlx::query_scalar::<_, i32>("SELECT n FROM rollup_hour")
            .fetch_all(&mut *owner)
            .await
            .unwrap()
    };
    assert_eq!(rolled().await, [59]);
    check(&hour, "rolled up").await;
    let late = Reading {
        channel: plant.channel,
        ts: Timestamp::from_secs(START + 90),
        value: 4000.0,
        quality: Quality::Good,
    };
    let mut writer = server.database.owner.acquire().await.unwrap();
    reading::copy(&mut writer, &[late]).await.unwrap();
    hour.insert(2, late);
    check(&hour, "a late one came").await;
    assert_eq!(rolled().await, [60]);
    check(&hour, "and is rolled up").await;
    // Stopping waits for every connection to come back.
    drop((owner, writer));
    server.stop().await;
}

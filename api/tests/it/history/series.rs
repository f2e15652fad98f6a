//! Series: thinned out, on one grid, as of a moment.

use serde_json::{Value, json};

use super::{START, column, fill};
use crate::harness::Server;

#[tokio::test]
async fn a_down_sampled_series_equals_brute_force() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let all = fill(&server, &plant, 4000, 10.0).await;
    let (from, to) = (START as f64, START as f64 + 40_000.0);
    for points in [10_u32, 100, 333, 600] {
        let path = format!(
            "/v1/channels/{}/series?from={from}&to={to}&points={points}",
            plant.channel
        );
        let series = server.get(&path, &token).await.expect(200);
        assert_eq!(series["raw"], false);
        let width = series["bucket_s"].as_f64().unwrap();
        let mut expected: Vec<(f64, f64, f64, f64, i64)> = Vec::new();
        for (at, value, quality) in &all {
            if *quality == 2 {
                continue;
            }
            let start = from + ((at - from) / width).floor() * width;
            match expected.last_mut() {
                Some((bucket, low, high, sum, n)) if (*bucket - start).abs() < width / 2.0 => {
                    (*low, *high, *sum, *n) = (low.min(*value), high.max(*value), *sum + value, *n + 1);
                }
                _ => expected.push((start, *value, *value, *value, 1)),
            }
        }
        let (ts, low, high, mean, n) = (
            column(&series, "ts"),
            column(&series, "min"),
            column(&series, "max"),
            column(&series, "mean"),
            column(&series, "n"),
        );
        let rows: Vec<usize> = (0..ts.len()).filter(|i| low[*i].is_some()).collect();
        assert!(ts.len() <= points as usize + 1, "{} rows for {points}", ts.len());
        assert_eq!(rows.len(), expected.len(), "{points}");
        for (i, (start, lowest, highest, sum, count)) in rows.iter().zip(&expected) {
            assert!((ts[*i].unwrap() - start).abs() < 1e-3, "{points}");
            assert_eq!(
                (low[*i], high[*i], n[*i]),
                (Some(*lowest), Some(*highest), Some(*count as f64)),
                "{points}"
            );
            assert!((mean[*i].unwrap() - sum / *count as f64).abs() < 1e-9, "{points}");
        }
        // The outage stands there as one gap, however many buckets it is long.
        let gaps: Vec<usize> = (0..ts.len()).filter(|i| low[*i].is_none()).collect();
        let holes = expected
            .windows(2)
            .filter(|pair| pair[1].0 - pair[0].0 > width * 1.5)
            .count();
        assert_eq!(gaps.len(), holes, "{points}");
        assert!(
            points == 10 || holes == 1,
            "{points}: the outage is longer than a bucket"
        );
        assert!(
            gaps.iter()
                .all(|i| high[*i].is_none() && mean[*i].is_none() && n[*i] == Some(0.0))
        );
        assert!(ts.windows(2).all(|pair| pair[0] < pair[1]), "{points}");
    }
    server.stop().await;
}

#[tokio::test]
async fn few_readings_are_shown_as_they_are() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let all = fill(&server, &plant, 200, 10.0).await;
    let path = format!(
        "/v1/channels/{}/series?from=2026-01-31T12:00:00Z&to=2026-01-31T13:00:00Z",
        plant.channel
    );
    let series = server.get(&path, &token).await.expect(200);
    assert_eq!(
        (&series["raw"], &series["gap_s"], &series["channel"]["unit"]),
        (&json!(true), &json!(30.0), &json!("mm/s"))
    );
    let good: Vec<f64> = all
        .iter()
        .filter(|(.., quality)| *quality < 2)
        .map(|(_, value, _)| *value)
        .collect();
    let mean: Vec<f64> = column(&series, "mean").into_iter().flatten().collect();
    assert_eq!(mean, good);
    assert_eq!(column(&series, "min"), column(&series, "max"));
    assert_eq!(
        column(&series, "mean")
            .iter()
            .filter(|value| value.is_none())
            .count(),
        1
    );
    // An empty range is empty, not an error.
    let path = format!("/v1/channels/{}/series?from=0&to=1000", plant.channel);
    assert_eq!(
        server.get(&path, &token).await.expect(200)["data"]["ts"],
        json!([])
    );
    server.stop().await;
}

#[tokio::test]
async fn the_shape_survives_down_sampling() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let all = fill(&server, &plant, 4000, 10.0).await;
    let path = format!(
        "/v1/channels/{}/series?from={START}&to={}&points=200&method=lttb",
        plant.channel,
        START + 40_000
    );
    let series = server.get(&path, &token).await.expect(200);
    assert_eq!(
        (&series["raw"], &series["method"]),
        (&json!(true), &json!("lttb"))
    );
    let values: Vec<f64> = column(&series, "mean").into_iter().flatten().collect();
    assert_eq!(values.len(), 200);
    let good: Vec<f64> = all.iter().filter(|row| row.2 < 2).map(|row| row.1).collect();
    assert!(
        values.iter().all(|value| good.contains(value)),
        "every point is a reading"
    );
    assert_eq!((values[0], values[199]), (good[0], good[good.len() - 1]));
    assert_eq!(
        column(&series, "mean")
            .iter()
            .filter(|value| value.is_none())
            .count(),
        1,
        "the outage"
    );
    server.stop().await;
}

#[tokio::test]
async fn channels_stand_on_one_grid_with_gaps_as_gaps() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let second: models::id::ChannelId = sqlx::query_scalar(
        "INSERT INTO channel (tenant_id, device_id, asset_id, name, unit)
         SELECT tenant_id, device_id, asset_id, 'load', 'kW' FROM channel WHERE id = $1 RETURNING id",
    )
    .bind(plant.channel)
    .fetch_one(&server.database.owner)
    .await
    .unwrap();
    for (channel, at, value) in [
        (plant.channel, -30, 7.0),
        (plant.channel, 10, 1.0),
        (plant.channel, 15, 3.0),
        (plant.channel, 70, 8.0),
        (second, 130, 5.0),
    ] {
        sqlx::query("INSERT INTO reading (ts, value, channel_id) VALUES (to_timestamp($1), $2, $3)")
            .bind((START + at) as f64)
            .bind(value)
            .bind(channel)
            .execute(&server.database.owner)
            .await
            .unwrap();
    }
    let base = format!("from={START}&to={}&step_s=60", START + 240);
    let ask = async |more: &str| {
        let path = format!("/v1/series?channel_id={},{second}&{base}{more}", plant.channel);
        let body = server.get(&path, &token).await.expect(200);
        (
            body["data"][0]["values"].clone(),
            body["data"][1]["values"].clone(),
        )
    };
    assert_eq!(
        ask("").await,
        (json!([2.0, 8.0, null, null]), json!([null, null, 5.0, null]))
    );
    assert_eq!(
        ask("&fill=previous&statistic=last").await,
        (json!([3.0, 8.0, 8.0, 8.0]), json!([null, null, 5.0, 5.0]))
    );
    assert_eq!(ask("&statistic=count").await.0, json!([2.0, 1.0, null, null]));
    let path = format!(
        "/v1/series?channel_id={}&from={START}&to={}&step_s=30&fill=linear",
        plant.channel,
        START + 120
    );
    let body = server.get(&path, &token).await.expect(200);
    assert_eq!(body["data"][0]["values"], json!([2.0, 5.0, 8.0, null]));
    // As of a moment: not what came later, and nothing before anything came.
    let state = async |at: i64| {
        let path = format!("/v1/state?asset_id={}&at={at}", plant.asset);
        let body = server.get(&path, &token).await.expect(200);
        (
            body["data"][0]["reading"]["value"].clone(),
            body["data"][1]["reading"].clone(),
        )
    };
    assert_eq!(state(START + 14).await, (json!(1.0), Value::Null));
    assert_eq!(state(START + 15).await, (json!(3.0), Value::Null));
    assert_eq!(state(START + 500).await.0, json!(8.0));
    let latest = server.get("/v1/latest", &token).await.expect(200);
    assert_eq!(latest["data"][1]["reading"]["value"], json!(5.0));
    // Below an asset, by name and unit.
    let path = format!("/v1/assets/{}/aggregate?{base}&across=sum", plant.asset);
    let below = server.get(&path, &token).await.expect(200);
    assert_eq!(below["data"][0]["name"], "load");
    assert_eq!(below["data"][1]["values"], json!([2.0, 8.0, null, null]));
    assert_eq!(below["data"][1]["present"], json!([1, 1, 0, 0]));
    for bad in ["step_s=0", "points=3", "resolution=hour&step_s=60", "fill=magic"] {
        server
            .get(&format!("/v1/series?{bad}"), &token)
            .await
            .refused(400, "invalid-query");
    }
    server.stop().await;
}

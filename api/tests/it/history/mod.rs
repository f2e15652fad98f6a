//! Readings and series against what a slow, plain computation says.

mod readings;
mod series;
mod statistics;
mod tenants;

use models::time::Timestamp;
use serde_json::Value;

use crate::harness::Server;
use crate::plant::Plant;

/// 2026-01-31T12:00:00Z.
const START: i64 = 1_769_860_800;

/// `n` readings, one each `step_s`, with an outage in the middle and a bad one now and then.
async fn fill(server: &Server, plant: &Plant, n: i64, step_s: f64) -> Vec<(f64, f64, i16)> {
    let mut all = Vec::new();
    for i in 0..n {
        if (n / 2..n / 2 + n / 10).contains(&i) {
            continue;
        }
        let quality = if i % 97 == 13 { 2 } else { i16::from(i % 31 == 7) };
        let value = (i as f64 * 0.37).sin() * 10.0 + if quality == 2 { 1e6 } else { 0.0 };
        all.push((START as f64 + i as f64 * step_s, value, quality));
    }
    let stamps: Vec<Timestamp> = all
        .iter()
        .map(|(at, ..)| Timestamp::from_micros((at * 1e6).round() as i64))
        .collect();
    sqlx::query(
        "INSERT INTO reading (ts, value, channel_id, quality)
         SELECT t, v, $1, q FROM unnest($2::timestamptz[], $3::float8[], $4::int2[]) AS x (t, v, q)",
    )
    .bind(plant.channel)
    .bind(&stamps)
    .bind(all.iter().map(|(_, value, _)| *value).collect::<Vec<_>>())
    .bind(all.iter().map(|(.., quality)| *quality).collect::<Vec<_>>())
    .execute(&server.database.owner)
    .await
    .unwrap();
    all
}

fn column(series: &Value, name: &str) -> Vec<Option<f64>> {
    series["data"][name]
        .as_array()
        .unwrap()
        .iter()
        .map(Value::as_f64)
        .collect()
}

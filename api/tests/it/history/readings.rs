//! Readings one by one: in pages, and as a file in every format.

use models::time::Timestamp;

use super::{START, fill};
use crate::harness::Server;

#[tokio::test]
async fn readings_come_in_pages_and_with_their_quality() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let all = fill(&server, &plant, 450, 1.0).await;
    let base = format!(
        "/v1/channels/{}/readings?from={START}&to={}&limit=200",
        plant.channel,
        START + 1000
    );
    let mut seen = Vec::new();
    let mut path = base.clone();
    loop {
        let page = server.get(&path, &token).await.expect(200);
        for row in page["data"].as_array().unwrap() {
            let at: Timestamp = row["ts"].as_str().unwrap().parse().unwrap();
            let quality = ["good", "suspect", "bad"]
                .iter()
                .position(|word| row["quality"] == *word)
                .unwrap();
            seen.push((
                at.micros() as f64 / 1e6,
                row["value"].as_f64().unwrap(),
                quality as i16,
            ));
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("{base}&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, all);
    // The end is exclusive, the beginning is not.
    let path = format!(
        "/v1/channels/{}/readings?from={START}&to={}",
        plant.channel,
        START + 1
    );
    assert_eq!(
        server.get(&path, &token).await.expect(200)["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let path = format!("/v1/channels/{}", plant.channel);
    assert_eq!(
        server.get(&path, &token).await.expect(200)["latest"]["quality"],
        "good"
    );
    server.stop().await;
}

/// Bytes of a file and its content type.
async fn file(server: &Server, path: &str, token: &str) -> (String, Vec<u8>) {
    let answer = server
        .http
        .get(server.url(path))
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (kind, answer.bytes().await.unwrap().to_vec())
}

/// Times in microseconds, values and qualities of an Arrow batch as it is exported.
fn rows_of(batch: &arrow_array::RecordBatch) -> Vec<(i64, f64, String)> {
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, Int32Type, TimestampMicrosecondType};
    let ts = batch.column(4).as_primitive::<TimestampMicrosecondType>();
    let values = batch.column(5).as_primitive::<Float64Type>();
    let word = |row: usize| match batch.column(6).as_dictionary_opt::<Int32Type>() {
        Some(words) => words
            .values()
            .as_string::<i32>()
            .value(words.keys().value(row) as usize)
            .to_owned(),
        None => batch.column(6).as_string::<i32>().value(row).to_owned(),
    };
    (0..batch.num_rows())
        .map(|row| (ts.value(row), values.value(row), word(row)))
        .collect()
}

#[tokio::test]
async fn every_format_of_an_export_holds_every_reading() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let all = fill(&server, &plant, 3000, 0.5).await;
    let words = ["good", "suspect", "bad"];
    let expected: Vec<(i64, f64, String)> = all
        .iter()
        .map(|(at, value, quality)| {
            (
                (at * 1e6).round() as i64,
                *value,
                words[*quality as usize].to_owned(),
            )
        })
        .collect();
    let query = format!("channel_id={}&from={START}&to={}", plant.channel, START + 10_000);
    let (kind, csv) = file(&server, &format!("/v1/export?{query}"), &token).await;
    assert_eq!(kind, "text/csv; charset=utf-8");
    let text = String::from_utf8(csv).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("gateway,device,channel,unit,ts,value,quality"));
    let got: Vec<(i64, f64, String)> = lines
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            assert_eq!(fields[..4], ["gw", "plc", "vibration", "mm/s"]);
            let ts: Timestamp = fields[4].parse().unwrap();
            (ts.micros(), fields[5].parse().unwrap(), fields[6].to_owned())
        })
        .collect();
    assert_eq!(got, expected);
    let (_, arrow) = file(&server, &format!("/v1/export?format=arrow&{query}"), &token).await;
    let reader = arrow_ipc::reader::StreamReader::try_new(arrow.as_slice(), None).unwrap();
    let got: Vec<_> = reader.flat_map(|batch| rows_of(&batch.unwrap())).collect();
    assert_eq!(got, expected);
    let (_, bytes) = file(&server, &format!("/v1/export?format=parquet&{query}"), &token).await;
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(
        axum::body::Bytes::from(bytes),
    )
    .unwrap()
    .build()
    .unwrap();
    let got: Vec<_> = reader.flat_map(|batch| rows_of(&batch.unwrap())).collect();
    assert_eq!(got, expected);
    // Another tenant's channel gives a file without rows.
    let south = server.plant("south").await;
    let stranger = server.sign_in(&south.email("admin")).await;
    let (_, csv) = file(&server, &format!("/v1/export?{query}"), &stranger).await;
    assert_eq!(String::from_utf8(csv).unwrap().lines().count(), 1);
    server.stop().await;
}

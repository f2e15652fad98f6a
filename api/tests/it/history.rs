//! Readings and series against what a slow, plain computation says.

use models::tenant::MemberRole;
use models::time::Timestamp;
use serde_json::{Value, json};

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

#[tokio::test]
async fn a_tenant_says_how_long_its_readings_are_kept() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let path = "/v1/retention-policies";
    let set = async |body: Value| server.post(path, &token, body).await;
    set(json!({ "raw_days": 400, "minute_days": 800 }))
        .await
        .expect(200);
    let all = set(json!({ "kind": "state", "raw_days": 30 })).await.expect(200);
    assert_eq!(all["policies"].as_array().unwrap().len(), 2);
    let all = set(json!({ "kind": "state", "raw_days": 60, "hour_days": 60 }))
        .await
        .expect(200);
    assert_eq!(all["policies"][1]["raw_days"], 60);
    for bad in [
        json!({ "raw_days": 0 }),
        json!({ "raw_days": 10, "hour_days": 5 }),
        json!({ "minute_days": 5 }),
    ] {
        set(bad).await.refused(422, "invalid-body");
    }
    let other = server.plant("south").await;
    let stranger = server.sign_in(&other.email("admin")).await;
    assert_eq!(
        server.get(path, &stranger).await.expect(200)["policies"],
        json!([])
    );
    assert_eq!(server.get(path, &token).await.expect(200), all);
    server.stop().await;
}

/// Every way to ask for history gives its owner the value, and nobody else: neither another tenant nor
/// a member of another site.
#[tokio::test]
async fn history_is_shown_to_its_own_site_only() {
    let server = Server::start().await;
    let (north, south) = (server.plant("north").await, server.plant("south").await);
    sqlx::query(
        "INSERT INTO reading (ts, value, channel_id, quality)
         SELECT to_timestamp($1 + i * 10), 4711.25, $2, 0 FROM generate_series(0, 59) i
         UNION ALL SELECT now() + interval '1 minute', 4711.25, $2, 0",
    )
    .bind(START)
    .bind(north.channel)
    .execute(&server.database.owner)
    .await
    .unwrap();
    let inside = north.member("inside", MemberRole::Viewer, Some(north.site)).await;
    let outside = north
        .member("outside", MemberRole::Viewer, Some(north.other_site))
        .await;
    let mine = server.sign_in(&inside).await;
    let others = [
        server.sign_in(&outside).await,
        server.sign_in(&south.email("admin")).await,
    ];
    let (channel, asset) = (north.channel, north.asset);
    let range = format!("from={START}&to={}", START + 600);
    let mut ways = vec![
        format!("/v1/channels/{channel}/readings?{range}"),
        format!("/v1/channels/{channel}/series?{range}"),
        format!("/v1/channels/{channel}/series?{range}&points=10"),
        format!("/v1/channels/{channel}/series?{range}&points=10&method=lttb"),
        format!("/v1/series?channel_id={channel}&{range}&fill=previous"),
        format!("/v1/series?asset_id={asset}&{range}"),
        format!("/v1/series?{range}&step_s=60&resolution=minute"),
        format!("/v1/assets/{asset}/aggregate?{range}"),
        format!("/v1/latest?channel_id={channel}"),
        "/v1/latest".to_owned(),
        format!("/v1/state?channel_id={channel}&at={}", START + 30),
        format!("/v1/export?channel_id={channel}&{range}"),
        format!("/v1/export?{range}"),
        format!("/api/v1/query?query=vibration&time={}", START + 30),
        format!(
            "/api/v1/query?query=max_over_time(vibration[5m])&time={}",
            START + 300
        ),
        format!(
            "/api/v1/query_range?query=vibration&start={START}&end={}&step=60",
            START + 300
        ),
    ];
    for statistic in ["mean", "min", "max", "first", "last", "time_mean"] {
        ways.push(format!("/v1/series?{range}&statistic={statistic}"));
        ways.push(format!(
            "/v1/assets/{asset}/aggregate?{range}&statistic={statistic}"
        ));
    }
    let answer = async |way: &str, token: &str| {
        let request = server.http.get(server.url(way)).bearer_auth(token);
        request.send().await.unwrap().text().await.unwrap()
    };
    for way in ways {
        let text = answer(&way, &mine).await;
        assert!(text.contains("4711.25"), "{way}: {text}");
        for token in &others {
            let text = answer(&way, token).await;
            assert!(!text.contains("4711.25"), "{way}: {text}");
        }
    }
    server.stop().await;
}

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

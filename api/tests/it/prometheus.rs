//! The routes that Grafana's data source asks, against what plain computation says.

use models::tenant::Permission;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Server;
use crate::plant::Plant;

/// 2026-01-31T12:00:00Z.
const START: i64 = 1_769_860_800;

async fn store(server: &Server, plant: &Plant, points: impl IntoIterator<Item = (i64, f64, i16)>) {
    let points: Vec<_> = points.into_iter().collect();
    sqlx::query(
        "INSERT INTO reading (ts, value, channel_id, quality)
         SELECT to_timestamp(t), v, $1, q FROM unnest($2::float8[], $3::float8[], $4::int2[]) AS x (t, v, q)",
    )
    .bind(plant.channel)
    .bind(
        points
            .iter()
            .map(|point| (START + point.0) as f64)
            .collect::<Vec<_>>(),
    )
    .bind(points.iter().map(|point| point.1).collect::<Vec<_>>())
    .bind(points.iter().map(|point| point.2).collect::<Vec<_>>())
    .execute(&server.database.owner)
    .await
    .unwrap();
}

/// A query as Grafana sends it: a form with the key as password.
pub async fn ask(server: &Server, key: &str, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
    let answer = server
        .http
        .post(server.url(path))
        .basic_auth("grafana", Some(key))
        .form(form)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Values of the first series of a range from START in steps of a minute.
async fn range(server: &Server, key: &str, query: &str, minutes: i64) -> Vec<(i64, f64)> {
    let end = (START + minutes * 60).to_string();
    let form = [
        ("query", query),
        ("start", &START.to_string()),
        ("end", &end),
        ("step", "60"),
    ];
    let (status, body) = ask(server, key, "/api/v1/query_range", &form).await;
    assert_eq!(status, 200, "{query}: {body}");
    assert_eq!(body["data"]["resultType"], "matrix");
    let result = body["data"]["result"].as_array().unwrap();
    result.first().map_or_else(Vec::new, |series| {
        let values = series["values"].as_array().unwrap();
        let value = |pair: &Value| {
            (
                pair[0].as_f64().unwrap() as i64 - START,
                pair[1].as_str().unwrap().parse().unwrap(),
            )
        };
        values.iter().map(value).collect()
    })
}

#[tokio::test]
async fn what_dashboards_ask_is_answered() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let key = plant.key(&[Permission::AssetsRead]).await;
    // A counter that rises by 1 a second, every 15 s, with a bad reading and an outage of 20 minutes.
    let points = (0..40).chain(120..160).map(|i| (i * 15, (i * 15) as f64, 0));
    store(&server, &plant, points.chain([(7, 1e9, 2)])).await;

    assert_eq!(range(&server, &key, "1+1", 1).await, [(0, 2.0), (60, 2.0)]);
    let values = range(&server, &key, "vibration{asset=\"P-101\"}", 32).await;
    assert_eq!(values[..3], [(0, 0.0), (60, 60.0), (120, 120.0)]);
    // The last reading holds for five minutes, then there is a gap.
    let until = 585 + 300;
    let expected: Vec<(i64, f64)> = (0..=32)
        .map(|i| i * 60)
        .filter(|at| *at < until || *at >= 1800)
        .map(|at| {
            (
                at,
                if (586..1800).contains(&at) {
                    585.0
                } else {
                    at as f64
                },
            )
        })
        .collect();
    assert_eq!(values, expected);
    assert_eq!(
        range(&server, &key, "rate(vibration[1m])", 2).await[1..],
        [(120, 1.0)]
    );
    let of_two = range(&server, &key, "avg_over_time({__name__=~\"vib.*\"}[1m])", 2).await;
    assert_eq!(of_two[1..], [(60, 37.5), (120, 97.5)]);
    assert_eq!(
        range(&server, &key, "sum by (site) (vibration) * 2 > 100", 2).await,
        [(60, 120.0), (120, 240.0)]
    );
    assert_eq!(
        range(&server, &key, "vibration offset 1m", 2).await,
        [(60, 0.0), (120, 60.0)]
    );
    assert!(
        range(&server, &key, "vibration{asset!~\"P.*\"}", 2)
            .await
            .is_empty()
    );

    let (_, body) = ask(
        &server,
        &key,
        "/api/v1/query",
        &[("query", "vibration"), ("time", &(START + 100).to_string())],
    )
    .await;
    assert_eq!(
        body["data"]["result"][0]["value"],
        json!([START as f64 + 100.0, "90"])
    );
    assert_eq!(body["data"]["result"][0]["metric"]["unit"], "mm/s");
    let (_, body) = ask(&server, &key, "/api/v1/labels", &[]).await;
    assert!(body["data"].as_array().unwrap().contains(&json!("asset")));
    let (_, body) = ask(&server, &key, "/api/v1/series", &[("match[]", "vibration")]).await;
    assert_eq!(body["data"][0]["channel_id"], json!(plant.channel));
    for path in [
        "/api/v1/label/asset/values",
        "/api/v1/metadata",
        "/api/v1/status/buildinfo",
    ] {
        let body = server.get(path, &key).await.expect(200);
        assert_eq!(body["status"], "success", "{path}");
    }
    let body = server
        .get("/api/v1/label/__name__/values", &key)
        .await
        .expect(200);
    assert_eq!(body["data"], json!(["forewarn_asset_health", "vibration"]));
    for (query, word) in [
        ("a and b", "`and`"),
        ("absent(x)", "absent"),
        ("", "query: missing"),
    ] {
        let (status, body) = ask(&server, &key, "/api/v1/query", &[("query", query)]).await;
        assert_eq!(
            (status, &body["status"], &body["errorType"]),
            (400, &json!("error"), &json!("bad_data"))
        );
        assert!(body["error"].as_str().unwrap().contains(word), "{body}");
    }
    server.stop().await;
}

/// Long windows come from rollups: the same numbers as from the readings.
#[tokio::test]
async fn long_ranges_agree_with_short_ones() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let key = plant.key(&[Permission::AssetsRead]).await;
    // Never at a full hour, where the two kinds of windows differ.
    store(
        &server,
        &plant,
        (0..24 * 60).map(|i| (i * 60 + 30, (i % 97) as f64, 0)),
    )
    .await;
    for function in ["avg", "min", "max", "sum", "count", "last"] {
        let query = format!("{function}_over_time(vibration[1h])");
        let long = range(&server, &key, &query, 24 * 60).await;
        for hours in [1, 5, 23] {
            let (_, body) = ask(
                &server,
                &key,
                "/api/v1/query",
                &[("query", &query), ("time", &(START + hours * 3600).to_string())],
            )
            .await;
            let value: f64 = body["data"]["result"][0]["value"][1]
                .as_str()
                .unwrap()
                .parse()
                .unwrap();
            let same = long.iter().find(|(at, _)| *at == hours * 3600).unwrap();
            assert!((same.1 - value).abs() < 1e-9, "{query} {hours}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_key_sees_its_tenant_only_and_needs_the_right() {
    let server = Server::start().await;
    let (north, south) = (server.plant("north").await, server.plant("south").await);
    store(&server, &north, [(0, 1.0, 0)]).await;
    let key = south.key(&[Permission::AssetsRead]).await;
    let at = START.to_string();
    let ids = north.ids();
    for (path, form) in [
        (
            "/api/v1/query",
            vec![("query", "{__name__=~\".+\"}"), ("time", &at)],
        ),
        (
            "/api/v1/query_range",
            vec![
                ("query", "vibration"),
                ("start", &at),
                ("end", &at),
                ("step", "1"),
            ],
        ),
        ("/api/v1/series", vec![("match[]", "{__name__=~\".+\"}")]),
        ("/api/v1/labels", vec![]),
    ] {
        let (status, body) = ask(&server, &key, path, &form).await;
        assert_eq!(status, 200, "{path} {body}");
        assert!(
            ids.iter().all(|id| !body.to_string().contains(id)),
            "{path}: {body}"
        );
        let without = north.key(&[Permission::AlarmsRead]).await;
        assert_eq!(ask(&server, &without, path, &form).await.0, 403, "{path}");
        assert_eq!(ask(&server, "fwk_0000", path, &form).await.0, 401, "{path}");
    }
    for path in [
        "/api/v1/label/asset_id/values",
        "/api/v1/metadata",
        "/api/v1/status/buildinfo",
        "/api/v1/rules",
    ] {
        let body = server.get(path, &key).await.expect(200);
        assert!(
            ids.iter().all(|id| !body.to_string().contains(id)),
            "{path}: {body}"
        );
        assert_eq!(
            server.call(Method::GET, path, None, None).await.status,
            401,
            "{path}"
        );
    }
    let north_key = north.key(&[Permission::AssetsRead]).await;
    let (_, body) = ask(
        &server,
        &north_key,
        "/api/v1/query",
        &[("query", "vibration"), ("time", &at)],
    )
    .await;
    assert_eq!(body["data"]["result"].as_array().unwrap().len(), 1);
    server.stop().await;
}

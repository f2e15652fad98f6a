//! Whose history it is, and how long it is kept.

use models::tenant::MemberRole;
use serde_json::{Value, json};

use super::START;
use crate::harness::Server;

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

//! A dead letter is mended, tried again on request, and its gateway hears of it.

use models::db::dead_letter;
use models::dead_letter::Fix;
use models::id::DeadLetterId;
use serde_json::json;

use crate::harness::{Client, Service, start};

async fn letters(service: &Service) -> Vec<DeadLetterId> {
    sqlx::query_scalar("SELECT id FROM dead_letter ORDER BY id")
        .fetch_all(&service.database.owner)
        .await
        .unwrap()
}

async fn mend(service: &Service, id: DeadLetterId, fix: serde_json::Value) {
    let fix: Fix = serde_json::from_value(fix).unwrap();
    fix.check().unwrap();
    let mut transaction = service.database.owner.begin().await.unwrap();
    assert_eq!(
        dead_letter::set_fix(&mut transaction, &[id], &fix).await.unwrap(),
        [id]
    );
    assert_eq!(
        dead_letter::request_replay(&mut transaction, &[id])
            .await
            .unwrap(),
        [id]
    );
    transaction.commit().await.unwrap();
}

/// What the gateway hears of a letter; its refusal came before.
async fn hears(client: &mut Client, id: DeadLetterId, reason: &str) -> String {
    loop {
        let (topic, message) = client.message().await;
        assert_eq!(topic, "fw/v1/me/error");
        if message["dead_letter"] == json!(id) && message["reason"] == reason {
            return message["detail"].as_str().unwrap().to_owned();
        }
    }
}

#[tokio::test]
async fn a_letter_is_mended_and_replayed_on_request() {
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    let mut client = service.client("line-1").await;
    client.subscribe("fw/v1/me/error").await;
    client
        .deliver(
            "fw/v1/me/json/pump/temp",
            r#"{"ts":1767225600,"value":20,"unit":"Cel"}"#,
        )
        .await;
    client
        .deliver(
            "fw/v1/me/json/pump/temp",
            r#"{"ts":1767225601,"value":300,"unit":"bar"}"#,
        )
        .await;
    assert_eq!(service.ledger().await, [2, 1, 0, 0, 1, 2, 0]);
    let id = letters(&service).await[0];

    // A mending that doesn't mend: the letter stays, and says why.
    mend(&service, id, json!({ "units": { "*": "m" } })).await;
    let detail = hears(&mut client, id, "unit_mismatch").await;
    assert!(detail.contains("pump"), "{detail}");
    service
        .until(
            "SELECT count(*) FROM dead_letter WHERE replay_error LIKE 'unit_mismatch: %' AND replay_requested_at IS NULL",
            1,
        )
        .await;

    mend(&service, id, json!({ "units": { "pump/temp": "K" } })).await;
    assert_eq!(
        hears(&mut client, id, "replayed").await,
        "1 stored, 0 duplicate, 0 in conflict"
    );
    assert_eq!(service.ledger().await, [2, 2, 0, 0, 0, 2, 0]);
    let value: f64 = sqlx::query_scalar("SELECT value FROM reading ORDER BY ts DESC LIMIT 1")
        .fetch_one(&service.database.owner)
        .await
        .unwrap();
    assert!((value - 26.85).abs() < 1e-9, "{value}");
    service.stop().await;
}

#[tokio::test]
async fn a_wrong_name_and_a_wrong_clock_are_mended() {
    let service = start(|_| {}).await;
    let gateway = service.gateway("line-1").await;
    let mut client = service.client("line-1").await;
    client.subscribe("fw/v1/me/error").await;
    client
        .deliver("fw/v1/me/json/pump", r#"{"ts":1767225600,"temp":1}"#)
        .await;
    sqlx::query("UPDATE gateway SET max_channels = 1 WHERE id = $1")
        .bind(gateway)
        .execute(&service.database.owner)
        .await
        .unwrap();
    // The quota is part of what a connection knows of its gateway.
    let mut other = service.client("line-1").await;
    other
        .deliver("fw/v1/me/json/pump", r#"{"ts":1767225601,"tmp":2}"#)
        .await;
    other
        .deliver("fw/v1/me/json/pump", r#"{"ts":"2999-01-01T00:00:00Z","temp":3}"#)
        .await;
    let ids = letters(&service).await;
    assert_eq!(ids.len(), 2);
    let mut client = service.client("line-1").await;
    client.subscribe("fw/v1/me/error").await;
    mend(&service, ids[0], json!({ "names": { "pump/tmp": "pump/temp" } })).await;
    hears(&mut client, ids[0], "replayed").await;
    mend(&service, ids[1], json!({ "future_limit_s": 99_999_999_999_u64 })).await;
    hears(&mut client, ids[1], "replayed").await;
    assert_eq!(service.ledger().await, [3, 3, 0, 0, 0, 3, 0]);
    assert_eq!(service.number("SELECT count(*) FROM channel").await, 1);
    service.stop().await;
}

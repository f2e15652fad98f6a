//! The configuration that a gateway's agent is wanted to run: brought to it, and what it says of it.

use rumqttc::mqttbytes::v4;
use serde_json::{Value, json};

use crate::credentials::grant;
use crate::harness::{Client, Service, start};
use crate::restart::ack;

async fn want(service: &Service, slug: &str, config: &str) {
    let mut owner = service.database.owner.acquire().await.unwrap();
    let gateway = sqlx::query_scalar("SELECT id FROM gateway WHERE slug = $1")
        .bind(slug)
        .fetch_one(&mut *owner)
        .await
        .unwrap();
    let put = models::db::gateway_configuration::put(&mut owner, gateway, config, "test");
    assert!(put.await.unwrap());
}

/// What the gateway is told, acknowledged.
async fn told(client: &mut Client) -> Value {
    let message = client.down().await;
    assert_eq!(message.topic, "fw/v1/me/command");
    ack(client, message.pkid).await;
    serde_json::from_slice(&message.payload).unwrap()
}

async fn says(client: &mut Client, version: &Value, state: &str, reason: Option<&str>) {
    let config = json!({ "version": version, "state": state, "reason": reason, "at": null, "active": null });
    let state = json!({ "online": true, "at": null, "config": config });
    client.deliver("fw/v1/me/state", state.to_string()).await;
}

const SENT: &str = "SELECT count(*) FROM gateway_configuration WHERE sent_at IS NOT NULL";

#[tokio::test]
async fn a_configuration_is_brought_to_its_gateway_alone_and_followed() {
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    let board = service.gateway("board").await;
    grant(&service, board, &[], &["fw/v1/acme/#"]).await;
    want(&service, "line-1", "[batch]\nlevel = 1\n").await;
    let mut board = service.client("board").await;
    board.subscribe_as(&[("fw/v1/acme/+/command", 1)]).await;

    // A gateway that doesn't listen is not told; when it does, it is.
    let mut line = service.client("line-1").await;
    line.deliver("fw/v1/me/state", "{\"online\":true}").await;
    line.subscribe_as(&[("fw/v1/me/command", 1)]).await;
    let first = told(&mut line).await;
    assert_eq!(
        (&first["command"], &first["config"]),
        (&json!("configure"), &json!("[batch]\nlevel = 1\n"))
    );
    service.until(SENT, 1).await;
    says(&mut line, &first["version"], "trial", None).await;
    service
        .until(
            "SELECT count(*) FROM gateway_configuration WHERE state = 'trial'",
            1,
        )
        .await;
    says(
        &mut line,
        &first["version"],
        "rolled_back",
        Some("the link didn't return"),
    )
    .await;
    service
        .until(
            "SELECT count(*) FROM gateway_configuration WHERE state = 'rolled_back' AND reason LIKE 'the link%'",
            1,
        )
        .await;

    // Another one, lost with the connection it was on its way to: told again to the next one.
    want(&service, "line-1", "[batch]\nlevel = 2\n").await;
    let second = line.down().await;
    drop(line);
    let mut line = service.client("line-1").await;
    line.subscribe_as(&[("fw/v1/me/command", 1)]).await;
    says(&mut line, &first["version"], "rolled_back", None).await;
    let again = told(&mut line).await;
    assert_eq!(again, serde_json::from_slice::<Value>(&second.payload).unwrap());
    // What it says of the older one counts no more.
    service
        .until(
            "SELECT count(*) FROM gateway_configuration WHERE state = 'pending'",
            1,
        )
        .await;
    says(&mut line, &again["version"], "active", None).await;
    service
        .until(
            "SELECT count(*) FROM gateway_configuration WHERE state = 'active'",
            1,
        )
        .await;
    line.send(v4::Packet::PingReq).await;
    assert_eq!(line.next().await, Some(v4::Packet::PingResp), "nothing else");
    board.nothing().await;
    service.stop().await;
}

//! What leaves: signed webhooks, messages to people; and what comes from other systems' alerts.

use std::sync::Arc;
use std::time::Instant;

use api::outbound::{Outbound, Sender, signature};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use models::db::Role;
use models::time::Timestamp;
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{PATIENCE, Server};

mod messages;
mod secrets;

/// What a receiver heard, and what it answers.
#[derive(Clone)]
struct Receiver {
    url: String,
    heard: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    answer: Arc<Mutex<u16>>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            url: format!("http://{}/hook", listener.local_addr().unwrap()),
            heard: Arc::default(),
            answer: Arc::new(Mutex::new(200)),
        };
        let router = axum::Router::new()
            .route("/hook", axum::routing::post(Self::take))
            .with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    async fn take(State(receiver): State<Self>, headers: HeaderMap, body: Bytes) -> StatusCode {
        receiver.heard.lock().push((headers, body));
        StatusCode::from_u16(*receiver.answer.lock()).unwrap()
    }

    fn count(&self) -> usize {
        self.heard.lock().len()
    }

    fn header(&self, index: usize, name: &str) -> String {
        self.heard.lock()[index].0[name].to_str().unwrap().to_owned()
    }

    fn body(&self, index: usize) -> Value {
        serde_json::from_slice(&self.heard.lock()[index].1).unwrap()
    }
}

fn sender(server: &Server, change: impl FnOnce(&mut Outbound)) -> Sender {
    let mut config = Outbound {
        allow_networks: vec!["127.0.0.0/8".into()],
        timeout_s: 5,
        ..Outbound::default()
    };
    change(&mut config);
    Sender::new(&config, server.database.pool(Role::Api)).unwrap()
}

/// Passes at `now` until the condition holds: an event is shown when no older transaction is open.
async fn until(sender: &Sender, now: Timestamp, what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        sender.pass(now).await.unwrap();
    }
}

async fn ticket(server: &Server, token: &str, asset: &str, title: &str, priority: &str) -> Value {
    let body = json!({ "asset_id": asset, "title": title, "priority": priority });
    server.post("/v1/tickets", token, body).await.expect(201)
}

#[tokio::test]
async fn an_event_is_delivered_signed_once_and_again_when_asked() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let receiver = Receiver::start().await;
    let sender = sender(&server, |_| ());
    let asset = plant.asset.to_string();
    let body = json!({ "name": "test", "url": receiver.url, "kinds": ["ticket.*", "webhook.*"] });
    let made = server.post("/v1/webhooks", &token, body).await.expect(201);
    let secret = made["secret"].as_str().unwrap().to_owned();
    let path = format!("/v1/webhooks/{}", made["webhook"]["id"].as_str().unwrap());
    let shown = server.get(&path, &token).await.expect(200);
    assert!(!shown.to_string().contains("whsec_"), "the secret is shown once");

    let begun = Timestamp::now();
    let made = ticket(&server, &token, &asset, "Oil", "low").await;
    until(&sender, begun, "the delivery", || receiver.count() == 1).await;
    let said = receiver.body(0);
    assert_eq!(
        (&said["type"], &said["data"]["subject"]),
        (&json!("ticket.created"), &made["id"])
    );
    let id = receiver.header(0, "webhook-id");
    let at = Timestamp::from_secs(receiver.header(0, "webhook-timestamp").parse().unwrap());
    let expected = signature(&secret, None, &id, at, &receiver.heard.lock()[0].1.clone()).unwrap();
    assert_eq!(receiver.header(0, "webhook-signature"), expected);
    sender.pass(begun).await.unwrap();
    assert_eq!(receiver.count(), 1, "once");

    // A receiver that fails is called again later, under the same id, and the log knows.
    *receiver.answer.lock() = 500;
    ticket(&server, &token, &asset, "Water", "low").await;
    until(&sender, begun, "the failed call", || receiver.count() == 2).await;
    sender.pass(begun).await.unwrap();
    assert_eq!(receiver.count(), 2, "not before its time");
    let log = format!("{path}/deliveries?status=pending");
    let pending = server.get(&log, &token).await.expect(200);
    assert_eq!(
        (
            &pending["data"][0]["last_status"],
            &pending["data"][0]["attempts"]
        ),
        (&json!(500), &json!(1))
    );
    *receiver.answer.lock() = 204;
    sender.pass(begun.plus_seconds(10.0)).await.unwrap();
    assert_eq!(receiver.count(), 3);
    assert_eq!(receiver.header(1, "webhook-id"), receiver.header(2, "webhook-id"));
    assert_eq!(server.get(&log, &token).await.expect(200)["data"], json!([]));

    // A new secret: both sign for a while. A replay keeps the id.
    let rotated = server
        .post(&format!("{path}/rotate"), &token, json!({}))
        .await
        .expect(200);
    assert_ne!(rotated["secret"], json!(secret));
    server
        .post(&format!("{path}/replay"), &token, json!({}))
        .await
        .refused(422, "invalid-body");
    let replayed = server
        .post(&format!("{path}/replay"), &token, json!({ "delivery_id": id }))
        .await
        .expect(200);
    assert_eq!(replayed["deliveries"], 1);
    until(&sender, Timestamp::now(), "the replay", || receiver.count() == 4).await;
    assert_eq!(receiver.header(3, "webhook-id"), id);
    assert_eq!(receiver.header(3, "webhook-signature").split(' ').count(), 2);

    // Gone is gone.
    *receiver.answer.lock() = 410;
    server
        .post(&format!("{path}/test"), &token, json!({}))
        .await
        .expect(204);
    until(&sender, Timestamp::now(), "the last call", || {
        receiver.count() == 5
    })
    .await;
    let shown = server.get(&path, &token).await.expect(200);
    assert_eq!(
        (&shown["enabled"], &shown["disabled_reason"]),
        (&json!(false), &json!("it answered 410 Gone"))
    );
    ticket(&server, &token, &asset, "Steam", "low").await;
    sender.pass(Timestamp::now()).await.unwrap();
    assert_eq!(receiver.count(), 5, "an endpoint that is off is left alone");
    // Old rows go; the fixture's own is kept by its cursor or is old enough.
    let gone = sender
        .prune(Timestamp::now().plus_seconds(15.0 * 86_400.0))
        .await
        .unwrap();
    assert!(gone > 0);
    server.stop().await;
}

#[tokio::test]
async fn nobody_is_called_in_the_servers_own_network() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    let receiver = Receiver::start().await;
    let sender = sender(&server, |config| config.allow_networks.clear());
    let name = receiver.url.replace("127.0.0.1", "localhost");
    let body = json!({ "name": "inside", "url": name, "kinds": ["*"], "cloud_events": true });
    let made = server.post("/v1/webhooks", &token, body).await.expect(201);
    let path = format!("/v1/webhooks/{}", made["webhook"]["id"].as_str().unwrap());
    ticket(&server, &token, &plant.asset.to_string(), "Oil", "low").await;
    let begun = Instant::now();
    let log = loop {
        sender.pass(Timestamp::now()).await.unwrap();
        let log = server
            .get(&format!("{path}/deliveries"), &token)
            .await
            .expect(200);
        if log["data"][0]["attempts"].as_i64() >= Some(1) {
            break log;
        }
        assert!(begun.elapsed() < PATIENCE, "no attempt is logged");
    };
    let error = log["data"][0]["last_error"].as_str().unwrap();
    assert!(error.contains("not in the public network"), "{error}");
    assert_eq!(log["data"][0]["payload"]["specversion"], "1.0");
    assert_eq!(receiver.count(), 0);
    for (pointer, body) in [
        (
            "/url",
            json!({ "name": "x", "url": "ftp://example.com/", "kinds": ["*"] }),
        ),
        (
            "/url",
            json!({ "name": "x", "url": "https://me:secret@example.com/", "kinds": ["*"] }),
        ),
        (
            "/kinds/0",
            json!({ "name": "x", "url": "https://example.com/", "kinds": ["ticket"] }),
        ),
        (
            "/kinds",
            json!({ "name": "x", "url": "https://example.com/", "kinds": [] }),
        ),
    ] {
        let problem = server
            .post("/v1/webhooks", &token, body)
            .await
            .refused(422, "invalid-body");
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
    let off = json!({ "enabled": false });
    server
        .call(Method::PATCH, &path, Some(&token), Some(&off))
        .await
        .refused(428, "version-required");
    let headers = [("if-match", "\"v9\"")];
    server
        .send(Method::PATCH, &path, Some(&token), Some(&off), &headers)
        .await
        .refused(412, "stale-version");
    let headers = [("if-match", "\"v1\"")];
    let shown = server
        .send(Method::PATCH, &path, Some(&token), Some(&off), &headers)
        .await
        .expect(200);
    assert_eq!(shown["enabled"], false);
    server
        .call(Method::DELETE, &path, Some(&token), None)
        .await
        .expect(204);
    server.stop().await;
}

#[tokio::test]
async fn alerts_of_another_system_open_one_case_and_one_ticket() {
    let server = Server::start().await;
    let plant = server.plant("north").await;
    let token = server.sign_in(&plant.email("admin")).await;
    // The plant's own case would take the alert in.
    sqlx::query("UPDATE case_file SET closed_at = now()")
        .execute(&server.database.owner)
        .await
        .unwrap();
    let alert = |name: &str, fingerprint: &str, severity: &str, status: &str| {
        json!({ "status": status, "labels": { "alertname": name, "asset": "P-101", "severity": severity },
            "annotations": { "summary": "it has tripped twice" }, "startsAt": "2026-01-31T12:00:00.5Z",
            "endsAt": if status == "firing" { "0001-01-01T00:00:00Z" } else { "2026-01-31T13:00:00Z" },
            "generatorURL": "http://prometheus/graph", "fingerprint": fingerprint })
    };
    let send = async |alerts: Value| {
        let body = json!({ "version": "4", "groupKey": "{}", "status": "firing", "receiver": "forewarn", "alerts": alerts });
        server.post("/v1/alerts/alertmanager", &token, body).await
    };
    let first = send(json!([alert("Trips", "a1", "critical", "firing")]))
        .await
        .expect(200);
    let taken = &first["taken"][0];
    assert_eq!(taken["new"], true);
    let ticket = format!("/v1/tickets/{}", taken["ticket_id"].as_str().unwrap());
    assert_eq!(
        server.get(&ticket, &token).await.expect(200)["decision"]["outcome"],
        "created"
    );
    let again = send(json!([alert("Trips", "a1", "critical", "firing")]))
        .await
        .expect(200);
    assert_eq!(
        (&again["taken"][0]["new"], &again["taken"][0]["ticket_id"]),
        (&json!(false), &taken["ticket_id"])
    );
    // Another alert of the same asset joins case and ticket; a small one makes none of its own.
    let other = send(json!([alert("Hot", "b2", "warning", "firing")]))
        .await
        .expect(200);
    assert_eq!(other["taken"][0]["case_id"], taken["case_id"]);
    assert_eq!(other["taken"][0]["ticket_id"], taken["ticket_id"]);
    send(json!([alert("Trips", "a1", "critical", "resolved")]))
        .await
        .expect(200);
    let shown = server.get(&ticket, &token).await.expect(200);
    let evidence = shown["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["kind"] == "evidence")
        .count();
    assert_eq!(evidence, 2, "{shown:#}");
    // One that is over before it was heard of is history.
    let over = send(json!([alert("Old", "c3", "critical", "resolved")]))
        .await
        .expect(200);
    assert_eq!(
        (&over["taken"][0]["new"], &over["taken"][0]["case_id"]),
        (&json!(true), &Value::Null)
    );

    let mut nowhere = alert("Trips", "d4", "critical", "firing");
    nowhere["labels"]["asset"] = json!("P-999");
    let problem = send(json!([nowhere.clone()])).await.refused(422, "invalid-body");
    assert_eq!(problem["errors"][0]["pointer"], "/alerts/0/labels/asset");
    let mixed = send(json!([nowhere, alert("New", "e5", "info", "firing")]))
        .await
        .expect(200);
    assert_eq!(
        (&mixed["taken"][0], mixed["rejected"].as_array().unwrap().len()),
        (&Value::Null, 1)
    );
    let body = json!({ "version": "3", "alerts": [] });
    server
        .post("/v1/alerts/alertmanager", &token, body)
        .await
        .refused(422, "invalid-body");
    server.stop().await;
}

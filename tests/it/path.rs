//! The main job on the shortest way: a plain MQTT client's readings become an alarm, a case and one
//! ticket, seen through the API.

use std::time::Duration;

use models::time::Timestamp;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use serde_json::{Value, json};

use crate::plant::{EMAIL, GATEWAY, PASSWORD, Plant, TENANT};
use crate::stack::{PATIENCE, Stack, until};

pub struct Api {
    base: String,
    token: String,
    http: reqwest::Client,
}

impl Api {
    pub async fn sign_in(stack: &Stack) -> Self {
        let http = reqwest::Client::new();
        let answer: Value = http
            .post(format!("{}/v1/sign-in", stack.http))
            .json(&json!({ "email": EMAIL, "password": PASSWORD, "tenant": TENANT }))
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap()
            .json()
            .await
            .unwrap();
        Self {
            base: stack.http.clone(),
            token: answer["token"].as_str().unwrap().to_owned(),
            http,
        }
    }

    pub async fn get(&self, path: &str) -> Value {
        self.call("GET", path, None).await
    }

    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let mut request = self
            .http
            .request(method.parse().unwrap(), format!("{}{path}", self.base))
            .bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        assert!(
            answer.status().is_success(),
            "{method} {path}: {} {}",
            answer.status(),
            answer.text().await.unwrap()
        );
        answer.json().await.unwrap()
    }

    /// Changes what is there now, whatever its version.
    pub async fn patch(&self, path: &str, body: Value) {
        let url = format!("{}{path}", self.base);
        let shown = self.http.get(&url).bearer_auth(&self.token).send().await.unwrap();
        let version = shown.headers()["etag"].clone();
        let request = self.http.patch(&url).bearer_auth(&self.token).json(&body);
        let answer = request.header("if-match", version).send().await.unwrap();
        assert!(
            answer.status().is_success(),
            "PATCH {path}: {}",
            answer.text().await.unwrap()
        );
    }

    /// The list's rows, when there are any.
    pub async fn rows(&self, path: &str) -> Option<Vec<Value>> {
        let answer = self.get(path).await;
        let rows = answer["data"].as_array().unwrap().clone();
        (!rows.is_empty()).then_some(rows)
    }
}

pub fn client(stack: &Stack, plant: &Plant) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new("test", stack.mqtt.ip().to_string(), stack.mqtt.port());
    options.set_credentials(format!("{TENANT}/{GATEWAY}"), plant.secret.reveal());
    options.set_keep_alive(Duration::from_secs(10));
    AsyncClient::new(options, 10)
}

/// Publishes and waits for the PUBACKs of all messages.
pub async fn publish(client: &AsyncClient, events: &mut EventLoop, topic: &str, payloads: &[Value]) {
    for payload in payloads {
        client
            .publish(topic, QoS::AtLeastOnce, false, payload.to_string())
            .await
            .unwrap();
    }
    let mut acknowledged = 0;
    while acknowledged < payloads.len() {
        let event = tokio::time::timeout(PATIENCE, events.poll())
            .await
            .unwrap()
            .unwrap();
        acknowledged += usize::from(matches!(event, Event::Incoming(Packet::PubAck(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_becomes_an_alarm_a_case_and_one_ticket() {
    let stack = Stack::start("").await;
    let plant = Plant::register(&stack.database).await;
    let (mqtt, mut events) = client(&stack, &plant);

    let now = Timestamp::now();
    let hot: Vec<_> =
        (0..5).map(|i| json!({ "ts": now.plus_seconds(f64::from(i) - 5.0).to_string(), "values": { "temperature": 95.0 + f64::from(i) } })).collect();
    publish(&mqtt, &mut events, "fw/v1/me/json/pump-1", &hot).await;

    // The PUBACK means committed, so the API must have it now, without waiting.
    let api = Api::sign_in(&stack).await;
    let from = now.plus_seconds(-60.0);
    let history = api
        .get(&format!(
            "/v1/channels/{}/readings?from={from}",
            plant.temperature
        ))
        .await;
    let values: Vec<f64> = history["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["value"].as_f64().unwrap())
        .collect();
    assert_eq!(values, [95.0, 96.0, 97.0, 98.0, 99.0]);

    let alarms = until("the limit alarm", || api.rows("/v1/alarms?state=active")).await;
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert_eq!(alarms[0]["rule"]["name"], "Too hot");
    let tickets = until("a ticket", || api.rows("/v1/tickets")).await;
    assert_eq!(tickets.len(), 1, "{tickets:?}");
    assert_eq!(tickets[0]["asset"]["id"], plant.asset.to_string());
    let cases = api.rows("/v1/cases").await.unwrap();
    assert_eq!(cases.len(), 1);
    let case = api
        .get(&format!("/v1/cases/{}", cases[0]["id"].as_str().unwrap()))
        .await;
    let decisions = case["decisions"].as_array().unwrap();
    assert!(
        decisions.iter().any(|decision| decision["outcome"] == "created"),
        "{decisions:?}"
    );

    // The same readings again: duplicates in the ledger, no second alarm, no second ticket.
    publish(&mqtt, &mut events, "fw/v1/me/json/pump-1", &hot).await;
    let ledger = api.rows("/v1/ledger").await.unwrap();
    assert_eq!(
        (&ledger[0]["stored"], &ledger[0]["duplicate"]),
        (&json!(5), &json!(5)),
        "{ledger:?}"
    );
    assert_eq!(api.rows("/v1/tickets").await.unwrap().len(), 1);

    // What can't be stored is kept with its reason.
    publish(
        &mqtt,
        &mut events,
        "fw/v1/me/json/pump-1",
        &[json!({ "temperature": "hot" })],
    )
    .await;
    let dead = until("the dead letter", || api.rows("/v1/dead-letters")).await;
    assert!(
        dead[0]["detail"].as_str().unwrap().contains("temperature"),
        "{dead:?}"
    );
    mqtt.disconnect().await.unwrap();
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asset_is_assessed_by_itself() {
    let stack = Stack::start("").await;
    let plant = Plant::register(&stack.database).await;
    let (mqtt, mut events) = client(&stack, &plant);
    let now = Timestamp::now();
    let history: Vec<Value> = (0..600)
        .map(|i| {
            let value = 60.0 + f64::from(i % 7);
            json!({ "ts": now.plus_seconds(-600.0 * f64::from(600 - i)).to_string(), "values": { "temperature": value } })
        })
        .collect();
    for part in history.chunks(50) {
        publish(
            &mqtt,
            &mut events,
            "fw/v1/me/json/pump-1",
            &[Value::Array(part.to_vec())],
        )
        .await;
    }
    let api = Api::sign_in(&stack).await;
    let path = format!("/v1/assets/{}/assessments", plant.asset);
    let rows = until("an assessment", || api.rows(&path)).await;
    let health = rows[0]["health"].as_f64().unwrap();
    let penalties: f64 = rows[0]["factors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|factor| factor["penalty"].as_f64().unwrap())
        .sum();
    assert!(
        (100.0 - health - penalties).abs() < 1e-6,
        "health {health} and penalties {penalties}"
    );
    mqtt.disconnect().await.unwrap();
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asset_out_of_service_has_alarms_and_no_ticket_until_it_is_back() {
    let stack = Stack::start("").await;
    let plant = Plant::register(&stack.database).await;
    let api = Api::sign_in(&stack).await;
    let path = format!("/v1/assets/{}", plant.asset);
    api.patch(&path, json!({ "status": "in_storage" })).await;
    let (mqtt, mut events) = client(&stack, &plant);
    let now = Timestamp::now();
    let hot: Vec<_> = (0..5)
        .map(|i| json!({ "ts": now.plus_seconds(f64::from(i) - 5.0).to_string(), "values": { "temperature": 95.0 } }))
        .collect();
    publish(&mqtt, &mut events, "fw/v1/me/json/pump-1", &hot).await;
    let decisions = format!("/v1/decisions?asset_id={}", plant.asset);
    let made = until("a decision", || api.rows(&decisions)).await;
    assert_eq!(made[0]["outcome"], "asset_not_in_service", "{made:?}");
    let reason = made[0]["reason"].as_str().unwrap();
    assert!(reason.contains("is in storage"), "{reason}");
    let silent = until("the suppression", || async {
        let rows = api.rows("/v1/alarms?state=active").await?;
        (rows[0]["suppression"] == "out_of_service").then_some(rows)
    })
    .await;
    assert_eq!(silent.len(), 1);
    let why = silent[0]["suppression_reason"].as_str().unwrap();
    assert!(why.ends_with("is in storage"), "{why}");
    assert_eq!(api.rows("/v1/tickets").await, None);
    // The alarm is still raised when the asset is in service again: now it is somebody's work, once.
    api.patch(&path, json!({ "status": "operational" })).await;
    let tickets = until("a ticket", || api.rows("/v1/tickets")).await;
    assert_eq!(tickets.len(), 1, "{tickets:?}");
    assert_eq!(
        api.rows("/v1/alarms?state=active").await.unwrap()[0]["suppression"],
        "none"
    );
    mqtt.disconnect().await.unwrap();
    stack.stop().await;
}

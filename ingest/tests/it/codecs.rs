//! Other systems' gateways through the front door into the database.

use ingest::sparkplug::proto::{Metric, Payload, Value, datatype};
use prost::Message;
use rumqttc::mqttbytes::v4;
use serde_json::json;

use crate::harness::{Client, Service, T0, start};

const AT: u64 = 1_767_225_600_000;

fn metric(name: Option<&str>, alias: u64, value: f64) -> Metric {
    Metric {
        name: name.map(Into::into),
        alias: Some(alias),
        timestamp: Some(AT),
        datatype: Some(10),
        value: Some(Value::Double(value)),
        ..Metric::default()
    }
}

fn birth(bd_seq: u64, metrics: Vec<Metric>) -> Vec<u8> {
    let mut metrics = metrics;
    metrics.push(Metric {
        name: Some("bdSeq".into()),
        value: Some(Value::Long(bd_seq)),
        ..Metric::default()
    });
    sparkplug(Some(0), metrics)
}

fn sparkplug(seq: Option<u64>, metrics: Vec<Metric>) -> Vec<u8> {
    Payload {
        timestamp: Some(AT),
        seq,
        metrics,
        ..Payload::default()
    }
    .encode_to_vec()
}

/// device, channel, value, milliseconds behind T0, by time and name.
async fn stored(service: &Service) -> Vec<(String, String, f64, i64)> {
    sqlx::query_as(
        "SELECT d.name, c.name, r.value, ((extract(epoch FROM r.ts) * 1000000)::int8 - $1) / 1000
         FROM reading r JOIN channel c ON c.id = r.channel_id JOIN device d ON d.id = c.device_id ORDER BY 4, 1, 2",
    )
    .bind(T0)
    .fetch_all(&service.database.owner)
    .await
    .unwrap()
}

fn row(device: &str, channel: &str, value: f64, ms: i64) -> (String, String, f64, i64) {
    (device.into(), channel.into(), value, ms)
}

#[tokio::test]
async fn each_system_on_its_own_topics() {
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    let mut client = service.client("line-1").await;
    client
        .deliver(
            "v1/devices/me/telemetry",
            r#"{"ts":1767225600001,"values":{"a":1}}"#,
        )
        .await;
    client
        .deliver(
            "v1/gateway/telemetry",
            r#"{"Pump":[{"ts":1767225600002,"values":{"a":2}}]}"#,
        )
        .await;
    client
        .deliver("telegraf/press/cpu", "cpu,host=press load=3 1767225600003000000")
        .await;
    client
        .deliver("fw/v1/me/influx/mill", "m load=4i 1767225600004000000\nm load= 1")
        .await;
    client
        .deliver(
            "fw/v1/me/senml",
            r#"[{"bn":"urn:x/","bt":1767225600.005,"n":"t","u":"Cel","v":5}]"#,
        )
        .await;
    let expect = [
        row("line-1", "a", 1.0, 1),
        row("Pump", "a", 2.0, 2),
        row("press", "cpu.load", 3.0, 3),
        row("mill", "m.load", 4.0, 4),
        row("urn:x", "t", 5.0, 5),
    ];
    assert_eq!(stored(&service).await, expect);
    let letters = service.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].0.as_str(), letters[0].1.as_str()),
        (
            "malformed_line",
            "line 2, column 8: field `load`: expected a number, 1i, 1u, true, false or \"text\", got ``"
        )
    );
    client
        .deliver("v1/gateway/disconnect", r#"{"device":"Pump"}"#)
        .await;
    assert_eq!(
        service
            .number("SELECT count(*) FROM device WHERE stale_since IS NOT NULL AND name = 'Pump'")
            .await,
        1
    );
    client.deliver("v1/gateway/connect", r#"{"device":"Pump"}"#).await;
    assert_eq!(
        service
            .number("SELECT count(*) FROM device WHERE stale_since IS NOT NULL")
            .await,
        0
    );
    service.stop().await;
}

async fn next_publish(client: &mut Client) -> v4::Publish {
    loop {
        match client.next().await {
            Some(v4::Packet::Publish(publish)) => return publish,
            Some(_) => {}
            None => panic!("closed"),
        }
    }
}

#[tokio::test]
async fn a_sparkplug_node_lives_and_dies() {
    let service = start(|config| config.sparkplug.reorder_timeout_ms = 200).await;
    service.gateway("line-1").await;
    let mut client = Client::open(service.address).await;
    let mut connect = v4::Connect::new("node");
    connect.keep_alive = 600;
    connect.set_login("acme/line-1", "line-1");
    let bd = Metric {
        name: Some("bdSeq".into()),
        value: Some(Value::Long(7)),
        ..Metric::default()
    };
    connect.last_will = Some(v4::LastWill::new(
        "spBv1.0/plant/NDEATH/press",
        sparkplug(None, vec![bd]),
        rumqttc::QoS::AtLeastOnce,
        false,
    ));
    assert_eq!(client.connect_with(connect).await, 0);
    client.subscribe("spBv1.0/STATE/forewarn").await;
    let state = next_publish(&mut client).await;
    assert!(state.retain);
    let state: serde_json::Value = serde_json::from_slice(&state.payload).unwrap();
    assert_eq!(state["online"], json!(true));
    client.subscribe("spBv1.0/plant/NCMD/press/#").await;

    client
        .deliver(
            "spBv1.0/plant/NBIRTH/press",
            birth(7, vec![metric(Some("load"), 1, 0.5)]),
        )
        .await;
    client
        .deliver(
            "spBv1.0/plant/DBIRTH/press/gauge",
            sparkplug(Some(1), vec![metric(Some("temp"), 2, 20.0)]),
        )
        .await;
    let mut by_alias = metric(None, 2, 21.0);
    by_alias.timestamp = Some(AT + 1);
    client
        .deliver(
            "spBv1.0/plant/DDATA/press/gauge",
            sparkplug(Some(2), vec![by_alias.clone()]),
        )
        .await;
    assert_eq!(
        stored(&service).await,
        [
            row("plant/press", "load", 0.5, 0),
            row("plant/press/gauge", "temp", 20.0, 0),
            row("plant/press/gauge", "temp", 21.0, 1),
        ]
    );

    // Number 3 never comes, and an alias that no birth has named waits for it in vain.
    let unknown = sparkplug(Some(4), vec![metric(None, 99, 1.0)]);
    client
        .publish("spBv1.0/plant/DDATA/press/gauge", 1, unknown)
        .await;
    let command = next_publish(&mut client).await;
    assert_eq!(command.topic, "spBv1.0/plant/NCMD/press");
    let asked = Payload::decode(command.payload).unwrap();
    assert_eq!(asked.metrics[0].name.as_deref(), Some("Node Control/Rebirth"));
    assert_eq!(asked.metrics[0].value, Some(Value::Boolean(true)));
    assert_eq!(asked.metrics[0].datatype, Some(datatype::BOOLEAN));
    service.until("SELECT count(*) FROM dead_letter", 1).await;
    let letters = service.dead_letters().await;
    assert_eq!(
        (letters[0].0.as_str(), letters[0].1.as_str()),
        (
            "unknown_alias",
            "metrics[0].alias: 99 is in no birth of `plant/press/gauge`"
        )
    );

    drop(client);
    service
        .until("SELECT count(*) FROM device WHERE stale_since IS NOT NULL", 2)
        .await;
    assert_eq!(
        service
            .number("SELECT count(*) FROM discrete_event WHERE code = 'device_offline'")
            .await,
        2
    );
    service.stop().await;
}

#[tokio::test]
async fn a_mapping_is_seen_without_a_reconnect_and_names_what_it_misses() {
    let service = start(|_| {}).await;
    let gateway = service.gateway("line-1").await;
    let mut client = service.client("line-1").await;
    client
        .deliver("fw/v1/me/data/press", r#"{"t":1767225600007,"m":{"temp":21}}"#)
        .await;
    assert_eq!(service.dead_letters().await[0].0, "unknown_topic");
    let mapping = json!({"routes": [{
        "topic": "fw/v1/me/data/+", "codec": "json", "device": "{1}", "time": {"pointer": "/t", "format": "unix_ms"},
        "values": [{"pointer": "/m/temp", "channel": "temperature", "unit": "Cel", "required": true}],
    }]});
    sqlx::query("INSERT INTO gateway_mapping (gateway_id, tenant_id, mapping, updated_by) VALUES ($1, $2, $3, 'test')")
        .bind(gateway)
        .bind(service.tenant)
        .bind(&mapping)
        .execute(&service.database.owner)
        .await
        .unwrap();
    // Until the mapping is seen the topic means nothing; each attempt leaves a letter.
    let waited = std::time::Instant::now();
    while service.number("SELECT count(*) FROM reading").await == 0 {
        assert!(waited.elapsed() < crate::harness::WAIT);
        client
            .deliver("fw/v1/me/data/press", r#"{"t":1767225600007,"m":{"temp":21}}"#)
            .await;
    }
    assert_eq!(stored(&service).await, [row("press", "temperature", 21.0, 7)]);
    assert_eq!(
        service
            .number("SELECT count(*) FROM channel WHERE unit = 'Cel'")
            .await,
        1
    );
    sqlx::query("DELETE FROM dead_letter")
        .execute(&service.database.owner)
        .await
        .unwrap();
    client
        .deliver("fw/v1/me/data/press", r#"{"t":1767225600007}"#)
        .await;
    assert_eq!(
        service.dead_letters().await[0].1,
        "/m/temp: the payload has nothing there, and it is required"
    );
    service.stop().await;
}

#[tokio::test]
async fn what_was_converted_is_kept_as_it_was_sent() {
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    let mut client = service.client("line-1").await;
    let topic = "fw/v1/me/json/pump/temp";
    client
        .deliver(topic, r#"{"value":20,"unit":"Cel","ts":1767225600}"#)
        .await;
    client
        .deliver(topic, r#"{"value":70.7,"unit":"[degF]","ts":1767225601}"#)
        .await;
    // A second value for a moment that is taken leaves what was sent first.
    client
        .deliver(topic, r#"{"value":99,"unit":"[degF]","ts":1767225601}"#)
        .await;
    client
        .deliver(topic, r#"{"value":99,"unit":"[degF]","ts":1767225600}"#)
        .await;
    client
        .deliver(topic, r#"{"value":1,"unit":"kPa","ts":1767225602}"#)
        .await;
    let sent: Vec<(f64, String)> = sqlx::query_as("SELECT value, unit FROM reading_sent")
        .fetch_all(&service.database.owner)
        .await
        .unwrap();
    assert_eq!(sent, [(70.7, "[degF]".into())]);
    let values: Vec<f64> = stored(&service).await.into_iter().map(|row| row.2).collect();
    assert!((values[1] - 21.5).abs() < 1e-9 && values.len() == 2, "{values:?}");
    let letter = &service.dead_letters().await[0];
    assert_eq!(
        (letter.0.as_str(), letter.1.as_str()),
        (
            "unit_mismatch",
            "`pump`/`temp`: can't convert `kPa` to `Cel`: they measure different things"
        )
    );
    service.stop().await;
}

#[tokio::test]
async fn new_names_are_registered_unassigned_up_to_the_quota() {
    let service = start(|_| {}).await;
    let gateway = service.gateway("line-1").await;
    sqlx::query("UPDATE gateway SET max_channels = 2 WHERE id = $1")
        .bind(gateway)
        .execute(&service.database.owner)
        .await
        .unwrap();
    let mut client = service.client("line-1").await;
    client
        .deliver(
            "v1/gateway/telemetry",
            r#"{"A":[{"ts":1767225600000,"values":{"a":1,"b":2,"c":3}}]}"#,
        )
        .await;
    assert_eq!(
        service
            .number("SELECT count(*) FROM channel WHERE asset_id IS NULL")
            .await,
        2
    );
    let letter = &service.dead_letters().await[0];
    assert_eq!(
        (letter.0.as_str(), letter.1.as_str()),
        (
            "quota_exceeded",
            "`A`/`c` is not registered and the gateway has all the channels it may have"
        )
    );
    service.stop().await;
}

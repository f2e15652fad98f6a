//! Clients that are not ours, against our front door: scripts in `tests/clients` with packages from
//! PyPI and npm.
//!
//! Without Python, Node or a registry that answers, a test says what was left out and passes
//! (`models::servers`).

use std::path::{Path, PathBuf};
use std::process::Command;

use models::servers;

use crate::harness::{Service, T0, start};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/clients")
        .join(name)
}

fn python(packages: &[&str]) -> Option<Command> {
    servers::python(env!("CARGO_TARGET_TMPDIR"), packages)
}

fn node(packages: &[&str]) -> Option<Command> {
    servers::node(env!("CARGO_TARGET_TMPDIR"), packages)
}

/// Runs a client to its end, off the runtime's threads.
async fn speak(mut command: Command, service: &Service, script: PathBuf) {
    let address = service.address;
    command
        .arg(script)
        .args([address.ip().to_string(), address.port().to_string()])
        .args(["acme/line-1", "line-1"]);
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// device, channel, values in order of time; those that the scripts gave a time of their own.
async fn stored(service: &Service) -> Vec<(String, String, Vec<f64>)> {
    sqlx::query_as(
        "SELECT d.name, c.name, array_agg(r.value ORDER BY r.ts)
         FROM reading r JOIN channel c ON c.id = r.channel_id JOIN device d ON d.id = c.device_id
         WHERE r.ts < to_timestamp($1) GROUP BY d.name, c.name ORDER BY 1, 2",
    )
    .bind(T0 as f64 / 1e6 + 60.0)
    .fetch_all(&service.database.owner)
    .await
    .unwrap()
}

fn row(device: &str, channel: &str, values: &[f64]) -> (String, String, Vec<f64>) {
    (device.into(), channel.into(), values.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn thingsboards_own_client() {
    let Some(python) = python(&["tb-mqtt-client==1.13.14"]) else {
        return;
    };
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    speak(python, &service, script("thingsboard_gateway.py")).await;
    service
        .until(
            "SELECT count(*) FROM device WHERE stale_since IS NOT NULL AND name = 'Pump A'",
            1,
        )
        .await;
    assert_eq!(
        stored(&service).await,
        [
            row("Pump A", "running", &[1.0; 5]),
            row("Pump A", "temperature", &[40., 41., 42., 43., 44.]),
            row("line-1", "load", &[7.0]),
        ]
    );
    assert_eq!(
        service
            .number(
                "SELECT count(*) FROM discrete_event WHERE code = 'attribute.firmware' AND message = '1.2.3'"
            )
            .await,
        1
    );
    assert_eq!(service.dead_letters().await, []);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn influxdbs_own_encoder() {
    let Some(python) = python(&["influxdb-client==1.50.0", "paho-mqtt==2.1.0"]) else {
        return;
    };
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    speak(python, &service, script("line_protocol.py")).await;
    let channel = |field: &str| format!("cpu,load avg.{field}[core=a=b,c]");
    assert_eq!(
        stored(&service).await,
        [
            row("press 3", &channel("idle %"), &[90.5, 91.5, 92.5, 93.5, 94.5]),
            row("press 3", &channel("jobs"), &[0., 1., 2., 3., 4.]),
            row("press 3", &channel("up"), &[1.0; 5]),
        ]
    );
    assert_eq!(service.dead_letters().await, []);
    service.stop().await;
}

/// `stale`: devices that the node's farewell leaves stale.
async fn check_sparkplug(service: &Service, node: &str, stale: i64) {
    let gauge = format!("{node}/gauge");
    service.until("SELECT count(*) FROM reading", 10).await;
    service
        .until("SELECT count(*) FROM device WHERE stale_since IS NOT NULL", stale)
        .await;
    assert_eq!(
        stored(service).await,
        [
            row(node, "load", &[0.5, 1.5, 2.5, 3.5, 4.5]),
            row(&gauge, "temp", &[-3., -4., -5., -6., -7.]),
        ]
    );
    assert_eq!(service.dead_letters().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sparkplug_node_in_python() {
    let Some(python) = python(&["pysparkplug==0.6.1"]) else {
        return;
    };
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    speak(python, &service, script("sparkplug_node.py")).await;
    // It counts bdSeq on while it connects, so its farewell names another session and leaves nothing stale.
    check_sparkplug(&service, "python/node", 0).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sparkplug_node_by_the_reference_client() {
    let Some(node) = node(&["sparkplug-client@3.2.4"]) else {
        return;
    };
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    speak(node, &service, script("sparkplug_node.js")).await;
    check_sparkplug(&service, "node/js", 2).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquittos_client_and_a_mapping() {
    if let Err(error) = Command::new("mosquitto_pub").arg("--help").output() {
        servers::left_out("mosquitto_pub", &error.to_string());
        return;
    }
    let service = start(|_| {}).await;
    let gateway = service.gateway("line-1").await;
    let mapping = serde_json::json!({"routes": [{
        "topic": "shop/+/state", "codec": "json", "device": "{1}", "time": {"pointer": "/t", "format": "unix_ms"},
    }]});
    sqlx::query("INSERT INTO gateway_mapping (gateway_id, tenant_id, mapping, updated_by) VALUES ($1, $2, $3, 'test')")
        .bind(gateway)
        .bind(service.tenant)
        .bind(&mapping)
        .execute(&service.database.owner)
        .await
        .unwrap();
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &service.address.port().to_string()]);
    command.args([
        "-u",
        "acme/line-1",
        "-P",
        "line-1",
        "-q",
        "1",
        "-t",
        "shop/lathe/state",
    ]);
    command.args(["-m", r#"{"t":1767225600000,"spindle":{"rpm":1200},"on":true}"#]);
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        stored(&service).await,
        [row("lathe", "on", &[1.0]), row("lathe", "spindle.rpm", &[1200.0])]
    );
    service.stop().await;
}

/// Eclipse Paho's interoperability tests of MQTT 5.0, as paho-mqtt brings them along, and those of gmqtt,
/// against the broker; about three minutes, most of them pauses of theirs.
#[tokio::test(flavor = "multi_thread")]
async fn the_interoperability_tests_of_paho_and_gmqtt() {
    let Some(mut python) = python(&[
        "paho-mqtt==2.2.0",
        "gmqtt==0.8.0",
        "pytest==8.4.2",
        "pytest-asyncio==0.26.0",
    ]) else {
        return;
    };
    let broker = crate::broker::broker(|_| {}).await;
    let (host, port) = (broker.address.ip().to_string(), broker.address.port().to_string());
    python.arg(script("mqtt_suites.py")).args([host, port]);
    let output = tokio::task::spawn_blocking(move || python.output())
        .await
        .unwrap()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    broker.stop().await;
}

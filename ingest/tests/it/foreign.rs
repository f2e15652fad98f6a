//! Readings from Debian's mosquitto: several workers, one of them killed; TLS; a Sparkplug host on a
//! broker that is not ours.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ingest::config::Config;
use ingest::foreign::Foreign;
use ingest::sparkplug::proto::{Metric, Payload, Value};
use models::db::Role;
use prost::Message;
use rumqttc::mqttbytes::v4;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::harness::{Client, Service, T0, WAIT, start};

/// The program; `None` where it is not installed.
pub fn mosquitto() -> Option<PathBuf> {
    let program = [
        "/usr/sbin/mosquitto",
        "/usr/bin/mosquitto",
        "/usr/local/sbin/mosquitto",
    ]
    .into_iter()
    .map(PathBuf::from)
    .find(|path| path.exists());
    if program.is_none() {
        models::servers::left_out("mosquitto", "it is not installed (apt-get install mosquitto)");
    }
    program
}

/// A broker of its own on a free loopback port; `None` where mosquitto is not installed.
struct Mosquitto {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Mosquitto {
    async fn start(settings: impl FnOnce(&std::path::Path) -> String) -> Option<Self> {
        let program = mosquitto()?;
        let free = StdListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mosquitto.conf");
        let config = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 100000\nuser root\n{}",
            address.port(),
            settings(folder.path())
        );
        std::fs::write(&file, config).unwrap();
        let process = Command::new(program)
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut broker = Self {
            process,
            address,
            _folder: folder,
        };
        let started = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(
                broker.process.try_wait().unwrap().is_none(),
                "mosquitto has ended"
            );
            assert!(started.elapsed() < WAIT, "mosquitto doesn't listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Some(broker)
    }

    fn foreign(&self, client_id: &str, more: serde_json::Value) -> Foreign {
        let mut entry = json!({
            "url": format!("mqtt://127.0.0.1:{}", self.address.port()),
            "client_id": client_id, "gateway": "acme/site", "filters": ["telegraf/#"],
        });
        entry
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        serde_json::from_value(entry).unwrap()
    }

    async fn client(&self, id: &str) -> Client {
        let mut client = Client::open(self.address).await;
        let mut connect = v4::Connect::new(id);
        connect.keep_alive = 600;
        assert_eq!(client.connect_with(connect).await, 0);
        client
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// An ingest process in miniature: a runtime of its own, which can be torn down at once.
struct Worker {
    runtime: Option<tokio::runtime::Runtime>,
    shutdown: CancellationToken,
    task: Option<tokio::task::JoinHandle<anyhow::Result<()>>>,
}

impl Worker {
    fn start(service: &Service, foreign: Foreign) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let mut config = Config {
            foreign: vec![foreign],
            shutdown_s: 3,
            register_max_age_s: 1,
            ..Config::default()
        };
        config.writer.batch_age_ms = 5;
        let shutdown = CancellationToken::new();
        let (url, stop) = (service.database.url(), shutdown.clone());
        let task = runtime.spawn(async move {
            let pool = models::db::connect(&url, Role::Ingest, 6)?;
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            ingest::run(config, pool, listener, stop).await
        });
        Self {
            runtime: Some(runtime),
            shutdown,
            task: Some(task),
        }
    }

    /// Everything it does ends in the middle of whatever it is: connections are cut, transactions
    /// roll back.
    fn kill(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        if let Some(task) = self.task.take() {
            task.await.unwrap().unwrap();
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn line(i: i64) -> String {
    format!("m,device=d{} v={i} {}", i % 7, (T0 + i * 1_000) * 1_000)
}

/// Publishes `range`, a window of 50 at a time.
async fn publish(client: &mut Client, range: std::ops::Range<i64>) {
    let mut waiting = 0;
    for i in range {
        client.publish("telegraf/host/m", 1, line(i)).await;
        waiting += 1;
        while waiting >= 50 {
            assert!(matches!(client.next().await, Some(v4::Packet::PubAck(_))));
            waiting -= 1;
        }
    }
    for _ in 0..waiting {
        assert!(matches!(client.next().await, Some(v4::Packet::PubAck(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_share_a_broker_and_one_is_killed() {
    let Some(broker) = Mosquitto::start(|_| String::new()).await else {
        return;
    };
    let service = start(|_| {}).await;
    service.gateway("site").await;
    // Both sessions exist before the first message: a broker has none for whom it doesn't know.
    let first = Worker::start(&service, broker.foreign("ingest-1", json!({})));
    let second = Worker::start(&service, broker.foreign("ingest-2", json!({})));
    let mut client = broker.client("plant").await;
    let mut sent = 0;
    let started = Instant::now();
    while service.number("SELECT count(*) FROM reading").await == 0 {
        assert!(started.elapsed() < WAIT, "nothing arrives");
        publish(&mut client, sent..sent + 50).await;
        sent += 50;
    }
    publish(&mut client, sent..sent + 500).await;
    first.kill();
    publish(&mut client, sent + 500..sent + 1_000).await;
    let first = Worker::start(&service, broker.foreign("ingest-1", json!({})));
    publish(&mut client, sent + 1_000..sent + 1_500).await;
    let all = sent + 1_500;
    let started = Instant::now();
    loop {
        let stored = service.number("SELECT count(*) FROM reading").await;
        // Those of the first moments, before anybody had subscribed, are nobody's.
        if stored >= 1_500
            && service
                .number("SELECT count(*) FROM reading WHERE value >= 50")
                .await
                == all - 50
        {
            break;
        }
        let missing = all - stored;
        assert!(started.elapsed() < WAIT, "{missing} of {all} are missing");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let [received, stored, duplicate, conflict, rejected, ..] = service.ledger().await;
    assert_eq!(received, stored + duplicate);
    assert_eq!((conflict, rejected), (0, 0));
    assert_eq!(stored, service.number("SELECT count(*) FROM reading").await);
    assert_eq!(
        stored,
        service.number("SELECT count(DISTINCT value) FROM reading").await,
        "nothing is stored twice"
    );
    assert_eq!(service.dead_letters().await, []);
    first.stop().await;
    second.stop().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_subscribes_again_when_the_broker_has_forgotten_everything() {
    let Some(broker) = Mosquitto::start(|_| String::new()).await else {
        return;
    };
    let counted = crate::counters::read();
    let service = start(|_| {}).await;
    service.gateway("site").await;
    let mut fixed = broker.foreign(
        "ingest-1",
        json!({"share": "", "filters": ["telegraf/#", "fw/v1/acme/#"]}),
    );
    fixed.keep_alive_s = 2;
    let mut client = broker.client("plant").await;
    // Said before, for whoever subscribes: nobody knows when, so it is no reading. The broker has it before the worker
    // is there, or it would be one.
    let mut old = v4::Publish::new("telegraf/old", rumqttc::QoS::AtLeastOnce, line(0));
    (old.retain, old.pkid) = (true, 1);
    client.send(v4::Packet::Publish(old)).await;
    assert!(matches!(client.next().await, Some(v4::Packet::PubAck(_))));
    let worker = Worker::start(&service, fixed);
    let arrives = |n: i64| {
        let service = &service;
        let broker = &broker;
        async move {
            let started = Instant::now();
            let mut client = broker.client(&format!("plant-{n}")).await;
            while service.number("SELECT count(*) FROM reading").await < n {
                assert!(started.elapsed() < WAIT, "nothing arrives");
                publish(&mut client, n..n + 1).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    arrives(1).await;
    // The broker throws the client out and forgets its session: another client takes its id.
    let mut thief = Client::open(broker.address).await;
    let mut connect = v4::Connect::new("ingest-1");
    connect.clean_session = true;
    assert_eq!(thief.connect_with(connect).await, 0);
    drop(thief);
    arrives(2).await;
    // A topic that names its gateway, one that names somebody else's, and one that nobody knows.
    for topic in [
        "fw/v1/acme/site/json/d",
        "fw/v1/acme/nobody/json/d",
        "fw/v1/acme/site/nonsense",
    ] {
        client.deliver(topic, r#"{"ts":1767225600,"a":1}"#).await;
    }
    service
        .until("SELECT count(*) FROM channel WHERE name = 'a'", 1)
        .await;
    service.until("SELECT count(*) FROM dead_letter", 2).await;
    let letters = service.dead_letters().await;
    assert_eq!(
        letters.iter().map(|letter| letter.0.as_str()).collect::<Vec<_>>(),
        ["unknown_gateway", "unknown_topic"]
    );
    // What is refused is counted with its reason, not only kept.
    let now = crate::counters::read();
    for counter in [
        "forewarn_ingest_undecodable_payloads_total unknown_gateway",
        "forewarn_ingest_undecodable_payloads_total unknown_topic",
        "forewarn_ingest_refused_publishes_total retained_on_foreign_broker",
    ] {
        let of = |all: &crate::counters::Counts| all.get(counter).copied().unwrap_or(0);
        assert!(of(&now) > of(&counted), "{counter}: {now:?}");
    }
    worker.stop().await;
    service.stop().await;
}

fn sparkplug(seq: u64, metrics: Vec<Metric>) -> Vec<u8> {
    Payload {
        timestamp: Some(1_767_225_600_000),
        seq: Some(seq),
        metrics,
        ..Payload::default()
    }
    .encode_to_vec()
}

async fn next_state(client: &mut Client) -> serde_json::Value {
    loop {
        match client.next().await {
            Some(v4::Packet::Publish(publish)) if publish.topic == "spBv1.0/STATE/forewarn" => {
                if publish.qos == rumqttc::QoS::AtLeastOnce {
                    client
                        .send(v4::Packet::PubAck(v4::PubAck::new(publish.pkid)))
                        .await;
                }
                return serde_json::from_slice(&publish.payload).unwrap();
            }
            Some(_) => {}
            None => panic!("closed"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sparkplug_host_on_a_foreign_broker() {
    let Some(broker) = Mosquitto::start(|_| String::new()).await else {
        return;
    };
    let service = start(|_| {}).await;
    service.gateway("site").await;
    let mut watcher = broker.client("watcher").await;
    watcher.subscribe("spBv1.0/STATE/#").await;
    let entry = json!({"sparkplug": true, "filters": []});
    let first = Worker::start(&service, broker.foreign("host-1", entry.clone()));
    let born = next_state(&mut watcher).await;
    assert_eq!(born["online"], json!(true));

    let mut node = broker.client("node").await;
    node.subscribe("spBv1.0/g/NCMD/n/#").await;
    let metric = |name: Option<&str>, value| Metric {
        name: name.map(Into::into),
        alias: Some(3),
        value: Some(Value::Double(value)),
        ..Metric::default()
    };
    node.deliver(
        "spBv1.0/g/NBIRTH/n",
        sparkplug(0, vec![metric(Some("load"), 1.0)]),
    )
    .await;
    let mut data = metric(None, 2.0);
    data.timestamp = Some(1_767_225_600_001);
    node.deliver("spBv1.0/g/NDATA/n", sparkplug(1, vec![data])).await;
    service.until("SELECT count(*) FROM reading", 2).await;
    // A node nobody has heard of is asked for its birth.
    node.deliver(
        "spBv1.0/g/NDATA/n",
        sparkplug(
            2,
            vec![Metric {
                alias: Some(99),
                value: Some(Value::Double(1.0)),
                ..Metric::default()
            }],
        ),
    )
    .await;
    loop {
        if let Some(v4::Packet::Publish(command)) = node.next().await {
            assert_eq!(command.topic, "spBv1.0/g/NCMD/n");
            break;
        }
    }

    // An old will that says this host is away is contradicted.
    let mut liar = v4::Publish::new(
        "spBv1.0/STATE/forewarn",
        rumqttc::QoS::AtMostOnce,
        r#"{"online":false,"timestamp":1}"#,
    );
    liar.retain = true;
    node.send(v4::Packet::Publish(liar)).await;
    assert_eq!(next_state(&mut watcher).await["online"], json!(false));
    assert_eq!(next_state(&mut watcher).await, born);

    // Another process stands by and takes over; what was live is stale in between.
    let second = Worker::start(&service, broker.foreign("host-2", entry));
    first.stop().await;
    assert_eq!(next_state(&mut watcher).await["online"], json!(false));
    service
        .until("SELECT count(*) FROM device WHERE stale_since IS NOT NULL", 1)
        .await;
    let again = next_state(&mut watcher).await;
    assert_eq!(again["online"], json!(true));
    assert!(again["timestamp"].as_i64() >= born["timestamp"].as_i64());
    second.stop().await;
    assert_eq!(next_state(&mut watcher).await["online"], json!(false));

    // Killed, it leaves its will: the birth's time stamp, retained, QoS 1.
    let third = Worker::start(
        &service,
        broker.foreign("host-3", json!({"sparkplug": true, "filters": []})),
    );
    let born = next_state(&mut watcher).await;
    third.kill();
    let will = next_state(&mut watcher).await;
    assert_eq!(will, json!({"online": false, "timestamp": born["timestamp"]}));
    let mut late = broker.client("late").await;
    late.subscribe("spBv1.0/STATE/forewarn").await;
    loop {
        if let Some(v4::Packet::Publish(publish)) = late.next().await {
            assert!(publish.retain && publish.qos == rumqttc::QoS::AtLeastOnce);
            assert_eq!(
                serde_json::from_slice::<serde_json::Value>(&publish.payload).unwrap(),
                will
            );
            break;
        }
    }
    service.stop().await;
}

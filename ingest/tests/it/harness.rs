//! A database, the service, a gateway, and clients that speak byte by byte.

use std::time::Duration;

use bytes::BytesMut;
use ingest::config::Config;
use models::db::Role;
use models::db::testing::TestDatabase;
use models::id::{CredentialId, GatewayId, SiteId, TenantId};
use models::service::telemetry;
use models::wire::Batch;
use rumqttc::mqttbytes::v4;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

pub const WAIT: Duration = Duration::from_secs(30);

pub struct Service {
    pub database: TestDatabase,
    pub address: std::net::SocketAddr,
    pub tenant: TenantId,
    pub site: SiteId,
    pub pool: PgPool,
    config: Config,
    running: Running,
}

pub async fn start(change: impl FnOnce(&mut Config)) -> Service {
    let database = TestDatabase::new().await;
    let pool = database.pool(Role::Ingest);
    start_on(database, pool, change).await
}

/// The service with another way to its database, such as one through a proxy.
pub async fn start_on(database: TestDatabase, pool: PgPool, change: impl FnOnce(&mut Config)) -> Service {
    // `RUST_LOG=debug` shows what the service does; the second test to come here can't set it again.
    drop(telemetry::init(&telemetry::Config {
        format: telemetry::LogFormat::Text,
        filter: "off".into(),
    }));
    let (tenant, site) = (TenantId::new(), SiteId::new());
    sqlx::query("INSERT INTO tenant (id, slug, name) VALUES ($1, 'acme', 'Acme')")
        .bind(tenant)
        .execute(&database.owner)
        .await
        .unwrap();
    sqlx::query("INSERT INTO site (id, tenant_id, name, time_zone) VALUES ($1, $2, 'Works', 'UTC')")
        .bind(site)
        .bind(tenant)
        .execute(&database.owner)
        .await
        .unwrap();
    let mut config = Config {
        register_max_age_s: 1,
        revocation_check_s: 1,
        shutdown_s: 3,
        ..Config::default()
    };
    config.writer.batch_age_ms = 5;
    change(&mut config);
    let running = Running::new(config.clone(), pool.clone()).await;
    Service {
        database,
        address: running.address,
        tenant,
        site,
        pool,
        config,
        running,
    }
}

/// One start of the service.
pub struct Running {
    address: std::net::SocketAddr,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Running {
    async fn new(config: Config, pool: PgPool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(ingest::run(config, pool, listener, shutdown.clone()));
        Self {
            address,
            shutdown,
            task,
        }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

impl Service {
    /// A gateway `slug` of `acme` whose secret is its slug.
    pub async fn gateway(&self, slug: &str) -> GatewayId {
        let id = GatewayId::new();
        sqlx::query("INSERT INTO gateway (id, tenant_id, site_id, slug, name) VALUES ($1, $2, $3, $4, $4)")
            .bind(id)
            .bind(self.tenant)
            .bind(self.site)
            .bind(slug)
            .execute(&self.database.owner)
            .await
            .unwrap();
        self.credential(id, slug).await;
        id
    }

    pub async fn credential(&self, gateway: GatewayId, secret: &str) -> CredentialId {
        let id = CredentialId::new();
        sqlx::query(
            "INSERT INTO gateway_credential (id, tenant_id, gateway_id, secret_hash) VALUES ($1, $2, $3, $4)",
        )
        .bind(id)
        .bind(self.tenant)
        .bind(gateway)
        .bind(&Sha256::digest(secret.as_bytes())[..])
        .execute(&self.database.owner)
        .await
        .unwrap();
        id
    }

    /// One number out of the database.
    pub async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql)
            .fetch_one(&self.database.owner)
            .await
            .unwrap()
    }

    /// Waits until a number out of the database is `expect`.
    #[track_caller]
    pub fn until(&self, sql: &'static str, expect: i64) -> impl Future<Output = ()> + '_ {
        let place = std::panic::Location::caller();
        async move {
            let started = std::time::Instant::now();
            loop {
                let got = self.number(sql).await;
                if got == expect {
                    return;
                }
                assert!(started.elapsed() < WAIT, "{place}: {sql} = {got}, not {expect}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    /// received, stored, duplicate, conflict, rejected, payloads, payloads_dead.
    pub async fn ledger(&self) -> [i64; 7] {
        let sums: Vec<i64> = sqlx::query_scalar(
            "SELECT unnest(ARRAY[sum(received), sum(stored), sum(duplicate), sum(conflict), sum(rejected), sum(payloads),
                                 sum(payloads_dead)])::int8 FROM ledger",
        )
        .fetch_all(&self.database.owner)
        .await
        .unwrap();
        sums.try_into().unwrap()
    }

    pub async fn dead_letters(&self) -> Vec<(String, String, i32)> {
        sqlx::query_as("SELECT reason, detail, readings FROM dead_letter ORDER BY id")
            .fetch_all(&self.database.owner)
            .await
            .unwrap()
    }

    pub async fn client(&self, gateway: &str) -> Client {
        let mut client = Client::open(self.address).await;
        assert_eq!(client.connect(gateway, gateway, "c").await, 0);
        client
    }

    /// Starts the service anew beside the one that runs, which is returned: to it nobody comes any more.
    pub async fn replace(&mut self) -> Running {
        let new = Running::new(self.config.clone(), self.pool.clone()).await;
        self.address = new.address;
        std::mem::replace(&mut self.running, new)
    }

    /// Stops the service and starts it again.
    pub async fn restart(&mut self) {
        self.running.shutdown.cancel();
        (&mut self.running.task).await.unwrap().unwrap();
        drop(self.replace().await);
    }

    /// Stops the service and drops the database.
    pub async fn stop(self) {
        self.running.stop().await;
        self.pool.close().await;
        self.database.drop_now().await;
    }

    /// Stops the service; the database stays.
    pub async fn halt(self) -> TestDatabase {
        self.running.stop().await;
        self.pool.close().await;
        self.database
    }
}

/// An MQTT 3.1.1 client that does what it is told and nothing else.
pub struct Client {
    pub stream: TcpStream,
    input: BytesMut,
    next_id: u16,
}

impl Client {
    pub async fn open(address: std::net::SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            input: BytesMut::new(),
            next_id: 0,
        }
    }

    pub async fn send(&mut self, packet: v4::Packet) {
        let mut out = BytesMut::new();
        packet.write(&mut out, usize::MAX).unwrap();
        self.stream.write_all(&out).await.unwrap();
    }

    /// The next packet; `None` = the connection is closed.
    pub async fn next(&mut self) -> Option<v4::Packet> {
        loop {
            let mut attempt = self.input.clone();
            if let Ok(packet) = v4::Packet::read(&mut attempt, usize::MAX) {
                self.input = attempt;
                return Some(packet);
            }
            let read = tokio::time::timeout(WAIT, self.stream.read_buf(&mut self.input))
                .await
                .expect("an answer in time");
            match read {
                Ok(n) if n > 0 => {}
                _ => return None,
            }
        }
    }

    /// Whether nothing comes for a while.
    pub async fn silent(&mut self, millis: u64) -> bool {
        let mut byte = [0];
        self.input.is_empty()
            && tokio::time::timeout(Duration::from_millis(millis), self.stream.peek(&mut byte))
                .await
                .is_err()
    }

    pub async fn connect_with(&mut self, connect: v4::Connect) -> u8 {
        self.send(v4::Packet::Connect(connect)).await;
        match self.next().await {
            Some(v4::Packet::ConnAck(ack)) => ack.code as u8,
            other => panic!("{other:?}"),
        }
    }

    pub async fn connect(&mut self, gateway: &str, secret: &str, client_id: &str) -> u8 {
        let mut connect = v4::Connect::new(client_id);
        connect.keep_alive = 600;
        connect.set_login(format!("acme/{gateway}"), secret);
        self.connect_with(connect).await
    }

    /// Publishes and returns the packet id.
    pub async fn publish(&mut self, topic: &str, qos: u8, payload: impl Into<Vec<u8>>) -> u16 {
        self.next_id += 1;
        let id = self.next_id;
        self.publish_as(id, topic, qos, payload).await;
        id
    }

    pub async fn publish_as(&mut self, id: u16, topic: &str, qos: u8, payload: impl Into<Vec<u8>>) {
        let qos = rumqttc::mqttbytes::qos(qos).unwrap();
        let mut publish = v4::Publish::new(topic, qos, payload.into());
        publish.pkid = id;
        self.send(v4::Packet::Publish(publish)).await;
    }

    /// Publishes with QoS 1 and waits for its PUBACK.
    pub async fn deliver(&mut self, topic: &str, payload: impl Into<Vec<u8>>) {
        let id = self.publish(topic, 1, payload).await;
        loop {
            match self.next().await {
                Some(v4::Packet::PubAck(ack)) => return assert_eq!(ack.pkid, id),
                Some(v4::Packet::Publish(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Subscribes and returns the codes.
    pub async fn subscribe(&mut self, filter: &str) -> Vec<v4::SubscribeReasonCode> {
        let mut subscribe = v4::Subscribe::new(filter, rumqttc::QoS::AtLeastOnce);
        subscribe.pkid = 77;
        self.send(v4::Packet::Subscribe(subscribe)).await;
        match self.next().await {
            Some(v4::Packet::SubAck(ack)) => ack.return_codes,
            other => panic!("{other:?}"),
        }
    }

    /// The next message, whatever else comes before it.
    pub async fn message(&mut self) -> (String, serde_json::Value) {
        loop {
            match self.next().await {
                Some(v4::Packet::Publish(message)) => {
                    return (message.topic, serde_json::from_slice(&message.payload).unwrap());
                }
                Some(_) => {}
                None => panic!("closed"),
            }
        }
    }

    /// Whether the connection is closed, after whatever was still on its way.
    pub async fn closed(&mut self) -> bool {
        while self.next().await.is_some() {}
        true
    }
}

pub const T0: i64 = 1_767_225_600_000_000;

/// A batch of `n` readings of one channel, a second apart from `from` on.
pub fn batch(seq: u64, floor: u64, from: i64, n: i64) -> Vec<u8> {
    let column = models::wire::Column {
        device: "pump".into(),
        channel: "temp".into(),
        ts_deltas: std::iter::once(T0 + from * 1_000_000)
            .chain((1..n).map(|_| 1_000_000))
            .collect(),
        values: (0..n).map(|i| (from + i) as f64).collect(),
        ..Default::default()
    };
    Batch {
        epoch: 5,
        seq,
        floor,
        columns: vec![column],
        ..Batch::default()
    }
    .encode_compressed(1)
    .unwrap()
}

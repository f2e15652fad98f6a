//! kill -9 of the real executables while readings travel: what is stored must be what was produced,
//! each once, and the ledger must close.

use std::path::Path;
use std::process::Command;

use bytes::BytesMut;
use models::db::testing::TestDatabase;
use rumqttc::QoS;
use rumqttc::mqttbytes::v4::{self, Packet, PubAck, PubComp, PubRec, PubRel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::plant::{self, Plant};
use crate::processes::{Process, forewarn, forewarn_edge, free_port};
use crate::stack::{PATIENCE, until};

/// Rows of the recorded run: enough that the kills fall into the middle.
const ROWS: usize = 80_000;

fn serve(database: &TestDatabase, mqtt: u16, http: u16) -> Command {
    let mut command = forewarn();
    command
        .arg("serve")
        .env("DATABASE_URL", database.url())
        .env("FOREWARN__INGEST__LISTEN", format!("127.0.0.1:{mqtt}"))
        .env("FOREWARN__API__LISTEN", format!("127.0.0.1:{http}"))
        .env("FOREWARN__LOG__FILTER", "warn");
    command
}

fn agent(config: &Path) -> Command {
    let mut command = forewarn_edge();
    command.arg("run").arg("--config").arg(config);
    command
}

async fn stored(database: &TestDatabase) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM reading")
        .fetch_one(&database.owner)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_when_either_side_is_killed() {
    let database = TestDatabase::new().await;
    let plant = Plant::register(&database).await;
    let dir = tempfile::tempdir().unwrap();
    let (mqtt, http) = (free_port(), free_port());
    let config = plant.agent_config(dir.path(), mqtt, ROWS);

    let mut server = Process::spawn("forewarn", &mut serve(&database, mqtt, http));
    let mut edge = Process::spawn("forewarn-edge", &mut agent(&config));
    // Each kill waits until something more has been stored, so that every life does some work.
    let mut before = 0;
    for round in 0..6 {
        before = until("more readings are stored", async || {
            let now = stored(&database).await;
            (now > before).then_some(now)
        })
        .await;
        server.assert_running();
        edge.assert_running();
        if round % 2 == 0 {
            server.kill();
            server = Process::spawn("forewarn", &mut serve(&database, mqtt, http));
        } else {
            edge.kill();
            edge = Process::spawn("forewarn-edge", &mut agent(&config));
        }
    }
    let produced = plant::produced(ROWS);
    until("everything produced is stored", async || {
        (stored(&database).await >= produced).then_some(())
    })
    .await;
    edge.stop();
    server.stop();

    assert_eq!(stored(&database).await, produced, "stored = produced");
    let distinct: i64 =
        sqlx::query_scalar("SELECT count(*) FROM (SELECT DISTINCT channel_id, ts FROM reading) r")
            .fetch_one(&database.owner)
            .await
            .unwrap();
    assert_eq!(distinct, produced, "each once");
    let (received, sum, in_ledger): (i64, i64, i64) = sqlx::query_as(
        "SELECT sum(received)::int8, sum(stored + duplicate + conflict + rejected)::int8, sum(stored)::int8 FROM ledger",
    )
    .fetch_one(&database.owner)
    .await
    .unwrap();
    assert_eq!(received, sum, "the ledger closes");
    assert_eq!(in_ledger, produced, "and says what is there");
    let open_gaps: i64 = sqlx::query_scalar("SELECT count(*) FROM sequence_gap WHERE closed_at IS NULL")
        .fetch_one(&database.owner)
        .await
        .unwrap();
    assert_eq!(open_gaps, 0);
    database.drop_now().await;
}

/// Sessions of MQTT clients over `kill -9` of the real executable: a command that was acknowledged arrives,
/// with QoS 2 once, and a publisher's QoS 2 message that was acknowledged is not taken again.
#[tokio::test(flavor = "multi_thread")]
async fn commands_arrive_once_over_kills_of_the_front_door() {
    let database = TestDatabase::new().await;
    let plant = Plant::register(&database).await;
    sqlx::query("UPDATE gateway_credential SET publish_filters = '{line/#}', subscribe_filters = '{line/#}'")
        .execute(&database.owner)
        .await
        .unwrap();
    let (mqtt, http) = (free_port(), free_port());
    let begin = || Process::spawn("forewarn", &mut serve(&database, mqtt, http));
    let mut server = begin();
    let open = async |id: &'static str| Mqtt::open(mqtt, id, plant.secret.reveal()).await;

    let mut line = open("line").await;
    line.subscribe("line/#").await;
    let mut board = open("board").await;
    for round in 0..3_u16 {
        // On its way to a client that is there, acknowledged to who sent it, when the process is killed.
        board
            .publish(2 * round + 1, QoS::ExactlyOnce, &format!("stop {round}"))
            .await;
        board.expect(&Packet::PubRec(PubRec::new(2 * round + 1))).await;
        let before = line.publish_down().await;
        server.kill();
        server = begin();
        line = open("line").await;
        let again = line.publish_down().await;
        assert_eq!(
            (again.pkid, again.dup, &again.payload),
            (before.pkid, true, &before.payload)
        );
        line.send(&Packet::PubRec(PubRec::new(again.pkid))).await;
        line.expect(&Packet::PubRel(PubRel::new(again.pkid))).await;

        // Killed once more before PUBCOMP and, for the publisher, before PUBREL: neither takes it again.
        server.kill();
        server = begin();
        board = open("board").await;
        board
            .publish(2 * round + 1, QoS::ExactlyOnce, &format!("stop {round}"))
            .await;
        board.expect(&Packet::PubRec(PubRec::new(2 * round + 1))).await;
        board.send(&Packet::PubRel(PubRel::new(2 * round + 1))).await;
        board.expect(&Packet::PubComp(PubComp::new(2 * round + 1))).await;

        // For a client that is away.
        board
            .publish(2 * round + 2, QoS::AtLeastOnce, &format!("start {round}"))
            .await;
        board.expect(&Packet::PubAck(PubAck::new(2 * round + 2))).await;
        server.kill();
        server = begin();
        line = open("line").await;
        line.expect(&Packet::PubRel(PubRel::new(again.pkid))).await;
        line.send(&Packet::PubComp(PubComp::new(again.pkid))).await;
        let waited = line.publish_down().await;
        assert_eq!(waited.payload, format!("start {round}"));
        line.send(&Packet::PubAck(PubAck::new(waited.pkid))).await;
        line.nothing().await;
        board = open("board").await;
    }
    drop((line, board));
    server.stop();
    database.drop_now().await;
}

/// An MQTT 3.1.1 client with a persistent session that does what it is told.
struct Mqtt {
    stream: TcpStream,
    input: BytesMut,
}

impl Mqtt {
    /// Until the server is there and lets it in.
    async fn open(port: u16, id: &str, secret: &str) -> Self {
        until("the front door lets a client in", async || {
            let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
            let mut client = Self {
                stream,
                input: BytesMut::new(),
            };
            let mut connect = v4::Connect::new(id);
            connect.clean_session = false;
            connect.keep_alive = 600;
            connect.set_login(format!("{}/{}", plant::TENANT, plant::GATEWAY), secret);
            client.send(&Packet::Connect(connect)).await;
            match client.next().await {
                Some(Packet::ConnAck(ack)) if ack.code == v4::ConnectReturnCode::Success => Some(client),
                _ => None,
            }
        })
        .await
    }

    async fn send(&mut self, packet: &Packet) {
        let mut out = BytesMut::new();
        packet.write(&mut out, usize::MAX).unwrap();
        // The peer may have been killed: then nothing comes, and who expects something says so.
        let _ = self.stream.write_all(&out).await;
    }

    async fn next(&mut self) -> Option<Packet> {
        loop {
            let mut attempt = self.input.clone();
            if let Ok(packet) = Packet::read(&mut attempt, usize::MAX) {
                self.input = attempt;
                return Some(packet);
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.input));
            match read.await.expect("an answer in time") {
                Ok(n) if n > 0 => {}
                _ => return None,
            }
        }
    }

    async fn expect(&mut self, packet: &Packet) {
        assert_eq!(self.next().await.as_ref(), Some(packet));
    }

    async fn nothing(&mut self) {
        self.send(&Packet::PingReq).await;
        self.expect(&Packet::PingResp).await;
    }

    async fn subscribe(&mut self, filter: &str) {
        let mut subscribe = v4::Subscribe::new(filter, QoS::ExactlyOnce);
        subscribe.pkid = 1;
        self.send(&Packet::Subscribe(subscribe)).await;
        assert!(matches!(self.next().await, Some(Packet::SubAck(_))));
    }

    async fn publish(&mut self, id: u16, qos: QoS, payload: &str) {
        let mut publish = v4::Publish::new("line/command", qos, payload);
        publish.pkid = id;
        self.send(&Packet::Publish(publish)).await;
    }

    async fn publish_down(&mut self) -> v4::Publish {
        match self.next().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("{other:?}"),
        }
    }
}

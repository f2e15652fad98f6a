//! The front door as an ordinary broker, without a database: `anonymous` and raw packets.

mod client;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ingest::config::{Anonymous, Config};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

pub use client::{Client5, filter, message, payloads};

use crate::harness::{Client, WAIT};

pub struct Broker {
    pub address: SocketAddr,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

pub async fn broker(change: impl FnOnce(&mut Config)) -> Broker {
    let mut config = Config {
        anonymous: Some(Anonymous {
            publish: vec!["#".into()],
            subscribe: vec!["#".into()],
        }),
        shutdown_s: 3,
        ..Config::default()
    };
    change(&mut config);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    // Nothing of this needs the database.
    let pool = sqlx::PgPool::connect_lazy("postgres://nobody@127.0.0.1:1/nothing").unwrap();
    let task = tokio::spawn(ingest::run(config, pool, listener, shutdown.clone()));
    Broker {
        address,
        shutdown,
        task,
    }
}

impl Broker {
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// MQTT 3.1.1; returns the client and whether the session was present.
    pub async fn v4(&self, id: &str, clean: bool) -> (Client, bool) {
        self.v4_with(id, clean, |_| {}).await
    }

    pub async fn v4_with(
        &self,
        id: &str,
        clean: bool,
        change: impl FnOnce(&mut v4::Connect),
    ) -> (Client, bool) {
        let mut connect = v4::Connect::new(id);
        connect.clean_session = clean;
        connect.keep_alive = 600;
        change(&mut connect);
        let mut client = Client::open(self.address).await;
        client.send(v4::Packet::Connect(connect)).await;
        match client.next().await {
            Some(v4::Packet::ConnAck(ack)) if ack.code == v4::ConnectReturnCode::Success => {
                (client, ack.session_present)
            }
            other => panic!("{other:?}"),
        }
    }

    /// MQTT 5.0 with a clean start.
    pub async fn v5(&self, id: &str) -> Client5 {
        self.v5_with(id, |_, _| {}).await.0
    }

    pub async fn v5_with(
        &self,
        id: &str,
        change: impl FnOnce(&mut v5::Connect, &mut Option<v5::LastWill>),
    ) -> (Client5, v5::ConnAck) {
        let mut client = Client5::open(self.address).await;
        let ack = client.connect(id, change).await;
        assert_eq!(ack.code, v5::ConnectReturnCode::Success, "{ack:?}");
        (client, ack)
    }
}

/// ingestion.md 4.2, row 5: a subscriber that falls behind loses nothing that was acknowledged. It
/// holds its publisher back, and what its queue can't take is not acknowledged.
#[tokio::test]
async fn a_slow_subscriber_loses_nothing_that_was_acknowledged() {
    let broker = broker(|config| {
        config.limits.queue_messages = 100;
        config.limits.write_timeout_s = 30;
    })
    .await;
    let mut slow = broker.v5("slow").await;
    slow.subscribe(vec![filter("t", 1)], None).await;
    let mut publisher = broker.v5("publisher").await;
    let publishing = async {
        for i in 1..=2000_u16 {
            publisher.publish(message("t", 1, i, "x")).await;
        }
    };
    let reading = async {
        for _ in 0..2000 {
            let id = slow.message().await.pkid;
            slow.ack(id).await;
        }
    };
    tokio::time::timeout(WAIT, async { tokio::join!(publishing, reading) })
        .await
        .expect("2000 messages");
    slow.nothing().await;
    broker.stop().await;
}

/// Row 5 again: without a connection the queue fills, and then it is said.
#[tokio::test]
async fn a_full_queue_is_said_not_dropped() {
    use rumqttc::v5::mqttbytes::v5::PubAckReason;
    let broker = broker(|config| config.limits.queue_messages = 3).await;
    let (mut absent, _) = broker.v4("absent", false).await;
    absent.subscribe_as(&[("t", 1)]).await;
    drop(absent);
    let mut publisher = broker.v5("publisher").await;
    let mut taken = 0;
    let reason = loop {
        publisher.send(v5::Packet::Publish(message("t", 1, 1, "x"))).await;
        match publisher.next().await {
            Some(v5::Packet::PubAck(ack)) if ack.reason == PubAckReason::Success => taken += 1,
            Some(v5::Packet::PubAck(ack)) => break ack,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(reason.reason, PubAckReason::QuotaExceeded);
    let sentence = reason.properties.unwrap().reason_string.unwrap();
    assert_eq!(sentence, "the queue of a subscriber is full");
    // 3.1.1 has no word for it: no acknowledgement, so the message stays its publisher's.
    let (mut old, _) = broker.v4("old", true).await;
    old.publish("t", 1, "x").await;
    assert!(old.closed().await);
    let (mut absent, present) = broker.v4("absent", false).await;
    assert!(present);
    for _ in 0..taken {
        let id = absent.down().await.pkid;
        absent.send(v4::Packet::PubAck(v4::PubAck::new(id))).await;
    }
    absent.nothing().await;
    broker.stop().await;
}

/// Row 4: a member of a shared subscription leaves with a message unacknowledged, comes back and
/// gets it; everybody else goes on.
#[tokio::test]
async fn a_member_of_a_group_leaves_with_a_message() {
    let broker = broker(|_| {}).await;
    let (mut member, _) = broker.v4("member", false).await;
    member.subscribe_as(&[("$share/g/t", 1)]).await;
    let (mut publisher, _) = broker.v4("publisher", true).await;
    publisher.say("t", 1, false, "x").await;
    assert!(!member.down().await.dup);
    drop(member);
    publisher.say("other", 1, false, "x").await;
    let (mut member, _) = broker.v4("member", false).await;
    let again = member.down().await;
    assert!(again.dup);
    broker.stop().await;
}

/// Row 6: several publishers that could overrun their subscriber are held back by it: they are never
/// acknowledged further ahead than its queue is long, and it gets everything.
#[tokio::test]
async fn many_publishers_go_no_faster_than_their_subscriber() {
    const QUEUE: usize = 50;
    const EACH: u16 = 300;
    let broker = broker(|config| {
        config.limits.queue_messages = QUEUE;
        config.limits.write_timeout_s = 30;
    })
    .await;
    let mut slow = broker.v5("slow").await;
    slow.subscribe(vec![filter("t/+", 1)], None).await;
    let (acknowledged, read) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut publishers = tokio::task::JoinSet::new();
    for (name, topic) in [("a", "t/a"), ("b", "t/b"), ("c", "t/c"), ("d", "t/d")] {
        let mut publisher = broker.v5(name).await;
        let (acknowledged, read) = (acknowledged.clone(), read.clone());
        publishers.spawn(async move {
            // All at once, and only then the acknowledgements.
            for i in 1..=EACH {
                publisher
                    .send(v5::Packet::Publish(message(topic, 1, i, "x")))
                    .await;
            }
            for i in 1..=EACH {
                match publisher.next().await {
                    Some(v5::Packet::PubAck(ack)) => {
                        assert_eq!((ack.pkid, ack.reason), (i, v5::PubAckReason::Success));
                    }
                    other => panic!("{other:?}"),
                }
                // Counted after what it is compared with.
                let ahead = acknowledged.fetch_add(1, Ordering::SeqCst) + 1;
                let behind = read.load(Ordering::SeqCst);
                assert!(ahead <= behind + QUEUE, "{ahead} acknowledged, {behind} read");
            }
        });
    }
    let reading = async {
        for _ in 0..4 * usize::from(EACH) {
            let id = slow.message().await.pkid;
            read.fetch_add(1, Ordering::SeqCst);
            slow.ack(id).await;
        }
    };
    tokio::time::timeout(WAIT, async { tokio::join!(reading, publishers.join_all()) })
        .await
        .expect("all messages");
    slow.nothing().await;
    broker.stop().await;
}

/// Row 11: a publisher with QoS 2 that comes back between PUBREC and PUBREL loses nothing.
#[tokio::test]
async fn qos_2_goes_on_after_a_reconnect_before_pubrel() {
    let broker = broker(|_| {}).await;
    let (mut subscriber, _) = broker.v4("subscriber", true).await;
    subscriber.subscribe_as(&[("t", 1)]).await;
    let (mut publisher, _) = broker.v4("publisher", false).await;
    publisher.publish_as(7, "t", 2, "once").await;
    let received = Some(v4::Packet::PubRec(v4::PubRec::new(7)));
    assert_eq!(publisher.next().await, received);
    drop(publisher);
    let (mut publisher, present) = broker.v4("publisher", false).await;
    assert!(present);
    // Its PUBREC may have been lost: it sends the message again.
    publisher.publish_as(7, "t", 2, "once").await;
    assert_eq!(publisher.next().await, received);
    publisher.send(v4::Packet::PubRel(v4::PubRel::new(7))).await;
    let done = v4::Packet::PubComp(v4::PubComp::new(7));
    assert_eq!(publisher.next().await, Some(done));
    let down = subscriber.down().await;
    assert_eq!(&down.payload[..], b"once");
    subscriber
        .send(v4::Packet::PubAck(v4::PubAck::new(down.pkid)))
        .await;
    subscriber.nothing().await;
    broker.stop().await;
}

/// Row 12: there is no console whose questions take a session away. The port speaks HTTP as far as a
/// WebSocket needs it, and whoever asks for anything else is told no.
#[tokio::test]
async fn asking_over_http_takes_no_session_away() {
    let broker = broker(|_| {}).await;
    let (mut absent, _) = broker.v4("absent", false).await;
    absent.subscribe_as(&[("t", 1)]).await;
    drop(absent);
    let (mut publisher, _) = broker.v4("publisher", true).await;
    publisher.say("t", 1, false, "waits").await;
    for path in ["/device/absent", "/devices", "/config", "/"] {
        let mut stream = TcpStream::connect(broker.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(WAIT, stream.read_to_end(&mut answer))
            .await
            .expect("closed")
            .ok();
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            !answer.contains(" 200 ") && !answer.contains("absent"),
            "{path}: {answer}"
        );
    }
    let (mut absent, present) = broker.v4("absent", false).await;
    assert!(present);
    assert_eq!(&absent.down().await.payload[..], b"waits");
    broker.stop().await;
}

/// Row 10: a new subscriber gets every retained message, not the first hundred.
#[tokio::test]
async fn all_retained_messages_reach_a_new_subscriber() {
    let broker = broker(|_| {}).await;
    let (mut publisher, _) = broker.v4("publisher", true).await;
    for i in 0..500 {
        publisher.say(&format!("many/{i}"), 1, true, "kept").await;
    }
    let (mut late, _) = broker.v4("late", true).await;
    late.subscribe_as(&[("many/+", 1)]).await;
    for _ in 0..500 {
        let down = late.down().await;
        assert!(down.retain);
        late.send(v4::Packet::PubAck(v4::PubAck::new(down.pkid))).await;
    }
    late.nothing().await;
    broker.stop().await;
}

/// Row 13: whoever else uses the same client id takes the session over, and the older one hears why;
/// `connect.rs` shows that only the same credential can.
#[tokio::test]
async fn a_take_over_is_said() {
    let broker = broker(|_| {}).await;
    let mut first = broker.v5("same").await;
    let _second = broker.v5("same").await;
    assert_eq!(first.told().await, v5::DisconnectReasonCode::SessionTakenOver);
    broker.stop().await;
}

/// A client whose older connection is still open here, as after a network that was cut, comes back to
/// its session and stays; the older one is closed.
#[tokio::test]
async fn coming_back_before_the_old_connection_is_gone() {
    let broker = broker(|_| {}).await;
    let (mut publisher, _) = broker.v4("publisher", true).await;
    let (mut old, _) = broker.v4("c", false).await;
    old.subscribe_as(&[("t", 1)]).await;
    for _ in 0..5 {
        let (mut new, present) = broker.v4("c", false).await;
        assert!(present);
        assert!(old.closed().await);
        new.nothing().await;
        publisher.say("t", 1, false, "x").await;
        let id = new.down().await.pkid;
        new.send(v4::Packet::PubAck(v4::PubAck::new(id))).await;
        new.nothing().await;
        old = new;
    }
    broker.stop().await;
}

/// Row 15: what goes down doesn't keep a silent client alive.
#[tokio::test]
async fn messages_down_are_no_sign_of_life() {
    let broker = broker(|_| {}).await;
    let (mut quiet, _) = broker
        .v4_with("quiet", true, |connect| connect.keep_alive = 1)
        .await;
    quiet.subscribe_as(&[("t", 0)]).await;
    let (mut talker, _) = broker.v4("talker", true).await;
    let talking = async {
        loop {
            talker.say("t", 0, false, "x").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = talking => {}
        closed = tokio::time::timeout(WAIT, quiet.closed()) => assert!(closed.unwrap()),
    }
    broker.stop().await;
}

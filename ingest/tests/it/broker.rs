//! The front door as an ordinary broker, without a database: `anonymous` and raw packets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ingest::config::{Anonymous, Config};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::{QoS, v5};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

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

/// An MQTT 5.0 client that does what it is told and nothing else.
pub struct Client5 {
    pub stream: TcpStream,
    input: BytesMut,
}

pub fn message(topic: &str, qos: u8, id: u16, payload: &'static str) -> v5::Publish {
    let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos)];
    let mut publish = v5::Publish::new(topic, qos, Bytes::from_static(payload.as_bytes()), None);
    publish.pkid = id;
    publish
}

pub fn filter(path: &str, qos: u8) -> v5::Filter {
    let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos)];
    v5::Filter::new(path, qos)
}

impl Client5 {
    pub async fn open(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            input: BytesMut::new(),
        }
    }

    pub async fn connect(
        &mut self,
        id: &str,
        change: impl FnOnce(&mut v5::Connect, &mut Option<v5::LastWill>),
    ) -> v5::ConnAck {
        let mut connect = v5::Connect {
            keep_alive: 600,
            client_id: id.to_owned(),
            clean_start: true,
            properties: Some(v5::ConnectProperties::new()),
        };
        let mut will = None;
        change(&mut connect, &mut will);
        self.send(v5::Packet::Connect(connect, will, None)).await;
        match self.next().await {
            Some(v5::Packet::ConnAck(ack)) => ack,
            other => panic!("{other:?}"),
        }
    }

    pub async fn send(&mut self, packet: v5::Packet) {
        let mut out = BytesMut::new();
        packet.write(&mut out, None).unwrap();
        self.raw(&out).await;
    }

    pub async fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next packet; `None` = the connection is closed.
    pub async fn next(&mut self) -> Option<v5::Packet> {
        loop {
            // rumqttc reads no DISCONNECT that ends behind its reason code.
            if self.input.starts_with(&[0xe0, 1]) && self.input.len() >= 3 {
                let code = self.input.split_to(3)[2];
                self.input = [&[0xe0, 2, code, 0], &self.input[..]].concat().as_slice().into();
            }
            let mut attempt = self.input.clone();
            match v5::Packet::read(&mut attempt, None) {
                Ok(packet) => {
                    self.input = attempt;
                    return Some(packet);
                }
                Err(rumqttc::v5::mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("{error:?} in {:?}", self.input),
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

    /// Subscribes and returns the codes; retained messages come afterwards.
    pub async fn subscribe(
        &mut self,
        filters: Vec<v5::Filter>,
        identifier: Option<usize>,
    ) -> Vec<v5::SubscribeReasonCode> {
        let properties = identifier.map(|id| v5::SubscribeProperties {
            id: Some(id),
            user_properties: Vec::new(),
        });
        let mut subscribe = v5::Subscribe::new_many(filters, properties);
        subscribe.pkid = 99;
        self.send(v5::Packet::Subscribe(subscribe)).await;
        match self.next().await {
            Some(v5::Packet::SubAck(ack)) => {
                assert_eq!(ack.pkid, 99);
                ack.return_codes
            }
            other => panic!("{other:?}"),
        }
    }

    /// Publishes; waits for the PUBACK of QoS 1, or through the handshake of QoS 2.
    pub async fn publish(&mut self, publish: v5::Publish) {
        let (qos, id) = (publish.qos, publish.pkid);
        self.send(v5::Packet::Publish(publish)).await;
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => match self.next().await {
                Some(v5::Packet::PubAck(ack)) => {
                    assert_eq!((ack.pkid, ack.reason), (id, v5::PubAckReason::Success))
                }
                other => panic!("{other:?}"),
            },
            QoS::ExactlyOnce => {
                match self.next().await {
                    Some(v5::Packet::PubRec(ack)) => {
                        assert_eq!((ack.pkid, ack.reason), (id, v5::PubRecReason::Success))
                    }
                    other => panic!("{other:?}"),
                }
                self.send(v5::Packet::PubRel(v5::PubRel::new(id, None))).await;
                match self.next().await {
                    Some(v5::Packet::PubComp(done)) => assert_eq!(done.pkid, id),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    /// The next packet, which must be a message; it is not acknowledged.
    pub async fn message(&mut self) -> v5::Publish {
        match self.next().await {
            Some(v5::Packet::Publish(publish)) => publish,
            other => panic!("{other:?}"),
        }
    }

    pub async fn ack(&mut self, id: u16) {
        self.send(v5::Packet::PubAck(v5::PubAck::new(id, None))).await;
    }

    /// Nothing was on its way: the answer to a ping comes next.
    pub async fn nothing(&mut self) {
        self.send(v5::Packet::PingReq(v5::PingReq)).await;
        assert_eq!(self.next().await, Some(v5::Packet::PingResp(v5::PingResp)));
    }

    /// The reason of the server's DISCONNECT, behind which the connection is closed.
    pub async fn told(&mut self) -> v5::DisconnectReasonCode {
        let reason = match self.next().await {
            Some(v5::Packet::Disconnect(bye)) => bye.reason_code,
            other => panic!("{other:?}"),
        };
        assert_eq!(self.next().await, None);
        reason
    }

    pub async fn closed(&mut self) {
        while self.next().await.is_some() {}
    }
}

pub fn payloads(messages: &[v4::Publish]) -> Vec<String> {
    messages
        .iter()
        .map(|message| String::from_utf8_lossy(&message.payload).into_owned())
        .collect()
}

impl Client {
    /// The next packet, which must be a message; it is not acknowledged.
    pub async fn down(&mut self) -> v4::Publish {
        match self.next().await {
            Some(v4::Packet::Publish(publish)) => publish,
            other => panic!("{other:?}"),
        }
    }

    pub async fn subscribe_as(&mut self, filters: &[(&str, u8)]) -> Vec<v4::SubscribeReasonCode> {
        let filters = filters.iter().map(|(path, qos)| {
            v4::SubscribeFilter::new((*path).to_owned(), rumqttc::mqttbytes::qos(*qos).unwrap())
        });
        let mut subscribe = v4::Subscribe::new_many(filters);
        subscribe.pkid = 78;
        self.send(v4::Packet::Subscribe(subscribe)).await;
        match self.next().await {
            Some(v4::Packet::SubAck(ack)) => {
                assert_eq!(ack.pkid, 78);
                ack.return_codes
            }
            other => panic!("{other:?}"),
        }
    }

    /// Nothing was on its way: the answer to a ping comes next.
    pub async fn nothing(&mut self) {
        self.send(v4::Packet::PingReq).await;
        assert_eq!(self.next().await, Some(v4::Packet::PingResp));
    }

    /// Publishes and waits for the acknowledgement of QoS 1 or 2.
    pub async fn say(&mut self, topic: &str, qos: u8, retain: bool, payload: &str) {
        let mut publish = v4::Publish::new(
            topic,
            rumqttc::mqttbytes::qos(qos).unwrap(),
            payload.as_bytes().to_vec(),
        );
        publish.retain = retain;
        publish.pkid = 500;
        self.send(v4::Packet::Publish(publish)).await;
        match qos {
            0 => self.nothing().await,
            1 => assert_eq!(self.next().await, Some(v4::Packet::PubAck(v4::PubAck::new(500)))),
            _ => {
                assert_eq!(self.next().await, Some(v4::Packet::PubRec(v4::PubRec::new(500))));
                self.send(v4::Packet::PubRel(v4::PubRel::new(500))).await;
                assert_eq!(
                    self.next().await,
                    Some(v4::Packet::PubComp(v4::PubComp::new(500)))
                );
            }
        }
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

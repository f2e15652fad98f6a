//! MQTT 3.1.1: what the standard says of a server. `docs/mqtt-conformance.md` has the statements.

use rumqttc::mqttbytes::v4;

use crate::broker::{broker, payloads};
use crate::harness::Client;

fn puback(id: u16) -> v4::Packet {
    v4::Packet::PubAck(v4::PubAck::new(id))
}

#[tokio::test]
async fn qos_of_a_message_is_the_smaller_one() {
    let broker = broker(|_| {}).await;
    let (mut publisher, _) = broker.v4("publisher", true).await;
    let (mut subscriber, _) = broker.v4("subscriber", true).await;
    for granted in 0..3 {
        let codes = subscriber.subscribe_as(&[("t/+", granted)]).await;
        let qos = rumqttc::mqttbytes::qos(granted).unwrap();
        assert_eq!(codes, [v4::SubscribeReasonCode::Success(qos)]);
        for published in 0..3 {
            publisher.say("t/x", published, false, "x").await;
            let down = subscriber.down().await;
            assert_eq!(down.qos as u8, granted.min(published));
            assert!(!down.dup && (down.pkid != 0) == (down.qos as u8 > 0));
            match down.qos as u8 {
                0 => {}
                1 => subscriber.send(puback(down.pkid)).await,
                _ => {
                    subscriber
                        .send(v4::Packet::PubRec(v4::PubRec::new(down.pkid)))
                        .await;
                    let release = v4::Packet::PubRel(v4::PubRel::new(down.pkid));
                    assert_eq!(subscriber.next().await, Some(release));
                    subscriber
                        .send(v4::Packet::PubComp(v4::PubComp::new(down.pkid)))
                        .await;
                }
            }
        }
    }
    subscriber.nothing().await;
    broker.stop().await;
}

#[tokio::test]
async fn qos_2_up_reaches_subscribers_once() {
    let broker = broker(|_| {}).await;
    let (mut subscriber, _) = broker.v4("subscriber", true).await;
    subscriber.subscribe_as(&[("t", 0)]).await;
    let (mut publisher, _) = broker.v4("publisher", false).await;
    for _ in 0..2 {
        publisher.publish_as(9, "t", 2, "one").await;
        assert_eq!(
            publisher.next().await,
            Some(v4::Packet::PubRec(v4::PubRec::new(9)))
        );
    }
    // The connection breaks before PUBREL.
    drop(publisher);
    let (mut publisher, present) = broker.v4("publisher", false).await;
    assert!(present);
    publisher.publish_as(9, "t", 2, "one").await;
    assert_eq!(
        publisher.next().await,
        Some(v4::Packet::PubRec(v4::PubRec::new(9)))
    );
    publisher.send(v4::Packet::PubRel(v4::PubRel::new(9))).await;
    assert_eq!(
        publisher.next().await,
        Some(v4::Packet::PubComp(v4::PubComp::new(9)))
    );
    // After PUBREL the same id is a new message; a PUBREL of nothing is answered all the same.
    publisher.publish_as(9, "t", 2, "two").await;
    assert_eq!(
        publisher.next().await,
        Some(v4::Packet::PubRec(v4::PubRec::new(9)))
    );
    publisher.send(v4::Packet::PubRel(v4::PubRel::new(77))).await;
    assert_eq!(
        publisher.next().await,
        Some(v4::Packet::PubComp(v4::PubComp::new(77)))
    );
    let got = [subscriber.down().await, subscriber.down().await];
    assert_eq!(payloads(&got), ["one", "two"]);
    subscriber.nothing().await;
    broker.stop().await;
}

#[tokio::test]
async fn what_was_not_acknowledged_is_sent_again_in_order() {
    let broker = broker(|_| {}).await;
    let (mut subscriber, present) = broker.v4("subscriber", false).await;
    assert!(!present);
    subscriber.subscribe_as(&[("t/#", 2)]).await;
    let (mut publisher, _) = broker.v4("publisher", true).await;
    for (i, qos) in [(1, 1), (2, 2), (3, 1)] {
        publisher.say(&format!("t/{i}"), qos, false, &i.to_string()).await;
    }
    let first = [
        subscriber.down().await,
        subscriber.down().await,
        subscriber.down().await,
    ];
    assert_eq!(payloads(&first), ["1", "2", "3"]);
    subscriber
        .send(v4::Packet::PubRec(v4::PubRec::new(first[1].pkid)))
        .await;
    assert_eq!(
        subscriber.next().await,
        Some(v4::Packet::PubRel(v4::PubRel::new(first[1].pkid)))
    );
    drop(subscriber);
    // While nobody is there: QoS 1 and 2 wait, QoS 0 doesn't.
    publisher.say("t/0", 0, false, "0").await;
    publisher.say("t/4", 1, false, "4").await;
    let (mut subscriber, present) = broker.v4("subscriber", false).await;
    assert!(present);
    let again = subscriber.down().await;
    assert_eq!(
        (again.dup, again.pkid, payloads(&[again])),
        (true, first[0].pkid, vec!["1".to_owned()])
    );
    assert_eq!(
        subscriber.next().await,
        Some(v4::Packet::PubRel(v4::PubRel::new(first[1].pkid)))
    );
    let again = subscriber.down().await;
    assert_eq!((again.dup, again.pkid), (true, first[2].pkid));
    let new = subscriber.down().await;
    assert_eq!((new.dup, payloads(&[new])), (false, vec!["4".to_owned()]));
    broker.stop().await;
}

#[tokio::test]
async fn a_clean_session_forgets() {
    let broker = broker(|_| {}).await;
    let (mut kept, _) = broker.v4("c", false).await;
    kept.subscribe_as(&[("t", 1)]).await;
    drop(kept);
    let (mut publisher, _) = broker.v4("publisher", true).await;
    publisher.say("t", 1, false, "x").await;
    let (mut clean, present) = broker.v4("c", true).await;
    assert!(!present);
    clean.nothing().await;
    publisher.say("t", 1, false, "x").await;
    clean.nothing().await;
    drop(clean);
    let (_, present) = broker.v4("c", false).await;
    assert!(!present, "of a clean session nothing is kept");
    broker.stop().await;
}

/// Also ingestion.md 4.2, row 9: a publish without payload and without RETAIN takes nothing away.
#[tokio::test]
async fn retained_messages_are_kept_replaced_and_removed() {
    let broker = broker(|_| {}).await;
    let (mut publisher, _) = broker.v4("publisher", true).await;
    publisher.say("r/a", 1, true, "old").await;
    publisher.say("r/a", 2, true, "new").await;
    publisher.say("r/a", 1, false, "passing").await;
    publisher.say("r/a", 1, false, "").await;
    publisher.say("r/b", 0, true, "zero").await;
    publisher.say("r/c", 1, true, "gone").await;
    let (mut early, _) = broker.v4("early", true).await;
    early.subscribe_as(&[("r/c", 1)]).await;
    let kept = early.down().await;
    assert!(kept.retain);
    early.send(puback(kept.pkid)).await;
    publisher.say("r/c", 1, true, "").await;
    let live = early.down().await;
    assert!(
        !live.retain && live.payload.is_empty(),
        "told like any other, without RETAIN"
    );
    early.send(puback(live.pkid)).await;
    for _ in 0..2 {
        // A subscription that is made again gets them again.
        early.subscribe_as(&[("r/#", 1)]).await;
        let (a, b) = (early.down().await, early.down().await);
        assert_eq!(payloads(&[a.clone(), b.clone()]), ["new", "zero"]);
        assert!(a.retain && b.retain);
        assert_eq!((a.qos as u8, b.qos as u8), (1, 0));
        early.send(puback(a.pkid)).await;
        early.nothing().await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn filters_are_matched_and_unsubscribed_as_they_stand() {
    let broker = broker(|_| {}).await;
    let (mut publisher, _) = broker.v4("publisher", true).await;
    let (mut subscriber, _) = broker.v4("subscriber", true).await;
    for (filter, topic, expect) in [
        ("a/+", "a/b", true),
        ("a/+", "a", false),
        ("a/#", "a", true),
        ("+/+", "/a", true),
        ("/+", "/a", true),
        ("+", "/a", false),
        ("#", "$SYSx/a", false),
        ("A", "a", false),
        ("a b/ü", "a b/ü", true),
    ] {
        subscriber.subscribe_as(&[(filter, 0)]).await;
        if !topic.starts_with('$') {
            publisher.say(topic, 1, false, "x").await;
        }
        if expect {
            assert_eq!(subscriber.down().await.topic, topic, "{filter}");
        }
        subscriber.nothing().await;
        for other in ["a", filter] {
            let mut unsubscribe = v4::Unsubscribe::new(other);
            unsubscribe.pkid = 4;
            subscriber.send(v4::Packet::Unsubscribe(unsubscribe)).await;
            assert_eq!(
                subscriber.next().await,
                Some(v4::Packet::UnsubAck(v4::UnsubAck::new(4))),
                "whether there was one or not"
            );
        }
        if !topic.starts_with('$') {
            publisher.say(topic, 1, false, "x").await;
        }
        subscriber.nothing().await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn several_filters_are_answered_in_their_order() {
    let broker = broker(|config| {
        if let Some(anonymous) = &mut config.anonymous {
            anonymous.subscribe = vec!["open/#".into()];
        }
        config.limits.max_subscriptions = 3;
    })
    .await;
    let (mut client, _) = broker.v4("c", true).await;
    use v4::SubscribeReasonCode::{Failure, Success};
    let codes = client
        .subscribe_as(&[
            ("open/a", 2),
            ("closed", 1),
            ("open/#/x", 1),
            ("open/b", 0),
            ("#", 0),
        ])
        .await;
    assert_eq!(
        codes,
        [
            Success(rumqttc::QoS::ExactlyOnce),
            Failure,
            Failure,
            Success(rumqttc::QoS::AtMostOnce),
            Failure
        ]
    );
    let codes = client
        .subscribe_as(&[("open/a", 1), ("open/c", 1), ("open/d", 1)])
        .await;
    assert_eq!(
        codes[2], Failure,
        "three are enough; the one that is replaced doesn't count twice"
    );
    assert!(
        codes[..2]
            .iter()
            .all(|code| *code == Success(rumqttc::QoS::AtLeastOnce))
    );
    broker.stop().await;
}

/// [MQTT-3.1.2-8] to [MQTT-3.1.2-17], [MQTT-3.14.4-3] of 3.1.1.
#[tokio::test]
async fn wills_are_published_unless_said_goodbye() {
    let broker = broker(|_| {}).await;
    let (mut watcher, _) = broker.v4("watcher", true).await;
    watcher.subscribe_as(&[("will/#", 2)]).await;
    for (name, retain, goodbye) in [("a", false, false), ("b", true, false), ("c", true, true)] {
        let (mut client, _) = broker
            .v4_with(name, true, |connect| {
                let topic = format!("will/{name}");
                connect.last_will = Some(v4::LastWill::new(
                    topic,
                    "gone",
                    rumqttc::QoS::AtLeastOnce,
                    retain,
                ));
            })
            .await;
        client.nothing().await;
        if goodbye {
            client.send(v4::Packet::Disconnect).await;
            assert!(client.closed().await);
        } else {
            drop(client);
            let will = watcher.down().await;
            assert_eq!(
                (will.topic.as_str(), will.qos as u8),
                (&*format!("will/{name}"), 1)
            );
            watcher.send(puback(will.pkid)).await;
        }
    }
    watcher.nothing().await;
    let (mut late, _) = broker.v4("late", true).await;
    late.subscribe_as(&[("will/#", 0)]).await;
    assert_eq!(
        late.down().await.topic,
        "will/b",
        "only this one was to be retained"
    );
    late.nothing().await;
    // A protocol error is no goodbye.
    let (mut wrong, _) = broker
        .v4_with("d", true, |connect| {
            connect.last_will = Some(v4::LastWill::new(
                "will/d",
                "gone",
                rumqttc::QoS::AtMostOnce,
                false,
            ));
        })
        .await;
    wrong.send(v4::Packet::Connect(v4::Connect::new("d"))).await;
    assert!(wrong.closed().await, "a second CONNECT");
    assert_eq!(watcher.down().await.topic, "will/d");
    broker.stop().await;
}

#[tokio::test]
async fn client_ids_of_every_allowed_kind() {
    let broker = broker(|_| {}).await;
    let all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for id in [&all[..1], &all[..23], &all[39..], &"x".repeat(256), "ü"] {
        broker.v4(id, true).await.0.nothing().await;
    }
    let (mut one, _) = broker.v4("", true).await;
    let (mut other, _) = broker.v4("", true).await;
    one.nothing().await;
    other.nothing().await;
    let mut kept = v4::Connect::new("");
    kept.clean_session = false;
    let mut client = Client::open(broker.address).await;
    assert_eq!(client.connect_with(kept).await, 2, "nothing to keep it by");
    assert!(client.closed().await);
    broker.stop().await;
}

/// What [MQTT-4.8.0-1] and the rows of the packets ask for: the connection is closed.
#[tokio::test]
async fn what_cant_be_closes_the_connection() {
    let broker = broker(|_| {}).await;
    let all: [(&str, &[u8]); 14] = [
        ("reserved packet type 0", &[0x00, 0]),
        ("reserved packet type 15", &[0xf0, 0]),
        ("a server's packet", &[0x90, 3, 0, 1, 0]),
        ("SUBSCRIBE with wrong flags", &[0x80, 6, 0, 1, 0, 1, b't', 0]),
        ("UNSUBSCRIBE with wrong flags", &[0xa0, 5, 0, 1, 0, 1, b't']),
        ("PUBREL with wrong flags", &[0x60, 2, 0, 1]),
        ("DISCONNECT with flags", &[0xe1, 0]),
        ("SUBSCRIBE without filters", &[0x82, 2, 0, 1]),
        ("UNSUBSCRIBE without filters", &[0xa2, 2, 0, 1]),
        ("SUBSCRIBE with QoS 3", &[0x82, 6, 0, 1, 0, 1, b't', 3]),
        ("PUBLISH with QoS 3", &[0x36, 5, 0, 1, b't', 0, 1]),
        ("PUBLISH with a wildcard", &[0x30, 3, 0, 1, b'#']),
        ("PUBLISH with text that is none", &[0x30, 4, 0, 2, 0xff, 0xfe]),
        ("packet identifier 0", &[0x32, 5, 0, 1, b't', 0, 0]),
    ];
    for (what, bytes) in all {
        let (mut client, _) = broker.v4("c", true).await;
        use tokio::io::AsyncWriteExt;
        client.stream.write_all(bytes).await.unwrap();
        assert_eq!(client.next().await, None, "{what}");
    }
    broker.v4("c", true).await.0.nothing().await;
    broker.stop().await;
}

/// [MQTT-4.6.0-6]: what one publisher says comes in that order to everybody.
#[tokio::test]
async fn order_is_kept() {
    let broker = broker(|_| {}).await;
    let (mut subscriber, _) = broker.v4("subscriber", true).await;
    subscriber.subscribe_as(&[("t", 0)]).await;
    let (mut publisher, _) = broker.v4("publisher", true).await;
    for i in 0..300_u16 {
        publisher
            .publish_as(i + 1, "t", (i % 2) as u8, i.to_string())
            .await;
    }
    for i in 0..300 {
        assert_eq!(payloads(&[subscriber.down().await]), [i.to_string()]);
    }
    for i in (1..300_u16).step_by(2) {
        assert_eq!(publisher.next().await, Some(puback(i + 1)));
    }
    broker.stop().await;
}

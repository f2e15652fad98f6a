//! Why our own hub does the fan-out: what rumqttd 0.20's router, driven through its own public API,
//! does to messages. Each test states what we would need and shows that it is not so; when one of them
//! fails after an upgrade, rumqttd has got better and the decision (`front_door::hub`) should be
//! looked at again. `broker.rs` has the same situations against our listener.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use rumqttd::protocol::{
    Disconnect, DisconnectReasonCode, Filter, Packet, PubRel, PubRelReason, Publish, QoS, RetainForwardRule,
    Subscribe,
};
use rumqttd::{Notification, Router, RouterConfig};

/// Builds links to one router.
fn router(segment_bytes: usize) -> impl Fn(&str, bool) -> Option<(LinkTx, LinkRx)> {
    let config = RouterConfig {
        max_connections: 20,
        max_outgoing_packet_count: 100,
        max_segment_size: segment_bytes,
        max_segment_count: 2,
        ..RouterConfig::default()
    };
    let router = Router::new(0, config).spawn();
    move |id, clean| {
        let link = LinkBuilder::new(id, router.clone()).clean_session(clean).build();
        link.ok().map(|(tx, rx, _)| (tx, rx))
    }
}

/// The constructor makes QoS 0 only; a stored form can be read back with any.
fn publish(topic: &str, qos: u8, id: u16, retain: bool, payload: &[u8]) -> Packet {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0x30 | u8::from(retain) | qos << 1);
    bytes.put_u16(id);
    bytes.put_u16(topic.len() as u16);
    bytes.put_slice(topic.as_bytes());
    bytes.put_slice(payload);
    Packet::Publish(Publish::deserialize(bytes.freeze()), None)
}

fn subscribe(path: &str, qos: QoS) -> Packet {
    let filter = Filter {
        path: path.to_owned(),
        qos,
        nolocal: false,
        preserve_retain: false,
        retain_forward_rule: RetainForwardRule::OnEverySubscribe,
    };
    Packet::Subscribe(
        Subscribe {
            pkid: 1,
            filters: vec![filter],
        },
        None,
    )
}

/// What comes within `quiet` of the one before: payloads, and the number of acknowledgements.
fn drain(rx: &mut LinkRx, quiet: Duration) -> (Vec<Bytes>, usize) {
    let (mut payloads, mut acks) = (Vec::new(), 0);
    while let Ok(next) = rx.recv_deadline(Instant::now() + quiet) {
        match next {
            Some(Notification::Forward(forward)) => payloads.push(forward.publish.payload),
            Some(Notification::DeviceAck(_)) => acks += 1,
            Some(Notification::Unschedule) => rx.ready().unwrap(),
            _ => {}
        }
    }
    (payloads, acks)
}

const QUIET: Duration = Duration::from_millis(700);

/// ingestion.md 4.2, row 5: a subscriber that falls behind loses messages that were acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_subscriber_loses_acknowledged_messages() {
    let link = router(10 * 1024);
    let (mut slow, mut slow_rx) = link("slow", true).unwrap();
    slow.send(subscribe("t", QoS::AtMostOnce)).await.unwrap();
    let (mut tx, mut rx) = link("publisher", true).unwrap();
    let mut acknowledged = 0;
    for i in 0..2000_u16 {
        tx.send(publish("t", 1, i + 1, false, &[b'x'; 100]))
            .await
            .unwrap();
        if i % 50 == 49 {
            acknowledged += drain(&mut rx, Duration::from_millis(5)).1;
        }
    }
    acknowledged += drain(&mut rx, QUIET).1;
    let (got, _) = drain(&mut slow_rx, QUIET);
    assert_eq!(acknowledged, 2000, "each has its PUBACK");
    assert!(
        got.len() < 1900,
        "rumqttd delivered {} of 2000: it doesn't lose any more",
        got.len()
    );
}

/// Rows 9 and 10: a publish without payload and without RETAIN removes the retained message, and a
/// new subscriber gets the first hundred only.
#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_are_lost() {
    let link = router(1 << 20);
    let (mut tx, mut rx) = link("publisher", true).unwrap();
    tx.send(publish("one", 1, 1, true, b"kept")).await.unwrap();
    tx.send(publish("one", 1, 2, false, b"")).await.unwrap();
    for i in 0..300_u16 {
        tx.send(publish(&format!("many/{i}"), 1, i + 3, true, b"kept"))
            .await
            .unwrap();
        drain(&mut rx, Duration::from_millis(1));
    }
    drain(&mut rx, QUIET);
    for (id, filter, right) in [("a", "one", 1), ("b", "many/#", 300)] {
        let (mut late, mut late_rx) = link(id, true).unwrap();
        late.send(subscribe(filter, QoS::AtLeastOnce)).await.unwrap();
        let (got, _) = drain(&mut late_rx, QUIET);
        assert!(
            got.len() < right,
            "{filter}: rumqttd keeps all {right} retained messages now"
        );
    }
}

/// Row 11: a publisher with QoS 2 that comes back between PUBREC and PUBREL loses its message.
#[tokio::test(flavor = "multi_thread")]
async fn qos_2_is_lost_over_a_reconnect() {
    let link = router(1 << 20);
    let (mut subscriber, mut subscriber_rx) = link("subscriber", true).unwrap();
    subscriber.send(subscribe("t", QoS::AtMostOnce)).await.unwrap();
    let (mut tx, mut rx) = link("publisher", false).unwrap();
    tx.send(publish("t", 2, 7, false, b"once")).await.unwrap();
    assert_eq!(drain(&mut rx, QUIET).1, 1, "PUBREC: it is the broker's now");
    let bye = Disconnect {
        reason_code: DisconnectReasonCode::NormalDisconnection,
    };
    tx.send(Packet::Disconnect(bye, None)).await.unwrap();
    drain(&mut rx, QUIET);
    let (mut tx, mut rx) = link("publisher", false).unwrap();
    let release = PubRel {
        pkid: 7,
        reason: PubRelReason::Success,
    };
    tx.send(Packet::PubRel(release, None)).await.unwrap();
    drain(&mut rx, QUIET);
    let (got, _) = drain(&mut subscriber_rx, QUIET);
    assert_eq!(got.len(), 0, "rumqttd delivers it now");
}

/// Row 4: a member of a shared subscription leaves with a message unacknowledged, and the router's
/// thread is gone: nobody can connect any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_subscription_ends_the_router() {
    let link = router(1 << 20);
    let (mut member, mut member_rx) = link("member", false).unwrap();
    member
        .send(subscribe("$share/g/t", QoS::AtLeastOnce))
        .await
        .unwrap();
    drain(&mut member_rx, QUIET);
    let (mut tx, mut rx) = link("publisher", true).unwrap();
    tx.send(publish("t", 1, 1, false, b"x")).await.unwrap();
    drain(&mut rx, QUIET);
    assert_eq!(
        drain(&mut member_rx, QUIET).0.len(),
        1,
        "it has it and says nothing"
    );
    let bye = Disconnect {
        reason_code: DisconnectReasonCode::NormalDisconnection,
    };
    member.send(Packet::Disconnect(bye, None)).await.unwrap();
    // A thread of its own, left behind: an attempt that reaches the router as it ends is never answered.
    let (say, said) = std::sync::mpsc::sync_channel(0);
    std::thread::spawn(move || {
        while say
            .send(tx.publish("t", "x").is_ok() && link("next", true).is_some())
            .is_ok()
        {}
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut survives = true;
    while survives && Instant::now() < deadline {
        survives = said.recv_timeout(Duration::from_secs(3)) == Ok(true);
    }
    assert!(!survives, "rumqttd's router survives it now");
}

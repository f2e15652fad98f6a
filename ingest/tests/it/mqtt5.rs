//! MQTT 5.0: connections, flow and sessions. `docs/mqtt-conformance.md` has the statements.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{self, ConnectReturnCode, DisconnectReasonCode as Bye, Packet};

use crate::broker::{Client5, broker, filter, message};

#[tokio::test]
async fn connack_says_what_the_server_takes() {
    let broker = broker(|config| config.limits.max_keep_alive_s = 60).await;
    let (mut client, ack) = broker.v5_with("", |connect, _| connect.keep_alive = 600).await;
    let properties = ack.properties.unwrap();
    assert_eq!(properties.receive_max, Some(256));
    assert_eq!(properties.max_packet_size, Some(4 << 20));
    assert_eq!(properties.topic_alias_max, Some(32));
    assert_eq!(properties.server_keep_alive, Some(60));
    assert!(
        properties
            .assigned_client_identifier
            .unwrap()
            .starts_with("auto-")
    );
    assert_eq!(
        (properties.authentication_method, properties.response_information),
        (None, None)
    );
    client.nothing().await;
    let (_, ack) = broker.v5_with("c", |connect, _| connect.keep_alive = 30).await;
    let properties = ack.properties.unwrap();
    assert_eq!(
        (
            properties.server_keep_alive,
            properties.assigned_client_identifier
        ),
        (None, None)
    );
    broker.stop().await;
}

#[tokio::test]
async fn a_refused_connect_says_why_and_is_closed() {
    let broker = broker(|_| {}).await;
    let mut client = Client5::open(broker.address).await;
    let ack = client
        .connect("c", |connect, _| {
            connect.properties.as_mut().unwrap().authentication_method = Some("SCRAM-SHA-1".into());
        })
        .await;
    assert_eq!(
        (ack.code, ack.session_present),
        (ConnectReturnCode::BadAuthenticationMethod, false)
    );
    client.closed().await;
    let mut long = Client5::open(broker.address).await;
    let ack = long.connect(&"x".repeat(300), |_, _| {}).await;
    assert_eq!(ack.code, ConnectReturnCode::ClientIdentifierNotValid);
    assert!(ack.properties.unwrap().reason_string.unwrap().contains("256"));
    long.closed().await;
    // Receive Maximum 0, a property twice: protocol errors. Reserved flag: malformed.
    for (bytes, code) in [
        (
            &[
                0x10, 16, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 9, 3, 0x21, 0, 0, 0, 0,
            ][..],
            ConnectReturnCode::ProtocolError,
        ),
        (
            &[
                0x10, 17, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 9, 4, 0x17, 0, 0x17, 0, 0, 0,
            ],
            ConnectReturnCode::ProtocolError,
        ),
        (
            &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, 3, 0, 9, 0, 0, 0],
            ConnectReturnCode::MalformedPacket,
        ),
        (
            &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 6, 2, 0, 9, 0, 0, 0],
            ConnectReturnCode::UnsupportedProtocolVersion,
        ),
    ] {
        let mut client = Client5::open(broker.address).await;
        client.raw(bytes).await;
        match client.next().await {
            Some(Packet::ConnAck(ack)) => assert_eq!(ack.code, code),
            other => panic!("{other:?}"),
        }
        client.closed().await;
    }
    // What comes behind a refused CONNECT is not looked at.
    broker.v5("after").await.nothing().await;
    broker.stop().await;
}

#[tokio::test]
async fn the_clients_receive_maximum_is_kept() {
    let broker = broker(|_| {}).await;
    let (mut client, _) = broker
        .v5_with("c", |connect, _| {
            connect.properties.as_mut().unwrap().receive_maximum = Some(2)
        })
        .await;
    client.subscribe(vec![filter("t", 2)], None).await;
    let mut publisher = broker.v5("publisher").await;
    for (i, qos) in [(1, 1), (2, 2), (3, 1), (4, 1)] {
        publisher.publish(message("t", qos, i, "x")).await;
    }
    let (first, second) = (client.message().await, client.message().await);
    assert_eq!((first.qos, second.qos), (QoS::AtLeastOnce, QoS::ExactlyOnce));
    // Everything else goes on meanwhile.
    client.nothing().await;
    client.subscribe(vec![filter("other", 1)], None).await;
    client.ack(first.pkid).await;
    assert_eq!(client.message().await.qos, QoS::AtLeastOnce);
    client.nothing().await;
    // A PUBREC that refuses ends it: nothing follows but the next message.
    let mut refused = v5::PubRec::new(second.pkid, None);
    refused.reason = v5::PubRecReason::QuotaExceeded;
    client.send(Packet::PubRec(refused)).await;
    client.message().await;
    client.nothing().await;
    broker.stop().await;
}

#[tokio::test]
async fn our_receive_maximum_is_asked_for() {
    let broker = broker(|config| config.limits.in_flight = 3).await;
    let mut client = broker.v5("c").await;
    for id in 1..=4 {
        client.send(Packet::Publish(message("t", 2, id, "x"))).await;
    }
    for id in 1..=3 {
        assert_eq!(
            client.next().await,
            Some(Packet::PubRec(v5::PubRec::new(id, None)))
        );
    }
    assert_eq!(client.told().await, Bye::ReceiveMaximumExceeded);
    broker.stop().await;
}

#[tokio::test]
async fn packets_larger_than_the_client_takes_are_left_out() {
    let broker = broker(|_| {}).await;
    let (mut client, _) = broker
        .v5_with("c", |connect, _| {
            connect.properties.as_mut().unwrap().max_packet_size = Some(40)
        })
        .await;
    client.subscribe(vec![filter("t", 1)], None).await;
    let mut publisher = broker.v5("publisher").await;
    let long = "a payload that doesn't fit into forty bytes";
    for (i, text) in [(1, long), (2, "short")] {
        publisher.publish(message("t", 1, i, text)).await;
    }
    assert_eq!(client.message().await.payload, "short");
    // A reason string that doesn't fit is left out, the reason code isn't.
    client.raw(&[0x30, 3, 0, 0, 0]).await;
    assert_eq!(client.told().await, Bye::ProtocolError);
    broker.stop().await;
}

#[tokio::test]
async fn sessions_live_as_long_as_they_asked() {
    let broker = broker(|config| config.limits.session_expiry_s = 1000).await;
    let with = |expiry: Option<u32>, clean: bool| {
        move |connect: &mut v5::Connect, _: &mut Option<v5::LastWill>| {
            connect.clean_start = clean;
            connect.properties.as_mut().unwrap().session_expiry_interval = expiry;
        }
    };
    let (client, ack) = broker.v5_with("c", with(Some(5000), false)).await;
    assert_eq!(
        ack.properties.unwrap().session_expiry_interval,
        Some(1000),
        "no longer than that"
    );
    drop(client);
    let (mut client, ack) = broker.v5_with("c", with(Some(500), false)).await;
    assert!(ack.session_present);
    assert_eq!(ack.properties.unwrap().session_expiry_interval, None);
    // DISCONNECT may end it at once.
    let bye = v5::Disconnect {
        reason_code: Bye::NormalDisconnection,
        properties: Some(v5::DisconnectProperties {
            session_expiry_interval: Some(0),
            reason_string: None,
            user_properties: Vec::new(),
            server_reference: None,
        }),
    };
    let raw = [0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0];
    assert_eq!(bye.reason_code as u8, raw[2]);
    client.raw(&raw).await;
    client.closed().await;
    let (client, ack) = broker.v5_with("c", with(None, false)).await;
    assert!(!ack.session_present);
    drop(client);
    let (mut client, ack) = broker.v5_with("c", with(None, false)).await;
    assert!(
        !ack.session_present,
        "without an expiry it ends with the connection"
    );
    // One that was 0 can't be raised.
    client.raw(&[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 9]).await;
    assert_eq!(client.told().await, Bye::ProtocolError);
    let (client, _) = broker.v5_with("short", with(Some(1), false)).await;
    drop(client);
    // Level: until it has ended.
    loop {
        let (client, ack) = broker.v5_with("short", with(Some(1), false)).await;
        if !ack.session_present {
            break;
        }
        drop(client);
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_delayed_will_waits_for_the_client() {
    let broker = broker(|_| {}).await;
    let willing = |delay: u32, expiry: u32| {
        move |connect: &mut v5::Connect, will: &mut Option<v5::LastWill>| {
            connect.clean_start = false;
            connect.properties.as_mut().unwrap().session_expiry_interval = Some(expiry);
            let properties = v5::LastWillProperties {
                delay_interval: Some(delay),
                payload_format_indicator: None,
                message_expiry_interval: Some(77),
                content_type: Some("will".into()),
                response_topic: None,
                correlation_data: None,
                user_properties: vec![("k".into(), "v".into())],
            };
            *will = Some(v5::LastWill::new(
                "will",
                "gone",
                QoS::AtLeastOnce,
                false,
                Some(properties),
            ));
        }
    };
    let mut watcher = broker.v5("watcher").await;
    watcher.subscribe(vec![filter("will", 0)], None).await;
    // Back in time: no will.
    let (client, _) = broker.v5_with("c", willing(600, 1000)).await;
    drop(client);
    let (mut client, ack) = broker.v5_with("c", willing(1, 1000)).await;
    assert!(ack.session_present);
    client.nothing().await;
    watcher.nothing().await;
    // Not back: after its delay.
    drop(client);
    let will = watcher.message().await;
    let properties = will.properties.unwrap();
    assert_eq!(
        (will.payload, properties.content_type),
        (Bytes::from_static(b"gone"), Some("will".into()))
    );
    assert_eq!(properties.user_properties, [("k".to_owned(), "v".to_owned())]);
    assert_eq!(properties.message_expiry_interval, Some(77));
    // The session ends first: then it is due.
    let (client, _) = broker.v5_with("d", willing(600, 1000)).await;
    drop(client);
    let (_clean, _) = broker.v5_with("d", |_, _| {}).await;
    assert_eq!(watcher.message().await.payload, "gone");
    // "Disconnect with Will Message" is no goodbye either.
    let (mut client, _) = broker.v5_with("e", willing(0, 0)).await;
    client.raw(&[0xe0, 1, 4]).await;
    assert_eq!(watcher.message().await.payload, "gone");
    let (mut client, _) = broker.v5_with("e", willing(0, 0)).await;
    client.raw(&[0xe0, 1, 0]).await;
    client.closed().await;
    watcher.nothing().await;
    broker.stop().await;
}

#[tokio::test]
async fn errors_are_told_and_the_connection_is_closed() {
    let broker = broker(|_| {}).await;
    let all: [(&str, &[u8], Bye); 9] = [
        (
            "a second CONNECT",
            &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 9, 0, 0, 0],
            Bye::ProtocolError,
        ),
        ("AUTH", &[0xf0, 0], Bye::ProtocolError),
        (
            "SUBSCRIBE without filters",
            &[0x82, 3, 0, 1, 0],
            Bye::ProtocolError,
        ),
        (
            "an identifier of a client",
            &[0x30, 6, 0, 1, b't', 2, 0x0b, 1],
            Bye::ProtocolError,
        ),
        (
            "a response topic with a wildcard",
            &[0x30, 8, 0, 1, b't', 4, 8, 0, 1, b'#'],
            Bye::ProtocolError,
        ),
        ("no topic", &[0x30, 3, 0, 0, 0], Bye::ProtocolError),
        (
            "reserved options",
            &[0x82, 7, 0, 1, 0, 0, 1, b't', 0x40],
            Bye::MalformedPacket,
        ),
        ("flags of DISCONNECT", &[0xe1, 0], Bye::MalformedPacket),
        ("NUL in a topic", &[0x30, 4, 0, 1, 0, 0], Bye::MalformedPacket),
    ];
    for (what, bytes, why) in all {
        let mut client = broker.v5("c").await;
        client.raw(bytes).await;
        assert_eq!(client.told().await, why, "{what}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn no_reason_strings_for_who_wants_none() {
    let broker = broker(|config| {
        if let Some(anonymous) = &mut config.anonymous {
            anonymous.publish = vec!["open".into()];
        }
    })
    .await;
    for wants in [1, 0] {
        let (mut client, _) = broker
            .v5_with("c", |connect, _| {
                connect.properties.as_mut().unwrap().request_problem_info = Some(wants)
            })
            .await;
        client.send(Packet::Publish(message("closed", 1, 1, "x"))).await;
        match client.next().await {
            Some(Packet::PubAck(ack)) => {
                assert_eq!(ack.reason, v5::PubAckReason::NotAuthorized);
                assert_eq!(ack.properties.is_some(), wants == 1);
            }
            other => panic!("{other:?}"),
        }
        client.send(Packet::Publish(message("closed", 2, 1, "x"))).await;
        match client.next().await {
            Some(Packet::PubRec(ack)) => assert_eq!(ack.reason, v5::PubRecReason::NotAuthorized),
            other => panic!("{other:?}"),
        }
        // Refused, so the number is free again.
        client.publish(message("open", 2, 1, "x")).await;
    }
    broker.stop().await;
}

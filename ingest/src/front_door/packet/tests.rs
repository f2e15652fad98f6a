use bytes::BytesMut;
use proptest::prelude::*;
use rumqttc::mqttbytes::v4;

use super::*;

fn connect_v4() -> BytesMut {
    let mut out = BytesMut::new();
    let mut connect = v4::Connect::new("c");
    connect.set_login("t/g", "secret");
    connect.write(&mut out).unwrap();
    out
}

fn frame(bytes: &[u8]) -> BytesMut {
    BytesMut::from(bytes)
}

/// CONNECT of 5.0 with these flags, properties and payload.
fn connect_v5(flags: u8, properties: &[u8], payload: &[u8]) -> BytesMut {
    let mut body = vec![
        0,
        4,
        b'M',
        b'Q',
        b'T',
        b'T',
        5,
        flags,
        0,
        60,
        properties.len() as u8,
    ];
    body.extend_from_slice(properties);
    body.extend_from_slice(payload);
    let mut out = BytesMut::from(&[0x10, body.len() as u8][..]);
    out.extend_from_slice(&body);
    out
}

fn is_malformed<T: std::fmt::Debug>(result: Result<T, PacketError>) -> bool {
    matches!(result, Err(PacketError::Malformed(_)))
}

fn is_protocol<T: std::fmt::Debug>(result: Result<T, PacketError>) -> bool {
    matches!(result, Err(PacketError::Protocol(_)))
}

#[test]
fn connect_is_sniffed() {
    let connect = read_connect(connect_v4()).unwrap();
    assert_eq!(
        (connect.version, connect.login.unwrap().0.as_str()),
        (Version::V4, "t/g")
    );
    let mut old = connect_v4();
    old[8] = 3;
    assert_eq!(read_connect(old), Err(PacketError::UnknownVersion(3)));
    assert_eq!(read_connect(frame(&[0xc0, 0])), Err(PacketError::NotConnect));
    assert!(
        is_malformed(read_connect(frame(&[0x11, 0]))),
        "flags of the fixed header"
    );
}

/// [MQTT-3.1.2-3], [MQTT-3.1.2-11], [MQTT-3.1.2-13] to [MQTT-3.1.2-15], [MQTT-3.1.2-22] of 3.1.1.
#[test]
fn connect_flags_that_cant_be() {
    for (flags, payload) in [
        (0x03, &[0, 1, b'c'][..]),
        (0x0a, &[0, 1, b'c']),
        (0x22, &[0, 1, b'c']),
        (0x1e, &[0, 1, b'c', 0, 1, b't', 0, 0]),
        (0x42, &[0, 1, b'c', 0, 1, b'p']),
        (0x82, &[0, 1, b'c']),
        (0x02, &[0, 1, b'c', 9]),
        (0x06, &[0, 1, b'c', 0, 1, b'#', 0, 0]),
    ] {
        let mut bytes = vec![
            0x10,
            10 + payload.len() as u8,
            0,
            4,
            b'M',
            b'Q',
            b'T',
            b'T',
            4,
            flags,
            0,
            60,
        ];
        bytes.extend_from_slice(payload);
        assert!(is_malformed(read_connect(frame(&bytes))), "{flags:#04x}");
    }
}

/// [MQTT-1.5.4-1], [MQTT-1.5.4-2], [MQTT-1.5.7-1]: everywhere a text stands.
#[test]
fn text_is_utf_8_without_nul() {
    for bad in [&[0xff, 0xfe][..], &[0xed, 0xa0, 0x80], &[0], &[0xc0, 0x80]] {
        let n = bad.len() as u8;
        let with = |before: &[u8], after: &[u8]| {
            let mut body = before.to_vec();
            body.extend_from_slice(&[0, n]);
            body.extend_from_slice(bad);
            body.extend_from_slice(after);
            body
        };
        let packet = |first: u8, body: Vec<u8>| {
            let mut out = vec![first, body.len() as u8];
            out.extend(body);
            BytesMut::from(&out[..])
        };
        assert!(is_malformed(read_connect(connect_v5(2, &[], &with(&[], &[])))));
        assert!(is_malformed(read(Version::V4, packet(0x30, with(&[], b"x")))));
        assert!(is_malformed(read(Version::V4, packet(0x82, with(&[0, 1], &[0])))));
        assert!(is_malformed(read(Version::V4, packet(0xa2, with(&[0, 1], &[])))));
        let pair = with(&[0, 1, b't', 5 + n, 0x26, 0, 1, b'k'], &[]);
        assert!(is_malformed(read(Version::V5, packet(0x30, pair))));
    }
    // [MQTT-1.5.4-3]: a byte order mark is a character like any other.
    let bom = frame(&[0x30, 6, 0, 4, 0xef, 0xbb, 0xbf, b't']);
    let Ok(FromClient::Publish(publish)) = read(Version::V4, bom) else {
        panic!()
    };
    assert_eq!(publish.topic, "\u{feff}t");
}

/// 5.0, 2.2.2.2 and [MQTT-3.1.3-11]: each property where it belongs, once, with a value it may have.
#[test]
fn properties_stand_where_and_as_they_may() {
    let good = [
        0x11, 0, 0, 0, 9, 0x21, 0, 5, 0x27, 0, 0, 1, 0, 0x22, 0, 3, 0x17, 0,
    ];
    let connect = read_connect(connect_v5(2, &good, &[0, 0])).unwrap();
    assert_eq!(
        (
            connect.session_expiry,
            connect.receive_max,
            connect.max_packet,
            connect.alias_max,
            connect.problem_info
        ),
        (Some(9), 5, Some(256), 3, false)
    );
    for twice in [&[0x21, 0, 5, 0x21, 0, 5][..], &[0x17, 0, 0x17, 0]] {
        assert!(is_protocol(read_connect(connect_v5(2, twice, &[0, 0]))));
    }
    for value in [&[0x21, 0, 0][..], &[0x27, 0, 0, 0, 0], &[0x17, 2], &[0x16, 0, 0]] {
        assert!(
            is_protocol(read_connect(connect_v5(2, value, &[0, 0]))),
            "{value:?}"
        );
    }
    for foreign in [&[0x23, 0, 1][..], &[0x0b, 1], &[0x18, 0, 0, 0, 0]] {
        assert!(
            is_protocol(read_connect(connect_v5(2, foreign, &[0, 0]))),
            "{foreign:?}"
        );
    }
    for none in [&[0x7f][..], &[0x11, 0, 0], &[0x12, 0, 0]] {
        assert!(
            is_malformed(read_connect(connect_v5(2, none, &[0, 0]))),
            "{none:?}"
        );
    }
    let publish = |properties: &[u8]| {
        let mut bytes = vec![
            0x30,
            4 + properties.len() as u8,
            0,
            1,
            b't',
            properties.len() as u8,
        ];
        bytes.extend_from_slice(properties);
        read(Version::V5, BytesMut::from(&bytes[..]))
    };
    assert!(publish(&[0x01, 1, 0x02, 0, 0, 0, 9]).is_ok());
    assert!(is_protocol(publish(&[0x01, 2])));
    assert!(is_protocol(publish(&[0x0b, 1])), "[MQTT-3.3.4-6]");
    assert!(is_protocol(publish(&[0x08, 0, 1, b'#'])), "[MQTT-3.3.2-14]");
    assert_eq!(publish(&[0x23, 0, 0]), Err(PacketError::AliasZero));
    assert!(is_malformed(publish(&[0x0b, 0x81, 0x00])) || is_protocol(publish(&[0x0b, 0x81, 0x00])));
}

/// [MQTT-1.5.5-1]
#[test]
fn numbers_take_the_fewest_bytes() {
    assert!(is_malformed(read(
        Version::V5,
        frame(&[0x30, 5, 0, 1, b't', 0x80, 0x00])
    )));
    assert!(is_malformed(read(
        Version::V5,
        frame(&[0x82, 8, 0, 1, 3, 0x0b, 0x81, 0, 0, 0])
    )));
}

#[test]
fn frames_are_cut_and_bounded() {
    let mut buffer = frame(&[0xc0, 0, 0x30, 3, 0]);
    assert_eq!(next_frame(&mut buffer, 100).unwrap().unwrap().len(), 2);
    assert_eq!(next_frame(&mut buffer, 100), Ok(None));
    assert_eq!(next_frame(&mut buffer, 4), Err(PacketError::TooLarge(5)));
    let mut endless = frame(&[0x30, 0xff, 0xff, 0xff, 0xff]);
    assert!(is_malformed(next_frame(&mut endless, 100)));
}

/// [MQTT-2.2.2-2], [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1], [MQTT-3.14.1-1].
#[test]
fn reserved_flags_are_refused() {
    for version in [Version::V4, Version::V5] {
        for bytes in [
            &[0x80, 6, 0, 1, 0, 1, b't', 0][..],
            &[0xa0, 5, 0, 1, 0, 1, b't'],
            &[0x60, 2, 0, 1],
            &[0xc1, 0],
            &[0xe1, 0],
            &[0x41, 2, 0, 1],
            &[0x00, 0],
        ] {
            assert!(is_malformed(read(version, frame(bytes))), "{bytes:?}");
        }
        let disconnect = FromClient::Disconnect {
            publish_will: false,
            session_expiry: None,
        };
        assert_eq!(read(version, frame(&[0xe0, 0])), Ok(disconnect));
    }
    assert!(is_protocol(read(Version::V5, frame(&[0xf0, 0]))), "AUTH");
    assert!(is_protocol(read(Version::V4, connect_v4())), "a second CONNECT");
}

/// [MQTT-2.3.1-1], [MQTT-3.3.1-2], [MQTT-3.3.1-4], [MQTT-3.3.2-2], [MQTT-4.7.3-1].
#[test]
fn publishes_that_cant_be() {
    for (bytes, why) in [
        (&[0x36, 5, 0, 1, b't', 0, 1][..], "QoS 3"),
        (&[0x38, 3, 0, 1, b't'], "DUP on QoS 0"),
        (&[0x32, 5, 0, 1, b't', 0, 0], "packet identifier 0"),
        (&[0x30, 3, 0, 1, b'+'], "a wildcard"),
        (&[0x30, 3, 0, 1, b'#'], "a wildcard"),
        (&[0x30, 3, 0, 9, b't'], "a topic that is longer than the packet"),
        (&[0x32, 4, 0, 1, b't', 0], "half a packet identifier"),
    ] {
        assert!(is_malformed(read(Version::V4, frame(bytes))), "{why}");
    }
    assert!(
        is_protocol(read(Version::V4, frame(&[0x30, 2, 0, 0]))),
        "no topic"
    );
}

/// [MQTT-3.8.3-3], [MQTT-3.8.3-4], [MQTT-3.10.3-2]; of 5.0 [MQTT-3.8.3-2], [MQTT-3.8.3-4], [MQTT-3.8.3-5].
#[test]
fn subscriptions_that_cant_be() {
    assert!(
        is_protocol(read(Version::V4, frame(&[0x82, 2, 0, 1]))),
        "no filter"
    );
    assert!(
        is_protocol(read(Version::V4, frame(&[0xa2, 2, 0, 1]))),
        "no filter"
    );
    for options in [3_u8, 4, 0x80] {
        assert!(is_malformed(read(
            Version::V4,
            frame(&[0x82, 6, 0, 1, 0, 1, b't', options])
        )));
    }
    let v5 = |options: u8| read(Version::V5, frame(&[0x82, 7, 0, 1, 0, 0, 1, b't', options]));
    assert!(is_malformed(v5(0x40)) && is_malformed(v5(3)) && is_protocol(v5(0x30)));
    let Ok(FromClient::Subscribe { filters, .. }) = v5(0b0010_1110) else {
        panic!()
    };
    assert_eq!(
        filters[0],
        Filter {
            filter: "t".into(),
            qos: 2,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DontSend,
        }
    );
    let mut shared = vec![0x82, 15, 0, 1, 0, 0, 10];
    shared.extend_from_slice(b"$share/g/t");
    shared[1] = shared.len() as u8 - 1;
    shared.push(4);
    assert!(
        is_protocol(read(Version::V5, BytesMut::from(&shared[..]))),
        "No Local"
    );
}

/// [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1], [MQTT-3.14.2-1] of 5.0.
#[test]
fn reason_codes_are_those_of_the_packet() {
    let ack = |first: u8, reason: u8| read(Version::V5, frame(&[first, 3, 0, 7, reason]));
    assert_eq!(
        ack(0x40, 0x97),
        Ok(FromClient::PubAck {
            packet_id: 7,
            refused: true
        })
    );
    assert_eq!(ack(0x62, 0x92), Ok(FromClient::PubRel(7)));
    for (first, reason) in [(0x40, 0x01), (0x50, 0x92), (0x62, 0x80), (0x70, 0x10)] {
        assert!(is_malformed(ack(first, reason)), "{first:#04x} {reason:#04x}");
    }
    assert!(is_malformed(read(Version::V5, frame(&[0xe0, 1, 3]))));
    assert_eq!(
        read(Version::V5, frame(&[0xe0, 7, 4, 5, 0x11, 0, 0, 0, 9])),
        Ok(FromClient::Disconnect {
            publish_will: true,
            session_expiry: Some(9)
        })
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64), v5 in any::<bool>(), kind in 0_u8..16) {
        let version = if v5 { Version::V5 } else { Version::V4 };
        let flags = if matches!(kind, 6 | 8 | 10) { 2 } else { 0 };
        let mut frame = BytesMut::from(&[kind << 4 | flags, bytes.len() as u8][..]);
        frame.extend_from_slice(&bytes);
        if let Ok(Some(whole)) = next_frame(&mut frame.clone(), 1000) {
            drop(read(version, whole));
        }
        let mut body = BytesMut::from(&[0x10, bytes.len() as u8 + 7, 0, 4, b'M', b'Q', b'T', b'T', if v5 { 5 } else { 4 }][..]);
        body.extend_from_slice(&bytes);
        drop(read_connect(body));
    }

    /// What we write down can be read by rumqttc, with every property.
    #[test]
    #[test]
    fn publishes_are_read_as_they_were_written(
        topic in "[a-z/]{1,20}", payload in prop::collection::vec(any::<u8>(), 0..300), qos in 0_u8..3,
        expiry in prop::option::of(any::<u32>()), user in prop::collection::vec(("[a-z]{0,3}", "[a-z]{0,200}"), 0..3),
        identifiers in prop::collection::vec(1_u32..268_435_455, 0..3),
    ) {
        let down = Down {
            topic: topic.clone(),
            payload: payload.clone().into(),
            qos,
            packet_id: if qos > 0 { 77 } else { 0 },
            expiry,
            properties: Properties { user: user.clone(), ..Properties::default() },
            identifiers,
            ..Down::default()
        };
        let mut out = BytesMut::new();
        write(Version::V5, ToClient::Publish(Box::new(down)), &mut out).unwrap();
        let whole = next_frame(&mut out, usize::MAX).unwrap().unwrap();
        prop_assert!(out.is_empty());
        let mut whole = whole;
        let rumqttc::v5::mqttbytes::v5::Packet::Publish(read) = rumqttc::v5::mqttbytes::v5::Packet::read(&mut whole, None).unwrap() else {
            return Err(TestCaseError::fail("not a publish"));
        };
        prop_assert_eq!(&read.topic[..], topic.as_bytes());
        prop_assert_eq!(&read.payload[..], &payload[..]);
        prop_assert_eq!(read.properties.map(|p| p.user_properties).unwrap_or_default(), user);
    }
}

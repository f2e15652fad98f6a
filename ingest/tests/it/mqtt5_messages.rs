//! MQTT 5.0: messages and subscriptions. `docs/mqtt-conformance.md` has the statements.

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    self, DisconnectReasonCode as Bye, Packet, PublishProperties, RetainForwardRule, SubscribeReasonCode,
};

use crate::broker::{broker, filter, message};

#[tokio::test]
async fn what_a_message_carries_arrives_unaltered() {
    let broker = broker(|_| {}).await;
    let mut subscriber = broker.v5("subscriber").await;
    subscriber.subscribe(vec![filter("t", 1)], None).await;
    let mut publisher = broker.v5("publisher").await;
    let user = [("b", "2"), ("a", "1"), ("b", "2")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let properties = PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(100),
        response_topic: Some("answer/here".into()),
        correlation_data: Some(Bytes::from_static(&[0, 255, 1])),
        user_properties: user.to_vec(),
        content_type: Some("text/plain; ü".into()),
        ..PublishProperties::default()
    };
    let mut sent = message("t", 1, 1, "x");
    sent.properties = Some(properties.clone());
    publisher.publish(sent).await;
    let mut got = subscriber.message().await.properties.unwrap();
    let expiry = got.message_expiry_interval.replace(100).unwrap();
    assert!((90..=100).contains(&expiry), "what is left: {expiry}");
    assert_eq!(got, properties);
    broker.stop().await;
}

#[tokio::test]
async fn expired_messages_are_not_delivered() {
    let broker = broker(|_| {}).await;
    let keep = |connect: &mut v5::Connect, _: &mut _| {
        connect.clean_start = false;
        connect.properties.as_mut().unwrap().session_expiry_interval = Some(600);
    };
    let (mut absent, _) = broker.v5_with("absent", keep).await;
    absent.subscribe(vec![filter("t", 1)], None).await;
    drop(absent);
    let mut publisher = broker.v5("publisher").await;
    for (text, expiry, retain) in [
        ("short", Some(1), true),
        ("long", Some(600), false),
        ("ever", None, false),
    ] {
        let mut sent = message(if retain { "kept" } else { "t" }, 1, 1, text);
        sent.retain = retain;
        sent.properties = Some(PublishProperties {
            message_expiry_interval: expiry,
            ..PublishProperties::default()
        });
        publisher.publish(sent.clone()).await;
        if retain {
            sent.topic = Bytes::from_static(b"t");
            sent.retain = false;
            publisher.publish(sent).await;
        }
    }
    // Level: a retained message with the same second is asked for until it is gone.
    let mut asker = broker.v5("asker").await;
    loop {
        asker.subscribe(vec![filter("kept", 0)], None).await;
        asker.send(Packet::PingReq(v5::PingReq)).await;
        match asker.next().await {
            Some(Packet::PingResp(_)) => break,
            Some(Packet::Publish(_)) => assert_eq!(asker.next().await, Some(Packet::PingResp(v5::PingResp))),
            other => panic!("{other:?}"),
        }
    }
    let (mut absent, ack) = broker.v5_with("absent", keep).await;
    assert!(ack.session_present);
    for text in ["long", "ever"] {
        let down = absent.message().await;
        assert_eq!(down.payload, text);
        absent.ack(down.pkid).await;
    }
    absent.nothing().await;
    broker.stop().await;
}

#[tokio::test]
async fn subscription_options_and_identifiers() {
    let broker = broker(|_| {}).await;
    let mut client = broker.v5("c").await;
    let mut own = filter("own", 1);
    own.nolocal = true;
    let mut kept = filter("kept/#", 1);
    kept.preserve_retain = true;
    let codes = client
        .subscribe(vec![own, kept, filter("kept/a", 2)], Some(7))
        .await;
    assert_eq!(
        codes,
        [
            SubscribeReasonCode::Success(QoS::AtLeastOnce),
            SubscribeReasonCode::Success(QoS::AtLeastOnce),
            SubscribeReasonCode::Success(QoS::ExactlyOnce)
        ]
    );
    client.publish(message("own", 1, 1, "x")).await;
    client.nothing().await;
    let mut other = broker.v5("other").await;
    other.publish(message("own", 1, 1, "x")).await;
    let down = client.message().await;
    assert_eq!(down.properties.unwrap().subscription_identifiers, [7]);
    client.ack(down.pkid).await;
    let mut retained = message("kept/a", 1, 1, "x");
    retained.retain = true;
    other.publish(retained).await;
    let down = client.message().await;
    assert!(down.retain, "as it was published");
    assert_eq!(
        down.properties.unwrap().subscription_identifiers,
        [7, 7],
        "both of them"
    );
    client.ack(down.pkid).await;
    // Retain handling.
    let with = |rule: RetainForwardRule| {
        let mut filter = filter("kept/a", 0);
        filter.retain_forward_rule = rule;
        vec![filter]
    };
    let mut late = broker.v5("late").await;
    late.subscribe(with(RetainForwardRule::Never), None).await;
    late.nothing().await;
    late.subscribe(with(RetainForwardRule::OnNewSubscribe), None)
        .await;
    late.nothing().await;
    late.subscribe(with(RetainForwardRule::OnEverySubscribe), None)
        .await;
    assert!(late.message().await.retain);
    let mut newer = broker.v5("newer").await;
    newer
        .subscribe(with(RetainForwardRule::OnNewSubscribe), None)
        .await;
    assert!(newer.message().await.retain);
    newer.nothing().await;
    // Without Retain As Published the flag says: this was kept.
    other
        .publish({
            let mut again = message("kept/a", 0, 0, "y");
            again.retain = true;
            again
        })
        .await;
    assert!(!newer.message().await.retain);
    broker.stop().await;
}

#[tokio::test]
async fn unsubscribe_says_whether_there_was_one() {
    let broker = broker(|_| {}).await;
    let mut client = broker.v5("c").await;
    client.subscribe(vec![filter("a/+", 1)], None).await;
    let unsubscribe = v5::Unsubscribe {
        pkid: 5,
        filters: vec!["a/b".into(), "a/+".into(), "a/+".into()],
        properties: None,
    };
    client.send(Packet::Unsubscribe(unsubscribe)).await;
    match client.next().await {
        Some(Packet::UnsubAck(ack)) => {
            use v5::UnsubAckReason::{NoSubscriptionExisted as No, Success as Yes};
            assert_eq!((ack.pkid, ack.reasons), (5, vec![No, Yes, No]));
        }
        other => panic!("{other:?}"),
    }
    client.publish(message("a/b", 1, 1, "x")).await;
    client.nothing().await;
    broker.stop().await;
}

#[tokio::test]
async fn aliases_up_and_down() {
    let broker = broker(|config| config.limits.topic_aliases = 2).await;
    let (mut subscriber, _) = broker
        .v5_with("subscriber", |connect, _| {
            connect.properties.as_mut().unwrap().topic_alias_max = Some(9);
        })
        .await;
    subscriber.subscribe(vec![filter("#", 0)], None).await;
    let mut publisher = broker.v5("publisher").await;
    let with_alias = |topic: &'static str, alias: u16| {
        let mut publish = message(topic, 1, 1, "x");
        publish.properties = Some(PublishProperties {
            topic_alias: Some(alias),
            ..PublishProperties::default()
        });
        publish
    };
    for (topic, alias, full) in [
        ("a", 1, "a"),
        ("b", 2, "b"),
        ("", 1, "a"),
        ("c", 1, "c"),
        ("", 1, "c"),
    ] {
        publisher.publish(with_alias(topic, alias)).await;
        let down = subscriber.message().await;
        let alias = down.properties.and_then(|properties| properties.topic_alias);
        // Ours: the first two topics get one, then their names are left out.
        match full {
            "a" => assert_eq!((&down.topic[..], alias), (topic.as_bytes(), Some(1))),
            "b" => assert_eq!((&down.topic[..], alias), (&b"b"[..], Some(2))),
            _ => assert_eq!((&down.topic[..], alias), (&b"c"[..], None)),
        }
    }
    // Not carried to the next connection.
    drop(publisher);
    let mut publisher = broker.v5("publisher").await;
    publisher.send(Packet::Publish(with_alias("", 1))).await;
    assert_eq!(publisher.told().await, Bye::ProtocolError);
    for alias in [3, 0] {
        let mut publisher = broker.v5("publisher").await;
        publisher.send(Packet::Publish(with_alias("a", alias))).await;
        assert_eq!(publisher.told().await, Bye::TopicAliasInvalid);
    }
    // A client that takes none gets none.
    let mut plain = broker.v5("plain").await;
    plain.subscribe(vec![filter("t", 0)], None).await;
    broker.v5("p").await.publish(message("t", 1, 1, "x")).await;
    assert_eq!(plain.message().await.properties, None);
    broker.stop().await;
}

#[tokio::test]
async fn groups_share_their_messages() {
    let broker = broker(|_| {}).await;
    let mut members = Vec::new();
    for id in ["a", "b"] {
        let mut member = broker.v5(id).await;
        let codes = member.subscribe(vec![filter("$share/g/t/+", 1)], None).await;
        assert_eq!(codes, [SubscribeReasonCode::Success(QoS::AtLeastOnce)]);
        members.push(member);
    }
    let mut all = broker.v5("all").await;
    all.subscribe(vec![filter("t/x", 0)], None).await;
    let codes = all
        .subscribe(
            vec![
                filter("$share/g", 0),
                filter("$share//x", 0),
                filter("$share/+/x", 0),
            ],
            None,
        )
        .await;
    assert_eq!(codes, [SubscribeReasonCode::TopicFilterInvalid; 3]);
    let mut publisher = broker.v5("publisher").await;
    for i in 1..=6 {
        publisher.publish(message("t/x", 2, i, "x")).await;
        all.message().await;
    }
    for member in &mut members {
        for _ in 0..3 {
            let down = member.message().await;
            assert_eq!(down.qos, QoS::AtLeastOnce);
            member.ack(down.pkid).await;
        }
        member.nothing().await;
    }
    // No retained messages for a group; one that refuses a message has got it.
    publisher
        .publish({
            let mut kept = message("t/y", 0, 0, "x");
            kept.retain = true;
            kept
        })
        .await;
    for member in &mut members {
        member.send(Packet::PingReq(v5::PingReq)).await;
        while !matches!(member.next().await, Some(Packet::PingResp(_))) {}
    }
    members[0].subscribe(vec![filter("$share/h/t/y", 1)], None).await;
    members[0].nothing().await;
    publisher.publish(message("t/z", 1, 7, "x")).await;
    let mut refused = 0;
    for member in &mut members {
        member.send(Packet::PingReq(v5::PingReq)).await;
        if let Some(Packet::Publish(down)) = member.next().await {
            let mut no = v5::PubAck::new(down.pkid, None);
            no.reason = v5::PubAckReason::UnspecifiedError;
            member.send(Packet::PubAck(no)).await;
            member.next().await;
            refused += 1;
        }
    }
    for member in &mut members {
        member.nothing().await;
    }
    assert_eq!(refused, 1);
    broker.stop().await;
}

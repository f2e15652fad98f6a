use rumqttc::mqttbytes::v4;

use crate::harness::{Client, start};

#[tokio::test]
async fn refusals_have_the_right_code() {
    let service = start(|_| {}).await;
    let gateway = service.gateway("line-1").await;
    for (user, secret, code) in [
        ("line-1", "wrong", 4),
        ("line-2", "line-1", 4),
        ("line-1", "", 4),
        ("line-1", "line-1", 0),
    ] {
        assert_eq!(
            Client::open(service.address)
                .await
                .connect(user, secret, "c")
                .await,
            code,
            "{user} {secret}"
        );
    }
    let mut anonymous = Client::open(service.address).await;
    assert_eq!(anonymous.connect_with(v4::Connect::new("c")).await, 5);
    assert!(anonymous.closed().await);
    let mut no_tenant = v4::Connect::new("c");
    no_tenant.set_login("line-1", "line-1");
    assert_eq!(
        Client::open(service.address).await.connect_with(no_tenant).await,
        4
    );

    // Rotation: two secrets are valid at once.
    let second = service.credential(gateway, "second").await;
    assert_eq!(
        Client::open(service.address)
            .await
            .connect("line-1", "second", "d")
            .await,
        0
    );
    sqlx::query("UPDATE gateway_credential SET expires_at = now() - interval '1 s' WHERE id = $1")
        .bind(second)
        .execute(&service.database.owner)
        .await
        .unwrap();
    assert_eq!(
        Client::open(service.address)
            .await
            .connect("line-1", "second", "d")
            .await,
        4
    );
    service.stop().await;
}

#[tokio::test]
async fn a_will_on_a_foreign_topic_is_refused_and_an_own_one_is_published() {
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    let with_will = |topic: &str| {
        let mut connect = v4::Connect::new("willing");
        connect.set_login("acme/line-1", "line-1");
        connect.last_will = Some(v4::LastWill::new(
            topic,
            br#"{"online":false}"#.to_vec(),
            rumqttc::QoS::AtLeastOnce,
            true,
        ));
        connect
    };
    assert_eq!(
        Client::open(service.address)
            .await
            .connect_with(with_will("fw/v1/acme/line-2/state"))
            .await,
        5
    );
    let mut willing = Client::open(service.address).await;
    assert_eq!(willing.connect_with(with_will("fw/v1/me/state")).await, 0);
    let mut watcher = service.client("line-1").await;
    watcher.subscribe("fw/v1/acme/line-1/state").await;
    drop(willing);
    let (topic, message) = watcher.message().await;
    assert_eq!(
        (topic.as_str(), message["online"].as_bool()),
        ("fw/v1/acme/line-1/state", Some(false))
    );
    // Retained: a later subscriber gets it too, under the name it asked for.
    let mut late = Client::open(service.address).await;
    late.connect("line-1", "line-1", "late").await;
    late.subscribe("fw/v1/me/state").await;
    assert_eq!(late.message().await.0, "fw/v1/me/state");
    service.stop().await;
}

#[tokio::test]
async fn takeover_closes_the_older_connection_of_the_same_gateway_only() {
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    service.gateway("line-2").await;
    let mut older = service.client("line-1").await;
    let mut neighbour = service.client("line-2").await;
    let mut newer = service.client("line-1").await;
    assert!(older.closed().await);
    for client in [&mut neighbour, &mut newer] {
        client.send(v4::Packet::PingReq).await;
        assert_eq!(client.next().await, Some(v4::Packet::PingResp));
    }
    service.stop().await;
}

#[tokio::test]
async fn revocation_closes_the_connection() {
    let service = start(|_| {}).await;
    let gateway = service.gateway("line-1").await;
    let mut client = service.client("line-1").await;
    sqlx::query("UPDATE gateway_credential SET revoked_at = now() WHERE gateway_id = $1")
        .bind(gateway)
        .execute(&service.database.owner)
        .await
        .unwrap();
    assert!(client.closed().await);
    service.stop().await;
}

#[tokio::test]
async fn foreign_topics_are_refused() {
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    service.gateway("line-2").await;
    let mut client = service.client("line-1").await;
    for filter in [
        "fw/v1/acme/line-2/committed",
        "#",
        "fw/v1/acme/+/error",
        "$share/g/fw/v1/acme/line-2/#",
    ] {
        assert_eq!(
            client.subscribe(filter).await,
            [v4::SubscribeReasonCode::Failure],
            "{filter}"
        );
    }
    assert_eq!(
        client.subscribe("fw/v1/me/#").await,
        [v4::SubscribeReasonCode::Success(rumqttc::QoS::AtLeastOnce)]
    );
    client
        .publish("fw/v1/acme/line-2/json/pump", 1, "{\"a\":1}")
        .await;
    assert!(
        client.closed().await,
        "MQTT 3.1.1 has no other way to refuse a publish"
    );
    assert_eq!(service.number("SELECT count(*) FROM reading").await, 0);
    service.stop().await;
}

#[tokio::test]
async fn v5_says_why() {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, SubscribeReasonCode};
    use rumqttc::v5::{AsyncClient, Event, MqttOptions};

    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    let mut options = MqttOptions::new("v5", service.address.ip().to_string(), service.address.port());
    options.set_credentials("acme/line-1", "line-1");
    let (client, mut events) = AsyncClient::new(options, 10);
    client
        .subscribe("fw/v1/acme/line-2/#", QoS::AtLeastOnce)
        .await
        .unwrap();
    client
        .publish("fw/v1/acme/line-2/batch", QoS::AtLeastOnce, false, "x")
        .await
        .unwrap();
    client
        .publish("fw/v1/me/json/pump", QoS::AtLeastOnce, false, "{\"a\":1}")
        .await
        .unwrap();
    client
        .publish("fw/v1/me/json/pump", QoS::AtLeastOnce, false, "{\"a\":")
        .await
        .unwrap();
    let (mut subscribed, mut answers) = (None, Vec::new());
    while answers.len() < 3 || subscribed.is_none() {
        match tokio::time::timeout(crate::harness::WAIT, events.poll())
            .await
            .unwrap()
            .unwrap()
        {
            Event::Incoming(Packet::PubAck(ack)) => answers.push(ack.reason),
            Event::Incoming(Packet::SubAck(ack)) => subscribed = Some(ack.return_codes),
            _ => {}
        }
    }
    assert_eq!(subscribed.unwrap(), [SubscribeReasonCode::NotAuthorized]);
    assert_eq!(
        answers,
        [
            PubAckReason::NotAuthorized,
            PubAckReason::Success,
            PubAckReason::PayloadFormatInvalid
        ]
    );
    service.stop().await;
}

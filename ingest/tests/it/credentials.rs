//! Passwords, grants, claim codes, quotas, clocks.

use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Params};
use models::id::GatewayId;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;
use sha2::{Digest, Sha256};

use crate::broker::{Client5, filter, message};
use crate::harness::{Client, Service, T0, start};

async fn by_password(service: &Service, gateway: GatewayId, password: &str) {
    let salt = SaltString::encode_b64(b"0123456789abcdef").unwrap();
    let weak = Argon2::new(
        Algorithm::Argon2id,
        argon2::Version::V0x13,
        Params::new(64, 1, 1, None).unwrap(),
    );
    let hash = weak
        .hash_password(password.as_bytes(), &salt)
        .unwrap()
        .to_string();
    sqlx::query(
        "INSERT INTO gateway_credential (id, tenant_id, gateway_id, password_hash) VALUES (gen_random_uuid(), $1, $2, $3)",
    )
    .bind(service.tenant)
    .bind(gateway)
    .bind(hash)
    .execute(&service.database.owner)
    .await
    .unwrap();
}

pub async fn grant(service: &Service, gateway: GatewayId, publish: &[&str], subscribe: &[&str]) {
    sqlx::query(
        "UPDATE gateway_credential SET publish_filters = $2, subscribe_filters = $3 WHERE gateway_id = $1",
    )
    .bind(gateway)
    .bind(publish)
    .bind(subscribe)
    .execute(&service.database.owner)
    .await
    .unwrap();
}

#[tokio::test]
async fn a_password_and_a_secret_open_side_by_side() {
    let service = start(|_| {}).await;
    let gateway = service.gateway("line-1").await;
    by_password(&service, gateway, "correct horse battery").await;
    for (secret, code) in [
        ("correct horse battery", 0),
        ("correct horse battery", 0),
        ("correct horse", 4),
        ("line-1", 0),
        ("", 4),
    ] {
        let mut client = Client::open(service.address).await;
        assert_eq!(client.connect("line-1", secret, "c").await, code, "{secret}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_dashboard_listens_and_commands_and_nobody_else() {
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    let dashboard = service.gateway("dashboard").await;
    grant(
        &service,
        dashboard,
        &["fw/v1/acme/+/command/#", "boards/#"],
        &["fw/v1/acme/#", "boards/#"],
    )
    .await;
    let mut line = Client::open(service.address).await;
    let mut connect = v4::Connect::new("line");
    connect.set_login("acme/line-1", "line-1");
    connect.clean_session = false;
    assert_eq!(line.connect_with(connect.clone()).await, 0);
    line.subscribe_as(&[("fw/v1/me/command/#", 1)]).await;

    let mut board = service.client("dashboard").await;
    board.subscribe_as(&[("fw/v1/acme/+/json/#", 1)]).await;
    // What a gateway sends is told once it is committed, under its full name.
    line.deliver("fw/v1/me/json/pump", "{\"temp\":1}").await;
    let told = board.down().await;
    assert_eq!(
        (told.topic.as_str(), &told.payload[..]),
        ("fw/v1/acme/line-1/json/pump", &b"{\"temp\":1}"[..])
    );
    assert_eq!(service.number("SELECT count(*) FROM reading").await, 1);
    board.send(v4::Packet::PubAck(v4::PubAck::new(told.pkid))).await;

    // A command waits for a gateway that is away, and arrives under the name it subscribed by.
    drop(line);
    board
        .say("fw/v1/acme/line-1/command/restart", 1, false, "now")
        .await;
    let mut line = Client::open(service.address).await;
    assert_eq!(line.connect_with(connect).await, 0);
    let command = line.down().await;
    assert_eq!(
        (command.topic.as_str(), command.qos as u8),
        ("fw/v1/me/command/restart", 1)
    );

    // Not anybody's readings, and not without a grant.
    for (who, topic) in [
        ("dashboard", "fw/v1/acme/line-1/json/pump"),
        ("line-1", "fw/v1/acme/dashboard/command/x"),
    ] {
        let mut client = Client::open(service.address).await;
        assert_eq!(client.connect(who, who, "other").await, 0);
        client.publish(topic, 1, "{\"temp\":1}").await;
        assert!(client.closed().await, "{who} {topic}");
    }
    assert_eq!(service.number("SELECT count(*) FROM reading").await, 1);
    service.stop().await;
}

#[tokio::test]
async fn a_claim_code_becomes_a_credential_once() {
    let service = start(|_| {}).await;
    let gateway = service.gateway("line-1").await;
    for (code, expires) in [("good", "1 hour"), ("old", "-1 hour")] {
        sqlx::query(
            "INSERT INTO gateway_claim (id, tenant_id, gateway_id, code_hash, expires_at)
             VALUES (gen_random_uuid(), $1, $2, $3, now() + $4::interval)",
        )
        .bind(service.tenant)
        .bind(gateway)
        .bind(&Sha256::digest(code.as_bytes())[..])
        .bind(expires)
        .execute(&service.database.owner)
        .await
        .unwrap();
    }
    let with = |code: &str| {
        let mut connect = v4::Connect::new("new");
        connect.set_login("claim", code);
        connect
    };
    for wrong in ["old", "guessed"] {
        assert_eq!(
            Client::open(service.address)
                .await
                .connect_with(with(wrong))
                .await,
            4,
            "{wrong}"
        );
    }
    let mut client = Client::open(service.address).await;
    assert_eq!(client.connect_with(with("good")).await, 0);
    assert_eq!(client.subscribe("#").await, [v4::SubscribeReasonCode::Failure]);
    client.subscribe("fw/v1/provision/response").await;
    client.publish("fw/v1/provision/request", 1, "{}").await;
    let (_, answer) = client.message().await;
    assert_eq!(answer["username"], "acme/line-1");
    let secret = answer["password"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("fwg_"));
    client.publish("fw/v1/provision/request", 1, "{}").await;
    assert!(
        client.message().await.1["error"]
            .as_str()
            .unwrap()
            .contains("used")
    );
    let mut other = Client::open(service.address).await;
    assert_eq!(other.connect_with(with("good")).await, 4, "used");
    let mut own = Client::open(service.address).await;
    assert_eq!(own.connect("line-1", &secret, "c").await, 0);
    assert_eq!(
        service
            .number("SELECT count(*) FROM audit_event WHERE action = 'gateway.claim'")
            .await,
        1
    );
    // It may do nothing else.
    let mut connect = with("good");
    connect.last_will = Some(v4::LastWill::new(
        "fw/v1/me/state",
        "x",
        rumqttc::QoS::AtMostOnce,
        false,
    ));
    assert_ne!(Client::open(service.address).await.connect_with(connect).await, 0);
    service.stop().await;
}

/// A tenant over its quota is slowed down, told why and until when, and loses nothing.
#[tokio::test]
async fn a_quota_slows_down_and_says_so() {
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    sqlx::query("UPDATE tenant SET max_readings_per_s = 20")
        .execute(&service.database.owner)
        .await
        .unwrap();
    let mut client = Client5::open(service.address).await;
    let connect = async |client: &mut Client5, id: &str| {
        let connect = v5::Connect {
            keep_alive: 600,
            client_id: id.to_owned(),
            clean_start: true,
            properties: None,
        };
        let login = v5::Login::new("acme/line-1", "line-1");
        client.send(v5::Packet::Connect(connect, None, Some(login))).await;
        match client.next().await {
            Some(v5::Packet::ConnAck(ack)) => ack,
            other => panic!("{other:?}"),
        }
    };
    let ack = connect(&mut client, "c").await;
    assert_eq!(ack.properties.unwrap().reason_string, None);
    client.subscribe(vec![filter("fw/v1/me/error", 0)], None).await;
    let started = std::time::Instant::now();
    // 100 readings at once, where 40 may come at once and 20 a second: three seconds of waiting.
    let many: Vec<String> = (0..100)
        .map(|i| format!("{{\"ts\":{},\"temp\":1}}", T0 / 1_000_000 + i))
        .collect();
    let one = format!("{{\"ts\":{},\"temp\":1}}", T0 / 1_000_000 + 100);
    for (id, payload) in [(1, format!("[{}]", many.join(","))), (2, one)] {
        let mut publish = message("fw/v1/me/json/pump", 1, id, "");
        publish.payload = payload.into();
        client.send(v5::Packet::Publish(publish)).await;
    }
    let (mut answered, mut said, mut told, mut second) = (0, None, None, None);
    while answered < 2 {
        match client.next().await {
            Some(v5::Packet::PubAck(ack)) => {
                answered += 1;
                assert_eq!((ack.pkid, ack.reason), (answered, v5::PubAckReason::Success));
                if answered == 1 {
                    said = ack.properties;
                    let mut late = Client5::open(service.address).await;
                    second = Some(connect(&mut late, "late").await);
                }
            }
            Some(v5::Packet::Publish(publish)) => told = Some(publish.payload),
            other => panic!("{other:?}"),
        }
    }
    let took = started.elapsed();
    assert!(took >= std::time::Duration::from_millis(2500), "{took:?}");
    let said = said.expect("the acknowledgement says it");
    let reason = said.reason_string.unwrap();
    let fields: std::collections::HashMap<String, String> = said.user_properties.into_iter().collect();
    assert_eq!((&*fields["limit"], &*fields["limit_per_s"]), ("readings", "20"));
    assert!(
        reason.contains(&fields["until"]),
        "the sentence and the property say the same: {reason}, {fields:?}"
    );
    let left: f64 = fields["retry_after_s"].parse().unwrap();
    assert!((2.0..=3.5).contains(&left), "{fields:?}");
    assert!(
        reason.contains("20 readings a second") && reason.contains("until"),
        "{reason}"
    );
    let told: serde_json::Value = serde_json::from_slice(&told.expect("the error topic says it")).unwrap();
    assert_eq!(told["reason"], "quota");
    let until = told["until"].as_str().unwrap();
    assert!(
        told["detail"].as_str().unwrap().contains(until),
        "the sentence and the field say the same: {told}"
    );
    let left = told["retry_after_s"].as_f64().unwrap();
    assert!((2.5..=3.5).contains(&left), "{told}");
    let late = second.unwrap().properties.unwrap();
    assert!(late.user_properties.iter().any(|(name, _)| name == "until"));
    let late = late.reason_string;
    assert!(
        late.is_some_and(|reason| reason.contains("slowed down")),
        "CONNACK says it"
    );
    assert_eq!(service.number("SELECT count(*) FROM reading").await, 101);
    service.stop().await;
}

#[tokio::test]
async fn the_offset_of_a_gateways_clock_is_written_down() {
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    let mut client = service.client("line-1").await;
    let now = models::time::Timestamp::now().micros();
    for (seq, way) in [(1, 9_000_000), (2, 0)] {
        let batch = models::wire::Batch {
            epoch: 1,
            seq,
            sent_at: now + 60_000_000 - way,
            ..Default::default()
        };
        client
            .deliver("fw/v1/me/batch", batch.encode_compressed(1).unwrap())
            .await;
    }
    // A minute ahead, less the time the test has taken.
    service
        .until(
            "SELECT count(*) FROM gateway_clock WHERE ahead_us BETWEEN 52000000 AND 60000000 AND basis = 'sent'",
            1,
        )
        .await;
    // One that speaks JSON: its newest reading tells, those that Forewarn stamps don't.
    service.gateway("line-2").await;
    let mut client = service.client("line-2").await;
    let ahead = models::time::Timestamp::now().plus_seconds(30.0);
    let old = models::time::Timestamp::from_micros(T0);
    for payload in [
        format!("[{{\"ts\":\"{old}\",\"t\":1}},{{\"ts\":\"{ahead}\",\"t\":2}}]"),
        "{\"t\":3}".to_owned(),
    ] {
        client.deliver("fw/v1/me/json/pump", payload).await;
    }
    service
        .until(
            "SELECT count(*) FROM gateway_clock WHERE ahead_us BETWEEN 22000000 AND 30000000 AND basis = 'reading'",
            1,
        )
        .await;
    service.stop().await;
}

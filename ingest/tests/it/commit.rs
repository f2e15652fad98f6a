//! PUBACK means committed, whatever happens to the database.

use std::time::Duration;

use rumqttc::mqttbytes::v4;

use crate::harness::{Client, T0, WAIT, batch, start};

#[tokio::test]
async fn puback_comes_after_commit() {
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    let mut client = service.client("line-1").await;
    // The first reading makes the chunk and the channel.
    client
        .deliver(
            "fw/v1/me/json/pump",
            format!("{{\"ts\":{},\"temp\":1}}", T0 / 1000),
        )
        .await;
    let mut lock = service.database.owner.begin().await.unwrap();
    sqlx::query("LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let id = client.publish("fw/v1/me/json/pump", 1, "{\"temp\":2}").await;
    assert!(client.silent(500).await, "acknowledged before the commit");
    lock.commit().await.unwrap();
    assert_eq!(client.next().await, Some(v4::Packet::PubAck(v4::PubAck::new(id))));
    assert_eq!(service.number("SELECT count(*) FROM reading").await, 2);
    service.stop().await;
}

#[tokio::test]
async fn qos_2_is_received_once() {
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    let mut connect = v4::Connect::new("exact");
    connect.set_login("acme/line-1", "line-1");
    connect.clean_session = false;
    let mut client = Client::open(service.address).await;
    assert_eq!(client.connect_with(connect.clone()).await, 0);
    // Without a time stamp a second reading would be stored beside the first.
    client
        .publish_as(9, "fw/v1/me/json/pump", 2, "{\"temp\":1}")
        .await;
    assert_eq!(client.next().await, Some(v4::Packet::PubRec(v4::PubRec::new(9))));
    client
        .publish_as(9, "fw/v1/me/json/pump", 2, "{\"temp\":1}")
        .await;
    assert_eq!(client.next().await, Some(v4::Packet::PubRec(v4::PubRec::new(9))));
    // The connection breaks before PUBREL.
    drop(client);
    let mut client = Client::open(service.address).await;
    client.send(v4::Packet::Connect(connect)).await;
    assert_eq!(
        client.next().await,
        Some(v4::Packet::ConnAck(v4::ConnAck::new(
            v4::ConnectReturnCode::Success,
            true
        )))
    );
    client
        .publish_as(9, "fw/v1/me/json/pump", 2, "{\"temp\":1}")
        .await;
    assert_eq!(client.next().await, Some(v4::Packet::PubRec(v4::PubRec::new(9))));
    client.send(v4::Packet::PubRel(v4::PubRel::new(9))).await;
    assert_eq!(
        client.next().await,
        Some(v4::Packet::PubComp(v4::PubComp::new(9)))
    );
    assert_eq!(service.number("SELECT count(*) FROM reading").await, 1);
    // After PUBREL the same id is a new message.
    client
        .publish_as(9, "fw/v1/me/json/pump", 2, "{\"temp\":1}")
        .await;
    assert_eq!(client.next().await, Some(v4::Packet::PubRec(v4::PubRec::new(9))));
    assert_eq!(service.number("SELECT count(*) FROM reading").await, 2);
    service.stop().await;
}

#[tokio::test]
async fn qos_0_is_stored_and_not_answered() {
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    let mut client = service.client("line-1").await;
    client.publish("fw/v1/me/json/pump", 0, "{\"temp\":1}").await;
    service.until("SELECT count(*) FROM reading", 1).await;
    assert!(client.silent(100).await);
    service.stop().await;
}

#[tokio::test]
async fn the_window_bounds_what_is_in_flight() {
    let service = start(|config| config.limits.in_flight = 8).await;
    service.gateway("line-1").await;
    let mut client = service.client("line-1").await;
    client
        .deliver("fw/v1/me/json/pump", "{\"ts\":1767225600,\"temp\":1}")
        .await;
    let mut lock = service.database.owner.begin().await.unwrap();
    sqlx::query("LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    // Far more than the window and the socket's buffers hold: the sender gets stuck.
    let filler = format!("{{\"ts\":1767225600,\"temp\":1}}{}", " ".repeat(1 << 20));
    let sending = async {
        for id in 100..164_u16 {
            client
                .publish_as(id, "fw/v1/me/json/pump", 1, filler.clone())
                .await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(2), sending)
            .await
            .is_err(),
        "64 MiB were taken without a commit"
    );
    lock.commit().await.unwrap();
    drop(client);
    service.stop().await;
}

#[tokio::test]
async fn a_database_connection_that_is_killed_loses_and_doubles_nothing() {
    let service = start(|config| config.writer.batch_age_ms = 1).await;
    service.gateway("line-1").await;
    let mut client = service.client("line-1").await;
    let mut killed = 0_i64;
    for seq in 1..=60 {
        let id = client
            .publish("fw/v1/me/batch", 1, batch(seq, 1, seq as i64 * 100, 20))
            .await;
        // Each time at another moment of the transaction: so many questions to the database later.
        for _ in 0..seq % 20 {
            service.number("SELECT count(*) FROM reading").await;
        }
        killed += service
            .number(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = 'forewarn-ingest'",
            )
            .await;
        assert_eq!(client.next().await, Some(v4::Packet::PubAck(v4::PubAck::new(id))));
    }
    assert!(killed >= 30, "only {killed} connections were there to be killed");
    assert_eq!(service.ledger().await, [1200, 1200, 0, 0, 0, 60, 0]);
    assert_eq!(service.number("SELECT count(*) FROM reading").await, 1200);
    assert_eq!(
        service.number("SELECT contiguous_seq FROM gateway_cursor").await,
        60
    );
    service.stop().await;
}

#[tokio::test]
async fn stopping_commits_and_answers_what_was_taken() {
    let service = start(|config| config.writer.batch_age_ms = 60_000).await;
    service.gateway("line-1").await;
    let mut client = service.client("line-1").await;
    let id = client.publish("fw/v1/me/batch", 1, batch(1, 1, 0, 10)).await;
    client.send(v4::Packet::PingReq).await;
    assert_eq!(
        client.next().await,
        Some(v4::Packet::PingResp),
        "the batch was taken before the ping"
    );
    let database = service.halt().await;
    assert_eq!(client.next().await, Some(v4::Packet::PubAck(v4::PubAck::new(id))));
    assert!(tokio::time::timeout(WAIT, client.closed()).await.unwrap());
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM reading")
        .fetch_one(&database.owner)
        .await
        .unwrap();
    assert_eq!(stored, 10);
    database.drop_now().await;
}

#[tokio::test]
async fn a_payload_the_database_refuses_becomes_a_dead_letter_alone() {
    let service = start(|config| config.writer.batch_age_ms = 200).await;
    service.gateway("line-1").await;
    let mut client = service.client("line-1").await;
    client
        .deliver("fw/v1/me/json/pump", "{\"ts\":1767225600,\"temp\":1}")
        .await;
    sqlx::query("ALTER TABLE reading ADD CONSTRAINT not_13 CHECK (value <> 13)")
        .execute(&service.database.owner)
        .await
        .unwrap();
    for value in [12, 13, 14] {
        client
            .publish(
                "fw/v1/me/json/pump",
                1,
                format!("{{\"ts\":17672257{value},\"temp\":{value}}}"),
            )
            .await;
    }
    for _ in 0..3 {
        assert!(matches!(client.next().await, Some(v4::Packet::PubAck(_))));
    }
    assert_eq!(service.ledger().await, [4, 3, 0, 0, 1, 4, 0]);
    let letters = service.dead_letters().await;
    assert_eq!(
        (letters.len(), letters[0].0.as_str(), letters[0].2),
        (1, "refused_by_database", 1)
    );
    assert!(letters[0].1.contains("not_13"), "{}", letters[0].1);
    service.stop().await;
}

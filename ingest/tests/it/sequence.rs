//! Cursors, gaps, losses, and what gateways hear of them.

use rumqttc::mqttbytes::v4;

use crate::harness::{Client, batch, start};

#[tokio::test]
async fn the_watermark_is_the_highest_contiguous_number() {
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    let mut client = service.client("line-1").await;
    client.subscribe("fw/v1/me/committed").await;
    let mut heard = Vec::new();
    for seq in [1_u64, 3, 4, 2, 2, 7] {
        client
            .publish("fw/v1/me/batch", 1, batch(seq, 1, seq as i64 * 10, 5))
            .await;
        let (topic, message) = client.message().await;
        assert_eq!(topic, "fw/v1/me/committed");
        assert_eq!(message["epoch"], 5);
        heard.push(message["seq"].as_u64().unwrap());
    }
    assert_eq!(heard, [1, 1, 1, 4, 4, 4]);
    assert_eq!(service.ledger().await, [30, 25, 5, 0, 0, 6, 0]);
    assert_eq!(service.number("SELECT count(*) FROM cursor_ahead").await, 1);
    assert_eq!(
        service
            .number("SELECT count(*) FROM sequence_gap WHERE closed_at IS NOT NULL AND first_seq = 2")
            .await,
        1
    );
    assert_eq!(
        service
            .number("SELECT last_seq FROM sequence_gap WHERE closed_at IS NULL AND first_seq = 5")
            .await,
        6
    );

    // The gateway's spool was full: it has nothing below 6 any more.
    client.publish("fw/v1/me/batch", 1, batch(8, 6, 80, 5)).await;
    assert_eq!(client.message().await.1["seq"], 5);
    assert_eq!(
        service
            .number("SELECT last_seq FROM sequence_gap WHERE lost_at IS NOT NULL AND first_seq = 5")
            .await,
        5
    );
    assert_eq!(
        service
            .number("SELECT last_seq FROM sequence_gap WHERE closed_at IS NULL AND lost_at IS NULL")
            .await,
        6
    );
    client.publish("fw/v1/me/batch", 1, batch(6, 6, 60, 5)).await;
    assert_eq!(client.message().await.1["seq"], 8);
    assert_eq!(service.number("SELECT count(*) FROM cursor_ahead").await, 0);
    // It was on its way all the time: stored, and the loss is taken back.
    client.publish("fw/v1/me/batch", 1, batch(5, 6, 50, 5)).await;
    client.message().await;
    assert_eq!(
        service
            .number("SELECT count(*) FROM sequence_gap WHERE closed_at IS NULL")
            .await,
        0
    );
    assert_eq!(service.number("SELECT count(*) FROM reading").await, 40);
    service.stop().await;
}

#[tokio::test]
async fn a_subscriber_hears_where_it_stands() {
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    let mut client = service.client("line-1").await;
    for seq in 1..=3 {
        client
            .deliver("fw/v1/me/batch", batch(seq, 1, seq as i64 * 10, 2))
            .await;
    }
    drop(client);
    let mut client = service.client("line-1").await;
    client.subscribe("fw/v1/acme/line-1/committed").await;
    let (topic, message) = client.message().await;
    assert_eq!(
        (topic.as_str(), &message["seq"]),
        ("fw/v1/acme/line-1/committed", &serde_json::json!(3))
    );
    service.stop().await;
}

/// ingestion.md 4.3, rows 1 and 2: rumqttc gives up what it had queued unless the server kept its
/// session, and sends again without DUP. Our listener keeps it, by its answer the client sends all of
/// it again, and what had been stored is known by its number, not by DUP.
#[tokio::test]
async fn what_rumqttc_sends_again_without_dup_is_stored_once() {
    use rumqttc::{AsyncClient, Event, MqttOptions, Outgoing, Packet, QoS};
    const BATCHES: u64 = 80;
    let service = start(|_| {}).await;
    service.gateway("line-1").await;
    service
        .client("line-1")
        .await
        .deliver("fw/v1/me/batch", batch(1, 1, 0, 5))
        .await;
    let mut options = MqttOptions::new("agent", "127.0.0.1", service.address.port());
    options.set_credentials("acme/line-1", "line-1");
    options.set_clean_session(false);
    let (client, mut events) = AsyncClient::new(options, 100);
    let mut lock = service.database.owner.begin().await.unwrap();
    sqlx::query("LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    for seq in 2..=BATCHES {
        let payload = batch(seq, 1, seq as i64 * 10, 5);
        client
            .publish("fw/v1/me/batch", QoS::AtLeastOnce, false, payload)
            .await
            .unwrap();
    }
    let mut sent = 1;
    while sent < BATCHES {
        if let Event::Outgoing(Outgoing::Publish(_)) = events.poll().await.unwrap() {
            sent += 1;
        }
    }
    // Somebody takes the session over, and so ends the connection with everything unacknowledged.
    let mut thief = Client::open(service.address).await;
    let mut connect = v4::Connect::new("agent");
    connect.set_login("acme/line-1", "line-1");
    connect.clean_session = false;
    assert_eq!(thief.connect_with(connect).await, 0);
    while events.poll().await.is_ok() {}
    let (mut present, mut again, mut acknowledged) = (false, 0, 0);
    let mut lock = Some(lock);
    while acknowledged < BATCHES - 1 {
        match events.poll().await.unwrap() {
            Event::Incoming(Packet::ConnAck(ack)) => present = ack.session_present,
            Event::Incoming(Packet::PubAck(_)) => acknowledged += 1,
            Event::Outgoing(Outgoing::Publish(_)) => again += 1,
            _ => {}
        }
        if again == BATCHES - 1
            && let Some(lock) = lock.take()
        {
            lock.commit().await.unwrap();
        }
    }
    assert!(present);
    let [received, stored, duplicate, ..] = service.ledger().await;
    assert_eq!(stored, 5 * BATCHES as i64);
    assert_eq!(received, stored + duplicate);
    assert!(duplicate > 0, "some came twice");
    assert_eq!(
        service.number("SELECT count(*) FROM reading").await,
        5 * BATCHES as i64
    );
    service.stop().await;
}

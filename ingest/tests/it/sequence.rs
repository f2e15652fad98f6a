//! Cursors, gaps, losses, and what gateways hear of them.

use crate::harness::{batch, start};

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

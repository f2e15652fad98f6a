//! A database that is cut off, falls silent, or commits without being heard.

use models::db::testing::TestDatabase;
use rumqttc::mqttbytes::v4;

use crate::harness::{Service, batch, start_on};
use crate::proxy::{Proxy, Way};

async fn start() -> (Service, Proxy) {
    let database = TestDatabase::new().await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool();
    let service = start_on(database, pool, |config| {
        config.writer.batch_age_ms = 1;
        config.writer.transaction_timeout_s = 1;
    })
    .await;
    service.gateway("line-1").await;
    (service, proxy)
}

#[tokio::test]
async fn a_commit_that_nobody_heard_of_is_not_done_again() {
    let (service, proxy) = start().await;
    let mut client = service.client("line-1").await;
    // Names and chunk are there now, so the next COMMIT is the writer's.
    client.deliver("fw/v1/me/batch", batch(1, 1, 0, 10)).await;
    let ts = "1767229200";
    for round in 1..=5_u64 {
        proxy.set(Way::LoseAnswerToCommit);
        client
            .deliver("fw/v1/me/batch", batch(round + 1, 1, round as i64 * 10, 10))
            .await;
        // A plain message has no number: only the token can tell.
        proxy.set(Way::LoseAnswerToCommit);
        client
            .deliver(
                "fw/v1/me/json/pump",
                format!("{{\"ts\":{ts}.{round},\"temp\":1}}"),
            )
            .await;
    }
    assert_eq!(proxy.lost_answers(), 10, "every answer was lost once");
    // 10 readings in each of 6 batches, and 5 plain ones: each counted once, none as a duplicate.
    assert_eq!(service.ledger().await, [65, 65, 0, 0, 0, 11, 0]);
    assert_eq!(service.number("SELECT count(*) FROM reading").await, 65);
    assert_eq!(
        service.number("SELECT contiguous_seq FROM gateway_cursor").await,
        6
    );
    service.stop().await;
}

#[tokio::test]
async fn a_database_that_falls_silent_holds_gateways_back_and_loses_nothing() {
    let (service, proxy) = start().await;
    let mut client = service.client("line-1").await;
    client.deliver("fw/v1/me/batch", batch(1, 1, 0, 10)).await;
    proxy.set(Way::Held);
    let id = client.publish("fw/v1/me/batch", 1, batch(2, 1, 10, 10)).await;
    // Longer than the writer's patience: it has given that connection up by then.
    assert!(client.silent(1500).await, "acknowledged without a database");
    proxy.set(Way::Open);
    assert_eq!(client.next().await, Some(v4::Packet::PubAck(v4::PubAck::new(id))));
    assert_eq!(service.ledger().await, [20, 20, 0, 0, 0, 2, 0]);
    service.stop().await;
}

#[tokio::test]
async fn a_database_that_is_gone_means_waiting_and_no_busy_loop() {
    let (service, proxy) = start().await;
    let mut client = service.client("line-1").await;
    client.deliver("fw/v1/me/batch", batch(1, 1, 0, 10)).await;
    proxy.set(Way::Cut);
    let before = proxy.accepted();
    let mut ids = Vec::new();
    for seq in 2..=20_u64 {
        ids.push(
            client
                .publish("fw/v1/me/batch", 1, batch(seq, 1, seq as i64 * 10, 10))
                .await,
        );
    }
    assert!(client.silent(2000).await, "acknowledged without a database");
    let tries = proxy.accepted() - before;
    assert!((1..200).contains(&tries), "{tries} connections in two seconds");
    proxy.set(Way::Open);
    for id in ids {
        assert_eq!(client.next().await, Some(v4::Packet::PubAck(v4::PubAck::new(id))));
    }
    assert_eq!(service.ledger().await, [200, 200, 0, 0, 0, 20, 0]);
    service.stop().await;
}

#[tokio::test]
async fn a_full_database_means_waiting_too() {
    let (service, _proxy) = start().await;
    let mut client = service.client("line-1").await;
    client.deliver("fw/v1/me/batch", batch(1, 1, 0, 10)).await;
    // What PostgreSQL says on a full disk, said by a trigger.
    sqlx::raw_sql(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
         CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON ledger EXECUTE FUNCTION full_disk();",
    )
    .execute(&service.database.owner)
    .await
    .unwrap();
    let id = client.publish("fw/v1/me/batch", 1, batch(2, 1, 10, 10)).await;
    assert!(client.silent(700).await, "acknowledged with a full disk");
    assert_eq!(service.number("SELECT count(*) FROM reading").await, 10);
    sqlx::raw_sql("DROP TRIGGER full_disk ON ledger")
        .execute(&service.database.owner)
        .await
        .unwrap();
    assert_eq!(client.next().await, Some(v4::Packet::PubAck(v4::PubAck::new(id))));
    assert_eq!(service.ledger().await, [20, 20, 0, 0, 0, 2, 0]);
    service.stop().await;
}

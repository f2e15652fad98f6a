//! Events are seen once each and none is passed by, whichever transaction commits first.

use sqlx::PgPool;

use crate::db::fixture::Plant;
use crate::db::testing::TestDatabase;
use crate::db::{Role, act_for, outbox};
use crate::time::Timestamp;

/// How long the server's own transactions may hold events back. A bound, not a pace.
const BOUND: std::time::Duration = std::time::Duration::from_secs(20);

/// Transactions of other tests on the same server hold the horizon back for a moment.
async fn wait_for_events(reader: &mut sqlx::PgConnection, after: i64) -> Vec<outbox::Event> {
    for _ in 0..2000 {
        let events = outbox::read_after(reader, after, 10).await.unwrap();
        if !events.is_empty() {
            return events;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("no event after {after} within 20 s");
}

#[tokio::test]
async fn the_outbox_shows_each_event_once_although_transactions_overtake_each_other() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let pool = database.pool(Role::Analytics);
    let data = serde_json::json!({});
    let mut slow = pool.begin().await.unwrap();
    let mut fast = pool.begin().await.unwrap();
    // The fast one takes its transaction id first and its row id last.
    sqlx::query("SELECT pg_current_xact_id()")
        .execute(&mut *fast)
        .await
        .unwrap();
    outbox::append(&mut slow, plant.tenant, "slow", "x", None, &data)
        .await
        .unwrap();
    outbox::append(&mut fast, plant.tenant, "fast", "x", None, &data)
        .await
        .unwrap();
    fast.commit().await.unwrap();
    let mut reader = pool.acquire().await.unwrap();
    let first = wait_for_events(&mut reader, 0).await;
    assert_eq!(
        first.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(),
        ["fast"]
    );
    assert_eq!(outbox::head(&mut reader).await.unwrap(), first[0].id);
    slow.commit().await.unwrap();
    let second = wait_for_events(&mut reader, first[0].id).await;
    assert_eq!(
        second.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(),
        ["slow"]
    );
    assert!(
        second[0].id < first[0].id,
        "by id alone it would have been missed"
    );
    assert_eq!(
        outbox::read_after(&mut reader, second[0].id, 10).await.unwrap(),
        []
    );
    assert_eq!(outbox::prune(&mut reader, Timestamp::MAX).await.unwrap(), 2);
    drop(reader);
    pool.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn a_reader_knows_that_it_has_to_look_again() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let api = database.pool(Role::Api);
    let look = async || {
        let mut tx = api.begin().await.unwrap();
        act_for(&mut tx, plant.tenant).await.unwrap();
        let (events, held) = outbox::read_or_wait(&mut tx, 0, 10).await.unwrap();
        (events.len(), held)
    };
    assert_eq!(look().await.0, 0);
    let mut slow = database.owner.begin().await.unwrap();
    sqlx::query("SELECT pg_current_xact_id()")
        .execute(&mut *slow)
        .await
        .unwrap();
    let mut fast = database.owner.begin().await.unwrap();
    outbox::append(&mut fast, plant.tenant, "fast", "x", None, &serde_json::json!({}))
        .await
        .unwrap();
    fast.commit().await.unwrap();
    assert_eq!(
        look().await,
        (0, true),
        "the slow one may have written an older event"
    );
    // It has not, and so its end notifies nobody.
    slow.rollback().await.unwrap();
    let begun = std::time::Instant::now();
    let mut seen = look().await;
    while seen.1 {
        assert!(begun.elapsed() < BOUND, "{seen:?}");
        seen = look().await;
    }
    assert_eq!(seen, (1, false));
    api.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn an_asset_is_woken_by_an_alarm_that_was_overtaken() {
    use crate::db::assessment::{sync_schedule, wake_by_outbox};
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let machine = plant.machine("P-1").await;
    let pool = database.pool(Role::Analytics);
    let mut reader = pool.acquire().await.unwrap();
    assert_eq!(sync_schedule(&mut reader).await.unwrap(), (1, 0));
    let later = Timestamp::now().plus_seconds(3600.0);
    let sleep = async || {
        sqlx::query("UPDATE assessment_schedule SET due_at = $1")
            .bind(later)
            .execute(&database.owner)
            .await
            .unwrap()
            .rows_affected()
    };
    assert_eq!(sleep().await, 1);
    let start = outbox::horizon(&mut reader).await.unwrap();
    let alarm = serde_json::json!({ "kind": "high" });
    let (mut slow, mut fast) = (pool.begin().await.unwrap(), pool.begin().await.unwrap());
    // The slow one takes the lower id of an event, and commits last.
    for tx in [&mut slow, &mut fast] {
        outbox::append(tx, plant.tenant, "alarm.raised", "x", Some(machine.asset), &alarm)
            .await
            .unwrap();
    }
    fast.commit().await.unwrap();
    let look = wake_by_outbox(&mut reader, &start, Timestamp::now())
        .await
        .unwrap();
    assert_eq!((look.assets, look.held), (0, true), "it may be overtaken");
    slow.commit().await.unwrap();
    // Whatever else is open in this database, such as the server's own upkeep, ends by itself.
    let (mut look, mut woken) = (look, 0);
    let begun = std::time::Instant::now();
    while look.held {
        assert!(begun.elapsed() < BOUND, "{look:?}");
        look = wake_by_outbox(&mut reader, &look.up_to, Timestamp::now())
            .await
            .unwrap();
        woken += look.assets;
    }
    assert_eq!(woken, 1, "both are there, and the asset is woken once");
    sleep().await;
    let again = wake_by_outbox(&mut reader, &look.up_to, Timestamp::now())
        .await
        .unwrap();
    assert_eq!(again.assets, 0, "and looked at once");
    // Analytics' own alarms say nothing new.
    let own = serde_json::json!({ "kind": "health_below" });
    outbox::append(
        &mut reader,
        plant.tenant,
        "alarm.raised",
        "x",
        Some(machine.asset),
        &own,
    )
    .await
    .unwrap();
    let look = wake_by_outbox(&mut reader, &again.up_to, Timestamp::now())
        .await
        .unwrap();
    assert_eq!(look.assets, 0);
    drop(reader);
    pool.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn a_transaction_of_another_database_does_not_hold_the_events_back() {
    let (database, other) = (TestDatabase::new().await, TestDatabase::new().await);
    let plant = Plant::new(&database.owner, "one").await;
    let pool = database.pool(Role::Analytics);
    let api = database.pool(Role::Api);
    // Somebody else's long transaction, with an id older than everything that follows.
    let mut long = other.owner.begin().await.unwrap();
    sqlx::query("SELECT pg_current_xact_id()")
        .execute(&mut *long)
        .await
        .unwrap();
    let mut tx = pool.begin().await.unwrap();
    outbox::append(&mut tx, plant.tenant, "here", "x", None, &serde_json::json!({}))
        .await
        .unwrap();
    let mut reader = api.acquire().await.unwrap();
    crate::db::act_for(&mut reader, plant.tenant).await.unwrap();
    let read = async |pool: &PgPool| {
        let mut tx = pool.begin().await.unwrap();
        crate::db::act_for(&mut tx, plant.tenant).await.unwrap();
        let events = outbox::read_after(&mut tx, 0, 10).await.unwrap();
        (events.len(), outbox::head(&mut tx).await.unwrap())
    };
    assert_eq!(read(&api).await, (0, 0), "it is not committed");
    // One of our own does hold them back: it may still write an older event.
    let mut own = pool.begin().await.unwrap();
    outbox::append(&mut own, plant.tenant, "own", "x", None, &serde_json::json!({}))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(read(&api).await.0, 1);
    own.commit().await.unwrap();
    assert_eq!(read(&api).await.0, 2);
    // Where the snapshot is kept, the answer waits for everybody.
    let mut kept = api.begin().await.unwrap();
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        .execute(&mut *kept)
        .await
        .unwrap();
    crate::db::act_for(&mut kept, plant.tenant).await.unwrap();
    assert_eq!(outbox::read_after(&mut kept, 0, 10).await.unwrap(), []);
    drop(kept);
    long.rollback().await.unwrap();
    drop(reader);
    api.close().await;
    pool.close().await;
    other.drop_now().await;
    database.drop_now().await;
}

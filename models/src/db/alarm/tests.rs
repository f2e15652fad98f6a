use sqlx::PgPool;

use super::*;
use crate::alarm::{AxisError, Condition, Kind, Machine, Rule, Severity};
use crate::db::change::ChangeError;
use crate::db::fixture::Plant;
use crate::db::testing::TestDatabase;
use crate::db::{Role, act_for, outbox};
use crate::reading::Quality;
use crate::tenant::MemberRole;
use crate::time::Timestamp;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(1_750_000_000 + seconds)
}

/// Judges (seconds, value) in one committed transaction.
async fn judge(pool: &PgPool, rule: &Rule, machine: &mut Machine, samples: &[(i64, f64)]) -> Evaluated {
    let samples = samples
        .iter()
        .map(|(second, value)| (at(*second), *value, Quality::Good))
        .collect();
    let mut watches = [Watch {
        rule,
        machine: machine.clone(),
        samples,
    }];
    let mut tx = pool.begin().await.unwrap();
    let evaluated = evaluate(&mut tx, &mut watches, Timestamp::MIN, "ingest")
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let [watch] = watches;
    *machine = watch.machine;
    evaluated
}

async fn rows(pool: &PgPool) -> Vec<AlarmRow> {
    sqlx::query_as("SELECT * FROM alarm ORDER BY pending_since")
        .fetch_all(pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_batch_with_three_occurrences_makes_three_alarms() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let rule = plant
        .rule(plant.machine("P-1").await, "high", |rule| {
            rule.params.flap_crossings = 32
        })
        .await;
    let ingest = database.pool(Role::Ingest);
    let mut machine = Machine::default();

    let evaluated = judge(&ingest, &rule, &mut machine, &[(0, 1.0), (1, 5.0)]).await;
    assert_eq!(evaluated, Evaluated::default());
    let samples = [
        (10, 11.0),
        (20, 13.0),
        (30, 1.0),
        (40, 12.0),
        (50, 1.0),
        (60, 15.0),
    ];
    let evaluated = judge(&ingest, &rule, &mut machine, &samples).await;
    assert_eq!((evaluated.raised, evaluated.cleared), (3, 2));
    let found: Vec<_> = rows(&database.owner)
        .await
        .into_iter()
        .map(|row| {
            (
                row.pending_since,
                row.active_at,
                row.cleared_at,
                row.peak_value,
                row.condition,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (at(10), Some(at(10)), Some(at(30)), 13.0, Condition::Inactive),
            (at(40), Some(at(40)), Some(at(50)), 12.0, Condition::Inactive),
            (at(60), Some(at(60)), None, 15.0, Condition::Active),
        ]
    );
    let kinds: Vec<String> = sqlx::query_scalar("SELECT kind FROM outbox ORDER BY id")
        .fetch_all(&database.owner)
        .await
        .unwrap();
    assert_eq!(kinds.iter().filter(|kind| *kind == "alarm.raised").count(), 3);
    assert_eq!(kinds.iter().filter(|kind| *kind == "alarm.cleared").count(), 2);

    // The open one goes on in the next batch, in the same row.
    judge(&ingest, &rule, &mut machine, &[(70, 20.0), (80, 1.0)]).await;
    let last = rows(&database.owner).await.pop().unwrap();
    assert_eq!(
        (last.cleared_at, last.peak_value, last.pending_since),
        (Some(at(80)), 20.0, at(60))
    );
    assert_eq!(last.closed_at, None, "it waits for somebody to acknowledge it");
    ingest.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn what_was_only_pending_leaves_no_trace_within_a_batch() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let rule = plant
        .rule(plant.machine("P-1").await, "high", |rule| rule.on_delay_s = 60.0)
        .await;
    let ingest = database.pool(Role::Ingest);
    let mut machine = Machine::default();
    let evaluated = judge(&ingest, &rule, &mut machine, &[(0, 11.0), (10, 1.0)]).await;
    assert_eq!(
        (
            evaluated.raised,
            evaluated.reverted,
            rows(&database.owner).await.len()
        ),
        (0, 1, 0)
    );
    // One that is still pending at the end is stored, so that a restart doesn't begin again.
    judge(&ingest, &rule, &mut machine, &[(20, 11.0)]).await;
    assert_eq!(rows(&database.owner).await[0].condition, Condition::Pending);
    let mut ingest_again = database.owner.acquire().await.unwrap();
    let mut restarted = latest_machines(&mut ingest_again, &[rule.id])
        .await
        .unwrap()
        .remove(&rule.id)
        .unwrap();
    drop(ingest_again);
    judge(&ingest, &rule, &mut restarted, &[(80, 11.0)]).await;
    let row = rows(&database.owner).await.remove(0);
    assert_eq!(
        (row.condition, row.pending_since, row.active_at),
        (Condition::Active, at(20), Some(at(80)))
    );
    ingest.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn a_writer_with_an_old_memory_finds_the_open_alarm() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let rule = plant.rule(plant.machine("P-1").await, "high", |_| ()).await;
    let (first, second) = (database.pool(Role::Ingest), database.pool(Role::Analytics));
    let (mut one, mut other) = (Machine::default(), Machine::default());
    judge(&first, &rule, &mut one, &[(0, 11.0)]).await;
    // The other one doesn't know of it and sees a breach of its own.
    judge(&second, &rule, &mut other, &[(5, 12.0), (6, 13.0)]).await;
    assert_eq!(rows(&database.owner).await.len(), 1);
    judge(&second, &rule, &mut other, &[(7, 1.0)]).await;
    assert_eq!(rows(&database.owner).await[0].condition, Condition::Inactive);
    // Now the first remembers an alarm that is gone: the next breach is a new occurrence.
    judge(&first, &rule, &mut one, &[(8, 14.0), (9, 1.0)]).await;
    assert_eq!(rows(&database.owner).await.len(), 2);
    first.close().await;
    second.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn two_writers_at_once_make_one_alarm() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let rule = plant.rule(plant.machine("P-1").await, "high", |_| ()).await;
    let pool = database.pool(Role::Ingest);
    let tasks: Vec<_> = (0..4)
        .map(|writer| {
            let (pool, rule) = (pool.clone(), rule.clone());
            tokio::spawn(async move {
                let mut machine = Machine::default();
                for second in 0..10 {
                    judge(&pool, &rule, &mut machine, &[(second * 4 + writer, 11.0)]).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(rows(&database.owner).await.len(), 1);
    pool.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn a_rolled_back_batch_leaves_nothing() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let rule = plant.rule(plant.machine("P-1").await, "high", |_| ()).await;
    let ingest = database.pool(Role::Ingest);
    let before = Machine::default();
    let mut watches = [Watch {
        rule: &rule,
        machine: before.clone(),
        samples: vec![(at(0), 11.0, Quality::Good)],
    }];
    let mut tx = ingest.begin().await.unwrap();
    evaluate(&mut tx, &mut watches, Timestamp::MIN, "ingest")
        .await
        .unwrap();
    drop(tx);
    let mut machine = before;
    assert_eq!(judge(&ingest, &rule, &mut machine, &[(0, 11.0)]).await.raised, 1);
    assert_eq!(rows(&database.owner).await.len(), 1);
    ingest.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn people_see_acknowledge_and_shelve_their_own_tenants_alarms() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let neighbour = Plant::new(&database.owner, "two").await;
    let rule = plant.rule(plant.machine("P-1").await, "high", |_| ()).await;
    let (ingest, api) = (database.pool(Role::Ingest), database.pool(Role::Api));
    let mut machine = Machine::default();
    judge(&ingest, &rule, &mut machine, &[(0, 11.0)]).await;
    let id = rows(&database.owner).await[0].id;
    let now = Timestamp::now();

    let mut tx = api.begin().await.unwrap();
    act_for(&mut tx, neighbour.tenant).await.unwrap();
    assert_eq!(get(&mut tx, id).await.unwrap(), None);
    assert_eq!(
        list(
            &mut tx,
            Filter {
                state: State::All,
                ..Filter::default()
            },
            None,
            10
        )
        .await
        .unwrap(),
        []
    );
    let error = acknowledge(&mut tx, id, None, "usr_x", None, now)
        .await
        .unwrap_err();
    assert!(matches!(error, ChangeError::NotFound));
    drop(tx);

    let mut tx = api.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    let seen = get(&mut tx, id).await.unwrap().unwrap();
    assert_eq!(
        (
            seen.rule_name.as_str(),
            seen.asset_name.as_str(),
            seen.unit.as_deref()
        ),
        ("high", "P-1", Some("mm/s"))
    );
    let unacknowledged = Filter {
        state: State::Unacknowledged,
        asset: Some(rule.asset),
        ..Filter::default()
    };
    assert_eq!(list(&mut tx, unacknowledged, None, 10).await.unwrap().len(), 1);
    let stale = acknowledge(&mut tx, id, Some(99), "usr_x", None, now)
        .await
        .unwrap_err();
    assert!(matches!(stale, ChangeError::Stale { expected: 99, .. }));
    acknowledge(
        &mut tx,
        id,
        Some(seen.row_version),
        "usr_x",
        Some("on my way"),
        now,
    )
    .await
    .unwrap();
    acknowledge(&mut tx, id, None, "usr_y", None, now).await.unwrap();
    let seen = get(&mut tx, id).await.unwrap().unwrap();
    assert_eq!(seen.acked_by.as_deref(), Some("usr_x"), "the first one stays");
    assert_eq!(list(&mut tx, unacknowledged, None, 10).await.unwrap(), []);

    let tomorrow = now.plus_seconds(86_400.0);
    let error = shelve(&mut tx, id, MemberRole::Operator, tomorrow, "noise", "usr_x", now)
        .await
        .unwrap_err();
    assert!(
        matches!(error, ChangeError::Refused(AxisError::TooLong { .. })),
        "{error}"
    );
    shelve(&mut tx, id, MemberRole::Planner, tomorrow, "noise", "usr_x", now)
        .await
        .unwrap();
    let shelved = Filter {
        state: State::Shelved,
        ..Filter::default()
    };
    assert_eq!(list(&mut tx, shelved, None, 10).await.unwrap().len(), 1);
    tx.commit().await.unwrap();

    // The next occurrence is shelved with it, until somebody says otherwise.
    judge(&ingest, &rule, &mut machine, &[(10, 1.0), (20, 11.0)]).await;
    let mut tx = api.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    let listed = list(&mut tx, shelved, None, 10).await.unwrap();
    assert_eq!(
        listed.len(),
        1,
        "the acknowledged one is closed, the new one shelved"
    );
    assert_ne!(listed[0].id, id);
    unshelve(&mut tx, listed[0].id, "usr_x").await.unwrap();
    assert_eq!(list(&mut tx, shelved, None, 10).await.unwrap(), []);
    let kinds: Vec<_> = events(&mut tx, id)
        .await
        .unwrap()
        .into_iter()
        .map(|event| event.kind)
        .collect();
    assert_eq!(kinds, ["activated", "acknowledged", "shelved", "cleared"]);
    tx.commit().await.unwrap();
    ingest.close().await;
    api.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn acknowledging_resets_a_latched_alarm_that_is_back() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let rule = plant
        .rule(plant.machine("P-1").await, "high", |rule| rule.latched = true)
        .await;
    let ingest = database.pool(Role::Ingest);
    let mut machine = Machine::default();
    judge(&ingest, &rule, &mut machine, &[(0, 11.0), (10, 1.0), (20, 1.0)]).await;
    let row = rows(&database.owner).await.remove(0);
    assert_eq!(row.condition, Condition::Clearing);
    let api = database.pool(Role::Api);
    let mut tx = api.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    acknowledge(&mut tx, row.id, None, "usr_x", None, Timestamp::now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let row = rows(&database.owner).await.remove(0);
    assert_eq!(
        (row.condition, row.cleared_at),
        (Condition::Inactive, Some(at(10)))
    );
    assert!(row.closed_at.is_some());
    // Ingest still remembers it as open; its next breach is a new one.
    judge(&ingest, &rule, &mut machine, &[(30, 12.0)]).await;
    assert_eq!(rows(&database.owner).await.len(), 2);
    api.close().await;
    ingest.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn rules_are_made_changed_and_removed() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let machine = plant.machine("P-1").await;
    let (api, ingest) = (database.pool(Role::Api), database.pool(Role::Ingest));
    let mut reader = ingest.acquire().await.unwrap();
    let empty = rules_stamp(&mut reader).await.unwrap();
    let new: NewRule = serde_json::from_value(serde_json::json!({
        "asset_id": machine.asset, "channel_id": machine.channel, "name": "vibration", "kind": "high",
        "limit_value": 7.1, "severity": "warning"
    }))
    .unwrap();
    let mut tx = api.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    let made = create_rule(&mut tx, plant.tenant, &new).await.unwrap();
    let health = NewRule {
        kind: Kind::HealthBelow,
        channel_id: None,
        name: "health".into(),
        ..new.clone()
    };
    let health = create_rule(&mut tx, plant.tenant, &health).await.unwrap();
    tx.commit().await.unwrap();
    let stamp = rules_stamp(&mut reader).await.unwrap();
    assert_ne!(stamp, empty);
    let limits = limit_rules(&mut reader).await.unwrap();
    assert_eq!(
        limits.iter().map(|rule| rule.id).collect::<Vec<_>>(),
        [made.id],
        "health is not a limit"
    );
    assert_eq!(
        rules_for_asset(&mut reader, machine.asset).await.unwrap()[0].id,
        health.id
    );

    let mut tx = api.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    let harder = NewRule {
        limit_value: 4.5,
        severity: Severity::Serious,
        ..new
    };
    let error = update_rule(&mut tx, made.id, Some(2), &harder).await.unwrap_err();
    assert!(matches!(
        error,
        ChangeError::Stale {
            expected: 2,
            current: 1
        }
    ));
    let changed = update_rule(&mut tx, made.id, Some(1), &harder).await.unwrap();
    assert_eq!((changed.limit_value, changed.row_version), (4.5, 2));
    assert_eq!(
        list_rules(&mut tx, Some(machine.asset), Some(made.id), 10)
            .await
            .unwrap(),
        std::slice::from_ref(&health)
    );
    assert!(delete_rule(&mut tx, health.id, None).await.unwrap());
    tx.commit().await.unwrap();
    assert_ne!(rules_stamp(&mut reader).await.unwrap(), stamp);

    let mut memory = Machine::default();
    let rule = Rule::from(changed);
    judge(&ingest, &rule, &mut memory, &[(0, 11.0)]).await;
    let mut tx = api.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    assert!(
        !delete_rule(&mut tx, made.id, None).await.unwrap(),
        "its alarm refers to it"
    );
    assert!(!get_rule(&mut tx, made.id).await.unwrap().unwrap().enabled);
    tx.commit().await.unwrap();
    drop(reader);
    api.close().await;
    ingest.close().await;
    database.drop_now().await;
}

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

#[tokio::test]
async fn the_plants_state_silences_alarms_and_lets_them_speak_again() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let pool = database.pool(Role::Analytics);
    let (line, pump) = (plant.machine("line").await, plant.machine("pump").await);
    let (motor, gas) = (plant.machine("motor").await, plant.machine("gas").await);
    for (child, parent) in [(pump, line), (motor, pump), (gas, line)] {
        sqlx::query("UPDATE asset SET parent_id = $2 WHERE id = $1")
            .bind(child.asset)
            .bind(parent.asset)
            .execute(&database.owner)
            .await
            .unwrap();
    }
    let motor_rule = plant.rule(motor, "motor hot", |_| {}).await;
    let gas_rule = plant
        .rule(gas, "gas leak", |rule| rule.params.never_suppressed = true)
        .await;
    let silent = plant
        .rule(pump, "pump silent", |rule| {
            rule.kind = Kind::NoData;
            rule.limit = 60.0;
        })
        .await;
    for rule in [&motor_rule, &gas_rule] {
        judge(&database.owner, rule, &mut Machine::default(), &[(0, 12.0)]).await;
    }
    judge(&database.owner, &silent, &mut Machine::default(), &[(0, 120.0)]).await;
    let look = async || {
        let mut tx = pool.begin().await.unwrap();
        let done = suppress_by_design(&mut tx, at(1000), 300.0).await.unwrap();
        tx.commit().await.unwrap();
        let rows: Vec<(crate::id::AlarmRuleId, Option<String>)> = sqlx::query_as(
            "SELECT rule_id, suppression_reason FROM alarm WHERE suppression = 'by_design' ORDER BY id",
        )
        .fetch_all(&database.owner)
        .await
        .unwrap();
        (done.suppressed, done.ended, rows)
    };
    assert_eq!(look().await, (0, 0, vec![]));
    let set = async |status: &str| {
        sqlx::query("UPDATE asset SET status = $2::asset_status WHERE id = $1")
            .bind(line.asset)
            .bind(status)
            .execute(&database.owner)
            .await
            .unwrap();
    };
    // Two levels up the line is down: the motor's alarm is expected, the gas alarm speaks all the same.
    set("down").await;
    let (suppressed, _, rows) = look().await;
    assert_eq!(suppressed, 2, "the motor's and the pump's");
    assert!(rows.iter().all(|(rule, _)| *rule != gas_rule.id));
    let reason = rows
        .iter()
        .find(|(rule, _)| *rule == motor_rule.id)
        .unwrap()
        .1
        .clone()
        .unwrap();
    assert!(reason.starts_with("line is down"), "{reason}");
    assert_eq!(look().await.0, 0, "a second look changes nothing");
    set("operational").await;
    assert_eq!(look().await, (0, 2, vec![]));
    // A lock on the line: whoever works there has made the alarms. Only the lock matters here, not what
    // it hangs on.
    let mut owner = database.owner.acquire().await.unwrap();
    sqlx::raw_sql("SET session_replication_role = replica")
        .execute(&mut *owner)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO loto_lock (id, tenant_id, ticket_id, asset_id, procedure_id, point, tag, applied_by, applied_at, photo_id)
         VALUES (gen_random_uuid(), $1, gen_random_uuid(), $2, gen_random_uuid(), 'Q1', '17', 'usr_x', now(), gen_random_uuid())",
    )
    .bind(plant.tenant)
    .bind(line.asset)
    .execute(&mut *owner)
    .await
    .unwrap();
    drop(owner);
    let (suppressed, _, rows) = look().await;
    assert_eq!(suppressed, 2);
    assert!(
        rows[0].1.as_ref().unwrap().contains("line is locked out, tag 17"),
        "{rows:?}"
    );
    sqlx::query("UPDATE loto_lock SET removed_at = now()")
        .execute(&database.owner)
        .await
        .unwrap();
    assert_eq!(look().await, (0, 2, vec![]));
    // The gateway has not been heard for longer than 300 s: the silence is its own.
    sqlx::query(
        "INSERT INTO ledger (gateway_id, tenant_id, day, last_at) SELECT g.id, g.tenant_id, '2025-06-15', $1 FROM gateway g",
    )
    .bind(at(600))
    .execute(&database.owner)
    .await
    .unwrap();
    let (suppressed, _, rows) = look().await;
    assert_eq!((suppressed, rows[0].0), (1, silent.id));
    assert!(
        rows[0].1.as_ref().unwrap().contains("gateway gw is offline"),
        "{rows:?}"
    );
    sqlx::query("UPDATE ledger SET last_at = $1")
        .bind(at(900))
        .execute(&database.owner)
        .await
        .unwrap();
    assert_eq!(look().await, (0, 1, vec![]));
    pool.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn what_nobody_sees_to_is_told_to_the_next_level() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let pool = database.pool(Role::Analytics);
    let quick = plant
        .rule(plant.machine("quick").await, "quick", |rule| {
            rule.params.escalate_after_s = Some(60.0)
        })
        .await;
    let usual = plant.rule(plant.machine("usual").await, "usual", |_| {}).await;
    for rule in [&quick, &usual] {
        judge(&database.owner, rule, &mut Machine::default(), &[(0, 12.0)]).await;
    }
    let patience = crate::alarm::Patience {
        escalate_after: std::time::Duration::from_secs(600),
        ack_lasts: std::time::Duration::from_secs(3600),
        levels: 2,
    };
    let look = async |seconds: i64| {
        let mut tx = pool.begin().await.unwrap();
        let done = escalate(&mut tx, &patience, at(seconds)).await.unwrap();
        tx.commit().await.unwrap();
        (done.next_level, done.ask_again)
    };
    assert_eq!(look(59).await, (0, 0));
    assert_eq!(look(60).await, (1, 0));
    assert_eq!(look(61).await, (0, 0), "the patience begins anew");
    assert_eq!(
        look(600).await,
        (2, 0),
        "the second level of one, the first of the other"
    );
    assert_eq!(
        look(1100).await,
        (0, 0),
        "the quick one has no level left, the other has time"
    );
    let alarm: crate::id::AlarmId = sqlx::query_scalar("SELECT id FROM alarm WHERE rule_id = $1")
        .bind(quick.id)
        .fetch_one(&database.owner)
        .await
        .unwrap();
    let mut tx = database.owner.begin().await.unwrap();
    acknowledge(&mut tx, alarm, None, "usr_x", None, at(1150))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    // An acknowledgement without a ticket counts for an hour.
    assert_eq!(look(4749).await, (1, 0));
    assert_eq!(look(4750).await, (0, 1));
    let acked: Option<Timestamp> = sqlx::query_scalar("SELECT acked_at FROM alarm WHERE id = $1")
        .bind(alarm)
        .fetch_one(&database.owner)
        .await
        .unwrap();
    assert_eq!(acked, None);
    pool.close().await;
    database.drop_now().await;
}

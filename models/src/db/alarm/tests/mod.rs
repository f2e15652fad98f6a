use sqlx::PgPool;

use super::*;
use crate::alarm::{Condition, Machine, Rule, Severity};
use crate::db::Role;
use crate::db::fixture::Plant;
use crate::db::testing::TestDatabase;
use crate::reading::Quality;
use crate::time::Timestamp;

mod people;
mod plant;

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

use serde_json::json;

use super::*;
use crate::db::change::ChangeError;
use crate::db::fixture::Plant;
use crate::db::testing::TestDatabase;
use crate::db::{Role, act_for};
use crate::id::AssetId;
use crate::ticket::{NewTask, Origin, Outcome, Priority, Refusal, Status};
use crate::time::Timestamp;

fn new(plant: &Plant, asset: AssetId, key: &str) -> NewTicket {
    NewTicket {
        tenant: plant.tenant,
        asset,
        case: None,
        occurrence: None,
        failure_mode: None,
        origin: Origin::Alarm,
        origin_key: key.to_owned(),
        title: "Vibration: P-1".into(),
        description: String::new(),
        priority: Priority::Medium,
        due_at: None,
        repeat_of: None,
        tasks: vec![NewTask::check("look at it")],
    }
}

#[tokio::test]
async fn the_same_key_makes_one_ticket_and_numbers_have_no_holes() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let asset = plant.machine("P-1").await.asset;
    let pool = database.pool(Role::Analytics);
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (pool, plant) = (pool.clone(), plant.clone());
            tokio::spawn(async move {
                for key in 0..5 {
                    let mut tx = pool.begin().await.unwrap();
                    create(&mut tx, &new(&plant, asset, &format!("key {key}")), "test")
                        .await
                        .unwrap();
                    tx.commit().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    // A transaction that is dropped gives its number back.
    let mut tx = pool.begin().await.unwrap();
    create(&mut tx, &new(&plant, asset, "dropped"), "test")
        .await
        .unwrap();
    drop(tx);
    let mut tx = pool.begin().await.unwrap();
    let last = create(&mut tx, &new(&plant, asset, "last"), "test")
        .await
        .unwrap();
    assert!(matches!(last, Created::New(_)));
    tx.commit().await.unwrap();
    let numbers: Vec<i32> = sqlx::query_scalar("SELECT number FROM ticket ORDER BY number")
        .fetch_all(&database.owner)
        .await
        .unwrap();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    pool.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn a_ticket_goes_its_way_and_only_with_its_gates() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let neighbour = Plant::new(&database.owner, "two").await;
    let asset = plant.machine("P-1").await.asset;
    let mode = plant.failure_mode("bearing_wear").await;
    let pool = database.pool(Role::Api);
    let now = Timestamp::now();
    let mut tx = pool.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    let id = create(&mut tx, &new(&plant, asset, "key"), "usr_x")
        .await
        .unwrap()
        .id();

    let go = |to, coding: Coding| (to, coding);
    let error = transition(
        &mut tx,
        id,
        None,
        Status::Closed,
        &Coding::default(),
        "usr_x",
        now,
    )
    .await
    .unwrap_err();
    assert!(matches!(
        error,
        ChangeError::Refused(Refusal::NoSuchTransition { .. })
    ));
    let error = transition(
        &mut tx,
        id,
        Some(9),
        Status::Accepted,
        &Coding::default(),
        "usr_x",
        now,
    )
    .await
    .unwrap_err();
    assert!(matches!(
        error,
        ChangeError::Stale {
            expected: 9,
            current: 1
        }
    ));
    let planned = Coding {
        scheduled_start: Some(now),
        scheduled_end: Some(now.plus_seconds(3600.0)),
        ..Coding::default()
    };
    let assigned = Coding {
        assignee_id: Some(plant.planner),
        ..Coding::default()
    };
    for (to, coding) in [
        go(Status::Accepted, Coding::default()),
        go(Status::Planned, Coding::default()),
        go(Status::Scheduled, planned),
        go(Status::Assigned, assigned),
        go(Status::InProgress, Coding::default()),
        go(
            Status::OnHold,
            Coding {
                reason: Some("waits for the crane".into()),
                ..Coding::default()
            },
        ),
        go(Status::InProgress, Coding::default()),
    ] {
        transition(&mut tx, id, None, to, &coding, "usr_x", now)
            .await
            .unwrap_or_else(|error| panic!("{to}: {error}"));
    }
    let error = transition(
        &mut tx,
        id,
        None,
        Status::Completed,
        &Coding::default(),
        "usr_x",
        now,
    )
    .await
    .unwrap_err();
    let ChangeError::Refused(Refusal::Missing { missing, .. }) = error else {
        panic!("{error}")
    };
    let codes: Vec<_> = missing.iter().map(|missing| missing.code.as_str()).collect();
    assert_eq!(
        codes,
        [
            "tasks.open",
            "coding.failure_mode",
            "coding.cause",
            "coding.remedy"
        ]
    );

    let task = tasks(&mut tx, id).await.unwrap()[0].id;
    let done = TaskResult {
        done: true,
        result: Some(json!({ "seen": true })),
        note: None,
    };
    complete_task(&mut tx, id, task, &done, "usr_x", now)
        .await
        .unwrap();
    let coded = Coding {
        found_failure_mode_id: Some(mode),
        cause: Some("no grease".into()),
        remedy: Some("replaced the bearing".into()),
        outcome: Some(Outcome::ConfirmedFailed),
        ..Coding::default()
    };
    transition(&mut tx, id, None, Status::Completed, &coded, "usr_x", now)
        .await
        .unwrap();
    add_task(&mut tx, id, &NewTask::check("clean up"), "usr_x")
        .await
        .unwrap();
    let changed = Edit {
        title: Some("Bearing".into()),
        priority: Some(Priority::High),
        ..Edit::default()
    };
    edit(&mut tx, id, None, &changed, "usr_x").await.unwrap();
    transition(
        &mut tx,
        id,
        None,
        Status::Closed,
        &Coding::default(),
        "usr_x",
        now,
    )
    .await
    .unwrap();
    let seen = get(&mut tx, id).await.unwrap().unwrap();
    assert_eq!(
        (
            seen.status,
            seen.outcome.as_deref(),
            seen.assignee_name.as_deref()
        ),
        (Status::Closed, Some("confirmed_failed"), Some("Planner"))
    );
    let reports: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM failure_report WHERE asset_id = $1 AND failure_mode_id = $2",
    )
    .bind(asset)
    .bind(mode)
    .fetch_one(&mut *tx)
    .await
    .unwrap();
    assert_eq!(reports, 1, "what had failed is a label");
    comment(&mut tx, id, "thanks", "usr_x").await.unwrap();
    assert!(
        !raise_priority(&mut tx, plant.tenant, id, Priority::Low, "usr_x")
            .await
            .unwrap(),
        "it only rises"
    );
    let listed = list(
        &mut tx,
        &Filter {
            statuses: vec![Status::Closed],
            ..Filter::default()
        },
        None,
        10,
    )
    .await
    .unwrap();
    assert_eq!(listed.len(), 1);
    let after = Some((listed[0].created_at, listed[0].id));
    assert_eq!(list(&mut tx, &Filter::default(), after, 10).await.unwrap(), []);
    let kinds: Vec<_> = events(&mut tx, id)
        .await
        .unwrap()
        .into_iter()
        .map(|event| event.kind)
        .collect();
    assert_eq!(kinds.first().map(String::as_str), Some("created"));
    assert_eq!(kinds.iter().filter(|kind| *kind == "transitioned").count(), 9);
    tx.commit().await.unwrap();

    let mut tx = pool.begin().await.unwrap();
    act_for(&mut tx, neighbour.tenant).await.unwrap();
    assert_eq!(get(&mut tx, id).await.unwrap(), None);
    assert!(matches!(
        comment(&mut tx, id, "x", "usr_y").await.unwrap_err(),
        ChangeError::NotFound
    ));
    drop(tx);
    pool.close().await;
    database.drop_now().await;
}

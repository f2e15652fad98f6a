use serde_json::json;
use sqlx::PgPool;

use super::*;
use crate::db::change::ChangeError;
use crate::db::fixture::{Plant, champion};
use crate::db::testing::TestDatabase;
use crate::db::ticket::{self, NewTicket};
use crate::db::{Role, act_for};
use crate::prediction::{Action, DismissReason, Label, Policy, Refusal};
use crate::ticket::{Origin, Priority};

fn at(hours: i64) -> Timestamp {
    Timestamp::from_secs(1_750_000_000 + hours * 3600)
}

async fn take(pool: &PgPool, new: &Score) -> Scored {
    let mut tx = pool.begin().await.unwrap();
    let scored = score(&mut tx, new, &Policy::default(), "analytics")
        .await
        .unwrap();
    tx.commit().await.unwrap();
    scored
}

#[tokio::test]
async fn scores_revise_one_row_and_its_ticket_labels_it() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let neighbour = Plant::new(&database.owner, "two").await;
    let asset = plant.machine("P-1").await.asset;
    let base = Score {
        tenant: plant.tenant,
        asset,
        failure_mode: None,
        horizon_h: 720,
        probability: 0.4,
        low: 0.3,
        high: 0.5,
        rul_h: [None, Some(500.0), None],
        factors: json!([]),
        model_version: champion(&database.owner).await,
        window_end: at(0),
    };
    let score_at = |hours, probability| Score {
        probability,
        window_end: at(hours),
        ..base.clone()
    };
    let (analytics, api) = (database.pool(Role::Analytics), database.pool(Role::Api));
    assert_eq!(take(&analytics, &score_at(0, 0.2)).await, Scored::Quiet);
    // Two workers at once publish one row.
    let tasks: Vec<_> = (1..=4)
        .map(|hours| {
            let (pool, new) = (analytics.clone(), score_at(hours, 0.4));
            tokio::spawn(async move { take(&pool, &new).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let Scored::Revised(id) = take(&analytics, &score_at(5, 0.6)).await else {
        panic!("a second row")
    };
    assert_eq!(
        take(&analytics, &score_at(5, 0.9)).await,
        Scored::Quiet,
        "the same window again"
    );

    let mut tx = api.begin().await.unwrap();
    act_for(&mut tx, neighbour.tenant).await.unwrap();
    assert_eq!(get(&mut tx, id).await.unwrap(), None);
    drop(tx);
    let mut tx = api.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    let listed = list(
        &mut tx,
        &Filter {
            statuses: vec![Status::New],
            ..Filter::default()
        },
        None,
        10,
    )
    .await
    .unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].id, listed[0].probability, listed[0].peak_probability),
        (id, 0.6, 0.6)
    );
    let act = |action, ticket| Decision {
        action,
        ticket,
        user: Some(plant.planner),
        actor: "usr_x",
        now: at(6),
    };
    let stale = decide(&mut tx, id, Some(99), act(&Action::Claim, None))
        .await
        .unwrap_err();
    assert!(matches!(stale, ChangeError::Stale { .. }));
    decide(&mut tx, id, None, act(&Action::Claim, None))
        .await
        .unwrap();
    let error = decide(&mut tx, id, None, act(&Action::Accept, None))
        .await
        .unwrap_err();
    assert!(matches!(error, ChangeError::Refused(Refusal::NoOpenTicket)));
    let new = NewTicket {
        tenant: plant.tenant,
        asset,
        case: None,
        occurrence: None,
        failure_mode: None,
        origin: Origin::Prediction,
        origin_key: id.to_string(),
        title: "Failure predicted".into(),
        description: String::new(),
        priority: Priority::High,
        due_at: None,
        repeat_of: None,
        tasks: vec![],
    };
    let ticket = ticket::create(&mut tx, &new, "usr_x").await.unwrap().id();
    decide(&mut tx, id, None, act(&Action::Accept, Some(ticket)))
        .await
        .unwrap();
    let error = decide(&mut tx, id, None, act(&Action::Claim, None))
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        ChangeError::Refused(Refusal::NotOpen {
            status: Status::Accepted
        })
    ));
    tx.commit().await.unwrap();

    // While the ticket is open the accepted one is revised, not doubled.
    assert_eq!(take(&analytics, &score_at(7, 0.8)).await, Scored::Revised(id));
    let mut tx = api.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    label_by_ticket(&mut tx, ticket, Label::ConfirmedPrevented, "usr_x")
        .await
        .unwrap();
    let seen = get(&mut tx, id).await.unwrap().unwrap();
    assert_eq!(
        (seen.status, seen.label.as_deref()),
        (Status::Accepted, Some("confirmed_prevented"))
    );
    let kinds: Vec<_> = events(&mut tx, id)
        .await
        .unwrap()
        .into_iter()
        .map(|event| event.kind)
        .collect();
    assert_eq!(kinds, ["published", "claimed", "accepted", "labelled"]);
    tx.commit().await.unwrap();
    analytics.close().await;
    api.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn a_ticket_confirms_only_what_was_predicted() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let asset = plant.machine("P-1").await.asset;
    let (bearing, seal) = (
        plant.failure_mode("bearing").await,
        plant.failure_mode("seal").await,
    );
    let model = champion(&database.owner).await;
    let pool = database.pool(Role::Analytics);
    let mut ids = Vec::new();
    for mode in [Some(bearing), Some(seal), None] {
        let new = Score {
            tenant: plant.tenant,
            asset,
            failure_mode: mode,
            horizon_h: 720,
            probability: 0.6,
            low: 0.4,
            high: 0.8,
            rul_h: [None; 3],
            factors: json!([]),
            model_version: model,
            window_end: at(1),
        };
        let Scored::Published(id) = take(&pool, &new).await else {
            panic!("not published")
        };
        ids.push(id);
    }
    let mut tx = pool.begin().await.unwrap();
    let new = NewTicket {
        tenant: plant.tenant,
        asset,
        case: None,
        occurrence: None,
        failure_mode: Some(seal),
        origin: Origin::Prediction,
        origin_key: "one for all".into(),
        title: "Pump".into(),
        description: String::new(),
        priority: Priority::High,
        due_at: None,
        repeat_of: None,
        tasks: vec![],
    };
    let ticket = ticket::create(&mut tx, &new, "usr_x").await.unwrap().id();
    sqlx::query("UPDATE prediction SET status = 'attached', ticket_id = $1")
        .bind(ticket)
        .execute(&mut *tx)
        .await
        .unwrap();
    let found = async |tx: &mut sqlx::PgConnection, mode, label| {
        sqlx::query("UPDATE ticket SET found_failure_mode_id = $2 WHERE id = $1")
            .bind(ticket)
            .bind(mode)
            .execute(&mut *tx)
            .await
            .unwrap();
        label_by_ticket(tx, ticket, label, "usr_x").await.unwrap();
        let mut labels = Vec::new();
        for id in &ids {
            labels.push(get(tx, *id).await.unwrap().unwrap().label.unwrap());
        }
        labels
    };
    // The bearing was about to fail: whoever had feared for the seal was not right by it.
    assert_eq!(
        found(&mut tx, Some(bearing), Label::ConfirmedPrevented).await,
        [
            "confirmed_prevented",
            "different_fault_found",
            "confirmed_prevented"
        ]
    );
    assert_eq!(
        found(&mut tx, Some(seal), Label::ConfirmedFailed).await,
        ["different_fault_found", "confirmed_failed", "confirmed_failed"]
    );
    assert_eq!(
        found(&mut tx, None, Label::NoFaultFound).await,
        ["no_fault_found"; 3]
    );
    drop(tx);
    pool.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn a_failure_after_a_dismissal_is_a_label_too() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let new = Score {
        tenant: plant.tenant,
        asset: plant.machine("P-1").await.asset,
        failure_mode: None,
        horizon_h: 24,
        probability: 0.5,
        low: 0.4,
        high: 0.6,
        rul_h: [None; 3],
        factors: json!([]),
        model_version: champion(&database.owner).await,
        window_end: at(0),
    };
    let mut tx = database.owner.begin().await.unwrap();
    let Scored::Published(id) = score(&mut tx, &new, &Policy::default(), "analytics")
        .await
        .unwrap()
    else {
        panic!()
    };
    let action = Action::Dismiss {
        reason: DismissReason::Other,
        text: Some("it always sounds so".into()),
    };
    let decision = Decision {
        action: &action,
        ticket: None,
        user: None,
        actor: "usr_x",
        now: at(1),
    };
    decide(&mut tx, id, None, decision).await.unwrap();
    let again = Score {
        window_end: at(2),
        probability: 0.55,
        ..new.clone()
    };
    assert_eq!(
        score(&mut tx, &again, &Policy::default(), "analytics")
            .await
            .unwrap(),
        Scored::Quiet
    );
    let fail = async |tx: &mut sqlx::PgConnection, hour: i64| {
        sqlx::query(
            "INSERT INTO failure_report (id, tenant_id, asset_id, failed_at, source) VALUES ($1, $2, $3, $4, 'person')",
        )
        .bind(crate::id::FailureReportId::new())
        .bind(new.tenant)
        .bind(new.asset)
        .bind(at(hour))
        .execute(&mut *tx)
        .await
        .unwrap();
        reconcile_failures(tx, at(100)).await.unwrap()
    };
    let one = Reconciled {
        failures: 1,
        ..Reconciled::default()
    };
    assert_eq!(
        fail(&mut tx, 48).await,
        one,
        "beyond the horizon, and nobody was assessing"
    );
    assert_eq!(fail(&mut tx, 20).await, Reconciled { labelled: 1, ..one });
    assert_eq!(
        reconcile_failures(&mut tx, at(100)).await.unwrap(),
        Reconciled::default(),
        "each failure is looked at once"
    );
    let seen = get(&mut tx, id).await.unwrap().unwrap();
    assert_eq!(seen.dismiss_reason.as_deref(), Some("other: it always sounds so"));
    assert_eq!(seen.label.as_deref(), Some("missed_after_dismissal"));
    assert_eq!(seen.failed_at, Some(at(20)));
    let card = scorecards(&mut tx, at(-1), at(1), None).await.unwrap().remove(0);
    assert_eq!(
        (card.card.published, card.card.hits, card.class),
        (1, 1, plant.class)
    );
    assert_eq!(card.card.lead_time.unwrap().median_h, 20.0);
    assert_eq!(scorecards(&mut tx, at(1), at(2), None).await.unwrap(), []);
    drop(tx);
    database.drop_now().await;
}

#[tokio::test]
async fn a_failure_that_nothing_predicted_gets_a_row_of_its_own_once() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let machine = plant.machine("P-1").await;
    let mode = plant.failure_mode("seal_leak").await;
    let model = champion(&database.owner).await;
    sqlx::query(
        "INSERT INTO assessment (window_end, tenant_id, asset_id, model_version_id, window_start, health, coverage,
             freshness_s, p_fail, factors, code_version)
         VALUES ($1, $2, $3, $4, $1, 80, 1, 0, $5, '[]', 'test')",
    )
    .bind(at(10))
    .bind(plant.tenant)
    .bind(machine.asset)
    .bind(model)
    .bind(json!([{ "horizon_h": 720, "p": 0.12, "low": 0.05, "high": 0.2, "basis": "test" }]))
    .execute(&database.owner)
    .await
    .unwrap();
    for hour in [5, 20] {
        sqlx::query(
            "INSERT INTO failure_report (id, tenant_id, asset_id, failure_mode_id, failed_at, source)
             VALUES ($1, $2, $3, $4, $5, 'import')",
        )
        .bind(crate::id::FailureReportId::new())
        .bind(plant.tenant)
        .bind(machine.asset)
        .bind(mode)
        .bind(at(hour))
        .execute(&database.owner)
        .await
        .unwrap();
    }
    let analytics = database.pool(Role::Analytics);
    let mut tx = analytics.begin().await.unwrap();
    let done = reconcile_failures(&mut tx, at(30)).await.unwrap();
    tx.commit().await.unwrap();
    // The first failure was before anybody assessed the asset: no model missed it.
    assert_eq!((done.failures, done.false_negatives, done.labelled), (2, 1, 0));
    let mut connection = analytics.acquire().await.unwrap();
    let missed = list(&mut connection, &Filter::default(), None, 10).await.unwrap();
    assert_eq!(missed.len(), 1);
    assert_eq!(
        (
            missed[0].status,
            missed[0].label.as_deref(),
            missed[0].failed_at,
            missed[0].probability
        ),
        (Status::Expired, Some("false_negative"), Some(at(20)), 0.12)
    );
    let card = scorecards(&mut connection, at(0), at(50), None)
        .await
        .unwrap()
        .remove(0)
        .card;
    assert_eq!((card.published, card.misses), (0, 1));
    assert_eq!((card.recall.unwrap().value, card.precision), (0.0, None));
    drop(connection);
    analytics.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn time_wakes_and_ends_what_waits() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let model = champion(&database.owner).await;
    let mut ids = Vec::new();
    for name in ["until", "shutdown", "unread"] {
        let new = Score {
            tenant: plant.tenant,
            asset: plant.machine(name).await.asset,
            failure_mode: None,
            horizon_h: 240,
            probability: 0.5,
            low: 0.4,
            high: 0.6,
            rul_h: [None; 3],
            factors: json!([]),
            model_version: model,
            window_end: at(0),
        };
        let Scored::Published(id) = take(&database.owner, &new).await else {
            panic!()
        };
        ids.push((id, new.asset));
    }
    let pool = database.pool(Role::Analytics);
    let mut connection = pool.acquire().await.unwrap();
    for (index, (until, shutdown)) in [(Some(at(10)), false), (None, true)].into_iter().enumerate() {
        let action = Action::Snooze {
            until,
            above: None,
            shutdown,
        };
        let decision = Decision {
            action: &action,
            ticket: None,
            user: None,
            actor: "usr_x",
            now: at(1),
        };
        decide(&mut connection, ids[index].0, None, decision)
            .await
            .unwrap();
    }
    assert_eq!(lapse(&mut connection, at(9)).await.unwrap(), Lapsed::default());
    assert_eq!(
        lapse(&mut connection, at(10)).await.unwrap(),
        Lapsed { woke: 1, expired: 0 }
    );
    sqlx::query("UPDATE asset SET status = 'down' WHERE id = $1")
        .bind(ids[1].1)
        .execute(&database.owner)
        .await
        .unwrap();
    assert_eq!(
        lapse(&mut connection, at(11)).await.unwrap(),
        Lapsed { woke: 1, expired: 0 }
    );
    assert_eq!(lapse(&mut connection, at(12)).await.unwrap(), Lapsed::default());
    assert_eq!(
        lapse(&mut connection, at(240)).await.unwrap(),
        Lapsed { woke: 0, expired: 3 }
    );
    let kinds: Vec<String> = events(&mut connection, ids[1].0)
        .await
        .unwrap()
        .into_iter()
        .map(|one| one.kind)
        .collect();
    assert_eq!(kinds, ["published", "snoozed", "woke", "expired"]);
    drop(connection);
    pool.close().await;
    database.drop_now().await;
}

use models::alarm::Rule;
use models::db::alarm::{Watch, evaluate};
use models::db::dispatch::{Outcome, decisions};
use models::db::fixture::Plant;
use models::db::testing::TestDatabase;
use models::db::{Role, act_for, case_file};
use models::id::TicketId;
use models::reading::Quality;
use models::ticket::{Outcome as Found, Priority, Status};
use models::time::Timestamp;
use sqlx::PgPool;

use super::*;

const DAY: f64 = 86_400.0;

/// A moment some days ago, so that no group wait is in the way.
fn start() -> Timestamp {
    Timestamp::from_secs(1_750_000_000)
}

fn quick() -> Config {
    Config {
        group_wait_s: 0.0,
        ..Config::default()
    }
}

/// One sample at `at`, judged and committed as ingest does.
async fn sample(pool: &PgPool, rule: &Rule, at: Timestamp, value: f64) {
    let mut connection = pool.acquire().await.unwrap();
    let machine = models::db::alarm::latest_machines(&mut connection, &[rule.id])
        .await
        .unwrap()
        .remove(&rule.id);
    drop(connection);
    let mut watches = [Watch {
        rule,
        machine: machine.unwrap_or_default(),
        samples: vec![(at, value, Quality::Good)],
    }];
    let mut tx = pool.begin().await.unwrap();
    evaluate(&mut tx, &mut watches, Timestamp::MIN, "ingest")
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

async fn tickets(pool: &PgPool) -> Vec<(TicketId, Status, Priority, Option<TicketId>)> {
    sqlx::query_as("SELECT id, status, priority, repeat_of FROM ticket ORDER BY number")
        .fetch_all(pool)
        .await
        .unwrap()
}

async fn outcomes(pool: &PgPool) -> Vec<Outcome> {
    sqlx::query_scalar("SELECT outcome FROM dispatch_decision ORDER BY id")
        .fetch_all(pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn four_dispatchers_make_one_ticket_for_many_alarms_of_one_cause() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let mode = plant.failure_mode("bearing_wear").await;
    let ingest = database.pool(Role::Ingest);
    let mut rules = Vec::new();
    let mut machines = Vec::new();
    for machine in 0..3 {
        let machine = plant.machine(&format!("P-{machine}")).await;
        machines.push(machine);
        for rule in 0..5 {
            rules.push(
                plant
                    .rule(machine, &format!("rule {rule}"), |rule| {
                        rule.failure_mode = Some(mode)
                    })
                    .await,
            );
        }
    }
    let dispatchers: Vec<PgPool> = (0..4).map(|_| database.pool(Role::Analytics)).collect();
    // Alarms come in while the dispatchers are at work.
    let raising = {
        let (ingest, rules) = (ingest.clone(), rules.clone());
        tokio::spawn(async move {
            for (second, rule) in rules.iter().enumerate() {
                sample(&ingest, rule, start().plus_seconds(second as f64), 11.0).await;
            }
        })
    };
    let passes: Vec<_> = dispatchers
        .iter()
        .map(|pool| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for _ in 0..12 {
                    pass(&pool, &quick(), start().plus_seconds(3600.0)).await.unwrap();
                }
            })
        })
        .collect();
    raising.await.unwrap();
    for dispatcher in passes {
        dispatcher.await.unwrap();
    }
    pass(&dispatchers[0], &quick(), start().plus_seconds(3600.0))
        .await
        .unwrap();

    let per_asset: Vec<i64> = sqlx::query_scalar("SELECT count(*) FROM ticket GROUP BY asset_id")
        .fetch_all(&database.owner)
        .await
        .unwrap();
    assert_eq!(per_asset, [1, 1, 1], "one ticket for each machine");
    let cases: i64 = sqlx::query_scalar("SELECT count(*) FROM case_file")
        .fetch_one(&database.owner)
        .await
        .unwrap();
    assert_eq!(cases, 3);
    let outcomes = outcomes(&database.owner).await;
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| **outcome == Outcome::Created)
            .count(),
        3
    );
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| **outcome == Outcome::Attached)
            .count(),
        12
    );
    assert_eq!(outcomes.len(), rules.len(), "each alarm has its decision");
    let open: i64 =
        sqlx::query_scalar("SELECT count(*) FROM alarm WHERE dispatched_at IS NULL OR case_id IS NULL")
            .fetch_one(&database.owner)
            .await
            .unwrap();
    assert_eq!(open, 0);
    // Another pass finds nothing to do.
    let report = pass(&dispatchers[0], &quick(), start().plus_seconds(3600.0))
        .await
        .unwrap();
    assert_eq!(report, DispatchReport::default());
    for pool in dispatchers {
        pool.close().await;
    }
    ingest.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn every_ticket_that_is_not_made_has_its_reason() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let (ingest, pool) = (database.pool(Role::Ingest), database.pool(Role::Analytics));
    let now = start().plus_seconds(60.0);
    let status = async |name: &str, status: &str| {
        sqlx::query("UPDATE asset SET status = $2::text::asset_status WHERE name = $1")
            .bind(name)
            .bind(status)
            .execute(&database.owner)
            .await
            .unwrap();
    };
    let mut subjects = Vec::new();
    for (name, change) in [
        ("informs", false),
        ("stored", true),
        ("in maintenance", true),
        ("shelved", true),
    ] {
        let rule = plant
            .rule(plant.machine(name).await, name, |rule| rule.makes_ticket = change)
            .await;
        sample(&ingest, &rule, start(), 11.0).await;
        subjects.push(rule);
    }
    status("stored", "in_storage").await;
    status("in maintenance", "maintenance").await;
    sqlx::query(
        "UPDATE alarm SET suppression = 'shelved', suppressed_until = $2, suppression_reason = 'painting next door'
         WHERE rule_id = $1",
    )
    .bind(subjects[3].id)
    .bind(now.plus_seconds(DAY))
    .execute(&database.owner)
    .await
    .unwrap();
    for _ in 0..3 {
        pass(&pool, &quick(), now).await.unwrap();
    }
    assert_eq!(tickets(&database.owner).await, []);
    let mut connection = pool.acquire().await.unwrap();
    let rows = decisions(&mut connection, None, None, None, None, 10)
        .await
        .unwrap();
    drop(connection);
    let reason = |rule: &Rule| {
        let row = rows.iter().find(|row| row.asset_id == rule.asset).unwrap();
        (row.outcome, row.reason.clone())
    };
    assert_eq!(rows.len(), 4, "each once, however many passes");
    assert_eq!(
        reason(&subjects[0]),
        (
            Outcome::BelowPolicy,
            "The rule “informs” informs only: it is set to make no ticket.".into()
        )
    );
    assert_eq!(
        reason(&subjects[1]),
        (
            Outcome::AssetNotInService,
            "stored is in storage: an alarm there needs no work.".into()
        )
    );
    assert_eq!(reason(&subjects[2]).0, Outcome::Suppressed);
    let (outcome, text) = reason(&subjects[3]);
    assert_eq!(outcome, Outcome::Suppressed);
    assert!(text.contains("painting next door"), "{text}");

    // What suppressed them ends while they are still active: now they count.
    status("stored", "operational").await;
    status("in maintenance", "operational").await;
    let report = pass(&pool, &quick(), now.plus_seconds(2.0 * DAY)).await.unwrap();
    assert_eq!(report.created, 3);
    pool.close().await;
    ingest.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn after_a_ticket_there_is_a_cool_down_and_then_a_repeat() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let rule = plant.rule(plant.machine("P-1").await, "vibration", |_| ()).await;
    let (ingest, pool, api) = (
        database.pool(Role::Ingest),
        database.pool(Role::Analytics),
        &database.owner,
    );
    sample(&ingest, &rule, start(), 11.0).await;
    pass(&pool, &quick(), start().plus_seconds(10.0)).await.unwrap();
    let first = tickets(api).await[0].0;
    let closed_at = start().plus_seconds(3600.0);
    plant.work(first, Some(Found::NoFaultFound), closed_at).await;

    // The alarm never returned to normal: it has had its ticket.
    for days in 0..5 {
        pass(&pool, &quick(), closed_at.plus_seconds(f64::from(days) * DAY))
            .await
            .unwrap();
    }
    assert_eq!(tickets(api).await.len(), 1, "re-arming needs a return to normal");
    let open: i64 = sqlx::query_scalar("SELECT count(*) FROM case_file WHERE closed_at IS NULL")
        .fetch_one(api)
        .await
        .unwrap();
    assert_eq!(open, 1, "a case with an active alarm stays open");

    // It returns, and comes back within the cool-down of the ticket.
    sample(&ingest, &rule, start().plus_seconds(7200.0), 1.0).await;
    let report = pass(&pool, &quick(), start().plus_seconds(7300.0)).await.unwrap();
    assert_eq!(report.cases_closed, 1);
    sample(&ingest, &rule, start().plus_seconds(7400.0), 12.0).await;
    let report = pass(&pool, &quick(), start().plus_seconds(7500.0)).await.unwrap();
    assert_eq!((report.created, report.cool_down), (0, 1));
    // It is still there when the cool-down ends: a repeat.
    let report = pass(&pool, &quick(), closed_at.plus_seconds(DAY + 1.0))
        .await
        .unwrap();
    assert_eq!(report.created, 1);
    let all = tickets(api).await;
    assert_eq!((all.len(), all[1].3), (2, Some(first)));
    assert_eq!(
        outcomes(api).await,
        [Outcome::Created, Outcome::CoolDown, Outcome::Created]
    );
    pool.close().await;
    ingest.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn an_alarm_without_a_mode_joins_the_assets_case_and_may_raise_the_priority() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let machine = plant.machine("P-1").await;
    let mode = plant.failure_mode("bearing_wear").await;
    let (ingest, pool) = (database.pool(Role::Ingest), database.pool(Role::Analytics));
    let worn = plant
        .rule(machine, "worn", |rule| rule.failure_mode = Some(mode))
        .await;
    let hot = plant
        .rule(machine, "hot", |rule| {
            rule.severity = models::alarm::Severity::Critical
        })
        .await;
    let seal = plant.failure_mode("seal_leak").await;
    let leak = plant
        .rule(machine, "leak", |rule| rule.failure_mode = Some(seal))
        .await;
    sample(&ingest, &worn, start(), 11.0).await;
    pass(&pool, &quick(), start().plus_seconds(1.0)).await.unwrap();
    assert_eq!(tickets(&database.owner).await[0].2, Priority::Medium);
    sample(&ingest, &hot, start().plus_seconds(2.0), 11.0).await;
    sample(&ingest, &leak, start().plus_seconds(3.0), 11.0).await;
    pass(&pool, &quick(), start().plus_seconds(10.0)).await.unwrap();
    let all = tickets(&database.owner).await;
    assert_eq!(all.len(), 2, "the leak is another cause");
    assert_eq!(all[0].2, Priority::High);

    // The case as a planner sees it, and not his neighbour.
    let api = database.pool(Role::Api);
    let neighbour = Plant::new(&database.owner, "two").await;
    let mut tx = api.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    let open = case_file::Filter {
        open: Some(true),
        ..case_file::Filter::default()
    };
    let cases = case_file::list(&mut tx, open, None, 10).await.unwrap();
    assert_eq!(cases.len(), 2);
    let worn_case = cases
        .iter()
        .find(|case| case.failure_mode_id == Some(mode))
        .unwrap();
    assert_eq!(
        (
            worn_case.alarms,
            worn_case.ticket_number,
            worn_case.title.as_str()
        ),
        (2, Some(1), "bearing_wear: P-1")
    );
    assert_eq!(
        case_file::get(&mut tx, worn_case.id).await.unwrap().as_ref(),
        Some(worn_case)
    );
    drop(tx);
    let mut tx = api.begin().await.unwrap();
    act_for(&mut tx, neighbour.tenant).await.unwrap();
    assert_eq!(case_file::list(&mut tx, open, None, 10).await.unwrap(), []);
    assert_eq!(decisions(&mut tx, None, None, None, None, 10).await.unwrap(), []);
    drop(tx);
    api.close().await;
    pool.close().await;
    ingest.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn short_alarms_wait_for_the_group_and_make_no_ticket() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let (ingest, pool) = (database.pool(Role::Ingest), database.pool(Role::Analytics));
    let config = Config {
        group_wait_s: 30.0,
        ..Config::default()
    };
    let short = plant.rule(plant.machine("P-1").await, "short", |_| ()).await;
    let long = plant.rule(plant.machine("P-2").await, "long", |_| ()).await;
    sample(&ingest, &short, start(), 11.0).await;
    sample(&ingest, &long, start(), 11.0).await;
    let report = pass(&pool, &config, start().plus_seconds(10.0)).await.unwrap();
    assert_eq!((report.created, report.below_policy), (0, 0), "too early to say");
    sample(&ingest, &short, start().plus_seconds(12.0), 1.0).await;
    let report = pass(&pool, &config, start().plus_seconds(30.0)).await.unwrap();
    assert_eq!((report.created, report.below_policy), (1, 1));
    // A dispatcher that was away decides the same: what counts is how long the alarm lasted.
    let late = plant.rule(plant.machine("P-3").await, "late", |_| ()).await;
    sample(&ingest, &late, start(), 11.0).await;
    sample(&ingest, &late, start().plus_seconds(40.0), 1.0).await;
    let report = pass(&pool, &config, start().plus_seconds(90_000.0))
        .await
        .unwrap();
    assert_eq!(report.created, 1);
    pool.close().await;
    ingest.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn it_is_woken_by_news_and_stops_when_told() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let (ingest, pool) = (database.pool(Role::Ingest), database.pool(Role::Analytics));
    let rule = plant.rule(plant.machine("P-1").await, "high", |_| ()).await;
    let shutdown = CancellationToken::new();
    let hour = Duration::from_secs(3600);
    let running = tokio::spawn(run_with(pool.clone(), quick(), hour, shutdown.clone()));
    sample(&ingest, &rule, start(), 11.0).await;
    // The timer is an hour away: only the signal can have brought it. The first pass may have come
    // before it listened, so the signal is given again until it is heard.
    let mut waited = 0;
    while tickets(&database.owner).await.is_empty() {
        assert!(waited < 300, "no ticket within 30 s");
        waited += 1;
        sqlx::query("SELECT pg_notify('forewarn_outbox', '')")
            .execute(&database.owner)
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    shutdown.cancel();
    running.await.unwrap().unwrap();
    pool.close().await;
    ingest.close().await;
    database.drop_now().await;
}

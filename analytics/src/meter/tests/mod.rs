use models::db::fixture::{Machine, Plant};
use models::db::meter::{MeterRow, NewMeter};
use models::db::plan::{NewPlan, OccurrenceRow};
use models::db::testing::TestDatabase;
use models::db::{Role, act_for};
use models::meter::{Entered, Line, Source};
use models::plan::{Basis, OccurrenceStatus, OpenInstance};

use super::*;
use crate::dispatch;

mod plans;

const HOUR: f64 = 3600.0;

/// 2025-06-15 in Berlin.
fn start() -> Timestamp {
    Timestamp::from_secs(1_750_000_000)
}

async fn meter(
    pool: &PgPool,
    plant: &Plant,
    machine: Machine,
    change: impl FnOnce(&mut NewMeter),
) -> MeterId {
    let mut new = NewMeter {
        asset_id: machine.asset,
        name: "run hours".into(),
        unit: "h".into(),
        source: Source::RunningState,
        channel_id: Some(machine.channel),
        running_above: Some(1.0),
        rollover_at: None,
        max_rate_per_h: None,
        max_gap_s: None,
        total: 0.0,
    };
    change(&mut new);
    let mut tx = pool.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    let id = sql::create(&mut tx, plant.tenant, &new).await.unwrap();
    tx.commit().await.unwrap();
    id
}

async fn plan(pool: &PgPool, plant: &Plant, machine: Machine, change: impl FnOnce(&mut NewPlan)) -> PlanId {
    let mut new = NewPlan {
        asset_id: machine.asset,
        name: "grease".into(),
        failure_mode_id: None,
        enabled: true,
        basis: Basis::Floating,
        all_of: false,
        every_days: None,
        meter_id: None,
        every_units: None,
        lead_days: 0,
        lead_units: 0.0,
        tolerance_pct: 0.0,
        open_instance: OpenInstance::Skip,
        calendar: models::plan::Calendar::default(),
        on_prediction: models::plan::OnPrediction::default(),
        parent_id: None,
        absorb_days: 7,
        anchor_date: "2025-06-15".parse().unwrap(),
        anchor_units: 0.0,
        priority: models::ticket::Priority::High,
        tasks: vec![models::ticket::NewTask::check("grease both bearings")],
    };
    change(&mut new);
    let mut tx = pool.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    let id = plan_sql::create(&mut tx, plant.tenant, &new).await.unwrap();
    tx.commit().await.unwrap();
    id
}

/// One reading a quarter of an hour.
async fn run_machine(pool: &PgPool, machine: Machine, from_h: i32, to_h: i32, value: f64) {
    sqlx::query(
        "INSERT INTO reading (ts, value, channel_id)
         SELECT $1::timestamptz + make_interval(mins => 15 * step), $4, $5 FROM generate_series($2 * 4 + 1, $3 * 4) AS step",
    )
    .bind(start())
    .bind(from_h)
    .bind(to_h)
    .bind(value)
    .bind(machine.channel)
    .execute(pool)
    .await
    .unwrap();
}

async fn stands(pool: &PgPool, id: MeterId) -> MeterRow {
    let mut connection = pool.acquire().await.unwrap();
    sql::get(&mut connection, id).await.unwrap().unwrap()
}

async fn occurrences(pool: &PgPool, id: PlanId) -> Vec<OccurrenceRow> {
    let mut connection = pool.acquire().await.unwrap();
    let mut rows = plan_sql::occurrences(&mut connection, Some(id), &[], None, 100)
        .await
        .unwrap();
    rows.sort_by_key(|row| row.sequence);
    rows
}

#[tokio::test]
async fn run_hours_bring_the_plan_due_once_and_the_work_moves_it_on() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let machine = plant.machine("P-1").await;
    let meter = meter(&database.owner, &plant, machine, |_| ()).await;
    let plan = plan(&database.owner, &plant, machine, |new| {
        (new.meter_id, new.every_units, new.lead_units) = (Some(meter), Some(100.0), 10.0);
    })
    .await;
    let pools: Vec<PgPool> = (0..3).map(|_| database.pool(Role::Analytics)).collect();
    run_machine(&database.owner, machine, 0, 80, 5.0).await;
    let now = start().plus_seconds(80.0 * HOUR);
    run_once(&pools[0], now).await.unwrap();
    assert!(
        (stands(&database.owner, meter).await.total - 79.75).abs() < 1e-9,
        "from the first reading on"
    );
    assert_eq!(occurrences(&database.owner, plan).await, []);
    let mut connection = database.owner.acquire().await.unwrap();
    let forecast = plan_sql::get(&mut connection, plan)
        .await
        .unwrap()
        .unwrap()
        .forecast
        .unwrap();
    drop(connection);
    assert!(forecast.date.is_some(), "{forecast:?}");
    assert!((forecast.units_to_go.unwrap() - 20.25).abs() < 1e-9);

    // Standing still adds nothing; then it runs over the lead. Three schedulers look at once.
    run_machine(&database.owner, machine, 80, 90, 0.0).await;
    run_machine(&database.owner, machine, 90, 102, 5.0).await;
    let now = start().plus_seconds(102.0 * HOUR);
    let passes: Vec<_> = pools
        .iter()
        .map(|pool| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for _ in 0..5 {
                    run_once(&pool, now).await.unwrap();
                    dispatch::run_once(&pool, now).await.unwrap();
                }
            })
        })
        .collect();
    for scheduler in passes {
        scheduler.await.unwrap();
    }
    let total = stands(&database.owner, meter).await.total;
    assert!((total - 91.75).abs() < 1e-9, "counted once: {total}");
    let made = occurrences(&database.owner, plan).await;
    assert_eq!(made.len(), 1);
    assert_eq!(
        (made[0].sequence, made[0].status, made[0].due_units),
        (1, OccurrenceStatus::Ticketed, Some(100.0))
    );
    let tickets: i64 = sqlx::query_scalar("SELECT count(*) FROM ticket")
        .fetch_one(&database.owner)
        .await
        .unwrap();
    assert_eq!(tickets, 1);

    // Done at 103 h: the next one counts from there.
    plant.work(made[0].ticket_id.unwrap(), None, now).await;
    assert_eq!(
        occurrences(&database.owner, plan).await[0].status,
        OccurrenceStatus::Done
    );
    run_machine(&database.owner, machine, 102, 195, 5.0).await;
    let now = start().plus_seconds(195.0 * HOUR);
    run_once(&pools[0], now).await.unwrap();
    let made = occurrences(&database.owner, plan).await;
    assert_eq!(made.len(), 2);
    assert!(
        (made[1].due_units.unwrap() - 191.75).abs() < 1e-9,
        "{:?}",
        made[1]
    );
    for pool in pools {
        pool.close().await;
    }
    database.drop_now().await;
}

#[tokio::test]
async fn people_enter_and_void_readings_of_their_own_meters() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let neighbour = Plant::new(&database.owner, "two").await;
    let machine = plant.machine("P-1").await;
    let manual = |new: &mut NewMeter| (new.source, new.channel_id) = (Source::Manual, None);
    let id = meter(&database.owner, &plant, machine, manual).await;
    let api = database.pool(Role::Api);
    let mut tx = api.begin().await.unwrap();
    act_for(&mut tx, plant.tenant).await.unwrap();
    let at = |hours: f64| start().plus_seconds(hours * HOUR);
    let now = at(100.0);
    let enter = async |tx: &mut sqlx::PgConnection, hours: f64, total: f64| {
        let line = Line {
            at: at(hours),
            entered: Entered::Absolute(total),
        };
        sql::change_reading(tx, id, &sql::Change::Add(line), false, "usr_x", now).await
    };
    assert_eq!(enter(&mut tx, 0.0, 100.0).await.unwrap().total, 100.0);
    assert_eq!(enter(&mut tx, 24.0, 110.0).await.unwrap().total, 110.0);
    assert_eq!(
        enter(&mut tx, 24.0, 110.0).await.unwrap().total,
        110.0,
        "the same again is no error"
    );
    let backwards = enter(&mut tx, 48.0, 90.0).await.unwrap_err().to_string();
    assert!(
        backwards.contains("backwards") && backwards.contains("exchange"),
        "{backwards}"
    );
    assert!(
        enter(&mut tx, 24.0, 111.0)
            .await
            .unwrap_err()
            .to_string()
            .contains("correct that one")
    );
    let void = sql::Change::Void {
        at: at(24.0),
        reason: "the neighbour's".into(),
    };
    assert_eq!(
        sql::change_reading(&mut tx, id, &void, true, "usr_x", now)
            .await
            .unwrap()
            .total,
        100.0
    );
    assert_eq!(sql::get(&mut tx, id).await.unwrap().unwrap().total, 100.0);
    assert_eq!(
        sql::readings(&mut tx, id, None, 10).await.unwrap().len(),
        2,
        "a voided one stays visible"
    );
    assert_eq!(
        sql::list(&mut tx, Some(machine.asset), None, 10)
            .await
            .unwrap()
            .len(),
        1
    );
    tx.commit().await.unwrap();
    let mut tx = api.begin().await.unwrap();
    act_for(&mut tx, neighbour.tenant).await.unwrap();
    assert!(enter(&mut tx, 72.0, 500.0).await.is_err());
    assert_eq!(sql::list(&mut tx, None, None, 10).await.unwrap(), []);
    assert_eq!(plan_sql::list(&mut tx, None, None, 10).await.unwrap(), []);
    drop(tx);
    api.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn a_reading_that_comes_late_is_counted_and_makes_nothing_twice() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let machine = plant.machine("P-1").await;
    let pool = database.pool(Role::Analytics);
    let id = meter(&database.owner, &plant, machine, |new| {
        new.source = Source::Pulse;
        new.running_above = None;
        new.unit = "mm/s".into();
        new.max_rate_per_h = None;
    })
    .await;
    let at = |hours: f64| start().plus_seconds(hours * HOUR);
    let pulse = async |hours: f64, events: f64| {
        sqlx::query("INSERT INTO reading (ts, value, channel_id) VALUES ($1, $2, $3)")
            .bind(at(hours))
            .bind(events)
            .bind(machine.channel)
            .execute(&database.owner)
            .await
            .unwrap();
    };
    for hour in 0..10 {
        pulse(f64::from(hour), 10.0).await;
    }
    run_once(&pool, at(10.0)).await.unwrap();
    assert_eq!(
        stands(&database.owner, id).await.total,
        90.0,
        "the first one is the base"
    );
    // Two readings of before arrive now; the next ordinary pass doesn't see them, the look for late ones does.
    pulse(3.5, 7.0).await;
    pulse(6.5, 8.0).await;
    run_once(&pool, at(10.1)).await.unwrap();
    let report = run_once(&pool, at(11.0)).await.unwrap();
    assert_eq!(report.recounted, 1);
    assert_eq!(stands(&database.owner, id).await.total, 105.0);
    let report = run_once(&pool, at(12.0)).await.unwrap();
    assert_eq!(
        (report.recounted, stands(&database.owner, id).await.total),
        (0, 105.0)
    );
    pool.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn a_corrected_reading_moves_the_plan_and_makes_no_second_occurrence() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let machine = plant.machine("P-1").await;
    let pool = database.pool(Role::Analytics);
    let id = meter(&database.owner, &plant, machine, |new| {
        (new.source, new.channel_id, new.running_above) = (Source::Manual, None, None);
        new.max_rate_per_h = None;
    })
    .await;
    let due = plan(&database.owner, &plant, machine, |new| {
        new.every_days = None;
        new.meter_id = Some(id);
        new.every_units = Some(100.0);
        new.lead_days = 0;
        new.lead_units = 0.0;
    })
    .await;
    let at = |hours: f64| start().plus_seconds(hours * HOUR);
    let change = async |change: sql::Change| {
        let mut tx = database.owner.begin().await.unwrap();
        let done = sql::change_reading(&mut tx, id, &change, true, "usr_x", at(1000.0))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        done
    };
    let line = |hours: f64, total: f64| Line {
        at: at(hours),
        entered: Entered::Absolute(total),
    };
    change(sql::Change::Add(line(0.0, 10.0))).await;
    change(sql::Change::Add(line(24.0, 400.0))).await;
    run_once(&pool, at(25.0)).await.unwrap();
    assert_eq!(occurrences(&database.owner, due).await.len(), 1);
    // It was 40, not 400: the occurrence came too early, stays, and says so.
    let done = change(sql::Change::Correct(line(24.0, 40.0))).await;
    assert_eq!((done.total, done.too_early.len()), (40.0, 1));
    run_once(&pool, at(26.0)).await.unwrap();
    change(sql::Change::Add(line(48.0, 120.0))).await;
    run_once(&pool, at(49.0)).await.unwrap();
    let made = occurrences(&database.owner, due).await;
    assert_eq!(made.len(), 1, "the right reading makes no second one");
    assert!(
        made[0].explanation.contains("a reading was corrected"),
        "{}",
        made[0].explanation
    );
    // Done at 120; a late reading shows that it stood at 130 that day: the next counts from there.
    let mut tx = database.owner.begin().await.unwrap();
    plan_sql::complete(&mut tx, made[0].id, at(60.0)).await.unwrap();
    tx.commit().await.unwrap();
    let done = change(sql::Change::Add(line(59.0, 130.0))).await;
    assert_eq!(done.plans, [due]);
    let done = change(sql::Change::Correct(line(59.0, 131.0))).await;
    assert_eq!(done.plans, [due]);
    let mut connection = database.owner.acquire().await.unwrap();
    assert_eq!(
        plan_sql::get(&mut connection, due)
            .await
            .unwrap()
            .unwrap()
            .anchor_units,
        131.0
    );
    drop(connection);
    pool.close().await;
    database.drop_now().await;
}

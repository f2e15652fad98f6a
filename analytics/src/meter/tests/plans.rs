//! Plans and what comes of their occurrences.

use models::alarm::DayOfWeek;
use models::db::sla::{SiteCalendar, put_calendar};
use models::db::ticket::{Coding, tasks, transition};
use models::id::TicketId;
use models::plan::{Calendar, OnRest};
use models::ticket::Status;

use super::*;

fn day(days: f64) -> Timestamp {
    start().plus_seconds(days * 24.0 * HOUR)
}

async fn forecast_of(pool: &PgPool, id: PlanId) -> Forecast {
    let mut connection = pool.acquire().await.unwrap();
    plan_sql::get(&mut connection, id)
        .await
        .unwrap()
        .unwrap()
        .forecast
        .unwrap()
}

#[tokio::test]
async fn after_an_outage_one_occurrence_stands_for_all_and_superseded_tickets_are_cancelled() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let machine = plant.machine("P-1").await;
    let pool = database.pool(Role::Analytics);
    let plan = plan(&database.owner, &plant, machine, |new| {
        (new.basis, new.every_days, new.lead_days) = (Basis::Fixed, Some(30), 7);
        new.open_instance = OpenInstance::Supersede;
    })
    .await;
    run_once(&pool, day(22.0)).await.unwrap();
    assert_eq!(
        occurrences(&database.owner, plan).await,
        [],
        "a day before the lead"
    );
    run_once(&pool, day(23.0)).await.unwrap();
    dispatch::run_once(&pool, day(23.0)).await.unwrap();
    // A transaction that dies between the occurrence and its ticket changes nothing.
    let mut tx = pool.begin().await.unwrap();
    let (row, open) = plan_sql::lock(&mut tx, plan).await.unwrap().unwrap();
    assert!(open);
    // While one scheduler has the plan, another leaves it alone.
    run_once(&pool, day(100.0)).await.unwrap();
    assert_eq!(occurrences(&database.owner, plan).await.len(), 1);
    assert_eq!(row.next_sequence, 2);
    drop(tx);

    // Nobody looked for three intervals.
    run_once(&pool, day(125.0)).await.unwrap();
    let made = occurrences(&database.owner, plan).await;
    assert_eq!(made.len(), 2);
    assert_eq!(
        (made[0].status, made[1].status, made[1].missed),
        (OccurrenceStatus::Superseded, OccurrenceStatus::Due, 2)
    );
    assert_eq!(made[1].due_date.to_string(), "2025-10-13");
    assert!(made[1].explanation.contains("2 more"), "{}", made[1].explanation);
    let report = dispatch::run_once(&pool, day(125.0)).await.unwrap();
    assert_eq!((report.created, report.cancelled), (1, 1));
    let states: Vec<Status> = sqlx::query_scalar("SELECT status FROM ticket ORDER BY number")
        .fetch_all(&database.owner)
        .await
        .unwrap();
    assert_eq!(states, [Status::Cancelled, Status::Open]);
    pool.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn a_cancelled_ticket_leaves_no_occurrence_open_and_the_plan_goes_on() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let machine = plant.machine("P-1").await;
    let pool = database.pool(Role::Analytics);
    let plan = plan(&database.owner, &plant, machine, |new| new.every_days = Some(30)).await;
    run_once(&pool, day(30.0)).await.unwrap();
    dispatch::run_once(&pool, day(30.0)).await.unwrap();
    let ticket = occurrences(&database.owner, plan).await[0].ticket_id.unwrap();
    let why = Coding {
        reason: Some("the line is being rebuilt".into()),
        ..Coding::default()
    };
    let mut tx = database.owner.begin().await.unwrap();
    transition(&mut tx, ticket, None, Status::Cancelled, &why, "usr_x", day(33.0))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        occurrences(&database.owner, plan).await[0].status,
        OccurrenceStatus::Skipped
    );
    run_once(&pool, day(33.0)).await.unwrap();
    assert_eq!(
        occurrences(&database.owner, plan).await.len(),
        1,
        "what was cancelled doesn't come again"
    );
    let next = forecast_of(&pool, plan).await;
    assert_eq!(
        next.date.unwrap().to_string(),
        "2025-08-14",
        "counted from the day it was due"
    );
    run_once(&pool, day(60.0)).await.unwrap();
    let report = dispatch::run_once(&pool, day(60.0)).await.unwrap();
    assert_eq!(report.created, 1);
    pool.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn nothing_falls_due_while_the_asset_is_out_of_service_and_one_occurrence_after_it() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let (skid, machine) = (plant.machine("skid").await, plant.machine("P-1").await);
    let pool = database.pool(Role::Analytics);
    let plan = plan(&database.owner, &plant, machine, |new| {
        (new.basis, new.every_days) = (Basis::Fixed, Some(10));
        new.open_instance = OpenInstance::Stack;
    })
    .await;
    sqlx::query("UPDATE asset SET parent_id = $2 WHERE id = $1")
        .bind(machine.asset)
        .bind(skid.asset)
        .execute(&database.owner)
        .await
        .unwrap();
    let set = async |status: &str| {
        sqlx::query("UPDATE asset SET status = $2::asset_status WHERE id = $1")
            .bind(skid.asset)
            .bind(status)
            .execute(&database.owner)
            .await
            .unwrap();
    };
    set("in_storage").await;
    for days in [5.0, 15.0, 45.0] {
        run_once(&pool, day(days)).await.unwrap();
        dispatch::run_once(&pool, day(days)).await.unwrap();
    }
    assert_eq!(occurrences(&database.owner, plan).await, []);
    let said = forecast_of(&pool, plan).await;
    assert_eq!(said.date, None);
    assert!(
        said.explanation
            .contains("skid is in storage (this asset is part of it)"),
        "{}",
        said.explanation
    );
    set("operational").await;
    run_once(&pool, day(45.0)).await.unwrap();
    run_once(&pool, day(45.0)).await.unwrap();
    let made = occurrences(&database.owner, plan).await;
    assert_eq!(
        (made.len(), made[0].missed),
        (1, 3),
        "one stands for those of the 10th, 20th and 30th day"
    );
    assert_eq!(dispatch::run_once(&pool, day(45.0)).await.unwrap().created, 1);
    assert!(forecast_of(&pool, plan).await.date.is_some());
    pool.close().await;
    database.drop_now().await;
}

/// 15 July 2025 is a Tuesday.
#[tokio::test]
async fn a_site_tells_its_holidays_once_for_service_levels_and_plans() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let machine = plant.machine("P-1").await;
    let pool = database.pool(Role::Analytics);
    let monthly = async |name: &str, calendar: Calendar| {
        plan(&database.owner, &plant, machine, |new| {
            (new.name, new.calendar) = (name.to_owned(), calendar);
            (new.basis, new.every_days) = (Basis::Fixed, Some(30));
        })
        .await
    };
    let after = Calendar {
        on_rest: OnRest::After,
        ..Calendar::default()
    };
    let alone = Calendar {
        ignores_site: true,
        rest_days: vec![DayOfWeek::Tuesday],
        ..after.clone()
    };
    let (with_site, alone) = (monthly("with", after).await, monthly("alone", alone).await);
    let close = async |holidays: &[&str]| {
        let calendar = SiteCalendar {
            time_zone: None,
            week: ["mon", "tue", "thu", "fri"]
                .map(|day| (day.to_owned(), vec![("06:00".to_owned(), "22:00".to_owned())]))
                .into(),
            holidays: holidays.iter().map(|day| day.parse().unwrap()).collect(),
        };
        let mut tx = database.owner.begin().await.unwrap();
        let put = put_calendar(&mut tx, plant.tenant, plant.site, &calendar, day(0.0))
            .await
            .unwrap();
        assert!(put.unwrap());
        tx.commit().await.unwrap();
        run_once(&pool, day(1.0)).await.unwrap();
    };
    let next = async |plan| forecast_of(&pool, plan).await.date.unwrap().to_string();
    close(&[]).await;
    assert_eq!(next(with_site).await, "2025-07-15");
    // The holiday, and the Wednesday on which nobody works.
    close(&["2025-07-15"]).await;
    assert_eq!(next(with_site).await, "2025-07-17");
    assert_eq!(
        next(alone).await,
        "2025-07-16",
        "its own day of rest counts, the site's don't"
    );
    close(&["2025-07-15", "2025-07-17"]).await;
    assert_eq!(
        next(with_site).await,
        "2025-07-18",
        "a changed calendar moves what is not made yet"
    );
    pool.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn a_plans_tasks_of_every_kind_are_its_tickets() {
    let database = TestDatabase::new().await;
    let plant = Plant::new(&database.owner, "one").await;
    let machine = plant.machine("P-1").await;
    let pool = database.pool(Role::Analytics);
    let asked: Vec<models::ticket::NewTask> = serde_json::from_value(serde_json::json!([
        { "kind": "check", "text": "grease both bearings" },
        { "kind": "number", "text": "vibration after it", "max_value": 4.5, "unit": "mm/s" },
        { "kind": "photo", "text": "the nameplate", "mandatory": false },
        { "kind": "signature", "text": "who did it" },
    ]))
    .unwrap();
    plan(&database.owner, &plant, machine, |new| {
        (new.every_days, new.tasks) = (Some(30), asked.clone());
    })
    .await;
    run_once(&pool, day(30.0)).await.unwrap();
    dispatch::run_once(&pool, day(30.0)).await.unwrap();
    let ticket: TicketId = sqlx::query_scalar("SELECT id FROM ticket")
        .fetch_one(&database.owner)
        .await
        .unwrap();
    let mut tx = database.owner.begin().await.unwrap();
    let rows = tasks(&mut tx, ticket).await.unwrap();
    let given: Vec<_> = rows
        .iter()
        .map(|row| (row.kind.as_str(), row.text.as_str(), row.mandatory, row.max_value))
        .collect();
    assert_eq!(
        given,
        [
            ("check", "grease both bearings", true, None),
            ("number", "vibration after it", true, Some(4.5)),
            ("photo", "the nameplate", false, None),
            ("signature", "who did it", true, None),
        ]
    );
    drop(tx);
    pool.close().await;
    database.drop_now().await;
}

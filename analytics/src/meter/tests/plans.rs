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

/// A machine, the scheduler that looks at its plans, and the dispatcher behind it.
struct Works {
    database: TestDatabase,
    plant: Plant,
    machine: Machine,
    pool: PgPool,
}

impl Works {
    async fn new() -> Self {
        let database = TestDatabase::new().await;
        let plant = Plant::new(&database.owner, "one").await;
        Self {
            machine: plant.machine("P-1").await,
            pool: database.pool(Role::Analytics),
            plant,
            database,
        }
    }

    async fn plan(&self, change: impl FnOnce(&mut NewPlan)) -> PlanId {
        plan(&self.database.owner, &self.plant, self.machine, change).await
    }

    async fn look(&self, days: f64) {
        run_once(&self.pool, day(days)).await.unwrap();
    }

    async fn dispatch(&self, days: f64) -> dispatch::DispatchReport {
        dispatch::run_once(&self.pool, day(days)).await.unwrap()
    }

    async fn made(&self, plan: PlanId) -> Vec<OccurrenceRow> {
        occurrences(&self.database.owner, plan).await
    }

    async fn forecast(&self, plan: PlanId) -> Forecast {
        let mut connection = self.pool.acquire().await.unwrap();
        let row = plan_sql::get(&mut connection, plan).await.unwrap().unwrap();
        row.forecast.unwrap()
    }

    async fn end(self) {
        self.pool.close().await;
        self.database.drop_now().await;
    }
}

#[tokio::test]
async fn after_an_outage_one_occurrence_stands_for_all_and_superseded_tickets_are_cancelled() {
    let works = Works::new().await;
    let plan = works
        .plan(|new| {
            (new.basis, new.every_days, new.lead_days) = (Basis::Fixed, Some(30), 7);
            new.open_instance = OpenInstance::Supersede;
        })
        .await;
    works.look(22.0).await;
    assert_eq!(works.made(plan).await, [], "a day before the lead");
    works.look(23.0).await;
    works.dispatch(23.0).await;
    // A transaction that dies between the occurrence and its ticket changes nothing.
    let mut tx = works.pool.begin().await.unwrap();
    let (row, open) = plan_sql::lock(&mut tx, plan).await.unwrap().unwrap();
    assert!(open);
    // While one scheduler has the plan, another leaves it alone.
    works.look(100.0).await;
    assert_eq!(works.made(plan).await.len(), 1);
    assert_eq!(row.next_sequence, 2);
    drop(tx);

    // Nobody looked for three intervals.
    works.look(125.0).await;
    let made = works.made(plan).await;
    assert_eq!(made.len(), 2);
    assert_eq!(
        (made[0].status, made[1].status, made[1].missed),
        (OccurrenceStatus::Superseded, OccurrenceStatus::Due, 2)
    );
    assert_eq!(made[1].due_date.to_string(), "2025-10-13");
    assert!(made[1].explanation.contains("2 more"), "{}", made[1].explanation);
    let report = works.dispatch(125.0).await;
    assert_eq!((report.created, report.cancelled), (1, 1));
    let states: Vec<Status> = sqlx::query_scalar("SELECT status FROM ticket ORDER BY number")
        .fetch_all(&works.database.owner)
        .await
        .unwrap();
    assert_eq!(states, [Status::Cancelled, Status::Open]);
    works.end().await;
}

#[tokio::test]
async fn a_cancelled_ticket_leaves_no_occurrence_open_and_the_plan_goes_on() {
    let works = Works::new().await;
    let plan = works.plan(|new| new.every_days = Some(30)).await;
    works.look(30.0).await;
    works.dispatch(30.0).await;
    let ticket = works.made(plan).await[0].ticket_id.unwrap();
    let why = Coding {
        reason: Some("the line is being rebuilt".into()),
        ..Coding::default()
    };
    let mut tx = works.database.owner.begin().await.unwrap();
    transition(&mut tx, ticket, None, Status::Cancelled, &why, "usr_x", day(33.0))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(works.made(plan).await[0].status, OccurrenceStatus::Skipped);
    works.look(33.0).await;
    assert_eq!(
        works.made(plan).await.len(),
        1,
        "what was cancelled doesn't come again"
    );
    let next = works.forecast(plan).await;
    assert_eq!(
        next.date.unwrap().to_string(),
        "2025-08-14",
        "counted from the day it was due"
    );
    works.look(60.0).await;
    let report = works.dispatch(60.0).await;
    assert_eq!(report.created, 1);
    works.end().await;
}

#[tokio::test]
async fn nothing_falls_due_while_the_asset_is_out_of_service_and_one_occurrence_after_it() {
    let works = Works::new().await;
    let skid = works.plant.machine("skid").await;
    let plan = works
        .plan(|new| {
            (new.basis, new.every_days) = (Basis::Fixed, Some(10));
            new.open_instance = OpenInstance::Stack;
        })
        .await;
    sqlx::query("UPDATE asset SET parent_id = $2 WHERE id = $1")
        .bind(works.machine.asset)
        .bind(skid.asset)
        .execute(&works.database.owner)
        .await
        .unwrap();
    let set = async |status: &str| {
        sqlx::query("UPDATE asset SET status = $2::asset_status WHERE id = $1")
            .bind(skid.asset)
            .bind(status)
            .execute(&works.database.owner)
            .await
            .unwrap();
    };
    set("in_storage").await;
    for days in [5.0, 15.0, 45.0] {
        works.look(days).await;
        works.dispatch(days).await;
    }
    assert_eq!(works.made(plan).await, []);
    let said = works.forecast(plan).await;
    assert_eq!(said.date, None);
    assert!(
        said.explanation
            .contains("skid is in storage (this asset is part of it)"),
        "{}",
        said.explanation
    );
    set("operational").await;
    works.look(45.0).await;
    works.look(45.0).await;
    let made = works.made(plan).await;
    assert_eq!(
        (made.len(), made[0].missed),
        (1, 3),
        "one stands for those of the 10th, 20th and 30th day"
    );
    assert_eq!(works.dispatch(45.0).await.created, 1);
    assert!(works.forecast(plan).await.date.is_some());
    works.end().await;
}

/// 15 July 2025 is a Tuesday.
#[tokio::test]
async fn a_site_tells_its_holidays_once_for_service_levels_and_plans() {
    let works = Works::new().await;
    let monthly = async |name: &str, calendar: Calendar| {
        works
            .plan(|new| {
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
        let mut tx = works.database.owner.begin().await.unwrap();
        let put = put_calendar(&mut tx, works.plant.tenant, works.plant.site, &calendar, day(0.0))
            .await
            .unwrap();
        assert!(put.unwrap());
        tx.commit().await.unwrap();
        works.look(1.0).await;
    };
    let next = async |plan| works.forecast(plan).await.date.unwrap().to_string();
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
    works.end().await;
}

#[tokio::test]
async fn a_plans_tasks_of_every_kind_are_its_tickets() {
    let works = Works::new().await;
    let asked: Vec<models::ticket::NewTask> = serde_json::from_value(serde_json::json!([
        { "kind": "check", "text": "grease both bearings" },
        { "kind": "number", "text": "vibration after it", "max_value": 4.5, "unit": "mm/s" },
        { "kind": "photo", "text": "the nameplate", "mandatory": false },
        { "kind": "signature", "text": "who did it" },
    ]))
    .unwrap();
    works
        .plan(|new| {
            (new.every_days, new.tasks) = (Some(30), asked.clone());
        })
        .await;
    works.look(30.0).await;
    works.dispatch(30.0).await;
    let ticket: TicketId = sqlx::query_scalar("SELECT id FROM ticket")
        .fetch_one(&works.database.owner)
        .await
        .unwrap();
    let mut tx = works.database.owner.begin().await.unwrap();
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
    works.end().await;
}

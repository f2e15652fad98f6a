use sqlx::PgPool;

use super::*;
use crate::db::Role;
use crate::db::fixture::Plant;
use crate::db::testing::TestDatabase;
use crate::db::ticket::{Coding, NewTicket, TaskResult, complete_task, create, tasks, transition};
use crate::id::TicketId;
use crate::ticket::{NewTask, Origin, Outcome, Priority, Status};

/// Hours of the tests, from a moment in the past.
fn at(hours: f64) -> Timestamp {
    Timestamp::from_secs(1_767_225_600).plus_seconds(hours * 3600.0)
}

struct Works {
    database: TestDatabase,
    plant: Plant,
    pool: PgPool,
}

impl Works {
    async fn new() -> Self {
        let database = TestDatabase::new().await;
        let plant = Plant::new(&database.owner, "one").await;
        let pool = database.pool(Role::Analytics);
        Self {
            database,
            plant,
            pool,
        }
    }

    /// A machine installed at hour 0.
    async fn machine(&self, name: &str) -> AssetId {
        let asset = self.plant.machine(name).await.asset;
        sqlx::query("UPDATE asset SET installed_at = $2 WHERE id = $1")
            .bind(asset)
            .bind(at(0.0))
            .execute(&self.database.owner)
            .await
            .unwrap();
        asset
    }

    async fn failed(&self, asset: AssetId, hours: f64, mode: Option<FailureModeId>) {
        sqlx::query(
            "INSERT INTO failure_report (id, tenant_id, asset_id, failed_at, source, failure_mode_id)
             VALUES (gen_random_uuid(), $1, $2, $3, 'person', $4)",
        )
        .bind(self.plant.tenant)
        .bind(asset)
        .bind(at(hours))
        .bind(mode)
        .execute(&self.database.owner)
        .await
        .unwrap();
    }

    async fn stopped(&self, asset: AssetId, from: f64, to: f64, reason: &str) {
        sqlx::query(
            "INSERT INTO downtime (tenant_id, asset_id, started_at, ended_at, source, reason)
             VALUES ($1, $2, $3, $4, 'person', $5::downtime_reason)",
        )
        .bind(self.plant.tenant)
        .bind(asset)
        .bind(at(from))
        .bind(at(to))
        .bind(reason)
        .execute(&self.database.owner)
        .await
        .unwrap();
    }

    /// A ticket made at `hours[0]`, worked on from `hours[1]` and done at `hours[2]`, with what was found.
    async fn ticket(
        &self,
        asset: AssetId,
        origin: Origin,
        key: &str,
        hours: [f64; 3],
        coding: Coding,
    ) -> TicketId {
        let new = NewTicket {
            tenant: self.plant.tenant,
            asset,
            case: None,
            occurrence: None,
            failure_mode: None,
            origin,
            origin_key: key.to_owned(),
            title: "work".to_owned(),
            description: String::new(),
            priority: Priority::Medium,
            due_at: None,
            repeat_of: None,
            tasks: vec![NewTask::check("look at it")],
        };
        let mut tx = self.database.owner.begin().await.unwrap();
        let id = create(&mut tx, &new, "test").await.unwrap().id();
        sqlx::query("UPDATE ticket SET created_at = $2 WHERE id = $1")
            .bind(id)
            .bind(at(hours[0]))
            .execute(&mut *tx)
            .await
            .unwrap();
        let times = Coding {
            scheduled_start: Some(at(hours[1])),
            scheduled_end: Some(at(hours[2])),
            ..Coding::default()
        };
        let person = Coding {
            assignee_id: Some(self.plant.planner),
            ..Coding::default()
        };
        for (to, coding, hour) in [
            (Status::Accepted, Coding::default(), hours[0]),
            (Status::Planned, Coding::default(), hours[0]),
            (Status::Scheduled, times, hours[0]),
            (Status::Assigned, person, hours[1]),
            (Status::InProgress, Coding::default(), hours[1]),
            (Status::Completed, coding, hours[2]),
            (Status::Closed, Coding::default(), hours[2] + 24.0),
        ] {
            if to == Status::Completed {
                let task = tasks(&mut tx, id).await.unwrap()[0].id;
                let done = TaskResult {
                    done: true,
                    ..TaskResult::default()
                };
                complete_task(&mut tx, id, task, &done, "test", at(hour))
                    .await
                    .unwrap();
            }
            transition(&mut tx, id, None, to, &coding, "test", at(hour))
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();
        id
    }

    async fn labels(&self, to: f64) -> Vec<ClassLabel> {
        let mut connection = self.pool.acquire().await.unwrap();
        class_labels(&mut connection, self.plant.class, at(to))
            .await
            .unwrap()
    }

    /// Ages to a tenth of an hour, and whether they ended in a failure.
    async fn lives(&self, to: f64) -> Vec<(f64, bool)> {
        let mut connection = self.pool.acquire().await.unwrap();
        let lives = class_lives(&mut connection, self.plant.class, at(to))
            .await
            .unwrap();
        let lived = lives.into_iter().filter(|life| life.age_h > 0.0);
        lived
            .map(|life| ((life.age_h * 10.0).round() / 10.0, life.failed))
            .collect()
    }

    async fn end(self) {
        self.pool.close().await;
        self.database.drop_now().await;
    }
}

fn found(mode: FailureModeId, outcome: Outcome) -> Coding {
    Coding {
        found_failure_mode_id: Some(mode),
        cause: Some("no grease".into()),
        remedy_code: Some("repaired".into()),
        outcome: Some(outcome),
        ..Coding::default()
    }
}

/// The machine stops at hour 100 and is repaired from 110 to 130: it failed at 100 and is back at 130.
#[tokio::test]
async fn a_failure_is_dated_when_it_happened_and_lasts_until_the_machine_is_back() {
    let works = Works::new().await;
    let wear = works.plant.failure_mode("wear").await;
    let failed = || found(wear, Outcome::ConfirmedFailed);
    let (stopped, called, planned, foreseen) = (
        works.machine("stopped").await,
        works.machine("called").await,
        works.machine("planned").await,
        works.machine("foreseen").await,
    );
    works.stopped(stopped, 100.0, 131.0, "equipment_failure").await;
    // It was stopped for another reason before: nothing failed then.
    works.stopped(called, 90.0, 101.5, "setup_changeover").await;
    for (asset, origin, hours) in [
        (stopped, Origin::Person, [101.0, 110.0, 130.0]),
        (called, Origin::Person, [101.0, 110.0, 130.0]),
        (planned, Origin::Plan, [60.0, 110.0, 130.0]),
    ] {
        works
            .ticket(asset, origin, &asset.to_string(), hours, failed())
            .await;
    }
    let prevented = found(wear, Outcome::ConfirmedPrevented);
    let ticket = works
        .ticket(
            foreseen,
            Origin::Prediction,
            "foreseen",
            [60.0, 110.0, 130.0],
            prevented,
        )
        .await;
    sqlx::query(
        "INSERT INTO prediction (id, tenant_id, asset_id, horizon_h, status, probability, p_low, p_high, peak_probability,
             factors, model_version_id, window_end, ticket_id, label, closed_at)
         VALUES (gen_random_uuid(), $1, $2, 720, 'accepted', 0.5, 0.4, 0.6, 0.5, '[]', gen_random_uuid(), $3, $4,
             'confirmed_prevented', $3)",
    )
    .bind(works.plant.tenant)
    .bind(foreseen)
    .bind(at(60.0))
    .bind(ticket)
    .execute(&works.database.owner)
    .await
    .unwrap();
    let labels = works.labels(200.0).await;
    let of = |asset| {
        let label = labels.iter().find(|label| label.asset_id == asset).unwrap();
        assert_eq!(
            (label.failure_mode_id, label.failure_mode_name.as_deref()),
            (Some(wear), Some("wear"))
        );
        let hours = |time: Timestamp| time.seconds_since(at(0.0)) / 3600.0;
        (
            hours(label.failed_at),
            hours(label.restored_at),
            label.source.as_str(),
        )
    };
    assert_eq!(labels.len(), 4, "{labels:?}");
    assert_eq!(of(stopped), (100.0, 131.0, "ticket"));
    assert_eq!(of(called), (101.0, 130.0, "ticket"));
    // Its ticket was made long before anything failed: the work found it.
    assert_eq!(of(planned), (110.0, 130.0, "ticket"));
    assert_eq!(of(foreseen), (110.0, 130.0, "prediction"));
    // Until it is known that it is back it is out.
    let early = works.labels(120.0).await;
    let label = early.iter().find(|label| label.asset_id == stopped).unwrap();
    assert_eq!(label.restored_at, at(120.0));
    works.end().await;
}

#[tokio::test]
async fn one_failure_that_two_report_is_one_label_and_one_life() {
    let works = Works::new().await;
    let wear = works.plant.failure_mode("wear").await;
    let asset = works.machine("m").await;
    works.failed(asset, 100.0, None).await;
    let coding = found(wear, Outcome::ConfirmedFailed);
    works
        .ticket(asset, Origin::Person, "key", [100.5, 104.0, 110.0], coding)
        .await;
    works.failed(asset, 400.0, None).await;
    let labels = works.labels(500.0).await;
    assert_eq!(labels.len(), 2, "{labels:?}");
    assert_eq!(
        (labels[0].failed_at, labels[0].restored_at),
        (at(100.0), at(110.0))
    );
    assert_eq!(
        (labels[0].failure_mode_id, labels[1].failure_mode_id),
        (Some(wear), None)
    );
    assert_eq!(
        works.lives(500.0).await,
        [(100.0, false), (100.0, true), (290.0, true)]
    );
    let mut connection = works.pool.acquire().await.unwrap();
    let lives = class_lives(&mut connection, works.plant.class, at(500.0))
        .await
        .unwrap();
    let causes: Vec<_> = lives
        .iter()
        .filter(|life| life.failed)
        .map(|life| life.failure_mode_id)
        .collect();
    assert_eq!(causes, [Some(wear), None]);
    drop(connection);
    works.end().await;
}

#[tokio::test]
async fn what_is_replaced_in_time_suspends_a_life() {
    let works = Works::new().await;
    let asset = works.machine("m").await;
    let work = |remedy: &str| Coding {
        remedy_code: Some(remedy.to_owned()),
        ..Coding::default()
    };
    works
        .ticket(asset, Origin::Plan, "oil", [50.0, 60.0, 62.0], work("cleaned"))
        .await;
    works
        .ticket(
            asset,
            Origin::Plan,
            "new",
            [190.0, 198.0, 200.0],
            work("replaced"),
        )
        .await;
    works.failed(asset, 500.0, None).await;
    assert_eq!(
        works.lives(600.0).await,
        [(100.0, false), (200.0, false), (300.0, true)]
    );
    let mut connection = works.pool.acquire().await.unwrap();
    let facts = crate::db::assessment::asset_facts(&mut connection, asset, at(450.0))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(facts.renewed_at, Some(at(200.0)));
    drop(connection);
    works.end().await;
}

/// A meter that doesn't count says nothing about use, and one that was fitted late nothing about the years before it.
#[tokio::test]
async fn use_is_what_the_meter_has_seen() {
    let works = Works::new().await;
    for (name, first, last) in [
        ("still", 0.0, 0.0),
        ("late", 0.0, 50.0),
        ("dial", 7_000.0, 7_050.0),
        ("new", 0.0, 0.0),
    ] {
        let asset = works.machine(name).await;
        let meter: uuid::Uuid = sqlx::query_scalar(
            "INSERT INTO meter (id, tenant_id, asset_id, name, unit, source, total)
             VALUES (gen_random_uuid(), $1, $2, 'hours', 'h', 'manual', $3) RETURNING id",
        )
        .bind(works.plant.tenant)
        .bind(asset)
        .bind(last)
        .fetch_one(&works.database.owner)
        .await
        .unwrap();
        // Read at hours 8,000 and 8,100 of the calendar: half of the time it runs.
        for (hours, total) in [(8_000.0, first), (8_100.0, last)]
            .into_iter()
            .filter(|_| name != "new")
        {
            sqlx::query(
                "INSERT INTO meter_reading (meter_id, tenant_id, at, total, delta, entered_by) VALUES ($1, $2, $3, $4, 0, 'x')",
            )
            .bind(meter)
            .bind(works.plant.tenant)
            .bind(at(hours))
            .bind(total)
            .execute(&works.database.owner)
            .await
            .unwrap();
        }
        works.failed(asset, 9_000.0, None).await;
        let mut connection = works.pool.acquire().await.unwrap();
        let facts = crate::db::assessment::asset_facts(&mut connection, asset, at(9_000.0))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(facts.in_use, (last > first).then_some(0.5), "{name}");
        assert_eq!(facts.metered_from_h, (name != "new").then_some(first), "{name}");
    }
    assert_eq!(
        works.lives(9_000.0).await,
        [(4_500.0, true), (4_500.0, true), (9_000.0, true), (9_000.0, true)]
    );
    // Nobody entered when it was installed: what came after its first failure is a life.
    sqlx::query("UPDATE asset SET installed_at = NULL")
        .execute(&works.database.owner)
        .await
        .unwrap();
    assert_eq!(
        works.lives(9_100.0).await,
        [(50.0, false), (50.0, false), (100.0, false), (100.0, false)]
    );
    works.end().await;
}

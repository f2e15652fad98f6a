use models::alarm::{Kind, Severity};
use models::asset::ChannelKind;
use models::db::Role;
use models::db::assessment::{self as db, NO_MODEL};
use models::db::fixture::{Machine, Plant};
use models::db::testing::TestDatabase;
use models::id::{ChannelId, FailureModeId};
use sqlx::PgPool;

use super::*;
use crate::testing::noise;

mod advice;
mod learned;
mod together;
mod work;

const TEN_MINUTES: f64 = 600.0;

fn start() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

fn after_hours(hours: f64) -> Timestamp {
    start().plus_seconds(hours * 3600.0)
}

struct Rig {
    database: TestDatabase,
    plant: Plant,
    pool: PgPool,
}

impl Rig {
    async fn new() -> Self {
        let database = TestDatabase::new().await;
        let plant = Plant::new(&database.owner, "works").await;
        let pool = database.pool(Role::Analytics);
        Self {
            database,
            plant,
            pool,
        }
    }

    async fn channel(&self, machine: Machine, name: &str, kind: ChannelKind) -> ChannelId {
        sqlx::query_scalar(
            "INSERT INTO channel (tenant_id, device_id, asset_id, name, unit, kind, cadence_s)
             VALUES ($1, $2, $3, $4, '1', $5, 600) RETURNING id",
        )
        .bind(self.plant.tenant)
        .bind(self.plant.device)
        .bind(machine.asset)
        .bind(name)
        .bind(kind)
        .fetch_one(&self.database.owner)
        .await
        .unwrap()
    }

    /// A reading every ten minutes for `hours`; NaN leaves one out.
    async fn readings(&self, channel: ChannelId, hours: f64, value: impl Fn(usize) -> f64) {
        let (mut ts, mut values) = (Vec::new(), Vec::new());
        for i in 0..(hours * 6.0) as usize {
            if value(i).is_finite() {
                ts.push(start().plus_seconds(i as f64 * TEN_MINUTES));
                values.push(value(i));
            }
        }
        sqlx::query("INSERT INTO reading (channel_id, ts, value) SELECT $1, t, v FROM unnest($2::timestamptz[], $3::float8[]) AS r(t, v)")
            .bind(channel)
            .bind(ts)
            .bind(values)
            .execute(&self.database.owner)
            .await
            .unwrap();
    }

    /// A machine with vibration (its fixture channel), temperature and flow.
    async fn pump(
        &self,
        name: &str,
        hours: f64,
        vibration: impl Fn(usize) -> f64,
    ) -> (Machine, [ChannelId; 2]) {
        let machine = self.plant.machine(name).await;
        sqlx::query("UPDATE channel SET name = $2, cadence_s = 600 WHERE id = $1")
            .bind(machine.channel)
            .bind(format!("vibration_{name}"))
            .execute(&self.database.owner)
            .await
            .unwrap();
        let temperature = self
            .channel(machine, &format!("temperature_{name}"), ChannelKind::Measurement)
            .await;
        let flow = self
            .channel(machine, &format!("flow_{name}"), ChannelKind::Measurement)
            .await;
        self.readings(machine.channel, hours, vibration).await;
        self.readings(temperature, hours, |i| {
            60.0 + (i as f64 / 144.0 * std::f64::consts::TAU).sin() + 0.2 * noise(i + 90_000)
        })
        .await;
        self.readings(flow, hours, |i| 100.0 + noise(i + 50_000)).await;
        (machine, [temperature, flow])
    }

    async fn assess(&self, machine: Machine, hours: f64) -> Assessment {
        assess_once(&self.pool, machine.asset, after_hours(hours), &Config::default())
            .await
            .unwrap()
            .unwrap()
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql)
            .fetch_one(&self.database.owner)
            .await
            .unwrap()
    }

    async fn end(self) {
        self.pool.close().await;
        self.database.drop_now().await;
    }
}

fn healthy(i: usize) -> f64 {
    2.0 + 0.05 * noise(i)
}

/// Vibration of a bearing that begins to wear on day 9 and has doubled on day 12.
fn wearing(i: usize) -> f64 {
    healthy(i) + (i as f64 - 9.0 * 144.0).max(0.0) / (3.0 * 144.0) * 2.0
}

#[tokio::test]
async fn a_wearing_bearing_falls_and_is_named() {
    let rig = Rig::new().await;
    let (machine, _) = rig.pump("p1", 12.0 * 24.0, wearing).await;
    let mode = rig.plant.failure_mode("bearing_wear").await;
    sqlx::query("UPDATE failure_mode SET signature = '{\"channels\": [\"vibration*\"]}', pf_interval_days = 5, repair_hours = 8, repair_cost = 2000 WHERE id = $1")
        .bind(mode).execute(&rig.database.owner).await.unwrap();
    sqlx::query("UPDATE asset SET installed_at = $2::timestamptz - interval '200 days', downtime_cost_per_h = 500 WHERE id = $1")
        .bind(machine.asset).bind(start()).execute(&rig.database.owner).await.unwrap();
    sqlx::query("UPDATE asset_class SET weibull_shape = 2, weibull_scale_h = 20000")
        .execute(&rig.database.owner)
        .await
        .unwrap();
    rig.plant
        .rule(machine, "deviation", |rule| {
            rule.kind = Kind::Deviation;
            rule.limit = 1.0;
            rule.deadband = 0.2;
        })
        .await;
    rig.plant
        .rule(machine, "health", |rule| {
            rule.kind = Kind::HealthBelow;
            rule.channel = None;
            rule.limit = 60.0;
            rule.deadband = 5.0;
            rule.severity = Severity::Serious;
        })
        .await;

    let early = rig.assess(machine, 24.0 * 6.0).await;
    assert!(early.health >= 85.0, "{early:#?}");
    assert_eq!((early.coverage, early.failure_mode), (1.0, None));
    assert!(
        early.p_fail[2].p < 0.1 && early.p_fail[2].basis.contains("default life"),
        "{:?}",
        early.p_fail
    );
    assert_eq!(rig.count("SELECT count(*) FROM alarm").await, 0);

    let late = rig.assess(machine, 24.0 * 12.0).await;
    assert!(late.health < 50.0, "{late:#?}");
    assert_eq!(late.model, early.model);
    let top = &late.factors[0];
    assert_eq!(
        (top.name.as_str(), top.channel_id),
        ("vibration_p1", Some(machine.channel))
    );
    assert!(
        top.text.starts_with("vibration_p1 4.0") && top.text.contains("above the expected 1.9 to 2.1")
            || top.text.contains("for more than 40 h, rising 0.66"),
        "{}",
        top.text
    );
    let sum: f64 = late.factors.iter().map(|factor| factor.penalty).sum();
    assert_eq!(100.0 - sum, late.health);
    assert_eq!(late.failure_mode, Some(mode));
    let month = late.p_within(720).unwrap();
    assert!(
        month.p > 0.5
            && month.low < month.p
            && month.p < month.high
            && late.p_within(24).unwrap().p < month.p,
        "{month:?}"
    );
    let rul = late.rul.unwrap();
    assert!(rul.p10_h < rul.p50_h && rul.p50_h < 24.0 * 30.0, "{rul:?}");
    assert_eq!(late.advice.action.as_deref(), Some("now"), "{:?}", late.advice);

    let alarms: Vec<(String, Option<FailureModeId>)> =
        sqlx::query_as("SELECT r.kind::text, a.failure_mode_id FROM alarm a JOIN alarm_rule r ON r.id = a.rule_id WHERE a.condition = 'active' ORDER BY 1")
            .fetch_all(&rig.database.owner).await.unwrap();
    assert_eq!(
        alarms,
        [
            ("deviation".to_owned(), Some(mode)),
            ("health_below".to_owned(), Some(mode))
        ]
    );
    assert_eq!(
        rig.count("SELECT count(*) FROM outbox WHERE kind = 'asset.health_changed'")
            .await,
        2
    );
    assert_eq!(
        rig.count("SELECT count(*) FROM model_version WHERE status = 'champion'")
            .await,
        1
    );
    assert!(rig.count("SELECT count(*) FROM feature").await >= 2);
    rig.end().await;
}

#[tokio::test]
async fn computing_again_gives_the_same_bits_and_one_row() {
    let rig = Rig::new().await;
    let (machine, _) = rig.pump("p1", 24.0 * 11.0, wearing).await;
    let first = rig.assess(machine, 24.0 * 10.0).await;
    let again = rig.assess(machine, 24.0 * 10.0).await;
    assert_eq!(first, again);
    assert_eq!(first.anomaly.unwrap().to_bits(), again.anomaly.unwrap().to_bits());
    assert_eq!(
        rig.count("SELECT count(*) - count(DISTINCT window_end) FROM assessment")
            .await,
        0
    );
    // The windows between the baseline and the newest one were filled, and told nobody.
    assert!((20..40).contains(&rig.count("SELECT count(*) FROM assessment").await));
    assert_eq!(
        rig.count("SELECT count(*) FROM outbox WHERE kind = 'asset.health_changed'")
            .await,
        1
    );
    // Later readings come: another window, another row, the same model.
    let later = rig.assess(machine, 24.0 * 10.5).await;
    assert_eq!(later.model, first.model);
    assert!(later.window_end > first.window_end);
    rig.end().await;
}

#[tokio::test]
async fn dead_and_stuck_sensors_cost_coverage_and_not_health() {
    let rig = Rig::new().await;
    let machine = rig.plant.machine("m").await;
    let flow = rig.channel(machine, "flow", ChannelKind::Measurement).await;
    let pressure = rig.channel(machine, "pressure", ChannelKind::Measurement).await;
    let starts = rig.channel(machine, "starts", ChannelKind::Counter).await;
    let hours = 24.0 * 6.0;
    rig.readings(machine.channel, hours, healthy).await;
    rig.readings(
        flow,
        hours,
        |i| if i > 720 { f64::NAN } else { 100.0 + noise(i + 1) },
    )
    .await;
    rig.readings(pressure, hours, |i| {
        if i > 780 { 7.0 } else { 7.0 + 0.1 * noise(i + 2) }
    })
    .await;
    rig.readings(starts, hours, |i| i as f64).await;
    let assessment = rig.assess(machine, hours).await;
    assert!(assessment.health >= 85.0, "{assessment:#?}");
    assert!(assessment.coverage < 0.8, "{}", assessment.coverage);
    for expect in [
        "flow: no current readings",
        "pressure: stuck at 7",
        "only 75 % of the expected readings",
    ] {
        assert!(
            assessment.notes.iter().any(|note| note.contains(expect)),
            "{expect}: {:?}",
            assessment.notes
        );
    }
    rig.end().await;
}

#[tokio::test]
async fn a_new_asset_says_that_it_has_no_baseline() {
    let rig = Rig::new().await;
    let machine = rig.plant.machine("m").await;
    assert_eq!(
        assess_once(&rig.pool, machine.asset, start(), &Config::default())
            .await
            .unwrap(),
        Err(Skipped::NoReadings)
    );
    rig.readings(machine.channel, 3.0, healthy).await;
    let assessment = rig.assess(machine, 3.0).await;
    assert_eq!(
        (assessment.model, assessment.anomaly, assessment.health),
        (NO_MODEL, None, 100.0)
    );
    assert!(
        assessment.notes[0].starts_with("no baseline yet: 18 steps"),
        "{:?}",
        assessment.notes
    );
    assert!(
        assessment.notes.iter().any(|note| note.contains("age unknown")),
        "{:?}",
        assessment.notes
    );
    rig.end().await;
}

#[tokio::test]
async fn a_new_asset_is_compared_with_its_class_until_it_has_a_past() {
    let rig = Rig::new().await;
    let fan = async |name: &str, hours: f64, level: f64| {
        let machine = rig.plant.machine(name).await;
        let flow = rig
            .channel(machine, &format!("{name}/flow"), ChannelKind::Measurement)
            .await;
        sqlx::query("UPDATE channel SET label = 'Flow' WHERE id = $1")
            .bind(flow)
            .execute(&rig.database.owner)
            .await
            .unwrap();
        rig.readings(flow, hours, |i| level + noise(i + 7 * level as usize))
            .await;
        machine
    };
    for number in 0..4 {
        let old = fan(&format!("old{number}"), 72.0, 100.0 + f64::from(number)).await;
        rig.assess(old, 72.0).await;
    }
    let (new, sick) = (fan("new", 60.0, 102.0).await, fan("sick", 60.0, 150.0).await);
    let first = rig.assess(new, 3.0).await;
    let borrowed = "compared with 4 others of class pump";
    assert!(first.notes[0].starts_with(borrowed), "{:?}", first.notes);
    assert!(first.anomaly.is_some_and(|anomaly| anomaly < 1.0), "{first:?}");
    let unlike = rig.assess(sick, 3.0).await;
    assert!(unlike.anomaly.is_some_and(|anomaly| anomaly > 2.0), "{unlike:?}");
    assert!(unlike.health < first.health - 20.0);

    let again = rig.assess(new, 4.0).await;
    assert_eq!(again.model, first.model, "borrowed once");
    let mut connection = rig.pool.acquire().await.unwrap();
    for (machine, hours) in [(new, 3.0), (new, 4.0), (sick, 3.0)] {
        let found = recompute(&mut connection, machine.asset, Some(after_hours(hours)))
            .await
            .unwrap();
        assert!(found.same, "{found:?}");
    }
    drop(connection);
    // Forty steps later it has a past of its own; one that deviates from its class waits for the whole of it.
    let own = rig.assess(new, 9.0).await;
    assert!(
        own.model != first.model && own.notes[0].contains("provisional"),
        "{:?}",
        own.notes
    );
    let still = rig.assess(sick, 9.0).await;
    assert_eq!(still.model, unlike.model);
    assert!(still.notes[0].starts_with(borrowed), "{:?}", still.notes);
    let late = rig.assess(sick, 59.0).await;
    assert!(
        late.model != unlike.model && !late.notes.iter().any(|note| note.starts_with(borrowed)),
        "{:?}",
        late.notes
    );
    rig.end().await;
}

#[tokio::test]
async fn a_short_history_makes_a_provisional_baseline_that_grows() {
    let rig = Rig::new().await;
    let (machine, _) = rig.pump("p1", 24.0 * 4.0, healthy).await;
    let first = rig.assess(machine, 10.0).await;
    assert!(
        first.notes.iter().any(|note| note.contains("provisional")),
        "{:?}",
        first.notes
    );
    let soon = rig.assess(machine, 12.0).await;
    assert_eq!(soon.model, first.model);
    let later = rig.assess(machine, 24.0).await;
    assert_ne!(later.model, first.model);
    let full = rig.assess(machine, 24.0 * 4.0).await;
    assert_ne!(full.model, later.model);
    assert!(
        !full.notes.iter().any(|note| note.contains("provisional")),
        "{:?}",
        full.notes
    );
    assert_eq!(
        rig.count("SELECT count(*) FROM model_version WHERE status = 'champion'")
            .await,
        1
    );
    assert_eq!(rig.count("SELECT max(version)::int8 FROM model_version").await, 3);
    rig.end().await;
}

#[tokio::test]
async fn silence_raises_a_no_data_alarm_by_the_clock() {
    let rig = Rig::new().await;
    let machine = rig.plant.machine("m").await;
    rig.readings(machine.channel, 24.0, healthy).await;
    rig.plant
        .rule(machine, "silent", |rule| {
            rule.kind = Kind::NoData;
            rule.limit = 1800.0;
            rule.deadband = 0.0;
        })
        .await;
    rig.assess(machine, 24.0).await;
    assert_eq!(rig.count("SELECT count(*) FROM alarm").await, 0);
    let silent = rig.assess(machine, 26.0).await;
    assert!(silent.freshness_s > 7000.0);
    assert_eq!(
        rig.count("SELECT count(*) FROM alarm WHERE condition = 'active'")
            .await,
        1
    );
    rig.end().await;
}

#[tokio::test]
async fn old_assessments_are_thinned_to_one_an_hour_and_then_go() {
    let rig = Rig::new().await;
    let machine = rig.plant.machine("m").await;
    rig.readings(machine.channel, 24.0, healthy).await;
    for step in 60..144 {
        rig.assess(machine, (f64::from(step) + 0.5) / 6.0).await;
    }
    let all = rig.count("SELECT count(*) FROM assessment").await;
    assert!(all >= 84, "{all}");
    let mut connection = rig.pool.acquire().await.unwrap();
    // The last six hours stay whole, the six before are thinned, what is older goes.
    db::thin(&mut connection, after_hours(18.0), after_hours(12.0))
        .await
        .unwrap();
    drop(connection);
    let kept: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT extract(hour FROM window_end)::int8 AS hour, count(*) FROM assessment GROUP BY 1 ORDER BY 1",
    )
    .fetch_all(&rig.database.owner)
    .await
    .unwrap();
    let expect: Vec<(i64, i64)> = (12..24)
        .map(|hour| (hour, if hour < 18 { 1 } else { 6 }))
        .collect();
    assert_eq!(kept, expect);
    rig.end().await;
}

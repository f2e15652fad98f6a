//! Meters and the plans that hang on them.
//!
//! A pass takes every meter that a channel feeds from where it stands (`counted_to`) through the
//! readings that have come since, then looks at every plan and makes the occurrences that are due. All
//! of it is incremental and can be repeated or done by two processes at once: a meter and a plan are
//! locked while they move, and (plan, sequence) is unique. The dispatcher turns occurrences into
//! tickets.
//!
//! Late data: a reading that is older than `counted_to` is not taken by the next pass. So two checkpoints
//! are kept, and every quarter of an hour the readings since the older one are counted: where there are
//! more than were taken, the meter is counted again from there. A reading that arrives half a day out of
//! order still counts; one that is later than a day doesn't. Plans see the new total and make nothing
//! twice: (plan, sequence) and their anchors are as they were.

use std::time::Duration;

use models::db::meter::{self as sql, MeterReading, MeterRow};
use models::db::plan::PlanRow;
use models::db::{is_retryable, plan as plan_sql};
use models::id::{MeterId, PlanId};
use models::meter::{Config, Recount, State, Step};
use models::plan::{Day, Facts, Forecast, Making, OnPrediction, forecast};
use models::reading::Quality;
use models::time::Timestamp;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

const ACTOR: &str = "analytics";
/// Readings taken from one channel at a time.
const CHUNK: i64 = 20_000;
/// Chunks of one meter in one pass; the rest is for the next pass.
const CHUNKS: usize = 50;
/// The history gets a row when the last one is so old, seconds of event time.
const WRITE_EVERY_S: f64 = 900.0;
/// Between two looks for late readings of a meter, seconds of the clock.
const LATE_EVERY_S: f64 = 900.0;
/// Readings that are counted again at most.
const MOST_RECOUNTED: i64 = 400_000;

/// What one pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeterReport {
    pub meters_moved: u32,
    pub readings: usize,
    pub occurrences: u32,
    /// Steps faster than a meter can run, not counted.
    pub implausible: u32,
    /// Meters in which late readings were found and counted.
    pub recounted: u32,
    /// Plans that can't be looked at, such as one in an unknown time zone.
    pub failed_plans: u32,
}

/// One pass over all meters and plans.
///
/// # Errors
/// When the database does; what was done before stays done.
pub async fn run_once(pool: &PgPool, now: Timestamp) -> anyhow::Result<MeterReport> {
    let mut report = MeterReport::default();
    let mut connection = pool.acquire().await?;
    let meters = sql::fed_by_channels(&mut connection).await?;
    let plans = plan_sql::enabled(&mut connection).await?;
    let late = sql::due_for_recount(&mut connection, now.plus_seconds(-LATE_EVERY_S)).await?;
    drop(connection);
    for id in meters {
        for _ in 0..CHUNKS {
            if advance(pool, id, now, &mut report).await? < CHUNK as usize {
                break;
            }
        }
    }
    for id in late {
        look_for_late(pool, id, now, &mut report).await?;
    }
    for (row, open) in plans {
        if needs_a_look(&row, open, now) {
            evaluate(pool, row.id, now, &mut report).await?;
        }
    }
    metrics::counter!("forewarn_meter_readings_total").increment(report.readings as u64);
    metrics::counter!("forewarn_meter_implausible_total").increment(u64::from(report.implausible));
    Ok(report)
}

/// Takes one meter through its next readings and tells how many those were.
async fn advance(
    pool: &PgPool,
    id: MeterId,
    now: Timestamp,
    report: &mut MeterReport,
) -> anyhow::Result<usize> {
    let mut tx = pool.begin().await?;
    let Some(row) = sql::lock(&mut tx, id).await? else {
        return Ok(0);
    };
    let Some(channel) = row.channel_id else {
        return Ok(0);
    };
    let readings = sql::channel_readings(&mut tx, channel, row.counted_to, now, CHUNK).await?;
    if readings.is_empty() {
        // Not left to the drop, which lets go of the lock at some time later: the look for late readings would pass by.
        tx.rollback().await?;
        return Ok(0);
    }
    let written = sql::last_written(&mut tx, id).await?;
    let (state, rows) = take(&row, &row.config(), row.state(), &readings, written, report);
    // Readings that move nothing (bad ones at the end) are looked at again; that is cheap and bounded.
    if state != row.state() {
        for reading in &rows {
            sql::write_reading(&mut tx, row.tenant_id, id, reading).await?;
        }
        sql::save_state(&mut tx, id, &state).await?;
        let moments: Vec<Timestamp> = readings.iter().map(|(at, ..)| *at).collect();
        // Checkpoints begin where this batch does: what comes late may lie within it.
        let recount = row
            .recount
            .or_else(|| Recount::start(first_state(&row, &readings)))
            .map(|recount| recount.took(&moments, state));
        sql::save_recount(&mut tx, id, recount.as_ref(), row.recounted_at.unwrap_or(now)).await?;
        report.meters_moved += 1;
    }
    tx.commit().await?;
    report.readings += readings.len();
    Ok(readings.len())
}

/// Where the meter stood before a batch; for the first one ever, at its base.
fn first_state(row: &MeterRow, readings: &[(Timestamp, f64, Quality)]) -> State {
    let config = row.config();
    let mut state = row.state();
    for (at, value, quality) in readings {
        if state.counted_to.is_some() {
            break;
        }
        state = state.step(&config, *at, *value, *quality).0;
    }
    state
}

/// Takes readings into a meter; gives where it stands then, and rows for its history.
fn take(
    row: &MeterRow,
    config: &Config,
    mut state: State,
    readings: &[(Timestamp, f64, Quality)],
    mut written: Option<(Timestamp, f64)>,
    report: &mut MeterReport,
) -> (State, Vec<MeterReading>) {
    let mut rows = Vec::new();
    for (at, value, quality) in readings {
        let (next, step) = state.step(config, *at, *value, *quality);
        state = next;
        let note = match step {
            Step::Exchanged => {
                Some("the counter fell: exchanged or reset, counting goes on from its new value")
            }
            Step::RolledOver(_) => Some("the counter rolled over"),
            _ => None,
        };
        if let Step::Implausible(per_h) = step {
            report.implausible += 1;
            tracing::debug!(meter = %row.id, %at, per_h, "faster than the meter can run, not counted");
        }
        let age = written.map_or(f64::INFINITY, |(before, _)| at.seconds_since(before));
        let moved = state.counted_to == Some(*at);
        if moved && (note.is_some() || age >= WRITE_EVERY_S) {
            rows.push(history_row(row, written, *at, state.total, note));
            written = Some((*at, state.total));
        }
    }
    (state, rows)
}

/// Counts one meter again from its older checkpoint, if readings have come late since.
async fn look_for_late(
    pool: &PgPool,
    id: MeterId,
    now: Timestamp,
    report: &mut MeterReport,
) -> anyhow::Result<()> {
    let mut tx = pool.begin().await?;
    let Some(row) = sql::lock(&mut tx, id).await? else {
        return Ok(());
    };
    let (Some(channel), Some(mut recount), Some(to)) = (row.channel_id, row.recount, row.counted_to) else {
        return Ok(());
    };
    let Some(from) = recount.older.state.counted_to else {
        return Ok(());
    };
    let there = sql::count_between(&mut tx, channel, from, to).await?;
    if there != recount.older.readings && there <= MOST_RECOUNTED {
        let readings = sql::channel_readings(&mut tx, channel, Some(from), to, MOST_RECOUNTED).await?;
        let start = recount.older.state;
        let (state, rows) = take(
            &row,
            &row.config(),
            start,
            &readings,
            Some((from, start.total)),
            report,
        );
        if (state.total - row.total).abs() > 1e-9 {
            for mut reading in rows {
                reading
                    .note
                    .get_or_insert_with(|| "counted again with readings that came late".to_owned());
                sql::write_reading(&mut tx, row.tenant_id, id, &reading).await?;
            }
            sql::save_state(&mut tx, id, &state).await?;
            report.recounted += 1;
            tracing::info!(meter = %id, before = row.total, now = state.total, "late readings were counted");
        }
        recount.older.readings = there;
        recount.newer = models::meter::Checkpoint { state, readings: 0 };
    } else if there > MOST_RECOUNTED {
        tracing::warn!(meter = %id, readings = there, "too many readings to count again, late ones are left out");
    }
    sql::save_recount(&mut tx, id, Some(&recount), now).await?;
    tx.commit().await?;
    Ok(())
}

fn history_row(
    row: &MeterRow,
    before: Option<(Timestamp, f64)>,
    at: Timestamp,
    total: f64,
    note: Option<&str>,
) -> MeterReading {
    MeterReading {
        at,
        total,
        delta: total - before.map_or(row.total, |(_, total)| total),
        entered_by: ACTOR.to_owned(),
        voided_at: None,
        note: note.map(str::to_owned),
        kind: "counted".to_owned(),
        raw: None,
        raw_new: None,
    }
}

/// Whether anything can have changed for a plan. One that goes by the calendar alone is known from its
/// row; thousands of them cost one statement.
fn needs_a_look(row: &PlanRow, has_open_occurrence: bool, now: Timestamp) -> bool {
    if let Some(why) = &row.out_of_service {
        return row.forecast.as_ref() != Some(&Forecast::out_of_service(why));
    }
    let alone = row.meter_id.is_none()
        && row.parent_id.is_none()
        && (row.failure_mode_id.is_none() || row.on_prediction != OnPrediction::Pull);
    let Ok(today) = Day::at(now, &row.time_zone) else {
        return true;
    };
    let facts = Facts {
        today,
        total: None,
        usage: None,
        meter: None,
        has_open_occurrence,
        pull: None,
        parent: None,
    };
    let plan = row.plan();
    !alone || plan.release(&facts).is_some() || row.forecast.as_ref() != Some(&forecast(&plan, &facts))
}

/// Looks at one plan: makes the occurrence that is due, and keeps the forecast of the next.
async fn evaluate(pool: &PgPool, id: PlanId, now: Timestamp, report: &mut MeterReport) -> anyhow::Result<()> {
    let mut tx = pool.begin().await?;
    let Some((row, has_open_occurrence)) = plan_sql::lock(&mut tx, id).await? else {
        return Ok(());
    };
    if let Some(why) = &row.out_of_service {
        plan_sql::set_forecast(&mut tx, id, &Forecast::out_of_service(why)).await?;
        tx.commit().await?;
        return Ok(());
    }
    let today = match Day::at(now, &row.time_zone) {
        Ok(today) => today,
        Err(error) => {
            tracing::warn!(plan = %id, %error, "a plan can't be looked at");
            report.failed_plans += 1;
            return Ok(());
        }
    };
    let usage = match row.meter_id {
        Some(meter) => sql::usage_of(&mut tx, meter, now).await?,
        None => None,
    };
    let meter = row.meter_name.as_deref().zip(row.meter_unit.as_deref());
    let fear = plan_sql::fear(&mut tx, &row, today).await?;
    let parent = plan_sql::parent_days(&mut tx, &row).await?;
    let mut facts = Facts {
        today,
        total: row.meter_total,
        usage,
        meter,
        has_open_occurrence,
        pull: fear.as_ref().map(|(day, why)| (*day, why.as_str())),
        parent: parent.as_ref().map(|parent| {
            (
                parent.name.as_str(),
                parent.days.as_slice(),
                i64::from(row.absorb_days),
            )
        }),
    };
    let mut plan = row.plan();
    if let Some(release) = plan.release(&facts)
        && plan_sql::release(&mut tx, &row, &release).await?.is_some()
    {
        report.occurrences += 1;
        plan.anchor_date = release.next_anchor_date;
        plan.anchor_units = release.next_anchor_units;
        facts.has_open_occurrence |= matches!(release.making, Making::Create | Making::Supersede);
        facts.pull = None;
    }
    plan_sql::set_forecast(&mut tx, id, &forecast(&plan, &facts)).await?;
    tx.commit().await?;
    Ok(())
}

/// Runs until `shutdown`.
///
/// # Errors
/// Errors of the database that trying again can't mend.
pub async fn run(pool: PgPool, interval: Duration, shutdown: CancellationToken) -> anyhow::Result<()> {
    while !shutdown.is_cancelled() {
        match run_once(&pool, Timestamp::now()).await {
            Ok(report) if report.occurrences > 0 => tracing::info!(?report, "plan occurrences are due"),
            Ok(_) => {}
            Err(error) if error.downcast_ref::<sqlx::Error>().is_some_and(is_retryable) => {
                tracing::warn!(error = format!("{error:#}"), "a meter pass failed, trying again");
                metrics::counter!("forewarn_meter_failures_total").increment(1);
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = shutdown.cancelled() => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

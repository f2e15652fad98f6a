//! Meters and the plans that hang on them.
//!
//! A pass takes every meter that a channel feeds from where it stands (`counted_to`) through the
//! readings that have come since, then looks at every plan and makes the occurrences that are due. All
//! of it is incremental and can be repeated or done by two processes at once: a meter and a plan are
//! locked while they move, and (plan, sequence) is unique. The dispatcher turns occurrences into
//! tickets.
//!
//! Late data: a reading that is older than `counted_to` is not counted. A gateway that buffers for
//! hours sends in order, so its readings arrive late but not out of order; where devices of one channel
//! overtake each other, the lost part is bounded by the overtaking.

use std::time::Duration;

use models::db::meter::{self as sql, MeterReading, MeterRow};
use models::db::{is_retryable, plan as plan_sql};
use models::id::{MeterId, PlanId};
use models::meter::Step;
use models::plan::{Day, Facts, forecast};
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

/// What one pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeterReport {
    pub meters_moved: u32,
    pub readings: usize,
    pub occurrences: u32,
    /// Steps faster than a meter can run, not counted.
    pub implausible: u32,
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
    drop(connection);
    for id in meters {
        for _ in 0..CHUNKS {
            if advance(pool, id, now, &mut report).await? < CHUNK as usize {
                break;
            }
        }
    }
    for id in plans {
        evaluate(pool, id, now, &mut report).await?;
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
        return Ok(0);
    }
    let config = row.config();
    let mut state = row.state();
    let mut written = sql::last_written(&mut tx, id).await?;
    let mut rows = Vec::new();
    for (at, value, quality) in &readings {
        let (next, step) = state.step(&config, *at, *value, *quality);
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
            tracing::debug!(meter = %id, %at, per_h, "faster than the meter can run, not counted");
        }
        let age = written.map_or(f64::INFINITY, |(before, _)| at.seconds_since(before));
        let moved = state.counted_to == Some(*at);
        if moved && (note.is_some() || age >= WRITE_EVERY_S) {
            rows.push(history_row(&row, written, *at, state.total, note));
            written = Some((*at, state.total));
        }
    }
    // Readings that move nothing (bad ones at the end) are looked at again; that is cheap and bounded.
    if state != row.state() {
        for reading in &rows {
            sql::write_reading(&mut tx, row.tenant_id, id, reading).await?;
        }
        sql::save_state(&mut tx, id, &state).await?;
        report.meters_moved += 1;
    }
    tx.commit().await?;
    report.readings += readings.len();
    Ok(readings.len())
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
    }
}

/// Looks at one plan: makes the occurrence that is due, and keeps the forecast of the next.
async fn evaluate(pool: &PgPool, id: PlanId, now: Timestamp, report: &mut MeterReport) -> anyhow::Result<()> {
    let mut tx = pool.begin().await?;
    let Some((row, has_open_occurrence)) = plan_sql::lock(&mut tx, id).await? else {
        return Ok(());
    };
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
    let mut facts = Facts {
        today,
        total: row.meter_total,
        usage,
        meter,
        has_open_occurrence,
    };
    let mut plan = row.plan();
    if let Some(release) = plan.release(&facts)
        && plan_sql::release(&mut tx, &row, &release).await?.is_some()
    {
        report.occurrences += 1;
        plan.anchor_date = release.next_anchor_date;
        plan.anchor_units = release.next_anchor_units;
        facts.has_open_occurrence = true;
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

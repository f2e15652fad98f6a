//! SQL of meters.

mod by_hand;
mod recount;

pub use by_hand::{Change, Corrected, change_reading, enter_reading, void_last};
pub use recount::{count_between, due_for_recount, save_recount};

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::id::{AssetId, ChannelId, MeterId, TenantId};
use crate::meter::{Config, Recount, Source, State, Usage, usage};
use crate::reading::Quality;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct MeterRow {
    pub id: MeterId,
    pub tenant_id: TenantId,
    pub asset_id: AssetId,
    pub asset_name: String,
    pub name: String,
    pub unit: String,
    pub source: Source,
    pub channel_id: Option<ChannelId>,
    pub channel_unit: Option<String>,
    pub running_above: Option<f64>,
    pub rollover_at: Option<f64>,
    pub max_rate_per_h: Option<f64>,
    pub max_gap_s: f64,
    pub total: f64,
    pub counted_to: Option<Timestamp>,
    pub last_raw: Option<f64>,
    pub start_total: f64,
    #[sqlx(json(nullable))]
    pub recount: Option<Recount>,
    pub recounted_at: Option<Timestamp>,
    pub row_version: i32,
}

impl MeterRow {
    /// How it moves. When the units of channel and meter don't fit, one to one.
    pub fn config(&self) -> Config {
        let factor = Config::factor_of(
            self.source,
            self.channel_unit.as_deref().unwrap_or("1"),
            &self.unit,
        );
        Config {
            source: self.source,
            running_above: self.running_above,
            rollover_at: self.rollover_at,
            max_rate_per_h: self.max_rate_per_h,
            max_gap_s: self.max_gap_s,
            factor: factor.unwrap_or(1.0),
        }
    }

    pub fn state(&self) -> State {
        State {
            total: self.total,
            counted_to: self.counted_to,
            last_raw: self.last_raw,
        }
    }
}

#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct MeterReading {
    pub at: Timestamp,
    pub total: f64,
    pub delta: f64,
    pub entered_by: String,
    pub voided_at: Option<Timestamp>,
    pub note: Option<String>,
    /// `counted`, `absolute`, `delta` or `exchange`.
    pub kind: String,
    pub raw: Option<f64>,
    pub raw_new: Option<f64>,
}

/// What a person says of a meter; the API's body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewMeter {
    pub asset_id: AssetId,
    pub name: String,
    /// UCUM: h, kW.h, km, {cycle}
    pub unit: String,
    pub source: Source,
    #[serde(default)]
    pub channel_id: Option<ChannelId>,
    #[serde(default)]
    pub running_above: Option<f64>,
    #[serde(default)]
    pub rollover_at: Option<f64>,
    #[serde(default)]
    pub max_rate_per_h: Option<f64>,
    #[serde(default)]
    pub max_gap_s: Option<f64>,
    #[serde(default)]
    pub total: f64,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT m.*, s.name AS asset_name, c.unit AS channel_unit FROM meter m JOIN asset s ON s.id = m.asset_id
             LEFT JOIN channel c ON c.id = m.channel_id ",
            $rest
        )
    };
}
pub(super) use select;

/// By age, oldest first, after the meter `after`.
///
/// # Errors
/// When the database does.
pub async fn list(
    connection: &mut PgConnection,
    asset: Option<AssetId>,
    after: Option<MeterId>,
    limit: i64,
) -> Result<Vec<MeterRow>, sqlx::Error> {
    sqlx::query_as(select!(
        "WHERE ($1::uuid IS NULL OR m.asset_id = $1) AND ($2::uuid IS NULL OR m.id > $2) ORDER BY m.id LIMIT $3"
    ))
    .bind(asset)
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// # Errors
/// When the database does.
pub async fn get(connection: &mut PgConnection, id: MeterId) -> Result<Option<MeterRow>, sqlx::Error> {
    sqlx::query_as(select!("WHERE m.id = $1"))
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// # Errors
/// When the database does: its constraints for names, ids, and a source without what it needs.
pub async fn create(
    connection: &mut PgConnection,
    tenant: TenantId,
    new: &NewMeter,
) -> Result<MeterId, sqlx::Error> {
    let id = MeterId::new();
    sqlx::query(
        "INSERT INTO meter (id, tenant_id, asset_id, name, unit, source, channel_id, running_above, rollover_at,
             max_rate_per_h, max_gap_s, total, start_total)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, coalesce($11, 3600), $12, $12)",
    )
    .bind(id)
    .bind(tenant)
    .bind(new.asset_id)
    .bind(&new.name)
    .bind(&new.unit)
    .bind(new.source)
    .bind(new.channel_id)
    .bind(new.running_above)
    .bind(new.rollover_at)
    .bind(new.max_rate_per_h)
    .bind(new.max_gap_s)
    .bind(new.total)
    .execute(connection)
    .await?;
    Ok(id)
}

/// The ids of every meter that a channel feeds, of all tenants.
///
/// # Errors
/// When the database does.
pub async fn fed_by_channels(connection: &mut PgConnection) -> Result<Vec<MeterId>, sqlx::Error> {
    sqlx::query_scalar("SELECT id FROM meter WHERE source <> 'manual' AND channel_id IS NOT NULL ORDER BY id")
        .fetch_all(connection)
        .await
}

/// One meter, locked. `None` = gone, or another process has it.
///
/// # Errors
/// When the database does.
pub async fn lock(connection: &mut PgConnection, id: MeterId) -> Result<Option<MeterRow>, sqlx::Error> {
    sqlx::query_as(select!("WHERE m.id = $1 FOR UPDATE OF m SKIP LOCKED"))
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// Readings of a channel after `after` and up to `until`, oldest first, at most `limit`. Analytics only.
///
/// # Errors
/// When the database does.
pub async fn channel_readings(
    connection: &mut PgConnection,
    channel: ChannelId,
    after: Option<Timestamp>,
    until: Timestamp,
    limit: i64,
) -> Result<Vec<(Timestamp, f64, Quality)>, sqlx::Error> {
    let rows: Vec<(Timestamp, f64, i16)> = sqlx::query_as(
        "SELECT ts, value, quality FROM reading
         WHERE channel_id = $1 AND ts > $2 AND ts <= $3 ORDER BY ts LIMIT $4",
    )
    .bind(channel)
    .bind(after.unwrap_or(Timestamp::MIN))
    .bind(until)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(ts, value, quality)| (ts, value, Quality::from_code(quality)))
        .collect())
}

/// Keeps a meter's state.
///
/// # Errors
/// When the database does.
pub async fn save_state(
    connection: &mut PgConnection,
    id: MeterId,
    state: &State,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE meter SET total = $2, counted_to = $3, last_raw = $4 WHERE id = $1")
        .bind(id)
        .bind(state.total)
        .bind(state.counted_to)
        .bind(state.last_raw)
        .execute(connection)
        .await?;
    Ok(())
}

/// When the meter's history was last written.
///
/// # Errors
/// When the database does.
pub async fn last_written(
    connection: &mut PgConnection,
    id: MeterId,
) -> Result<Option<(Timestamp, f64)>, sqlx::Error> {
    sqlx::query_as("SELECT at, total FROM meter_reading WHERE meter_id = $1 AND voided_at IS NULL ORDER BY at DESC LIMIT 1")
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// Adds to the meter's history; the same moment again replaces the row.
///
/// # Errors
/// When the database does.
pub async fn write_reading(
    connection: &mut PgConnection,
    tenant: TenantId,
    meter: MeterId,
    reading: &MeterReading,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO meter_reading (meter_id, tenant_id, at, total, delta, entered_by, note)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (meter_id, at) DO UPDATE SET total = excluded.total, delta = excluded.delta, note = excluded.note,
             voided_at = NULL",
    )
    .bind(meter)
    .bind(tenant)
    .bind(reading.at)
    .bind(reading.total)
    .bind(reading.delta)
    .bind(&reading.entered_by)
    .bind(&reading.note)
    .execute(connection)
    .await?;
    Ok(())
}

/// The meter's history, newest first, before `before`.
///
/// # Errors
/// When the database does.
pub async fn readings(
    connection: &mut PgConnection,
    meter: MeterId,
    before: Option<Timestamp>,
    limit: i64,
) -> Result<Vec<MeterReading>, sqlx::Error> {
    sqlx::query_as(
        "SELECT at, total, delta, entered_by, voided_at, note, kind, raw, raw_new FROM meter_reading
         WHERE meter_id = $1 AND ($2::timestamptz IS NULL OR at < $2) ORDER BY at DESC LIMIT $3",
    )
    .bind(meter)
    .bind(before)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// How fast the meter runs, from its history of the last 90 days.
///
/// # Errors
/// When the database does.
pub async fn usage_of(
    connection: &mut PgConnection,
    meter: MeterId,
    now: Timestamp,
) -> Result<Option<Usage>, sqlx::Error> {
    // Whole days only: the first and the last one are partial. Days without a row count as 0.
    let days: Vec<f64> = sqlx::query_scalar(
        "WITH used AS (
             SELECT (at AT TIME ZONE 'UTC')::date AS day, sum(delta) AS units FROM meter_reading
             WHERE meter_id = $1 AND voided_at IS NULL AND at > $2 - interval '90 days' AND at <= $2 GROUP BY 1)
         SELECT coalesce(u.units, 0) FROM generate_series((SELECT min(day) FROM used) + 1,
             ($2 AT TIME ZONE 'UTC')::date - 1, interval '1 day') AS d (day)
         LEFT JOIN used u ON u.day = d.day::date",
    )
    .bind(meter)
    .bind(now)
    .fetch_all(&mut *connection)
    .await?;
    let (units, hours): (f64, f64) = sqlx::query_as(
        "SELECT coalesce(sum(delta), 0)::float8,
                coalesce(extract(epoch FROM max(at) - min(at)) / 3600, 0)::float8
         FROM meter_reading WHERE meter_id = $1 AND voided_at IS NULL AND at > $2 - interval '90 days' AND at <= $2",
    )
    .bind(meter)
    .bind(now)
    .fetch_one(connection)
    .await?;
    Ok(usage(&days, units, hours))
}

//! What was measured and concluded, through the schema's tenant-scoped functions: the API's role has
//! no right on the hypertables themselves.
//!
//! [`stats`] sums up by bucket, from readings or [`rollup`]s, whichever costs less, with the same
//! result; [`moments`] tells what stood at a time; [`copy`] moves much; [`retention`] removes.

pub mod bench;
pub mod copy;
pub mod import;
pub mod late;
pub mod moments;
pub mod retention;
pub mod rollup;
pub mod stats;
pub mod tree;

use sqlx::PgConnection;
use sqlx::types::Json;

use crate::assessment::{Advice, Factor, FailureProbability, RemainingLife};
use crate::id::{AssetId, ChannelId, DeviceId, FailureModeId, ModelVersionId};
use crate::time::Timestamp;

/// One reading. `quality`: 0 good, 1 suspect, 2 bad.
#[derive(Clone, Copy, Debug, PartialEq, sqlx::FromRow)]
pub struct RawPoint {
    pub ts: Timestamp,
    pub value: f64,
    pub quality: i16,
}

/// Readings in `[from, to)`, oldest first, at most `most`. None for another tenant's channel.
///
/// # Errors
/// When the database does.
pub async fn raw(
    connection: &mut PgConnection,
    channel: ChannelId,
    from: Timestamp,
    to: Timestamp,
    most: i32,
) -> Result<Vec<RawPoint>, sqlx::Error> {
    sqlx::query_as("SELECT ts, value, quality FROM history_raw($1, $2, $3, $4)")
        .bind(channel)
        .bind(from)
        .bind(to)
        .bind(most)
        .fetch_all(connection)
        .await
}

/// The newest reading, by its own time, of each channel that has one.
///
/// # Errors
/// When the database does.
pub async fn latest(
    connection: &mut PgConnection,
    channels: &[ChannelId],
) -> Result<Vec<(ChannelId, RawPoint)>, sqlx::Error> {
    let rows: Vec<(ChannelId, Timestamp, f64, i16)> =
        sqlx::query_as("SELECT channel_id, ts, value, quality FROM latest_readings($1)")
            .bind(channels.iter().map(|channel| channel.0).collect::<Vec<_>>())
            .fetch_all(connection)
            .await?;
    Ok(rows
        .into_iter()
        .map(|(channel, ts, value, quality)| (channel, RawPoint { ts, value, quality }))
        .collect())
}

/// Something that happened at a moment and has no value.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct EventRow {
    pub ts: Timestamp,
    pub device_id: DeviceId,
    pub code: String,
    pub severity: i16,
    pub message: Option<String>,
}

/// Events of an asset in `[from, to)`, newest first, at most `most`.
///
/// # Errors
/// When the database does.
pub async fn events(
    connection: &mut PgConnection,
    asset: AssetId,
    from: Timestamp,
    to: Timestamp,
    most: i32,
) -> Result<Vec<EventRow>, sqlx::Error> {
    sqlx::query_as("SELECT ts, device_id, code, severity, message FROM own_events($1, $2, $3, $4)")
        .bind(asset)
        .bind(from)
        .bind(to)
        .bind(most)
        .fetch_all(connection)
        .await
}

/// An assessment with the names of what it speaks of.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct AssessmentRow {
    pub asset_id: AssetId,
    pub window_start: Timestamp,
    pub window_end: Timestamp,
    pub assessed_at: Timestamp,
    pub health: f64,
    pub anomaly: Option<f64>,
    pub coverage: f64,
    pub freshness_s: f64,
    pub failure_mode_id: Option<FailureModeId>,
    pub failure_mode_code: Option<String>,
    pub failure_mode_name: Option<String>,
    pub p_fail: Json<Vec<FailureProbability>>,
    pub rul_p10_h: Option<f64>,
    pub rul_p50_h: Option<f64>,
    pub rul_p90_h: Option<f64>,
    pub factors: Json<Vec<Factor>>,
    pub advice: Json<Advice>,
    pub notes: Json<Vec<String>>,
    pub code_version: String,
    pub model_version_id: ModelVersionId,
    pub model_name: Option<String>,
    pub model_version: Option<i32>,
}

impl AssessmentRow {
    /// `None` when nothing is known of the end of its life.
    pub fn rul(&self) -> Option<RemainingLife> {
        Some(RemainingLife {
            p10_h: self.rul_p10_h?,
            p50_h: self.rul_p50_h?,
            p90_h: self.rul_p90_h,
        })
    }
}

macro_rules! assessment_query {
    ($from:literal) => {
        concat!(
            "SELECT s.*, f.code AS failure_mode_code, f.name AS failure_mode_name, m.name AS model_name,
                    m.version AS model_version
             FROM ",
            $from,
            " s LEFT JOIN failure_mode f ON f.id = s.failure_mode_id LEFT JOIN model_version m ON m.id = s.model_version_id
             ORDER BY s.window_end DESC"
        )
    };
}

/// The newest assessment of each of these assets that has one.
///
/// # Errors
/// When the database does.
pub async fn latest_assessments(
    connection: &mut PgConnection,
    assets: &[AssetId],
) -> Result<Vec<AssessmentRow>, sqlx::Error> {
    sqlx::query_as(assessment_query!("latest_assessments($1)"))
        .bind(assets)
        .fetch_all(connection)
        .await
}

/// Assessments whose window ends in `[from, to)`, newest first, at most `most`.
///
/// # Errors
/// When the database does.
pub async fn assessments(
    connection: &mut PgConnection,
    asset: AssetId,
    from: Timestamp,
    to: Timestamp,
    most: i32,
) -> Result<Vec<AssessmentRow>, sqlx::Error> {
    sqlx::query_as(assessment_query!("assessment_history($1, $2, $3, $4)"))
        .bind(asset)
        .bind(from)
        .bind(to)
        .bind(most)
        .fetch_all(connection)
        .await
}

/// Health of an asset at the ends of the windows in `[from, to)`, newest first, at most `most`.
///
/// # Errors
/// When the database does.
pub async fn health(
    connection: &mut PgConnection,
    asset: AssetId,
    from: Timestamp,
    to: Timestamp,
    most: i32,
) -> Result<Vec<(Timestamp, f64)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT window_end, health FROM assessment_history($1, $2, $3, $4) ORDER BY window_end DESC",
    )
    .bind(asset)
    .bind(from)
    .bind(to)
    .bind(most)
    .fetch_all(connection)
    .await
}

#[cfg(test)]
mod tests;

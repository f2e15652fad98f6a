//! SQL of predictions: scored by analytics, reviewed by planners, labelled by what was found.

mod decide;
mod label;
mod score;
mod scorecard;
mod waiting;

pub use decide::{Decision, decide};
pub use label::{LabelRefusal, Reconciled, label_by_person, label_by_ticket, reconcile_failures};
pub use score::{Score, Scored, score};
pub use scorecard::{CardOf, scorecards};
pub use waiting::{Lapsed, lapse};

use serde_json::Value;
use sqlx::PgConnection;

use crate::db::change::After;
use crate::id::{AssetId, CaseId, FailureModeId, ModelVersionId, PredictionId, TenantId, TicketId, UserId};
use crate::prediction::Status;
use crate::time::Timestamp;

/// A prediction with the names of what it speaks of.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct PredictionView {
    pub id: PredictionId,
    pub tenant_id: TenantId,
    pub asset_id: AssetId,
    pub asset_name: String,
    pub failure_mode_id: Option<FailureModeId>,
    pub failure_mode_code: Option<String>,
    pub failure_mode_name: Option<String>,
    pub horizon_h: i32,
    pub status: Status,
    pub published_probability: Option<f64>,
    pub probability: f64,
    pub p_low: f64,
    pub p_high: f64,
    pub peak_probability: f64,
    pub rul_p10_h: Option<f64>,
    pub rul_p50_h: Option<f64>,
    pub rul_p90_h: Option<f64>,
    pub factors: Value,
    pub model_version_id: ModelVersionId,
    pub window_end: Timestamp,
    pub revision: i32,
    pub claimed_by: Option<UserId>,
    pub snoozed_until: Option<Timestamp>,
    pub snooze_above: Option<f64>,
    pub snooze_shutdown: bool,
    pub dismiss_reason: Option<String>,
    pub case_id: Option<CaseId>,
    pub ticket_id: Option<TicketId>,
    pub label: Option<String>,
    pub label_source: Option<String>,
    pub label_note: Option<String>,
    pub failed_at: Option<Timestamp>,
    pub opened_at: Timestamp,
    pub updated_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    pub row_version: i32,
}

#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct PredictionEvent {
    pub id: i64,
    pub at: Timestamp,
    pub kind: String,
    pub actor: String,
    pub detail: Value,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Empty = all.
    pub statuses: Vec<Status>,
    pub asset: Option<AssetId>,
    pub case: Option<CaseId>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT p.*, s.name AS asset_name, f.code AS failure_mode_code, f.name AS failure_mode_name
             FROM prediction p JOIN asset s ON s.id = p.asset_id LEFT JOIN failure_mode f ON f.id = p.failure_mode_id ",
            $rest
        )
    };
}

/// From new to old by the moment they were opened.
///
/// # Errors
/// When the database does.
pub async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    after: After<PredictionId>,
    limit: i64,
) -> Result<Vec<PredictionView>, sqlx::Error> {
    sqlx::query_as(select!(
        "WHERE (cardinality($1::prediction_status[]) = 0 OR p.status = ANY ($1))
           AND ($2::uuid IS NULL OR p.asset_id = $2) AND ($3::uuid IS NULL OR p.case_id = $3)
           AND ($4::timestamptz IS NULL OR (p.opened_at, p.id) < ($4, $5))
         ORDER BY p.opened_at DESC, p.id DESC LIMIT $6"
    ))
    .bind(&filter.statuses)
    .bind(filter.asset)
    .bind(filter.case)
    .bind(after.map(|(at, _)| at))
    .bind(after.map(|(_, id)| id))
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// # Errors
/// When the database does.
pub async fn get(
    connection: &mut PgConnection,
    id: PredictionId,
) -> Result<Option<PredictionView>, sqlx::Error> {
    sqlx::query_as(select!("WHERE p.id = $1"))
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// The history of one prediction, oldest first.
///
/// # Errors
/// When the database does.
pub async fn events(
    connection: &mut PgConnection,
    id: PredictionId,
) -> Result<Vec<PredictionEvent>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, at, kind, actor, detail FROM prediction_event WHERE prediction_id = $1 ORDER BY id",
    )
    .bind(id)
    .fetch_all(connection)
    .await
}

async fn add_event(
    connection: &mut PgConnection,
    tenant: TenantId,
    prediction: PredictionId,
    kind: &str,
    actor: &str,
    detail: &Value,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO prediction_event (tenant_id, prediction_id, kind, actor, detail) VALUES ($1, $2, $3, $4, $5)")
        .bind(tenant)
        .bind(prediction)
        .bind(kind)
        .bind(actor)
        .bind(detail)
        .execute(connection)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests;

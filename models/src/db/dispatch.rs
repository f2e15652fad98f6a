//! SQL of dispatch: what waits for a decision, and the decisions with their reasons.

use serde_json::Value;
use sqlx::PgConnection;

use crate::alarm::{Condition, Kind, Severity, Suppression};
use crate::asset::{AssetStatus, Criticality};
use crate::db::change::After;
use crate::id::{AlarmId, AssetId, CaseId, DecisionId, FailureModeId, PredictionId, TenantId, TicketId};
use crate::ticket::{Priority, Status};
use crate::time::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = DispatchOutcome))]
#[derive(sqlx::Type)]
#[sqlx(type_name = "dispatch_outcome", rename_all = "snake_case")]
pub enum Outcome {
    Created,
    Attached,
    Reopened,
    Suppressed,
    CoolDown,
    BelowPolicy,
    AssetNotInService,
}

impl Outcome {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Attached => "attached",
            Self::Reopened => "reopened",
            Self::Suppressed => "suppressed",
            Self::CoolDown => "cool_down",
            Self::BelowPolicy => "below_policy",
            Self::AssetNotInService => "asset_not_in_service",
        }
    }
}

/// A decision as people see it.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct DecisionRow {
    pub id: DecisionId,
    pub tenant_id: TenantId,
    pub case_id: Option<CaseId>,
    pub asset_id: AssetId,
    pub subject: String,
    pub at: Timestamp,
    pub outcome: Outcome,
    pub ticket_id: Option<TicketId>,
    pub reason: String,
    pub facts: Value,
}

/// A decision to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDecision {
    pub tenant: TenantId,
    pub case: Option<CaseId>,
    pub asset: AssetId,
    pub subject: String,
    pub outcome: Outcome,
    pub ticket: Option<TicketId>,
    pub reason: String,
    pub facts: Value,
}

/// An alarm that was raised and has no final decision yet, with its surroundings.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct AlarmSign {
    pub id: AlarmId,
    pub tenant_id: TenantId,
    pub asset_id: AssetId,
    pub asset_name: String,
    pub asset_status: AssetStatus,
    pub criticality: Criticality,
    pub parent_name: Option<String>,
    pub parent_status: Option<AssetStatus>,
    pub rule_name: String,
    pub rule_kind: Kind,
    pub makes_ticket: bool,
    pub never_suppressed: bool,
    pub unit: Option<String>,
    pub failure_mode_id: Option<FailureModeId>,
    pub failure_mode_name: Option<String>,
    pub severity: Severity,
    pub condition: Condition,
    pub suppression: Suppression,
    pub suppressed_until: Option<Timestamp>,
    pub suppression_reason: Option<String>,
    pub active_at: Timestamp,
    pub cleared_at: Option<Timestamp>,
    pub peak_value: f64,
    pub limit_value: f64,
    pub case_id: Option<CaseId>,
}

/// A prediction that waits for a planner and has no final decision yet.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct PredictionSign {
    pub id: PredictionId,
    pub tenant_id: TenantId,
    pub asset_id: AssetId,
    pub asset_name: String,
    pub asset_status: AssetStatus,
    pub criticality: Criticality,
    pub failure_mode_id: Option<FailureModeId>,
    pub failure_mode_name: Option<String>,
    pub horizon_h: i32,
    pub probability: f64,
    pub p_low: f64,
    pub p_high: f64,
    pub case_id: Option<CaseId>,
}

/// A ticket for the same cause.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Related {
    pub id: TicketId,
    pub number: i32,
    pub status: Status,
    pub priority: Priority,
    /// When the work ended; for an open one, when it was last changed.
    pub ended_at: Timestamp,
}

/// Alarms without a final decision, oldest first, after the one with that moment and id. Not locked.
///
/// # Errors
/// When the database does.
pub async fn waiting_alarms(
    connection: &mut PgConnection,
    after: After<AlarmId>,
    limit: i64,
) -> Result<Vec<(Timestamp, AlarmId)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT active_at, id FROM alarm
         WHERE dispatched_at IS NULL AND active_at IS NOT NULL
           AND ($1::timestamptz IS NULL OR (active_at, id) > ($1, $2))
         ORDER BY active_at, id LIMIT $3",
    )
    .bind(after.map(|(at, _)| at))
    .bind(after.map(|(_, id)| id))
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// One alarm that still waits, locked. `None` = decided meanwhile, or somebody else is at it. One whose asset
/// is back in service is not suppressed by that, though nobody has let it speak again yet.
///
/// # Errors
/// When the database does.
pub async fn take_alarm(
    connection: &mut PgConnection,
    id: AlarmId,
) -> Result<Option<AlarmSign>, sqlx::Error> {
    sqlx::query_as(
        "SELECT a.id, a.tenant_id, a.asset_id, s.name AS asset_name, s.status AS asset_status, s.criticality,
                parent.name AS parent_name, parent.status AS parent_status, r.name AS rule_name, r.kind AS rule_kind,
                r.makes_ticket, coalesce((r.params->>'never_suppressed')::boolean, false) AS never_suppressed, c.unit, a.failure_mode_id, f.name AS failure_mode_name, a.severity, a.condition,
                CASE WHEN a.suppression = 'out_of_service' AND out_of_service(a.asset_id) IS NULL THEN 'none'
                     ELSE a.suppression END AS suppression,
                a.suppressed_until, a.suppression_reason, a.active_at, a.cleared_at, a.peak_value,
                a.limit_value, a.case_id
         FROM alarm a JOIN asset s ON s.id = a.asset_id JOIN alarm_rule r ON r.id = a.rule_id
         LEFT JOIN asset parent ON parent.id = s.parent_id LEFT JOIN failure_mode f ON f.id = a.failure_mode_id
         LEFT JOIN channel c ON c.id = a.channel_id
         WHERE a.id = $1 AND a.dispatched_at IS NULL AND a.active_at IS NOT NULL
         FOR UPDATE OF a SKIP LOCKED",
    )
    .bind(id)
    .fetch_optional(connection)
    .await
}

/// Predictions without a final decision, oldest first, after the one with that moment and id. Not locked.
///
/// # Errors
/// When the database does.
pub async fn waiting_predictions(
    connection: &mut PgConnection,
    after: After<PredictionId>,
    limit: i64,
) -> Result<Vec<(Timestamp, PredictionId)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT opened_at, id FROM prediction
         WHERE dispatched_at IS NULL AND status IN ('new', 'in_review', 'snoozed')
           AND ($1::timestamptz IS NULL OR (opened_at, id) > ($1, $2))
         ORDER BY opened_at, id LIMIT $3",
    )
    .bind(after.map(|(at, _)| at))
    .bind(after.map(|(_, id)| id))
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// One prediction that still waits, locked. `None` = decided meanwhile, or somebody else is at it.
///
/// # Errors
/// When the database does.
pub async fn take_prediction(
    connection: &mut PgConnection,
    id: PredictionId,
) -> Result<Option<PredictionSign>, sqlx::Error> {
    sqlx::query_as(
        "SELECT p.id, p.tenant_id, p.asset_id, s.name AS asset_name, s.status AS asset_status, s.criticality,
                p.failure_mode_id, f.name AS failure_mode_name, p.horizon_h, p.probability, p.p_low, p.p_high, p.case_id
         FROM prediction p JOIN asset s ON s.id = p.asset_id LEFT JOIN failure_mode f ON f.id = p.failure_mode_id
         WHERE p.id = $1 AND p.dispatched_at IS NULL AND p.status IN ('new', 'in_review', 'snoozed')
         FOR UPDATE OF p SKIP LOCKED",
    )
    .bind(id)
    .fetch_optional(connection)
    .await
}

/// The case's failure mode, locking the case; whoever adds to a case holds this lock.
///
/// # Errors
/// When the database does.
pub async fn lock_case(
    connection: &mut PgConnection,
    id: CaseId,
) -> Result<(Option<FailureModeId>, Severity), sqlx::Error> {
    sqlx::query_as("SELECT failure_mode_id, severity FROM case_file WHERE id = $1 FOR UPDATE")
        .bind(id)
        .fetch_one(connection)
        .await
}

/// Tickets for the same cause: of the case, or of the asset and failure mode. Open ones first, then
/// the one that ended last.
///
/// # Errors
/// When the database does.
pub async fn related_tickets(
    connection: &mut PgConnection,
    case: CaseId,
    asset: AssetId,
    failure_mode: Option<FailureModeId>,
) -> Result<Vec<Related>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, number, status, priority, coalesce(completed_at, closed_at, updated_at) AS ended_at FROM ticket
         WHERE asset_id = $2 AND (case_id = $1
             OR (failure_mode_id IS NOT DISTINCT FROM $3 AND ($3 IS NOT NULL OR origin IN ('alarm', 'prediction'))))
         ORDER BY (status NOT IN ('completed', 'closed', 'cancelled')) DESC, ended_at DESC LIMIT 10",
    )
    .bind(case)
    .bind(asset)
    .bind(failure_mode)
    .fetch_all(connection)
    .await
}

/// Puts an alarm into its case; `last_word` = no further decision will follow.
///
/// # Errors
/// When the database does.
pub async fn settle_alarm(
    connection: &mut PgConnection,
    id: AlarmId,
    case: Option<CaseId>,
    last_word: bool,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE alarm SET case_id = coalesce($2, case_id), dispatched_at = CASE WHEN $3 THEN $4 END,
             row_version = row_version + 1, updated_at = now()
         WHERE id = $1 AND (case_id IS DISTINCT FROM coalesce($2, case_id) OR $3)",
    )
    .bind(id)
    .bind(case)
    .bind(last_word)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Puts a prediction into its case. With a ticket it is accepted.
///
/// # Errors
/// When the database does.
pub async fn settle_prediction(
    connection: &mut PgConnection,
    id: PredictionId,
    case: Option<CaseId>,
    ticket: Option<TicketId>,
    last_word: bool,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE prediction SET case_id = coalesce($2, case_id), ticket_id = coalesce($3, ticket_id),
             dispatched_at = CASE WHEN $4 THEN $5 END,
             status = CASE WHEN $3 IS NULL THEN status ELSE 'accepted' END,
             closed_at = CASE WHEN $3 IS NULL THEN closed_at ELSE $5 END,
             row_version = row_version + 1, updated_at = now()
         WHERE id = $1 AND (case_id IS DISTINCT FROM coalesce($2, case_id) OR $4)",
    )
    .bind(id)
    .bind(case)
    .bind(ticket)
    .bind(last_word)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// The open case of an asset and failure mode, locked, that has no open ticket.
///
/// # Errors
/// When the database does.
pub async fn open_case_of(
    connection: &mut PgConnection,
    asset: AssetId,
    mode: FailureModeId,
) -> Result<Option<CaseId>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT c.id FROM case_file c WHERE c.asset_id = $1 AND c.failure_mode_id = $2 AND c.closed_at IS NULL
           AND NOT EXISTS (SELECT FROM ticket t WHERE t.case_id = c.id
                             AND t.status NOT IN ('completed', 'closed', 'cancelled'))
         FOR UPDATE",
    )
    .bind(asset)
    .bind(mode)
    .fetch_optional(connection)
    .await
}

/// A ticket covers what a case's open predictions fear: they are attached to it, and its end labels them.
///
/// # Errors
/// When the database does.
pub async fn follow_predictions(
    connection: &mut PgConnection,
    case: CaseId,
    ticket: TicketId,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE prediction SET status = 'attached', ticket_id = $2, closed_at = $3, row_version = row_version + 1,
             updated_at = now()
         WHERE case_id = $1 AND status IN ('new', 'in_review', 'snoozed')",
    )
    .bind(case)
    .bind(ticket)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes a decision once for each subject and outcome, and tells whether it was new.
///
/// # Errors
/// When the database does.
pub async fn record(
    connection: &mut PgConnection,
    decision: &NewDecision,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let written = sqlx::query(
        "INSERT INTO dispatch_decision (id, tenant_id, case_id, asset_id, subject, at, outcome, ticket_id, reason, facts)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (tenant_id, subject, outcome) DO NOTHING",
    )
    .bind(DecisionId::new())
    .bind(decision.tenant)
    .bind(decision.case)
    .bind(decision.asset)
    .bind(&decision.subject)
    .bind(now)
    .bind(decision.outcome)
    .bind(decision.ticket)
    .bind(&decision.reason)
    .bind(&decision.facts)
    .execute(connection)
    .await?
    .rows_affected();
    Ok(written > 0)
}

/// Tickets of occurrences that a later one has superseded and that nobody has finished. Not locked.
///
/// # Errors
/// When the database does.
pub async fn superseded_tickets(connection: &mut PgConnection) -> Result<Vec<TicketId>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT t.id FROM ticket t JOIN plan_occurrence o ON o.id = t.occurrence_id
         WHERE o.status = 'superseded'
           AND t.status IN ('open', 'accepted', 'planned', 'waiting_parts', 'waiting_window', 'scheduled', 'assigned')
           AND NOT EXISTS (SELECT FROM ticket_task k WHERE k.ticket_id = t.id AND k.done_at IS NOT NULL)
         ORDER BY t.id LIMIT 100",
    )
    .fetch_all(connection)
    .await
}

/// Why tickets were made and why not, from new to old.
///
/// # Errors
/// When the database does.
pub async fn decisions(
    connection: &mut PgConnection,
    asset: Option<AssetId>,
    case: Option<CaseId>,
    subject: Option<&str>,
    after: After<DecisionId>,
    limit: i64,
) -> Result<Vec<DecisionRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, tenant_id, case_id, asset_id, subject, at, outcome, ticket_id, reason, facts FROM dispatch_decision
         WHERE ($1::uuid IS NULL OR asset_id = $1) AND ($2::uuid IS NULL OR case_id = $2)
           AND ($3::text IS NULL OR subject = $3) AND ($4::timestamptz IS NULL OR (at, id) < ($4, $5))
         ORDER BY at DESC, id DESC LIMIT $6",
    )
    .bind(asset)
    .bind(case)
    .bind(subject)
    .bind(after.map(|(at, _)| at))
    .bind(after.map(|(_, id)| id))
    .bind(limit)
    .fetch_all(connection)
    .await
}

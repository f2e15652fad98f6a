//! What people see of alarms and do with them. Runs under row-level security.

use serde_json::{Value, json};
use sqlx::PgConnection;

use super::evaluate::{AlarmRow, add_event, report};
use super::rules::get_rule;
use crate::alarm::{self, AxisError, Condition, Kind, Rule, Severity, Suppression};
use crate::db::change::{After, ChangeError};
use crate::db::outbox;
use crate::id::{AlarmId, AlarmRuleId, AssetId, CaseId, ChannelId, FailureModeId, TenantId};
use crate::tenant::MemberRole;
use crate::time::Timestamp;

/// An alarm with the names of what it speaks of.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct AlarmView {
    pub id: AlarmId,
    pub tenant_id: TenantId,
    pub rule_id: AlarmRuleId,
    pub rule_name: String,
    pub rule_kind: Kind,
    pub asset_id: AssetId,
    pub asset_name: String,
    pub channel_id: Option<ChannelId>,
    pub channel_name: Option<String>,
    pub unit: Option<String>,
    pub failure_mode_id: Option<FailureModeId>,
    pub failure_mode_code: Option<String>,
    pub failure_mode_name: Option<String>,
    pub severity: Severity,
    pub condition: Condition,
    pub acked_at: Option<Timestamp>,
    pub acked_by: Option<String>,
    pub suppression: Suppression,
    pub suppressed_until: Option<Timestamp>,
    pub suppression_reason: Option<String>,
    pub pending_since: Timestamp,
    pub active_at: Option<Timestamp>,
    pub cleared_at: Option<Timestamp>,
    pub closed_at: Option<Timestamp>,
    pub first_value: f64,
    pub last_value: f64,
    pub peak_value: f64,
    pub limit_value: f64,
    pub flap_count: i32,
    pub escalation_level: i32,
    pub case_id: Option<CaseId>,
    /// When dispatch had said its last word on it.
    pub dispatched_at: Option<Timestamp>,
    pub row_version: i32,
    pub updated_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct AlarmEvent {
    pub id: i64,
    pub at: Timestamp,
    pub kind: String,
    pub actor: String,
    pub detail: Value,
}

/// Which alarms a list shows. Only pending ones are in none but `All`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Active or clearing.
    #[default]
    Active,
    /// Raised once, and nobody has acknowledged it, over or not.
    Unacknowledged,
    Shelved,
    All,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub state: State,
    pub asset: Option<AssetId>,
    pub case: Option<CaseId>,
    pub severity: Option<Severity>,
}

/// From new to old by the moment they began.
///
/// # Errors
/// When the database does.
pub async fn list(
    connection: &mut PgConnection,
    filter: Filter,
    after: After<AlarmId>,
    limit: i64,
) -> Result<Vec<AlarmView>, sqlx::Error> {
    sqlx::query_as(
        "SELECT a.*, r.name AS rule_name, r.kind AS rule_kind, s.name AS asset_name, f.code AS failure_mode_code,
                f.name AS failure_mode_name, coalesce(c.label, c.name) AS channel_name, c.unit
         FROM alarm a
         JOIN alarm_rule r ON r.id = a.rule_id JOIN asset s ON s.id = a.asset_id
         LEFT JOIN failure_mode f ON f.id = a.failure_mode_id LEFT JOIN channel c ON c.id = a.channel_id
         WHERE CASE $1
                 WHEN 'active' THEN a.condition IN ('active', 'clearing')
                 WHEN 'unacknowledged' THEN a.active_at IS NOT NULL AND a.acked_at IS NULL AND a.closed_at IS NULL
                 WHEN 'shelved' THEN a.suppression = 'shelved' AND a.suppressed_until > now() AND a.closed_at IS NULL
                 ELSE true END
           AND ($2::uuid IS NULL OR a.asset_id = $2)
           AND ($3::uuid IS NULL OR a.case_id = $3)
           AND ($4::severity IS NULL OR a.severity = $4)
           AND ($5::timestamptz IS NULL OR (a.pending_since, a.id) < ($5, $6))
         ORDER BY a.pending_since DESC, a.id DESC LIMIT $7",
    )
    .bind(match filter.state {
        State::Active => "active",
        State::Unacknowledged => "unacknowledged",
        State::Shelved => "shelved",
        State::All => "all",
    })
    .bind(filter.asset)
    .bind(filter.case)
    .bind(filter.severity)
    .bind(after.map(|(at, _)| at))
    .bind(after.map(|(_, id)| id))
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// # Errors
/// When the database does.
pub async fn get(connection: &mut PgConnection, id: AlarmId) -> Result<Option<AlarmView>, sqlx::Error> {
    sqlx::query_as(
        "SELECT a.*, r.name AS rule_name, r.kind AS rule_kind, s.name AS asset_name, f.code AS failure_mode_code,
                f.name AS failure_mode_name, coalesce(c.label, c.name) AS channel_name, c.unit
         FROM alarm a
         JOIN alarm_rule r ON r.id = a.rule_id JOIN asset s ON s.id = a.asset_id
         LEFT JOIN failure_mode f ON f.id = a.failure_mode_id LEFT JOIN channel c ON c.id = a.channel_id
         WHERE a.id = $1",
    )
    .bind(id)
    .fetch_optional(connection)
    .await
}

/// The history of one alarm, oldest first.
///
/// # Errors
/// When the database does.
pub async fn events(connection: &mut PgConnection, id: AlarmId) -> Result<Vec<AlarmEvent>, sqlx::Error> {
    sqlx::query_as("SELECT id, at, kind, actor, detail FROM alarm_event WHERE alarm_id = $1 ORDER BY id")
        .bind(id)
        .fetch_all(connection)
        .await
}

async fn lock(connection: &mut PgConnection, id: AlarmId) -> Result<AlarmRow, ChangeError<AxisError>> {
    sqlx::query_as("SELECT * FROM alarm WHERE id = $1 FOR UPDATE")
        .bind(id)
        .fetch_optional(connection)
        .await?
        .ok_or(ChangeError::NotFound)
}

pub(super) async fn told(
    connection: &mut PgConnection,
    row: &AlarmRow,
    kind: &str,
    actor: &str,
    detail: &Value,
) -> Result<(), sqlx::Error> {
    add_event(connection, row.tenant_id, row.id, kind, actor, detail).await?;
    let outbox_kind = format!("alarm.{kind}");
    outbox::append(
        connection,
        row.tenant_id,
        &outbox_kind,
        &row.id.to_string(),
        Some(row.asset_id),
        detail,
    )
    .await
}

/// A person takes note. Acknowledging twice changes nothing; the first person stays. A latched alarm
/// that is back to normal is reset by it.
///
/// # Errors
/// When it was never raised or is closed.
pub async fn acknowledge(
    connection: &mut PgConnection,
    id: AlarmId,
    expected: Option<i32>,
    actor: &str,
    comment: Option<&str>,
    now: Timestamp,
) -> Result<(), ChangeError<AxisError>> {
    let row = lock(connection, id).await?;
    ChangeError::check_version(expected, row.row_version)?;
    let news = alarm::acknowledge(row.active_at.is_some(), row.condition, row.acked_at.is_some())
        .map_err(ChangeError::Refused)?;
    if news {
        sqlx::query(
            "UPDATE alarm SET acked_at = $2, acked_by = $3, told_at = $2, row_version = row_version + 1, updated_at = now(),
                 closed_at = CASE WHEN condition = 'inactive' THEN $2 END
             WHERE id = $1",
        )
        .bind(id)
        .bind(now)
        .bind(actor)
        .execute(&mut *connection)
        .await?;
        told(
            connection,
            &row,
            "acknowledged",
            actor,
            &json!({ "comment": comment }),
        )
        .await?;
    }
    reset(connection, id, actor, now).await?;
    Ok(())
}

/// Resets a latched alarm that has been back to normal for its off-delay, and tells whether it did.
///
/// # Errors
/// When there is no such alarm.
pub async fn reset(
    connection: &mut PgConnection,
    id: AlarmId,
    actor: &str,
    now: Timestamp,
) -> Result<bool, ChangeError<AxisError>> {
    let row = lock(connection, id).await?;
    let Some(rule) = get_rule(connection, row.rule_id)
        .await?
        .map(Rule::from)
        .filter(|rule| rule.latched)
    else {
        return Ok(false);
    };
    let Some((machine, transition)) = row.machine.reset(&rule, now) else {
        return Ok(false);
    };
    sqlx::query(
        "UPDATE alarm SET condition = 'inactive', cleared_at = $2, machine = $3, row_version = row_version + 1,
             updated_at = now(), closed_at = CASE WHEN acked_at IS NOT NULL THEN $4 END
         WHERE id = $1",
    )
    .bind(id)
    .bind(transition.occurrence.clearing_since)
    .bind(sqlx::types::Json(&machine))
    .bind(now)
    .execute(&mut *connection)
    .await?;
    report(connection, &rule, id, &transition, false, actor).await?;
    Ok(true)
}

/// A person doesn't want to hear of it until `until`, as long as the role allows. Later occurrences
/// of the same rule are shelved with it.
///
/// # Errors
/// See [`alarm::shelve`].
pub async fn shelve(
    connection: &mut PgConnection,
    id: AlarmId,
    role: MemberRole,
    until: Timestamp,
    reason: &str,
    actor: &str,
    now: Timestamp,
) -> Result<(), ChangeError<AxisError>> {
    let row = lock(connection, id).await?;
    if row.closed_at.is_some() {
        return Err(ChangeError::Refused(AxisError::Closed));
    }
    let shelf = alarm::shelve(role, now, until, reason).map_err(ChangeError::Refused)?;
    sqlx::query(
        "UPDATE alarm SET suppression = 'shelved', suppressed_until = $2, suppression_reason = $3,
             row_version = row_version + 1, updated_at = now()
         WHERE id = $1",
    )
    .bind(id)
    .bind(shelf.until)
    .bind(&shelf.reason)
    .execute(&mut *connection)
    .await?;
    let detail = json!({ "until": shelf.until, "reason": shelf.reason });
    told(connection, &row, "shelved", actor, &detail).await?;
    Ok(())
}

/// Ends a shelf before its time. No shelf, no change.
///
/// # Errors
/// When there is no such alarm.
pub async fn unshelve(
    connection: &mut PgConnection,
    id: AlarmId,
    actor: &str,
) -> Result<(), ChangeError<AxisError>> {
    let row = lock(connection, id).await?;
    if row.suppression != Suppression::Shelved {
        return Ok(());
    }
    sqlx::query(
        "UPDATE alarm SET suppression = 'none', suppressed_until = NULL, suppression_reason = NULL,
             row_version = row_version + 1, updated_at = now()
         WHERE id = $1",
    )
    .bind(id)
    .execute(&mut *connection)
    .await?;
    told(connection, &row, "unshelved", actor, &json!({})).await?;
    Ok(())
}

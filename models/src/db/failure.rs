//! SQL of failure codes, failure reports and downtime.

use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

use crate::coding::{Code, CodeLevel, Own};
use crate::db::change::{After, ChangeError};
use crate::db::{outbox, sla};
use crate::downtime::{DowntimeReason, DowntimeSource, Reliability, Stop, reliability};
use crate::id::{
    AlarmRuleId, AssetId, DowntimeId, FailureCodeId, FailureModeId, FailureReportId, SiteId, TenantId,
    TicketId,
};
use crate::interval::Span;
use crate::ticket::Gate;
use crate::time::Timestamp;

/// The tenant's own words.
///
/// # Errors
/// When the database does.
pub async fn own_codes(connection: &mut PgConnection) -> Result<Vec<Own>, sqlx::Error> {
    type Row = (String, Option<String>, Option<String>, String, String, bool);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT level, class_name, parent, code, name, enabled FROM failure_code ORDER BY level, name, code",
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(level, class_name, parent, code, name, enabled)| {
            Some(Own {
                code: Code {
                    level: CodeLevel::parse(&level)?,
                    class_name,
                    parent,
                    code,
                    name,
                    own: true,
                },
                enabled,
            })
        })
        .collect())
}

/// Writes a word, in place of the tenant's one of the same level, class and code.
///
/// # Errors
/// `failure_code_code_check` when the code is not lower-case words with underscores.
pub async fn put_code(
    connection: &mut PgConnection,
    tenant: TenantId,
    code: &Code,
    enabled: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO failure_code (id, tenant_id, level, class_name, parent, code, name, enabled)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (tenant_id, level, class_name, code) DO UPDATE SET parent = excluded.parent, name = excluded.name,
             enabled = excluded.enabled",
    )
    .bind(FailureCodeId::new())
    .bind(tenant)
    .bind(code.level.name())
    .bind(&code.class_name)
    .bind(&code.parent)
    .bind(&code.code)
    .bind(&code.name)
    .bind(enabled)
    .execute(connection)
    .await?;
    Ok(())
}

#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = FailureReport))]
pub struct ReportRow {
    pub id: FailureReportId,
    pub asset_id: AssetId,
    pub asset_name: String,
    pub failure_mode_id: Option<FailureModeId>,
    pub failure_mode_name: Option<String>,
    pub failed_at: Timestamp,
    /// `ticket`, `person`, `import` or `signal`.
    pub source: String,
    pub ticket_id: Option<TicketId>,
    pub mechanism_code: Option<String>,
    pub cause_code: Option<String>,
    pub remedy_code: Option<String>,
    pub note: Option<String>,
    pub reported_by: Option<String>,
}

/// Failures, newest first.
///
/// # Errors
/// When the database does.
pub async fn reports(
    connection: &mut PgConnection,
    asset: Option<AssetId>,
    after: After<FailureReportId>,
    limit: i64,
) -> Result<Vec<ReportRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT r.*, a.name AS asset_name, f.name AS failure_mode_name FROM failure_report r
         JOIN asset a ON a.id = r.asset_id LEFT JOIN failure_mode f ON f.id = r.failure_mode_id
         WHERE ($1::uuid IS NULL OR r.asset_id = $1) AND ($2::timestamptz IS NULL OR (r.failed_at, r.id) < ($2, $3))
         ORDER BY r.failed_at DESC, r.id DESC LIMIT $4",
    )
    .bind(asset)
    .bind(after.map(|(at, _)| at))
    .bind(after.map(|(_, id)| id))
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// A failure that somebody reports without a ticket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewReport {
    pub asset_id: AssetId,
    #[serde(default)]
    pub failure_mode_id: Option<FailureModeId>,
    pub failed_at: Timestamp,
    #[serde(default)]
    pub mechanism_code: Option<String>,
    #[serde(default)]
    pub cause_code: Option<String>,
    #[serde(default)]
    pub remedy_code: Option<String>,
    #[serde(default)]
    pub note: Option<String>,
}

/// # Errors
/// The unique constraint of asset, failure mode and moment; a foreign key when one isn't the tenant's.
pub async fn report(
    connection: &mut PgConnection,
    tenant: TenantId,
    new: &NewReport,
    actor: &str,
) -> Result<FailureReportId, sqlx::Error> {
    let id = FailureReportId::new();
    sqlx::query(
        "INSERT INTO failure_report (id, tenant_id, asset_id, failure_mode_id, failed_at, source, mechanism_code,
             cause_code, remedy_code, note, reported_by) VALUES ($1, $2, $3, $4, $5, 'person', $6, $7, $8, $9, $10)",
    )
    .bind(id)
    .bind(tenant)
    .bind(new.asset_id)
    .bind(new.failure_mode_id)
    .bind(new.failed_at)
    .bind(&new.mechanism_code)
    .bind(&new.cause_code)
    .bind(&new.remedy_code)
    .bind(&new.note)
    .bind(actor)
    .execute(&mut *connection)
    .await?;
    let detail = json!({ "failure_mode_id": new.failure_mode_id, "failed_at": new.failed_at });
    outbox::append(
        connection,
        tenant,
        "failure.reported",
        &id.to_string(),
        Some(new.asset_id),
        &detail,
    )
    .await?;
    Ok(id)
}

#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Downtime))]
pub struct DowntimeRow {
    pub id: DowntimeId,
    pub asset_id: AssetId,
    pub asset_name: String,
    pub started_at: Timestamp,
    /// `null` = it still stands.
    pub ended_at: Option<Timestamp>,
    pub source: DowntimeSource,
    pub ticket_id: Option<TicketId>,
    /// `null` = nobody has confirmed it.
    pub reason: Option<DowntimeReason>,
    pub note: Option<String>,
    pub confirmed_by: Option<String>,
    pub confirmed_at: Option<Timestamp>,
    pub voided: bool,
    pub row_version: i32,
}

/// Which downtime is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct DowntimeFilter {
    pub asset: Option<AssetId>,
    /// Without a reason yet.
    pub unconfirmed: bool,
}

/// Newest first.
///
/// # Errors
/// When the database does.
pub async fn downtime(
    connection: &mut PgConnection,
    filter: DowntimeFilter,
    after: After<DowntimeId>,
    limit: i64,
) -> Result<Vec<DowntimeRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT d.*, a.name AS asset_name FROM downtime d JOIN asset a ON a.id = d.asset_id
         WHERE ($1::uuid IS NULL OR d.asset_id = $1) AND (NOT $2 OR (d.reason IS NULL AND NOT d.voided))
           AND ($3::timestamptz IS NULL OR (d.started_at, d.id) < ($3, $4))
         ORDER BY d.started_at DESC, d.id DESC LIMIT $5",
    )
    .bind(filter.asset)
    .bind(filter.unconfirmed)
    .bind(after.map(|(at, _)| at))
    .bind(after.map(|(_, id)| id))
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// # Errors
/// When the database does.
pub async fn get_downtime(
    connection: &mut PgConnection,
    id: DowntimeId,
) -> Result<Option<DowntimeRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT d.*, a.name AS asset_name FROM downtime d JOIN asset a ON a.id = d.asset_id WHERE d.id = $1",
    )
    .bind(id)
    .fetch_optional(connection)
    .await
}

/// A stop that a person enters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewDowntime {
    pub asset_id: AssetId,
    pub started_at: Timestamp,
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    pub reason: DowntimeReason,
    #[serde(default)]
    pub ticket_id: Option<TicketId>,
    #[serde(default)]
    pub note: Option<String>,
}

/// # Errors
/// `downtime_runs_forward`; `downtime_open_key` when one is open; a foreign key.
pub async fn enter_downtime(
    connection: &mut PgConnection,
    tenant: TenantId,
    new: &NewDowntime,
    actor: &str,
    now: Timestamp,
) -> Result<DowntimeId, sqlx::Error> {
    let id = DowntimeId::new();
    sqlx::query(
        "INSERT INTO downtime (id, tenant_id, asset_id, started_at, ended_at, source, ticket_id, reason, note,
             confirmed_by, confirmed_at) VALUES ($1, $2, $3, $4, $5, 'person', $6, $7, $8, $9, $10)",
    )
    .bind(id)
    .bind(tenant)
    .bind(new.asset_id)
    .bind(new.started_at)
    .bind(new.ended_at)
    .bind(new.ticket_id)
    .bind(new.reason)
    .bind(&new.note)
    .bind(actor)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    let detail = json!({ "reason": new.reason, "started_at": new.started_at, "ended_at": new.ended_at });
    outbox::append(
        connection,
        tenant,
        "downtime.confirmed",
        &id.to_string(),
        Some(new.asset_id),
        &detail,
    )
    .await?;
    Ok(id)
}

/// What a person says of a stop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfirmDowntime {
    pub reason: Option<DowntimeReason>,
    pub note: Option<String>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub ticket_id: Option<TicketId>,
    /// It never stood still.
    pub void: bool,
}

/// Why a stop can't be confirmed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfirmError {
    #[error("give a reason, or void: true when it never stood still")]
    NoReason,
    #[error("the reason other needs a note")]
    NoNote,
    #[error("it can't end at {end}, before it began at {start}")]
    Backwards { start: Timestamp, end: Timestamp },
    #[error("{0} lies in the future")]
    Future(Timestamp),
}

/// Confirms, corrects or voids a stop.
///
/// # Errors
/// [`ConfirmError`]; stale when somebody was first.
pub async fn confirm_downtime(
    connection: &mut PgConnection,
    id: DowntimeId,
    expected: Option<i32>,
    change: &ConfirmDowntime,
    actor: &str,
    now: Timestamp,
) -> Result<(), ChangeError<ConfirmError>> {
    type Row = (
        TenantId,
        AssetId,
        Timestamp,
        Option<Timestamp>,
        i32,
        Option<DowntimeReason>,
    );
    let row: Option<Row> = sqlx::query_as(
        "SELECT tenant_id, asset_id, started_at, ended_at, row_version, reason FROM downtime WHERE id = $1 FOR UPDATE",
    )
    .bind(id)
    .fetch_optional(&mut *connection)
    .await?;
    let (tenant, asset, started_at, ended_at, version, before) = row.ok_or(ChangeError::NotFound)?;
    ChangeError::check_version(expected, version)?;
    let refuse = |error| Err(ChangeError::Refused(error));
    let reason = change.reason.or(before);
    let noted = change.note.as_deref().is_some_and(|note| !note.trim().is_empty());
    if reason.is_none() && !change.void {
        return refuse(ConfirmError::NoReason);
    }
    if change.reason == Some(DowntimeReason::Other) && !noted {
        return refuse(ConfirmError::NoNote);
    }
    let start = change.started_at.unwrap_or(started_at);
    let end = change.ended_at.or(ended_at);
    if let Some(end) = end.filter(|end| *end < start) {
        return refuse(ConfirmError::Backwards { start, end });
    }
    if let Some(future) = [Some(start), end].into_iter().flatten().find(|at| *at > now) {
        return refuse(ConfirmError::Future(future));
    }
    sqlx::query(
        "UPDATE downtime SET reason = $2, note = coalesce($3, note), started_at = $4, ended_at = $5,
             ticket_id = coalesce($6, ticket_id), voided = $7, confirmed_by = $8, confirmed_at = $9,
             row_version = row_version + 1 WHERE id = $1",
    )
    .bind(id)
    .bind(reason)
    .bind(&change.note)
    .bind(start)
    .bind(end)
    .bind(change.ticket_id)
    .bind(change.void)
    .bind(actor)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    let detail = json!({ "reason": reason, "started_at": start, "ended_at": end, "voided": change.void });
    outbox::append(
        connection,
        tenant,
        "downtime.confirmed",
        &id.to_string(),
        Some(asset),
        &detail,
    )
    .await?;
    Ok(())
}

/// Says that alarms of a rule mean that the asset stands still, or that they don't any more. `false` =
/// no such rule, or it was so already.
///
/// # Errors
/// When the database does.
pub async fn set_signal(
    connection: &mut PgConnection,
    rule: AlarmRuleId,
    is_one: bool,
) -> Result<bool, sqlx::Error> {
    let order = if is_one {
        "INSERT INTO downtime_signal (rule_id, tenant_id) SELECT id, tenant_id FROM alarm_rule WHERE id = $1
         ON CONFLICT DO NOTHING"
    } else {
        "DELETE FROM downtime_signal WHERE rule_id = $1"
    };
    Ok(sqlx::query(order)
        .bind(rule)
        .execute(connection)
        .await?
        .rows_affected()
        > 0)
}

#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DowntimeSignal {
    pub rule_id: AlarmRuleId,
    pub rule_name: String,
    pub asset_id: AssetId,
    pub asset_name: String,
}

/// # Errors
/// When the database does.
pub async fn signals(connection: &mut PgConnection) -> Result<Vec<DowntimeSignal>, sqlx::Error> {
    sqlx::query_as(
        "SELECT s.rule_id, r.name AS rule_name, r.asset_id, a.name AS asset_name FROM downtime_signal s
         JOIN alarm_rule r ON r.id = s.rule_id JOIN asset a ON a.id = r.asset_id ORDER BY a.name, r.name",
    )
    .fetch_all(connection)
    .await
}

/// Whether every stop that belongs to a ticket has its reason.
///
/// # Errors
/// When the database does.
pub async fn gate(
    connection: &mut PgConnection,
    ticket: TicketId,
    asset: AssetId,
    since: Timestamp,
) -> Result<Gate, sqlx::Error> {
    let open: Option<(DowntimeId, Timestamp)> = sqlx::query_as(
        "SELECT id, started_at FROM downtime
         WHERE asset_id = $2 AND reason IS NULL AND NOT voided
           AND (ticket_id = $1 OR ended_at IS NULL OR ended_at > $3) ORDER BY started_at LIMIT 1",
    )
    .bind(ticket)
    .bind(asset)
    .bind(since)
    .fetch_optional(connection)
    .await?;
    Ok(match open {
        None => Gate::NotNeeded,
        Some((id, at)) => Gate::Missing(format!(
            "say why the asset stood still from {at}: PATCH /v1/downtime/{id}"
        )),
    })
}

/// The reliability of an asset in a window, from its stops and its site's working hours. `None` = no such
/// asset.
///
/// # Errors
/// When the database does.
pub async fn of_asset(
    connection: &mut PgConnection,
    asset: AssetId,
    window: Span,
    now: Timestamp,
) -> Result<Option<Reliability>, sqlx::Error> {
    let site: Option<SiteId> = sqlx::query_scalar("SELECT site_id FROM asset WHERE id = $1")
        .bind(asset)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(site) = site else { return Ok(None) };
    let rows: Vec<(Timestamp, Option<Timestamp>, Option<DowntimeReason>)> = sqlx::query_as(
        "SELECT started_at, ended_at, reason FROM downtime
         WHERE asset_id = $1 AND NOT voided AND started_at < $3 AND (ended_at IS NULL OR ended_at > $2)",
    )
    .bind(asset)
    .bind(window.start)
    .bind(window.end)
    .fetch_all(&mut *connection)
    .await?;
    let stops: Vec<Stop> = rows
        .into_iter()
        .map(|(start, end, reason)| Stop { start, end, reason })
        .collect();
    let calendar = sla::calendar(connection, site).await?;
    Ok(Some(reliability(&stops, &calendar, window, now)))
}

//! SQL of cases: opened by signs, told of in groups, merged and split by hand, closed when all is done.

mod by_hand;
mod notices;

pub use by_hand::{Merged, Split, SplitOff, merge, split};
pub use notices::{Told, tell};

use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::alarm::Severity;
use crate::case::{self, Evidence};
use crate::db::change::After;
use crate::db::outbox;
use crate::id::{AssetId, CaseId, FailureModeId, TenantId, TicketId};
use crate::ticket;
use crate::time::Timestamp;

/// A case with the names of what it speaks of and its newest ticket.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct CaseView {
    pub id: CaseId,
    pub tenant_id: TenantId,
    pub asset_id: AssetId,
    pub asset_name: String,
    pub failure_mode_id: Option<FailureModeId>,
    pub failure_mode_code: Option<String>,
    pub failure_mode_name: Option<String>,
    pub title: String,
    pub severity: Severity,
    pub opened_at: Timestamp,
    pub updated_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    pub close_reason: Option<String>,
    pub merged_into: Option<CaseId>,
    pub alarms: i64,
    pub ticket_id: Option<TicketId>,
    pub ticket_number: Option<i32>,
    pub ticket_status: Option<ticket::Status>,
    pub ticket_priority: Option<ticket::Priority>,
    pub row_version: i32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `None` = open and closed.
    pub open: Option<bool>,
    pub asset: Option<AssetId>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT c.*, s.name AS asset_name, f.code AS failure_mode_code, f.name AS failure_mode_name,
                    (SELECT count(*) FROM alarm a WHERE a.case_id = c.id) AS alarms,
                    t.id AS ticket_id, t.number AS ticket_number, t.status AS ticket_status, t.priority AS ticket_priority
             FROM case_file c JOIN asset s ON s.id = c.asset_id LEFT JOIN failure_mode f ON f.id = c.failure_mode_id
             LEFT JOIN LATERAL (SELECT id, number, status, priority FROM ticket WHERE case_id = c.id
                                ORDER BY number DESC LIMIT 1) t ON true ",
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
    filter: Filter,
    after: After<CaseId>,
    limit: i64,
) -> Result<Vec<CaseView>, sqlx::Error> {
    sqlx::query_as(select!(
        "WHERE ($1::boolean IS NULL OR (c.closed_at IS NULL) = $1) AND ($2::uuid IS NULL OR c.asset_id = $2)
           AND ($3::timestamptz IS NULL OR (c.opened_at, c.id) < ($3, $4))
         ORDER BY c.opened_at DESC, c.id DESC LIMIT $5"
    ))
    .bind(filter.open)
    .bind(filter.asset)
    .bind(after.map(|(at, _)| at))
    .bind(after.map(|(_, id)| id))
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// # Errors
/// When the database does.
pub async fn get(connection: &mut PgConnection, id: CaseId) -> Result<Option<CaseView>, sqlx::Error> {
    sqlx::query_as(select!("WHERE c.id = $1"))
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// A sign that something is wrong: an alarm or a prediction.
#[derive(Clone, Debug, PartialEq)]
pub struct Sign {
    pub tenant: TenantId,
    pub asset: AssetId,
    pub failure_mode: Option<FailureModeId>,
    pub severity: Severity,
    pub title: String,
}

/// The open case the sign belongs to, locked, and whether it was opened for it. One that names no
/// failure mode joins any open case of its asset, the oldest first. Where a planner has merged the
/// cause into another case, its later signs go there too as long as that one is open.
///
/// # Errors
/// When the database does.
pub async fn join_or_open(
    connection: &mut PgConnection,
    sign: &Sign,
    now: Timestamp,
) -> Result<(CaseId, bool), sqlx::Error> {
    // Another dispatcher may open the same case between the look and the insert: then the insert does
    // nothing, and the second look finds it.
    loop {
        let found: Option<CaseId> = sqlx::query_scalar(
            "SELECT id FROM case_file
             WHERE closed_at IS NULL
               AND (asset_id = $1 AND ($2::uuid IS NULL OR failure_mode_id = $2)
                    OR id IN (SELECT m.merged_into FROM case_file m
                              WHERE m.asset_id = $1 AND m.merged_into IS NOT NULL
                                AND ($2::uuid IS NULL OR m.failure_mode_id = $2)))
             ORDER BY (asset_id = $1 AND failure_mode_id IS NOT DISTINCT FROM $2) DESC, opened_at, id LIMIT 1 FOR UPDATE",
        )
        .bind(sign.asset)
        .bind(sign.failure_mode)
        .fetch_optional(&mut *connection)
        .await?;
        if let Some(id) = found {
            sqlx::query(
                "UPDATE case_file SET severity = greatest(severity, $2), updated_at = $3, news_at = $3,
                     row_version = row_version + 1
                 WHERE id = $1",
            )
            .bind(id)
            .bind(sign.severity)
            .bind(now)
            .execute(connection)
            .await?;
            return Ok((id, false));
        }
        let id = CaseId::new();
        let opened = sqlx::query(
            "INSERT INTO case_file (id, tenant_id, asset_id, failure_mode_id, title, severity, opened_at, updated_at, news_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $7)
             ON CONFLICT (asset_id, failure_mode_id) WHERE closed_at IS NULL DO NOTHING",
        )
        .bind(id)
        .bind(sign.tenant)
        .bind(sign.asset)
        .bind(sign.failure_mode)
        .bind(&sign.title)
        .bind(sign.severity)
        .bind(now)
        .execute(&mut *connection)
        .await?
        .rows_affected()
            > 0;
        if opened {
            let detail = json!({ "title": sign.title, "severity": sign.severity });
            add_event(connection, sign.tenant, id, "opened", "dispatch", &detail).await?;
            outbox::append(
                connection,
                sign.tenant,
                "case.opened",
                &id.to_string(),
                Some(sign.asset),
                &detail,
            )
            .await?;
            return Ok((id, true));
        }
    }
}

/// What belongs to a case now.
///
/// # Errors
/// When the database does.
pub async fn evidence(connection: &mut PgConnection, id: CaseId) -> Result<Evidence, sqlx::Error> {
    let (running, quiet_since): (i64, Option<Timestamp>) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE condition <> 'inactive'), max(cleared_at) FROM alarm WHERE case_id = $1",
    )
    .bind(id)
    .fetch_one(&mut *connection)
    .await?;
    let (predictions, expired): (i64, Option<Timestamp>) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE status IN ('new', 'in_review', 'snoozed')), max(closed_at)
         FROM prediction WHERE case_id = $1",
    )
    .bind(id)
    .fetch_one(&mut *connection)
    .await?;
    let tickets: Vec<ticket::Status> = sqlx::query_scalar("SELECT status FROM ticket WHERE case_id = $1")
        .bind(id)
        .fetch_all(connection)
        .await?;
    Ok(Evidence {
        running_alarms: usize::try_from(running).unwrap_or(0),
        open_predictions: usize::try_from(predictions).unwrap_or(0),
        tickets,
        quiet_since: quiet_since.max(expired),
    })
}

/// Closes the cases with nothing left to do and gives how many those were. Cases that another
/// dispatcher is working on are left for the next pass.
///
/// # Errors
/// When the database does.
pub async fn close_finished(
    connection: &mut PgConnection,
    now: Timestamp,
    linger: std::time::Duration,
) -> Result<u64, sqlx::Error> {
    // Only those that can possibly be closed: nothing running, no ticket that isn't terminal.
    let quiet: Vec<(CaseId, TenantId, AssetId)> = sqlx::query_as(
        "SELECT id, tenant_id, asset_id FROM case_file c
         WHERE closed_at IS NULL
           AND NOT EXISTS (SELECT FROM alarm a WHERE a.case_id = c.id AND a.condition <> 'inactive')
           AND NOT EXISTS (SELECT FROM ticket t WHERE t.case_id = c.id AND t.status NOT IN ('closed', 'cancelled'))
           AND NOT EXISTS (SELECT FROM prediction p WHERE p.case_id = c.id AND p.status IN ('new', 'in_review', 'snoozed'))
         ORDER BY id LIMIT 500 FOR UPDATE SKIP LOCKED",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut closed = 0;
    for (id, tenant, asset) in quiet {
        // Looked at again under the lock: whoever adds an alarm or a ticket locks the case first.
        let evidence = evidence(connection, id).await?;
        let Some(reason) = case::may_close(&evidence, now, linger) else {
            continue;
        };
        sqlx::query(
            "UPDATE case_file SET closed_at = $2, close_reason = $3, updated_at = $2, row_version = row_version + 1
             WHERE id = $1",
        )
        .bind(id)
        .bind(now)
        .bind(reason)
        .execute(&mut *connection)
        .await?;
        let detail = json!({ "reason": reason });
        add_event(connection, tenant, id, "closed", "dispatch", &detail).await?;
        outbox::append(
            connection,
            tenant,
            "case.closed",
            &id.to_string(),
            Some(asset),
            &detail,
        )
        .await?;
        closed += 1;
    }
    Ok(closed)
}

/// What happened to a case.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct CaseEvent {
    pub id: i64,
    pub at: Timestamp,
    pub kind: String,
    pub actor: String,
    pub detail: Value,
}

/// The history of one case, oldest first.
///
/// # Errors
/// When the database does.
pub async fn events(connection: &mut PgConnection, id: CaseId) -> Result<Vec<CaseEvent>, sqlx::Error> {
    sqlx::query_as("SELECT id, at, kind, actor, detail FROM case_event WHERE case_id = $1 ORDER BY id")
        .bind(id)
        .fetch_all(connection)
        .await
}

pub(super) async fn add_event(
    connection: &mut PgConnection,
    tenant: TenantId,
    case: CaseId,
    kind: &str,
    actor: &str,
    detail: &Value,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO case_event (tenant_id, case_id, kind, actor, detail) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(tenant)
    .bind(case)
    .bind(kind)
    .bind(actor)
    .bind(detail)
    .execute(connection)
    .await?;
    Ok(())
}

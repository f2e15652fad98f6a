//! Occurrences: made by the scheduler, turned into tickets by the dispatcher, done with their ticket.

use serde_json::json;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::{PlanRow, select};
use crate::db::change::After;
use crate::db::outbox;
use crate::id::{AssetId, OccurrenceId, PlanId, TenantId, TicketId};
use crate::plan::{Basis, Day, Forecast, Making, OccurrenceStatus, Release};
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct OccurrenceRow {
    pub id: OccurrenceId,
    pub tenant_id: TenantId,
    pub plan_id: PlanId,
    pub plan_name: String,
    pub asset_id: AssetId,
    pub sequence: i32,
    pub status: OccurrenceStatus,
    pub due_date: Day,
    pub due_units: Option<f64>,
    pub trigger: String,
    pub explanation: String,
    pub missed: i32,
    pub created_at: Timestamp,
    pub ticket_id: Option<TicketId>,
    pub done_at: Option<Timestamp>,
    /// Skipped, because the parent plan's work includes it.
    pub absorbed: bool,
    pub absorbed_by: Option<OccurrenceId>,
}

macro_rules! select_occurrence {
    ($rest:literal) => {
        concat!(
            "SELECT o.*, p.name AS plan_name, p.asset_id FROM plan_occurrence o JOIN maintenance_plan p ON p.id = o.plan_id ",
            $rest
        )
    };
}

/// Every enabled plan, of all tenants, and whether it has an open occurrence. Not locked: for finding
/// out which of them are worth a look.
///
/// # Errors
/// When the database does.
pub async fn enabled(connection: &mut PgConnection) -> Result<Vec<(PlanRow, bool)>, sqlx::Error> {
    let rows: Vec<PlanRow> = sqlx::query_as(select!("WHERE p.enabled ORDER BY p.id"))
        .fetch_all(&mut *connection)
        .await?;
    let open: Vec<PlanId> = sqlx::query_scalar(
        "SELECT DISTINCT plan_id FROM plan_occurrence WHERE status IN ('due', 'ticketed')",
    )
    .fetch_all(connection)
    .await?;
    let open: std::collections::HashSet<PlanId> = open.into_iter().collect();
    Ok(rows
        .into_iter()
        .map(|row| {
            let is_open = open.contains(&row.id);
            (row, is_open)
        })
        .collect())
}

/// One plan, locked, and whether it has an open occurrence. `None` = gone, disabled, or another
/// scheduler has it.
///
/// # Errors
/// When the database does.
pub async fn lock(connection: &mut PgConnection, id: PlanId) -> Result<Option<(PlanRow, bool)>, sqlx::Error> {
    let row: Option<PlanRow> = sqlx::query_as(select!(
        "WHERE p.id = $1 AND p.enabled FOR UPDATE OF p SKIP LOCKED"
    ))
    .bind(id)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let open = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM plan_occurrence WHERE plan_id = $1 AND status IN ('due', 'ticketed'))",
    )
    .bind(id)
    .fetch_one(connection)
    .await?;
    Ok(Some((row, open)))
}

/// Makes an occurrence and moves the plan's anchor in one step. `None` = that sequence exists already.
/// The plan must be locked.
///
/// # Errors
/// When the database does.
pub async fn release(
    connection: &mut PgConnection,
    plan: &PlanRow,
    release: &Release,
) -> Result<Option<OccurrenceId>, sqlx::Error> {
    let id = OccurrenceId::new();
    let status = match release.making {
        Making::Skip | Making::Absorb => OccurrenceStatus::Skipped,
        Making::Create | Making::Supersede => OccurrenceStatus::Due,
    };
    let explanation = &release.explanation;
    let made = sqlx::query(
        "INSERT INTO plan_occurrence (id, tenant_id, plan_id, sequence, status, due_date, due_units, trigger, explanation, missed,
             absorbed)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (plan_id, sequence) DO NOTHING",
    )
    .bind(id)
    .bind(plan.tenant_id)
    .bind(plan.id)
    .bind(release.sequence)
    .bind(status)
    .bind(release.due_date)
    .bind(release.due_units)
    .bind(release.trigger.name())
    .bind(explanation)
    .bind(release.missed)
    .bind(release.making == Making::Absorb)
    .execute(&mut *connection)
    .await?
    .rows_affected()
        > 0;
    if !made {
        return Ok(None);
    }
    sqlx::query(
        "UPDATE maintenance_plan SET next_sequence = $2 + 1, anchor_date = $3, anchor_units = $4,
             row_version = row_version + 1 WHERE id = $1",
    )
    .bind(plan.id)
    .bind(release.sequence)
    .bind(release.next_anchor_date)
    .bind(release.next_anchor_units)
    .execute(&mut *connection)
    .await?;
    if release.making == Making::Supersede {
        sqlx::query(
            "UPDATE plan_occurrence SET status = 'superseded'
             WHERE plan_id = $1 AND sequence < $2 AND status IN ('due', 'ticketed')",
        )
        .bind(plan.id)
        .bind(release.sequence)
        .execute(&mut *connection)
        .await?;
    }
    let detail = json!({
        "plan_id": plan.id,
        "plan": plan.name,
        "sequence": release.sequence,
        "due_date": release.due_date,
        "status": status,
        "explanation": explanation,
    });
    outbox::append(
        connection,
        plan.tenant_id,
        "plan.due",
        &id.to_string(),
        Some(plan.asset_id),
        &detail,
    )
    .await?;
    Ok(Some(id))
}

/// Keeps what is expected next, for those who only read.
///
/// # Errors
/// When the database does.
pub async fn set_forecast(
    connection: &mut PgConnection,
    id: PlanId,
    forecast: &Forecast,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE maintenance_plan SET forecast = $2 WHERE id = $1 AND forecast IS DISTINCT FROM $2")
        .bind(id)
        .bind(Json(forecast))
        .execute(connection)
        .await?;
    Ok(())
}

/// Occurrences from new to old.
///
/// # Errors
/// When the database does.
pub async fn occurrences(
    connection: &mut PgConnection,
    plan: Option<PlanId>,
    statuses: &[OccurrenceStatus],
    after: After<OccurrenceId>,
    limit: i64,
) -> Result<Vec<OccurrenceRow>, sqlx::Error> {
    sqlx::query_as(select_occurrence!(
        "WHERE ($1::uuid IS NULL OR o.plan_id = $1) AND (cardinality($2::occurrence_status[]) = 0 OR o.status = ANY ($2))
           AND ($3::timestamptz IS NULL OR (o.created_at, o.id) < ($3, $4))
         ORDER BY o.created_at DESC, o.id DESC LIMIT $5"
    ))
    .bind(plan)
    .bind(statuses)
    .bind(after.map(|(at, _)| at))
    .bind(after.map(|(_, id)| id))
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// Occurrences that are due and have no ticket, of all tenants, locked; those that another dispatcher
/// has are left out.
///
/// # Errors
/// When the database does.
pub async fn take_due(connection: &mut PgConnection, limit: i64) -> Result<Vec<OccurrenceRow>, sqlx::Error> {
    sqlx::query_as(select_occurrence!(
        "WHERE o.status = 'due' ORDER BY o.created_at, o.id LIMIT $1 FOR UPDATE OF o SKIP LOCKED"
    ))
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// # Errors
/// When the database does.
pub async fn set_ticket(
    connection: &mut PgConnection,
    id: OccurrenceId,
    ticket: TicketId,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE plan_occurrence SET status = 'ticketed', ticket_id = $2 WHERE id = $1 AND status = 'due'",
    )
    .bind(id)
    .bind(ticket)
    .execute(connection)
    .await?;
    Ok(())
}

/// The work is done: a floating plan counts from here.
///
/// # Errors
/// When the database does.
pub async fn complete(
    connection: &mut PgConnection,
    id: OccurrenceId,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    // A ticket may stand for several occurrences: its work is theirs.
    for id in of_same_ticket(connection, id).await? {
        finish(connection, id, OccurrenceStatus::Done, at).await?;
    }
    Ok(())
}

/// The work won't be done: a floating plan counts from the day it was due.
///
/// # Errors
/// When the database does.
pub async fn skip(connection: &mut PgConnection, id: OccurrenceId, at: Timestamp) -> Result<(), sqlx::Error> {
    for id in of_same_ticket(connection, id).await? {
        finish(connection, id, OccurrenceStatus::Skipped, at).await?;
        // What the work would have included is due by itself again.
        sqlx::query(
            "UPDATE plan_occurrence SET status = 'due', absorbed = false, absorbed_by = NULL
             WHERE absorbed_by = $1 AND status = 'skipped'",
        )
        .bind(id)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// The occurrence and those that its ticket stands for as well.
async fn of_same_ticket(
    connection: &mut PgConnection,
    id: OccurrenceId,
) -> Result<Vec<OccurrenceId>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT o.id FROM plan_occurrence o JOIN plan_occurrence this ON this.id = $1
         WHERE o.id = $1 OR (o.ticket_id = this.ticket_id AND o.status IN ('due', 'ticketed')) ORDER BY o.id",
    )
    .bind(id)
    .fetch_all(connection)
    .await
}

/// The occurrence becomes part of a ticket that is open for the same cause: completing that completes
/// it. The ticket gets the plan's tasks from the caller.
///
/// # Errors
/// When the database does.
pub async fn merge_into_ticket(
    connection: &mut PgConnection,
    id: OccurrenceId,
    ticket: TicketId,
) -> Result<(), sqlx::Error> {
    set_ticket(connection, id, ticket).await?;
    sqlx::query("UPDATE ticket SET occurrence_id = $2 WHERE id = $1 AND occurrence_id IS NULL")
        .bind(ticket)
        .bind(id)
        .execute(connection)
        .await?;
    Ok(())
}

async fn finish(
    connection: &mut PgConnection,
    id: OccurrenceId,
    to: OccurrenceStatus,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    let plan_id: Option<PlanId> = sqlx::query_scalar("SELECT plan_id FROM plan_occurrence WHERE id = $1")
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(plan_id) = plan_id else { return Ok(()) };
    // The plan first, then the occurrence: the scheduler's order.
    let row: PlanRow = sqlx::query_as(select!("WHERE p.id = $1 FOR UPDATE OF p"))
        .bind(plan_id)
        .fetch_one(&mut *connection)
        .await?;
    let finished: Option<(Day, Option<f64>)> = sqlx::query_as(
        "UPDATE plan_occurrence SET status = $2, done_at = $3
         WHERE id = $1 AND status IN ('due', 'ticketed') RETURNING due_date, due_units",
    )
    .bind(id)
    .bind(to)
    .bind(at)
    .fetch_optional(&mut *connection)
    .await?;
    let (Some((due, due_units)), Basis::Floating) = (finished, row.basis) else {
        return Ok(());
    };
    let (day, units) = match to {
        OccurrenceStatus::Done => {
            let done = Day::at(at, &row.time_zone).unwrap_or(due);
            row.plan().anchor_after(due, due_units, done, row.meter_total)
        }
        _ => (due, due_units.or(row.meter_total).unwrap_or(row.anchor_units)),
    };
    sqlx::query(
        "UPDATE maintenance_plan SET anchor_date = $2, anchor_units = $3, row_version = row_version + 1 WHERE id = $1",
    )
    .bind(row.id)
    .bind(day)
    .bind(units)
    .execute(connection)
    .await?;
    Ok(())
}

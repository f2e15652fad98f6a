//! What people change on a ticket.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::create::{add_event, insert_task};
use crate::db::change::{ChangeError, Never};
use crate::db::{outbox, plan, prediction};
use crate::id::{AssetId, CaseId, FailureModeId, OccurrenceId, TaskId, TenantId, TicketId, UserId};
use crate::ticket::{Facts, NewTask, Origin, Outcome, Priority, Refusal, Status, check};
use crate::time::Timestamp;

/// What a person may set at any time while the ticket isn't done. `None` = leave as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Edit {
    pub title: Option<String>,
    pub description: Option<String>,
    pub priority: Option<Priority>,
    pub assignee_id: Option<UserId>,
    pub due_at: Option<Timestamp>,
    pub scheduled_start: Option<Timestamp>,
    pub scheduled_end: Option<Timestamp>,
    pub external_system: Option<String>,
    pub external_id: Option<String>,
}

/// What a person says with a transition. Everything given is stored when the transition is made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Coding {
    pub reason: Option<String>,
    pub assignee_id: Option<UserId>,
    pub scheduled_start: Option<Timestamp>,
    pub scheduled_end: Option<Timestamp>,
    pub found_failure_mode_id: Option<FailureModeId>,
    pub cause: Option<String>,
    pub remedy: Option<String>,
    pub outcome: Option<Outcome>,
}

/// What came of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskResult {
    pub done: bool,
    pub result: Option<Value>,
}

#[derive(Debug, sqlx::FromRow)]
struct Locked {
    tenant_id: TenantId,
    asset_id: AssetId,
    case_id: Option<CaseId>,
    occurrence_id: Option<OccurrenceId>,
    failure_mode_id: Option<FailureModeId>,
    origin: Origin,
    status: Status,
    assignee_id: Option<UserId>,
    scheduled_start: Option<Timestamp>,
    scheduled_end: Option<Timestamp>,
    found_failure_mode_id: Option<FailureModeId>,
    cause: Option<String>,
    remedy: Option<String>,
    outcome: Option<String>,
    completed_at: Option<Timestamp>,
    row_version: i32,
}

async fn lock(connection: &mut PgConnection, id: TicketId) -> Result<Option<Locked>, sqlx::Error> {
    sqlx::query_as("SELECT * FROM ticket WHERE id = $1 FOR UPDATE")
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// What the guards need to know of a ticket, with what the request brings. `None` = no such ticket.
/// Locks the ticket.
///
/// # Errors
/// When the database does.
pub async fn gather_facts(
    connection: &mut PgConnection,
    id: TicketId,
    coding: &Coding,
    now: Timestamp,
) -> Result<Option<(Status, Facts)>, sqlx::Error> {
    match lock(connection, id).await? {
        Some(row) => Ok(Some((
            row.status,
            facts_of(connection, id, &row, coding, now).await?,
        ))),
        None => Ok(None),
    }
}

async fn facts_of(
    connection: &mut PgConnection,
    id: TicketId,
    row: &Locked,
    coding: &Coding,
    now: Timestamp,
) -> Result<Facts, sqlx::Error> {
    let tasks: Vec<(String, bool, bool)> = sqlx::query_as(
        "SELECT text, mandatory, done_at IS NOT NULL FROM ticket_task WHERE ticket_id = $1 ORDER BY position",
    )
    .bind(id)
    .fetch_all(connection)
    .await?;
    let start = coding.scheduled_start.or(row.scheduled_start);
    let end = coding.scheduled_end.or(row.scheduled_end);
    Ok(Facts {
        reason: coding.reason.clone(),
        tasks: tasks.len(),
        has_actuals: tasks.iter().any(|(_, _, done)| *done),
        open_tasks: tasks
            .into_iter()
            .filter(|(_, mandatory, done)| *mandatory && !done)
            .map(|(text, ..)| text)
            .collect(),
        scheduled: start.zip(end),
        has_assignee: coding.assignee_id.or(row.assignee_id).is_some(),
        corrective: row.origin.is_corrective(),
        found_failure_mode: coding
            .found_failure_mode_id
            .or(row.found_failure_mode_id)
            .is_some(),
        cause: coding
            .cause
            .as_ref()
            .or(row.cause.as_ref())
            .is_some_and(|text| !text.trim().is_empty()),
        remedy: coding
            .remedy
            .as_ref()
            .or(row.remedy.as_ref())
            .is_some_and(|text| !text.trim().is_empty()),
        outcome: coding
            .outcome
            .or_else(|| row.outcome.as_deref().and_then(Outcome::parse)),
        completed_at: row.completed_at,
        now: Some(now),
        ..Facts::default()
    })
}

/// Moves a ticket, if its guards let it, and what hangs on it: the plan occurrence it came from, the
/// labels of the predictions it followed. Gives the new version.
///
/// # Errors
/// [`ChangeError::Refused`] with everything that is missing; [`ChangeError::Stale`].
pub async fn transition(
    connection: &mut PgConnection,
    id: TicketId,
    expected: Option<i32>,
    to: Status,
    coding: &Coding,
    actor: &str,
    now: Timestamp,
) -> Result<i32, ChangeError<Refusal>> {
    let row = lock(connection, id).await?.ok_or(ChangeError::NotFound)?;
    ChangeError::check_version(expected, row.row_version)?;
    let facts = facts_of(connection, id, &row, coding, now).await?;
    check(row.status, to, &facts).map_err(ChangeError::Refused)?;
    let reopened = row.status == Status::Completed && to == Status::InProgress;
    let version: i32 = sqlx::query_scalar(
        "UPDATE ticket SET status = $2, status_reason = $3, assignee_id = coalesce($4, assignee_id),
             scheduled_start = coalesce($5, scheduled_start), scheduled_end = coalesce($6, scheduled_end),
             found_failure_mode_id = coalesce($7, found_failure_mode_id), cause = coalesce($8, cause),
             remedy = coalesce($9, remedy), outcome = coalesce($10, outcome),
             started_at = CASE WHEN $2 = 'in_progress'::ticket_status THEN coalesce(started_at, $11) ELSE started_at END,
             completed_at = CASE WHEN $2 = 'completed'::ticket_status THEN $11
                                 WHEN $12 THEN NULL ELSE completed_at END,
             closed_at = CASE WHEN $2 IN ('closed'::ticket_status, 'cancelled') THEN $11 END,
             reopen_count = reopen_count + CASE WHEN $12 THEN 1 ELSE 0 END,
             row_version = row_version + 1, updated_at = now()
         WHERE id = $1 RETURNING row_version",
    )
    .bind(id)
    .bind(to)
    .bind(&coding.reason)
    .bind(coding.assignee_id)
    .bind(coding.scheduled_start)
    .bind(coding.scheduled_end)
    .bind(coding.found_failure_mode_id)
    .bind(&coding.cause)
    .bind(&coding.remedy)
    .bind(facts.outcome.map(Outcome::name))
    .bind(now)
    .bind(reopened)
    .fetch_one(&mut *connection)
    .await?;

    if let Some(occurrence) = row.occurrence_id {
        match to {
            Status::Completed => plan::complete(connection, occurrence, now).await?,
            Status::Cancelled => plan::skip(connection, occurrence, now).await?,
            _ => {}
        }
    }
    if let (Status::Closed, Some(outcome)) = (to, facts.outcome) {
        prediction::label_by_ticket(connection, id, outcome.into(), actor).await?;
        if outcome == Outcome::ConfirmedFailed {
            let mode = coding
                .found_failure_mode_id
                .or(row.found_failure_mode_id)
                .or(row.failure_mode_id);
            report_failure(connection, &row, mode, row.completed_at.unwrap_or(now)).await?;
        }
    }
    let detail = json!({
        "from": row.status,
        "to": to,
        "reason": coding.reason,
        "outcome": facts.outcome,
        "case_id": row.case_id,
    });
    add_event(connection, row.tenant_id, id, "transitioned", actor, &detail).await?;
    outbox::append(
        connection,
        row.tenant_id,
        "ticket.changed",
        &id.to_string(),
        Some(row.asset_id),
        &detail,
    )
    .await?;
    Ok(version)
}

/// What a technician found to have failed is a label for every model of the class.
async fn report_failure(
    connection: &mut PgConnection,
    row: &Locked,
    mode: Option<FailureModeId>,
    failed_at: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO failure_report (id, tenant_id, asset_id, failure_mode_id, failed_at, source)
         VALUES ($1, $2, $3, $4, $5, 'ticket') ON CONFLICT DO NOTHING",
    )
    .bind(crate::id::FailureReportId::new())
    .bind(row.tenant_id)
    .bind(row.asset_id)
    .bind(mode)
    .bind(failed_at)
    .execute(connection)
    .await?;
    Ok(())
}

/// Changes what is given and gives the new version.
///
/// # Errors
/// [`ChangeError::Stale`].
pub async fn edit(
    connection: &mut PgConnection,
    id: TicketId,
    expected: Option<i32>,
    edit: &Edit,
    actor: &str,
) -> Result<i32, ChangeError<Never>> {
    let row = lock(connection, id).await?.ok_or(ChangeError::NotFound)?;
    ChangeError::check_version(expected, row.row_version)?;
    let version = sqlx::query_scalar(
        "UPDATE ticket SET title = coalesce($2, title), description = coalesce($3, description),
             priority = coalesce($4, priority), assignee_id = coalesce($5, assignee_id), due_at = coalesce($6, due_at),
             scheduled_start = coalesce($7, scheduled_start), scheduled_end = coalesce($8, scheduled_end),
             external_system = coalesce($9, external_system), external_id = coalesce($10, external_id),
             row_version = row_version + 1, updated_at = now()
         WHERE id = $1 RETURNING row_version",
    )
    .bind(id)
    .bind(&edit.title)
    .bind(&edit.description)
    .bind(edit.priority)
    .bind(edit.assignee_id)
    .bind(edit.due_at)
    .bind(edit.scheduled_start)
    .bind(edit.scheduled_end)
    .bind(&edit.external_system)
    .bind(&edit.external_id)
    .fetch_one(&mut *connection)
    .await?;
    let detail = serde_json::to_value(edit).unwrap_or(Value::Null);
    add_event(connection, row.tenant_id, id, "edited", actor, &detail).await?;
    outbox::append(
        connection,
        row.tenant_id,
        "ticket.changed",
        &id.to_string(),
        Some(row.asset_id),
        &detail,
    )
    .await?;
    Ok(version)
}

/// # Errors
/// When there is no such ticket.
pub async fn comment(
    connection: &mut PgConnection,
    id: TicketId,
    text: &str,
    actor: &str,
) -> Result<(), ChangeError<Never>> {
    let row = lock(connection, id).await?.ok_or(ChangeError::NotFound)?;
    let detail = json!({ "text": text });
    add_event(connection, row.tenant_id, id, "comment", actor, &detail).await?;
    outbox::append(
        connection,
        row.tenant_id,
        "ticket.commented",
        &id.to_string(),
        Some(row.asset_id),
        &detail,
    )
    .await?;
    Ok(())
}

/// Adds a task at the end of the list.
///
/// # Errors
/// When there is no such ticket.
pub async fn add_task(
    connection: &mut PgConnection,
    id: TicketId,
    task: &NewTask,
    actor: &str,
) -> Result<TaskId, ChangeError<Never>> {
    let row = lock(connection, id).await?.ok_or(ChangeError::NotFound)?;
    let position: i32 =
        sqlx::query_scalar("SELECT coalesce(max(position), 0) + 1 FROM ticket_task WHERE ticket_id = $1")
            .bind(id)
            .fetch_one(&mut *connection)
            .await?;
    let task_id = insert_task(connection, row.tenant_id, id, position, task).await?;
    let detail = json!({ "task_id": task_id, "text": task.text });
    add_event(connection, row.tenant_id, id, "task_added", actor, &detail).await?;
    Ok(task_id)
}

/// Marks a task as done, or as not done after all. Doing it twice is no error; the last result stays.
///
/// # Errors
/// When the ticket has no such task.
pub async fn complete_task(
    connection: &mut PgConnection,
    id: TicketId,
    task: TaskId,
    result: &TaskResult,
    actor: &str,
    now: Timestamp,
) -> Result<(), ChangeError<Never>> {
    let row = lock(connection, id).await?.ok_or(ChangeError::NotFound)?;
    let text: Option<String> = sqlx::query_scalar(
        "UPDATE ticket_task SET result = $3, done_at = CASE WHEN $4 THEN $5 END, done_by = CASE WHEN $4 THEN $6 END
         WHERE id = $2 AND ticket_id = $1 RETURNING text",
    )
    .bind(id)
    .bind(task)
    .bind(&result.result)
    .bind(result.done)
    .bind(now)
    .bind(actor)
    .fetch_optional(&mut *connection)
    .await?;
    let text = text.ok_or(ChangeError::NotFound)?;
    let kind = if result.done { "task_done" } else { "task_undone" };
    let detail = json!({ "task_id": task, "text": text, "result": result.result });
    add_event(connection, row.tenant_id, id, kind, actor, &detail).await?;
    outbox::append(
        connection,
        row.tenant_id,
        "ticket.changed",
        &id.to_string(),
        Some(row.asset_id),
        &detail,
    )
    .await?;
    Ok(())
}

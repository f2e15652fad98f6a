//! What people change on a ticket.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::create::add_event;
use super::facts::{Locked, assignee_problems, facts_of, lock};
use crate::db::change::{ChangeError, Never};
use crate::db::{outbox, parts, plan, prediction, sla};
use crate::id::{FailureModeId, TicketId, UserId};
use crate::people::Skill;
use crate::ticket::{Outcome, Priority, Refusal, Status, check};
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
    /// A permit, or a lock-out, is needed for this ticket whatever its asset asks for. `false` takes back
    /// no requirement of the asset, its class or the failure mode.
    pub needs_permit: Option<bool>,
    pub needs_lockout: Option<bool>,
    pub required_skill: Option<Skill>,
}

/// What a person says with a transition. Everything given is stored when the transition is made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Coding {
    pub reason: Option<String>,
    /// One of `models::ticket::HOLD_CODES`, when it is put on hold.
    pub hold_code: Option<String>,
    pub assignee_id: Option<UserId>,
    pub scheduled_start: Option<Timestamp>,
    pub scheduled_end: Option<Timestamp>,
    pub found_failure_mode_id: Option<FailureModeId>,
    pub mechanism_code: Option<String>,
    pub cause: Option<String>,
    pub cause_code: Option<String>,
    pub remedy: Option<String>,
    pub remedy_code: Option<String>,
    pub detection_code: Option<String>,
    pub outcome: Option<Outcome>,
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
             assigned_at = CASE WHEN $2 IN ('assigned'::ticket_status, 'in_progress') THEN coalesce(assigned_at, $11)
                                ELSE assigned_at END,
             hold_code = CASE WHEN $2 = 'on_hold'::ticket_status THEN coalesce($13, 'other') END,
             mechanism_code = coalesce($14, mechanism_code), cause_code = coalesce($15, cause_code),
             remedy_code = coalesce($16, remedy_code), detection_code = coalesce($17, detection_code),
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
    .bind(&coding.hold_code)
    .bind(&coding.mechanism_code)
    .bind(&coding.cause_code)
    .bind(&coding.remedy_code)
    .bind(&coding.detection_code)
    .fetch_one(&mut *connection)
    .await?;

    follow(connection, id, &row, to, coding, now).await?;
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
            report_failure(connection, id, mode, actor, now).await?;
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

/// What hangs on the state: steps of the workflow, parts, service-level clocks.
async fn follow(
    connection: &mut PgConnection,
    id: TicketId,
    row: &Locked,
    to: Status,
    coding: &Coding,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let (tenant, asset) = (row.tenant_id, row.asset_id);
    // Who comes back to a state goes through its steps again.
    sqlx::query(
        "DELETE FROM ticket_step WHERE ticket_id = $1 AND step_id IN (SELECT id FROM workflow_step WHERE state = $2)",
    )
    .bind(id)
    .bind(to)
    .execute(&mut *connection)
    .await?;
    match to {
        Status::Accepted => {
            parts::reserve_for_ticket(connection, tenant, id, asset, row.failure_mode_id, now).await?;
        }
        Status::Closed | Status::Cancelled => {
            parts::release(connection, id, None, now).await?;
        }
        Status::OnHold => {
            let code = coding.hold_code.as_deref().unwrap_or("other");
            if sla::pauses(connection, tenant, row.priority, code).await? {
                sla::pause(connection, tenant, id, Some((code, now)), now).await?;
            }
        }
        _ => {}
    }
    if row.status == Status::OnHold {
        sla::pause(connection, tenant, id, None, now).await?;
    }
    if let (Status::Completed, Status::InProgress, Some(completed_at)) = (row.status, to, row.completed_at) {
        // Nobody worked on it while it counted as done: that time is not held against anybody.
        sla::pause(connection, tenant, id, Some(("completed", completed_at)), now).await?;
        sla::pause(connection, tenant, id, None, now).await?;
    }
    sla::refresh(connection, id, now).await
}

/// What a technician found to have failed is a label for every model of the class. It failed when it stopped, where a
/// stop was recorded; else when its alarm was raised or somebody called, because what is repaired had failed before.
/// A prediction or a plan makes its ticket before anything fails: there the work that found it is the first to know.
async fn report_failure(
    connection: &mut PgConnection,
    id: TicketId,
    mode: Option<FailureModeId>,
    actor: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "WITH work AS (
             SELECT t.*, coalesce(t.completed_at, $4) AS ended_at,
                    coalesce((SELECT a.active_at FROM alarm a
                              WHERE a.tenant_id = t.tenant_id AND a.asset_id = t.asset_id AND t.origin = 'alarm'
                                AND t.origin_key = 'alm_' || replace(a.id::text, '-', '')), t.created_at) AS called_at
             FROM ticket t WHERE t.id = $2)
         INSERT INTO failure_report (id, tenant_id, asset_id, failure_mode_id, failed_at, source, ticket_id,
             mechanism_code, cause_code, remedy_code, reported_by)
         SELECT $1, w.tenant_id, w.asset_id, $3,
                least(w.ended_at,
                      coalesce((SELECT min(d.started_at) FROM downtime d
                                WHERE d.tenant_id = w.tenant_id AND d.asset_id = w.asset_id AND NOT d.voided
                                  AND coalesce(d.reason, 'equipment_failure') = 'equipment_failure'
                                  AND d.started_at <= w.ended_at
                                  AND (d.ticket_id = w.id OR d.ended_at IS NULL OR d.ended_at > w.called_at)),
                               CASE WHEN w.origin IN ('prediction', 'plan') THEN w.started_at ELSE w.called_at END,
                               w.ended_at)),
                'ticket', w.id, w.mechanism_code, w.cause_code, w.remedy_code, $5
         FROM work w ON CONFLICT DO NOTHING",
    )
    .bind(crate::id::FailureReportId::new())
    .bind(id)
    .bind(mode)
    .bind(now)
    .bind(actor)
    .execute(connection)
    .await?;
    Ok(())
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    #[error("the ticket is {0}: what is done stays as it was; reopen it or make a new one")]
    Done(Status),
    #[error("the person can't take it over: {}", .0.iter().map(|one| one.detail.as_str()).collect::<Vec<_>>().join("; "))]
    Assignee(Vec<crate::ticket::Missing>),
    #[error("scheduled_end must lie after scheduled_start")]
    Window,
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
) -> Result<i32, ChangeError<EditError>> {
    let row = lock(connection, id).await?.ok_or(ChangeError::NotFound)?;
    ChangeError::check_version(expected, row.row_version)?;
    if row.status.is_terminal() {
        return Err(ChangeError::Refused(EditError::Done(row.status)));
    }
    let window = (edit.scheduled_start.or(row.scheduled_start)).zip(edit.scheduled_end.or(row.scheduled_end));
    if window.is_some_and(|(start, end)| end <= start) {
        return Err(ChangeError::Refused(EditError::Window));
    }
    // Once somebody is on it, whoever takes over passes the same gate.
    let manned = matches!(row.status, Status::Assigned | Status::InProgress | Status::OnHold);
    if manned
        && (edit.assignee_id.is_some() || edit.scheduled_start.is_some() || edit.scheduled_end.is_some())
    {
        let assignee = edit.assignee_id.or(row.assignee_id);
        let problems = assignee_problems(connection, id, &row, assignee, window).await?;
        if !problems.is_empty() {
            return Err(ChangeError::Refused(EditError::Assignee(problems)));
        }
    }
    let version = sqlx::query_scalar(
        "UPDATE ticket SET title = coalesce($2, title), description = coalesce($3, description),
             priority = coalesce($4, priority), assignee_id = coalesce($5, assignee_id), due_at = coalesce($6, due_at),
             scheduled_start = coalesce($7, scheduled_start), scheduled_end = coalesce($8, scheduled_end),
             external_system = coalesce($9, external_system), external_id = coalesce($10, external_id),
             needs_permit = coalesce($11, needs_permit), needs_lockout = coalesce($12, needs_lockout),
             required_skill = coalesce($13, required_skill),
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
    .bind(edit.needs_permit)
    .bind(edit.needs_lockout)
    .bind(edit.required_skill)
    .fetch_one(&mut *connection)
    .await?;
    if edit.priority.is_some() {
        sla::refresh(connection, id, Timestamp::now()).await?;
    }
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

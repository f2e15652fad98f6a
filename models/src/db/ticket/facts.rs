//! What the guards of a ticket look at, gathered.

use sqlx::PgConnection;

use super::change::Coding;
use crate::coding::OTHER;
use crate::db::{failure, lockout, parts, people, permit};
use crate::id::{AssetId, CaseId, FailureModeId, OccurrenceId, TenantId, TicketId, UserId};
use crate::interval::Span;
use crate::tenant::MemberRole;
use crate::ticket::{Facts, Gate, Missing, Origin, Outcome, Priority, Status};
use crate::time::Timestamp;

#[derive(Debug, sqlx::FromRow)]
pub(super) struct Locked {
    pub tenant_id: TenantId,
    pub asset_id: AssetId,
    pub case_id: Option<CaseId>,
    pub occurrence_id: Option<OccurrenceId>,
    pub failure_mode_id: Option<FailureModeId>,
    pub origin: Origin,
    pub status: Status,
    pub priority: Priority,
    pub assignee_id: Option<UserId>,
    pub scheduled_start: Option<Timestamp>,
    pub scheduled_end: Option<Timestamp>,
    pub found_failure_mode_id: Option<FailureModeId>,
    pub cause: Option<String>,
    pub cause_code: Option<String>,
    pub remedy: Option<String>,
    pub remedy_code: Option<String>,
    pub outcome: Option<String>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub completed_at: Option<Timestamp>,
    pub row_version: i32,
}

pub(super) async fn lock(connection: &mut PgConnection, id: TicketId) -> Result<Option<Locked>, sqlx::Error> {
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

/// What stands against the assignee.
pub(super) async fn assignee_problems(
    connection: &mut PgConnection,
    id: TicketId,
    row: &Locked,
    assignee: Option<UserId>,
    window: Option<(Timestamp, Timestamp)>,
) -> Result<Vec<Missing>, sqlx::Error> {
    let Some(assignee) = assignee else {
        return Ok(Vec::new());
    };
    let window = window
        .map(|(start, end)| Span::new(start, end))
        .filter(|span| !span.is_empty());
    people::problems(connection, row.tenant_id, id, assignee, window).await
}

/// A code says it; `other` needs the text beside it.
fn said(code: Option<&String>, text: Option<&String>) -> bool {
    let has_text = text.is_some_and(|text| !text.trim().is_empty());
    has_text || code.is_some_and(|code| !code.is_empty() && code != OTHER)
}

pub(super) async fn facts_of(
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
    .fetch_all(&mut *connection)
    .await?;
    let posted: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM part_posting WHERE ticket_id = $1)")
        .bind(id)
        .fetch_one(&mut *connection)
        .await?;
    let open_steps: Vec<(String, Option<MemberRole>)> = sqlx::query_as(
        "SELECT s.name, s.role FROM workflow_step s
         WHERE s.tenant_id = $1 AND s.state = $2 AND s.mandatory AND s.enabled
           AND NOT EXISTS (SELECT FROM ticket_step d WHERE d.ticket_id = $3 AND d.step_id = s.id)
         ORDER BY s.position, s.code",
    )
    .bind(row.tenant_id)
    .bind(row.status)
    .bind(id)
    .fetch_all(&mut *connection)
    .await?;
    let blocked_by: Vec<i32> = sqlx::query_scalar(
        "SELECT o.number FROM ticket_relation r JOIN ticket o ON o.id = r.other_id
         WHERE r.ticket_id = $1 AND r.kind = 'blocked_by' AND o.status NOT IN ('completed', 'closed', 'cancelled')
         ORDER BY o.number",
    )
    .bind(id)
    .fetch_all(&mut *connection)
    .await?;
    let case_ticket: Option<i32> = sqlx::query_scalar(
        "SELECT number FROM ticket WHERE case_id = $1 AND id <> $2 AND status NOT IN ('completed', 'closed', 'cancelled')",
    )
    .bind(row.case_id)
    .bind(id)
    .fetch_optional(&mut *connection)
    .await?;
    let asked = people::asked(connection, id).await?;
    let (procedures, hanging) = lockout::state(connection, id, row.asset_id).await?;
    let held = permit::held(connection, id).await?;
    let scheduled = coding
        .scheduled_start
        .or(row.scheduled_start)
        .zip(coding.scheduled_end.or(row.scheduled_end));
    let assignee = coding.assignee_id.or(row.assignee_id);
    let since = row.started_at.unwrap_or(row.created_at);
    Ok(Facts {
        reason: coding.reason.clone(),
        tasks: tasks.len(),
        has_actuals: posted || tasks.iter().any(|(_, _, done)| *done),
        open_tasks: tasks
            .into_iter()
            .filter(|(_, mandatory, done)| *mandatory && !done)
            .map(|(text, ..)| text)
            .collect(),
        scheduled,
        has_assignee: assignee.is_some(),
        assignee_problems: assignee_problems(connection, id, row, assignee, scheduled).await?,
        open_steps: open_steps
            .into_iter()
            .map(|(name, role)| match role {
                Some(role) => format!("“{name}” (by a {})", role_name(role)),
                None => format!("“{name}”"),
            })
            .collect(),
        blocked_by,
        case_ticket,
        parts: parts::gate(connection, id).await?,
        parts_posted: parts::posted_gate(connection, id).await?,
        permit: crate::permit::gate(asked.permit, &held, now),
        lockout: crate::lockout::start_gate(asked.lockout, &procedures),
        locks_removed: match crate::lockout::end_gate(&hanging) {
            Gate::Satisfied if !asked.lockout => Gate::NotNeeded,
            gate => gate,
        },
        downtime: failure::gate(connection, id, row.asset_id, since).await?,
        corrective: row.origin.is_corrective(),
        found_failure_mode: coding
            .found_failure_mode_id
            .or(row.found_failure_mode_id)
            .is_some(),
        cause: said(
            coding.cause_code.as_ref().or(row.cause_code.as_ref()),
            coding.cause.as_ref().or(row.cause.as_ref()),
        ),
        remedy: said(
            coding.remedy_code.as_ref().or(row.remedy_code.as_ref()),
            coding.remedy.as_ref().or(row.remedy.as_ref()),
        ),
        outcome: coding
            .outcome
            .or_else(|| row.outcome.as_deref().and_then(Outcome::parse)),
        completed_at: row.completed_at,
        now: Some(now),
    })
}

pub(super) fn role_name(role: MemberRole) -> &'static str {
    match role {
        MemberRole::Viewer => "viewer",
        MemberRole::Operator => "operator",
        MemberRole::Technician => "technician",
        MemberRole::Planner => "planner",
        MemberRole::ReliabilityEngineer => "reliability engineer",
        MemberRole::SafetyOfficer => "safety officer",
        MemberRole::TenantAdmin => "tenant administrator",
    }
}

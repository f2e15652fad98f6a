//! A ticket as JSON.

use models::db::overview;
use models::db::sla::SlaClockView;
use models::db::ticket::{self, AttachmentRow, RelationRow, TaskRow, TicketStep, TicketView};
use models::id::{AssetId, CaseId, FailureModeId, MeterId, OccurrenceId, SiteId, TaskId, TicketId, UserId};
use models::people::Skill;
use models::ticket::{Origin, Priority, Status};
use models::time::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::super::cases::Decision;
use super::super::{FailureModeRef, HistoryEvent, Named};
use crate::error::Problem;

#[derive(Serialize, ToSchema)]
pub struct Ticket {
    pub(super) id: TicketId,
    /// What people say aloud.
    #[schema(example = 117)]
    number: i32,
    title: String,
    description: String,
    asset: Named<AssetId>,
    site: Named<SiteId>,
    case_id: Option<CaseId>,
    occurrence_id: Option<OccurrenceId>,
    failure_mode: Option<FailureModeRef>,
    origin: Origin,
    status: Status,
    /// Why on hold, why cancelled.
    status_reason: Option<String>,
    /// What it waits for while it is on hold.
    hold_code: Option<String>,
    /// Asked for by this ticket itself; its asset, class and failure mode may ask for more.
    needs_permit: bool,
    needs_lockout: bool,
    required_skill: Option<Skill>,
    priority: Priority,
    assignee: Option<Named<UserId>>,
    due_at: Option<Timestamp>,
    scheduled_start: Option<Timestamp>,
    scheduled_end: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
    started_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
    closed_at: Option<Timestamp>,
    pub(super) row_version: i32,
}

impl From<TicketView> for Ticket {
    fn from(row: TicketView) -> Self {
        Self {
            id: row.id,
            number: row.number,
            title: row.title,
            description: row.description,
            asset: Named::new(row.asset_id, row.asset_name),
            site: Named::new(row.site_id, row.site_name),
            case_id: row.case_id,
            occurrence_id: row.occurrence_id,
            failure_mode: FailureModeRef::maybe(
                row.failure_mode_id,
                row.failure_mode_code,
                row.failure_mode_name,
            ),
            origin: row.origin,
            status: row.status,
            status_reason: row.status_reason,
            hold_code: row.hold_code,
            needs_permit: row.needs_permit,
            needs_lockout: row.needs_lockout,
            required_skill: row.required_skill,
            priority: row.priority,
            assignee: Named::maybe(row.assignee_id, row.assignee_name),
            due_at: row.due_at,
            scheduled_start: row.scheduled_start,
            scheduled_end: row.scheduled_end,
            created_at: row.created_at,
            updated_at: row.updated_at,
            started_at: row.started_at,
            completed_at: row.completed_at,
            closed_at: row.closed_at,
            row_version: row.row_version,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct Task {
    id: TaskId,
    position: i32,
    /// `check`, `number`, `meter`, `photo` or `signature`.
    kind: String,
    text: String,
    mandatory: bool,
    min_value: Option<f64>,
    max_value: Option<f64>,
    unit: Option<String>,
    meter_id: Option<MeterId>,
    result: Option<Value>,
    /// What was done about a number outside its limits.
    note: Option<String>,
    done_at: Option<Timestamp>,
    done_by: Option<String>,
}

impl From<TaskRow> for Task {
    fn from(row: TaskRow) -> Self {
        Self {
            id: row.id,
            position: row.position,
            kind: row.kind,
            text: row.text,
            mandatory: row.mandatory,
            min_value: row.min_value,
            max_value: row.max_value,
            unit: row.unit,
            meter_id: row.meter_id,
            result: row.result,
            note: row.note,
            done_at: row.done_at,
            done_by: row.done_by,
        }
    }
}

/// A ticket with everything that stands on its page.
#[derive(Serialize, ToSchema)]
pub struct TicketDetail {
    #[serde(flatten)]
    pub(super) ticket: Ticket,
    repeat_of: Option<TicketId>,
    reopen_count: i32,
    found_failure_mode_id: Option<FailureModeId>,
    cause: Option<String>,
    remedy: Option<String>,
    mechanism_code: Option<String>,
    cause_code: Option<String>,
    remedy_code: Option<String>,
    detection_code: Option<String>,
    outcome: Option<String>,
    external_system: Option<String>,
    external_id: Option<String>,
    tasks: Vec<Task>,
    /// Steps of the tenant's workflow in the state it is in.
    steps: Vec<TicketStep>,
    /// Service-level clocks; none when no policy covers it.
    sla: Vec<SlaClockView>,
    relations: Vec<RelationRow>,
    attachments: Vec<AttachmentRow>,
    /// Oldest first.
    events: Vec<HistoryEvent>,
    /// Why it was made; `null` when a person made it.
    decision: Option<Decision>,
}

/// Everything about one ticket.
///
/// # Errors
/// 404 when there is no such ticket.
pub async fn detail(db: &mut PgConnection, id: TicketId) -> Result<TicketDetail, Problem> {
    let row = ticket::get(db, id).await?.ok_or_else(Problem::not_found)?;
    let tasks = ticket::tasks(db, id).await?.into_iter().map(Into::into).collect();
    let events = ticket::events(db, id).await?;
    let events = events
        .into_iter()
        .map(|event| HistoryEvent {
            at: event.at,
            kind: event.kind,
            actor: event.actor,
            detail: event.detail,
        })
        .collect();
    let steps = ticket::steps_of(db, id).await?;
    let sla = models::db::sla::clocks(db, id, Timestamp::now()).await?;
    let relations = ticket::relations(db, id).await?;
    let attachments = ticket::attachments(db, id).await?;
    let decision = overview::decision_of_ticket(db, id).await?.map(Into::into);
    Ok(TicketDetail {
        repeat_of: row.repeat_of,
        reopen_count: row.reopen_count,
        found_failure_mode_id: row.found_failure_mode_id,
        cause: row.cause.clone(),
        remedy: row.remedy.clone(),
        mechanism_code: row.mechanism_code.clone(),
        cause_code: row.cause_code.clone(),
        remedy_code: row.remedy_code.clone(),
        detection_code: row.detection_code.clone(),
        outcome: row.outcome.clone(),
        external_system: row.external_system.clone(),
        external_id: row.external_id.clone(),
        tasks,
        steps,
        sla,
        relations,
        attachments,
        events,
        decision,
        ticket: row.into(),
    })
}

//! Tickets: work on assets.

use axum::Json;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use models::db::change::ChangeError;
use models::db::ticket::{self, Coding, Edit, Filter, TaskResult, TaskRow, TicketView};
use models::db::{auth, overview};
use models::id::{AssetId, CaseId, FailureModeId, OccurrenceId, SiteId, TaskId, TicketId, UserId};
use models::ticket::{NewTask, Origin, Outcome, Priority, Refusal, Status, Transition};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::cases::Decision;
use super::{FailureModeRef, HistoryEvent, Named, check_asset, words};
use crate::error::{Kind, Problem};
use crate::extract::may::{TicketsRead, TicketsWrite};
use crate::extract::{Answer, Command, Path, Query, Tenant, etag};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, change))
        .routes(routes!(transitions, transition))
        .routes(routes!(add_task))
        .routes(routes!(complete_task))
        .routes(routes!(comment))
}

#[derive(Serialize, ToSchema)]
pub struct Ticket {
    id: TicketId,
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
    row_version: i32,
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
    result: Option<Value>,
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
            result: row.result,
            done_at: row.done_at,
            done_by: row.done_by,
        }
    }
}

/// A ticket with everything that stands on its page.
#[derive(Serialize, ToSchema)]
pub struct TicketDetail {
    #[serde(flatten)]
    ticket: Ticket,
    repeat_of: Option<TicketId>,
    reopen_count: i32,
    found_failure_mode_id: Option<FailureModeId>,
    cause: Option<String>,
    remedy: Option<String>,
    outcome: Option<String>,
    external_system: Option<String>,
    external_id: Option<String>,
    tasks: Vec<Task>,
    /// Oldest first.
    events: Vec<HistoryEvent>,
    /// Why it was made; `null` when a person made it.
    decision: Option<Decision>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TicketQuery {
    /// By comma: `open,assigned`. All when left out.
    status: Option<String>,
    asset_id: Option<AssetId>,
    case_id: Option<CaseId>,
    /// Only those assigned to the one who asks.
    #[serde(default)]
    mine: bool,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Tickets, the newest first.
#[utoipa::path(get, path = "/v1/tickets", operation_id = "list_tickets", tag = "tickets", params(TicketQuery),
    responses((status = 200, body = Page<Ticket>)), security(("bearer" = ["tickets:read"])))]
async fn list(
    mut tenant: Tenant<TicketsRead>,
    Query(query): Query<TicketQuery>,
) -> Result<Json<Page<Ticket>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after = page::read_cursor("tickets", query.cursor.as_deref())?;
    let assignee = match (query.mine, tenant.principal.user()) {
        (false, _) => None,
        (true, Some(user)) => Some(user),
        (true, None) => return Err(Problem::query("mine", "a key is nobody's assignee")),
    };
    let statuses = words("status", query.status.as_deref())?;
    let filter = Filter {
        statuses,
        asset: query.asset_id,
        case: query.case_id,
        assignee,
    };
    let rows = ticket::list(tenant.db(), &filter, after, limit + 1).await?;
    Ok(Json(Page::of(
        "tickets",
        limit,
        rows,
        |row| (row.created_at, row.id),
        Into::into,
    )))
}

async fn detail(db: &mut PgConnection, id: TicketId) -> Result<TicketDetail, Problem> {
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
    let decision = overview::decision_of_ticket(db, id).await?.map(Into::into);
    Ok(TicketDetail {
        repeat_of: row.repeat_of,
        reopen_count: row.reopen_count,
        found_failure_mode_id: row.found_failure_mode_id,
        cause: row.cause.clone(),
        remedy: row.remedy.clone(),
        outcome: row.outcome.clone(),
        external_system: row.external_system.clone(),
        external_id: row.external_id.clone(),
        tasks,
        events,
        decision,
        ticket: row.into(),
    })
}

async fn finish<T>(mut command: Command<TicketsWrite, T>, id: TicketId) -> Result<Response, Problem> {
    let shown = detail(command.db(), id).await?;
    let version = shown.ticket.row_version;
    command.finish(Answer::ok(&shown)?.version(version)).await
}

/// One ticket with its tasks, its history and why it was made.
#[utoipa::path(get, path = "/v1/tickets/{id}", operation_id = "get_ticket", tag = "tickets",
    params(("id" = TicketId, Path)), responses((status = 200, body = TicketDetail)),
    security(("bearer" = ["tickets:read"])))]
async fn get(mut tenant: Tenant<TicketsRead>, Path(id): Path<TicketId>) -> Result<Response, Problem> {
    let shown = detail(tenant.db(), id).await?;
    Ok(([(ETAG, etag(shown.ticket.row_version))], Json(shown)).into_response())
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "asset_id": "ast_0198c4f2a1b27c3d8e4f5a6b7c8d9e0f", "title": "Oil on the floor",
    "priority": "medium", "tasks": [{ "kind": "check", "text": "find the leak" }] }))]
pub struct CreateTicket {
    asset_id: AssetId,
    title: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    priority: Priority,
    failure_mode_id: Option<FailureModeId>,
    assignee_id: Option<UserId>,
    due_at: Option<Timestamp>,
    #[serde(default)]
    tasks: Vec<NewTask>,
}

/// An assignee must be a member: a foreign id would otherwise be kept.
async fn check_assignee(db: &mut PgConnection, assignee: Option<UserId>) -> Result<(), Problem> {
    if let Some(assignee) = assignee
        && auth::current_membership(db, assignee).await?.is_none()
    {
        return Err(Problem::field("/assignee_id", "not a member of this tenant"));
    }
    Ok(())
}

fn check_title(title: &str) -> Result<(), Problem> {
    if title.trim().is_empty() || title.len() > 300 {
        return Err(Problem::field("/title", "a title has 1 to 300 characters"));
    }
    Ok(())
}

/// Ask for work.
#[utoipa::path(post, path = "/v1/tickets", operation_id = "create_ticket", tag = "tickets",
    request_body = CreateTicket, responses((status = 201, body = TicketDetail)),
    security(("bearer" = ["tickets:write"])))]
async fn create(mut command: Command<TicketsWrite, CreateTicket>) -> Result<Response, Problem> {
    check_title(&command.body.title)?;
    let (asset, assignee) = (command.body.asset_id, command.body.assignee_id);
    check_asset(command.db(), "/asset_id", asset).await?;
    check_assignee(command.db(), assignee).await?;
    let (tenant, actor) = (command.principal().tenant, command.principal().name());
    let body = &mut command.body;
    let new = ticket::NewTicket {
        tenant,
        asset,
        case: None,
        occurrence: None,
        failure_mode: body.failure_mode_id,
        origin: Origin::Person,
        origin_key: format!("person:{}", TicketId::new()),
        title: body.title.trim().to_owned(),
        description: std::mem::take(&mut body.description),
        priority: body.priority,
        due_at: body.due_at,
        repeat_of: None,
        tasks: std::mem::take(&mut body.tasks),
    };
    let id = ticket::create(command.db(), &new, &actor).await?.id();
    if assignee.is_some() {
        let edit = Edit {
            assignee_id: assignee,
            ..Edit::default()
        };
        ticket::edit(command.db(), id, None, &edit, &actor).await?;
    }
    command
        .audit("ticket.create", &id.to_string(), &json!({ "title": new.title }))
        .await?;
    let shown = detail(command.db(), id).await?;
    let version = shown.ticket.row_version;
    command
        .finish(Answer::created(format!("/v1/tickets/{id}"), &shown)?.version(version))
        .await
}

/// Change what is given; the rest stays. The status changes by a transition.
#[utoipa::path(patch, path = "/v1/tickets/{id}", operation_id = "change_ticket", tag = "tickets",
    params(("id" = TicketId, Path), ("if-match" = String, Header)), request_body = Edit,
    responses((status = 200, body = TicketDetail)), security(("bearer" = ["tickets:write"])))]
async fn change(
    Path(id): Path<TicketId>,
    mut command: Command<TicketsWrite, Edit>,
) -> Result<Response, Problem> {
    ticket::get(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let (edit, actor, expected) = (
        std::mem::take(&mut command.body),
        command.principal().name(),
        command.expected()?,
    );
    if let Some(title) = &edit.title {
        check_title(title)?;
    }
    check_assignee(command.db(), edit.assignee_id).await?;
    ticket::edit(command.db(), id, Some(expected), &edit, &actor).await?;
    command
        .audit(
            "ticket.change",
            &id.to_string(),
            &json!({ "from_version": expected }),
        )
        .await?;
    finish(command, id).await
}

#[derive(Serialize, ToSchema)]
pub struct Transitions {
    data: Vec<Transition>,
}

/// Every next state and what it still needs.
#[utoipa::path(get, path = "/v1/tickets/{id}/transitions", operation_id = "list_ticket_transitions",
    tag = "tickets", params(("id" = TicketId, Path)), responses((status = 200, body = Transitions)),
    security(("bearer" = ["tickets:read"])))]
async fn transitions(
    mut tenant: Tenant<TicketsRead>,
    Path(id): Path<TicketId>,
) -> Result<Json<Transitions>, Problem> {
    let facts = ticket::gather_facts(tenant.db(), id, &Coding::default(), Timestamp::now()).await?;
    let (status, facts) = facts.ok_or_else(Problem::not_found)?;
    Ok(Json(Transitions {
        data: models::ticket::transitions(status, &facts),
    }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "to": "in_progress" }))]
pub struct MoveTicket {
    to: Status,
    /// Why on hold, why cancelled.
    reason: Option<String>,
    assignee_id: Option<UserId>,
    scheduled_start: Option<Timestamp>,
    scheduled_end: Option<Timestamp>,
    /// What was found, asked for at completion.
    found_failure_mode_id: Option<FailureModeId>,
    cause: Option<String>,
    remedy: Option<String>,
    outcome: Option<Outcome>,
}

fn gate(error: ChangeError<Refusal>) -> Problem {
    match error {
        ChangeError::Refused(Refusal::Missing { to, missing }) => Problem {
            missing,
            ..Problem::new(Kind::Refused, format!("the ticket can't become {to} yet"))
        },
        ChangeError::Refused(refusal @ Refusal::NoSuchTransition { .. }) => {
            Problem::new(Kind::Conflict, refusal.to_string())
        }
        other => other.into(),
    }
}

/// Move a ticket. What it needs and doesn't have stands in `missing` of the refusal.
#[utoipa::path(post, path = "/v1/tickets/{id}/transitions", operation_id = "move_ticket", tag = "tickets",
    params(("id" = TicketId, Path), ("if-match" = String, Header)), request_body = MoveTicket,
    responses((status = 200, body = TicketDetail)), security(("bearer" = ["tickets:write"])))]
async fn transition(
    Path(id): Path<TicketId>,
    mut command: Command<TicketsWrite, MoveTicket>,
) -> Result<Response, Problem> {
    ticket::get(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let (actor, expected, to) = (command.principal().name(), command.expected()?, command.body.to);
    let assignee = command.body.assignee_id;
    check_assignee(command.db(), assignee).await?;
    let body = &mut command.body;
    let coding = Coding {
        reason: body.reason.take(),
        assignee_id: assignee,
        scheduled_start: body.scheduled_start,
        scheduled_end: body.scheduled_end,
        found_failure_mode_id: body.found_failure_mode_id,
        cause: body.cause.take(),
        remedy: body.remedy.take(),
        outcome: body.outcome,
    };
    ticket::transition(
        command.db(),
        id,
        Some(expected),
        to,
        &coding,
        &actor,
        Timestamp::now(),
    )
    .await
    .map_err(gate)?;
    command
        .audit("ticket.transition", &id.to_string(), &json!({ "to": to }))
        .await?;
    finish(command, id).await
}

/// Add a task at the end of the list.
#[utoipa::path(post, path = "/v1/tickets/{id}/tasks", operation_id = "add_task", tag = "tickets",
    params(("id" = TicketId, Path)),
    request_body(content = NewTask, example = json!({ "kind": "check", "text": "grease both bearings" })),
    responses((status = 200, body = TicketDetail)), security(("bearer" = ["tickets:write"])))]
async fn add_task(
    Path(id): Path<TicketId>,
    mut command: Command<TicketsWrite, NewTask>,
) -> Result<Response, Problem> {
    ticket::get(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let (task, actor) = (command.body.clone(), command.principal().name());
    if task.text.trim().is_empty() {
        return Err(Problem::field("/text", "say what is to be done"));
    }
    ticket::add_task(command.db(), id, &task, &actor).await?;
    finish(command, id).await
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "result": 4.2 }))]
pub struct TaskDone {
    /// What came of it: a number, a text, `true`.
    result: Option<Value>,
    /// `false` takes it back.
    done: Option<bool>,
}

/// Mark a task as done, or take it back.
#[utoipa::path(post, path = "/v1/tickets/{id}/tasks/{task_id}/done", operation_id = "complete_task", tag = "tickets",
    params(("id" = TicketId, Path), ("task_id" = TaskId, Path)), request_body = TaskDone,
    responses((status = 200, body = TicketDetail)), security(("bearer" = ["tickets:write"])))]
async fn complete_task(
    Path((id, task)): Path<(TicketId, TaskId)>,
    mut command: Command<TicketsWrite, TaskDone>,
) -> Result<Response, Problem> {
    let actor = command.principal().name();
    let result = TaskResult {
        done: command.body.done.unwrap_or(true),
        result: command.body.result.take(),
    };
    ticket::complete_task(command.db(), id, task, &result, &actor, Timestamp::now()).await?;
    command
        .audit(
            "ticket.task",
            &task.to_string(),
            &json!({ "ticket": id, "done": result.done }),
        )
        .await?;
    finish(command, id).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Comment {
    #[schema(example = "The seal is wet; ordered a new one.")]
    text: String,
}

/// Say something.
#[utoipa::path(post, path = "/v1/tickets/{id}/comments", operation_id = "comment_ticket", tag = "tickets",
    params(("id" = TicketId, Path)), request_body = Comment, responses((status = 200, body = TicketDetail)),
    security(("bearer" = ["tickets:write"])))]
async fn comment(
    Path(id): Path<TicketId>,
    mut command: Command<TicketsWrite, Comment>,
) -> Result<Response, Problem> {
    ticket::get(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let (text, actor) = (command.body.text.trim().to_owned(), command.principal().name());
    if text.is_empty() || text.len() > 10_000 {
        return Err(Problem::field("/text", "a comment has 1 to 10000 characters"));
    }
    ticket::comment(command.db(), id, &text, &actor).await?;
    finish(command, id).await
}

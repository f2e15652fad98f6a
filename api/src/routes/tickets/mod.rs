//! Tickets: work on assets.

mod attachments;
mod locks;
mod parts;
mod relations;
mod tasks;
mod view;

use axum::Json;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use models::asset::AssetStatus;
use models::db::change::ChangeError;
use models::db::ticket::{self, Coding, Edit, EditError, Filter};
use models::db::{auth, overview};
use models::id::{AssetId, CaseId, FailureModeId, SiteId, TicketId, UserId};
use models::people::Skill;
use models::ticket::{HOLD_CODES, NewTask, Origin, Outcome, Priority, Refusal, Status, Transition};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{check_asset, words};
use crate::error::{Kind, Problem};
use crate::extract::may::{TicketsRead, TicketsWrite};
use crate::extract::{Answer, Command, Path, Query, Tenant, etag};
use crate::page::{self, Page};
use crate::state::App;
use view::{Ticket, TicketDetail, detail};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, change))
        .routes(routes!(transitions, transition))
        .routes(routes!(comment))
        .merge(tasks::routes())
        .merge(relations::routes())
        .merge(attachments::routes())
        .merge(locks::routes())
        .merge(parts::routes())
}

/// 404 unless the ticket can be seen: asked before a body is judged, so that nobody learns what others have.
async fn must_see(db: &mut PgConnection, id: TicketId) -> Result<(), Problem> {
    ticket::get(db, id)
        .await?
        .map(drop)
        .ok_or_else(Problem::not_found)
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
    assignee_id: Option<UserId>,
    site_id: Option<SiteId>,
    /// By comma: `high,critical`. All when left out.
    priority: Option<String>,
    /// Only those that are still to be done and due before this moment; now gives those that are overdue.
    due_before: Option<Timestamp>,
    /// Name of another system, and the id there.
    external_system: Option<String>,
    external_id: Option<String>,
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
        (false, _) => query.assignee_id,
        (true, Some(user)) => Some(user),
        (true, None) => return Err(Problem::query("mine", "a key is nobody's assignee")),
    };
    let statuses = words("status", query.status.as_deref())?;
    let filter = Filter {
        statuses,
        asset: query.asset_id,
        case: query.case_id,
        assignee,
        external_system: query.external_system,
        external_id: query.external_id,
        site: query.site_id,
        priorities: words("priority", query.priority.as_deref())?,
        due_before: query.due_before,
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
    /// Name of the system that keeps this ticket, and its id there: the same pair gives the same ticket,
    /// however often it is sent.
    external_system: Option<String>,
    external_id: Option<String>,
    /// The ticket whose cause has come back.
    repeat_of: Option<TicketId>,
    #[serde(default)]
    needs_permit: bool,
    #[serde(default)]
    needs_lockout: bool,
    required_skill: Option<Skill>,
}

/// What `POST /v1/tickets` makes of its body.
fn origin_of(body: &CreateTicket) -> Result<(Origin, String), Problem> {
    match (&body.external_system, &body.external_id) {
        (None, None) => Ok((Origin::Person, format!("person:{}", TicketId::new()))),
        (Some(system), Some(id)) => {
            for (pointer, text) in [("/external_system", system), ("/external_id", id)] {
                if text.trim().is_empty() || text.len() > 200 {
                    return Err(Problem::field(pointer, "1 to 200 characters"));
                }
            }
            Ok((Origin::External, format!("external:{system}:{id}")))
        }
        _ => Err(Problem::field(
            "/external_id",
            "external_system and external_id go together: give both or none",
        )),
    }
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

/// Ask for work. 200 instead of 201 when the external id has made a ticket before.
#[utoipa::path(post, path = "/v1/tickets", operation_id = "create_ticket", tag = "tickets",
    request_body = CreateTicket, responses((status = 201, body = TicketDetail), (status = 200, body = TicketDetail)),
    security(("bearer" = ["tickets:write"])))]
async fn create(mut command: Command<TicketsWrite, CreateTicket>) -> Result<Response, Problem> {
    check_title(&command.body.title)?;
    let (origin, origin_key) = origin_of(&command.body)?;
    let (asset, assignee) = (command.body.asset_id, command.body.assignee_id);
    check_asset(command.db(), "/asset_id", asset).await?;
    if let Some(row) = overview::asset(command.db(), asset).await?
        && row.status == AssetStatus::Disposed
    {
        return Err(Problem::field(
            "/asset_id",
            "the asset has been disposed of: nothing can be done on it",
        ));
    }
    check_assignee(command.db(), assignee).await?;
    for (index, task) in command.body.tasks.iter().enumerate() {
        models::ticket::check_task(task)
            .map_err(|error| Problem::field(format!("/tasks/{index}"), error.to_string()))?;
    }
    if let Some(repeated) = command.body.repeat_of
        && ticket::get(command.db(), repeated).await?.is_none()
    {
        return Err(Problem::field("/repeat_of", "there is no such ticket"));
    }
    let (tenant, actor) = (command.principal().tenant, command.principal().name());
    let body = &mut command.body;
    let new = ticket::NewTicket {
        tenant,
        asset,
        case: None,
        occurrence: None,
        failure_mode: body.failure_mode_id,
        origin,
        origin_key,
        title: body.title.trim().to_owned(),
        description: std::mem::take(&mut body.description),
        priority: body.priority,
        due_at: body.due_at,
        repeat_of: body.repeat_of,
        tasks: std::mem::take(&mut body.tasks),
    };
    let edit = Edit {
        assignee_id: assignee,
        external_system: body.external_system.take(),
        external_id: body.external_id.take(),
        needs_permit: body.needs_permit.then_some(true),
        needs_lockout: body.needs_lockout.then_some(true),
        required_skill: body.required_skill,
        ..Edit::default()
    };
    let made = ticket::create(command.db(), &new, &actor).await?;
    let id = made.id();
    let is_new = matches!(made, ticket::Created::New(_));
    if is_new {
        if edit != Edit::default() {
            ticket::edit(command.db(), id, None, &edit, &actor)
                .await
                .map_err(edit_refused)?;
        }
        command
            .audit("ticket.create", &id.to_string(), &json!({ "title": new.title }))
            .await?;
    }
    let shown = detail(command.db(), id).await?;
    let version = shown.ticket.row_version;
    let answer = if is_new {
        Answer::created(format!("/v1/tickets/{id}"), &shown)?
    } else {
        Answer::ok(&shown)?
    };
    command.finish(answer.version(version)).await
}

fn edit_refused(error: ChangeError<EditError>) -> Problem {
    match error {
        ChangeError::Refused(EditError::Done(status)) => {
            Problem::new(Kind::Conflict, EditError::Done(status).to_string())
        }
        ChangeError::Refused(EditError::Assignee(missing)) => Problem {
            missing,
            ..Problem::new(Kind::Refused, "the person can't take the ticket over")
        },
        ChangeError::Refused(EditError::Window) => {
            Problem::field("/scheduled_end", EditError::Window.to_string())
        }
        other => other.into(),
    }
}

/// Change what is given; the rest stays. The status changes by a transition.
#[utoipa::path(patch, path = "/v1/tickets/{id}", operation_id = "change_ticket", tag = "tickets",
    params(("id" = TicketId, Path), ("if-match" = String, Header)), request_body = Edit,
    responses((status = 200, body = TicketDetail)), security(("bearer" = ["tickets:write"])))]
async fn change(
    Path(id): Path<TicketId>,
    mut command: Command<TicketsWrite, Edit>,
) -> Result<Response, Problem> {
    must_see(command.db(), id).await?;
    let (edit, actor, expected) = (
        std::mem::take(&mut command.body),
        command.principal().name(),
        command.expected()?,
    );
    if let Some(title) = &edit.title {
        check_title(title)?;
    }
    check_assignee(command.db(), edit.assignee_id).await?;
    ticket::edit(command.db(), id, Some(expected), &edit, &actor)
        .await
        .map_err(edit_refused)?;
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

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "to": "in_progress" }))]
pub struct MoveTicket {
    to: Status,
    /// Why on hold, why cancelled.
    reason: Option<String>,
    /// What it waits for on hold: waiting_parts, waiting_access, waiting_vendor, waiting_requester, unsafe,
    /// weather or other.
    hold_code: Option<String>,
    assignee_id: Option<UserId>,
    scheduled_start: Option<Timestamp>,
    scheduled_end: Option<Timestamp>,
    /// What was found, asked for at completion.
    found_failure_mode_id: Option<FailureModeId>,
    cause: Option<String>,
    remedy: Option<String>,
    /// Words of `GET /v1/failure-codes`; `other` needs the text beside it.
    mechanism_code: Option<String>,
    cause_code: Option<String>,
    remedy_code: Option<String>,
    detection_code: Option<String>,
    outcome: Option<Outcome>,
}

impl MoveTicket {
    fn to(to: Status) -> Self {
        Self {
            to,
            ..Self::default()
        }
    }
}

/// That the words of the coding are words.
async fn check_codes(db: &mut PgConnection, id: TicketId, body: &MoveTicket) -> Result<(), Problem> {
    use models::coding::CodeLevel;
    let given = [
        (CodeLevel::Mechanism, &body.mechanism_code, "/mechanism_code"),
        (CodeLevel::Cause, &body.cause_code, "/cause_code"),
        (CodeLevel::Remedy, &body.remedy_code, "/remedy_code"),
        (CodeLevel::Detection, &body.detection_code, "/detection_code"),
    ];
    if given.iter().all(|(_, code, _)| code.is_none()) {
        return Ok(());
    }
    let class = ticket::class_name(db, id).await?;
    let own = models::db::failure::own_codes(db).await?;
    let known = models::coding::offered(&own, class.as_deref(), None);
    for (level, code, pointer) in given {
        let Some(code) = code else { continue };
        if !known.iter().any(|one| one.level == level && one.code == *code) {
            let detail = format!(
                "`{code}` is no {level} here: GET /v1/failure-codes lists them, or say `other` and why"
            );
            return Err(Problem::field(pointer, detail));
        }
    }
    Ok(())
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
    must_see(command.db(), id).await?;
    let (actor, expected, to) = (command.principal().name(), command.expected()?, command.body.to);
    let assignee = command.body.assignee_id;
    check_assignee(command.db(), assignee).await?;
    let mut body = std::mem::replace(&mut command.body, MoveTicket::to(to));
    if let Some(code) = body
        .hold_code
        .as_deref()
        .filter(|code| !HOLD_CODES.contains(code))
    {
        let detail = format!("`{code}` is none of {}", HOLD_CODES.join(", "));
        return Err(Problem::field("/hold_code", detail));
    }
    check_codes(command.db(), id, &body).await?;
    let coding = Coding {
        reason: body.reason.take(),
        hold_code: body.hold_code.take(),
        assignee_id: assignee,
        scheduled_start: body.scheduled_start,
        scheduled_end: body.scheduled_end,
        found_failure_mode_id: body.found_failure_mode_id,
        cause: body.cause.take(),
        remedy: body.remedy.take(),
        mechanism_code: body.mechanism_code.take(),
        cause_code: body.cause_code.take(),
        remedy_code: body.remedy_code.take(),
        detection_code: body.detection_code.take(),
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
    must_see(command.db(), id).await?;
    let (text, actor) = (command.body.text.trim().to_owned(), command.principal().name());
    if text.is_empty() || text.len() > 10_000 {
        return Err(Problem::field("/text", "a comment has 1 to 10000 characters"));
    }
    ticket::comment(command.db(), id, &text, &actor).await?;
    finish(command, id).await
}

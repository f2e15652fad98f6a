//! Tasks and steps of a ticket.

use axum::response::Response;
use models::db::change::ChangeError;
use models::db::ticket::{self, StepError, TaskEdit, TaskRefusal, TaskResult};
use models::id::{TaskId, TicketId};
use models::ticket::NewTask;
use models::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::view::TicketDetail;
use super::{finish, must_see};
use crate::error::{Kind, Problem};
use crate::extract::may::TicketsWrite;
use crate::extract::{Command, Path};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(add_task))
        .routes(routes!(edit_task))
        .routes(routes!(complete_task))
        .routes(routes!(do_step))
}

fn refused(error: ChangeError<TaskRefusal>) -> Problem {
    match error {
        ChangeError::Refused(TaskRefusal::Task(error)) => {
            use models::ticket::TaskError::{Limits, LimitsWithoutNumber, NoMeter, NoText};
            let pointer = match error {
                NoText => "/text",
                Limits { .. } | LimitsWithoutNumber => "/min_value",
                NoMeter => "/meter_id",
                _ => "/result",
            };
            Problem::field(pointer, error.to_string())
        }
        ChangeError::Refused(refusal @ (TaskRefusal::Done(_) | TaskRefusal::TaskDone)) => {
            Problem::new(Kind::Conflict, refusal.to_string())
        }
        other => other.into(),
    }
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
    must_see(command.db(), id).await?;
    let (task, actor) = (command.body.clone(), command.principal().name());
    ticket::add_task(command.db(), id, &task, &actor)
        .await
        .map_err(refused)?;
    finish(command, id).await
}

/// Change a task that is not done yet.
#[utoipa::path(patch, path = "/v1/tickets/{id}/tasks/{task_id}", operation_id = "change_task", tag = "tickets",
    params(("id" = TicketId, Path), ("task_id" = TaskId, Path)), request_body = TaskEdit,
    responses((status = 200, body = TicketDetail)), security(("bearer" = ["tickets:write"])))]
async fn edit_task(
    Path((id, task)): Path<(TicketId, TaskId)>,
    mut command: Command<TicketsWrite, TaskEdit>,
) -> Result<Response, Problem> {
    must_see(command.db(), id).await?;
    let (edit, actor) = (command.body.clone(), command.principal().name());
    ticket::edit_task(command.db(), id, task, &edit, &actor)
        .await
        .map_err(refused)?;
    command
        .audit("ticket.task_change", &task.to_string(), &json!({ "ticket": id }))
        .await?;
    finish(command, id).await
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "result": 4.2 }))]
pub struct TaskDone {
    /// What came of it: `true` or a text for a check, a number for number and meter, the id of an attached
    /// image for a photo, a name or an image for a signature.
    result: Option<Value>,
    /// What was done about a number outside its limits.
    note: Option<String>,
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
    must_see(command.db(), id).await?;
    let actor = command.principal().name();
    let result = TaskResult {
        done: command.body.done.unwrap_or(true),
        result: command.body.result.take(),
        note: command.body.note.take(),
    };
    ticket::complete_task(command.db(), id, task, &result, &actor, Timestamp::now())
        .await
        .map_err(refused)?;
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
pub struct DoStep {
    #[schema(example = "budget")]
    code: String,
}

/// Do a step of the tenant's workflow in the state the ticket is in.
#[utoipa::path(post, path = "/v1/tickets/{id}/steps", operation_id = "do_ticket_step", tag = "tickets",
    params(("id" = TicketId, Path)), request_body = DoStep, responses((status = 200, body = TicketDetail)),
    security(("bearer" = ["tickets:write"])))]
async fn do_step(
    Path(id): Path<TicketId>,
    mut command: Command<TicketsWrite, DoStep>,
) -> Result<Response, Problem> {
    must_see(command.db(), id).await?;
    let (code, actor) = (command.body.code.clone(), command.principal().name());
    let role = command.principal().role();
    ticket::do_step(command.db(), id, &code, role, &actor, Timestamp::now())
        .await
        .map_err(|error| match error {
            ChangeError::Refused(refusal @ StepError::NoSuchStep { .. }) => {
                Problem::field("/code", refusal.to_string())
            }
            other => other.into(),
        })?;
    command
        .audit("ticket.step", &id.to_string(), &json!({ "code": code }))
        .await?;
    finish(command, id).await
}

//! Relations between tickets, splitting, and who could do one.

use axum::Json;
use axum::response::Response;
use models::db::change::ChangeError;
use models::db::people;
use models::db::ticket::{self, NewRelation, RelateError, Split};
use models::id::{RelationId, TicketId};
use models::interval::Span;
use models::people::Verdict;
use models::time::Timestamp;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::view::{TicketDetail, detail};
use super::{finish, must_see};
use crate::error::{Kind, Problem};
use crate::extract::may::{TicketsRead, TicketsWrite};
use crate::extract::{Answer, Command, Path, Tenant};
use crate::page::Page;
use crate::routes::keys::Empty;
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(relate))
        .routes(routes!(unrelate))
        .routes(routes!(split))
        .routes(routes!(candidates))
}

fn refused(error: ChangeError<RelateError>) -> Problem {
    match error {
        ChangeError::Refused(refusal @ RelateError::NoOther) => {
            Problem::field("/other_id", refusal.to_string())
        }
        ChangeError::Refused(refusal @ (RelateError::ClosedParent(_) | RelateError::Circle(_))) => {
            Problem::new(Kind::Conflict, refusal.to_string())
        }
        other => other.into(),
    }
}

/// Relate a ticket to another one. A duplicate is cancelled by it; a blocked one can't begin before the
/// other is completed.
#[utoipa::path(post, path = "/v1/tickets/{id}/relations", operation_id = "relate_ticket", tag = "tickets",
    params(("id" = TicketId, Path)), request_body = NewRelation, responses((status = 200, body = TicketDetail)),
    security(("bearer" = ["tickets:write"])))]
async fn relate(
    Path(id): Path<TicketId>,
    mut command: Command<TicketsWrite, NewRelation>,
) -> Result<Response, Problem> {
    must_see(command.db(), id).await?;
    let (new, actor) = (command.body, command.principal().name());
    ticket::relate(command.db(), id, new, &actor, Timestamp::now())
        .await
        .map_err(refused)?;
    command
        .audit(
            "ticket.relate",
            &id.to_string(),
            &json!({ "kind": new.kind, "other": new.other_id }),
        )
        .await?;
    finish(command, id).await
}

/// Take a relation back.
#[utoipa::path(delete, path = "/v1/tickets/{id}/relations/{relation_id}", operation_id = "unrelate_ticket",
    tag = "tickets", params(("id" = TicketId, Path), ("relation_id" = RelationId, Path)),
    responses((status = 204)), security(("bearer" = ["tickets:write"])))]
async fn unrelate(
    Path((id, relation)): Path<(TicketId, RelationId)>,
    mut command: Command<TicketsWrite, Empty>,
) -> Result<Response, Problem> {
    if !ticket::unrelate(command.db(), id, relation).await? {
        return Err(Problem::not_found());
    }
    command
        .audit(
            "ticket.unrelate",
            &id.to_string(),
            &json!({ "relation": relation }),
        )
        .await?;
    command.finish(Answer::empty()).await
}

/// Make a new ticket of some of a ticket's open tasks.
#[utoipa::path(post, path = "/v1/tickets/{id}/split", operation_id = "split_ticket", tag = "tickets",
    params(("id" = TicketId, Path)), request_body = Split, responses((status = 201, body = TicketDetail)),
    security(("bearer" = ["tickets:write"])))]
async fn split(
    Path(id): Path<TicketId>,
    mut command: Command<TicketsWrite, Split>,
) -> Result<Response, Problem> {
    must_see(command.db(), id).await?;
    let (order, actor) = (command.body.clone(), command.principal().name());
    let part = ticket::split(command.db(), id, &order, &actor, Timestamp::now())
        .await
        .map_err(refused)?;
    command
        .audit("ticket.split", &id.to_string(), &json!({ "into": part }))
        .await?;
    let shown = detail(command.db(), part).await?;
    let version = shown.ticket.row_version;
    command
        .finish(Answer::created(format!("/v1/tickets/{part}"), &shown)?.version(version))
        .await
}

/// Who could do the ticket in its planned time, best first, each with what speaks for and against him.
#[utoipa::path(get, path = "/v1/tickets/{id}/candidates", operation_id = "list_ticket_candidates", tag = "tickets",
    params(("id" = TicketId, Path)), responses((status = 200, body = Page<Verdict>)),
    security(("bearer" = ["tickets:read"])))]
async fn candidates(
    mut tenant: Tenant<TicketsRead>,
    Path(id): Path<TicketId>,
) -> Result<Json<Page<Verdict>>, Problem> {
    let row = ticket::get(tenant.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let window = row
        .scheduled_start
        .zip(row.scheduled_end)
        .map(|(start, end)| Span::new(start, end))
        .filter(|span| !span.is_empty());
    let all = people::proposals(tenant.db(), row.tenant_id, id, window).await?;
    Ok(Json(Page::whole(all)))
}

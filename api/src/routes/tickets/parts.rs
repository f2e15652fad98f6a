//! Parts of a ticket: reserved, posted, given back.

use axum::Json;
use axum::response::Response;
use models::db::parts::{self, PostingRow, ReservationRow};
use models::db::ticket;
use models::id::{PostingId, ReservationId, TicketId};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::must_see;
use crate::error::{Kind, Problem};
use crate::extract::may::{TicketsRead, TicketsWrite};
use crate::extract::{Answer, Command, Path, Tenant};
use crate::routes::keys::Empty;
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(show))
        .routes(routes!(reserve))
        .routes(routes!(release))
        .routes(routes!(post))
        .routes(routes!(reverse))
}

#[derive(Serialize, ToSchema)]
pub struct TicketParts {
    reservations: Vec<ReservationRow>,
    /// What was used; a negative quantity undoes another posting.
    postings: Vec<PostingRow>,
}

/// What a ticket has reserved and used.
#[utoipa::path(get, path = "/v1/tickets/{id}/parts", operation_id = "get_ticket_parts", tag = "parts",
    params(("id" = TicketId, Path)), responses((status = 200, body = TicketParts)),
    security(("bearer" = ["tickets:read"])))]
async fn show(
    mut tenant: Tenant<TicketsRead>,
    Path(id): Path<TicketId>,
) -> Result<Json<TicketParts>, Problem> {
    must_see(tenant.db(), id).await?;
    let (reservations, postings) = parts::of_ticket(tenant.db(), id).await?;
    Ok(Json(TicketParts {
        reservations,
        postings,
    }))
}

async fn finish<T>(mut command: Command<TicketsWrite, T>, id: TicketId) -> Result<Response, Problem> {
    let (reservations, postings) = parts::of_ticket(command.db(), id).await?;
    command
        .finish(Answer::ok(&TicketParts {
            reservations,
            postings,
        })?)
        .await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReservePart {
    #[schema(example = "6308-2RS")]
    part_number: String,
    #[schema(example = 2.0)]
    quantity: f64,
    /// UCUM; `1` = pieces.
    #[schema(example = "1")]
    unit: Option<String>,
}

/// Reserve a part. What the bill of materials names is reserved when the ticket is accepted.
#[utoipa::path(post, path = "/v1/tickets/{id}/parts/reservations", operation_id = "reserve_part", tag = "parts",
    params(("id" = TicketId, Path)), request_body = ReservePart, responses((status = 200, body = TicketParts)),
    security(("bearer" = ["tickets:write"])))]
async fn reserve(
    Path(id): Path<TicketId>,
    mut command: Command<TicketsWrite, ReservePart>,
) -> Result<Response, Problem> {
    let row = ticket::get(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let (part, quantity) = (command.body.part_number.trim().to_owned(), command.body.quantity);
    let unit = command.body.unit.clone().unwrap_or_else(|| "1".to_owned());
    if part.is_empty() || part.len() > 100 {
        return Err(Problem::field("/part_number", "1 to 100 characters"));
    }
    if !(quantity.is_finite() && quantity > 0.0) {
        return Err(Problem::field("/quantity", "a number above 0"));
    }
    if !row.status.is_open() {
        let detail = format!(
            "the ticket is {}: nothing is reserved for it any more",
            row.status
        );
        return Err(Problem::new(Kind::Conflict, detail));
    }
    let place = (id, row.asset_id);
    let made = parts::reserve(
        command.db(),
        row.tenant_id,
        place,
        (&part, quantity, &unit),
        "by hand",
    )
    .await?;
    if made.is_none() {
        let detail =
            format!("the ticket has reserved {part} already: release it first to reserve another quantity");
        return Err(Problem::new(Kind::Conflict, detail));
    }
    command
        .audit(
            "part.reserve",
            &id.to_string(),
            &json!({ "part": part, "quantity": quantity }),
        )
        .await?;
    finish(command, id).await
}

/// Give a reserved part back.
#[utoipa::path(delete, path = "/v1/tickets/{id}/parts/reservations/{reservation_id}",
    operation_id = "release_part", tag = "parts",
    params(("id" = TicketId, Path), ("reservation_id" = ReservationId, Path)), responses((status = 204)),
    security(("bearer" = ["tickets:write"])))]
async fn release(
    Path((id, reservation)): Path<(TicketId, ReservationId)>,
    mut command: Command<TicketsWrite, Empty>,
) -> Result<Response, Problem> {
    must_see(command.db(), id).await?;
    if parts::release(command.db(), id, Some(reservation), Timestamp::now()).await? == 0 {
        return Err(Problem::not_found());
    }
    command
        .audit("part.release", &reservation.to_string(), &json!({ "ticket": id }))
        .await?;
    command.finish(Answer::empty()).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostPart {
    #[schema(example = "6308-2RS")]
    part_number: String,
    #[schema(example = "main")]
    warehouse: String,
    #[schema(example = 2.0)]
    quantity: f64,
}

/// Post what was used of a part. It can be undone by a reversal, never changed.
#[utoipa::path(post, path = "/v1/tickets/{id}/parts/postings", operation_id = "post_part", tag = "parts",
    params(("id" = TicketId, Path)), request_body = PostPart, responses((status = 200, body = TicketParts)),
    security(("bearer" = ["tickets:write"])))]
async fn post(
    Path(id): Path<TicketId>,
    mut command: Command<TicketsWrite, PostPart>,
) -> Result<Response, Problem> {
    must_see(command.db(), id).await?;
    let actor = command.principal().name();
    let (part, warehouse) = (command.body.part_number.clone(), command.body.warehouse.clone());
    let quantity = command.body.quantity;
    let posting = parts::post(
        command.db(),
        id,
        (&part, &warehouse, quantity),
        &actor,
        Timestamp::now(),
    )
    .await?;
    command
        .audit(
            "part.post",
            &posting.to_string(),
            &json!({ "part": part, "quantity": quantity }),
        )
        .await?;
    finish(command, id).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReversePosting {
    #[schema(example = "the old bearing was good")]
    reason: String,
}

/// Undo a posting.
#[utoipa::path(post, path = "/v1/tickets/{id}/parts/postings/{posting_id}/reversal",
    operation_id = "reverse_posting", tag = "parts",
    params(("id" = TicketId, Path), ("posting_id" = PostingId, Path)), request_body = ReversePosting,
    responses((status = 200, body = TicketParts)), security(("bearer" = ["tickets:write"])))]
async fn reverse(
    Path((id, posting)): Path<(TicketId, PostingId)>,
    mut command: Command<TicketsWrite, ReversePosting>,
) -> Result<Response, Problem> {
    must_see(command.db(), id).await?;
    let (reason, actor) = (command.body.reason.clone(), command.principal().name());
    let back = parts::reverse(command.db(), id, posting, &reason, &actor, Timestamp::now()).await?;
    command
        .audit("part.reverse", &back.to_string(), &json!({ "posting": posting }))
        .await?;
    finish(command, id).await
}

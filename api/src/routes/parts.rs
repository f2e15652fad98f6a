//! The stock as another system counts it.

use axum::Json;
use axum::response::Response;
use models::db::parts::{self, PartRow, StockLine};
use models::id::TicketId;
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Paging;
use crate::error::Problem;
use crate::extract::may::{PartsWrite, TicketsRead};
use crate::extract::{Answer, Command, Query, Tenant};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(put))
}

/// Parts with what is there, what is reserved, what is left, by part number.
#[utoipa::path(get, path = "/v1/parts", operation_id = "list_parts", tag = "parts", params(Paging),
    responses((status = 200, body = Page<PartRow>)), security(("bearer" = ["tickets:read"])))]
async fn list(
    mut tenant: Tenant<TicketsRead>,
    Query(query): Query<Paging>,
) -> Result<Json<Page<PartRow>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after: Option<String> = page::read_cursor("parts", query.cursor.as_deref())?;
    let rows = parts::parts(tenant.db(), after.as_deref(), limit + 1).await?;
    Ok(Json(Page::of(
        "parts",
        limit,
        rows,
        |row| row.part_number.clone(),
        |row| row,
    )))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Stock {
    lines: Vec<StockLine>,
}

#[derive(Serialize, ToSchema)]
pub struct StockTaken {
    /// Lines that were newer than what was known.
    taken: u64,
    /// Tickets that had waited for their parts and went on.
    tickets_moved: Vec<TicketId>,
}

/// Report counts. A count that is older than the known one is left out, so that lines may come late or
/// twice. Tickets whose parts have come leave waiting_parts.
#[utoipa::path(post, path = "/v1/parts/stock", operation_id = "put_stock", tag = "parts", request_body = Stock,
    responses((status = 200, body = StockTaken)), security(("bearer" = ["parts:write"])))]
async fn put(mut command: Command<PartsWrite, Stock>) -> Result<Response, Problem> {
    let lines = std::mem::take(&mut command.body.lines);
    if lines.len() > 5000 {
        return Err(Problem::field(
            "/lines",
            "5000 lines at most: send several requests",
        ));
    }
    for (index, line) in lines.iter().enumerate() {
        let word = |text: &str| !text.trim().is_empty() && text.len() <= 100;
        if !word(&line.part_number) || !word(&line.warehouse) {
            let pointer = format!("/lines/{index}/part_number");
            return Err(Problem::field(
                pointer,
                "part_number and warehouse have 1 to 100 characters",
            ));
        }
        if !line.on_hand.is_finite() {
            return Err(Problem::field(format!("/lines/{index}/on_hand"), "a number"));
        }
        if line.as_of > Timestamp::now().plus_seconds(3600.0) {
            return Err(Problem::field(
                format!("/lines/{index}/as_of"),
                "not in the future",
            ));
        }
    }
    let (tenant, actor) = (command.principal().tenant, command.principal().name());
    let (taken, tickets_moved) =
        parts::put_stock(command.db(), tenant, &lines, &actor, Timestamp::now()).await?;
    command
        .audit(
            "stock.put",
            &tenant.to_string(),
            &json!({ "lines": lines.len(), "taken": taken }),
        )
        .await?;
    command
        .finish(Answer::ok(&StockTaken { taken, tickets_moved })?)
        .await
}

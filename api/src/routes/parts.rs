//! The stock as another system counts it, and what the repair of an asset takes.

use axum::Json;
use axum::response::Response;
use models::db::change::ChangeError;
use models::db::overview;
use models::db::parts::{self, BomLine, BomRow, PartRow, StockLine};
use models::id::{AssetId, TicketId};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Paging;
use crate::error::Problem;
use crate::extract::may::{PartsWrite, TicketsRead};
use crate::extract::{Answer, Command, Path, Query, Tenant};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(put))
        .routes(routes!(bom, put_bom))
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

#[derive(Serialize, ToSchema)]
pub struct Bom {
    /// By part number.
    data: Vec<BomRow>,
}

/// Which parts the repair of an asset takes, by failure mode. A ticket for a mode reserves them when it is
/// accepted; an open prediction of it sets them aside when they would come too late otherwise.
#[utoipa::path(get, path = "/v1/assets/{id}/bom", operation_id = "get_bom", tag = "parts",
    params(("id" = AssetId, Path)), responses((status = 200, body = Bom)),
    security(("bearer" = ["tickets:read"])))]
async fn bom(mut tenant: Tenant<TicketsRead>, Path(id): Path<AssetId>) -> Result<Json<Bom>, Problem> {
    must_see(tenant.db(), id).await?;
    let data = parts::bom(tenant.db(), id).await?;
    Ok(Json(Bom { data }))
}

async fn must_see(db: &mut PgConnection, id: AssetId) -> Result<(), Problem> {
    overview::asset(db, id)
        .await?
        .map(drop)
        .ok_or_else(Problem::not_found)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "lines": [{ "part_number": "6308-2RS", "description": "Bearing, drive end", "quantity": 2.0,
    "unit": "1", "lead_time_days": 14.0 }] }))]
pub struct PutBom {
    lines: Vec<BomLine>,
}

/// Replace an asset's bill of materials. What tickets have reserved stays reserved.
#[utoipa::path(put, path = "/v1/assets/{id}/bom", operation_id = "put_bom", tag = "parts",
    params(("id" = AssetId, Path)), request_body = PutBom, responses((status = 200, body = Bom)),
    security(("bearer" = ["parts:write"])))]
async fn put_bom(
    Path(id): Path<AssetId>,
    mut command: Command<PartsWrite, PutBom>,
) -> Result<Response, Problem> {
    must_see(command.db(), id).await?;
    let (tenant, lines) = (
        command.principal().tenant,
        std::mem::take(&mut command.body.lines),
    );
    if lines.len() > 1000 {
        return Err(Problem::field("/lines", "1000 lines at most"));
    }
    parts::put_bom(command.db(), tenant, id, &lines)
        .await
        .map_err(|error| match error {
            ChangeError::Refused(refused) => {
                let (line, field) = refused.place();
                Problem::field(format!("/lines/{line}/{field}"), refused.to_string())
            }
            other => other.into(),
        })?;
    command
        .audit("bom.put", &id.to_string(), &json!({ "lines": lines.len() }))
        .await?;
    let data = parts::bom(command.db(), id).await?;
    command.finish(Answer::ok(&Bom { data })?).await
}

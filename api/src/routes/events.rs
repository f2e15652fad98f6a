//! Discrete events of an asset: error codes, starts, trips.

use axum::Json;
use models::db::{history, overview};
use models::id::{AssetId, DeviceId};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::range;
use crate::error::Problem;
use crate::extract::{Query, Tenant, may::AssetsRead};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

#[derive(Serialize, ToSchema)]
pub struct DiscreteEvent {
    ts: Timestamp,
    device_id: DeviceId,
    /// Code of the device.
    #[schema(example = "E-117")]
    code: String,
    severity: i16,
    message: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventQuery {
    asset_id: AssetId,
    /// RFC 3339 or seconds since 1970; 30 days before `to` when left out.
    from: Option<String>,
    /// Exclusive; now when left out.
    to: Option<String>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    cursor: Option<String>,
}

/// What happened to an asset, newest first.
#[utoipa::path(get, path = "/v1/events", operation_id = "list_events", tag = "assets", params(EventQuery),
    responses((status = 200, body = Page<DiscreteEvent>)), security(("bearer" = ["assets:read"])))]
async fn list(
    mut tenant: Tenant<AssetsRead>,
    Query(query): Query<EventQuery>,
) -> Result<Json<Page<DiscreteEvent>>, Problem> {
    let limit = page::limit(query.limit)?;
    let (from, mut to) = range(query.from.as_deref(), query.to.as_deref(), 30.0 * 86_400.0)?;
    if let Some(after) = page::read_cursor::<Timestamp>("events", query.cursor.as_deref())? {
        to = to.min(after);
    }
    overview::asset(tenant.db(), query.asset_id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let most = i32::try_from(limit + 1).unwrap_or(i32::MAX);
    let rows = history::events(tenant.db(), query.asset_id, from, to, most).await?;
    Ok(Json(Page::of(
        "events",
        limit,
        rows,
        |row| row.ts,
        |row| DiscreteEvent {
            ts: row.ts,
            device_id: row.device_id,
            code: row.code,
            severity: row.severity,
            message: row.message,
        },
    )))
}

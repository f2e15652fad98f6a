//! The account of what came in.

use axum::Json;
use models::db::overview::{self, GapRow, LedgerFilter, LedgerRow};
use models::id::GatewayId;
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::GatewayRef;
use crate::error::Problem;
use crate::extract::{Query, Tenant, may::IngestRead};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(gaps))
}

/// One gateway's account of one UTC day: received = stored + duplicate + conflict + rejected.
#[derive(Serialize, ToSchema)]
pub struct LedgerDay {
    gateway: GatewayRef,
    #[schema(example = "2026-01-31")]
    day: String,
    received: i64,
    stored: i64,
    duplicate: i64,
    conflict: i64,
    rejected: i64,
    payloads: i64,
    payloads_dead: i64,
    first_at: Timestamp,
    last_at: Timestamp,
    /// Every reading received stands somewhere.
    closes: bool,
}

impl From<LedgerRow> for LedgerDay {
    fn from(row: LedgerRow) -> Self {
        Self {
            closes: row.closes(),
            gateway: GatewayRef {
                id: row.gateway_id,
                slug: row.gateway_slug,
            },
            day: row.day,
            received: row.received,
            stored: row.stored,
            duplicate: row.duplicate,
            conflict: row.conflict,
            rejected: row.rejected,
            payloads: row.payloads,
            payloads_dead: row.payloads_dead,
            first_at: row.first_at,
            last_at: row.last_at,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LedgerQuery {
    gateway_id: Option<GatewayId>,
    /// First day, such as 2026-01-31.
    from: Option<String>,
    /// First day that is left out.
    to: Option<String>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    cursor: Option<String>,
}

fn day(name: &str, text: Option<String>) -> Result<Option<String>, Problem> {
    let Some(text) = text else { return Ok(None) };
    match text.get(..10).unwrap_or(&text).parse::<jiff::civil::Date>() {
        Ok(date) => Ok(Some(date.to_string())),
        Err(_) => Err(Problem::query(
            name,
            format!("`{text}` is not a day such as 2026-01-31"),
        )),
    }
}

/// Newest day first.
#[utoipa::path(get, path = "/v1/ledger", operation_id = "list_ledger", tag = "ingest", params(LedgerQuery),
    responses((status = 200, body = Page<LedgerDay>)), security(("bearer" = ["ingest:read"])))]
async fn list(
    mut tenant: Tenant<IngestRead>,
    Query(query): Query<LedgerQuery>,
) -> Result<Json<Page<LedgerDay>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after: Option<(String, GatewayId)> = page::read_cursor("ledger", query.cursor.as_deref())?;
    let filter = LedgerFilter {
        gateway: query.gateway_id,
        from: day("from", query.from)?,
        to: day("to", query.to)?,
    };
    let after = after.as_ref().map(|(day, gateway)| (day.as_str(), *gateway));
    let rows = overview::ledger(tenant.db(), &filter, after, limit + 1).await?;
    Ok(Json(Page::of(
        "ledger",
        limit,
        rows,
        |row| (row.day.clone(), row.gateway_id),
        Into::into,
    )))
}

/// A hole in a gateway's sequence of batches.
#[derive(Serialize, ToSchema)]
pub struct Gap {
    gateway: GatewayRef,
    epoch: i64,
    first_seq: i64,
    last_seq: i64,
    seen_at: Timestamp,
    /// The batches came after all.
    closed_at: Option<Timestamp>,
    /// The gateway said that it no longer has them.
    lost_at: Option<Timestamp>,
}

impl From<GapRow> for Gap {
    fn from(row: GapRow) -> Self {
        Self {
            gateway: GatewayRef {
                id: row.gateway_id,
                slug: row.gateway_slug,
            },
            epoch: row.epoch,
            first_seq: row.first_seq,
            last_seq: row.last_seq,
            seen_at: row.seen_at,
            closed_at: row.closed_at,
            lost_at: row.lost_at,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct GapQuery {
    gateway_id: Option<GatewayId>,
    /// Only those that have not been filled.
    #[serde(default)]
    open: bool,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// The newest holes.
#[utoipa::path(get, path = "/v1/ledger/gaps", operation_id = "list_gaps", tag = "ingest", params(GapQuery),
    responses((status = 200, body = Page<Gap>)), security(("bearer" = ["ingest:read"])))]
async fn gaps(
    mut tenant: Tenant<IngestRead>,
    Query(query): Query<GapQuery>,
) -> Result<Json<Page<Gap>>, Problem> {
    let limit = page::limit(query.limit)?;
    let rows = overview::gaps(tenant.db(), query.gateway_id, query.open, limit).await?;
    Ok(Json(Page::whole(rows.into_iter().map(Into::into).collect())))
}

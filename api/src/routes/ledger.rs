//! The account of what came in.

use axum::Json;
use models::db::overview::{self, CadenceFilter, CadenceGapRow, GapRow, LedgerFilter, LedgerRow};
use models::id::{ChannelId, GatewayId};
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
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(gaps))
        .routes(routes!(cadence))
}

/// One gateway's account of one UTC day: received = stored + duplicate + conflict + rejected + dead_lettered.
#[derive(Serialize, ToSchema)]
pub struct LedgerDay {
    gateway: GatewayRef,
    #[schema(example = "2026-01-31")]
    day: String,
    received: i64,
    stored: i64,
    duplicate: i64,
    conflict: i64,
    /// Refused for good: their dead letters were discarded.
    rejected: i64,
    /// In dead letters that can still be mended and replayed.
    dead_lettered: i64,
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
            dead_lettered: row.dead_lettered,
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
    /// Where they are or were lost: `arrived` after all, `gateway_spool` (it let go of them before they were committed),
    /// `link` (not here and not given up).
    place: &'static str,
}

impl From<GapRow> for Gap {
    fn from(row: GapRow) -> Self {
        Self {
            place: row.place(),
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

/// A time at which a channel with an expected cadence said nothing.
#[derive(Serialize, ToSchema)]
pub struct CadenceGap {
    gateway: GatewayRef,
    channel_id: ChannelId,
    device: String,
    channel: String,
    cadence_s: f64,
    /// The reading before the hole.
    after: Timestamp,
    /// The reading after it; null = it lasts.
    before: Option<Timestamp>,
    /// Readings that the cadence let expect.
    missing: i64,
    /// Where they were lost: `refused` (dead letters of that time name the channel), `channel` (its device sent others
    /// meanwhile), `device` (its gateway sent other devices), `gateway_spool`, `link`, `gateway` (nothing of it, and no hole
    /// in its sequence).
    place: String,
}

impl From<CadenceGapRow> for CadenceGap {
    fn from(row: CadenceGapRow) -> Self {
        Self {
            gateway: GatewayRef {
                id: row.gateway_id,
                slug: row.gateway_slug,
            },
            channel_id: row.channel_id,
            device: row.device,
            channel: row.channel,
            cadence_s: row.cadence_s,
            after: row.after_ts,
            before: row.before_ts,
            missing: row.missing,
            place: row.place,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CadenceQuery {
    gateway_id: Option<GatewayId>,
    channel_id: Option<ChannelId>,
    /// Default: a day before `to`. At most 31 days before it.
    from: Option<Timestamp>,
    /// Default: now.
    to: Option<Timestamp>,
    /// A silence is a hole when it is longer than so many times the cadence; default 2.5.
    #[param(minimum = 1, maximum = 1000)]
    factor: Option<f64>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// The newest holes in the cadence of channels that have one. Computed from what is stored, so a late reading closes its
/// hole.
#[utoipa::path(get, path = "/v1/ledger/cadence-gaps", operation_id = "list_cadence_gaps", tag = "ingest",
    params(CadenceQuery), responses((status = 200, body = Page<CadenceGap>)), security(("bearer" = ["ingest:read"])))]
async fn cadence(
    mut tenant: Tenant<IngestRead>,
    Query(query): Query<CadenceQuery>,
) -> Result<Json<Page<CadenceGap>>, Problem> {
    const DAY_S: f64 = 86_400.0;
    let limit = page::limit(query.limit)?;
    let to = query.to.unwrap_or_else(Timestamp::now);
    let from = query.from.unwrap_or_else(|| to.plus_seconds(-DAY_S));
    if from >= to || to.seconds_since(from) > 31.0 * DAY_S {
        return Err(Problem::query("from", "before `to`, and at most 31 days"));
    }
    let factor = query.factor.unwrap_or(2.5);
    if !(1.0..=1000.0).contains(&factor) {
        return Err(Problem::query("factor", "a number from 1 to 1000"));
    }
    let filter = CadenceFilter {
        gateway: query.gateway_id,
        channel: query.channel_id,
        from,
        to,
        factor,
    };
    let limit = i32::try_from(limit).unwrap_or(i32::MAX);
    let rows = overview::cadence_gaps(tenant.db(), &filter, limit).await?;
    Ok(Json(Page::whole(rows.into_iter().map(Into::into).collect())))
}

//! What a channel measured: reading by reading, or down-sampled to what a chart can show.

use axum::Json;
use models::db::history::stats::{Grid, outline, stats};
use models::db::{history, overview};
use models::id::{AssetId, ChannelId};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::channels::ReadingView;
use super::range;
use crate::error::Problem;
use crate::extract::{Path, Query, Tenant, may::AssetsRead};
use crate::lttb;
use crate::page::{self, Page};
use crate::series::{self, Columns};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(readings))
        .routes(routes!(series_of))
}

#[derive(Serialize, ToSchema)]
pub struct ChannelRef {
    id: ChannelId,
    asset_id: Option<AssetId>,
    name: String,
    label: Option<String>,
    unit: String,
}

async fn channel_of(
    tenant: &mut Tenant<AssetsRead>,
    id: ChannelId,
) -> Result<(ChannelRef, Option<f64>), Problem> {
    let row = overview::channel(tenant.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let view = ChannelRef {
        id,
        asset_id: row.asset_id,
        name: row.name,
        label: row.label,
        unit: row.unit,
    };
    Ok((view, row.cadence_s))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReadingQuery {
    /// RFC 3339 or seconds since 1970; a day before `to` when left out.
    from: Option<String>,
    /// Exclusive; now when left out.
    to: Option<String>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Readings {
    channel: ChannelRef,
    from: Timestamp,
    to: Timestamp,
    data: Vec<ReadingView>,
    next_cursor: Option<String>,
    has_more: bool,
}

/// The readings of a channel, oldest first, of every quality.
#[utoipa::path(get, path = "/v1/channels/{id}/readings", operation_id = "list_readings", tag = "channels",
    params(("id" = ChannelId, Path), ReadingQuery), responses((status = 200, body = Readings)),
    security(("bearer" = ["assets:read"])))]
async fn readings(
    mut tenant: Tenant<AssetsRead>,
    Path(id): Path<ChannelId>,
    Query(query): Query<ReadingQuery>,
) -> Result<Json<Readings>, Problem> {
    let limit = page::limit(query.limit)?;
    let (from, to) = range(query.from.as_deref(), query.to.as_deref(), 86_400.0)?;
    let after: Option<Timestamp> = page::read_cursor("readings", query.cursor.as_deref())?;
    let (channel, _) = channel_of(&mut tenant, id).await?;
    let start = after.map_or(from, |after| after + std::time::Duration::from_micros(1));
    let most = i32::try_from(limit + 1).unwrap_or(i32::MAX);
    let rows = history::raw(tenant.db(), id, start, to, most).await?;
    let page = Page::of("readings", limit, rows, |row| row.ts, ReadingView::from);
    Ok(Json(Readings {
        channel,
        from,
        to,
        data: page.data,
        next_cursor: page.next_cursor,
        has_more: page.has_more,
    }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SeriesQuery {
    /// RFC 3339 or seconds since 1970; a day before `to` when left out.
    from: Option<String>,
    /// Exclusive; now when left out.
    to: Option<String>,
    /// How many points the chart can show, 10 to 5000; 600 when left out.
    #[param(minimum = 10, maximum = 5000)]
    points: Option<u32>,
    #[serde(default)]
    method: Method,
}

/// How a long series becomes a short one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Minimum, maximum and mean of each bucket: no peak is lost.
    #[default]
    MinMax,
    /// Single readings that keep the line's shape: largest triangle, three buckets.
    Lttb,
}

#[derive(Serialize, ToSchema)]
pub struct Series {
    channel: ChannelRef,
    from: Timestamp,
    to: Timestamp,
    /// Width of a bucket; 0 for raw readings. Above a minute it is whole minutes, above three hours whole hours.
    bucket_s: f64,
    method: Method,
    /// Every reading by itself: minimum, maximum and mean are the value.
    raw: bool,
    /// Neighbours further apart than this have a gap between them; `null` = can't tell.
    gap_s: Option<f64>,
    data: Columns,
}

/// A channel's course in about `points` points: minimum, maximum and mean by bucket (from rollups where
/// buckets are long), or the readings themselves where so few are there. Bad readings don't count. A row of
/// nulls is a gap. `lttb` falls back to buckets beyond half a million readings; `method` says what was done.
#[utoipa::path(get, path = "/v1/channels/{id}/series", operation_id = "get_series", tag = "channels",
    params(("id" = ChannelId, Path), SeriesQuery), responses((status = 200, body = Series)),
    security(("bearer" = ["assets:read"])))]
async fn series_of(
    mut tenant: Tenant<AssetsRead>,
    Path(id): Path<ChannelId>,
    Query(query): Query<SeriesQuery>,
) -> Result<Json<Series>, Problem> {
    let (from, to) = range(query.from.as_deref(), query.to.as_deref(), 86_400.0)?;
    let points = match query.points.unwrap_or(600) {
        points @ 10..=5000 => points,
        other => return Err(Problem::query("points", format!("{other} is not 10 to 5000"))),
    };
    let (channel, cadence_s) = channel_of(&mut tenant, id).await?;
    let budget = i32::try_from(points).unwrap_or(i32::MAX);
    let rows = history::raw(tenant.db(), id, from, to, budget.saturating_add(1)).await?;
    let grid = Grid::choose(from, to, points);
    let mut series = Series {
        channel,
        from,
        to,
        bucket_s: 0.0,
        method: query.method,
        raw: true,
        gap_s: None,
        data: Columns::default(),
    };
    if rows.len() <= points as usize && !is_thinned(&mut tenant, id, from, to, rows.len()).await? {
        (series.data, series.gap_s) = series::raw(&rows, cadence_s);
        return Ok(Json(series));
    }
    if query.method == Method::Lttb
        && let Some(chosen) = readings_by_shape(&mut tenant, id, from, to, points).await?
    {
        let (_, gap_s) = series::raw(&rows, cadence_s);
        // Chosen readings lie further apart than the channel's own.
        let usual = to.seconds_since(from) / f64::from(points);
        series.gap_s = gap_s.map(|gap_s| gap_s.max(usual * 3.0));
        series.data = series::chosen(&chosen, series.gap_s);
        return Ok(Json(series));
    }
    series.method = Method::MinMax;
    series.raw = false;
    series.bucket_s = grid.width_us as f64 / 1e6;
    let rows = outline(tenant.db(), &[id], from, to, grid).await?;
    let (data, gap_s) = series::bucketed(&rows, grid.width_us, cadence_s);
    (series.data, series.gap_s) = (data, Some(gap_s));
    Ok(Json(series))
}

/// Whether there were more readings than the `found` that are left: some went by retention and stand
/// in rollups only.
async fn is_thinned(
    tenant: &mut Tenant<AssetsRead>,
    id: ChannelId,
    from: Timestamp,
    to: Timestamp,
    found: usize,
) -> Result<bool, Problem> {
    let whole = Grid {
        width_us: to.micros() - from.micros(),
        origin: from,
        level: history::stats::Level::Raw,
    };
    let known: i64 = stats(tenant.db(), &[id], from, to, whole)
        .await?
        .iter()
        .map(|stat| stat.readings)
        .sum();
    Ok(usize::try_from(known).unwrap_or(usize::MAX) > found)
}

/// Readings that are looked at for their shape; beyond it buckets have to do.
const MOST_BY_SHAPE: i32 = 500_000;

/// `None`: too many to look at each.
async fn readings_by_shape(
    tenant: &mut Tenant<AssetsRead>,
    id: ChannelId,
    from: Timestamp,
    to: Timestamp,
    points: u32,
) -> Result<Option<Vec<history::RawPoint>>, Problem> {
    let mut all = Vec::new();
    history::copy::page(tenant.db(), id, from, to, MOST_BY_SHAPE, &mut all).await?;
    if all.len() >= MOST_BY_SHAPE as usize {
        return Ok(None);
    }
    all.retain(|row| models::reading::Quality::from_code(row.quality) != models::reading::Quality::Bad);
    Ok(Some(lttb::choose(&all, points as usize)))
}

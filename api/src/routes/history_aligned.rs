//! Several channels on one grid of time, and the channels below an asset as one.

use std::collections::HashMap;

use axum::Json;
use models::db::history::moments;
use models::db::history::stats::{Grid, Level, Stat, outline, stats};
use models::db::overview;
use models::id::{AssetId, ChannelId};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::history_state::chosen;
use super::range;
use crate::align::{Across, Fill, Lattice};
use crate::error::Problem;
use crate::extract::{Path, Query, Tenant, may::AssetsRead};
use crate::state::App;

/// Channels of one answer, and values of one answer.
const MOST_CHANNELS: i64 = 500;
const MOST_VALUES: i64 = 2_000_000;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(aligned))
        .routes(routes!(below))
}

/// What of a bucket's readings is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    #[default]
    Mean,
    Min,
    Max,
    First,
    Last,
    /// Each value holds until the next one.
    TimeMean,
    /// Readings that are not bad.
    Count,
    Sum,
    /// Part of the readings that are good, 0 to 1.
    QualityShare,
}

impl Statistic {
    /// What is needed of the buckets, and no more.
    async fn read(
        self,
        db: &mut PgConnection,
        ids: &[ChannelId],
        from: Timestamp,
        to: Timestamp,
        grid: Grid,
    ) -> Result<Vec<Stat>, sqlx::Error> {
        match self {
            Self::Mean | Self::Min | Self::Max | Self::Count | Self::Sum => {
                outline(db, ids, from, to, grid).await
            }
            Self::First | Self::Last | Self::TimeMean | Self::QualityShare => {
                stats(db, ids, from, to, grid).await
            }
        }
    }

    fn of(self, stat: &Stat) -> Option<f64> {
        match self {
            Self::Mean => stat.mean,
            Self::Min => stat.low,
            Self::Max => stat.high,
            Self::First => stat.first_value,
            Self::Last => stat.last_value,
            Self::TimeMean => stat.time_mean,
            Self::Count => Some(stat.n as f64),
            Self::Sum => stat.mean.map(|mean| mean * stat.n as f64),
            Self::QualityShare => Some(stat.good as f64 / stat.readings.max(1) as f64),
        }
    }
}

/// What buckets are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// The coarsest rollup that gives the exact result.
    #[default]
    Auto,
    Raw,
    Minute,
    Hour,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AlignedQuery {
    /// `chn_…` by comma; all channels, if there are no more than 500, when neither this nor an asset is given.
    channel_id: Option<String>,
    /// The channels of this asset and of all below it.
    asset_id: Option<AssetId>,
    /// RFC 3339 or seconds since 1970; a day before `to` when left out.
    from: Option<String>,
    /// Exclusive; now when left out.
    to: Option<String>,
    /// Width of a bucket in seconds; by `points` when left out.
    step_s: Option<f64>,
    /// About how many buckets, 10 to 5000; 600 when left out.
    #[param(minimum = 10, maximum = 5000)]
    points: Option<u32>,
    #[serde(default)]
    #[param(inline)]
    statistic: Statistic,
    /// What stands where nothing was measured: `none` (null), `previous`, `linear`.
    #[serde(default)]
    #[param(inline)]
    fill: Fill,
    #[serde(default)]
    #[param(inline)]
    resolution: Resolution,
}

#[derive(Serialize, ToSchema)]
pub struct AlignedChannel {
    channel_id: ChannelId,
    asset_id: Option<AssetId>,
    name: String,
    #[schema(example = "mm/s")]
    unit: String,
    /// As many as `ts`; `null` = nothing.
    values: Vec<Option<f64>>,
}

#[derive(Serialize, ToSchema)]
pub struct Aligned {
    from: Timestamp,
    to: Timestamp,
    step_s: f64,
    statistic: Statistic,
    /// Starts of the buckets, seconds since 1970.
    ts: Vec<f64>,
    data: Vec<AlignedChannel>,
}

/// The rows of each channel; they come channel by channel.
fn by_channel(rows: &[Stat]) -> HashMap<ChannelId, &[Stat]> {
    rows.chunk_by(|a, b| a.channel_id == b.channel_id)
        .map(|rows| (rows[0].channel_id, rows))
        .collect()
}

fn lay(
    lattice: &Lattice,
    rows: &HashMap<ChannelId, &[Stat]>,
    channel: ChannelId,
    what: Statistic,
) -> Vec<Option<f64>> {
    let mine = rows.get(&channel).copied().unwrap_or_default();
    lattice.lay(mine.iter().map(|stat| (stat.ts, what.of(stat))))
}

fn grid(from: Timestamp, to: Timestamp, step_s: Option<f64>, points: Option<u32>) -> Result<Grid, Problem> {
    let grid = match step_s {
        Some(step_s) if (0.001..=1e9).contains(&step_s) => {
            let width_us = (step_s * 1e6).round() as i64;
            // Counted from 1970, so that two queries have the same buckets.
            Grid::new(
                width_us,
                Timestamp::from_micros(from.micros().div_euclid(width_us) * width_us),
            )
        }
        Some(step_s) => return Err(Problem::query("step_s", format!("{step_s} is not 0.001 or more"))),
        None => match points.unwrap_or(600) {
            points @ 10..=5000 => Grid::choose(from, to, points),
            other => return Err(Problem::query("points", format!("{other} is not 10 to 5000"))),
        },
    };
    Ok(grid)
}

/// Several channels by the same buckets.
#[utoipa::path(get, path = "/v1/series", operation_id = "list_series", tag = "channels", params(AlignedQuery),
    responses((status = 200, body = Aligned)), security(("bearer" = ["assets:read"])))]
async fn aligned(
    mut tenant: Tenant<AssetsRead>,
    Query(query): Query<AlignedQuery>,
) -> Result<Json<Aligned>, Problem> {
    let (from, to) = range(query.from.as_deref(), query.to.as_deref(), 86_400.0)?;
    let mut grid = grid(from, to, query.step_s, query.points)?;
    grid.level = match (query.resolution, grid.level) {
        (Resolution::Auto, level) => level,
        (Resolution::Raw, _) => Level::Raw,
        (Resolution::Minute, Level::Minute | Level::Hour) => Level::Minute,
        (Resolution::Hour, Level::Hour) => Level::Hour,
        (Resolution::Minute, _) => {
            return Err(Problem::query(
                "resolution",
                "minute needs steps of whole minutes",
            ));
        }
        (Resolution::Hour, _) => return Err(Problem::query("resolution", "hour needs steps of whole hours")),
    };
    let places = chosen(
        &mut tenant,
        query.channel_id.as_deref(),
        query.asset_id,
        MOST_CHANNELS,
    )
    .await?;
    let lattice = Lattice::new(grid, from, to);
    if lattice.len() as i64 * places.len().max(1) as i64 > MOST_VALUES {
        return Err(Problem::query(
            "step_s",
            format!(
                "{} channels × {} buckets are too many at once",
                places.len(),
                lattice.len()
            ),
        ));
    }
    let ids: Vec<ChannelId> = places.iter().map(|place| place.id).collect();
    let rows = query.statistic.read(tenant.db(), &ids, from, to, grid).await?;
    let rows = by_channel(&rows);
    let before = if query.fill == Fill::Previous {
        moments::at(tenant.db(), &ids, &[from], 366 * 86_400 * 1_000_000).await?
    } else {
        Vec::new()
    };
    let data = places
        .into_iter()
        .map(|place| {
            let mut values = lay(&lattice, &rows, place.id, query.statistic);
            let before = before
                .iter()
                .find(|row| row.channel_id == place.id)
                .map(|row| row.value);
            query.fill.apply(&mut values, before);
            AlignedChannel {
                channel_id: place.id,
                asset_id: place.asset_id,
                name: place.name,
                unit: place.unit,
                values,
            }
        })
        .collect();
    Ok(Json(Aligned {
        from,
        to,
        step_s: grid.width_us as f64 / 1e6,
        statistic: query.statistic,
        ts: lattice.seconds(),
        data,
    }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BelowQuery {
    /// Only channels of this name.
    channel: Option<String>,
    /// RFC 3339 or seconds since 1970; a day before `to` when left out.
    from: Option<String>,
    /// Exclusive; now when left out.
    to: Option<String>,
    /// Width of a bucket in seconds; by `points` when left out.
    step_s: Option<f64>,
    #[param(minimum = 10, maximum = 5000)]
    points: Option<u32>,
    /// What of each channel's bucket is taken.
    #[serde(default)]
    #[param(inline)]
    statistic: Statistic,
    /// How the channels are put together: `mean`, `sum`, `min`, `max` or `count`.
    #[serde(default)]
    #[param(inline)]
    across: Across,
}

/// Channels of one name and unit, put together.
#[derive(Serialize, ToSchema)]
pub struct Together {
    name: String,
    #[schema(example = "mm/s")]
    unit: String,
    channels: usize,
    /// As many as `ts`; `null` = no channel had anything.
    values: Vec<Option<f64>>,
    /// Channels that had something in the bucket.
    present: Vec<u32>,
}

#[derive(Serialize, ToSchema)]
pub struct BelowAsset {
    from: Timestamp,
    to: Timestamp,
    step_s: f64,
    statistic: Statistic,
    across: Across,
    /// Starts of the buckets, seconds since 1970.
    ts: Vec<f64>,
    data: Vec<Together>,
}

/// The channels of an asset and of all assets below it, put together by name and unit.
#[utoipa::path(get, path = "/v1/assets/{id}/aggregate", operation_id = "get_asset_aggregate", tag = "channels",
    params(("id" = AssetId, Path), BelowQuery), responses((status = 200, body = BelowAsset)),
    security(("bearer" = ["assets:read"])))]
async fn below(
    mut tenant: Tenant<AssetsRead>,
    Path(id): Path<AssetId>,
    Query(query): Query<BelowQuery>,
) -> Result<Json<BelowAsset>, Problem> {
    let (from, to) = range(query.from.as_deref(), query.to.as_deref(), 86_400.0)?;
    let grid = grid(from, to, query.step_s, query.points)?;
    overview::asset(tenant.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let mut places = chosen(&mut tenant, None, Some(id), MOST_CHANNELS).await?;
    places.retain(|place| query.channel.as_ref().is_none_or(|name| *name == place.name));
    let lattice = Lattice::new(grid, from, to);
    if lattice.len() as i64 * places.len().max(1) as i64 > MOST_VALUES {
        return Err(Problem::query("step_s", "too many channels × buckets at once"));
    }
    let ids: Vec<ChannelId> = places.iter().map(|place| place.id).collect();
    let rows = query.statistic.read(tenant.db(), &ids, from, to, grid).await?;
    let rows = by_channel(&rows);
    places.sort_by(|a, b| (&a.name, &a.unit).cmp(&(&b.name, &b.unit)));
    let data = places
        .chunk_by(|a, b| (&a.name, &a.unit) == (&b.name, &b.unit))
        .map(|alike| {
            let laid: Vec<Vec<Option<f64>>> = alike
                .iter()
                .map(|place| lay(&lattice, &rows, place.id, query.statistic))
                .collect();
            let (values, present) = query.across.combine(&laid, lattice.len());
            Together {
                name: alike[0].name.clone(),
                unit: alike[0].unit.clone(),
                channels: alike.len(),
                values,
                present,
            }
        })
        .collect();
    Ok(Json(BelowAsset {
        from,
        to,
        step_s: grid.width_us as f64 / 1e6,
        statistic: query.statistic,
        across: query.across,
        ts: lattice.seconds(),
        data,
    }))
}

//! What many channels show: now, or at a moment of the past.

use std::collections::HashMap;

use axum::Json;
use models::db::history::{self, RawPoint, moments, tree};
use models::id::{AssetId, ChannelId};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::channels::ReadingView;
use super::{moment, words};
use crate::error::Problem;
use crate::extract::{Query, Tenant, may::AssetsRead};
use crate::state::App;

/// Channels of one answer.
pub const MOST_CHANNELS: i64 = 10_000;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(latest))
        .routes(routes!(state))
}

/// Which channels a query speaks of.
///
/// # Errors
/// 400 when an id is none, or there are more than `most`.
pub async fn chosen(
    tenant: &mut Tenant<AssetsRead>,
    channel_id: Option<&str>,
    asset_id: Option<AssetId>,
    most: i64,
) -> Result<Vec<tree::ChannelPlace>, Problem> {
    let ids: Vec<ChannelId> = words("channel_id", channel_id)?;
    let which = tree::Which {
        ids,
        below: asset_id,
        name: None,
    };
    let places = tree::places(tenant.db(), &which, most + 1).await?;
    if i64::try_from(places.len()).unwrap_or(i64::MAX) > most {
        return Err(Problem::query(
            "channel_id",
            format!("more than {most} channels: name some, or an asset_id"),
        ));
    }
    Ok(places)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LatestQuery {
    /// `chn_…` by comma; all channels when neither this nor an asset is given.
    channel_id: Option<String>,
    /// The channels of this asset and of all below it.
    asset_id: Option<AssetId>,
}

/// A channel and what it showed.
#[derive(Serialize, ToSchema)]
pub struct Shown {
    channel_id: ChannelId,
    asset_id: Option<AssetId>,
    name: String,
    #[schema(example = "mm/s")]
    unit: String,
    /// `null` = nothing until then.
    reading: Option<ReadingView>,
}

#[derive(Serialize, ToSchema)]
pub struct State {
    at: Timestamp,
    data: Vec<Shown>,
}

fn shown(places: Vec<tree::ChannelPlace>, found: &HashMap<ChannelId, RawPoint>) -> Vec<Shown> {
    places
        .into_iter()
        .map(|place| Shown {
            channel_id: place.id,
            asset_id: place.asset_id,
            name: place.name,
            unit: place.unit,
            reading: found.get(&place.id).copied().map(Into::into),
        })
        .collect()
}

/// The newest reading, by its own time and of any quality, of up to 10,000 channels.
#[utoipa::path(get, path = "/v1/latest", operation_id = "list_latest", tag = "channels", params(LatestQuery),
    responses((status = 200, body = State)), security(("bearer" = ["assets:read"])))]
async fn latest(
    mut tenant: Tenant<AssetsRead>,
    Query(query): Query<LatestQuery>,
) -> Result<Json<State>, Problem> {
    let places = chosen(
        &mut tenant,
        query.channel_id.as_deref(),
        query.asset_id,
        MOST_CHANNELS,
    )
    .await?;
    let ids: Vec<ChannelId> = places.iter().map(|place| place.id).collect();
    let found = history::latest(tenant.db(), &ids).await?.into_iter().collect();
    Ok(Json(State {
        at: Timestamp::now(),
        data: shown(places, &found),
    }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StateQuery {
    /// RFC 3339 or seconds since 1970; now when left out.
    at: Option<String>,
    /// `chn_…` by comma; all channels when neither this nor an asset is given.
    channel_id: Option<String>,
    /// The channels of this asset and of all below it.
    asset_id: Option<AssetId>,
    /// Seconds before `at` that are looked back; a year when left out.
    #[param(minimum = 1)]
    within_s: Option<f64>,
}

/// What the channels showed at a moment: of each the newest reading until then that is not bad.
#[utoipa::path(get, path = "/v1/state", operation_id = "get_state", tag = "channels", params(StateQuery),
    responses((status = 200, body = State)), security(("bearer" = ["assets:read"])))]
async fn state(
    mut tenant: Tenant<AssetsRead>,
    Query(query): Query<StateQuery>,
) -> Result<Json<State>, Problem> {
    let at = moment("at", query.at.as_deref())?.unwrap_or_else(Timestamp::now);
    let within_s = query.within_s.unwrap_or(366.0 * 86_400.0);
    if !(1.0..=1e11).contains(&within_s) {
        return Err(Problem::query("within_s", format!("{within_s} is not 1 or more")));
    }
    let places = chosen(
        &mut tenant,
        query.channel_id.as_deref(),
        query.asset_id,
        MOST_CHANNELS,
    )
    .await?;
    let ids: Vec<ChannelId> = places.iter().map(|place| place.id).collect();
    let found = moments::at(tenant.db(), &ids, &[at], (within_s * 1e6) as i64)
        .await?
        .into_iter()
        .map(|row| {
            let point = RawPoint {
                ts: row.ts,
                value: row.value,
                quality: row.quality,
            };
            (row.channel_id, point)
        })
        .collect();
    Ok(Json(State {
        at,
        data: shown(places, &found),
    }))
}

//! Channels and where they are bound.

use std::collections::HashMap;

use axum::Json;
use axum::response::Response;
use models::asset::ChannelKind;
use models::db::history;
use models::db::overview::{self, ChannelChange, ChannelRow};
use models::db::sent;
use models::id::{AssetId, ChannelId, DeviceId};
use models::reading::Quality;
use models::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{GatewayRef, Named, Paging, check_asset};
use crate::error::Problem;
use crate::extract::may::{AssetsRead, AssetsWrite};
use crate::extract::{Answer, Command, Path, Query, Tenant};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(of_asset))
        .routes(routes!(list))
        .routes(routes!(get, change))
        .routes(routes!(as_sent))
}

/// One value of a channel.
#[derive(Serialize, ToSchema)]
pub struct ReadingView {
    pub ts: Timestamp,
    pub value: f64,
    /// `good`, `suspect` or `bad`.
    #[schema(value_type = String, example = "good")]
    pub quality: Quality,
}

impl From<history::RawPoint> for ReadingView {
    fn from(point: history::RawPoint) -> Self {
        Self {
            ts: point.ts,
            value: point.value,
            quality: Quality::from_code(point.quality),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct Channel {
    pub id: ChannelId,
    pub asset_id: Option<AssetId>,
    pub name: String,
    pub label: Option<String>,
    /// UCUM.
    #[schema(example = "mm/s")]
    pub unit: String,
    pub kind: ChannelKind,
    pub device: Named<DeviceId>,
    pub gateway: GatewayRef,
    /// Since when its device is away, as the gateway says (Sparkplug's deaths, ThingsBoard's
    /// disconnect): the newest reading is stale. `null` = live, or nobody says such things.
    pub stale_since: Option<Timestamp>,
    /// Expected seconds between readings; `null` = irregular.
    pub cadence_s: Option<f64>,
    pub plausible_min: Option<f64>,
    pub plausible_max: Option<f64>,
    /// The newest reading by its own time.
    pub latest: Option<ReadingView>,
}

impl Channel {
    fn of(row: ChannelRow, latest: Option<history::RawPoint>) -> Self {
        Self {
            id: row.id,
            asset_id: row.asset_id,
            name: row.name,
            label: row.label,
            unit: row.unit,
            kind: row.kind,
            device: Named::new(row.device_id, row.device_name),
            gateway: GatewayRef {
                id: row.gateway_id,
                slug: row.gateway_slug,
            },
            stale_since: row.stale_since,
            cadence_s: row.cadence_s,
            plausible_min: row.plausible_min,
            plausible_max: row.plausible_max,
            latest: latest.map(Into::into),
        }
    }
}

async fn page_of(
    db: &mut PgConnection,
    asset: Option<AssetId>,
    unassigned: bool,
    limit: Option<u32>,
    cursor: Option<&str>,
) -> Result<Page<Channel>, Problem> {
    let limit = page::limit(limit)?;
    let after: Option<ChannelId> = page::read_cursor("channels", cursor)?;
    let rows = overview::channels(db, asset, unassigned, after, limit + 1).await?;
    let ids: Vec<ChannelId> = rows.iter().map(|row| row.id).collect();
    let latest: HashMap<ChannelId, history::RawPoint> =
        history::latest(db, &ids).await?.into_iter().collect();
    Ok(Page::of(
        "channels",
        limit,
        rows,
        |row| row.id,
        |row| {
            let latest = latest.get(&row.id).copied();
            Channel::of(row, latest)
        },
    ))
}

/// The channels of an asset with their newest readings.
#[utoipa::path(get, path = "/v1/assets/{id}/channels", operation_id = "list_asset_channels", tag = "channels",
    params(("id" = AssetId, Path), Paging), responses((status = 200, body = Page<Channel>)),
    security(("bearer" = ["assets:read"])))]
async fn of_asset(
    mut tenant: Tenant<AssetsRead>,
    Path(id): Path<AssetId>,
    Query(query): Query<Paging>,
) -> Result<Json<Page<Channel>>, Problem> {
    overview::asset(tenant.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    Ok(Json(
        page_of(tenant.db(), Some(id), false, query.limit, query.cursor.as_deref()).await?,
    ))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ChannelQuery {
    asset_id: Option<AssetId>,
    /// Only those that sit on no asset.
    #[serde(default)]
    unassigned: bool,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    cursor: Option<String>,
}

/// The tenant's channels.
#[utoipa::path(get, path = "/v1/channels", operation_id = "list_channels", tag = "channels", params(ChannelQuery),
    responses((status = 200, body = Page<Channel>)), security(("bearer" = ["assets:read"])))]
async fn list(
    mut tenant: Tenant<AssetsRead>,
    Query(query): Query<ChannelQuery>,
) -> Result<Json<Page<Channel>>, Problem> {
    let cursor = query.cursor.as_deref();
    Ok(Json(
        page_of(tenant.db(), query.asset_id, query.unassigned, query.limit, cursor).await?,
    ))
}

async fn one(db: &mut PgConnection, id: ChannelId) -> Result<Channel, Problem> {
    let row = overview::channel(db, id).await?.ok_or_else(Problem::not_found)?;
    let latest = history::latest(db, &[id])
        .await?
        .into_iter()
        .next()
        .map(|(_, point)| point);
    Ok(Channel::of(row, latest))
}

/// One channel.
#[utoipa::path(get, path = "/v1/channels/{id}", operation_id = "get_channel", tag = "channels",
    params(("id" = ChannelId, Path)), responses((status = 200, body = Channel)),
    security(("bearer" = ["assets:read"])))]
async fn get(mut tenant: Tenant<AssetsRead>, Path(id): Path<ChannelId>) -> Result<Json<Channel>, Problem> {
    Ok(Json(one(tenant.db(), id).await?))
}

/// A reading as it was sent.
#[derive(Serialize, ToSchema)]
pub struct SentReading {
    ts: Timestamp,
    /// In the unit it came in.
    value: f64,
    #[schema(example = "[degF]")]
    unit: String,
    /// In the channel's unit.
    stored: f64,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SentQuery {
    /// A day before `to` unless given.
    from: Option<Timestamp>,
    /// Up to, and without, this moment; now unless given.
    to: Option<Timestamp>,
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<u32>,
}

/// Readings as the gateway sent them, before the conversion to the channel's unit; oldest first.
#[utoipa::path(get, path = "/v1/channels/{id}/sent", operation_id = "list_sent_readings", tag = "channels",
    params(("id" = ChannelId, Path), SentQuery), responses((status = 200, body = Vec<SentReading>)),
    security(("bearer" = ["assets:read"])))]
async fn as_sent(
    mut tenant: Tenant<AssetsRead>,
    Path(id): Path<ChannelId>,
    Query(query): Query<SentQuery>,
) -> Result<Json<Vec<SentReading>>, Problem> {
    overview::channel(tenant.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let limit = i32::try_from(query.limit.unwrap_or(1_000).clamp(1, 10_000)).unwrap_or(1_000);
    let to = query.to.unwrap_or_else(Timestamp::now);
    let a_day_before = Timestamp::from_micros(to.micros().saturating_sub(86_400_000_000));
    let from = query.from.unwrap_or(a_day_before);
    let rows = sent::history(tenant.db(), id, from, to, limit).await?;
    let shown = rows.into_iter().map(|row| SentReading {
        ts: row.ts,
        value: row.value,
        unit: row.unit,
        stored: row.stored,
    });
    Ok(Json(shown.collect()))
}

/// Tells `null` (take it off its asset) from a missing key (leave it).
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<AssetId>>, D::Error> {
    Option::<AssetId>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "label": "Drive end, radial", "unit": "mm/s" }))]
pub struct ChangeChannel {
    /// `null` takes it off its asset. The history stays with the channel.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<AssetId>)]
    asset_id: Option<Option<AssetId>>,
    label: Option<String>,
    /// UCUM. Readings are stored in the unit that was valid when they came; they are not converted.
    unit: Option<String>,
    kind: Option<ChannelKind>,
    cadence_s: Option<f64>,
    plausible_min: Option<f64>,
    plausible_max: Option<f64>,
}

/// Change what is given; the rest stays.
#[utoipa::path(patch, path = "/v1/channels/{id}", operation_id = "change_channel", tag = "channels",
    params(("id" = ChannelId, Path)), request_body = ChangeChannel, responses((status = 200, body = Channel)),
    security(("bearer" = ["assets:write"])))]
async fn change(
    Path(id): Path<ChannelId>,
    mut command: Command<AssetsWrite, ChangeChannel>,
) -> Result<Response, Problem> {
    let body = &mut command.body;
    if body.cadence_s.is_some_and(|seconds| seconds <= 0.0) {
        return Err(Problem::field("/cadence_s", "above 0"));
    }
    if body.unit.as_deref().is_some_and(str::is_empty) {
        return Err(Problem::field("/unit", "a UCUM code; 1 = dimensionless"));
    }
    let (asset_id, label, unit) = (body.asset_id, body.label.take(), body.unit.take());
    if let Some(Some(asset)) = asset_id {
        check_asset(command.db(), "/asset_id", asset).await?;
    }
    let body = &command.body;
    let change = ChannelChange {
        asset_id,
        label,
        unit,
        kind: body.kind,
        cadence_s: body.cadence_s,
        plausible_min: body.plausible_min,
        plausible_max: body.plausible_max,
    };
    if !overview::change_channel(command.db(), id, &change).await? {
        return Err(Problem::not_found());
    }
    let detail = json!({ "unit": change.unit, "asset_id": change.asset_id.flatten() });
    command.audit("channel.change", &id.to_string(), &detail).await?;
    let shown = one(command.db(), id).await?;
    command.finish(Answer::ok(&shown)?).await
}

//! Assets with their health.

use axum::Json;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use models::asset::{AssetStatus, Criticality};
use models::db::overview::{self, AssetChange, AssetFilter, AssetRow, AssetSort};
use models::db::register;
use models::id::{AreaId, AssetClassId, AssetId, DeviceId, SiteId};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::rolled_up::{RollUps, RolledUp};
use super::{FailureModeRef, Named, check_asset};
use crate::error::{Kind, Problem};
use crate::extract::may::{AssetsRead, AssetsWrite};
use crate::extract::{Answer, Command, Path, Query, Tenant, etag};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, change))
        .routes(routes!(by_qr))
}

#[derive(Serialize, ToSchema)]
pub struct SiteRef {
    pub id: SiteId,
    pub name: String,
    pub time_zone: String,
}

#[derive(Serialize, ToSchema)]
pub struct TopFactor {
    name: String,
    text: String,
    penalty: f64,
}

/// 100 = as new, 0 = functional failure.
#[derive(Serialize, ToSchema)]
pub struct HealthNow {
    #[schema(example = 62.5)]
    value: f64,
    /// Share of the expected readings that came, 0 to 1.
    coverage: f64,
    /// Age of the newest reading when it was assessed.
    freshness_s: f64,
    /// Time of the newest reading it rests on.
    as_of: Timestamp,
    /// Nothing newer came for long: silence is not health.
    stale: bool,
    top_factor: Option<TopFactor>,
}

#[derive(Serialize, ToSchema)]
pub struct Interval {
    p: f64,
    low: f64,
    high: f64,
}

#[derive(Serialize, ToSchema)]
pub struct Asset {
    id: AssetId,
    name: String,
    class: Named<AssetClassId>,
    site: SiteRef,
    area: Option<Named<AreaId>>,
    parent_id: Option<AssetId>,
    status: AssetStatus,
    criticality: Criticality,
    manufacturer: Option<String>,
    model: Option<String>,
    serial_number: Option<String>,
    installed_at: Option<Timestamp>,
    row_version: i32,
    /// Its own, without its parts; `null` until it was assessed.
    health: Option<HealthNow>,
    rolled_up: RolledUp,
    /// Probability of failing within 30 days.
    p_fail_30d: Option<Interval>,
    alarms_active: i64,
    tickets_open: i64,
}

/// An asset with everything that stands on its page.
#[derive(Serialize, ToSchema)]
pub struct AssetDetail {
    #[serde(flatten)]
    asset: Asset,
    attributes: Value,
    external_ref: Option<String>,
    downtime_cost_per_h: Option<f64>,
    /// Printed on the machine.
    qr_token: String,
    children: Vec<Named<AssetId>>,
    devices: Vec<Named<DeviceId>>,
    /// How the asset's class can fail.
    failure_modes: Vec<FailureModeRef>,
}

impl Asset {
    fn of(row: AssetRow, rolled_up: RolledUp) -> Self {
        let top_factor = row.factors.and_then(|factors| {
            factors
                .0
                .into_iter()
                .max_by(|a, b| a.penalty.total_cmp(&b.penalty))
                .map(|factor| TopFactor {
                    name: factor.name,
                    text: factor.text,
                    penalty: factor.penalty,
                })
        });
        let p_fail_30d = row
            .p_fail
            .and_then(|all| all.0.into_iter().find(|one| one.horizon_h == 720));
        Self {
            id: row.id,
            name: row.name,
            class: Named::new(row.class_id, row.class_name),
            site: SiteRef {
                id: row.site_id,
                name: row.site_name,
                time_zone: row.time_zone,
            },
            area: Named::maybe(row.area_id, row.area_name),
            parent_id: row.parent_id,
            status: row.status,
            criticality: row.criticality,
            manufacturer: row.manufacturer,
            model: row.model,
            serial_number: row.serial_number,
            installed_at: row.installed_at,
            row_version: row.row_version,
            health: row.health.zip(row.as_of).map(|(value, as_of)| HealthNow {
                value,
                coverage: row.coverage.unwrap_or_default(),
                freshness_s: row.freshness_s.unwrap_or_default(),
                as_of,
                stale: row.stale.unwrap_or(true),
                top_factor,
            }),
            rolled_up,
            p_fail_30d: p_fail_30d.map(|one| Interval {
                p: one.p,
                low: one.low,
                high: one.high,
            }),
            alarms_active: row.alarms_active,
            tickets_open: row.tickets_open,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Sort {
    #[default]
    Name,
    /// Worst first, never assessed last.
    Health,
    /// The same by health together with parts.
    RolledUp,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AssetQuery {
    site_id: Option<SiteId>,
    /// Name of the class.
    class: Option<String>,
    /// Part of the name, the serial number or the external reference.
    q: Option<String>,
    status: Option<AssetStatus>,
    /// Its own health.
    health_below: Option<f64>,
    /// Its health together with its parts.
    rolled_up_below: Option<f64>,
    #[serde(default)]
    #[param(inline)]
    sort: Sort,
    /// Rows on a page, 1 to 200; 50 when left out.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The tenant's assets.
#[utoipa::path(get, path = "/v1/assets", operation_id = "list_assets", tag = "assets", params(AssetQuery),
    responses((status = 200, body = Page<Asset>)), security(("bearer" = ["assets:read"])))]
async fn list(
    mut tenant: Tenant<AssetsRead>,
    Query(query): Query<AssetQuery>,
) -> Result<Json<Page<Asset>>, Problem> {
    let limit = page::limit(query.limit)?;
    let (list, sort) = match query.sort {
        Sort::Name => ("assets.name", AssetSort::Name),
        Sort::Health => ("assets.health", AssetSort::Health),
        Sort::RolledUp => ("assets.rolled_up", AssetSort::RolledUp),
    };
    let after: Option<(String, AssetId)> = page::read_cursor(list, query.cursor.as_deref())?;
    // Who is worst with his parts is only known when all are; a page of names needs its own parts alone.
    let of_all = if sort == AssetSort::RolledUp || query.rolled_up_below.is_some() {
        Some(RollUps::read(tenant.db(), None).await?)
    } else {
        None
    };
    let filter = AssetFilter {
        site: query.site_id,
        class: query.class,
        text: query.q,
        status: query.status,
        health_below: query.health_below,
        rolled_up: of_all.as_ref().map(RollUps::values).unwrap_or_default(),
        rolled_up_below: query.rolled_up_below,
        sort,
    };
    let after = after.as_ref().map(|(key, id)| (key.as_str(), *id));
    let rows = overview::assets(tenant.db(), &filter, after, limit + 1).await?;
    let roll_ups = match of_all {
        Some(all) => all,
        None => {
            let ids: Vec<AssetId> = rows.iter().map(|row| row.id).collect();
            RollUps::read(tenant.db(), Some(&ids)).await?
        }
    };
    Ok(Json(Page::of(
        list,
        limit,
        rows,
        |row| (row.sort_key.clone(), row.id),
        |row| {
            let rolled_up = roll_ups.of(row.id);
            Asset::of(row, rolled_up)
        },
    )))
}

async fn detail(db: &mut PgConnection, id: AssetId) -> Result<AssetDetail, Problem> {
    let mut row = overview::asset(db, id).await?.ok_or_else(Problem::not_found)?;
    let rolled_up = RollUps::read(db, Some(&[id])).await?.of(id);
    let named = |(id, name)| Named::new(id, name);
    Ok(AssetDetail {
        attributes: row.attributes.take(),
        external_ref: row.external_ref.take(),
        downtime_cost_per_h: row.downtime_cost_per_h,
        qr_token: row.qr_token.clone(),
        children: overview::children(db, id).await?.into_iter().map(named).collect(),
        devices: overview::devices(db, id)
            .await?
            .into_iter()
            .map(|(id, name)| Named::new(id, name))
            .collect(),
        failure_modes: overview::failure_modes_of(db, id)
            .await?
            .into_iter()
            .map(|(id, code, name)| FailureModeRef { id, code, name })
            .collect(),
        asset: Asset::of(row, rolled_up),
    })
}

fn answer(detail: AssetDetail) -> Response {
    ([(ETAG, etag(detail.asset.row_version))], Json(detail)).into_response()
}

/// One asset.
#[utoipa::path(get, path = "/v1/assets/{id}", operation_id = "get_asset", tag = "assets",
    params(("id" = AssetId, Path)), responses((status = 200, body = AssetDetail)),
    security(("bearer" = ["assets:read"])))]
async fn get(mut tenant: Tenant<AssetsRead>, Path(id): Path<AssetId>) -> Result<Response, Problem> {
    Ok(answer(detail(tenant.db(), id).await?))
}

/// The asset whose QR code was scanned.
#[utoipa::path(get, path = "/v1/assets/by-qr/{token}", operation_id = "get_asset_by_qr", tag = "assets",
    params(("token" = String, Path)), responses((status = 200, body = AssetDetail)),
    security(("bearer" = ["assets:read"])))]
async fn by_qr(mut tenant: Tenant<AssetsRead>, Path(token): Path<String>) -> Result<Response, Problem> {
    let id = overview::asset_by_qr(tenant.db(), &token)
        .await?
        .ok_or_else(Problem::not_found)?;
    Ok(answer(detail(tenant.db(), id).await?))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAsset {
    #[schema(example = "P-101")]
    name: String,
    site_id: SiteId,
    area_id: Option<AreaId>,
    /// Name of the class; made if it isn't there yet.
    #[schema(example = "centrifugal pump")]
    class: String,
    parent_id: Option<AssetId>,
    #[serde(default)]
    status: AssetStatus,
    #[serde(default)]
    criticality: Criticality,
    manufacturer: Option<String>,
    model: Option<String>,
    serial_number: Option<String>,
    installed_at: Option<Timestamp>,
    external_ref: Option<String>,
    #[serde(default)]
    attributes: serde_json::Map<String, Value>,
    downtime_cost_per_h: Option<f64>,
}

fn check_name(name: &str) -> Result<(), Problem> {
    if name.trim().is_empty() || name.len() > 200 {
        return Err(Problem::field("/name", "a name has 1 to 200 characters"));
    }
    Ok(())
}

fn check_cost(cost: Option<f64>) -> Result<(), Problem> {
    match cost {
        Some(cost) if cost < 0.0 => Err(Problem::field("/downtime_cost_per_h", "not below 0")),
        _ => Ok(()),
    }
}

/// Register an asset.
#[utoipa::path(post, path = "/v1/assets", operation_id = "create_asset", tag = "assets", request_body = NewAsset,
    responses((status = 201, body = AssetDetail)), security(("bearer" = ["assets:write"])))]
async fn create(mut command: Command<AssetsWrite, NewAsset>) -> Result<Response, Problem> {
    check_name(&command.body.name)?;
    check_cost(command.body.downtime_cost_per_h)?;
    if command.body.class.trim().is_empty() {
        return Err(Problem::field("/class", "an asset has a class"));
    }
    if let Some(parent) = command.body.parent_id {
        check_asset(command.db(), "/parent_id", parent).await?;
    }
    let tenant = command.principal().tenant;
    let class_name = command.body.class.clone();
    let class = register::NewAssetClass {
        tenant,
        name: class_name.trim(),
        weibull: None,
    };
    let class = register::ensure_asset_class(command.db(), &class).await?;
    let body = std::mem::take(&mut command.body.attributes);
    let NewAsset {
        name,
        manufacturer,
        model,
        serial_number,
        external_ref,
        ..
    } = &command.body;
    let (name, manufacturer, model, serial_number, external_ref) = (
        name.trim().to_owned(),
        manufacturer.clone(),
        model.clone(),
        serial_number.clone(),
        external_ref.clone(),
    );
    let new = register::NewAsset {
        tenant,
        site: command.body.site_id,
        area: command.body.area_id,
        class,
        parent: command.body.parent_id,
        name: &name,
        status: command.body.status,
        criticality: command.body.criticality,
        manufacturer: manufacturer.as_deref(),
        model: model.as_deref(),
        serial_number: serial_number.as_deref(),
        installed_at: command.body.installed_at,
        external_ref: external_ref.as_deref(),
        attributes: Value::Object(body),
        downtime_cost_per_h: command.body.downtime_cost_per_h,
    };
    let id = register::create_asset(command.db(), &new).await?;
    command
        .audit("asset.create", &id.to_string(), &json!({ "name": name }))
        .await?;
    let shown = detail(command.db(), id).await?;
    let version = shown.asset.row_version;
    command
        .finish(Answer::created(format!("/v1/assets/{id}"), &shown)?.version(version))
        .await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "status": "maintenance" }))]
pub struct ChangeAsset {
    name: Option<String>,
    status: Option<AssetStatus>,
    criticality: Option<Criticality>,
    area_id: Option<AreaId>,
    parent_id: Option<AssetId>,
    manufacturer: Option<String>,
    model: Option<String>,
    serial_number: Option<String>,
    installed_at: Option<Timestamp>,
    attributes: Option<serde_json::Map<String, Value>>,
    downtime_cost_per_h: Option<f64>,
}

/// Change what is given; the rest stays.
#[utoipa::path(patch, path = "/v1/assets/{id}", operation_id = "change_asset", tag = "assets",
    params(("id" = AssetId, Path), ("if-match" = String, Header)), request_body = ChangeAsset,
    responses((status = 200, body = AssetDetail)), security(("bearer" = ["assets:write"])))]
async fn change(
    Path(id): Path<AssetId>,
    mut command: Command<AssetsWrite, ChangeAsset>,
) -> Result<Response, Problem> {
    let current = overview::lock_asset(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let expected = command.expected()?;
    if expected != current {
        return Err(Problem::new(
            Kind::StaleVersion,
            format!("it has version {current} by now"),
        ));
    }
    check_cost(command.body.downtime_cost_per_h)?;
    if let Some(name) = &command.body.name {
        check_name(name)?;
    }
    if let Some(parent) = command.body.parent_id {
        check_asset(command.db(), "/parent_id", parent).await?;
        if overview::is_below(command.db(), parent, id).await? {
            return Err(Problem::field("/parent_id", "an asset can't stand below itself"));
        }
    }
    let body = &mut command.body;
    let change = AssetChange {
        name: body.name.take().map(|name| name.trim().to_owned()),
        status: body.status,
        criticality: body.criticality,
        area_id: body.area_id,
        parent_id: body.parent_id,
        manufacturer: body.manufacturer.take(),
        model: body.model.take(),
        serial_number: body.serial_number.take(),
        installed_at: body.installed_at,
        attributes: body.attributes.take().map(Value::Object),
        downtime_cost_per_h: body.downtime_cost_per_h,
    };
    overview::change_asset(command.db(), id, &change).await?;
    command
        .audit(
            "asset.change",
            &id.to_string(),
            &json!({ "from_version": current, "status": change.status }),
        )
        .await?;
    let shown = detail(command.db(), id).await?;
    let version = shown.asset.row_version;
    command.finish(Answer::ok(&shown)?.version(version)).await
}

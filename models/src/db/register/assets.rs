//! Asset classes, assets, how they fail and what they are made of.

use serde_json::Value;
use sqlx::PgConnection;

use crate::asset::{AssetStatus, Criticality};
use crate::db::auth::random_hex;
use crate::id::{AreaId, AssetClassId, AssetId, BomItemId, FailureModeId, SiteId, TenantId};
use crate::time::Timestamp;

#[derive(Clone, Debug)]
pub struct NewAssetClass<'a> {
    pub tenant: TenantId,
    pub name: &'a str,
    /// Weibull shape and scale in hours, until the class has failures of its own.
    pub weibull: Option<(f64, f64)>,
}

/// # Errors
/// `asset_class_tenant_id_name_key` when the name is taken.
pub async fn create_asset_class(
    connection: &mut PgConnection,
    new: &NewAssetClass<'_>,
) -> Result<AssetClassId, sqlx::Error> {
    let id = AssetClassId::new();
    sqlx::query(
        "INSERT INTO asset_class (id, tenant_id, name, weibull_shape, weibull_scale_h) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(id)
    .bind(new.tenant)
    .bind(new.name)
    .bind(new.weibull.map(|(shape, _)| shape))
    .bind(new.weibull.map(|(_, scale)| scale))
    .execute(connection)
    .await?;
    Ok(id)
}

/// By tenant and name.
///
/// # Errors
/// When the database does.
pub async fn ensure_asset_class(
    connection: &mut PgConnection,
    new: &NewAssetClass<'_>,
) -> Result<AssetClassId, sqlx::Error> {
    let found = sqlx::query_scalar("SELECT id FROM asset_class WHERE tenant_id = $1 AND name = $2")
        .bind(new.tenant)
        .bind(new.name)
        .fetch_optional(&mut *connection)
        .await?;
    match found {
        Some(id) => Ok(id),
        None => create_asset_class(connection, new).await,
    }
}

#[derive(Clone, Debug)]
pub struct NewAsset<'a> {
    pub tenant: TenantId,
    pub site: SiteId,
    pub area: Option<AreaId>,
    pub class: AssetClassId,
    pub parent: Option<AssetId>,
    pub name: &'a str,
    pub status: AssetStatus,
    pub criticality: Criticality,
    pub manufacturer: Option<&'a str>,
    pub model: Option<&'a str>,
    pub serial_number: Option<&'a str>,
    pub installed_at: Option<Timestamp>,
    /// Id in another system.
    pub external_ref: Option<&'a str>,
    /// A JSON object.
    pub attributes: Value,
    /// In the tenant's currency.
    pub downtime_cost_per_h: Option<f64>,
}

impl<'a> NewAsset<'a> {
    /// Operational, of medium criticality, and nothing else known.
    pub fn named(tenant: TenantId, site: SiteId, class: AssetClassId, name: &'a str) -> Self {
        Self {
            tenant,
            site,
            area: None,
            class,
            parent: None,
            name,
            status: AssetStatus::default(),
            criticality: Criticality::default(),
            manufacturer: None,
            model: None,
            serial_number: None,
            installed_at: None,
            external_ref: None,
            attributes: Value::Object(serde_json::Map::new()),
            downtime_cost_per_h: None,
        }
    }
}

/// Also puts the asset on the schedule of assessments and gives it a QR token.
///
/// # Errors
/// `asset_tenant_id_site_id_name_key` when the name is taken on the site; a foreign key when site,
/// area, class or parent are not the tenant's.
pub async fn create_asset(connection: &mut PgConnection, new: &NewAsset<'_>) -> Result<AssetId, sqlx::Error> {
    let id = AssetId::new();
    sqlx::query(
        "INSERT INTO asset (id, tenant_id, site_id, area_id, class_id, parent_id, name, status, criticality, qr_token,
                            manufacturer, model, serial_number, installed_at, external_ref, attributes,
                            downtime_cost_per_h)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
    )
    .bind(id)
    .bind(new.tenant)
    .bind(new.site)
    .bind(new.area)
    .bind(new.class)
    .bind(new.parent)
    .bind(new.name)
    .bind(new.status)
    .bind(new.criticality)
    .bind(random_hex::<12>())
    .bind(new.manufacturer)
    .bind(new.model)
    .bind(new.serial_number)
    .bind(new.installed_at)
    .bind(new.external_ref)
    .bind(&new.attributes)
    .bind(new.downtime_cost_per_h)
    .execute(&mut *connection)
    .await?;
    sqlx::query("INSERT INTO assessment_schedule (asset_id, tenant_id) VALUES ($1, $2)")
        .bind(id)
        .bind(new.tenant)
        .execute(connection)
        .await?;
    Ok(id)
}

/// By tenant, site and name.
///
/// # Errors
/// When the database does.
pub async fn ensure_asset(connection: &mut PgConnection, new: &NewAsset<'_>) -> Result<AssetId, sqlx::Error> {
    let found =
        sqlx::query_scalar("SELECT id FROM asset WHERE tenant_id = $1 AND site_id = $2 AND name = $3")
            .bind(new.tenant)
            .bind(new.site)
            .bind(new.name)
            .fetch_optional(&mut *connection)
            .await?;
    match found {
        Some(id) => Ok(id),
        None => create_asset(connection, new).await,
    }
}

#[derive(Clone, Debug)]
pub struct NewFailureMode<'a> {
    pub tenant: TenantId,
    pub class: AssetClassId,
    /// The tenant's own word: `bearing_wear`.
    pub code: &'a str,
    pub name: &'a str,
    pub mechanism: Option<&'a str>,
    /// Days from detectable to failed.
    pub pf_interval_days: Option<f64>,
    pub required_skill: Option<&'a str>,
    pub repair_hours: Option<f64>,
    pub repair_cost: Option<f64>,
}

/// # Errors
/// `failure_mode_class_id_code_key` when the class has the code already.
pub async fn create_failure_mode(
    connection: &mut PgConnection,
    new: &NewFailureMode<'_>,
) -> Result<FailureModeId, sqlx::Error> {
    let id = FailureModeId::new();
    sqlx::query(
        "INSERT INTO failure_mode (id, tenant_id, class_id, code, name, mechanism, pf_interval_days, required_skill,
                                   repair_hours, repair_cost)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(id)
    .bind(new.tenant)
    .bind(new.class)
    .bind(new.code)
    .bind(new.name)
    .bind(new.mechanism)
    .bind(new.pf_interval_days)
    .bind(new.required_skill)
    .bind(new.repair_hours)
    .bind(new.repair_cost)
    .execute(connection)
    .await?;
    Ok(id)
}

/// By class and code.
///
/// # Errors
/// When the database does.
pub async fn ensure_failure_mode(
    connection: &mut PgConnection,
    new: &NewFailureMode<'_>,
) -> Result<FailureModeId, sqlx::Error> {
    let found = sqlx::query_scalar("SELECT id FROM failure_mode WHERE class_id = $1 AND code = $2")
        .bind(new.class)
        .bind(new.code)
        .fetch_optional(&mut *connection)
        .await?;
    match found {
        Some(id) => Ok(id),
        None => create_failure_mode(connection, new).await,
    }
}

#[derive(Clone, Debug)]
pub struct NewBomItem<'a> {
    pub tenant: TenantId,
    pub asset: AssetId,
    /// The failure mode whose repair needs the part; `None` = any.
    pub failure_mode: Option<FailureModeId>,
    pub part_number: &'a str,
    pub description: &'a str,
    pub quantity: f64,
    /// UCUM; `1` = pieces.
    pub unit: &'a str,
    pub lead_time_days: Option<f64>,
}

/// # Errors
/// A unique constraint when asset, part number and failure mode stand there already.
pub async fn create_bom_item(
    connection: &mut PgConnection,
    new: &NewBomItem<'_>,
) -> Result<BomItemId, sqlx::Error> {
    let id = BomItemId::new();
    sqlx::query(
        "INSERT INTO bom_item (id, tenant_id, asset_id, failure_mode_id, part_number, description, quantity, unit,
                               lead_time_days)
         VALUES ($1, $2, $3, $4, $5, $6, $7::double precision::numeric, $8, $9)",
    )
    .bind(id)
    .bind(new.tenant)
    .bind(new.asset)
    .bind(new.failure_mode)
    .bind(new.part_number)
    .bind(new.description)
    .bind(new.quantity)
    .bind(new.unit)
    .bind(new.lead_time_days)
    .execute(connection)
    .await?;
    Ok(id)
}

/// By asset, part number and failure mode.
///
/// # Errors
/// When the database does.
pub async fn ensure_bom_item(
    connection: &mut PgConnection,
    new: &NewBomItem<'_>,
) -> Result<BomItemId, sqlx::Error> {
    let found = sqlx::query_scalar(
        "SELECT id FROM bom_item
         WHERE asset_id = $1 AND part_number = $2 AND failure_mode_id IS NOT DISTINCT FROM $3",
    )
    .bind(new.asset)
    .bind(new.part_number)
    .bind(new.failure_mode)
    .fetch_optional(&mut *connection)
    .await?;
    match found {
        Some(id) => Ok(id),
        None => create_bom_item(connection, new).await,
    }
}

/// Says by which channels a failure mode shows: name patterns with `*`, as prognosis reads them.
///
/// # Errors
/// When the database does.
pub async fn set_failure_mode_signature(
    connection: &mut PgConnection,
    mode: FailureModeId,
    signature: &Value,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE failure_mode SET signature = $2 WHERE id = $1")
        .bind(mode)
        .bind(signature)
        .execute(connection)
        .await?;
    Ok(())
}

//! Sites and assets with their health.

use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::assessment::{Factor, FailureProbability};
use crate::asset::{AssetStatus, Criticality};
use crate::id::{AreaId, AssetClassId, AssetId, DeviceId, SiteId};
use crate::time::Timestamp;

#[derive(Clone, Debug, sqlx::FromRow)]
pub struct SiteRow {
    pub id: SiteId,
    pub name: String,
    pub time_zone: String,
}

#[derive(Clone, Debug, sqlx::FromRow)]
pub struct AreaRow {
    pub id: AreaId,
    pub site_id: SiteId,
    pub name: String,
}

/// All sites and all areas, by name.
///
/// # Errors
/// When the database does.
pub async fn sites(connection: &mut PgConnection) -> Result<(Vec<SiteRow>, Vec<AreaRow>), sqlx::Error> {
    let sites = sqlx::query_as("SELECT id, name, time_zone FROM site ORDER BY name")
        .fetch_all(&mut *connection)
        .await?;
    let areas = sqlx::query_as("SELECT id, site_id, name FROM area ORDER BY name")
        .fetch_all(connection)
        .await?;
    Ok((sites, areas))
}

/// All asset classes, by name.
///
/// # Errors
/// When the database does.
pub async fn asset_classes(
    connection: &mut PgConnection,
) -> Result<Vec<(AssetClassId, String)>, sqlx::Error> {
    sqlx::query_as("SELECT id, name FROM asset_class ORDER BY name")
        .fetch_all(connection)
        .await
}

/// An asset, its newest health and what is open on it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct AssetRow {
    pub id: AssetId,
    pub name: String,
    pub class_id: AssetClassId,
    pub class_name: String,
    pub site_id: SiteId,
    pub site_name: String,
    pub time_zone: String,
    pub area_id: Option<AreaId>,
    pub area_name: Option<String>,
    pub parent_id: Option<AssetId>,
    pub status: AssetStatus,
    pub criticality: Criticality,
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    pub serial_number: Option<String>,
    pub installed_at: Option<Timestamp>,
    pub external_ref: Option<String>,
    pub qr_token: String,
    pub attributes: Value,
    pub downtime_cost_per_h: Option<f64>,
    pub row_version: i32,
    pub health: Option<f64>,
    pub coverage: Option<f64>,
    /// Age of the newest reading when it was assessed.
    pub freshness_s: Option<f64>,
    pub as_of: Option<Timestamp>,
    /// Nothing newer for fifteen minutes and for ten times the shortest cadence of its channels.
    pub stale: Option<bool>,
    pub factors: Option<Json<Vec<Factor>>>,
    pub p_fail: Option<Json<Vec<FailureProbability>>>,
    pub alarms_active: i64,
    pub tickets_open: i64,
    /// What the list is sorted by, as text: the next page starts after it.
    pub sort_key: String,
}

/// By what a list of assets is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AssetSort {
    #[default]
    Name,
    /// Worst first; those that were never assessed come last.
    Health,
    /// The same with their parts.
    RolledUp,
}

#[derive(Clone, Debug, Default)]
pub struct AssetFilter {
    pub site: Option<SiteId>,
    /// Name of the class.
    pub class: Option<String>,
    /// Part of the name, the serial number or the external reference.
    pub text: Option<String>,
    pub status: Option<AssetStatus>,
    pub health_below: Option<f64>,
    /// What [`Self::rolled_up_below`] and [`AssetSort::RolledUp`] compare: health with parts of the assets that have one.
    pub rolled_up: Vec<(AssetId, f64)>,
    pub rolled_up_below: Option<f64>,
    pub sort: AssetSort,
}

macro_rules! asset_query {
    ($which:literal, $joined:literal, $sort_key:literal, $filter:literal) => {
        concat!(
            "SELECT * FROM (SELECT a.*, c.name AS class_name, s.name AS site_name, s.time_zone, r.name AS area_name,
                h.health, h.coverage, h.freshness_s, h.window_end AS as_of, h.factors, h.p_fail,
                now() - h.window_end > make_interval(secs => greatest(900, 10 * coalesce(
                    (SELECT min(x.cadence_s) FROM channel x WHERE x.asset_id = a.id), 0))) AS stale,
                (SELECT count(*) FROM alarm x
                 WHERE x.asset_id = a.id AND x.condition IN ('active', 'clearing')) AS alarms_active,
                (SELECT count(*) FROM ticket x
                 WHERE x.asset_id = a.id AND x.status NOT IN ('completed', 'closed', 'cancelled')) AS tickets_open, ",
            $sort_key,
            " AS sort_key
             FROM asset a JOIN asset_class c ON c.id = a.class_id JOIN site s ON s.id = a.site_id
             LEFT JOIN area r ON r.id = a.area_id LEFT JOIN latest_assessments(",
            $which,
            ") h ON h.asset_id = a.id ",
            $joined,
            ") v WHERE ",
            $filter
        )
    };
}

macro_rules! asset_list {
    ($sort_key:literal) => {
        asset_query!(
            "NULL",
            "LEFT JOIN unnest($9::uuid[], $10::float8[]) u (asset_id, rolled_up) ON u.asset_id = a.id
             WHERE $11::float8 IS NULL OR u.rolled_up < $11",
            $sort_key,
            "($1::uuid IS NULL OR site_id = $1) AND ($2::text IS NULL OR class_name = $2)
             AND ($3::text IS NULL OR concat_ws(' ', name, serial_number, external_ref) ILIKE $3)
             AND ($4::asset_status IS NULL OR status = $4) AND ($5::float8 IS NULL OR health < $5)
             AND ($6::text IS NULL OR (sort_key COLLATE \"C\", id) > ($6, $7))
             ORDER BY sort_key COLLATE \"C\", id LIMIT $8"
        )
    };
}

/// Assets after `after` (the last row's sort key and id).
///
/// # Errors
/// When the database does.
pub async fn assets(
    connection: &mut PgConnection,
    filter: &AssetFilter,
    after: Option<(&str, AssetId)>,
    limit: i64,
) -> Result<Vec<AssetRow>, sqlx::Error> {
    // Health as fixed-width text, so that text sorts as numbers do.
    let query = match filter.sort {
        AssetSort::Name => asset_list!("lower(a.name)"),
        AssetSort::Health => asset_list!("to_char(coalesce(h.health, 999), 'FM000.000000')"),
        AssetSort::RolledUp => asset_list!("to_char(coalesce(u.rolled_up, 999), 'FM000.000000')"),
    };
    let (rolled_up, values): (Vec<AssetId>, Vec<f64>) = filter.rolled_up.iter().copied().unzip();
    sqlx::query_as(query)
        .bind(filter.site)
        .bind(filter.class.as_deref())
        .bind(filter.text.as_deref().map(contains))
        .bind(filter.status)
        .bind(filter.health_below)
        .bind(after.map(|(key, _)| key))
        .bind(after.map(|(_, id)| id))
        .bind(limit)
        .bind(rolled_up)
        .bind(values)
        .bind(filter.rolled_up_below)
        .fetch_all(connection)
        .await
}

/// A pattern of LIKE for "contains this text", whatever characters it has.
fn contains(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

/// # Errors
/// When the database does.
pub async fn asset(connection: &mut PgConnection, id: AssetId) -> Result<Option<AssetRow>, sqlx::Error> {
    sqlx::query_as(asset_query!("ARRAY[$1::uuid]", "", "''", "id = $1"))
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// The asset whose QR code this is.
///
/// # Errors
/// When the database does.
pub async fn asset_by_qr(connection: &mut PgConnection, token: &str) -> Result<Option<AssetId>, sqlx::Error> {
    sqlx::query_scalar("SELECT id FROM asset WHERE qr_token = $1")
        .bind(token)
        .fetch_optional(connection)
        .await
}

/// The assets that have this one as parent, by name.
///
/// # Errors
/// When the database does.
pub async fn children(
    connection: &mut PgConnection,
    id: AssetId,
) -> Result<Vec<(AssetId, String)>, sqlx::Error> {
    sqlx::query_as("SELECT id, name FROM asset WHERE parent_id = $1 ORDER BY name")
        .bind(id)
        .fetch_all(connection)
        .await
}

/// The devices that sit on an asset.
///
/// # Errors
/// When the database does.
pub async fn devices(
    connection: &mut PgConnection,
    id: AssetId,
) -> Result<Vec<(DeviceId, String)>, sqlx::Error> {
    sqlx::query_as("SELECT id, name FROM device WHERE asset_id = $1 ORDER BY name")
        .bind(id)
        .fetch_all(connection)
        .await
}

/// What to change of an asset; `None` = leave it.
#[derive(Clone, Debug, Default)]
pub struct AssetChange {
    pub name: Option<String>,
    pub status: Option<AssetStatus>,
    pub criticality: Option<Criticality>,
    pub area_id: Option<AreaId>,
    pub parent_id: Option<AssetId>,
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    pub serial_number: Option<String>,
    pub installed_at: Option<Timestamp>,
    pub attributes: Option<Value>,
    pub downtime_cost_per_h: Option<f64>,
}

/// Whether there is such an asset for the one who asks. Foreign keys don't ask for row security.
///
/// # Errors
/// When the database does.
pub async fn has_asset(connection: &mut PgConnection, id: AssetId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM asset WHERE id = $1)")
        .bind(id)
        .fetch_one(connection)
        .await
}

/// The version that an asset has, locked until the transaction ends.
///
/// # Errors
/// When the database does.
pub async fn lock_asset(connection: &mut PgConnection, id: AssetId) -> Result<Option<i32>, sqlx::Error> {
    sqlx::query_scalar("SELECT row_version FROM asset WHERE id = $1 FOR UPDATE")
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// Whether `candidate` is `asset` or stands below it: such a one can't be its parent.
///
/// # Errors
/// When the database does.
pub async fn is_below(
    connection: &mut PgConnection,
    candidate: AssetId,
    asset: AssetId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "WITH RECURSIVE up AS (
             SELECT id, parent_id FROM asset WHERE id = $1
             UNION
             SELECT a.id, a.parent_id FROM asset a JOIN up ON a.id = up.parent_id)
         SELECT EXISTS (SELECT FROM up WHERE id = $2)",
    )
    .bind(candidate)
    .bind(asset)
    .fetch_one(connection)
    .await
}

/// # Errors
/// `asset_tenant_id_site_id_name_key` when the name is taken; a foreign key when area or parent are
/// not the tenant's.
pub async fn change_asset(
    connection: &mut PgConnection,
    id: AssetId,
    change: &AssetChange,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE asset SET name = coalesce($2, name), status = coalesce($3, status),
             criticality = coalesce($4, criticality), area_id = coalesce($5, area_id),
             parent_id = coalesce($6, parent_id), manufacturer = coalesce($7, manufacturer),
             model = coalesce($8, model), serial_number = coalesce($9, serial_number),
             installed_at = coalesce($10, installed_at), attributes = coalesce($11, attributes),
             downtime_cost_per_h = coalesce($12, downtime_cost_per_h), row_version = row_version + 1,
             updated_at = now()
         WHERE id = $1",
    )
    .bind(id)
    .bind(change.name.as_deref())
    .bind(change.status)
    .bind(change.criticality)
    .bind(change.area_id)
    .bind(change.parent_id)
    .bind(change.manufacturer.as_deref())
    .bind(change.model.as_deref())
    .bind(change.serial_number.as_deref())
    .bind(change.installed_at)
    .bind(change.attributes.as_ref())
    .bind(change.downtime_cost_per_h)
    .execute(connection)
    .await?;
    Ok(())
}

/// Name and failure modes of an asset's class, by code.
///
/// # Errors
/// When the database does.
pub async fn failure_modes_of(
    connection: &mut PgConnection,
    asset: AssetId,
) -> Result<Vec<(crate::id::FailureModeId, String, String)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT f.id, f.code, f.name FROM failure_mode f JOIN asset a ON a.class_id = f.class_id
         WHERE a.id = $1 ORDER BY f.code",
    )
    .bind(asset)
    .fetch_all(connection)
    .await
}

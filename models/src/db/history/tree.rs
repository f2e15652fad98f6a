//! Channels by where they sit: an asset and all below it, with the names that labels need.

use sqlx::PgConnection;

use crate::asset::ChannelKind;
use crate::id::{AssetId, ChannelId, DeviceId};

/// A channel with the names of everything around it.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct ChannelPlace {
    pub id: ChannelId,
    pub name: String,
    pub label: Option<String>,
    pub unit: String,
    pub kind: ChannelKind,
    pub cadence_s: Option<f64>,
    pub asset_id: Option<AssetId>,
    pub asset: Option<String>,
    pub asset_class: Option<String>,
    pub area: Option<String>,
    pub site: String,
    pub device_id: DeviceId,
    pub device: String,
    pub gateway: String,
}

/// Which channels.
#[derive(Clone, Debug, Default)]
pub struct Which {
    /// These; empty = all.
    pub ids: Vec<ChannelId>,
    /// Those of this asset and of all assets below it.
    pub below: Option<AssetId>,
    /// Those of this name.
    pub name: Option<String>,
}

/// The tenant's channels that fit all of `which`, by id, at most `most`.
///
/// # Errors
/// When the database does.
pub async fn places(
    connection: &mut PgConnection,
    which: &Which,
    most: i64,
) -> Result<Vec<ChannelPlace>, sqlx::Error> {
    sqlx::query_as(
        "WITH RECURSIVE below AS (
             SELECT a.id FROM asset a WHERE a.id = $2
             UNION SELECT a.id FROM asset a JOIN below b ON a.parent_id = b.id
         )
         SELECT c.id, c.name, c.label, c.unit, c.kind, c.cadence_s, c.asset_id, a.name AS asset, k.name AS asset_class,
                r.name AS area, s.name AS site, d.id AS device_id, d.name AS device, g.slug AS gateway
         FROM channel c JOIN device d ON d.id = c.device_id JOIN gateway g ON g.id = d.gateway_id
         LEFT JOIN asset a ON a.id = c.asset_id LEFT JOIN asset_class k ON k.id = a.class_id
         LEFT JOIN area r ON r.id = a.area_id
         JOIN site s ON s.id = coalesce(a.site_id, g.site_id)
         WHERE (cardinality($1::int4[]) = 0 OR c.id = ANY ($1))
           AND ($2::uuid IS NULL OR c.asset_id IN (SELECT id FROM below))
           AND ($3::text IS NULL OR c.name = $3)
         ORDER BY c.id LIMIT $4",
    )
    .bind(which.ids.iter().map(|id| id.0).collect::<Vec<_>>())
    .bind(which.below)
    .bind(which.name.as_deref())
    .bind(most)
    .fetch_all(connection)
    .await
}

/// An asset with the names of everything around it.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct AssetPlace {
    pub id: AssetId,
    pub name: String,
    pub asset_class: String,
    pub area: Option<String>,
    pub site: String,
}

/// The tenant's assets, by name, at most `most`.
///
/// # Errors
/// When the database does.
pub async fn assets(connection: &mut PgConnection, most: i64) -> Result<Vec<AssetPlace>, sqlx::Error> {
    sqlx::query_as(
        "SELECT a.id, a.name, k.name AS asset_class, r.name AS area, s.name AS site
         FROM asset a JOIN asset_class k ON k.id = a.class_id JOIN site s ON s.id = a.site_id
         LEFT JOIN area r ON r.id = a.area_id
         ORDER BY a.name, a.id LIMIT $1",
    )
    .bind(most)
    .fetch_all(connection)
    .await
}

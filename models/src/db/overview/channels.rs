//! Channels with the device and gateway they come from.

use sqlx::PgConnection;

use crate::asset::ChannelKind;
use crate::id::{AssetId, ChannelId, DeviceId, GatewayId};
use crate::time::Timestamp;

#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ChannelRow {
    pub id: ChannelId,
    pub asset_id: Option<AssetId>,
    pub name: String,
    pub label: Option<String>,
    pub unit: String,
    pub kind: ChannelKind,
    pub cadence_s: Option<f64>,
    pub plausible_min: Option<f64>,
    pub plausible_max: Option<f64>,
    pub device_id: DeviceId,
    pub device_name: String,
    pub stale_since: Option<Timestamp>,
    pub gateway_id: GatewayId,
    pub gateway_slug: String,
}

macro_rules! channel_query {
    ($filter:literal) => {
        concat!(
            "SELECT c.*, d.name AS device_name, d.stale_since, g.id AS gateway_id, g.slug AS gateway_slug
             FROM channel c JOIN device d ON d.id = c.device_id JOIN gateway g ON g.id = d.gateway_id ",
            $filter
        )
    };
}

/// Channels by id, after `after`. `unassigned` = only those that sit on no asset.
///
/// # Errors
/// When the database does.
pub async fn channels(
    connection: &mut PgConnection,
    asset: Option<AssetId>,
    unassigned: bool,
    after: Option<ChannelId>,
    limit: i64,
) -> Result<Vec<ChannelRow>, sqlx::Error> {
    sqlx::query_as(channel_query!(
        "WHERE ($1::uuid IS NULL OR c.asset_id = $1) AND (NOT $2 OR c.asset_id IS NULL)
           AND ($3::int4 IS NULL OR c.id > $3)
         ORDER BY c.id LIMIT $4"
    ))
    .bind(asset)
    .bind(unassigned)
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// # Errors
/// When the database does.
pub async fn channel(
    connection: &mut PgConnection,
    id: ChannelId,
) -> Result<Option<ChannelRow>, sqlx::Error> {
    sqlx::query_as(channel_query!("WHERE c.id = $1"))
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// What to change of a channel; `None` = leave it.
#[derive(Clone, Debug, Default)]
pub struct ChannelChange {
    /// `Some(None)` takes it off its asset.
    pub asset_id: Option<Option<AssetId>>,
    pub label: Option<String>,
    pub unit: Option<String>,
    pub kind: Option<ChannelKind>,
    pub cadence_s: Option<f64>,
    pub plausible_min: Option<f64>,
    pub plausible_max: Option<f64>,
}

/// Whether there was such a channel.
///
/// # Errors
/// When the asset is not the tenant's.
pub async fn change_channel(
    connection: &mut PgConnection,
    id: ChannelId,
    change: &ChannelChange,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE channel SET asset_id = CASE WHEN $2 THEN $3 ELSE asset_id END, label = coalesce($4, label),
             unit = coalesce($5, unit), kind = coalesce($6, kind), cadence_s = coalesce($7, cadence_s),
             plausible_min = coalesce($8, plausible_min), plausible_max = coalesce($9, plausible_max)
         WHERE id = $1",
    )
    .bind(id)
    .bind(change.asset_id.is_some())
    .bind(change.asset_id.flatten())
    .bind(change.label.as_deref())
    .bind(change.unit.as_deref())
    .bind(change.kind)
    .bind(change.cadence_s)
    .bind(change.plausible_min)
    .bind(change.plausible_max)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

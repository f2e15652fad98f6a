//! Gateways, their credentials, the devices behind them and the channels those have.

use sqlx::PgConnection;

use crate::asset::ChannelKind;
use crate::db::registry::ClockBasis;
use crate::id::{AssetId, ChannelId, CredentialId, DeviceId, GatewayId, SiteId, TenantId};
use crate::time::Timestamp;

#[derive(Clone, Debug)]
pub struct NewGateway<'a> {
    pub tenant: TenantId,
    pub site: SiteId,
    /// Lower-case letters, digits and dashes, and not `me`: it stands in MQTT topics.
    pub slug: &'a str,
    pub name: &'a str,
}

/// # Errors
/// `gateway_tenant_id_slug_key` when the slug is taken.
pub async fn create_gateway(
    connection: &mut PgConnection,
    new: &NewGateway<'_>,
) -> Result<GatewayId, sqlx::Error> {
    let id = GatewayId::new();
    sqlx::query("INSERT INTO gateway (id, tenant_id, site_id, slug, name) VALUES ($1, $2, $3, $4, $5)")
        .bind(id)
        .bind(new.tenant)
        .bind(new.site)
        .bind(new.slug)
        .bind(new.name)
        .execute(connection)
        .await?;
    Ok(id)
}

/// By tenant and slug.
///
/// # Errors
/// When the database does.
pub async fn ensure_gateway(
    connection: &mut PgConnection,
    new: &NewGateway<'_>,
) -> Result<GatewayId, sqlx::Error> {
    let found = sqlx::query_scalar("SELECT id FROM gateway WHERE tenant_id = $1 AND slug = $2")
        .bind(new.tenant)
        .bind(new.slug)
        .fetch_optional(&mut *connection)
        .await?;
    match found {
        Some(id) => Ok(id),
        None => create_gateway(connection, new).await,
    }
}

/// Adds a credential; the older ones stay valid until they expire or are revoked, so that a secret
/// can be changed without an interruption. `secret_hash` comes from [`crate::db::auth::Secret::hash`].
///
/// # Errors
/// When the gateway is not the tenant's.
pub async fn create_gateway_credential(
    connection: &mut PgConnection,
    tenant: TenantId,
    gateway: GatewayId,
    secret_hash: [u8; 32],
    expires_at: Option<Timestamp>,
) -> Result<CredentialId, sqlx::Error> {
    let id = CredentialId::new();
    sqlx::query(
        "INSERT INTO gateway_credential (id, tenant_id, gateway_id, secret_hash, expires_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(id)
    .bind(tenant)
    .bind(gateway)
    .bind(&secret_hash[..])
    .bind(expires_at)
    .execute(connection)
    .await?;
    Ok(id)
}

/// What a new credential is, beside its gateway.
#[derive(Clone, Debug, Default)]
pub struct NewGatewayCredential {
    /// SHA-256 of a random secret, or …
    pub secret_hash: Option<[u8; 32]>,
    /// … argon2id of a password, as a PHC string.
    pub password_hash: Option<String>,
    /// Topic filters beside the gateway's own topics.
    pub publish_filters: Vec<String>,
    pub subscribe_filters: Vec<String>,
    pub expires_at: Option<Timestamp>,
}

/// # Errors
/// When the gateway is not the tenant's.
pub async fn add_gateway_credential(
    connection: &mut PgConnection,
    tenant: TenantId,
    gateway: GatewayId,
    new: &NewGatewayCredential,
) -> Result<CredentialId, sqlx::Error> {
    let id = CredentialId::new();
    sqlx::query(
        "INSERT INTO gateway_credential
             (id, tenant_id, gateway_id, secret_hash, password_hash, publish_filters, subscribe_filters, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(id)
    .bind(tenant)
    .bind(gateway)
    .bind(new.secret_hash.as_ref().map(|hash| &hash[..]))
    .bind(&new.password_hash)
    .bind(&new.publish_filters)
    .bind(&new.subscribe_filters)
    .bind(new.expires_at)
    .execute(connection)
    .await?;
    Ok(id)
}

/// Lets every other credential of a gateway that is valid without an end, or longer, end at `at`: the
/// second step of a rotation. Returns how many.
///
/// # Errors
/// When the database does.
pub async fn retire_other_credentials(
    connection: &mut PgConnection,
    gateway: GatewayId,
    keep: CredentialId,
    at: Timestamp,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE gateway_credential SET expires_at = $3
         WHERE gateway_id = $1 AND id <> $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3)",
    )
    .bind(gateway)
    .bind(keep)
    .bind(at)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Makes a one-time code for a gateway.
///
/// # Errors
/// When the gateway is not the tenant's.
pub async fn create_gateway_claim(
    connection: &mut PgConnection,
    tenant: TenantId,
    gateway: GatewayId,
    code_hash: [u8; 32],
    expires_at: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO gateway_claim (id, tenant_id, gateway_id, code_hash, expires_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(uuid::Uuid::now_v7())
    .bind(tenant)
    .bind(gateway)
    .bind(&code_hash[..])
    .bind(expires_at)
    .execute(connection)
    .await?;
    Ok(())
}

/// How far a gateway's clock is ahead, microseconds, when that was measured and what tells it.
///
/// # Errors
/// When the database does.
pub async fn gateway_clock(
    connection: &mut PgConnection,
    gateway: GatewayId,
) -> Result<Option<(i64, Timestamp, ClockBasis)>, sqlx::Error> {
    sqlx::query_as("SELECT ahead_us, measured_at, basis FROM gateway_clock WHERE gateway_id = $1")
        .bind(gateway)
        .fetch_optional(connection)
        .await
}

/// By gateway and hash, for a secret that is known beforehand.
///
/// # Errors
/// When the gateway is not the tenant's.
pub async fn ensure_gateway_credential(
    connection: &mut PgConnection,
    tenant: TenantId,
    gateway: GatewayId,
    secret_hash: [u8; 32],
) -> Result<CredentialId, sqlx::Error> {
    let found =
        sqlx::query_scalar("SELECT id FROM gateway_credential WHERE gateway_id = $1 AND secret_hash = $2")
            .bind(gateway)
            .bind(&secret_hash[..])
            .fetch_optional(&mut *connection)
            .await?;
    match found {
        Some(id) => Ok(id),
        None => create_gateway_credential(connection, tenant, gateway, secret_hash, None).await,
    }
}

/// Whether there was a valid one to revoke.
///
/// # Errors
/// When the database does.
pub async fn revoke_gateway_credential(
    connection: &mut PgConnection,
    gateway: GatewayId,
    credential: CredentialId,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE gateway_credential SET revoked_at = now() WHERE gateway_id = $1 AND id = $2 AND revoked_at IS NULL",
    )
    .bind(gateway)
    .bind(credential)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// By gateway and name. A device that exists is bound to `asset` if one is given, with its channels.
///
/// # Errors
/// When gateway or asset are not the tenant's.
pub async fn ensure_device(
    connection: &mut PgConnection,
    tenant: TenantId,
    gateway: GatewayId,
    name: &str,
    asset: Option<AssetId>,
) -> Result<DeviceId, sqlx::Error> {
    let found: Option<DeviceId> =
        sqlx::query_scalar("SELECT id FROM device WHERE gateway_id = $1 AND name = $2")
            .bind(gateway)
            .bind(name)
            .fetch_optional(&mut *connection)
            .await?;
    if let Some(id) = found {
        if asset.is_some() {
            bind_device(connection, id, asset).await?;
        }
        return Ok(id);
    }
    let id = DeviceId::new();
    sqlx::query("INSERT INTO device (id, tenant_id, gateway_id, name, asset_id) VALUES ($1, $2, $3, $4, $5)")
        .bind(id)
        .bind(tenant)
        .bind(gateway)
        .bind(name)
        .bind(asset)
        .execute(connection)
        .await?;
    Ok(id)
}

/// Says which asset a device sits on. Its channels follow, except those that somebody put on
/// another asset by hand. Their history stays theirs.
///
/// # Errors
/// When the asset is not the tenant's.
pub async fn bind_device(
    connection: &mut PgConnection,
    device: DeviceId,
    asset: Option<AssetId>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE channel c SET asset_id = $2 FROM device d
         WHERE d.id = $1 AND c.device_id = d.id AND (c.asset_id IS NULL OR c.asset_id = d.asset_id)",
    )
    .bind(device)
    .bind(asset)
    .execute(&mut *connection)
    .await?;
    sqlx::query("UPDATE device SET asset_id = $2 WHERE id = $1")
        .bind(device)
        .bind(asset)
        .execute(connection)
        .await?;
    Ok(())
}

#[derive(Clone, Debug)]
pub struct NewChannel<'a> {
    pub tenant: TenantId,
    pub device: DeviceId,
    pub asset: Option<AssetId>,
    pub name: &'a str,
    /// What people read; `None` = the name.
    pub label: Option<&'a str>,
    /// UCUM.
    pub unit: &'a str,
    pub kind: ChannelKind,
    /// Expected seconds between readings; `None` = irregular.
    pub cadence_s: Option<f64>,
    /// A reading outside is kept as suspect.
    pub plausible: (Option<f64>, Option<f64>),
}

/// By device and name. What is given here wins over what is there, because the channel may have
/// registered itself by its first reading, knowing no more than its name; what is `None` here stays.
///
/// # Errors
/// When device or asset are not the tenant's.
pub async fn ensure_channel(
    connection: &mut PgConnection,
    new: &NewChannel<'_>,
) -> Result<ChannelId, sqlx::Error> {
    sqlx::query_scalar(
        "INSERT INTO channel AS c (tenant_id, device_id, asset_id, name, label, unit, kind, cadence_s, plausible_min,
                                   plausible_max)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (device_id, name) DO UPDATE SET
             asset_id = coalesce(excluded.asset_id, c.asset_id), label = coalesce(excluded.label, c.label),
             unit = excluded.unit, kind = excluded.kind, cadence_s = coalesce(excluded.cadence_s, c.cadence_s),
             plausible_min = coalesce(excluded.plausible_min, c.plausible_min),
             plausible_max = coalesce(excluded.plausible_max, c.plausible_max)
         RETURNING id",
    )
    .bind(new.tenant)
    .bind(new.device)
    .bind(new.asset)
    .bind(new.name)
    .bind(new.label)
    .bind(new.unit)
    .bind(new.kind)
    .bind(new.cadence_s)
    .bind(new.plausible.0)
    .bind(new.plausible.1)
    .fetch_one(connection)
    .await
}

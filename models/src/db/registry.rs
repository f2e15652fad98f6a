//! Gateways, their credentials, and which channel a name means.

use serde::Serialize;
use sqlx::PgConnection;

use crate::id::{AssetId, ChannelId, CredentialId, DeviceId, GatewayId, TenantId};
use crate::time::Timestamp;

/// A gateway that may connect, with one of its valid credentials.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct GatewayLogin {
    pub gateway_id: GatewayId,
    pub tenant_id: TenantId,
    pub max_channels: i32,
    /// Readings and bytes a second; `None` = the server's default.
    pub max_readings_per_s: Option<i32>,
    pub max_bytes_per_s: Option<i32>,
    pub credential_id: CredentialId,
    /// SHA-256 of a random secret, …
    pub secret_hash: Option<Vec<u8>>,
    /// … or argon2id of a password, as a PHC string, …
    pub password_hash: Option<String>,
    /// … or SHA-256 of a client certificate.
    pub certificate_sha256: Option<Vec<u8>>,
    /// Topic filters beside the gateway's own topics.
    pub publish_filters: Vec<String>,
    pub subscribe_filters: Vec<String>,
    pub expires_at: Option<Timestamp>,
}

/// One row for each credential that is valid now; none when the gateway doesn't exist or is
/// switched off.
///
/// # Errors
/// When the database does.
pub async fn gateway_logins(
    connection: &mut PgConnection,
    tenant: &str,
    gateway: &str,
) -> Result<Vec<GatewayLogin>, sqlx::Error> {
    sqlx::query_as(
        "SELECT g.id AS gateway_id, g.tenant_id, g.max_channels, t.max_readings_per_s, t.max_bytes_per_s,
                c.id AS credential_id, c.secret_hash, c.password_hash, c.certificate_sha256,
                c.publish_filters, c.subscribe_filters, c.expires_at
         FROM tenant t
         JOIN gateway g ON g.tenant_id = t.id AND g.slug = $2 AND g.enabled
         JOIN gateway_credential c ON c.gateway_id = g.id AND c.revoked_at IS NULL
             AND (c.expires_at IS NULL OR c.expires_at > now())
         WHERE t.slug = $1",
    )
    .bind(tenant)
    .bind(gateway)
    .fetch_all(connection)
    .await
}

/// Which of `credentials` no longer open a connection: revoked, expired, or their gateway is
/// switched off.
///
/// # Errors
/// When the database does.
pub async fn withdrawn_credentials(
    connection: &mut PgConnection,
    credentials: &[CredentialId],
) -> Result<Vec<CredentialId>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT wanted.id FROM unnest($1::uuid[]) AS wanted (id)
         WHERE NOT EXISTS (
             SELECT FROM gateway_credential c JOIN gateway g ON g.id = c.gateway_id
             WHERE c.id = wanted.id AND c.revoked_at IS NULL AND g.enabled
               AND (c.expires_at IS NULL OR c.expires_at > now()))",
    )
    .bind(credentials)
    .fetch_all(connection)
    .await
}

/// Which credential a certificate opens, whose chain the front door has verified and which names this
/// gateway; made when it is shown for the first time. With the name of a site, a gateway that isn't
/// registered is. `None` = it may not come in.
///
/// # Errors
/// When the database does.
pub async fn gateway_by_certificate(
    connection: &mut PgConnection,
    tenant: &str,
    gateway: &str,
    fingerprint: &[u8; 32],
    new_at_site: Option<&str>,
) -> Result<Option<CredentialId>, sqlx::Error> {
    sqlx::query_scalar("SELECT credential_id FROM gateway_by_certificate($1, $2, $3, $4, $5, $6)")
        .bind(tenant)
        .bind(gateway)
        .bind(&fingerprint[..])
        .bind(CredentialId::new())
        .bind(GatewayId::new())
        .bind(new_at_site)
        .fetch_optional(connection)
        .await
}

/// Whether a claim code would be taken.
///
/// # Errors
/// When the database does.
pub async fn claim_is_open(connection: &mut PgConnection, code_hash: &[u8; 32]) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT claim_is_open($1)")
        .bind(&code_hash[..])
        .fetch_one(connection)
        .await
}

/// A gateway that a claim code was turned into a credential of.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Claimed {
    pub tenant_slug: String,
    pub gateway_slug: String,
    pub gateway_id: GatewayId,
}

/// Turns a claim code into a credential with this secret, once. `None` = there is no such code, or
/// it was used, revoked or is too old.
///
/// # Errors
/// When the database does.
pub async fn claim_gateway(
    connection: &mut PgConnection,
    code_hash: &[u8; 32],
    credential: CredentialId,
    secret_hash: &[u8; 32],
) -> Result<Option<Claimed>, sqlx::Error> {
    sqlx::query_as("SELECT * FROM claim_gateway($1, $2, $3)")
        .bind(&code_hash[..])
        .bind(credential)
        .bind(&secret_hash[..])
        .fetch_optional(connection)
        .await
}

/// What tells how far a clock is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, sqlx::Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum ClockBasis {
    /// The moment the gateway's messages say they were made.
    Sent,
    /// The newest stamp of a reading in each message: short by the age of the freshest one.
    Reading,
}

/// Keeps how far a gateway's clock is ahead, microseconds.
///
/// # Errors
/// When the database does.
pub async fn set_gateway_clock(
    connection: &mut PgConnection,
    tenant: TenantId,
    gateway: GatewayId,
    ahead_us: i64,
    basis: ClockBasis,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO gateway_clock (gateway_id, tenant_id, ahead_us, basis) VALUES ($1, $2, $3, $4)
         ON CONFLICT (gateway_id) DO UPDATE
            SET ahead_us = excluded.ahead_us, basis = excluded.basis, measured_at = now()",
    )
    .bind(gateway)
    .bind(tenant)
    .bind(ahead_us)
    .bind(basis)
    .execute(connection)
    .await?;
    Ok(())
}

/// A device of a gateway and one of its channels; a device without channels has one row.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct RegisterRow {
    pub device_id: DeviceId,
    pub device: String,
    pub device_asset: Option<AssetId>,
    pub channel_id: Option<ChannelId>,
    pub channel: Option<String>,
    pub unit: Option<String>,
    pub asset_id: Option<AssetId>,
    pub plausible_min: Option<f64>,
    pub plausible_max: Option<f64>,
}

/// Everything behind a gateway.
///
/// # Errors
/// When the database does.
pub async fn gateway_register(
    connection: &mut PgConnection,
    gateway: GatewayId,
) -> Result<Vec<RegisterRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT d.id AS device_id, d.name AS device, d.asset_id AS device_asset, c.id AS channel_id,
                c.name AS channel, c.unit, c.asset_id, c.plausible_min, c.plausible_max
         FROM device d LEFT JOIN channel c ON c.device_id = d.id
         WHERE d.gateway_id = $1",
    )
    .bind(gateway)
    .fetch_all(connection)
    .await
}

/// Registers devices that are not there yet. Returns how many were.
///
/// # Errors
/// When the database does.
pub async fn add_devices(
    connection: &mut PgConnection,
    tenant: TenantId,
    gateway: GatewayId,
    names: &[String],
) -> Result<u64, sqlx::Error> {
    let ids: Vec<DeviceId> = names.iter().map(|_| DeviceId::new()).collect();
    let done = sqlx::query(
        "INSERT INTO device (id, tenant_id, gateway_id, name)
         SELECT n.id, $1, $2, n.name FROM unnest($3::uuid[], $4::text[]) AS n (id, name) ORDER BY n.name
         ON CONFLICT (gateway_id, name) DO NOTHING",
    )
    .bind(tenant)
    .bind(gateway)
    .bind(ids)
    .bind(names)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// A channel that a gateway spoke of and nobody registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewChannel {
    pub device: String,
    pub channel: String,
    /// UCUM code, `1` when the gateway didn't say.
    pub unit: String,
}

/// Registers channels that are not there yet, as many as the gateway's quota leaves room for, in
/// the order given. A new channel belongs to its device's asset. Devices must exist. Returns how
/// many were registered.
///
/// # Errors
/// When the database does.
pub async fn add_channels(
    connection: &mut PgConnection,
    tenant: TenantId,
    gateway: GatewayId,
    channels: &[NewChannel],
) -> Result<u64, sqlx::Error> {
    // Two writers must not both see the last free place.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('forewarn_quota_' || $1::text, 0))")
        .bind(gateway)
        .execute(&mut *connection)
        .await?;
    let room: i64 = sqlx::query_scalar(
        "SELECT greatest(g.max_channels - (SELECT count(*) FROM channel c JOIN device d ON d.id = c.device_id
                                            WHERE d.gateway_id = g.id), 0)
         FROM gateway g WHERE g.id = $1",
    )
    .bind(gateway)
    .fetch_one(&mut *connection)
    .await?;
    let devices: Vec<&str> = channels.iter().map(|new| new.device.as_str()).collect();
    let names: Vec<&str> = channels.iter().map(|new| new.channel.as_str()).collect();
    let units: Vec<&str> = channels.iter().map(|new| new.unit.as_str()).collect();
    let done = sqlx::query(
        "INSERT INTO channel (tenant_id, device_id, asset_id, name, unit)
         SELECT $1, d.id, d.asset_id, n.name, n.unit
         FROM unnest($3::text[], $4::text[], $5::text[]) WITH ORDINALITY AS n (device, name, unit, ord)
         JOIN device d ON d.gateway_id = $2 AND d.name = n.device
         WHERE NOT EXISTS (SELECT FROM channel c WHERE c.device_id = d.id AND c.name = n.name)
         ORDER BY n.ord LIMIT $6
         ON CONFLICT (device_id, name) DO NOTHING",
    )
    .bind(tenant)
    .bind(gateway)
    .bind(devices)
    .bind(names)
    .bind(units)
    .bind(room)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Lets a gateway have at least this many channels.
///
/// # Errors
/// When the database does.
pub async fn raise_channel_quota(
    connection: &mut PgConnection,
    gateway: GatewayId,
    at_least: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE gateway SET max_channels = greatest(max_channels, $2) WHERE id = $1")
        .bind(gateway)
        .bind(at_least)
        .execute(connection)
        .await?;
    Ok(())
}

/// A gateway by its name, if it is switched on.
///
/// # Errors
/// When the database does.
pub async fn enabled_gateway(
    connection: &mut PgConnection,
    tenant: &str,
    slug: &str,
) -> Result<Option<GatewayRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT g.id AS gateway_id, g.tenant_id, t.slug AS tenant_slug, g.slug, g.max_channels
         FROM gateway g JOIN tenant t ON t.id = g.tenant_id WHERE t.slug = $1 AND g.slug = $2 AND g.enabled",
    )
    .bind(tenant)
    .bind(slug)
    .fetch_optional(connection)
    .await
}

/// A gateway by its id.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct GatewayRow {
    pub gateway_id: GatewayId,
    pub tenant_id: TenantId,
    pub tenant_slug: String,
    pub slug: String,
    pub max_channels: i32,
}

/// # Errors
/// When the database does.
pub async fn gateway(
    connection: &mut PgConnection,
    id: GatewayId,
) -> Result<Option<GatewayRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT g.id AS gateway_id, g.tenant_id, t.slug AS tenant_slug, g.slug, g.max_channels
         FROM gateway g JOIN tenant t ON t.id = g.tenant_id WHERE g.id = $1",
    )
    .bind(id)
    .fetch_optional(connection)
    .await
}

/// A gateway by name.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct NamedGateway {
    pub id: GatewayId,
    pub tenant_id: TenantId,
    pub tenant_slug: String,
    pub slug: String,
}

/// Gateways of all tenants that `name` can mean: an id, `tenant/gateway`, or the gateway's slug alone;
/// all of them without a name.
///
/// # Errors
/// When the database does.
pub async fn gateways_named(
    connection: &mut PgConnection,
    name: Option<&str>,
) -> Result<Vec<NamedGateway>, sqlx::Error> {
    let id: Option<GatewayId> = name.and_then(|name| name.parse().ok());
    sqlx::query_as(
        "SELECT g.id, g.tenant_id, t.slug AS tenant_slug, g.slug
         FROM gateway g JOIN tenant t ON t.id = g.tenant_id
         WHERE $1::text IS NULL OR g.id = $2 OR g.slug = $1 OR t.slug || '/' || g.slug = $1
         ORDER BY t.slug, g.slug",
    )
    .bind(name)
    .bind(id)
    .fetch_all(connection)
    .await
}

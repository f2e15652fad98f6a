//! Certificate authorities of tenants.

use sqlx::PgConnection;

use crate::id::{AuthorityId, CredentialId, GatewayId, SiteId, TenantId};
use crate::time::Timestamp;

/// How many a tenant may have at a time.
pub const MOST: i64 = 16;

#[derive(Clone, Debug)]
pub struct NewAuthority<'a> {
    pub tenant: TenantId,
    pub name: &'a str,
    /// DER.
    pub certificate: &'a [u8],
    /// Where gateways that aren't registered are.
    pub site: Option<SiteId>,
    pub by: &'a str,
}

/// Registers an authority. `None`: the tenant has as many as it may.
///
/// # Errors
/// `tenant_authority_sha256_key` when it is registered already, a foreign key when the site is not the
/// tenant's.
pub async fn create(
    connection: &mut PgConnection,
    new: &NewAuthority<'_>,
) -> Result<Option<AuthorityId>, sqlx::Error> {
    sqlx::query_scalar(
        "INSERT INTO tenant_authority (id, tenant_id, name, certificate, sha256, site_id, created_by)
         SELECT $1, $2, $3, $4, sha256($4), $5, $6
         WHERE (SELECT count(*) FROM tenant_authority a WHERE a.tenant_id = $2 AND a.revoked_at IS NULL) < $7
         RETURNING id",
    )
    .bind(AuthorityId::new())
    .bind(new.tenant)
    .bind(new.name)
    .bind(new.certificate)
    .bind(new.site)
    .bind(new.by)
    .bind(MOST)
    .fetch_optional(connection)
    .await
}

#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct AuthorityRow {
    pub id: AuthorityId,
    pub name: String,
    pub sha256: Vec<u8>,
    pub site_id: Option<SiteId>,
    pub created_at: Timestamp,
    pub created_by: String,
    pub revoked_at: Option<Timestamp>,
    /// Certificates it has vouched for that are valid now.
    pub credentials: i64,
}

/// Those of the caller's tenant, the newest first.
///
/// # Errors
/// When the database does.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<AuthorityRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT a.id, a.name, a.sha256, a.site_id, a.created_at, a.created_by, a.revoked_at,
                (SELECT count(*) FROM gateway_credential c
                 WHERE c.authority_id = a.id AND c.revoked_at IS NULL) AS credentials
         FROM tenant_authority a ORDER BY a.id DESC",
    )
    .fetch_all(connection)
    .await
}

/// Revokes an authority and every credential it vouched for. `false`: there is no such authority, or it
/// is revoked.
///
/// # Errors
/// When the database does.
pub async fn revoke(connection: &mut PgConnection, id: AuthorityId) -> Result<bool, sqlx::Error> {
    let done =
        sqlx::query("UPDATE tenant_authority SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL")
            .bind(id)
            .execute(&mut *connection)
            .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(
        "UPDATE gateway_credential SET revoked_at = now() WHERE authority_id = $1 AND revoked_at IS NULL",
    )
    .bind(id)
    .execute(connection)
    .await?;
    Ok(true)
}

/// An authority that vouches for gateways of its tenant now.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Vouching {
    pub id: AuthorityId,
    pub tenant_slug: String,
    /// DER.
    pub certificate: Vec<u8>,
}

/// Those of all tenants.
///
/// # Errors
/// When the database does.
pub async fn vouching(connection: &mut PgConnection) -> Result<Vec<Vouching>, sqlx::Error> {
    sqlx::query_as(
        "SELECT a.id, t.slug AS tenant_slug, a.certificate
         FROM tenant_authority a JOIN tenant t ON t.id = a.tenant_id WHERE a.revoked_at IS NULL ORDER BY a.id",
    )
    .fetch_all(connection)
    .await
}

/// Which credential a certificate opens that this authority vouches for and that names this gateway of its
/// tenant; made when it is shown for the first time. `None` = it may not come in.
///
/// # Errors
/// When the database does.
pub async fn gateway(
    connection: &mut PgConnection,
    authority: AuthorityId,
    gateway: &str,
    fingerprint: &[u8; 32],
) -> Result<Option<CredentialId>, sqlx::Error> {
    sqlx::query_scalar("SELECT credential_id FROM gateway_by_authority($1, $2, $3, $4, $5)")
        .bind(authority)
        .bind(gateway)
        .bind(&fingerprint[..])
        .bind(CredentialId::new())
        .bind(GatewayId::new())
        .fetch_optional(connection)
        .await
}

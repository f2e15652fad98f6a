//! Tenants, sites, areas, people and keys.

use sqlx::PgConnection;

use crate::id::{ApiKeyId, AreaId, SiteId, TenantId, UserId};
use crate::tenant::{MemberRole, Permission};
use crate::time::Timestamp;

#[derive(Clone, Debug)]
pub struct NewTenant<'a> {
    /// Lower-case letters, digits and dashes: it stands in MQTT topics.
    pub slug: &'a str,
    pub name: &'a str,
}

/// # Errors
/// `tenant_slug_key` when the slug is taken.
pub async fn create_tenant(
    connection: &mut PgConnection,
    new: &NewTenant<'_>,
) -> Result<TenantId, sqlx::Error> {
    let id = TenantId::new();
    sqlx::query("INSERT INTO tenant (id, slug, name) VALUES ($1, $2, $3)")
        .bind(id)
        .bind(new.slug)
        .bind(new.name)
        .execute(connection)
        .await?;
    Ok(id)
}

/// By slug.
///
/// # Errors
/// When the database does.
pub async fn ensure_tenant(
    connection: &mut PgConnection,
    new: &NewTenant<'_>,
) -> Result<TenantId, sqlx::Error> {
    match find_tenant(connection, new.slug).await? {
        Some(id) => Ok(id),
        None => create_tenant(connection, new).await,
    }
}

/// # Errors
/// When the database does.
pub async fn find_tenant(connection: &mut PgConnection, slug: &str) -> Result<Option<TenantId>, sqlx::Error> {
    sqlx::query_scalar("SELECT id FROM tenant WHERE slug = $1")
        .bind(slug)
        .fetch_optional(connection)
        .await
}

#[derive(Clone, Debug)]
pub struct NewSite<'a> {
    pub tenant: TenantId,
    pub name: &'a str,
    /// IANA name; the caller has checked that it exists.
    pub time_zone: &'a str,
}

/// # Errors
/// `site_tenant_id_name_key` when the name is taken.
pub async fn create_site(connection: &mut PgConnection, new: &NewSite<'_>) -> Result<SiteId, sqlx::Error> {
    let id = SiteId::new();
    sqlx::query("INSERT INTO site (id, tenant_id, name, time_zone) VALUES ($1, $2, $3, $4)")
        .bind(id)
        .bind(new.tenant)
        .bind(new.name)
        .bind(new.time_zone)
        .execute(connection)
        .await?;
    Ok(id)
}

/// By tenant and name.
///
/// # Errors
/// When the database does.
pub async fn ensure_site(connection: &mut PgConnection, new: &NewSite<'_>) -> Result<SiteId, sqlx::Error> {
    let found = sqlx::query_scalar("SELECT id FROM site WHERE tenant_id = $1 AND name = $2")
        .bind(new.tenant)
        .bind(new.name)
        .fetch_optional(&mut *connection)
        .await?;
    match found {
        Some(id) => Ok(id),
        None => create_site(connection, new).await,
    }
}

/// The tenant's site that was made first.
///
/// # Errors
/// When the database does.
pub async fn first_site(
    connection: &mut PgConnection,
    tenant: TenantId,
) -> Result<Option<SiteId>, sqlx::Error> {
    sqlx::query_scalar("SELECT id FROM site WHERE tenant_id = $1 ORDER BY id LIMIT 1")
        .bind(tenant)
        .fetch_optional(connection)
        .await
}

#[derive(Clone, Debug)]
pub struct NewArea<'a> {
    pub tenant: TenantId,
    pub site: SiteId,
    pub name: &'a str,
}

/// # Errors
/// `area_site_id_name_key` when the name is taken.
pub async fn create_area(connection: &mut PgConnection, new: &NewArea<'_>) -> Result<AreaId, sqlx::Error> {
    let id = AreaId::new();
    sqlx::query("INSERT INTO area (id, tenant_id, site_id, name) VALUES ($1, $2, $3, $4)")
        .bind(id)
        .bind(new.tenant)
        .bind(new.site)
        .bind(new.name)
        .execute(connection)
        .await?;
    Ok(id)
}

/// By site and name.
///
/// # Errors
/// When the database does.
pub async fn ensure_area(connection: &mut PgConnection, new: &NewArea<'_>) -> Result<AreaId, sqlx::Error> {
    let found = sqlx::query_scalar("SELECT id FROM area WHERE site_id = $1 AND name = $2")
        .bind(new.site)
        .bind(new.name)
        .fetch_optional(&mut *connection)
        .await?;
    match found {
        Some(id) => Ok(id),
        None => create_area(connection, new).await,
    }
}

#[derive(Clone, Debug)]
pub struct NewUser<'a> {
    pub email: &'a str,
    pub name: &'a str,
    /// Argon2id as a PHC string; `None` = may not sign in by password.
    pub password_hash: Option<&'a str>,
}

/// # Errors
/// `app_user_email_key` when the address, whatever its case, is taken.
pub async fn create_user(connection: &mut PgConnection, new: &NewUser<'_>) -> Result<UserId, sqlx::Error> {
    let id = UserId::new();
    sqlx::query("INSERT INTO app_user (id, email, name, password_hash) VALUES ($1, $2, $3, $4)")
        .bind(id)
        .bind(new.email)
        .bind(new.name)
        .bind(new.password_hash)
        .execute(connection)
        .await?;
    Ok(id)
}

/// By mail address. The existing person's password stays.
///
/// # Errors
/// When the database does.
pub async fn ensure_user(connection: &mut PgConnection, new: &NewUser<'_>) -> Result<UserId, sqlx::Error> {
    let found = sqlx::query_scalar("SELECT id FROM app_user WHERE lower(email) = lower($1)")
        .bind(new.email)
        .fetch_optional(&mut *connection)
        .await?;
    match found {
        Some(id) => Ok(id),
        None => create_user(connection, new).await,
    }
}

/// Lets a person into a tenant; one who is a member already gets this role and scope.
///
/// # Errors
/// When the site is not the tenant's.
pub async fn ensure_membership(
    connection: &mut PgConnection,
    tenant: TenantId,
    user: UserId,
    role: MemberRole,
    site: Option<SiteId>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO membership (tenant_id, user_id, role, site_id) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant_id, user_id) DO UPDATE SET role = excluded.role, site_id = excluded.site_id",
    )
    .bind(tenant)
    .bind(user)
    .bind(role)
    .bind(site)
    .execute(connection)
    .await?;
    Ok(())
}

#[derive(Clone, Debug)]
pub struct NewApiKey<'a> {
    pub tenant: TenantId,
    pub name: &'a str,
    /// From [`crate::db::auth::Secret::hash`].
    pub secret_hash: [u8; 32],
    pub scopes: &'a [Permission],
    pub created_by: Option<UserId>,
    pub expires_at: Option<Timestamp>,
}

/// # Errors
/// When `scopes` is empty.
pub async fn create_api_key(
    connection: &mut PgConnection,
    new: &NewApiKey<'_>,
) -> Result<ApiKeyId, sqlx::Error> {
    let id = ApiKeyId::new();
    let scopes: Vec<&str> = new.scopes.iter().map(|scope| scope.as_str()).collect();
    sqlx::query(
        "INSERT INTO api_key (id, tenant_id, name, secret_hash, scopes, created_by, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(id)
    .bind(new.tenant)
    .bind(new.name)
    .bind(&new.secret_hash[..])
    .bind(scopes)
    .bind(new.created_by)
    .bind(new.expires_at)
    .execute(connection)
    .await?;
    Ok(id)
}

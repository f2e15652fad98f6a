//! Secrets, sign-in and API keys.
//!
//! Sign-in happens before a tenant is known, so it goes through the definer functions of the schema,
//! which show one person or one key to whoever names it exactly.

use std::fmt;

use rand::TryRngCore;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use crate::id::{ApiKeyId, SiteId, TenantId, UserId};
use crate::tenant::MemberRole;
use crate::time::Timestamp;

/// What a secret opens; decides its prefix, by which a leaked one is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// `fwg_`: an MQTT password.
    Gateway,
    /// `fwk_`: a bearer token of the HTTP API.
    ApiKey,
    /// `fwc_`: becomes a gateway's credential, once.
    Claim,
}

impl SecretKind {
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Gateway => "fwg_",
            Self::ApiKey => "fwk_",
            Self::Claim => "fwc_",
        }
    }
}

/// A secret of 256 random bits, shown once. Stored is the SHA-256 of its whole text, prefix included.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn generate(kind: SecretKind) -> Self {
        Self(format!("{}{}", kind.prefix(), random_hex::<32>()))
    }

    /// One that somebody presents, or that a development set-up chose.
    pub fn given(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// `N` random bytes of the operating system as hex digits.
///
/// # Panics
/// When the operating system has no randomness to give; nothing safe could be done then.
pub fn random_hex<const N: usize>() -> String {
    let mut bytes = [0_u8; N];
    rand::rngs::OsRng
        .try_fill_bytes(&mut bytes)
        .expect("the operating system gives random bytes");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What sign-in needs of a person.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct SignInUser {
    pub id: UserId,
    pub name: String,
    pub password_hash: Option<String>,
    pub failed_signins: i32,
    pub locked_until: Option<Timestamp>,
}

/// # Errors
/// When the database does.
pub async fn user_by_email(
    connection: &mut PgConnection,
    email: &str,
) -> Result<Option<SignInUser>, sqlx::Error> {
    sqlx::query_as("SELECT * FROM auth_user_by_email($1)")
        .bind(email)
        .fetch_optional(connection)
        .await
}

/// Five failures in a row lock the account for fifteen minutes; a success forgets them.
///
/// # Errors
/// When the database does.
pub async fn record_signin(
    connection: &mut PgConnection,
    user: UserId,
    good: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT auth_record_signin($1, $2)")
        .bind(user)
        .bind(good)
        .execute(connection)
        .await?;
    Ok(())
}

/// One tenant that a person may act in.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Membership {
    pub tenant_id: TenantId,
    pub tenant_slug: String,
    pub tenant_name: String,
    pub role: MemberRole,
    pub site_id: Option<SiteId>,
}

/// All tenants of a person: the one opened last first, then in order of joining.
///
/// # Errors
/// When the database does.
pub async fn memberships(
    connection: &mut PgConnection,
    user: UserId,
) -> Result<Vec<Membership>, sqlx::Error> {
    sqlx::query_as("SELECT * FROM auth_memberships($1)")
        .bind(user)
        .fetch_all(connection)
        .await
}

/// Notes that a person opened a tenant: the next sign-in opens it again.
///
/// # Errors
/// When the database does.
pub async fn open_tenant(
    connection: &mut PgConnection,
    user: UserId,
    tenant: TenantId,
) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT auth_open_tenant($1, $2)")
        .bind(user)
        .bind(tenant)
        .execute(connection)
        .await?;
    Ok(())
}

/// Role and site of a person in the tenant that the transaction acts for.
///
/// # Errors
/// When the database does.
pub async fn current_membership(
    connection: &mut PgConnection,
    user: UserId,
) -> Result<Option<(MemberRole, Option<SiteId>)>, sqlx::Error> {
    sqlx::query_as("SELECT role, site_id FROM membership WHERE user_id = $1 AND tenant_id = current_tenant()")
        .bind(user)
        .fetch_optional(connection)
        .await
}

/// A valid API key.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ApiKeyRow {
    pub id: ApiKeyId,
    pub tenant_id: TenantId,
    pub scopes: Vec<String>,
}

/// The key with this hash, if it is neither revoked nor expired; notes the use once a minute.
///
/// # Errors
/// When the database does.
pub async fn api_key(
    connection: &mut PgConnection,
    hash: [u8; 32],
) -> Result<Option<ApiKeyRow>, sqlx::Error> {
    sqlx::query_as("SELECT * FROM auth_api_key($1)")
        .bind(&hash[..])
        .fetch_optional(connection)
        .await
}

/// Who a person is, within the tenant that the transaction acts for.
///
/// # Errors
/// When the database does.
pub async fn user(
    connection: &mut PgConnection,
    user: UserId,
) -> Result<Option<(String, String)>, sqlx::Error> {
    sqlx::query_as("SELECT name, email FROM app_user WHERE id = $1")
        .bind(user)
        .fetch_optional(connection)
        .await
}

/// Makes the rest of the transaction see one site only. `None` = every site of the tenant.
///
/// # Errors
/// When the database does.
pub async fn act_within(connection: &mut PgConnection, site: Option<SiteId>) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT set_config('forewarn.site_id', $1, true)")
        .bind(site.map(|site| site.uuid().to_string()).unwrap_or_default())
        .execute(connection)
        .await?;
    Ok(())
}

//! Who is at the door: user name `{tenant}/{gateway}`, password = one of the gateway's secrets.

use std::sync::Arc;

use models::db::registry;
use models::id::CredentialId;
use models::time::Timestamp;
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use crate::registry::Gateway;

/// A gateway that has shown a valid credential.
#[derive(Clone, Debug)]
pub struct Identity {
    pub gateway: Arc<Gateway>,
    pub credential: CredentialId,
}

#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("no user name")]
    Anonymous,
    #[error("unknown gateway or wrong secret")]
    Wrong,
    #[error("can't ask the database")]
    Database(#[from] sqlx::Error),
}

/// # Errors
/// See [`AuthError`]. An unknown gateway and a wrong secret can't be told apart from outside.
pub async fn check(pool: &PgPool, login: Option<(String, String)>) -> Result<Identity, AuthError> {
    let (user, secret) = login
        .filter(|(user, _)| !user.is_empty())
        .ok_or(AuthError::Anonymous)?;
    let hash = Sha256::digest(secret.as_bytes());
    let (tenant, gateway) = user.split_once('/').ok_or(AuthError::Wrong)?;
    // PostgreSQL's text holds no NUL, and slugs are short.
    if user.len() > 200 || user.contains('\0') {
        return Err(AuthError::Wrong);
    }
    let mut connection = pool.acquire().await?;
    let logins = registry::gateway_logins(&mut connection, tenant, gateway).await?;
    let mut found = None;
    for login in logins {
        let valid = login.expires_at.is_none_or(|at| at > Timestamp::now());
        // Every one is compared to the end, so that the time tells nothing.
        if equal(&login.secret_hash, &hash) & valid {
            found = Some(login);
        }
    }
    let login = found.ok_or(AuthError::Wrong)?;
    Ok(Identity {
        gateway: Arc::new(Gateway {
            id: login.gateway_id,
            tenant: login.tenant_id,
            tenant_slug: tenant.to_owned(),
            slug: gateway.to_owned(),
            max_channels: login.max_channels,
        }),
        credential: login.credential_id,
    })
}

/// Compares in constant time.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && std::hint::black_box(a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    #[test]
    fn equality() {
        assert!(super::equal(b"abc", b"abc"));
        assert!(!super::equal(b"abc", b"abd"));
        assert!(!super::equal(b"abc", b"ab"));
    }
}

//! Who is at the door: user name `{tenant}/{gateway}` and one of the gateway's secrets or passwords,
//! or a client certificate that names the gateway, or `claim` and a one-time code.
//!
//! Several credentials of one gateway are valid side by side, each until it expires or is revoked:
//! that is how they are rotated without an interruption. A secret of 256 random bits is compared with
//! its SHA-256; a password, which a person chose, with its argon2id. That one costs tens of
//! milliseconds and 19 MiB by intention, so only a few are checked at a time, and one that was right
//! is remembered under a key that dies with the process: a storm of reconnecting gateways doesn't
//! wait for it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use models::db::authority;
use models::db::registry::{self, GatewayLogin};
use models::id::CredentialId;
use models::time::Timestamp;
use parking_lot::Mutex;
use rand::Rng;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::Door;
use super::acl::{CLAIM_RESPONSE, Grants, Identity};
use super::authorities::Voucher;
use super::certificate;
use super::hub::Space;
use super::quota::Rates;
use super::session::Peer;
use crate::registry::Gateway;

#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("no user name")]
    Anonymous,
    #[error("unknown gateway or wrong secret")]
    Wrong,
    #[error("too many passwords are being checked")]
    Busy,
    #[error("can't ask the database")]
    Database(#[from] sqlx::Error),
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.gateway {
            Some(gateway) => write!(f, "{}", gateway.id),
            None if self.claim.is_some() => f.write_str("claim"),
            None => f.write_str("anonymous"),
        }
    }
}

/// # Errors
/// See [`AuthError`]. An unknown gateway and a wrong secret can't be told apart by the answer.
pub(crate) async fn check(
    door: &Door,
    peer: &Peer,
    login: Option<(String, String)>,
) -> Result<Identity, AuthError> {
    let named = peer.chain.first().and_then(|own| certificate::gateway(own));
    match (login.filter(|(user, _)| !user.is_empty()), named) {
        (Some((user, code)), _) if user == CLAIM_USER => by_claim(door, &code).await,
        (Some((user, secret)), named) => {
            let identity = by_secret(door, &user, &secret).await?;
            // A certificate that names a gateway opens that one only.
            match (named, &identity.gateway) {
                (Some((tenant, slug)), Some(gateway))
                    if (gateway.tenant_slug.as_str(), gateway.slug.as_str()) != (&*tenant, &*slug) =>
                {
                    Err(AuthError::Wrong)
                }
                _ => Ok(identity),
            }
        }
        (None, Some((tenant, slug))) => by_certificate(door, &tenant, &slug, &peer.chain).await,
        (None, None) => match &door.config.anonymous {
            Some(anonymous) => Ok(Identity {
                space: Space::Anonymous,
                gateway: None,
                credential: None,
                grants: Arc::new(Grants {
                    publish: anonymous.publish.clone(),
                    subscribe: anonymous.subscribe.clone(),
                }),
                claim: None,
            }),
            None => Err(AuthError::Anonymous),
        },
    }
}

/// The user name of who has a claim code for a password.
const CLAIM_USER: &str = "claim";

async fn by_claim(door: &Door, code: &str) -> Result<Identity, AuthError> {
    let hash: [u8; 32] = Sha256::digest(code.trim().as_bytes()).into();
    let mut connection = door.pool.acquire().await?;
    if !registry::claim_is_open(&mut connection, &hash).await? {
        return Err(AuthError::Wrong);
    }
    Ok(Identity {
        space: Space::Claims,
        gateway: None,
        credential: None,
        grants: Arc::new(Grants {
            publish: Vec::new(),
            subscribe: vec![CLAIM_RESPONSE.to_owned()],
        }),
        claim: Some(hash),
    })
}

/// PostgreSQL's text holds no NUL, and slugs are short.
fn sound(tenant: &str, gateway: &str) -> bool {
    tenant.len() + gateway.len() <= 200 && !tenant.contains('\0') && !gateway.contains('\0')
}

async fn by_secret(door: &Door, user: &str, secret: &str) -> Result<Identity, AuthError> {
    let (tenant, gateway) = user.split_once('/').ok_or(AuthError::Wrong)?;
    if !sound(tenant, gateway) {
        return Err(AuthError::Wrong);
    }
    let logins = {
        let mut connection = door.pool.acquire().await?;
        registry::gateway_logins(&mut connection, tenant, gateway).await?
    };
    let hash = Sha256::digest(secret.as_bytes());
    let mut found = None;
    let mut passwords = Vec::new();
    for login in logins {
        let valid = login.expires_at.is_none_or(|at| at > Timestamp::now());
        // Every one is compared to the end, so that the time tells nothing.
        let same = equal(login.secret_hash.as_deref().unwrap_or_default(), &hash);
        if same & valid {
            found = Some(login);
        } else if valid && login.password_hash.is_some() {
            passwords.push(login);
        }
    }
    for login in passwords {
        if found.is_none()
            && let Some(phc) = &login.password_hash
            && door.passwords.verify(login.credential_id, phc, secret).await?
        {
            found = Some(login);
        }
    }
    Ok(admit(door, tenant, gateway, found.ok_or(AuthError::Wrong)?))
}

async fn by_certificate(
    door: &Door,
    tenant: &str,
    gateway: &str,
    chain: &[CertificateDer<'static>],
) -> Result<Identity, AuthError> {
    let own = chain.first().filter(|_| sound(tenant, gateway));
    let fingerprint: [u8; 32] = Sha256::digest(own.ok_or(AuthError::Wrong)?).into();
    let voucher = door.authorities.voucher(chain, tenant).ok_or(AuthError::Wrong)?;
    let mut connection = door.pool.acquire().await?;
    let credential = match voucher {
        Voucher::Door => {
            let tls = door.config.tls.as_ref();
            let site = tls.and_then(|tls| tls.provision_site.as_deref());
            registry::gateway_by_certificate(&mut connection, tenant, gateway, &fingerprint, site).await?
        }
        Voucher::Tenant(id) => authority::gateway(&mut connection, id, gateway, &fingerprint).await?,
    };
    let credential = credential.ok_or(AuthError::Wrong)?;
    let logins = registry::gateway_logins(&mut connection, tenant, gateway).await?;
    let login = logins.into_iter().find(|login| login.credential_id == credential);
    Ok(admit(door, tenant, gateway, login.ok_or(AuthError::Wrong)?))
}

fn admit(door: &Door, tenant: &str, gateway: &str, login: GatewayLogin) -> Identity {
    let limits = &door.config.limits;
    let rate =
        |own: Option<i32>, default: Option<u32>| own.and_then(|rate| u32::try_from(rate).ok()).or(default);
    let rates = Rates {
        readings: rate(login.max_readings_per_s, limits.tenant_readings_per_s),
        bytes: rate(login.max_bytes_per_s, limits.tenant_bytes_per_s),
    };
    door.quotas.set(login.tenant_id, rates, Instant::now());
    Identity {
        space: Space::Tenant(login.tenant_id),
        gateway: Some(Arc::new(Gateway {
            id: login.gateway_id,
            tenant: login.tenant_id,
            tenant_slug: tenant.to_owned(),
            slug: gateway.to_owned(),
            max_channels: login.max_channels,
        })),
        credential: Some(login.credential_id),
        grants: Arc::new(Grants {
            publish: login.publish_filters,
            subscribe: login.subscribe_filters,
        }),
        claim: None,
    }
}

/// Compares in constant time.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && std::hint::black_box(a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b))) == 0
}

/// Longest wait for a turn to check a password.
const TURN: Duration = Duration::from_secs(5);

/// Checks passwords, a few at a time.
#[derive(Debug)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    key: [u8; 32],
    /// The hash that was checked, and the password under `key`.
    right: Mutex<HashMap<CredentialId, (String, [u8; 32])>>,
}

impl Passwords {
    pub fn new(at_once: usize) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(at_once)),
            key: rand::rng().random(),
            right: Mutex::default(),
        }
    }

    async fn verify(&self, credential: CredentialId, phc: &str, password: &str) -> Result<bool, AuthError> {
        let mut hasher = Sha256::new();
        hasher.update(self.key);
        hasher.update(password.as_bytes());
        let shown: [u8; 32] = hasher.finalize().into();
        let known = self
            .right
            .lock()
            .get(&credential)
            .is_some_and(|(of, kept)| of == phc && equal(kept, &shown));
        if known {
            return Ok(true);
        }
        let turn = tokio::time::timeout(TURN, self.turns.clone().acquire_owned());
        let Ok(Ok(turn)) = turn.await else {
            return Err(AuthError::Busy);
        };
        let (hash, password) = (phc.to_owned(), password.to_owned());
        let right = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            match PasswordHash::new(&hash) {
                Ok(hash) => Argon2::default()
                    .verify_password(password.as_bytes(), &hash)
                    .is_ok(),
                Err(error) => {
                    tracing::error!(%error, "a password hash in the register can't be read");
                    false
                }
            }
        })
        .await
        .unwrap_or(false);
        if right {
            self.right.lock().insert(credential, (phc.to_owned(), shown));
        }
        Ok(right)
    }
}

#[cfg(test)]
mod tests {
    use argon2::PasswordHasher;
    use argon2::password_hash::SaltString;

    use super::*;

    #[test]
    fn equality() {
        assert!(super::equal(b"abc", b"abc"));
        assert!(!super::equal(b"abc", b"abd"));
        assert!(!super::equal(b"abc", b"ab"));
        assert!(!super::equal(b"", b"abc"));
    }

    #[tokio::test]
    async fn passwords_are_checked_and_remembered_until_they_change() {
        let salt = SaltString::encode_b64(b"0123456789abcdef").unwrap();
        let weak = Argon2::new(
            argon2::Algorithm::Argon2id,
            argon2::Version::V0x13,
            argon2::Params::new(8, 1, 1, None).unwrap(),
        );
        let hash = |password: &str| {
            weak.hash_password(password.as_bytes(), &salt)
                .unwrap()
                .to_string()
        };
        let passwords = Passwords::new(1);
        let id = CredentialId::new();
        let (old, new) = (hash("old"), hash("new"));
        assert!(!passwords.verify(id, &old, "wrong").await.unwrap());
        assert!(passwords.verify(id, &old, "old").await.unwrap());
        // Remembered: no turn is needed.
        let all = passwords.turns.clone().acquire_owned().await.unwrap();
        assert!(passwords.verify(id, &old, "old").await.unwrap());
        drop(all);
        assert!(
            !passwords.verify(id, &new, "old").await.unwrap(),
            "it was changed"
        );
        assert!(passwords.verify(id, &new, "new").await.unwrap());
        assert!(!passwords.verify(id, "not a hash", "x").await.unwrap());
    }
}

//! Argon2id. Each verification costs 19 MiB and some tens of milliseconds, on a blocking thread, and
//! only a few at a time: else signing in would be a way to stop the server.

use anyhow::Context;
use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

const AT_ONCE: usize = 2;

#[derive(Debug)]
pub struct Passwords {
    turns: Semaphore,
    /// Verified against when nobody has the mail address, so that the answer takes as long.
    decoy: String,
}

/// A PHC string to store.
///
/// # Errors
/// When the password is longer than argon2 takes.
pub fn hash(password: &str) -> anyhow::Result<String> {
    let salt = models::db::auth::random_hex::<16>();
    let salt = SaltString::encode_b64(salt.as_bytes()).map_err(|error| anyhow::anyhow!("salt: {error}"))?;
    let hash = Argon2::default()
        .hash_password(password.as_bytes(), &salt)
        .map_err(|error| anyhow::anyhow!("password: {error}"))?;
    Ok(hash.to_string())
}

impl Passwords {
    #[expect(
        clippy::new_without_default,
        reason = "a decoy costs a hash: not something to make by default"
    )]
    pub fn new() -> Self {
        // A constant password would do as well: what counts is the time.
        let decoy = hash("nobody's").unwrap_or_default();
        Self {
            turns: Semaphore::new(AT_ONCE),
            decoy,
        }
    }

    /// Whether `password` belongs to `stored`. `None` = nobody's, which takes as long and is false.
    ///
    /// # Errors
    /// When the stored hash can't be read.
    pub async fn verify(&self, password: String, stored: Option<String>) -> anyhow::Result<bool> {
        let _turn = self.turns.acquire().await.context("closed")?;
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.decoy.clone());
        let good = tokio::task::spawn_blocking(move || -> anyhow::Result<bool> {
            let hash =
                PasswordHash::new(&stored).map_err(|error| anyhow::anyhow!("stored password: {error}"))?;
            Ok(Argon2::default()
                .verify_password(password.as_bytes(), &hash)
                .is_ok())
        })
        .await
        .context("password check")??;
        Ok(good && known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_a_known_person_is_good() {
        let stored = hash("correct horse").unwrap();
        assert!(stored.starts_with("$argon2id$"));
        let passwords = Passwords::new();
        assert!(
            passwords
                .verify("correct horse".into(), Some(stored.clone()))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify("battery staple".into(), Some(stored))
                .await
                .unwrap()
        );
        assert!(!passwords.verify("nobody's".into(), None).await.unwrap());
        assert!(
            passwords
                .verify("x".into(), Some("not a hash".into()))
                .await
                .is_err()
        );
    }
}

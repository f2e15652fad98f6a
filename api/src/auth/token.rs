//! Tokens of people: JWT, HS256, short-lived. A token says who and in which tenant; role and site are
//! read anew for every request, so that a changed role counts at once.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use models::id::{TenantId, UserId};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};

const ISSUER: &str = "forewarn";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    pub sub: UserId,
    pub ten: TenantId,
    /// Seconds since 1970.
    pub exp: i64,
    /// When the person gave the password.
    pub auth_time: i64,
}

#[derive(Clone)]
pub struct Tokens {
    sign: EncodingKey,
    verify: DecodingKey,
    lifetime_s: i64,
    session_s: i64,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens(…)")
    }
}

impl Tokens {
    pub fn new(secret: &[u8], lifetime_s: u64, session_s: u64) -> Self {
        Self {
            sign: EncodingKey::from_secret(secret),
            verify: DecodingKey::from_secret(secret),
            lifetime_s: i64::try_from(lifetime_s).unwrap_or(3600),
            session_s: i64::try_from(session_s).unwrap_or(3600),
        }
    }

    /// A token and when it ends. `None` when the person must give the password again.
    ///
    /// # Errors
    /// When it can't be signed.
    pub fn issue(
        &self,
        user: UserId,
        tenant: TenantId,
        auth_time: i64,
        now: Timestamp,
    ) -> anyhow::Result<Option<(String, Timestamp)>> {
        let now = now.micros() / 1_000_000;
        let exp = (now + self.lifetime_s).min(auth_time + self.session_s);
        if exp <= now {
            return Ok(None);
        }
        let claims = Claims {
            iss: ISSUER.into(),
            sub: user,
            ten: tenant,
            exp,
            auth_time,
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.sign)?;
        Ok(Some((token, Timestamp::from_secs(exp))))
    }

    /// `None` = forged, expired, or not ours.
    pub fn read(&self, token: &str) -> Option<Claims> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.leeway = 0;
        jsonwebtoken::decode::<Claims>(token, &self.verify, &validation)
            .ok()
            .map(|data| data.claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_by_its_maker_only_and_until_it_ends() {
        let tokens = Tokens::new(b"a secret of thirty-two characters", 900, 3600);
        let (user, tenant, now) = (UserId::new(), TenantId::new(), Timestamp::now());
        let since = now.micros() / 1_000_000;
        let (token, expires) = tokens.issue(user, tenant, since, now).unwrap().unwrap();
        assert_eq!(expires.micros() / 1_000_000, since + 900);
        let claims = tokens.read(&token).unwrap();
        assert_eq!((claims.sub, claims.ten), (user, tenant));
        assert_eq!(
            Tokens::new(b"another secret, also long enough.", 900, 3600).read(&token),
            None
        );
        let (old, _) = tokens
            .issue(user, tenant, since - 5000, Timestamp::from_secs(since - 2000))
            .unwrap()
            .unwrap();
        assert_eq!(tokens.read(&old), None);
        assert_eq!(tokens.issue(user, tenant, since - 3600, now).unwrap(), None);
        let unsigned = "eyJhbGciOiJub25lIn0.e30.";
        assert_eq!(tokens.read(unsigned), None);
    }
}

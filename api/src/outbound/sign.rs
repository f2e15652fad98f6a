//! Signatures of Standard Webhooks 1.0.0: HMAC-SHA256 over `id.timestamp.body`, in Base64, as
//! `v1,…`. While a secret is being changed there are two, parted by a space.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, Mac};
use models::time::Timestamp;
use rand::TryRngCore;
use sha2::Sha256;

const PREFIX: &str = "whsec_";

/// A new signing secret: 32 random bytes as `whsec_…`.
///
/// # Errors
/// When the operating system has no randomness to give.
pub fn new_secret() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes)?;
    Ok(format!("{PREFIX}{}", BASE64_STANDARD.encode(bytes)))
}

/// `None` when the secret is not `whsec_` and Base64.
fn one(secret: &str, id: &str, seconds: i64, body: &[u8]) -> Option<String> {
    let key = BASE64_STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    Some(format!(
        "v1,{}",
        BASE64_STANDARD.encode(mac.finalize().into_bytes())
    ))
}

/// The header `webhook-signature`: by the secret, and by the previous one as long as it counts.
pub fn signature(
    secret: &str,
    previous: Option<(&str, Timestamp)>,
    id: &str,
    now: Timestamp,
    body: &[u8],
) -> Option<String> {
    let seconds = now.micros().div_euclid(1_000_000);
    let mut all = one(secret, id, seconds, body)?;
    if let Some((previous, until)) = previous
        && now < until
        && let Some(second) = one(previous, id, seconds, body)
    {
        all.push(' ');
        all.push_str(&second);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn the_specifications_example() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let at = Timestamp::from_secs(1_614_265_330);
        let body = br#"{"test": 2432232314}"#;
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        assert_eq!(signature(secret, None, id, at, body).as_deref(), Some(expected));
        let old = new_secret().unwrap();
        let both = signature(secret, Some((&old, at.plus_seconds(1.0))), id, at, body).unwrap();
        assert!(both.starts_with(expected) && both.split(' ').count() == 2);
        assert_eq!(
            signature(secret, Some((&old, at)), id, at, body).as_deref(),
            Some(expected),
            "it counts no more"
        );
        assert_eq!(signature("not one", None, id, at, body), None);
        assert_ne!(new_secret().unwrap(), old);
    }
}

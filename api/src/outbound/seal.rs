//! Signing secrets at rest: AES-256-GCM under keys of the configuration.
//!
//! A stored secret is `sealed:1:{key id}:{Base64 of nonce, ciphertext and tag}`. It is bound to the row it
//! stands in: copied into another one it doesn't open. The first key seals and all of them open, so that
//! a key is changed by putting a new one in front. Secrets without the mark are of a time before there
//! was a key, and count as they stand; both kinds are sealed anew by [`super::Sender::reseal`].

use anyhow::ensure;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, Mac};
use rand::TryRngCore;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

const MARK: &str = "sealed:1:";
/// Characters of a key of the configuration, at least.
const SHORTEST: usize = 32;

/// Why a stored secret can't be had.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error(
        "its secret is sealed with the key {0}, which is not in api.outbound.sealing_keys: put it back, or give it a new secret"
    )]
    NoKey(String),
    #[error("its sealed secret is damaged, or belongs to another row: give it a new secret")]
    Damaged,
}

/// The keys. Without any, secrets are stored as they are.
#[derive(Default)]
pub struct Seal {
    keys: Vec<Key>,
}

struct Key {
    /// Says which key it was without saying anything about it.
    id: String,
    key: LessSafeKey,
}

impl Seal {
    /// From the text of the configuration: keys parted by white space.
    ///
    /// # Errors
    /// When one is too short to be a key.
    pub fn new(keys: &SecretString) -> anyhow::Result<Self> {
        let keys = keys.expose_secret().split_whitespace().map(|text| {
            ensure!(
                text.len() >= SHORTEST,
                "api.outbound.sealing_keys: a key has fewer than {SHORTEST} characters; `openssl rand -hex 32` makes a good one"
            );
            Key::new(text)
        });
        Ok(Self {
            keys: keys.collect::<anyhow::Result<_>>()?,
        })
    }

    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// What to store for `secret` in the row `owner`.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn seal(&self, owner: &str, secret: &str) -> anyhow::Result<String> {
        let Some(Key { id, key }) = self.keys.first() else {
            return Ok(secret.to_owned());
        };
        let mut nonce = [0_u8; NONCE_LEN];
        rand::rngs::OsRng.try_fill_bytes(&mut nonce)?;
        let mut sealed = secret.as_bytes().to_vec();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(owner.as_bytes()),
            &mut sealed,
        )
        .map_err(|_| anyhow::anyhow!("a secret can't be sealed"))?;
        let bytes = [&nonce[..], &sealed].concat();
        Ok(format!("{MARK}{id}:{}", BASE64_STANDARD.encode(bytes)))
    }

    /// The secret that is `stored` in the row `owner`.
    ///
    /// # Errors
    /// When it was sealed with another key, or not for this row.
    pub fn open(&self, owner: &str, stored: &str) -> Result<SecretString, OpenError> {
        let Some((id, text)) = parts(stored) else {
            return Ok(SecretString::from(stored));
        };
        let Key { key, .. } = self
            .keys
            .iter()
            .find(|key| key.id == id)
            .ok_or_else(|| OpenError::NoKey(id.to_owned()))?;
        let bytes = BASE64_STANDARD.decode(text).map_err(|_| OpenError::Damaged)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>().ok_or(OpenError::Damaged)?;
        let mut sealed = sealed.to_vec();
        let clear = key
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(owner.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| OpenError::Damaged)?;
        let clear = std::str::from_utf8(clear).map_err(|_| OpenError::Damaged)?;
        Ok(SecretString::from(clear))
    }

    /// Whether it stands as it would be stored now. Without a key every text does.
    pub fn is_current(&self, stored: &str) -> bool {
        match self.keys.first() {
            Some(first) => parts(stored).is_some_and(|(id, _)| id == first.id),
            None => true,
        }
    }
}

/// Whether it is sealed at all.
pub fn is_sealed(stored: &str) -> bool {
    parts(stored).is_some()
}

/// Id of the key, and the rest.
fn parts(stored: &str) -> Option<(&str, &str)> {
    stored.strip_prefix(MARK)?.split_once(':')
}

impl Key {
    fn new(text: &str) -> anyhow::Result<Self> {
        // A text has fewer random bits than characters; what is derived from it is spread evenly.
        let derive = |purpose: &str| {
            let mut mac =
                Hmac::<Sha256>::new_from_slice(text.as_bytes()).expect("HMAC takes keys of every length");
            mac.update(purpose.as_bytes());
            mac.finalize().into_bytes()
        };
        let key = UnboundKey::new(&AES_256_GCM, &derive("forewarn sealing key 1"))
            .map_err(|_| anyhow::anyhow!("api.outbound.sealing_keys: not a key"))?;
        let id = derive("forewarn sealing key 1, name");
        Ok(Self {
            id: crate::store::hex(&id[..4]),
            key: LessSafeKey::new(key),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(keys: &str) -> Seal {
        Seal::new(&SecretString::from(keys)).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_for_its_row_only() {
        let (one, two) = ("1".repeat(32), "2".repeat(40));
        let old = seal(&one);
        let stored = old.seal("whk_a", "whsec_abc").unwrap();
        assert!(is_sealed(&stored) && !stored.contains("abc"), "{stored}");
        assert_ne!(
            stored,
            old.seal("whk_a", "whsec_abc").unwrap(),
            "a nonce of its own"
        );
        assert_eq!(old.open("whk_a", &stored).unwrap().expose_secret(), "whsec_abc");
        assert_eq!(old.open("whk_b", &stored).unwrap_err(), OpenError::Damaged);
        // One bit, anywhere.
        for at in MARK.len() + 9..stored.len() {
            let mut bytes = stored.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(
                old.open("whk_a", &changed).unwrap_err(),
                OpenError::Damaged,
                "{changed}"
            );
        }
        assert_eq!(
            old.open("whk_a", &stored[..MARK.len() + 12]).unwrap_err(),
            OpenError::Damaged
        );

        // A new key in front: it seals, the old one still opens.
        let both = seal(&format!("{two}\n{one}\n"));
        assert!(old.is_current(&stored) && !both.is_current(&stored));
        assert_eq!(both.open("whk_a", &stored).unwrap().expose_secret(), "whsec_abc");
        let fresh = both.seal("whk_a", "whsec_abc").unwrap();
        assert!(both.is_current(&fresh));
        assert_eq!(
            seal(&two).open("whk_a", &fresh).unwrap().expose_secret(),
            "whsec_abc"
        );
        let error = old.open("whk_a", &fresh).unwrap_err();
        assert!(matches!(error, OpenError::NoKey(_)), "{error}");
    }

    #[test]
    fn secrets_of_before_count_as_they_stand() {
        let none = Seal::default();
        assert_eq!(none.seal("whk_a", "whsec_abc").unwrap(), "whsec_abc");
        assert!(none.is_current("whsec_abc") && !none.has_keys());
        let keyed = seal(&"k".repeat(32));
        assert_eq!(
            keyed.open("whk_a", "whsec_abc").unwrap().expose_secret(),
            "whsec_abc"
        );
        assert!(!keyed.is_current("whsec_abc"));
        assert!(
            Seal::new(&SecretString::from(format!("{} short", "k".repeat(32)))).is_err(),
            "a short key is none"
        );
    }
}

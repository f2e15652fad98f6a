//! Section `[api]` of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use models::service::config::read_secret_file;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use url::Url;

use crate::outbound::Outbound;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the HTTP listener: the pages and the API.
    pub listen: String,
    /// Signs the tokens of people, at least 32 characters. Empty: a random one at each start, so that a
    /// restart signs everybody out.
    #[serde(serialize_with = "hidden")]
    pub jwt_secret: SecretString,
    pub jwt_secret_file: Option<PathBuf>,
    /// How long a token is good, seconds; a valid one can be exchanged for a fresh one.
    pub token_lifetime_s: u64,
    /// How long after the sign-in that goes on, seconds.
    pub session_lifetime_s: u64,
    /// Sign-ins that one address may try in a minute.
    pub signins_per_minute: u32,
    /// Take the client's address from the last entry of X-Forwarded-For. Only behind a proxy that
    /// writes it.
    pub trust_forwarded_for: bool,
    /// Largest request body, bytes.
    pub max_body_bytes: usize,
    /// Longest time a request may take, seconds; live streams are not bound by it.
    pub request_timeout_s: u64,
    /// Live streams open at the same time.
    pub max_streams: usize,
    pub attachments: Attachments,
    pub outbound: Outbound,
}

/// Section `[api.attachments]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Attachments {
    /// Folder of the files, each under its SHA-256.
    pub dir: PathBuf,
    /// Largest file, bytes.
    pub max_bytes: usize,
    /// Bytes that a tenant's files may take together.
    pub max_bytes_per_tenant: u64,
    /// Types that are taken.
    pub media_types: Vec<String>,
    pub s3: S3,
}

impl Attachments {
    /// Where they are sent to.
    pub const ROUTE: &'static str = "/v1/tickets/{id}/attachments";
    /// Bytes a second.
    const SLOWEST: u64 = 64 << 10;
}

/// Section `[api.attachments.s3]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3 {
    /// Address of an S3-compatible store. Empty: files are kept in the folder.
    pub endpoint: String,
    pub region: String,
    pub bucket: String,
    /// Of the objects' names.
    pub prefix: String,
    /// The bucket in the path, not in the host's name.
    pub path_style: bool,
    pub access_key_id: String,
    #[serde(serialize_with = "hidden")]
    pub secret_access_key: SecretString,
    pub secret_access_key_file: Option<PathBuf>,
    /// Authorities that are trusted besides the public ones, PEM.
    pub ca_file: Option<PathBuf>,
    /// Longest time until an answer begins, and between two parts of it, seconds.
    pub timeout_s: u64,
}

impl Default for S3 {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            region: "us-east-1".into(),
            bucket: String::new(),
            prefix: String::new(),
            path_style: true,
            access_key_id: String::new(),
            secret_access_key: SecretString::from(""),
            secret_access_key_file: None,
            ca_file: None,
            timeout_s: 20,
        }
    }
}

impl S3 {
    /// The address, when everything is there.
    ///
    /// # Errors
    /// Names the key that is wrong.
    pub fn checked(&self) -> anyhow::Result<Url> {
        let url = Url::parse(&self.endpoint).ok().filter(|url| {
            matches!(url.scheme(), "https" | "http")
                && url.host().is_some()
                && url.path() == "/"
                && url.query().is_none()
                && url.username().is_empty()
        });
        let url = url.with_context(|| {
            format!(
                "api.attachments.s3.endpoint is `{}`, and must be such as https://s3.eu-central-1.amazonaws.com or http://minio:9000",
                self.endpoint
            )
        })?;
        let bucket = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
        ensure!(
            (1..=255).contains(&self.bucket.len()) && self.bucket.chars().all(bucket),
            "api.attachments.s3.bucket is `{}`: a bucket's name has letters, digits, dots and dashes",
            self.bucket
        );
        ensure!(!self.region.is_empty(), "api.attachments.s3.region is empty");
        ensure!(
            !self.access_key_id.is_empty(),
            "api.attachments.s3.access_key_id is empty"
        );
        ensure!(
            (1..=300).contains(&self.timeout_s),
            "api.attachments.s3.timeout_s must be 1 to 300"
        );
        Ok(url)
    }

    /// # Errors
    /// When there is none, or its file can't be read.
    pub fn secret(&self) -> anyhow::Result<SecretString> {
        match &self.secret_access_key_file {
            Some(path) => read_secret_file(path),
            None if self.secret_access_key.expose_secret().is_empty() => {
                bail!("api.attachments.s3.secret_access_key is empty: set it, or secret_access_key_file")
            }
            None => Ok(self.secret_access_key.clone()),
        }
    }
}

impl Default for Attachments {
    fn default() -> Self {
        Self {
            dir: "attachments".into(),
            max_bytes: 20 << 20,
            max_bytes_per_tenant: 10 << 30,
            media_types: [
                "image/jpeg",
                "image/png",
                "image/webp",
                "image/heic",
                "application/pdf",
                "text/plain",
                "text/csv",
                "video/mp4",
            ]
            .map(str::to_owned)
            .into(),
            s3: S3::default(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            jwt_secret: SecretString::from(""),
            jwt_secret_file: None,
            token_lifetime_s: 1800,
            session_lifetime_s: 12 * 3600,
            signins_per_minute: 30,
            trust_forwarded_for: false,
            max_body_bytes: 1 << 20,
            request_timeout_s: 30,
            max_streams: 512,
            attachments: Attachments::default(),
            outbound: Outbound::default(),
        }
    }
}

fn hidden<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if secret.expose_secret().is_empty() {
        ""
    } else {
        "(hidden)"
    })
}

impl Config {
    /// # Errors
    /// Names the key that is wrong.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(
            (60..=3600).contains(&self.token_lifetime_s),
            "api.token_lifetime_s is {}, and must be 60 to 3600",
            self.token_lifetime_s
        );
        ensure!(
            self.session_lifetime_s >= self.token_lifetime_s,
            "api.session_lifetime_s is shorter than api.token_lifetime_s"
        );
        ensure!(
            self.signins_per_minute > 0,
            "api.signins_per_minute is 0: nobody could sign in"
        );
        ensure!(self.max_body_bytes >= 1024, "api.max_body_bytes is below 1024");
        ensure!(self.request_timeout_s > 0, "api.request_timeout_s is 0");
        self.outbound.check()?;
        ensure!(
            (1024..=1 << 30).contains(&self.attachments.max_bytes),
            "api.attachments.max_bytes must be 1024 to 1 GiB"
        );
        Ok(())
    }

    /// The secret that signs tokens: the file's, else the key's, else `None`.
    ///
    /// # Errors
    /// When the file can't be read or the secret is too short to be one.
    pub fn secret(&self) -> anyhow::Result<Option<SecretString>> {
        let secret = match &self.jwt_secret_file {
            Some(path) => read_secret_file(path)?,
            None if self.jwt_secret.expose_secret().is_empty() => return Ok(None),
            None => self.jwt_secret.clone(),
        };
        ensure!(
            secret.expose_secret().len() >= 32,
            "api.jwt_secret has fewer than 32 characters"
        );
        Ok(Some(secret))
    }

    /// How long a request may take, by its route. A file has the time that a slow line needs for the largest one.
    pub fn request_timeout(&self, route: &str) -> Duration {
        let usual = Duration::from_secs(self.request_timeout_s);
        if route == Attachments::ROUTE {
            usual + Duration::from_secs(self.attachments.max_bytes as u64 / Attachments::SLOWEST)
        } else {
            usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_come_over_a_slow_line() {
        let config = Config {
            request_timeout_s: 30,
            ..Config::default()
        };
        let document = crate::openapi_document();
        assert!(
            document["paths"][Attachments::ROUTE]["post"].is_object(),
            "the route is the one that is served"
        );
        let largest = config.attachments.max_bytes as u64;
        assert_eq!(
            config.request_timeout(Attachments::ROUTE).as_secs(),
            30 + largest / (64 << 10)
        );
        assert_eq!(config.request_timeout("/v1/tickets/{id}").as_secs(), 30);
    }

    #[test]
    fn a_store_is_configured_whole_or_not_at_all() {
        let good = S3 {
            endpoint: "http://minio:9000".into(),
            bucket: "forewarn".into(),
            access_key_id: "id".into(),
            secret_access_key: SecretString::from("hush"),
            ..S3::default()
        };
        assert_eq!(good.checked().unwrap().host_str(), Some("minio"));
        assert!(good.secret().is_ok());
        let shown = serde_json::to_string(&good).unwrap();
        assert!(
            !shown.contains("hush") && !format!("{good:?}").contains("hush"),
            "{shown}"
        );
        let wrong = |change: fn(&mut S3), key: &str| {
            let mut s3 = good.clone();
            change(&mut s3);
            let error = s3.checked().map(drop).and_then(|()| s3.secret().map(drop));
            let error = error.unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        };
        wrong(|s3| s3.endpoint = "minio:9000".into(), "endpoint");
        wrong(|s3| s3.endpoint = "https://host/bucket".into(), "endpoint");
        wrong(|s3| s3.bucket.clear(), "bucket");
        wrong(|s3| s3.bucket = "a/b".into(), "bucket");
        wrong(|s3| s3.access_key_id.clear(), "access_key_id");
        wrong(
            |s3| s3.secret_access_key = SecretString::from(""),
            "secret_access_key",
        );
    }

    #[test]
    fn secrets_are_neither_short_nor_shown() {
        Config::default().check().unwrap();
        let short = Config {
            jwt_secret: SecretString::from("hush"),
            ..Config::default()
        };
        assert!(short.secret().is_err());
        let good = Config {
            jwt_secret: SecretString::from("x".repeat(32)),
            ..Config::default()
        };
        assert!(good.secret().unwrap().is_some());
        assert!(serde_json::to_string(&good).unwrap().contains("(hidden)"));
        assert!(
            Config {
                token_lifetime_s: 5,
                ..Config::default()
            }
            .check()
            .is_err()
        );
    }
}

//! Section `[api.outbound]` of the configuration.

use std::path::PathBuf;

use anyhow::ensure;
use models::service::config::read_secret_file;
use models::webhook::Network;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use super::seal::Seal;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outbound {
    /// Send webhooks and messages, watch service levels, set parts aside. Several processes may.
    pub enabled: bool,
    /// Seconds between two looks; news wake it.
    pub every_s: f64,
    /// Networks that webhooks may call although they are not public: on-site hosts.
    pub allow_networks: Vec<String>,
    /// Longest time of a call, seconds.
    pub timeout_s: u64,
    /// How long events, deliveries and messages are kept, days. A live stream or webhook that was away
    /// for longer begins anew.
    pub keep_days: f64,
    /// Encrypt the signing secrets of webhooks in the database: 32 characters each at least, parted by
    /// white space. The first seals, all open. Empty: they stand there as they are.
    #[serde(serialize_with = "hidden")]
    pub sealing_keys: SecretString,
    pub sealing_keys_file: Option<PathBuf>,
    pub mail: Mail,
}

/// Section `[api.outbound.mail]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mail {
    /// Empty: no mail is sent.
    pub host: String,
    pub port: u16,
    pub security: Security,
    pub from: String,
    /// Empty: without signing in.
    pub user: String,
    #[serde(serialize_with = "hidden")]
    pub password: SecretString,
    pub password_file: Option<PathBuf>,
}

/// How the way to the mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// TLS from the first byte (port 465).
    Tls,
    /// TLS after a greeting, never without (port 587).
    Starttls,
    /// Readable by whoever is on the way.
    None,
}

fn hidden<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if secret.expose_secret().is_empty() {
        ""
    } else {
        "(hidden)"
    })
}

impl Default for Outbound {
    fn default() -> Self {
        Self {
            enabled: true,
            every_s: 5.0,
            allow_networks: Vec::new(),
            timeout_s: 20,
            keep_days: 14.0,
            sealing_keys: SecretString::from(""),
            sealing_keys_file: None,
            mail: Mail::default(),
        }
    }
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 587,
            security: Security::Starttls,
            from: "forewarn@localhost".into(),
            user: String::new(),
            password: SecretString::from(""),
            password_file: None,
        }
    }
}

impl Outbound {
    /// # Errors
    /// Names the network that is none.
    pub fn networks(&self) -> anyhow::Result<Vec<Network>> {
        self.allow_networks
            .iter()
            .map(|text| {
                text.parse()
                    .map_err(|error: String| anyhow::anyhow!("api.outbound.allow_networks: {error}"))
            })
            .collect()
    }

    /// What seals signing secrets: by the file's keys, else by the key's.
    ///
    /// # Errors
    /// When the file can't be read, or a key is too short to be one.
    pub fn seal(&self) -> anyhow::Result<Seal> {
        match &self.sealing_keys_file {
            Some(path) => Seal::new(&read_secret_file(path)?),
            None => Seal::new(&self.sealing_keys),
        }
    }

    /// # Errors
    /// Names the key that is wrong.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(
            (0.1..=3600.0).contains(&self.every_s),
            "api.outbound.every_s must be 0.1 to 3600"
        );
        ensure!(
            (1..=30).contains(&self.timeout_s),
            "api.outbound.timeout_s must be 1 to 30"
        );
        ensure!(
            self.keep_days.is_finite() && self.keep_days >= 5.0,
            "api.outbound.keep_days is below the 5 days over which a delivery may be tried"
        );
        self.networks().map(drop)
    }
}

//! `forewarn-edge.toml`. `forewarn-edge init` prints it with comments.
//!
//! Relative paths are relative to the file's folder. `FOREWARN_EDGE__SECTION__KEY` in the environment
//! wins over the file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use figment::Figment;
use figment::providers::{Env, Format, Toml};
use secrecy::SecretString;
use serde::Deserialize;

use crate::collect;
use crate::spool::{FullPolicy, Options};

/// What `forewarn-edge init` prints.
pub const EXAMPLE: &str = include_str!("example.toml");

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub uplink: Uplink,
    pub spool: Spool,
    #[serde(default)]
    pub batch: Batch,
    #[serde(default)]
    pub collect: Vec<collect::Config>,
    /// Folder that relative paths start from.
    #[serde(skip)]
    pub base: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uplink {
    pub url: String,
    pub tenant: String,
    pub gateway: String,
    pub secret: Option<SecretString>,
    pub secret_file: Option<PathBuf>,
    /// Batches that may be under way, unacknowledged.
    #[serde(default = "default_window")]
    pub window: u16,
    #[serde(default = "default_keep_alive_s")]
    pub keep_alive_s: u64,
    /// Longest pause between two attempts to connect, seconds.
    #[serde(default = "default_retry_max_s")]
    pub retry_max_s: f64,
}

fn default_window() -> u16 {
    16
}

fn default_keep_alive_s() -> u64 {
    30
}

fn default_retry_max_s() -> f64 {
    60.0
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fsync {
    /// After each batch.
    Each,
    /// After all batches of `group_ms`.
    #[default]
    Group,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spool {
    pub dir: PathBuf,
    #[serde(default = "default_max_bytes")]
    pub max_bytes: u64,
    /// Hours; 0 = no limit. Needs `full_policy = "drop_oldest"`.
    #[serde(default)]
    pub max_age_h: f64,
    #[serde(default)]
    pub fsync: Fsync,
    #[serde(default = "default_group_ms")]
    pub group_ms: u64,
    #[serde(default)]
    pub full_policy: FullPolicy,
}

fn default_max_bytes() -> u64 {
    1 << 30
}

fn default_group_ms() -> u64 {
    20
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Batch {
    pub max_readings: usize,
    pub max_age_ms: u64,
    /// zstd, 1 to 19.
    pub level: i32,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            max_readings: 8_000,
            max_age_ms: 1_000,
            level: 3,
        }
    }
}

/// `host:port` of an `mqtt://` address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Config {
    /// # Errors
    /// Names the key that is wrong and what was expected.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        ensure!(
            path.is_file(),
            "configuration file {} doesn't exist: make one with `forewarn-edge init`",
            path.display()
        );
        let mut config: Self = Figment::from(Toml::file_exact(path))
            .merge(Env::prefixed("FOREWARN_EDGE__").split("__"))
            .extract()
            .map_err(|error| anyhow::anyhow!("{error}"))
            .with_context(|| format!("configuration {}", path.display()))?;
        config.base = path.parent().unwrap_or(Path::new("")).to_owned();
        config
            .check()
            .with_context(|| format!("configuration {}", path.display()))?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        self.uplink.address()?;
        for (key, name) in [
            ("uplink.tenant", &self.uplink.tenant),
            ("uplink.gateway", &self.uplink.gateway),
        ] {
            let good = !name.is_empty()
                && !name.contains(|c: char| "/+#".contains(c) || c.is_control() || c.is_whitespace());
            ensure!(
                good,
                "`{key}` is `{name}`: it must not be empty nor hold blanks, `/`, `+` or `#`"
            );
        }
        let one = self.uplink.secret.is_some() != self.uplink.secret_file.is_some();
        ensure!(one, "give either `uplink.secret` or `uplink.secret_file`");
        ensure!(self.uplink.window > 0, "`uplink.window` must be at least 1");
        let retry_max_s = self.uplink.retry_max_s;
        ensure!(
            retry_max_s > 0.0 && retry_max_s <= 86_400.0,
            "`uplink.retry_max_s` must be from 0 to 86400 seconds"
        );
        ensure!(
            self.spool.max_bytes >= 1 << 20,
            "`spool.max_bytes` must be at least 1048576 (1 MiB)"
        );
        ensure!(
            self.spool.max_age_h == 0.0 || self.spool.full_policy == FullPolicy::DropOldest,
            "`spool.max_age_h` loses what is older; say so with `spool.full_policy = \"drop_oldest\"`"
        );
        let most = models::wire::MAX_BATCH_READINGS / 8;
        ensure!(
            (1..=most).contains(&self.batch.max_readings),
            "`batch.max_readings` must be from 1 to {most}"
        );
        ensure!(
            (1..=19).contains(&self.batch.level),
            "`batch.level` must be from 1 to 19"
        );
        let mut names: Vec<String> = self.collect.iter().map(collect::Config::name).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            anyhow::bail!(
                "two [[collect]] sections are both called `{}`: give one a `name`",
                pair[0]
            );
        }
        Ok(())
    }

    pub fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    pub fn spool_dir(&self) -> PathBuf {
        self.path(&self.spool.dir)
    }

    /// # Errors
    /// When the secret's file can't be read or is empty.
    pub fn secret(&self) -> anyhow::Result<SecretString> {
        match (&self.uplink.secret, &self.uplink.secret_file) {
            (Some(secret), _) => Ok(secret.clone()),
            (None, Some(file)) => models::service::config::read_secret_file(&self.path(file)),
            (None, None) => anyhow::bail!("no `uplink.secret`"),
        }
    }
}

impl Spool {
    pub fn options(&self) -> Options {
        Options {
            policy: self.full_policy,
            max_age_s: self.max_age_h * 3600.0,
            ..Options::new(self.max_bytes)
        }
    }
}

impl Batch {
    pub fn max_age(&self) -> Duration {
        Duration::from_millis(self.max_age_ms)
    }
}

impl Uplink {
    /// # Errors
    /// When it is not `mqtt://host[:port]`.
    pub fn address(&self) -> anyhow::Result<Address> {
        let url = &self.url;
        ensure!(
            !url.starts_with("mqtts://"),
            "`uplink.url` is `{url}`: TLS is not supported yet, use mqtt:// inside a protected network"
        );
        let rest = url
            .strip_prefix("mqtt://")
            .with_context(|| format!("`uplink.url` is `{url}`: expected mqtt://host:port"))?;
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (
                host,
                port.parse()
                    .with_context(|| format!("`uplink.url` is `{url}`: `{port}` is no port"))?,
            ),
            _ => (rest, 1883),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        ensure!(
            !host.is_empty() && !host.contains('/'),
            "`uplink.url` is `{url}`: expected mqtt://host:port"
        );
        Ok(Address {
            host: host.to_owned(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edge.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path).map_err(|error| format!("{error:#}"))
    }

    const GOOD: &str = "[uplink]\nurl = \"mqtt://127.0.0.1\"\ntenant = \"acme\"\ngateway = \"g\"\nsecret = \"s\"\n[spool]\ndir = \"spool\"\n";

    #[test]
    fn the_example_is_valid() {
        let config = load(EXAMPLE).unwrap();
        assert_eq!(config.collect.len(), 1);
    }

    #[test]
    fn addresses() {
        let mut uplink = load(GOOD).unwrap().uplink;
        for (url, host, port) in [
            ("mqtt://h", "h", 1883),
            ("mqtt://h:7/", "h", 7),
            ("mqtt://[::1]:9", "::1", 9),
            ("mqtt://[::1]", "::1", 1883),
        ] {
            uplink.url = url.to_owned();
            assert_eq!(
                uplink.address().unwrap(),
                Address {
                    host: host.to_owned(),
                    port
                }
            );
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (change, said) in [
            ("max_byte = 5\n", "max_byte"),
            ("max_bytes = 5\n", "spool.max_bytes"),
            ("max_age_h = 5\n", "drop_oldest"),
            ("[batch]\nmax_readings = 0\n", "batch.max_readings"),
            (
                "[[collect]]\nkind = \"simulate\"\ndevice = \"p\"\nmachine = \"spaceship\"\n",
                "spaceship",
            ),
            ("[[collect]]\nkind = \"modem\"\n", "modem"),
            (
                "[[collect]]\nkind = \"simulate\"\ndevice = \"p\"\nmachine = \"pump\"\nwaer = 1\n",
                "waer",
            ),
        ] {
            let error = load(&format!("{GOOD}{change}")).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        let error = load(&GOOD.replace("mqtt:", "mqtts:")).unwrap_err();
        assert!(error.contains("TLS"), "{error}");
        let error = load(&GOOD.replace("secret", "secret_file"))
            .unwrap()
            .secret()
            .unwrap_err();
        assert!(error.to_string().contains("secret file"), "{error}");
    }
}

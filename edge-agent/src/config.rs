//! `forewarn-edge.toml`. `forewarn-edge init` prints it with comments.
//!
//! Relative paths are relative to the file's folder. `FOREWARN_EDGE__SECTION__KEY` in the environment
//! wins over the file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use figment::Figment;
use figment::providers::{Env, Format, Toml};
use secrecy::SecretString;
use serde::Deserialize;

use crate::mqtt::{Address, tls};
use crate::spool::{FullPolicy, Options};
use crate::{collect, remote};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub uplink: Uplink,
    pub spool: Spool,
    #[serde(default)]
    pub batch: Batch,
    #[serde(default)]
    pub status: Status,
    #[serde(default)]
    pub remote: remote::Settings,
    #[serde(default)]
    pub collect: Vec<collect::Config>,
    /// Folder that relative paths start from.
    #[serde(skip)]
    pub base: PathBuf,
    /// Where this was read from.
    #[serde(skip)]
    pub file: PathBuf,
}

/// `[status]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Address of the status page, such as `127.0.0.1:8090`; none by default.
    pub listen: Option<SocketAddr>,
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
    /// Batches of a backlog per second, at most; 0 = as fast as the receiver takes them.
    #[serde(default)]
    pub backlog_per_s: f64,
    #[serde(default)]
    pub tls: tls::Settings,
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

impl Config {
    /// # Errors
    /// Names the key that is wrong and what was expected.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        Self::load_with(path, None)
    }

    /// As [`Config::load`], with sections that go over those of the file.
    ///
    /// # Errors
    /// As there.
    pub fn load_with(path: &Path, over: Option<&str>) -> anyhow::Result<Self> {
        ensure!(
            path.is_file(),
            "configuration file {} doesn't exist: make one with `forewarn-edge init`",
            path.display()
        );
        let mut figment = Figment::from(Toml::file_exact(path));
        if let Some(over) = over {
            figment = figment.merge(Toml::string(over));
        }
        let mut config: Self = figment
            .merge(Env::prefixed("FOREWARN_EDGE__").split("__"))
            .extract()
            .map_err(|error| anyhow::anyhow!("{error}"))
            .with_context(|| format!("configuration {}", path.display()))?;
        config.base = path.parent().unwrap_or(Path::new("")).to_owned();
        config.file = path.to_owned();
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
        let per_s = self.uplink.backlog_per_s;
        ensure!(
            per_s == 0.0 || (0.001..=1e6).contains(&per_s),
            "`uplink.backlog_per_s` is `{per_s}`: expected 0, or from 0.001 to 1000000 batches a second"
        );
        ensure!(
            self.uplink.tls == tls::Settings::default() || self.uplink.address()?.tls,
            "[uplink.tls] needs an address that begins with mqtts://"
        );
        let within = self.remote.link_within_s;
        ensure!(
            within > 0.0 && within <= 86_400.0,
            "`remote.link_within_s` must be from 0 to 86400 seconds"
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
    /// When it is neither `mqtt://host[:port]` nor `mqtts://host[:port]`.
    pub fn address(&self) -> anyhow::Result<Address> {
        Address::parse("uplink.url", &self.url)
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
    fn mistakes_are_named() {
        for (change, said) in [
            ("max_byte = 5\n", "max_byte"),
            ("max_bytes = 5\n", "spool.max_bytes"),
            ("max_age_h = 5\n", "drop_oldest"),
            ("[remote]\nlink_within_s = 0\n", "remote.link_within_s"),
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
        let error = load(&format!("{GOOD}[uplink.tls]\nca_file = \"ca.pem\"\n")).unwrap_err();
        assert!(error.contains("mqtts://"), "{error}");
        let error = load(&GOOD.replace("secret", "secret_file"))
            .unwrap()
            .secret()
            .unwrap_err();
        assert!(error.to_string().contains("secret file"), "{error}");
    }
}

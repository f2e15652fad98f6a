//! The executable's configuration: one section for each service.

use std::path::{Path, PathBuf};

use anyhow::Context;
use models::service::{config, telemetry};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

/// Every key with its default and its meaning; compiled in, so that the file and the program agree.
pub const DEFAULTS: &str = include_str!("../forewarn.default.toml");

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub database: Database,
    pub log: telemetry::Config,
    pub ingest: ingest::config::Config,
    pub analytics: analytics::config::Config,
    pub api: api::config::Config,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    #[serde(serialize_with = "hidden")]
    url: SecretString,
    #[serde(default)]
    url_file: Option<PathBuf>,
    /// Connections of each service at most.
    pub ingest_connections: u32,
    pub analytics_connections: u32,
    pub api_connections: u32,
}

fn hidden<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if secret.expose_secret().is_empty() {
        ""
    } else {
        "(hidden)"
    })
}

impl Database {
    /// Address of the database: `url_file`, else `url`, else the environment's `DATABASE_URL`.
    ///
    /// # Errors
    /// When none is given.
    pub fn address(&self) -> anyhow::Result<String> {
        if let Some(path) = &self.url_file {
            return Ok(config::read_secret_file(path)?.expose_secret().to_owned());
        }
        if !self.url.expose_secret().is_empty() {
            return Ok(self.url.expose_secret().to_owned());
        }
        std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty()).context(
            "no database is named: set DATABASE_URL, or database.url or database.url_file in the configuration",
        )
    }
}

impl Config {
    /// # Errors
    /// Names the key that is wrong, unknown or missing.
    pub fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        config::load(DEFAULTS, file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_file_is_complete() {
        Config::load(None).unwrap();
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "[ingest]\nlissten = \"x\"\n").unwrap();
        let error = format!("{:#}", Config::load(Some(file.path())).unwrap_err());
        assert!(error.contains("lissten"), "{error}");
    }

    #[test]
    fn secrets_are_not_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "[database]\nurl = \"postgres://u:hunter2@h/d\"\n").unwrap();
        let config = Config::load(Some(file.path())).unwrap();
        let shown = toml::to_string(&config).unwrap();
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}

//! Configuration: compiled-in defaults, then a file, then `FOREWARN__SECTION__KEY`.
//!
//! Each service owns a struct with `#[serde(deny_unknown_fields)]`; the executable's struct holds
//! one per section. `forewarn.default.toml` is both the defaults and their documentation.

use std::path::Path;

use anyhow::Context;
use figment::Figment;
use figment::providers::{Env, Format, Toml};
use serde::de::DeserializeOwned;

/// Prefix of the environment's keys.
pub const ENV_PREFIX: &str = "FOREWARN__";

/// Reads `T` from `defaults`, then `file`, then the environment.
///
/// # Errors
/// Names the key, where it came from and what was expected.
pub fn load<T: DeserializeOwned>(defaults: &'static str, file: Option<&Path>) -> anyhow::Result<T> {
    let mut figment = Figment::from(Toml::string(defaults));
    if let Some(path) = file {
        anyhow::ensure!(
            path.is_file(),
            "configuration file {} doesn't exist",
            path.display()
        );
        figment = figment.merge(Toml::file_exact(path));
    }
    figment
        .merge(Env::prefixed(ENV_PREFIX).split("__"))
        .extract()
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("configuration")
}

/// The content of a file that holds one secret, without its line end.
///
/// # Errors
/// When it can't be read or is empty.
pub fn read_secret_file(path: &Path) -> anyhow::Result<secrecy::SecretString> {
    let text = std::fs::read_to_string(path).with_context(|| format!("secret file {}", path.display()))?;
    let text = text.trim_end_matches(['\r', '\n']);
    anyhow::ensure!(!text.is_empty(), "secret file {} is empty", path.display());
    Ok(secrecy::SecretString::from(text))
}

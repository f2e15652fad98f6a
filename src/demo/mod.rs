//! The demo plant: its register in the database and the configuration of its agents.
//!
//! Readings are not written here. They come from the agents through the front door like any
//! other, history included.

mod agents;
mod engines;
mod plant;
mod register;
pub mod story;

use std::fmt;
use std::path::Path;

use anyhow::Context;
use models::db::auth::{Secret, SecretKind};
use serde::{Deserialize, Serialize};
use sqlx::{ConnectOptions, Connection, postgres::PgConnectOptions};

/// How to sign in to the demo. Written to `signin.json` for the `dev` script and for people.
#[derive(Debug, Serialize, Deserialize)]
pub struct SignIn {
    pub email: String,
    pub password: String,
    pub tenant: String,
}

/// What `prepare` did.
#[derive(Debug)]
pub struct Prepared {
    assets: usize,
    agents: usize,
    sign_in: SignIn,
}

impl fmt::Display for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "demo plant: {} assets, {} agents, sign-in {}",
            self.assets, self.agents, self.sign_in.email
        )
    }
}

/// Writes register and agents' configuration. Repeating it changes nothing but what is missing:
/// secrets are made once and kept in `dir`, which only its owner can read.
///
/// # Errors
/// When the folder can't be written or the database has no schema.
pub async fn prepare(url: &str, dir: &Path, uplink: &str, data: &Path) -> anyhow::Result<Prepared> {
    let plant = plant::plant().context("demo/plant.toml")?;
    std::fs::create_dir_all(dir.join("agents")).with_context(|| format!("can't make {}", dir.display()))?;
    let sign_in = sign_in(dir)?;
    let mut connection = url
        .parse::<PgConnectOptions>()?
        .application_name("forewarn-demo")
        .connect()
        .await?;
    let mut transaction = connection.begin().await?;
    let secrets = agents::Secrets::load(dir, &plant)?;
    let register::Written { assets, began } =
        register::register(&mut transaction, &plant, &secrets, &sign_in).await?;
    transaction.commit().await?;
    connection.close().await?;
    let agents = agents::write(dir, &plant, &secrets, uplink, data, began)?;
    Ok(Prepared {
        assets,
        agents,
        sign_in,
    })
}

fn sign_in(dir: &Path) -> anyhow::Result<SignIn> {
    let path = dir.join("signin.json");
    if path.is_file() {
        let text = std::fs::read_to_string(&path)?;
        return serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged; delete it", path.display()));
    }
    let secret = Secret::generate(SecretKind::ApiKey);
    let sign_in = SignIn {
        email: "demo@forewarn.example".into(),
        // Eighty random bits: the demo's front door may be opened to a network by a careless hand.
        password: format!("demo-{}", &secret.reveal()[4..24]),
        tenant: "meridian".into(),
    };
    write_private(&path, &serde_json::to_string_pretty(&sign_in)?)?;
    Ok(sign_in)
}

/// A file that only its owner can read.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("can't write {}", path.display()))?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

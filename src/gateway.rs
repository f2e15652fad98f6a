//! `forewarn gateway`: the configuration of gateways' agents, and who may vouch for gateways.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use models::db::gateway_configuration::{self as wanted, ConfigurationState, MAX_BYTES};

use crate::gateways;

#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:
  forewarn gateway configure acme/line-1 --file line-1.toml
  forewarn gateway configuration acme/line-1")]
pub enum Command {
    /// Send a gateway's agent another configuration; it tries it, and takes it back when the link doesn't return.
    Configure {
        gateway: String,
        /// TOML that goes over the file on site: collect as a whole, batch and uplink key by key.
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// What was sent last, and what the agent says of it; the last line is one JSON object.
    Configuration { gateway: String },
}

/// # Errors
/// When there is no such gateway, the file can't be one, or the database does.
pub async fn run(command: Command, database_url: &str) -> anyhow::Result<()> {
    let mut connection = gateways::connect(database_url, "forewarn gateway").await?;
    match command {
        Command::Configure { gateway, file } => {
            let gateway = gateways::one(&mut connection, &gateway).await?;
            let config = read(&file)?;
            ensure!(
                wanted::put(&mut connection, gateway.id, &config, "command line").await?,
                "the gateway is gone"
            );
            println!(
                "it is sent when the gateway is there and listens (remote.enabled): forewarn gateway configuration {}/{}",
                gateway.tenant_slug, gateway.slug
            );
        }
        Command::Configuration { gateway } => {
            let gateway = gateways::one(&mut connection, &gateway).await?;
            let Some(wanted) = wanted::get(&mut connection, gateway.id).await? else {
                println!("{}", serde_json::json!({ "version": null }));
                return Ok(());
            };
            println!("{}", wanted.config.trim_end());
            if wanted.state == ConfigurationState::Pending && wanted.sent_at.is_none() {
                eprintln!(
                    "not sent yet: the gateway isn't there, or its own file doesn't say remote.enabled"
                );
            }
            println!(
                "{}",
                serde_json::json!({
                    "version": wanted.version,
                    "state": wanted.state,
                    "reason": wanted.reason,
                    "wanted_at": wanted.wanted_at,
                    "sent_at": wanted.sent_at,
                    "reported_at": wanted.reported_at,
                })
            );
        }
    }
    Ok(())
}

/// A text that an agent could take, as far as that can be told without it.
fn read(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    ensure!(
        text.len() <= MAX_BYTES,
        "{} is longer than {MAX_BYTES} bytes",
        file.display()
    );
    let table: toml::Table = text
        .parse()
        .with_context(|| format!("{} is no TOML", file.display()))?;
    for section in table.keys() {
        ensure!(
            ["batch", "collect", "uplink"].contains(&section.as_str()),
            "{}: `{section}` can't be configured from here: only `batch`, `collect` and some of `uplink`",
            file.display()
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn a_file_that_no_agent_takes_is_refused_here() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        let said = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read(&file).map_err(|error| format!("{error:#}"))
        };
        assert_eq!(said("[batch]\nlevel = 1\n").unwrap(), "[batch]\nlevel = 1\n");
        assert!(said("[spool]\ndir = \"/\"\n").unwrap_err().contains("`spool`"));
        assert!(said("batch = ").unwrap_err().contains("no TOML"));
    }
}

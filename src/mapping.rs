//! `forewarn mapping`: what a gateway's topics and JSON mean, on the command line.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use models::db::{dead_letter, mapping};
use models::id::DeadLetterId;
use models::mapping::{self as words, Codec, Mapping};
use models::time::Timestamp;
use sqlx::PgConnection;

use crate::gateways;

#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:
  forewarn mapping show acme/line-1 > line-1.json
  forewarn mapping try acme/line-1 --file line-1.json --dead-letter dlt_…
  forewarn mapping try acme/line-1 --file line-1.json --topic plant/7/status --payload message.json
  forewarn mapping set acme/line-1 --file line-1.json")]
pub enum Command {
    /// Print the mapping of a gateway; {} = every protocol on its standard topics.
    Show { gateway: String },
    /// Show what a mapping makes of a message. Nothing is stored.
    Try {
        gateway: String,
        /// The mapping; - = standard input. Without it, the one that is saved.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// A dead letter of the gateway, which gives topic and payload.
        #[arg(long, value_name = "ID", conflicts_with_all = ["topic", "payload"])]
        dead_letter: Option<DeadLetterId>,
        #[arg(long, requires = "payload")]
        topic: Option<String>,
        /// A message as the gateway sends it.
        #[arg(long, value_name = "FILE", requires = "topic")]
        payload: Option<PathBuf>,
    },
    /// Save the mapping of a gateway; it holds from a few seconds later on.
    Set {
        gateway: String,
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
}

/// # Errors
/// When the mapping can't be, or there is no such gateway or letter.
pub async fn run(command: Command, database_url: &str) -> anyhow::Result<()> {
    let mut connection = gateways::connect(database_url, "forewarn mapping").await?;
    match command {
        Command::Show { gateway } => {
            let gateway = gateways::one(&mut connection, &gateway).await?;
            let saved = mapping::get(&mut connection, gateway.id).await?;
            let shown = saved.map(|saved| saved.mapping.0).unwrap_or_default();
            println!("{}", serde_json::to_string_pretty(&shown)?);
        }
        Command::Set { gateway, file } => {
            let gateway = gateways::one(&mut connection, &gateway).await?;
            let new = read(&file)?;
            ensure!(
                mapping::put(&mut connection, gateway.id, &new, "command line").await?,
                "the gateway is gone"
            );
            println!("saved: {} routes", new.routes.len());
        }
        Command::Try {
            gateway,
            file,
            dead_letter,
            topic,
            payload,
        } => {
            let gateway = gateways::one(&mut connection, &gateway).await?;
            let mapping = match file {
                Some(file) => read(&file)?,
                None => mapping::get(&mut connection, gateway.id)
                    .await?
                    .map(|saved| saved.mapping.0)
                    .unwrap_or_default(),
            };
            let (topic, payload, at) = match (dead_letter, topic, payload) {
                (Some(id), ..) => letter(&mut connection, id, gateway.id).await?,
                (None, Some(topic), Some(file)) => (topic, bytes(&file)?, Timestamp::now()),
                _ => bail!("say what to try it on: --dead-letter, or --topic and --payload"),
            };
            print!("{}", tried(&mapping, &topic, &payload, at)?);
        }
    }
    Ok(())
}

async fn letter(
    connection: &mut PgConnection,
    id: DeadLetterId,
    gateway: models::id::GatewayId,
) -> anyhow::Result<(String, Vec<u8>, Timestamp)> {
    let filter = dead_letter::Filter {
        gateway: Some(gateway),
        ids: vec![id],
        ..dead_letter::Filter::default()
    };
    let found = dead_letter::open(connection, &filter, None, 1).await?;
    let Some(open) = found.into_iter().next() else {
        bail!("the gateway has no open dead letter {id}");
    };
    let letter = open.letter;
    ensure!(
        letter.format != "readings",
        "{id} holds single readings, which were read already; a whole message is needed"
    );
    Ok((letter.topic, letter.payload, letter.received_at))
}

fn bytes(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file.as_os_str() == "-" {
        let mut all = Vec::new();
        std::io::stdin().read_to_end(&mut all).context("standard input")?;
        return Ok(all);
    }
    std::fs::read(file).with_context(|| format!("can't read {}", file.display()))
}

fn read(file: &Path) -> anyhow::Result<Mapping> {
    let mapping: Mapping =
        serde_json::from_slice(&bytes(file)?).with_context(|| format!("{} is no mapping", file.display()))?;
    mapping
        .check()
        .with_context(|| format!("{} is no mapping", file.display()))?;
    Ok(mapping)
}

fn tried(mapping: &Mapping, topic: &str, payload: &[u8], at: Timestamp) -> anyhow::Result<String> {
    let Some((number, captures)) = mapping.route(topic) else {
        bail!("no route's filter matches `{topic}`");
    };
    let route = &mapping.routes[number];
    ensure!(
        route.codec == Codec::Json,
        "route {number} reads {}, which needs no mapping of values",
        route.codec.name()
    );
    let mapped = words::apply(route, &captures, topic, payload, at.micros())
        .map_err(|failure| anyhow::anyhow!("{}: {}", failure.reason, failure.detail))?;
    let mut text = format!(
        "route {number} ({}): {} readings, {} values that are none\n",
        route.topic,
        mapped.readings.len(),
        mapped.misfits.len()
    );
    for row in &mapped.readings {
        text.push_str(&format!(
            "  {}  {}  {}  {} {}\n",
            Timestamp::from_micros(row.ts),
            row.device,
            row.channel,
            row.value,
            row.unit.as_deref().unwrap_or("")
        ));
    }
    for misfit in &mapped.misfits {
        text.push_str(&format!("  ! {}\n", misfit.detail));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_shows_readings_and_what_is_none() {
        let mapping: Mapping = serde_json::from_value(serde_json::json!({ "routes": [{
            "topic": "p/+", "codec": "json", "device": "{1}", "time": { "pointer": "/t" },
        }] }))
        .unwrap();
        let text = tried(
            &mapping,
            "p/7",
            br#"{"t":1767225600,"a":{"b":1.5},"c":"x"}"#,
            Timestamp::now(),
        )
        .unwrap();
        assert!(
            text.starts_with("route 0 (p/+): 1 readings, 1 values that are none\n"),
            "{text}"
        );
        assert!(text.contains("2026-01-01T00:00:00Z  7  a.b  1.5"), "{text}");
        assert!(
            text.contains("! /c: expected a number, true or false, got text \"x\""),
            "{text}"
        );
        let error = tried(&mapping, "q", b"1", Timestamp::now()).unwrap_err();
        assert_eq!(error.to_string(), "no route's filter matches `q`");
    }
}

//! `forewarn-edge`: the command line of the agent on site.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use edge_agent::batch::Reading;
use edge_agent::config::{Config, EXAMPLE};
use edge_agent::{bench, status};
use models::service::supervisor::cancel_on_signal;
use models::service::telemetry::{self, LogFormat};
use models::time::Timestamp;
use tokio_util::sync::CancellationToken;

/// Collects readings on site, keeps them on disk and brings them to Forewarn.
#[derive(Parser)]
#[command(
    name = "forewarn-edge",
    version,
    after_help = "Examples:
  forewarn-edge init > edge.toml           a commented configuration to start from
  forewarn-edge check --config edge.toml   try each source and show what it reads
  forewarn-edge run --config edge.toml     collect and send until told to stop
  forewarn-edge status --config edge.toml  what waits in the spool, and how long it lasts"
)]
struct Args {
    /// Logs as `text` or `json`.
    #[arg(long, global = true, default_value = "text", value_parser = ["text", "json"])]
    log_format: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Collect, keep and send until SIGINT or SIGTERM.
    Run {
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Read the configuration and try each source, without sending.
    Check {
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// What waits in the spool, the connection, and what the collectors made.
    Status {
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        #[arg(long)]
        json: bool,
    },
    /// Print a commented configuration.
    Init,
    /// Measure: simulate, spool with sync, send to a receiver in this process. The last line is JSON.
    Bench(bench::Args),
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not by Debug: a backtrace helps nobody on site.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let format = if args.log_format == "json" {
        LogFormat::Json
    } else {
        LogFormat::Text
    };
    let filter = if matches!(args.command, Command::Run { .. }) {
        "info"
    } else {
        "warn"
    };
    telemetry::init(&telemetry::Config {
        format,
        filter: filter.to_owned(),
    })?;
    match args.command {
        Command::Run { config } => {
            let shutdown = CancellationToken::new();
            cancel_on_signal(shutdown.clone())?;
            edge_agent::run(Config::load(&config)?, shutdown).await
        }
        Command::Check { config } => check(&config),
        Command::Status { config, json } => {
            let status = status::read(&Config::load(&config)?)?;
            if json {
                print(&serde_json::to_string(&status)?)
            } else {
                print(status.to_string().trim_end())
            }
        }
        Command::Init => print(EXAMPLE.trim_end()),
        Command::Bench(args) => {
            let result = bench::run(args).await?;
            print(&result.to_string())
        }
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        // `forewarn-edge init | head` is no error.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("standard output"),
    }
}

fn check(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    config.secret()?;
    print(&format!(
        "{}: {}/{} to {}",
        path.display(),
        config.uplink.tenant,
        config.uplink.gateway,
        config.uplink.url
    ))?;
    let mut failed = 0;
    for collect in &config.collect {
        match collect.open(&config.base, None, Timestamp::now()) {
            Ok(mut generator) => {
                let mut readings = Vec::new();
                generator.produce(Timestamp::now(), &mut readings);
                print(&format!("{}:", collect.name()))?;
                for Reading {
                    channel, ts, value, ..
                } in first_of_each_channel(&readings)
                {
                    print(&format!(
                        "  {ts}  {}/{} = {value} {}",
                        channel.device, channel.name, channel.unit
                    ))?;
                }
                if readings.is_empty() {
                    print("  no reading is due yet")?;
                }
            }
            Err(error) => {
                failed += 1;
                print(&format!("{}: {error:#}", collect.name()))?;
            }
        }
    }
    anyhow::ensure!(
        failed == 0,
        "{failed} of {} sources can't be read",
        config.collect.len()
    );
    Ok(())
}

fn first_of_each_channel(readings: &[Reading]) -> Vec<&Reading> {
    let mut seen = std::collections::HashSet::new();
    readings
        .iter()
        .filter(|reading| seen.insert(&reading.channel))
        .collect()
}

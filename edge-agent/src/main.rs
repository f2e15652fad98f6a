//! `forewarn-edge`: the command line of the agent on site.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use edge_agent::check::{self, Verdict};
use edge_agent::config::Config;
use edge_agent::{bench, example, status};
use models::service::supervisor::cancel_on_signal;
use models::service::telemetry::{self, LogFormat};
use tokio_util::sync::CancellationToken;

/// Collects readings on site, keeps them on disk and brings them to Forewarn.
#[derive(Parser)]
#[command(
    name = "forewarn-edge",
    version,
    after_help = "Examples:
  forewarn-edge init --source modbus > edge.toml   a commented configuration to start from
  forewarn-edge check --config edge.toml           try each source and show what it reads
  forewarn-edge run --config edge.toml             collect and send until told to stop
  forewarn-edge status --config edge.toml          what waits in the spool, and how long it lasts"
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
    /// Try each source and show the values it reads, without keeping or sending them.
    ///
    /// Ends with 1 when a source can't be read, or a point of it.
    Check {
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// How long to wait for values.
        #[arg(long, value_name = "S", default_value_t = 5.0)]
        seconds: f64,
        /// Only the source of this name, or of this kind.
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
        /// A list of objects, one for each source.
        #[arg(long)]
        json: bool,
    },
    /// What waits in the spool, the connection, and what the collectors made.
    Status {
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        #[arg(long)]
        json: bool,
    },
    /// Print a commented configuration, with an example for each kind of source.
    Init {
        /// Sources that are not commented out: modbus, opcua, mqtt, http, serial, host, tail, replay, simulate.
        #[arg(long, value_name = "KIND", value_delimiter = ',', default_value = "simulate")]
        source: Vec<String>,
        /// Into this file, which must not exist yet, instead of standard output.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
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
        Command::Check {
            config,
            seconds,
            source,
            json,
        } => check_sources(&config, seconds, source.as_deref(), json).await,
        Command::Status { config, json } => {
            let status = status::read(&Config::load(&config)?)?;
            if json {
                print(&serde_json::to_string(&status)?)
            } else {
                print(status.to_string().trim_end())
            }
        }
        Command::Init { source, output } => init(&source, output.as_deref()),
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

fn init(sources: &[String], output: Option<&Path>) -> anyhow::Result<()> {
    let text = example::configuration(sources)?;
    let Some(path) = output else {
        return print(text.trim_end());
    };
    use std::os::unix::fs::OpenOptionsExt;
    // It will hold a secret.
    std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| path.display().to_string())
}

async fn check_sources(path: &Path, seconds: f64, only: Option<&str>, json: bool) -> anyhow::Result<()> {
    anyhow::ensure!(
        (0.1..=3600.0).contains(&seconds),
        "--seconds must be from 0.1 to 3600"
    );
    let config = Config::load(path)?;
    config.secret()?;
    let wanted = |collect: &&edge_agent::collect::Config| {
        only.is_none_or(|only| collect.name() == only || collect.kind() == only)
    };
    let sources: Vec<_> = config.collect.iter().filter(wanted).collect();
    if let Some(only) = only {
        anyhow::ensure!(
            !sources.is_empty(),
            "no source is called `{only}` or of that kind"
        );
    }
    if !json {
        print(&format!(
            "{}: {}/{} to {}",
            path.display(),
            config.uplink.tenant,
            config.uplink.gateway,
            config.uplink.url
        ))?;
    }
    // One after the other: what is shown belongs together, and sources may share a serial line.
    let mut all = Vec::new();
    for collect in sources {
        let checked = check::source(&config, collect, Duration::from_secs_f64(seconds)).await;
        if !json {
            print(checked.to_string().trim_end())?;
        }
        all.push(checked);
    }
    if json {
        print(&serde_json::to_string(&all)?)?;
    }
    let failed = all
        .iter()
        .filter(|checked| checked.verdict == Verdict::Failed)
        .count();
    anyhow::ensure!(
        failed == 0,
        "{failed} of {} sources can't be read as configured",
        all.len()
    );
    Ok(())
}

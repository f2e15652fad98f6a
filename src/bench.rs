//! `forewarn bench`: measurements of ingestion and analytics, each ending in one JSON object.

use std::path::PathBuf;
use std::process::{Command as Process, Stdio};

use anyhow::{Context, ensure};
use ingest::bench::{
    self, ConnectionsArgs, DispatchArgs, ForeignArgs, ImportArgs, IngestArgs, PeersArgs, Place,
};
use serde_json::Value;

use crate::bench_query;

#[derive(Debug, clap::Subcommand)]
#[command(
    after_help = "The service is a process of its own (forewarn ingest), the databases are made beside the one that
DATABASE_URL names and dropped again. --short is for a continuous integration server: seconds instead of minutes, and
figures that mean nothing, but nothing may be lost or doubled (exit code 1)."
)]
pub enum Command {
    /// Native batches over loopback until committed, beside a raw COPY of as many rows.
    Ingest {
        #[arg(long, default_value_t = 50)]
        connections: usize,
        /// At full load; half load follows for a quarter of it.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// One JSON reading a message (QoS 1) instead of native batches.
        #[arg(long)]
        plain: bool,
        /// Readings in a batch; a multiple of 20.
        #[arg(long, default_value_t = 500)]
        batch: usize,
        /// Messages of one connection that are not acknowledged yet; default 4 batches, 200 plain messages.
        #[arg(long)]
        window: Option<usize>,
        #[arg(long)]
        short: bool,
    },
    /// Many gateways at once; then many of them lose their connection and come back at the same moment.
    Connections {
        #[arg(long, default_value_t = 10_000)]
        connections: usize,
        /// How many come back at once.
        #[arg(long, default_value_t = 5_000)]
        storm: usize,
        #[arg(long)]
        short: bool,
    },
    /// The same plain JSON load into mosquitto with a subscriber from PyPI that writes to an equal database.
    Peers {
        #[arg(long, default_value_t = 50)]
        connections: usize,
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// Python with venv and pip; the subscriber's packages are fetched into a folder of their own.
        #[arg(long, default_value = "python3", value_name = "PROGRAM")]
        python: PathBuf,
        #[arg(long, default_value = "mosquitto", value_name = "PROGRAM")]
        mosquitto: PathBuf,
        #[arg(long)]
        short: bool,
    },
    /// mosquitto in front, ingest processes behind it on a shared subscription, one of them killed half-way.
    Foreign {
        /// Ingest processes.
        #[arg(long, default_value_t = 2)]
        processes: usize,
        #[arg(long, default_value_t = 50)]
        connections: usize,
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// mosquitto's max_inflight_messages; 20 is what it has when nothing is said, 0 is without a limit.
        #[arg(long, default_value_t = 20)]
        in_flight: u16,
        /// Of all connections together; as fast as the broker acknowledges when left out.
        #[arg(long, value_name = "N")]
        messages_per_s: Option<f64>,
        /// Leave all processes alive.
        #[arg(long)]
        no_kill: bool,
        #[arg(long, default_value = "mosquitto", value_name = "PROGRAM")]
        mosquitto: PathBuf,
        #[arg(long)]
        short: bool,
    },
    /// CSV and Parquet of the same readings through forewarn import, beside a raw COPY of the same rows.
    Import {
        #[arg(long, default_value_t = 100_000_000)]
        readings: usize,
        #[arg(long, default_value_t = 5_000)]
        channels: usize,
        #[arg(long)]
        short: bool,
    },
    /// A year of channels: newest values, a day, a year, many channels by the hour, exports; beside SQL typed by hand.
    Query {
        #[arg(long, default_value_t = 100_000_000)]
        readings: i64,
        #[arg(long, default_value_t = 5_000)]
        channels: i32,
        #[arg(long, default_value_t = 365)]
        days: i32,
        /// Times each question is asked.
        #[arg(long, default_value_t = 100)]
        rounds: usize,
        #[arg(long)]
        short: bool,
    },
    /// One hourly pass over a plant from a filled database, beside the same features and model in pandas and LightGBM.
    Analytics {
        #[arg(long, default_value_t = 10_000)]
        assets: usize,
        /// Channels of each.
        #[arg(long, default_value_t = 20)]
        channels: usize,
        /// Batches at the same time.
        #[arg(long, default_value_t = 2)]
        workers: usize,
        /// Python with venv and pip; packages it lacks are fetched into a folder of their own. `none`: without it.
        #[arg(long, default_value = "python3", value_name = "PROGRAM")]
        python: PathBuf,
        #[arg(long)]
        short: bool,
    },
    /// From a reading beyond a limit to its alarm on the live stream and to its ticket, under load; what limit rules cost.
    Dispatch {
        /// Gateways of 20 channels.
        #[arg(long, default_value_t = 500)]
        connections: usize,
        /// While latencies are measured.
        #[arg(long, default_value_t = 50_000.0)]
        readings_per_s: f64,
        #[arg(long, default_value_t = 10_000)]
        rules: usize,
        /// Readings beyond a limit, each of an asset of its own.
        #[arg(long, default_value_t = 300)]
        probes: usize,
        /// Of each phase at full load, with or without the rules; there are eight.
        #[arg(long, default_value_t = 15)]
        seconds: u64,
        #[arg(long)]
        short: bool,
    },
    /// Each codec on one core, from the bytes of a payload to columns: readings_per_s.
    Codecs {
        #[arg(long)]
        short: bool,
    },
    /// The agent on site: simulate, spool with sync, send. Runs forewarn-edge bench.
    Edge {
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        #[arg(long)]
        short: bool,
    },
}

/// Prints the result.
///
/// # Errors
/// When it can't be measured, or something was lost or doubled.
pub async fn run(command: Command, database_url: &str) -> anyhow::Result<()> {
    let place = Place {
        database_url: database_url.to_owned(),
        executable: Some(std::env::current_exe().context("where this program is")?),
    };
    let result = match command {
        Command::Ingest {
            connections,
            seconds,
            plain,
            batch,
            window,
            short,
        } => {
            let mut args = IngestArgs {
                connections,
                seconds,
                batch,
                ..IngestArgs::new(plain)
            };
            args.window = window.unwrap_or(args.window);
            if short {
                args.connections = connections.min(10);
                args.seconds = 3;
            }
            bench::ingest(args, &place).await?
        }
        Command::Connections {
            connections,
            storm,
            short,
        } => {
            let args = if short {
                ConnectionsArgs {
                    connections: connections.min(300),
                    storm: storm.min(150),
                }
            } else {
                ConnectionsArgs { connections, storm }
            };
            bench::connections(args, &place).await?
        }
        Command::Peers {
            connections,
            seconds,
            python,
            mosquitto,
            short,
        } => {
            let args = PeersArgs {
                connections: if short { connections.min(5) } else { connections },
                seconds: if short { 3 } else { seconds },
                python,
                mosquitto,
            };
            bench::peers(args, &place).await?
        }
        Command::Foreign {
            processes,
            connections,
            seconds,
            in_flight,
            messages_per_s,
            no_kill,
            mosquitto,
            short,
        } => {
            let args = ForeignArgs {
                processes,
                connections: if short { connections.min(5) } else { connections },
                seconds: if short { 3 } else { seconds },
                in_flight,
                messages_per_s,
                kill: !no_kill,
                mosquitto,
            };
            bench::foreign(args, &place).await?
        }
        Command::Import {
            readings,
            channels,
            short,
        } => {
            let mut args = ImportArgs {
                readings,
                channels,
                ..ImportArgs::default()
            };
            if short {
                args.readings = readings.min(200_000);
                args.channels = channels.min(500);
            }
            bench::import(args, &place).await?
        }
        Command::Query {
            readings,
            channels,
            days,
            rounds,
            short,
        } => {
            let mut args = bench_query::Args {
                readings,
                channels,
                days,
                rounds,
            };
            if short {
                args.readings = readings.min(200_000);
                args.channels = channels.min(200);
                args.rounds = rounds.min(5);
            }
            bench_query::run(args, &place.database_url).await?
        }
        Command::Analytics {
            assets,
            channels,
            workers,
            python,
            short,
        } => {
            let args = analytics::bench::Args {
                assets: if short { assets.min(100) } else { assets },
                channels,
                workers,
                python: (python.as_os_str() != "none").then_some(python),
            };
            analytics::bench::run(args, &place.database_url, |line| eprintln!("{line}")).await?
        }
        Command::Dispatch {
            connections,
            readings_per_s,
            rules,
            probes,
            seconds,
            short,
        } => {
            let args = if short {
                DispatchArgs {
                    connections: connections.min(10),
                    readings_per_s: readings_per_s.min(2_000.0),
                    rules: rules.min(400),
                    probes: probes.min(20),
                    seconds: 2,
                    rounds: 1,
                }
            } else {
                DispatchArgs {
                    connections,
                    readings_per_s,
                    rules,
                    probes,
                    seconds,
                    rounds: 4,
                }
            };
            bench::dispatch(args, &place).await?
        }
        Command::Codecs { short } => bench::codecs(bench::CodecsArgs {
            millis: if short { 50 } else { 2_000 },
        })?,
        Command::Edge { seconds, short } => edge(if short { 3 } else { seconds })?,
    };
    println!("{result}");
    for key in ["lost", "duplicated"] {
        let n = result[key].as_i64().unwrap_or(0);
        ensure!(n == 0, "{n} {key}");
    }
    Ok(())
}

/// The agent's own measurement; its executable stands beside this one.
fn edge(seconds: u64) -> anyhow::Result<Value> {
    let program = std::env::current_exe()?.with_file_name("forewarn-edge");
    let output = Process::new(&program)
        .args(["bench", "--seconds", &seconds.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("can't start {}", program.display()))?;
    ensure!(
        output.status.success(),
        "forewarn-edge bench ended with {}",
        output.status
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().context("forewarn-edge bench said nothing")?;
    serde_json::from_str(last).context("the last line of forewarn-edge bench is no JSON")
}

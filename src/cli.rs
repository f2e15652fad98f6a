//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;
use crate::serve::{self, Services};
use crate::{
    backtest, bench, chaos, dead_letters, demo, export, gateway, import, learn, ledger, mapping, reliability,
    status,
};

/// Readings from the field in, health, failure probability and the one ticket that is needed out.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Examples:
  forewarn migrate                      bring the database's schema up to date
  forewarn serve                        everything in one process
  forewarn serve --config site.toml     with a configuration of one's own
  forewarn config check                 show the effective configuration, secrets hidden
  forewarn status --json                what is stored, assessed and ticketed
  forewarn ledger --day 2026-01-31      was it stored, and if not, where did it go
  forewarn train                        learn from what failed
  forewarn model list                   which model says what, and since when
  forewarn reliability --file lives.csv --svg pictures"
)]
pub struct Cli {
    /// Configuration file; its keys win over the defaults, FOREWARN__SECTION__KEY wins over both.
    #[arg(long, global = true, value_name = "FILE", env = "FOREWARN_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Front door, analytics, API and pages in one process.
    Serve,
    /// The MQTT front door and writer alone.
    Ingest,
    /// Assessments, meters, plans and dispatch alone. Several may run at once.
    Analytics,
    /// The HTTP API and the pages alone.
    Api,
    /// Bring the database's schema up to date. Needs the owner's rights.
    Migrate,
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Counts of what is stored, assessed and ticketed, over all tenants.
    Status {
        /// One JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// What came in and where it went, by gateway and UTC day; what is missing, and where it was lost.
    Ledger(ledger::Args),
    /// What could not be stored: look at it, mend it, try it again.
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Files of readings (CSV, Parquet) into the database, through the same checks and ledger.
    Import(import::Args),
    /// Readings of any channels and range as CSV, Parquet or Arrow stream.
    Export(export::Args),
    /// The configuration of a gateway's agent: send another one, see what became of it.
    #[command(subcommand)]
    Gateway(gateway::Command),
    /// What a gateway's own topics and JSON mean: show, try, save.
    #[command(subcommand)]
    Mapping(mapping::Command),
    /// The demo plant.
    #[command(subcommand)]
    Demo(DemoCommand),
    /// Run a model on a public data set; the last line is one JSON object.
    Backtest(backtest::Args),
    /// Prove that nothing is lost or doubled: the real executables under kills, cuts, full disks and jumping clocks.
    Chaos(chaos::Args),
    /// Learn from what failed: a candidate for each class, judged by machine and by time, promoted if it is better.
    Train(learn::TrainArgs),
    /// Model versions: cards, promotion, rollback.
    #[command(subcommand)]
    Model(learn::ModelCommand),
    /// Assess one asset now, or compute a stored assessment again and compare it bit by bit.
    Assess(learn::AssessArgs),
    /// Compare what is measured now with what the models were trained on.
    Drift(learn::DriftArgs),
    /// Life data statistics from a file or a class: Weibull, Kaplan-Meier, trend, MTBF, replacement.
    Reliability(reliability::Args),
    /// Measure; the last line is one JSON object.
    #[command(subcommand)]
    Bench(bench::Command),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the effective configuration with secrets hidden, or say what is wrong with it.
    Check,
}

#[derive(Debug, Subcommand)]
enum DemoCommand {
    /// Write the demo plant's register (no readings) and the configuration of its agents. May be repeated.
    Prepare {
        /// Folder for agents/*.toml and signin.json.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Where the agents find the front door.
        #[arg(long, value_name = "URL", default_value = "mqtt://127.0.0.1:1883")]
        uplink: String,
        /// Folder with the demo's data sets.
        #[arg(long, value_name = "DIR", default_value = "demo/data")]
        data: PathBuf,
    },
    /// Follow one machine from the first sign of wear to a labelled, closed ticket, through the public API alone.
    Story {
        /// Folder that `demo prepare` has written: its signin.json is used.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Where the API is.
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
        url: String,
        /// Only the case of this asset.
        #[arg(long, value_name = "NAME")]
        asset: Option<String>,
        /// Without pauses.
        #[arg(long)]
        fast: bool,
        /// How long to wait for a case, seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 300)]
        wait: u64,
    },
}

impl Cli {
    /// # Errors
    /// Whatever the command could not do.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = Config::load(self.config.as_deref())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        match self.command {
            Command::Serve => runtime.block_on(serve::run(config, Services::ALL))?,
            Command::Ingest => runtime.block_on(serve::run(config, Services::INGEST))?,
            Command::Analytics => runtime.block_on(serve::run(config, Services::ANALYTICS))?,
            Command::Api => runtime.block_on(serve::run(config, Services::API))?,
            Command::Migrate => {
                runtime.block_on(models::db::migrate(&config.database.address()?))?;
                println!("the schema is up to date");
            }
            Command::Config(ConfigCommand::Check) => {
                config.database.address()?;
                print!("{}", toml::to_string(&config)?);
            }
            Command::Status { json } => {
                let status = runtime.block_on(status::read(&config.database.address()?))?;
                if json {
                    println!("{}", serde_json::to_string(&status)?);
                } else {
                    println!("{}", status::text(&status));
                }
            }
            Command::Ledger(args) => {
                return runtime.block_on(ledger::run(args, &config.database.address()?));
            }
            Command::DeadLetters(command) => {
                let url = config.database.address()?;
                return runtime.block_on(dead_letters::run(command, &url, &config.ingest));
            }
            Command::Import(args) => {
                let url = config.database.address()?;
                return runtime.block_on(import::run(args, &url, &config.ingest));
            }
            Command::Export(args) => {
                return runtime.block_on(export::run(args, &config.database.address()?));
            }
            Command::Gateway(command) => {
                runtime.block_on(gateway::run(command, &config.database.address()?))?;
            }
            Command::Mapping(command) => {
                runtime.block_on(mapping::run(command, &config.database.address()?))?;
            }
            Command::Demo(DemoCommand::Prepare { dir, uplink, data }) => {
                let prepared =
                    runtime.block_on(demo::prepare(&config.database.address()?, &dir, &uplink, &data))?;
                println!("{prepared}");
            }
            Command::Demo(DemoCommand::Story {
                dir,
                url,
                asset,
                fast,
                wait,
            }) => {
                let options = demo::story::Options {
                    url,
                    sign_in: demo::story::Options::sign_in_of(&dir)?,
                    asset,
                    fast,
                    wait: std::time::Duration::from_secs(wait),
                };
                runtime.block_on(demo::story::tell(&options, &mut crate::out::Stdout))?;
            }
            Command::Backtest(args) => backtest::run(args)?,
            Command::Chaos(args) => {
                return runtime.block_on(chaos::run(args, config.database.address().ok()));
            }
            Command::Train(args) => return runtime.block_on(learn::train(args, &config.database.address()?)),
            Command::Model(command) => {
                return runtime.block_on(learn::model(command, &config.database.address()?));
            }
            Command::Assess(args) => {
                let url = config.database.address()?;
                return runtime.block_on(learn::assess(args, &url, &config.analytics));
            }
            Command::Drift(args) => {
                return runtime.block_on(learn::look_at_drift(args, &config.database.address()?));
            }
            Command::Reliability(args) => return runtime.block_on(reliability::run(args, &config)),
            Command::Bench(command) => {
                runtime.block_on(bench::run(command, &config.database.address()?))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

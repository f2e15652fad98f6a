//! `forewarn chaos`: the real executables under everything that happens on a bad day, and at the end
//! the readings stored are the readings produced, each once.
//!
//! Two gateways run `forewarn-edge`, which replays a recording: past first, then live. A third is a
//! plain MQTT client in this process whose clock jumps. All reach `forewarn ingest` through a proxy
//! that can cut and slow the link, and it reaches a PostgreSQL cluster of its own through another.
//! Each round does one harm, lets it last, takes it back, and waits until more has been stored.
//! Harms come in shuffled turns, so that each happens before one happens twice; a seed makes a run
//! repeatable as far as the machine's scheduler allows.
//!
//! | file | does |
//! |---|---|
//! | `cluster` | the private PostgreSQL |
//! | `proxy` | links that fail |
//! | `process` | executables that are killed |
//! | `plant` | register, recording, and what must be stored |
//! | `publisher` | the gateway whose clock jumps |
//! | `harm` | what happens in a round |
//! | `verdict` | the comparison |

mod cluster;
mod harm;
mod plant;
mod process;
mod proxy;
mod publisher;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use models::db::verify;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;

use cluster::Cluster;
use harm::Harms;
use plant::Plant;
use process::{Folder, Service};
use proxy::{Proxy, Target};
use publisher::Publisher;
use verdict::Verdict;

/// A harm is over when more has been stored; it is a fault when that takes longer than this.
const PROGRESS_WITHIN: Duration = Duration::from_secs(120);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  forewarn chaos --rounds 50
  forewarn chaos --rounds 10 --seed 7 --json

Needs the programs of a PostgreSQL with TimescaleDB on this machine; they are those of the server that DATABASE_URL names,
or in --postgres. The data of that server are not touched. The last line is one JSON object.
Exit codes: 0 everything produced is stored, each once; 1 something is lost or doubled, or a part did not recover.")]
pub struct Args {
    /// Harms, one after the other.
    #[arg(long, default_value_t = 50)]
    rounds: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder with initdb and postgres.
    #[arg(long, value_name = "DIR")]
    postgres: Option<PathBuf>,
    /// Only the JSON object.
    #[arg(long)]
    json: bool,
}

/// What the harms act on.
struct World {
    cluster: Cluster,
    gateways_link: Proxy,
    database_link: Proxy,
    server: Service,
    agents: Vec<Service>,
    publisher: Publisher,
    plant: Plant,
    kills: u64,
    /// The front door must stay, whatever happens to its database.
    server_restarts: u32,
}

impl World {
    /// Readings that are stored, by the ledger; `None` while the database is away.
    async fn stored(&self) -> Option<i64> {
        let mut owner = self.cluster.owner().await.ok()?;
        let sums = verify::ledger_sums(&mut owner).await.ok()?;
        Some(sums.stored)
    }

    /// Waits until `enough(stored, total)`; what ended by itself meanwhile is started again, as a
    /// service manager would.
    async fn until(
        &mut self,
        what: &str,
        patience: Duration,
        enough: impl Fn(i64, i64) -> bool,
    ) -> anyhow::Result<i64> {
        let total = self.plant.produced() + self.publisher.total();
        let mut since = Instant::now();
        let mut last = -1;
        loop {
            for agent in &mut self.agents {
                agent.look_after()?;
            }
            self.server_restarts += u32::from(self.server.look_after()?);
            if let Some(stored) = self.stored().await {
                if enough(stored, total) {
                    return Ok(stored);
                }
                if stored > last {
                    (last, since) = (stored, Instant::now());
                }
            }
            anyhow::ensure!(
                since.elapsed() < patience,
                "waited {} s in vain until {what}: {last} of {total} readings are stored",
                patience.as_secs()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for the rest, stops everything in order, and compares.
    async fn settle(&mut self) -> anyhow::Result<Verdict> {
        let rest = self
            .until("everything is stored", PROGRESS_WITHIN, |stored, total| {
                stored >= total
            })
            .await;
        if let Err(error) = &rest {
            eprintln!("{error:#}");
        }
        for agent in &mut self.agents {
            agent.stop().await?;
        }
        self.server.stop().await?;
        let said = self.publisher.finish().await?;
        let mut owner = self.cluster.owner().await?;
        Verdict::of(&mut owner, &self.plant, &said).await
    }
}

/// # Errors
/// When a part can't be started, or does not recover from a harm.
pub async fn run(args: Args, database_url: Option<String>) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let folder = Folder::make("forewarn-chaos")?;
    let say = |text: &str| {
        if !args.json {
            eprintln!("{:7.1} s  {text}", began.elapsed().as_secs_f64());
        }
    };
    say("starting a database, the front door and the gateways");
    let programs = cluster::programs(args.postgres.clone(), database_url.as_deref()).await?;
    let cluster = Cluster::start(programs, folder.path.join("db")).await?;
    let plant = Plant::register(&cluster.url(), &folder.path, args.rounds).await?;
    let database_link = Proxy::start(Target::Unix(cluster.socket())).await?;
    let mqtt = process::free_port()?;
    let gateways_link = Proxy::start(Target::Tcp(mqtt)).await?;
    let url = format!(
        "postgres://forewarn@127.0.0.1:{}/forewarn?sslmode=disable",
        database_link.port()
    );
    let server = Service::start("forewarn", process::ingest(&url, mqtt)?)?;
    let mut agents = Vec::new();
    for config in plant.agents(gateways_link.port())? {
        agents.push(Service::start("forewarn-edge", process::edge(&config)?)?);
    }
    let publisher = Publisher::start(gateways_link.port(), &plant, args.rounds);
    let mut world = World {
        cluster,
        gateways_link,
        database_link,
        server,
        agents,
        publisher,
        plant,
        kills: 0,
        server_restarts: 0,
    };
    let mut random = StdRng::seed_from_u64(args.seed);
    let mut harms = Harms::default();
    for round in 1..=args.rounds {
        let before = world
            .stored()
            .await
            .context("the database is away before the round")?;
        let harm = harms.next(&mut random);
        say(&format!(
            "round {round} of {}: {harm} ({before} stored)",
            args.rounds
        ));
        world
            .suffer(harm, &mut random)
            .await
            .with_context(|| format!("round {round}, {harm}"))?;
        world
            .until("more is stored", PROGRESS_WITHIN, |stored, total| {
                stored > before || stored >= total
            })
            .await
            .with_context(|| format!("round {round}, after {harm}"))?;
    }
    say("no more harm: waiting until everything produced is stored");
    let verdict = world.settle().await?;
    let mut result = verdict.json();
    result["kills"] = json!(world.kills);
    result["rounds"] = json!(args.rounds);
    result["seed"] = json!(args.seed);
    result["harms"] = json!(harms.counted());
    result["agent_restarts"] = json!(world.agents.iter().map(Service::ended_by_itself).sum::<u32>());
    result["seconds"] = json!(began.elapsed().as_secs());
    result["server_restarts"] = json!(world.server_restarts);
    world.cluster.stop().await?;
    println!("{result}");
    Ok(if verdict.is_good() && world.server_restarts == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

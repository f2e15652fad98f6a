//! The same load into a foreign broker with a subscriber of the usual kind.
//!
//! The peer is what people put together first: mosquitto, and a Python program on paho-mqtt that
//! gathers messages and writes them by psycopg's `executemany` (which pipelines) into an equal
//! database. It registers no channel, checks no unit, keeps no ledger and no dead letters, and
//! mosquitto acknowledges before anything is stored: what a full queue or a late subscriber costs is
//! `peer_lost`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use models::db::reading;
use models::time::Timestamp;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::process::Command;

use super::broker::{self, Broker, Folder, PATIENCE, spawn};
use super::load::{self, Load};
use super::{CHANNELS, Place, Scratch, rounded, throughput};

/// The subscriber's packages, from PyPI.
const PACKAGES: [&str; 2] = ["paho-mqtt==2.1.0", "psycopg[binary]==3.2.9"];
const SUBSCRIBER: &str = include_str!("peer.py");
/// When nothing more is stored for so long, the subscriber has done what it will do.
const QUIET: Duration = Duration::from_secs(3);

#[derive(Clone, Debug)]
pub struct Args {
    pub connections: usize,
    pub seconds: u64,
    /// With venv and pip.
    pub python: PathBuf,
    pub mosquitto: PathBuf,
}

/// # Errors
/// When mosquitto or Python are missing, or either side can't be measured.
pub async fn run(args: Args, place: &Place) -> anyhow::Result<Value> {
    let folder = Folder::make()?;
    let version = broker::version(&args.mosquitto).await?;
    let python = environment(&args.python, &folder.0).await?;

    let ours = throughput::Args {
        connections: args.connections,
        seconds: args.seconds,
        ..throughput::Args::new(true)
    };
    let scratch = Scratch::make(&place.database_url).await?;
    let measured = throughput::measure(&ours, place, &scratch.url).await;
    scratch.drop_now().await?;
    let (forewarn, forewarn_per_s, _) = measured?;

    let scratch = Scratch::make(&place.database_url).await?;
    let measured = peer(&args, &ours, &python, &folder.0, &scratch.url).await;
    scratch.drop_now().await?;
    let peer = measured?;
    Ok(json!({
        "forewarn_per_s": forewarn_per_s.round(), "peer_per_s": peer.stored_per_s.round(),
        "ratio": rounded(forewarn_per_s / peer.stored_per_s.max(0.001), 2), "peer_lost": peer.lost,
        "peer": format!("mosquitto {version}, {}", PACKAGES.join(", ")),
        "peer_acknowledged_per_s": peer.acknowledged_per_s.round(), "peer_took_s": rounded(peer.took_s, 1),
        "lost": forewarn["lost"], "duplicated": forewarn["duplicated"],
        "connections": args.connections, "seconds": args.seconds,
    }))
}

struct Peer {
    stored_per_s: f64,
    acknowledged_per_s: f64,
    took_s: f64,
    lost: i64,
}

async fn peer(
    args: &Args,
    ours: &throughput::Args,
    python: &Path,
    folder: &Path,
    url: &str,
) -> anyhow::Result<Peer> {
    // As it comes, but for the port.
    let broker = Broker::start(&args.mosquitto, folder, "").await?;
    let script = folder.join("peer.py");
    std::fs::write(&script, SUBSCRIBER)?;
    let ready = folder.join("ready");
    let mut subscriber = spawn(
        Command::new(python)
            .arg(&script)
            .args([
                broker.address.port().to_string(),
                models::db::reading::for_libpq(url),
            ])
            .arg(&ready),
    )
    .context("can't start the subscriber")?;
    let started = Instant::now();
    while !ready.exists() {
        ensure!(started.elapsed() < PATIENCE, "the subscriber doesn't subscribe");
        ensure!(
            subscriber.try_wait()?.is_none(),
            "the subscriber ended while starting"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let load = Load {
        address: broker.address,
        connections: args.connections,
        seconds: args.seconds,
        plain: true,
        batch: ours.batch,
        window: ours.window,
        messages_per_s: None,
        epoch: 1,
        start: Timestamp::now().micros(),
        step: 1_000,
        plain_topic: "bench/{gateway}/d/c",
        login: false,
    };
    let began = Instant::now();
    let sent = load::run(&load).await?;
    // It may work on what it has; its rate is counted up to the last reading it stored.
    let mut owner = PgConnection::connect(url).await?;
    let (mut stored, mut last) = (reading::count(&mut owner).await?, Instant::now());
    while last.elapsed() < QUIET && stored < sent.acknowledged {
        tokio::time::sleep(Duration::from_millis(200)).await;
        ensure!(subscriber.try_wait()?.is_none(), "the subscriber ended by itself");
        let now = reading::count(&mut owner).await?;
        if now > stored {
            (stored, last) = (now, Instant::now());
        }
    }
    owner.close().await?;
    let took_s = (last - began).as_secs_f64();
    Ok(Peer {
        stored_per_s: stored as f64 / took_s,
        acknowledged_per_s: sent.per_s(),
        took_s,
        lost: sent.acknowledged - stored,
    })
}

/// A Python with the subscriber's packages. Returns its program.
async fn environment(python: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let venv = folder.join("venv");
    let done = Command::new(python)
        .args(["-m", "venv"])
        .arg(&venv)
        .stdin(Stdio::null())
        .status()
        .await
        .with_context(|| {
            format!(
                "can't start {}: install Python, or name it by --python",
                python.display()
            )
        })?;
    ensure!(
        done.success(),
        "can't make a virtual environment: install the package python3-venv"
    );
    let program = venv.join("bin/python");
    let output = Command::new(&program)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(PACKAGES)
        .stdin(Stdio::null())
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "can't fetch {} from PyPI: {}",
        PACKAGES.join(" and "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(program)
}

const _: () = assert!(CHANNELS == 20, "peer.py knows the channels of a gateway");

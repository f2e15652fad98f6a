//! Readings through a broker that is not ours: mosquitto in front, several ingest processes behind it
//! on one shared subscription, one of them killed and started again half-way.
//!
//! The broker acknowledges the clients by itself, so what counts is what is stored, from the first
//! publish to the last commit. Nothing may be missing at the end.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use models::db::{ledger, reading};
use models::time::Timestamp;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::broker::{Broker, Folder, PATIENCE, version};
use super::load::{self, Load};
use super::server::Server;
use super::{Place, Scratch, TENANT, register, rounded};
use crate::foreign::Foreign;

/// When nothing more is stored for so long, nothing more will be: a worker that was killed is back by
/// then, and the broker has given it its messages again.
const QUIET: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub struct Args {
    /// Ingest processes on one shared subscription.
    pub processes: usize,
    pub connections: usize,
    pub seconds: u64,
    /// Messages that the broker leaves unacknowledged for each of its clients; 0 = no limit.
    pub in_flight: u16,
    /// Messages a second of all connections together; `None` = as fast as the broker acknowledges.
    pub messages_per_s: Option<f64>,
    /// Kill the first process half-way and start it again.
    pub kill: bool,
    pub mosquitto: PathBuf,
}

/// # Errors
/// When mosquitto is missing, or the service or the load fails.
pub async fn run(args: Args, place: &Place) -> anyhow::Result<Value> {
    ensure!(
        args.processes > 0 && args.connections > 0 && args.seconds > 0,
        "processes, connections and seconds are above 0"
    );
    ensure!(
        !args.kill || place.executable.is_some(),
        "only a process of its own can be killed"
    );
    let version = version(&args.mosquitto).await?;
    let scratch = Scratch::make(&place.database_url).await?;
    let measured = measure(&args, place, &scratch.url).await;
    scratch.drop_now().await?;
    let mut result = measured?;
    result["broker"] = json!(format!("mosquitto {version}"));
    Ok(result)
}

async fn measure(args: &Args, place: &Place, url: &str) -> anyhow::Result<Value> {
    register(url, args.connections).await?;
    let folder = Folder::make()?;
    let log = folder.0.join("subscriptions");
    // It may keep what nobody has taken yet, or its queue would be the limit.
    let settings = format!(
        "max_queued_messages 0\nmax_inflight_messages {}\nlog_dest file {}\nlog_type subscribe\nuser root\n",
        args.in_flight,
        log.display()
    );
    let broker = Broker::start(&args.mosquitto, &folder.0, &settings).await?;
    let start = async |number: usize| {
        let foreign = Foreign::new(
            format!("mqtt://{}", broker.address),
            format!("forewarn-{number}"),
            format!("{TENANT}/g0"),
            vec![format!("fw/v1/{TENANT}/#")],
        );
        let subscribed = || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            text.matches(&format!(" {} ", foreign.client_id)).count()
        };
        let before = subscribed();
        let server = Server::start_with(place, url, &[], vec![foreign.clone()]).await?;
        let waiting = Instant::now();
        while subscribed() == before {
            ensure!(waiting.elapsed() < PATIENCE, "process {number} doesn't subscribe");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(server)
    };
    let mut servers = Vec::new();
    for number in 0..args.processes {
        servers.push(start(number).await?);
    }
    let load = Load {
        address: broker.address,
        connections: args.connections,
        seconds: args.seconds,
        plain: true,
        batch: 1,
        window: 200,
        messages_per_s: args.messages_per_s,
        epoch: 1,
        start: Timestamp::now().micros(),
        step: 1_000,
        plain_topic: "fw/v1/bench/g{gateway}/json/d/c",
        login: false,
    };
    let began = Instant::now();
    let killing = async {
        if !args.kill {
            return anyhow::Ok(None);
        }
        tokio::time::sleep(Duration::from_secs_f64(args.seconds as f64 / 2.0)).await;
        // Dropped, it is killed as it is.
        drop(servers.remove(0));
        start(0).await.map(Some)
    };
    let (sent, again) = tokio::try_join!(load::run(&load), killing)?;
    servers.extend(again);
    let mut owner = PgConnection::connect(url).await?;
    let (mut stored, mut last) = (reading::count(&mut owner).await?, Instant::now());
    while stored < sent.acknowledged && last.elapsed() < QUIET {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = reading::count(&mut owner).await?;
        if now > stored {
            (stored, last) = (now, Instant::now());
        }
    }
    let took_s = (last - began).as_secs_f64();
    let peak = servers.iter().map(Server::peak_rss_mib).max();
    for server in servers {
        server.stop().await.context("stopping")?;
    }
    let (kept, again) = ledger::totals(&mut owner).await?;
    owner.close().await?;
    Ok(json!({
        "stored_per_s": (stored as f64 / took_s).round(),
        "broker_acknowledged_per_s": sent.per_s().round(),
        "acknowledged": sent.acknowledged, "lost": sent.acknowledged - stored,
        // Stored once, whatever was delivered again after a kill.
        "duplicated": (kept - stored).abs(), "delivered_again": again,
        "took_s": rounded(took_s, 1), "peak_rss_mib": peak,
        "processes": args.processes, "killed": args.kill, "broker_in_flight": args.in_flight,
        "connections": args.connections, "seconds": args.seconds,
    }))
}

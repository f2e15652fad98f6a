//! How long it takes from a reading that is published to its alarm on the live stream and to its
//! ticket, while everything else goes on at a pace; and what limit rules cost the writer.
//!
//! First the writer alone, as fast as it can, with all rules on and off in turn: half of the rounds begin
//! with, half without, so that a growing table and a warming machine weigh on both. Then the whole
//! product as `forewarn serve`: gateways publish readings that no rule minds, and a probe publishes, now
//! and then, one reading beyond the limit of an asset of its own. The live stream is read as any client
//! reads it; what it told is compared with what the database holds.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use models::db::{ledger, measure, reading};
use models::time::Timestamp;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::sync::mpsc;

use super::load::{self, Load, Sent};
use super::server::Server;
use super::{CHANNELS, Place, Scratch, percentile_ms, rounded};

mod plant;
mod probe;

use plant::Plant;
use probe::Seen;

/// How long the alarms and tickets of the last readings may take to be seen.
const PATIENCE: Duration = Duration::from_secs(60);
/// Readings in a batch.
const BATCH: usize = 500;
/// Between two readings of the probe: it is longer than one batch of the writer takes, so that each
/// alarm goes its way alone.
const PROBE_EVERY: Duration = Duration::from_millis(150);
/// The pace holds before the probe begins, and goes on when it is done.
const AROUND: Duration = Duration::from_secs(3);

#[derive(Clone, Debug)]
pub struct Args {
    /// Gateways of 20 channels.
    pub connections: usize,
    /// Readings a second while the probe is at work.
    pub readings_per_s: f64,
    /// One for each probe, the others on the gateways' channels, one after the other.
    pub rules: usize,
    /// Readings beyond a limit, each of an asset and a rule of its own.
    pub probes: usize,
    /// Of each phase in which the writer is measured at full load.
    pub seconds: u64,
    /// Of two phases each.
    pub rounds: usize,
}

/// `alarm_p99_ms`, `ticket_p99_ms`, and `ingest_ratio`: readings a second with the rules by those without.
///
/// # Errors
/// When there is no executable, the service fails, or the database can't be made.
pub async fn run(args: Args, place: &Place) -> anyhow::Result<Value> {
    ensure!(
        args.connections > 0 && args.seconds > 0 && args.rounds > 0,
        "connections, seconds and rounds are above 0"
    );
    ensure!(
        0 < args.probes && args.probes < args.rules,
        "at least one probe, and a rule more than probes"
    );
    let executable = place
        .executable
        .as_ref()
        .context("this is measured on an executable of its own")?;
    let scratch = Scratch::make(&place.database_url).await?;
    let measured = all(&args, place, executable, &scratch.url).await;
    scratch.drop_now().await?;
    measured
}

async fn all(args: &Args, place: &Place, executable: &Path, url: &str) -> anyhow::Result<Value> {
    let plant = Plant::register(args, url).await?;
    let full = full_loads(args, place, url).await?;
    let service = probe::Service::start(executable, url).await?;
    let measured = paced(args, &service, &plant).await;
    let stopped = service.stop().await;
    let (paced, seen, told) = measured?;
    stopped?;

    let mut owner = PgConnection::connect(url).await?;
    let caused = measure::caused(&mut owner, &plant.probes).await?;
    let rules = measure::rules(&mut owner).await?;
    let (_, doubled) = ledger::totals(&mut owner).await?;
    let stored = reading::count(&mut owner).await?;
    owner.close().await?;
    let acknowledged = full.acknowledged + paced.acknowledged + told;
    let causes = i64::try_from(plant.probes.len())?;
    let heard = i64::try_from(seen.alarms.len() + seen.tickets.len())?;
    let lost = [
        acknowledged - stored,
        causes - caused.alarmed,
        causes - caused.ticketed,
        2 * causes - heard,
    ];
    let duplicated =
        doubled + seen.repeated + caused.alarms - caused.alarmed + caused.tickets - caused.ticketed;
    Ok(json!({
        "alarm_p50_ms": percentile_ms(&seen.alarms, 0.5), "alarm_p99_ms": percentile_ms(&seen.alarms, 0.99),
        "ticket_p50_ms": percentile_ms(&seen.tickets, 0.5), "ticket_p99_ms": percentile_ms(&seen.tickets, 0.99),
        "ingest_ratio": rounded(full.rate[0] / full.rate[1], 3), "rules": rules,
        "readings_per_s": paced.per_s().round(), "alarms": caused.alarms, "tickets": caused.tickets,
        "lost": lost.iter().map(|n| n.abs()).sum::<i64>(), "duplicated": duplicated,
        "causes": causes, "ack_p99_ms": percentile_ms(&paced.latencies, 0.99),
        "with_rules_per_s": full.rate[0].round(), "without_rules_per_s": full.rate[1].round(),
        "with_rules_cpu_us": rounded(full.cpu_us[0], 3), "without_rules_cpu_us": rounded(full.cpu_us[1], 3),
        "connections": args.connections, "channels": args.connections * CHANNELS,
    }))
}

/// With the rules, and without them.
struct Full {
    rate: [f64; 2],
    /// The server's processor time for a reading.
    cpu_us: [f64; 2],
    acknowledged: i64,
}

/// The writer alone, as fast as its answers come.
async fn full_loads(args: &Args, place: &Place, url: &str) -> anyhow::Result<Full> {
    let mut owner = PgConnection::connect(url).await?;
    let (mut sent, mut took, mut cpu) = ([0_i64; 2], [0.0; 2], [0.0; 2]);
    for phase in 0..args.rounds * 2 {
        // With, without; without, with; …
        let rules = matches!(phase % 4, 0 | 3);
        let i = usize::from(!rules);
        measure::enable_rules(&mut owner, rules).await?;
        let server = Server::start(place, url, &[]).await?;
        let epoch = phase as u64 + 1;
        // So close together that a phase takes less event time than time.
        let load = load(args, server.address, args.seconds, epoch, 10);
        let before = server.cpu_s();
        let done = load::run(&load).await?;
        cpu[i] += server.cpu_s() - before;
        sent[i] += done.acknowledged;
        took[i] += done.took.as_secs_f64();
        server.stop().await?;
    }
    measure::enable_rules(&mut owner, true).await?;
    owner.close().await?;
    let each = |of: [f64; 2]| [of[0] / sent[0].max(1) as f64, of[1] / sent[1].max(1) as f64];
    Ok(Full {
        rate: each(took).map(|seconds| 1.0 / seconds),
        cpu_us: each(cpu).map(|seconds| seconds * 1e6),
        acknowledged: sent.iter().sum(),
    })
}

fn load(args: &Args, address: SocketAddr, seconds: u64, epoch: u64, step: i64) -> Load {
    Load {
        address,
        connections: args.connections,
        seconds,
        plain: false,
        batch: BATCH,
        window: 4,
        messages_per_s: None,
        epoch,
        start: Timestamp::now().micros(),
        step,
        plain_topic: "",
        login: true,
    }
}

/// The pace, and the probe in its midst: what was sent, what was seen, and the probe's readings.
async fn paced(args: &Args, service: &probe::Service, plant: &Plant) -> anyhow::Result<(Sent, Seen, i64)> {
    let stream = probe::open_stream(service.http, &plant.key).await?;
    // Room for all of it: who reads the stream must not wait before he looks at the clock.
    let (tell, mut hear) = mpsc::channel(16 * args.probes + 1_000);
    let listening = tokio::spawn(probe::listen(stream, tell));
    let probing = PROBE_EVERY * u32::try_from(args.probes)?;
    let seconds = (probing + 2 * AROUND).as_secs() + 1;
    // Every channel at its cadence: event time goes with time.
    let cadence = (args.connections * CHANNELS) as f64 * 1e6 / args.readings_per_s;
    let mut pace = load(args, service.mqtt, seconds, 1_000, cadence as i64);
    pace.messages_per_s = Some(args.readings_per_s / BATCH as f64);
    let background = tokio::spawn(async move { load::run(&pace).await });
    tokio::time::sleep(AROUND).await;
    let published = probe::publish(service.mqtt, args.connections, args.probes, PROBE_EVERY).await?;
    let sent = background.await.context("the load panicked")??;

    let mut seen = Seen::new(&plant.probes, &published);
    let patience = tokio::time::sleep(PATIENCE);
    tokio::pin!(patience);
    while !seen.complete() {
        tokio::select! {
            news = hear.recv() => match news {
                Some(news) => seen.take(&news),
                None => break,
            },
            () = &mut patience => break,
        }
    }
    listening.abort();
    if let Ok(Err(error)) = listening.await {
        return Err(error.context("the live stream"));
    }
    seen.sort();
    Ok((sent, seen, i64::try_from(published.len())?))
}

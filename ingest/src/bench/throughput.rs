//! How many readings a second go from sockets into the database, each acknowledged after its
//! commit, and how that compares with nothing but COPY; then how long an acknowledgement takes at
//! half that load.

use anyhow::ensure;
use models::db::ledger;
use models::time::Timestamp;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::load::{self, Load};
use super::server::Server;
use super::{CHANNELS, Place, Scratch, limit, percentile_ms, register, rounded};

/// Rows that the limit is measured with, at least and at most.
const LIMIT_ROWS: (i64, i64) = (100_000, 30_000_000);

#[derive(Clone, Debug)]
pub struct Args {
    pub connections: usize,
    /// At full load; the half load takes a quarter of it, at least two seconds.
    pub seconds: u64,
    /// Readings in a batch; a multiple of 20, the channels of a gateway.
    pub batch: usize,
    /// Messages of one connection that are not acknowledged yet.
    pub window: usize,
    /// One JSON reading a message instead of batches.
    pub plain: bool,
}

impl Args {
    pub fn new(plain: bool) -> Self {
        Self {
            connections: 50,
            seconds: 60,
            batch: 500,
            window: if plain { 200 } else { 4 },
            plain,
        }
    }
}

/// # Errors
/// When a client is refused, the service fails, or the databases can't be made.
pub async fn run(args: Args, place: &Place) -> anyhow::Result<Value> {
    ensure!(
        args.batch.is_multiple_of(CHANNELS) && args.batch > 0,
        "readings in a batch: a multiple of {CHANNELS}"
    );
    ensure!(
        args.connections > 0 && args.seconds > 0 && args.window > 0,
        "connections, seconds and window are above 0"
    );
    let scratch = Scratch::make(&place.database_url).await?;
    let measured = measure(&args, place, &scratch.url).await;
    scratch.drop_now().await?;
    let (mut result, rate, stored) = measured?;
    let rows = stored.clamp(LIMIT_ROWS.0, LIMIT_ROWS.1);
    let limit = limit::copy_per_s(&place.database_url, rows, args.connections).await?;
    result["copy_limit_per_s"] = json!(limit.round());
    result["ratio"] = json!(rounded(rate / limit, 3));
    Ok(result)
}

pub(super) async fn measure(args: &Args, place: &Place, url: &str) -> anyhow::Result<(Value, f64, i64)> {
    register(url, args.connections).await?;
    let server = Server::start(place, url, &[]).await?;
    let now = Timestamp::now().micros();
    let mut load = Load {
        address: server.address,
        connections: args.connections,
        seconds: args.seconds,
        plain: args.plain,
        batch: args.batch,
        window: args.window,
        messages_per_s: None,
        epoch: 1,
        start: now,
        step: 1_000,
        plain_topic: "fw/v1/me/json/d/c",
        login: true,
    };
    let cpu = server.cpu_s();
    let full = load::run(&load).await?;
    let cpu = server.cpu_s() - cpu;
    let rate = full.per_s();
    let of_message = if args.plain { 1.0 } else { args.batch as f64 };
    load.seconds = (args.seconds / 4).max(2);
    load.messages_per_s = Some(rate / of_message / 2.0);
    load.epoch = 2;
    // Half an hour on: no reading of this phase meets one of the other.
    load.start = now + 1_800_000_000;
    let half = load::run(&load).await?;
    let peak = server.peak_rss_mib();
    server.stop().await?;
    let mut owner = PgConnection::connect(url).await?;
    let (stored, doubled) = ledger::totals(&mut owner).await?;
    let rows = models::db::reading::count(&mut owner).await?;
    owner.close().await?;
    let acknowledged = full.acknowledged + half.acknowledged;
    let unit = if args.plain {
        "messages_per_s"
    } else {
        "readings_per_s"
    };
    let result = json!({
        unit: rate.round(), "copy_limit_per_s": 0, "ratio": 0,
        "ack_p50_ms": percentile_ms(&half.latencies, 0.5), "ack_p99_ms": percentile_ms(&half.latencies, 0.99),
        "peak_rss_mib": peak, "lost": acknowledged - rows, "duplicated": doubled + (stored - rows).abs(),
        "acknowledged": acknowledged, "half_load_per_s": half.per_s().round(),
        "full_load_ack_p50_ms": percentile_ms(&full.latencies, 0.5),
        "full_load_ack_p99_ms": percentile_ms(&full.latencies, 0.99),
        "server_cpu_us_per_reading": rounded(cpu * 1e6 / full.acknowledged.max(1) as f64, 3),
        "connections": args.connections, "seconds": full.took.as_secs_f64().round(),
    });
    Ok((result, rate, rows))
}

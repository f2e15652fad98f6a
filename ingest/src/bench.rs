//! How many readings a second go from sockets into the database, each acknowledged after its
//! commit, and how that compares with nothing but COPY.
//!
//! Clients, front door, writers and (usually) the database share one machine. The limit is measured
//! in the same run: one connection that copies the same number of rows, sorted the same way, in
//! transactions as large as a writer's, into a hypertable that is equal and empty.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use models::db::register::{
    NewGateway, NewSite, NewTenant, create_gateway, create_gateway_credential, create_site, create_tenant,
};
use models::db::{Role, reading};
use models::id::ChannelId;
use models::reading::{Quality, Reading};
use models::time::Timestamp;
use models::wire::{Batch, Column};
use rumqttc::mqttbytes::{QoS, v4};
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::config::Config;

const CHANNELS: usize = 20;
const SECRET: &str = "bench";

#[derive(Clone, Copy, Debug)]
pub struct Args {
    pub connections: usize,
    pub seconds: u64,
    /// Readings in a batch; a multiple of 20, the channels of a gateway.
    pub batch: usize,
    /// Batches of one connection that are not acknowledged yet.
    pub window: usize,
    /// One JSON reading a message instead of batches.
    pub plain: bool,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            connections: 50,
            seconds: 60,
            batch: 500,
            window: 4,
            plain: false,
        }
    }
}

/// Runs in databases of its own, which it makes beside `database_url`'s and drops.
///
/// # Errors
/// When a client is refused, the service fails, or the databases can't be made.
pub async fn run(args: Args, database_url: &str) -> anyhow::Result<serde_json::Value> {
    ensure!(
        args.batch.is_multiple_of(CHANNELS) && args.batch > 0,
        "readings in a batch: a multiple of {CHANNELS}"
    );
    let name = format!("forewarn_bench_{}", uuid::Uuid::now_v7().simple());
    let url = reading::make_scratch(database_url, &name)
        .await
        .context("database for the measurement")?;
    let measured = measure(args, &url).await;
    let dropped = reading::drop_scratch(database_url, &name).await;
    let measured = measured?;
    dropped?;
    let name = format!("{name}_limit");
    let url = reading::make_scratch(database_url, &name)
        .await
        .context("database for the limit")?;
    let limit = copy_limit(measured.stored.clamp(200_000, 4_000_000), &url).await;
    reading::drop_scratch(database_url, &name).await?;
    let limit = limit?;
    let rate = measured.acknowledged as f64 / measured.took.as_secs_f64();
    let unit = if args.plain {
        "messages_per_s"
    } else {
        "readings_per_s"
    };
    Ok(json!({
        unit: rate.round(), "copy_limit_per_s": limit.round(), "ratio": (rate / limit * 1000.0).round() / 1000.0,
        "ack_p50_ms": measured.percentile(0.5), "ack_p99_ms": measured.percentile(0.99),
        "peak_rss_mib": peak_rss_mib(), "lost": measured.acknowledged - measured.stored, "duplicated": measured.doubled,
        "acknowledged": measured.acknowledged, "connections": args.connections, "seconds": measured.took.as_secs_f64().round(),
    }))
}

struct Measured {
    acknowledged: i64,
    stored: i64,
    doubled: i64,
    took: Duration,
    /// Microseconds, sorted.
    latencies: Vec<u32>,
}

impl Measured {
    fn percentile(&self, part: f64) -> f64 {
        let i = ((self.latencies.len() as f64 - 1.0) * part).max(0.0) as usize;
        self.latencies
            .get(i)
            .map_or(0.0, |micros| f64::from(*micros) / 1000.0)
    }
}

async fn measure(args: Args, url: &str) -> anyhow::Result<Measured> {
    let mut owner = PgConnection::connect(url).await?;
    let tenant = create_tenant(
        &mut owner,
        &NewTenant {
            slug: "bench",
            name: "Bench",
        },
    )
    .await?;
    let site = create_site(
        &mut owner,
        &NewSite {
            tenant,
            name: "Bench",
            time_zone: "UTC",
        },
    )
    .await?;
    let hash: [u8; 32] = Sha256::digest(SECRET).into();
    for i in 0..args.connections {
        let slug = format!("g{i}");
        let gateway = create_gateway(
            &mut owner,
            &NewGateway {
                tenant,
                site,
                slug: &slug,
                name: &slug,
            },
        )
        .await?;
        create_gateway_credential(&mut owner, tenant, gateway, hash, None).await?;
    }
    let config = Config::default();
    let connections = u32::try_from(config.writer.writers).unwrap_or(2) + 3;
    let pool: PgPool = models::db::connect(url, Role::Ingest, connections)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let shutdown = CancellationToken::new();
    let service = tokio::spawn(crate::run(config, pool.clone(), listener, shutdown.clone()));
    let started = Instant::now();
    let until = started + Duration::from_secs(args.seconds);
    let mut clients = tokio::task::JoinSet::new();
    for i in 0..args.connections {
        clients.spawn(client(args, i, address, until));
    }
    let (mut acknowledged, mut latencies) = (0, Vec::new());
    while let Some(done) = clients.join_next().await {
        let (readings, mut of_one) = done.context("a client panicked")??;
        acknowledged += readings;
        latencies.append(&mut of_one);
    }
    let took = started.elapsed();
    shutdown.cancel();
    service.await.context("the service panicked")??;
    pool.close().await;
    latencies.sort_unstable();
    let (stored, doubled) = models::db::ledger::totals(&mut owner).await?;
    owner.close().await?;
    Ok(Measured {
        acknowledged,
        stored,
        doubled,
        took,
        latencies,
    })
}

/// Publishes until `until`, then waits for the last acknowledgement. Returns acknowledged readings
/// and the latency of each publish in microseconds.
async fn client(
    args: Args,
    number: usize,
    address: SocketAddr,
    until: Instant,
) -> anyhow::Result<(i64, Vec<u32>)> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut input, mut output) = (BytesMut::with_capacity(4096), BytesMut::with_capacity(64 * 1024));
    let mut connect = v4::Connect::new("bench");
    connect.keep_alive = 600;
    connect.set_login(format!("bench/g{number}"), SECRET);
    connect.write(&mut output)?;
    stream.write_all_buf(&mut output).await?;
    let mut waiting: VecDeque<(u16, Instant)> = VecDeque::new();
    let (mut acknowledged, mut latencies, mut packet_id) = (0, Vec::new(), 0_u16);
    let mut connected = false;
    let mut sequence = 0_u64;
    let mut ts = Timestamp::now().micros();
    let window = if args.plain {
        args.window.max(200)
    } else {
        args.window
    };
    loop {
        while connected && waiting.len() < window && Instant::now() < until {
            sequence += 1;
            packet_id = packet_id.checked_add(1).unwrap_or(1);
            let (topic, payload) = if args.plain {
                ts += 1_000;
                let channel = sequence as usize % CHANNELS;
                let at = Timestamp::from_micros(ts);
                (
                    format!("fw/v1/me/json/d/c{channel}"),
                    format!("{{\"ts\":\"{at}\",\"value\":{sequence}.5}}").into_bytes(),
                )
            } else {
                ("fw/v1/me/batch".to_owned(), batch(args.batch, sequence, &mut ts)?)
            };
            let mut publish = v4::Publish::new(topic, QoS::AtLeastOnce, payload);
            publish.pkid = packet_id;
            publish.write(&mut output)?;
            waiting.push_back((packet_id, Instant::now()));
        }
        stream.write_all_buf(&mut output).await?;
        if connected && waiting.is_empty() {
            return Ok((acknowledged, latencies));
        }
        if stream.read_buf(&mut input).await? == 0 {
            bail!("the front door closed the connection");
        }
        while let Ok(packet) = v4::Packet::read(&mut input, 1 << 20) {
            match packet {
                v4::Packet::ConnAck(ack) => {
                    ensure!(
                        ack.code == v4::ConnectReturnCode::Success,
                        "refused: {:?}",
                        ack.code
                    );
                    connected = true;
                }
                v4::Packet::PubAck(ack) => {
                    let (id, sent) = waiting.pop_front().context("an acknowledgement of nothing")?;
                    ensure!(id == ack.pkid, "acknowledged {} before {id}", ack.pkid);
                    latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
                    acknowledged += if args.plain { 1 } else { args.batch as i64 };
                }
                other => bail!("unexpected {other:?}"),
            }
        }
    }
}

fn batch(readings: usize, seq: u64, ts: &mut i64) -> std::io::Result<Vec<u8>> {
    let rows = readings / CHANNELS;
    let columns = (0..CHANNELS)
        .map(|channel| Column {
            device: "d".to_owned(),
            channel: format!("c{channel}"),
            ts_deltas: std::iter::once(*ts).chain((1..rows).map(|_| 1_000)).collect(),
            values: (0..rows)
                .map(|row| 20.0 + ((seq as usize * 31 + channel * 7 + row) % 997) as f64 / 64.0)
                .collect(),
            ..Column::default()
        })
        .collect();
    *ts += rows as i64 * 1_000;
    Batch {
        epoch: 1,
        seq,
        floor: 1,
        sent_at: *ts,
        columns,
        events: Vec::new(),
    }
    .encode_compressed(1)
}

async fn copy_limit(rows: i64, url: &str) -> anyhow::Result<f64> {
    let mut connection = PgConnection::connect(url).await?;
    let per_transaction = Config::default().writer.batch_rows;
    let channels = 50 * CHANNELS;
    let start = Timestamp::now().micros();
    let rows = usize::try_from(rows)?;
    let (mut done, mut spent) = (0, Duration::ZERO);
    while done < rows {
        let readings: Vec<Reading> = (0..per_transaction)
            .map(|i| {
                let (channel, row) = (i / (per_transaction / channels), i % (per_transaction / channels));
                let at = start + ((done / channels + row) * 1_000) as i64;
                Reading {
                    channel: ChannelId(i32::try_from(channel + 1).unwrap_or(i32::MAX)),
                    ts: Timestamp::from_micros(at),
                    value: (i % 997) as f64,
                    quality: Quality::Good,
                }
            })
            .collect();
        let began = Instant::now();
        let mut transaction = connection.begin().await?;
        reading::copy(&mut transaction, &readings).await?;
        transaction.commit().await?;
        spent += began.elapsed();
        done += per_transaction;
    }
    connection.close().await?;
    Ok(done as f64 / spent.as_secs_f64())
}

/// Of this process, clients of the measurement included; 0 where /proc doesn't tell.
fn peak_rss_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}

//! Many gateways at once, and what happens when half of them come back at the same moment.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use rand::Rng;
use rumqttc::mqttbytes::{QoS, v4};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::server::Server;
use super::{Place, SECRET, Scratch, TENANT, register, rounded};

/// Handshakes under way while the connections are made; the storm has no such bound.
const AT_ONCE: usize = 200;
/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the storm may take before the measurement gives up.
const STORM_PATIENCE: Duration = Duration::from_secs(300);
/// Files that a process needs beside its connections.
const OTHER_FILES: u64 = 200;

#[derive(Clone, Debug)]
pub struct Args {
    pub connections: usize,
    /// Of these, how many break and come back at once.
    pub storm: usize,
}

/// # Errors
/// When the limit of open files can't be raised, or connections can't be made at all.
pub async fn run(args: Args, place: &Place) -> anyhow::Result<Value> {
    ensure!(
        args.connections > 0 && args.storm <= args.connections,
        "the storm has at most as many connections as there are"
    );
    // Inside one process both ends count.
    let ends = if place.executable.is_some() { 1 } else { 2 };
    allow_files(args.connections as u64 * ends + OTHER_FILES)?;
    let scratch = Scratch::make(&place.database_url).await?;
    let measured = measure(&args, place, &scratch.url).await;
    scratch.drop_now().await?;
    measured
}

async fn measure(args: &Args, place: &Place, url: &str) -> anyhow::Result<Value> {
    register(url, args.connections).await?;
    let room = args.connections + 1_000;
    let settings = [("LIMITS__MAX_CONNECTIONS", room.to_string())];
    let server = Server::start(place, url, &settings).await?;
    let refused = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let mut open = all(0..args.connections, server.address, Some(AT_ONCE), &refused).await?;
    let connect_s = began.elapsed().as_secs_f64();
    let first_refused = refused.swap(0, Ordering::Relaxed);
    let held = server.peak_rss_mib();

    // They break without a word, as after a power cut of a switch, and all come back at once.
    open.truncate(args.connections - args.storm);
    let began = Instant::now();
    let back = args.connections - args.storm..args.connections;
    let storming = all(back, server.address, None, &refused);
    let again = timeout(STORM_PATIENCE, storming)
        .await
        .context("the storm is not over after 300 s")??;
    let storm_s = began.elapsed().as_secs_f64();
    let peak = server.peak_rss_mib();
    let cpu = server.cpu_s();
    let alive = still_alive(&mut open).await;
    drop((open, again));
    server.stop().await?;
    Ok(json!({
        "peak_rss_mib": peak, "storm_s": rounded(storm_s, 2), "refused": first_refused + refused.load(Ordering::Relaxed),
        "connections": args.connections, "storm": args.storm, "connect_s": rounded(connect_s, 2),
        "rss_before_storm_mib": held, "kib_per_connection": rounded(held as f64 * 1024.0 / args.connections as f64, 1),
        "undisturbed": alive, "server_cpu_s": rounded(cpu, 2),
    }))
}

/// Connects all of `numbers` and has a message of each committed. In the order of the numbers.
async fn all(
    numbers: std::ops::Range<usize>,
    address: SocketAddr,
    at_once: Option<usize>,
    refused: &Arc<AtomicU64>,
) -> anyhow::Result<Vec<TcpStream>> {
    let places = Arc::new(Semaphore::new(at_once.unwrap_or(Semaphore::MAX_PERMITS)));
    let mut tasks = JoinSet::new();
    for number in numbers {
        let (places, refused) = (places.clone(), refused.clone());
        tasks.spawn(async move {
            let _place = places.acquire().await?;
            let stream = attach_patiently(address, number, &refused).await?;
            anyhow::Ok((number, stream))
        });
    }
    let mut streams = Vec::with_capacity(tasks.len());
    while let Some(done) = tasks.join_next().await {
        streams.push(done.context("a client panicked")??);
    }
    streams.sort_unstable_by_key(|(number, _)| *number);
    Ok(streams.into_iter().map(|(_, stream)| stream).collect())
}

/// Tries again after a refusal, as a gateway does: exponentially later, with full jitter.
async fn attach_patiently(
    address: SocketAddr,
    number: usize,
    refused: &AtomicU64,
) -> anyhow::Result<TcpStream> {
    let mut last = None;
    for attempt in 0..12_u32 {
        match timeout(PATIENCE, attach(address, number)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = Some(error),
            Err(_) => last = Some(anyhow::anyhow!("no answer within {} s", PATIENCE.as_secs())),
        }
        refused.fetch_add(1, Ordering::Relaxed);
        let most = Duration::from_millis(100)
            .saturating_mul(1 << attempt)
            .min(Duration::from_secs(10));
        let pause = rand::rng().random_range(Duration::ZERO..=most);
        tokio::time::sleep(pause).await;
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("never tried")))
        .with_context(|| format!("connection {number}"))
}

/// CONNECT, and a message that is committed.
async fn attach(address: SocketAddr, number: usize) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if address.ip().is_loopback() {
        // One address has some 28,000 ports for its clients, and those of broken connections rest a while.
        let last = u8::try_from(2 + number % 16)?;
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))?;
    }
    let mut stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    let mut output = BytesMut::new();
    let mut connect = v4::Connect::new(format!("bench-{number}"));
    connect.keep_alive = 1200;
    connect.set_login(format!("{TENANT}/g{number}"), SECRET);
    connect.write(&mut output)?;
    stream.write_all_buf(&mut output).await?;
    let mut input = BytesMut::with_capacity(256);
    match packet(&mut stream, &mut input).await? {
        v4::Packet::ConnAck(ack) if ack.code == v4::ConnectReturnCode::Success => {}
        other => bail!("{other:?}"),
    }
    let mut publish = v4::Publish::new("fw/v1/me/json/d/up", QoS::AtLeastOnce, "1");
    publish.pkid = 1;
    publish.write(&mut output)?;
    stream.write_all_buf(&mut output).await?;
    match packet(&mut stream, &mut input).await? {
        v4::Packet::PubAck(_) => Ok(stream),
        other => bail!("{other:?}"),
    }
}

async fn packet(stream: &mut TcpStream, input: &mut BytesMut) -> anyhow::Result<v4::Packet> {
    loop {
        if let Ok(packet) = v4::Packet::read(input, 1 << 20) {
            return Ok(packet);
        }
        if stream.read_buf(input).await? == 0 {
            bail!("the connection was closed");
        }
    }
}

/// How many of the connections that were not part of the storm still answer a ping.
async fn still_alive(streams: &mut [TcpStream]) -> usize {
    let mut alive = 0;
    for stream in streams {
        let mut output = BytesMut::new();
        let pinged =
            v4::PingReq.write(&mut output).is_ok() && stream.write_all_buf(&mut output).await.is_ok();
        let mut input = BytesMut::with_capacity(16);
        let answered = timeout(PATIENCE, packet(stream, &mut input)).await;
        alive += usize::from(pinged && matches!(answered, Ok(Ok(v4::Packet::PingResp))));
    }
    alive
}

/// Raises this process's limit of open files, which the service inherits.
fn allow_files(needed: u64) -> anyhow::Result<()> {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let mut numbers = line
        .unwrap_or_default()
        .split_whitespace()
        .map(|number| number.parse::<u64>().unwrap_or(u64::MAX));
    let (Some(soft), Some(hard)) = (numbers.next(), numbers.next()) else {
        return Ok(()); // No /proc: the first connection too many will say so.
    };
    if soft >= needed {
        return Ok(());
    }
    // prlimit (util-linux) sets it for us; a process can do that itself only by a call into C.
    let raised = Command::new("prlimit")
        .args(["--pid", &std::process::id().to_string()])
        .arg(format!("--nofile={needed}:{}", hard.max(needed)))
        .output();
    match raised {
        Ok(output) if output.status.success() => Ok(()),
        _ => bail!(
            "{needed} open files are needed and the limit is {soft} (at most {hard} without root): say `ulimit -n \
             {needed}` first, raise `nofile` in /etc/security/limits.conf, or measure fewer --connections"
        ),
    }
}

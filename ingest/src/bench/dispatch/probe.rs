//! The whole product as a process, the readings that alarm, and what the live stream says of them.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use models::id::AssetId;
use models::time::Timestamp;
use models::wire::{Batch, Column};
use rumqttc::mqttbytes::{QoS, v4};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::Sender;

use super::super::{SECRET, TENANT};
use super::PATIENCE;

/// `forewarn serve`, on ports of its own.
pub(super) struct Service {
    child: Child,
    pub mqtt: SocketAddr,
    pub http: SocketAddr,
}

impl Service {
    pub async fn start(executable: &Path, url: &str) -> anyhow::Result<Self> {
        let (one, other) = (
            TcpListener::bind("127.0.0.1:0").await?,
            TcpListener::bind("127.0.0.1:0").await?,
        );
        let (mqtt, http) = (one.local_addr()?, other.local_addr()?);
        drop((one, other));
        let child = Command::new(executable)
            .arg("serve")
            .env_remove("FOREWARN_CONFIG")
            .env("DATABASE_URL", url)
            .env("FOREWARN__INGEST__LISTEN", mqtt.to_string())
            .env("FOREWARN__API__LISTEN", http.to_string())
            .env("FOREWARN__LOG__FILTER", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("can't start {}", executable.display()))?;
        let mut service = Self { child, mqtt, http };
        let started = Instant::now();
        for address in [mqtt, http] {
            while TcpStream::connect(address).await.is_err() {
                if let Some(status) = service.child.try_wait()? {
                    bail!("the service ended while starting: {status}");
                }
                ensure!(
                    started.elapsed() < PATIENCE,
                    "the service doesn't listen on {address}"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(service)
    }

    /// In order: a task that ended by itself or with an error shows in the exit code.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let id = self.child.id().context("the service has ended by itself")?;
        let sent = Command::new("kill")
            .args(["-TERM", &id.to_string()])
            .status()
            .await?;
        ensure!(sent.success(), "the service has ended by itself");
        let status = tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .context("the service doesn't stop")??;
        ensure!(status.success(), "the service ended with {status}");
        Ok(())
    }
}

/// Publishes `count` readings beyond the limit, one for each channel of the gateway, and gives when each
/// was written. Ends when all are acknowledged.
pub(super) async fn publish(
    address: SocketAddr,
    gateway: usize,
    count: usize,
    every: Duration,
) -> anyhow::Result<Vec<Instant>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut output = BytesMut::new();
    let mut connect = v4::Connect::new("bench-probe");
    connect.keep_alive = 600;
    connect.set_login(format!("{TENANT}/g{gateway}"), SECRET);
    connect.write(&mut output)?;
    stream.write_all_buf(&mut output).await?;
    let (mut read, mut write) = stream.into_split();
    let mut answer = [0_u8; 4];
    read.read_exact(&mut answer).await?;
    ensure!(answer[3] == 0, "the probe was refused with {}", answer[3]);
    // A PUBACK has four bytes.
    let acknowledged = tokio::spawn(async move {
        let mut all = vec![0_u8; 4 * count];
        read.read_exact(&mut all).await.map(drop)
    });
    let mut published = Vec::with_capacity(count);
    let mut turn = tokio::time::interval(every);
    for number in 0..count {
        turn.tick().await;
        let now = Timestamp::now().micros();
        let batch = Batch {
            epoch: 1,
            seq: number as u64 + 1,
            floor: 1,
            sent_at: now,
            columns: vec![Column {
                device: "d".to_owned(),
                channel: format!("p{number}"),
                ts_deltas: vec![now],
                values: vec![200.0],
                ..Column::default()
            }],
            events: Vec::new(),
        };
        let payload = batch.encode_compressed(1)?;
        let mut message = v4::Publish::new("fw/v1/me/batch", QoS::AtLeastOnce, payload);
        message.pkid = u16::try_from(number % 65_535 + 1)?;
        message.write(&mut output)?;
        published.push(Instant::now());
        write.write_all_buf(&mut output).await?;
    }
    tokio::time::timeout(PATIENCE, acknowledged)
        .await
        .context("the probe's readings were not acknowledged")?
        .context("the reader panicked")??;
    Ok(published)
}

/// An event of the live stream, and when it was there.
pub(super) struct News {
    kind: String,
    asset: AssetId,
    at: Instant,
}

/// Asks for the live stream; what happens after this returns is on it.
pub(super) async fn open_stream(
    address: SocketAddr,
    key: &str,
) -> anyhow::Result<Lines<BufReader<TcpStream>>> {
    let mut stream = TcpStream::connect(address).await?;
    // HTTP/1.0: an answer without chunks, just its lines.
    let request = format!(
        "GET /v1/stream?topics=alarm,ticket HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nAccept: text/event-stream\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut lines = BufReader::new(stream).lines();
    let status = lines.next_line().await?.unwrap_or_default();
    ensure!(
        status.split(' ').nth(1) == Some("200"),
        "the live stream was refused: {status}"
    );
    Ok(lines)
}

/// Tells what the stream says, for as long as it lasts.
pub(super) async fn listen(mut lines: Lines<BufReader<TcpStream>>, tell: Sender<News>) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Change {
        kind: String,
        asset_id: Option<AssetId>,
    }
    while let Some(line) = lines.next_line().await? {
        let Some(data) = line.strip_prefix("data:") else {
            continue;
        };
        let at = Instant::now();
        let change: Change = serde_json::from_str(data)?;
        if let Some(asset) = change.asset_id {
            let kind = change.kind;
            if tell.send(News { kind, asset, at }).await.is_err() {
                return Ok(());
            }
        }
    }
    bail!("it has ended")
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Alarm,
    Ticket,
}

/// What was seen of the probe's readings.
pub(super) struct Seen {
    published: HashMap<AssetId, Instant>,
    heard: HashSet<(Kind, AssetId)>,
    /// From publishing to the event, microseconds.
    pub alarms: Vec<u32>,
    pub tickets: Vec<u32>,
    /// Events that said again what one had said.
    pub repeated: i64,
}

impl Seen {
    pub fn new(assets: &[AssetId], published: &[Instant]) -> Self {
        Self {
            published: assets.iter().copied().zip(published.iter().copied()).collect(),
            heard: HashSet::new(),
            alarms: Vec::new(),
            tickets: Vec::new(),
            repeated: 0,
        }
    }

    pub fn take(&mut self, news: &News) {
        let Some(published) = self.published.get(&news.asset) else {
            return;
        };
        let micros = news.at.saturating_duration_since(*published).as_micros();
        let micros = u32::try_from(micros).unwrap_or(u32::MAX);
        let (kind, latencies) = match news.kind.as_str() {
            "alarm.raised" => (Kind::Alarm, &mut self.alarms),
            "ticket.created" => (Kind::Ticket, &mut self.tickets),
            _ => return,
        };
        if self.heard.insert((kind, news.asset)) {
            latencies.push(micros);
        } else {
            self.repeated += 1;
        }
    }

    pub fn complete(&self) -> bool {
        self.heard.len() == 2 * self.published.len()
    }

    pub fn sort(&mut self) {
        self.alarms.sort_unstable();
        self.tickets.sort_unstable();
    }
}

//! Gateways that publish as fast as they may, or at a pace.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use models::time::Timestamp;
use models::wire::{Batch, Column};
use rumqttc::mqttbytes::{QoS, v4};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{CHANNELS, SECRET, TENANT};

/// What all gateways do.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub address: SocketAddr,
    pub connections: usize,
    pub seconds: u64,
    /// One JSON reading a message instead of batches.
    pub plain: bool,
    /// Readings in a batch.
    pub batch: usize,
    /// Messages of one connection that are not acknowledged yet.
    pub window: usize,
    /// Messages a second of all connections together; `None` = as fast as they are acknowledged.
    pub messages_per_s: Option<f64>,
    /// Epoch of the batches: phases must not repeat each other's numbers.
    pub epoch: u64,
    /// Event time of the first reading, microseconds.
    pub start: i64,
    /// Event time between two readings of a channel, microseconds.
    pub step: i64,
    /// Topic of a plain message up to the channel; `{gateway}` is the gateway's number.
    pub plain_topic: &'static str,
    /// MQTT user names, or a broker that asks for none.
    pub login: bool,
}

/// What became of it.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Readings.
    pub acknowledged: i64,
    /// Of each message from its turn to its PUBACK, microseconds, sorted.
    pub latencies: Vec<u32>,
    pub took: Duration,
}

impl Sent {
    pub fn per_s(&self) -> f64 {
        self.acknowledged as f64 / self.took.as_secs_f64()
    }
}

pub(super) async fn run(load: &Load) -> anyhow::Result<Sent> {
    let started = Instant::now();
    let until = started + Duration::from_secs(load.seconds);
    let mut clients = tokio::task::JoinSet::new();
    for i in 0..load.connections {
        clients.spawn(client(load.clone(), i, until));
    }
    let mut sent = Sent::default();
    while let Some(done) = clients.join_next().await {
        let (readings, mut latencies) = done.context("a client panicked")??;
        sent.acknowledged += readings;
        sent.latencies.append(&mut latencies);
    }
    sent.took = started.elapsed();
    sent.latencies.sort_unstable();
    Ok(sent)
}

/// One gateway.
struct Gateway {
    load: Load,
    topic: String,
    sequence: u64,
    ts: i64,
    packet_id: u16,
}

impl Gateway {
    /// Its next message, and the packet id of it.
    fn next(&mut self, output: &mut BytesMut) -> anyhow::Result<u16> {
        self.sequence += 1;
        self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
        let (topic, payload) = if self.load.plain {
            self.ts += self.load.step;
            let channel = self.sequence as usize % CHANNELS;
            let at = Timestamp::from_micros(self.ts);
            (
                format!("{}{channel}", self.topic),
                format!("{{\"ts\":\"{at}\",\"value\":{}.5}}", self.sequence).into_bytes(),
            )
        } else {
            ("fw/v1/me/batch".to_owned(), self.batch()?)
        };
        let mut publish = v4::Publish::new(topic, QoS::AtLeastOnce, payload);
        publish.pkid = self.packet_id;
        publish.write(output)?;
        Ok(self.packet_id)
    }

    fn batch(&mut self) -> std::io::Result<Vec<u8>> {
        let rows = self.load.batch / CHANNELS;
        let columns = (0..CHANNELS)
            .map(|channel| Column {
                device: "d".to_owned(),
                channel: format!("c{channel}"),
                ts_deltas: std::iter::once(self.ts)
                    .chain((1..rows).map(|_| self.load.step))
                    .collect(),
                values: (0..rows)
                    .map(|row| 20.0 + ((self.sequence as usize * 31 + channel * 7 + row) % 997) as f64 / 64.0)
                    .collect(),
                ..Column::default()
            })
            .collect();
        self.ts += rows as i64 * self.load.step;
        Batch {
            epoch: self.load.epoch,
            seq: self.sequence,
            floor: 1,
            sent_at: self.ts,
            columns,
            events: Vec::new(),
        }
        .encode_compressed(1)
    }
}

/// Publishes until `until`, then waits for the last acknowledgement. Returns acknowledged readings
/// and the latency of each publish in microseconds.
async fn client(load: Load, number: usize, until: Instant) -> anyhow::Result<(i64, Vec<u32>)> {
    let mut stream = TcpStream::connect(load.address).await?;
    stream.set_nodelay(true)?;
    let (mut input, mut output) = (BytesMut::with_capacity(4096), BytesMut::with_capacity(64 * 1024));
    let mut connect = v4::Connect::new(format!("bench-{number}"));
    connect.keep_alive = 600;
    if load.login {
        connect.set_login(format!("{TENANT}/g{number}"), SECRET);
    }
    connect.write(&mut output)?;
    stream.write_all_buf(&mut output).await?;
    let of_message = if load.plain { 1 } else { load.batch as i64 };
    let window = load.window;
    let every = load
        .messages_per_s
        .map(|rate| Duration::from_secs_f64(load.connections as f64 / rate.max(0.001)));
    // Not all at the same moment.
    let mut turn = Instant::now() + every.unwrap_or_default().mul_f64((number % 97) as f64 / 97.0);
    let mut gateway = Gateway {
        sequence: 0,
        ts: load.start,
        packet_id: 0,
        topic: load.plain_topic.replace("{gateway}", &number.to_string()),
        load,
    };
    let mut waiting: VecDeque<(u16, Instant)> = VecDeque::new();
    let (mut acknowledged, mut latencies) = (0, Vec::new());
    let mut connected = false;
    loop {
        let now = Instant::now();
        while connected && waiting.len() < window && now < until && every.is_none_or(|_| turn <= now) {
            let id = gateway.next(&mut output)?;
            waiting.push_back((id, if every.is_some() { turn } else { Instant::now() }));
            turn += every.unwrap_or_default();
        }
        stream.write_all_buf(&mut output).await?;
        let over = Instant::now() >= until;
        if connected && waiting.is_empty() && over {
            return Ok((acknowledged, latencies));
        }
        let pause = every.is_some() && connected && waiting.len() < window && !over;
        tokio::select! {
            read = stream.read_buf(&mut input) => if read? == 0 { bail!("the front door closed the connection") },
            () = tokio::time::sleep_until(turn.min(until).into()), if pause => continue,
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
                    acknowledged += of_message;
                }
                other => bail!("unexpected {other:?}"),
            }
        }
    }
}

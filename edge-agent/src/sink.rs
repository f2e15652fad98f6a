//! The smallest receiver that keeps the contract: it accepts any gateway, acknowledges batches and
//! sends `committed`. It stands in for Forewarn where the agent itself is measured or tested, and can
//! be told to misbehave. Only for loopback.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::BytesMut;
use models::wire::{Batch, Committed};
use parking_lot::Mutex;
use rumqttc::mqttbytes::v4::{
    ConnAck, ConnectReturnCode, Packet, PubAck, Publish, SubAck, SubscribeReasonCode,
};
use rumqttc::mqttbytes::{self, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

const MAX_PACKET: usize = 32 << 20;

/// What came in.
#[derive(Debug, Default)]
pub struct Received {
    /// Batches that came for the first time, by epoch and number; empty when they are not kept.
    pub batches: BTreeMap<(u64, u64), Batch>,
    /// Highest contiguous number and those beyond a gap, by epoch.
    cursors: BTreeMap<u64, (u64, BTreeSet<u64>)>,
    pub readings: u64,
    pub duplicates: u64,
    /// Numbers that the gateway gave up by its floor.
    pub lost: u64,
    pub connections: u64,
    pub payload_bytes: u64,
    /// Payloads of the state topic.
    pub states: Vec<String>,
    /// Numbers of batches in the order in which they came.
    pub order: Vec<u64>,
    /// Sent to each gateway that subscribes, once: topic kind and payload.
    pub mail: Vec<(&'static str, String)>,
    /// A contradiction of the contract.
    pub fault: Option<String>,
}

impl Received {
    /// Returns the watermark after this batch.
    fn take(&mut self, batch: Batch, keep: bool) -> Committed {
        let (epoch, seq) = (batch.epoch, batch.seq);
        let (contiguous, beyond) = self.cursors.entry(epoch).or_default();
        if batch.floor > *contiguous + 1 {
            let given_up = (*contiguous + 1..batch.floor)
                .filter(|seq| !beyond.contains(seq))
                .count();
            self.lost += given_up as u64;
            *contiguous = batch.floor - 1;
        }
        if batch.floor > seq {
            self.fault = Some(format!("batch {seq} says that its floor is {}", batch.floor));
        }
        if seq <= *contiguous || beyond.contains(&seq) {
            self.duplicates += 1;
            if let Some(before) = self.batches.get(&(epoch, seq))
                && (&before.columns, &before.events) != (&batch.columns, &batch.events)
            {
                self.fault = Some(format!("batch {seq} came twice with different content"));
            }
        } else {
            self.readings += batch.readings() as u64;
            beyond.insert(seq);
            if keep {
                self.batches.insert((epoch, seq), batch);
            }
        }
        while let Some(first) = beyond.first().copied()
            && first <= *contiguous + 1
        {
            beyond.pop_first();
            *contiguous = first.max(*contiguous);
        }
        Committed {
            epoch,
            seq: *contiguous,
        }
    }

    pub fn committed(&self, epoch: u64) -> u64 {
        self.cursors.get(&epoch).map_or(0, |(contiguous, _)| *contiguous)
    }
}

/// How a sink behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manners {
    /// Keep the batches, to look into them.
    pub keep: bool,
    /// Close each connection after this many batches, before acknowledging the last.
    pub cut_after: Option<u64>,
    /// Refuse every credential.
    pub refuse: bool,
    /// Take batches and never commit.
    pub stall: bool,
}

pub struct Sink {
    pub address: SocketAddr,
    pub received: Arc<Mutex<Received>>,
    /// Counts changes, to wait for.
    pub changed: watch::Receiver<u64>,
    stop: CancellationToken,
    accepts: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Sink {
    /// # Errors
    /// When the port can't be bound; 0 chooses one.
    pub async fn start(port: u16, manners: Manners, received: Arc<Mutex<Received>>) -> anyhow::Result<Self> {
        Self::start_with(port, manners, received, None).await
    }

    /// As [`Sink::start`], behind TLS.
    ///
    /// # Errors
    /// As there.
    pub async fn start_with(
        port: u16,
        manners: Manners,
        received: Arc<Mutex<Received>>,
        tls: Option<TlsAcceptor>,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        let (change, changed) = watch::channel(0);
        let stop = CancellationToken::new();
        let token = stop.clone();
        let shared = Arc::clone(&received);
        let accepts = tokio::spawn(async move {
            let change = Arc::new(change);
            while let Some(Ok((stream, _))) = token.run_until_cancelled(listener.accept()).await {
                let (shared, change, token) = (Arc::clone(&shared), Arc::clone(&change), token.clone());
                let tls = tls.clone();
                tokio::spawn(async move {
                    let served = token
                        .run_until_cancelled(async {
                            stream.set_nodelay(true)?;
                            match tls {
                                None => serve(stream, manners, &shared, &change).await,
                                Some(tls) => {
                                    serve(tls.accept(stream).await?, manners, &shared, &change).await
                                }
                            }
                        })
                        .await;
                    if let Some(Err(error)) = served {
                        tracing::debug!(error = format!("{error:#}"), "sink: connection ended");
                    }
                    change.send_modify(|n| *n += 1);
                });
            }
        });
        Ok(Self {
            address,
            received,
            changed,
            stop,
            accepts: Some(accepts),
        })
    }

    /// Closes all connections and gives the port back.
    ///
    /// # Errors
    /// When the accepting task panicked.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        if let Some(accepts) = self.accepts.take() {
            accepts.await?;
        }
        Ok(())
    }

    /// Waits until `done` holds, at most `seconds`.
    ///
    /// # Errors
    /// When it doesn't hold by then.
    pub async fn until(&mut self, seconds: u64, done: impl Fn(&Received) -> bool) -> anyhow::Result<()> {
        let wait = async {
            loop {
                self.changed.mark_unchanged();
                if done(&self.received.lock()) {
                    return Ok(());
                }
                self.changed.changed().await.context("the sink is gone")?;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(seconds), wait)
            .await
            .context("waited in vain")?
    }
}

async fn serve(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    manners: Manners,
    received: &Mutex<Received>,
    change: &watch::Sender<u64>,
) -> anyhow::Result<()> {
    let mut input = BytesMut::with_capacity(64 << 10);
    let mut output = BytesMut::new();
    let mut watermark: Option<Committed> = None;
    let mut topic = None;
    let mut batches = 0;
    loop {
        let packet = match Packet::read(&mut input, MAX_PACKET) {
            Ok(packet) => packet,
            Err(mqttbytes::Error::InsufficientBytes(_)) => {
                if !output.is_empty() {
                    stream.write_all_buf(&mut output).await?;
                }
                if stream.read_buf(&mut input).await? == 0 {
                    return Ok(());
                }
                continue;
            }
            Err(error) => bail!("{error}"),
        };
        let mut say = |packet: Packet| {
            packet
                .write(&mut output, MAX_PACKET)
                .map_err(|error| anyhow::anyhow!("{error}"))
        };
        match packet {
            Packet::Connect(_) => {
                received.lock().connections += 1;
                change.send_modify(|n| *n += 1);
                let code = if manners.refuse {
                    ConnectReturnCode::NotAuthorized
                } else {
                    ConnectReturnCode::Success
                };
                say(Packet::ConnAck(ConnAck::new(code, false)))?;
            }
            Packet::Subscribe(subscribe) => {
                let codes = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce); subscribe.filters.len()];
                say(Packet::SubAck(SubAck::new(subscribe.pkid, codes)))?;
                if let Some(filter) = subscribe
                    .filters
                    .iter()
                    .find(|filter| filter.path.ends_with("/committed"))
                {
                    topic = Some(filter.path.clone());
                    let known = received
                        .lock()
                        .cursors
                        .last_key_value()
                        .map(|(epoch, (seq, _))| Committed {
                            epoch: *epoch,
                            seq: *seq,
                        });
                    let base = filter.path.trim_end_matches("committed").to_owned();
                    for (kind, payload) in std::mem::take(&mut received.lock().mail) {
                        let mail = Publish::new(format!("{base}{kind}"), QoS::AtMostOnce, payload);
                        say(Packet::Publish(mail))?;
                    }
                    if let Some(known) = known {
                        say(Packet::Publish(Publish::new(
                            filter.path.clone(),
                            QoS::AtMostOnce,
                            serde_json::to_vec(&known)?,
                        )))?;
                    }
                }
            }
            Packet::Publish(publish) if publish.topic.ends_with("/batch") => {
                let batch = Batch::decode_compressed(&publish.payload)?;
                {
                    let mut received = received.lock();
                    received.payload_bytes += publish.payload.len() as u64;
                    if manners.keep {
                        received.order.push(batch.seq);
                    }
                    let now = received.take(batch, manners.keep);
                    if watermark != Some(now) && !manners.stall {
                        watermark = Some(now);
                        if let Some(topic) = &topic {
                            say(Packet::Publish(Publish::new(
                                topic.clone(),
                                QoS::AtMostOnce,
                                serde_json::to_vec(&now)?,
                            )))?;
                        }
                    }
                }
                batches += 1;
                change.send_modify(|n| *n += 1);
                if manners.cut_after == Some(batches) {
                    return Ok(());
                }
                say(Packet::PubAck(PubAck::new(publish.pkid)))?;
            }
            Packet::Publish(publish) => {
                received
                    .lock()
                    .states
                    .push(String::from_utf8_lossy(&publish.payload).into_owned());
                change.send_modify(|n| *n += 1);
                if publish.qos != QoS::AtMostOnce {
                    say(Packet::PubAck(PubAck::new(publish.pkid)))?;
                }
            }
            Packet::PingReq => {
                say(Packet::PingResp)?;
            }
            Packet::Disconnect => return Ok(()),
            _ => {}
        }
    }
}

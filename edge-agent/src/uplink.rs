//! From the spool to Forewarn, over MQTT 3.1.1.
//!
//! The spool is the truth. rumqttc forgets what `publish` accepted when a connection breaks, so each
//! connection gets a client of its own, and after each CONNACK sending starts again behind the last
//! batch that is `committed`. A PUBACK moves nothing: behind a foreign broker it means no more than
//! "in its memory". The receiver drops what it already has.
//!
//! **Floor.** Where numbers are missing in the spool (damage, or the oldest dropped), sending waits
//! until all before the gap is committed; the batch behind it then carries a floor that tells the
//! receiver what will never come.
//!
//! **Pace.** At most `window` batches are under way. The backlog goes out as fast as the receiver
//! commits.
//!
//! **Silence.** When nothing is committed for a while the agent subscribes again, which makes the
//! receiver repeat the watermark; after long silence it connects anew. A database that is down looks
//! the same, so neither happens in a hurry.
//!
//! **Reconnecting** pauses at random between 0 and a bound that doubles up to `retry_max_s`. The bound
//! falls back only after something was committed, not after a mere CONNACK: a receiver that accepts
//! and kicks must not be hammered. A refused credential waits at least half the longest pause.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use models::time::Timestamp;
use models::wire::{self, Committed, Refusal};
use parking_lot::Mutex;
use rand::Rng;
use rumqttc::mqttbytes::v4::{ConnectReturnCode, LastWill, Packet, SubscribeFilter};
use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, QoS};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::batch;
use crate::config;
use crate::spool::writer::Store;

/// A batch of 16 MiB compressed badly, and its topic.
const MAX_PACKET: usize = wire::MAX_BATCH_BYTES + (1 << 20);
/// How long to wait for the receiver's watermark before sending without it.
const FIRST_WATERMARK: Duration = Duration::from_secs(2);
const ASK_AGAIN: Duration = Duration::from_secs(30);
const GIVE_UP: Duration = Duration::from_secs(300);
const FIRST_PAUSE_S: f64 = 0.5;
/// Subscriptions and state beside the window.
const OTHER_REQUESTS: usize = 16;

/// What the status shows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Shown {
    pub connected: bool,
    pub since: Option<Timestamp>,
    pub under_way: u64,
    pub sent_batches: u64,
    pub refusals: u64,
    pub last_error: Option<String>,
}

pub struct Uplink {
    settings: config::Uplink,
    secret: SecretString,
    store: Store,
    shown: Arc<Mutex<Shown>>,
}

/// Why a connection ended.
enum End {
    Stopped,
    /// Whether anything was committed over it.
    Lost {
        progress: bool,
        refused: bool,
        error: anyhow::Error,
    },
}

impl Uplink {
    pub fn new(
        settings: config::Uplink,
        secret: SecretString,
        store: Store,
        shown: Arc<Mutex<Shown>>,
    ) -> Self {
        Self {
            settings,
            secret,
            store,
            shown,
        }
    }

    /// Sends until `stop` is cancelled.
    ///
    /// # Errors
    /// Only for an address that can't be one; everything else is tried again.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let options = self.options()?;
        let mut attempts = 0_i32;
        while !stop.is_cancelled() {
            let (progress, refused, error) = match self.connection(options.clone(), &stop).await {
                End::Stopped => break,
                End::Lost {
                    progress,
                    refused,
                    error,
                } => (progress, refused, chain(&error)),
            };
            attempts = if progress { 0 } else { attempts.saturating_add(1) };
            let pause = pause(attempts, refused, self.settings.retry_max_s, rand::rng().random());
            {
                let mut shown = self.shown.lock();
                if shown.connected || shown.since.is_none() {
                    shown.since = Some(Timestamp::now());
                }
                shown.connected = false;
                shown.under_way = 0;
                shown.last_error = Some(error.clone());
            }
            if refused {
                tracing::error!(
                    error,
                    pause_s = pause.as_secs_f64(),
                    "the receiver refuses this gateway"
                );
            } else {
                tracing::warn!(
                    error,
                    pause_s = pause.as_secs_f64(),
                    "no connection, readings wait in the spool"
                );
            }
            let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
        self.store.note_committed();
        Ok(())
    }

    fn topic(&self, kind: &str) -> String {
        wire::topic(&self.settings.tenant, &self.settings.gateway, kind)
    }

    fn options(&self) -> anyhow::Result<MqttOptions> {
        let config::Uplink { tenant, gateway, .. } = &self.settings;
        let address = self.settings.address()?;
        let mut options = MqttOptions::new(format!("{tenant}.{gateway}"), address.host, address.port);
        options.set_credentials(format!("{tenant}/{gateway}"), self.secret.expose_secret());
        options.set_keep_alive(Duration::from_secs(self.settings.keep_alive_s.max(1)));
        options.set_clean_session(true);
        options.set_max_packet_size(MAX_PACKET, MAX_PACKET);
        options.set_inflight(self.settings.window.saturating_add(4));
        options.set_last_will(LastWill::new(
            self.topic("state"),
            state(false, None),
            QoS::AtLeastOnce,
            true,
        ));
        Ok(options)
    }

    async fn connection(&self, options: MqttOptions, stop: &CancellationToken) -> End {
        let capacity = usize::from(self.settings.window) + OTHER_REQUESTS;
        let (client, mut event_loop) = AsyncClient::new(options, capacity);
        let mut network = event_loop.network_options();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(15);
        event_loop.set_network_options(network);
        let mut session = Session {
            uplink: self,
            client,
            epoch: self.store.epoch(),
            sent: self.store.watermark(),
            under_way: VecDeque::new(),
            may_send_at: None,
            progress_at: Instant::now(),
            progress: false,
        };
        match session.run(event_loop, stop).await {
            Ok(()) => End::Stopped,
            Err(error) => {
                let refused = matches!(
                    error.downcast_ref(),
                    Some(ConnectionError::ConnectionRefused(
                        ConnectReturnCode::BadUserNamePassword
                            | ConnectReturnCode::NotAuthorized
                            | ConnectReturnCode::BadClientId
                    ))
                );
                let error = if refused {
                    let config::Uplink { tenant, gateway, .. } = &self.settings;
                    error.context(format!("credential of {tenant}/{gateway} refused: check uplink.tenant, uplink.gateway and the secret"))
                } else {
                    error
                };
                End::Lost {
                    progress: session.progress,
                    refused,
                    error,
                }
            }
        }
    }
}

/// The causes, without those that the text before already holds: rumqttc repeats its sources.
fn chain(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .fold(String::new(), |text, cause| match text.as_str() {
            "" => cause,
            known if known.contains(&cause) => text,
            _ => format!("{text}: {cause}"),
        })
}

fn state(online: bool, at: Option<Timestamp>) -> Vec<u8> {
    serde_json::json!({ "online": online, "at": at })
        .to_string()
        .into_bytes()
}

/// `chance` is from 0 to 1.
fn pause(attempts: i32, refused: bool, max_s: f64, chance: f64) -> Duration {
    let bound = (FIRST_PAUSE_S * 2_f64.powi(attempts.clamp(0, 30))).min(max_s);
    Duration::from_secs_f64(if refused {
        max_s * (0.5 + 0.5 * chance)
    } else {
        bound * chance
    })
}

/// One connection.
struct Session<'a> {
    uplink: &'a Uplink,
    client: AsyncClient,
    epoch: u64,
    /// Highest number sent over this connection, or committed.
    sent: u64,
    under_way: VecDeque<u64>,
    /// Set by CONNACK; brought forward by the first watermark.
    may_send_at: Option<Instant>,
    progress_at: Instant,
    progress: bool,
}

impl Session<'_> {
    async fn run(&mut self, event_loop: EventLoop, stop: &CancellationToken) -> anyhow::Result<()> {
        // One poll is never dropped half-way: the stream keeps it while other branches run.
        let events = futures::stream::unfold(event_loop, |mut event_loop| async move {
            let event = event_loop.poll().await;
            Some((event, event_loop))
        });
        let mut events = std::pin::pin!(events);
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            let can_send = self.may_send_at.is_some_and(|at| at <= Instant::now());
            let waits_for_watermark = self.may_send_at.filter(|at| *at > Instant::now());
            if can_send {
                self.send().await?;
            }
            tokio::select! {
                event = events.next() => match event.context("event loop ended")? {
                    Ok(event) => self.handle(event).await?,
                    Err(error) => return Err(error.into()),
                },
                () = self.uplink.store.appended(), if can_send => {}
                () = tokio::time::sleep_until(waits_for_watermark.unwrap_or_else(Instant::now)), if waits_for_watermark.is_some() => {}
                _ = tick.tick() => self.watch_silence()?,
                () = stop.cancelled() => break,
            }
        }
        if self.may_send_at.is_some() {
            let _ = self.client.try_publish(
                self.uplink.topic("state"),
                QoS::AtLeastOnce,
                true,
                state(false, Some(Timestamp::now())),
            );
            let _ = self.client.try_disconnect();
            let drained = async { while let Some(Ok(_)) = events.next().await {} };
            let _ = tokio::time::timeout(Duration::from_secs(2), drained).await;
        }
        Ok(())
    }

    async fn handle(&mut self, event: Event) -> anyhow::Result<()> {
        let Event::Incoming(packet) = event else {
            return Ok(());
        };
        match packet {
            Packet::ConnAck(_) => {
                self.subscribe()?;
                let online = state(true, Some(Timestamp::now()));
                self.client
                    .try_publish(self.uplink.topic("state"), QoS::AtLeastOnce, true, online)?;
                self.may_send_at = Some(Instant::now() + FIRST_WATERMARK);
                let mut shown = self.uplink.shown.lock();
                shown.connected = true;
                shown.since = Some(Timestamp::now());
                tracing::info!(
                    url = self.uplink.settings.url,
                    epoch = self.epoch,
                    committed = self.sent,
                    "connected"
                );
            }
            Packet::Publish(publish) if publish.topic == self.uplink.topic("committed") => {
                match serde_json::from_slice::<Committed>(&publish.payload) {
                    Ok(committed) => self.committed(committed).await?,
                    Err(error) => tracing::warn!(%error, "can't read `committed`"),
                }
            }
            Packet::Publish(publish) if publish.topic == self.uplink.topic("error") => {
                self.uplink.shown.lock().refusals += 1;
                match serde_json::from_slice::<Refusal>(&publish.payload) {
                    Ok(refusal) => tracing::error!(
                        reason = refusal.reason,
                        detail = refusal.detail,
                        topic = refusal.topic,
                        "the receiver refused something this gateway sent"
                    ),
                    Err(error) => tracing::warn!(%error, "can't read `error`"),
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn subscribe(&self) -> anyhow::Result<()> {
        let filter = |kind| SubscribeFilter::new(self.uplink.topic(kind), QoS::AtLeastOnce);
        self.client
            .try_subscribe_many([filter("committed"), filter("error")])?;
        Ok(())
    }

    async fn committed(&mut self, committed: Committed) -> anyhow::Result<()> {
        if let Some(at) = &mut self.may_send_at {
            *at = (*at).min(Instant::now());
        }
        let news = self.uplink.store.commit(committed.epoch, committed.seq).await?;
        anyhow::ensure!(
            self.uplink.store.epoch() == self.epoch,
            "the spool has a new epoch"
        );
        if news {
            self.progress = true;
            self.progress_at = Instant::now();
            while self.under_way.front().is_some_and(|seq| *seq <= committed.seq) {
                self.under_way.pop_front();
            }
            self.sent = self.sent.max(committed.seq);
            self.uplink.shown.lock().under_way = self.under_way.len() as u64;
        }
        Ok(())
    }

    /// Fills the window.
    async fn send(&mut self) -> anyhow::Result<()> {
        let window = usize::from(self.uplink.settings.window);
        let free = window.saturating_sub(self.under_way.len());
        if free == 0 {
            return Ok(());
        }
        for record in self.uplink.store.read(self.sent, free).await? {
            let first_kept = self.uplink.store.first_seq();
            if record.seq != self.sent + 1 && !self.under_way.is_empty() {
                break;
            }
            let lowest = self.under_way.front().copied().unwrap_or(record.seq);
            let floor = lowest.max(first_kept).min(record.seq);
            let payload = batch::finish(&record.payload, self.epoch, record.seq, floor, Timestamp::now())
                .with_context(|| format!("batch {}", record.seq))?;
            self.client
                .try_publish(self.uplink.topic("batch"), QoS::AtLeastOnce, false, payload)?;
            if self.under_way.is_empty() {
                self.progress_at = Instant::now();
            }
            self.under_way.push_back(record.seq);
            self.sent = record.seq;
            let mut shown = self.uplink.shown.lock();
            shown.sent_batches += 1;
            shown.under_way = self.under_way.len() as u64;
        }
        Ok(())
    }

    fn watch_silence(&mut self) -> anyhow::Result<()> {
        let silent = self.progress_at.elapsed();
        if self.under_way.is_empty() || silent < ASK_AGAIN {
            return Ok(());
        }
        anyhow::ensure!(
            silent < GIVE_UP,
            "nothing was committed for {} s",
            silent.as_secs()
        );
        if silent.as_secs().is_multiple_of(ASK_AGAIN.as_secs()) {
            tracing::warn!(
                silent_s = silent.as_secs(),
                under_way = self.under_way.len(),
                "nothing was committed for a while, asking again"
            );
            self.subscribe()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_random_and_bounded() {
        for attempts in [0, 1, 5, 40, i32::MAX] {
            assert_eq!(pause(attempts, false, 60.0, 0.0), Duration::ZERO);
            assert!(pause(attempts, false, 60.0, 1.0) <= Duration::from_secs(60));
        }
        assert_eq!(pause(0, false, 60.0, 1.0), Duration::from_millis(500));
        assert_eq!(pause(3, false, 60.0, 1.0), Duration::from_secs(4));
        assert!(pause(0, true, 60.0, 0.0) >= Duration::from_secs(30));
    }
}

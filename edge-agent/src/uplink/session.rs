//! One connection.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Context;
use models::time::Timestamp;
use models::wire::{Committed, Refusal};
use rumqttc::mqttbytes::v4::{Packet, PubAck, Publish};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Uplink;
use super::lanes::{Ahead, Lanes};
use super::pace::{self, Pace};
use crate::batch;
use crate::mqtt::Link;
use crate::spool::Record;

/// How long to wait for the receiver's watermark before sending without it.
const FIRST_WATERMARK: Duration = Duration::from_secs(2);
const ASK_AGAIN: Duration = Duration::from_secs(30);
const GIVE_UP: Duration = Duration::from_secs(300);
/// Above this nothing more is queued until some of it is written.
const MOST_QUEUED: usize = 4 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    Live,
    Backlog,
    State,
}

/// Published, no PUBACK yet.
struct Unanswered {
    id: u16,
    lane: Lane,
    at: Instant,
}

pub struct Session<'a> {
    uplink: &'a Uplink,
    link: Link,
    epoch: u64,
    lanes: Lanes,
    pace: Pace,
    unanswered: VecDeque<Unanswered>,
    /// Brought forward by the first watermark; `None` once sending has begun.
    begin_at: Option<Instant>,
    progress_at: Instant,
    asked_at: Instant,
    progress: bool,
}

impl<'a> Session<'a> {
    pub fn new(uplink: &'a Uplink, link: Link, ahead: Ahead) -> Self {
        let settings = &uplink.settings;
        Self {
            uplink,
            link,
            epoch: uplink.store.epoch(),
            lanes: Lanes::new(uplink.store.watermark(), ahead),
            pace: Pace::new(settings.window, settings.backlog_per_s),
            unanswered: VecDeque::new(),
            begin_at: Some(Instant::now() + FIRST_WATERMARK),
            progress_at: Instant::now(),
            asked_at: Instant::now(),
            progress: false,
        }
    }

    /// Whether anything was committed.
    pub fn progress(&self) -> bool {
        self.progress
    }

    pub fn into_ahead(self) -> Ahead {
        self.lanes.ahead
    }

    /// Until `stop` is cancelled.
    ///
    /// # Errors
    /// Why the connection is lost.
    pub async fn run(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        self.subscribe()?;
        self.say_state(true)?;
        {
            let mut shown = self.uplink.shown.lock();
            shown.connected = true;
            shown.since = Some(Timestamp::now());
            tracing::info!(
                url = self.uplink.settings.url,
                epoch = self.epoch,
                committed = self.uplink.store.watermark(),
                "connected"
            );
        }
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            if self.begin_at.is_some_and(|at| at <= Instant::now()) {
                self.begin_at = None;
                self.lanes
                    .split(self.uplink.store.newest(), self.uplink.settings.window.into());
            }
            let sending = self.begin_at.is_none();
            if sending {
                self.send().await?;
            }
            let wake = self.begin_at.or_else(|| self.pace.wait_until(Instant::now()));
            tokio::select! {
                packet = self.link.next() => self.handle(packet?).await?,
                () = self.uplink.store.appended(), if sending => {}
                () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
                () = self.uplink.remote.changed() => self.say_state(true)?,
                _ = tick.tick() => self.watch_silence()?,
                () = stop.cancelled() => break,
            }
        }
        let farewell = async {
            self.say_state(false)?;
            self.link.queue(&Packet::Disconnect)?;
            self.link.flush().await
        };
        if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(2), farewell).await {
            tracing::debug!(error = format!("{error:#}"), "no farewell");
        }
        Ok(())
    }

    fn say_state(&mut self, online: bool) -> anyhow::Result<()> {
        let payload = self.uplink.state(online, Some(Timestamp::now()));
        self.publish(Lane::State, self.uplink.topic("state"), true, payload)
    }

    fn publish(&mut self, lane: Lane, topic: String, retain: bool, payload: Vec<u8>) -> anyhow::Result<()> {
        let id = self.link.publish(topic, retain, payload)?;
        self.unanswered.push_back(Unanswered {
            id,
            lane,
            at: Instant::now(),
        });
        Ok(())
    }

    fn subscribe(&mut self) -> anyhow::Result<()> {
        let mut kinds = vec!["committed", "error"];
        if self.uplink.remote.is_enabled() {
            kinds.push("command");
        }
        self.link
            .subscribe(kinds.into_iter().map(|kind| self.uplink.topic(kind)))
    }

    async fn handle(&mut self, packet: Packet) -> anyhow::Result<()> {
        match packet {
            Packet::PubAck(ack) => self.answered(ack.pkid),
            Packet::Publish(publish) => {
                self.message(&publish).await?;
                if publish.pkid != 0 {
                    self.link.queue(&Packet::PubAck(PubAck::new(publish.pkid)))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn answered(&mut self, id: u16) {
        // A broker may answer out of order.
        let Some(at) = self.unanswered.iter().position(|publish| publish.id == id) else {
            return;
        };
        let Some(publish) = self.unanswered.remove(at) else {
            return;
        };
        match publish.lane {
            Lane::Backlog => self.pace.answered(publish.at.elapsed()),
            // A PUBACK of the state proves that the receiver takes what we publish.
            Lane::State => self.uplink.remote.link_is_back(),
            Lane::Live => {}
        }
    }

    async fn message(&mut self, publish: &Publish) -> anyhow::Result<()> {
        let is = |kind| publish.topic == self.uplink.topic(kind);
        if is("committed") {
            match serde_json::from_slice::<Committed>(&publish.payload) {
                Ok(committed) => self.committed(committed).await?,
                Err(error) => tracing::warn!(%error, "can't read `committed`"),
            }
        } else if is("error") {
            self.refusal(&publish.payload);
        } else if is("command") {
            self.uplink.remote.command(&publish.payload);
        }
        Ok(())
    }

    fn refusal(&mut self, payload: &[u8]) {
        let message: serde_json::Value = match serde_json::from_slice(payload) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(%error, "can't read `error`");
                return;
            }
        };
        if let Some((pause, why)) = pace::patience(&message, Timestamp::now()) {
            self.pace.slow_down(pause, Instant::now());
            let mut shown = self.uplink.shown.lock();
            shown.slow_until = Some(Timestamp::now().plus_seconds(pause.as_secs_f64()));
            shown.slow_reason = Some(why.clone());
            tracing::warn!(
                why,
                pause_s = pause.as_secs_f64(),
                "the receiver asks for patience"
            );
            return;
        }
        if message["reason"] == "replayed" {
            tracing::info!(detail = %message["detail"], "something refused before is stored now");
            return;
        }
        self.uplink.shown.lock().refusals += 1;
        match serde_json::from_value::<Refusal>(message) {
            Ok(refusal) => tracing::error!(
                reason = refusal.reason,
                detail = refusal.detail,
                topic = refusal.topic,
                "the receiver refused something this gateway sent"
            ),
            Err(error) => tracing::warn!(%error, "can't read `error`"),
        }
    }

    async fn committed(&mut self, committed: Committed) -> anyhow::Result<()> {
        if let Some(at) = &mut self.begin_at {
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
            self.lanes.committed(committed.seq);
            self.uplink.shown.lock().committed_at = Some(Timestamp::now());
            self.show();
        }
        Ok(())
    }

    fn show(&self) {
        let mut shown = self.uplink.shown.lock();
        shown.under_way = self.lanes.under_way() as u64;
        shown.backlog = self.lanes.is_split();
        if shown.slow_until.is_some_and(|until| until < Timestamp::now()) {
            shown.slow_until = None;
            shown.slow_reason = None;
        }
    }

    /// Fills the windows, live first.
    async fn send(&mut self) -> anyhow::Result<()> {
        if self.pace.is_held(Instant::now()) {
            return Ok(());
        }
        let window = usize::from(self.uplink.settings.window);
        while self.link.queued_bytes() < MOST_QUEUED
            && self.unanswered(Lane::Live) < window
            && let Some(after) = self.lanes.live_after()
            && let Some(record) = self.read(after, 1).await?.pop()
            && let Some(floor) = self.lanes.send_live(record.seq)
        {
            self.send_batch(Lane::Live, &record, floor)?;
        }
        let window = if self.lanes.is_split() {
            self.pace.window()
        } else {
            window
        };
        let free = window.saturating_sub(self.lanes.under_way());
        if free == 0 || self.link.queued_bytes() >= MOST_QUEUED {
            return Ok(());
        }
        if self.pace.wait_until(Instant::now()).is_some() {
            return Ok(());
        }
        for record in self.read(self.lanes.backlog_after(), free).await? {
            let first_kept = self.uplink.store.first_seq();
            let idle = self.lanes.under_way() == 0;
            let was_split = self.lanes.is_split();
            if was_split && self.pace.wait_until(Instant::now()).is_some() {
                break;
            }
            let Some(floor) = self.lanes.send_backlog(record.seq, first_kept) else {
                break;
            };
            if idle {
                self.progress_at = Instant::now();
            }
            if was_split {
                self.pace.sent(Instant::now());
            }
            self.send_batch(Lane::Backlog, &record, floor)?;
            if was_split != self.lanes.is_split() {
                // The lanes have merged: what was read is not what comes next.
                break;
            }
        }
        Ok(())
    }

    fn unanswered(&self, lane: Lane) -> usize {
        self.unanswered
            .iter()
            .filter(|publish| publish.lane == lane)
            .count()
    }

    async fn read(&self, after: u64, max: usize) -> anyhow::Result<Vec<Record>> {
        self.uplink.store.read(after, max).await
    }

    fn send_batch(&mut self, lane: Lane, record: &Record, floor: u64) -> anyhow::Result<()> {
        let payload = batch::finish(&record.payload, self.epoch, record.seq, floor, Timestamp::now())
            .with_context(|| format!("batch {}", record.seq))?;
        self.publish(lane, self.uplink.topic("batch"), false, payload)?;
        self.uplink.shown.lock().sent_batches += 1;
        self.show();
        Ok(())
    }

    fn watch_silence(&mut self) -> anyhow::Result<()> {
        self.show();
        let silent = self.progress_at.elapsed();
        if self.lanes.under_way() == 0 || silent < ASK_AGAIN {
            return Ok(());
        }
        anyhow::ensure!(
            silent < GIVE_UP,
            "nothing was committed for {} s",
            silent.as_secs()
        );
        if self.asked_at.elapsed() >= ASK_AGAIN {
            self.asked_at = Instant::now();
            tracing::warn!(
                silent_s = silent.as_secs(),
                under_way = self.lanes.under_way(),
                "nothing was committed for a while, asking again"
            );
            self.subscribe()?;
        }
        Ok(())
    }
}

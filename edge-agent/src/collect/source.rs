//! Collectors that follow something outside: a PLC, a broker, a device file, whoever pushes.
//!
//! A [`Source`] knows how to connect and to deliver; everything else is done here for all of them:
//! reconnecting with full jitter, what the status shows, the report rules, and back-pressure. A session
//! that ends with an error is tried again for ever; a point that can't be read is a *fault* of that
//! point and holds up nothing else.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::Rng;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shown;
use super::report::Filter;
use crate::batch::{Chunk, Kept, Reading};

/// Longest pause between two attempts.
const RETRY_MAX_S: f64 = 30.0;
/// A session that lasted this long was a good one: the next attempt comes soon.
const GOOD_SESSION: Duration = Duration::from_secs(30);
/// Faults that the status lists by name.
const MOST_FAULTS: usize = 50;

/// Something that delivers readings as long as it is there.
pub trait Source: Send + 'static {
    /// Connects, and delivers into `feed` until the source is gone. Dropped when the agent stops.
    ///
    /// # Errors
    /// Why it can't be reached, or not any more. `Ok` means that it has ended for good.
    fn session<'a>(&'a mut self, feed: &'a Feed) -> BoxFuture<'a, anyhow::Result<()>>;

    /// Channels that must show up for a check to be complete, when that is known.
    fn expects(&self) -> Option<usize> {
        None
    }
}

/// Where a source puts what it reads. Clones share everything.
#[derive(Clone)]
pub struct Feed {
    name: Arc<str>,
    chunks: mpsc::Sender<Chunk>,
    shown: Arc<Mutex<Shown>>,
    filter: Arc<Mutex<Filter>>,
}

impl Feed {
    pub fn new(
        name: Arc<str>,
        chunks: mpsc::Sender<Chunk>,
        shown: Arc<Mutex<Shown>>,
        filter: Filter,
    ) -> Self {
        Self {
            name,
            chunks,
            shown,
            filter: Arc::new(Mutex::new(filter)),
        }
    }

    /// Hands readings over. Waits while the spool is full.
    ///
    /// # Errors
    /// When the agent is stopping.
    pub async fn send(&self, readings: Vec<Reading>) -> anyhow::Result<()> {
        self.pass(readings, None, None).await
    }

    /// As [`Feed::send`], with how far the source is, for `open` after a restart.
    ///
    /// # Errors
    /// As there.
    pub async fn send_with_progress(&self, readings: Vec<Reading>, resume: Vec<u8>) -> anyhow::Result<()> {
        self.pass(readings, Some(resume), None).await
    }

    /// Hands readings over and returns when they are safe on the disk.
    ///
    /// # Errors
    /// When the agent stops before that.
    pub async fn keep(&self, readings: Vec<Reading>) -> anyhow::Result<()> {
        let (kept, safe) = oneshot::channel();
        self.pass(readings, None, Some(kept)).await?;
        safe.await
            .map_err(|_| anyhow::anyhow!("the agent stops before the readings are on the disk"))
    }

    async fn pass(
        &self,
        mut readings: Vec<Reading>,
        resume: Option<Vec<u8>>,
        kept: Option<Kept>,
    ) -> anyhow::Result<()> {
        self.filter.lock().retain(&mut readings);
        if readings.is_empty() && resume.is_none() {
            // All of it repeats what is on the disk already.
            if let Some(kept) = kept {
                let _ = kept.send(());
            }
            return Ok(());
        }
        let (count, newest) = (
            readings.len() as u64,
            readings.iter().map(|reading| reading.ts).max(),
        );
        let chunk = Chunk {
            collector: Arc::clone(&self.name),
            readings,
            events: Vec::new(),
            resume,
            kept,
        };
        self.chunks
            .send(chunk)
            .await
            .map_err(|_| anyhow::anyhow!("nobody takes readings any more"))?;
        let mut shown = self.shown.lock();
        shown.produced += count;
        shown.newest = shown.newest.max(newest);
        Ok(())
    }

    /// The source is there. `text` says what it is, such as an address.
    pub fn connected(&self, text: &str) {
        let mut shown = self.shown.lock();
        if shown.state.as_deref() != Some(text) {
            tracing::info!(collector = %self.name, "{text}");
        }
        shown.state = Some(text.to_owned());
        shown.error = None;
    }

    /// A point can't be read; `message` says why and what helps.
    pub fn fault(&self, point: &str, message: &str) {
        let mut shown = self.shown.lock();
        if shown.faults.get(point).is_some_and(|known| known == message) {
            return;
        }
        tracing::warn!(collector = %self.name, point, message, "can't be read");
        if shown.faults.len() < MOST_FAULTS || shown.faults.contains_key(point) {
            shown.faults.insert(point.to_owned(), message.to_owned());
        }
    }

    /// A point can be read again.
    pub fn cleared(&self, point: &str) {
        if self.shown.lock().faults.remove(point).is_some() {
            tracing::info!(collector = %self.name, point, "can be read again");
        }
    }

    /// Something unreadable came from outside and was left out; counted, and the last one is shown.
    pub fn rejected(&self, message: &str) {
        let mut shown = self.shown.lock();
        if shown.last_rejected.as_deref() != Some(message) {
            tracing::warn!(collector = %self.name, message, "left out");
        }
        shown.rejected += 1;
        shown.last_rejected = Some(message.to_owned());
    }

    fn lost(&self, error: &str) {
        let mut shown = self.shown.lock();
        if shown.error.as_deref() != Some(error) {
            tracing::warn!(collector = %self.name, error, "source can't be reached, trying again");
        }
        shown.state = None;
        shown.error = Some(error.to_owned());
    }
}

/// Drives a source until `stop` is cancelled.
///
/// # Errors
/// Never: what goes wrong is shown and tried again.
pub async fn run(mut source: Box<dyn Source>, feed: Feed, stop: CancellationToken) -> anyhow::Result<()> {
    let mut attempts = 0_i32;
    while !stop.is_cancelled() {
        let begun = Instant::now();
        let Some(ended) = stop.run_until_cancelled(source.session(&feed)).await else {
            break;
        };
        if stop.is_cancelled() {
            break;
        }
        match ended {
            Ok(()) => {
                tracing::info!(collector = %feed.name, "has no more readings");
                feed.shown.lock().ended = true;
                stop.cancelled().await;
            }
            Err(error) => {
                feed.lost(&format!("{error:#}"));
                attempts = if begun.elapsed() >= GOOD_SESSION {
                    0
                } else {
                    attempts.saturating_add(1)
                };
                let pause = crate::uplink::pause(attempts, false, RETRY_MAX_S, rand::rng().random());
                let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
            }
        }
    }
    Ok(())
}

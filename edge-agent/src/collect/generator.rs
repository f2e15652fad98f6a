//! Collectors that make their readings themselves, from a seed or a file, and can say at any moment
//! how far they are. That state travels with the readings into the spool (see [`crate::batch`]), so
//! after a crash a generator goes on exactly where the spool ends: it produces nothing twice with
//! another value, skips nothing, and `produced` can be compared with what is stored.

use std::sync::Arc;
use std::time::Duration;

use models::time::Timestamp;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Shown;
use super::report::Filter;
use crate::batch::{Chunk, Reading};

/// Readings that a chunk should not exceed by much.
pub const CHUNK_READINGS: usize = 500;

/// What a generator says after a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// More is due now.
    Now,
    At(Timestamp),
    /// Never again.
    End,
}

/// Makes readings up to a moment.
pub trait Generator: Send {
    /// Appends what is due at `now`, about [`CHUNK_READINGS`] at most.
    fn produce(&mut self, now: Timestamp, out: &mut Vec<Reading>) -> Next;
    /// How far it is, for `open`.
    fn resume(&self) -> Vec<u8>;
    /// Readings since the very first start.
    fn produced(&self) -> u64;
}

/// Drives a generator until it ends or `stop` is cancelled. A full channel makes it wait.
///
/// # Errors
/// When nobody receives any more.
pub async fn run(
    name: Arc<str>,
    mut generator: Box<dyn Generator>,
    chunks: mpsc::Sender<Chunk>,
    shown: Arc<Mutex<Shown>>,
    mut filter: Filter,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    while !stop.is_cancelled() {
        let mut readings = Vec::new();
        let next = generator.produce(Timestamp::now(), &mut readings);
        if !readings.is_empty() {
            filter.retain(&mut readings);
            let newest = readings.iter().map(|reading| reading.ts).max();
            let resume = Some(generator.resume());
            let chunk = Chunk {
                collector: Arc::clone(&name),
                readings,
                events: Vec::new(),
                resume,
                kept: None,
            };
            tokio::select! {
                sent = chunks.send(chunk) => sent.map_err(|_| anyhow::anyhow!("nobody takes readings any more"))?,
                () = stop.cancelled() => return Ok(()),
            }
            let mut shown = shown.lock();
            shown.produced = generator.produced();
            shown.newest = shown.newest.max(newest);
        }
        match next {
            Next::Now => tokio::task::yield_now().await,
            Next::At(at) => {
                // Not all the way at once: the machine may sleep, or its clock be set.
                let wait = at.seconds_since(Timestamp::now()).clamp(0.0, 60.0);
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs_f64(wait)) => {}
                    () = stop.cancelled() => {}
                }
            }
            Next::End => {
                tracing::info!(collector = %name, produced = generator.produced(), "has no more readings");
                shown.lock().ended = true;
                stop.cancelled().await;
            }
        }
    }
    Ok(())
}

//! One pass over one asset: load, compute, write.
//!
//! [`load`] reads the asset and its window, [`compute`] is a pure function of what was read and runs
//! on a blocking thread, [`write`] stores everything that follows in one transaction. The same window
//! by the same model gives the same bits, whoever computes it and when; a pass that is repeated
//! replaces its own row.
//!
//! `window_end` is the event time of the newest reading, not the clock: an asset that stopped talking
//! keeps its last assessment while its freshness tells its age, and a history that is replayed is
//! assessed in its own time.
//!
//! Where much history came at once (an import, a gateway that was away), the windows between are
//! assessed after the newest one, a few dozen at most, so that people see how it came to this. They
//! raise no alarms: what they would tell is over.

mod batch;
mod cache;
mod compute;
mod late;
mod load;
mod recompute;
mod write;

use models::assessment::Assessment;
use models::id::AssetId;
use models::time::Timestamp;
use sqlx::PgPool;
use uuid::Uuid;

pub use batch::pass_many;
pub use cache::Memory;
pub use compute::{Outcome, compute, compute_many};
pub use load::{ClassFacts, Inputs, Model, load};
pub use recompute::{Recomputed, recompute};
pub use write::write;

use crate::config::Config;

/// The code that computed a row; with the model version and the window it can be computed again.
pub const CODE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why a pass ended without a fault and without an assessment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    NoReadings,
    /// Another worker has the asset by now; nothing was written.
    LostLease,
}

/// How a pass ended that had no fault.
pub type Passed = Result<Assessment, Skipped>;

/// Assesses one asset as of `now` (readings after it are not seen) and stores the result.
///
/// # Errors
/// When the asset doesn't exist, the database fails or the computation does.
pub async fn assess_once(
    pool: &PgPool,
    asset: AssetId,
    now: Timestamp,
    config: &Config,
) -> anyhow::Result<Passed> {
    pass(pool, &Memory::new(0), asset, now, config, None).await
}

/// As [`assess_once`], for a worker that holds the asset's claim: it is given back in the same
/// transaction.
///
/// # Errors
/// As [`assess_once`].
pub async fn pass(
    pool: &PgPool,
    memory: &Memory,
    asset: AssetId,
    now: Timestamp,
    config: &Config,
    worker: Option<Uuid>,
) -> anyhow::Result<Passed> {
    let inputs = {
        let mut connection = pool.acquire().await?;
        load(&mut connection, memory, asset, now, config).await?
    };
    let outcome = match inputs {
        Some(inputs) => Some(tokio::task::spawn_blocking(move || compute(inputs)).await??),
        None => None,
    };
    let gap = outcome.as_ref().and_then(Outcome::gap);
    let mut transaction = pool.begin().await?;
    let assessment = match outcome {
        Some(outcome) => Ok(write(&mut transaction, outcome, config).await?),
        None => Err(Skipped::NoReadings),
    };
    if let Some(worker) = worker
        && !models::db::assessment::finish_claim(&mut transaction, asset, worker, now).await?
    {
        transaction.rollback().await?;
        return Ok(Err(Skipped::LostLease));
    }
    transaction.commit().await?;
    if let Some((from, to)) = gap {
        fill(pool, asset, from, to, config).await?;
    }
    Ok(assessment)
}

/// A note that belongs to the pass that tried to learn, and to no other.
fn about_learning(note: &str) -> bool {
    note.starts_with("no baseline") || note.starts_with("cold start")
}

/// Hours between two windows of the past, and the length of a gap that is filled.
const FILL_EVERY_H: f64 = 6.0;

/// Windows of the past between two moments that are worth an assessment, with the newest.
fn points(from: Timestamp, to: Timestamp, config: &Config) -> usize {
    let hours = to.seconds_since(from) / 3600.0;
    ((hours / FILL_EVERY_H) as usize).min(config.fill_points)
}

/// Assesses windows between two moments.
async fn fill(
    pool: &PgPool,
    asset: AssetId,
    from: Timestamp,
    to: Timestamp,
    config: &Config,
) -> anyhow::Result<()> {
    let seconds = to.seconds_since(from);
    let points = points(from, to, config);
    let memory = Memory::new(0);
    for point in 1..points {
        let at = from.plus_seconds(seconds * point as f64 / points as f64);
        let mut connection = pool.acquire().await?;
        let Some(inputs) = load(&mut connection, &memory, asset, at, config).await? else {
            continue;
        };
        if inputs.window.end <= from || !matches!(inputs.model, Model::Stored(..)) {
            continue;
        }
        drop(connection);
        let outcome = tokio::task::spawn_blocking(move || compute(inputs)).await??;
        let mut transaction = pool.begin().await?;
        write::store(&mut transaction, &outcome, config).await?;
        transaction.commit().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

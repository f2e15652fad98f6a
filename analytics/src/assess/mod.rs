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

mod compute;
mod load;
mod write;

use models::assessment::Assessment;
use models::id::AssetId;
use models::time::Timestamp;
use sqlx::PgPool;
use uuid::Uuid;

pub use compute::{Outcome, compute};
pub use load::{Inputs, Model, load};
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

/// Assesses one asset as of `now` (readings after it are not seen) and stores the result.
///
/// # Errors
/// When the asset doesn't exist, the database fails or the computation does.
pub async fn assess_once(
    pool: &PgPool,
    asset: AssetId,
    now: Timestamp,
    config: &Config,
) -> anyhow::Result<Result<Assessment, Skipped>> {
    pass(pool, asset, now, config, None).await
}

/// As [`assess_once`], for a worker that holds the asset's claim: it is given back in the same
/// transaction.
///
/// # Errors
/// As [`assess_once`].
pub async fn pass(
    pool: &PgPool,
    asset: AssetId,
    now: Timestamp,
    config: &Config,
    worker: Option<Uuid>,
) -> anyhow::Result<Result<Assessment, Skipped>> {
    let inputs = {
        let mut connection = pool.acquire().await?;
        load(&mut connection, asset, now, config).await?
    };
    let mut gap = None;
    let outcome = match inputs {
        Some(inputs) => Some(tokio::task::spawn_blocking(move || compute(inputs)).await??),
        None => None,
    };
    if let Some(outcome) = &outcome {
        let from = match (&outcome.learned, outcome.previous) {
            (_, Some(previous)) => Some(previous.window_end),
            (Some((_, card)), None) => Some(card.data_to),
            (None, None) => None,
        };
        gap = from.map(|from| (from, outcome.assessment.window_end));
    }
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

/// Hours between two windows of the past, and the length of a gap that is filled.
const FILL_EVERY_H: f64 = 6.0;

/// Assesses windows between two moments.
async fn fill(
    pool: &PgPool,
    asset: AssetId,
    from: Timestamp,
    to: Timestamp,
    config: &Config,
) -> anyhow::Result<()> {
    let hours = to.seconds_since(from) / 3600.0;
    let points = ((hours / FILL_EVERY_H) as usize).min(config.fill_points);
    for point in 1..points {
        let at = from.plus_seconds(hours * 3600.0 * point as f64 / points as f64);
        let mut connection = pool.acquire().await?;
        let Some(inputs) = load(&mut connection, asset, at, config).await? else {
            continue;
        };
        if inputs.window.end <= from || !matches!(inputs.model, Model::Stored(..)) {
            continue;
        }
        drop(connection);
        let outcome = tokio::task::spawn_blocking(move || compute(inputs)).await??;
        let mut transaction = pool.begin().await?;
        write::store(&mut transaction, &outcome.assessment, &outcome.features, config).await?;
        transaction.commit().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

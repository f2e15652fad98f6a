//! Training and looks at drift by the calendar.
//!
//! One process of many does it: whoever holds the advisory lock. A class is due when its newest version
//! is older than `train_every_days`, or, without one, when failures were reported at all.

use std::time::Duration;

use models::db::assessment as db;
use models::time::Timestamp;
use sqlx::{Connection, PgPool};
use tokio_util::sync::CancellationToken;

use super::{MODELS, drift, train};
use crate::config::Config;

const EVERY: Duration = Duration::from_secs(900);

/// Trains classes that are due and looks at drift until told to stop.
///
/// # Errors
/// Never: a round that fails is logged and the next one tries again.
pub async fn run(config: Config, pool: PgPool, shutdown: CancellationToken) -> anyhow::Result<()> {
    // Not at once: a service that starts has assets to assess first.
    let start = tokio::time::Instant::now() + EVERY / 5;
    let mut every = tokio::time::interval_at(start, EVERY);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = every.tick() => {}
        }
        let round = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            round = round(&config, &pool, Timestamp::now()) => round,
        };
        if let Err(error) = round {
            tracing::warn!(
                error = format!("{error:#}"),
                "training failed, next try in a quarter of an hour"
            );
        }
    }
}

/// One look at what is due. Returns how many classes were trained.
///
/// # Errors
/// When the database does.
pub async fn round(config: &Config, pool: &PgPool, now: Timestamp) -> anyhow::Result<usize> {
    // A connection of its own: the lock must not go back to the pool with it.
    let mut guard = pool.acquire().await?.detach();
    let trained = if db::lock_training(&mut guard).await? {
        locked(config, pool, now).await
    } else {
        Ok(0)
    };
    guard.close().await?;
    trained
}

async fn locked(config: &Config, pool: &PgPool, now: Timestamp) -> anyhow::Result<usize> {
    let days = |since: Timestamp| now.seconds_since(since) / 86_400.0;
    let classes = db::trainable_classes(&mut *pool.acquire().await?, &MODELS).await?;
    let mut trained = 0;
    for class in &classes {
        let due = match class.trained_at {
            Some(at) => days(at) >= config.train_every_days,
            None => class.failures >= train::LEAST_FAILURES as i64,
        };
        if due {
            let args = train::Args {
                days: config.train_days,
                promote: config.promote,
            };
            for one in train::class(pool, class, args, now).await? {
                tracing::info!(class = one.class, model = one.name, outcome = one.outcome, why = ?one.why, "trained");
            }
            trained += 1;
        }
        if class
            .looked_at
            .is_none_or(|at| days(at) >= config.drift_every_days)
            && let Some(look) = drift::class(pool, class, 7.0, now).await?
            && look.retrain
        {
            tracing::warn!(class = look.class, reasons = ?look.reasons, "a model should be trained again");
        }
    }
    Ok(trained)
}

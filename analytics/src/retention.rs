//! Retention: what nobody needs in every detail any more. Assessments and features are thinned;
//! readings and rollups go by the tenants' policies, the same way on every edition of TimescaleDB;
//! where the edition can, old chunks of readings are compressed.

use std::time::Duration;

use models::db::history::retention::{self, Keep, Removed};
use models::time::Timestamp;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Retention};

const EVERY: Duration = Duration::from_secs(3600);

fn keep(config: &Retention) -> Keep {
    let days = |days: u16| (days > 0).then_some(i32::from(days));
    Keep {
        raw_days: days(config.raw_days),
        minute_days: days(config.minute_days),
        hour_days: days(config.hour_days),
    }
}

/// Removes readings and rollups by policy, then compresses.
///
/// # Errors
/// When the database does; what was done before stays done.
pub async fn readings(pool: &PgPool, config: &Retention, now: Timestamp) -> Result<Removed, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let mut removed = retention::remove(&mut connection, now, keep(config)).await?;
    if config.compress_after_days > 0 {
        let before = now.plus_seconds(-f64::from(config.compress_after_days) * 86_400.0);
        removed.compressed = retention::compress(&mut connection, before).await?;
    }
    Ok(removed)
}

/// Once an hour: thins old assessments and features, removes readings by policy.
///
/// # Errors
/// Never: a round that fails is logged and the next one tries again.
pub async fn run(config: Config, pool: PgPool, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut every = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = every.tick() => {}
        }
        let now = Timestamp::now();
        let before = now.plus_seconds(-config.keep_all_days * 86_400.0);
        let until = now.plus_seconds(-config.keep_days * 86_400.0);
        let thinned =
            async { models::db::assessment::thin(&mut *pool.acquire().await?, before, until).await };
        match thinned.await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "thinned assessments and features"),
            Err(error) => tracing::warn!(%error, "retention failed, next try in an hour"),
        }
        match readings(&pool, &config.retention, now).await {
            Ok(removed) if removed == Removed::default() => {}
            Ok(Removed {
                chunks,
                readings,
                minutes,
                compressed,
            }) => tracing::info!(
                chunks,
                readings,
                minutes,
                compressed,
                "removed and compressed readings"
            ),
            Err(error) => tracing::warn!(%error, "retention of readings failed, next try in an hour"),
        }
    }
}

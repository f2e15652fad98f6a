//! Retention: what analytics wrote itself and nobody needs in every detail any more. Readings are not
//! its to delete; their chunks go by the database's policies.

use std::time::Duration;

use models::time::Timestamp;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

const EVERY: Duration = Duration::from_secs(3600);

/// Thins old assessments and features once an hour.
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
    }
}

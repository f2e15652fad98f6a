//! The rollups' refresher: declares hours over, and makes anew what was marked. Several processes may
//! run it at once; a mark that nobody has worked off yet costs a query some time and never the truth.

use std::time::Duration;

use models::db::history::late;
use models::db::history::rollup::{self, Budget, Refreshed};
use models::time::Timestamp;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// Moves the frontier and refreshes until `shutdown`.
///
/// # Errors
/// Never: a round that fails is logged and the next one tries again.
pub async fn run(config: Config, pool: PgPool, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut every = tokio::time::interval(Duration::from_secs_f64(config.rollup_every_s));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = every.tick() => {}
        }
        let upto = Timestamp::now().plus_seconds(-config.rollup_delay_s);
        let round = async {
            let mut connection = pool.acquire().await?;
            if rollup::advance(&mut connection, upto).await? {
                tracing::debug!(%upto, "the frontier of the rollups moved");
            }
            let mut sum = Refreshed::default();
            loop {
                let done = rollup::refresh_some(&mut connection, Budget::default()).await?;
                sum.channels += done.channels;
                sum.readings += done.readings;
                if done.channels == 0 || shutdown.is_cancelled() {
                    break;
                }
            }
            late::prune(&mut connection).await?;
            let backlog = rollup::backlog(&mut connection).await?;
            metrics::gauge!("forewarn_analytics_rollup_ranges_waiting").set(backlog.ranges as f64);
            metrics::gauge!("forewarn_analytics_rollup_oldest_mark_seconds").set(backlog.oldest_s);
            Ok::<_, sqlx::Error>(sum)
        };
        match round.await {
            Ok(sum) if sum.channels > 0 => {
                metrics::counter!("forewarn_analytics_rollup_readings_total")
                    .increment(u64::try_from(sum.readings).unwrap_or(0));
                tracing::debug!(
                    channels = sum.channels,
                    readings = sum.readings,
                    "refreshed rollups"
                );
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "rollups could not be refreshed, next try soon"),
        }
    }
}

//! From readings to what they mean: features, detection, health, prognosis, advice, and the work that
//! follows. Reads the hypertables, writes assessments, alarms, predictions, and by `dispatch` tickets.
//!
//! The path of one pass is in [`assess`]; who is assessed when in [`schedule`].

pub mod advise;
pub mod alarms;
pub mod assess;
pub mod backtest;
pub mod bench;
pub mod boost;
pub mod config;
pub mod detect;
pub mod dispatch;
pub mod features;
pub mod health;
pub mod learn;
pub mod meter;
mod metrics;
pub mod picture;
pub mod predict;
pub mod prognosis;
#[cfg(test)]
mod public_data;
pub mod reliability;
pub mod report;
pub mod retention;
pub mod rollup;
pub mod schedule;
pub mod stats;
#[cfg(test)]
pub(crate) mod testing;
pub mod window;

use std::sync::Arc;
use std::time::Duration;

use models::service::supervisor::Supervisor;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use assess::assess_once;
pub use config::Config;

/// Longest wait for passes that have begun when the service is told to stop.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Runs the service until `shutdown`.
///
/// # Errors
/// When the configuration can't work, or a task ends before it is told to.
pub async fn run(config: Config, pool: PgPool, shutdown: CancellationToken) -> anyhow::Result<()> {
    config.check()?;
    let mut supervisor = Supervisor::new(shutdown.clone());
    let woken = Arc::new(Notify::new());
    supervisor.spawn(
        "assess",
        schedule::run(config.clone(), pool.clone(), shutdown.clone()),
    );
    supervisor.spawn(
        "wake",
        schedule::listen(pool.clone(), woken.clone(), shutdown.clone()),
    );
    let every = Duration::from_secs_f64(config.meter_every_s);
    supervisor.spawn("meter", meter::run(pool.clone(), every, shutdown.clone()));
    let every = Duration::from_secs_f64(config.dispatch_every_s);
    supervisor.spawn(
        "dispatch",
        dispatch::run_with(pool.clone(), config.dispatch.clone(), every, shutdown.clone()),
    );
    supervisor.spawn(
        "rollup",
        rollup::run(config.clone(), pool.clone(), shutdown.clone()),
    );
    supervisor.spawn(
        "train",
        learn::schedule::run(config.clone(), pool.clone(), shutdown.clone()),
    );
    supervisor.spawn("retention", retention::run(config, pool, shutdown));
    supervisor.run(STOP_WITHIN).await
}

//! The schedule: which asset is assessed when, and by whom.
//!
//! Several processes share the work: a claim is a lease in the database, taken with SKIP LOCKED, so
//! that no two assess the same asset, and one that dies loses it after a while. A pass that fails is
//! counted and tried again later and later; it never stops the others. An alarm wakes its asset at
//! once: the notification carries no data, it only makes us look into the outbox.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use models::db::assessment::{self as db, Claim, Pace};
use models::db::outbox;
use models::id::AssetId;
use models::time::Timestamp;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::assess::{self, Memory, Skipped};
use crate::config::Config;
use crate::metrics;

/// A pass takes a second at most; a process that needs longer than this is taken for dead.
const LEASE_S: f64 = 120.0;
/// Between two looks for due assets when nothing wakes us.
const TICK: Duration = Duration::from_millis(500);
/// Between two looks for assets that came or went.
const SYNC: Duration = Duration::from_secs(10);
/// Until the next look when events of others wait for an older transaction.
const HELD: Duration = Duration::from_millis(500);
/// First wait after a failed pass, doubled each time.
const BACK_OFF_S: f64 = 15.0;
/// Seconds until an asset without readings is looked at again; such a pass is one query.
const NO_READINGS_S: f64 = 10.0;
const MOST_BACK_OFF_S: f64 = 3600.0;

/// Claims and assesses due assets until told to stop.
///
/// # Errors
/// Never while the database is only away for a time: that is logged and tried again.
pub async fn run(config: Config, pool: PgPool, shutdown: CancellationToken) -> anyhow::Result<()> {
    let worker = Uuid::now_v7();
    let memory = Arc::new(Memory::new(config.cache_mib));
    // Tasks of their own: a batch also computes between its questions to the database, and another's answer must not
    // wait for that.
    let mut running = JoinSet::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut synced: Option<Instant> = None;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(done) = running.join_next() => ended(done),
            _ = tick.tick() => {}
        }
        if synced.is_none_or(|at| at.elapsed() >= SYNC) {
            match sync(&pool).await {
                Ok(()) => synced = Some(Instant::now()),
                Err(error) => tracing::warn!(error = format!("{error:#}"), "can't reach the schedule"),
            }
        }
        let free = config.workers.saturating_sub(running.len());
        if free == 0 {
            continue;
        }
        match claim(&pool, worker, free * config.batch, &config).await {
            Ok(mut claims) => {
                // Few assets still use every worker.
                let each = claims.len().div_ceil(free).clamp(1, config.batch);
                while !claims.is_empty() {
                    let some = claims.split_off(claims.len().saturating_sub(each));
                    running.spawn(batch(pool.clone(), memory.clone(), some, worker, config.clone()));
                }
            }
            Err(error) => tracing::warn!(error = format!("{error:#}"), "can't claim due assets"),
        }
    }
    // Passes that have begun are finished; their claims go back with them.
    while let Some(done) = running.join_next().await {
        ended(done);
    }
    Ok(())
}

/// A panic in a batch is one here, for the supervisor.
fn ended(done: Result<(), JoinError>) {
    if let Err(error) = done
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

async fn claim(pool: &PgPool, worker: Uuid, free: usize, config: &Config) -> anyhow::Result<Vec<Claim>> {
    let mut connection = pool.acquire().await?;
    let limit = i64::try_from(free).unwrap_or(1);
    Ok(db::claim_due(
        &mut connection,
        worker,
        Timestamp::now(),
        limit,
        Pace {
            interval_s: config.interval_s,
            passes_per_pf: config.passes_per_pf,
            most_s: config.most_interval_s,
        },
        LEASE_S,
    )
    .await?)
}

async fn sync(pool: &PgPool) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await?;
    let (come, gone) = db::sync_schedule(&mut connection).await?;
    if come + gone > 0 {
        tracing::info!(come, gone, "assets on the schedule changed");
    }
    let (overdue_s, assets, failing) = db::schedule_state(&mut connection, Timestamp::now()).await?;
    metrics::schedule(overdue_s, assets, failing);
    Ok(())
}

async fn batch(pool: PgPool, memory: Arc<Memory>, claims: Vec<Claim>, worker: Uuid, config: Config) {
    let (pool, config) = (&pool, &config);
    let began = Instant::now();
    let assets: Vec<AssetId> = claims.iter().map(|claim| claim.asset_id).collect();
    let results = assess::pass_many(pool, &memory, &assets, Timestamp::now(), config, Some(worker)).await;
    // A pass of many is so long for each of them.
    let each_s = began.elapsed().as_secs_f64() / assets.len().max(1) as f64;
    for (asset, result) in results {
        let Some(claim) = claims.iter().find(|claim| claim.asset_id == asset) else {
            continue;
        };
        metrics::pass(settle(pool, claim, worker, result).await, each_s);
    }
}

/// Says how a pass ended, and gives the claim of one that failed back.
async fn settle(
    pool: &PgPool,
    claim: &Claim,
    worker: Uuid,
    result: anyhow::Result<assess::Passed>,
) -> &'static str {
    match result {
        Ok(Ok(_)) => "assessed",
        Ok(Err(Skipped::NoReadings)) => {
            // A gateway sends its history first or is about to start, and people wait for the first result.
            if let Err(error) = look_again(pool, claim).await {
                tracing::warn!(asset = %claim.asset_id, error = format!("{error:#}"), "looked at again when it is due");
            }
            "no_readings"
        }
        Ok(Err(Skipped::LostLease)) => {
            tracing::warn!(asset = %claim.asset_id, "took longer than its lease, another worker has the asset");
            "lost_lease"
        }
        Err(error) => {
            let failures = claim.failures.saturating_add(1);
            let wait_s = (BACK_OFF_S * 2.0_f64.powi(failures.min(20) - 1)).min(MOST_BACK_OFF_S);
            let text = format!("{error:#}");
            tracing::warn!(asset = %claim.asset_id, failures, error = text, wait_s, "assessment failed");
            if let Err(error) = give_back(pool, claim, worker, wait_s, &text).await {
                // The lease runs out by itself.
                tracing::warn!(asset = %claim.asset_id, error = format!("{error:#}"), "can't note the failure");
            }
            "failed"
        }
    }
}

async fn look_again(pool: &PgPool, claim: &Claim) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await?;
    let at = Timestamp::now().plus_seconds(NO_READINGS_S);
    Ok(db::due_by(&mut connection, claim.asset_id, at).await?)
}

async fn give_back(
    pool: &PgPool,
    claim: &Claim,
    worker: Uuid,
    wait_s: f64,
    error: &str,
) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await?;
    let retry_at = Timestamp::now().plus_seconds(wait_s);
    Ok(db::fail_claim(&mut connection, claim.asset_id, worker, retry_at, error).await?)
}

/// Wakes assets whose alarms changed, and `meters`' other listeners, as the outbox moves.
///
/// # Errors
/// Never: a lost connection is made anew, and the look into the outbox finds what was missed.
pub async fn listen(
    pool: PgPool,
    woken: std::sync::Arc<Notify>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let result = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            result = follow(&pool, &mut after, &woken) => result,
        };
        if let Err(error) = result {
            tracing::warn!(error = format!("{error:#}"), "lost the outbox, trying again");
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
        }
    }
}

async fn follow(pool: &PgPool, after: &mut Option<String>, woken: &Notify) -> anyhow::Result<()> {
    let mut listener = PgListener::connect_with(pool).await.context("listen")?;
    listener.listen(outbox::WAKE).await?;
    loop {
        let mut connection = pool.acquire().await?;
        let from = match after.take() {
            Some(from) => from,
            None => outbox::horizon(&mut connection).await?,
        };
        let look = db::wake_by_outbox(&mut connection, &from, Timestamp::now()).await;
        drop(connection);
        // A look that failed is done again from the same place.
        *after = Some(look.as_ref().map_or(from, |look| look.up_to.clone()));
        let look = look?;
        if look.assets > 0 {
            tracing::debug!(assets = look.assets, "woken by alarms");
        }
        woken.notify_waiters();
        if look.held {
            tokio::time::sleep(HELD).await;
            continue;
        }
        // Many events make one look: the queue is emptied first.
        if listener.try_recv().await?.is_none() {
            anyhow::bail!("the connection was closed");
        }
        while listener.next_buffered().is_some() {}
    }
}

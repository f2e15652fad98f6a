//! From MQTT to the hypertable.
//!
//! A gateway's PUBACK means that its readings are committed in the database. The way of a payload:
//!
//! `front_door::session` (rights, window) → `codec` (read) → `writer` (merge) → `registry` and
//! `validate` (names, units, times) → one transaction: readings, cursors, ledger, dead letters,
//! events, limit alarms → COMMIT → PUBACK, then the `committed` watermark.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use models::db::{dead_letter, ledger, registry as register};
use models::service::supervisor::Supervisor;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

pub mod bench;
pub mod codec;
pub mod config;
pub mod cursor;
pub mod front_door;
pub mod import;
mod limit_alarm;
mod metrics;
pub mod registry;
pub mod replay;
pub mod validate;
pub mod writer;

use config::Config;
use front_door::auth::Passwords;
use front_door::limits::Admission;
use front_door::quota::Quotas;
use front_door::{Door, hub::Hub, listener, tls};

/// Runs the service until `shutdown`: then nothing more is taken, what was taken is committed and
/// acknowledged, and the connections are closed.
///
/// # Errors
/// When the configuration can't be, TLS files can't be read, or a task fails. A database that is
/// away is none: gateways are held back until it returns.
pub async fn run(
    config: Config,
    pool: PgPool,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    config.check()?;
    let config = Arc::new(config);
    let hub = Hub::new(config.bounds());
    let mut supervisor = Supervisor::new(shutdown.clone());
    let mut writers = Vec::new();
    for _ in 0..config.writer.writers {
        // The bytes in flight are the bound; this only lets a writer find a batch waiting.
        let (to, payloads) = mpsc::channel(config.writer.batch_payloads);
        writers.push(to);
        let writer = writer::Writer::new(pool.clone(), config.clone(), hub.clone(), shutdown.clone());
        supervisor.spawn("writer", writer.run(payloads));
    }
    let door = Arc::new(Door {
        bytes: Arc::new(Semaphore::new(config.limits.in_flight_bytes)),
        pool: pool.clone(),
        hub: hub.clone(),
        stop: shutdown.clone(),
        config: config.clone(),
        quotas: Quotas::default(),
        passwords: Passwords::new(config.limits.password_checks),
        writers,
    });
    let admission = Admission::new(config.limits.max_connections, config.limits.max_unauthenticated);
    if let Some(settings) = config.tls.clone() {
        let address = settings.listen.clone();
        let (acceptor, refresh) = tls::acceptor(settings, shutdown.clone()).context("ingest.tls")?;
        let encrypted = TcpListener::bind(&address)
            .await
            .with_context(|| format!("ingest.tls.listen {address}"))?;
        supervisor.spawn("certificates", refresh);
        supervisor.spawn(
            "tls listener",
            listener::run(door.clone(), encrypted, Some(acceptor), admission.clone()),
        );
    }
    supervisor.spawn("listener", listener::run(door, listener, None, admission));
    let every = Duration::from_secs(config.revocation_check_s);
    supervisor.spawn(
        "replays",
        replay::serve_requests(pool.clone(), config.clone(), hub.clone(), shutdown.clone()),
    );
    supervisor.spawn(
        "revocation",
        watch_credentials(pool.clone(), hub.clone(), every, shutdown.clone()),
    );
    supervisor.spawn("sessions", end_sessions(hub, shutdown.clone()));
    supervisor.spawn("housekeeping", keep_house(pool, shutdown));
    supervisor
        .run(Duration::from_secs(config.shutdown_s * 2 + 5))
        .await
}

/// Ends the connections of credentials that were withdrawn.
async fn watch_credentials(
    pool: PgPool,
    hub: Hub,
    every: Duration,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        let held = hub.credentials();
        if held.is_empty() {
            continue;
        }
        let asking = async {
            let mut connection = pool.acquire().await?;
            register::withdrawn_credentials(&mut connection, &held).await
        };
        let answer = tokio::select! {
            answer = asking => answer,
            () = shutdown.cancelled() => return Ok(()),
        };
        match answer {
            Ok(withdrawn) if withdrawn.is_empty() => {}
            Ok(withdrawn) => {
                tracing::warn!(
                    credentials = withdrawn.len(),
                    "credentials were withdrawn: closing their connections"
                );
                hub.withdraw(&withdrawn);
            }
            Err(error) => tracing::warn!(%error, "can't compare connections with withdrawn credentials"),
        }
    }
}

/// Ends sessions whose clients didn't come back in time.
async fn end_sessions(hub: Hub, shutdown: CancellationToken) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => hub.expire(),
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// Forgets old commit tokens, and shows what the ledger holds open.
async fn keep_house(pool: PgPool, shutdown: CancellationToken) -> anyhow::Result<()> {
    const EVERY: Duration = Duration::from_secs(60);
    let mut round = 0_u32;
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        round = round.wrapping_add(1);
        let working = async {
            let mut connection = pool.acquire().await?;
            let (letters, readings) = dead_letter::open_totals(&mut connection).await?;
            metrics::open_dead_letters(letters, readings);
            let (open, lost) = ledger::gap_totals(&mut connection).await?;
            metrics::gaps(open, lost);
            if round.is_multiple_of(60) {
                ledger::prune_tokens(&mut connection).await?;
            }
            Ok::<_, sqlx::Error>(())
        };
        let done = tokio::select! {
            done = working => done,
            () = shutdown.cancelled() => return Ok(()),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "can't look after ledger and commit tokens");
        }
    }
}

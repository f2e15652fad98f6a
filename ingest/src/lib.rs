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
use models::db::{dead_letter, ledger, mqtt, registry as register};
use models::service::supervisor::Supervisor;
use models::time::Timestamp;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub mod bench;
pub mod codec;
pub mod config;
pub mod cursor;
pub mod foreign;
pub mod front_door;
pub mod import;
mod limit_alarm;
mod metrics;
pub mod registry;
pub mod replay;
pub mod sparkplug;
pub mod validate;
pub mod writer;

use codec::intake::Intake;
use config::Config;
use front_door::auth::Passwords;
use front_door::authorities::Authorities;
use front_door::clock::Clocks;
use front_door::configure::Configurations;
use front_door::hub::journal::{Journal, Keeper};
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
    let hub = Hub::with_journal(config.bounds(), Journal::new());
    let mut supervisor = Supervisor::new(shutdown.clone());
    let mut writers = Vec::new();
    for _ in 0..config.writer.writers {
        // The bytes in flight are the bound; this only lets a writer find a batch waiting.
        let (to, payloads) = mpsc::channel(config.writer.batch_payloads);
        writers.push(to);
        let writer = writer::Writer::new(pool.clone(), config.clone(), hub.clone(), shutdown.clone());
        supervisor.spawn("writer", writer.run(payloads));
    }
    let (to_gateways, outlets) = (hub.clone(), foreign::Outlets::default());
    let to_brokers = outlets.clone();
    let intake = Arc::new(Intake::new(sparkplug::Host::new(
        config.sparkplug.clone(),
        Box::new(move |gateway, topic, payload| {
            to_brokers.tell(gateway.id, topic.clone(), payload.clone());
            to_gateways.tell(gateway, topic, payload);
        }),
    )));
    let (silence, (restored_to, restored)) = (CancellationToken::new(), watch::channel(false));
    let (wills_to, wills) = oneshot::channel();
    let keeper = Keeper {
        hub: hub.clone(),
        pool: pool.clone(),
        door: config.door.clone(),
        restored: restored_to,
        wills: wills_to,
        shutdown: shutdown.clone(),
        silence: silence.clone(),
        patience: config.stop_within(),
        timeout: Duration::from_secs(config.writer.transaction_timeout_s),
    };
    supervisor.spawn("journal", keeper.run());
    let clocks = Clocks::default();
    let authorities = Authorities::default();
    let configurations = Configurations::default();
    supervisor.spawn(
        "configurations",
        configurations
            .clone()
            .keep(pool.clone(), hub.clone(), shutdown.clone()),
    );
    supervisor.spawn("clocks", clocks.clone().keep(pool.clone(), shutdown.clone()));
    let door = Arc::new(Door {
        intake: intake.clone(),
        bytes: Arc::new(Semaphore::new(config.limits.in_flight_bytes)),
        pool: pool.clone(),
        hub: hub.clone(),
        stop: shutdown.clone(),
        config: config.clone(),
        quotas: Quotas::default(),
        passwords: Passwords::new(config.limits.password_checks),
        clocks: clocks.clone(),
        authorities: authorities.clone(),
        configurations,
        restored,
        _silence: silence.drop_guard(),
        writers,
    });
    let admission = Admission::new(config.limits.max_connections, config.limits.max_unauthenticated);
    if let Some(settings) = config.tls.clone() {
        let address = settings.listen.clone();
        let (acceptor, refresh) =
            tls::acceptor(settings, authorities, pool.clone(), shutdown.clone()).context("ingest.tls")?;
        let encrypted = TcpListener::bind(&address)
            .await
            .with_context(|| format!("ingest.tls.listen {address}"))?;
        supervisor.spawn("certificates", refresh);
        supervisor.spawn(
            "tls listener",
            listener::run(door.clone(), encrypted, Some(acceptor), admission.clone()),
        );
    }
    for broker in config.foreign.clone() {
        supervisor.spawn(
            "foreign broker",
            foreign::run(broker, door.clone(), outlets.clone(), shutdown.clone()),
        );
    }
    supervisor.spawn(
        "wills",
        front_door::session::will::after_restart(door.clone(), wills),
    );
    supervisor.spawn("late births", let_time_pass(door.clone(), shutdown.clone()));
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
    let every = Duration::from_secs(config.register_max_age_s.max(1));
    supervisor.spawn(
        "mappings",
        refresh_mappings(pool.clone(), intake, every, shutdown.clone()),
    );
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

/// Sees changes of the gateways' mappings without a reconnect.
async fn refresh_mappings(
    pool: PgPool,
    intake: Arc<Intake>,
    every: Duration,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        let answer = tokio::select! {
            answer = intake.refresh(&pool) => answer,
            () = shutdown.cancelled() => return Ok(()),
        };
        if let Err(error) = answer {
            tracing::warn!(%error, "can't read the gateways' mappings anew: the known ones hold");
        }
    }
}

/// Gives up on births that don't come, and asks for them.
async fn let_time_pass(door: Arc<Door>, shutdown: CancellationToken) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(door.intake.sparkplug.tick()) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        for payload in door.intake.expire(Timestamp::now()) {
            let writer = door.writer(payload.gateway.id);
            // Fails only when the writers have stopped: then nothing was acknowledged.
            if writer.send(payload).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Forgets old commit tokens and expired MQTT sessions, and shows what the ledger holds open.
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
                mqtt::prune(&mut connection).await?;
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

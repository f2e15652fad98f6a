//! Readings from a broker that is already there: mosquitto, EMQX, HiveMQ, VerneMQ.
//!
//! Each entry of `[[ingest.foreign]]` is one connection as a client. What makes it safe:
//!
//! - **Acknowledged after COMMIT**, in the order of receipt ([MQTT-4.6.0-2]), with a persistent
//!   session: what was not committed when the process or the database died is delivered again.
//! - **Shared subscriptions** (`$share/{share}/…`) over several ingest processes: each message goes to
//!   one of them. A process keeps its client id over restarts, because a broker holds the messages of
//!   a dead member for its return.
//! - **Subscribed again after each CONNACK**, whether or not the broker says that it knows the
//!   session: a broker that lost its state says nothing else about it.
//! - **Reconnected with full jitter**, the wait doubling from half a second to a minute; it starts
//!   over only when a connection has held for a minute, so that a broker which kicks a client right
//!   after CONNACK is not hammered.
//! - **Bounded**: no more is read from the socket while `limits.in_flight` messages wait for their
//!   commit, so the broker holds the rest.
//!
//! The connection is ours, over rumqttc's packet codec, rather than rumqttc's event loop: that one has
//! no custom transport (its TLS is an old one with advisories), reads at most 10 KiB unless told,
//! reconnects without a pause and drops what it holds when the broker forgot the session.
//!
//! Sparkplug needs all messages of a node in one place, in order. An entry with `sparkplug = true` is
//! not shared: of all processes that name the same broker and host id one is connected, held by a
//! lock in the database; the others wait to take its place.

mod client;
mod config;
mod inbound;
mod outlet;
mod session;
mod stream;

use std::sync::Arc;
use std::time::{Duration, Instant};

use models::db::leader::Lead;
use rand::Rng;
use tokio_util::sync::CancellationToken;

pub use config::Foreign;
pub(crate) use outlet::Outlets;

use crate::front_door::Door;
use crate::metrics;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A connection that held so long was good.
const GOOD_AFTER: Duration = Duration::from_secs(60);

/// Keeps one connection until `shutdown`.
///
/// # Errors
/// When TLS files can't be read. A broker that is away is none.
pub(crate) async fn run(
    foreign: Foreign,
    door: Arc<Door>,
    outlets: Outlets,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let connector = stream::Connector::new(&foreign)?;
    let mut attempt = 0_u32;
    loop {
        let started = Instant::now();
        let working = async {
            let lead = match foreign.sparkplug {
                true => Some(lead(&foreign, &door).await?),
                false => None,
            };
            let connection = client::Connection::open(&foreign, &connector, &door).await?;
            session::Session::new(&foreign, &door, &outlets, connection, lead, shutdown.clone())
                .run()
                .await
        };
        let ended = tokio::select! {
            biased;
            ended = working => ended,
            // A session sees the end itself and closes in order; before one there is nothing to close.
            () = async { shutdown.cancelled().await; tokio::time::sleep(door.config.stop_within()).await } => return Ok(()),
        };
        if shutdown.is_cancelled() {
            return Ok(());
        }
        if let Err(error) = ended {
            metrics::foreign_broken();
            tracing::warn!(
                url = foreign.url,
                error = format!("{error:#}"),
                attempt,
                "not connected to the foreign broker"
            );
        }
        attempt = if started.elapsed() >= GOOD_AFTER {
            0
        } else {
            attempt + 1
        };
        let most = FIRST_PAUSE
            .saturating_mul(1 << attempt.min(10))
            .min(LONGEST_PAUSE);
        let pause = rand::rng().random_range(Duration::from_millis(50)..=most);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// Waits until this process is the one that speaks Sparkplug with the broker.
async fn lead(foreign: &Foreign, door: &Door) -> anyhow::Result<Lead> {
    let name = format!("sparkplug {} {}", foreign.url, door.config.sparkplug.host_id);
    let mut said = false;
    loop {
        let connection = door.pool.acquire().await?;
        if let Some(lead) = Lead::take(connection, &name).await? {
            return Ok(lead);
        }
        if !std::mem::replace(&mut said, true) {
            tracing::info!(
                url = foreign.url,
                "another process speaks Sparkplug with this broker: standing by"
            );
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

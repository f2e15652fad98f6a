//! From the spool to Forewarn, over MQTT 3.1.1, plain or with TLS.
//!
//! The spool is the truth: after each CONNACK sending starts again behind the last batch that is
//! `committed`. A PUBACK only makes room for more on the wire; behind a foreign broker it means no
//! more than "in its memory". The receiver drops what it already has.
//!
//! **Two lanes** ([`lanes`]). What is appended now goes out at once; what piled up during an outage
//! follows behind it, in order. The watermark and the floor keep their meaning.
//!
//! **Pace** ([`pace`]). At most `window` batches of a lane are under way. While a backlog is sent, its
//! window follows the receiver: it grows while answers come quickly and halves when they don't, so
//! that live readings don't wait behind it. A receiver that says `slow_down` is sent nothing until the
//! moment it names.
//!
//! **Silence.** When nothing is committed for a while the agent subscribes again, which makes the
//! receiver repeat the watermark; after long silence it connects anew. A database that is down looks
//! the same, so neither happens in a hurry.
//!
//! **Reconnecting** pauses at random between 0 and a bound that doubles up to `retry_max_s` (full
//! jitter: the gateways of a site don't come back in step). The bound falls back only after something
//! was committed, not after a mere CONNACK: a receiver that accepts and kicks must not be hammered. A
//! refused credential waits at least half the longest pause.

pub mod lanes;
pub mod pace;
mod session;

use std::sync::Arc;
use std::time::Duration;

use models::time::Timestamp;
use models::wire;
use parking_lot::Mutex;
use rand::Rng;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, LastWill, Login};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::mqtt::{Address, Link, Refused, tls};
use crate::remote::Remote;
use crate::spool::writer::Store;
use lanes::Ahead;
use session::Session;

/// A batch of 16 MiB compressed badly, and its topic.
const MAX_PACKET: usize = wire::MAX_BATCH_BYTES + (1 << 20);
const FIRST_PAUSE_S: f64 = 0.5;

/// What the status shows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Shown {
    pub url: String,
    pub connected: bool,
    pub since: Option<Timestamp>,
    /// When the receiver last committed something over this connection.
    pub committed_at: Option<Timestamp>,
    /// Batches sent and not committed, of the backlog lane.
    pub under_way: u64,
    /// Live readings go ahead of a backlog.
    pub backlog: bool,
    pub sent_batches: u64,
    pub refusals: u64,
    /// The receiver asked for patience until then, and why.
    pub slow_until: Option<Timestamp>,
    pub slow_reason: Option<String>,
    pub last_error: Option<String>,
}

/// See the module.
pub struct Uplink {
    settings: config::Uplink,
    secret: SecretString,
    tls: Option<tls::Client>,
    store: Store,
    shown: Arc<Mutex<Shown>>,
    remote: Remote,
}

/// Why a connection ended.
struct Lost {
    /// Whether anything was committed over it.
    progress: bool,
    refused: bool,
    error: anyhow::Error,
}

impl Uplink {
    /// # Errors
    /// When the address can't be one, or a file of `[uplink.tls]` can't be used.
    pub fn new(
        config: &config::Config,
        secret: SecretString,
        store: Store,
        shown: Arc<Mutex<Shown>>,
        remote: Remote,
    ) -> anyhow::Result<Self> {
        let settings = config.uplink.clone();
        let tls = settings
            .address()?
            .tls
            .then(|| tls::Client::new(&settings.tls, &config.base))
            .transpose()?;
        shown.lock().url.clone_from(&settings.url);
        Ok(Self {
            settings,
            secret,
            tls,
            store,
            shown,
            remote,
        })
    }

    /// Sends until `stop` is cancelled.
    ///
    /// # Errors
    /// Only for an address that can't be one; everything else is tried again.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let address = self.settings.address()?;
        let mut attempts = 0_i32;
        let mut ahead = Ahead::default();
        while !stop.is_cancelled() {
            let Err(lost) = self.connection(&address, &mut ahead, &stop).await else {
                break;
            };
            let error = chain(&lost.error);
            attempts = if lost.progress {
                0
            } else {
                attempts.saturating_add(1)
            };
            let pause = pause(
                attempts,
                lost.refused,
                self.settings.retry_max_s,
                rand::rng().random(),
            );
            {
                let mut shown = self.shown.lock();
                if shown.connected || shown.since.is_none() {
                    shown.since = Some(Timestamp::now());
                }
                shown.connected = false;
                shown.under_way = 0;
                shown.last_error = Some(error.clone());
            }
            let pause_s = pause.as_secs_f64();
            if lost.refused {
                tracing::error!(error, pause_s, "the receiver refuses this gateway");
            } else {
                tracing::warn!(error, pause_s, "no connection, readings wait in the spool");
            }
            let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
        self.store.note_committed();
        Ok(())
    }

    fn topic(&self, kind: &str) -> String {
        wire::topic(&self.settings.tenant, &self.settings.gateway, kind)
    }

    fn connect(&self) -> Connect {
        let config::Uplink { tenant, gateway, .. } = &self.settings;
        let mut connect = Connect::new(format!("{tenant}.{gateway}"));
        connect.keep_alive = u16::try_from(self.settings.keep_alive_s.max(1)).unwrap_or(u16::MAX);
        connect.clean_session = true;
        connect.login = Some(Login::new(
            format!("{tenant}/{gateway}"),
            self.secret.expose_secret(),
        ));
        connect.last_will = Some(LastWill::new(
            self.topic("state"),
            self.state(false, None),
            QoS::AtLeastOnce,
            true,
        ));
        connect
    }

    /// Payload of the state topic: the link, and how remote configuration stands.
    fn state(&self, online: bool, at: Option<Timestamp>) -> Vec<u8> {
        let mut state = serde_json::json!({ "online": online, "at": at });
        if let Some(config) = self.remote.report() {
            state["config"] = config;
        }
        state.to_string().into_bytes()
    }

    async fn connection(
        &self,
        address: &Address,
        ahead: &mut Ahead,
        stop: &CancellationToken,
    ) -> Result<(), Lost> {
        let connecting = Link::connect(address, self.tls.as_ref(), self.connect(), MAX_PACKET);
        let link = match stop.run_until_cancelled(connecting).await {
            None => return Ok(()),
            Some(Ok(link)) => link,
            Some(Err(error)) => {
                let refused = error
                    .downcast_ref::<Refused>()
                    .is_some_and(Refused::is_credential);
                let error = if refused {
                    let config::Uplink { tenant, gateway, .. } = &self.settings;
                    error.context(format!(
                        "credential of {tenant}/{gateway} refused: check uplink.tenant, uplink.gateway and the secret"
                    ))
                } else {
                    error.context(format!("uplink {}", self.settings.url))
                };
                return Err(Lost {
                    progress: false,
                    refused,
                    error,
                });
            }
        };
        let mut session = Session::new(self, link, std::mem::take(ahead));
        let ended = session.run(stop).await;
        let progress = session.progress();
        *ahead = session.into_ahead();
        ended.map_err(|error| Lost {
            progress,
            refused: false,
            error,
        })
    }
}

/// The causes, without those that the text before already holds.
fn chain(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .fold(String::new(), |text, cause| match text.as_str() {
            "" => cause,
            known if known.contains(&cause) => text,
            _ => format!("{text}: {cause}"),
        })
}

/// `chance` is from 0 to 1.
pub(crate) fn pause(attempts: i32, refused: bool, max_s: f64, chance: f64) -> Duration {
    let bound = (FIRST_PAUSE_S * 2_f64.powi(attempts.clamp(0, 30))).min(max_s);
    Duration::from_secs_f64(if refused {
        max_s * (0.5 + 0.5 * chance)
    } else {
        bound * chance
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_random_and_bounded() {
        for attempts in [0, 1, 5, 40, i32::MAX] {
            assert_eq!(pause(attempts, false, 60.0, 0.0), Duration::ZERO);
            assert!(pause(attempts, false, 60.0, 1.0) <= Duration::from_secs(60));
        }
        assert_eq!(pause(0, false, 60.0, 1.0), Duration::from_millis(500));
        assert_eq!(pause(3, false, 60.0, 1.0), Duration::from_secs(4));
        assert!(pause(0, true, 60.0, 0.0) >= Duration::from_secs(30));
    }
}

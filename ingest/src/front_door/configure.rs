//! Which configuration gateways are wanted to run, brought to them, and what they say of it.
//!
//! A reconciler: what the register wants and a gateway has not said anything of is said on its command
//! topic, to that gateway alone and not to others who listen there, because a configuration may name
//! accounts. What it says comes back on its state topic (docs/edge.md) and is written down. A gateway that
//! doesn't listen, because it is away or its site doesn't allow it, is told when it does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use models::db::gateway_configuration::{self as wanted, ConfigurationState, Pending};
use models::id::GatewayId;
use models::wire::topic;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::hub::{Hub, Message};
use crate::registry::Gateway;

const EVERY: Duration = Duration::from_secs(2);
/// A gateway that heard and says nothing is told again.
const AGAIN: Duration = Duration::from_secs(60);
/// And one that has said its state since, but nothing of this version, so soon after the last time.
const SOON: Duration = Duration::from_secs(5);
/// Of a gateway's own words, bytes.
const MAX_REASON: usize = 2000;

/// What the state topic says of configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Report {
    version: String,
    state: Said,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Trial,
    Active,
    RolledBack,
    Refused,
}

impl From<Said> for ConfigurationState {
    fn from(said: Said) -> Self {
        match said {
            Said::Trial => Self::Trial,
            Said::Active => Self::Active,
            Said::RolledBack => Self::RolledBack,
            Said::Refused => Self::Refused,
        }
    }
}

impl Report {
    /// `None`: the state says nothing of configuration, or nothing that can be understood.
    fn of(payload: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Payload {
            config: Option<Report>,
        }
        let payload: Payload = serde_json::from_slice(payload).ok()?;
        let mut report = payload.config?;
        report.version = tidy(&report.version);
        report.reason = report.reason.as_deref().map(tidy);
        Some(report)
    }
}

/// PostgreSQL's text holds no NUL.
fn tidy(text: &str) -> String {
    text.replace(char::from(0), " ")
        .chars()
        .take(MAX_REASON)
        .collect()
}

/// A version that a gateway was told.
struct Told {
    version: String,
    at: Instant,
    patience: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    heard: Mutex<HashMap<GatewayId, Option<Report>>>,
    news: Notify,
}

/// What gateways said since it was written down.
#[derive(Clone, Debug, Default)]
pub(crate) struct Configurations(Arc<Shared>);

impl Configurations {
    /// A gateway's state, which it says when it comes and whenever that changes.
    pub fn heard(&self, gateway: &Gateway, payload: &[u8]) {
        self.0.heard.lock().insert(gateway.id, Report::of(payload));
        self.0.news.notify_one();
    }

    /// Brings what is wanted and writes down what is said, until `shutdown`.
    pub async fn keep(self, pool: PgPool, hub: Hub, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut told: HashMap<GatewayId, Told> = HashMap::new();
        loop {
            tokio::select! {
                () = self.0.news.notified() => {}
                () = tokio::time::sleep(EVERY) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            let passing = async {
                let mut connection = pool.acquire().await?;
                self.write(&mut connection, &mut told).await?;
                tell(&mut connection, &hub, &mut told).await
            };
            tokio::select! {
                done = passing => if let Err(error) = done {
                    tracing::warn!(%error, "can't see to the gateways' configuration now");
                    // The news came back at once: not before the database had time.
                    tokio::select! {
                        () = tokio::time::sleep(EVERY) => {}
                        () = shutdown.cancelled() => return Ok(()),
                    }
                },
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        told: &mut HashMap<GatewayId, Told>,
    ) -> Result<(), sqlx::Error> {
        let heard = std::mem::take(&mut *self.0.heard.lock());
        let mut left = heard.into_iter();
        while let Some((gateway, report)) = left.next() {
            // It is there, perhaps anew: what was on its way to an older connection may be lost.
            if let Some(told) = told.get_mut(&gateway) {
                told.patience = SOON;
            }
            let Some(said) = &report else { continue };
            let reason = said.reason.as_deref();
            let written = wanted::report(connection, gateway, &said.version, said.state.into(), reason).await;
            if let Err(error) = written {
                let mut heard = self.0.heard.lock();
                for (gateway, report) in std::iter::once((gateway, report)).chain(left) {
                    heard.entry(gateway).or_insert(report);
                }
                drop(heard);
                self.0.news.notify_one();
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Says what is pending to those who are there.
async fn tell(
    connection: &mut PgConnection,
    hub: &Hub,
    told: &mut HashMap<GatewayId, Told>,
) -> Result<(), sqlx::Error> {
    let all = wanted::pending(connection).await?;
    told.retain(|gateway, _| all.iter().any(|pending| pending.gateway_id == *gateway));
    for pending in all {
        let is_told = told
            .get(&pending.gateway_id)
            .is_some_and(|told| told.version == pending.version && told.at.elapsed() < told.patience);
        if !is_told && hub.tell_gateway(pending.gateway_id, &command(&pending)) {
            tracing::info!(gateway = %pending.gateway_id, version = pending.version, "a configuration was sent");
            wanted::sent(connection, pending.gateway_id, &pending.version).await?;
            let now = Told {
                version: pending.version,
                at: Instant::now(),
                patience: AGAIN,
            };
            told.insert(pending.gateway_id, now);
        }
    }
    Ok(())
}

fn command(pending: &Pending) -> Arc<Message> {
    let Pending {
        tenant_slug,
        gateway_slug,
        version,
        config,
        ..
    } = pending;
    Arc::new(Message {
        topic: topic(tenant_slug, gateway_slug, "command"),
        payload: json!({ "command": "configure", "version": version, "config": config })
            .to_string()
            .into(),
        qos: 1,
        ..Message::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_what_an_agent_says_of_configuration() {
        let said =
            br#"{"online":true,"at":null,"config":{"version":"7","state":"rolled_back","reason":"a\u0000b",
                        "at":"2026-01-31T12:00:00Z","active":null}}"#;
        let report = Report::of(said).unwrap();
        assert_eq!(
            (
                &*report.version,
                ConfigurationState::from(report.state),
                report.reason.as_deref()
            ),
            ("7", ConfigurationState::RolledBack, Some("a b"))
        );
        for none in [
            &br#"{"online":true}"#[..],
            br#"{"config":{"version":"7","state":"pending"}}"#,
            br#"{"config":7}"#,
            b"online",
        ] {
            assert_eq!(Report::of(none), None);
        }
    }
}

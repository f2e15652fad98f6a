//! Dead letters, once what was wrong is mended: through the same codec, the same checks and the
//! same transaction as everything else.
//!
//! The ledger's day is the one on which the letter was received: what stood there as rejected moves
//! to stored. A letter of which anything is still refused stays as it is, with the reason of today.
//!
//! Two ways lead here: [`replay`] at once, for a command, and [`serve_requests`], which does what
//! people asked for through the API and tells the gateway on its error topic.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use models::db::dead_letter::{self, DeadLetter, Filter, OpenLetter};
use models::db::{mapping, registry as register};
use models::dead_letter::Fix;
use models::id::DeadLetterId;
use models::mapping::Mapping;
use models::wire::Refusal;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::codec::{Decoded, Format, route};
use crate::config::Config;
use crate::front_door::hub::Hub;
use crate::limit_alarm::LimitAlarms;
use crate::metrics;
use crate::registry::{Gateway, Registry};
use crate::validate::TimeLimits;
use crate::writer::{Payload, Prepared, replay_one, tell_refused};

/// How often requests are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What a replay did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    pub letters: u64,
    pub stored: u64,
    pub duplicate: u64,
    pub conflict: u64,
    /// Letters that stay, with reason and detail of today.
    pub still_refused: Vec<(DeadLetterId, String, String)>,
}

/// Replays the open dead letters that match `filter`, each in its own transaction.
///
/// # Errors
/// When the database does; letters replayed before stay so.
pub async fn replay(pool: &PgPool, config: &Config, filter: &Filter) -> anyhow::Result<Replayed> {
    Replayer::new(pool, config).all(filter, None).await
}

/// Replays what was asked for, every few seconds, until `shutdown`.
///
/// # Errors
/// Never because of the database: it is asked again later.
pub(crate) async fn serve_requests(
    pool: PgPool,
    config: Arc<Config>,
    hub: Hub,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let requested = Filter {
        requested: true,
        ..Filter::default()
    };
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        let mut replayer = Replayer::new(&pool, &config);
        let working = replayer.all(&requested, Some(&hub));
        tokio::select! {
            // Each letter is a transaction of its own: leaving in the middle of one leaves it requested.
            () = shutdown.cancelled() => return Ok(()),
            done = working => match done {
                Ok(done) if done == Replayed::default() => {}
                Ok(done) => tracing::info!(
                    letters = done.letters, stored = done.stored, still_refused = done.still_refused.len(),
                    "replayed dead letters that people asked for"
                ),
                Err(error) => tracing::warn!(error = format!("{error:#}"), "can't replay dead letters now"),
            },
        }
    }
}

struct Replayer<'a> {
    pool: &'a PgPool,
    registry: Registry,
    alarms: LimitAlarms,
    limits: TimeLimits,
}

impl<'a> Replayer<'a> {
    fn new(pool: &'a PgPool, config: &Config) -> Self {
        Self {
            pool,
            registry: Registry::new(Duration::from_secs(config.register_max_age_s)),
            alarms: LimitAlarms::new(
                Duration::from_secs(60),
                Duration::from_secs(config.alarms.max_age_s),
            ),
            limits: TimeLimits {
                future_s: config.future_limit_s,
                ancient: config.ancient_limit,
            },
        }
    }

    async fn all(&mut self, filter: &Filter, hub: Option<&Hub>) -> anyhow::Result<Replayed> {
        let mut done = Replayed::default();
        let mut after = None;
        loop {
            let mut connection = self.pool.acquire().await?;
            let letters = dead_letter::open(&mut connection, filter, after, 100).await?;
            drop(connection);
            let Some(last) = letters.last() else {
                return Ok(done);
            };
            after = Some(last.letter.id);
            for letter in letters {
                self.one(letter, hub, &mut done).await?;
            }
        }
    }

    async fn one(
        &mut self,
        OpenLetter { letter, fix }: OpenLetter,
        hub: Option<&Hub>,
        done: &mut Replayed,
    ) -> anyhow::Result<()> {
        let mut connection = self.pool.acquire().await?;
        let row = register::gateway(&mut connection, letter.gateway_id).await?;
        drop(connection);
        let Some(row) = row else { return Ok(()) };
        let gateway = Arc::new(Gateway {
            id: row.gateway_id,
            tenant: row.tenant_id,
            tenant_slug: row.tenant_slug,
            slug: row.slug,
            max_channels: row.max_channels,
        });
        let tried = self.attempt(&gateway, &letter, &fix).await?;
        let (reason, detail) = match tried {
            Tried::Done(text) => ("replayed".to_owned(), text),
            Tried::Refused(reason, detail) => {
                let mut connection = self.pool.acquire().await?;
                dead_letter::replay_failed(&mut connection, letter.id, &format!("{reason}: {detail}"))
                    .await?;
                done.still_refused
                    .push((letter.id, reason.clone(), detail.clone()));
                metrics::replayed("still_refused");
                (reason, detail)
            }
            Tried::Stored {
                stored,
                duplicate,
                conflict,
            } => {
                done.letters += 1;
                done.stored += stored;
                done.duplicate += duplicate;
                done.conflict += conflict;
                metrics::replayed("replayed");
                let text = format!("{stored} stored, {duplicate} duplicate, {conflict} in conflict");
                ("replayed".to_owned(), text)
            }
        };
        if let Some(hub) = hub {
            let refusal = Refusal {
                topic: letter.topic,
                reason,
                detail,
                dead_letter: Some(letter.id),
                ..Refusal::default()
            };
            tell_refused(hub, &gateway, &refusal);
        }
        Ok(())
    }

    async fn attempt(
        &mut self,
        gateway: &Arc<Gateway>,
        letter: &DeadLetter,
        fix: &Fix,
    ) -> anyhow::Result<Tried> {
        let mut connection = self.pool.acquire().await?;
        let found = mapping::of(&mut connection, &[gateway.id]).await?;
        drop(connection);
        let mapping = found
            .into_iter()
            .next()
            .map(|(_, mapping)| mapping)
            .unwrap_or_default();
        let Some(format) = format_of(letter, gateway, &mapping) else {
            let detail = format!("a letter of the format `{}` can't be replayed", letter.format);
            return Ok(Tried::Refused(letter.reason.clone(), detail));
        };
        let mut decoded = format.decode(&letter.payload, letter.received_at);
        if let Ok(decoded) = &mut decoded {
            mend(decoded, fix);
        }
        let payload = Payload {
            gateway: gateway.clone(),
            topic: letter.topic.clone(),
            // Readings without a time of their own happened when they came, not today.
            received_at: letter.received_at,
            decoded,
            raw: Bytes::from(letter.payload.clone()),
            format,
            reply: None,
            permit: None,
        };
        match &payload.decoded {
            Ok(decoded) => self.registry.prepare(self.pool, gateway, &[decoded]).await?,
            Err(_) => self.registry.prepare(self.pool, gateway, &[]).await?,
        };
        let limits = TimeLimits {
            future_s: fix.future_limit_s.unwrap_or(self.limits.future_s),
            ancient: fix.ancient_limit.unwrap_or(self.limits.ancient),
        };
        let mut prepared = Prepared::new(payload, self.registry.names(gateway.id), limits);
        if let Some(refused) = prepared.letters().first() {
            return Ok(Tried::Refused(refused.reason.clone(), refused.detail.clone()));
        }
        // Its number was passed when it became a letter.
        prepared.envelope = None;
        Ok(
            match replay_one(self.pool, &prepared, letter, &mut self.alarms).await? {
                Some(totals) => Tried::Stored {
                    stored: totals.stored.unsigned_abs(),
                    duplicate: totals.duplicate.unsigned_abs(),
                    conflict: totals.conflict.unsigned_abs(),
                },
                None => Tried::Done("it was replayed or discarded meanwhile".to_owned()),
            },
        )
    }
}

enum Tried {
    Stored {
        stored: u64,
        duplicate: u64,
        conflict: u64,
    },
    /// Somebody else was faster.
    Done(String),
    Refused(String, String),
}

/// Does what a person said to what the codec read.
fn mend(decoded: &mut Decoded, fix: &Fix) {
    for column in &mut decoded.columns {
        if let Some((device, channel)) = fix.name(&column.device, &column.channel) {
            (column.device, column.channel) = (device, channel);
        }
        if let Some(unit) = fix.unit(&column.device, &column.channel) {
            column.unit = Some(unit.to_owned());
        }
    }
    for event in &mut decoded.events {
        if let Some((device, _)) = fix.name(&event.device, "") {
            event.device = device;
        }
    }
}

/// What reads the letter today: the mapping may have been changed since, so that it can be read.
fn format_of(letter: &DeadLetter, gateway: &Gateway, mapping: &Mapping) -> Option<Format> {
    match letter.format.as_str() {
        "readings" => Some(Format::Readings),
        "events" => None,
        _ => match route::format(gateway, mapping, &letter.topic)? {
            Format::Unknown => None,
            format => Some(format),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::NamedColumn;

    #[test]
    fn names_first_then_units() {
        let column = |device: &str, channel: &str| NamedColumn {
            device: device.into(),
            channel: channel.into(),
            ..NamedColumn::default()
        };
        let mut decoded = Decoded {
            columns: vec![column("pmp", "tmp"), column("fan", "rpm")],
            ..Decoded::default()
        };
        let fix: Fix = serde_json::from_value(serde_json::json!({
            "names": { "pmp/tmp": "pump/temp" }, "units": { "pump/temp": "K" }
        }))
        .unwrap();
        mend(&mut decoded, &fix);
        let shown: Vec<_> = decoded
            .columns
            .iter()
            .map(|column| {
                (
                    column.device.as_str(),
                    column.channel.as_str(),
                    column.unit.as_deref(),
                )
            })
            .collect();
        assert_eq!(shown, [("pump", "temp", Some("K")), ("fan", "rpm", None)]);
    }
}

//! Dead letters, once what was wrong is mended: through the same codec, the same checks and the
//! same transaction as everything else.
//!
//! The ledger's day is the one on which the letter was received: what stood there as rejected moves
//! to stored. A letter of which anything is still refused stays as it is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use models::db::dead_letter::{self, DeadLetter, Filter};
use models::db::registry as register;
use models::id::DeadLetterId;
use models::wire::{Kind, Topic};
use sqlx::PgPool;

use crate::codec::Format;
use crate::config::Config;
use crate::limit_alarm::LimitAlarms;
use crate::registry::{Gateway, Registry};
use crate::validate::TimeLimits;
use crate::writer::{Payload, Prepared, replay_one};

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
    let mut done = Replayed::default();
    let mut registry = Registry::new(Duration::from_secs(config.register_max_age_s));
    let mut alarms = LimitAlarms::new(
        Duration::from_secs(60),
        Duration::from_secs(config.alarms.max_age_s),
    );
    let limits = TimeLimits {
        future_s: config.future_limit_s,
        ancient: config.ancient_limit,
    };
    let mut after = None;
    loop {
        let mut connection = pool.acquire().await?;
        let letters = dead_letter::open(&mut connection, filter, after, 100).await?;
        drop(connection);
        let Some(last) = letters.last() else {
            return Ok(done);
        };
        after = Some(last.id);
        for letter in letters {
            let mut connection = pool.acquire().await?;
            let row = register::gateway(&mut connection, letter.gateway_id).await?;
            drop(connection);
            let Some(row) = row else { continue };
            let gateway = Arc::new(Gateway {
                id: row.gateway_id,
                tenant: row.tenant_id,
                tenant_slug: row.tenant_slug,
                slug: row.slug,
                max_channels: row.max_channels,
            });
            let Some(format) = format_of(&letter) else {
                done.still_refused.push((
                    letter.id,
                    letter.reason,
                    "this kind of letter can't be replayed".to_owned(),
                ));
                continue;
            };
            let payload = Payload {
                gateway: gateway.clone(),
                topic: letter.topic.clone(),
                // Readings without a time of their own happened when they came, not today.
                received_at: letter.received_at,
                decoded: format.decode(&letter.payload, letter.received_at),
                raw: Bytes::from(letter.payload.clone()),
                format,
                reply: None,
                permit: None,
            };
            if let Ok(decoded) = &payload.decoded {
                registry.prepare(pool, &gateway, &[decoded]).await?;
            } else {
                registry.prepare(pool, &gateway, &[]).await?;
            }
            let mut prepared = Prepared::new(payload, registry.names(gateway.id), limits);
            if let Some(refused) = prepared.letters().first() {
                done.still_refused
                    .push((letter.id, refused.reason.clone(), refused.detail.clone()));
                continue;
            }
            // Its number was passed when it became a letter.
            prepared.envelope = None;
            if let Some(totals) = replay_one(pool, &prepared, &letter, &mut alarms).await? {
                done.letters += 1;
                done.stored += totals.stored.unsigned_abs();
                done.duplicate += totals.duplicate.unsigned_abs();
                done.conflict += totals.conflict.unsigned_abs();
            }
        }
    }
}

fn format_of(letter: &DeadLetter) -> Option<Format> {
    match letter.format.as_str() {
        "native" => Some(Format::Native),
        "readings" => Some(Format::Readings),
        "json" => match Topic::parse(&letter.topic).ok()?.kind {
            Kind::Json { device, channel } => Some(Format::Json {
                device: device.to_owned(),
                channel: channel.map(str::to_owned),
            }),
            _ => None,
        },
        _ => None,
    }
}

//! Sessions and messages ↔ rows of the journal.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use models::db::mqtt::{self, Kept, QueuedRow, ReceivedRow, RetainedRow, SessionRow, WillRow};
use models::id::TenantId;
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;

use super::changes::{Changes, Entry, Waiting};
use super::outbox::{Outbox, Queued};
use super::session::{Key, Received, Session, Space, Subscription};
use super::wills::KeptWill;
use super::{Hub, Message, tree};
use crate::front_door::packet::Properties;

/// Rows of one statement.
const AT_ONCE: usize = 500;

/// What a row says of a message beside its columns.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct About {
    properties: Properties,
    retain: bool,
    message_qos: u8,
    name: Option<String>,
    identifiers: Vec<u32>,
}

fn json(value: &impl Serialize) -> Value {
    // Text and numbers only: it can be written.
    serde_json::to_value(value).unwrap_or_default()
}

fn session_row(session: &Session) -> Option<SessionRow> {
    let (tenant_id, gateway_id) = session.key.home()?;
    let (subscriptions, keep, ends_at) = session.with(|state| {
        let all: Vec<&Subscription> = state.subscriptions.values().map(|one| &**one).collect();
        (json(&all), state.keep, state.ends_at)
    });
    let left = |at: Instant| Timestamp::now() + at.saturating_duration_since(Instant::now());
    Some(SessionRow {
        id: session.id as i64,
        tenant_id,
        gateway_id,
        client_id: session.key.client_id.clone(),
        subscriptions,
        expiry_s: i64::try_from(keep.as_secs()).unwrap_or(i64::MAX),
        expires_at: ends_at.map(left),
    })
}

fn queued_row(session_id: i64, tenant_id: TenantId, queued: &Queued, released: bool) -> QueuedRow {
    let message = &queued.message;
    QueuedRow {
        session_id,
        entry: queued.entry,
        tenant_id,
        topic: message.topic.clone(),
        payload: message.payload.to_vec(),
        qos: queued.qos.into(),
        about: json(&About {
            properties: message.properties.clone(),
            retain: queued.retain,
            message_qos: message.qos,
            name: queued.name.clone(),
            identifiers: queued.identifiers.clone(),
        }),
        expires_at: message.expires_at,
        packet_id: queued.packet_id.into(),
        released,
    }
}

fn retained_row(tenant_id: TenantId, message: &Message) -> RetainedRow {
    RetainedRow {
        tenant_id,
        topic: message.topic.clone(),
        payload: message.payload.to_vec(),
        qos: message.qos.into(),
        about: json(&About {
            properties: message.properties.clone(),
            ..About::default()
        }),
        expires_at: message.expires_at,
    }
}

/// Changes as the database takes them.
#[derive(Default)]
pub(super) struct Rows {
    drop_sessions: Vec<i64>,
    put_sessions: Vec<SessionRow>,
    put_queued: Vec<QueuedRow>,
    release: Vec<Entry>,
    drop_queued: Vec<Entry>,
    drop_retained: Vec<(TenantId, String)>,
    put_retained: Vec<RetainedRow>,
    drop_received: Vec<(i64, i32)>,
    put_received: Vec<ReceivedRow>,
    drop_wills: Vec<i64>,
    put_wills: Vec<WillRow>,
}

impl Rows {
    pub fn of(changes: &Changes) -> Self {
        let mut rows = Self::default();
        for (id, session) in &changes.sessions {
            match session {
                Some(session) => rows.put_sessions.extend(session_row(session)),
                None => rows.drop_sessions.push(*id),
            }
        }
        for (entry, waiting) in &changes.queued {
            match waiting {
                Waiting::Put {
                    tenant,
                    queued,
                    released,
                } => rows
                    .put_queued
                    .push(queued_row(entry.0, *tenant, queued, *released)),
                Waiting::Release => rows.release.push(*entry),
                Waiting::Drop => rows.drop_queued.push(*entry),
            }
        }
        for (topic, message) in &changes.retained {
            match message {
                Some(message) => rows.put_retained.push(retained_row(topic.0, message)),
                None => rows.drop_retained.push(topic.clone()),
            }
        }
        for (&(session_id, packet_id), tenant) in &changes.received {
            let packet_id = packet_id.into();
            match *tenant {
                Some(tenant_id) => rows.put_received.push(ReceivedRow {
                    session_id,
                    packet_id,
                    tenant_id,
                }),
                None => rows.drop_received.push((session_id, packet_id)),
            }
        }
        for (connection, will) in &changes.wills {
            match will {
                Some(will) => rows.put_wills.push(will.row()),
                None => rows.drop_wills.push(*connection),
            }
        }
        rows
    }

    /// Sessions that end go first: a new one may have the name of an old one.
    pub async fn write(&self, connection: &mut PgConnection, door: &str) -> Result<(), sqlx::Error> {
        for rows in self.drop_sessions.chunks(AT_ONCE) {
            mqtt::drop_sessions(connection, door, rows).await?;
        }
        for rows in self.put_sessions.chunks(AT_ONCE) {
            mqtt::put_sessions(connection, door, rows).await?;
        }
        for rows in self.put_queued.chunks(AT_ONCE) {
            mqtt::put_queued(connection, door, rows).await?;
        }
        for rows in self.release.chunks(AT_ONCE) {
            mqtt::release_queued(connection, door, rows).await?;
        }
        for rows in self.drop_queued.chunks(AT_ONCE) {
            mqtt::drop_queued(connection, door, rows).await?;
        }
        for rows in self.drop_retained.chunks(AT_ONCE) {
            mqtt::drop_retained(connection, door, rows).await?;
        }
        for rows in self.put_retained.chunks(AT_ONCE) {
            mqtt::put_retained(connection, door, rows).await?;
        }
        for rows in self.drop_received.chunks(AT_ONCE) {
            mqtt::drop_received(connection, door, rows).await?;
        }
        for rows in self.put_received.chunks(AT_ONCE) {
            mqtt::put_received(connection, door, rows).await?;
        }
        for rows in self.drop_wills.chunks(AT_ONCE) {
            mqtt::drop_wills(connection, door, rows).await?;
        }
        for rows in self.put_wills.chunks(AT_ONCE) {
            mqtt::put_wills(connection, door, rows).await?;
        }
        Ok(())
    }
}

fn about(value: Value, topic: &str) -> About {
    serde_json::from_value(value).unwrap_or_else(|error| {
        tracing::error!(%error, topic, "what is kept about a message can't be read: it goes without");
        About::default()
    })
}

impl Hub {
    /// Puts back what was kept. Before any client of a tenant is let in. Returns the wills of those who
    /// were connected.
    pub(crate) fn restore(&self, kept: Kept) -> Vec<KeptWill> {
        let numbers = kept.sessions.iter().map(|row| row.id);
        let numbers = numbers.chain(kept.queued.iter().map(|row| row.entry));
        let numbers = numbers.chain(kept.wills.iter().map(|row| row.connection));
        self.number_from(numbers.max().unwrap_or(0));
        let sessions: HashMap<i64, Arc<Session>> = kept
            .sessions
            .into_iter()
            .filter_map(|row| Some((row.id, self.restore_session(row)?)))
            .collect();
        for row in kept.queued {
            if let Some(session) = sessions.get(&row.session_id) {
                restore_queued(session, row);
            }
        }
        for row in kept.received {
            if let (Some(session), Ok(packet_id)) =
                (sessions.get(&row.session_id), u16::try_from(row.packet_id))
            {
                session.with(|state| state.unreleased.insert(packet_id, Received::Done));
            }
        }
        let now = Timestamp::now();
        for row in kept.retained {
            let message = Arc::new(Message {
                properties: about(row.about, &row.topic).properties,
                topic: row.topic,
                payload: row.payload.into(),
                qos: row.qos.clamp(0, 2) as u8,
                retain: true,
                expires_at: row.expires_at,
                from: 0,
                kept: true,
            });
            let space = self.space(Space::Tenant(row.tenant_id));
            if space.lock().retained.set(&message, now).is_err() {
                tracing::warn!(
                    topic = message.topic,
                    "more retained messages were kept than there may be"
                );
            }
        }
        self.restore_wills(kept.wills)
    }

    fn restore_session(&self, row: SessionRow) -> Option<Arc<Session>> {
        let subscriptions: Vec<Subscription> = match serde_json::from_value(row.subscriptions) {
            Ok(subscriptions) => subscriptions,
            Err(error) => {
                tracing::error!(%error, client_id = row.client_id, "a kept session can't be read");
                // Its client subscribes anew, to one that takes this one's place.
                self.journal().note(|changes| changes.drop_session(row.id));
                return None;
            }
        };
        let key = Key {
            space: Space::Tenant(row.tenant_id),
            owner: row.gateway_id.uuid(),
            client_id: row.client_id,
        };
        let bounds = self.0.bounds;
        let space = self.space(key.space);
        let mut inner = space.lock();
        let outbox = Outbox::new(bounds.queue_messages, bounds.queue_bytes);
        let session = Session::new(row.id as u64, key, outbox, inner.kept.clone());
        let keep = Duration::from_secs(row.expiry_s.clamp(0, u32::MAX.into()) as u64);
        let left = row.expires_at.map_or(keep.as_secs_f64(), |at| {
            at.seconds_since(Timestamp::now()).clamp(0.0, keep.as_secs_f64())
        });
        session.with(|state| {
            state.persistent = true;
            state.keep = keep;
            state.ends_at = Some(Instant::now() + Duration::from_secs_f64(left));
        });
        for subscription in subscriptions {
            let subscription = Arc::new(subscription);
            session.with(|state| {
                state
                    .subscriptions
                    .insert(subscription.given.clone(), subscription.clone())
            });
            inner.tree.insert(tree::Entry {
                session: session.clone(),
                subscription,
            });
        }
        let name = (session.key.owner, session.key.client_id.clone());
        inner.sessions.insert(name, session.clone());
        Some(session)
    }
}

fn restore_queued(session: &Session, row: QueuedRow) {
    let about = about(row.about, &row.topic);
    let message = Arc::new(Message {
        topic: row.topic,
        payload: row.payload.into(),
        qos: about.message_qos,
        retain: about.retain,
        expires_at: row.expires_at,
        properties: about.properties,
        from: 0,
        kept: true,
    });
    let queued = Queued {
        share: session.share(message.size(), usize::MAX),
        message,
        entry: row.entry,
        packet_id: row.packet_id.try_into().unwrap_or(0),
        again: true,
        qos: if row.qos == 2 { 2 } else { 1 },
        retain: about.retain,
        name: about.name,
        identifiers: about.identifiers,
    };
    session.with(|state| state.outbox.restore(queued, row.released));
}

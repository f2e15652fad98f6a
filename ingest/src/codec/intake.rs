//! Codecs with what they remember: the mappings of the gateways that are connected, and the sessions
//! of Sparkplug.
//!
//! The front door and the foreign brokers ask it two things: which codec a topic is for
//! ([`Intake::route`]), and what a payload holds ([`Intake::read`]).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use models::db::mapping;
use models::id::GatewayId;
use models::mapping::Mapping;
use models::time::Timestamp;
use parking_lot::{Mutex, RwLock};
use sqlx::PgPool;

use super::{Format, route};
use crate::front_door::hub::{Hub, Message, Space};
use crate::metrics;
use crate::registry::Gateway;
use crate::sparkplug::Host;
use crate::writer::Payload;

#[derive(Debug)]
pub struct Intake {
    pub sparkplug: Host,
    mappings: RwLock<HashMap<GatewayId, Arc<Mapping>>>,
    /// Where it was said that this Sparkplug host is there.
    announced: Mutex<HashSet<Space>>,
}

impl Intake {
    pub fn new(sparkplug: Host) -> Self {
        Self {
            sparkplug,
            mappings: RwLock::default(),
            announced: Mutex::default(),
        }
    }

    /// Learns what a gateway sends, before its first message is read.
    ///
    /// # Errors
    /// When the database does, or the mapping can't be read.
    pub async fn enter(&self, pool: &PgPool, gateway: GatewayId) -> Result<(), sqlx::Error> {
        if self.mappings.read().contains_key(&gateway) {
            return Ok(());
        }
        let mut connection = pool.acquire().await?;
        let found = mapping::of(&mut connection, &[gateway]).await?;
        let mapping = found
            .into_iter()
            .next()
            .map(|(_, mapping)| mapping)
            .unwrap_or_default();
        self.mappings.write().insert(gateway, Arc::new(mapping));
        Ok(())
    }

    /// Reads the mappings of all known gateways anew, so that a change is seen without a reconnect.
    ///
    /// # Errors
    /// When the database does; what is known stays.
    pub async fn refresh(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let known: Vec<GatewayId> = self.mappings.read().keys().copied().collect();
        if known.is_empty() {
            return Ok(());
        }
        let mut connection = pool.acquire().await?;
        let found: HashMap<GatewayId, Mapping> =
            mapping::of(&mut connection, &known).await?.into_iter().collect();
        drop(connection);
        let mut mappings = self.mappings.write();
        for gateway in known {
            let new = found.get(&gateway).cloned().unwrap_or_default();
            if mappings.get(&gateway).is_none_or(|old| **old != new) {
                tracing::info!(%gateway, "the mapping of a gateway has changed");
                mappings.insert(gateway, Arc::new(new));
            }
        }
        Ok(())
    }

    /// The codec that reads a topic of this gateway; `None`: it holds no readings.
    pub fn route(&self, gateway: &Gateway, topic: &str) -> Option<Format> {
        let mapping = self.mappings.read().get(&gateway.id).cloned().unwrap_or_default();
        route::format(gateway, &mapping, topic)
    }

    /// Reads a payload. Returns what can go to the writer, in order: usually the payload itself;
    /// nothing when it waits for a birth certificate; others that waited for this one. All are of the
    /// same gateway.
    pub fn read(&self, mut payload: Payload) -> Vec<Payload> {
        if let Format::Sparkplug(topic) = &payload.format {
            let topic = topic.clone();
            return self.sparkplug.take(&topic, payload);
        }
        payload.decoded = payload.format.decode(&payload.raw, payload.received_at);
        vec![payload]
    }

    /// Says in a tenant's space, retained, that this Sparkplug host is there; once.
    pub fn announce(&self, hub: &Hub, space: Space) {
        if self.announced.lock().insert(space) {
            self.say(hub, space, self.sparkplug.online());
        }
    }

    /// Says everywhere that this Sparkplug host goes; once.
    pub fn say_goodbye(&self, hub: &Hub) {
        let announced = std::mem::take(&mut *self.announced.lock());
        for space in announced {
            self.say(hub, space, self.sparkplug.offline(Timestamp::now()));
        }
    }

    fn say(&self, hub: &Hub, space: Space, payload: Bytes) {
        let message = Arc::new(Message {
            topic: self.sparkplug.state_topic(),
            payload,
            qos: 1,
            retain: true,
            ..Message::default()
        });
        if hub.publish(space, &message, false).is_err() {
            tracing::warn!("there is no room for the STATE of this Sparkplug host");
            metrics::dropped_down("queue_full");
        }
    }

    /// What waited too long: call it every [`Host::tick`].
    pub fn expire(&self, now: Timestamp) -> Vec<Payload> {
        self.sparkplug.expire(now)
    }
}

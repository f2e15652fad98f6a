//! What is said of those who don't come back after a kill.
//!
//! The will of every connection of a gateway stands in the journal until it is said or void. After a
//! restart that closed nothing in order, whoever comes back in time takes his old will away; the others
//! are as gone as if the server had heard their silence.

use std::sync::Arc;

use models::db::mqtt::WillRow;
use models::id::{GatewayId, TenantId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::session::{Key, Space};
use super::{Hub, Registered};
use crate::front_door::packet::{Properties, Will};

/// A will that outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptWill {
    pub connection: i64,
    pub tenant: TenantId,
    pub gateway: GatewayId,
    pub client_id: String,
    /// The full name of its topic; `None` = it is for the writer.
    pub name: Option<String>,
    /// How long its client has to come back, seconds.
    pub delay_s: u64,
    pub will: Will,
}

/// What a row says beside its columns.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct About {
    properties: Properties,
    expiry: Option<u32>,
    delay: u32,
    name: Option<String>,
}

impl KeptWill {
    /// Whose it is.
    pub fn key(&self) -> Key {
        Key {
            space: Space::Tenant(self.tenant),
            owner: self.gateway.uuid(),
            client_id: self.client_id.clone(),
        }
    }

    pub(super) fn row(&self) -> WillRow {
        let will = &self.will;
        let about = About {
            properties: will.properties.clone(),
            expiry: will.expiry,
            delay: will.delay,
            name: self.name.clone(),
        };
        WillRow {
            connection: self.connection,
            tenant_id: self.tenant,
            gateway_id: self.gateway,
            client_id: self.client_id.clone(),
            topic: will.topic.clone(),
            payload: will.payload.to_vec(),
            qos: will.qos.into(),
            retain: will.retain,
            // Text and numbers only: it can be written.
            about: serde_json::to_value(about).unwrap_or_default(),
            delay_s: i64::try_from(self.delay_s).unwrap_or(i64::MAX),
        }
    }

    fn of(row: WillRow) -> Option<Self> {
        let about: About = match serde_json::from_value(row.about) {
            Ok(about) => about,
            Err(error) => {
                tracing::error!(%error, topic = row.topic, "a kept will can't be read");
                return None;
            }
        };
        Some(Self {
            connection: row.connection,
            tenant: row.tenant_id,
            gateway: row.gateway_id,
            client_id: row.client_id,
            name: about.name,
            delay_s: u64::try_from(row.delay_s).unwrap_or(0),
            will: Will {
                topic: row.topic,
                payload: row.payload.into(),
                qos: row.qos.clamp(0, 2) as u8,
                retain: row.retain,
                delay: about.delay,
                expiry: about.expiry,
                properties: about.properties,
            },
        })
    }
}

impl Hub {
    /// Keeps the will of a connection over a kill; nothing for a client that is nobody's gateway.
    /// `delay_s`: how long it has to come back then.
    pub fn keep_will(&self, registered: &Registered, will: &Will, name: Option<String>, delay_s: u64) {
        let key = &registered.session.key;
        let Some((tenant, gateway)) = key.home() else {
            return;
        };
        let kept = Arc::new(KeptWill {
            connection: registered.number as i64,
            tenant,
            gateway,
            client_id: key.client_id.clone(),
            name,
            delay_s,
            will: will.clone(),
        });
        self.journal()
            .note(|changes| changes.put_will(kept.connection, kept));
    }

    /// The will of a connection was said, or is void.
    pub fn will_is_done(&self, connection: i64) {
        self.journal().note(|changes| changes.drop_will(connection));
    }

    /// Puts back what was kept; wills that can't be read are dropped.
    pub(super) fn restore_wills(&self, rows: Vec<WillRow>) -> Vec<KeptWill> {
        let mut all = Vec::with_capacity(rows.len());
        for row in rows {
            let connection = row.connection;
            match KeptWill::of(row) {
                Some(kept) => {
                    // One client may have taken an older connection of its own over: the newer will counts.
                    let mut wills = self.0.wills.lock();
                    let newest = wills.entry(kept.key()).or_insert(connection);
                    *newest = connection.max(*newest);
                    all.push(kept);
                }
                None => self.will_is_done(connection),
            }
        }
        all
    }

    /// A client came in: what was to be said of it after the restart is void.
    pub(super) fn is_back(&self, key: &Key) {
        if key.owner == Uuid::nil() {
            return;
        }
        let before = self.0.wills.lock().remove(key);
        if let Some(connection) = before {
            self.will_is_done(connection);
        }
    }

    /// Whether a will is to be said now: its client didn't come back.
    pub fn is_due(&self, kept: &KeptWill) -> bool {
        let mut wills = self.0.wills.lock();
        let due = wills.get(&kept.key()) == Some(&kept.connection);
        if due {
            wills.remove(&kept.key());
        }
        due
    }
}

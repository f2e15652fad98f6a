//! All edge nodes that this process hears.
//!
//! Sessions are kept per gateway (whose credential a node came in with) and node. The front door
//! decodes on the connection's task; the lock is held for the reading of one payload and never across
//! an await.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use models::id::GatewayId;
use models::time::Timestamp;
use parking_lot::Mutex;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::node::{Aliases, Limits, Node, Step, Verdict};
use super::proto::{self, Metric, Payload as Proto, Value, datatype};
use super::read::read;
use super::topic::{Kind, NAMESPACE, Topic};
use crate::codec::{DEVICE_OFFLINE, DEVICE_ONLINE, Decoded, Format, NamedEvent, Undecodable};
use crate::metrics;
use crate::registry::Gateway;
use crate::writer::Payload;

/// Nodes of one gateway.
const MAX_NODES: usize = 1_000;
/// Messages of one node that wait for a birth.
const MAX_WAITING: usize = 64;

/// Section `[ingest.sparkplug]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Name of this host application: edge nodes watch `spBv1.0/STATE/{host_id}`.
    pub host_id: String,
    /// How long a gap in the sequence numbers may stay open before a rebirth is asked for, milliseconds.
    pub reorder_timeout_ms: u64,
    /// How long to wait before an unanswered request for a rebirth is repeated, milliseconds.
    pub ask_again_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            host_id: "forewarn".to_owned(),
            reorder_timeout_ms: 2_000,
            ask_again_ms: 10_000,
        }
    }
}

impl Settings {
    /// # Errors
    /// Names the key that can't be.
    pub fn check(&self) -> anyhow::Result<()> {
        let bad = |c: char| matches!(c, '/' | '+' | '#') || c.is_control();
        anyhow::ensure!(
            !self.host_id.is_empty() && self.host_id.len() <= 128 && !self.host_id.contains(bad),
            "ingest.sparkplug.host_id must have 1 to 128 bytes without /, +, # and control characters"
        );
        anyhow::ensure!(
            self.reorder_timeout_ms > 0 && self.ask_again_ms > 0,
            "ingest.sparkplug.reorder_timeout_ms and ask_again_ms must be at least 1"
        );
        Ok(())
    }

    fn limits(&self) -> Limits {
        let micros = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX).saturating_mul(1_000);
        Limits {
            reorder: micros(self.reorder_timeout_ms),
            ask_again: micros(self.ask_again_ms),
            max_devices: 10_000,
            max_aliases: 200_000,
        }
    }
}

/// Says something to a gateway: topic and payload.
pub type Tell = dyn Fn(&Gateway, String, Bytes) + Send + Sync;

/// A message that waits for the birth which names its metrics.
#[derive(Debug)]
struct Waiting {
    payload: Payload,
    proto: Proto,
    topic: Topic,
}

#[derive(Debug)]
struct Session {
    node: Node,
    gateway: Arc<Gateway>,
    waiting: Vec<Waiting>,
}

type Key = (GatewayId, String, String);

pub struct Host {
    settings: Settings,
    limits: Limits,
    /// When this host application went online, milliseconds: the same in will and birth.
    since: i64,
    sessions: Mutex<HashMap<Key, Session>>,
    tell: Box<Tell>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// The topic on which a host application says whether it is there.
pub fn state_topic(host_id: &str) -> String {
    format!("{NAMESPACE}/STATE/{host_id}")
}

/// STATE's payload; `at` in milliseconds since 1970.
pub fn state(online: bool, at: i64) -> Bytes {
    json!({ "online": online, "timestamp": at }).to_string().into()
}

/// The command that asks a node for all its births.
pub fn rebirth(now: Timestamp) -> Bytes {
    let millis = u64::try_from(now.micros() / 1_000).unwrap_or(0);
    let metric = Metric {
        name: Some("Node Control/Rebirth".to_owned()),
        timestamp: Some(millis),
        datatype: Some(datatype::BOOLEAN),
        value: Some(Value::Boolean(true)),
        ..Metric::default()
    };
    let payload = Proto {
        timestamp: Some(millis),
        metrics: vec![metric],
        ..Proto::default()
    };
    payload.encode_to_vec().into()
}

impl Host {
    pub fn new(settings: Settings, tell: Box<Tell>) -> Self {
        Self {
            limits: settings.limits(),
            settings,
            since: Timestamp::now().micros() / 1_000,
            sessions: Mutex::default(),
            tell,
        }
    }

    pub fn state_topic(&self) -> String {
        state_topic(&self.settings.host_id)
    }

    /// What nodes are told when they subscribe.
    pub fn online(&self) -> Bytes {
        state(true, self.since)
    }

    /// What they are told when this process stops.
    pub fn offline(&self, now: Timestamp) -> Bytes {
        state(false, now.micros() / 1_000)
    }

    /// How often [`Host::expire`] should be called.
    pub fn tick(&self) -> Duration {
        Duration::from_millis((self.settings.reorder_timeout_ms / 4).clamp(10, 1_000))
    }

    /// Takes a message; returns what can go to the writer now, in order: nothing when it waits, and
    /// others that waited for it.
    pub fn take(&self, topic: &Topic, mut payload: Payload) -> Vec<Payload> {
        let proto = match proto::decode(&payload.raw) {
            Ok(proto) => proto,
            Err(why) => {
                payload.decoded = Err(why);
                return vec![payload];
            }
        };
        let now = payload.received_at;
        let gateway = payload.gateway.clone();
        let mut sessions = self.sessions.lock();
        let key = (gateway.id, topic.group.clone(), topic.node.clone());
        if !sessions.contains_key(&key)
            && sessions.keys().filter(|other| other.0 == key.0).count() >= MAX_NODES
        {
            payload.decoded = Err(Undecodable::new(
                "too_many_nodes",
                format!(
                    "`{}`: the gateway has {MAX_NODES} edge nodes already",
                    topic.node_name()
                ),
            ));
            return vec![payload];
        }
        let session = sessions.entry(key).or_insert_with(|| Session {
            node: Node::default(),
            gateway: gateway.clone(),
            waiting: Vec::new(),
        });
        let mut step = session.node.take(topic, &proto, now.micros(), &self.limits);
        if step.verdict == Verdict::Wait && session.waiting.len() >= MAX_WAITING {
            step.verdict = Verdict::Read;
        }
        let mut ready = Vec::new();
        match step.verdict {
            Verdict::Wait => session.waiting.push(Waiting {
                payload,
                proto,
                topic: topic.clone(),
            }),
            Verdict::Read => {
                let mut decoded = session.read(topic, &proto, now);
                // A node's will was written when it connected: the host's clock tells when it died.
                let at = match topic.kind {
                    Kind::NodeDeath => now.micros(),
                    _ => proto
                        .timestamp
                        .and_then(|millis| i64::try_from(millis).ok()?.checked_mul(1_000))
                        .unwrap_or(now.micros()),
                };
                announce(&mut decoded, &topic.node_name(), &step, at);
                payload.decoded = Ok(decoded);
                ready.push(payload);
            }
            Verdict::Ignore => {
                payload.decoded = Ok(Decoded::default());
                ready.push(payload);
            }
            Verdict::TooMuch => {
                payload.decoded = Err(Undecodable::new(
                    "too_many_metrics",
                    format!(
                        "metrics: the birth of `{}` has more than a host holds ({} aliases, {} devices a node)",
                        topic.device_name(),
                        self.limits.max_aliases,
                        self.limits.max_devices
                    ),
                ));
                ready.push(payload);
            }
        }
        if step.release {
            session.release(topic.kind == Kind::NodeBirth, &mut ready);
        }
        drop(sessions);
        if step.rebirth {
            self.ask(&gateway, &topic.group, &topic.node, now);
        }
        ready
    }

    /// What the passing of time brings about: gaps that stay open.
    pub fn expire(&self, now: Timestamp) -> Vec<Payload> {
        let mut ready = Vec::new();
        let mut ask = Vec::new();
        for ((_, group, node), session) in self.sessions.lock().iter_mut() {
            let step = session.node.expire(now.micros(), &self.limits);
            if step.release {
                session.release(false, &mut ready);
            }
            if step.rebirth {
                ask.push((session.gateway.clone(), group.clone(), node.clone()));
            }
        }
        for (gateway, group, node) in ask {
            self.ask(&gateway, &group, &node, now);
        }
        ready
    }

    /// The way to the nodes of a gateway is lost: returns what says so, for the writer.
    pub fn lost(&self, gateway: GatewayId, now: Timestamp) -> Vec<Payload> {
        let mut ready = Vec::new();
        for ((of, group, node), session) in self.sessions.lock().iter_mut() {
            if *of != gateway {
                continue;
            }
            let step = session.node.lost();
            session.release(false, &mut ready);
            if !step.presence.is_empty() {
                let topic = Topic {
                    group: group.clone(),
                    kind: Kind::NodeDeath,
                    node: node.clone(),
                    device: None,
                };
                let mut decoded = Decoded::default();
                announce(&mut decoded, &topic.node_name(), &step, now.micros());
                ready.push(Payload {
                    gateway: session.gateway.clone(),
                    topic: format!("{NAMESPACE}/{group}/NDEATH/{node}"),
                    received_at: now,
                    raw: Bytes::new(),
                    format: Format::Sparkplug(topic),
                    decoded: Ok(decoded),
                    reply: None,
                    permit: None,
                });
            }
        }
        ready
    }

    fn ask(&self, gateway: &Gateway, group: &str, node: &str, now: Timestamp) {
        tracing::info!(gateway = %gateway.id, group, node, "asking an edge node for its birth");
        metrics::rebirth_asked();
        (self.tell)(gateway, Topic::command(group, node), rebirth(now));
    }
}

static NONE: LazyLock<Aliases> = LazyLock::new(Aliases::default);

impl Session {
    fn read(&self, topic: &Topic, proto: &Proto, received_at: Timestamp) -> Decoded {
        let aliases = self.node.aliases(topic.device.as_deref()).unwrap_or(&NONE);
        read(topic, proto, aliases, received_at)
    }

    /// Reads what waits and need not wait any longer. What can't be named becomes a dead letter; with
    /// `reborn` that is all of it: a new birth gives the aliases new meanings.
    fn release(&mut self, reborn: bool, ready: &mut Vec<Payload>) {
        for mut waiting in std::mem::take(&mut self.waiting) {
            let Waiting {
                payload,
                proto,
                topic,
            } = &mut waiting;
            if reborn {
                payload.decoded = Ok(read(topic, proto, &NONE, payload.received_at));
            } else if self.node.gap_is_open() && self.node.lacks_names(topic, proto) {
                self.waiting.push(waiting);
                continue;
            } else {
                payload.decoded = Ok(self.read(topic, proto, payload.received_at));
            }
            ready.push(waiting.payload);
        }
    }
}

fn announce(decoded: &mut Decoded, node: &str, step: &Step, at: i64) {
    for (device, online) in &step.presence {
        decoded.events.push(NamedEvent {
            device: match device {
                Some(device) => format!("{node}/{device}"),
                None => node.to_owned(),
            },
            ts: at,
            code: if *online { DEVICE_ONLINE } else { DEVICE_OFFLINE }.to_owned(),
            severity: 0,
            message: None,
        });
    }
}

#[cfg(test)]
mod tests;

//! From a payload to the one form that everything behind understands.
//!
//! A codec knows neither the register nor the clock's limits: it only reads. What it can't read at
//! all is [`Undecodable`]; a single value that is no number is a [`Reject`] beside the good ones.

use std::sync::Arc;

use models::mapping::Route;
use models::time::Timestamp;
use serde_json::Value;

use crate::sparkplug;

mod columns;
pub mod influx;
pub mod intake;
pub mod json;
pub mod mapped;
pub mod native;
pub mod route;
pub mod senml;
mod snapshot;
pub mod thingsboard;

pub use columns::Columns;

/// Readings that one payload may hold, batches apart.
pub const MAX_READINGS: usize = 100_000;
/// The device is there again: its values are live. Written with [`DEVICE_OFFLINE`] in
/// `discrete_event`, and mirrored in `device.stale_since`.
pub const DEVICE_ONLINE: &str = "device_online";
/// The gateway says that the device is away: its last values are stale.
pub const DEVICE_OFFLINE: &str = "device_offline";

/// Number and floor of a native batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub epoch: u64,
    pub seq: u64,
    pub floor: u64,
}

/// Readings of one channel by its name, in columns of equal length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NamedColumn {
    pub device: String,
    pub channel: String,
    /// UCUM code; `None` = as the channel is registered.
    pub unit: Option<String>,
    /// Microseconds since 1970, as sent.
    pub ts: Vec<i64>,
    pub values: Vec<f64>,
    /// `Quality` codes; empty = all good.
    pub qualities: Vec<u8>,
}

/// Something that happened at a moment, by its device's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedEvent {
    pub device: String,
    pub ts: i64,
    pub code: String,
    pub severity: i16,
    pub message: Option<String>,
}

/// A reading that is not stored as one, with its reason. What is kept of it is what was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Reject {
    pub device: String,
    pub channel: String,
    pub unit: Option<String>,
    pub ts: Option<i64>,
    /// The value as sent; a number that JSON can't write is text.
    pub value: Value,
    pub quality: u8,
    pub reason: &'static str,
    pub detail: String,
}

/// A payload that was understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    pub envelope: Option<Envelope>,
    /// The gateway's clock when the batch was made, microseconds; `None` = it didn't say.
    pub sent_at: Option<i64>,
    pub columns: Vec<NamedColumn>,
    pub events: Vec<NamedEvent>,
    pub rejects: Vec<Reject>,
}

impl Decoded {
    /// Every reading the payload held, good or not.
    pub fn readings(&self) -> usize {
        self.columns
            .iter()
            .map(|column| column.values.len())
            .sum::<usize>()
            + self.rejects.len()
    }
}

/// A payload that nothing could be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// Stable code, kept in `dead_letter.reason`.
    pub reason: &'static str,
    pub detail: String,
}

impl Undecodable {
    pub fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }
}

/// Which codec a payload is for, with what its topic says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    Native,
    Json {
        device: String,
        channel: Option<String>,
    },
    /// JSON by a route of the gateway's mapping.
    Mapped {
        route: Arc<Route>,
        topic: String,
    },
    Influx(influx::Options),
    Senml {
        device: Option<String>,
    },
    /// `own` is the device that stands for the gateway itself.
    ThingsBoard {
        kind: thingsboard::Kind,
        own: String,
    },
    Sparkplug(sparkplug::Topic),
    /// Rejected readings as they stand in a dead letter, for a replay.
    Readings,
    /// A topic of the gateway's own that has no meaning.
    Unknown,
}

impl Format {
    /// As in `dead_letter.format`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Json { .. } | Self::Mapped { .. } => "json",
            Self::Influx(_) => "influx",
            Self::Senml { .. } => "senml",
            Self::ThingsBoard { .. } => "thingsboard",
            Self::Sparkplug(_) => "sparkplug",
            Self::Readings => "readings",
            Self::Unknown => "unknown",
        }
    }

    /// `received_at` is the time of readings that have none. Sparkplug is read here without its
    /// session: metrics that go by an alias stay unknown; [`intake::Intake`] knows the sessions.
    ///
    /// # Errors
    /// When nothing can be made of the payload.
    pub fn decode(&self, payload: &[u8], received_at: Timestamp) -> Result<Decoded, Undecodable> {
        match self {
            Self::Native => native::decode(payload),
            Self::Json { device, channel } => json::decode(payload, device, channel.as_deref(), received_at),
            Self::Mapped { route, topic } => mapped::decode(route, topic, payload, received_at),
            Self::Influx(options) => influx::decode(payload, options, received_at),
            Self::Senml { device } => senml::decode(payload, device.as_deref(), received_at),
            Self::ThingsBoard { kind, own } => thingsboard::decode(*kind, payload, own, received_at),
            Self::Sparkplug(topic) => sparkplug::decode_alone(topic, payload, received_at),
            Self::Readings => json::decode_rejects(payload, received_at),
            Self::Unknown => Err(Undecodable::new(
                "unknown_topic",
                "the topic is none of batch, json/{device}, json/{device}/{channel}, influx, senml, \
                 senml/{device}, state, and the gateway's mapping has no route for it",
            )),
        }
    }
}

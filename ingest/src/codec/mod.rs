//! From a payload to the one form that everything behind understands.
//!
//! A codec knows neither the register nor the clock's limits: it only reads. What it can't read at
//! all is [`Undecodable`]; a single value that is no number is a [`Reject`] beside the good ones.

use models::time::Timestamp;
use serde_json::Value;

pub mod json;
pub mod native;

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
            Self::Json { .. } => "json",
            Self::Readings => "readings",
            Self::Unknown => "unknown",
        }
    }

    /// `received_at` is the time of readings that have none.
    ///
    /// # Errors
    /// When nothing can be made of the payload.
    pub fn decode(&self, payload: &[u8], received_at: Timestamp) -> Result<Decoded, Undecodable> {
        match self {
            Self::Native => native::decode(payload),
            Self::Json { device, channel } => json::decode(payload, device, channel.as_deref(), received_at),
            Self::Readings => json::decode_rejects(payload, received_at),
            Self::Unknown => Err(Undecodable::new(
                "unknown_topic",
                "the topic is none of batch, json/{device}, json/{device}/{channel}, state",
            )),
        }
    }
}

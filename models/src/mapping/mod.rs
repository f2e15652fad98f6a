//! What a gateway's own topics and JSON mean: written once per gateway, instead of changing the
//! gateway.
//!
//! A mapping is a list of routes. The first route whose `topic` filter matches says which codec reads
//! the payload and what its parts are called. With no route, the standard topics of each protocol
//! apply (`docs/mqtt.md`).
//!
//! ```json
//! {"routes": [{
//!    "topic": "plant/+/status", "codec": "json", "device": "{1}",
//!    "each": "/samples", "time": {"pointer": "/t", "format": "unix_ms"},
//!    "values": [{"pointer": "/temp/value", "channel": "temperature", "unit": "Cel"}]}]}
//! ```
//!
//! `{1}`, `{2}`, … in `device` and `channel` are what the first, second, … wildcard of the filter
//! matched. Pointers are JSON pointers (RFC 6901) below the element of `each`. The module is pure:
//! the API tries a mapping on a dead letter with the same function that ingest stores by.

mod apply;
mod check;
mod time;

use serde::{Deserialize, Serialize};

pub use apply::{Failure, Mapped, Misfit, Reading, apply, shown};
pub use check::Invalid;
pub use time::read as read_time;

/// What a gateway sends and how to read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mapping {
    /// Protocols this gateway may speak; absent = all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocols: Option<Vec<Codec>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

/// How a payload is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// `forewarn-edge`'s batches.
    Native,
    /// Sparkplug B 3.0 below `spBv1.0/`.
    Sparkplug,
    /// ThingsBoard's device and gateway API below `v1/`.
    Thingsboard,
    /// InfluxDB line protocol, as Telegraf sends it.
    Influx,
    /// SenML (RFC 8428) in JSON or CBOR.
    Senml,
    Json,
}

impl Codec {
    pub const ALL: [Self; 6] = [
        Self::Native,
        Self::Sparkplug,
        Self::Thingsboard,
        Self::Influx,
        Self::Senml,
        Self::Json,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Sparkplug => "sparkplug",
            Self::Thingsboard => "thingsboard",
            Self::Influx => "influx",
            Self::Senml => "senml",
            Self::Json => "json",
        }
    }
}

/// What the messages of a topic filter mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// MQTT topic filter.
    pub topic: String,
    pub codec: Codec,
    /// Name of the device; `{1}` = what the first wildcard matched, `{/id}` = the text at that pointer
    /// of the payload. Absent = the last level of the topic for JSON, what the payload says for the
    /// others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// JSON: the payload is one value of this channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// JSON: pointer to an array whose elements are read one by one; empty = the payload itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// JSON: which values are readings. Empty = every number and truth value, nested names joined by
    /// dots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Value>,
    /// What happens to text where a number is needed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub text: Text,
    /// Line protocol: what the time stamps count; nanoseconds unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
}

fn is_default(text: &Text) -> bool {
    *text == Text::default()
}

/// Where the time of a reading stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Time {
    pub pointer: String,
    #[serde(default)]
    pub format: TimeFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeFormat {
    /// RFC 3339 text, or a number: seconds since 1970, from 10^11 on milliseconds.
    #[default]
    Auto,
    Rfc3339,
    UnixS,
    UnixMs,
    UnixUs,
    UnixNs,
}

/// One value of a payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Value {
    /// JSON pointer below the element; `*` as a level = every member.
    pub pointer: String,
    /// Name of the channel; absent = the last level of the pointer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// UCUM code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// A payload without it is none of this kind: it becomes a dead letter.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Text {
    /// Kept as a dead letter, so that it can be mended.
    #[default]
    Reject,
    /// Left out.
    Ignore,
    /// Read as a number when it is one, with a point.
    Number,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    S,
    Ms,
    Us,
    Ns,
}

impl Mapping {
    /// Whether the gateway may speak this protocol.
    pub fn allows(&self, codec: Codec) -> bool {
        self.protocols
            .as_ref()
            .is_none_or(|allowed| allowed.contains(&codec))
    }

    /// The first route for a topic, with what its wildcards matched.
    pub fn route<'a>(&self, topic: &'a str) -> Option<(usize, Vec<&'a str>)> {
        self.routes
            .iter()
            .enumerate()
            .find_map(|(i, route)| Some((i, captures(&route.topic, topic)?)))
    }
}

/// What the wildcards of `filter` match in `topic`; `None` when it doesn't match. Topics that begin
/// with `$` are matched by no wildcard (MQTT 3.1.1, 4.7.2).
pub fn captures<'a>(filter: &str, topic: &'a str) -> Option<Vec<&'a str>> {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return None;
    }
    let mut found = Vec::new();
    let mut rest = Some(topic);
    for level in filter.split('/') {
        if level == "#" {
            found.push(rest.unwrap_or(""));
            return Some(found);
        }
        let text = rest?;
        let (head, tail) = match text.split_once('/') {
            Some((head, tail)) => (head, Some(tail)),
            None => (text, None),
        };
        match level {
            "+" => found.push(head),
            _ if level == head => {}
            _ => return None,
        }
        rest = tail;
    }
    rest.is_none().then_some(found)
}

#[cfg(test)]
mod tests;

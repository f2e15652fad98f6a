//! The contract between gateways and Forewarn over MQTT.
//!
//! | topic | direction | payload |
//! |---|---|---|
//! | `fw/v1/{tenant}/{gateway}/batch` | up | [`Batch`], protobuf, zstd |
//! | `fw/v1/{tenant}/{gateway}/json/{device}` | up | JSON object: channel name to value |
//! | `fw/v1/{tenant}/{gateway}/json/{device}/{channel}` | up | JSON: one value |
//! | `fw/v1/{tenant}/{gateway}/state` | up, retained, will | JSON `{"online":bool,"at":…}` |
//! | `fw/v1/{tenant}/{gateway}/committed` | down | [`Committed`], JSON |
//! | `fw/v1/{tenant}/{gateway}/error` | down | [`Refusal`], JSON |
//!
//! `fw/v1/me/…` is short for the gateway that the credential belongs to; only the front door knows
//! who that is, so a foreign broker can't use it.
//!
//! A batch is columns, one for each channel, because a gateway's channels repeat in every batch:
//! time stamps as differences, values as doubles, names once.

use prost::Message;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// First levels of every topic.
pub const PREFIX: &str = "fw/v1";
/// What a batch may take once decompressed: 16 MiB, some 1.5 million readings.
pub const MAX_BATCH_BYTES: usize = 16 << 20;
/// Readings that one batch may hold.
pub const MAX_BATCH_READINGS: usize = 1 << 20;

/// `{tenant}/{gateway}` of a topic and what stands behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic<'a> {
    /// `None` = `me`.
    pub gateway: Option<(&'a str, &'a str)>,
    pub kind: Kind<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    Batch,
    Json {
        device: &'a str,
        channel: Option<&'a str>,
    },
    State,
    Committed,
    Error,
}

/// A topic that is not part of the contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a topic of Forewarn: expected fw/v1/{{tenant}}/{{gateway}}/batch, …/json/{{device}} or …/json/{{device}}/{{channel}}"
)]
pub struct TopicError(pub String);

impl<'a> Topic<'a> {
    /// # Errors
    /// When the topic is not one of the table above. Device and channel names are not empty and
    /// hold no `+`, `#` or control character; a channel's name may hold `/`.
    pub fn parse(text: &'a str) -> Result<Self, TopicError> {
        let refuse = || TopicError(text.to_owned());
        let rest = text
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or_else(refuse)?;
        let (first, rest) = rest.split_once('/').ok_or_else(refuse)?;
        let (gateway, rest) = if first == "me" {
            (None, rest)
        } else {
            let (second, rest) = rest.split_once('/').ok_or_else(refuse)?;
            (Some((first, second)), rest)
        };
        let good = |name: &&str| {
            !name.is_empty()
                && name.len() <= 256
                && !name.contains(|c: char| c == '+' || c == '#' || c.is_control())
        };
        let kind = match rest.split_once('/') {
            None if rest == "batch" => Kind::Batch,
            None if rest == "state" => Kind::State,
            None if rest == "committed" => Kind::Committed,
            None if rest == "error" => Kind::Error,
            Some(("json", names)) => {
                let (device, channel) = match names.split_once('/') {
                    Some((device, channel)) => (device, Some(channel)),
                    None => (names, None),
                };
                if !good(&device) || channel.is_some_and(|name| !good(&name)) {
                    return Err(refuse());
                }
                Kind::Json { device, channel }
            }
            _ => return Err(refuse()),
        };
        Ok(Self { gateway, kind })
    }
}

/// `fw/v1/{tenant}/{gateway}/{kind}`.
pub fn topic(tenant: &str, gateway: &str, kind: &str) -> String {
    format!("{PREFIX}/{tenant}/{gateway}/{kind}")
}

/// Whether `text` is an MQTT topic filter: a wildcard fills a level, `#` is the last one
/// ([MQTT-4.7.1-1] to [MQTT-4.7.1-3]), and there is no NUL ([MQTT-4.7.3-2]).
pub fn is_filter(text: &str) -> bool {
    if text.is_empty() || text.contains('\0') {
        return false;
    }
    let mut levels = text.split('/').peekable();
    while let Some(level) = levels.next() {
        let wild = level.contains(['+', '#']);
        if wild && level.len() > 1 || level == "#" && levels.peek().is_some() {
            return false;
        }
    }
    true
}

/// Readings of one gateway, numbered.
///
/// `epoch` changes when a spool is made anew; `seq` counts batches from 1 inside it; `floor` is the
/// lowest sequence number the gateway still has: what lies below and never came is lost, and the
/// receiver records that.
#[derive(Clone, PartialEq, Message)]
pub struct Batch {
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    #[prost(uint64, tag = "3")]
    pub floor: u64,
    /// The gateway's clock when the batch was sent, microseconds; 0 = it doesn't know the time.
    #[prost(sint64, tag = "4")]
    pub sent_at: i64,
    #[prost(message, repeated, tag = "5")]
    pub columns: Vec<Column>,
    #[prost(message, repeated, tag = "6")]
    pub events: Vec<Event>,
}

/// Readings of one channel, oldest first.
#[derive(Clone, PartialEq, Message)]
pub struct Column {
    #[prost(string, tag = "1")]
    pub device: String,
    #[prost(string, tag = "2")]
    pub channel: String,
    /// UCUM code; empty = as the channel is registered.
    #[prost(string, tag = "3")]
    pub unit: String,
    /// The first is microseconds since 1970, each further one the difference to the one before.
    #[prost(sint64, repeated, tag = "4")]
    pub ts_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "5")]
    pub values: Vec<f64>,
    /// `reading::Quality` codes; empty = all good.
    #[prost(bytes = "vec", tag = "6")]
    pub qualities: Vec<u8>,
}

/// Something that happened at a moment and has no value.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    #[prost(string, tag = "1")]
    pub device: String,
    #[prost(sint64, tag = "2")]
    pub ts: i64,
    #[prost(string, tag = "3")]
    pub code: String,
    #[prost(int32, tag = "4")]
    pub severity: i32,
    #[prost(string, tag = "5")]
    pub message: String,
}

/// Everything up to and including `seq` of `epoch` is committed: the gateway may forget it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    pub epoch: u64,
    pub seq: u64,
}

/// Why something a gateway sent was not stored as readings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    pub topic: String,
    /// Stable code, as in `dead_letter.reason`.
    pub reason: String,
    pub detail: String,
    pub dead_letter: Option<crate::id::DeadLetterId>,
    /// With the reason `quota`: until when the gateway is slowed down, by the server's clock, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// … and how long that is, seconds, for whoever's clock is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<f64>,
}

/// A payload that is not a batch.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error("not a zstd frame, or damaged")]
    Zstd(#[source] std::io::Error),
    #[error("not a batch")]
    Protobuf(#[from] prost::DecodeError),
    #[error("holds {0} readings, more than {MAX_BATCH_READINGS}: send smaller batches")]
    TooManyReadings(usize),
    #[error(
        "column {column} (`{device}`/`{channel}`) has {ts} time stamps, {values} values and {qualities} qualities"
    )]
    Ragged {
        column: usize,
        device: String,
        channel: String,
        ts: usize,
        values: usize,
        qualities: usize,
    },
    #[error("sequence number 0: they start at 1")]
    SeqZero,
    #[error("`{field}` is larger than 2^63 - 1")]
    OutOfRange { field: &'static str },
}

impl Batch {
    pub fn readings(&self) -> usize {
        self.columns.iter().map(|column| column.values.len()).sum()
    }

    /// Protobuf in a zstd frame. `level` 1 suits a gateway.
    pub fn encode_compressed(&self, level: i32) -> std::io::Result<Vec<u8>> {
        zstd::bulk::compress(&self.encode_to_vec(), level)
    }

    /// # Errors
    /// See [`BatchError`]; whatever is returned as `Ok` has columns of equal length, a sequence
    /// number from 1 and numbers that fit PostgreSQL's.
    pub fn decode_compressed(payload: &[u8]) -> Result<Self, BatchError> {
        // Capacity is a bound on the output, so that a small frame can't unpack to gigabytes.
        let bound = zstd::zstd_safe::get_frame_content_size(payload)
            .ok()
            .flatten()
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or(MAX_BATCH_BYTES)
            .min(MAX_BATCH_BYTES);
        let bytes = zstd::bulk::decompress(payload, bound).map_err(BatchError::Zstd)?;
        let batch = Self::decode(bytes.as_slice())?;
        batch.check()?;
        Ok(batch)
    }

    fn check(&self) -> Result<(), BatchError> {
        if self.seq == 0 {
            return Err(BatchError::SeqZero);
        }
        for (field, value) in [("epoch", self.epoch), ("seq", self.seq), ("floor", self.floor)] {
            if i64::try_from(value).is_err() {
                return Err(BatchError::OutOfRange { field });
            }
        }
        let n = self.readings();
        if n > MAX_BATCH_READINGS {
            return Err(BatchError::TooManyReadings(n));
        }
        for (i, column) in self.columns.iter().enumerate() {
            let (ts, values, qualities) = (
                column.ts_deltas.len(),
                column.values.len(),
                column.qualities.len(),
            );
            if ts != values || (qualities != 0 && qualities != values) {
                return Err(BatchError::Ragged {
                    column: i,
                    device: column.device.clone(),
                    channel: column.channel.clone(),
                    ts,
                    values,
                    qualities,
                });
            }
        }
        Ok(())
    }
}

impl Column {
    /// Appends one reading. Readings of a column should come in order of time: they pack best so.
    pub fn push(&mut self, last: &mut i64, ts: Timestamp, value: f64, quality: crate::reading::Quality) {
        self.ts_deltas.push(ts.micros().wrapping_sub(*last));
        *last = ts.micros();
        let code = quality.code() as u8;
        if code != 0 || !self.qualities.is_empty() {
            // Those before were all good.
            self.qualities.resize(self.values.len(), 0);
            self.qualities.push(code);
        }
        self.values.push(value);
    }

    /// Absolute time stamps in microseconds.
    pub fn timestamps(&self) -> impl Iterator<Item = i64> + '_ {
        self.ts_deltas.iter().scan(0_i64, |at, delta| {
            *at = at.wrapping_add(*delta);
            Some(*at)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reading::Quality;

    #[test]
    fn topics() {
        let json = Topic::parse("fw/v1/acme/line-1/json/pump-7/temp/inner").unwrap();
        assert_eq!(json.gateway, Some(("acme", "line-1")));
        assert_eq!(
            json.kind,
            Kind::Json {
                device: "pump-7",
                channel: Some("temp/inner")
            }
        );
        assert_eq!(Topic::parse("fw/v1/me/json/pump").unwrap().gateway, None);
        assert_eq!(
            Topic::parse(&topic("acme", "line-1", "batch")).unwrap().kind,
            Kind::Batch
        );
        for bad in [
            "",
            "fw/v1",
            "fw/v2/a/b/batch",
            "fw/v1/a/batch",
            "fw/v1/a/b/json/",
            "fw/v1/a/b/json/+/x",
            "fw/v1/me/x",
        ] {
            assert!(Topic::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn batches_read_what_they_write(
            rows in prop::collection::vec((any::<i64>(), any::<f64>(), 0_i16..3), 0..200),
            seq in 1..i64::MAX as u64,
        ) {
            let mut column = Column { device: "d".into(), channel: "c".into(), ..Column::default() };
            let mut last = 0;
            for (ts, value, quality) in &rows {
                column.push(&mut last, Timestamp::from_micros(*ts), *value, Quality::from_code(*quality));
            }
            let batch = Batch { epoch: 1, seq, floor: 1, columns: vec![column], ..Batch::default() };
            let back = Batch::decode_compressed(&batch.encode_compressed(1).unwrap()).unwrap();
            let ts: Vec<_> = back.columns[0].timestamps().collect();
            prop_assert_eq!(ts, rows.iter().map(|row| Timestamp::from_micros(row.0).micros()).collect::<Vec<_>>());
            for (i, (value, row)) in back.columns[0].values.iter().zip(&rows).enumerate() {
                prop_assert_eq!(value.to_bits(), row.1.to_bits());
                prop_assert_eq!(i16::from(back.columns[0].qualities.get(i).copied().unwrap_or(0)), row.2);
            }
        }

        #[test]
        fn noise_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Batch::decode_compressed(&bytes);
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; 256 << 20], 1).unwrap();
        assert!(bomb.len() < 64 << 10);
        assert!(matches!(
            Batch::decode_compressed(&bomb),
            Err(BatchError::Zstd(_))
        ));
    }
}

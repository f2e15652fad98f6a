//! Sensor Measurement Lists, RFC 8428, in JSON and CBOR.
//!
//! A pack is an array of records; base fields of one record hold for it and those behind it. The two
//! encodings are told apart by their first byte: `[` or white space is JSON, a CBOR array begins with
//! 0x80 to 0x9f.
//!
//! **Names.** With a base name and a name, the device is the base name without its last `:`, `/` or
//! `.`, and the channel the name. A name alone is parted at its last `:` or `/`. When the topic names
//! the device, the whole name is the channel. Some symbols of the units registry are kinds rather
//! than units (`lat`, `lon`, `%EL`, `EL`), and one name may have readings in several of them: they
//! are told apart by `.lat` and so on.
//!
//! **Values.** `v` and `vb` are readings, the sum `s` is a channel of its own, `name.sum`; text and
//! data (`vs`, `vd`) are kept as what can't be stored.

mod record;

use models::time::Timestamp;
use models::unit;
use serde_json::Value;

use super::{Columns, Decoded, MAX_READINGS, Reject, Undecodable};
use record::{Content, Record};

/// The version of RFC 8428.
const VERSION: u64 = 10;
/// Times below are relative to now (RFC 8428 § 4.5.3).
const RELATIVE_BELOW: f64 = 268_435_456.0;

/// # Errors
/// When the payload is neither, has a field of the wrong type, or one that must be understood and
/// isn't.
pub fn decode(payload: &[u8], device: Option<&str>, received_at: Timestamp) -> Result<Decoded, Undecodable> {
    let records = match payload.first() {
        Some(0x80..=0x9f) => record::from_cbor(payload)?,
        _ => record::from_json(payload)?,
    };
    let mut resolver = Resolver {
        device,
        received_at,
        base: Base::default(),
        columns: Columns::new(),
        rejects: Vec::new(),
    };
    for (i, record) in records.into_iter().enumerate() {
        resolver.record(i, record)?;
    }
    if resolver.columns.readings() == 0 && resolver.rejects.is_empty() {
        return Err(Undecodable::new("malformed_senml", "/: the pack holds no value"));
    }
    Ok(Decoded {
        columns: resolver.columns.finish(),
        rejects: resolver.rejects,
        ..Decoded::default()
    })
}

#[derive(Default)]
struct Base {
    name: String,
    time: f64,
    unit: Option<String>,
    value: Option<f64>,
    sum: Option<f64>,
}

struct Resolver<'a> {
    device: Option<&'a str>,
    received_at: Timestamp,
    base: Base,
    columns: Columns,
    rejects: Vec<Reject>,
}

fn refuse(i: usize, label: &str, why: impl std::fmt::Display) -> Undecodable {
    Undecodable::new("malformed_senml", format!("/{i}/{label}: {why}"))
}

impl Resolver<'_> {
    fn record(&mut self, i: usize, record: Record) -> Result<(), Undecodable> {
        if let Some(version) = record.base_version
            && version > VERSION
        {
            return Err(refuse(
                i,
                "bver",
                format_args!("version {version} is newer than {VERSION}"),
            ));
        }
        if let Some(label) = record.unknown {
            return Err(refuse(
                i,
                &label,
                "ends in _ and so must be understood (RFC 8428 § 4.4), and isn't",
            ));
        }
        if let Some(name) = record.base_name {
            self.base.name = name;
        }
        if let Some(time) = record.base_time {
            self.base.time = time;
        }
        if record.base_unit.is_some() {
            self.base.unit = record.base_unit;
        }
        if record.base_value.is_some() {
            self.base.value = record.base_value;
        }
        if record.base_sum.is_some() {
            self.base.sum = record.base_sum;
        }
        let value = match (record.value, self.base.value) {
            (Some(Content::Number(value)), base) => Some(Content::Number(value + base.unwrap_or(0.0))),
            (Some(other), _) => Some(other),
            // A base value alone is the value, unless the record is base fields and nothing else.
            (None, Some(base)) if record.has_own_field => Some(Content::Number(base)),
            (None, _) => None,
        };
        let sum = match (record.sum, self.base.sum) {
            (Some(sum), base) => Some(sum + base.unwrap_or(0.0)),
            (None, _) => None,
        };
        if value.is_none() && sum.is_none() {
            if record.has_own_field {
                return Err(refuse(i, "v", "the record has neither a value nor a sum"));
            }
            return Ok(());
        }
        let own_name = record.name.unwrap_or_default();
        let (device, mut channel) = self.names(&own_name);
        if channel.is_empty() || device.is_empty() {
            return Err(refuse(i, "n", "neither a name nor a base name"));
        }
        let time = self.base.time + record.time.unwrap_or(0.0);
        let ts = self
            .absolute(time)
            .ok_or_else(|| refuse(i, "t", format_args!("{time} is no time")))?;
        let symbol = record.unit.or_else(|| self.base.unit.clone());
        if let Some(kind @ ("lat" | "lon" | "EL" | "%EL")) = symbol.as_deref() {
            channel.push('.');
            channel.push_str(kind);
        }
        // A symbol that the registry doesn't know is kept: it converts to itself.
        let unit = symbol
            .as_deref()
            .map(|symbol| unit::from_senml(symbol).unwrap_or(symbol));
        match value {
            Some(Content::Number(value)) => self.columns.push(&device, &channel, unit, ts, value, 0),
            Some(Content::Truth(truth)) => {
                self.columns
                    .push(&device, &channel, unit, ts, f64::from(u8::from(truth)), 0);
            }
            Some(Content::Text(text) | Content::Data(text)) => self.rejects.push(Reject {
                detail: format!(
                    "/{i}: `{channel}` expected a number or truth value (v, vb), got text \"{}\"",
                    text.chars().take(80).collect::<String>()
                ),
                device: device.clone(),
                channel: channel.clone(),
                unit: unit.map(str::to_owned),
                ts: Some(ts),
                value: Value::String(text),
                quality: 0,
                reason: "not_a_number",
            }),
            None => {}
        }
        if let Some(sum) = sum {
            // The sum is the value integrated over time: the value's unit times seconds.
            let unit = unit.filter(|unit| *unit != "1").map(|unit| format!("{unit}.s"));
            self.columns
                .push(&device, &format!("{channel}.sum"), unit.as_deref(), ts, sum, 0);
        }
        if self.columns.readings() + self.rejects.len() > MAX_READINGS {
            return Err(Undecodable::new(
                "too_many_readings",
                format!("/{i}: more than {MAX_READINGS} readings: send smaller messages"),
            ));
        }
        Ok(())
    }

    fn names(&self, own: &str) -> (String, String) {
        let base = self.base.name.as_str();
        if let Some(device) = self.device {
            return (device.to_owned(), format!("{base}{own}"));
        }
        if !base.is_empty() && !own.is_empty() {
            return (base.trim_end_matches([':', '/', '.']).to_owned(), own.to_owned());
        }
        let whole = if own.is_empty() { base } else { own };
        match whole.rsplit_once([':', '/']) {
            Some((device, channel)) if !device.is_empty() && !channel.is_empty() => {
                (device.to_owned(), channel.to_owned())
            }
            _ => (whole.to_owned(), whole.to_owned()),
        }
    }

    /// Microseconds since 1970.
    fn absolute(&self, seconds: f64) -> Option<i64> {
        let micros = (seconds * 1e6).round();
        if micros.is_nan() || micros.abs() >= 9e18 {
            return None;
        }
        if seconds < RELATIVE_BELOW {
            return self.received_at.micros().checked_add(micros as i64);
        }
        Some(micros as i64)
    }
}

#[cfg(test)]
mod tests;

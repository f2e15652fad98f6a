//! JSON that devices send, as readings: for the `mqtt` and `http` collectors. Pure.
//!
//! | payload | readings |
//! |---|---|
//! | `21.5`, `true`, `"21.5"` | one, of the channel that the rule names |
//! | `{"temp": 21.5, "motor": {"rpm": 900}}` | `temp`, `motor.rpm` |
//! | `[{…}, {…}]` | each object, with a time of its own |
//!
//! What can't be a value (text that is no number, `null`) is left out and named.

use std::collections::BTreeMap;
use std::sync::Arc;

use models::reading::Quality;
use models::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::batch::{Channel, Reading};

/// Levels of objects inside objects.
const MAX_DEPTH: usize = 8;
/// Readings of one payload.
const MAX_READINGS: usize = 10_000;

/// How to read an object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shape {
    /// JSON pointer (RFC 6901) to the object or list that holds the values.
    pub values: Option<String>,
    /// Key of the time: RFC 3339 text, or seconds, milliseconds or microseconds since 1970, whichever
    /// lies in this century. Without it the time of arrival counts.
    pub time: Option<String>,
    /// Channel names that differ from the keys, and channels to leave out (`""`).
    pub rename: BTreeMap<String, String>,
    /// UCUM codes by channel.
    pub units: BTreeMap<String, String>,
}

/// What came of a payload.
#[derive(Debug, Default)]
pub struct Read {
    pub readings: Vec<Reading>,
    /// Values left out, and why.
    pub left_out: Vec<String>,
}

/// Channels of payloads, made once.
#[derive(Debug, Default)]
pub struct Names {
    known: BTreeMap<(String, String), Arc<Channel>>,
}

/// Names that a payload may bring before those known are forgotten.
const MAX_NAMES: usize = 20_000;

impl Names {
    pub fn get(&mut self, device: &str, name: &str, unit: &str) -> Arc<Channel> {
        if self.known.len() >= MAX_NAMES {
            self.known.clear();
        }
        let key = (device.to_owned(), name.to_owned());
        Arc::clone(
            self.known
                .entry(key)
                .or_insert_with(|| super::channel(device, name, unit)),
        )
    }
}

impl Shape {
    /// Reads a payload of `device`. `single` names the channel of a bare value.
    ///
    /// # Errors
    /// Why nothing of it can be used.
    pub fn read(
        &self,
        payload: &[u8],
        device: &str,
        single: Option<&str>,
        names: &mut Names,
        now: Timestamp,
    ) -> Result<Read, String> {
        super::check_name("device", device).map_err(|error| error.to_string())?;
        let value: Value = serde_json::from_slice(payload).map_err(|error| format!("not JSON: {error}"))?;
        let time = match (&self.time, &value) {
            (Some(key), Value::Object(object)) => object.get(key).map(time).transpose()?,
            _ => None,
        };
        let inner = match &self.values {
            None => &value,
            Some(pointer) => value
                .pointer(pointer)
                .ok_or_else(|| format!("has nothing at `{pointer}`"))?,
        };
        let mut read = Read::default();
        let mut reader = Reader {
            shape: self,
            device,
            names,
            read: &mut read,
        };
        match inner {
            Value::Object(_) => reader.object(inner, "", time, now, 0)?,
            Value::Array(items) => {
                for item in items {
                    match item {
                        Value::Object(_) => reader.object(item, "", time, now, 0)?,
                        other => return Err(format!("expected objects in the list, found {}", kind(other))),
                    }
                }
            }
            bare => {
                let name = single.ok_or("a bare value, and no `channel` says whose it is")?;
                reader.value(name, bare, time.unwrap_or(now))?;
            }
        }
        Ok(read)
    }
}

struct Reader<'a> {
    shape: &'a Shape,
    device: &'a str,
    names: &'a mut Names,
    read: &'a mut Read,
}

impl Reader<'_> {
    fn object(
        &mut self,
        object: &Value,
        prefix: &str,
        outer: Option<Timestamp>,
        now: Timestamp,
        depth: usize,
    ) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} objects inside each other"));
        }
        let Value::Object(object) = object else {
            return Ok(());
        };
        let own = match &self.shape.time {
            Some(key) => object.get(key).map(time).transpose()?,
            None => None,
        };
        let ts = own.or(outer);
        for (key, value) in object {
            if own.is_some() && self.shape.time.as_deref() == Some(key) {
                continue;
            }
            let name = if prefix.is_empty() {
                key.clone()
            } else {
                format!("{prefix}.{key}")
            };
            if value.is_object() {
                self.object(value, &name, ts, now, depth + 1)?;
            } else {
                self.value(&name, value, ts.unwrap_or(now))?;
            }
        }
        Ok(())
    }

    fn value(&mut self, name: &str, value: &Value, ts: Timestamp) -> Result<(), String> {
        let name = self.shape.rename.get(name).map_or(name, String::as_str);
        if name.is_empty() {
            return Ok(());
        }
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::Bool(on) => Some(f64::from(u8::from(*on))),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number.filter(|number| number.is_finite()) {
            Some(value) => {
                if let Err(error) = super::check_name("channel", name) {
                    self.read.left_out.push(error.to_string());
                    return Ok(());
                }
                if self.read.readings.len() == MAX_READINGS {
                    return Err(format!("more than {MAX_READINGS} values: send less at once"));
                }
                let unit = self.shape.units.get(name).map_or("", String::as_str);
                self.read.readings.push(Reading {
                    channel: self.names.get(self.device, name, unit),
                    ts,
                    value,
                    quality: Quality::Good,
                });
            }
            None => self
                .read
                .left_out
                .push(format!("`{name}` is {}, not a number", kind(value))),
        }
        Ok(())
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) => format!("the text `{}`", text.chars().take(40).collect::<String>()),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => other.to_string(),
    }
}

/// A moment in one of the usual forms.
///
/// # Errors
/// When it is none.
pub fn time(value: &Value) -> Result<Timestamp, String> {
    match value {
        Value::Number(number) => number.as_f64().and_then(epoch).ok_or_else(|| {
            format!("the time {number} is neither seconds nor milli- nor microseconds since 1970")
        }),
        Value::String(text) => moment(text, ""),
        other => Err(format!("the time is {}", kind(other))),
    }
}

/// Seconds, milliseconds, microseconds or nanoseconds since 1970: whichever lies between 2000 and 2100.
pub fn epoch(number: f64) -> Option<Timestamp> {
    const FROM: f64 = 946_684_800.0;
    const TO: f64 = 4_102_444_800.0;
    [1.0, 1e3, 1e6, 1e9].into_iter().find_map(|unit| {
        let seconds = number / unit;
        (FROM..TO)
            .contains(&seconds)
            .then(|| Timestamp::from_micros((seconds * 1e6).round() as i64))
    })
}

/// RFC 3339, the same with a blank and without a zone (then `zone`, such as `+01:00`; empty = UTC), or
/// a number as [`epoch`].
///
/// # Errors
/// Says what was expected.
pub fn moment(text: &str, zone: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    let number = || text.parse().ok().and_then(epoch);
    let zoned = || text.replacen(' ', "T", 1).parse().ok();
    let zone = if zone.is_empty() { "Z" } else { zone };
    let plain = || format!("{}{zone}", text.replacen(' ', "T", 1)).parse().ok();
    number().or_else(zoned).or_else(plain).ok_or_else(|| {
        format!("the time `{text}` is none: expected such as 2026-01-31T12:00:00Z, or a number since 1970")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    type Found = (Vec<(String, f64, i64)>, Vec<String>);

    fn read(shape: &Shape, payload: &str) -> Result<Found, String> {
        let read = shape.read(payload.as_bytes(), "d", Some("one"), &mut Names::default(), NOW)?;
        let rows = read
            .readings
            .iter()
            .map(|r| (r.channel.name.clone(), r.value, r.ts.micros() / 1_000_000));
        Ok((rows.collect(), read.left_out))
    }

    #[test]
    fn shapes() {
        let now = NOW.micros() / 1_000_000;
        let plain = Shape::default();
        for bare in ["21.5", "\" 21.5 \""] {
            assert_eq!(read(&plain, bare).unwrap().0, [("one".to_owned(), 21.5, now)]);
        }
        let (rows, left_out) =
            read(&plain, r#"{"a":1,"m":{"rpm":900,"on":true},"s":"text","n":null}"#).unwrap();
        assert_eq!(
            rows,
            [
                ("a".to_owned(), 1.0, now),
                ("m.on".to_owned(), 1.0, now),
                ("m.rpm".to_owned(), 900.0, now)
            ]
        );
        assert_eq!(left_out.len(), 2);
        assert!(
            left_out
                .iter()
                .any(|text| text.contains("`s` is the text `text`")),
            "{left_out:?}"
        );

        let shape = Shape {
            values: Some("/data".to_owned()),
            time: Some("ts".to_owned()),
            rename: BTreeMap::from([
                ("t".to_owned(), "temp".to_owned()),
                ("id".to_owned(), String::new()),
            ]),
            units: BTreeMap::from([("temp".to_owned(), "Cel".to_owned())]),
        };
        let (rows, left_out) = read(
            &shape,
            r#"{"ts":1700000000000,"data":[{"t":1,"id":"x"},{"t":2,"ts":"2023-11-14T22:13:21Z"}]}"#,
        )
        .unwrap();
        assert_eq!(
            rows,
            [
                ("temp".to_owned(), 1.0, 1_700_000_000),
                ("temp".to_owned(), 2.0, 1_700_000_001)
            ]
        );
        assert_eq!(left_out, Vec::<String>::new());
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let shape = Shape {
            time: Some("ts".to_owned()),
            values: Some("/v".to_owned()),
            ..Shape::default()
        };
        for (payload, said) in [
            ("{", "not JSON"),
            (r#"{"ts":1700000000}"#, "nothing at `/v`"),
            (r#"{"ts":5,"v":1}"#, "the time 5"),
            (r#"{"ts":"noon","v":1}"#, "noon"),
            (r#"{"v":[1]}"#, "expected objects"),
        ] {
            let error = read(&shape, payload).unwrap_err();
            assert!(error.contains(said), "{payload}: {error}");
        }
    }

    #[test]
    fn moments() {
        let expected = Timestamp::from_secs(1_700_000_000);
        for text in [
            "1700000000",
            "1700000000000",
            "1700000000000000",
            "2023-11-14T22:13:20Z",
            "2023-11-14 22:13:20",
        ] {
            assert_eq!(moment(text, "").unwrap(), expected, "{text}");
        }
        assert_eq!(moment("2023-11-14 23:13:20", "+01:00").unwrap(), expected);
        assert!(moment("12", "").is_err());
    }

    proptest! {
        #[test]
        fn noise_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Shape::default().read(&bytes, "d", None, &mut Names::default(), NOW);
        }
    }
}

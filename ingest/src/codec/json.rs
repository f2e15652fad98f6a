//! JSON as people write it by hand.
//!
//! | payload | meaning |
//! |---|---|
//! | `{"temp": 21.5, "running": true}` | channels of the topic's device, now |
//! | `{"ts": …, "temp": 21.5}` | the same at a time |
//! | `{"ts": …, "values": {"temp": 21.5}}` | the same, ThingsBoard's way |
//! | an array of those | several moments |
//! | `21.5`, `true`, `{"value": 21.5, "ts": …, "unit": "Cel", "quality": "suspect"}` | on `…/{device}/{channel}` |
//! | `{"samples": […], "rate_hz": 20000, …}` | there too: a snapshot of vibration ([`snapshot`]) |
//!
//! `ts` is RFC 3339 text, or a number: seconds since 1970, from 10^11 on milliseconds. Text is
//! never taken for a number: a gateway that sends `"21.5"` or `"21,5"` should be told, not guessed at.

use models::mapping::{TimeFormat, read_time, shown};
use models::reading::Quality;
use models::time::Timestamp;
use serde_json::{Map, Value, json};

use super::{Columns, Decoded, MAX_READINGS, Reject, Undecodable, snapshot};

/// What is read so far.
#[derive(Default)]
struct Out {
    columns: Columns,
    rejects: Vec<Reject>,
}

impl Out {
    fn finish(self) -> Decoded {
        Decoded {
            columns: self.columns.finish(),
            rejects: self.rejects,
            ..Decoded::default()
        }
    }
}

/// # Errors
/// When the payload is not JSON, not of one of the forms, or has a `ts` that is no time.
pub fn decode(
    payload: &[u8],
    device: &str,
    channel: Option<&str>,
    received_at: Timestamp,
) -> Result<Decoded, Undecodable> {
    let value = parse(payload)?;
    let mut out = Out::default();
    let mut read = |value: &Value, at: &str| match channel {
        Some(channel) => one_value(&mut out, device, channel, value, at, received_at),
        None => object(&mut out, device, value, at, received_at),
    };
    match &value {
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                read(item, &format!("/{i}"))?;
            }
        }
        other => read(other, "")?,
    }
    let readings = out.columns.readings() + out.rejects.len();
    if readings > MAX_READINGS {
        return Err(Undecodable::new(
            "too_many_readings",
            format!("holds {readings} readings, more than {MAX_READINGS}: send smaller messages"),
        ));
    }
    Ok(out.finish())
}

fn parse(payload: &[u8]) -> Result<Value, Undecodable> {
    serde_json::from_slice(payload).map_err(|error| Undecodable::new("malformed_json", error.to_string()))
}

fn object(
    out: &mut Out,
    device: &str,
    value: &Value,
    at: &str,
    received_at: Timestamp,
) -> Result<(), Undecodable> {
    let Value::Object(object) = value else {
        return Err(wrong_shape(at, "an object of channel names and values", value));
    };
    let ts = time_of(object, at, received_at)?;
    let (values, inner) = match object.get("values") {
        Some(Value::Object(values)) if object.keys().all(|key| key == "ts" || key == "values") => {
            (values, "/values")
        }
        _ => (object, ""),
    };
    for (name, value) in values {
        if inner.is_empty() && name == "ts" {
            continue;
        }
        let place = Place {
            device,
            channel: name,
            unit: None,
            ts,
            quality: 0,
        };
        reading(out, place, value, || format!("{at}{inner}/{name}"));
    }
    Ok(())
}

fn one_value(
    out: &mut Out,
    device: &str,
    channel: &str,
    value: &Value,
    at: &str,
    received_at: Timestamp,
) -> Result<(), Undecodable> {
    let Value::Object(object) = value else {
        let place = Place {
            device,
            channel,
            unit: None,
            ts: received_at.micros(),
            quality: 0,
        };
        reading(out, place, value, || {
            if at.is_empty() {
                "/".to_owned()
            } else {
                at.to_owned()
            }
        });
        return Ok(());
    };
    let is_snapshot = object.contains_key("samples");
    let unknown = |key: &&String| !["value", "ts", "unit", "quality"].contains(&key.as_str());
    if let Some(key) = object.keys().find(unknown).filter(|_| !is_snapshot) {
        return Err(Undecodable::new(
            "malformed_json",
            format!("{at}/{key}: unknown key; expected value, ts, unit, quality"),
        ));
    }
    let unit = match object.get("unit") {
        None | Some(Value::Null) => None,
        Some(Value::String(unit)) => Some(unit.as_str()),
        Some(other) => return Err(wrong_shape(&format!("{at}/unit"), "a UCUM code", other)),
    };
    let quality = quality_of(object.get("quality"), at)?;
    let ts = time_of(object, at, received_at)?;
    let place = Place {
        device,
        channel,
        unit,
        ts,
        quality,
    };
    if is_snapshot {
        return snapshot::read(&mut out.columns, &place, object, at);
    }
    let Some(value) = object.get("value") else {
        return Err(Undecodable::new(
            "malformed_json",
            format!("{at}/value is missing"),
        ));
    };
    reading(out, place, value, || format!("{at}/value"));
    Ok(())
}

fn quality_of(value: Option<&Value>, at: &str) -> Result<u8, Undecodable> {
    match value {
        None | Some(Value::Null) => Ok(0),
        Some(value) => serde_json::from_value::<Quality>(value.clone())
            .map(|quality| quality.code() as u8)
            .map_err(|_| wrong_shape(&format!("{at}/quality"), "good, suspect or bad", value)),
    }
}

pub(super) struct Place<'a> {
    pub device: &'a str,
    pub channel: &'a str,
    pub unit: Option<&'a str>,
    pub ts: i64,
    pub quality: u8,
}

fn reading(out: &mut Out, place: Place<'_>, value: &Value, at: impl Fn() -> String) {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        _ => None,
    };
    let Place {
        device,
        channel,
        unit,
        ts,
        quality,
    } = place;
    match number {
        Some(value) => out.columns.push(device, channel, unit, ts, value, quality),
        None => out.rejects.push(Reject {
            device: device.to_owned(),
            channel: channel.to_owned(),
            unit: unit.map(str::to_owned),
            ts: Some(ts),
            detail: format!("{}: expected a number, true or false, got {}", at(), shown(value)),
            value: value.clone(),
            quality,
            reason: "not_a_number",
        }),
    }
}

fn time_of(object: &Map<String, Value>, at: &str, received_at: Timestamp) -> Result<i64, Undecodable> {
    match object.get("ts") {
        None | Some(Value::Null) => Ok(received_at.micros()),
        Some(value) => read_time(value, TimeFormat::Auto).ok_or_else(|| {
            wrong_shape(
                &format!("{at}/ts"),
                "RFC 3339 text or seconds or milliseconds since 1970",
                value,
            )
        }),
    }
}

pub(super) fn wrong_shape(at: &str, expected: &str, got: &Value) -> Undecodable {
    let at = if at.is_empty() { "/" } else { at };
    Undecodable::new(
        "malformed_json",
        format!("{at}: expected {expected}, got {}", shown(got)),
    )
}

/// A number as JSON, or as text when JSON has no word for it.
pub fn number(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(|| Value::String(value.to_string()), Value::Number)
}

/// How rejected readings stand in a dead letter.
pub fn encode_rejects(rejects: &[&Reject]) -> Vec<u8> {
    let rows: Vec<Value> = rejects
        .iter()
        .map(|reject| {
            json!({
                "device": reject.device, "channel": reject.channel, "unit": reject.unit, "ts": reject.ts,
                "value": reject.value, "quality": reject.quality,
            })
        })
        .collect();
    Value::Array(rows).to_string().into_bytes()
}

/// The way back, for a replay.
///
/// # Errors
/// When somebody mended the payload into something else.
pub fn decode_rejects(payload: &[u8], received_at: Timestamp) -> Result<Decoded, Undecodable> {
    let Value::Array(rows) = parse(payload)? else {
        return Err(Undecodable::new(
            "malformed_json",
            "/: expected an array of readings",
        ));
    };
    let mut out = Out::default();
    for (i, row) in rows.iter().enumerate() {
        let text = |key: &str| row.get(key).and_then(Value::as_str).map(str::to_owned);
        let (Some(device), Some(channel)) = (text("device"), text("channel")) else {
            return Err(Undecodable::new(
                "malformed_json",
                format!("/{i}: device or channel is missing"),
            ));
        };
        let quality = row
            .get("quality")
            .and_then(Value::as_u64)
            .and_then(|code| u8::try_from(code).ok());
        let ts = row
            .get("ts")
            .and_then(Value::as_i64)
            .unwrap_or(received_at.micros());
        let unit = text("unit");
        let place = Place {
            device: &device,
            channel: &channel,
            unit: unit.as_deref(),
            ts,
            quality: quality.unwrap_or_default(),
        };
        reading(&mut out, place, row.get("value").unwrap_or(&Value::Null), || {
            format!("/{i}/value")
        });
    }
    Ok(out.finish())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

    fn rows(payload: &str, channel: Option<&str>) -> Vec<(String, i64, f64)> {
        let decoded = decode(payload.as_bytes(), "pump", channel, NOW).unwrap();
        decoded
            .columns
            .into_iter()
            .flat_map(|column| {
                let rows = column.ts.into_iter().zip(column.values);
                rows.map(move |(ts, value)| (column.channel.clone(), ts, value))
            })
            .collect()
    }

    #[test]
    fn every_form() {
        let at = NOW.micros();
        assert_eq!(
            rows(r#"{"a":1,"b":true}"#, None),
            [("a".into(), at, 1.0), ("b".into(), at, 1.0)]
        );
        assert_eq!(
            rows(r#"{"ts":"2026-01-01T00:00:00.5Z","a":1}"#, None),
            [("a".into(), at + 500_000, 1.0)]
        );
        assert_eq!(rows(r#"{"ts":1767225600,"a":1}"#, None), [("a".into(), at, 1.0)]);
        assert_eq!(
            rows(r#"{"ts":1767225600123,"a":1}"#, None),
            [("a".into(), at + 123_000, 1.0)]
        );
        assert_eq!(
            rows(r#"{"ts":1767225600.25,"a":1}"#, None),
            [("a".into(), at + 250_000, 1.0)]
        );
        assert_eq!(
            rows(r#"{"ts":1767225600,"values":{"a":1,"ts":2}}"#, None).len(),
            2
        );
        assert_eq!(
            rows(r#"{"values":3,"a":1}"#, None).len(),
            2,
            "`values` can be a channel"
        );
        assert_eq!(
            rows(r#"[{"ts":1,"a":1},{"ts":2,"a":2}]"#, None),
            [("a".into(), 1_000_000, 1.0), ("a".into(), 2_000_000, 2.0)]
        );
        assert_eq!(rows("21.5", Some("t")), [("t".into(), at, 21.5)]);
        assert_eq!(
            rows(r#"{"value":false,"ts":1767225600}"#, Some("t")),
            [("t".into(), at, 0.0)]
        );
        let decoded = decode(
            br#"{"value":1,"unit":"Cel","quality":"suspect"}"#,
            "d",
            Some("t"),
            NOW,
        )
        .unwrap();
        assert_eq!(
            (
                decoded.columns[0].unit.as_deref(),
                &decoded.columns[0].qualities[..]
            ),
            (Some("Cel"), &[1_u8][..])
        );
    }

    #[test]
    fn says_where_and_what() {
        let detail =
            |payload: &str, channel| decode(payload.as_bytes(), "d", channel, NOW).unwrap_err().detail;
        assert!(detail("{\"a\":1,\n}", None).contains("line 2 column 1"));
        assert_eq!(
            detail("[{\"a\":1},3]", None),
            "/1: expected an object of channel names and values, got 3"
        );
        assert_eq!(
            detail(r#"[{"ts":"noon"}]"#, None),
            "/0/ts: expected RFC 3339 text or seconds or milliseconds since 1970, got text \"noon\""
        );
        assert_eq!(
            detail(r#"{"val":1}"#, Some("t")),
            "/val: unknown key; expected value, ts, unit, quality"
        );
        assert_eq!(
            detail(r#"{"value":1,"quality":"so-so"}"#, Some("t")),
            "/quality: expected good, suspect or bad, got text \"so-so\""
        );
    }

    #[test]
    fn text_is_never_a_number_but_its_neighbours_are_kept() {
        let decoded = decode(br#"{"a":"21.5","b":2,"c":null}"#, "d", None, NOW).unwrap();
        assert_eq!(
            (decoded.columns.len(), decoded.rejects.len(), decoded.readings()),
            (1, 2, 3)
        );
        assert_eq!(decoded.rejects[0].reason, "not_a_number");
        assert_eq!(
            decoded.rejects[0].detail,
            "/a: expected a number, true or false, got text \"21.5\""
        );
    }

    #[test]
    fn rejects_can_be_mended_and_read_again() {
        let decoded = decode(br#"{"ts":5,"a":"21.5"}"#, "d", None, NOW).unwrap();
        let payload = encode_rejects(&decoded.rejects.iter().collect::<Vec<_>>());
        assert_eq!(decode_rejects(&payload, NOW).unwrap().rejects.len(), 1);
        let mended = String::from_utf8(payload).unwrap().replace("\"21.5\"", "21.5");
        let again = decode_rejects(mended.as_bytes(), NOW).unwrap();
        assert_eq!(
            (again.columns[0].ts[0], again.columns[0].values[0]),
            (5_000_000, 21.5)
        );
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z0-9:TZ.-]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("ts|value|values|unit|quality|[a-c]{1,2}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), named in any::<bool>()) {
            drop(decode(&bytes, "d", named.then_some("c"), NOW));
            drop(decode_rejects(&bytes, NOW));
        }

        #[test]
        fn any_json_is_read_or_refused(value in json_value(), named in any::<bool>()) {
            let text = value.to_string();
            drop(decode_rejects(text.as_bytes(), NOW));
            if let Ok(decoded) = decode(text.as_bytes(), "d", named.then_some("c"), NOW) {
                for column in &decoded.columns {
                    prop_assert_eq!(column.ts.len(), column.values.len());
                    prop_assert!(column.values.iter().all(|value| value.is_finite()));
                }
            }
        }
    }
}

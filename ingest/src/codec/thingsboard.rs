//! ThingsBoard's device API and gateway API over MQTT
//! (<https://thingsboard.io/docs/reference/mqtt-api/>, <https://thingsboard.io/docs/reference/gateway-mqtt-api/>).
//!
//! | topic | becomes |
//! |---|---|
//! | `v1/devices/me/telemetry` (`v2/t`) | readings of the device that is named like the gateway |
//! | `v1/gateway/telemetry` | readings of the devices that the payload names |
//! | `v1/devices/me/attributes`, `v1/gateway/attributes` | numbers: readings of `attribute.{name}`; text: events |
//! | `v1/gateway/connect`, `v1/gateway/disconnect` | the device is live, or its values are stale |
//!
//! What else these clients publish (RPC, requests for attributes, claims) asks ThingsBoard for
//! something that Forewarn has not; it is acknowledged and answers nothing.

use models::mapping::{TimeFormat, read_time, shown};
use models::time::Timestamp;
use serde_json::{Map, Value};

use super::{Columns, DEVICE_OFFLINE, DEVICE_ONLINE, Decoded, MAX_READINGS, NamedEvent, Reject, Undecodable};

/// What a topic of ThingsBoard is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Telemetry,
    Attributes,
    GatewayTelemetry,
    GatewayAttributes,
    Connect,
    Disconnect,
    /// A question to ThingsBoard itself.
    Request,
}

impl Kind {
    /// `None` = no topic of ThingsBoard's that a client publishes to.
    pub fn of(topic: &str) -> Option<Self> {
        Some(match topic {
            "v1/devices/me/telemetry" | "v2/t" => Self::Telemetry,
            "v1/devices/me/attributes" | "v2/a" => Self::Attributes,
            "v1/gateway/telemetry" => Self::GatewayTelemetry,
            "v1/gateway/attributes" => Self::GatewayAttributes,
            "v1/gateway/connect" => Self::Connect,
            "v1/gateway/disconnect" => Self::Disconnect,
            "v1/gateway/rpc"
            | "v1/gateway/claim"
            | "v1/gateway/attributes/request"
            | "v1/devices/me/claim" => Self::Request,
            _ if topic.starts_with("v1/devices/me/rpc/")
                || topic.starts_with("v1/devices/me/attributes/request/")
                || topic.starts_with("v2/fw/request/") =>
            {
                Self::Request
            }
            _ => return None,
        })
    }
}

/// `own` names the device of the gateway itself.
///
/// # Errors
/// When the payload is not JSON or not of the form its topic asks for.
pub fn decode(kind: Kind, payload: &[u8], own: &str, received_at: Timestamp) -> Result<Decoded, Undecodable> {
    if kind == Kind::Request {
        return Ok(Decoded::default());
    }
    let json: Value = serde_json::from_slice(payload)
        .map_err(|error| Undecodable::new("malformed_json", error.to_string()))?;
    let mut reader = Reader {
        columns: Columns::new(),
        out: Decoded::default(),
        received_at: received_at.micros(),
    };
    match kind {
        Kind::Telemetry => reader.telemetry(own, &json, "")?,
        Kind::Attributes => reader.attributes(own, object(&json, "")?, "")?,
        Kind::GatewayTelemetry | Kind::GatewayAttributes => {
            for (device, value) in object(&json, "")? {
                let at = format!("/{device}");
                if kind == Kind::GatewayTelemetry {
                    reader.telemetry(device, value, &at)?;
                } else {
                    reader.attributes(device, object(value, &at)?, &at)?;
                }
            }
        }
        Kind::Connect | Kind::Disconnect => {
            let device = object(&json, "")?.get("device").and_then(Value::as_str);
            let device = device.ok_or_else(|| {
                Undecodable::new("malformed_json", "/device: expected the name of a device")
            })?;
            reader.out.events.push(NamedEvent {
                device: device.to_owned(),
                ts: reader.received_at,
                code: if kind == Kind::Connect {
                    DEVICE_ONLINE
                } else {
                    DEVICE_OFFLINE
                }
                .to_owned(),
                severity: 0,
                message: None,
            });
        }
        Kind::Request => {}
    }
    reader.out.columns = reader.columns.finish();
    Ok(reader.out)
}

fn object<'a>(value: &'a Value, at: &str) -> Result<&'a Map<String, Value>, Undecodable> {
    value.as_object().ok_or_else(|| {
        let at = if at.is_empty() { "/" } else { at };
        Undecodable::new(
            "malformed_json",
            format!("{at}: expected an object, got {}", shown(value)),
        )
    })
}

struct Reader {
    columns: Columns,
    out: Decoded,
    received_at: i64,
}

impl Reader {
    /// `{"a":1}`, `{"ts":…,"values":{"a":1}}`, or an array of those.
    fn telemetry(&mut self, device: &str, value: &Value, at: &str) -> Result<(), Undecodable> {
        if let Value::Array(moments) = value {
            for (i, moment) in moments.iter().enumerate() {
                let at = format!("{at}/{i}");
                self.moment(device, object(moment, &at)?, &at)?;
            }
            return Ok(());
        }
        self.moment(device, object(value, at)?, at)
    }

    fn moment(&mut self, device: &str, moment: &Map<String, Value>, at: &str) -> Result<(), Undecodable> {
        let (Some(ts), Some(Value::Object(values))) = (moment.get("ts"), moment.get("values")) else {
            return self.values(device, moment, self.received_at, "", at, "");
        };
        let ts = read_time(ts, TimeFormat::UnixMs).ok_or_else(|| {
            Undecodable::new(
                "bad_time",
                format!("{at}/ts: expected milliseconds since 1970, got {}", shown(ts)),
            )
        })?;
        self.values(device, values, ts, "", at, "/values")
    }

    fn attributes(&mut self, device: &str, values: &Map<String, Value>, at: &str) -> Result<(), Undecodable> {
        self.values(device, values, self.received_at, "attribute.", at, "")
    }

    fn values(
        &mut self,
        device: &str,
        values: &Map<String, Value>,
        ts: i64,
        prefix: &str,
        at: &str,
        inner: &str,
    ) -> Result<(), Undecodable> {
        for (name, value) in values {
            if self.columns.readings() + self.out.rejects.len() >= MAX_READINGS {
                return Err(Undecodable::new(
                    "too_many_readings",
                    format!("{at}{inner}/{name}: more than {MAX_READINGS} readings: send smaller messages"),
                ));
            }
            let number = match value {
                Value::Number(number) => number.as_f64(),
                Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
                _ => None,
            };
            if let Some(number) = number {
                if prefix.is_empty() {
                    self.columns.push(device, name, None, ts, number, 0);
                } else {
                    self.columns
                        .push(device, &format!("{prefix}{name}"), None, ts, number, 0);
                }
            } else if !prefix.is_empty() {
                // An attribute describes: what it says is kept as text.
                let message = match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                self.out.events.push(NamedEvent {
                    device: device.to_owned(),
                    ts,
                    code: format!("{prefix}{name}"),
                    severity: 0,
                    message: Some(message),
                });
            } else {
                self.out.rejects.push(Reject {
                    device: device.to_owned(),
                    channel: name.clone(),
                    unit: None,
                    ts: Some(ts),
                    value: value.clone(),
                    quality: 0,
                    reason: "not_a_number",
                    detail: format!(
                        "{at}{inner}/{name}: expected a number, true or false, got {}",
                        shown(value)
                    ),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

    fn read(topic: &str, payload: &str) -> Result<Decoded, Undecodable> {
        decode(Kind::of(topic).unwrap(), payload.as_bytes(), "line-1", NOW)
    }

    fn rows(topic: &str, payload: &str) -> Vec<(String, String, i64, f64)> {
        let mut rows = Vec::new();
        for column in read(topic, payload).unwrap().columns {
            for (ts, value) in column.ts.iter().zip(&column.values) {
                rows.push((
                    column.device.clone(),
                    column.channel.clone(),
                    (ts - NOW.micros()) / 1_000,
                    *value,
                ));
            }
        }
        rows
    }

    fn row(device: &str, channel: &str, ms: i64, value: f64) -> (String, String, i64, f64) {
        (device.into(), channel.into(), ms, value)
    }

    #[test]
    fn device_telemetry_in_its_three_forms() {
        let topic = "v1/devices/me/telemetry";
        assert_eq!(
            rows(topic, r#"{"a":1,"b":true}"#),
            [row("line-1", "a", 0, 1.0), row("line-1", "b", 0, 1.0)]
        );
        assert_eq!(
            rows(topic, r#"[{"ts":1767225600001,"values":{"a":1}},{"a":2}]"#),
            [row("line-1", "a", 1, 1.0), row("line-1", "a", 0, 2.0)]
        );
        assert_eq!(
            rows(topic, r#"{"ts":5}"#),
            [row("line-1", "ts", 0, 5.0)],
            "a channel of that name"
        );
    }

    #[test]
    fn gateway_telemetry_names_its_devices() {
        assert_eq!(
            rows(
                "v1/gateway/telemetry",
                r#"{"Device A":[{"ts":1767225600007,"values":{"t":42}}],"B":{"t":1}}"#
            ),
            [row("B", "t", 0, 1.0), row("Device A", "t", 7, 42.0)]
        );
    }

    #[test]
    fn connections_and_attributes() {
        let event = |topic, payload| read(topic, payload).unwrap().events[0].clone();
        assert_eq!(
            event("v1/gateway/connect", r#"{"device":"A","type":"pump"}"#).code,
            DEVICE_ONLINE
        );
        assert_eq!(
            event("v1/gateway/disconnect", r#"{"device":"A"}"#).code,
            DEVICE_OFFLINE
        );
        let said = event("v1/gateway/attributes", r#"{"A":{"firmware":"1.2"}}"#);
        assert_eq!(
            (said.code.as_str(), said.message.as_deref()),
            ("attribute.firmware", Some("1.2"))
        );
        assert_eq!(
            rows("v1/devices/me/attributes", r#"{"limit":7}"#),
            [row("line-1", "attribute.limit", 0, 7.0)]
        );
        assert_eq!(
            read("v1/devices/me/rpc/request/1", "anything").unwrap(),
            Decoded::default()
        );
        assert_eq!(Kind::of("v1/devices/other/telemetry"), None);
    }

    #[test]
    fn refusals_name_the_field() {
        let refused = |topic, payload| {
            let error = read(topic, payload).unwrap_err();
            (error.reason, error.detail)
        };
        assert_eq!(refused("v1/gateway/telemetry", "{\"A\":[{").0, "malformed_json");
        assert_eq!(
            refused("v1/gateway/telemetry", r#"{"A":[{"ts":"noon","values":{}}]}"#),
            (
                "bad_time",
                "/A/0/ts: expected milliseconds since 1970, got text \"noon\"".into()
            )
        );
        assert_eq!(
            refused("v1/gateway/telemetry", r#"{"A":7}"#).1,
            "/A: expected an object, got 7"
        );
        assert_eq!(
            refused("v1/gateway/connect", r#"{"dev":"A"}"#).1,
            "/device: expected the name of a device"
        );
        let reject = &read(
            "v1/gateway/telemetry",
            r#"{"A":[{"ts":1,"values":{"t":"21.5"}}]}"#,
        )
        .unwrap()
        .rejects[0];
        assert_eq!(
            reject.detail,
            "/A/0/values/t: expected a number, true or false, got text \"21.5\""
        );
        assert_eq!(
            refused("v1/devices/me/telemetry", &"[".repeat(100_000)).0,
            "malformed_json"
        );
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(values in prop::collection::vec((any::<i32>(), 0_i64..1_000_000), 1..30)) {
            let payload = json!({"D": values.iter()
                .map(|(v, t)| json!({"ts": NOW.micros() / 1_000 + t, "values": {"c": v}})).collect::<Vec<_>>()});
            let got: Vec<_> = rows("v1/gateway/telemetry", &payload.to_string())
                .into_iter().map(|row| (row.3, row.2)).collect();
            prop_assert_eq!(got, values.iter().map(|(v, t)| (f64::from(*v), *t)).collect::<Vec<_>>());
        }

        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for kind in [Kind::Telemetry, Kind::Attributes, Kind::GatewayTelemetry, Kind::GatewayAttributes, Kind::Connect] {
                drop(decode(kind, &bytes, "d", NOW));
            }
        }
    }
}

//! A payload and the names its birth gave → readings and events.

use models::time::Timestamp;
use serde_json::Value as Json;

use super::node::{Aliases, Known};
use super::proto::{self, Metric, Payload, Value};
use super::topic::{Kind, Topic};
use super::value::{Content, content, quality, unit};
use crate::codec::{Columns, Decoded, MAX_READINGS, NamedEvent, Reject, Undecodable};
use crate::metrics;

/// Templates inside templates.
const MAX_DEPTH: usize = 8;

/// Reads a payload whose names are all in it or in `aliases`: what fuzzing and the bench call.
///
/// # Errors
/// When it is no Sparkplug payload.
pub fn decode(
    topic: &Topic,
    bytes: &[u8],
    aliases: &Aliases,
    received_at: Timestamp,
) -> Result<Decoded, Undecodable> {
    Ok(read(topic, &proto::decode(bytes)?, aliases, received_at))
}

/// Metrics that steer the node and are no measurements.
fn is_control(name: &str) -> bool {
    name == "bdSeq" || name.starts_with("Node Control/") || name.starts_with("Device Control/")
}

pub(super) fn read(topic: &Topic, payload: &Payload, aliases: &Aliases, received_at: Timestamp) -> Decoded {
    let mut reader = Reader {
        device: topic.device_name(),
        sent_at: payload.timestamp.and_then(micros).unwrap_or(received_at.micros()),
        columns: Columns::new(),
        out: Decoded::default(),
        skipped: 0,
    };
    // A death names no values, only its bdSeq.
    if !matches!(topic.kind, Kind::NodeDeath | Kind::DeviceDeath) {
        for (i, metric) in payload.metrics.iter().enumerate() {
            reader.metric(i, metric, aliases);
        }
    }
    if reader.skipped > 0 {
        metrics::metrics_without_value(reader.skipped);
    }
    let mut out = reader.out;
    out.columns = reader.columns.finish();
    out
}

/// Milliseconds → microseconds; the far future stays far, so that it is refused by its reason.
fn micros(millis: u64) -> Option<i64> {
    i64::try_from(millis).ok()?.checked_mul(1_000)
}

struct Reader {
    device: String,
    sent_at: i64,
    columns: Columns,
    out: Decoded,
    /// Metrics that say they have no value now, or that nobody is to store.
    skipped: usize,
}

impl Reader {
    fn metric(&mut self, i: usize, metric: &Metric, aliases: &Aliases) {
        let known = metric.alias.and_then(|alias| aliases.get(&alias));
        let name = match (metric.name.as_deref().filter(|name| !name.is_empty()), known) {
            (Some(name), _) => name,
            (None, Some(known)) => known.name.as_str(),
            (None, None) => {
                let (channel, why) = match metric.alias {
                    Some(alias) => (
                        format!("alias {alias}"),
                        format!("metrics[{i}].alias: {alias} is in no birth of `{}`", self.device),
                    ),
                    None => (
                        format!("metric {i}"),
                        format!("metrics[{i}]: has neither a name nor an alias"),
                    ),
                };
                self.refuse(metric, channel, "unknown_alias", why, known.map(|known| &**known));
                return;
            }
        };
        if is_control(name) {
            return;
        }
        self.value(i, metric, name, known.map(|known| &**known), 0);
    }

    fn value(&mut self, i: usize, metric: &Metric, name: &str, known: Option<&Known>, depth: usize) {
        let Some(value) = metric.value.as_ref().filter(|_| metric.is_null != Some(true)) else {
            self.skipped += 1;
            return;
        };
        if metric.is_transient == Some(true) {
            self.skipped += 1;
            return;
        }
        if self.columns.readings() + self.out.rejects.len() >= MAX_READINGS {
            let why = format!("metrics[{i}] `{name}`: more than {MAX_READINGS} readings in one message");
            self.refuse(metric, name.to_owned(), "too_many_readings", why, known);
            return;
        }
        if let Value::Template(template) = value {
            // A definition describes instances and holds no values of its own.
            if template.is_definition == Some(true) {
                return;
            }
            if depth >= MAX_DEPTH {
                let why = format!("metrics[{i}] `{name}`: templates nested more than {MAX_DEPTH} deep");
                self.refuse(metric, name.to_owned(), "too_deep", why, known);
                return;
            }
            for (j, member) in template.metrics.iter().enumerate() {
                let inner = match &member.name {
                    Some(inner) => format!("{name}/{inner}"),
                    None => format!("{name}/{j}"),
                };
                self.value(i, member, &inner, None, depth + 1);
            }
            return;
        }
        let ts = metric.timestamp.and_then(micros).unwrap_or(self.sent_at);
        let datatype = metric.datatype.or(known.map(|known| known.datatype)).unwrap_or(0);
        let own_unit = unit(metric);
        let unit = own_unit
            .as_deref()
            .or(known.and_then(|known| known.unit.as_deref()));
        let quality = quality(metric);
        match content(value, datatype) {
            Content::Number(number) => self.columns.push(&self.device, name, unit, ts, number, quality),
            Content::Moment(seconds) => {
                self.columns
                    .push(&self.device, name, Some("s"), ts, seconds, quality);
            }
            Content::Many(many) => {
                for (suffix, number) in many {
                    let name = format!("{name}{suffix}");
                    self.columns.push(&self.device, &name, unit, ts, number, quality);
                }
            }
            Content::Text(text) => self.out.events.push(NamedEvent {
                device: self.device.clone(),
                ts,
                code: name.to_owned(),
                severity: 0,
                message: Some(text),
            }),
            Content::Unsupported(what) => {
                let why = format!("metrics[{i}] `{name}`: {what} can't be stored as readings");
                self.refuse(metric, name.to_owned(), "unsupported_type", why, known);
            }
        }
    }

    fn refuse(
        &mut self,
        metric: &Metric,
        channel: String,
        reason: &'static str,
        detail: String,
        known: Option<&Known>,
    ) {
        let datatype = metric.datatype.or(known.map(|known| known.datatype)).unwrap_or(0);
        let value = match metric.value.as_ref().map(|value| content(value, datatype)) {
            Some(Content::Number(number) | Content::Moment(number)) => crate::codec::json::number(number),
            Some(Content::Text(text)) => Json::String(text),
            _ => Json::Null,
        };
        self.out.rejects.push(Reject {
            device: self.device.clone(),
            channel,
            unit: None,
            ts: Some(metric.timestamp.and_then(micros).unwrap_or(self.sent_at)),
            value,
            quality: quality(metric),
            reason,
            detail,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use prost::Message;

    use super::super::proto::Template;
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

    fn topic() -> Topic {
        Topic::parse("spBv1.0/g/DDATA/n/d").unwrap()
    }

    fn metric(name: &str, value: Value) -> Metric {
        Metric {
            name: Some(name.into()),
            value: Some(value),
            ..Metric::default()
        }
    }

    fn aliases() -> Aliases {
        let known = Known {
            name: "temp".into(),
            datatype: proto::datatype::INT16,
            unit: Some("Cel".into()),
        };
        Aliases::from_iter([(7, Arc::new(known))])
    }

    #[test]
    fn names_types_and_units_come_from_the_birth() {
        let payload = Payload {
            timestamp: Some(1_767_225_600_001),
            metrics: vec![
                Metric {
                    alias: Some(7),
                    value: Some(Value::Int(0xffff)),
                    ..Metric::default()
                },
                Metric {
                    timestamp: Some(1_767_225_600_005),
                    ..metric("flow", Value::Double(2.5))
                },
                metric("make", Value::String("Acme".into())),
                metric("bdSeq", Value::Long(3)),
                metric("Node Control/Rebirth", Value::Boolean(false)),
                Metric {
                    is_null: Some(true),
                    ..metric("nothing", Value::Int(1))
                },
                Metric {
                    is_transient: Some(true),
                    ..metric("passing", Value::Int(1))
                },
                Metric {
                    is_historical: Some(true),
                    timestamp: Some(5),
                    ..metric("flow", Value::Double(1.5))
                },
            ],
            ..Payload::default()
        };
        let decoded = read(&topic(), &payload, &aliases(), NOW);
        assert_eq!(decoded.rejects, []);
        assert_eq!(decoded.columns.len(), 2);
        let temp = &decoded.columns[0];
        assert_eq!(
            (temp.device.as_str(), temp.channel.as_str(), temp.unit.as_deref()),
            ("g/n/d", "temp", Some("Cel"))
        );
        assert_eq!((temp.values[0], temp.ts[0]), (-1.0, 1_767_225_600_001_000));
        assert_eq!(decoded.columns[1].ts, [1_767_225_600_005_000, 5_000]);
        assert_eq!(decoded.events[0].message.as_deref(), Some("Acme"));
        assert_eq!(decoded.readings(), 3);
    }

    #[test]
    fn what_can_not_be_stored_names_its_metric() {
        let definition = Template {
            is_definition: Some(true),
            metrics: vec![metric("x", Value::Int(1))],
            ..Template::default()
        };
        let mut nested = metric("leaf", Value::Int(1));
        for _ in 0..10 {
            let template = Template {
                metrics: vec![nested],
                ..Template::default()
            };
            nested = metric("t", Value::Template(Box::new(template)));
        }
        let payload = Payload {
            metrics: vec![
                Metric {
                    alias: Some(99),
                    value: Some(Value::Double(1.0)),
                    ..Metric::default()
                },
                Metric::default(),
                metric("file", Value::Bytes(vec![1, 2])),
                metric("_types_/pump", Value::Template(Box::new(definition))),
                nested,
            ],
            ..Payload::default()
        };
        let decoded = read(&topic(), &payload, &aliases(), NOW);
        let details: Vec<_> = decoded
            .rejects
            .iter()
            .map(|reject| (reject.reason, reject.detail.as_str()))
            .collect();
        assert_eq!(
            details,
            [
                ("unknown_alias", "metrics[0].alias: 99 is in no birth of `g/n/d`"),
                ("unknown_alias", "metrics[1]: has neither a name nor an alias"),
                (
                    "unsupported_type",
                    "metrics[2] `file`: 2 bytes of data type 0 can't be stored as readings"
                ),
                (
                    "too_deep",
                    "metrics[4] `t/t/t/t/t/t/t/t/t`: templates nested more than 8 deep"
                ),
            ]
        );
        assert_eq!(decoded.columns, []);
    }

    #[test]
    fn templates_are_read_by_their_members() {
        let template = Template {
            metrics: vec![metric("rpm", Value::Int(3)), metric("on", Value::Boolean(true))],
            ..Template::default()
        };
        let payload = Payload {
            metrics: vec![metric("pump", Value::Template(Box::new(template)))],
            ..Payload::default()
        };
        let decoded = read(&topic(), &payload, &aliases(), NOW);
        let names: Vec<_> = decoded
            .columns
            .iter()
            .map(|column| column.channel.as_str())
            .collect();
        assert_eq!(names, ["pump/rpm", "pump/on"]);
    }

    #[test]
    fn damaged_payloads_are_refused_by_their_field() {
        let good = Payload {
            metrics: vec![metric("a", Value::Double(1.0))],
            ..Payload::default()
        };
        let bytes = good.encode_to_vec();
        for cut in 1..bytes.len() {
            let error = decode(&topic(), &bytes[..cut], &aliases(), NOW).unwrap_err();
            assert_eq!(error.reason, "malformed_protobuf");
        }
        // `name` as a number instead of text.
        let error = decode(&topic(), &[0x12, 0x02, 0x08, 0x05], &aliases(), NOW).unwrap_err();
        assert!(error.detail.contains("Metric.name"), "{}", error.detail);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(rows in prop::collection::vec((-1e12_f64..1e12, 0_u64..4_000_000_000_000), 1..100)) {
            let payload = Payload {
                metrics: rows.iter().map(|(value, ts)| Metric { timestamp: Some(*ts), ..metric("c", Value::Double(*value)) }).collect(),
                ..Payload::default()
            };
            let decoded = decode(&topic(), &payload.encode_to_vec(), &Aliases::default(), NOW).unwrap();
            prop_assert_eq!(&decoded.columns[0].values, &rows.iter().map(|row| row.0).collect::<Vec<_>>());
            prop_assert_eq!(&decoded.columns[0].ts, &rows.iter().map(|row| row.1 as i64 * 1_000).collect::<Vec<_>>());
        }

        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            drop(decode(&topic(), &bytes, &aliases(), NOW));
        }

        #[test]
        fn damaged_payloads_never_panic(at in 0_usize..200, byte: u8, value: f64, alias: u64) {
            let payload = Payload {
                timestamp: Some(u64::MAX),
                seq: Some(u64::MAX),
                metrics: vec![
                    metric("a", Value::Double(value)),
                    Metric { alias: Some(alias), datatype: Some(32), value: Some(Value::Bytes(vec![1; 9])), ..Metric::default() },
                    metric("t", Value::Template(Box::new(Template { metrics: vec![metric("b", Value::Long(alias))], ..Template::default() }))),
                ],
                ..Payload::default()
            };
            let mut bytes = payload.encode_to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            drop(decode(&topic(), &bytes, &aliases(), NOW));
        }
    }
}

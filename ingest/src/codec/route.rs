//! Which codec reads a topic: the gateway's own routes first, then the standard topics.
//!
//! | topic | codec |
//! |---|---|
//! | `fw/v1/me/batch`, `fw/v1/me/json/…` | native, JSON |
//! | `fw/v1/me/influx`, `fw/v1/me/influx/{device}`, `telegraf/…` | line protocol |
//! | `fw/v1/me/senml`, `fw/v1/me/senml/{device}` | SenML |
//! | `spBv1.0/{group}/{type}/{node}[/{device}]` | Sparkplug B |
//! | `v1/devices/me/…`, `v1/gateway/…` | ThingsBoard |

use std::sync::Arc;

use models::mapping::{Codec, Mapping, Route};
use models::wire::{self, Kind, Topic};

use super::{Format, influx, thingsboard};
use crate::registry::Gateway;
use crate::sparkplug;

/// What stands behind `fw/v1/{tenant}/{gateway}/` or `fw/v1/me/`, if that is `gateway`.
fn below<'a>(gateway: &Gateway, topic: &'a str) -> Option<&'a str> {
    let rest = topic.strip_prefix(wire::PREFIX)?.strip_prefix('/')?;
    if let Some(rest) = rest.strip_prefix("me/") {
        return Some(rest);
    }
    rest.strip_prefix(gateway.tenant_slug.as_str())?
        .strip_prefix('/')?
        .strip_prefix(gateway.slug.as_str())?
        .strip_prefix('/')
}

/// The codec of a topic, for this gateway. `None`: the topic holds no readings of a protocol that the
/// gateway may speak.
pub fn format(gateway: &Gateway, mapping: &Mapping, topic: &str) -> Option<Format> {
    if topic.is_empty() || topic.contains(['+', '#', '\0']) {
        return None;
    }
    // Another gateway's topics are nobody's own, whatever a route says.
    let own = below(gateway, topic);
    if own.is_none() && topic.starts_with(wire::PREFIX) {
        return None;
    }
    if let Some((i, captures)) = mapping.route(topic) {
        return Some(by_route(&mapping.routes[i], &captures, topic));
    }
    let found = match own {
        Some(rest) => by_own_topic(topic, rest)?,
        None => by_standard_topic(gateway, topic)?,
    };
    mapping.allows(codec(&found)).then_some(found)
}

fn codec(format: &Format) -> Codec {
    match format {
        Format::Native | Format::Readings | Format::Unknown => Codec::Native,
        Format::Json { .. } | Format::Mapped { .. } => Codec::Json,
        Format::Influx(_) => Codec::Influx,
        Format::Senml { .. } => Codec::Senml,
        Format::ThingsBoard { .. } => Codec::Thingsboard,
        Format::Sparkplug(_) => Codec::Sparkplug,
    }
}

fn by_route(route: &Route, captures: &[&str], topic: &str) -> Format {
    let device = || {
        route.device.as_ref().map(|template| {
            let mut name = template.clone();
            for (i, part) in captures.iter().enumerate() {
                name = name.replace(&format!("{{{}}}", i + 1), part);
            }
            name
        })
    };
    match route.codec {
        Codec::Influx => Format::Influx(influx::Options {
            device: device(),
            precision: route.precision,
            text: route.text,
        }),
        Codec::Senml => Format::Senml { device: device() },
        _ => Format::Mapped {
            route: Arc::new(route.clone()),
            topic: topic.to_owned(),
        },
    }
}

/// A name that may stand in a topic as a device.
fn good(name: &str) -> bool {
    !name.is_empty() && name.len() <= 256 && !name.contains(char::is_control)
}

fn by_own_topic(topic: &str, rest: &str) -> Option<Format> {
    let (kind, device) = match rest.split_once('/') {
        Some((kind, device)) => (kind, Some(device)),
        None => (rest, None),
    };
    if device.is_none_or(good) {
        let device = device.map(str::to_owned);
        match kind {
            "influx" => {
                return Some(Format::Influx(influx::Options {
                    device,
                    ..influx::Options::default()
                }));
            }
            "senml" => return Some(Format::Senml { device }),
            _ => {}
        }
    }
    match Topic::parse(topic).map(|topic| topic.kind) {
        Ok(Kind::Batch) => Some(Format::Native),
        Ok(Kind::Json { device, channel }) => Some(Format::Json {
            device: device.to_owned(),
            channel: channel.map(str::to_owned),
        }),
        Ok(Kind::State | Kind::Committed | Kind::Error) => None,
        // Kept as a dead letter and answered: an MQTT 3.1.1 client that is refused sends it for ever.
        Err(_) => Some(Format::Unknown),
    }
}

fn by_standard_topic(gateway: &Gateway, topic: &str) -> Option<Format> {
    if let Some(topic) = sparkplug::Topic::parse(topic) {
        return Some(Format::Sparkplug(topic));
    }
    if let Some(kind) = thingsboard::Kind::of(topic) {
        return Some(Format::ThingsBoard {
            kind,
            own: gateway.slug.clone(),
        });
    }
    if topic.starts_with("telegraf/") {
        return Some(Format::Influx(influx::Options::default()));
    }
    None
}

#[cfg(test)]
mod tests {
    use models::id::{GatewayId, TenantId};
    use serde_json::json;

    use super::*;

    fn gateway() -> Gateway {
        Gateway {
            id: GatewayId::new(),
            tenant: TenantId::new(),
            tenant_slug: "acme".into(),
            slug: "line-1".into(),
            max_channels: 10,
        }
    }

    fn name(mapping: &Mapping, topic: &str) -> Option<&'static str> {
        format(&gateway(), mapping, topic).map(|format| format.name())
    }

    #[test]
    fn standard_topics() {
        let mapping = Mapping::default();
        for (topic, expect) in [
            ("fw/v1/me/batch", Some("native")),
            ("fw/v1/acme/line-1/json/pump/temp", Some("json")),
            ("fw/v1/me/influx", Some("influx")),
            ("fw/v1/me/senml/pump", Some("senml")),
            ("fw/v1/me/nonsense", Some("unknown")),
            ("fw/v1/me/state", None),
            ("fw/v1/me/committed", None),
            ("fw/v1/acme/line-2/batch", None),
            ("telegraf/host/cpu", Some("influx")),
            ("spBv1.0/g/NDATA/n", Some("sparkplug")),
            ("spBv1.0/g/NCMD/n", None),
            ("spBv1.0/STATE/h", None),
            ("v1/devices/me/telemetry", Some("thingsboard")),
            ("v1/gateway/connect", Some("thingsboard")),
            ("sensors/x", None),
            ("", None),
            ("telegraf/+", None),
        ] {
            assert_eq!(name(&mapping, topic), expect, "{topic}");
        }
    }

    #[test]
    fn a_gateways_own_routes_come_first_and_reach_no_other_gateway() {
        let mapping: Mapping = serde_json::from_value(json!({"routes": [
            {"topic": "fw/v1/acme/line-2/#", "codec": "json"},
            {"topic": "telegraf/+/plc", "codec": "json"},
            {"topic": "sensors/+", "codec": "senml", "device": "s-{1}"},
        ]}))
        .unwrap();
        assert_eq!(name(&mapping, "fw/v1/acme/line-2/x"), None);
        assert_eq!(name(&mapping, "telegraf/h/plc"), Some("json"));
        assert_eq!(name(&mapping, "telegraf/h/cpu"), Some("influx"));
        assert_eq!(
            format(&gateway(), &mapping, "sensors/7"),
            Some(Format::Senml {
                device: Some("s-7".into())
            })
        );
    }

    #[test]
    fn a_protocol_that_is_not_granted_is_not_spoken() {
        let mapping: Mapping = serde_json::from_value(json!({"protocols": ["native", "sparkplug"]})).unwrap();
        assert_eq!(name(&mapping, "spBv1.0/g/NDATA/n"), Some("sparkplug"));
        assert_eq!(name(&mapping, "fw/v1/me/batch"), Some("native"));
        for refused in [
            "v1/devices/me/telemetry",
            "telegraf/a",
            "fw/v1/me/json/d",
            "fw/v1/me/senml",
        ] {
            assert_eq!(name(&mapping, refused), None, "{refused}");
        }
    }
}

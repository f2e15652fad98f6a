//! What a gateway may do: deny by default.
//!
//! A credential opens exactly its own gateway's topics. A publish to a topic below its own prefix
//! that means nothing is allowed in, so that it can be kept as a dead letter and answered: refusing
//! it would make an MQTT 3.1.1 client, which can only be disconnected, send it for ever.

use models::wire::{self, Kind, Topic};

use crate::codec::Format;
use crate::registry::Gateway;

/// Where a publish goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Writer(Format),
    State,
}

/// Not this gateway's topic, or one that only the server writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied(pub &'static str);

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

/// # Errors
/// When the gateway may not publish there.
pub fn publish(gateway: &Gateway, topic: &str) -> Result<Destination, Denied> {
    if topic.is_empty() || topic.contains(['+', '#', '\0']) {
        return Err(Denied("topic_invalid"));
    }
    if below(gateway, topic).is_none() {
        return Err(Denied("foreign_topic"));
    }
    match Topic::parse(topic).map(|topic| topic.kind) {
        Ok(Kind::Batch) => Ok(Destination::Writer(Format::Native)),
        Ok(Kind::Json { device, channel }) => Ok(Destination::Writer(Format::Json {
            device: device.to_owned(),
            channel: channel.map(str::to_owned),
        })),
        Ok(Kind::State) => Ok(Destination::State),
        Ok(Kind::Committed | Kind::Error) => Err(Denied("server_topic")),
        Err(_) => Ok(Destination::Writer(Format::Unknown)),
    }
}

/// A filter as the client gave it and with its gateway's full name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    pub given: String,
    pub canonical: String,
}

/// # Errors
/// When the filter is malformed or could match anything of another gateway.
pub fn subscribe(gateway: &Gateway, filter: &str) -> Result<Granted, Denied> {
    if filter.starts_with("$share/") {
        return Err(Denied("shared_subscription"));
    }
    if !valid_filter(filter) {
        return Err(Denied("filter_invalid"));
    }
    let rest = below(gateway, filter).ok_or(Denied("foreign_filter"))?;
    Ok(Granted {
        given: filter.to_owned(),
        canonical: wire::topic(&gateway.tenant_slug, &gateway.slug, rest),
    })
}

/// [MQTT-4.7.1]: wildcards fill a level, `#` is the last one.
fn valid_filter(filter: &str) -> bool {
    if filter.is_empty() || filter.contains('\0') {
        return false;
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let wild = level.contains(['+', '#']);
        if wild && level.len() > 1 || level == "#" && levels.peek().is_some() {
            return false;
        }
    }
    true
}

/// Whether `topic` matches `filter`; both are valid.
pub fn matches(filter: &str, topic: &str) -> bool {
    let mut topic = topic.split('/');
    let mut filter = filter.split('/');
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use models::id::{GatewayId, TenantId};

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

    #[test]
    fn publish_rights() {
        let gateway = gateway();
        let may = |topic| publish(&gateway, topic);
        assert_eq!(
            may("fw/v1/acme/line-1/batch"),
            Ok(Destination::Writer(Format::Native))
        );
        assert_eq!(may("fw/v1/me/batch"), Ok(Destination::Writer(Format::Native)));
        assert_eq!(may("fw/v1/me/state"), Ok(Destination::State));
        assert_eq!(may("fw/v1/me/nonsense"), Ok(Destination::Writer(Format::Unknown)));
        for foreign in [
            "fw/v1/acme/line-2/batch",
            "fw/v1/acme/line-11/batch",
            "fw/v1/other/line-1/batch",
            "fw/v1/acme/batch",
            "fw/v2/acme/line-1/batch",
            "sensors/x",
            "$SYS/x",
            "FW/v1/me/batch",
            "fw/v1/me",
            "fw/v1//me/batch",
        ] {
            assert_eq!(may(foreign), Err(Denied("foreign_topic")), "{foreign}");
        }
        assert_eq!(may("fw/v1/me/committed"), Err(Denied("server_topic")));
        assert_eq!(may("fw/v1/me/json/+"), Err(Denied("topic_invalid")));
    }

    #[test]
    fn subscribe_rights() {
        let gateway = gateway();
        let may = |filter| subscribe(&gateway, filter).map(|granted| granted.canonical);
        assert_eq!(
            may("fw/v1/me/committed"),
            Ok("fw/v1/acme/line-1/committed".into())
        );
        assert_eq!(may("fw/v1/acme/line-1/#"), Ok("fw/v1/acme/line-1/#".into()));
        assert_eq!(may("fw/v1/me/+"), Ok("fw/v1/acme/line-1/+".into()));
        for foreign in [
            "#",
            "+/+/+/+/#",
            "fw/#",
            "fw/v1/+/line-1/committed",
            "fw/v1/acme/+/committed",
            "fw/v1/acme/line-2/#",
            "fw/v1/acme/#",
        ] {
            assert_eq!(may(foreign), Err(Denied("foreign_filter")), "{foreign}");
        }
        assert_eq!(may("$share/g/fw/v1/me/#"), Err(Denied("shared_subscription")));
        for bad in ["", "fw/v1/me/#/x", "fw/v1/me/a+"] {
            assert_eq!(may(bad), Err(Denied("filter_invalid")), "{bad}");
        }
    }

    #[test]
    fn filters_match() {
        for (filter, topic, expect) in [
            ("a/b", "a/b", true),
            ("a/+", "a/b", true),
            ("a/#", "a/b/c", true),
            ("a/#", "a", true),
            ("a/+", "a", false),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("a/+/c", "a/é/c", true),
        ] {
            assert_eq!(matches(filter, topic), expect, "{filter} {topic}");
        }
    }
}

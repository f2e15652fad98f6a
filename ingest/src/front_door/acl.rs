//! What a client may do: deny by default.
//!
//! A gateway's credential opens that gateway's own topics, and beside them what it was granted: filters
//! for publishing, filters for subscribing, always inside its tenant. The ingestion topics of another
//! gateway can't be granted: who sent a reading is who showed the credential.
//! A publish to a topic below its own prefix that means nothing is allowed in, so that it can be kept
//! as a dead letter and answered: refusing it would make an MQTT 3.1.1 client, which can only be
//! disconnected, send it for ever.

use std::sync::Arc;

use models::id::CredentialId;
use models::wire::{self, Kind, Topic};
use uuid::Uuid;

use super::hub::{Space, filter};
use crate::codec::Format;
use crate::registry::Gateway;

/// Topics beside the gateway's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    pub publish: Vec<String>,
    pub subscribe: Vec<String>,
}

/// Who showed a valid credential, or none where none is needed.
#[derive(Clone, Debug)]
pub struct Identity {
    pub space: Space,
    pub gateway: Option<Arc<Gateway>>,
    pub credential: Option<CredentialId>,
    pub grants: Arc<Grants>,
    /// SHA-256 of a claim code that was shown: it may ask for its credential and nothing else.
    pub claim: Option<[u8; 32]>,
}

impl Identity {
    /// Whose client ids these are.
    pub fn owner(&self) -> Uuid {
        match (&self.gateway, &self.claim) {
            (Some(gateway), _) => gateway.id.uuid(),
            // Whoever holds the same code is the same client.
            (None, Some(claim)) => Uuid::from_bytes(std::array::from_fn(|i| claim[i])),
            (None, None) => Uuid::nil(),
        }
    }
}

/// Where a publish goes.
#[derive(Clone, Debug)]
pub enum Destination {
    /// Readings of this gateway.
    Writer(Arc<Gateway>, Format),
    /// Whoever subscribed; with its full name.
    Subscribers(String),
    /// A claim code's holder asks for its credential.
    Claim([u8; 32]),
}

/// Where the holder of a claim code asks, and where it is answered.
pub const CLAIM_REQUEST: &str = "fw/v1/provision/request";
pub const CLAIM_RESPONSE: &str = "fw/v1/provision/response";

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Not granted, with a stable word for the metric.
    Right(&'static str),
    /// No topic name or filter.
    Invalid,
}

impl Denied {
    pub fn reason(self) -> &'static str {
        match self {
            Self::Right(reason) => reason,
            Self::Invalid => "topic_invalid",
        }
    }
}

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

/// The full name of a topic or filter that is the gateway's own.
pub fn full_name(gateway: &Gateway, topic: &str) -> Option<String> {
    below(gateway, topic).map(|rest| wire::topic(&gateway.tenant_slug, &gateway.slug, rest))
}

/// Whether `topic` is below `fw/v1` and so not free for everybody's use. Commands to gateways are.
fn reserved(topic: &str) -> bool {
    let Some(rest) = topic.strip_prefix(wire::PREFIX) else {
        return false;
    };
    let mut levels = rest.split('/');
    rest.starts_with('/') && levels.nth(3) != Some("command")
}

/// # Errors
/// When the client may not publish there.
pub fn publish(identity: &Identity, topic: &str) -> Result<Destination, Denied> {
    if topic.is_empty() || topic.contains(['+', '#', '\0']) {
        return Err(Denied::Invalid);
    }
    if let Some(claim) = identity.claim {
        return match topic {
            CLAIM_REQUEST => Ok(Destination::Claim(claim)),
            _ => Err(Denied::Right("not_claimed_yet")),
        };
    }
    if let Some(gateway) = &identity.gateway
        && let Some(rest) = below(gateway, topic)
    {
        let to_subscribers =
            || Destination::Subscribers(wire::topic(&gateway.tenant_slug, &gateway.slug, rest));
        let to_writer = |format| Destination::Writer(gateway.clone(), format);
        return match Topic::parse(topic).map(|topic| topic.kind) {
            Ok(Kind::Batch) => Ok(to_writer(Format::Native)),
            Ok(Kind::Json { device, channel }) => Ok(to_writer(Format::Json {
                device: device.to_owned(),
                channel: channel.map(str::to_owned),
            })),
            Ok(Kind::State) => Ok(to_subscribers()),
            Ok(Kind::Committed | Kind::Error) => Err(Denied::Right("server_topic")),
            Err(_) if rest.starts_with("answer/") => Ok(to_subscribers()),
            Err(_) if rest == "command" || rest.starts_with("command/") => Err(Denied::Right("server_topic")),
            Err(_) => Ok(to_writer(Format::Unknown)),
        };
    }
    let granted = identity
        .grants
        .publish
        .iter()
        .any(|granted| filter::matches(granted, topic));
    if granted && !reserved(topic) {
        Ok(Destination::Subscribers(topic.to_owned()))
    } else {
        Err(Denied::Right("foreign_topic"))
    }
}

/// What clients of other systems listen to: the Sparkplug hosts' STATE, the commands of one edge node,
/// ThingsBoard's answers. Only the server and clients with a grant publish there.
fn of_a_protocol(wanted: &str) -> bool {
    let levels: Vec<&str> = wanted.split('/').collect();
    let named = |level: &&str| !level.is_empty() && !level.contains(['+', '#']);
    match levels.as_slice() {
        ["spBv1.0", "STATE", _] => true,
        ["spBv1.0", group, "NCMD" | "DCMD", node] => named(group) && named(node),
        ["spBv1.0", group, "NCMD" | "DCMD", node, _] => named(group) && named(node),
        ["v1", "devices", "me", "attributes"] | ["v1", "gateway", "attributes" | "rpc"] => true,
        ["v1", "devices", "me", "attributes", "response", _] => true,
        ["v1", "devices", "me", "rpc", "request" | "response", _] => true,
        ["v1", "gateway", "attributes", "response"] => true,
        ["v2", "fw", "response", ..] => true,
        _ => false,
    }
}

/// A filter as it is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// With the gateway's full name.
    pub filter: String,
    pub group: Option<String>,
    /// The gateway's prefix, when the client wrote `me` for it.
    pub me: Option<String>,
}

/// # Errors
/// When the filter is malformed or could match anything that is not granted.
pub fn subscribe(identity: &Identity, given: &str) -> Result<Granted, Denied> {
    let (group, wanted) = match filter::shared(given) {
        Ok(Some((group, wanted))) => (Some(group.to_owned()), wanted),
        Ok(None) => (None, given),
        Err(()) => return Err(Denied::Invalid),
    };
    if !filter::valid(wanted) {
        return Err(Denied::Invalid);
    }
    if let Some(gateway) = &identity.gateway
        && let Some(full) = full_name(gateway, wanted)
    {
        let me = (full != wanted).then(|| wire::topic(&gateway.tenant_slug, &gateway.slug, ""));
        return Ok(Granted {
            filter: full,
            group,
            me,
        });
    }
    let granted = identity
        .grants
        .subscribe
        .iter()
        .any(|granted| filter::covers(granted, wanted));
    if granted || (identity.gateway.is_some() && of_a_protocol(wanted)) {
        Ok(Granted {
            filter: wanted.to_owned(),
            group,
            me: None,
        })
    } else {
        Err(Denied::Right("foreign_filter"))
    }
}

#[cfg(test)]
mod tests {
    use models::id::{GatewayId, TenantId};

    use super::*;

    fn identity(publish: &[&str], subscribe: &[&str]) -> Identity {
        let tenant = TenantId::new();
        let own = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        Identity {
            space: Space::Tenant(tenant),
            gateway: Some(Arc::new(Gateway {
                id: GatewayId::new(),
                tenant,
                tenant_slug: "acme".into(),
                slug: "line-1".into(),
                max_channels: 10,
            })),
            credential: None,
            grants: Arc::new(Grants {
                publish: own(publish),
                subscribe: own(subscribe),
            }),
            claim: None,
        }
    }

    /// The way of a publish in a word.
    fn way(identity: &Identity, topic: &str) -> Result<String, &'static str> {
        match publish(identity, topic) {
            Ok(Destination::Writer(_, format)) => Ok(format!("{format:?}")),
            Ok(Destination::Subscribers(name)) => Ok(name),
            Ok(Destination::Claim(_)) => Ok("claim".into()),
            Err(denied) => Err(denied.reason()),
        }
    }

    #[test]
    fn what_other_systems_clients_listen_to() {
        let gateway = identity(&[], &[]);
        for granted in [
            "spBv1.0/STATE/+",
            "spBv1.0/STATE/scada",
            "spBv1.0/plant/NCMD/press",
            "spBv1.0/plant/NCMD/press/#",
            "spBv1.0/plant/DCMD/press/#",
            "v1/devices/me/attributes",
            "v1/devices/me/attributes/response/+",
            "v1/devices/me/rpc/request/+",
            "v1/gateway/rpc",
        ] {
            assert!(subscribe(&gateway, granted).is_ok(), "{granted}");
        }
        for refused in [
            "spBv1.0/#",
            "spBv1.0/+/NCMD/+/#",
            "spBv1.0/plant/NDATA/press",
            "spBv1.0/plant/NCMD/#",
            "v1/devices/me/telemetry",
            "v1/gateway/telemetry",
            "v1/#",
        ] {
            assert!(subscribe(&gateway, refused).is_err(), "{refused}");
        }
        let nobody = Identity {
            gateway: None,
            ..identity(&[], &[])
        };
        assert!(subscribe(&nobody, "spBv1.0/STATE/+").is_err());
    }

    #[test]
    fn publish_rights() {
        let gateway = identity(&[], &[]);
        assert_eq!(way(&gateway, "fw/v1/acme/line-1/batch"), Ok("Native".into()));
        assert_eq!(way(&gateway, "fw/v1/me/batch"), Ok("Native".into()));
        assert_eq!(
            way(&gateway, "fw/v1/me/state"),
            Ok("fw/v1/acme/line-1/state".into())
        );
        assert_eq!(
            way(&gateway, "fw/v1/me/answer/7"),
            Ok("fw/v1/acme/line-1/answer/7".into())
        );
        assert_eq!(way(&gateway, "fw/v1/me/nonsense"), Ok("Unknown".into()));
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
            assert_eq!(way(&gateway, foreign), Err("foreign_topic"), "{foreign}");
        }
        for server in ["fw/v1/me/committed", "fw/v1/me/error", "fw/v1/me/command"] {
            assert_eq!(way(&gateway, server), Err("server_topic"), "{server}");
        }
        assert_eq!(way(&gateway, "fw/v1/me/json/+"), Err("topic_invalid"));
    }

    #[test]
    fn a_grant_opens_what_it_says_and_never_anothers_readings() {
        let dashboard = identity(&["#"], &["#"]);
        assert_eq!(way(&dashboard, "sensors/x"), Ok("sensors/x".into()));
        assert!(way(&dashboard, "fw/v1/acme/line-2/command").is_ok());
        assert_eq!(
            way(&dashboard, "fw/v1/acme/line-2/command/restart"),
            Ok("fw/v1/acme/line-2/command/restart".into())
        );
        for never in [
            "fw/v1/acme/line-2/batch",
            "fw/v1/acme/line-2/json/pump",
            "fw/v1/acme/line-2/state",
            "fw/v1/acme/line-2/committed",
            "$SYS/x",
        ] {
            assert_eq!(way(&dashboard, never), Err("foreign_topic"), "{never}");
        }
        let narrow = identity(&["bridge/+/out"], &["bridge/#"]);
        assert_eq!(way(&narrow, "bridge/a/out"), Ok("bridge/a/out".into()));
        assert_eq!(way(&narrow, "bridge/a/in"), Err("foreign_topic"));
        assert!(subscribe(&narrow, "bridge/+/in").is_ok());
        assert!(subscribe(&narrow, "#").is_err());
    }

    #[test]
    fn subscribe_rights() {
        let gateway = identity(&[], &[]);
        let may = |filter: &str| subscribe(&gateway, filter).map(|granted| granted.filter);
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
            "$share/g/fw/v1/acme/#",
        ] {
            assert_eq!(may(foreign), Err(Denied::Right("foreign_filter")), "{foreign}");
        }
        assert_eq!(
            subscribe(&gateway, "$share/g/fw/v1/me/#").unwrap(),
            Granted {
                filter: "fw/v1/acme/line-1/#".into(),
                group: Some("g".into()),
                me: Some("fw/v1/acme/line-1/".into()),
            }
        );
        for bad in ["", "fw/v1/me/#/x", "fw/v1/me/a+", "$share/g/", "$share/+/a"] {
            assert_eq!(may(bad), Err(Denied::Invalid), "{bad}");
        }
    }

    #[test]
    fn nobody_without_a_credential_sends_readings() {
        let anonymous = Identity {
            space: Space::Anonymous,
            gateway: None,
            credential: None,
            grants: Arc::new(Grants {
                publish: vec!["#".into()],
                subscribe: vec!["#".into()],
            }),
            claim: None,
        };
        let claimant = Identity {
            space: Space::Claims,
            grants: Arc::new(Grants {
                publish: Vec::new(),
                subscribe: vec![CLAIM_RESPONSE.into()],
            }),
            claim: Some([7; 32]),
            ..anonymous.clone()
        };
        assert_eq!(way(&claimant, CLAIM_REQUEST), Ok("claim".into()));
        assert_eq!(way(&claimant, "a/b"), Err("not_claimed_yet"));
        assert!(subscribe(&claimant, CLAIM_RESPONSE).is_ok() && subscribe(&claimant, "#").is_err());
        assert_eq!(way(&anonymous, "a/b"), Ok("a/b".into()));
        assert_eq!(way(&anonymous, "fw/v1/me/batch"), Err("foreign_topic"));
        assert_eq!(way(&anonymous, "fw/v1/acme/line-1/json/x"), Err("foreign_topic"));
    }
}

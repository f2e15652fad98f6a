//! Webhooks without their I/O: which events an endpoint wants, when to try again, which addresses may
//! be called, how a body is named.
//!
//! After Standard Webhooks (standardwebhooks.com, specification 1.0.0): `webhook-id`,
//! `webhook-timestamp`, `webhook-signature`; the same id for every attempt, so that a receiver can tell
//! a repeat.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use crate::time::Timestamp;

/// Seconds after an attempt at which the next one is made: over three days in all.
const SCHEDULE_S: [f64; 10] = [
    0.0, 5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0,
];
/// An endpoint that has failed for so long without one success is switched off.
pub const DISABLE_AFTER_S: f64 = 5.0 * 86_400.0;

/// When to try again after the attempt numbered `attempts` (1 = the first). `None` = no more.
/// `jitter` from 0 to 1 spreads those that failed together over another 20 %.
pub fn next_attempt(attempts: u32, jitter: f64, now: Timestamp) -> Option<Timestamp> {
    let wait = SCHEDULE_S.get(usize::try_from(attempts).ok()?)?;
    Some(now.plus_seconds(wait * (1.0 + 0.2 * jitter.clamp(0.0, 1.0))))
}

/// Whether an endpoint that wants `patterns` wants events of this kind: `*`, `ticket.*`, `ticket.created`.
pub fn wants(patterns: &[String], kind: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some("") => true,
        Some(start) => kind.starts_with(start) && start.ends_with('.'),
        None => pattern == kind,
    })
}

/// # Errors
/// What is wrong with a pattern and what would do.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    let body = pattern.strip_suffix(".*").unwrap_or(pattern);
    let word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let parts: Vec<&str> = body.split('.').collect();
    let good = pattern == "*"
        || (parts.iter().all(|part| word(part)) && (pattern.ends_with(".*") || parts.len() > 1));
    if good {
        Ok(())
    } else {
        Err(format!(
            "`{pattern}` matches no event: use *, a group such as ticket.*, or a kind such as ticket.created"
        ))
    }
}

/// Whether an address lies in the public Internet: not this machine, not a private, link-local, shared,
/// documentation or multicast network (RFC 6890 and its IPv6 counterpart), and not one of those in an
/// IPv6 disguise.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => public_v4(v4),
        IpAddr::V6(v6) => match embedded_v4(v6) {
            Some(v4) => public_v4(v4),
            None => public_v6(v6),
        },
    }
}

fn public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    !(v4.is_unspecified()
        || v4.is_loopback()
        || v4.is_private()
        || v4.is_link_local()
        || v4.is_broadcast()
        || v4.is_documentation()
        || v4.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (18..20).contains(&b))
        || (a == 192 && b == 0 && c == 0))
}

fn public_v6(v6: Ipv6Addr) -> bool {
    let first = v6.segments()[0];
    // Global unicast is 2000::/3; of it, 2001:db8::/32 and 2001::/23 are not the public network.
    (first & 0xe000) == 0x2000
        && !(first == 0x2001 && (v6.segments()[1] < 0x200 || v6.segments()[1] == 0xdb8))
}

/// ::ffff:a.b.c.d, ::a.b.c.d, 64:ff9b::a.b.c.d (NAT64) and 2002:aabb:ccdd:: (6to4) lead to an IPv4 address.
fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = v6.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

/// A network that may be called although it is private: `10.1.0.0/16`, `fd00::/8` or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a network: give one such as 10.1.0.0/16 or one address");
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| bad()))?;
        if bits <= most {
            Ok(Self { address, bits })
        } else {
            Err(bad())
        }
    }
}

impl Network {
    pub fn contains(self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let shift = u32::from(32 - self.bits.min(32));
                u32::from(a).checked_shr(shift).unwrap_or(0) == u32::from(b).checked_shr(shift).unwrap_or(0)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let shift = u32::from(128 - self.bits.min(128));
                u128::from(a).checked_shr(shift).unwrap_or(0) == u128::from(b).checked_shr(shift).unwrap_or(0)
            }
            _ => false,
        }
    }
}

/// Whether an address may be called.
pub fn may_call(address: IpAddr, allowed: &[Network]) -> bool {
    is_public(address) || allowed.iter().any(|network| network.contains(address))
}

/// What an event says, for a receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Happened<'a> {
    /// The webhook-id.
    pub id: &'a str,
    pub at: Timestamp,
    pub kind: &'a str,
    pub subject: &'a str,
    pub asset: Option<String>,
    pub tenant: &'a str,
    pub data: &'a Value,
}

/// The body: `{type, timestamp, data}`, or a CloudEvents 1.0 event in structured mode.
pub fn body(event: &Happened<'_>, cloud_events: bool) -> Value {
    let mut data = json!({ "subject": event.subject, "asset_id": event.asset, "detail": event.data });
    // Thin by design: who wants more asks the API for the subject.
    if data.to_string().len() > 16_000 {
        data = json!({ "subject": event.subject, "asset_id": event.asset, "detail": Value::Null, "truncated": true });
    }
    if cloud_events {
        json!({
            "specversion": "1.0",
            "id": event.id,
            "source": format!("/forewarn/{}", event.tenant),
            "type": format!("forewarn.{}", event.kind),
            "subject": event.subject,
            "time": event.at,
            "datacontenttype": "application/json",
            "data": data,
        })
    } else {
        json!({ "type": event.kind, "timestamp": event.at, "data": data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_go_on_for_days_and_end() {
        let now = Timestamp::from_secs(1_770_000_000);
        let mut at = now;
        for attempts in 1..10 {
            let next = next_attempt(attempts, 0.0, at).unwrap();
            assert!(next > at);
            assert!(next_attempt(attempts, 1.0, at).unwrap() > next);
            at = next;
        }
        assert_eq!(next_attempt(10, 0.0, at), None);
        let days = at.seconds_since(now) / 86_400.0;
        assert!((3.0..4.0).contains(&days), "{days}");
    }

    #[test]
    fn patterns_are_groups_or_kinds() {
        let wants = |pattern: &str, kind| wants(&[pattern.to_owned()], kind);
        assert!(wants("*", "alarm.raised") && wants("ticket.*", "ticket.created"));
        assert!(wants("ticket.created", "ticket.created"));
        assert!(!wants("ticket.*", "tickets.created") && !wants("tick*", "ticket.created"));
        assert!(!wants("ticket.created", "ticket.changed"));
        for good in ["*", "ticket.*", "ticket.created", "asset.health_changed"] {
            check_pattern(good).unwrap();
        }
        for bad in ["", "ticket", "tick*", "Ticket.created", "ticket.", ".*", "a b.c"] {
            assert!(check_pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_public_network_is_called_unless_allowed() {
        for private in [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.5.4",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "255.255.255.255",
            "192.0.2.1",
            "198.18.0.1",
            "192.0.0.8",
            "224.0.0.1",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "fc00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "::7f00:1",
            "2001:db8::1",
            "2001::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in [
            "1.1.1.1",
            "93.184.216.34",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        let allowed: Vec<Network> = ["10.1.0.0/16", "fd12::/16", "127.0.0.1"]
            .map(|text| text.parse().unwrap())
            .into();
        let may = |text: &str| may_call(text.parse().unwrap(), &allowed);
        assert!(may("10.1.255.3") && may("fd12:9::1") && may("127.0.0.1"));
        assert!(!may("10.2.0.1") && !may("fd13::1") && !may("127.0.0.2"));
        for bad in ["10.0.0.0/33", "ten", "10.0.0.0/x", "::/129"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
        assert!(
            "0.0.0.0/0"
                .parse::<Network>()
                .unwrap()
                .contains("10.0.0.1".parse().unwrap())
        );
    }

    #[test]
    fn bodies_are_thin_and_named_after_the_standard() {
        let big = json!({ "text": "x".repeat(20_000) });
        let small = json!({ "to": "closed" });
        let event = |data| Happened {
            id: "dlv_1",
            at: Timestamp::from_secs(1_770_000_000),
            kind: "ticket.changed",
            subject: "tkt_1",
            asset: None,
            tenant: "ten_1",
            data,
        };
        let plain = body(&event(&small), false);
        assert_eq!(
            (&plain["type"], &plain["data"]["detail"]["to"]),
            (&json!("ticket.changed"), &json!("closed"))
        );
        assert_eq!(body(&event(&big), false)["data"]["truncated"], true);
        let cloud = body(&event(&small), true);
        assert_eq!(
            (&cloud["specversion"], &cloud["type"]),
            (&json!("1.0"), &json!("forewarn.ticket.changed"))
        );
        assert_eq!(cloud["source"], "/forewarn/ten_1");
    }
}

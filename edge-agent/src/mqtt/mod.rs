//! What uplink and local collectors share of MQTT 3.1.1: a connection that reads and writes packets.
//!
//! The codec is rumqttc's, its event loop is not used: that has a queue of its own, which forgets
//! what it accepted when a connection breaks, and takes no stream but its own. Here the caller holds
//! the only queue, sees each PUBACK, and may run over any stream, so TLS is rustls as everywhere.

pub mod link;
pub mod tls;

use anyhow::{Context, ensure};

pub use link::{Link, Refused};

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

impl Address {
    /// Reads `mqtt://host[:port]` (1883) or `mqtts://host[:port]` (8883). `key` names the setting.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(key: &str, url: &str) -> anyhow::Result<Self> {
        let expected = || format!("`{key}` is `{url}`: expected mqtt://host:port or mqtts://host:port");
        let (tls, rest) = match (url.strip_prefix("mqtts://"), url.strip_prefix("mqtt://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => anyhow::bail!(expected()),
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (
                host,
                port.parse()
                    .with_context(|| format!("`{key}` is `{url}`: `{port}` is no port"))?,
            ),
            _ => (rest, if tls { 8883 } else { 1883 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        ensure!(
            !host.is_empty() && !host.contains(['/', '@']),
            "{}; user and password don't belong into it",
            expected()
        );
        Ok(Self {
            host: host.to_owned(),
            port,
            tls,
        })
    }
}

/// Whether `topic` matches `filter`, MQTT 3.1.1 section 4.7. Topics that begin with `$` match no
/// filter that begins with a wildcard.
pub fn matches(filter: &str, topic: &str) -> bool {
    captures(filter, topic).is_some()
}

/// What the wildcards of `filter` stand for in `topic`, in order; `#` gives all further levels as one.
pub fn captures<'a>(filter: &str, topic: &'a str) -> Option<Vec<&'a str>> {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return None;
    }
    let mut found = Vec::new();
    let mut filter = filter.split('/');
    let mut rest = Some(topic);
    loop {
        match (filter.next(), rest) {
            (Some("#"), rest) => {
                found.push(rest.unwrap_or_default());
                return Some(found);
            }
            (Some(wanted), Some(topic)) => {
                let (level, further) = match topic.split_once('/') {
                    Some((level, further)) => (level, Some(further)),
                    None => (topic, None),
                };
                match wanted {
                    "+" => found.push(level),
                    _ if wanted == level => {}
                    _ => return None,
                }
                rest = further;
            }
            (None, None) => return Some(found),
            _ => return None,
        }
    }
}

/// # Errors
/// When it is no filter of MQTT 3.1.1: wildcards fill a level, `#` is the last one.
pub fn check_filter(filter: &str) -> anyhow::Result<()> {
    let mut levels = filter.split('/').peekable();
    let mut good = !filter.is_empty() && !filter.contains('\0');
    while let Some(level) = levels.next() {
        let wild = level.contains(['+', '#']);
        good &= !(wild && level.len() > 1 || level == "#" && levels.peek().is_some());
    }
    ensure!(
        good,
        "`{filter}` is no topic filter: `+` fills one level, `#` the last ones"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (url, host, port, tls) in [
            ("mqtt://h", "h", 1883, false),
            ("mqtts://h", "h", 8883, true),
            ("mqtt://h:7/", "h", 7, false),
            ("mqtts://[::1]:9", "::1", 9, true),
            ("mqtt://[::1]", "::1", 1883, false),
        ] {
            let expected = Address {
                host: host.to_owned(),
                port,
                tls,
            };
            assert_eq!(Address::parse("url", url).unwrap(), expected);
        }
        for bad in [
            "h:1883",
            "http://h",
            "mqtt://",
            "mqtt://h:x",
            "mqtt://u:p@h",
            "mqtt://h/x",
        ] {
            assert!(Address::parse("url", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn wildcards() {
        assert_eq!(captures("a/+/c/#", "a/b/c/d/e"), Some(vec!["b", "d/e"]));
        assert_eq!(captures("a/#", "a"), Some(vec![""]));
        assert_eq!(captures("+", "a"), Some(vec!["a"]));
        for (filter, topic) in [
            ("a/+", "a"),
            ("a/+", "a/b/c"),
            ("a", "b"),
            ("#", "$SYS/x"),
            ("a/b", "a"),
        ] {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
        for bad in ["", "a/#/b", "a+", "#a"] {
            assert!(check_filter(bad).is_err(), "{bad}");
        }
        check_filter("+/a/#").unwrap();
    }
}

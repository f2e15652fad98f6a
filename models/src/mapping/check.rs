//! What a mapping must hold before it is saved.

use super::{Codec, Mapping, Route};

const MAX_ROUTES: usize = 100;
const MAX_VALUES: usize = 1_000;
const MAX_NAME: usize = 256;

/// What is wrong with a mapping, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {why}")]
pub struct Invalid {
    /// JSON pointer into the mapping.
    pub pointer: String,
    pub why: String,
}

fn invalid(pointer: String, why: impl Into<String>) -> Invalid {
    Invalid {
        pointer,
        why: why.into(),
    }
}

impl Mapping {
    /// # Errors
    /// Names the first field that can't be.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.routes.len() > MAX_ROUTES {
            return Err(invalid("/routes".into(), format!("at most {MAX_ROUTES}")));
        }
        for (i, route) in self.routes.iter().enumerate() {
            route.check(&format!("/routes/{i}"))?;
            if !self.allows(route.codec) {
                return Err(invalid(
                    format!("/routes/{i}/codec"),
                    format!(
                        "`{}` is not among the protocols of this gateway",
                        route.codec.name()
                    ),
                ));
            }
        }
        Ok(())
    }
}

impl Route {
    fn check(&self, at: &str) -> Result<(), Invalid> {
        let wildcards = filter(&self.topic).map_err(|why| invalid(format!("{at}/topic"), why))?;
        if matches!(self.codec, Codec::Native | Codec::Sparkplug | Codec::Thingsboard) {
            return Err(invalid(
                format!("{at}/codec"),
                "has topics of its own: routes are for json, influx and senml",
            ));
        }
        for (key, text) in [("device", &self.device), ("channel", &self.channel)] {
            if let Some(text) = text {
                template(text, wildcards, key == "device" && self.codec == Codec::Json)
                    .map_err(|why| invalid(format!("{at}/{key}"), why))?;
            }
        }
        let only_json = [
            ("channel", self.channel.is_some()),
            ("each", self.each.is_some()),
            ("time", self.time.is_some()),
            ("values", !self.values.is_empty()),
        ];
        if self.codec != Codec::Json
            && let Some((key, _)) = only_json.iter().find(|(_, given)| *given)
        {
            return Err(invalid(format!("{at}/{key}"), "is for codec json"));
        }
        if self.precision.is_some() && self.codec != Codec::Influx {
            return Err(invalid(format!("{at}/precision"), "is for codec influx"));
        }
        for (key, pointer) in [
            ("each", self.each.as_deref()),
            (
                "time/pointer",
                self.time.as_ref().map(|time| time.pointer.as_str()),
            ),
        ] {
            if pointer.is_some_and(|text| !is_pointer(text) || text.split('/').any(|level| level == "*")) {
                return Err(invalid(
                    format!("{at}/{key}"),
                    "a JSON pointer such as /data/time",
                ));
            }
        }
        if self.values.len() > MAX_VALUES {
            return Err(invalid(format!("{at}/values"), format!("at most {MAX_VALUES}")));
        }
        for (i, value) in self.values.iter().enumerate() {
            let at = format!("{at}/values/{i}");
            if !is_pointer(&value.pointer) {
                return Err(invalid(
                    format!("{at}/pointer"),
                    "a JSON pointer such as /data/temperature",
                ));
            }
            let wild = value.pointer.split('/').filter(|level| *level == "*").count();
            if let Some(channel) = &value.channel {
                template(channel, wild, false).map_err(|why| invalid(format!("{at}/channel"), why))?;
            }
            if value
                .unit
                .as_ref()
                .is_some_and(|unit| unit.is_empty() || unit.len() > 64)
            {
                return Err(invalid(
                    format!("{at}/unit"),
                    "a UCUM code of 1 to 64 bytes; 1 = dimensionless",
                ));
            }
        }
        Ok(())
    }
}

/// Returns the number of wildcards.
fn filter(text: &str) -> Result<usize, &'static str> {
    if text.is_empty() || text.len() > 1024 || text.contains('\0') {
        return Err("a topic filter of 1 to 1024 bytes");
    }
    if text.starts_with('$') {
        return Err("topics that begin with $ are the server's");
    }
    let levels: Vec<&str> = text.split('/').collect();
    for (i, level) in levels.iter().enumerate() {
        if level.contains(['+', '#']) && level.len() > 1 {
            return Err("a wildcard fills a whole level");
        }
        if *level == "#" && i + 1 < levels.len() {
            return Err("# is the last level");
        }
    }
    Ok(levels.iter().filter(|level| matches!(**level, "+" | "#")).count())
}

/// `{1}` … `{wildcards}`, and `{/pointer}` where the payload may name it.
fn template(text: &str, wildcards: usize, pointers: bool) -> Result<(), String> {
    if text.is_empty() || text.len() > MAX_NAME || text.contains(char::is_control) {
        return Err(format!("1 to {MAX_NAME} bytes without control characters"));
    }
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let after = &rest[start + 1..];
        let Some(end) = after.find('}') else {
            return Err("a { without its }".to_owned());
        };
        let inner = &after[..end];
        let good = if inner.starts_with('/') {
            pointers && is_pointer(inner)
        } else {
            inner.parse::<usize>().is_ok_and(|n| (1..=wildcards).contains(&n))
        };
        if !good {
            return Err(format!(
                "{{{inner}}}: there are {wildcards} wildcards to take it from"
            ));
        }
        rest = &after[end + 1..];
    }
    Ok(())
}

/// RFC 6901: empty, or levels that each begin with a slash.
fn is_pointer(text: &str) -> bool {
    text.len() <= 1024 && (text.is_empty() || text.starts_with('/')) && !text.contains(char::is_control)
}

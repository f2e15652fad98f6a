//! From a JSON payload to readings, by a route.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::{Route, Text, TimeFormat, Value, read_time};

/// Readings that one payload may hold.
const MAX_READINGS: usize = 100_000;
/// Levels of objects and arrays that are walked down.
const MAX_DEPTH: usize = 16;

/// A reading as the payload has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub device: String,
    pub channel: String,
    pub unit: Option<String>,
    /// Microseconds since 1970.
    pub ts: i64,
    pub value: f64,
}

/// A value of the payload that is no reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Misfit {
    pub device: String,
    pub channel: String,
    pub unit: Option<String>,
    pub ts: i64,
    pub value: Json,
    /// Names the field.
    pub detail: String,
}

/// What came out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mapped {
    pub readings: Vec<Reading>,
    pub misfits: Vec<Misfit>,
}

/// Nothing could be made of the payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// Stable code, as in `dead_letter.reason`.
    pub reason: &'static str,
    pub detail: String,
}

fn failure(reason: &'static str, detail: String) -> Failure {
    Failure { reason, detail }
}

/// What of a topic and a payload a route needs.
struct Reader<'a> {
    route: &'a Route,
    captures: &'a [&'a str],
    topic: &'a str,
    received_at: i64,
    out: Mapped,
}

/// Reads `payload` by `route`, whose filter matched `topic` with `captures`. Readings without a time
/// happened at `received_at`, microseconds.
///
/// # Errors
/// When the payload is not JSON, or nothing the route speaks of is in it.
pub fn apply(
    route: &Route,
    captures: &[&str],
    topic: &str,
    payload: &[u8],
    received_at: i64,
) -> Result<Mapped, Failure> {
    let json: Json =
        serde_json::from_slice(payload).map_err(|error| failure("malformed_json", error.to_string()))?;
    let mut reader = Reader {
        route,
        captures,
        topic,
        received_at,
        out: Mapped::default(),
    };
    let each = route.each.as_deref().unwrap_or("");
    let root = json.pointer(each).ok_or_else(|| {
        failure(
            "mapping_misses",
            format!("{each}: the payload has nothing there (mapping: each)"),
        )
    })?;
    match root {
        Json::Array(elements) if route.channel.is_none() || route.each.is_some() => {
            for (i, element) in elements.iter().enumerate() {
                reader.element(&json, element, &format!("{each}/{i}"))?;
            }
        }
        element => reader.element(&json, element, each)?,
    }
    let out = reader.out;
    if out.readings.is_empty() && out.misfits.is_empty() {
        return Err(failure(
            "mapping_misses",
            format!("the route for `{}` finds no value in the payload", route.topic),
        ));
    }
    Ok(out)
}

impl Reader<'_> {
    fn element(&mut self, whole: &Json, element: &Json, at: &str) -> Result<(), Failure> {
        let ts = self.time(whole, element, at)?;
        let device = self.device(whole, element, at)?;
        if !self.route.values.is_empty() {
            for value in &self.route.values {
                self.wanted(value, element, at, &device, ts)?;
            }
            return Ok(());
        }
        if let Some(channel) = &self.route.channel {
            let channel = fill(channel, self.captures);
            // One value, bare or as {"value": …}.
            let (value, at) = match element {
                Json::Object(object) if object.contains_key("value") => {
                    (&object["value"], format!("{at}/value"))
                }
                other => (other, at.to_owned()),
            };
            return self.push(&device, channel, None, ts, value, &at);
        }
        self.flatten(element, at, &device, &mut String::new(), ts, 0)
    }

    fn time(&self, whole: &Json, element: &Json, at: &str) -> Result<i64, Failure> {
        let Some(time) = &self.route.time else {
            return Ok(self.received_at);
        };
        // A time for all elements stands beside them.
        let (value, place) = match element.pointer(&time.pointer) {
            Some(value) => (value, format!("{at}{}", time.pointer)),
            None => match whole.pointer(&time.pointer) {
                Some(value) => (value, time.pointer.clone()),
                None => {
                    return Err(failure(
                        "mapping_misses",
                        format!("{at}{}: the payload has no time there", time.pointer),
                    ));
                }
            },
        };
        read_time(value, time.format).ok_or_else(|| {
            let expected = match time.format {
                TimeFormat::Auto => "RFC 3339 text or seconds or milliseconds since 1970",
                TimeFormat::Rfc3339 => "RFC 3339 text",
                TimeFormat::UnixS => "seconds since 1970",
                TimeFormat::UnixMs => "milliseconds since 1970",
                TimeFormat::UnixUs => "microseconds since 1970",
                TimeFormat::UnixNs => "nanoseconds since 1970",
            };
            failure(
                "bad_time",
                format!("{place}: expected {expected}, got {}", shown(value)),
            )
        })
    }

    fn device(&self, whole: &Json, element: &Json, at: &str) -> Result<String, Failure> {
        let Some(template) = &self.route.device else {
            return Ok(self.topic.rsplit('/').next().unwrap_or(self.topic).to_owned());
        };
        let mut name = String::new();
        let mut rest = fill(template, self.captures);
        while let Some(start) = rest.find("{/") {
            let Some(len) = rest[start..].find('}') else { break };
            let pointer = &rest[start + 1..start + len];
            let found = element.pointer(pointer).or_else(|| whole.pointer(pointer));
            let text = match found {
                Some(Json::String(text)) => text.clone(),
                Some(Json::Number(number)) => number.to_string(),
                Some(other) => {
                    return Err(failure(
                        "malformed_json",
                        format!(
                            "{at}{pointer}: expected the name of a device, got {}",
                            shown(other)
                        ),
                    ));
                }
                None => {
                    return Err(failure(
                        "mapping_misses",
                        format!("{at}{pointer}: the payload names no device there"),
                    ));
                }
            };
            name.push_str(&rest[..start]);
            name.push_str(&text);
            rest = rest[start + len + 1..].to_owned();
        }
        name.push_str(&rest);
        Ok(name)
    }

    fn wanted(
        &mut self,
        value: &Value,
        element: &Json,
        at: &str,
        device: &str,
        ts: i64,
    ) -> Result<(), Failure> {
        let mut found = Vec::new();
        let levels: Vec<&str> = value.pointer.split('/').skip(1).collect();
        walk(element, &levels, at, &mut Vec::new(), &mut found);
        if found.is_empty() && value.required {
            return Err(failure(
                "mapping_misses",
                format!(
                    "{at}{}: the payload has nothing there, and it is required",
                    value.pointer
                ),
            ));
        }
        for (json, place, stars) in found {
            let channel = match &value.channel {
                Some(template) => {
                    let stars: Vec<&str> = stars.iter().map(String::as_str).collect();
                    fill(template, &stars)
                }
                None => {
                    let last = place.rsplit('/').next().unwrap_or(&place);
                    last.replace("~1", "/").replace("~0", "~")
                }
            };
            self.push(device, channel, value.unit.clone(), ts, json, &place)?;
        }
        Ok(())
    }

    /// Every number below, named by the way to it.
    fn flatten(
        &mut self,
        json: &Json,
        at: &str,
        device: &str,
        name: &mut String,
        ts: i64,
        depth: usize,
    ) -> Result<(), Failure> {
        if depth > MAX_DEPTH {
            return Err(failure(
                "too_deep",
                format!("{at}: nested more than {MAX_DEPTH} levels deep"),
            ));
        }
        let mut inside = |reader: &mut Self, key: &str, value: &Json| {
            let (before, place) = (name.len(), format!("{at}/{key}"));
            if reader.is_time(&place) {
                return Ok(());
            }
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(key);
            let done = reader.flatten(value, &place, device, name, ts, depth + 1);
            name.truncate(before);
            done
        };
        match json {
            Json::Object(members) => {
                for (key, value) in members {
                    inside(self, key, value)?;
                }
                Ok(())
            }
            Json::Array(elements) => {
                let mut index = String::new();
                for (i, value) in elements.iter().enumerate() {
                    index.clear();
                    // Writing to a String can't fail.
                    let _ = write!(index, "{i}");
                    inside(self, &index, value)?;
                }
                Ok(())
            }
            value => {
                let channel = if name.is_empty() {
                    "value".to_owned()
                } else {
                    name.clone()
                };
                self.push(device, channel, None, ts, value, at)
            }
        }
    }

    fn is_time(&self, place: &str) -> bool {
        self.route
            .time
            .as_ref()
            .is_some_and(|time| place.ends_with(time.pointer.as_str()) && !time.pointer.is_empty())
    }

    fn push(
        &mut self,
        device: &str,
        channel: String,
        unit: Option<String>,
        ts: i64,
        value: &Json,
        at: &str,
    ) -> Result<(), Failure> {
        if self.out.readings.len() + self.out.misfits.len() >= MAX_READINGS {
            return Err(failure(
                "too_many_readings",
                format!("{at}: more than {MAX_READINGS} readings: send smaller messages"),
            ));
        }
        let number = match (value, self.route.text) {
            (Json::Number(number), _) => number.as_f64(),
            (Json::Bool(truth), _) => Some(f64::from(u8::from(*truth))),
            (Json::String(text), Text::Number) => text
                .trim()
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite()),
            (Json::String(_), Text::Ignore) => return Ok(()),
            _ => None,
        };
        match number {
            Some(value) => self.out.readings.push(Reading {
                device: device.to_owned(),
                channel,
                unit,
                ts,
                value,
            }),
            None => {
                let at = if at.is_empty() { "/" } else { at };
                self.out.misfits.push(Misfit {
                    device: device.to_owned(),
                    channel,
                    unit,
                    ts,
                    detail: format!("{at}: expected a number, true or false, got {}", shown(value)),
                    value: value.clone(),
                });
            }
        }
        Ok(())
    }
}

/// Replaces `{1}`, `{2}`, … by `with`.
fn fill(template: &str, with: &[&str]) -> String {
    let mut text = template.to_owned();
    for (i, part) in with.iter().enumerate() {
        let mark = format!("{{{}}}", i + 1);
        if text.contains(&mark) {
            text = text.replace(&mark, part);
        }
    }
    text
}

/// Everything a pointer with `*` leads to: the value, its place, and what the stars stood for.
fn walk<'a>(
    json: &'a Json,
    levels: &[&str],
    place: &str,
    stars: &mut Vec<String>,
    found: &mut Vec<(&'a Json, String, Vec<String>)>,
) {
    let Some((level, rest)) = levels.split_first() else {
        found.push((json, place.to_owned(), stars.clone()));
        return;
    };
    let mut star = |key: &str, value: &'a Json| {
        stars.push(key.to_owned());
        walk(value, rest, &format!("{place}/{key}"), stars, found);
        stars.pop();
    };
    match (json, *level) {
        (Json::Object(members), "*") => members.iter().for_each(|(key, value)| star(key, value)),
        (Json::Array(elements), "*") => {
            for (i, value) in elements.iter().enumerate() {
                star(&i.to_string(), value);
            }
        }
        _ => {
            if let Some(value) = json.pointer(&format!("/{level}")) {
                walk(value, rest, &format!("{place}/{level}"), stars, found);
            }
        }
    }
}

/// A value in a message for people, cut to 80 characters.
pub fn shown(value: &Json) -> String {
    let kind = match value {
        Json::Null => return "null".to_owned(),
        Json::Bool(_) | Json::Number(_) => "",
        Json::String(_) => "text ",
        Json::Array(_) => return "an array".to_owned(),
        Json::Object(_) => return "an object".to_owned(),
    };
    let text: String = value.to_string().chars().take(80).collect();
    format!("{kind}{text}")
}

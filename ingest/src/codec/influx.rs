//! InfluxDB line protocol, as Telegraf's MQTT output and the client libraries write it.
//!
//! `measurement[,tag=value…] field=value[,field=value…] [timestamp]`, one point a line
//! (<https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>).
//!
//! The device is what the route says, else the tag `device`, else the tag `host`, else the
//! measurement. The channel is `measurement.field`, and what other tags tell apart stands behind it,
//! sorted: `cpu.usage_idle[cpu=cpu0]`. A line that can't be read is kept with its number and the
//! column of the fault; the lines around it are stored.

use std::borrow::Cow;

use models::mapping::{Precision, Text};
use models::time::Timestamp;
use serde_json::Value;

use super::{Columns, Decoded, MAX_READINGS, Reject, Undecodable};

/// How a route wants lines to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub device: Option<String>,
    /// `None` = nanoseconds.
    pub precision: Option<Precision>,
    pub text: Text,
}

/// # Errors
/// When the payload is not UTF-8, holds no line, or no line of it can be read.
pub fn decode(payload: &[u8], options: &Options, received_at: Timestamp) -> Result<Decoded, Undecodable> {
    let text = std::str::from_utf8(payload).map_err(|error| {
        Undecodable::new(
            "malformed_line",
            format!("byte {}: not UTF-8", error.valid_up_to()),
        )
    })?;
    let (good, decoded) = read(text, options, received_at, 1)?;
    if good == 0 {
        let detail = decoded.rejects.first().map_or_else(
            || "line 1: there is no line".to_owned(),
            |first| first.detail.clone(),
        );
        return Err(Undecodable::new("malformed_line", detail));
    }
    Ok(decoded)
}

/// A piece of a longer text, whose first line has the number `first`. Returns how many of its points
/// could be read, too; none is no error.
///
/// # Errors
/// When it holds too many readings.
pub(crate) fn read(
    text: &str,
    options: &Options,
    received_at: Timestamp,
    first: usize,
) -> Result<(usize, Decoded), Undecodable> {
    let mut reader = Reader {
        options,
        received_at: received_at.micros(),
        columns: Columns::new(),
        rejects: Vec::new(),
        channel: String::new(),
    };
    let mut good = 0;
    let mut next = first;
    let mut rest = text;
    while !rest.is_empty() {
        let number = next;
        let (end, _) = point(rest.as_bytes());
        let line = rest[..end].trim_end_matches('\r');
        next += 1 + line.bytes().filter(|byte| *byte == b'\n').count();
        rest = rest.get(end + 1..).unwrap_or("");
        let content = line.trim_start();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        match reader.line(content, number) {
            Ok(()) => good += 1,
            Err(fault) => {
                let column = line.len() - content.len() + fault.at + 1;
                let detail = format!("line {number}, column {column}: {}", fault.why);
                reader.rejects.push(malformed(number, content, detail));
            }
        }
        if reader.columns.readings() + reader.rejects.len() > MAX_READINGS {
            return Err(Undecodable::new(
                "too_many_readings",
                format!("line {number}: more than {MAX_READINGS} readings: send smaller messages"),
            ));
        }
    }
    Ok((
        good,
        Decoded {
            columns: reader.columns.finish(),
            rejects: reader.rejects,
            ..Decoded::default()
        },
    ))
}

/// A line of which nothing can be stored.
pub(crate) fn malformed(number: usize, content: &str, detail: String) -> Reject {
    Reject {
        device: "line protocol".to_owned(),
        channel: format!("line {number}"),
        unit: None,
        ts: None,
        value: Value::String(content.chars().take(1_000).collect()),
        quality: 0,
        reason: "malformed_line",
        detail,
    }
}

/// Where the newline after the first point stands, and whether a text is still open at the end of
/// `bytes`. A newline inside a quoted text belongs to it.
pub(crate) fn point(bytes: &[u8]) -> (usize, bool) {
    let line = || {
        bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(bytes.len())
    };
    if bytes.trim_ascii_start().starts_with(b"#") {
        // Whatever a comment holds, it ends with its line.
        return (line(), false);
    }
    let (mut quoted, mut fields) = (false, false);
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' if quoted || bytes.get(i + 1) != Some(&b'\n') => i += 1,
            b'"' if quoted => quoted = false,
            // Elsewhere it opens nothing, and must not take the lines behind it along.
            b'"' if fields && bytes[i - 1] == b'=' => quoted = true,
            b' ' => fields = true,
            b'\n' if !quoted => return (i, false),
            _ => {}
        }
        i += 1;
    }
    // A quote that never ends: don't take the lines behind it along.
    if quoted {
        (line(), true)
    } else {
        (bytes.len(), false)
    }
}

struct Fault {
    /// Byte of the line.
    at: usize,
    why: Cow<'static, str>,
}

fn fault<T>(at: usize, why: impl Into<Cow<'static, str>>) -> Result<T, Fault> {
    Err(Fault { at, why: why.into() })
}

struct Reader<'a> {
    options: &'a Options,
    received_at: i64,
    columns: Columns,
    rejects: Vec<Reject>,
    /// Name of the channel being read, kept for its room.
    channel: String,
}

enum Field<'a> {
    Number(f64),
    Text(&'a str),
}

impl Reader<'_> {
    fn line(&mut self, line: &str, number: usize) -> Result<(), Fault> {
        let (measurement, mut at) = token(line, 0, b", ");
        if measurement.is_empty() {
            return fault(0, "the measurement is missing");
        }
        let mut tags: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
        while line.as_bytes().get(at) == Some(&b',') {
            let (key, end) = token(line, at + 1, b"=, ");
            if line.as_bytes().get(end) != Some(&b'=') || key.is_empty() {
                return fault(at + 1, "expected a tag as key=value");
            }
            let (value, next) = token(line, end + 1, b", =");
            if value.is_empty() || line.as_bytes().get(next) == Some(&b'=') {
                return fault(
                    end + 1,
                    format!("tag `{key}` has no value, or a = that is not escaped"),
                );
            }
            tags.push((key, value));
            at = next;
        }
        if line.as_bytes().get(at) != Some(&b' ') {
            return fault(at, "expected a space and the fields");
        }
        while line.as_bytes().get(at) == Some(&b' ') {
            at += 1;
        }
        // The time stands behind the fields, but is needed for them.
        let fields_at = at;
        let fields_end = end_of_fields(line, at);
        let ts = self.time(line, fields_end)?;
        let named = self.options.device.as_deref();
        let tag = |wanted: &str| tags.iter().position(|(key, _)| key == wanted);
        let by_tag = if named.is_none() {
            tag("device").or_else(|| tag("host"))
        } else {
            None
        };
        let device: String = match (named, by_tag) {
            (Some(name), _) => name.to_owned(),
            (None, Some(i)) => tags.remove(i).1.into_owned(),
            (None, None) => measurement.clone().into_owned(),
        };
        tags.sort();
        let mut suffix = String::new();
        for (i, (key, value)) in tags.iter().enumerate() {
            suffix.push(if i == 0 { '[' } else { ',' });
            suffix.push_str(key);
            suffix.push('=');
            suffix.push_str(value);
        }
        if !suffix.is_empty() {
            suffix.push(']');
        }
        at = fields_at;
        loop {
            let (key, end) = token(line, at, b"=, ");
            if key.is_empty() || line.as_bytes().get(end) != Some(&b'=') {
                return fault(at, "expected a field as key=value");
            }
            let (value, next) = field(line, end + 1, &key)?;
            self.channel.clear();
            self.channel.push_str(&measurement);
            self.channel.push('.');
            self.channel.push_str(&key);
            self.channel.push_str(&suffix);
            match value {
                Field::Number(value) => self.columns.push(&device, &self.channel, None, ts, value, 0),
                Field::Text(text) => self.text(&device, text, ts, number, &key),
            }
            if line.as_bytes().get(next) != Some(&b',') {
                return Ok(());
            }
            at = next + 1;
        }
    }

    fn text(&mut self, device: &str, text: &str, ts: i64, line: usize, key: &str) {
        match self.options.text {
            Text::Ignore => {}
            Text::Number if text.trim().parse::<f64>().is_ok_and(f64::is_finite) => {
                let value = text.trim().parse().unwrap_or_default();
                self.columns.push(device, &self.channel, None, ts, value, 0);
            }
            Text::Number | Text::Reject => {
                let shown: String = text.chars().take(80).collect();
                self.rejects.push(Reject {
                    device: device.to_owned(),
                    channel: self.channel.clone(),
                    unit: None,
                    ts: Some(ts),
                    value: Value::String(text.to_owned()),
                    quality: 0,
                    reason: "not_a_number",
                    detail: format!(
                        "line {line}, field `{key}`: expected a number or truth value, got text \"{shown}\""
                    ),
                });
            }
        }
    }

    fn time(&self, line: &str, from: usize) -> Result<i64, Fault> {
        let text = line[from..].trim();
        if text.is_empty() {
            return Ok(self.received_at);
        }
        let at = from + line[from..].find(|c: char| c != ' ').unwrap_or(0);
        let Ok(number) = text.parse::<i64>() else {
            return fault(at, "expected a whole number as the time stamp");
        };
        let micros = match self.options.precision.unwrap_or(Precision::Ns) {
            Precision::S => number.checked_mul(1_000_000),
            Precision::Ms => number.checked_mul(1_000),
            Precision::Us => Some(number),
            Precision::Ns => Some(number.div_euclid(1_000)),
        };
        micros.map_or_else(|| fault(at, "the time stamp is out of range"), Ok)
    }
}

/// A name up to one of `stops` that no backslash stands before; returns where it ends.
fn token<'a>(line: &'a str, from: usize, stops: &[u8]) -> (Cow<'a, str>, usize) {
    let bytes = line.as_bytes();
    let mut i = from;
    let mut escaped = false;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' if i + 1 < bytes.len() && matches!(bytes[i + 1], b',' | b'=' | b' ') => {
                escaped = true;
                i += 1;
            }
            byte if stops.contains(&byte) => break,
            _ => {}
        }
        i += 1;
    }
    let raw = &line[from..i];
    if !escaped {
        return (Cow::Borrowed(raw), i);
    }
    let mut text = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(',' | '=' | ' ')) => {}
            _ => text.push(c),
        }
    }
    (Cow::Owned(text), i)
}

fn end_of_fields(line: &str, from: usize) -> usize {
    let bytes = line.as_bytes();
    let (mut i, mut quoted) = (from, false);
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 1,
            b'"' => quoted = !quoted,
            b' ' if !quoted => return i,
            _ => {}
        }
        i += 1;
    }
    bytes.len()
}

fn field<'a>(line: &'a str, at: usize, key: &str) -> Result<(Field<'a>, usize), Fault> {
    let bytes = line.as_bytes();
    if bytes.get(at) == Some(&b'"') {
        let mut i = at + 1;
        while i < bytes.len() {
            match bytes[i] {
                b'\\' => i += 1,
                b'"' => return Ok((Field::Text(&line[at + 1..i]), i + 1)),
                _ => {}
            }
            i += 1;
        }
        return fault(at, format!("field `{key}`: the text has no closing quote"));
    }
    let end = at + line[at..].find([',', ' ']).unwrap_or(line.len() - at);
    let text = &line[at..end];
    let number = match text {
        "t" | "T" | "true" | "True" | "TRUE" => Some(1.0),
        "f" | "F" | "false" | "False" | "FALSE" => Some(0.0),
        _ => match text.as_bytes().last() {
            Some(b'i') => text[..text.len() - 1]
                .parse::<i64>()
                .ok()
                .map(|whole| whole as f64),
            Some(b'u') => text[..text.len() - 1]
                .parse::<u64>()
                .ok()
                .map(|whole| whole as f64),
            Some(b'0'..=b'9' | b'.') => text.parse::<f64>().ok().filter(|number| number.is_finite()),
            _ => None,
        },
    };
    match number {
        Some(number) => Ok((Field::Number(number), end)),
        None => {
            let shown: String = text.chars().take(80).collect();
            fault(
                at,
                format!("field `{key}`: expected a number, 1i, 1u, true, false or \"text\", got `{shown}`"),
            )
        }
    }
}

#[cfg(test)]
mod tests;

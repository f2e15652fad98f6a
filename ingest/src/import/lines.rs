//! InfluxDB line protocol, by the codec that reads it from MQTT.
//!
//! Of the mapping, `time_format` is the precision (`unix_s` … `unix_ns`; nanoseconds when left out),
//! `device` the device of all lines, `unit` the unit of all values, and `text` what becomes of texts.
//! `columns` and `skip` name channels as the codec does, `measurement.field[tag=value]`; for `skip`
//! `measurement.field` is enough.
//!
//! Lines go to the codec some hundred at once. When something is wrong with the time of one of them,
//! or with its bytes, the piece is halved until that line is alone and its place can be told.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, Read};

use anyhow::{bail, ensure};
use models::mapping::Precision;
use models::time::Timestamp;

use super::columns::Gather;
use super::mapping::{ColumnMap, Mapping, TimeFormat};
use super::{Chunk, Source};
use crate::codec::json::number;
use crate::codec::{Decoded, Reject, Undecodable, influx};
use crate::validate::TimeLimits;

/// Lines that the codec gets at once, and again as many to reach the end of a quoted text.
const LINES: usize = 500;
/// Nobody writes longer lines; a file without newlines must not fill the memory.
const LONGEST_LINE: u64 = 1 << 20;
const PIECE_BYTES: usize = 4 << 20;
/// Given to the codec as now: only a line without a time stamp gets it.
const UNDATED: Timestamp = Timestamp::MIN;

pub(crate) struct LineFile<R> {
    reader: R,
    options: influx::Options,
    unit: Option<String>,
    channels: HashMap<String, ColumnMap>,
    skip: HashSet<String>,
    file: String,
    /// First and last moment that is believed, microseconds since 1970.
    believed: (i64, i64),
    /// Readings of a chunk, about.
    per_chunk: usize,
    /// Lines and bytes read so far.
    lines: usize,
    bytes: u64,
    gather: Gather,
    rejects: Vec<Reject>,
}

impl<R: BufRead + Send> LineFile<R> {
    /// # Errors
    /// When the mapping says what line protocol has no place for.
    pub fn new(
        reader: R,
        file: &str,
        mapping: &Mapping,
        limits: TimeLimits,
        per_chunk: usize,
    ) -> anyhow::Result<Self> {
        let precision = match &mapping.time_format {
            TimeFormat::Auto => None,
            TimeFormat::UnixS => Some(Precision::S),
            TimeFormat::UnixMs => Some(Precision::Ms),
            TimeFormat::UnixUs => Some(Precision::Us),
            TimeFormat::UnixNs => Some(Precision::Ns),
            _ => bail!("time_format: line protocol has unix_s, unix_ms, unix_us or unix_ns"),
        };
        for (key, set) in [
            ("time", mapping.time.is_some()),
            ("zone", mapping.zone.is_some()),
            ("device_column", mapping.device_column.is_some()),
            ("channel_column", mapping.channel_column.is_some()),
            ("value_column", mapping.value_column.is_some()),
            ("unit_column", mapping.unit_column.is_some()),
            ("quality_column", mapping.quality_column.is_some()),
            ("delimiter", mapping.delimiter.is_some()),
        ] {
            ensure!(
                !set,
                "{key}: line protocol has no columns and names its channels itself"
            );
        }
        Ok(Self {
            reader,
            options: influx::Options {
                device: mapping.device.clone(),
                precision,
                text: mapping.text,
            },
            unit: mapping.unit.clone(),
            channels: mapping
                .columns
                .iter()
                .map(|map| (map.column.clone(), map.clone()))
                .collect(),
            skip: mapping.skip.iter().cloned().collect(),
            file: file.to_owned(),
            believed: super::files::believed(limits),
            per_chunk,
            lines: 0,
            bytes: 0,
            gather: Gather::default(),
            rejects: Vec::new(),
        })
    }

    /// Reads lines that hold `budget` readings, and on to the end of a quoted text. Returns how many
    /// readings they hold, about; 0 at the end of the file. It must cut in the same places whether or
    /// not somebody looks at the content, or a second run would pass other lines than the first stored.
    fn piece(&mut self, text: &mut Vec<u8>, budget: usize) -> std::io::Result<usize> {
        text.clear();
        let (mut lines, mut readings) = (0, 0);
        // Where the point begins whose text is still open.
        let mut open: Option<usize> = None;
        while text.len() < PIECE_BYTES
            && ((lines < LINES && readings < budget) || (open.is_some() && lines < 2 * LINES))
        {
            let from = text.len();
            let mut n = self.reader.by_ref().take(LONGEST_LINE).read_until(b'\n', text)? as u64;
            if n == 0 {
                break;
            }
            lines += 1;
            if n == LONGEST_LINE && text.last() != Some(&b'\n') {
                let detail = format!(
                    "line {}: it is longer than {LONGEST_LINE} bytes",
                    self.lines + lines
                );
                let start = String::from_utf8_lossy(&text[from..from + 1_000]).into_owned();
                let reject = influx::malformed(self.lines + lines, &start, detail);
                self.reject(reject);
                text.truncate(from);
                text.push(b'\n');
                n += self.reader.skip_until(b'\n')? as u64;
            }
            self.bytes += n;
            readings += about(&text[from..]);
            let begins = open.unwrap_or(from);
            open = influx::point(&text[begins..]).1.then_some(begins);
        }
        self.lines += lines;
        Ok(readings)
    }

    fn decode(&mut self, text: &[u8], first: usize) {
        let read = match std::str::from_utf8(text) {
            Ok(text) => influx::read(text, &self.options, UNDATED, first).map(|(_, decoded)| decoded),
            Err(error) => Err(Undecodable::new(
                "malformed_line",
                format!("line {first}, column {}: not UTF-8", error.valid_up_to() + 1),
            )),
        };
        let read = read.map(|decoded| self.named(decoded));
        match read {
            Ok(decoded) if self.believes(&decoded) => self.take(decoded),
            read => match halves(text) {
                Some((left, right)) => {
                    self.decode(left, first);
                    self.decode(right, first + newlines(left));
                }
                None => self.alone(text, first, read),
            },
        }
    }

    /// What the mapping makes of the codec's names.
    fn named(&self, mut decoded: Decoded) -> Decoded {
        if self.skip.is_empty() && self.channels.is_empty() && self.unit.is_none() {
            return decoded;
        }
        decoded
            .columns
            .retain_mut(|column| self.name(&mut column.device, &mut column.channel, &mut column.unit));
        decoded.rejects.retain_mut(|reject| {
            // Of a line that can't be read nobody knows the channels.
            reject.reason == "malformed_line"
                || self.name(&mut reject.device, &mut reject.channel, &mut reject.unit)
        });
        decoded
    }

    /// Whether it is to be kept.
    fn name(&self, device: &mut String, channel: &mut String, unit: &mut Option<String>) -> bool {
        let field = channel
            .split_once('[')
            .map_or(channel.as_str(), |(field, _)| field);
        if self.skip.contains(channel.as_str()) || self.skip.contains(field) {
            return false;
        }
        unit.clone_from(&self.unit);
        if let Some(map) = self.channels.get(channel.as_str()) {
            *unit = map.unit.clone().or_else(|| unit.take());
            if let Some(name) = &map.device {
                device.clone_from(name);
            }
            if let Some(name) = &map.channel {
                channel.clone_from(name);
            }
        }
        true
    }

    fn believes(&self, decoded: &Decoded) -> bool {
        let (earliest, latest) = self.believed;
        let mut stamps = decoded.columns.iter().flat_map(|column| &column.ts);
        stamps.all(|ts| (earliest..=latest).contains(ts))
    }

    fn take(&mut self, decoded: Decoded) {
        for column in decoded.columns {
            let at = self
                .gather
                .place(&column.device, &column.channel, column.unit.as_deref());
            for (ts, value) in column.ts.into_iter().zip(column.values) {
                self.gather.push(at, ts, value, 0);
            }
        }
        for reject in decoded.rejects {
            self.reject(reject);
        }
    }

    fn reject(&mut self, mut reject: Reject) {
        reject.detail = format!("{} {}", self.file, reject.detail);
        self.rejects.push(reject);
    }

    /// A line that can't go as it is.
    fn alone(&mut self, text: &[u8], first: usize, read: Result<Decoded, Undecodable>) {
        match read {
            Ok(mut decoded) => {
                for column in std::mem::take(&mut decoded.columns) {
                    for (ts, value) in column.ts.iter().zip(&column.values) {
                        let (reason, at, why) = self.disbelief(text, *ts);
                        decoded.rejects.push(Reject {
                            device: column.device.clone(),
                            channel: column.channel.clone(),
                            unit: column.unit.clone(),
                            ts: (*ts != UNDATED.micros()).then_some(*ts),
                            value: number(*value),
                            quality: 0,
                            reason,
                            detail: format!("line {first}, column {at}: {why}"),
                        });
                    }
                }
                self.take(decoded);
            }
            Err(why) => {
                let content = String::from_utf8_lossy(text);
                let mut reject = influx::malformed(first, content.trim_end(), why.detail);
                reject.reason = why.reason;
                self.reject(reject);
            }
        }
    }

    /// Why a line's time is not believed, and the column where it stands.
    fn disbelief(&self, text: &[u8], ts: i64) -> (&'static str, usize, String) {
        let line = text.trim_ascii_end();
        if ts == UNDATED.micros() {
            let why = "a time stamp is missing, and the file can't tell when it was written";
            return ("bad_time", line.len() + 1, why.to_owned());
        }
        let at = line
            .iter()
            .rposition(|byte| *byte == b' ')
            .map_or(1, |space| space + 2);
        let when = Timestamp::from_micros(ts);
        if ts < self.believed.0 {
            let why = format!("{when} is too long ago (is time_format right?)");
            ("too_ancient", at, why)
        } else {
            let why = format!("{when} is ahead of the server's clock (is time_format right?)");
            ("too_far_in_future", at, why)
        }
    }
}

/// Readings of a line, about: the = behind its first space.
fn about(line: &[u8]) -> usize {
    let space = |i: &usize| line[*i] == b' ' && (*i == 0 || line[*i - 1] != b'\\');
    let fields = (0..line.len()).find(space).map_or(&line[..0], |at| &line[at..]);
    fields.iter().filter(|byte| **byte == b'=').count().max(1)
}

fn newlines(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count()
}

/// Parts between two points, near the middle; `None`: it is one.
fn halves(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    while at < text.len() {
        let next = at + influx::point(&text[at..]).0 + 1;
        if next >= text.len() {
            // The last point begins here.
            return (at > 0).then(|| text.split_at(at));
        }
        at = next;
        if at >= text.len() / 2 {
            return Some(text.split_at(at));
        }
    }
    None
}

impl<R: BufRead + Send> Source for LineFile<R> {
    fn next(&mut self, skip: bool) -> anyhow::Result<Option<Chunk>> {
        let (lines, mut readings) = (self.lines, 0);
        let mut text = Vec::new();
        while readings < self.per_chunk {
            let first = self.lines + 1;
            let some = self.piece(&mut text, self.per_chunk - readings)?;
            if some == 0 {
                break;
            }
            readings += some;
            if !skip {
                self.decode(&text, first);
            }
        }
        let rejects = std::mem::take(&mut self.rejects);
        let decoded = Decoded {
            columns: self.gather.take(),
            rejects: if skip { Vec::new() } else { rejects },
            ..Decoded::default()
        };
        let records = (self.lines - lines) as u64;
        Ok((records > 0).then_some(Chunk {
            decoded,
            records,
            bytes: self.bytes,
        }))
    }
}

#[cfg(test)]
mod tests;

//! CSV, wide and long (RFC 4180, any delimiter, with a header).

#![expect(
    clippy::result_large_err,
    reason = "a refused field is rare, and its report is moved once"
)]

use std::io::Read;

use csv::{ByteRecord, Reader, ReaderBuilder};
use models::reading::Quality;
use serde_json::Value;

use super::columns::Gather;
use super::files::{Count, Counter};
use super::mapping::{DeviceFrom, Layout, Mapping, Shape};
use super::time::Clock;
use super::{Chunk, Source};
use crate::codec::{Decoded, Reject};
use crate::validate::TimeLimits;

/// Texts that mean "nothing was measured".
const MISSING: [&str; 9] = ["", "NaN", "nan", "NA", "N/A", "null", "NULL", "None", "-"];

pub(crate) struct CsvFile<R: Read> {
    reader: Reader<Counter<R>>,
    count: Count,
    header: Vec<String>,
    layout: Layout,
    clock: Clock,
    /// Microseconds since 1970: first and last that is believed.
    believed: (i64, i64),
    file: String,
    per_chunk: usize,
    gather: Gather,
    record: ByteRecord,
}

impl<R: Read + Send> CsvFile<R> {
    /// # Errors
    /// When the header can't be read or doesn't fit the mapping.
    pub fn new(
        inner: R,
        file: &str,
        mapping: &Mapping,
        limits: TimeLimits,
        readings_per_chunk: usize,
    ) -> anyhow::Result<Self> {
        let (counter, count) = Counter::new(inner);
        let delimiter = u8::try_from(mapping.delimiter.unwrap_or(','))
            .map_err(|_| anyhow::anyhow!("delimiter: one character of ASCII"))?;
        let mut reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            .buffer_capacity(1 << 18)
            .from_reader(counter);
        let header: Vec<String> = reader
            .byte_headers()?
            .iter()
            .map(|field| {
                String::from_utf8_lossy(field)
                    .trim_start_matches('\u{feff}')
                    .to_owned()
            })
            .collect();
        let stem = file.split('.').next().unwrap_or(file);
        let layout = Layout::new(mapping, &header, stem)?;
        Ok(Self {
            per_chunk: (readings_per_chunk / layout.width()).max(1),
            clock: Clock::new(mapping.time_format.clone(), mapping.zone.as_deref())?,
            believed: super::files::believed(limits),
            reader,
            count,
            header,
            layout,
            file: file.to_owned(),
            gather: Gather::default(),
            record: ByteRecord::new(),
        })
    }

    /// `line 7, column 3 (temp)`, with the file before it.
    fn place(&self, at: usize) -> String {
        let line = self.record.position().map_or(0, csv::Position::line);
        let name = self.header.get(at).map_or("", String::as_str);
        format!("{} line {line}, column {} (`{name}`)", self.file, at + 1)
    }

    fn reject(&self, at: usize, ts: Option<i64>, reason: &'static str, why: &str) -> Reject {
        let field = |at: usize| String::from_utf8_lossy(self.record.get(at).unwrap_or_default()).into_owned();
        let device = match &self.layout.device {
            DeviceFrom::Fixed(device) => device.clone(),
            DeviceFrom::Column(at) => field(*at),
        };
        let channel = match &self.layout.shape {
            Shape::Long { channel, .. } => field(*channel),
            Shape::Wide(columns) => columns
                .iter()
                .find(|column| column.at == at)
                .map_or_else(|| "*".to_owned(), |column| column.channel.clone()),
        };
        Reject {
            device,
            channel,
            unit: self.layout.unit.clone(),
            ts,
            value: Value::String(field(at).chars().take(200).collect()),
            quality: 0,
            reason,
            detail: format!("{}: {why}", self.place(at)),
        }
    }

    fn text(&self, at: usize) -> Result<&str, Reject> {
        let bytes = self.record.get(at).unwrap_or_default();
        std::str::from_utf8(bytes)
            .map(str::trim)
            .map_err(|_| self.reject(at, None, "not_utf8", "the field is not UTF-8"))
    }

    /// The record's readings into `gather`, or why not.
    fn take(&self, gather: &mut Gather, rejects: &mut Vec<Reject>) -> Result<(), Reject> {
        if self.record.len() != self.header.len() {
            let at = self.record.len().min(self.header.len());
            let why = format!(
                "{} fields, the header has {}",
                self.record.len(),
                self.header.len()
            );
            return Err(self.reject(at, None, "bad_row", &why));
        }
        let text = self.text(self.layout.time)?;
        let Some(ts) = self.clock.text(text) else {
            let why = format!(
                "`{}` is not a time stamp",
                text.chars().take(40).collect::<String>()
            );
            return Err(self.reject(self.layout.time, None, "bad_time", &why));
        };
        if ts < self.believed.0 {
            return Err(self.reject(
                self.layout.time,
                Some(ts),
                "too_ancient",
                &format!("`{text}` is too long ago"),
            ));
        }
        if ts > self.believed.1 {
            let why = format!("`{text}` is ahead of the server's clock");
            return Err(self.reject(self.layout.time, Some(ts), "too_far_in_future", &why));
        }
        let row_device = match &self.layout.device {
            DeviceFrom::Fixed(device) => device.as_str(),
            DeviceFrom::Column(at) => self.text(*at)?,
        };
        match &self.layout.shape {
            Shape::Long {
                channel,
                value,
                unit,
                quality,
            } => {
                let Some(number) = self.number(*value, ts)? else {
                    return Ok(());
                };
                let unit = match unit {
                    Some(at) => Some(self.text(*at)?).filter(|text| !text.is_empty()),
                    None => None,
                };
                let quality = match quality {
                    Some(at) => self.quality(*at, ts)?,
                    None => 0,
                };
                let at = gather.place(
                    row_device,
                    self.text(*channel)?,
                    unit.or(self.layout.unit.as_deref()),
                );
                gather.push(at, ts, number, quality);
            }
            Shape::Wide(columns) => {
                for column in columns {
                    match self.number(column.at, ts) {
                        Ok(Some(number)) => {
                            let device = column.device.as_deref().unwrap_or(row_device);
                            let at = gather.place(device, &column.channel, column.unit.as_deref());
                            gather.push(at, ts, number, 0);
                        }
                        Ok(None) => {}
                        Err(reject) => rejects.push(reject),
                    }
                }
            }
        }
        Ok(())
    }

    /// `None` where nothing was measured.
    fn number(&self, at: usize, ts: i64) -> Result<Option<f64>, Reject> {
        let text = self.text(at)?;
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Some(number)),
            _ if MISSING.contains(&text) => Ok(None),
            Ok(_) => Err(self.reject(
                at,
                Some(ts),
                "not_finite",
                &format!("`{text}` is not a finite number"),
            )),
            Err(_) => match text {
                "true" | "TRUE" | "True" => Ok(Some(1.0)),
                "false" | "FALSE" | "False" => Ok(Some(0.0)),
                _ => {
                    let why = format!("`{}` is not a number", text.chars().take(40).collect::<String>());
                    Err(self.reject(at, Some(ts), "not_a_number", &why))
                }
            },
        }
    }

    fn quality(&self, at: usize, ts: i64) -> Result<u8, Reject> {
        quality(self.text(at)?).ok_or_else(|| {
            self.reject(
                at,
                Some(ts),
                "bad_quality",
                "it is none of good, suspect, bad, 0, 1, 2",
            )
        })
    }
}

/// A quality as word or code.
pub(super) fn quality(text: &str) -> Option<u8> {
    match text {
        "good" | "0" | "" => Some(0),
        "suspect" | "uncertain" | "1" => Some(Quality::Suspect as u8),
        "bad" | "2" => Some(Quality::Bad as u8),
        _ => None,
    }
}

impl<R: Read + Send> Source for CsvFile<R> {
    fn next(&mut self, skip: bool) -> anyhow::Result<Option<Chunk>> {
        let mut records = 0;
        let mut rejects = Vec::new();
        let mut gather = std::mem::take(&mut self.gather);
        let mut record = std::mem::take(&mut self.record);
        while records < self.per_chunk as u64 && self.reader.read_byte_record(&mut record)? {
            records += 1;
            if skip {
                continue;
            }
            std::mem::swap(&mut self.record, &mut record);
            if let Err(reject) = self.take(&mut gather, &mut rejects) {
                rejects.push(reject);
            }
            std::mem::swap(&mut self.record, &mut record);
        }
        self.record = record;
        let columns = gather.take();
        self.gather = gather;
        Ok((records > 0).then(|| Chunk {
            decoded: Decoded {
                columns,
                rejects,
                ..Decoded::default()
            },
            records,
            bytes: self.count.bytes(),
        }))
    }
}

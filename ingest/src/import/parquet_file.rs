//! Parquet, wide and long. Time columns may be time stamps, numbers or text; values any number,
//! boolean or text that reads as a number.

use std::fs::File;

use anyhow::{Context, bail};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use serde_json::Value;

use super::columns::Gather;
use super::csv_file::quality;
use super::mapping::{DeviceFrom, Layout, Mapping, Shape};
use super::time::Clock;
use super::{Chunk, Source};
use crate::codec::{Decoded, Reject};
use crate::validate::TimeLimits;

pub(crate) struct ParquetFile {
    reader: ParquetRecordBatchReader,
    header: Vec<String>,
    layout: Layout,
    clock: Clock,
    believed: (i64, i64),
    file: String,
    rows: u64,
    rows_in_all: u64,
    bytes_in_all: u64,
    gather: Gather,
}

impl ParquetFile {
    /// # Errors
    /// When it is no Parquet file or doesn't fit the mapping.
    pub fn new(
        file: File,
        name: &str,
        mapping: &Mapping,
        limits: TimeLimits,
        readings_per_chunk: usize,
    ) -> anyhow::Result<Self> {
        let bytes_in_all = file.metadata()?.len();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).context("not a Parquet file")?;
        let header: Vec<String> = builder
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let rows_in_all = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
        let stem = name.split('.').next().unwrap_or(name);
        let layout = Layout::new(mapping, &header, stem)?;
        let reader = builder
            .with_batch_size((readings_per_chunk / layout.width()).max(1))
            .build()?;
        Ok(Self {
            clock: Clock::new(mapping.time_format.clone(), mapping.zone.as_deref())?,
            believed: super::files::believed(limits),
            reader,
            header,
            layout,
            file: name.to_owned(),
            rows: 0,
            rows_in_all,
            bytes_in_all,
            gather: Gather::default(),
        })
    }

    fn reject(
        &self,
        row: usize,
        at: usize,
        ts: Option<i64>,
        names: (&str, &str),
        reason: &'static str,
        why: &str,
    ) -> Reject {
        let name = self.header.get(at).map_or("", String::as_str);
        Reject {
            device: names.0.to_owned(),
            channel: names.1.to_owned(),
            unit: self.layout.unit.clone(),
            ts,
            value: Value::Null,
            quality: 0,
            reason,
            detail: format!(
                "{} row {}, column {} (`{name}`): {why}",
                self.file,
                self.rows + row as u64 + 1,
                at + 1
            ),
        }
    }

    fn take(
        &self,
        batch: &RecordBatch,
        gather: &mut Gather,
        rejects: &mut Vec<Reject>,
    ) -> anyhow::Result<()> {
        let column = |at: usize| batch.column(at);
        let times = times(column(self.layout.time), &self.clock)
            .with_context(|| format!("column `{}` can't be a time", self.header[self.layout.time]))?;
        let devices = match &self.layout.device {
            DeviceFrom::Fixed(name) => Texts::Fixed(name),
            DeviceFrom::Column(at) => Texts::of(column(*at)).with_context(|| self.header[*at].clone())?,
        };
        let mut stamps: Vec<Option<i64>> = Vec::with_capacity(batch.num_rows());
        for (row, ts) in times.into_iter().enumerate() {
            let (reason, why) = match ts {
                None => ("bad_time", "it is not a time stamp"),
                Some(ts) if ts < self.believed.0 => ("too_ancient", "it is too long ago"),
                Some(ts) if ts > self.believed.1 => {
                    ("too_far_in_future", "it is ahead of the server's clock")
                }
                Some(_) => {
                    stamps.push(ts);
                    continue;
                }
            };
            let names = (devices.get(row).unwrap_or(""), "*");
            rejects.push(self.reject(row, self.layout.time, ts, names, reason, why));
            stamps.push(None);
        }
        match &self.layout.shape {
            Shape::Long {
                channel,
                value,
                unit,
                quality: quality_at,
            } => {
                let channels = Texts::of(column(*channel)).with_context(|| self.header[*channel].clone())?;
                let values = numbers(column(*value)).with_context(|| self.header[*value].clone())?;
                let units = unit.map(|at| Texts::of(column(at))).transpose()?;
                let qualities = quality_at.map(|at| qualities(column(at))).transpose()?;
                for row in 0..batch.num_rows() {
                    let Some(ts) = stamps[row] else { continue };
                    let names = (devices.get(row).unwrap_or(""), channels.get(row).unwrap_or(""));
                    let Some(number) = values[row] else { continue };
                    if !number.is_finite() {
                        let why = format!("{number} is not a finite number");
                        rejects.push(self.reject(row, *value, Some(ts), names, "not_finite", &why));
                        continue;
                    }
                    let quality = match qualities.as_ref().map(|all| all[row]) {
                        None => 0,
                        Some(Some(code)) => code,
                        Some(None) => {
                            let why = "it is none of good, suspect, bad, 0, 1, 2";
                            let at = quality_at.unwrap_or(0);
                            rejects.push(self.reject(row, at, Some(ts), names, "bad_quality", why));
                            continue;
                        }
                    };
                    let unit = units
                        .as_ref()
                        .and_then(|units| units.get(row))
                        .filter(|unit| !unit.is_empty());
                    let at = gather.place(names.0, names.1, unit.or(self.layout.unit.as_deref()));
                    gather.push(at, ts, number, quality);
                }
            }
            Shape::Wide(columns) => {
                for wide in columns {
                    let values = numbers(column(wide.at)).with_context(|| self.header[wide.at].clone())?;
                    for (row, number) in values.into_iter().enumerate() {
                        let (Some(ts), Some(number)) = (stamps[row], number) else {
                            continue;
                        };
                        let device = wide.device.as_deref().or_else(|| devices.get(row)).unwrap_or("");
                        if number.is_nan() {
                            continue; // frames of numbers write "nothing" so
                        }
                        if number.is_infinite() {
                            let names = (device, wide.channel.as_str());
                            let why = format!("{number} is not a finite number");
                            rejects.push(self.reject(row, wide.at, Some(ts), names, "not_finite", &why));
                            continue;
                        }
                        let at = gather.place(device, &wide.channel, wide.unit.as_deref());
                        gather.push(at, ts, number, 0);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Source for ParquetFile {
    fn next(&mut self, skip: bool) -> anyhow::Result<Option<Chunk>> {
        let Some(batch) = self.reader.next().transpose()? else {
            return Ok(None);
        };
        let records = batch.num_rows() as u64;
        let mut rejects = Vec::new();
        let mut gather = std::mem::take(&mut self.gather);
        if !skip {
            self.take(&batch, &mut gather, &mut rejects)?;
        }
        let columns = gather.take();
        self.gather = gather;
        self.rows += records;
        Ok(Some(Chunk {
            decoded: Decoded {
                columns,
                rejects,
                ..Decoded::default()
            },
            records,
            bytes: self.bytes_in_all * self.rows / self.rows_in_all.max(1),
        }))
    }
}

/// A column of text, whichever way it is kept.
enum Texts<'a> {
    Fixed(&'a str),
    Utf8(&'a arrow_array::StringArray),
    Large(&'a arrow_array::LargeStringArray),
    View(&'a arrow_array::StringViewArray),
    Dictionary(Vec<Option<usize>>, &'a arrow_array::StringArray),
}

impl<'a> Texts<'a> {
    fn of(array: &'a ArrayRef) -> anyhow::Result<Self> {
        Ok(match array.data_type() {
            DataType::Utf8 => Self::Utf8(array.as_string()),
            DataType::LargeUtf8 => Self::Large(array.as_string()),
            DataType::Utf8View => Self::View(array.as_string_view()),
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary();
                let Some(values) = dictionary.values().as_string_opt::<i32>() else {
                    bail!("{} is no text", array.data_type());
                };
                let keys = dictionary.normalized_keys();
                let keys = keys
                    .into_iter()
                    .enumerate()
                    .map(|(row, key)| array.is_valid(row).then_some(key))
                    .collect();
                Self::Dictionary(keys, values)
            }
            other => bail!("{other} is no text"),
        })
    }

    fn get(&self, row: usize) -> Option<&str> {
        match self {
            Self::Fixed(text) => Some(text),
            Self::Utf8(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Large(array) => array.is_valid(row).then(|| array.value(row)),
            Self::View(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Dictionary(keys, values) => keys[row].map(|key| values.value(key)),
        }
    }
}

macro_rules! as_numbers {
    ($array:expr, $($type:ident => $kind:ty),*) => {
        match $array.data_type() {
            $(DataType::$type => $array.as_primitive::<$kind>().iter().map(|value| value.map(|value| value as f64)).collect(),)*
            DataType::Boolean => $array.as_boolean().iter().map(|value| value.map(f64::from)).collect(),
            DataType::Null => vec![None; $array.len()],
            _ => {
                let texts = Texts::of($array).context("it holds no numbers")?;
                (0..$array.len())
                    .map(|row| texts.get(row).filter(|text| !text.is_empty()).map(|text| text.trim().parse().unwrap_or(f64::INFINITY)))
                    .collect()
            }
        }
    };
}

fn numbers(array: &ArrayRef) -> anyhow::Result<Vec<Option<f64>>> {
    Ok(as_numbers!(array,
        Float64 => Float64Type, Float32 => Float32Type, Int64 => Int64Type, Int32 => Int32Type, Int16 => Int16Type,
        Int8 => Int8Type, UInt64 => UInt64Type, UInt32 => UInt32Type, UInt16 => UInt16Type, UInt8 => UInt8Type))
}

/// `None` inside: neither a word nor a code of quality.
fn qualities(array: &ArrayRef) -> anyhow::Result<Vec<Option<u8>>> {
    if let Ok(texts) = Texts::of(array) {
        return Ok((0..array.len())
            .map(|row| quality(texts.get(row).unwrap_or("")))
            .collect());
    }
    let code = |number: Option<f64>| match number {
        None => Some(0),
        Some(0.0) => Some(0),
        Some(1.0) => Some(1),
        Some(2.0) => Some(2),
        Some(_) => None,
    };
    Ok(numbers(array)?.into_iter().map(code).collect())
}

fn times(array: &ArrayRef, clock: &Clock) -> anyhow::Result<Vec<Option<i64>>> {
    macro_rules! stamps {
        ($kind:ty, $micros:expr) => {
            array
                .as_primitive::<$kind>()
                .iter()
                .map(|value| value.and_then($micros))
                .collect()
        };
    }
    Ok(match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            stamps!(TimestampSecondType, |s: i64| s.checked_mul(1_000_000))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            stamps!(TimestampMillisecondType, |ms: i64| ms.checked_mul(1_000))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => stamps!(TimestampMicrosecondType, Some),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            stamps!(TimestampNanosecondType, |ns: i64| Some(ns.div_euclid(1_000)))
        }
        DataType::Int64 => stamps!(Int64Type, |number| clock.integer(number)),
        DataType::Int32 => stamps!(Int32Type, |number: i32| clock.integer(number.into())),
        DataType::Float64 => stamps!(Float64Type, |number| clock.number(number)),
        _ => {
            let texts = Texts::of(array)?;
            (0..array.len())
                .map(|row| texts.get(row).and_then(|text| clock.text(text.trim())))
                .collect()
        }
    })
}

//! Recorded data, played again as if it happened now.
//!
//! ```toml
//! [[collect]]
//! kind = "replay"
//! file = "ims-bearing-test2.csv.gz"  # CSV, optionally gzip, or Parquet
//! format = "ims"                     # ims, cmapss, or csv or parquet with `columns`
//! device_prefix = "bearing-"         # ims and cmapss: + number of the bearing or unit
//! units = [1, 2, 3]                  # cmapss: which; default all
//! step_s = 600                       # between two rows of the past; default 600, cmapss 3600
//! history = 0.9                      # share of the rows that lies in the past at the first start …
//! # history = [0.5, 0.95]            # … or spread over the devices from the first to the last
//! # start = "-7d"                    # or: moment of the first row; rows that lie before now are past
//! live_every_s = 2.0                 # then one row each
//! max_rows = 980                     # default all
//! on_end = "hold"                    # hold (repeat the last row), stop, loop
//! ```
//!
//! Of `format = "csv"`, with a header line, and of `parquet`:
//!
//! ```toml
//! device = "rig-1"                   # or device_column = "unit" with device_prefix
//! [collect.columns]
//! temp = { channel = "bearing_temp", unit = "Cel" }
//! ```
//!
//! Past rows are sent as fast as they are taken, the newest ending at the first start. Rows keep
//! their order; their own time stamps are not used, because the point is to see them happen.

#[cfg(feature = "parquet")]
mod parquet;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use models::reading::Quality;
use models::time::Timestamp;
use prost::Message;
use serde::Deserialize;

use super::report::Report;
use super::{CHUNK_READINGS, Generator, Next};
use crate::batch::{Channel, Reading};

/// After a pause longer than this, rows of `hold` and `loop` are not made up for.
const CATCH_UP_S: f64 = 3600.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    Csv,
    Parquet,
    Ims,
    Cmapss,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnEnd {
    #[default]
    Hold,
    Stop,
    Loop,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Name of the channel.
    pub channel: String,
    #[serde(default)]
    pub unit: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub enum History {
    Share(f64),
    Spread([f64; 2]),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub name: Option<String>,
    #[serde(default)]
    pub report: Report,
    pub file: PathBuf,
    pub format: FileFormat,
    pub device: Option<String>,
    pub device_prefix: Option<String>,
    pub device_column: Option<String>,
    #[serde(default)]
    pub columns: BTreeMap<String, Column>,
    pub units: Option<Vec<u32>>,
    pub step_s: Option<f64>,
    pub history: Option<History>,
    pub start: Option<String>,
    pub live_every_s: Option<f64>,
    pub max_rows: Option<usize>,
    #[serde(default)]
    pub on_end: OnEnd,
}

/// The rows of one device.
struct Series {
    channels: Vec<Arc<Channel>>,
    /// Row by row, a value for each channel; NaN = empty.
    values: Vec<f64>,
    /// Rows that lie in the past at the first start.
    past: i64,
}

impl Series {
    fn rows(&self) -> i64 {
        (self.values.len() / self.channels.len().max(1)) as i64
    }
}

#[derive(Clone, PartialEq, Message)]
struct State {
    /// Microseconds of the first start.
    #[prost(sint64, tag = "1")]
    first_start: i64,
    /// Next tick: below 0 in the past, one per `step_s`; from 0 live.
    #[prost(sint64, tag = "2")]
    tick: i64,
    #[prost(uint64, tag = "3")]
    produced: u64,
}

/// See the module.
pub struct Replay {
    series: Vec<Series>,
    state: State,
    step: f64,
    live_every: f64,
    on_end: OnEnd,
}

impl Replay {
    /// # Errors
    /// When the file can't be read or doesn't hold what the settings name.
    pub fn open(config: &Config, base: &Path, resume: Option<&[u8]>, now: Timestamp) -> anyhow::Result<Self> {
        let path = base.join(&config.file);
        let step = config.step_s.unwrap_or(if config.format == FileFormat::Cmapss {
            3600.0
        } else {
            600.0
        });
        let live_every = config.live_every_s.unwrap_or(1.0);
        ensure!(
            step > 0.0 && live_every > 0.0,
            "`step_s` and `live_every_s` must be above 0"
        );
        let mut series = table::read(config, &path).with_context(|| format!("file {}", path.display()))?;
        ensure!(!series.is_empty(), "{} holds no rows", path.display());
        let state = resume.and_then(|bytes| State::decode(bytes).ok());
        let first_start = state
            .as_ref()
            .map_or(now, |state| Timestamp::from_micros(state.first_start));
        set_past(config, &mut series, step, first_start)?;
        let first_tick = -series.iter().map(|series| series.past).max().unwrap_or(0);
        let state = state.unwrap_or(State {
            first_start: first_start.micros(),
            tick: first_tick,
            produced: 0,
        });
        Ok(Self {
            series,
            state,
            step,
            live_every,
            on_end: config.on_end,
        })
    }

    fn moment(&self, tick: i64) -> Timestamp {
        let each = if tick < 0 { self.step } else { self.live_every };
        Timestamp::from_micros(self.state.first_start).plus_seconds(tick as f64 * each)
    }

    /// The row of a device at a tick, if it has one.
    fn row(&self, series: &Series, tick: i64) -> Option<i64> {
        let row = series.past + tick;
        let rows = series.rows();
        match (row, self.on_end) {
            (..0, _) => None,
            _ if row < rows => Some(row),
            (_, OnEnd::Stop) => None,
            (_, OnEnd::Hold) => Some(rows - 1),
            (_, OnEnd::Loop) => Some(row % rows),
        }
    }

    /// The tick at which every device has shown its last row.
    fn end(&self) -> i64 {
        self.series
            .iter()
            .map(|series| series.rows() - series.past)
            .max()
            .unwrap_or(0)
    }
}

impl Generator for Replay {
    fn produce(&mut self, now: Timestamp, out: &mut Vec<Reading>) -> Next {
        let end = self.end();
        while out.len() < CHUNK_READINGS {
            let tick = self.state.tick;
            if tick >= end && self.on_end == OnEnd::Stop {
                return Next::End;
            }
            let ts = self.moment(tick);
            if ts > now {
                return Next::At(ts);
            }
            if tick >= end && now.seconds_since(ts) > CATCH_UP_S {
                self.state.tick = (now.seconds_since(Timestamp::from_micros(self.state.first_start))
                    / self.live_every) as i64;
                continue;
            }
            for series in &self.series {
                let Some(row) = self.row(series, tick) else {
                    continue;
                };
                let width = series.channels.len();
                let values = &series.values[row as usize * width..][..width];
                for (channel, value) in series
                    .channels
                    .iter()
                    .zip(values)
                    .filter(|(_, value)| value.is_finite())
                {
                    out.push(Reading {
                        channel: Arc::clone(channel),
                        ts,
                        value: *value,
                        quality: Quality::Good,
                    });
                    self.state.produced += 1;
                }
            }
            self.state.tick += 1;
        }
        Next::Now
    }

    fn resume(&self) -> Vec<u8> {
        self.state.encode_to_vec()
    }

    fn produced(&self) -> u64 {
        self.state.produced
    }
}

/// Decides how many rows of each device lie before `first_start`.
fn set_past(config: &Config, series: &mut [Series], step: f64, first_start: Timestamp) -> anyhow::Result<()> {
    let n = series.len();
    match (&config.start, config.history) {
        (Some(_), Some(_)) => bail!("give either `start` or `history`"),
        (Some(start), None) => {
            let start = parse_start(start, first_start)?;
            let past = (first_start.seconds_since(start) / step).ceil().max(0.0) as i64;
            for series in series {
                series.past = past.min(series.rows());
            }
        }
        (None, history) => {
            let [from, to] = match history.unwrap_or(History::Share(0.9)) {
                History::Share(share) => [share, share],
                History::Spread(spread) => spread,
            };
            ensure!(
                (0.0..=1.0).contains(&from) && (0.0..=1.0).contains(&to),
                "`history` is a share from 0 to 1"
            );
            for (i, series) in series.iter_mut().enumerate() {
                let share = from + (to - from) * i as f64 / (n.max(2) - 1) as f64;
                series.past = (series.rows() as f64 * share).round() as i64;
            }
        }
    }
    Ok(())
}

/// RFC 3339, or relative: `-7d`, `-36h`, `-90m`, `-30s`.
fn parse_start(text: &str, first_start: Timestamp) -> anyhow::Result<Timestamp> {
    let expected =
        || format!("`start` is `{text}`: expected a time such as 2026-01-31T12:00:00Z, or -7d, -36h, -90m");
    if let Some(relative) = text.strip_prefix('-') {
        let (number, unit) =
            relative.split_at(relative.len() - relative.chars().last().map_or(0, char::len_utf8));
        let seconds = match unit {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            _ => bail!(expected()),
        };
        let number: f64 = number.parse().with_context(expected)?;
        return Ok(first_start.plus_seconds(-number * seconds));
    }
    text.parse().with_context(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        use figment::providers::{Format, Toml};
        figment::Figment::from(Toml::string(text)).extract().unwrap()
    }

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn all(replay: &mut Replay, until: Timestamp) -> Vec<(String, String, i64, f64)> {
        let mut out = Vec::new();
        loop {
            let mut chunk = Vec::new();
            let next = replay.produce(until, &mut chunk);
            out.extend(chunk.into_iter().map(|r| {
                (
                    r.channel.device.to_string(),
                    r.channel.name.clone(),
                    r.ts.micros(),
                    r.value,
                )
            }));
            if next != Next::Now {
                return out;
            }
        }
    }

    fn demo(file: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../demo/data")
            .join(file)
    }

    #[test]
    fn the_bearings_end_in_failure() {
        let config = config(&format!(
            "file = {:?}\nformat = \"ims\"\ndevice_prefix = \"bearing-\"\nmax_rows = 982\nhistory = 0.9\non_end = \"stop\"",
            demo("ims-bearing-test2.csv.gz")
        ));
        let mut replay = Replay::open(&config, Path::new(""), None, NOW).unwrap();
        let past = all(&mut replay, NOW);
        assert_eq!(
            past.len(),
            885 * 4 * 5,
            "0.9 of 982 rows and the one due now, 4 bearings, 5 channels"
        );
        let rest = all(&mut replay, NOW.plus_seconds(1e6));
        assert_eq!(past.len() + rest.len(), 982 * 4 * 5);
        assert_eq!(replay.produce(NOW.plus_seconds(1e6), &mut Vec::new()), Next::End);
        let rms = |readings: &[(String, String, i64, f64)], at: usize| {
            readings
                .iter()
                .filter(|r| r.0 == "bearing-1" && r.1 == "rms")
                .nth(at)
                .unwrap()
                .3
        };
        assert!(rms(&past, 0) < 0.1 && rms(&rest, 96) > 0.3);
    }

    #[test]
    fn engines_are_at_different_ages_and_go_on_after_a_restart() {
        let config = config(&format!(
            "file = {:?}\nformat = \"cmapss\"\ndevice_prefix = \"engine-\"\nunits = [3, 8]\nhistory = [0.5, 1.0]\nlive_every_s = 10",
            demo("cmapss-fd001-20.csv.gz")
        ));
        let whole = all(
            &mut Replay::open(&config, Path::new(""), None, NOW).unwrap(),
            NOW.plus_seconds(300.0),
        );
        let mut replay = Replay::open(&config, Path::new(""), None, NOW).unwrap();
        let mut parts = Vec::new();
        for seconds in [-100_000.0, 0.0, 55.0, 300.0] {
            let mut chunk = Vec::new();
            replay.produce(NOW.plus_seconds(seconds), &mut chunk);
            parts.extend(chunk.into_iter().map(|r| {
                (
                    r.channel.device.to_string(),
                    r.channel.name.clone(),
                    r.ts.micros(),
                    r.value,
                )
            }));
            let resume = replay.resume();
            replay = Replay::open(&config, Path::new(""), Some(&resume), NOW.plus_seconds(seconds)).unwrap();
        }
        parts.extend(all(&mut replay, NOW.plus_seconds(300.0)));
        assert_eq!(parts, whole);
        assert_eq!(replay.produced(), whole.len() as u64);
        let cycles = |device: &str| {
            whole
                .iter()
                .filter(|r| r.0 == device && r.1 == "cycle")
                .map(|r| r.3)
                .fold(0.0, f64::max)
        };
        assert_eq!(
            cycles("engine-3"),
            90.0 + 31.0,
            "half of 179 cycles, then 31 live ones"
        );
        assert_eq!(cycles("engine-8"), 150.0, "at its end, and held there");
    }

    #[test]
    fn any_table() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("t.csv"), "when, temp ,p\n1,20.5,\n2,21.5,3\n").unwrap();
        let base = "file = \"t.csv\"\nformat = \"csv\"\ndevice = \"rig\"\nstart = \"-1h\"\nstep_s = 60\non_end = \"stop\"\n";
        let good = config(&format!(
            "{base}[columns]\ntemp = {{ channel = \"t\", unit = \"Cel\" }}\np = {{ channel = \"p\" }}"
        ));
        let readings = all(&mut Replay::open(&good, dir.path(), None, NOW).unwrap(), NOW);
        let expect: Vec<_> = readings.iter().map(|r| (r.1.as_str(), r.3)).collect();
        assert_eq!(expect, [("t", 20.5), ("p", 3.0), ("t", 21.5)]);
        let bad = config(&format!("{base}[columns]\nmissing = {{ channel = \"x\" }}"));
        let error = Replay::open(&bad, dir.path(), None, NOW).err().unwrap();
        assert!(format!("{error:#}").contains("no column `missing`"), "{error:#}");
    }

    #[cfg(feature = "parquet")]
    #[test]
    fn a_parquet_file() {
        use ::parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
        use ::parquet::file::writer::SerializedFileWriter;
        use ::parquet::schema::parser::parse_message_type;

        let dir = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(dir.path().join("t.parquet")).unwrap();
        let schema = "message rows { required binary unit (UTF8); optional double temp; required int64 n; required binary note (UTF8); }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
        let mut rows = writer.next_row_group().unwrap();
        let texts = [ByteArray::from("a"), ByteArray::from("a"), ByteArray::from("b")];
        let mut column = rows.next_column().unwrap().unwrap();
        column
            .typed::<ByteArrayType>()
            .write_batch(&texts, None, None)
            .unwrap();
        column.close().unwrap();
        let mut column = rows.next_column().unwrap().unwrap();
        column
            .typed::<DoubleType>()
            .write_batch(&[20.5, 21.5], Some(&[1, 0, 1]), None)
            .unwrap();
        column.close().unwrap();
        let mut column = rows.next_column().unwrap().unwrap();
        column
            .typed::<Int64Type>()
            .write_batch(&[1, 2, 3], None, None)
            .unwrap();
        column.close().unwrap();
        let mut column = rows.next_column().unwrap().unwrap();
        column
            .typed::<ByteArrayType>()
            .write_batch(&texts, None, None)
            .unwrap();
        column.close().unwrap();
        rows.close().unwrap();
        writer.close().unwrap();

        let base = "file = \"t.parquet\"\nformat = \"parquet\"\ndevice_column = \"unit\"\ndevice_prefix = \"m-\"\nstart = \"-1h\"\nstep_s = 60\non_end = \"stop\"\n";
        let good = config(&format!(
            "{base}[columns]\ntemp = {{ channel = \"t\" }}\nn = {{ channel = \"n\" }}"
        ));
        let mut found: Vec<_> = all(&mut Replay::open(&good, dir.path(), None, NOW).unwrap(), NOW)
            .into_iter()
            .map(|(device, channel, _, value)| (device, channel, value))
            .collect();
        found.sort_by(|a, b| a.partial_cmp(b).unwrap());
        let row = |device: &str, channel: &str, value: f64| (device.to_owned(), channel.to_owned(), value);
        assert_eq!(
            found,
            [
                row("m-a", "n", 1.0),
                row("m-a", "n", 2.0),
                row("m-a", "t", 20.5),
                row("m-b", "n", 3.0),
                row("m-b", "t", 21.5)
            ]
        );
        for (columns, said) in [
            ("missing", "no column `missing`; it has unit, temp, n, note"),
            ("note", "row 1, column `note`"),
        ] {
            let bad = config(&format!("{base}[columns]\n{columns} = {{ channel = \"x\" }}"));
            let error = format!("{:#}", Replay::open(&bad, dir.path(), None, NOW).err().unwrap());
            assert!(error.contains(said), "{error}");
        }
        std::fs::write(dir.path().join("t.parquet"), "PAR1 and then nothing PAR1").unwrap();
        assert!(Replay::open(&good, dir.path(), None, NOW).is_err());
    }
}

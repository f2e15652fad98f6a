//! CSV files that grow: a logger writes, we read along.
//!
//! ```toml
//! [[collect]]
//! kind = "tail"
//! file = "/var/log/press/data.csv"   # its first line names the columns
//! device = "press-1"
//! # device_column = "machine"        # instead of `device`
//! time = "when"                      # column; default: the time of reading
//! zone = "+01:00"                    # of times that name none; default UTC
//! delimiter = ","
//! from = "start"                     # start (default) or end of a file seen for the first time
//! [collect.columns]
//! temp = { channel = "temp", unit = "Cel" }
//! ```
//!
//! **Rotation.** Where the reader is travels with the readings into the spool: file (inode), offset and
//! header. After a restart it goes on exactly there. When another file stands under the name, the old
//! one, still open, is read to its end first; when the file has become shorter it was emptied and is
//! read from the start. A last line without its end is left until the end has come.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::FutureExt;
use futures::future::BoxFuture;
use models::reading::Quality;
use models::time::Timestamp;
use prost::Message;
use serde::Deserialize;

use super::payload::{Names, moment};
use super::replay::Column;
use super::report::Report;
use super::source::{Feed, Source};
use crate::batch::{Channel, Reading};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Read at once; a chunk of readings comes of it.
const CHUNK: usize = 64 << 10;
const MAX_LINE: usize = 64 << 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    #[default]
    Start,
    End,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub name: Option<String>,
    #[serde(default)]
    pub report: Report,
    pub file: PathBuf,
    pub device: Option<String>,
    pub device_column: Option<String>,
    pub time: Option<String>,
    #[serde(default)]
    pub zone: String,
    #[serde(default = "default_delimiter")]
    pub delimiter: char,
    #[serde(default)]
    pub from: From,
    pub columns: BTreeMap<String, Column>,
}

fn default_delimiter() -> char {
    ','
}

/// Where the reader is.
#[derive(Clone, PartialEq, Message)]
struct Progress {
    #[prost(uint64, tag = "1")]
    device: u64,
    #[prost(uint64, tag = "2")]
    inode: u64,
    /// Behind the last whole line that was read.
    #[prost(uint64, tag = "3")]
    offset: u64,
    /// First line, empty when it was not read yet.
    #[prost(string, tag = "4")]
    header: String,
    #[prost(uint64, tag = "5")]
    line: u64,
}

/// Positions of the columns.
struct Layout {
    time: Option<usize>,
    device: Option<usize>,
    columns: Vec<(usize, String, String)>,
}

/// See the module.
pub struct Tail {
    config: Config,
    path: PathBuf,
    progress: Progress,
    known: bool,
    names: Names,
}

impl Tail {
    /// # Errors
    /// When settings are missing or contradict each other.
    pub fn open(config: &Config, base: &Path, resume: Option<&[u8]>) -> anyhow::Result<Self> {
        ensure!(
            !config.columns.is_empty(),
            "needs [collect.columns]: which column is which channel"
        );
        ensure!(
            config.device.is_some() != config.device_column.is_some(),
            "give either `device` or `device_column`"
        );
        ensure!(
            config.delimiter.is_ascii(),
            "`delimiter` must be one ASCII character"
        );
        for column in config.columns.values() {
            super::check_name("columns.channel", &column.channel)?;
        }
        let progress = resume.and_then(|bytes| Progress::decode(bytes).ok());
        Ok(Self {
            path: base.join(&config.file),
            config: config.clone(),
            known: progress.is_some(),
            progress: progress.unwrap_or_default(),
            names: Names::default(),
        })
    }

    /// Tails have no points with rules of their own.
    pub fn reports(&self) -> Vec<(Arc<Channel>, Report)> {
        Vec::new()
    }

    fn split(&self, line: &str) -> anyhow::Result<csv::StringRecord> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .delimiter(self.config.delimiter as u8)
            .trim(csv::Trim::All)
            .flexible(true)
            .from_reader(line.as_bytes());
        let mut record = csv::StringRecord::new();
        reader.read_record(&mut record)?;
        Ok(record)
    }

    fn layout(&self) -> anyhow::Result<Layout> {
        let header = self.split(&self.progress.header)?;
        let position = |name: &str| {
            header.iter().position(|column| column == name).with_context(|| {
                format!(
                    "has no column `{name}`; it has {}",
                    header.iter().collect::<Vec<_>>().join(", ")
                )
            })
        };
        Ok(Layout {
            time: self.config.time.as_deref().map(position).transpose()?,
            device: self.config.device_column.as_deref().map(position).transpose()?,
            columns: self
                .config
                .columns
                .iter()
                .map(|(name, to)| Ok((position(name)?, to.channel.clone(), to.unit.clone())))
                .collect::<anyhow::Result<_>>()?,
        })
    }

    fn row(&mut self, layout: &Layout, line: &str, out: &mut Vec<Reading>, feed: &Feed) {
        let number = self.progress.line;
        let record = match self.split(line) {
            Ok(record) => record,
            Err(error) => return feed.rejected(&format!("line {number}: {error}")),
        };
        let ts = match layout.time {
            None => Ok(Timestamp::now()),
            Some(at) => moment(record.get(at).unwrap_or_default(), &self.config.zone),
        };
        let ts = match ts {
            Ok(ts) => ts,
            Err(why) => return feed.rejected(&format!("line {number}: {why}")),
        };
        let device = match (layout.device, &self.config.device) {
            (Some(at), _) => record.get(at).unwrap_or_default(),
            (None, device) => device.as_deref().unwrap_or_default(),
        };
        if let Err(error) = super::check_name("device", device) {
            return feed.rejected(&format!("line {number}: {error}"));
        }
        for (at, name, unit) in &layout.columns {
            let text = record.get(*at).unwrap_or_default();
            if text.is_empty() {
                continue;
            }
            match text.parse::<f64>().ok().filter(|value| value.is_finite()) {
                Some(value) => out.push(Reading {
                    channel: self.names.get(device, name, unit),
                    ts,
                    value,
                    quality: Quality::Good,
                }),
                None => feed.rejected(&format!("line {number}, `{name}`: `{text}` is not a number")),
            }
        }
    }

    async fn follow(&mut self, feed: &Feed) -> anyhow::Result<()> {
        loop {
            let place = self.path.display().to_string();
            let mut file = std::fs::File::open(&self.path).with_context(|| place.clone())?;
            let found = file.metadata()?;
            if (found.dev(), found.ino()) != (self.progress.device, self.progress.inode) {
                let skip = !self.known && self.config.from == From::End;
                self.progress = Progress {
                    device: found.dev(),
                    inode: found.ino(),
                    ..Progress::default()
                };
                if skip {
                    self.skip_to_the_end(&mut file)?;
                }
            }
            self.known = true;
            feed.connected(&format!("reads {place}"));
            self.read_along(&mut file, feed).await?;
        }
    }

    /// Takes the header and leaves out the whole lines that are there.
    fn skip_to_the_end(&mut self, file: &mut std::fs::File) -> anyhow::Result<()> {
        let mut bytes = vec![0; MAX_LINE];
        let n = file.read(&mut bytes)?;
        let Some(end) = bytes[..n].iter().position(|byte| *byte == b'\n') else {
            return Ok(());
        };
        self.progress.header = String::from_utf8_lossy(&bytes[..end]).trim().to_owned();
        let len = file.seek(SeekFrom::End(0))?;
        let back = len.saturating_sub(MAX_LINE as u64);
        file.seek(SeekFrom::Start(back))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        let last = tail
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        self.progress.offset = back + last as u64;
        Ok(())
    }

    /// Until another file stands under the name and this one is read to its end.
    async fn read_along(&mut self, file: &mut std::fs::File, feed: &Feed) -> anyhow::Result<()> {
        let mut layout = if self.progress.header.is_empty() {
            None
        } else {
            Some(self.layout()?)
        };
        let mut replaced = false;
        loop {
            if file.metadata()?.len() < self.progress.offset {
                // Emptied and written anew, in place.
                (self.progress.offset, self.progress.line) = (0, 0);
                self.progress.header.clear();
                layout = None;
            }
            file.seek(SeekFrom::Start(self.progress.offset))?;
            let mut bytes = vec![0; CHUNK];
            let n = file.read(&mut bytes)?;
            let whole = bytes[..n]
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
            let mut readings = Vec::new();
            for line in bytes[..whole].split_inclusive(|byte| *byte == b'\n') {
                self.progress.offset += line.len() as u64;
                self.progress.line += 1;
                let text = String::from_utf8_lossy(line);
                let text = text.trim();
                match &layout {
                    None if text.is_empty() => {}
                    None => {
                        self.progress.header = text.trim_start_matches('\u{feff}').to_owned();
                        layout = Some(self.layout()?);
                    }
                    Some(_) if text.is_empty() => {}
                    Some(layout) => self.row(layout, text, &mut readings, feed),
                }
            }
            if whole > 0 {
                feed.send_with_progress(readings, self.progress.encode_to_vec())
                    .await?;
                continue;
            }
            if n == CHUNK {
                bail!("line {} is longer than {CHUNK} bytes", self.progress.line + 1);
            }
            if replaced {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
            // What was written between the last look and the change is read in one more round.
            replaced = match std::fs::metadata(&self.path) {
                Ok(now) => (now.dev(), now.ino()) != (self.progress.device, self.progress.inode),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
                Err(error) => return Err(error.into()),
            };
        }
    }
}

impl Source for Tail {
    fn session<'a>(&'a mut self, feed: &'a Feed) -> BoxFuture<'a, anyhow::Result<()>> {
        self.follow(feed).boxed()
    }
}

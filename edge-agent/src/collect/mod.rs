//! Sources of readings. Each kind is a module; `[[collect]]` sections with its `kind` make any number
//! of them.
//!
//! | kind | reads |
//! |---|---|
//! | [`modbus`] | Modbus TCP and RTU over TCP |
//! | [`opcua`] | an OPC UA server, by subscription |
//! | [`mqtt`] | devices that publish to this gateway, or a broker beside it |
//! | [`http`] | whoever pushes JSON |
//! | [`serial`] | lines of text from a serial port, another device file or a pipe |
//! | [`host`] | this machine |
//! | [`tail`] | CSV files that grow |
//! | [`replay`] | recorded data, CSV and Parquet |
//! | [`simulate`] | simulated machines |
//!
//! There are two shapes behind one seam: a [`generator::Generator`] makes readings itself and can go on
//! where it stopped, a [`source::Source`] follows something outside. [`report`] decides for both what
//! is worth sending.

pub mod generator;
pub mod host;
pub mod http;
pub mod line;
pub mod modbus;
pub mod mqtt;
#[cfg(feature = "opcua")]
pub mod opcua;
pub mod payload;
pub mod replay;
pub mod report;
pub mod serial;
pub mod simulate;
pub mod source;
pub mod tail;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use models::time::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::batch::{Channel, Chunk};
pub use generator::{CHUNK_READINGS, Generator, Next};
use report::{Filter, Report};
use source::{Feed, Source};

/// One `[[collect]]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Config {
    Simulate(simulate::Config),
    Replay(replay::Config),
    Modbus(modbus::Config),
    #[cfg(feature = "opcua")]
    Opcua(opcua::Config),
    Mqtt(mqtt::Config),
    Http(http::Config),
    Serial(serial::Config),
    Host(host::Config),
    Tail(tail::Config),
}

impl Config {
    /// Names the collector in logs, in the status and in what it remembers. Unique in a configuration.
    pub fn name(&self) -> String {
        let (name, what) = match self {
            Self::Simulate(config) => (&config.name, config.device.clone()),
            Self::Replay(config) => (&config.name, config.file.display().to_string()),
            Self::Modbus(config) => (&config.name, config.address.clone()),
            #[cfg(feature = "opcua")]
            Self::Opcua(config) => (&config.name, config.url.clone()),
            Self::Mqtt(config) => (&config.name, config.place()),
            Self::Http(config) => (&config.name, config.listen.to_string()),
            Self::Serial(config) => (&config.name, config.path.display().to_string()),
            Self::Host(config) => (&config.name, config.device.clone()),
            Self::Tail(config) => (&config.name, config.file.display().to_string()),
        };
        name.clone().unwrap_or_else(|| format!("{}:{what}", self.kind()))
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Simulate(_) => "simulate",
            Self::Replay(_) => "replay",
            Self::Modbus(_) => "modbus",
            #[cfg(feature = "opcua")]
            Self::Opcua(_) => "opcua",
            Self::Mqtt(_) => "mqtt",
            Self::Http(_) => "http",
            Self::Serial(_) => "serial",
            Self::Host(_) => "host",
            Self::Tail(_) => "tail",
        }
    }

    fn report(&self) -> Report {
        match self {
            Self::Simulate(config) => config.report,
            Self::Replay(config) => config.report,
            Self::Modbus(config) => config.report,
            #[cfg(feature = "opcua")]
            Self::Opcua(config) => config.report,
            Self::Mqtt(config) => config.report,
            Self::Http(config) => config.report,
            Self::Serial(config) => config.report,
            Self::Host(config) => config.report,
            Self::Tail(config) => config.report,
        }
    }

    /// Opens the source. `base` is where relative paths start; `resume` what an earlier run left.
    ///
    /// # Errors
    /// When its settings contradict each other, or a generator's file can't be read. A source that
    /// can't be reached is no error: it is tried again while the agent runs.
    pub fn open(&self, base: &Path, resume: Option<&[u8]>, now: Timestamp) -> anyhow::Result<Collector> {
        let open = || -> anyhow::Result<Collector> {
            self.report().check()?;
            let mut special = Vec::new();
            let work = match self {
                Self::Simulate(config) => {
                    Work::Generator(Box::new(simulate::Simulate::open(config, resume, now)?))
                }
                Self::Replay(config) => {
                    Work::Generator(Box::new(replay::Replay::open(config, base, resume, now)?))
                }
                Self::Modbus(config) => {
                    let source = modbus::Modbus::open(config)?;
                    special = source.reports();
                    Work::Source(Box::new(source))
                }
                #[cfg(feature = "opcua")]
                Self::Opcua(config) => {
                    let source = opcua::OpcUa::open(config, base)?;
                    special = source.reports();
                    Work::Source(Box::new(source))
                }
                Self::Mqtt(config) => Work::Source(mqtt::open(config, base)?),
                Self::Http(config) => Work::Source(Box::new(http::Push::open(config, base)?)),
                Self::Serial(config) => {
                    let source = serial::Serial::open(config, base)?;
                    special = source.reports();
                    Work::Source(Box::new(source))
                }
                Self::Host(config) => Work::Source(Box::new(host::Host::open(config)?)),
                Self::Tail(config) => {
                    let source = tail::Tail::open(config, base, resume)?;
                    special = source.reports();
                    Work::Source(Box::new(source))
                }
            };
            for (_, report) in &special {
                report.check()?;
            }
            let shown = Shown {
                name: self.name(),
                kind: self.kind().to_owned(),
                produced: match &work {
                    Work::Generator(generator) => generator.produced(),
                    Work::Source(_) => 0,
                },
                ..Shown::default()
            };
            Ok(Collector {
                name: self.name().into(),
                work,
                filter: Filter::new(self.report(), special),
                shown: Arc::new(Mutex::new(shown)),
            })
        };
        open().with_context(|| format!("collect `{}`", self.name()))
    }
}

enum Work {
    Generator(Box<dyn Generator>),
    Source(Box<dyn Source>),
}

/// A collector, ready to run.
pub struct Collector {
    name: Arc<str>,
    work: Work,
    filter: Filter,
    pub shown: Arc<Mutex<Shown>>,
}

impl Collector {
    /// Channels that it will deliver, when that is known before.
    pub fn expects(&self) -> Option<usize> {
        match &self.work {
            Work::Generator(_) => None,
            Work::Source(source) => source.expects(),
        }
    }

    /// Collects until `stop` is cancelled. A full channel makes it wait.
    ///
    /// # Errors
    /// When nobody receives any more.
    pub async fn run(self, chunks: mpsc::Sender<Chunk>, stop: CancellationToken) -> anyhow::Result<()> {
        match self.work {
            Work::Generator(generator) => {
                generator::run(self.name, generator, chunks, self.shown, self.filter, stop).await
            }
            Work::Source(source) => {
                let feed = Feed::new(self.name, chunks, self.shown, self.filter);
                source::run(source, feed, stop).await
            }
        }
    }
}

/// What the status shows of a collector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shown {
    pub name: String,
    pub kind: String,
    /// Readings made: by a generator since its very first start, by a source since this one.
    pub produced: u64,
    /// Newest time stamp made.
    pub newest: Option<Timestamp>,
    pub ended: bool,
    /// What a source says of itself while it is there.
    pub state: Option<String>,
    /// Why it can't be reached.
    pub error: Option<String>,
    /// Points that can't be read, and why.
    pub faults: BTreeMap<String, String>,
    /// Messages and lines that made no sense.
    pub rejected: u64,
    pub last_rejected: Option<String>,
}

/// A series by its names.
pub fn channel(device: &str, name: &str, unit: &str) -> Arc<Channel> {
    Arc::new(Channel {
        device: device.into(),
        name: name.to_owned(),
        unit: unit.to_owned(),
    })
}

/// # Errors
/// When a name can't be one: empty, too long, or with characters that a topic can't hold.
pub fn check_name(key: &str, name: &str) -> anyhow::Result<()> {
    let good = !name.is_empty()
        && name.len() <= 256
        && !name.contains(|c: char| c == '+' || c == '#' || c.is_control());
    anyhow::ensure!(
        good,
        "`{key}` is `{name}`: it must have 1 to 256 bytes and no `+`, `#` or control character"
    );
    Ok(())
}

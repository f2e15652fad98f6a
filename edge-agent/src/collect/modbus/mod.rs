//! Modbus TCP, and Modbus RTU over TCP, which serial gateways and converters speak.
//!
//! ```toml
//! [[collect]]
//! kind = "modbus"
//! address = "192.168.0.10:502"
//! transport = "tcp"               # tcp, rtu_over_tcp
//! every_s = 1.0
//! timeout_s = 1.0                 # for an answer; a device may have its own
//! max_registers = 120             # in one request
//! max_gap = 8                     # registers nobody wants that may be read along
//!
//! [[collect.devices]]
//! device = "pump-7"
//! unit_id = 1                     # the slave behind a gateway; 255 for a device on its own
//! points = [
//!   { channel = "temp", table = "input", register = 0, type = "i16", scale = 0.1, unit = "Cel" },
//!   { channel = "flow", table = "holding", register = 10, type = "f32", word_order = "little", unit = "m3/h" },
//!   { channel = "running", table = "coil", register = 3 },
//! ]
//! ```
//!
//! `register` counts from 0, as on the wire: what a manual calls 40011 is holding register 10. All
//! devices of a section share one connection, because serial gateways often take only one; they are
//! asked in turn. A device that doesn't answer is left alone for a while, longer each time, so that it
//! doesn't hold up the others; after a missing answer the connection is made anew, since on a serial
//! line nothing tells a late answer from the next one.

pub mod plan;
mod value;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::FutureExt;
use futures::future::BoxFuture;
use models::reading::Quality;
use models::time::Timestamp;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_modbus::client::{Client, Context as Connection};
use tokio_modbus::prelude::{Request, Response, Slave, SlaveContext};

use super::report::Report;
use super::source::{Feed, Source};
use crate::batch::{Channel, Reading};
use plan::{Block, MAX_REGISTERS, Place};
use value::Coding;
pub use value::{Order, Table, Type};

/// Longest time that a device that doesn't answer is left alone.
const LEAVE_ALONE_MOST: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    #[default]
    Tcp,
    RtuOverTcp,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub name: Option<String>,
    #[serde(default)]
    pub report: Report,
    pub address: String,
    #[serde(default)]
    pub transport: Transport,
    #[serde(default = "one")]
    pub every_s: f64,
    #[serde(default = "one")]
    pub timeout_s: f64,
    #[serde(default = "default_max_registers")]
    pub max_registers: u16,
    #[serde(default = "default_max_gap")]
    pub max_gap: u16,
    pub devices: Vec<Device>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    pub device: String,
    #[serde(default = "default_unit_id")]
    pub unit_id: u8,
    pub timeout_s: Option<f64>,
    pub points: Vec<Point>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    pub channel: String,
    #[serde(default)]
    pub unit: String,
    #[serde(default)]
    pub table: Table,
    pub register: u16,
    #[serde(rename = "type")]
    pub kind: Option<Type>,
    #[serde(default)]
    pub word_order: Order,
    #[serde(default)]
    pub byte_order: Order,
    /// Of a register that is a set of bits, from 0.
    pub bit: Option<u8>,
    #[serde(default = "one")]
    pub scale: f64,
    #[serde(default)]
    pub offset: f64,
    pub report: Option<Report>,
}

fn one() -> f64 {
    1.0
}

fn default_unit_id() -> u8 {
    255
}

fn default_max_registers() -> u16 {
    120
}

fn default_max_gap() -> u16 {
    8
}

impl Point {
    fn place(&self) -> anyhow::Result<Place> {
        let name = &self.channel;
        super::check_name("points.channel", name)?;
        let bits = self.table.is_bits();
        let kind = match (self.kind, bits || self.bit.is_some()) {
            (None | Some(Type::Bool), true) => Type::Bool,
            (Some(_), true) if bits => bail!("point `{name}`: a {} is a `bool`", self.table.name()),
            (Some(_), true) => bail!("point `{name}`: `bit` goes with `type = \"bool\"`"),
            (Some(Type::Bool), false) => bail!("point `{name}`: a `bool` in a register needs `bit`"),
            (kind, false) => kind.unwrap_or_default(),
        };
        ensure!(
            !bits || self.bit.is_none(),
            "point `{name}`: a {} has no `bit`",
            self.table.name()
        );
        ensure!(
            self.bit.unwrap_or(0) < 16,
            "point `{name}`: `bit` must be from 0 to 15"
        );
        ensure!(
            u32::from(self.register) + u32::from(kind.registers()) <= 65_536,
            "point `{name}`: `register` {} is beyond the last one, 65535",
            self.register
        );
        ensure!(
            self.scale.is_finite() && self.scale != 0.0 && self.offset.is_finite(),
            "point `{name}`: `scale` must be a number other than 0, `offset` a number"
        );
        Ok(Place {
            table: self.table,
            register: self.register,
            coding: Coding {
                kind,
                words: self.word_order,
                bytes: self.byte_order,
                bit: self.bit.unwrap_or(0),
            },
        })
    }
}

/// A device as it is asked.
struct Asked {
    name: String,
    unit_id: u8,
    timeout: Duration,
    points: Vec<(Point, Arc<Channel>)>,
    places: Vec<Place>,
    blocks: Vec<Block>,
    /// It didn't answer, this many times in a row.
    misses: u32,
    again_at: Option<Instant>,
}

/// See the module.
pub struct Modbus {
    config: Config,
    devices: Vec<Asked>,
}

impl Modbus {
    /// # Errors
    /// Names the point whose settings are wrong.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        ensure!(config.every_s >= 0.01, "`every_s` must be at least 0.01");
        ensure!(
            (4..=MAX_REGISTERS).contains(&config.max_registers),
            "`max_registers` must be from 4 to {MAX_REGISTERS}"
        );
        ensure!(!config.devices.is_empty(), "needs [[collect.devices]]");
        let mut devices = Vec::new();
        for device in &config.devices {
            super::check_name("device", &device.device)?;
            ensure!(
                !device.points.is_empty(),
                "device `{}` has no `points`",
                device.device
            );
            let timeout = device.timeout_s.unwrap_or(config.timeout_s);
            ensure!(
                (0.01..=60.0).contains(&timeout),
                "`timeout_s` must be from 0.01 to 60"
            );
            let places = device
                .points
                .iter()
                .map(Point::place)
                .collect::<anyhow::Result<Vec<_>>>()
                .with_context(|| format!("device `{}`", device.device))?;
            devices.push(Asked {
                name: device.device.clone(),
                unit_id: device.unit_id,
                timeout: Duration::from_secs_f64(timeout),
                points: device
                    .points
                    .iter()
                    .map(|point| {
                        (
                            point.clone(),
                            super::channel(&device.device, &point.channel, &point.unit),
                        )
                    })
                    .collect(),
                blocks: plan::blocks(&places, config.max_registers, config.max_gap),
                places,
                misses: 0,
                again_at: None,
            });
        }
        Ok(Self {
            config: config.clone(),
            devices,
        })
    }

    /// Channels with report rules of their own.
    pub fn reports(&self) -> Vec<(Arc<Channel>, Report)> {
        self.devices
            .iter()
            .flat_map(|device| &device.points)
            .filter_map(|(point, channel)| Some((Arc::clone(channel), point.report?)))
            .collect()
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        let address = &self.config.address;
        let within = Duration::from_secs_f64(self.config.timeout_s.max(1.0));
        let stream = tokio::time::timeout(within, TcpStream::connect(address))
            .await
            .with_context(|| format!("{address} doesn't answer within {} s", within.as_secs_f64()))?
            .with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        let slave = Slave(255);
        Ok(match self.config.transport {
            Transport::Tcp => tokio_modbus::client::tcp::attach_slave(stream, slave),
            Transport::RtuOverTcp => tokio_modbus::client::rtu::attach_slave(stream, slave),
        })
    }

    async fn poll(&mut self, feed: &Feed) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        feed.connected(&format!("connected to {}", self.config.address));
        let mut tick = tokio::time::interval(Duration::from_secs_f64(self.config.every_s));
        // A slow device is asked less often, not in a burst afterwards.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let mut readings = Vec::new();
            let mut lost = None;
            for device in &mut self.devices {
                if device.again_at.is_some_and(|at| at > Instant::now()) {
                    continue;
                }
                if let Err(error) = device.ask(&mut connection, feed, &mut readings).await {
                    lost = Some(error);
                    break;
                }
            }
            feed.send(readings).await?;
            if let Some(error) = lost {
                if self.devices.iter().all(|device| device.misses > 0) {
                    return Err(error);
                }
                connection = self.connect().await?;
            }
        }
    }
}

/// How a request ended.
enum Answer {
    Registers(Vec<u16>),
    Bits(Vec<bool>),
    /// The device says no; the text says why.
    Refused(String),
}

impl Asked {
    /// Reads all blocks.
    ///
    /// # Errors
    /// When the device doesn't answer, or nonsense: the connection can't be used any more.
    async fn ask(
        &mut self,
        connection: &mut Connection,
        feed: &Feed,
        out: &mut Vec<Reading>,
    ) -> anyhow::Result<()> {
        connection.set_slave(Slave(self.unit_id));
        let mut split = Vec::new();
        for (i, block) in self.blocks.iter().enumerate() {
            let answer = match self.request(connection, block).await {
                Ok(answer) => answer,
                Err(error) => {
                    self.misses += 1;
                    let pause = Duration::from_secs(1 << self.misses.min(6)).min(LEAVE_ALONE_MOST);
                    self.again_at = Some(Instant::now() + pause);
                    feed.fault(&self.name, &format!("{error:#}"));
                    return Err(error.context(format!("device `{}`", self.name)));
                }
            };
            if let Answer::Refused(_) = answer
                && block.points.len() > 1
            {
                split.push(i);
                continue;
            }
            self.take(block, &answer, feed, out);
        }
        if self.misses > 0 {
            self.misses = 0;
            feed.cleared(&self.name);
        }
        self.again_at = None;
        for i in split.into_iter().rev() {
            let block = self.blocks.swap_remove(i);
            tracing::info!(
                device = self.name,
                register = block.register,
                len = block.len,
                "refused as a whole: its points are read one by one"
            );
            self.blocks.extend(
                block
                    .points
                    .iter()
                    .map(|point| plan::single(&self.places, *point)),
            );
        }
        Ok(())
    }

    async fn request(&self, connection: &mut Connection, block: &Block) -> anyhow::Result<Answer> {
        let request = match block.table {
            Table::Holding => Request::ReadHoldingRegisters(block.register, block.len),
            Table::Input => Request::ReadInputRegisters(block.register, block.len),
            Table::Coil => Request::ReadCoils(block.register, block.len),
            Table::Discrete => Request::ReadDiscreteInputs(block.register, block.len),
        };
        let answer = tokio::time::timeout(self.timeout, connection.call(request))
            .await
            .with_context(|| {
                format!(
                    "unit {} doesn't answer within {} s: check `unit_id`, `transport` and the wiring",
                    self.unit_id,
                    self.timeout.as_secs_f64()
                )
            })?;
        Ok(match answer.with_context(|| format!("unit {}", self.unit_id))? {
            Err(exception) => Answer::Refused(format!(
                "{} {} of unit {}: {exception}; check `table`, `register` and `type`",
                block.table.name(),
                block.register,
                self.unit_id
            )),
            Ok(Response::ReadHoldingRegisters(registers) | Response::ReadInputRegisters(registers)) => {
                Answer::Registers(registers)
            }
            Ok(Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits)) => Answer::Bits(bits),
            Ok(other) => bail!("unit {} answers something else: {other:?}", self.unit_id),
        })
    }

    fn take(&self, block: &Block, answer: &Answer, feed: &Feed, out: &mut Vec<Reading>) {
        let ts = Timestamp::now();
        for i in &block.points {
            let (place, (point, channel)) = (&self.places[*i], &self.points[*i]);
            let name = format!("{}/{}", self.name, point.channel);
            let at = usize::from(place.register - block.register);
            let value = match answer {
                Answer::Refused(why) => {
                    feed.fault(&name, why);
                    continue;
                }
                Answer::Registers(registers) => registers
                    .get(at..)
                    .and_then(|registers| place.coding.decode(registers)),
                Answer::Bits(bits) => bits.get(at).map(|on| f64::from(u8::from(*on))),
            };
            let Some(value) = value else {
                feed.fault(
                    &name,
                    "the device answers with fewer registers than it was asked for",
                );
                continue;
            };
            let value = value * point.scale + point.offset;
            if !value.is_finite() {
                feed.fault(
                    &name,
                    &format!("{value} is no measurement: check `type`, `word_order` and `byte_order`"),
                );
                continue;
            }
            feed.cleared(&name);
            out.push(Reading {
                channel: Arc::clone(channel),
                ts,
                value,
                quality: Quality::Good,
            });
        }
    }
}

impl Source for Modbus {
    fn session<'a>(&'a mut self, feed: &'a Feed) -> BoxFuture<'a, anyhow::Result<()>> {
        self.poll(feed).boxed()
    }

    fn expects(&self) -> Option<usize> {
        Some(self.devices.iter().map(|device| device.points.len()).sum())
    }
}

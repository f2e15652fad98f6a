//! Lines of text from a serial port, another device file, a named pipe, or a file.
//!
//! ```toml
//! [[collect]]
//! kind = "serial"
//! path = "/dev/ttyUSB0"
//! baud = 9600              # only for a serial port; also data_bits, parity, stop_bits
//! device = "scale-3"
//! prefix = "$W,"           # only lines that begin so
//! delimiter = ","          # blanks when left out
//! fields = [ { at = 0, channel = "weight", unit = "kg" } ]
//! ```
//!
//! A serial port is set to raw mode (cfmakeraw of termios) with the speed and frame given. A pipe or
//! file that ends, and a port that is pulled out, is opened again.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use futures::FutureExt;
use futures::future::BoxFuture;
use models::time::Timestamp;
use rustix::termios::{self, ControlModes, OptionalActions};
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use super::line::{Field, Lines};
use super::report::Report;
use super::source::{Feed, Source};

/// Longer ones are noise at the wrong speed.
const MAX_LINE: usize = 4 << 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parity {
    #[default]
    None,
    Even,
    Odd,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub name: Option<String>,
    #[serde(default)]
    pub report: Report,
    pub path: PathBuf,
    #[serde(default = "default_baud")]
    pub baud: u32,
    #[serde(default = "default_data_bits")]
    pub data_bits: u8,
    #[serde(default)]
    pub parity: Parity,
    #[serde(default = "default_stop_bits")]
    pub stop_bits: u8,
    pub device: String,
    #[serde(default)]
    pub prefix: String,
    #[serde(default)]
    pub delimiter: String,
    pub fields: Vec<Field>,
}

fn default_baud() -> u32 {
    9600
}

fn default_data_bits() -> u8 {
    8
}

fn default_stop_bits() -> u8 {
    1
}

/// See the module.
pub struct Serial {
    config: Config,
    path: PathBuf,
    lines: Lines,
}

impl Serial {
    /// # Errors
    /// When a setting is out of range.
    pub fn open(config: &Config, base: &Path) -> anyhow::Result<Self> {
        anyhow::ensure!(
            (5..=8).contains(&config.data_bits) && (1..=2).contains(&config.stop_bits),
            "`data_bits` must be from 5 to 8, `stop_bits` 1 or 2"
        );
        Ok(Self {
            lines: Lines::new(&config.device, &config.prefix, &config.delimiter, &config.fields)?,
            path: base.join(&config.path),
            config: config.clone(),
        })
    }

    pub fn reports(&self) -> Vec<(std::sync::Arc<crate::batch::Channel>, Report)> {
        self.lines.reports()
    }

    async fn follow(&self, feed: &Feed) -> anyhow::Result<()> {
        let (path, config) = (self.path.clone(), self.config.clone());
        // A modem line that is down can hold up even this.
        let file = tokio::task::spawn_blocking(move || open(&path, &config))
            .await?
            .with_context(|| self.path.display().to_string())?;
        let mut input = if file.metadata()?.is_file() {
            Input::File(file)
        } else {
            // Works with whatever epoll works with: ports as well as pipes.
            Input::Port(Receiver::from_file_unchecked(file)?)
        };
        feed.connected(&format!("reads {}", self.path.display()));
        let (mut cutter, mut chunk, mut lines) = (Cutter::default(), [0; 1024], Vec::new());
        loop {
            let n = input
                .read(&mut chunk)
                .await
                .with_context(|| self.path.display().to_string())?;
            cutter.push(&chunk[..n], &mut lines);
            if n == 0 {
                lines.extend(cutter.end());
            }
            for line in lines.drain(..) {
                match line {
                    Line::Text(text) => {
                        let (readings, wrong) = self.lines.read(&text, Timestamp::now());
                        for message in wrong {
                            feed.rejected(&message);
                        }
                        feed.send(readings).await?;
                    }
                    Line::TooLong => feed.rejected(&format!(
                        "{MAX_LINE} bytes without the end of a line: is the speed right, is it text?"
                    )),
                }
            }
            if n == 0 {
                bail!("{} has ended", self.path.display());
            }
        }
    }
}

impl Source for Serial {
    fn session<'a>(&'a mut self, feed: &'a Feed) -> BoxFuture<'a, anyhow::Result<()>> {
        self.follow(feed).boxed()
    }

    fn expects(&self) -> Option<usize> {
        Some(self.lines.channels())
    }
}

/// What comes out of bytes.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Text(String),
    TooLong,
}

/// Cuts bytes into lines.
#[derive(Default)]
struct Cutter {
    buffer: Vec<u8>,
    skipping: bool,
}

impl Cutter {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<Line>) {
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => out.extend(self.end()),
                _ if self.skipping => {}
                _ if self.buffer.len() == MAX_LINE => {
                    self.buffer.clear();
                    self.skipping = true;
                    out.push(Line::TooLong);
                }
                _ => self.buffer.push(*byte),
            }
        }
    }

    /// The line so far; at the end of a file it may lack its end.
    fn end(&mut self) -> Option<Line> {
        let text = String::from_utf8_lossy(&self.buffer).into_owned();
        self.buffer.clear();
        (!std::mem::take(&mut self.skipping) && !text.is_empty()).then_some(Line::Text(text))
    }
}

fn open(path: &Path, config: &Config) -> anyhow::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits())?;
    // Neither a modem line that is down nor a pipe without a writer holds up the opening.
    let file = std::fs::File::options()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    if termios::isatty(&file) {
        let mut mode = termios::tcgetattr(&file).context("settings of the port")?;
        mode.make_raw();
        mode.set_speed(config.baud)
            .with_context(|| format!("`baud` {} is not possible here", config.baud))?;
        mode.control_modes
            .remove(ControlModes::CSIZE | ControlModes::PARENB | ControlModes::PARODD | ControlModes::CSTOPB);
        mode.control_modes |= ControlModes::CREAD | ControlModes::CLOCAL;
        mode.control_modes |= match config.data_bits {
            5 => ControlModes::CS5,
            6 => ControlModes::CS6,
            7 => ControlModes::CS7,
            _ => ControlModes::CS8,
        };
        mode.control_modes |= match config.parity {
            Parity::None => ControlModes::empty(),
            Parity::Even => ControlModes::PARENB,
            Parity::Odd => ControlModes::PARENB | ControlModes::PARODD,
        };
        if config.stop_bits == 2 {
            mode.control_modes |= ControlModes::CSTOPB;
        }
        termios::tcsetattr(&file, OptionalActions::Now, &mode).context("settings of the port")?;
    }
    Ok(file)
}

/// Ports and pipes wake us when there is something; a file always has something, or has ended.
enum Input {
    Port(Receiver),
    File(std::fs::File),
}

impl Input {
    /// 0 = the end.
    async fn read(&mut self, chunk: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Port(port) => port.read(chunk).await,
            Self::File(file) => {
                tokio::task::yield_now().await;
                std::io::Read::read(file, chunk)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut() {
        let (mut cutter, mut out) = (Cutter::default(), Vec::new());
        cutter.push(b"a\r\n\nb", &mut out);
        cutter.push(b"c\n", &mut out);
        assert_eq!(out, [Line::Text("a".to_owned()), Line::Text("bc".to_owned())]);
        out.clear();
        cutter.push(&[b'x'; MAX_LINE + 10], &mut out);
        cutter.push(b"x\nd\ne", &mut out);
        assert_eq!(out, [Line::TooLong, Line::Text("d".to_owned())]);
        assert_eq!(cutter.end(), Some(Line::Text("e".to_owned())));
    }
}

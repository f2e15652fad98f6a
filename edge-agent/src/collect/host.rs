//! This machine, from `/proc` and `/sys`: a gateway that fails is a failure of everything behind it.
//!
//! ```toml
//! [[collect]]
//! kind = "host"
//! device = "gateway"
//! every_s = 30
//! disks = ["/"]            # how full
//! ```
//!
//! | channel | unit | from |
//! |---|---|---|
//! | `cpu` | % | busy share of all cores since the last time, `/proc/stat` |
//! | `load1` | 1 | `/proc/loadavg` |
//! | `memory_used`, `memory_available` | %, MiBy | `/proc/meminfo` |
//! | `uptime` | h | `/proc/uptime` |
//! | `net_in`, `net_out` | By/s | all interfaces but `lo`, `/proc/net/dev` |
//! | `disk_read`, `disk_written` | By/s | whole devices, `/proc/diskstats`: what flash wears by |
//! | `temperature.{zone}` | Cel | `/sys/class/thermal` |
//! | `disk_used.{path}` | % | statvfs |

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::FutureExt;
use futures::future::BoxFuture;
use models::reading::Quality;
use models::time::Timestamp;
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior};

use super::payload::Names;
use super::report::Report;
use super::source::{Feed, Source};
use crate::batch::Reading;

/// The unit of `/proc/diskstats`, whatever the device's own is.
const SECTOR: f64 = 512.0;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub name: Option<String>,
    #[serde(default)]
    pub report: Report,
    #[serde(default = "default_device")]
    pub device: String,
    #[serde(default = "default_every_s")]
    pub every_s: f64,
    #[serde(default = "default_disks")]
    pub disks: Vec<PathBuf>,
}

fn default_device() -> String {
    "gateway".to_owned()
}

fn default_every_s() -> f64 {
    30.0
}

fn default_disks() -> Vec<PathBuf> {
    vec![PathBuf::from("/")]
}

/// Counters that become rates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counters {
    busy: u64,
    total: u64,
    net_in: u64,
    net_out: u64,
    disk_read: u64,
    disk_written: u64,
}

/// See the module.
pub struct Host {
    config: Config,
    root: PathBuf,
    names: Names,
    before: Option<(Instant, Counters)>,
}

impl Host {
    /// # Errors
    /// When a setting is out of range.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        super::check_name("device", &config.device)?;
        ensure!(config.every_s >= 0.1, "`every_s` must be at least 0.1");
        Ok(Self {
            config: config.clone(),
            root: PathBuf::from("/"),
            names: Names::default(),
            before: None,
        })
    }

    fn read(&self, file: &str) -> anyhow::Result<String> {
        let path = self.root.join(file);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    fn counters(&self) -> anyhow::Result<Counters> {
        let (busy, total) = cpu(&self.read("proc/stat")?).context("proc/stat")?;
        // Absent in some containers.
        let (net_in, net_out) = self.read("proc/net/dev").map_or((0, 0), |text| network(&text));
        let (disk_read, disk_written) = self.read("proc/diskstats").map_or((0, 0), |text| disks(&text));
        Ok(Counters {
            busy,
            total,
            net_in,
            net_out,
            disk_read,
            disk_written,
        })
    }

    /// Name, unit and value of everything that can be read now.
    fn sample(&mut self, feed: &Feed) -> anyhow::Result<Vec<(String, &'static str, f64)>> {
        let mut out = Vec::new();
        let (now, counters) = (Instant::now(), self.counters()?);
        if let Some((at, before)) = self.before.replace((now, counters)) {
            let seconds = now.duration_since(at).as_secs_f64().max(0.001);
            let all = counters.total.saturating_sub(before.total);
            if all > 0 {
                let busy = counters.busy.saturating_sub(before.busy);
                out.push(("cpu".to_owned(), "%", 100.0 * busy as f64 / all as f64));
            }
            let rate = |now: u64, before: u64, unit: f64| now.saturating_sub(before) as f64 * unit / seconds;
            for (name, value) in [
                ("net_in", rate(counters.net_in, before.net_in, 1.0)),
                ("net_out", rate(counters.net_out, before.net_out, 1.0)),
                ("disk_read", rate(counters.disk_read, before.disk_read, SECTOR)),
                (
                    "disk_written",
                    rate(counters.disk_written, before.disk_written, SECTOR),
                ),
            ] {
                out.push((name.to_owned(), "By/s", value.round()));
            }
        }
        let first = |text: &str| text.split_whitespace().next().and_then(|word| word.parse().ok());
        let load: f64 = first(&self.read("proc/loadavg")?).context("proc/loadavg")?;
        out.push(("load1".to_owned(), "1", load));
        let uptime: f64 = first(&self.read("proc/uptime")?).context("proc/uptime")?;
        out.push(("uptime".to_owned(), "h", (uptime / 36.0).round() / 100.0));
        let (total, available) = memory(&self.read("proc/meminfo")?).context("proc/meminfo")?;
        let used = 100.0 * (1.0 - available / total);
        out.push(("memory_used".to_owned(), "%", (used * 100.0).round() / 100.0));
        out.push((
            "memory_available".to_owned(),
            "MiBy",
            (available / 1024.0).round(),
        ));
        out.extend(temperatures(&self.root.join("sys/class/thermal")));
        for path in &self.config.disks {
            let point = format!("disk_used.{}", path.display());
            match rustix::fs::statvfs(path) {
                Ok(stat) => {
                    feed.cleared(&point);
                    let size = stat.f_blocks.max(1) as f64;
                    let used = 100.0 * (1.0 - stat.f_bavail as f64 / size);
                    out.push((point, "%", (used * 100.0).round() / 100.0));
                }
                Err(error) => feed.fault(&point, &format!("{}: {error}", path.display())),
            }
        }
        Ok(out)
    }

    async fn watch(&mut self, feed: &Feed) -> anyhow::Result<()> {
        let mut tick = tokio::time::interval(Duration::from_secs_f64(self.config.every_s));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tick.tick().await;
            let ts = Timestamp::now();
            let sample = self.sample(feed)?;
            feed.connected("reads this machine");
            let readings = sample
                .into_iter()
                .map(|(name, unit, value)| Reading {
                    channel: Arc::clone(&self.names.get(&self.config.device, &name, unit)),
                    ts,
                    value,
                    quality: Quality::Good,
                })
                .collect();
            feed.send(readings).await?;
        }
    }
}

impl Source for Host {
    fn session<'a>(&'a mut self, feed: &'a Feed) -> BoxFuture<'a, anyhow::Result<()>> {
        self.watch(feed).boxed()
    }

    fn expects(&self) -> Option<usize> {
        Some(4 + self.config.disks.len())
    }
}

/// Busy and total ticks of all cores.
fn cpu(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // user nice system idle iowait irq softirq steal; guest time is part of user.
    let ticks: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .map_while(|word| word.parse().ok())
        .collect();
    let total = ticks.iter().sum();
    let idle = ticks.get(3)? + ticks.get(4).unwrap_or(&0);
    Some((total - idle, total))
}

/// Total and available, KiB.
fn memory(text: &str) -> Option<(f64, f64)> {
    let of = |key: &str| -> Option<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some((of("MemTotal:")?, of("MemAvailable:")?)).filter(|(total, _)| *total > 0.0)
}

/// Bytes received and sent.
fn network(text: &str) -> (u64, u64) {
    let rows = text.lines().filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        if name.trim() == "lo" {
            return None;
        }
        let words: Vec<u64> = rest
            .split_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        Some((*words.first()?, *words.get(8)?))
    });
    rows.fold((0, 0), |(i, o), (a, b)| (i + a, o + b))
}

/// Sectors read and written, of whole devices: their partitions would count twice.
fn disks(text: &str) -> (u64, u64) {
    let mut seen: Vec<&str> = Vec::new();
    let mut sum = (0, 0);
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(name), Some(read), Some(written)) = (words.get(2), words.get(5), words.get(9)) else {
            continue;
        };
        let virtual_ = ["loop", "ram", "zram", "dm-", "md"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if virtual_ || seen.iter().any(|device| name.starts_with(device)) {
            continue;
        }
        seen.push(name);
        sum.0 += read.parse().unwrap_or(0);
        sum.1 += written.parse().unwrap_or(0);
    }
    sum
}

fn temperatures(zones: &Path) -> Vec<(String, &'static str, f64)> {
    let Ok(entries) = std::fs::read_dir(zones) else {
        return Vec::new();
    };
    let mut all: Vec<_> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path
                .file_name()?
                .to_str()?
                .strip_prefix("thermal_zone")?
                .to_owned();
            let kind = std::fs::read_to_string(path.join("type")).ok()?;
            let milli: f64 = std::fs::read_to_string(path.join("temp"))
                .ok()?
                .trim()
                .parse()
                .ok()?;
            Some((
                format!("temperature.{}_{name}", kind.trim()),
                "Cel",
                milli / 1000.0,
            ))
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel() {
        assert_eq!(cpu("cpu  10 1 5 80 4 0 0 0 0 0\ncpu0 1 1\n"), Some((16, 100)));
        assert_eq!(cpu("intr 1\n"), None);
        assert_eq!(
            memory("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\n"),
            Some((1000.0, 250.0))
        );
        let net = "Inter-|\n face |bytes\n  lo: 9 0 0 0 0 0 0 0 9 0\neth0: 100 1 0 0 0 0 0 0 50 1\nwlan0:7 0 0 0 0 0 0 0 3 0\n";
        assert_eq!(network(net), (107, 53));
        let stats = " 179 0 mmcblk0 1 0 10 0 1 0 20 0\n 179 1 mmcblk0p1 1 0 10 0 1 0 20 0\n 7 0 loop0 1 0 9 0 1 0 9 0\n 8 0 sda 1 0 1 0 1 0 2 0\n";
        assert_eq!(disks(stats), (11, 22));
    }
}

//! `forewarn-edge bench`: the whole agent against a receiver in the same process.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::sink::{Manners, Received, Sink};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How long to measure.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Simulated machines.
    #[arg(long, default_value_t = 20)]
    pub machines: u32,
}

/// Measures readings per second from simulation over a synced spool to `committed`.
///
/// The past of some machines is longer than can be sent in the time, so that the agent works as fast
/// as it can. `cpu_s` is that of agent and receiver together.
///
/// # Errors
/// When the agent or the receiver fails, or a batch is lost.
pub async fn run(args: Args) -> anyhow::Result<Value> {
    ensure!(
        args.seconds > 0 && args.machines > 0,
        "--seconds and --machines must be above 0"
    );
    let dir = tempdir()?;
    let received = Arc::new(Mutex::new(Received::default()));
    let sink = Sink::start(0, Manners::default(), Arc::clone(&received)).await?;
    let mut text = format!(
        "[uplink]\nurl = \"mqtt://{}\"\ntenant = \"bench\"\ngateway = \"edge\"\nsecret = \"none\"\n[spool]\ndir = \"spool\"\n",
        sink.address
    );
    for i in 0..args.machines {
        let machine = ["pump", "compressor", "hvac"][i as usize % 3];
        write!(
            text,
            "[[collect]]\nkind = \"simulate\"\ndevice = \"m-{i}\"\nmachine = \"{machine}\"\nhistory_days = 365\nhistory_step_s = 1\n[[collect.wear]]\nmode = \"bearing_wear\"\nonset_days = -200\nfull_days = 210\n"
        )?;
    }
    let path = dir.path.join("edge.toml");
    std::fs::write(&path, text)?;
    let stop = CancellationToken::new();
    let cpu_before = cpu_seconds()?;
    let begin = Instant::now();
    let agent = tokio::spawn(crate::run(Config::load(&path)?, stop.clone()));
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    let (readings, seconds) = (received.lock().readings, begin.elapsed().as_secs_f64());
    let cpu = cpu_seconds()? - cpu_before;
    stop.cancel();
    agent.await??;
    let status: crate::status::Status =
        serde_json::from_slice(&std::fs::read(dir.path.join("spool/status.json"))?)?;
    let produced: u64 = status.collectors.iter().map(|collector| collector.produced).sum();
    let received = received.lock();
    ensure!(received.fault.is_none(), "{:?}", received.fault);
    ensure!(received.lost == 0, "{} batches were lost", received.lost);
    ensure!(readings > 0, "nothing arrived");
    let binary = std::fs::metadata(std::env::current_exe()?)?.len();
    let mib = f64::from(1 << 20);
    Ok(json!({
        "readings_per_s": (readings as f64 / seconds).round(),
        "peak_rss_mib": (peak_rss_bytes()? as f64 / mib * 10.0).round() / 10.0,
        "binary_mib": (binary as f64 / mib * 10.0).round() / 10.0,
        "bytes_per_reading": (status.spool.written_bytes as f64 / produced as f64 * 100.0).round() / 100.0,
        "wire_bytes_per_reading": (received.payload_bytes as f64 / received.readings as f64 * 100.0).round() / 100.0,
        "readings_per_cpu_s": (readings as f64 / cpu.max(0.01)).round(),
        "cpu_s": (cpu * 100.0).round() / 100.0,
        "syncs_per_s": (status.spool.syncs as f64 / seconds).round(),
        "seconds": seconds.round(),
    }))
}

/// A folder that goes when it is dropped.
struct Temporary {
    path: std::path::PathBuf,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "can't remove");
        }
    }
}

fn tempdir() -> anyhow::Result<Temporary> {
    let path = std::env::temp_dir().join(format!("forewarn-edge-bench-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
    Ok(Temporary { path })
}

/// User and system time of this process.
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .context("/proc/self/stat")?
        .1
        .split_whitespace()
        .collect();
    let ticks: u64 =
        fields.get(11).context("utime")?.parse::<u64>()? + fields.get(12).context("stime")?.parse::<u64>()?;
    // USER_HZ is 100 on every Linux.
    Ok(ticks as f64 / 100.0)
}

fn peak_rss_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}

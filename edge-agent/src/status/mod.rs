//! What the agent does: `status.json` in the spool's folder for `forewarn-edge status`, and a page.

pub mod page;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use models::time::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::remote::{Outcome, Remote, Verdict};
use crate::spool::disk::OsDisk;
use crate::spool::writer::Store;
use crate::spool::{FullPolicy, Options, Spool, Stats};
use crate::{collect, uplink};

pub const FILE: &str = "status.json";
const EVERY: Duration = Duration::from_secs(5);
/// Rates are averages over this long.
const RATE_OVER_S: f64 = 60.0;

/// All an operator wants to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub at: Timestamp,
    pub running: bool,
    pub tenant: String,
    pub gateway: String,
    pub uplink: uplink::Shown,
    pub spool: Shown,
    pub collectors: Vec<collect::Shown>,
    /// How the last configuration from Forewarn ended.
    #[serde(default)]
    pub remote: Option<Outcome>,
}

/// What waits, and for how long it can go on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shown {
    pub epoch: u64,
    pub next_seq: u64,
    pub committed_seq: u64,
    pub bytes: u64,
    pub max_bytes: u64,
    /// Batches not yet committed.
    pub records: u64,
    pub oldest: Option<Timestamp>,
    pub readings_per_s: f64,
    pub bytes_per_s: f64,
    /// Until the spool is full if nothing is committed any more.
    pub hours_left: Option<f64>,
    pub damaged: u64,
    pub dropped_records: u64,
    pub dropped_readings: u64,
    /// Since the start: what flash memory wears by.
    pub written_bytes: u64,
    pub syncs: u64,
    /// Since this status was kept for the first time, over all starts.
    #[serde(default)]
    pub written_bytes_ever: u64,
    /// As set: `block` or `drop_oldest`.
    #[serde(default)]
    pub full_policy: FullPolicy,
}

impl Shown {
    fn new(stats: &Stats, options: &Options, before: u64, readings_per_s: f64, bytes_per_s: f64) -> Self {
        let max_bytes = options.max_bytes;
        let left = max_bytes.saturating_sub(stats.bytes) as f64;
        Self {
            epoch: stats.epoch,
            next_seq: stats.next_seq,
            committed_seq: stats.committed,
            bytes: stats.bytes,
            max_bytes,
            records: stats.records,
            oldest: stats.oldest,
            readings_per_s,
            bytes_per_s,
            hours_left: (bytes_per_s > 0.0).then(|| left / bytes_per_s / 3600.0),
            damaged: stats.damaged,
            dropped_records: stats.dropped_records,
            dropped_readings: stats.dropped_readings,
            written_bytes: stats.written_bytes,
            syncs: stats.syncs,
            written_bytes_ever: before + stats.written_bytes,
            full_policy: options.policy,
        }
    }
}

/// Writes the file now and then.
#[derive(Clone)]
pub struct Reporter {
    path: PathBuf,
    tenant: String,
    gateway: String,
    options: Options,
    /// Bytes written in earlier runs.
    written_before: u64,
    store: Store,
    uplink: Arc<Mutex<uplink::Shown>>,
    collectors: Vec<Arc<Mutex<collect::Shown>>>,
    remote: Remote,
    /// Readings and bytes per second.
    rates: Arc<Mutex<(f64, f64)>>,
}

impl Reporter {
    pub fn new(
        config: &Config,
        store: Store,
        uplink: Arc<Mutex<uplink::Shown>>,
        collectors: Vec<Arc<Mutex<collect::Shown>>>,
        remote: Remote,
    ) -> Self {
        let path = config.spool_dir().join(FILE);
        Self {
            written_before: known(&path).map_or(0, |known| known.spool.written_bytes_ever),
            path,
            tenant: config.uplink.tenant.clone(),
            gateway: config.uplink.gateway.clone(),
            options: config.spool.options(),
            store,
            uplink,
            collectors,
            remote,
            rates: Arc::default(),
        }
    }

    /// As it is now.
    ///
    /// # Errors
    /// When the spool can't be read.
    pub async fn status(&self, running: bool) -> anyhow::Result<Status> {
        let stats = self.store.stats().await?;
        Ok(self.with(&stats, running))
    }

    fn with(&self, stats: &Stats, running: bool) -> Status {
        let (readings_per_s, bytes_per_s) = *self.rates.lock();
        Status {
            at: Timestamp::now(),
            running,
            tenant: self.tenant.clone(),
            gateway: self.gateway.clone(),
            uplink: self.uplink.lock().clone(),
            spool: Shown::new(
                stats,
                &self.options,
                self.written_before,
                readings_per_s,
                bytes_per_s,
            ),
            collectors: self.collectors.iter().map(|shown| shown.lock().clone()).collect(),
            remote: self.remote.last(),
        }
    }

    /// # Errors
    /// When the spool can't be read. A status that can't be written is only a warning.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let (mut readings_per_s, mut bytes_per_s) = (0.0, 0.0);
        let mut before: Option<(tokio::time::Instant, Stats)> = None;
        loop {
            let stats = self.store.stats().await?;
            if let Some((at, last)) = before {
                let seconds = at.elapsed().as_secs_f64().max(0.001);
                // An average that forgets; the first measurement counts in full.
                let share = if last.written_bytes == 0 {
                    1.0
                } else {
                    (seconds / RATE_OVER_S).min(1.0)
                };
                let readings = (stats.written_readings - last.written_readings) as f64 / seconds;
                let bytes = (stats.written_bytes - last.written_bytes) as f64 / seconds;
                readings_per_s += share * (readings - readings_per_s);
                bytes_per_s += share * (bytes - bytes_per_s);
            }
            before = Some((tokio::time::Instant::now(), stats));
            let running = !stop.is_cancelled();
            *self.rates.lock() = (readings_per_s, bytes_per_s);
            let status = self.with(&stats, running);
            if let Err(error) = write(&self.path, &status) {
                tracing::warn!(error = format!("{error:#}"), "can't write the status");
            }
            if !running {
                return Ok(());
            }
            let _ = stop.run_until_cancelled(tokio::time::sleep(EVERY)).await;
        }
    }
}

/// What an earlier run, or the running agent, wrote.
fn known(path: &Path) -> Option<Status> {
    std::fs::read(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
}

fn write(path: &Path, status: &Status) -> anyhow::Result<()> {
    let temporary = path.with_extension("json.tmp");
    std::fs::write(&temporary, serde_json::to_vec_pretty(status)?)?;
    std::fs::rename(&temporary, path)?;
    Ok(())
}

/// The status as the running agent last wrote it, the spool's numbers as they are now.
///
/// # Errors
/// When there is no spool, or it can't be read.
pub fn read(config: &Config) -> anyhow::Result<Status> {
    let dir = config.spool_dir();
    let disk = OsDisk::existing(&dir)
        .with_context(|| format!("no spool in {}: has the agent ever run?", dir.display()))?;
    let known = known(&dir.join(FILE));
    let (readings_per_s, bytes_per_s) = known.as_ref().map_or((0.0, 0.0), |known| {
        (known.spool.readings_per_s, known.spool.bytes_per_s)
    });
    // Held while looking: opening a spool tidies it up.
    let unused = crate::lock(&dir).ok();
    let options = config.spool.options();
    let mut status = match known {
        Some(known) => known,
        None if unused.is_none() => anyhow::bail!(
            "the agent has just started, or can't write into {}",
            dir.display()
        ),
        None => Status {
            at: Timestamp::now(),
            running: false,
            tenant: config.uplink.tenant.clone(),
            gateway: config.uplink.gateway.clone(),
            uplink: uplink::Shown::default(),
            spool: Shown::new(&look(disk.clone(), &options)?, &options, 0, 0.0, 0.0),
            collectors: Vec::new(),
            remote: None,
        },
    };
    status.running = unused.is_none();
    if unused.is_some() {
        status.uplink.connected = false;
        let stats = look(disk, &options)?;
        let before = status.spool.written_bytes_ever;
        status.spool = Shown::new(&stats, &options, before, readings_per_s, bytes_per_s);
    }
    Ok(status)
}

/// Opens a spool that nobody uses.
fn look(disk: OsDisk, options: &Options) -> anyhow::Result<Stats> {
    let (spool, _) = Spool::open(disk, options.clone(), Timestamp::now())?;
    Ok(spool.stats()?)
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { spool, uplink, .. } = self;
        writeln!(f, "gateway     {}/{}", self.tenant, self.gateway)?;
        let state = match (self.running, uplink.connected) {
            (false, _) => "agent not running",
            (true, true) => "connected",
            (true, false) => "running, not connected",
        };
        match uplink.since {
            Some(since) if self.running => writeln!(
                f,
                "uplink      {state} since {since}, {} batches under way",
                uplink.under_way
            )?,
            _ => writeln!(f, "uplink      {state}")?,
        }
        if !uplink.url.is_empty() {
            writeln!(f, "            {}", uplink.url)?;
        }
        if self.running && uplink.backlog {
            writeln!(f, "            live readings go ahead of the backlog")?;
        }
        if let (Some(until), Some(why)) = (uplink.slow_until, &uplink.slow_reason) {
            writeln!(
                f,
                "            the receiver asks for patience until {until}: {why}"
            )?;
        }
        if let Some(error) = uplink.last_error.as_ref().filter(|_| !uplink.connected) {
            writeln!(f, "            {error}")?;
        }
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        writeln!(
            f,
            "spool       {:.1} of {:.1} MiB, {} batches wait",
            mib(spool.bytes),
            mib(spool.max_bytes),
            spool.records
        )?;
        if let Some(oldest) = spool.oldest {
            writeln!(f, "oldest      {oldest}")?;
        }
        writeln!(
            f,
            "committed   batch {} of {}, epoch {}",
            spool.committed_seq,
            spool.next_seq - 1,
            spool.epoch
        )?;
        write!(
            f,
            "rate        {:.1} readings/s, {:.0} bytes/s",
            spool.readings_per_s, spool.bytes_per_s
        )?;
        let then = match spool.full_policy {
            FullPolicy::Block => "then collectors wait",
            FullPolicy::DropOldest => "then the oldest readings are lost",
        };
        match spool.hours_left {
            Some(hours) => writeln!(f, "; without a connection it lasts {hours:.1} h, {then}")?,
            None => writeln!(f)?,
        }
        writeln!(
            f,
            "flash       {:.1} MiB written since the start, {:.1} MiB ever, {} syncs",
            mib(spool.written_bytes),
            mib(spool.written_bytes_ever),
            spool.syncs
        )?;
        if spool.damaged + spool.dropped_records > 0 {
            writeln!(
                f,
                "LOST        {} damaged places, {} batches dropped ({} readings)",
                spool.damaged, spool.dropped_records, spool.dropped_readings
            )?;
        }
        for collector in &self.collectors {
            let newest = collector
                .newest
                .map_or(String::new(), |at| format!(", newest {at}"));
            let ended = if collector.ended { ", ended" } else { "" };
            writeln!(
                f,
                "collector   {}: {} readings{newest}{ended}",
                collector.name, collector.produced
            )?;
            if let Some(state) = &collector.state {
                writeln!(f, "            {state}")?;
            }
            if let Some(error) = &collector.error {
                writeln!(f, "            FAILED {error}")?;
            }
            for (point, message) in &collector.faults {
                writeln!(f, "            FAULT  {point}: {message}")?;
            }
            if let Some(message) = &collector.last_rejected {
                writeln!(
                    f,
                    "            {} left out, the last: {message}",
                    collector.rejected
                )?;
            }
        }
        if let Some(Outcome {
            version,
            state,
            reason,
            at,
        }) = &self.remote
        {
            let state = match state {
                Verdict::Trial => "is being tried",
                Verdict::Active => "is in force",
                Verdict::RolledBack => "was taken back",
                Verdict::Refused => "was refused",
            };
            let reason = reason
                .as_ref()
                .map_or(String::new(), |reason| format!(": {reason}"));
            writeln!(f, "remote      version {version} {state} since {at}{reason}")?;
        }
        Ok(())
    }
}

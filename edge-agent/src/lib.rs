//! The agent on site: `collect` → `batch` → `spool` → `uplink`.
//!
//! Readings are on the gateway's disk, synced, before they are sent, and stay there until Forewarn
//! says that they are committed in its database. In between everything may be killed, cut or full;
//! queues are bounded, so what can't go on slows down what feeds it, back to the collectors.

pub mod batch;
pub mod bench;
pub mod check;
pub mod collect;
pub mod config;
pub mod example;
pub mod mqtt;
pub mod remote;
pub mod sink;
pub mod spool;
pub mod status;
pub mod uplink;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use models::service::supervisor::Supervisor;
use models::time::Timestamp;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use batch::Batcher;
use config::{Config, Fsync};
use remote::Remote;
use spool::Spool;
use spool::disk::OsDisk;
use spool::writer::Store;

/// Chunks between collectors and batches.
const CHUNKS: usize = 32;
/// Batches between the batcher and the disk.
const ENTRIES: usize = 8;
/// From the signal to the end.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Runs the agent until `shutdown` is cancelled.
///
/// Then it stops in order: collectors, the last batch, the disk, the connection. What is in the
/// spool goes out after the next start. A configuration from Forewarn ([`remote`]) makes it do the
/// same and begin anew.
///
/// # Errors
/// When a source or the spool can't be opened, or a task fails.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let dir = config.spool_dir();
    let disk = OsDisk::new(&dir).with_context(|| format!("spool folder {}", dir.display()))?;
    let _lock = lock(&dir)?;
    let remote = Remote::open(&config);
    loop {
        let (effective, stop) = remote.begin(&config, &shutdown)?;
        let result = round(effective, disk.clone(), remote.clone(), stop).await;
        if shutdown.is_cancelled() {
            return result;
        }
        if let Err(error) = result {
            // Of a candidate: whatever it was, the configuration before goes on.
            if !remote.roll_back(&format!("{error:#}")) {
                return Err(error);
            }
        }
    }
}

/// From one configuration to the next.
async fn round(
    config: Config,
    disk: OsDisk,
    remote: Remote,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let dir = config.spool_dir();
    let secret = config.secret()?;
    let (spool, recovery) = Spool::open(disk, config.spool.options(), Timestamp::now())
        .with_context(|| format!("spool folder {}", dir.display()))?;
    if recovery.damaged > 0 {
        tracing::error!(
            ?recovery,
            "the spool is damaged: the readings of these places are lost"
        );
    } else {
        tracing::info!(?recovery, epoch = spool.epoch(), "spool opened");
    }
    let progress = batch::read_progress(spool.resume());
    let collectors = config
        .collect
        .iter()
        .map(|collect| {
            let resume = progress.get(&collect.name()).map(Vec::as_slice);
            collect.open(&config.base, resume, Timestamp::now())
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let store = Store::new(spool);
    let uplink_shown = Arc::new(Mutex::new(uplink::Shown::default()));
    let collectors_shown = collectors
        .iter()
        .map(|collector| Arc::clone(&collector.shown))
        .collect();
    let uplink = uplink::Uplink::new(
        &config,
        secret,
        store.clone(),
        Arc::clone(&uplink_shown),
        remote.clone(),
    )?;
    let reporter = status::Reporter::new(
        &config,
        store.clone(),
        uplink_shown,
        collectors_shown,
        remote.clone(),
    );
    let page = match config.status.listen {
        Some(address) => Some(status::page::bind(address).await?),
        None => None,
    };

    // The tasks behind the collectors end when their input does, the uplink after the disk.
    let disk_done = CancellationToken::new();
    let mut supervisor = Supervisor::new(shutdown.clone());
    let (to_batcher, chunks) = mpsc::channel(CHUNKS);
    let (to_disk, entries) = mpsc::channel(ENTRIES);
    for collector in collectors {
        supervisor.spawn("collector", collector.run(to_batcher.clone(), shutdown.clone()));
    }
    // Without any collector the agent still empties its spool.
    let stop = shutdown.clone();
    supervisor.spawn("keep open", async move {
        stop.cancelled().await;
        drop(to_batcher);
        Ok(())
    });
    let batcher = Batcher::new(config.batch.level, progress);
    supervisor.spawn(
        "batch",
        batch::run(
            batcher,
            chunks,
            to_disk,
            config.batch.max_readings,
            config.batch.max_age(),
        ),
    );
    let group = match config.spool.fsync {
        Fsync::Each => None,
        Fsync::Group => Some(Duration::from_millis(config.spool.group_ms)),
    };
    let (writer, done) = (store.clone(), disk_done.clone());
    supervisor.spawn("spool", async move {
        let _done = done.drop_guard();
        writer.write_all(entries, group).await
    });
    supervisor.spawn("uplink", uplink.run(disk_done.clone()));
    if let Some(page) = page {
        supervisor.spawn(
            "status page",
            status::page::serve(page, reporter.clone(), shutdown.clone()),
        );
    }
    supervisor.spawn("status", reporter.run(disk_done));
    let stop = shutdown.clone();
    supervisor.spawn("remote configuration", async move {
        if stop.run_until_cancelled(remote.trial_is_over()).await.is_some() {
            remote.roll_back("the receiver didn't answer in time");
        }
        stop.cancelled().await;
        Ok(())
    });
    supervisor.run(STOP_WITHIN).await
}

/// Two agents in one spool would give one number to two batches.
fn lock(dir: &std::path::Path) -> anyhow::Result<std::fs::File> {
    let path = dir.join("lock");
    let file = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            anyhow::bail!("another forewarn-edge uses the spool folder {}", dir.display())
        }
        Err(error) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

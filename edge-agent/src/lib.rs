//! The agent on site: `collect` → `batch` → `spool` → `uplink`.
//!
//! Readings are on the gateway's disk, synced, before they are sent, and stay there until Forewarn
//! says that they are committed in its database. In between everything may be killed, cut or full;
//! queues are bounded, so what can't go on slows down what feeds it, back to the collectors.

pub mod batch;
pub mod bench;
pub mod collect;
pub mod config;
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
/// spool goes out after the next start.
///
/// # Errors
/// When a source or the spool can't be opened, or a task fails.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let secret = config.secret()?;
    let dir = config.spool_dir();
    let disk = OsDisk::new(&dir).with_context(|| format!("spool folder {}", dir.display()))?;
    let _lock = lock(&dir)?;
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
    let mut generators = Vec::new();
    for collect in &config.collect {
        let name = collect.name();
        let resume = progress.get(&name).map(Vec::as_slice);
        let generator = collect.open(&config.base, resume, Timestamp::now())?;
        let shown = collect::Shown {
            name: name.clone(),
            produced: generator.produced(),
            ..collect::Shown::default()
        };
        generators.push((Arc::<str>::from(name), generator, Arc::new(Mutex::new(shown))));
    }
    let store = Store::new(spool);
    let uplink_shown = Arc::new(Mutex::new(uplink::Shown::default()));
    let collectors_shown = generators.iter().map(|(.., shown)| Arc::clone(shown)).collect();

    // The tasks behind the collectors end when their input does, the uplink after the disk.
    let disk_done = CancellationToken::new();
    let mut supervisor = Supervisor::new(shutdown.clone());
    let (to_batcher, chunks) = mpsc::channel(CHUNKS);
    let (to_disk, entries) = mpsc::channel(ENTRIES);
    for (name, generator, shown) in generators {
        supervisor.spawn(
            "collector",
            collect::run(name, generator, to_batcher.clone(), shown, shutdown.clone()),
        );
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
    let uplink = uplink::Uplink::new(
        config.uplink.clone(),
        secret,
        store.clone(),
        Arc::clone(&uplink_shown),
    );
    supervisor.spawn("uplink", uplink.run(disk_done.clone()));
    let reporter = status::Reporter::new(&config, store, uplink_shown, collectors_shown);
    supervisor.spawn("status", reporter.run(disk_done));
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

//! The spool for tasks: one writer with group sync, readers that wait for what is new.

use std::sync::Arc;
use std::time::Duration;

use models::time::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::disk::OsDisk;
use super::{AppendError, Entry, Record, Spool, Stats};
use crate::batch::Kept;

/// Pause after the disk refused something.
const DISK_RETRY: Duration = Duration::from_secs(1);
/// Batches that may wait for one sync.
const GROUP: usize = 64;

/// A batch to write, and who waits for it to be safe.
#[derive(Debug)]
pub struct Job {
    pub entry: Entry,
    pub kept: Vec<Kept>,
}

/// A spool that tasks share.
#[derive(Clone)]
pub struct Store {
    spool: Arc<Mutex<Spool<OsDisk>>>,
    /// Something new can be read.
    appended: Arc<Notify>,
    /// The receiver has committed something: there may be room.
    committed: Arc<Notify>,
    /// Who waits for the next sync.
    waiting: Arc<Mutex<Vec<Kept>>>,
}

impl Store {
    pub fn new(spool: Spool<OsDisk>) -> Self {
        Self {
            spool: Arc::new(Mutex::new(spool)),
            appended: Arc::default(),
            committed: Arc::default(),
            waiting: Arc::default(),
        }
    }

    async fn with<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Spool<OsDisk>) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let spool = Arc::clone(&self.spool);
        Ok(tokio::task::spawn_blocking(move || f(&mut spool.lock())).await?)
    }

    /// Up to `max` records after `after`.
    ///
    /// # Errors
    /// When the disk can't be read.
    pub async fn read(&self, after: u64, max: usize) -> anyhow::Result<Vec<Record>> {
        let records = self
            .with(move |spool| {
                let mut records = Vec::new();
                let mut after = after;
                while records.len() < max
                    && let Some(record) = spool.read(after)?
                {
                    after = record.seq;
                    records.push(record);
                }
                Ok::<_, std::io::Error>(records)
            })
            .await??;
        Ok(records)
    }

    /// As [`Spool::commit`].
    ///
    /// # Errors
    /// As there.
    pub async fn commit(&self, epoch: u64, seq: u64) -> anyhow::Result<bool> {
        let news = self
            .with(move |spool| spool.commit(epoch, seq, Timestamp::now()))
            .await??;
        if news {
            self.committed.notify_one();
        }
        Ok(news)
    }

    /// # Errors
    /// When the disk can't be read.
    pub async fn stats(&self) -> anyhow::Result<Stats> {
        Ok(self.with(|spool| spool.stats()).await??)
    }

    pub fn epoch(&self) -> u64 {
        self.spool.lock().epoch()
    }

    pub fn watermark(&self) -> u64 {
        self.spool.lock().committed()
    }

    pub fn newest(&self) -> u64 {
        self.spool.lock().newest()
    }

    pub fn first_seq(&self) -> u64 {
        self.spool.lock().first_seq()
    }

    pub fn note_committed(&self) {
        self.spool.lock().note_committed();
    }

    /// Returns when something was appended since the last call returned.
    pub async fn appended(&self) {
        self.appended.notified().await;
    }

    /// Writes what comes until the channel closes. A full spool or a full disk holds up the channel,
    /// and so whoever sends; nothing that was received is given up.
    ///
    /// `group` is how long to gather batches for one sync; `None` syncs each.
    ///
    /// # Errors
    /// Only for a batch that can never fit.
    pub async fn write_all(
        &self,
        mut entries: mpsc::Receiver<Job>,
        group: Option<Duration>,
    ) -> anyhow::Result<()> {
        while let Some(first) = entries.recv().await {
            let mut batch = vec![first];
            if let Some(window) = group {
                let end = tokio::time::Instant::now() + window;
                while batch.len() < GROUP {
                    match tokio::time::timeout_at(end, entries.recv()).await {
                        Ok(Some(entry)) => batch.push(entry),
                        Ok(None) | Err(_) => break,
                    }
                }
            }
            self.write(batch).await?;
        }
        Ok(())
    }

    async fn write(&self, mut batch: Vec<Job>) -> anyhow::Result<()> {
        let mut complained = None;
        loop {
            let spool = Arc::clone(&self.spool);
            let waiting = Arc::clone(&self.waiting);
            let (rest, result) =
                tokio::task::spawn_blocking(move || append_and_sync(&spool, &waiting, batch)).await?;
            self.appended.notify_one();
            batch = rest;
            let Err(error) = result else { return Ok(()) };
            let (said, wait): (&str, Option<Duration>) = match &error {
                AppendError::TooLarge { .. } => return Err(error.into()),
                AppendError::Full => ("full", None),
                AppendError::Io(_) => ("disk", Some(DISK_RETRY)),
            };
            if complained != Some(said) {
                complained = Some(said);
                let chain = format!("{:#}", anyhow::Error::new(error));
                tracing::warn!(error = chain, "can't write to the spool: collectors wait");
            }
            match wait {
                None => self.committed.notified().await,
                Some(pause) => tokio::time::sleep(pause).await,
            }
        }
    }
}

/// Appends what it can and syncs that, without holding the lock meanwhile. Returns what is left.
///
/// Who waits for a batch is told after the sync; after one that failed only with the next that doesn't,
/// because its records are still in memory then.
fn append_and_sync(
    spool: &Mutex<Spool<OsDisk>>,
    waiting: &Mutex<Vec<Kept>>,
    mut batch: Vec<Job>,
) -> (Vec<Job>, Result<(), AppendError>) {
    let mut result = Ok(());
    let mut done = 0;
    for job in &batch {
        result = spool.lock().append(&job.entry, Timestamp::now()).map(|_| ());
        if result.is_err() {
            break;
        }
        done += 1;
    }
    waiting
        .lock()
        .extend(batch.drain(..done).flat_map(|job| job.kept));
    let ticket = spool.lock().begin_sync(Timestamp::now());
    let synced = match ticket {
        Ok(Some(ticket)) => {
            let synced = ticket.sync();
            spool.lock().finish_sync(&ticket, synced, Timestamp::now())
        }
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if synced.is_ok() {
        for kept in std::mem::take(&mut *waiting.lock()) {
            // Gone when whoever waited has given up.
            let _ = kept.send(());
        }
    }
    (batch, result.and(synced.map_err(AppendError::Io)))
}

//! Files in bulk: CSV (wide and long), Parquet, InfluxDB line protocol, standard input.
//!
//! A file goes the way of everything else: names by the register of a gateway, units and times by
//! the same checks, the writer's one transaction with COPY, ledger and dead letters. Reading and
//! parsing happen on a thread of their own while the database copies.
//!
//! **Resuming.** A file is cut into chunks of a fixed number of records, numbered from 1, and goes in
//! as a sequence of its own: its epoch is a hash of the file's ends, its length and the mapping. The
//! cursor moves in the transaction that stores a chunk, so a second run of the same command passes
//! what is committed and goes on, wherever the first one was killed. Nothing is stored twice, and the
//! ledger counts each record once. `again` asks for a new epoch: everything is looked at anew.
//!
//! **Errors** name the file, line and column; what is wrong is kept as dead letters under the topic
//! `import/FILE`, the rest is stored.

mod columns;
mod csv_file;
mod files;
mod lines;
mod mapping;
mod parquet_file;
#[cfg(test)]
mod tests;
mod time;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use models::db::{history, ledger::Entry, registry as register};
use models::id::GatewayId;
use models::time::Timestamp;
use serde::Serialize;
use sqlx::PgPool;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::codec::{Decoded, Envelope, Format, Reject};
use crate::config::Config;
use crate::limit_alarm::LimitAlarms;
use crate::registry::{Gateway, Registry};
use crate::validate::TimeLimits;
use crate::writer::{Failure, Payload, Prepared, run_transaction};

pub use files::{FileFormat, expand};
pub use mapping::{ColumnMap, Mapping};

/// What to import.
#[derive(Clone, Debug)]
pub struct Options {
    /// Files; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// `None`: by the file's name.
    pub format: Option<FileFormat>,
    pub mapping: Mapping,
    /// Look at everything, store nothing.
    pub dry_run: bool,
    /// Import what was imported before once more.
    pub again: bool,
    /// Records of a chunk, at least 1; a wide table's are fewer by its width.
    pub chunk: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            format: None,
            mapping: Mapping::default(),
            dry_run: false,
            again: false,
            chunk: 100_000,
        }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    pub bytes: u64,
    /// 0 = nobody knows.
    pub bytes_in_all: u64,
    pub readings: u64,
}

/// What was done; for people and, as JSON, for programs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    pub files: usize,
    /// Lines or rows looked at by this run.
    pub records: u64,
    /// Chunks that an earlier run had committed.
    pub chunks_passed: u64,
    pub received: i64,
    pub stored: i64,
    pub duplicate: i64,
    pub conflict: i64,
    pub rejected: i64,
    /// The first of what was rejected, with file, line and column.
    pub errors: Vec<String>,
    pub seconds: f64,
    pub dry_run: bool,
}

const ERRORS_SHOWN: usize = 20;

/// A part of a file, numbered.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub decoded: Decoded,
    pub records: u64,
    /// Bytes of the file up to here.
    pub bytes: u64,
}

/// Reads a file chunk by chunk.
pub(crate) trait Source: Send {
    /// The next chunk; `None` at the end. With `skip` its content is not looked at.
    ///
    /// # Errors
    /// When the file can't be read any further at all.
    fn next(&mut self, skip: bool) -> anyhow::Result<Option<Chunk>>;
}

/// Imports all files, one after the other. `progress` is called after each chunk.
///
/// # Errors
/// When a file can't be read or the database refuses; the message says how to go on. What was
/// committed stays, and the same call goes on after it.
pub async fn run(
    pool: &PgPool,
    config: &Config,
    gateway: GatewayId,
    options: &Options,
    mut progress: impl FnMut(Progress),
) -> anyhow::Result<Report> {
    let started = Instant::now();
    let mut connection = pool.acquire().await?;
    let row = register::gateway(&mut connection, gateway)
        .await?
        .context("the gateway to import for is not registered")?;
    drop(connection);
    let mut import = Import {
        pool,
        gateway: Arc::new(Gateway {
            id: row.gateway_id,
            tenant: row.tenant_id,
            tenant_slug: row.tenant_slug,
            slug: row.slug,
            max_channels: row.max_channels,
        }),
        registry: Registry::new(Duration::from_secs(config.register_max_age_s)),
        alarms: LimitAlarms::new(
            Duration::from_secs(config.register_max_age_s),
            Duration::from_secs(config.alarms.max_age_s),
        ),
        limits: TimeLimits {
            future_s: config.future_limit_s,
            ancient: config.ancient_limit,
        },
        patience: Duration::from_secs(config.writer.transaction_timeout_s),
        report: Report {
            dry_run: options.dry_run,
            ..Report::default()
        },
    };
    let sizes: Vec<u64> = options.files.iter().map(|path| files::size(path)).collect();
    let in_all = if sizes.contains(&0) { 0 } else { sizes.iter().sum() };
    let mut before = 0;
    for (path, size) in options.files.iter().zip(sizes) {
        import
            .file(path.clone(), options, |bytes, report| {
                progress(Progress {
                    bytes: before + bytes,
                    bytes_in_all: in_all,
                    readings: report.received.unsigned_abs(),
                });
            })
            .await
            .with_context(|| path.display().to_string())?;
        before += size;
    }
    import.report.seconds = started.elapsed().as_secs_f64();
    Ok(import.report)
}

struct Import<'a> {
    pool: &'a PgPool,
    gateway: Arc<Gateway>,
    registry: Registry,
    alarms: LimitAlarms,
    limits: TimeLimits,
    patience: Duration,
    report: Report,
}

impl Import<'_> {
    async fn file(
        &mut self,
        path: PathBuf,
        options: &Options,
        mut progress: impl FnMut(u64, &Report),
    ) -> anyhow::Result<()> {
        let name = files::name(&path);
        let epoch = files::epoch(&path, options)?;
        let passed = if options.dry_run || options.again {
            0
        } else {
            let mut connection = self.pool.acquire().await?;
            history::import::progress(&mut connection, self.gateway.id, epoch).await?
        };
        let (to, mut chunks) = mpsc::channel(2);
        let (options, limits) = (options.clone(), self.limits);
        let dry_run = options.dry_run;
        let reading = tokio::task::spawn_blocking(move || {
            let mut source = files::open(&path, &options, limits)?;
            for seq in 1_u64.. {
                let skip = seq <= passed;
                let Some(chunk) = source.next(skip)? else { break };
                // The other end is gone after an error of its own.
                if to.blocking_send((seq, skip, chunk)).is_err() {
                    break;
                }
            }
            anyhow::Ok(())
        });
        while let Some((seq, skip, chunk)) = chunks.recv().await {
            if skip {
                self.report.chunks_passed += 1;
            } else {
                self.report.records += chunk.records;
                self.note(&chunk.decoded.rejects);
                let envelope = Envelope { epoch, seq, floor: 1 };
                if dry_run {
                    self.look_at(chunk.decoded).await?;
                } else {
                    self.store(&name, envelope, chunk.decoded).await?;
                }
            }
            progress(chunk.bytes, &self.report);
        }
        reading.await.context("the reader panicked")??;
        self.report.files += 1;
        Ok(())
    }

    fn note(&mut self, rejects: &[Reject]) {
        let room = ERRORS_SHOWN.saturating_sub(self.report.errors.len());
        self.report
            .errors
            .extend(rejects.iter().take(room).map(|reject| reject.detail.clone()));
    }

    async fn store(&mut self, name: &str, envelope: Envelope, mut decoded: Decoded) -> anyhow::Result<()> {
        decoded.envelope = Some(envelope);
        self.registry
            .prepare(self.pool, &self.gateway, &[&decoded])
            .await
            .context("registering channels")?;
        let before = decoded.rejects.len();
        let payload = Payload {
            gateway: self.gateway.clone(),
            topic: format!("import/{name}"),
            received_at: Timestamp::now(),
            raw: Bytes::new(),
            format: Format::Readings,
            decoded: Ok(decoded),
            reply: None,
            permit: None,
        };
        let prepared = Prepared::new(payload, self.registry.names(self.gateway.id), self.limits);
        if prepared.rejected > before {
            let letters: Vec<String> = prepared
                .letters()
                .iter()
                .map(|letter| letter.detail.clone())
                .collect();
            let room = ERRORS_SHOWN.saturating_sub(self.report.errors.len());
            self.report.errors.extend(letters.into_iter().take(room));
        }
        let totals = self.commit(&prepared).await?;
        let report = &mut self.report;
        report.received += totals.received;
        report.stored += totals.stored;
        report.duplicate += totals.duplicate;
        report.conflict += totals.conflict;
        report.rejected += totals.rejected;
        Ok(())
    }

    async fn commit(&mut self, prepared: &Prepared) -> anyhow::Result<Entry> {
        let token = Uuid::now_v7();
        let mut seen = None;
        for attempt in 0..8_u32 {
            let payloads = std::slice::from_ref(prepared);
            let error =
                match run_transaction(self.pool, token, payloads, &mut self.alarms, self.patience).await {
                    Ok(done) => return Ok(done.totals),
                    Err(Failure::CommittedBefore) => return Ok(seen.unwrap_or_default()),
                    Err(Failure::DuringCommit(error, done)) => {
                        seen = Some(done.totals);
                        error
                    }
                    Err(Failure::Before(error)) if models::db::is_retryable(&error) => error,
                    Err(Failure::Before(error)) => {
                        return Err(error).context("the database refuses a chunk; nothing of it is stored");
                    }
                };
            self.alarms.forget();
            tracing::warn!(%error, attempt, "the database can't take a chunk: trying again");
            tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
        }
        bail!("the database is away; run the same command again, it goes on where it stopped")
    }

    /// The checks of a store without one.
    async fn look_at(&mut self, decoded: Decoded) -> anyhow::Result<()> {
        let names = columns::DryNames::load(self.pool, &self.gateway, &decoded).await?;
        let received = decoded.readings();
        let before = decoded.rejects.len();
        let valid = crate::validate::validate(decoded, &names, self.limits, Timestamp::now());
        self.note(&valid.rejects[before.min(valid.rejects.len())..]);
        self.report.received += received as i64;
        self.report.rejected += valid.rejects.len() as i64;
        Ok(())
    }
}

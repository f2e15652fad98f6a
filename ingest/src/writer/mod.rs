//! Payloads of many connections → transactions.
//!
//! Every gateway belongs to one writer, so its payloads are committed in the order they came and
//! no two writers lock the same cursor. A writer merges what arrives until it has enough readings,
//! bytes or payloads, or the first of them is old enough; then it writes them in one transaction
//! ([`transaction`]), and only then answers.
//!
//! **A database that is away, full, slow or misconfigured** means waiting: the same transaction is
//! tried again with exponential back-off and full jitter, the payloads stay unacknowledged, the
//! connections stop reading their sockets. There is no other buffer to overflow.
//!
//! **A commit nobody saw the end of** (the connection broke during COMMIT) is run again with the
//! same token, which is the transaction's first statement: when it is there already, the first run
//! was committed and its results, remembered, are the answer. So the ledger counts each payload
//! once, plain messages included.
//!
//! **A payload the database refuses** (SQLSTATE classes 22 and 23, which speak of data) is looked
//! for by halving the transaction, and goes to the dead letters with the database's words.
//!
//! A plain message without a time stamp gets its time of receipt. When its PUBACK is lost and the
//! client sends it again, it is stored again, with the later time: only a time stamp or a batch
//! number can tell a repetition from a new reading.

mod account;
mod beside;
mod cursors;
mod feedback;
mod prepared;
mod readings;
mod transaction;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use models::id::GatewayId;
use models::time::Timestamp;
use models::wire::{Committed, Refusal};
use rand::Rng;
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::codec::{Decoded, Format, Undecodable};
use crate::config::Config;
use crate::front_door::hub::Hub;
use crate::limit_alarm::LimitAlarms;
use crate::metrics;
use crate::registry::{Gateway, Registry};
use crate::validate::TimeLimits;

pub(crate) use feedback::tell_refused;
pub(crate) use prepared::Prepared;
pub(crate) use transaction::{Done, Failure, replay_one, run as run_transaction};

/// What became of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    /// Kept whole, or in part, as a dead letter. Acknowledged all the same.
    DeadLettered,
    /// Neither stored nor kept: the connection must end without an acknowledgement.
    Abandoned,
}

/// Where the answer goes. Room for it was made when the payload was taken.
#[derive(Debug)]
pub struct Reply {
    pub number: u64,
    pub to: mpsc::Sender<(u64, Outcome)>,
}

/// One message of a gateway.
#[derive(Debug)]
pub struct Payload {
    pub gateway: Arc<Gateway>,
    pub topic: String,
    pub received_at: Timestamp,
    pub raw: Bytes,
    pub format: Format,
    pub decoded: Result<Decoded, Undecodable>,
    pub reply: Option<Reply>,
    /// Its share of the bytes in flight; given back when it is answered.
    pub permit: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Payload {
    pub(crate) fn readings(&self) -> usize {
        self.decoded
            .as_ref()
            .map_or(1, |decoded| decoded.readings().max(1))
    }
}

/// Stopped before it was committed: nothing was answered, the gateways will send it again.
#[derive(Debug, thiserror::Error)]
#[error("stopped while the database was away")]
pub(crate) struct Stopped;

pub struct Writer {
    pool: PgPool,
    config: Arc<Config>,
    hub: Hub,
    registry: Registry,
    alarms: LimitAlarms,
    shutdown: CancellationToken,
    stopping_since: Option<Instant>,
}

impl Writer {
    pub fn new(pool: PgPool, config: Arc<Config>, hub: Hub, shutdown: CancellationToken) -> Self {
        let age = Duration::from_secs(config.register_max_age_s);
        let alarms = LimitAlarms::new(age, Duration::from_secs(config.alarms.max_age_s));
        Self {
            registry: Registry::new(age),
            alarms,
            pool,
            config,
            hub,
            shutdown,
            stopping_since: None,
        }
    }

    /// Works until every sender is gone and everything they sent is answered.
    ///
    /// # Errors
    /// Never because of the database while the service runs.
    pub async fn run(mut self, mut payloads: mpsc::Receiver<Payload>) -> anyhow::Result<()> {
        let mut batch = Vec::new();
        while let Some(first) = payloads.recv().await {
            self.collect(first, &mut payloads, &mut batch).await;
            if self.write(std::mem::take(&mut batch)).await.is_err() {
                tracing::warn!("stopping while the database is away: what is in flight stays unacknowledged");
                payloads.close();
            }
        }
        Ok(())
    }

    /// Fills `batch` until it is large enough or its first payload is old enough. What waits already
    /// is taken first, so that under load nobody looks at the clock; and nobody waits for a gateway
    /// whose window is used up: it can send nothing more before it is answered.
    async fn collect(
        &self,
        first: Payload,
        payloads: &mut mpsc::Receiver<Payload>,
        batch: &mut Vec<Payload>,
    ) {
        let limits = &self.config.writer;
        let mut size = Size::default();
        let waited = Timestamp::now().micros() - first.received_at.micros();
        let waited = Duration::from_micros(u64::try_from(waited).unwrap_or(0));
        let left = Duration::from_millis(limits.batch_age_ms).saturating_sub(waited);
        size.add(&first);
        batch.push(first);
        let deadline = tokio::time::sleep(left);
        tokio::pin!(deadline);
        while !size.full(limits) {
            let next = match payloads.try_recv() {
                Ok(next) => next,
                Err(_) if size.largest_window >= usize::from(self.config.limits.in_flight) => return,
                Err(_) => tokio::select! {
                    next = payloads.recv() => match next {
                        Some(next) => next,
                        None => return,
                    },
                    () = &mut deadline => return,
                    () = self.shutdown.cancelled() => return,
                },
            };
            size.add(&next);
            batch.push(next);
        }
    }

    async fn write(&mut self, payloads: Vec<Payload>) -> Result<(), Stopped> {
        let mut prepared = self.prepare(payloads).await?;
        let patience = Duration::from_secs(self.config.writer.transaction_timeout_s);
        let rows = prepared.iter().map(Prepared::received).sum();
        metrics::batch(prepared.len(), rows);
        // Parts still to be written, first part last.
        let mut parts = Vec::new();
        parts.push(0..prepared.len());
        while let Some(part) = parts.pop() {
            let token = Uuid::now_v7();
            let mut seen: Option<Done> = None;
            let mut attempt = 0;
            loop {
                let started = Instant::now();
                let payloads = &prepared[part.clone()];
                let failure =
                    match run_transaction(&self.pool, token, payloads, &mut self.alarms, patience).await {
                        Ok(done) => {
                            metrics::committed(started.elapsed(), &done);
                            self.answer(&mut prepared[part.clone()], done).await;
                            break;
                        }
                        Err(failure) => failure,
                    };
                self.alarms.forget();
                match failure {
                    Failure::CommittedBefore => {
                        tracing::info!("a commit whose end was not seen had succeeded");
                        let done = seen.take().unwrap_or_else(|| Done::unseen(part.len()));
                        metrics::committed(started.elapsed(), &done);
                        self.answer(&mut prepared[part.clone()], done).await;
                        break;
                    }
                    Failure::DuringCommit(error, done) => {
                        seen = Some(*done);
                        self.back_off(&mut attempt, &error).await?;
                    }
                    Failure::Before(error) if !speaks_of_data(&error) => {
                        // The register may be what is out of date.
                        for payload in &prepared[part.clone()] {
                            self.registry.forget(payload.gateway().id);
                        }
                        self.back_off(&mut attempt, &error).await?;
                    }
                    Failure::Before(error) if part.len() > 1 => {
                        tracing::warn!(%error, payloads = part.len(), "the database refuses something in a transaction: halving it");
                        let middle = part.start + part.len() / 2;
                        parts.push(middle..part.end);
                        parts.push(part.start..middle);
                        break;
                    }
                    Failure::Before(error) => {
                        let payload = &mut prepared[part.start];
                        if payload.is_refused() {
                            tracing::error!(%error, gateway = %payload.gateway().id, "can't even keep a dead letter: closing the connection");
                            metrics::abandoned();
                            payload.reply(Outcome::Abandoned);
                            break;
                        }
                        tracing::error!(%error, gateway = %payload.gateway().id, topic = payload.topic(), "the database refuses a payload: keeping it as a dead letter");
                        payload.refuse("refused_by_database", &error.to_string());
                        parts.push(part.clone());
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    async fn prepare(&mut self, payloads: Vec<Payload>) -> Result<Vec<Prepared>, Stopped> {
        let mut of_gateway: HashMap<GatewayId, (Arc<Gateway>, Vec<&Decoded>)> = HashMap::new();
        for payload in &payloads {
            let (_, decoded) = of_gateway
                .entry(payload.gateway.id)
                .or_insert_with(|| (payload.gateway.clone(), Vec::new()));
            decoded.extend(payload.decoded.as_ref().ok());
        }
        for (gateway, decoded) in of_gateway.values() {
            let mut attempt = 0;
            while let Err(error) = self.registry.prepare(&self.pool, gateway, decoded).await {
                back_off(
                    &mut self.stopping_since,
                    &self.config,
                    &self.shutdown,
                    &mut attempt,
                    &error,
                )
                .await?;
            }
        }
        drop(of_gateway);
        let limits = TimeLimits {
            future_s: self.config.future_limit_s,
            ancient: self.config.ancient_limit,
        };
        Ok(payloads
            .into_iter()
            .map(|payload| {
                let names = self.registry.names(payload.gateway.id);
                Prepared::new(payload, names, limits)
            })
            .collect())
    }

    /// Answers and tells the gateways what is committed.
    async fn answer(&self, prepared: &mut [Prepared], done: Done) {
        for (payload, outcome) in prepared.iter_mut().zip(&done.outcomes) {
            payload.reply(*outcome);
            for letter in payload.letters() {
                let refusal = Refusal {
                    topic: letter.topic.clone(),
                    reason: letter.reason.clone(),
                    detail: letter.detail.clone(),
                    dead_letter: Some(letter.id),
                    ..Refusal::default()
                };
                tell_refused(&self.hub, payload.gateway(), &refusal);
            }
        }
        for (gateway, committed) in done.committed {
            self.hub.committed(
                gateway,
                Committed {
                    epoch: committed.epoch,
                    seq: committed.seq,
                },
            );
        }
    }

    async fn back_off(&mut self, attempt: &mut u32, error: &sqlx::Error) -> Result<(), Stopped> {
        back_off(
            &mut self.stopping_since,
            &self.config,
            &self.shutdown,
            attempt,
            error,
        )
        .await
    }
}

/// Waits before the next attempt: exponentially longer, with full jitter, 5 s at most.
async fn back_off(
    stopping_since: &mut Option<Instant>,
    config: &Config,
    shutdown: &CancellationToken,
    attempt: &mut u32,
    error: &sqlx::Error,
) -> Result<(), Stopped> {
    if matches!(error, sqlx::Error::PoolClosed) {
        return Err(Stopped);
    }
    if shutdown.is_cancelled() {
        let since = *stopping_since.get_or_insert_with(Instant::now);
        if since.elapsed() > Duration::from_secs(config.shutdown_s) {
            return Err(Stopped);
        }
    }
    metrics::retried();
    let most = Duration::from_millis(50)
        .saturating_mul(1 << (*attempt).min(7))
        .min(Duration::from_secs(5));
    *attempt += 1;
    if *attempt == 1 || attempt.is_multiple_of(10) {
        tracing::warn!(
            error = format!("{:#}", anyhow::anyhow!(error.to_string())),
            attempt,
            "the database can't take readings: waiting, gateways are held back"
        );
    }
    let pause = rand::rng().random_range(Duration::from_millis(5)..=most);
    tokio::time::sleep(pause).await;
    Ok(())
}

/// How large a batch has become.
#[derive(Default)]
struct Size {
    rows: usize,
    bytes: usize,
    payloads: usize,
    of_gateway: HashMap<GatewayId, usize>,
    /// Most payloads of one gateway.
    largest_window: usize,
}

impl Size {
    fn add(&mut self, payload: &Payload) {
        self.rows += payload.readings();
        self.bytes += payload.raw.len();
        self.payloads += 1;
        let window = self.of_gateway.entry(payload.gateway.id).or_default();
        *window += 1;
        self.largest_window = self.largest_window.max(*window);
    }

    fn full(&self, limits: &crate::config::Writer) -> bool {
        self.rows >= limits.batch_rows
            || self.bytes >= limits.batch_bytes
            || self.payloads >= limits.batch_payloads
    }
}

/// Whether the error is about the data of this transaction, so that trying again is no use.
fn speaks_of_data(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(database) => database
            .code()
            .is_some_and(|code| code.starts_with("22") || code.starts_with("23")),
        sqlx::Error::Encode(_) => true,
        _ => false,
    }
}

//! What leaves, and what time alone makes happen: webhooks, messages, service levels, parts set aside.
//!
//! A reconciler, as dispatch is: it looks at what the database says, does what is missing, and doing it
//! again does nothing. It is woken by the outbox's notification and by a timer, acts for one tenant
//! after the other under row-level security, and may run in any number of processes: rows are taken
//! with SKIP LOCKED, what may happen once is a unique key.
//!
//! Calls are made outside of transactions. A delivery is taken for [`LEASE`]; a process that dies with
//! it leaves it to the next one, so a receiver may hear of an event twice, under the same id.

mod call;
pub mod config;
mod mail;
mod seal;
mod sign;

use std::time::{Duration, Instant};

use futures::StreamExt;
use models::db::webhook::{self, Claimed, Outcome};
use models::db::{act_for, is_retryable, notification, outbox, parts, sla, webhook_secret};
use models::id::TenantId;
use models::time::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio_util::sync::CancellationToken;

pub use call::{CallError, Caller, check_url};
pub use config::Outbound;
pub use mail::Mailer;
pub use seal::{OpenError, Seal};
pub use sign::{new_secret, signature};

/// How long a delivery stays in one process's hands.
const LEASE: Duration = Duration::from_secs(120);
/// Calls at the same time.
const CALLS: usize = 8;
/// Deliveries taken at a time; all are called well within the lease.
const BATCH: i64 = 40;
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
const SETTLE: Duration = Duration::from_millis(100);

/// What one pass did, summed over the tenants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub announced: usize,
    pub set_aside: usize,
    pub shortages: usize,
    pub deliveries: u64,
    pub lines: u64,
    pub delivered: usize,
    pub failed: usize,
    pub sent: usize,
    pub unsent: usize,
}

/// What a look at the signing secrets found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Sealed anew.
    pub sealed: u64,
    /// Readable in the database, because there is no key.
    pub clear: u64,
    /// Sealed with a key that is not there, or damaged.
    pub closed: u64,
}

/// Sends.
pub struct Sender {
    pool: PgPool,
    caller: Caller,
    mailer: Option<Mailer>,
    seal: Seal,
    keep: f64,
}

impl Sender {
    /// `pool` acts in the API's role.
    ///
    /// # Errors
    /// Names the key of the configuration that is wrong.
    pub fn new(config: &Outbound, pool: PgPool) -> anyhow::Result<Self> {
        config.check()?;
        Ok(Self {
            pool,
            caller: Caller::new(config.networks()?, Duration::from_secs(config.timeout_s)),
            mailer: Mailer::new(&config.mail)?,
            seal: config.seal()?,
            keep: config.keep_days * 86_400.0,
        })
    }

    /// One pass over all tenants at the moment `now`.
    ///
    /// # Errors
    /// When the database does; what was done before stays done.
    pub async fn pass(&self, now: Timestamp) -> Result<Report, sqlx::Error> {
        let mut report = Report::default();
        let tenants = webhook::tenants(&mut *self.pool.acquire().await?).await?;
        for tenant in tenants {
            self.look(tenant, now, &mut report).await?;
            self.deliver(tenant, now, &mut report).await?;
            self.message(tenant, now, &mut report).await?;
        }
        Ok(report)
    }

    /// What happened becomes deliveries and lines.
    async fn look(&self, tenant: TenantId, now: Timestamp, report: &mut Report) -> Result<(), sqlx::Error> {
        let mut tx = self.pool.begin().await?;
        act_for(&mut tx, tenant).await?;
        report.announced += sla::announce(&mut tx, tenant, now).await?;
        let (aside, _, short) = parts::plan_ahead(&mut tx, tenant, now).await?;
        report.set_aside += aside;
        report.shortages += short;
        tx.commit().await?;
        // A second transaction: what the first one told is visible to the outbox's readers only now.
        let mut tx = self.pool.begin().await?;
        act_for(&mut tx, tenant).await?;
        report.deliveries += webhook::fan_out(&mut tx, tenant, now).await?;
        report.lines += notification::fan_out(&mut tx, tenant, now).await?;
        tx.commit().await
    }

    async fn deliver(
        &self,
        tenant: TenantId,
        now: Timestamp,
        report: &mut Report,
    ) -> Result<(), sqlx::Error> {
        loop {
            let mut tx = self.pool.begin().await?;
            act_for(&mut tx, tenant).await?;
            let claimed = webhook::claim(&mut tx, tenant, now, now + LEASE, BATCH).await?;
            tx.commit().await?;
            let full = claimed.len() as i64 == BATCH;
            let calls: Vec<_> = claimed.into_iter().map(|one| self.call(one, now)).collect();
            let done: Vec<(Claimed, Outcome)> = futures::stream::iter(calls)
                .buffer_unordered(CALLS)
                .collect()
                .await;
            for (one, outcome) in done {
                let good = outcome.is_success();
                let result = if good { "delivered" } else { "failed" };
                metrics::counter!("forewarn_api_webhook_calls_total", "result" => result).increment(1);
                if good {
                    report.delivered += 1;
                } else {
                    report.failed += 1;
                    tracing::info!(delivery = %one.id, status = outcome.status, error = outcome.error, "a webhook call failed");
                }
                let mut tx = self.pool.begin().await?;
                act_for(&mut tx, tenant).await?;
                webhook::settle(&mut tx, tenant, &one, &outcome, rand::random(), now).await?;
                tx.commit().await?;
            }
            if !full {
                return Ok(());
            }
        }
    }

    async fn call(&self, one: Claimed, now: Timestamp) -> (Claimed, Outcome) {
        let begun = Instant::now();
        let id = one.id.to_string();
        let body = one.payload.to_string().into_bytes();
        let kind = if one.cloud_events {
            "application/cloudevents+json"
        } else {
            "application/json"
        };
        let result = match self.secrets(&one) {
            Ok((secret, previous)) => {
                let previous = previous.as_ref().map(ExposeSecret::expose_secret);
                let previous = previous.zip(one.previous_until);
                self.post(&one.url, secret.expose_secret(), previous, &id, kind, now, body)
                    .await
            }
            Err(error) => Err(error.to_string()),
        };
        let outcome = Outcome {
            status: result.as_ref().ok().copied(),
            error: result.err(),
            duration_ms: i32::try_from(begun.elapsed().as_millis()).unwrap_or(i32::MAX),
        };
        (one, outcome)
    }

    /// The secrets that sign a delivery: the endpoint's, and the one before it.
    fn secrets(&self, one: &Claimed) -> Result<(SecretString, Option<SecretString>), OpenError> {
        let owner = one.webhook_id.to_string();
        let secret = self.seal.open(&owner, &one.secret)?;
        // An old secret that can't be had any more doesn't keep the new one from signing.
        let previous = one.previous_secret.as_deref();
        Ok((
            secret,
            previous.and_then(|stored| self.seal.open(&owner, stored).ok()),
        ))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one signed request")]
    async fn post(
        &self,
        url: &str,
        secret: &str,
        previous: Option<(&str, Timestamp)>,
        id: &str,
        kind: &str,
        now: Timestamp,
        body: Vec<u8>,
    ) -> Result<u16, String> {
        let signed =
            signature(secret, previous, id, now, &body).ok_or("the stored secret can't sign: rotate it")?;
        let headers = [
            ("content-type", kind.to_owned()),
            (
                "user-agent",
                concat!("forewarn/", env!("CARGO_PKG_VERSION")).to_owned(),
            ),
            ("webhook-id", id.to_owned()),
            (
                "webhook-timestamp",
                now.micros().div_euclid(1_000_000).to_string(),
            ),
            ("webhook-signature", signed),
        ];
        self.caller
            .post(url, &headers, body)
            .await
            .map_err(|error| error.to_string())
    }

    async fn message(
        &self,
        tenant: TenantId,
        now: Timestamp,
        report: &mut Report,
    ) -> Result<(), sqlx::Error> {
        let mut tx = self.pool.begin().await?;
        act_for(&mut tx, tenant).await?;
        let messages = notification::claim(&mut tx, tenant, now, now + LEASE).await?;
        tx.commit().await?;
        for message in messages {
            let result = self.send(&message, now).await;
            match &result {
                Ok(()) => report.sent += 1,
                Err(error) => {
                    report.unsent += 1;
                    tracing::warn!(rule = %message.rule, error, "a message was not sent, it is tried again");
                }
            }
            let result_name = if result.is_ok() { "sent" } else { "failed" };
            metrics::counter!("forewarn_api_messages_total", "result" => result_name).increment(1);
            let mut tx = self.pool.begin().await?;
            act_for(&mut tx, tenant).await?;
            notification::settle(&mut tx, &message.ids, result.err().as_deref(), now).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    async fn send(&self, message: &notification::Message, now: Timestamp) -> Result<(), String> {
        let (subject, text) = models::notification::message(&message.lines);
        if message.channel == "email" {
            let mailer = self
                .mailer
                .as_ref()
                .ok_or("no mail server is configured (api.outbound.mail.host)")?;
            return mailer
                .send(&message.recipient, &subject, text)
                .await
                .map_err(|error| format!("{error:#}"));
        }
        let url = message.webhook_url.as_deref().ok_or("the rule has no URL")?;
        let stored = message
            .webhook_secret
            .as_deref()
            .ok_or("the rule has no secret")?;
        let secret = self
            .seal
            .open(&message.rule.to_string(), stored)
            .map_err(|error| error.to_string())?;
        let id = message.ids.first().map(ToString::to_string).unwrap_or_default();
        let lines: Vec<_> = message
            .lines
            .iter()
            .map(|(severity, line)| json!({ "severity": severity, "line": line }))
            .collect();
        let body = json!({ "type": "notification", "timestamp": now,
                           "data": { "to": message.recipient, "subject": subject, "text": text, "lines": lines } });
        let body = body.to_string().into_bytes();
        match self
            .post(
                url,
                secret.expose_secret(),
                None,
                &id,
                "application/json",
                now,
                body,
            )
            .await?
        {
            200..300 => Ok(()),
            status => Err(format!("it answered {status}")),
        }
    }

    /// Seals every signing secret with the first key that is not: those of before there was a key, and
    /// those of an older key. Says in the log what stays readable, and what can't be opened.
    ///
    /// # Errors
    /// When the database does, or the operating system has no randomness to give.
    pub async fn reseal(&self) -> anyhow::Result<Resealed> {
        let mut done = Resealed::default();
        for tenant in webhook::tenants(&mut *self.pool.acquire().await?).await? {
            let mut tx = self.pool.begin().await?;
            act_for(&mut tx, tenant).await?;
            for secret in webhook_secret::all(&mut tx).await? {
                let owner = secret.owner();
                match self.seal.open(&owner, &secret.stored) {
                    Ok(_) if self.seal.is_current(&secret.stored) => {
                        done.clear += u64::from(!seal::is_sealed(&secret.stored));
                    }
                    Ok(clear) => {
                        let sealed = self.seal.seal(&owner, clear.expose_secret())?;
                        done.sealed += webhook_secret::replace(&mut tx, &secret, &sealed).await?;
                    }
                    Err(error) => {
                        tracing::error!(%tenant, owner, %error, "a signing secret can't be opened: its calls fail until then");
                        done.closed += 1;
                    }
                }
            }
            tx.commit().await?;
        }
        if done.clear > 0 {
            tracing::warn!(
                secrets = done.clear,
                "signing secrets of webhooks stand in the database as they are: set api.outbound.sealing_keys or sealing_keys_file"
            );
        }
        if done.sealed > 0 {
            tracing::info!(
                secrets = done.sealed,
                "signing secrets were sealed with the first of api.outbound.sealing_keys; older keys aren't needed any more"
            );
        }
        Ok(done)
    }

    /// Drops what is older than it is kept.
    ///
    /// # Errors
    /// When the database does.
    pub async fn prune(&self, now: Timestamp) -> Result<u64, sqlx::Error> {
        let mut gone = 0;
        for tenant in webhook::tenants(&mut *self.pool.acquire().await?).await? {
            let mut tx = self.pool.begin().await?;
            act_for(&mut tx, tenant).await?;
            gone += webhook::prune(&mut tx, tenant, now.plus_seconds(-self.keep)).await?;
            tx.commit().await?;
        }
        Ok(gone)
    }
}

/// Sends until `shutdown`.
///
/// # Errors
/// A wrong configuration; errors of the database that trying again can't mend.
pub async fn run(config: Outbound, pool: PgPool, shutdown: CancellationToken) -> anyhow::Result<()> {
    if !config.enabled {
        shutdown.cancelled().await;
        return Ok(());
    }
    let sender = Sender::new(&config, pool.clone())?;
    let every = Duration::from_secs_f64(config.every_s);
    let mut listener: Option<PgListener> = None;
    let mut pruned: Option<Instant> = None;
    let mut resealed = false;
    while !shutdown.is_cancelled() {
        if listener.is_none() {
            listener = outbox::listen(&pool).await;
        }
        let work = async {
            if !resealed {
                sender.reseal().await?;
                resealed = true;
            }
            let report = sender.pass(Timestamp::now()).await?;
            if pruned.is_none_or(|at| at.elapsed() >= PRUNE_EVERY) {
                let gone = sender.prune(Timestamp::now()).await?;
                tracing::debug!(gone, "old events pruned");
                pruned = Some(Instant::now());
            }
            anyhow::Ok(report)
        };
        // A call may take its time: a shutdown doesn't wait for it, the lease brings it back.
        let result = tokio::select! {
            result = work => result,
            () = shutdown.cancelled() => break,
        };
        match result {
            Ok(report) if report != Report::default() => tracing::debug!(?report, "outbound pass"),
            Ok(_) => {}
            Err(error) if error.downcast_ref::<sqlx::Error>().is_some_and(is_retryable) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "an outbound pass failed, trying again"
                );
                metrics::counter!("forewarn_api_outbound_failures_total").increment(1);
                listener = None;
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = outbox::news(listener.as_mut(), SETTLE) => {}
            () = tokio::time::sleep(every) => {}
            () = shutdown.cancelled() => {}
        }
    }
    Ok(())
}

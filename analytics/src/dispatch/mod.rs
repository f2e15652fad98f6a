//! Dispatch: from alarms, predictions and due plan occurrences to cases and the one ticket each.
//!
//! A reconciler: it looks at what the database says and does what is missing, and doing it again does
//! nothing. It is woken by a timer and by `NOTIFY`; the signal carries no data, so a lost one costs a
//! moment and nothing else. Any number of dispatchers may run: each sign (an alarm, a prediction, an
//! occurrence) is one short transaction that locks the sign, then its case, and only then looks for
//! tickets. What must happen once is decided by the database: one open case per asset and failure
//! mode, one open ticket per case, one ticket per origin key, one decision per sign and outcome. A
//! broken unique index means that somebody else did it: the transaction is dropped, and the next pass
//! sees what they made.
//!
//! Every decision is kept with a sentence that a planner understands, those against a ticket too. A
//! decision is the last word when nothing can change it any more; a suppressed alarm, or one within the
//! cool-down of a ticket, is looked at again as long as it is raised.

mod occurrence;
mod policy;
mod sign;

use std::time::Duration;

use models::alarm::Patience;
use models::case::Grouping;
use models::db::{alarm, broken_constraint, case_file, dispatch as sql, is_retryable, outbox, prediction};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio_util::sync::CancellationToken;

pub use policy::{AlarmFacts, Verdict, judge};

/// Signs read at a time.
const BATCH: i64 = 500;
/// Between two passes when signals come in a row.
const SETTLE: Duration = Duration::from_millis(50);
/// After an error of the database.
const RETRY: Duration = Duration::from_secs(2);

pub(crate) const ACTOR: &str = "dispatch";

/// Section `[dispatch]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Seconds that an alarm must have been active before it is judged; a shorter one makes no ticket.
    /// Later alarms of the same cause are added to the ticket whenever they come. 0 to 30.
    pub group_wait_s: f64,
    /// Hours after the end of a ticket in which the same cause makes no new one.
    pub cool_down_h: f64,
    /// Seconds that a case without a ticket stays open after its last alarm.
    pub case_linger_s: f64,
    /// Probability from which a prediction makes a ticket by itself; without it a planner decides.
    pub prediction_ticket_at: Option<f64>,
    /// Seconds from a case's first sign to its first notice, between notices of news, and between those
    /// of a case that nobody sees to.
    pub notice_wait_s: f64,
    pub notice_interval_s: f64,
    pub notice_repeat_s: f64,
    /// Seconds without an acknowledgement until the next level hears of an alarm.
    pub escalate_after_s: f64,
    /// Seconds that an acknowledgement counts while there is no ticket.
    pub ack_lasts_s: f64,
    pub escalation_levels: i32,
    /// Seconds without a message after which a gateway counts as offline: the silence of its channels
    /// is its own then.
    pub gateway_offline_s: f64,
}

impl Config {
    fn grouping(&self) -> Grouping {
        Grouping {
            wait: seconds(self.notice_wait_s),
            interval: seconds(self.notice_interval_s),
            repeat: seconds(self.notice_repeat_s),
        }
    }

    fn patience(&self) -> Patience {
        Patience {
            escalate_after: seconds(self.escalate_after_s),
            ack_lasts: seconds(self.ack_lasts_s),
            levels: self.escalation_levels,
        }
    }
}

fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value.max(0.0)).unwrap_or(Duration::MAX)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            group_wait_s: 1.0,
            cool_down_h: 24.0,
            case_linger_s: 3600.0,
            prediction_ticket_at: None,
            notice_wait_s: 30.0,
            notice_interval_s: 300.0,
            notice_repeat_s: 4.0 * 3600.0,
            escalate_after_s: 1800.0,
            ack_lasts_s: 8.0 * 3600.0,
            escalation_levels: 3,
            gateway_offline_s: 300.0,
        }
    }
}

/// What one pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DispatchReport {
    pub created: u32,
    pub attached: u32,
    pub suppressed: u32,
    pub cool_down: u32,
    pub below_policy: u32,
    pub not_in_service: u32,
    /// Tickets of superseded plan occurrences.
    pub cancelled: u32,
    pub cases_closed: u64,
    /// Alarms that the plant's state has silenced, or lets speak again.
    pub silenced: u32,
    pub unsilenced: u32,
    /// Alarms that waited too long for people.
    pub escalated: u32,
    /// Notices of cases.
    pub notices: u32,
    /// Predictions that woke or whose horizon is over, failures that labelled some or were missed.
    pub predictions: u32,
    /// Signs that somebody else was at; the next pass looks again.
    pub contended: u32,
    /// Signs looked at.
    pub looked_at: usize,
    /// The soonest that an alarm will have lasted long enough to be judged.
    pub next_in: Option<Duration>,
}

impl DispatchReport {
    fn count(&mut self, outcome: sql::Outcome) {
        let counter = match outcome {
            sql::Outcome::Created => &mut self.created,
            sql::Outcome::Attached | sql::Outcome::Reopened => &mut self.attached,
            sql::Outcome::Suppressed => &mut self.suppressed,
            sql::Outcome::CoolDown => &mut self.cool_down,
            sql::Outcome::BelowPolicy => &mut self.below_policy,
            sql::Outcome::AssetNotInService => &mut self.not_in_service,
        };
        *counter += 1;
        metrics::counter!("forewarn_dispatch_decisions_total", "outcome" => outcome.name()).increment(1);
    }

    fn take(&mut self, result: Result<Option<sql::Outcome>, sqlx::Error>) -> anyhow::Result<()> {
        match result {
            Ok(Some(outcome)) => self.count(outcome),
            Ok(None) => {}
            Err(error) if somebody_else(&error) => self.contended += 1,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// Whether the error says that another dispatcher, or a person, was faster.
fn somebody_else(error: &sqlx::Error) -> bool {
    matches!(
        broken_constraint(error),
        Some(
            "case_file_open_key"
                | "ticket_open_per_case_key"
                | "ticket_origin_key"
                | "ticket_tenant_id_number_key"
        )
    ) || error
        .as_database_error()
        .and_then(|error| error.code())
        .is_some_and(|code| code.starts_with("40"))
}

/// One pass with the default configuration.
///
/// # Errors
/// When the database does.
pub async fn run_once(pool: &PgPool, now: Timestamp) -> anyhow::Result<DispatchReport> {
    pass(pool, &Config::default(), now).await
}

/// One pass over everything that waits.
///
/// # Errors
/// When the database does; what was decided before stays decided.
pub async fn pass(pool: &PgPool, config: &Config, now: Timestamp) -> anyhow::Result<DispatchReport> {
    let mut report = DispatchReport::default();
    let mut tx = pool.begin().await?;
    let design = alarm::suppress_by_plant(&mut tx, now, config.gateway_offline_s).await?;
    let lapsed = prediction::lapse(&mut tx, now).await?;
    tx.commit().await?;
    (report.silenced, report.unsilenced) = (design.suppressed, design.ended);
    report.predictions = lapsed.woke + lapsed.expired;
    // In pages: what is suppressed keeps waiting, and must not stand in the way of what is new.
    let mut after = None;
    loop {
        let page = sql::waiting_alarms(&mut *pool.acquire().await?, after, BATCH).await?;
        after = page.last().copied();
        for (_, id) in &page {
            match sign::alarm(pool, config, *id, now).await {
                Ok(sign::Judged::Early(wait)) => {
                    report.next_in = Some(report.next_in.map_or(wait, |next| next.min(wait)));
                }
                Ok(sign::Judged::Done(outcome)) => report.take(Ok(outcome))?,
                Err(error) => report.take(Err(error))?,
            }
        }
        report.looked_at += page.len();
        if page.len() < BATCH as usize {
            break;
        }
    }
    let mut after = None;
    loop {
        let page = sql::waiting_predictions(&mut *pool.acquire().await?, after, BATCH).await?;
        after = page.last().copied();
        for (_, id) in &page {
            report.take(sign::prediction(pool, config, *id, now).await)?;
        }
        report.looked_at += page.len();
        if page.len() < BATCH as usize {
            break;
        }
    }
    for _ in 0..BATCH {
        match occurrence::next(pool, now).await {
            Ok(None) => break,
            Ok(Some(outcome)) => {
                report.looked_at += 1;
                report.count(outcome);
            }
            Err(error) if somebody_else(&error) => report.contended += 1,
            Err(error) => return Err(error.into()),
        }
    }
    let superseded = sql::superseded_tickets(&mut *pool.acquire().await?).await?;
    for id in superseded {
        report.cancelled += u32::from(occurrence::cancel_superseded(pool, id, now).await?);
    }
    let mut tx = pool.begin().await?;
    let linger = seconds(config.case_linger_s);
    report.cases_closed = case_file::close_finished(&mut tx, now, linger).await?;
    tx.commit().await?;
    let mut tx = pool.begin().await?;
    let told = case_file::tell(&mut tx, &config.grouping(), now).await?;
    let escalated = alarm::escalate(&mut tx, &config.patience(), now).await?;
    let failures = prediction::reconcile_failures(&mut tx, now).await?;
    tx.commit().await?;
    report.notices = told.opened + told.news + told.repeats;
    report.escalated = escalated.next_level + escalated.ask_again;
    report.predictions += failures.labelled + failures.false_negatives;
    Ok(report)
}

/// Dispatches until `shutdown`, with the default configuration.
///
/// # Errors
/// Errors of the database that trying again can't mend.
pub async fn run(pool: PgPool, interval: Duration, shutdown: CancellationToken) -> anyhow::Result<()> {
    run_with(pool, Config::default(), interval, shutdown).await
}

/// Dispatches until `shutdown`: every `interval`, and whenever the outbox has news.
///
/// # Errors
/// Errors of the database that trying again can't mend.
pub async fn run_with(
    pool: PgPool,
    config: Config,
    interval: Duration,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut listener: Option<PgListener> = None;
    while !shutdown.is_cancelled() {
        if listener.is_none() {
            listener = outbox::listen(&pool).await;
        }
        let begun = std::time::Instant::now();
        let pause = match pass(&pool, &config, Timestamp::now()).await {
            Ok(report) => {
                metrics::histogram!("forewarn_dispatch_pass_seconds").record(begun.elapsed().as_secs_f64());
                if report.created + report.attached + report.cancelled > 0 || report.cases_closed > 0 {
                    tracing::info!(?report, "dispatched");
                }
                report
                    .next_in
                    .map_or(interval, |next| next.clamp(SETTLE, interval))
            }
            Err(error) if error.downcast_ref::<sqlx::Error>().is_some_and(is_retryable) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "a dispatch pass failed, trying again"
                );
                metrics::counter!("forewarn_dispatch_failures_total").increment(1);
                listener = None;
                RETRY
            }
            Err(error) => return Err(error),
        };
        tokio::select! {
            () = outbox::news(listener.as_mut(), SETTLE) => {}
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod scenario;
#[cfg(test)]
mod tests;

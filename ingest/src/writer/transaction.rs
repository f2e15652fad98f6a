//! The one transaction that stores readings, and everything that must be true together with them:
//! cursors, ledger, dead letters, events, limit alarms.

use std::sync::Arc;
use std::time::Duration;

use models::db::dead_letter::{self, DeadLetter};
use models::db::ledger::{self, Entry};
use models::db::reading::{self, DiscreteEvent};
use models::reading::Reading;
use models::wire::Committed;
use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tokio::time::timeout;
use uuid::Uuid;

use super::{Outcome, Prepared, account, beside, cursors, readings};
use crate::cursor::Taken;
use crate::limit_alarm::LimitAlarms;
use crate::registry::Gateway;

/// What a transaction did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// One for each payload.
    pub outcomes: Vec<Outcome>,
    /// The watermarks of the gateways that sent numbered batches.
    pub committed: Vec<(Arc<Gateway>, Committed)>,
    pub totals: Entry,
    pub lost_batches: u64,
    pub alarms: u64,
}

impl Done {
    /// Of a transaction that is known to be committed and whose results are not.
    pub fn unseen(payloads: usize) -> Self {
        Self {
            outcomes: vec![Outcome::Committed; payloads],
            ..Self::default()
        }
    }
}

#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing of it is stored.
    Before(sqlx::Error),
    /// COMMIT was sent, its answer was not seen.
    DuringCommit(sqlx::Error, Box<Done>),
    /// An earlier run of the same transaction was committed.
    CommittedBefore,
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Before(error)
    }
}

/// How long a connection of the pool may take to be had. Then the caller looks whether it should stop.
const ACQUIRE: Duration = Duration::from_secs(5);

async fn acquire(pool: &PgPool) -> Result<PoolConnection<Postgres>, sqlx::Error> {
    match timeout(ACQUIRE, pool.acquire()).await {
        Ok(connection) => connection,
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

/// Runs the transaction, within `patience`: a peer that has fallen silent, rather than closed its
/// connection, must not hold the gateways for ever. Its connection is closed then, and whether the
/// transaction was committed is found out by its token.
pub(crate) async fn run(
    pool: &PgPool,
    token: Uuid,
    payloads: &[Prepared],
    alarms: &mut LimitAlarms,
    patience: Duration,
) -> Result<Done, Failure> {
    let mut connection = acquire(pool).await?;
    let mut committing = None;
    let attempt = attempt(&mut connection, token, payloads, alarms, &mut committing);
    let result = timeout(patience, attempt).await;
    match result {
        Ok(result) => result,
        Err(_) => {
            drop(connection.detach());
            let error = sqlx::Error::Io(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!("a transaction was not over after {} s", patience.as_secs()),
            ));
            Err(match committing {
                Some(done) => Failure::DuringCommit(error, done),
                None => Failure::Before(error),
            })
        }
    }
}

/// Leaves its results in `committing` before it says COMMIT.
async fn attempt(
    connection: &mut PgConnection,
    token: Uuid,
    payloads: &[Prepared],
    alarms: &mut LimitAlarms,
    committing: &mut Option<Box<Done>>,
) -> Result<Done, Failure> {
    let mut transaction = connection.begin().await?;
    if !ledger::claim_token(&mut transaction, token).await? {
        return Err(Failure::CommittedBefore);
    }
    let (done, entries) = store(&mut transaction, payloads, alarms).await?;
    account::write(&mut transaction, payloads, &entries).await?;
    *committing = Some(Box::new(done));
    let committed = transaction.commit().await;
    // It was put there two lines above.
    let done = committing.take().unwrap_or_default();
    match committed {
        Ok(()) => {
            alarms.keep();
            Ok(*done)
        }
        // The database's own answer to COMMIT about the data: it was rolled back.
        Err(error) if super::speaks_of_data(&error) => Err(Failure::Before(error)),
        Err(error) => Err(Failure::DuringCommit(error, done)),
    }
}

/// Stores the readings of a dead letter and marks it, in one transaction. `None`: it was replayed or
/// discarded meanwhile.
pub(crate) async fn replay_one(
    pool: &PgPool,
    payload: &Prepared,
    letter: &DeadLetter,
    alarms: &mut LimitAlarms,
) -> Result<Option<Entry>, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    if dead_letter::mark_replayed(&mut transaction, &[letter.id])
        .await?
        .is_empty()
    {
        return Ok(None);
    }
    let (done, mut entries) = store(&mut transaction, std::slice::from_ref(payload), alarms).await?;
    for entry in &mut entries {
        // It was counted when it came. What stood as rejected is not any more; of one that could not
        // be read at all, nobody knew how many readings it held.
        let before = i64::from(letter.readings);
        entry.payloads = 0;
        entry.received -= before;
        entry.rejected -= before;
        entry.payloads_dead = if before == 0 { -1 } else { 0 };
    }
    account::write(&mut transaction, std::slice::from_ref(payload), &entries).await?;
    transaction.commit().await?;
    alarms.keep();
    Ok(Some(done.totals))
}

/// Everything but the ledger and COMMIT. Returns what each payload adds to the ledger.
async fn store(
    connection: &mut PgConnection,
    payloads: &[Prepared],
    alarms: &mut LimitAlarms,
) -> Result<(Done, Vec<Entry>), sqlx::Error> {
    let mut done = Done {
        outcomes: vec![Outcome::Committed; payloads.len()],
        ..Done::default()
    };
    let taken = cursors::advance(connection, payloads, &mut done).await?;
    let mut entries: Vec<Entry> = payloads
        .iter()
        .map(|_| Entry {
            payloads: 1,
            ..Entry::default()
        })
        .collect();
    let mut letters: Vec<DeadLetter> = Vec::new();
    let mut rows: Vec<(Reading, u32)> =
        Vec::with_capacity(payloads.iter().map(|payload| payload.readings.len()).sum());
    for (i, payload) in payloads.iter().enumerate() {
        let entry = &mut entries[i];
        entry.received = payload.received() as i64;
        entry.payloads_dead = i64::from(payload.dead);
        match taken[i] {
            Taken::New => {
                entry.rejected = payload.rejected as i64;
                letters.extend_from_slice(payload.letters());
                if !payload.letters().is_empty() {
                    done.outcomes[i] = Outcome::DeadLettered;
                }
                rows.extend(payload.readings.iter().map(|row| (*row, i as u32)));
            }
            Taken::Duplicate => entry.duplicate = entry.received,
            Taken::TooFarAhead => {
                entry.rejected = entry.received;
                letters.push(payload.whole_letter(
                    "too_far_ahead",
                    "thousands of batches beyond a gap are waiting for it to close; send what is missing, or a floor",
                ));
                done.outcomes[i] = Outcome::DeadLettered;
            }
        }
    }
    readings::store(connection, payloads, &mut rows, &mut entries).await?;
    beside::keep_sent(connection, payloads, &rows).await?;
    let events: Vec<DiscreteEvent> = payloads
        .iter()
        .zip(&taken)
        .filter(|(_, taken)| **taken == Taken::New)
        .flat_map(|(payload, _)| {
            payload.events.iter().map(|event| DiscreteEvent {
                ts: event.ts,
                tenant: payload.gateway().tenant,
                device: event.device,
                asset: event.asset,
                code: event.code.clone(),
                severity: event.severity,
                message: event.message.clone(),
            })
        })
        .collect();
    if !events.is_empty() {
        reading::insert_events(connection, &events).await?;
        beside::mark_presence(connection, &events).await?;
    }
    if !letters.is_empty() {
        dead_letter::insert(connection, &letters).await?;
    }
    done.alarms = alarms.evaluate(connection, payloads, &rows).await?;
    for entry in &entries {
        account::add(&mut done.totals, entry);
    }
    Ok((done, entries))
}

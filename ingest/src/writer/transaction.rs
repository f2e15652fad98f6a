//! The one transaction that stores readings, and everything that must be true together with them:
//! cursors, ledger, dead letters, events, limit alarms.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use models::db::dead_letter::{self, DeadLetter};
use models::db::ledger::{self, CursorKey, DayEntry, Entry, GapState};
use models::db::reading::{self, Conflict, DiscreteEvent};
use models::id::{ChannelId, GatewayId, TenantId};
use models::reading::Reading;
use models::time::Timestamp;
use models::wire::Committed;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use super::{Outcome, Prepared};
use crate::cursor::{Cursor, Taken};
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

pub(crate) async fn run(
    pool: &PgPool,
    token: Uuid,
    payloads: &[Prepared],
    alarms: &mut LimitAlarms,
) -> Result<Done, Failure> {
    let mut transaction = pool.begin().await?;
    if !ledger::claim_token(&mut transaction, token).await? {
        return Err(Failure::CommittedBefore);
    }
    let (done, entries) = store(&mut transaction, payloads, alarms).await?;
    write_ledger(&mut transaction, payloads, &entries).await?;
    match transaction.commit().await {
        Ok(()) => {
            alarms.keep();
            Ok(done)
        }
        // The database's own answer to COMMIT about the data: it was rolled back.
        Err(error) if super::speaks_of_data(&error) => Err(Failure::Before(error)),
        Err(error) => Err(Failure::DuringCommit(error, Box::new(done))),
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
    write_ledger(&mut transaction, std::slice::from_ref(payload), &entries).await?;
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
    let taken = move_cursors(connection, payloads, &mut done).await?;
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
    store_readings(connection, payloads, &mut rows, &mut entries).await?;
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
    }
    if !letters.is_empty() {
        dead_letter::insert(connection, &letters).await?;
    }
    done.alarms = alarms.evaluate(connection, payloads, &rows).await?;
    for entry in &entries {
        add(&mut done.totals, entry);
    }
    Ok((done, entries))
}

/// Sorts `rows` and stores them. Afterwards `rows` holds those that are new.
async fn store_readings(
    connection: &mut PgConnection,
    payloads: &[Prepared],
    rows: &mut Vec<(Reading, u32)>,
    entries: &mut [Entry],
) -> Result<(), sqlx::Error> {
    // Stable: of two at the same place, the one that came first stays.
    rows.sort_by_key(|(row, _)| (row.channel, row.ts));
    let mut conflicts: Vec<Conflict> = Vec::new();
    let mut clash = |entries: &mut [Entry], kept: (f64, i16), row: &Reading, i: u32| {
        let entry = &mut entries[i as usize];
        if kept == (row.value, row.quality.code()) {
            entry.duplicate += 1;
        } else {
            entry.conflict += 1;
            let gateway = payloads[i as usize].gateway();
            conflicts.push(Conflict {
                reading: *row,
                gateway: gateway.id,
                tenant: gateway.tenant,
            });
        }
    };
    let mut last: Option<Reading> = None;
    rows.retain(|(row, i)| match last {
        Some(kept) if kept.channel == row.channel && kept.ts == row.ts => {
            clash(entries, (kept.value, kept.quality.code()), row, *i);
            false
        }
        _ => {
            last = Some(*row);
            true
        }
    });
    if !rows.is_empty() {
        let readings: Vec<Reading> = rows.iter().map(|(row, _)| *row).collect();
        let mut savepoint = connection.begin().await?;
        match reading::copy(&mut savepoint, &readings).await {
            Ok(_) => savepoint.commit().await?,
            Err(error) if is_unique_violation(&error) => {
                savepoint.rollback().await?;
                let stored = reading::insert_new(connection, &readings).await?;
                let stored: HashMap<(ChannelId, Timestamp), (f64, i16)> = stored
                    .into_iter()
                    .map(|row| ((row.channel, row.ts), (row.value, row.quality.code())))
                    .collect();
                rows.retain(|(row, i)| match stored.get(&(row.channel, row.ts)) {
                    Some(kept) => {
                        clash(entries, *kept, row, *i);
                        false
                    }
                    None => true,
                });
            }
            Err(error) => return Err(error),
        }
    }
    for (_, i) in rows.iter() {
        entries[*i as usize].stored += 1;
    }
    if !conflicts.is_empty() {
        tracing::warn!(
            conflicts = conflicts.len(),
            "readings differ from those stored for the same channel and time"
        );
        reading::keep_conflicts(connection, &conflicts).await?;
    }
    Ok(())
}

fn is_unique_violation(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|database| database.code())
        .as_deref()
        == Some("23505")
}

/// Decides for each payload whether it is new, and writes what that does to the cursors.
async fn move_cursors(
    connection: &mut PgConnection,
    payloads: &[Prepared],
    done: &mut Done,
) -> Result<Vec<Taken>, sqlx::Error> {
    let mut taken = vec![Taken::New; payloads.len()];
    let mut keys: BTreeMap<CursorKey, (TenantId, Vec<usize>)> = BTreeMap::new();
    for (i, payload) in payloads.iter().enumerate() {
        if let Some(envelope) = payload.envelope {
            let key = CursorKey {
                gateway: payload.gateway().id,
                epoch: signed(envelope.epoch),
            };
            keys.entry(key)
                .or_insert_with(|| (payload.gateway().tenant, Vec::new()))
                .1
                .push(i);
        }
    }
    if keys.is_empty() {
        return Ok(taken);
    }
    let wanted: Vec<(CursorKey, TenantId)> = keys.iter().map(|(key, (tenant, _))| (*key, *tenant)).collect();
    let rows = ledger::lock_cursors(connection, &wanted).await?;
    let mut moved = Vec::new();
    for row in rows {
        let Some((tenant, indices)) = keys.get(&row.key) else {
            continue;
        };
        let lost = row
            .gaps
            .iter()
            .filter(|gap| gap.2)
            .map(|gap| (unsigned(gap.0), unsigned(gap.1)));
        let before = Cursor::new(
            unsigned(row.contiguous),
            row.ahead.iter().copied().map(unsigned),
            lost,
        );
        let mut cursor = before.clone();
        for i in indices {
            if let Some(envelope) = payloads[*i].envelope {
                taken[*i] = cursor.take(envelope.seq, envelope.floor);
            }
        }
        if cursor.contiguous() != before.contiguous() {
            moved.push((row.key, signed(cursor.contiguous())));
        }
        let added: Vec<i64> = cursor
            .ahead()
            .difference(before.ahead())
            .copied()
            .map(signed)
            .collect();
        let removed: Vec<i64> = before
            .ahead()
            .difference(cursor.ahead())
            .copied()
            .map(signed)
            .collect();
        if !(added.is_empty() && removed.is_empty()) {
            ledger::change_ahead(connection, row.key, *tenant, &added, &removed).await?;
        }
        done.lost_batches += write_gaps(connection, row.key, *tenant, &row.gaps, &cursor).await?;
        if let Some(i) = indices.first() {
            let committed = Committed {
                epoch: unsigned(row.key.epoch),
                seq: cursor.contiguous(),
            };
            done.committed.push((payloads[*i].gateway().clone(), committed));
        }
    }
    if !moved.is_empty() {
        ledger::move_cursors(connection, &moved).await?;
    }
    Ok(taken)
}

/// Makes the gaps on record those of `cursor`. Returns how many batches were newly found lost.
async fn write_gaps(
    connection: &mut PgConnection,
    key: CursorKey,
    tenant: TenantId,
    recorded: &[(i64, i64, bool)],
    cursor: &Cursor,
) -> Result<u64, sqlx::Error> {
    let mut wanted: BTreeMap<i64, (i64, bool)> = BTreeMap::new();
    wanted.extend(
        cursor
            .gaps()
            .into_iter()
            .map(|(first, last)| (signed(first), (signed(last), false))),
    );
    wanted.extend(
        cursor
            .lost()
            .iter()
            .map(|(first, last)| (signed(*first), (signed(*last), true))),
    );
    let mut lost = 0;
    for (first, last, was_lost) in recorded {
        match wanted.remove(first) {
            Some(now) if now == (*last, *was_lost) => {}
            Some((now_last, now_lost)) => {
                let state = if now_lost { GapState::Lost } else { GapState::Open };
                ledger::write_gap(connection, key, tenant, *first, now_last, state).await?;
                if now_lost && !was_lost {
                    lost += report_loss(key, *first, now_last);
                }
            }
            // Its first batch has come. What of it is still missing stands in a row of its own.
            None => {
                let end = wanted
                    .range(first..=last)
                    .next()
                    .map_or(*last, |(next, _)| next - 1);
                ledger::write_gap(connection, key, tenant, *first, end, GapState::Closed).await?;
            }
        }
    }
    for (first, (last, is_lost)) in wanted {
        let state = if is_lost { GapState::Lost } else { GapState::Open };
        ledger::write_gap(connection, key, tenant, first, last, state).await?;
        let known = recorded
            .iter()
            .any(|(from, to, was_lost)| *was_lost && *from <= first && last <= *to);
        if is_lost && !known {
            lost += report_loss(key, first, last);
        }
    }
    Ok(lost)
}

fn report_loss(key: CursorKey, first: i64, last: i64) -> u64 {
    tracing::error!(gateway = %key.gateway, epoch = key.epoch, first, last, "the gateway no longer has these batches: they are lost");
    (last - first + 1).unsigned_abs()
}

async fn write_ledger(
    connection: &mut PgConnection,
    payloads: &[Prepared],
    entries: &[Entry],
) -> Result<(), sqlx::Error> {
    const DAY: i64 = 86_400_000_000;
    let mut days: BTreeMap<(GatewayId, i64), DayEntry> = BTreeMap::new();
    for (payload, entry) in payloads.iter().zip(entries) {
        let gateway = payload.gateway();
        let at = payload.received_at();
        let day = days
            .entry((gateway.id, at.micros().div_euclid(DAY)))
            .or_insert_with(|| DayEntry {
                gateway: gateway.id,
                tenant: gateway.tenant,
                at,
                entry: Entry::default(),
            });
        day.at = day.at.max(at);
        add(&mut day.entry, entry);
    }
    ledger::add(connection, &days.into_values().collect::<Vec<_>>()).await
}

fn add(sum: &mut Entry, entry: &Entry) {
    sum.received += entry.received;
    sum.stored += entry.stored;
    sum.duplicate += entry.duplicate;
    sum.conflict += entry.conflict;
    sum.rejected += entry.rejected;
    sum.payloads += entry.payloads;
    sum.payloads_dead += entry.payloads_dead;
}

/// The decoder lets no number through that doesn't fit.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

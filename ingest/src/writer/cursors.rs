//! What a transaction does to the sequences of its gateways: cursors, gaps, losses.

use std::collections::BTreeMap;

use models::db::ledger::{self, CursorKey, GapState};
use models::id::TenantId;
use models::wire::Committed;
use sqlx::PgConnection;

use super::Prepared;
use super::transaction::Done;
use crate::cursor::{Cursor, Taken};

/// Decides for each payload whether it is new, and writes what that does to the cursors.
pub(super) async fn advance(
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

/// The decoder lets no number through that doesn't fit.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

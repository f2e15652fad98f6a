//! The ledger, the cursors of the gateways' sequences, and the token that tells whether a
//! transaction was committed.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::id::{GatewayId, TenantId};
use crate::time::Timestamp;

/// Writes the token of a transaction. `false`: it is there, so the transaction was committed
/// earlier and must not be run again. Must be the first statement of the transaction.
///
/// # Errors
/// When the database does.
pub async fn claim_token(connection: &mut PgConnection, token: Uuid) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("INSERT INTO ingest_commit (token) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(token)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets tokens older than a day: no retry takes that long without a restart.
///
/// # Errors
/// When the database does.
pub async fn prune_tokens(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let done = sqlx::query("DELETE FROM ingest_commit WHERE committed_at < now() - interval '1 day'")
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

/// The sequence of one spool of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CursorKey {
    pub gateway: GatewayId,
    pub epoch: i64,
}

/// What is known of a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorRow {
    pub key: CursorKey,
    pub contiguous: i64,
    /// Committed sequence numbers beyond a gap.
    pub ahead: Vec<i64>,
    /// Gaps that are not closed: first, last, and whether they are known to be lost.
    pub gaps: Vec<(i64, i64, bool)>,
}

/// Makes the cursors that don't exist yet, locks all of them until the end of the transaction and
/// reads them. `keys` must be sorted, so that two writers lock in the same order.
///
/// # Errors
/// When the database does.
pub async fn lock_cursors(
    connection: &mut PgConnection,
    keys: &[(CursorKey, TenantId)],
) -> Result<Vec<CursorRow>, sqlx::Error> {
    let gateways: Vec<GatewayId> = keys.iter().map(|(key, _)| key.gateway).collect();
    let epochs: Vec<i64> = keys.iter().map(|(key, _)| key.epoch).collect();
    let tenants: Vec<TenantId> = keys.iter().map(|(_, tenant)| *tenant).collect();
    sqlx::query(
        "INSERT INTO gateway_cursor (gateway_id, tenant_id, epoch, contiguous_seq)
         SELECT n.gateway, n.tenant, n.epoch, 0
         FROM unnest($1::uuid[], $2::uuid[], $3::int8[]) AS n (gateway, tenant, epoch)
         WHERE NOT EXISTS (SELECT FROM gateway_cursor c WHERE c.gateway_id = n.gateway AND c.epoch = n.epoch)
         ORDER BY n.gateway, n.epoch
         ON CONFLICT DO NOTHING",
    )
    .bind(&gateways)
    .bind(&tenants)
    .bind(&epochs)
    .execute(&mut *connection)
    .await?;
    let cursors: Vec<(GatewayId, i64, i64)> = sqlx::query_as(
        "SELECT c.gateway_id, c.epoch, c.contiguous_seq
         FROM gateway_cursor c
         WHERE (c.gateway_id, c.epoch) IN (SELECT * FROM unnest($1::uuid[], $2::int8[]))
         ORDER BY c.gateway_id, c.epoch
         FOR UPDATE",
    )
    .bind(&gateways)
    .bind(&epochs)
    .fetch_all(&mut *connection)
    .await?;
    let ahead: Vec<(GatewayId, i64, i64)> = sqlx::query_as(
        "SELECT a.gateway_id, a.epoch, a.seq FROM cursor_ahead a
         WHERE (a.gateway_id, a.epoch) IN (SELECT * FROM unnest($1::uuid[], $2::int8[]))",
    )
    .bind(&gateways)
    .bind(&epochs)
    .fetch_all(&mut *connection)
    .await?;
    let gaps: Vec<(GatewayId, i64, i64, i64, bool)> = sqlx::query_as(
        "SELECT s.gateway_id, s.epoch, s.first_seq, s.last_seq, s.lost_at IS NOT NULL FROM sequence_gap s
         WHERE s.closed_at IS NULL AND (s.gateway_id, s.epoch) IN (SELECT * FROM unnest($1::uuid[], $2::int8[]))",
    )
    .bind(&gateways)
    .bind(&epochs)
    .fetch_all(connection)
    .await?;
    let mut rows: Vec<CursorRow> = cursors
        .into_iter()
        .map(|(gateway, epoch, contiguous)| CursorRow {
            key: CursorKey { gateway, epoch },
            contiguous,
            ahead: Vec::new(),
            gaps: Vec::new(),
        })
        .collect();
    let mut index = std::collections::HashMap::with_capacity(rows.len());
    for (i, row) in rows.iter().enumerate() {
        index.insert(row.key, i);
    }
    for (gateway, epoch, seq) in ahead {
        if let Some(i) = index.get(&CursorKey { gateway, epoch }) {
            rows[*i].ahead.push(seq);
        }
    }
    for (gateway, epoch, first, last, lost) in gaps {
        if let Some(i) = index.get(&CursorKey { gateway, epoch }) {
            rows[*i].gaps.push((first, last, lost));
        }
    }
    Ok(rows)
}

/// Moves cursors.
///
/// # Errors
/// When the database does.
pub async fn move_cursors(
    connection: &mut PgConnection,
    moved: &[(CursorKey, i64)],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE gateway_cursor c SET contiguous_seq = n.seq, updated_at = now()
         FROM unnest($1::uuid[], $2::int8[], $3::int8[]) AS n (gateway, epoch, seq)
         WHERE c.gateway_id = n.gateway AND c.epoch = n.epoch",
    )
    .bind(moved.iter().map(|(key, _)| key.gateway).collect::<Vec<_>>())
    .bind(moved.iter().map(|(key, _)| key.epoch).collect::<Vec<_>>())
    .bind(moved.iter().map(|(_, seq)| *seq).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Lists and unlists sequence numbers beyond a gap.
///
/// # Errors
/// When the database does.
pub async fn change_ahead(
    connection: &mut PgConnection,
    key: CursorKey,
    tenant: TenantId,
    added: &[i64],
    removed: &[i64],
) -> Result<(), sqlx::Error> {
    if !removed.is_empty() {
        sqlx::query("DELETE FROM cursor_ahead WHERE gateway_id = $1 AND epoch = $2 AND seq = ANY ($3)")
            .bind(key.gateway)
            .bind(key.epoch)
            .bind(removed)
            .execute(&mut *connection)
            .await?;
    }
    if !added.is_empty() {
        sqlx::query(
            "INSERT INTO cursor_ahead (gateway_id, tenant_id, epoch, seq)
             SELECT $1, $2, $3, * FROM unnest($4::int8[]) ON CONFLICT DO NOTHING",
        )
        .bind(key.gateway)
        .bind(tenant)
        .bind(key.epoch)
        .bind(added)
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// What becomes of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapState {
    Open,
    Closed,
    Lost,
}

/// Writes a gap: a new one, one that has shrunk, closed or is lost.
///
/// # Errors
/// When the database does.
pub async fn write_gap(
    connection: &mut PgConnection,
    key: CursorKey,
    tenant: TenantId,
    first: i64,
    last: i64,
    state: GapState,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO sequence_gap (gateway_id, tenant_id, epoch, first_seq, last_seq, closed_at, lost_at)
         VALUES ($1, $2, $3, $4, $5, CASE WHEN $6 THEN now() END, CASE WHEN $7 THEN now() END)
         ON CONFLICT (gateway_id, epoch, first_seq) DO UPDATE SET
             last_seq = excluded.last_seq,
             closed_at = excluded.closed_at,
             lost_at = coalesce(sequence_gap.lost_at, excluded.lost_at)",
    )
    .bind(key.gateway)
    .bind(tenant)
    .bind(key.epoch)
    .bind(first)
    .bind(last)
    .bind(state == GapState::Closed)
    .bind(state == GapState::Lost)
    .execute(connection)
    .await?;
    Ok(())
}

/// The newest cursors of a gateway: epoch and highest contiguous sequence number.
///
/// # Errors
/// When the database does.
pub async fn newest_cursor(
    connection: &mut PgConnection,
    gateway: GatewayId,
) -> Result<Option<(i64, i64)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT epoch, contiguous_seq FROM gateway_cursor WHERE gateway_id = $1
         ORDER BY updated_at DESC, epoch DESC LIMIT 1",
    )
    .bind(gateway)
    .fetch_optional(connection)
    .await
}

/// What one transaction adds to a gateway's day.
/// `received = stored + duplicate + conflict + rejected`, or the database refuses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub received: i64,
    pub stored: i64,
    pub duplicate: i64,
    pub conflict: i64,
    pub rejected: i64,
    pub payloads: i64,
    pub payloads_dead: i64,
}

/// A gateway's entry for the UTC day of `at`.
#[derive(Clone, Copy, Debug)]
pub struct DayEntry {
    pub gateway: GatewayId,
    pub tenant: TenantId,
    /// When the newest payload of the entry was received.
    pub at: Timestamp,
    pub entry: Entry,
}

/// Adds to the ledger, one row for each gateway and UTC day.
///
/// # Errors
/// When the database does; a broken `ledger_closes` is a bug of the caller.
pub async fn add(connection: &mut PgConnection, entries: &[DayEntry]) -> Result<(), sqlx::Error> {
    let column = |get: fn(&Entry) -> i64| entries.iter().map(|day| get(&day.entry)).collect::<Vec<_>>();
    sqlx::query(
        "INSERT INTO ledger AS l (gateway_id, tenant_id, day, received, stored, duplicate, conflict, rejected, payloads,
                                  payloads_dead, first_at, last_at)
         SELECT n.gateway, n.tenant, (n.at AT TIME ZONE 'UTC')::date, n.received, n.stored, n.duplicate, n.conflict,
                n.rejected, n.payloads, n.dead, n.at, n.at
         FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::int8[], $5::int8[], $6::int8[], $7::int8[],
                     $8::int8[], $9::int8[], $10::int8[])
              AS n (gateway, tenant, at, received, stored, duplicate, conflict, rejected, payloads, dead)
         ORDER BY n.gateway, n.at
         ON CONFLICT (gateway_id, day) DO UPDATE SET
             received = l.received + excluded.received, stored = l.stored + excluded.stored,
             duplicate = l.duplicate + excluded.duplicate, conflict = l.conflict + excluded.conflict,
             rejected = l.rejected + excluded.rejected, payloads = l.payloads + excluded.payloads,
             payloads_dead = l.payloads_dead + excluded.payloads_dead,
             last_at = greatest(l.last_at, excluded.last_at)",
    )
    .bind(entries.iter().map(|day| day.gateway).collect::<Vec<_>>())
    .bind(entries.iter().map(|day| day.tenant).collect::<Vec<_>>())
    .bind(entries.iter().map(|day| day.at).collect::<Vec<_>>())
    .bind(column(|entry| entry.received))
    .bind(column(|entry| entry.stored))
    .bind(column(|entry| entry.duplicate))
    .bind(column(|entry| entry.conflict))
    .bind(column(|entry| entry.rejected))
    .bind(column(|entry| entry.payloads))
    .bind(column(|entry| entry.payloads_dead))
    .execute(connection)
    .await?;
    Ok(())
}

/// Readings of all gateways: stored, and told to be there twice (duplicate or conflict).
///
/// # Errors
/// When the database does.
pub async fn totals(connection: &mut PgConnection) -> Result<(i64, i64), sqlx::Error> {
    sqlx::query_as(
        "SELECT coalesce(sum(stored), 0)::int8, coalesce(sum(duplicate + conflict), 0)::int8 FROM ledger",
    )
    .fetch_one(connection)
    .await
}

/// Batches missing in all sequences: those that may still come, and those known to be lost.
///
/// # Errors
/// When the database does.
pub async fn gap_totals(connection: &mut PgConnection) -> Result<(i64, i64), sqlx::Error> {
    sqlx::query_as(
        "SELECT coalesce(sum(last_seq - first_seq + 1) FILTER (WHERE lost_at IS NULL), 0)::int8,
                coalesce(sum(last_seq - first_seq + 1) FILTER (WHERE lost_at IS NOT NULL), 0)::int8
         FROM sequence_gap WHERE closed_at IS NULL",
    )
    .fetch_one(connection)
    .await
}

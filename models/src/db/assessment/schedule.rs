//! The schedule: which asset is due, and whose it is for the moment.

use sqlx::PgConnection;
use uuid::Uuid;

use super::Result;
use crate::db::outbox;
use crate::id::{AssetId, TenantId};
use crate::time::Timestamp;

/// Gives every asset with a channel and a life in the plant a row in the schedule, and takes it from
/// the others. Returns how many rows came and went.
///
/// # Errors
/// When the database does.
pub async fn sync_schedule(connection: &mut PgConnection) -> Result<(u64, u64)> {
    let gone = sqlx::query(
        "DELETE FROM assessment_schedule s USING asset a
         WHERE a.id = s.asset_id AND a.status IN ('in_storage', 'disposed')",
    )
    .execute(&mut *connection)
    .await?;
    let come = sqlx::query(
        "INSERT INTO assessment_schedule (asset_id, tenant_id)
         SELECT a.id, a.tenant_id FROM asset a
         WHERE a.status IN ('operational', 'maintenance', 'down')
           AND EXISTS (SELECT FROM channel c WHERE c.asset_id = a.id)
           AND NOT EXISTS (SELECT FROM assessment_schedule s WHERE s.asset_id = a.id)
         ON CONFLICT DO NOTHING",
    )
    .execute(connection)
    .await?;
    Ok((come.rows_affected(), gone.rows_affected()))
}

/// An asset that is this process's to assess until the lease ends.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Claim {
    pub asset_id: AssetId,
    pub tenant_id: TenantId,
    pub failures: i32,
}

/// When an asset is due again: its shortest P-F interval by `passes_per_pf`, so that what fails fast is
/// looked at often, never more often than every `interval_s` and at least every `most_s` seconds. An
/// asset whose failure modes have no interval is due every `interval_s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    pub interval_s: f64,
    pub passes_per_pf: f64,
    pub most_s: f64,
}

impl From<f64> for Pace {
    /// Every asset every `interval_s` seconds.
    fn from(interval_s: f64) -> Self {
        Self {
            interval_s,
            passes_per_pf: 1.0,
            most_s: interval_s,
        }
    }
}

/// Takes up to `limit` due assets for `worker`. Rows another process is taking are skipped, rows it
/// has taken are not due until its lease has run out. The next pass is due by `pace`; a wake-up during
/// the pass makes it due at once and is not lost.
///
/// # Errors
/// When the database does.
pub async fn claim_due(
    connection: &mut PgConnection,
    worker: Uuid,
    now: Timestamp,
    limit: i64,
    pace: impl Into<Pace>,
    lease_s: f64,
) -> Result<Vec<Claim>> {
    let pace = pace.into();
    sqlx::query_as(
        "UPDATE assessment_schedule s
         SET due_at = $2 + make_interval(secs => greatest($4, least($7, coalesce(
                 (SELECT min(m.pf_interval_days) * 86400 / $6 FROM asset a JOIN failure_mode m ON m.class_id = a.class_id
                  WHERE a.id = s.asset_id), $4)))), claimed_by = $1, claimed_until = $2 + make_interval(secs => $5)
         FROM (SELECT asset_id FROM assessment_schedule
               WHERE due_at <= $2 AND (claimed_until IS NULL OR claimed_until <= $2)
               ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED) due
         WHERE s.asset_id = due.asset_id
         RETURNING s.asset_id, s.tenant_id, s.failures",
    )
    .bind(worker)
    .bind(now)
    .bind(limit)
    .bind(pace.interval_s)
    .bind(lease_s)
    .bind(pace.passes_per_pf)
    .bind(pace.most_s)
    .fetch_all(connection)
    .await
}

/// Gives a claim back after a good pass. False: the lease had run out and another worker has the
/// asset; what was computed must be rolled back.
///
/// # Errors
/// When the database does.
pub async fn finish_claim(
    connection: &mut PgConnection,
    asset: AssetId,
    worker: Uuid,
    now: Timestamp,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE assessment_schedule SET last_at = $3, failures = 0, last_error = NULL, claimed_by = NULL, claimed_until = NULL
         WHERE asset_id = $1 AND claimed_by = $2",
    )
    .bind(asset)
    .bind(worker)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// As [`finish_claim`] for several assets; returns those that were still the worker's.
///
/// # Errors
/// When the database does.
pub async fn finish_claims(
    connection: &mut PgConnection,
    assets: &[AssetId],
    worker: Uuid,
    now: Timestamp,
) -> Result<Vec<AssetId>> {
    sqlx::query_scalar(
        "UPDATE assessment_schedule SET last_at = $3, failures = 0, last_error = NULL, claimed_by = NULL, claimed_until = NULL
         WHERE asset_id = ANY ($1) AND claimed_by = $2 RETURNING asset_id",
    )
    .bind(assets)
    .bind(worker)
    .bind(now)
    .fetch_all(connection)
    .await
}

/// Makes an asset due at `at`, unless it is due before.
///
/// # Errors
/// When the database does.
pub async fn due_by(connection: &mut PgConnection, asset: AssetId, at: Timestamp) -> Result<()> {
    sqlx::query("UPDATE assessment_schedule SET due_at = LEAST(due_at, $2) WHERE asset_id = $1")
        .bind(asset)
        .bind(at)
        .execute(connection)
        .await?;
    Ok(())
}

/// Gives a claim back after a pass that failed; the next one is due at `retry_at`.
///
/// # Errors
/// When the database does.
pub async fn fail_claim(
    connection: &mut PgConnection,
    asset: AssetId,
    worker: Uuid,
    retry_at: Timestamp,
    error: &str,
) -> Result<()> {
    sqlx::query(
        "UPDATE assessment_schedule
         SET failures = failures + 1, last_error = $4, due_at = $3, claimed_by = NULL, claimed_until = NULL
         WHERE asset_id = $1 AND claimed_by = $2",
    )
    .bind(asset)
    .bind(worker)
    .bind(retry_at)
    .bind(error)
    .execute(connection)
    .await?;
    Ok(())
}

/// What a look into the outbox found.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Woken {
    /// Everything below this transaction id was looked at: where the next look begins.
    pub up_to: String,
    /// Assets that were made due.
    pub assets: i64,
    /// There are events that an older transaction, still open, may yet overtake: look again soon. Its end
    /// notifies nobody unless it has events of its own.
    pub held: bool,
}

/// Makes assets due at once whose limit alarms changed in transactions from `from` on (an
/// [`outbox::horizon`], such as `up_to` of the last look); those that analytics raises itself say nothing
/// new. Ids of events are no order of commits, so looks go by settled transactions, whole.
///
/// # Errors
/// When the database does.
pub async fn wake_by_outbox(connection: &mut PgConnection, from: &str, now: Timestamp) -> Result<Woken> {
    // A statement of its own: what has ended by now is visible to the next one.
    let up_to = outbox::horizon(connection).await?;
    sqlx::query_as(
        "WITH news AS (SELECT asset_id FROM outbox
                       WHERE xid >= $1::xid8 AND xid < $2::xid8 AND kind LIKE 'alarm.%' AND asset_id IS NOT NULL
                         AND data->>'kind' IN ('high', 'low', 'rate', 'stuck')),
              woken AS (UPDATE assessment_schedule s SET due_at = $3
                        WHERE due_at > $3 AND failures = 0 AND asset_id IN (SELECT asset_id FROM news) RETURNING 1)
         SELECT $2 AS up_to, (SELECT count(*) FROM woken) AS assets,
                EXISTS (SELECT FROM outbox WHERE xid >= $2::xid8) AS held",
    )
    .bind(from)
    .bind(up_to)
    .bind(now)
    .fetch_one(connection)
    .await
}

/// Seconds since the most overdue asset was due (0 = none is) and how many assets failed last time.
///
/// # Errors
/// When the database does.
pub async fn schedule_state(connection: &mut PgConnection, now: Timestamp) -> Result<(f64, i64, i64)> {
    sqlx::query_as(
        "SELECT coalesce(greatest(extract(epoch FROM $1 - min(due_at)), 0), 0)::float8, count(*),
                count(*) FILTER (WHERE failures > 0) FROM assessment_schedule",
    )
    .bind(now)
    .fetch_one(connection)
    .await
}

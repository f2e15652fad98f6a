//! What could not be stored, whole, with its reason.

use sqlx::PgConnection;
use sqlx::types::Json;

use crate::dead_letter::Fix;
use crate::id::{DeadLetterId, GatewayId, TenantId};
use crate::time::Timestamp;

/// A payload, or single readings of one, that could not be stored.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct DeadLetter {
    pub id: DeadLetterId,
    pub tenant_id: TenantId,
    pub gateway_id: GatewayId,
    pub received_at: Timestamp,
    pub topic: String,
    pub payload: Vec<u8>,
    /// The codec that was tried: `native`, `json`; `readings` = single readings as JSON.
    pub format: String,
    /// Stable code.
    pub reason: String,
    pub detail: String,
    /// How many readings of the ledger's `rejected` stand here.
    pub readings: i32,
}

/// Writes dead letters; one that is there already (a repeated transaction) stays.
///
/// # Errors
/// When the database does.
pub async fn insert(connection: &mut PgConnection, letters: &[DeadLetter]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO dead_letter (id, tenant_id, gateway_id, received_at, topic, payload, format, reason, detail, readings)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[], $5::text[], $6::bytea[], $7::text[],
                              $8::text[], $9::text[], $10::int4[])
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(letters.iter().map(|letter| letter.id).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.tenant_id).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.gateway_id).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.received_at).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.topic.replace('\0', "\u{fffd}")).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.payload.as_slice()).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.format.as_str()).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.reason.as_str()).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.detail.replace('\0', "\u{fffd}")).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.readings).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Which dead letters to look at.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub tenant: Option<TenantId>,
    pub gateway: Option<GatewayId>,
    pub reason: Option<String>,
    /// Of these ids only; empty = any.
    pub ids: Vec<DeadLetterId>,
    /// Only those that somebody asked to be tried again.
    pub requested: bool,
}

/// An open dead letter and how it is to be mended.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct OpenLetter {
    #[sqlx(flatten)]
    pub letter: DeadLetter,
    #[sqlx(json)]
    pub fix: Fix,
}

/// Open dead letters, oldest first, at most `limit`, after `after`.
///
/// # Errors
/// When the database does.
pub async fn open(
    connection: &mut PgConnection,
    filter: &Filter,
    after: Option<DeadLetterId>,
    limit: i64,
) -> Result<Vec<OpenLetter>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, tenant_id, gateway_id, received_at, topic, payload, format, reason, detail, readings, fix
         FROM dead_letter
         WHERE replayed_at IS NULL AND discarded_at IS NULL
           AND ($1::uuid IS NULL OR tenant_id = $1) AND ($2::uuid IS NULL OR gateway_id = $2)
           AND ($3::text IS NULL OR reason = $3) AND (cardinality($4::uuid[]) = 0 OR id = ANY ($4))
           AND ($5::uuid IS NULL OR id > $5) AND (NOT $7 OR replay_requested_at IS NOT NULL)
         ORDER BY id LIMIT $6",
    )
    .bind(filter.tenant)
    .bind(filter.gateway)
    .bind(filter.reason.as_deref())
    .bind(&filter.ids)
    .bind(after)
    .bind(limit)
    .bind(filter.requested)
    .fetch_all(connection)
    .await
}

/// The ids of all open dead letters that match, oldest first.
///
/// # Errors
/// When the database does.
pub async fn open_ids(
    connection: &mut PgConnection,
    filter: &Filter,
) -> Result<Vec<DeadLetterId>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT id FROM dead_letter
         WHERE replayed_at IS NULL AND discarded_at IS NULL
           AND ($1::uuid IS NULL OR tenant_id = $1) AND ($2::uuid IS NULL OR gateway_id = $2)
           AND ($3::text IS NULL OR reason = $3) AND (cardinality($4::uuid[]) = 0 OR id = ANY ($4))
           AND (NOT $5 OR replay_requested_at IS NOT NULL)
         ORDER BY id",
    )
    .bind(filter.tenant)
    .bind(filter.gateway)
    .bind(filter.reason.as_deref())
    .bind(&filter.ids)
    .bind(filter.requested)
    .fetch_all(connection)
    .await
}

/// Marks dead letters as replayed, in the transaction that stores what they held. Returns those
/// that were still open: another replay may have been faster.
///
/// # Errors
/// When the database does.
pub async fn mark_replayed(
    connection: &mut PgConnection,
    ids: &[DeadLetterId],
) -> Result<Vec<DeadLetterId>, sqlx::Error> {
    sqlx::query_scalar(
        "UPDATE dead_letter SET replayed_at = now()
         WHERE id = ANY ($1) AND replayed_at IS NULL AND discarded_at IS NULL
         RETURNING id",
    )
    .bind(ids)
    .fetch_all(connection)
    .await
}

/// Writes how open dead letters are to be mended, in place of what was written before. Returns those
/// that were open.
///
/// # Errors
/// When the database does.
pub async fn set_fix(
    connection: &mut PgConnection,
    ids: &[DeadLetterId],
    fix: &Fix,
) -> Result<Vec<DeadLetterId>, sqlx::Error> {
    sqlx::query_scalar(
        "UPDATE dead_letter SET fix = $2
         WHERE id = ANY ($1) AND replayed_at IS NULL AND discarded_at IS NULL
         RETURNING id",
    )
    .bind(ids)
    .bind(Json(fix))
    .fetch_all(connection)
    .await
}

/// Asks ingest to try dead letters again. Returns those that were open.
///
/// # Errors
/// When the database does.
pub async fn request_replay(
    connection: &mut PgConnection,
    ids: &[DeadLetterId],
) -> Result<Vec<DeadLetterId>, sqlx::Error> {
    sqlx::query_scalar(
        "UPDATE dead_letter SET replay_requested_at = now(), replay_failed_at = NULL, replay_error = NULL
         WHERE id = ANY ($1) AND replayed_at IS NULL AND discarded_at IS NULL
         RETURNING id",
    )
    .bind(ids)
    .fetch_all(connection)
    .await
}

/// A try that left the letter where it is: notes why, and takes the request away.
///
/// # Errors
/// When the database does.
pub async fn replay_failed(
    connection: &mut PgConnection,
    id: DeadLetterId,
    why: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE dead_letter SET replay_requested_at = NULL, replay_failed_at = now(), replay_error = $2
         WHERE id = $1 AND replayed_at IS NULL",
    )
    .bind(id)
    .bind(why.replace('\0', "\u{fffd}"))
    .execute(connection)
    .await?;
    Ok(())
}

/// Lets the gateways of these letters register up to `channels` channels, where that is more than
/// they may now. Returns how many gateways that changed. Needs the owner's rights.
///
/// # Errors
/// When the database does.
pub async fn raise_quota(
    connection: &mut PgConnection,
    ids: &[DeadLetterId],
    channels: i32,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE gateway SET max_channels = $2
         WHERE max_channels < $2 AND id IN (SELECT gateway_id FROM dead_letter WHERE id = ANY ($1))",
    )
    .bind(ids)
    .bind(channels)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// How many are open, and how many readings they hold.
///
/// # Errors
/// When the database does.
pub async fn open_totals(connection: &mut PgConnection) -> Result<(i64, i64), sqlx::Error> {
    sqlx::query_as(
        "SELECT count(*), coalesce(sum(readings), 0)::int8 FROM dead_letter
         WHERE replayed_at IS NULL AND discarded_at IS NULL",
    )
    .fetch_one(connection)
    .await
}

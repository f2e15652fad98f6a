//! What could not be stored, whole, with its reason.

use sqlx::PgConnection;

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
) -> Result<Vec<DeadLetter>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, tenant_id, gateway_id, received_at, topic, payload, format, reason, detail, readings
         FROM dead_letter
         WHERE replayed_at IS NULL AND discarded_at IS NULL
           AND ($1::uuid IS NULL OR tenant_id = $1) AND ($2::uuid IS NULL OR gateway_id = $2)
           AND ($3::text IS NULL OR reason = $3) AND (cardinality($4::uuid[]) = 0 OR id = ANY ($4))
           AND ($5::uuid IS NULL OR id > $5)
         ORDER BY id LIMIT $6",
    )
    .bind(filter.tenant)
    .bind(filter.gateway)
    .bind(filter.reason.as_deref())
    .bind(&filter.ids)
    .bind(after)
    .bind(limit)
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

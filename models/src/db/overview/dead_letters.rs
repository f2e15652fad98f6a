//! What could not be stored, for people.

use sqlx::PgConnection;

use crate::dead_letter::Fix;
use crate::id::{DeadLetterId, GatewayId, TenantId};
use crate::time::Timestamp;

/// A dead letter without its payload.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct DeadLetterRow {
    pub id: DeadLetterId,
    pub tenant_id: TenantId,
    pub gateway_id: GatewayId,
    pub gateway_slug: String,
    pub tenant_slug: String,
    pub received_at: Timestamp,
    pub topic: String,
    pub format: String,
    pub reason: String,
    pub detail: String,
    pub readings: i32,
    pub bytes: i32,
    pub replayed_at: Option<Timestamp>,
    pub discarded_at: Option<Timestamp>,
    #[sqlx(json)]
    pub fix: Fix,
    /// Waits for ingest to try it again.
    pub replay_requested_at: Option<Timestamp>,
    /// The last try left it where it is, for this reason.
    pub replay_failed_at: Option<Timestamp>,
    pub replay_error: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct DeadLetterFilter {
    pub gateway: Option<GatewayId>,
    pub reason: Option<String>,
    /// Only those that are neither replayed nor discarded.
    pub open: bool,
}

macro_rules! dead_letter_query {
    ($filter:literal) => {
        concat!(
            "SELECT l.id, l.tenant_id, l.gateway_id, g.slug AS gateway_slug, t.slug AS tenant_slug, l.received_at, l.topic,
                    l.format, l.reason, l.detail, l.readings, octet_length(l.payload) AS bytes, l.replayed_at,
                    l.discarded_at, l.fix, l.replay_requested_at, l.replay_failed_at, l.replay_error
             FROM dead_letter l JOIN gateway g ON g.id = l.gateway_id JOIN tenant t ON t.id = l.tenant_id WHERE ",
            $filter
        )
    };
}

/// Newest first, after the moment and id of `after`.
///
/// # Errors
/// When the database does.
pub async fn dead_letters(
    connection: &mut PgConnection,
    filter: &DeadLetterFilter,
    after: Option<(Timestamp, DeadLetterId)>,
    limit: i64,
) -> Result<Vec<DeadLetterRow>, sqlx::Error> {
    sqlx::query_as(dead_letter_query!(
        "($1::uuid IS NULL OR l.gateway_id = $1) AND ($2::text IS NULL OR l.reason = $2)
         AND (NOT $3 OR (l.replayed_at IS NULL AND l.discarded_at IS NULL))
         AND ($4::timestamptz IS NULL OR (l.received_at, l.id) < ($4, $5))
         ORDER BY l.received_at DESC, l.id DESC LIMIT $6"
    ))
    .bind(filter.gateway)
    .bind(filter.reason.as_deref())
    .bind(filter.open)
    .bind(after.map(|(at, _)| at))
    .bind(after.map(|(_, id)| id))
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// A dead letter and its payload.
///
/// # Errors
/// When the database does.
pub async fn dead_letter(
    connection: &mut PgConnection,
    id: DeadLetterId,
) -> Result<Option<(DeadLetterRow, Vec<u8>)>, sqlx::Error> {
    let row: Option<DeadLetterRow> = sqlx::query_as(dead_letter_query!("l.id = $1"))
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let payload = sqlx::query_scalar("SELECT payload FROM dead_letter WHERE id = $1")
        .bind(id)
        .fetch_one(connection)
        .await?;
    Ok(Some((row, payload)))
}

/// Says that nobody will mend this one. Whether it was still open.
///
/// # Errors
/// When the database does.
pub async fn discard_dead_letter(
    connection: &mut PgConnection,
    id: DeadLetterId,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE dead_letter SET discarded_at = now() WHERE id = $1 AND replayed_at IS NULL AND discarded_at IS NULL",
    )
    .bind(id)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

//! Gateways and the account of what they sent.

use sqlx::PgConnection;

use crate::id::{CredentialId, DeadLetterId, GatewayId, SiteId, TenantId};
use crate::time::Timestamp;

#[derive(Clone, Debug, sqlx::FromRow)]
pub struct GatewayRow {
    pub id: GatewayId,
    pub slug: String,
    pub name: String,
    pub site_id: SiteId,
    pub site_name: String,
    pub enabled: bool,
    pub last_received_at: Option<Timestamp>,
    pub channels: i64,
    pub devices: i64,
}

/// Gateways by slug, after `after`; or the one of `id`.
///
/// # Errors
/// When the database does.
pub async fn gateways(
    connection: &mut PgConnection,
    id: Option<GatewayId>,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<GatewayRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT g.id, g.slug, g.name, g.site_id, s.name AS site_name, g.enabled,
                (SELECT max(l.last_at) FROM ledger l WHERE l.gateway_id = g.id) AS last_received_at,
                (SELECT count(*) FROM channel c JOIN device d ON d.id = c.device_id WHERE d.gateway_id = g.id) AS channels,
                (SELECT count(*) FROM device d WHERE d.gateway_id = g.id) AS devices
         FROM gateway g JOIN site s ON s.id = g.site_id
         WHERE ($1::uuid IS NULL OR g.id = $1) AND ($2::text IS NULL OR g.slug COLLATE \"C\" > $2)
         ORDER BY g.slug COLLATE \"C\" LIMIT $3",
    )
    .bind(id)
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// A credential without its secret.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct CredentialRow {
    pub id: CredentialId,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

/// All credentials of a gateway, newest first.
///
/// # Errors
/// When the database does.
pub async fn credentials(
    connection: &mut PgConnection,
    gateway: GatewayId,
) -> Result<Vec<CredentialRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, created_at, expires_at, revoked_at FROM gateway_credential WHERE gateway_id = $1 ORDER BY id DESC",
    )
    .bind(gateway)
    .fetch_all(connection)
    .await
}

/// One gateway's account of one UTC day: received = stored + duplicate + conflict + rejected.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct LedgerRow {
    pub gateway_id: GatewayId,
    pub gateway_slug: String,
    /// ISO 8601.
    pub day: String,
    pub received: i64,
    pub stored: i64,
    pub duplicate: i64,
    pub conflict: i64,
    pub rejected: i64,
    pub payloads: i64,
    pub payloads_dead: i64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
}

impl LedgerRow {
    /// Whether every reading received stands somewhere. The schema lets no other be committed.
    pub fn closes(&self) -> bool {
        self.received == self.stored + self.duplicate + self.conflict + self.rejected
    }
}

#[derive(Clone, Debug, Default)]
pub struct LedgerFilter {
    pub gateway: Option<GatewayId>,
    /// First day, ISO 8601.
    pub from: Option<String>,
    /// First day that is left out.
    pub to: Option<String>,
}

/// Newest day first, after the day and gateway of `after`.
///
/// # Errors
/// When the database does; SQLSTATE 22007 or 22008 when a day is none.
pub async fn ledger(
    connection: &mut PgConnection,
    filter: &LedgerFilter,
    after: Option<(&str, GatewayId)>,
    limit: i64,
) -> Result<Vec<LedgerRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT l.gateway_id, g.slug AS gateway_slug, l.day::text AS day, l.received, l.stored, l.duplicate, l.conflict,
                l.rejected, l.payloads, l.payloads_dead, l.first_at, l.last_at
         FROM ledger l JOIN gateway g ON g.id = l.gateway_id
         WHERE ($1::uuid IS NULL OR l.gateway_id = $1) AND ($2::text IS NULL OR l.day >= $2::date)
           AND ($3::text IS NULL OR l.day < $3::date)
           AND ($4::text IS NULL OR (l.day, l.gateway_id) < ($4::date, $5))
         ORDER BY l.day DESC, l.gateway_id DESC LIMIT $6",
    )
    .bind(filter.gateway)
    .bind(filter.from.as_deref())
    .bind(filter.to.as_deref())
    .bind(after.map(|(day, _)| day))
    .bind(after.map(|(_, gateway)| gateway))
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// A hole in a gateway's sequence.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct GapRow {
    pub gateway_id: GatewayId,
    pub gateway_slug: String,
    pub epoch: i64,
    pub first_seq: i64,
    pub last_seq: i64,
    pub seen_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    pub lost_at: Option<Timestamp>,
}

/// Holes, newest first; `open` = only those that have not been filled.
///
/// # Errors
/// When the database does.
pub async fn gaps(
    connection: &mut PgConnection,
    gateway: Option<GatewayId>,
    open: bool,
    limit: i64,
) -> Result<Vec<GapRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT s.gateway_id, g.slug AS gateway_slug, s.epoch, s.first_seq, s.last_seq, s.seen_at, s.closed_at, s.lost_at
         FROM sequence_gap s JOIN gateway g ON g.id = s.gateway_id
         WHERE ($1::uuid IS NULL OR s.gateway_id = $1) AND (NOT $2 OR s.closed_at IS NULL)
         ORDER BY s.seen_at DESC, s.gateway_id, s.epoch, s.first_seq LIMIT $3",
    )
    .bind(gateway)
    .bind(open)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// A dead letter without its payload.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct DeadLetterRow {
    pub id: DeadLetterId,
    pub tenant_id: TenantId,
    pub gateway_id: GatewayId,
    pub gateway_slug: String,
    pub received_at: Timestamp,
    pub topic: String,
    pub format: String,
    pub reason: String,
    pub detail: String,
    pub readings: i32,
    pub bytes: i32,
    pub replayed_at: Option<Timestamp>,
    pub discarded_at: Option<Timestamp>,
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
            "SELECT l.id, l.tenant_id, l.gateway_id, g.slug AS gateway_slug, l.received_at, l.topic, l.format, l.reason,
                    l.detail, l.readings, octet_length(l.payload) AS bytes, l.replayed_at, l.discarded_at
             FROM dead_letter l JOIN gateway g ON g.id = l.gateway_id WHERE ",
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

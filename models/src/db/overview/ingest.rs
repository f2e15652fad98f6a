//! Gateways and the account of what they sent.

use sqlx::PgConnection;

use crate::id::{ChannelId, CredentialId, GatewayId, SiteId};
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

/// One gateway's account of one UTC day:
/// received = stored + duplicate + conflict + rejected + dead_lettered.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct LedgerRow {
    pub gateway_id: GatewayId,
    pub gateway_slug: String,
    pub tenant_slug: String,
    /// ISO 8601.
    pub day: String,
    pub received: i64,
    pub stored: i64,
    pub duplicate: i64,
    pub conflict: i64,
    /// Refused for good: their dead letters were discarded.
    pub rejected: i64,
    /// In dead letters that can still be mended and replayed.
    pub dead_lettered: i64,
    pub payloads: i64,
    pub payloads_dead: i64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
}

impl LedgerRow {
    /// Whether every reading received stands somewhere. The schema lets no other be committed.
    pub fn closes(&self) -> bool {
        self.received == self.stored + self.duplicate + self.conflict + self.rejected + self.dead_lettered
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
        "SELECT l.gateway_id, g.slug AS gateway_slug, t.slug AS tenant_slug, l.day::text AS day, l.received, l.stored,
                l.duplicate, l.conflict, l.rejected - d.waiting AS rejected, d.waiting AS dead_lettered, l.payloads,
                l.payloads_dead, l.first_at, l.last_at
         FROM ledger l JOIN gateway g ON g.id = l.gateway_id JOIN tenant t ON t.id = l.tenant_id
         CROSS JOIN LATERAL (
             SELECT coalesce(sum(x.readings), 0)::int8 AS waiting FROM dead_letter x
             WHERE x.gateway_id = l.gateway_id AND x.replayed_at IS NULL AND x.discarded_at IS NULL
               AND x.received_at >= l.day::timestamp AT TIME ZONE 'UTC'
               AND x.received_at < (l.day + 1)::timestamp AT TIME ZONE 'UTC') d
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
    pub tenant_slug: String,
    pub epoch: i64,
    pub first_seq: i64,
    pub last_seq: i64,
    pub seen_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    pub lost_at: Option<Timestamp>,
}

impl GapRow {
    /// Where the batches are, or were lost.
    pub fn place(&self) -> &'static str {
        if self.closed_at.is_some() {
            "arrived"
        } else if self.lost_at.is_some() {
            // The gateway's floor passed them: its spool had let go of them before they were committed.
            "gateway_spool"
        } else {
            "link"
        }
    }
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
        "SELECT s.gateway_id, g.slug AS gateway_slug, t.slug AS tenant_slug, s.epoch, s.first_seq, s.last_seq, s.seen_at,
                s.closed_at, s.lost_at
         FROM sequence_gap s JOIN gateway g ON g.id = s.gateway_id JOIN tenant t ON t.id = s.tenant_id
         WHERE ($1::uuid IS NULL OR s.gateway_id = $1) AND (NOT $2 OR s.closed_at IS NULL)
         ORDER BY s.seen_at DESC, s.gateway_id, s.epoch, s.first_seq LIMIT $3",
    )
    .bind(gateway)
    .bind(open)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// A time at which a channel with an expected cadence said nothing.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct CadenceGapRow {
    pub gateway_id: GatewayId,
    pub gateway_slug: String,
    pub channel_id: ChannelId,
    pub device: String,
    pub channel: String,
    pub cadence_s: f64,
    /// The reading before the hole.
    pub after_ts: Timestamp,
    /// The reading after it; `None` = it lasts.
    pub before_ts: Option<Timestamp>,
    /// Readings that the cadence let expect.
    pub missing: i64,
    /// refused, channel, device, gateway_spool, link or gateway: see migration 0025.
    pub place: String,
}

/// Which holes in the cadence to look for.
#[derive(Clone, Copy, Debug)]
pub struct CadenceFilter {
    pub gateway: Option<GatewayId>,
    pub channel: Option<ChannelId>,
    pub from: Timestamp,
    pub to: Timestamp,
    /// A silence is a hole when it is longer than so many times the cadence.
    pub factor: f64,
}

/// Holes in the cadence of the tenant acted for, newest first.
///
/// # Errors
/// When the database does.
pub async fn cadence_gaps(
    connection: &mut PgConnection,
    filter: &CadenceFilter,
    limit: i32,
) -> Result<Vec<CadenceGapRow>, sqlx::Error> {
    sqlx::query_as("SELECT * FROM cadence_gaps($1, $2, $3, $4, $5, $6)")
        .bind(filter.gateway)
        .bind(filter.channel)
        .bind(filter.from)
        .bind(filter.to)
        .bind(filter.factor)
        .bind(limit)
        .fetch_all(connection)
        .await
}

//! SQL of the outbox: what others should hear of, in the transaction that made it true.
//!
//! Readers see each row once and in one order, `(xid, id)`, although transactions commit in another
//! order than they took their ids: a row is shown only when no older transaction of this database is
//! still open (`outbox_horizon()`, migration 0040; those of other databases are not waited for).

mod wake;

use serde_json::Value;
use sqlx::PgConnection;

use crate::id::{AssetId, TenantId};
use crate::time::Timestamp;

pub use wake::{listen, news};

/// Channel of `NOTIFY` that every append wakes; the notification carries no data.
pub const WAKE: &str = "forewarn_outbox";

#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Event {
    pub id: i64,
    pub tenant_id: TenantId,
    pub at: Timestamp,
    pub kind: String,
    pub subject: String,
    pub asset_id: Option<AssetId>,
    pub data: Value,
}

/// Says that `kind` happened to `subject` (a prefixed id).
///
/// # Errors
/// When the database does.
pub async fn append(
    connection: &mut PgConnection,
    tenant: TenantId,
    kind: &str,
    subject: &str,
    asset: Option<AssetId>,
    data: &Value,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO outbox (tenant_id, kind, subject, asset_id, data) VALUES ($1, $2, $3, $4, $5)")
        .bind(tenant)
        .bind(kind)
        .bind(subject)
        .bind(asset)
        .bind(data)
        .execute(connection)
        .await?;
    Ok(())
}

/// The events after `after` (0 = from the oldest kept) that can't be overtaken any more, at most
/// `limit`. When `after` has been pruned, those with a higher id.
///
/// # Errors
/// When the database does.
pub async fn read_after(
    connection: &mut PgConnection,
    after: i64,
    limit: i64,
) -> Result<Vec<Event>, sqlx::Error> {
    // A statement of its own: what has ended by now is visible to the next one.
    let horizon = horizon(connection).await?;
    read_below(connection, &horizon, after, limit).await
}

/// [`read_after`], and whether the tenant has more that an older transaction, still open, may yet
/// overtake: look again soon, for its end notifies nobody unless it has events of its own.
///
/// # Errors
/// When the database does.
pub async fn read_or_wait(
    connection: &mut PgConnection,
    after: i64,
    limit: i64,
) -> Result<(Vec<Event>, bool), sqlx::Error> {
    let horizon = horizon(connection).await?;
    let events = read_below(connection, &horizon, after, limit).await?;
    // By the same horizon: with a newer one, an event that was settled in between would be neither read
    // nor waited for.
    let held = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM outbox WHERE tenant_id = current_tenant() AND xid >= $1::xid8)",
    )
    .bind(&horizon)
    .fetch_one(connection)
    .await?;
    Ok((events, held))
}

async fn read_below(
    connection: &mut PgConnection,
    horizon: &str,
    after: i64,
    limit: i64,
) -> Result<Vec<Event>, sqlx::Error> {
    sqlx::query_as(
        "WITH mark AS (SELECT xid FROM outbox WHERE id = $1)
         SELECT id, tenant_id, at, kind, subject, asset_id, data FROM outbox
         WHERE xid < $3::xid8
           AND CASE WHEN EXISTS (SELECT FROM mark) THEN (xid, id) > ((SELECT xid FROM mark), $1) ELSE id > $1 END
         ORDER BY xid, id LIMIT $2",
    )
    .bind(after)
    .bind(limit)
    .bind(horizon)
    .fetch_all(connection)
    .await
}

/// Below this transaction id (as text) everything is settled.
///
/// # Errors
/// When the database does.
pub async fn horizon(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    sqlx::query_scalar("SELECT outbox_horizon()::text")
        .fetch_one(connection)
        .await
}

/// The newest event that can't be overtaken any more, 0 when there is none: where a reader starts
/// that wants only what is new.
///
/// # Errors
/// When the database does.
pub async fn head(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let horizon = horizon(connection).await?;
    let id: Option<i64> =
        sqlx::query_scalar("SELECT id FROM outbox WHERE xid < $1::xid8 ORDER BY xid DESC, id DESC LIMIT 1")
            .bind(horizon)
            .fetch_optional(connection)
            .await?;
    Ok(id.unwrap_or(0))
}

/// Drops what is older than `before` and tells how many rows that were.
///
/// # Errors
/// When the database does.
pub async fn prune(connection: &mut PgConnection, before: Timestamp) -> Result<u64, sqlx::Error> {
    Ok(sqlx::query("DELETE FROM outbox WHERE at < $1")
        .bind(before)
        .execute(connection)
        .await?
        .rows_affected())
}

#[cfg(test)]
mod tests;

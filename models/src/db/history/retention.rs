//! How long what is kept, per tenant and class of channel, and the removal itself.
//!
//! Before readings go, every hour of theirs gets a rollup row, however sparse: what remains of a
//! channel is then complete. A reading that comes later for a time whose readings are gone is stored
//! like any other, doesn't change the rollups, and goes with the next round.

use sqlx::{Connection, PgConnection};

use super::rollup;
use crate::asset::ChannelKind;
use crate::id::{ChannelId, TenantId};
use crate::time::Timestamp;

/// Days; `None` = for ever. Rollups are never kept shorter than readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Keep {
    pub raw_days: Option<i32>,
    pub minute_days: Option<i32>,
    pub hour_days: Option<i32>,
}

/// A tenant's rule for one class of channels; `kind` `None` = for those without one of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Policy {
    pub kind: Option<ChannelKind>,
    #[sqlx(flatten)]
    pub keep: Keep,
    pub updated_at: Timestamp,
}

/// The acting tenant's policies.
///
/// # Errors
/// When the database does.
pub async fn policies(connection: &mut PgConnection) -> Result<Vec<Policy>, sqlx::Error> {
    sqlx::query_as(
        "SELECT kind, raw_days, minute_days, hour_days, updated_at FROM retention_policy ORDER BY kind NULLS FIRST",
    )
    .fetch_all(connection)
    .await
}

/// Writes or replaces a policy.
///
/// # Errors
/// A check (23514) when rollups are to go before the readings.
pub async fn set_policy(
    connection: &mut PgConnection,
    tenant: TenantId,
    kind: Option<ChannelKind>,
    keep: Keep,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO retention_policy (tenant_id, kind, raw_days, minute_days, hour_days) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (tenant_id, kind) DO UPDATE SET raw_days = excluded.raw_days, minute_days = excluded.minute_days,
             hour_days = excluded.hour_days, updated_at = now()",
    )
    .bind(tenant)
    .bind(kind)
    .bind(keep.raw_days)
    .bind(keep.minute_days)
    .bind(keep.hour_days)
    .execute(connection)
    .await?;
    Ok(())
}

/// What one round removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub chunks: i64,
    pub readings: i64,
    pub minutes: i64,
    pub compressed: i64,
}

#[derive(sqlx::FromRow)]
struct Due {
    id: ChannelId,
    #[sqlx(flatten)]
    keep: Keep,
    raw_from: Option<Timestamp>,
}

/// Every channel of every tenant with what holds for it.
async fn channels(connection: &mut PgConnection, usual: Keep) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as(
        "SELECT c.id, p.raw_days, p.minute_days, p.hour_days, x.raw_from
         FROM channel c LEFT JOIN channel_retained x ON x.channel_id = c.id
         CROSS JOIN LATERAL (
             SELECT * FROM (
                 SELECT CASE WHEN r.kind IS NULL THEN 1 ELSE 0 END AS rank, r.raw_days, r.minute_days, r.hour_days
                 FROM retention_policy r WHERE r.tenant_id = c.tenant_id AND (r.kind = c.kind OR r.kind IS NULL)
                 UNION ALL SELECT 2, $1::int4, $2::int4, $3::int4) y
             ORDER BY rank LIMIT 1) p
         ORDER BY c.id",
    )
    .bind(usual.raw_days)
    .bind(usual.minute_days)
    .bind(usual.hour_days)
    .fetch_all(connection)
    .await
}

fn day_before(now: Timestamp, days: Option<i32>) -> Option<Timestamp> {
    const DAY: i64 = 24 * rollup::HOUR_US;
    let days = i64::from(days?);
    Some(Timestamp::from_micros(
        (now.micros().div_euclid(DAY) - days) * DAY,
    ))
}

/// Removes what nobody wants any more. `usual` holds for tenants without a policy. Nothing is removed
/// that isn't rolled up yet.
///
/// # Errors
/// When the database does; what was removed before stays so.
pub async fn remove(
    connection: &mut PgConnection,
    now: Timestamp,
    usual: Keep,
) -> Result<Removed, sqlx::Error> {
    let mut removed = Removed::default();
    let Some(frontier) = rollup::backlog(connection).await?.frontier else {
        return Ok(removed);
    };
    let due = channels(connection, usual).await?;
    let horizon = |keep: Keep| day_before(now, keep.raw_days).map(|day| day.min(frontier));
    // Before this nobody wants readings; `None` when somebody wants them for ever.
    let everybody = due
        .iter()
        .map(|channel| horizon(channel.keep))
        .reduce(|a, b| Some(a?.min(b?)))
        .flatten();
    if let Some(before) = everybody {
        removed.chunks = drop_chunks(connection, &due, before).await?;
    }
    for channel in &due {
        if let Some(before) = horizon(channel.keep)
            && channel.raw_from.is_none_or(|gone| gone < before)
            && everybody != Some(before)
        {
            removed.readings += delete_raw(connection, channel, before).await?;
        }
        let (minutes, hours) = (
            day_before(now, channel.keep.minute_days),
            day_before(now, channel.keep.hour_days),
        );
        if minutes.is_some() || hours.is_some() {
            removed.minutes += sqlx::query_scalar::<_, i64>("SELECT retention_delete_rollups($1, $2, $3)")
                .bind(channel.id)
                .bind(minutes)
                .bind(hours)
                .fetch_one(&mut *connection)
                .await?;
        }
    }
    Ok(removed)
}

#[derive(sqlx::FromRow)]
struct Chunk {
    chunk: String,
    begins: Timestamp,
    ends: Timestamp,
    compressed: bool,
}

async fn chunks(connection: &mut PgConnection) -> Result<Vec<Chunk>, sqlx::Error> {
    sqlx::query_as("SELECT * FROM retention_chunks()")
        .fetch_all(connection)
        .await
}

/// One transaction for each chunk: seal it, drop it.
async fn drop_chunks(
    connection: &mut PgConnection,
    due: &[Due],
    before: Timestamp,
) -> Result<i64, sqlx::Error> {
    let mut dropped = 0;
    for chunk in chunks(connection)
        .await?
        .iter()
        .filter(|chunk| chunk.ends <= before)
    {
        let mut tx = connection.begin().await?;
        for channel in due {
            let from = channel
                .raw_from
                .map_or(chunk.begins, |gone| gone.max(chunk.begins));
            if from < chunk.ends && !seal(&mut tx, channel.id, from, chunk.ends).await? {
                return Ok(dropped); // somebody is at this channel: the next round does it
            }
        }
        dropped += sqlx::query_scalar::<_, i64>("SELECT retention_drop_raw($1)")
            .bind(chunk.ends)
            .fetch_one(&mut *tx)
            .await?;
        tx.commit().await?;
    }
    Ok(dropped)
}

async fn delete_raw(
    connection: &mut PgConnection,
    channel: &Due,
    before: Timestamp,
) -> Result<i64, sqlx::Error> {
    let mut tx = connection.begin().await?;
    let first: Option<Timestamp> =
        sqlx::query_scalar("SELECT ts FROM reading WHERE channel_id = $1 AND ts < $2 ORDER BY ts LIMIT 1")
            .bind(channel.id)
            .bind(before)
            .fetch_optional(&mut *tx)
            .await?;
    if let Some(first) = first {
        let first = Timestamp::from_micros(first.micros().div_euclid(rollup::HOUR_US) * rollup::HOUR_US);
        // Late readings before what is gone already must not replace the rollups that are left of it.
        let from = channel.raw_from.map_or(first, |gone| gone.max(first));
        if from < before && !seal(&mut tx, channel.id, from, before).await? {
            return Ok(0);
        }
    }
    let gone = sqlx::query_scalar("SELECT retention_delete_raw($1, $2)")
        .bind(channel.id)
        .bind(before)
        .fetch_one(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(gone)
}

/// Gives every hour of `[from, to)` that has a reading its row. `false`: somebody else is at it.
async fn seal(
    connection: &mut PgConnection,
    channel: ChannelId,
    from: Timestamp,
    to: Timestamp,
) -> Result<bool, sqlx::Error> {
    if !rollup::try_lock(connection, channel).await? {
        return Ok(false);
    }
    // By weeks: a dense year at once would not fit into the database's memory.
    let mut at = from;
    while at < to {
        let end = Timestamp::from_micros(at.micros() + 7 * 24 * rollup::HOUR_US).min(to);
        rollup::refresh(connection, channel, at, end, 1).await?;
        at = end;
    }
    Ok(true)
}

/// Compresses chunks that ended before `before`, where the edition can. Returns how many.
///
/// # Errors
/// When the database does; chunks compressed before stay so.
pub async fn compress(connection: &mut PgConnection, before: Timestamp) -> Result<i64, sqlx::Error> {
    let able: bool = sqlx::query_scalar("SELECT retention_can_compress()")
        .fetch_one(&mut *connection)
        .await?;
    if !able {
        return Ok(0);
    }
    let mut done = 0;
    for chunk in chunks(connection).await? {
        if chunk.ends <= before && !chunk.compressed {
            sqlx::query("SELECT retention_compress($1)")
                .bind(&chunk.chunk)
                .execute(&mut *connection)
                .await?;
            done += 1;
        }
    }
    Ok(done)
}

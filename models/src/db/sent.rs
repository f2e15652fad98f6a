//! What was sent where it was converted: the raw value and unit of a reading, and whether its device
//! is live.

use sqlx::PgConnection;

use crate::id::{ChannelId, DeviceId};
use crate::time::Timestamp;

/// A reading as it was sent, in a unit that is not its channel's.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    pub channel: ChannelId,
    pub ts: Timestamp,
    pub value: f64,
    /// UCUM code.
    pub unit: String,
}

/// Keeps what was sent. What is there already stays: the reading that came first is the one stored.
///
/// # Errors
/// When the database does.
pub async fn keep(connection: &mut PgConnection, rows: &[Sent]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO reading_sent (channel_id, ts, value, unit)
         SELECT * FROM unnest($1::int4[], $2::timestamptz[], $3::float8[], $4::text[])
         ON CONFLICT (channel_id, ts) DO NOTHING",
    )
    .bind(rows.iter().map(|row| row.channel).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.ts).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.value).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.unit.as_str()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// A reading as it was sent, beside what is stored.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct SentRow {
    pub ts: Timestamp,
    pub value: f64,
    pub unit: String,
    /// In the channel's unit.
    pub stored: f64,
}

/// Readings of a channel of the caller's tenant as they were sent, oldest first.
///
/// # Errors
/// When the database does.
pub async fn history(
    connection: &mut PgConnection,
    channel: ChannelId,
    from: Timestamp,
    to: Timestamp,
    limit: i32,
) -> Result<Vec<SentRow>, sqlx::Error> {
    sqlx::query_as("SELECT ts, value, unit, stored FROM history_sent($1, $2, $3, $4)")
        .bind(channel)
        .bind(from)
        .bind(to)
        .bind(limit)
        .fetch_all(connection)
        .await
}

/// Whether a device is live, since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    pub device: DeviceId,
    pub online: bool,
    pub at: Timestamp,
}

/// Mirrors births and deaths into `device.stale_since`. Of several for one device the last one holds.
///
/// # Errors
/// When the database does.
pub async fn set_presence(connection: &mut PgConnection, changes: &[Presence]) -> Result<(), sqlx::Error> {
    // In the order of ids, as every writer locks.
    let mut last: std::collections::BTreeMap<DeviceId, Presence> = std::collections::BTreeMap::new();
    for change in changes {
        last.insert(change.device, *change);
    }
    sqlx::query(
        "UPDATE device d SET stale_since = n.stale_since
         FROM unnest($1::uuid[], $2::timestamptz[]) AS n (id, stale_since)
         WHERE d.id = n.id AND d.stale_since IS DISTINCT FROM n.stale_since",
    )
    .bind(last.keys().copied().collect::<Vec<_>>())
    .bind(
        last.values()
            .map(|change| (!change.online).then_some(change.at))
            .collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

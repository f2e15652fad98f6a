//! Readings: into the hypertable by COPY, and the slow way when some of them are there already.

use sqlx::PgConnection;

use super::history::rollup;
use crate::id::{AssetId, ChannelId, DeviceId, GatewayId, TenantId};
use crate::reading::{Quality, Reading};
use crate::time::{PG_EPOCH_MICROS, Timestamp};

/// Bytes of one row in COPY's binary form: a count of fields, and four fields with their lengths.
const ROW_BYTES: usize = 2 + (4 + 4) + (4 + 8) + (4 + 8) + (4 + 2);
/// How much is handed to the connection at once.
const CHUNK_ROWS: usize = 64 * 1024 / ROW_BYTES;

fn put_row(buffer: &mut Vec<u8>, reading: &Reading) {
    let mut row = [0_u8; ROW_BYTES];
    row[..2].copy_from_slice(&4_i16.to_be_bytes());
    row[2..6].copy_from_slice(&4_i32.to_be_bytes());
    row[6..10].copy_from_slice(&reading.channel.0.to_be_bytes());
    row[10..14].copy_from_slice(&8_i32.to_be_bytes());
    row[14..22].copy_from_slice(&(reading.ts.micros() - PG_EPOCH_MICROS).to_be_bytes());
    row[22..26].copy_from_slice(&8_i32.to_be_bytes());
    row[26..34].copy_from_slice(&reading.value.to_be_bytes());
    row[34..38].copy_from_slice(&2_i32.to_be_bytes());
    row[38..40].copy_from_slice(&reading.quality.code().to_be_bytes());
    buffer.extend_from_slice(&row);
}

/// Copies `readings` straight into the hypertable, and marks the rollups that they make untrue. They
/// should be sorted by channel and time.
///
/// # Errors
/// A unique violation (23505) when one of them is stored already; whatever else the database says.
/// After an error the transaction must go back to a savepoint.
pub async fn copy(connection: &mut PgConnection, readings: &[Reading]) -> Result<u64, sqlx::Error> {
    let mut copy = connection
        .copy_in_raw("COPY reading (channel_id, ts, value, quality) FROM STDIN (FORMAT binary)")
        .await?;
    let mut buffer = Vec::with_capacity(CHUNK_ROWS.min(readings.len()) * ROW_BYTES + 32);
    // Signature, flags, length of the header's extension.
    buffer.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    for chunk in readings.chunks(CHUNK_ROWS) {
        for reading in chunk {
            put_row(&mut buffer, reading);
        }
        copy.send(buffer.as_slice()).await?;
        buffer.clear();
    }
    buffer.extend_from_slice(&(-1_i16).to_be_bytes());
    copy.send(buffer.as_slice()).await?;
    let rows = copy.finish().await?;
    rollup::mark(connection, readings).await?;
    Ok(rows)
}

/// What is stored already where a new reading wanted to go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stored {
    pub channel: ChannelId,
    pub ts: Timestamp,
    pub value: f64,
    pub quality: Quality,
}

/// Stores those of `readings` whose channel has nothing at that time yet, and returns what stands
/// where the others wanted to go. Two statements, because only the second one sees what another
/// transaction committed while the first waited for it. `readings` must not name a place twice.
///
/// # Errors
/// When the database does.
pub async fn insert_new(
    connection: &mut PgConnection,
    readings: &[Reading],
) -> Result<Vec<Stored>, sqlx::Error> {
    let channels: Vec<ChannelId> = readings.iter().map(|reading| reading.channel).collect();
    let ts: Vec<Timestamp> = readings.iter().map(|reading| reading.ts).collect();
    let values: Vec<f64> = readings.iter().map(|reading| reading.value).collect();
    let qualities: Vec<i16> = readings.iter().map(|reading| reading.quality.code()).collect();
    let inserted: Vec<(ChannelId, Timestamp)> = sqlx::query_as(
        "INSERT INTO reading (channel_id, ts, value, quality)
         SELECT * FROM unnest($1::int4[], $2::timestamptz[], $3::float8[], $4::int2[])
         ON CONFLICT DO NOTHING
         RETURNING channel_id, ts",
    )
    .bind(&channels)
    .bind(&ts)
    .bind(values)
    .bind(qualities)
    .fetch_all(&mut *connection)
    .await?;
    if inserted.len() == readings.len() {
        rollup::mark(connection, readings).await?;
        return Ok(Vec::new());
    }
    let inserted: std::collections::HashSet<_> = inserted.into_iter().collect();
    let new: Vec<Reading> = readings
        .iter()
        .filter(|reading| inserted.contains(&(reading.channel, reading.ts)))
        .copied()
        .collect();
    rollup::mark(connection, &new).await?;
    let (mut old_channels, mut old_ts) = (Vec::new(), Vec::new());
    for place in channels
        .into_iter()
        .zip(ts)
        .filter(|place| !inserted.contains(place))
    {
        old_channels.push(place.0);
        old_ts.push(place.1);
    }
    let stored: Vec<(ChannelId, Timestamp, f64, i16)> = sqlx::query_as(
        "SELECT r.channel_id, r.ts, r.value, r.quality
         FROM unnest($1::int4[], $2::timestamptz[]) AS n (channel_id, ts)
         JOIN reading r ON r.channel_id = n.channel_id AND r.ts = n.ts
         WHERE r.ts BETWEEN $3 AND $4",
    )
    .bind(&old_channels)
    .bind(&old_ts)
    .bind(old_ts.iter().min().copied())
    .bind(old_ts.iter().max().copied())
    .fetch_all(connection)
    .await?;
    Ok(stored
        .into_iter()
        .map(|(channel, ts, value, quality)| Stored {
            channel,
            ts,
            value,
            quality: Quality::from_code(quality),
        })
        .collect())
}

/// A second, different value for a place that is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conflict {
    pub reading: Reading,
    pub gateway: GatewayId,
    pub tenant: TenantId,
}

/// Keeps conflicting values beside the readings. The same one twice is kept once.
///
/// # Errors
/// When the database does.
pub async fn keep_conflicts(
    connection: &mut PgConnection,
    conflicts: &[Conflict],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO reading_conflict (channel_id, ts, value, quality, gateway_id, tenant_id)
         SELECT * FROM unnest($1::int4[], $2::timestamptz[], $3::float8[], $4::int2[], $5::uuid[], $6::uuid[])
         ON CONFLICT DO NOTHING",
    )
    .bind(conflicts.iter().map(|c| c.reading.channel).collect::<Vec<_>>())
    .bind(conflicts.iter().map(|c| c.reading.ts).collect::<Vec<_>>())
    .bind(conflicts.iter().map(|c| c.reading.value).collect::<Vec<_>>())
    .bind(
        conflicts
            .iter()
            .map(|c| c.reading.quality.code())
            .collect::<Vec<_>>(),
    )
    .bind(conflicts.iter().map(|c| c.gateway).collect::<Vec<_>>())
    .bind(conflicts.iter().map(|c| c.tenant).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Something that happened at a moment and has no value.
#[derive(Clone, Debug, PartialEq)]
pub struct DiscreteEvent {
    pub ts: Timestamp,
    pub tenant: TenantId,
    pub device: DeviceId,
    pub asset: Option<AssetId>,
    pub code: String,
    pub severity: i16,
    pub message: Option<String>,
}

/// Stores events; one that is there already (device, code and moment) stays as it is.
///
/// # Errors
/// When the database does.
pub async fn insert_events(
    connection: &mut PgConnection,
    events: &[DiscreteEvent],
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "INSERT INTO discrete_event (ts, tenant_id, device_id, asset_id, code, severity, message)
         SELECT * FROM unnest($1::timestamptz[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::int2[], $7::text[])
         ON CONFLICT DO NOTHING",
    )
    .bind(events.iter().map(|event| event.ts).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.tenant).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.device).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.asset).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.code.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.severity).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.message.as_deref()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// All readings of all tenants. Takes as long as reading them does: for measurements and tests.
///
/// # Errors
/// When the database does.
pub async fn count(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT count(*) FROM reading")
        .fetch_one(connection)
        .await
}

/// A database of its own for a measurement, beside the one `url` names, with the schema in it.
/// Returns its address. The caller drops it by [`drop_scratch`].
///
/// # Errors
/// When `url`'s role may not create databases.
pub async fn make_scratch(url: &str, name: &str) -> anyhow::Result<String> {
    use sqlx::{ConnectOptions, Connection, Executor};
    let options: sqlx::postgres::PgConnectOptions = url.parse()?;
    let mut connection = options.connect().await?;
    connection
        .execute(sqlx::AssertSqlSafe(format!(
            "CREATE DATABASE \"{name}\" TEMPLATE template0"
        )))
        .await?;
    connection.close().await?;
    let scratch = options.database(name).to_url_lossy().to_string();
    super::migrate(&scratch).await?;
    Ok(scratch)
}

/// `url` without the parameters that only our own driver knows: libpq refuses what it doesn't.
pub fn for_libpq(url: &str) -> String {
    let Some((base, query)) = url.split_once('?') else {
        return url.to_owned();
    };
    let known = |pair: &&str| {
        ["host=", "port=", "user=", "password=", "sslmode="]
            .iter()
            .any(|name| pair.starts_with(name))
    };
    let kept: Vec<&str> = query.split('&').filter(known).collect();
    format!("{base}?{}", kept.join("&"))
}

/// Brings a filled table into the state in which the database's own upkeep leaves it: visibility and
/// statistics. For measurements; needs the owner's rights.
///
/// # Errors
/// When the database does.
pub async fn settle(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    use sqlx::Executor;
    connection.execute("VACUUM (ANALYZE)").await?;
    Ok(())
}

/// # Errors
/// When the database does.
pub async fn drop_scratch(url: &str, name: &str) -> anyhow::Result<()> {
    use sqlx::{ConnectOptions, Connection, Executor};
    let options: sqlx::postgres::PgConnectOptions = url.parse()?;
    let mut connection = options.connect().await?;
    connection
        .execute(sqlx::AssertSqlSafe(format!(
            "DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"
        )))
        .await?;
    connection.close().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_driver_reads_the_address() {
        let url = "postgres://u@localhost/d?host=%2Frun&statement-cache-capacity=100&sslmode=prefer";
        assert_eq!(
            for_libpq(url),
            "postgres://u@localhost/d?host=%2Frun&sslmode=prefer"
        );
        assert_eq!(for_libpq("postgres://u@h/d"), "postgres://u@h/d");
    }
}

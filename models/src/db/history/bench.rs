//! What `forewarn bench query` measures: a filled database, and the same questions typed by hand as
//! the owner of the tables, without tenants or rollups.

use sqlx::{Connection, Executor, PgConnection};

use crate::id::{ChannelId, TenantId};
use crate::time::Timestamp;

/// A tenant with channels and readings spread evenly over a time.
#[derive(Clone, Debug)]
pub struct Filled {
    pub tenant: TenantId,
    pub channels: Vec<ChannelId>,
    pub from: Timestamp,
    pub to: Timestamp,
    pub readings: i64,
}

const DAY_S: i64 = 86_400;

/// Registers `channels` channels and stores about `readings` readings over the `days` days before
/// `to`, a day at a time, sorted by channel and time as the writer does; then brings the planner's
/// statistics up to date. `device` is where the channels hang.
///
/// # Errors
/// When the database does.
pub async fn fill(
    connection: &mut PgConnection,
    channels: i32,
    readings: i64,
    days: i32,
    to: Timestamp,
) -> Result<Filled, sqlx::Error> {
    let to = Timestamp::from_secs(to.micros().div_euclid(1_000_000 * DAY_S) * DAY_S);
    let from = to.plus_seconds(-f64::from(days) * DAY_S as f64);
    let (tenant, device): (TenantId, crate::id::DeviceId) =
        sqlx::query_as("SELECT d.tenant_id, d.id FROM device d ORDER BY d.id LIMIT 1")
            .fetch_one(&mut *connection)
            .await?;
    let ids: Vec<ChannelId> = sqlx::query_scalar(
        "INSERT INTO channel (tenant_id, device_id, name, cadence_s)
         SELECT $1, $2, 'channel ' || i, $4 FROM generate_series(1, $3) i RETURNING id",
    )
    .bind(tenant)
    .bind(device)
    .bind(channels)
    .bind(f64::from(days) * DAY_S as f64 * f64::from(channels) / readings as f64)
    .fetch_all(&mut *connection)
    .await?;
    let a_day = (readings / i64::from(channels) / i64::from(days)).max(1);
    let mut stored = 0;
    for day in 0..days {
        let done = sqlx::query(
            "INSERT INTO reading (ts, value, channel_id, quality)
             SELECT $1::timestamptz + ((k + (id % 97) / 97.0) * $2) * interval '1 second', 50 + 10 * sin(k / 20.0 + id) + random(), id, 0
             FROM unnest($3::int4[]) AS id, generate_series(0, $4 - 1) AS k ORDER BY id, k",
        )
        .bind(from.plus_seconds(f64::from(day) * DAY_S as f64))
        .bind(DAY_S as f64 / a_day as f64)
        .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
        .bind(a_day)
        .execute(&mut *connection)
        .await?;
        stored += done.rows_affected();
    }
    connection.execute("VACUUM (ANALYZE) reading").await?;
    Ok(Filled {
        tenant,
        channels: ids,
        from,
        to,
        readings: i64::try_from(stored).unwrap_or(i64::MAX),
    })
}

/// Bytes of the readings: the rows, and with their index.
///
/// # Errors
/// When the database does.
pub async fn storage(connection: &mut PgConnection) -> Result<(i64, i64), sqlx::Error> {
    sqlx::query_as("SELECT sum(table_bytes)::int8, sum(table_bytes + index_bytes)::int8 FROM chunks_detailed_size('reading')")
        .fetch_one(connection)
        .await
}

/// A question typed by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByHand {
    /// The newest value of all channels.
    Latest,
    /// The readings of the first channel.
    Raw,
    /// The first channel in buckets.
    Buckets,
    /// All channels in buckets.
    ManyBuckets,
}

/// Asks it and returns how many rows came.
///
/// # Errors
/// When the database does.
pub async fn by_hand(
    connection: &mut PgConnection,
    what: ByHand,
    channels: &[ChannelId],
    from: Timestamp,
    to: Timestamp,
    width_us: i64,
) -> Result<usize, sqlx::Error> {
    let sql = match what {
        ByHand::Latest => {
            "SELECT c.id, r.ts, r.value FROM unnest($1::int4[]) AS c (id)
             CROSS JOIN LATERAL (SELECT ts, value FROM reading x WHERE x.channel_id = c.id ORDER BY ts DESC LIMIT 1) r
             WHERE $2 < $3 AND $4 > 0"
        }
        ByHand::Raw => {
            "SELECT ts, value, quality FROM reading
             WHERE channel_id = ($1::int4[])[1] AND ts >= $2 AND ts < $3 AND $4 > 0 ORDER BY ts"
        }
        ByHand::Buckets => {
            "SELECT time_bucket($4::int8 * interval '1 microsecond', ts) AS b, count(*), min(value), max(value), avg(value)
             FROM reading WHERE channel_id = ($1::int4[])[1] AND ts >= $2 AND ts < $3 AND quality < 2 GROUP BY b ORDER BY b"
        }
        ByHand::ManyBuckets => {
            "SELECT channel_id, time_bucket($4::int8 * interval '1 microsecond', ts) AS b, count(*), min(value), max(value),
                    avg(value)
             FROM reading WHERE channel_id = ANY ($1::int4[]) AND ts >= $2 AND ts < $3 AND quality < 2
             GROUP BY channel_id, b ORDER BY channel_id, b"
        }
    };
    let rows = sqlx::query(sql)
        .bind(channels.iter().map(|id| id.0).collect::<Vec<_>>())
        .bind(from)
        .bind(to)
        .bind(width_us)
        .fetch_all(connection)
        .await?;
    Ok(rows.len())
}

/// A connection to `url` as its owner.
///
/// # Errors
/// When the database can't be reached.
pub async fn owner(url: &str) -> Result<PgConnection, sqlx::Error> {
    PgConnection::connect(url).await
}

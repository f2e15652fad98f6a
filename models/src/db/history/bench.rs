//! What `forewarn bench query` measures: a filled database, and the same questions typed by hand as
//! the owner of the tables, without tenants or rollups.

use sqlx::{Connection, Executor, FromRow, PgConnection};

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
/// statistics up to date, and all to disk: a query that has to write out somebody's pages to make room
/// measures the filling.
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
    connection.execute("CHECKPOINT").await?;
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

/// What an answer says, whoever gives it and in whatever order: that two answers are the same is part of
/// the comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gist {
    pub rows: usize,
    sum: u64,
}

impl Gist {
    /// A row of `n` readings (1 where it is one) from `low` to `high` at `ts`.
    pub fn add(&mut self, ts: Timestamp, n: i64, low: f64, high: f64) {
        let mixed = [ts.micros() as u64, n as u64, low.to_bits(), high.to_bits()]
            .into_iter()
            .fold(0_u64, |sum, part| {
                sum.rotate_left(23).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ part
            });
        self.rows += 1;
        self.sum = self.sum.wrapping_add(mixed);
    }
}

/// Asks it, row by row as whoever types it would, and reads every value.
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
) -> Result<Gist, sqlx::Error> {
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
    let mut gist = Gist::default();
    for row in &rows {
        match what {
            ByHand::Latest => {
                let (_, ts, value) = <(ChannelId, _, _)>::from_row(row)?;
                gist.add(ts, 1, value, value);
            }
            ByHand::Raw => {
                let (ts, value, _) = <(_, _, i16)>::from_row(row)?;
                gist.add(ts, 1, value, value);
            }
            ByHand::Buckets => {
                let (ts, n, low, high, _) = <(_, _, _, _, f64)>::from_row(row)?;
                gist.add(ts, n, low, high);
            }
            ByHand::ManyBuckets => {
                let (_, ts, n, low, high, _) = <(ChannelId, _, _, _, _, f64)>::from_row(row)?;
                gist.add(ts, n, low, high);
            }
        }
    }
    Ok(gist)
}

/// A connection to `url` as its owner.
///
/// # Errors
/// When the database can't be reached.
pub async fn owner(url: &str) -> Result<PgConnection, sqlx::Error> {
    PgConnection::connect(url).await
}

//! Readings in columns: no object stands for a reading.

use futures::TryStreamExt;
use sqlx::PgConnection;

use super::Result;
use crate::id::ChannelId;
use crate::time::{PG_EPOCH_MICROS, Timestamp};

/// Newest reading of each channel up to `until`, by event time.
///
/// # Errors
/// When the database does.
pub async fn newest_readings(
    connection: &mut PgConnection,
    channels: &[ChannelId],
    until: Timestamp,
) -> Result<Vec<(ChannelId, Timestamp)>> {
    sqlx::query_as(
        "SELECT c.id, r.ts FROM unnest($1::int4[]) AS c(id)
         CROSS JOIN LATERAL (SELECT x.ts FROM reading x WHERE x.channel_id = c.id AND x.ts <= $2
                             ORDER BY x.ts DESC LIMIT 1) r",
    )
    .bind(channels.iter().map(|channel| channel.0).collect::<Vec<_>>())
    .bind(until)
    .fetch_all(connection)
    .await
}

/// First reading of any of the channels within a range.
///
/// # Errors
/// When the database does.
pub async fn first_reading(
    connection: &mut PgConnection,
    channels: &[ChannelId],
    from: Timestamp,
    to: Timestamp,
) -> Result<Option<Timestamp>> {
    sqlx::query_scalar(
        "SELECT min(r.ts) FROM unnest($1::int4[]) AS c(id)
         CROSS JOIN LATERAL (SELECT x.ts FROM reading x WHERE x.channel_id = c.id AND x.ts >= $2 AND x.ts <= $3
                             ORDER BY x.ts LIMIT 1) r",
    )
    .bind(channels.iter().map(|channel| channel.0).collect::<Vec<_>>())
    .bind(from)
    .bind(to)
    .fetch_one(connection)
    .await
}

/// Median seconds between readings of each channel among its first 200 within a range.
///
/// # Errors
/// When the database does.
pub async fn cadences(
    connection: &mut PgConnection,
    channels: &[ChannelId],
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<(ChannelId, f64)>> {
    sqlx::query_as(
        "SELECT c.id, (percentile_cont(0.5) WITHIN GROUP (ORDER BY r.gap))::float8
         FROM unnest($1::int4[]) AS c(id)
         CROSS JOIN LATERAL (
             SELECT extract(epoch FROM x.ts - lag(x.ts) OVER (ORDER BY x.ts)) AS gap
             FROM (SELECT ts FROM reading WHERE channel_id = c.id AND ts >= $2 AND ts <= $3 ORDER BY ts LIMIT 200) x) r
         WHERE r.gap > 0 GROUP BY c.id",
    )
    .bind(channels.iter().map(|channel| channel.0).collect::<Vec<_>>())
    .bind(from)
    .bind(to)
    .fetch_all(connection)
    .await
}

/// One channel's readings as they are, in order of time. Columns of equal length.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct RawColumns {
    pub channel_id: ChannelId,
    pub ts: Vec<Timestamp>,
    pub value: Vec<f64>,
}

/// Readings with `from < ts <= to` that are not bad; `None` when there are more than `most` of them.
///
/// # Errors
/// When the database does.
pub async fn raw(
    connection: &mut PgConnection,
    channels: &[ChannelId],
    from: Timestamp,
    to: Timestamp,
    most: i64,
) -> Result<Option<Vec<RawColumns>>> {
    let columns: Vec<RawColumns> = sqlx::query_as(
        "SELECT channel_id, array_agg(ts ORDER BY ts) AS ts, array_agg(value ORDER BY ts) AS value
         FROM (SELECT channel_id, ts, value FROM reading
               WHERE channel_id = ANY ($1) AND ts > $2 AND ts <= $3 AND quality < 2 LIMIT $4) r
         GROUP BY channel_id ORDER BY channel_id",
    )
    .bind(channels.iter().map(|channel| channel.0).collect::<Vec<_>>())
    .bind(from)
    .bind(to)
    .bind(most.saturating_add(1))
    .fetch_all(connection)
    .await?;
    let rows: usize = columns.iter().map(|column| column.ts.len()).sum();
    Ok(i64::try_from(rows)
        .is_ok_and(|rows| rows <= most)
        .then_some(columns))
}

/// One channel's readings, summed up over equal steps; only steps that have any. Columns of equal
/// length, made by the server, so that no object stands for a reading.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct StepColumns {
    pub channel_id: ChannelId,
    /// Number of the step since 1970, its start divided by its length.
    pub step: Vec<i64>,
    pub n: Vec<i64>,
    pub mean: Vec<f64>,
    pub low: Vec<f64>,
    pub high: Vec<f64>,
    pub last: Vec<f64>,
}

/// Readings with `from < ts <= to` that are not bad, in steps of `step_s` whole seconds.
///
/// # Errors
/// When the database does.
pub async fn steps(
    connection: &mut PgConnection,
    channels: &[ChannelId],
    from: Timestamp,
    to: Timestamp,
    step_s: i64,
) -> Result<Vec<StepColumns>> {
    sqlx::query_as(
        "SELECT channel_id, array_agg(step ORDER BY step) AS step, array_agg(n ORDER BY step) AS n,
                array_agg(mean ORDER BY step) AS mean, array_agg(low ORDER BY step) AS low,
                array_agg(high ORDER BY step) AS high, array_agg(last ORDER BY step) AS last
         FROM (SELECT channel_id, (extract(epoch FROM bucket)::int8 / $4) AS step, n, mean, low, high, last
               FROM (SELECT channel_id, time_bucket(make_interval(secs => $4::int8), ts, 'epoch'::timestamptz) AS bucket,
                            count(*) AS n, avg(value) AS mean, min(value) AS low, max(value) AS high, last(value, ts) AS last
                     FROM reading
                     WHERE channel_id = ANY ($1) AND ts > $2 AND ts <= $3 AND quality < 2
                     GROUP BY 1, 2) b) s
         GROUP BY channel_id ORDER BY channel_id",
    )
    .bind(channels.iter().map(|channel| channel.0).collect::<Vec<_>>())
    .bind(from)
    .bind(to)
    .bind(step_s)
    .fetch_all(connection)
    .await
}

/// Streams readings with `from <= ts <= to`, in no order, into `each` as (channel, time, value, quality code). COPY in its binary form: no row is made an object on either side.
///
/// # Errors
/// When the database does, or answers in a form that isn't COPY's.
pub async fn stream_readings(
    connection: &mut PgConnection,
    channels: &[ChannelId],
    (from, to): (Timestamp, Timestamp),
    mut each: impl FnMut(ChannelId, Timestamp, f64, i16),
) -> Result<u64> {
    if channels.is_empty() {
        return Ok(0);
    }
    // COPY takes no parameters; numbers and moments can't carry anything else.
    let ids: Vec<String> = channels.iter().map(|channel| channel.0.to_string()).collect();
    let statement = format!(
        "COPY (SELECT channel_id, ts, value, quality FROM reading
               WHERE channel_id = ANY ('{{{}}}'::int4[]) AND ts >= '{from}' AND ts <= '{to}')
         TO STDOUT (FORMAT binary)",
        ids.join(",")
    );
    let mut parts = connection.copy_out_raw(&statement).await?;
    let mut rows = CopiedRows::default();
    while let Some(part) = parts.try_next().await? {
        rows.take(&part, &mut each)
            .map_err(|what| sqlx::Error::Protocol(format!("COPY of readings: {what}")))?;
    }
    Ok(rows.rows)
}

/// Rows of four fixed columns in COPY's binary form, however the bytes are cut.
#[derive(Debug, Default)]
struct CopiedRows {
    held: Vec<u8>,
    begun: bool,
    rows: u64,
}

impl CopiedRows {
    /// Signature, flags, length of the header's extension.
    const HEADER: usize = 11 + 4 + 4;
    /// A count of fields, and four fields with their lengths.
    const ROW: usize = 2 + (4 + 4) + (4 + 8) + (4 + 8) + (4 + 2);

    fn take(
        &mut self,
        part: &[u8],
        each: &mut impl FnMut(ChannelId, Timestamp, f64, i16),
    ) -> std::result::Result<(), &'static str> {
        self.held.extend_from_slice(part);
        let mut at = 0;
        if !self.begun {
            if self.held.len() < Self::HEADER {
                return Ok(());
            }
            let mut extension = [0; 4];
            extension.copy_from_slice(&self.held[15..19]);
            at = Self::HEADER + u32::from_be_bytes(extension) as usize;
            self.begun = true;
        }
        while self.held.len() >= at + 2 {
            if self.held[at..at + 2] == (-1_i16).to_be_bytes() {
                at += 2;
                break;
            }
            let Some(row) = self.held.get(at..at + Self::ROW) else {
                break;
            };
            let field = |from: usize, length: usize| row.get(from..from + length).unwrap_or_default();
            if field(0, 2) != 4_i16.to_be_bytes() || field(2, 4) != 4_i32.to_be_bytes() {
                return Err("a row has other columns");
            }
            let number = |from: usize| {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(field(from, 8));
                bytes
            };
            let mut channel = [0; 4];
            channel.copy_from_slice(field(6, 4));
            let ts = Timestamp::from_micros(i64::from_be_bytes(number(14)) + PG_EPOCH_MICROS);
            let quality = i16::from_be_bytes([row[38], row[39]]);
            each(
                ChannelId(i32::from_be_bytes(channel)),
                ts,
                f64::from_be_bytes(number(26)),
                quality,
            );
            self.rows += 1;
            at += Self::ROW;
        }
        self.held.drain(..at);
        Ok(())
    }
}

/// How many readings each channel has with `from <= ts < to`, of any quality: from the index alone.
///
/// # Errors
/// When the database does.
pub async fn counts(
    connection: &mut PgConnection,
    channels: &[ChannelId],
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<(ChannelId, i64)>> {
    sqlx::query_as(
        "SELECT channel_id, count(*) FROM reading
         WHERE channel_id = ANY ($1) AND ts >= $2 AND ts < $3 GROUP BY channel_id",
    )
    .bind(channels.iter().map(|channel| channel.0).collect::<Vec<_>>())
    .bind(from)
    .bind(to)
    .fetch_all(connection)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copied_rows_are_read_however_they_are_cut() {
        let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        for i in 0..5_i32 {
            bytes.extend(4_i16.to_be_bytes());
            bytes.extend(4_i32.to_be_bytes());
            bytes.extend((70 + i).to_be_bytes());
            bytes.extend(8_i32.to_be_bytes());
            bytes.extend((i64::from(i) * 1_000_000 - PG_EPOCH_MICROS).to_be_bytes());
            bytes.extend(8_i32.to_be_bytes());
            bytes.extend((0.5 * f64::from(i)).to_be_bytes());
            bytes.extend(2_i32.to_be_bytes());
            bytes.extend(1_i16.to_be_bytes());
        }
        bytes.extend((-1_i16).to_be_bytes());
        let expect: Vec<_> = (0..5)
            .map(|i| {
                (
                    ChannelId(70 + i),
                    Timestamp::from_secs(i64::from(i)),
                    0.5 * f64::from(i),
                    1,
                )
            })
            .collect();
        for size in [1, 7, 40, 1000] {
            let (mut rows, mut got) = (CopiedRows::default(), Vec::new());
            for part in bytes.chunks(size) {
                rows.take(part, &mut |c, t, v, q| got.push((c, t, v, q))).unwrap();
            }
            assert_eq!(got, expect, "parts of {size}");
        }
        let mut rows = CopiedRows::default();
        bytes[20] = 9;
        assert!(rows.take(&bytes, &mut |_, _, _, _| ()).is_err());
    }
}

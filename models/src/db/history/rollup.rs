//! Rollups: the rows per hour and minute that make years quick, and how they stay exact.
//!
//! The rules stand in `migrations/0035_rollup.sql`. In short: nothing at or after the *frontier* (a
//! full hour in the past) is rolled up; who stores readings before it marks the range in the same
//! transaction ([`mark`]); queries take marked ranges from the readings; [`refresh_some`] makes them
//! anew and takes the marks away. So a query is exact whether or not the refresher has been there.
//!
//! Two refreshers never work on one channel: each takes the channel's advisory lock first and looks
//! at the readings in a later statement, whose snapshot holds all that earlier holders of the lock
//! saw. A mark that is written meanwhile is not among those taken away, and is found the next time.

use sqlx::{Connection, PgConnection};

use super::late;
use crate::id::ChannelId;
use crate::reading::Reading;
use crate::time::Timestamp;

pub const HOUR_US: i64 = 3_600_000_000;
/// Neighbours of a channel that are further apart than this are marked as two ranges: one reading of
/// five years ago beside one of today must not mark five years.
const SPLIT_US: i64 = 24 * HOUR_US;
/// Readings from which an hour gets a row; see the migration.
pub const FEWEST: i32 = 9;
/// First namespace of the advisory locks; the second is the channel.
const LOCK_SPACE: i32 = 4665;

/// `[from, to)` of a channel, whole hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub channel: ChannelId,
    pub from: Timestamp,
    pub to: Timestamp,
}

fn hour_of(ts: Timestamp) -> i64 {
    ts.micros().div_euclid(HOUR_US) * HOUR_US
}

/// The hours of `readings` before `frontier`, merged. Pure; any order, best sorted by channel and time.
pub fn late_ranges(readings: &[Reading], frontier: Timestamp) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for reading in readings.iter().filter(|reading| reading.ts < frontier) {
        let from = hour_of(reading.ts);
        let to = from + HOUR_US;
        match ranges.last_mut() {
            Some(last)
                if last.channel == reading.channel
                    && from <= last.to.micros() + SPLIT_US
                    && to >= last.from.micros() - SPLIT_US =>
            {
                last.from = last.from.min(Timestamp::from_micros(from));
                last.to = last.to.max(Timestamp::from_micros(to));
            }
            _ => ranges.push(Range {
                channel: reading.channel,
                from: Timestamp::from_micros(from),
                to: Timestamp::from_micros(to),
            }),
        }
    }
    ranges
}

/// Marks what `readings`, just stored in this transaction, change about the past. Holds the frontier
/// where it is until the transaction ends. Returns how many ranges were marked.
///
/// # Errors
/// When the database does.
pub async fn mark(connection: &mut PgConnection, readings: &[Reading]) -> Result<usize, sqlx::Error> {
    if readings.is_empty() {
        return Ok(0);
    }
    let frontier: Option<Timestamp> = sqlx::query_scalar("SELECT rollup_frontier()")
        .fetch_one(&mut *connection)
        .await?;
    let ranges = frontier.map_or_else(Vec::new, |frontier| late_ranges(readings, frontier));
    late::tell(connection, &ranges).await?;
    insert(connection, &ranges).await?;
    Ok(ranges.len())
}

async fn insert(connection: &mut PgConnection, ranges: &[Range]) -> Result<(), sqlx::Error> {
    if ranges.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO rollup_dirty (channel_id, from_ts, to_ts)
         SELECT * FROM unnest($1::int4[], $2::timestamptz[], $3::timestamptz[])",
    )
    .bind(ranges.iter().map(|range| range.channel).collect::<Vec<_>>())
    .bind(ranges.iter().map(|range| range.from).collect::<Vec<_>>())
    .bind(ranges.iter().map(|range| range.to).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Declares every full hour that ended before `moment` over. Waits for the writers that are at work.
/// Returns whether the frontier moved.
///
/// # Errors
/// When the database does.
pub async fn advance(connection: &mut PgConnection, moment: Timestamp) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT rollup_advance($1)")
        .bind(Timestamp::from_micros(hour_of(moment)))
        .fetch_one(connection)
        .await
}

/// What waits for the refresher.
#[derive(Clone, Copy, Debug, PartialEq, sqlx::FromRow)]
pub struct Backlog {
    pub ranges: i64,
    /// Age of the oldest mark; 0 when there is none.
    pub oldest_s: f64,
    pub frontier: Option<Timestamp>,
}

/// # Errors
/// When the database does.
pub async fn backlog(connection: &mut PgConnection) -> Result<Backlog, sqlx::Error> {
    sqlx::query_as(
        "SELECT count(*) AS ranges, coalesce(extract(epoch FROM now() - min(marked_at)), 0)::float8 AS oldest_s,
                (SELECT frontier FROM rollup_state) AS frontier
         FROM rollup_dirty",
    )
    .fetch_one(connection)
    .await
}

/// How much one transaction of the refresher takes on.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    pub channels: i64,
    /// Readings after which no further piece is begun.
    pub readings: i64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            channels: 200,
            readings: 500_000,
        }
    }
}

/// What a round of the refresher did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    pub channels: usize,
    pub readings: i64,
}

/// Makes the rollups of the channels whose marks are oldest, in one transaction. What exceeds the
/// budget stays marked. Nothing done = nothing is marked, or others are at it.
///
/// # Errors
/// When the database does.
pub async fn refresh_some(connection: &mut PgConnection, budget: Budget) -> Result<Refreshed, sqlx::Error> {
    let mut tx = connection.begin().await?;
    let candidates: Vec<ChannelId> = sqlx::query_scalar(
        "SELECT channel_id FROM rollup_dirty GROUP BY channel_id ORDER BY min(marked_at), channel_id LIMIT $1",
    )
    .bind(budget.channels)
    .fetch_all(&mut *tx)
    .await?;
    let mut done = Refreshed::default();
    for channel in candidates {
        if done.readings >= budget.readings {
            break;
        }
        if let Some(readings) = refresh_channel(&mut tx, channel, budget.readings - done.readings).await? {
            done.channels += 1;
            done.readings += readings;
        }
    }
    tx.commit().await?;
    Ok(done)
}

/// `None`: somebody else is at this channel.
async fn refresh_channel(
    connection: &mut PgConnection,
    channel: ChannelId,
    most: i64,
) -> Result<Option<i64>, sqlx::Error> {
    if !try_lock(connection, channel).await? {
        return Ok(None);
    }
    let marked: Vec<(Timestamp, Timestamp)> =
        sqlx::query_as("DELETE FROM rollup_dirty WHERE channel_id = $1 RETURNING from_ts, to_ts")
            .bind(channel)
            .fetch_all(&mut *connection)
            .await?;
    // What is no longer there can't be summed up again.
    let raw_from: Option<Timestamp> = sqlx::query_scalar(
        "SELECT greatest((SELECT raw_from FROM rollup_state), (SELECT raw_from FROM channel_retained WHERE channel_id = $1))",
    )
    .bind(channel)
    .fetch_one(&mut *connection)
    .await?;
    let mut seen = 0;
    let mut left = Vec::new();
    for (from, to) in merge(marked) {
        let mut at = raw_from.map_or(from, |raw| from.max(raw));
        let mut step = SPLIT_US;
        while at < to {
            if seen >= most {
                left.push(Range {
                    channel,
                    from: at,
                    to,
                });
                break;
            }
            let end = Timestamp::from_micros(at.micros() + step).min(to);
            let readings = refresh(connection, channel, at, end, FEWEST).await?;
            seen += readings;
            at = end;
            // Sparse channels go by months, dense ones by days.
            step = if readings < 10_000 {
                (step * 2).min(SPLIT_US * 64)
            } else {
                SPLIT_US
            };
        }
    }
    insert(connection, &left).await?;
    Ok(Some(seen))
}

/// Takes the channel's lock until the transaction ends, unless somebody has it.
pub(super) async fn try_lock(connection: &mut PgConnection, channel: ChannelId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1, $2)")
        .bind(LOCK_SPACE)
        .bind(channel)
        .fetch_one(connection)
        .await
}

/// Makes `[from, to)` anew; the caller holds the channel's lock. `fewest`: readings from which an
/// hour gets a row. Returns how many readings there were.
pub(super) async fn refresh(
    connection: &mut PgConnection,
    channel: ChannelId,
    from: Timestamp,
    to: Timestamp,
    fewest: i32,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT rollup_refresh($1, $2, $3, $4)")
        .bind(channel)
        .bind(from)
        .bind(to)
        .bind(fewest)
        .fetch_one(connection)
        .await
}

/// Overlapping and touching ranges as one.
fn merge(mut ranges: Vec<(Timestamp, Timestamp)>) -> Vec<(Timestamp, Timestamp)> {
    ranges.sort_unstable();
    let mut merged: Vec<(Timestamp, Timestamp)> = Vec::with_capacity(ranges.len());
    for (from, to) in ranges {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::Quality;

    fn reading(channel: i32, at_s: i64) -> Reading {
        Reading {
            channel: ChannelId(channel),
            ts: Timestamp::from_secs(at_s),
            value: 1.0,
            quality: Quality::Good,
        }
    }

    #[test]
    fn only_the_past_is_marked_in_whole_hours_and_far_apart_readings_apart() {
        let frontier = Timestamp::from_secs(10 * 86_400);
        let day = 86_400;
        let rows = [
            reading(1, 100),
            reading(1, 7300),
            reading(1, 5 * day),
            reading(1, 11 * day),
            reading(2, 3599),
        ];
        let hours = |range: &Range| {
            (
                range.channel.0,
                range.from.micros() / HOUR_US,
                range.to.micros() / HOUR_US,
            )
        };
        let got: Vec<_> = late_ranges(&rows, frontier).iter().map(hours).collect();
        assert_eq!(got, [(1, 0, 3), (1, 120, 121), (2, 0, 1)]);
        assert!(late_ranges(&rows, Timestamp::from_secs(0)).is_empty());
    }

    #[test]
    fn ranges_merge() {
        let at = Timestamp::from_secs;
        let merged = merge(vec![
            (at(50), at(60)),
            (at(0), at(10)),
            (at(10), at(20)),
            (at(5), at(7)),
        ]);
        assert_eq!(merged, [(at(0), at(20)), (at(50), at(60))]);
    }
}

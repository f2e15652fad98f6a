//! Sums of readings by bucket: count, range, mean, time-weighted mean, ends, quality share.
//!
//! Which readings count: every one in `readings` and `good`, those that are not bad in the rest. The
//! time-weighted mean lets each value hold until the next one, between the first and the last
//! reading of the bucket; of a single reading it is the value.

use sqlx::PgConnection;

use super::rollup::HOUR_US;
use crate::id::ChannelId;
use crate::time::Timestamp;

pub const MINUTE_US: i64 = 60_000_000;

/// The finest rollup that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Raw,
    Minute,
    Hour,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Minute => "minute",
            Self::Hour => "hour",
        }
    }
}

/// Buckets: their width, where they are counted from, and what they may be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    pub width_us: i64,
    pub origin: Timestamp,
    pub level: Level,
}

impl Grid {
    /// Buckets of `width_us`, counted from `origin`, made of the coarsest rollup that they are whole
    /// multiples of.
    pub fn new(width_us: i64, origin: Timestamp) -> Self {
        let width_us = width_us.max(1);
        let fits = |unit: i64| width_us % unit == 0 && origin.micros().rem_euclid(unit) == 0;
        let level = if fits(HOUR_US) {
            Level::Hour
        } else if fits(MINUTE_US) {
            Level::Minute
        } else {
            Level::Raw
        };
        Self {
            width_us,
            origin,
            level,
        }
    }

    /// For `[from, to)` in at most `points` buckets (one more when `from` is not on a boundary).
    /// A bucket longer than a minute is rounded up to whole minutes, one longer than three hours to
    /// whole hours, so that rollups can serve it.
    pub fn choose(from: Timestamp, to: Timestamp, points: u32) -> Self {
        let span = to.micros() - from.micros();
        let points = i64::from(points.max(1));
        let width = (span / points + i64::from(span % points != 0)).max(1);
        let unit = if width > 3 * HOUR_US {
            HOUR_US
        } else if width > MINUTE_US {
            MINUTE_US
        } else {
            return Self {
                width_us: width,
                origin: from,
                level: Level::Raw,
            };
        };
        let width = (width + unit - 1) / unit * unit;
        Self::new(
            width,
            Timestamp::from_micros(from.micros().div_euclid(unit) * unit),
        )
    }
}

/// One bucket of one channel. `ts` is its start. The numbers are `None` when all readings are bad.
#[derive(Clone, Copy, Debug, PartialEq, sqlx::FromRow)]
pub struct Stat {
    pub channel_id: ChannelId,
    pub ts: Timestamp,
    /// Of every quality.
    pub readings: i64,
    /// `good / readings` is the quality share.
    pub good: i64,
    /// Not bad: what the rest is made of.
    pub n: i64,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub mean: Option<f64>,
    pub time_mean: Option<f64>,
    pub first_ts: Option<Timestamp>,
    pub first_value: Option<f64>,
    pub last_ts: Option<Timestamp>,
    pub last_value: Option<f64>,
}

/// Buckets of `[from, to)` that have a reading, by channel and time. Nothing of channels that are
/// not the tenant's.
///
/// # Errors
/// When the database does.
pub async fn stats(
    connection: &mut PgConnection,
    channels: &[ChannelId],
    from: Timestamp,
    to: Timestamp,
    grid: Grid,
) -> Result<Vec<Stat>, sqlx::Error> {
    sqlx::query_as("SELECT * FROM history_stats($1, $2, $3, $4::bigint * interval '1 microsecond', $5, $6)")
        .bind(channels.iter().map(|channel| channel.0).collect::<Vec<_>>())
        .bind(from)
        .bind(to)
        .bind(grid.width_us)
        .bind(grid.origin)
        .bind(grid.level.name())
        .fetch_all(connection)
        .await
}

/// As [`stats`], but of each bucket only `n`, `low`, `high` and `mean`, at a fraction of the cost;
/// `readings` is `n` and the rest is `None`. Buckets of nothing but bad readings are absent.
///
/// # Errors
/// When the database does.
pub async fn outline(
    connection: &mut PgConnection,
    channels: &[ChannelId],
    from: Timestamp,
    to: Timestamp,
    grid: Grid,
) -> Result<Vec<Stat>, sqlx::Error> {
    let rows: Vec<(ChannelId, Timestamp, i64, f64, f64, f64)> = sqlx::query_as(
        "SELECT channel_id, ts, n, low, high, mean
         FROM history_outline($1, $2, $3, $4::bigint * interval '1 microsecond', $5, $6)",
    )
    .bind(channels.iter().map(|channel| channel.0).collect::<Vec<_>>())
    .bind(from)
    .bind(to)
    .bind(grid.width_us)
    .bind(grid.origin)
    .bind(grid.level.name())
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(channel_id, ts, n, low, high, mean)| Stat {
            channel_id,
            ts,
            readings: n,
            good: n,
            n,
            low: Some(low),
            high: Some(high),
            mean: Some(mean),
            time_mean: None,
            first_ts: None,
            first_value: None,
            last_ts: None,
            last_value: None,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_buckets_are_whole_hours_and_short_ones_start_where_asked() {
        let from = Timestamp::from_secs(1_769_860_815);
        let year = Grid::choose(from, from.plus_seconds(365.0 * 86_400.0), 1000);
        assert_eq!((year.width_us / HOUR_US, year.level), (9, Level::Hour));
        assert_eq!(year.origin.micros() % HOUR_US, 0);
        let day = Grid::choose(from, from.plus_seconds(86_400.0), 600);
        assert_eq!((day.width_us / MINUTE_US, day.level), (3, Level::Minute));
        let hour = Grid::choose(from, from.plus_seconds(3600.0), 600);
        assert_eq!(
            (hour.width_us, hour.origin, hour.level),
            (6_000_000, from, Level::Raw)
        );
    }

    #[test]
    fn buckets_never_exceed_the_budget() {
        for (span_us, points) in [(1, 10), (999, 10), (86_400_000_000, 600), (40_000_000_000, 10)] {
            let from = Timestamp::from_micros(5);
            let grid = Grid::choose(from, Timestamp::from_micros(5 + span_us), points);
            let first = (from.micros() - grid.origin.micros()).div_euclid(grid.width_us);
            let last = (5 + span_us - 1 - grid.origin.micros()).div_euclid(grid.width_us);
            assert!(
                last - first < i64::from(points) + 1,
                "{span_us} {points} {grid:?}"
            );
        }
    }
}

//! Sums of readings by bucket: count, range, mean, time-weighted mean, ends, quality share.
//!
//! Which readings count: every one in `readings` and `good`, those that are not bad in the rest. The
//! time-weighted mean lets each value hold until the next one, between the first and the last
//! reading of the bucket; of a single reading it is the value.

use sqlx::PgConnection;

use super::copy::{array, each};
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
#[derive(Clone, Copy, Debug, PartialEq)]
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

/// A call of one of the schema's functions for buckets.
fn call(function: &str, channels: &[ChannelId], from: Timestamp, to: Timestamp, grid: Grid) -> String {
    let (channels, width_us, origin, level) =
        (array(channels), grid.width_us, grid.origin, grid.level.name());
    format!(
        "{function}({channels}, '{from}', '{to}', {width_us}::bigint * interval '1 microsecond', '{origin}', '{level}')"
    )
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
    let query = format!(
        "SELECT channel_id, ts, readings, good, n, low, high, mean, time_mean, first_ts, first_value, last_ts, last_value
         FROM {}",
        call("history_stats", channels, from, to, grid)
    );
    let mut all = Vec::new();
    each(
        connection,
        &query,
        |[
            id,
            ts,
            readings,
            good,
            n,
            low,
            high,
            mean,
            time_mean,
            t0,
            v0,
            t1,
            v1,
        ]| {
            all.push(Stat {
                channel_id: ChannelId(id.int()?),
                ts: ts.time()?,
                readings: readings.long()?,
                good: good.long()?,
                n: n.long()?,
                low: low.maybe_double()?,
                high: high.maybe_double()?,
                mean: mean.maybe_double()?,
                time_mean: time_mean.maybe_double()?,
                first_ts: t0.maybe_time()?,
                first_value: v0.maybe_double()?,
                last_ts: t1.maybe_time()?,
                last_value: v1.maybe_double()?,
            });
            Ok(())
        },
    )
    .await?;
    Ok(all)
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
    let query = format!(
        "SELECT channel_id, ts, n, low, high, mean FROM {}",
        call("history_outline", channels, from, to, grid)
    );
    let mut all = Vec::new();
    each(connection, &query, |[id, ts, n, low, high, mean]| {
        let n = n.long()?;
        all.push(Stat {
            channel_id: ChannelId(id.int()?),
            ts: ts.time()?,
            readings: n,
            good: n,
            n,
            low: low.maybe_double()?,
            high: high.maybe_double()?,
            mean: mean.maybe_double()?,
            time_mean: None,
            first_ts: None,
            first_value: None,
            last_ts: None,
            last_value: None,
        });
        Ok(())
    })
    .await?;
    Ok(all)
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

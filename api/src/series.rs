//! Columns for a chart, with the gaps made visible.
//!
//! A line drawn across an outage says that something was measured there. So where nothing was, a row
//! of nulls stands, and the chart breaks its line. What counts as a gap: more than three times the
//! channel's cadence, where that is known; else three times the usual distance of these readings
//! (raw), or an empty bucket (down-sampled).

use models::db::history::RawPoint;
use models::db::history::stats::Stat;
use models::reading::Quality;
use models::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// Rows as columns; all have the same length.
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Columns {
    /// Seconds since 1970; a bucket's is its start.
    pub ts: Vec<f64>,
    pub min: Vec<Option<f64>>,
    pub max: Vec<Option<f64>>,
    pub mean: Vec<Option<f64>>,
    /// Readings in the row; 0 in a gap.
    pub n: Vec<i64>,
}

const GAP_CADENCES: f64 = 3.0;

impl Columns {
    fn row(&mut self, at: Timestamp, low: f64, high: f64, mean: f64, n: i64) {
        self.ts.push(seconds(at));
        self.min.push(Some(low));
        self.max.push(Some(high));
        self.mean.push(Some(mean));
        self.n.push(n);
    }

    fn gap(&mut self, at_s: f64) {
        self.ts.push(at_s);
        self.min.push(None);
        self.max.push(None);
        self.mean.push(None);
        self.n.push(0);
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.micros() as f64 / 1e6
}

/// Readings as they are, without bad ones, and the distance above which there is a gap.
pub fn raw(points: &[RawPoint], cadence_s: Option<f64>) -> (Columns, Option<f64>) {
    let good: Vec<&RawPoint> = points
        .iter()
        .filter(|point| Quality::from_code(point.quality) != Quality::Bad)
        .collect();
    let usual = || {
        let mut steps: Vec<f64> = good
            .windows(2)
            .map(|pair| pair[1].ts.seconds_since(pair[0].ts))
            .collect();
        // Of two or three readings nobody can say what is usual.
        if steps.len() < 4 {
            return None;
        }
        let middle = steps.len() / 2;
        Some(*steps.select_nth_unstable_by(middle, f64::total_cmp).1)
    };
    let gap_s = cadence_s.or_else(usual).map(|step| step * GAP_CADENCES);
    let mut columns = Columns::default();
    let mut before: Option<Timestamp> = None;
    for point in good {
        if let (Some(before), Some(gap_s)) = (before, gap_s)
            && point.ts.seconds_since(before) > gap_s
        {
            columns.gap((seconds(before) + seconds(point.ts)) / 2.0);
        }
        columns.row(point.ts, point.value, point.value, point.value, 1);
        before = Some(point.ts);
    }
    (columns, gap_s)
}

/// Buckets of `width_us` and the distance above which there is a gap.
pub fn bucketed(buckets: &[Stat], width_us: i64, cadence_s: Option<f64>) -> (Columns, f64) {
    let width_s = width_us as f64 / 1e6;
    // Between the starts of two neighbouring buckets lies one width; where readings are rarer than
    // buckets, an empty bucket means nothing.
    let gap_s = (cadence_s.unwrap_or(0.0) * GAP_CADENCES).max(width_s * 1.5);
    let mut columns = Columns::default();
    let mut before: Option<Timestamp> = None;
    for bucket in buckets {
        // One that holds nothing but bad readings is as empty as one without any.
        let (Some(low), Some(high), Some(mean)) = (bucket.low, bucket.high, bucket.mean) else {
            continue;
        };
        if let Some(before) = before
            && bucket.ts.seconds_since(before) > gap_s
        {
            columns.gap(seconds(before) + width_s);
        }
        columns.row(bucket.ts, low, high, mean, bucket.n);
        before = Some(bucket.ts);
    }
    (columns, gap_s)
}

/// Points as they are, each reading or chosen point a row of its own.
pub fn chosen(points: &[RawPoint], gap_s: Option<f64>) -> Columns {
    let mut columns = Columns::default();
    let mut before: Option<Timestamp> = None;
    for point in points {
        if let (Some(before), Some(gap_s)) = (before, gap_s)
            && point.ts.seconds_since(before) > gap_s
        {
            columns.gap((seconds(before) + seconds(point.ts)) / 2.0);
        }
        columns.row(point.ts, point.value, point.value, point.value, 1);
        before = Some(point.ts);
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: i64, value: f64, quality: i16) -> RawPoint {
        RawPoint {
            ts: Timestamp::from_secs(at),
            value,
            quality,
        }
    }

    #[test]
    fn an_outage_is_a_row_of_nulls() {
        let points = [
            point(0, 1.0, 0),
            point(10, 2.0, 1),
            point(20, 3.0, 2),
            point(100, 4.0, 0),
        ];
        let (columns, gap_s) = raw(&points, Some(10.0));
        assert_eq!(gap_s, Some(30.0));
        assert_eq!(columns.ts, [0.0, 10.0, 55.0, 100.0]);
        assert_eq!(columns.mean, [Some(1.0), Some(2.0), None, Some(4.0)]);
        assert_eq!(columns.n, [1, 1, 0, 1]);
    }

    #[test]
    fn without_a_cadence_the_usual_distance_counts() {
        let regular: Vec<RawPoint> = (0..10)
            .map(|i| point(i * 5, 0.0, 0))
            .chain([point(200, 0.0, 0)])
            .collect();
        let (columns, gap_s) = raw(&regular, None);
        assert_eq!(gap_s, Some(15.0));
        assert_eq!(columns.n.iter().filter(|n| **n == 0).count(), 1);
        let (columns, gap_s) = raw(&regular[..2], None);
        assert_eq!((columns.ts.len(), gap_s), (2, None));
    }

    #[test]
    fn an_empty_bucket_is_a_gap_unless_readings_are_rarer_than_buckets() {
        let bucket = |at| Stat {
            channel_id: models::id::ChannelId(1),
            ts: Timestamp::from_secs(at),
            readings: 3,
            good: 3,
            n: 3,
            low: Some(1.0),
            high: Some(2.0),
            mean: Some(1.5),
            time_mean: Some(1.5),
            first_ts: None,
            first_value: None,
            last_ts: None,
            last_value: None,
        };
        let buckets = [bucket(0), bucket(60), bucket(180)];
        let (columns, gap_s) = bucketed(&buckets, 60_000_000, None);
        assert_eq!((columns.ts.clone(), gap_s), (vec![0.0, 60.0, 120.0, 180.0], 90.0));
        assert_eq!(columns.min[2], None);
        let (columns, gap_s) = bucketed(&buckets, 60_000_000, Some(60.0));
        assert_eq!((columns.ts.len(), gap_s), (3, 180.0));
    }
}

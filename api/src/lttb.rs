//! Largest triangle, three buckets: the points that keep a line's shape.
//!
//! S. Steinarsson, *Downsampling Time Series for Visual Representation*, University of Iceland, 2013.
//! First and last point stay; of each bucket between them the one is taken that spans the largest
//! triangle with the point chosen before and the mean of the next bucket. Peaks survive, noise is thinned.

use models::db::history::RawPoint;

/// At most `most` of `points`, in order; all of them when there are no more than that. `most` below 3
/// leaves the ends.
pub fn choose(points: &[RawPoint], most: usize) -> Vec<RawPoint> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Vec::new();
    };
    if points.len() <= most {
        return points.to_vec();
    }
    if most < 3 {
        return vec![*first, *last];
    }
    let inner = points.len() - 2;
    let buckets = most - 2;
    // Bounds of bucket `i` among the inner points, which begin at 1.
    let bound = |i: usize| 1 + i * inner / buckets;
    let at = |point: &RawPoint| point.ts.seconds_since(first.ts);
    let mut chosen = Vec::with_capacity(most);
    chosen.push(*first);
    for i in 0..buckets {
        let bucket = &points[bound(i)..bound(i + 1)];
        let next = if i + 1 < buckets {
            &points[bound(i + 1)..bound(i + 2)]
        } else {
            std::slice::from_ref(last)
        };
        let n = next.len() as f64;
        let (next_at, next_value) = (
            next.iter().map(at).sum::<f64>() / n,
            next.iter().map(|point| point.value).sum::<f64>() / n,
        );
        let before = chosen[chosen.len() - 1];
        let area = |point: &RawPoint| {
            ((at(&before) - next_at) * (point.value - before.value)
                - (at(&before) - at(point)) * (next_value - before.value))
                .abs()
        };
        let best = bucket
            .iter()
            .max_by(|a, b| area(a).total_cmp(&area(b)))
            .unwrap_or(last);
        chosen.push(*best);
    }
    chosen.push(*last);
    chosen
}

#[cfg(test)]
mod tests {
    use models::time::Timestamp;

    use super::*;

    fn line(n: usize, value: impl Fn(usize) -> f64) -> Vec<RawPoint> {
        (0..n)
            .map(|i| RawPoint {
                ts: Timestamp::from_secs(i as i64),
                value: value(i),
                quality: 0,
            })
            .collect()
    }

    #[test]
    fn ends_and_peaks_survive_and_the_count_is_kept() {
        let points = line(
            10_000,
            |i| if i == 4321 { 100.0 } else { (i as f64 / 50.0).sin() },
        );
        for most in [3, 10, 333, 9_999] {
            let chosen = choose(&points, most);
            assert_eq!(chosen.len(), most);
            assert_eq!((chosen[0], chosen[most - 1]), (points[0], points[9_999]));
            assert!(chosen.windows(2).all(|pair| pair[0].ts < pair[1].ts), "{most}");
            assert!(chosen.iter().any(|point| point.value == 100.0), "{most}");
        }
        assert_eq!(choose(&points, 10_000), points);
        assert_eq!(choose(&points[..1], 10), points[..1]);
        assert!(choose(&[], 10).is_empty());
    }
}

//! Sets of moments as half-open intervals `[start, end)`: what shifts, pauses, downtime and working
//! hours have in common.
//!
//! A *set* here is sorted, its intervals neither touch nor overlap, and none is empty. [`union`] makes
//! one of anything; the other functions take sets and give sets.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Span {
    pub start: Timestamp,
    pub end: Timestamp,
}

impl Span {
    pub const fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end }
    }

    /// Seconds; 0 when it is empty or runs backwards.
    pub fn seconds(self) -> f64 {
        self.end.seconds_since(self.start).max(0.0)
    }

    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// Any intervals as a set: overlapping and touching ones become one, empty ones go.
pub fn union(mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|span| !span.is_empty());
    spans.sort_unstable_by_key(|span| (span.start, span.end));
    let mut set: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match set.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => set.push(span),
        }
    }
    set
}

/// What lies within the window. An interval that crosses its edge is cut there, not dropped.
pub fn clip(set: &[Span], window: Span) -> Vec<Span> {
    set.iter()
        .map(|span| Span::new(span.start.max(window.start), span.end.min(window.end)))
        .filter(|span| !span.is_empty())
        .collect()
}

/// What is in both.
pub fn intersect(a: &[Span], b: &[Span]) -> Vec<Span> {
    let (mut i, mut j, mut set) = (0, 0, Vec::new());
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let both = Span::new(x.start.max(y.start), x.end.min(y.end));
        if !both.is_empty() {
            set.push(both);
        }
        if x.end <= y.end {
            i += 1;
        } else {
            j += 1;
        }
    }
    set
}

/// What is in `a` and not in `b`.
pub fn subtract(a: &[Span], b: &[Span]) -> Vec<Span> {
    let mut set = Vec::new();
    for span in a {
        let mut start = span.start;
        for hole in b.iter().filter(|hole| hole.overlaps(*span)) {
            if start < hole.start {
                set.push(Span::new(start, hole.start));
            }
            start = start.max(hole.end);
        }
        if start < span.end {
            set.push(Span::new(start, span.end));
        }
    }
    set
}

/// Whether the whole window is in the set.
pub fn covers(set: &[Span], window: Span) -> bool {
    window.is_empty()
        || set
            .iter()
            .any(|span| span.start <= window.start && window.end <= span.end)
}

pub fn total_seconds(set: &[Span]) -> f64 {
    set.iter().map(|span| span.seconds()).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span(start: i64, end: i64) -> Span {
        Span::new(Timestamp::from_secs(start), Timestamp::from_secs(end))
    }

    fn has(set: &[Span], second: i64) -> bool {
        let at = Timestamp::from_secs(second);
        set.iter().any(|span| span.start <= at && at < span.end)
    }

    fn spans() -> impl Strategy<Value = Vec<Span>> {
        prop::collection::vec((0..60_i64, -5..15_i64), 0..12).prop_map(|pairs| {
            pairs
                .into_iter()
                .map(|(start, long)| span(start, start + long))
                .collect()
        })
    }

    proptest! {
        /// Against the definition, second by second.
        #[test]
        fn they_are_the_operations_on_sets(a in spans(), b in spans(), from in 0..40_i64, long in 0..30_i64) {
            let (x, y) = (union(a.clone()), union(b.clone()));
            let window = span(from, from + long);
            for set in [&x, &y, &intersect(&x, &y), &subtract(&x, &y), &clip(&x, window)] {
                prop_assert!(set.windows(2).all(|pair| pair[0].end <= pair[1].start));
                prop_assert!(set.iter().all(|span| !span.is_empty()));
            }
            prop_assert!(x.windows(2).all(|pair| pair[0].end < pair[1].start), "touching ones are one");
            for second in 0..90 {
                let (in_a, in_b) = (has(&a, second), has(&b, second));
                prop_assert_eq!(has(&x, second), in_a);
                prop_assert_eq!(has(&intersect(&x, &y), second), in_a && in_b);
                prop_assert_eq!(has(&subtract(&x, &y), second), in_a && !in_b);
                prop_assert_eq!(has(&clip(&x, window), second), in_a && has(&[window], second));
            }
            prop_assert_eq!(total_seconds(&x), (0..90).filter(|second| has(&a, *second)).count() as f64);
            prop_assert_eq!(covers(&x, window), (from..from + long).all(|second| has(&a, second)));
        }
    }
}

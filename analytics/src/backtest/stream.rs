//! A detector for one signal: *new extremes*. Nothing is learnt about the shape of the signal; a value is suspicious by
//! how far it lies outside all that was seen before. The same rule watches four views of the signal: the value, its
//! mean over the last rows (slow shifts), its deviation over the last rows (bursts and freezes), and its difference
//! to a day before (a normal value at the wrong hour; a spike can thus throw a shadow a day later).

use std::collections::VecDeque;

use crate::features::rolling::{back, moments};

/// One setting for every stream.
const MEAN_ROWS: usize = 24;
const DEVIATION_ROWS: usize = 48;
/// After a detection only a clearly stronger one counts for this many rows.
const REFRACTORY_ROWS: usize = 200;
const STRONGER: f64 = 1.3;
/// Rows that a view needs before its extremes mean anything.
const SETTLE: usize = 50;
/// Rows over which the sampling interval is estimated.
const INTERVAL_ROWS: usize = 100;

/// Range of a view so far.
#[derive(Debug, Default)]
struct View {
    sorted: Vec<f64>,
}

impl View {
    /// How far outside the range seen so far, from 0 (inside) towards 1, in units of the usual spread; then remembers.
    fn excess(&mut self, value: f64) -> f64 {
        let n = self.sorted.len();
        let mut score = 0.0;
        if let (Some(low), Some(high)) = (self.sorted.first(), self.sorted.last()) {
            let outside = (value - high).max(low - value);
            if outside > 0.0 && n >= SETTLE {
                let spread = self.sorted[n * 95 / 100] - self.sorted[n * 5 / 100];
                let least = (1e-6 * value.abs()).max(1e-9);
                score = outside / (outside + spread.max(least));
            }
        }
        let at = self.sorted.partition_point(|v| *v < value);
        self.sorted.insert(at, value);
        score
    }
}

/// Scores one stream row by row; every score uses that row and earlier ones only.
#[derive(Debug)]
pub struct NewExtreme {
    /// Rows that are learnt from without a score.
    quiet: usize,
    times: Vec<f64>,
    values: Vec<f64>,
    day: Option<usize>,
    value: View,
    mean: View,
    deviation: View,
    daily: View,
    /// (row, score) of the strongest recent rows, falling.
    recent: VecDeque<(usize, f64)>,
}

impl NewExtreme {
    pub fn new(quiet: usize) -> Self {
        Self {
            quiet,
            times: Vec::new(),
            values: Vec::new(),
            day: None,
            value: View::default(),
            mean: View::default(),
            deviation: View::default(),
            daily: View::default(),
            recent: VecDeque::new(),
        }
    }

    /// Anomaly score in [0, 1) of the next row; `time` in seconds. A value that is not a number scores 0 and is
    /// forgotten.
    pub fn push(&mut self, time: f64, value: f64) -> f64 {
        if !value.is_finite() {
            return 0.0;
        }
        self.times.push(time);
        self.values.push(value);
        let row = self.values.len() - 1;
        if row + 1 == INTERVAL_ROWS {
            self.learn_interval();
        }
        let mut score = self.value.excess(value);
        if row >= MEAN_ROWS {
            score = score.max(self.mean.excess(self.tail(MEAN_ROWS).0));
        }
        if row >= DEVIATION_ROWS {
            score = score.max(self.deviation.excess(self.tail(DEVIATION_ROWS).1));
        }
        if let Some(before) = self.day.and_then(|day| row.checked_sub(day)) {
            score = score.max(self.daily.excess(value - self.values[before]));
        }
        if row < self.quiet {
            0.0
        } else {
            self.refrain(row, score)
        }
    }

    /// Rows per day, from the median interval.
    fn learn_interval(&mut self) {
        let mut steps: Vec<f64> = self.times.windows(2).map(|w| w[1] - w[0]).collect();
        steps.sort_by(f64::total_cmp);
        let step = steps[steps.len() / 2];
        if step > 0.0 {
            let rows = (86_400.0 / step).round();
            self.day = (2.0..1e5).contains(&rows).then_some(rows as usize);
        }
    }

    fn tail(&self, rows: usize) -> (f64, f64) {
        let (_, mean, deviation) = moments(back(&self.values, self.values.len() - 1, rows));
        (mean, deviation)
    }

    fn refrain(&mut self, row: usize, score: f64) -> f64 {
        while self
            .recent
            .front()
            .is_some_and(|(at, _)| at + REFRACTORY_ROWS < row)
        {
            self.recent.pop_front();
        }
        if score <= 0.0 {
            return 0.0;
        }
        let strongest = self.recent.front().map_or(0.0, |r| r.1);
        while self.recent.back().is_some_and(|r| r.1 <= score) {
            self.recent.pop_back();
        }
        self.recent.push_back((row, score));
        if score > STRONGER * strongest { score } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(values: &[f64]) -> Vec<f64> {
        let mut d = NewExtreme::new(100);
        values
            .iter()
            .enumerate()
            .map(|(i, v)| d.push(i as f64 * 300.0, *v))
            .collect()
    }

    fn wave(i: usize) -> f64 {
        (i as f64 / 288.0 * std::f64::consts::TAU).sin() + ((i * 7919) % 101) as f64 / 1000.0
    }

    #[test]
    fn a_spike_is_seen_once() {
        let mut v: Vec<f64> = (0..2000).map(wave).collect();
        for x in &mut v[1500..1510] {
            *x = 6.0;
        }
        let s = scores(&v);
        let found: Vec<usize> = (0..2000).filter(|i| s[*i] > 0.3).collect();
        assert_eq!(found[0], 1500);
        // The spike may throw a shadow a day later, when normal values differ from it.
        assert!(found[1..].iter().all(|i| (1788..=1798).contains(i)), "{found:?}");
    }

    #[test]
    fn a_normal_value_at_the_wrong_hour_is_seen() {
        let mut v: Vec<f64> = (0..3000).map(wave).collect();
        v[2000..2060].fill(0.0);
        let s = scores(&v);
        assert!((2000..2100).any(|i| s[i] > 0.05));
    }

    #[test]
    fn constant_and_missing_values_are_quiet() {
        assert!(scores(&[4.0; 500]).iter().all(|s| *s == 0.0));
        let v: Vec<f64> = (0..500)
            .map(|i| if i % 3 == 0 { f64::NAN } else { 1.0 })
            .collect();
        assert!(scores(&v).iter().all(|s| *s == 0.0));
    }

    #[test]
    fn the_future_changes_nothing() {
        let mut v: Vec<f64> = (0..1000).map(wave).collect();
        let before = scores(&v)[..800].to_vec();
        v[800..].iter_mut().for_each(|x| *x += 100.0);
        assert_eq!(before, scores(&v)[..800]);
    }
}

//! The scoring rule of the Numenta Anomaly Benchmark: early detections inside a window count most, false ones cost.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// Costs of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    #[serde(rename = "tpWeight")]
    pub hit: f64,
    #[serde(rename = "fnWeight")]
    pub miss: f64,
    #[serde(rename = "fpWeight")]
    pub false_alarm: f64,
}

/// One stream with its scores and labelled windows (first and last row, both inside).
#[derive(Debug, Clone)]
pub struct Scored {
    pub score: Vec<f64>,
    pub windows: Vec<(usize, usize)>,
}

/// Rows at the start that are not counted.
pub fn probation(rows: usize) -> usize {
    ((0.15 * rows as f64).floor() as usize).min(750)
}

fn sigmoid(x: f64) -> f64 {
    if x > 3.0 {
        -1.0
    } else {
        2.0 / (1.0 + (5.0 * x).exp()) - 1.0
    }
}

/// What a detection at a row means.
#[derive(Debug, Clone, Copy)]
enum Worth {
    /// Share of the reward of window `index`.
    Hit { index: usize, share: f64 },
    /// Share of the cost of a false alarm, negative.
    False(f64),
}

impl Scored {
    /// # Errors
    /// Windows outside the rows, reversed or not ascending; scores that are not numbers.
    pub fn check(&self) -> Result<()> {
        let mut next = 0;
        for (from, to) in &self.windows {
            ensure!(
                from <= to && *to < self.score.len(),
                "window {from}..{to} is not within the rows"
            );
            ensure!(*from >= next, "window {from}..{to} overlaps the one before");
            next = to + 1;
        }
        ensure!(self.score.iter().all(|s| !s.is_nan()), "a score is not a number");
        Ok(())
    }

    fn worth(&self, row: usize) -> Worth {
        let after = self.windows.partition_point(|w| w.1 < row);
        if let Some((from, to)) = self.windows.get(after).filter(|w| w.0 <= row) {
            let width = (to - from + 1) as f64;
            let x = -((to - row + 1) as f64) / width;
            return Worth::Hit {
                index: after,
                share: sigmoid(x) / sigmoid(-1.0),
            };
        }
        match after.checked_sub(1).map(|i| self.windows[i]) {
            None => Worth::False(-1.0),
            Some((from, to)) => {
                let width = (to - from + 1) as f64;
                Worth::False(sigmoid((row - to) as f64 / (width - 1.0).max(1.0)))
            }
        }
    }

    /// Raw score of this stream at a threshold.
    pub fn raw(&self, threshold: f64, profile: &Profile) -> f64 {
        let mut best = vec![None::<f64>; self.windows.len()];
        let mut total = 0.0;
        for row in probation(self.score.len())..self.score.len() {
            if self.score[row] >= threshold {
                match self.worth(row) {
                    Worth::Hit { index, share } => {
                        best[index] = Some(best[index].map_or(share, |b| b.max(share)));
                    }
                    Worth::False(share) => total += share * profile.false_alarm,
                }
            }
        }
        total
            + best
                .iter()
                .map(|b| b.map_or(-profile.miss, |s| s * profile.hit))
                .sum::<f64>()
    }
}

/// The result over all streams at one threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Result100 {
    pub threshold: f64,
    /// 0 = no detections at all, 100 = all at once.
    pub normalised: f64,
}

fn normalise(raw: f64, windows: usize, profile: &Profile) -> f64 {
    let none = -profile.miss * windows as f64;
    let perfect = profile.hit * windows as f64;
    if windows == 0 {
        0.0
    } else {
        100.0 * (raw - none) / (perfect - none)
    }
}

/// Normalised score at a given threshold.
pub fn at(streams: &[Scored], threshold: f64, profile: &Profile) -> f64 {
    let raw: f64 = streams.iter().map(|s| s.raw(threshold, profile)).sum();
    normalise(raw, streams.iter().map(|s| s.windows.len()).sum(), profile)
}

/// The one threshold for all streams with the highest total.
pub fn best(streams: &[Scored], profile: &Profile) -> Result100 {
    let mut rows: Vec<(f64, usize, usize)> = Vec::new();
    for (i, s) in streams.iter().enumerate() {
        rows.extend((probation(s.score.len())..s.score.len()).map(|r| (s.score[r], i, r)));
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let windows: usize = streams.iter().map(|s| s.windows.len()).sum();
    let mut hits: Vec<Vec<Option<f64>>> = streams.iter().map(|s| vec![None; s.windows.len()]).collect();
    let mut raw = -profile.miss * windows as f64;
    let mut found = Result100 {
        threshold: f64::INFINITY,
        normalised: normalise(raw, windows, profile),
    };
    for tie in rows.chunk_by(|a, b| a.0 == b.0) {
        for (_, stream, row) in tie {
            match streams[*stream].worth(*row) {
                Worth::False(share) => raw += share * profile.false_alarm,
                Worth::Hit { index, share } => {
                    let slot = &mut hits[*stream][index];
                    let before = slot.map_or(-profile.miss, |s| s * profile.hit);
                    *slot = Some(slot.map_or(share, |s| s.max(share)));
                    raw += slot.map_or(0.0, |s| s * profile.hit) - before;
                }
            }
        }
        let normalised = normalise(raw, windows, profile);
        if normalised > found.normalised {
            found = Result100 {
                threshold: tie[0].0,
                normalised,
            };
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDARD: Profile = Profile {
        hit: 1.0,
        miss: 1.0,
        false_alarm: 0.11,
    };

    #[test]
    fn perfect_and_silent() {
        let mut score = vec![0.0; 1000];
        score[500] = 1.0;
        let stream = Scored {
            score,
            windows: vec![(500, 549)],
        };
        let top = best(std::slice::from_ref(&stream), &STANDARD);
        assert!((top.normalised - 100.0).abs() < 1e-9 && top.threshold == 1.0);
        assert!((at(std::slice::from_ref(&stream), 1.0, &STANDARD) - 100.0).abs() < 1e-9);
        assert_eq!(at(&[stream], 2.0, &STANDARD), 0.0);
    }

    #[test]
    fn the_sweep_agrees_with_single_thresholds() {
        let wave = |i: usize| ((i * 7919 + 11) % 1013) as f64 / 1013.0;
        let streams: Vec<Scored> = (0..3)
            .map(|k| Scored {
                score: (0..2000).map(|i| wave(i + 97 * k)).collect(),
                windows: vec![(700, 790), (1500, 1600)],
            })
            .collect();
        let top = best(&streams, &STANDARD);
        assert!((at(&streams, top.threshold, &STANDARD) - top.normalised).abs() < 1e-9);
        for t in [0.2, 0.5, 0.9, 0.99] {
            assert!(at(&streams, t, &STANDARD) <= top.normalised + 1e-9);
        }
    }

    #[test]
    fn windows_are_checked() {
        let bad = |windows| {
            Scored {
                score: vec![0.0; 10],
                windows,
            }
            .check()
            .is_err()
        };
        assert!(bad(vec![(5, 10)]) && bad(vec![(5, 4)]) && bad(vec![(1, 4), (4, 6)]));
    }
}

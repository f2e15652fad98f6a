//! What of a channel's values is worth sending, for all collectors alike. Pure.
//!
//! ```toml
//! [collect.report]              # for all points of a collector; a point may have its own `report`
//! on = "change"                 # always (default), change
//! dead_band = 0.5               # a change counts from this much, in the channel's unit …
//! dead_band_percent = 1.0       # … or from this share of the last value sent
//! at_most_every_s = 10          # between two readings of a channel
//! at_least_every_s = 600        # a value that doesn't change is sent again after this
//! ```
//!
//! A value is passed on as it was read, with its own time stamp, or not at all: nothing is averaged or
//! moved in time. A change of quality always counts, and no period holds it back.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::ensure;
use models::reading::Quality;
use models::time::Timestamp;
use serde::Deserialize;

use crate::batch::{Channel, Reading};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    #[default]
    Always,
    Change,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    #[serde(default)]
    pub on: On,
    pub dead_band: Option<f64>,
    pub dead_band_percent: Option<f64>,
    pub at_most_every_s: Option<f64>,
    pub at_least_every_s: Option<f64>,
}

impl Report {
    /// # Errors
    /// Names the key that is out of range.
    pub fn check(&self) -> anyhow::Result<()> {
        for (key, value) in [
            ("dead_band", self.dead_band),
            ("dead_band_percent", self.dead_band_percent),
            ("at_most_every_s", self.at_most_every_s),
            ("at_least_every_s", self.at_least_every_s),
        ] {
            ensure!(
                value.is_none_or(|value| value.is_finite() && value > 0.0),
                "`report.{key}` must be above 0"
            );
        }
        if let (Some(most), Some(least)) = (self.at_most_every_s, self.at_least_every_s) {
            ensure!(
                most <= least,
                "`report.at_most_every_s` is longer than `report.at_least_every_s`"
            );
        }
        Ok(())
    }

    fn only_changes(&self) -> bool {
        self.on == On::Change || self.dead_band.is_some() || self.dead_band_percent.is_some()
    }

    fn wants(&self, last: Option<&Last>, reading: &Reading) -> bool {
        let Some(last) = last else { return true };
        if last.quality != reading.quality {
            return true;
        }
        let passed = reading.ts.seconds_since(last.ts);
        // A clock set back, or history: the periods say nothing about it.
        if passed >= 0.0 && self.at_most_every_s.is_some_and(|s| passed < s) {
            return false;
        }
        if !self.only_changes() || self.at_least_every_s.is_some_and(|s| passed >= s) {
            return true;
        }
        let change = (reading.value - last.value).abs();
        // Without any band a change is a change, however small.
        let band = match (self.dead_band, self.dead_band_percent) {
            (None, None) => return change > 0.0,
            (band, percent) => band
                .unwrap_or(f64::INFINITY)
                .min(percent.map_or(f64::INFINITY, |p| last.value.abs() * p / 100.0)),
        };
        change >= band && change > 0.0
    }
}

#[derive(Clone, Copy, Debug)]
struct Last {
    ts: Timestamp,
    value: f64,
    quality: Quality,
}

/// Remembers what was sent of each channel.
#[derive(Debug, Default)]
pub struct Filter {
    usual: Report,
    special: HashMap<Arc<Channel>, Report>,
    last: HashMap<Arc<Channel>, Last>,
}

impl Filter {
    /// `special` holds the channels with rules of their own.
    pub fn new(usual: Report, special: impl IntoIterator<Item = (Arc<Channel>, Report)>) -> Self {
        Self {
            usual,
            special: special.into_iter().collect(),
            last: HashMap::new(),
        }
    }

    /// Keeps what is worth sending.
    pub fn retain(&mut self, readings: &mut Vec<Reading>) {
        if self.usual == Report::default() && self.special.is_empty() {
            return;
        }
        readings.retain(|reading| {
            let report = self.special.get(&reading.channel).unwrap_or(&self.usual);
            let wanted = report.wants(self.last.get(&reading.channel), reading);
            if wanted {
                let last = Last {
                    ts: reading.ts,
                    value: reading.value,
                    quality: reading.quality,
                };
                self.last.insert(Arc::clone(&reading.channel), last);
            }
            wanted
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> Arc<Channel> {
        Arc::new(Channel {
            device: "d".into(),
            name: "c".to_owned(),
            unit: String::new(),
        })
    }

    /// Seconds and values in, seconds that pass out.
    fn passed(report: Report, rows: &[(i64, f64)]) -> Vec<i64> {
        let channel = channel();
        let mut filter = Filter::new(report, []);
        let mut readings = rows
            .iter()
            .map(|(s, value)| Reading {
                channel: Arc::clone(&channel),
                ts: Timestamp::from_secs(*s),
                value: *value,
                quality: Quality::Good,
            })
            .collect();
        filter.retain(&mut readings);
        readings
            .iter()
            .map(|reading| reading.ts.micros() / 1_000_000)
            .collect()
    }

    const ROWS: [(i64, f64); 7] = [
        (0, 10.0),
        (1, 10.0),
        (2, 10.2),
        (3, 10.6),
        (4, 10.6),
        (20, 10.6),
        (21, 20.0),
    ];

    #[test]
    fn rules() {
        let report = Report::default();
        assert_eq!(passed(report, &ROWS), [0, 1, 2, 3, 4, 20, 21]);
        let change = Report {
            on: On::Change,
            ..report
        };
        assert_eq!(passed(change, &ROWS), [0, 2, 3, 21]);
        let band = Report {
            dead_band: Some(0.5),
            ..report
        };
        assert_eq!(passed(band, &ROWS), [0, 3, 21]);
        let percent = Report {
            dead_band_percent: Some(50.0),
            ..report
        };
        assert_eq!(passed(percent, &ROWS), [0, 21]);
        let heartbeat = Report {
            at_least_every_s: Some(10.0),
            ..band
        };
        assert_eq!(passed(heartbeat, &ROWS), [0, 3, 20, 21]);
        let period = Report {
            at_most_every_s: Some(3.0),
            ..report
        };
        assert_eq!(passed(period, &ROWS), [0, 3, 20]);
    }

    #[test]
    fn quality_always_counts_and_points_have_rules_of_their_own() {
        let (quiet, loud) = (
            channel(),
            Arc::new(Channel {
                device: "d".into(),
                name: "loud".to_owned(),
                unit: String::new(),
            }),
        );
        let change = Report {
            on: On::Change,
            at_most_every_s: Some(100.0),
            ..Report::default()
        };
        let mut filter = Filter::new(change, [(Arc::clone(&loud), Report::default())]);
        let reading = |channel: &Arc<Channel>, s, quality| Reading {
            channel: Arc::clone(channel),
            ts: Timestamp::from_secs(s),
            value: 1.0,
            quality,
        };
        let mut readings = vec![
            reading(&quiet, 0, Quality::Good),
            reading(&loud, 0, Quality::Good),
            reading(&quiet, 1, Quality::Good),
            reading(&loud, 1, Quality::Good),
            reading(&quiet, 2, Quality::Bad),
        ];
        filter.retain(&mut readings);
        assert_eq!(readings.len(), 4);
        assert_eq!(readings[3].quality, Quality::Bad);
    }

    #[test]
    fn mistakes_are_named() {
        let bad = Report {
            dead_band: Some(-1.0),
            ..Report::default()
        };
        assert!(bad.check().unwrap_err().to_string().contains("report.dead_band"));
        let bad = Report {
            at_most_every_s: Some(10.0),
            at_least_every_s: Some(5.0),
            ..Report::default()
        };
        assert!(bad.check().is_err());
    }
}

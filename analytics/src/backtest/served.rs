//! What a pass in service would have said of a public set: window, baseline, features and detection by the very functions
//! that a pass calls, with its step, its span of healthy history and its settings. The figures beside a backtest's own ones
//! say how far what is served is from the best that was measured on the set.

pub(crate) mod engines;

use anyhow::Result;
use models::asset::ChannelKind;
use models::db::assessment::AssetChannel;
use models::id::ChannelId;
use models::time::Timestamp;

use crate::config::Config;
use crate::detect::{Baseline, judge};
use crate::features::{LONG, SHORT};
use crate::stats;
use crate::window::{Window, choose_step};

/// Steps of the window that a pass looks at.
const PASS_STEPS: usize = LONG * 5 / 3;
/// Windows whose features are computed in one table, like those of a batch of assets.
const BATCH: usize = 64;
/// Steps beyond which times are taken to be no times of one machine.
const MOST_STEPS: usize = 1_000_000;

/// What one pass said.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pass {
    /// End of its last step, seconds: nothing later was known to it.
    pub at: f64,
    /// 1 = at the threshold of an alarm.
    pub anomaly: f64,
    /// Channel that was furthest from its own past, and whether the joint picture was further still.
    pub worst: String,
}

/// The passes over one machine after its baseline, or why there is no baseline.
#[derive(Debug)]
pub(crate) struct Served {
    pub passes: Vec<Pass>,
    pub why: Option<String>,
}

/// One alarm: anomalies from the threshold on, until a whole short window is below it again.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Alarm {
    pub from: f64,
    pub until: Option<f64>,
    pub worst: String,
}

/// Hours of first history that serving takes as healthy, unless somebody says otherwise of the asset.
pub(crate) fn usual_healthy_s() -> f64 {
    Config::default().baseline_hours * 3600.0
}

/// Channels of a machine that are all read at the same times, and the grid that a pass loads them on.
pub(crate) struct Signals {
    channels: Vec<AssetChannel>,
    columns: Vec<Vec<f64>>,
    times: Vec<Timestamp>,
    step_s: i64,
    first_step: i64,
    pub steps: usize,
}

impl Signals {
    /// Kind and values by name. `None`: the times reach too far.
    pub fn new(step_s: i64, times: &[f64], channels: Vec<(String, ChannelKind, Vec<f64>)>) -> Option<Self> {
        let times: Vec<Timestamp> = times
            .iter()
            .map(|time| Timestamp::from_micros((time * 1e6).round() as i64))
            .collect();
        let step = |time: &Timestamp| time.micros().div_euclid(step_s * 1_000_000);
        let (first_step, last) = (step(times.first()?), step(times.last()?));
        let steps = usize::try_from(last - first_step + 1)
            .ok()
            .filter(|steps| *steps <= MOST_STEPS)?;
        let (mut named, mut columns) = (Vec::new(), Vec::new());
        for (id, (name, kind, values)) in (1..).zip(channels) {
            named.push(AssetChannel {
                id: ChannelId(id),
                name,
                label: None,
                unit: "1".to_owned(),
                kind,
                cadence_s: None,
                high_limit: None,
                low_limit: None,
            });
            columns.push(values);
        }
        Some(Self {
            channels: named,
            columns,
            times,
            step_s,
            first_step,
            steps,
        })
    }

    /// Readings before the beginning of a step.
    fn before(&self, step: usize) -> usize {
        let begins = Timestamp::from_secs((self.first_step + step as i64) * self.step_s);
        self.times.partition_point(|time| *time < begins)
    }

    /// The window of the last `most` steps before step `until`, as a pass loads it.
    pub fn until(&self, until: usize, most: usize) -> Window {
        let until = until.min(self.steps);
        let from = until.saturating_sub(most);
        let first_step = self.first_step + from as i64;
        let end = Timestamp::from_secs((self.first_step + until as i64) * self.step_s);
        let mut window = Window::empty(&self.channels, first_step, until - from, self.step_s, end);
        let rows = self.before(from)..self.before(until);
        for (series, values) in window.series.iter_mut().zip(&self.columns) {
            let (times, values) = (&self.times[rows.clone()], &values[rows.clone()]);
            series.fill(first_step, self.step_s, 0, times, values);
        }
        window
    }
}

/// A pass after each step with readings, once the first `healthy_s` seconds have become the baseline.
///
/// # Errors
/// When the features can't be computed.
pub(crate) fn passes(times: &[f64], channels: &[(String, &[f64])], healthy_s: f64) -> Result<Served> {
    let none = |why: String| Served {
        passes: Vec::new(),
        why: Some(why),
    };
    let cadence = stats::median(times.windows(2).map(|pair| pair[1] - pair[0]));
    let span = times
        .last()
        .zip(times.first())
        .map_or(0.0, |(last, first)| last - first);
    let step_s = choose_step(&[cadence], healthy_s.min(span));
    let channels = channels
        .iter()
        .map(|(name, values)| (name.clone(), ChannelKind::Measurement, values.to_vec()));
    let Some(signals) = Signals::new(step_s, times, channels.collect()) else {
        return Ok(none("its times reach too far for one machine".to_owned()));
    };
    let healthy = (healthy_s / step_s as f64).ceil() as usize;
    let baseline = match Baseline::learn(&signals.until(healthy, healthy)) {
        Ok(baseline) => baseline,
        Err(why) => return Ok(none(why.to_string())),
    };
    let came = |until: &usize| signals.before(*until) > signals.before(*until - 1);
    let ends: Vec<usize> = (healthy + 1..=signals.steps).filter(came).collect();
    let mut found = Vec::with_capacity(ends.len());
    for ends in ends.chunks(BATCH) {
        let windows: Vec<Window> = ends
            .iter()
            .map(|until| signals.until(*until, PASS_STEPS))
            .collect();
        let machines: Vec<(&Baseline, &Window)> = windows.iter().map(|window| (&baseline, window)).collect();
        let features = Baseline::features_of(&machines, SHORT)?;
        for (window, features) in windows.iter().zip(features) {
            let said = judge(&baseline, window, features);
            found.push(Pass {
                at: window.end.micros() as f64 / 1e6,
                anomaly: said.anomaly,
                worst: said.worst().map_or_else(String::new, |worst| worst.title.clone()),
            });
        }
    }
    Ok(Served {
        passes: found,
        why: None,
    })
}

impl Served {
    /// The alarms, in order of time.
    pub fn alarms(&self) -> Vec<Alarm> {
        let mut alarms: Vec<Alarm> = Vec::new();
        let (mut on, mut below) = (false, 0);
        for pass in &self.passes {
            below = if pass.anomaly >= 1.0 { 0 } else { below + 1 };
            if !on && below == 0 {
                on = true;
                alarms.push(Alarm {
                    from: pass.at,
                    until: None,
                    worst: pass.worst.clone(),
                });
            } else if on && below == SHORT {
                on = false;
                if let Some(last) = alarms.last_mut() {
                    last.until = Some(pass.at);
                }
            }
        }
        alarms
    }

    /// The anomaly that was known at a time.
    pub fn known_at(&self, time: f64) -> Option<f64> {
        let after = self.passes.partition_point(|pass| pass.at <= time);
        after.checked_sub(1).map(|last| self.passes[last].anomaly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    #[test]
    fn passes_know_nothing_of_what_comes_later_and_alarms_end() {
        let times: Vec<f64> = (0..900).map(|i| 1.7e9 + 600.0 * f64::from(i)).collect();
        let level = |high: bool| -> Vec<f64> {
            (0..900)
                .map(|i| {
                    noise(i)
                        + if high && (500..620).contains(&i) {
                            30.0
                        } else {
                            0.0
                        }
                })
                .collect()
        };
        let (values, other) = (level(true), level(false));
        let served = |until: usize| {
            let channels = [
                ("a".to_owned(), &values[..until]),
                ("b".to_owned(), &other[..until]),
            ];
            passes(&times[..until], &channels, usual_healthy_s()).unwrap()
        };
        let all = served(900);
        let alarms = all.alarms();
        assert_eq!(alarms.len(), 1, "{alarms:?}");
        let hours = |time: f64| ((time - times[0]) / 600.0).round() as usize;
        assert!((500..510).contains(&hours(alarms[0].from)), "{alarms:?}");
        assert!(
            (620..670).contains(&hours(alarms[0].until.unwrap())),
            "{alarms:?}"
        );
        assert_eq!(alarms[0].worst, "a");
        let early = served(560);
        assert_eq!(early.passes, all.passes[..early.passes.len()]);
        assert_eq!(all.known_at(times[0]), None);
        assert!(all.known_at(times[560]).unwrap() > 1.0);
    }

    #[test]
    fn without_a_baseline_the_reason_is_said() {
        let times: Vec<f64> = (0..30).map(|i| 600.0 * f64::from(i)).collect();
        let found = passes(&times, &[("a".to_owned(), &times[..])], 86_400.0).unwrap();
        assert!(found.passes.is_empty() && found.why.unwrap().contains("no baseline yet: 30 steps"));
        let flat = vec![1.0; 500];
        let times: Vec<f64> = (0..500).map(|i| 600.0 * f64::from(i)).collect();
        let found = passes(&times, &[("a".to_owned(), &flat[..])], 86_400.0).unwrap();
        assert!(found.why.unwrap().contains("no channel that varies"));
    }
}

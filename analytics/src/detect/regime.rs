//! Operating regimes: what is normal depends on what the machine was told to do.
//!
//! Channels of kind `state` split the history by their values, channels of kind `setting` by k-means.
//! Groups that overlap are not regimes: more clusters are taken only while any two are further apart
//! than four times their spread, so that the noise of a constant setting makes no second regime.

use linfa::DatasetBase;
use linfa::traits::Fit;
use linfa_clustering::{KMeans, KMeansInit};
use models::asset::ChannelKind;
use models::id::ChannelId;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::stats;
use crate::window::{Series, Window};

/// Regimes of one asset, learned from its baseline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Regimes {
    states: Vec<ChannelId>,
    settings: Vec<Setting>,
    /// One for each cluster of the settings, in spreads; empty without settings.
    centres: Vec<Vec<f64>>,
    /// State values and cluster of each regime.
    known: Vec<(Vec<i64>, usize)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Setting {
    channel: ChannelId,
    median: f64,
    scale: f64,
}

const MAX_CLUSTERS: usize = 8;
/// Regimes with fewer steps are too rare to know.
const LEAST_STEPS: usize = 12;
/// More values than this and a state is a measurement in disguise.
const MAX_STATE_VALUES: usize = 8;

impl Regimes {
    /// Learns from a window. Settings and states that never change are left out.
    ///
    /// # Errors
    /// When k-means fails.
    pub fn learn(window: &Window) -> anyhow::Result<Self> {
        let mut regimes = Self::default();
        for series in &window.series {
            match series.kind() {
                ChannelKind::State => {
                    let mut values: Vec<i64> = (0..window.steps)
                        .map(|step| series.last(step))
                        .filter(|value| value.is_finite())
                        .map(|v| v.round() as i64)
                        .collect();
                    values.sort_unstable();
                    values.dedup();
                    if (2..=MAX_STATE_VALUES).contains(&values.len()) {
                        regimes.states.push(series.channel.id);
                    }
                }
                ChannelKind::Setting => {
                    let Some(spread) = stats::spread(series.mean.iter().copied()) else {
                        continue;
                    };
                    // Not the robust spread: a setting at one of two values has a robust spread of nothing.
                    let values = stats::sorted(series.mean.iter().copied());
                    let scale = (stats::quantile(&values, 0.98) - stats::quantile(&values, 0.02)) / 2.0;
                    if scale > 1e-9 * spread.median.abs().max(1e-9) {
                        regimes.settings.push(Setting {
                            channel: series.channel.id,
                            median: spread.median,
                            scale,
                        });
                    }
                }
                ChannelKind::Measurement | ChannelKind::Counter => {}
            }
        }
        let points: Vec<Vec<f64>> = (0..window.steps)
            .filter_map(|step| regimes.point(window, step))
            .collect();
        if !regimes.settings.is_empty() && points.len() >= 2 * LEAST_STEPS {
            regimes.centres = clusters(&points)?;
        }
        let mut seen: Vec<((Vec<i64>, usize), usize)> = Vec::new();
        for key in (0..window.steps).filter_map(|step| regimes.key(window, step)) {
            match seen.iter_mut().find(|(known, _)| *known == key) {
                Some((_, n)) => *n += 1,
                None => seen.push((key, 1)),
            }
        }
        seen.retain(|(_, n)| *n >= LEAST_STEPS);
        seen.sort();
        regimes.known = seen.into_iter().map(|(key, _)| key).collect();
        Ok(regimes)
    }

    /// Regimes that only states part, given by the states' values.
    pub fn of_states(states: Vec<ChannelId>, known: Vec<Vec<i64>>) -> Self {
        Self {
            states,
            known: known.into_iter().map(|values| (values, 0)).collect(),
            ..Self::default()
        }
    }

    /// The states that part them; `None` = settings do so too.
    pub fn states(&self) -> Option<&[ChannelId]> {
        (self.centres.len() < 2).then_some(&self.states)
    }

    /// The values of the states in each regime.
    pub fn state_values(&self) -> impl Iterator<Item = Vec<i64>> + '_ {
        self.known.iter().map(|(values, _)| values.clone())
    }

    /// Number of regimes, at least 1.
    pub fn len(&self) -> usize {
        self.known.len().max(1)
    }

    pub fn is_empty(&self) -> bool {
        false
    }

    /// The regime of each step; `None` where it changed within the step, was not told, or is new.
    pub fn assign(&self, window: &Window) -> Vec<Option<usize>> {
        if self.states.is_empty() && self.centres.len() < 2 {
            return vec![Some(0); window.steps];
        }
        (0..window.steps)
            .map(|step| {
                self.key(window, step)
                    .and_then(|key| self.known.iter().position(|known| *known == key))
            })
            .collect()
    }

    /// A regime in words.
    pub fn describe(&self, regime: usize) -> String {
        match self.known.get(regime) {
            Some((states, cluster)) if !states.is_empty() => format!("state {states:?}, settings {cluster}"),
            Some((_, cluster)) => format!("settings {cluster}"),
            None => "the only regime".to_owned(),
        }
    }

    fn point(&self, window: &Window, step: usize) -> Option<Vec<f64>> {
        self.settings
            .iter()
            .map(|setting| {
                let value = held(window, setting.channel, step, |series, step| series.mean[step])?;
                Some((value - setting.median) / setting.scale)
            })
            .collect()
    }

    fn key(&self, window: &Window, step: usize) -> Option<(Vec<i64>, usize)> {
        let states = self
            .states
            .iter()
            .map(|channel| {
                let series = window
                    .series
                    .iter()
                    .find(|series| series.channel.id == *channel)?;
                // A state that changed within the step: neither the one nor the other.
                if series.low(step) != series.high(step) && series.low(step).is_finite() {
                    return None;
                }
                held(window, *channel, step, Series::last).map(|value| value.round() as i64)
            })
            .collect::<Option<Vec<_>>>()?;
        if self.centres.len() < 2 {
            return Some((states, 0));
        }
        let point = self.point(window, step)?;
        let nearest = nearest(&self.centres, &point)?;
        Some((states, nearest))
    }
}

/// A setting or state keeps its value until told otherwise: the newest one up to `step`.
fn held(window: &Window, channel: ChannelId, step: usize, pick: fn(&Series, usize) -> f64) -> Option<f64> {
    let series = window.series.iter().find(|series| series.channel.id == channel)?;
    (0..=step)
        .rev()
        .map(|step| pick(series, step))
        .find(|value| value.is_finite())
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

fn nearest(centres: &[Vec<f64>], point: &[f64]) -> Option<usize> {
    (0..centres.len()).min_by(|a, b| distance(&centres[*a], point).total_cmp(&distance(&centres[*b], point)))
}

fn clusters(points: &[Vec<f64>]) -> anyhow::Result<Vec<Vec<f64>>> {
    let width = points[0].len();
    let data = Array2::from_shape_vec((points.len(), width), points.concat())?;
    let mut best = Vec::new();
    for k in 2..=MAX_CLUSTERS.min(points.len() / LEAST_STEPS) {
        let model = KMeans::params(k)
            .init_method(KMeansInit::KMeansPlusPlus)
            .n_runs(5)
            .max_n_iterations(100)
            .fit(&DatasetBase::from(data.clone()))?;
        let mut centres: Vec<Vec<f64>> = model
            .centroids()
            .rows()
            .into_iter()
            .map(|row| row.to_vec())
            .collect();
        centres.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        if separate(&centres, points) {
            best = centres;
        }
    }
    Ok(best)
}

fn separate(centres: &[Vec<f64>], points: &[Vec<f64>]) -> bool {
    let mut within = vec![(0.0, 0.0); centres.len()];
    for point in points {
        let Some(own) = nearest(centres, point) else {
            return false;
        };
        within[own].0 += distance(&centres[own], point).powi(2);
        within[own].1 += 1.0;
    }
    let spread: Vec<f64> = within
        .iter()
        .map(|(sum, n)| if *n > 0.0 { (sum / n).sqrt() } else { f64::INFINITY })
        .collect();
    (0..centres.len()).all(|a| {
        (0..a).all(|b| {
            distance(&centres[a], &centres[b])
                > 4.0 * (spread[a] + spread[b]).max(1e-6) / 2.0 * 2.0_f64.sqrt()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, noise};

    #[test]
    fn the_noise_of_a_constant_setting_is_one_regime() {
        let window = Machine::new(300)
            .setting("speed", |i| 100.0 + 0.01 * noise(i))
            .window();
        let regimes = Regimes::learn(&window).unwrap();
        assert_eq!(regimes.len(), 1);
        assert!(regimes.assign(&window).iter().all(|regime| *regime == Some(0)));
    }

    #[test]
    fn three_speeds_and_a_state_are_found() {
        let speeds = [20.0, 50.0, 90.0];
        let window = Machine::new(360)
            .setting("speed", move |i| speeds[(i / 20) % 3] + 0.3 * noise(i))
            .state("running", |i| f64::from(u8::from(i % 120 < 90)))
            .window();
        let regimes = Regimes::learn(&window).unwrap();
        // It never stands still at the first speed.
        assert_eq!(regimes.len(), 5);
        let assigned = regimes.assign(&window);
        assert_eq!(assigned[0], assigned[5]);
        assert_ne!(assigned[0], assigned[25]);
        assert_eq!(assigned, regimes.assign(&window));
    }
}

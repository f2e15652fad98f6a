//! What a tenant would get from the reports of engines that failed: each engine a machine with a flight every ten minutes,
//! its own baseline from its first flights, features as passes store them, and the class's model of remaining life.

use anyhow::Result;
use models::asset::ChannelKind;
use models::id::AssetId;
use models::time::Timestamp;
use serde_json::{Value, json};

use super::Signals;
use crate::backtest::metrics::{phm08_total, rmse};
use crate::detect::Baseline;
use crate::detect::baseline::ChannelBaseline;
use crate::features::NAMES;
use crate::learn::data::{Label, Rows};
use crate::learn::{self, Layout, Named, remaining};
use crate::window::{USUAL_STEP_S, Window};

/// Flights that an engine's baseline is learned from.
pub(crate) const HEALTHY: usize = 50;
/// Of every so many passes one is learned from.
const EVERY: usize = 4;

/// A run: settings and sensors of each flight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Engine<'a> {
    pub settings: &'a [Vec<f64>],
    pub sensors: &'a [Vec<f64>],
}

/// A channel's name and its features.
type Own = (String, Vec<f64>);

impl Engine<'_> {
    fn len(&self) -> usize {
        self.sensors.len()
    }

    pub fn signals(&self) -> Option<Signals> {
        let times: Vec<f64> = (0..self.len())
            .map(|i| 1.7e9 + (i as i64 * USUAL_STEP_S) as f64)
            .collect();
        let columns = |rows: &[Vec<f64>]| -> Vec<Vec<f64>> {
            let width = rows.first().map_or(0, Vec::len);
            (0..width)
                .map(|c| rows.iter().map(|row| row[c]).collect())
                .collect()
        };
        let mut channels = Vec::new();
        for (number, values) in (1..).zip(columns(self.settings)) {
            channels.push((format!("setting {number}"), ChannelKind::Setting, values));
        }
        for (number, values) in (1..).zip(columns(self.sensors)) {
            channels.push((format!("sensor {number:02}"), ChannelKind::Measurement, values));
        }
        Signals::new(USUAL_STEP_S, &times, channels)
    }

    /// Its window and what it looked like in its first flights; `None` = too young.
    fn begin(&self) -> Option<(Window, Baseline)> {
        let signals = self.signals()?;
        let baseline = Baseline::learn(&signals.until(HEALTHY, HEALTHY)).ok()?;
        Some((signals.until(signals.steps, signals.steps), baseline))
    }
}

/// The features of every `every`-th flight, counted from the last, as passes would have stored them.
fn stored_rows(window: &Window, baseline: &Baseline, every: usize) -> Result<Vec<(usize, Vec<Own>)>> {
    let features = baseline.features(window, window.steps)?;
    let name = |channel: &ChannelBaseline| {
        let series = window.series.iter().find(|s| s.channel.id == channel.channel);
        series.map_or_else(String::new, |series| series.channel.name.clone())
    };
    let names: Vec<String> = baseline.channels.iter().map(name).collect();
    Ok((0..window.steps)
        .rev()
        .step_by(every)
        .map(|step| {
            let row = names.iter().zip(&features).map(|(name, own)| {
                let numbers = NAMES
                    .iter()
                    .map(|feature| learn::stored(own.column(feature)[step]));
                (name.clone(), numbers.collect())
            });
            (step, row.collect())
        })
        .collect())
}

/// What the training engines leave in the feature table, with a report of each failure.
fn rows(train: &[Engine<'_>]) -> Result<Rows> {
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    let (mut asset, mut at) = (Vec::new(), Vec::new());
    let mut known_until = Timestamp::from_secs(0);
    for (number, engine) in (1..).zip(train) {
        let Some((window, baseline)) = engine.begin() else {
            continue;
        };
        let own = AssetId::from_uuid(uuid::Uuid::from_u128(number));
        let time = |step: usize| window.start().plus_seconds((step as i64 * USUAL_STEP_S) as f64);
        for (step, row) in stored_rows(&window, &baseline, EVERY)?.into_iter().rev() {
            asset.push(own);
            at.push(time(step));
            features.push(row);
        }
        labels.push(Label {
            asset: own,
            at: time(engine.len()),
            weight: 1.0,
            source: "person".to_owned(),
            mode: None,
        });
        // Long after: nobody has to wait to know how they ended.
        known_until = known_until.max(time(2 * engine.len() + 1000));
    }
    let mut channels: Vec<String> = features.iter().flatten().map(|(name, _)| name.clone()).collect();
    channels.sort();
    channels.dedup();
    let layout = Layout {
        channels,
        features: NAMES.iter().map(|name| (*name).to_owned()).collect(),
        asset: Vec::new(),
    };
    let vectors: Vec<f64> = features
        .iter()
        .flat_map(|row| {
            layout.vector(&Named {
                channels: row,
                asset: Vec::new(),
            })
        })
        .collect();
    let width = vectors.len() / at.len().max(1);
    Ok(Rows {
        x: ndarray::Array2::from_shape_vec((at.len(), width), vectors)?,
        layout,
        asset,
        at,
        labels,
        known_until,
    })
}

/// Figures of what the class's model says of each engine's last flight; in flights, under the model's own cap.
///
/// # Errors
/// When the features can't be computed.
pub(crate) fn judge(train: &[Engine<'_>], test: &[Engine<'_>], truth: &[f64]) -> Result<Value> {
    let rows = rows(train)?;
    if rows.at.is_empty() {
        return Ok(
            json!({ "why": "no engine has a baseline of its own: too few flights, or no sensor that varies" }),
        );
    }
    let candidate = match remaining::candidate(&rows, None) {
        Ok(candidate) => candidate,
        Err(why) => return Ok(json!({ "why": why.to_string() })),
    };
    let model = &candidate.model;
    let flight_h = USUAL_STEP_S as f64 / 3600.0;
    let cap = model.cap_h / flight_h;
    let (mut middle, mut left) = (Vec::new(), Vec::new());
    let (mut inside, mut from_p10, mut width, mut unknown) = (0, 0, 0.0, 0);
    for (engine, truth) in test.iter().zip(truth) {
        let row = match engine.begin() {
            Some((window, baseline)) => stored_rows(&window, &baseline, window.steps)?.pop(),
            None => None,
        };
        let seen = row.and_then(|(_, row)| {
            let row = Named {
                channels: &row,
                asset: Vec::new(),
            };
            model.foresee(&row).ok()
        });
        let Some(seen) = seen else {
            unknown += 1;
            continue;
        };
        let truth = truth.min(cap);
        let high = seen.rul.p90_h.map_or(cap, |p90| p90 / flight_h);
        let low = seen.low80_h / flight_h;
        inside += usize::from(low <= truth && truth <= high);
        from_p10 += usize::from(seen.rul.p10_h / flight_h <= truth && truth <= high);
        width += high - low;
        middle.push(seen.rul.p50_h / flight_h);
        left.push(truth);
    }
    let n = left.len().max(1) as f64;
    Ok(json!({
        "rmse": (!left.is_empty()).then(|| rmse(&middle, &left)),
        "phm08": (!left.is_empty()).then(|| phm08_total(&middle, &left)),
        "coverage80": inside as f64 / n,
        // From p10 on, also where the far end is open and p20 begins the interval that is said to hold 80 %.
        "coverage_from_p10": from_p10 as f64 / n,
        "width80": width / n,
        "cap": cap,
        "engines": left.len(),
        // Too young for a baseline of their own.
        "engines_not_judged": unknown,
        "would_stand": candidate.better.is_ok(),
        "leaks": candidate.leaks.len(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    type Run = (Vec<Vec<f64>>, Vec<Vec<f64>>);

    fn engines(runs: &[Run]) -> Vec<Engine<'_>> {
        runs.iter()
            .map(|(settings, sensors)| Engine { settings, sensors })
            .collect()
    }

    #[test]
    fn engines_are_served_what_was_learned_from_others() {
        let engine = |number: usize, life: usize, seen: usize| -> Run {
            let row = |t: usize| {
                let worn = (1.0 - (life - t) as f64 / 60.0).max(0.0);
                (0..4)
                    .map(move |s| noise(10_000 * number + 10 * t + s) + if s < 2 { 9.0 * worn } else { 0.0 })
            };
            (
                vec![vec![0.0]; seen],
                (0..seen).map(|t| row(t).collect()).collect(),
            )
        };
        let train: Vec<_> = (0..14).map(|n| engine(n, 100 + 4 * n, 100 + 4 * n)).collect();
        let lives = [(130, 120), (140, 80), (130, 20)];
        let test: Vec<_> = (20..)
            .zip(lives)
            .map(|(n, (life, seen))| engine(n, life, seen))
            .collect();
        let of = |train: &[Run]| -> Value {
            judge(&engines(train), &engines(&test), &[10.0, 60.0, 110.0]).unwrap()
        };
        let found = of(&train);
        assert_eq!(
            (found["engines"].as_u64(), found["engines_not_judged"].as_u64()),
            (Some(2), Some(1))
        );
        assert!(found["rmse"].as_f64().unwrap() < 25.0, "{found}");
        let few = of(&train[..3]);
        assert!(few["why"].as_str().unwrap().contains("3 runs"), "{few}");
    }
}

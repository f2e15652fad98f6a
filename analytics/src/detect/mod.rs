//! Detection: how far an asset is from its own healthy past, and which channels say so.
//!
//! An anomaly of 1 is at the alarm threshold. Three voices: each channel's smoothed deviation against
//! its threshold, the *new extreme* rule (a level the machine has already shown while healthy, in this
//! regime, never reaches 1 by itself), and the joint [`pattern`]. Nothing is learned here: learning
//! happens in [`baseline`], and not while in alarm.

pub mod baseline;
pub mod class;
pub mod pattern;
pub mod regime;

pub use baseline::{Baseline, NoBaseline};
use models::asset::ChannelKind;
use models::id::ChannelId;

use crate::features::{SHORT, SeriesFeatures};
use crate::stats;
use crate::window::{Series, Window};

/// Within the range seen while healthy an anomaly is held below the threshold.
const NOT_NEW: f64 = 0.9;
/// From here on a deviation is worth a word.
pub const WORTH_A_WORD: f64 = 0.7;
/// Steps without any change after which a channel that used to vary is stuck.
const STUCK_STEPS: usize = 24;

/// One channel's verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelVerdict {
    /// Place in the baseline's channels.
    pub place: usize,
    pub channel: ChannelId,
    pub name: String,
    /// Name for people.
    pub title: String,
    pub unit: String,
    /// 1 = at the threshold.
    pub anomaly: f64,
    pub above: bool,
    /// Level of the last hour (short window).
    pub value: f64,
    pub expected: f64,
    /// Range where healthy levels lie.
    pub expected_low: f64,
    pub expected_high: f64,
    /// Distance from `expected` at which it alarms.
    pub reach: f64,
    /// How long it has been worth a word, hours.
    pub for_h: f64,
    /// The window is too short to see when it began.
    pub longer: bool,
    /// Change of the level an hour, in the channel's unit.
    pub slope_per_h: Option<f64>,
    pub new_extreme: bool,
}

/// What detection says about a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    pub anomaly: f64,
    /// In the order of the baseline's channels; those without a current value are left out.
    pub channels: Vec<ChannelVerdict>,
    /// Anomaly of the joint picture and each channel's share in it.
    pub pattern: Option<(f64, Vec<(ChannelId, f64)>)>,
    pub features: Vec<(ChannelId, SeriesFeatures)>,
    pub notes: Vec<String>,
    /// Regime of the last step; `None`: one that the baseline doesn't know.
    pub regime: Option<usize>,
}

impl Detection {
    /// Share of each channel in all that is unusual, adding up to 1 (0 without deviations).
    pub fn shares(&self) -> Vec<(ChannelId, f64)> {
        let weight = |verdict: &ChannelVerdict| (verdict.anomaly - WORTH_A_WORD).max(0.0);
        let total: f64 = self.channels.iter().map(weight).sum();
        if total > 0.0 {
            return self
                .channels
                .iter()
                .map(|verdict| (verdict.channel, weight(verdict) / total))
                .collect();
        }
        match &self.pattern {
            Some((anomaly, shares)) if *anomaly > WORTH_A_WORD => shares.clone(),
            _ => Vec::new(),
        }
    }

    pub fn worst(&self) -> Option<&ChannelVerdict> {
        self.channels
            .iter()
            .max_by(|a, b| a.anomaly.total_cmp(&b.anomaly))
    }
}

/// Compares a window with the baseline.
///
/// # Errors
/// When the features can't be computed.
pub fn detect(baseline: &Baseline, window: &Window) -> anyhow::Result<Detection> {
    Ok(judge(baseline, window, baseline.features(window, SHORT)?))
}

/// As [`detect`], with the features of the last short window computed already.
pub fn judge(baseline: &Baseline, window: &Window, features: Vec<SeriesFeatures>) -> Detection {
    let assigned = baseline.regimes.assign(window);
    // The last step with anything in it; the newest may be a moment old and still empty.
    let current = assigned.iter().rev().take(SHORT).copied().flatten().next();
    let mut notes = Vec::new();
    if current.is_none() {
        notes.push("operates in a way the baseline has not seen: deviations are not judged".to_owned());
    }
    let mut channels = Vec::new();
    let mut broken = Vec::new();
    for (place, (own, features)) in baseline.channels.iter().zip(&features).enumerate() {
        let Some(series) = window
            .series
            .iter()
            .find(|series| series.channel.id == own.channel)
        else {
            continue;
        };
        if let Some(note) = guard(series, own.still) {
            notes.push(note);
            broken.push(place);
            continue;
        }
        let normal = current.and_then(|regime| own.normal.get(regime).copied().flatten());
        let (Some(normal), Some(z), Some(value)) = (
            normal,
            features.latest("z_short"),
            features.latest("median_short"),
        ) else {
            if features.latest("last").is_none() {
                notes.push(format!("{}: no current readings", series.title()));
            } else if normal.is_some() {
                notes.push(format!(
                    "{}: readings in fewer than 3 of the last {SHORT} steps, not judged: it reports more rarely than the others",
                    series.title()
                ));
            }
            continue;
        };
        let reach = own.threshold * normal.scale;
        let new_extreme = value < normal.low || value > normal.high;
        let mut anomaly = z.abs() / own.threshold;
        if !new_extreme {
            anomaly = anomaly.min(NOT_NEW);
        }
        let persists = persisting(features, z.signum() * WORTH_A_WORD * own.threshold);
        channels.push(ChannelVerdict {
            place,
            channel: own.channel,
            name: series.channel.name.clone(),
            title: series.title().to_owned(),
            unit: series.channel.unit.clone(),
            anomaly,
            above: z > 0.0,
            value,
            expected: normal.median,
            expected_low: normal.low.max(normal.median - reach),
            expected_high: normal.high.min(normal.median + reach),
            reach,
            for_h: window.hours(persists),
            longer: persists == features.steps(),
            slope_per_h: features.latest("slope_long"),
            new_extreme,
        });
    }
    for aside in &baseline.set_aside {
        if let Some(series) = window
            .series
            .iter()
            .find(|series| series.channel.id == aside.channel)
        {
            notes.push(format!("{} is not judged: {}", series.title(), aside.why));
        }
    }
    let pattern = match (&baseline.pattern, current) {
        (Some(pattern), Some(_)) => {
            let point: Vec<Option<f64>> = features
                .iter()
                .enumerate()
                .map(|(place, features)| features.latest("z_ewma").filter(|_| !broken.contains(&place)))
                .collect();
            let departure = pattern.departure(&point);
            let shares = baseline
                .channels
                .iter()
                .map(|own| own.channel)
                .zip(departure.shares.iter().copied())
                .collect();
            Some((departure.anomaly(), shares))
        }
        _ => None,
    };
    let worst = channels.iter().map(|verdict| verdict.anomaly).fold(0.0, f64::max);
    let anomaly = worst.max(pattern.as_ref().map_or(0.0, |(anomaly, _)| *anomaly));
    let features = baseline
        .channels
        .iter()
        .map(|own| own.channel)
        .zip(features)
        .collect();
    Detection {
        anomaly,
        channels,
        pattern,
        features,
        notes,
        regime: current,
    }
}

/// Steps, counted back from the last, for which the smoothed deviation was at or beyond `border`.
/// Steps without a value don't end the count.
fn persisting(features: &SeriesFeatures, border: f64) -> usize {
    let beyond = |z: f64| if border > 0.0 { z >= border } else { z <= border };
    (0..features.steps())
        .rev()
        .map(|step| features.z_short(step))
        .take_while(|z| !z.is_finite() || beyond(*z))
        .count()
}

/// A sensor that can't be right: a note, and no verdict.
fn guard(series: &Series, still: usize) -> Option<String> {
    if series.kind() != ChannelKind::Measurement {
        return None;
    }
    let filled: Vec<usize> = (0..series.mean.len())
        .filter(|i| series.mean[*i].is_finite())
        .collect();
    // A standing machine may well be quiet for hours: twice as long as it ever was is stuck.
    let border = STUCK_STEPS.max(2 * still);
    let run = last_still(series);
    if run >= border {
        let value = filled.last().map_or(f64::NAN, |i| series.mean[*i]);
        return Some(format!(
            "{}: stuck at {} for {run} steps, not judged",
            series.title(),
            short(value)
        ));
    }
    let values: Vec<f64> = filled.iter().map(|i| series.mean[*i]).collect();
    let spikes = spikes(&values);
    if spikes * 20 > values.len() && spikes >= 4 {
        return Some(format!(
            "{}: spikes in {spikes} of {} steps, not judged",
            series.title(),
            values.len()
        ));
    }
    None
}

/// Steps with readings, back from the last, in which nothing changed at all.
fn last_still(series: &Series) -> usize {
    let mut filled = (0..series.mean.len())
        .rev()
        .filter(|i| series.mean[*i].is_finite())
        .peekable();
    let Some(value) = filled.peek().map(|i| series.mean[*i]) else {
        return 0;
    };
    filled
        .take_while(|i| series.low(*i) == value && series.high(*i) == value)
        .count()
}

/// The longest such run anywhere.
pub(crate) fn longest_still(series: &Series) -> usize {
    let (mut longest, mut run, mut before) = (0, 0, f64::NAN);
    for i in (0..series.mean.len()).filter(|i| series.mean[*i].is_finite()) {
        let value = series.mean[i];
        let still = series.low(i) == series.high(i);
        run = if still && value == before {
            run + 1
        } else {
            usize::from(still)
        };
        before = value;
        longest = longest.max(run);
    }
    longest
}

/// Values that jump away from both neighbours, in the same direction, by far more than neighbours
/// usually differ, and come straight back.
fn spikes(values: &[f64]) -> usize {
    let usual = stats::median(values.windows(2).map(|pair| (pair[1] - pair[0]).abs()));
    let border = 25.0 * usual;
    if border.is_nan() || border <= 0.0 {
        return 0;
    }
    let jumps = |three: &&[f64]| {
        let (up, down) = (three[1] - three[0], three[1] - three[2]);
        up.signum() == down.signum()
            && up.abs().min(down.abs()) > border
            && (three[0] - three[2]).abs() < 0.2 * border
    };
    values.windows(3).filter(jumps).count()
}

/// A number for people: four significant digits, no tail of zeros.
pub fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let digits = (3 - value.abs().log10().floor() as i32).clamp(0, 9);
    let text = format!("{value:.*}", digits as usize);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests;

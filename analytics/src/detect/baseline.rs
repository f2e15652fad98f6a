//! The baseline: what one asset looks like while it is healthy, learned from the first part of its
//! history.
//!
//! For each regime and channel a median and a robust spread; a threshold for the channel's smoothed
//! deviation from how far it went while healthy; and over all channels a principal component model
//! (see `pattern`). Channels that can't carry a judgement (constant, mostly missing, coarse counters)
//! are set aside with the reason.

use models::artifact::{Artifact, Card};
use models::asset::ChannelKind;
use models::id::ChannelId;
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::class::Borrowed;
use super::longest_still;
use super::pattern::Pattern;
use super::regime::Regimes;
use crate::features::{Input, SeriesFeatures};
use crate::stats;
use crate::window::{Series, Window};

/// Fewest steps a baseline is learned from.
pub const LEAST_STEPS: usize = 40;
/// Fewest steps of a channel within a regime.
const LEAST_IN_REGIME: usize = 12;

/// What is normal for a channel within a regime.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normal {
    pub median: f64,
    pub scale: f64,
    /// Range of the steps seen; a value within never alarms by itself.
    pub low: f64,
    pub high: f64,
    pub n: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelBaseline {
    pub channel: ChannelId,
    /// By regime; `None` where the channel was too rarely seen.
    pub normal: Vec<Option<Normal>>,
    /// Smoothed deviation in spreads at which the channel alarms.
    pub threshold: f64,
    /// Longest run of steps without any change.
    pub still: usize,
}

/// A channel that is not judged, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetAside {
    pub channel: ChannelId,
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    pub step_s: i64,
    pub from: Timestamp,
    pub to: Timestamp,
    pub steps: usize,
    pub regimes: Regimes,
    pub channels: Vec<ChannelBaseline>,
    pub set_aside: Vec<SetAside>,
    /// `None`: too few channels or steps for a joint picture.
    pub pattern: Option<Pattern>,
    /// The history was shorter than wanted when it was learned.
    #[serde(default)]
    pub provisional: bool,
    /// Not its own: pooled from others of its class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub borrowed: Option<Borrowed>,
}

impl Artifact for Baseline {
    const KIND: &'static str = "baseline";
    const FORMAT: u32 = 1;
}

/// Why there can be no baseline yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBaseline {
    #[error("no baseline yet: {have} steps of readings, {LEAST_STEPS} are needed")]
    TooShort { have: usize },
    #[error("no baseline: no channel that varies and reports (see the notes of the channels)")]
    NoChannel,
    #[error("no baseline: {0}")]
    Failed(String),
}

impl Baseline {
    /// Learns from a window of healthy operation.
    ///
    /// # Errors
    /// When the window is too short or no channel can be used.
    pub fn learn(window: &Window) -> Result<Self, NoBaseline> {
        let have = Self::steps_of(window);
        if have < LEAST_STEPS {
            return Err(NoBaseline::TooShort { have });
        }
        let failed = |error: &dyn std::fmt::Display| NoBaseline::Failed(error.to_string());
        let regimes = Regimes::learn(window).map_err(|error| failed(&error))?;
        let assigned = regimes.assign(window);
        let (mut channels, mut set_aside) = (Vec::new(), Vec::new());
        for series in window
            .series
            .iter()
            .filter(|series| series.kind() == ChannelKind::Measurement)
        {
            match learn_channel(series, &assigned, regimes.len()) {
                Ok(normal) => channels.push(ChannelBaseline {
                    channel: series.channel.id,
                    normal,
                    threshold: 0.0,
                    still: longest_still(series),
                }),
                Err(why) => set_aside.push(SetAside {
                    channel: series.channel.id,
                    why,
                }),
            }
        }
        if channels.is_empty() {
            return Err(NoBaseline::NoChannel);
        }
        let mut baseline = Self {
            step_s: window.step_s,
            from: window.start(),
            to: window.end,
            steps: window.steps,
            regimes,
            channels,
            set_aside,
            pattern: None,
            provisional: false,
            borrowed: None,
        };
        let features = baseline
            .features(window, window.steps)
            .map_err(|error| failed(&error))?;
        for (channel, features) in baseline.channels.iter_mut().zip(&features) {
            channel.threshold = threshold(features.column("z_short"));
        }
        let smoothed: Vec<&[f64]> = features
            .iter()
            .map(|features| features.column("z_ewma"))
            .collect();
        baseline.pattern = Pattern::learn(&smoothed).map_err(|error| failed(&error))?;
        Ok(baseline)
    }

    /// Steps that could be learned from.
    pub fn steps_of(window: &Window) -> usize {
        window
            .series
            .iter()
            .filter(|s| s.kind() == ChannelKind::Measurement)
            .map(Series::filled)
            .max()
            .unwrap_or(0)
    }

    /// Features of the judged channels, in the order of `channels`, for the last `wanted` steps.
    ///
    /// # Errors
    /// When polars does.
    pub fn features(&self, window: &Window, wanted: usize) -> anyhow::Result<Vec<SeriesFeatures>> {
        let mut all = Self::features_of(&[(self, window)], wanted)?;
        all.pop()
            .ok_or_else(|| anyhow::anyhow!("no features of a window"))
    }

    /// As [`Baseline::features`] for several machines, in one table.
    ///
    /// # Errors
    /// When polars does.
    pub fn features_of(
        machines: &[(&Self, &Window)],
        wanted: usize,
    ) -> anyhow::Result<Vec<Vec<SeriesFeatures>>> {
        let longest = machines.iter().map(|(_, window)| window.steps).max().unwrap_or(0);
        let empty = vec![f64::NAN; longest];
        let mut judged: Vec<(&[f64], Vec<f64>, f64)> = Vec::new();
        for (baseline, window) in machines {
            let assigned = baseline.regimes.assign(window);
            for channel in &baseline.channels {
                let values = window
                    .series
                    .iter()
                    .find(|series| series.channel.id == channel.channel)
                    .map_or(&empty[..window.steps], |series| &series.mean[..]);
                let z = standardise(values, &channel.normal, &assigned);
                judged.push((values, z, window.steps_per_hour()));
            }
        }
        let inputs: Vec<Input<'_>> = judged
            .iter()
            .map(|(value, z, steps_per_hour)| Input {
                value,
                z,
                steps_per_hour: *steps_per_hour,
                wanted,
            })
            .collect();
        let mut features = SeriesFeatures::compute(&inputs)?.into_iter();
        Ok(machines
            .iter()
            .map(|(baseline, _)| features.by_ref().take(baseline.channels.len()).collect())
            .collect())
    }

    pub fn why_set_aside(&self, channel: ChannelId) -> Option<&str> {
        self.set_aside
            .iter()
            .find(|aside| aside.channel == channel)
            .map(|aside| aside.why.as_str())
    }

    /// What a person should know about this version.
    pub fn card(&self, provisional: bool) -> Card {
        let mut limits = vec![
            match &self.borrowed {
                Some(borrowed) => format!(
                    "not learned from this asset but from {} others of class {}: one that is built or used otherwise looks unusual",
                    borrowed.assets, borrowed.class
                ),
                None => "learned from this asset's first readings, taken as healthy: a machine that was already worn looks normal".to_owned(),
            },
            "conditions not met in the data window (weather, load, product) may look like a deviation".to_owned(),
        ];
        if provisional {
            limits.push(
                "provisional: the history is still short, it will be learned again as more comes in"
                    .to_owned(),
            );
        }
        limits.extend(
            self.set_aside
                .iter()
                .map(|aside| format!("{} is not judged: {}", aside.channel, aside.why)),
        );
        let figures = [
            ("step_s", json!(self.step_s)),
            ("regimes", json!(self.regimes.len())),
            ("channels", json!(self.channels.len())),
            (
                "components",
                json!(self.pattern.as_ref().map(Pattern::components)),
            ),
        ];
        Card {
            summary: "robust location and spread by regime, thresholds and principal components".to_owned(),
            data_from: self.from,
            data_to: self.to,
            rows: self.steps,
            features: vec!["z_short".to_owned(), "z_ewma".to_owned()],
            figures: figures
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            limits,
        }
    }
}

fn standardise(values: &[f64], normal: &[Option<Normal>], assigned: &[Option<usize>]) -> Vec<f64> {
    values
        .iter()
        .zip(assigned)
        .map(
            |(value, regime)| match regime.and_then(|regime| normal.get(regime).copied().flatten()) {
                Some(normal) => (value - normal.median) / normal.scale,
                None => f64::NAN,
            },
        )
        .collect()
}

fn learn_channel(
    series: &Series,
    assigned: &[Option<usize>],
    regimes: usize,
) -> Result<Vec<Option<Normal>>, String> {
    let filled = series.filled();
    if filled == 0 {
        return Err("no readings in the baseline window".to_owned());
    }
    if filled < LEAST_IN_REGIME {
        return Err(format!(
            "only {filled} steps with readings in the baseline window"
        ));
    }
    if counts_up(&series.mean) {
        return Err("it only counts up: give it the kind `counter` and a meter".to_owned());
    }
    let whole =
        stats::spread(series.mean.iter().copied()).filter(|spread| spread.scale > 1e-9 * spread.median.abs());
    let Some(whole) = whole else {
        return Err("constant in the baseline window".to_owned());
    };
    let normal: Vec<Option<Normal>> = (0..regimes)
        .map(|regime| {
            let values = series
                .mean
                .iter()
                .zip(assigned)
                .filter(|(_, own)| **own == Some(regime))
                .map(|(value, _)| *value);
            let spread = stats::spread(values).filter(|spread| spread.n >= LEAST_IN_REGIME)?;
            // Standing still, a channel hardly moves; a hundredth of its usual spread is then enough
            // to be called a deviation, and not the last bit of a converter.
            let scale = spread.scale.max(0.01 * whole.scale);
            Some(Normal {
                median: spread.median,
                scale,
                low: spread.low,
                high: spread.high,
                n: spread.n,
            })
        })
        .collect();
    if normal.iter().all(Option::is_none) {
        return Err("too few steps in any one regime".to_owned());
    }
    Ok(normal)
}

/// A counter that nobody called one: it rises in most steps and falls in hardly any, a reset now and then.
fn counts_up(values: &[f64]) -> bool {
    let present: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let steps = present.len().saturating_sub(1);
    let up = present.windows(2).filter(|pair| pair[1] > pair[0]).count();
    let down = present.windows(2).filter(|pair| pair[1] < pair[0]).count();
    steps >= LEAST_STEPS - 1 && 2 * up >= steps && 50 * down <= steps
}

/// Six robust spreads of the smoothed deviation, half as far again as it ever went while healthy,
/// and never below 2.5 spreads of the single steps.
fn threshold(z_short: &[f64]) -> f64 {
    let healthy = stats::spread(z_short.iter().copied());
    healthy.map_or(4.0, |spread| {
        (6.0 * spread.scale)
            .max(1.5 * spread.low.abs().max(spread.high.abs()))
            .clamp(2.5, 12.0)
    })
}

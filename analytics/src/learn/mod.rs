//! Learning from what failed: the model of a class's failures, from its features and its reports.
//!
//! A row is what a pass stored in the feature table: the same numbers of the same function that serving
//! uses, rounded to the precision they are stored with ([`stored`]), so that training sees what serving
//! sees to the last bit. A label is a failure report or a ticket that confirmed a fault, with its weight.
//!
//! [`data`] makes the rows, [`leak`] looks for features that know what they can't, [`train`] backtests a
//! candidate by machine and by time and compares it with the champion, [`modes`] adds a model for each way to fail
//! that has failures enough and [`cause`] parts a probability among them, [`remaining`] does the same for
//! remaining life, [`drift`] asks whether the world still looks like the training set.

pub mod cause;
pub mod data;
pub mod draw;
pub mod drift;
pub mod export;
mod judge;
pub mod leak;
pub mod modes;
pub mod remaining;
pub mod schedule;
mod store;
pub mod train;

use models::artifact::Artifact;
use models::db::assessment::AssetFacts;
use models::id::FailureModeId;
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use statrs::distribution::{Beta, ContinuousCDF};

use crate::backtest::isotonic::Isotonic;
use crate::boost::Booster;
use crate::features::NAMES;

/// A number as precise as the feature table keeps it.
pub fn stored(number: f64) -> f64 {
    f64::from(number as f32)
}

/// Features of an asset that no channel has; `None` = not known.
pub fn asset_features(facts: &AssetFacts, at: Timestamp) -> [(&'static str, Option<f64>); 5] {
    let since_failure = facts
        .running_h
        .zip(facts.running_h_at_failure)
        .map(|(now, then)| (now - then).max(0.0));
    [
        ("errors_24h", Some(facts.errors_24h as f64)),
        ("errors_7d", Some(facts.errors_7d as f64)),
        ("running_h", facts.running_h),
        ("running_h_since_failure", since_failure),
        (
            "hours_since_maintenance",
            facts
                .last_maintenance_at
                .map(|done| at.seconds_since(done).max(0.0) / 3600.0),
        ),
    ]
}

/// One row: numbers by channel in the order of [`NAMES`], and those of the asset.
#[derive(Clone, Debug, PartialEq)]
pub struct Named<'a> {
    pub channels: &'a [(String, Vec<f64>)],
    pub asset: Vec<(&'static str, f64)>,
}

pub fn named<'a>(channels: &'a [(String, Vec<f64>)], facts: &AssetFacts, at: Timestamp) -> Named<'a> {
    Named {
        channels,
        asset: asset_features(facts, at)
            .into_iter()
            .map(|(name, value)| (name, value.map_or(f64::NAN, stored)))
            .collect(),
    }
}

/// How rows become vectors: every channel of the class with every feature, then the asset's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    pub channels: Vec<String>,
    pub features: Vec<String>,
    pub asset: Vec<String>,
}

impl Layout {
    pub fn names(&self) -> Vec<String> {
        self.channels
            .iter()
            .flat_map(|channel| {
                self.features
                    .iter()
                    .map(move |feature| format!("{channel}.{feature}"))
            })
            .chain(self.asset.iter().cloned())
            .collect()
    }

    /// NaN where the row has no such number.
    pub fn vector(&self, row: &Named<'_>) -> Vec<f64> {
        let mut vector = Vec::with_capacity(self.channels.len() * self.features.len() + self.asset.len());
        let same = self.features.iter().map(String::as_str).eq(NAMES.iter().copied());
        for channel in &self.channels {
            let numbers = row
                .channels
                .iter()
                .find(|(name, _)| name == channel)
                .map(|(_, n)| n);
            match numbers {
                Some(numbers) if same && numbers.len() == NAMES.len() => vector.extend_from_slice(numbers),
                Some(numbers) => vector.extend(self.features.iter().map(|feature| {
                    let place = NAMES.iter().position(|name| name == feature);
                    place
                        .and_then(|place| numbers.get(place).copied())
                        .unwrap_or(f64::NAN)
                })),
                None => vector.extend(std::iter::repeat_n(f64::NAN, self.features.len())),
            }
        }
        vector.extend(self.asset.iter().map(|wanted| {
            let found = row.asset.iter().find(|(name, _)| name == wanted);
            found.map_or(f64::NAN, |(_, value)| *value)
        }));
        vector
    }
}

/// Probability of a score: isotonic, with an interval from how often rows like it failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    curve: Isotonic,
    /// (highest score, weight of the rows, of those that failed) of groups by score, each of failures enough.
    groups: Vec<(f64, f64, f64)>,
    /// Independent failures for each row that failed: rows before one failure are one observation.
    independent: f64,
}

/// Independent failures of a group, the lowest aside: fewer say little, more would hide where they are likelier. Where
/// failures are many a group takes a tenth of them.
const GROUP_FAILURES: f64 = 3.0;
const GROUP_SHARE: f64 = 0.1;

impl Calibration {
    /// From scores of models that never saw the row's machine; a row counts as much as its label is sure. `None` without
    /// rows.
    pub fn fit(score: &[f64], y: &[bool], weight: &[f64], failures: usize) -> Option<Self> {
        let curve = Isotonic::fit(score, y, Some(weight))?;
        let positives = y.iter().filter(|y| **y).count();
        let independent = (failures as f64 / positives.max(1) as f64).min(1.0);
        Some(Self {
            curve,
            groups: groups(score, y, weight, independent),
            independent,
        })
    }

    /// Probability, and the 80 % interval of Jeffreys' posterior over the rows like it.
    pub fn probability(&self, score: f64) -> (f64, f64, f64) {
        let p = self.curve.probability(score);
        let at = self.groups.partition_point(|(highest, ..)| *highest < score);
        let Some((_, rows, failed)) = self.groups.get(at.min(self.groups.len().saturating_sub(1))) else {
            return (p, 0.0, 1.0);
        };
        let (n, k) = (rows * self.independent, failed * self.independent);
        let bound = |q: f64| {
            Beta::new(k + 0.5, n - k + 0.5)
                .map_or(if q < 0.5 { 0.0 } else { 1.0 }, |beta| beta.inverse_cdf(q))
        };
        (p, bound(0.1).min(p), bound(0.9).max(p))
    }
}

/// Rows by score, from the highest down, cut where a group has failures enough; what is left below is the last. At a low
/// base rate nearly all rows are there, and those worth an interval have groups of their own.
fn groups(score: &[f64], y: &[bool], weight: &[f64], independent: f64) -> Vec<(f64, f64, f64)> {
    let mut order: Vec<usize> = (0..score.len())
        .filter(|i| weight[*i] > 0.0 && score[*i].is_finite())
        .collect();
    order.sort_by(|a, b| score[*b].total_cmp(&score[*a]));
    let failed = |rows: &[usize]| rows.iter().filter(|i| y[**i]).map(|i| weight[*i]).sum::<f64>();
    let enough = GROUP_FAILURES.max(GROUP_SHARE * failed(&order) * independent);
    let mut groups: Vec<(f64, f64, f64)> = Vec::new();
    let mut open = false;
    for tie in order.chunk_by(|a, b| score[*a] == score[*b]) {
        if !open {
            groups.push((score[tie[0]], 0.0, 0.0));
            open = true;
        }
        if let Some(group) = groups.last_mut() {
            group.1 += tie.iter().map(|i| weight[*i]).sum::<f64>();
            group.2 += failed(tie);
            open = group.2 * independent < enough;
        }
    }
    groups.reverse();
    groups
}

/// One horizon of a [`FailureModel`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Horizon {
    pub horizon_h: i32,
    pub booster: Booster,
    pub calibration: Calibration,
    /// Failures that the rows before them were labelled by.
    pub failures: usize,
}

/// Probability of failing within each horizon for the machines of a class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailureModel {
    pub layout: Layout,
    pub horizons: Vec<Horizon>,
    /// Ways to fail that have failures enough for a model of their own; versions of before there were such have none.
    #[serde(default)]
    pub modes: Vec<modes::ModeModel>,
    /// Quantiles 0, 5, … 100 % of each feature in training, for drift; empty where it was never there.
    pub sketch: Vec<Vec<f32>>,
    /// Share of the training rows that had the feature.
    pub present: Vec<f32>,
    /// Until here it was known who failed; versions of before this was noted don't say.
    #[serde(default)]
    pub known_until: Option<Timestamp>,
}

impl Artifact for FailureModel {
    const KIND: &'static str = "failure_model";
    const FORMAT: u32 = 1;
}

/// What the models of its class say of one asset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Foreseen {
    /// Horizon in hours, probability, low, high; empty without a failure model.
    pub within: Vec<(i32, f64, f64, f64)>,
    /// Failures that it was learned from.
    pub failures: usize,
    /// Features that raise the longest horizon's probability most, with their share in log odds.
    pub because: Vec<(String, f64)>,
    /// Of the ways to fail that have a model of their own.
    pub modes: Vec<ModeForeseen>,
    /// By the model of remaining life, where there is one.
    pub life: Option<remaining::Left>,
}

/// What the model of one way to fail says.
#[derive(Clone, Debug, PartialEq)]
pub struct ModeForeseen {
    pub horizon_h: i32,
    pub mode: FailureModeId,
    /// That it fails so, and so first.
    pub p: f64,
    /// Failures of it that were learned from.
    pub failures: usize,
}

/// Kinds of models that a class may have.
pub const MODELS: [&str; 2] = [FailureModel::NAME, remaining::RemainingModel::NAME];

/// From this probability on it is worth saying why: exact Shapley values cost more than the rest.
const WORTH_EXPLAINING: f64 = 0.1;

impl FailureModel {
    /// Name of such models among the versions; their scope is the class.
    pub const NAME: &'static str = "failure_probability";

    pub fn foresee(&self, row: &Named<'_>) -> Foreseen {
        let x = self.layout.vector(row);
        let mut longest = 0.0;
        let within: Vec<_> = self
            .horizons
            .iter()
            .map(|horizon| {
                let (p, low, high) = horizon.calibration.probability(horizon.booster.predict_row(&x));
                // A longer horizon is never less likely than a shorter one.
                longest = p.max(longest);
                (horizon.horizon_h, longest, low.min(longest), high.max(longest))
            })
            .collect();
        let because = match self.horizons.last() {
            Some(last) if longest >= WORTH_EXPLAINING => {
                let (_, shares) = last.booster.explain(&x);
                let mut named: Vec<(String, f64)> = self.layout.names().into_iter().zip(shares).collect();
                named.retain(|(_, share)| *share > 0.0);
                named.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
                named.truncate(3);
                named
            }
            _ => Vec::new(),
        };
        Foreseen {
            within,
            failures: self.horizons.last().map_or(0, |horizon| horizon.failures),
            because,
            modes: self.modes.iter().flat_map(|model| model.foresee(&x)).collect(),
            life: None,
        }
    }
}

#[cfg(test)]
mod tests;

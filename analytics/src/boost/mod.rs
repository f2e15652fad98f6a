//! Gradient boosting of histogram trees, written for repeatable predictions that can be explained.
//!
//! Design, in the order in which a fit runs:
//!
//! 1. `bins` turns every feature into at most 255 bins of a byte; a missing value (anything not finite) has bin 255.
//! 2. Each round takes gradient and curvature of the loss per row and rounds them to 31-bit integers. Sums of integers
//!    do not depend on their order, so **the model is the same to the last bit for every number of threads and for
//!    every order of the rows** (given the same row ids).
//! 3. `grow` splits the leaf with the largest gain until `leaves` are reached. Histograms are made for the smaller
//!    child only; its sibling is the parent minus it. Each worker thread owns a share of the features with all their
//!    histograms, so threads exchange a few words per leaf and share no mutable memory.
//! 4. Missing values go to the side that gained more while growing. Categories are ordered by their gradient ratio and
//!    then split like numbers. Monotone features bound the values of the leaves below a split.
//! 5. Rows and columns are drawn by a hash of (seed, round, id), never by a shared generator.
//!
//! `shap` explains a prediction exactly: base + contributions = raw score, for rows never seen too.

mod bins;
mod booster;
mod cross;
mod grow;
mod loss;
mod shap;
mod split;
#[cfg(test)]
mod tests;
mod tree;

pub use booster::{Booster, Training};
pub use cross::{CrossFit, cross_fit, fit_grouped, grouped_folds};
pub use loss::Loss;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How a feature may influence the prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Monotone {
    #[default]
    Free,
    Increasing,
    Decreasing,
}

/// What one column holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    pub name: String,
    /// Values are integer codes of categories without order.
    #[serde(default)]
    pub categorical: bool,
    #[serde(default)]
    pub monotone: Monotone,
}

impl Feature {
    pub fn numeric(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            categorical: false,
            monotone: Monotone::Free,
        }
    }

    pub fn categorical(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            categorical: true,
            monotone: Monotone::Free,
        }
    }

    pub fn monotone(mut self, monotone: Monotone) -> Self {
        self.monotone = monotone;
        self
    }
}

/// Settings of a fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Params {
    pub loss: Loss,
    pub rounds: usize,
    pub learning_rate: f64,
    pub leaves: usize,
    /// Fewest rows in a leaf.
    pub min_leaf: usize,
    /// Deepest level, 0 = no limit.
    pub max_depth: usize,
    /// Share of the rows drawn per round.
    pub row_share: f64,
    /// Share of the columns drawn per round.
    pub column_share: f64,
    /// Ridge penalty on the leaf values.
    pub lambda: f64,
    pub seed: u64,
    /// Worker threads; 0 = one per core. The model does not depend on it.
    pub threads: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            loss: Loss::Squared,
            rounds: 500,
            learning_rate: 0.03,
            leaves: 31,
            min_leaf: 40,
            max_depth: 0,
            row_share: 0.7,
            column_share: 0.3,
            lambda: 0.0,
            seed: 1,
            threads: 0,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BoostError {
    #[error("there are no rows to learn from")]
    NoRows,
    #[error("{what}: {found} values for {expected} {unit}")]
    Length {
        what: &'static str,
        found: usize,
        expected: usize,
        unit: &'static str,
    },
    #[error("row {row}: {what}")]
    BadRow { row: usize, what: &'static str },
    #[error("setting {name} is out of range: {rule}")]
    BadSetting { name: &'static str, rule: &'static str },
    #[error("{groups} groups cannot be split into {folds} folds")]
    TooFewGroups { groups: usize, folds: usize },
}

impl Params {
    fn check(&self) -> Result<(), BoostError> {
        let rule = |good: bool, name, rule| {
            if good {
                Ok(())
            } else {
                Err(BoostError::BadSetting { name, rule })
            }
        };
        let share = |s: f64| s > 0.0 && s <= 1.0;
        rule(self.rounds > 0, "rounds", "at least 1")?;
        rule(
            self.learning_rate > 0.0 && self.learning_rate <= 1.0,
            "learning_rate",
            "above 0, at most 1",
        )?;
        rule((2..=4096).contains(&self.leaves), "leaves", "from 2 to 4096")?;
        rule(self.min_leaf > 0, "min_leaf", "at least 1")?;
        rule(share(self.row_share), "row_share", "above 0, at most 1")?;
        rule(share(self.column_share), "column_share", "above 0, at most 1")?;
        rule(
            self.lambda.is_finite() && self.lambda >= 0.0,
            "lambda",
            "not below 0",
        )?;
        if let Loss::Pinball { quantile } = self.loss {
            rule(quantile > 0.0 && quantile < 1.0, "quantile", "between 0 and 1")?;
        }
        Ok(())
    }
}

/// A well-mixed 64-bit hash of three numbers (the finaliser of splitmix64 in a chain).
fn mix(seed: u64, a: u64, b: u64) -> u64 {
    let step = |mut z: u64| {
        z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    step(step(step(seed) ^ a) ^ b)
}

/// Threads to use for `units` pieces of work.
fn thread_count(wanted: usize, units: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    (if wanted == 0 { cores } else { wanted }).clamp(1, units.max(1))
}

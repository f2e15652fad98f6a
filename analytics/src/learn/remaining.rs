//! How much life is left, learned from a class's runs to failure.
//!
//! The label is the time until the machine failed, cut at a cap: long before its failure a machine shows
//! nothing that could tell one life from a longer one, and a model that must guess there learns to
//! guess. The interval is drawn from what the model got wrong on machines it had not seen, at predictions
//! like this one ([`Conformal`]), and an end that reaches the cap is open: "more than", not a number.
//! An interval with an open end holds 80 % from p20 on, not from p10: p10 stays what it is, the time by which one in ten
//! has failed, for deadlines.
//!
//! `label` says which rows can be learned from, [`candidate()`] chooses the cap, backtests and compares with what stands.

mod candidate;
pub(super) mod label;

use models::artifact::Artifact;
use models::assessment::RemainingLife;
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use statrs::distribution::{Beta, ContinuousCDF};

use super::{Layout, Named};
use crate::backtest::conformal::{Conformal, Outcomes};
use crate::boost::Booster;
use crate::prognosis::HORIZONS_H;
use crate::reliability::Estimate;

pub use candidate::{Candidate, LEAST_MACHINES, LEAST_RUNS, NoCandidate, candidate};

/// Share of the usual features below which a row is too thin to judge by.
const LEAST_PRESENT: f64 = 0.5;
/// A feature is usual when this share of the training rows had it.
const USUAL: f32 = 0.9;
/// From this share of the cap downwards it is worth saying why: exact Shapley values cost more than the rest.
const WORTH_EXPLAINING: f64 = 0.6;

/// Remaining life for the machines of a class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemainingModel {
    pub layout: Layout,
    pub booster: Booster,
    /// What it got wrong on machines it had not seen, hours.
    pub errors: Conformal,
    /// Hours beyond which it looks no further.
    pub cap_h: f64,
    /// Runs to failure that it was learned from, and their machines.
    pub runs: usize,
    pub machines: usize,
    /// Until here it was known who failed.
    pub known_until: Timestamp,
    /// Share of the training rows that had each feature.
    pub present: Vec<f32>,
    /// Quantiles 0, 5, … 100 % of each feature in training, for drift; none in versions of before it was watched.
    #[serde(default)]
    pub sketch: Vec<Vec<f32>>,
}

impl Artifact for RemainingModel {
    const KIND: &'static str = "remaining_life_model";
    const FORMAT: u32 = 1;
}

/// What the model says of one asset.
#[derive(Clone, Debug, PartialEq)]
pub struct Left {
    /// `p50_h` at the cap: more than the cap is left, nobody knows how much. `p90_h = None`: the same of the far end.
    pub rul: RemainingLife,
    /// Where the interval that holds 80 % begins: p10, or p20 where its far end is open.
    pub low80_h: f64,
    pub cap_h: f64,
    pub runs: usize,
    /// Horizon in hours and the share of machines like it that failed within, with its 80 % interval.
    pub within: Vec<(i32, Estimate)>,
    /// Features that shorten it most.
    pub because: Vec<String>,
}

impl Left {
    /// Whether all that is known is that more than the cap is left.
    pub fn beyond(&self) -> bool {
        self.rul.p50_h >= self.cap_h
    }
}

impl RemainingModel {
    /// Name of such models among the versions; their scope is the class.
    pub const NAME: &'static str = "remaining_life";

    /// # Errors
    /// A note for people, when most of what it was learned from is missing.
    pub fn foresee(&self, row: &Named<'_>) -> Result<Left, String> {
        let x = self.layout.vector(row);
        let usual = || {
            x.iter()
                .zip(&self.present)
                .filter(|(_, present)| **present >= USUAL)
        };
        let (wanted, found) = (
            usual().count(),
            usual().filter(|(value, _)| value.is_finite()).count(),
        );
        if (found as f64) < LEAST_PRESENT * wanted as f64 {
            return Err(format!(
                "the class's model of remaining life is not asked: {found} of {wanted} features that it was learned from are there"
            ));
        }
        let predicted = self.booster.predict_row(&x).clamp(0.0, self.cap_h);
        let outcomes = self.errors.outcomes(predicted, self.cap_h);
        let Some((low80_h, high80_h)) = outcomes.interval80() else {
            return Err("the class's model of remaining life has no held-out errors to draw an interval from: train it again".to_owned());
        };
        let rul = RemainingLife {
            p10_h: outcomes.quantile(0.1),
            p50_h: outcomes.quantile(0.5),
            p90_h: (!outcomes.open()).then_some(high80_h),
        };
        let because = if rul.p50_h < WORTH_EXPLAINING * self.cap_h {
            self.shortened_by(&x)
        } else {
            Vec::new()
        };
        Ok(Left {
            rul,
            low80_h,
            cap_h: self.cap_h,
            runs: self.runs,
            within: HORIZONS_H
                .iter()
                .map(|horizon| (*horizon, self.share_within(&outcomes, f64::from(*horizon))))
                .collect(),
            because,
        })
    }

    /// Share of the outcomes that a machine failed with within `hours`; of those at the cap nobody knows.
    fn share_within(&self, outcomes: &Outcomes, hours: f64) -> Estimate {
        let value = outcomes.failed_within(hours);
        // Rows of one run are one observation.
        let n = (outcomes.len().min(self.runs) as f64).max(1.0);
        let k = value * n;
        let bound = |q: f64| {
            Beta::new(k + 0.5, n - k + 0.5)
                .map_or(if q < 0.5 { 0.0 } else { 1.0 }, |beta| beta.inverse_cdf(q))
        };
        Estimate {
            value,
            low: bound(0.1).min(value),
            high: bound(0.9).max(value),
        }
    }

    fn shortened_by(&self, x: &[f64]) -> Vec<String> {
        let (_, shares) = self.booster.explain(x);
        let mut named: Vec<(String, f64)> = self.layout.names().into_iter().zip(shares).collect();
        named.retain(|(_, share)| *share < 0.0);
        named.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
        named.into_iter().take(3).map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests;

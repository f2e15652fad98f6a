//! A model for each way to fail that has failures enough, by the same rule as the class's: the probability that it fails
//! so, and so first.
//!
//! What stands is what is better than the base rate on machines it has not seen, and not worse on the newest part of the
//! time; where it isn't, the Weibull of that mode speaks ([`super::cause`]).

use std::collections::BTreeMap;

use models::id::FailureModeId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::data::Rows;
use super::train::{LEAST_FAILED_ASSETS, LEAST_FAILURES, NoCandidate, fit};
use super::{Horizon, ModeForeseen, judge};
use crate::boost::Feature;
use crate::prognosis::HORIZONS_H;

/// The model of one way to fail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModeModel {
    pub mode: FailureModeId,
    pub horizons: Vec<Horizon>,
}

impl ModeModel {
    /// A longer horizon is never less likely than a shorter one.
    pub fn foresee(&self, x: &[f64]) -> Vec<ModeForeseen> {
        let mut longest = 0.0;
        self.horizons
            .iter()
            .map(|horizon| {
                let (p, ..) = horizon.calibration.probability(horizon.booster.predict_row(x));
                longest = p.max(longest);
                ModeForeseen {
                    horizon_h: horizon.horizon_h,
                    mode: self.mode,
                    p: longest,
                    failures: horizon.failures,
                }
            })
            .collect()
    }
}

/// Models of the ways to fail, and the figures of each by its name: a horizon that is left out has them too.
///
/// # Errors
/// When a model can't be fitted.
pub fn train(rows: &Rows, features: &[Feature]) -> Result<(Vec<ModeModel>, Map<String, Value>), NoCandidate> {
    let mut reported: BTreeMap<FailureModeId, (&str, usize)> = BTreeMap::new();
    for (mode, name) in rows.labels.iter().filter_map(|label| label.mode.as_ref()) {
        reported.entry(*mode).or_insert((name.as_str(), 0)).1 += 1;
    }
    let (mut models, mut figures) = (Vec::new(), Map::new());
    for (mode, (name, _)) in reported.into_iter().filter(|(_, (_, n))| *n >= LEAST_FAILURES) {
        let (mut horizons, mut of) = (Vec::new(), Map::new());
        for horizon_h in HORIZONS_H {
            let labelled = rows.labelled_by(f64::from(horizon_h), Some(mode));
            if labelled.failures < LEAST_FAILURES
                || labelled.failed_assets < LEAST_FAILED_ASSETS
                || labelled.y.iter().all(|y| *y)
            {
                continue;
            }
            let fitted = fit(rows, &labelled, features, horizon_h)?;
            if judge::left_out(&fitted.figures).is_none() {
                horizons.push(fitted.horizon);
            }
            of.insert(format!("{horizon_h}h"), fitted.figures);
        }
        if !of.is_empty() {
            figures.insert(name.to_owned(), Value::Object(of));
        }
        if !horizons.is_empty() {
            models.push(ModeModel { mode, horizons });
        }
    }
    Ok((models, figures))
}

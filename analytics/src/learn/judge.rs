//! How good a candidate for failure probabilities is: on machines it has not seen, on the newest part of the time, and
//! against the champion on rows that are new to both.

use std::collections::BTreeSet;

use anyhow::Context;
use ndarray::{Array2, Axis};
use serde_json::{Map, Value, json};

use super::data::{Labelled, Rows};
use super::{Calibration, FailureModel};
use crate::backtest::metrics::{brier, roc_auc};
use crate::backtest::settings::{PATIENCE, classifier, labels};
use crate::boost::{CrossFit, Feature, Params, Training, fit_grouped};

const FOLDS: usize = 5;
/// Share of the time that a candidate is trained on in the backtest by time.
const PAST: f64 = 0.7;
/// How much better a challenger's Brier score must be to take over by itself.
pub const BETTER: f64 = 0.99;
/// Failures and rows that are new, to the champion or in the newest part of the time, below which nothing can be judged.
const LEAST_NEW_FAILURES: usize = 3;
const LEAST_NEW_ROWS: usize = 50;

/// Probabilities of rows whose machine neither the trees nor the calibration have seen.
///
/// # Errors
/// When the other machines have no score that could be calibrated.
pub fn held_out(cross: &CrossFit, labelled: &Labelled) -> Result<Vec<f64>, String> {
    let y = &labelled.y;
    let mut p = vec![f64::NAN; y.len()];
    for fold in 0..cross.models.len() {
        let of = |held: bool| (0..y.len()).filter(move |i| (cross.folds[*i] == fold) == held);
        let score: Vec<f64> = of(false).map(|i| cross.predictions[i]).collect();
        let others: Vec<bool> = of(false).map(|i| y[i]).collect();
        let weight: Vec<f64> = of(false).map(|i| labelled.weight[i]).collect();
        let calibration = Calibration::fit(&score, &others, &weight, labelled.failures)
            .ok_or("no score can be calibrated")?;
        for i in of(true) {
            p[i] = calibration.probability(cross.predictions[i]).0;
        }
    }
    Ok(p)
}

/// Trained and calibrated on the past as the candidate is on everything, judged on the rest, with a horizon between them so
/// that no label reaches across.
///
/// # Errors
/// When a model can't be fitted.
pub fn by_time(
    rows: &Rows,
    labelled: &Labelled,
    features: &[Feature],
    horizon_h: i32,
) -> anyhow::Result<Value> {
    let at = |place: &usize| rows.at[labelled.rows[*place]];
    let mut order: Vec<usize> = (0..labelled.rows.len()).collect();
    order.sort_by_key(at);
    let cut = at(&order[(order.len() as f64 * PAST) as usize]);
    let before = cut.plus_seconds(-f64::from(horizon_h) * 3600.0);
    let past: Vec<usize> = (0..order.len()).filter(|place| at(place) <= before).collect();
    let rest: Vec<usize> = (0..order.len()).filter(|place| at(place) > cut).collect();
    let positives = |places: &[usize]| places.iter().filter(|place| labelled.y[**place]).count();
    let failed = |places: &[usize]| -> BTreeSet<_> {
        places
            .iter()
            .filter_map(|place| labelled.failure[*place])
            .collect()
    };
    let machines = failed(&past)
        .iter()
        .map(|(asset, _)| *asset)
        .collect::<BTreeSet<_>>();
    let groups = rows.groups();
    let own: Vec<u64> = past.iter().map(|place| groups[labelled.rows[*place]]).collect();
    let folds = FOLDS.min(machines.len());
    if positives(&rest) == 0 || folds < 2 || positives(&past) == past.len() {
        return Ok(json!({ "why": "too few failures in one of the two parts: time can't be split" }));
    }
    let part = |places: &[usize]| -> (Array2<f64>, Vec<bool>, Vec<f64>) {
        let of: Vec<usize> = places.iter().map(|place| labelled.rows[*place]).collect();
        let y = places.iter().map(|place| labelled.y[*place]).collect();
        let weight = places.iter().map(|place| labelled.weight[*place]).collect();
        (rows.x.select(Axis(0), &of), y, weight)
    };
    let (x, y, weight) = part(&past);
    let targets = labels(&y);
    let params = Params {
        rounds: 200,
        learning_rate: 0.06,
        ..classifier(&y, features.len())
    };
    let training = Training::new(x.view(), &targets).weights(&weight);
    let (model, cross) = fit_grouped(&params, features, training, &own, folds, PATIENCE)?;
    let calibration = Calibration::fit(&cross.predictions, &y, &weight, failed(&past).len())
        .context("no score can be calibrated")?;
    let (x, y, _) = part(&rest);
    let score = model.predict(x.view())?;
    let p: Vec<f64> = score
        .iter()
        .map(|score| calibration.probability(*score).0)
        .collect();
    let rate = positives(&rest) as f64 / rest.len() as f64;
    Ok(json!({
        "rows": rest.len(), "failures": failed(&rest).len(), "from": cut, "brier": brier(&p, &y), "auc": roc_auc(&score, &y),
        "brier_of_base_rate": rate * (1.0 - rate),
    }))
}

/// The champion beside the candidate's held-out probabilities `p`, on the rows whose labels the champion could not know:
/// it has not seen what became of them, the candidate not their machine. `None` = the champion doesn't say this horizon.
///
/// # Errors
/// When the champion can't read the rows.
pub fn against(
    rows: &Rows,
    labelled: &Labelled,
    p: &[f64],
    champion: &FailureModel,
    horizon_h: i32,
) -> anyhow::Result<Option<Value>> {
    let Some(stands) = champion.horizons.iter().find(|h| h.horizon_h == horizon_h) else {
        return Ok(None);
    };
    if champion.layout != rows.layout {
        let why = "its features are others than the champion's: compare the cards and promote it by hand";
        return Ok(Some(json!({ "why": why })));
    }
    let ahead = f64::from(horizon_h) * 3600.0;
    let new: Vec<usize> = (0..labelled.rows.len())
        .filter(|place| {
            let until = rows.at[labelled.rows[*place]].plus_seconds(ahead);
            champion.known_until.is_some_and(|known| until > known)
        })
        .collect();
    let failures: BTreeSet<_> = new.iter().filter_map(|place| labelled.failure[*place]).collect();
    let failures = failures.len();
    if failures < LEAST_NEW_FAILURES || new.len() < LEAST_NEW_ROWS {
        let why = format!(
            "{failures} failures are new since the champion was learned, {LEAST_NEW_FAILURES} are needed to compare them"
        );
        return Ok(Some(
            json!({ "failures": failures, "rows": new.len(), "why": why }),
        ));
    }
    let of: Vec<usize> = new.iter().map(|place| labelled.rows[*place]).collect();
    let y: Vec<bool> = new.iter().map(|place| labelled.y[*place]).collect();
    let own: Vec<f64> = new.iter().map(|place| p[*place]).collect();
    let theirs: Vec<f64> = stands
        .booster
        .predict(rows.x.select(Axis(0), &of).view())?
        .iter()
        .map(|score| stands.calibration.probability(*score).0)
        .collect();
    Ok(Some(json!({
        "failures": failures, "rows": new.len(), "brier": brier(&own, &y), "brier_of_champion": brier(&theirs, &y),
    })))
}

/// Why a horizon is left to life data, for people: no better than saying the base rate on machines it has not seen, or
/// worse than that on the newest part of the time, where failures enough came. The base rate is that of the rows
/// themselves, which nobody knew before.
pub fn left_out(figures: &Value) -> Option<String> {
    let briers = |of: &Value| of["brier"].as_f64().zip(of["brier_of_base_rate"].as_f64());
    let (own, base) = briers(figures).unwrap_or((f64::NAN, f64::NAN));
    if own.is_nan() || own > BETTER * base {
        return Some(format!(
            "it is no better than the base rate on machines it has not seen (Brier {own:.5} against {base:.5})"
        ));
    }
    let by_time = &figures["by_time"];
    let failures = by_time["failures"].as_u64().unwrap_or(0);
    let (own, base) = briers(by_time).filter(|_| failures >= LEAST_NEW_FAILURES as u64)?;
    (own > base).then(|| {
        format!(
            "what was learned from the time before {} is worse than the base rate on the {failures} failures after it \
             (Brier {own:.5} against {base:.5})",
            by_time["from"].as_str().unwrap_or("the last part")
        )
    })
}

/// Why no horizon of a candidate can stand.
pub fn refused(figures: &Map<String, Value>) -> Option<String> {
    let mut first = None;
    for (horizon, of) in figures.iter().filter(|(name, _)| name.ends_with('h')) {
        let why = left_out(of)?;
        first.get_or_insert_with(|| format!("within {horizon} {why}"));
    }
    first
}

/// Whether a candidate should stand in place of what does: better than that on the rows that are new to both, at one
/// horizon at least and at none worse. Horizons that are left out don't count.
///
/// # Errors
/// Why it should not, for people.
pub fn better(figures: &Map<String, Value>) -> Result<(), String> {
    let number = |value: &Value| value.as_f64();
    let (mut compared, mut why_not) = (false, None);
    let horizons = figures.iter().filter(|(name, _)| name.ends_with('h'));
    for (horizon, of) in horizons.filter(|(_, of)| left_out(of).is_none()) {
        let against = &of["against_champion"];
        if let (Some(own), Some(theirs)) = (number(&against["brier"]), number(&against["brier_of_champion"]))
        {
            if own > BETTER * theirs {
                return Err(format!(
                    "within {horizon} it is no better than the champion on the {} failures that are new to both (Brier {own:.5} against {theirs:.5})",
                    against["failures"]
                ));
            }
            compared = true;
        } else if let Some(why) = against["why"].as_str() {
            why_not.get_or_insert_with(|| format!("within {horizon} {why}"));
        }
    }
    match why_not {
        Some(why) if !compared => Err(why),
        _ => Ok(()),
    }
}

//! From rows to a model of remaining life: cap, backtests, and whether it should stand.

use std::collections::BTreeSet;

use models::time::Timestamp;
use ndarray::{Array2, Axis};
use serde_json::{Map, Value, json};

use super::RemainingModel;
use super::label::{Labelled, ends, label, usual_run_h};
use crate::backtest::conformal::{Conformal, NEAR, held};
use crate::backtest::metrics::rmse;
use crate::backtest::settings::{PATIENCE, regressor};
use crate::boost::{Booster, CrossFit, Feature, Params, Training, fit_grouped};
use crate::learn::data::Rows;
use crate::learn::leak::{self, Leak};
use crate::learn::train::sketch;

/// Fewer runs can't bound an 80 % interval: with nine, the longest and the shortest stand at its ends.
pub const LEAST_RUNS: usize = 10;
pub const LEAST_MACHINES: usize = 5;
/// Caps that are tried, as shares of the median run, the longest first, and the longest of all (a year).
const CAPS: [f64; 3] = [0.6, 0.3, 0.15];
const MOST_H: f64 = 365.0 * 24.0;
/// How small its error must be against always saying the same for a cap to be kept and a model to stand.
const TELLS: f64 = 0.8;
/// How much smaller a challenger's error must be to take over by itself.
const BETTER: f64 = 0.99;
/// Runs and rows that the champion has not seen, below which there is nothing to compare on.
const LEAST_NEW_RUNS: usize = 3;
const LEAST_NEW_ROWS: usize = 50;
const FOLDS: usize = 5;
/// Share of the time that a candidate is trained on in the backtest by time.
const PAST: f64 = 0.7;
/// Held-out errors that are kept for the intervals.
const KEPT_ERRORS: usize = 4000;

/// A candidate before it is stored.
#[derive(Debug)]
pub struct Candidate {
    pub model: RemainingModel,
    /// Rows that it was learned from.
    pub rows: usize,
    pub leaks: Vec<Leak>,
    pub figures: Map<String, Value>,
    pub limits: Vec<String>,
    /// Or why it shouldn't stand by itself.
    pub better: Result<(), String>,
}

/// Why there is no candidate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCandidate {
    #[error(
        "remaining life is learned from {LEAST_RUNS} runs to failure of {LEAST_MACHINES} machines with features before \
         the failure: {runs} runs of {machines} machines are there. Report failures of machines that were measured \
         before; work done in time is not a run"
    )]
    TooFewRuns { runs: usize, machines: usize },
    #[error("remaining life: {0}")]
    Failed(String),
}

/// Root mean squared error of always saying the mean.
fn of_constant(left: &[f64]) -> f64 {
    let mean = left.iter().sum::<f64>() / left.len().max(1) as f64;
    rmse(&vec![mean; left.len()], left)
}

struct Fit {
    labelled: Labelled,
    groups: Vec<u64>,
    params: Params,
    x: Array2<f64>,
    booster: Booster,
    cross: CrossFit,
    /// Predictions for machines that were not seen, 0 to the cap.
    held_out: Vec<f64>,
}

impl Fit {
    fn error(&self) -> f64 {
        rmse(&self.held_out, &self.labelled.left)
    }

    fn tells(&self) -> bool {
        self.error() <= TELLS * of_constant(&self.labelled.left)
    }
}

fn fit(rows: &Rows, labelled: Labelled, features: &[Feature], groups: &[u64]) -> Result<Fit, NoCandidate> {
    let x = rows.x.select(Axis(0), &labelled.rows);
    let own: Vec<u64> = labelled.rows.iter().map(|row| groups[*row]).collect();
    let params = Params {
        rounds: 300,
        learning_rate: 0.05,
        min_leaf: (labelled.rows.len() / 50).clamp(5, 40),
        ..regressor(features.len())
    };
    let training = Training::new(x.view(), &labelled.left).weights(&labelled.weight);
    let folds = FOLDS.min(labelled.machines);
    let (booster, cross) = fit_grouped(&params, features, training, &own, folds, PATIENCE)
        .map_err(|error| NoCandidate::Failed(error.to_string()))?;
    let held_out = cross
        .predictions
        .iter()
        .map(|p| p.clamp(0.0, labelled.cap_h))
        .collect();
    Ok(Fit {
        labelled,
        groups: own,
        params,
        x,
        booster,
        cross,
        held_out,
    })
}

/// A candidate from rows; `champion` is judged with it on the rows that the champion has not seen.
///
/// # Errors
/// What is missing, for people.
pub fn candidate(rows: &Rows, champion: Option<&RemainingModel>) -> Result<Candidate, NoCandidate> {
    let names = rows.layout.names();
    let features: Vec<Feature> = names.iter().map(Feature::numeric).collect();
    let groups = rows.groups();
    let ends = ends(rows);
    let usual_h = usual_run_h(rows, &ends);
    let mut few = (0, 0);
    let mut best: Option<Fit> = None;
    for share in CAPS.into_iter().filter(|_| usual_h.is_finite()) {
        let labelled = label(rows, &ends, (share * usual_h).min(MOST_H).round().max(1.0));
        if labelled.runs < LEAST_RUNS || labelled.machines < LEAST_MACHINES {
            few = few.max((labelled.runs, labelled.machines));
            continue;
        }
        let found = fit(rows, labelled, &features, &groups)?;
        let tells = found.tells();
        let of = |fit: &Fit| fit.error() / of_constant(&fit.labelled.left);
        if tells || best.as_ref().is_none_or(|best| of(&found) < of(best)) {
            best = Some(found);
        }
        if tells {
            break;
        }
    }
    let found = best.ok_or(NoCandidate::TooFewRuns {
        runs: few.0,
        machines: few.1,
    })?;
    let Labelled { cap_h, ref left, .. } = found.labelled;
    let early: Vec<bool> = left.iter().map(|left| *left < cap_h).collect();
    let leaks = leak::find(found.x.view(), &names, &early, &found.groups);
    let mut figures = judge(&found);
    figures.insert("usual_run_h".to_owned(), json!(usual_h));
    let by_time = by_time(rows, &found, &features).map_err(|error| NoCandidate::Failed(error.to_string()))?;
    figures.insert("by_time".to_owned(), by_time);
    let (against, better) = compare(rows, &found, champion);
    figures.insert("against_champion".to_owned(), against);
    let (own, constant) = (found.error(), of_constant(left));
    let better = if found.tells() {
        better
    } else {
        Err(format!(
            "its features hardly tell how much life is left on machines it has not seen: error {own:.0} h, {constant:.0} h by always saying the same"
        ))
    };
    let (sketch, present) = sketch(&found.x);
    Ok(Candidate {
        rows: left.len(),
        leaks,
        limits: limits(&found),
        figures,
        better,
        model: RemainingModel {
            layout: rows.layout.clone(),
            booster: found.booster,
            errors: Conformal::new(&found.held_out, left, &found.groups, NEAR).thinned(KEPT_ERRORS),
            cap_h,
            runs: found.labelled.runs,
            machines: found.labelled.machines,
            known_until: rows.known_until,
            present,
            sketch,
        },
    })
}

/// Figures on machines that were not seen; the intervals too are of other machines than those they are judged on.
fn judge(fit: &Fit) -> Map<String, Value> {
    let Labelled { cap_h, ref left, .. } = fit.labelled;
    let n = left.len() as f64;
    let held = held(&fit.held_out, left, &fit.groups, &fit.cross.folds, cap_h);
    let errors: f64 = fit.held_out.iter().zip(left).map(|(p, l)| (p - l).abs()).sum();
    let figures = json!({
        "runs": fit.labelled.runs, "machines": fit.labelled.machines, "cap_h": cap_h,
        "rmse_h": fit.error(), "rmse_of_constant_h": of_constant(left), "mean_error_h": errors / n,
        "coverage80": held.coverage80, "width80_h": held.width80,
        "shorter_than_p10": held.below_p10, "longer_than_p90": held.above_p90,
        "rounds": fit.cross.rounds,
    });
    match figures {
        Value::Object(figures) => figures,
        _ => Map::new(),
    }
}

/// Trained on the past, judged on the rest, with a cap between them so that no label reaches across.
fn by_time(rows: &Rows, fit: &Fit, features: &[Feature]) -> anyhow::Result<Value> {
    let Labelled { cap_h, ref left, .. } = fit.labelled;
    let at = |place: &usize| rows.at[fit.labelled.rows[*place]];
    let mut times: Vec<Timestamp> = (0..left.len()).map(|place| at(&place)).collect();
    times.sort_unstable();
    let cut = times[(times.len() as f64 * PAST) as usize];
    let before = cut.plus_seconds(-cap_h * 3600.0);
    let past: Vec<usize> = (0..left.len()).filter(|place| at(place) <= before).collect();
    let rest: Vec<usize> = (0..left.len()).filter(|place| at(place) > cut).collect();
    let runs = |places: &[usize]| {
        let runs = places.iter().filter_map(|place| fit.labelled.run[*place]);
        runs.collect::<BTreeSet<_>>().len()
    };
    // Machines that began together grow old together: their past holds no end to learn from.
    if runs(&past) < LEAST_MACHINES || runs(&rest) == 0 {
        return Ok(json!({ "why": "too few runs to failure in one of the two parts: time can't be split" }));
    }
    let of = |places: &[usize], values: &[f64]| places.iter().map(|place| values[*place]).collect::<Vec<_>>();
    let params = Params {
        rounds: fit.cross.rounds,
        ..fit.params.clone()
    };
    let (x, y, weight) = (
        fit.x.select(Axis(0), &past),
        of(&past, left),
        of(&past, &fit.labelled.weight),
    );
    let model = Booster::fit(&params, features, Training::new(x.view(), &y).weights(&weight))?;
    let y = of(&rest, left);
    let p: Vec<f64> = model
        .predict(fit.x.select(Axis(0), &rest).view())?
        .iter()
        .map(|p| p.clamp(0.0, cap_h))
        .collect();
    Ok(json!({
        "from": cut, "rows": rest.len(), "runs": runs(&rest), "rmse_h": rmse(&p, &y), "rmse_of_constant_h": of_constant(&y),
    }))
}

/// Both on the rows whose labels the champion could not know: it has not seen their end, the candidate's held-out
/// predictions have not seen their machine.
fn compare(rows: &Rows, fit: &Fit, champion: Option<&RemainingModel>) -> (Value, Result<(), String>) {
    let Some(champion) = champion else {
        return (Value::Null, Ok(()));
    };
    let cap_h = fit.labelled.cap_h.min(champion.cap_h);
    let new: Vec<usize> = (0..fit.labelled.rows.len())
        .filter(|place| {
            let at = rows.at[fit.labelled.rows[*place]];
            at.plus_seconds(champion.cap_h * 3600.0) > champion.known_until
        })
        .collect();
    let runs = new
        .iter()
        .filter_map(|place| fit.labelled.run[*place])
        .collect::<BTreeSet<_>>()
        .len();
    if runs < LEAST_NEW_RUNS || new.len() < LEAST_NEW_ROWS || champion.layout != rows.layout {
        let why = if champion.layout == rows.layout {
            format!(
                "{runs} runs to failure are new since the champion was learned, {LEAST_NEW_RUNS} are needed to compare them"
            )
        } else {
            "its features are others than the champion's: compare the cards and promote it by hand".to_owned()
        };
        return (json!({ "why": why }), Err(why));
    }
    let most = |value: f64| value.clamp(0.0, cap_h);
    let truth: Vec<f64> = new.iter().map(|place| most(fit.labelled.left[*place])).collect();
    let own: Vec<f64> = new.iter().map(|place| most(fit.held_out[*place])).collect();
    let theirs: Vec<f64> = new
        .iter()
        .map(|place| most(champion.booster.predict_row(&fit.x.row(*place).to_vec())))
        .collect();
    let (own, theirs) = (rmse(&own, &truth), rmse(&theirs, &truth));
    let figures = json!({ "runs": runs, "rows": new.len(), "rmse_h": own, "rmse_of_champion_h": theirs, "cap_h": cap_h });
    let better = if own <= BETTER * theirs {
        Ok(())
    } else {
        Err(format!(
            "no better than the champion on the {runs} runs that are new to both (error {own:.0} h against {theirs:.0} h)"
        ))
    };
    (figures, better)
}

fn limits(fit: &Fit) -> Vec<String> {
    let mut limits = vec![
        format!(
            "learned from {} runs to failure of {} machines: rarer ways to fail are unknown to it",
            fit.labelled.runs, fit.labelled.machines
        ),
        format!(
            "looks {:.0} h ahead and no further: a longer life is said to be longer than that",
            fit.labelled.cap_h
        ),
        "hours are of the calendar, at the use that the class had while it was learned".to_owned(),
    ];
    let unsure = fit.labelled.weight.iter().filter(|weight| **weight < 1.0).count();
    if unsure > 0 {
        limits.push(format!(
            "{unsure} rows come before failures that are uncertain and weigh less"
        ));
    }
    limits
}

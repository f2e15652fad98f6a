//! Training: rows, leaks, backtests by machine and by time, a candidate with its card, and whether it is
//! better than the champion.

use anyhow::Context;
use models::db::assessment::{self as db, ClassLife, TrainableClass};
use models::id::ModelVersionId;
use models::time::Timestamp;
use ndarray::{Array2, Axis};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::data::{self, Labelled, Rows};
use super::judge;
use super::leak::{self, Leak};
use super::remaining::{self, RemainingModel};
use super::store::{self, Judged, Stands};
use super::{Calibration, FailureModel, Horizon, Layout, MODELS, cause, modes};
use crate::backtest::metrics::{brier, calibration_error, reliability_table, roc_auc};
use crate::backtest::settings::{PATIENCE, classifier, labels};
use crate::boost::{Feature, Training, fit_grouped};
use crate::prognosis::HORIZONS_H;
use crate::reliability::{DEFAULT_SHAPE, LifeModel, fit_life};

/// Fewer failures can't be learned from and judged at once; then life data speak alone.
pub const LEAST_FAILURES: usize = 10;
pub const LEAST_FAILED_ASSETS: usize = 5;
const LEAST_ROWS: usize = 200;
const FOLDS: usize = 5;

/// How training is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Args {
    /// Days of features to learn from.
    pub days: f64,
    /// Promote a candidate that is better than the champion and leaks nothing.
    pub promote: bool,
}

/// What became of one of a class's models.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trained {
    pub tenant: String,
    pub class: String,
    /// Which model: a name of [`super::MODELS`].
    pub name: &'static str,
    pub rows: usize,
    pub assets: usize,
    /// `promoted`, `candidate`, `refused` or `too_few_failures`.
    pub outcome: &'static str,
    pub model: Option<ModelVersionId>,
    pub version: Option<i32>,
    pub why: Vec<String>,
    pub leaks: Vec<Leak>,
    pub figures: Value,
    /// For a picture of remaining lives: true, said, low, high.
    #[serde(skip)]
    pub lives: Vec<[f64; 4]>,
}

/// A candidate before it is stored.
#[derive(Debug)]
pub struct Candidate {
    pub model: FailureModel,
    pub leaks: Vec<Leak>,
    pub figures: serde_json::Map<String, Value>,
    pub limits: Vec<String>,
}

/// Why there is no candidate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCandidate {
    #[error(
        "there are only {found} rows of features, {LEAST_ROWS} are needed: let it run for some days more"
    )]
    TooFewRows { found: usize },
    #[error(
        "too few failures to learn from: {failures} failures of {assets} machines have features before them, \
         {LEAST_FAILURES} of {LEAST_FAILED_ASSETS} are needed. Report failures, or close tickets with what was found"
    )]
    TooFewFailures { failures: usize, assets: usize },
    #[error("every row is followed by a failure within {horizon_h} h: there is nothing to tell apart")]
    OnlyFailures { horizon_h: i32 },
    #[error("{0}")]
    Failed(String),
}

/// Trains every class (or those whose name is `only`) and stores what came of it: for each class its
/// failure model, then that of remaining life.
///
/// # Errors
/// When the database does. A class that can't be trained is said in its result.
pub async fn run(
    pool: &PgPool,
    only: Option<&str>,
    args: Args,
    now: Timestamp,
    mut progress: impl FnMut(&str),
) -> anyhow::Result<Vec<Trained>> {
    let classes = db::trainable_classes(&mut *pool.acquire().await?, &MODELS).await?;
    let classes: Vec<TrainableClass> = classes
        .into_iter()
        .filter(|class| only.is_none_or(|only| class.name == only))
        .collect();
    if let (Some(only), true) = (only, classes.is_empty()) {
        anyhow::bail!("no class is named `{only}` or none of its machines is in use");
    }
    let mut done = Vec::with_capacity(classes.len());
    for class in classes {
        progress(&format!(
            "{}/{}: {} machines, {} failures",
            class.tenant, class.name, class.assets, class.failures
        ));
        let trained = self::class(pool, &class, args, now)
            .await
            .with_context(|| format!("class {} of {}", class.name, class.tenant))?;
        for one in &trained {
            progress(&format!(
                "{}/{}: {} {}",
                class.tenant, class.name, one.name, one.outcome
            ));
        }
        done.extend(trained);
    }
    Ok(done)
}

/// Trains one class and stores what came of it.
///
/// # Errors
/// When the database does.
pub async fn class(
    pool: &PgPool,
    class: &TrainableClass,
    args: Args,
    now: Timestamp,
) -> anyhow::Result<Vec<Trained>> {
    let from = now.plus_seconds(-args.days * 86_400.0);
    let mut connection = pool.acquire().await?;
    let rows = data::read(&mut connection, class.class_id, from, now).await?;
    let stands: Option<Stands<FailureModel>> = store::champion(&mut connection, class).await?;
    let life_stands: Option<Stands<RemainingModel>> = store::champion(&mut connection, class).await?;
    // A version of before this was noted knew the labels up to its last row at least.
    let stands = stands.map(|mut stands| {
        stands.model.known_until.get_or_insert(stands.trained_to);
        stands.model
    });
    let life_stands = life_stands.map(|stands| stands.model);
    drop(connection);
    let (rows, failures, life) = tokio::task::spawn_blocking(move || {
        let failures = candidate(&rows, stands.as_ref());
        let life = remaining::candidate(&rows, life_stands.as_ref());
        (rows, failures, life)
    })
    .await?;
    let failures = match failures {
        Ok(candidate) => {
            let judged = Judged {
                refused: judge::refused(&candidate.figures),
                better: judge::better(&candidate.figures),
                summary: "boosted trees on the features of a pass, calibrated by machines they never saw",
                layout: candidate.model.layout.clone(),
                rows: rows.len(),
                leaks: candidate.leaks,
                figures: candidate.figures,
                limits: candidate.limits,
            };
            store::keep(pool, class, &rows, &candidate.model, judged, args).await?
        }
        Err(no) => {
            let lives = db::class_lives(&mut *pool.acquire().await?, class.class_id, now).await?;
            let why = vec![no.to_string(), life_words(&lives, class.weibull_shape)];
            store::none(class, &rows, FailureModel::NAME, why)
        }
    };
    let life = match life {
        Ok(candidate) => {
            let judged = Judged {
                summary: "boosted trees on the features of a pass, with intervals from what they got wrong on machines they never saw",
                layout: candidate.model.layout.clone(),
                rows: candidate.rows,
                leaks: candidate.leaks,
                figures: candidate.figures,
                limits: candidate.limits,
                refused: None,
                better: candidate.better,
            };
            store::keep(pool, class, &rows, &candidate.model, judged, args).await?
        }
        Err(no) => store::none(class, &rows, RemainingModel::NAME, vec![no.to_string()]),
    };
    Ok(vec![failures, life])
}

/// What life data say where there is no model: Weibayes bounds where failures are few.
fn life_words(lives: &[ClassLife], shape: Option<f64>) -> String {
    match fit_life(&cause::lives(lives), shape.unwrap_or(DEFAULT_SHAPE)) {
        Err(error) => format!("life data can't stand in: {error}"),
        Ok(LifeModel::Fitted(fit)) => format!(
            "until then: {}, characteristic life {:.0} h, shape {:.2}",
            LifeModel::Fitted(fit.clone()).basis(),
            fit.distribution.eta,
            fit.distribution.beta
        ),
        Ok(LifeModel::Weibayes(model)) => {
            let lower = model
                .eta_lower(0.9)
                .map_or_else(|_| "?".to_owned(), |eta| format!("{eta:.0}"));
            format!(
                "until then: {}; characteristic life {:.0} h, with 90 % confidence at least {lower} h",
                LifeModel::Weibayes(model.clone()).basis(),
                model.eta
            )
        }
    }
}

/// A candidate from rows; `champion` is judged with it on the rows that the champion has not seen.
///
/// # Errors
/// What is missing, for people.
pub fn candidate(rows: &Rows, champion: Option<&FailureModel>) -> Result<Candidate, NoCandidate> {
    if rows.len() < LEAST_ROWS {
        return Err(NoCandidate::TooFewRows { found: rows.len() });
    }
    let names = rows.layout.names();
    let features: Vec<Feature> = names.iter().map(Feature::numeric).collect();
    let mut horizons = Vec::new();
    let mut figures = serde_json::Map::new();
    let mut leaks: Vec<Leak> = Vec::new();
    let mut few = (0, 0);
    let mut only = None;
    for horizon_h in HORIZONS_H {
        let labelled = rows.labelled(f64::from(horizon_h));
        few = (few.0.max(labelled.failures), few.1.max(labelled.failed_assets));
        if labelled.failures < LEAST_FAILURES || labelled.failed_assets < LEAST_FAILED_ASSETS {
            continue;
        }
        if labelled.y.iter().all(|y| *y) {
            only = Some(horizon_h);
            continue;
        }
        let fitted = fit(rows, &labelled, &features, horizon_h)?;
        for found in fitted.leaks {
            if !leaks.iter().any(|leak| leak.feature == found.feature) {
                leaks.push(found);
            }
        }
        let against = champion
            .map(|champion| judge::against(rows, &labelled, &fitted.held_out, champion, horizon_h))
            .transpose()
            .map_err(|error| NoCandidate::Failed(error.to_string()))?;
        let mut of = fitted.figures;
        of["against_champion"] = against.flatten().unwrap_or_default();
        figures.insert(format!("{horizon_h}h"), of);
        horizons.push(fitted.horizon);
    }
    if let (true, Some(horizon_h)) = (horizons.is_empty(), only) {
        return Err(NoCandidate::OnlyFailures { horizon_h });
    }
    if horizons.is_empty() {
        return Err(NoCandidate::TooFewFailures {
            failures: few.0,
            assets: few.1,
        });
    }
    // A horizon at which nothing is told apart is left to life data, as long as another one stays.
    let left_out = |horizon: &Horizon| judge::left_out(&figures[&format!("{}h", horizon.horizon_h)]);
    let left: Vec<String> = horizons
        .iter()
        .filter_map(|horizon| Some(format!("within {} h {}", horizon.horizon_h, left_out(horizon)?)))
        .collect();
    if horizons.iter().any(|horizon| left_out(horizon).is_none()) {
        horizons.retain(|horizon| left_out(horizon).is_none());
    }
    let (modes, of_modes) = modes::train(rows, &features)?;
    if !of_modes.is_empty() {
        figures.insert("modes".to_owned(), Value::Object(of_modes));
    }
    let mut sources: std::collections::BTreeMap<&str, (usize, f64)> = std::collections::BTreeMap::new();
    for label in &rows.labels {
        let entry = sources.entry(label.source.as_str()).or_default();
        entry.0 += 1;
        entry.1 += label.weight;
    }
    figures.insert(
        "labels".to_owned(),
        sources
            .iter()
            .map(|(source, (n, weight))| ((*source).to_owned(), json!({ "n": n, "weight": weight })))
            .collect(),
    );
    let mut limits = limits(rows, &horizons);
    limits.extend(left);
    let (sketch, present) = sketch(&rows.x);
    Ok(Candidate {
        model: FailureModel {
            layout: Layout::clone(&rows.layout),
            horizons,
            modes,
            sketch,
            present,
            known_until: Some(rows.known_until),
        },
        leaks,
        figures,
        limits,
    })
}

/// One horizon, fitted and judged.
pub(super) struct Fitted {
    pub horizon: Horizon,
    /// Probabilities of rows whose machine it has not seen.
    pub held_out: Vec<f64>,
    pub leaks: Vec<Leak>,
    pub figures: Value,
}

/// Fits the model of one horizon and judges it on machines and on a time that it has not seen.
///
/// # Errors
/// When it can't be fitted or calibrated.
pub(super) fn fit(
    rows: &Rows,
    labelled: &Labelled,
    features: &[Feature],
    horizon_h: i32,
) -> Result<Fitted, NoCandidate> {
    let failed = |error: &dyn std::fmt::Display| NoCandidate::Failed(error.to_string());
    let groups = rows.groups();
    let x = rows.x.select(Axis(0), &labelled.rows);
    let own: Vec<u64> = labelled.rows.iter().map(|row| groups[*row]).collect();
    let leaks = leak::find(x.view(), &rows.layout.names(), &labelled.y, &own);
    let y = labels(&labelled.y);
    let params = crate::boost::Params {
        rounds: 200,
        learning_rate: 0.06,
        ..classifier(&labelled.y, features.len())
    };
    let training = Training::new(x.view(), &y).weights(&labelled.weight);
    let folds = FOLDS.min(labelled.failed_assets);
    let (booster, cross) =
        fit_grouped(&params, features, training, &own, folds, PATIENCE).map_err(|error| failed(&error))?;
    let calibration = Calibration::fit(
        &cross.predictions,
        &labelled.y,
        &labelled.weight,
        labelled.failures,
    )
    .ok_or_else(|| NoCandidate::Failed("no score can be calibrated".to_owned()))?;
    let held_out = judge::held_out(&cross, labelled).map_err(NoCandidate::Failed)?;
    let by_time = judge::by_time(rows, labelled, features, horizon_h).map_err(|error| failed(&error))?;
    let base_rate = labelled.y.iter().filter(|y| **y).count() as f64 / y.len() as f64;
    let of_base_rate = base_rate * (1.0 - base_rate);
    let mut figures = json!({
        "failures": labelled.failures, "machines_that_failed": labelled.failed_assets, "rows": y.len(),
        "base_rate": base_rate, "brier": brier(&held_out, &labelled.y), "brier_of_base_rate": of_base_rate,
        "auc": roc_auc(&cross.predictions, &labelled.y),
        "calibration_error": calibration_error(&held_out, &labelled.y, 10),
        "reliability": reliability_table(&held_out, &labelled.y, 10), "rounds": cross.rounds, "by_time": by_time,
    });
    figures["left_out"] = json!(judge::left_out(&figures).is_some());
    Ok(Fitted {
        horizon: Horizon {
            horizon_h,
            booster,
            calibration,
            failures: labelled.failures,
        },
        held_out,
        leaks,
        figures,
    })
}

fn limits(rows: &Rows, horizons: &[Horizon]) -> Vec<String> {
    let least = horizons.iter().map(|horizon| horizon.failures).min().unwrap_or(0);
    let mut limits = vec![
        format!("learned from {least} failures: rarer ways to fail are unknown to it"),
        "calibrated at the failure rate of its data window; another load or season has another".to_owned(),
    ];
    let missing: Vec<i32> = HORIZONS_H
        .into_iter()
        .filter(|wanted| horizons.iter().all(|horizon| horizon.horizon_h != *wanted))
        .collect();
    if !missing.is_empty() {
        limits.push(format!(
            "failures are too few, or features tell too little, for the horizons {missing:?} h: life data speak there"
        ));
    }
    let unsure = rows.labels.iter().filter(|label| label.weight < 1.0).count();
    if unsure > 0 {
        limits.push(format!("{unsure} labels are uncertain and weigh less"));
    }
    limits
}

/// Quantiles of every column in steps of a twentieth, and the share of rows that have it.
pub fn sketch(x: &Array2<f64>) -> (Vec<Vec<f32>>, Vec<f32>) {
    x.columns()
        .into_iter()
        .map(|column| {
            let values = crate::stats::sorted(column.iter().copied());
            let quantiles = if values.is_empty() {
                Vec::new()
            } else {
                (0..=20)
                    .map(|i| crate::stats::quantile(&values, f64::from(i) / 20.0) as f32)
                    .collect()
            };
            (quantiles, values.len() as f32 / column.len().max(1) as f32)
        })
        .unzip()
}

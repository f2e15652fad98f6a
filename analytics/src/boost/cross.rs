use std::collections::BTreeSet;

use ndarray::{ArrayView2, Axis};

use super::booster::Watch;
use super::{BoostError, Booster, Feature, Params, Training, mix};

/// Predictions of every row by a model that never saw its group.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossFit {
    /// Prediction (value or probability) per row.
    pub predictions: Vec<f64>,
    /// Fold per row.
    pub folds: Vec<usize>,
    /// Rounds with the least mean held-out loss.
    pub rounds: usize,
    /// That loss.
    pub loss: f64,
    /// The model of each fold.
    pub models: Vec<Booster>,
}

/// A fold per row such that a group (an engine, a machine) is never on both sides.
///
/// # Errors
/// Fewer groups than folds, or fewer than two folds.
pub fn grouped_folds(groups: &[u64], folds: usize, seed: u64) -> Result<Vec<usize>, BoostError> {
    let distinct: BTreeSet<u64> = groups.iter().copied().collect();
    if folds < 2 || distinct.len() < folds {
        return Err(BoostError::TooFewGroups {
            groups: distinct.len(),
            folds,
        });
    }
    let mut order: Vec<(u64, u64)> = distinct.into_iter().map(|g| (mix(seed, 0xf01d, g), g)).collect();
    order.sort_unstable();
    let mut fold_of: Vec<(u64, usize)> = order
        .iter()
        .enumerate()
        .map(|(i, (_, g))| (*g, i % folds))
        .collect();
    fold_of.sort_unstable();
    let fold = |g: &u64| {
        fold_of
            .binary_search_by_key(g, |f| f.0)
            .map_or(0, |i| fold_of[i].1)
    };
    Ok(groups.iter().map(fold).collect())
}

/// Fits one model per fold, each stopped when its held-out loss has not improved for `patience` rounds
/// (`usize::MAX`: never), and collects the held-out predictions at the common best number of rounds.
///
/// # Errors
/// As [`Booster::fit`] and [`grouped_folds`].
pub fn cross_fit(
    params: &Params,
    features: &[Feature],
    data: Training,
    groups: &[u64],
    folds: usize,
    patience: usize,
) -> Result<CrossFit, BoostError> {
    if groups.len() != data.y.len() {
        let (found, expected) = (groups.len(), data.y.len());
        return Err(BoostError::Length {
            what: "groups",
            found,
            expected,
            unit: "rows",
        });
    }
    let fold_of = grouped_folds(groups, folds, params.seed)?;
    let mut models = Vec::with_capacity(folds);
    let mut curves: Vec<(Vec<f64>, f64)> = Vec::new();
    for fold in 0..folds {
        let rows = |held: bool| -> Vec<usize> {
            (0..data.y.len())
                .filter(|i| (fold_of[*i] == fold) == held)
                .collect()
        };
        let (train, test) = (rows(false), rows(true));
        let part = Part::take(&data, &train);
        let held = Part::take(&data, &test);
        let watch = Watch {
            x: held.x.view(),
            y: &held.y,
            weights: held.weights.as_deref(),
            patience,
        };
        let (model, watched) = Booster::fit_watched(params, features, part.training(), watch)?;
        curves.push((watched.losses, test.len() as f64));
        models.push(model);
    }
    // A fold that stopped early keeps its last loss for the rounds it did not run.
    let longest = curves.iter().map(|c| c.0.len()).max().unwrap_or(1);
    let at = |c: &[f64], r: usize| c.get(r).or(c.last()).copied().unwrap_or(f64::INFINITY);
    let total: f64 = curves.iter().map(|c| c.1).sum();
    let mean = |r: usize| curves.iter().map(|(c, n)| at(c, r) * n).sum::<f64>() / total;
    let (best, loss) = (0..longest)
        .map(|r| (r, mean(r)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or((0, f64::INFINITY));
    for model in &mut models {
        model.trees.truncate(best + 1);
    }
    let predictions = (0..data.y.len())
        .map(|i| models[fold_of[i]].predict_row(&data.x.row(i).to_vec()))
        .collect();
    Ok(CrossFit {
        predictions,
        folds: fold_of,
        rounds: best + 1,
        loss,
        models,
    })
}

/// Finds the number of rounds by grouped folds, then fits on everything with it.
///
/// # Errors
/// As [`cross_fit`].
pub fn fit_grouped(
    params: &Params,
    features: &[Feature],
    data: Training,
    groups: &[u64],
    folds: usize,
    patience: usize,
) -> Result<(Booster, CrossFit), BoostError> {
    let cross = cross_fit(params, features, data, groups, folds, patience)?;
    let params = Params {
        rounds: cross.rounds,
        ..params.clone()
    };
    Ok((Booster::fit(&params, features, data)?, cross))
}

/// Some rows of a training set.
struct Part {
    x: ndarray::Array2<f64>,
    y: Vec<f64>,
    weights: Option<Vec<f64>>,
    ids: Vec<u64>,
}

impl Part {
    fn take(data: &Training, rows: &[usize]) -> Self {
        let x: ArrayView2<f64> = data.x;
        Self {
            x: x.select(Axis(0), rows),
            y: rows.iter().map(|r| data.y[*r]).collect(),
            weights: data.weights.map(|w| rows.iter().map(|r| w[*r]).collect()),
            ids: rows
                .iter()
                .map(|r| data.row_ids.map_or(*r as u64, |ids| ids[*r]))
                .collect(),
        }
    }

    fn training(&self) -> Training<'_> {
        Training {
            x: self.x.view(),
            y: &self.y,
            weights: self.weights.as_deref(),
            row_ids: Some(&self.ids),
        }
    }
}

use std::sync::mpsc::sync_channel;

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use super::bins::{Column, Mapper, bin_columns};
use super::grow::{Crew, Limits, Rows, Worker, grow};
use super::loss::{sigmoid, weighted_quantile};
use super::split::{Rules, Split};
use super::tree::{Child, Tree};
use super::{BoostError, Feature, Loss, Params, mix, thread_count};

/// What to learn from.
#[derive(Debug, Clone, Copy)]
pub struct Training<'a> {
    /// Rows × features; a value that is not finite is missing.
    pub x: ArrayView2<'a, f64>,
    pub y: &'a [f64],
    /// Weight per row; None = 1.
    pub weights: Option<&'a [f64]>,
    /// Stable id per row, decides which rounds draw it; None = position.
    pub row_ids: Option<&'a [u64]>,
}

impl<'a> Training<'a> {
    pub fn new(x: ArrayView2<'a, f64>, y: &'a [f64]) -> Self {
        Self {
            x,
            y,
            weights: None,
            row_ids: None,
        }
    }

    pub fn weights(mut self, weights: &'a [f64]) -> Self {
        self.weights = Some(weights);
        self
    }

    pub fn row_ids(mut self, ids: &'a [u64]) -> Self {
        self.row_ids = Some(ids);
        self
    }
}

/// A trained model; serialise it as the artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Booster {
    pub loss: Loss,
    pub features: Vec<Feature>,
    pub(super) base: f64,
    /// Codes seen in training, per categorical feature; another code counts as missing.
    pub(super) codes: Vec<Option<Vec<f64>>>,
    pub(super) trees: Vec<Tree>,
}

/// Mean held-out loss after every round, from [`Booster::fit_watched`].
pub(super) struct Watched {
    pub losses: Vec<f64>,
    /// Raw held-out scores at the best round.
    pub scores: Vec<f64>,
}

/// Held-out rows to watch.
pub(super) struct Watch<'a> {
    pub x: ArrayView2<'a, f64>,
    pub y: &'a [f64],
    pub weights: Option<&'a [f64]>,
    /// Rounds without improvement after which to stop.
    pub patience: usize,
}

impl Booster {
    /// Fits `params.rounds` trees.
    ///
    /// # Errors
    /// Shapes that disagree, labels or weights that are not usable, settings out of range.
    pub fn fit(params: &Params, features: &[Feature], data: Training) -> Result<Booster, BoostError> {
        fit(params, features, data, None).map(|(booster, _)| booster)
    }

    pub(super) fn fit_watched(
        params: &Params,
        features: &[Feature],
        data: Training,
        watch: Watch,
    ) -> Result<(Booster, Watched), BoostError> {
        fit(params, features, data, Some(watch))
    }

    pub fn rounds(&self) -> usize {
        self.trees.len()
    }

    /// Raw score of one row: the value, or the log odds for the logistic loss.
    ///
    /// `row` must have one value per feature; a shorter row is read as missing at its end.
    pub fn raw(&self, row: &[f64]) -> f64 {
        self.raw_clean(&self.clean(row))
    }

    fn raw_clean(&self, row: &[f64]) -> f64 {
        self.base + self.trees.iter().map(|t| t.value(row)).sum::<f64>()
    }

    /// Prediction of one row: the value, or the probability for the logistic loss.
    pub fn predict_row(&self, row: &[f64]) -> f64 {
        self.finish(self.raw(row))
    }

    /// Predictions of many rows, spread over the cores.
    ///
    /// # Errors
    /// If the number of columns is not that of the model.
    pub fn predict(&self, x: ArrayView2<f64>) -> Result<Vec<f64>, BoostError> {
        check_width(x.ncols(), self.features.len())?;
        let threads = thread_count(0, x.nrows() / 256);
        let share = x.nrows().div_ceil(threads).max(1);
        let parts: Vec<Vec<f64>> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads)
                .map(|t| {
                    let end = ((t + 1) * share).min(x.nrows());
                    let part = x.slice(ndarray::s![(t * share).min(end)..end, ..]);
                    scope.spawn(move || {
                        part.rows()
                            .into_iter()
                            .map(|r| self.predict_row(&r.to_vec()))
                            .collect::<Vec<f64>>()
                    })
                })
                .collect();
            handles
                .into_iter()
                .map(|h| h.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
                .collect()
        });
        Ok(parts.concat())
    }

    pub(super) fn finish(&self, raw: f64) -> f64 {
        if self.loss == Loss::Logistic {
            sigmoid(raw)
        } else {
            raw
        }
    }

    /// The row with unknown categories as missing values.
    pub(super) fn clean(&self, row: &[f64]) -> Vec<f64> {
        let value = |f: usize| {
            let v = row.get(f).copied().unwrap_or(f64::NAN);
            match &self.codes[f] {
                Some(codes) if codes.binary_search_by(|c| c.total_cmp(&(v + 0.0))).is_err() => f64::NAN,
                _ => v,
            }
        };
        (0..self.features.len()).map(value).collect()
    }

    /// Total loss reduction per feature, as a share of all; zeros if there is no split.
    pub fn importance(&self) -> Vec<f64> {
        let mut gain = vec![0.0; self.features.len()];
        for node in self.trees.iter().flat_map(|t| &t.nodes) {
            gain[node.feature as usize] += node.gain;
        }
        let total: f64 = gain.iter().sum();
        if total > 0.0 {
            gain.iter_mut().for_each(|g| *g /= total);
        }
        gain
    }
}

fn check_width(found: usize, expected: usize) -> Result<(), BoostError> {
    let error = BoostError::Length {
        what: "columns",
        found,
        expected,
        unit: "features",
    };
    if found == expected { Ok(()) } else { Err(error) }
}

fn check(params: &Params, features: &[Feature], data: &Training) -> Result<(), BoostError> {
    params.check()?;
    let rows = data.x.nrows();
    check_width(data.x.ncols(), features.len())?;
    if rows == 0 || features.is_empty() {
        return Err(BoostError::NoRows);
    }
    let lengths = [
        ("labels", Some(data.y.len())),
        ("weights", data.weights.map(<[f64]>::len)),
        ("row ids", data.row_ids.map(<[u64]>::len)),
    ];
    for (what, found) in lengths {
        if let Some(found) = found.filter(|n| *n != rows) {
            return Err(BoostError::Length {
                what,
                found,
                expected: rows,
                unit: "rows",
            });
        }
    }
    for (row, y) in data.y.iter().enumerate() {
        if !y.is_finite() {
            return Err(BoostError::BadRow {
                row,
                what: "the label is not a number",
            });
        }
        if params.loss == Loss::Logistic && *y != 0.0 && *y != 1.0 {
            return Err(BoostError::BadRow {
                row,
                what: "the label is neither 0 nor 1",
            });
        }
    }
    let weights = data.weights.unwrap_or_default();
    if let Some(row) = weights.iter().position(|w| !w.is_finite() || *w < 0.0) {
        return Err(BoostError::BadRow {
            row,
            what: "the weight is negative or not a number",
        });
    }
    if data.weights.is_some() && weights.iter().all(|w| *w == 0.0) {
        return Err(BoostError::BadRow {
            row: 0,
            what: "all weights are zero",
        });
    }
    Ok(())
}

/// Rows of the training set and their state between rounds.
struct Progress<'a> {
    params: &'a Params,
    columns: &'a [Column],
    features: &'a [Feature],
    y: &'a [f64],
    weights: Vec<f64>,
    ids: Vec<u64>,
    scores: Vec<f64>,
}

fn fit(
    params: &Params,
    features: &[Feature],
    data: Training,
    watch: Option<Watch>,
) -> Result<(Booster, Watched), BoostError> {
    check(params, features, &data)?;
    let rows = data.y.len();
    let columns = bin_columns(data.x, features, params.threads);
    let weights = data.weights.map_or_else(|| vec![1.0; rows], <[f64]>::to_vec);
    let base = params.loss.base(data.y, &weights);
    let codes = columns.iter().map(|c| match &c.mapper {
        Mapper::Categorical(codes) => Some(codes.clone()),
        Mapper::Numeric(_) => None,
    });
    let mut booster = Booster {
        loss: params.loss,
        features: features.to_vec(),
        base,
        codes: codes.collect(),
        trees: Vec::with_capacity(params.rounds),
    };
    let mut progress = Progress {
        params,
        columns: &columns,
        features,
        y: data.y,
        weights,
        ids: data
            .row_ids
            .map_or_else(|| (0..rows as u64).collect(), <[u64]>::to_vec),
        scores: vec![base; rows],
    };
    let held_out: Option<Array2<f64>> = match &watch {
        Some(w) => {
            check_width(w.x.ncols(), features.len())?;
            let mut x = w.x.to_owned();
            for mut row in x.rows_mut() {
                let clean = booster.clean(&row.to_vec());
                row.iter_mut().zip(clean).for_each(|(to, from)| *to = from);
            }
            Some(x)
        }
        None => None,
    };
    let mut watched = Watched {
        losses: Vec::new(),
        scores: Vec::new(),
    };
    let mut now = vec![base; watch.as_ref().map_or(0, |w| w.y.len())];
    let mut least = f64::INFINITY;
    let drawn = (features.len() as f64 * params.column_share).ceil() as usize;
    let threads = thread_count(params.threads, drawn.div_ceil(4));
    std::thread::scope(|scope| {
        let others = (1..threads)
            .map(|index| {
                let (to_worker, commands) = sync_channel(1);
                let (answers, from_worker) = sync_channel(1);
                let worker = Worker::new(&columns, features, index, threads);
                scope.spawn(move || worker.run(commands, answers));
                (to_worker, from_worker)
            })
            .collect();
        let mut crew = Crew {
            own: Worker::new(&columns, features, 0, threads),
            others,
        };
        for round in 0..params.rounds {
            let tree = progress.round(&mut crew, round as u64);
            if let (Some(w), Some(x)) = (&watch, &held_out) {
                let mut sum = 0.0;
                let mut weight = 0.0;
                for (i, row) in x.rows().into_iter().enumerate() {
                    // The copy above is in standard layout, so that a row is a slice.
                    now[i] += row.as_slice().map_or(0.0, |r| tree.value(r));
                    let wi = w.weights.map_or(1.0, |w| w[i]);
                    sum += wi * params.loss.value(w.y[i], now[i]);
                    weight += wi;
                }
                let loss = sum / weight.max(f64::MIN_POSITIVE);
                watched.losses.push(loss);
                if loss < least {
                    least = loss;
                    watched.scores.clone_from(&now);
                }
            }
            booster.trees.push(tree);
            if let Some(w) = &watch
                && stale(&watched.losses) >= w.patience
            {
                break;
            }
        }
    });
    Ok((booster, watched))
}

/// Rounds since the least loss.
fn stale(losses: &[f64]) -> usize {
    let best = losses
        .iter()
        .enumerate()
        .min_by(|a, b| a.1.total_cmp(b.1))
        .map_or(0, |(i, _)| i);
    losses.len().saturating_sub(best + 1)
}

impl Progress<'_> {
    fn round(&mut self, crew: &mut Crew, round: u64) -> Tree {
        let (rows, g_unit, h_unit) = self.draw_rows(round);
        let rules = Rules {
            lambda: self.params.lambda,
            min_leaf: self.params.min_leaf.min(u32::MAX as usize) as u32,
            g_unit,
            h_unit,
        };
        let limits = Limits {
            leaves: self.params.leaves,
            max_depth: self.params.max_depth,
        };
        let drawn = self.draw_columns(round);
        let (mut tree, leaves, splits) = grow(crew, self.columns, self.features, drawn, rows, rules, limits);
        for (leaf, grown) in tree.leaves.iter_mut().zip(&leaves) {
            if let Loss::Pinball { quantile } = self.params.loss {
                let residual = |r: &u32| {
                    (
                        self.y[*r as usize] - self.scores[*r as usize],
                        self.weights[*r as usize],
                    )
                };
                let value = weighted_quantile(grown.rows.ids.iter().map(residual).collect(), quantile);
                leaf.value = value.clamp(grown.range.low, grown.range.high);
            }
            leaf.value *= self.params.learning_rate;
        }
        let mut done = vec![false; self.y.len()];
        for (leaf, grown) in tree.leaves.iter().zip(&leaves) {
            for row in &grown.rows.ids {
                self.scores[*row as usize] += leaf.value;
                done[*row as usize] = true;
            }
        }
        for row in (0..done.len()).filter(|r| !done[*r]) {
            self.scores[row] += self.leaf_value(&tree, &splits, row);
        }
        tree
    }

    /// Value of the leaf of a row that was not drawn, by its bins.
    fn leaf_value(&self, tree: &Tree, splits: &[Split], row: usize) -> f64 {
        let mut at = tree.root();
        loop {
            match at {
                Child::Leaf(leaf) => return tree.leaves[leaf as usize].value,
                Child::Node(n) => {
                    let split = &splits[n as usize];
                    let left = split.goes_left(self.columns[split.feature].bins[row]);
                    let node = &tree.nodes[n as usize];
                    at = if left { node.left } else { node.right };
                }
            }
        }
    }

    /// The rows of this round with their gradients in fixed point, and what one unit is worth.
    fn draw_rows(&self, round: u64) -> (Rows, f64, f64) {
        let all = self.params.row_share >= 1.0;
        let limit = (self.params.row_share * u64::MAX as f64) as u64;
        let drawn = |row: &usize| all || mix(self.params.seed, round, self.ids[*row]) < limit;
        let mut ids: Vec<u32> = (0..self.y.len()).filter(drawn).map(|r| r as u32).collect();
        if ids.is_empty() {
            ids = (0..self.y.len() as u32).collect();
        }
        let real: Vec<(f64, f64)> = ids
            .iter()
            .map(|r| {
                let r = *r as usize;
                let (g, h) = self.params.loss.gradient(self.y[r], self.scores[r]);
                (g * self.weights[r], h * self.weights[r])
            })
            .collect();
        let unit = |largest: f64| {
            if largest > 0.0 {
                largest / f64::from(1 << 30)
            } else {
                1.0
            }
        };
        let g_unit = unit(real.iter().fold(0.0, |m, x| x.0.abs().max(m)));
        let h_unit = unit(real.iter().fold(0.0, |m, x| x.1.abs().max(m)));
        let fixed = |x: f64, unit: f64| (x / unit).round() as i32;
        let gradients = real
            .iter()
            .map(|(g, h)| [fixed(*g, g_unit), fixed(*h, h_unit)])
            .collect();
        (Rows { ids, gradients }, g_unit, h_unit)
    }

    /// The columns of this round: those with the lowest hashes.
    fn draw_columns(&self, round: u64) -> Vec<usize> {
        let usable = (0..self.features.len())
            .filter(|f| self.columns[*f].mapper.len() > 1 || self.columns[*f].has_missing);
        let mut keyed: Vec<(u64, usize)> = usable
            .map(|f| (mix(self.params.seed ^ 0x5eed, round, f as u64), f))
            .collect();
        keyed.sort_unstable();
        keyed.truncate((keyed.len() as f64 * self.params.column_share).ceil() as usize);
        keyed.sort_unstable_by_key(|k| k.1);
        keyed.into_iter().map(|k| k.1).collect()
    }
}

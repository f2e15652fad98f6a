//! The one way in which every backtest sets up its model: rules on the size of the data, nothing per set.

use ndarray::ArrayView2;

use crate::boost::{BoostError, Booster, Loss, Params};

/// Settings for a yes-or-no label. Few events allow few leaves, and leaves of few rows; a table with few columns is
/// not thinned out.
pub(crate) fn classifier(y: &[bool], features: usize) -> Params {
    let events = y.iter().filter(|y| **y).count();
    Params {
        loss: Loss::Logistic,
        min_leaf: (events / 50).clamp(5, 40),
        leaves: (events / 20).clamp(8, 31),
        column_share: column_share(features),
        lambda: 1.0,
        ..Params::default()
    }
}

/// Settings for a number.
pub(crate) fn regressor(features: usize) -> Params {
    Params {
        column_share: column_share(features),
        ..Params::default()
    }
}

fn column_share(features: usize) -> f64 {
    (8.0 / features.max(1) as f64).clamp(0.3, 1.0)
}

/// Labels as the booster takes them.
pub(crate) fn labels(y: &[bool]) -> Vec<f64> {
    y.iter().map(|y| f64::from(u8::from(*y))).collect()
}

/// Rounds without improvement before a search stops.
pub(crate) const PATIENCE: usize = 60;

/// Mean prediction of the models of several folds: each was trained on other rows, their mean varies less.
pub(crate) fn mean_prediction(models: &[Booster], x: ArrayView2<f64>) -> Result<Vec<f64>, BoostError> {
    let mut sum = vec![0.0; x.nrows()];
    for model in models {
        sum.iter_mut()
            .zip(model.predict(x)?)
            .for_each(|(s, p)| *s += p / models.len() as f64);
    }
    Ok(sum)
}

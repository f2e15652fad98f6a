//! The one way in which every backtest sets up its model: rules on the size of the data, nothing per set.

use std::collections::BTreeSet;
use std::fmt::Display;

use anyhow::{Result, bail};
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

/// How many folds these groups can be split into, `most` at most; `what` is one of them, such as a machine.
///
/// # Errors
/// When there is only one of them, in words.
pub(crate) fn folds(groups: &[u64], most: usize, place: impl Display, what: &str) -> Result<usize> {
    let groups = groups.iter().collect::<BTreeSet<_>>().len();
    if groups < 2 {
        bail!(
            "{place}: all rows are of one {what}: what is learned from some has to be judged on others, give a folder with \
             two at least, better ten"
        );
    }
    Ok(groups.min(most))
}

/// Fewest events that a yes-or-no model can be learned from and judged on, and from how many on its figures say something.
const LEAST_EVENTS: usize = 5;
const TELLING_EVENTS: usize = 30;

/// Refuses labels that nothing can be learned from; `event` is what is learned, such as a failure. Notes for people
/// where little can.
///
/// # Errors
/// No event, too few of them, or nothing else.
pub(crate) fn judgeable(y: &[bool], place: impl Display, event: &str) -> Result<Vec<String>> {
    let events = y.iter().filter(|y| **y).count();
    if events == 0 {
        bail!("{place}: no {event} to learn from");
    }
    if events == y.len() {
        bail!(
            "{place}: every row is labelled as {event}: add rows without, there is nothing to tell it from"
        );
    }
    if events < LEAST_EVENTS {
        bail!(
            "{place}: only {events} rows with {event}: at least {LEAST_EVENTS} are needed to learn from some and judge on others"
        );
    }
    let few = events < TELLING_EVENTS;
    Ok(few
        .then(|| format!("only {events} rows with {event}: the figures may be chance"))
        .into_iter()
        .collect())
}

/// Notes of what labels that a model is judged on don't allow.
pub(crate) fn only_one_answer(y: &[bool], place: impl Display, event: &str) -> Vec<String> {
    let events = y.iter().filter(|y| **y).count();
    let none = "precision, recall and f1 say nothing here";
    let note = match events {
        0 => format!("{place}: no row with {event} to judge on: {none}"),
        all if all == y.len() => format!("{place}: every row is labelled as {event}: {none}"),
        _ => return Vec::new(),
    };
    vec![note]
}

/// Labels as the booster takes them.
pub(crate) fn labels(y: &[bool]) -> Vec<f64> {
    y.iter().map(|y| f64::from(u8::from(*y))).collect()
}

/// Rounds without improvement before a search stops.
pub(crate) const PATIENCE: usize = 60;

/// Mean prediction of the models of several folds: each was trained on other rows, their mean varies less.
pub(crate) fn mean_prediction(
    models: &[Booster],
    x: ArrayView2<f64>,
) -> std::result::Result<Vec<f64>, BoostError> {
    let mut sum = vec![0.0; x.nrows()];
    for model in models {
        sum.iter_mut()
            .zip(model.predict(x)?)
            .for_each(|(s, p)| *s += p / models.len() as f64);
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_split_or_told_apart_is_said_plainly() {
        let error = folds(&[7, 7], 5, "a.csv", "machine").unwrap_err().to_string();
        assert!(
            error.starts_with("a.csv: all rows are of one machine: "),
            "{error}"
        );
        assert_eq!(folds(&[1, 2, 3], 5, "a.csv", "machine").unwrap(), 3);
        let y = |events: usize| (0..100).map(|i| i < events).collect::<Vec<_>>();
        for (events, words) in [
            (0, "a.csv: no failure to learn from"),
            (4, "a.csv: only 4 rows with failure: at least 5 are needed"),
            (100, "a.csv: every row is labelled as failure"),
        ] {
            let error = judgeable(&y(events), "a.csv", "failure").unwrap_err().to_string();
            assert!(error.starts_with(words), "{error}");
        }
        assert_eq!(judgeable(&y(29), "a.csv", "failure").unwrap().len(), 1);
        assert!(judgeable(&y(30), "a.csv", "failure").unwrap().is_empty());
        assert_eq!(only_one_answer(&y(0), "a.csv", "failure").len(), 1);
        assert_eq!(only_one_answer(&y(100), "a.csv", "failure").len(), 1);
        assert!(only_one_answer(&y(3), "a.csv", "failure").is_empty());
    }
}

//! Backtests on public data sets, and the figures by which predictions are judged.
//!
//! Every backtest takes a folder in the format of its set, refuses what is missing or malformed by file, line and
//! column, and returns one JSON object. Settings follow from the size of the data by one rule ([`settings`]); nothing
//! is tuned to a set.

pub mod ai4i;
pub mod azure;
pub mod cmapss;
pub mod conformal;
pub mod cwru;
pub mod femto;
pub mod hydraulic;
pub mod ims;
mod ims_level;
mod ims_raw;
pub mod isotonic;
pub mod metrics;
pub mod metropt;
pub mod nab;
pub mod nab_score;
pub mod naval;
mod pictures;
pub mod progress;
mod regimes;
pub(crate) mod served;
pub(crate) mod settings;
pub mod skab;
pub mod stream;
pub(crate) mod table;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde_json::{Value, json};

pub use self::progress::Progress;

/// Names of the backtests.
pub const NAMES: [&str; 11] = [
    "cmapss",
    "azure",
    "nab",
    "ai4i",
    "ims",
    "femto",
    "skab",
    "metropt",
    "hydraulic",
    "naval",
    "cwru",
];

/// What the command line adds to the data folder.
#[derive(Debug, Clone, Default)]
pub struct BacktestArgs {
    /// Test on this folder what was trained on the data folder.
    pub test_data: Option<PathBuf>,
    /// Part of a set, such as FD001; needed if the folder holds several.
    pub subset: Option<String>,
    /// Hours ahead for failure probabilities; 24 if not given.
    pub horizon_h: Option<f64>,
    /// Folder for pictures.
    pub svg: Option<PathBuf>,
    /// Hears what is being done.
    pub progress: Progress,
}

impl BacktestArgs {
    /// Refuses what the set doesn't know: an option without effect is a mistake of the one who gave it.
    fn check(&self, name: &str) -> Result<()> {
        for (given, option, of) in [
            (self.subset.is_some(), "--subset", "cmapss"),
            (self.horizon_h.is_some(), "--horizon", "azure"),
        ] {
            if given && name != of {
                bail!("{name} has no {option}, only {of} has: leave it out");
            }
        }
        Ok(())
    }
}

/// Said where a set's protocol learns from the first part of each run alone.
pub(crate) const NOTHING_LEARNED: &str = "each run is judged by its own healthy beginning: the data folder was only checked, nothing was learned \
     from it or tuned on the test folder";

/// Hours of a horizon as people write it: `24h`, `7d`, or a bare number of hours.
///
/// # Errors
/// What it isn't.
pub fn horizon(text: &str) -> Result<f64> {
    let (number, unit) = match text.trim().strip_suffix('d') {
        Some(days) => (days, 24.0),
        None => (text.trim().strip_suffix('h').unwrap_or(text.trim()), 1.0),
    };
    match number.trim().parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number * unit),
        _ => bail!("'{text}' is not a horizon such as 24h or 7d"),
    }
}

/// Runs the backtest `name` on a data folder.
///
/// # Errors
/// An unknown name, or whatever is wrong with the folder: file, line and column.
pub fn run(name: &str, data: &Path, args: &BacktestArgs) -> Result<Value> {
    if !NAMES.contains(&name) {
        bail!("unknown backtest '{name}', there are {}", NAMES.join(", "));
    }
    args.check(name)?;
    let mut result = match name {
        "cmapss" => cmapss::run(data, args),
        "azure" => azure::run(data, args),
        "nab" => nab::run(data, args),
        "ai4i" => ai4i::run(data, args),
        "ims" => ims::run(data, args),
        "femto" => femto::run(data, args),
        "skab" => skab::run(data, args),
        "metropt" => metropt::run(data, args),
        "hydraulic" => hydraulic::run(data, args),
        "naval" => naval::run(data, args),
        _ => cwru::run(data, args),
    }?;
    let detail = result.as_object_mut().and_then(|result| result.remove("detail"));
    if let Some(folder) = &args.svg {
        args.progress.say("drawing");
        result["pictures"] = json!(pictures::draw(&result, detail.as_ref(), folder)?);
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backtest_refuses_a_folder_that_is_not_there_or_empty_by_name() {
        let dir = tempfile::tempdir().unwrap();
        for folder in [dir.path().to_path_buf(), dir.path().join("nowhere")] {
            for name in NAMES {
                let error = format!("{:#}", run(name, &folder, &BacktestArgs::default()).unwrap_err());
                assert!(error.contains(&folder.display().to_string()), "{name}: {error}");
            }
        }
        let error = run("lottery", dir.path(), &BacktestArgs::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("unknown backtest 'lottery', there are cmapss, azure"),
            "{error}"
        );
    }

    #[test]
    fn an_option_that_a_set_does_not_know_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let subset = BacktestArgs {
            subset: Some("FD001".to_owned()),
            ..BacktestArgs::default()
        };
        let horizon = BacktestArgs {
            horizon_h: Some(9.0),
            ..BacktestArgs::default()
        };
        for name in NAMES {
            for (args, option, of) in [(&subset, "--subset", "cmapss"), (&horizon, "--horizon", "azure")] {
                let error = format!("{:#}", run(name, dir.path(), args).unwrap_err());
                let refused = error == format!("{name} has no {option}, only {of} has: leave it out");
                assert_eq!(refused, name != of, "{error}");
            }
        }
    }
}

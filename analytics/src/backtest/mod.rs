//! Backtests on public data sets, and the figures by which predictions are judged.
//!
//! Every backtest takes a folder in the format of its set, refuses what is missing or malformed by file, line and
//! column, and returns one JSON object. Settings follow from the size of the data by one rule ([`settings`]); nothing
//! is tuned to a set.

pub mod ai4i;
pub mod azure;
pub mod cmapss;
pub mod conformal;
pub mod femto;
pub mod hydraulic;
pub mod ims;
pub mod isotonic;
pub mod metrics;
pub mod metropt;
pub mod nab;
pub mod nab_score;
mod regimes;
pub(crate) mod settings;
pub mod skab;
pub mod stream;
mod table;
mod windows;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde_json::Value;

/// Names of the backtests.
pub const NAMES: [&str; 9] = [
    "cmapss",
    "azure",
    "nab",
    "ai4i",
    "ims",
    "femto",
    "skab",
    "metropt",
    "hydraulic",
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
}

/// Runs the backtest `name` on a data folder.
///
/// # Errors
/// An unknown name, or whatever is wrong with the folder: file, line and column.
pub fn run(name: &str, data: &Path, args: &BacktestArgs) -> Result<Value> {
    let test = args.test_data.as_deref();
    match name {
        "cmapss" => cmapss::run(data, test, args.subset.as_deref()),
        "azure" => azure::run(data, test, args.horizon_h.unwrap_or(24.0)),
        "nab" => nab::run(data, test),
        "ai4i" => ai4i::run(data, test),
        "ims" => ims::run(data, test),
        "femto" => femto::run(data, test),
        "skab" => skab::run(data, test),
        "metropt" => metropt::run(data, test),
        "hydraulic" => hydraulic::run(data, test),
        _ => bail!("unknown backtest '{name}', there are {}", NAMES.join(", ")),
    }
}

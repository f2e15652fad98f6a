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
mod ims_raw;
pub mod isotonic;
pub mod metrics;
pub mod metropt;
pub mod nab;
pub mod nab_score;
pub mod naval;
mod regimes;
pub(crate) mod settings;
pub mod skab;
pub mod stream;
pub(crate) mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::picture;

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
}

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
    let test = args.test_data.as_deref();
    let mut result = match name {
        "cmapss" => cmapss::run(data, test, args.subset.as_deref()),
        "azure" => azure::run(data, test, args.horizon_h.unwrap_or(24.0)),
        "nab" => nab::run(data, test),
        "ai4i" => ai4i::run(data, test),
        "ims" => ims::run(data, test),
        "femto" => femto::run(data, test),
        "skab" => skab::run(data, test),
        "metropt" => metropt::run(data, test),
        "hydraulic" => hydraulic::run(data, test),
        "naval" => naval::run(data, test),
        "cwru" => cwru::run(data, test),
        _ => bail!("unknown backtest '{name}', there are {}", NAMES.join(", ")),
    }?;
    let detail = result.as_object_mut().and_then(|result| result.remove("detail"));
    if let Some(folder) = &args.svg {
        let drawn = draw(&result, detail.as_ref(), folder)?;
        result["pictures"] = json!(drawn);
    }
    Ok(result)
}

/// Pictures of what the result holds; returns their names.
fn draw(result: &Value, detail: Option<&Value>, folder: &Path) -> Result<Vec<String>> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let mut title = result["set"].as_str().unwrap_or_default().to_owned();
    if let Some(subset) = result["subset"].as_str() {
        title = format!("{title} {subset}");
    }
    if let Some(hours) = result["horizon_h"].as_f64() {
        title = format!("{title}, failure within {hours} h");
    }
    let mut drawn = Vec::new();
    let mut name = |name: &str| {
        drawn.push(name.to_owned());
        folder.join(name)
    };
    let lives: Vec<[f64; 4]> = detail
        .and_then(|detail| serde_json::from_value(detail["lives"].clone()).ok())
        .unwrap_or_default();
    if !lives.is_empty() {
        let unit = detail
            .and_then(|detail| detail["unit"].as_str())
            .unwrap_or_default();
        let lives: Vec<picture::Life> = lives
            .into_iter()
            .map(|[truth, predicted, low, high]| picture::Life {
                truth,
                predicted,
                low,
                high,
            })
            .collect();
        let title = format!("{title}: predicted and true remaining life");
        picture::remaining_life(&name("remaining_life.svg"), &title, unit, &lives)?;
    }
    for (file, of) in [
        ("reliability.svg", result),
        ("reliability_natural.svg", &result["natural"]),
    ] {
        let bins: Vec<metrics::ReliabilityBin> =
            serde_json::from_value(of["reliability"].clone()).unwrap_or_default();
        if !bins.is_empty() {
            let of = if file == "reliability.svg" {
                ""
            } else {
                " at the natural base rate"
            };
            let title = format!("{title}{of}: probability said and share that failed");
            picture::reliability_table(&name(file), &title, &bins)?;
        }
    }
    let leads: Vec<f64> = detail
        .and_then(|detail| serde_json::from_value(detail["lead_times_h"].clone()).ok())
        .unwrap_or_default();
    if !leads.is_empty() {
        let title = format!("{title}: how long before the failure it was seen");
        picture::histogram(&name("lead_time.svg"), &title, "hours ahead", &leads)?;
    }
    Ok(drawn)
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
}

//! Published worked examples, read from the folder in `FOREWARN_DATA` (its `reference-values` subfolder).

mod life;
mod metrics;
mod nab;
mod recurrence;
mod regression;

use std::path::PathBuf;

use serde_json::Value;

/// A file of the data folder, or None (said on stderr) if no folder was given.
fn data(path: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("FOREWARN_DATA") else {
        eprintln!("left out: FOREWARN_DATA does not name the data folder, {path} was not read");
        return None;
    };
    Some(PathBuf::from(folder).join(path))
}

fn reference(name: &str) -> Option<Value> {
    let path = data(&format!("reference-values/{name}.json"))?;
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Some(serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is not a number"))
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap_or_else(|| panic!("{value} is not a list"))
        .iter()
        .map(number)
        .collect()
}

/// Equal to half a unit of the last printed digit, or to 2e-7 of the value for numbers printed in full.
#[track_caller]
fn printed(found: f64, expected: &Value) {
    let text = expected.to_string();
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((&text, "0"));
    let decimals = mantissa.split_once('.').map_or(0, |(_, d)| d.len()) as i32;
    let unit = 10_f64.powi(exponent.parse::<i32>().unwrap_or(0) - decimals);
    let expected = number(expected);
    let allowed = (0.51 * unit).max(2e-7 * expected.abs());
    assert!(
        (found - expected).abs() <= allowed,
        "found {found}, expected {text}"
    );
}

/// Equal within a relative tolerance.
#[track_caller]
fn close(found: f64, expected: &Value, relative: f64) {
    let expected = number(expected);
    assert!(
        (found - expected).abs() <= relative * expected.abs().max(1e-9),
        "found {found}, expected {expected}"
    );
}

//! Features that know what they can't.
//!
//! Three signs, each with its own words. A feature that *knows the label* separates failing from other
//! rows by itself almost perfectly: real wear never does, a flag that somebody set after the failure does.
//! One that *knows the future* jumps at the very row from which the label looks ahead to the failure:
//! nothing in a machine happens exactly `horizon` hours before it fails. One that *names the machine*
//! has a value of its own for every machine, so that a model can learn who failed instead of why.

use ndarray::ArrayView2;
use serde::Serialize;

use crate::backtest::metrics::roc_auc;

/// Fewer failures than this can look separable by chance.
const LEAST_FAILURES: usize = 5;
const SEPARATES: f64 = 0.995;
/// Share of the failures at whose onset it jumps.
const JUMPS: f64 = 0.8;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Leak {
    pub feature: String,
    /// `knows_label`, `knows_future` or `names_machine`.
    pub kind: &'static str,
    pub text: String,
}

/// Looks at every feature. Rows in order of time within each group (machine); `y`: a failure follows.
pub fn find(x: ArrayView2<f64>, names: &[String], y: &[bool], groups: &[u64]) -> Vec<Leak> {
    let onsets: Vec<usize> = (1..y.len())
        .filter(|row| y[*row] && !y[row - 1] && groups[*row] == groups[row - 1])
        .collect();
    let mut leaks = Vec::new();
    for (column, name) in x.columns().into_iter().zip(names) {
        let values: Vec<f64> = column.to_vec();
        let mut leak = |kind, text| {
            leaks.push(Leak {
                feature: name.clone(),
                kind,
                text,
            });
        };
        if let Some(auc) = separates(&values, y).filter(|_| onsets.len() >= LEAST_FAILURES) {
            leak(
                "knows_label",
                format!(
                    "{name} alone tells failing rows from others (AUC {auc:.4}): it may have been written after the failure"
                ),
            );
        } else if let Some(share) = jumps(&values, groups, &onsets) {
            leak(
                "knows_future",
                format!(
                    "{name} jumps at the very row from which the horizon reaches the failure, in {:.0} % of {} failures",
                    share * 100.0,
                    onsets.len()
                ),
            );
        } else if names_machine(&values, groups) {
            leak(
                "names_machine",
                format!("{name} has one value for each machine: a model would learn who failed, not why"),
            );
        }
    }
    leaks
}

/// Names of the features that know the label in a table whose rows were written together with it, without time or
/// machines: those that tell failing rows by themselves, and flags (two values) of which one stands in failing rows only.
/// In telemetry such a flag may be an honest warning; in a row that was written with its outcome it is the outcome.
pub fn in_table(x: ArrayView2<f64>, names: &[String], y: &[bool]) -> Vec<String> {
    x.columns()
        .into_iter()
        .zip(names)
        .filter(|(column, _)| {
            let values = column.to_vec();
            separates(&values, y).is_some() || is_flag_of(&values, y)
        })
        .map(|(_, name)| name.clone())
        .collect()
}

/// Whether there are two values, and one of them in failing rows only, in as many as can't be chance.
fn is_flag_of(values: &[f64], y: &[bool]) -> bool {
    let mut of: std::collections::BTreeMap<u64, (usize, usize)> = std::collections::BTreeMap::new();
    for (value, y) in values.iter().zip(y) {
        let entry = of.entry(value.to_bits()).or_default();
        entry.0 += 1;
        entry.1 += usize::from(*y);
        if of.len() > 2 {
            return false;
        }
    }
    let only = |(rows, failed): &(usize, usize)| rows == failed && *failed >= LEAST_FAILURES;
    of.len() == 2 && of.values().any(only)
}

fn separates(values: &[f64], y: &[bool]) -> Option<f64> {
    // Missing in failing rows only, or only there, is telling too.
    let shown: Vec<f64> = values
        .iter()
        .map(|v| if v.is_finite() { *v } else { f64::MIN })
        .collect();
    let auc = roc_auc(&shown, y)?;
    let auc = auc.max(1.0 - auc);
    (auc >= SEPARATES).then_some(auc)
}

/// Share of the onsets at which the step is larger than any of the machine's in the 50 rows before.
fn jumps(values: &[f64], groups: &[u64], onsets: &[usize]) -> Option<f64> {
    if onsets.len() < LEAST_FAILURES {
        return None;
    }
    let step = |row: usize| {
        let step = (values[row] - values[row - 1]).abs();
        if step.is_finite() { step } else { 0.0 }
    };
    let largest = |onset: &&usize| {
        let from = (1..=**onset)
            .rev()
            .take(50)
            .take_while(|row| groups[*row] == groups[row - 1])
            .last()
            .unwrap_or(**onset);
        let before = (from..**onset).map(step).fold(0.0, f64::max);
        **onset > from + 10 && step(**onset) > 3.0 * before && step(**onset) > 0.0
    };
    let share = onsets.iter().filter(largest).count() as f64 / onsets.len() as f64;
    (share >= JUMPS).then_some(share)
}

fn names_machine(values: &[f64], groups: &[u64]) -> bool {
    let mut of: std::collections::BTreeMap<u64, f64> = std::collections::BTreeMap::new();
    for (value, group) in values.iter().zip(groups) {
        let first = of.entry(*group).or_insert(*value);
        if *first != *value || !value.is_finite() {
            return false;
        }
    }
    let mut own: Vec<u64> = of.values().map(|value| value.to_bits()).collect();
    own.sort_unstable();
    own.dedup();
    of.len() >= 3 && own.len() == of.len()
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::testing::noise;

    #[test]
    fn a_flag_written_with_the_outcome_is_named_and_a_tail_of_honest_values_is_not() {
        let n = 2000;
        let mut x = Array2::zeros((n, 4));
        let y: Vec<bool> = (0..n).map(|row| row % 40 == 0).collect();
        for row in 0..n {
            let values = [
                f64::from(u8::from(y[row] && row % 3 == 0)), // one cause of several
                noise(row) + if y[row] && row % 3 == 0 { 50.0 } else { 0.0 }, // beyond what it bears
                f64::from(u8::from(row % 7 == 0)),           // a flag of something else
                f64::from(u8::from(y[row])),                 // the outcome itself
            ];
            for (place, value) in values.into_iter().enumerate() {
                x[[row, place]] = value;
            }
        }
        let names = ["cause", "power", "night", "outcome"].map(str::to_owned).to_vec();
        assert_eq!(in_table(x.view(), &names, &y), ["cause", "outcome"]);
    }

    #[test]
    fn each_kind_is_named_and_honest_wear_is_not() {
        let (machines, rows, horizon) = (8, 200, 24);
        let failed = |machine: usize| 100 + 10 * machine;
        let mut x = Array2::zeros((machines * rows, 5));
        let (mut y, mut groups) = (Vec::new(), Vec::new());
        for machine in 0..machines {
            for row in 0..rows {
                let at = machine * rows + row;
                let (before, after) = (row < failed(machine), row >= failed(machine));
                let positive = before && failed(machine) - row <= horizon;
                let wear = if before {
                    (1.0 - (failed(machine) - row) as f64 / 72.0).max(0.0)
                } else {
                    0.0
                };
                let values = [
                    noise(at) + 2.0 * wear,                            // wears
                    f64::from(u8::from(positive)) + 0.001 * noise(at), // a flag somebody set
                    0.1 * noise(at + 77)
                        + if before && failed(machine) - row <= horizon && machine % 8 != 7 {
                            9.0 * (1.0 + machine as f64)
                        } else if after {
                            50.0
                        } else {
                            0.0
                        },
                    machine as f64 * 1.5, // a serial number
                    noise(at + 5000),
                ];
                for (place, value) in values.into_iter().enumerate() {
                    x[[at, place]] = value;
                }
                y.push(positive);
                groups.push(machine as u64);
            }
        }
        let names: Vec<String> = ["wear", "flag", "planned", "serial", "noise"]
            .map(str::to_owned)
            .to_vec();
        let found = find(x.view(), &names, &y, &groups);
        let kinds: Vec<(&str, &str)> = found
            .iter()
            .map(|leak| (leak.feature.as_str(), leak.kind))
            .collect();
        assert_eq!(
            kinds,
            [
                ("flag", "knows_label"),
                ("planned", "knows_future"),
                ("serial", "names_machine")
            ]
        );
        assert!(found[1].text.contains("88 % of 8 failures"), "{}", found[1].text);
    }
}

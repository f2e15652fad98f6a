//! How good the probabilities are: over the rows, before each failure, within a budget.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::fleet::Fleet;
use super::rows::Rows;
use super::{BUDGET, HOUR};
use crate::backtest::metrics::{Confusion, brier, calibration_error, reliability_table, roc_auc};

/// Hours of a slot before the failure.
const SLOT_H: f64 = 12.0;

/// How well rows of each slot before a failure can be told from those that no failure follows: where the signal
/// begins. (hours before, rows, AUC, share at or above one half.)
pub(super) fn signal_before(p: &[f64], rows: &Rows, fleet: &Fleet, horizon_h: f64) -> Vec<Value> {
    let mut ahead = vec![f64::INFINITY; p.len()];
    for m in &fleet.machines {
        for (i, hours) in ahead
            .iter_mut()
            .enumerate()
            .filter(|(i, _)| rows.machine[*i] == m.id)
        {
            let next = m
                .failures
                .iter()
                .filter(|f| **f > rows.time[i])
                .copied()
                .fold(f64::INFINITY, f64::min);
            *hours = (next - rows.time[i]) / HOUR;
        }
    }
    let natural = rows.natural.contains(&true);
    let used: Vec<usize> = (0..p.len()).filter(|i| rows.natural[*i] || !natural).collect();
    (0..(horizon_h / SLOT_H).ceil() as usize)
        .map(|slot| (slot as f64 * SLOT_H, (slot as f64 + 1.0) * SLOT_H))
        .filter_map(|(from, to)| {
            let inside = |i: &usize| ahead[*i] > from && ahead[*i] <= to;
            let kept: Vec<usize> = used
                .iter()
                .copied()
                .filter(|i| inside(i) || !rows.y[*i])
                .collect();
            let score: Vec<f64> = kept.iter().map(|i| p[*i]).collect();
            let y: Vec<bool> = kept.iter().map(inside).collect();
            let n = y.iter().filter(|y| **y).count();
            let seen = kept.iter().filter(|i| inside(i) && p[**i] >= 0.5).count();
            Some(
                json!({ "hours_before": [from, to], "rows": n, "auc": roc_auc(&score, &y)?,
                         "said_at_least_half": seen as f64 / n as f64 }),
            )
        })
        .collect()
}

/// Why a precision of 0.8 can't be had at a recall of 0.9, where it can't: what has to be called for that, how far ahead it
/// is, and whether its probabilities are right.
pub(super) fn why_not(result: &Value) -> Option<String> {
    let natural = result["natural"]["precision_at_recall_90"].is_number();
    let of = if natural { &result["natural"] } else { result };
    let precision = of["precision_at_recall_90"]
        .as_f64()
        .filter(|precision| *precision < 0.8)?;
    let doubtful = &of["doubtful"];
    let (said, failed) = (doubtful["said"].as_f64()?, doubtful["failed"].as_f64()?);
    let unsure = doubtful["unsure_by"].as_f64()?;
    let judged = if doubtful["calibrated"].as_bool()? {
        "that is calibrated within what chance does".to_owned()
    } else {
        let way = if failed > said { "too low" } else { "too high" };
        format!(
            "that is not calibrated: what was said is {way} for these machines, and part of what is missing may be had"
        )
    };
    let recall = of["recall_at_precision_80"].as_f64().unwrap_or_default();
    let early = result["signal_before"]
        .as_array()?
        .iter()
        .filter_map(|slot| Some((slot["said_at_least_half"].as_f64()?, &slot["hours_before"])))
        .min_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(format!(
        "precision is {precision:.2} at a recall of 0.9 because nine tenths of the rows before a failure can only be had by \
         calling {} rows whose probability is below one half ({said:.2} on average, and {failed:.2} of them failed, give or \
         take {unsure:.2}: {judged}); of the rows {} to {} h before a failure only {:.0} % say one half or more, the others look like rows of \
         machines that run on. At a precision of 0.8 the recall is {recall:.2}",
        doubtful["rows"],
        early.1[0],
        early.1[1],
        early.0 * 100.0
    ))
}

/// Figures over some rows. The oversampled windows are judged by the raw score, which learnt their base rate; the
/// natural rows by the calibrated probability.
pub(super) fn figures(raw: &[f64], p: &[f64], rows: &Rows, keep: impl Fn(usize) -> bool) -> Value {
    let index: Vec<usize> = (0..p.len()).filter(|i| keep(*i)).collect();
    let y: Vec<bool> = index.iter().map(|i| rows.y[*i]).collect();
    let machines: Vec<u64> = index.iter().map(|i| rows.machine[*i]).collect();
    let only_natural = index.iter().all(|i| rows.natural[*i]);
    let used: Vec<f64> = index
        .iter()
        .map(|i| {
            if only_natural || rows.natural[*i] {
                p[*i]
            } else {
                raw[*i]
            }
        })
        .collect();
    let c = Confusion::of(used.iter().map(|p| *p >= 0.5).zip(y.iter().copied()));
    json!({
        "precision": c.precision(),
        "recall": c.recall(),
        "brier": brier(&used, &y),
        "calibration_error": calibration_error(&used, &y, 10),
        "base_rate": y.iter().filter(|y| **y).count() as f64 / y.len().max(1) as f64,
        "precision_at_recall_90": precision_at_recall(&used, &y, 0.9),
        "recall_at_precision_80": recall_at_precision(&used, &y, 0.8),
        "doubtful": doubtful(&used, &y, &machines, 0.9),
        "reliability": reliability_table(&used, &y, 10),
    })
}

fn precision_at_recall(p: &[f64], y: &[bool], recall: f64) -> Option<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*b].total_cmp(&p[*a]));
    let positives = y.iter().filter(|y| **y).count() as f64;
    let (mut hits, mut seen) = (0.0, 0.0);
    let mut best: Option<f64> = None;
    for tie in order.chunk_by(|a, b| p[*a] == p[*b]) {
        hits += tie.iter().filter(|i| y[**i]).count() as f64;
        seen += tie.len() as f64;
        if hits >= recall * positives && positives > 0.0 {
            best = Some(best.map_or(hits / seen, |b| b.max(hits / seen)));
        }
    }
    best
}

/// The highest recall that leaves this precision.
fn recall_at_precision(p: &[f64], y: &[bool], precision: f64) -> Option<f64> {
    (1..=100)
        .rev()
        .map(|percent| f64::from(percent) / 100.0)
        .find(|recall| precision_at_recall(p, y, *recall).is_some_and(|found| found >= precision))
}

/// The rows below one half that have to be called for a recall: how many, what was said of them and what came. Rows of one
/// machine come and fail together, so that chance is that of the machines: `unsure_by` is 1.96 standard errors of what was
/// said against what came, clustered by machine, and never less than if every row were on its own.
fn doubtful(p: &[f64], y: &[bool], machines: &[u64], recall: f64) -> Value {
    let mut failing: Vec<f64> = (0..p.len()).filter(|i| y[*i]).map(|i| p[i]).collect();
    failing.sort_by(|a, b| b.total_cmp(a));
    let wanted = (failing.len() as f64 * recall).ceil() as usize;
    let Some(least) = wanted.checked_sub(1).and_then(|place| failing.get(place)) else {
        return Value::Null;
    };
    let called: Vec<usize> = (0..p.len()).filter(|i| p[*i] >= *least && p[*i] < 0.5).collect();
    if called.is_empty() {
        return Value::Null;
    }
    let n = called.len() as f64;
    let failed = called.iter().filter(|i| y[**i]).count() as f64 / n;
    let said = called.iter().map(|i| p[*i]).sum::<f64>() / n;
    let mut off: BTreeMap<u64, f64> = BTreeMap::new();
    for i in &called {
        *off.entry(machines[*i]).or_default() += f64::from(u8::from(y[*i])) - p[*i];
    }
    let m = off.len() as f64;
    let unsure = if m > 1.0 {
        let usual = (failed - said) * n / m;
        let spread: f64 = off.values().map(|off| (off - usual).powi(2)).sum();
        let clustered = (spread * m / (m - 1.0)).sqrt() / n;
        1.96 * clustered.max((said * (1.0 - said) / n).sqrt())
    } else {
        1.0
    };
    json!({
        "rows": called.len(), "machines": off.len(), "said": said, "failed": failed, "unsure_by": unsure,
        "calibrated": (failed - said).abs() <= unsure,
    })
}

/// Hours ahead of each failure that had an alarm within the horizon, and how many failures have telemetry before them.
pub(super) fn by_event(p: &[f64], rows: &Rows, fleet: &Fleet, horizon_h: f64) -> (Vec<f64>, usize) {
    let (mut events, mut lead) = (0, Vec::new());
    for m in &fleet.machines {
        let of: Vec<usize> = (0..p.len()).filter(|i| rows.machine[*i] == m.id).collect();
        let times: BTreeSet<u64> = m.failures.iter().map(|f| f.to_bits()).collect();
        for f in times.into_iter().map(f64::from_bits) {
            let before = |i: &&usize| rows.time[**i] < f && rows.time[**i] >= f - horizon_h * HOUR;
            let mut seen = of.iter().filter(before).peekable();
            if seen.peek().is_some() {
                events += 1;
                if let Some(first) = seen.find(|i| p[**i] >= 0.5) {
                    lead.push((f - rows.time[*first]) / HOUR);
                }
            }
        }
    }
    (lead, events)
}

/// Share of the machine-days before a failure among the most suspicious ones that the budget allows to inspect; one
/// look per machine and day, on natural rows where there are any.
pub(super) fn recall_at_budget(p: &[f64], rows: &Rows) -> f64 {
    let natural = rows.natural.contains(&true);
    let mut looks: BTreeMap<(u64, i64), usize> = BTreeMap::new();
    for i in (0..p.len()).filter(|i| rows.natural[*i] || !natural) {
        looks.insert((rows.machine[i], (rows.time[i] / 86_400.0) as i64), i);
    }
    let mut order: Vec<usize> = looks.into_values().collect();
    order.sort_by(|a, b| p[*b].total_cmp(&p[*a]).then(a.cmp(b)));
    let inspected = (order.len() as f64 * BUDGET).round() as usize;
    let hits = |of: &[usize]| of.iter().filter(|i| rows.y[**i]).count() as f64;
    hits(&order[..inspected]) / hits(&order).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_had_is_said_with_its_reason() {
        // Of 100 failing rows 80 are sure; the rest look like 60 rows that run on.
        let p: Vec<f64> = (0..1000)
            .map(|i| {
                if i < 80 {
                    0.95
                } else if i < 160 {
                    0.25
                } else {
                    0.001
                }
            })
            .collect();
        let y: Vec<bool> = (0..1000).map(|i| i < 100).collect();
        assert_eq!(recall_at_precision(&p, &y, 0.8), Some(0.8));
        let machines: Vec<u64> = (0..1000).map(|i| i % 40).collect();
        let found = doubtful(&p, &y, &machines, 0.9);
        assert_eq!(
            (found["rows"].as_u64(), found["failed"].as_f64()),
            (Some(80), Some(0.25)),
            "{found}"
        );
        assert_eq!(doubtful(&p, &vec![false; 1000], &machines, 0.9), Value::Null);
        let all = json!({
            "precision_at_recall_90": precision_at_recall(&p, &y, 0.9), "recall_at_precision_80": 0.8, "doubtful": found,
            "signal_before": [{ "hours_before": [0, 12], "said_at_least_half": 0.97 }, { "hours_before": [12, 24], "said_at_least_half": 0.6 }],
        });
        let why = why_not(&all).unwrap();
        assert!(
            why.contains(
                "80 rows whose probability is below one half (0.25 on average, and 0.25 of them failed, give or take 0."
            ) && why.contains("calibrated within what chance does") && why.contains("12 to 24 h before a failure only 60 %"),
            "{why}"
        );
        assert_eq!(why_not(&json!({ "precision_at_recall_90": 0.9 })), None);
        // Half of those failed of which a tenth was said to: nobody calls that calibrated.
        let p: Vec<f64> = p.iter().map(|p| if *p == 0.25 { 0.1 } else { *p }).collect();
        let y: Vec<bool> = (0..1000).map(|i| i < 120).collect();
        let found = doubtful(&p, &y, &machines, 0.9);
        assert_eq!(found["calibrated"], json!(false), "{found}");
        let mut all = all;
        all["doubtful"] = found;
        let why = why_not(&all).unwrap();
        assert!(why.contains("not calibrated: what was said is too low"), "{why}");
        // The same among the rows of two machines may be chance.
        let two: Vec<u64> = (0..1000).map(|i| u64::from(i >= 120)).collect();
        let found = doubtful(&p, &y, &two, 0.9);
        assert_eq!(
            (found["machines"].as_u64(), found["calibrated"].as_bool()),
            (Some(2), Some(true)),
            "{found}"
        );
    }
}

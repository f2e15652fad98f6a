//! Looks at one kind of model each: are its features distributed as in training, do its errors rise, do its intervals
//! hold what they say.

use std::collections::{BTreeMap, BTreeSet};

use models::id::AssetId;
use models::time::Timestamp;
use serde_json::{Map, Value, json};

use super::measure::{Shift, rises, shift};
use crate::learn::data::Rows;
use crate::learn::remaining::{RemainingModel, label};
use crate::learn::{FailureModel, Layout};
use crate::stats;

/// Above this a feature's distribution is another one (Siddiqi 2006).
pub const PSI_SHIFT: f64 = 0.25;
/// Share of the features that must have shifted, and the distance that counts.
const SHIFTED_SHARE: f64 = 0.1;
const KS_SHIFT: f64 = 0.2;
/// Fewest rows that say something about a distribution.
pub(super) const LEAST_ROWS: usize = 100;
/// Fewest runs whose intervals can be counted, and how much less than it says an interval may hold: with three runs
/// of a model that is right one in ten looks has less.
const LEAST_RUNS: usize = 3;
const LEAST_COVERAGE: f64 = 0.5;
/// A baseline doesn't fit any more when a channel's middle stands so many spreads away for this many rows, on this share
/// of the machines of a class and on two at least: one machine alone is a finding about that machine.
const AWAY: f64 = 3.0;
const AWAY_ROWS: usize = 48;
const AWAY_SHARE: f64 = 0.25;

/// What was seen of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub reasons: Vec<String>,
    pub shifts: Vec<Shift>,
    pub figures: Map<String, Value>,
}

/// Features since `since` against those of training: `sketch` has quantiles and `present` the share of rows, each by the
/// names of `layout`.
fn features(layout: &Layout, sketch: &[Vec<f32>], present: &[f32], rows: &Rows, since: Timestamp) -> Seen {
    let new: Vec<usize> = (0..rows.len()).filter(|row| rows.at[*row] >= since).collect();
    let (names, known) = (layout.names(), rows.layout.names());
    let column = |name: &String| -> Option<Vec<f64>> {
        let place = known.iter().position(|known| known == name)?;
        Some(new.iter().map(|row| rows.x[[*row, place]]).collect())
    };
    let mut seen = Seen::default();
    for (name, quantiles) in names.iter().zip(sketch) {
        if let Some((psi, ks)) = column(name).and_then(|now| shift(quantiles, &now)) {
            seen.shifts.push(Shift {
                name: name.clone(),
                psi,
                ks,
            });
        }
    }
    seen.shifts
        .sort_by(|a, b| b.psi.total_cmp(&a.psi).then_with(|| a.name.cmp(&b.name)));
    if new.len() < LEAST_ROWS {
        return seen;
    }
    let moved = seen
        .shifts
        .iter()
        .filter(|s| s.psi > PSI_SHIFT && s.ks > KS_SHIFT)
        .count();
    if moved as f64 > SHIFTED_SHARE * seen.shifts.len().max(1) as f64 {
        let worst: Vec<&str> = seen
            .shifts
            .iter()
            .take(3)
            .map(|shift| shift.name.as_str())
            .collect();
        seen.reasons.push(format!(
            "{moved} of {} features are distributed otherwise than in training, most of all {}",
            seen.shifts.len(),
            worst.join(", ")
        ));
    }
    let gone: Vec<&str> = names
        .iter()
        .zip(present)
        .filter(|(name, present)| {
            **present > 0.5 && column(name).is_none_or(|now| now.iter().all(|value| !value.is_finite()))
        })
        .map(|(name, _)| name.as_str())
        .collect();
    if !gone.is_empty() {
        seen.reasons.push(format!(
            "{} features are not there any more, such as {}",
            gone.len(),
            gone[0]
        ));
    }
    seen
}

/// Errors of rows, each with its time, as one number a day: rows of a day say one thing.
fn by_day(errors: impl Iterator<Item = (Timestamp, f64)>) -> Vec<f64> {
    let mut days: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for (at, error) in errors {
        let of_day = days.entry(at.micros().div_euclid(86_400_000_000)).or_default();
        of_day.0 += error;
        of_day.1 += 1.0;
    }
    days.values().map(|(sum, n)| sum / n).collect()
}

/// Probabilities of failing: rows since `since`, and for each horizon those whose horizon has ended since.
pub fn failures(model: &FailureModel, rows: &Rows, since: Timestamp) -> Seen {
    let mut seen = features(&model.layout, &model.sketch, &model.present, rows, since);
    if model.layout != rows.layout {
        return seen;
    }
    for horizon in &model.horizons {
        let ahead = f64::from(horizon.horizon_h) * 3600.0;
        let labelled = rows.labelled(f64::from(horizon.horizon_h));
        let places: Vec<usize> = (0..labelled.rows.len())
            .filter(|place| rows.at[labelled.rows[*place]].plus_seconds(ahead) >= since)
            .collect();
        if places.len() < LEAST_ROWS {
            continue;
        }
        let (mut squares, mut said, mut low, mut high) = (0.0, 0.0, 0.0, 0.0);
        let mut errors = Vec::with_capacity(places.len());
        for place in &places {
            let row = labelled.rows[*place];
            let p = horizon
                .calibration
                .probability(horizon.booster.predict_row(&rows.x.row(row).to_vec()));
            let error = (f64::from(u8::from(labelled.y[*place])) - p.0).abs();
            squares += error * error;
            // Over what is to be expected of a probability that is right.
            errors.push((rows.at[row], error - 2.0 * p.0 * (1.0 - p.0)));
            said += p.0;
            low += p.1;
            high += p.2;
        }
        let n = places.len() as f64;
        let failed: BTreeSet<_> = places
            .iter()
            .filter_map(|place| labelled.failure[*place])
            .collect();
        let rate = places.iter().filter(|place| labelled.y[**place]).count() as f64 / n;
        let rising = rises(&by_day(errors.into_iter()));
        seen.figures.insert(
            format!("{}h", horizon.horizon_h),
            json!({ "rows": places.len(), "failed": rate, "said": said / n, "said_low": low / n, "said_high": high / n,
                    "brier": squares / n, "page_hinkley": rising }),
        );
        if rising.is_some() {
            seen.reasons
                .push(format!("the errors within {} h are rising", horizon.horizon_h));
        }
        if failed.len() >= 3 && (rate < low / n || rate > high / n) {
            seen.reasons.push(format!(
                "within {} h {:.1} % failed where {:.1} to {:.1} % was said",
                horizon.horizon_h,
                rate * 100.0,
                low / n * 100.0,
                high / n * 100.0
            ));
        }
    }
    seen
}

/// Remaining life: the same, by hours that were left. The share of rows that the 80 % interval held is a mean over
/// runs, because rows of one run say one thing; Page and Hinkley's test sees the errors of a day.
pub fn lives(model: &RemainingModel, rows: &Rows, since: Timestamp) -> Seen {
    let mut seen = features(&model.layout, &model.sketch, &model.present, rows, since);
    if model.layout != rows.layout {
        return seen;
    }
    let labelled = label::label(rows, &label::ends(rows), model.cap_h);
    let mut runs: BTreeMap<(AssetId, Timestamp), (f64, f64)> = BTreeMap::new();
    let (mut errors, mut squares) = (Vec::new(), 0.0);
    for (place, row) in labelled.rows.iter().enumerate() {
        let left = labelled.left[place];
        if rows.at[*row].plus_seconds(left * 3600.0) < since {
            continue;
        }
        let predicted = model
            .booster
            .predict_row(&rows.x.row(*row).to_vec())
            .clamp(0.0, model.cap_h);
        squares += (predicted - left) * (predicted - left);
        errors.push((rows.at[*row], (predicted - left).abs()));
        if let (Some(run), Some([low, _, high])) =
            (labelled.run[place], model.errors.band(predicted, model.cap_h))
        {
            let of_run = runs.entry(run).or_default();
            of_run.0 += f64::from(u8::from(low <= left && left <= high));
            of_run.1 += 1.0;
        }
    }
    if errors.len() < LEAST_ROWS {
        return seen;
    }
    let n = errors.len();
    let rising = rises(&by_day(errors.into_iter()));
    let shares: Vec<f64> = runs.values().map(|(inside, n)| inside / n).collect();
    let held = (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64);
    seen.figures = Map::from_iter([
        ("rows".to_owned(), json!(n)),
        ("runs".to_owned(), json!(shares.len())),
        ("rmse_h".to_owned(), json!((squares / n as f64).sqrt())),
        ("coverage80".to_owned(), json!(held)),
        ("page_hinkley".to_owned(), json!(rising)),
    ]);
    if rising.is_some() {
        seen.reasons
            .push("the errors of remaining life are rising".to_owned());
    }
    if let Some(held) = held.filter(|held| shares.len() >= LEAST_RUNS && *held < LEAST_COVERAGE) {
        seen.reasons.push(format!(
            "intervals of remaining life that say 80 % held {:.0} % over the last {} runs to failure",
            held * 100.0,
            shares.len()
        ));
    }
    seen
}

/// Baselines, on which health and anomalies rest: machines whose channels have stood away from them since `since`.
pub fn baselines(rows: &Rows, since: Timestamp) -> Seen {
    let names = rows.layout.names();
    let channels: Vec<(usize, &str)> = names
        .iter()
        .enumerate()
        .filter_map(|(place, name)| Some((place, name.strip_suffix(".z_short")?)))
        .collect();
    let mut of: BTreeMap<AssetId, Vec<usize>> = BTreeMap::new();
    for row in (0..rows.len()).filter(|row| rows.at[*row] >= since) {
        of.entry(rows.asset[row]).or_default().push(row);
    }
    let failing: BTreeSet<AssetId> = rows
        .labels
        .iter()
        .filter(|label| label.at >= since)
        .map(|label| label.asset)
        .collect();
    let (mut machines, mut away) = (0, Vec::new());
    // A machine that failed had a reason to deviate.
    for (asset, own) in of.iter().filter(|(asset, _)| !failing.contains(*asset)) {
        let worst = channels
            .iter()
            .filter_map(|(place, channel)| {
                let z = stats::sorted(own.iter().map(|row| rows.x[[*row, *place]]));
                (z.len() >= AWAY_ROWS).then(|| (stats::quantile(&z, 0.5), *channel))
            })
            .max_by(|a, b| a.0.abs().total_cmp(&b.0.abs()));
        let Some((z, channel)) = worst else { continue };
        machines += 1;
        if z.abs() >= AWAY {
            away.push(json!({ "asset": asset, "channel": channel, "spreads": z }));
        }
    }
    let mut seen = Seen::default();
    if machines == 0 {
        return seen;
    }
    if away.len() >= 2 && away.len() as f64 >= AWAY_SHARE * f64::from(machines) {
        seen.reasons.push(format!(
            "{} of {machines} machines have stood more than {AWAY} spreads away from their baselines and none of them \
             failed: what is usual has changed, or the whole class has a common fault",
            away.len()
        ));
    }
    seen.figures = Map::from_iter([
        ("machines".to_owned(), json!(machines)),
        ("away".to_owned(), json!(away)),
    ]);
    seen
}

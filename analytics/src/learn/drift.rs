//! Drift: whether what is measured now still looks like what a model was trained on.
//!
//! Three looks. Features: the population stability index over the training set's deciles (above 0.25 is
//! usually called a shift) and the distance of Kolmogorov and Smirnov. Residuals: Page and Hinkley's test,
//! which adds up how far errors lie above their own mean and calls when the sum rises too far above its
//! lowest point. Intervals: how often what happened was inside an interval that said 80 %. Any of them
//! makes a proposal to train again, never a new model by itself.

use models::db::assessment::{self as db, NewDrift, TrainableClass};
use models::time::Timestamp;
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;

use super::{FailureModel, data};

/// Above this a feature's distribution is another one (Siddiqi 2006).
pub const PSI_SHIFT: f64 = 0.25;
/// Share of the features that must have shifted, and the distance that counts.
const SHIFTED_SHARE: f64 = 0.1;
const KS_SHIFT: f64 = 0.2;
/// Fewest rows that say something about a distribution.
const LEAST_ROWS: usize = 100;

/// One feature now against training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shift {
    pub name: String,
    pub psi: f64,
    pub ks: f64,
}

/// Population stability index and Kolmogorov-Smirnov distance of `now` against training quantiles in
/// steps of a twentieth. `None` without values on both sides.
pub fn shift(quantiles: &[f32], now: &[f64]) -> Option<(f64, f64)> {
    let values = crate::stats::sorted(now.iter().copied());
    if quantiles.len() != 21 || values.is_empty() {
        return None;
    }
    let n = values.len() as f64;
    let below = |edge: f64| values.partition_point(|value| *value <= edge) as f64 / n;
    // Deciles; equal edges (a feature with few values) fall together and so do their shares.
    let (mut psi, mut ks, mut expected, mut before) = (0.0, 0.0_f64, 0.0, 0.0);
    for place in 1..=20 {
        let edge = f64::from(quantiles[place]);
        if place < 20 && f64::from(quantiles[place + 1]) == edge {
            continue;
        }
        let share = place as f64 / 20.0;
        let own = if place == 20 { 1.0 } else { below(edge) };
        if place < 20 {
            ks = ks.max((own - share).abs());
        }
        if place % 2 == 0 || place == 20 {
            let (e, a) = ((share - expected).max(1e-4), (own - before).max(1e-4));
            psi += (a - e) * (a / e).ln();
            (expected, before) = (share, own);
        }
    }
    Some((psi, ks))
}

/// Page and Hinkley's test for a rise of the mean of errors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PageHinkley {
    n: f64,
    mean: f64,
    sum: f64,
    lowest: f64,
}

impl PageHinkley {
    /// The next error; returns how far the sum stands above its lowest point. `slack` is a rise that is
    /// tolerated.
    pub fn push(&mut self, error: f64, slack: f64) -> f64 {
        self.n += 1.0;
        self.mean += (error - self.mean) / self.n;
        self.sum += error - self.mean - slack;
        self.lowest = self.lowest.min(self.sum);
        self.sum - self.lowest
    }
}

/// Fewest errors in whose mean a rise can be told from chance.
const LEAST_ERRORS: usize = 14;

/// Errors in order of time, independent of each other: does their mean rise? In units of their spread.
pub fn rises(errors: &[f64]) -> Option<f64> {
    if errors.len() < LEAST_ERRORS {
        return None;
    }
    let spread = crate::stats::spread(errors.iter().copied())?;
    let sd = {
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        (errors.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / errors.len() as f64).sqrt()
    };
    let unit = sd.max(spread.scale).max(1e-6);
    let mut test = PageHinkley::default();
    let highest = errors
        .iter()
        .map(|error| test.push(error / unit, 0.25))
        .fold(0.0, f64::max);
    (highest > 10.0 + 0.02 * errors.len() as f64).then_some(highest)
}

/// What a look found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Look {
    pub tenant: String,
    pub class: String,
    pub rows: usize,
    pub retrain: bool,
    pub reasons: Vec<String>,
    pub shifts: Vec<Shift>,
    pub figures: serde_json::Value,
}

/// Compares rows with a model.
pub fn look(model: &FailureModel, rows: &data::Rows) -> (bool, Vec<String>, Vec<Shift>, serde_json::Value) {
    let mut reasons = Vec::new();
    let names = model.layout.names();
    let known = rows.layout.names();
    let mut shifts: Vec<Shift> = names
        .iter()
        .zip(&model.sketch)
        .filter_map(|(name, quantiles)| {
            let place = known.iter().position(|known| known == name)?;
            let (psi, ks) = shift(quantiles, &rows.x.column(place).to_vec())?;
            Some(Shift {
                name: name.clone(),
                psi,
                ks,
            })
        })
        .collect();
    shifts.sort_by(|a, b| b.psi.total_cmp(&a.psi).then_with(|| a.name.cmp(&b.name)));
    let moved = shifts
        .iter()
        .filter(|s| s.psi > PSI_SHIFT && s.ks > KS_SHIFT)
        .count();
    if rows.len() >= LEAST_ROWS && moved as f64 > SHIFTED_SHARE * shifts.len().max(1) as f64 {
        let worst: Vec<&str> = shifts.iter().take(3).map(|shift| shift.name.as_str()).collect();
        reasons.push(format!(
            "{moved} of {} features are distributed otherwise than in training, most of all {}",
            shifts.len(),
            worst.join(", ")
        ));
    }
    let gone: Vec<&str> = names
        .iter()
        .zip(&model.present)
        .filter(|(name, present)| {
            **present > 0.5
                && known
                    .iter()
                    .position(|known| known == *name)
                    .is_none_or(|place| rows.x.column(place).iter().all(|value| !value.is_finite()))
        })
        .map(|(name, _)| name.as_str())
        .collect();
    if !gone.is_empty() && rows.len() >= LEAST_ROWS {
        reasons.push(format!(
            "{} features are not there any more, such as {}",
            gone.len(),
            gone[0]
        ));
    }
    let mut figures = serde_json::Map::new();
    for horizon in &model.horizons {
        let labelled = rows.labelled(f64::from(horizon.horizon_h));
        if labelled.rows.len() < LEAST_ROWS || model.layout != rows.layout {
            continue;
        }
        let mut order: Vec<usize> = (0..labelled.rows.len()).collect();
        order.sort_by_key(|place| rows.at[labelled.rows[*place]]);
        let (mut squares, mut said, mut low, mut high) = (0.0, 0.0, 0.0, 0.0);
        let mut days: std::collections::BTreeMap<i64, (f64, f64)> = std::collections::BTreeMap::new();
        for place in &order {
            let row = rows.x.row(labelled.rows[*place]).to_vec();
            let p = horizon.calibration.probability(horizon.booster.predict_row(&row));
            let error = (f64::from(u8::from(labelled.y[*place])) - p.0).abs();
            squares += error * error;
            // Over what is to be expected of a probability that is right; rows of a day say one thing.
            let day = rows.at[labelled.rows[*place]].micros().div_euclid(86_400_000_000);
            let of_day = days.entry(day).or_default();
            of_day.0 += error - 2.0 * p.0 * (1.0 - p.0);
            of_day.1 += 1.0;
            said += p.0;
            low += p.1;
            high += p.2;
        }
        let n = order.len() as f64;
        let rate = labelled.y.iter().filter(|y| **y).count() as f64 / n;
        let brier = squares / n;
        let rising = rises(&days.values().map(|(sum, n)| sum / n).collect::<Vec<_>>());
        figures.insert(
            format!("{}h", horizon.horizon_h),
            json!({ "rows": order.len(), "failed": rate, "said": said / n, "said_low": low / n, "said_high": high / n,
                    "brier": brier, "page_hinkley": rising }),
        );
        if rising.is_some() {
            reasons.push(format!("the errors within {} h are rising", horizon.horizon_h));
        }
        if labelled.failures >= 3 && (rate < low / n || rate > high / n) {
            reasons.push(format!(
                "within {} h {:.1} % failed where {:.1} to {:.1} % was said",
                horizon.horizon_h,
                rate * 100.0,
                low / n * 100.0,
                high / n * 100.0
            ));
        }
    }
    shifts.truncate(50);
    (!reasons.is_empty(), reasons, shifts, figures.into())
}

/// Looks at every class that has a champion, stores what it found, and tells of proposals.
///
/// # Errors
/// When the database does, or a champion can't be read.
pub async fn run(pool: &PgPool, days: f64, now: Timestamp) -> anyhow::Result<Vec<Look>> {
    let classes = db::trainable_classes(&mut *pool.acquire().await?, &super::MODELS).await?;
    let mut looks = Vec::new();
    for class in classes {
        if let Some(look) = self::class(pool, &class, days, now).await? {
            looks.push(look);
        }
    }
    Ok(looks)
}

/// Looks at one class; `None` without a champion.
///
/// # Errors
/// As [`run`].
pub async fn class(
    pool: &PgPool,
    class: &TrainableClass,
    days: f64,
    now: Timestamp,
) -> anyhow::Result<Option<Look>> {
    let mut connection = pool.acquire().await?;
    let scope = class.class_id.to_string();
    let Some(champion) = db::champion(&mut connection, class.tenant_id, FailureModel::NAME, &scope).await?
    else {
        return Ok(None);
    };
    let model: FailureModel = champion.artifact.open()?;
    let from = now.plus_seconds(-days * 86_400.0);
    let rows = data::read(&mut connection, class.class_id, from, now).await?;
    drop(connection);
    let n = rows.len();
    let (retrain, reasons, shifts, figures) =
        tokio::task::spawn_blocking(move || look(&model, &rows)).await?;
    let mut transaction = pool.begin().await?;
    let drift = NewDrift {
        tenant: class.tenant_id,
        class: class.class_id,
        model: Some(champion.id),
        data: (from, now),
        rows: i64::try_from(n).unwrap_or(i64::MAX),
        retrain,
        reasons: json!(reasons),
        features: json!(shifts),
        figures: figures.clone(),
    };
    db::insert_drift(&mut transaction, &drift).await?;
    if retrain {
        let data = json!({ "class": class.name, "reasons": reasons });
        let subject = champion.id.to_string();
        models::db::outbox::append(
            &mut transaction,
            class.tenant_id,
            "model.retrain_proposed",
            &subject,
            None,
            &data,
        )
        .await?;
    }
    transaction.commit().await?;
    Ok(Some(Look {
        tenant: class.tenant.clone(),
        class: class.name.clone(),
        rows: n,
        retrain,
        reasons,
        shifts,
        figures,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    fn quantiles(values: &[f64]) -> Vec<f32> {
        let values = crate::stats::sorted(values.iter().copied());
        (0..=20)
            .map(|i| crate::stats::quantile(&values, f64::from(i) / 20.0) as f32)
            .collect()
    }

    #[test]
    fn a_shift_is_measured_and_the_same_distribution_is_none() {
        let train: Vec<f64> = (0..2000).map(noise).collect();
        let edges = quantiles(&train);
        let same: Vec<f64> = (5000..6000).map(noise).collect();
        let moved: Vec<f64> = same.iter().map(|v| v + 1.5).collect();
        let (psi, ks) = shift(&edges, &same).unwrap();
        assert!(psi < 0.05 && ks < 0.06, "{psi} {ks}");
        let (psi, ks) = shift(&edges, &moved).unwrap();
        assert!(psi > 1.0 && ks > 0.4, "{psi} {ks}");
        // A constant stays one, and a flag is no continuous number.
        let (psi, _) = shift(&quantiles(&[3.0; 50]), &[3.0; 70]).unwrap();
        assert_eq!(psi, 0.0);
        assert_eq!(shift(&[], &same), None);
        assert_eq!(shift(&edges, &[f64::NAN]), None);
    }

    #[test]
    fn page_and_hinkley_call_a_rise_and_not_noise() {
        let quiet: Vec<f64> = (0..1000).map(|i| noise(i).abs()).collect();
        assert_eq!(rises(&quiet), None);
        let rising: Vec<f64> = (0..1000)
            .map(|i| noise(i).abs() + if i > 600 { 1.5 } else { 0.0 })
            .collect();
        assert!(rises(&rising).is_some());
        assert_eq!(rises(&[]), None);
    }
}

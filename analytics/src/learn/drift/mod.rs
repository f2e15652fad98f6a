//! Drift: whether what is measured now still looks like what a model was trained on.
//!
//! Three measures. Features: the population stability index over the training set's deciles (above 0.25 is
//! usually called a shift) and the distance of Kolmogorov and Smirnov. Residuals: Page and Hinkley's test,
//! which adds up how far errors lie above their own mean and calls when the sum rises too far above its
//! lowest point. Intervals: how often what happened was inside an interval that said 80 %. Three looks: at the
//! class's failure model, at its model of remaining life, and at the baselines of its machines. Any of them
//! makes a proposal to train again, never a new model by itself.

mod look;
mod measure;

use models::db::assessment::{self as db, NewDrift, TrainableClass};
use models::time::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sqlx::PgPool;

use super::remaining::RemainingModel;
use super::store::{self, Stands};
use super::{FailureModel, data};

pub use look::{PSI_SHIFT, Seen, baselines, failures, lives};
pub use measure::{PageHinkley, Shift, rises, shift};

/// Features with the largest shifts that are kept.
const MOST_SHIFTS: usize = 50;

/// What a look found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Look {
    pub tenant: String,
    pub class: String,
    pub rows: usize,
    pub retrain: bool,
    pub reasons: Vec<String>,
    pub shifts: Vec<Shift>,
    pub figures: Value,
}

/// Looks at every class, stores what it found, and tells of proposals.
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

/// Looks at one class over the last `days`; `None` without a champion and with too few rows to judge baselines by.
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
    let failure: Option<Stands<FailureModel>> = store::champion(&mut connection, class).await?;
    let life: Option<Stands<RemainingModel>> = store::champion(&mut connection, class).await?;
    // What was said of the last days began a horizon before them.
    let ahead_h = failure
        .iter()
        .flat_map(|stands| &stands.model.horizons)
        .map(|horizon| f64::from(horizon.horizon_h))
        .chain(life.iter().map(|stands| stands.model.cap_h))
        .fold(0.0, f64::max);
    let since = now.plus_seconds(-days * 86_400.0);
    let from = since.plus_seconds(-ahead_h * 3600.0);
    let rows = data::read(&mut connection, class.class_id, from, now).await?;
    drop(connection);
    let n = rows.at.iter().filter(|at| **at >= since).count();
    if failure.is_none() && life.is_none() && n < look::LEAST_ROWS {
        return Ok(None);
    }
    let model = failure.as_ref().map(|f| f.id).or(life.as_ref().map(|l| l.id));
    let (reasons, mut shifts, figures) = tokio::task::spawn_blocking(move || {
        together(
            failure.as_ref().map(|f| &f.model),
            life.as_ref().map(|l| &l.model),
            &rows,
            since,
        )
    })
    .await?;
    shifts.truncate(MOST_SHIFTS);
    let retrain = !reasons.is_empty();
    let mut transaction = pool.begin().await?;
    let drift = NewDrift {
        tenant: class.tenant_id,
        class: class.class_id,
        model,
        data: (since, now),
        rows: i64::try_from(n).unwrap_or(i64::MAX),
        retrain,
        reasons: json!(reasons),
        features: json!(shifts),
        figures: figures.clone(),
    };
    db::insert_drift(&mut transaction, &drift).await?;
    if retrain {
        let data = json!({ "class": class.name, "reasons": reasons });
        let subject = model.map_or_else(|| class.class_id.to_string(), |id| id.to_string());
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

/// All looks at the rows of a class: reasons for a proposal, the largest shifts first, and the figures of each look.
pub fn together(
    failure: Option<&FailureModel>,
    life: Option<&RemainingModel>,
    rows: &data::Rows,
    since: Timestamp,
) -> (Vec<String>, Vec<Shift>, Value) {
    let looks = [
        failure.map(|model| (FailureModel::NAME, failures(model, rows, since))),
        life.map(|model| (RemainingModel::NAME, lives(model, rows, since))),
        Some(("baseline", baselines(rows, since))),
    ];
    let (mut reasons, mut shifts, mut figures) = (Vec::new(), Vec::<Shift>::new(), Map::new());
    for (name, seen) in looks.into_iter().flatten() {
        for reason in seen.reasons {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        for shift in seen.shifts {
            if !shifts.iter().any(|known| known.name == shift.name) {
                shifts.push(shift);
            }
        }
        figures.insert(name.to_owned(), Value::Object(seen.figures));
    }
    shifts.sort_by(|a, b| b.psi.total_cmp(&a.psi).then_with(|| a.name.cmp(&b.name)));
    (reasons, shifts, Value::Object(figures))
}

//! An assessment computed again from what its row names, and compared bit by bit.

use std::sync::Arc;

use anyhow::Context;
use models::artifact::Artifact;
use models::assessment::Assessment;
use models::db::assessment::{self as db, AssetFacts, NO_MODEL, Previous};
use models::id::{AssetId, ModelVersionId};
use models::time::Timestamp;
use serde::Serialize;
use sqlx::PgConnection;

use super::CODE_VERSION;
use super::cache::Memory;
use super::compute::{class_digest, compute};
use super::load::{self, Inputs, Model};
use crate::window;

/// What came of computing again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recomputed {
    /// Every field is the same, to the bit.
    pub same: bool,
    /// Fields that differ: name, stored, computed.
    pub differs: Vec<(String, serde_json::Value, serde_json::Value)>,
    /// What has changed since, where something differs: code, readings, what is known of the class.
    pub why: Vec<String>,
    pub window_end: Timestamp,
    pub code_version: String,
}

/// Computes the assessment of an asset whose window ended at `window_end` (or the newest) again, with the
/// model versions and the facts that its row names and the readings as they are now.
///
/// # Errors
/// No such row, one from before rows named their inputs, a model that is gone, a database that is away.
pub async fn recompute(
    connection: &mut PgConnection,
    asset: AssetId,
    window_end: Option<Timestamp>,
) -> anyhow::Result<Recomputed> {
    let stored = db::stored_assessment(connection, asset, window_end)
        .await?
        .with_context(|| match window_end {
            Some(at) => format!("{asset} has no assessment whose window ended at {at}"),
            None => format!("{asset} has no assessment"),
        })?;
    let inputs = stored
        .inputs
        .clone()
        .context("the row was written before rows named what they rest on: it can't be computed again")?;
    let facts: AssetFacts = serde_json::from_value(inputs["facts"].clone()).context("the row's facts")?;
    let memory = Memory::new(0);
    let mut class = load::class_facts(connection, &memory, &facts, stored.window_end).await?;
    let life_model = stored.life_model();
    if stored.failure_model != class.failure_model.as_ref().map(|(id, _)| *id)
        || life_model != class.life_model.as_ref().map(|(id, _)| *id)
    {
        class = Arc::new(load::ClassFacts {
            modes: class.modes.clone(),
            lives: class.lives.clone(),
            causes: class.causes.clone(),
            failure_model: by_id(connection, stored.failure_model, "failure model").await?,
            life_model: by_id(connection, life_model, "model of remaining life").await?,
        });
    }
    let channels = db::asset_channels(connection, asset).await?;
    let step_s = inputs["step_s"].as_i64().context("the row's step")?;
    let window = window::load(
        connection,
        &channels,
        stored.window_start,
        stored.window_end,
        step_s,
    )
    .await?;
    let model = if stored.model == NO_MODEL {
        Model::None
    } else {
        let baseline = load::baselines(connection, &memory, &[stored.model]).await?;
        let baseline = baseline.get(&stored.model).cloned();
        Model::Stored(
            stored.model,
            baseline.with_context(|| format!("the model {} is gone", stored.model))?,
        )
    };
    let mut why = Vec::new();
    if stored.code_version != CODE_VERSION {
        why.push(format!(
            "code {} computed it, this is {CODE_VERSION}",
            stored.code_version
        ));
    }
    if inputs["window"] != format!("{:016x}", window.digest()) {
        why.push("the readings of its window are others now: some came late or went".to_owned());
    }
    if inputs["class"] != format!("{:016x}", class_digest(&class)) {
        why.push("failures or failure modes of its class were recorded since".to_owned());
    }
    let again = Inputs {
        facts,
        class,
        model,
        window,
        newest: Vec::new(),
        rules: Vec::new(),
        previous: None::<Previous>,
        now: stored.assessed_at,
    };
    let computed = tokio::task::spawn_blocking(move || compute(again))
        .await??
        .assessment;
    let differs = differences(&stored, &computed)?;
    Ok(Recomputed {
        same: differs.is_empty(),
        why: if differs.is_empty() { Vec::new() } else { why },
        differs,
        window_end: stored.window_end,
        code_version: stored.code_version,
    })
}

/// The model that a row names.
async fn by_id<M: Artifact>(
    connection: &mut PgConnection,
    id: Option<ModelVersionId>,
    what: &str,
) -> anyhow::Result<Option<(ModelVersionId, M)>> {
    let Some(id) = id else { return Ok(None) };
    let found = db::models_by_id(connection, &[id]).await?.pop();
    let found = found.with_context(|| format!("the {what} {id} is gone"))?;
    let model = found
        .artifact
        .open()
        .with_context(|| format!("the {what} {id}"))?;
    Ok(Some((id, model)))
}

/// Fields as they are stored: JSON carries every bit of a number.
fn differences(
    stored: &Assessment,
    computed: &Assessment,
) -> anyhow::Result<Vec<(String, serde_json::Value, serde_json::Value)>> {
    let fields = |a: &Assessment| -> anyhow::Result<Vec<(&'static str, serde_json::Value)>> {
        Ok(vec![
            ("window_start", serde_json::to_value(a.window_start)?),
            ("health", serde_json::to_value(a.health)?),
            ("anomaly", serde_json::to_value(a.anomaly)?),
            ("coverage", serde_json::to_value(a.coverage)?),
            ("failure_mode", serde_json::to_value(a.failure_mode)?),
            ("p_fail", serde_json::to_value(&a.p_fail)?),
            ("rul", serde_json::to_value(a.rul)?),
            ("factors", serde_json::to_value(&a.factors)?),
            ("advice", serde_json::to_value(&a.advice)?),
            // What only the first pass could say about learning is not part of the result.
            (
                "notes",
                serde_json::to_value(
                    a.notes
                        .iter()
                        .filter(|note| !super::about_learning(note))
                        .collect::<Vec<_>>(),
                )?,
            ),
        ])
    };
    Ok(fields(stored)?
        .into_iter()
        .zip(fields(computed)?)
        .filter(|((_, a), (_, b))| a != b)
        .map(|((name, a), (_, b))| (name.to_owned(), a, b))
        .collect())
}

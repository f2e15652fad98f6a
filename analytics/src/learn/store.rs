//! A candidate becomes a version: stored with its card, refused where it leaks, promoted where it is better.

use anyhow::Context;
use models::artifact::{Artifact, Card, Envelope};
use models::db::assessment::{self as db, NewModel, TrainableClass};
use models::id::ModelVersionId;
use models::time::Timestamp;
use serde_json::{Map, Value, json};
use sqlx::{PgConnection, PgPool};

use super::data::Rows;
use super::leak::Leak;
use super::remaining::RemainingModel;
use super::train::{Args, Trained};
use super::{FailureModel, Layout};
use crate::assess::CODE_VERSION;

/// A model of a class, by its name among the versions.
pub trait ClassModel: Artifact {
    const NAME: &'static str;
}

impl ClassModel for FailureModel {
    const NAME: &'static str = Self::NAME;
}

impl ClassModel for RemainingModel {
    const NAME: &'static str = Self::NAME;
}

/// What is known of a candidate besides the model itself.
pub struct Judged {
    pub summary: &'static str,
    pub layout: Layout,
    /// Rows that it was learned from.
    pub rows: usize,
    pub leaks: Vec<Leak>,
    pub figures: Map<String, Value>,
    pub limits: Vec<String>,
    /// Why it must not stand: it tells no more than what is known without it.
    pub refused: Option<String>,
    /// Or why it shouldn't stand by itself.
    pub better: Result<(), String>,
}

/// A champion with its version and the end of its data.
pub struct Stands<M> {
    pub id: ModelVersionId,
    pub trained_to: Timestamp,
    pub model: M,
}

/// The champion of a class, if there is one.
///
/// # Errors
/// When the database does, or the champion can't be read.
pub async fn champion<M: ClassModel>(
    connection: &mut PgConnection,
    class: &TrainableClass,
) -> anyhow::Result<Option<Stands<M>>> {
    let scope = class.class_id.to_string();
    let Some(stored) = db::champion(connection, class.tenant_id, M::NAME, &scope).await? else {
        return Ok(None);
    };
    let model = stored
        .artifact
        .open()
        .with_context(|| format!("the champion of {}", M::NAME))?;
    Ok(Some(Stands {
        id: stored.id,
        trained_to: stored.trained_to,
        model,
    }))
}

/// There is no candidate.
pub fn none(class: &TrainableClass, rows: &Rows, name: &'static str, why: Vec<String>) -> Trained {
    Trained {
        tenant: class.tenant.clone(),
        class: class.name.clone(),
        name,
        rows: rows.len(),
        assets: rows.assets(),
        outcome: "too_few_failures",
        model: None,
        version: None,
        why,
        leaks: Vec::new(),
        figures: Value::Null,
        lives: Vec::new(),
    }
}

/// Stores a candidate as the next version and tells of it.
///
/// # Errors
/// When the database does.
pub async fn keep<M: ClassModel>(
    pool: &PgPool,
    class: &TrainableClass,
    rows: &Rows,
    model: &M,
    judged: Judged,
    args: Args,
) -> anyhow::Result<Trained> {
    let mut trained = none(class, rows, M::NAME, Vec::new());
    let times = rows.at.iter().min().zip(rows.at.iter().max());
    let (data_from, data_to) = times.context("a model of no rows")?;
    let against: Vec<String> = judged
        .leaks
        .iter()
        .map(|leak| leak.text.clone())
        .chain(judged.refused)
        .collect();
    let card = Card {
        summary: judged.summary.to_owned(),
        data_from: *data_from,
        data_to: *data_to,
        rows: judged.rows,
        features: judged.layout.names(),
        figures: judged.figures.clone(),
        limits: against
            .iter()
            .map(|why| format!("refused: {why}"))
            .chain(judged.limits)
            .collect(),
    };
    let scope = class.class_id.to_string();
    let new = NewModel {
        tenant: class.tenant_id,
        name: M::NAME,
        scope: &scope,
        artifact: &Envelope::seal(model)?,
        card: &card,
        code_version: CODE_VERSION,
    };
    trained.figures = Value::Object(judged.figures);
    trained.leaks = judged.leaks;
    let mut transaction = pool.begin().await?;
    let (id, version) = db::insert_candidate(&mut transaction, &new).await?;
    (trained.model, trained.version) = (Some(id), Some(version));
    let detail = json!({ "rows": judged.rows, "leaks": trained.leaks });
    db::add_model_event(&mut transaction, id, "trained", "analytics", &detail).await?;
    trained.outcome = if !against.is_empty() {
        trained.why.extend(against);
        "refused"
    } else if let Err(why) = judged.better {
        trained.why.push(why);
        "candidate"
    } else if args.promote {
        db::promote(&mut transaction, id, "analytics").await?;
        "promoted"
    } else {
        trained
            .why
            .push("it is better than what stands; promote it with `forewarn model promote`".to_owned());
        "candidate"
    };
    if trained.outcome == "refused" {
        let detail = json!({ "why": trained.why });
        db::add_model_event(&mut transaction, id, "refused", "analytics", &detail).await?;
    }
    let event =
        json!({ "class": class.name, "model": M::NAME, "version": version, "outcome": trained.outcome });
    let subject = id.to_string();
    models::db::outbox::append(
        &mut transaction,
        class.tenant_id,
        "model.trained",
        &subject,
        None,
        &event,
    )
    .await?;
    transaction.commit().await?;
    Ok(trained)
}

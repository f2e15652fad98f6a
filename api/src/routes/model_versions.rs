//! The models that assessments rest on.

use axum::Json;
use axum::response::Response;
use models::db::assessment::{self as db, PromoteError};
use models::db::overview;
use models::id::{AssetClassId, ModelVersionId};
use models::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Paging;
use super::keys::Empty;
use crate::error::{Kind, Problem};
use crate::extract::may::{AssetsRead, RulesWrite};
use crate::extract::{Answer, Command, Path, Query, Tenant};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(promote))
        .routes(routes!(roll_back))
        .routes(routes!(drift))
}

/// A trained or built-in model.
#[derive(Serialize, ToSchema)]
pub struct ModelVersion {
    id: ModelVersionId,
    #[schema(example = "baseline")]
    name: String,
    /// The asset or class it belongs to.
    scope: String,
    version: i32,
    /// `candidate`, `champion` or `retired`.
    status: String,
    /// Data window, features, figures, limits.
    card: Value,
    code_version: String,
    trained_from: Timestamp,
    trained_to: Timestamp,
    created_at: Timestamp,
}

/// Newest first.
#[utoipa::path(get, path = "/v1/models", operation_id = "list_models", tag = "assets", params(Paging),
    responses((status = 200, body = Page<ModelVersion>)), security(("bearer" = ["assets:read"])))]
async fn list(
    mut tenant: Tenant<AssetsRead>,
    Query(query): Query<Paging>,
) -> Result<Json<Page<ModelVersion>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after: Option<(Timestamp, ModelVersionId)> = page::read_cursor("models", query.cursor.as_deref())?;
    let rows = overview::models(tenant.db(), after, limit + 1).await?;
    Ok(Json(Page::of(
        "models",
        limit,
        rows,
        |row| (row.created_at, row.id),
        |row| ModelVersion {
            id: row.id,
            name: row.name,
            scope: row.scope,
            version: row.version,
            status: row.status,
            card: row.card,
            code_version: row.code_version,
            trained_from: row.trained_from,
            trained_to: row.trained_to,
            created_at: row.created_at,
        },
    )))
}

/// What happened to a model.
#[derive(Serialize, ToSchema)]
pub struct ModelEvent {
    at: Timestamp,
    /// `trained`, `promoted`, `rolled_back`, `retired` or `refused`.
    kind: String,
    by: String,
    detail: Value,
}

/// A model with its card and its history.
#[derive(Serialize, ToSchema)]
pub struct ModelCard {
    id: ModelVersionId,
    name: String,
    /// The asset or class it belongs to, and its name.
    scope: String,
    scope_name: Option<String>,
    version: i32,
    /// `candidate`, `champion` or `retired`.
    status: String,
    /// Data window, features, figures, limits.
    card: Value,
    code_version: String,
    trained_from: Timestamp,
    trained_to: Timestamp,
    created_at: Timestamp,
    promoted_at: Option<Timestamp>,
    /// Oldest first; members of one site see none.
    events: Vec<ModelEvent>,
}

async fn one(db: &mut PgConnection, id: ModelVersionId) -> Result<ModelCard, Problem> {
    let row = db::model_get(db, id).await?.ok_or_else(Problem::not_found)?;
    let events = db::model_events(db, id).await?;
    Ok(ModelCard {
        id: row.id,
        name: row.name,
        scope: row.scope,
        scope_name: row.scope_name,
        version: row.version,
        status: row.status,
        card: row.card.0,
        code_version: row.code_version,
        trained_from: row.trained_from,
        trained_to: row.trained_to,
        created_at: row.created_at,
        promoted_at: row.promoted_at,
        events: events
            .into_iter()
            .map(|event| ModelEvent {
                at: event.at,
                kind: event.kind,
                by: event.actor,
                detail: event.detail,
            })
            .collect(),
    })
}

/// One model: what it was learned from, how good it is, and what it can't do.
#[utoipa::path(get, path = "/v1/models/{id}", operation_id = "get_model", tag = "assets",
    params(("id" = ModelVersionId, Path)), responses((status = 200, body = ModelCard)),
    security(("bearer" = ["assets:read"])))]
async fn get(
    mut tenant: Tenant<AssetsRead>,
    Path(id): Path<ModelVersionId>,
) -> Result<Json<ModelCard>, Problem> {
    Ok(Json(one(tenant.db(), id).await?))
}

impl From<PromoteError> for Problem {
    fn from(error: PromoteError) -> Self {
        match error {
            PromoteError::NotFound => Self::not_found(),
            PromoteError::Database(error) => error.into(),
            refused => Self::new(Kind::Refused, refused.to_string()),
        }
    }
}

/// Use this version from now on; the one before retires.
#[utoipa::path(post, path = "/v1/models/{id}/promote", operation_id = "promote_model", tag = "assets",
    params(("id" = ModelVersionId, Path)), request_body(content = Empty, example = json!({})),
    responses((status = 200, body = ModelCard)), security(("bearer" = ["rules:write"])))]
async fn promote(
    Path(id): Path<ModelVersionId>,
    mut command: Command<RulesWrite, Empty>,
) -> Result<Response, Problem> {
    let by = command.principal().name();
    db::promote(command.db(), id, &by).await?;
    command
        .audit("model.promote", &id.to_string(), &json!({}))
        .await?;
    let shown = one(command.db(), id).await?;
    command.finish(Answer::ok(&shown)?).await
}

/// Take a champion back: the version that was used before is used again, and is the answer.
#[utoipa::path(post, path = "/v1/models/{id}/rollback", operation_id = "roll_back_model", tag = "assets",
    params(("id" = ModelVersionId, Path)), request_body(content = Empty, example = json!({})),
    responses((status = 200, body = ModelCard)), security(("bearer" = ["rules:write"])))]
async fn roll_back(
    Path(id): Path<ModelVersionId>,
    mut command: Command<RulesWrite, Empty>,
) -> Result<Response, Problem> {
    let by = command.principal().name();
    let before = db::roll_back(command.db(), id, &by).await?;
    command
        .audit("model.rollback", &id.to_string(), &json!({ "to": before }))
        .await?;
    let shown = one(command.db(), before).await?;
    command.finish(Answer::ok(&shown)?).await
}

/// The newest look at drift of a class of assets.
#[derive(Serialize, ToSchema)]
pub struct Drift {
    class_id: AssetClassId,
    class_name: String,
    model_id: Option<ModelVersionId>,
    at: Timestamp,
    data_from: Timestamp,
    data_to: Timestamp,
    rows: i64,
    /// A proposal to train again.
    retrain: bool,
    /// Why, in words.
    reasons: Value,
    /// Population stability index and Kolmogorov-Smirnov distance of each feature, worst first.
    features: Value,
    figures: Value,
}

/// Drift by class.
#[derive(Serialize, ToSchema)]
pub struct Drifts {
    data: Vec<Drift>,
}

/// Whether what is measured still looks like what the models were trained on.
#[utoipa::path(get, path = "/v1/drift", operation_id = "list_drift", tag = "assets",
    responses((status = 200, body = Drifts)), security(("bearer" = ["assets:read"])))]
async fn drift(mut tenant: Tenant<AssetsRead>) -> Result<Json<Drifts>, Problem> {
    let rows = db::drift_latest(tenant.db()).await?;
    let data = rows
        .into_iter()
        .map(|row| Drift {
            class_id: row.class_id,
            class_name: row.class_name,
            model_id: row.model_id,
            at: row.at,
            data_from: row.data_from,
            data_to: row.data_to,
            rows: row.rows,
            retrain: row.retrain,
            reasons: row.reasons,
            features: row.features,
            figures: row.figures,
        })
        .collect();
    Ok(Json(Drifts { data }))
}

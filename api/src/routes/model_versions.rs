//! The models that assessments rest on.

use axum::Json;
use models::db::overview;
use models::id::ModelVersionId;
use models::time::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Paging;
use crate::error::Problem;
use crate::extract::{Query, Tenant, may::AssetsRead};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
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

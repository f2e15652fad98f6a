//! What analytics concluded about an asset.

use axum::Json;
use models::assessment::{Advice, Factor, FailureProbability, RemainingLife};
use models::db::history::{self, AssessmentRow};
use models::db::overview;
use models::id::{AssetId, ModelVersionId};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{FailureModeRef, range};
use crate::error::{Kind, Problem};
use crate::extract::{Path, Query, Tenant, may::AssetsRead};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(latest)).routes(routes!(list))
}

#[derive(Serialize, ToSchema)]
pub struct ModelRef {
    id: ModelVersionId,
    name: String,
    version: i32,
}

/// One pass over an asset. The penalties of `factors` add up to `100 - health`.
#[derive(Serialize, ToSchema)]
pub struct Assessment {
    asset_id: AssetId,
    window_start: Timestamp,
    window_end: Timestamp,
    assessed_at: Timestamp,
    health: f64,
    /// 0 = like the baseline, 1 = at the alarm threshold.
    anomaly: Option<f64>,
    coverage: f64,
    freshness_s: f64,
    /// The likeliest one.
    failure_mode: Option<FailureModeRef>,
    p_fail: Vec<FailureProbability>,
    /// `null` = not known; `notes` says why.
    rul: Option<RemainingLife>,
    factors: Vec<Factor>,
    advice: Advice,
    notes: Vec<String>,
    model: ModelRef,
    code_version: String,
}

impl From<AssessmentRow> for Assessment {
    fn from(row: AssessmentRow) -> Self {
        Self {
            rul: row.rul(),
            asset_id: row.asset_id,
            window_start: row.window_start,
            window_end: row.window_end,
            assessed_at: row.assessed_at,
            health: row.health,
            anomaly: row.anomaly,
            coverage: row.coverage,
            freshness_s: row.freshness_s,
            failure_mode: FailureModeRef::maybe(
                row.failure_mode_id,
                row.failure_mode_code,
                row.failure_mode_name,
            ),
            p_fail: row.p_fail.0,
            factors: row.factors.0,
            advice: row.advice.0,
            notes: row.notes.0,
            model: ModelRef {
                id: row.model_version_id,
                name: row.model_name.unwrap_or_default(),
                version: row.model_version.unwrap_or_default(),
            },
            code_version: row.code_version,
        }
    }
}

/// The newest assessment of an asset.
#[utoipa::path(get, path = "/v1/assets/{id}/assessment", operation_id = "get_assessment", tag = "assets",
    params(("id" = AssetId, Path)), responses((status = 200, body = Assessment)),
    security(("bearer" = ["assets:read"])))]
async fn latest(
    mut tenant: Tenant<AssetsRead>,
    Path(id): Path<AssetId>,
) -> Result<Json<Assessment>, Problem> {
    overview::asset(tenant.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let rows = history::latest_assessments(tenant.db(), &[id]).await?;
    let row = rows.into_iter().next();
    Ok(Json(
        row.ok_or_else(|| Problem::new(Kind::NotFound, "the asset has not been assessed yet"))?
            .into(),
    ))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AssessmentQuery {
    /// RFC 3339 or seconds since 1970; 30 days before `to` when left out.
    from: Option<String>,
    /// Exclusive; now when left out.
    to: Option<String>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    cursor: Option<String>,
}

/// The assessments of an asset, newest first.
#[utoipa::path(get, path = "/v1/assets/{id}/assessments", operation_id = "list_assessments", tag = "assets",
    params(("id" = AssetId, Path), AssessmentQuery), responses((status = 200, body = Page<Assessment>)),
    security(("bearer" = ["assets:read"])))]
async fn list(
    mut tenant: Tenant<AssetsRead>,
    Path(id): Path<AssetId>,
    Query(query): Query<AssessmentQuery>,
) -> Result<Json<Page<Assessment>>, Problem> {
    let limit = page::limit(query.limit)?;
    let (from, mut to) = range(query.from.as_deref(), query.to.as_deref(), 30.0 * 86_400.0)?;
    let after: Option<Timestamp> = page::read_cursor("assessments", query.cursor.as_deref())?;
    if let Some(after) = after {
        to = to.min(after);
    }
    overview::asset(tenant.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let most = i32::try_from(limit + 1).unwrap_or(i32::MAX);
    let rows = history::assessments(tenant.db(), id, from, to, most).await?;
    Ok(Json(Page::of(
        "assessments",
        limit,
        rows,
        |row| row.window_end,
        Into::into,
    )))
}

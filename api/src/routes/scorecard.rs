//! How good the predictions were.

use axum::Json;
use models::db::prediction::{self, CardOf};
use models::id::AssetClassId;
use models::prediction::scorecard::Card;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Named, range};
use crate::error::Problem;
use crate::extract::may::CasesRead;
use crate::extract::{Query, Tenant};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(scorecard))
}

/// One model on one asset class.
#[derive(Serialize, ToSchema)]
pub struct ModelScore {
    /// Name of the model.
    model: String,
    asset_class: Named<AssetClassId>,
    #[serde(flatten)]
    card: Card,
}

impl From<CardOf> for ModelScore {
    fn from(of: CardOf) -> Self {
        Self {
            model: of.model,
            asset_class: Named::new(of.class, of.class_name),
            card: of.card,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct ScoreCards {
    data: Vec<ModelScore>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ScoreQuery {
    /// Predictions opened from this moment; a year before `to` when left out.
    from: Option<String>,
    /// Now when left out.
    to: Option<String>,
    asset_class_id: Option<AssetClassId>,
}

const YEAR_S: f64 = 365.0 * 86_400.0;

/// Precision, recall, lead time, calibration and the cost avoided, by model and asset class, from the
/// labels that closing tickets, people and failures gave. Where nothing is decided there is no number.
#[utoipa::path(get, path = "/v1/predictions/scorecard", operation_id = "prediction_scorecard", tag = "cases",
    params(ScoreQuery), responses((status = 200, body = ScoreCards)), security(("bearer" = ["cases:read"])))]
async fn scorecard(
    mut tenant: Tenant<CasesRead>,
    Query(query): Query<ScoreQuery>,
) -> Result<Json<ScoreCards>, Problem> {
    let (from, to) = range(query.from.as_deref(), query.to.as_deref(), YEAR_S)?;
    let cards = prediction::scorecards(tenant.db(), from, to, query.asset_class_id).await?;
    Ok(Json(ScoreCards {
        data: cards.into_iter().map(Into::into).collect(),
    }))
}

//! The first page's numbers.

use axum::Json;
use models::db::overview;
use models::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::session::TenantView;
use crate::error::Problem;
use crate::extract::{Tenant, may::AssetsRead};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get))
}

#[derive(Serialize, ToSchema)]
pub struct Overview {
    tenant: TenantView,
    counts: Counts,
    ingest: IngestToday,
    as_of: Timestamp,
}

/// Assets in service by health, and what waits for somebody.
#[derive(Serialize, ToSchema)]
pub struct Counts {
    assets: i64,
    /// Health of 80 and more.
    assets_healthy: i64,
    /// Health from 50 up to 80.
    assets_watch: i64,
    /// Health below 50.
    assets_poor: i64,
    alarms_active: i64,
    alarms_unacked: i64,
    cases_open: i64,
    tickets_open: i64,
    predictions_open: i64,
    plans_due: i64,
}

/// What came in since midnight, UTC.
#[derive(Serialize, ToSchema)]
pub struct IngestToday {
    readings_today: i64,
    /// Mean over the day's time of receipt.
    readings_per_s: f64,
    rejected_today: i64,
    duplicate_today: i64,
    last_received_at: Option<Timestamp>,
}

/// How the plant is, in numbers.
#[utoipa::path(get, path = "/v1/overview", operation_id = "get_overview", tag = "overview",
    responses((status = 200, body = Overview)), security(("bearer" = ["assets:read"])))]
async fn get(mut tenant: Tenant<AssetsRead>) -> Result<Json<Overview>, Problem> {
    let (id, slug, name) = overview::current_tenant(tenant.db()).await?;
    let counts = overview::counts(tenant.db()).await?;
    let ingest = overview::ingest_today(tenant.db()).await?;
    Ok(Json(Overview {
        tenant: TenantView { id, slug, name },
        counts: Counts {
            assets: counts.assets,
            assets_healthy: counts.assets_healthy,
            assets_watch: counts.assets_watch,
            assets_poor: counts.assets_poor,
            alarms_active: counts.alarms_active,
            alarms_unacked: counts.alarms_unacked,
            cases_open: counts.cases_open,
            tickets_open: counts.tickets_open,
            predictions_open: counts.predictions_open,
            plans_due: counts.plans_due,
        },
        ingest: IngestToday {
            readings_today: ingest.received,
            readings_per_s: ingest
                .span_s
                .filter(|span| *span >= 1.0)
                .map_or(0.0, |span| ingest.received as f64 / span),
            rejected_today: ingest.rejected,
            duplicate_today: ingest.duplicate,
            last_received_at: ingest.last_received_at,
        },
        as_of: Timestamp::now(),
    }))
}

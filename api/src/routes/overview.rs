//! The first page's numbers.

use std::collections::HashMap;

use axum::Json;
use models::asset::HealthGrade;
use models::db::overview::{self, AreaRow};
use models::health::RollUp;
use models::id::{AreaId, SiteId};
use models::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::rolled_up::{RollUps, RolledUp};
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
    /// By name.
    sites: Vec<SiteHealth>,
    ingest: IngestToday,
    as_of: Timestamp,
}

/// A site with all its assets as parts.
#[derive(Serialize, ToSchema)]
pub struct SiteHealth {
    id: SiteId,
    #[schema(example = "Port Alma")]
    name: String,
    rolled_up: RolledUp,
    areas: Vec<AreaHealth>,
}

/// An area with its assets as parts: those in it, and what belongs to them without an area of its own.
#[derive(Serialize, ToSchema)]
pub struct AreaHealth {
    id: AreaId,
    #[schema(example = "Cooling water")]
    name: String,
    rolled_up: RolledUp,
}

/// Assets in service by health, and what waits for somebody.
#[derive(Serialize, ToSchema)]
pub struct Counts {
    assets: i64,
    /// Own health of 80 and more.
    assets_healthy: i64,
    /// Own health from 50 up to 80.
    assets_watch: i64,
    /// Own health below 50.
    assets_poor: i64,
    /// The same by health together with parts.
    rolled_up_healthy: i64,
    rolled_up_watch: i64,
    rolled_up_poor: i64,
    /// Of those that aren't healthy so, how many are better than that by themselves: a part makes them so.
    rolled_up_by_part: i64,
    alarms_active: i64,
    alarms_unacked: i64,
    cases_open: i64,
    tickets_open: i64,
    predictions_open: i64,
    plans_due: i64,
}

/// Those of which nothing is known are in none.
#[derive(Default)]
struct Grades {
    healthy: i64,
    watch: i64,
    poor: i64,
    by_part: i64,
}

impl Grades {
    fn count(&mut self, grade: HealthGrade) {
        match grade {
            HealthGrade::Healthy => self.healthy += 1,
            HealthGrade::Watch => self.watch += 1,
            HealthGrade::Poor => self.poor += 1,
        }
    }
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
    let (sites, areas) = overview::sites(tenant.db()).await?;
    let roll_ups = RollUps::read(tenant.db(), None).await?;
    let (own, rolled_up) = grades(&roll_ups);
    let (of_sites, of_areas) = (roll_ups.tree().sites(), roll_ups.tree().areas());
    let sites = sites.into_iter().map(|site| SiteHealth {
        rolled_up: grouped(&roll_ups, &of_sites, site.id),
        areas: areas
            .iter()
            .filter(|area| area.site_id == site.id)
            .map(|AreaRow { id, name, .. }| AreaHealth {
                id: *id,
                name: name.clone(),
                rolled_up: grouped(&roll_ups, &of_areas, *id),
            })
            .collect(),
        id: site.id,
        name: site.name,
    });
    Ok(Json(Overview {
        tenant: TenantView { id, slug, name },
        counts: Counts {
            assets: counts.assets,
            assets_healthy: own.healthy,
            assets_watch: own.watch,
            assets_poor: own.poor,
            rolled_up_healthy: rolled_up.healthy,
            rolled_up_watch: rolled_up.watch,
            rolled_up_poor: rolled_up.poor,
            rolled_up_by_part: rolled_up.by_part,
            alarms_active: counts.alarms_active,
            alarms_unacked: counts.alarms_unacked,
            cases_open: counts.cases_open,
            tickets_open: counts.tickets_open,
            predictions_open: counts.predictions_open,
            plans_due: counts.plans_due,
        },
        sites: sites.collect(),
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

fn grouped<K: Eq + std::hash::Hash>(roll_ups: &RollUps, all: &HashMap<K, RollUp>, key: K) -> RolledUp {
    roll_ups.view(None, &all.get(&key).copied().unwrap_or_default())
}

/// Of the assets in service: by their own health, and together with their parts.
fn grades(roll_ups: &RollUps) -> (Grades, Grades) {
    let (mut own, mut rolled_up) = (Grades::default(), Grades::default());
    let in_service = roll_ups
        .tree()
        .nodes()
        .iter()
        .filter(|node| node.status.in_service());
    for (node, all) in in_service.filter_map(|node| Some((node, roll_ups.get(node.id)?))) {
        let alone = node.health.map(HealthGrade::of);
        if let Some(grade) = alone {
            own.count(grade);
        }
        if let Some(grade) = all.health().map(HealthGrade::of) {
            rolled_up.count(grade);
            rolled_up.by_part += i64::from(grade != HealthGrade::Healthy && alone != Some(grade));
        }
    }
    (own, rolled_up)
}

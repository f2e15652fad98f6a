//! Sites with their areas, and asset classes.

use axum::Json;
use models::db::overview;
use models::id::{AreaId, AssetClassId, SiteId};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Named, Paging};
use crate::error::Problem;
use crate::extract::{Query, Tenant, may::AssetsRead};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(classes))
}

#[derive(Serialize, ToSchema)]
pub struct Site {
    id: SiteId,
    name: String,
    /// IANA name.
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
    areas: Vec<Named<AreaId>>,
}

/// All sites, by name; always the whole list.
#[utoipa::path(get, path = "/v1/sites", operation_id = "list_sites", tag = "assets", params(Paging),
    responses((status = 200, body = Page<Site>)), security(("bearer" = ["assets:read"])))]
async fn list(
    mut tenant: Tenant<AssetsRead>,
    Query(query): Query<Paging>,
) -> Result<Json<Page<Site>>, Problem> {
    page::limit(query.limit)?;
    page::read_cursor::<String>("sites", query.cursor.as_deref())?;
    let (sites, areas) = overview::sites(tenant.db()).await?;
    let sites = sites.into_iter().map(|site| Site {
        areas: areas
            .iter()
            .filter(|area| area.site_id == site.id)
            .map(|area| Named::new(area.id, area.name.clone()))
            .collect(),
        id: site.id,
        name: site.name,
        time_zone: site.time_zone,
    });
    Ok(Json(Page::whole(sites.collect())))
}

/// All asset classes, by name; always the whole list.
#[utoipa::path(get, path = "/v1/asset-classes", operation_id = "list_asset_classes", tag = "assets",
    responses((status = 200, body = Page<Named<AssetClassId>>)), security(("bearer" = ["assets:read"])))]
async fn classes(mut tenant: Tenant<AssetsRead>) -> Result<Json<Page<Named<AssetClassId>>>, Problem> {
    let rows = overview::asset_classes(tenant.db()).await?;
    Ok(Json(Page::whole(
        rows.into_iter().map(|(id, name)| Named::new(id, name)).collect(),
    )))
}

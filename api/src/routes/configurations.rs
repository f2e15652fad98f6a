//! The configuration that a gateway's agent is wanted to run.

use axum::Json;
use axum::response::Response;
use models::db::gateway_configuration::{self as wanted, ConfigurationState, MAX_BYTES, Wanted};
use models::db::overview;
use models::id::GatewayId;
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::Problem;
use crate::extract::may::{IngestRead, IngestWrite};
use crate::extract::{Answer, Command, Path, Tenant};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get, put))
}

/// What is wanted of a gateway's agent, and what it says of it.
#[derive(Serialize, ToSchema)]
pub struct Configuration {
    /// What the agent calls it. `null` = nothing was ever wanted: the file on site counts.
    #[schema(example = "3-9f86d081")]
    version: Option<String>,
    /// TOML that goes over the file on site.
    #[schema(example = "[batch]\nmax_age_ms = 500\n")]
    config: Option<String>,
    wanted_at: Option<Timestamp>,
    wanted_by: Option<String>,
    /// `null` while the gateway hasn't been there, or doesn't listen (`remote.enabled` of its own file).
    sent_at: Option<Timestamp>,
    state: Option<ConfigurationState>,
    /// Why it was refused or taken back, in the agent's words.
    reason: Option<String>,
    reported_at: Option<Timestamp>,
}

async fn view(db: &mut PgConnection, id: GatewayId) -> Result<Configuration, Problem> {
    let found = overview::gateways(db, Some(id), None, 1).await?;
    found.first().ok_or_else(Problem::not_found)?;
    let wanted: Option<Wanted> = wanted::get(db, id).await?;
    let wanted = wanted.as_ref();
    Ok(Configuration {
        version: wanted.map(|wanted| wanted.version.clone()),
        config: wanted.map(|wanted| wanted.config.clone()),
        wanted_at: wanted.map(|wanted| wanted.wanted_at),
        wanted_by: wanted.map(|wanted| wanted.wanted_by.clone()),
        sent_at: wanted.and_then(|wanted| wanted.sent_at),
        state: wanted.map(|wanted| wanted.state),
        reason: wanted.and_then(|wanted| wanted.reason.clone()),
        reported_at: wanted.and_then(|wanted| wanted.reported_at),
    })
}

/// The configuration that a gateway's agent is wanted to run, and how that stands.
#[utoipa::path(get, path = "/v1/gateways/{id}/configuration", operation_id = "get_gateway_configuration",
    tag = "ingest", params(("id" = GatewayId, Path)), responses((status = 200, body = Configuration)),
    security(("bearer" = ["ingest:read"])))]
async fn get(
    mut tenant: Tenant<IngestRead>,
    Path(id): Path<GatewayId>,
) -> Result<Json<Configuration>, Problem> {
    Ok(Json(view(tenant.db(), id).await?))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewConfiguration {
    /// TOML that goes over the file on site: `collect` as a whole, `batch` and `uplink` key by key.
    #[schema(example = "[batch]\nmax_age_ms = 500\n")]
    config: String,
}

/// Send a gateway's agent another configuration. It tries it, and takes it back by itself when the link
/// doesn't return; `state` says what became of it.
#[utoipa::path(put, path = "/v1/gateways/{id}/configuration", operation_id = "set_gateway_configuration",
    tag = "ingest", params(("id" = GatewayId, Path)), request_body = NewConfiguration,
    responses((status = 200, body = Configuration)), security(("bearer" = ["ingest:write"])))]
async fn put(
    Path(id): Path<GatewayId>,
    mut command: Command<IngestWrite, NewConfiguration>,
) -> Result<Response, Problem> {
    let config = command.body.config.clone();
    if config.len() > MAX_BYTES || config.contains(char::from(0)) {
        return Err(Problem::field(
            "/config",
            format!("TOML of at most {MAX_BYTES} bytes"),
        ));
    }
    view(command.db(), id).await?;
    let by = command.principal().name();
    if !wanted::put(command.db(), id, &config, &by).await? {
        return Err(Problem::not_found());
    }
    let shown = view(command.db(), id).await?;
    command
        .audit(
            "gateway.configure",
            &id.to_string(),
            &json!({ "version": shown.version }),
        )
        .await?;
    command.finish(Answer::ok(&shown)?).await
}

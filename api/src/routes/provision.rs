//! How a gateway gets its first credential: a code that works once.

use std::net::SocketAddr;
use std::time::Instant;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use models::db::auth::{Secret, SecretKind};
use models::db::{overview, register, registry};
use models::id::{CredentialId, GatewayId};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::session::address;
use crate::error::{Kind, Problem};
use crate::extract::may::IngestWrite;
use crate::extract::{Answer, Body, Command, Path};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create_claim))
        .routes(routes!(provision))
}

/// A code is good for so long where nothing else is asked for, seconds.
const DEFAULT_LIFE_S: f64 = 7.0 * 86_400.0;

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedClaim {
    /// A week from now when left out.
    expires_at: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
pub struct Claim {
    /// Shown once; `null` when the request is repeated.
    #[schema(example = "fwc_51d0…")]
    code: Option<String>,
    expires_at: Timestamp,
}

/// Make a one-time claim code for whoever mounts the gateway.
#[utoipa::path(post, path = "/v1/gateways/{id}/claims", operation_id = "create_gateway_claim", tag = "ingest",
    params(("id" = GatewayId, Path)), request_body = WantedClaim, responses((status = 201, body = Claim)),
    security(("bearer" = ["ingest:write"])))]
async fn create_claim(
    Path(id): Path<GatewayId>,
    mut command: Command<IngestWrite, WantedClaim>,
) -> Result<Response, Problem> {
    if overview::gateways(command.db(), Some(id), None, 1)
        .await?
        .is_empty()
    {
        return Err(Problem::not_found());
    }
    let now = Timestamp::now();
    let expires_at = match command.body.expires_at {
        Some(at) if at <= now => return Err(Problem::field("/expires_at", "a moment in the future")),
        Some(at) => at,
        None => now.plus_seconds(DEFAULT_LIFE_S),
    };
    let tenant = command.principal().tenant;
    let code = Secret::generate(SecretKind::Claim);
    register::create_gateway_claim(command.db(), tenant, id, code.hash(), expires_at).await?;
    command
        .audit(
            "gateway.claim_create",
            &id.to_string(),
            &json!({ "expires_at": expires_at }),
        )
        .await?;
    let kept = Claim {
        code: None,
        expires_at,
    };
    let shown = Claim {
        code: Some(code.reveal().to_owned()),
        expires_at,
    };
    command
        .finish(Answer::created(format!("/v1/gateways/{id}/claims"), &shown)?.keep_instead(&kept)?)
        .await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Provision {
    #[schema(format = Password, example = "fwc_51d0…")]
    code: String,
}

#[derive(Serialize, ToSchema)]
pub struct Provisioned {
    gateway: GatewayId,
    /// For MQTT.
    #[schema(example = "demo/line-1")]
    username: String,
    /// Shown once.
    #[schema(example = "fwg_9c41…")]
    password: String,
}

/// Turn a claim code into the gateway's credential. The code is the only right that is needed, and is
/// used up by this.
#[utoipa::path(post, path = "/v1/provision", operation_id = "provision", tag = "ingest", request_body = Provision,
    responses((status = 201, body = Provisioned)))]
async fn provision(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Body(body): Body<Provision>,
) -> Result<(StatusCode, Json<Provisioned>), Problem> {
    app.addresses()
        .attempt(&address(&app, &headers, peer), Instant::now())
        .map_err(|seconds| {
            Problem::new(Kind::TooManyRequests, "too many codes from this address").after(seconds)
        })?;
    let code: [u8; 32] = Sha256::digest(body.code.trim().as_bytes()).into();
    let secret = Secret::generate(SecretKind::Gateway);
    let mut connection = app.pool().acquire().await?;
    let claimed =
        registry::claim_gateway(&mut connection, &code, CredentialId::new(), &secret.hash()).await?;
    let claimed = claimed.ok_or_else(|| {
        Problem::new(
            Kind::Refused,
            "there is no such code, or it was used, withdrawn or is too old: ask for a new one",
        )
    })?;
    let answer = Provisioned {
        gateway: claimed.gateway_id,
        username: format!("{}/{}", claimed.tenant_slug, claimed.gateway_slug),
        password: secret.reveal().to_owned(),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

//! Gateways and their credentials.

use axum::Json;
use axum::response::Response;
use models::db::auth::{Secret, SecretKind};
use models::db::overview::{self, CredentialRow, GatewayRow};
use models::db::register;
use models::db::registry::ClockBasis;
use models::id::{CredentialId, GatewayId, SiteId};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::keys::Empty;
use super::{Named, Paging};
use crate::error::{Kind, Problem};
use crate::extract::may::{IngestRead, IngestWrite};
use crate::extract::{Answer, Command, Path, Query, Tenant};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get))
        .routes(routes!(add_credential))
        .routes(routes!(revoke_credential))
}

#[derive(Serialize, ToSchema)]
pub struct Gateway {
    id: GatewayId,
    #[schema(example = "line-1")]
    slug: String,
    name: String,
    site: Named<SiteId>,
    enabled: bool,
    last_received_at: Option<Timestamp>,
    channels: i64,
    devices: i64,
}

impl From<GatewayRow> for Gateway {
    fn from(row: GatewayRow) -> Self {
        Self {
            id: row.id,
            slug: row.slug,
            name: row.name,
            site: Named::new(row.site_id, row.site_name),
            enabled: row.enabled,
            last_received_at: row.last_received_at,
            channels: row.channels,
            devices: row.devices,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct Credential {
    id: CredentialId,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
}

impl From<CredentialRow> for Credential {
    fn from(row: CredentialRow) -> Self {
        let CredentialRow {
            id,
            created_at,
            expires_at,
            revoked_at,
        } = row;
        Self {
            id,
            created_at,
            expires_at,
            revoked_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct GatewayDetail {
    #[serde(flatten)]
    gateway: Gateway,
    credentials: Vec<Credential>,
    /// `null` until the gateway has sent something with a time of its own.
    clock: Option<Clock>,
}

/// How far a gateway's own clock is off.
#[derive(Serialize, ToSchema)]
pub struct Clock {
    /// Seconds ahead of the server's clock, negative = behind; short of it by the fastest way of a message and,
    /// with the basis `reading`, by the age of the freshest reading.
    ahead_s: f64,
    measured_at: Timestamp,
    basis: ClockBasis,
}

/// How a gateway signs in to MQTT.
#[derive(Serialize, ToSchema)]
pub struct NewCredential {
    id: CredentialId,
    #[schema(example = "demo/line-1")]
    username: String,
    /// Shown once; `null` when the request is repeated.
    #[schema(example = "fwg_9c41…")]
    password: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct CreatedGateway {
    #[serde(flatten)]
    gateway: Gateway,
    credential: NewCredential,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGateway {
    /// Lower-case letters, digits and dashes; it stands in MQTT topics.
    #[schema(example = "line-1")]
    slug: String,
    #[schema(example = "Line 1")]
    name: String,
    site_id: SiteId,
}

/// The tenant's gateways, by slug.
#[utoipa::path(get, path = "/v1/gateways", operation_id = "list_gateways", tag = "ingest", params(Paging),
    responses((status = 200, body = Page<Gateway>)), security(("bearer" = ["ingest:read"])))]
async fn list(
    mut tenant: Tenant<IngestRead>,
    Query(query): Query<Paging>,
) -> Result<Json<Page<Gateway>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after: Option<String> = page::read_cursor("gateways", query.cursor.as_deref())?;
    let rows = overview::gateways(tenant.db(), None, after.as_deref(), limit + 1).await?;
    Ok(Json(Page::of(
        "gateways",
        limit,
        rows,
        |row| row.slug.clone(),
        Into::into,
    )))
}

async fn one(db: &mut PgConnection, id: GatewayId) -> Result<Gateway, Problem> {
    let rows = overview::gateways(db, Some(id), None, 1).await?;
    rows.into_iter()
        .next()
        .map(Into::into)
        .ok_or_else(Problem::not_found)
}

/// One gateway with its credentials.
#[utoipa::path(get, path = "/v1/gateways/{id}", operation_id = "get_gateway", tag = "ingest",
    params(("id" = GatewayId, Path)), responses((status = 200, body = GatewayDetail)),
    security(("bearer" = ["ingest:read"])))]
async fn get(
    mut tenant: Tenant<IngestRead>,
    Path(id): Path<GatewayId>,
) -> Result<Json<GatewayDetail>, Problem> {
    let gateway = one(tenant.db(), id).await?;
    let credentials = overview::credentials(tenant.db(), id)
        .await?
        .into_iter()
        .map(Into::into)
        .collect();
    let clock = register::gateway_clock(tenant.db(), id)
        .await?
        .map(|(ahead_us, measured_at, basis)| Clock {
            ahead_s: ahead_us as f64 / 1e6,
            measured_at,
            basis,
        });
    Ok(Json(GatewayDetail {
        gateway,
        credentials,
        clock,
    }))
}

fn is_slug(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len()) && !text.starts_with('-') && text.chars().all(inside) && text != "me"
}

/// Register a gateway; the answer holds its first credential.
#[utoipa::path(post, path = "/v1/gateways", operation_id = "create_gateway", tag = "ingest",
    request_body = NewGateway, responses((status = 201, body = CreatedGateway)),
    security(("bearer" = ["ingest:write"])))]
async fn create(mut command: Command<IngestWrite, NewGateway>) -> Result<Response, Problem> {
    if !is_slug(&command.body.slug) {
        return Err(Problem::field(
            "/slug",
            "1 to 63 lower-case letters, digits and dashes, not `me`",
        ));
    }
    let tenant = command.principal().tenant;
    let (slug, name, site) = (
        command.body.slug.clone(),
        command.body.name.clone(),
        command.body.site_id,
    );
    let new = register::NewGateway {
        tenant,
        site,
        slug: &slug,
        name: &name,
    };
    let id = register::create_gateway(command.db(), &new).await?;
    let secret = Secret::generate(SecretKind::Gateway);
    let credential =
        register::create_gateway_credential(command.db(), tenant, id, secret.hash(), None).await?;
    command
        .audit("gateway.create", &id.to_string(), &json!({ "slug": slug }))
        .await?;
    let (_, tenant_slug, _) = overview::current_tenant(command.db()).await?;
    let username = format!("{tenant_slug}/{slug}");
    let kept = CreatedGateway {
        gateway: one(command.db(), id).await?,
        credential: NewCredential {
            id: credential,
            username: username.clone(),
            password: None,
        },
    };
    let shown = CreatedGateway {
        gateway: one(command.db(), id).await?,
        credential: NewCredential {
            id: credential,
            username,
            password: Some(secret.reveal().to_owned()),
        },
    };
    command
        .finish(Answer::created(format!("/v1/gateways/{id}"), &shown)?.keep_instead(&kept)?)
        .await
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedCredential {
    expires_at: Option<Timestamp>,
    /// For a device that can't hold a long random secret: 12 characters or more. Left out = a random
    /// secret is made.
    #[schema(format = Password)]
    password: Option<String>,
    /// MQTT topic filters of the tenant that it may publish to beside the gateway's own topics.
    #[serde(default)]
    #[schema(example = json!(["fw/v1/demo/line-1/command/#"]))]
    publish_filters: Vec<String>,
    /// The same for subscribing.
    #[serde(default)]
    subscribe_filters: Vec<String>,
    /// All other credentials of the gateway end then: time enough to bring the new one to it.
    retire_others_at: Option<Timestamp>,
}

impl WantedCredential {
    fn check(&self) -> Result<(), Problem> {
        let now = Timestamp::now();
        for (pointer, at) in [
            ("/expires_at", self.expires_at),
            ("/retire_others_at", self.retire_others_at),
        ] {
            if at.is_some_and(|at| at <= now) {
                return Err(Problem::field(pointer, "a moment in the future"));
            }
        }
        let length = self
            .password
            .as_ref()
            .map_or(12, |password| password.chars().count());
        if !(12..=256).contains(&length) {
            return Err(Problem::field("/password", "12 to 256 characters"));
        }
        for (pointer, filters) in [
            ("/publish_filters", &self.publish_filters),
            ("/subscribe_filters", &self.subscribe_filters),
        ] {
            let good = |filter: &String| filter.len() <= 1024 && models::wire::is_filter(filter);
            if filters.len() > 32 || !filters.iter().all(good) {
                return Err(Problem::field(pointer, "at most 32 MQTT topic filters"));
            }
        }
        Ok(())
    }
}

/// Add a credential; the older ones stay valid until they are revoked.
#[utoipa::path(post, path = "/v1/gateways/{id}/credentials", operation_id = "create_gateway_credential",
    tag = "ingest", params(("id" = GatewayId, Path)), request_body = WantedCredential,
    responses((status = 201, body = NewCredential)), security(("bearer" = ["ingest:write"])))]
async fn add_credential(
    Path(id): Path<GatewayId>,
    mut command: Command<IngestWrite, WantedCredential>,
) -> Result<Response, Problem> {
    let gateway = one(command.db(), id).await?;
    command.body.check()?;
    let tenant = command.principal().tenant;
    let (secret, chosen) = match command.body.password.clone() {
        Some(password) => {
            let secret = Secret::given(password.clone());
            // Some tens of milliseconds by intention: not on a thread that serves others.
            let hashed = tokio::task::spawn_blocking(move || crate::auth::password::hash(&password)).await;
            let hash = hashed
                .map_err(anyhow::Error::from)
                .and_then(|hashed| hashed)
                .map_err(|error| {
                    tracing::error!(error = format!("{error:#}"), "a password can't be hashed");
                    Problem::new(Kind::Internal, "the password can't be kept")
                })?;
            (secret, Some(hash))
        }
        None => (Secret::generate(SecretKind::Gateway), None),
    };
    let new = register::NewGatewayCredential {
        secret_hash: chosen.is_none().then(|| secret.hash()),
        password_hash: chosen,
        publish_filters: command.body.publish_filters.clone(),
        subscribe_filters: command.body.subscribe_filters.clone(),
        expires_at: command.body.expires_at,
    };
    let credential = register::add_gateway_credential(command.db(), tenant, id, &new).await?;
    if let Some(at) = command.body.retire_others_at {
        register::retire_other_credentials(command.db(), id, credential, at).await?;
    }
    command
        .audit(
            "gateway.credential_create",
            &credential.to_string(),
            &json!({
                "gateway": id,
                "publish_filters": new.publish_filters,
                "subscribe_filters": new.subscribe_filters,
            }),
        )
        .await?;
    let (_, tenant_slug, _) = overview::current_tenant(command.db()).await?;
    let username = format!("{tenant_slug}/{}", gateway.slug);
    let kept = NewCredential {
        id: credential,
        username: username.clone(),
        password: None,
    };
    let shown = NewCredential {
        id: credential,
        username,
        password: Some(secret.reveal().to_owned()),
    };
    let location = format!("/v1/gateways/{id}/credentials/{credential}");
    command
        .finish(Answer::created(location, &shown)?.keep_instead(&kept)?)
        .await
}

/// Revoke a credential; open connections that used it are closed within a minute.
#[utoipa::path(delete, path = "/v1/gateways/{id}/credentials/{credential_id}",
    operation_id = "revoke_gateway_credential", tag = "ingest",
    params(("id" = GatewayId, Path), ("credential_id" = CredentialId, Path)), responses((status = 204)),
    security(("bearer" = ["ingest:write"])))]
async fn revoke_credential(
    Path((id, credential)): Path<(GatewayId, CredentialId)>,
    mut command: Command<IngestWrite, Empty>,
) -> Result<Response, Problem> {
    if !register::revoke_gateway_credential(command.db(), id, credential).await? {
        return Err(Problem::new(
            Kind::NotFound,
            "there is no such credential, or it is revoked",
        ));
    }
    command
        .audit(
            "gateway.credential_revoke",
            &credential.to_string(),
            &json!({ "gateway": id }),
        )
        .await?;
    command.finish(Answer::empty()).await
}

#[cfg(test)]
mod tests {
    use super::is_slug;

    #[test]
    fn slugs_are_what_a_topic_can_hold() {
        for good in ["a", "line-1", "0x"] {
            assert!(is_slug(good), "{good}");
        }
        for bad in ["", "me", "-a", "A", "a/b", "a+", "ä", &"x".repeat(64)] {
            assert!(!is_slug(bad), "{bad}");
        }
    }
}

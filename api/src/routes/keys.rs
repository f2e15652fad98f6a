//! API keys: for programs. The secret is shown once.

use axum::Json;
use axum::response::Response;
use models::db::auth::{Secret, SecretKind};
use models::db::overview::{self, KeyRow};
use models::db::register;
use models::id::{ApiKeyId, UserId};
use models::tenant::Permission;
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Paging;
use crate::error::{Kind, Problem};
use crate::extract::may::{KeysRead, KeysWrite};
use crate::extract::{Answer, Command, Path, Query, Tenant};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(revoke))
}

#[derive(Serialize, ToSchema)]
pub struct ApiKey {
    id: ApiKeyId,
    name: String,
    scopes: Vec<String>,
    created_by: Option<UserId>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
}

impl From<KeyRow> for ApiKey {
    fn from(row: KeyRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            scopes: row.scopes,
            created_by: row.created_by,
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            last_used_at: row.last_used_at,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    #[schema(example = "nightly export")]
    name: String,
    /// Permissions, of which the maker must have each.
    #[schema(example = json!(["assets:read", "alarms:read"]))]
    scopes: Vec<String>,
    expires_at: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
pub struct CreatedApiKey {
    id: ApiKeyId,
    name: String,
    scopes: Vec<String>,
    expires_at: Option<Timestamp>,
    /// Shown once; `null` when the request is repeated.
    #[schema(example = "fwk_1f0c…")]
    secret: Option<String>,
}

/// The tenant's keys, newest first.
#[utoipa::path(get, path = "/v1/api-keys", operation_id = "list_api_keys", tag = "keys", params(Paging),
    responses((status = 200, body = Page<ApiKey>)), security(("bearer" = ["keys:read"])))]
async fn list(
    mut tenant: Tenant<KeysRead>,
    Query(query): Query<Paging>,
) -> Result<Json<Page<ApiKey>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after = page::read_cursor("api_keys", query.cursor.as_deref())?;
    let rows = overview::api_keys(tenant.db(), after, limit + 1).await?;
    Ok(Json(Page::of("api_keys", limit, rows, |row| row.id, Into::into)))
}

/// Make a key.
#[utoipa::path(post, path = "/v1/api-keys", operation_id = "create_api_key", tag = "keys", request_body = NewApiKey,
    responses((status = 201, body = CreatedApiKey)), security(("bearer" = ["keys:write"])))]
async fn create(mut command: Command<KeysWrite, NewApiKey>) -> Result<Response, Problem> {
    let name = command.body.name.trim().to_owned();
    if name.is_empty() {
        return Err(Problem::field("/name", "a key needs a name"));
    }
    let mut scopes: Vec<Permission> = Vec::new();
    for (index, text) in command.body.scopes.iter().enumerate() {
        let scope: Permission = text
            .parse()
            .map_err(|error| Problem::field(format!("/scopes/{index}"), format!("{error}")))?;
        // Nobody makes a key that may more than he may.
        command.principal().require(scope)?;
        scopes.push(scope);
    }
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.is_empty() {
        return Err(Problem::field("/scopes", "a key needs at least one permission"));
    }
    let expires_at = command.body.expires_at;
    if expires_at.is_some_and(|at| at <= Timestamp::now()) {
        return Err(Problem::field("/expires_at", "a moment in the future"));
    }
    let secret = Secret::generate(SecretKind::ApiKey);
    let new = register::NewApiKey {
        tenant: command.principal().tenant,
        name: &name,
        secret_hash: secret.hash(),
        scopes: &scopes,
        created_by: command.principal().user(),
        expires_at,
    };
    let id = register::create_api_key(command.db(), &new).await?;
    let scopes: Vec<String> = scopes.iter().map(ToString::to_string).collect();
    command
        .audit(
            "api_key.create",
            &id.to_string(),
            &json!({ "name": name, "scopes": scopes }),
        )
        .await?;
    let kept = CreatedApiKey {
        id,
        name: name.clone(),
        scopes: scopes.clone(),
        expires_at,
        secret: None,
    };
    let shown = CreatedApiKey {
        id,
        name,
        scopes,
        expires_at,
        secret: Some(secret.reveal().to_owned()),
    };
    command
        .finish(Answer::created(format!("/v1/api-keys/{id}"), &shown)?.keep_instead(&kept)?)
        .await
}

/// Revoke a key; it stops working at once.
#[utoipa::path(delete, path = "/v1/api-keys/{id}", operation_id = "revoke_api_key", tag = "keys",
    params(("id" = ApiKeyId, Path)), responses((status = 204)), security(("bearer" = ["keys:write"])))]
async fn revoke(
    Path(id): Path<ApiKeyId>,
    mut command: Command<KeysWrite, Empty>,
) -> Result<Response, Problem> {
    if !overview::revoke_api_key(command.db(), id).await? {
        return Err(Problem::new(Kind::NotFound, "there is no such key"));
    }
    command
        .audit("api_key.revoke", &id.to_string(), &json!({}))
        .await?;
    command.finish(Answer::empty()).await
}

/// An order that needs no words.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

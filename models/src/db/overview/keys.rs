//! API keys without their secrets, and the model versions in use.

use serde_json::Value;
use sqlx::PgConnection;

use crate::id::{ApiKeyId, ModelVersionId, UserId};
use crate::time::Timestamp;

#[derive(Clone, Debug, sqlx::FromRow)]
pub struct KeyRow {
    pub id: ApiKeyId,
    pub name: String,
    pub scopes: Vec<String>,
    pub created_by: Option<UserId>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
}

/// Newest first, after the id of `after`.
///
/// # Errors
/// When the database does.
pub async fn api_keys(
    connection: &mut PgConnection,
    after: Option<ApiKeyId>,
    limit: i64,
) -> Result<Vec<KeyRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, name, scopes, created_by, created_at, expires_at, revoked_at, last_used_at FROM api_key
         WHERE ($1::uuid IS NULL OR id < $1) ORDER BY id DESC LIMIT $2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// Whether there was such a key. Revoking twice changes nothing.
///
/// # Errors
/// When the database does.
pub async fn revoke_api_key(connection: &mut PgConnection, id: ApiKeyId) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("UPDATE api_key SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1")
        .bind(id)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// A trained or built-in model, without its parameters.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ModelRow {
    pub id: ModelVersionId,
    pub name: String,
    pub scope: String,
    pub version: i32,
    pub status: String,
    pub card: Value,
    pub code_version: String,
    pub trained_from: Timestamp,
    pub trained_to: Timestamp,
    pub created_at: Timestamp,
}

/// Newest first, after the moment and id of `after`.
///
/// # Errors
/// When the database does.
pub async fn models(
    connection: &mut PgConnection,
    after: Option<(Timestamp, ModelVersionId)>,
    limit: i64,
) -> Result<Vec<ModelRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, name, scope, version, status, card, code_version, trained_from, trained_to, created_at
         FROM model_version WHERE ($1::timestamptz IS NULL OR (created_at, id) < ($1, $2))
         ORDER BY created_at DESC, id DESC LIMIT $3",
    )
    .bind(after.map(|(at, _)| at))
    .bind(after.map(|(_, id)| id))
    .bind(limit)
    .fetch_all(connection)
    .await
}

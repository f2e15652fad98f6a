//! Model versions: stored, used, promoted, rolled back.

use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::Result;
use crate::artifact::{Card, Envelope};
use crate::id::{AssetClassId, AssetId, ModelVersionId, TenantId};
use crate::time::Timestamp;

/// A stored model.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct StoredModel {
    pub id: ModelVersionId,
    pub version: i32,
    pub artifact: Json<Envelope>,
    pub trained_from: Timestamp,
    pub trained_to: Timestamp,
}

/// The model in use for a scope (an asset's or a class's id).
///
/// # Errors
/// When the database does, or the row holds no envelope.
pub async fn champion(
    connection: &mut PgConnection,
    tenant: TenantId,
    name: &str,
    scope: &str,
) -> Result<Option<StoredModel>> {
    sqlx::query_as(
        "SELECT id, version, artifact, trained_from, trained_to FROM model_version
         WHERE tenant_id = $1 AND name = $2 AND scope = $3 AND status = 'champion'",
    )
    .bind(tenant)
    .bind(name)
    .bind(scope)
    .fetch_optional(connection)
    .await
}

/// The champions' ids of several scopes of a kind of model: (tenant, scope) each. Scopes without one
/// are left out.
///
/// # Errors
/// When the database does.
pub async fn champion_ids(
    connection: &mut PgConnection,
    name: &str,
    scopes: &[(TenantId, String)],
) -> Result<Vec<(String, ModelVersionId)>> {
    sqlx::query_as(
        "SELECT m.scope, m.id FROM unnest($2::uuid[], $3::text[]) AS w (tenant, scope)
         JOIN model_version m ON m.tenant_id = w.tenant AND m.name = $1 AND m.scope = w.scope AND m.status = 'champion'",
    )
    .bind(name)
    .bind(scopes.iter().map(|(tenant, _)| *tenant).collect::<Vec<_>>())
    .bind(scopes.iter().map(|(_, scope)| scope.as_str()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await
}

/// Several models by id.
///
/// # Errors
/// When the database does, or a row holds no envelope.
pub async fn models_by_id(connection: &mut PgConnection, ids: &[ModelVersionId]) -> Result<Vec<StoredModel>> {
    sqlx::query_as(
        "SELECT id, version, artifact, trained_from, trained_to FROM model_version WHERE id = ANY ($1)",
    )
    .bind(ids)
    .fetch_all(connection)
    .await
}

/// The champions of a class's assets but one, newest first, at most `limit`.
///
/// # Errors
/// When the database does, or a row holds no envelope.
pub async fn class_models(
    connection: &mut PgConnection,
    class: AssetClassId,
    except: AssetId,
    name: &str,
    limit: i64,
) -> Result<Vec<(AssetId, Json<Envelope>)>> {
    sqlx::query_as(
        "SELECT a.id, m.artifact FROM asset a
         JOIN model_version m ON m.tenant_id = a.tenant_id AND m.name = $3 AND m.status = 'champion'
             AND m.scope = 'ast_' || replace(a.id::text, '-', '')
         WHERE a.class_id = $1 AND a.id <> $2
         ORDER BY m.created_at DESC, m.id LIMIT $4",
    )
    .bind(class)
    .bind(except)
    .bind(name)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// A model about to be stored.
#[derive(Clone, Debug)]
pub struct NewModel<'a> {
    pub tenant: TenantId,
    pub name: &'a str,
    pub scope: &'a str,
    pub artifact: &'a Envelope,
    pub card: &'a Card,
    pub code_version: &'a str,
}

/// Stores a model as the next version, a candidate that nothing uses yet.
///
/// # Errors
/// When the database does, or another process stored the same version first.
pub async fn insert_candidate(
    connection: &mut PgConnection,
    model: &NewModel<'_>,
) -> Result<(ModelVersionId, i32)> {
    sqlx::query_as(
        "INSERT INTO model_version
             (id, tenant_id, name, scope, version, status, artifact, card, code_version, trained_from, trained_to)
         SELECT $1, $2, $3, $4, 1 + coalesce(max(version), 0), 'candidate', $5, $6, $7, $8, $9
         FROM model_version WHERE tenant_id = $2 AND name = $3 AND scope = $4
         RETURNING id, version",
    )
    .bind(ModelVersionId::new())
    .bind(model.tenant)
    .bind(model.name)
    .bind(model.scope)
    .bind(Json(model.artifact))
    .bind(Json(model.card))
    .bind(model.code_version)
    .bind(model.card.data_from)
    .bind(model.card.data_to)
    .fetch_one(connection)
    .await
}

/// Stores a model as the next version and the champion; the one before retires.
///
/// # Errors
/// When the database does, or another process stored the same version first.
pub async fn insert_champion(
    connection: &mut PgConnection,
    model: &NewModel<'_>,
) -> Result<(ModelVersionId, i32)> {
    let (id, version) = insert_candidate(connection, model).await?;
    crown(connection, id).await?;
    Ok((id, version))
}

/// Makes a version the champion of its name and scope; the one before retires.
async fn crown(connection: &mut PgConnection, id: ModelVersionId) -> Result<()> {
    sqlx::query(
        "UPDATE model_version o SET status = 'retired' FROM model_version n
         WHERE n.id = $1 AND o.tenant_id = n.tenant_id AND o.name = n.name AND o.scope = n.scope
           AND o.status = 'champion' AND o.id <> n.id",
    )
    .bind(id)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE model_version SET status = 'champion', promoted_at = clock_timestamp() WHERE id = $1",
    )
    .bind(id)
    .execute(connection)
    .await?;
    Ok(())
}

/// A version as people see it.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct ModelRow {
    pub id: ModelVersionId,
    pub tenant_id: Option<TenantId>,
    pub name: String,
    pub scope: String,
    /// Name of the asset or class that the scope is.
    pub scope_name: Option<String>,
    pub version: i32,
    pub status: String,
    pub card: Json<serde_json::Value>,
    pub code_version: String,
    pub trained_from: Timestamp,
    pub trained_to: Timestamp,
    pub created_at: Timestamp,
    pub promoted_at: Option<Timestamp>,
}

macro_rules! model_row {
    ($rest:literal) => {
        concat!(
            "SELECT m.id, m.tenant_id, m.name, m.scope, coalesce(a.name, c.name) AS scope_name, m.version, m.status, m.card,
                    m.code_version, m.trained_from, m.trained_to, m.created_at, m.promoted_at
             FROM model_version m
             LEFT JOIN asset a ON m.scope = 'ast_' || replace(a.id::text, '-', '')
             LEFT JOIN asset_class c ON m.scope = 'cls_' || replace(c.id::text, '-', '') ",
            $rest
        )
    };
}

/// Versions by name (all: `None`), newest first, at most `limit`.
///
/// # Errors
/// When the database does.
pub async fn model_list(
    connection: &mut PgConnection,
    name: Option<&str>,
    status: Option<&str>,
    limit: i64,
) -> Result<Vec<ModelRow>> {
    sqlx::query_as(model_row!(
        "WHERE ($1::text IS NULL OR m.name = $1) AND ($2::text IS NULL OR m.status = $2)
         ORDER BY m.created_at DESC, m.id DESC LIMIT $3"
    ))
    .bind(name)
    .bind(status)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// # Errors
/// When the database does.
pub async fn model_get(connection: &mut PgConnection, id: ModelVersionId) -> Result<Option<ModelRow>> {
    sqlx::query_as(model_row!("WHERE m.id = $1"))
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// What happened to a version, oldest first.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct ModelEvent {
    pub id: i64,
    pub at: Timestamp,
    pub kind: String,
    pub actor: String,
    pub detail: serde_json::Value,
}

/// # Errors
/// When the database does.
pub async fn model_events(connection: &mut PgConnection, id: ModelVersionId) -> Result<Vec<ModelEvent>> {
    sqlx::query_as("SELECT id, at, kind, actor, detail FROM model_event WHERE model_id = $1 ORDER BY id")
        .bind(id)
        .fetch_all(connection)
        .await
}

/// Notes what happened to a version.
///
/// # Errors
/// When the database does.
pub async fn add_model_event(
    connection: &mut PgConnection,
    id: ModelVersionId,
    kind: &str,
    actor: &str,
    detail: &serde_json::Value,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO model_event (tenant_id, model_id, kind, actor, detail)
         SELECT tenant_id, id, $2, $3, $4 FROM model_version WHERE id = $1 AND tenant_id IS NOT NULL",
    )
    .bind(id)
    .bind(kind)
    .bind(actor)
    .bind(detail)
    .execute(connection)
    .await?;
    Ok(())
}

/// Why a version can't become the champion.
#[derive(Debug, thiserror::Error)]
pub enum PromoteError {
    #[error("there is no model version with this id")]
    NotFound,
    #[error("it is the champion already")]
    IsChampion,
    #[error("it is built in and belongs to everybody")]
    BuiltIn,
    #[error("no version was the champion before it: there is nothing to roll back to")]
    NothingBefore,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Makes a version the champion, by `actor`. The one before retires and can be rolled back to.
///
/// # Errors
/// As [`PromoteError`] says.
pub async fn promote(
    connection: &mut PgConnection,
    id: ModelVersionId,
    actor: &str,
) -> std::result::Result<(), PromoteError> {
    let found: Option<(Option<TenantId>, String)> =
        sqlx::query_as("SELECT tenant_id, status FROM model_version WHERE id = $1 FOR UPDATE")
            .bind(id)
            .fetch_optional(&mut *connection)
            .await?;
    match found {
        None => return Err(PromoteError::NotFound),
        Some((None, _)) => return Err(PromoteError::BuiltIn),
        Some((_, status)) if status == "champion" => return Err(PromoteError::IsChampion),
        Some(_) => {}
    }
    crown(connection, id).await?;
    add_model_event(connection, id, "promoted", actor, &serde_json::json!({})).await?;
    Ok(())
}

/// Takes the champion `id` back: the version that was the champion before it becomes so again. Returns
/// that one.
///
/// # Errors
/// As [`PromoteError`] says.
pub async fn roll_back(
    connection: &mut PgConnection,
    id: ModelVersionId,
    actor: &str,
) -> std::result::Result<ModelVersionId, PromoteError> {
    let before: Option<Option<ModelVersionId>> = sqlx::query_scalar(
        "SELECT (SELECT o.id FROM model_version o
                 WHERE o.tenant_id = m.tenant_id AND o.name = m.name AND o.scope = m.scope AND o.id <> m.id
                   AND o.status = 'retired' AND o.promoted_at < m.promoted_at
                 ORDER BY o.promoted_at DESC LIMIT 1)
         FROM model_version m WHERE m.id = $1 AND m.status = 'champion'",
    )
    .bind(id)
    .fetch_optional(&mut *connection)
    .await?;
    let before = before
        .ok_or(PromoteError::NotFound)?
        .ok_or(PromoteError::NothingBefore)?;
    sqlx::query("UPDATE model_version SET status = 'retired' WHERE id = $1")
        .bind(id)
        .execute(&mut *connection)
        .await?;
    // Its own promotion stays where it was in time, so that a second rollback goes further back.
    sqlx::query("UPDATE model_version SET status = 'champion' WHERE id = $1")
        .bind(before)
        .execute(&mut *connection)
        .await?;
    let detail = serde_json::json!({ "from": id, "to": before });
    add_model_event(connection, id, "rolled_back", actor, &detail).await?;
    add_model_event(connection, before, "promoted", actor, &detail).await?;
    Ok(before)
}

/// What stands for the model where there is none yet. Built in, hence without a tenant.
pub const NO_MODEL: ModelVersionId =
    ModelVersionId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));

/// Makes sure that [`NO_MODEL`] has its row.
///
/// # Errors
/// When the database does.
pub async fn ensure_no_model(connection: &mut PgConnection, code_version: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO model_version
             (id, tenant_id, name, scope, version, status, artifact, card, code_version, trained_from, trained_to)
         VALUES ($1, NULL, 'baseline', 'none', 1, 'champion', '{}',
                 '{\"summary\": \"no baseline yet: only life data, usage and alarms are judged\"}', $2, 'epoch', 'epoch')
         ON CONFLICT DO NOTHING",
    )
    .bind(NO_MODEL)
    .bind(code_version)
    .execute(connection)
    .await?;
    Ok(())
}

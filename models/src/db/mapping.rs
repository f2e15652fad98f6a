//! Which codec reads a gateway's topics, and how: one document per gateway.

use sqlx::PgConnection;
use sqlx::types::Json;

use crate::id::GatewayId;
use crate::mapping::Mapping;
use crate::time::Timestamp;

/// The mappings of those of `gateways` that have one.
///
/// # Errors
/// When the database does.
pub async fn of(
    connection: &mut PgConnection,
    gateways: &[GatewayId],
) -> Result<Vec<(GatewayId, Mapping)>, sqlx::Error> {
    let rows: Vec<(GatewayId, Json<Mapping>)> =
        sqlx::query_as("SELECT gateway_id, mapping FROM gateway_mapping WHERE gateway_id = ANY ($1)")
            .bind(gateways)
            .fetch_all(connection)
            .await?;
    Ok(rows
        .into_iter()
        .map(|(gateway, mapping)| (gateway, mapping.0))
        .collect())
}

/// A saved mapping.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Saved {
    pub mapping: Json<Mapping>,
    pub updated_at: Timestamp,
    pub updated_by: String,
}

/// # Errors
/// When the database does.
pub async fn get(connection: &mut PgConnection, gateway: GatewayId) -> Result<Option<Saved>, sqlx::Error> {
    sqlx::query_as("SELECT mapping, updated_at, updated_by FROM gateway_mapping WHERE gateway_id = $1")
        .bind(gateway)
        .fetch_optional(connection)
        .await
}

/// Saves the mapping of a gateway, which must be visible to the caller's tenant. `false`: it isn't.
///
/// # Errors
/// When the database does.
pub async fn put(
    connection: &mut PgConnection,
    gateway: GatewayId,
    mapping: &Mapping,
    by: &str,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "INSERT INTO gateway_mapping (gateway_id, tenant_id, mapping, updated_by)
         SELECT g.id, g.tenant_id, $2, $3 FROM gateway g WHERE g.id = $1
         ON CONFLICT (gateway_id) DO UPDATE
            SET mapping = excluded.mapping, updated_by = excluded.updated_by, updated_at = now()",
    )
    .bind(gateway)
    .bind(Json(mapping))
    .bind(by)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

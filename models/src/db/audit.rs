//! What people and programs did. Append only.

use serde_json::Value;
use sqlx::PgConnection;

use crate::id::TenantId;

/// Notes that `actor` (`usr_…`, `key_…`) did `action` (`asset.create`) to `subject` (a prefixed id).
///
/// # Errors
/// When the database does.
pub async fn record(
    connection: &mut PgConnection,
    tenant: TenantId,
    actor: &str,
    action: &str,
    subject: &str,
    detail: &Value,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO audit_event (tenant_id, actor, action, subject, detail) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(tenant)
    .bind(actor)
    .bind(action)
    .bind(subject)
    .bind(detail)
    .execute(connection)
    .await?;
    Ok(())
}

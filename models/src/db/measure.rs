//! SQL of `forewarn bench dispatch`: rules on and off, and what came of its causes.

use sqlx::PgConnection;

use crate::id::AssetId;

/// Switches every rule on or off.
///
/// # Errors
/// When the database does.
pub async fn enable_rules(connection: &mut PgConnection, enabled: bool) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE alarm_rule SET enabled = $1, row_version = row_version + 1 WHERE enabled <> $1")
        .bind(enabled)
        .execute(connection)
        .await?;
    Ok(())
}

/// How many rules are on.
///
/// # Errors
/// When the database does.
pub async fn rules(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT count(*) FROM alarm_rule WHERE enabled")
        .fetch_one(connection)
        .await
}

/// Alarms and tickets of some assets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Caused {
    /// Alarms that have been active.
    pub alarms: i64,
    /// Assets with one.
    pub alarmed: i64,
    pub tickets: i64,
    /// Assets with one.
    pub ticketed: i64,
}

/// # Errors
/// When the database does.
pub async fn caused(connection: &mut PgConnection, assets: &[AssetId]) -> Result<Caused, sqlx::Error> {
    sqlx::query_as(
        "SELECT a.*, t.* FROM
             (SELECT count(*) AS alarms, count(DISTINCT asset_id) AS alarmed FROM alarm
              WHERE asset_id = ANY ($1) AND active_at IS NOT NULL) a,
             (SELECT count(*) AS tickets, count(DISTINCT asset_id) AS ticketed FROM ticket WHERE asset_id = ANY ($1)) t",
    )
    .bind(assets)
    .fetch_one(connection)
    .await
}

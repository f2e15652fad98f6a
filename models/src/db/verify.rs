//! What a measurement or a trial asks a database of its own. Nothing here is for a running service.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::id::GatewayId;
use crate::time::Timestamp;

/// Folder of the server's programs, and of its data. Needs a superuser.
///
/// # Errors
/// When the database does.
pub async fn server_folders(connection: &mut PgConnection) -> Result<(String, String), sqlx::Error> {
    sqlx::query_as(
        "SELECT (SELECT setting FROM pg_config WHERE name = 'BINDIR'), current_setting('data_directory')",
    )
    .fetch_one(connection)
    .await
}

/// # Errors
/// When the database does.
pub async fn create_database(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE \"{name}\"")))
        .execute(connection)
        .await?;
    Ok(())
}

/// The ledger of all gateways and days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct LedgerSums {
    pub received: i64,
    pub stored: i64,
    pub duplicate: i64,
    pub conflict: i64,
    pub rejected: i64,
}

impl LedgerSums {
    pub fn closes(&self) -> bool {
        self.received == self.stored + self.duplicate + self.conflict + self.rejected
    }
}

/// # Errors
/// When the database does.
pub async fn ledger_sums(connection: &mut PgConnection) -> Result<LedgerSums, sqlx::Error> {
    sqlx::query_as(
        "SELECT coalesce(sum(received), 0)::int8 AS received, coalesce(sum(stored), 0)::int8 AS stored,
                coalesce(sum(duplicate), 0)::int8 AS duplicate, coalesce(sum(conflict), 0)::int8 AS conflict,
                coalesce(sum(rejected), 0)::int8 AS rejected
         FROM ledger",
    )
    .fetch_one(connection)
    .await
}

/// Time in microseconds, channel and value of every reading of a gateway.
///
/// # Errors
/// When the database does.
pub async fn readings_of(
    connection: &mut PgConnection,
    gateway: GatewayId,
) -> Result<Vec<(i64, String, f64)>, sqlx::Error> {
    let rows: Vec<(Timestamp, String, f64)> = sqlx::query_as(
        "SELECT r.ts, c.name, r.value
         FROM device d JOIN channel c ON c.device_id = d.id JOIN reading r ON r.channel_id = c.id
         WHERE d.gateway_id = $1",
    )
    .bind(gateway)
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(ts, channel, value)| (ts.micros(), channel, value))
        .collect())
}

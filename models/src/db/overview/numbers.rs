//! The counts of the first page.

use sqlx::PgConnection;

use crate::time::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Counts {
    pub assets: i64,
    pub alarms_active: i64,
    pub alarms_unacked: i64,
    pub cases_open: i64,
    pub tickets_open: i64,
    pub predictions_open: i64,
    pub plans_due: i64,
}

/// Counts what is in service and what waits for somebody. How healthy they are: [`super::health_tree`].
///
/// # Errors
/// When the database does.
pub async fn counts(connection: &mut PgConnection) -> Result<Counts, sqlx::Error> {
    sqlx::query_as(
        "SELECT (SELECT count(*) FROM asset WHERE status NOT IN ('in_storage', 'disposed')) AS assets,
                (SELECT count(*) FROM alarm WHERE condition IN ('active', 'clearing')) AS alarms_active,
                (SELECT count(*) FROM alarm
                 WHERE active_at IS NOT NULL AND acked_at IS NULL AND closed_at IS NULL) AS alarms_unacked,
                (SELECT count(*) FROM case_file WHERE closed_at IS NULL) AS cases_open,
                (SELECT count(*) FROM ticket WHERE status NOT IN ('completed', 'closed', 'cancelled')) AS tickets_open,
                (SELECT count(*) FROM prediction WHERE status IN ('new', 'in_review', 'snoozed')) AS predictions_open,
                (SELECT count(*) FROM plan_occurrence WHERE status IN ('due', 'ticketed')) AS plans_due",
    )
    .fetch_one(connection)
    .await
}

/// What came in today (UTC) over all gateways.
#[derive(Clone, Copy, Debug, PartialEq, sqlx::FromRow)]
pub struct IngestToday {
    pub received: i64,
    pub duplicate: i64,
    pub rejected: i64,
    /// Seconds between the first and the last receipt of the day.
    pub span_s: Option<f64>,
    pub last_received_at: Option<Timestamp>,
}

/// # Errors
/// When the database does.
pub async fn ingest_today(connection: &mut PgConnection) -> Result<IngestToday, sqlx::Error> {
    sqlx::query_as(
        "SELECT coalesce(sum(received) FILTER (WHERE today), 0)::bigint AS received,
                coalesce(sum(duplicate) FILTER (WHERE today), 0)::bigint AS duplicate,
                coalesce(sum(rejected) FILTER (WHERE today), 0)::bigint AS rejected,
                extract(epoch FROM max(last_at) FILTER (WHERE today) - min(first_at) FILTER (WHERE today))::float8 AS span_s,
                max(last_at) AS last_received_at
         FROM (SELECT *, day = (now() AT TIME ZONE 'UTC')::date AS today FROM ledger) l",
    )
    .fetch_one(connection)
    .await
}

/// Id, slug and name of the tenant that the transaction acts for.
///
/// # Errors
/// When the database does.
pub async fn current_tenant(
    connection: &mut PgConnection,
) -> Result<(crate::id::TenantId, String, String), sqlx::Error> {
    sqlx::query_as("SELECT id, slug, name FROM tenant WHERE id = current_tenant()")
        .fetch_one(connection)
        .await
}

/// Whether an event is still kept.
///
/// # Errors
/// When the database does.
pub async fn outbox_has(connection: &mut PgConnection, id: i64) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM outbox WHERE id = $1)")
        .bind(id)
        .fetch_one(connection)
        .await
}

/// Version of the newest migration that was applied, 0 when there is none.
///
/// # Errors
/// When the database does.
pub async fn schema_version(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT schema_version()")
        .fetch_one(connection)
        .await
}

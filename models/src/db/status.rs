//! SQL of `forewarn status`: what the whole installation holds, all tenants together.

use serde::Serialize;
use sqlx::PgConnection;

use crate::time::Timestamp;

/// Counts over all tenants. Readings come from the ledger, which is exact and costs nothing to add up.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Status {
    pub tenants: i64,
    pub assets: i64,
    pub channels: i64,
    pub readings_received: i64,
    pub readings_stored: i64,
    pub readings_duplicate: i64,
    pub readings_conflict: i64,
    pub readings_rejected: i64,
    pub dead_letters_open: i64,
    pub gaps_open: i64,
    pub last_received_at: Option<Timestamp>,
    /// Assets with at least one assessment.
    pub assets_assessed: i64,
    /// Age of the oldest assessment that is overdue, seconds; 0 = none is.
    pub assessment_overdue_s: f64,
    pub alarms_active: i64,
    pub cases_open: i64,
    pub tickets: i64,
    pub tickets_open: i64,
    pub predictions_open: i64,
    pub occurrences: i64,
    pub decisions: i64,
}

/// # Errors
/// When the database does, or the role may not see all tenants.
pub async fn status(connection: &mut PgConnection) -> Result<Status, sqlx::Error> {
    sqlx::query_as(
        "SELECT
            (SELECT count(*) FROM tenant) AS tenants,
            (SELECT count(*) FROM asset) AS assets,
            (SELECT count(*) FROM channel) AS channels,
            coalesce(l.received, 0) AS readings_received,
            coalesce(l.stored, 0) AS readings_stored,
            coalesce(l.duplicate, 0) AS readings_duplicate,
            coalesce(l.conflict, 0) AS readings_conflict,
            coalesce(l.rejected, 0) AS readings_rejected,
            l.last_at AS last_received_at,
            (SELECT count(*) FROM dead_letter WHERE replayed_at IS NULL AND discarded_at IS NULL) AS dead_letters_open,
            (SELECT count(*) FROM sequence_gap WHERE closed_at IS NULL) AS gaps_open,
            (SELECT count(*) FROM assessment_schedule WHERE last_at IS NOT NULL) AS assets_assessed,
            (SELECT coalesce(greatest(extract(epoch FROM now() - min(due_at)), 0), 0)::float8 FROM assessment_schedule)
                AS assessment_overdue_s,
            (SELECT count(*) FROM alarm WHERE condition IN ('active', 'clearing')) AS alarms_active,
            (SELECT count(*) FROM case_file WHERE closed_at IS NULL) AS cases_open,
            (SELECT count(*) FROM ticket) AS tickets,
            (SELECT count(*) FROM ticket WHERE status NOT IN ('completed', 'closed', 'cancelled')) AS tickets_open,
            (SELECT count(*) FROM prediction WHERE status IN ('new', 'in_review', 'snoozed')) AS predictions_open,
            (SELECT count(*) FROM plan_occurrence) AS occurrences,
            (SELECT count(*) FROM dispatch_decision) AS decisions
         FROM (SELECT sum(received)::int8 AS received, sum(stored)::int8 AS stored, sum(duplicate)::int8 AS duplicate,
                      sum(conflict)::int8 AS conflict, sum(rejected)::int8 AS rejected, max(last_at) AS last_at
               FROM ledger) l",
    )
    .fetch_one(connection)
    .await
}

//! What lists of plans and tickets need beside their own rows.

use sqlx::PgConnection;

use crate::db::dispatch::DecisionRow;
use crate::id::{CaseId, OccurrenceId, PlanId, TicketId};
use crate::plan::{Day, OccurrenceStatus};

/// The occurrence of a plan that waits to be done.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct OpenOccurrence {
    pub plan_id: PlanId,
    pub id: OccurrenceId,
    pub sequence: i32,
    pub status: OccurrenceStatus,
    pub due_date: Day,
    pub ticket_id: Option<TicketId>,
}

/// The oldest open occurrence of each of these plans that has one.
///
/// # Errors
/// When the database does.
pub async fn open_occurrences(
    connection: &mut PgConnection,
    plans: &[PlanId],
) -> Result<Vec<OpenOccurrence>, sqlx::Error> {
    sqlx::query_as(
        "SELECT DISTINCT ON (plan_id) plan_id, id, sequence, status, due_date, ticket_id FROM plan_occurrence
         WHERE plan_id = ANY ($1) AND status IN ('due', 'ticketed') ORDER BY plan_id, sequence",
    )
    .bind(plans)
    .fetch_all(connection)
    .await
}

/// Why a ticket was made; `None` when a person made it.
///
/// # Errors
/// When the database does.
pub async fn decision_of_ticket(
    connection: &mut PgConnection,
    ticket: TicketId,
) -> Result<Option<DecisionRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, tenant_id, case_id, asset_id, subject, at, outcome, ticket_id, reason, facts FROM dispatch_decision
         WHERE ticket_id = $1 ORDER BY at, id LIMIT 1",
    )
    .bind(ticket)
    .fetch_optional(connection)
    .await
}

/// The ticket of a case that is neither done nor cancelled.
///
/// # Errors
/// When the database does.
pub async fn open_ticket_of_case(
    connection: &mut PgConnection,
    case: CaseId,
) -> Result<Option<TicketId>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT id FROM ticket WHERE case_id = $1 AND status NOT IN ('completed', 'closed', 'cancelled')",
    )
    .bind(case)
    .fetch_optional(connection)
    .await
}

//! What the seeded scenario of work management looks at and does to the plant behind the services' backs.

use sqlx::{PgConnection, PgPool};

use crate::asset::AssetStatus;
use crate::db::dispatch::Outcome;
use crate::id::{AlarmRuleId, AssetId, FailureModeId, OccurrenceId, PlanId, TicketId};
use crate::plan::{Day, OccurrenceStatus};
use crate::ticket::{Origin, Status};
use crate::time::Timestamp;

/// A ticket that nobody has touched, with the plan occurrence it was made for.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct OpenTicket {
    pub id: TicketId,
    pub asset_id: AssetId,
    pub failure_mode_id: Option<FailureModeId>,
    pub origin: Origin,
    pub occurrence_id: Option<OccurrenceId>,
    pub plan_id: Option<PlanId>,
    pub sequence: Option<i32>,
}

/// Open tickets by their number.
///
/// # Errors
/// When the database does.
pub async fn open_tickets(connection: &mut PgConnection) -> Result<Vec<OpenTicket>, sqlx::Error> {
    sqlx::query_as(
        "SELECT t.id, t.asset_id, t.failure_mode_id, t.origin, o.id AS occurrence_id, o.plan_id, o.sequence
         FROM ticket t LEFT JOIN plan_occurrence o ON o.id = t.occurrence_id
         WHERE t.status = 'open' ORDER BY t.number",
    )
    .fetch_all(connection)
    .await
}

/// Causes (asset and failure mode) that have more than one open ticket.
///
/// # Errors
/// When the database does.
pub async fn causes_with_two_tickets(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT FROM ticket WHERE status = 'open' AND origin <> 'plan'
                               GROUP BY asset_id, failure_mode_id HAVING count(*) > 1) x",
    )
    .fetch_one(connection)
    .await
}

/// # Errors
/// When the database does.
pub async fn set_status(
    connection: &mut PgConnection,
    assets: &[AssetId],
    status: AssetStatus,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE asset SET status = $2 WHERE id = ANY ($1)")
        .bind(assets)
        .bind(status)
        .execute(connection)
        .await?;
    Ok(())
}

/// Closes tickets without their gates. What hangs on them is left as it is.
///
/// # Errors
/// When the database does.
pub async fn close_tickets(
    connection: &mut PgConnection,
    tickets: &[TicketId],
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE ticket SET status = 'closed', outcome = 'inconclusive', completed_at = $2, closed_at = $2
         WHERE id = ANY ($1)",
    )
    .bind(tickets)
    .bind(at)
    .execute(connection)
    .await?;
    Ok(())
}

/// A ticket for a cause.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct CauseTicket {
    pub id: TicketId,
    pub asset_id: AssetId,
    pub failure_mode_id: FailureModeId,
    pub repeat_of: Option<TicketId>,
}

/// Every ticket that names a failure mode, by number.
///
/// # Errors
/// When the database does.
pub async fn tickets_of_causes(connection: &mut PgConnection) -> Result<Vec<CauseTicket>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, asset_id, failure_mode_id, repeat_of FROM ticket
         WHERE failure_mode_id IS NOT NULL ORDER BY number",
    )
    .fetch_all(connection)
    .await
}

/// Alarms in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Alarms {
    pub raised: i64,
    /// Raised, and no decision with a reason says what came of it.
    pub undecided: i64,
    /// Raised, and one of its values was above `$1`.
    pub above: i64,
    /// Out of service, though their asset isn't.
    pub forgotten: i64,
    /// Notices of cases.
    pub notices: i64,
}

/// # Errors
/// When the database does.
pub async fn alarms(connection: &mut PgConnection, above: f64) -> Result<Alarms, sqlx::Error> {
    sqlx::query_as(
        "SELECT count(*) AS raised,
                count(*) FILTER (WHERE NOT EXISTS (
                    SELECT FROM dispatch_decision d
                    WHERE d.subject = 'alm_' || replace(a.id::text, '-', '') AND d.reason <> '')) AS undecided,
                count(*) FILTER (WHERE a.peak_value > $1) AS above,
                count(*) FILTER (WHERE a.suppression = 'out_of_service'
                                   AND s.status NOT IN ('in_storage', 'disposed')) AS forgotten,
                (SELECT count(*) FROM outbox WHERE kind = 'case.notice') AS notices
         FROM alarm a JOIN asset s ON s.id = a.asset_id WHERE a.active_at IS NOT NULL",
    )
    .bind(above)
    .fetch_one(connection)
    .await
}

/// A decision about an alarm, by the alarm's rule and beginning.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct AlarmDecision {
    pub rule_id: AlarmRuleId,
    pub active_at: Timestamp,
    pub at: Timestamp,
    pub outcome: Outcome,
    pub reason: String,
    pub ticket_id: Option<TicketId>,
    /// When the work of that ticket ended.
    pub completed_at: Option<Timestamp>,
}

/// # Errors
/// When the database does.
pub async fn alarm_decisions(connection: &mut PgConnection) -> Result<Vec<AlarmDecision>, sqlx::Error> {
    sqlx::query_as(
        "SELECT a.rule_id, a.active_at, d.at, d.outcome, d.reason, d.ticket_id, t.completed_at
         FROM dispatch_decision d JOIN alarm a ON d.subject = 'alm_' || replace(a.id::text, '-', '')
         LEFT JOIN ticket t ON t.id = d.ticket_id
         WHERE a.active_at IS NOT NULL ORDER BY d.at, d.id",
    )
    .fetch_all(connection)
    .await
}

/// How often an alarm fell silent because its asset is out of service, and how often it spoke again.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Silence {
    pub rule_id: AlarmRuleId,
    pub active_at: Timestamp,
    pub silenced: i64,
    pub spoke_again: i64,
}

/// Alarms that have been out of service.
///
/// # Errors
/// When the database does.
pub async fn silences(connection: &mut PgConnection) -> Result<Vec<Silence>, sqlx::Error> {
    sqlx::query_as(
        "SELECT a.rule_id, a.active_at,
                count(*) FILTER (WHERE e.detail->>'suppression' = 'out_of_service') AS silenced,
                count(*) FILTER (WHERE e.kind = 'unsuppressed') AS spoke_again
         FROM alarm a JOIN alarm_event e ON e.alarm_id = a.id AND e.kind IN ('suppressed', 'unsuppressed')
         WHERE a.active_at IS NOT NULL
         GROUP BY a.id HAVING count(*) FILTER (WHERE e.detail->>'suppression' = 'out_of_service') > 0",
    )
    .fetch_all(connection)
    .await
}

/// An occurrence with its tickets.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Occurrence {
    pub plan_id: PlanId,
    pub sequence: i32,
    pub status: OccurrenceStatus,
    pub due_date: Day,
    pub due_units: Option<f64>,
    pub missed: i32,
    pub explanation: String,
    pub ticket_status: Option<Status>,
    /// However many were made for it.
    pub tickets: i64,
}

/// Every occurrence, by plan and sequence.
///
/// # Errors
/// When the database does.
pub async fn occurrences(connection: &mut PgConnection) -> Result<Vec<Occurrence>, sqlx::Error> {
    sqlx::query_as(
        "SELECT o.plan_id, o.sequence, o.status, o.due_date, o.due_units, o.missed, o.explanation,
                t.status AS ticket_status, (SELECT count(*) FROM ticket x WHERE x.occurrence_id = o.id) AS tickets
         FROM plan_occurrence o LEFT JOIN ticket t ON t.id = o.ticket_id ORDER BY o.plan_id, o.sequence",
    )
    .fetch_all(connection)
    .await
}

/// Decisions by outcome: how many, and the reason of one.
///
/// # Errors
/// When the database does.
pub async fn outcomes(connection: &mut PgConnection) -> Result<Vec<(Outcome, i64, String)>, sqlx::Error> {
    sqlx::query_as("SELECT outcome, count(*), min(reason) FROM dispatch_decision GROUP BY 1 ORDER BY 1")
        .fetch_all(connection)
        .await
}

/// Until nobody else is within a transaction: what a killed process has left behind is rolled back by then.
///
/// # Errors
/// When the database does.
///
/// # Panics
/// When somebody still is after half a minute.
pub async fn wait_for_others(pool: &PgPool) -> Result<(), sqlx::Error> {
    let begun = std::time::Instant::now();
    loop {
        let busy: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND backend_type = 'client backend' AND state <> 'idle'
               AND pid <> pg_backend_pid()",
        )
        .fetch_one(pool)
        .await?;
        if busy == 0 {
            return Ok(());
        }
        assert!(
            begun.elapsed().as_secs() < 30,
            "{busy} transactions are still open"
        );
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

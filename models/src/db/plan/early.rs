//! Work of a plan that was done before its time.

use serde_json::json;
use sqlx::PgConnection;

use super::{PlanRow, occurrence, select};
use crate::db::change::ChangeError;
use crate::db::outbox;
use crate::id::{OccurrenceId, PlanId};
use crate::plan::{Day, Trigger};
use crate::time::Timestamp;

/// Why work can't be entered as done early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EarlyRefusal {
    #[error("occurrence {sequence} is open with a ticket: complete the ticket, that moves the plan")]
    HasTicket { sequence: i32 },
    #[error("the moment lies in the future: enter work when it is done")]
    Future,
    #[error("the plan counts from {anchor} already, later than that: nothing would change")]
    BeforeAnchor { anchor: Day },
    #[error(transparent)]
    Zone(#[from] crate::plan::DayError),
}

/// The plan's work was done on `at` without an occurrence that asked for it: it is recorded as one, and
/// the next one moves. An occurrence that is due and has no ticket yet is done by it.
///
/// # Errors
/// See [`EarlyRefusal`]; [`ChangeError::Stale`].
pub async fn complete_early(
    connection: &mut PgConnection,
    id: PlanId,
    expected: Option<i32>,
    at: Timestamp,
    actor: &str,
    now: Timestamp,
) -> Result<OccurrenceId, ChangeError<EarlyRefusal>> {
    let row: PlanRow = sqlx::query_as(select!("WHERE p.id = $1 FOR UPDATE OF p"))
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?
        .ok_or(ChangeError::NotFound)?;
    ChangeError::check_version(expected, row.row_version)?;
    if at > now {
        return Err(ChangeError::Refused(EarlyRefusal::Future));
    }
    let open: Option<(OccurrenceId, i32, bool)> = sqlx::query_as(
        "SELECT id, sequence, ticket_id IS NOT NULL FROM plan_occurrence
         WHERE plan_id = $1 AND status IN ('due', 'ticketed') ORDER BY sequence LIMIT 1 FOR UPDATE",
    )
    .bind(id)
    .fetch_optional(&mut *connection)
    .await?;
    match open {
        Some((_, sequence, true)) => return Err(ChangeError::Refused(EarlyRefusal::HasTicket { sequence })),
        Some((open, _, false)) => {
            occurrence::complete(connection, open, at).await?;
            return Ok(open);
        }
        None => {}
    }
    let done = Day::at(at, &row.time_zone).map_err(|error| ChangeError::Refused(error.into()))?;
    if done < row.anchor_date {
        return Err(ChangeError::Refused(EarlyRefusal::BeforeAnchor {
            anchor: row.anchor_date,
        }));
    }
    let (anchor_date, anchor_units) = row.plan().anchor_after_early(done, row.meter_total);
    let occurrence = OccurrenceId::new();
    let explanation = format!("done on {done}, before it was due, as entered by {actor}");
    sqlx::query(
        "INSERT INTO plan_occurrence (id, tenant_id, plan_id, sequence, status, due_date, trigger, explanation, done_at)
         VALUES ($1, $2, $3, $4, 'done', $5, $6, $7, $8)",
    )
    .bind(occurrence)
    .bind(row.tenant_id)
    .bind(id)
    .bind(row.next_sequence)
    .bind(done)
    .bind(Trigger::Early.name())
    .bind(&explanation)
    .bind(at)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE maintenance_plan SET next_sequence = next_sequence + 1, anchor_date = $2, anchor_units = $3,
             row_version = row_version + 1 WHERE id = $1",
    )
    .bind(id)
    .bind(anchor_date)
    .bind(anchor_units)
    .execute(&mut *connection)
    .await?;
    let detail = json!({ "plan_id": id, "sequence": row.next_sequence, "explanation": explanation, "counts_from": anchor_date });
    let subject = occurrence.to_string();
    outbox::append(
        connection,
        row.tenant_id,
        "plan.done_early",
        &subject,
        Some(row.asset_id),
        &detail,
    )
    .await?;
    Ok(occurrence)
}

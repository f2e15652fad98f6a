//! What a plan looks at beside itself: its parent, and predictions of its failure mode.

use serde_json::Value;
use sqlx::PgConnection;

use super::PlanRow;
use crate::id::{OccurrenceId, PlanId, TicketId};
use crate::plan::{Day, OnPrediction};

/// The parent plan, as the child sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbour {
    pub name: String,
    /// Open occurrences, and the next expected one.
    pub days: Vec<Day>,
}

/// The days of a plan's parent that could include its work. `None` = it has no enabled parent.
///
/// # Errors
/// When the database does.
pub async fn parent_days(
    connection: &mut PgConnection,
    plan: &PlanRow,
) -> Result<Option<Neighbour>, sqlx::Error> {
    let Some(parent) = plan.parent_id else {
        return Ok(None);
    };
    let name: Option<String> =
        sqlx::query_scalar("SELECT name FROM maintenance_plan WHERE id = $1 AND enabled")
            .bind(parent)
            .fetch_optional(&mut *connection)
            .await?;
    let Some(name) = name else { return Ok(None) };
    let days = sqlx::query_scalar(
        "SELECT due_date FROM plan_occurrence WHERE plan_id = $1 AND status IN ('due', 'ticketed')
         UNION SELECT (forecast->>'date')::date FROM maintenance_plan WHERE id = $1 AND forecast->>'date' IS NOT NULL",
    )
    .bind(parent)
    .fetch_all(connection)
    .await?;
    Ok(Some(Neighbour { name, days }))
}

/// The tasks of child plans whose work this occurrence includes and that nobody has taken yet; from now
/// on it is their occurrence's. Names of the plans with their tasks.
///
/// # Errors
/// When the database does.
pub async fn absorbed_tasks(
    connection: &mut PgConnection,
    parent: PlanId,
    occurrence: OccurrenceId,
) -> Result<Vec<(String, Value)>, sqlx::Error> {
    sqlx::query_as(
        "WITH taken AS (
             UPDATE plan_occurrence o SET absorbed_by = $2 FROM maintenance_plan c
             WHERE c.id = o.plan_id AND c.parent_id = $1 AND o.absorbed AND o.absorbed_by IS NULL
               AND abs(o.due_date - (SELECT due_date FROM plan_occurrence WHERE id = $2)) <= c.absorb_days
             RETURNING c.name, c.tasks)
         SELECT DISTINCT ON (name) name, tasks FROM taken ORDER BY name",
    )
    .bind(parent)
    .bind(occurrence)
    .fetch_all(connection)
    .await
}

/// An open prediction of the plan's failure mode that should pull it forward: the day by which the work
/// should be done, and why. None where a ticket for that cause is open already, or the plan doesn't ask.
///
/// # Errors
/// When the database does.
pub async fn fear(
    connection: &mut PgConnection,
    plan: &PlanRow,
    today: Day,
) -> Result<Option<(Day, String)>, sqlx::Error> {
    if plan.on_prediction != OnPrediction::Pull || plan.failure_mode_id.is_none() {
        return Ok(None);
    }
    let found: Option<(f64, i32, Option<f64>)> = sqlx::query_as(
        "SELECT p.probability, p.horizon_h, p.rul_p10_h FROM prediction p
         WHERE p.asset_id = $1 AND p.failure_mode_id = $2 AND p.status IN ('new', 'in_review')
           AND NOT EXISTS (SELECT FROM ticket t WHERE t.asset_id = $1 AND t.failure_mode_id = $2
                             AND t.status NOT IN ('completed', 'closed', 'cancelled'))
         ORDER BY p.probability DESC, p.id LIMIT 1",
    )
    .bind(plan.asset_id)
    .bind(plan.failure_mode_id)
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|(probability, horizon_h, rul_p10_h)| {
        // Before one in ten such machines would have failed; without that, within a quarter of the horizon.
        let hours = rul_p10_h
            .unwrap_or(f64::from(horizon_h) / 4.0)
            .clamp(0.0, f64::from(horizon_h));
        let why = format!(
            "its failure is predicted with {:.0} % within {:.0} days",
            probability * 100.0,
            f64::from(horizon_h) / 24.0
        );
        (today.plus((hours / 24.0).floor() as i64), why)
    }))
}

/// The open ticket for the cause that a plan works against, if the plan merges.
///
/// # Errors
/// When the database does.
pub async fn open_ticket_of_cause(
    connection: &mut PgConnection,
    plan: &PlanRow,
) -> Result<Option<(TicketId, i32)>, sqlx::Error> {
    if plan.on_prediction == OnPrediction::Ignore || plan.failure_mode_id.is_none() {
        return Ok(None);
    }
    sqlx::query_as(
        "SELECT id, number FROM ticket
         WHERE asset_id = $1 AND failure_mode_id = $2 AND origin <> 'plan'
           AND status IN ('open', 'accepted', 'planned', 'waiting_parts', 'waiting_window', 'scheduled', 'assigned')
         ORDER BY number LIMIT 1 FOR UPDATE",
    )
    .bind(plan.asset_id)
    .bind(plan.failure_mode_id)
    .fetch_optional(connection)
    .await
}

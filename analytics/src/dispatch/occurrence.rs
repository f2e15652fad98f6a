//! Due plan occurrences become tickets with the plan's tasks.

use models::db::change::ChangeError;
use models::db::dispatch::{self as sql, NewDecision, Outcome};
use models::db::plan::{self, OccurrenceRow, PlanRow};
use models::db::ticket::{self, Coding, NewTicket};
use models::id::TicketId;
use models::plan::OnPrediction;
use models::ticket::{NewTask, Origin, Priority, Status};
use models::time::Timestamp;
use serde::Deserialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use super::ACTOR;

/// Makes the ticket of the next due occurrence, or adds it to the one that is open for its cause; `None`
/// = there is none that nobody else has.
pub(super) async fn next(pool: &PgPool, now: Timestamp) -> Result<Option<Outcome>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let Some(due) = plan::take_due(&mut tx, 1).await?.pop() else {
        return Ok(None);
    };
    let Some(plan) = plan::get(&mut tx, due.plan_id).await? else {
        return Ok(None);
    };
    let mut tasks = tasks_of(&plan.name, &plan.tasks);
    for (name, more) in plan::absorbed_tasks(&mut tx, plan.id, due.id).await? {
        tasks.extend(tasks_of(&name, &more));
    }
    if let Some((open, number)) = plan::open_ticket_of_cause(&mut tx, &plan).await? {
        merge(&mut tx, &due, &plan, open, number, &tasks, now).await?;
        tx.commit().await?;
        return Ok(Some(Outcome::Attached));
    }
    // Alarms and predictions of the same cause come to this ticket then, and make no second one.
    let case = match plan
        .failure_mode_id
        .filter(|_| plan.on_prediction != OnPrediction::Ignore)
    {
        Some(mode) => sql::open_case_of(&mut tx, plan.asset_id, mode).await?,
        None => None,
    };
    let due_at = due.due_date.end(&plan.time_zone).unwrap_or_else(|error| {
        tracing::warn!(plan = %plan.id, %error, "the ticket has no due time");
        now
    });
    let new = NewTicket {
        tenant: due.tenant_id,
        asset: plan.asset_id,
        case,
        occurrence: Some(due.id),
        failure_mode: plan.failure_mode_id,
        origin: Origin::Plan,
        origin_key: due.id.to_string(),
        title: format!("{}: {}", plan.name, plan.asset_name),
        description: format!("Due on {}: {}.", due.due_date, due.explanation),
        priority: Priority::parse(&plan.priority).unwrap_or_default(),
        due_at: Some(due_at),
        repeat_of: None,
        tasks,
    };
    let ticket = ticket::create(&mut tx, &new, ACTOR).await?.id();
    plan::set_ticket(&mut tx, due.id, ticket).await?;
    if let Some(case) = case {
        sql::follow_predictions(&mut tx, case, ticket, now).await?;
    }
    let decision = NewDecision {
        tenant: due.tenant_id,
        case,
        asset: plan.asset_id,
        subject: due.id.to_string(),
        outcome: Outcome::Created,
        ticket: Some(ticket),
        reason: format!("“{}” is due on {}: {}.", plan.name, due.due_date, due.explanation),
        facts: json!({ "plan_id": plan.id, "sequence": due.sequence, "trigger": due.trigger, "missed": due.missed }),
    };
    sql::record(&mut tx, &decision, now).await?;
    tx.commit().await?;
    Ok(Some(Outcome::Created))
}

/// A plan's tasks; its name stands for them where it has none.
fn tasks_of(name: &str, tasks: &serde_json::Value) -> Vec<NewTask> {
    match Vec::<NewTask>::deserialize(tasks) {
        Ok(tasks) if !tasks.is_empty() => tasks,
        Ok(_) => vec![NewTask::check(name.to_owned())],
        Err(error) => {
            tracing::warn!(plan = name, %error, "the plan's tasks can't be read, its name stands for them");
            vec![NewTask::check(name.to_owned())]
        }
    }
}

/// The cause has a ticket that nobody has begun: the plan's work becomes part of it.
async fn merge(
    connection: &mut PgConnection,
    due: &OccurrenceRow,
    plan: &PlanRow,
    open: TicketId,
    number: i32,
    tasks: &[NewTask],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    for task in tasks {
        match ticket::add_task(connection, open, task, ACTOR).await {
            Ok(_) => {}
            Err(ChangeError::Database(error)) => return Err(error),
            // Said on the ticket, or the plan's work would be done without it and nobody knew.
            Err(refused) => {
                let text = format!(
                    "The task “{}” of “{}” was not taken over: {refused}.",
                    task.text, plan.name
                );
                let detail = json!({ "plan_id": plan.id, "text": text });
                ticket::add_evidence(connection, due.tenant_id, open, plan.asset_id, ACTOR, &detail).await?;
            }
        }
    }
    plan::merge_into_ticket(connection, due.id, open).await?;
    let decision = NewDecision {
        tenant: due.tenant_id,
        case: None,
        asset: plan.asset_id,
        subject: due.id.to_string(),
        outcome: Outcome::Attached,
        ticket: Some(open),
        reason: format!(
            "“{}” is due on {} and works against the cause of ticket #{number}, which nobody has begun: its tasks were added there.",
            plan.name, due.due_date
        ),
        facts: json!({ "plan_id": plan.id, "sequence": due.sequence, "trigger": due.trigger, "missed": due.missed }),
    };
    sql::record(connection, &decision, now).await?;
    Ok(())
}

/// Cancels the ticket of an occurrence that a later one has superseded, unless work has begun.
pub(super) async fn cancel_superseded(pool: &PgPool, id: TicketId, now: Timestamp) -> anyhow::Result<bool> {
    let mut tx = pool.begin().await?;
    let coding = Coding {
        reason: Some("superseded by the next occurrence of the plan".to_owned()),
        ..Coding::default()
    };
    match ticket::transition(&mut tx, id, None, Status::Cancelled, &coding, ACTOR, now).await {
        Ok(_) => {
            tx.commit().await?;
            Ok(true)
        }
        // Somebody has begun, finished or cancelled it meanwhile: theirs is the last word.
        Err(ChangeError::Refused(_) | ChangeError::NotFound | ChangeError::Stale { .. }) => Ok(false),
        Err(ChangeError::Database(error)) => Err(error.into()),
    }
}

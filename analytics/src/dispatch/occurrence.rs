//! Due plan occurrences become tickets with the plan's tasks.

use models::db::change::ChangeError;
use models::db::dispatch::{self as sql, NewDecision, Outcome};
use models::db::plan;
use models::db::ticket::{self, Coding, NewTicket};
use models::id::TicketId;
use models::ticket::{NewTask, Origin, Priority, Status};
use models::time::Timestamp;
use serde::Deserialize;
use serde_json::json;
use sqlx::PgPool;

use super::ACTOR;

/// Makes the ticket of the next due occurrence; `false` = there is none that nobody else has.
pub(super) async fn next(pool: &PgPool, now: Timestamp) -> Result<bool, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let Some(due) = plan::take_due(&mut tx, 1).await?.pop() else {
        return Ok(false);
    };
    let Some(plan) = plan::get(&mut tx, due.plan_id).await? else {
        return Ok(false);
    };
    let tasks = match Vec::<NewTask>::deserialize(&plan.tasks) {
        Ok(tasks) if !tasks.is_empty() => tasks,
        Ok(_) => vec![NewTask::check(plan.name.clone())],
        Err(error) => {
            tracing::warn!(plan = %plan.id, %error, "the plan's tasks can't be read, its name stands for them");
            vec![NewTask::check(plan.name.clone())]
        }
    };
    let due_at = due.due_date.end(&plan.time_zone).unwrap_or_else(|error| {
        tracing::warn!(plan = %plan.id, %error, "the ticket has no due time");
        now
    });
    let new = NewTicket {
        tenant: due.tenant_id,
        asset: plan.asset_id,
        case: None,
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
    let decision = NewDecision {
        tenant: due.tenant_id,
        case: None,
        asset: plan.asset_id,
        subject: due.id.to_string(),
        outcome: Outcome::Created,
        ticket: Some(ticket),
        reason: format!("“{}” is due on {}: {}.", plan.name, due.due_date, due.explanation),
        facts: json!({ "plan_id": plan.id, "sequence": due.sequence, "trigger": due.trigger, "missed": due.missed }),
    };
    sql::record(&mut tx, &decision, now).await?;
    tx.commit().await?;
    Ok(true)
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

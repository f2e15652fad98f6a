//! Tasks of a ticket: added, changed, done, taken back.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::create::{add_event, insert_task};
use super::facts::lock;
use crate::db::change::ChangeError;
use crate::db::{meter, outbox};
use crate::id::{AttachmentId, MeterId, TaskId, TicketId};
use crate::meter::Entry;
use crate::ticket::{NewTask, Status, TaskError, TaskKind, check_task, check_task_result};
use crate::time::Timestamp;

/// What came of a task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskResult {
    pub done: bool,
    pub result: Option<Value>,
    /// What was done about a number outside its limits.
    pub note: Option<String>,
}

/// Why a task can't be changed or done.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TaskRefusal {
    #[error(transparent)]
    Task(#[from] TaskError),
    #[error("the ticket is {0}: its tasks stay as they are; reopen it first")]
    Done(Status),
    #[error("the task is done: take it back first")]
    TaskDone,
    #[error("there is no such meter on the ticket's asset")]
    NoMeter,
    #[error("the meter doesn't take the number: {0}")]
    Meter(String),
}

fn settled(status: Status) -> bool {
    status.is_terminal() || status == Status::Completed
}

async fn check_meter(
    connection: &mut PgConnection,
    id: TicketId,
    meter: Option<MeterId>,
) -> Result<(), ChangeError<TaskRefusal>> {
    let Some(meter) = meter else { return Ok(()) };
    let known: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM meter m JOIN ticket t ON t.asset_id = m.asset_id WHERE m.id = $1 AND t.id = $2)",
    )
    .bind(meter)
    .bind(id)
    .fetch_one(connection)
    .await?;
    if known {
        Ok(())
    } else {
        Err(ChangeError::Refused(TaskRefusal::NoMeter))
    }
}

/// Adds a task at the end of the list.
///
/// # Errors
/// [`TaskRefusal`]; not found when there is no such ticket.
pub async fn add_task(
    connection: &mut PgConnection,
    id: TicketId,
    task: &NewTask,
    actor: &str,
) -> Result<TaskId, ChangeError<TaskRefusal>> {
    let row = lock(connection, id).await?.ok_or(ChangeError::NotFound)?;
    if row.status.is_terminal() {
        return Err(ChangeError::Refused(TaskRefusal::Done(row.status)));
    }
    check_task(task).map_err(|error| ChangeError::Refused(error.into()))?;
    check_meter(connection, id, task.meter_id).await?;
    let position: i32 =
        sqlx::query_scalar("SELECT coalesce(max(position), 0) + 1 FROM ticket_task WHERE ticket_id = $1")
            .bind(id)
            .fetch_one(&mut *connection)
            .await?;
    let task_id = insert_task(connection, row.tenant_id, id, position, task).await?;
    let detail = json!({ "task_id": task_id, "text": task.text });
    add_event(connection, row.tenant_id, id, "task_added", actor, &detail).await?;
    Ok(task_id)
}

/// What is changed on a task; `None` = as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskEdit {
    #[cfg_attr(feature = "openapi", schema(example = "torque the bolts to 40 N.m"))]
    pub text: Option<String>,
    pub mandatory: Option<bool>,
    pub min_value: Option<f64>,
    pub max_value: Option<f64>,
    pub unit: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Stored {
    kind: String,
    text: String,
    mandatory: bool,
    min_value: Option<f64>,
    max_value: Option<f64>,
    unit: Option<String>,
    meter_id: Option<MeterId>,
    done_at: Option<Timestamp>,
}

impl Stored {
    fn task(self) -> NewTask {
        NewTask {
            kind: TaskKind::parse(&self.kind).unwrap_or_default(),
            text: self.text,
            mandatory: self.mandatory,
            min_value: self.min_value,
            max_value: self.max_value,
            unit: self.unit,
            meter_id: self.meter_id,
        }
    }
}

async fn stored(
    connection: &mut PgConnection,
    id: TicketId,
    task: TaskId,
) -> Result<Option<Stored>, sqlx::Error> {
    sqlx::query_as(
        "SELECT kind, text, mandatory, min_value, max_value, unit, meter_id, done_at FROM ticket_task
         WHERE id = $2 AND ticket_id = $1",
    )
    .bind(id)
    .bind(task)
    .fetch_optional(connection)
    .await
}

/// Changes a task that is not done.
///
/// # Errors
/// [`TaskRefusal`]; not found when the ticket has no such task.
pub async fn edit_task(
    connection: &mut PgConnection,
    id: TicketId,
    task: TaskId,
    edit: &TaskEdit,
    actor: &str,
) -> Result<(), ChangeError<TaskRefusal>> {
    let row = lock(connection, id).await?.ok_or(ChangeError::NotFound)?;
    let before = stored(connection, id, task).await?.ok_or(ChangeError::NotFound)?;
    if settled(row.status) {
        return Err(ChangeError::Refused(TaskRefusal::Done(row.status)));
    }
    if before.done_at.is_some() {
        return Err(ChangeError::Refused(TaskRefusal::TaskDone));
    }
    let before = before.task();
    let after = NewTask {
        text: edit.text.clone().unwrap_or(before.text),
        mandatory: edit.mandatory.unwrap_or(before.mandatory),
        min_value: edit.min_value.or(before.min_value),
        max_value: edit.max_value.or(before.max_value),
        unit: edit.unit.clone().or(before.unit),
        ..before
    };
    check_task(&after).map_err(|error| ChangeError::Refused(error.into()))?;
    sqlx::query(
        "UPDATE ticket_task SET text = $2, mandatory = $3, min_value = $4, max_value = $5, unit = $6 WHERE id = $1",
    )
    .bind(task)
    .bind(&after.text)
    .bind(after.mandatory)
    .bind(after.min_value)
    .bind(after.max_value)
    .bind(&after.unit)
    .execute(&mut *connection)
    .await?;
    let detail = json!({ "task_id": task, "text": after.text, "mandatory": after.mandatory });
    add_event(connection, row.tenant_id, id, "task_changed", actor, &detail).await?;
    Ok(())
}

/// Marks a task as done, or as not done after all. Doing it twice is no error; the last result stays. A
/// meter task writes a reading of its meter.
///
/// # Errors
/// [`TaskRefusal`]; not found when the ticket has no such task.
pub async fn complete_task(
    connection: &mut PgConnection,
    id: TicketId,
    task: TaskId,
    result: &TaskResult,
    actor: &str,
    now: Timestamp,
) -> Result<(), ChangeError<TaskRefusal>> {
    let row = lock(connection, id).await?.ok_or(ChangeError::NotFound)?;
    let kept = stored(connection, id, task).await?.ok_or(ChangeError::NotFound)?;
    if settled(row.status) {
        return Err(ChangeError::Refused(TaskRefusal::Done(row.status)));
    }
    let what = kept.task();
    if result.done {
        let images: Vec<AttachmentId> = sqlx::query_scalar(
            "SELECT id FROM attachment WHERE ticket_id = $1 AND media_type LIKE 'image/%'",
        )
        .bind(id)
        .fetch_all(&mut *connection)
        .await?;
        check_task_result(&what, result.result.as_ref(), result.note.as_deref(), &images)
            .map_err(|error| ChangeError::Refused(error.into()))?;
        if let (TaskKind::Meter, Some(meter), Some(total)) = (
            what.kind,
            what.meter_id,
            result.result.as_ref().and_then(Value::as_f64),
        ) {
            let entry = Entry::Absolute(total);
            match meter::enter_reading(connection, meter, now, entry, false, actor).await {
                Ok(_) => {}
                Err(ChangeError::Database(error)) => return Err(error.into()),
                Err(error) => return Err(ChangeError::Refused(TaskRefusal::Meter(error.to_string()))),
            }
        }
    }
    sqlx::query(
        "UPDATE ticket_task SET result = $2, note = $6, done_at = CASE WHEN $3 THEN $4 END,
             done_by = CASE WHEN $3 THEN $5 END WHERE id = $1",
    )
    .bind(task)
    .bind(&result.result)
    .bind(result.done)
    .bind(now)
    .bind(actor)
    .bind(&result.note)
    .execute(&mut *connection)
    .await?;
    let kind = if result.done { "task_done" } else { "task_undone" };
    let detail = json!({ "task_id": task, "text": what.text, "result": result.result, "note": result.note });
    add_event(connection, row.tenant_id, id, kind, actor, &detail).await?;
    outbox::append(
        connection,
        row.tenant_id,
        "ticket.changed",
        &id.to_string(),
        Some(row.asset_id),
        &detail,
    )
    .await?;
    Ok(())
}

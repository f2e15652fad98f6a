//! Making tickets, once each.

use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::db::{outbox, sla};
use crate::id::{AssetId, CaseId, FailureModeId, OccurrenceId, TaskId, TenantId, TicketId};
use crate::ticket::{NewTask, Origin, Priority};
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq)]
pub struct NewTicket {
    pub tenant: TenantId,
    pub asset: AssetId,
    pub case: Option<CaseId>,
    pub occurrence: Option<OccurrenceId>,
    pub failure_mode: Option<FailureModeId>,
    pub origin: Origin,
    /// Whatever made it: the same key makes the same ticket, however often it is asked for.
    pub origin_key: String,
    pub title: String,
    pub description: String,
    pub priority: Priority,
    pub due_at: Option<Timestamp>,
    pub repeat_of: Option<TicketId>,
    pub tasks: Vec<NewTask>,
}

/// What came of asking for a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    New(TicketId),
    /// The same origin key has made this one before.
    Existing(TicketId),
}

impl Created {
    pub const fn id(self) -> TicketId {
        match self {
            Self::New(id) | Self::Existing(id) => id,
        }
    }
}

/// Makes a ticket, or finds the one that the origin key made before.
///
/// # Errors
/// When the database does: `ticket_open_per_case_key` = the case has an open ticket already, made by
/// somebody else a moment ago.
pub async fn create(
    connection: &mut PgConnection,
    new: &NewTicket,
    actor: &str,
) -> Result<Created, sqlx::Error> {
    // Number and ticket are one statement: a ticket that exists already takes no number, because the
    // counter is locked first and the key looked up under its lock.
    let number: i32 = sqlx::query_scalar(
        "INSERT INTO ticket_counter (tenant_id, last_number) VALUES ($1, 0)
         ON CONFLICT (tenant_id) DO UPDATE SET last_number = ticket_counter.last_number
         RETURNING last_number + 1",
    )
    .bind(new.tenant)
    .fetch_one(&mut *connection)
    .await?;
    let existing: Option<TicketId> =
        sqlx::query_scalar("SELECT id FROM ticket WHERE tenant_id = $1 AND origin_key = $2")
            .bind(new.tenant)
            .bind(&new.origin_key)
            .fetch_optional(&mut *connection)
            .await?;
    if let Some(id) = existing {
        return Ok(Created::Existing(id));
    }
    let id = TicketId::new();
    let inserted = sqlx::query(
        "INSERT INTO ticket (id, tenant_id, number, asset_id, case_id, occurrence_id, failure_mode_id, origin,
             origin_key, title, description, priority, due_at, repeat_of)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
         ON CONFLICT ON CONSTRAINT ticket_origin_key DO NOTHING",
    )
    .bind(id)
    .bind(new.tenant)
    .bind(number)
    .bind(new.asset)
    .bind(new.case)
    .bind(new.occurrence)
    .bind(new.failure_mode)
    .bind(new.origin)
    .bind(&new.origin_key)
    .bind(&new.title)
    .bind(&new.description)
    .bind(new.priority)
    .bind(new.due_at)
    .bind(new.repeat_of)
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if inserted == 0 {
        let id = sqlx::query_scalar("SELECT id FROM ticket WHERE tenant_id = $1 AND origin_key = $2")
            .bind(new.tenant)
            .bind(&new.origin_key)
            .fetch_one(connection)
            .await?;
        return Ok(Created::Existing(id));
    }
    sqlx::query("UPDATE ticket_counter SET last_number = $2 WHERE tenant_id = $1")
        .bind(new.tenant)
        .bind(number)
        .execute(&mut *connection)
        .await?;
    for (position, task) in (1..).zip(&new.tasks) {
        insert_task(connection, new.tenant, id, position, task).await?;
    }
    let detail = json!({
        "number": number,
        "title": new.title,
        "priority": new.priority,
        "origin": new.origin,
        "case_id": new.case,
    });
    add_event(connection, new.tenant, id, "created", actor, &detail).await?;
    outbox::append(
        connection,
        new.tenant,
        "ticket.created",
        &id.to_string(),
        Some(new.asset),
        &detail,
    )
    .await?;
    sla::refresh(connection, id, Timestamp::now()).await?;
    Ok(Created::New(id))
}

pub(super) async fn insert_task(
    connection: &mut PgConnection,
    tenant: TenantId,
    ticket: TicketId,
    position: i32,
    task: &NewTask,
) -> Result<TaskId, sqlx::Error> {
    let id = TaskId::new();
    sqlx::query(
        "INSERT INTO ticket_task (id, tenant_id, ticket_id, position, kind, text, mandatory, min_value, max_value, unit,
             meter_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(id)
    .bind(tenant)
    .bind(ticket)
    .bind(position)
    .bind(task.kind.name())
    .bind(&task.text)
    .bind(task.mandatory)
    .bind(task.min_value)
    .bind(task.max_value)
    .bind(&task.unit)
    .bind(task.meter_id)
    .execute(connection)
    .await?;
    Ok(id)
}

/// Notes on an existing ticket that there is more evidence for it.
///
/// # Errors
/// When the database does.
pub async fn add_evidence(
    connection: &mut PgConnection,
    tenant: TenantId,
    ticket: TicketId,
    asset: AssetId,
    actor: &str,
    detail: &Value,
) -> Result<(), sqlx::Error> {
    add_event(connection, tenant, ticket, "evidence", actor, detail).await?;
    outbox::append(
        connection,
        tenant,
        "ticket.evidence",
        &ticket.to_string(),
        Some(asset),
        detail,
    )
    .await
}

/// Raises the priority, never lowers it, and tells whether it changed.
///
/// # Errors
/// When the database does.
pub async fn raise_priority(
    connection: &mut PgConnection,
    tenant: TenantId,
    ticket: TicketId,
    to: Priority,
    actor: &str,
) -> Result<bool, sqlx::Error> {
    let changed = sqlx::query(
        "UPDATE ticket SET priority = $2, row_version = row_version + 1, updated_at = now()
         WHERE id = $1 AND priority < $2",
    )
    .bind(ticket)
    .bind(to)
    .execute(&mut *connection)
    .await?
    .rows_affected()
        > 0;
    if changed {
        add_event(
            connection,
            tenant,
            ticket,
            "priority_raised",
            actor,
            &json!({ "priority": to }),
        )
        .await?;
    }
    Ok(changed)
}

pub(crate) async fn add_event(
    connection: &mut PgConnection,
    tenant: TenantId,
    ticket: TicketId,
    kind: &str,
    actor: &str,
    detail: &Value,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO ticket_event (tenant_id, ticket_id, kind, actor, detail) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(tenant)
    .bind(ticket)
    .bind(kind)
    .bind(actor)
    .bind(detail)
    .execute(connection)
    .await?;
    Ok(())
}

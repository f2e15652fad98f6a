//! The tenant's workflow: its own steps under the twelve states.

use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

use super::create::add_event;
use super::facts::{lock, role_name};
use crate::db::change::ChangeError;
use crate::db::outbox;
use crate::id::{StepId, TenantId, TicketId};
use crate::tenant::MemberRole;
use crate::ticket::Status;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = WorkflowStep))]
pub struct StepRow {
    pub id: StepId,
    pub state: Status,
    pub code: String,
    pub name: String,
    pub position: i32,
    /// `null` = whoever may write tickets.
    pub role: Option<MemberRole>,
    pub mandatory: bool,
}

/// A step under a state; it replaces the one of the same state and code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewStep {
    /// Neither closed nor cancelled: nothing comes after them.
    pub state: Status,
    #[cfg_attr(feature = "openapi", schema(example = "budget"))]
    pub code: String,
    #[cfg_attr(feature = "openapi", schema(example = "Budget approved"))]
    pub name: String,
    #[serde(default)]
    pub position: i32,
    #[serde(default)]
    pub role: Option<MemberRole>,
    #[serde(default = "yes")]
    pub mandatory: bool,
}

fn yes() -> bool {
    true
}

/// # Errors
/// When the database does.
pub async fn steps(connection: &mut PgConnection) -> Result<Vec<StepRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, state, code, name, position, role, mandatory FROM workflow_step
         WHERE enabled ORDER BY state, position, code",
    )
    .fetch_all(connection)
    .await
}

/// # Errors
/// `workflow_step_state` for a state that nothing comes after.
pub async fn put_step(
    connection: &mut PgConnection,
    tenant: TenantId,
    new: &NewStep,
) -> Result<StepId, sqlx::Error> {
    sqlx::query_scalar(
        "INSERT INTO workflow_step (id, tenant_id, state, code, name, position, role, mandatory)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (tenant_id, state, code) DO UPDATE SET name = excluded.name, position = excluded.position,
             role = excluded.role, mandatory = excluded.mandatory, enabled = true
         RETURNING id",
    )
    .bind(StepId::new())
    .bind(tenant)
    .bind(new.state)
    .bind(&new.code)
    .bind(&new.name)
    .bind(new.position)
    .bind(new.role)
    .bind(new.mandatory)
    .fetch_one(connection)
    .await
}

/// Takes a step out of the workflow; what was done stays on record.
///
/// # Errors
/// When the database does.
pub async fn remove_step(connection: &mut PgConnection, id: StepId) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("UPDATE workflow_step SET enabled = false WHERE id = $1 AND enabled")
        .bind(id)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// A step of the state that a ticket is in.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TicketStep {
    pub code: String,
    pub name: String,
    pub role: Option<MemberRole>,
    pub mandatory: bool,
    pub done_at: Option<Timestamp>,
    pub done_by: Option<String>,
}

/// # Errors
/// When the database does.
pub async fn steps_of(
    connection: &mut PgConnection,
    ticket: TicketId,
) -> Result<Vec<TicketStep>, sqlx::Error> {
    sqlx::query_as(
        "SELECT s.code, s.name, s.role, s.mandatory, d.done_at, d.done_by
         FROM ticket t JOIN workflow_step s ON s.tenant_id = t.tenant_id AND s.state = t.status AND s.enabled
         LEFT JOIN ticket_step d ON d.ticket_id = t.id AND d.step_id = s.id
         WHERE t.id = $1 ORDER BY s.position, s.code",
    )
    .bind(ticket)
    .fetch_all(connection)
    .await
}

/// Why a step can't be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    #[error("a ticket that is {state} has no step `{code}`{}", only(.known))]
    NoSuchStep {
        state: Status,
        code: String,
        known: Vec<String>,
    },
    #[error("the step “{name}” is done by a {}", role_name(*.role))]
    Role { name: String, role: MemberRole },
}

fn only(codes: &[String]) -> String {
    if codes.is_empty() {
        String::new()
    } else {
        format!(", only {}", codes.join(", "))
    }
}

/// Does a step of the state that the ticket is in. Doing it again changes nothing.
///
/// # Errors
/// [`StepError`]; not found when there is no such ticket.
pub async fn do_step(
    connection: &mut PgConnection,
    id: TicketId,
    code: &str,
    role: MemberRole,
    actor: &str,
    now: Timestamp,
) -> Result<(), ChangeError<StepError>> {
    let row = lock(connection, id).await?.ok_or(ChangeError::NotFound)?;
    let step: Option<(StepId, String, Option<MemberRole>)> = sqlx::query_as(
        "SELECT id, name, role FROM workflow_step WHERE tenant_id = $1 AND state = $2 AND code = $3 AND enabled",
    )
    .bind(row.tenant_id)
    .bind(row.status)
    .bind(code)
    .fetch_optional(&mut *connection)
    .await?;
    let Some((step, name, needed)) = step else {
        let known = steps_of(connection, id)
            .await?
            .into_iter()
            .map(|step| step.code)
            .collect();
        return Err(ChangeError::Refused(StepError::NoSuchStep {
            state: row.status,
            code: code.to_owned(),
            known,
        }));
    };
    if let Some(needed) = needed.filter(|needed| *needed != role && role != MemberRole::TenantAdmin) {
        return Err(ChangeError::Refused(StepError::Role { name, role: needed }));
    }
    let new = sqlx::query(
        "INSERT INTO ticket_step (ticket_id, step_id, tenant_id, done_at, done_by) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT DO NOTHING",
    )
    .bind(id)
    .bind(step)
    .bind(row.tenant_id)
    .bind(now)
    .bind(actor)
    .execute(&mut *connection)
    .await?
    .rows_affected()
        > 0;
    if new {
        let detail = json!({ "state": row.status, "code": code, "name": name });
        add_event(connection, row.tenant_id, id, "step_done", actor, &detail).await?;
        outbox::append(
            connection,
            row.tenant_id,
            "ticket.changed",
            &id.to_string(),
            Some(row.asset_id),
            &detail,
        )
        .await?;
    }
    Ok(())
}

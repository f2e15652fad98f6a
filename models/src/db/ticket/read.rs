//! Tickets as people see them. Runs under row-level security.

use serde_json::Value;
use sqlx::PgConnection;

use crate::asset::Criticality;
use crate::db::change::After;
use crate::id::{
    AssetId, CaseId, FailureModeId, MeterId, OccurrenceId, SiteId, TaskId, TenantId, TicketId, UserId,
};
use crate::people::Skill;
use crate::ticket::{Origin, Priority, Status};
use crate::time::Timestamp;

/// A ticket with the names of what it speaks of.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct TicketView {
    pub id: TicketId,
    pub tenant_id: TenantId,
    pub number: i32,
    pub asset_id: AssetId,
    pub asset_name: String,
    pub criticality: Criticality,
    pub site_id: SiteId,
    pub site_name: String,
    pub case_id: Option<CaseId>,
    pub occurrence_id: Option<OccurrenceId>,
    pub failure_mode_id: Option<FailureModeId>,
    pub failure_mode_code: Option<String>,
    pub failure_mode_name: Option<String>,
    pub origin: Origin,
    pub origin_key: String,
    pub title: String,
    pub description: String,
    pub status: Status,
    pub priority: Priority,
    pub assignee_id: Option<UserId>,
    pub assignee_name: Option<String>,
    pub due_at: Option<Timestamp>,
    pub scheduled_start: Option<Timestamp>,
    pub scheduled_end: Option<Timestamp>,
    pub repeat_of: Option<TicketId>,
    pub reopen_count: i32,
    pub found_failure_mode_id: Option<FailureModeId>,
    pub cause: Option<String>,
    pub remedy: Option<String>,
    pub outcome: Option<String>,
    pub status_reason: Option<String>,
    pub hold_code: Option<String>,
    pub needs_permit: bool,
    pub needs_lockout: bool,
    pub required_skill: Option<Skill>,
    pub mechanism_code: Option<String>,
    pub cause_code: Option<String>,
    pub remedy_code: Option<String>,
    pub detection_code: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub completed_at: Option<Timestamp>,
    pub closed_at: Option<Timestamp>,
    pub external_system: Option<String>,
    pub external_id: Option<String>,
    pub row_version: i32,
}

#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct TaskRow {
    pub id: TaskId,
    pub ticket_id: TicketId,
    pub position: i32,
    pub kind: String,
    pub text: String,
    pub mandatory: bool,
    pub min_value: Option<f64>,
    pub max_value: Option<f64>,
    pub unit: Option<String>,
    pub meter_id: Option<MeterId>,
    pub result: Option<Value>,
    pub note: Option<String>,
    pub done_at: Option<Timestamp>,
    pub done_by: Option<String>,
}

#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct TicketEvent {
    pub id: i64,
    pub at: Timestamp,
    pub kind: String,
    pub actor: String,
    pub detail: Value,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Empty = all.
    pub statuses: Vec<Status>,
    pub asset: Option<AssetId>,
    pub case: Option<CaseId>,
    pub assignee: Option<UserId>,
    pub external_system: Option<String>,
    pub external_id: Option<String>,
    pub site: Option<SiteId>,
    /// Empty = all.
    pub priorities: Vec<Priority>,
    /// Still to be done, and due before this moment.
    pub due_before: Option<Timestamp>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT t.*, s.name AS asset_name, s.criticality, s.site_id, w.name AS site_name, u.name AS assignee_name,
                    f.code AS failure_mode_code, f.name AS failure_mode_name
             FROM ticket t JOIN asset s ON s.id = t.asset_id JOIN site w ON w.id = s.site_id
             LEFT JOIN app_user u ON u.id = t.assignee_id LEFT JOIN failure_mode f ON f.id = t.failure_mode_id ",
            $rest
        )
    };
}

/// From new to old.
///
/// # Errors
/// When the database does.
pub async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    after: After<TicketId>,
    limit: i64,
) -> Result<Vec<TicketView>, sqlx::Error> {
    sqlx::query_as(select!(
        "WHERE (cardinality($1::ticket_status[]) = 0 OR t.status = ANY ($1))
           AND ($2::uuid IS NULL OR t.asset_id = $2) AND ($3::uuid IS NULL OR t.case_id = $3)
           AND ($4::uuid IS NULL OR t.assignee_id = $4)
           AND ($8::text IS NULL OR t.external_system = $8) AND ($9::text IS NULL OR t.external_id = $9)
           AND ($10::uuid IS NULL OR s.site_id = $10)
           AND (cardinality($11::ticket_priority[]) = 0 OR t.priority = ANY ($11))
           AND ($12::timestamptz IS NULL OR (t.due_at < $12 AND t.status NOT IN ('completed', 'closed', 'cancelled')))
           AND ($5::timestamptz IS NULL OR (t.created_at, t.id) < ($5, $6))
         ORDER BY t.created_at DESC, t.id DESC LIMIT $7"
    ))
    .bind(&filter.statuses)
    .bind(filter.asset)
    .bind(filter.case)
    .bind(filter.assignee)
    .bind(after.map(|(at, _)| at))
    .bind(after.map(|(_, id)| id))
    .bind(limit)
    .bind(&filter.external_system)
    .bind(&filter.external_id)
    .bind(filter.site)
    .bind(&filter.priorities)
    .bind(filter.due_before)
    .fetch_all(connection)
    .await
}

/// # Errors
/// When the database does.
pub async fn get(connection: &mut PgConnection, id: TicketId) -> Result<Option<TicketView>, sqlx::Error> {
    sqlx::query_as(select!("WHERE t.id = $1"))
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// # Errors
/// When the database does.
pub async fn tasks(connection: &mut PgConnection, ticket: TicketId) -> Result<Vec<TaskRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, ticket_id, position, kind, text, mandatory, min_value, max_value, unit, meter_id, result, note,
                done_at, done_by
         FROM ticket_task WHERE ticket_id = $1 ORDER BY position",
    )
    .bind(ticket)
    .fetch_all(connection)
    .await
}

/// The history of one ticket, oldest first.
///
/// # Errors
/// When the database does.
pub async fn events(
    connection: &mut PgConnection,
    ticket: TicketId,
) -> Result<Vec<TicketEvent>, sqlx::Error> {
    sqlx::query_as("SELECT id, at, kind, actor, detail FROM ticket_event WHERE ticket_id = $1 ORDER BY id")
        .bind(ticket)
        .fetch_all(connection)
        .await
}

/// The class of the asset that a ticket is for.
///
/// # Errors
/// When the database does.
pub async fn class_name(
    connection: &mut PgConnection,
    ticket: TicketId,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT c.name FROM ticket t JOIN asset a ON a.id = t.asset_id JOIN asset_class c ON c.id = a.class_id
         WHERE t.id = $1",
    )
    .bind(ticket)
    .fetch_optional(connection)
    .await
}

//! How tickets stand to each other: duplicates, what must be done first, parts of a whole, repeats.

use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

use super::change::{Coding, transition};
use super::create::{Created, NewTicket, add_event, create};
use super::facts::lock;
use crate::db::change::ChangeError;
use crate::db::outbox;
use crate::id::{RelationId, TaskId, TicketId};
use crate::people::words;
use crate::ticket::{Origin, Priority, Refusal, Status};
use crate::time::Timestamp;

words! {
    RelationKind ("ticket_relation_kind") {
        /// The other is about the same; this one is cancelled.
        DuplicateOf = "duplicate_of",
        /// The other has to be done first.
        BlockedBy = "blocked_by",
        /// This one was a part of the other.
        SplitFrom = "split_from",
        /// The same cause has come back.
        RepeatOf = "repeat_of",
        RelatedTo = "related_to",
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = TicketRelation))]
pub struct RelationRow {
    pub id: RelationId,
    pub kind: RelationKind,
    /// This ticket is the one that the kind speaks of; `false` = the other is (it blocks, it is duplicated).
    pub outgoing: bool,
    pub other_id: TicketId,
    pub other_number: i32,
    pub other_title: String,
    pub other_status: Status,
    pub created_by: String,
    pub created_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewRelation {
    pub kind: RelationKind,
    pub other_id: TicketId,
}

/// Why two tickets can't be related so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelateError {
    #[error("a ticket can't be related to itself")]
    Itself,
    #[error("there is no such ticket: other_id")]
    NoOther,
    #[error("#{0} waits for this ticket already: they would wait for each other")]
    Circle(i32),
    #[error("#{number} is {status}: there is nothing to wait for")]
    NothingToWaitFor { number: i32, status: Status },
    #[error("the ticket is {0}: reopen it, or make a new ticket that repeats it (repeat_of)")]
    ClosedParent(Status),
    #[error("#{0} is itself a duplicate: name the ticket that it duplicates")]
    DuplicateOfDuplicate(i32),
    #[error(transparent)]
    Cancel(Refusal),
    #[error("{0} is not an open task of this ticket")]
    NoSuchTask(TaskId),
    #[error("name at least one open task to split off")]
    NoTasks,
    #[error("a title has 1 to 300 characters")]
    NoTitle,
}

/// # Errors
/// When the database does.
pub async fn relations(
    connection: &mut PgConnection,
    ticket: TicketId,
) -> Result<Vec<RelationRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT r.id, r.kind, r.ticket_id = $1 AS outgoing, o.id AS other_id, o.number AS other_number,
                o.title AS other_title, o.status AS other_status, r.created_by, r.created_at
         FROM ticket_relation r JOIN ticket o ON o.id = CASE WHEN r.ticket_id = $1 THEN r.other_id ELSE r.ticket_id END
         WHERE r.ticket_id = $1 OR r.other_id = $1 ORDER BY r.created_at, r.id",
    )
    .bind(ticket)
    .fetch_all(connection)
    .await
}

/// Relates two tickets. A duplicate is cancelled by it.
///
/// # Errors
/// [`RelateError`]; not found when there is no such ticket.
pub async fn relate(
    connection: &mut PgConnection,
    id: TicketId,
    new: NewRelation,
    actor: &str,
    now: Timestamp,
) -> Result<(), ChangeError<RelateError>> {
    let refuse = |error| Err(ChangeError::Refused(error));
    let row = lock(connection, id).await?.ok_or(ChangeError::NotFound)?;
    if new.other_id == id {
        return refuse(RelateError::Itself);
    }
    let other: Option<(i32, Status)> = sqlx::query_as("SELECT number, status FROM ticket WHERE id = $1")
        .bind(new.other_id)
        .fetch_optional(&mut *connection)
        .await?;
    let Some((number, status)) = other else {
        return refuse(RelateError::NoOther);
    };
    match new.kind {
        RelationKind::BlockedBy => {
            if row.status.is_terminal() {
                return refuse(RelateError::ClosedParent(row.status));
            }
            if !status.is_open() {
                return refuse(RelateError::NothingToWaitFor { number, status });
            }
            // One who adds the other half of a circle at the same moment waits for this lock.
            sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 11))")
                .bind(row.tenant_id.to_string())
                .execute(&mut *connection)
                .await?;
            let circle: bool = sqlx::query_scalar(
                "WITH RECURSIVE first (id) AS (
                     SELECT other_id FROM ticket_relation WHERE ticket_id = $1 AND kind = 'blocked_by'
                     UNION SELECT r.other_id FROM ticket_relation r JOIN first f ON f.id = r.ticket_id
                     WHERE r.kind = 'blocked_by')
                 SELECT EXISTS (SELECT FROM first WHERE id = $2)",
            )
            .bind(new.other_id)
            .bind(id)
            .fetch_one(&mut *connection)
            .await?;
            if circle {
                return refuse(RelateError::Circle(number));
            }
        }
        RelationKind::DuplicateOf => {
            let is_one: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM ticket_relation WHERE ticket_id = $1 AND kind = 'duplicate_of')",
            )
            .bind(new.other_id)
            .fetch_one(&mut *connection)
            .await?;
            if is_one {
                return refuse(RelateError::DuplicateOfDuplicate(number));
            }
        }
        RelationKind::SplitFrom | RelationKind::RepeatOf | RelationKind::RelatedTo => {}
    }
    let detail = json!({ "kind": new.kind, "other_id": new.other_id, "other_number": number });
    insert(connection, id, new, actor).await?;
    add_event(connection, row.tenant_id, id, "related", actor, &detail).await?;
    outbox::append(
        connection,
        row.tenant_id,
        "ticket.related",
        &id.to_string(),
        Some(row.asset_id),
        &detail,
    )
    .await?;
    if new.kind == RelationKind::DuplicateOf && row.status != Status::Cancelled {
        let coding = Coding {
            reason: Some(format!("duplicate of #{number}")),
            ..Coding::default()
        };
        match transition(connection, id, None, Status::Cancelled, &coding, actor, now).await {
            Ok(_) => {}
            Err(ChangeError::Refused(refusal)) => return refuse(RelateError::Cancel(refusal)),
            Err(ChangeError::Database(error)) => return Err(error.into()),
            Err(ChangeError::NotFound | ChangeError::Stale { .. }) => return Err(ChangeError::NotFound),
        }
    }
    Ok(())
}

async fn insert(
    connection: &mut PgConnection,
    id: TicketId,
    new: NewRelation,
    actor: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO ticket_relation (id, tenant_id, ticket_id, kind, other_id, created_by)
         SELECT $1, tenant_id, id, $3, $4, $5 FROM ticket WHERE id = $2
         ON CONFLICT (ticket_id, kind, other_id) DO NOTHING",
    )
    .bind(RelationId::new())
    .bind(id)
    .bind(new.kind)
    .bind(new.other_id)
    .bind(actor)
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes a relation back; a cancelled duplicate stays cancelled. `false` = the ticket has none such.
///
/// # Errors
/// When the database does.
pub async fn unrelate(
    connection: &mut PgConnection,
    id: TicketId,
    relation: RelationId,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("DELETE FROM ticket_relation WHERE id = $1 AND (ticket_id = $2 OR other_id = $2)")
        .bind(relation)
        .bind(id)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// What is split off a ticket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Split {
    #[cfg_attr(feature = "openapi", schema(example = "Electrical part"))]
    pub title: String,
    /// Open tasks of the ticket that go over to the new one.
    pub task_ids: Vec<TaskId>,
    #[serde(default)]
    pub priority: Option<Priority>,
}

/// Makes a new ticket of some of a ticket's open tasks.
///
/// # Errors
/// [`RelateError`]; not found when there is no such ticket.
pub async fn split(
    connection: &mut PgConnection,
    id: TicketId,
    order: &Split,
    actor: &str,
    now: Timestamp,
) -> Result<TicketId, ChangeError<RelateError>> {
    let refuse = |error| Err(ChangeError::Refused(error));
    let row = lock(connection, id).await?.ok_or(ChangeError::NotFound)?;
    if !row.status.is_open() {
        return refuse(RelateError::ClosedParent(row.status));
    }
    if order.title.trim().is_empty() || order.title.chars().count() > 300 {
        return refuse(RelateError::NoTitle);
    }
    if order.task_ids.is_empty() {
        return refuse(RelateError::NoTasks);
    }
    let open: Vec<TaskId> =
        sqlx::query_scalar("SELECT id FROM ticket_task WHERE ticket_id = $1 AND done_at IS NULL")
            .bind(id)
            .fetch_all(&mut *connection)
            .await?;
    if let Some(stranger) = order.task_ids.iter().find(|task| !open.contains(task)) {
        return refuse(RelateError::NoSuchTask(*stranger));
    }
    let new = NewTicket {
        tenant: row.tenant_id,
        asset: row.asset_id,
        // The case keeps its one open ticket; this one is a part of it by its relation.
        case: None,
        occurrence: None,
        failure_mode: row.failure_mode_id,
        origin: Origin::Person,
        origin_key: format!("split:{}", TicketId::new()),
        title: order.title.trim().to_owned(),
        description: String::new(),
        priority: order.priority.unwrap_or(row.priority),
        due_at: None,
        repeat_of: None,
        tasks: Vec::new(),
    };
    let part = match create(connection, &new, actor).await? {
        Created::New(part) | Created::Existing(part) => part,
    };
    sqlx::query(
        "UPDATE ticket_task k SET ticket_id = $2, position = m.position
         FROM (SELECT id, row_number() OVER (ORDER BY position)::int AS position FROM ticket_task WHERE id = ANY ($1)) m
         WHERE k.id = m.id",
    )
    .bind(&order.task_ids)
    .bind(part)
    .execute(&mut *connection)
    .await?;
    let relation = NewRelation {
        kind: RelationKind::SplitFrom,
        other_id: id,
    };
    insert(connection, part, relation, actor).await?;
    let detail = json!({ "into": part, "tasks": order.task_ids });
    add_event(connection, row.tenant_id, id, "split", actor, &detail).await?;
    outbox::append(
        connection,
        row.tenant_id,
        "ticket.split",
        &id.to_string(),
        Some(row.asset_id),
        &detail,
    )
    .await?;
    // What the new one asks for may differ: its clocks are its own.
    crate::db::sla::refresh(connection, part, now).await?;
    Ok(part)
}

//! Files of a ticket. The database knows name, type, size and hash; the content lies in the store.

use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;

use super::create::add_event;
use super::facts::lock;
use crate::db::change::{ChangeError, Never};
use crate::db::outbox;
use crate::id::{AttachmentId, TaskId, TicketId};
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Attachment))]
pub struct AttachmentRow {
    pub id: AttachmentId,
    pub ticket_id: TicketId,
    pub task_id: Option<TaskId>,
    pub name: String,
    pub media_type: String,
    pub size_bytes: i64,
    /// Hexadecimal.
    pub sha256: String,
    pub created_by: String,
    pub created_at: Timestamp,
}

#[derive(Clone, Copy, Debug)]
pub struct NewAttachment<'a> {
    pub ticket: TicketId,
    pub task: Option<TaskId>,
    pub name: &'a str,
    pub media_type: &'a str,
    pub size_bytes: i64,
    pub sha256: [u8; 32],
}

/// Notes a file whose content is in the store. The same content under the same name is the same file.
///
/// # Errors
/// Not found when there is no such ticket.
pub async fn attach(
    connection: &mut PgConnection,
    new: &NewAttachment<'_>,
    actor: &str,
) -> Result<AttachmentId, ChangeError<Never>> {
    let row = lock(connection, new.ticket).await?.ok_or(ChangeError::NotFound)?;
    let id = AttachmentId::new();
    let made = sqlx::query(
        "INSERT INTO attachment (id, tenant_id, ticket_id, task_id, name, media_type, size_bytes, sha256, created_by)
         VALUES ($1, $2, $3, (SELECT id FROM ticket_task WHERE id = $4 AND ticket_id = $3), $5, $6, $7, $8, $9)
         ON CONFLICT (ticket_id, sha256, name) DO NOTHING",
    )
    .bind(id)
    .bind(row.tenant_id)
    .bind(new.ticket)
    .bind(new.task)
    .bind(new.name)
    .bind(new.media_type)
    .bind(new.size_bytes)
    .bind(&new.sha256[..])
    .bind(actor)
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if made == 0 {
        let id = sqlx::query_scalar(
            "SELECT id FROM attachment WHERE ticket_id = $1 AND sha256 = $2 AND name = $3",
        )
        .bind(new.ticket)
        .bind(&new.sha256[..])
        .bind(new.name)
        .fetch_one(connection)
        .await?;
        return Ok(id);
    }
    let detail = json!({ "attachment_id": id, "name": new.name, "media_type": new.media_type, "size_bytes": new.size_bytes });
    add_event(connection, row.tenant_id, new.ticket, "attached", actor, &detail).await?;
    outbox::append(
        connection,
        row.tenant_id,
        "ticket.attached",
        &new.ticket.to_string(),
        Some(row.asset_id),
        &detail,
    )
    .await?;
    Ok(id)
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, ticket_id, task_id, name, media_type, size_bytes, encode(sha256, 'hex') AS sha256, created_by,
                    created_at FROM attachment ",
            $rest
        )
    };
}

/// # Errors
/// When the database does.
pub async fn attachments(
    connection: &mut PgConnection,
    ticket: TicketId,
) -> Result<Vec<AttachmentRow>, sqlx::Error> {
    sqlx::query_as(select!("WHERE ticket_id = $1 ORDER BY id"))
        .bind(ticket)
        .fetch_all(connection)
        .await
}

/// # Errors
/// When the database does.
pub async fn attachment(
    connection: &mut PgConnection,
    id: AttachmentId,
) -> Result<Option<AttachmentRow>, sqlx::Error> {
    sqlx::query_as(select!("WHERE id = $1"))
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// Bytes that the tenant's files take, content that several share counted once.
///
/// # Errors
/// When the database does.
pub async fn content_known(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT coalesce(sum(size_bytes), 0)::bigint FROM (SELECT DISTINCT ON (sha256) size_bytes FROM attachment) a",
    )
    .fetch_one(connection)
    .await
}

//! What was used of parts.

use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;

use crate::db::change::ChangeError;
use crate::db::outbox;
use crate::db::ticket::add_event;
use crate::id::{AssetId, PostingId, TenantId, TicketId};
use crate::ticket::Status;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = PartPosting))]
pub struct PostingRow {
    pub id: PostingId,
    pub part_number: String,
    pub warehouse: String,
    /// Negative = it undoes another.
    pub quantity: f64,
    pub unit: String,
    pub reverses: Option<PostingId>,
    pub reason: Option<String>,
    pub posted_at: Timestamp,
    pub posted_by: String,
}

/// Why parts can't be posted so.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PostError {
    #[error("the ticket is {0}: parts are posted while it is worked on or when it is completed")]
    State(Status),
    #[error("the quantity must be above 0; a mistake is undone by a reversal")]
    Quantity,
    #[error("the posting is reversed already")]
    Reversed,
    #[error("a reversal can't be reversed: post again")]
    IsReversal,
    #[error("say why it is reversed")]
    NoReason,
}

type TicketPlace = (TenantId, AssetId, Status);

async fn place(connection: &mut PgConnection, ticket: TicketId) -> Result<Option<TicketPlace>, sqlx::Error> {
    sqlx::query_as("SELECT tenant_id, asset_id, status FROM ticket WHERE id = $1 FOR UPDATE")
        .bind(ticket)
        .fetch_optional(connection)
        .await
}

/// Posts what was used; the ticket's reservation of the part is consumed by it.
///
/// # Errors
/// [`PostError`]; not found when there is no such ticket.
pub async fn post(
    connection: &mut PgConnection,
    ticket: TicketId,
    (part, warehouse, quantity): (&str, &str, f64),
    actor: &str,
    now: Timestamp,
) -> Result<PostingId, ChangeError<PostError>> {
    let (tenant, asset, status) = place(connection, ticket).await?.ok_or(ChangeError::NotFound)?;
    if !matches!(status, Status::InProgress | Status::OnHold | Status::Completed) {
        return Err(ChangeError::Refused(PostError::State(status)));
    }
    if !(quantity.is_finite() && quantity > 0.0) {
        return Err(ChangeError::Refused(PostError::Quantity));
    }
    let id = PostingId::new();
    let unit: String = sqlx::query_scalar(
        "INSERT INTO part_posting (id, tenant_id, ticket_id, asset_id, part_number, warehouse, quantity, unit, posted_at, posted_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7,
             coalesce((SELECT max(unit) FROM part_stock WHERE part_number = $5),
                      (SELECT max(unit) FROM bom_item WHERE part_number = $5), '1'), $8, $9) RETURNING unit",
    )
    .bind(id)
    .bind(tenant)
    .bind(ticket)
    .bind(asset)
    .bind(part)
    .bind(warehouse)
    .bind(quantity)
    .bind(now)
    .bind(actor)
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE part_reservation SET status = 'consumed', ended_at = $3
         WHERE ticket_id = $1 AND part_number = $2 AND status = 'active'",
    )
    .bind(ticket)
    .bind(part)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    let detail = json!({ "posting_id": id, "part_number": part, "warehouse": warehouse, "quantity": quantity, "unit": unit });
    add_event(connection, tenant, ticket, "part_posted", actor, &detail).await?;
    outbox::append(
        connection,
        tenant,
        "part.posted",
        &ticket.to_string(),
        Some(asset),
        &detail,
    )
    .await?;
    Ok(id)
}

/// Undoes a posting by one with the sign turned.
///
/// # Errors
/// [`PostError`]; not found when the ticket has no such posting.
pub async fn reverse(
    connection: &mut PgConnection,
    ticket: TicketId,
    posting: PostingId,
    reason: &str,
    actor: &str,
    now: Timestamp,
) -> Result<PostingId, ChangeError<PostError>> {
    let refuse = |error| Err(ChangeError::Refused(error));
    let (tenant, asset, _) = place(connection, ticket).await?.ok_or(ChangeError::NotFound)?;
    type Row = (String, String, f64, Option<PostingId>, bool);
    let found: Option<Row> = sqlx::query_as(
        "SELECT part_number, warehouse, quantity, reverses, EXISTS (SELECT FROM part_posting r WHERE r.reverses = p.id)
         FROM part_posting p WHERE id = $1 AND ticket_id = $2",
    )
    .bind(posting)
    .bind(ticket)
    .fetch_optional(&mut *connection)
    .await?;
    let (part, warehouse, quantity, reverses, reversed) = found.ok_or(ChangeError::NotFound)?;
    if reversed {
        return refuse(PostError::Reversed);
    }
    if reverses.is_some() {
        return refuse(PostError::IsReversal);
    }
    if reason.trim().is_empty() {
        return refuse(PostError::NoReason);
    }
    let id = PostingId::new();
    sqlx::query(
        "INSERT INTO part_posting (id, tenant_id, ticket_id, asset_id, part_number, warehouse, quantity, unit, reverses,
             reason, posted_at, posted_by)
         SELECT $1, tenant_id, ticket_id, asset_id, part_number, warehouse, -quantity, unit, id, $3, $4, $5
         FROM part_posting WHERE id = $2",
    )
    .bind(id)
    .bind(posting)
    .bind(reason)
    .bind(now)
    .bind(actor)
    .execute(&mut *connection)
    .await?;
    let detail = json!({ "posting_id": id, "reverses": posting, "part_number": part, "warehouse": warehouse,
                         "quantity": -quantity, "reason": reason });
    add_event(connection, tenant, ticket, "part_reversed", actor, &detail).await?;
    outbox::append(
        connection,
        tenant,
        "part.reversed",
        &ticket.to_string(),
        Some(asset),
        &detail,
    )
    .await?;
    Ok(id)
}

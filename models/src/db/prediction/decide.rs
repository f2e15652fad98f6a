//! What a person decides on a prediction.

use serde_json::json;
use sqlx::PgConnection;

use super::add_event;
use crate::db::change::ChangeError;
use crate::db::outbox;
use crate::id::{AssetId, PredictionId, TenantId, TicketId, UserId};
use crate::prediction::{Action, Refusal, Status, act};
use crate::time::Timestamp;

/// Who decides, and with which ticket.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    pub action: &'a Action,
    pub ticket: Option<TicketId>,
    pub user: Option<UserId>,
    pub actor: &'a str,
    pub now: Timestamp,
}

/// What a person decides. `ticket` is the one that was made ([`Action::Accept`]) or is open
/// ([`Action::Attach`]). Gives the new version.
///
/// # Errors
/// See [`act`]; [`ChangeError::Stale`].
pub async fn decide(
    connection: &mut PgConnection,
    id: PredictionId,
    expected: Option<i32>,
    decision: Decision<'_>,
) -> Result<i32, ChangeError<Refusal>> {
    let Decision {
        action,
        ticket,
        user,
        actor,
        now,
    } = decision;
    let (tenant, asset, status, version): (TenantId, AssetId, Status, i32) = sqlx::query_as(
        "SELECT tenant_id, asset_id, status, row_version FROM prediction WHERE id = $1 FOR UPDATE",
    )
    .bind(id)
    .fetch_optional(&mut *connection)
    .await?
    .ok_or(ChangeError::NotFound)?;
    ChangeError::check_version(expected, version)?;
    let to = act(status, action, now).map_err(ChangeError::Refused)?;
    if matches!(to, Status::Accepted | Status::Attached) {
        let open: Option<bool> = sqlx::query_scalar(
            "SELECT status NOT IN ('completed', 'closed', 'cancelled') FROM ticket WHERE id = $1",
        )
        .bind(ticket)
        .fetch_optional(&mut *connection)
        .await?;
        if open != Some(true) {
            return Err(ChangeError::Refused(Refusal::NoOpenTicket));
        }
    }
    let (until, above, shutdown) = match action {
        Action::Snooze {
            until,
            above,
            shutdown,
        } => (*until, *above, *shutdown),
        _ => (None, None, false),
    };
    let reason = match action {
        Action::Dismiss { reason, text } => Some(match text {
            Some(text) => format!("{}: {}", reason.name(), text.trim()),
            None => reason.name().to_owned(),
        }),
        _ => None,
    };
    let version = sqlx::query_scalar(
        "UPDATE prediction SET status = $2, claimed_by = coalesce(claimed_by, $3), snoozed_until = $4, snooze_above = $5,
             snooze_shutdown = $9,
             dismiss_reason = coalesce($6, dismiss_reason), ticket_id = coalesce($7, ticket_id),
             closed_at = CASE WHEN $2 IN ('accepted'::prediction_status, 'attached', 'dismissed') THEN $8 END,
             row_version = row_version + 1, updated_at = now()
         WHERE id = $1 RETURNING row_version",
    )
    .bind(id)
    .bind(to)
    .bind(user)
    .bind(until)
    .bind(above)
    .bind(&reason)
    .bind(ticket)
    .bind(now)
    .bind(shutdown)
    .fetch_one(&mut *connection)
    .await?;
    let detail = json!({
        "from": status, "to": to, "reason": reason, "until": until, "above": above,
        "shutdown": shutdown, "ticket_id": ticket,
    });
    add_event(connection, tenant, id, action.name(), actor, &detail).await?;
    let told = format!("prediction.{}", action.name());
    outbox::append(connection, tenant, &told, &id.to_string(), Some(asset), &detail).await?;
    Ok(version)
}

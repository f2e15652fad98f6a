//! Locks that hang for a ticket.

use axum::Json;
use axum::response::Response;
use models::db::lockout::{self, LockRow, NewLock};
use models::id::{AttachmentId, LockId, TicketId};
use models::tenant::Permission;
use models::time::Timestamp;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::must_see;
use crate::error::Problem;
use crate::extract::may::{TicketsRead, TicketsWrite};
use crate::extract::{Answer, Command, Path, Tenant};
use crate::page::Page;
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, apply))
        .routes(routes!(remove))
}

/// The lock-out log of a ticket: what was locked when by whom, and taken off.
#[utoipa::path(get, path = "/v1/tickets/{id}/locks", operation_id = "list_ticket_locks", tag = "safety",
    params(("id" = TicketId, Path)), responses((status = 200, body = Page<LockRow>)),
    security(("bearer" = ["tickets:read"])))]
async fn list(
    mut tenant: Tenant<TicketsRead>,
    Path(id): Path<TicketId>,
) -> Result<Json<Page<LockRow>>, Problem> {
    must_see(tenant.db(), id).await?;
    Ok(Json(Page::whole(lockout::locks(tenant.db(), id).await?)))
}

async fn finish<T>(mut command: Command<TicketsWrite, T>, id: TicketId) -> Result<Response, Problem> {
    let all = lockout::locks(command.db(), id).await?;
    command.finish(Answer::ok(&Page::whole(all))?).await
}

/// Hang a lock on a point of a procedure, with a photo of it.
#[utoipa::path(post, path = "/v1/tickets/{id}/locks", operation_id = "apply_lock", tag = "safety",
    params(("id" = TicketId, Path)), request_body = NewLock, responses((status = 200, body = Page<LockRow>)),
    security(("bearer" = ["tickets:write"])))]
async fn apply(
    Path(id): Path<TicketId>,
    mut command: Command<TicketsWrite, NewLock>,
) -> Result<Response, Problem> {
    must_see(command.db(), id).await?;
    let (new, actor) = (command.body.clone(), command.principal().name());
    if new.tag.trim().is_empty() {
        return Err(Problem::field("/tag", "the number on the tag"));
    }
    let lock = lockout::apply(command.db(), id, &new, &actor, Timestamp::now()).await?;
    command
        .audit(
            "lock.apply",
            &lock.to_string(),
            &json!({ "ticket": id, "point": new.point }),
        )
        .await?;
    finish(command, id).await
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveLock {
    /// An image attached to the ticket that shows the free point.
    photo_id: Option<AttachmentId>,
}

/// Take a lock off: by whom hung it, or by who may write safety.
#[utoipa::path(post, path = "/v1/tickets/{id}/locks/{lock_id}/removal", operation_id = "remove_lock", tag = "safety",
    params(("id" = TicketId, Path), ("lock_id" = LockId, Path)), request_body = RemoveLock,
    responses((status = 200, body = Page<LockRow>)), security(("bearer" = ["tickets:write"])))]
async fn remove(
    Path((id, lock)): Path<(TicketId, LockId)>,
    mut command: Command<TicketsWrite, RemoveLock>,
) -> Result<Response, Problem> {
    must_see(command.db(), id).await?;
    let (photo, actor) = (command.body.photo_id, command.principal().name());
    let others_too = command.principal().may(Permission::SafetyWrite);
    lockout::remove(
        command.db(),
        id,
        lock,
        photo,
        &actor,
        others_too,
        Timestamp::now(),
    )
    .await?;
    command
        .audit("lock.remove", &lock.to_string(), &json!({ "ticket": id }))
        .await?;
    finish(command, id).await
}

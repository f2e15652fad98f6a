//! Files of a ticket.

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
};
use axum::response::{IntoResponse, Response};
use models::db::ticket::{self, AttachmentRow, NewAttachment};
use models::id::{AttachmentId, TaskId, TicketId};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::must_see;
use crate::error::{Kind, Problem};
use crate::extract::may::{TicketsRead, TicketsWrite};
use crate::extract::{Answer, Path, Query, Tenant, Upload};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(attach))
        .routes(routes!(content))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AttachQuery {
    /// What it is called; `file` when left out.
    name: Option<String>,
    /// The task it belongs to.
    task_id: Option<TaskId>,
}

/// Attach a file: its bytes as the body, its type as Content-Type. The same content under the same name
/// is the same attachment.
#[utoipa::path(post, path = "/v1/tickets/{id}/attachments", operation_id = "attach_file", tag = "tickets",
    params(("id" = TicketId, Path), AttachQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = AttachmentRow)), security(("bearer" = ["tickets:write"])))]
async fn attach(
    State(app): State<App>,
    Path(id): Path<TicketId>,
    Query(query): Query<AttachQuery>,
    mut upload: Upload<TicketsWrite>,
) -> Result<Response, Problem> {
    must_see(upload.db(), id).await?;
    let config = &app.config().attachments;
    let media_type = upload.media_type.clone();
    if !config.media_types.contains(&media_type) {
        let detail = format!(
            "`{media_type}` is not taken; one of {}",
            config.media_types.join(", ")
        );
        return Err(Problem::new(Kind::UnsupportedMediaType, detail));
    }
    let name = query.name.as_deref().unwrap_or("file").trim();
    if name.is_empty()
        || name.chars().count() > 200
        || name
            .chars()
            .any(|letter| letter.is_control() || "/\\\"".contains(letter))
    {
        return Err(Problem::query(
            "name",
            "1 to 200 characters, no slash, no quotation mark, no line break",
        ));
    }
    if let Some(task) = query.task_id {
        let tasks = ticket::tasks(upload.db(), id).await?;
        if !tasks.iter().any(|row| row.id == task) {
            return Err(Problem::query("task_id", "the ticket has no such task"));
        }
    }
    let used = u64::try_from(ticket::content_known(upload.db()).await?).unwrap_or(0);
    let room = config.max_bytes_per_tenant.saturating_sub(used);
    let (mut command, kept) = upload.keep(&app, room.min(config.max_bytes as u64)).await?;
    // Asked again: it may have taken a while.
    must_see(command.db(), id).await?;
    let new = NewAttachment {
        ticket: id,
        task: query.task_id,
        name,
        media_type: &media_type,
        size_bytes: i64::try_from(kept.length).unwrap_or(i64::MAX),
        sha256: kept.sha256,
    };
    let actor = command.principal().name();
    let attachment = ticket::attach(command.db(), &new, &actor).await?;
    command
        .audit(
            "ticket.attach",
            &attachment.to_string(),
            &json!({ "ticket": id, "name": name }),
        )
        .await?;
    let row = ticket::attachment(command.db(), attachment)
        .await?
        .ok_or_else(Problem::not_found)?;
    command
        .finish(Answer::created(format!("/v1/attachments/{attachment}"), &row)?)
        .await
}

/// The content of a file.
#[utoipa::path(get, path = "/v1/attachments/{id}", operation_id = "get_attachment", tag = "tickets",
    params(("id" = AttachmentId, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")),
    security(("bearer" = ["tickets:read"])))]
async fn content(
    State(app): State<App>,
    mut tenant: Tenant<TicketsRead>,
    Path(id): Path<AttachmentId>,
) -> Result<Response, Problem> {
    let row = ticket::attachment(tenant.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    drop(tenant);
    let content = app.store().get(&row.sha256).await.map_err(|error| {
        tracing::error!(error = format!("{error:#}"), "a file can't be read");
        Problem::new(
            Kind::Internal,
            "the file can't be read; the reason is in the server's log",
        )
    })?;
    let Some(content) = content else {
        tracing::error!(attachment = %id, sha256 = row.sha256, "the content of an attachment is missing");
        return Err(Problem::new(
            Kind::Internal,
            "the content of the file is missing on the server",
        ));
    };
    let text = |text: &str| {
        HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("application/octet-stream"))
    };
    // Never shown as a page of ours, whatever is in it.
    let name: String = row
        .name
        .chars()
        .map(|letter| if letter.is_ascii() { letter } else { '_' })
        .collect();
    let headers = [
        (CONTENT_TYPE, text(&row.media_type)),
        (
            CONTENT_DISPOSITION,
            text(&format!("attachment; filename=\"{name}\"")),
        ),
        (
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("sandbox; default-src 'none'"),
        ),
        // What a hash names never changes; but it belongs to one tenant.
        (
            CACHE_CONTROL,
            HeaderValue::from_static("private, max-age=31536000, immutable"),
        ),
    ];
    // So that a file which breaks off, because it is not what its name says, is seen to.
    let length = [(CONTENT_LENGTH, HeaderValue::from(content.length))];
    Ok((length, headers, content.into_body()).into_response())
}

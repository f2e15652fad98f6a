//! What could not be stored.

use axum::Json;
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use models::db::dead_letter;
use models::db::overview::{self, DeadLetterFilter, DeadLetterRow};
use models::dead_letter::Fix;
use models::id::{DeadLetterId, GatewayId};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::GatewayRef;
use super::keys::Empty;
use crate::error::{Kind, Problem};
use crate::extract::may::{IngestRead, IngestWrite};
use crate::extract::{Answer, Command, Path, Query, Tenant};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(fix))
        .routes(routes!(replay))
        .routes(routes!(discard))
}

#[derive(Serialize, ToSchema)]
pub struct DeadLetter {
    id: DeadLetterId,
    gateway: GatewayRef,
    received_at: Timestamp,
    topic: String,
    /// Codec that was tried; `readings` = single readings as JSON.
    format: String,
    /// Stable code.
    #[schema(example = "too_far_in_future")]
    reason: String,
    detail: String,
    /// How many readings it holds; 0 when nobody could tell.
    readings: i32,
    bytes: i32,
    replayed_at: Option<Timestamp>,
    discarded_at: Option<Timestamp>,
    /// How it is to be mended when it is tried again.
    fix: Fix,
    /// It waits for ingest to try it again.
    replay_requested_at: Option<Timestamp>,
    /// The last try left it where it is.
    replay_failed_at: Option<Timestamp>,
    /// Why it did.
    replay_error: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct DeadLetterDetail {
    #[serde(flatten)]
    letter: DeadLetter,
    /// The payload where it is text.
    payload: Option<String>,
    /// The payload where it is not.
    payload_base64: Option<String>,
}

impl From<DeadLetterRow> for DeadLetter {
    fn from(row: DeadLetterRow) -> Self {
        Self {
            id: row.id,
            gateway: GatewayRef {
                id: row.gateway_id,
                slug: row.gateway_slug,
            },
            received_at: row.received_at,
            topic: row.topic,
            format: row.format,
            reason: row.reason,
            detail: row.detail,
            readings: row.readings,
            bytes: row.bytes,
            replayed_at: row.replayed_at,
            discarded_at: row.discarded_at,
            fix: row.fix,
            replay_requested_at: row.replay_requested_at,
            replay_failed_at: row.replay_failed_at,
            replay_error: row.replay_error,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeadLetterQuery {
    gateway_id: Option<GatewayId>,
    reason: Option<String>,
    /// Only those that are neither replayed nor discarded.
    #[serde(default)]
    open: bool,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Newest first, without payloads.
#[utoipa::path(get, path = "/v1/dead-letters", operation_id = "list_dead_letters", tag = "ingest",
    params(DeadLetterQuery), responses((status = 200, body = Page<DeadLetter>)),
    security(("bearer" = ["ingest:read"])))]
async fn list(
    mut tenant: Tenant<IngestRead>,
    Query(query): Query<DeadLetterQuery>,
) -> Result<Json<Page<DeadLetter>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after: Option<(Timestamp, DeadLetterId)> =
        page::read_cursor("dead_letters", query.cursor.as_deref())?;
    let filter = DeadLetterFilter {
        gateway: query.gateway_id,
        reason: query.reason,
        open: query.open,
    };
    let rows = overview::dead_letters(tenant.db(), &filter, after, limit + 1).await?;
    Ok(Json(Page::of(
        "dead_letters",
        limit,
        rows,
        |row| (row.received_at, row.id),
        Into::into,
    )))
}

/// One dead letter with its payload.
#[utoipa::path(get, path = "/v1/dead-letters/{id}", operation_id = "get_dead_letter", tag = "ingest",
    params(("id" = DeadLetterId, Path)), responses((status = 200, body = DeadLetterDetail)),
    security(("bearer" = ["ingest:read"])))]
async fn get(
    mut tenant: Tenant<IngestRead>,
    Path(id): Path<DeadLetterId>,
) -> Result<Json<DeadLetterDetail>, Problem> {
    let (row, bytes) = overview::dead_letter(tenant.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let (payload, payload_base64) = match String::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(BASE64_STANDARD.encode(error.as_bytes()))),
    };
    Ok(Json(DeadLetterDetail {
        letter: row.into(),
        payload,
        payload_base64,
    }))
}

/// Say what was wrong with it: names that were sent wrong, the unit that the values are really in, limits of time. It takes
/// the place of what was said before and is applied at the next replay.
#[utoipa::path(post, path = "/v1/dead-letters/{id}/fix", operation_id = "fix_dead_letter", tag = "ingest",
    params(("id" = DeadLetterId, Path)),
    request_body(content = Fix, example = json!({"names": {"pump-1/tmp": "pump-1/temperature"}, "units": {"*": "Cel"}})),
    responses((status = 200, body = DeadLetter)), security(("bearer" = ["ingest:write"])))]
async fn fix(
    Path(id): Path<DeadLetterId>,
    mut command: Command<IngestWrite, Fix>,
) -> Result<Response, Problem> {
    overview::dead_letter(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let fix = command.body.clone();
    fix.check()
        .map_err(|error| Problem::field("/", error.to_string()))?;
    if dead_letter::set_fix(command.db(), &[id], &fix).await?.is_empty() {
        return Err(settled());
    }
    command
        .audit("dead_letter.fix", &id.to_string(), &json!({ "fix": fix }))
        .await?;
    finish(command, id).await
}

/// Try it again, as it is mended. Ingest does so within seconds, through the same checks and into the same ledger as
/// everything else; then `replayed_at` or `replay_error` says what came of it, and the gateway hears of it on its error
/// topic.
#[utoipa::path(post, path = "/v1/dead-letters/{id}/replay", operation_id = "replay_dead_letter", tag = "ingest",
    params(("id" = DeadLetterId, Path)), responses((status = 200, body = DeadLetter)),
    security(("bearer" = ["ingest:write"])))]
async fn replay(
    Path(id): Path<DeadLetterId>,
    mut command: Command<IngestWrite, Empty>,
) -> Result<Response, Problem> {
    overview::dead_letter(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    if dead_letter::request_replay(command.db(), &[id]).await?.is_empty() {
        return Err(settled());
    }
    command
        .audit("dead_letter.replay", &id.to_string(), &json!({}))
        .await?;
    finish(command, id).await
}

fn settled() -> Problem {
    Problem::new(Kind::Conflict, "it is replayed or discarded already")
}

/// Answers with the letter as it is now.
async fn finish<T>(mut command: Command<IngestWrite, T>, id: DeadLetterId) -> Result<Response, Problem> {
    let (row, _) = overview::dead_letter(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    command.finish(Answer::ok(&DeadLetter::from(row))?).await
}

/// Say that nobody will mend it. It stays readable.
#[utoipa::path(post, path = "/v1/dead-letters/{id}/discard", operation_id = "discard_dead_letter", tag = "ingest",
    params(("id" = DeadLetterId, Path)), responses((status = 200, body = DeadLetter)),
    security(("bearer" = ["ingest:write"])))]
async fn discard(
    Path(id): Path<DeadLetterId>,
    mut command: Command<IngestWrite, Empty>,
) -> Result<Response, Problem> {
    overview::dead_letter(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    if !overview::discard_dead_letter(command.db(), id).await? {
        return Err(settled());
    }
    command
        .audit("dead_letter.discard", &id.to_string(), &json!({}))
        .await?;
    finish(command, id).await
}

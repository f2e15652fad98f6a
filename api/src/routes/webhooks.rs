//! Webhooks: endpoints, their log, replay. And messages to people.

use axum::Json;
use axum::extract::State;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use models::db::notification::{self, NewNotificationRule, NotificationRow, RuleRow};
use models::db::webhook::{self, DeliveryRow, DeliveryStatus, NewWebhook, WebhookEdit, WebhookRow};
use models::db::{auth, outbox};
use models::id::{DeliveryId, NotificationRuleId, WebhookId};
use models::notification::Timing;
use models::time::Timestamp;
use models::webhook::check_pattern;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Paging;
use super::keys::Empty;
use crate::error::{Kind, Problem};
use crate::extract::may::{IntegrationsRead, IntegrationsWrite};
use crate::extract::{Answer, Command, Path, Query, Tenant, etag};
use crate::outbound::{check_url, new_secret};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, change, remove))
        .routes(routes!(rotate))
        .routes(routes!(test))
        .routes(routes!(deliveries))
        .routes(routes!(replay))
        .routes(routes!(rules, add_rule))
        .routes(routes!(remove_rule))
        .routes(routes!(log))
}

/// The tenant's endpoints, by name; always the whole list. Secrets are not shown.
#[utoipa::path(get, path = "/v1/webhooks", operation_id = "list_webhooks", tag = "integrations",
    responses((status = 200, body = Page<WebhookRow>)), security(("bearer" = ["integrations:read"])))]
async fn list(mut tenant: Tenant<IntegrationsRead>) -> Result<Json<Page<WebhookRow>>, Problem> {
    Ok(Json(Page::whole(webhook::list(tenant.db()).await?)))
}

/// One endpoint.
#[utoipa::path(get, path = "/v1/webhooks/{id}", operation_id = "get_webhook", tag = "integrations",
    params(("id" = WebhookId, Path)), responses((status = 200, body = WebhookRow)),
    security(("bearer" = ["integrations:read"])))]
async fn get(mut tenant: Tenant<IntegrationsRead>, Path(id): Path<WebhookId>) -> Result<Response, Problem> {
    let row = webhook::get(tenant.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    Ok(([(ETAG, etag(row.row_version))], Json(row)).into_response())
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "erp", "url": "https://erp.example.com/hooks/forewarn", "kinds": ["ticket.*"] }))]
pub struct CreateWebhook {
    name: String,
    /// https; http only for networks that the operator has allowed.
    url: String,
    /// `*`, groups such as `ticket.*`, kinds such as `ticket.created`.
    kinds: Vec<String>,
    /// Bodies as CloudEvents 1.0.
    #[serde(default)]
    cloud_events: bool,
}

#[derive(Serialize, ToSchema)]
pub struct WebhookSecret {
    webhook: WebhookRow,
    /// Signs the calls (Standard Webhooks). Shown once; `null` when the request is repeated.
    #[schema(example = "whsec_…")]
    secret: Option<String>,
}

fn check_kinds(kinds: &[String]) -> Result<(), Problem> {
    if kinds.is_empty() || kinds.len() > 100 {
        return Err(Problem::field("/kinds", "1 to 100 kinds; `*` for all"));
    }
    for (index, kind) in kinds.iter().enumerate() {
        check_pattern(kind).map_err(|error| Problem::field(format!("/kinds/{index}"), error))?;
    }
    Ok(())
}

fn url_ok(pointer: &str, url: &str) -> Result<(), Problem> {
    check_url(url)
        .map(drop)
        .map_err(|error| Problem::field(pointer, error.to_string()))
}

fn fresh_secret() -> Result<String, Problem> {
    new_secret().map_err(|error| {
        tracing::error!(%error, "no randomness");
        Problem::new(Kind::Internal, "no secret could be made")
    })
}

/// What is stored of a secret.
fn sealed(app: &App, owner: &str, secret: &str) -> Result<String, Problem> {
    app.seal().seal(owner, secret).map_err(|error| {
        tracing::error!(%error, "no randomness");
        Problem::new(Kind::Internal, "the secret could not be kept")
    })
}

/// Make an endpoint. It hears of what happens from now on.
#[utoipa::path(post, path = "/v1/webhooks", operation_id = "create_webhook", tag = "integrations",
    request_body = CreateWebhook, responses((status = 201, body = WebhookSecret)),
    security(("bearer" = ["integrations:write"])))]
async fn create(
    State(app): State<App>,
    mut command: Command<IntegrationsWrite, CreateWebhook>,
) -> Result<Response, Problem> {
    let body = &command.body;
    let (name, url, kinds) = (body.name.trim().to_owned(), body.url.clone(), body.kinds.clone());
    let cloud_events = body.cloud_events;
    if name.is_empty() || name.len() > 100 {
        return Err(Problem::field("/name", "1 to 100 characters"));
    }
    url_ok("/url", &url)?;
    check_kinds(&kinds)?;
    let (id, secret) = (WebhookId::new(), fresh_secret()?);
    let sealed = sealed(&app, &id.to_string(), &secret)?;
    let (tenant, actor) = (command.principal().tenant, command.principal().name());
    let new = NewWebhook {
        id,
        tenant,
        name: &name,
        url: &url,
        kinds: &kinds,
        cloud_events,
        secret: &sealed,
    };
    webhook::create(command.db(), &new, &actor).await?;
    command
        .audit(
            "webhook.create",
            &id.to_string(),
            &json!({ "name": name, "url": url, "kinds": kinds }),
        )
        .await?;
    answer_secret(command, id, secret, true).await
}

async fn answer_secret<T>(
    mut command: Command<IntegrationsWrite, T>,
    id: WebhookId,
    secret: String,
    made: bool,
) -> Result<Response, Problem> {
    let webhook = webhook::get(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let version = webhook.row_version;
    let kept = WebhookSecret {
        webhook: webhook.clone(),
        secret: None,
    };
    let shown = WebhookSecret {
        webhook,
        secret: Some(secret),
    };
    let answer = if made {
        Answer::created(format!("/v1/webhooks/{id}"), &shown)?
    } else {
        Answer::ok(&shown)?
    };
    command.finish(answer.keep_instead(&kept)?.version(version)).await
}

/// Change what is given, or switch it off and on.
#[utoipa::path(patch, path = "/v1/webhooks/{id}", operation_id = "change_webhook", tag = "integrations",
    params(("id" = WebhookId, Path), ("if-match" = String, Header)),
    request_body(content = WebhookEdit, example = json!({ "enabled": true })),
    responses((status = 200, body = WebhookRow)), security(("bearer" = ["integrations:write"])))]
async fn change(
    Path(id): Path<WebhookId>,
    mut command: Command<IntegrationsWrite, WebhookEdit>,
) -> Result<Response, Problem> {
    let before = webhook::get(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let expected = command.expected()?;
    if expected != before.row_version {
        let detail = format!(
            "it has version {} by now, and the change was meant for version {expected}: read it again, and repeat the change if it is still right",
            before.row_version
        );
        return Err(Problem::new(Kind::StaleVersion, detail));
    }
    let edit = command.body.clone();
    if let Some(url) = &edit.url {
        url_ok("/url", url)?;
    }
    if let Some(kinds) = &edit.kinds {
        check_kinds(kinds)?;
    }
    webhook::change(command.db(), id, &edit).await?;
    command
        .audit("webhook.change", &id.to_string(), &json!(edit))
        .await?;
    let row = webhook::get(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let version = row.row_version;
    command.finish(Answer::ok(&row)?.version(version)).await
}

/// Remove an endpoint and its log.
#[utoipa::path(delete, path = "/v1/webhooks/{id}", operation_id = "remove_webhook", tag = "integrations",
    params(("id" = WebhookId, Path)), responses((status = 204)), security(("bearer" = ["integrations:write"])))]
async fn remove(
    Path(id): Path<WebhookId>,
    mut command: Command<IntegrationsWrite, Empty>,
) -> Result<Response, Problem> {
    if !webhook::remove(command.db(), id).await? {
        return Err(Problem::not_found());
    }
    command
        .audit("webhook.remove", &id.to_string(), &json!({}))
        .await?;
    command.finish(Answer::empty()).await
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// Seconds for which the old secret signs beside the new one; a day when left out.
    #[schema(example = 86400.0)]
    overlap_s: Option<f64>,
}

/// Give an endpoint a new secret. For some time both sign, so that the receiver can change over.
#[utoipa::path(post, path = "/v1/webhooks/{id}/rotate", operation_id = "rotate_webhook_secret", tag = "integrations",
    params(("id" = WebhookId, Path)), request_body = Rotate, responses((status = 200, body = WebhookSecret)),
    security(("bearer" = ["integrations:write"])))]
async fn rotate(
    State(app): State<App>,
    Path(id): Path<WebhookId>,
    mut command: Command<IntegrationsWrite, Rotate>,
) -> Result<Response, Problem> {
    let overlap = command.body.overlap_s.unwrap_or(86_400.0);
    let secret = fresh_secret()?;
    if !(0.0..=30.0 * 86_400.0).contains(&overlap) {
        webhook::get(command.db(), id)
            .await?
            .ok_or_else(Problem::not_found)?;
        return Err(Problem::field("/overlap_s", "0 to 30 days"));
    }
    let until = Timestamp::now().plus_seconds(overlap);
    let sealed = sealed(&app, &id.to_string(), &secret)?;
    if !webhook::rotate(command.db(), id, &sealed, until).await? {
        return Err(Problem::not_found());
    }
    command
        .audit("webhook.rotate", &id.to_string(), &json!({ "until": until }))
        .await?;
    answer_secret(command, id, secret, false).await
}

/// Send a `webhook.test` event to every endpoint that wants it; `*` and `webhook.*` do.
#[utoipa::path(post, path = "/v1/webhooks/{id}/test", operation_id = "test_webhook", tag = "integrations",
    params(("id" = WebhookId, Path)), request_body = Empty, responses((status = 204)),
    security(("bearer" = ["integrations:write"])))]
async fn test(
    Path(id): Path<WebhookId>,
    mut command: Command<IntegrationsWrite, Empty>,
) -> Result<Response, Problem> {
    webhook::get(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let tenant = command.principal().tenant;
    let data = json!({ "text": "a test, asked for by a person" });
    outbox::append(command.db(), tenant, "webhook.test", &id.to_string(), None, &data).await?;
    command.finish(Answer::empty()).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeliveryQuery {
    status: Option<DeliveryStatus>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    cursor: Option<String>,
}

/// What was sent to an endpoint and what came of it, newest first.
#[utoipa::path(get, path = "/v1/webhooks/{id}/deliveries", operation_id = "list_webhook_deliveries",
    tag = "integrations", params(("id" = WebhookId, Path), DeliveryQuery),
    responses((status = 200, body = Page<DeliveryRow>)), security(("bearer" = ["integrations:read"])))]
async fn deliveries(
    mut tenant: Tenant<IntegrationsRead>,
    Path(id): Path<WebhookId>,
    Query(query): Query<DeliveryQuery>,
) -> Result<Json<Page<DeliveryRow>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after = page::read_cursor("deliveries", query.cursor.as_deref())?;
    webhook::get(tenant.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let rows = webhook::deliveries(tenant.db(), id, query.status, after, limit + 1).await?;
    Ok(Json(Page::of("deliveries", limit, rows, |row| row.id, |row| row)))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "from": "2026-01-31T00:00:00Z", "to": "2026-02-01T00:00:00Z" }))]
pub struct Replay {
    /// One delivery; or a window by the moment they were made.
    delivery_id: Option<DeliveryId>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    /// Those of the window that were delivered, too.
    #[serde(default)]
    delivered_too: bool,
}

#[derive(Serialize, ToSchema)]
pub struct Replayed {
    deliveries: u64,
}

/// Send again: one delivery, or what was not delivered in a window. The ids stay the same.
#[utoipa::path(post, path = "/v1/webhooks/{id}/replay", operation_id = "replay_webhook", tag = "integrations",
    params(("id" = WebhookId, Path)), request_body = Replay, responses((status = 200, body = Replayed)),
    security(("bearer" = ["integrations:write"])))]
async fn replay(
    Path(id): Path<WebhookId>,
    mut command: Command<IntegrationsWrite, Replay>,
) -> Result<Response, Problem> {
    webhook::get(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let body = &command.body;
    let (one, window, delivered_too) = (body.delivery_id, body.from.zip(body.to), body.delivered_too);
    if one.is_some() == window.is_some() || window.is_some_and(|(from, to)| from >= to) {
        return Err(Problem::field(
            "/delivery_id",
            "give delivery_id, or from and a later to",
        ));
    }
    let deliveries = webhook::replay(command.db(), id, one, window, delivered_too, Timestamp::now()).await?;
    command
        .audit(
            "webhook.replay",
            &id.to_string(),
            &json!({ "deliveries": deliveries }),
        )
        .await?;
    command.finish(Answer::ok(&Replayed { deliveries })?).await
}

/// Who is told of what, by name; always the whole list.
#[utoipa::path(get, path = "/v1/notification-rules", operation_id = "list_notification_rules", tag = "integrations",
    responses((status = 200, body = Page<RuleRow>)), security(("bearer" = ["integrations:read"])))]
async fn rules(mut tenant: Tenant<IntegrationsRead>) -> Result<Json<Page<RuleRow>>, Problem> {
    Ok(Json(Page::whole(notification::rules(tenant.db()).await?)))
}

#[derive(Serialize, ToSchema)]
pub struct MadeRule {
    id: NotificationRuleId,
    /// Signs the calls of a webhook rule. Shown once.
    secret: Option<String>,
}

/// Tell a role or a person of what happens: by mail or by webhook, from a severity on, with quiet hours
/// and digests.
#[utoipa::path(post, path = "/v1/notification-rules", operation_id = "create_notification_rule", tag = "integrations",
    request_body(content = NewNotificationRule, example = json!({ "name": "planners", "role": "planner",
        "channel": "email", "kinds": ["alarm.raised", "ticket.sla_breached"], "min_severity": "warning",
        "quiet_from": "22:00", "quiet_to": "06:00", "digest_minutes": 15, "time_zone": "Europe/Berlin" })),
    responses((status = 201, body = MadeRule)), security(("bearer" = ["integrations:write"])))]
async fn add_rule(
    State(app): State<App>,
    mut command: Command<IntegrationsWrite, NewNotificationRule>,
) -> Result<Response, Problem> {
    let new = command.body.clone();
    if new.name.trim().is_empty() || new.name.len() > 100 {
        return Err(Problem::field("/name", "1 to 100 characters"));
    }
    check_kinds(&new.kinds)?;
    if new.role.is_some() == new.user_id.is_some() {
        return Err(Problem::field("/role", "give role or user_id, one of the two"));
    }
    if let Some(user) = new.user_id
        && auth::current_membership(command.db(), user).await?.is_none()
    {
        return Err(Problem::field("/user_id", "not a member of this tenant"));
    }
    let secret = match (new.channel.as_str(), &new.webhook_url) {
        ("email", None) => None,
        ("email", Some(_)) => return Err(Problem::field("/webhook_url", "is for the channel webhook")),
        ("webhook", Some(url)) => {
            url_ok("/webhook_url", url)?;
            Some(fresh_secret()?)
        }
        ("webhook", None) => return Err(Problem::field("/webhook_url", "the channel webhook needs it")),
        _ => return Err(Problem::field("/channel", "email or webhook")),
    };
    if new.quiet_from.is_some() != new.quiet_to.is_some() {
        return Err(Problem::field("/quiet_to", "quiet_from and quiet_to go together"));
    }
    if !(0..=1440).contains(&new.digest_minutes) {
        return Err(Problem::field("/digest_minutes", "0 to 1440"));
    }
    let quiet = new.quiet_from.as_deref().zip(new.quiet_to.as_deref());
    Timing::new(
        &new.time_zone,
        quiet,
        new.digest_minutes,
        new.min_severity,
        new.break_through,
    )
    .map_err(|error| {
        use models::notification::RuleError::NoSuchZone;
        let pointer = if matches!(error, NoSuchZone(_)) {
            "/time_zone"
        } else {
            "/quiet_from"
        };
        Problem::field(pointer, error.to_string())
    })?;
    let (tenant, actor) = (command.principal().tenant, command.principal().name());
    let id = NotificationRuleId::new();
    let stored = match &secret {
        Some(secret) => Some(sealed(&app, &id.to_string(), secret)?),
        None => None,
    };
    notification::create(command.db(), tenant, id, &new, stored.as_deref(), &actor).await?;
    command
        .audit("notification_rule.create", &id.to_string(), &json!(new))
        .await?;
    let answer = Answer::created(format!("/v1/notification-rules/{id}"), &MadeRule { id, secret })?;
    command
        .finish(answer.keep_instead(&MadeRule { id, secret: None })?)
        .await
}

/// Tell of it no longer.
#[utoipa::path(delete, path = "/v1/notification-rules/{id}", operation_id = "remove_notification_rule",
    tag = "integrations", params(("id" = NotificationRuleId, Path)), responses((status = 204)),
    security(("bearer" = ["integrations:write"])))]
async fn remove_rule(
    Path(id): Path<NotificationRuleId>,
    mut command: Command<IntegrationsWrite, Empty>,
) -> Result<Response, Problem> {
    if !notification::remove(command.db(), id).await? {
        return Err(Problem::not_found());
    }
    command
        .audit("notification_rule.remove", &id.to_string(), &json!({}))
        .await?;
    command.finish(Answer::empty()).await
}

/// What people were told, or will be, newest first.
#[utoipa::path(get, path = "/v1/notifications", operation_id = "list_notifications", tag = "integrations",
    params(Paging), responses((status = 200, body = Page<NotificationRow>)),
    security(("bearer" = ["integrations:read"])))]
async fn log(
    mut tenant: Tenant<IntegrationsRead>,
    Query(query): Query<Paging>,
) -> Result<Json<Page<NotificationRow>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after = page::read_cursor("notifications", query.cursor.as_deref())?;
    let rows = notification::log(tenant.db(), after, limit + 1).await?;
    Ok(Json(Page::of(
        "notifications",
        limit,
        rows,
        |row| row.id,
        |row| row,
    )))
}

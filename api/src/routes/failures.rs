//! What failed, why, and how long assets stood still.

use axum::Json;
use axum::response::Response;
use models::coding::{Code, CodeLevel, offered};
use models::db::change::ChangeError;
use models::db::failure::{
    self, ConfirmDowntime, ConfirmError, DowntimeFilter, DowntimeRow, DowntimeSignal, NewDowntime, NewReport,
    ReportRow,
};
use models::db::ticket;
use models::downtime::{DowntimeReason, Reliability};
use models::id::{AlarmRuleId, AssetId, DowntimeId, FailureReportId};
use models::interval::Span;
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::keys::Empty;
use super::{check_asset, range};
use crate::error::{Kind, Problem};
use crate::extract::may::{AssetsRead, AssetsWrite, RulesWrite, TicketsWrite};
use crate::extract::{Answer, Command, Path, Query, Tenant};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(codes, put_code))
        .routes(routes!(reports, report))
        .routes(routes!(downtime, enter))
        .routes(routes!(confirm))
        .routes(routes!(signals, add_signal))
        .routes(routes!(remove_signal))
        .routes(routes!(reliability))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CodeQuery {
    /// Name of an asset class: its own words come first.
    class: Option<String>,
    /// Code of the level above: words that belong to it come first.
    parent: Option<String>,
}

/// Words for modes, mechanisms, causes, remedies and detections: built-in ones and the tenant's own.
#[utoipa::path(get, path = "/v1/failure-codes", operation_id = "list_failure_codes", tag = "failures",
    params(CodeQuery), responses((status = 200, body = Page<Code>)), security(("bearer" = ["assets:read"])))]
async fn codes(
    mut tenant: Tenant<AssetsRead>,
    Query(query): Query<CodeQuery>,
) -> Result<Json<Page<Code>>, Problem> {
    let own = failure::own_codes(tenant.db()).await?;
    Ok(Json(Page::whole(offered(
        &own,
        query.class.as_deref(),
        query.parent.as_deref(),
    ))))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "level": "cause", "code": "bird_nest", "name": "Birds", "class_name": "Fan" }))]
pub struct NewCode {
    level: CodeLevel,
    class_name: Option<String>,
    parent: Option<String>,
    /// Lower-case letters, digits and underscores.
    code: String,
    name: String,
    /// `false` hides a built-in word.
    enabled: Option<bool>,
}

/// Add a word, rename or hide a built-in one by its level and code.
#[utoipa::path(post, path = "/v1/failure-codes", operation_id = "put_failure_code", tag = "failures",
    request_body = NewCode, responses((status = 200, body = Page<Code>)), security(("bearer" = ["assets:write"])))]
async fn put_code(mut command: Command<AssetsWrite, NewCode>) -> Result<Response, Problem> {
    let body = &command.body;
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let starts = body
        .code
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_lowercase());
    if !starts || !(2..=63).contains(&body.code.len()) || !body.code.bytes().all(word) {
        return Err(Problem::field(
            "/code",
            "2 to 63 lower-case letters, digits and underscores, a letter first",
        ));
    }
    if body.name.trim().is_empty() || body.name.chars().count() > 100 {
        return Err(Problem::field("/name", "1 to 100 characters"));
    }
    let enabled = body.enabled.unwrap_or(true);
    if body.code == models::coding::OTHER && !enabled {
        return Err(Problem::field(
            "/enabled",
            "other stays: it shows where words are missing",
        ));
    }
    let code = Code {
        level: body.level,
        class_name: body.class_name.clone(),
        parent: body.parent.clone(),
        code: body.code.clone(),
        name: body.name.trim().to_owned(),
        own: true,
    };
    let tenant = command.principal().tenant;
    failure::put_code(command.db(), tenant, &code, enabled).await?;
    command
        .audit(
            "failure_code.put",
            &code.code,
            &json!({ "level": code.level, "enabled": enabled }),
        )
        .await?;
    let own = failure::own_codes(command.db()).await?;
    let all = offered(&own, code.class_name.as_deref(), code.parent.as_deref());
    command.finish(Answer::ok(&Page::whole(all))?).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReportQuery {
    asset_id: Option<AssetId>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Failures, newest first: what tickets found, and what people reported.
#[utoipa::path(get, path = "/v1/failures", operation_id = "list_failures", tag = "failures", params(ReportQuery),
    responses((status = 200, body = Page<ReportRow>)), security(("bearer" = ["assets:read"])))]
async fn reports(
    mut tenant: Tenant<AssetsRead>,
    Query(query): Query<ReportQuery>,
) -> Result<Json<Page<ReportRow>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after = page::read_cursor("failures", query.cursor.as_deref())?;
    let rows = failure::reports(tenant.db(), query.asset_id, after, limit + 1).await?;
    Ok(Json(Page::of(
        "failures",
        limit,
        rows,
        |row| (row.failed_at, row.id),
        |row| row,
    )))
}

#[derive(Serialize, ToSchema)]
pub struct MadeReport {
    id: FailureReportId,
}

/// Report a failure that no ticket was made for.
#[utoipa::path(post, path = "/v1/failures", operation_id = "report_failure", tag = "failures",
    request_body = NewReport, responses((status = 201, body = MadeReport)), security(("bearer" = ["tickets:write"])))]
async fn report(mut command: Command<TicketsWrite, NewReport>) -> Result<Response, Problem> {
    let new = command.body.clone();
    if new.failed_at > Timestamp::now() {
        return Err(Problem::field("/failed_at", "not in the future"));
    }
    check_asset(command.db(), "/asset_id", new.asset_id).await?;
    let (tenant, actor) = (command.principal().tenant, command.principal().name());
    let id = failure::report(command.db(), tenant, &new, &actor).await?;
    command
        .audit(
            "failure.report",
            &id.to_string(),
            &json!({ "asset": new.asset_id }),
        )
        .await?;
    command
        .finish(Answer::created("/v1/failures".to_owned(), &MadeReport { id })?)
        .await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DowntimeQuery {
    asset_id: Option<AssetId>,
    /// Only those that nobody has given a reason for.
    #[serde(default)]
    unconfirmed: bool,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Times in which assets stood still, newest first.
#[utoipa::path(get, path = "/v1/downtime", operation_id = "list_downtime", tag = "failures", params(DowntimeQuery),
    responses((status = 200, body = Page<DowntimeRow>)), security(("bearer" = ["assets:read"])))]
async fn downtime(
    mut tenant: Tenant<AssetsRead>,
    Query(query): Query<DowntimeQuery>,
) -> Result<Json<Page<DowntimeRow>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after = page::read_cursor("downtime", query.cursor.as_deref())?;
    let filter = DowntimeFilter {
        asset: query.asset_id,
        unconfirmed: query.unconfirmed,
    };
    let rows = failure::downtime(tenant.db(), filter, after, limit + 1).await?;
    Ok(Json(Page::of(
        "downtime",
        limit,
        rows,
        |row| (row.started_at, row.id),
        |row| row,
    )))
}

async fn shown(command: &mut Command<TicketsWrite, impl Sized>, id: DowntimeId) -> Result<Answer, Problem> {
    let row = failure::get_downtime(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let version = row.row_version;
    Ok(Answer::ok(&row)?.version(version))
}

/// Enter a stop that no signal has seen.
#[utoipa::path(post, path = "/v1/downtime", operation_id = "enter_downtime", tag = "failures",
    request_body = NewDowntime, responses((status = 200, body = DowntimeRow)),
    security(("bearer" = ["tickets:write"])))]
async fn enter(mut command: Command<TicketsWrite, NewDowntime>) -> Result<Response, Problem> {
    let (new, now) = (command.body.clone(), Timestamp::now());
    if new.started_at > now || new.ended_at.is_some_and(|end| end > now) {
        return Err(Problem::field("/started_at", "not in the future"));
    }
    if new.ended_at.is_some_and(|end| end <= new.started_at) {
        return Err(Problem::field("/ended_at", "after started_at"));
    }
    if new.reason == DowntimeReason::Other && new.note.as_deref().is_none_or(|note| note.trim().is_empty()) {
        return Err(Problem::field("/note", "the reason other needs a note"));
    }
    check_asset(command.db(), "/asset_id", new.asset_id).await?;
    if let Some(id) = new.ticket_id
        && ticket::get(command.db(), id).await?.is_none()
    {
        return Err(Problem::field("/ticket_id", "there is no such ticket"));
    }
    let (tenant, actor) = (command.principal().tenant, command.principal().name());
    let id = failure::enter_downtime(command.db(), tenant, &new, &actor, now).await?;
    command
        .audit(
            "downtime.enter",
            &id.to_string(),
            &json!({ "asset": new.asset_id }),
        )
        .await?;
    let answer = shown(&mut command, id).await?;
    command.finish(answer).await
}

/// Say why an asset stood still, correct the times, or void a stop that never was.
#[utoipa::path(patch, path = "/v1/downtime/{id}", operation_id = "confirm_downtime", tag = "failures",
    params(("id" = DowntimeId, Path), ("if-match" = Option<String>, Header)),
    request_body(content = ConfirmDowntime, example = json!({ "reason": "equipment_failure", "note": "bearing seized" })),
    responses((status = 200, body = DowntimeRow)), security(("bearer" = ["tickets:write"])))]
async fn confirm(
    Path(id): Path<DowntimeId>,
    mut command: Command<TicketsWrite, ConfirmDowntime>,
) -> Result<Response, Problem> {
    let (change, actor) = (command.body.clone(), command.principal().name());
    let expected = command.expected_if_given();
    failure::get_downtime(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    if let Some(id) = change.ticket_id
        && ticket::get(command.db(), id).await?.is_none()
    {
        return Err(Problem::field("/ticket_id", "there is no such ticket"));
    }
    failure::confirm_downtime(command.db(), id, expected, &change, &actor, Timestamp::now())
        .await
        .map_err(|error| match error {
            ChangeError::Refused(refusal) => {
                let pointer = match refusal {
                    ConfirmError::NoReason => "/reason",
                    ConfirmError::NoNote => "/note",
                    ConfirmError::Backwards { .. } | ConfirmError::Future(_) => "/ended_at",
                };
                Problem::field(pointer, refusal.to_string())
            }
            other => other.into(),
        })?;
    command
        .audit("downtime.confirm", &id.to_string(), &json!(change))
        .await?;
    let answer = shown(&mut command, id).await?;
    command.finish(answer).await
}

/// Rules whose alarm says that the asset stands still; always the whole list.
#[utoipa::path(get, path = "/v1/downtime-signals", operation_id = "list_downtime_signals", tag = "failures",
    responses((status = 200, body = Page<DowntimeSignal>)), security(("bearer" = ["assets:read"])))]
async fn signals(mut tenant: Tenant<AssetsRead>) -> Result<Json<Page<DowntimeSignal>>, Problem> {
    Ok(Json(Page::whole(failure::signals(tenant.db()).await?)))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSignal {
    rule_id: AlarmRuleId,
}

/// Let the alarms of a rule open and end downtime of its asset.
#[utoipa::path(post, path = "/v1/downtime-signals", operation_id = "add_downtime_signal", tag = "failures",
    request_body = NewSignal, responses((status = 200, body = Page<DowntimeSignal>)),
    security(("bearer" = ["rules:write"])))]
async fn add_signal(mut command: Command<RulesWrite, NewSignal>) -> Result<Response, Problem> {
    let rule = command.body.rule_id;
    failure::set_signal(command.db(), rule, true).await?;
    let all = failure::signals(command.db()).await?;
    if !all.iter().any(|signal| signal.rule_id == rule) {
        return Err(Problem::field("/rule_id", "there is no such rule"));
    }
    command
        .audit("downtime_signal.add", &rule.to_string(), &json!({}))
        .await?;
    command.finish(Answer::ok(&Page::whole(all))?).await
}

/// Let a rule's alarms open no downtime any more.
#[utoipa::path(delete, path = "/v1/downtime-signals/{id}", operation_id = "remove_downtime_signal", tag = "failures",
    params(("id" = AlarmRuleId, Path)), responses((status = 204)), security(("bearer" = ["rules:write"])))]
async fn remove_signal(
    Path(rule): Path<AlarmRuleId>,
    mut command: Command<RulesWrite, Empty>,
) -> Result<Response, Problem> {
    if !failure::set_signal(command.db(), rule, false).await? {
        return Err(Problem::not_found());
    }
    command
        .audit("downtime_signal.remove", &rule.to_string(), &json!({}))
        .await?;
    command.finish(Answer::empty()).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReliabilityQuery {
    /// RFC 3339 or seconds since 1970; 90 days before `to` when left out.
    from: Option<String>,
    /// Exclusive; now when left out.
    to: Option<String>,
}

/// Availability, MTBF and MTTR of an asset in a window, with the intervals they are made of.
#[utoipa::path(get, path = "/v1/assets/{id}/reliability", operation_id = "get_asset_reliability", tag = "failures",
    params(("id" = AssetId, Path), ReliabilityQuery), responses((status = 200, body = Reliability)),
    security(("bearer" = ["assets:read"])))]
async fn reliability(
    mut tenant: Tenant<AssetsRead>,
    Path(id): Path<AssetId>,
    Query(query): Query<ReliabilityQuery>,
) -> Result<Json<Reliability>, Problem> {
    let (from, to) = range(query.from.as_deref(), query.to.as_deref(), 90.0 * 86_400.0)?;
    if to.seconds_since(from) > 3.0 * 366.0 * 86_400.0 {
        return Err(Problem::query("from", "a window has three years at most"));
    }
    let figures = failure::of_asset(tenant.db(), id, Span::new(from, to), Timestamp::now())
        .await?
        .ok_or_else(|| Problem::new(Kind::NotFound, "there is no such asset"))?;
    Ok(Json(figures))
}

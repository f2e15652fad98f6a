//! Alarm rules: what is watched.

use axum::Json;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use models::alarm::{Kind as RuleKind, Severity};
use models::db::alarm::{self, NewRule, RuleRow};
use models::id::{AlarmRuleId, AssetId, ChannelId, FailureModeId};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::check_asset;
use super::keys::Empty;
use crate::error::Problem;
use crate::extract::may::{AlarmsRead, RulesWrite};
use crate::extract::{Answer, Command, Path, Query, Tenant, etag};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, change, delete))
}

#[derive(Serialize, ToSchema)]
pub struct AlarmRule {
    id: AlarmRuleId,
    asset_id: AssetId,
    channel_id: Option<ChannelId>,
    name: String,
    kind: RuleKind,
    limit_value: f64,
    deadband: f64,
    on_delay_s: f64,
    off_delay_s: f64,
    min_samples: i32,
    severity: Severity,
    failure_mode_id: Option<FailureModeId>,
    makes_ticket: bool,
    latched: bool,
    enabled: bool,
    params: Value,
    row_version: i32,
    created_at: Timestamp,
}

impl From<RuleRow> for AlarmRule {
    fn from(row: RuleRow) -> Self {
        Self {
            id: row.id,
            asset_id: row.asset_id,
            channel_id: row.channel_id,
            name: row.name,
            kind: row.kind,
            limit_value: row.limit_value,
            deadband: row.deadband,
            on_delay_s: row.on_delay_s,
            off_delay_s: row.off_delay_s,
            min_samples: row.min_samples,
            severity: row.severity,
            failure_mode_id: row.failure_mode_id,
            makes_ticket: row.makes_ticket,
            latched: row.latched,
            enabled: row.enabled,
            params: row.params,
            row_version: row.row_version,
            created_at: row.created_at,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RuleQuery {
    asset_id: Option<AssetId>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    cursor: Option<String>,
}

/// The rules, oldest first.
#[utoipa::path(get, path = "/v1/alarm-rules", operation_id = "list_alarm_rules", tag = "alarms", params(RuleQuery),
    responses((status = 200, body = Page<AlarmRule>)), security(("bearer" = ["alarms:read"])))]
async fn list(
    mut tenant: Tenant<AlarmsRead>,
    Query(query): Query<RuleQuery>,
) -> Result<Json<Page<AlarmRule>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after = page::read_cursor("alarm_rules", query.cursor.as_deref())?;
    let rows = alarm::list_rules(tenant.db(), query.asset_id, after, limit + 1).await?;
    Ok(Json(Page::of(
        "alarm_rules",
        limit,
        rows,
        |row| row.id,
        Into::into,
    )))
}

/// One rule.
#[utoipa::path(get, path = "/v1/alarm-rules/{id}", operation_id = "get_alarm_rule", tag = "alarms",
    params(("id" = AlarmRuleId, Path)), responses((status = 200, body = AlarmRule)),
    security(("bearer" = ["alarms:read"])))]
async fn get(mut tenant: Tenant<AlarmsRead>, Path(id): Path<AlarmRuleId>) -> Result<Response, Problem> {
    let row = alarm::get_rule(tenant.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    Ok(([(ETAG, etag(row.row_version))], Json(AlarmRule::from(row))).into_response())
}

pub(super) fn check(rule: &NewRule) -> Result<(), Problem> {
    if rule.name.trim().is_empty() {
        return Err(Problem::field("/name", "a rule needs a name"));
    }
    let of_asset = matches!(rule.kind, RuleKind::HealthBelow | RuleKind::ProbabilityAbove);
    if of_asset != rule.channel_id.is_none() {
        let detail = if of_asset {
            "this kind watches the asset, not a channel"
        } else {
            "this kind watches a channel"
        };
        return Err(Problem::field("/channel_id", detail));
    }
    for (pointer, value) in [
        ("/deadband", rule.deadband),
        ("/on_delay_s", rule.on_delay_s),
        ("/off_delay_s", rule.off_delay_s),
    ] {
        if value < 0.0 {
            return Err(Problem::field(pointer, "not below 0"));
        }
    }
    if rule.min_samples < 1 {
        return Err(Problem::field("/min_samples", "at least 1"));
    }
    if let Some(schedule) = &rule.params.schedule {
        schedule
            .validate()
            .map_err(|error| Problem::field("/params/schedule", error.to_string()))?;
    }
    for (pointer, value) in [
        ("/params/escalate_after_s", rule.params.escalate_after_s),
        ("/params/ack_lasts_s", rule.params.ack_lasts_s),
    ] {
        if value.is_some_and(|seconds| seconds < 1.0) {
            return Err(Problem::field(
                pointer,
                "seconds, at least 1; leave it out for the server's own",
            ));
        }
    }
    Ok(())
}

/// Watch something.
#[utoipa::path(post, path = "/v1/alarm-rules", operation_id = "create_alarm_rule", tag = "alarms",
    request_body(content = NewRule, example = json!({
        "asset_id": "ast_0198c4f2a1b27c3d8e4f5a6b7c8d9e0f", "channel_id": "chn_42", "name": "vibration high",
        "kind": "high", "limit_value": 7.1, "deadband": 0.5, "on_delay_s": 30, "severity": "serious"
    })), responses((status = 201, body = AlarmRule)),
    security(("bearer" = ["rules:write"])))]
async fn create(mut command: Command<RulesWrite, NewRule>) -> Result<Response, Problem> {
    check(&command.body)?;
    let (tenant, rule) = (command.principal().tenant, command.body.clone());
    check_asset(command.db(), "/asset_id", rule.asset_id).await?;
    let row = alarm::create_rule(command.db(), tenant, &rule).await?;
    command
        .audit(
            "alarm_rule.create",
            &row.id.to_string(),
            &json!({ "name": row.name }),
        )
        .await?;
    let version = row.row_version;
    let answer = Answer::created(format!("/v1/alarm-rules/{}", row.id), &AlarmRule::from(row))?;
    command.finish(answer.version(version)).await
}

/// Change a rule. Asset, channel and kind are its identity and stay.
#[utoipa::path(patch, path = "/v1/alarm-rules/{id}", operation_id = "change_alarm_rule", tag = "alarms",
    params(("id" = AlarmRuleId, Path), ("if-match" = String, Header)),
    request_body(content = Value, description = "The keys to change.", example = json!({ "limit_value": 6.5 })),
    responses((status = 200, body = AlarmRule)), security(("bearer" = ["rules:write"])))]
async fn change(
    Path(id): Path<AlarmRuleId>,
    mut command: Command<RulesWrite, serde_json::Map<String, Value>>,
) -> Result<Response, Problem> {
    let current = alarm::get_rule(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let expected = command.expected()?;
    let rule = merged(&current, &command.body)?;
    check(&rule)?;
    let row = alarm::update_rule(command.db(), id, Some(expected), &rule).await?;
    command
        .audit(
            "alarm_rule.change",
            &id.to_string(),
            &json!({ "from_version": expected }),
        )
        .await?;
    let version = row.row_version;
    command
        .finish(Answer::ok(&AlarmRule::from(row))?.version(version))
        .await
}

/// The rule with the given keys changed (RFC 7396).
fn merged(current: &RuleRow, change: &serde_json::Map<String, Value>) -> Result<NewRule, Problem> {
    for fixed in ["asset_id", "channel_id", "kind"] {
        if change.contains_key(fixed) {
            return Err(Problem::field(
                format!("/{fixed}"),
                "it is the rule's identity: make another rule",
            ));
        }
    }
    let mut whole = json!({
        "asset_id": current.asset_id, "channel_id": current.channel_id, "name": current.name,
        "kind": current.kind, "limit_value": current.limit_value, "deadband": current.deadband,
        "on_delay_s": current.on_delay_s, "off_delay_s": current.off_delay_s, "min_samples": current.min_samples,
        "severity": current.severity, "failure_mode_id": current.failure_mode_id,
        "makes_ticket": current.makes_ticket, "latched": current.latched, "enabled": current.enabled,
        "params": current.params,
    });
    for (key, value) in change {
        whole[key] = value.clone();
    }
    serde_path_to_error::deserialize(whole).map_err(|error| {
        let pointer = format!("/{}", error.path().to_string().replace('.', "/"));
        Problem::field(pointer, error.into_inner().to_string())
    })
}

/// Stop watching. A rule that raised alarms is disabled instead, because they refer to it.
#[utoipa::path(delete, path = "/v1/alarm-rules/{id}", operation_id = "delete_alarm_rule", tag = "alarms",
    params(("id" = AlarmRuleId, Path), ("if-match" = Option<String>, Header)), responses((status = 204)),
    security(("bearer" = ["rules:write"])))]
async fn delete(
    Path(id): Path<AlarmRuleId>,
    mut command: Command<RulesWrite, Empty>,
) -> Result<Response, Problem> {
    let expected = command.expected_if_given();
    let removed = alarm::delete_rule(command.db(), id, expected).await?;
    command
        .audit(
            "alarm_rule.delete",
            &id.to_string(),
            &json!({ "removed": removed }),
        )
        .await?;
    command.finish(Answer::empty()).await
}

//! Alarms: what is wrong now, and what people did about it.

use axum::Json;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use models::alarm::{Condition, Display, Kind as RuleKind, Severity, Suppression, display};
use models::db::alarm::{self, AlarmView, Filter, State};
use models::id::{AlarmId, AlarmRuleId, AssetId, CaseId, ChannelId};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::keys::Empty;
use super::why::{self, TicketAnswer};
use super::{FailureModeRef, HistoryEvent, Named};
use crate::error::Problem;
use crate::extract::may::{AlarmsAct, AlarmsRead};
use crate::extract::{Answer, Command, Path, Query, Tenant, etag};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(acknowledge))
        .routes(routes!(shelve))
        .routes(routes!(unshelve))
}

#[derive(Serialize, ToSchema)]
pub struct RuleRef {
    id: AlarmRuleId,
    name: String,
    kind: RuleKind,
}

#[derive(Serialize, ToSchema)]
pub struct AlarmChannel {
    id: ChannelId,
    name: String,
    unit: String,
}

/// One occurrence of a rule's condition: condition × acknowledgement × suppression.
#[derive(Serialize, ToSchema)]
pub struct Alarm {
    id: AlarmId,
    asset: Named<AssetId>,
    rule: RuleRef,
    channel: Option<AlarmChannel>,
    failure_mode: Option<FailureModeRef>,
    severity: Severity,
    /// All three axes in one word, after ISA-18.2.
    display: Display,
    condition: Condition,
    acked_at: Option<Timestamp>,
    acked_by: Option<String>,
    suppression: Suppression,
    suppressed_until: Option<Timestamp>,
    suppression_reason: Option<String>,
    /// Event time of the first breach.
    pending_since: Timestamp,
    active_at: Option<Timestamp>,
    cleared_at: Option<Timestamp>,
    /// Back to normal and acknowledged.
    closed_at: Option<Timestamp>,
    first_value: f64,
    last_value: f64,
    peak_value: f64,
    limit_value: f64,
    flap_count: i32,
    /// Levels above the first that have been told.
    escalation_level: i32,
    case_id: Option<CaseId>,
    row_version: i32,
}

impl From<AlarmView> for Alarm {
    fn from(row: AlarmView) -> Self {
        // One that was only ever pending needs nobody's acknowledgement.
        let seen_to = row.acked_at.is_some() || row.active_at.is_none();
        let (until, now) = (row.suppressed_until, Timestamp::now());
        Self {
            display: display(row.condition, seen_to, row.suppression, until, now),
            id: row.id,
            asset: Named::new(row.asset_id, row.asset_name),
            rule: RuleRef {
                id: row.rule_id,
                name: row.rule_name,
                kind: row.rule_kind,
            },
            channel: row.channel_id.map(|id| AlarmChannel {
                id,
                name: row.channel_name.unwrap_or_default(),
                unit: row.unit.unwrap_or_default(),
            }),
            failure_mode: FailureModeRef::maybe(
                row.failure_mode_id,
                row.failure_mode_code,
                row.failure_mode_name,
            ),
            severity: row.severity,
            condition: row.condition,
            acked_at: row.acked_at,
            acked_by: row.acked_by,
            suppression: row.suppression,
            suppressed_until: row.suppressed_until,
            suppression_reason: row.suppression_reason,
            pending_since: row.pending_since,
            active_at: row.active_at,
            cleared_at: row.cleared_at,
            closed_at: row.closed_at,
            first_value: row.first_value,
            last_value: row.last_value,
            peak_value: row.peak_value,
            limit_value: row.limit_value,
            flap_count: row.flap_count,
            escalation_level: row.escalation_level,
            case_id: row.case_id,
            row_version: row.row_version,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct AlarmDetail {
    #[serde(flatten)]
    alarm: Alarm,
    /// Whether there is a ticket for it, and why not.
    dispatch: TicketAnswer,
    /// Oldest first.
    events: Vec<HistoryEvent>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Which {
    #[default]
    Active,
    Unacked,
    Shelved,
    All,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AlarmQuery {
    #[serde(default)]
    #[param(inline)]
    state: Which,
    asset_id: Option<AssetId>,
    case_id: Option<CaseId>,
    severity: Option<Severity>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Alarms, the newest first; those that are active when no state is given.
#[utoipa::path(get, path = "/v1/alarms", operation_id = "list_alarms", tag = "alarms", params(AlarmQuery),
    responses((status = 200, body = Page<Alarm>)), security(("bearer" = ["alarms:read"])))]
async fn list(
    mut tenant: Tenant<AlarmsRead>,
    Query(query): Query<AlarmQuery>,
) -> Result<Json<Page<Alarm>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after = page::read_cursor("alarms", query.cursor.as_deref())?;
    let state = match query.state {
        Which::Active => State::Active,
        Which::Unacked => State::Unacknowledged,
        Which::Shelved => State::Shelved,
        Which::All => State::All,
    };
    let filter = Filter {
        state,
        asset: query.asset_id,
        case: query.case_id,
        severity: query.severity,
    };
    let rows = alarm::list(tenant.db(), filter, after, limit + 1).await?;
    Ok(Json(Page::of(
        "alarms",
        limit,
        rows,
        |row| (row.pending_since, row.id),
        Into::into,
    )))
}

async fn detail(db: &mut PgConnection, id: AlarmId) -> Result<AlarmDetail, Problem> {
    let row = alarm::get(db, id).await?.ok_or_else(Problem::not_found)?;
    let dispatch = why::of_alarm(db, &row).await?;
    let events = alarm::events(db, id).await?;
    let events = events
        .into_iter()
        .map(|event| HistoryEvent {
            at: event.at,
            kind: event.kind,
            actor: event.actor,
            detail: event.detail,
        })
        .collect();
    Ok(AlarmDetail {
        alarm: row.into(),
        dispatch,
        events,
    })
}

/// One alarm with its history.
#[utoipa::path(get, path = "/v1/alarms/{id}", operation_id = "get_alarm", tag = "alarms",
    params(("id" = AlarmId, Path)), responses((status = 200, body = AlarmDetail)),
    security(("bearer" = ["alarms:read"])))]
async fn get(mut tenant: Tenant<AlarmsRead>, Path(id): Path<AlarmId>) -> Result<Response, Problem> {
    let shown = detail(tenant.db(), id).await?;
    Ok(([(ETAG, etag(shown.alarm.row_version))], Json(shown)).into_response())
}

async fn finish<T>(mut command: Command<AlarmsAct, T>, id: AlarmId) -> Result<Response, Problem> {
    let shown = detail(command.db(), id).await?;
    let version = shown.alarm.row_version;
    command.finish(Answer::ok(&shown)?.version(version)).await
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "comment": "seen, pump is being throttled" }))]
pub struct Acknowledge {
    comment: Option<String>,
}

/// Take note of an alarm. Doing it twice changes nothing.
#[utoipa::path(post, path = "/v1/alarms/{id}/ack", operation_id = "acknowledge_alarm", tag = "alarms",
    params(("id" = AlarmId, Path)), request_body = Acknowledge, responses((status = 200, body = AlarmDetail)),
    security(("bearer" = ["alarms:act"])))]
async fn acknowledge(
    Path(id): Path<AlarmId>,
    mut command: Command<AlarmsAct, Acknowledge>,
) -> Result<Response, Problem> {
    let (actor, comment) = (command.principal().name(), command.body.comment.take());
    let expected = command.expected_if_given();
    alarm::acknowledge(
        command.db(),
        id,
        expected,
        &actor,
        comment.as_deref(),
        Timestamp::now(),
    )
    .await?;
    command
        .audit("alarm.acknowledge", &id.to_string(), &json!({}))
        .await?;
    finish(command, id).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "until": "2026-02-01T06:00:00Z", "reason": "sensor is being replaced" }))]
pub struct Shelve {
    until: Timestamp,
    reason: String,
}

/// Hear no more of it until a moment. How far that may be depends on the role.
#[utoipa::path(post, path = "/v1/alarms/{id}/shelve", operation_id = "shelve_alarm", tag = "alarms",
    params(("id" = AlarmId, Path)), request_body = Shelve, responses((status = 200, body = AlarmDetail)),
    security(("bearer" = ["alarms:act"])))]
async fn shelve(
    Path(id): Path<AlarmId>,
    mut command: Command<AlarmsAct, Shelve>,
) -> Result<Response, Problem> {
    let (actor, role) = (command.principal().name(), command.principal().role());
    let (until, reason) = (command.body.until, std::mem::take(&mut command.body.reason));
    alarm::shelve(command.db(), id, role, until, &reason, &actor, Timestamp::now()).await?;
    command
        .audit(
            "alarm.shelve",
            &id.to_string(),
            &json!({ "until": until, "reason": reason }),
        )
        .await?;
    finish(command, id).await
}

/// Hear of it again.
#[utoipa::path(post, path = "/v1/alarms/{id}/unshelve", operation_id = "unshelve_alarm", tag = "alarms",
    params(("id" = AlarmId, Path)), responses((status = 200, body = AlarmDetail)),
    security(("bearer" = ["alarms:act"])))]
async fn unshelve(
    Path(id): Path<AlarmId>,
    mut command: Command<AlarmsAct, Empty>,
) -> Result<Response, Problem> {
    let actor = command.principal().name();
    alarm::unshelve(command.db(), id, &actor).await?;
    command
        .audit("alarm.unshelve", &id.to_string(), &json!({}))
        .await?;
    finish(command, id).await
}

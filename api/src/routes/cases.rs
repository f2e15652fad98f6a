//! Cases and the reasons of dispatch.

use axum::Json;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use models::alarm::Severity;
use models::db::case_file::{self, CaseView, Filter, SplitOff};
use models::db::dispatch::{self, DecisionRow, Outcome};
use models::db::{alarm, prediction, ticket};
use models::id::{AlarmId, AssetId, CaseId, DecisionId, FailureModeId, PredictionId, TicketId};
use models::ticket::{Priority, Status};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::alarms::Alarm;
use super::predictions::Prediction;
use super::{FailureModeRef, HistoryEvent, Named};
use crate::error::Problem;
use crate::extract::may::{CasesRead, PredictionsAct};
use crate::extract::{Answer, Command, Path, Query, Tenant, etag};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(decisions))
        .routes(routes!(merge))
        .routes(routes!(split))
}

#[derive(Serialize, ToSchema)]
pub struct TicketRef {
    id: TicketId,
    number: i32,
    status: Status,
    priority: Priority,
    title: Option<String>,
}

/// Asset and failure mode: what a planner sees.
#[derive(Serialize, ToSchema)]
pub struct Case {
    id: CaseId,
    title: String,
    asset: Named<AssetId>,
    failure_mode: Option<FailureModeRef>,
    severity: Severity,
    opened_at: Timestamp,
    updated_at: Timestamp,
    closed_at: Option<Timestamp>,
    close_reason: Option<String>,
    /// The case that it is part of now.
    merged_into: Option<CaseId>,
    /// How many belong to it.
    alarms: i64,
    /// The newest one.
    ticket: Option<TicketRef>,
    row_version: i32,
}

impl From<CaseView> for Case {
    fn from(row: CaseView) -> Self {
        let ticket = row
            .ticket_id
            .zip(row.ticket_number)
            .zip(row.ticket_status)
            .zip(row.ticket_priority);
        Self {
            id: row.id,
            title: row.title,
            asset: Named::new(row.asset_id, row.asset_name),
            failure_mode: FailureModeRef::maybe(
                row.failure_mode_id,
                row.failure_mode_code,
                row.failure_mode_name,
            ),
            severity: row.severity,
            opened_at: row.opened_at,
            updated_at: row.updated_at,
            closed_at: row.closed_at,
            close_reason: row.close_reason,
            merged_into: row.merged_into,
            alarms: row.alarms,
            ticket: ticket.map(|(((id, number), status), priority)| TicketRef {
                id,
                number,
                status,
                priority,
                title: None,
            }),
            row_version: row.row_version,
        }
    }
}

/// Why a ticket was made, or not.
#[derive(Serialize, ToSchema)]
pub struct Decision {
    id: DecisionId,
    /// The alarm, prediction or occurrence it was about.
    subject: String,
    outcome: Outcome,
    reason: String,
    at: Timestamp,
    asset_id: AssetId,
    case_id: Option<CaseId>,
    ticket_id: Option<TicketId>,
    /// What was known.
    facts: Value,
}

impl From<DecisionRow> for Decision {
    fn from(row: DecisionRow) -> Self {
        Self {
            id: row.id,
            subject: row.subject,
            outcome: row.outcome,
            reason: row.reason,
            at: row.at,
            asset_id: row.asset_id,
            case_id: row.case_id,
            ticket_id: row.ticket_id,
            facts: row.facts,
        }
    }
}

/// A case with all that belongs to it.
#[derive(Serialize, ToSchema)]
pub struct CaseDetail {
    id: CaseId,
    title: String,
    asset: Named<AssetId>,
    failure_mode: Option<FailureModeRef>,
    severity: Severity,
    opened_at: Timestamp,
    updated_at: Timestamp,
    closed_at: Option<Timestamp>,
    close_reason: Option<String>,
    merged_into: Option<CaseId>,
    ticket: Option<TicketRef>,
    row_version: i32,
    alarms: Vec<Alarm>,
    predictions: Vec<Prediction>,
    tickets: Vec<TicketRef>,
    decisions: Vec<Decision>,
    /// What was done with the case itself, oldest first.
    events: Vec<HistoryEvent>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CaseQuery {
    /// Only open or only closed ones; both when left out.
    open: Option<bool>,
    asset_id: Option<AssetId>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Cases, the newest first.
#[utoipa::path(get, path = "/v1/cases", operation_id = "list_cases", tag = "cases", params(CaseQuery),
    responses((status = 200, body = Page<Case>)), security(("bearer" = ["cases:read"])))]
async fn list(
    mut tenant: Tenant<CasesRead>,
    Query(query): Query<CaseQuery>,
) -> Result<Json<Page<Case>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after = page::read_cursor("cases", query.cursor.as_deref())?;
    let filter = Filter {
        open: query.open,
        asset: query.asset_id,
    };
    let rows = case_file::list(tenant.db(), filter, after, limit + 1).await?;
    Ok(Json(Page::of(
        "cases",
        limit,
        rows,
        |row| (row.opened_at, row.id),
        Into::into,
    )))
}

const MOST: i64 = 200;

/// One case with its alarms, predictions, tickets and the reasons of dispatch, the newest 200 of each.
#[utoipa::path(get, path = "/v1/cases/{id}", operation_id = "get_case", tag = "cases",
    params(("id" = CaseId, Path)), responses((status = 200, body = CaseDetail)),
    security(("bearer" = ["cases:read"])))]
async fn get(mut tenant: Tenant<CasesRead>, Path(id): Path<CaseId>) -> Result<Response, Problem> {
    let shown = detail(tenant.db(), id).await?;
    Ok(([(ETAG, etag(shown.row_version))], Json(shown)).into_response())
}

async fn detail(db: &mut PgConnection, id: CaseId) -> Result<CaseDetail, Problem> {
    let case: Case = case_file::get(db, id)
        .await?
        .ok_or_else(Problem::not_found)?
        .into();
    let filter = alarm::Filter {
        state: alarm::State::All,
        case: Some(id),
        ..alarm::Filter::default()
    };
    let alarms = alarm::list(db, filter, None, MOST).await?;
    let filter = prediction::Filter {
        case: Some(id),
        ..prediction::Filter::default()
    };
    let predictions = prediction::list(db, &filter, None, MOST).await?;
    let filter = ticket::Filter {
        case: Some(id),
        ..ticket::Filter::default()
    };
    let tickets = ticket::list(db, &filter, None, MOST).await?;
    let decisions = dispatch::decisions(db, None, Some(id), None, None, MOST).await?;
    let events = case_file::events(db, id).await?;
    let version = case.row_version;
    Ok(CaseDetail {
        id: case.id,
        title: case.title,
        asset: case.asset,
        failure_mode: case.failure_mode,
        severity: case.severity,
        opened_at: case.opened_at,
        updated_at: case.updated_at,
        closed_at: case.closed_at,
        close_reason: case.close_reason,
        merged_into: case.merged_into,
        ticket: case.ticket,
        row_version: version,
        alarms: alarms.into_iter().map(Into::into).collect(),
        predictions: predictions.into_iter().map(Into::into).collect(),
        tickets: tickets
            .into_iter()
            .map(|row| TicketRef {
                id: row.id,
                number: row.number,
                status: row.status,
                priority: row.priority,
                title: Some(row.title),
            })
            .collect(),
        decisions: decisions.into_iter().map(Into::into).collect(),
        events: events
            .into_iter()
            .map(|event| HistoryEvent {
                at: event.at,
                kind: event.kind,
                actor: event.actor,
                detail: event.detail,
            })
            .collect(),
    })
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "into": "cas_0198c4f2a1b27c3d8e4f5a6b7c8d9e0f" }))]
pub struct MergeCase {
    /// The open case that stays.
    into: CaseId,
}

/// Two cases are one: everything of this one goes to the other, and it is closed. Of two open tickets
/// the one that nobody has begun is cancelled as a duplicate.
#[utoipa::path(post, path = "/v1/cases/{id}/merge", operation_id = "merge_case", tag = "cases",
    params(("id" = CaseId, Path), ("if-match" = String, Header)), request_body = MergeCase,
    responses((status = 200, body = CaseDetail, description = "The case that stays.")),
    security(("bearer" = ["predictions:act"])))]
async fn merge(
    Path(id): Path<CaseId>,
    mut command: Command<PredictionsAct, MergeCase>,
) -> Result<Response, Problem> {
    let (actor, expected, into) = (command.principal().name(), command.expected()?, command.body.into);
    let now = Timestamp::now();
    let merged = case_file::merge(command.db(), id, into, Some(expected), &actor, now).await?;
    let note = json!({ "into": into, "alarms": merged.alarms, "cancelled_ticket": merged.cancelled });
    command.audit("case.merge", &id.to_string(), &note).await?;
    let shown = detail(command.db(), into).await?;
    let version = shown.row_version;
    command.finish(Answer::ok(&shown)?.version(version)).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "alarms": ["alm_0198c4f2a1b27c3d8e4f5a6b7c8d9e0f"], "title": "Seal leak, not the bearing" }))]
pub struct SplitCase {
    #[serde(default)]
    alarms: Vec<AlarmId>,
    #[serde(default)]
    predictions: Vec<PredictionId>,
    failure_mode_id: Option<FailureModeId>,
    title: Option<String>,
}

/// One case is two: these alarms and predictions get one of their own, with the tickets made from them.
/// Where they have none, dispatch decides again.
#[utoipa::path(post, path = "/v1/cases/{id}/split", operation_id = "split_case", tag = "cases",
    params(("id" = CaseId, Path), ("if-match" = String, Header)), request_body = SplitCase,
    responses((status = 200, body = CaseDetail, description = "The new case.")),
    security(("bearer" = ["predictions:act"])))]
async fn split(
    Path(id): Path<CaseId>,
    mut command: Command<PredictionsAct, SplitCase>,
) -> Result<Response, Problem> {
    let (actor, expected) = (command.principal().name(), command.expected()?);
    let off = SplitOff {
        alarms: std::mem::take(&mut command.body.alarms),
        predictions: std::mem::take(&mut command.body.predictions),
        failure_mode: command.body.failure_mode_id,
        title: command.body.title.take(),
    };
    let now = Timestamp::now();
    let made = case_file::split(command.db(), id, &off, Some(expected), &actor, now).await?;
    let note = json!({ "into": made.case, "alarms": off.alarms.len(), "predictions": off.predictions.len() });
    command.audit("case.split", &id.to_string(), &note).await?;
    let shown = detail(command.db(), made.case).await?;
    let version = shown.row_version;
    command.finish(Answer::ok(&shown)?.version(version)).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DecisionQuery {
    asset_id: Option<AssetId>,
    case_id: Option<CaseId>,
    /// The alarm, prediction or occurrence.
    subject: Option<String>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Why tickets were made and why not, the newest first.
#[utoipa::path(get, path = "/v1/decisions", operation_id = "list_decisions", tag = "cases", params(DecisionQuery),
    responses((status = 200, body = Page<Decision>)), security(("bearer" = ["cases:read"])))]
async fn decisions(
    mut tenant: Tenant<CasesRead>,
    Query(query): Query<DecisionQuery>,
) -> Result<Json<Page<Decision>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after = page::read_cursor("decisions", query.cursor.as_deref())?;
    let subject = query.subject.as_deref();
    let rows = dispatch::decisions(
        tenant.db(),
        query.asset_id,
        query.case_id,
        subject,
        after,
        limit + 1,
    )
    .await?;
    Ok(Json(Page::of(
        "decisions",
        limit,
        rows,
        |row| (row.at, row.id),
        Into::into,
    )))
}

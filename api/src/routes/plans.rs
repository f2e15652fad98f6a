//! Maintenance plans and their occurrences.

use std::collections::HashMap;

use axum::Json;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use models::db::overview::{self, OpenOccurrence};
use models::db::plan::{self, NewPlan, OccurrenceRow, PlanRow};
use models::id::{AssetId, FailureModeId, MeterId, OccurrenceId, PlanId, TicketId};
use models::plan::{Basis, Calendar, Day, OccurrenceStatus, OnPrediction, OpenInstance};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Named, check_asset, words};
use crate::error::Problem;
use crate::extract::may::{PlansRead, PlansWrite};
use crate::extract::{Answer, Command, Path, Query, Tenant, etag};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, change))
        .routes(routes!(occurrences))
        .routes(routes!(done))
}

#[derive(Serialize, ToSchema)]
pub struct MeterRef {
    id: MeterId,
    name: String,
    unit: String,
    total: f64,
}

/// When it will be due, and why.
#[derive(Serialize, ToSchema)]
pub struct NextDue {
    date: Day,
    /// If the asset is used as on its busiest days.
    low: Option<Day>,
    /// If it is used as on its quietest days.
    high: Option<Day>,
    explanation: String,
}

#[derive(Serialize, ToSchema)]
pub struct OpenOccurrenceRef {
    id: OccurrenceId,
    sequence: i32,
    status: OccurrenceStatus,
    due_date: Day,
    ticket_id: Option<TicketId>,
}

/// Recurring work.
#[derive(Serialize, ToSchema)]
pub struct Plan {
    id: PlanId,
    asset: Named<AssetId>,
    name: String,
    failure_mode_id: Option<FailureModeId>,
    basis: Basis,
    all_of: bool,
    every_days: Option<i32>,
    meter: Option<MeterRef>,
    every_units: Option<f64>,
    /// Until the meter's due count; negative = overdue.
    units_to_go: Option<f64>,
    lead_days: i32,
    lead_units: f64,
    tolerance_pct: f64,
    open_instance: OpenInstance,
    /// Seasons, holidays, days of rest.
    calendar: Calendar,
    on_prediction: OnPrediction,
    /// The plan whose work includes this one's when both fall within `absorb_days`.
    parent: Option<Named<PlanId>>,
    absorb_days: i32,
    anchor_date: Day,
    anchor_units: f64,
    priority: String,
    tasks: Value,
    /// `null` = nothing is known yet.
    next_due: Option<NextDue>,
    /// Why no day can be told; `null` when there is one, or the plan has not been looked at yet.
    no_day_because: Option<String>,
    open_occurrence: Option<OpenOccurrenceRef>,
    enabled: bool,
    row_version: i32,
}

impl Plan {
    fn of(row: PlanRow, open: Option<OpenOccurrence>) -> Self {
        let forecast = row.forecast;
        Self {
            id: row.id,
            asset: Named::new(row.asset_id, row.asset_name),
            name: row.name,
            failure_mode_id: row.failure_mode_id,
            basis: row.basis,
            all_of: row.all_of,
            every_days: row.every_days,
            meter: row.meter_id.map(|id| MeterRef {
                id,
                name: row.meter_name.unwrap_or_default(),
                unit: row.meter_unit.unwrap_or_default(),
                total: row.meter_total.unwrap_or_default(),
            }),
            every_units: row.every_units,
            units_to_go: forecast.as_ref().and_then(|forecast| forecast.units_to_go),
            lead_days: row.lead_days,
            lead_units: row.lead_units,
            tolerance_pct: row.tolerance_pct,
            open_instance: row.open_instance,
            calendar: row.calendar,
            on_prediction: row.on_prediction,
            parent: Named::maybe(row.parent_id, row.parent_name),
            absorb_days: row.absorb_days,
            anchor_date: row.anchor_date,
            anchor_units: row.anchor_units,
            priority: row.priority,
            tasks: row.tasks,
            no_day_because: forecast
                .as_ref()
                .filter(|forecast| forecast.date.is_none())
                .map(|forecast| forecast.explanation.clone()),
            next_due: forecast.and_then(|forecast| {
                forecast.date.map(|date| NextDue {
                    date,
                    low: forecast.low,
                    high: forecast.high,
                    explanation: forecast.explanation,
                })
            }),
            open_occurrence: open.map(|open| OpenOccurrenceRef {
                id: open.id,
                sequence: open.sequence,
                status: open.status,
                due_date: open.due_date,
                ticket_id: open.ticket_id,
            }),
            enabled: row.enabled,
            row_version: row.row_version,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PlanQuery {
    asset_id: Option<AssetId>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Plans, the oldest first.
#[utoipa::path(get, path = "/v1/plans", operation_id = "list_plans", tag = "plans", params(PlanQuery),
    responses((status = 200, body = Page<Plan>)), security(("bearer" = ["plans:read"])))]
async fn list(
    mut tenant: Tenant<PlansRead>,
    Query(query): Query<PlanQuery>,
) -> Result<Json<Page<Plan>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after = page::read_cursor("plans", query.cursor.as_deref())?;
    let rows = plan::list(tenant.db(), query.asset_id, after, limit + 1).await?;
    let ids: Vec<PlanId> = rows.iter().map(|row| row.id).collect();
    let open = overview::open_occurrences(tenant.db(), &ids).await?;
    let open: HashMap<PlanId, OpenOccurrence> = open.into_iter().map(|one| (one.plan_id, one)).collect();
    Ok(Json(Page::of(
        "plans",
        limit,
        rows,
        |row| row.id,
        |row| {
            let open = open.get(&row.id).cloned();
            Plan::of(row, open)
        },
    )))
}

async fn one(db: &mut PgConnection, id: PlanId) -> Result<Plan, Problem> {
    let row = plan::get(db, id).await?.ok_or_else(Problem::not_found)?;
    let open = overview::open_occurrences(db, &[id]).await?.into_iter().next();
    Ok(Plan::of(row, open))
}

/// One plan.
#[utoipa::path(get, path = "/v1/plans/{id}", operation_id = "get_plan", tag = "plans",
    params(("id" = PlanId, Path)), responses((status = 200, body = Plan)), security(("bearer" = ["plans:read"])))]
async fn get(mut tenant: Tenant<PlansRead>, Path(id): Path<PlanId>) -> Result<Response, Problem> {
    let plan = one(tenant.db(), id).await?;
    Ok(([(ETAG, etag(plan.row_version))], Json(plan)).into_response())
}

/// Plan recurring work.
#[utoipa::path(post, path = "/v1/plans", operation_id = "create_plan", tag = "plans",
    request_body(content = NewPlan, example = json!({ "asset_id": "ast_0198c4f2a1b27c3d8e4f5a6b7c8d9e0f",
        "name": "Grease bearings", "every_days": 90, "anchor_date": "2026-01-01",
        "tasks": [{ "kind": "check", "text": "grease both bearings" }] })),
    responses((status = 201, body = Plan)), security(("bearer" = ["plans:write"])))]
async fn create(mut command: Command<PlansWrite, NewPlan>) -> Result<Response, Problem> {
    let (tenant, new) = (command.principal().tenant, command.body.clone());
    check_name(&new)?;
    check_asset(command.db(), "/asset_id", new.asset_id).await?;
    let id = plan::create(command.db(), tenant, &new).await?;
    command
        .audit("plan.create", &id.to_string(), &json!({ "name": new.name }))
        .await?;
    let shown = one(command.db(), id).await?;
    let version = shown.row_version;
    command
        .finish(Answer::created(format!("/v1/plans/{id}"), &shown)?.version(version))
        .await
}

fn check_name(new: &NewPlan) -> Result<(), Problem> {
    if new.name.trim().is_empty() {
        return Err(Problem::field("/name", "a plan needs a name"));
    }
    Ok(())
}

/// Change a plan: the keys given, the rest stays. Its asset is its identity.
#[utoipa::path(patch, path = "/v1/plans/{id}", operation_id = "change_plan", tag = "plans",
    params(("id" = PlanId, Path), ("if-match" = String, Header)),
    request_body(content = Value, description = "The keys to change.", example = json!({ "every_days": 60 })),
    responses((status = 200, body = Plan)), security(("bearer" = ["plans:write"])))]
async fn change(
    Path(id): Path<PlanId>,
    mut command: Command<PlansWrite, serde_json::Map<String, Value>>,
) -> Result<Response, Problem> {
    let current = plan::get(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let expected = command.expected()?;
    let new = merged(&current, &command.body)?;
    check_name(&new)?;
    plan::update(command.db(), id, Some(expected), &new).await?;
    command
        .audit(
            "plan.change",
            &id.to_string(),
            &json!({ "from_version": expected }),
        )
        .await?;
    let shown = one(command.db(), id).await?;
    let version = shown.row_version;
    command.finish(Answer::ok(&shown)?.version(version)).await
}

fn merged(current: &PlanRow, change: &serde_json::Map<String, Value>) -> Result<NewPlan, Problem> {
    if change.contains_key("asset_id") {
        return Err(Problem::field(
            "/asset_id",
            "it is the plan's identity: make another plan",
        ));
    }
    let mut whole = json!({
        "asset_id": current.asset_id, "name": current.name, "failure_mode_id": current.failure_mode_id,
        "enabled": current.enabled, "basis": current.basis, "all_of": current.all_of,
        "every_days": current.every_days, "meter_id": current.meter_id, "every_units": current.every_units,
        "lead_days": current.lead_days, "lead_units": current.lead_units, "tolerance_pct": current.tolerance_pct,
        "open_instance": current.open_instance, "calendar": current.calendar, "on_prediction": current.on_prediction,
        "parent_id": current.parent_id, "absorb_days": current.absorb_days, "anchor_date": current.anchor_date,
        "anchor_units": current.anchor_units, "priority": current.priority, "tasks": current.tasks,
    });
    for (key, value) in change {
        whole[key] = value.clone();
    }
    serde_path_to_error::deserialize(whole).map_err(|error| {
        let pointer = format!("/{}", error.path().to_string().replace('.', "/"));
        Problem::field(pointer, error.into_inner().to_string())
    })
}

/// One due instance of a plan.
#[derive(Serialize, ToSchema)]
pub struct Occurrence {
    id: OccurrenceId,
    plan: Named<PlanId>,
    asset_id: AssetId,
    sequence: i32,
    status: OccurrenceStatus,
    /// In the site's zone.
    due_date: Day,
    due_units: Option<f64>,
    /// `calendar`, `meter`, `all` or `prediction`.
    trigger: String,
    explanation: String,
    /// Occurrences that this one stands for beside itself.
    missed: i32,
    created_at: Timestamp,
    ticket_id: Option<TicketId>,
    done_at: Option<Timestamp>,
    /// Skipped, because the parent plan's work includes it.
    absorbed: bool,
    absorbed_by: Option<OccurrenceId>,
}

impl From<OccurrenceRow> for Occurrence {
    fn from(row: OccurrenceRow) -> Self {
        Self {
            id: row.id,
            plan: Named::new(row.plan_id, row.plan_name),
            asset_id: row.asset_id,
            sequence: row.sequence,
            status: row.status,
            due_date: row.due_date,
            due_units: row.due_units,
            trigger: row.trigger,
            explanation: row.explanation,
            missed: row.missed,
            created_at: row.created_at,
            ticket_id: row.ticket_id,
            done_at: row.done_at,
            absorbed: row.absorbed,
            absorbed_by: row.absorbed_by,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OccurrenceQuery {
    plan_id: Option<PlanId>,
    /// By comma: `due,ticketed`. All when left out.
    status: Option<String>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Occurrences, the newest first.
#[utoipa::path(get, path = "/v1/occurrences", operation_id = "list_occurrences", tag = "plans",
    params(OccurrenceQuery), responses((status = 200, body = Page<Occurrence>)),
    security(("bearer" = ["plans:read"])))]
async fn occurrences(
    mut tenant: Tenant<PlansRead>,
    Query(query): Query<OccurrenceQuery>,
) -> Result<Json<Page<Occurrence>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after = page::read_cursor("occurrences", query.cursor.as_deref())?;
    let statuses: Vec<OccurrenceStatus> = words("status", query.status.as_deref())?;
    let rows = plan::occurrences(tenant.db(), query.plan_id, &statuses, after, limit + 1).await?;
    Ok(Json(Page::of(
        "occurrences",
        limit,
        rows,
        |row| (row.created_at, row.id),
        Into::into,
    )))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "at": "2026-01-15T09:00:00Z" }))]
pub struct DoneEarly {
    /// Now when left out.
    at: Option<Timestamp>,
}

/// The work was done before it was due: it is recorded as an occurrence, and the next one moves.
#[utoipa::path(post, path = "/v1/plans/{id}/done", operation_id = "plan_done_early", tag = "plans",
    params(("id" = PlanId, Path), ("if-match" = String, Header)), request_body = DoneEarly,
    responses((status = 200, body = Plan)), security(("bearer" = ["plans:write"])))]
async fn done(
    Path(id): Path<PlanId>,
    mut command: Command<PlansWrite, DoneEarly>,
) -> Result<Response, Problem> {
    let (actor, expected, now) = (command.principal().name(), command.expected()?, Timestamp::now());
    let at = command.body.at.unwrap_or(now);
    let occurrence = plan::complete_early(command.db(), id, Some(expected), at, &actor, now).await?;
    command
        .audit(
            "plan.done",
            &id.to_string(),
            &json!({ "occurrence_id": occurrence, "at": at }),
        )
        .await?;
    let shown = one(command.db(), id).await?;
    let version = shown.row_version;
    command.finish(Answer::ok(&shown)?.version(version)).await
}

//! The tenant's rules for tickets: workflow steps, service levels, working hours.

use axum::Json;
use axum::response::Response;
use models::db::sla::{self, SiteCalendar, SlaPolicy};
use models::db::ticket::{self, NewStep, StepRow};
use models::id::{SiteId, StepId};
use models::ticket::{HOLD_CODES, Status};
use models::time::Timestamp;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::keys::Empty;
use crate::error::Problem;
use crate::extract::may::{AssetsRead, PlansWrite, TicketsRead};
use crate::extract::{Answer, Command, Path, Tenant};
use crate::page::Page;
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(steps, put_step))
        .routes(routes!(remove_step))
        .routes(routes!(policies, put_policy))
        .routes(routes!(calendar, put_calendar))
}

/// The tenant's own steps under the twelve states; always the whole list.
#[utoipa::path(get, path = "/v1/workflow", operation_id = "list_workflow_steps", tag = "tickets",
    responses((status = 200, body = Page<StepRow>)), security(("bearer" = ["tickets:read"])))]
async fn steps(mut tenant: Tenant<TicketsRead>) -> Result<Json<Page<StepRow>>, Problem> {
    Ok(Json(Page::whole(ticket::steps(tenant.db()).await?)))
}

#[derive(Serialize, ToSchema)]
pub struct MadeStep {
    id: StepId,
}

/// Add a step under a state. A mandatory one has to be done, by the role it names, before a ticket leaves
/// the state forward. Steps come on top of the gates and can't take one away.
#[utoipa::path(post, path = "/v1/workflow", operation_id = "put_workflow_step", tag = "tickets",
    request_body(content = NewStep, example = json!({ "state": "accepted", "code": "budget", "name": "Budget approved",
        "role": "planner" })),
    responses((status = 201, body = MadeStep)), security(("bearer" = ["plans:write"])))]
async fn put_step(mut command: Command<PlansWrite, NewStep>) -> Result<Response, Problem> {
    let new = command.body.clone();
    if matches!(new.state, Status::Closed | Status::Cancelled) {
        return Err(Problem::field(
            "/state",
            "nothing comes after closed and cancelled",
        ));
    }
    let word = |text: &str| !text.trim().is_empty() && text.len() <= 100;
    if !word(&new.code) || !word(&new.name) {
        return Err(Problem::field("/code", "code and name have 1 to 100 characters"));
    }
    let tenant = command.principal().tenant;
    let id = ticket::put_step(command.db(), tenant, &new).await?;
    command
        .audit("workflow.put", &id.to_string(), &json!(new))
        .await?;
    command
        .finish(Answer::created(format!("/v1/workflow/{id}"), &MadeStep { id })?)
        .await
}

/// Take a step out of the workflow.
#[utoipa::path(delete, path = "/v1/workflow/{id}", operation_id = "remove_workflow_step", tag = "tickets",
    params(("id" = StepId, Path)), responses((status = 204)), security(("bearer" = ["plans:write"])))]
async fn remove_step(
    Path(id): Path<StepId>,
    mut command: Command<PlansWrite, Empty>,
) -> Result<Response, Problem> {
    if !ticket::remove_step(command.db(), id).await? {
        return Err(Problem::not_found());
    }
    command
        .audit("workflow.remove", &id.to_string(), &json!({}))
        .await?;
    command.finish(Answer::empty()).await
}

/// Service levels by priority; always the whole list.
#[utoipa::path(get, path = "/v1/sla-policies", operation_id = "list_sla_policies", tag = "tickets",
    responses((status = 200, body = Page<SlaPolicy>)), security(("bearer" = ["tickets:read"])))]
async fn policies(mut tenant: Tenant<TicketsRead>) -> Result<Json<Page<SlaPolicy>>, Problem> {
    Ok(Json(Page::whole(sla::policies(tenant.db()).await?)))
}

/// Set the service level of a priority. The clocks of its open tickets are computed anew.
#[utoipa::path(post, path = "/v1/sla-policies", operation_id = "put_sla_policy", tag = "tickets",
    request_body(content = SlaPolicy, example = json!({ "priority": "high", "respond_s": 3600, "restore_s": 28800,
        "pausing": ["waiting_access"], "escalate_to": "planner" })),
    responses((status = 200, body = Page<SlaPolicy>)), security(("bearer" = ["plans:write"])))]
async fn put_policy(mut command: Command<PlansWrite, SlaPolicy>) -> Result<Response, Problem> {
    let new = command.body.clone();
    let good = |seconds: f64| seconds.is_finite() && (60.0..=366.0 * 86_400.0).contains(&seconds);
    if !good(new.respond_s) {
        return Err(Problem::field("/respond_s", "60 seconds to a year"));
    }
    if !good(new.restore_s) || new.restore_s < new.respond_s {
        return Err(Problem::field(
            "/restore_s",
            "60 seconds to a year, and not below respond_s",
        ));
    }
    if let Some(index) = new
        .pausing
        .iter()
        .position(|code| !HOLD_CODES.contains(&code.as_str()))
    {
        return Err(Problem::field(
            format!("/pausing/{index}"),
            format!("one of {}", HOLD_CODES.join(", ")),
        ));
    }
    let tenant = command.principal().tenant;
    sla::put_policy(command.db(), tenant, &new).await?;
    sla::refresh_open(command.db(), None, Some(new.priority), Timestamp::now()).await?;
    command
        .audit("sla_policy.put", &tenant.to_string(), &json!(new))
        .await?;
    let all = sla::policies(command.db()).await?;
    command.finish(Answer::ok(&Page::whole(all))?).await
}

/// Zone and working hours of a site; an empty week = always open.
#[utoipa::path(get, path = "/v1/sites/{id}/calendar", operation_id = "get_site_calendar", tag = "assets",
    params(("id" = SiteId, Path)), responses((status = 200, body = SiteCalendar)),
    security(("bearer" = ["assets:read"])))]
async fn calendar(
    mut tenant: Tenant<AssetsRead>,
    Path(id): Path<SiteId>,
) -> Result<Json<SiteCalendar>, Problem> {
    sla::site_calendar(tenant.db(), id)
        .await?
        .map(Json)
        .ok_or_else(Problem::not_found)
}

/// Set zone and working hours of a site. The service-level clocks of its open tickets are computed anew;
/// due dates of plans are days and stay as they are.
#[utoipa::path(put, path = "/v1/sites/{id}/calendar", operation_id = "put_site_calendar", tag = "assets",
    params(("id" = SiteId, Path)), request_body = SiteCalendar, responses((status = 200, body = SiteCalendar)),
    security(("bearer" = ["plans:write"])))]
async fn put_calendar(
    Path(id): Path<SiteId>,
    mut command: Command<PlansWrite, SiteCalendar>,
) -> Result<Response, Problem> {
    let (new, tenant) = (command.body.clone(), command.principal().tenant);
    match sla::put_calendar(command.db(), tenant, id, &new, Timestamp::now()).await? {
        Ok(true) => {}
        Ok(false) => return Err(Problem::not_found()),
        Err(error) => {
            use models::sla::CalendarError::NoSuchZone;
            let pointer = if matches!(error, NoSuchZone(_)) {
                "/time_zone"
            } else {
                "/week"
            };
            return Err(Problem::field(pointer, error.to_string()));
        }
    }
    command
        .audit("site.calendar", &id.to_string(), &json!(new))
        .await?;
    let shown = sla::site_calendar(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    command.finish(Answer::ok(&shown)?).await
}

//! What has to be true before work begins: requirements, risk matrices, permits, lock-out procedures.

use axum::Json;
use axum::response::Response;
use models::db::change::ChangeError;
use models::db::lockout::{self, NewProcedure, ProcedureRow};
use models::db::people::{self, NewRequirement, RequirementRow};
use models::db::permit::{self, AskError, MatrixRow, NewPermit, PermitRow};
use models::id::{AssetId, MatrixId, PermitId, ProcedureId, RequirementId, TicketId};
use models::permit::{Matrix, PermitDecision, PermitStatus};
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::check_asset;
use super::keys::Empty;
use crate::error::Problem;
use crate::extract::may::{SafetyWrite, TicketsRead, TicketsWrite};
use crate::extract::{Answer, Command, Path, Query, Tenant};
use crate::page::{self, Page};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(requirements, add_requirement))
        .routes(routes!(remove_requirement))
        .routes(routes!(matrices, create_matrix))
        .routes(routes!(permits, ask))
        .routes(routes!(decide))
        .routes(routes!(procedures, put_procedure))
}

/// What work asks for, by asset, class or failure mode; always the whole list.
#[utoipa::path(get, path = "/v1/work-requirements", operation_id = "list_work_requirements", tag = "safety",
    responses((status = 200, body = Page<RequirementRow>)), security(("bearer" = ["tickets:read"])))]
async fn requirements(mut tenant: Tenant<TicketsRead>) -> Result<Json<Page<RequirementRow>>, Problem> {
    Ok(Json(Page::whole(people::requirements(tenant.db()).await?)))
}

#[derive(Serialize, ToSchema)]
pub struct MadeRequirement {
    id: RequirementId,
}

/// Say what work on an asset, a class or a failure mode asks for. Requirements add up.
#[utoipa::path(post, path = "/v1/work-requirements", operation_id = "add_work_requirement", tag = "safety",
    request_body(content = NewRequirement, example = json!({ "asset_id": "ast_0198c4f2a1b27c3d8e4f5a6b7c8d9e0f",
        "skill": "electricity", "qualification": "electrical_work_class_a", "permit": true, "lockout": true })),
    responses((status = 201, body = MadeRequirement)), security(("bearer" = ["safety:write"])))]
async fn add_requirement(mut command: Command<SafetyWrite, NewRequirement>) -> Result<Response, Problem> {
    let new = command.body.clone();
    let scopes = [
        new.asset_id.is_some(),
        new.class_id.is_some(),
        new.failure_mode_id.is_some(),
    ];
    if scopes.iter().filter(|given| **given).count() != 1 {
        return Err(Problem::field(
            "/asset_id",
            "give exactly one of asset_id, class_id and failure_mode_id",
        ));
    }
    if new.skill.is_none() && new.qualification.is_none() && !new.permit && !new.lockout {
        return Err(Problem::field(
            "/skill",
            "ask for at least one of skill, qualification, permit and lockout",
        ));
    }
    if let Some(asset) = new.asset_id {
        check_asset(command.db(), "/asset_id", asset).await?;
    }
    let tenant = command.principal().tenant;
    let id = people::add_requirement(command.db(), tenant, &new).await?;
    command
        .audit("requirement.add", &id.to_string(), &json!(new))
        .await?;
    command
        .finish(Answer::created(
            format!("/v1/work-requirements/{id}"),
            &MadeRequirement { id },
        )?)
        .await
}

/// Remove a requirement.
#[utoipa::path(delete, path = "/v1/work-requirements/{id}", operation_id = "remove_work_requirement", tag = "safety",
    params(("id" = RequirementId, Path)), responses((status = 204)), security(("bearer" = ["safety:write"])))]
async fn remove_requirement(
    Path(id): Path<RequirementId>,
    mut command: Command<SafetyWrite, Empty>,
) -> Result<Response, Problem> {
    if !people::remove_requirement(command.db(), id).await? {
        return Err(Problem::not_found());
    }
    command
        .audit("requirement.remove", &id.to_string(), &json!({}))
        .await?;
    command.finish(Answer::empty()).await
}

/// The built-in risk matrix and the tenant's own.
#[utoipa::path(get, path = "/v1/risk-matrices", operation_id = "list_risk_matrices", tag = "safety",
    responses((status = 200, body = Page<MatrixRow>)), security(("bearer" = ["tickets:read"])))]
async fn matrices(mut tenant: Tenant<TicketsRead>) -> Result<Json<Page<MatrixRow>>, Problem> {
    Ok(Json(Page::whole(permit::matrices(tenant.db()).await?)))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "plant", "matrix": { "bounds": [0.01, 0.05, 0.2, 0.5], "levels": [
    ["low", "low", "low", "medium", "medium"], ["low", "low", "medium", "medium", "high"],
    ["low", "medium", "medium", "high", "high"], ["medium", "medium", "high", "high", "extreme"],
    ["medium", "high", "high", "extreme", "extreme"]] } }))]
pub struct NewMatrix {
    name: String,
    matrix: Matrix,
}

#[derive(Serialize, ToSchema)]
pub struct MadeMatrix {
    id: MatrixId,
}

/// Make a risk matrix: rows are likelihoods, columns consequences; `bounds` part the likelihoods by
/// probability.
#[utoipa::path(post, path = "/v1/risk-matrices", operation_id = "create_risk_matrix", tag = "safety",
    request_body = NewMatrix, responses((status = 201, body = MadeMatrix)), security(("bearer" = ["safety:write"])))]
async fn create_matrix(mut command: Command<SafetyWrite, NewMatrix>) -> Result<Response, Problem> {
    let (name, matrix) = (command.body.name.trim().to_owned(), command.body.matrix.clone());
    if name.is_empty() || name.len() > 100 {
        return Err(Problem::field("/name", "1 to 100 characters"));
    }
    matrix
        .check()
        .map_err(|error| Problem::field("/matrix", error.to_string()))?;
    let tenant = command.principal().tenant;
    let id = permit::create_matrix(command.db(), tenant, &name, &matrix).await?;
    command
        .audit("risk_matrix.create", &id.to_string(), &json!({ "name": name }))
        .await?;
    command
        .finish(Answer::created(
            "/v1/risk-matrices".to_owned(),
            &MadeMatrix { id },
        )?)
        .await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PermitQuery {
    ticket_id: Option<TicketId>,
    status: Option<PermitStatus>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Work permits, newest first.
#[utoipa::path(get, path = "/v1/work-permits", operation_id = "list_work_permits", tag = "safety", params(PermitQuery),
    responses((status = 200, body = Page<PermitRow>)), security(("bearer" = ["tickets:read"])))]
async fn permits(
    mut tenant: Tenant<TicketsRead>,
    Query(query): Query<PermitQuery>,
) -> Result<Json<Page<PermitRow>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after = page::read_cursor("work_permits", query.cursor.as_deref())?;
    let rows = permit::permits(tenant.db(), query.ticket_id, query.status, after, limit + 1).await?;
    Ok(Json(Page::of(
        "work_permits",
        limit,
        rows,
        |row| row.id,
        |row| row,
    )))
}

fn ask_refused(error: ChangeError<AskError>) -> Problem {
    match error {
        ChangeError::NotFound => Problem::field("/ticket_id", "there is no such ticket"),
        ChangeError::Refused(refusal) => {
            let pointer = match refusal {
                AskError::NoMatrix => "/matrix_id",
                AskError::Matrix(_) => "/consequence",
                AskError::NoPrediction => "/likelihood",
                AskError::Window | AskError::TooLong => "/valid_until",
                AskError::TicketDone(_) => "/ticket_id",
            };
            Problem::field(pointer, refusal.to_string())
        }
        other => other.into(),
    }
}

/// Ask for a permit. Low and medium risks are approved at once, the others wait for somebody else's
/// approval. Without a likelihood the ticket's prediction gives it.
#[utoipa::path(post, path = "/v1/work-permits", operation_id = "ask_for_permit", tag = "safety",
    request_body = NewPermit, responses((status = 201, body = PermitRow)), security(("bearer" = ["tickets:write"])))]
async fn ask(mut command: Command<TicketsWrite, NewPermit>) -> Result<Response, Problem> {
    let new = command.body.clone();
    for (pointer, text) in [
        ("/work", &new.work),
        ("/hazards", &new.hazards),
        ("/precautions", &new.precautions),
    ] {
        if text.trim().is_empty() || text.chars().count() > 2000 {
            return Err(Problem::field(pointer, "1 to 2000 characters"));
        }
    }
    let (tenant, actor) = (command.principal().tenant, command.principal().name());
    let id = permit::ask(command.db(), tenant, &new, &actor, Timestamp::now())
        .await
        .map_err(ask_refused)?;
    command
        .audit("permit.ask", &id.to_string(), &json!({ "ticket": new.ticket_id }))
        .await?;
    let row = permit::get(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let version = row.row_version;
    command
        .finish(Answer::created("/v1/work-permits".to_owned(), &row)?.version(version))
        .await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "decision": "approve", "signature": "S. Officer" }))]
pub struct DecidePermit {
    decision: PermitDecision,
    /// To approve: the name, as its owner writes it.
    signature: Option<String>,
    /// To reject or revoke: why.
    reason: Option<String>,
}

/// Approve, reject, revoke or close a permit. High and extreme risks are approved by somebody else than
/// the one who asked.
#[utoipa::path(post, path = "/v1/work-permits/{id}/decision", operation_id = "decide_permit", tag = "safety",
    params(("id" = PermitId, Path), ("if-match" = Option<String>, Header)), request_body = DecidePermit,
    responses((status = 200, body = PermitRow)), security(("bearer" = ["safety:write"])))]
async fn decide(
    Path(id): Path<PermitId>,
    mut command: Command<SafetyWrite, DecidePermit>,
) -> Result<Response, Problem> {
    let (actor, expected) = (command.principal().name(), command.expected_if_given());
    let decision = command.body.decision;
    let (reason, signature) = (command.body.reason.clone(), command.body.signature.clone());
    let said = (reason.as_deref(), signature.as_deref());
    permit::decide_permit(
        command.db(),
        id,
        expected,
        decision,
        said,
        &actor,
        Timestamp::now(),
    )
    .await?;
    command
        .audit("permit.decide", &id.to_string(), &json!({ "decision": decision }))
        .await?;
    let row = permit::get(command.db(), id)
        .await?
        .ok_or_else(Problem::not_found)?;
    let version = row.row_version;
    command.finish(Answer::ok(&row)?.version(version)).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ProcedureQuery {
    asset_id: Option<AssetId>,
}

/// Lock-out procedures by asset; at most 1000.
#[utoipa::path(get, path = "/v1/loto-procedures", operation_id = "list_loto_procedures", tag = "safety",
    params(ProcedureQuery), responses((status = 200, body = Page<ProcedureRow>)),
    security(("bearer" = ["tickets:read"])))]
async fn procedures(
    mut tenant: Tenant<TicketsRead>,
    Query(query): Query<ProcedureQuery>,
) -> Result<Json<Page<ProcedureRow>>, Problem> {
    let rows = lockout::procedures(tenant.db(), query.asset_id).await?;
    Ok(Json(Page::whole(rows)))
}

#[derive(Serialize, ToSchema)]
pub struct MadeProcedure {
    id: ProcedureId,
}

/// Write a lock-out procedure; it replaces the asset's one of the same name.
#[utoipa::path(post, path = "/v1/loto-procedures", operation_id = "put_loto_procedure", tag = "safety",
    request_body = NewProcedure, responses((status = 201, body = MadeProcedure)),
    security(("bearer" = ["safety:write"])))]
async fn put_procedure(mut command: Command<SafetyWrite, NewProcedure>) -> Result<Response, Problem> {
    let new = command.body.clone();
    if new.name.trim().is_empty() || new.name.len() > 100 {
        return Err(Problem::field("/name", "1 to 100 characters"));
    }
    if new.points.is_empty() || new.points.len() > 100 {
        return Err(Problem::field(
            "/points",
            "1 to 100 points: without one there is nothing to lock",
        ));
    }
    for (index, point) in new.points.iter().enumerate() {
        let twice = new
            .points
            .iter()
            .take(index)
            .any(|other| other.point == point.point);
        if point.point.trim().is_empty() || twice {
            return Err(Problem::field(
                format!("/points/{index}/point"),
                "a name of its own",
            ));
        }
    }
    check_asset(command.db(), "/asset_id", new.asset_id).await?;
    let tenant = command.principal().tenant;
    let id = lockout::put_procedure(command.db(), tenant, &new).await?;
    command
        .audit(
            "loto_procedure.put",
            &id.to_string(),
            &json!({ "asset": new.asset_id, "name": new.name }),
        )
        .await?;
    command
        .finish(Answer::created(
            "/v1/loto-procedures".to_owned(),
            &MadeProcedure { id },
        )?)
        .await
}

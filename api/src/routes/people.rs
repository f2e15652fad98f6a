//! Who works here: members, technicians, shifts, qualifications.

use axum::Json;
use axum::response::Response;
use models::db::people::{
    self, MemberRow, NewQualification, QualificationRow, ShiftRow, TechnicianEdit, TechnicianRow,
};
use models::id::{QualificationId, ShiftId, UserId};
use models::interval::Span;
use models::people::ShiftKind;
use models::tenant::MemberRole;
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::keys::Empty;
use super::moment;
use crate::error::Problem;
use crate::extract::may::{PeopleRead, PeopleWrite};
use crate::extract::{Answer, Command, Path, Query, Tenant};
use crate::page::Page;
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(members))
        .routes(routes!(technicians))
        .routes(routes!(put_technician))
        .routes(routes!(shifts, add_shift))
        .routes(routes!(remove_shift))
        .routes(routes!(qualifications, put_qualification))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MemberQuery {
    role: Option<MemberRole>,
}

/// The members of the tenant, by name; always the whole list.
#[utoipa::path(get, path = "/v1/users", operation_id = "list_users", tag = "people", params(MemberQuery),
    responses((status = 200, body = Page<MemberRow>)), security(("bearer" = ["people:read"])))]
async fn members(
    mut tenant: Tenant<PeopleRead>,
    Query(query): Query<MemberQuery>,
) -> Result<Json<Page<MemberRow>>, Problem> {
    Ok(Json(Page::whole(people::members(tenant.db(), query.role).await?)))
}

/// Members who do work, with their skills; always the whole list.
#[utoipa::path(get, path = "/v1/technicians", operation_id = "list_technicians", tag = "people",
    responses((status = 200, body = Page<TechnicianRow>)), security(("bearer" = ["people:read"])))]
async fn technicians(mut tenant: Tenant<PeopleRead>) -> Result<Json<Page<TechnicianRow>>, Problem> {
    Ok(Json(Page::whole(people::technicians(tenant.db()).await?)))
}

/// Make a member a technician, or change what is said of him. From the first one on, only technicians
/// can be assigned to tickets.
#[utoipa::path(put, path = "/v1/technicians/{id}", operation_id = "put_technician", tag = "people",
    params(("id" = UserId, Path)),
    request_body(content = TechnicianEdit, example = json!({ "skills": ["electricity", "general"], "floating": false })),
    responses((status = 200, body = Page<TechnicianRow>)), security(("bearer" = ["people:write"])))]
async fn put_technician(
    Path(user): Path<UserId>,
    mut command: Command<PeopleWrite, TechnicianEdit>,
) -> Result<Response, Problem> {
    let edit = command.body.clone();
    if !people::put_technician(command.db(), user, &edit).await? {
        return Err(Problem::not_found());
    }
    command
        .audit("technician.put", &user.to_string(), &json!(edit))
        .await?;
    let all = people::technicians(command.db()).await?;
    command.finish(Answer::ok(&Page::whole(all))?).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ShiftQuery {
    user_id: Option<UserId>,
    /// RFC 3339 or seconds since 1970; now when left out.
    from: Option<String>,
    /// Exclusive; 28 days after `from` when left out.
    to: Option<String>,
}

/// Shifts and absences that touch a window, by their start; at most 2000.
#[utoipa::path(get, path = "/v1/shifts", operation_id = "list_shifts", tag = "people", params(ShiftQuery),
    responses((status = 200, body = Page<ShiftRow>)), security(("bearer" = ["people:read"])))]
async fn shifts(
    mut tenant: Tenant<PeopleRead>,
    Query(query): Query<ShiftQuery>,
) -> Result<Json<Page<ShiftRow>>, Problem> {
    let from = moment("from", query.from.as_deref())?.unwrap_or_else(Timestamp::now);
    let to = moment("to", query.to.as_deref())?.unwrap_or_else(|| from.plus_seconds(28.0 * 86_400.0));
    let rows = people::shifts(tenant.db(), query.user_id, Span::new(from, to), 2000).await?;
    Ok(Json(Page::whole(rows)))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewShift {
    user_id: UserId,
    kind: ShiftKind,
    starts_at: Timestamp,
    /// After `starts_at`.
    #[schema(example = "2026-01-31T20:00:00Z")]
    ends_at: Timestamp,
    note: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct MadeShift {
    id: ShiftId,
}

async fn check_technician(db: &mut PgConnection, user: UserId) -> Result<(), Problem> {
    if people::technicians(db)
        .await?
        .iter()
        .any(|one| one.user_id == user)
    {
        Ok(())
    } else {
        let detail = "he is no technician here: PUT /v1/technicians/{id} first";
        Err(Problem::field("/user_id", detail))
    }
}

/// Enter a shift or an absence. The same person, kind and start replaces what was entered before.
#[utoipa::path(post, path = "/v1/shifts", operation_id = "add_shift", tag = "people", request_body = NewShift,
    responses((status = 201, body = MadeShift)), security(("bearer" = ["people:write"])))]
async fn add_shift(mut command: Command<PeopleWrite, NewShift>) -> Result<Response, Problem> {
    let span = Span::new(command.body.starts_at, command.body.ends_at);
    if span.is_empty() || span.seconds() > 400.0 * 86_400.0 {
        return Err(Problem::field("/ends_at", "after starts_at, by 400 days at most"));
    }
    let (user, kind, note) = (command.body.user_id, command.body.kind, command.body.note.clone());
    check_technician(command.db(), user).await?;
    let (tenant, actor) = (command.principal().tenant, command.principal().name());
    let id = people::add_shift(command.db(), tenant, user, kind, span, note.as_deref(), &actor).await?;
    command
        .audit(
            "shift.add",
            &id.to_string(),
            &json!({ "user": user, "kind": kind }),
        )
        .await?;
    command
        .finish(Answer::created(format!("/v1/shifts/{id}"), &MadeShift { id })?)
        .await
}

/// Remove a shift or an absence.
#[utoipa::path(delete, path = "/v1/shifts/{id}", operation_id = "remove_shift", tag = "people",
    params(("id" = ShiftId, Path)), responses((status = 204)), security(("bearer" = ["people:write"])))]
async fn remove_shift(
    Path(id): Path<ShiftId>,
    mut command: Command<PeopleWrite, Empty>,
) -> Result<Response, Problem> {
    if !people::remove_shift(command.db(), id).await? {
        return Err(Problem::not_found());
    }
    command.audit("shift.remove", &id.to_string(), &json!({})).await?;
    command.finish(Answer::empty()).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct QualificationQuery {
    user_id: Option<UserId>,
}

/// Certifications and trainings; always the whole list.
#[utoipa::path(get, path = "/v1/qualifications", operation_id = "list_qualifications", tag = "people",
    params(QualificationQuery), responses((status = 200, body = Page<QualificationRow>)),
    security(("bearer" = ["people:read"])))]
async fn qualifications(
    mut tenant: Tenant<PeopleRead>,
    Query(query): Query<QualificationQuery>,
) -> Result<Json<Page<QualificationRow>>, Problem> {
    let rows = people::qualifications(tenant.db(), query.user_id).await?;
    Ok(Json(Page::whole(rows)))
}

#[derive(Serialize, ToSchema)]
pub struct MadeQualification {
    id: QualificationId,
}

/// Write a certification or training as it stands now; it replaces the one of the same person, kind and
/// code.
#[utoipa::path(post, path = "/v1/qualifications", operation_id = "put_qualification", tag = "people",
    request_body(content = NewQualification, example = json!({ "user_id": "usr_0198c4f2a1b27c3d8e4f5a6b7c8d9e0f",
        "kind": "certification", "code": "electrical_work_class_a", "valid_from": "2026-01-01T00:00:00Z",
        "valid_until": "2029-01-01T00:00:00Z" })),
    responses((status = 201, body = MadeQualification)), security(("bearer" = ["people:write"])))]
async fn put_qualification(mut command: Command<PeopleWrite, NewQualification>) -> Result<Response, Problem> {
    let new = command.body.clone();
    if new.code.trim().is_empty() || new.code.len() > 100 {
        return Err(Problem::field("/code", "1 to 100 characters"));
    }
    if new.valid_until.is_some_and(|until| until <= new.valid_from) {
        return Err(Problem::field("/valid_until", "after valid_from"));
    }
    check_technician(command.db(), new.user_id).await?;
    let tenant = command.principal().tenant;
    let id = people::put_qualification(command.db(), tenant, &new).await?;
    command
        .audit(
            "qualification.put",
            &id.to_string(),
            &json!({ "user": new.user_id, "code": new.code }),
        )
        .await?;
    command
        .finish(Answer::created(
            "/v1/qualifications".to_owned(),
            &MadeQualification { id },
        )?)
        .await
}

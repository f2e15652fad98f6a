//! What work asks for.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::id::{AssetClassId, AssetId, FailureModeId, RequirementId, TenantId, TicketId};
use crate::people::Skill;

/// What work on something asks for; exactly one of the first three.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewRequirement {
    pub asset_id: Option<AssetId>,
    pub class_id: Option<AssetClassId>,
    pub failure_mode_id: Option<FailureModeId>,
    pub skill: Option<Skill>,
    /// Code of a certification or training.
    pub qualification: Option<String>,
    pub permit: bool,
    pub lockout: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = WorkRequirement))]
pub struct RequirementRow {
    pub id: RequirementId,
    pub asset_id: Option<AssetId>,
    pub class_id: Option<AssetClassId>,
    pub failure_mode_id: Option<FailureModeId>,
    pub skill: Option<Skill>,
    pub qualification: Option<String>,
    pub permit: bool,
    pub lockout: bool,
}

/// # Errors
/// When the database does.
pub async fn requirements(connection: &mut PgConnection) -> Result<Vec<RequirementRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, asset_id, class_id, failure_mode_id, skill, qualification, permit, lockout FROM work_requirement
         ORDER BY id",
    )
    .fetch_all(connection)
    .await
}

/// # Errors
/// `work_requirement_one_scope`, `work_requirement_asks`; a foreign key when the scope isn't the tenant's.
pub async fn add_requirement(
    connection: &mut PgConnection,
    tenant: TenantId,
    new: &NewRequirement,
) -> Result<RequirementId, sqlx::Error> {
    let id = RequirementId::new();
    sqlx::query(
        "INSERT INTO work_requirement (id, tenant_id, asset_id, class_id, failure_mode_id, skill, qualification, permit,
             lockout) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(id)
    .bind(tenant)
    .bind(new.asset_id)
    .bind(new.class_id)
    .bind(new.failure_mode_id)
    .bind(new.skill)
    .bind(&new.qualification)
    .bind(new.permit)
    .bind(new.lockout)
    .execute(connection)
    .await?;
    Ok(id)
}

/// # Errors
/// When the database does.
pub async fn remove_requirement(
    connection: &mut PgConnection,
    id: RequirementId,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("DELETE FROM work_requirement WHERE id = $1")
        .bind(id)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// What a ticket asks for, from its own flags and every requirement that fits it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    pub skills: Vec<Skill>,
    pub qualifications: Vec<String>,
    pub permit: bool,
    pub lockout: bool,
}

/// # Errors
/// When the database does.
pub async fn asked(connection: &mut PgConnection, ticket: TicketId) -> Result<Asked, sqlx::Error> {
    type Row = (Option<Skill>, Option<String>, bool, bool);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT r.skill, r.qualification, r.permit, r.lockout
         FROM ticket t JOIN asset a ON a.id = t.asset_id JOIN work_requirement r ON r.tenant_id = t.tenant_id
         WHERE t.id = $1 AND (r.asset_id = a.id OR r.class_id = a.class_id OR r.failure_mode_id = t.failure_mode_id)
         UNION ALL SELECT t.required_skill, NULL, t.needs_permit, t.needs_lockout FROM ticket t WHERE t.id = $1",
    )
    .bind(ticket)
    .fetch_all(&mut *connection)
    .await?;
    let of_mode: Option<String> = sqlx::query_scalar(
        "SELECT f.required_skill FROM ticket t JOIN failure_mode f ON f.id = t.failure_mode_id WHERE t.id = $1",
    )
    .bind(ticket)
    .fetch_optional(connection)
    .await?
    .flatten();
    let mut asked = Asked::default();
    for (skill, qualification, permit, lockout) in rows {
        asked.skills.extend(skill);
        asked.qualifications.extend(qualification);
        asked.permit |= permit;
        asked.lockout |= lockout;
    }
    // A failure mode's skill is a free text; one of the five words counts.
    asked.skills.extend(of_mode.as_deref().and_then(Skill::parse));
    asked.skills.sort_unstable();
    asked.skills.dedup();
    asked.qualifications.sort_unstable();
    asked.qualifications.dedup();
    Ok(asked)
}

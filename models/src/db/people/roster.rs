//! Members, technicians and their shifts.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::id::{ShiftId, SiteId, TenantId, UserId};
use crate::interval::Span;
use crate::people::{ShiftKind, Skill};
use crate::tenant::MemberRole;
use crate::time::Timestamp;

/// A member of the tenant.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Member))]
pub struct MemberRow {
    pub id: UserId,
    pub name: String,
    pub email: String,
    pub role: MemberRole,
    /// `null` = every site.
    pub site_id: Option<SiteId>,
    pub is_technician: bool,
}

/// Members by name.
///
/// # Errors
/// When the database does.
pub async fn members(
    connection: &mut PgConnection,
    role: Option<MemberRole>,
) -> Result<Vec<MemberRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT u.id, u.name, u.email, m.role, m.site_id, t.user_id IS NOT NULL AS is_technician
         FROM membership m JOIN app_user u ON u.id = m.user_id
         LEFT JOIN technician t ON t.tenant_id = m.tenant_id AND t.user_id = m.user_id
         WHERE ($1::member_role IS NULL OR m.role = $1)
           AND (current_site() IS NULL OR m.site_id IS NULL OR m.site_id = current_site())
         ORDER BY u.name, u.id",
    )
    .bind(role)
    .fetch_all(connection)
    .await
}

#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Technician))]
pub struct TechnicianRow {
    pub user_id: UserId,
    pub name: String,
    pub skills: Vec<Skill>,
    /// `null` = at home everywhere.
    pub home_site_id: Option<SiteId>,
    /// Lent to other sites, after their own people.
    pub floating: bool,
    pub active: bool,
    pub row_version: i32,
}

/// What is said of a technician.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TechnicianEdit {
    pub skills: Vec<Skill>,
    #[serde(default)]
    pub home_site_id: Option<SiteId>,
    #[serde(default)]
    pub floating: bool,
    #[serde(default = "yes")]
    pub active: bool,
}

fn yes() -> bool {
    true
}

/// # Errors
/// When the database does.
pub async fn technicians(connection: &mut PgConnection) -> Result<Vec<TechnicianRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT t.user_id, u.name, t.skills, t.home_site_id, t.floating, t.active, t.row_version
         FROM technician t JOIN app_user u ON u.id = t.user_id ORDER BY u.name, t.user_id",
    )
    .fetch_all(connection)
    .await
}

/// Makes a member a technician, or changes what is said of him. `false` = no such member.
///
/// # Errors
/// A foreign key when the site isn't the tenant's.
pub async fn put_technician(
    connection: &mut PgConnection,
    user: UserId,
    edit: &TechnicianEdit,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "INSERT INTO technician (tenant_id, user_id, skills, home_site_id, floating, active)
         SELECT m.tenant_id, m.user_id, $2, $3, $4, $5 FROM membership m
         WHERE m.user_id = $1 AND m.tenant_id = current_tenant()
         ON CONFLICT (tenant_id, user_id) DO UPDATE SET skills = excluded.skills, home_site_id = excluded.home_site_id,
             floating = excluded.floating, active = excluded.active, row_version = technician.row_version + 1",
    )
    .bind(user)
    .bind(&edit.skills)
    .bind(edit.home_site_id)
    .bind(edit.floating)
    .bind(edit.active)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Shift))]
pub struct ShiftRow {
    pub id: ShiftId,
    pub user_id: UserId,
    pub kind: ShiftKind,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    pub note: Option<String>,
}

/// Shifts that touch the window, by their start.
///
/// # Errors
/// When the database does.
pub async fn shifts(
    connection: &mut PgConnection,
    user: Option<UserId>,
    window: Span,
    limit: i64,
) -> Result<Vec<ShiftRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, user_id, kind, starts_at, ends_at, note FROM technician_shift
         WHERE ($1::uuid IS NULL OR user_id = $1) AND starts_at < $3 AND ends_at > $2 ORDER BY starts_at, id LIMIT $4",
    )
    .bind(user)
    .bind(window.start)
    .bind(window.end)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// # Errors
/// `technician_shift_runs_forward`; a foreign key when the person is no technician of the tenant.
pub async fn add_shift(
    connection: &mut PgConnection,
    tenant: TenantId,
    user: UserId,
    kind: ShiftKind,
    span: Span,
    note: Option<&str>,
    actor: &str,
) -> Result<ShiftId, sqlx::Error> {
    sqlx::query_scalar(
        "INSERT INTO technician_shift (id, tenant_id, user_id, kind, starts_at, ends_at, note, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (tenant_id, user_id, kind, starts_at) DO UPDATE SET ends_at = excluded.ends_at, note = excluded.note
         RETURNING id",
    )
    .bind(ShiftId::new())
    .bind(tenant)
    .bind(user)
    .bind(kind)
    .bind(span.start)
    .bind(span.end)
    .bind(note)
    .bind(actor)
    .fetch_one(connection)
    .await
}

/// # Errors
/// When the database does.
pub async fn remove_shift(connection: &mut PgConnection, id: ShiftId) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("DELETE FROM technician_shift WHERE id = $1")
        .bind(id)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}

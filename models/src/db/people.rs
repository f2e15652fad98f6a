//! SQL of people who do work: members, technicians, shifts, qualifications, what work asks for.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::id::{
    AssetClassId, AssetId, FailureModeId, QualificationId, RequirementId, ShiftId, SiteId, TenantId,
    TicketId, UserId,
};
use crate::interval::Span;
use crate::people::{
    Booked, Candidate, Held, Job, QualificationKind, QualificationStatus, ShiftKind, Skill, Verdict, judge,
    propose,
};
use crate::tenant::MemberRole;
use crate::ticket::Missing;
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

#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Qualification))]
pub struct QualificationRow {
    pub id: QualificationId,
    pub user_id: UserId,
    pub kind: QualificationKind,
    pub code: String,
    pub status: QualificationStatus,
    pub valid_from: Timestamp,
    pub valid_until: Option<Timestamp>,
    pub reference: Option<String>,
}

/// # Errors
/// When the database does.
pub async fn qualifications(
    connection: &mut PgConnection,
    user: Option<UserId>,
) -> Result<Vec<QualificationRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, user_id, kind, code, status, valid_from, valid_until, reference FROM qualification
         WHERE $1::uuid IS NULL OR user_id = $1 ORDER BY user_id, code, kind",
    )
    .bind(user)
    .fetch_all(connection)
    .await
}

/// A person's certificate or training as it stands now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewQualification {
    pub user_id: UserId,
    pub kind: QualificationKind,
    #[cfg_attr(feature = "openapi", schema(example = "electrical_work_class_a"))]
    pub code: String,
    #[serde(default = "passed")]
    pub status: QualificationStatus,
    pub valid_from: Timestamp,
    #[serde(default)]
    pub valid_until: Option<Timestamp>,
    #[serde(default)]
    pub reference: Option<String>,
}

fn passed() -> QualificationStatus {
    QualificationStatus::Passed
}

/// Writes it, in place of the one of the same person, kind and code.
///
/// # Errors
/// `qualification_runs_forward`; a foreign key when the person is no technician of the tenant.
pub async fn put_qualification(
    connection: &mut PgConnection,
    tenant: TenantId,
    new: &NewQualification,
) -> Result<QualificationId, sqlx::Error> {
    sqlx::query_scalar(
        "INSERT INTO qualification (id, tenant_id, user_id, kind, code, status, valid_from, valid_until, reference)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (tenant_id, user_id, kind, code) DO UPDATE SET status = excluded.status,
             valid_from = excluded.valid_from, valid_until = excluded.valid_until, reference = excluded.reference
         RETURNING id",
    )
    .bind(QualificationId::new())
    .bind(tenant)
    .bind(new.user_id)
    .bind(new.kind)
    .bind(&new.code)
    .bind(new.status)
    .bind(new.valid_from)
    .bind(new.valid_until)
    .bind(&new.reference)
    .fetch_one(connection)
    .await
}

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

/// What a ticket asks of a person.
async fn job(
    connection: &mut PgConnection,
    ticket: TicketId,
    asked: &Asked,
    window: Option<Span>,
) -> Result<Job, sqlx::Error> {
    let site = sqlx::query_scalar(
        "SELECT a.site_id FROM ticket t JOIN asset a ON a.id = t.asset_id WHERE t.id = $1",
    )
    .bind(ticket)
    .fetch_one(connection)
    .await?;
    Ok(Job {
        site,
        window,
        skills: asked.skills.clone(),
        qualifications: asked.qualifications.clone(),
    })
}

#[derive(sqlx::FromRow)]
struct Person {
    user_id: UserId,
    name: String,
    active: bool,
    skills: Vec<Skill>,
    home_site_id: Option<SiteId>,
    floating: bool,
}

/// All technicians of a tenant, or one, with their time around a window. `ticket` is not counted as
/// booked: it is the one that is being planned.
async fn candidates(
    connection: &mut PgConnection,
    tenant: TenantId,
    only: Option<UserId>,
    ticket: TicketId,
    window: Option<Span>,
) -> Result<Vec<Candidate>, sqlx::Error> {
    let people: Vec<Person> = sqlx::query_as(
        "SELECT t.user_id, u.name, t.active, t.skills, t.home_site_id, t.floating
         FROM technician t JOIN app_user u ON u.id = t.user_id
         WHERE t.tenant_id = $1 AND ($2::uuid IS NULL OR t.user_id = $2) ORDER BY u.name LIMIT 500",
    )
    .bind(tenant)
    .bind(only)
    .fetch_all(&mut *connection)
    .await?;
    let week = 7.0 * 86_400.0;
    let around =
        window.map(|window| Span::new(window.start.plus_seconds(-week), window.end.plus_seconds(week)));
    let shifts: Vec<(UserId, ShiftKind, Timestamp, Timestamp)> = sqlx::query_as(
        "SELECT user_id, kind, starts_at, ends_at FROM technician_shift
         WHERE tenant_id = $1 AND ($2::uuid IS NULL OR user_id = $2) AND starts_at < $4 AND ends_at > $3",
    )
    .bind(tenant)
    .bind(only)
    .bind(around.map(|around| around.start))
    .bind(around.map(|around| around.end))
    .fetch_all(&mut *connection)
    .await?;
    let held: Vec<(UserId, String, QualificationStatus, Timestamp, Option<Timestamp>)> = sqlx::query_as(
        "SELECT user_id, code, status, valid_from, valid_until FROM qualification
         WHERE tenant_id = $1 AND ($2::uuid IS NULL OR user_id = $2)",
    )
    .bind(tenant)
    .bind(only)
    .fetch_all(&mut *connection)
    .await?;
    let booked: Vec<(UserId, i32, Timestamp, Timestamp)> = sqlx::query_as(
        "SELECT assignee_id, number, scheduled_start, scheduled_end FROM ticket
         WHERE tenant_id = $1 AND ($2::uuid IS NULL OR assignee_id = $2) AND assignee_id IS NOT NULL AND id <> $5
           AND status IN ('assigned', 'in_progress', 'on_hold') AND scheduled_start < $4 AND scheduled_end > $3",
    )
    .bind(tenant)
    .bind(only)
    .bind(around.map(|around| around.start))
    .bind(around.map(|around| around.end))
    .bind(ticket)
    .fetch_all(connection)
    .await?;
    Ok(people
        .into_iter()
        .map(|person| Candidate {
            user: person.user_id,
            name: person.name,
            active: person.active,
            skills: person.skills,
            home: person.home_site_id,
            floating: person.floating,
            shifts: shifts
                .iter()
                .filter(|row| row.0 == person.user_id)
                .map(|row| (row.1, Span::new(row.2, row.3)))
                .collect(),
            qualifications: held
                .iter()
                .filter(|row| row.0 == person.user_id)
                .map(|row| Held {
                    code: row.1.clone(),
                    status: row.2,
                    valid_from: row.3,
                    valid_until: row.4,
                })
                .collect(),
            booked: booked
                .iter()
                .filter(|row| row.0 == person.user_id)
                .map(|row| Booked {
                    ticket: row.1,
                    span: Span::new(row.2, row.3),
                })
                .collect(),
        })
        .collect())
}

/// Who could do a ticket, best first, each with what speaks for and against him.
///
/// # Errors
/// When the database does.
pub async fn proposals(
    connection: &mut PgConnection,
    tenant: TenantId,
    ticket: TicketId,
    window: Option<Span>,
) -> Result<Vec<Verdict>, sqlx::Error> {
    let asked = asked(connection, ticket).await?;
    let job = job(connection, ticket, &asked, window).await?;
    let all = candidates(connection, tenant, None, ticket, window).await?;
    Ok(propose(&job, &all))
}

/// What stands against a person doing a ticket. Nothing does in a tenant that keeps no technicians.
///
/// # Errors
/// When the database does.
pub async fn problems(
    connection: &mut PgConnection,
    tenant: TenantId,
    ticket: TicketId,
    user: UserId,
    window: Option<Span>,
) -> Result<Vec<Missing>, sqlx::Error> {
    let keeps: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM technician WHERE tenant_id = $1)")
        .bind(tenant)
        .fetch_one(&mut *connection)
        .await?;
    if !keeps {
        return Ok(Vec::new());
    }
    let asked = asked(connection, ticket).await?;
    let job = job(connection, ticket, &asked, window).await?;
    Ok(
        match candidates(connection, tenant, Some(user), ticket, window)
            .await?
            .first()
        {
            Some(who) => judge(&job, who).refusals,
            None => vec![Missing {
                code: "assignee.not_a_technician".to_owned(),
                detail:
                    "the person is no technician: say his skills at /v1/technicians, or name somebody else"
                        .to_owned(),
            }],
        },
    )
}

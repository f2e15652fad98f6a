//! Who is able to do a ticket, and what stands against somebody.

use sqlx::PgConnection;

use super::requirement::{Asked, asked};
use crate::id::{SiteId, TenantId, TicketId, UserId};
use crate::interval::Span;
use crate::people::{
    Booked, Candidate, Held, Job, QualificationStatus, ShiftKind, Skill, Verdict, judge, propose,
};
use crate::ticket::Missing;
use crate::time::Timestamp;

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

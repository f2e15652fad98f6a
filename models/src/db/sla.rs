//! SQL of service levels: policies, working hours, and the clocks of tickets.
//!
//! [`refresh`] computes a ticket's clocks from its history and stores them; it may run at any time and
//! as often as one likes. [`announce`] tells, once each, of the thresholds that were passed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::db::outbox;
use crate::db::ticket::add_event;
use crate::id::{AssetId, SiteId, TenantId, TicketId};
use crate::plan::Day;
use crate::sla::{Calendar, CalendarError, Clock, Promise, State, Week, read};
use crate::tenant::MemberRole;
use crate::ticket::{Priority, Status};
use crate::time::Timestamp;

/// How soon tickets of a priority are answered and done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, sqlx::FromRow)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SlaPolicy {
    pub priority: Priority,
    /// Seconds from creation to assignment.
    #[cfg_attr(feature = "openapi", schema(example = 3600.0))]
    pub respond_s: f64,
    /// Seconds from creation to completion.
    #[cfg_attr(feature = "openapi", schema(example = 28800.0))]
    pub restore_s: f64,
    /// Count all time, not only the site's working hours.
    #[serde(default)]
    pub always: bool,
    /// Hold reasons that stop the clocks.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(example = json!(["waiting_access"])))]
    pub pausing: Vec<String>,
    /// Role that is told when a clock passes 80 and 100 %.
    #[serde(default)]
    pub escalate_to: Option<MemberRole>,
}

/// # Errors
/// When the database does.
pub async fn policies(connection: &mut PgConnection) -> Result<Vec<SlaPolicy>, sqlx::Error> {
    sqlx::query_as(
        "SELECT priority, respond_s, restore_s, always, pausing, escalate_to FROM sla_policy ORDER BY priority DESC",
    )
    .fetch_all(connection)
    .await
}

/// # Errors
/// When the database does.
pub async fn put_policy(
    connection: &mut PgConnection,
    tenant: TenantId,
    policy: &SlaPolicy,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO sla_policy (tenant_id, priority, respond_s, restore_s, always, pausing, escalate_to)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (tenant_id, priority) DO UPDATE SET respond_s = excluded.respond_s, restore_s = excluded.restore_s,
             always = excluded.always, pausing = excluded.pausing, escalate_to = excluded.escalate_to,
             row_version = sla_policy.row_version + 1",
    )
    .bind(tenant)
    .bind(policy.priority)
    .bind(policy.respond_s)
    .bind(policy.restore_s)
    .bind(policy.always)
    .bind(&policy.pausing)
    .bind(policy.escalate_to)
    .execute(connection)
    .await?;
    Ok(())
}

/// Zone and working hours of a site. No week = always open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SiteCalendar {
    /// IANA name. Left out: as it is.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(example = "Europe/Berlin"))]
    pub time_zone: Option<String>,
    /// `{"mon": [["06:00", "22:00"]], …}` on the site's clocks. A day that is not named is closed.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, Vec<Vec<String>>>,
        example = json!({ "mon": [["06:00", "22:00"]], "tue": [["06:00", "22:00"]] })))]
    pub week: Week,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(example = json!(["2026-12-25"])))]
    pub holidays: Vec<Day>,
}

type CalendarParts = (String, Option<Json<Week>>, Option<Vec<String>>);

async fn parts(connection: &mut PgConnection, site: SiteId) -> Result<Option<CalendarParts>, sqlx::Error> {
    sqlx::query_as(
        "SELECT s.time_zone, c.week, c.holidays::text[] FROM site s LEFT JOIN site_calendar c ON c.site_id = s.id
         WHERE s.id = $1",
    )
    .bind(site)
    .fetch_optional(connection)
    .await
}

/// # Errors
/// When the database does.
pub async fn site_calendar(
    connection: &mut PgConnection,
    site: SiteId,
) -> Result<Option<SiteCalendar>, sqlx::Error> {
    let found = parts(connection, site).await?;
    Ok(found.map(|(zone, week, holidays)| SiteCalendar {
        time_zone: Some(zone),
        week: week.map_or_else(BTreeMap::new, |week| week.0),
        holidays: days(holidays),
    }))
}

fn days(texts: Option<Vec<String>>) -> Vec<Day> {
    texts
        .unwrap_or_default()
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect()
}

/// The working hours of a site; one that has none, or whose stored ones can't be read, is always open.
///
/// # Errors
/// When the database does.
pub async fn calendar(connection: &mut PgConnection, site: SiteId) -> Result<Calendar, sqlx::Error> {
    Ok(match parts(connection, site).await? {
        Some((zone, Some(week), holidays)) => {
            Calendar::new(&zone, &week.0, &days(holidays)).unwrap_or_else(|error| {
                tracing::warn!(%site, %error, "the site's working hours can't be read, all time counts");
                Calendar::always()
            })
        }
        _ => Calendar::always(),
    })
}

/// Sets zone and working hours, and computes the clocks of the site's open tickets anew. `Ok(false)` =
/// no such site.
///
/// # Errors
/// What can't be used of zone and hours; the database's.
pub async fn put_calendar(
    connection: &mut PgConnection,
    tenant: TenantId,
    site: SiteId,
    new: &SiteCalendar,
    now: Timestamp,
) -> Result<Result<bool, CalendarError>, sqlx::Error> {
    let Some((zone, ..)) = parts(connection, site).await? else {
        return Ok(Ok(false));
    };
    let zone = new.time_zone.clone().unwrap_or(zone);
    if let Err(error) = Calendar::new(&zone, &new.week, &new.holidays) {
        return Ok(Err(error));
    }
    sqlx::query("UPDATE site SET time_zone = $2 WHERE id = $1")
        .bind(site)
        .bind(&zone)
        .execute(&mut *connection)
        .await?;
    let holidays: Vec<String> = new.holidays.iter().map(ToString::to_string).collect();
    sqlx::query(
        "INSERT INTO site_calendar (site_id, tenant_id, week, holidays) VALUES ($1, $2, $3, $4::text[]::date[])
         ON CONFLICT (site_id) DO UPDATE SET week = excluded.week, holidays = excluded.holidays,
             row_version = site_calendar.row_version + 1",
    )
    .bind(site)
    .bind(tenant)
    .bind(Json(&new.week))
    .bind(holidays)
    .execute(&mut *connection)
    .await?;
    refresh_open(connection, Some(site), None, now).await?;
    Ok(Ok(true))
}

/// Computes the clocks of all open tickets of a site, or of a priority, anew.
///
/// # Errors
/// When the database does.
pub async fn refresh_open(
    connection: &mut PgConnection,
    site: Option<SiteId>,
    priority: Option<Priority>,
    now: Timestamp,
) -> Result<usize, sqlx::Error> {
    let open: Vec<TicketId> = sqlx::query_scalar(
        "SELECT t.id FROM ticket t JOIN asset a ON a.id = t.asset_id
         WHERE t.status NOT IN ('completed', 'closed', 'cancelled') AND ($1::uuid IS NULL OR a.site_id = $1)
           AND ($2::ticket_priority IS NULL OR t.priority = $2) ORDER BY t.id",
    )
    .bind(site)
    .bind(priority)
    .fetch_all(&mut *connection)
    .await?;
    for id in &open {
        refresh(connection, *id, now).await?;
    }
    Ok(open.len())
}

#[derive(sqlx::FromRow)]
struct Facts {
    tenant_id: TenantId,
    site_id: SiteId,
    created_at: Timestamp,
    assigned_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
    closed_at: Option<Timestamp>,
    status: Status,
    respond_s: f64,
    restore_s: f64,
    always: bool,
}

/// A clock of a ticket.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SlaClockView {
    pub clock: Promise,
    pub state: State,
    /// Working seconds that are allowed, and that are used.
    pub target_s: f64,
    pub elapsed_s: f64,
    /// `null` = paused.
    pub due_at: Option<Timestamp>,
    /// The highest threshold that is passed: 0, 50, 80, 100 %.
    pub reached: u8,
    pub next_at: Option<Timestamp>,
    pub stopped_at: Option<Timestamp>,
}

/// The clocks of a ticket at `now`; empty when no policy covers it.
///
/// # Errors
/// When the database does.
pub async fn clocks(
    connection: &mut PgConnection,
    ticket: TicketId,
    now: Timestamp,
) -> Result<Vec<SlaClockView>, sqlx::Error> {
    Ok(compute(connection, ticket, now)
        .await?
        .map_or_else(Vec::new, |(_, all)| all))
}

async fn compute(
    connection: &mut PgConnection,
    ticket: TicketId,
    now: Timestamp,
) -> Result<Option<(TenantId, Vec<SlaClockView>)>, sqlx::Error> {
    let facts: Option<Facts> = sqlx::query_as(
        "SELECT t.tenant_id, a.site_id, t.created_at, t.assigned_at, t.started_at, t.completed_at, t.closed_at, t.status,
                p.respond_s, p.restore_s, p.always
         FROM ticket t JOIN asset a ON a.id = t.asset_id
         JOIN sla_policy p ON p.tenant_id = t.tenant_id AND p.priority = t.priority WHERE t.id = $1",
    )
    .bind(ticket)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(facts) = facts else { return Ok(None) };
    let pauses: Vec<(Timestamp, Option<Timestamp>)> =
        sqlx::query_as("SELECT from_at, to_at FROM ticket_pause WHERE ticket_id = $1 ORDER BY id")
            .bind(ticket)
            .fetch_all(&mut *connection)
            .await?;
    let calendar = if facts.always {
        Calendar::always()
    } else {
        calendar(connection, facts.site_id).await?
    };
    let ended = facts
        .completed_at
        .or(facts.closed_at.filter(|_| facts.status.is_terminal()));
    let answered = [facts.assigned_at, facts.started_at, ended]
        .into_iter()
        .flatten()
        .min();
    let all = [
        (Promise::Respond, facts.respond_s, answered),
        (Promise::Restore, facts.restore_s, ended),
    ]
    .into_iter()
    .map(|(clock, target_s, stopped)| {
        let reading = read(
            &calendar,
            &Clock {
                started: facts.created_at,
                stopped,
                pauses: pauses.clone(),
                target_s,
            },
            now,
        );
        SlaClockView {
            clock,
            state: reading.state,
            target_s,
            elapsed_s: reading.elapsed_s,
            due_at: reading.due_at,
            reached: reading.reached,
            next_at: reading.next_at,
            stopped_at: stopped,
        }
    })
    .collect();
    Ok(Some((facts.tenant_id, all)))
}

/// Stores the clocks of a ticket as they stand. What was announced stays so.
///
/// # Errors
/// When the database does.
pub async fn refresh(
    connection: &mut PgConnection,
    ticket: TicketId,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let Some((tenant, all)) = compute(connection, ticket, now).await? else {
        return Ok(());
    };
    for clock in all {
        // One that has passed a threshold nobody was told of yet is due now.
        sqlx::query(
            "INSERT INTO ticket_sla (ticket_id, clock, tenant_id, target_s, due_at, next_at, stopped_at, elapsed_s, computed_at)
             VALUES ($1, $2, $3, $4, $5, CASE WHEN $9 > 0 AND $7::timestamptz IS NULL THEN $10 ELSE $6 END, $7, $8, $10)
             ON CONFLICT (ticket_id, clock) DO UPDATE SET target_s = excluded.target_s, due_at = excluded.due_at,
                 next_at = CASE WHEN $9 > ticket_sla.told AND $7::timestamptz IS NULL THEN $10 ELSE $6 END,
                 stopped_at = excluded.stopped_at, elapsed_s = excluded.elapsed_s, computed_at = excluded.computed_at",
        )
        .bind(ticket)
        .bind(clock.clock)
        .bind(tenant)
        .bind(clock.target_s)
        .bind(clock.due_at)
        .bind(clock.next_at)
        .bind(clock.stopped_at)
        .bind(clock.elapsed_s)
        .bind(i16::from(clock.reached))
        .bind(now)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Tells of the thresholds that were passed since the last look: `ticket.sla_warning` at 50 and 80 %,
/// `ticket.sla_breached` at 100 %. Gives how many were told. Two processes may do it side by side.
///
/// # Errors
/// When the database does.
pub async fn announce(
    connection: &mut PgConnection,
    tenant: TenantId,
    now: Timestamp,
) -> Result<usize, sqlx::Error> {
    type Row = (TicketId, Promise, i16, i32, AssetId, Priority, Option<MemberRole>);
    let due: Vec<Row> = sqlx::query_as(
        "SELECT s.ticket_id, s.clock, s.told, t.number, t.asset_id, t.priority, p.escalate_to
         FROM ticket_sla s JOIN ticket t ON t.id = s.ticket_id
         LEFT JOIN sla_policy p ON p.tenant_id = t.tenant_id AND p.priority = t.priority
         WHERE s.tenant_id = $1 AND s.next_at <= $2 ORDER BY s.next_at LIMIT 200 FOR UPDATE OF s SKIP LOCKED",
    )
    .bind(tenant)
    .bind(now)
    .fetch_all(&mut *connection)
    .await?;
    let mut told = 0;
    for (ticket, clock, before, number, asset, priority, escalate_to) in due {
        let view = clocks(connection, ticket, now)
            .await?
            .into_iter()
            .find(|view| view.clock == clock);
        let Some(view) = view else {
            sqlx::query("UPDATE ticket_sla SET next_at = NULL WHERE ticket_id = $1 AND clock = $2")
                .bind(ticket)
                .bind(clock)
                .execute(&mut *connection)
                .await?;
            continue;
        };
        if i16::from(view.reached) > before && view.stopped_at.is_none() {
            let kind = if view.reached >= 100 {
                "sla_breached"
            } else {
                "sla_warning"
            };
            let detail = json!({
                "number": number, "clock": clock, "percent": view.reached, "due_at": view.due_at, "priority": priority,
                "escalate_to": escalate_to.filter(|_| view.reached >= 80),
            });
            add_event(connection, tenant, ticket, kind, "sla", &detail).await?;
            let kind = format!("ticket.{kind}");
            outbox::append(
                connection,
                tenant,
                &kind,
                &ticket.to_string(),
                Some(asset),
                &detail,
            )
            .await?;
            told += 1;
        }
        sqlx::query(
            "UPDATE ticket_sla SET told = greatest(told, $3), next_at = $4, due_at = $5, elapsed_s = $6, computed_at = $7
             WHERE ticket_id = $1 AND clock = $2",
        )
        .bind(ticket)
        .bind(clock)
        .bind(i16::from(view.reached))
        .bind(view.next_at)
        .bind(view.due_at)
        .bind(view.elapsed_s)
        .bind(now)
        .execute(&mut *connection)
        .await?;
    }
    Ok(told)
}

/// Whether a hold for this reason stops the clocks of a ticket of this priority.
///
/// # Errors
/// When the database does.
pub async fn pauses(
    connection: &mut PgConnection,
    tenant: TenantId,
    priority: Priority,
    hold_code: &str,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM sla_policy WHERE tenant_id = $1 AND priority = $2 AND $3 = ANY (pausing))",
    )
    .bind(tenant)
    .bind(priority)
    .bind(hold_code)
    .fetch_one(connection)
    .await
}

/// Begins or ends a pause.
///
/// # Errors
/// When the database does.
pub async fn pause(
    connection: &mut PgConnection,
    tenant: TenantId,
    ticket: TicketId,
    reason: Option<(&str, Timestamp)>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    match reason {
        Some((reason, from)) => {
            sqlx::query(
                "INSERT INTO ticket_pause (tenant_id, ticket_id, reason, from_at) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (ticket_id) WHERE to_at IS NULL DO NOTHING",
            )
            .bind(tenant)
            .bind(ticket)
            .bind(reason)
            .bind(from)
            .execute(connection)
            .await?;
        }
        None => {
            sqlx::query("UPDATE ticket_pause SET to_at = $2 WHERE ticket_id = $1 AND to_at IS NULL")
                .bind(ticket)
                .bind(now)
                .execute(connection)
                .await?;
        }
    }
    Ok(())
}

//! Alerts of other systems: each opens or joins a case, and a serious one a ticket, once.

use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::alarm::Severity;
use crate::asset::Criticality;
use crate::db::case_file::{self, Sign};
use crate::db::dispatch::{self, NewDecision, Outcome};
use crate::db::ticket::{self, NewTicket};
use crate::db::{outbox, overview};
use crate::id::{AssetId, CaseId, TenantId, TicketId};
use crate::ticket::{NewTask, Origin, Priority};
use crate::time::Timestamp;

/// An alert as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Which system: `alertmanager`.
    pub source: String,
    pub fingerprint: String,
    pub asset: AssetId,
    pub name: String,
    pub severity: Severity,
    pub summary: String,
    pub labels: Value,
    pub starts_at: Timestamp,
    /// `None` = it is firing.
    pub ends_at: Option<Timestamp>,
}

/// The asset that an alert's labels name: by id, by the other system's id, or by name (and site).
///
/// # Errors
/// When the database does.
pub async fn find_asset(
    connection: &mut PgConnection,
    id: Option<AssetId>,
    external_ref: Option<&str>,
    name: Option<&str>,
    site: Option<&str>,
) -> Result<Vec<AssetId>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT a.id FROM asset a JOIN site s ON s.id = a.site_id
         WHERE CASE WHEN $1::uuid IS NOT NULL THEN a.id = $1 WHEN $2::text IS NOT NULL THEN a.external_ref = $2
                    ELSE a.name = $3 AND ($4::text IS NULL OR s.name = $4) END LIMIT 2",
    )
    .bind(id)
    .bind(external_ref)
    .bind(name)
    .bind(site)
    .fetch_all(connection)
    .await
}

/// What an alert led to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Taken {
    pub case_id: Option<CaseId>,
    pub ticket_id: Option<TicketId>,
    /// `false` = it was known already.
    pub new: bool,
}

/// Takes an alert. Sending it again changes nothing; resolved, it is noted on its ticket.
///
/// # Errors
/// When the database does.
pub async fn take(
    connection: &mut PgConnection,
    tenant: TenantId,
    alert: &Alert,
    actor: &str,
    now: Timestamp,
) -> Result<Taken, sqlx::Error> {
    type Known = (Option<CaseId>, Option<TicketId>, Option<Timestamp>);
    let known: Option<Known> = sqlx::query_as(
        "SELECT case_id, ticket_id, ends_at FROM external_alert
         WHERE tenant_id = $1 AND source = $2 AND fingerprint = $3 AND starts_at = $4 FOR UPDATE",
    )
    .bind(tenant)
    .bind(&alert.source)
    .bind(&alert.fingerprint)
    .bind(alert.starts_at)
    .fetch_optional(&mut *connection)
    .await?;
    if let Some((case_id, ticket_id, ended)) = known {
        if let (Some(ends_at), None) = (alert.ends_at, ended) {
            resolve(connection, tenant, alert, ends_at, ticket_id, actor).await?;
        }
        return Ok(Taken {
            case_id,
            ticket_id,
            new: false,
        });
    }
    // One that is over before it was heard of is history: kept, and nothing follows.
    let firing = alert.ends_at.is_none();
    let inserted = sqlx::query(
        "INSERT INTO external_alert (tenant_id, source, fingerprint, asset_id, name, severity, summary, labels, starts_at, ends_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
    )
    .bind(tenant)
    .bind(&alert.source)
    .bind(&alert.fingerprint)
    .bind(alert.asset)
    .bind(&alert.name)
    .bind(alert.severity)
    .bind(&alert.summary)
    .bind(&alert.labels)
    .bind(alert.starts_at)
    .bind(alert.ends_at)
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if inserted == 0 || !firing {
        return Ok(Taken {
            case_id: None,
            ticket_id: None,
            new: inserted > 0,
        });
    }
    let detail = json!({ "source": alert.source, "name": alert.name, "severity": alert.severity, "text": alert.summary });
    let subject = format!("{}:{}", alert.source, alert.fingerprint);
    outbox::append(
        connection,
        tenant,
        "alarm.external_raised",
        &subject,
        Some(alert.asset),
        &detail,
    )
    .await?;
    let sign = Sign {
        tenant,
        asset: alert.asset,
        failure_mode: None,
        severity: alert.severity,
        title: alert.name.clone(),
    };
    // The case is locked from here on: nobody else makes its ticket.
    let (case, _) = case_file::join_or_open(connection, &sign, now).await?;
    let (outcome, ticket, reason) = follow_up(connection, tenant, alert, case, actor).await?;
    let decision = NewDecision {
        tenant,
        case: Some(case),
        asset: alert.asset,
        subject: format!("{subject}:{}", alert.starts_at),
        outcome,
        ticket,
        reason,
        facts: alert.labels.clone(),
    };
    dispatch::record(connection, &decision, now).await?;
    sqlx::query(
        "UPDATE external_alert SET case_id = $5, ticket_id = $6
         WHERE tenant_id = $1 AND source = $2 AND fingerprint = $3 AND starts_at = $4",
    )
    .bind(tenant)
    .bind(&alert.source)
    .bind(&alert.fingerprint)
    .bind(alert.starts_at)
    .bind(case)
    .bind(ticket)
    .execute(connection)
    .await?;
    Ok(Taken {
        case_id: Some(case),
        ticket_id: ticket,
        new: true,
    })
}

async fn resolve(
    connection: &mut PgConnection,
    tenant: TenantId,
    alert: &Alert,
    ends_at: Timestamp,
    ticket: Option<TicketId>,
    actor: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE external_alert SET ends_at = $5, updated_at = now()
         WHERE tenant_id = $1 AND source = $2 AND fingerprint = $3 AND starts_at = $4",
    )
    .bind(tenant)
    .bind(&alert.source)
    .bind(&alert.fingerprint)
    .bind(alert.starts_at)
    .bind(ends_at)
    .execute(&mut *connection)
    .await?;
    let detail = json!({ "source": alert.source, "name": alert.name, "resolved_at": ends_at });
    let subject = format!("{}:{}", alert.source, alert.fingerprint);
    outbox::append(
        connection,
        tenant,
        "alarm.external_cleared",
        &subject,
        Some(alert.asset),
        &detail,
    )
    .await?;
    match ticket {
        Some(ticket) => ticket::add_evidence(connection, tenant, ticket, alert.asset, actor, &detail).await,
        None => Ok(()),
    }
}

async fn follow_up(
    connection: &mut PgConnection,
    tenant: TenantId,
    alert: &Alert,
    case: CaseId,
    actor: &str,
) -> Result<(Outcome, Option<TicketId>, String), sqlx::Error> {
    if let Some(open) = overview::open_ticket_of_case(connection, case).await? {
        let detail = json!({ "source": alert.source, "name": alert.name, "summary": alert.summary, "severity": alert.severity });
        ticket::add_evidence(connection, tenant, open, alert.asset, actor, &detail).await?;
        let reason = format!(
            "An open ticket for the same case has the alert “{}” as evidence.",
            alert.name
        );
        return Ok((Outcome::Attached, Some(open), reason));
    }
    if alert.severity < Severity::Serious {
        let reason = format!("The alert “{}” is below serious: it informs only.", alert.name);
        return Ok((Outcome::BelowPolicy, None, reason));
    }
    let (name, criticality, in_service): (String, Criticality, bool) = sqlx::query_as(
        "SELECT name, criticality, status NOT IN ('in_storage', 'disposed') FROM asset WHERE id = $1",
    )
    .bind(alert.asset)
    .fetch_one(&mut *connection)
    .await?;
    if !in_service {
        let reason = format!("{name} is not in service: an alert there needs no work.");
        return Ok((Outcome::AssetNotInService, None, reason));
    }
    let new = NewTicket {
        tenant,
        asset: alert.asset,
        case: Some(case),
        occurrence: None,
        failure_mode: None,
        origin: Origin::Alarm,
        origin_key: format!("alert:{}:{}:{}", alert.source, alert.fingerprint, alert.starts_at),
        title: format!("{}: {name}", alert.name),
        description: alert.summary.clone(),
        priority: Priority::of(alert.severity, criticality, None),
        due_at: None,
        repeat_of: None,
        tasks: vec![NewTask::check("find the cause and remove it")],
    };
    let id = ticket::create(connection, &new, actor).await?.id();
    let reason = format!(
        "The alert “{}” of {} has no open ticket yet.",
        alert.name, alert.source
    );
    Ok((Outcome::Created, Some(id), reason))
}

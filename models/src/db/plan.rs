//! SQL of maintenance plans and their occurrences.

use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::db::change::{After, ChangeError};
use crate::db::outbox;
use crate::id::{AssetId, FailureModeId, MeterId, OccurrenceId, PlanId, SiteId, TenantId, TicketId};
use crate::plan::{Basis, Day, Forecast, Making, OccurrenceStatus, OpenInstance, Plan, PlanError, Release};
use crate::ticket::{NewTask, Priority};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct PlanRow {
    pub id: PlanId,
    pub tenant_id: TenantId,
    pub asset_id: AssetId,
    pub asset_name: String,
    pub site_id: SiteId,
    pub time_zone: String,
    pub name: String,
    pub failure_mode_id: Option<FailureModeId>,
    pub enabled: bool,
    pub basis: Basis,
    pub all_of: bool,
    pub every_days: Option<i32>,
    pub meter_id: Option<MeterId>,
    pub meter_name: Option<String>,
    pub meter_unit: Option<String>,
    pub meter_total: Option<f64>,
    pub every_units: Option<f64>,
    pub lead_days: i32,
    pub lead_units: f64,
    pub tolerance_pct: f64,
    pub open_instance: OpenInstance,
    pub anchor_date: Day,
    pub anchor_units: f64,
    pub next_sequence: i32,
    pub priority: String,
    pub tasks: Value,
    #[sqlx(json(nullable))]
    pub forecast: Option<Forecast>,
    pub row_version: i32,
    pub created_at: Timestamp,
}

impl PlanRow {
    pub fn plan(&self) -> Plan {
        Plan {
            basis: self.basis,
            all_of: self.all_of,
            every_days: self.every_days.map(i64::from),
            every_units: self.every_units,
            lead_days: i64::from(self.lead_days),
            lead_units: self.lead_units,
            tolerance_pct: self.tolerance_pct,
            open_instance: self.open_instance,
            anchor_date: self.anchor_date,
            anchor_units: self.anchor_units,
            next_sequence: self.next_sequence,
        }
    }
}

#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct OccurrenceRow {
    pub id: OccurrenceId,
    pub tenant_id: TenantId,
    pub plan_id: PlanId,
    pub plan_name: String,
    pub asset_id: AssetId,
    pub sequence: i32,
    pub status: OccurrenceStatus,
    pub due_date: Day,
    pub due_units: Option<f64>,
    pub trigger: String,
    pub explanation: String,
    pub missed: i32,
    pub created_at: Timestamp,
    pub ticket_id: Option<TicketId>,
    pub done_at: Option<Timestamp>,
}

/// What a person says of a plan; the API's body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewPlan {
    pub asset_id: AssetId,
    pub name: String,
    #[serde(default)]
    pub failure_mode_id: Option<FailureModeId>,
    #[serde(default = "yes")]
    pub enabled: bool,
    #[serde(default)]
    pub basis: Basis,
    #[serde(default)]
    pub all_of: bool,
    #[serde(default)]
    pub every_days: Option<i32>,
    #[serde(default)]
    pub meter_id: Option<MeterId>,
    #[serde(default)]
    pub every_units: Option<f64>,
    #[serde(default)]
    pub lead_days: i32,
    #[serde(default)]
    pub lead_units: f64,
    #[serde(default)]
    pub tolerance_pct: f64,
    #[serde(default)]
    pub open_instance: OpenInstance,
    pub anchor_date: Day,
    #[serde(default)]
    pub anchor_units: f64,
    #[serde(default)]
    pub priority: Priority,
    #[serde(default)]
    pub tasks: Vec<NewTask>,
}

fn yes() -> bool {
    true
}

impl NewPlan {
    /// # Errors
    /// See [`Plan::validate`].
    pub fn validate(&self) -> Result<(), PlanError> {
        Plan {
            basis: self.basis,
            all_of: self.all_of,
            every_days: self.every_days.map(i64::from),
            every_units: self.every_units,
            lead_days: i64::from(self.lead_days),
            lead_units: self.lead_units,
            tolerance_pct: self.tolerance_pct,
            open_instance: self.open_instance,
            anchor_date: self.anchor_date,
            anchor_units: self.anchor_units,
            next_sequence: 1,
        }
        .validate()
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT p.*, s.name AS asset_name, s.site_id, w.time_zone, m.name AS meter_name, m.unit AS meter_unit,
                    m.total AS meter_total
             FROM maintenance_plan p JOIN asset s ON s.id = p.asset_id JOIN site w ON w.id = s.site_id
             LEFT JOIN meter m ON m.id = p.meter_id ",
            $rest
        )
    };
}

macro_rules! select_occurrence {
    ($rest:literal) => {
        concat!(
            "SELECT o.*, p.name AS plan_name, p.asset_id FROM plan_occurrence o JOIN maintenance_plan p ON p.id = o.plan_id ",
            $rest
        )
    };
}

/// By age, oldest first, after the plan `after`.
///
/// # Errors
/// When the database does.
pub async fn list(
    connection: &mut PgConnection,
    asset: Option<AssetId>,
    after: Option<PlanId>,
    limit: i64,
) -> Result<Vec<PlanRow>, sqlx::Error> {
    sqlx::query_as(select!(
        "WHERE ($1::uuid IS NULL OR p.asset_id = $1) AND ($2::uuid IS NULL OR p.id > $2) ORDER BY p.id LIMIT $3"
    ))
    .bind(asset)
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// # Errors
/// When the database does.
pub async fn get(connection: &mut PgConnection, id: PlanId) -> Result<Option<PlanRow>, sqlx::Error> {
    sqlx::query_as(select!("WHERE p.id = $1"))
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// # Errors
/// [`ChangeError::Refused`] when it can't work; the database's constraints for names and ids.
pub async fn create(
    connection: &mut PgConnection,
    tenant: TenantId,
    new: &NewPlan,
) -> Result<PlanId, ChangeError<PlanError>> {
    new.validate().map_err(ChangeError::Refused)?;
    let id = PlanId::new();
    sqlx::query(
        "INSERT INTO maintenance_plan (id, tenant_id, asset_id, name, failure_mode_id, enabled, basis, all_of,
             every_days, meter_id, every_units, lead_days, lead_units, tolerance_pct, open_instance, anchor_date,
             anchor_units, priority, tasks)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
    )
    .bind(id)
    .bind(tenant)
    .bind(new.asset_id)
    .bind(&new.name)
    .bind(new.failure_mode_id)
    .bind(new.enabled)
    .bind(new.basis)
    .bind(new.all_of)
    .bind(new.every_days)
    .bind(new.meter_id)
    .bind(new.every_units)
    .bind(new.lead_days)
    .bind(new.lead_units)
    .bind(new.tolerance_pct)
    .bind(new.open_instance)
    .bind(new.anchor_date)
    .bind(new.anchor_units)
    .bind(new.priority.to_string())
    .bind(Json(&new.tasks))
    .execute(connection)
    .await?;
    Ok(id)
}

/// Changes everything but the asset and gives the new version.
///
/// # Errors
/// As [`create`]; [`ChangeError::Stale`].
pub async fn update(
    connection: &mut PgConnection,
    id: PlanId,
    expected: Option<i32>,
    new: &NewPlan,
) -> Result<i32, ChangeError<PlanError>> {
    new.validate().map_err(ChangeError::Refused)?;
    let current: i32 =
        sqlx::query_scalar("SELECT row_version FROM maintenance_plan WHERE id = $1 FOR UPDATE")
            .bind(id)
            .fetch_optional(&mut *connection)
            .await?
            .ok_or(ChangeError::NotFound)?;
    ChangeError::check_version(expected, current)?;
    let version = sqlx::query_scalar(
        "UPDATE maintenance_plan SET name = $2, failure_mode_id = $3, enabled = $4, basis = $5, all_of = $6,
             every_days = $7, meter_id = $8, every_units = $9, lead_days = $10, lead_units = $11, tolerance_pct = $12,
             open_instance = $13, anchor_date = $14, anchor_units = $15, priority = $16, tasks = $17,
             row_version = row_version + 1
         WHERE id = $1 RETURNING row_version",
    )
    .bind(id)
    .bind(&new.name)
    .bind(new.failure_mode_id)
    .bind(new.enabled)
    .bind(new.basis)
    .bind(new.all_of)
    .bind(new.every_days)
    .bind(new.meter_id)
    .bind(new.every_units)
    .bind(new.lead_days)
    .bind(new.lead_units)
    .bind(new.tolerance_pct)
    .bind(new.open_instance)
    .bind(new.anchor_date)
    .bind(new.anchor_units)
    .bind(new.priority.to_string())
    .bind(Json(&new.tasks))
    .fetch_one(connection)
    .await?;
    Ok(version)
}

/// The ids of every enabled plan, of all tenants.
///
/// # Errors
/// When the database does.
pub async fn enabled(connection: &mut PgConnection) -> Result<Vec<PlanId>, sqlx::Error> {
    sqlx::query_scalar("SELECT id FROM maintenance_plan WHERE enabled ORDER BY id")
        .fetch_all(connection)
        .await
}

/// One plan, locked, and whether it has an open occurrence. `None` = gone, disabled, or another
/// scheduler has it.
///
/// # Errors
/// When the database does.
pub async fn lock(connection: &mut PgConnection, id: PlanId) -> Result<Option<(PlanRow, bool)>, sqlx::Error> {
    let row: Option<PlanRow> = sqlx::query_as(select!(
        "WHERE p.id = $1 AND p.enabled FOR UPDATE OF p SKIP LOCKED"
    ))
    .bind(id)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let open = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM plan_occurrence WHERE plan_id = $1 AND status IN ('due', 'ticketed'))",
    )
    .bind(id)
    .fetch_one(connection)
    .await?;
    Ok(Some((row, open)))
}

/// Makes an occurrence and moves the plan's anchor in one step. `None` = that sequence exists already.
/// The plan must be locked.
///
/// # Errors
/// When the database does.
pub async fn release(
    connection: &mut PgConnection,
    plan: &PlanRow,
    release: &Release,
) -> Result<Option<OccurrenceId>, sqlx::Error> {
    let id = OccurrenceId::new();
    let status = if release.making == Making::Skip {
        OccurrenceStatus::Skipped
    } else {
        OccurrenceStatus::Due
    };
    let explanation = match release.making {
        Making::Skip => format!(
            "{}; skipped, because the one before is still open",
            release.explanation
        ),
        Making::Create | Making::Supersede => release.explanation.clone(),
    };
    let made = sqlx::query(
        "INSERT INTO plan_occurrence (id, tenant_id, plan_id, sequence, status, due_date, due_units, trigger, explanation, missed)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (plan_id, sequence) DO NOTHING",
    )
    .bind(id)
    .bind(plan.tenant_id)
    .bind(plan.id)
    .bind(release.sequence)
    .bind(status)
    .bind(release.due_date)
    .bind(release.due_units)
    .bind(release.trigger.name())
    .bind(&explanation)
    .bind(release.missed)
    .execute(&mut *connection)
    .await?
    .rows_affected()
        > 0;
    if !made {
        return Ok(None);
    }
    sqlx::query(
        "UPDATE maintenance_plan SET next_sequence = $2 + 1, anchor_date = $3, anchor_units = $4,
             row_version = row_version + 1 WHERE id = $1",
    )
    .bind(plan.id)
    .bind(release.sequence)
    .bind(release.next_anchor_date)
    .bind(release.next_anchor_units)
    .execute(&mut *connection)
    .await?;
    if release.making == Making::Supersede {
        sqlx::query(
            "UPDATE plan_occurrence SET status = 'superseded'
             WHERE plan_id = $1 AND sequence < $2 AND status IN ('due', 'ticketed')",
        )
        .bind(plan.id)
        .bind(release.sequence)
        .execute(&mut *connection)
        .await?;
    }
    let detail = json!({
        "plan_id": plan.id,
        "plan": plan.name,
        "sequence": release.sequence,
        "due_date": release.due_date,
        "status": status,
        "explanation": explanation,
    });
    outbox::append(
        connection,
        plan.tenant_id,
        "plan.due",
        &id.to_string(),
        Some(plan.asset_id),
        &detail,
    )
    .await?;
    Ok(Some(id))
}

/// Keeps what is expected next, for those who only read.
///
/// # Errors
/// When the database does.
pub async fn set_forecast(
    connection: &mut PgConnection,
    id: PlanId,
    forecast: &Forecast,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE maintenance_plan SET forecast = $2 WHERE id = $1 AND forecast IS DISTINCT FROM $2")
        .bind(id)
        .bind(Json(forecast))
        .execute(connection)
        .await?;
    Ok(())
}

/// Occurrences from new to old.
///
/// # Errors
/// When the database does.
pub async fn occurrences(
    connection: &mut PgConnection,
    plan: Option<PlanId>,
    statuses: &[OccurrenceStatus],
    after: After<OccurrenceId>,
    limit: i64,
) -> Result<Vec<OccurrenceRow>, sqlx::Error> {
    sqlx::query_as(select_occurrence!(
        "WHERE ($1::uuid IS NULL OR o.plan_id = $1) AND (cardinality($2::occurrence_status[]) = 0 OR o.status = ANY ($2))
           AND ($3::timestamptz IS NULL OR (o.created_at, o.id) < ($3, $4))
         ORDER BY o.created_at DESC, o.id DESC LIMIT $5"
    ))
    .bind(plan)
    .bind(statuses)
    .bind(after.map(|(at, _)| at))
    .bind(after.map(|(_, id)| id))
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// Occurrences that are due and have no ticket, of all tenants, locked; those that another dispatcher
/// has are left out.
///
/// # Errors
/// When the database does.
pub async fn take_due(connection: &mut PgConnection, limit: i64) -> Result<Vec<OccurrenceRow>, sqlx::Error> {
    sqlx::query_as(select_occurrence!(
        "WHERE o.status = 'due' ORDER BY o.created_at, o.id LIMIT $1 FOR UPDATE OF o SKIP LOCKED"
    ))
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// # Errors
/// When the database does.
pub async fn set_ticket(
    connection: &mut PgConnection,
    id: OccurrenceId,
    ticket: TicketId,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE plan_occurrence SET status = 'ticketed', ticket_id = $2 WHERE id = $1 AND status = 'due'",
    )
    .bind(id)
    .bind(ticket)
    .execute(connection)
    .await?;
    Ok(())
}

/// The work is done: a floating plan counts from here.
///
/// # Errors
/// When the database does.
pub async fn complete(
    connection: &mut PgConnection,
    id: OccurrenceId,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    finish(connection, id, OccurrenceStatus::Done, at).await
}

/// The work won't be done: a floating plan counts from the day it was due.
///
/// # Errors
/// When the database does.
pub async fn skip(connection: &mut PgConnection, id: OccurrenceId, at: Timestamp) -> Result<(), sqlx::Error> {
    finish(connection, id, OccurrenceStatus::Skipped, at).await
}

async fn finish(
    connection: &mut PgConnection,
    id: OccurrenceId,
    to: OccurrenceStatus,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    let plan_id: Option<PlanId> = sqlx::query_scalar("SELECT plan_id FROM plan_occurrence WHERE id = $1")
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(plan_id) = plan_id else { return Ok(()) };
    // The plan first, then the occurrence: the scheduler's order.
    let row: PlanRow = sqlx::query_as(select!("WHERE p.id = $1 FOR UPDATE OF p"))
        .bind(plan_id)
        .fetch_one(&mut *connection)
        .await?;
    let finished: Option<(Day, Option<f64>)> = sqlx::query_as(
        "UPDATE plan_occurrence SET status = $2, done_at = $3
         WHERE id = $1 AND status IN ('due', 'ticketed') RETURNING due_date, due_units",
    )
    .bind(id)
    .bind(to)
    .bind(at)
    .fetch_optional(&mut *connection)
    .await?;
    let (Some((due, due_units)), Basis::Floating) = (finished, row.basis) else {
        return Ok(());
    };
    let (day, units) = match to {
        OccurrenceStatus::Done => {
            let done = Day::at(at, &row.time_zone).unwrap_or(due);
            row.plan().anchor_after(due, due_units, done, row.meter_total)
        }
        _ => (due, due_units.or(row.meter_total).unwrap_or(row.anchor_units)),
    };
    sqlx::query(
        "UPDATE maintenance_plan SET anchor_date = $2, anchor_units = $3, row_version = row_version + 1 WHERE id = $1",
    )
    .bind(row.id)
    .bind(day)
    .bind(units)
    .execute(connection)
    .await?;
    Ok(())
}

//! SQL of maintenance plans and their occurrences.

mod early;
mod nested;
mod occurrence;

pub use early::{EarlyRefusal, complete_early};
pub use nested::{Neighbour, absorbed_tasks, fear, open_ticket_of_cause, parent_days};
pub use occurrence::{
    OccurrenceRow, complete, enabled, lock, merge_into_ticket, occurrences, release, set_forecast,
    set_ticket, skip, take_due,
};

use serde_json::Value;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, Row};

use crate::db::change::ChangeError;
use crate::id::{AssetId, FailureModeId, MeterId, PlanId, SiteId, TenantId};
use crate::plan::{Basis, Calendar, Day, Forecast, OnPrediction, OpenInstance, Plan, PlanError, SiteRest};
use crate::sla::{Week, closed_days};
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
    #[sqlx(json)]
    pub calendar: Calendar,
    /// Of the site's own calendar.
    #[sqlx(json(nullable))]
    pub site_week: Option<Week>,
    pub site_holidays: Vec<String>,
    /// Why nothing is released now: the asset is in storage or disposed of.
    pub out_of_service: Option<String>,
    pub on_prediction: OnPrediction,
    pub parent_id: Option<PlanId>,
    pub parent_name: Option<String>,
    pub absorb_days: i32,
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
    /// The plan with the days of rest of its site.
    pub fn plan(&self) -> Plan {
        let site = SiteRest {
            holidays: self
                .site_holidays
                .iter()
                .filter_map(|day| day.parse().ok())
                .collect(),
            closed: self.site_week.as_ref().map(closed_days).unwrap_or_default(),
        };
        Plan {
            basis: self.basis,
            all_of: self.all_of,
            every_days: self.every_days.map(i64::from),
            every_units: self.every_units,
            lead_days: i64::from(self.lead_days),
            lead_units: self.lead_units,
            tolerance_pct: self.tolerance_pct,
            open_instance: self.open_instance,
            calendar: self.calendar.clone().with_site(&site),
            anchor_date: self.anchor_date,
            anchor_units: self.anchor_units,
            next_sequence: self.next_sequence,
        }
    }
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
    #[serde(default)]
    pub calendar: Calendar,
    #[serde(default)]
    pub on_prediction: OnPrediction,
    /// The plan of the same asset whose work includes this one's.
    #[serde(default)]
    pub parent_id: Option<PlanId>,
    /// How near both must fall, days.
    #[serde(default = "week")]
    pub absorb_days: i32,
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

fn week() -> i32 {
    7
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
            calendar: self.calendar.clone(),
            anchor_date: self.anchor_date,
            anchor_units: self.anchor_units,
            next_sequence: 1,
        }
        .validate()
    }
}

/// A parent stands on its own and belongs to the same asset.
async fn check_parent(
    connection: &mut PgConnection,
    id: Option<PlanId>,
    new: &NewPlan,
) -> Result<(), ChangeError<PlanError>> {
    let Some(parent) = new.parent_id else {
        return Ok(());
    };
    if Some(parent) == id {
        return Err(ChangeError::Refused(PlanError::OwnParent));
    }
    let fits: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM maintenance_plan WHERE id = $1 AND asset_id = $2 AND parent_id IS NULL)
            AND NOT EXISTS (SELECT FROM maintenance_plan WHERE parent_id = $3)",
    )
    .bind(parent)
    .bind(new.asset_id)
    .bind(id)
    .fetch_one(connection)
    .await?;
    if fits {
        Ok(())
    } else {
        Err(ChangeError::Refused(PlanError::BadParent))
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT p.*, s.name AS asset_name, s.site_id, w.time_zone, m.name AS meter_name, m.unit AS meter_unit,
                    m.total AS meter_total, parent.name AS parent_name, rest.week AS site_week,
                    coalesce(rest.holidays::text[], '{}') AS site_holidays, out_of_service(s.id) AS out_of_service
             FROM maintenance_plan p JOIN asset s ON s.id = p.asset_id JOIN site w ON w.id = s.site_id
             LEFT JOIN site_calendar rest ON rest.site_id = s.site_id
             LEFT JOIN meter m ON m.id = p.meter_id LEFT JOIN maintenance_plan parent ON parent.id = p.parent_id ",
            $rest
        )
    };
}
pub(super) use select;

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

/// What [`create`] and [`update`] write alike, in this order.
fn bind<'q>(query: Query<'q, Postgres, PgArguments>, new: &NewPlan) -> Query<'q, Postgres, PgArguments> {
    query
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
        .bind(Json(&new.calendar))
        .bind(new.on_prediction)
        .bind(new.parent_id)
        .bind(new.absorb_days)
}

/// # Errors
/// [`ChangeError::Refused`] when it can't work; the database's constraints for names and ids.
pub async fn create(
    connection: &mut PgConnection,
    tenant: TenantId,
    new: &NewPlan,
) -> Result<PlanId, ChangeError<PlanError>> {
    new.validate().map_err(ChangeError::Refused)?;
    check_parent(connection, None, new).await?;
    let id = PlanId::new();
    let query = sqlx::query(
        "INSERT INTO maintenance_plan (id, tenant_id, asset_id, name, failure_mode_id, enabled, basis, all_of,
             every_days, meter_id, every_units, lead_days, lead_units, tolerance_pct, open_instance, anchor_date,
             anchor_units, priority, tasks, calendar, on_prediction, parent_id, absorb_days)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)",
    )
    .bind(id)
    .bind(tenant)
    .bind(new.asset_id);
    bind(query, new).execute(connection).await?;
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
    check_parent(connection, Some(id), new).await?;
    let current: i32 =
        sqlx::query_scalar("SELECT row_version FROM maintenance_plan WHERE id = $1 FOR UPDATE")
            .bind(id)
            .fetch_optional(&mut *connection)
            .await?
            .ok_or(ChangeError::NotFound)?;
    ChangeError::check_version(expected, current)?;
    let query = sqlx::query(
        "UPDATE maintenance_plan SET name = $2, failure_mode_id = $3, enabled = $4, basis = $5, all_of = $6,
             every_days = $7, meter_id = $8, every_units = $9, lead_days = $10, lead_units = $11, tolerance_pct = $12,
             open_instance = $13, anchor_date = $14, anchor_units = $15, priority = $16, tasks = $17,
             calendar = $18, on_prediction = $19, parent_id = $20, absorb_days = $21, row_version = row_version + 1
         WHERE id = $1 RETURNING row_version",
    )
    .bind(id);
    let row = bind(query, new).fetch_one(connection).await?;
    Ok(row.try_get(0)?)
}

//! Meters, maintenance plans and alarm rules.
//!
//! Basis, policy and priority of a plan are the words of the schema's enumerations, as text: they
//! come from forms and files, and the database refuses a word it doesn't know (SQLSTATE 22P02).

use serde_json::Value;
use sqlx::PgConnection;

use crate::db::alarm::{NewRule, create_rule};
use crate::id::{AlarmRuleId, AssetId, ChannelId, FailureModeId, MeterId, PlanId, TenantId};

/// How a meter moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MeterMovement {
    /// A person reads it.
    Manual,
    /// A channel counts; `rollover_at` is the value at which it starts again at zero.
    Counter {
        channel: ChannelId,
        rollover_at: Option<f64>,
    },
    /// Hours during which a channel is at or above `above`.
    RunningState { channel: ChannelId, above: f64 },
    /// The integral of a channel over hours: kW becomes kWh.
    Integral { channel: ChannelId },
}

impl MeterMovement {
    fn source(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Counter { .. } => "counter",
            Self::RunningState { .. } => "running_state",
            Self::Integral { .. } => "integral",
        }
    }

    fn channel(self) -> Option<ChannelId> {
        match self {
            Self::Manual => None,
            Self::Counter { channel, .. }
            | Self::RunningState { channel, .. }
            | Self::Integral { channel } => Some(channel),
        }
    }
}

#[derive(Clone, Debug)]
pub struct NewMeter<'a> {
    pub tenant: TenantId,
    pub asset: AssetId,
    pub name: &'a str,
    /// UCUM: `h`, `kW.h`, `km`, `{cycle}`.
    pub unit: &'a str,
    pub movement: MeterMovement,
    /// Plausibility: no faster than this, in units an hour.
    pub max_rate_per_h: Option<f64>,
    /// Where it stands now.
    pub total: f64,
}

/// # Errors
/// `meter_asset_id_name_key` when the name is taken.
pub async fn create_meter(connection: &mut PgConnection, new: &NewMeter<'_>) -> Result<MeterId, sqlx::Error> {
    let id = MeterId::new();
    let (running_above, rollover_at) = match new.movement {
        MeterMovement::RunningState { above, .. } => (Some(above), None),
        MeterMovement::Counter { rollover_at, .. } => (None, rollover_at),
        MeterMovement::Manual | MeterMovement::Integral { .. } => (None, None),
    };
    sqlx::query(
        "INSERT INTO meter (id, tenant_id, asset_id, name, unit, source, channel_id, running_above, rollover_at,
                            max_rate_per_h, total, start_total)
         VALUES ($1, $2, $3, $4, $5, $6::text::meter_source, $7, $8, $9, $10, $11, $11)",
    )
    .bind(id)
    .bind(new.tenant)
    .bind(new.asset)
    .bind(new.name)
    .bind(new.unit)
    .bind(new.movement.source())
    .bind(new.movement.channel())
    .bind(running_above)
    .bind(rollover_at)
    .bind(new.max_rate_per_h)
    .bind(new.total)
    .execute(connection)
    .await?;
    Ok(id)
}

/// By asset and name.
///
/// # Errors
/// When the database does.
pub async fn ensure_meter(connection: &mut PgConnection, new: &NewMeter<'_>) -> Result<MeterId, sqlx::Error> {
    let found = sqlx::query_scalar("SELECT id FROM meter WHERE asset_id = $1 AND name = $2")
        .bind(new.asset)
        .bind(new.name)
        .fetch_optional(&mut *connection)
        .await?;
    match found {
        Some(id) => Ok(id),
        None => create_meter(connection, new).await,
    }
}

#[derive(Clone, Debug)]
pub struct NewPlan<'a> {
    pub tenant: TenantId,
    pub asset: AssetId,
    pub name: &'a str,
    pub failure_mode: Option<FailureModeId>,
    pub enabled: bool,
    /// `fixed` = from the day it was due, `floating` = from the day it was done.
    pub basis: &'a str,
    /// Every trigger must be due, not any.
    pub all_of: bool,
    pub every_days: Option<i32>,
    pub every_units: Option<(MeterId, f64)>,
    pub lead_days: i32,
    pub lead_units: f64,
    /// What happens when the last one is still open: `skip`, `stack` or `supersede`.
    pub open_instance: &'a str,
    /// ISO 8601 day at which the first interval starts, in the site's zone.
    pub anchor_date: &'a str,
    pub anchor_units: f64,
    /// `low`, `medium`, `high` or `critical`.
    pub priority: &'a str,
    /// A JSON array of tasks: `[{"kind": "check", "text": "…", "mandatory": true}]`.
    pub tasks: Value,
}

/// # Errors
/// `maintenance_plan_asset_id_name_key` when the name is taken; a check when it has no trigger.
pub async fn create_plan(connection: &mut PgConnection, new: &NewPlan<'_>) -> Result<PlanId, sqlx::Error> {
    let id = PlanId::new();
    sqlx::query(
        "INSERT INTO maintenance_plan (id, tenant_id, asset_id, name, failure_mode_id, enabled, basis, all_of,
                                       every_days, meter_id, every_units, lead_days, lead_units, open_instance,
                                       anchor_date, anchor_units, priority, tasks)
         VALUES ($1, $2, $3, $4, $5, $6, $7::text::plan_basis, $8, $9, $10, $11, $12, $13,
                 $14::text::open_instance_policy, $15::text::date, $16, $17, $18)",
    )
    .bind(id)
    .bind(new.tenant)
    .bind(new.asset)
    .bind(new.name)
    .bind(new.failure_mode)
    .bind(new.enabled)
    .bind(new.basis)
    .bind(new.all_of)
    .bind(new.every_days)
    .bind(new.every_units.map(|(meter, _)| meter))
    .bind(new.every_units.map(|(_, units)| units))
    .bind(new.lead_days)
    .bind(new.lead_units)
    .bind(new.open_instance)
    .bind(new.anchor_date)
    .bind(new.anchor_units)
    .bind(new.priority)
    .bind(&new.tasks)
    .execute(connection)
    .await?;
    Ok(id)
}

/// By asset and name.
///
/// # Errors
/// When the database does.
pub async fn ensure_plan(connection: &mut PgConnection, new: &NewPlan<'_>) -> Result<PlanId, sqlx::Error> {
    let found = sqlx::query_scalar("SELECT id FROM maintenance_plan WHERE asset_id = $1 AND name = $2")
        .bind(new.asset)
        .bind(new.name)
        .fetch_optional(&mut *connection)
        .await?;
    match found {
        Some(id) => Ok(id),
        None => create_plan(connection, new).await,
    }
}

/// By asset and name; an existing rule stays as it is.
///
/// # Errors
/// When the database does; a foreign key when asset, channel or failure mode are not the tenant's.
pub async fn ensure_alarm_rule(
    connection: &mut PgConnection,
    tenant: TenantId,
    rule: &NewRule,
) -> Result<AlarmRuleId, sqlx::Error> {
    let found = sqlx::query_scalar("SELECT id FROM alarm_rule WHERE asset_id = $1 AND name = $2")
        .bind(rule.asset_id)
        .bind(&rule.name)
        .fetch_optional(&mut *connection)
        .await?;
    match found {
        Some(id) => Ok(id),
        None => Ok(create_rule(connection, tenant, rule).await?.id),
    }
}

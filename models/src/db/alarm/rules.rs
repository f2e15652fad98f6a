//! Alarm rules.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;

use crate::alarm::{Kind, Params, Rule, Severity};
use crate::db::change::{ChangeError, Never};
use crate::id::{AlarmRuleId, AssetId, ChannelId, FailureModeId, TenantId};
use crate::time::Timestamp;

/// Channel of `NOTIFY` that every change of a rule wakes.
pub const WAKE: &str = "forewarn_alarm_rules";

#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct RuleRow {
    pub id: AlarmRuleId,
    pub tenant_id: TenantId,
    pub asset_id: AssetId,
    pub channel_id: Option<ChannelId>,
    pub name: String,
    pub kind: Kind,
    pub limit_value: f64,
    pub deadband: f64,
    pub on_delay_s: f64,
    pub off_delay_s: f64,
    pub min_samples: i32,
    pub severity: Severity,
    pub failure_mode_id: Option<FailureModeId>,
    pub makes_ticket: bool,
    pub latched: bool,
    pub enabled: bool,
    pub params: Value,
    pub row_version: i32,
    pub created_at: Timestamp,
    /// Of the asset's site; loaded for those who judge.
    #[sqlx(default)]
    pub time_zone: Option<String>,
}

impl From<RuleRow> for Rule {
    fn from(row: RuleRow) -> Self {
        let mut params = Params::deserialize(&row.params).unwrap_or_else(|error| {
            tracing::warn!(rule = %row.id, %error, "parameters can't be read, the defaults apply");
            Params::default()
        });
        if let (Some(schedule), Some(zone)) = (&mut params.schedule, &row.time_zone)
            && let Err(error) = schedule.set_zone(zone)
        {
            tracing::warn!(rule = %row.id, %error, "the rule's schedule is read on the clocks of UTC");
        }
        Self {
            id: row.id,
            tenant: row.tenant_id,
            asset: row.asset_id,
            channel: row.channel_id,
            name: row.name,
            kind: row.kind,
            limit: row.limit_value,
            deadband: row.deadband,
            on_delay_s: row.on_delay_s,
            off_delay_s: row.off_delay_s,
            min_samples: u32::try_from(row.min_samples).unwrap_or(1),
            severity: row.severity,
            failure_mode: row.failure_mode_id,
            makes_ticket: row.makes_ticket,
            latched: row.latched,
            params,
        }
    }
}

/// What a person says of a rule; the API's body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = NewAlarmRule))]
pub struct NewRule {
    pub asset_id: AssetId,
    #[serde(default)]
    pub channel_id: Option<ChannelId>,
    pub name: String,
    pub kind: Kind,
    pub limit_value: f64,
    #[serde(default)]
    pub deadband: f64,
    #[serde(default)]
    pub on_delay_s: f64,
    #[serde(default)]
    pub off_delay_s: f64,
    #[serde(default = "one")]
    pub min_samples: i32,
    pub severity: Severity,
    #[serde(default)]
    pub failure_mode_id: Option<FailureModeId>,
    #[serde(default = "yes")]
    pub makes_ticket: bool,
    #[serde(default)]
    pub latched: bool,
    #[serde(default = "yes")]
    pub enabled: bool,
    #[serde(default)]
    pub params: Params,
}

fn one() -> i32 {
    1
}

fn yes() -> bool {
    true
}

/// Every enabled rule that ingest judges, of all tenants.
///
/// # Errors
/// When the database does.
pub async fn limit_rules(connection: &mut PgConnection) -> Result<Vec<Rule>, sqlx::Error> {
    let rows: Vec<RuleRow> = sqlx::query_as(
        "SELECT r.*, w.time_zone FROM alarm_rule r JOIN asset s ON s.id = r.asset_id JOIN site w ON w.id = s.site_id
         WHERE r.enabled AND r.kind IN ('high', 'low', 'rate', 'stuck') AND r.channel_id IS NOT NULL ORDER BY r.id",
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Rule::from).collect())
}

/// A number that changes whenever a rule, or the time zone it is read in, is made, changed or removed: for
/// those who missed [`WAKE`]. Much cheaper than [`limit_rules`].
///
/// # Errors
/// When the database does.
pub async fn rules_stamp(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT coalesce(sum(hashtext(r.id::text || ':' || r.row_version || ':' || r.enabled || ':' || w.time_zone)), 0)::bigint
         FROM alarm_rule r JOIN asset s ON s.id = r.asset_id JOIN site w ON w.id = s.site_id",
    )
    .fetch_one(connection)
    .await
}

/// The enabled rules of an asset that analytics judges.
///
/// # Errors
/// When the database does.
pub async fn rules_for_asset(
    connection: &mut PgConnection,
    asset: AssetId,
) -> Result<Vec<Rule>, sqlx::Error> {
    rules_for_assets(connection, &[asset]).await
}

/// The enabled rules of several assets that analytics judges.
///
/// # Errors
/// When the database does.
pub async fn rules_for_assets(
    connection: &mut PgConnection,
    assets: &[AssetId],
) -> Result<Vec<Rule>, sqlx::Error> {
    let rows: Vec<RuleRow> = sqlx::query_as(
        "SELECT r.*, w.time_zone FROM alarm_rule r JOIN asset s ON s.id = r.asset_id JOIN site w ON w.id = s.site_id
         WHERE r.asset_id = ANY ($1) AND r.enabled AND r.kind NOT IN ('high', 'low', 'rate', 'stuck') ORDER BY r.id",
    )
    .bind(assets)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Rule::from).collect())
}

/// # Errors
/// When the database does.
pub async fn get_rule(
    connection: &mut PgConnection,
    id: AlarmRuleId,
) -> Result<Option<RuleRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT r.*, w.time_zone FROM alarm_rule r JOIN asset s ON s.id = r.asset_id JOIN site w ON w.id = s.site_id
         WHERE r.id = $1",
    )
    .bind(id)
        .fetch_optional(connection)
        .await
}

/// By age, oldest first, after the rule `after`.
///
/// # Errors
/// When the database does.
pub async fn list_rules(
    connection: &mut PgConnection,
    asset: Option<AssetId>,
    after: Option<AlarmRuleId>,
    limit: i64,
) -> Result<Vec<RuleRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT * FROM alarm_rule
         WHERE ($1::uuid IS NULL OR asset_id = $1) AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3",
    )
    .bind(asset)
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// # Errors
/// When the database does: `alarm_rule_asset_id_name_key` = the asset has a rule of that name,
/// a foreign key = no such asset, channel or failure mode.
pub async fn create_rule(
    connection: &mut PgConnection,
    tenant: TenantId,
    rule: &NewRule,
) -> Result<RuleRow, sqlx::Error> {
    sqlx::query_as(
        "INSERT INTO alarm_rule (id, tenant_id, asset_id, channel_id, name, kind, limit_value, deadband, on_delay_s,
             off_delay_s, min_samples, severity, failure_mode_id, makes_ticket, latched, enabled, params)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) RETURNING *",
    )
    .bind(AlarmRuleId::new())
    .bind(tenant)
    .bind(rule.asset_id)
    .bind(rule.channel_id)
    .bind(&rule.name)
    .bind(rule.kind)
    .bind(rule.limit_value)
    .bind(rule.deadband)
    .bind(rule.on_delay_s)
    .bind(rule.off_delay_s)
    .bind(rule.min_samples)
    .bind(rule.severity)
    .bind(rule.failure_mode_id)
    .bind(rule.makes_ticket)
    .bind(rule.latched)
    .bind(rule.enabled)
    .bind(sqlx::types::Json(&rule.params))
    .fetch_one(connection)
    .await
}

/// The rule that `new` would be, on the clocks of its site, without storing it.
///
/// # Errors
/// When the database does.
pub async fn rule_to_try(
    connection: &mut PgConnection,
    tenant: TenantId,
    new: &NewRule,
) -> Result<Rule, sqlx::Error> {
    let time_zone: Option<String> =
        sqlx::query_scalar("SELECT w.time_zone FROM asset s JOIN site w ON w.id = s.site_id WHERE s.id = $1")
            .bind(new.asset_id)
            .fetch_optional(connection)
            .await?;
    Ok(Rule::from(RuleRow {
        id: AlarmRuleId::new(),
        tenant_id: tenant,
        asset_id: new.asset_id,
        channel_id: new.channel_id,
        name: new.name.clone(),
        kind: new.kind,
        limit_value: new.limit_value,
        deadband: new.deadband,
        on_delay_s: new.on_delay_s,
        off_delay_s: new.off_delay_s,
        min_samples: new.min_samples,
        severity: new.severity,
        failure_mode_id: new.failure_mode_id,
        makes_ticket: new.makes_ticket,
        latched: new.latched,
        enabled: new.enabled,
        params: serde_json::to_value(&new.params).unwrap_or(Value::Null),
        row_version: 1,
        created_at: Timestamp::now(),
        time_zone,
    }))
}

/// Changes everything but where the rule applies: asset, channel and kind are its identity.
///
/// # Errors
/// [`ChangeError::Stale`] when it has another version than `expected`.
pub async fn update_rule(
    connection: &mut PgConnection,
    id: AlarmRuleId,
    expected: Option<i32>,
    rule: &NewRule,
) -> Result<RuleRow, ChangeError<Never>> {
    let current: i32 = sqlx::query_scalar("SELECT row_version FROM alarm_rule WHERE id = $1 FOR UPDATE")
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?
        .ok_or(ChangeError::NotFound)?;
    ChangeError::check_version(expected, current)?;
    let row = sqlx::query_as(
        "UPDATE alarm_rule SET name = $2, limit_value = $3, deadband = $4, on_delay_s = $5, off_delay_s = $6,
             min_samples = $7, severity = $8, failure_mode_id = $9, makes_ticket = $10, latched = $11, enabled = $12,
             params = $13, row_version = row_version + 1
         WHERE id = $1 RETURNING *",
    )
    .bind(id)
    .bind(&rule.name)
    .bind(rule.limit_value)
    .bind(rule.deadband)
    .bind(rule.on_delay_s)
    .bind(rule.off_delay_s)
    .bind(rule.min_samples)
    .bind(rule.severity)
    .bind(rule.failure_mode_id)
    .bind(rule.makes_ticket)
    .bind(rule.latched)
    .bind(rule.enabled)
    .bind(sqlx::types::Json(&rule.params))
    .fetch_one(connection)
    .await?;
    Ok(row)
}

/// Removes a rule that never raised an alarm; one that did is disabled instead, because its alarms
/// refer to it. Tells whether it was removed.
///
/// # Errors
/// [`ChangeError::Stale`] when it has another version than `expected`.
pub async fn delete_rule(
    connection: &mut PgConnection,
    id: AlarmRuleId,
    expected: Option<i32>,
) -> Result<bool, ChangeError<Never>> {
    let (current, used): (i32, bool) = sqlx::query_as(
        "SELECT row_version, EXISTS (SELECT FROM alarm a WHERE a.rule_id = r.id) FROM alarm_rule r WHERE id = $1 FOR UPDATE",
    )
    .bind(id)
    .fetch_optional(&mut *connection)
    .await?
    .ok_or(ChangeError::NotFound)?;
    ChangeError::check_version(expected, current)?;
    if used {
        sqlx::query("UPDATE alarm_rule SET enabled = false, row_version = row_version + 1 WHERE id = $1")
            .bind(id)
            .execute(connection)
            .await?;
    } else {
        sqlx::query("DELETE FROM alarm_rule WHERE id = $1")
            .bind(id)
            .execute(connection)
            .await?;
    }
    Ok(!used)
}

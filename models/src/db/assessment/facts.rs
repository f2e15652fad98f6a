//! What is known about an asset besides its readings: register, usage, alarms, failures.

use sqlx::PgConnection;
use sqlx::types::Json;

use super::Result;
use crate::asset::{AssetStatus, ChannelKind};
use crate::id::{AssetClassId, AssetId, ChannelId, FailureModeId, TenantId};
use crate::time::Timestamp;

/// An asset with what its prognosis rests on.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow, serde::Serialize, serde::Deserialize)]
pub struct AssetFacts {
    pub asset_id: AssetId,
    pub tenant_id: TenantId,
    pub name: String,
    pub class_id: AssetClassId,
    pub class_name: String,
    pub weibull_shape: Option<f64>,
    pub weibull_scale_h: Option<f64>,
    pub status: AssetStatus,
    pub installed_at: Option<Timestamp>,
    pub downtime_cost_per_h: Option<f64>,
    /// What a failure costs once besides repair and downtime; set by people in `attributes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_cost: Option<f64>,
    /// How much of its first history is to be taken as healthy; set by people in `attributes`.
    pub baseline_hours: Option<f64>,
    /// Running hours by a meter in `h`, whole life.
    pub running_h: Option<f64>,
    /// Running hours for each hour of the calendar, from the meter's first reading to its newest; not known where
    /// they lie within a day or it didn't move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_use: Option<f64>,
    /// The meter's first reading: when, and what it showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metered_from: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metered_from_h: Option<f64>,
    pub last_failure_at: Option<Timestamp>,
    /// Running hours at the last failure.
    pub running_h_at_failure: Option<f64>,
    /// When it was last replaced before it failed, and its running hours then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_h_at_renewal: Option<f64>,
    pub last_maintenance_at: Option<Timestamp>,
    /// Active alarms of the limit kinds, by severity; alarms that analytics raises itself don't count.
    pub alarms_critical: i64,
    pub alarms_serious: i64,
    pub alarms_warning: i64,
    /// Discrete events with a severity within 24 hours and 7 days before the moment asked for.
    pub errors_24h: i64,
    pub errors_7d: i64,
    /// Highest used share of a plan's meter interval; above 1 = overdue.
    pub plan_use: Option<f64>,
    pub plan_name: Option<String>,
    /// When the machine stops anyway: the next occurrence of one of its plans, and the plan's name. In the past: overdue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_stop_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_stop: Option<String>,
}

/// `None`: no such asset.
///
/// # Errors
/// When the database does.
pub async fn asset_facts(
    connection: &mut PgConnection,
    asset: AssetId,
    at: Timestamp,
) -> Result<Option<AssetFacts>> {
    Ok(assets_facts(connection, &[(asset, at)]).await?.pop())
}

/// What is known about each asset at its moment; assets that don't exist are left out.
///
/// # Errors
/// When the database does.
pub async fn assets_facts(
    connection: &mut PgConnection,
    assets: &[(AssetId, Timestamp)],
) -> Result<Vec<AssetFacts>> {
    sqlx::query_as(
        "SELECT a.id AS asset_id, a.tenant_id, a.name, a.class_id, c.name AS class_name, c.weibull_shape, c.weibull_scale_h,
                a.status, a.installed_at, a.downtime_cost_per_h,
                CASE WHEN jsonb_typeof(a.attributes->'baseline_hours') = 'number'
                     THEN (a.attributes->>'baseline_hours')::float8 END AS baseline_hours,
                coalesce(hn.total, h.total) AS running_h,
                CASE WHEN hn.total > ho.total AND hn.at >= ho.at + interval '1 day'
                     THEN least(1, (hn.total - ho.total) / (extract(epoch FROM hn.at - ho.at) / 3600))::float8 END AS in_use,
                ho.at AS metered_from, ho.total AS metered_from_h, f.failed_at AS last_failure_at,
                (SELECT r.total FROM meter_reading r WHERE r.meter_id = h.id AND r.at <= f.failed_at AND r.voided_at IS NULL
                 ORDER BY r.at DESC LIMIT 1) AS running_h_at_failure, rn.renewed_at,
                (SELECT r.total FROM meter_reading r WHERE r.meter_id = h.id AND r.at <= rn.renewed_at AND r.voided_at IS NULL
                 ORDER BY r.at DESC LIMIT 1) AS running_h_at_renewal,
                (SELECT max(t.completed_at) FROM ticket t
                 WHERE t.tenant_id = a.tenant_id AND t.asset_id = a.id AND t.completed_at <= w.at) AS last_maintenance_at,
                l.critical AS alarms_critical, l.serious AS alarms_serious, l.warning AS alarms_warning,
                e.day AS errors_24h, e.week AS errors_7d, p.used AS plan_use, p.name AS plan_name,
                CASE WHEN jsonb_typeof(a.attributes->'failure_cost') = 'number' AND (a.attributes->>'failure_cost')::float8 >= 0
                     THEN (a.attributes->>'failure_cost')::float8 END AS failure_cost,
                stop.at AS next_stop_at, stop.name AS next_stop
         FROM unnest($1::uuid[], $2::timestamptz[]) AS w (asset, at)
         JOIN asset a ON a.id = w.asset
         JOIN asset_class c ON c.id = a.class_id
         LEFT JOIN LATERAL (SELECT m.id, m.total FROM meter m WHERE m.asset_id = a.id AND m.unit = 'h'
                            ORDER BY m.total DESC LIMIT 1) h ON true
         LEFT JOIN LATERAL (SELECT r.at, r.total FROM meter_reading r
                            WHERE r.meter_id = h.id AND r.at <= w.at AND r.voided_at IS NULL ORDER BY r.at LIMIT 1) ho ON true
         LEFT JOIN LATERAL (SELECT r.at, r.total FROM meter_reading r
                            WHERE r.meter_id = h.id AND r.at <= w.at AND r.voided_at IS NULL ORDER BY r.at DESC LIMIT 1) hn ON true
         LEFT JOIN LATERAL (SELECT max(t.completed_at) AS renewed_at FROM ticket t
                            WHERE t.tenant_id = a.tenant_id AND t.asset_id = a.id AND t.completed_at <= w.at
                              AND t.status IN ('completed', 'closed') AND t.remedy_code = 'replaced'
                              AND t.outcome IS DISTINCT FROM 'confirmed_failed') rn ON true
         LEFT JOIN LATERAL (SELECT max(r.failed_at) AS failed_at FROM failure_report r
                            WHERE r.asset_id = a.id AND r.failed_at <= w.at) f ON true
         CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE x.severity = 'critical') AS critical,
                                    count(*) FILTER (WHERE x.severity = 'serious') AS serious,
                                    count(*) FILTER (WHERE x.severity = 'warning') AS warning
                             FROM alarm x JOIN alarm_rule r ON r.id = x.rule_id
                             WHERE x.asset_id = a.id AND x.tenant_id = a.tenant_id AND x.condition IN ('active', 'clearing')
                               AND x.suppression = 'none' AND r.kind IN ('high', 'low', 'rate')) l
         CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE v.ts > w.at - interval '24 hours') AS day, count(*) AS week
                             FROM discrete_event v
                             WHERE v.asset_id = a.id AND v.severity > 0 AND v.ts > w.at - interval '7 days' AND v.ts <= w.at) e
         LEFT JOIN LATERAL (SELECT (m.total - q.anchor_units) / q.every_units AS used, q.name
                            FROM maintenance_plan q JOIN meter m ON m.id = q.meter_id
                            WHERE q.asset_id = a.id AND q.enabled ORDER BY used DESC LIMIT 1) p ON true
         LEFT JOIN LATERAL (SELECT q.name, coalesce(o.due, (q.forecast->>'date')::date)::timestamp AT TIME ZONE s.time_zone AS at
                            FROM maintenance_plan q JOIN site s ON s.id = a.site_id
                            CROSS JOIN LATERAL (SELECT min(x.due_date) AS due FROM plan_occurrence x
                                                WHERE x.plan_id = q.id AND x.status IN ('due', 'ticketed')) o
                            WHERE q.asset_id = a.id AND q.enabled AND coalesce(o.due, (q.forecast->>'date')::date) IS NOT NULL
                            ORDER BY at, q.name LIMIT 1) stop ON true",
    )
    .bind(assets.iter().map(|(asset, _)| *asset).collect::<Vec<_>>())
    .bind(assets.iter().map(|(_, at)| *at).collect::<Vec<_>>())
    .fetch_all(connection)
    .await
}

/// A channel of an asset, with the alarm limits that people set on it.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct AssetChannel {
    pub id: ChannelId,
    pub name: String,
    pub label: Option<String>,
    pub unit: String,
    pub kind: ChannelKind,
    pub cadence_s: Option<f64>,
    pub high_limit: Option<f64>,
    pub low_limit: Option<f64>,
}

/// # Errors
/// When the database does.
pub async fn asset_channels(connection: &mut PgConnection, asset: AssetId) -> Result<Vec<AssetChannel>> {
    let channels = assets_channels(connection, &[asset]).await?;
    Ok(channels.into_iter().map(|(_, channel)| channel).collect())
}

#[derive(sqlx::FromRow)]
struct OwnedChannel {
    asset_id: AssetId,
    #[sqlx(flatten)]
    channel: AssetChannel,
}

/// The channels of several assets, in order of their ids.
///
/// # Errors
/// When the database does.
pub async fn assets_channels(
    connection: &mut PgConnection,
    assets: &[AssetId],
) -> Result<Vec<(AssetId, AssetChannel)>> {
    let rows: Vec<OwnedChannel> = sqlx::query_as(
        "SELECT c.asset_id, c.id, c.name, c.label, c.unit, c.kind, c.cadence_s, r.high AS high_limit, r.low AS low_limit
         FROM channel c
         LEFT JOIN (SELECT channel_id, max(limit_value) FILTER (WHERE kind = 'high') AS high,
                           min(limit_value) FILTER (WHERE kind = 'low') AS low
                    FROM alarm_rule WHERE asset_id = ANY ($1) AND enabled AND channel_id IS NOT NULL
                    GROUP BY channel_id) r ON r.channel_id = c.id
         WHERE c.asset_id = ANY ($1) ORDER BY c.id",
    )
    .bind(assets)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.asset_id, row.channel)).collect())
}

/// Open predictions of several assets over a horizon: asset, failure mode, probability.
///
/// # Errors
/// When the database does.
pub async fn open_predictions(
    connection: &mut PgConnection,
    assets: &[AssetId],
    horizon_h: i32,
) -> Result<Vec<(AssetId, Option<FailureModeId>, f64)>> {
    sqlx::query_as(
        "SELECT asset_id, failure_mode_id, probability FROM prediction
         WHERE asset_id = ANY ($1) AND horizon_h = $2 AND status IN ('new', 'in_review', 'snoozed')
         ORDER BY asset_id, opened_at DESC, id DESC",
    )
    .bind(assets)
    .bind(horizon_h)
    .fetch_all(connection)
    .await
}

/// How a class fails, and where each way shows.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow, serde::Serialize)]
pub struct ModeFacts {
    pub id: FailureModeId,
    pub code: String,
    pub name: String,
    pub signature: Json<Signature>,
    pub pf_interval_days: Option<f64>,
    pub repair_hours: Option<f64>,
    pub repair_cost: Option<f64>,
}

/// Channels in which a failure mode shows; `*` stands for any text.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Signature {
    #[serde(default)]
    pub channels: Vec<String>,
}

/// # Errors
/// When the database does, or a signature isn't one.
pub async fn failure_modes(connection: &mut PgConnection, class: AssetClassId) -> Result<Vec<ModeFacts>> {
    sqlx::query_as(
        "SELECT id, code, name, signature, pf_interval_days, repair_hours, repair_cost
         FROM failure_mode WHERE class_id = $1 ORDER BY code",
    )
    .bind(class)
    .fetch_all(connection)
    .await
}

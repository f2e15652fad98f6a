//! SQL of what analytics reads about an asset, and of what it writes: the schedule, model versions,
//! features and assessments.

use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::artifact::{Card, Envelope};
use crate::assessment::Assessment;
use crate::asset::{AssetStatus, ChannelKind};
use crate::id::{AssetClassId, AssetId, ChannelId, FailureModeId, ModelVersionId, TenantId};
use crate::time::Timestamp;

type Result<T> = std::result::Result<T, sqlx::Error>;

// ---- Schedule -----------------------------------------------------------------------------------

/// Gives every asset with a channel and a life in the plant a row in the schedule, and takes it from
/// the others. Returns how many rows came and went.
///
/// # Errors
/// When the database does.
pub async fn sync_schedule(connection: &mut PgConnection) -> Result<(u64, u64)> {
    let gone = sqlx::query(
        "DELETE FROM assessment_schedule s USING asset a
         WHERE a.id = s.asset_id AND a.status IN ('in_storage', 'disposed')",
    )
    .execute(&mut *connection)
    .await?;
    let come = sqlx::query(
        "INSERT INTO assessment_schedule (asset_id, tenant_id)
         SELECT a.id, a.tenant_id FROM asset a
         WHERE a.status IN ('operational', 'maintenance', 'down')
           AND EXISTS (SELECT FROM channel c WHERE c.asset_id = a.id)
           AND NOT EXISTS (SELECT FROM assessment_schedule s WHERE s.asset_id = a.id)
         ON CONFLICT DO NOTHING",
    )
    .execute(connection)
    .await?;
    Ok((come.rows_affected(), gone.rows_affected()))
}

/// An asset that is this process's to assess until the lease ends.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Claim {
    pub asset_id: AssetId,
    pub tenant_id: TenantId,
    pub failures: i32,
}

/// Takes up to `limit` due assets for `worker`. Rows another process is taking are skipped, rows it
/// has taken are not due until its lease has run out. The next pass is due `interval_s` from now; a
/// wake-up during the pass makes it due at once and is not lost.
///
/// # Errors
/// When the database does.
pub async fn claim_due(
    connection: &mut PgConnection,
    worker: Uuid,
    now: Timestamp,
    limit: i64,
    interval_s: f64,
    lease_s: f64,
) -> Result<Vec<Claim>> {
    sqlx::query_as(
        "UPDATE assessment_schedule s
         SET due_at = $2 + make_interval(secs => $4), claimed_by = $1, claimed_until = $2 + make_interval(secs => $5)
         FROM (SELECT asset_id FROM assessment_schedule
               WHERE due_at <= $2 AND (claimed_until IS NULL OR claimed_until <= $2)
               ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED) due
         WHERE s.asset_id = due.asset_id
         RETURNING s.asset_id, s.tenant_id, s.failures",
    )
    .bind(worker)
    .bind(now)
    .bind(limit)
    .bind(interval_s)
    .bind(lease_s)
    .fetch_all(connection)
    .await
}

/// Gives a claim back after a good pass. False: the lease had run out and another worker has the
/// asset; what was computed must be rolled back.
///
/// # Errors
/// When the database does.
pub async fn finish_claim(
    connection: &mut PgConnection,
    asset: AssetId,
    worker: Uuid,
    now: Timestamp,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE assessment_schedule SET last_at = $3, failures = 0, last_error = NULL, claimed_by = NULL, claimed_until = NULL
         WHERE asset_id = $1 AND claimed_by = $2",
    )
    .bind(asset)
    .bind(worker)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives a claim back after a pass that failed; the next one is due at `retry_at`.
///
/// # Errors
/// When the database does.
pub async fn fail_claim(
    connection: &mut PgConnection,
    asset: AssetId,
    worker: Uuid,
    retry_at: Timestamp,
    error: &str,
) -> Result<()> {
    sqlx::query(
        "UPDATE assessment_schedule
         SET failures = failures + 1, last_error = $4, due_at = $3, claimed_by = NULL, claimed_until = NULL
         WHERE asset_id = $1 AND claimed_by = $2",
    )
    .bind(asset)
    .bind(worker)
    .bind(retry_at)
    .bind(error)
    .execute(connection)
    .await?;
    Ok(())
}

/// Makes assets due at once whose limit alarms changed after outbox row `after`; those that analytics
/// raises itself say nothing new. Returns the last row looked at and how many assets were woken.
///
/// # Errors
/// When the database does.
pub async fn wake_by_outbox(connection: &mut PgConnection, after: i64, now: Timestamp) -> Result<(i64, i64)> {
    sqlx::query_as(
        "WITH news AS (SELECT id, asset_id FROM outbox
                       WHERE id > $1 AND kind LIKE 'alarm.%' AND asset_id IS NOT NULL
                         AND data->>'kind' IN ('high', 'low', 'rate', 'stuck')),
              woken AS (UPDATE assessment_schedule s SET due_at = $2
                        WHERE due_at > $2 AND failures = 0 AND asset_id IN (SELECT asset_id FROM news) RETURNING 1)
         SELECT greatest($1, coalesce((SELECT max(id) FROM outbox), 0)), (SELECT count(*) FROM woken)",
    )
    .bind(after)
    .bind(now)
    .fetch_one(connection)
    .await
}

/// Last outbox row, where a new process starts listening.
///
/// # Errors
/// When the database does.
pub async fn outbox_head(connection: &mut PgConnection) -> Result<i64> {
    sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM outbox")
        .fetch_one(connection)
        .await
}

/// Seconds since the most overdue asset was due (0 = none is) and how many assets failed last time.
///
/// # Errors
/// When the database does.
pub async fn schedule_state(connection: &mut PgConnection, now: Timestamp) -> Result<(f64, i64, i64)> {
    sqlx::query_as(
        "SELECT coalesce(greatest(extract(epoch FROM $1 - min(due_at)), 0), 0)::float8, count(*),
                count(*) FILTER (WHERE failures > 0) FROM assessment_schedule",
    )
    .bind(now)
    .fetch_one(connection)
    .await
}

// ---- What is known about an asset -----------------------------------------------------------------

/// An asset with what its prognosis rests on.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
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
    /// How much of its first history is to be taken as healthy; set by people in `attributes`.
    pub baseline_hours: Option<f64>,
    /// Running hours by a meter in `h`, whole life.
    pub running_h: Option<f64>,
    pub last_failure_at: Option<Timestamp>,
    /// Running hours at the last failure.
    pub running_h_at_failure: Option<f64>,
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
    sqlx::query_as(
        "SELECT a.id AS asset_id, a.tenant_id, a.name, a.class_id, c.name AS class_name, c.weibull_shape, c.weibull_scale_h,
                a.status, a.installed_at, a.downtime_cost_per_h,
                CASE WHEN jsonb_typeof(a.attributes->'baseline_hours') = 'number'
                     THEN (a.attributes->>'baseline_hours')::float8 END AS baseline_hours,
                coalesce((SELECT r.total FROM meter_reading r WHERE r.meter_id = h.id AND r.at <= $2 AND r.voided_at IS NULL
                          ORDER BY r.at DESC LIMIT 1), h.total) AS running_h, f.failed_at AS last_failure_at,
                (SELECT r.total FROM meter_reading r WHERE r.meter_id = h.id AND r.at <= f.failed_at AND r.voided_at IS NULL
                 ORDER BY r.at DESC LIMIT 1) AS running_h_at_failure,
                (SELECT max(t.completed_at) FROM ticket t
                 WHERE t.tenant_id = a.tenant_id AND t.asset_id = a.id AND t.completed_at <= $2) AS last_maintenance_at,
                l.critical AS alarms_critical, l.serious AS alarms_serious, l.warning AS alarms_warning,
                e.day AS errors_24h, e.week AS errors_7d, p.used AS plan_use, p.name AS plan_name
         FROM asset a
         JOIN asset_class c ON c.id = a.class_id
         LEFT JOIN LATERAL (SELECT m.id, m.total FROM meter m WHERE m.asset_id = a.id AND m.unit = 'h'
                            ORDER BY m.total DESC LIMIT 1) h ON true
         LEFT JOIN LATERAL (SELECT max(r.failed_at) AS failed_at FROM failure_report r
                            WHERE r.asset_id = a.id AND r.failed_at <= $2) f ON true
         CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE x.severity = 'critical') AS critical,
                                    count(*) FILTER (WHERE x.severity = 'serious') AS serious,
                                    count(*) FILTER (WHERE x.severity = 'warning') AS warning
                             FROM alarm x JOIN alarm_rule r ON r.id = x.rule_id
                             WHERE x.asset_id = a.id AND x.tenant_id = a.tenant_id AND x.condition IN ('active', 'clearing')
                               AND x.suppression = 'none' AND r.kind IN ('high', 'low', 'rate')) l
         CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE v.ts > $2 - interval '24 hours') AS day, count(*) AS week
                             FROM discrete_event v
                             WHERE v.asset_id = a.id AND v.severity > 0 AND v.ts > $2 - interval '7 days' AND v.ts <= $2) e
         LEFT JOIN LATERAL (SELECT (m.total - q.anchor_units) / q.every_units AS used, q.name
                            FROM maintenance_plan q JOIN meter m ON m.id = q.meter_id
                            WHERE q.asset_id = a.id AND q.enabled ORDER BY used DESC LIMIT 1) p ON true
         WHERE a.id = $1",
    )
    .bind(asset)
    .bind(at)
    .fetch_optional(connection)
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
    sqlx::query_as(
        "SELECT c.id, c.name, c.label, c.unit, c.kind, c.cadence_s, r.high AS high_limit, r.low AS low_limit
         FROM channel c
         CROSS JOIN LATERAL (SELECT max(limit_value) FILTER (WHERE kind = 'high') AS high,
                                    min(limit_value) FILTER (WHERE kind = 'low') AS low
                             FROM alarm_rule r WHERE r.channel_id = c.id AND r.enabled) r
         WHERE c.asset_id = $1 ORDER BY c.id",
    )
    .bind(asset)
    .fetch_all(connection)
    .await
}

/// How a class fails, and where each way shows.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
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

/// Lives of a class up to `at`: age in running hours (calendar hours where there is no meter), and
/// whether it ended in a failure. An asset is as good as new after a failure.
///
/// # Errors
/// When the database does.
pub async fn class_lives(
    connection: &mut PgConnection,
    class: AssetClassId,
    at: Timestamp,
) -> Result<Vec<(f64, bool)>> {
    sqlx::query_as(
        "WITH life AS (
             SELECT a.id, a.installed_at,
                    least(1, coalesce((SELECT max(m.total) FROM meter m WHERE m.asset_id = a.id AND m.unit = 'h')
                        / nullif(extract(epoch FROM $2 - a.installed_at) / 3600, 0), 1))::float8 AS in_use
             FROM asset a WHERE a.class_id = $1 AND a.installed_at < $2),
         failure AS (
             SELECT l.id, l.in_use, r.failed_at,
                    coalesce(lag(r.failed_at) OVER (PARTITION BY l.id ORDER BY r.failed_at), l.installed_at) AS began
             FROM life l JOIN (SELECT DISTINCT asset_id, failed_at FROM failure_report) r ON r.asset_id = l.id
             WHERE r.failed_at <= $2 AND r.failed_at > l.installed_at)
         SELECT (extract(epoch FROM failed_at - began) / 3600 * in_use)::float8 AS age, true AS failed
         FROM failure WHERE failed_at > began
         UNION ALL
         SELECT (extract(epoch FROM $2 - coalesce((SELECT max(f.failed_at) FROM failure f WHERE f.id = l.id), l.installed_at))
                 / 3600 * l.in_use)::float8, false
         FROM life l
         ORDER BY age, failed",
    )
    .bind(class)
    .bind(at)
    .fetch_all(connection)
    .await
}

// ---- Readings in columns ---------------------------------------------------------------------------

/// Newest reading of each channel up to `until`, by event time.
///
/// # Errors
/// When the database does.
pub async fn newest_readings(
    connection: &mut PgConnection,
    channels: &[ChannelId],
    until: Timestamp,
) -> Result<Vec<(ChannelId, Timestamp)>> {
    sqlx::query_as(
        "SELECT c.id, r.ts FROM unnest($1::int4[]) AS c(id)
         CROSS JOIN LATERAL (SELECT x.ts FROM reading x WHERE x.channel_id = c.id AND x.ts <= $2
                             ORDER BY x.ts DESC LIMIT 1) r",
    )
    .bind(channels.iter().map(|channel| channel.0).collect::<Vec<_>>())
    .bind(until)
    .fetch_all(connection)
    .await
}

/// First reading of any of the channels within a range.
///
/// # Errors
/// When the database does.
pub async fn first_reading(
    connection: &mut PgConnection,
    channels: &[ChannelId],
    from: Timestamp,
    to: Timestamp,
) -> Result<Option<Timestamp>> {
    sqlx::query_scalar(
        "SELECT min(r.ts) FROM unnest($1::int4[]) AS c(id)
         CROSS JOIN LATERAL (SELECT x.ts FROM reading x WHERE x.channel_id = c.id AND x.ts >= $2 AND x.ts <= $3
                             ORDER BY x.ts LIMIT 1) r",
    )
    .bind(channels.iter().map(|channel| channel.0).collect::<Vec<_>>())
    .bind(from)
    .bind(to)
    .fetch_one(connection)
    .await
}

/// Median seconds between readings of each channel among its first 200 within a range.
///
/// # Errors
/// When the database does.
pub async fn cadences(
    connection: &mut PgConnection,
    channels: &[ChannelId],
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<(ChannelId, f64)>> {
    sqlx::query_as(
        "SELECT c.id, (percentile_cont(0.5) WITHIN GROUP (ORDER BY r.gap))::float8
         FROM unnest($1::int4[]) AS c(id)
         CROSS JOIN LATERAL (
             SELECT extract(epoch FROM x.ts - lag(x.ts) OVER (ORDER BY x.ts)) AS gap
             FROM (SELECT ts FROM reading WHERE channel_id = c.id AND ts >= $2 AND ts <= $3 ORDER BY ts LIMIT 200) x) r
         WHERE r.gap > 0 GROUP BY c.id",
    )
    .bind(channels.iter().map(|channel| channel.0).collect::<Vec<_>>())
    .bind(from)
    .bind(to)
    .fetch_all(connection)
    .await
}

/// One channel's readings as they are, in order of time. Columns of equal length.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct RawColumns {
    pub channel_id: ChannelId,
    pub ts: Vec<Timestamp>,
    pub value: Vec<f64>,
}

/// Readings with `from < ts <= to` that are not bad; `None` when there are more than `most` of them.
///
/// # Errors
/// When the database does.
pub async fn raw(
    connection: &mut PgConnection,
    channels: &[ChannelId],
    from: Timestamp,
    to: Timestamp,
    most: i64,
) -> Result<Option<Vec<RawColumns>>> {
    let columns: Vec<RawColumns> = sqlx::query_as(
        "SELECT channel_id, array_agg(ts ORDER BY ts) AS ts, array_agg(value ORDER BY ts) AS value
         FROM (SELECT channel_id, ts, value FROM reading
               WHERE channel_id = ANY ($1) AND ts > $2 AND ts <= $3 AND quality < 2 LIMIT $4) r
         GROUP BY channel_id ORDER BY channel_id",
    )
    .bind(channels.iter().map(|channel| channel.0).collect::<Vec<_>>())
    .bind(from)
    .bind(to)
    .bind(most.saturating_add(1))
    .fetch_all(connection)
    .await?;
    let rows: usize = columns.iter().map(|column| column.ts.len()).sum();
    Ok(i64::try_from(rows)
        .is_ok_and(|rows| rows <= most)
        .then_some(columns))
}

/// One channel's readings, summed up over equal steps; only steps that have any. Columns of equal
/// length, made by the server, so that no object stands for a reading.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct StepColumns {
    pub channel_id: ChannelId,
    /// Number of the step since 1970, its start divided by its length.
    pub step: Vec<i64>,
    pub n: Vec<i64>,
    pub mean: Vec<f64>,
    pub low: Vec<f64>,
    pub high: Vec<f64>,
    pub last: Vec<f64>,
}

/// Readings with `from < ts <= to` that are not bad, in steps of `step_s` whole seconds.
///
/// # Errors
/// When the database does.
pub async fn steps(
    connection: &mut PgConnection,
    channels: &[ChannelId],
    from: Timestamp,
    to: Timestamp,
    step_s: i64,
) -> Result<Vec<StepColumns>> {
    sqlx::query_as(
        "SELECT channel_id, array_agg(step ORDER BY step) AS step, array_agg(n ORDER BY step) AS n,
                array_agg(mean ORDER BY step) AS mean, array_agg(low ORDER BY step) AS low,
                array_agg(high ORDER BY step) AS high, array_agg(last ORDER BY step) AS last
         FROM (SELECT channel_id, (extract(epoch FROM bucket)::int8 / $4) AS step, n, mean, low, high, last
               FROM (SELECT channel_id, time_bucket(make_interval(secs => $4::int8), ts, 'epoch'::timestamptz) AS bucket,
                            count(*) AS n, avg(value) AS mean, min(value) AS low, max(value) AS high, last(value, ts) AS last
                     FROM reading
                     WHERE channel_id = ANY ($1) AND ts > $2 AND ts <= $3 AND quality < 2
                     GROUP BY 1, 2) b) s
         GROUP BY channel_id ORDER BY channel_id",
    )
    .bind(channels.iter().map(|channel| channel.0).collect::<Vec<_>>())
    .bind(from)
    .bind(to)
    .bind(step_s)
    .fetch_all(connection)
    .await
}

// ---- Model versions -----------------------------------------------------------------------------

/// A stored model.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct StoredModel {
    pub id: ModelVersionId,
    pub version: i32,
    pub artifact: Json<Envelope>,
    pub trained_from: Timestamp,
    pub trained_to: Timestamp,
}

/// The model in use for a scope (an asset's or a class's id).
///
/// # Errors
/// When the database does, or the row holds no envelope.
pub async fn champion(
    connection: &mut PgConnection,
    tenant: TenantId,
    name: &str,
    scope: &str,
) -> Result<Option<StoredModel>> {
    sqlx::query_as(
        "SELECT id, version, artifact, trained_from, trained_to FROM model_version
         WHERE tenant_id = $1 AND name = $2 AND scope = $3 AND status = 'champion'",
    )
    .bind(tenant)
    .bind(name)
    .bind(scope)
    .fetch_optional(connection)
    .await
}

/// A model about to be stored.
#[derive(Clone, Debug)]
pub struct NewModel<'a> {
    pub tenant: TenantId,
    pub name: &'a str,
    pub scope: &'a str,
    pub artifact: &'a Envelope,
    pub card: &'a Card,
    pub code_version: &'a str,
}

/// Stores a model as the next version and the champion; the one before retires.
///
/// # Errors
/// When the database does, or another process stored the same version first.
pub async fn insert_champion(
    connection: &mut PgConnection,
    model: &NewModel<'_>,
) -> Result<(ModelVersionId, i32)> {
    sqlx::query(
        "UPDATE model_version SET status = 'retired'
         WHERE tenant_id = $1 AND name = $2 AND scope = $3 AND status = 'champion'",
    )
    .bind(model.tenant)
    .bind(model.name)
    .bind(model.scope)
    .execute(&mut *connection)
    .await?;
    sqlx::query_as(
        "INSERT INTO model_version
             (id, tenant_id, name, scope, version, status, artifact, card, code_version, trained_from, trained_to)
         SELECT $1, $2, $3, $4, 1 + coalesce(max(version), 0), 'champion', $5, $6, $7, $8, $9
         FROM model_version WHERE tenant_id = $2 AND name = $3 AND scope = $4
         RETURNING id, version",
    )
    .bind(ModelVersionId::new())
    .bind(model.tenant)
    .bind(model.name)
    .bind(model.scope)
    .bind(Json(model.artifact))
    .bind(Json(model.card))
    .bind(model.code_version)
    .bind(model.card.data_from)
    .bind(model.card.data_to)
    .fetch_one(connection)
    .await
}

/// What stands for the model where there is none yet. Built in, hence without a tenant.
pub const NO_MODEL: ModelVersionId =
    ModelVersionId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));

/// Makes sure that [`NO_MODEL`] has its row.
///
/// # Errors
/// When the database does.
pub async fn ensure_no_model(connection: &mut PgConnection, code_version: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO model_version
             (id, tenant_id, name, scope, version, status, artifact, card, code_version, trained_from, trained_to)
         VALUES ($1, NULL, 'baseline', 'none', 1, 'champion', '{}',
                 '{\"summary\": \"no baseline yet: only life data, usage and alarms are judged\"}', $2, 'epoch', 'epoch')
         ON CONFLICT DO NOTHING",
    )
    .bind(NO_MODEL)
    .bind(code_version)
    .execute(connection)
    .await?;
    Ok(())
}

// ---- Results -------------------------------------------------------------------------------------

/// Writes one assessment. The same window by the same model replaces what stood there: late
/// readings change it, the same readings don't.
///
/// # Errors
/// When the database does.
pub async fn write_assessment(connection: &mut PgConnection, a: &Assessment) -> Result<()> {
    sqlx::query(
        "INSERT INTO assessment
             (window_end, tenant_id, asset_id, model_version_id, window_start, assessed_at, health, anomaly, coverage,
              freshness_s, failure_mode_id, p_fail, rul_p10_h, rul_p50_h, rul_p90_h, factors, advice, notes, code_version)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
         ON CONFLICT (asset_id, window_end, model_version_id) DO UPDATE SET
             window_start = excluded.window_start, assessed_at = excluded.assessed_at, health = excluded.health,
             anomaly = excluded.anomaly, coverage = excluded.coverage, freshness_s = excluded.freshness_s,
             failure_mode_id = excluded.failure_mode_id, p_fail = excluded.p_fail, rul_p10_h = excluded.rul_p10_h,
             rul_p50_h = excluded.rul_p50_h, rul_p90_h = excluded.rul_p90_h, factors = excluded.factors,
             advice = excluded.advice, notes = excluded.notes, code_version = excluded.code_version",
    )
    .bind(a.window_end)
    .bind(a.tenant)
    .bind(a.asset)
    .bind(a.model)
    .bind(a.window_start)
    .bind(a.assessed_at)
    .bind(a.health)
    .bind(a.anomaly)
    .bind(a.coverage)
    .bind(a.freshness_s)
    .bind(a.failure_mode)
    .bind(Json(&a.p_fail))
    .bind(a.rul.map(|rul| rul.p10_h))
    .bind(a.rul.map(|rul| rul.p50_h))
    .bind(a.rul.and_then(|rul| rul.p90_h))
    .bind(Json(&a.factors))
    .bind(Json(&a.advice))
    .bind(Json(&a.notes))
    .bind(&a.code_version)
    .execute(connection)
    .await?;
    Ok(())
}

/// Features of one window by name.
pub type Features = serde_json::Map<String, serde_json::Value>;

/// Writes the features of a window, unless a row of the asset is younger than `every_s` before it:
/// a pass every few seconds needs no copy of what hardly changes.
///
/// # Errors
/// When the database does.
pub async fn write_features(
    connection: &mut PgConnection,
    (tenant, asset): (TenantId, AssetId),
    (window_start, window_end): (Timestamp, Timestamp),
    features: &Features,
    every_s: f64,
) -> Result<bool> {
    let written = sqlx::query(
        "INSERT INTO feature (window_end, tenant_id, asset_id, window_start, features)
         SELECT $1, $2, $3, $4, $5
         WHERE NOT EXISTS (SELECT FROM feature WHERE asset_id = $3 AND window_end > $1 - make_interval(secs => $6)
                                                 AND window_end < $1)
         ON CONFLICT (asset_id, window_end) DO UPDATE
             SET window_start = excluded.window_start, features = excluded.features",
    )
    .bind(window_end)
    .bind(tenant)
    .bind(asset)
    .bind(window_start)
    .bind(Json(features))
    .bind(every_s)
    .execute(connection)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// The newest assessment whose window ended at a moment or before, in short.
#[derive(Clone, Copy, Debug, PartialEq, sqlx::FromRow)]
pub struct Previous {
    pub window_end: Timestamp,
    pub health: f64,
    pub anomaly: Option<f64>,
}

/// # Errors
/// When the database does.
pub async fn previous(
    connection: &mut PgConnection,
    asset: AssetId,
    until: Timestamp,
) -> Result<Option<Previous>> {
    sqlx::query_as(
        "SELECT window_end, health, anomaly FROM assessment WHERE asset_id = $1 AND window_end <= $2
         ORDER BY window_end DESC, assessed_at DESC LIMIT 1",
    )
    .bind(asset)
    .bind(until)
    .fetch_optional(connection)
    .await
}

/// Keeps one assessment and one feature row an hour of what is older than `before`, and none older
/// than `until`. Returns how many rows went.
///
/// # Errors
/// When the database does.
pub async fn thin(connection: &mut PgConnection, before: Timestamp, until: Timestamp) -> Result<u64> {
    let mut gone = 0;
    for statement in [
        "DELETE FROM assessment a USING (
             SELECT asset_id, window_end, model_version_id,
                    row_number() OVER (PARTITION BY asset_id, date_trunc('hour', window_end) ORDER BY window_end DESC) AS place
             FROM assessment WHERE window_end < $1) o
         WHERE a.asset_id = o.asset_id AND a.window_end = o.window_end AND a.model_version_id = o.model_version_id
           AND (o.place > 1 OR o.window_end < $2)",
        "DELETE FROM feature a USING (
             SELECT asset_id, window_end,
                    row_number() OVER (PARTITION BY asset_id, date_trunc('hour', window_end) ORDER BY window_end DESC) AS place
             FROM feature WHERE window_end < $1) o
         WHERE a.asset_id = o.asset_id AND a.window_end = o.window_end AND (o.place > 1 OR o.window_end < $2)",
    ] {
        gone += sqlx::query(statement).bind(before).bind(until).execute(&mut *connection).await?.rows_affected();
    }
    Ok(gone)
}

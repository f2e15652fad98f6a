//! Results: assessments and the features they rest on.

use sqlx::PgConnection;
use sqlx::types::Json;

use super::Result;
use crate::assessment::{Advice, Assessment, Factor, FailureProbability, RemainingLife};
use crate::id::{AssetId, FailureModeId, ModelVersionId, TenantId};
use crate::time::Timestamp;

/// Writes assessments. The same window by the same model replaces what stood there: late readings
/// change it, the same readings don't. An asset must not occur twice.
///
/// # Errors
/// When the database does.
pub async fn write_assessments(connection: &mut PgConnection, rows: &[&Assessment]) -> Result<()> {
    macro_rules! column {
        ($pick:expr) => {
            rows.iter().map($pick).collect::<Vec<_>>()
        };
    }
    sqlx::query(
        "INSERT INTO assessment
             (window_end, tenant_id, asset_id, model_version_id, window_start, assessed_at, health, anomaly, coverage,
              freshness_s, failure_mode_id, p_fail, rul_p10_h, rul_p50_h, rul_p90_h, factors, advice, notes, code_version,
              failure_model_id, inputs)
         SELECT * FROM unnest($1::timestamptz[], $2::uuid[], $3::uuid[], $4::uuid[], $5::timestamptz[], $6::timestamptz[],
             $7::float8[], $8::float8[], $9::float8[], $10::float8[], $11::uuid[], $12::jsonb[], $13::float8[],
             $14::float8[], $15::float8[], $16::jsonb[], $17::jsonb[], $18::jsonb[], $19::text[], $20::uuid[], $21::jsonb[])
         ON CONFLICT (asset_id, window_end, model_version_id) DO UPDATE SET
             window_start = excluded.window_start, assessed_at = excluded.assessed_at, health = excluded.health,
             anomaly = excluded.anomaly, coverage = excluded.coverage, freshness_s = excluded.freshness_s,
             failure_mode_id = excluded.failure_mode_id, p_fail = excluded.p_fail, rul_p10_h = excluded.rul_p10_h,
             rul_p50_h = excluded.rul_p50_h, rul_p90_h = excluded.rul_p90_h, factors = excluded.factors,
             advice = excluded.advice, notes = excluded.notes, code_version = excluded.code_version,
             failure_model_id = excluded.failure_model_id, inputs = excluded.inputs",
    )
    .bind(column!(|a| a.window_end))
    .bind(column!(|a| a.tenant))
    .bind(column!(|a| a.asset))
    .bind(column!(|a| a.model))
    .bind(column!(|a| a.window_start))
    .bind(column!(|a| a.assessed_at))
    .bind(column!(|a| a.health))
    .bind(column!(|a| a.anomaly))
    .bind(column!(|a| a.coverage))
    .bind(column!(|a| a.freshness_s))
    .bind(column!(|a| a.failure_mode))
    .bind(column!(|a| Json(&a.p_fail)))
    .bind(column!(|a| a.rul.map(|rul| rul.p10_h)))
    .bind(column!(|a| a.rul.map(|rul| rul.p50_h)))
    .bind(column!(|a| a.rul.and_then(|rul| rul.p90_h)))
    .bind(column!(|a| Json(&a.factors)))
    .bind(column!(|a| Json(&a.advice)))
    .bind(column!(|a| Json(&a.notes)))
    .bind(column!(|a| a.code_version.as_str()))
    .bind(column!(|a| a.failure_model))
    .bind(column!(|a| a.inputs.as_ref().map(Json)))
    .execute(connection)
    .await?;
    Ok(())
}

/// A stored assessment with its keys.
#[derive(sqlx::FromRow)]
struct StoredAssessment {
    window_end: Timestamp,
    tenant_id: TenantId,
    asset_id: AssetId,
    model_version_id: ModelVersionId,
    window_start: Timestamp,
    assessed_at: Timestamp,
    health: f64,
    anomaly: Option<f64>,
    coverage: f64,
    freshness_s: f64,
    failure_mode_id: Option<FailureModeId>,
    p_fail: Json<Vec<FailureProbability>>,
    rul_p10_h: Option<f64>,
    rul_p50_h: Option<f64>,
    rul_p90_h: Option<f64>,
    factors: Json<Vec<Factor>>,
    advice: Json<Advice>,
    notes: Json<Vec<String>>,
    code_version: String,
    failure_model_id: Option<ModelVersionId>,
    inputs: Option<serde_json::Value>,
}

/// The assessment of an asset whose window ended at `window_end`, or the newest.
///
/// # Errors
/// When the database does.
pub async fn stored_assessment(
    connection: &mut PgConnection,
    asset: AssetId,
    window_end: Option<Timestamp>,
) -> Result<Option<Assessment>> {
    let row: Option<StoredAssessment> = sqlx::query_as(
        "SELECT * FROM assessment WHERE asset_id = $1 AND ($2::timestamptz IS NULL OR window_end = $2)
         ORDER BY window_end DESC, assessed_at DESC LIMIT 1",
    )
    .bind(asset)
    .bind(window_end)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Assessment {
        tenant: row.tenant_id,
        asset: row.asset_id,
        model: row.model_version_id,
        failure_model: row.failure_model_id,
        window_start: row.window_start,
        window_end: row.window_end,
        assessed_at: row.assessed_at,
        health: row.health,
        anomaly: row.anomaly,
        coverage: row.coverage,
        freshness_s: row.freshness_s,
        failure_mode: row.failure_mode_id,
        p_fail: row.p_fail.0,
        rul: row
            .rul_p10_h
            .zip(row.rul_p50_h)
            .map(|(p10_h, p50_h)| RemainingLife {
                p10_h,
                p50_h,
                p90_h: row.rul_p90_h,
            }),
        factors: row.factors.0,
        advice: row.advice.0,
        notes: row.notes.0,
        code_version: row.code_version,
        inputs: row.inputs,
    }))
}

/// The features of one window, as JSON text: an object that gives each channel's name its numbers in
/// the order of the code version's feature names, null where there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureRow {
    pub tenant: TenantId,
    pub asset: AssetId,
    pub window_start: Timestamp,
    pub window_end: Timestamp,
    pub features: String,
}

/// Writes the features of windows, unless a row of the asset is younger than `every_s` before it: a
/// pass every few seconds needs no copy of what hardly changes. Returns how many were written.
///
/// # Errors
/// When the database does.
pub async fn write_features(connection: &mut PgConnection, rows: &[FeatureRow], every_s: f64) -> Result<u64> {
    let written = sqlx::query(
        "INSERT INTO feature (window_end, tenant_id, asset_id, window_start, features)
         SELECT n.window_end, n.tenant, n.asset, n.window_start, n.features::jsonb
         FROM unnest($1::timestamptz[], $2::uuid[], $3::uuid[], $4::timestamptz[], $5::text[])
              AS n (window_end, tenant, asset, window_start, features)
         WHERE NOT EXISTS (SELECT FROM feature f WHERE f.asset_id = n.asset
                               AND f.window_end > n.window_end - make_interval(secs => $6) AND f.window_end < n.window_end)
         ON CONFLICT (asset_id, window_end) DO UPDATE
             SET window_start = excluded.window_start, features = excluded.features",
    )
    .bind(rows.iter().map(|row| row.window_end).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.tenant).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.asset).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.window_start).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.features.as_str()).collect::<Vec<_>>())
    .bind(every_s)
    .execute(connection)
    .await?;
    Ok(written.rows_affected())
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
    let found = previous_of(connection, &[(asset, until)]).await?;
    Ok(found.first().map(|(_, previous)| *previous))
}

#[derive(sqlx::FromRow)]
struct OwnedPrevious {
    asset: AssetId,
    #[sqlx(flatten)]
    previous: Previous,
}

/// As [`previous`] for several assets; those without one are left out.
///
/// # Errors
/// When the database does.
pub async fn previous_of(
    connection: &mut PgConnection,
    assets: &[(AssetId, Timestamp)],
) -> Result<Vec<(AssetId, Previous)>> {
    let rows: Vec<OwnedPrevious> = sqlx::query_as(
        "SELECT w.asset, p.window_end, p.health, p.anomaly
         FROM unnest($1::uuid[], $2::timestamptz[]) AS w (asset, until)
         CROSS JOIN LATERAL (SELECT window_end, health, anomaly FROM assessment
                             WHERE asset_id = w.asset AND window_end <= w.until
                             ORDER BY window_end DESC, assessed_at DESC LIMIT 1) p",
    )
    .bind(assets.iter().map(|(asset, _)| *asset).collect::<Vec<_>>())
    .bind(assets.iter().map(|(_, until)| *until).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.asset, row.previous)).collect())
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

//! What models learn from: stored features of a class, and looks at drift.

use sqlx::PgConnection;

use super::Result;
use crate::id::{AssetClassId, AssetId, TenantId};
use crate::time::Timestamp;

/// One stored feature row of a class.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct ClassRow {
    pub asset_id: AssetId,
    pub window_end: Timestamp,
    pub features: serde_json::Value,
}

/// Feature rows of a class, one an hour for each asset, by asset and time; every n-th where there are
/// more than `most`.
///
/// # Errors
/// When the database does.
pub async fn class_features(
    connection: &mut PgConnection,
    class: AssetClassId,
    from: Timestamp,
    to: Timestamp,
    most: i64,
) -> Result<Vec<ClassRow>> {
    sqlx::query_as(
        "WITH hourly AS (
             SELECT DISTINCT ON (f.asset_id, date_trunc('hour', f.window_end)) f.asset_id, f.window_end
             FROM feature f JOIN asset a ON a.id = f.asset_id
             WHERE a.class_id = $1 AND f.window_end >= $2 AND f.window_end <= $3
             ORDER BY f.asset_id, date_trunc('hour', f.window_end), f.window_end DESC),
         numbered AS (
             SELECT asset_id, window_end, row_number() OVER (ORDER BY asset_id, window_end) AS n, count(*) OVER () AS rows
             FROM hourly)
         SELECT f.asset_id, f.window_end, f.features
         FROM numbered n JOIN feature f ON f.asset_id = n.asset_id AND f.window_end = n.window_end
         WHERE n.n % greatest(1, (n.rows + $4 - 1) / $4) = 0
         ORDER BY f.asset_id, f.window_end",
    )
    .bind(class)
    .bind(from)
    .bind(to)
    .bind(most)
    .fetch_all(connection)
    .await
}

/// A class that has machines on the schedule.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct TrainableClass {
    pub class_id: AssetClassId,
    pub tenant_id: TenantId,
    pub name: String,
    pub tenant: String,
    pub weibull_shape: Option<f64>,
    pub assets: i64,
    pub failures: i64,
    /// When a model was last trained.
    pub trained_at: Option<Timestamp>,
    /// When drift was last looked at.
    pub looked_at: Option<Timestamp>,
}

/// Classes with machines, by tenant and name; `models`: names of what may be trained of them.
///
/// # Errors
/// When the database does.
pub async fn trainable_classes(
    connection: &mut PgConnection,
    models: &[&str],
) -> Result<Vec<TrainableClass>> {
    sqlx::query_as(
        "SELECT c.id AS class_id, c.tenant_id, c.name, t.slug AS tenant, c.weibull_shape, count(a.id) AS assets,
                (SELECT count(*) FROM failure_report r JOIN asset x ON x.id = r.asset_id WHERE x.class_id = c.id) AS failures,
                (SELECT max(m.created_at) FROM model_version m
                 WHERE m.tenant_id = c.tenant_id AND m.name = ANY ($1)
                   AND m.scope = 'cls_' || replace(c.id::text, '-', '')) AS trained_at,
                (SELECT max(d.at) FROM drift_report d WHERE d.class_id = c.id) AS looked_at
         FROM asset_class c JOIN tenant t ON t.id = c.tenant_id
         JOIN asset a ON a.class_id = c.id AND a.status IN ('operational', 'maintenance', 'down')
         GROUP BY c.id, t.slug ORDER BY t.slug, c.name",
    )
    .bind(models)
    .fetch_all(connection)
    .await
}

/// Whether this connection is the one that trains, until it is closed.
///
/// # Errors
/// When the database does.
pub async fn lock_training(connection: &mut PgConnection) -> Result<bool> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtext('forewarn training'))")
        .fetch_one(connection)
        .await
}

/// A look at drift about to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDrift {
    pub tenant: TenantId,
    pub class: AssetClassId,
    pub model: Option<crate::id::ModelVersionId>,
    pub data: (Timestamp, Timestamp),
    pub rows: i64,
    pub retrain: bool,
    pub reasons: serde_json::Value,
    pub features: serde_json::Value,
    pub figures: serde_json::Value,
}

/// # Errors
/// When the database does.
pub async fn insert_drift(connection: &mut PgConnection, drift: &NewDrift) -> Result<()> {
    sqlx::query(
        "INSERT INTO drift_report (id, tenant_id, class_id, model_id, data_from, data_to, rows, retrain, reasons, features, figures)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(uuid::Uuid::now_v7())
    .bind(drift.tenant)
    .bind(drift.class)
    .bind(drift.model)
    .bind(drift.data.0)
    .bind(drift.data.1)
    .bind(drift.rows)
    .bind(drift.retrain)
    .bind(&drift.reasons)
    .bind(&drift.features)
    .bind(&drift.figures)
    .execute(connection)
    .await?;
    Ok(())
}

/// A stored look at drift.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct DriftRow {
    pub class_id: AssetClassId,
    pub class_name: String,
    pub model_id: Option<crate::id::ModelVersionId>,
    pub at: Timestamp,
    pub data_from: Timestamp,
    pub data_to: Timestamp,
    pub rows: i64,
    pub retrain: bool,
    pub reasons: serde_json::Value,
    pub features: serde_json::Value,
    pub figures: serde_json::Value,
}

/// The newest look at each class.
///
/// # Errors
/// When the database does.
pub async fn drift_latest(connection: &mut PgConnection) -> Result<Vec<DriftRow>> {
    sqlx::query_as(
        "SELECT DISTINCT ON (d.class_id) d.class_id, c.name AS class_name, d.model_id, d.at, d.data_from, d.data_to, d.rows,
                d.retrain, d.reasons, d.features, d.figures
         FROM drift_report d JOIN asset_class c ON c.id = d.class_id
         ORDER BY d.class_id, d.at DESC",
    )
    .fetch_all(connection)
    .await
}

//! The newest health of assets and of all that belongs to them.

use sqlx::PgConnection;

use crate::health::tree::{DEEPEST, Tree};
use crate::id::AssetId;

/// These assets with everything below them; `None` = all of the tenant. One statement, however many they are.
///
/// An assessment is stale as in a list of assets; cadences are asked for only where it is older than that needs.
///
/// # Errors
/// When the database does.
pub async fn health_tree(
    connection: &mut PgConnection,
    wanted: Option<&[AssetId]>,
) -> Result<Tree, sqlx::Error> {
    let nodes = sqlx::query_as(
        "WITH RECURSIVE below AS (
             SELECT a.id, 0 AS depth FROM asset a WHERE $1::uuid[] IS NULL OR a.id = ANY ($1)
             UNION
             SELECT a.id, b.depth + 1 FROM below b JOIN asset a ON a.parent_id = b.id
             WHERE $1 IS NOT NULL AND b.depth < $2),
         tree AS MATERIALIZED (SELECT DISTINCT id FROM below)
         SELECT a.id, a.name, a.parent_id, a.site_id, a.area_id, a.status, a.criticality, h.health, h.as_of,
                h.asset_id IS NOT NULL OR EXISTS (SELECT FROM channel c WHERE c.asset_id = a.id) AS monitored,
                CASE WHEN now() - h.as_of <= interval '15 min' THEN false
                     ELSE now() - h.as_of > make_interval(secs => 10 * coalesce(
                         (SELECT min(c.cadence_s) FROM channel c WHERE c.asset_id = a.id), 0)) END AS stale
         FROM tree t JOIN asset a ON a.id = t.id
         LEFT JOIN latest_health(CASE WHEN $1 IS NOT NULL THEN (SELECT array_agg(id) FROM tree) END) h
             ON h.asset_id = a.id",
    )
    .bind(wanted)
    .bind(i32::try_from(DEEPEST).unwrap_or(i32::MAX))
    .fetch_all(connection)
    .await?;
    Ok(Tree::new(nodes))
}

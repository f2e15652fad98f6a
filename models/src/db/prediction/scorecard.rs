//! The rows that a scorecard is computed from.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use crate::id::AssetClassId;
use crate::prediction::scorecard::{Card, Row, card};
use crate::prediction::{Label, Status};
use crate::time::Timestamp;

/// The scorecard of one model and asset class.
#[derive(Clone, Debug, PartialEq)]
pub struct CardOf {
    pub model: String,
    pub class: AssetClassId,
    pub class_name: String,
    pub card: Card,
}

#[derive(Debug, sqlx::FromRow)]
struct Stored {
    model: String,
    class_id: AssetClassId,
    class_name: String,
    status: Status,
    label: Option<String>,
    dismiss_reason: Option<String>,
    published_probability: f64,
    opened_at: Timestamp,
    failed_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
    repair_hours: Option<f64>,
    downtime_cost_per_h: Option<f64>,
}

/// Scorecards of the predictions opened in `[from, to)`, by model and asset class, as row-level
/// security lets them be seen.
///
/// # Errors
/// When the database does.
pub async fn scorecards(
    connection: &mut PgConnection,
    from: Timestamp,
    to: Timestamp,
    class: Option<AssetClassId>,
) -> Result<Vec<CardOf>, sqlx::Error> {
    let stored: Vec<Stored> = sqlx::query_as(
        "SELECT coalesce(m.name, 'unknown') AS model, c.id AS class_id, c.name AS class_name, p.status, p.label,
                p.dismiss_reason, coalesce(p.published_probability, p.probability) AS published_probability, p.opened_at, p.failed_at, t.completed_at, f.repair_hours,
                s.downtime_cost_per_h
         FROM prediction p JOIN asset s ON s.id = p.asset_id JOIN asset_class c ON c.id = s.class_id
         LEFT JOIN model_version m ON m.id = p.model_version_id
         LEFT JOIN failure_mode f ON f.id = p.failure_mode_id LEFT JOIN ticket t ON t.id = p.ticket_id
         WHERE p.opened_at >= $1 AND p.opened_at < $2 AND ($3::uuid IS NULL OR c.id = $3)
         ORDER BY p.opened_at, p.id",
    )
    .bind(from)
    .bind(to)
    .bind(class)
    .fetch_all(connection)
    .await?;
    let mut groups: BTreeMap<(String, String, AssetClassId), Vec<Row>> = BTreeMap::new();
    for one in stored {
        let row = Row {
            status: one.status,
            label: one.label.as_deref().and_then(Label::parse),
            dismissed_as_false: one
                .dismiss_reason
                .is_some_and(|reason| reason.starts_with("false_alarm")),
            probability: one.published_probability,
            opened_at: one.opened_at,
            came_at: one.failed_at.or(one.completed_at),
            downtime: one.repair_hours.zip(one.downtime_cost_per_h),
        };
        groups
            .entry((one.model, one.class_name, one.class_id))
            .or_default()
            .push(row);
    }
    Ok(groups
        .into_iter()
        .map(|((model, class_name, class), rows)| CardOf {
            model,
            class,
            class_name,
            card: card(&rows),
        })
        .collect())
}

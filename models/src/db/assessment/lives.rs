//! How machines of a class ended: failures with the way they failed, and what renewed one before it did.
//!
//! Between a failure and its repair a machine is out of service: nothing that happens there is another failure, and
//! its next life begins when it is back.

use sqlx::PgConnection;

use super::Result;
use crate::id::{AssetClassId, AssetId, FailureModeId};
use crate::time::Timestamp;

/// The failures of the class $1 up to $2, one a moment and machine. Back in service is when the stop that covers the
/// failure ended (who enters one is seldom right to the minute) or the ticket that confirmed it was completed, the
/// later of both; it counts as still out where that had not come by $2.
macro_rules! failures {
    ($rest:literal) => {
        concat!(
            "WITH failure AS (
                 SELECT r.asset_id, r.failed_at, max(r.weight) AS weight, min(r.source) AS source,
                        (array_agg(r.failure_mode_id ORDER BY r.weight DESC, r.failure_mode_id)
                             FILTER (WHERE r.failure_mode_id IS NOT NULL))[1] AS failure_mode_id,
                        greatest(r.failed_at, max(d.until), max(t.until)) AS restored_at
                 FROM failure_report r JOIN asset a ON a.id = r.asset_id
                 LEFT JOIN LATERAL (
                     SELECT max(CASE WHEN d.ended_at <= $2 THEN d.ended_at ELSE $2 END) AS until FROM downtime d
                     WHERE d.tenant_id = r.tenant_id AND d.asset_id = r.asset_id AND NOT d.voided AND d.started_at <= $2
                       AND (d.ticket_id = r.ticket_id
                            OR (d.started_at <= r.failed_at + interval '1 hour'
                                AND (d.ended_at IS NULL OR d.ended_at > r.failed_at)))) d ON true
                 LEFT JOIN LATERAL (
                     SELECT max(t.completed_at) AS until FROM ticket t
                     WHERE t.tenant_id = r.tenant_id AND t.asset_id = r.asset_id AND t.completed_at > r.failed_at
                       AND t.completed_at <= $2
                       AND (t.id = r.ticket_id
                            OR (t.outcome = 'confirmed_failed' AND t.created_at <= r.failed_at + interval '1 day'))) t ON true
                 WHERE a.class_id = $1 AND r.failed_at <= $2
                 GROUP BY r.asset_id, r.failed_at) ",
            $rest
        )
    };
}

/// A failure of an asset, with how sure it is and who said so.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct ClassLabel {
    pub asset_id: AssetId,
    pub failed_at: Timestamp,
    /// When it was back in service; the moment of the failure where nobody knows.
    pub restored_at: Timestamp,
    pub weight: f64,
    pub source: String,
    pub failure_mode_id: Option<FailureModeId>,
    pub failure_mode_name: Option<String>,
}

/// Labels of a class up to `to`, by asset and time: failure reports with their weight, and predictions
/// that a ticket's findings confirmed before the machine failed (0.7: how long it would have run on
/// nobody knows), at the moment its work began.
///
/// # Errors
/// When the database does.
pub async fn class_labels(
    connection: &mut PgConnection,
    class: AssetClassId,
    to: Timestamp,
) -> Result<Vec<ClassLabel>> {
    sqlx::query_as(failures!(
        ", label AS (
             SELECT asset_id, failed_at, restored_at, weight, source, failure_mode_id FROM failure
             UNION ALL
             SELECT asset_id, prevented_at, greatest(prevented_at, completed_at), 0.7, 'prediction', failure_mode_id
             FROM (SELECT p.asset_id, coalesce(t.started_at, t.completed_at, p.closed_at, p.updated_at) AS prevented_at,
                          t.completed_at, coalesce(t.found_failure_mode_id, p.failure_mode_id) AS failure_mode_id
                   FROM prediction p JOIN asset a ON a.id = p.asset_id LEFT JOIN ticket t ON t.id = p.ticket_id
                   WHERE a.class_id = $1 AND p.label = 'confirmed_prevented') p
             WHERE prevented_at <= $2),
         placed AS (
             SELECT l.*, max(restored_at) OVER before AS back, lag(failed_at) OVER before AS last_at FROM label l
             WINDOW before AS (PARTITION BY asset_id ORDER BY failed_at, source
                               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)),
         counted AS (
             SELECT p.*, count(*) FILTER (WHERE back IS NULL OR (failed_at >= back AND failed_at > last_at))
                             OVER (PARTITION BY asset_id ORDER BY failed_at, source ROWS UNBOUNDED PRECEDING) AS n
             FROM placed p),
         one AS (
             SELECT asset_id, min(failed_at) AS failed_at, max(restored_at) AS restored_at, max(weight) AS weight,
                    coalesce(min(source) FILTER (WHERE source <> 'prediction'), 'prediction') AS source,
                    (array_agg(failure_mode_id ORDER BY failed_at, weight DESC, failure_mode_id)
                         FILTER (WHERE failure_mode_id IS NOT NULL))[1] AS failure_mode_id
             FROM counted GROUP BY asset_id, n)
         SELECT o.*, m.name AS failure_mode_name FROM one o LEFT JOIN failure_mode m ON m.id = o.failure_mode_id
         ORDER BY o.asset_id, o.failed_at"
    ))
    .bind(class)
    .bind(to)
    .fetch_all(connection)
    .await
}

/// One life of a machine.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct ClassLife {
    /// In running hours, or hours of the calendar where there is no meter that says how much of them it runs.
    pub age_h: f64,
    /// Or it was suspended: renewed in time, or it still lives.
    pub failed: bool,
    /// How it failed, where that was said.
    pub failure_mode_id: Option<FailureModeId>,
}

/// Lives of a class up to `at`. A machine is as good as new once a failure is repaired, and once work whose remedy is
/// `replaced` is done on it before it failed; that suspends a life. Of a machine whose installation nobody entered the
/// lives after its first failure count.
///
/// # Errors
/// When the database does.
pub async fn class_lives(
    connection: &mut PgConnection,
    class: AssetClassId,
    at: Timestamp,
) -> Result<Vec<ClassLife>> {
    sqlx::query_as(failures!(
        ", life AS (
             SELECT a.id, a.installed_at, coalesce(u.rate, 1) AS in_use
             FROM asset a
             LEFT JOIN LATERAL (SELECT m.id FROM meter m WHERE m.asset_id = a.id AND m.unit = 'h'
                                ORDER BY m.total DESC LIMIT 1) h ON true
             LEFT JOIN LATERAL (
                 SELECT least(1, (l.total - f.total) / (extract(epoch FROM l.at - f.at) / 3600))::float8 AS rate
                 FROM (SELECT r.at, r.total FROM meter_reading r
                       WHERE r.meter_id = h.id AND r.voided_at IS NULL AND r.at <= $2 ORDER BY r.at LIMIT 1) f,
                      (SELECT r.at, r.total FROM meter_reading r
                       WHERE r.meter_id = h.id AND r.voided_at IS NULL AND r.at <= $2 ORDER BY r.at DESC LIMIT 1) l
                 WHERE l.at >= f.at + interval '1 day' AND l.total > f.total) u ON true
             WHERE a.class_id = $1 AND (a.installed_at IS NULL OR a.installed_at < $2)),
         ending AS (
             SELECT f.asset_id, f.failed_at AS at, f.restored_at, true AS failed,
                    coalesce(f.failure_mode_id,
                             (SELECT s.failure_mode_id FROM failure s
                              WHERE s.asset_id = f.asset_id AND s.failed_at > f.failed_at AND s.failed_at < f.restored_at
                                AND s.failure_mode_id IS NOT NULL ORDER BY s.failed_at LIMIT 1)) AS failure_mode_id
             FROM failure f
             UNION ALL
             SELECT t.asset_id, t.completed_at, t.completed_at, false, NULL
             FROM ticket t JOIN asset a ON a.id = t.asset_id
             WHERE a.class_id = $1 AND t.completed_at <= $2 AND t.status IN ('completed', 'closed')
               AND t.remedy_code = 'replaced' AND t.outcome IS DISTINCT FROM 'confirmed_failed'),
         ended AS (
             SELECT l.id, l.in_use, e.at, e.failed, e.failure_mode_id,
                    greatest(l.installed_at, max(e.restored_at) OVER (PARTITION BY l.id ORDER BY e.at, e.failed DESC
                                                 ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS began
             FROM life l JOIN ending e ON e.asset_id = l.id)
         SELECT (extract(epoch FROM at - began) / 3600 * in_use)::float8 AS age_h, failed, failure_mode_id
         FROM ended WHERE at > began
         UNION ALL
         SELECT (extract(epoch FROM $2 - began) / 3600 * in_use)::float8, false, NULL
         FROM (SELECT l.in_use, greatest(l.installed_at, (SELECT max(e.restored_at) FROM ending e WHERE e.asset_id = l.id)) AS began
               FROM life l) l
         WHERE began < $2
         ORDER BY age_h, failed, failure_mode_id"
    ))
    .bind(class)
    .bind(at)
    .fetch_all(connection)
    .await
}

#[cfg(test)]
mod tests;

//! What time does to predictions that wait for a planner.

use serde_json::json;
use sqlx::PgConnection;

use super::add_event;
use crate::db::outbox;
use crate::id::{AssetId, PredictionId, TenantId};
use crate::prediction::{Lapse, Status, lapse as judge};
use crate::time::Timestamp;

/// How many woke and how many ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lapsed {
    pub woke: u32,
    pub expired: u32,
}

#[derive(Debug, sqlx::FromRow)]
struct Waiting {
    id: PredictionId,
    tenant_id: TenantId,
    asset_id: AssetId,
    status: Status,
    claimed: bool,
    snoozed_until: Option<Timestamp>,
    snooze_shutdown: bool,
    stands_still: bool,
    horizon_ends: Timestamp,
}

/// Wakes snoozed predictions whose moment has come or whose asset stands still, and ends those whose
/// horizon is over.
///
/// # Errors
/// When the database does.
pub async fn lapse(connection: &mut PgConnection, now: Timestamp) -> Result<Lapsed, sqlx::Error> {
    let waiting: Vec<Waiting> = sqlx::query_as(
        "SELECT p.id, p.tenant_id, p.asset_id, p.status, p.claimed_by IS NOT NULL AS claimed, p.snoozed_until,
                p.snooze_shutdown, s.status IN ('down', 'maintenance') AS stands_still,
                p.window_end + make_interval(hours => p.horizon_h) AS horizon_ends
         FROM prediction p JOIN asset s ON s.id = p.asset_id
         WHERE p.status IN ('new', 'in_review', 'snoozed')
           AND (p.window_end + make_interval(hours => p.horizon_h) <= $1
                OR (p.status = 'snoozed' AND (p.snoozed_until <= $1
                        OR (p.snooze_shutdown AND s.status IN ('down', 'maintenance')))))
         ORDER BY p.id LIMIT 500 FOR UPDATE OF p SKIP LOCKED",
    )
    .bind(now)
    .fetch_all(&mut *connection)
    .await?;
    let mut done = Lapsed::default();
    for one in waiting {
        let what = judge(
            one.status,
            one.snoozed_until,
            one.snooze_shutdown,
            one.stands_still,
            one.horizon_ends,
            now,
        );
        let (kind, to, reason) = match what {
            Some(Lapse::Woke) => {
                done.woke += 1;
                let to = if one.claimed {
                    Status::InReview
                } else {
                    Status::New
                };
                let reason = if one.stands_still && one.snooze_shutdown {
                    "the asset stands still"
                } else {
                    "its moment has come"
                };
                ("woke", to, reason)
            }
            Some(Lapse::HorizonOver) => {
                done.expired += 1;
                (
                    "expired",
                    Status::Expired,
                    "its horizon is over without a newer score",
                )
            }
            None => continue,
        };
        sqlx::query(
            "UPDATE prediction SET status = $2, snoozed_until = NULL, snooze_above = NULL, snooze_shutdown = false,
                 closed_at = CASE WHEN $2 = 'expired'::prediction_status THEN $3 END,
                 row_version = row_version + 1, updated_at = now()
             WHERE id = $1",
        )
        .bind(one.id)
        .bind(to)
        .bind(now)
        .execute(&mut *connection)
        .await?;
        let detail = json!({ "from": one.status, "reason": reason });
        add_event(connection, one.tenant_id, one.id, kind, "dispatch", &detail).await?;
        let told = format!("prediction.{kind}");
        let subject = one.id.to_string();
        outbox::append(
            connection,
            one.tenant_id,
            &told,
            &subject,
            Some(one.asset_id),
            &detail,
        )
        .await?;
    }
    Ok(done)
}

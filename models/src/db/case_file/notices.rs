//! Which cases people are told of, in groups and not too often ([`case::notice`]).

use serde_json::json;
use sqlx::PgConnection;

use crate::alarm::Severity;
use crate::case::{self, Grouping, Notice, Telling};
use crate::db::outbox;
use crate::id::{AssetId, CaseId, TenantId};
use crate::time::Timestamp;

/// How many were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub opened: u32,
    pub news: u32,
    pub repeats: u32,
}

#[derive(Debug, sqlx::FromRow)]
struct Open {
    id: CaseId,
    tenant_id: TenantId,
    asset_id: AssetId,
    title: String,
    severity: Severity,
    opened_at: Timestamp,
    news_at: Timestamp,
    notified_at: Option<Timestamp>,
    seen_to: bool,
    silenced: bool,
    alarms: i64,
    predictions: i64,
}

/// Writes an event `case.notice` for every open case that is to be told of now, and remembers it. Two
/// processes tell once: the case is locked.
///
/// # Errors
/// When the database does.
pub async fn tell(
    connection: &mut PgConnection,
    grouping: &Grouping,
    now: Timestamp,
) -> Result<Told, sqlx::Error> {
    let open: Vec<Open> = sqlx::query_as(
        "SELECT c.id, c.tenant_id, c.asset_id, c.title, c.severity, c.opened_at, c.news_at, c.notified_at, f.*
         FROM case_file c CROSS JOIN LATERAL (
             SELECT EXISTS (SELECT FROM ticket t WHERE t.case_id = c.id
                              AND t.status NOT IN ('completed', 'closed', 'cancelled'))
                    OR coalesce(bool_and(a.acked_at IS NOT NULL) FILTER (WHERE a.condition <> 'inactive'), false) AS seen_to,
                    count(*) FILTER (WHERE a.condition <> 'inactive') AS alarms,
                    (SELECT count(*) FROM prediction p WHERE p.case_id = c.id
                       AND p.status IN ('new', 'in_review', 'snoozed')) AS predictions,
                    coalesce(bool_and(a.suppression IN ('by_design', 'out_of_service')
                                      OR (a.suppression = 'shelved' AND a.suppressed_until > $1)), false)
                        AND NOT EXISTS (SELECT FROM prediction p WHERE p.case_id = c.id
                                          AND p.status IN ('new', 'in_review')) AS silenced
             FROM alarm a WHERE a.case_id = c.id) f
         WHERE c.closed_at IS NULL
           AND CASE WHEN c.notified_at IS NULL THEN $1 >= c.opened_at + make_interval(secs => $2)
                    WHEN c.news_at > c.notified_at THEN $1 >= c.notified_at + make_interval(secs => $3)
                    ELSE $1 >= c.notified_at + make_interval(secs => $4) END
         ORDER BY c.id LIMIT 500 FOR UPDATE OF c SKIP LOCKED",
    )
    .bind(now)
    .bind(grouping.wait.as_secs_f64())
    .bind(grouping.interval.as_secs_f64())
    .bind(grouping.repeat.as_secs_f64())
    .fetch_all(&mut *connection)
    .await?;
    let mut told = Told::default();
    for one in open {
        let telling = Telling {
            opened_at: one.opened_at,
            news_at: one.news_at,
            notified_at: one.notified_at,
            seen_to: one.seen_to,
            silenced: one.silenced,
        };
        let Some(notice) = case::notice(&telling, now, grouping) else {
            continue;
        };
        match notice {
            Notice::Opened => told.opened += 1,
            Notice::News => told.news += 1,
            Notice::Repeat => told.repeats += 1,
        }
        sqlx::query("UPDATE case_file SET notified_at = $2 WHERE id = $1")
            .bind(one.id)
            .bind(now)
            .execute(&mut *connection)
            .await?;
        let detail = json!({
            "notice": notice.name(),
            "title": one.title,
            "severity": one.severity,
            "alarms": one.alarms,
            "predictions": one.predictions,
        });
        let subject = one.id.to_string();
        outbox::append(
            connection,
            one.tenant_id,
            "case.notice",
            &subject,
            Some(one.asset_id),
            &detail,
        )
        .await?;
    }
    Ok(told)
}

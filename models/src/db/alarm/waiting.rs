//! Alarms that wait for people: acknowledgement, its timeout, and the next level.

use serde_json::json;
use sqlx::PgConnection;

use super::evaluate::add_event;
use crate::alarm::{Escalation, Patience, escalation};
use crate::db::outbox;
use crate::id::{AlarmId, AssetId, TenantId};
use crate::time::Timestamp;

/// What one look told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Escalated {
    /// Nobody had acknowledged in time.
    pub next_level: u32,
    /// The acknowledgement counted no longer.
    pub ask_again: u32,
}

#[derive(Debug, sqlx::FromRow)]
struct Waiting {
    id: AlarmId,
    tenant_id: TenantId,
    asset_id: AssetId,
    rule_name: String,
    acked: bool,
    has_ticket: bool,
    escalation_level: i32,
    since: Timestamp,
    escalate_after_s: f64,
    ack_lasts_s: f64,
}

/// Tells the next level of raised alarms that have waited too long. Rules may set both times; `usual`
/// holds for the others. Suppressed alarms wait for nobody.
///
/// # Errors
/// When the database does.
pub async fn escalate(
    connection: &mut PgConnection,
    usual: &Patience,
    now: Timestamp,
) -> Result<Escalated, sqlx::Error> {
    let waiting: Vec<Waiting> = sqlx::query_as(
        "SELECT a.id, a.tenant_id, a.asset_id, r.name AS rule_name, a.acked_at IS NOT NULL AS acked, t.has_ticket,
                a.escalation_level, p.since, p.escalate_after_s, p.ack_lasts_s
         FROM alarm a JOIN alarm_rule r ON r.id = a.rule_id
         CROSS JOIN LATERAL (
             SELECT coalesce(a.told_at, a.active_at) AS since,
                    coalesce((r.params->>'escalate_after_s')::float8, $2) AS escalate_after_s,
                    coalesce((r.params->>'ack_lasts_s')::float8, $3) AS ack_lasts_s) p
         CROSS JOIN LATERAL (
             SELECT EXISTS (SELECT FROM ticket t WHERE t.case_id = a.case_id
                              AND t.status NOT IN ('completed', 'closed', 'cancelled')) AS has_ticket) t
         WHERE a.condition IN ('active', 'clearing')
           AND (a.suppression = 'none' OR (a.suppression = 'shelved' AND a.suppressed_until <= $1))
           AND $1 >= p.since
                     + make_interval(secs => CASE WHEN a.acked_at IS NULL THEN p.escalate_after_s ELSE p.ack_lasts_s END)
           AND CASE WHEN a.acked_at IS NULL THEN a.escalation_level < $4 ELSE NOT t.has_ticket END
         ORDER BY a.id LIMIT 1000
         FOR UPDATE OF a SKIP LOCKED",
    )
    .bind(now)
    .bind(usual.escalate_after.as_secs_f64())
    .bind(usual.ack_lasts.as_secs_f64())
    .bind(usual.levels)
    .fetch_all(&mut *connection)
    .await?;
    let mut done = Escalated::default();
    for one in waiting {
        let patience = Patience {
            escalate_after: seconds(one.escalate_after_s),
            ack_lasts: seconds(one.ack_lasts_s),
            levels: usual.levels,
        };
        let level = one.escalation_level;
        let (level, again) = match escalation(one.acked, one.has_ticket, level, one.since, now, &patience) {
            Some(Escalation::NextLevel(level)) => (level, false),
            Some(Escalation::AsksAgain(level)) => (level, true),
            None => continue,
        };
        sqlx::query(
            "UPDATE alarm SET escalation_level = $2, told_at = $3, row_version = row_version + 1, updated_at = now(),
                 acked_at = CASE WHEN $4 THEN NULL ELSE acked_at END, acked_by = CASE WHEN $4 THEN NULL ELSE acked_by END
             WHERE id = $1",
        )
        .bind(one.id)
        .bind(level)
        .bind(now)
        .bind(again)
        .execute(&mut *connection)
        .await?;
        let why = if again {
            done.ask_again += 1;
            format!("acknowledged {} s ago, and there is no ticket", one.ack_lasts_s)
        } else {
            done.next_level += 1;
            format!("nobody has acknowledged it within {} s", one.escalate_after_s)
        };
        let detail = json!({ "level": level, "rule": one.rule_name, "reason": why });
        add_event(
            connection,
            one.tenant_id,
            one.id,
            "escalated",
            "dispatch",
            &detail,
        )
        .await?;
        let subject = one.id.to_string();
        outbox::append(
            connection,
            one.tenant_id,
            "alarm.escalated",
            &subject,
            Some(one.asset_id),
            &detail,
        )
        .await?;
    }
    Ok(done)
}

fn seconds(value: f64) -> std::time::Duration {
    std::time::Duration::try_from_secs_f64(value.max(0.0)).unwrap_or(std::time::Duration::MAX)
}

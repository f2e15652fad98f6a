//! Suppression by the plant's own state: what it says about an alarm.
//!
//! A reconciler, like dispatch: it compares the raised alarms with the state of the plant and changes
//! those that differ, in both directions. Nothing is lost: a suppressed alarm is recorded, shown, and
//! told again when its cause ends.
//!
//! *Out of service* is what is not meant to run: the asset, or what it is part of, is in storage or
//! disposed of. *By design* is what is expected of one that is: maintenance, a lock, a stopped parent, a
//! gateway that is away.

use serde_json::json;
use sqlx::PgConnection;

use super::evaluate::add_event;
use crate::alarm::Suppression;
use crate::db::outbox;
use crate::id::{AlarmId, AssetId, TenantId};
use crate::time::Timestamp;

/// What one look changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suppressed {
    pub suppressed: u32,
    /// Its cause is over: the alarm speaks again.
    pub ended: u32,
}

#[derive(Debug, sqlx::FromRow)]
struct Differs {
    id: AlarmId,
    tenant_id: TenantId,
    asset_id: AssetId,
    /// What it becomes; `None` = nothing suppresses it any more.
    becomes: Suppression,
    cause: Option<String>,
}

/// Suppresses raised alarms whose asset is in maintenance or locked out, is part of one that is down,
/// in maintenance or locked out (however far up), or whose silence is its gateway's; and those whose asset,
/// or one that it is part of, is out of service. Ends the suppression of those whose cause is over. A
/// person's shelf stays a shelf. Rules that say `never_suppressed` are silent only out of service: what
/// is in storage endangers nobody. `offline_s`: seconds without a message after which a gateway counts as
/// offline.
///
/// # Errors
/// When the database does.
pub async fn suppress_by_plant(
    connection: &mut PgConnection,
    now: Timestamp,
    offline_s: f64,
) -> Result<Suppressed, sqlx::Error> {
    let differing: Vec<Differs> = sqlx::query_as(
        "SELECT a.id, a.tenant_id, a.asset_id, cause.becomes, cause.text AS cause
         FROM alarm a JOIN alarm_rule r ON r.id = a.rule_id
         LEFT JOIN LATERAL (
             WITH RECURSIVE up AS (
                 SELECT s.id, s.name, s.status, s.parent_id, 0 AS height FROM asset s WHERE s.id = a.asset_id
                 UNION ALL
                 SELECT p.id, p.name, p.status, p.parent_id, height + 1 FROM asset p JOIN up ON p.id = up.parent_id
                 WHERE height < 16)
             SELECT status IN ('in_storage', 'disposed') AS away,
                    CASE WHEN status = 'in_storage' THEN name || ' is in storage'
                         WHEN status = 'disposed' THEN name || ' has been disposed of'
                         WHEN k.lock_tag IS NOT NULL THEN name || ' is locked out, tag ' || k.lock_tag
                         WHEN status = 'down' THEN name || ' is down'
                         ELSE name || ' is in maintenance: alarms are expected, and somebody is there' END
                    || CASE WHEN height > 0 THEN ' (this asset is part of it)' ELSE '' END AS text
             FROM up LEFT JOIN LATERAL (
                 SELECT min(l.tag) AS lock_tag FROM loto_lock l
                 WHERE l.tenant_id = a.tenant_id AND l.asset_id = up.id AND l.removed_at IS NULL) k ON true
             WHERE status IN ('maintenance', 'in_storage', 'disposed') OR (height > 0 AND status = 'down')
                OR k.lock_tag IS NOT NULL
             ORDER BY away DESC, height LIMIT 1) plant ON true
         LEFT JOIN LATERAL (
             SELECT 'gateway ' || g.slug || ' is offline, so nothing is known of its channels' AS text
             FROM channel c JOIN device d ON d.id = c.device_id JOIN gateway g ON g.id = d.gateway_id
             WHERE r.kind = 'no_data' AND c.id = a.channel_id
               AND (SELECT max(l.last_at) FROM ledger l WHERE l.gateway_id = g.id)
                   < $1 - make_interval(secs => $2)) gateway ON true
         CROSS JOIN LATERAL (
             SELECT CASE WHEN plant.away THEN plant.text
                         WHEN coalesce((r.params->>'never_suppressed')::boolean, false) THEN NULL
                         ELSE coalesce(plant.text, gateway.text) END AS text) why
         CROSS JOIN LATERAL (
             SELECT why.text, CASE WHEN why.text IS NULL THEN 'none' WHEN plant.away THEN 'out_of_service'
                                   ELSE 'by_design' END::alarm_suppression AS becomes) cause
         WHERE a.active_at IS NOT NULL
           AND (a.condition <> 'inactive'
                OR (a.suppression IN ('by_design', 'out_of_service') AND a.closed_at IS NULL))
           AND CASE WHEN a.condition = 'inactive' THEN cause.text IS NULL
                    WHEN a.suppression IN ('by_design', 'out_of_service')
                        THEN (a.suppression, a.suppression_reason) IS DISTINCT FROM (cause.becomes, cause.text)
                    WHEN a.suppression = 'none' OR (a.suppression = 'shelved' AND a.suppressed_until <= $1)
                        THEN cause.text IS NOT NULL
                    ELSE false END
         ORDER BY a.id LIMIT 2000
         FOR UPDATE OF a SKIP LOCKED",
    )
    .bind(now)
    .bind(offline_s)
    .fetch_all(&mut *connection)
    .await?;
    let mut done = Suppressed::default();
    for one in differing {
        sqlx::query(
            "UPDATE alarm SET suppression = $4, suppressed_until = NULL, suppression_reason = $2, row_version = row_version + 1, updated_at = now(),
                 told_at = CASE WHEN $2::text IS NULL THEN $3 ELSE told_at END
             WHERE id = $1",
        )
        .bind(one.id)
        .bind(&one.cause)
        .bind(now)
        .bind(one.becomes)
        .execute(&mut *connection)
        .await?;
        let kind = if one.cause.is_some() {
            done.suppressed += 1;
            "suppressed"
        } else {
            done.ended += 1;
            "unsuppressed"
        };
        let detail = json!({ "reason": one.cause, "suppression": one.becomes });
        add_event(connection, one.tenant_id, one.id, kind, "dispatch", &detail).await?;
        let told = format!("alarm.{kind}");
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

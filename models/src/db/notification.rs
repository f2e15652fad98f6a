//! SQL of messages to people: rules, what is due to whom, what was sent.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;

use crate::alarm::Severity;
use crate::db::outbox;
use crate::id::{NotificationId, NotificationRuleId, TenantId, UserId};
use crate::notification::{Timing, plan, severity_of};
use crate::tenant::MemberRole;
use crate::time::Timestamp;
use crate::webhook::wants;

/// Attempts after which a message is given up.
const MOST_ATTEMPTS: i32 = 8;

#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = NotificationRule))]
pub struct RuleRow {
    pub id: NotificationRuleId,
    pub name: String,
    pub role: Option<MemberRole>,
    pub user_id: Option<UserId>,
    /// `email` or `webhook`.
    pub channel: String,
    pub webhook_url: Option<String>,
    pub kinds: Vec<String>,
    pub min_severity: Severity,
    pub quiet_from: Option<String>,
    pub quiet_to: Option<String>,
    pub break_through: Severity,
    pub digest_minutes: i32,
    pub time_zone: String,
    pub enabled: bool,
}

/// # Errors
/// When the database does.
pub async fn rules(connection: &mut PgConnection) -> Result<Vec<RuleRow>, sqlx::Error> {
    sqlx::query_as("SELECT * FROM notification_rule ORDER BY name")
        .fetch_all(connection)
        .await
}

/// Who hears of what, and when not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewNotificationRule {
    #[cfg_attr(feature = "openapi", schema(example = "planners"))]
    pub name: String,
    /// Every member of the role; or `user_id`, one person.
    #[serde(default)]
    pub role: Option<MemberRole>,
    #[serde(default)]
    pub user_id: Option<UserId>,
    /// `email` or `webhook`.
    #[cfg_attr(feature = "openapi", schema(example = "email"))]
    pub channel: String,
    #[serde(default)]
    pub webhook_url: Option<String>,
    /// `*`, groups such as `ticket.*`, kinds such as `ticket.sla_breached`.
    #[cfg_attr(feature = "openapi", schema(example = json!(["alarm.raised", "ticket.sla_breached"])))]
    pub kinds: Vec<String>,
    #[serde(default = "info")]
    pub min_severity: Severity,
    /// Times of day on the clocks of `time_zone`: `22:00`.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(example = "22:00"))]
    pub quiet_from: Option<String>,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(example = "06:00"))]
    pub quiet_to: Option<String>,
    /// From this severity on nothing holds it back.
    #[serde(default = "critical")]
    pub break_through: Severity,
    /// Gathers for so long; 0 = at once.
    #[serde(default)]
    pub digest_minutes: i32,
    #[cfg_attr(feature = "openapi", schema(example = "Europe/Berlin"))]
    pub time_zone: String,
}

fn info() -> Severity {
    Severity::Info
}

fn critical() -> Severity {
    Severity::Critical
}

/// # Errors
/// `notification_rule_tenant_id_name_key` when the name is taken; a check when it fits together badly.
pub async fn create(
    connection: &mut PgConnection,
    tenant: TenantId,
    id: NotificationRuleId,
    new: &NewNotificationRule,
    secret: Option<&str>,
    actor: &str,
) -> Result<(), sqlx::Error> {
    let after = outbox::head(connection).await?;
    sqlx::query(
        "INSERT INTO notification_rule (id, tenant_id, name, role, user_id, channel, webhook_url, webhook_secret, kinds,
             min_severity, quiet_from, quiet_to, break_through, digest_minutes, time_zone, after_id, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
    )
    .bind(id)
    .bind(tenant)
    .bind(&new.name)
    .bind(new.role)
    .bind(new.user_id)
    .bind(&new.channel)
    .bind(&new.webhook_url)
    .bind(secret)
    .bind(&new.kinds)
    .bind(new.min_severity)
    .bind(&new.quiet_from)
    .bind(&new.quiet_to)
    .bind(new.break_through)
    .bind(new.digest_minutes)
    .bind(&new.time_zone)
    .bind(after)
    .bind(actor)
    .execute(connection)
    .await?;
    Ok(())
}

/// # Errors
/// When the database does.
pub async fn remove(connection: &mut PgConnection, id: NotificationRuleId) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("DELETE FROM notification_rule WHERE id = $1")
        .bind(id)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}

#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Notification))]
pub struct NotificationRow {
    pub id: NotificationId,
    pub rule_id: NotificationRuleId,
    pub user_id: UserId,
    pub recipient: String,
    pub severity: Severity,
    pub line: String,
    /// Why it did not leave at once: `quiet hours`, `digest`.
    pub held_for: Option<String>,
    pub due_at: Timestamp,
    pub attempts: i32,
    pub sent_at: Option<Timestamp>,
    pub failed_at: Option<Timestamp>,
    pub error: Option<String>,
}

/// The log, newest first.
///
/// # Errors
/// When the database does.
pub async fn log(
    connection: &mut PgConnection,
    after: Option<NotificationId>,
    limit: i64,
) -> Result<Vec<NotificationRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, rule_id, user_id, recipient, severity, line, held_for, due_at, attempts, sent_at, failed_at, error
         FROM notification WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await
}

#[derive(sqlx::FromRow)]
struct Reader {
    id: NotificationRuleId,
    role: Option<MemberRole>,
    user_id: Option<UserId>,
    kinds: Vec<String>,
    min_severity: Severity,
    quiet_from: Option<String>,
    quiet_to: Option<String>,
    break_through: Severity,
    digest_minutes: i32,
    time_zone: String,
    after_id: i64,
}

/// Turns new events into lines for people and gives how many.
///
/// # Errors
/// When the database does.
pub async fn fan_out(
    connection: &mut PgConnection,
    tenant: TenantId,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    let readers: Vec<Reader> = sqlx::query_as(
        "SELECT * FROM notification_rule WHERE tenant_id = $1 AND enabled ORDER BY id FOR UPDATE SKIP LOCKED",
    )
    .bind(tenant)
    .fetch_all(&mut *connection)
    .await?;
    let mut made = 0;
    for reader in readers {
        let events = outbox::read_after(connection, reader.after_id, 500).await?;
        let Some(last) = events.last().map(|event| event.id) else {
            continue;
        };
        let quiet = reader.quiet_from.as_deref().zip(reader.quiet_to.as_deref());
        let timing = Timing::new(
            &reader.time_zone,
            quiet,
            reader.digest_minutes,
            reader.min_severity,
            reader.break_through,
        );
        match timing {
            Ok(timing) => {
                for event in &events {
                    made += tell(connection, tenant, &reader, &timing, event, now).await?;
                }
            }
            // Checked when it was made; a zone may have left the database of zones since.
            Err(error) => tracing::error!(rule = %reader.id, %error, "a notification rule can't be read"),
        }
        sqlx::query("UPDATE notification_rule SET after_id = $2 WHERE id = $1")
            .bind(reader.id)
            .bind(last)
            .execute(&mut *connection)
            .await?;
    }
    Ok(made)
}

async fn tell(
    connection: &mut PgConnection,
    tenant: TenantId,
    reader: &Reader,
    timing: &Timing,
    event: &outbox::Event,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    // An escalation goes to its role whatever the rule's kinds and floor are.
    let escalated = reader.role.is_some()
        && event
            .data
            .get("escalate_to")
            .and_then(|role| serde_json::from_value(role.clone()).ok())
            == reader.role;
    if !escalated && !wants(&reader.kinds, &event.kind) {
        return Ok(0);
    }
    let severity = if escalated {
        Severity::Critical
    } else {
        severity_of(&event.kind, &event.data)
    };
    let Some(due) = plan(timing, severity, now) else {
        return Ok(0);
    };
    let asset: Option<String> = sqlx::query_scalar("SELECT name FROM asset WHERE id = $1")
        .bind(event.asset_id)
        .fetch_optional(&mut *connection)
        .await?;
    let line = line_of(&event.kind, asset.as_deref(), &event.subject, &event.data);
    // Who belongs to one site hears of that site.
    let people: Vec<(UserId, String)> = sqlx::query_as(
        "SELECT u.id, u.email FROM membership m JOIN app_user u ON u.id = m.user_id
         WHERE m.tenant_id = $1 AND ($2::member_role IS NULL OR m.role = $2) AND ($3::uuid IS NULL OR m.user_id = $3)
           AND (m.site_id IS NULL OR EXISTS (SELECT FROM asset a WHERE a.id = $4 AND a.site_id = m.site_id))
         ORDER BY u.id",
    )
    .bind(tenant)
    .bind(reader.role)
    .bind(reader.user_id)
    .bind(event.asset_id)
    .fetch_all(&mut *connection)
    .await?;
    let mut made = 0;
    for (user, recipient) in people {
        made += sqlx::query(
            "INSERT INTO notification (id, tenant_id, rule_id, event_id, user_id, recipient, severity, line, held_for, due_at,
                 created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             ON CONFLICT (rule_id, event_id, user_id) DO NOTHING",
        )
        .bind(NotificationId::new())
        .bind(tenant)
        .bind(reader.id)
        .bind(event.id)
        .bind(user)
        .bind(recipient)
        .bind(severity)
        .bind(&line)
        .bind(due.held_for)
        .bind(due.at)
        .bind(now)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    }
    Ok(made)
}

/// One line a person understands: what, where, and the words the event brings.
fn line_of(kind: &str, asset: Option<&str>, subject: &str, data: &Value) -> String {
    let what = kind.replace(['.', '_'], " ");
    let number = data
        .get("number")
        .and_then(Value::as_i64)
        .map(|number| format!(" #{number}"));
    let words: Vec<String> = [
        "title",
        "clock",
        "percent",
        "status",
        "to",
        "reason",
        "part_number",
        "text",
    ]
    .iter()
    .filter_map(|field| match data.get(*field)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) if *field == "percent" => Some(format!("{number} %")),
        _ => None,
    })
    .collect();
    let place = asset.map_or_else(|| subject.to_owned(), str::to_owned);
    let said = if words.is_empty() {
        String::new()
    } else {
        format!(": {}", words.join(", "))
    };
    format!("{place}: {what}{}{said}", number.unwrap_or_default())
}

/// Lines that leave together.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub rule: NotificationRuleId,
    pub channel: String,
    pub webhook_url: Option<String>,
    pub webhook_secret: Option<String>,
    pub recipient: String,
    pub ids: Vec<NotificationId>,
    pub lines: Vec<(Severity, String)>,
}

/// Takes what is due; it is due again at `until` unless it is settled before.
///
/// # Errors
/// When the database does.
pub async fn claim(
    connection: &mut PgConnection,
    tenant: TenantId,
    now: Timestamp,
    until: Timestamp,
) -> Result<Vec<Message>, sqlx::Error> {
    type Row = (
        NotificationId,
        NotificationRuleId,
        String,
        Option<String>,
        Option<String>,
        String,
        Severity,
        String,
    );
    let rows: Vec<Row> = sqlx::query_as(
        "WITH due AS (
             SELECT id FROM notification WHERE tenant_id = $1 AND due_at <= $2 AND sent_at IS NULL AND failed_at IS NULL
             ORDER BY due_at, id LIMIT 500 FOR UPDATE SKIP LOCKED)
         UPDATE notification n SET due_at = $3, attempts = n.attempts + 1
         FROM due, notification_rule r WHERE n.id = due.id AND r.id = n.rule_id
         RETURNING n.id, n.rule_id, r.channel, r.webhook_url, r.webhook_secret, n.recipient, n.severity, n.line",
    )
    .bind(tenant)
    .bind(now)
    .bind(until)
    .fetch_all(connection)
    .await?;
    let mut messages: Vec<Message> = Vec::new();
    for (id, rule, channel, webhook_url, webhook_secret, recipient, severity, line) in rows {
        let together = messages
            .iter_mut()
            .find(|message| message.rule == rule && message.recipient == recipient);
        match together {
            Some(message) => {
                message.ids.push(id);
                message.lines.push((severity, line));
            }
            None => messages.push(Message {
                rule,
                channel,
                webhook_url,
                webhook_secret,
                recipient,
                ids: vec![id],
                lines: vec![(severity, line)],
            }),
        }
    }
    Ok(messages)
}

/// Writes what came of a message. One that failed is tried again, later each time, and given up at last.
///
/// # Errors
/// When the database does.
pub async fn settle(
    connection: &mut PgConnection,
    ids: &[NotificationId],
    error: Option<&str>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE notification SET sent_at = CASE WHEN $2::text IS NULL THEN $3::timestamptz END, error = $2,
             due_at = CASE WHEN $2 IS NULL THEN due_at ELSE $3 + make_interval(mins => (2 ^ attempts)::int) END,
             failed_at = CASE WHEN $2 IS NOT NULL AND attempts >= $4 THEN $3 END
         WHERE id = ANY ($1)",
    )
    .bind(ids)
    .bind(error)
    .bind(now)
    .bind(MOST_ATTEMPTS)
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_what_and_where() {
        let data = json!({ "number": 7, "title": "Bearing wear", "priority": "high" });
        assert_eq!(
            line_of("ticket.created", Some("P-101"), "tkt_1", &data),
            "P-101: ticket created #7: Bearing wear"
        );
        let data = json!({ "number": 7, "clock": "restore", "percent": 80 });
        assert_eq!(
            line_of("ticket.sla_warning", Some("P-101"), "x", &data),
            "P-101: ticket sla warning #7: restore, 80 %"
        );
        assert_eq!(
            line_of("webhook.disabled", None, "whk_1", &json!({})),
            "whk_1: webhook disabled"
        );
    }
}

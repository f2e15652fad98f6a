//! SQL of webhooks: endpoints, what is to be delivered, what came of it.
//!
//! An event becomes one delivery for each endpoint that wants it ([`fan_out`]; the unique key decides).
//! A sender takes a delivery for some time ([`claim`]), calls, and writes what came of it ([`settle`]);
//! one that dies in between leaves it to the next when the time is over. So an event is delivered at
//! least once, always under the same id.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::db::outbox;
use crate::id::{DeliveryId, TenantId, WebhookId};
use crate::people::words;
use crate::time::Timestamp;
use crate::webhook::{DISABLE_AFTER_S, Happened, body, next_attempt, wants};

words! {
    DeliveryStatus ("delivery_status") {
        Pending = "pending",
        Delivered = "delivered",
        /// Given up; a replay tries again.
        Failed = "failed",
    }
}

/// An endpoint without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Webhook))]
pub struct WebhookRow {
    pub id: WebhookId,
    pub name: String,
    pub url: String,
    /// `*`, groups such as `ticket.*`, kinds such as `ticket.created`.
    pub kinds: Vec<String>,
    /// Bodies as CloudEvents 1.0 in structured mode.
    pub cloud_events: bool,
    pub enabled: bool,
    pub disabled_reason: Option<String>,
    pub failing_since: Option<Timestamp>,
    /// Until when the old secret signs beside the new one.
    pub previous_until: Option<Timestamp>,
    pub created_by: String,
    pub created_at: Timestamp,
    pub row_version: i32,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, url, kinds, cloud_events, enabled, disabled_reason, failing_since, previous_until, created_by,
                    created_at, row_version FROM webhook ",
            $rest
        )
    };
}

/// # Errors
/// When the database does.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<WebhookRow>, sqlx::Error> {
    sqlx::query_as(select!("ORDER BY name"))
        .fetch_all(connection)
        .await
}

/// # Errors
/// When the database does.
pub async fn get(connection: &mut PgConnection, id: WebhookId) -> Result<Option<WebhookRow>, sqlx::Error> {
    sqlx::query_as(select!("WHERE id = $1"))
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// An endpoint to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewWebhook<'a> {
    pub id: WebhookId,
    pub tenant: TenantId,
    pub name: &'a str,
    pub url: &'a str,
    pub kinds: &'a [String],
    pub cloud_events: bool,
    /// `whsec_…`, sealed where there is a key for it.
    pub secret: &'a str,
}

/// Makes an endpoint that hears of what happens from now on.
///
/// # Errors
/// `webhook_tenant_id_name_key` when the name is taken.
pub async fn create(
    connection: &mut PgConnection,
    new: &NewWebhook<'_>,
    actor: &str,
) -> Result<(), sqlx::Error> {
    let after = outbox::head(connection).await?;
    sqlx::query(
        "INSERT INTO webhook (id, tenant_id, name, url, kinds, cloud_events, secret, after_id, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(new.id)
    .bind(new.tenant)
    .bind(new.name)
    .bind(new.url)
    .bind(new.kinds)
    .bind(new.cloud_events)
    .bind(new.secret)
    .bind(after)
    .bind(actor)
    .execute(connection)
    .await?;
    Ok(())
}

/// What is changed on an endpoint; `None` = as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookEdit {
    pub url: Option<String>,
    pub kinds: Option<Vec<String>>,
    pub cloud_events: Option<bool>,
    /// Switched on again it goes on with what happened since; deliveries that were given up stay so.
    pub enabled: Option<bool>,
}

/// # Errors
/// When the database does.
pub async fn change(
    connection: &mut PgConnection,
    id: WebhookId,
    edit: &WebhookEdit,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE webhook SET url = coalesce($2, url), kinds = coalesce($3, kinds),
             cloud_events = coalesce($4, cloud_events), enabled = coalesce($5, enabled),
             disabled_reason = CASE WHEN $5 THEN NULL ELSE disabled_reason END,
             failing_since = CASE WHEN $5 THEN NULL ELSE failing_since END, row_version = row_version + 1
         WHERE id = $1",
    )
    .bind(id)
    .bind(&edit.url)
    .bind(&edit.kinds)
    .bind(edit.cloud_events)
    .bind(edit.enabled)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// # Errors
/// When the database does.
pub async fn remove(connection: &mut PgConnection, id: WebhookId) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("DELETE FROM webhook WHERE id = $1")
        .bind(id)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Gives a new secret; the old one signs beside it until `until`.
///
/// # Errors
/// When the database does.
pub async fn rotate(
    connection: &mut PgConnection,
    id: WebhookId,
    secret: &str,
    until: Timestamp,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE webhook SET previous_secret = secret, previous_until = $3, secret = $2, row_version = row_version + 1
         WHERE id = $1",
    )
    .bind(id)
    .bind(secret)
    .bind(until)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// All tenants, for the loops that act for one after the other.
///
/// # Errors
/// When the database does.
pub async fn tenants(connection: &mut PgConnection) -> Result<Vec<TenantId>, sqlx::Error> {
    sqlx::query_scalar("SELECT tenant_ids()")
        .fetch_all(connection)
        .await
}

/// Turns new events into deliveries and gives how many. Endpoints that another process is at are left
/// to it.
///
/// # Errors
/// When the database does.
pub async fn fan_out(
    connection: &mut PgConnection,
    tenant: TenantId,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    let endpoints: Vec<(WebhookId, Vec<String>, bool, i64)> = sqlx::query_as(
        "SELECT id, kinds, cloud_events, after_id FROM webhook WHERE tenant_id = $1 AND enabled
         ORDER BY id FOR UPDATE SKIP LOCKED",
    )
    .bind(tenant)
    .fetch_all(&mut *connection)
    .await?;
    let mut made = 0;
    for (webhook, kinds, cloud_events, after) in endpoints {
        let events = outbox::read_after(connection, after, 500).await?;
        let Some(last) = events.last().map(|event| event.id) else {
            continue;
        };
        for event in events.iter().filter(|event| wants(&kinds, &event.kind)) {
            let id = DeliveryId::new();
            let name = id.to_string();
            let said = Happened {
                id: &name,
                at: event.at,
                kind: &event.kind,
                subject: &event.subject,
                asset: event.asset_id.map(|asset| asset.to_string()),
                tenant: &tenant.to_string(),
                data: &event.data,
            };
            made += sqlx::query(
                "INSERT INTO webhook_delivery (id, tenant_id, webhook_id, event_id, kind, payload, next_at, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (webhook_id, event_id) DO NOTHING",
            )
            .bind(id)
            .bind(tenant)
            .bind(webhook)
            .bind(event.id)
            .bind(&event.kind)
            .bind(body(&said, cloud_events))
            .bind(now)
            .execute(&mut *connection)
            .await?
            .rows_affected();
        }
        sqlx::query("UPDATE webhook SET after_id = $2 WHERE id = $1")
            .bind(webhook)
            .bind(last)
            .execute(&mut *connection)
            .await?;
    }
    Ok(made)
}

/// A delivery in somebody's hands.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Claimed {
    pub id: DeliveryId,
    pub webhook_id: WebhookId,
    pub url: String,
    pub payload: Value,
    pub cloud_events: bool,
    pub secret: String,
    pub previous_secret: Option<String>,
    pub previous_until: Option<Timestamp>,
    pub attempts: i32,
}

/// Takes deliveries that are due; they are due again at `until` unless they are settled before.
///
/// # Errors
/// When the database does.
pub async fn claim(
    connection: &mut PgConnection,
    tenant: TenantId,
    now: Timestamp,
    until: Timestamp,
    limit: i64,
) -> Result<Vec<Claimed>, sqlx::Error> {
    sqlx::query_as(
        "WITH due AS (
             SELECT d.id FROM webhook_delivery d JOIN webhook w ON w.id = d.webhook_id
             WHERE d.tenant_id = $1 AND d.next_at <= $2 AND w.enabled
             ORDER BY d.next_at, d.id LIMIT $4 FOR UPDATE OF d SKIP LOCKED)
         UPDATE webhook_delivery d SET next_at = $3, attempts = d.attempts + 1
         FROM due, webhook w WHERE d.id = due.id AND w.id = d.webhook_id
         RETURNING d.id, d.webhook_id, w.url, d.payload, w.cloud_events, w.secret, w.previous_secret, w.previous_until, d.attempts",
    )
    .bind(tenant)
    .bind(now)
    .bind(until)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `None` = there was no answer.
    pub status: Option<u16>,
    pub error: Option<String>,
    pub duration_ms: i32,
}

impl Outcome {
    pub fn is_success(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// Writes what came of a call and when it is tried again. An endpoint that says 410, or has failed for
/// five days, is switched off, and `webhook.disabled` tells so.
///
/// # Errors
/// When the database does.
pub async fn settle(
    connection: &mut PgConnection,
    tenant: TenantId,
    claimed: &Claimed,
    outcome: &Outcome,
    jitter: f64,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO webhook_attempt (tenant_id, delivery_id, at, status_code, error, duration_ms)
         SELECT $1, id, $3, $4, $5, $6 FROM webhook_delivery WHERE id = $2",
    )
    .bind(tenant)
    .bind(claimed.id)
    .bind(now)
    .bind(outcome.status.map(i32::from))
    .bind(&outcome.error)
    .bind(outcome.duration_ms)
    .execute(&mut *connection)
    .await?;
    if outcome.is_success() {
        sqlx::query(
            "UPDATE webhook_delivery SET status = 'delivered', next_at = NULL, delivered_at = $2 WHERE id = $1",
        )
        .bind(claimed.id)
        .bind(now)
        .execute(&mut *connection)
        .await?;
        sqlx::query("UPDATE webhook SET failing_since = NULL WHERE id = $1 AND failing_since IS NOT NULL")
            .bind(claimed.webhook_id)
            .execute(connection)
            .await?;
        return Ok(());
    }
    let gone = outcome.status == Some(410);
    let attempts = u32::try_from(claimed.attempts).unwrap_or(u32::MAX);
    let next = next_attempt(attempts, jitter, now).filter(|_| !gone);
    sqlx::query("UPDATE webhook_delivery SET status = $3, next_at = $2 WHERE id = $1")
        .bind(claimed.id)
        .bind(next)
        .bind(if next.is_some() {
            DeliveryStatus::Pending
        } else {
            DeliveryStatus::Failed
        })
        .execute(&mut *connection)
        .await?;
    let failing_since: Option<Timestamp> = sqlx::query_scalar(
        "UPDATE webhook SET failing_since = coalesce(failing_since, $2) WHERE id = $1 AND enabled RETURNING failing_since",
    )
    .bind(claimed.webhook_id)
    .bind(now)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(since) = failing_since else { return Ok(()) };
    let reason = if gone {
        "it answered 410 Gone".to_owned()
    } else if now.seconds_since(since) >= DISABLE_AFTER_S {
        format!("every call has failed since {since}")
    } else {
        return Ok(());
    };
    sqlx::query(
        "UPDATE webhook SET enabled = false, disabled_reason = $2, row_version = row_version + 1 WHERE id = $1",
    )
    .bind(claimed.webhook_id)
    .bind(&reason)
    .execute(&mut *connection)
    .await?;
    let detail = json!({ "reason": reason });
    outbox::append(
        connection,
        tenant,
        "webhook.disabled",
        &claimed.webhook_id.to_string(),
        None,
        &detail,
    )
    .await
}

#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = WebhookDelivery))]
pub struct DeliveryRow {
    /// The `webhook-id` of all its attempts.
    pub id: DeliveryId,
    pub webhook_id: WebhookId,
    pub kind: String,
    pub status: DeliveryStatus,
    pub attempts: i32,
    pub next_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub delivered_at: Option<Timestamp>,
    /// Status of the last attempt; `null` = no answer.
    pub last_status: Option<i32>,
    pub last_error: Option<String>,
    pub last_duration_ms: Option<i32>,
    pub payload: Value,
}

/// The log of an endpoint, newest first.
///
/// # Errors
/// When the database does.
pub async fn deliveries(
    connection: &mut PgConnection,
    webhook: WebhookId,
    status: Option<DeliveryStatus>,
    after: Option<DeliveryId>,
    limit: i64,
) -> Result<Vec<DeliveryRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT d.id, d.webhook_id, d.kind, d.status, d.attempts, d.next_at, d.created_at, d.delivered_at, d.payload,
                a.status_code AS last_status, a.error AS last_error, a.duration_ms AS last_duration_ms
         FROM webhook_delivery d
         LEFT JOIN LATERAL (SELECT * FROM webhook_attempt a WHERE a.delivery_id = d.id ORDER BY a.id DESC LIMIT 1) a ON true
         WHERE d.webhook_id = $1 AND ($2::delivery_status IS NULL OR d.status = $2) AND ($3::uuid IS NULL OR d.id < $3)
         ORDER BY d.id DESC LIMIT $4",
    )
    .bind(webhook)
    .bind(status)
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// Makes deliveries due again: one, or all of a window that were not delivered (or all of it, with
/// `delivered_too`). The id stays the same. Gives how many.
///
/// # Errors
/// When the database does.
pub async fn replay(
    connection: &mut PgConnection,
    webhook: WebhookId,
    one: Option<DeliveryId>,
    window: Option<(Timestamp, Timestamp)>,
    delivered_too: bool,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    Ok(sqlx::query(
        "UPDATE webhook_delivery SET status = 'pending', next_at = $5, attempts = 0
         WHERE webhook_id = $1 AND ($2::uuid IS NULL OR id = $2)
           AND ($3::timestamptz IS NULL OR (created_at >= $3 AND created_at < $4))
           AND ($2 IS NOT NULL OR $6 OR status <> 'delivered')",
    )
    .bind(webhook)
    .bind(one)
    .bind(window.map(|(from, _)| from))
    .bind(window.map(|(_, to)| to))
    .bind(now)
    .bind(delivered_too)
    .execute(connection)
    .await?
    .rows_affected())
}

/// Drops old deliveries, messages and outbox rows of a tenant, and tells how many. What still waits to
/// be delivered stays.
///
/// # Errors
/// When the database does.
pub async fn prune(
    connection: &mut PgConnection,
    tenant: TenantId,
    before: Timestamp,
) -> Result<u64, sqlx::Error> {
    let mut gone = 0;
    for order in [
        "DELETE FROM webhook_delivery WHERE tenant_id = $1 AND created_at < $2 AND next_at IS NULL",
        "DELETE FROM notification WHERE tenant_id = $1 AND created_at < $2 AND (sent_at IS NOT NULL OR failed_at IS NOT NULL)",
        // The live stream says `reset` to a client that comes back for what is gone.
        "DELETE FROM outbox WHERE tenant_id = $1 AND at < $2 AND id NOT IN
             (SELECT after_id FROM webhook UNION SELECT after_id FROM notification_rule)",
    ] {
        gone += sqlx::query(order)
            .bind(tenant)
            .bind(before)
            .execute(&mut *connection)
            .await?
            .rows_affected();
    }
    Ok(gone)
}

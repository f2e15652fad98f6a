//! What a new score does to the stored prediction: publish, revise, expire, or nothing.

use serde_json::{Value, json};
use sqlx::PgConnection;

use super::add_event;
use crate::db::outbox;
use crate::id::{AssetId, FailureModeId, ModelVersionId, PredictionId, TenantId, UserId};
use crate::prediction::{Current, Policy, Status, Verdict, score as judge};
use crate::time::Timestamp;

/// One score of analytics for an asset, failure mode and horizon. Probabilities from 0 to 1, hours
/// for the remaining life.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    pub tenant: TenantId,
    pub asset: AssetId,
    pub failure_mode: Option<FailureModeId>,
    pub horizon_h: i32,
    pub probability: f64,
    pub low: f64,
    pub high: f64,
    /// p10, p50, p90.
    pub rul_h: [Option<f64>; 3],
    pub factors: Value,
    pub model_version: ModelVersionId,
    pub window_end: Timestamp,
}

/// What a score did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scored {
    Quiet,
    Published(PredictionId),
    Revised(PredictionId),
    Expired(PredictionId),
}

#[derive(Debug, sqlx::FromRow)]
struct Stored {
    id: PredictionId,
    status: Status,
    claimed_by: Option<UserId>,
    peak_probability: f64,
    below_since: Option<Timestamp>,
    snoozed_until: Option<Timestamp>,
    snooze_above: Option<f64>,
    closed_at: Option<Timestamp>,
    ticket_open: bool,
    window_end: Timestamp,
}

/// Takes a score: publishes a prediction, revises the one there is, lets it expire, or stays quiet.
/// A score that is not newer than the stored one changes nothing, so a pass can be repeated.
///
/// # Errors
/// When the database does.
pub async fn score(
    connection: &mut PgConnection,
    new: &Score,
    policy: &Policy,
    actor: &str,
) -> Result<Scored, sqlx::Error> {
    loop {
        let stored: Option<Stored> = sqlx::query_as(
            "SELECT p.*, coalesce((SELECT t.status NOT IN ('completed', 'closed', 'cancelled') FROM ticket t
                                   WHERE t.id = p.ticket_id), false) AS ticket_open
             FROM prediction p
             WHERE p.asset_id = $1 AND p.failure_mode_id IS NOT DISTINCT FROM $2 AND p.horizon_h = $3
             ORDER BY (p.status IN ('new', 'in_review', 'snoozed')) DESC, p.opened_at DESC, p.id DESC
             LIMIT 1 FOR UPDATE OF p",
        )
        .bind(new.asset)
        .bind(new.failure_mode)
        .bind(new.horizon_h)
        .fetch_optional(&mut *connection)
        .await?;
        if stored
            .as_ref()
            .is_some_and(|stored| stored.window_end >= new.window_end)
        {
            return Ok(Scored::Quiet);
        }
        let current = stored.as_ref().map(|stored| Current {
            status: stored.status,
            claimed: stored.claimed_by.is_some(),
            peak_probability: stored.peak_probability,
            below_since: stored.below_since,
            snoozed_until: stored.snoozed_until,
            snooze_above: stored.snooze_above,
            closed_at: stored.closed_at,
            ticket_open: stored.ticket_open,
        });
        match (
            judge(current.as_ref(), new.probability, new.window_end, policy),
            stored,
        ) {
            (Verdict::Revise { status, below_since }, Some(stored)) => {
                revise(connection, new, &stored, status, below_since, actor).await?;
                let expired = status == Status::Expired;
                return Ok(if expired {
                    Scored::Expired(stored.id)
                } else {
                    Scored::Revised(stored.id)
                });
            }
            (Verdict::Publish, _) => {
                if let Some(id) = publish(connection, new, actor).await? {
                    return Ok(Scored::Published(id));
                }
                // Somebody else has published it since we looked: revise theirs.
            }
            (Verdict::Quiet | Verdict::Revise { .. }, _) => return Ok(Scored::Quiet),
        }
    }
}

async fn publish(
    connection: &mut PgConnection,
    new: &Score,
    actor: &str,
) -> Result<Option<PredictionId>, sqlx::Error> {
    let id = PredictionId::new();
    let inserted = sqlx::query(
        "INSERT INTO prediction (id, tenant_id, asset_id, failure_mode_id, horizon_h, probability, p_low, p_high,
             peak_probability, published_probability, rul_p10_h, rul_p50_h, rul_p90_h, factors, model_version_id,
             window_end, opened_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $6, $6, $9, $10, $11, $12, $13, $14, $14)
         ON CONFLICT (asset_id, failure_mode_id, horizon_h) WHERE status IN ('new', 'in_review', 'snoozed') DO NOTHING",
    )
    .bind(id)
    .bind(new.tenant)
    .bind(new.asset)
    .bind(new.failure_mode)
    .bind(new.horizon_h)
    .bind(new.probability)
    .bind(new.low)
    .bind(new.high)
    .bind(new.rul_h[0])
    .bind(new.rul_h[1])
    .bind(new.rul_h[2])
    .bind(&new.factors)
    .bind(new.model_version)
    .bind(new.window_end)
    .execute(&mut *connection)
    .await?
    .rows_affected()
        > 0;
    if !inserted {
        return Ok(None);
    }
    let detail =
        json!({ "probability": new.probability, "horizon_h": new.horizon_h, "window_end": new.window_end });
    add_event(connection, new.tenant, id, "published", actor, &detail).await?;
    outbox::append(
        connection,
        new.tenant,
        "prediction.published",
        &id.to_string(),
        Some(new.asset),
        &detail,
    )
    .await?;
    Ok(Some(id))
}

async fn revise(
    connection: &mut PgConnection,
    new: &Score,
    stored: &Stored,
    status: Status,
    below_since: Option<Timestamp>,
    actor: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE prediction SET status = $2, below_since = $3, probability = $4, p_low = $5, p_high = $6,
             peak_probability = greatest(peak_probability, $4), rul_p10_h = $7, rul_p50_h = $8, rul_p90_h = $9,
             factors = $10, model_version_id = $11, window_end = $12, revision = revision + 1,
             closed_at = CASE WHEN $2 = 'expired'::prediction_status THEN $12 ELSE closed_at END,
             row_version = row_version + 1, updated_at = now()
         WHERE id = $1",
    )
    .bind(stored.id)
    .bind(status)
    .bind(below_since)
    .bind(new.probability)
    .bind(new.low)
    .bind(new.high)
    .bind(new.rul_h[0])
    .bind(new.rul_h[1])
    .bind(new.rul_h[2])
    .bind(&new.factors)
    .bind(new.model_version)
    .bind(new.window_end)
    .execute(&mut *connection)
    .await?;
    // A revision is not news; a change of state is.
    if status != stored.status {
        let kind = if status == Status::Expired {
            "expired"
        } else {
            "woke"
        };
        let detail = json!({ "probability": new.probability, "from": stored.status });
        add_event(connection, new.tenant, stored.id, kind, actor, &detail).await?;
        let told = format!("prediction.{kind}");
        outbox::append(
            connection,
            new.tenant,
            &told,
            &stored.id.to_string(),
            Some(new.asset),
            &detail,
        )
        .await?;
    }
    Ok(())
}

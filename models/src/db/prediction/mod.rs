//! SQL of predictions: scored by analytics, reviewed by planners, labelled by what was found.

use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::db::change::{After, ChangeError};
use crate::db::outbox;
use crate::id::{AssetId, CaseId, FailureModeId, ModelVersionId, PredictionId, TenantId, TicketId, UserId};
use crate::prediction::{Action, Current, Label, Policy, Refusal, Status, Verdict, act, score as judge};
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

/// A prediction with the names of what it speaks of.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct PredictionView {
    pub id: PredictionId,
    pub tenant_id: TenantId,
    pub asset_id: AssetId,
    pub asset_name: String,
    pub failure_mode_id: Option<FailureModeId>,
    pub failure_mode_code: Option<String>,
    pub failure_mode_name: Option<String>,
    pub horizon_h: i32,
    pub status: Status,
    pub probability: f64,
    pub p_low: f64,
    pub p_high: f64,
    pub peak_probability: f64,
    pub rul_p10_h: Option<f64>,
    pub rul_p50_h: Option<f64>,
    pub rul_p90_h: Option<f64>,
    pub factors: Value,
    pub model_version_id: ModelVersionId,
    pub window_end: Timestamp,
    pub revision: i32,
    pub claimed_by: Option<UserId>,
    pub snoozed_until: Option<Timestamp>,
    pub snooze_above: Option<f64>,
    pub dismiss_reason: Option<String>,
    pub case_id: Option<CaseId>,
    pub ticket_id: Option<TicketId>,
    pub label: Option<String>,
    pub label_source: Option<String>,
    pub opened_at: Timestamp,
    pub updated_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    pub row_version: i32,
}

#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct PredictionEvent {
    pub id: i64,
    pub at: Timestamp,
    pub kind: String,
    pub actor: String,
    pub detail: Value,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Empty = all.
    pub statuses: Vec<Status>,
    pub asset: Option<AssetId>,
    pub case: Option<CaseId>,
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
             peak_probability, rul_p10_h, rul_p50_h, rul_p90_h, factors, model_version_id, window_end, opened_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $6, $9, $10, $11, $12, $13, $14, $14)
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

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT p.*, s.name AS asset_name, f.code AS failure_mode_code, f.name AS failure_mode_name
             FROM prediction p JOIN asset s ON s.id = p.asset_id LEFT JOIN failure_mode f ON f.id = p.failure_mode_id ",
            $rest
        )
    };
}

/// From new to old by the moment they were opened.
///
/// # Errors
/// When the database does.
pub async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    after: After<PredictionId>,
    limit: i64,
) -> Result<Vec<PredictionView>, sqlx::Error> {
    sqlx::query_as(select!(
        "WHERE (cardinality($1::prediction_status[]) = 0 OR p.status = ANY ($1))
           AND ($2::uuid IS NULL OR p.asset_id = $2) AND ($3::uuid IS NULL OR p.case_id = $3)
           AND ($4::timestamptz IS NULL OR (p.opened_at, p.id) < ($4, $5))
         ORDER BY p.opened_at DESC, p.id DESC LIMIT $6"
    ))
    .bind(&filter.statuses)
    .bind(filter.asset)
    .bind(filter.case)
    .bind(after.map(|(at, _)| at))
    .bind(after.map(|(_, id)| id))
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// # Errors
/// When the database does.
pub async fn get(
    connection: &mut PgConnection,
    id: PredictionId,
) -> Result<Option<PredictionView>, sqlx::Error> {
    sqlx::query_as(select!("WHERE p.id = $1"))
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// The history of one prediction, oldest first.
///
/// # Errors
/// When the database does.
pub async fn events(
    connection: &mut PgConnection,
    id: PredictionId,
) -> Result<Vec<PredictionEvent>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, at, kind, actor, detail FROM prediction_event WHERE prediction_id = $1 ORDER BY id",
    )
    .bind(id)
    .fetch_all(connection)
    .await
}

/// Who decides, and with which ticket.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    pub action: &'a Action,
    pub ticket: Option<TicketId>,
    pub user: Option<UserId>,
    pub actor: &'a str,
    pub now: Timestamp,
}

/// What a person decides. `ticket` is the one that was made ([`Action::Accept`]) or is open
/// ([`Action::Attach`]). Gives the new version.
///
/// # Errors
/// See [`act`]; [`ChangeError::Stale`].
pub async fn decide(
    connection: &mut PgConnection,
    id: PredictionId,
    expected: Option<i32>,
    decision: Decision<'_>,
) -> Result<i32, ChangeError<Refusal>> {
    let Decision {
        action,
        ticket,
        user,
        actor,
        now,
    } = decision;
    let (tenant, asset, status, version): (TenantId, AssetId, Status, i32) = sqlx::query_as(
        "SELECT tenant_id, asset_id, status, row_version FROM prediction WHERE id = $1 FOR UPDATE",
    )
    .bind(id)
    .fetch_optional(&mut *connection)
    .await?
    .ok_or(ChangeError::NotFound)?;
    ChangeError::check_version(expected, version)?;
    let to = act(status, action, now).map_err(ChangeError::Refused)?;
    if matches!(to, Status::Accepted | Status::Attached) {
        let open: Option<bool> = sqlx::query_scalar(
            "SELECT status NOT IN ('completed', 'closed', 'cancelled') FROM ticket WHERE id = $1",
        )
        .bind(ticket)
        .fetch_optional(&mut *connection)
        .await?;
        if open != Some(true) {
            return Err(ChangeError::Refused(Refusal::NoOpenTicket));
        }
    }
    let (until, above) = match action {
        Action::Snooze { until, above } => (*until, *above),
        _ => (None, None),
    };
    let reason = match action {
        Action::Dismiss { reason, text } => Some(match text {
            Some(text) => format!("{}: {}", reason.name(), text.trim()),
            None => reason.name().to_owned(),
        }),
        _ => None,
    };
    let version = sqlx::query_scalar(
        "UPDATE prediction SET status = $2, claimed_by = coalesce(claimed_by, $3), snoozed_until = $4, snooze_above = $5,
             dismiss_reason = coalesce($6, dismiss_reason), ticket_id = coalesce($7, ticket_id),
             closed_at = CASE WHEN $2 IN ('accepted'::prediction_status, 'attached', 'dismissed') THEN $8 END,
             row_version = row_version + 1, updated_at = now()
         WHERE id = $1 RETURNING row_version",
    )
    .bind(id)
    .bind(to)
    .bind(user)
    .bind(until)
    .bind(above)
    .bind(&reason)
    .bind(ticket)
    .bind(now)
    .fetch_one(&mut *connection)
    .await?;
    let detail = json!({ "from": status, "to": to, "reason": reason, "until": until, "above": above, "ticket_id": ticket });
    add_event(connection, tenant, id, action.name(), actor, &detail).await?;
    let told = format!("prediction.{}", action.name());
    outbox::append(connection, tenant, &told, &id.to_string(), Some(asset), &detail).await?;
    Ok(version)
}

/// A ticket was closed: every prediction that led to it is labelled by what was found.
///
/// # Errors
/// When the database does.
pub async fn label_by_ticket(
    connection: &mut PgConnection,
    ticket: TicketId,
    label: Label,
    actor: &str,
) -> Result<(), sqlx::Error> {
    let labelled: Vec<(PredictionId, TenantId)> = sqlx::query_as(
        "UPDATE prediction p SET label = $2, label_source = 'ticket', row_version = row_version + 1, updated_at = now()
         WHERE p.ticket_id = $1 RETURNING p.id, p.tenant_id",
    )
    .bind(ticket)
    .bind(label.name())
    .fetch_all(&mut *connection)
    .await?;
    for (id, tenant) in labelled {
        let detail = json!({ "label": label, "weight": label.weight(), "ticket_id": ticket });
        add_event(connection, tenant, id, "labelled", actor, &detail).await?;
    }
    Ok(())
}

/// An asset has failed: a prediction of it that was dismissed or had expired, and whose horizon
/// reached so far, is labelled as missed. Gives how many those were.
///
/// # Errors
/// When the database does.
pub async fn label_missed(
    connection: &mut PgConnection,
    asset: AssetId,
    failure_mode: Option<FailureModeId>,
    failed_at: Timestamp,
) -> Result<u64, sqlx::Error> {
    Ok(sqlx::query(
        "UPDATE prediction SET label = 'missed_after_dismissal', label_source = 'auto', row_version = row_version + 1,
             updated_at = now()
         WHERE asset_id = $1 AND failure_mode_id IS NOT DISTINCT FROM $2 AND status IN ('dismissed', 'expired')
           AND label IS NULL AND opened_at <= $3 AND $3 <= window_end + make_interval(hours => horizon_h)",
    )
    .bind(asset)
    .bind(failure_mode)
    .bind(failed_at)
    .execute(connection)
    .await?
    .rows_affected())
}

async fn add_event(
    connection: &mut PgConnection,
    tenant: TenantId,
    prediction: PredictionId,
    kind: &str,
    actor: &str,
    detail: &Value,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO prediction_event (tenant_id, prediction_id, kind, actor, detail) VALUES ($1, $2, $3, $4, $5)")
        .bind(tenant)
        .bind(prediction)
        .bind(kind)
        .bind(actor)
        .bind(detail)
        .execute(connection)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests;

//! Labels: whether a prediction was right, said by a ticket, a person, or by what happened.

use serde_json::json;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::add_event;
use crate::assessment::FailureProbability;
use crate::db::change::ChangeError;
use crate::db::outbox;
use crate::id::{AssetId, FailureModeId, FailureReportId, ModelVersionId, PredictionId, TenantId, TicketId};
use crate::prediction::{Label, Status, label_by_failure};
use crate::time::Timestamp;

/// A ticket was closed: every prediction that led to it is labelled by what was found. One that spoke of
/// another failure mode than the one that was found was not confirmed by it: a different fault was found.
///
/// # Errors
/// When the database does.
pub async fn label_by_ticket(
    connection: &mut PgConnection,
    ticket: TicketId,
    label: Label,
    actor: &str,
) -> Result<(), sqlx::Error> {
    let followed: Vec<(PredictionId, TenantId, bool)> = sqlx::query_as(
        "SELECT p.id, p.tenant_id, coalesce(p.failure_mode_id <> t.found_failure_mode_id, false)
         FROM prediction p JOIN ticket t ON t.id = p.ticket_id WHERE p.ticket_id = $1 ORDER BY p.id FOR UPDATE OF p",
    )
    .bind(ticket)
    .fetch_all(&mut *connection)
    .await?;
    for (id, tenant, of_another_mode) in followed {
        let label = label.for_prediction(of_another_mode);
        sqlx::query(
            "UPDATE prediction SET label = $2, label_source = 'ticket', row_version = row_version + 1, updated_at = now()
             WHERE id = $1",
        )
        .bind(id)
        .bind(label.name())
        .execute(&mut *connection)
        .await?;
        let detail = json!({ "label": label, "weight": label.weight(), "ticket_id": ticket });
        add_event(connection, tenant, id, "labelled", actor, &detail).await?;
    }
    Ok(())
}

/// Why a person's label was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelRefusal {
    #[error(
        "`{}` follows from a failure by itself: report the failure, or choose one of confirmed_prevented, \
         confirmed_failed, different_fault_found, no_fault_found, inconclusive", .0.name()
    )]
    NotByPerson(Label),
    #[error("it is still {}: decide on it first (accept, attach or dismiss)", .0.name())]
    StillOpen(Status),
}

/// A person says what came of a prediction, also against an earlier label. Gives the new version.
///
/// # Errors
/// See [`LabelRefusal`]; [`ChangeError::Stale`].
pub async fn label_by_person(
    connection: &mut PgConnection,
    id: PredictionId,
    expected: Option<i32>,
    label: Label,
    note: Option<&str>,
    actor: &str,
) -> Result<i32, ChangeError<LabelRefusal>> {
    let (tenant, asset, status, version): (TenantId, AssetId, Status, i32) = sqlx::query_as(
        "SELECT tenant_id, asset_id, status, row_version FROM prediction WHERE id = $1 FOR UPDATE",
    )
    .bind(id)
    .fetch_optional(&mut *connection)
    .await?
    .ok_or(ChangeError::NotFound)?;
    ChangeError::check_version(expected, version)?;
    if !label.is_by_person() {
        return Err(ChangeError::Refused(LabelRefusal::NotByPerson(label)));
    }
    if status.is_open() {
        return Err(ChangeError::Refused(LabelRefusal::StillOpen(status)));
    }
    let version = sqlx::query_scalar(
        "UPDATE prediction SET label = $2, label_source = 'person', label_note = $3, row_version = row_version + 1,
             updated_at = now() WHERE id = $1 RETURNING row_version",
    )
    .bind(id)
    .bind(label.name())
    .bind(note)
    .fetch_one(&mut *connection)
    .await?;
    let detail = json!({ "label": label, "weight": label.weight(), "note": note });
    add_event(connection, tenant, id, "labelled", actor, &detail).await?;
    outbox::append(
        connection,
        tenant,
        "prediction.labelled",
        &id.to_string(),
        Some(asset),
        &detail,
    )
    .await?;
    Ok(version)
}

/// What failures said about predictions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    pub failures: u32,
    /// Predictions that a failure labelled.
    pub labelled: u32,
    /// Failures of assessed assets that nothing had predicted; each has a row of its own now.
    pub false_negatives: u32,
}

#[derive(Debug, sqlx::FromRow)]
struct Failure {
    id: FailureReportId,
    tenant_id: TenantId,
    asset_id: AssetId,
    failure_mode_id: Option<FailureModeId>,
    failed_at: Timestamp,
}

/// Compares each failure that was reported since with the predictions of its time: those that spoke of
/// it are labelled, and where none did although the asset was being assessed, a row is made that says
/// so, or recall would look better than it is. Each failure is looked at once, whoever reported it.
///
/// # Errors
/// When the database does.
pub async fn reconcile_failures(
    connection: &mut PgConnection,
    now: Timestamp,
) -> Result<Reconciled, sqlx::Error> {
    let failures: Vec<Failure> = sqlx::query_as(
        "SELECT id, tenant_id, asset_id, failure_mode_id, failed_at FROM failure_report
         WHERE reconciled_at IS NULL AND failed_at <= $1 ORDER BY failed_at, id LIMIT 200 FOR UPDATE SKIP LOCKED",
    )
    .bind(now)
    .fetch_all(&mut *connection)
    .await?;
    let mut done = Reconciled::default();
    for failure in failures {
        done.failures += 1;
        let spoke: Vec<(PredictionId, Status, bool, bool)> = sqlx::query_as(
            "SELECT p.id, p.status, p.label IS NOT NULL, coalesce(t.status IN ('closed', 'cancelled'), false)
             FROM prediction p LEFT JOIN ticket t ON t.id = p.ticket_id
             WHERE p.asset_id = $1 AND (p.failure_mode_id = $2 OR p.failure_mode_id IS NULL OR $2 IS NULL)
               AND p.opened_at <= $3 AND $3 <= p.window_end + make_interval(hours => p.horizon_h)
               AND p.label IS DISTINCT FROM 'false_negative'
             ORDER BY p.id FOR UPDATE OF p",
        )
        .bind(failure.asset_id)
        .bind(failure.failure_mode_id)
        .bind(failure.failed_at)
        .fetch_all(&mut *connection)
        .await?;
        if spoke.is_empty() {
            done.false_negatives += u32::from(add_false_negative(connection, &failure).await?);
        }
        for (id, status, labelled, ticket_closed) in spoke {
            let label = label_by_failure(status, ticket_closed).filter(|_| !labelled);
            sqlx::query(
                "UPDATE prediction SET failed_at = coalesce(failed_at, $2), label = coalesce(label, $3),
                     label_source = CASE WHEN label IS NULL AND $3 IS NOT NULL THEN 'auto' ELSE label_source END,
                     row_version = row_version + 1, updated_at = now() WHERE id = $1",
            )
            .bind(id)
            .bind(failure.failed_at)
            .bind(label.map(Label::name))
            .execute(&mut *connection)
            .await?;
            if let Some(label) = label {
                done.labelled += 1;
                let detail =
                    json!({ "label": label, "weight": label.weight(), "failed_at": failure.failed_at });
                add_event(
                    connection,
                    failure.tenant_id,
                    id,
                    "labelled",
                    "analytics",
                    &detail,
                )
                .await?;
            }
        }
        sqlx::query("UPDATE failure_report SET reconciled_at = $2 WHERE id = $1")
            .bind(failure.id)
            .bind(now)
            .execute(&mut *connection)
            .await?;
    }
    Ok(done)
}

/// The horizon that predictions are published for, hours; the missed one is entered under it.
const HORIZON_H: i32 = 720;

/// `false` = nobody was assessing the asset then, so nothing was missed by a model.
async fn add_false_negative(connection: &mut PgConnection, failure: &Failure) -> Result<bool, sqlx::Error> {
    let assessed: Option<(ModelVersionId, Json<Vec<FailureProbability>>, Timestamp)> = sqlx::query_as(
        "SELECT model_version_id, p_fail, window_end FROM assessment
         WHERE asset_id = $1 AND window_end <= $2 ORDER BY window_end DESC LIMIT 1",
    )
    .bind(failure.asset_id)
    .bind(failure.failed_at)
    .fetch_optional(&mut *connection)
    .await?;
    let Some((model, p_fail, window_end)) = assessed else {
        return Ok(false);
    };
    let said = p_fail.0.iter().find(|entry| entry.horizon_h == HORIZON_H);
    let (p, low, high) = said.map_or((0.0, 0.0, 1.0), |entry| (entry.p, entry.low, entry.high));
    let id = PredictionId::new();
    sqlx::query(
        "INSERT INTO prediction (id, tenant_id, asset_id, failure_mode_id, horizon_h, status, probability, p_low, p_high,
             peak_probability, published_probability, factors, model_version_id, window_end, label, label_source,
             opened_at, closed_at, failed_at, dispatched_at)
         VALUES ($1, $2, $3, $4, $5, 'expired', $6, $7, $8, $6, $6, '[]', $9, $10, 'false_negative', 'auto',
                 $11, $11, $11, $11)",
    )
    .bind(id)
    .bind(failure.tenant_id)
    .bind(failure.asset_id)
    .bind(failure.failure_mode_id)
    .bind(HORIZON_H)
    .bind(p)
    .bind(low)
    .bind(high)
    .bind(model)
    .bind(window_end)
    .bind(failure.failed_at)
    .execute(&mut *connection)
    .await?;
    let detail = json!({ "label": Label::FalseNegative, "failed_at": failure.failed_at, "probability": p });
    add_event(connection, failure.tenant_id, id, "missed", "analytics", &detail).await?;
    let subject = id.to_string();
    outbox::append(
        connection,
        failure.tenant_id,
        "prediction.missed",
        &subject,
        Some(failure.asset_id),
        &detail,
    )
    .await?;
    Ok(true)
}

//! Parts set aside: soft for what is predicted, hard for a ticket.

use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;

use super::posting::PostingRow;
use super::stock::available;
use crate::db::outbox;
use crate::id::{AssetId, FailureModeId, PredictionId, ReservationId, TenantId, TicketId};
use crate::parts::{Covered, Need, ReservationKind, ReservationStatus, advise};
use crate::ticket::Gate;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = PartReservation))]
pub struct ReservationRow {
    pub id: ReservationId,
    pub ticket_id: Option<TicketId>,
    pub prediction_id: Option<PredictionId>,
    pub part_number: String,
    pub quantity: f64,
    pub unit: String,
    pub kind: ReservationKind,
    pub status: ReservationStatus,
    pub reason: String,
    pub created_at: Timestamp,
}

/// # Errors
/// When the database does.
pub async fn of_ticket(
    connection: &mut PgConnection,
    ticket: TicketId,
) -> Result<(Vec<ReservationRow>, Vec<PostingRow>), sqlx::Error> {
    let reservations = sqlx::query_as(
        "SELECT id, ticket_id, prediction_id, part_number, quantity, unit, kind, status, reason, created_at
         FROM part_reservation WHERE ticket_id = $1 ORDER BY id",
    )
    .bind(ticket)
    .fetch_all(&mut *connection)
    .await?;
    let postings = sqlx::query_as(
        "SELECT id, part_number, warehouse, quantity, unit, reverses, reason, posted_at, posted_by
         FROM part_posting WHERE ticket_id = $1 ORDER BY id",
    )
    .bind(ticket)
    .fetch_all(connection)
    .await?;
    Ok((reservations, postings))
}

/// Whether the parts of a ticket are there, first come first served.
///
/// # Errors
/// When the database does.
pub async fn gate(connection: &mut PgConnection, ticket: TicketId) -> Result<Gate, sqlx::Error> {
    let rows: Vec<(ReservationId, TenantId, String, f64)> = sqlx::query_as(
        "SELECT id, tenant_id, part_number, quantity FROM part_reservation
         WHERE ticket_id = $1 AND kind = 'hard' AND status = 'active' ORDER BY part_number",
    )
    .bind(ticket)
    .fetch_all(&mut *connection)
    .await?;
    let mut covered = Vec::new();
    for (id, tenant, part_number, quantity) in rows {
        let available = available(connection, tenant, &part_number, Some(id), true).await?;
        covered.push(Covered {
            part_number,
            quantity,
            available,
        });
    }
    Ok(crate::parts::gate(&covered))
}

/// Whether every reserved part was posted or given back.
///
/// # Errors
/// When the database does.
pub async fn posted_gate(connection: &mut PgConnection, ticket: TicketId) -> Result<Gate, sqlx::Error> {
    let open: Vec<String> = sqlx::query_scalar(
        "SELECT part_number FROM part_reservation
         WHERE ticket_id = $1 AND kind = 'hard' AND status = 'active' ORDER BY part_number",
    )
    .bind(ticket)
    .fetch_all(connection)
    .await?;
    Ok(if open.is_empty() {
        Gate::NotNeeded
    } else {
        Gate::Missing(format!(
            "post what was used of {}, or release what was not, at /v1/tickets/{ticket}/parts",
            open.join(", ")
        ))
    })
}

/// Reserves the parts of the ticket's failure mode by the asset's bill of materials; soft reservations
/// of its predictions become these. Gives how many. Doing it again does nothing.
///
/// # Errors
/// When the database does.
pub async fn reserve_for_ticket(
    connection: &mut PgConnection,
    tenant: TenantId,
    ticket: TicketId,
    asset: AssetId,
    mode: Option<FailureModeId>,
    now: Timestamp,
) -> Result<usize, sqlx::Error> {
    let Some(mode) = mode else { return Ok(0) };
    let lines: Vec<(String, f64, String)> = sqlx::query_as(
        "SELECT part_number, sum(quantity)::float8, max(unit) FROM bom_item
         WHERE asset_id = $1 AND (failure_mode_id = $2 OR failure_mode_id IS NULL) GROUP BY part_number ORDER BY 1",
    )
    .bind(asset)
    .bind(mode)
    .fetch_all(&mut *connection)
    .await?;
    let mut reserved = 0;
    for (part, quantity, unit) in lines {
        sqlx::query(
            "UPDATE part_reservation SET status = 'released', ended_at = $4
             WHERE kind = 'soft' AND status = 'active' AND part_number = $3 AND prediction_id IN
                 (SELECT id FROM prediction WHERE asset_id = $1 AND failure_mode_id = $2)",
        )
        .bind(asset)
        .bind(mode)
        .bind(&part)
        .bind(now)
        .execute(&mut *connection)
        .await?;
        let made = reserve(
            connection,
            tenant,
            (ticket, asset),
            (&part, quantity, &unit),
            "by the bill of materials",
        )
        .await?;
        reserved += usize::from(made.is_some());
    }
    Ok(reserved)
}

/// `None` = the ticket has reserved the part already.
///
/// # Errors
/// When the database does.
pub async fn reserve(
    connection: &mut PgConnection,
    tenant: TenantId,
    (ticket, asset): (TicketId, AssetId),
    (part, quantity, unit): (&str, f64, &str),
    reason: &str,
) -> Result<Option<ReservationId>, sqlx::Error> {
    let id = ReservationId::new();
    let made = sqlx::query(
        "INSERT INTO part_reservation (id, tenant_id, asset_id, ticket_id, part_number, quantity, unit, kind, reason)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'hard', $8)
         ON CONFLICT (ticket_id, part_number) WHERE ticket_id IS NOT NULL AND status = 'active' DO NOTHING",
    )
    .bind(id)
    .bind(tenant)
    .bind(asset)
    .bind(ticket)
    .bind(part)
    .bind(quantity)
    .bind(unit)
    .bind(reason)
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if made == 0 {
        return Ok(None);
    }
    let there = available(connection, tenant, part, Some(id), true).await?;
    let missing = there.map_or(0.0, |there| (quantity - there.max(0.0)).max(0.0));
    if missing > 0.0 {
        let reason = format!("{missing} of {part} are missing for the ticket");
        shortage(
            connection,
            tenant,
            &ticket.to_string(),
            asset,
            (part, missing),
            None,
            &reason,
        )
        .await?;
    }
    Ok(Some(id))
}

/// Tells once for each cause and part that there is too little.
async fn shortage(
    connection: &mut PgConnection,
    tenant: TenantId,
    cause: &str,
    asset: AssetId,
    (part, missing): (&str, f64),
    needed_by: Option<Timestamp>,
    reason: &str,
) -> Result<bool, sqlx::Error> {
    let new = sqlx::query(
        "INSERT INTO part_shortage (tenant_id, cause, part_number, asset_id, missing, needed_by, reason)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
    )
    .bind(tenant)
    .bind(cause)
    .bind(part)
    .bind(asset)
    .bind(missing)
    .bind(needed_by)
    .bind(reason)
    .execute(&mut *connection)
    .await?
    .rows_affected()
        > 0;
    if new {
        let detail =
            json!({ "part_number": part, "missing": missing, "needed_by": needed_by, "reason": reason });
        outbox::append(
            connection,
            tenant,
            "part.shortage_predicted",
            cause,
            Some(asset),
            &detail,
        )
        .await?;
    }
    Ok(new)
}

/// Gives back what a ticket has reserved and not used.
///
/// # Errors
/// When the database does.
pub async fn release(
    connection: &mut PgConnection,
    ticket: TicketId,
    only: Option<ReservationId>,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    Ok(sqlx::query(
        "UPDATE part_reservation SET status = 'released', ended_at = $3
         WHERE ticket_id = $1 AND status = 'active' AND ($2::uuid IS NULL OR id = $2)",
    )
    .bind(ticket)
    .bind(only)
    .bind(now)
    .execute(connection)
    .await?
    .rows_affected())
}

/// Sets parts aside for the open predictions of a tenant, gives back those of predictions that are over,
/// and tells of shortages. Gives (set aside, given back, shortages). May run as often as one likes.
///
/// # Errors
/// When the database does.
pub async fn plan_ahead(
    connection: &mut PgConnection,
    tenant: TenantId,
    now: Timestamp,
) -> Result<(usize, u64, usize), sqlx::Error> {
    let back = sqlx::query(
        "UPDATE part_reservation r SET status = 'released', ended_at = $2
         WHERE r.tenant_id = $1 AND r.kind = 'soft' AND r.status = 'active' AND NOT EXISTS
             (SELECT FROM prediction p WHERE p.id = r.prediction_id AND p.status IN ('new', 'in_review', 'snoozed'))",
    )
    .bind(tenant)
    .bind(now)
    .execute(&mut *connection)
    .await?
    .rows_affected();
    type Row = (
        PredictionId,
        AssetId,
        f64,
        i32,
        Option<f64>,
        String,
        f64,
        String,
        Option<f64>,
    );
    let lines: Vec<Row> = sqlx::query_as(
        "SELECT DISTINCT ON (p.asset_id, p.failure_mode_id, b.part_number) p.id, p.asset_id, p.probability, p.horizon_h, p.rul_p10_h, b.part_number, b.quantity, b.unit,
                coalesce((SELECT max(lead_time_days) FROM part_stock s
                          WHERE s.tenant_id = p.tenant_id AND s.part_number = b.part_number), b.lead_time_days)
         FROM prediction p CROSS JOIN LATERAL (
             SELECT part_number, sum(quantity)::float8 AS quantity, max(unit) AS unit, max(lead_time_days) AS lead_time_days
             FROM bom_item WHERE asset_id = p.asset_id AND (failure_mode_id = p.failure_mode_id OR failure_mode_id IS NULL)
             GROUP BY part_number) b
         WHERE p.tenant_id = $1 AND p.status IN ('new', 'in_review', 'snoozed') AND p.failure_mode_id IS NOT NULL
           AND NOT EXISTS (SELECT FROM part_reservation r JOIN prediction q ON q.id = r.prediction_id
               WHERE q.asset_id = p.asset_id AND q.failure_mode_id = p.failure_mode_id AND r.part_number = b.part_number
                 AND (r.status = 'active' OR q.id = p.id))
         ORDER BY p.asset_id, p.failure_mode_id, b.part_number, p.probability DESC, p.id LIMIT 500",
    )
    .bind(tenant)
    .fetch_all(&mut *connection)
    .await?;
    let (mut aside, mut short) = (0, 0);
    for (prediction, asset, probability, horizon_h, rul_p10_h, part, quantity, unit, lead_time_days) in lines
    {
        let days_left = rul_p10_h
            .unwrap_or(f64::from(horizon_h))
            .min(f64::from(horizon_h))
            .max(0.0)
            / 24.0;
        let advice = advise(&Need {
            probability,
            days_left,
            lead_time_days,
            quantity,
            available: available(connection, tenant, &part, None, false).await?,
        });
        if !advice.reserve {
            continue;
        }
        let made = sqlx::query(
            "INSERT INTO part_reservation (id, tenant_id, asset_id, prediction_id, part_number, quantity, unit, kind, reason)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 'soft', $8)
             ON CONFLICT (prediction_id, part_number) WHERE kind = 'soft' AND status = 'active' DO NOTHING",
        )
        .bind(ReservationId::new())
        .bind(tenant)
        .bind(asset)
        .bind(prediction)
        .bind(&part)
        .bind(quantity)
        .bind(&unit)
        .bind(&advice.reason)
        .execute(&mut *connection)
        .await?
        .rows_affected();
        aside += usize::from(made > 0);
        if advice.missing > 0.0 {
            let needed_by = Some(now.plus_seconds(days_left * 86_400.0));
            let cause = prediction.to_string();
            let line = (part.as_str(), advice.missing);
            short += usize::from(
                shortage(connection, tenant, &cause, asset, line, needed_by, &advice.reason).await?,
            );
        }
    }
    Ok((aside, back, short))
}

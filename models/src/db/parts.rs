//! SQL of parts: the read model of the stock, reservations, postings, shortages.
//!
//! available = the owner's count − what was posted since that count − active reservations of others.

use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

use crate::db::change::ChangeError;
use crate::db::outbox;
use crate::db::ticket::add_event;
use crate::id::{AssetId, FailureModeId, PostingId, PredictionId, ReservationId, TenantId, TicketId};
use crate::parts::{Covered, Need, ReservationKind, ReservationStatus, advise};
use crate::ticket::Gate;
use crate::time::Timestamp;

/// What the stock's owner says of a part in a warehouse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StockLine {
    #[cfg_attr(feature = "openapi", schema(example = "6308-2RS"))]
    pub part_number: String,
    #[cfg_attr(feature = "openapi", schema(example = "main"))]
    pub warehouse: String,
    #[serde(default)]
    pub description: String,
    /// UCUM; `1` = pieces.
    #[serde(default = "pieces")]
    #[cfg_attr(feature = "openapi", schema(example = "1"))]
    pub unit: String,
    #[cfg_attr(feature = "openapi", schema(example = 4.0))]
    pub on_hand: f64,
    #[serde(default)]
    pub lead_time_days: Option<f64>,
    /// When it was counted; an older count than the known one is left out.
    pub as_of: Timestamp,
}

fn pieces() -> String {
    "1".to_owned()
}

#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Part))]
pub struct PartRow {
    pub part_number: String,
    pub description: String,
    pub unit: String,
    pub warehouses: Vec<String>,
    /// As counted, less what was posted since.
    pub on_hand: f64,
    pub reserved_hard: f64,
    pub reserved_soft: f64,
    /// On hand less both.
    pub available: f64,
    pub lead_time_days: Option<f64>,
    pub as_of: Timestamp,
}

/// Takes a count. Gives how many lines were newer than what was known, and moves the tickets on whose
/// parts have come.
///
/// # Errors
/// When the database does.
pub async fn put_stock(
    connection: &mut PgConnection,
    tenant: TenantId,
    lines: &[StockLine],
    actor: &str,
    now: Timestamp,
) -> Result<(u64, Vec<TicketId>), sqlx::Error> {
    let mut taken = 0;
    for line in lines {
        taken += sqlx::query(
            "INSERT INTO part_stock (tenant_id, part_number, warehouse, description, unit, on_hand, lead_time_days, as_of)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (tenant_id, part_number, warehouse) DO UPDATE SET description = excluded.description,
                 unit = excluded.unit, on_hand = excluded.on_hand, as_of = excluded.as_of,
                 lead_time_days = coalesce(excluded.lead_time_days, part_stock.lead_time_days)
             WHERE part_stock.as_of <= excluded.as_of",
        )
        .bind(tenant)
        .bind(&line.part_number)
        .bind(&line.warehouse)
        .bind(&line.description)
        .bind(&line.unit)
        .bind(line.on_hand)
        .bind(line.lead_time_days)
        .bind(line.as_of)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    }
    let moved = wake_waiting(connection, actor, now).await?;
    Ok((taken, moved))
}

/// Tickets that wait for parts which are there now go on.
async fn wake_waiting(
    connection: &mut PgConnection,
    actor: &str,
    now: Timestamp,
) -> Result<Vec<TicketId>, sqlx::Error> {
    let waiting: Vec<TicketId> = sqlx::query_scalar(
        "SELECT id FROM ticket WHERE status = 'waiting_parts' ORDER BY priority DESC, created_at LIMIT 500",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut moved = Vec::new();
    for ticket in waiting {
        if matches!(gate(connection, ticket).await?, Gate::Missing(_)) {
            continue;
        }
        let coding = crate::db::ticket::Coding {
            reason: Some("the parts are there".to_owned()),
            ..Default::default()
        };
        let to = crate::ticket::Status::Planned;
        match Box::pin(crate::db::ticket::transition(
            connection, ticket, None, to, &coding, actor, now,
        ))
        .await
        {
            Ok(_) => moved.push(ticket),
            Err(ChangeError::Database(error)) => return Err(error),
            // Somebody moved it meanwhile, or another gate holds it: it stays where it is.
            Err(_) => {}
        }
    }
    Ok(moved)
}

macro_rules! part_select {
    ($where:literal) => {
        concat!(
            "SELECT s.part_number, max(s.description) AS description, max(s.unit) AS unit,
                    array_agg(s.warehouse ORDER BY s.warehouse) AS warehouses,
                    sum(s.on_hand - coalesce(p.used, 0)) AS on_hand,
                    coalesce(max(r.hard), 0) AS reserved_hard, coalesce(max(r.soft), 0) AS reserved_soft,
                    sum(s.on_hand - coalesce(p.used, 0)) - coalesce(max(r.hard), 0) - coalesce(max(r.soft), 0) AS available,
                    max(s.lead_time_days) AS lead_time_days, max(s.as_of) AS as_of
             FROM part_stock s
             LEFT JOIN LATERAL (SELECT sum(quantity) AS used FROM part_posting p
                 WHERE p.tenant_id = s.tenant_id AND p.part_number = s.part_number AND p.warehouse = s.warehouse
                   AND p.posted_at > s.as_of) p ON true
             LEFT JOIN LATERAL (SELECT sum(quantity) FILTER (WHERE kind = 'hard') AS hard,
                     sum(quantity) FILTER (WHERE kind = 'soft') AS soft
                 FROM part_reservation r WHERE r.tenant_id = s.tenant_id AND r.part_number = s.part_number
                   AND r.status = 'active') r ON true ",
            $where,
            " GROUP BY s.part_number ORDER BY s.part_number"
        )
    };
}

/// The stock by part number.
///
/// # Errors
/// When the database does.
pub async fn parts(
    connection: &mut PgConnection,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<PartRow>, sqlx::Error> {
    sqlx::query_as(part_select!(
        "WHERE s.part_number IN (SELECT DISTINCT part_number FROM part_stock
             WHERE $1::text IS NULL OR part_number > $1 ORDER BY part_number LIMIT $2)"
    ))
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// Available of a part to somebody, his own reservation not counted: `None` = nobody keeps its stock. A
/// hard reservation looks past soft ones.
async fn available(
    connection: &mut PgConnection,
    tenant: TenantId,
    part: &str,
    own: Option<ReservationId>,
    past_soft: bool,
) -> Result<Option<f64>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT sum(s.on_hand - coalesce((SELECT sum(p.quantity) FROM part_posting p
                    WHERE p.tenant_id = s.tenant_id AND p.part_number = s.part_number AND p.warehouse = s.warehouse
                      AND p.posted_at > s.as_of), 0))
                - coalesce((SELECT sum(r.quantity) FROM part_reservation r
                    WHERE r.tenant_id = $1 AND r.part_number = $2 AND r.status = 'active' AND ($3::uuid IS NULL OR r.id < $3)
                      AND (NOT $4 OR r.kind = 'hard')), 0)
         FROM part_stock s WHERE s.tenant_id = $1 AND s.part_number = $2 HAVING count(*) > 0",
    )
    .bind(tenant)
    .bind(part)
    .bind(own)
    .bind(past_soft)
    .fetch_optional(connection)
    .await
    .map(Option::flatten)
}

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

#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = PartPosting))]
pub struct PostingRow {
    pub id: PostingId,
    pub part_number: String,
    pub warehouse: String,
    /// Negative = it undoes another.
    pub quantity: f64,
    pub unit: String,
    pub reverses: Option<PostingId>,
    pub reason: Option<String>,
    pub posted_at: Timestamp,
    pub posted_by: String,
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

/// Why parts can't be posted so.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PostError {
    #[error("the ticket is {0}: parts are posted while it is worked on or when it is completed")]
    State(crate::ticket::Status),
    #[error("the quantity must be above 0; a mistake is undone by a reversal")]
    Quantity,
    #[error("the posting is reversed already")]
    Reversed,
    #[error("a reversal can't be reversed: post again")]
    IsReversal,
    #[error("say why it is reversed")]
    NoReason,
}

type TicketPlace = (TenantId, AssetId, crate::ticket::Status);

async fn place(connection: &mut PgConnection, ticket: TicketId) -> Result<Option<TicketPlace>, sqlx::Error> {
    sqlx::query_as("SELECT tenant_id, asset_id, status FROM ticket WHERE id = $1 FOR UPDATE")
        .bind(ticket)
        .fetch_optional(connection)
        .await
}

/// Posts what was used; the ticket's reservation of the part is consumed by it.
///
/// # Errors
/// [`PostError`]; not found when there is no such ticket.
pub async fn post(
    connection: &mut PgConnection,
    ticket: TicketId,
    (part, warehouse, quantity): (&str, &str, f64),
    actor: &str,
    now: Timestamp,
) -> Result<PostingId, ChangeError<PostError>> {
    use crate::ticket::Status;
    let (tenant, asset, status) = place(connection, ticket).await?.ok_or(ChangeError::NotFound)?;
    if !matches!(status, Status::InProgress | Status::OnHold | Status::Completed) {
        return Err(ChangeError::Refused(PostError::State(status)));
    }
    if !(quantity.is_finite() && quantity > 0.0) {
        return Err(ChangeError::Refused(PostError::Quantity));
    }
    let id = PostingId::new();
    let unit: String = sqlx::query_scalar(
        "INSERT INTO part_posting (id, tenant_id, ticket_id, asset_id, part_number, warehouse, quantity, unit, posted_at, posted_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7,
             coalesce((SELECT max(unit) FROM part_stock WHERE part_number = $5),
                      (SELECT max(unit) FROM bom_item WHERE part_number = $5), '1'), $8, $9) RETURNING unit",
    )
    .bind(id)
    .bind(tenant)
    .bind(ticket)
    .bind(asset)
    .bind(part)
    .bind(warehouse)
    .bind(quantity)
    .bind(now)
    .bind(actor)
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE part_reservation SET status = 'consumed', ended_at = $3
         WHERE ticket_id = $1 AND part_number = $2 AND status = 'active'",
    )
    .bind(ticket)
    .bind(part)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    let detail = json!({ "posting_id": id, "part_number": part, "warehouse": warehouse, "quantity": quantity, "unit": unit });
    add_event(connection, tenant, ticket, "part_posted", actor, &detail).await?;
    outbox::append(
        connection,
        tenant,
        "part.posted",
        &ticket.to_string(),
        Some(asset),
        &detail,
    )
    .await?;
    Ok(id)
}

/// Undoes a posting by one with the sign turned.
///
/// # Errors
/// [`PostError`]; not found when the ticket has no such posting.
pub async fn reverse(
    connection: &mut PgConnection,
    ticket: TicketId,
    posting: PostingId,
    reason: &str,
    actor: &str,
    now: Timestamp,
) -> Result<PostingId, ChangeError<PostError>> {
    let refuse = |error| Err(ChangeError::Refused(error));
    let (tenant, asset, _) = place(connection, ticket).await?.ok_or(ChangeError::NotFound)?;
    type Row = (String, String, f64, Option<PostingId>, bool);
    let found: Option<Row> = sqlx::query_as(
        "SELECT part_number, warehouse, quantity, reverses, EXISTS (SELECT FROM part_posting r WHERE r.reverses = p.id)
         FROM part_posting p WHERE id = $1 AND ticket_id = $2",
    )
    .bind(posting)
    .bind(ticket)
    .fetch_optional(&mut *connection)
    .await?;
    let (part, warehouse, quantity, reverses, reversed) = found.ok_or(ChangeError::NotFound)?;
    if reversed {
        return refuse(PostError::Reversed);
    }
    if reverses.is_some() {
        return refuse(PostError::IsReversal);
    }
    if reason.trim().is_empty() {
        return refuse(PostError::NoReason);
    }
    let id = PostingId::new();
    sqlx::query(
        "INSERT INTO part_posting (id, tenant_id, ticket_id, asset_id, part_number, warehouse, quantity, unit, reverses,
             reason, posted_at, posted_by)
         SELECT $1, tenant_id, ticket_id, asset_id, part_number, warehouse, -quantity, unit, id, $3, $4, $5
         FROM part_posting WHERE id = $2",
    )
    .bind(id)
    .bind(posting)
    .bind(reason)
    .bind(now)
    .bind(actor)
    .execute(&mut *connection)
    .await?;
    let detail = json!({ "posting_id": id, "reverses": posting, "part_number": part, "warehouse": warehouse,
                         "quantity": -quantity, "reason": reason });
    add_event(connection, tenant, ticket, "part_reversed", actor, &detail).await?;
    outbox::append(
        connection,
        tenant,
        "part.reversed",
        &ticket.to_string(),
        Some(asset),
        &detail,
    )
    .await?;
    Ok(id)
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
        "SELECT DISTINCT ON (p.asset_id, p.failure_mode_id, b.part_number) p.id, p.asset_id, p.probability, p.horizon_h, p.rul_p10_h, b.part_number, b.quantity::float8, b.unit,
                coalesce((SELECT max(lead_time_days) FROM part_stock s
                          WHERE s.tenant_id = p.tenant_id AND s.part_number = b.part_number), b.lead_time_days)
         FROM prediction p JOIN bom_item b ON b.asset_id = p.asset_id AND b.failure_mode_id = p.failure_mode_id
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

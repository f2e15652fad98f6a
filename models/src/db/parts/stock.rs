//! The stock as its owner counts it.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::db::change::ChangeError;
use crate::id::{ReservationId, TenantId, TicketId};
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
        if matches!(super::gate(connection, ticket).await?, Gate::Missing(_)) {
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
pub(super) async fn available(
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

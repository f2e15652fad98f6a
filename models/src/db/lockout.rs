//! SQL of lock-out procedures and of the locks that hang.

use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::db::change::ChangeError;
use crate::db::outbox;
use crate::db::ticket::add_event;
use crate::id::{AssetId, AttachmentId, LockId, ProcedureId, TenantId, TicketId};
use crate::lockout::{Isolation, Point};
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = LotoProcedure))]
pub struct ProcedureRow {
    pub id: ProcedureId,
    pub asset_id: AssetId,
    pub name: String,
    pub points: Vec<Point>,
    pub enabled: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewProcedure {
    pub asset_id: AssetId,
    #[cfg_attr(feature = "openapi", schema(example = "main drive"))]
    pub name: String,
    pub points: Vec<Point>,
}

/// # Errors
/// When the database does.
pub async fn procedures(
    connection: &mut PgConnection,
    asset: Option<AssetId>,
) -> Result<Vec<ProcedureRow>, sqlx::Error> {
    type Row = (ProcedureId, AssetId, String, Json<Vec<Point>>, bool);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, asset_id, name, points, enabled FROM loto_procedure
         WHERE $1::uuid IS NULL OR asset_id = $1 ORDER BY asset_id, name LIMIT 1000",
    )
    .bind(asset)
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, asset_id, name, points, enabled)| ProcedureRow {
            id,
            asset_id,
            name,
            points: points.0,
            enabled,
        })
        .collect())
}

/// Writes a procedure, in place of the asset's one of the same name.
///
/// # Errors
/// A foreign key when the asset isn't the tenant's.
pub async fn put_procedure(
    connection: &mut PgConnection,
    tenant: TenantId,
    new: &NewProcedure,
) -> Result<ProcedureId, sqlx::Error> {
    sqlx::query_scalar(
        "INSERT INTO loto_procedure (id, tenant_id, asset_id, name, points) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (asset_id, name) DO UPDATE SET points = excluded.points, enabled = true RETURNING id",
    )
    .bind(ProcedureId::new())
    .bind(tenant)
    .bind(new.asset_id)
    .bind(&new.name)
    .bind(Json(&new.points))
    .fetch_one(connection)
    .await
}

#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = LotoLock))]
pub struct LockRow {
    pub id: LockId,
    pub ticket_id: TicketId,
    pub asset_id: AssetId,
    pub procedure_id: ProcedureId,
    pub point: String,
    pub tag: String,
    pub applied_by: String,
    pub applied_at: Timestamp,
    pub photo_id: AttachmentId,
    pub removed_by: Option<String>,
    pub removed_at: Option<Timestamp>,
    pub removed_photo_id: Option<AttachmentId>,
}

/// The log of a ticket: what was locked when by whom, and taken off.
///
/// # Errors
/// When the database does.
pub async fn locks(connection: &mut PgConnection, ticket: TicketId) -> Result<Vec<LockRow>, sqlx::Error> {
    sqlx::query_as("SELECT * FROM loto_lock WHERE ticket_id = $1 ORDER BY applied_at, id")
        .bind(ticket)
        .fetch_all(connection)
        .await
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewLock {
    pub procedure_id: ProcedureId,
    #[cfg_attr(feature = "openapi", schema(example = "Q1"))]
    pub point: String,
    /// Number on the tag.
    #[cfg_attr(feature = "openapi", schema(example = "17"))]
    pub tag: String,
    /// An image attached to the ticket that shows the lock.
    pub photo_id: AttachmentId,
}

/// Why a lock can't be hung or taken off.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    #[error("the ticket is {0}: locks are hung before and while the work is done")]
    TicketDone(crate::ticket::Status),
    #[error("the procedure is not one of the ticket's asset")]
    OtherAsset,
    #[error("the procedure has no point `{point}`, only {known}")]
    NoSuchPoint { point: String, known: String },
    #[error("a lock of this ticket hangs on {0} already: take it off first")]
    Locked(String),
    #[error("the photo is not an image attached to this ticket: upload it first")]
    NoPhoto,
    #[error("work is going on: put the ticket on hold or complete its tasks before a lock comes off")]
    Working,
    #[error("the lock is off already")]
    Removed,
    #[error("{0} hung it: he takes it off himself, or a safety officer does")]
    NotYours(String),
}

async fn is_photo(
    connection: &mut PgConnection,
    ticket: TicketId,
    photo: AttachmentId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM attachment WHERE id = $1 AND ticket_id = $2 AND media_type LIKE 'image/%')",
    )
    .bind(photo)
    .bind(ticket)
    .fetch_one(connection)
    .await
}

/// Hangs a lock.
///
/// # Errors
/// [`LockError`]; not found when there is no such ticket.
pub async fn apply(
    connection: &mut PgConnection,
    ticket: TicketId,
    new: &NewLock,
    actor: &str,
    now: Timestamp,
) -> Result<LockId, ChangeError<LockError>> {
    let refuse = |error| Err(ChangeError::Refused(error));
    let found: Option<(TenantId, AssetId, crate::ticket::Status)> =
        sqlx::query_as("SELECT tenant_id, asset_id, status FROM ticket WHERE id = $1 FOR UPDATE")
            .bind(ticket)
            .fetch_optional(&mut *connection)
            .await?;
    let (tenant, asset, status) = found.ok_or(ChangeError::NotFound)?;
    if !status.is_open() {
        return refuse(LockError::TicketDone(status));
    }
    let points: Option<Json<Vec<Point>>> =
        sqlx::query_scalar("SELECT points FROM loto_procedure WHERE id = $1 AND asset_id = $2 AND enabled")
            .bind(new.procedure_id)
            .bind(asset)
            .fetch_optional(&mut *connection)
            .await?;
    let Some(Json(points)) = points else {
        return refuse(LockError::OtherAsset);
    };
    if !points.iter().any(|point| point.point == new.point) {
        let known: Vec<&str> = points.iter().map(|point| point.point.as_str()).collect();
        return refuse(LockError::NoSuchPoint {
            point: new.point.clone(),
            known: known.join(", "),
        });
    }
    if !is_photo(connection, ticket, new.photo_id).await? {
        return refuse(LockError::NoPhoto);
    }
    let id = LockId::new();
    let hung = sqlx::query(
        "INSERT INTO loto_lock (id, tenant_id, ticket_id, asset_id, procedure_id, point, tag, applied_by, applied_at, photo_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (ticket_id, procedure_id, point) WHERE removed_at IS NULL DO NOTHING",
    )
    .bind(id)
    .bind(tenant)
    .bind(ticket)
    .bind(asset)
    .bind(new.procedure_id)
    .bind(&new.point)
    .bind(&new.tag)
    .bind(actor)
    .bind(now)
    .bind(new.photo_id)
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if hung == 0 {
        return refuse(LockError::Locked(new.point.clone()));
    }
    let detail = json!({ "lock_id": id, "point": new.point, "tag": new.tag, "photo_id": new.photo_id });
    add_event(connection, tenant, ticket, "lock_applied", actor, &detail).await?;
    outbox::append(
        connection,
        tenant,
        "ticket.lock_applied",
        &ticket.to_string(),
        Some(asset),
        &detail,
    )
    .await?;
    Ok(id)
}

/// Takes a lock off. Only who hung it may, or one who may `override_owner` (a safety officer).
///
/// # Errors
/// [`LockError`]; not found when the ticket has no such lock.
pub async fn remove(
    connection: &mut PgConnection,
    ticket: TicketId,
    lock: LockId,
    photo: Option<AttachmentId>,
    actor: &str,
    override_owner: bool,
    now: Timestamp,
) -> Result<(), ChangeError<LockError>> {
    let refuse = |error| Err(ChangeError::Refused(error));
    type Row = (
        TenantId,
        AssetId,
        crate::ticket::Status,
        String,
        String,
        Option<Timestamp>,
        i64,
    );
    let found: Option<Row> = sqlx::query_as(
        "SELECT l.tenant_id, l.asset_id, t.status, l.applied_by, l.point, l.removed_at,
                (SELECT count(*) FROM ticket_task k WHERE k.ticket_id = t.id AND k.mandatory AND k.done_at IS NULL)
         FROM loto_lock l JOIN ticket t ON t.id = l.ticket_id WHERE l.id = $1 AND l.ticket_id = $2 FOR UPDATE OF l, t",
    )
    .bind(lock)
    .bind(ticket)
    .fetch_optional(&mut *connection)
    .await?;
    let (tenant, asset, status, applied_by, point, removed_at, open_tasks) =
        found.ok_or(ChangeError::NotFound)?;
    if removed_at.is_some() {
        return refuse(LockError::Removed);
    }
    if applied_by != actor && !override_owner {
        return refuse(LockError::NotYours(applied_by));
    }
    if status == crate::ticket::Status::InProgress && open_tasks > 0 {
        return refuse(LockError::Working);
    }
    if let Some(photo) = photo
        && !is_photo(connection, ticket, photo).await?
    {
        return refuse(LockError::NoPhoto);
    }
    sqlx::query("UPDATE loto_lock SET removed_by = $2, removed_at = $3, removed_photo_id = $4 WHERE id = $1")
        .bind(lock)
        .bind(actor)
        .bind(now)
        .bind(photo)
        .execute(&mut *connection)
        .await?;
    let detail =
        json!({ "lock_id": lock, "point": point, "photo_id": photo, "by_other": applied_by != actor });
    add_event(connection, tenant, ticket, "lock_removed", actor, &detail).await?;
    outbox::append(
        connection,
        tenant,
        "ticket.lock_removed",
        &ticket.to_string(),
        Some(asset),
        &detail,
    )
    .await?;
    Ok(())
}

/// The procedures of a ticket's asset with the points that it has locked, and what hangs.
///
/// # Errors
/// When the database does.
pub async fn state(
    connection: &mut PgConnection,
    ticket: TicketId,
    asset: AssetId,
) -> Result<(Vec<Isolation>, Vec<(String, String)>), sqlx::Error> {
    let procedures: Vec<(ProcedureId, String, Json<Vec<Point>>)> = sqlx::query_as(
        "SELECT id, name, points FROM loto_procedure WHERE asset_id = $1 AND enabled ORDER BY name",
    )
    .bind(asset)
    .fetch_all(&mut *connection)
    .await?;
    let hanging: Vec<(ProcedureId, String, String)> = sqlx::query_as(
        "SELECT procedure_id, point, tag FROM loto_lock WHERE ticket_id = $1 AND removed_at IS NULL ORDER BY point",
    )
    .bind(ticket)
    .fetch_all(connection)
    .await?;
    let isolations = procedures
        .into_iter()
        .map(|(id, procedure, points)| Isolation {
            procedure,
            points: points.0.into_iter().map(|point| point.point).collect(),
            locked: hanging
                .iter()
                .filter(|lock| lock.0 == id)
                .map(|lock| lock.1.clone())
                .collect(),
        })
        .collect();
    let hanging = hanging.into_iter().map(|(_, point, tag)| (point, tag)).collect();
    Ok((isolations, hanging))
}

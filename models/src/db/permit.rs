//! SQL of work permits and risk matrices.

use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

use crate::db::change::ChangeError;
use crate::db::outbox;
use crate::db::ticket::add_event;
use crate::id::{AssetId, MatrixId, PermitId, TenantId, TicketId};
use crate::permit::{
    Deciding, DecisionError, Held, Matrix, MatrixError, PermitDecision, PermitStatus, RiskLevel, decide,
};
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = RiskMatrix))]
pub struct MatrixRow {
    /// `null` = built in.
    pub id: Option<MatrixId>,
    pub name: String,
    pub matrix: Matrix,
}

/// The built-in matrix and the tenant's own.
///
/// # Errors
/// When the database does.
pub async fn matrices(connection: &mut PgConnection) -> Result<Vec<MatrixRow>, sqlx::Error> {
    let rows: Vec<(MatrixId, String, Vec<f64>, Vec<RiskLevel>)> =
        sqlx::query_as("SELECT id, name, bounds, levels FROM risk_matrix ORDER BY name")
            .fetch_all(connection)
            .await?;
    let built_in = MatrixRow {
        id: None,
        name: "built in".to_owned(),
        matrix: Matrix::default(),
    };
    Ok(std::iter::once(built_in)
        .chain(rows.into_iter().map(|(id, name, bounds, levels)| MatrixRow {
            id: Some(id),
            name,
            matrix: assemble(&bounds, &levels),
        }))
        .collect())
}

/// The lengths are the schema's checks.
fn assemble(bounds: &[f64], levels: &[RiskLevel]) -> Matrix {
    let mut matrix = Matrix::default();
    for (place, bound) in matrix.bounds.iter_mut().zip(bounds) {
        *place = *bound;
    }
    for (place, level) in matrix.levels.iter_mut().flatten().zip(levels) {
        *place = *level;
    }
    matrix
}

/// # Errors
/// `risk_matrix_tenant_id_name_key` when the name is taken.
pub async fn create_matrix(
    connection: &mut PgConnection,
    tenant: TenantId,
    name: &str,
    matrix: &Matrix,
) -> Result<MatrixId, sqlx::Error> {
    let id = MatrixId::new();
    let levels: Vec<RiskLevel> = matrix.levels.iter().flatten().copied().collect();
    sqlx::query("INSERT INTO risk_matrix (id, tenant_id, name, bounds, levels) VALUES ($1, $2, $3, $4, $5)")
        .bind(id)
        .bind(tenant)
        .bind(name)
        .bind(&matrix.bounds[..])
        .bind(levels)
        .execute(connection)
        .await?;
    Ok(id)
}

async fn matrix(connection: &mut PgConnection, id: Option<MatrixId>) -> Result<Option<Matrix>, sqlx::Error> {
    let Some(id) = id else {
        return Ok(Some(Matrix::default()));
    };
    let row: Option<(Vec<f64>, Vec<RiskLevel>)> =
        sqlx::query_as("SELECT bounds, levels FROM risk_matrix WHERE id = $1")
            .bind(id)
            .fetch_optional(connection)
            .await?;
    Ok(row.map(|(bounds, levels)| assemble(&bounds, &levels)))
}

#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = WorkPermit))]
pub struct PermitRow {
    pub id: PermitId,
    pub ticket_id: TicketId,
    pub ticket_number: i32,
    pub matrix_id: Option<MatrixId>,

    pub status: PermitStatus,
    pub work: String,
    pub hazards: String,
    pub precautions: String,
    pub likelihood: i16,
    pub consequence: i16,
    /// The prediction's probability that the likelihood came from.
    pub probability: Option<f64>,
    pub risk: RiskLevel,
    pub valid_from: Timestamp,
    pub valid_until: Timestamp,
    pub requested_by: String,
    pub requested_at: Timestamp,
    pub decided_by: Option<String>,
    pub decided_at: Option<Timestamp>,
    pub signature: Option<String>,
    pub reason: Option<String>,
    pub row_version: i32,
}

/// What somebody asks a permit for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewPermit {
    pub ticket_id: TicketId,
    #[serde(default)]
    pub matrix_id: Option<MatrixId>,
    #[cfg_attr(feature = "openapi", schema(example = "hot work"))]
    pub work: String,
    #[cfg_attr(feature = "openapi", schema(example = "sparks near the oil sump"))]
    pub hazards: String,
    #[cfg_attr(
        feature = "openapi",
        schema(example = "sump covered, fire watch for 30 minutes")
    )]
    pub precautions: String,
    /// 1 to 5. Left out: from the probability of the ticket's open prediction, or the failure's newest one.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(example = 2))]
    pub likelihood: Option<i16>,
    /// 1 to 5.
    #[cfg_attr(feature = "openapi", schema(example = 4))]
    pub consequence: i16,
    pub valid_from: Timestamp,
    pub valid_until: Timestamp,
}

/// Why a permit can't be asked for so.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AskError {
    #[error("there is no such risk matrix")]
    NoMatrix,
    #[error(transparent)]
    Matrix(#[from] MatrixError),
    #[error("no prediction speaks of this ticket's asset and failure mode: give likelihood, 1 to 5")]
    NoPrediction,
    #[error("valid_from must lie before valid_until, and valid_until in the future")]
    Window,
    #[error("a permit is valid for 24 hours at most: ask again for the next day")]
    TooLong,
    #[error("the ticket is {0}: a permit is for work that is still to be done")]
    TicketDone(crate::ticket::Status),
}

/// Permits, newest first.
///
/// # Errors
/// When the database does.
pub async fn permits(
    connection: &mut PgConnection,
    ticket: Option<TicketId>,
    status: Option<PermitStatus>,
    after: Option<PermitId>,
    limit: i64,
) -> Result<Vec<PermitRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT p.*, t.number AS ticket_number FROM work_permit p JOIN ticket t ON t.id = p.ticket_id
         WHERE ($1::uuid IS NULL OR p.ticket_id = $1) AND ($2::permit_status IS NULL OR p.status = $2)
           AND ($3::uuid IS NULL OR p.id < $3) ORDER BY p.id DESC LIMIT $4",
    )
    .bind(ticket)
    .bind(status)
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// # Errors
/// When the database does.
pub async fn get(connection: &mut PgConnection, id: PermitId) -> Result<Option<PermitRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT p.*, t.number AS ticket_number FROM work_permit p JOIN ticket t ON t.id = p.ticket_id WHERE p.id = $1",
    )
    .bind(id)
    .fetch_optional(connection)
    .await
}

/// Asks for a permit: approved at once when its risk is low or medium, else it waits for a decision.
///
/// # Errors
/// [`AskError`]; not found when there is no such ticket.
pub async fn ask(
    connection: &mut PgConnection,
    tenant: TenantId,
    new: &NewPermit,
    actor: &str,
    now: Timestamp,
) -> Result<PermitId, ChangeError<AskError>> {
    let refuse = |error| Err(ChangeError::Refused(error));
    type Row = (AssetId, crate::ticket::Status, Option<crate::id::FailureModeId>);
    let ticket: Option<Row> =
        sqlx::query_as("SELECT asset_id, status, failure_mode_id FROM ticket WHERE id = $1 FOR UPDATE")
            .bind(new.ticket_id)
            .fetch_optional(&mut *connection)
            .await?;
    let (asset, status, mode) = ticket.ok_or(ChangeError::NotFound)?;
    if !status.is_open() {
        return refuse(AskError::TicketDone(status));
    }
    if new.valid_from >= new.valid_until || new.valid_until <= now {
        return refuse(AskError::Window);
    }
    if new.valid_until.seconds_since(new.valid_from) > 86_400.0 {
        return refuse(AskError::TooLong);
    }
    let Some(matrix) = matrix(connection, new.matrix_id).await? else {
        return refuse(AskError::NoMatrix);
    };
    let (likelihood, probability) = match new.likelihood {
        Some(likelihood) => (likelihood, None),
        None => {
            let probability: Option<f64> = sqlx::query_scalar(
                "SELECT probability FROM prediction
                 WHERE asset_id = $1 AND (ticket_id = $3 OR failure_mode_id IS NOT DISTINCT FROM $2)
                 ORDER BY (ticket_id = $3) DESC NULLS LAST, updated_at DESC LIMIT 1",
            )
            .bind(asset)
            .bind(mode)
            .bind(new.ticket_id)
            .fetch_optional(&mut *connection)
            .await?;
            match probability {
                Some(probability) => (matrix.likelihood(probability), Some(probability)),
                None => return refuse(AskError::NoPrediction),
            }
        }
    };
    let risk = match matrix.risk(likelihood, new.consequence) {
        Ok(risk) => risk,
        Err(error) => return refuse(error.into()),
    };
    let approved = !risk.needs_approval();
    let id = PermitId::new();
    sqlx::query(
        "INSERT INTO work_permit (id, tenant_id, ticket_id, matrix_id, status, work, hazards, precautions, likelihood,
             consequence, probability, risk, valid_from, valid_until, requested_by, requested_at, decided_by, decided_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
             CASE WHEN $17 THEN $15 END, CASE WHEN $17 THEN $16 END)",
    )
    .bind(id)
    .bind(tenant)
    .bind(new.ticket_id)
    .bind(new.matrix_id)
    .bind(if approved { PermitStatus::Approved } else { PermitStatus::Requested })
    .bind(&new.work)
    .bind(&new.hazards)
    .bind(&new.precautions)
    .bind(likelihood)
    .bind(new.consequence)
    .bind(probability)
    .bind(risk)
    .bind(new.valid_from)
    .bind(new.valid_until)
    .bind(actor)
    .bind(now)
    .bind(approved)
    .execute(&mut *connection)
    .await?;
    let detail = json!({ "permit_id": id, "risk": risk, "likelihood": likelihood, "consequence": new.consequence,
                         "probability": probability, "approved": approved });
    let kind = if approved {
        "permit_approved"
    } else {
        "permit_requested"
    };
    add_event(connection, tenant, new.ticket_id, kind, actor, &detail).await?;
    let told = format!("ticket.{kind}");
    outbox::append(
        connection,
        tenant,
        &told,
        &new.ticket_id.to_string(),
        Some(asset),
        &detail,
    )
    .await?;
    Ok(id)
}

/// # Errors
/// [`DecisionError`]; stale when somebody decided first.
pub async fn decide_permit(
    connection: &mut PgConnection,
    id: PermitId,
    expected: Option<i32>,
    decision: PermitDecision,
    (reason, signature): (Option<&str>, Option<&str>),
    actor: &str,
    now: Timestamp,
) -> Result<(), ChangeError<DecisionError>> {
    type Row = (
        TenantId,
        TicketId,
        AssetId,
        PermitStatus,
        RiskLevel,
        String,
        Timestamp,
        i32,
    );
    let row: Option<Row> = sqlx::query_as(
        "SELECT p.tenant_id, p.ticket_id, t.asset_id, p.status, p.risk, p.requested_by, p.valid_until, p.row_version
         FROM work_permit p JOIN ticket t ON t.id = p.ticket_id WHERE p.id = $1 FOR UPDATE OF p",
    )
    .bind(id)
    .fetch_optional(&mut *connection)
    .await?;
    let (tenant, ticket, asset, status, risk, requested_by, valid_until, version) =
        row.ok_or(ChangeError::NotFound)?;
    ChangeError::check_version(expected, version)?;
    let facts = Deciding {
        status,
        risk,
        requested_by: &requested_by,
        valid_until,
        by: actor,
        reason,
        signature,
        now,
    };
    let to = decide(facts, decision).map_err(ChangeError::Refused)?;
    sqlx::query(
        "UPDATE work_permit SET status = $2, decided_by = $3, decided_at = $4, signature = coalesce($5, signature),
             reason = coalesce($6, reason), row_version = row_version + 1 WHERE id = $1",
    )
    .bind(id)
    .bind(to)
    .bind(actor)
    .bind(now)
    .bind(signature)
    .bind(reason)
    .execute(&mut *connection)
    .await?;
    let detail = json!({ "permit_id": id, "risk": risk, "status": to, "reason": reason });
    let kind = format!("permit_{to}");
    add_event(connection, tenant, ticket, &kind, actor, &detail).await?;
    let told = format!("ticket.{kind}");
    outbox::append(
        connection,
        tenant,
        &told,
        &ticket.to_string(),
        Some(asset),
        &detail,
    )
    .await?;
    Ok(())
}

/// The permits of a ticket as its gate sees them.
///
/// # Errors
/// When the database does.
pub async fn held(connection: &mut PgConnection, ticket: TicketId) -> Result<Vec<Held>, sqlx::Error> {
    let rows: Vec<(PermitStatus, RiskLevel, Timestamp, Timestamp)> =
        sqlx::query_as("SELECT status, risk, valid_from, valid_until FROM work_permit WHERE ticket_id = $1")
            .bind(ticket)
            .fetch_all(connection)
            .await?;
    Ok(rows
        .into_iter()
        .map(|(status, risk, valid_from, valid_until)| Held {
            status,
            risk,
            valid_from,
            valid_until,
        })
        .collect())
}

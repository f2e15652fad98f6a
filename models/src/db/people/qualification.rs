//! Certificates and trainings.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::id::{QualificationId, TenantId, UserId};
use crate::people::{QualificationKind, QualificationStatus};
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Qualification))]
pub struct QualificationRow {
    pub id: QualificationId,
    pub user_id: UserId,
    pub kind: QualificationKind,
    pub code: String,
    pub status: QualificationStatus,
    pub valid_from: Timestamp,
    pub valid_until: Option<Timestamp>,
    pub reference: Option<String>,
}

/// # Errors
/// When the database does.
pub async fn qualifications(
    connection: &mut PgConnection,
    user: Option<UserId>,
) -> Result<Vec<QualificationRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, user_id, kind, code, status, valid_from, valid_until, reference FROM qualification
         WHERE $1::uuid IS NULL OR user_id = $1 ORDER BY user_id, code, kind",
    )
    .bind(user)
    .fetch_all(connection)
    .await
}

/// A person's certificate or training as it stands now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewQualification {
    pub user_id: UserId,
    pub kind: QualificationKind,
    #[cfg_attr(feature = "openapi", schema(example = "electrical_work_class_a"))]
    pub code: String,
    #[serde(default = "passed")]
    pub status: QualificationStatus,
    pub valid_from: Timestamp,
    #[serde(default)]
    pub valid_until: Option<Timestamp>,
    #[serde(default)]
    pub reference: Option<String>,
}

fn passed() -> QualificationStatus {
    QualificationStatus::Passed
}

/// Writes it, in place of the one of the same person, kind and code.
///
/// # Errors
/// `qualification_runs_forward`; a foreign key when the person is no technician of the tenant.
pub async fn put_qualification(
    connection: &mut PgConnection,
    tenant: TenantId,
    new: &NewQualification,
) -> Result<QualificationId, sqlx::Error> {
    sqlx::query_scalar(
        "INSERT INTO qualification (id, tenant_id, user_id, kind, code, status, valid_from, valid_until, reference)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (tenant_id, user_id, kind, code) DO UPDATE SET status = excluded.status,
             valid_from = excluded.valid_from, valid_until = excluded.valid_until, reference = excluded.reference
         RETURNING id",
    )
    .bind(QualificationId::new())
    .bind(tenant)
    .bind(new.user_id)
    .bind(new.kind)
    .bind(&new.code)
    .bind(new.status)
    .bind(new.valid_from)
    .bind(new.valid_until)
    .bind(&new.reference)
    .fetch_one(connection)
    .await
}

//! The bill of materials: which parts the repair of an asset's failure modes takes.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::db::change::ChangeError;
use crate::db::register::{NewBomItem, create_bom_item};
use crate::id::{AssetId, BomItemId, FailureModeId, TenantId};

/// One line as people write it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BomLine {
    #[cfg_attr(feature = "openapi", schema(example = "6308-2RS"))]
    pub part_number: String,
    /// The failure mode whose repair takes the part; every repair does when left out.
    #[serde(default)]
    pub failure_mode_id: Option<FailureModeId>,
    #[serde(default)]
    pub description: String,
    #[cfg_attr(feature = "openapi", schema(example = 2.0))]
    pub quantity: f64,
    /// UCUM; `1` = pieces.
    #[serde(default = "pieces")]
    #[cfg_attr(feature = "openapi", schema(example = "1"))]
    pub unit: String,
    /// Days from order to delivery, where the stock doesn't know it.
    #[serde(default)]
    pub lead_time_days: Option<f64>,
}

fn pieces() -> String {
    "1".to_owned()
}

#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = BomItem))]
pub struct BomRow {
    pub id: BomItemId,
    pub part_number: String,
    pub failure_mode_id: Option<FailureModeId>,
    pub failure_mode_code: Option<String>,
    pub description: String,
    pub quantity: f64,
    pub unit: String,
    pub lead_time_days: Option<f64>,
}

/// Why a bill of materials can't be used. `line` counts from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BomError {
    #[error("a part number has 1 to 100 characters")]
    PartNumber { line: usize },
    #[error("a quantity is a number above 0; leave the line out when no part is needed")]
    Quantity { line: usize },
    #[error("lead_time_days is a number from 0 on")]
    LeadTime { line: usize },
    #[error("a unit has 1 to 20 characters, `1` for pieces")]
    Unit { line: usize },
    #[error("the part stands there for this failure mode already: add the quantities up")]
    Twice { line: usize },
    #[error("the asset's class has no such failure mode: GET /v1/assets/{{id}} lists those it has")]
    NoSuchMode { line: usize },
}

impl BomError {
    /// Which line, and which of its fields.
    pub fn place(&self) -> (usize, &'static str) {
        match self {
            Self::PartNumber { line } | Self::Twice { line } => (*line, "part_number"),
            Self::Quantity { line } => (*line, "quantity"),
            Self::LeadTime { line } => (*line, "lead_time_days"),
            Self::Unit { line } => (*line, "unit"),
            Self::NoSuchMode { line } => (*line, "failure_mode_id"),
        }
    }
}

/// By part number.
///
/// # Errors
/// When the database does.
pub async fn bom(connection: &mut PgConnection, asset: AssetId) -> Result<Vec<BomRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT b.id, b.part_number, b.failure_mode_id, f.code AS failure_mode_code, b.description,
                b.quantity::float8 AS quantity, b.unit, b.lead_time_days
         FROM bom_item b LEFT JOIN failure_mode f ON f.id = b.failure_mode_id
         WHERE b.asset_id = $1 ORDER BY b.part_number, f.code NULLS FIRST",
    )
    .bind(asset)
    .fetch_all(connection)
    .await
}

fn check(lines: &[BomLine]) -> Result<(), BomError> {
    let mut seen = HashSet::new();
    for (line, one) in lines.iter().enumerate() {
        let part = one.part_number.trim();
        if part.is_empty() || part.chars().count() > 100 {
            return Err(BomError::PartNumber { line });
        }
        if !(one.quantity.is_finite() && one.quantity > 0.0) {
            return Err(BomError::Quantity { line });
        }
        if one
            .lead_time_days
            .is_some_and(|days| !(days.is_finite() && days >= 0.0))
        {
            return Err(BomError::LeadTime { line });
        }
        if one.unit.trim().is_empty() || one.unit.chars().count() > 20 {
            return Err(BomError::Unit { line });
        }
        if !seen.insert((part, one.failure_mode_id)) {
            return Err(BomError::Twice { line });
        }
    }
    Ok(())
}

/// Replaces an asset's bill of materials. What tickets have reserved stays reserved.
///
/// # Errors
/// [`BomError`]; not found when there is no such asset.
pub async fn put_bom(
    connection: &mut PgConnection,
    tenant: TenantId,
    asset: AssetId,
    lines: &[BomLine],
) -> Result<(), ChangeError<BomError>> {
    check(lines).map_err(ChangeError::Refused)?;
    // Two who replace it at once come one after the other.
    let modes: Option<Vec<FailureModeId>> = sqlx::query_scalar(
        "SELECT ARRAY (SELECT f.id FROM failure_mode f WHERE f.class_id = a.class_id)
         FROM asset a WHERE a.id = $1 FOR UPDATE",
    )
    .bind(asset)
    .fetch_optional(&mut *connection)
    .await?;
    let modes = modes.ok_or(ChangeError::NotFound)?;
    let stranger = |one: &BomLine| one.failure_mode_id.is_some_and(|mode| !modes.contains(&mode));
    if let Some(line) = lines.iter().position(stranger) {
        return Err(ChangeError::Refused(BomError::NoSuchMode { line }));
    }
    sqlx::query("DELETE FROM bom_item WHERE asset_id = $1")
        .bind(asset)
        .execute(&mut *connection)
        .await?;
    for one in lines {
        let new = NewBomItem {
            tenant,
            asset,
            failure_mode: one.failure_mode_id,
            part_number: one.part_number.trim(),
            description: one.description.trim(),
            quantity: one.quantity,
            unit: one.unit.trim(),
            lead_time_days: one.lead_time_days,
        };
        create_bom_item(connection, &new).await?;
    }
    Ok(())
}

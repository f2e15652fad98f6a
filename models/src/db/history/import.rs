//! How far a file has been imported.

use sqlx::PgConnection;

use crate::id::GatewayId;

/// The highest contiguous chunk of the sequence `epoch` that is committed; 0 = none.
///
/// # Errors
/// When the database does.
pub async fn progress(
    connection: &mut PgConnection,
    gateway: GatewayId,
    epoch: u64,
) -> Result<u64, sqlx::Error> {
    let seq: Option<i64> =
        sqlx::query_scalar("SELECT contiguous_seq FROM gateway_cursor WHERE gateway_id = $1 AND epoch = $2")
            .bind(gateway)
            .bind(i64::try_from(epoch).unwrap_or(i64::MAX))
            .fetch_optional(connection)
            .await?;
    Ok(seq.map_or(0, i64::unsigned_abs))
}

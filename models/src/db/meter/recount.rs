//! Finding readings that came late to a meter which a channel feeds.

use sqlx::PgConnection;
use sqlx::types::Json;

use crate::id::{ChannelId, MeterId};
use crate::meter::Recount;
use crate::time::Timestamp;

/// How many readings a channel has in `(after, to]`. Analytics only.
///
/// # Errors
/// When the database does.
pub async fn count_between(
    connection: &mut PgConnection,
    channel: ChannelId,
    after: Timestamp,
    to: Timestamp,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT count(*) FROM reading WHERE channel_id = $1 AND ts > $2 AND ts <= $3")
        .bind(channel)
        .bind(after)
        .bind(to)
        .fetch_one(connection)
        .await
}

/// Keeps the checkpoints; `None` = counting again from before `now` would be wrong.
///
/// # Errors
/// When the database does.
pub async fn save_recount(
    connection: &mut PgConnection,
    id: MeterId,
    recount: Option<&Recount>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE meter SET recount = $2, recounted_at = $3 WHERE id = $1")
        .bind(id)
        .bind(recount.map(Json))
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

/// Meters that nobody has looked at for late readings since `before`.
///
/// # Errors
/// When the database does.
pub async fn due_for_recount(
    connection: &mut PgConnection,
    before: Timestamp,
) -> Result<Vec<MeterId>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT id FROM meter WHERE recount IS NOT NULL AND channel_id IS NOT NULL AND recounted_at < $1 ORDER BY id",
    )
    .bind(before)
    .fetch_all(connection)
    .await
}

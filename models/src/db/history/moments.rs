//! What stood at a time, and the readings of several channels at once.

use sqlx::PgConnection;

use super::RawPoint;
use super::copy::{array, each};
use crate::id::ChannelId;
use crate::time::Timestamp;

/// What a channel showed at `moment`: its newest reading until then that is not bad.
#[derive(Clone, Copy, Debug, PartialEq, sqlx::FromRow)]
pub struct AsOf {
    pub channel_id: ChannelId,
    pub moment: Timestamp,
    pub ts: Timestamp,
    pub value: f64,
    pub quality: i16,
}

/// For each channel and moment the newest reading in `(moment − within, moment]` that is not bad,
/// by channel and moment; absent where there is none.
///
/// # Errors
/// When the database does.
pub async fn at(
    connection: &mut PgConnection,
    channels: &[ChannelId],
    moments: &[Timestamp],
    within_us: i64,
) -> Result<Vec<AsOf>, sqlx::Error> {
    sqlx::query_as("SELECT * FROM history_at($1, $2, $3::bigint * interval '1 microsecond')")
        .bind(channels.iter().map(|channel| channel.0).collect::<Vec<_>>())
        .bind(moments)
        .bind(within_us)
        .fetch_all(connection)
        .await
}

/// Readings of several channels in `[from, to)`, channel by channel, oldest first, at most `most` in
/// all.
///
/// # Errors
/// When the database does.
pub async fn many(
    connection: &mut PgConnection,
    channels: &[ChannelId],
    from: Timestamp,
    to: Timestamp,
    most: i64,
) -> Result<Vec<(ChannelId, RawPoint)>, sqlx::Error> {
    let query = format!(
        "SELECT channel_id, ts, value, quality FROM history_many({}, '{from}', '{to}', {most})",
        array(channels)
    );
    let mut all = Vec::new();
    each(connection, &query, |[id, ts, value, quality]| {
        let point = RawPoint {
            ts: ts.time()?,
            value: value.double()?,
            quality: quality.short()?,
        };
        all.push((ChannelId(id.int()?), point));
        Ok(())
    })
    .await?;
    Ok(all)
}

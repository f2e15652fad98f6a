//! What changed about a past that was over: for processes that remember readings.
//!
//! A process keeps the snapshot in which it last asked. Readings before the frontier of that moment were
//! either visible to it, or are stored by a transaction that sees that frontier or a later one and tells
//! of them here (`migrations/0057_late_readings.sql`); the next question finds it, because it asks for
//! what that snapshot did not see. Readings from the frontier on are told by nobody: they come all the time.

use sqlx::PgConnection;

use super::rollup::Range;
use crate::id::AssetId;
use crate::time::Timestamp;

/// How long it is remembered what changed, hours. Who asks more rarely must read everything again.
pub const KEPT_H: f64 = 24.0;

/// What became visible since a snapshot.
#[derive(Clone, Debug)]
pub struct News {
    /// To be handed in the next time.
    pub snapshot: String,
    /// The database's clock.
    pub at: Timestamp,
    /// Changes before this moment are told from now on; `None`: none are.
    pub frontier: Option<Timestamp>,
    /// The database is not the one that the snapshot was of, but an older state of it.
    pub restored: bool,
    /// Assets with changed readings, and from when on.
    pub changed: Vec<(AssetId, Timestamp)>,
}

/// What changed that `snapshot` did not see; nothing without one. Must be asked outside of a transaction, or
/// in one that sees what was committed before each statement.
///
/// # Errors
/// When the database does.
pub async fn news(connection: &mut PgConnection, snapshot: Option<&str>) -> Result<News, sqlx::Error> {
    type Row = (
        String,
        Timestamp,
        Option<Timestamp>,
        bool,
        Vec<AssetId>,
        Vec<Timestamp>,
    );
    let (snapshot, at, frontier, restored, assets, from): Row = sqlx::query_as(
        "SELECT pg_current_snapshot()::text, now(), (SELECT frontier FROM rollup_state),
                coalesce(pg_snapshot_xmax(pg_current_snapshot()) < pg_snapshot_xmin($1::text::pg_snapshot), false),
                coalesce(array_agg(n.asset_id), '{}'), coalesce(array_agg(n.from_ts), '{}')
         FROM (SELECT c.asset_id, min(l.from_ts) AS from_ts FROM reading_late l JOIN channel c ON c.id = l.channel_id
               WHERE l.xid >= pg_snapshot_xmin($1::text::pg_snapshot)
                 AND NOT pg_visible_in_snapshot(l.xid, $1::text::pg_snapshot) AND c.asset_id IS NOT NULL
               GROUP BY c.asset_id) n",
    )
    .bind(snapshot)
    .fetch_one(connection)
    .await?;
    Ok(News {
        snapshot,
        at,
        frontier,
        restored,
        changed: assets.into_iter().zip(from).collect(),
    })
}

/// Tells of readings in `ranges` that this transaction stored.
pub(super) async fn tell(connection: &mut PgConnection, ranges: &[Range]) -> Result<(), sqlx::Error> {
    if ranges.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO reading_late (channel_id, from_ts)
         SELECT c, min(f) FROM unnest($1::int4[], $2::timestamptz[]) AS r (c, f) GROUP BY c",
    )
    .bind(ranges.iter().map(|range| range.channel).collect::<Vec<_>>())
    .bind(ranges.iter().map(|range| range.from).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets what is older than [`KEPT_H`]. Returns how many rows went.
///
/// # Errors
/// When the database does.
pub async fn prune(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let done = sqlx::query("DELETE FROM reading_late WHERE at < now() - make_interval(secs => $1)")
        .bind(KEPT_H * 3600.0)
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::fixture::Plant;
    use crate::db::history::rollup;
    use crate::db::reading;
    use crate::db::testing::TestDatabase;
    use crate::id::ChannelId;
    use crate::reading::{Quality, Reading};

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_secs(1_767_571_200 + hours * 3600)
    }

    async fn store(connection: &mut PgConnection, channel: ChannelId, hour: i64) {
        let one = Reading {
            channel,
            ts: at(hour),
            value: 1.0,
            quality: Quality::Good,
        };
        reading::copy(connection, &[one]).await.unwrap();
    }

    #[tokio::test]
    async fn a_change_is_told_once_it_is_visible_whatever_the_order_of_commits() {
        let database = TestDatabase::new().await;
        let plant = Plant::new(&database.owner, "north").await;
        let (a, b) = (plant.machine("a").await, plant.machine("b").await);
        let mut connection = database.owner.acquire().await.unwrap();
        store(&mut connection, a.channel, 1).await;
        let first = news(&mut connection, None).await.unwrap();
        assert_eq!((first.frontier, first.changed), (None, Vec::new()));
        rollup::advance(&mut connection, at(10)).await.unwrap();

        let mut early = database.owner.begin().await.unwrap();
        store(&mut early, a.channel, 2).await;
        store(&mut connection, b.channel, 3).await;
        store(&mut connection, a.channel, 12).await;
        let second = news(&mut connection, Some(&first.snapshot)).await.unwrap();
        assert_eq!(second.frontier, Some(at(10)));
        assert_eq!(
            second.changed,
            [(b.asset, at(3))],
            "what lies after the frontier is told by nobody"
        );
        early.commit().await.unwrap();
        let third = news(&mut connection, Some(&second.snapshot)).await.unwrap();
        assert_eq!(third.changed, [(a.asset, at(2))]);
        sqlx::query("UPDATE reading SET value = 2 WHERE channel_id = $1 AND ts = $2")
            .bind(a.channel)
            .bind(at(12))
            .execute(&mut *connection)
            .await
            .unwrap();
        let fourth = news(&mut connection, Some(&third.snapshot)).await.unwrap();
        assert_eq!(fourth.changed, [(a.asset, at(12))], "a correction always is");
        let last = news(&mut connection, Some(&fourth.snapshot)).await.unwrap();
        assert!(last.changed.is_empty() && !last.restored, "{last:?}");
        let ahead = news(&mut connection, Some("9000000000:9000000000:"))
            .await
            .unwrap();
        assert!(
            ahead.restored,
            "a snapshot of transactions that this database has not begun"
        );

        assert_eq!(prune(&mut connection).await.unwrap(), 0);
        sqlx::query("UPDATE reading_late SET at = at - interval '25 hours'")
            .execute(&mut *connection)
            .await
            .unwrap();
        assert!(prune(&mut connection).await.unwrap() >= 3);
        drop(connection);
        database.drop_now().await;
    }
}

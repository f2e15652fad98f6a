//! What MQTT sessions keep over a restart of a front door.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::id::{GatewayId, TenantId};
use crate::time::Timestamp;

/// A session that outlives its connection.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct SessionRow {
    pub id: i64,
    pub tenant_id: TenantId,
    pub gateway_id: GatewayId,
    pub client_id: String,
    pub subscriptions: Value,
    /// How long it outlives its connection, seconds.
    pub expiry_s: i64,
    /// `None` = it has a connection.
    pub expires_at: Option<Timestamp>,
}

/// A message that waits for one session.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct QueuedRow {
    pub session_id: i64,
    pub entry: i64,
    pub tenant_id: TenantId,
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: i16,
    pub about: Value,
    pub expires_at: Option<Timestamp>,
    pub packet_id: i32,
    pub released: bool,
}

/// The retained message of a topic.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct RetainedRow {
    pub tenant_id: TenantId,
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: i16,
    pub about: Value,
    pub expires_at: Option<Timestamp>,
}

/// Everything a front door kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    pub sessions: Vec<SessionRow>,
    /// In the order they are to be sent.
    pub queued: Vec<QueuedRow>,
    pub retained: Vec<RetainedRow>,
}

/// Takes a front door over, from whichever process had it. Returns the new epoch.
///
/// # Errors
/// When the database does.
pub async fn take_door(connection: &mut PgConnection, door: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "INSERT INTO mqtt_door (door, epoch) VALUES ($1, 1)
         ON CONFLICT (door) DO UPDATE SET epoch = mqtt_door.epoch + 1
         RETURNING epoch",
    )
    .bind(door)
    .fetch_one(connection)
    .await
}

/// Whether the door is still of this epoch; it stays so to the end of the transaction.
///
/// # Errors
/// When the database does.
pub async fn has_door(connection: &mut PgConnection, door: &str, epoch: i64) -> Result<bool, sqlx::Error> {
    let found: Option<i64> = sqlx::query_scalar("SELECT epoch FROM mqtt_door WHERE door = $1 FOR SHARE")
        .bind(door)
        .fetch_optional(connection)
        .await?;
    Ok(found == Some(epoch))
}

/// Everything that is kept for a door. What was connected when its process ended expires from now on.
///
/// # Errors
/// When the database does.
pub async fn load(connection: &mut PgConnection, door: &str) -> Result<Kept, sqlx::Error> {
    sqlx::query(
        "UPDATE mqtt_session SET expires_at = now() + expiry_s * interval '1 second'
         WHERE door = $1 AND expires_at IS NULL",
    )
    .bind(door)
    .execute(&mut *connection)
    .await?;
    let sessions = sqlx::query_as(
        "SELECT id, tenant_id, gateway_id, client_id, subscriptions, expiry_s, expires_at FROM mqtt_session
         WHERE door = $1",
    )
    .bind(door)
    .fetch_all(&mut *connection)
    .await?;
    let queued = sqlx::query_as(
        "SELECT session_id, entry, tenant_id, topic, payload, qos, about, expires_at, packet_id, released
         FROM mqtt_queued WHERE door = $1 ORDER BY session_id, entry",
    )
    .bind(door)
    .fetch_all(&mut *connection)
    .await?;
    let retained = sqlx::query_as(
        "SELECT tenant_id, topic, payload, qos, about, expires_at FROM mqtt_retained WHERE door = $1",
    )
    .bind(door)
    .fetch_all(&mut *connection)
    .await?;
    Ok(Kept {
        sessions,
        queued,
        retained,
    })
}

/// Forgets what has expired, of every door: also of one that doesn't come back.
///
/// # Errors
/// When the database does.
pub async fn prune(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let mut gone = 0;
    for old in [
        "DELETE FROM mqtt_session WHERE expires_at <= now()",
        "DELETE FROM mqtt_queued WHERE expires_at <= now() AND NOT released",
        "DELETE FROM mqtt_retained WHERE expires_at <= now()",
    ] {
        gone += sqlx::query(old).execute(&mut *connection).await?.rows_affected();
    }
    Ok(gone)
}

/// # Errors
/// When the database does.
pub async fn put_sessions(
    connection: &mut PgConnection,
    door: &str,
    rows: &[SessionRow],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO mqtt_session
             (door, id, tenant_id, gateway_id, client_id, subscriptions, expiry_s, expires_at)
         SELECT $1, * FROM unnest($2::int8[], $3::uuid[], $4::uuid[], $5::text[], $6::jsonb[], $7::int8[],
                                  $8::timestamptz[])
         ON CONFLICT (door, id) DO UPDATE
             SET subscriptions = excluded.subscriptions, expiry_s = excluded.expiry_s,
                 expires_at = excluded.expires_at",
    )
    .bind(door)
    .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.tenant_id.uuid()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.gateway_id.uuid()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.client_id.as_str()).collect::<Vec<_>>())
    .bind(
        rows.iter()
            .map(|row| row.subscriptions.clone())
            .collect::<Vec<_>>(),
    )
    .bind(rows.iter().map(|row| row.expiry_s).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.expires_at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends sessions; what waits for them goes with them.
///
/// # Errors
/// When the database does.
pub async fn drop_sessions(
    connection: &mut PgConnection,
    door: &str,
    ids: &[i64],
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM mqtt_session WHERE door = $1 AND id = ANY($2)")
        .bind(door)
        .bind(ids)
        .execute(connection)
        .await?;
    Ok(())
}

/// Keeps messages for sessions; nothing for one that isn't kept.
///
/// # Errors
/// When the database does.
pub async fn put_queued(
    connection: &mut PgConnection,
    door: &str,
    rows: &[QueuedRow],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO mqtt_queued
             (door, session_id, entry, tenant_id, topic, payload, qos, about, expires_at, packet_id, released)
         SELECT $1, q.*
         FROM unnest($2::int8[], $3::int8[], $4::uuid[], $5::text[], $6::bytea[], $7::int2[], $8::jsonb[],
                     $9::timestamptz[], $10::int4[], $11::bool[])
             AS q (session_id, entry, tenant_id, topic, payload, qos, about, expires_at, packet_id, released)
         WHERE EXISTS (SELECT FROM mqtt_session s WHERE s.door = $1 AND s.id = q.session_id)
         ON CONFLICT DO NOTHING",
    )
    .bind(door)
    .bind(rows.iter().map(|row| row.session_id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.entry).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.tenant_id.uuid()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.topic.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.payload.as_slice()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.qos).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.about.clone()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.expires_at).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.packet_id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.released).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

fn keys(of: &[(i64, i64)]) -> (Vec<i64>, Vec<i64>) {
    of.iter().copied().unzip()
}

/// The PUBREC of these messages, each a session and an entry, came.
///
/// # Errors
/// When the database does.
pub async fn release_queued(
    connection: &mut PgConnection,
    door: &str,
    of: &[(i64, i64)],
) -> Result<(), sqlx::Error> {
    let (sessions, entries) = keys(of);
    sqlx::query(
        "UPDATE mqtt_queued SET released = true
         WHERE door = $1 AND (session_id, entry) IN (SELECT * FROM unnest($2::int8[], $3::int8[]))",
    )
    .bind(door)
    .bind(sessions)
    .bind(entries)
    .execute(connection)
    .await?;
    Ok(())
}

/// These messages, each a session and an entry, are done with.
///
/// # Errors
/// When the database does.
pub async fn drop_queued(
    connection: &mut PgConnection,
    door: &str,
    of: &[(i64, i64)],
) -> Result<(), sqlx::Error> {
    let (sessions, entries) = keys(of);
    sqlx::query(
        "DELETE FROM mqtt_queued
         WHERE door = $1 AND (session_id, entry) IN (SELECT * FROM unnest($2::int8[], $3::int8[]))",
    )
    .bind(door)
    .bind(sessions)
    .bind(entries)
    .execute(connection)
    .await?;
    Ok(())
}

/// # Errors
/// When the database does.
pub async fn put_retained(
    connection: &mut PgConnection,
    door: &str,
    rows: &[RetainedRow],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO mqtt_retained (door, tenant_id, topic, payload, qos, about, expires_at)
         SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::bytea[], $5::int2[], $6::jsonb[], $7::timestamptz[])
         ON CONFLICT (door, tenant_id, topic) DO UPDATE
             SET payload = excluded.payload, qos = excluded.qos, about = excluded.about,
                 expires_at = excluded.expires_at",
    )
    .bind(door)
    .bind(rows.iter().map(|row| row.tenant_id.uuid()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.topic.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.payload.as_slice()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.qos).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.about.clone()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.expires_at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes the retained messages of topics away.
///
/// # Errors
/// When the database does.
pub async fn drop_retained(
    connection: &mut PgConnection,
    door: &str,
    of: &[(TenantId, String)],
) -> Result<(), sqlx::Error> {
    let (tenants, topics): (Vec<Uuid>, Vec<&str>) = of
        .iter()
        .map(|(tenant, topic)| (tenant.uuid(), topic.as_str()))
        .unzip();
    sqlx::query(
        "DELETE FROM mqtt_retained
         WHERE door = $1 AND (tenant_id, topic) IN (SELECT * FROM unnest($2::uuid[], $3::text[]))",
    )
    .bind(door)
    .bind(tenants)
    .bind(topics)
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::db::Role;
    use crate::db::fixture::Plant;
    use crate::db::testing::TestDatabase;

    /// As the ingest role, so that its rights are proved as well.
    #[tokio::test]
    async fn what_is_kept_comes_back_for_its_door_only() {
        let database = TestDatabase::new().await;
        let plant = Plant::new(&database.owner, "north").await;
        let pool = database.pool(Role::Ingest);
        let mut c = pool.acquire().await.unwrap();
        assert_eq!(take_door(&mut c, "a").await.unwrap(), 1);
        assert_eq!(take_door(&mut c, "a").await.unwrap(), 2);
        take_door(&mut c, "b").await.unwrap();
        assert!(has_door(&mut c, "a", 2).await.unwrap() && !has_door(&mut c, "a", 1).await.unwrap());
        let gateway: GatewayId = sqlx::query_scalar("SELECT id FROM gateway WHERE tenant_id = $1 LIMIT 1")
            .bind(plant.tenant)
            .fetch_one(&database.owner)
            .await
            .unwrap();
        let future = Some(Timestamp::from_secs(4_000_000_000));
        let session = |id: i64, expires_at| SessionRow {
            id,
            tenant_id: plant.tenant,
            gateway_id: gateway,
            client_id: format!("c{id}"),
            subscriptions: json!([]),
            expiry_s: 3600,
            expires_at,
        };
        let queued = |session_id, entry| QueuedRow {
            session_id,
            entry,
            tenant_id: plant.tenant,
            topic: "t".into(),
            payload: vec![0, 255],
            qos: 2,
            about: json!({"retain": true}),
            expires_at: None,
            packet_id: 7,
            released: false,
        };
        let retained = |topic: &str, expires_at| RetainedRow {
            tenant_id: plant.tenant,
            topic: topic.into(),
            payload: vec![1],
            qos: 1,
            about: json!({}),
            expires_at,
        };
        let sessions = [session(1, future), session(2, None), session(3, future)];
        for _ in 0..2 {
            // Again is well: a commit whose answer was lost is run a second time.
            put_sessions(&mut c, "a", &sessions).await.unwrap();
            put_queued(
                &mut c,
                "a",
                &[
                    queued(1, 10),
                    queued(1, 4),
                    queued(2, 5),
                    queued(3, 6),
                    queued(9, 6),
                ],
            )
            .await
            .unwrap();
            put_retained(&mut c, "a", &[retained("x", None), retained("y", None)])
                .await
                .unwrap();
        }
        release_queued(&mut c, "a", &[(1, 4)]).await.unwrap();
        drop_queued(&mut c, "a", &[(2, 5)]).await.unwrap();
        drop_sessions(&mut c, "a", &[3]).await.unwrap();
        drop_retained(&mut c, "a", &[(plant.tenant, "x".into())])
            .await
            .unwrap();
        assert_eq!(load(&mut c, "b").await.unwrap(), Kept::default());
        let kept = load(&mut c, "a").await.unwrap();
        assert_eq!(kept.sessions.len(), 2);
        assert!(
            kept.sessions.iter().all(|session| session.expires_at.is_some()),
            "one that was connected expires from now on"
        );
        let released = QueuedRow {
            released: true,
            ..queued(1, 4)
        };
        assert_eq!(kept.queued, [released, queued(1, 10)]);
        assert_eq!(kept.retained, [retained("y", None)]);

        let past = Some(Timestamp::from_secs(1));
        put_sessions(&mut c, "a", &[session(1, past)]).await.unwrap();
        put_retained(&mut c, "a", &[retained("y", past)]).await.unwrap();
        assert_eq!(prune(&mut c).await.unwrap(), 2);
        let kept = load(&mut c, "a").await.unwrap();
        assert_eq!(
            (kept.sessions.len(), kept.queued.len(), kept.retained.len()),
            (1, 0, 0)
        );
        drop(c);
        pool.close().await;
        database.drop_now().await;
    }
}

//! What is new. Each may be written again: a commit whose answer was lost is run a second time.

use sqlx::PgConnection;

use super::{QueuedRow, ReceivedRow, RetainedRow, SessionRow, WillRow};

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

/// Keeps packet identifiers; nothing for a session that isn't kept.
///
/// # Errors
/// When the database does.
pub async fn put_received(
    connection: &mut PgConnection,
    door: &str,
    rows: &[ReceivedRow],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO mqtt_received (door, session_id, packet_id, tenant_id)
         SELECT $1, r.* FROM unnest($2::int8[], $3::int4[], $4::uuid[]) AS r (session_id, packet_id, tenant_id)
         WHERE EXISTS (SELECT FROM mqtt_session s WHERE s.door = $1 AND s.id = r.session_id)
         ON CONFLICT DO NOTHING",
    )
    .bind(door)
    .bind(rows.iter().map(|row| row.session_id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.packet_id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.tenant_id.uuid()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// # Errors
/// When the database does.
pub async fn put_wills(
    connection: &mut PgConnection,
    door: &str,
    rows: &[WillRow],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO mqtt_will
             (door, connection, tenant_id, gateway_id, client_id, topic, payload, qos, retain, about, delay_s)
         SELECT $1, * FROM unnest($2::int8[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::bytea[],
                                  $8::int2[], $9::bool[], $10::jsonb[], $11::int8[])
         ON CONFLICT DO NOTHING",
    )
    .bind(door)
    .bind(rows.iter().map(|row| row.connection).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.tenant_id.uuid()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.gateway_id.uuid()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.client_id.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.topic.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.payload.as_slice()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.qos).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.retain).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.about.clone()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.delay_s).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

//! What is over.

use sqlx::postgres::PgHasArrayType;
use sqlx::{Encode, PgConnection, Postgres, Type};
use uuid::Uuid;

use crate::id::TenantId;

/// Runs a statement on the rows of a door that two parts of their key name: `$2` and `$3`, side by side.
async fn each<A, B>(
    connection: &mut PgConnection,
    statement: &'static str,
    door: &str,
    (first, second): (Vec<A>, Vec<B>),
) -> Result<(), sqlx::Error>
where
    A: for<'q> Encode<'q, Postgres> + Type<Postgres> + PgHasArrayType + Send,
    B: for<'q> Encode<'q, Postgres> + Type<Postgres> + PgHasArrayType + Send,
{
    let query = sqlx::query(statement).bind(door);
    query.bind(first).bind(second).execute(connection).await?;
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

/// The PUBREC of these messages, each a session and an entry, came.
///
/// # Errors
/// When the database does.
pub async fn release_queued(
    connection: &mut PgConnection,
    door: &str,
    of: &[(i64, i64)],
) -> Result<(), sqlx::Error> {
    let statement = "UPDATE mqtt_queued SET released = true
         WHERE door = $1 AND (session_id, entry) IN (SELECT * FROM unnest($2::int8[], $3::int8[]))";
    each(connection, statement, door, of.iter().copied().unzip()).await
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
    let statement = "DELETE FROM mqtt_queued
         WHERE door = $1 AND (session_id, entry) IN (SELECT * FROM unnest($2::int8[], $3::int8[]))";
    each(connection, statement, door, of.iter().copied().unzip()).await
}

/// The PUBREL of these packet identifiers, each of a session, came.
///
/// # Errors
/// When the database does.
pub async fn drop_received(
    connection: &mut PgConnection,
    door: &str,
    of: &[(i64, i32)],
) -> Result<(), sqlx::Error> {
    let statement = "DELETE FROM mqtt_received
         WHERE door = $1 AND (session_id, packet_id) IN (SELECT * FROM unnest($2::int8[], $3::int4[]))";
    each(connection, statement, door, of.iter().copied().unzip()).await
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
    let keys: (Vec<Uuid>, Vec<String>) = of
        .iter()
        .map(|(tenant, topic)| (tenant.uuid(), topic.clone()))
        .unzip();
    let statement = "DELETE FROM mqtt_retained
         WHERE door = $1 AND (tenant_id, topic) IN (SELECT * FROM unnest($2::uuid[], $3::text[]))";
    each(connection, statement, door, keys).await
}

/// The wills of these connections were said, or are void.
///
/// # Errors
/// When the database does.
pub async fn drop_wills(
    connection: &mut PgConnection,
    door: &str,
    connections: &[i64],
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM mqtt_will WHERE door = $1 AND connection = ANY($2)")
        .bind(door)
        .bind(connections)
        .execute(connection)
        .await?;
    Ok(())
}

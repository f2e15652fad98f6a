//! What MQTT sessions keep over a restart of a front door.
//!
//! | file | does |
//! |---|---|
//! | `put` | what is new |
//! | `done` | what is over |

use serde_json::Value;
use sqlx::PgConnection;

use crate::id::{GatewayId, TenantId};
use crate::time::Timestamp;

mod done;
mod put;

pub use done::{drop_queued, drop_received, drop_retained, drop_sessions, drop_wills, release_queued};
pub use put::{put_queued, put_received, put_retained, put_sessions, put_wills};

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

/// A publisher's QoS 2 message was taken, and its PUBREL hasn't come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ReceivedRow {
    pub session_id: i64,
    pub packet_id: i32,
    pub tenant_id: TenantId,
}

/// The will of a connection.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct WillRow {
    pub connection: i64,
    pub tenant_id: TenantId,
    pub gateway_id: GatewayId,
    pub client_id: String,
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: i16,
    pub retain: bool,
    pub about: Value,
    /// How long its client has to come back after a restart, seconds.
    pub delay_s: i64,
}

/// Everything a front door kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    pub sessions: Vec<SessionRow>,
    /// In the order they are to be sent.
    pub queued: Vec<QueuedRow>,
    pub retained: Vec<RetainedRow>,
    pub received: Vec<ReceivedRow>,
    pub wills: Vec<WillRow>,
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
    let received =
        sqlx::query_as("SELECT session_id, packet_id, tenant_id FROM mqtt_received WHERE door = $1")
            .bind(door)
            .fetch_all(&mut *connection)
            .await?;
    let wills = sqlx::query_as(
        "SELECT connection, tenant_id, gateway_id, client_id, topic, payload, qos, retain, about, delay_s
         FROM mqtt_will WHERE door = $1",
    )
    .bind(door)
    .fetch_all(&mut *connection)
    .await?;
    Ok(Kept {
        sessions,
        queued,
        retained,
        received,
        wills,
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

#[cfg(test)]
mod tests;

//! Answers already given to a request with an `Idempotency-Key`.
//!
//! The answer is stored in the transaction that did the work: either both are there or neither. A
//! request that is still running holds an advisory lock on its key, so that a second one is told so
//! at once instead of waiting.

use serde_json::Value;
use sqlx::PgConnection;

use crate::id::TenantId;

/// Whose key for what. The same key of another credential or for another route is another key.
#[derive(Clone, Copy, Debug)]
pub struct KeyOf<'a> {
    pub tenant: TenantId,
    /// `usr_…` or `key_…`.
    pub credential: &'a str,
    /// Method and path: `POST /v1/assets`.
    pub route: &'a str,
    pub key: &'a str,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// Nothing: do the work, then [`store`] the answer.
    New,
    /// The first request is still running.
    InFlight,
    /// The key was used with another body.
    OtherBody,
    /// The answer that was given.
    Answered { status: u16, body: Value },
}

/// Claims a key until the transaction ends.
///
/// # Errors
/// When the database does.
pub async fn claim(
    connection: &mut PgConnection,
    of: KeyOf<'_>,
    fingerprint: &[u8; 32],
) -> Result<Seen, sqlx::Error> {
    let name = format!("{} {} {} {}", of.tenant, of.credential, of.route, of.key);
    let free: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 7))")
        .bind(name)
        .fetch_one(&mut *connection)
        .await?;
    if !free {
        return Ok(Seen::InFlight);
    }
    let found: Option<(Vec<u8>, i16, Value)> = sqlx::query_as(
        "SELECT fingerprint, status, body FROM idempotency_key
         WHERE tenant_id = $1 AND credential = $2 AND route = $3 AND key = $4",
    )
    .bind(of.tenant)
    .bind(of.credential)
    .bind(of.route)
    .bind(of.key)
    .fetch_optional(connection)
    .await?;
    Ok(match found {
        None => Seen::New,
        Some((before, ..)) if before != fingerprint => Seen::OtherBody,
        Some((_, status, body)) => Seen::Answered {
            status: u16::try_from(status).unwrap_or(200),
            body,
        },
    })
}

/// Keeps an answer, and forgets the tenant's answers that are older than two days.
///
/// # Errors
/// When the database does.
pub async fn store(
    connection: &mut PgConnection,
    of: KeyOf<'_>,
    fingerprint: &[u8; 32],
    status: u16,
    body: &Value,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO idempotency_key (tenant_id, credential, route, key, fingerprint, status, body)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(of.tenant)
    .bind(of.credential)
    .bind(of.route)
    .bind(of.key)
    .bind(&fingerprint[..])
    .bind(i16::try_from(status).unwrap_or(200))
    .bind(body)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "DELETE FROM idempotency_key WHERE tenant_id = $1 AND created_at < now() - interval '2 days'",
    )
    .bind(of.tenant)
    .execute(connection)
    .await?;
    Ok(())
}

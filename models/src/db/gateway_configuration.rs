//! The configuration that a gateway's agent is wanted to run, and what it says of it.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::id::GatewayId;
use crate::time::Timestamp;

/// The longest configuration, bytes.
pub const MAX_BYTES: usize = 256 << 10;

/// How a configuration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum ConfigurationState {
    /// The agent has not said anything of it.
    Pending,
    /// Being tried.
    Trial,
    Active,
    /// Tried and taken back: the one before is in force.
    RolledBack,
    /// Not tried: it isn't sound, or the site doesn't allow it.
    Refused,
}

/// What is wanted of a gateway.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Wanted {
    /// What the agent calls it.
    pub version: String,
    /// TOML.
    pub config: String,
    pub wanted_at: Timestamp,
    pub wanted_by: String,
    /// `None`: the gateway hasn't been there since, or doesn't listen.
    pub sent_at: Option<Timestamp>,
    pub state: ConfigurationState,
    /// Why it was refused or taken back.
    pub reason: Option<String>,
    pub reported_at: Option<Timestamp>,
}

/// # Errors
/// When the database does.
pub async fn get(connection: &mut PgConnection, gateway: GatewayId) -> Result<Option<Wanted>, sqlx::Error> {
    sqlx::query_as(
        "SELECT version, config, wanted_at, wanted_by, sent_at, state, reason, reported_at
         FROM gateway_configuration WHERE gateway_id = $1",
    )
    .bind(gateway)
    .fetch_optional(connection)
    .await
}

/// Wants another configuration of a gateway, which must be visible to the caller's tenant; the same text
/// again is sent again. `false`: it isn't visible.
///
/// # Errors
/// When the database does.
pub async fn put(
    connection: &mut PgConnection,
    gateway: GatewayId,
    config: &str,
    by: &str,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "INSERT INTO gateway_configuration AS c (gateway_id, tenant_id, number, version, config, wanted_by)
         SELECT g.id, g.tenant_id, 1, '1-' || left(encode(sha256(convert_to($2, 'UTF8')), 'hex'), 8), $2, $3
         FROM gateway g WHERE g.id = $1
         ON CONFLICT (gateway_id) DO UPDATE
            SET number = c.number + 1,
                version = c.number + 1 || substr(excluded.version, 2),
                config = excluded.config, wanted_by = excluded.wanted_by, wanted_at = now(),
                sent_at = NULL, state = 'pending', reason = NULL, reported_at = NULL",
    )
    .bind(gateway)
    .bind(config)
    .bind(by)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A configuration that its gateway has not said anything of.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Pending {
    pub gateway_id: GatewayId,
    pub tenant_slug: String,
    pub gateway_slug: String,
    pub version: String,
    pub config: String,
}

/// Those of gateways that are switched on.
///
/// # Errors
/// When the database does.
pub async fn pending(connection: &mut PgConnection) -> Result<Vec<Pending>, sqlx::Error> {
    sqlx::query_as(
        "SELECT c.gateway_id, t.slug AS tenant_slug, g.slug AS gateway_slug, c.version, c.config
         FROM gateway_configuration c
         JOIN gateway g ON g.id = c.gateway_id AND g.enabled
         JOIN tenant t ON t.id = c.tenant_id
         WHERE c.state = 'pending'",
    )
    .fetch_all(connection)
    .await
}

/// A version was said to its gateway.
///
/// # Errors
/// When the database does.
pub async fn sent(
    connection: &mut PgConnection,
    gateway: GatewayId,
    version: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE gateway_configuration SET sent_at = now() WHERE gateway_id = $1 AND version = $2")
        .bind(gateway)
        .bind(version)
        .execute(connection)
        .await?;
    Ok(())
}

/// What a gateway says of a version; nothing when another one is wanted by now.
///
/// # Errors
/// When the database does.
pub async fn report(
    connection: &mut PgConnection,
    gateway: GatewayId,
    version: &str,
    state: ConfigurationState,
    reason: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE gateway_configuration SET state = $3, reason = $4, reported_at = now()
         WHERE gateway_id = $1 AND version = $2 AND (state, reason) IS DISTINCT FROM ($3, $4)",
    )
    .bind(gateway)
    .bind(version)
    .bind(state)
    .bind(reason)
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Role;
    use crate::db::fixture::Plant;
    use crate::db::testing::TestDatabase;

    /// Saved as the API's role, followed as the ingest service's.
    #[tokio::test]
    async fn a_report_counts_for_the_version_that_is_wanted() {
        let database = TestDatabase::new().await;
        let plant = Plant::new(&database.owner, "north").await;
        let gateway: GatewayId = sqlx::query_scalar("SELECT id FROM gateway WHERE tenant_id = $1 LIMIT 1")
            .bind(plant.tenant)
            .fetch_one(&database.owner)
            .await
            .unwrap();
        let mut owner = database.owner.acquire().await.unwrap();
        let pool = database.pool(Role::Ingest);
        let mut c = pool.acquire().await.unwrap();
        assert_eq!(get(&mut c, gateway).await.unwrap(), None);
        assert!(put(&mut owner, gateway, "a = 1", "who").await.unwrap());
        assert!(!put(&mut owner, GatewayId::new(), "a = 1", "who").await.unwrap());
        let first = get(&mut c, gateway).await.unwrap().unwrap();
        assert_eq!((first.state, first.sent_at), (ConfigurationState::Pending, None));
        assert!(
            first.version.starts_with("1-") && first.version.len() == 10,
            "{}",
            first.version
        );
        assert_eq!(pending(&mut c).await.unwrap()[0].version, first.version);
        sent(&mut c, gateway, &first.version).await.unwrap();
        assert!(get(&mut c, gateway).await.unwrap().unwrap().sent_at.is_some());
        assert!(put(&mut owner, gateway, "a = 1", "who").await.unwrap());
        let second = get(&mut c, gateway).await.unwrap().unwrap();
        assert_eq!(second.version, first.version.replacen("1-", "2-", 1));
        assert_eq!(second.sent_at, None);
        report(&mut c, gateway, &first.version, ConfigurationState::Active, None)
            .await
            .unwrap();
        assert_eq!(
            get(&mut c, gateway).await.unwrap().unwrap().state,
            ConfigurationState::Pending
        );
        report(
            &mut c,
            gateway,
            &second.version,
            ConfigurationState::RolledBack,
            Some("no link"),
        )
        .await
        .unwrap();
        let after = get(&mut c, gateway).await.unwrap().unwrap();
        assert_eq!(
            (after.state, after.reason.as_deref()),
            (ConfigurationState::RolledBack, Some("no link"))
        );
        assert_eq!(pending(&mut c).await.unwrap(), []);
        drop((c, owner));
        pool.close().await;
        database.drop_now().await;
    }
}

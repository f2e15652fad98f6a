//! Every SQL statement of the project, one file for each aggregate.
//!
//! Plain functions on `&mut PgConnection`: the caller owns the transaction. Statements are checked
//! at run time by tests on a real TimescaleDB, one for each function at least; the constraint names
//! of the schema are the contract for errors, never message texts.

use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Postgres, Transaction};

use crate::id::TenantId;

pub mod alarm;
pub mod assessment;
pub mod audit;
pub mod auth;
pub mod authority;
pub mod case_file;
pub mod change;
pub mod dead_letter;
pub mod dispatch;
pub mod external_alert;
pub mod failure;
#[cfg(any(test, feature = "testing"))]
pub mod fixture;
#[cfg(any(test, feature = "testing"))]
pub mod fixture_scenario;
pub mod gateway_configuration;
pub mod history;
pub mod idempotency;
pub mod leader;
pub mod ledger;
pub mod lockout;
pub mod mapping;
pub mod measure;
pub mod meter;
pub mod mqtt;
pub mod notification;
pub mod outbox;
pub mod overview;
pub mod parts;
pub mod people;
pub mod permit;
pub mod plan;
pub mod prediction;
pub mod reading;
pub mod register;
pub mod registry;
pub mod sent;
pub mod sla;
pub mod status;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod ticket;
pub mod verify;
pub mod webhook;
pub mod webhook_secret;

/// The schema. Every step is applied once, in order, and never edited after a release.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// Which service a pool acts for; decides what the database lets it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Ingest,
    Analytics,
    Api,
}

impl Role {
    fn set_role(self) -> &'static str {
        match self {
            Self::Ingest => "SET ROLE forewarn_ingest",
            Self::Analytics => "SET ROLE forewarn_analytics",
            Self::Api => "SET ROLE forewarn_api",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Analytics => "analytics",
            Self::Api => "api",
        }
    }
}

/// How long a connection that was found to answer is believed to.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// A pool whose connections have the rights of `role` and no others.
///
/// # Errors
/// When `url` can't be parsed. It doesn't connect: a database that is away is not an error here.
pub fn connect(url: &str, role: Role, max_connections: u32) -> Result<PgPool, sqlx::Error> {
    let options = PgConnectOptions::from_str(url)?
        .application_name(&format!("forewarn-{}", role.name()))
        .options([
            ("timezone", "UTC"),
            ("statement_timeout", "60s"),
            ("idle_in_transaction_session_timeout", "60s"),
        ]);
    Ok(PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(Duration::from_secs(30))
        .after_connect(move |connection, _| {
            Box::pin(async move {
                connection.execute(role.set_role()).await?;
                if role == Role::Analytics {
                    compress_quickly(connection).await;
                }
                Ok(())
            })
        })
        .test_before_acquire(false)
        .before_acquire(move |connection, meta| {
            Box::pin(async move {
                // A question to the API would cost a round trip more; what answered a moment ago still does.
                if role != Role::Api || meta.idle_for > TRUSTED_FOR {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        // Ingest copies nothing out.
        .after_release(move |connection, _| {
            Box::pin(async move { Ok(role == Role::Ingest || is_in_step(connection).await) })
        })
        .connect_lazy_with(options))
}

/// Large values are compressed by lz4: a third of the time that the server's own way takes, for a sixth more room. It
/// matters where features are written, thousands of texts of kilobytes at once.
async fn compress_quickly(connection: &mut PgConnection) {
    if let Err(error) = connection.execute("SET default_toast_compression = 'lz4'").await {
        // A server may be built without it. What is written is the same.
        tracing::debug!(%error, "the server compresses by its own way");
    }
}

/// Whether a connection that comes back answers what it is asked, outside of any transaction; one that
/// doesn't is closed.
///
/// A COPY out of the database whose reader is dropped half-way (somebody's browser went away during an
/// export) leaves an answer behind that sqlx doesn't count. Every query after it would be given
/// nothing, or the rows of the one before, another tenant's among them. A BEGIN that is dropped before its
/// answer (somebody's browser again, or a pass that was given up) leaves a transaction behind that sqlx
/// doesn't count, either: what came next would act for that one's tenant, and be lost where it began
/// no transaction of its own.
async fn is_in_step(connection: &mut PgConnection) -> bool {
    static ASKED: AtomicI64 = AtomicI64::new(0);
    let token = ASKED.fetch_add(1, Ordering::Relaxed);
    // A simple query that is a transaction of its own begins with it.
    let question = format!("SELECT {token}::int8, now() = statement_timestamp()");
    let answer = sqlx::raw_sql(AssertSqlSafe(question)).fetch_one(connection).await;
    answer.is_ok_and(|row| {
        let answer: Result<(i64, bool), _> = sqlx::FromRow::from_row(&row);
        answer.is_ok_and(|(answer, alone)| answer == token && alone)
    })
}

/// Brings the schema up to date, as the database's owner.
///
/// # Errors
/// When the database can't be reached, lacks TimescaleDB, or a step fails.
pub async fn migrate(url: &str) -> anyhow::Result<()> {
    use anyhow::Context;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect(url)
        .await
        .context("can't reach the database")?;
    MIGRATOR.run(&pool).await.context("migration failed")?;
    pool.close().await;
    Ok(())
}

/// Makes the rest of the transaction act for `tenant`; row-level security does the rest.
///
/// # Errors
/// When the database does.
pub async fn act_for(connection: &mut PgConnection, tenant: TenantId) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT set_config('forewarn.tenant_id', $1, true)")
        .bind(tenant.uuid().to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// A transaction that acts for `tenant`: [`act_for`] and the beginning in one round trip.
///
/// # Errors
/// When the database does.
pub async fn begin_for(
    pool: &PgPool,
    tenant: TenantId,
) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    // What begins a transaction takes no parameters. A UUID is hex digits and dashes, so it can't end the text.
    let begin = format!("BEGIN; SET LOCAL forewarn.tenant_id = '{}'", tenant.uuid());
    pool.begin_with(AssertSqlSafe(begin)).await
}

/// Gives the rest of the transaction the API's rights, and no others: what row-level security hides
/// from a tenant is hidden here too.
///
/// # Errors
/// When the connection's role may not.
pub async fn become_api(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SET LOCAL ROLE forewarn_api")
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether a transaction that failed so may be tried again as it is: the database was away, was
/// restarting, ran out of something, or two transactions were in each other's way.
pub fn is_retryable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed | sqlx::Error::Tls(_) => {
            true
        }
        sqlx::Error::Database(database) => database.code().is_some_and(|code| {
            // 08 connection, 40 rollback (serialisation, deadlock), 53 resources (disk full, too many
            // connections), 55P03 lock not available, 57 operator (shutdown, cancel), 58 system error.
            ["08", "40", "53", "57", "58"].contains(&&code[..2]) || code == "55P03" || code == "25006"
        }),
        _ => false,
    }
}

/// The name of the constraint an error broke, if it broke one.
pub fn broken_constraint(error: &sqlx::Error) -> Option<&str> {
    error
        .as_database_error()
        .and_then(|database| database.constraint())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_isolation;

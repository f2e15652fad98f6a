//! A database of its own for each test, on the server that `DATABASE_URL` names.
//!
//! Migrating takes seconds, cloning a template a tenth of one. The template's name holds a hash of
//! the migrations, so an old one is never used; an advisory lock lets only one process make it.
//! The server should run with `timescaledb.max_background_workers = 0`: a background worker inside
//! the template would keep it from being cloned.

use std::time::Duration;

use sha2::{Digest, Sha256};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use super::{MIGRATOR, Role};

/// A migrated, empty database. Dropped by [`TestDatabase::drop_now`]; a test that fails leaves it
/// behind to be looked at, and the next one to make a template sweeps what is older than a day: other
/// checkouts with other migrations may work on the same server.
#[derive(Debug)]
pub struct TestDatabase {
    server: PgConnectOptions,
    name: String,
    /// As the owner of the schema.
    pub owner: PgPool,
}

const LOCK: i64 = 0x0046_6f72_6577_6172;

fn server() -> PgConnectOptions {
    let url = std::env::var("DATABASE_URL")
        .expect("tests need DATABASE_URL, the address of a TimescaleDB server: run them by ./dev test");
    url.parse().expect("DATABASE_URL is not an address of PostgreSQL")
}

async fn template(server: &PgConnectOptions) -> Result<String, sqlx::Error> {
    let mut hash = Sha256::new();
    for step in MIGRATOR.iter() {
        hash.update(&step.checksum);
    }
    let name = format!("fw_template_{}", hex(&hash.finalize()[..6]));
    let mut connection = server.clone().connect().await?;
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(LOCK)
        .execute(&mut connection)
        .await?;
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(&name)
        .fetch_one(&mut connection)
        .await?;
    if !exists {
        sweep(&mut connection).await?;
        let making = format!("{name}_making");
        run(&mut connection, &format!("DROP DATABASE IF EXISTS {making}")).await?;
        run(
            &mut connection,
            &format!("CREATE DATABASE {making} TEMPLATE template0"),
        )
        .await?;
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .connect_with(server.clone().database(&making))
            .await?;
        MIGRATOR
            .run(&pool)
            .await
            .expect("migrations apply to an empty database");
        pool.close().await;
        run(
            &mut connection,
            &format!("ALTER DATABASE {making} RENAME TO {name}"),
        )
        .await?;
    }
    sqlx::query("SELECT pg_advisory_unlock($1)")
        .bind(LOCK)
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    Ok(name)
}

async fn sweep(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let old: Vec<String> = sqlx::query_scalar(
        "SELECT datname FROM pg_database
         WHERE (datname LIKE 'fw\\_test\\_%' OR datname LIKE 'fw\\_template\\_%')
           AND (pg_stat_file('base/' || oid || '/PG_VERSION', true)).modification < now() - interval '1 day'",
    )
    .fetch_all(&mut *connection)
    .await?;
    for name in old {
        // In use by another run: leave it.
        let _ = run(connection, &format!("DROP DATABASE IF EXISTS {name}")).await;
    }
    Ok(())
}

async fn run(connection: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl TestDatabase {
    /// # Panics
    /// Without a `DATABASE_URL`, or when the server doesn't answer: a test can't go on then.
    pub async fn new() -> Self {
        let server = server();
        let template = template(&server)
            .await
            .expect("the template database can be made");
        let name = format!("fw_test_{}", uuid::Uuid::now_v7().simple());
        let mut connection = server.clone().connect().await.expect("the server answers");
        // Cloning needs the template to itself for a moment.
        sqlx::query("SELECT pg_advisory_lock($1)")
            .bind(LOCK)
            .execute(&mut connection)
            .await
            .expect("lock");
        run(
            &mut connection,
            &format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"),
        )
        .await
        .expect("the template can be cloned");
        connection.close().await.expect("close");
        let owner = PgPoolOptions::new()
            .max_connections(4)
            .connect_with(server.clone().database(&name))
            .await
            .expect("the new database answers");
        Self { server, name, owner }
    }

    /// Address of this database, for a service or another process.
    pub fn url(&self) -> String {
        self.server
            .clone()
            .database(&self.name)
            .to_url_lossy()
            .to_string()
    }

    /// A pool with the rights of one service.
    pub fn pool(&self, role: Role) -> PgPool {
        super::connect(&self.url(), role, 4).expect("the address is good")
    }

    /// # Panics
    /// When the test still holds a connection of `owner`: closing waits for it, and would for ever.
    pub async fn drop_now(self) {
        tokio::time::timeout(Duration::from_secs(60), self.owner.close())
            .await
            .expect("every connection of `owner` is dropped before the database is");
        let mut connection = self.server.connect().await.expect("the server answers");
        run(
            &mut connection,
            &format!("DROP DATABASE {} WITH (FORCE)", self.name),
        )
        .await
        .expect("drop");
    }
}

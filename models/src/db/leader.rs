//! One of several processes at a time: an advisory lock that lives as long as its connection.

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, Postgres};

/// Held by one process for each name. Dropped, closed or cut off, it is free for the next.
#[derive(Debug)]
pub struct Lead(PgConnection);

impl Lead {
    /// `None`: another process leads.
    ///
    /// # Errors
    /// When the database does.
    pub async fn take(
        mut connection: PoolConnection<Postgres>,
        name: &str,
    ) -> Result<Option<Self>, sqlx::Error> {
        let taken: bool =
            sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended('forewarn_lead_' || $1, 0))")
                .bind(name)
                .fetch_one(&mut *connection)
                .await?;
        // Out of the pool: nobody else may use the connection that holds the lock.
        Ok(taken.then(|| Self(connection.detach())))
    }

    /// Whether the connection, and with it the lock, still stands.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn hold(&mut self) -> Result<(), sqlx::Error> {
        self.0.ping().await
    }

    /// Lets the next one lead.
    ///
    /// # Errors
    /// When the connection is broken; the lock is free then too.
    pub async fn give_up(self) -> Result<(), sqlx::Error> {
        self.0.close().await
    }
}

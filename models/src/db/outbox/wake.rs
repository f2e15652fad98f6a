//! Waking up when something was appended.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;

use super::WAKE;

/// Listens from now on; `None`, with a line in the log, when the database can't be reached.
pub async fn listen(pool: &PgPool) -> Option<PgListener> {
    let mut listener = match PgListener::connect_with(pool).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%error, "can't listen for news, the timer goes on alone");
            return None;
        }
    };
    listener.listen(WAKE).await.ok().map(|()| listener)
}

/// Ends when there is news, without a listener never. News that come in a row, within `settle`, are one.
pub async fn news(listener: Option<&mut PgListener>, settle: Duration) {
    match listener {
        Some(listener) => {
            // An error here is a lost connection: the pass after it finds out.
            let _ = listener.recv().await;
            tokio::time::sleep(settle).await;
            while listener.next_buffered().is_some() {}
        }
        None => std::future::pending().await,
    }
}

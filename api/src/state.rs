//! What every request shares.
//!
//! The pool is private to this module and [`crate::extract`] opens the only way to it: a handler
//! gets a connection together with a principal and a permission, or not at all.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::PgPool;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::auth::{limiter::Limiter, password::Passwords, token::Tokens};
use crate::config::Config;
use crate::outbound::Seal;
use crate::store::Store;

#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    pool: PgPool,
    config: Config,
    tokens: Tokens,
    passwords: Passwords,
    seal: Seal,
    store: Store,
    /// Sign-ins by address.
    addresses: Limiter,
    /// Failed sign-ins of mail addresses that nobody has.
    strangers: Limiter,
    /// Counts up when the outbox has something new.
    outbox: watch::Receiver<u64>,
    streams: Arc<Semaphore>,
    metrics: Option<PrometheusHandle>,
    shutdown: CancellationToken,
}

impl App {
    /// # Errors
    /// Names the key of the configuration that is wrong.
    pub(crate) fn new(
        config: Config,
        pool: PgPool,
        tokens: Tokens,
        outbox: watch::Receiver<u64>,
        metrics: Option<PrometheusHandle>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let per_minute = config.signins_per_minute;
        Ok(Self(Arc::new(Inner {
            pool,
            tokens,
            seal: config.outbound.seal()?,
            store: Store::new(&config.attachments)?,
            passwords: Passwords::new(),
            addresses: Limiter::new(per_minute, std::time::Duration::from_secs(60)),
            strangers: Limiter::new(5, std::time::Duration::from_secs(15 * 60)),
            outbox,
            streams: Arc::new(Semaphore::new(config.max_streams)),
            metrics,
            shutdown,
            config,
        })))
    }

    /// For this crate's extractors and for what happens before a tenant is known.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.0.pool
    }

    pub fn config(&self) -> &Config {
        &self.0.config
    }

    pub fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    pub fn passwords(&self) -> &Passwords {
        &self.0.passwords
    }

    /// Of signing secrets at rest.
    pub fn seal(&self) -> &Seal {
        &self.0.seal
    }

    /// Of attachments' contents.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    pub fn addresses(&self) -> &Limiter {
        &self.0.addresses
    }

    pub fn strangers(&self) -> &Limiter {
        &self.0.strangers
    }

    pub fn outbox(&self) -> watch::Receiver<u64> {
        self.0.outbox.clone()
    }

    pub fn streams(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.streams)
    }

    pub fn metrics(&self) -> Option<&PrometheusHandle> {
        self.0.metrics.as_ref()
    }

    pub fn shutdown(&self) -> &CancellationToken {
        &self.0.shutdown
    }
}

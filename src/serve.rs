//! Starting services: all in one process, or each in its own.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use models::db::{self, Role};
use models::service::supervisor::{Supervisor, cancel_on_signal};
use models::service::telemetry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Services {
    pub ingest: bool,
    pub analytics: bool,
    pub api: bool,
}

impl Services {
    pub const ALL: Self = Self {
        ingest: true,
        analytics: true,
        api: true,
    };
    pub const INGEST: Self = Self {
        ingest: true,
        analytics: false,
        api: false,
    };
    pub const ANALYTICS: Self = Self {
        ingest: false,
        analytics: true,
        api: false,
    };
    pub const API: Self = Self {
        ingest: false,
        analytics: false,
        api: true,
    };
}

/// How long tasks may take to stop before the process gives up on them.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Runs until a signal or a fault.
///
/// # Errors
/// A port that is taken, a database without the schema, the first fault of a service.
pub async fn run(config: Config, services: Services) -> anyhow::Result<()> {
    telemetry::init(&config.log)?;
    let metrics = PrometheusBuilder::new().install_recorder().context("metrics")?;
    let url = config.database.address()?;
    let shutdown = CancellationToken::new();
    cancel_on_signal(shutdown.clone())?;

    let mut supervisor = Supervisor::new(shutdown.clone());
    if services.ingest {
        let listener = bind(&config.ingest.listen)
            .await
            .context("MQTT front door (ingest.listen)")?;
        let pool = db::connect(&url, Role::Ingest, config.database.ingest_connections)?;
        supervisor.spawn(
            "ingest",
            ingest::run(config.ingest, pool, listener, shutdown.clone()),
        );
    }
    if services.analytics {
        let pool = db::connect(&url, Role::Analytics, config.database.analytics_connections)?;
        supervisor.spawn(
            "analytics",
            analytics::run(config.analytics, pool, shutdown.clone()),
        );
    }
    if services.api {
        let listener = bind(&config.api.listen).await.context("HTTP API (api.listen)")?;
        let pool = db::connect(&url, Role::Api, config.database.api_connections)?;
        supervisor.spawn(
            "outbound",
            api::outbound::run(config.api.outbound.clone(), pool.clone(), shutdown.clone()),
        );
        supervisor.spawn(
            "api",
            api::run(
                config.api,
                pool,
                listener,
                Some(metrics.clone()),
                shutdown.clone(),
            ),
        );
    }
    supervisor.spawn("metrics", upkeep(metrics, shutdown));
    supervisor.run(STOP_WITHIN).await
}

async fn bind(address: &str) -> anyhow::Result<TcpListener> {
    let address: SocketAddr = address
        .parse()
        .with_context(|| format!("`{address}` is not an address and port such as 127.0.0.1:1883"))?;
    TcpListener::bind(address)
        .await
        .with_context(|| format!("can't listen on {address}"))
}

/// Histograms keep their samples until somebody drains them.
async fn upkeep(metrics: PrometheusHandle, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut timer = tokio::time::interval(Duration::from_secs(5));
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = timer.tick() => metrics.run_upkeep(),
        }
    }
}

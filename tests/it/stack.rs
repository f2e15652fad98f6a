//! All services in one process, each with a listener on a port of its own, on a database of its own.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use models::db::Role;
use models::db::testing::TestDatabase;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test gives up on it. A bound, not a pace.
pub const PATIENCE: Duration = Duration::from_secs(120);

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[expect(dead_code, reason = "the test gives its own database")]
    database: serde_json::Value,
    #[expect(dead_code, reason = "tests print through the harness")]
    log: serde_json::Value,
    ingest: ingest::config::Config,
    analytics: analytics::config::Config,
    api: api::config::Config,
}

pub struct Stack {
    pub database: TestDatabase,
    pub mqtt: SocketAddr,
    pub http: String,
    shutdown: CancellationToken,
    services: Vec<(&'static str, JoinHandle<anyhow::Result<()>>)>,
}

impl Stack {
    /// `changes` is a piece of configuration file that wins over the defaults.
    pub async fn start(changes: &str) -> Self {
        Self::of(changes, false).await
    }

    /// Without the services that act by themselves: their passes are the test's to make.
    pub async fn api_alone() -> Self {
        Self::of("", true).await
    }

    async fn of(changes: &str, api_alone: bool) -> Self {
        let database = TestDatabase::new().await;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, changes).unwrap();
        let config: Config =
            models::service::config::load(include_str!("../../forewarn.default.toml"), Some(file.path()))
                .unwrap();
        let shutdown = CancellationToken::new();
        let front_door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mqtt = front_door.local_addr().unwrap();
        let address = http.local_addr().unwrap();
        let mut services = Vec::new();
        if !api_alone {
            let pool = database.pool(Role::Ingest);
            let task = tokio::spawn(ingest::run(config.ingest, pool, front_door, shutdown.clone()));
            services.push(("ingest", task));
            let pool = database.pool(Role::Analytics);
            let task = tokio::spawn(analytics::run(config.analytics, pool, shutdown.clone()));
            services.push(("analytics", task));
        }
        let pool = database.pool(Role::Api);
        let task = tokio::spawn(api::run(config.api, pool, http, None, shutdown.clone()));
        services.push(("api", task));
        Self {
            database,
            mqtt,
            http: format!("http://{address}"),
            shutdown,
            services,
        }
    }

    /// Stops everything in order; a service that ended by itself or with an error fails the test.
    pub async fn stop(self) {
        for (name, service) in &self.services {
            assert!(!service.is_finished(), "{name} ended by itself");
        }
        self.shutdown.cancel();
        for (name, service) in self.services {
            let ended = tokio::time::timeout(PATIENCE, service).await;
            ended
                .unwrap_or_else(|_| panic!("{name} did not stop"))
                .unwrap()
                .unwrap_or_else(|error| panic!("{name}: {error:#}"));
        }
        self.database.drop_now().await;
    }
}

/// Asks again and again until the answer is there; panics with `what` when patience is over.
pub async fn until<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        // Between two questions, so that asking doesn't take the machine from the answer.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

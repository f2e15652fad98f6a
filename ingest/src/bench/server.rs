//! The service that is measured.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use models::db::Role;
use sqlx::PgPool;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::Place;
use crate::config::Config;
use crate::foreign::Foreign;

/// How long it may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Server {
    pub address: SocketAddr,
    kind: Kind,
}

enum Kind {
    Process(Box<Child>),
    Inside {
        task: tokio::task::JoinHandle<anyhow::Result<()>>,
        shutdown: CancellationToken,
        pool: PgPool,
    },
}

/// An entry of `[[ingest.foreign]]` as the environment writes it.
fn inline(foreign: &Foreign) -> String {
    let filters: Vec<String> = foreign
        .filters
        .iter()
        .map(|filter| format!("{filter:?}"))
        .collect();
    format!(
        "{{url={:?},client_id={:?},gateway={:?},filters=[{}]}}",
        foreign.url,
        foreign.client_id,
        foreign.gateway,
        filters.join(",")
    )
}

/// Peak memory of this process, MiB; 0 where /proc doesn't tell.
pub(super) fn own_peak_rss_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}

impl Server {
    /// `settings` are keys of `[ingest]` as the environment names them, such as
    /// `LIMITS__MAX_CONNECTIONS`; inside this process the defaults hold.
    pub async fn start(place: &Place, url: &str, settings: &[(&str, String)]) -> anyhow::Result<Self> {
        Self::start_with(place, url, settings, Vec::new()).await
    }

    /// As a client of foreign brokers, too.
    pub async fn start_with(
        place: &Place,
        url: &str,
        settings: &[(&str, String)],
        foreign: Vec<Foreign>,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let Some(executable) = &place.executable else {
            let config = Config {
                foreign,
                ..Config::default()
            };
            let connections = u32::try_from(config.writer.writers).unwrap_or(2) + 4;
            let pool = models::db::connect(url, Role::Ingest, connections)?;
            let shutdown = CancellationToken::new();
            let task = tokio::spawn(crate::run(config, pool.clone(), listener, shutdown.clone()));
            let kind = Kind::Inside { task, shutdown, pool };
            return Ok(Self { address, kind });
        };
        drop(listener);
        let mut command = Command::new(executable);
        command
            .arg("ingest")
            .env_remove("FOREWARN_CONFIG")
            .env("DATABASE_URL", url)
            .env("FOREWARN__INGEST__LISTEN", address.to_string())
            .env("FOREWARN__LOG__FILTER", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        if !foreign.is_empty() {
            let entries: Vec<String> = foreign.iter().map(inline).collect();
            command.env("FOREWARN__INGEST__FOREIGN", format!("[{}]", entries.join(",")));
        }
        for (key, value) in settings {
            command.env(format!("FOREWARN__INGEST__{key}"), value);
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("can't start {}", executable.display()))?;
        let started = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("the service ended while starting: {status}");
            }
            anyhow::ensure!(
                started.elapsed() < PATIENCE,
                "the service doesn't listen on {address}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let kind = Kind::Process(Box::new(child));
        Ok(Self { address, kind })
    }

    fn proc_folder(&self) -> String {
        match &self.kind {
            Kind::Process(child) => format!("/proc/{}", child.id().unwrap_or(0)),
            Kind::Inside { .. } => "/proc/self".to_owned(),
        }
    }

    /// Largest resident memory so far, MiB; 0 where /proc doesn't tell.
    pub fn peak_rss_mib(&self) -> u64 {
        let status = std::fs::read_to_string(self.proc_folder() + "/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
            .unwrap_or(0)
            / 1024
    }

    /// User and system time so far, seconds; 0 where /proc doesn't tell.
    pub fn cpu_s(&self) -> f64 {
        let stat = std::fs::read_to_string(self.proc_folder() + "/stat").unwrap_or_default();
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
        let ticks = |i: usize| {
            fields
                .get(i)
                .and_then(|field| field.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        // USER_HZ is 100 on every Linux.
        (ticks(11) + ticks(12)) / 100.0
    }

    /// Stops it in order: what it has taken is committed.
    pub async fn stop(self) -> anyhow::Result<()> {
        match self.kind {
            Kind::Process(mut child) => {
                let id = child.id().context("the service has ended by itself")?;
                let sent = Command::new("kill")
                    .args(["-TERM", &id.to_string()])
                    .status()
                    .await?;
                anyhow::ensure!(sent.success(), "the service has ended by itself");
                let status = tokio::time::timeout(PATIENCE, child.wait())
                    .await
                    .context("the service doesn't stop")??;
                anyhow::ensure!(status.success(), "the service ended with {status}");
            }
            Kind::Inside { task, shutdown, pool } => {
                shutdown.cancel();
                task.await.context("the service panicked")??;
                pool.close().await;
            }
        }
        Ok(())
    }
}

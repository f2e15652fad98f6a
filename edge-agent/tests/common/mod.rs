//! What the tests of the whole agent share.

#![allow(dead_code, reason = "each test uses a part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use edge_agent::config::Config;
use edge_agent::sink::{Manners, Received, Sink};
pub use models::servers::Server;
use models::servers::python;
use models::time::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Keeps what it receives.
pub const KEEP: Manners = Manners {
    keep: true,
    cut_after: None,
    refuse: false,
    stall: false,
};

pub fn received() -> Arc<Mutex<Received>> {
    Arc::default()
}

/// The sections every configuration needs, for a receiver at `url`.
pub fn head(url: &str) -> String {
    format!(
        "[uplink]\nurl = \"{url}\"\ntenant = \"acme\"\ngateway = \"g\"\nsecret = \"s\"\nretry_max_s = 0.2\n\
         [spool]\ndir = \"spool\"\ngroup_ms = 5\n[batch]\nmax_age_ms = 50\n"
    )
}

/// An agent in this process.
pub struct Agent {
    pub dir: tempfile::TempDir,
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<anyhow::Result<()>>>,
}

impl Agent {
    pub fn start(text: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), text)
    }

    pub fn start_in(dir: tempfile::TempDir, text: &str) -> Self {
        let path = dir.path().join("edge.toml");
        std::fs::write(&path, text).unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(edge_agent::run(Config::load(&path).unwrap(), stop.clone()));
        Self {
            dir,
            stop,
            task: Some(task),
        }
    }

    pub async fn stop(mut self) -> tempfile::TempDir {
        self.stop.cancel();
        self.task.take().unwrap().await.unwrap().unwrap();
        let empty = tempfile::tempdir().unwrap();
        std::mem::replace(&mut self.dir, empty)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Device, channel → values in order of arrival, with their times.
pub fn series(received: &Received, device: &str, channel: &str) -> Vec<(Timestamp, f64)> {
    received
        .batches
        .values()
        .flat_map(|batch| &batch.columns)
        .filter(|column| column.device == device && column.channel == channel)
        .flat_map(|column| {
            column
                .timestamps()
                .map(Timestamp::from_micros)
                .zip(column.values.iter().copied())
        })
        .collect()
}

pub fn values(received: &Received, device: &str, channel: &str) -> Vec<f64> {
    series(received, device, channel)
        .into_iter()
        .map(|(_, value)| value)
        .collect()
}

/// A receiver for plain MQTT.
pub async fn sink(received: &Arc<Mutex<Received>>) -> Sink {
    Sink::start(0, KEEP, Arc::clone(received)).await.unwrap()
}

/// A server of somebody else's make, from `tests/servers`. `None` when Python or its packages can't be had.
pub fn server(script: &str, args: &[&str]) -> Option<Server> {
    let mut python = python(
        env!("CARGO_TARGET_TMPDIR"),
        &["pymodbus==3.16.1", "asyncua==2.1.0"],
    )?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers");
    Some(Server::start(python.arg(folder.join(script)).args(args)))
}

/// Tries the sources of a configuration, as `forewarn-edge check` does.
pub async fn check(dir: &Path, text: &str, seconds: f64) -> Vec<edge_agent::check::Checked> {
    let path: PathBuf = dir.join("check.toml");
    std::fs::write(&path, text).unwrap();
    let config = Config::load(&path).unwrap();
    let mut all = Vec::new();
    for collect in &config.collect {
        let within = std::time::Duration::from_secs_f64(seconds);
        all.push(edge_agent::check::source(&config, collect, within).await);
    }
    all
}

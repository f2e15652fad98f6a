//! A mosquitto of the measurement's own, on loopback.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// How long a program may take to be ready.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Broker {
    pub address: SocketAddr,
    /// Ends with it.
    _process: Child,
}

impl Broker {
    /// `settings` are lines of mosquitto.conf; nobody has to say who he is.
    pub async fn start(program: &Path, folder: &Path, settings: &str) -> anyhow::Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = folder.join("mosquitto.conf");
        std::fs::write(
            &config,
            format!("listener {port} 127.0.0.1\nallow_anonymous true\n{settings}"),
        )?;
        let process = spawn(Command::new(program).arg("-c").arg(&config).stderr(Stdio::null()))
            .context("can't start mosquitto")?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let started = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            ensure!(
                started.elapsed() < PATIENCE,
                "mosquitto doesn't listen on {address}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self {
            address,
            _process: process,
        })
    }
}

pub(super) fn spawn(command: &mut Command) -> std::io::Result<Child> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}

pub(super) async fn version(program: &Path) -> anyhow::Result<String> {
    let output = Command::new(program)
        .arg("-h")
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| {
            format!(
                "can't start {}: apt-get install mosquitto, or name it by --mosquitto",
                program.display()
            )
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text
        .lines()
        .next()
        .and_then(|line| line.split_whitespace().last());
    Ok(version.unwrap_or("of unknown version").to_owned())
}

/// A folder that goes when it is dropped.
pub(super) struct Folder(pub PathBuf);

impl Folder {
    pub fn make() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("forewarn-bench-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "can't remove");
        }
    }
}

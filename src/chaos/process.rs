//! Executables that are killed and started again.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::process::{Child, Command};

/// How long an orderly end may take.
const STOP_WITHIN: Duration = Duration::from_secs(60);
/// A service that ends by itself is started again after this.
const REST: Duration = Duration::from_millis(300);

/// A folder that goes when it is dropped. Other accounts may enter it: PostgreSQL has one of its own.
pub struct Folder {
    pub path: PathBuf,
}

impl Folder {
    pub fn make(name: &str) -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("can't remove {}: {error}", self.path.display());
        }
    }
}

pub type Make = Box<dyn Fn() -> Command + Send>;

/// A process that is kept running.
pub struct Service {
    name: &'static str,
    make: Make,
    child: Option<Child>,
    ended_at: Instant,
    ended_by_itself: u32,
}

impl Service {
    pub fn start(name: &'static str, make: Make) -> anyhow::Result<Self> {
        let mut service = Self {
            name,
            make,
            child: None,
            ended_at: Instant::now(),
            ended_by_itself: 0,
        };
        service.spawn()?;
        Ok(service)
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        let child = (self.make)()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("can't start {}", self.name))?;
        self.child = Some(child);
        Ok(())
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await.with_context(|| self.name)?;
        }
        self.spawn()
    }

    /// Starts it again when it has ended by itself. Whether it had.
    pub fn look_after(&mut self) -> anyhow::Result<bool> {
        let Some(child) = &mut self.child else {
            if self.ended_at.elapsed() > REST {
                self.spawn()?;
            }
            return Ok(false);
        };
        let Some(status) = child.try_wait()? else {
            return Ok(false);
        };
        eprintln!("{} ended by itself with {status}", self.name);
        self.child = None;
        self.ended_at = Instant::now();
        self.ended_by_itself += 1;
        Ok(true)
    }

    pub fn ended_by_itself(&self) -> u32 {
        self.ended_by_itself
    }

    /// SIGTERM, and an orderly end.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let status = end(&mut child, "-TERM").await.with_context(|| self.name)?;
        ensure!(status.success(), "{} ended with {status}", self.name);
        Ok(())
    }
}

/// Sends a signal and waits for the end.
pub async fn end(child: &mut Child, signal: &str) -> anyhow::Result<std::process::ExitStatus> {
    let id = child.id().context("it has ended already")?;
    let sent = Command::new("kill")
        .args([signal, &id.to_string()])
        .status()
        .await?;
    ensure!(sent.success(), "it has ended already");
    let status = tokio::time::timeout(STOP_WITHIN, child.wait())
        .await
        .context("it doesn't end")??;
    Ok(status)
}

/// A port that was free a moment ago: processes must come back on the same one.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// `forewarn ingest`.
pub fn ingest(url: &str, port: u16) -> anyhow::Result<Make> {
    let program = std::env::current_exe()?;
    let url = url.to_owned();
    Ok(Box::new(move || {
        let mut command = Command::new(&program);
        command
            .arg("ingest")
            .env_remove("FOREWARN_CONFIG")
            .env("DATABASE_URL", &url)
            .env("FOREWARN__INGEST__LISTEN", format!("127.0.0.1:{port}"))
            // A database that falls silent is given up after this, and not only after two minutes.
            .env("FOREWARN__INGEST__WRITER__TRANSACTION_TIMEOUT_S", "10")
            .env("FOREWARN__LOG__FILTER", "error");
        command
    }))
}

/// `forewarn-edge run`; the agent's executable stands beside this one.
pub fn edge(config: &Path) -> anyhow::Result<Make> {
    let program = std::env::current_exe()?.with_file_name("forewarn-edge");
    ensure!(
        program.is_file(),
        "{} is missing: build the whole workspace",
        program.display()
    );
    let config = config.to_owned();
    Ok(Box::new(move || {
        let mut command = Command::new(&program);
        command
            .arg("run")
            .arg("--config")
            .arg(&config)
            .stderr(Stdio::null());
        command
    }))
}

//! A PostgreSQL of its own, which can be killed with all its backends.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use models::db::verify;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};
use tokio::process::{Child, Command};

use super::process;

/// How long recovery after a kill may take.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Where PostgreSQL's programs are, and as whom they run: PostgreSQL refuses root.
pub struct Programs {
    folder: PathBuf,
    account: Option<(u32, u32)>,
}

/// Those in `given`, or those of the server at `url`.
///
/// # Errors
/// When they are not on this machine.
pub async fn programs(given: Option<PathBuf>, url: Option<&str>) -> anyhow::Result<Programs> {
    let root = std::fs::metadata("/proc/self")?.uid() == 0;
    let (folder, owner) = match (given, url) {
        (Some(folder), _) => (folder, account_of_passwd()),
        (None, Some(url)) => {
            let mut connection = url.parse::<PgConnectOptions>()?.connect().await?;
            let (folder, data) = verify::server_folders(&mut connection).await?;
            let owner = std::fs::metadata(&data).ok().map(|data| (data.uid(), data.gid()));
            (PathBuf::from(folder), owner)
        }
        (None, None) => bail!("name PostgreSQL's programs by --postgres, or a server by DATABASE_URL"),
    };
    ensure!(
        folder.join("postgres").is_file() && folder.join("initdb").is_file(),
        "{} has no postgres and initdb: the server's programs are not on this machine; name others by --postgres",
        folder.display()
    );
    let account = if root {
        let account = owner.filter(|(user, _)| *user != 0).or_else(account_of_passwd);
        Some(
            account
                .context("PostgreSQL refuses to run as root, and there is no account postgres or nobody")?,
        )
    } else {
        None
    };
    Ok(Programs { folder, account })
}

fn account_of_passwd() -> Option<(u32, u32)> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    ["postgres", "nobody"].iter().find_map(|name| {
        let fields: Vec<&str> = text
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(name))?;
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    })
}

pub struct Cluster {
    programs: Programs,
    folder: PathBuf,
    server: Option<Child>,
}

impl Cluster {
    pub async fn start(programs: Programs, folder: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir(&folder)?;
        if let Some((user, group)) = programs.account {
            chown(&folder, Some(user), Some(group))?;
        }
        let data = folder.join("data");
        let output = as_account(&programs, "initdb", &folder)
            .arg("--pgdata")
            .arg(&data)
            .args([
                "--username=forewarn",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-instructions",
            ])
            .output()
            .await
            .context("initdb")?;
        ensure!(
            output.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let settings = format!(
            "listen_addresses = ''\nunix_socket_directories = '{}'\nshared_preload_libraries = 'timescaledb'\n\
             timescaledb.max_background_workers = 0\ntimescaledb.telemetry_level = off\nmax_connections = 60\n\
             max_locks_per_transaction = 256\nshared_buffers = 64MB\njit = off\ntimezone = 'UTC'\n\
             log_min_messages = fatal\n",
            folder.display()
        );
        // The file is initdb's, of the other account; appending keeps it so.
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.conf"))?;
        std::io::Write::write_all(&mut file, settings.as_bytes())?;
        let mut cluster = Self {
            programs,
            folder,
            server: None,
        };
        cluster.start_again().await?;
        let mut connection = cluster.connect("postgres").await?;
        verify::create_database(&mut connection, "forewarn").await?;
        models::db::migrate(&cluster.url()).await?;
        Ok(cluster)
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join(".s.PGSQL.5432")
    }

    /// Past the proxy, as the owner.
    pub fn url(&self) -> String {
        self.url_of("forewarn")
    }

    fn url_of(&self, database: &str) -> String {
        let folder = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://forewarn@localhost/{database}?host={folder}")
    }

    pub async fn owner(&self) -> anyhow::Result<PgConnection> {
        self.connect("forewarn").await
    }

    async fn connect(&self, database: &str) -> anyhow::Result<PgConnection> {
        let options: PgConnectOptions = self.url_of(database).parse()?;
        Ok(options.application_name("forewarn-chaos").connect().await?)
    }

    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        let mut command = as_account(&self.programs, "postgres", &self.folder);
        command.arg("-D").arg(self.folder.join("data"));
        self.server = Some(command.kill_on_drop(true).spawn().context("postgres")?);
        let began = Instant::now();
        while self.connect("postgres").await.is_err() {
            if let Some(server) = &mut self.server
                && let Some(status) = server.try_wait()?
            {
                bail!("the database ended while starting: {status}");
            }
            ensure!(began.elapsed() < READY_WITHIN, "the database does not come back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// SIGKILL to the server and every backend, as when the machine's memory runs out.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let Some(mut server) = self.server.take() else {
            return Ok(());
        };
        let id = server.id().context("the database has ended by itself")?;
        let backends = children(id);
        server.kill().await?;
        if !backends.is_empty() {
            // Some end by themselves when they miss the server: no matter whether kill finds them.
            let _ = Command::new("kill")
                .arg("-KILL")
                .args(backends.iter().map(ToString::to_string))
                .stderr(Stdio::null())
                .status()
                .await?;
        }
        let began = Instant::now();
        while backends.iter().any(|id| is_running(*id)) {
            ensure!(began.elapsed() < READY_WITHIN, "a backend does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// SIGINT: "fast" shutdown, connections are closed.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut server) = self.server.take() else {
            return Ok(());
        };
        let status = process::end(&mut server, "-INT").await.context("the database")?;
        ensure!(status.success(), "the database ended with {status}");
        Ok(())
    }
}

fn as_account(programs: &Programs, name: &str, folder: &Path) -> Command {
    let mut command = Command::new(programs.folder.join(name));
    command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if let Some((user, group)) = programs.account {
        command.uid(user).gid(group);
    }
    if name == "postgres" {
        command.stderr(Stdio::null());
    }
    command
}

/// Field 4 of /proc/PID/stat is the parent, field 3 the state.
fn stat(id: u32) -> Option<(char, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}

fn children(parent: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|id| stat(*id).is_some_and(|(_, of)| of == parent))
        .collect()
}

fn is_running(id: u32) -> bool {
    stat(id).is_some_and(|(state, _)| state != 'Z')
}

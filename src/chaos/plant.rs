//! The register, the recording that the agents replay, and a disk that can be full.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use models::db::auth::{Secret, SecretKind};
use models::db::register::{self, NewGateway, NewSite, NewTenant};
use models::id::GatewayId;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};

pub const TENANT: &str = "acme";
pub const COLUMNS: [&str; 5] = ["a", "b", "c", "d", "e"];
const AGENTS: usize = 2;
/// Rows of the past, sent as fast as they go: more than the spool holds.
const PAST_ROWS: u32 = 20_000;
/// Live rows for each round. When a round is quicker, the rest comes at the end.
const LIVE_ROWS_PER_ROUND: u32 = 200;
const LIVE_EVERY_S: f64 = 0.01;
/// Of the file system that the first agent's spool lies on, where one can be mounted.
const DISK_BYTES: u64 = 8 << 20;

pub struct Plant {
    folder: PathBuf,
    rows: u32,
    /// Of the agents, then of the publisher.
    pub gateways: Vec<GatewayId>,
    pub secret: Secret,
    /// Where the first agent's spool lies, when that is a small file system of its own.
    disk: Option<PathBuf>,
}

/// What a column of a row holds. The first one is the row's number, so that it can be told by what is stored.
pub fn value(column: usize, row: u32) -> f64 {
    let row = f64::from(row);
    match column {
        0 => row,
        1 => row * 0.5 + 3.0,
        2 => row % 97.0,
        3 => -row,
        _ => row % 2.0,
    }
}

impl Plant {
    pub async fn register(url: &str, folder: &Path, rounds: u32) -> anyhow::Result<Self> {
        let mut owner = url.parse::<PgConnectOptions>()?.connect().await?;
        let mut transaction = owner.begin().await?;
        let new = NewTenant {
            slug: TENANT,
            name: "Acme",
        };
        let tenant = register::create_tenant(&mut transaction, &new).await?;
        let new = NewSite {
            tenant,
            name: "Main",
            time_zone: "UTC",
        };
        let site = register::create_site(&mut transaction, &new).await?;
        let secret = Secret::generate(SecretKind::Gateway);
        let mut gateways = Vec::new();
        for i in 0..=AGENTS {
            let slug = name(i);
            let new = NewGateway {
                tenant,
                site,
                slug: &slug,
                name: &slug,
            };
            let gateway = register::create_gateway(&mut transaction, &new).await?;
            register::create_gateway_credential(&mut transaction, tenant, gateway, secret.hash(), None)
                .await?;
            gateways.push(gateway);
        }
        transaction.commit().await?;
        Ok(Self {
            folder: folder.to_owned(),
            rows: PAST_ROWS + rounds * LIVE_ROWS_PER_ROUND,
            gateways,
            secret,
            disk: mount(&folder.join("disk")),
        })
    }

    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// The gateways that run an agent.
    pub fn agent_gateways(&self) -> &[GatewayId] {
        &self.gateways[..AGENTS]
    }

    /// The gateway of the publisher.
    pub fn publisher_gateway(&self) -> GatewayId {
        self.gateways[AGENTS]
    }

    pub fn publisher_login(&self) -> String {
        format!("{TENANT}/{}", name(AGENTS))
    }

    /// Readings of all agents.
    pub fn produced(&self) -> i64 {
        AGENTS as i64 * i64::from(self.rows) * COLUMNS.len() as i64
    }

    /// Writes the agents' configuration.
    pub fn agents(&self, port: u16) -> anyhow::Result<Vec<PathBuf>> {
        let mut recorded = COLUMNS.join(",") + "\n";
        for row in 0..self.rows {
            let values: Vec<String> = (0..COLUMNS.len())
                .map(|column| value(column, row).to_string())
                .collect();
            writeln!(recorded, "{}", values.join(","))?;
        }
        let file = self.folder.join("run.csv");
        std::fs::write(&file, recorded)?;
        let columns: String = COLUMNS
            .iter()
            .map(|name| format!("{name} = {{ channel = \"{name}\", unit = \"1\" }}\n"))
            .collect();
        (0..AGENTS)
            .map(|i| {
                let spool = match (&self.disk, i) {
                    (Some(disk), 0) => disk.join("spool"),
                    _ => self.folder.join(format!("spool-{i}")),
                };
                let text = format!(
                    "[uplink]\nurl = \"mqtt://127.0.0.1:{port}\"\ntenant = \"{TENANT}\"\ngateway = \"{gateway}\"\n\
                     secret = \"{secret}\"\nretry_max_s = 1\n[spool]\ndir = \"{spool}\"\nmax_bytes = {max}\n\
                     full_policy = \"block\"\n[batch]\nmax_readings = 1000\nmax_age_ms = 200\n\
                     [[collect]]\nkind = \"replay\"\nformat = \"csv\"\nfile = \"{file}\"\ndevice = \"recorder\"\n\
                     step_s = 60\nhistory = {history}\nlive_every_s = {LIVE_EVERY_S}\non_end = \"stop\"\n\
                     [collect.columns]\n{columns}",
                    gateway = name(i),
                    secret = self.secret.reveal(),
                    spool = spool.display(),
                    // The second agent's spool is full when its limit is reached, the first one's when its disk is.
                    max = if i == 0 { 64 << 20 } else { 1 << 20 },
                    file = file.display(),
                    history = f64::from(PAST_ROWS) / f64::from(self.rows),
                );
                let path = self.folder.join(format!("edge-{i}.toml"));
                std::fs::write(&path, text)?;
                Ok(path)
            })
            .collect()
    }

    /// Leaves no room on the first agent's disk.
    pub fn fill_disk(&self) -> anyhow::Result<()> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let mut file = std::fs::File::create(disk.join("ballast"))?;
        let block = [0_u8; 4096];
        loop {
            match std::io::Write::write_all(&mut file, &block) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error).context("can't fill the disk"),
            }
        }
    }

    pub fn free_disk(&self) -> anyhow::Result<()> {
        match &self.disk {
            Some(disk) => std::fs::remove_file(disk.join("ballast")).context("can't free the disk"),
            None => Ok(()),
        }
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        if let Some(disk) = &self.disk {
            match Command::new("umount").arg("--lazy").arg(disk).status() {
                Ok(status) if status.success() => {}
                _ => eprintln!("can't unmount {}", disk.display()),
            }
        }
    }
}

fn name(i: usize) -> String {
    format!("line-{i}")
}

/// A small file system in memory, where this account may mount one.
fn mount(folder: &Path) -> Option<PathBuf> {
    std::fs::create_dir(folder).ok()?;
    let mounted = Command::new("mount")
        .args([
            "-t",
            "tmpfs",
            "-o",
            &format!("size={DISK_BYTES}"),
            "forewarn-chaos",
        ])
        .arg(folder)
        .output();
    let mounted = mounted.is_ok_and(|output| output.status.success());
    mounted.then(|| folder.to_owned())
}

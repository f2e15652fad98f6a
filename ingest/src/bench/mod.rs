//! Measurements: the real service as a process of its own, clients over loopback, databases that are
//! made for the measurement and dropped after it.
//!
//! Each ends in one JSON object. Clients, front door, writers and (usually) the database share one
//! machine, so the figures are of the whole.

use std::path::PathBuf;

use anyhow::Context;
use models::db::reading;
use models::db::register::{
    NewGateway, NewSite, NewTenant, create_gateway, create_gateway_credential, create_site, create_tenant,
};
use models::id::{GatewayId, SiteId, TenantId};
use sha2::{Digest, Sha256};
use sqlx::{Connection, PgConnection};

mod broker;
mod codecs;
mod connections;
mod dispatch;
mod foreign;
mod import;
mod limit;
mod load;
mod peers;
mod server;
mod throughput;

pub use codecs::{Args as CodecsArgs, run as codecs};
pub use connections::{Args as ConnectionsArgs, run as connections};
pub use dispatch::{Args as DispatchArgs, run as dispatch};
pub use foreign::{Args as ForeignArgs, run as foreign};
pub use import::{Args as ImportArgs, run as import};
pub use peers::{Args as PeersArgs, run as peers};
pub use throughput::{Args as IngestArgs, run as ingest};

/// Channels of a gateway.
const CHANNELS: usize = 20;
const SECRET: &str = "bench";
const TENANT: &str = "bench";

/// Where a measurement runs.
#[derive(Clone, Debug)]
pub struct Place {
    /// The server in which databases are made; its role must be a superuser.
    pub database_url: String,
    /// `forewarn`, started as `forewarn ingest`. `None`: the service runs in this process, whose memory is then measured.
    pub executable: Option<PathBuf>,
}

/// A database of the measurement's own.
struct Scratch {
    server: String,
    name: String,
    url: String,
}

impl Scratch {
    async fn make(server: &str) -> anyhow::Result<Self> {
        let name = format!("forewarn_bench_{}", uuid::Uuid::now_v7().simple());
        let url = reading::make_scratch(server, &name)
            .await
            .context("can't make a database for the measurement")?;
        Ok(Self {
            server: server.to_owned(),
            name,
            url,
        })
    }

    async fn drop_now(self) -> anyhow::Result<()> {
        reading::drop_scratch(&self.server, &self.name).await
    }
}

/// What [`register`] has made.
struct Registered {
    tenant: TenantId,
    site: SiteId,
    gateways: Vec<GatewayId>,
}

/// Gateways `g0`, `g1`, … of one tenant, all with the same secret.
async fn register(url: &str, gateways: usize) -> anyhow::Result<Registered> {
    let mut made = Vec::with_capacity(gateways);
    let mut owner = PgConnection::connect(url).await?;
    let mut transaction = owner.begin().await?;
    let new = NewTenant {
        slug: TENANT,
        name: "Bench",
    };
    let tenant = create_tenant(&mut transaction, &new).await?;
    let new = NewSite {
        tenant,
        name: "Bench",
        time_zone: "UTC",
    };
    let site = create_site(&mut transaction, &new).await?;
    let hash: [u8; 32] = Sha256::digest(SECRET).into();
    for i in 0..gateways {
        let slug = format!("g{i}");
        let new = NewGateway {
            tenant,
            site,
            slug: &slug,
            name: &slug,
        };
        let gateway = create_gateway(&mut transaction, &new).await?;
        create_gateway_credential(&mut transaction, tenant, gateway, hash, None).await?;
        made.push(gateway);
    }
    transaction.commit().await?;
    owner.close().await?;
    Ok(Registered {
        tenant,
        site,
        gateways: made,
    })
}

fn rounded(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}

/// A percentile of sorted microseconds, in milliseconds.
fn percentile_ms(sorted: &[u32], part: f64) -> f64 {
    let i = ((sorted.len() as f64 - 1.0) * part).max(0.0).round() as usize;
    sorted
        .get(i)
        .map_or(0.0, |micros| rounded(f64::from(*micros) / 1000.0, 2))
}

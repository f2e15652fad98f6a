//! Whose message is it: the gateway that a topic names, or the one of the configuration.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use models::db::registry as register;
use models::wire::{Kind, PREFIX, Topic};
use sqlx::PgPool;

use super::config::Foreign;
use crate::registry::Gateway;

/// The gateways that one connection has met.
pub(super) struct Gateways {
    tenant: String,
    default: String,
    max_age: Duration,
    known: HashMap<String, (Instant, Option<Arc<Gateway>>)>,
}

/// What a topic means.
#[derive(Debug)]
pub(super) enum Owner {
    Gateway(Arc<Gateway>),
    /// A gateway that doesn't exist, is switched off or is another tenant's: the message is kept under
    /// the connection's own gateway.
    Unknown(Arc<Gateway>, String),
    /// Not for the server: what gateways say of themselves, and what they are told.
    Nothing,
}

impl Gateways {
    pub fn new(foreign: &Foreign, max_age: Duration) -> anyhow::Result<Self> {
        let (tenant, gateway) = foreign
            .gateway()
            .ok_or_else(|| anyhow::anyhow!("gateway: tenant/gateway"))?;
        Ok(Self {
            tenant: tenant.to_owned(),
            default: gateway.to_owned(),
            max_age,
            known: HashMap::new(),
        })
    }

    /// The gateway of the configuration.
    ///
    /// # Errors
    /// When it doesn't exist, or the database is away.
    pub async fn own(&mut self, pool: &PgPool) -> anyhow::Result<Arc<Gateway>> {
        let slug = self.default.clone();
        self.find(pool, &slug)
            .await?
            .ok_or_else(|| anyhow::anyhow!("there is no enabled gateway `{}/{slug}`", self.tenant))
    }

    /// # Errors
    /// When the database is away, or the configuration's gateway is gone.
    pub async fn owner(&mut self, pool: &PgPool, topic: &str) -> anyhow::Result<Owner> {
        if !topic.starts_with(PREFIX) {
            return Ok(Owner::Gateway(self.own(pool).await?));
        }
        let parsed = Topic::parse(topic);
        if matches!(
            parsed.map(|topic| topic.kind),
            Ok(Kind::State | Kind::Committed | Kind::Error)
        ) {
            return Ok(Owner::Nothing);
        }
        // `fw/v1/{tenant}/{gateway}/…`; `me` means nothing on a foreign broker.
        let mut levels = topic.split('/').skip(2);
        let (Some(tenant), Some(slug)) = (levels.next(), levels.next()) else {
            return Ok(Owner::Unknown(
                self.own(pool).await?,
                "the topic names no gateway".to_owned(),
            ));
        };
        if tenant != self.tenant {
            let why = format!("`{tenant}` is not the tenant that this broker speaks for");
            return Ok(Owner::Unknown(self.own(pool).await?, why));
        }
        let slug = slug.to_owned();
        match self.find(pool, &slug).await? {
            Some(gateway) => Ok(Owner::Gateway(gateway)),
            None => {
                let why = format!("there is no enabled gateway `{}/{slug}`", self.tenant);
                Ok(Owner::Unknown(self.own(pool).await?, why))
            }
        }
    }

    async fn find(&mut self, pool: &PgPool, slug: &str) -> Result<Option<Arc<Gateway>>, sqlx::Error> {
        if let Some((at, found)) = self.known.get(slug)
            && at.elapsed() < self.max_age
        {
            return Ok(found.clone());
        }
        // Names come from outside: they are forgotten, not collected.
        if self.known.len() > 10_000 {
            self.known.clear();
        }
        let mut connection = pool.acquire().await?;
        let row = register::enabled_gateway(&mut connection, &self.tenant, slug).await?;
        let found = row.map(|row| {
            Arc::new(Gateway {
                id: row.gateway_id,
                tenant: row.tenant_id,
                tenant_slug: row.tenant_slug,
                slug: row.slug,
                max_channels: row.max_channels,
            })
        });
        self.known
            .insert(slug.to_owned(), (Instant::now(), found.clone()));
        Ok(found)
    }
}

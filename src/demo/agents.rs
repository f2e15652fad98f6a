//! One agent configuration for each gateway of the plant.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use models::db::auth::{Secret, SecretKind};
use models::time::Timestamp;
use toml::{Table, Value};

use super::plant::{Plant, Site, Tenant};
use super::{engines, write_private};

/// The gateways' secrets by `{tenant}/{gateway}`, made once.
#[derive(Debug)]
pub struct Secrets(BTreeMap<String, Secret>);

impl Secrets {
    /// Reads `dir/secrets.json`, adds what is missing and writes it back.
    pub fn load(dir: &Path, plant: &Plant) -> anyhow::Result<Self> {
        let path = dir.join("secrets.json");
        let mut texts: BTreeMap<String, String> = if path.is_file() {
            let text = std::fs::read_to_string(&path)?;
            serde_json::from_str(&text)
                .with_context(|| format!("{} is damaged; delete it", path.display()))?
        } else {
            BTreeMap::new()
        };
        for tenant in &plant.tenant {
            for site in &tenant.site {
                texts
                    .entry(key(&tenant.slug, &site.gateway))
                    .or_insert_with(|| Secret::generate(SecretKind::Gateway).reveal().to_owned());
            }
        }
        write_private(&path, &serde_json::to_string_pretty(&texts)?)?;
        Ok(Self(
            texts
                .into_iter()
                .map(|(key, text)| (key, Secret::given(text)))
                .collect(),
        ))
    }

    pub fn of(&self, tenant: &str, gateway: &str) -> anyhow::Result<&Secret> {
        self.0
            .get(&key(tenant, gateway))
            .with_context(|| format!("no secret for gateway {tenant}/{gateway}"))
    }
}

fn key(tenant: &str, gateway: &str) -> String {
    format!("{tenant}/{gateway}")
}

/// Writes `dir/agents/{gateway}.toml`; returns how many. `began`: see [`engines::failed`].
pub fn write(
    dir: &Path,
    plant: &Plant,
    secrets: &Secrets,
    uplink: &str,
    data: &Path,
    began: Option<Timestamp>,
) -> anyhow::Result<usize> {
    let data = data
        .canonicalize()
        .with_context(|| format!("no folder {} with the demo's data", data.display()))?;
    let mut agents = 0;
    for tenant in &plant.tenant {
        for site in &tenant.site {
            let secret = secrets.of(&tenant.slug, &site.gateway)?;
            let config = config(tenant, site, secret, uplink, &data, began);
            let text = format!(
                "# Gateway of {}. Written by `forewarn demo prepare`; changes are overwritten.\n\n{}",
                site.name,
                toml::to_string_pretty(&config)?
            );
            write_private(&dir.join("agents").join(format!("{}.toml", site.gateway)), &text)?;
            agents += 1;
        }
    }
    Ok(agents)
}

fn config(
    tenant: &Tenant,
    site: &Site,
    secret: &Secret,
    uplink: &str,
    data: &Path,
    began: Option<Timestamp>,
) -> Table {
    let mut collect: Vec<Table> = site
        .asset
        .iter()
        .filter_map(|asset| {
            let mut table = asset.collect.clone()?;
            table.insert("device".into(), asset.device.clone()?.into());
            Some(with_pace(table))
        })
        .collect();
    if site.bearing_rig {
        collect.push(bearing_rig(data));
    }
    if site.turbofans > 0 {
        collect.push(engines::flying(data, site.turbofans));
    }
    if let Some(began) = began.filter(|_| !site.failed_turbofans.is_empty()) {
        collect.push(engines::failed(data, began));
    }
    table([
        (
            "uplink",
            table([
                ("url", uplink.into()),
                ("tenant", tenant.slug.as_str().into()),
                ("gateway", site.gateway.as_str().into()),
                ("secret", secret.reveal().into()),
            ])
            .into(),
        ),
        (
            "spool",
            table([
                ("dir", format!("../spool/{}", site.gateway).into()),
                ("max_bytes", (256_i64 << 20).into()),
            ])
            .into(),
        ),
        (
            "collect",
            Value::Array(collect.into_iter().map(Value::Table).collect()),
        ),
    ])
}

/// A month of history every ten minutes, then a reading a second.
fn with_pace(mut collect: Table) -> Table {
    for (key, value) in table([
        ("history_days", 30.0.into()),
        ("history_step_s", 600.0.into()),
        ("live_every_s", 2.0.into()),
    ]) {
        collect.entry(key).or_insert(value);
    }
    collect
}

pub(super) fn table<const N: usize>(pairs: [(&str, Value); N]) -> Table {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

pub(super) fn file(data: &Path, name: &str) -> Value {
    data.join(name).display().to_string().into()
}

/// The rig's run to failure: until bearing 1 clearly wears as history, then a snapshot every few seconds, so that the last
/// two days pass within the hour.
fn bearing_rig(data: &Path) -> Table {
    table([
        ("kind", "replay".into()),
        ("format", "ims".into()),
        ("file", file(data, "ims-bearing-test2.csv.gz")),
        ("device_prefix", "bearing-".into()),
        ("step_s", 600.0.into()),
        ("history", 0.72.into()),
        ("max_rows", 982_i64.into()),
        ("live_every_s", 10.0.into()),
        ("on_end", "hold".into()),
    ])
}

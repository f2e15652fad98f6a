//! (gateway, device, channel name) → channel, cached.
//!
//! Each writer has its own: a gateway has one writer, so nothing is shared and nothing is locked.
//! A gateway's part is read anew when it is older than the configured age, so that a change of the
//! register is seen within that time. Names that nobody registered become channels by themselves,
//! in a transaction of their own, as many as the gateway's quota allows.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use models::db::registry::{self, NewChannel, RegisterRow};
use models::id::{AssetId, DeviceId, GatewayId, TenantId};
use models::unit::Unit;
use sqlx::PgPool;

use crate::codec::Decoded;
use crate::validate::{Channel, Names, Unresolved, good_name};

/// A gateway as its connection knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    pub id: GatewayId,
    pub tenant: TenantId,
    pub tenant_slug: String,
    pub slug: String,
    pub max_channels: i32,
}

#[derive(Debug)]
struct Device {
    id: DeviceId,
    asset: Option<AssetId>,
    channels: HashMap<String, Channel>,
}

/// The register of one gateway.
#[derive(Debug)]
pub struct GatewayNames {
    loaded_at: Instant,
    devices: HashMap<String, Device>,
    /// The quota left names unregistered: don't try again before the next reload.
    full: bool,
}

impl Names for GatewayNames {
    fn channel(&self, device: &str, channel: &str) -> Result<&Channel, Unresolved> {
        if !good_name(device) || !good_name(channel) {
            return Err(Unresolved::BadName);
        }
        self.devices
            .get(device)
            .and_then(|device| device.channels.get(channel))
            .ok_or(Unresolved::QuotaExceeded)
    }

    fn device(&self, device: &str) -> Option<(DeviceId, Option<AssetId>)> {
        self.devices.get(device).map(|device| (device.id, device.asset))
    }
}

impl GatewayNames {
    fn new(rows: Vec<RegisterRow>) -> Self {
        let mut devices: HashMap<String, Device> = HashMap::new();
        for row in rows {
            let device = devices.entry(row.device).or_insert_with(|| Device {
                id: row.device_id,
                asset: row.device_asset,
                channels: HashMap::new(),
            });
            if let (Some(id), Some(name)) = (row.channel_id, row.channel) {
                device.channels.insert(
                    name,
                    Channel {
                        id,
                        unit: Unit::new(row.unit.unwrap_or_else(|| "1".to_owned())),
                        plausible_min: row.plausible_min.unwrap_or(f64::NEG_INFINITY),
                        plausible_max: row.plausible_max.unwrap_or(f64::INFINITY),
                    },
                );
            }
        }
        Self {
            loaded_at: Instant::now(),
            devices,
            full: false,
        }
    }

    /// Names of `payloads` that mean nothing yet, each once, in the order they came.
    fn unknown<'a>(&self, payloads: &[&'a Decoded]) -> (Vec<String>, Vec<NewChannel>) {
        let mut seen: HashSet<(&'a str, &'a str)> = HashSet::new();
        let mut devices: Vec<String> = Vec::new();
        let mut new_devices: HashSet<&'a str> = HashSet::new();
        let mut channels = Vec::new();
        let mut note_device = |name: &'a str| {
            if !self.devices.contains_key(name) && good_name(name) && new_devices.insert(name) {
                devices.push(name.to_owned());
            }
        };
        for decoded in payloads {
            for column in &decoded.columns {
                if self.channel(&column.device, &column.channel) == Err(Unresolved::QuotaExceeded)
                    && seen.insert((&column.device, &column.channel))
                {
                    note_device(&column.device);
                    let unit = column
                        .unit
                        .clone()
                        .filter(|unit| good_name(unit) && unit.len() <= 64);
                    channels.push(NewChannel {
                        device: column.device.clone(),
                        channel: column.channel.clone(),
                        unit: unit.unwrap_or_else(|| "1".to_owned()),
                    });
                }
            }
            for event in &decoded.events {
                note_device(&event.device);
            }
        }
        (devices, channels)
    }
}

impl PartialEq for Channel {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// The registers of the gateways of one writer.
#[derive(Debug)]
pub struct Registry {
    max_age: Duration,
    gateways: HashMap<GatewayId, GatewayNames>,
}

impl Registry {
    pub fn new(max_age: Duration) -> Self {
        Self {
            max_age,
            gateways: HashMap::new(),
        }
    }

    /// Makes every name of `payloads` known that can be.
    ///
    /// # Errors
    /// When the database does; nothing is half done then.
    pub async fn prepare(
        &mut self,
        pool: &PgPool,
        gateway: &Gateway,
        payloads: &[&Decoded],
    ) -> Result<&GatewayNames, sqlx::Error> {
        if self
            .gateways
            .get(&gateway.id)
            .is_none_or(|names| names.loaded_at.elapsed() > self.max_age)
        {
            self.reload(pool, gateway.id).await?;
        }
        let names = &self.gateways[&gateway.id];
        let (mut devices, channels) = names.unknown(payloads);
        let something_new = !(devices.is_empty() && channels.is_empty());
        if something_new && !names.full {
            let room = usize::try_from(gateway.max_channels)
                .unwrap_or(0)
                .saturating_sub(names.devices.len());
            devices.truncate(room);
            let mut transaction = pool.begin().await?;
            if !devices.is_empty() {
                registry::add_devices(&mut transaction, gateway.tenant, gateway.id, &devices).await?;
            }
            let mut added = 0;
            if !channels.is_empty() {
                added =
                    registry::add_channels(&mut transaction, gateway.tenant, gateway.id, &channels).await?;
            }
            transaction.commit().await?;
            self.reload(pool, gateway.id).await?;
            tracing::info!(gateway = %gateway.id, devices = devices.len(), channels = added, "registered new names");
            let names = &self.gateways[&gateway.id];
            let (devices, channels) = names.unknown(payloads);
            let full = !(devices.is_empty() && channels.is_empty());
            if full {
                tracing::warn!(
                    gateway = %gateway.id, limit = gateway.max_channels, left_out = channels.len(),
                    "the gateway has all the channels it may have"
                );
            }
            if let Some(names) = self.gateways.get_mut(&gateway.id) {
                names.full = full;
            }
        }
        Ok(&self.gateways[&gateway.id])
    }

    async fn reload(&mut self, pool: &PgPool, gateway: GatewayId) -> Result<(), sqlx::Error> {
        let mut connection = pool.acquire().await?;
        let rows = registry::gateway_register(&mut connection, gateway).await?;
        self.gateways.insert(gateway, GatewayNames::new(rows));
        // Gateways that fell silent are forgotten.
        let keep = self.max_age * 30 + Duration::from_secs(60);
        self.gateways.retain(|_, names| names.loaded_at.elapsed() < keep);
        Ok(())
    }

    /// The register of a gateway that was prepared.
    pub fn names(&self, gateway: GatewayId) -> Option<&GatewayNames> {
        self.gateways.get(&gateway)
    }

    /// Forgets what is known of a gateway.
    pub fn forget(&mut self, gateway: GatewayId) {
        self.gateways.remove(&gateway);
    }
}

/// Channel of a reading for tests of the parts behind.
#[cfg(test)]
pub(crate) fn channel(id: i32, unit: &str) -> Channel {
    Channel {
        id: models::id::ChannelId(id),
        unit: Unit::new(unit),
        plausible_min: f64::NEG_INFINITY,
        plausible_max: f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::NamedColumn;

    #[test]
    fn unknown_names_are_found_once_and_bad_ones_never() {
        let mut names = GatewayNames::new(Vec::new());
        names.devices.insert(
            "pump".into(),
            Device {
                id: DeviceId::new(),
                asset: None,
                channels: HashMap::from([("temp".into(), channel(1, "Cel"))]),
            },
        );
        let column = |device: &str, channel: &str| NamedColumn {
            device: device.into(),
            channel: channel.into(),
            ..NamedColumn::default()
        };
        let decoded = Decoded {
            columns: vec![
                column("pump", "temp"),
                column("pump", "flow"),
                column("fan", "rpm"),
                column("fan", "rpm"),
                column("", "x"),
                column("fan", "a\0b"),
            ],
            ..Decoded::default()
        };
        let (devices, channels) = names.unknown(&[&decoded]);
        assert_eq!(devices, ["fan"]);
        assert_eq!(
            channels
                .iter()
                .map(|new| new.channel.as_str())
                .collect::<Vec<_>>(),
            ["flow", "rpm"]
        );
    }
}

//! Readings one by one → columns by name; and the register as a dry run sees it.

use std::collections::HashMap;

use models::db::registry as register;
use models::id::{AssetId, ChannelId, DeviceId};
use models::unit::Unit;
use sqlx::PgPool;

use crate::codec::{Decoded, NamedColumn};
use crate::registry::Gateway;
use crate::validate::{Channel, Names, Unresolved, good_name};

/// Gathers readings by device, channel and unit.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    columns: Vec<NamedColumn>,
    index: HashMap<Vec<u8>, usize>,
    key: Vec<u8>,
    next: usize,
}

impl Gather {
    /// The place of a column, made when it is new. Files repeat their names: the one after the last
    /// is tried before anything is hashed.
    pub fn place(&mut self, device: &str, channel: &str, unit: Option<&str>) -> usize {
        for at in [self.next, self.next.wrapping_sub(1)] {
            if let Some(column) = self.columns.get(at)
                && column.channel == channel
                && column.device == device
                && column.unit.as_deref() == unit
            {
                self.next = at + 1;
                return at;
            }
        }
        self.key.clear();
        for part in [device, channel, unit.unwrap_or("")] {
            self.key.extend_from_slice(part.as_bytes());
            self.key.push(0);
        }
        let at = match self.index.get(self.key.as_slice()) {
            Some(at) => *at,
            None => {
                self.columns.push(NamedColumn {
                    device: device.to_owned(),
                    channel: channel.to_owned(),
                    unit: unit.map(str::to_owned),
                    ..NamedColumn::default()
                });
                self.index.insert(self.key.clone(), self.columns.len() - 1);
                self.columns.len() - 1
            }
        };
        self.next = at + 1;
        at
    }

    pub fn push(&mut self, at: usize, ts: i64, value: f64, quality: u8) {
        let column = &mut self.columns[at];
        if quality != 0 || !column.qualities.is_empty() {
            column.qualities.resize(column.values.len(), 0);
            column.qualities.push(quality);
        }
        column.ts.push(ts);
        column.values.push(value);
    }

    /// What was gathered; the names are forgotten.
    pub fn take(&mut self) -> Vec<NamedColumn> {
        self.index.clear();
        self.next = 0;
        let mut columns = std::mem::take(&mut self.columns);
        columns.retain(|column| !column.values.is_empty());
        columns
    }
}

/// The register, with what a store would add to it.
pub(crate) struct DryNames {
    channels: HashMap<String, HashMap<String, Channel>>,
    devices: HashMap<String, (DeviceId, Option<AssetId>)>,
}

impl DryNames {
    /// # Errors
    /// When the database does.
    pub async fn load(pool: &PgPool, gateway: &Gateway, decoded: &Decoded) -> Result<Self, sqlx::Error> {
        let mut connection = pool.acquire().await?;
        let mut names = Self {
            channels: HashMap::new(),
            devices: HashMap::new(),
        };
        let mut known = 0;
        for row in register::gateway_register(&mut connection, gateway.id).await? {
            names
                .devices
                .insert(row.device.clone(), (row.device_id, row.device_asset));
            if let (Some(id), Some(name)) = (row.channel_id, row.channel) {
                known += 1;
                let channel = Channel {
                    id,
                    unit: Unit::new(row.unit.unwrap_or_else(|| "1".to_owned())),
                    plausible_min: row.plausible_min.unwrap_or(f64::NEG_INFINITY),
                    plausible_max: row.plausible_max.unwrap_or(f64::INFINITY),
                };
                names
                    .channels
                    .entry(row.device)
                    .or_default()
                    .insert(name, channel);
            }
        }
        for column in &decoded.columns {
            let channels = names.channels.entry(column.device.clone()).or_default();
            if !channels.contains_key(&column.channel) && known < gateway.max_channels {
                known += 1;
                let channel = Channel {
                    id: ChannelId(i32::MAX),
                    unit: Unit::new(column.unit.clone().unwrap_or_else(|| "1".to_owned())),
                    plausible_min: f64::NEG_INFINITY,
                    plausible_max: f64::INFINITY,
                };
                channels.insert(column.channel.clone(), channel);
            }
        }
        Ok(names)
    }
}

impl Names for DryNames {
    fn channel(&self, device: &str, channel: &str) -> Result<&Channel, Unresolved> {
        if !good_name(device) || !good_name(channel) {
            return Err(Unresolved::BadName);
        }
        self.channels
            .get(device)
            .and_then(|channels| channels.get(channel))
            .ok_or(Unresolved::QuotaExceeded)
    }

    fn device(&self, device: &str) -> Option<(DeviceId, Option<AssetId>)> {
        self.devices.get(device).copied()
    }
}

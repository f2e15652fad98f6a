//! What is watched: gateways with an asset each, rules that nothing meets, and the probe's assets.

use models::alarm::{Kind, Params, Severity};
use models::asset::ChannelKind;
use models::db::alarm::{NewRule, create_rule};
use models::db::auth::{Secret, SecretKind};
use models::db::register::{
    NewApiKey, NewAsset, NewAssetClass, NewChannel, create_api_key, create_asset, create_asset_class,
    ensure_channel, ensure_device,
};
use models::id::{AssetClassId, AssetId, ChannelId, DeviceId, GatewayId};
use models::tenant::Permission;
use sqlx::{Connection, PgConnection};

use super::super::{CHANNELS, Registered, register};
use super::Args;

pub(super) struct Plant {
    /// Of the probe's readings, in their order.
    pub probes: Vec<AssetId>,
    /// A bearer token that may read the live stream.
    pub key: String,
}

/// Above everything that the gateways send.
const UNMET: f64 = 1_000.0;
/// What the probe exceeds.
const MET: f64 = 100.0;

impl Plant {
    /// Rules go round: each channel has one before any has two.
    pub async fn register(args: &Args, url: &str) -> anyhow::Result<Self> {
        let made = register(url, args.connections + 1).await?;
        let mut owner = PgConnection::connect(url).await?;
        let mut transaction = owner.begin().await?;
        let new = NewAssetClass {
            tenant: made.tenant,
            name: "bench",
            weibull: None,
        };
        let class = create_asset_class(&mut transaction, &new).await?;
        let register = Register { made, class };
        let (probe, gateways) = register.made.gateways.split_last().unzip();
        let mut watched = Vec::with_capacity(args.connections * CHANNELS);
        for (i, gateway) in gateways.into_iter().flatten().enumerate() {
            let asset = register.asset(&mut transaction, &format!("machine {i}")).await?;
            let device = register.device(&mut transaction, *gateway, Some(asset)).await?;
            for channel in 0..CHANNELS {
                let name = format!("c{channel}");
                let channel = register.channel(&mut transaction, device, asset, &name).await?;
                watched.push((asset, channel));
            }
        }
        for i in 0..args.rules - args.probes {
            let (asset, channel) = watched[i % watched.len()];
            let rule = rule(asset, channel, format!("limit {i}"), UNMET + i as f64);
            create_rule(&mut transaction, register.made.tenant, &rule).await?;
        }
        let mut probes = Vec::with_capacity(args.probes);
        if let Some(gateway) = probe {
            let device = register.device(&mut transaction, *gateway, None).await?;
            for i in 0..args.probes {
                let asset = register.asset(&mut transaction, &format!("probe {i}")).await?;
                let channel = register
                    .channel(&mut transaction, device, asset, &format!("p{i}"))
                    .await?;
                let rule = rule(asset, channel, "probe".to_owned(), MET);
                create_rule(&mut transaction, register.made.tenant, &rule).await?;
                probes.push(asset);
            }
        }
        let secret = Secret::generate(SecretKind::ApiKey);
        let new = NewApiKey {
            tenant: register.made.tenant,
            name: "bench",
            secret_hash: secret.hash(),
            scopes: &[
                Permission::AlarmsRead,
                Permission::TicketsRead,
                Permission::AssetsRead,
            ],
            created_by: None,
            expires_at: None,
        };
        create_api_key(&mut transaction, &new).await?;
        transaction.commit().await?;
        owner.close().await?;
        Ok(Self {
            probes,
            key: secret.reveal().to_owned(),
        })
    }
}

struct Register {
    made: Registered,
    class: AssetClassId,
}

impl Register {
    async fn asset(&self, connection: &mut PgConnection, name: &str) -> Result<AssetId, sqlx::Error> {
        let new = NewAsset::named(self.made.tenant, self.made.site, self.class, name);
        create_asset(connection, &new).await
    }

    async fn device(
        &self,
        connection: &mut PgConnection,
        gateway: GatewayId,
        asset: Option<AssetId>,
    ) -> Result<DeviceId, sqlx::Error> {
        ensure_device(connection, self.made.tenant, gateway, "d", asset).await
    }

    async fn channel(
        &self,
        connection: &mut PgConnection,
        device: DeviceId,
        asset: AssetId,
        name: &str,
    ) -> Result<ChannelId, sqlx::Error> {
        let new = NewChannel {
            tenant: self.made.tenant,
            device,
            asset: Some(asset),
            name,
            label: None,
            unit: "1",
            kind: ChannelKind::Measurement,
            cadence_s: None,
            plausible: (None, None),
        };
        ensure_channel(connection, &new).await
    }
}

/// Becomes active with the first reading beyond the limit.
fn rule(asset: AssetId, channel: ChannelId, name: String, limit: f64) -> NewRule {
    NewRule {
        asset_id: asset,
        channel_id: Some(channel),
        name,
        kind: Kind::High,
        limit_value: limit,
        deadband: 1.0,
        on_delay_s: 0.0,
        off_delay_s: 10.0,
        min_samples: 1,
        severity: Severity::Serious,
        failure_mode_id: None,
        makes_ticket: true,
        latched: false,
        enabled: true,
        params: Params::default(),
    }
}

//! A plant to measure with: many machines with the same channels, and readings without a generator's
//! state.

use models::asset::{AssetStatus, ChannelKind, Criticality};
use models::db::reading;
use models::db::register::{
    NewAsset, NewAssetClass, NewChannel, NewGateway, NewSite, NewTenant, create_asset, create_asset_class,
    create_gateway, create_site, create_tenant, ensure_channel, ensure_device,
};
use models::id::{AssetClassId, AssetId, ChannelId, TenantId};
use models::reading::{Quality, Reading};
use models::time::Timestamp;
use serde_json::json;
use sqlx::PgConnection;

use super::{Args, STEP_S};

#[derive(Debug)]
pub(super) struct Plant {
    pub tenant: TenantId,
    pub class: AssetClassId,
    pub assets: Vec<(AssetId, Vec<ChannelId>)>,
}

pub(super) async fn register(connection: &mut PgConnection, args: &Args) -> anyhow::Result<Plant> {
    let tenant = create_tenant(
        connection,
        &NewTenant {
            slug: "bench",
            name: "Bench",
        },
    )
    .await?;
    let site = create_site(
        connection,
        &NewSite {
            tenant,
            name: "Bench",
            time_zone: "UTC",
        },
    )
    .await?;
    let weibull = Some((2.0, 20_000.0));
    let class = create_asset_class(
        connection,
        &NewAssetClass {
            tenant,
            name: "machine",
            weibull,
        },
    )
    .await?;
    let gateway = create_gateway(
        connection,
        &NewGateway {
            tenant,
            site,
            slug: "bench",
            name: "Bench",
        },
    )
    .await?;
    let mut assets = Vec::with_capacity(args.assets);
    for i in 0..args.assets {
        let name = format!("machine {i}");
        let new = NewAsset {
            tenant,
            site,
            area: None,
            class,
            parent: None,
            name: &name,
            status: AssetStatus::Operational,
            criticality: Criticality::Medium,
            manufacturer: None,
            model: None,
            serial_number: None,
            installed_at: None,
            external_ref: None,
            attributes: json!({}),
            downtime_cost_per_h: None,
        };
        let asset = create_asset(connection, &new).await?;
        let device = ensure_device(connection, tenant, gateway, &name, Some(asset)).await?;
        let mut channels = Vec::with_capacity(args.channels);
        for channel in 0..args.channels {
            let name = format!("channel_{channel}");
            let new = NewChannel {
                tenant,
                device,
                asset: Some(asset),
                name: &name,
                label: None,
                unit: "1",
                kind: ChannelKind::Measurement,
                cadence_s: Some(STEP_S),
                plausible: (None, None),
            };
            channels.push(ensure_channel(connection, &new).await?);
        }
        assets.push((asset, channels));
    }
    Ok(Plant {
        tenant,
        class,
        assets,
    })
}

pub(super) async fn fill(
    connection: &mut PgConnection,
    assets: &[(AssetId, Vec<ChannelId>)],
    start: Timestamp,
    steps: std::ops::Range<usize>,
) -> anyhow::Result<()> {
    for some in assets.chunks(20) {
        let mut readings = Vec::new();
        for channel in some.iter().flat_map(|(_, channels)| channels) {
            // Noise without a generator's state: the bits of a mixed counter.
            let mut x = u64::from(channel.0.unsigned_abs()).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            for step in steps.clone() {
                x = x.wrapping_add(step as u64).wrapping_mul(0xD134_2543_DE82_EF95);
                let uniform = |shift: u32| f64::from((x >> shift) as u16) / 65_536.0;
                let value = 50.0
                    + uniform(16)
                    + uniform(32)
                    + uniform(48)
                    + (step as f64 / 144.0 * std::f64::consts::TAU).sin();
                readings.push(Reading {
                    channel: *channel,
                    ts: start.plus_seconds(step as f64 * STEP_S),
                    value,
                    quality: Quality::Good,
                });
            }
        }
        reading::copy(connection, &readings).await?;
    }
    Ok(())
}

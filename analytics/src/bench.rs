//! How many assets a second one process assesses: loading from the hypertable, features, detection,
//! prognosis, and one transaction for each asset.
//!
//! Fifty hours of ten-minute readings first, from which the baselines are learned (timed apart), then
//! one more hour and the pass that counts. Where the time of a pass goes is measured on some assets
//! one after the other.

use std::time::Instant;

use anyhow::Context;
use futures::stream::{self, TryStreamExt};
use models::asset::{AssetStatus, ChannelKind, Criticality};
use models::db::register::{
    NewAsset, NewAssetClass, NewChannel, NewGateway, NewSite, NewTenant, create_asset, create_asset_class,
    create_gateway, create_site, create_tenant, ensure_channel, ensure_device,
};
use models::db::{Role, reading};
use models::id::{AssetId, ChannelId};
use models::reading::{Quality, Reading};
use models::time::Timestamp;
use serde_json::json;
use sqlx::{Connection, PgConnection, PgPool};

use crate::assess::{compute, load, pass, write};
use crate::config::Config;

#[derive(Clone, Copy, Debug)]
pub struct Args {
    pub assets: usize,
    pub channels: usize,
    /// Passes at the same time.
    pub workers: usize,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            assets: 500,
            channels: 20,
            workers: 2,
        }
    }
}

const STEP_S: f64 = 600.0;
const HISTORY_STEPS: usize = 300;
const HOUR_STEPS: usize = 6;
/// Assets whose passes are taken apart.
const TAKEN_APART: usize = 50;

/// Runs in a database of its own, which it makes beside `database_url`'s and drops.
///
/// # Errors
/// When a pass fails, or the database can't be made.
pub async fn run(args: Args, database_url: &str) -> anyhow::Result<serde_json::Value> {
    let name = format!("forewarn_bench_{}", uuid::Uuid::now_v7().simple());
    let url = reading::make_scratch(database_url, &name)
        .await
        .context("database for the measurement")?;
    let measured = measure(args, &url).await;
    let dropped = reading::drop_scratch(database_url, &name).await;
    let measured = measured?;
    dropped?;
    Ok(measured)
}

async fn measure(args: Args, url: &str) -> anyhow::Result<serde_json::Value> {
    let config = Config {
        fill_points: 0,
        ..Config::default()
    };
    let mut owner = PgConnection::connect(url).await?;
    let assets = register(&mut owner, args).await?;
    let start = Timestamp::from_secs(1_772_323_200);
    fill(&mut owner, &assets, start, 0..HISTORY_STEPS).await?;
    let pool = models::db::connect(url, Role::Analytics, u32::try_from(args.workers + 1).unwrap_or(8))?;
    let at = |step: usize| start.plus_seconds(step as f64 * STEP_S);

    let ids: Vec<AssetId> = assets.iter().map(|(asset, _)| *asset).collect();
    let learning = Instant::now();
    all(&pool, &ids, at(HISTORY_STEPS), &config, args.workers).await?;
    let learning_s = learning.elapsed().as_secs_f64();

    fill(
        &mut owner,
        &assets,
        start,
        HISTORY_STEPS..HISTORY_STEPS + HOUR_STEPS,
    )
    .await?;
    let now = at(HISTORY_STEPS + HOUR_STEPS);
    let passing = Instant::now();
    all(&pool, &ids, now, &config, args.workers).await?;
    let pass_s = passing.elapsed().as_secs_f64();

    let apart = take_apart(&pool, &ids[..ids.len().min(TAKEN_APART)], now, &config).await?;
    pool.close().await;
    let per_s = |seconds: f64| (assets.len() as f64 / seconds).round();
    Ok(json!({
        "assets_per_s": per_s(pass_s), "learned_per_s": per_s(learning_s), "load_ms": apart[0], "compute_ms": apart[1],
        "write_ms": apart[2], "assets": assets.len(), "channels": args.channels, "workers": args.workers,
    }))
}

async fn all(
    pool: &PgPool,
    assets: &[AssetId],
    now: Timestamp,
    config: &Config,
    workers: usize,
) -> anyhow::Result<()> {
    stream::iter(assets.iter().copied().map(anyhow::Ok))
        .try_for_each_concurrent(workers, |asset| async move {
            pass(pool, asset, now, config, None)
                .await?
                .map_err(|skipped| anyhow::anyhow!("{asset} was skipped: {skipped:?}"))?;
            Ok(())
        })
        .await
}

/// Mean milliseconds of loading, computing and writing.
async fn take_apart(
    pool: &PgPool,
    assets: &[AssetId],
    now: Timestamp,
    config: &Config,
) -> anyhow::Result<[f64; 3]> {
    let mut sums = [0.0; 3];
    for asset in assets {
        let began = Instant::now();
        let mut connection = pool.acquire().await?;
        let inputs = load(&mut connection, *asset, now, config)
            .await?
            .context("an asset without readings")?;
        sums[0] += began.elapsed().as_secs_f64();
        let began = Instant::now();
        let outcome = tokio::task::spawn_blocking(move || compute(inputs)).await??;
        sums[1] += began.elapsed().as_secs_f64();
        let began = Instant::now();
        let mut transaction = connection.begin().await?;
        write(&mut transaction, outcome, config).await?;
        transaction.commit().await?;
        sums[2] += began.elapsed().as_secs_f64();
    }
    Ok(sums.map(|sum| (sum / assets.len().max(1) as f64 * 1e5).round() / 100.0))
}

async fn register(
    connection: &mut PgConnection,
    args: Args,
) -> anyhow::Result<Vec<(AssetId, Vec<ChannelId>)>> {
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
    Ok(assets)
}

async fn fill(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn measures_a_few_assets() {
        let url = std::env::var("DATABASE_URL").expect("tests need DATABASE_URL");
        let assets = std::env::var("FOREWARN_BENCH_ASSETS")
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(3);
        let result = run(
            Args {
                assets,
                ..Args::default()
            },
            &url,
        )
        .await
        .unwrap();
        println!("{result}");
        assert!(result["assets_per_s"].as_f64().unwrap() > 0.0, "{result}");
    }
}

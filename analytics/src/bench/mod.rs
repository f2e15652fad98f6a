//! How many assets a second one process assesses: one hourly pass over a plant from a filled database,
//! with everything a pass does: news from the hypertable, features, detection, the class's failure model,
//! prognosis, health, advice, and the rows.
//!
//! Twenty-seven hours of ten-minute readings first, from which the baselines are learned (timed apart),
//! and a failure model on their features. Then one more hour, and the pass that counts. Where the time of
//! an asset that is not remembered goes is measured on some of them one after the other.
//!
//! Beside it, when a Python is named: the same features and the same kind of model there with pandas and
//! LightGBM, from the same database (`python_assets_per_s`) and, apart, from columns that are in memory
//! already (`python_in_memory_per_s`). It only computes features and probabilities; our pass does all of the
//! above and writes it.

mod plant;
mod python;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use futures::stream::{self, TryStreamExt};
use models::artifact::{Card, Envelope};
use models::db::assessment as db;
use models::db::history::rollup;
use models::db::{Role, reading};
use models::id::AssetId;
use models::time::Timestamp;
use ndarray::Array2;
use serde_json::json;
use sqlx::{Connection, PgConnection, PgPool};

use crate::assess::{CODE_VERSION, Memory, compute, load, pass, pass_many, write};
use crate::boost::{Booster, Feature, Loss, Params, Training};
use crate::config::Config;
use crate::learn::{Calibration, FailureModel, Horizon, data, train};
use plant::Plant;

#[derive(Clone, Debug)]
pub struct Args {
    pub assets: usize,
    pub channels: usize,
    /// Batches at the same time.
    pub workers: usize,
    /// A Python with numpy, pandas and lightgbm.
    pub python: Option<PathBuf>,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            assets: 10_000,
            channels: 20,
            workers: 2,
            python: None,
        }
    }
}

const STEP_S: f64 = 600.0;
const HISTORY_STEPS: usize = 160;
const HOUR_STEPS: usize = 6;
/// Assets whose passes are taken apart.
const TAKEN_APART: usize = 50;

/// Runs in a database of its own, which it makes beside `database_url`'s and drops.
///
/// # Errors
/// When a pass fails, the database can't be made, or the named Python can't do its part.
pub async fn run(
    args: Args,
    database_url: &str,
    progress: impl Fn(&str),
) -> anyhow::Result<serde_json::Value> {
    let name = format!("forewarn_bench_{}", uuid::Uuid::now_v7().simple());
    let url = reading::make_scratch(database_url, &name)
        .await
        .context("database for the measurement")?;
    let measured = measure(&args, &url, progress).await;
    let dropped = reading::drop_scratch(database_url, &name).await;
    let measured = measured?;
    dropped?;
    Ok(measured)
}

async fn measure(args: &Args, url: &str, progress: impl Fn(&str)) -> anyhow::Result<serde_json::Value> {
    let config = Config {
        fill_points: 0,
        ..Config::default()
    };
    let mut owner = PgConnection::connect(url).await?;
    progress("registering the plant");
    let mut transaction = owner.begin().await?;
    let plant = plant::register(&mut transaction, args).await?;
    transaction.commit().await?;
    let start = Timestamp::from_secs(1_772_323_200);
    let at = |step: usize| start.plus_seconds((step as f64 - 0.5) * STEP_S);
    progress("filling the database");
    plant::fill(&mut owner, &plant.assets, start, 0..HISTORY_STEPS).await?;
    settle(&mut owner, at(HISTORY_STEPS), &config).await?;
    let pool = models::db::connect(url, Role::Analytics, u32::try_from(args.workers + 2).unwrap_or(8))?;
    let ids: Vec<AssetId> = plant.assets.iter().map(|(asset, _)| *asset).collect();

    progress("learning baselines");
    let memory = Arc::new(Memory::new(config.cache_mib));
    let learning = Instant::now();
    learn_all(&pool, &memory, &ids, at(HISTORY_STEPS), &config, args.workers).await?;
    let learning_s = learning.elapsed().as_secs_f64();
    progress("training the failure model");
    let trained = train_model(&pool, &plant, at(HISTORY_STEPS)).await?;

    progress("one more hour");
    let steps = HISTORY_STEPS..HISTORY_STEPS + HOUR_STEPS;
    plant::fill(&mut owner, &plant.assets, start, steps).await?;
    let now = at(HISTORY_STEPS + HOUR_STEPS);
    settle(&mut owner, now, &config).await?;
    progress("the pass");
    let passing = Instant::now();
    pass_all(&pool, &memory, &ids, now, &config, args.workers).await?;
    let pass_s = passing.elapsed().as_secs_f64();
    let peak_rss_mib = peak_rss_mib();

    let apart = take_apart(&pool, &ids[..ids.len().min(TAKEN_APART)], now, &config).await?;
    let per_s = |seconds: f64| ids.len() as f64 / seconds;
    progress(&format!(
        "{:.0} assets a second; the same in Python",
        per_s(pass_s)
    ));
    let python = match &args.python {
        Some(python) => Some(python::run(python, (url, &pool), &plant, &trained, start, now, args).await?),
        None => None,
    };
    pool.close().await;
    let python_per_s = python.as_ref().map(|python| python.assets_per_s);
    let in_memory_per_s = python.as_ref().map(|python| python.in_memory_per_s);
    Ok(json!({
        "assets_per_s": per_s(pass_s), "python_assets_per_s": python_per_s,
        "ratio": python_per_s.map(|python| per_s(pass_s) / python),
        "python_in_memory_per_s": in_memory_per_s,
        "ratio_in_memory": in_memory_per_s.map(|python| per_s(pass_s) / python), "peak_rss_mib": peak_rss_mib,
        "train_s": trained.seconds, "python_train_s": python.as_ref().map(|python| python.train_s),
        "train_ratio": python.as_ref().map(|python| trained.seconds / python.train_s),
        "learned_per_s": per_s(learning_s),
        "alone": { "load_ms": apart[0], "compute_ms": apart[1], "write_ms": apart[2] },
        "assets": ids.len(), "channels": args.channels, "workers": args.workers, "batch": config.batch,
        "python": python.map_or(json!("not measured: name one with --python"), |python| python.detail),
    }))
}

/// The state in which the upkeep of the database and of the rollups leaves it.
async fn settle(owner: &mut PgConnection, now: Timestamp, config: &Config) -> anyhow::Result<()> {
    rollup::advance(owner, now.plus_seconds(-config.rollup_delay_s)).await?;
    Ok(reading::settle(owner).await?)
}

async fn learn_all(
    pool: &PgPool,
    memory: &Memory,
    assets: &[AssetId],
    now: Timestamp,
    config: &Config,
    workers: usize,
) -> anyhow::Result<()> {
    stream::iter(assets.iter().copied().map(anyhow::Ok))
        .try_for_each_concurrent(workers, |asset| async move {
            pass(pool, memory, asset, now, config, None)
                .await?
                .map_err(|skipped| anyhow::anyhow!("{asset} was skipped: {skipped:?}"))?;
            Ok(())
        })
        .await
}

async fn pass_all(
    pool: &PgPool,
    memory: &Arc<Memory>,
    assets: &[AssetId],
    now: Timestamp,
    config: &Config,
    workers: usize,
) -> anyhow::Result<()> {
    stream::iter(assets.chunks(config.batch).map(anyhow::Ok))
        .try_for_each_concurrent(workers, |some| async move {
            // A task of its own, as in the service.
            let (pool, memory, some, config) = (pool.clone(), memory.clone(), some.to_vec(), config.clone());
            let passed =
                tokio::spawn(async move { pass_many(&pool, &memory, &some, now, &config, None).await });
            for (asset, result) in passed.await? {
                result?.map_err(|skipped| anyhow::anyhow!("{asset} was skipped: {skipped:?}"))?;
            }
            Ok(())
        })
        .await
}

/// A failure model on the features that the baselines' passes stored, with made-up failures: only the
/// time matters.
pub(crate) struct Trained {
    pub seconds: f64,
    pub params: Params,
    pub x: Array2<f64>,
    pub y: Vec<f64>,
}

async fn train_model(pool: &PgPool, plant: &Plant, now: Timestamp) -> anyhow::Result<Trained> {
    let mut connection = pool.acquire().await?;
    let rows = data::read(
        &mut connection,
        plant.class,
        now.plus_seconds(-7.0 * 86_400.0),
        now,
    )
    .await?;
    anyhow::ensure!(!rows.is_empty(), "no features were stored");
    let (layout, x) = (rows.layout.clone(), rows.x.clone());
    let noisy = |row: usize| {
        let level = x.row(row).iter().take(3).filter(|v| v.is_finite()).sum::<f64>();
        (level * 1e4).rem_euclid(10.0) < 2.0
    };
    let failed: Vec<bool> = (0..x.nrows()).map(noisy).collect();
    let y = crate::backtest::settings::labels(&failed);
    let params = Params {
        loss: Loss::Logistic,
        rounds: 100,
        learning_rate: 0.1,
        column_share: 1.0,
        row_share: 1.0,
        min_leaf: 20.min(x.nrows() / 4).max(1),
        ..Params::default()
    };
    let features: Vec<Feature> = layout.names().iter().map(Feature::numeric).collect();
    let began = Instant::now();
    let booster = {
        let (params, x, y) = (params.clone(), x.clone(), y.clone());
        tokio::task::spawn_blocking(move || Booster::fit(&params, &features, Training::new(x.view(), &y)))
            .await??
    };
    let seconds = began.elapsed().as_secs_f64();
    let weight = vec![1.0; failed.len()];
    let calibration = Calibration::fit(&booster.predict(x.view())?, &failed, &weight, failed.len())
        .context("calibration")?;
    let (sketch, present) = train::sketch(&x);
    let model = FailureModel {
        layout,
        horizons: vec![Horizon {
            horizon_h: 720,
            booster,
            calibration,
            failures: 20,
        }],
        modes: Vec::new(),
        sketch,
        present,
        known_until: Some(now),
    };
    let card = Card {
        summary: "made up to measure".to_owned(),
        data_from: now,
        data_to: now,
        rows: x.nrows(),
        features: Vec::new(),
        figures: serde_json::Map::new(),
        limits: Vec::new(),
    };
    let scope = plant.class.to_string();
    let new = db::NewModel {
        tenant: plant.tenant,
        name: FailureModel::NAME,
        scope: &scope,
        artifact: &Envelope::seal(&model)?,
        card: &card,
        code_version: CODE_VERSION,
    };
    db::insert_champion(&mut connection, &new).await?;
    Ok(Trained {
        seconds,
        params,
        x,
        y,
    })
}

/// Mean milliseconds of loading, computing and writing an asset that nothing is remembered of.
async fn take_apart(
    pool: &PgPool,
    assets: &[AssetId],
    now: Timestamp,
    config: &Config,
) -> anyhow::Result<[f64; 3]> {
    let mut sums = [0.0; 3];
    let memory = Memory::new(0);
    for asset in assets {
        let began = Instant::now();
        let mut connection = pool.acquire().await?;
        let inputs = load(&mut connection, &memory, *asset, now, config)
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

/// The most memory this process ever had, as Linux says; `None` elsewhere.
fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some((kib / 102.4).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn measures_a_few_assets() {
        let url = std::env::var("DATABASE_URL").expect("tests need DATABASE_URL");
        let number = |name: &str, otherwise: usize| {
            std::env::var(name)
                .ok()
                .and_then(|n| n.parse().ok())
                .unwrap_or(otherwise)
        };
        let args = Args {
            assets: number("FOREWARN_BENCH_ASSETS", 6),
            channels: number("FOREWARN_BENCH_CHANNELS", 3),
            python: std::env::var_os("FOREWARN_BENCH_PYTHON").map(PathBuf::from),
            ..Args::default()
        };
        let result = run(args, &url, |_| ()).await.unwrap();
        println!("{result}");
        assert!(result["assets_per_s"].as_f64().unwrap() > 0.0, "{result}");
        assert!(result["train_s"].as_f64().is_some(), "{result}");
    }
}

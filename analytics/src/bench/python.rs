//! The reference in pandas and LightGBM, run beside ours on the same readings.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, ensure};
use models::db::assessment as db;
use models::id::ChannelId;
use models::time::Timestamp;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::plant::Plant;
use super::{Args, STEP_S, Trained};
use crate::features::NAMES;
use crate::stats;

const SCRIPT: &str = include_str!("reference.py");
/// Assets that Python gets; its time is for each of them, more would only take longer.
const MOST_ASSETS: usize = 500;

/// What the script imports, by its names on PyPI.
const PACKAGES: [&str; 4] = ["numpy", "pandas", "lightgbm", "psycopg[binary]"];
const IMPORTS: &str = "import numpy, pandas, lightgbm, psycopg";

pub(super) struct Measured {
    /// With reading the window from the database, as in our pass.
    pub assets_per_s: f64,
    /// Features and predictions alone, from columns that are in memory already.
    pub in_memory_per_s: f64,
    pub train_s: f64,
    pub detail: Value,
}

pub(super) async fn run(
    python: &Path,
    (url, pool): (&str, &PgPool),
    plant: &Plant,
    trained: &Trained,
    start: Timestamp,
    now: Timestamp,
    args: &Args,
) -> anyhow::Result<Measured> {
    let python = &prepared(python).await?;
    let folder = tempdir()?;
    let assets = &plant.assets[..plant.assets.len().min(MOST_ASSETS)];
    let channels: Vec<ChannelId> = assets.iter().flat_map(|(_, channels)| channels.clone()).collect();
    let places: std::collections::HashMap<ChannelId, usize> = channels
        .iter()
        .enumerate()
        .map(|(place, channel)| (*channel, place))
        .collect();
    let steps = (now.seconds_since(start) / STEP_S).ceil() as usize;
    let mut values = vec![f64::NAN; channels.len() * steps];
    db::stream_readings(
        &mut *pool.acquire().await?,
        &channels,
        (start, now),
        |channel, ts, value, _| {
            let step = (ts.seconds_since(start) / STEP_S) as usize;
            if let (Some(place), true) = (places.get(&channel), step < steps) {
                values[place * steps + step] = value;
            }
        },
    )
    .await?;
    let spreads: Vec<_> = values
        .chunks(steps)
        .map(|series| stats::spread(series.iter().copied()))
        .collect();
    let median: Vec<f64> = spreads.iter().map(|s| s.map_or(0.0, |s| s.median)).collect();
    let scale: Vec<f64> = spreads
        .iter()
        .map(|s| s.map_or(1.0, |s| s.scale.max(1e-9)))
        .collect();
    let write = |name: &str, shape: &[usize], values: &[f64]| npy(&folder.join(name), shape, values);
    let ids: Vec<f64> = channels.iter().map(|channel| f64::from(channel.0)).collect();
    write("channels.npy", &[ids.len()], &ids)?;
    write("median.npy", &[channels.len()], &median)?;
    write("scale.npy", &[channels.len()], &scale)?;
    write(
        "x.npy",
        &[trained.x.nrows(), trained.x.ncols()],
        &trained.x.iter().copied().collect::<Vec<_>>(),
    )?;
    write("y.npy", &[trained.y.len()], &trained.y)?;
    let params = &trained.params;
    let facts = json!({
        "start_s": start.micros() as f64 / 1e6, "end_s": now.micros() as f64 / 1e6, "step_s": STEP_S, "steps": steps,
        "assets": assets.len(), "channels": args.channels, "names": NAMES, "steps_per_hour": 3600.0 / STEP_S,
        "rounds": params.rounds, "learning_rate": params.learning_rate, "leaves": params.leaves,
        "min_leaf": params.min_leaf, "row_share": params.row_share, "column_share": params.column_share,
    });
    std::fs::write(folder.join("facts.json"), facts.to_string())?;
    let script = folder.join("reference.py");
    std::fs::write(&script, SCRIPT)?;
    let output = tokio::process::Command::new(python)
        .arg(&script)
        .arg(&folder)
        .env("DATABASE_URL", models::db::reading::for_libpq(url))
        .output()
        .await;
    let output = output.with_context(|| format!("can't run {}", python.display()))?;
    std::fs::remove_dir_all(&folder)?;
    ensure!(
        output.status.success(),
        "{} failed (it needs {}): {}",
        python.display(),
        PACKAGES.join(", "),
        last_words(&output.stderr)
    );
    let mut said: Value = serde_json::from_slice(&output.stdout).context("what Python printed")?;
    let number = |name: &str| {
        said[name]
            .as_f64()
            .with_context(|| format!("Python did not tell {name}"))
    };
    let (train_s, load_s) = (number("train_s")?, number("load_s")?);
    let computed_s = number("features_s")? + number("predict_s")?;
    let per_s = |seconds: f64| assets.len() as f64 / seconds;
    said["assets"] = json!(assets.len());
    Ok(Measured {
        assets_per_s: per_s(load_s + computed_s),
        in_memory_per_s: per_s(computed_s),
        train_s,
        detail: said,
    })
}

/// What a program said last.
fn last_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    last.unwrap_or_default().to_owned()
}

/// A Python that has what the script imports: the named one, or an environment of its own beside it, made
/// once and kept in the temporary folder.
async fn prepared(python: &Path) -> anyhow::Result<std::path::PathBuf> {
    let run = |program: &Path, args: &[&str]| {
        tokio::process::Command::new(program)
            .args(args)
            .stdin(std::process::Stdio::null())
            .output()
    };
    let wanted = ["-c", IMPORTS];
    let has = run(python, &wanted)
        .await
        .with_context(|| format!("can't run {}", python.display()))?;
    if has.status.success() {
        return Ok(python.to_owned());
    }
    let folder = std::env::temp_dir().join("forewarn-bench-python");
    let own = folder.join("bin/python");
    if own.exists() && run(&own, &wanted).await?.status.success() {
        return Ok(own);
    }
    let place = folder.display().to_string();
    let install = ["-m", "pip", "install", "--quiet"].into_iter().chain(PACKAGES);
    for (program, args) in [(python, vec!["-m", "venv", &place]), (&own, install.collect())] {
        let done = run(program, &args)
            .await
            .with_context(|| format!("can't run {}", program.display()))?;
        ensure!(
            done.status.success(),
            "{} {}: {}",
            program.display(),
            args.join(" "),
            last_words(&done.stderr)
        );
    }
    Ok(own)
}

fn tempdir() -> anyhow::Result<std::path::PathBuf> {
    let folder = std::env::temp_dir().join(format!("forewarn-bench-{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}

/// NumPy's own file format, version 1.0: little-endian doubles in row order.
fn npy(path: &Path, shape: &[usize], values: &[f64]) -> anyhow::Result<()> {
    let shape: String = shape.iter().map(|n| format!("{n},")).collect();
    let mut header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape}), }}");
    let unpadded = 10 + header.len() + 1;
    header.push_str(&" ".repeat(unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    file.write_all(b"\x93NUMPY\x01\x00")?;
    file.write_all(&u16::try_from(header.len())?.to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    for value in values {
        file.write_all(&value.to_le_bytes())?;
    }
    file.flush()?;
    Ok(())
}

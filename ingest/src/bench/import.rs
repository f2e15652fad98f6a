//! Files in bulk: CSV and Parquet of the same readings, each into an empty database, beside a COPY of
//! the same rows in transactions as large, by one connection that does nothing else.
//!
//! The files are long tables in order of time, as a historian writes them: device, channel, ts, value.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use models::db::{Role, ledger, reading, register};
use models::id::ChannelId;
use models::reading::{Quality, Reading};
use models::time::Timestamp;
use parquet::arrow::ArrowWriter;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::{Place, Scratch};
use crate::config::Config;
use crate::import::{Options, run as import};

#[derive(Clone, Copy, Debug)]
pub struct Args {
    pub readings: usize,
    pub channels: usize,
    /// Readings of a transaction.
    pub chunk: usize,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            readings: 100_000_000,
            channels: 5_000,
            chunk: 100_000,
        }
    }
}

const PER_DEVICE: usize = 50;
const START_S: i64 = 1_735_689_600; // 2025-01-01T00:00:00Z

impl Args {
    fn ts_us(self, i: usize) -> i64 {
        (START_S + (i / self.channels) as i64) * 1_000_000
    }

    fn value(self, i: usize) -> f64 {
        20.0 + ((i / self.channels * 31 + i % self.channels * 7) % 9_973) as f64 / 64.0
    }

    fn names(self) -> (Vec<String>, Vec<String>) {
        let channels = 0..self.channels;
        (
            channels
                .clone()
                .map(|channel| format!("machine {}", channel / PER_DEVICE))
                .collect(),
            channels
                .map(|channel| format!("channel_{}", channel % PER_DEVICE))
                .collect(),
        )
    }
}

/// Runs in databases and a folder of its own, which it removes.
///
/// # Errors
/// When the files can't be written, the databases not be made, or readings are missing afterwards.
pub async fn run(args: Args, place: &Place) -> anyhow::Result<serde_json::Value> {
    ensure!(
        args.readings > 0 && args.channels > 0 && args.chunk > 0,
        "readings, channels and chunk are above 0"
    );
    let folder = std::env::temp_dir().join(format!("forewarn_bench_{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let measured = measure(args, place, &folder).await;
    std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    measured
}

async fn measure(args: Args, place: &Place, folder: &Path) -> anyhow::Result<serde_json::Value> {
    let csv = one(args, place, write_csv(args, folder)?).await?;
    std::fs::remove_file(folder.join("readings.csv"))?;
    let parquet = one(args, place, write_parquet(args, folder)?).await?;
    // Files, reader and writer; the limit's own rows come afterwards.
    let peak_rss_mib = super::server::own_peak_rss_mib();
    let limit = limit(args, place).await?;
    let ratio = |rate: f64| (rate / limit * 1000.0).round() / 1000.0;
    Ok(json!({
        "readings_per_s": csv.rate.min(parquet.rate).round(), "copy_limit_per_s": limit.round(),
        "ratio": ratio(csv.rate.min(parquet.rate)), "peak_rss_mib": peak_rss_mib,
        "csv_readings_per_s": csv.rate.round(), "csv_ratio": ratio(csv.rate),
        "parquet_readings_per_s": parquet.rate.round(), "parquet_ratio": ratio(parquet.rate),
        "readings": args.readings, "channels": args.channels, "lost": csv.lost + parquet.lost,
        "duplicated": csv.doubled + parquet.doubled,
    }))
}

struct Measured {
    rate: f64,
    lost: i64,
    doubled: i64,
}

async fn one(args: Args, place: &Place, file: PathBuf) -> anyhow::Result<Measured> {
    let scratch = Scratch::make(&place.database_url).await?;
    let measured = into(args, &scratch.url, file).await;
    scratch.drop_now().await?;
    measured
}

async fn into(args: Args, url: &str, file: PathBuf) -> anyhow::Result<Measured> {
    super::register(url, 1).await?;
    let mut owner = PgConnection::connect(url).await?;
    let tenant = register::find_tenant(&mut owner, super::TENANT)
        .await?
        .context("tenant")?;
    let site = register::first_site(&mut owner, tenant).await?.context("site")?;
    let new = register::NewGateway {
        tenant,
        site,
        slug: "g0",
        name: "g0",
    };
    let gateway = register::ensure_gateway(&mut owner, &new).await?;
    let quota = i32::try_from(args.channels)?;
    models::db::registry::raise_channel_quota(&mut owner, gateway, quota).await?;
    let pool = models::db::connect(url, Role::Ingest, 3)?;
    let options = Options {
        files: vec![file],
        chunk: args.chunk,
        ..Options::default()
    };
    let started = Instant::now();
    let report = import(&pool, &Config::default(), gateway, &options, |_| {}).await?;
    let took = started.elapsed();
    pool.close().await;
    let (stored, doubled) = ledger::totals(&mut owner).await?;
    owner.close().await?;
    ensure!(report.rejected == 0, "rejected: {:?}", report.errors);
    Ok(Measured {
        rate: report.stored as f64 / took.as_secs_f64(),
        lost: args.readings as i64 - stored,
        doubled,
    })
}

fn write_csv(args: Args, folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join("readings.csv");
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    let (devices, channels) = args.names();
    writeln!(file, "device,channel,ts,value")?;
    let mut stamp = (i64::MIN, String::new());
    for i in 0..args.readings {
        let (channel, ts) = (i % args.channels, args.ts_us(i));
        if stamp.0 != ts {
            stamp = (ts, Timestamp::from_micros(ts).to_string());
        }
        writeln!(
            file,
            "{},{},{},{}",
            devices[channel],
            channels[channel],
            stamp.1,
            args.value(i)
        )?;
    }
    file.flush()?;
    Ok(path)
}

fn write_parquet(args: Args, folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join("readings.parquet");
    let (devices, channels) = args.names();
    let names = |all: Vec<String>| Arc::new(StringArray::from(all));
    let (devices, channels) = (names(devices), names(channels));
    let mut writer: Option<ArrowWriter<File>> = None;
    const ROWS: usize = 131_072;
    for first in (0..args.readings).step_by(ROWS) {
        let rows = first..(first + ROWS).min(args.readings);
        let keys: Int32Array = rows
            .clone()
            .map(|i| i32::try_from(i % args.channels).ok())
            .collect();
        let text = |names: &Arc<StringArray>| -> anyhow::Result<ArrayRef> {
            Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(
                keys.clone(),
                names.clone(),
            )?))
        };
        let ts = TimestampMicrosecondArray::from_iter_values(rows.clone().map(|i| args.ts_us(i)));
        let values = Float64Array::from_iter_values(rows.map(|i| args.value(i)));
        let batch = RecordBatch::try_from_iter([
            ("device", text(&devices)?),
            ("channel", text(&channels)?),
            ("ts", Arc::new(ts.with_timezone("UTC")) as ArrayRef),
            ("value", Arc::new(values) as ArrayRef),
        ])?;
        let writer = match &mut writer {
            Some(writer) => writer,
            None => writer.insert(ArrowWriter::try_new(File::create(&path)?, batch.schema(), None)?),
        };
        writer.write(&batch)?;
    }
    writer.context("no readings")?.close()?;
    Ok(path)
}

/// Rows a second of COPY alone. Making the rows is not counted.
async fn limit(args: Args, place: &Place) -> anyhow::Result<f64> {
    let scratch = Scratch::make(&place.database_url).await?;
    let measured = copy(args, &scratch.url).await;
    scratch.drop_now().await?;
    measured
}

async fn copy(args: Args, url: &str) -> anyhow::Result<f64> {
    let mut connection = PgConnection::connect(url).await?;
    let mut spent = Duration::ZERO;
    let mut rows: Vec<Reading> = Vec::with_capacity(args.chunk);
    for first in (0..args.readings).step_by(args.chunk) {
        rows.clear();
        rows.extend((first..(first + args.chunk).min(args.readings)).map(|i| Reading {
            channel: ChannelId(i32::try_from(i % args.channels + 1).unwrap_or(i32::MAX)),
            ts: Timestamp::from_micros(args.ts_us(i)),
            value: args.value(i),
            quality: Quality::Good,
        }));
        rows.sort_by_key(|row| (row.channel, row.ts));
        let began = Instant::now();
        let mut transaction = connection.begin().await?;
        reading::copy(&mut transaction, &rows).await?;
        transaction.commit().await?;
        spent += began.elapsed();
    }
    connection.close().await?;
    Ok(args.readings as f64 / spent.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_small_form_loses_nothing() {
        let place = Place {
            database_url: std::env::var("DATABASE_URL").expect("tests need DATABASE_URL"),
            executable: None,
        };
        let args = Args {
            readings: 20_000,
            channels: 100,
            chunk: 6_000,
        };
        let result = run(args, &place).await.unwrap();
        println!("{result}");
        assert_eq!(
            (&result["lost"], &result["duplicated"]),
            (&json!(0), &json!(0)),
            "{result}"
        );
        assert!(
            result["csv_ratio"].as_f64().unwrap() > 0.0 && result["parquet_ratio"].as_f64().unwrap() > 0.0
        );
    }
}

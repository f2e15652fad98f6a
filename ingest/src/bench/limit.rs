//! The limit: one connection that copies as many rows, sorted the same way, in transactions as large
//! as a writer's, into a hypertable that is equal and empty, and does nothing else.

use std::time::{Duration, Instant};

use models::db::reading;
use models::id::ChannelId;
use models::reading::{Quality, Reading};
use models::time::Timestamp;
use sqlx::{Connection, PgConnection};

use super::{CHANNELS, Scratch};
use crate::config::Config;

/// Rows a second. Making the rows is not counted.
pub(super) async fn copy_per_s(server: &str, rows: i64, gateways: usize) -> anyhow::Result<f64> {
    let scratch = Scratch::make(server).await?;
    let measured = copy(&scratch.url, rows, gateways).await;
    scratch.drop_now().await?;
    measured
}

async fn copy(url: &str, rows: i64, gateways: usize) -> anyhow::Result<f64> {
    let mut connection = PgConnection::connect(url).await?;
    let per_transaction = Config::default().writer.batch_rows;
    let channels = gateways * CHANNELS;
    let of_channel = per_transaction.div_ceil(channels);
    let start = Timestamp::now().micros();
    let rows = usize::try_from(rows)?;
    let (mut done, mut spent) = (0, Duration::ZERO);
    let mut readings = Vec::with_capacity(channels * of_channel);
    while done < rows {
        let first = done / channels;
        readings.clear();
        for channel in 1..=channels {
            for row in first..first + of_channel {
                readings.push(Reading {
                    channel: ChannelId(i32::try_from(channel).unwrap_or(i32::MAX)),
                    ts: Timestamp::from_micros(start + row as i64 * 1_000),
                    value: 20.0 + ((row * 31 + channel * 7) % 997) as f64 / 64.0,
                    quality: Quality::Good,
                });
            }
        }
        let began = Instant::now();
        let mut transaction = connection.begin().await?;
        reading::copy(&mut transaction, &readings).await?;
        transaction.commit().await?;
        spent += began.elapsed();
        done += readings.len();
    }
    connection.close().await?;
    Ok(done as f64 / spent.as_secs_f64())
}

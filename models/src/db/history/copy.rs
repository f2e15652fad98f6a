//! Readings in bulk: pages of a channel in COPY's binary form, which costs a tenth of rows one by
//! one. A page is bounded, so whoever writes a year to a file needs the memory of one page.

use futures::StreamExt;
use sqlx::PgConnection;

use super::RawPoint;
use crate::id::ChannelId;
use crate::time::{PG_EPOCH_MICROS, Timestamp};

/// Readings of a page.
pub const PAGE: i32 = 65_536;
const HEADER_BYTES: usize = 19;
/// Three fields with their lengths, after their count.
const ROW_BYTES: usize = 2 + (4 + 8) + (4 + 8) + (4 + 2);

fn broken(what: &str) -> sqlx::Error {
    sqlx::Error::Protocol(format!("COPY of readings: {what}"))
}

/// Appends readings of `channel` in `[from, to)` to `page`, oldest first, at most `most`. None for another
/// tenant's channel. Fewer than `most` = that was all.
///
/// # Errors
/// When the database does.
pub async fn page(
    connection: &mut PgConnection,
    channel: ChannelId,
    from: Timestamp,
    to: Timestamp,
    most: i32,
    page: &mut Vec<RawPoint>,
) -> Result<(), sqlx::Error> {
    // COPY takes no parameters: numbers and time stamps of our own making are the text.
    let sql = format!(
        "COPY (SELECT ts, value, quality FROM history_raw({}, '{from}', '{to}', {most})) TO STDOUT (FORMAT binary)",
        channel.0
    );
    let mut answer = connection.copy_out_raw(&sql).await?;
    let mut rest: Vec<u8> = Vec::new();
    let mut header = HEADER_BYTES;
    while let Some(bytes) = answer.next().await {
        rest.extend_from_slice(&bytes?);
        let mut at = 0;
        if header > 0 {
            if rest.len() < header {
                continue;
            }
            at = header;
            header = 0;
        }
        while rest.len() >= at + ROW_BYTES {
            page.push(row(&rest[at..at + ROW_BYTES])?);
            at += ROW_BYTES;
        }
        rest.drain(..at);
    }
    if rest == (-1_i16).to_be_bytes() {
        Ok(())
    } else {
        Err(broken("it ends in the middle of a row"))
    }
}

fn row(bytes: &[u8]) -> Result<RawPoint, sqlx::Error> {
    let part = |from: usize| bytes.get(from..from + 8).and_then(|part| part.try_into().ok());
    match (part(6), part(18), bytes.get(30..32)) {
        (Some(ts), Some(value), Some(&[high, low])) if bytes[..2] == 3_i16.to_be_bytes() => Ok(RawPoint {
            ts: Timestamp::from_micros(i64::from_be_bytes(ts).saturating_add(PG_EPOCH_MICROS)),
            value: f64::from_be_bytes(value),
            quality: i16::from_be_bytes([high, low]),
        }),
        _ => Err(broken("a row is not a time stamp, a value and a quality")),
    }
}

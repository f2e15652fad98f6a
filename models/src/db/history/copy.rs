//! Much at once, in COPY's binary form, which costs a tenth of rows one by one.

use futures::StreamExt;
use sqlx::PgConnection;

use super::RawPoint;
use crate::id::ChannelId;
use crate::time::{PG_EPOCH_MICROS, Timestamp};

/// Readings of a page. A page is bounded, so whoever writes a year to a file needs the memory of one.
pub const PAGE: i32 = 65_536;
const HEADER_BYTES: usize = 19;
/// Instead of a row's number of fields.
const END: [u8; 2] = (-1_i16).to_be_bytes();

fn broken(what: &str) -> sqlx::Error {
    sqlx::Error::Protocol(format!("COPY: {what}"))
}

/// A field of a row; `None` = NULL.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a>(Option<&'a [u8]>);

impl Field<'_> {
    fn bytes<const N: usize>(self) -> Result<Option<[u8; N]>, sqlx::Error> {
        let whole = |bytes: &[u8]| bytes.try_into().map_err(|_| broken("a field has another length"));
        self.0.map(whole).transpose()
    }

    fn there<T>(value: Option<T>) -> Result<T, sqlx::Error> {
        value.ok_or_else(|| broken("a field is NULL"))
    }

    pub fn short(self) -> Result<i16, sqlx::Error> {
        Self::there(self.bytes()?.map(i16::from_be_bytes))
    }

    pub fn int(self) -> Result<i32, sqlx::Error> {
        Self::there(self.bytes()?.map(i32::from_be_bytes))
    }

    pub fn long(self) -> Result<i64, sqlx::Error> {
        Self::there(self.bytes()?.map(i64::from_be_bytes))
    }

    pub fn maybe_double(self) -> Result<Option<f64>, sqlx::Error> {
        Ok(self.bytes()?.map(f64::from_be_bytes))
    }

    pub fn double(self) -> Result<f64, sqlx::Error> {
        Self::there(self.maybe_double()?)
    }

    pub fn maybe_time(self) -> Result<Option<Timestamp>, sqlx::Error> {
        let micros = self.bytes()?.map(i64::from_be_bytes);
        Ok(micros.map(|micros| Timestamp::from_micros(micros.saturating_add(PG_EPOCH_MICROS))))
    }

    pub fn time(self) -> Result<Timestamp, sqlx::Error> {
        Self::there(self.maybe_time()?)
    }
}

/// The first row of `bytes` and its length; `None` while it is not all there.
fn row<const N: usize>(bytes: &[u8]) -> Result<Option<([Field<'_>; N], usize)>, sqlx::Error> {
    let part = |from: usize, n: usize| bytes.get(from..from + n);
    let Some(&[high, low]) = part(0, 2) else {
        return Ok(None);
    };
    if usize::try_from(i16::from_be_bytes([high, low])) != Ok(N) {
        return Err(broken("a row has another number of fields"));
    }
    let mut fields = [Field(None); N];
    let mut at = 2;
    for field in &mut fields {
        let Some(&[a, b, c, d]) = part(at, 4) else {
            return Ok(None);
        };
        at += 4;
        // -1 is NULL, and nothing follows.
        if let Ok(n) = usize::try_from(i32::from_be_bytes([a, b, c, d])) {
            let Some(content) = part(at, n) else {
                return Ok(None);
            };
            *field = Field(Some(content));
            at += n;
        }
    }
    Ok(Some((fields, at)))
}

/// Puts rows of `N` fields together from what comes in.
#[derive(Debug, Default)]
struct Rows<const N: usize> {
    begun: bool,
    /// What is not a whole row yet. A message holds one or more, as servers are today.
    rest: Vec<u8>,
}

impl<const N: usize> Rows<N> {
    fn feed(
        &mut self,
        message: &[u8],
        mut take: impl FnMut([Field<'_>; N]) -> Result<(), sqlx::Error>,
    ) -> Result<(), sqlx::Error> {
        let mut bytes = message;
        if !self.rest.is_empty() {
            self.rest.extend_from_slice(message);
            bytes = &self.rest;
        }
        let mut at = 0;
        if !self.begun && bytes.len() >= HEADER_BYTES {
            (self.begun, at) = (true, HEADER_BYTES);
        }
        while self.begun && bytes[at..] != END {
            let Some((fields, length)) = row::<N>(&bytes[at..])? else {
                break;
            };
            take(fields)?;
            at += length;
        }
        self.rest = bytes[at..].to_vec();
        Ok(())
    }

    fn finish(self) -> Result<(), sqlx::Error> {
        if self.begun && self.rest == END {
            Ok(())
        } else {
            Err(broken("it ends in the middle of a row"))
        }
    }
}

/// Gives each row of `query`, which has `N` columns, to `take`. COPY takes no parameters: what stands
/// in the query is text of our own making, numbers and time stamps.
pub(super) async fn each<const N: usize>(
    connection: &mut PgConnection,
    query: &str,
    mut take: impl FnMut([Field<'_>; N]) -> Result<(), sqlx::Error>,
) -> Result<(), sqlx::Error> {
    let sql = format!("COPY ({query}) TO STDOUT (FORMAT binary)");
    let mut answer = connection.copy_out_raw(&sql).await?;
    let mut rows = Rows::default();
    while let Some(message) = answer.next().await {
        rows.feed(&message?, &mut take)?;
    }
    rows.finish()
}

/// As it stands in a query.
pub(super) fn array(channels: &[ChannelId]) -> String {
    let ids: Vec<String> = channels.iter().map(|channel| channel.0.to_string()).collect();
    format!("'{{{}}}'::int4[]", ids.join(","))
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
    let query = format!(
        "SELECT ts, value, quality FROM history_raw({}, '{from}', '{to}', {most})",
        channel.0
    );
    each(connection, &query, |[ts, value, quality]| {
        page.push(RawPoint {
            ts: ts.time()?,
            value: value.double()?,
            quality: quality.short()?,
        });
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As PostgreSQL writes it; `None` = NULL.
    fn written(rows: &[(i32, Option<f64>)]) -> Vec<u8> {
        let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        for (id, value) in rows {
            bytes.extend(2_i16.to_be_bytes());
            bytes.extend(4_i32.to_be_bytes());
            bytes.extend(id.to_be_bytes());
            match value {
                Some(value) => {
                    bytes.extend(8_i32.to_be_bytes());
                    bytes.extend(value.to_be_bytes());
                }
                None => bytes.extend((-1_i32).to_be_bytes()),
            }
        }
        bytes.extend(END);
        bytes
    }

    fn read(messages: &[&[u8]]) -> Result<Vec<(i32, Option<f64>)>, String> {
        let mut rows = Rows::<2>::default();
        let mut all = Vec::new();
        for message in messages {
            rows.feed(message, |[id, value]| {
                all.push((id.int()?, value.maybe_double()?));
                Ok(())
            })
            .map_err(|error| error.to_string())?;
        }
        rows.finish().map_err(|error| error.to_string())?;
        Ok(all)
    }

    proptest! {
        #[test]
        fn rows_are_whole_however_they_come(
            rows in prop::collection::vec((any::<i32>(), prop::option::of(-1e9..1e9_f64)), 0..20),
            size in 1..60_usize,
        ) {
            let bytes = written(&rows);
            let messages: Vec<&[u8]> = bytes.chunks(size).collect();
            prop_assert_eq!(read(&messages), Ok(rows));
            prop_assert!(read(&messages[..messages.len() - 1]).is_err());
        }

        #[test]
        fn noise_is_an_error_and_never_a_panic(noise in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut bytes = written(&[(1, None)]);
            bytes.truncate(HEADER_BYTES);
            bytes.extend(noise);
            drop(read(&[&bytes]));
        }
    }

    #[test]
    fn another_form_is_refused() {
        let bytes = written(&[(7, None)]);
        let mut rows = Rows::<3>::default();
        let error = rows.feed(&bytes, |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("another number of fields"), "{error}");
        let mut rows = Rows::<2>::default();
        let error = rows.feed(&bytes, |[id, value]| {
            id.long()?;
            value.double()?;
            Ok(())
        });
        assert!(error.unwrap_err().to_string().contains("another length"));
    }
}

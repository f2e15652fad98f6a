//! Moments: UTC, whole microseconds, because that is what PostgreSQL keeps. Finer stamps are
//! truncated once, when they are parsed, so that a reading sent twice equals its stored self.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// Text or a number that is not a moment we can keep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time stamp: expected RFC 3339, such as 2026-01-31T12:00:00Z")]
pub struct TimestampError(String);

impl Timestamp {
    /// 0001-01-01 and 9999-12-31: what jiff, PostgreSQL and RFC 3339 can all write.
    pub const MIN: Self = Self(-62_135_596_800_000_000);
    pub const MAX: Self = Self(253_402_207_200_000_000);

    /// Clamped to [`Timestamp::MIN`] and [`Timestamp::MAX`].
    pub const fn from_micros(micros: i64) -> Self {
        if micros < Self::MIN.0 {
            Self::MIN
        } else if micros > Self::MAX.0 {
            Self::MAX
        } else {
            Self(micros)
        }
    }

    pub const fn from_millis(millis: i64) -> Self {
        Self::from_micros(millis.saturating_mul(1_000))
    }

    pub const fn from_secs(secs: i64) -> Self {
        Self::from_micros(secs.saturating_mul(1_000_000))
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The machine's clock. Domain code takes a `Timestamp`; only the edges ask for now.
    pub fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// Seconds from `earlier` to `self`, negative when `earlier` is later.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        (self.0 - earlier.0) as f64 / 1e6
    }

    pub fn plus_seconds(self, seconds: f64) -> Self {
        Self::from_micros(self.0.saturating_add((seconds * 1e6) as i64))
    }

    pub fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::MAX)
    }

    pub fn from_jiff(at: jiff::Timestamp) -> Self {
        Self::from_micros(at.as_microsecond())
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self::from_micros(
            self.0
                .saturating_add(i64::try_from(rhs.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self::from_micros(
            self.0
                .saturating_sub(i64::try_from(rhs.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_jiff(), f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        text.parse::<jiff::Timestamp>()
            .map(Self::from_jiff)
            .map_err(|_| TimestampError(text.to_owned()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{KnownFormat, SchemaFormat, Type};
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .examples(["2026-01-31T12:00:00Z"])
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Timestamp {}

#[cfg(feature = "db")]
mod postgres {
    //! Binary `timestamptz`: microseconds since 2000-01-01T00:00:00Z.

    use sqlx::encode::IsNull;
    use sqlx::error::BoxDynError;
    use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef, Postgres};

    use super::Timestamp;

    /// Microseconds from the Unix epoch to PostgreSQL's.
    pub const PG_EPOCH_MICROS: i64 = 946_684_800_000_000;

    impl sqlx::Type<Postgres> for Timestamp {
        fn type_info() -> PgTypeInfo {
            PgTypeInfo::with_name("timestamptz")
        }
    }

    impl PgHasArrayType for Timestamp {
        fn array_type_info() -> PgTypeInfo {
            PgTypeInfo::with_name("_timestamptz")
        }
    }

    impl<'q> sqlx::Encode<'q, Postgres> for Timestamp {
        fn encode_by_ref(&self, buf: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
            buf.extend_from_slice(&(self.0 - PG_EPOCH_MICROS).to_be_bytes());
            Ok(IsNull::No)
        }
    }

    impl<'r> sqlx::Decode<'r, Postgres> for Timestamp {
        fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
            match value.format() {
                PgValueFormat::Binary => {
                    let micros = i64::from_be_bytes(value.as_bytes()?.try_into()?);
                    Ok(Self::from_micros(micros.saturating_add(PG_EPOCH_MICROS)))
                }
                PgValueFormat::Text => Ok(value.as_str()?.parse()?),
            }
        }
    }
}
#[cfg(feature = "db")]
pub use postgres::PG_EPOCH_MICROS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_are_truncated_once() {
        let at: Timestamp = "2026-01-31T12:00:00.123456789Z".parse().unwrap();
        assert_eq!(at.micros() % 1_000_000, 123_456);
        assert_eq!(at.to_string().parse(), Ok(at));
    }

    #[test]
    fn extremes_can_be_written_and_read() {
        for at in [
            Timestamp::MIN,
            Timestamp::MAX,
            Timestamp::from_micros(i64::MAX),
            Timestamp::from_micros(i64::MIN),
        ] {
            assert_eq!(at.to_string().parse(), Ok(at));
        }
    }

    #[test]
    fn offsets_become_utc() {
        let at: Timestamp = "2026-03-29T03:30:00+02:00".parse().unwrap();
        assert_eq!(at.to_string(), "2026-03-29T01:30:00Z");
    }
}

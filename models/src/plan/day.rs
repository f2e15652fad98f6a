//! A day of the calendar, without a time and without a zone: what a due date is.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::alarm::DayOfWeek;
use crate::time::Timestamp;

/// A date such as 2026-03-29. Days are whole: adding 30 of them crosses a change of the clocks
/// without moving the date.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(Date);

/// Text that is not a date, or a zone that the database of zones doesn't have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DayError {
    #[error("`{0}` is not a date: expected one such as 2026-03-29")]
    NotADate(String),
    #[error("`{0}` is not a time zone: expected an IANA name such as Europe/Berlin")]
    NoSuchZone(String),
}

impl Day {
    /// The date on the clocks of `zone` at a moment.
    ///
    /// # Errors
    /// When there is no such zone.
    pub fn at(moment: Timestamp, zone: &str) -> Result<Self, DayError> {
        let zone = TimeZone::get(zone).map_err(|_| DayError::NoSuchZone(zone.to_owned()))?;
        Ok(Self(moment.to_jiff().to_zoned(zone).date()))
    }

    /// The first moment after the day in `zone`: a ticket that is due on a day may take all of it.
    ///
    /// # Errors
    /// When there is no such zone.
    pub fn end(self, zone: &str) -> Result<Timestamp, DayError> {
        let found = TimeZone::get(zone).map_err(|_| DayError::NoSuchZone(zone.to_owned()))?;
        let start = self
            .plus(1)
            .0
            .to_zoned(found)
            .map_err(|_| DayError::NotADate(self.to_string()))?;
        Ok(Timestamp::from_jiff(start.timestamp()))
    }

    pub(crate) fn date(self) -> Date {
        self.0
    }

    /// Saturates at the ends of the calendar (year 9999).
    #[must_use]
    pub fn plus(self, days: i64) -> Self {
        let span = jiff::Span::new().try_days(days);
        let day = span.and_then(|span| self.0.checked_add(span));
        Self(day.unwrap_or(if days < 0 { Date::MIN } else { Date::MAX }))
    }

    pub fn weekday(self) -> DayOfWeek {
        self.0.weekday().into()
    }

    /// Month and day of the month.
    pub(super) fn of_year(self) -> (i8, i8) {
        (self.0.month(), self.0.day())
    }

    /// Days from `earlier` to `self`, negative when `earlier` is later.
    pub fn since(self, earlier: Self) -> i64 {
        days_from_2000(self.0) - days_from_2000(earlier.0)
    }
}

fn days_from_2000(date: Date) -> i64 {
    const EPOCH: Date = jiff::civil::date(2000, 1, 1);
    // Dates span fewer than four million days: always representable.
    EPOCH.until(date).map_or(0, |span| i64::from(span.get_days()))
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Day {
    type Err = DayError;
    fn from_str(text: &str) -> Result<Self, DayError> {
        text.parse()
            .map(Self)
            .map_err(|_| DayError::NotADate(text.to_owned()))
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(feature = "openapi")]
mod openapi {
    use utoipa::openapi::schema::{KnownFormat, SchemaFormat, Type};
    use utoipa::openapi::{ObjectBuilder, RefOr, Schema};

    impl utoipa::PartialSchema for super::Day {
        fn schema() -> RefOr<Schema> {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::Date)))
                .into()
        }
    }

    impl utoipa::ToSchema for super::Day {}
}

#[cfg(feature = "db")]
mod postgres {
    //! Binary `date`: days since 2000-01-01.

    use sqlx::encode::IsNull;
    use sqlx::error::BoxDynError;
    use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo, PgValueFormat, PgValueRef, Postgres};

    use super::{Day, days_from_2000};

    impl sqlx::Type<Postgres> for Day {
        fn type_info() -> PgTypeInfo {
            PgTypeInfo::with_name("date")
        }
    }

    impl<'q> sqlx::Encode<'q, Postgres> for Day {
        fn encode_by_ref(&self, buf: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
            let days = i32::try_from(days_from_2000(self.0))?;
            buf.extend_from_slice(&days.to_be_bytes());
            Ok(IsNull::No)
        }
    }

    impl<'r> sqlx::Decode<'r, Postgres> for Day {
        fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
            match value.format() {
                PgValueFormat::Binary => {
                    let days = i32::from_be_bytes(value.as_bytes()?.try_into()?);
                    Ok(Self(jiff::civil::date(2000, 1, 1)).plus(i64::from(days)))
                }
                PgValueFormat::Text => Ok(value.as_str()?.parse()?),
            }
        }
    }
}

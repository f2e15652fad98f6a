//! When a rule may raise its alarm: windows of the week on the clocks of the asset's site.
//!
//! A window is civil time, so that "22:00 to 06:00" is the night shift in summer and in winter. In the
//! hour that the clocks skip there is nothing to judge; the hour that comes twice belongs to a window
//! both times. Outside the windows nothing is raised and what is only pending is dropped; an alarm
//! that is already raised goes on, and may return to normal at any time.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::time::Timestamp;

/// Minutes after midnight, 0 to 1440; written `22:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClockTime(u16);

/// Why a schedule can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error("`{0}` is not a time of day: expected HH:MM from 00:00 to 24:00")]
    NotATime(String),
    #[error("a schedule without windows would never raise an alarm: leave it out, or disable the rule")]
    Empty,
    #[error("window {0} ends where it begins: give 00:00 to 24:00 for the whole day")]
    NoLength(usize),
    #[error("`{0}` is not a time zone: expected an IANA name such as Europe/Berlin")]
    NoSuchZone(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Weekday))]
pub enum DayOfWeek {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl From<Weekday> for DayOfWeek {
    fn from(day: Weekday) -> Self {
        match day {
            Weekday::Monday => Self::Monday,
            Weekday::Tuesday => Self::Tuesday,
            Weekday::Wednesday => Self::Wednesday,
            Weekday::Thursday => Self::Thursday,
            Weekday::Friday => Self::Friday,
            Weekday::Saturday => Self::Saturday,
            Weekday::Sunday => Self::Sunday,
        }
    }
}

/// One stretch of a day. `to` at or before `from` is the next morning; the stretch belongs to the day
/// it begins on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = ScheduleWindow))]
pub struct Window {
    /// Empty = every day.
    #[serde(default)]
    pub days: Vec<DayOfWeek>,
    /// `06:00`
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "22:00"))]
    pub from: ClockTime,
    /// `14:30`; `24:00` is the end of the day.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "06:00"))]
    pub to: ClockTime,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = AlarmSchedule))]
pub struct Schedule {
    pub windows: Vec<Window>,
    /// The site's; set when the rule is loaded. UTC while it isn't known.
    #[serde(skip)]
    zone: Option<TimeZone>,
}

impl Schedule {
    pub fn new(windows: Vec<Window>) -> Self {
        Self { windows, zone: None }
    }

    /// # Errors
    /// When it has no windows, or one without length.
    pub fn validate(&self) -> Result<(), ScheduleError> {
        if self.windows.is_empty() {
            return Err(ScheduleError::Empty);
        }
        match self.windows.iter().position(|window| window.from == window.to) {
            Some(index) => Err(ScheduleError::NoLength(index)),
            None => Ok(()),
        }
    }

    /// On the clocks of `zone`, an IANA name.
    ///
    /// # Errors
    /// When there is no such zone.
    pub fn set_zone(&mut self, zone: &str) -> Result<(), ScheduleError> {
        let zone = TimeZone::get(zone).map_err(|_| ScheduleError::NoSuchZone(zone.to_owned()))?;
        self.zone = Some(zone);
        Ok(())
    }

    /// Whether a window is open at this moment.
    pub fn covers(&self, at: Timestamp) -> bool {
        let zone = self.zone.clone().unwrap_or(TimeZone::UTC);
        let local = at.to_jiff().to_zoned(zone);
        let minute = local.hour().unsigned_abs() as u16 * 60 + local.minute().unsigned_abs() as u16;
        let today = DayOfWeek::from(local.weekday());
        let yesterday = DayOfWeek::from(local.weekday().previous());
        self.windows.iter().any(|window| {
            let on = |day| window.days.is_empty() || window.days.contains(&day);
            let (from, to) = (window.from.0, window.to.0);
            if from < to {
                on(today) && (from..to).contains(&minute)
            } else {
                (on(today) && minute >= from) || (on(yesterday) && minute < to)
            }
        })
    }
}

impl FromStr for ClockTime {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let parsed = || {
            let (hours, minutes) = text.split_once(':')?;
            if hours.len() != 2 || minutes.len() != 2 {
                return None;
            }
            let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
            (minutes < 60 && hours * 60 + minutes <= 24 * 60).then_some(Self(hours * 60 + minutes))
        };
        parsed().ok_or_else(|| ScheduleError::NotATime(text.to_owned()))
    }
}

impl fmt::Display for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl Serialize for ClockTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClockTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(text: &str, zone: &str) -> Schedule {
        let mut schedule: Schedule = serde_json::from_str(text).unwrap();
        schedule.set_zone(zone).unwrap();
        schedule
    }

    #[test]
    fn windows_are_civil_time_of_the_site() {
        let day = r#"{"windows":[{"days":["monday","tuesday","wednesday","thursday","friday"],"from":"06:00","to":"22:00"}]}"#;
        let night = r#"{"windows":[{"days":["saturday"],"from":"22:00","to":"06:00"}]}"#;
        for (text, zone, at, covered) in [
            // Monday, winter and summer time in Berlin.
            (day, "Europe/Berlin", "2026-03-23T05:00:00Z", true),
            (day, "Europe/Berlin", "2026-03-23T04:59:59Z", false),
            (day, "Europe/Berlin", "2026-03-30T04:00:00Z", true),
            (day, "Europe/Berlin", "2026-03-30T20:00:00Z", false),
            (day, "Europe/Berlin", "2026-03-29T10:00:00Z", false),
            (day, "America/Santiago", "2026-03-23T05:00:00Z", false),
            // The night from Saturday to the Sunday on which two o'clock doesn't exist.
            (night, "Europe/Berlin", "2026-03-28T21:00:00Z", true),
            (night, "Europe/Berlin", "2026-03-29T01:00:00Z", true),
            (night, "Europe/Berlin", "2026-03-29T03:59:00Z", true),
            (night, "Europe/Berlin", "2026-03-29T04:00:00Z", false),
            // The night in which it comes twice.
            (night, "Europe/Berlin", "2026-10-25T00:30:00Z", true),
            (night, "Europe/Berlin", "2026-10-25T01:30:00Z", true),
            (night, "Europe/Berlin", "2026-10-25T05:00:00Z", false),
            (night, "Europe/Berlin", "2026-10-25T21:30:00Z", false),
        ] {
            assert_eq!(
                schedule(text, zone).covers(at.parse().unwrap()),
                covered,
                "{zone} {at}"
            );
        }
    }

    #[test]
    fn what_can_not_be_is_refused() {
        for bad in ["6:00", "24:01", "12:60", "noon", ""] {
            assert!(bad.parse::<ClockTime>().is_err(), "{bad}");
        }
        assert_eq!("24:00".parse::<ClockTime>().unwrap().to_string(), "24:00");
        assert_eq!(Schedule::default().validate(), Err(ScheduleError::Empty));
        let window = Window {
            days: vec![],
            from: ClockTime(60),
            to: ClockTime(60),
        };
        assert_eq!(
            Schedule::new(vec![window]).validate(),
            Err(ScheduleError::NoLength(0))
        );
        assert!(matches!(
            Schedule::default().set_zone("Middle/Earth"),
            Err(ScheduleError::NoSuchZone(_))
        ));
    }
}

//! Days on which work of a plan can be done: seasons, holidays, days of rest.
//!
//! Only the day of an occurrence moves. What the plan counts from stays where it was, so that a holiday
//! doesn't shift every later date, and the earlier or later of two due days stays the earlier or later.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Day;
use crate::alarm::DayOfWeek;

/// A day of every year, written `04-01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MonthDay {
    month: i8,
    day: i8,
}

/// From one day of the year to another, both included; over the turn of the year when `to` is earlier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = PlanSeason))]
pub struct Season {
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "04-01"))]
    pub from: MonthDay,
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "10-31"))]
    pub to: MonthDay,
}

/// What becomes of an occurrence whose day is none of the plan's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = PlanOnRest))]
pub enum OnRest {
    /// Due on that day all the same.
    #[default]
    Keep,
    /// The last possible day before it.
    Before,
    /// The first possible day after it.
    After,
    /// Recorded as skipped.
    Skip,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = PlanCalendar))]
pub struct Calendar {
    /// Empty = all year.
    pub seasons: Vec<Season>,
    pub holidays: Vec<Day>,
    /// Such as saturday and sunday.
    pub rest_days: Vec<DayOfWeek>,
    pub on_rest: OnRest,
    /// The holidays of the site's own calendar and the days on which it is closed don't count: for work that
    /// is best done while nobody is there.
    pub ignores_site: bool,
    /// Every so many-th occurrence is recorded as skipped, because the work of another plan includes it:
    /// 4 = the fourth, the eighth, … Two at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 2, example = 4))]
    pub skip_every: Option<u16>,
}

/// The days on which a site rests, of its own calendar.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SiteRest {
    pub holidays: Vec<Day>,
    pub closed: Vec<DayOfWeek>,
}

/// Where an occurrence comes to lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    pub day: Day,
    /// It is to be left out.
    pub skipped: bool,
    /// Why it is not on the day counted; empty when it is.
    pub why: String,
}

/// Longest way to a possible day, days: a plan whose season is one day a year finds it.
const FARTHEST: i64 = 370;

/// Why a calendar can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    #[error("`{0}` is not a day of the year: expected MM-DD such as 04-01")]
    NotADay(String),
    #[error("with every day of the week as a day of rest no work can ever be done: leave at least one out")]
    NoDayLeft,
    #[error("`skip_every` is {0}: from 2 on, which leaves out every other one")]
    SkipsAll(u16),
}

impl Calendar {
    /// # Errors
    /// When it leaves no day.
    pub fn validate(&self) -> Result<(), CalendarError> {
        let mut days = Vec::new();
        for day in &self.rest_days {
            if !days.contains(day) {
                days.push(*day);
            }
        }
        if days.len() >= 7 {
            return Err(CalendarError::NoDayLeft);
        }
        match self.skip_every {
            Some(every) if every < 2 => Err(CalendarError::SkipsAll(every)),
            _ => Ok(()),
        }
    }

    /// The plan's days of rest and the site's: holidays are told once, in the site's calendar. A site
    /// that is never open tells nothing of its week.
    #[must_use]
    pub fn with_site(mut self, site: &SiteRest) -> Self {
        if self.ignores_site {
            return self;
        }
        self.holidays.extend(site.holidays.iter().copied());
        let own = self.rest_days.len();
        self.rest_days.extend(site.closed.iter().copied());
        if self.validate() == Err(CalendarError::NoDayLeft) {
            self.rest_days.truncate(own);
        }
        self
    }

    /// Why the occurrence with this number is left out, whatever its day; `None` = it isn't.
    pub fn skips(&self, sequence: i32) -> Option<String> {
        let every = i32::from(self.skip_every?);
        (every > 1 && sequence % every == 0)
            .then(|| format!("number {sequence} is left out: 1 in {every} is"))
    }

    /// Whether it changes no day.
    pub fn is_plain(&self) -> bool {
        self.on_rest == OnRest::Keep
            || (self.seasons.is_empty() && self.holidays.is_empty() && self.rest_days.is_empty())
    }

    /// Why no work is done on that day; `None` = it is.
    fn rest(&self, day: Day) -> Option<&'static str> {
        let of_year = MonthDay::of(day);
        let in_season = |season: &Season| {
            if season.from <= season.to {
                (season.from..=season.to).contains(&of_year)
            } else {
                of_year >= season.from || of_year <= season.to
            }
        };
        if !self.seasons.is_empty() && !self.seasons.iter().any(in_season) {
            Some("out of season")
        } else if self.holidays.contains(&day) {
            Some("a holiday")
        } else if self.rest_days.contains(&day.weekday()) {
            Some("a day of rest")
        } else {
            None
        }
    }

    /// The day of an occurrence that was counted to `day`.
    pub fn place(&self, day: Day) -> Placed {
        let on = |day, why| Placed {
            day,
            skipped: false,
            why,
        };
        if self.is_plain() {
            return on(day, String::new());
        }
        let Some(rest) = self.rest(day) else {
            return on(day, String::new());
        };
        let step = match self.on_rest {
            OnRest::Keep => return on(day, String::new()),
            OnRest::Skip => {
                return Placed {
                    day,
                    skipped: true,
                    why: format!("{day} is {rest}: skipped"),
                };
            }
            OnRest::Before => -1,
            OnRest::After => 1,
        };
        (1..=FARTHEST)
            .map(|days| day.plus(days * step))
            .find(|day| self.rest(*day).is_none())
            .map_or_else(
                || on(day, String::new()),
                |moved| on(moved, format!("{day} is {rest}: moved to {moved}")),
            )
    }
}

impl MonthDay {
    fn of(day: Day) -> Self {
        let (month, day) = day.of_year();
        Self { month, day }
    }
}

impl FromStr for MonthDay {
    type Err = CalendarError;

    fn from_str(text: &str) -> Result<Self, CalendarError> {
        // A leap year, so that 02-29 is one.
        format!("2024-{text}")
            .parse::<Day>()
            .ok()
            .filter(|_| text.len() == 5)
            .map(Self::of)
            .ok_or_else(|| CalendarError::NotADay(text.to_owned()))
    }
}

impl fmt::Display for MonthDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}-{:02}", self.month, self.day)
    }
}

impl Serialize for MonthDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MonthDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    fn calendar(on_rest: OnRest) -> Calendar {
        Calendar {
            seasons: vec![],
            holidays: vec![day("2026-12-25"), day("2026-12-26")],
            rest_days: vec![DayOfWeek::Saturday, DayOfWeek::Sunday],
            on_rest,
            ..Calendar::default()
        }
    }

    /// 25 December 2026 is a Friday.
    #[test]
    fn the_sites_days_of_rest_are_the_plans_too() {
        let site = SiteRest {
            holidays: vec![day("2026-12-25")],
            closed: vec![DayOfWeek::Saturday, DayOfWeek::Sunday],
        };
        let after = Calendar {
            on_rest: OnRest::After,
            ..Calendar::default()
        };
        let placed = |calendar: &Calendar, site: &SiteRest| {
            calendar.clone().with_site(site).place(day("2026-12-25")).day
        };
        assert_eq!(placed(&after, &SiteRest::default()), day("2026-12-25"));
        assert_eq!(placed(&after, &site), day("2026-12-28"));
        let own = Calendar {
            holidays: vec![day("2026-12-28")],
            ..after.clone()
        };
        assert_eq!(placed(&own, &site), day("2026-12-29"), "both count");
        let alone = Calendar {
            ignores_site: true,
            ..after.clone()
        };
        assert_eq!(placed(&alone, &site), day("2026-12-25"));
        let plain = Calendar::default();
        assert_eq!(
            placed(&plain, &site),
            day("2026-12-25"),
            "a plan that says nothing of rest keeps its days"
        );
        use DayOfWeek::*;
        let never = SiteRest {
            closed: vec![Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday],
            ..site
        };
        assert_eq!(placed(&after, &never), day("2026-12-26"), "holidays still count");
    }

    #[test]
    fn days_move_by_table() {
        // 25 December 2026 is a Friday.
        for (on_rest, from, to) in [
            (OnRest::Keep, "2026-12-25", "2026-12-25"),
            (OnRest::After, "2026-12-25", "2026-12-28"),
            (OnRest::Before, "2026-12-25", "2026-12-24"),
            (OnRest::Before, "2026-12-27", "2026-12-24"),
            (OnRest::After, "2026-12-24", "2026-12-24"),
        ] {
            let placed = calendar(on_rest).place(day(from));
            assert_eq!(
                (placed.day, placed.skipped),
                (day(to), false),
                "{on_rest:?} {from}"
            );
            assert_eq!(placed.why.is_empty(), from == to, "{}", placed.why);
        }
        let placed = calendar(OnRest::Skip).place(day("2026-12-26"));
        assert!(placed.skipped && placed.why.contains("a holiday"), "{placed:?}");
        let summer = |on_rest| Calendar {
            seasons: vec![serde_json::from_str(r#"{"from":"04-01","to":"10-31"}"#).unwrap()],
            on_rest,
            ..Calendar::default()
        };
        assert_eq!(
            summer(OnRest::After).place(day("2026-11-05")).day,
            day("2027-04-01")
        );
        assert_eq!(
            summer(OnRest::Before).place(day("2027-03-31")).day,
            day("2026-10-31")
        );
        let winter = Calendar {
            seasons: vec![serde_json::from_str(r#"{"from":"11-01","to":"02-29"}"#).unwrap()],
            on_rest: OnRest::After,
            ..Calendar::default()
        };
        assert_eq!(winter.place(day("2027-01-15")).day, day("2027-01-15"));
        assert_eq!(winter.place(day("2027-03-01")).day, day("2027-11-01"));
    }

    #[test]
    fn what_can_not_be_is_refused() {
        for bad in ["4-1", "13-01", "02-30", "2026-04-01", ""] {
            assert!(bad.parse::<MonthDay>().is_err(), "{bad}");
        }
        use DayOfWeek::*;
        let never = Calendar {
            rest_days: vec![Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday],
            ..Calendar::default()
        };
        assert_eq!(never.validate(), Err(CalendarError::NoDayLeft));
    }
}

//! When a site works, on its own clocks.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use crate::alarm::DayOfWeek;
use crate::interval::{Span, clip, total_seconds, union};
use crate::plan::Day;
use crate::time::Timestamp;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// How far ahead working time is looked for: a site that is closed for longer has none in sight.
const HORIZON_DAYS: i64 = 366 * 3;

/// Working hours of each weekday as pairs of clock times: `{"mon": [["06:00", "14:00"]], …}`. A day that
/// is not named has none; `24:00` is the end of the day.
pub type Week = BTreeMap<String, Vec<(String, String)>>;

/// The days of the week on which a site with these working hours is closed.
pub fn closed_days(week: &Week) -> Vec<DayOfWeek> {
    use DayOfWeek::*;
    DAYS.iter()
        .zip([Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday])
        .filter(|(name, _)| week.get(**name).is_none_or(Vec::is_empty))
        .map(|(_, day)| day)
        .collect()
}

/// Why working hours can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    #[error("`{0}` is not a time zone: give an IANA name such as Europe/Berlin")]
    NoSuchZone(String),
    #[error("`{0}` is not a weekday: use mon, tue, wed, thu, fri, sat, sun")]
    NoSuchDay(String),
    #[error("`{0}` is not a time of day: give one such as 06:00, at most 24:00")]
    NotATime(String),
    #[error("{day}: {from} is not before {to}; write hours over midnight as two pairs")]
    Backwards { day: String, from: String, to: String },
    #[error("there are no working hours at all: leave the calendar out, or open at least one day")]
    NeverOpen,
}

/// The open hours of one weekday, from and to; `None` = to midnight.
type OpenHours = Vec<(Time, Option<Time>)>;

/// Working hours of a site.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
    /// By weekday from Monday; `None` = always.
    week: Option<[OpenHours; 7]>,
    holidays: BTreeSet<Date>,
}

impl Calendar {
    /// Every moment is working time.
    pub fn always() -> Self {
        Self {
            zone: TimeZone::UTC,
            week: None,
            holidays: BTreeSet::new(),
        }
    }

    /// # Errors
    /// Names the zone, day or time that can't be used.
    pub fn new(zone: &str, week: &Week, holidays: &[Day]) -> Result<Self, CalendarError> {
        let found = TimeZone::get(zone).map_err(|_| CalendarError::NoSuchZone(zone.to_owned()))?;
        let mut days: [OpenHours; 7] = Default::default();
        for (day, pairs) in week {
            let index = DAYS
                .iter()
                .position(|name| name == day)
                .ok_or_else(|| CalendarError::NoSuchDay(day.clone()))?;
            for (from, to) in pairs {
                let start = time_of_day(from)?.ok_or_else(|| CalendarError::NotATime(from.clone()))?;
                let end = time_of_day(to)?;
                if end.is_some_and(|end| end <= start) {
                    return Err(CalendarError::Backwards {
                        day: day.clone(),
                        from: from.clone(),
                        to: to.clone(),
                    });
                }
                if let Some(list) = days.get_mut(index) {
                    list.push((start, end));
                }
            }
        }
        if days.iter().all(Vec::is_empty) {
            return Err(CalendarError::NeverOpen);
        }
        Ok(Self {
            zone: found,
            week: Some(days),
            holidays: holidays.iter().map(|day| day.date()).collect(),
        })
    }

    /// Working time within the span, as a set.
    pub fn working(&self, span: Span) -> Vec<Span> {
        let Some(week) = &self.week else {
            return union(vec![span]);
        };
        if span.is_empty() {
            return Vec::new();
        }
        let mut day = self.date(span.start).saturating_sub(jiff::Span::new().days(1));
        let last = self.date(span.end);
        let mut spans = Vec::new();
        while day <= last {
            spans.extend(self.hours_of(week, day));
            let Ok(next) = day.tomorrow() else { break };
            day = next;
        }
        clip(&union(spans), span)
    }

    pub fn working_seconds(&self, span: Span) -> f64 {
        total_seconds(&self.working(span))
    }

    /// The moment at which `seconds` of working time have passed since `from`: the first one, so that
    /// what is used up at closing time is due then and not at the next opening. `None` = no working
    /// time is in sight.
    pub fn after(&self, from: Timestamp, seconds: f64) -> Option<Timestamp> {
        let Some(week) = &self.week else {
            return Some(from.plus_seconds(seconds));
        };
        if seconds <= 0.0 {
            return Some(from);
        }
        let mut left = seconds;
        let mut day = self.date(from).saturating_sub(jiff::Span::new().days(1));
        let ahead = Span::new(from, Timestamp::MAX);
        for _ in 0..HORIZON_DAYS {
            for span in clip(&union(self.hours_of(week, day)), ahead) {
                if span.seconds() >= left - 1e-6 {
                    return Some(span.start.plus_seconds(left).min(span.end));
                }
                left -= span.seconds();
            }
            day = day.tomorrow().ok()?;
        }
        None
    }

    fn date(&self, at: Timestamp) -> Date {
        at.to_jiff().to_zoned(self.zone.clone()).date()
    }

    /// A clock time that the change of the clocks leaves out is read as the moment after the gap; one
    /// that comes twice as the first (opening) and so gives the longer day.
    fn hours_of(&self, week: &[Vec<(Time, Option<Time>)>; 7], day: Date) -> Vec<Span> {
        if self.holidays.contains(&day) {
            return Vec::new();
        }
        let index = usize::try_from(day.weekday().to_monday_zero_offset()).unwrap_or(0);
        let moment = |date: Date, time: Time| {
            date.to_datetime(time)
                .to_zoned(self.zone.clone())
                .ok()
                .map(|zoned| Timestamp::from_jiff(zoned.timestamp()))
        };
        week.get(index)
            .into_iter()
            .flatten()
            .filter_map(|(start, end)| {
                let end = match end {
                    Some(end) => moment(day, *end)?,
                    None => moment(day.tomorrow().ok()?, Time::midnight())?,
                };
                Some(Span::new(moment(day, *start)?, end))
            })
            .filter(|span| !span.is_empty())
            .collect()
    }
}

/// `None` = 24:00.
fn time_of_day(text: &str) -> Result<Option<Time>, CalendarError> {
    if text == "24:00" {
        return Ok(None);
    }
    let bad = || CalendarError::NotATime(text.to_owned());
    let (hour, minute) = text.split_once(':').ok_or_else(bad)?;
    let hour = hour.parse::<i8>().map_err(|_| bad())?;
    let minute = minute.parse::<i8>().map_err(|_| bad())?;
    Time::new(hour, minute, 0, 0).map(Some).map_err(|_| bad())
}

/// A week with the same hours on each of these days, for set-ups and tests.
#[derive(Clone, Copy, Debug)]
pub struct Hours<'a> {
    pub days: &'a [&'a str],
    pub from: &'a str,
    pub to: &'a str,
}

impl Hours<'_> {
    pub fn week(&self) -> Week {
        self.days
            .iter()
            .map(|day| {
                (
                    (*day).to_owned(),
                    vec![(self.from.to_owned(), self.to.to_owned())],
                )
            })
            .collect()
    }
}

//! Maintenance plans: recurring work by the calendar, by a meter, or both.
//!
//! A plan counts from an *anchor*, a day and a meter total. An occurrence falls due one interval after
//! it, and is *released* (made, so that work can be prepared) a lead earlier. Making an occurrence and
//! moving the anchor are one step, and every occurrence has the next number of the plan: the database
//! keeps (plan, sequence) unique, so two schedulers or a replay can't make one twice.
//!
//! * **fixed**: the next interval begins where this one was due, whenever the work is done.
//! * **floating**: it begins where the work was done. While an occurrence is open there is no next
//!   one. Work done within the tolerance of its due day counts as done on it.
//! * **any of / all of**: the first trigger that is released makes the occurrence, or the last one.
//!   The triggers that were not the reason begin anew too: the work was done for both.
//! * **seasons and holidays** move the day of an occurrence, or skip it; never what is counted from.
//! * **nested**: an occurrence that falls near one of its parent plan is absorbed: the parent's work
//!   includes it.
//! * **a prediction** of the same failure mode may pull the next occurrence forward. Work before its time,
//!   for that reason or a person's, takes the place of the next interval when it is in its second half,
//!   else the interval begins anew.
//! * **after an outage** one occurrence stands for all that were missed, and says how many.

mod ahead;
mod calendar;
mod day;
mod forecast;

use serde::{Deserialize, Serialize};

pub use ahead::{Expected, absorb, expected};
pub use calendar::{Calendar, CalendarError, MonthDay, OnRest, Placed, Season, SiteRest};
pub use day::{Day, DayError};
pub use forecast::{Forecast, forecast};

use crate::meter::Usage;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "db",
    derive(sqlx::Type),
    sqlx(type_name = "plan_basis", rename_all = "snake_case")
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = PlanBasis))]
pub enum Basis {
    Fixed,
    #[default]
    Floating,
}

/// What a fixed plan does when the one before is still open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "db",
    derive(sqlx::Type),
    sqlx(type_name = "open_instance_policy", rename_all = "snake_case")
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum OpenInstance {
    /// The new one is recorded as skipped.
    #[default]
    Skip,
    /// Both are to be done.
    Stack,
    /// The old one is recorded as superseded.
    Supersede,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "db",
    derive(sqlx::Type),
    sqlx(type_name = "occurrence_status", rename_all = "snake_case")
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum OccurrenceStatus {
    #[default]
    Due,
    Ticketed,
    Done,
    Skipped,
    Superseded,
}

impl OccurrenceStatus {
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Due | Self::Ticketed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Trigger {
    Calendar,
    Meter,
    /// Both, of a plan that wants all of them.
    All,
    Prediction,
    /// Done before its time.
    Early,
}

impl Trigger {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calendar => "calendar",
            Self::Meter => "meter",
            Self::All => "all",
            Self::Prediction => "prediction",
            Self::Early => "early",
        }
    }
}

/// What a plan does with an open prediction of its failure mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "db",
    derive(sqlx::Type),
    sqlx(type_name = "plan_on_prediction", rename_all = "snake_case")
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = PlanOnPrediction))]
pub enum OnPrediction {
    Ignore,
    /// What falls due while a ticket for that cause is open becomes part of that ticket.
    #[default]
    Merge,
    /// As `merge`; and the next occurrence comes as soon as the failure is feared.
    Pull,
}

/// What the machine needs of a plan. Units are the meter's.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub basis: Basis,
    pub all_of: bool,
    pub every_days: Option<i64>,
    pub every_units: Option<f64>,
    pub lead_days: i64,
    pub lead_units: f64,
    pub tolerance_pct: f64,
    pub open_instance: OpenInstance,
    pub calendar: Calendar,
    pub anchor_date: Day,
    pub anchor_units: f64,
    pub next_sequence: i32,
}

/// What the plan is looked at with.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts<'a> {
    /// On the site's clocks.
    pub today: Day,
    /// The meter's total; `None` when there is no meter.
    pub total: Option<f64>,
    pub usage: Option<Usage>,
    /// Name and unit of the meter, for the explanation.
    pub meter: Option<(&'a str, &'a str)>,
    pub has_open_occurrence: bool,
    /// A prediction that pulls the plan forward: the day by which the work should be done, and why.
    pub pull: Option<(Day, &'a str)>,
    /// Occurrences of the parent plan, open or expected: its name and their days, and how near is near.
    pub parent: Option<(&'a str, &'a [Day], i64)>,
}

/// What to do with an occurrence that falls due now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Making {
    Create,
    /// Record it as skipped; the explanation says why.
    Skip,
    /// Record it as part of the parent plan's work.
    Absorb,
    /// Create it; those before are superseded.
    Supersede,
}

/// An occurrence that is to be made now, and where the plan stands afterwards.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    pub making: Making,
    pub sequence: i32,
    pub due_date: Day,
    pub due_units: Option<f64>,
    pub trigger: Trigger,
    /// Occurrences that this one stands for beside itself.
    pub missed: i32,
    pub explanation: String,
    pub next_anchor_date: Day,
    pub next_anchor_units: f64,
}

/// Why a plan can't work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("a plan needs an interval in days, in units of a meter, or both")]
    NoTrigger,
    #[error("the lead must be shorter than the interval: {0}")]
    LeadTooLong(&'static str),
    #[error("an interval must be longer than zero")]
    NoLength,
    #[error("a plan can't be part of itself")]
    OwnParent,
    #[error("the parent plan belongs to another asset, or is itself part of a plan: nesting has one level")]
    BadParent,
    #[error(transparent)]
    Calendar(#[from] CalendarError),
}

impl Plan {
    /// # Errors
    /// When it has no trigger, an empty interval, or a lead as long as its interval (it would then
    /// release several at once, for ever).
    pub fn validate(&self) -> Result<(), PlanError> {
        if self.every_days.is_none() && self.every_units.is_none() {
            return Err(PlanError::NoTrigger);
        }
        if self.every_days.is_some_and(|days| days <= 0)
            || self
                .every_units
                .is_some_and(|units| units.is_nan() || units <= 0.0)
        {
            return Err(PlanError::NoLength);
        }
        if self.every_days.is_some_and(|days| self.lead_days >= days) {
            return Err(PlanError::LeadTooLong("days"));
        }
        if self.every_units.is_some_and(|units| self.lead_units >= units) {
            return Err(PlanError::LeadTooLong("units"));
        }
        Ok(self.calendar.validate()?)
    }

    /// Intervals of the calendar that are released by now; 0 = none.
    fn released_days(&self, today: Day) -> i64 {
        let Some(every) = self.every_days.filter(|every| *every > 0) else {
            return 0;
        };
        let mut count = (today.since(self.anchor_date) + self.lead_days)
            .div_euclid(every)
            .max(0);
        if self.calendar.is_plain() {
            return count;
        }
        // Days that move are released a lead before where they moved to; moving keeps their order.
        let released = |count: i64| {
            let placed = self.calendar.place(self.anchor_date.plus(every * count));
            placed.day.since(today) <= self.lead_days
        };
        while count > 0 && !released(count) {
            count -= 1;
        }
        while released(count + 1) {
            count += 1;
        }
        count
    }

    /// Intervals of the meter that are released by now; 0 = none.
    fn released_units(&self, total: Option<f64>) -> i64 {
        let (Some(every), Some(total)) = (self.every_units.filter(|every| *every > 0.0), total) else {
            return 0;
        };
        // A hair's breadth of rounding must not make 2000.0 h out of 1999.9999999999998.
        let intervals = ((total + self.lead_units - self.anchor_units) / every + 1e-9).floor();
        if intervals.is_finite() {
            (intervals as i64).max(0)
        } else {
            0
        }
    }

    /// The occurrence that is to be made now, if any.
    pub fn release(&self, facts: &Facts<'_>) -> Option<Release> {
        if self.basis == Basis::Floating && facts.has_open_occurrence {
            return None;
        }
        let (days, units) = (self.released_days(facts.today), self.released_units(facts.total));
        let trigger = match (self.every_days, self.every_units) {
            (Some(_), Some(_)) if self.all_of => (days > 0 && units > 0).then_some(Trigger::All),
            _ if units > 0 => Some(Trigger::Meter),
            _ => (days > 0).then_some(Trigger::Calendar),
        };
        let Some(trigger) = trigger else {
            return self.pulled(facts);
        };
        let calendar_due = self
            .every_days
            .filter(|_| days > 0)
            .map(|every| self.anchor_date.plus(every * days));
        let meter_due = self
            .every_units
            .filter(|_| units > 0)
            .map(|every| self.anchor_units + every * units as f64);
        let placed = self.calendar.place(self.due_date(facts, calendar_due, meter_due));
        let due_date = placed.day;
        let absorbed = facts.parent.and_then(|(name, days, near)| {
            let with = days.iter().find(|day| day.since(due_date).abs() <= near)?;
            Some((name, *with))
        });
        let missed = days.max(units) - 1;
        // One that stands for others as well is not left out with them.
        let left_out = self.calendar.skips(self.next_sequence).filter(|_| missed == 0);
        let making = match self.open_instance {
            _ if placed.skipped || left_out.is_some() => Making::Skip,
            _ if absorbed.is_some() => Making::Absorb,
            _ if !facts.has_open_occurrence => Making::Create,
            OpenInstance::Skip => Making::Skip,
            OpenInstance::Stack => Making::Create,
            OpenInstance::Supersede => Making::Supersede,
        };
        // A trigger that was not the reason starts again from here.
        let (next_anchor_date, next_anchor_units) = match self.basis {
            Basis::Fixed => (
                calendar_due.unwrap_or(facts.today),
                meter_due.or(facts.total).unwrap_or(self.anchor_units),
            ),
            // Nobody will do this one: the count goes on from it.
            Basis::Floating if matches!(making, Making::Skip | Making::Absorb) => (
                absorbed.map_or(due_date, |(_, with)| with).max(self.anchor_date),
                meter_due.or(facts.total).unwrap_or(self.anchor_units),
            ),
            // Moves when the work is done.
            Basis::Floating => (self.anchor_date, self.anchor_units),
        };
        let mut explanation = self.explain(facts, trigger, due_date, meter_due, missed);
        if let Some(why) = left_out {
            explanation.push_str("; ");
            explanation.push_str(&why);
        } else if !placed.why.is_empty() {
            explanation.push_str("; ");
            explanation.push_str(&placed.why);
        } else if let Some((name, with)) = absorbed {
            explanation.push_str(&format!("; done with “{name}”, due on {with}"));
        } else if making == Making::Skip {
            explanation.push_str("; skipped, because the one before is still open");
        }
        Some(Release {
            making,
            sequence: self.next_sequence,
            due_date,
            due_units: meter_due,
            trigger,
            missed: i32::try_from(missed).unwrap_or(i32::MAX),
            explanation,
            next_anchor_date,
            next_anchor_units,
        })
    }

    /// The next occurrence before its time, because a failure is feared.
    fn pulled(&self, facts: &Facts<'_>) -> Option<Release> {
        let (day, why) = facts.pull.filter(|_| !facts.has_open_occurrence)?;
        let due_date = day.max(facts.today);
        // It would come in time by itself, or its turn has only just begun.
        let next = forecast(self, facts).date;
        if next.is_some_and(|next| next <= due_date) || facts.today <= self.anchor_date {
            return None;
        }
        let (next_anchor_date, next_anchor_units) = match self.basis {
            Basis::Fixed => self.anchor_after_early(due_date, facts.total),
            Basis::Floating => (self.anchor_date, self.anchor_units),
        };
        let by_itself = next.map_or(String::new(), |next| {
            format!("; by itself it would be due on {next}")
        });
        Some(Release {
            making: Making::Create,
            sequence: self.next_sequence,
            due_date,
            due_units: None,
            trigger: Trigger::Prediction,
            missed: 0,
            explanation: format!("pulled forward to {due_date}: {why}{by_itself}"),
            next_anchor_date,
            next_anchor_units,
        })
    }

    /// Where the plan counts from after work that came before its time, on `done` at `total` units. A
    /// fixed plan keeps its dates when the work lies in the second half of the interval: it was the next
    /// one's. Else, and for a floating one, the interval begins anew.
    pub fn anchor_after_early(&self, done: Day, total: Option<f64>) -> (Day, f64) {
        let units = total.unwrap_or(self.anchor_units);
        if self.basis == Basis::Floating {
            return (done, units);
        }
        let late_day = self
            .every_days
            .is_some_and(|every| 2 * done.since(self.anchor_date) >= every);
        let late_units = self
            .every_units
            .is_some_and(|every| 2.0 * (units - self.anchor_units) >= every);
        let date = match self.every_days {
            Some(every) if late_day => self.anchor_date.plus(every),
            _ => done,
        };
        let units = match self.every_units {
            Some(every) if late_units => self.anchor_units + every,
            _ => units,
        };
        (date, units)
    }

    /// The earlier of the triggers' days for any-of, the later for all-of. A meter's day is estimated.
    fn due_date(&self, facts: &Facts<'_>, calendar: Option<Day>, meter: Option<f64>) -> Day {
        let by_meter =
            meter.map(|due| forecast::day_of(facts.today, due - facts.total.unwrap_or(due), facts.usage));
        match (calendar, by_meter) {
            (Some(calendar), Some(meter)) if self.all_of => calendar.max(meter),
            (Some(calendar), Some(meter)) => calendar.min(meter),
            (Some(day), None) | (None, Some(day)) => day,
            (None, None) => facts.today,
        }
    }

    fn explain(
        &self,
        facts: &Facts<'_>,
        trigger: Trigger,
        due: Day,
        due_units: Option<f64>,
        missed: i64,
    ) -> String {
        let mut text = String::new();
        if let (Trigger::Calendar | Trigger::All, Some(every)) = (trigger, self.every_days) {
            text = format!(
                "every {every} days, counted from {}: due on {due}",
                self.anchor_date
            );
        }
        if let (Trigger::Meter | Trigger::All, Some(every), Some(at)) = (trigger, self.every_units, due_units)
        {
            let (name, unit) = facts.meter.unwrap_or(("meter", ""));
            if !text.is_empty() {
                text.push_str("; and ");
            }
            text.push_str(&format!(
                "every {every:.0} {unit} of {name}, counted from {:.1} {unit}: due at {at:.1} {unit}, it stands at {:.1} {unit}",
                self.anchor_units,
                facts.total.unwrap_or(0.0),
            ));
        }
        if missed > 0 {
            text.push_str(&format!("; stands for {missed} more that fell due meanwhile"));
        }
        text
    }

    /// Where a floating plan counts from after its occurrence was done: on `done`, at `total` units. A
    /// fixed plan's anchor has moved already.
    pub fn anchor_after(
        &self,
        due: Day,
        due_units: Option<f64>,
        done: Day,
        total: Option<f64>,
    ) -> (Day, f64) {
        if self.basis == Basis::Fixed {
            return (self.anchor_date, self.anchor_units);
        }
        let share = self.tolerance_pct / 100.0;
        let day_on_time = self
            .every_days
            .is_some_and(|every| (done.since(due).abs() as f64) <= share * every as f64);
        let day = if day_on_time && share > 0.0 { due } else { done };
        let units = match (due_units, total, self.every_units) {
            (Some(due), Some(total), Some(every)) if share > 0.0 && (total - due).abs() <= share * every => {
                due
            }
            (_, Some(total), _) => total,
            (due, None, _) => due.unwrap_or(self.anchor_units),
        };
        (day, units)
    }
}

#[cfg(test)]
mod tests;

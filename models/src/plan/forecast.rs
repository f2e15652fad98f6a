//! When the next occurrence will be due, and why.

use serde::{Deserialize, Serialize};

use super::{Day, Facts, Plan};
use crate::meter::Usage;

/// The next due day with its interval: exact by the calendar, estimated by a meter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = PlanForecast))]
pub struct Forecast {
    /// `None` = nothing is known of the usage, or the plan waits for the open occurrence.
    pub date: Option<Day>,
    /// If the asset is used as on its busiest days.
    pub low: Option<Day>,
    /// If it is used as on its quietest days; `None` = it may never come.
    pub high: Option<Day>,
    /// Until the meter's due count, in its unit; negative = overdue.
    pub units_to_go: Option<f64>,
    pub explanation: String,
    /// What it was estimated with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

impl Forecast {
    /// Of an asset that is out of service, and why: nothing falls due there. When it is back, one occurrence
    /// stands for those that were passed over.
    pub fn out_of_service(why: &str) -> Self {
        Self {
            date: None,
            low: None,
            high: None,
            units_to_go: None,
            explanation: format!("{why}: nothing falls due until it is back"),
            usage: None,
        }
    }
}

/// Further away than this is "not in sight".
const MOST_DAYS: f64 = 36_500.0;

fn days_ahead(units: f64, per_day: f64) -> Option<i64> {
    let days = (units.max(0.0) / per_day).ceil();
    (days <= MOST_DAYS).then_some(days as i64)
}

/// The day on which `units` more will have been used; today if that can't be told.
pub(super) fn day_of(today: Day, units: f64, usage: Option<Usage>) -> Day {
    usage
        .and_then(|usage| days_ahead(units, usage.median))
        .map_or(today, |days| today.plus(days))
}

/// When the next occurrence will be due as things stand.
pub fn forecast(plan: &Plan, facts: &Facts<'_>) -> Forecast {
    let calendar = plan.every_days.map(|every| plan.anchor_date.plus(every));
    let units_to_go = plan
        .every_units
        .zip(facts.total)
        .map(|(every, total)| plan.anchor_units + every - total);
    let estimate = |per_day: fn(Usage) -> f64| {
        let usage = facts.usage?;
        days_ahead(units_to_go?, per_day(usage)).map(|days| facts.today.plus(days))
    };
    let by_meter = (
        estimate(|usage| usage.median),
        estimate(|usage| usage.high),
        estimate(|usage| usage.low),
    );
    let choose = |meter: Option<Day>| match (calendar, meter) {
        (Some(calendar), Some(meter)) if plan.all_of => Some(calendar.max(meter)),
        (Some(calendar), Some(meter)) => Some(calendar.min(meter)),
        // All-of without an estimate of the meter: no day can be told.
        (Some(_), None) if plan.all_of && plan.every_units.is_some() => None,
        (Some(calendar), None) => Some(calendar),
        (None, meter) => meter,
    };
    let placed = |day: Option<Day>| day.map(|day| plan.calendar.place(day).day);
    let mut explanation = explain(plan, facts, calendar, units_to_go);
    if let Some(why) = choose(by_meter.0)
        .map(|day| plan.calendar.place(day).why)
        .filter(|why| !why.is_empty())
    {
        explanation.push_str("; ");
        explanation.push_str(&why);
    }
    if let Some(why) = plan.calendar.skips(plan.next_sequence) {
        explanation.push_str("; ");
        explanation.push_str(&why);
    }
    Forecast {
        date: placed(choose(by_meter.0)),
        low: placed(choose(by_meter.1)),
        high: placed(choose(by_meter.2)),
        units_to_go,
        explanation,
        usage: facts.usage,
    }
}

fn explain(plan: &Plan, facts: &Facts<'_>, calendar: Option<Day>, units_to_go: Option<f64>) -> String {
    let mut parts = Vec::new();
    if facts.has_open_occurrence && plan.basis == super::Basis::Floating {
        parts.push("the open occurrence comes first; from the day it is done".to_owned());
    }
    if let (Some(every), Some(day)) = (plan.every_days, calendar) {
        parts.push(format!(
            "every {every} days, counted from {}: {day}",
            plan.anchor_date
        ));
    }
    if let (Some(every), Some(to_go)) = (plan.every_units, units_to_go) {
        let (name, unit) = facts.meter.unwrap_or(("meter", ""));
        let pace = match facts.usage {
            Some(usage) => format!(
                "at {:.1} {unit} a day ({:.1} to {:.1}, {})",
                usage.median,
                usage.low,
                usage.high,
                usage.basis()
            ),
            None => "the usage isn't known yet, so no day can be told".to_owned(),
        };
        parts.push(format!(
            "every {every:.0} {unit} of {name}, counted from {:.1} {unit}: {to_go:.1} {unit} to go {pace}",
            plan.anchor_units
        ));
    }
    parts.join(if plan.all_of {
        "; and "
    } else {
        "; or, if that is earlier, "
    })
}

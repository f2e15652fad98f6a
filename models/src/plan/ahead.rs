//! Everything a plan expects up to a day: each occurrence with its interval and its reason.
//!
//! The next one is computed from where the plan stands, then the plan is moved as if the work had been
//! done on its day, and so on. Where a meter decides, the same is done for the busiest and the quietest
//! pace, and the n-th of each is the interval of the n-th.

use serde::{Deserialize, Serialize};

use super::{Basis, Day, Facts, Plan, Trigger};

/// One occurrence that is to come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = ExpectedOccurrence))]
pub struct Expected {
    pub sequence: i32,
    pub date: Day,
    /// If the asset is used as on its busiest days.
    pub low: Option<Day>,
    /// If it is used as on its quietest days; `None` = it may not come within the time asked for.
    pub high: Option<Day>,
    pub trigger: Trigger,
    /// It falls on a day without work and is left out.
    pub skipped: bool,
    /// The plan whose work includes it.
    pub absorbed_by: Option<String>,
    pub explanation: String,
}

/// More of one plan are not told: a plan that is due every day has 366 a year.
const MOST: usize = 400;

struct One {
    date: Day,
    trigger: Trigger,
    skipped: bool,
    explanation: String,
}

/// `per_day` = units of the meter; `None` = unknown, or no meter.
fn run(plan: &Plan, facts: &Facts<'_>, until: Day, per_day: Option<f64>) -> Vec<One> {
    let mut found = Vec::new();
    let (mut from, mut units) = (plan.anchor_date, plan.anchor_units);
    let total = facts.total.unwrap_or(0.0);
    let total_on = |day: Day| total + per_day.unwrap_or(0.0) * day.since(facts.today).max(0) as f64;
    while found.len() < MOST {
        let calendar = plan.every_days.map(|every| from.plus(every));
        let meter = plan
            .every_units
            .zip(per_day.filter(|pace| *pace > 0.0))
            .map(|(every, pace)| {
                let to_go = (units + every - total).max(0.0);
                facts.today.plus((to_go / pace).ceil().min(36_500.0) as i64)
            });
        let (nominal, trigger) = match (calendar, meter) {
            (Some(calendar), Some(meter)) if plan.all_of => (calendar.max(meter), Trigger::All),
            (Some(_), None) if plan.all_of && plan.every_units.is_some() => break,
            (Some(calendar), Some(meter)) if meter < calendar => (meter, Trigger::Meter),
            (Some(calendar), _) => (calendar, Trigger::Calendar),
            (None, Some(meter)) => (meter, Trigger::Meter),
            (None, None) => break,
        };
        let placed = plan.calendar.place(nominal);
        // What is overdue is due today.
        let date = placed.day.max(facts.today);
        if date > until {
            break;
        }
        let (name, unit) = facts.meter.unwrap_or(("meter", ""));
        let mut explanation = match trigger {
            Trigger::Meter => format!(
                "every {:.0} {unit} of {name}, counted from {units:.1} {unit}, at {:.1} {unit} a day",
                plan.every_units.unwrap_or(0.0),
                per_day.unwrap_or(0.0)
            ),
            Trigger::All => format!(
                "every {} days, counted from {from}, and every {:.0} {unit} of {name}, counted from {units:.1} {unit}",
                plan.every_days.unwrap_or(0),
                plan.every_units.unwrap_or(0.0)
            ),
            _ => format!("every {} days, counted from {from}", plan.every_days.unwrap_or(0)),
        };
        let left_out = plan.calendar.skips(plan.next_sequence + found.len() as i32);
        if let Some(why) = left_out
            .as_deref()
            .or(Some(&placed.why))
            .filter(|why| !why.is_empty())
        {
            explanation.push_str("; ");
            explanation.push_str(why);
        }
        found.push(One {
            date,
            trigger,
            skipped: placed.skipped || left_out.is_some(),
            explanation,
        });
        (from, units) = match plan.basis {
            Basis::Floating => (date.max(from.plus(1)), total_on(date).max(units)),
            // The trigger that was the reason keeps its count, the other starts anew.
            Basis::Fixed if trigger == Trigger::Calendar => {
                // Missed intervals are one occurrence.
                let every = plan.every_days.unwrap_or(1).max(1);
                let missed = (facts.today.since(nominal) / every).max(0);
                (nominal.plus(missed * every), total_on(date).max(units))
            }
            Basis::Fixed => {
                let every = plan.every_units.unwrap_or(1.0);
                let missed = ((total - units) / every).floor().max(1.0);
                (date.max(from.plus(1)), units + every * missed)
            }
        };
    }
    found
}

/// Occurrences that will be due up to `until`, from where the plan stands. An open occurrence is not
/// among them; a floating plan counts from the day it was due, or from today when that is over.
pub fn expected(plan: &Plan, facts: &Facts<'_>, open_due: Option<Day>, until: Day) -> Vec<Expected> {
    let mut plan = plan.clone();
    if let (Basis::Floating, Some(due)) = (plan.basis, open_due) {
        plan.anchor_date = due.max(facts.today);
        plan.anchor_units = facts.total.unwrap_or(plan.anchor_units);
    }
    let pace = |choose: fn(crate::meter::Usage) -> f64| facts.usage.map(choose);
    let typical = run(&plan, facts, until, pace(|usage| usage.median));
    let (busy, quiet) = if plan.every_units.is_some() {
        (
            run(&plan, facts, until, pace(|usage| usage.high)),
            run(&plan, facts, until, pace(|usage| usage.low)),
        )
    } else {
        (Vec::new(), Vec::new())
    };
    typical
        .into_iter()
        .enumerate()
        .map(|(index, one)| {
            let exact = one.trigger == Trigger::Calendar && plan.every_units.is_none();
            let of = |runs: &[One]| runs.get(index).map(|one| one.date);
            Expected {
                sequence: plan.next_sequence + index as i32,
                date: one.date,
                low: if exact { Some(one.date) } else { of(&busy) },
                high: if exact { Some(one.date) } else { of(&quiet) },
                trigger: one.trigger,
                skipped: one.skipped,
                absorbed_by: None,
                explanation: one.explanation,
            }
        })
        .collect()
}

/// Marks what the work of another plan includes: occurrences within `days` before or after one of its.
pub fn absorb(children: &mut [Expected], parents: &[Expected], parent: &str, days: i64) {
    for child in children {
        let with = parents
            .iter()
            .filter(|one| !one.skipped && one.date.since(child.date).abs() <= days)
            .min_by_key(|one| one.date.since(child.date).abs());
        if let Some(with) = with {
            child.absorbed_by = Some(parent.to_owned());
            child
                .explanation
                .push_str(&format!("; done with “{parent}” on {}", with.date));
        }
    }
}

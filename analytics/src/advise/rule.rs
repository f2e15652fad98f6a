//! What is advised where nothing can be compared, because costs are not on record.

use models::assessment::{Advice, percent};
use models::asset::HealthGrade;

use super::{MONTH_H, Situation};
use crate::health::duration;

/// Probability of failing within a day from which it is now.
const NOW_P: f64 = 0.5;
/// Probability of failing within 30 days from which the work is to be planned, and from which it is to be watched.
const PLAN_P: f64 = 0.5;
const WATCH_P: f64 = 0.1;

pub fn advise(situation: &Situation<'_>, work: &str, missing: &[String]) -> Advice {
    let p = |hours: f64| situation.prognosis.curve.p(hours).map_or(0.0, |p| p.value);
    let (day, month) = (p(24.0), p(MONTH_H));
    let grade = HealthGrade::of(situation.health);
    let poor = grade == HealthGrade::Poor;
    let (action, because) = if day >= NOW_P {
        (
            "now",
            format!(
                "it fails within 24 h with {} %, from {} % on",
                percent(day),
                percent(NOW_P)
            ),
        )
    } else if month >= PLAN_P {
        (
            "plan",
            format!(
                "it fails within 30 days with {} %, from {} % on",
                percent(month),
                percent(PLAN_P)
            ),
        )
    } else if poor {
        ("plan", "its health is poor".to_owned())
    } else if month >= WATCH_P {
        (
            "watch",
            format!(
                "it fails within 30 days with {} %, from {} % on",
                percent(month),
                percent(WATCH_P)
            ),
        )
    } else if grade == HealthGrade::Watch {
        ("watch", "its health is to be watched".to_owned())
    } else {
        return Advice {
            action: Some("none".to_owned()),
            ..Advice::default()
        };
    };
    // Before one in ten such machines would have failed.
    let by_h = situation.prognosis.rul.map(|rul| rul.p10_h.max(0.0));
    let stop_h = situation
        .stop_h()
        .filter(|stop| action == "plan" && by_h.is_none_or(|by| *stop <= by));
    let (what, at) = match stop_h {
        Some(stop) => (
            format!("plan {work} for the next planned stop, in {}", duration(stop)),
            Some(situation.after(stop)),
        ),
        None if action == "now" => (format!("{work} now"), None),
        None => (format!("{action} {work}"), None),
    };
    Advice {
        action: Some(action.to_owned()),
        text: Some(format!(
            "{what}, by rule ({because}); the cheapest moment can't be told: not on record: {}",
            missing.join(", ")
        )),
        at,
        by: by_h
            .filter(|_| action != "watch")
            .map(|hours| situation.after(hours)),
        missing: missing.to_vec(),
        ..Advice::default()
    }
}

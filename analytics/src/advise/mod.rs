//! Advice: the cheapest thing to do. The probability of failing times what the failure costs, against
//! what the same work costs when it is planned.
//!
//! This is the simple form: three choices and a month's look ahead. Timing by the next planned stop,
//! and the interval over which a choice stays the cheapest, build on the same two costs.

use models::assessment::{Advice, FailureProbability, RemainingLife};
use models::asset::HealthGrade;
use models::db::assessment::ModeFacts;
use models::time::Timestamp;

use crate::detect::short;

/// Share of the downtime of a repair after a failure that a planned stop still costs.
const PLANNED_DOWNTIME: f64 = 0.25;

/// What the advice rests on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    pub at: Timestamp,
    pub health: f64,
    pub p_fail: &'a [FailureProbability],
    pub rul: Option<RemainingLife>,
    pub mode: Option<&'a ModeFacts>,
    pub downtime_cost_per_h: Option<f64>,
}

pub fn advise(situation: &Situation<'_>) -> Advice {
    let within = |hours: i32| {
        situation
            .p_fail
            .iter()
            .find(|entry| entry.horizon_h == hours)
            .map_or(0.0, |entry| entry.p)
    };
    let (week, month) = (within(168), within(720));
    let costs = situation.mode.and_then(|mode| {
        let repair = mode.repair_cost?;
        let downtime = situation.downtime_cost_per_h? * mode.repair_hours?;
        Some((repair + downtime, repair + PLANNED_DOWNTIME * downtime))
    });
    let work = situation.mode.map_or_else(
        || "inspection".to_owned(),
        |mode| format!("work on {}", mode.name.to_lowercase()),
    );
    // Do it before one in ten such machines would have failed, a week ahead at the latest moment.
    let by = situation
        .rul
        .map(|rul| situation.at.plus_seconds(rul.p10_h.max(0.0) * 3600.0));
    match costs {
        Some((failure, planned)) => {
            let waiting = month * failure;
            let (action, text) = if week * failure > planned {
                (
                    "now",
                    format!(
                        "{work} now: waiting a week costs {} on average, planned work {}",
                        short(week * failure),
                        short(planned)
                    ),
                )
            } else if waiting > planned {
                (
                    "plan",
                    format!(
                        "plan {work}: waiting a month costs {} on average, planned work {}",
                        short(waiting),
                        short(planned)
                    ),
                )
            } else if HealthGrade::of(situation.health) == HealthGrade::Healthy {
                (
                    "none",
                    format!(
                        "run on: a failure within 30 days costs {} on average, planned work {}",
                        short(waiting),
                        short(planned)
                    ),
                )
            } else {
                (
                    "watch",
                    format!(
                        "watch closely: not yet worth {work} ({} against {})",
                        short(waiting),
                        short(planned)
                    ),
                )
            };
            let by = by.filter(|_| matches!(action, "now" | "plan"));
            Advice {
                action: Some(action.to_owned()),
                text: Some(text),
                by,
                cost_of_waiting: Some(waiting),
                cost_of_acting: Some(planned),
            }
        }
        None => {
            let action = match HealthGrade::of(situation.health) {
                HealthGrade::Healthy => {
                    return Advice {
                        action: Some("none".to_owned()),
                        ..Advice::default()
                    };
                }
                HealthGrade::Watch => "watch",
                HealthGrade::Poor => "plan",
            };
            Advice {
                action: Some(action.to_owned()),
                text: Some(format!(
                    "{action} {work}; the cheapest moment can't be told: costs of downtime and repair are not set"
                )),
                by: by.filter(|_| action == "plan"),
                ..Advice::default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use models::db::assessment::Signature;
    use models::id::FailureModeId;
    use sqlx::types::Json;

    use super::*;

    fn mode() -> ModeFacts {
        ModeFacts {
            id: FailureModeId::new(),
            code: "bearing_wear".to_owned(),
            name: "Bearing wear".to_owned(),
            signature: Json(Signature::default()),
            pf_interval_days: None,
            repair_hours: Some(10.0),
            repair_cost: Some(1000.0),
        }
    }

    #[track_caller]
    fn check(week: f64, month: f64, health: f64, downtime: Option<f64>, expect: &str) {
        let entry = |horizon_h, p| FailureProbability {
            horizon_h,
            p,
            low: p,
            high: p,
            basis: String::new(),
            modes: Vec::new(),
        };
        let p_fail = [entry(168, week), entry(720, month)];
        let mode = mode();
        let advice = advise(&Situation {
            at: Timestamp::from_secs(0),
            health,
            p_fail: &p_fail,
            rul: None,
            mode: Some(&mode),
            downtime_cost_per_h: downtime,
        });
        assert_eq!(advice.action.as_deref(), Some(expect), "{advice:?}");
    }

    #[test]
    fn the_cheapest_wins() {
        // Failure 11,000, planned 3,500.
        check(0.5, 0.9, 30.0, Some(1000.0), "now");
        check(0.1, 0.5, 60.0, Some(1000.0), "plan");
        check(0.01, 0.05, 60.0, Some(1000.0), "watch");
        check(0.001, 0.01, 99.0, Some(1000.0), "none");
        check(0.5, 0.9, 30.0, None, "plan");
        check(0.0, 0.0, 99.0, None, "none");
    }
}

//! How long an asset stood still, why, and what follows for MTBF, MTTR and availability.
//!
//! Figures with their intervals: whoever doubts a number opens it and sees what it was made of.
//!
//! | figure | numerator | denominator |
//! |---|---|---|
//! | availability | planned time less unplanned downtime | planned time |
//! | MTBF | operating time (planned time less all downtime) | failures |
//! | MTTR | time from failure to restoration, in real time | failures |
//!
//! Planned time is the site's working time less planned stops (changeover, maintenance), as in
//! ISO 22400-2. Only stops by *equipment failure* are failures. Intervals of several signals that
//! overlap are one (union); those that cross the window's edge or a day's end are cut there (clip); an
//! open one goes to now. MTTR counts the failures that began in the window with their whole length.

use serde::{Deserialize, Serialize};

use crate::interval::{Span, clip, intersect, subtract, total_seconds, union};
use crate::people::words;
use crate::sla::Calendar;
use crate::time::Timestamp;

/// Version of the formulas above; figures of different versions are not compared.
pub const FORMULA: &str = "downtime/1";

words! {
    /// Why an asset stood still.
    DowntimeReason ("downtime_reason") {
        EquipmentFailure = "equipment_failure",
        MaterialShortage = "material_shortage",
        SetupChangeover = "setup_changeover",
        QualityHold = "quality_hold",
        Maintenance = "maintenance",
        PowerOutage = "power_outage",
        Other = "other",
    }
}

impl DowntimeReason {
    /// Meant to be: neither downtime nor planned time.
    pub const fn is_planned(self) -> bool {
        matches!(self, Self::SetupChangeover | Self::Maintenance)
    }
}

words! {
    /// What opened an interval.
    DowntimeSource ("downtime_source") {
        Alarm = "alarm",
        Status = "status",
        Person = "person",
    }
}

/// One recorded stop. `reason` is missing until a person has confirmed it, and counts as unplanned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stop {
    pub start: Timestamp,
    pub end: Option<Timestamp>,
    pub reason: Option<DowntimeReason>,
}

impl Stop {
    fn span(self, now: Timestamp) -> Span {
        Span::new(self.start, self.end.unwrap_or(now))
    }
}

/// The figures of one asset in one window, with the intervals they are made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reliability {
    #[cfg_attr(feature = "openapi", schema(example = "downtime/1"))]
    pub formula: String,
    pub planned_s: f64,
    /// Unplanned, within planned time.
    pub downtime_s: f64,
    pub operating_s: f64,
    /// Stops by equipment failure that began in the window.
    pub failures: usize,
    /// Downtime that nobody has given a reason for yet: MTBF and MTTR leave it out.
    pub unconfirmed_s: f64,
    /// 0 to 1; `null` without planned time.
    pub availability: Option<f64>,
    /// Hours; `null` without a failure.
    pub mtbf_h: Option<f64>,
    pub mttr_h: Option<f64>,
    /// What `planned_s` adds up.
    pub planned: Vec<Span>,
    /// What `downtime_s` adds up.
    pub down: Vec<Span>,
    /// The failures, each with its whole length.
    pub failed: Vec<Span>,
}

/// Computes the figures of a window.
pub fn reliability(stops: &[Stop], calendar: &Calendar, window: Span, now: Timestamp) -> Reliability {
    let window = Span::new(window.start, window.end.min(now));
    let of = |wanted: &dyn Fn(Option<DowntimeReason>) -> bool| {
        union(
            stops
                .iter()
                .filter(|stop| wanted(stop.reason))
                .map(|stop| stop.span(now))
                .collect(),
        )
    };
    let planned_stops = of(&|reason| reason.is_some_and(DowntimeReason::is_planned));
    let unplanned = of(&|reason| !reason.is_some_and(DowntimeReason::is_planned));
    let failed_all = of(&|reason| reason == Some(DowntimeReason::EquipmentFailure));
    let unconfirmed = of(&|reason| reason.is_none());
    // A failure during a changeover is a failure: planned stops give way.
    let planned_stops = subtract(&planned_stops, &unplanned);
    let planned = subtract(&calendar.working(window), &planned_stops);
    let down = intersect(&clip(&unplanned, window), &planned);
    let failed: Vec<Span> = failed_all
        .into_iter()
        .filter(|span| window.start <= span.start && span.start < window.end)
        .collect();
    let (planned_s, downtime_s) = (total_seconds(&planned), total_seconds(&down));
    let operating_s = planned_s - downtime_s;
    let per_failure = |seconds: f64| (!failed.is_empty()).then(|| seconds / 3600.0 / failed.len() as f64);
    Reliability {
        formula: FORMULA.to_owned(),
        planned_s,
        downtime_s,
        operating_s,
        failures: failed.len(),
        unconfirmed_s: total_seconds(&intersect(&clip(&unconfirmed, window), &planned)),
        availability: (planned_s > 0.0).then(|| operating_s / planned_s),
        mtbf_h: per_failure(operating_s),
        mttr_h: per_failure(total_seconds(&failed)),
        planned,
        down,
        failed,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sla::Hours;

    fn at(hour: i64) -> Timestamp {
        // 2026-01-05 is a Monday; UTC.
        "2026-01-05T00:00:00Z"
            .parse::<Timestamp>()
            .unwrap()
            .plus_seconds(hour as f64 * 3600.0)
    }

    fn stop(from: i64, to: i64, reason: DowntimeReason) -> Stop {
        Stop {
            start: at(from),
            end: Some(at(to)),
            reason: Some(reason),
        }
    }

    #[test]
    fn overlapping_signals_are_one_stop_and_edges_are_cut() {
        use DowntimeReason::*;
        let stops = [
            stop(-10, 2, EquipmentFailure), // began before the window: downtime, but no failure of it
            stop(30, 34, EquipmentFailure),
            stop(33, 36, EquipmentFailure), // a second signal of the same stop
            stop(50, 60, Maintenance),
            stop(58, 62, PowerOutage), // in the middle of it
            Stop {
                start: at(98),
                end: None,
                reason: None,
            },
        ];
        let window = Span::new(at(0), at(100));
        let figures = reliability(&stops, &Calendar::always(), window, at(100));
        assert_eq!(
            figures.planned_s,
            (100.0 - 8.0) * 3600.0,
            "the outage cuts the maintenance short"
        );
        assert_eq!(figures.downtime_s, (2.0 + 6.0 + 4.0 + 2.0) * 3600.0);
        assert_eq!((figures.failures, figures.mttr_h), (1, Some(6.0)));
        assert_eq!(figures.mtbf_h, Some(78.0));
        assert_eq!(figures.availability, Some(78.0 / 92.0));
        assert_eq!(figures.unconfirmed_s, 2.0 * 3600.0);
        assert_eq!(figures.failed, [Span::new(at(30), at(36))]);
    }

    #[test]
    fn a_stop_outside_working_time_costs_no_availability() {
        let week = Hours {
            days: &["mon", "tue"],
            from: "06:00",
            to: "14:00",
        }
        .week();
        let calendar = Calendar::new("UTC", &week, &[]).unwrap();
        let window = Span::new(at(0), at(7 * 24));
        let night = [stop(15, 29, DowntimeReason::EquipmentFailure)];
        let figures = reliability(&night, &calendar, window, at(200));
        assert_eq!((figures.planned_s, figures.downtime_s), (16.0 * 3600.0, 0.0));
        assert_eq!(
            (figures.availability, figures.failures, figures.mttr_h),
            (Some(1.0), 1, Some(14.0))
        );
        let never = reliability(&night, &calendar, Span::new(at(72), at(96)), at(200));
        assert_eq!(
            (never.availability, never.mtbf_h),
            (None, None),
            "no planned time, no figure"
        );
    }

    proptest! {
        /// Figures don't depend on order or on doubled signals, and a split of the window adds up.
        #[test]
        fn figures_add_up(
            raw in prop::collection::vec((0..150_i64, 1..40_i64, 0..8_usize), 0..10), cut in 1..100_i64, seed in 0..97_usize,
        ) {
            let stops: Vec<Stop> = raw.iter()
                .map(|(from, long, reason)| Stop {
                    start: at(*from), end: Some(at(from + long)), reason: DowntimeReason::ALL.get(*reason).copied(),
                })
                .collect();
            let (now, calendar) = (at(300), Calendar::always());
            let figures = |stops: &[Stop], from, to| reliability(stops, &calendar, Span::new(at(from), at(to)), now);
            let whole = figures(&stops, 0, 100);
            let mut shuffled = stops.clone();
            shuffled.extend(stops.first().copied());
            if !shuffled.is_empty() {
                let by = seed % shuffled.len();
                shuffled.rotate_left(by);
            }
            prop_assert_eq!(&figures(&shuffled, 0, 100), &whole);
            let (left, right) = (figures(&stops, 0, cut), figures(&stops, cut, 100));
            prop_assert!((left.downtime_s + right.downtime_s - whole.downtime_s).abs() < 1e-6);
            prop_assert!((left.planned_s + right.planned_s - whole.planned_s).abs() < 1e-6);
            prop_assert!(whole.availability.is_none_or(|share| (0.0..=1.0).contains(&share)));
            prop_assert_eq!(total_seconds(&whole.down), whole.downtime_s);
        }
    }
}

use super::*;

mod moved;
mod schedulers;

fn day(text: &str) -> Day {
    text.parse().unwrap()
}

fn monthly() -> Plan {
    Plan {
        basis: Basis::Fixed,
        all_of: false,
        every_days: Some(30),
        every_units: None,
        lead_days: 5,
        lead_units: 0.0,
        tolerance_pct: 0.0,
        open_instance: OpenInstance::Skip,
        calendar: Calendar::default(),
        anchor_date: day("2026-01-01"),
        anchor_units: 0.0,
        next_sequence: 1,
    }
}

fn by_hours() -> Plan {
    Plan {
        every_days: None,
        every_units: Some(2000.0),
        lead_days: 0,
        lead_units: 100.0,
        ..monthly()
    }
}

fn facts(today: &str, total: Option<f64>) -> Facts<'static> {
    Facts {
        today: day(today),
        total,
        usage: None,
        meter: Some(("run hours", "h")),
        has_open_occurrence: false,
        pull: None,
        parent: None,
    }
}

fn ten_a_day() -> Option<Usage> {
    Some(Usage {
        median: 10.0,
        low: 5.0,
        high: 20.0,
        days: 30,
    })
}

#[test]
fn days_are_whole_in_every_zone() {
    let moment = |text: &str| text.parse::<Timestamp>().unwrap();
    use crate::time::Timestamp;
    // Half past midnight in Berlin is still yesterday in UTC: the site's clocks decide.
    assert_eq!(
        Day::at(moment("2026-03-28T23:30:00Z"), "Europe/Berlin"),
        Ok(day("2026-03-29"))
    );
    assert_eq!(
        Day::at(moment("2026-03-28T23:30:00Z"), "UTC"),
        Ok(day("2026-03-28"))
    );
    // The clocks change on the 29th: the day has 23 hours and is one day.
    assert_eq!(
        day("2026-03-29").end("Europe/Berlin"),
        Ok(moment("2026-03-29T22:00:00Z"))
    );
    assert_eq!(day("2026-03-28").plus(30), day("2026-04-27"));
    assert_eq!(day("2026-04-27").since(day("2026-03-28")), 30);
    // In Santiago midnight of this day doesn't exist: it begins at one o'clock.
    assert_eq!(
        day("2026-09-05").end("America/Santiago"),
        Ok(moment("2026-09-06T04:00:00Z"))
    );
    assert!(matches!(
        Day::at(moment("2026-01-01T00:00:00Z"), "Middle/Earth"),
        Err(DayError::NoSuchZone(_))
    ));
    assert_eq!(day("9999-12-31").plus(400), day("9999-12-31"));
    assert!("2026-02-30".parse::<Day>().is_err());
}

#[test]
fn releases_by_table() {
    let both = Plan {
        every_units: Some(2000.0),
        ..monthly()
    };
    let all = Plan {
        all_of: true,
        ..both.clone()
    };
    type Expect<'a> = Option<(Trigger, &'a str, Option<f64>, i32)>;
    let cases: &[(&str, &Plan, &str, Option<f64>, Expect<'_>)] = &[
        ("before the lead", &monthly(), "2026-01-25", None, None),
        (
            "at the lead",
            &monthly(),
            "2026-01-26",
            None,
            Some((Trigger::Calendar, "2026-01-31", None, 0)),
        ),
        (
            "late",
            &monthly(),
            "2026-02-10",
            None,
            Some((Trigger::Calendar, "2026-01-31", None, 0)),
        ),
        (
            "after an outage of three intervals",
            &monthly(),
            "2026-04-10",
            None,
            Some((Trigger::Calendar, "2026-04-01", None, 2)),
        ),
        (
            "hours before the lead",
            &by_hours(),
            "2026-01-02",
            Some(1899.0),
            None,
        ),
        (
            "hours at the lead",
            &by_hours(),
            "2026-01-02",
            Some(1900.0),
            Some((Trigger::Meter, "2026-01-02", Some(2000.0), 0)),
        ),
        (
            "hours without a meter reading",
            &by_hours(),
            "2027-01-01",
            None,
            None,
        ),
        (
            "hours, twice missed",
            &by_hours(),
            "2026-01-02",
            Some(6100.0),
            Some((Trigger::Meter, "2026-01-02", Some(6000.0), 2)),
        ),
        (
            "any of: the calendar first",
            &both,
            "2026-01-26",
            Some(100.0),
            Some((Trigger::Calendar, "2026-01-31", None, 0)),
        ),
        (
            "any of: the hours first",
            &both,
            "2026-01-02",
            Some(2000.0),
            Some((Trigger::Meter, "2026-01-02", Some(2000.0), 0)),
        ),
        ("all of: one isn't enough", &all, "2026-01-26", Some(100.0), None),
        (
            "all of: both",
            &all,
            "2026-02-20",
            Some(2000.0),
            Some((Trigger::All, "2026-02-20", Some(2000.0), 0)),
        ),
    ];
    for (name, plan, today, total, expect) in cases {
        let release = plan.release(&facts(today, *total));
        let got = release.as_ref().map(|release| {
            (
                release.trigger,
                release.due_date,
                release.due_units,
                release.missed,
            )
        });
        let expect = expect.map(|(trigger, due, units, missed)| (trigger, day(due), units, missed));
        assert_eq!(got, expect, "{name}");
    }
}

#[test]
fn a_fixed_plan_keeps_its_dates_and_starts_the_other_trigger_anew() {
    let both = Plan {
        every_units: Some(2000.0),
        ..monthly()
    };
    let release = both.release(&facts("2026-02-10", Some(700.0))).unwrap();
    assert_eq!(
        (release.next_anchor_date, release.next_anchor_units),
        (day("2026-01-31"), 700.0)
    );
    let release = both.release(&facts("2026-01-10", Some(2100.0))).unwrap();
    assert_eq!(
        (release.next_anchor_date, release.next_anchor_units),
        (day("2026-01-10"), 2000.0)
    );
}

#[test]
fn what_happens_to_an_open_occurrence() {
    let open = Facts {
        has_open_occurrence: true,
        ..facts("2026-01-31", None)
    };
    for (policy, making) in [
        (OpenInstance::Skip, Making::Skip),
        (OpenInstance::Stack, Making::Create),
        (OpenInstance::Supersede, Making::Supersede),
    ] {
        let plan = Plan {
            open_instance: policy,
            ..monthly()
        };
        assert_eq!(plan.release(&open).unwrap().making, making);
        assert_eq!(
            plan.release(&facts("2026-01-31", None)).unwrap().making,
            Making::Create
        );
        assert_eq!(
            Plan {
                basis: Basis::Floating,
                ..plan
            }
            .release(&open),
            None,
            "a floating plan waits"
        );
    }
}

#[test]
fn a_floating_plan_counts_from_the_day_the_work_was_done() {
    let plan = Plan {
        basis: Basis::Floating,
        every_units: Some(2000.0),
        tolerance_pct: 10.0,
        ..monthly()
    };
    let due = day("2026-01-31");
    // Three days off 30 are within ten percent, four are not.
    assert_eq!(
        plan.anchor_after(due, None, day("2026-02-03"), Some(50.0)),
        (due, 50.0)
    );
    assert_eq!(plan.anchor_after(due, None, day("2026-01-28"), Some(50.0)).0, due);
    assert_eq!(
        plan.anchor_after(due, None, day("2026-02-04"), Some(50.0)).0,
        day("2026-02-04")
    );
    assert_eq!(plan.anchor_after(due, Some(2000.0), due, Some(2150.0)).1, 2000.0);
    assert_eq!(plan.anchor_after(due, Some(2000.0), due, Some(2250.0)).1, 2250.0);
    let strict = Plan {
        tolerance_pct: 0.0,
        ..plan
    };
    assert_eq!(
        strict.anchor_after(due, Some(2000.0), day("2026-02-01"), Some(2001.0)),
        (day("2026-02-01"), 2001.0)
    );
    let fixed = monthly();
    assert_eq!(
        fixed.anchor_after(due, None, day("2026-02-20"), None),
        (fixed.anchor_date, 0.0)
    );
}

#[test]
fn the_forecast_has_an_interval_and_a_reason() {
    let with_usage = |total| Facts {
        usage: ten_a_day(),
        ..facts("2026-06-01", Some(total))
    };
    let plan = by_hours();
    let next = forecast(&plan, &with_usage(1800.0));
    assert_eq!(
        (next.date, next.low, next.high),
        (
            Some(day("2026-06-21")),
            Some(day("2026-06-11")),
            Some(day("2026-07-11"))
        )
    );
    assert_eq!(next.units_to_go, Some(200.0));
    assert!(
        next.explanation
            .contains("200.0 h to go at 10.0 h a day (5.0 to 20.0, from 30 days)"),
        "{}",
        next.explanation
    );
    let unknown = forecast(&plan, &facts("2026-06-01", Some(1800.0)));
    assert_eq!(unknown.date, None);
    assert!(unknown.explanation.contains("isn't known"));
    // The earlier of the two, and for all-of the later.
    let both = Plan {
        every_days: Some(160),
        ..plan
    };
    assert_eq!(forecast(&both, &with_usage(1800.0)).date, Some(day("2026-06-10")));
    let all = Plan { all_of: true, ..both };
    assert_eq!(forecast(&all, &with_usage(1800.0)).date, Some(day("2026-06-21")));
    assert_eq!(forecast(&all, &facts("2026-06-01", Some(1800.0))).date, None);
}

#[test]
fn plans_that_can_not_work_are_refused() {
    assert_eq!(monthly().validate(), Ok(()));
    assert_eq!(
        Plan {
            every_days: None,
            ..monthly()
        }
        .validate(),
        Err(PlanError::NoTrigger)
    );
    assert_eq!(
        Plan {
            lead_days: 30,
            ..monthly()
        }
        .validate(),
        Err(PlanError::LeadTooLong("days"))
    );
    assert_eq!(
        Plan {
            lead_units: 2000.0,
            ..by_hours()
        }
        .validate(),
        Err(PlanError::LeadTooLong("units"))
    );
    assert_eq!(
        Plan {
            every_days: Some(0),
            lead_days: -1,
            ..monthly()
        }
        .validate(),
        Err(PlanError::NoLength)
    );
    assert_eq!(
        Plan {
            every_units: Some(f64::NAN),
            ..by_hours()
        }
        .validate(),
        Err(PlanError::NoLength)
    );
}

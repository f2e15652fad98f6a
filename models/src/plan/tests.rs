use proptest::prelude::*;

use super::*;

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

/// A scheduler with a store that keeps (sequence) unique, as the database does.
#[derive(Clone)]
struct World {
    plan: Plan,
    made: Vec<(i32, Making, i32)>,
    open: Option<(i32, Day, Option<f64>)>,
}

impl World {
    fn pass(&mut self, today: Day, total: f64) {
        let facts = Facts {
            today,
            total: Some(total),
            usage: None,
            meter: None,
            has_open_occurrence: self.open.is_some(),
            pull: None,
            parent: None,
        };
        let Some(release) = self.plan.release(&facts) else {
            return;
        };
        assert!(
            self.made
                .iter()
                .all(|(sequence, ..)| *sequence != release.sequence),
            "made twice"
        );
        self.made.push((release.sequence, release.making, release.missed));
        if !matches!(release.making, Making::Skip | Making::Absorb) {
            self.open = Some((release.sequence, release.due_date, release.due_units));
        }
        self.plan.next_sequence += 1;
        self.plan.anchor_date = release.next_anchor_date;
        self.plan.anchor_units = release.next_anchor_units;
    }

    fn done(&mut self, today: Day, total: f64) {
        if let Some((_, due, due_units)) = self.open.take() {
            let (date, units) = self.plan.anchor_after(due, due_units, today, Some(total));
            (self.plan.anchor_date, self.plan.anchor_units) = (date, units);
        }
    }
}

proptest! {
    /// For any order of days, passes (doubled, or missing for weeks) and completions, a fixed plan
    /// accounts for every interval exactly once, made, skipped or missed.
    #[test]
    fn no_interval_is_lost_and_none_is_made_twice(
        events in prop::collection::vec((0i64..20, 0u8..3), 1..200),
        every in 1i64..40,
        lead_share in 0.0..1.0f64,
        policy in prop::sample::select(vec![OpenInstance::Skip, OpenInstance::Stack, OpenInstance::Supersede]),
    ) {
        let lead_days = (lead_share * every as f64) as i64;
        let start = day("2026-01-01");
        let plan = Plan { every_days: Some(every), lead_days: lead_days.min(every - 1), open_instance: policy, ..monthly() };
        let lead = plan.lead_days;
        let mut world = World { plan, made: vec![], open: None };
        let mut today = start;
        let mut looked = None;
        for (days, what) in events {
            today = today.plus(days);
            match what {
                0 => world.done(today, 0.0),
                passes => for _ in 0..passes { world.pass(today, 0.0); looked = Some(today); },
            }
        }
        let expect = looked.map_or(0, |last| (last.since(start) + lead) / every);
        let accounted: i64 = world.made.iter().map(|(_, _, missed)| 1 + i64::from(*missed)).sum();
        prop_assert_eq!(accounted, expect);
        let sequences: Vec<i32> = world.made.iter().map(|(sequence, ..)| *sequence).collect();
        prop_assert_eq!(sequences, (1..).take(world.made.len()).collect::<Vec<i32>>());
    }

    /// The same for meters that jump, and for floating plans: never two open at once, and after every
    /// pass the plan is either waiting for work or has nothing released.
    #[test]
    fn a_pass_leaves_nothing_to_do(
        events in prop::collection::vec((0i64..10, 0.0..500.0f64, any::<bool>()), 1..100),
        basis in prop::sample::select(vec![Basis::Fixed, Basis::Floating]),
        all_of in any::<bool>(),
    ) {
        let plan = Plan { every_units: Some(700.0), lead_units: 50.0, basis, all_of, ..monthly() };
        let mut world = World { plan, made: vec![], open: None };
        let (mut today, mut total) = (day("2026-01-01"), 0.0);
        for (days, units, done) in events {
            today = today.plus(days);
            total += units;
            world.pass(today, total);
            let before = world.made.len();
            world.pass(today, total);
            prop_assert_eq!(world.made.len(), before, "a second pass made another one");
            if done { world.done(today, total); }
            prop_assert!(world.plan.anchor_date <= today.plus(world.plan.lead_days));
            prop_assert!(world.plan.anchor_units <= total + world.plan.lead_units + 1e-6);
        }
    }
}

#[test]
fn work_before_its_time_moves_the_next() {
    let fixed = monthly();
    // (done, counts from afterwards): in the first half of the interval it begins anew.
    for (done, from) in [
        ("2026-01-10", "2026-01-10"),
        ("2026-01-16", "2026-01-31"),
        ("2026-01-30", "2026-01-31"),
    ] {
        assert_eq!(fixed.anchor_after_early(day(done), None).0, day(from), "{done}");
    }
    let floating = Plan {
        basis: Basis::Floating,
        ..monthly()
    };
    assert_eq!(
        floating.anchor_after_early(day("2026-01-20"), Some(7.0)),
        (day("2026-01-20"), 7.0)
    );
    assert_eq!(
        by_hours().anchor_after_early(day("2026-01-20"), Some(900.0)).1,
        900.0
    );
    assert_eq!(
        by_hours().anchor_after_early(day("2026-01-20"), Some(1500.0)).1,
        2000.0
    );
}

#[test]
fn a_prediction_pulls_the_next_one_forward_once() {
    let fear = |today: &'static str| Facts {
        pull: Some((day("2026-01-20"), "its failure is predicted")),
        ..facts(today, None)
    };
    let release = monthly().release(&fear("2026-01-18")).unwrap();
    assert_eq!(
        (release.trigger, release.due_date, release.missed),
        (Trigger::Prediction, day("2026-01-20"), 0)
    );
    assert!(
        release.explanation.contains("2026-01-31") && release.explanation.contains("predicted"),
        "{}",
        release.explanation
    );
    // It took the place of the one of the 31st.
    let after = Plan {
        anchor_date: release.next_anchor_date,
        next_sequence: 2,
        ..monthly()
    };
    assert_eq!(after.anchor_date, day("2026-01-31"));
    assert_eq!(
        after.release(&fear("2026-01-19")),
        None,
        "the next interval hasn't begun"
    );
    let open = Facts {
        has_open_occurrence: true,
        ..fear("2026-01-18")
    };
    assert_eq!(monthly().release(&open), None, "the work is under way");
    // What is due anyway is due by the calendar.
    let due = monthly().release(&fear("2026-01-27")).unwrap();
    assert_eq!(due.trigger, Trigger::Calendar);
}

#[test]
fn a_nested_plan_is_part_of_its_parents_work() {
    let days = [day("2026-02-04")];
    let near = |days: &'static [Day], within| Facts {
        parent: Some(("overhaul", days, within)),
        ..facts("2026-01-26", None)
    };
    let days: &'static [Day] = Box::leak(Box::new(days));
    let release = monthly().release(&near(days, 4)).unwrap();
    assert_eq!(release.making, Making::Absorb);
    assert!(
        release
            .explanation
            .contains("done with “overhaul”, due on 2026-02-04"),
        "{}",
        release.explanation
    );
    assert_eq!(monthly().release(&near(days, 3)).unwrap().making, Making::Create);
    let floating = Plan {
        basis: Basis::Floating,
        ..monthly()
    };
    assert_eq!(
        floating.release(&near(days, 4)).unwrap().next_anchor_date,
        day("2026-02-04")
    );
}

#[test]
fn holidays_move_the_day_and_not_the_count() {
    let calendar = |on_rest| Calendar {
        holidays: vec![day("2026-01-31"), day("2026-02-01")],
        on_rest,
        ..Calendar::default()
    };
    let with = |on_rest| Plan {
        calendar: calendar(on_rest),
        lead_days: 0,
        ..monthly()
    };
    // Moved forward it is released on the day it moved to, and the next one still counts from the 31st.
    let after = with(OnRest::After);
    assert_eq!(after.release(&facts("2026-02-01", None)), None);
    let release = after.release(&facts("2026-02-02", None)).unwrap();
    assert_eq!(
        (release.due_date, release.next_anchor_date),
        (day("2026-02-02"), day("2026-01-31"))
    );
    assert!(
        release.explanation.contains("a holiday"),
        "{}",
        release.explanation
    );
    let before = with(OnRest::Before);
    assert_eq!(
        before.release(&facts("2026-01-30", None)).unwrap().due_date,
        day("2026-01-30")
    );
    let skip = with(OnRest::Skip);
    let release = skip.release(&facts("2026-01-31", None)).unwrap();
    assert_eq!(
        (release.making, release.next_anchor_date),
        (Making::Skip, day("2026-01-31"))
    );
    // A floating plan goes on from what it skips, or it would wait for ever.
    let floating = Plan {
        basis: Basis::Floating,
        ..with(OnRest::Skip)
    };
    assert_eq!(
        floating
            .release(&facts("2026-01-31", None))
            .unwrap()
            .next_anchor_date,
        day("2026-01-31")
    );
}

#[test]
fn every_so_many_th_is_left_out() {
    let quarterly = |basis| Plan {
        basis,
        lead_days: 0,
        calendar: Calendar {
            skip_every: Some(3),
            ..Calendar::default()
        },
        ..monthly()
    };
    for basis in [Basis::Fixed, Basis::Floating] {
        let mut plan = quarterly(basis);
        let mut makings = Vec::new();
        for today in ["2026-01-31", "2026-03-02", "2026-04-01", "2026-05-01"] {
            let release = plan.release(&facts(today, None)).unwrap();
            let left_out = release.explanation.contains("1 in 3 is");
            assert_eq!(
                left_out,
                release.making == Making::Skip,
                "{}",
                release.explanation
            );
            makings.push(release.making);
            plan.anchor_date = release.next_anchor_date.max(release.due_date);
            plan.next_sequence += 1;
        }
        assert_eq!(
            makings,
            [Making::Create, Making::Create, Making::Skip, Making::Create],
            "{basis:?}"
        );
    }
    let year = expected(
        &quarterly(Basis::Fixed),
        &facts("2026-01-05", None),
        None,
        day("2026-12-31"),
    );
    let skipped: Vec<i32> = year
        .iter()
        .filter(|one| one.skipped)
        .map(|one| one.sequence)
        .collect();
    assert_eq!((year.len(), skipped), (12, vec![3, 6, 9, 12]));
    // After an outage one stands for all that were missed: it is made, whatever its number.
    let third = Plan {
        next_sequence: 3,
        ..quarterly(Basis::Fixed)
    };
    let release = third.release(&facts("2026-03-15", None)).unwrap();
    assert_eq!((release.making, release.missed), (Making::Create, 1));
    let all = Calendar {
        skip_every: Some(1),
        ..Calendar::default()
    };
    assert_eq!(all.validate(), Err(CalendarError::SkipsAll(1)));
}

#[test]
fn a_year_ahead_has_every_occurrence_with_its_interval() {
    let year = expected(&monthly(), &facts("2026-01-05", None), None, day("2026-12-31"));
    assert_eq!(year.len(), 12);
    assert_eq!(
        (year[0].date, year[11].date),
        (day("2026-01-31"), day("2026-12-27"))
    );
    assert!(
        year.iter()
            .all(|one| one.low == Some(one.date) && one.high == Some(one.date))
    );
    assert_eq!(
        year.iter().map(|one| one.sequence).collect::<Vec<_>>(),
        (1..=12).collect::<Vec<_>>()
    );
    // By the meter: 10 h a day (5 to 20), 2000 h: every 200 days (100 to 400).
    let with_usage = Facts {
        usage: ten_a_day(),
        ..facts("2026-01-01", Some(0.0))
    };
    let hours = expected(&by_hours(), &with_usage, None, day("2027-12-31"));
    assert_eq!(hours[0].date, day("2026-07-20"));
    assert_eq!(
        (hours[0].low, hours[0].high),
        (Some(day("2026-04-11")), Some(day("2027-02-05")))
    );
    assert_eq!(
        hours.last().unwrap().high,
        None,
        "at the quietest pace it doesn't come in time"
    );
    // A floating plan with open work counts on from its due day.
    let floating = Plan {
        basis: Basis::Floating,
        ..monthly()
    };
    let list = expected(
        &floating,
        &facts("2026-01-28", None),
        Some(day("2026-01-31")),
        day("2026-03-31"),
    );
    assert_eq!(
        list.iter().map(|one| one.date).collect::<Vec<_>>(),
        [day("2026-03-02")]
    );
    // An overdue plan is due today, once.
    let late = expected(&monthly(), &facts("2026-06-15", None), None, day("2026-07-15"));
    assert_eq!(
        late.iter().map(|one| one.date).collect::<Vec<_>>(),
        [day("2026-06-15"), day("2026-06-30")]
    );
    let mut children = expected(&monthly(), &facts("2026-01-05", None), None, day("2026-12-31"));
    let quarterly = Plan {
        every_days: Some(90),
        ..monthly()
    };
    let parents = expected(&quarterly, &facts("2026-01-05", None), None, day("2026-12-31"));
    absorb(&mut children, &parents, "quarterly", 2);
    assert_eq!(children.iter().filter(|one| one.absorbed_by.is_some()).count(), 4);
}

/// One scheduler of two: it has read the plan, and may be killed before it writes.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Days pass.
    Wait(i64),
    /// A scheduler reads where the plan stands.
    Read(bool),
    /// It writes what it found when it read, however long ago; the database refuses what is stale.
    Write(bool),
    /// It is killed, and starts again knowing nothing.
    Kill(bool),
    Done,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0i64..15).prop_map(Step::Wait),
        any::<bool>().prop_map(Step::Read),
        any::<bool>().prop_map(Step::Write),
        any::<bool>().prop_map(Step::Kill),
        Just(Step::Done),
    ]
}

proptest! {
    /// Two schedulers that read, wait, write late and are killed, in any order: (plan, sequence) is made
    /// once, the sequence has no hole, and every interval up to the last write is accounted for, with and
    /// without holidays.
    #[test]
    fn two_schedulers_make_each_occurrence_once(
        steps in prop::collection::vec(step(), 1..300),
        every in 1i64..40,
        basis in prop::sample::select(vec![Basis::Fixed, Basis::Floating]),
        on_rest in prop::sample::select(vec![OnRest::Keep, OnRest::Before, OnRest::After, OnRest::Skip]),
        skip_every in prop::option::of(2u16..5),
    ) {
        let rest_days = vec![crate::alarm::DayOfWeek::Sunday];
        let calendar = Calendar { rest_days, on_rest, skip_every, ..Calendar::default() };
        let plan = Plan { every_days: Some(every), lead_days: 0, basis, calendar: calendar.clone(), ..monthly() };
        let mut world = World { plan, made: vec![], open: None };
        let mut read: [Option<(Plan, Release)>; 2] = [None, None];
        let start = day("2026-01-01");
        let mut today = start;
        let mut accounted_to = start;
        for one in steps {
            match one {
                Step::Wait(days) => today = today.plus(days),
                Step::Kill(who) => read[usize::from(who)] = None,
                Step::Done => world.done(today, 0.0),
                Step::Read(who) => {
                    let facts = Facts { today, total: None, usage: None, meter: None,
                        has_open_occurrence: world.open.is_some(), pull: None, parent: None };
                    read[usize::from(who)] = world.plan.release(&facts).map(|release| (world.plan.clone(), release));
                }
                Step::Write(who) => {
                    let Some((seen, release)) = read[usize::from(who)].take() else { continue };
                    // The unique key of the database, and the lock under which plan and occurrence are one.
                    if seen.next_sequence != world.plan.next_sequence
                        || seen.anchor_date != world.plan.anchor_date
                        || world.made.iter().any(|(sequence, ..)| *sequence == release.sequence)
                    {
                        continue;
                    }
                    world.made.push((release.sequence, release.making, release.missed));
                    if !matches!(release.making, Making::Skip | Making::Absorb) {
                        world.open = Some((release.sequence, release.due_date, None));
                    }
                    world.plan.next_sequence += 1;
                    world.plan.anchor_date = release.next_anchor_date;
                    accounted_to = world.plan.anchor_date;
                }
            }
        }
        let sequences: Vec<i32> = world.made.iter().map(|(sequence, ..)| *sequence).collect();
        prop_assert_eq!(&sequences, &(1..).take(world.made.len()).collect::<Vec<i32>>());
        if basis == Basis::Fixed {
            let accounted: i64 = world.made.iter().map(|(_, _, missed)| 1 + i64::from(*missed)).sum();
            prop_assert_eq!(accounted, accounted_to.since(start) / every);
            // Afterwards one pass, and nothing that is due is missing.
            world.pass(today, 0.0);
            let before = world.made.len();
            world.pass(today, 0.0);
            prop_assert_eq!(world.made.len(), before);
            let next = calendar.place(world.plan.anchor_date.plus(every)).day;
            prop_assert!(next > today, "{} is not made on {}", next, today);
        }
    }
}

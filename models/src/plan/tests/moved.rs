//! What moves an occurrence: early work, predictions, parents, holidays; and a year of them.

use super::*;

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

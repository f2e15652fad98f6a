//! What each kind of rule watches, and when.

use super::*;

#[test]
fn each_kind_watches_its_own_thing() {
    let base = Rule {
        on_delay_s: 0.0,
        off_delay_s: 0.0,
        min_samples: 1,
        deadband: 0.0,
        ..rule(Kind::High)
    };
    let rise = Params {
        direction: Direction::Rise,
        ..Params::default()
    };
    let loose = Params {
        tolerance: 0.5,
        ..Params::default()
    };
    type Case<'a> = (Kind, f64, Params, &'a [(i64, f64)], &'a [(i64, Change)]);
    let cases: &[Case<'_>] = &[
        (
            Kind::Low,
            10.0,
            Params::default(),
            &[(0, 10.0), (1, 9.9), (2, 10.0)],
            &[(1, Change::Activated), (2, Change::Cleared)],
        ),
        (
            Kind::HealthBelow,
            60.0,
            Params::default(),
            &[(0, 80.0), (1, 59.0)],
            &[(1, Change::Activated)],
        ),
        (
            Kind::ProbabilityAbove,
            0.3,
            Params::default(),
            &[(0, 0.3), (1, 0.31)],
            &[(1, Change::Activated)],
        ),
        (
            Kind::Deviation,
            3.0,
            Params::default(),
            &[(0, 2.0), (1, 3.5), (2, 1.0)],
            &[(1, Change::Activated), (2, Change::Cleared)],
        ),
        (
            Kind::NoData,
            300.0,
            Params::default(),
            &[(0, 10.0), (300, 300.0), (301, 301.0)],
            &[(301, Change::Activated)],
        ),
        // Rate: the first sample has nothing to be compared with.
        (
            Kind::Rate,
            1.0,
            Params::default(),
            &[(0, 500.0), (10, 505.0), (20, 480.0)],
            &[(20, Change::Activated)],
        ),
        (
            Kind::Rate,
            1.0,
            rise.clone(),
            &[(0, 0.0), (10, -100.0), (20, 0.0)],
            &[(20, Change::Activated)],
        ),
        // Stuck: the value must have stood still for longer than the limit; any change clears.
        (
            Kind::Stuck,
            60.0,
            Params::default(),
            &[(0, 7.0), (60, 7.0), (70, 7.0), (80, 7.1)],
            &[(70, Change::Activated), (80, Change::Cleared)],
        ),
        (
            Kind::Stuck,
            60.0,
            loose,
            &[(0, 7.0), (70, 7.4), (80, 7.6)],
            &[(70, Change::Activated), (80, Change::Cleared)],
        ),
    ];
    for (kind, limit, params, samples, expect) in cases {
        let rule = Rule {
            kind: *kind,
            limit: *limit,
            params: params.clone(),
            ..base.clone()
        };
        assert_eq!(feed(&rule, samples).1, *expect, "{kind:?}");
    }
}

#[test]
fn outside_its_schedule_a_rule_raises_nothing_and_what_is_raised_goes_on() {
    let mut scheduled = rule(Kind::High);
    // 2025-06-15T15:06:40Z is second 0: a Sunday afternoon.
    scheduled.params.schedule =
        serde_json::from_str(r#"{"windows":[{"from":"15:00","to":"16:00"}]}"#).unwrap();
    let minute = 60;
    // Beyond the limit from 15:50 on: raised within the window, cleared after it.
    let (machine, changes) = feed(
        &scheduled,
        &[
            (44 * minute, 11.0),
            (45 * minute, 11.0),
            (60 * minute, 12.0),
            (61 * minute, 5.0),
            (62 * minute, 5.0),
            (63 * minute, 12.0),
            (64 * minute, 12.0),
        ],
    );
    let kinds: Vec<Change> = changes.iter().map(|(_, change)| *change).collect();
    assert_eq!(
        kinds,
        [
            Change::Pended,
            Change::Activated,
            Change::Returned,
            Change::Cleared
        ]
    );
    assert_eq!(machine.condition(), Condition::Inactive);
    // Pending when the window closes: it was nothing.
    let (_, changes) = feed(&scheduled, &[(53 * minute, 11.0), (54 * minute, 11.0)]);
    assert_eq!(
        changes,
        [(53 * minute, Change::Pended), (54 * minute, Change::Reverted)]
    );
}

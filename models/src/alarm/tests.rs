use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::id::{AlarmRuleId, AssetId, ChannelId, TenantId};
use crate::reading::Quality;
use crate::tenant::MemberRole;
use crate::time::Timestamp;

fn rule(kind: Kind) -> Rule {
    Rule {
        id: AlarmRuleId::new(),
        tenant: TenantId::new(),
        asset: AssetId::new(),
        channel: Some(ChannelId(1)),
        name: "test".into(),
        kind,
        limit: 10.0,
        deadband: 2.0,
        on_delay_s: 20.0,
        off_delay_s: 30.0,
        min_samples: 2,
        severity: Severity::Serious,
        failure_mode: None,
        makes_ticket: true,
        latched: false,
        params: Params::default(),
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(1_750_000_000 + seconds)
}

/// Feeds (seconds, value) and tells every change.
fn feed(rule: &Rule, samples: &[(i64, f64)]) -> (Machine, Vec<(i64, Change)>) {
    let mut machine = Machine::default();
    let mut changes = Vec::new();
    for (seconds, value) in samples {
        let (next, transition) = machine.step(rule, at(*seconds), *value, Quality::Good);
        machine = next;
        changes.extend(transition.map(|transition| (*seconds, transition.change)));
    }
    (machine, changes)
}

/// A machine in each state, by the samples that bring it there; the last sample is at 100 s.
fn in_state(condition: Condition) -> Vec<(i64, f64)> {
    match condition {
        Condition::Inactive => vec![(100, 1.0)],
        Condition::Pending => vec![(90, 11.0), (100, 11.0)],
        Condition::Active => vec![(70, 11.0), (90, 11.0), (100, 11.0)],
        Condition::Clearing => vec![(60, 11.0), (80, 11.0), (100, 1.0)],
    }
}

#[test]
fn every_state_and_event() {
    use Change::*;
    use Condition::*;
    // (state, seconds after its last sample, value) -> (change, state). Limit 10, dead band to 8,
    // on-delay 20 s and 2 samples, off-delay 30 s.
    let table = [
        (Inactive, 1, 5.0, None, Inactive),
        (Inactive, 1, 9.0, None, Inactive),
        (Inactive, 1, 10.0, None, Inactive),
        (Inactive, 1, 10.1, Some(Pended), Pending),
        (Pending, 5, 11.0, None, Pending),
        (Pending, 10, 11.0, Some(Activated), Active),
        (Pending, 500, 11.0, Some(Activated), Active),
        (Pending, 10, 9.0, Some(Reverted), Inactive),
        (Pending, 10, 5.0, Some(Reverted), Inactive),
        (Active, 1, 12.0, None, Active),
        (Active, 1, 9.0, None, Active),
        (Active, 1, 8.0, Some(Returned), Clearing),
        (Active, 9999, 5.0, Some(Returned), Clearing),
        (Clearing, 1, 5.0, None, Clearing),
        (Clearing, 29, 5.0, None, Clearing),
        (Clearing, 30, 5.0, Some(Cleared), Inactive),
        (Clearing, 30, 9.0, Some(Cleared), Inactive),
        (Clearing, 1, 9.0, None, Clearing),
        (Clearing, 1, 11.0, Some(Reactivated), Active),
        (Clearing, 30, 11.0, Some(Reactivated), Active),
    ];
    let rule = rule(Kind::High);
    for (from, later, value, change, to) in table {
        let (machine, _) = feed(&rule, &in_state(from));
        assert_eq!(machine.condition(), from, "the way to {from:?}");
        let (next, transition) = machine.step(&rule, at(100 + later), value, Quality::Good);
        assert_eq!(
            (transition.map(|transition| transition.change), next.condition()),
            (change, to),
            "{from:?} + {value} after {later} s"
        );
    }
}

#[test]
fn what_does_not_count_changes_nothing_in_any_state() {
    let rule = rule(Kind::High);
    for state in [
        Condition::Inactive,
        Condition::Pending,
        Condition::Active,
        Condition::Clearing,
    ] {
        let (machine, _) = feed(&rule, &in_state(state));
        for value in [0.0, 99.0] {
            for (name, seconds, value, quality) in [
                ("old", 99, value, Quality::Good),
                ("same moment", 100, value, Quality::Good),
                ("bad", 500, value, Quality::Bad),
                ("suspect", 500, value, Quality::Suspect),
                ("not a number", 500, f64::NAN, Quality::Good),
                ("infinite", 500, f64::INFINITY, Quality::Good),
            ] {
                let (next, transition) = machine.step(&rule, at(seconds), value, quality);
                assert_eq!((next, transition), (machine.clone(), None), "{state:?}, {name}");
            }
        }
    }
}

#[test]
fn suspect_readings_count_when_the_rule_says_so() {
    let mut rule = rule(Kind::High);
    rule.params.accept_suspect = true;
    let (machine, _) = Machine::default().step(&rule, at(0), 11.0, Quality::Suspect);
    assert_eq!(machine.condition(), Condition::Pending);
    assert_eq!(machine.step(&rule, at(60), 11.0, Quality::Bad).0, machine);
}

#[test]
fn without_delays_one_sample_raises_and_one_clears() {
    let rule = Rule {
        on_delay_s: 0.0,
        off_delay_s: 0.0,
        min_samples: 1,
        ..rule(Kind::High)
    };
    let (machine, changes) = feed(&rule, &[(0, 11.0), (10, 9.0), (20, 3.0)]);
    assert_eq!(changes, [(0, Change::Activated), (20, Change::Cleared)]);
    assert_eq!(machine.condition(), Condition::Inactive);
}

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
fn silence_never_clears() {
    let rule = rule(Kind::High);
    let (machine, _) = feed(&rule, &in_state(Condition::Active));
    // A year later the first word is still a breach: one occurrence, the old start.
    let start = machine.open().unwrap().pending_since;
    let (next, transition) = machine.step(&rule, at(31_536_000), 12.0, Quality::Good);
    assert_eq!(transition, None);
    assert_eq!(next.open().unwrap().pending_since, start);
}

#[test]
fn replayed_history_is_remembered_and_raises_nothing() {
    let rule = Rule {
        on_delay_s: 0.0,
        min_samples: 1,
        ..rule(Kind::Rate)
    };
    let run = Machine::default().run(
        &rule,
        (0..100).map(|second| (at(second), 1000.0 * second as f64, Quality::Good)),
        at(100),
    );
    assert!(run.transitions.is_empty() && !run.dirty);
    // It is the past that the first live sample is compared with.
    let (_, transition) = run.machine.step(&rule, at(101), 1e6, Quality::Good);
    assert_eq!(transition.unwrap().change, Change::Activated);
}

#[test]
fn a_flapping_alarm_is_held_until_it_is_quiet() {
    let rule = Rule {
        on_delay_s: 0.0,
        off_delay_s: 0.0,
        min_samples: 1,
        ..rule(Kind::High)
    };
    let toggles: Vec<_> = (0..40)
        .map(|i| (i * 10, if i % 2 == 0 { 11.0 } else { 1.0 }))
        .collect();
    let (machine, changes) = feed(&rule, &toggles);
    let raised = changes
        .iter()
        .filter(|(_, change)| *change == Change::Activated)
        .count();
    assert_eq!(
        raised, 3,
        "six crossings make it flapping, then one occurrence stands for the rest: {changes:?}"
    );
    let open = machine.open().unwrap();
    assert!(open.flapping && open.flap_count > 10);
    assert_eq!(machine.condition(), Condition::Clearing);
    let (machine, transition) = machine.step(&rule, at(390 + 599), 1.0, Quality::Good);
    assert_eq!(transition, None);
    let (_, transition) = machine.step(&rule, at(390 + 600), 1.0, Quality::Good);
    assert_eq!(transition.unwrap().change, Change::Cleared);
}

#[test]
fn flapping_ends_when_the_alarm_stays_active() {
    let rule = Rule {
        on_delay_s: 0.0,
        off_delay_s: 0.0,
        min_samples: 1,
        ..rule(Kind::High)
    };
    let mut samples: Vec<_> = (0..7)
        .map(|i| (i * 10, if i % 2 == 0 { 11.0 } else { 1.0 }))
        .collect();
    samples.push((700, 11.0));
    let (machine, _) = feed(&rule, &samples);
    assert!(!machine.open().unwrap().flapping);
}

#[test]
fn a_latched_alarm_waits_for_a_person() {
    let rule = Rule {
        latched: true,
        ..rule(Kind::High)
    };
    let (machine, _) = feed(&rule, &[(0, 11.0), (20, 11.0), (30, 1.0), (40, 1.0), (500, 1.0)]);
    assert_eq!(machine.condition(), Condition::Clearing);
    assert_eq!(
        machine.reset(&rule, at(59)),
        None,
        "the off-delay counts for people too"
    );
    let (next, transition) = machine.reset(&rule, at(60)).unwrap();
    assert_eq!(
        (next.condition(), transition.change),
        (Condition::Inactive, Change::Cleared)
    );
    assert_eq!(next.reset(&rule, at(600)), None);
    let (active, _) = feed(&rule, &in_state(Condition::Active));
    assert_eq!(active.reset(&rule, at(9999)), None, "still beyond the limit");
}

#[test]
fn an_open_alarm_is_stored_when_it_changes_and_once_a_minute() {
    let rule = Rule {
        on_delay_s: 0.0,
        min_samples: 1,
        ..rule(Kind::High)
    };
    let one = |machine: &Machine, second, value| {
        machine.run(&rule, [(at(second), value, Quality::Good)], Timestamp::MIN)
    };
    let run = one(&Machine::default(), 0, 1.0);
    assert!(!run.dirty, "nothing to store while all is well");
    let run = one(&run.machine, 10, 11.0);
    assert!(run.dirty);
    let run = one(&run.machine, 20, 12.0);
    assert!(!run.dirty);
    assert!(one(&run.machine, 70, 12.0).dirty);
}

#[test]
fn the_state_survives_being_stored() {
    let rule = rule(Kind::Rate);
    let (machine, _) = feed(&rule, &[(0, 0.0), (10, 500.0), (20, 1000.0), (30, 1500.0)]);
    let stored = serde_json::to_string(&machine).unwrap();
    assert_eq!(serde_json::from_str::<Machine>(&stored).unwrap(), machine);
    assert_eq!(serde_json::from_str::<Machine>("{}").unwrap(), Machine::default());
}

#[test]
fn the_three_axes_make_one_word() {
    use Condition::*;
    let now = at(0);
    for condition in [Inactive, Pending, Active, Clearing] {
        for acked in [false, true] {
            let shown = |suppression, until| display(condition, acked, suppression, until, now);
            assert_eq!(shown(Suppression::Shelved, Some(at(1))), Display::Shelved);
            assert_eq!(
                shown(Suppression::Shelved, Some(at(0))),
                shown(Suppression::None, None),
                "a shelf ends by itself"
            );
            assert_eq!(shown(Suppression::ByDesign, None), Display::SuppressedByDesign);
            assert_eq!(shown(Suppression::OutOfService, None), Display::OutOfService);
            let expect = match (condition, acked) {
                (Inactive, true) => Display::Normal,
                (Inactive, false) => Display::ReturnedUnacknowledged,
                (Pending, _) => Display::Pending,
                (Active | Clearing, false) => Display::Unacknowledged,
                (Active | Clearing, true) => Display::Acknowledged,
            };
            assert_eq!(shown(Suppression::None, None), expect);
            let answer = acknowledge(true, condition, acked);
            match (condition, acked) {
                (Inactive, true) => assert_eq!(answer, Err(AxisError::Closed)),
                _ => assert_eq!(answer, Ok(!acked)),
            }
            assert_eq!(acknowledge(false, condition, acked), Err(AxisError::NotRaised));
        }
    }
}

#[test]
fn shelving_is_limited_by_role() {
    let now = at(0);
    assert!(
        shelve(
            MemberRole::Operator,
            now,
            at(8 * 3600),
            "noise from the pump next door"
        )
        .is_ok()
    );
    assert!(
        matches!(shelve(MemberRole::Operator, now, at(8 * 3600 + 1), "x"), Err(AxisError::TooLong { latest, .. }) if latest == at(8 * 3600))
    );
    assert!(shelve(MemberRole::Planner, now, at(24 * 3600), "x").is_ok());
    assert!(matches!(
        shelve(MemberRole::Viewer, now, at(60), "x"),
        Err(AxisError::RoleMayNotShelve { .. })
    ));
    assert_eq!(
        shelve(MemberRole::Planner, now, at(60), "  "),
        Err(AxisError::NoReason)
    );
    assert_eq!(
        shelve(MemberRole::Planner, now, now, "x"),
        Err(AxisError::NotInFuture { until: now })
    );
}

#[test]
fn an_acknowledgement_without_a_ticket_lapses() {
    let hour = Duration::from_secs(3600);
    assert!(!acknowledgement_lapsed(at(0), false, at(3599), hour));
    assert!(acknowledgement_lapsed(at(0), false, at(3600), hour));
    assert!(!acknowledgement_lapsed(at(0), true, at(99_999), hour));
}

#[test]
fn what_waits_for_people_escalates_by_table() {
    let patience = Patience {
        escalate_after: Duration::from_secs(600),
        ack_lasts: Duration::from_secs(3600),
        levels: 2,
    };
    // (acked, has a ticket, level, seconds since it was told) -> what happens.
    for (acked, ticket, level, seconds, expect) in [
        (false, false, 0, 599, None),
        (false, false, 0, 600, Some(Escalation::NextLevel(1))),
        (false, true, 1, 600, Some(Escalation::NextLevel(2))),
        (false, false, 2, 99_999, None),
        (true, false, 0, 3599, None),
        (true, false, 0, 3600, Some(Escalation::AsksAgain(1))),
        (true, false, 2, 3600, Some(Escalation::AsksAgain(2))),
        (true, true, 0, 99_999, None),
    ] {
        let found = escalation(acked, ticket, level, at(0), at(seconds), &patience);
        assert_eq!(found, expect, "{acked} {ticket} {level} {seconds}");
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

fn any_rule() -> impl Strategy<Value = Rule> {
    (
        prop::sample::select(Kind::ALL.to_vec()),
        0.0..5.0f64,
        prop::sample::select(vec![0.0, 5.0, 60.0]),
        prop::sample::select(vec![0.0, 5.0, 60.0]),
        1u32..4,
        any::<bool>(),
    )
        .prop_map(
            |(kind, deadband, on_delay_s, off_delay_s, min_samples, latched)| Rule {
                deadband,
                on_delay_s,
                off_delay_s,
                min_samples,
                latched,
                ..rule(kind)
            },
        )
}

proptest! {
    /// Any samples in any order: opens and clears alternate, an occurrence keeps its start, and its
    /// moments are in order.
    #[test]
    fn occurrences_are_well_formed(
        rule in any_rule(),
        samples in prop::collection::vec((0i64..2000, 0.0..20.0f64, 0i16..3), 0..200),
    ) {
        let mut machine = Machine::default();
        let mut start = None;
        for (seconds, value, quality) in samples {
            let (next, transition) = machine.step(&rule, at(seconds), value, Quality::from_code(quality));
            prop_assert_eq!(next.open().is_some(), next.condition() != Condition::Inactive);
            if let Some(Transition { change, occurrence, .. }) = transition {
                let opened = start.is_none();
                prop_assert_eq!(opened, matches!(change, Change::Pended) || (opened && change == Change::Activated));
                prop_assert_eq!(*start.get_or_insert(occurrence.pending_since), occurrence.pending_since);
                if let Some(active_at) = occurrence.active_at {
                    prop_assert!(occurrence.pending_since <= active_at);
                    prop_assert!(occurrence.clearing_since.is_none_or(|clearing| active_at < clearing));
                    prop_assert!(active_at.seconds_since(occurrence.pending_since) >= rule.on_delay_s);
                    prop_assert!(occurrence.samples >= rule.min_samples);
                }
                match change {
                    Change::Reverted => { prop_assert!(occurrence.active_at.is_none()); start = None; }
                    Change::Cleared => {
                        prop_assert!(occurrence.active_at.is_some() && occurrence.clearing_since.is_some());
                        prop_assert!(!rule.latched);
                        start = None;
                    }
                    Change::Pended => prop_assert!(occurrence.active_at.is_none()),
                    _ => prop_assert!(occurrence.active_at.is_some()),
                }
            } else {
                prop_assert_eq!(next.condition(), machine.condition());
                prop_assert_eq!(next.open().map(|open| open.pending_since), start);
            }
            machine = next;
        }
    }

    /// Splitting the samples into batches, and storing the state between them, changes nothing.
    #[test]
    fn batches_do_not_matter(
        rule in any_rule(),
        samples in prop::collection::vec((0i64..2000, 0.0..20.0f64), 0..60),
        cut in 0usize..60,
    ) {
        let samples: Vec<_> = samples.into_iter().map(|(second, value)| (at(second), value, Quality::Good)).collect();
        let cut = cut.min(samples.len());
        let whole = Machine::default().run(&rule, samples.iter().copied(), Timestamp::MIN);
        let first = Machine::default().run(&rule, samples[..cut].iter().copied(), Timestamp::MIN);
        let stored: Machine = serde_json::from_str(&serde_json::to_string(&first.machine).unwrap()).unwrap();
        let second = stored.run(&rule, samples[cut..].iter().copied(), Timestamp::MIN);
        let halves: Vec<_> = first.transitions.into_iter().chain(second.transitions).collect();
        prop_assert_eq!(whole.transitions, halves);
        prop_assert_eq!(whole.machine.open(), second.machine.open());
    }
}

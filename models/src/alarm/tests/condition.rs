//! The condition, from sample to sample.

use super::*;

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

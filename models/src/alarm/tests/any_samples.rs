//! What holds for any rule and any samples.

use proptest::prelude::*;

use super::*;

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

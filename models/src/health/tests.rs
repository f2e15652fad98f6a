use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn criticality() -> impl Strategy<Value = Criticality> {
    prop::sample::select(vec![
        Criticality::Low,
        Criticality::Medium,
        Criticality::High,
        Criticality::Critical,
    ])
}

fn assessed() -> impl Strategy<Value = Assessed> {
    (0.0..=100.0_f64, 0..1_000_i64, any::<bool>()).prop_map(|(health, at, stale)| Assessed {
        health,
        as_of: Timestamp::from_secs(at),
        stale,
    })
}

fn own() -> impl Strategy<Value = Option<Assessed>> {
    prop::option::of(assessed())
}

fn parts(least: usize) -> impl Strategy<Value = Vec<Part>> {
    prop::collection::vec((criticality(), own()), least..8).prop_map(|all| {
        let with_id = |(n, (criticality, assessed))| Part {
            id: AssetId::from_uuid(Uuid::from_u128(n)),
            criticality,
            assessed,
        };
        (1..).zip(all).map(with_id).collect()
    })
}

/// Nothing known lies above everything known.
fn number(all: &RollUp) -> f64 {
    all.health().unwrap_or(f64::INFINITY)
}

proptest! {
    #[test]
    fn without_parts_it_is_the_assets_own(own in own()) {
        let all = RollUp::of(own, []);
        prop_assert_eq!(all.health(), own.map(|own| own.health));
        prop_assert_eq!(all.stale(), own.is_some_and(|own| own.stale));
        prop_assert_eq!((all.coverage(), all.worst), (None, None));
        prop_assert_eq!(all.oldest, own.map(|own| own.as_of));
    }

    #[test]
    fn a_part_that_gets_worse_never_makes_it_better(own in own(), parts in parts(1), which: prop::sample::Index, less in 0.0..=1.0_f64) {
        let before = RollUp::of(own, parts.iter().copied());
        let mut worse = parts;
        let part = which.get(&worse).id;
        for one in worse.iter_mut().filter(|one| one.id == part) {
            one.assessed = one.assessed.map(|old| Assessed { health: old.health * less, ..old });
        }
        let after = RollUp::of(own, worse);
        prop_assert!(number(&after) <= number(&before));
    }

    #[test]
    fn a_part_that_matters_more_never_pulls_less(own in own(), parts in parts(1), which: prop::sample::Index, to in criticality()) {
        let before = RollUp::of(own, parts.iter().copied());
        let mut raised = parts;
        let part = which.get(&raised).id;
        for one in raised.iter_mut().filter(|one| one.id == part) {
            one.criticality = one.criticality.max(to);
        }
        let after = RollUp::of(own, raised);
        prop_assert!(number(&after) <= number(&before));
    }

    #[test]
    fn it_is_never_above_the_asset_or_its_worst_critical_part_nor_below_all_of_them(own in own(), parts in parts(0)) {
        let all = RollUp::of(own, parts.iter().copied());
        let known = || own.into_iter().chain(parts.iter().filter_map(|part| part.assessed));
        prop_assert_eq!(all.health().is_some(), known().count() > 0);
        for part in parts.iter().filter(|part| part.criticality == Criticality::Critical) {
            if let Some(assessed) = part.assessed {
                prop_assert!(number(&all) <= assessed.health);
            }
        }
        if let Some(own) = own {
            prop_assert!(number(&all) <= own.health);
        }
        let lowest = known().map(|assessed| assessed.health).fold(f64::INFINITY, f64::min);
        prop_assert!(number(&all) >= lowest - 1e-9);
        prop_assert!(all.health().is_none_or(|health| health <= 100.0));
    }

    #[test]
    fn one_nobody_knows_takes_from_the_coverage_and_not_from_the_health(own in own(), parts in parts(0), criticality in criticality()) {
        let before = RollUp::of(own, parts.iter().copied());
        let mut after = before;
        let id = AssetId::from_uuid(Uuid::from_u128(99));
        after.add(Part { id, criticality, assessed: None });
        prop_assert_eq!((after.health(), after.worst, after.oldest), (before.health(), before.worst, before.oldest));
        prop_assert_eq!((after.parts, after.fresh), (before.parts + 1, before.fresh));
        prop_assert!(after.coverage() <= before.coverage().or(Some(0.0)));
        let fresh = parts.iter().filter(|part| part.assessed.is_some_and(|one| !one.stale)).count();
        prop_assert_eq!(before.fresh, fresh);
    }

    #[test]
    fn order_makes_no_difference(own in own(), parts in parts(0).prop_shuffle()) {
        let mut sorted = parts.clone();
        sorted.sort_by_key(|part| part.id);
        prop_assert_eq!(RollUp::of(own, parts), RollUp::of(own, sorted));
    }

    #[test]
    fn the_part_that_is_named_explains_the_number(own in own(), parts in parts(0)) {
        let all = RollUp::of(own, parts.iter().copied());
        match all.deciding() {
            Some(worst) => {
                prop_assert_eq!(Some(left_by(worst.criticality, worst.assessed.health)), all.health());
                prop_assert_eq!(worst.assessed.stale, all.stale());
                prop_assert!(parts.iter().any(|part| part.id == worst.part && part.assessed == Some(worst.assessed)));
            }
            None => prop_assert_eq!(all.health(), own.map(|own| own.health)),
        }
    }
}

/// The table of docs/analytics.md.
#[test]
fn what_a_failed_part_leaves() {
    let table = [
        (Criticality::Low, 50.0),
        (Criticality::Medium, 25.0),
        (Criticality::High, 12.5),
        (Criticality::Critical, 0.0),
    ];
    for (criticality, leaves) in table {
        assert_eq!(left_by(criticality, 0.0), leaves);
        assert_eq!(left_by(criticality, 100.0), 100.0);
    }
    assert_eq!(left_by(Criticality::Low, 14.0), 57.0);
    assert_eq!(left_by(Criticality::Critical, 14.3), 14.3);
}

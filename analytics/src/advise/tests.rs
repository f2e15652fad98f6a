use models::db::assessment::Signature;
use models::id::{AssetClassId, AssetId, FailureModeId, TenantId};
use proptest::prelude::*;
use serde_json::json;
use sqlx::types::Json;

use super::*;
use crate::prognosis::{Curve, HORIZONS_H, prognose};
use crate::reliability::{Life, Weibull};

fn mode(repair_hours: Option<f64>, repair_cost: Option<f64>) -> ModeFacts {
    ModeFacts {
        id: FailureModeId::new(),
        code: "bearing_wear".to_owned(),
        name: "Bearing wear".to_owned(),
        signature: Json(Signature::default()),
        pf_interval_days: None,
        repair_hours,
        repair_cost,
    }
}

fn facts(downtime: Option<f64>, stop_days: Option<f64>) -> AssetFacts {
    let stop = stop_days.map(|days| Timestamp::from_secs(0).plus_seconds(days * 86_400.0));
    serde_json::from_value(json!({
        "asset_id": AssetId::new(), "tenant_id": TenantId::new(), "name": "P-1", "class_id": AssetClassId::new(),
        "class_name": "pump", "status": "operational", "downtime_cost_per_h": downtime, "next_stop_at": stop,
        "next_stop": stop.map(|_| "greasing"), "alarms_critical": 0, "alarms_serious": 0, "alarms_warning": 0,
        "errors_24h": 0, "errors_7d": 0,
    }))
    .unwrap()
}

fn life(shape: f64, scale_h: f64, age_h: f64) -> LifeFacts {
    LifeFacts {
        class: "pump".to_owned(),
        shape: Some(shape),
        scale_h: Some(scale_h),
        lives: Default::default(),
        age: Some((age_h, "hour meter")),
        in_use: 1.0,
    }
}

/// Planned work 3,500, at a stop 2,250, a failure 11,000.
fn advice(life: &LifeFacts, stop_days: Option<f64>, health: f64) -> Advice {
    let prognosis = prognose(life, &[], None, None);
    advise(&Situation {
        at: Timestamp::from_secs(0),
        health,
        prognosis: &prognosis,
        life,
        modes: &[mode(Some(10.0), Some(1000.0))],
        facts: &facts(Some(1000.0), stop_days),
    })
}

#[track_caller]
fn check(advice: &Advice, action: &str, words: &str) {
    assert_eq!(advice.action.as_deref(), Some(action), "{advice:#?}");
    let text = advice.text.as_deref().unwrap();
    assert!(text.contains(words), "{text}");
    let costs: Vec<f64> = advice.options.iter().map(|option| option.cost).collect();
    assert!(costs.iter().skip(1).all(|cost| *cost >= costs[0]), "{costs:?}");
    assert!(
        advice.options.iter().all(|option| option.cost > 0.0),
        "{:#?}",
        advice.options
    );
    assert_eq!(advice.options[0].action, action);
    if let (Some(from), Some(to)) = (advice.p_from, advice.p_to) {
        assert!(from < to);
    }
}

#[test]
fn a_young_machine_that_wears_runs_on_until_a_date() {
    let young = advice(&life(3.0, 20_000.0, 1_000.0), None, 99.0);
    check(&young, "date", "run on: planned work is cheapest in about");
    // β = 3, failure 11,000 for 3,500: Barlow and Hunter's optimum lies at an age of 0.62 η; its own survival
    // makes this one a little stronger than the class.
    let at = young.at.unwrap().seconds_since(Timestamp::from_secs(0)) / 3600.0;
    assert!((10_000.0..14_500.0).contains(&at), "{at}");
    assert!(young.cheapest_from.unwrap() < young.at.unwrap());
    assert_eq!(young.runner_up.as_deref(), Some("run_to_failure"));
    assert!(
        young.p_to.is_some(),
        "a worse machine is worked on now: {young:#?}"
    );
}

#[test]
fn a_worn_machine_is_worked_on_now() {
    let old = advice(&life(3.0, 20_000.0, 18_000.0), None, 60.0);
    check(&old, "now", "planned work now: ");
    assert!(old.p_from.is_some() && old.p_to.is_none(), "{old:#?}");
    assert_eq!(old.options.len(), 3, "{:#?}", old.options);
}

#[test]
fn a_stop_that_comes_anyway_is_taken_when_it_is_near() {
    let worn = life(3.0, 20_000.0, 14_000.0);
    check(
        &advice(&worn, Some(3.0), 60.0),
        "next_stop",
        "at the next planned stop, greasing in 3 d",
    );
    check(
        &advice(&worn, Some(0.0), 60.0),
        "next_stop",
        "together with greasing, which is due",
    );
    let late = advice(&worn, Some(1_000.0), 60.0);
    assert_ne!(late.action.as_deref(), Some("next_stop"), "{late:#?}");
}

#[test]
fn what_does_not_wear_out_runs_to_failure() {
    for shape in [0.7, 1.0] {
        let advice = advice(&life(shape, 20_000.0, 9_000.0), Some(5.0), 99.0);
        check(&advice, "run_to_failure", "because it doesn't wear out");
        assert_eq!((advice.at, advice.cheapest_from), (None, None));
    }
}

#[test]
fn a_failure_that_costs_no_more_than_the_work_is_waited_for() {
    let life = life(3.0, 20_000.0, 18_000.0);
    let prognosis = prognose(&life, &[], None, None);
    let advice = advise(&Situation {
        at: Timestamp::from_secs(0),
        health: 60.0,
        prognosis: &prognosis,
        life: &life,
        modes: &[mode(Some(10.0), Some(1000.0))],
        facts: &facts(Some(0.0), None),
    });
    check(&advice, "run_to_failure", "costs no more than planned work");
}

#[test]
fn an_interval_that_would_choose_otherwise_is_said() {
    let doubtful = advice(&life(3.0, 20_000.0, 12_500.0), None, 60.0);
    assert!(doubtful.uncertain(), "{doubtful:#?}");
    assert!(
        doubtful
            .text
            .unwrap()
            .contains("uncertain: with the probability at the")
    );
}

#[test]
fn doubtful_wear_out_is_said() {
    let failures = [40., 100., 220., 350., 480.].map(|age| 10.0 * age);
    let life = LifeFacts {
        lives: std::sync::Arc::new(Life::from_lists(&failures, &[5000.0; 5]).into()),
        ..life(2.0, 20_000.0, 3_000.0)
    };
    let advice = advice(&life, None, 99.0);
    assert!(
        advice
            .text
            .as_deref()
            .unwrap()
            .contains("wears out at all isn't shown"),
        "{advice:#?}"
    );
}

#[test]
fn without_costs_a_rule_speaks_and_says_what_is_missing() {
    #[track_caller]
    fn check(
        life: &LifeFacts,
        health: f64,
        modes: &[ModeFacts],
        downtime: Option<f64>,
        expect: (&str, &str),
    ) {
        let prognosis = prognose(life, modes, None, None);
        let advice = advise(&Situation {
            at: Timestamp::from_secs(0),
            health,
            prognosis: &prognosis,
            life,
            modes,
            facts: &facts(downtime, None),
        });
        assert_eq!(advice.action.as_deref(), Some(expect.0), "{advice:#?}");
        assert_eq!(advice.missing.join(", "), expect.1);
        assert!(advice.options.is_empty());
        if let Some(text) = advice.text {
            assert!(text.contains(&format!("not on record: {}", expect.1)), "{text}");
        }
    }
    let (calm, worn) = (life(2.0, 20_000.0, 1_000.0), life(3.0, 500.0, 100.0));
    let known = [mode(Some(10.0), Some(1000.0))];
    let bare = [mode(None, Some(1000.0))];
    let (downtime, repair) = (
        "downtime_cost_per_h of the asset",
        "repair_cost and repair_hours of a failure mode of class pump",
    );
    check(&calm, 99.0, &known, None, ("none", ""));
    check(&calm, 70.0, &known, None, ("watch", downtime));
    check(&calm, 20.0, &known, None, ("plan", downtime));
    check(&worn, 99.0, &bare, Some(10.0), ("plan", repair));
    let both = format!("{repair}, {downtime}");
    check(&worn, 99.0, &[], None, ("plan", &both));
    check(&life(3.0, 20.0, 10.0), 99.0, &known, None, ("now", downtime));
}

#[test]
fn nothing_known_of_a_new_one_compares_a_month() {
    let costs = Costs::new(1000.0, 10_000.0, 0.0);
    let hours = moments(Some(240.0), false);
    assert_eq!(hours.last(), Some(&720.0));
    let at = |hazard_per_h: f64| {
        let timeline = Timeline::new(&hours, hours.iter().map(|h| -(-h * hazard_per_h).exp_m1()));
        let case = Case {
            costs,
            renewal: None,
            stop: hours.iter().position(|hours| *hours == 240.0),
        };
        case.choose(&timeline).action()
    };
    assert_eq!(
        [at(1e-5), at(5e-4), at(0.01)],
        ["run_to_failure", "next_stop", "now"]
    );
}

#[test]
fn the_probabilities_at_the_ends_are_where_the_choice_changes() {
    let life = life(3.0, 20_000.0, 18_000.0);
    let costs = Costs::new(1000.0, 10_000.0, 0.0);
    let hours = moments(None, true);
    let curve: Curve = prognose(&life, &[], None, None).curve;
    let p = hours
        .iter()
        .map(|hours| -(-curve.unbounded_hazard(*hours).unwrap().value).exp_m1());
    let timeline = Timeline::new(&hours, p);
    let case = Case {
        costs,
        renewal: Renewal::new(&life.of_new().unwrap(), costs),
        stop: None,
    };
    let choice = case.choose(&timeline);
    let month = curve.p(720.0).unwrap().value;
    let (from, to) = probabilities(&case, &timeline, choice, month);
    let (from, at) = (from.unwrap(), |p: f64| {
        case.choose(&timeline.scaled((-p).ln_1p() / (-month).ln_1p()))
            .action()
    });
    assert_eq!((at(from * 1.01), to), ("now", None));
    assert_eq!(at(from * 0.99), "date");
    assert_eq!(HORIZONS_H.last(), Some(&720));
}

/// Hours until the choice is done; never is later than all.
fn when(case: &Case, hours: &[f64], timeline: &Timeline<'_>) -> f64 {
    match case.choose(timeline) {
        Choice::At(place) => hours[place],
        Choice::Stop => hours[case.stop.unwrap()],
        Choice::RunToFailure => f64::INFINITY,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_dearer_failure_or_a_cheaper_repair_never_puts_the_work_off(
        shape in 0.6..5.0f64, scale in 500.0..60_000.0f64,
        // Steps of the hazard on the way, of any shape: rising, falling, a hump.
        steps in prop::collection::vec(0.0..1.0f64, 8), size in -9.0..-2.0f64,
        repair in 1.0..10_000.0f64, downtime in 0.0..50_000.0f64, consequence in 0.0..50_000.0f64,
        dearer in 1.0..100_000.0f64, cheaper in 0.01..0.99f64, stop in prop::option::of(0.0..500.0f64), known in any::<bool>(),
    ) {
        let hours = moments(stop.map(|days| (days * 24.0).round()), known);
        let mut hazard = 0.0;
        let p = hours.iter().enumerate().map(|(place, h)| {
            if place > 0 {
                hazard += steps[place * steps.len() / hours.len()] * size.exp() * (h - hours[place - 1]);
            }
            -(-hazard).exp_m1()
        });
        let timeline = Timeline::new(&hours, p);
        let new = crate::prognosis::life::NewLife { life: Weibull::new(shape, scale).unwrap(), in_use: 1.0, shape_low: None };
        let stop = stop.and_then(|days| hours.iter().position(|hours| *hours == (days * 24.0).round()));
        let at = |costs: Costs| {
            let renewal = known.then(|| Renewal::new(&new, costs)).flatten();
            when(&Case { costs, renewal, stop }, &hours, &timeline)
        };
        let now = at(Costs::new(repair, downtime, consequence));
        prop_assert!(at(Costs::new(repair, downtime, consequence + dearer)) <= now);
        prop_assert!(at(Costs::new(repair * cheaper, downtime, consequence)) <= now);
    }
}

use models::db::assessment::Signature;
use models::id::FailureModeId;
use proptest::prelude::*;
use sqlx::types::Json;

use super::*;
use crate::detect::{Baseline, detect};
use crate::reliability::{Life, Weibull};
use crate::testing::{Machine, noise};

fn life() -> LifeFacts {
    LifeFacts {
        class: "pump".to_owned(),
        shape: Some(2.0),
        scale_h: Some(20_000.0),
        lives: Default::default(),
        age: Some((5_000.0, "hour meter")),
        in_use: 1.0,
    }
}

fn mode(code: &str, channels: &[&str], pf_interval_days: Option<f64>) -> ModeFacts {
    ModeFacts {
        id: FailureModeId::new(),
        code: code.to_owned(),
        name: code.replace('_', " "),
        signature: Json(Signature {
            channels: channels.iter().map(|c| (*c).to_owned()).collect(),
        }),
        pf_interval_days,
        repair_hours: None,
        repair_cost: None,
    }
}

/// A machine whose vibration rises by `per_day` from the third day on.
fn worn(per_day: f64) -> (Detection, Window) {
    let window = Machine::new(720)
        .measurement("vibration_de", |i| {
            2.0 + 0.05 * noise(i) + per_day * (i as f64 - 432.0).max(0.0) / 144.0
        })
        .measurement("filter_dp", |i| 0.3 + 0.01 * noise(i + 999))
        .window();
    let baseline = Baseline::learn(&window.head(288)).unwrap();
    (detect(&baseline, &window).unwrap(), window)
}

#[test]
fn the_class_alone_gives_the_conditional_weibull() {
    let prognosis = prognose(&life(), &[], None, None);
    let month = prognosis.p_fail.last().unwrap();
    let exact = Weibull::new(2.0, 20_000.0)
        .unwrap()
        .conditional_failure(5_000.0, 720.0);
    assert!(
        (month.p - exact).abs() < 0.05 * exact && month.low < exact && exact < month.high,
        "{month:?}"
    );
    assert!(
        month.basis.contains("no failure on record") && month.basis.contains("age 5000 h"),
        "{}",
        month.basis
    );
    assert_eq!((prognosis.rul, prognosis.mode), (None, None));
}

#[track_caller]
fn check_note(change: impl FnOnce(&mut LifeFacts), expect: &str) {
    let mut life = life();
    change(&mut life);
    let prognosis = prognose(&life, &[], None, None);
    assert!(prognosis.p_fail.is_empty());
    assert!(
        prognosis.notes.iter().any(|note| note.contains(expect)),
        "{:?}",
        prognosis.notes
    );
}

#[test]
fn what_is_not_known_is_said() {
    check_note(|life| life.age = None, "age unknown");
    check_note(|life| life.shape = None, "nothing can be said from life data");
    check_note(
        |life| {
            (life.shape, life.lives) = (
                None,
                std::sync::Arc::new(vec![Life::Suspended(900.0); 100].into()),
            )
        },
        "no failure on record",
    );
}

#[test]
fn failures_on_record_are_used_and_counted() {
    let with = |failures: &[f64]| {
        let mut life = life();
        life.lives = std::sync::Arc::new(Life::from_lists(failures, &[4000.0, 9000.0, 9000.0]).into());
        prognose(&life, &[], None, None).p_fail.last().unwrap().clone()
    };
    assert!(
        with(&[6000.0])
            .basis
            .contains("too few failures to fit a shape (1 failures"),
        "{}",
        with(&[6000.0]).basis
    );
    let fitted = with(&[3000.0, 5000.0, 6000.0, 7500.0, 8000.0]);
    assert!(
        fitted.basis.contains("fitted to 5 failures and 3 suspensions"),
        "{}",
        fitted.basis
    );
    assert!(fitted.low < fitted.p && fitted.p < fitted.high);
}

#[test]
fn a_trend_gives_a_remaining_life_near_the_truth() {
    let (detection, mut window) = worn(0.5);
    // Level 3 at the end, half a unit a day, limit 5: four days.
    window.series[0].channel.high_limit = Some(5.0);
    let prognosis = prognose(&life(), &[], Some((&detection, &window)), None);
    let rul = prognosis.rul.unwrap();
    let truth = 96.2;
    assert!(
        rul.p10_h < truth && rul.p90_h.is_none_or(|p90| p90 > truth) && (rul.p50_h - truth).abs() < 15.0,
        "{rul:?}"
    );
    let [day, week, month] = &prognosis.p_fail[..] else {
        panic!("three horizons")
    };
    assert!(
        day.p < 0.2 && week.p > 0.7 && month.p > 0.85 && month.high < 1.0,
        "{day:?} {week:?}"
    );
    assert!(
        week.basis
            .contains("trend of vibration_de towards its limit of 5"),
        "{}",
        week.basis
    );
    window.series[0].channel.high_limit = Some(2.5);
    let prognosis = prognose(&life(), &[], Some((&detection, &window)), None);
    assert!(
        prognosis
            .notes
            .iter()
            .any(|note| note.contains("past its limit of 2.5 already")),
        "{:?}",
        prognosis.notes
    );
}

#[test]
fn the_mode_is_the_one_whose_channels_deviate() {
    let (detection, window) = worn(0.5);
    let modes = [
        mode("filter_clogging", &["*dp*"], None),
        mode("bearing_wear", &["vibration*"], Some(3.0)),
        mode("other", &["*"], None),
    ];
    let prognosis = prognose(&life(), &modes, Some((&detection, &window)), None);
    assert_eq!(prognosis.mode, Some(1));
    let month = prognosis.p_fail.last().unwrap();
    assert!(month.p > 0.85, "{month:?}");
    let words = "bearing wear: 3 d from detectable to failed";
    assert!(month.basis.contains(words), "{}", month.basis);
    assert_eq!(
        prognose(&life(), &modes[..1], Some((&detection, &window)), None).mode,
        None
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn probabilities_are_in_order(age in 1.0..50_000.0f64, shape in 0.5..5.0f64, scale in 100.0..100_000.0f64, in_use in 0.05..1.0f64) {
        let life = LifeFacts { shape: Some(shape), scale_h: Some(scale), age: Some((age, "hour meter")), in_use, ..life() };
        let p_fail = prognose(&life, &[], None, None).p_fail;
        prop_assert_eq!(p_fail.len(), 3);
        for entry in &p_fail {
            prop_assert!(0.0 <= entry.low && entry.low <= entry.p && entry.p <= entry.high && entry.high <= 1.0, "{entry:?}");
        }
        prop_assert!(p_fail.windows(2).all(|pair| pair[0].p <= pair[1].p));
    }
}

#[test]
fn nothing_is_said_to_be_certain() {
    // A life long over, and a deviation as large as can be.
    let (detection, mut window) = worn(8.0);
    window.series[0].channel.high_limit = Some(100.0);
    for age in [10.0, 1e6] {
        let life = LifeFacts {
            age: Some((age, "hour meter")),
            scale_h: Some(10.0),
            ..life()
        };
        for entry in prognose(&life, &[], Some((&detection, &window)), None).p_fail {
            assert!(
                entry.low < 0.6 && entry.p < 0.95 && entry.high > entry.p && entry.high < 1.0,
                "{entry:?}"
            );
        }
    }
    let lives = (1..=40)
        .map(|i| Life::Failed(100.0 + i as f64))
        .collect::<Vec<_>>();
    let life = LifeFacts {
        age: Some((90.0, "hour meter")),
        lives: std::sync::Arc::new(lives.into()),
        ..life()
    };
    let month = prognose(&life, &[], None, None).p_fail.pop().unwrap();
    assert!(
        month.low > 0.8 && month.p > 0.9 && month.p < 1.0,
        "forty failures allow more: {month:?}"
    );
}

#[test]
fn a_life_with_an_open_end_says_what_it_holds() {
    let open = Left {
        rul: RemainingLife {
            p10_h: 48.0,
            p50_h: 240.0,
            p90_h: None,
        },
        low80_h: 120.0,
        cap_h: 300.0,
        runs: 20,
        within: Vec::new(),
        because: Vec::new(),
    };
    let says = |left: &Left| life_reason(left.rul, Some(left)).text;
    assert_eq!(
        says(&open),
        "about 10 d left, in 80 % of cases at least 5 d, by 20 runs to failure of its class"
    );
    let closed = Left {
        rul: RemainingLife {
            p90_h: Some(288.0),
            ..open.rul
        },
        low80_h: 48.0,
        ..open
    };
    assert!(
        says(&closed).starts_with("about 10 d left (48 h to 12 d)"),
        "{}",
        says(&closed)
    );
}

fn health_of(detection: &Detection, prognosis: &Prognosis) -> f64 {
    let mut reasons = crate::health::reasons(detection);
    reasons.extend(prognosis.reasons.iter().cloned());
    crate::health::index(reasons).value
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn further_past_a_limit_is_never_better(
        rise in 0.2..4.0f64, further in 0.05..4.0f64, place in 0.0..1.0f64, set in any::<bool>(), pf in prop::option::of(1.0..60.0f64),
    ) {
        let modes = [mode("bearing_wear", &["vibration*"], pf)];
        // The end lies at 2 + 2 · rise: the one machine may be before the limit or past it, the other is past it.
        let limit = 2.0 + 2.0 * (rise + further * place) - 0.3;
        let seen = |rise: f64| {
            let (detection, mut window) = worn(rise);
            window.series[0].channel.high_limit = set.then_some(limit);
            let prognosis = prognose(&life(), &modes, Some((&detection, &window)), None);
            (health_of(&detection, &prognosis), prognosis)
        };
        let ((near, before), (far, past)) = (seen(rise), seen(rise + further));
        if set {
            let rul = past.rul.unwrap();
            prop_assert_eq!((rul.p10_h, rul.p50_h, rul.p90_h), (0.0, 0.0, Some(0.0)));
            prop_assert!(before.rul.is_none_or(|before| before.p50_h >= 0.0));
            for (before, past) in before.p_fail.iter().zip(&past.p_fail) {
                prop_assert!(past.p >= before.p && past.low >= before.low && past.high >= before.high, "{:?} {:?}", before, past);
            }
            // Crumbs of a quarter of a point are left out.
            prop_assert!(far <= near + 1.0, "{} {}", near, far);
        }
    }
}

#[test]
fn past_its_limit_a_machine_is_not_well() {
    // The air handlers of the demonstration: the same wear, before and past a limit of people.
    let at = |limit: f64| {
        let (detection, mut window) = worn(0.5);
        window.series[0].channel.high_limit = Some(limit);
        let prognosis = prognose(&life(), &[], Some((&detection, &window)), None);
        (health_of(&detection, &prognosis), prognosis)
    };
    let ((near, before), (far, past)) = (at(3.05), at(2.8));
    assert!(far <= near, "{near} {far}");
    let p = |prognosis: &Prognosis| prognosis.p_fail.iter().map(|p| p.p).collect::<Vec<_>>();
    assert!(
        p(&before)
            .iter()
            .zip(p(&past))
            .all(|(before, past)| *before <= past)
            && p(&past)[0] > 0.85,
        "{:?} {:?}",
        p(&before),
        p(&past)
    );
    assert_eq!(past.rul.map(|rul| rul.p50_h), Some(0.0));
    assert!(
        past.p_fail[0].basis.contains("is past its limit of 2.8"),
        "{:?}",
        past.p_fail
    );
    let said: Vec<&str> = past.reasons.iter().map(|reason| reason.text.as_str()).collect();
    assert!(
        said.iter().any(|text| text.starts_with("nothing is left")),
        "{said:?}"
    );
}

#[test]
fn a_guessed_limit_counts_while_the_channel_moves() {
    let (detection, window) = worn(8.0);
    let prognosis = prognose(&life(), &[], Some((&detection, &window)), None);
    let rul = prognosis.rul.unwrap();
    assert!(rul.p50_h > 0.0 && rul.p50_h < 24.0, "{rul:?}");
    let text = &prognosis.reasons[0].text;
    assert!(
        text.contains("is past") && text.contains("are taken to be left"),
        "{text}"
    );
    // A step that went as far and stays there: nothing drives it on.
    let window = Machine::new(720)
        .measurement("vibration_de", |i| {
            2.0 + 0.05 * noise(i) + if i > 432 { 16.0 } else { 0.0 }
        })
        .window();
    let baseline = Baseline::learn(&window.head(288)).unwrap();
    let detection = detect(&baseline, &window).unwrap();
    let prognosis = prognose(&life(), &[], Some((&detection, &window)), None);
    assert_eq!(prognosis.rul, None, "{:?}", prognosis.notes);
    assert!(
        prognosis
            .notes
            .iter()
            .any(|note| note.contains("moves no further")),
        "{:?}",
        prognosis.notes
    );
}

#[test]
fn a_class_model_stands_unless_people_set_a_limit() {
    let foreseen = Foreseen {
        within: vec![
            (24, 0.02, 0.01, 0.05),
            (168, 0.1, 0.05, 0.2),
            (720, 0.3, 0.2, 0.4),
        ],
        failures: 40,
        ..Foreseen::default()
    };
    let at = |limit: Option<f64>| {
        let (detection, mut window) = worn(0.5);
        window.series[0].channel.high_limit = limit;
        prognose(&life(), &[], Some((&detection, &window)), Some(&foreseen))
    };
    let model = at(None);
    assert_eq!((model.p_fail[2].p, model.rul), (0.3, None));
    assert!(
        model.p_fail[2]
            .basis
            .starts_with("model of the class's 40 failures")
    );
    let past = at(Some(2.8));
    assert!(
        past.p_fail[0].p > 0.85 && past.p_fail[0].basis.contains("; vibration_de at"),
        "{:?}",
        past.p_fail
    );
    assert_eq!(past.rul.map(|rul| rul.p50_h), Some(0.0));
    // Likelier than not within the month: the model itself says when.
    let soon = Foreseen {
        within: vec![(24, 0.1, 0.05, 0.2), (168, 0.4, 0.3, 0.5), (720, 0.8, 0.6, 0.9)],
        ..foreseen
    };
    let rul = prognose(&life(), &[], None, Some(&soon)).rul.unwrap();
    assert!(
        (rul.p10_h - 24.0).abs() < 1e-6 && (168.0..720.0).contains(&rul.p50_h) && rul.p90_h.is_none(),
        "{rul:?}"
    );
}

/// Machines of several wear, calm to fast.
static WORN: std::sync::LazyLock<Vec<(Detection, Window)>> =
    std::sync::LazyLock::new(|| [0.0, 0.2, 0.5, 1.0, 3.0].map(worn).into());

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_said_of_the_future_agrees(
        machine in 0..5usize, limit in prop::option::of(2.1..12.0f64), pf in prop::option::of(1.0..90.0f64),
        age in prop::option::of(1.0..50_000.0f64), shape in 0.5..5.0f64, scale in 50.0..100_000.0f64,
        model in prop::option::of((0.0..0.9f64, 0.0..0.9f64, 0.0..0.9f64)),
        left in prop::option::of((1.0..2_000.0f64, 0.05..1.0f64, 1.0..4.0f64, 100.0..3_000.0f64, any::<bool>())),
    ) {
        let (detection, window) = &WORN[machine];
        let mut window = window.clone();
        window.series[0].channel.high_limit = limit;
        let life = LifeFacts { shape: Some(shape), scale_h: Some(scale), age: age.map(|age| (age, "hour meter")), ..life() };
        let left = left.map(|(p50_h, below, above, cap_h, open)| {
            let p50_h = p50_h.min(cap_h);
            let share = |h: f64| 0.95 * (1.0 - (-std::f64::consts::LN_2 * h / p50_h).exp());
            Left {
                rul: RemainingLife { p10_h: p50_h * below, p50_h, p90_h: (!open && p50_h < cap_h).then_some(p50_h * above) },
                low80_h: p50_h * below,
                cap_h,
                runs: 20,
                within: HORIZONS_H.iter().map(|h| {
                    let value = share(f64::from(*h));
                    (*h, Estimate { value, low: 0.7 * value, high: value + 0.02 })
                }).collect(),
                because: Vec::new(),
            }
        });
        let beyond = left.as_ref().filter(|left| left.beyond()).map(|left| left.cap_h);
        let foreseen = Foreseen {
            within: model.map_or_else(Vec::new, |(a, b, c)| {
                let mut p = [a, b, c];
                p.sort_by(f64::total_cmp);
                HORIZONS_H.iter().zip(p).map(|(h, p)| (*h, p, 0.6 * p, p + 0.05)).collect()
            }),
            failures: 15,
            life: left,
            ..Foreseen::default()
        };
        let modes = [mode("bearing_wear", &["vibration*"], pf)];
        let said = prognose(&life, &modes, Some((detection, &window)), Some(&foreseen));
        prop_assert!(said.p_fail.windows(2).all(|pair| pair[0].p <= pair[1].p && pair[0].high <= pair[1].high), "{:?}", said.p_fail);
        for entry in &said.p_fail {
            prop_assert!(0.0 <= entry.low && entry.low <= entry.p && entry.p <= entry.high && entry.high < 1.0, "{:?}", entry);
        }
        if let Some(rul) = said.rul {
            prop_assert!(0.0 <= rul.p10_h && rul.p10_h <= rul.p50_h && rul.p90_h.is_none_or(|p90| rul.p50_h <= p90), "{:?}", rul);
            for entry in &said.p_fail {
                let horizon = f64::from(entry.horizon_h);
                // "More than the cap" says nothing of what comes after it.
                let open = rul.p90_h.is_none() && beyond.is_some_and(|cap| rul.p50_h >= cap && horizon >= cap);
                prop_assert!((entry.p >= 0.5) == (rul.p50_h <= horizon) || open, "{:?} {:?}", rul, entry);
            }
        }
        for reason in &said.reasons {
            prop_assert!(!reason.text.contains(" 0 %") && !reason.text.contains("100 %") && !reason.text.contains("(0 to"), "{}", reason.text);
        }
    }
}

use super::data::tests::fleet;
use models::id::FailureModeId;

use super::train::{NoCandidate, candidate};
use super::*;

mod life;

fn named(channels: &[(String, Vec<f64>)]) -> Named<'_> {
    Named {
        channels,
        asset: vec![("errors_24h", 0.0)],
    }
}

#[test]
fn a_fleet_that_wears_is_learned_and_explained() {
    let rows = fleet(24, 300, |machine| (machine % 2 == 0).then_some(150 + 5 * machine));
    let candidate = candidate(&rows, None).unwrap();
    assert_eq!(candidate.leaks, []);
    let day = &candidate.figures["24h"];
    let (brier, base) = (
        day["brier"].as_f64().unwrap(),
        day["brier_of_base_rate"].as_f64().unwrap(),
    );
    assert!(brier < 0.7 * base && day["auc"].as_f64().unwrap() > 0.95, "{day}");
    assert!(day["by_time"]["brier"].as_f64().is_some(), "{day}");
    let model = candidate.model;
    let row = |level: f64| {
        let mut numbers = vec![0.0; NAMES.len()];
        numbers[0] = level;
        vec![("vibration".to_owned(), numbers)]
    };
    let (calm, worn) = (row(0.0), row(4.5));
    let (calm, worn) = (model.foresee(&named(&calm)), model.foresee(&named(&worn)));
    let month = |seen: &Foreseen| *seen.within.last().unwrap();
    assert!(
        month(&worn).1 > 0.5 && worn.within[0].1 > 0.5 && calm.within[0].1 < 0.1,
        "{calm:?} {worn:?}"
    );
    assert_eq!(worn.because[0].0, "vibration.last");
    for seen in [&calm, &worn] {
        assert!(
            seen.within.windows(2).all(|pair| pair[0].1 <= pair[1].1),
            "{seen:?}"
        );
        assert!(
            seen.within
                .iter()
                .all(|(_, p, low, high)| low <= p && p <= high && high - low > 0.01),
            "{seen:?}"
        );
    }
    // The same rows give the same bits, and so does the stored form.
    let text = serde_json::to_string(&model).unwrap();
    assert_eq!(serde_json::from_str::<FailureModel>(&text).unwrap(), model);
    let always = Timestamp::from_secs(0);
    let (reasons, shifts, figures) = drift::together(Some(&model), None, &rows, always);
    assert!(reasons.is_empty(), "{reasons:?} {:?}", shifts.first());
    assert!(figures[FailureModel::NAME]["24h"]["brier"].is_f64(), "{figures}");
    let mut moved = rows.clone();
    moved.x += 2.0;
    let (reasons, ..) = drift::together(Some(&model), None, &moved, always);
    assert!(reasons[0].contains("distributed otherwise"), "{reasons:?}");
}

#[test]
fn a_trained_class_has_its_pictures() {
    let rows = fleet(24, 300, |machine| (machine % 2 == 0).then_some(150 + 5 * machine));
    let trained = train::Trained {
        tenant: "works".to_owned(),
        class: "pump".to_owned(),
        name: FailureModel::NAME,
        rows: rows.len(),
        assets: rows.assets(),
        outcome: "candidate",
        model: None,
        version: None,
        why: Vec::new(),
        leaks: Vec::new(),
        figures: serde_json::Value::Object(candidate(&rows, None).unwrap().figures),
        lives: Vec::new(),
    };
    let folder = tempfile::tempdir().unwrap();
    let drawn = draw::draw(&trained, &folder.path().join("new")).unwrap();
    assert!(drawn.contains(&"reliability_24h.svg".to_owned()), "{drawn:?}");
    let text = std::fs::read_to_string(folder.path().join("new/reliability_24h.svg")).unwrap();
    assert!(text.contains("pump, failure within 24h"));
    let nothing = train::Trained {
        figures: serde_json::Value::Null,
        ..trained
    };
    assert_eq!(draw::draw(&nothing, folder.path()).unwrap(), [""; 0]);
}

/// A challenger and a champion are compared where neither knew the answer: the champion what became of a row, the
/// challenger the machine.
#[test]
fn a_challenger_is_compared_on_what_is_new_to_both() {
    let rows = fleet(24, 300, |machine| (machine % 2 == 0).then_some(150 + 5 * machine));
    let mut champion = candidate(&rows, None).unwrap().model;
    let why = |champion: &FailureModel| judge::better(&candidate(&rows, Some(champion)).unwrap().figures);
    let same = why(&champion).unwrap_err();
    assert!(
        same.contains("0 failures are new since the champion was learned"),
        "{same}"
    );
    // One of before it was noted may have seen everything.
    champion.known_until = None;
    assert_eq!(why(&champion).unwrap_err(), same);
    // It pretends to have seen nothing: what it has learned by heart it knows better.
    champion.known_until = Some(Timestamp::from_secs(0));
    let known = why(&champion).unwrap_err();
    assert!(
        known.contains("no better than the champion on the 12 failures that are new to both"),
        "{known}"
    );
    // One that says the same of every row is beaten.
    for horizon in &mut champion.horizons {
        horizon.calibration =
            Calibration::fit(&[0.5; 100], &[true, false].repeat(50), &[1.0; 100], 50).unwrap();
    }
    assert_eq!(why(&champion), Ok(()));
    champion.layout.channels[0] = "another".to_owned();
    assert!(
        why(&champion)
            .unwrap_err()
            .contains("its features are others than the champion's")
    );
}

#[test]
fn remaining_life_and_baselines_are_watched_too() {
    let rows = fleet(40, 500, |machine| (machine % 2 == 0).then_some(150 + 5 * machine));
    let model = remaining::candidate(&rows, None).unwrap().model;
    let since = |rows: &data::Rows| rows.known_until.plus_seconds(-300.0 * 3600.0);
    let calm = drift::lives(&model, &rows, since(&rows));
    assert!(calm.reasons.is_empty(), "{calm:?}");
    assert!(
        calm.figures["runs"].as_u64().unwrap() >= 3 && calm.figures["coverage80"].as_f64().unwrap() > 0.6
    );
    // The machines run on for four days after what used to be their end.
    let mut tough = rows.clone();
    for label in &mut tough.labels {
        label.at = label.at.plus_seconds(100.0 * 3600.0);
    }
    let seen = drift::lives(&model, &tough, since(&tough));
    let words = seen.reasons.join("; ");
    assert!(
        words.contains("intervals of remaining life that say 80 % held"),
        "{seen:?}"
    );

    assert_eq!(drift::baselines(&rows, since(&rows)).reasons, [""; 0]);
    let names = rows.layout.names();
    let place = names.iter().position(|name| name == "vibration.z_short").unwrap();
    let mut moved = rows.clone();
    let apart: Vec<_> = moved.groups().iter().map(|group| group % 3 == 0).collect();
    for (row, apart) in apart.into_iter().enumerate() {
        moved.x[[row, place]] += if apart { 5.0 } else { 0.0 };
    }
    let seen = drift::baselines(&moved, since(&moved));
    assert!(
        seen.reasons[0].contains("stood more than 3 spreads away from their baselines"),
        "{seen:?}"
    );
    // One machine alone is a finding about that machine.
    let mut one = rows.clone();
    let group = one.groups();
    for (row, group) in group.into_iter().enumerate() {
        one.x[[row, place]] += if group == 1 { 9.0 } else { 0.0 };
    }
    assert_eq!(drift::baselines(&one, since(&one)).reasons, [""; 0]);
}

/// Of 10,000 rows 2 % fail, and nearly all of those stand in the highest hundredth.
#[test]
fn at_a_low_base_rate_what_is_worth_an_interval_has_one_of_its_own() {
    let score: Vec<f64> = (0..10_000).map(|i| f64::from(i) / 10_000.0).collect();
    let y: Vec<bool> = (0..10_000)
        .map(|i| match i {
            9_900.. => i % 10 != 0,
            9_600.. => i % 4 == 0,
            _ => i % 960 == 7,
        })
        .collect();
    let calibration = Calibration::fit(&score, &y, &[1.0; 10_000], 100).unwrap();
    let (p, low, high) = calibration.probability(0.995);
    assert!(p > 0.85 && low > 0.7 && high < 0.98, "{p} {low} {high}");
    let (p, low, high) = calibration.probability(0.975);
    assert!(
        (p - 0.25).abs() < 0.05 && low > 0.1 && high < 0.45,
        "{p} {low} {high}"
    );
    let (p, low, high) = calibration.probability(0.5);
    assert!(p < 0.01 && low <= p && high < 0.02, "{p} {low} {high}");
}

#[test]
fn a_label_that_is_half_sure_counts_half() {
    let score: Vec<f64> = (0..1000).map(|i| f64::from(i % 2)).collect();
    let y: Vec<bool> = (0..1000).map(|i| i % 4 == 1).collect();
    let weights = |of: f64| -> Vec<f64> { y.iter().map(|y| if *y { of } else { 1.0 }).collect() };
    let p = |of: f64| {
        Calibration::fit(&score, &y, &weights(of), 50)
            .unwrap()
            .probability(1.0)
    };
    let (sure, half) = (p(1.0), p(0.5));
    assert!(
        (sure.0 - 0.5).abs() < 1e-12 && (half.0 - 1.0 / 3.0).abs() < 1e-12,
        "{sure:?} {half:?}"
    );
    assert!(half.2 < sure.2, "{sure:?} {half:?}");
}

/// The way to fail that has failures enough learns its own signs; the other is parted by life data.
#[test]
fn a_way_to_fail_with_failures_enough_has_a_model_of_its_own() {
    let mut rows = fleet(48, 300, |machine| (machine % 2 == 0).then_some(120 + 3 * machine));
    let (wear, leak) = (FailureModeId::new(), FailureModeId::new());
    // Every other failure is a leak: it shows in the second feature, not in the first.
    let mut leaking = std::collections::BTreeMap::new();
    for (place, label) in rows.labels.iter_mut().enumerate() {
        let (mode, name) = if place % 2 == 0 {
            (wear, "Wear")
        } else {
            (leak, "Leak")
        };
        label.mode = Some((mode, name.to_owned()));
        if mode == leak {
            leaking.insert(label.asset, label.at);
        }
    }
    for row in 0..rows.len() {
        let Some(at) = leaking.get(&rows.asset[row]) else {
            continue;
        };
        let before = at.seconds_since(rows.at[row]) / 3600.0;
        let rise = if before > 0.0 {
            4.0 * (1.0 - before / 72.0).max(0.0)
        } else {
            0.0
        };
        rows.x[[row, 0]] -= rise;
        rows.x[[row, 1]] += rise;
    }
    let found = candidate(&rows, None).unwrap();
    assert_eq!(found.model.modes.len(), 2, "{}", found.figures["modes"]);
    assert!(
        found.figures["modes"]["Wear"]["24h"]["auc"].as_f64().unwrap() > 0.9,
        "{:?}",
        found.figures["modes"]
    );
    let row = |place: usize| {
        let mut numbers = vec![0.0; NAMES.len()];
        numbers[place] = 4.5;
        vec![("vibration".to_owned(), numbers)]
    };
    let of = |place: usize, mode: FailureModeId| {
        let row = row(place);
        let seen = found.model.foresee(&named(&row));
        seen.modes
            .iter()
            .find(|part| part.mode == mode && part.horizon_h == 24)
            .unwrap()
            .p
    };
    assert!(of(0, wear) > 3.0 * of(0, leak) && of(1, leak) > 3.0 * of(1, wear));
    // One report less and it is not enough; versions of before there were such models can be read.
    rows.labels.truncate(18);
    assert_eq!(candidate(&rows, None).unwrap().model.modes, []);
    let mut old = serde_json::to_value(&found.model).unwrap();
    old.as_object_mut().unwrap().remove("modes");
    assert_eq!(serde_json::from_value::<FailureModel>(old).unwrap().modes, []);
}

/// The feature that tells fails from others in the first months means nothing in the last: machines don't show it, time
/// does.
#[test]
fn what_the_newest_part_of_the_time_denies_is_refused() {
    let mut rows = fleet(60, 300, |machine| {
        Some(if machine % 2 == 0 {
            60 + machine
        } else {
            190 + machine
        })
    });
    let early: std::collections::BTreeSet<_> =
        rows.labels.iter().step_by(2).map(|label| label.asset).collect();
    let start = rows.at[0];
    for row in 0..rows.len() {
        let hours = rows.at[row].seconds_since(start) / 3600.0;
        // Late machines show in sound hours what the early ones showed before they failed, and nothing before they do.
        if !early.contains(&rows.asset[row]) {
            let label = rows
                .labels
                .iter()
                .find(|label| label.asset == rows.asset[row])
                .unwrap();
            let left = label.at.seconds_since(rows.at[row]) / 3600.0;
            rows.x[[row, 0]] = if hours > 170.0 && !(0.0..48.0).contains(&left) {
                4.0
            } else {
                0.0
            };
        }
    }
    let found = candidate(&rows, None).unwrap();
    let figures = &found.figures["24h"];
    assert!(figures["by_time"]["failures"].as_u64().unwrap() >= 3, "{figures}");
    let why = judge::left_out(figures);
    assert!(figures["left_out"] == true && why.is_some(), "{figures}");
    let mut told = found.figures.clone();
    told["24h"]["brier"] = serde_json::json!(0.0);
    told.retain(|name, _| name == "24h");
    let why = judge::refused(&told).unwrap();
    assert!(why.contains("is worse than the base rate on the"), "{why}");
    assert!(
        found.limits.iter().any(|limit| limit.starts_with("within 24 h ")),
        "{:?}",
        found.limits
    );
}

#[track_caller]
fn refused(rows: &data::Rows, words: &str) {
    let text = candidate(rows, None).unwrap_err().to_string();
    assert!(text.contains(words), "{text}");
}

#[test]
fn what_can_not_be_learned_from_is_said() {
    refused(&fleet(1, 100, |_| None), "only 100 rows of features");
    refused(&fleet(8, 100, |_| None), "0 failures of 0 machines");
    refused(&fleet(1, 400, |_| Some(200)), "1 failures of 1 machines");
    // Five failures and a hundred machines that never failed.
    refused(
        &fleet(105, 60, |machine| (machine < 5).then_some(50)),
        "5 failures of 5 machines have features",
    );
    let none = candidate(&fleet(3, 10, |_| None), None).unwrap_err();
    assert_eq!(none, NoCandidate::TooFewRows { found: 30 });
}

#[test]
fn perfectly_separable_rows_are_named_and_do_not_break_the_fit() {
    let mut rows = fleet(12, 120, |machine| Some(80 + machine));
    let labelled = rows.labelled(24.0);
    for (row, y) in labelled.rows.iter().zip(&labelled.y) {
        rows.x[[*row, 3]] = f64::from(u8::from(*y));
    }
    let candidate = candidate(&rows, None).unwrap();
    assert!(
        candidate
            .leaks
            .iter()
            .any(|leak| leak.feature == rows.layout.names()[3] && leak.kind == "knows_label"),
        "{:?}",
        candidate.leaks
    );
    let last = candidate.model.horizons.last().unwrap();
    assert!(last.calibration.probability(1.0).1 < 1.0, "never certain");
}

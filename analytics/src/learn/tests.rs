use super::data::tests::fleet;
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
    };
    let folder = tempfile::tempdir().unwrap();
    let drawn = train::draw(&trained, &folder.path().join("new")).unwrap();
    assert!(drawn.contains(&"reliability_24h.svg".to_owned()), "{drawn:?}");
    let text = std::fs::read_to_string(folder.path().join("new/reliability_24h.svg")).unwrap();
    assert!(text.contains("pump, failure within 24h"));
    let nothing = train::Trained {
        figures: serde_json::Value::Null,
        ..trained
    };
    assert_eq!(train::draw(&nothing, folder.path()).unwrap(), [""; 0]);
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
        horizon.calibration = Calibration::fit(&[0.5; 100], &[true, false].repeat(50), 50).unwrap();
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

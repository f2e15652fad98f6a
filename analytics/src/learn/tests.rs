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
    let (retrain, reasons, shifts, _) = drift::look(&model, &rows);
    assert!(!retrain, "{reasons:?} {:?}", shifts.first());
    let mut moved = rows.clone();
    moved.x += 2.0;
    let (retrain, reasons, ..) = drift::look(&model, &moved);
    assert!(
        retrain && reasons[0].contains("distributed otherwise"),
        "{reasons:?}"
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

use super::*;
use crate::features::NAMES;
use crate::learn::data::Rows;
use crate::learn::data::tests::fleet;
use crate::testing::noise;

/// Forty machines, every other one wears for three days and fails.
fn wearing() -> Rows {
    fleet(40, 500, |machine| (machine % 2 == 0).then_some(150 + 5 * machine))
}

fn row(level: f64) -> Vec<(String, Vec<f64>)> {
    let mut numbers: Vec<f64> = (0..NAMES.len()).map(|place| noise(9_000 + place)).collect();
    numbers[0] = level;
    vec![("vibration".to_owned(), numbers)]
}

fn named(channels: &[(String, Vec<f64>)]) -> Named<'_> {
    Named {
        channels,
        asset: vec![("errors_24h", 0.0)],
    }
}

fn figure(candidate: &Candidate, name: &str) -> f64 {
    candidate.figures[name].as_f64().unwrap()
}

#[test]
fn runs_to_failure_are_learned_judged_and_explained() {
    let candidate = candidate(&wearing(), None).unwrap();
    assert_eq!((&candidate.leaks[..], &candidate.better), (&[][..], &Ok(())));
    // Runs of 150 to 340 hours: six tenths of their median.
    assert_eq!((candidate.model.runs, candidate.model.cap_h), (20, 147.0));
    assert!(
        figure(&candidate, "rmse_h") < 0.78 * figure(&candidate, "rmse_of_constant_h"),
        "{:?}",
        candidate.figures
    );
    // Half of what comes before the cap shows nothing yet. Where most labels stand at the cap an interval holds more than it says, never less.
    let coverage = figure(&candidate, "coverage80");
    assert!((0.75..=0.99).contains(&coverage), "{coverage}");
    assert!(figure(&candidate, "shorter_than_p10") < 0.15);
    assert!(
        candidate.figures["by_time"]["rmse_h"].is_f64(),
        "{:?}",
        candidate.figures
    );

    let model = candidate.model;
    let (calm, worn) = (row(0.0), row(3.0));
    let (calm, worn) = (
        model.foresee(&named(&calm)).unwrap(),
        model.foresee(&named(&worn)).unwrap(),
    );
    // A level of 3 is reached 18 hours before the end.
    assert!(!worn.beyond() && worn.rul.p50_h < 50.0, "{worn:?}");
    assert!(
        worn.rul.p10_h <= worn.rul.p50_h && worn.rul.p90_h.is_none_or(|p90| worn.rul.p50_h <= p90),
        "{worn:?}"
    );
    assert_eq!(worn.because[0], "vibration.last");
    assert!(calm.beyond() && calm.rul.p90_h.is_none(), "{calm:?}");
    for seen in [&calm, &worn] {
        assert!(
            seen.within
                .windows(2)
                .all(|pair| pair[0].1.value <= pair[1].1.value)
        );
        assert!(
            seen.within
                .iter()
                .all(|(_, p)| p.low <= p.value && p.value <= p.high && p.high > p.low)
        );
    }
    assert!(
        worn.within[1].1.value > 0.8 && calm.within[0].1.value < 0.05,
        "{worn:?} {calm:?}"
    );
    // The stored form says the same to the last bit.
    let text = serde_json::to_string(&model).unwrap();
    let opened: RemainingModel = serde_json::from_str(&text).unwrap();
    assert_eq!(opened, model);
    assert_eq!(
        opened.foresee(&named(&row(2.0))),
        model.foresee(&named(&row(2.0)))
    );
    // And a row that lacks most of it is not judged.
    let note = model.foresee(&named(&[])).unwrap_err();
    assert!(note.contains("1 of 16 features"), "{note}");
}

#[track_caller]
fn refused(rows: &Rows, expect: NoCandidate) {
    assert_eq!(candidate(rows, None).unwrap_err(), expect);
}

#[test]
fn what_is_missing_is_said() {
    let too_few = |runs, machines| NoCandidate::TooFewRuns { runs, machines };
    refused(&fleet(10, 100, |_| None), too_few(0, 0));
    refused(
        &fleet(60, 300, |machine| (machine < 9).then_some(200)),
        too_few(9, 9),
    );
    // Work that came before the failure doesn't end a run: how long it would have gone on nobody knows.
    let mut rows = wearing();
    for label in rows.labels.iter_mut().take(12) {
        label.source = "prediction".to_owned();
    }
    refused(&rows, too_few(8, 8));
    let words = too_few(9, 9).to_string();
    assert!(
        words.contains("10 runs to failure of 5 machines") && words.contains("9 runs of 9 machines"),
        "{words}"
    );
}

#[test]
fn noise_is_learned_from_but_does_not_stand() {
    let mut rows = wearing();
    for (place, value) in rows.x.iter_mut().enumerate() {
        *value = noise(place);
    }
    let candidate = candidate(&rows, None).unwrap();
    let why = candidate.better.unwrap_err();
    assert!(why.contains("hardly tell how much life is left"), "{why}");
}

#[test]
fn a_feature_that_counts_down_is_named() {
    let mut rows = wearing();
    for row in 0..rows.len() {
        let end = rows
            .labels
            .iter()
            .find(|label| label.asset == rows.asset[row] && label.at > rows.at[row]);
        rows.x[[row, 2]] = end.map_or(1e6, |end| end.at.seconds_since(rows.at[row]));
    }
    let candidate = candidate(&rows, None).unwrap();
    assert!(
        candidate
            .leaks
            .iter()
            .any(|leak| leak.feature == rows.layout.names()[2]),
        "{:?}",
        candidate.leaks
    );
}

#[test]
fn a_challenger_is_compared_on_what_is_new_to_both() {
    let rows = wearing();
    let mut champion = candidate(&rows, None).unwrap().model;
    let same = candidate(&rows, Some(&champion)).unwrap();
    let why = same.better.unwrap_err();
    assert!(why.contains("0 runs to failure are new"), "{why}");
    // It pretends to know nothing: all is new, and what it has learned by heart it knows better.
    champion.known_until = Timestamp::from_secs(0);
    let why = candidate(&rows, Some(&champion)).unwrap().better.unwrap_err();
    assert!(
        why.contains("no better than the champion on the 20 runs"),
        "{why}"
    );
    // One that always says the same is beaten.
    let features = champion.booster.features.clone();
    let params = crate::boost::Params {
        rounds: 1,
        ..Default::default()
    };
    let same = vec![70.0; rows.len()];
    let training = crate::boost::Training::new(rows.x.view(), &same);
    champion.booster = Booster::fit(&params, &features, training).unwrap();
    let beaten = candidate(&rows, Some(&champion)).unwrap();
    assert_eq!(beaten.better, Ok(()), "{:?}", beaten.figures["against_champion"]);
}

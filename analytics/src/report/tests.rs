mod refused;
mod repaired;
mod told_apart;

use serde_json::{Value, json};

use super::*;

fn of_columns(text: &str, covariates: &[&str]) -> Result<Lives> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lives.csv");
    std::fs::write(&path, text).unwrap();
    let covariates: Vec<String> = covariates.iter().map(|name| (*name).to_owned()).collect();
    read(&path, &covariates)
}

fn of(text: &str) -> Result<Lives> {
    of_columns(text, &[])
}

fn looked(text: &str, args: &Args) -> Report {
    report(&of(text).unwrap(), args, None).unwrap()
}

fn object(text: &str) -> Value {
    serde_json::to_value(looked(text, &Args::default())).unwrap()
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in\n{text}");
    }
}

fn costs(planned: f64, failure: f64) -> Args {
    Args {
        costs: Some(Costs { planned, failure }),
        ..Args::default()
    }
}

const FOUR: &str = "age,status\n400,failed\n700,F\n900,1\n1300,failed\n2000,suspended\n2000,S\n";

#[test]
fn a_file_of_lives_is_reported_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let report = report(&of(FOUR).unwrap(), &costs(1.0, 20.0), Some(folder.path())).unwrap();
    for name in ["weibull.svg", "cost.svg"] {
        assert!(folder.path().join(name).exists(), "{name}");
        assert!(
            report
                .text()
                .contains(&format!("drawn: {}", folder.path().join(name).display()))
        );
    }
    let report = serde_json::to_value(report).unwrap();
    assert_eq!(
        (&report["failures"], &report["suspensions"]),
        (&json!(4), &json!(2))
    );
    assert!(
        report["replacement"]["uncertain"]["wear_out_in_doubt"].is_boolean(),
        "{report}"
    );
}

#[test]
fn every_interval_contains_its_estimate() {
    let found = object(FOUR);
    let weibull = &found["weibull"];
    let within = |bounds: &Value, value: &Value| {
        let [low, high, value] = [&bounds["low"], &bounds["high"], value].map(|v| v.as_f64().unwrap());
        assert!(low < value && value < high, "{value} is not in {bounds}");
    };
    within(&weibull["shape_bounds"], &weibull["shape"]);
    within(&weibull["scale_bounds"], &weibull["scale"]);
    within(&weibull["b10_bounds"], &weibull["b10"]);
    within(&weibull["likelihood_ratio_bounds"]["shape"], &weibull["shape"]);
    within(&weibull["likelihood_ratio_bounds"]["scale"], &weibull["scale"]);
}

#[test]
fn few_failures_zero_failures_and_one_asset_are_said() {
    let mut five = String::from("age,status\n");
    (1..=5).for_each(|i| five.push_str(&format!("{},failed\n", 300 * i)));
    (0..100).for_each(|_| five.push_str("2000,suspended\n"));
    let found = object(&five);
    assert_eq!(found["basis"], "Weibull fitted to 5 failures and 100 suspensions");
    assert!(
        found["weibull"]["scale_bounds"]["low"].as_f64().unwrap() > 2000.0,
        "{found}"
    );
    let none = "age,status\n900,suspended\n800,suspended\n";
    let found = object(none);
    assert!(
        found["basis"].as_str().unwrap().contains("too few failures"),
        "{found}"
    );
    assert!(
        found["weibull"]["scale_at_most"].is_null()
            && found["weibull"]["scale_at_least"].as_f64().unwrap() > 0.0
    );
    // The picture that isn't there is said.
    let folder = tempfile::tempdir().unwrap();
    let drawn = report(&of(none).unwrap(), &Args::default(), Some(folder.path())).unwrap();
    assert!(!folder.path().join("weibull.svg").exists());
    says(
        &drawn.text(),
        &[
            "no failure was observed",
            "nothing limits it above",
            "weibull.svg: without a failure there is no point to draw",
            "MTBF without a failure: ",
        ],
    );
    for (text, why) in [
        ("age,status\n900,failed\n", "1 failure is too few, 3 are needed"),
        (
            "age,status\n900,failed\n950,failed\n",
            "2 failures are too few, 3 are needed",
        ),
        ("age,status\n900,failed\n900,failed\n900,failed\n", "no spread"),
    ] {
        let found = looked(text, &Args::default());
        says(&found.text(), &[why, "assumed"]);
        let why_of = &serde_json::to_value(found).unwrap()["weibull"]["why"];
        assert!(why_of.as_str().unwrap().contains(why), "{why_of}");
    }
}

#[test]
fn five_failures_and_a_hundred_suspensions_carry_their_doubt_in_words() {
    let mut five = String::from("age,status\n");
    for age in [300, 700, 1100, 1500, 1900] {
        five.push_str(&format!("{age},failed\n"));
    }
    (0..100).for_each(|_| five.push_str("2000,suspended\n"));
    let found = looked(&five, &costs(400.0, 9000.0));
    let text = found.text();
    says(
        &text,
        &[
            "the bounds of the shape include 1",
            "beyond the oldest age seen (2000 h): B10, the upper bound of B10, the scale, the upper bound of the scale;",
            "running to failure is cheapest in ",
            "no age to replace at is shown by these data",
            "to run to failure)",
        ],
    );
    assert!(!text.contains("\nreplace at"), "{text}");
    let planned = found.replacement.unwrap();
    let planned = planned.found().unwrap();
    assert!(
        planned.doubts.len() >= 2 && planned.best.age().is_some(),
        "{planned:?}"
    );

    // Where wear-out is plain, so is the answer.
    let mut plain = String::from("age,status\n");
    (0..40).for_each(|i| plain.push_str(&format!("{},failed\n", 800 + 10 * i)));
    let text = looked(&plain, &costs(400.0, 9000.0)).text();
    says(&text, &["\nreplace at ", "MTBF is a mean over the ages seen"]);
    assert!(!text.contains("include 1") && !text.contains("beyond"), "{text}");

    // And where the part surely doesn't wear out.
    let text = looked(&five, &costs(9000.0, 400.0)).text();
    says(
        &text,
        &["run to failure: a failure costs no more than a planned replacement"],
    );
}

#[test]
fn intervals_are_said_where_they_are_taken_at_their_end() {
    let text =
        "age,status,age_to\n100,failed,200\n0,failed,150\n300,failed,420\n500,suspended,\n310,failed,\n";
    let found = looked(text, &Args::default());
    assert_eq!(found.intervals, 3);
    says(
        &found.text(),
        &[
            "3 failures known to an interval: the fit takes them so; Kaplan-Meier, MTBF and an assumed shape take them at",
        ],
    );
}

#[test]
fn numbers_have_four_digits() {
    let shown = [
        0.0,
        1.0,
        0.0034620427,
        1.7207973,
        606.5,
        22705.4,
        3.5e12,
        2e-7,
        f64::INFINITY,
    ]
    .map(figures::number);
    assert_eq!(
        shown,
        [
            "0", "1", "0.003462", "1.721", "606.5", "22705", "3.500e12", "2.000e-7", "open"
        ]
    );
    assert_eq!(
        [0.9, 0.975, 0.4912].map(figures::percent),
        ["90 %", "97.5 %", "49.1 %"]
    );
}

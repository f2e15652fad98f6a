//! Groups, causes and covariates.

use super::*;

#[test]
fn groups_are_compared() {
    let mut text = String::from("age,status,group\n");
    for i in 0..12 {
        text.push_str(&format!(
            "{},failed,north\n{},failed,south\n",
            100 + 10 * i,
            400 + 30 * i
        ));
    }
    text.push_str("900,suspended,south\n");
    let found = looked(&text, &Args::default());
    says(
        &found.text(),
        &[
            "log-rank over 2 groups: chi-square ",
            "p < .001",
            "  north: 12 lives, 12 failures, half survive 150 h; shape ",
        ],
    );
    let found = serde_json::to_value(found).unwrap();
    assert_eq!(found["groups"]["groups"][1]["kaplan_meier"][0]["at_risk"], 13);
    let alone = looked(
        "age,status,group\n10,failed,a\n20,failed,a\n30,failed,a\n",
        &Args::default(),
    );
    says(
        &alone.text(),
        &["log-rank: all lives are of one group; a comparison needs two"],
    );
    let apart = "age,status,group\n10,suspended,a\n20,failed,b\n30,failed,b\n";
    says(
        &looked(apart, &Args::default()).text(),
        &["the groups can't be compared"],
    );
}

#[test]
fn causes_compete() {
    let mut text = String::from("age,status,cause\n");
    for i in 0..8 {
        text.push_str(&format!(
            "{},failed,bearing\n{},failed,seal\n",
            800 + 30 * i,
            100 + 120 * i
        ));
    }
    text.push_str("1200,suspended,\n1200,suspended,\n");
    let found = looked(&text, &Args::default());
    says(
        &found.text(),
        &["  bearing: 8 failures, ", " of all by 1200 h; shape "],
    );
    let causes = found.causes.as_ref().unwrap().found().unwrap();
    let shape = |place: usize| match causes.causes[place].weibull.found().unwrap() {
        Distribution::Fitted(fit) => fit.shape,
        Distribution::Assumed(of) => panic!("{of:?}"),
    };
    // Bearings wear out; seals fail at any age.
    assert!(shape(0) > 4.0 && shape(1) < 2.0, "{causes:?}");
    let last = causes.cumulative_incidence.found().unwrap().last().unwrap();
    assert!((last.survival + last.incidence.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    let shares: Vec<f64> = causes.causes.iter().filter_map(|cause| cause.share).collect();
    assert_eq!(shares, last.incidence);
}

#[test]
fn covariates_act_on_the_life_or_say_why_not() {
    let mut text = String::from("age,status,load,shift\n");
    for i in 0_i32..40 {
        let load = i % 5;
        text.push_str(&format!(
            "{},failed,{load},{}\n",
            1000 - 150 * load + 7 * (i * 13 % 40),
            i % 3
        ));
    }
    let with = |names: &[&str]| report(&of_columns(&text, names).unwrap(), &Args::default(), None).unwrap();
    let found = with(&["load", "shift"]);
    let covariates = found.covariates.as_ref().unwrap().found().unwrap();
    let (cox, aft) = (covariates.cox.found(), covariates.weibull_aft.found().unwrap());
    assert!(
        aft.effects[0].factor < 1.0 && aft.effects[0].p_value < 0.001,
        "{aft:?}"
    );
    assert!(cox.is_none_or(|cox| cox.effects[0].factor > 1.0));
    says(&found.text(), &["Weibull AFT: shape ", "  load: life times 0."]);
    says(
        &with(&["load"]).text(),
        &["note: not used: column shift (columns of numbers can be named by --covariates)"],
    );
    // A column that separates is named, not estimated.
    let mut parted = String::from("age,status,old\n");
    (1..=30).for_each(|i| parted.push_str(&format!("{},failed,{}\n", 10 * i, i32::from(i <= 15))));
    let found = report(&of_columns(&parted, &["old"]).unwrap(), &Args::default(), None).unwrap();
    says(
        &found.text(),
        &["Cox: no result: the data put no limit on the estimate of old"],
    );
}

//! Repaired systems: recurrence, repairs.

use super::*;

/// Six failures of each system, coming faster; observed to `end`, or to the last one.
fn worsening(systems: &[&str], end: Option<f64>) -> String {
    let mut text = String::from("system,age,status\n");
    for system in systems {
        for age in [100, 180, 250, 300, 330, 350] {
            text.push_str(&format!("{system},{age},failed\n"));
        }
        if let Some(end) = end {
            text.push_str(&format!("{system},{end},suspended\n"));
        }
    }
    text
}

#[test]
fn a_repaired_system_is_not_a_fleet_of_lives() {
    let found = looked(&worsening(&["a"], Some(360.0)), &Args::default());
    let mtbf = found.mtbf.found().unwrap();
    assert_eq!(mtbf.value, Some(60.0), "six failures in 360 h");
    let text = found.text();
    says(
        &text,
        &[
            "6 failures of 1 repaired system in 360 h",
            "Weibull: failures come faster as the systems age",
            "trend: failures come faster at 90 %",
            "Crow-AMSAA: shape 2.276",
            "Duane: slope",
            "MCF, failures per system (90 %)\n  1 by 100 h\n",
            "one system gives no bounds",
            "MTBF 60 h",
            "MTBF is a mean over the whole observation",
        ],
    );
    let found = serde_json::to_value(found).unwrap();
    assert!(
        found["weibull"]["why"]
            .as_str()
            .unwrap()
            .contains("see the recurrence")
    );
    assert!(found["recurrence"]["mcf"][0]["bounds"].is_null(), "{found}");
    assert_eq!(found["recurrence"]["crow_amsaa"][0]["system"], "a");
}

#[test]
fn an_observation_that_a_failure_ended_is_taken_as_such() {
    let found = looked(&worsening(&["a"], None), &Args::default());
    let recurrence = found.recurrence.as_ref().unwrap();
    let growth = recurrence.power_law.found().unwrap();
    assert!((growth.fit.beta_unbiased - 1.621).abs() < 1e-3, "{growth:?}");
    let laplace = recurrence.laplace.found().unwrap();
    assert!((laplace.statistic - 1.2615).abs() < 1e-3 && (laplace.p_value - 0.207).abs() < 1e-3);
    assert_eq!(recurrence.trend, Trend::NotShown);
    // Nothing speaks against it: the times between failures are lives, and that is said.
    says(
        &found.text(),
        &[
            "observed to its last failure at 350 h",
            "no trend is shown",
            "between them: Weibull fitted to 6 failures and 0 suspensions",
            "note: the times between failures are taken for lives: no trend test speaks against it (Laplace p 0.207",
        ],
    );
    let one = recurrence.crow_amsaa[0].growth.found().unwrap();
    assert_eq!(one.fit, growth.fit);
}

#[test]
fn systems_share_a_power_law_and_a_mean_cumulative_function() {
    let found = looked(&worsening(&["a", "b", "c"], Some(360.0)), &Args::default());
    let recurrence = found.recurrence.as_ref().unwrap();
    assert_eq!(
        (recurrence.systems, recurrence.failures, recurrence.exposure),
        (3, 18, 1080.0)
    );
    assert!(recurrence.mcf_bounds.is_none());
    assert_eq!(recurrence.trend, Trend::Faster);
    says(
        &found.text(),
        &["18 failures of 3 repaired systems in 1080 h", "  6 by 350 h ("],
    );
    // Systems that failed once, or never, are first lives.
    let once = "system,age,status\na,400,failed\nb,500,failed\nc,650,failed\nd,700,suspended\n";
    let found = looked(once, &Args::default());
    assert_eq!((found.lives, found.failures, found.suspensions), (4, 3, 1));
    says(
        &found.text(),
        &[
            "between them: Weibull fitted to 3 failures and 1 suspensions",
            "can't be tested",
        ],
    );
    let twice = "system,age,status\na,400,failed\na,400,failed\na,500,failed\n";
    says(
        &looked(twice, &Args::default()).text(),
        &["failed twice at one age"],
    );
}

#[test]
fn repairs_give_mttr_and_availability() {
    let text =
        "system,age,status,repair_h\na,100,failed,2\na,250,failed,4\na,420,failed,\na,600,suspended,\n";
    let found = looked(text, &Args::default());
    let repairs = found.repairs.as_ref().unwrap();
    let (mttr, availability) = (
        repairs.mttr_h.found().unwrap(),
        repairs.availability.found().unwrap(),
    );
    assert_eq!((mttr.value, repairs.repairs, repairs.failures), (3.0, 2, 3));
    assert!((availability.value - 200.0 / 203.0).abs() < 1e-12);
    assert!(
        availability.low < availability.value
            && availability.value < availability.high
            && availability.high < 1.0
    );
    says(
        &found.text(),
        &["MTTR 3 h, ", "2 repairs, 3 failures", "availability 98.522 %"],
    );
    let cycles = Args {
        unit: "cycles".to_owned(),
        ..Args::default()
    };
    says(
        &looked(text, &cycles).text(),
        &["availability: ages are in cycles and repairs in hours"],
    );
    let none = "age,status,repair_h\n100,suspended,\n";
    says(
        &looked(none, &Args::default()).text(),
        &["MTTR: no repair with its time is known"],
    );
}

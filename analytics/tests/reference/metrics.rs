use analytics::backtest::isotonic::Isotonic;
use analytics::backtest::metrics::{
    average_precision, brier, calibration_error, isolation_depth, log_loss, phm08, phm08_total, roc_auc,
};

use super::{number, numbers, printed, reference};

#[test]
fn probability_metrics() {
    let Some(file) = reference("probability_metrics") else {
        return;
    };
    let p = numbers(&file["p"]);
    let y: Vec<bool> = numbers(&file["y"]).iter().map(|y| *y == 1.0).collect();
    printed(brier(&p, &y), &file["brier"]);
    printed(log_loss(&p, &y), &file["log_loss"]);
    printed(roc_auc(&p, &y).unwrap(), &file["roc_auc"]);
    printed(average_precision(&p, &y).unwrap(), &file["average_precision"]);
    printed(calibration_error(&p, &y, 5), &file["ece_5_equal_width_bins"]);
    let curve = Isotonic::fit(&p, &y, None).unwrap();
    for (p, expected) in p.iter().zip(file["isotonic_pav"].as_array().unwrap()) {
        printed(curve.probability(*p), expected);
    }
}

#[test]
fn phm08_score() {
    let Some(file) = reference("phm08_score") else {
        return;
    };
    let d = numbers(&file["d"]);
    for (d, s) in d.iter().zip(file["s"].as_array().unwrap()) {
        printed(phm08(*d), s);
    }
    printed(phm08_total(&d, &vec![0.0; d.len()]), &file["total"]);
}

#[test]
fn isolation_forest_normalisation() {
    let Some(file) = reference("isolation_forest_normalisation") else {
        return;
    };
    for case in file["cases"].as_array().unwrap() {
        let n = number(&case["n"]) as u64;
        printed(isolation_depth(n, false), &case["c_log"]);
        printed(isolation_depth(n, true), &case["c_exact"]);
    }
}

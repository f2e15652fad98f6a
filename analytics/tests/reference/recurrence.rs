use analytics::reliability::recurrence::{
    History, crow_amsaa, duane, laplace_trend, mean_cumulative_function, mil_hdbk_189_trend,
};
use analytics::reliability::trend::{mann_kendall, theil_sen};

use super::{number, numbers, printed, reference};

#[test]
fn crow_amsaa_22_failures() {
    let Some(file) = reference("crow_amsaa_22_failures") else {
        return;
    };
    let failures = numbers(&file["failure_times"]);
    assert_eq!(file["failure_terminated"], true);
    let history = History::to_last_failure(failures);
    let fit = crow_amsaa(std::slice::from_ref(&history)).unwrap();
    let (published, computed) = (&file["published"], &file["computed"]);
    printed(fit.beta, &published["beta"]);
    printed(fit.lambda, &published["lambda"]);
    printed(fit.beta, &published["beta_5"]);
    printed(fit.lambda, &published["lambda_5"]);
    printed(fit.growth_rate(), &published["growth_rate"]);
    printed(fit.mtbf_cumulative(), &published["mtbf_cumulative"]);
    printed(fit.mtbf_instantaneous(), &published["mtbf_instantaneous"]);
    printed(fit.age_at_mtbf(35.0).unwrap(), &published["time_to_mtbf_35"]);
    let line = duane(&history).unwrap();
    let published = &published["duane"];
    printed(line.alpha, &published["alpha"]);
    printed(line.a, &published["A"]);
    printed(line.mtbf_cumulative(), &published["mtbf_cumulative"]);
    printed(line.mtbf_instantaneous(), &published["mtbf_instantaneous"]);
    printed(line.age_at_mtbf(35.0), &published["time_to_mtbf_35"]);
    assert_eq!(fit.failures as f64, number(&computed["n"]));
    printed(fit.end, &computed["T"]);
    printed(fit.beta, &computed["beta_mle"]);
    printed(fit.lambda, &computed["lambda_mle"]);
    printed(fit.growth_rate(), &computed["growth_rate"]);
    printed(fit.mtbf_cumulative(), &computed["mtbf_cumulative"]);
    printed(fit.mtbf_instantaneous(), &computed["mtbf_instantaneous"]);
    printed(fit.beta_unbiased, &computed["beta_unbiased"]);
    let bounds = fit.beta_bounds(0.9).unwrap();
    printed(bounds.low, &computed["beta_ci90_crow"][0]);
    printed(bounds.high, &computed["beta_ci90_crow"][1]);
    printed(fit.cramer_von_mises, &computed["cvm"]);
    printed(
        fit.expected_next(100.0),
        &computed["expected_failures_next"]["100"],
    );
}

#[test]
fn laplace_trend_rocof() {
    let Some(file) = reference("laplace_trend_rocof") else {
        return;
    };
    let mut age = 0.0;
    let gaps = numbers(&file["times_between_failures"]);
    let failures: Vec<f64> = gaps
        .iter()
        .map(|gap| {
            age += gap;
            age
        })
        .collect();
    assert_eq!(file["failure_terminated"], true);
    let systems = [History::to_last_failure(failures)];
    let test = laplace_trend(&systems).unwrap();
    printed(test.statistic, &file["published"]["U"]);
    printed(test.statistic, &file["computed"]["U"]);
    assert!(test.statistic > number(&file["computed"]["z_crit"]) && test.p_value < 0.05);
    assert!(mil_hdbk_189_trend(&systems).unwrap().p_value < 0.05);
    let fit = crow_amsaa(&systems).unwrap();
    printed(fit.beta, &file["published"]["beta"]);
    printed(fit.lambda, &file["published"]["lambda"]);
    printed(fit.beta, &file["computed"]["beta_mle"]);
    printed(fit.lambda, &file["computed"]["lambda_mle"]);
}

#[test]
fn mean_cumulative_function_of_five_systems() {
    let Some(file) = reference("mean_cumulative_function") else {
        return;
    };
    let systems: Vec<History> = file["systems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| History::until(number(&s["end"]), numbers(&s["events"])))
        .collect();
    let steps = mean_cumulative_function(&systems, 0.95).unwrap();
    let rows = file["published"].as_array().unwrap();
    assert_eq!(steps.len(), rows.len());
    for (step, row) in steps.iter().zip(rows) {
        assert_eq!(step.age, number(&row[0]));
        let bounds = step.bounds.unwrap();
        printed(bounds.low, &row[1]);
        printed(step.mcf, &row[2]);
        printed(bounds.high, &row[3]);
        printed(step.variance.unwrap(), &row[4]);
    }
}

#[test]
fn mann_kendall_theil_sen() {
    let Some(file) = reference("mann_kendall_theil_sen") else {
        return;
    };
    let y = numbers(&file["y"]);
    let test = mann_kendall(&y).unwrap();
    printed(test.s, &file["S"]);
    printed(test.variance, &file["var_S"]);
    printed(test.z, &file["Z"]);
    printed(test.p_value, &file["p_two_sided"]);
    let x: Vec<f64> = (0..y.len()).map(|i| i as f64).collect();
    let line = theil_sen(&x, &y, 0.95).unwrap();
    printed(line.slope, &file["sen_slope"]);
    printed(line.intercept, &file["intercept"]);
    printed(line.slope_bounds.low, &file["ci95_slope"][0]);
    printed(line.slope_bounds.high, &file["ci95_slope"][1]);
}

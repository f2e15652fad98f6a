use analytics::reliability::ReliabilityError;
use analytics::reliability::regression::{Ties, cox, weibull_aft};
use analytics::reliability::survival::Exit;

use super::{close, data, number, numbers, printed, reference};

#[test]
fn cox_weibull_aft_rossi() {
    let Some(file) = reference("cox_weibull_aft_rossi") else {
        return;
    };
    let columns: Vec<&str> = file["columns"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|c| c.as_str())
        .collect();
    let rows: Vec<Vec<f64>> = file["rows"].as_array().unwrap().iter().map(numbers).collect();
    assert_eq!(columns[..2], ["week", "arrest"]);
    let exits: Vec<Exit> = rows.iter().map(|r| Exit::new(r[0], r[1] == 1.0)).collect();
    let x: Vec<Vec<f64>> = rows.iter().map(|r| r[2..].to_vec()).collect();
    let computed = &file["computed"];
    let fit = cox(&exits, &columns[2..], &x, Ties::Efron).unwrap();
    for c in &fit.coefficients {
        printed(c.value, &computed["cox_coef"][&c.name]);
        printed(c.standard_error, &computed["cox_se"][&c.name]);
    }
    printed(fit.log_likelihood, &computed["cox_partial_loglik"]);
    printed(fit.concordance.unwrap(), &computed["concordance"]);
    // The search behind these coefficients ended where the likelihood is 1e-8 lower than at ours: their last two digits
    // are those of its end, and the file gives a tolerance for them. The likelihood itself is met in full.
    let tolerance = number(&file["tolerance_rel"]);
    let fit = weibull_aft(&exits, &columns[2..], &x).unwrap();
    for c in &fit.coefficients {
        let name = if c.name == "intercept" {
            "lambda_/Intercept".into()
        } else {
            format!("lambda_/{}", c.name)
        };
        close(c.value, &computed["weibull_aft"][&name], tolerance);
    }
    close(
        fit.log_shape.value,
        &computed["weibull_aft"]["rho_/Intercept"],
        tolerance,
    );
    printed(fit.log_likelihood, &computed["weibull_aft_loglik"]);
}

#[test]
fn cox_gehan() {
    let Some(file) = reference("kaplan_meier_nelson_aalen_gehan") else {
        return;
    };
    let mut exits = Vec::new();
    let mut x = Vec::new();
    for (group, treated) in [("group_treated", 1.0), ("group_control", 0.0)] {
        for (t, e) in numbers(&file[group]["t"]).iter().zip(numbers(&file[group]["e"])) {
            exits.push(Exit::new(*t, e == 1.0));
            x.push(vec![treated]);
        }
    }
    let efron = cox(&exits, &["treated"], &x, Ties::Efron).unwrap();
    printed(
        efron.coefficients[0].value,
        &file["published"]["cox_efron_beta_treated"],
    );
    printed(efron.coefficients[0].value, &file["computed"]["cox_efron_beta"]);
    printed(
        efron.coefficients[0].standard_error,
        &file["computed"]["cox_efron_se"],
    );
    printed(efron.concordance.unwrap(), &file["computed"]["concordance"]);
    let breslow = cox(&exits, &["treated"], &x, Ties::Breslow).unwrap();
    printed(
        breslow.coefficients[0].value,
        &file["published"]["cox_breslow_beta_treated"],
    );
}

/// Team and provider nearly decide the life in this set: the fit must say so.
#[test]
fn nearly_separated_fleet_is_refused() {
    let Some(path) = data("pysurvival-maintenance/maintenance.csv.gz") else {
        return;
    };
    let file = flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap());
    let mut reader = csv::ReaderBuilder::new().delimiter(b';').from_reader(file);
    let names = [
        "pressure",
        "moisture",
        "temperature",
        "team B",
        "team C",
        "provider 2",
        "provider 3",
        "provider 4",
    ];
    let (mut exits, mut x) = (Vec::new(), Vec::new());
    for record in reader.records() {
        let r = record.unwrap();
        let value = |i: usize| r[i].parse::<f64>().unwrap();
        let is = |i: usize, text: &str| f64::from(u8::from(&r[i] == text));
        exits.push(Exit::new(value(0), value(1) == 1.0));
        let mut row = vec![value(2), value(3), value(4), is(5, "TeamB"), is(5, "TeamC")];
        row.extend(["Provider2", "Provider3", "Provider4"].map(|p| is(6, p)));
        x.push(row);
    }
    let error = cox(&exits, &names, &x, Ties::Efron).unwrap_err();
    assert!(
        matches!(
            error,
            ReliabilityError::Unbounded { .. } | ReliabilityError::NotConverged { .. }
        ),
        "{error}"
    );
}

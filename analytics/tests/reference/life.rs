use analytics::reliability::replacement::{Costs, Policy, optimal_replacement};
use analytics::reliability::rotating::{BearingGeometry, MachineClass};
use analytics::reliability::survival::{Exit, cumulative_incidence, kaplan_meier, log_rank, survival_at};
use analytics::reliability::{Life, Weibull, availability, recurrence::Ending, weibayes, weibull};
use serde_json::Value;

use super::{close, data, number, numbers, printed, reference};

#[test]
fn weibull_right_censored_nist() {
    let Some(file) = reference("weibull_right_censored_nist") else {
        return;
    };
    let lives = Life::from_lists(&numbers(&file["failures"]), &numbers(&file["right_censored"]));
    let fit = weibull::fit(&lives).unwrap();
    let d = fit.distribution;
    let published = &file["published"];
    printed(d.eta, &published["eta"]);
    printed(d.beta, &published["beta"]);
    printed(fit.log_likelihood, &published["loglik"]);
    printed(fit.aic(), &published["aic"]);
    printed(d.mean(), &published["mean"]);
    printed(d.standard_deviation(), &published["sd"]);
    let computed = &file["computed"];
    printed(d.beta, &computed["beta"]);
    printed(d.eta, &computed["eta"]);
    printed(fit.log_likelihood, &computed["loglik"]);
    printed(d.mean(), &computed["mean_life"]);
    printed(fit.standard_error_eta(), &computed["se_eta"]);
    printed(fit.standard_error_beta(), &computed["se_beta"]);
    printed(fit.covariance_eta_beta(), &computed["cov_eta_beta"]);
    let bounds = |found: analytics::reliability::Interval, expected: &Value| {
        printed(found.low, &expected[0]);
        printed(found.high, &expected[1]);
    };
    bounds(fit.beta_bounds(0.95).unwrap(), &computed["ci95_beta_log"]);
    bounds(fit.eta_bounds(0.95).unwrap(), &computed["ci95_eta_log"]);
    for (name, q) in [("B1", 0.01), ("B10", 0.1), ("B50", 0.5)] {
        printed(d.quantile(q), &computed["B_lives"][name]);
        bounds(
            fit.quantile_bounds(q, 0.95).unwrap(),
            &computed[format!("ci95_{name}_log")],
        );
    }
    for case in computed["conditional_failure_prob"].as_array().unwrap() {
        let (age, horizon) = (number(&case["age"]), number(&case["horizon"]));
        printed(d.conditional_failure(age, horizon), &case["p"]);
        assert!(
            fit.conditional_failure_bounds(age, horizon, 0.9)
                .unwrap()
                .contains(number(&case["p"]))
        );
    }
}

#[test]
fn weibayes_few_failures() {
    let Some(file) = reference("weibayes_few_failures") else {
        return;
    };
    let ages = numbers(&file["t"]);
    for case in file["cases"].as_array().unwrap() {
        let failures = if case["zero_failures"] == true {
            0
        } else {
            number(&case["r"]) as usize
        };
        let model = weibayes::weibayes(
            &Life::from_lists(&ages[..failures], &ages[failures..]),
            number(&file["beta"]),
        )
        .unwrap();
        let eta = match case.get("confidence") {
            Some(confidence) => model.eta_lower(number(confidence)).unwrap(),
            None => model.eta,
        };
        printed(eta, &case["eta"]);
    }
}

fn exits(group: &Value) -> Vec<Exit> {
    let (t, e) = (numbers(&group["t"]), numbers(&group["e"]));
    t.iter().zip(e).map(|(t, e)| Exit::new(*t, e == 1.0)).collect()
}

#[test]
fn kaplan_meier_nelson_aalen_gehan() {
    let Some(file) = reference("kaplan_meier_nelson_aalen_gehan") else {
        return;
    };
    let (treated, control) = (exits(&file["group_treated"]), exits(&file["group_control"]));
    let steps = kaplan_meier(&treated, 0.95).unwrap();
    let rows = file["computed"]["rows"].as_array().unwrap();
    assert_eq!(steps.len(), rows.len());
    for (step, row) in steps.iter().zip(rows) {
        assert_eq!(
            (step.age, step.at_risk as f64, step.failures as f64),
            (number(&row[0]), number(&row[1]), number(&row[2]))
        );
        printed(step.survival, &row[3]);
        printed(step.survival_se.unwrap(), &row[4]);
        let bounds = step.survival_bounds.unwrap();
        printed(bounds.low, &row[5]);
        printed(bounds.high, &row[6]);
        printed(step.cumulative_hazard, &row[7]);
        printed(step.cumulative_hazard_se, &row[8]);
    }
    for (age, survival) in file["published"]["km_treated"].as_object().unwrap() {
        printed(survival_at(&steps, age.parse().unwrap()), survival);
    }
    let test = log_rank(&[&treated, &control]).unwrap();
    printed(test.statistic, &file["published"]["logrank_chi2"]);
    printed(test.statistic, &file["computed"]["logrank_chi2"]);
    printed(test.p_value, &file["computed"]["logrank_p"]);
}

#[test]
fn aalen_johansen_small() {
    let Some(file) = reference("aalen_johansen_small") else {
        return;
    };
    let (times, events) = (numbers(&file["times"]), numbers(&file["event_0_censored"]));
    let exits: Vec<Exit> = times
        .iter()
        .zip(events)
        .map(|(age, e)| Exit {
            age: *age,
            cause: e as usize,
        })
        .collect();
    let steps = cumulative_incidence(&exits, 2).unwrap();
    let rows = file["rows"].as_array().unwrap();
    assert_eq!(steps.len(), rows.len());
    for (step, row) in steps.iter().zip(rows) {
        let found = [
            step.age,
            step.at_risk as f64,
            step.failures[0] as f64,
            step.failures[1] as f64,
            step.survival,
            step.incidence[0],
            step.incidence[1],
        ];
        for (found, expected) in found.iter().zip(row.as_array().unwrap()) {
            assert!((found - number(expected)).abs() < 1e-12);
        }
        assert!((step.survival + step.incidence.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}

#[test]
fn optimal_replacement_interval() {
    let Some(file) = reference("optimal_replacement_interval") else {
        return;
    };
    for case in file["cases"].as_array().unwrap() {
        let life = Weibull::new(number(&case["beta"]), number(&case["eta"])).unwrap();
        let costs = Costs {
            planned: number(&case["cost_planned"]),
            failure: number(&case["cost_failure"]),
        };
        let found = optimal_replacement(&life, costs).unwrap();
        match found.policy {
            Policy::ReplaceAt { age } => printed(age, &case["optimal_t"]),
            Policy::RunToFailure => assert!(case["optimal_t"].is_null(), "{case}"),
        }
        printed(found.cost_rate, &case["min_cost_rate"]);
        printed(found.run_to_failure_cost_rate, &case["run_to_failure_cost_rate"]);
    }
}

#[test]
fn mtbf_confidence_and_availability() {
    let Some(file) = reference("mtbf_confidence_and_availability") else {
        return;
    };
    for case in file["mtbf_cases"].as_array().unwrap() {
        let (r, total) = (number(&case["failures"]) as usize, number(&case["total_time"]));
        for (name, confidence) in [("ci90_time_terminated", 0.90), ("ci95_time_terminated", 0.95)] {
            let found = availability::mtbf(r, total, Ending::Time, confidence).unwrap();
            printed(found.low, &case[name][0]);
            match found.high {
                Some(high) => printed(high, &case[name][1]),
                None => assert!(case[name][1].is_null()),
            }
            match found.value {
                Some(value) => printed(value, &case["mtbf"]),
                None => assert!(case["mtbf"].is_null()),
            }
        }
        printed(
            availability::mtbf_lower(r, total, 0.95).unwrap(),
            &case["one_sided_lower_95"],
        );
    }
    for case in file["availability"].as_array().unwrap() {
        match case.get("mtbf") {
            Some(mtbf) => printed(
                availability::inherent_availability(number(mtbf), number(&case["mttr"])),
                &case["inherent"],
            ),
            None => printed(
                availability::operational_availability(
                    number(&case["uptime_h"]),
                    number(&case["downtime_h"]),
                ),
                &case["operational"],
            ),
        }
    }
    for case in file["series_parallel"].as_array().unwrap() {
        let parts = numbers(&case["availabilities"]);
        printed(availability::series(&parts), &case["series"]);
        printed(availability::parallel(&parts), &case["parallel"]);
    }
    for case in file["k_out_of_n"].as_array().unwrap() {
        let (k, n) = (number(&case["k"]) as u32, number(&case["n"]) as u32);
        printed(availability::k_out_of_n(k, n, number(&case["a"])), &case["value"]);
    }
}

#[test]
fn bearing_fault_frequencies() {
    let Some(file) = reference("bearing_fault_frequencies") else {
        return;
    };
    let bearing = |n, d, pitch, angle| BearingGeometry {
        rolling_elements: n,
        element_diameter: d,
        pitch_diameter: pitch,
        contact_angle: angle,
    };
    let check = |found: BearingGeometry, shaft: f64, expected: &Value| {
        let f = found.fault_frequencies(shaft).unwrap();
        for (value, name) in [(f.ftf, "ftf"), (f.bpfo, "bpfo"), (f.bpfi, "bpfi"), (f.bsf, "bsf")] {
            printed(value, &expected[name]);
        }
        f
    };
    let cwru = [
        ("6205", bearing(9, 0.3126, 1.537, 0.0)),
        ("6203", bearing(8, 0.2656, 1.122, 0.0)),
    ];
    for (name, geometry) in cwru {
        let f = check(geometry, 1.0, &file["computed"][name]);
        let published = &file["published"][name];
        // The source rounds its own diameters: its last digit differs.
        for (value, name) in [
            (f.ftf, "ftf"),
            (f.bpfo, "bpfo"),
            (f.bpfi, "bpfi"),
            (2.0 * f.bsf, "rolling_element"),
        ] {
            close(value, &published[name], 2e-4);
        }
    }
    check(
        bearing(16, 0.331, 2.815, 15.17),
        2000.0 / 60.0,
        &file["ims"]["computed_hz"],
    );
}

#[test]
fn vibration_severity_zones() {
    let Some(file) = reference("vibration_severity_zones") else {
        return;
    };
    let classes = [
        MachineClass::I,
        MachineClass::Ii,
        MachineClass::Iii,
        MachineClass::Iv,
    ];
    for (name, limits) in file["classes"].as_object().unwrap() {
        let class = match name.split_whitespace().next() {
            Some("I") => classes[0],
            Some("II") => classes[1],
            Some("III") => classes[2],
            Some("IV") => classes[3],
            other => panic!("class {other:?}"),
        };
        assert_eq!(class.limits().to_vec(), numbers(limits));
    }
}

/// Lives of the components of a real fleet, made from its event lists by the rule of the file.
#[test]
fn azure_component_life_weibull() {
    let Some(file) = reference("azure_component_life_weibull") else {
        return;
    };
    let Some(folder) = data("azure-pdm") else { return };
    let rows = |name: &str| -> Vec<(i64, String, String)> {
        let mut reader = csv::Reader::from_path(folder.join(name)).unwrap();
        let records = reader.records().map(|r| r.unwrap());
        records
            .map(|r| (hours(&r[0]), r[1].to_owned(), r[2].to_owned()))
            .collect()
    };
    let failures: std::collections::HashSet<(i64, String, String)> = rows("PdM_failures.csv")
        .into_iter()
        .map(|(t, m, c)| (t.div_euclid(24), m, c))
        .collect();
    let mut changes: std::collections::BTreeMap<(String, String), Vec<i64>> = Default::default();
    for (t, machine, component) in rows("PdM_maint.csv") {
        changes.entry((component, machine)).or_default().push(t);
    }
    let end = hours("2016-01-01 06:00:00");
    for (component, expected) in file["components"].as_object().unwrap() {
        let mut lives = Vec::new();
        let mut exits = Vec::new();
        for ((_, machine), times) in changes.iter_mut().filter(|((c, _), _)| c == component) {
            times.sort_unstable();
            for (i, from) in times.iter().enumerate() {
                let to = times.get(i + 1);
                let days = (to.unwrap_or(&end) - from) as f64 / 24.0;
                let failed = to.is_some_and(|t| {
                    failures.contains(&(t.div_euclid(24), machine.clone(), component.clone()))
                });
                if days > 0.0 {
                    lives.push(if failed {
                        Life::Failed(days)
                    } else {
                        Life::Suspended(days)
                    });
                    exits.push(Exit::new(days, failed));
                }
            }
        }
        assert_eq!(lives.len() as f64, number(&expected["n"]));
        let fit = weibull::fit(&lives).unwrap();
        assert_eq!(fit.failures as f64, number(&expected["failures"]));
        let total: f64 = lives.iter().map(Life::age).sum();
        close(total, &expected["total_days"], 1e-9);
        let tolerance = number(&file["tolerance_rel"]);
        close(fit.distribution.beta, &expected["weibull_beta"], tolerance);
        close(fit.distribution.eta, &expected["weibull_eta_days"], tolerance);
        let plain = |value: f64, se: f64, expected: &Value| {
            close(value - 1.959964 * se, &expected[0], tolerance);
            close(value + 1.959964 * se, &expected[1], tolerance);
        };
        plain(
            fit.distribution.beta,
            fit.standard_error_beta(),
            &expected["beta_ci95"],
        );
        plain(
            fit.distribution.eta,
            fit.standard_error_eta(),
            &expected["eta_ci95"],
        );
        let steps = kaplan_meier(&exits, 0.95).unwrap();
        for (age, survival) in expected["km_survival"].as_object().unwrap() {
            close(survival_at(&steps, age.parse().unwrap()), survival, 1e-9);
        }
        close(total / fit.failures as f64, &expected["mtbf_days"], 1e-9);
    }
}

/// Hours since an arbitrary midnight, from "2015-01-05 06:00:00".
fn hours(text: &str) -> i64 {
    let part = |range: std::ops::Range<usize>| text[range].parse::<i64>().expect("digits");
    let (y, m, d, h) = (part(0..4), part(5..7), part(8..10), part(11..13));
    let (y, m) = if m <= 2 { (y - 1, m + 12) } else { (y, m) };
    let days =
        365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * (m - 3) + 2) / 5 + d;
    days * 24 + h
}

//! What life data say, as one object: `forewarn reliability`.
//!
//! Lives come from a file or from a class's failure reports. A file has a header and the columns `age`
//! and `status` (`failed`, `suspended`, also F and S, 1 and 0); `age_to` makes it an interval (failed
//! between the two ages), `system` makes recurring failures of repaired systems, of which `suspended` is
//! the end of the observation.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::backtest::table::Table;
use crate::picture;
use crate::reliability::availability::mtbf;
use crate::reliability::recurrence::{
    Ending, History, crow_amsaa, laplace_trend, mean_cumulative_function, mil_hdbk_189_trend,
};
use crate::reliability::replacement::{Costs, optimal_replacement, uncertain_replacement};
use crate::reliability::survival::{Exit, kaplan_meier};
use crate::reliability::{DEFAULT_SHAPE, Life, LifeModel, fit_life, weibull, weibull3};

/// What is asked for besides the lives.
#[derive(Clone, Debug, PartialEq)]
pub struct Args {
    pub confidence: f64,
    /// Shape that is assumed where failures are too few to fit one.
    pub shape: Option<f64>,
    /// For the optimal age of a planned replacement.
    pub costs: Option<Costs>,
    /// Unit of the ages, for people.
    pub unit: String,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            confidence: 0.9,
            shape: None,
            costs: None,
            unit: "h".to_owned(),
        }
    }
}

/// Lives, and histories of systems where the file tells them apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lives {
    pub lives: Vec<Life>,
    pub systems: Vec<History>,
}

/// Reads a file of lives.
///
/// # Errors
/// A missing or malformed file, by name, line and column.
pub fn read(path: &Path) -> Result<Lives> {
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .context("the file has no name")?;
    let table = Table::read(folder, name, b',')?;
    let (age, status) = (table.column("age")?, table.column("status")?);
    let (age_to, system) = (table.column("age_to").ok(), table.column("system").ok());
    let mut lives = Vec::with_capacity(table.len());
    let mut systems: BTreeMap<String, (Vec<f64>, f64)> = BTreeMap::new();
    for row in 0..table.len() {
        let at = table.number(row, age)?;
        let failed = match table.text(row, status).to_ascii_lowercase().as_str() {
            "failed" | "failure" | "f" | "1" => true,
            "suspended" | "censored" | "s" | "0" => false,
            other => {
                return Err(table.bad(
                    row,
                    status,
                    format_args!("'{other}' is neither failed nor suspended"),
                ));
            }
        };
        if at < 0.0 || (failed && at <= 0.0 && age_to.is_none()) {
            return Err(table.bad(row, age, format_args!("{at} is not a usable age")));
        }
        let to = match age_to.filter(|column| !table.text(row, *column).is_empty()) {
            Some(column) => {
                let to = table.number(row, column)?;
                if to <= at {
                    return Err(table.bad(row, column, format_args!("{to} must be above the age {at}")));
                }
                Some(to)
            }
            None => None,
        };
        lives.push(match (failed, to) {
            (true, Some(to)) if at == 0.0 => Life::FailedBefore(to),
            (true, Some(to)) => Life::FailedBetween(at, to),
            (true, None) => Life::Failed(at),
            (false, _) => Life::Suspended(at),
        });
        if let Some(column) = system {
            let entry = systems.entry(table.text(row, column).to_owned()).or_default();
            entry.1 = entry.1.max(at);
            if failed {
                entry.0.push(at);
            }
        }
    }
    let systems = systems
        .into_values()
        .map(|(mut failures, end)| {
            failures.sort_by(f64::total_cmp);
            History { failures, end }
        })
        .collect();
    Ok(Lives { lives, systems })
}

/// A result, or the sentence why there is none.
fn said<T>(result: std::result::Result<T, impl std::fmt::Display>, show: impl FnOnce(T) -> Value) -> Value {
    match result {
        Ok(found) => show(found),
        Err(error) => json!({ "why": error.to_string() }),
    }
}

/// Everything that can be said; what can't is said with its reason. Draws into `svg` if given.
///
/// # Errors
/// No lives at all, or a picture that can't be written.
pub fn report(lives: &Lives, args: &Args, svg: Option<&Path>) -> Result<Value> {
    if lives.lives.is_empty() {
        bail!("there are no lives to look at");
    }
    let c = args.confidence;
    let failures = lives.lives.iter().filter(|life| life.is_failure()).count();
    let mut out = Map::new();
    out.insert("lives".to_owned(), json!(lives.lives.len()));
    out.insert("failures".to_owned(), json!(failures));
    out.insert("suspensions".to_owned(), json!(lives.lives.len() - failures));
    out.insert("confidence".to_owned(), json!(c));
    let model = fit_life(&lives.lives, args.shape.unwrap_or(DEFAULT_SHAPE))?;
    out.insert("basis".to_owned(), json!(model.basis()));
    out.insert(
        "weibull".to_owned(),
        match &model {
            LifeModel::Fitted(fit) => {
                let mut of = json!({
                    "shape": fit.distribution.beta, "scale": fit.distribution.eta, "log_likelihood": fit.log_likelihood,
                    "shape_bounds": said(fit.beta_bounds(c), |b| json!(b)),
                    "scale_bounds": said(fit.eta_bounds(c), |b| json!(b)),
                    "b10": fit.distribution.quantile(0.1), "b10_bounds": said(fit.quantile_bounds(0.1, c), |b| json!(b)),
                    "mean": fit.distribution.mean(),
                });
                of["likelihood_ratio_bounds"] = said(fit.likelihood_ratio_bounds(&lives.lives, c), |(scale, shape)| {
                    json!({ "scale": scale, "shape": shape })
                });
                of
            }
            LifeModel::Weibayes(weibayes) => json!({
                "assumed_shape": weibayes.beta, "scale": weibayes.eta, "scale_at_least": said(weibayes.eta_lower(c), |v| json!(v)),
                "scale_at_most": said(weibayes.eta_upper(c), |v| json!(v)),
                "why": said(weibull::fit(&lives.lives), |_| Value::Null)["why"],
            }),
        },
    );
    out.insert(
        "weibull3".to_owned(),
        said(
            weibull3::fit3(&lives.lives),
            |fit| json!({ "distribution": fit.distribution, "aic": fit.aic() }),
        ),
    );
    let exits: Vec<Exit> = lives
        .lives
        .iter()
        .map(|life| Exit::new(life.age(), life.is_failure()))
        .collect();
    let steps = kaplan_meier(&exits, c);
    if let Ok(steps) = &steps {
        out.insert("kaplan_meier".to_owned(), json!(steps));
    }
    let total: f64 = lives.lives.iter().map(Life::age).sum();
    out.insert(
        "mtbf".to_owned(),
        said(mtbf(failures, total, Ending::Time, c), |m| json!(m)),
    );
    if !lives.systems.is_empty() {
        out.insert("recurrence".to_owned(), recurrence(&lives.systems, c));
    }
    let mut best = None;
    if let Some(costs) = args.costs {
        let distribution = model.distribution();
        let found = optimal_replacement(&distribution, costs)?;
        let mut of = json!({ "best": found });
        match &model {
            LifeModel::Fitted(fit) => {
                of["uncertain"] = said(uncertain_replacement(fit, costs, c), |u| json!(u))
            }
            LifeModel::Weibayes(_) => {
                of["why"] = json!("the shape is assumed: the optimum is no surer than it")
            }
        }
        if distribution.beta <= 1.0 {
            of["text"] = json!(
                "the part does not wear out (shape at most 1): run to failure, planned replacement only costs"
            );
        }
        out.insert("replacement".to_owned(), of);
        best = Some((costs, found));
    }
    if let Some(folder) = svg {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        if let (Ok(steps), true) = (&steps, failures > 0) {
            let title = format!("Weibull plot: {}", model.basis());
            picture::weibull_plot(&folder.join("weibull.svg"), &title, &args.unit, steps, &model, c)?;
        }
        if let Some((costs, best)) = &best {
            let path = folder.join("cost.svg");
            picture::cost_curve(
                &path,
                "Cost of planned replacement",
                &args.unit,
                &model.distribution(),
                *costs,
                best,
            )?;
        }
    }
    Ok(Value::Object(out))
}

/// Failures of repaired systems: do they come faster?
fn recurrence(systems: &[History], confidence: f64) -> Value {
    let growth: Vec<Value> = systems
        .iter()
        .map(|system| {
            said(crow_amsaa(system, Ending::Time), |fit| {
                json!({ "fit": fit, "shape_bounds": said(fit.beta_bounds(confidence), |b| json!(b)),
                        "mtbf_now": fit.mtbf_instantaneous() })
            })
        })
        .collect();
    json!({
        "systems": systems.len(), "crow_amsaa": growth,
        "mcf": said(mean_cumulative_function(systems, 0.5 + confidence / 2.0), |steps| json!(steps)),
        "laplace": said(laplace_trend(systems, Ending::Time), |test| json!(test)),
        "mil_hdbk_189": said(mil_hdbk_189_trend(systems, Ending::Time), |test| json!(test)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Lives> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lives.csv");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn a_file_of_lives_is_reported_and_drawn() {
        let lives =
            of("age,status\n400,failed\n700,F\n900,1\n1300,failed\n2000,suspended\n2000,S\n").unwrap();
        let args = Args {
            costs: Some(Costs {
                planned: 1.0,
                failure: 20.0,
            }),
            ..Args::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let report = report(&lives, &args, Some(folder.path())).unwrap();
        assert_eq!(
            (&report["failures"], &report["suspensions"]),
            (&json!(4), &json!(2))
        );
        let shape = report["weibull"]["shape"].as_f64().unwrap();
        let bounds = &report["weibull"]["shape_bounds"];
        assert!(bounds["low"].as_f64().unwrap() < shape && shape < bounds["high"].as_f64().unwrap());
        assert!(
            report["replacement"]["uncertain"]["wear_out_in_doubt"].is_boolean(),
            "{report}"
        );
        for name in ["weibull.svg", "cost.svg"] {
            assert!(folder.path().join(name).exists(), "{name}");
        }
    }

    #[test]
    fn few_failures_zero_failures_and_one_asset_are_said() {
        let args = Args::default();
        let mut five = String::from("age,status\n");
        (1..=5).for_each(|i| five.push_str(&format!("{},failed\n", 300 * i)));
        (0..100).for_each(|_| five.push_str("2000,suspended\n"));
        let report_of = |text: &str| report(&of(text).unwrap(), &args, None).unwrap();
        let found = report_of(&five);
        assert_eq!(found["basis"], "Weibull fitted to 5 failures and 100 suspensions");
        assert!(
            found["weibull"]["scale_bounds"]["low"].as_f64().unwrap() > 2000.0,
            "{found}"
        );
        let none = report_of("age,status\n900,suspended\n800,suspended\n");
        assert!(
            none["basis"].as_str().unwrap().contains("too few failures"),
            "{none}"
        );
        assert!(
            none["weibull"]["scale_at_most"].is_null()
                && none["weibull"]["scale_at_least"].as_f64().unwrap() > 0.0
        );
        assert!(
            none["weibull"]["why"]
                .as_str()
                .unwrap()
                .contains("no failure was observed"),
            "{none}"
        );
        let one = report_of("age,status\n900,failed\n");
        assert!(
            one["weibull"]["why"].as_str().unwrap().contains("too few"),
            "{one}"
        );
        let same = report_of("age,status\n900,failed\n900,failed\n900,failed\n");
        assert!(
            same["weibull"]["why"].as_str().unwrap().contains("no spread"),
            "{same}"
        );
    }

    #[test]
    fn repaired_systems_get_their_trend_and_bad_files_are_refused_by_place() {
        let mut text = String::from("system,age,status\n");
        for system in ["a", "b"] {
            for age in [100, 180, 250, 300, 330, 350] {
                text.push_str(&format!("{system},{age},failed\n"));
            }
            text.push_str(&format!("{system},360,suspended\n"));
        }
        let found = report(&of(&text).unwrap(), &Args::default(), None).unwrap();
        assert!(
            found["recurrence"]["crow_amsaa"][0]["fit"]["beta"]
                .as_f64()
                .unwrap()
                > 1.0,
            "{found}"
        );
        assert!(found["recurrence"]["laplace"].get("why").is_none());
        for (text, place) in [
            (
                "age,status\n4,failed\nx,failed\n",
                "lives.csv: line 3, column 1 (age): 'x' is not a number",
            ),
            (
                "age,status\n4,broken\n",
                "line 2, column 2 (status): 'broken' is neither failed nor suspended",
            ),
            (
                "age,status\n-4,suspended\n",
                "line 2, column 1 (age): -4 is not a usable age",
            ),
            (
                "age,status,age_to\n4,failed,3\n",
                "line 2, column 3 (age_to): 3 must be above the age 4",
            ),
            ("years,status\n4,failed\n", "line 1: column 'age' is missing"),
        ] {
            let error = of(text).unwrap_err().to_string();
            assert!(error.contains(place), "{error}");
        }
    }
}

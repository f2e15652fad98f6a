//! What things cost: the work at its own time, at a stop that takes place anyway, and the failure.

use models::db::assessment::{AssetFacts, ModeFacts};
use models::prediction::scorecard::PLANNED_DOWNTIME;

use crate::prognosis::life::NewLife;
use crate::reliability::replacement::{self, Policy, optimal_replacement};

/// Share of the downtime of a repair after a failure that the work costs at a stop that takes place anyway: half of what
/// a stop of its own does, because the machine is shut down, locked and started again once for both.
const SHARED_DOWNTIME: f64 = PLANNED_DOWNTIME / 2.0;

/// In the tenant's currency. A failure includes its consequences.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    pub planned: f64,
    pub at_stop: f64,
    pub failure: f64,
}

impl Costs {
    /// `repair` and `downtime` of a repair after a failure, and what a failure costs once besides.
    pub fn new(repair: f64, downtime: f64, consequence: f64) -> Self {
        Self {
            planned: repair + PLANNED_DOWNTIME * downtime,
            at_stop: repair + SHARED_DOWNTIME * downtime,
            failure: repair + downtime + consequence,
        }
    }
}

/// The work in question, and its costs or what is missing to know them.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    pub name: String,
    pub costs: Result<Costs, Vec<String>>,
    /// What the costs are taken from, where that isn't the likeliest failure mode.
    pub note: Option<String>,
}

/// The work on the likeliest failure mode, or on the usual one of the class: the mean of those whose costs are known.
pub fn work(mode: Option<&ModeFacts>, modes: &[ModeFacts], facts: &AssetFacts) -> Work {
    let mut missing = Vec::new();
    let mut note = None;
    let (name, repair) = match mode {
        Some(mode) => {
            let name = mode.name.to_lowercase();
            if mode.repair_cost.is_none() {
                missing.push(format!("repair_cost of {name}"));
            }
            if mode.repair_hours.is_none() {
                missing.push(format!("repair_hours of {name}"));
            }
            (format!("work on {name}"), mode.repair_cost.zip(mode.repair_hours))
        }
        None => {
            let known: Vec<(f64, f64)> = modes
                .iter()
                .filter_map(|mode| mode.repair_cost.zip(mode.repair_hours))
                .collect();
            let n = known.len() as f64;
            let mean = |pick: fn(&(f64, f64)) -> f64| known.iter().map(pick).sum::<f64>() / n;
            if known.is_empty() {
                missing.push(format!(
                    "repair_cost and repair_hours of a failure mode of class {}",
                    facts.class_name
                ));
            } else if modes.len() > 1 {
                note = Some(format!("costs are the mean of {n} failure modes of the class"));
            }
            let mean = (!known.is_empty()).then(|| (mean(|one| one.0), mean(|one| one.1)));
            ("planned work".to_owned(), mean)
        }
    };
    if facts.downtime_cost_per_h.is_none() {
        missing.push("downtime_cost_per_h of the asset".to_owned());
    }
    let costs = repair
        .zip(facts.downtime_cost_per_h)
        .map(|((cost, hours), an_hour)| Costs::new(cost, an_hour * hours, facts.failure_cost.unwrap_or(0.0)));
    let costs = match costs {
        Some(costs) if costs.planned > 0.0 && costs.failure.is_finite() => Ok(costs),
        Some(_) => Err(vec!["costs above 0".to_owned()]),
        None => Err(missing),
    };
    Work { name, costs, note }
}

/// What a new machine costs in the long run, renewed at the age that is cheapest or at its failure (Barlow and Hunter
/// 1960): what an hour of waiting saves, because the renewal and all that follow it come that much later.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Renewal {
    /// Cost for each hour of the calendar.
    pub rate: f64,
    /// Failures for each hour of the calendar under that policy.
    pub failures_per_h: f64,
    /// Mean life, hours of the calendar.
    pub mean_h: f64,
    pub shape: f64,
    pub shape_low: Option<f64>,
}

impl Renewal {
    /// `None`: the life is unusable.
    pub fn new(new: &NewLife, costs: Costs) -> Option<Self> {
        let Costs { planned, failure, .. } = costs;
        let best = optimal_replacement(&new.life, replacement::Costs { planned, failure }).ok()?;
        let failures_per_h = match best.policy {
            Policy::ReplaceAt { age } => {
                let survives = new.life.survival(age);
                let cost = planned * survives + failure * (1.0 - survives);
                (1.0 - survives) * best.cost_rate / cost
            }
            Policy::RunToFailure => 1.0 / new.life.mean(),
        };
        let renewal = Self {
            rate: best.cost_rate * new.in_use,
            failures_per_h: failures_per_h * new.in_use,
            mean_h: new.life.mean() / new.in_use,
            shape: new.life.beta,
            shape_low: new.shape_low,
        };
        [renewal.rate, renewal.failures_per_h, renewal.mean_h]
            .iter()
            .all(|number| number.is_finite() && *number > 0.0)
            .then_some(renewal)
    }
}

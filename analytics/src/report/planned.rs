//! Planned replacement: the cheapest age, and whether the data carry it.

use serde::Serialize;

use crate::reliability::LifeModel;
use crate::reliability::replacement::{
    Costs, Policy, Replacement, UncertainReplacement, optimal_replacement, uncertain_replacement,
};

use super::figures::{number, percent};
use super::{Args, Said};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Planned {
    pub best: Replacement,
    /// None where the shape is assumed.
    pub uncertain: Option<Said<UncertainReplacement>>,
    /// What speaks against following the optimum.
    pub doubts: Vec<String>,
    /// The answer in words, doubts included.
    pub text: String,
}

/// `oldest` is the oldest age seen.
pub fn look(model: &LifeModel, costs: Costs, oldest: f64, args: &Args) -> Said<Planned> {
    let life = model.distribution();
    Said::of(optimal_replacement(&life, costs)).map(|best| {
        let uncertain = match model {
            LifeModel::Fitted(fit) => Some(Said::of(uncertain_replacement(fit, costs, args.confidence))),
            LifeModel::Weibayes(_) => None,
        };
        let mut planned = Planned {
            doubts: doubts(&best, uncertain.as_ref(), oldest, args),
            best,
            uncertain,
            text: String::new(),
        };
        planned.text = planned.words(life.beta, costs, args);
        planned
    })
}

fn doubts(
    best: &Replacement,
    uncertain: Option<&Said<UncertainReplacement>>,
    oldest: f64,
    args: &Args,
) -> Vec<String> {
    let mut doubts = Vec::new();
    match uncertain {
        None => doubts.push("the shape is assumed, and the optimum is no surer than it".to_owned()),
        Some(Said::Not { why }) => doubts.push(format!("its uncertainty is not known: {why}")),
        Some(Said::Found(of)) => {
            let waits = best.age().is_none();
            if of.wear_out_in_doubt && !waits {
                doubts.push("the bounds of the shape include 1".to_owned());
            }
            let other = if waits {
                1.0 - of.run_to_failure_share
            } else {
                of.run_to_failure_share
            };
            if other > (1.0 - args.confidence) / 2.0 {
                let what = if waits {
                    "a planned replacement"
                } else {
                    "running to failure"
                };
                doubts.push(format!(
                    "{what} is cheapest in {} of the lives that these data allow",
                    percent(other)
                ));
            }
        }
    }
    if let Some(age) = best.age().filter(|age| *age > oldest) {
        let (oldest_said, times) = (number(oldest), number(age / oldest));
        doubts.push(format!(
            "it is {times} times the oldest age seen ({oldest_said} {})",
            args.unit
        ));
    }
    doubts
}

impl Planned {
    fn words(&self, shape: f64, costs: Costs, args: &Args) -> String {
        let unit = &args.unit;
        let interval = match &self.uncertain {
            Some(Said::Found(of)) => of.age.map(|age| {
                let far = age.high.map_or_else(|| "run to failure".to_owned(), number);
                format!(" ({}: {} to {far})", percent(args.confidence), number(age.low))
            }),
            _ => None,
        };
        let wait = number(self.best.run_to_failure_cost_rate);
        let answer = match self.best.policy {
            Policy::ReplaceAt { age } => {
                let (at, interval, cost) = (
                    number(age),
                    interval.unwrap_or_default(),
                    number(self.best.cost_rate),
                );
                let costs = format!("at {cost} per {unit}, run to failure {wait}");
                if self.doubts.is_empty() {
                    return format!("replace at {at} {unit}{interval}, {costs}");
                }
                return format!(
                    "no age to replace at is shown by these data; the curve is lowest at {at} {unit}{interval}, {costs}, but {}",
                    self.doubts.join("; ")
                );
            }
            Policy::RunToFailure if costs.failure <= costs.planned => {
                "run to failure: a failure costs no more than a planned replacement".to_owned()
            }
            Policy::RunToFailure if shape <= 1.0 => {
                "run to failure: the part does not wear out (shape at most 1), planned replacement only costs"
                    .to_owned()
            }
            Policy::RunToFailure => "run to failure: planned replacement saves nothing".to_owned(),
        };
        if self.doubts.is_empty() || costs.failure <= costs.planned {
            return format!("{answer}, at {wait} per {unit}");
        }
        format!(
            "{answer}, at {wait} per {unit}; in doubt: {}",
            self.doubts.join("; ")
        )
    }
}

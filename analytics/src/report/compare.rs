//! Lives told apart: by group, by cause, by what was measured on them.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::reliability::Interval;
use crate::reliability::Life;
use crate::reliability::regression::{Coefficient, Ties, cox, weibull_aft};
use crate::reliability::survival::{
    Exit, IncidenceStep, SurvivalStep, Test, cumulative_incidence, log_rank, median,
};

use super::life::{Distribution, curve, distribution, exits, model};
use super::{Args, Lived, Said};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Groups {
    pub groups: Vec<Group>,
    pub log_rank: Said<Test>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    pub group: String,
    pub lives: usize,
    pub failures: usize,
    /// None where more than half survive what was observed.
    pub median: Option<f64>,
    pub weibull: Said<Distribution>,
    pub kaplan_meier: Said<Vec<SurvivalStep>>,
}

/// The distribution of some of the lives.
fn of_some(lives: &[Life], args: &Args) -> Said<Distribution> {
    model(lives, args.shape).map(|model| distribution(&model, lives, args.confidence))
}

pub fn groups(lives: &[Lived], args: &Args) -> Said<Groups> {
    let names: BTreeSet<&String> = lives.iter().filter_map(|lived| lived.group.as_ref()).collect();
    let members: Vec<Vec<Life>> = names
        .iter()
        .map(|name| {
            let of = lives.iter().filter(|lived| lived.group.as_ref() == Some(*name));
            of.map(|lived| lived.life).collect()
        })
        .collect();
    let exits: Vec<Vec<Exit>> = members.iter().map(|lives| exits(lives)).collect();
    let log_rank = match exits.len() {
        1 => Said::not("all lives are of one group; a comparison needs two"),
        _ => Said::of(log_rank(&exits.iter().map(Vec::as_slice).collect::<Vec<_>>())),
    };
    let groups = names.into_iter().zip(&members).map(|(name, lives)| {
        let kaplan_meier = curve(lives, args.confidence);
        Group {
            group: name.clone(),
            lives: lives.len(),
            failures: lives.iter().filter(|life| life.is_failure()).count(),
            median: kaplan_meier.found().and_then(|steps| median(steps)),
            weibull: of_some(lives, args),
            kaplan_meier,
        }
    });
    Said::Found(Groups {
        groups: groups.collect(),
        log_rank,
    })
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Causes {
    /// In the order of the failures and shares of `cumulative_incidence`.
    pub causes: Vec<Cause>,
    pub cumulative_incidence: Said<Vec<IncidenceStep>>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cause {
    pub cause: String,
    pub failures: usize,
    /// Share of all that failed by it up to the oldest age seen, the others competing.
    pub share: Option<f64>,
    /// With failures by other causes as suspensions.
    pub weibull: Said<Distribution>,
}

pub fn causes(lives: &[Lived], args: &Args) -> Said<Causes> {
    let names: BTreeSet<&String> = lives.iter().filter_map(|lived| lived.cause.as_ref()).collect();
    let names: Vec<&String> = names.into_iter().collect();
    let exits: Vec<Exit> = lives
        .iter()
        .map(|lived| Exit {
            age: lived.life.age(),
            cause: names
                .iter()
                .position(|name| Some(*name) == lived.cause.as_ref())
                .map_or(0, |place| place + 1),
        })
        .collect();
    let cumulative_incidence = Said::of(cumulative_incidence(&exits, names.len()));
    let last = cumulative_incidence
        .found()
        .and_then(|steps| steps.last())
        .cloned();
    let causes = names.into_iter().enumerate().map(|(place, name)| {
        let lives: Vec<Life> = lives
            .iter()
            .map(|lived| match lived.life {
                life if lived.cause.as_ref() == Some(name) => life,
                // By another cause, somewhere in the interval: until its start, surely not by this one.
                Life::FailedBetween(from, _) => Life::Suspended(from),
                Life::FailedBefore(_) => Life::Suspended(0.0),
                Life::Failed(at) | Life::Suspended(at) => Life::Suspended(at),
            })
            .collect();
        Cause {
            cause: name.clone(),
            failures: lives.iter().filter(|life| life.is_failure()).count(),
            share: last.as_ref().map(|step| step.incidence[place]),
            weibull: of_some(&lives, args),
        }
    });
    Said::Found(Causes {
        causes: causes.collect(),
        cumulative_incidence,
    })
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Covariates {
    pub cox: Said<Hazards>,
    pub weibull_aft: Said<Accelerated>,
}

/// Cox: `factor` multiplies the failure rate per unit of the column.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hazards {
    pub effects: Vec<Effect>,
    pub log_likelihood: f64,
    /// All columns together, by the likelihood ratio.
    pub p_value: f64,
    pub concordance: Option<f64>,
}

/// Weibull with a scale that depends on the columns: `factor` multiplies the life per unit of the column.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Accelerated {
    pub effects: Vec<Effect>,
    pub intercept: f64,
    pub shape: f64,
    pub shape_bounds: Said<Interval>,
    pub log_likelihood: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Effect {
    pub name: String,
    pub value: f64,
    pub standard_error: f64,
    pub p_value: f64,
    pub factor: f64,
    pub factor_bounds: Said<Interval>,
}

fn factor(of: &Coefficient, confidence: f64) -> Said<Interval> {
    Said::of(of.bounds(confidence)).map(|bounds: Interval| Interval {
        low: bounds.low.exp(),
        high: bounds.high.exp(),
    })
}

fn effect(of: &Coefficient, confidence: f64) -> Effect {
    Effect {
        name: of.name.clone(),
        value: of.value,
        standard_error: of.standard_error,
        p_value: of.p_value(),
        factor: of.value.exp(),
        factor_bounds: factor(of, confidence),
    }
}

pub fn covariates(lives: &[Lived], names: &[String], confidence: f64) -> Said<Covariates> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // A life that was suspended at age 0 says nothing, and has no logarithm.
    let lives: Vec<&Lived> = lives.iter().filter(|lived| lived.life.age() > 0.0).collect();
    let exits = exits(&lives.iter().map(|lived| lived.life).collect::<Vec<_>>());
    let rows: Vec<Vec<f64>> = lives.iter().map(|lived| lived.covariates.clone()).collect();
    let effects = |of: &[Coefficient]| -> Vec<Effect> { of.iter().map(|c| effect(c, confidence)).collect() };
    Said::Found(Covariates {
        cox: Said::of(cox(&exits, &names, &rows, Ties::Efron)).map(|fit| Hazards {
            effects: effects(&fit.coefficients),
            log_likelihood: fit.log_likelihood,
            p_value: fit.p_value(),
            concordance: fit.concordance,
        }),
        weibull_aft: Said::of(weibull_aft(&exits, &names, &rows)).map(|fit| Accelerated {
            effects: effects(&fit.coefficients[..names.len()]),
            intercept: fit.coefficients.last().map_or(f64::NAN, |c| c.value),
            shape: fit.log_shape.value.exp(),
            shape_bounds: factor(&fit.log_shape, confidence),
            log_likelihood: fit.log_likelihood,
        }),
    })
}

//! Repaired systems: do their failures come faster, and may the times between them be taken for lives?

use serde::Serialize;

use crate::reliability::Interval;
use crate::reliability::recurrence::{
    CrowAmsaa, Duane, Ending, History, McfStep, crow_amsaa, duane, laplace_trend, mean_cumulative_function,
    mil_hdbk_189_trend,
};
use crate::reliability::survival::Test;

use super::{Said, System};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recurrence {
    pub systems: usize,
    pub failures: usize,
    /// Time under observation of all systems.
    pub exposure: f64,
    pub trend: Trend,
    pub laplace: Said<Test>,
    pub mil_hdbk_189: Said<Test>,
    /// All systems together.
    pub power_law: Said<Growth>,
    /// Each by itself.
    pub crow_amsaa: Vec<One>,
    pub mcf: Said<Vec<McfStep>>,
    /// Why bounds of the mean cumulative function are missing, where they are.
    pub mcf_bounds: Option<String>,
}

/// What the trend tests say at the confidence that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trend {
    Faster,
    Slower,
    NotShown,
    /// Too few failures.
    Untested,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Growth {
    pub fit: CrowAmsaa,
    pub growth_rate: f64,
    pub shape_bounds: Said<Interval>,
    pub mtbf: f64,
    pub mtbf_now: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct One {
    pub system: String,
    pub failures: usize,
    pub end: f64,
    pub ending: Ending,
    #[serde(flatten)]
    pub growth: Said<Growth>,
    pub duane: Said<Line>,
}

/// Duane's line with what it says of the end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    pub fit: Duane,
    pub mtbf_now: f64,
}

fn growth(systems: &[History], confidence: f64) -> Said<Growth> {
    Said::of(crow_amsaa(systems)).map(|fit: CrowAmsaa| Growth {
        growth_rate: fit.growth_rate(),
        shape_bounds: Said::of(fit.beta_bounds(confidence)),
        mtbf: fit.mtbf_cumulative(),
        mtbf_now: fit.mtbf_instantaneous(),
        fit,
    })
}

pub fn look(systems: &[System], confidence: f64) -> Recurrence {
    let histories: Vec<History> = systems.iter().map(|system| system.history.clone()).collect();
    let laplace = Said::of(laplace_trend(&histories));
    let mil_hdbk_189 = Said::of(mil_hdbk_189_trend(&histories));
    let power_law = growth(&histories, confidence);
    let mcf = match histories.iter().all(|history| history.failures.is_empty()) {
        true => Said::not("no failure was observed"),
        false => Said::of(mean_cumulative_function(&histories, 0.5 + confidence / 2.0)),
    };
    Recurrence {
        systems: systems.len(),
        failures: histories.iter().map(|h| h.failures.len()).sum(),
        exposure: histories.iter().map(|h| h.end).sum(),
        trend: trend(&histories, (&laplace, &mil_hdbk_189), confidence),
        crow_amsaa: systems
            .iter()
            .map(|system| One {
                system: system.name.clone(),
                failures: system.history.failures.len(),
                end: system.history.end,
                ending: system.history.ending,
                growth: growth(std::slice::from_ref(&system.history), confidence),
                duane: Said::of(duane(&system.history)).map(|fit: Duane| Line {
                    mtbf_now: fit.mtbf_instantaneous(),
                    fit,
                }),
            })
            .collect(),
        mcf_bounds: unbounded(&mcf, systems.len()),
        laplace,
        mil_hdbk_189,
        power_law,
        mcf,
    }
}

fn trend(systems: &[History], (laplace, handbook): (&Said<Test>, &Said<Test>), confidence: f64) -> Trend {
    let tests = [laplace, handbook].map(Said::found);
    if tests.iter().all(Option::is_none) {
        return Trend::Untested;
    }
    if tests
        .iter()
        .flatten()
        .all(|test| test.p_value >= 1.0 - confidence)
    {
        return Trend::NotShown;
    }
    // The power law says where to: above 1 they come faster. Laplace's sign does where it has no estimate.
    let faster = match crow_amsaa(systems) {
        Ok(fit) => fit.beta_unbiased > 1.0,
        Err(_) => laplace.found().is_some_and(|test| test.statistic > 0.0),
    };
    if faster { Trend::Faster } else { Trend::Slower }
}

fn unbounded(mcf: &Said<Vec<McfStep>>, systems: usize) -> Option<String> {
    let first = mcf.found()?.iter().find(|step| step.bounds.is_none())?;
    Some(if systems == 1 {
        "one system gives no bounds: how much systems differ can't be seen".to_owned()
    } else {
        format!(
            "no bounds from {} on: only one system was still observed",
            super::figures::number(first.age)
        )
    })
}

impl Recurrence {
    /// How the tests came out, in brackets after what follows from it.
    pub fn tests(&self) -> String {
        let p = |test: &Said<Test>| {
            test.found().map_or_else(
                || "no result".to_owned(),
                |test| super::figures::probability(test.p_value),
            )
        };
        format!(
            "Laplace {}, MIL-HDBK-189 {}",
            p(&self.laplace),
            p(&self.mil_hdbk_189)
        )
    }
}

//! One set of lives: the distribution with its bounds, the curve without one, and the rate.

use serde::Serialize;

use crate::reliability::survival::{Exit, SurvivalStep, kaplan_meier};
use crate::reliability::weibull3::Weibull3Fit;
use crate::reliability::{
    DEFAULT_SHAPE, Interval, Life, LifeModel, LikelihoodBounds, Weibull, fit_life, weibull, weibull3,
};

use super::{Lived, Said};

/// Weibull, or what can be said of the scale where its shape is assumed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Distribution {
    Fitted(Fitted),
    Assumed(Assumed),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fitted {
    pub shape: f64,
    pub scale: f64,
    pub log_likelihood: f64,
    pub aic: f64,
    pub shape_bounds: Said<Interval>,
    pub scale_bounds: Said<Interval>,
    pub b10: f64,
    pub b10_bounds: Said<Interval>,
    pub mean: f64,
    pub likelihood_ratio_bounds: Said<LikelihoodBounds>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Assumed {
    pub assumed_shape: f64,
    pub scale: f64,
    /// One-sided, each at the confidence.
    pub scale_at_least: Said<f64>,
    pub scale_at_most: Said<Option<f64>>,
    pub why: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailureFree {
    pub distribution: Weibull,
    pub aic: f64,
    pub shape_bounds: Said<Interval>,
    pub scale_bounds: Said<Interval>,
    pub failure_free_bounds: Said<Interval>,
}

pub fn plain(lives: &[Lived]) -> Vec<Life> {
    lives.iter().map(|lived| lived.life).collect()
}

/// Intervals at their end, as the estimates without a distribution take them.
pub fn exits(lives: &[Life]) -> Vec<Exit> {
    lives
        .iter()
        .map(|life| Exit::new(life.age(), life.is_failure()))
        .collect()
}

pub fn model(lives: &[Life], shape: Option<f64>) -> Said<LifeModel> {
    Said::of(fit_life(lives, shape.unwrap_or(DEFAULT_SHAPE)))
}

pub fn curve(lives: &[Life], confidence: f64) -> Said<Vec<SurvivalStep>> {
    Said::of(kaplan_meier(&exits(lives), confidence))
}

pub fn distribution(model: &LifeModel, lives: &[Life], confidence: f64) -> Distribution {
    let c = confidence;
    match model {
        LifeModel::Fitted(fit) => Distribution::Fitted(Fitted {
            shape: fit.distribution.beta,
            scale: fit.distribution.eta,
            log_likelihood: fit.log_likelihood,
            aic: fit.aic(),
            shape_bounds: Said::of(fit.beta_bounds(c)),
            scale_bounds: Said::of(fit.eta_bounds(c)),
            b10: fit.distribution.quantile(0.1),
            b10_bounds: Said::of(fit.quantile_bounds(0.1, c)),
            mean: fit.distribution.mean(),
            likelihood_ratio_bounds: Said::of(fit.likelihood_ratio_bounds(lives, c)),
        }),
        LifeModel::Weibayes(weibayes) => Distribution::Assumed(Assumed {
            assumed_shape: weibayes.beta,
            scale: weibayes.eta,
            scale_at_least: Said::of(weibayes.eta_lower(c)),
            scale_at_most: Said::of(weibayes.eta_upper(c)),
            why: weibull::fit(lives).err().map(|error| error.to_string()),
        }),
    }
}

pub fn failure_free(lives: &[Life], confidence: f64) -> Said<FailureFree> {
    Said::of(weibull3::fit3(lives)).map(|fit: Weibull3Fit| FailureFree {
        distribution: fit.distribution,
        aic: fit.aic(),
        shape_bounds: Said::of(fit.beta_bounds(confidence)),
        scale_bounds: Said::of(fit.eta_bounds(confidence)),
        failure_free_bounds: Said::of(fit.gamma_bounds(confidence)),
    })
}

/// What speaks against taking the fit at its word.
pub fn doubts(of: &Distribution, oldest: f64, unit: &str) -> Vec<String> {
    let mut doubts = Vec::new();
    let mut beyond = |all: &[(&str, f64)]| {
        let names: Vec<&str> = all
            .iter()
            .filter(|(_, age)| *age > oldest)
            .map(|(name, _)| *name)
            .collect();
        if !names.is_empty() {
            doubts.push(format!(
                "beyond the oldest age seen ({} {unit}): {}; nothing was observed there, it is an extrapolation",
                super::figures::number(oldest),
                names.join(", ")
            ));
        }
    };
    match of {
        Distribution::Fitted(fit) => {
            let far = |bounds: &Said<Interval>| bounds.found().map_or(f64::NAN, |bounds| bounds.high);
            beyond(&[
                ("B10", fit.b10),
                ("the upper bound of B10", far(&fit.b10_bounds)),
                ("the scale", fit.scale),
                ("the upper bound of the scale", far(&fit.scale_bounds)),
            ]);
            let Some(bounds) = fit.shape_bounds.found() else {
                return doubts;
            };
            doubts.push(if bounds.contains(1.0) {
                "the bounds of the shape include 1: the data don't show whether failures become likelier with age".to_owned()
            } else {
                "the bounds of the shape exclude 1: the rate is not constant, and MTBF is a mean over the ages seen".to_owned()
            });
        }
        Distribution::Assumed(assumed) => {
            beyond(&[("the scale", assumed.scale)]);
            doubts.push("the shape is assumed: every age but the bounds of the scale hangs on it".to_owned());
        }
    }
    doubts
}

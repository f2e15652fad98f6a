//! What life data say: the conditional hazard of the asset's class at the asset's age.
//!
//! Three things are uncertain, and the interval carries all of them: the fitted life (Fisher or
//! chi-square bounds), how far this machine differs from its class (a gamma *frailty* that multiplies
//! the hazard, Vaupel, Manton and Stallard 1979), and what its own survival says about that: a machine
//! that outlived its class's life several times is a strong one, so its hazard is divided by what it
//! survived. Without that an old machine would be said to fail with certainty, every day anew.

use std::sync::{Arc, OnceLock};

use statrs::distribution::{ContinuousCDF, Gamma};

use crate::reliability::{DEFAULT_SHAPE, Estimate, Life, LifeModel, Weibull, fit_life};

use crate::detect::short;

/// Confidence of the intervals.
const CONFIDENCE: f64 = 0.8;
/// How far the class's default life may be off, as factors of shape and scale: nobody has measured it.
const SHAPE_RANGE: f64 = 1.25;
const SCALE_RANGE: f64 = 1.5;
/// Failures that a default life given by people is worth.
const DEFAULT_WORTH: f64 = 3.0;
/// Machines of a class differ however many failures were seen: the frailty is never worth more.
const MOST_WORTH: f64 = 20.0;

/// The lives of a class, fitted once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassLives {
    lives: Vec<Life>,
    fitted: OnceLock<Result<LifeModel, String>>,
}

impl From<Vec<Life>> for ClassLives {
    fn from(lives: Vec<Life>) -> Self {
        Self {
            lives,
            fitted: OnceLock::new(),
        }
    }
}

impl ClassLives {
    pub fn failures(&self) -> usize {
        self.lives.iter().filter(|life| life.is_failure()).count()
    }

    pub fn lives(&self) -> &[Life] {
        &self.lives
    }

    /// The shape assumed is the class's, hence the same in every call.
    fn fitted(&self, assumed_shape: f64) -> &Result<LifeModel, String> {
        self.fitted
            .get_or_init(|| fit_life(&self.lives, assumed_shape).map_err(|error| error.to_string()))
    }
}

/// What is known about the lives of a class and the age of the asset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LifeFacts {
    pub class: String,
    /// Default Weibull of the class, hours.
    pub shape: Option<f64>,
    pub scale_h: Option<f64>,
    /// Lives of the class, hours.
    pub lives: Arc<ClassLives>,
    /// Age since new or since the last failure, hours, and what it was read from.
    pub age: Option<(f64, &'static str)>,
    /// Running hours for each hour of the calendar, 0 to 1.
    pub in_use: f64,
}

/// A life model at an age.
#[derive(Clone, Debug, PartialEq)]
pub struct AgedLife {
    source: Source,
    age_h: f64,
    in_use: f64,
    frailty: Option<Frailty>,
    /// Failures that the model was learned from.
    pub failures: usize,
    /// In words.
    pub basis: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Source {
    Class(Weibull),
    Lives(LifeModel),
}

impl Source {
    fn middle(&self) -> Weibull {
        match self {
            Self::Class(weibull) => *weibull,
            Self::Lives(model) => model.distribution(),
        }
    }
}

/// How far the machine may differ from its class: m ~ Gamma(worth, worth); having survived `survived`,
/// Gamma(worth, worth + survived), with the ends of its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Frailty {
    worth: f64,
    survived: f64,
    low: f64,
    high: f64,
}

impl Frailty {
    fn new(worth: f64, survived: f64) -> Option<Self> {
        let gamma = Gamma::new(worth, worth + survived).ok()?;
        Some(Self {
            worth,
            survived,
            low: gamma.inverse_cdf(0.5 - CONFIDENCE / 2.0),
            high: gamma.inverse_cdf(0.5 + CONFIDENCE / 2.0),
        })
    }
}

/// The life of a new machine of the class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewLife {
    /// In running hours.
    pub life: Weibull,
    /// Running hours for each hour of the calendar.
    pub in_use: f64,
    /// Lower end of the shape's 80 % interval, where the shape was fitted rather than assumed.
    pub shape_low: Option<f64>,
}

impl LifeFacts {
    /// What is known of the life of a new one, whatever the age of this one.
    pub fn of_new(&self) -> Option<NewLife> {
        let (life, shape_low) = if self.lives.failures() > 0 {
            let fitted = self.lives.fitted(self.shape.unwrap_or(DEFAULT_SHAPE));
            match fitted.as_ref().ok()? {
                LifeModel::Fitted(fit) => (
                    fit.distribution,
                    fit.beta_bounds(CONFIDENCE).ok().map(|bounds| bounds.low),
                ),
                model @ LifeModel::Weibayes(_) => (model.distribution(), None),
            }
        } else {
            (Weibull::new(self.shape?, self.scale_h?).ok()?, None)
        };
        Some(NewLife {
            life,
            in_use: self.in_use,
            shape_low,
        })
    }

    /// # Errors
    /// A note for people: why nothing can be said from life data.
    pub fn model(&self) -> Result<AgedLife, String> {
        let Some((age_h, age_from)) = self.age else {
            return Err(
                "age unknown: there is no installation date and no hour meter, so life data can't be used"
                    .to_owned(),
            );
        };
        let failures = self.lives.failures();
        let (source, words) = if failures > 0 {
            let model = self
                .lives
                .fitted(self.shape.unwrap_or(DEFAULT_SHAPE))
                .clone()
                .map_err(|error| format!("the lives of class {} can't be used: {error}", self.class))?;
            let words = model.basis();
            (Source::Lives(model), words)
        } else if let (Some(shape), Some(scale)) = (self.shape, self.scale_h) {
            let weibull = Weibull::new(shape, scale).map_err(|error| {
                format!("the default life of class {} can't be used: {error}", self.class)
            })?;
            let words = format!(
                "no failure on record: default life of class {} (Weibull, shape {}, scale {} h)",
                self.class,
                short(shape),
                short(scale)
            );
            (Source::Class(weibull), words)
        } else {
            return Err(format!(
                "class {} has no failure on record and no default life: nothing can be said from life data",
                self.class
            ));
        };
        let basis = format!("{words}, age {} h by {age_from}", short(age_h));
        let age_h = age_h.max(0.0);
        let worth = match source {
            Source::Lives(_) => (failures as f64).min(MOST_WORTH),
            Source::Class(_) => DEFAULT_WORTH,
        };
        Ok(AgedLife {
            frailty: Frailty::new(worth, source.middle().cumulative_hazard(age_h)),
            source,
            age_h,
            in_use: self.in_use,
            failures,
            basis,
        })
    }
}

impl AgedLife {
    /// Cumulative hazard over the next `hours` of the calendar, with its interval.
    pub fn hazard(&self, hours: f64) -> Option<Estimate> {
        let hours = hours * self.in_use;
        let ahead =
            |life: &Weibull| life.cumulative_hazard(self.age_h + hours) - life.cumulative_hazard(self.age_h);
        let middle = self.source.middle();
        let (low, high) = match &self.source {
            Source::Lives(model) => {
                let p = model.conditional_failure(self.age_h, hours, CONFIDENCE).ok()?;
                let hazard = |p: f64| -(-p.min(1.0 - 1e-12)).ln_1p();
                (hazard(p.low), hazard(p.high))
            }
            Source::Class(weibull) => {
                let corners = [1.0 / SHAPE_RANGE, SHAPE_RANGE].into_iter().flat_map(|shape| {
                    [1.0 / SCALE_RANGE, SCALE_RANGE].map(|scale| {
                        ahead(&Weibull {
                            beta: weibull.beta * shape,
                            eta: weibull.eta * scale,
                            gamma: weibull.gamma,
                        })
                    })
                });
                let value = ahead(weibull);
                corners.fold((value, value), |(low, high), corner| {
                    (low.min(corner), high.max(corner))
                })
            }
        };
        let ahead = ahead(&middle);
        if ahead <= 0.0 {
            return Some(Estimate {
                value: 0.0,
                low: 0.0,
                high: high.max(0.0),
            });
        }
        let Frailty {
            worth,
            survived,
            low: weakest,
            high: strongest,
        } = self.frailty?;
        let by_own_survival = worth / (worth + survived);
        Some(Estimate {
            // The hazard of the mean survival over the frailty.
            value: worth * (ahead / (worth + survived)).ln_1p(),
            low: (low * by_own_survival).min(ahead * weakest),
            high: (high * by_own_survival).max(ahead * strongest),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn month(lives: Vec<Life>, age_h: f64) -> Estimate {
        let life = LifeFacts {
            class: "engine".to_owned(),
            shape: Some(2.0),
            scale_h: Some(500.0),
            lives: Arc::new(lives.into()),
            age: Some((age_h, "hour meter")),
            in_use: 1.0,
        };
        let hazard = life.model().unwrap().hazard(720.0).unwrap();
        let p = |hazard: f64| -(-hazard).exp_m1();
        Estimate {
            value: p(hazard.value),
            low: p(hazard.low),
            high: p(hazard.high),
        }
    }

    #[test]
    fn a_machine_that_outlived_its_class_is_not_certain_to_fail() {
        let default = month(Vec::new(), 5_000.0);
        assert!(
            default.value < 0.8 && default.low < 0.5 && default.high > default.value,
            "{default:?}"
        );
        let young = month(Vec::new(), 100.0);
        assert!(young.value > 0.5 && young.low < 0.7, "{young:?}");
    }

    #[test]
    fn more_failures_make_the_interval_narrower() {
        let width = |n: usize| {
            let lives = (0..n).map(|i| Life::Failed(800.0 + 4000.0 * (i as f64 + 0.5) / n as f64));
            let p = month(lives.collect(), 1500.0);
            assert!(p.low < p.value && p.value < p.high, "{n}: {p:?}");
            p.high - p.low
        };
        let widths = [1, 3, 10, 100].map(width);
        assert!(widths.windows(2).all(|pair| pair[0] > pair[1]), "{widths:?}");
    }
}

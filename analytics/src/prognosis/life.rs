//! What life data say: the conditional hazard of the asset's class at the asset's age.

use crate::reliability::{DEFAULT_SHAPE, Estimate, Life, LifeModel, Weibull, fit_life};

use crate::detect::short;

/// Confidence of the intervals.
const CONFIDENCE: f64 = 0.8;
/// How far the class's default life may be off, as factors of shape and scale: nobody has measured it.
const SHAPE_RANGE: f64 = 1.25;
const SCALE_RANGE: f64 = 1.5;

/// What is known about the lives of a class and the age of the asset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LifeFacts {
    pub class: String,
    /// Default Weibull of the class, hours.
    pub shape: Option<f64>,
    pub scale_h: Option<f64>,
    /// Lives of the class, hours.
    pub lives: Vec<Life>,
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
    /// In words.
    pub basis: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Source {
    Class(Weibull),
    Lives(LifeModel),
}

impl LifeFacts {
    /// # Errors
    /// A note for people: why nothing can be said from life data.
    pub fn model(&self) -> Result<AgedLife, String> {
        let Some((age_h, age_from)) = self.age else {
            return Err(
                "age unknown: there is no installation date and no hour meter, so life data can't be used"
                    .to_owned(),
            );
        };
        let failures = self.lives.iter().filter(|life| life.is_failure()).count();
        let (source, words) = if failures > 0 {
            let model = fit_life(&self.lives, self.shape.unwrap_or(DEFAULT_SHAPE))
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
        Ok(AgedLife {
            source,
            age_h: age_h.max(0.0),
            in_use: self.in_use,
            basis,
        })
    }
}

impl AgedLife {
    /// Cumulative hazard over the next `hours` of the calendar, with its interval.
    pub fn hazard(&self, hours: f64) -> Option<Estimate> {
        let hours = hours * self.in_use;
        match &self.source {
            Source::Lives(model) => {
                let p = model.conditional_failure(self.age_h, hours, CONFIDENCE).ok()?;
                let hazard = |p: f64| -(-p.min(1.0 - 1e-9)).ln_1p();
                Some(Estimate {
                    value: hazard(p.value),
                    low: hazard(p.low),
                    high: hazard(p.high),
                })
            }
            Source::Class(weibull) => {
                let hazard = |shape: f64, scale: f64| {
                    let life = Weibull {
                        beta: weibull.beta * shape,
                        eta: weibull.eta * scale,
                        gamma: weibull.gamma,
                    };
                    life.cumulative_hazard(self.age_h + hours) - life.cumulative_hazard(self.age_h)
                };
                let corners = [1.0 / SHAPE_RANGE, SHAPE_RANGE]
                    .into_iter()
                    .flat_map(|shape| [1.0 / SCALE_RANGE, SCALE_RANGE].map(|scale| hazard(shape, scale)));
                let value = hazard(1.0, 1.0);
                let (low, high) = corners.fold((value, value), |(low, high), corner| {
                    (low.min(corner), high.max(corner))
                });
                Some(Estimate { value, low, high })
            }
        }
    }
}

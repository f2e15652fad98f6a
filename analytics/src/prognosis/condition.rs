//! What the condition adds to the hazard: trends, P-F intervals, runs to failure of the class, or only the distance.

use models::assessment::RemainingLife;
use models::db::assessment::ModeFacts;
use statrs::distribution::{ContinuousCDF, Normal};

use super::mode;
use super::trend::{Past, Trend};
use super::{MOST_SURE, Z80};
use crate::detect::{Detection, WORTH_A_WORD, short};
use crate::health::duration;
use crate::learn::remaining::Left;
use crate::reliability::{Estimate, Weibull};

/// Growth of the hazard for each threshold of anomaly: the middle, the low and the high.
const GAMMA: Estimate = Estimate {
    value: 1.0,
    low: 0.5,
    high: 1.5,
};
/// Thresholds beyond which more deviation says no more.
const MOST_CONDITION: f64 = 4.0;
/// From detectable to failed: wear-out, hence a shape above 1; the interval people give is rarely
/// better than within half as much again.
const PF_SHAPE: f64 = 3.0;
const PF_UNCERTAINTY: f64 = 1.5;
/// What a condition adds to the evidence: a measured trend or an interval people gave, or only a distance.
const SHAPED: f64 = 3.0;
const DISTANCE: f64 = 1.0;
/// How often a deviation that looks like the beginning of a failure is one.
const CREDENCE: Estimate = Estimate {
    value: 0.9,
    low: 0.7,
    high: 0.98,
};

/// What the condition adds to the hazard over a horizon.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    shape: Shape,
    /// Observations that it is worth, see [`super::bounded`].
    pub worth: f64,
    pub basis: String,
    pub rul: Option<RemainingLife>,
    /// It rests on a limit that people set: what the class's failure model was learned from need not know it.
    pub by_set_limit: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    /// Log-normal through the median, hours.
    Towards {
        median_h: f64,
        sigma: f64,
    },
    /// Past the limit.
    Reached,
    /// The P-F interval's median and for how long the deviation has been there, hours.
    Interval {
        median_h: f64,
        since_h: f64,
    },
    Runs(Points),
    /// Thresholds beyond what is worth a word.
    Proportional(f64),
}

impl Condition {
    /// Cumulative hazard over the next `hours`; `base` is what life data say over the same time.
    pub fn hazard(&self, hours: f64, base: f64) -> Estimate {
        match &self.shape {
            Shape::Towards { median_h, sigma } => {
                let p = |middle: f64| Normal::standard().cdf((hours / middle.max(0.1)).ln() / sigma);
                let wide = (sigma / 2.0).exp();
                believed(p(*median_h), p(median_h * wide), p(median_h / wide))
            }
            Shape::Reached => believed(1.0, 1.0, 1.0),
            Shape::Interval { median_h, since_h } => {
                let p = |stretch: f64| pf_life(*median_h, stretch).conditional_failure(*since_h, hours);
                believed(p(1.0), p(PF_UNCERTAINTY), p(1.0 / PF_UNCERTAINTY))
            }
            Shape::Runs(points) => points.at(hours),
            Shape::Proportional(x) => {
                let factor = |gamma: f64| (gamma * x).exp() - 1.0;
                Estimate {
                    value: base * factor(GAMMA.value),
                    low: base * factor(GAMMA.low),
                    high: base * factor(GAMMA.high),
                }
            }
        }
    }

    /// Whether it says anything without life data: a multiple of nothing doesn't.
    pub fn alone(&self) -> bool {
        !matches!(self.shape, Shape::Proportional(_))
    }
}

/// Probabilities of a failure that a deviation announces, as hazards, believed no more than it deserves.
fn believed(value: f64, low: f64, high: f64) -> Estimate {
    let hazard = |p: f64, credence: f64| -(-p * credence).ln_1p();
    Estimate {
        value: hazard(value, CREDENCE.value),
        low: hazard(low, CREDENCE.low),
        high: hazard(high, CREDENCE.high),
    }
}

fn pf_life(median_h: f64, stretch: f64) -> Weibull {
    Weibull {
        beta: PF_SHAPE,
        // The interval people give is the median.
        eta: stretch * median_h / std::f64::consts::LN_2.powf(1.0 / PF_SHAPE),
        gamma: 0.0,
    }
}

pub(super) fn by_trend(trend: &Trend) -> Condition {
    let rul = trend.rul;
    Condition {
        shape: Shape::Towards {
            median_h: rul.p50_h,
            // As wide as p10 says.
            sigma: ((rul.p50_h.max(0.1) / rul.p10_h.max(0.05)).ln() / Z80).clamp(0.1, 2.0),
        },
        worth: SHAPED,
        basis: format!("trend of {} towards {}", trend.title, trend.limit_text),
        rul: Some(rul),
        by_set_limit: trend.set,
    }
}

/// Past the limit no time is left until it. What lies beyond is believed as often as a trend that has arrived.
pub(super) fn by_passed_limit(past: &Past) -> Condition {
    Condition {
        shape: Shape::Reached,
        worth: SHAPED,
        basis: format!(
            "{} at {} is past {}",
            past.title,
            short(past.value),
            past.limit_text
        ),
        rul: Some(RemainingLife {
            p10_h: 0.0,
            p50_h: 0.0,
            p90_h: Some(0.0),
        }),
        by_set_limit: true,
    }
}

pub(super) fn by_pf_interval(mode: Option<&ModeFacts>, detection: &Detection) -> Option<Condition> {
    let mode = mode?;
    let median_h = mode.pf_interval_days? * 24.0;
    let worst = detection.worst().filter(|worst| worst.anomaly >= 1.0)?;
    // Detectable since the first of the mode's channels deviated, not since the worst one did: another that grows past
    // it must not set the clock back.
    let since_h = detection
        .channels
        .iter()
        .filter(|verdict| verdict.anomaly >= 1.0 && mode::shows_in(mode, verdict))
        .map(|verdict| verdict.for_h)
        .reduce(f64::max)
        .unwrap_or(worst.for_h);
    let left = |stretch: f64, q: f64| pf_life(median_h, stretch).remaining_quantile(since_h, q);
    Some(Condition {
        shape: Shape::Interval { median_h, since_h },
        worth: SHAPED,
        basis: format!(
            "{}: {} from detectable to failed, detectable for {}",
            mode.name.to_lowercase(),
            duration(median_h),
            duration(since_h)
        ),
        rul: Some(RemainingLife {
            p10_h: left(1.0 / PF_UNCERTAINTY, 0.1),
            p50_h: left(1.0, 0.5),
            p90_h: Some(left(PF_UNCERTAINTY, 0.9)),
        }),
        by_set_limit: false,
    })
}

/// What the class's runs to failure say, as a hazard: the share of those like it that failed within.
pub(super) fn by_runs(left: &Left) -> Condition {
    let hazard = |p: f64| -(-p.min(MOST_SURE)).ln_1p();
    let points = left.within.iter().map(|(horizon_h, share)| {
        let hazards = Estimate {
            value: hazard(share.value),
            low: hazard(share.low),
            high: hazard(share.high),
        };
        (f64::from(*horizon_h), hazards)
    });
    Condition {
        shape: Shape::Runs(Points(points.collect())),
        worth: left.runs as f64,
        basis: format!("remaining life by {} runs to failure of its class", left.runs),
        rul: None,
        by_set_limit: false,
    }
}

pub(super) fn proportional(anomaly: f64) -> Condition {
    let x = (anomaly - WORTH_A_WORD).clamp(0.0, MOST_CONDITION);
    Condition {
        shape: Shape::Proportional(x),
        worth: DISTANCE,
        basis: format!(
            "hazard × {} for the condition (exponent {} a threshold, {} to {})",
            short((GAMMA.value * x).exp()),
            GAMMA.value,
            GAMMA.low,
            GAMMA.high
        ),
        rul: None,
        by_set_limit: false,
    }
}

/// A cumulative hazard that is known at some horizons: straight lines from 0 through them, and on as the last one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Points(pub Vec<(f64, Estimate)>);

impl Points {
    pub fn at(&self, hours: f64) -> Estimate {
        const NOTHING: (f64, Estimate) = (
            0.0,
            Estimate {
                value: 0.0,
                low: 0.0,
                high: 0.0,
            },
        );
        let place = self.0.partition_point(|(horizon, _)| *horizon < hours);
        let (to, from) = match (self.0.get(place), self.0.len()) {
            (Some(exact), _) if exact.0 == hours => return exact.1,
            (Some(next), _) => (next, place.checked_sub(1).map_or(&NOTHING, |i| &self.0[i])),
            (None, 0) => return NOTHING.1,
            (None, n) => (&self.0[n - 1], n.checked_sub(2).map_or(&NOTHING, |i| &self.0[i])),
        };
        let share = (hours - from.0) / (to.0 - from.0);
        let between = |a: f64, b: f64| (a + (b - a) * share).max(a);
        Estimate {
            value: between(from.1.value, to.1.value),
            low: between(from.1.low, to.1.low),
            high: between(from.1.high, to.1.high),
        }
    }
}

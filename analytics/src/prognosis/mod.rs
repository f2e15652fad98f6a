//! Prognosis: how likely a failure is within 24 hours, 7 days and 30 days, and how much life is left.
//!
//! Two sources, added as hazards:
//!
//! 1. *Life data* (`life`): the class's Weibull, conditional on the asset's age, from its failures
//!    where there are any.
//! 2. *Condition*: what the deviations add, by the best description there is, the largest of
//!    a trend that runs into a limit (`trend`), the P-F interval of the failure mode it looks like
//!    (`mode`), and, where neither speaks, a proportional hazard: e to the power of γ times the
//!    thresholds beyond normal, γ = 1.0 with a range of 0.5 to 1.5. γ is an assumption until a tenant's
//!    own failures can fit it, and the interval says so by its width.
//!
//! A deviation isn't always the beginning of a failure: a trend or a P-F interval is believed nine times
//! in ten (seven to nearly all), until a tenant's closed tickets can say how often it was right.
//!
//! A number is never surer than what it rests on ([`bounded`]): one that rests on `n` observations (failures
//! of the class, and what people or a measured trend add) that all said "fails" can't put the lower end of
//! an 80 % interval above 0.1^(1/n), the exact binomial bound, nor the number itself above the mean of
//! Jeffreys' posterior, (n + ½) / (n + 1).
//!
//! Where the class has models of its own (`learn`), they were judged on machines they had not seen and stand in place of
//! what is assumed here: the failure model of both sources, the model of remaining life of the P-F interval and the
//! proportional hazard. A trend that runs into a limit stays beside it: it may be a failure that the class has not seen yet.
//!
//! Intervals are 80 %. Bounds of both sources are combined at their own bounds, which is wider than
//! the truth and never narrower.

pub mod life;
pub mod mode;
pub mod trend;

use std::fmt::Write as _;

use models::assessment::{FailureProbability, RemainingLife};
use models::db::assessment::ModeFacts;
use statrs::distribution::{ContinuousCDF, Normal};

use crate::detect::{Detection, WORTH_A_WORD, short};
use crate::health::{Kind, Reason, duration, severity};
use crate::learn::Foreseen;
use crate::learn::remaining::Left;
use crate::reliability::{Estimate, Weibull};
use crate::window::Window;

pub use life::LifeFacts;

/// Horizons, hours.
pub const HORIZONS_H: [i32; 3] = [24, 168, 720];
/// z of the 10 % and 90 % quantiles.
const Z80: f64 = 1.281_551_565_544_6;
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
/// No interval ends in certainty.
const MOST_SURE: f64 = 0.999;
/// What a condition adds to the evidence: a measured trend or an interval people gave, or only a distance.
const SHAPED: f64 = 3.0;
const DISTANCE: f64 = 1.0;
/// How often a deviation that looks like the beginning of a failure is one.
const CREDENCE: Estimate = Estimate {
    value: 0.9,
    low: 0.7,
    high: 0.98,
};

#[derive(Clone, Debug, PartialEq)]
pub struct Prognosis {
    pub p_fail: Vec<FailureProbability>,
    pub rul: Option<RemainingLife>,
    /// Place of the likeliest failure mode in the list given.
    pub mode: Option<usize>,
    pub reasons: Vec<Reason>,
    pub notes: Vec<String>,
}

/// What the condition adds to the hazard over a horizon.
struct Condition {
    hazard: Box<dyn Fn(f64, f64) -> Estimate>,
    /// Observations that it is worth, see [`bounded`].
    worth: f64,
    basis: String,
    rul: Option<RemainingLife>,
}

/// The prognosis of one asset. `detection = None`: no baseline yet, life data alone.
/// `foreseen`: what the class's own models say. The failure model stands in place of life data and
/// condition where it has the horizon, because it was judged on machines it had not seen.
pub fn prognose(
    life: &LifeFacts,
    modes: &[ModeFacts],
    seen: Option<(&Detection, &Window)>,
    foreseen: Option<&Foreseen>,
) -> Prognosis {
    let mut notes = Vec::new();
    let mut reasons = Vec::new();
    let fitted = life.model().map_err(|note| notes.push(note)).ok();
    let anomaly = seen.map_or(0.0, |(detection, _)| detection.anomaly);
    let mode = seen.and_then(|(detection, _)| mode::likeliest(modes, detection));
    let left = foreseen.and_then(|foreseen| foreseen.life.as_ref());
    let mut conditions = Vec::new();
    if let Some((detection, window)) = seen {
        match trend::to_limit(detection, window) {
            trend::Outcome::Towards(trend) => {
                reasons.push(trend_reason(&trend));
                conditions.push(by_trend(&trend));
            }
            trend::Outcome::Past(note) => notes.push(note),
            trend::Outcome::None => {}
        }
        if let Some(condition) =
            by_pf_interval(mode.map(|place| &modes[place]), detection).filter(|_| left.is_none())
        {
            conditions.push(condition);
        }
    }
    match left {
        Some(left) => conditions.push(by_runs(left)),
        None if anomaly > WORTH_A_WORD => conditions.push(proportional(anomaly)),
        None => {}
    }
    let p_fail: Vec<FailureProbability> = HORIZONS_H
        .iter()
        .filter_map(|horizon_h| {
            if let Some((p, foreseen)) = foreseen.and_then(|all| {
                let own = all.within.iter().find(|(own, ..)| own == horizon_h)?;
                Some((own, all))
            }) {
                return Some(by_model(p, foreseen));
            }
            let hours = f64::from(*horizon_h);
            let base = fitted.as_ref().and_then(|model| model.hazard(hours));
            // The proportional hazard multiplies what life data say, so it needs them.
            let worst = conditions
                .iter()
                .map(|condition| {
                    (
                        (condition.hazard)(hours, base.map_or(0.0, |base| base.value)),
                        condition,
                    )
                })
                .max_by(|a, b| a.0.value.total_cmp(&b.0.value))
                .filter(|(hazard, _)| hazard.value > 0.0);
            if base.is_none() && worst.is_none() {
                return None;
            }
            let sum = |pick: fn(&Estimate) -> f64| {
                base.as_ref().map_or(0.0, pick) + worst.as_ref().map_or(0.0, |(h, _)| pick(h))
            };
            let p = |hazard: f64| -(-hazard).exp_m1();
            let evidence = 1.0
                + fitted
                    .as_ref()
                    .filter(|_| base.is_some())
                    .map_or(0.0, |model| model.failures as f64)
                + worst.as_ref().map_or(0.0, |(_, condition)| condition.worth);
            let (value, low, high) = bounded(
                (p(sum(|h| h.value)), p(sum(|h| h.low)), p(sum(|h| h.high))),
                evidence,
            );
            let basis: Vec<&str> = [fitted
                .as_ref()
                .filter(|_| base.is_some())
                .map(|model| model.basis.as_str())]
            .into_iter()
            .chain([worst.as_ref().map(|(_, condition)| condition.basis.as_str())])
            .flatten()
            .collect();
            Some(FailureProbability {
                horizon_h: *horizon_h,
                p: value,
                low,
                high,
                basis: basis.join("; "),
                modes: Vec::new(),
            })
        })
        .collect();
    let by_condition = conditions
        .iter()
        .filter_map(|condition| condition.rul)
        .min_by(|a, b| a.p50_h.total_cmp(&b.p50_h));
    let by_runs = left.filter(|left| by_condition.is_none_or(|other| other.p50_h >= left.rul.p10_h));
    let rul = by_runs.map(|left| left.rul).or(by_condition);
    if let (Some(left), None) = (left, by_runs) {
        notes.push(format!(
            "the trend ends sooner than {} runs to failure of the class would have it (at least {}): the sooner end is shown",
            left.runs,
            duration(left.rul.p10_h)
        ));
    }
    if let Some(month) = p_fail.last() {
        reasons.push(Reason {
            kind: Kind::Probability,
            name: "failure probability".to_owned(),
            severity: severity(Kind::Probability, month.p, 0.05, 0.35),
            value: Some(month.p),
            expected: None,
            channel: None,
            text: format!(
                "{:.0} % probability of failing within 30 days ({:.0} to {:.0} %)",
                month.p * 100.0,
                month.low * 100.0,
                month.high * 100.0
            ),
        });
    }
    match (rul, by_runs) {
        (_, Some(left)) if left.beyond() => notes.push(format!(
            "more than {} left: the class's model of remaining life looks no further",
            duration(left.cap_h)
        )),
        (Some(rul), by_runs) => {
            reasons.push(life_reason(rul, by_runs));
            if rul.p90_h.is_none() {
                notes.push("the far end of the remaining life is open: the data don't bound it".to_owned());
            }
        }
        (None, _) => {}
    }
    Prognosis {
        p_fail,
        rul,
        mode,
        reasons,
        notes,
    }
}

/// Within a month it costs, the more the less is left.
fn life_reason(rul: RemainingLife, by_runs: Option<&Left>) -> Reason {
    let urgency = (720.0 - rul.p50_h).max(0.0) / 720.0;
    let (middle, low) = (duration(rul.p50_h), duration(rul.p10_h));
    let mut text = match (rul.p90_h, by_runs) {
        (Some(p90), _) => format!("about {middle} left ({low} to {})", duration(p90)),
        (None, Some(left)) => format!(
            "about {middle} left, in 80 % of cases at least {}",
            duration(left.low80_h)
        ),
        (None, None) => format!("about {middle} left, at least {low}"),
    };
    if let Some(left) = by_runs {
        let _ = write!(text, ", by {} runs to failure of its class", left.runs);
        if !left.because.is_empty() {
            let _ = write!(text, "; shortened most by {}", left.because.join(", "));
        }
    }
    Reason {
        kind: Kind::RemainingLife,
        name: "remaining life".to_owned(),
        severity: severity(Kind::RemainingLife, urgency, 0.0, 0.5),
        value: Some(rul.p50_h),
        expected: None,
        channel: None,
        text,
    }
}

fn trend_reason(trend: &trend::Trend) -> Reason {
    Reason {
        kind: Kind::Trend,
        name: format!("{} trend", trend.title),
        severity: severity(
            Kind::Trend,
            (2160.0 - trend.rul.p50_h).max(0.0) / 2160.0,
            0.0,
            0.5,
        ),
        value: Some(trend.slope_per_h * 24.0),
        expected: Some(0.0),
        channel: Some(trend.channel),
        text: format!(
            "{} moves by {} a day and reaches {} in about {}",
            trend.title,
            short(trend.slope_per_h * 24.0),
            trend.limit_text,
            duration(trend.rul.p50_h)
        ),
    }
}

/// A probability of the class's failure model, with what raises it.
fn by_model(&(horizon_h, p, low, high): &(i32, f64, f64, f64), foreseen: &Foreseen) -> FailureProbability {
    let (p, low, high) = bounded((p, low, high), 1.0 + foreseen.failures as f64);
    let because: Vec<&str> = foreseen.because.iter().map(|(name, _)| name.as_str()).collect();
    let because = if because.is_empty() {
        String::new()
    } else {
        format!("; raised most by {}", because.join(", "))
    };
    FailureProbability {
        horizon_h,
        p,
        low,
        high,
        basis: format!("model of the class's {} failures{because}", foreseen.failures),
        modes: Vec::new(),
    }
}

/// Keeps (probability, low, high) within what `evidence` observations can say.
fn bounded((value, low, high): (f64, f64, f64), evidence: f64) -> (f64, f64, f64) {
    let value = value.min((evidence + 0.5) / (evidence + 1.0));
    let low = low.min(value).min(0.1_f64.powf(1.0 / evidence));
    (value, low, high.max(value).min(MOST_SURE))
}

fn by_trend(trend: &trend::Trend) -> Condition {
    let rul = trend.rul;
    // Log-normal through p50, as wide as p10 says.
    let sigma = ((rul.p50_h.max(0.1) / rul.p10_h.max(0.05)).ln() / Z80).clamp(0.1, 2.0);
    let p = move |hours: f64, middle: f64| Normal::standard().cdf((hours / middle.max(0.1)).ln() / sigma);
    let wide = (sigma / 2.0).exp();
    Condition {
        hazard: Box::new(move |hours, _| {
            believed(
                p(hours, rul.p50_h),
                p(hours, rul.p50_h * wide),
                p(hours, rul.p50_h / wide),
            )
        }),
        worth: SHAPED,
        basis: format!("trend of {} towards {}", trend.title, trend.limit_text),
        rul: Some(rul),
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

fn by_pf_interval(mode: Option<&ModeFacts>, detection: &Detection) -> Option<Condition> {
    let mode = mode?;
    let interval_h = mode.pf_interval_days? * 24.0;
    let worst = detection.worst().filter(|worst| worst.anomaly >= 1.0)?;
    let since_h = worst.for_h;
    let life = move |stretch: f64| Weibull {
        beta: PF_SHAPE,
        // The interval people give is the median.
        eta: stretch * interval_h / std::f64::consts::LN_2.powf(1.0 / PF_SHAPE),
        gamma: 0.0,
    };
    let p = move |hours: f64, stretch: f64| life(stretch).conditional_failure(since_h, hours);
    let left = |stretch: f64, q: f64| life(stretch).remaining_quantile(since_h, q);
    Some(Condition {
        hazard: Box::new(move |hours, _| {
            believed(
                p(hours, 1.0),
                p(hours, PF_UNCERTAINTY),
                p(hours, 1.0 / PF_UNCERTAINTY),
            )
        }),
        worth: SHAPED,
        basis: format!(
            "{}: {} from detectable to failed, detectable for {}",
            mode.name.to_lowercase(),
            duration(interval_h),
            duration(since_h)
        ),
        rul: Some(RemainingLife {
            p10_h: left(1.0 / PF_UNCERTAINTY, 0.1),
            p50_h: left(1.0, 0.5),
            p90_h: Some(left(PF_UNCERTAINTY, 0.9)),
        }),
    })
}

/// What the class's runs to failure say, as a hazard: the share of those like it that failed within.
fn by_runs(left: &Left) -> Condition {
    let within = left.within.clone();
    let hazard = |p: f64| -(-p.min(MOST_SURE)).ln_1p();
    Condition {
        hazard: Box::new(move |hours, _| {
            let own = within
                .iter()
                .find(|(horizon, _)| f64::from(*horizon) >= hours)
                .map_or(
                    Estimate {
                        value: 0.0,
                        low: 0.0,
                        high: 0.0,
                    },
                    |(_, share)| *share,
                );
            Estimate {
                value: hazard(own.value),
                low: hazard(own.low),
                high: hazard(own.high),
            }
        }),
        worth: left.runs as f64,
        basis: format!("remaining life by {} runs to failure of its class", left.runs),
        rul: None,
    }
}

fn proportional(anomaly: f64) -> Condition {
    let x = (anomaly - WORTH_A_WORD).clamp(0.0, MOST_CONDITION);
    let factor = move |gamma: f64| (gamma * x).exp() - 1.0;
    Condition {
        hazard: Box::new(move |_, base| Estimate {
            value: base * factor(GAMMA.value),
            low: base * factor(GAMMA.low),
            high: base * factor(GAMMA.high),
        }),
        worth: DISTANCE,
        basis: format!(
            "hazard × {} for the condition (exponent {} a threshold, {} to {})",
            short(factor(GAMMA.value) + 1.0),
            GAMMA.value,
            GAMMA.low,
            GAMMA.high
        ),
        rul: None,
    }
}

#[cfg(test)]
mod tests;

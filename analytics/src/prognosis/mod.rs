//! Prognosis: how likely a failure is within 24 hours, 7 days and 30 days, and how much life is left.
//!
//! Two sources, added as hazards:
//!
//! 1. *Life data* (`life`): the class's Weibull, conditional on the asset's age, from its failures
//!    where there are any.
//! 2. *Condition*: what the deviations add, by the best description there is, the largest of
//!    a trend that runs into a limit or has passed it (`trend`), the P-F interval of the failure mode it
//!    looks like (`mode`), and, where neither speaks, a proportional hazard: e to the power of γ times the
//!    thresholds beyond normal, γ = 1.0 with a range of 0.5 to 1.5 (`condition`). γ is an assumption until
//!    a tenant's own failures can fit it, and the interval says so by its width.
//!
//! Both make one curve (`curve`), and everything is read from it: the probability at a horizon is at least one half
//! exactly where the middle of the remaining life comes before it. Past a limit nothing is left, and the probability
//! is at least what it was just below.
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
//! proportional hazard. A trend into a limit that people set stays beside both: it may be a failure that
//! the class has not seen yet. Where the models disagree about which side of one half a horizon is
//! on, the probability stands and the interval of the remaining life is widened to it, which is said.
//!
//! Intervals are 80 %. Bounds of both sources are combined at their own bounds, which is wider than
//! the truth and never narrower.

mod condition;
mod curve;
pub mod life;
pub mod mode;
pub mod trend;

use std::fmt::Write as _;

use models::assessment::{FailureProbability, RemainingLife, percent};
use models::db::assessment::ModeFacts;

use crate::detect::{Detection, WORTH_A_WORD, short};
use crate::health::{Kind, Reason, duration, severity};
use crate::learn::Foreseen;
use crate::learn::remaining::Left;
use crate::reliability::Estimate;
use crate::window::Window;

use condition::{by_passed_limit, by_pf_interval, by_runs, by_trend, proportional};
pub use curve::Curve;
use curve::{ByModel, bounded};
pub use life::LifeFacts;

/// Horizons, hours.
pub const HORIZONS_H: [i32; 3] = [24, 168, 720];
/// z of the 10 % and 90 % quantiles.
const Z80: f64 = 1.281_551_565_544_6;
/// No interval ends in certainty.
const MOST_SURE: f64 = 0.999;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prognosis {
    pub p_fail: Vec<FailureProbability>,
    pub rul: Option<RemainingLife>,
    /// Place of the likeliest failure mode in the list given.
    pub mode: Option<usize>,
    pub reasons: Vec<Reason>,
    pub notes: Vec<String>,
    /// What the probabilities and the remaining life were read from.
    pub curve: Curve,
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
        let limits = trend::to_limits(detection, window);
        for past in &limits.past {
            reasons.push(passed_reason(past));
            conditions.push(by_passed_limit(past));
        }
        if let Some(trend) = &limits.towards {
            reasons.push(trend_reason(trend));
            // Runs to failure know better than a guess where the end is.
            if trend.set || left.is_none() {
                conditions.push(by_trend(trend));
            }
        }
        notes.extend(limits.notes);
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
    let foreseen = foreseen.filter(|foreseen| !foreseen.within.is_empty());
    let curve = Curve {
        base: fitted,
        conditions,
        model: foreseen.map(by_model),
    };
    let p_fail: Vec<FailureProbability> = HORIZONS_H
        .iter()
        .filter_map(|horizon_h| {
            let hours = f64::from(*horizon_h);
            let Estimate { value, low, high } = curve.p(hours)?;
            Some(FailureProbability {
                horizon_h: *horizon_h,
                p: value,
                low,
                high,
                basis: basis(&curve, foreseen, hours),
                modes: Vec::new(),
            })
        })
        .collect();
    let soonest = curve.soonest();
    let by_runs = left.filter(|left| soonest.is_none_or(|other| other.p50_h >= left.rul.p10_h));
    let rul = curve.remaining(by_runs);
    if let (Some(left), None) = (left, by_runs) {
        notes.push(format!(
            "the trend ends sooner than {} runs to failure of the class would have it (at least {}): the sooner end is shown",
            left.runs,
            duration(left.rul.p10_h)
        ));
    }
    if let (Some(left), Some(rul)) = (by_runs, rul)
        && rul != left.rul
    {
        notes.push(format!(
            "{} runs to failure of the class alone would have half of them fail within {}: the probabilities say otherwise, and the middle follows them",
            left.runs,
            duration(left.rul.p50_h)
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
                "{} % probability of failing within 30 days ({} to {} %)",
                percent(month.p),
                percent(month.low),
                percent(month.high)
            ),
        });
    }
    match (rul, by_runs) {
        (Some(rul), Some(left)) if left.beyond() && rul.p50_h >= left.cap_h => notes.push(format!(
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
        curve,
    }
}

/// What a probability rests on, in words.
fn basis(curve: &Curve, foreseen: Option<&Foreseen>, hours: f64) -> String {
    let foremost = curve
        .foremost(hours)
        .map(|condition| condition.basis.as_str())
        .filter(|_| foreseen.is_none() || curve.limit_exceeds_model(hours));
    let from = match foreseen {
        Some(foreseen) => Some(model_words(foreseen)),
        None => curve.base.as_ref().map(|base| base.basis.clone()),
    };
    let words: Vec<&str> = from.as_deref().into_iter().chain(foremost).collect();
    words.join("; ")
}

/// Within a month it costs, the more the less is left.
fn life_reason(rul: RemainingLife, by_runs: Option<&Left>) -> Reason {
    let urgency = (720.0 - rul.p50_h).max(0.0) / 720.0;
    let (middle, low) = (duration(rul.p50_h), duration(rul.p10_h));
    let mut text = match (rul.p90_h, by_runs) {
        _ if rul.p50_h <= 0.0 => "nothing is left: a limit is passed".to_owned(),
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
    let left = duration(trend.rul.p50_h);
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
            "{} moves by {} a day and {}",
            trend.title,
            short(trend.slope_per_h * 24.0),
            if trend.beyond {
                format!("is past {}: about {left} are taken to be left", trend.limit_text)
            } else {
                format!("reaches {} in about {left}", trend.limit_text)
            }
        ),
    }
}

/// A limit that is passed counts as much as a trend that has just arrived there.
fn passed_reason(past: &trend::Past) -> Reason {
    Reason {
        kind: Kind::Trend,
        name: format!("{} trend", past.title),
        severity: severity(Kind::Trend, 1.0, 0.0, 0.5),
        value: Some(past.value),
        expected: None,
        channel: Some(past.channel),
        text: format!(
            "{} at {} is past {}: nothing is left until it",
            past.title,
            short(past.value),
            past.limit_text
        ),
    }
}

/// What the class's failure model says. A longer horizon is never less likely than a shorter one, nor are the ends of its
/// interval.
fn by_model(foreseen: &Foreseen) -> ByModel {
    let mut before = Estimate {
        value: 0.0,
        low: 0.0,
        high: 0.0,
    };
    let points = foreseen.within.iter().map(|&(horizon_h, value, low, high)| {
        let own = bounded(Estimate { value, low, high }, 1.0 + foreseen.failures as f64);
        before = Estimate {
            value: own.value.max(before.value),
            low: own.low.max(before.low),
            high: own.high.max(before.high),
        };
        (f64::from(horizon_h), before)
    });
    ByModel(points.collect())
}

fn model_words(foreseen: &Foreseen) -> String {
    let because: Vec<&str> = foreseen.because.iter().map(|(name, _)| name.as_str()).collect();
    let because = if because.is_empty() {
        String::new()
    } else {
        format!("; raised most by {}", because.join(", "))
    };
    format!("model of the class's {} failures{because}", foreseen.failures)
}

#[cfg(test)]
mod tests;

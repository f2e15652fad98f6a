//! A deviation that grows towards a limit: how long until it is there.
//!
//! Slope by Theil and Sen through the medians since the deviation began, its interval by the order of
//! the pairwise slopes (Kendall's variance, widened because neighbouring medians share readings). No
//! trend is claimed unless the whole 80 % interval points the same way.

use models::assessment::RemainingLife;
use models::id::ChannelId;

use crate::detect::{ChannelVerdict, Detection, WORTH_A_WORD, short};
use crate::features::{LONG, SHORT};
use crate::stats;
use crate::window::Window;

use super::Z80;

/// Steps between the points of the line; half a short window.
const THIN: usize = SHORT / 2;
/// Fewest points of a line.
const LEAST_POINTS: usize = 8;
/// Widening for points that share readings.
const OVERLAP: f64 = 1.5;
/// Without a limit set by people: this many times the distance at which the channel alarms.
const DEFAULT_LIMIT: f64 = 10.0;
/// Beyond a year nothing is said.
const MOST_H: f64 = 24.0 * 365.0;

#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    pub channel: ChannelId,
    pub title: String,
    pub slope_per_h: f64,
    pub limit_text: String,
    pub rul: RemainingLife,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    None,
    Towards(Trend),
    /// Already there; nothing to extrapolate.
    Past(String),
}

/// The trend that reaches its limit first.
pub fn to_limit(detection: &Detection, window: &Window) -> Outcome {
    let mut best = Outcome::None;
    for verdict in detection
        .channels
        .iter()
        .filter(|verdict| verdict.anomaly > WORTH_A_WORD)
    {
        let found = one(verdict, detection, window);
        best = match (best, found) {
            (Outcome::Towards(a), Outcome::Towards(b)) => {
                Outcome::Towards(if b.rul.p50_h < a.rul.p50_h { b } else { a })
            }
            (Outcome::None, found) | (Outcome::Past(_), found @ Outcome::Towards(_)) => found,
            (best, _) => best,
        };
    }
    best
}

fn one(verdict: &ChannelVerdict, detection: &Detection, window: &Window) -> Outcome {
    let Some(series) = window
        .series
        .iter()
        .find(|series| series.channel.id == verdict.channel)
    else {
        return Outcome::None;
    };
    let sign = if verdict.above { 1.0 } else { -1.0 };
    let set = if verdict.above {
        series.channel.high_limit
    } else {
        series.channel.low_limit
    };
    let (limit, limit_text) = match set {
        Some(limit) => (limit, format!("its limit of {}", short(limit))),
        None => {
            let limit = verdict.expected + sign * DEFAULT_LIMIT * verdict.reach;
            (
                limit,
                format!(
                    "{} (no limit is set; {DEFAULT_LIMIT} times the alarm distance)",
                    short(limit)
                ),
            )
        }
    };
    let left = sign * (limit - verdict.value);
    if left <= 0.0 {
        return Outcome::Past(format!("{} is past {limit_text} already", verdict.title));
    }
    let Some((_, features)) = detection
        .features
        .iter()
        .find(|(channel, _)| *channel == verdict.channel)
    else {
        return Outcome::None;
    };
    let since = (verdict.for_h * window.steps_per_hour()).round() as usize;
    let steps = since.clamp(LEAST_POINTS * THIN, LONG).min(features.steps());
    let first = features.steps() - steps;
    let points: Vec<(f64, f64)> = (first..features.steps())
        .rev()
        .step_by(THIN)
        .map(|step| (window.hours(step - first), sign * features.median_short(step)))
        .filter(|(_, value)| value.is_finite())
        .collect();
    let Some(line) = theil_sen(&points) else {
        return Outcome::None;
    };
    if line.low <= 0.0 {
        return Outcome::None;
    }
    let noise = Z80 * line.residual;
    let p50 = left / line.slope;
    if p50 > MOST_H {
        return Outcome::None;
    }
    let p90 = (left + noise) / line.low;
    let rul = RemainingLife {
        p10_h: ((left - noise).max(0.0) / line.high).min(p50),
        p50_h: p50,
        p90_h: (p90 <= MOST_H).then_some(p90.max(p50)),
    };
    Outcome::Towards(Trend {
        channel: verdict.channel,
        title: verdict.title.clone(),
        slope_per_h: sign * line.slope,
        limit_text,
        rul,
    })
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Line {
    slope: f64,
    low: f64,
    high: f64,
    residual: f64,
}

fn theil_sen(points: &[(f64, f64)]) -> Option<Line> {
    let n = points.len();
    if n < LEAST_POINTS {
        return None;
    }
    let slopes = stats::sorted(
        (0..n)
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .map(|(i, j)| (points[i].1 - points[j].1) / (points[i].0 - points[j].0)),
    );
    let slope = stats::quantile(&slopes, 0.5);
    let n = n as f64;
    let half = OVERLAP * Z80 * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt() / 2.0;
    let rank = |offset: f64| stats::quantile(&slopes, 0.5 + offset / slopes.len() as f64);
    let intercept = stats::median(points.iter().map(|(t, x)| x - slope * t));
    let residual = stats::spread(points.iter().map(|(t, x)| x - slope * t - intercept))
        .map_or(0.0, |spread| spread.scale);
    Some(Line {
        slope,
        low: rank(-half),
        high: rank(half),
        residual,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    #[test]
    fn the_interval_holds_the_true_slope_about_as_often_as_it_says() {
        let mut inside = 0;
        for trial in 0..200 {
            let points: Vec<(f64, f64)> = (0..40)
                .map(|i| (i as f64, 0.05 * i as f64 + noise(i + 64 * trial)))
                .collect();
            let line = theil_sen(&points).unwrap();
            inside += usize::from(line.low <= 0.05 && 0.05 <= line.high);
        }
        // Independent points: the widening makes it more than 80 %.
        assert!((160..=199).contains(&inside), "{inside} of 200");
    }

    #[test]
    fn few_points_are_no_line() {
        assert_eq!(theil_sen(&[(0.0, 1.0), (1.0, 2.0)]), None);
    }
}

//! A deviation that grows towards a limit: how long until it is there.
//!
//! Slope by Theil and Sen through the medians since the deviation began, its interval by the order of
//! the pairwise slopes (Kendall's variance, widened because neighbouring medians share readings). No
//! trend is claimed unless the whole 80 % interval points the same way.

use models::assessment::RemainingLife;
use models::id::ChannelId;

use crate::detect::{ChannelVerdict, Detection, WORTH_A_WORD, short};
use crate::features::{LONG, SHORT, SeriesFeatures};
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
/// Such a limit is a guess. However near it is, or past, this share of it is taken to be left while the channel moves on.
const LEAST_LEFT: f64 = 0.2;
/// Factor within which the time until it is known at best, for 80 % of machines.
const GUESS: f64 = 2.5;
/// Beyond a year nothing is said.
const MOST_H: f64 = 24.0 * 365.0;

#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    pub channel: ChannelId,
    pub title: String,
    pub slope_per_h: f64,
    pub limit_text: String,
    /// The limit was set by people; else it is a multiple of the alarm distance.
    pub set: bool,
    /// It is past a limit that nobody set.
    pub beyond: bool,
    pub rul: RemainingLife,
}

/// A channel that is at the limit that people set or beyond it: nothing is left to extrapolate.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    pub channel: ChannelId,
    pub title: String,
    pub value: f64,
    pub limit_text: String,
}

/// What the deviating channels say of their limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// The trend that reaches its limit first.
    pub towards: Option<Trend>,
    pub past: Vec<Past>,
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    None,
    Towards(Trend),
    Past(Past),
    Note(String),
}

/// Trends of the deviating channels to their limits.
pub fn to_limits(detection: &Detection, window: &Window) -> Limits {
    let mut limits = Limits::default();
    for verdict in detection
        .channels
        .iter()
        .filter(|verdict| verdict.anomaly > WORTH_A_WORD)
    {
        match one(verdict, detection, window) {
            Outcome::None => {}
            Outcome::Towards(found) => {
                if found.beyond {
                    limits
                        .notes
                        .push(format!("{} is past {} already", found.title, found.limit_text));
                }
                if limits
                    .towards
                    .as_ref()
                    .is_none_or(|best| found.rul.p50_h < best.rul.p50_h)
                {
                    limits.towards = Some(found);
                }
            }
            Outcome::Past(past) => {
                limits
                    .notes
                    .push(format!("{} is past {} already", past.title, past.limit_text));
                limits.past.push(past);
            }
            Outcome::Note(note) => limits.notes.push(note),
        }
    }
    limits
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
    let line = detection
        .features
        .iter()
        .find(|(channel, _)| *channel == verdict.channel)
        .and_then(|(_, features)| rising(verdict, features, sign, window));
    if left <= 0.0 && set.is_some() {
        return Outcome::Past(Past {
            channel: verdict.channel,
            title: verdict.title.clone(),
            value: verdict.value,
            limit_text,
        });
    }
    if left <= 0.0 && line.is_none() {
        return Outcome::Note(format!(
            "{} is past {limit_text} already, and moves no further",
            verdict.title
        ));
    }
    let beyond = left <= 0.0;
    let left = if set.is_some() {
        left
    } else {
        left.max(LEAST_LEFT * DEFAULT_LIMIT * verdict.reach)
    };
    let Some(line) = line else {
        return Outcome::None;
    };
    let noise = Z80 * line.residual;
    let p50 = left / line.slope;
    if p50 > MOST_H {
        return Outcome::None;
    }
    let p90 = (left + noise) / line.low;
    let p10 = ((left - noise).max(0.0) / line.high).min(p50);
    let (p10, p90) = if set.is_some() {
        (p10, p90)
    } else {
        (p10.min(p50 / GUESS), p90.max(p50 * GUESS))
    };
    let rul = RemainingLife {
        p10_h: p10,
        p50_h: p50,
        p90_h: (p90 <= MOST_H).then_some(p90.max(p50)),
    };
    Outcome::Towards(Trend {
        channel: verdict.channel,
        title: verdict.title.clone(),
        slope_per_h: sign * line.slope,
        limit_text,
        set: set.is_some(),
        beyond,
        rul,
    })
}

/// The line through the medians since the deviation began, if the whole interval of its slope leads away from what
/// is usual.
fn rising(verdict: &ChannelVerdict, features: &SeriesFeatures, sign: f64, window: &Window) -> Option<Line> {
    let since = (verdict.for_h * window.steps_per_hour()).round() as usize;
    let steps = since.clamp(LEAST_POINTS * THIN, LONG).min(features.steps());
    let first = features.steps() - steps;
    let points: Vec<(f64, f64)> = (first..features.steps())
        .rev()
        .step_by(THIN)
        .map(|step| (window.hours(step - first), sign * features.median_short(step)))
        .filter(|(_, value)| value.is_finite())
        .collect();
    theil_sen(&points).filter(|line| line.low > 0.0)
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

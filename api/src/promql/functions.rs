//! The functions, each over the samples of a window or over a value.

use super::BadQuery;
use super::ast::{Expr, Selector};

/// Time in seconds, value.
pub type Sample = (f64, f64);

/// Of a window `(end − range, end]`; `None` = no value.
type OverTime = fn(samples: &[Sample], start: f64, end: f64) -> Option<f64>;

#[derive(Clone, Copy)]
pub enum Function {
    /// One range selector.
    Range(OverTime),
    /// A vector, then this many numbers.
    Instant(usize, fn(f64, &[f64]) -> f64),
    Time,
    Timestamp,
    Vector,
    Scalar,
}

const ALL: [(&str, Function); 29] = [
    ("avg_over_time", Function::Range(|s, _, _| mean(s))),
    (
        "min_over_time",
        Function::Range(|s, _, _| values(s).reduce(f64::min)),
    ),
    (
        "max_over_time",
        Function::Range(|s, _, _| values(s).reduce(f64::max)),
    ),
    (
        "sum_over_time",
        Function::Range(|s, _, _| (!s.is_empty()).then(|| values(s).sum())),
    ),
    (
        "count_over_time",
        Function::Range(|s, _, _| (!s.is_empty()).then_some(s.len() as f64)),
    ),
    (
        "last_over_time",
        Function::Range(|s, _, _| s.last().map(|sample| sample.1)),
    ),
    (
        "first_over_time",
        Function::Range(|s, _, _| s.first().map(|sample| sample.1)),
    ),
    (
        "present_over_time",
        Function::Range(|s, _, _| (!s.is_empty()).then_some(1.0)),
    ),
    ("stddev_over_time", Function::Range(|s, _, _| deviation(s))),
    (
        "changes",
        Function::Range(|s, _, _| {
            (!s.is_empty()).then(|| s.windows(2).filter(|pair| pair[0].1 != pair[1].1).count() as f64)
        }),
    ),
    (
        "rate",
        Function::Range(|s, start, end| Some(extrapolated(s, start, end, true)? / (end - start))),
    ),
    (
        "increase",
        Function::Range(|s, start, end| extrapolated(s, start, end, true)),
    ),
    (
        "delta",
        Function::Range(|s, start, end| extrapolated(s, start, end, false)),
    ),
    (
        "irate",
        Function::Range(|s, _, _| {
            let [.., a, b] = s else { return None };
            let rise = if b.1 < a.1 { b.1 } else { b.1 - a.1 };
            Some(rise / (b.0 - a.0))
        }),
    ),
    ("deriv", Function::Range(|s, _, _| slope(s))),
    ("abs", Function::Instant(0, |v, _| v.abs())),
    ("ceil", Function::Instant(0, |v, _| v.ceil())),
    ("floor", Function::Instant(0, |v, _| v.floor())),
    ("round", Function::Instant(0, |v, _| (v + 0.5).floor())),
    ("sqrt", Function::Instant(0, |v, _| v.sqrt())),
    ("exp", Function::Instant(0, |v, _| v.exp())),
    ("ln", Function::Instant(0, |v, _| v.ln())),
    ("clamp_min", Function::Instant(1, |v, n| v.max(n[0]))),
    ("clamp_max", Function::Instant(1, |v, n| v.min(n[0]))),
    ("clamp", Function::Instant(2, |v, n| v.max(n[0]).min(n[1]))),
    ("time", Function::Time),
    ("timestamp", Function::Timestamp),
    ("vector", Function::Vector),
    ("scalar", Function::Scalar),
];

pub fn lookup(name: &str) -> Option<Function> {
    ALL.iter()
        .find(|(known, _)| *known == name)
        .map(|(_, function)| *function)
}

pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|(name, _)| *name).collect()
}

/// # Errors
/// When the expression is a range selector, where a value is needed.
pub fn no_range(expr: &Expr) -> Result<(), BadQuery> {
    match expr {
        Expr::Selector(Selector {
            range_us: Some(_), ..
        }) => Err(BadQuery::new(
            "a range selector [..] needs a function such as avg_over_time around it",
        )),
        _ => Ok(()),
    }
}

impl Function {
    /// # Errors
    /// When a call has the wrong arguments.
    pub fn check(self, name: &str, arguments: &[Expr]) -> Result<(), BadQuery> {
        let wants = match self {
            Self::Range(_) | Self::Timestamp | Self::Vector | Self::Scalar => 1,
            Self::Instant(numbers, _) => 1 + numbers,
            Self::Time => 0,
        };
        if arguments.len() != wants {
            return Err(BadQuery::new(format!(
                "{name} takes {wants} arguments, not {}",
                arguments.len()
            )));
        }
        match (self, arguments.first()) {
            (
                Self::Range(_),
                Some(Expr::Selector(Selector {
                    range_us: Some(_), ..
                })),
            ) => Ok(()),
            (Self::Range(_), _) => Err(BadQuery::new(format!(
                "{name} takes a range, such as {name}(x[5m])"
            ))),
            (Self::Timestamp, Some(Expr::Selector(Selector { range_us: None, .. }))) => Ok(()),
            (Self::Timestamp, _) => Err(BadQuery::new("timestamp takes a selector")),
            _ => arguments.iter().try_for_each(no_range),
        }
    }
}

fn values(samples: &[Sample]) -> impl Iterator<Item = f64> + '_ {
    samples.iter().map(|sample| sample.1)
}

fn mean(samples: &[Sample]) -> Option<f64> {
    (!samples.is_empty()).then(|| values(samples).sum::<f64>() / samples.len() as f64)
}

fn deviation(samples: &[Sample]) -> Option<f64> {
    let mean = mean(samples)?;
    Some((values(samples).map(|v| (v - mean).powi(2)).sum::<f64>() / samples.len() as f64).sqrt())
}

/// Per second, by least squares.
fn slope(samples: &[Sample]) -> Option<f64> {
    let [first, _, ..] = samples else { return None };
    let n = samples.len() as f64;
    let at = |sample: &Sample| sample.0 - first.0;
    let (x, y) = (samples.iter().map(at).sum::<f64>() / n, mean(samples)?);
    let (mut xy, mut xx) = (0.0, 0.0);
    for sample in samples {
        xy += (at(sample) - x) * (sample.1 - y);
        xx += (at(sample) - x).powi(2);
    }
    Some(xy / xx)
}

/// The rise over the whole window from the samples in it, as Prometheus extrapolates: to the window's
/// ends where they are near enough (1.1 mean distances), else by half a distance; a counter not below
/// zero. A counter that falls has begun anew.
/// <https://github.com/prometheus/prometheus/blob/main/promql/functions.go>, `extrapolatedRate`.
fn extrapolated(samples: &[Sample], start: f64, end: f64, counter: bool) -> Option<f64> {
    let [first, .., last] = samples else { return None };
    let mut rise = last.1 - first.1;
    if counter {
        rise += samples
            .windows(2)
            .filter(|pair| pair[1].1 < pair[0].1)
            .map(|pair| pair[0].1)
            .sum::<f64>();
    }
    let sampled = last.0 - first.0;
    let mean = sampled / (samples.len() - 1) as f64;
    let (mut before, mut after) = (first.0 - start, end - last.0);
    if before >= mean * 1.1 {
        before = mean / 2.0;
    }
    if counter && rise > 0.0 && first.1 >= 0.0 {
        before = before.min(sampled * (first.1 / rise));
    }
    if after >= mean * 1.1 {
        after = mean / 2.0;
    }
    Some(rise * (sampled + before + after) / sampled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(name: &str, samples: &[Sample], start: f64, end: f64) -> Option<f64> {
        match lookup(name) {
            Some(Function::Range(function)) => function(samples, start, end),
            _ => panic!("{name}"),
        }
    }

    /// Expectations by hand from the definition of the extrapolation.
    #[test]
    fn rates_extrapolate_and_survive_resets() {
        let steady: Vec<Sample> = (0..=4)
            .map(|i| (10.0 + 15.0 * f64::from(i), 100.0 + 30.0 * f64::from(i)))
            .collect();
        // 60 s sampled of (0, 75]: 10 s before and 5 s after are near enough.
        assert_eq!(over("increase", &steady, 0.0, 75.0), Some(120.0 * 75.0 / 60.0));
        assert_eq!(over("rate", &steady, 0.0, 75.0), Some(2.0));
        let reset = [(0.0, 90.0), (10.0, 100.0), (20.0, 5.0), (30.0, 15.0)];
        assert_eq!(over("increase", &reset, 0.0, 30.0), Some(25.0));
        assert_eq!(over("delta", &reset, 0.0, 30.0), Some(-75.0));
        // A counter that begins near zero is not carried below it.
        let young = [(100.0, 1.0), (110.0, 11.0)];
        assert_eq!(over("increase", &young, 95.0, 110.0), Some(10.0 * 11.0 / 10.0));
        assert_eq!(over("rate", &steady[..1], 0.0, 75.0), None);
        assert_eq!(over("irate", &steady, 0.0, 75.0), Some(2.0));
        assert!((over("deriv", &steady, 0.0, 75.0).unwrap() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn windows() {
        let samples = [(1.0, 3.0), (2.0, 1.0), (3.0, 1.0), (4.0, 7.0)];
        for (name, expected) in [
            ("avg_over_time", 3.0),
            ("min_over_time", 1.0),
            ("max_over_time", 7.0),
            ("sum_over_time", 12.0),
            ("count_over_time", 4.0),
            ("last_over_time", 7.0),
            ("changes", 2.0),
        ] {
            assert_eq!(over(name, &samples, 0.0, 4.0), Some(expected), "{name}");
            assert_eq!(over(name, &[], 0.0, 4.0), None, "{name}");
        }
    }
}

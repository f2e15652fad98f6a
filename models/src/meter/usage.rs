//! How fast a meter runs, from what it did on past days.

use serde::{Deserialize, Serialize};

/// Units a day: the median day, with the tenth and the ninetieth percentile of days.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = MeterUsage))]
pub struct Usage {
    pub median: f64,
    pub low: f64,
    pub high: f64,
    /// Whole days it was computed from; 0 = only hours, extrapolated.
    pub days: u32,
}

impl Usage {
    pub fn basis(&self) -> String {
        match self.days {
            0 => "extrapolated from less than three days".to_owned(),
            days => format!("from {days} days"),
        }
    }
}

/// Fewer whole days than this say nothing about a week.
const FEW_DAYS: usize = 3;
/// Hours of history without which nothing is said at all.
const FEW_HOURS: f64 = 1.0;

/// Usage from the units of each whole day (days without use are 0, not left out), or, while there are
/// too few, from the units used in `hours` so far, with an interval as wide as that guess deserves.
pub fn usage(days: &[f64], units: f64, hours: f64) -> Option<Usage> {
    let mut sorted: Vec<f64> = days
        .iter()
        .copied()
        .filter(|units| units.is_finite() && *units >= 0.0)
        .collect();
    if sorted.len() >= FEW_DAYS {
        sorted.sort_by(f64::total_cmp);
        let median = quantile(&sorted, 0.5);
        // A machine that rests most days has a median of 0 and still gets there: then the mean.
        let typical = if median > 0.0 {
            median
        } else {
            sorted.iter().sum::<f64>() / sorted.len() as f64
        };
        return (typical > 0.0).then(|| Usage {
            median: typical,
            low: quantile(&sorted, 0.1).min(typical),
            high: quantile(&sorted, 0.9).max(typical),
            days: u32::try_from(sorted.len()).unwrap_or(u32::MAX),
        });
    }
    let per_day = units / hours * 24.0;
    (hours >= FEW_HOURS && per_day.is_finite() && per_day > 0.0).then(|| Usage {
        median: per_day,
        low: per_day / 3.0,
        high: per_day * 3.0,
        days: 0,
    })
}

/// By linear interpolation; `sorted` must not be empty.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}

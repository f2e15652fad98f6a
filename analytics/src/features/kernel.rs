//! The windows of one series that make its features. Every number is summed afresh from the rows of its own
//! window ([`super::rolling`], which backtests use too) and never carried from row to row: the features of a
//! row are then the same bits whether they are computed for a year of training or for the last row of a pass,
//! and wherever the series began.

use super::rolling::{Expanding, back, moments, slope};
use super::{EWMA_ALPHA, LONG, SHORT};

/// Rows that the weighted mean looks back on; what is older would weigh less than 1e-6 of the whole.
const EWMA_ROWS: usize = 64;

/// What the kernel computes for one row, in the order of [`COLUMNS`].
pub type Row = [f64; COLUMNS.len()];

pub const COLUMNS: [&str; 13] = [
    "mean_short",
    "median_short",
    "sd_short",
    "min_short",
    "max_short",
    "mean_long",
    "sd_long",
    "slope_long",
    "expanding_mean",
    "count_long",
    "z_short",
    "z_ewma",
    "last",
];

/// Median of the short window; NaN below `least` values.
pub fn short_median(values: &[f64], row: usize, least: usize) -> f64 {
    let mut kept = [0.0_f64; SHORT];
    let mut n = 0;
    for value in back(values, row, SHORT) {
        if value.is_finite() {
            let mut place = n;
            while place > 0 && kept[place - 1] > *value {
                kept[place] = kept[place - 1];
                place -= 1;
            }
            kept[place] = *value;
            n += 1;
        }
    }
    match n {
        0 => f64::NAN,
        n if n < least => f64::NAN,
        n if n % 2 == 1 => kept[n / 2],
        n => (kept[n / 2 - 1] + kept[n / 2]) / 2.0,
    }
}

/// Exponentially weighted mean of the smoothed deviations, back to the last long silence of `value`.
fn ewma(value: &[f64], z_short: &[f64], row: usize) -> f64 {
    if !z_short[row].is_finite() {
        return f64::NAN;
    }
    let (mut sum, mut weights, mut weight, mut silent, mut taken) = (0.0, 0.0, 1.0, 0, 0);
    for place in (0..=row).rev() {
        if value[place].is_finite() {
            silent = 0;
        } else {
            silent += 1;
            if silent >= SHORT {
                break;
            }
        }
        if z_short[place].is_finite() {
            sum += weight * z_short[place];
            weights += weight;
            weight *= 1.0 - EWMA_ALPHA;
            taken += 1;
            if taken == EWMA_ROWS {
                break;
            }
        }
    }
    sum / weights
}

/// Features of the last `wanted` rows of a series, in their order. Both slices have the same length.
pub fn rows(value: &[f64], z: &[f64], steps_per_hour: f64, wanted: usize) -> Vec<Row> {
    let first = value.len().saturating_sub(wanted);
    // Medians reach back as far as the windows that are built on them.
    let medians_from = first.saturating_sub(LONG + 2 * SHORT);
    let mut medians = vec![f64::NAN; value.len()];
    let mut z_short = vec![f64::NAN; value.len()];
    for row in medians_from..value.len() {
        medians[row] = short_median(value, row, 1);
        z_short[row] = short_median(z, row, 3);
    }
    let mut expanding = Expanding::default();
    for value in &value[..first] {
        expanding.push(*value);
    }
    (first..value.len())
        .map(|row| {
            let short = back(value, row, SHORT);
            let (_, mean_short, sd_short) = moments(short);
            let (count_long, mean_long, sd_long) = moments(back(value, row, LONG));
            let finite = || short.iter().copied().filter(|v| v.is_finite());
            [
                mean_short,
                medians[row],
                sd_short,
                finite().fold(f64::NAN, f64::min),
                finite().fold(f64::NAN, f64::max),
                mean_long,
                sd_long,
                // Of medians, which single spikes don't move.
                slope(&medians, row, LONG, 2 * SHORT) * steps_per_hour,
                expanding.push(value[row]),
                count_long,
                z_short[row],
                ewma(value, &z_short, row),
                value[row],
            ]
        })
        .collect()
}

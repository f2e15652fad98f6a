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

/// Rows whose short windows are sorted side by side.
const LANES: usize = 8;
/// Comparisons that sort six (Knuth, The Art of Computer Programming 3, 5.3.4: no network needs fewer than twelve).
const NETWORK: [(usize, usize); 12] = [
    (0, 5),
    (1, 3),
    (2, 4),
    (1, 2),
    (3, 4),
    (0, 3),
    (2, 5),
    (0, 1),
    (2, 3),
    (4, 5),
    (1, 2),
    (3, 4),
];
const _: () = assert!(SHORT == 6, "the network sorts six");

/// [`short_median`] of every row from `from` on, NaN before: several rows at once and without a branch. It is what most
/// of a pass's computing time went into, row by row.
fn short_medians(values: &[f64], from: usize, least: usize) -> Vec<f64> {
    let mut medians = vec![f64::NAN; values.len()];
    let from = from.min(values.len());
    // What is missing sorts behind everything that is there.
    let mut padded = vec![f64::INFINITY; values.len() - from + SHORT - 1 + LANES];
    let before = from.min(SHORT - 1);
    for (to, value) in padded[SHORT - 1 - before..]
        .iter_mut()
        .zip(&values[from - before..])
    {
        *to = if value.is_finite() { *value } else { f64::INFINITY };
    }
    for (block, out) in medians[from..].chunks_mut(LANES).enumerate() {
        let at = block * LANES;
        let mut sorted = [[0.0_f64; LANES]; SHORT];
        for (place, lanes) in sorted.iter_mut().enumerate() {
            lanes.copy_from_slice(&padded[at + place..at + place + LANES]);
        }
        for (a, b) in NETWORK {
            let (mut less, mut more) = (sorted[a], sorted[b]);
            for (x, y) in less.iter_mut().zip(&mut more) {
                (*x, *y) = if *y < *x { (*y, *x) } else { (*x, *y) };
            }
            (sorted[a], sorted[b]) = (less, more);
        }
        for (lane, median) in out.iter_mut().enumerate() {
            let n = sorted.iter().filter(|lanes| lanes[lane] < f64::INFINITY).count();
            *median = match n {
                0 => f64::NAN,
                n if n < least => f64::NAN,
                n if n % 2 == 1 => sorted[n / 2][lane],
                n => (sorted[n / 2 - 1][lane] + sorted[n / 2][lane]) / 2.0,
            };
        }
    }
    medians
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
    let medians = short_medians(value, medians_from, 1);
    let z_short = short_medians(z, medians_from, 3);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_network_sorts() {
        // What sorts every sequence of zeros and ones sorts everything (Knuth, 5.3.4, the zero-one principle).
        for bits in 0_u32..1 << SHORT {
            let mut values: Vec<u32> = (0..SHORT).map(|place| bits >> place & 1).collect();
            for (a, b) in NETWORK {
                (values[a], values[b]) = (values[a].min(values[b]), values[a].max(values[b]));
            }
            assert!(values.is_sorted(), "{bits:b}");
        }
    }

    proptest! {
        #[test]
        fn medians_side_by_side_are_those_of_each_row(
            values in prop::collection::vec(
                prop_oneof![6 => -1e3..1e3_f64, 1 => Just(f64::NAN), 1 => Just(2.5), 1 => Just(f64::NEG_INFINITY)], 0..60),
            from in 0_usize..70,
            least in 1_usize..4,
        ) {
            let all = short_medians(&values, from, least);
            prop_assert_eq!(all.len(), values.len());
            for (row, median) in all.iter().enumerate() {
                let expect = if row < from { f64::NAN } else { short_median(&values, row, least) };
                prop_assert!(median.to_bits() == expect.to_bits() || (median.is_nan() && expect.is_nan()), "{row}");
            }
        }
    }
}

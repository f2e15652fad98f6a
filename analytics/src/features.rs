//! Features: one function for training, backtest and serving.
//!
//! The input is a long frame on an even grid: one row for each series and step, in order, `value`
//! null where no reading came. Windows are therefore counted in steps and never reach across more
//! time than they say. [`SHORT`] and [`LONG`] are an hour and a day at the usual step of ten minutes;
//! a slower or a time-lapse series gets the same number of steps. All windows look back only: the
//! features of a row depend on that row and earlier ones (a property test says so).
//!
//! `z` is the value in spreads of the baseline of the regime the machine was in, null where the
//! baseline doesn't know the regime. Why a long frame and not a column per channel: the plan then has
//! the same few expressions for one channel as for those of a hundred assets.

use ndarray::Array2;
use polars::prelude::*;

/// Steps of the short window.
pub const SHORT: usize = 6;
/// Steps of the long window.
pub const LONG: usize = 144;
/// Weight of the newest step in the exponentially weighted mean.
pub const EWMA_ALPHA: f64 = 0.2;

/// Features of the table, in order.
pub const NAMES: &[&str] = &[
    "last",
    "mean_short",
    "median_short",
    "sd_short",
    "min_short",
    "max_short",
    "mean_long",
    "sd_long",
    "slope_long",
    "short_minus_long",
    "expanding_mean",
    "count_long",
    "missing_long",
    "z_short",
    "z_ewma",
];

/// One channel on the grid. NaN = nothing came. Both slices have the same length.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub value: &'a [f64],
    pub z: &'a [f64],
    /// Steps an hour, for slopes.
    pub steps_per_hour: f64,
}

/// The long frame of several series; `series` counts them from 0.
///
/// # Errors
/// When polars refuses the columns.
pub fn frame(inputs: &[Input<'_>]) -> PolarsResult<DataFrame> {
    let rows = inputs.iter().map(|input| input.value.len()).sum();
    let mut series = Vec::with_capacity(rows);
    let mut step = Vec::with_capacity(rows);
    let mut segment = Vec::with_capacity(rows);
    let mut per_hour = Vec::with_capacity(rows);
    for (number, input) in inputs.iter().enumerate() {
        let (mut current, mut silent) = (0_u32, 0_usize);
        for (place, value) in input.value.iter().enumerate() {
            if value.is_finite() {
                // Silence longer than the short window: what went before says nothing about now.
                current += u32::from(silent >= SHORT);
                silent = 0;
            } else {
                silent += 1;
            }
            series.push(u32::try_from(number).unwrap_or(u32::MAX));
            step.push(place as f64);
            segment.push(current);
            per_hour.push(input.steps_per_hour);
        }
    }
    let value: Float64Chunked = inputs
        .iter()
        .flat_map(|input| input.value)
        .map(|v| v.is_finite().then_some(*v))
        .collect();
    let z: Float64Chunked = inputs
        .iter()
        .flat_map(|input| input.z)
        .map(|v| v.is_finite().then_some(*v))
        .collect();
    DataFrame::new_infer_height(vec![
        Column::new("series".into(), series),
        Column::new("step".into(), step),
        Column::new("segment".into(), segment),
        Column::new("steps_per_hour".into(), per_hour),
        value.with_name("value".into()).into_column(),
        z.with_name("z".into()).into_column(),
    ])
}

fn window(size: usize, least: usize) -> RollingOptionsFixedWindow {
    RollingOptionsFixedWindow {
        window_size: size,
        min_periods: least,
        weights: None,
        center: false,
        fn_params: None,
    }
}

/// The features of every row of a long frame (columns `series step segment steps_per_hour value z`).
/// `slope_long` is the value's least-squares slope per hour through medians of the short window, which
/// single spikes don't move; `z_short` is such a median too, from at least three steps.
///
/// # Errors
/// When polars refuses an expression.
pub fn features(frame: LazyFrame) -> PolarsResult<LazyFrame> {
    let own = [col("series")];
    let value = || col("value");
    let (short, long) = (|| window(SHORT, 1), || window(LONG, 1));
    let first = frame.with_columns([
        value().rolling_mean(short()).over(&own)?.alias("mean_short"),
        value().rolling_median(short()).over(&own)?.alias("median_short"),
        value()
            .rolling_std(window(SHORT, 2))
            .over(&own)?
            .alias("sd_short"),
        value().rolling_min(short()).over(&own)?.alias("min_short"),
        value().rolling_max(short()).over(&own)?.alias("max_short"),
        value().rolling_mean(long()).over(&own)?.alias("mean_long"),
        value().rolling_std(window(LONG, 2)).over(&own)?.alias("sd_long"),
        (value().cum_sum(false) / value().cum_count(false).cast(DataType::Float64))
            .over(&own)?
            .alias("expanding_mean"),
        value()
            .is_not_null()
            .cast(DataType::Float64)
            .rolling_sum(long())
            .over(&own)?
            .alias("count_long"),
        col("z")
            .rolling_median(window(SHORT, 3))
            .over(&own)?
            .alias("z_short"),
    ]);
    // Where there is no median there must be no step either, or the two means would not match.
    let at = || {
        when(col("median_short").is_not_null())
            .then(col("step"))
            .otherwise(lit(NULL))
    };
    let least = || window(LONG, SHORT * 2);
    let second = first.with_columns([
        at().rolling_mean(least()).over(&own)?.alias("t1"),
        (at() * col("step")).rolling_mean(least()).over(&own)?.alias("t2"),
        col("median_short").rolling_mean(least()).over(&own)?.alias("x1"),
        (at() * col("median_short"))
            .rolling_mean(least())
            .over(&own)?
            .alias("tx"),
        col("z_short")
            .ewm_mean(EWMOptions {
                alpha: EWMA_ALPHA,
                adjust: true,
                bias: false,
                min_periods: 1,
                ignore_nulls: true,
            })
            .over([col("series"), col("segment")])?
            .alias("z_ewma"),
    ]);
    let spread = || col("t2") - col("t1") * col("t1");
    Ok(second
        .with_columns([
            value().alias("last"),
            (col("mean_short") - col("mean_long")).alias("short_minus_long"),
            // A window that has not filled yet is not missing anything.
            (lit(1.0)
                - col("count_long")
                    / when(col("step").lt(lit(LONG as f64)))
                        .then(col("step") + lit(1.0))
                        .otherwise(lit(LONG as f64)))
            .alias("missing_long"),
            when(spread().gt(lit(0.5)))
                .then((col("tx") - col("t1") * col("x1")) / spread() * col("steps_per_hour"))
                .otherwise(lit(NULL))
                .alias("slope_long"),
        ])
        .select(
            [col("series"), col("step")]
                .into_iter()
                .chain(NAMES.iter().map(|name| col(*name)))
                .collect::<Vec<_>>(),
        ))
}

/// [`frame`] and [`features`] in one go.
///
/// # Errors
/// When polars does.
pub fn table(inputs: &[Input<'_>]) -> PolarsResult<DataFrame> {
    features(frame(inputs)?.lazy())?.collect()
}

/// Columns of a table as a matrix, a row for each row, NaN for null. The one place where numbers
/// cross from polars to ndarray: their versions differ, slices don't.
///
/// # Errors
/// When a column is missing or not of floats.
pub fn matrix(table: &DataFrame, names: &[&str]) -> PolarsResult<Array2<f64>> {
    let mut matrix = Array2::from_elem((table.height(), names.len()), f64::NAN);
    for (place, name) in names.iter().enumerate() {
        let column = table.column(name)?.f64()?;
        let mut target = matrix.column_mut(place);
        let mut row = 0;
        for chunk in column.downcast_iter() {
            match chunk.validity().filter(|valid| valid.unset_bits() > 0) {
                None => chunk
                    .values()
                    .iter()
                    .enumerate()
                    .for_each(|(i, value)| target[row + i] = *value),
                Some(valid) => {
                    chunk
                        .values()
                        .iter()
                        .zip(valid.iter())
                        .enumerate()
                        .for_each(|(i, (value, valid))| {
                            if valid {
                                target[row + i] = *value;
                            }
                        })
                }
            }
            row += chunk.values().len();
        }
    }
    Ok(matrix)
}

/// A table cut into its series: features of each step, by the place of a name in [`NAMES`].
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesFeatures {
    columns: Vec<Vec<f64>>,
}

impl SeriesFeatures {
    /// # Errors
    /// When polars does.
    pub fn compute(inputs: &[Input<'_>]) -> PolarsResult<Vec<Self>> {
        let matrix = matrix(&table(inputs)?, NAMES)?;
        let mut from = 0;
        Ok(inputs
            .iter()
            .map(|input| {
                let rows = from..from + input.value.len();
                from = rows.end;
                let columns = (0..NAMES.len())
                    .map(|place| matrix.slice(ndarray::s![rows.clone(), place]).to_vec())
                    .collect();
                Self { columns }
            })
            .collect())
    }

    /// A feature at every step; empty for a name that isn't one.
    pub fn column(&self, name: &str) -> &[f64] {
        NAMES
            .iter()
            .position(|known| *known == name)
            .and_then(|place| self.columns.get(place))
            .map_or(&[], Vec::as_slice)
    }

    /// A feature as it stood last, at most a short window ago.
    pub fn latest(&self, name: &str) -> Option<f64> {
        self.column(name)
            .iter()
            .rev()
            .take(SHORT)
            .copied()
            .find(|value| value.is_finite())
    }
}

#[cfg(test)]
mod tests;

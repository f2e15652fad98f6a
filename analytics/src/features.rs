//! Features: one function for training, backtest and serving.
//!
//! The input is a long frame on an even grid: one row for each series and step, in order, `value`
//! null where no reading came. Windows are therefore counted in steps and never reach across more
//! time than they say. [`SHORT`] and [`LONG`] are an hour and a day at the usual step of ten minutes;
//! a slower or a time-lapse series gets the same number of steps. All windows look back only: the
//! features of a row depend on that row and earlier ones (a property test says so).
//!
//! The windows are this crate's own ([`kernel`]) inside polars' plan: polars' rolling expressions cost
//! more for the grouping than for the numbers, and carry rounding from row to row, so that a series that
//! begins elsewhere gives other bits.
//!
//! `z` is the value in spreads of the baseline of the regime the machine was in, null where the
//! baseline doesn't know the regime. Why a long frame and not a column per channel: the plan then has
//! the same few expressions for one channel as for those of a hundred assets.

mod kernel;
pub(crate) mod rolling;

use std::borrow::Cow;
use std::sync::Arc;

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
    /// Rows at the end whose features are wanted; a pass needs the last few, training all.
    pub wanted: usize,
}

impl Input<'_> {
    fn wanted(&self) -> usize {
        self.wanted.min(self.value.len())
    }
}

/// The long frame of several series; `series` counts them from 0.
///
/// # Errors
/// When polars refuses the columns.
pub fn frame(inputs: &[Input<'_>]) -> PolarsResult<DataFrame> {
    let rows = inputs.iter().map(|input| input.value.len()).sum();
    let mut series: Vec<u32> = Vec::with_capacity(rows);
    let mut wanted: Vec<bool> = Vec::with_capacity(rows);
    let (mut step, mut per_hour) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    let (mut value, mut z) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    for (number, input) in inputs.iter().enumerate() {
        let n = input.value.len();
        series.extend(std::iter::repeat_n(u32::try_from(number).unwrap_or(u32::MAX), n));
        wanted.extend((0..n).map(|place| place + input.wanted() >= n));
        step.extend((0..n).map(|place| place as f64));
        per_hour.extend(std::iter::repeat_n(input.steps_per_hour, n));
        value.extend_from_slice(input.value);
        z.extend_from_slice(input.z);
    }
    DataFrame::new_infer_height(vec![
        Column::new("series".into(), series),
        Column::new("step".into(), step),
        Column::new("wanted".into(), wanted),
        Column::new("steps_per_hour".into(), per_hour),
        Column::new("value".into(), value),
        Column::new("z".into(), z),
    ])
}

/// A column of floats in one piece; null becomes NaN.
fn floats<'a>(frame: &'a DataFrame, name: &str) -> PolarsResult<Cow<'a, [f64]>> {
    let column = frame.column(name)?.f64()?;
    if let Ok(values) = column.cont_slice() {
        return Ok(Cow::Borrowed(values));
    }
    let values = column.iter().map(|value| value.unwrap_or(f64::NAN));
    Ok(Cow::Owned(values.collect()))
}

/// The windows of every series, as a step of the plan: a row for each wanted row.
fn windows(frame: DataFrame) -> PolarsResult<DataFrame> {
    let series: Vec<u32> = frame.column("series")?.u32()?.into_no_null_iter().collect();
    let wanted: Vec<bool> = frame
        .column("wanted")?
        .bool()?
        .iter()
        .map(|wanted| wanted.unwrap_or(true))
        .collect();
    let [value, z, step, per_hour] = [
        floats(&frame, "value")?,
        floats(&frame, "z")?,
        floats(&frame, "step")?,
        floats(&frame, "steps_per_hour")?,
    ];
    let rows = wanted.iter().filter(|wanted| **wanted).count();
    let (mut own, mut at) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    let mut columns: Vec<Vec<f64>> = kernel::COLUMNS.iter().map(|_| Vec::with_capacity(rows)).collect();
    let mut from = 0;
    for same in series.chunk_by(|a, b| a == b) {
        let range = from..from + same.len();
        from = range.end;
        let asked = wanted[range.clone()].iter().filter(|wanted| **wanted).count();
        let first = range.end - asked;
        own.extend_from_slice(&series[first..range.end]);
        at.extend_from_slice(&step[first..range.end]);
        let per_hour = per_hour[range.start];
        for row in kernel::rows(&value[range.clone()], &z[range], per_hour, asked) {
            columns
                .iter_mut()
                .zip(row)
                .for_each(|(column, number)| column.push(number));
        }
    }
    let mut out = vec![Column::new("series".into(), own), Column::new("step".into(), at)];
    out.extend(
        kernel::COLUMNS
            .iter()
            .zip(columns)
            .map(|(name, column)| Column::new((*name).into(), column)),
    );
    DataFrame::new_infer_height(out)
}

/// The features of the wanted rows of a long frame (columns `series step wanted steps_per_hour value z`,
/// NaN or null where nothing came; NaN in what comes out). `slope_long` is the value's least-squares
/// slope per hour through medians of the short window, which single spikes don't move; `z_short` is such
/// a median too, from at least three steps.
///
/// # Errors
/// When polars refuses an expression.
pub fn features(frame: LazyFrame) -> PolarsResult<LazyFrame> {
    let schema = |_: &Schema| -> PolarsResult<SchemaRef> {
        let mut schema = Schema::default();
        schema.with_column("series".into(), DataType::UInt32);
        schema.with_column("step".into(), DataType::Float64);
        for name in kernel::COLUMNS {
            schema.with_column(name.into(), DataType::Float64);
        }
        Ok(Arc::new(schema))
    };
    let windows = frame.map(
        windows,
        AllowedOptimizations::default()
            & !OptFlags::PREDICATE_PUSHDOWN
            & !OptFlags::PROJECTION_PUSHDOWN
            & !OptFlags::SLICE_PUSHDOWN,
        Some(Arc::new(schema)),
        Some("windows"),
    );
    Ok(windows
        .with_columns([
            (col("mean_short") - col("mean_long")).alias("short_minus_long"),
            // A window that has not filled yet is not missing anything.
            (lit(1.0)
                - col("count_long")
                    / when(col("step").lt(lit(LONG as f64)))
                        .then(col("step") + lit(1.0))
                        .otherwise(lit(LONG as f64)))
            .alias("missing_long"),
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
        let column = floats(table, name)?;
        matrix
            .column_mut(place)
            .iter_mut()
            .zip(column.iter())
            .for_each(|(to, from)| *to = *from);
    }
    Ok(matrix)
}

/// The features of one series: the wanted rows of each, by the place of a name in [`NAMES`].
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesFeatures {
    columns: Vec<Vec<f64>>,
    value: Vec<f64>,
    z: Vec<f64>,
}

impl SeriesFeatures {
    /// # Errors
    /// When polars does.
    pub fn compute(inputs: &[Input<'_>]) -> PolarsResult<Vec<Self>> {
        let table = table(inputs)?;
        let columns = NAMES
            .iter()
            .map(|name| floats(&table, name))
            .collect::<PolarsResult<Vec<_>>>()?;
        let mut from = 0;
        Ok(inputs
            .iter()
            .map(|input| {
                let rows = from..from + input.wanted();
                from = rows.end;
                Self {
                    columns: columns
                        .iter()
                        .map(|column| column[rows.clone()].to_vec())
                        .collect(),
                    value: input.value.to_vec(),
                    z: input.z.to_vec(),
                }
            })
            .collect())
    }

    /// A feature at every wanted row; empty for a name that isn't one.
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

    /// Steps of the series.
    pub fn steps(&self) -> usize {
        self.value.len()
    }

    /// `z_short` at any step of the series.
    pub fn z_short(&self, step: usize) -> f64 {
        kernel::short_median(&self.z, step, 3)
    }

    /// `median_short` at any step of the series.
    pub fn median_short(&self, step: usize) -> f64 {
        kernel::short_median(&self.value, step, 1)
    }
}

#[cfg(test)]
mod tests;

//! A chart with its axes, ticks and legend.

use std::fmt::Display;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;

const SIZE: (u32, u32) = (820, 520);
pub(super) const INK: RGBColor = RGBColor(40, 44, 52);
pub(super) const MAIN: RGBColor = RGBColor(31, 106, 165);
pub(super) const BAND: RGBColor = RGBColor(168, 204, 230);
pub(super) const OTHER: RGBColor = RGBColor(196, 86, 34);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn area(path: &Path) -> Result<Area<'_>> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(|error| bad(path, error))?;
    Ok(area)
}

fn bad(path: &Path, error: impl Display) -> anyhow::Error {
    anyhow!("{}: {error}", path.display())
}

/// Steps between the ticks of an axis are 1, 2 or 5 times a power of ten.
pub(super) fn round_steps(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 8.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|times| times * power)
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    if !(step.is_finite() && step > 0.0) {
        return vec![low];
    }
    let first = (low / step - 1e-9).ceil() as i64;
    (first..)
        .map(|place| place as f64 * step)
        .take_while(|tick| *tick <= high + 1e-9 * step)
        .take(50)
        .collect()
}

/// An axis from `low` to `high` with a name, ticks where people expect them, and how a tick is written.
pub(super) struct Axis {
    low: f64,
    high: f64,
    name: String,
    ticks: Vec<f64>,
    label: fn(&f64) -> String,
}

impl Axis {
    pub(super) fn new(range: std::ops::Range<f64>, name: impl Into<String>) -> Self {
        Self {
            low: range.start,
            high: range.end,
            name: name.into(),
            ticks: round_steps(range.start, range.end),
            label: plain,
        }
    }

    pub(super) fn labelled(self, label: fn(&f64) -> String) -> Self {
        Self { label, ..self }
    }

    pub(super) fn ticks(self, ticks: impl Iterator<Item = f64>) -> Self {
        let within = |tick: &f64| (self.low..=self.high).contains(tick);
        Self {
            ticks: ticks.filter(within).collect(),
            ..self
        }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.low) / (self.high - self.low);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() {
            Vec::new()
        } else {
            self.ticks.clone()
        }
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        plain(value)
    }

    fn format_ext(&self, value: &f64) -> String {
        (self.label)(value)
    }
}

/// A chart with named axes, ready to draw in; then the picture is written. `legend`: where the names of what was drawn
/// stand.
pub(super) fn chart(
    path: &Path,
    title: &str,
    (x, y): (Axis, Axis),
    legend: Option<SeriesLabelPosition>,
    draw: impl FnOnce(&mut Chart<'_, '_>) -> Result<()>,
) -> Result<()> {
    let area = area(path)?;
    let (x_name, y_name) = (x.name.clone(), y.name.clone());
    let (x_label, y_label) = (x.label, y.label);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20).into_font().color(&INK))
        .margin(14)
        .margin_right(26)
        .x_label_area_size(56)
        .y_label_area_size(76)
        .build_cartesian_2d(x, y)
        .map_err(|error| bad(path, error))?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(INK.mix(0.15))
        .x_desc(x_name)
        .y_desc(y_name)
        .x_label_formatter(&x_label)
        .y_label_formatter(&y_label)
        .label_style(("sans-serif", 15).into_font().color(&INK))
        .axis_desc_style(("sans-serif", 16).into_font().color(&INK))
        .axis_style(INK)
        .draw()
        .map_err(|error| bad(path, error))?;
    draw(&mut chart)?;
    if let Some(position) = legend {
        chart
            .configure_series_labels()
            .position(position)
            .margin(10)
            .background_style(WHITE.mix(0.9))
            .border_style(INK.mix(0.3))
            .label_font(("sans-serif", 15).into_font().color(&INK))
            .draw()
            .map_err(|error| bad(path, error))?;
    }
    area.present().map_err(|error| bad(path, error))
}

pub(super) type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

pub(super) fn plain(value: &f64) -> String {
    crate::detect::short(*value)
}

pub(super) fn percent(value: &f64) -> String {
    format!("{:.0} %", value * 100.0)
}

/// What stands for a line, an area or points in a legend.
pub(super) fn dash(style: impl Into<ShapeStyle>) -> impl Fn((i32, i32)) -> PathElement<(i32, i32)> {
    let style = style.into();
    move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style)
}

pub(super) fn dot(colour: RGBColor) -> impl Fn((i32, i32)) -> Circle<(i32, i32), i32> {
    move |(x, y)| Circle::new((x + 10, y), 4, colour.filled())
}

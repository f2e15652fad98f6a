//! Pictures for people, as SVG: what a number can't show.

use std::fmt::Display;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;

use crate::backtest::metrics::ReliabilityBin;
use crate::reliability::replacement::{Costs, Policy, Replacement, cost_rate};
use crate::reliability::survival::SurvivalStep;
use crate::reliability::{LifeModel, Weibull};

const SIZE: (u32, u32) = (820, 520);
const INK: RGBColor = RGBColor(40, 44, 52);
const MAIN: RGBColor = RGBColor(31, 106, 165);
const BAND: RGBColor = RGBColor(168, 204, 230);
const OTHER: RGBColor = RGBColor(196, 86, 34);

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
fn round_steps(low: f64, high: f64) -> Vec<f64> {
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
struct Axis {
    low: f64,
    high: f64,
    name: String,
    ticks: Vec<f64>,
    label: fn(&f64) -> String,
}

impl Axis {
    fn new(range: std::ops::Range<f64>, name: impl Into<String>) -> Self {
        Self {
            low: range.start,
            high: range.end,
            name: name.into(),
            ticks: round_steps(range.start, range.end),
            label: plain,
        }
    }

    fn labelled(self, label: fn(&f64) -> String) -> Self {
        Self { label, ..self }
    }

    fn ticks(self, ticks: impl Iterator<Item = f64>) -> Self {
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
fn chart(
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

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

fn plain(value: &f64) -> String {
    crate::detect::short(*value)
}

fn percent(value: &f64) -> String {
    format!("{:.0} %", value * 100.0)
}

/// What stands for a line, an area or points in a legend.
fn dash(style: impl Into<ShapeStyle>) -> impl Fn((i32, i32)) -> PathElement<(i32, i32)> {
    let style = style.into();
    move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style)
}

fn dot(colour: RGBColor) -> impl Fn((i32, i32)) -> Circle<(i32, i32), i32> {
    move |(x, y)| Circle::new((x + 10, y), 4, colour.filled())
}

/// Said against happened: points on the diagonal are calibrated; their area is the number of rows.
///
/// # Errors
/// When the file can't be written.
pub fn reliability_table(path: &Path, title: &str, bins: &[ReliabilityBin]) -> Result<()> {
    let most = bins.iter().map(|bin| bin.rows).max().unwrap_or(1).max(1) as f64;
    let x = Axis::new(0.0..1.0, "probability that was said").labelled(percent);
    let y = Axis::new(0.0..1.0, "share that failed").labelled(percent);
    let legend = Some(SeriesLabelPosition::UpperLeft);
    chart(path, title, (x, y), legend, |chart| {
        chart
            .draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], INK.mix(0.4)))?
            .label("as said")
            .legend(dash(INK.mix(0.4)));
        chart.draw_series(LineSeries::new(
            bins.iter().map(|bin| (bin.mean_predicted, bin.observed)),
            MAIN.stroke_width(2),
        ))?;
        chart
            .draw_series(bins.iter().map(|bin| {
                let radius = 3 + (9.0 * (bin.rows as f64 / most).sqrt()) as i32;
                Circle::new((bin.mean_predicted, bin.observed), radius, MAIN.filled())
            }))?
            .label("as it came; the larger, the more rows")
            .legend(dot(MAIN));
        Ok(())
    })
}

/// One prediction of a remaining life.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Life {
    pub truth: f64,
    pub predicted: f64,
    pub low: f64,
    pub high: f64,
}

/// Predicted against true remaining life, sorted by the truth, with the band of each.
///
/// # Errors
/// When the file can't be written.
pub fn remaining_life(path: &Path, title: &str, unit: &str, lives: &[Life]) -> Result<()> {
    let mut sorted = lives.to_vec();
    sorted.sort_by(|a, b| a.truth.total_cmp(&b.truth));
    let most = sorted
        .iter()
        .map(|life| life.truth.max(life.high))
        .fold(1.0, f64::max);
    let x = Axis::new(
        -1.0..sorted.len() as f64,
        "machines, in order of their true remaining life",
    );
    let y = Axis::new(0.0..most * 1.05, format!("remaining life, {unit}"));
    let points = || {
        sorted
            .iter()
            .enumerate()
            .map(|(place, life)| (place as f64, *life))
    };
    let legend = Some(SeriesLabelPosition::LowerRight);
    chart(path, title, (x, y), legend, |chart| {
        chart
            .draw_series(
                points().map(|(x, life)| {
                    Rectangle::new([(x - 0.4, life.low), (x + 0.4, life.high)], BAND.filled())
                }),
            )?
            .label("80 % interval")
            .legend(dash(BAND.stroke_width(9)));
        chart
            .draw_series(points().map(|(x, life)| Circle::new((x, life.predicted), 3, MAIN.filled())))?
            .label("predicted")
            .legend(dot(MAIN));
        let truth = points().map(|(x, life)| (x, life.truth));
        chart
            .draw_series(LineSeries::new(truth, OTHER.stroke_width(2)))?
            .label("true")
            .legend(dash(OTHER.stroke_width(2)));
        Ok(())
    })
}

/// How many were how long ahead.
///
/// # Errors
/// When the file can't be written.
pub fn histogram(path: &Path, title: &str, x_name: &str, values: &[f64]) -> Result<()> {
    let most = values
        .iter()
        .copied()
        .filter(|v| v.is_finite())
        .fold(0.0, f64::max)
        .max(1e-9);
    let bins = 24_usize;
    let width = most / bins as f64;
    let mut counts = vec![0_usize; bins];
    for value in values.iter().filter(|value| value.is_finite()) {
        counts[((value.max(0.0) / width) as usize).min(bins - 1)] += 1;
    }
    let highest = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let axes = (
        Axis::new(0.0..most, x_name),
        Axis::new(0.0..highest * 1.1, "number of failures"),
    );
    chart(path, title, axes, None, |chart| {
        chart.draw_series(counts.iter().enumerate().map(|(bin, n)| {
            let x = bin as f64 * width;
            Rectangle::new([(x, 0.0), (x + 0.92 * width, *n as f64)], MAIN.filled())
        }))?;
        Ok(())
    })
}

/// Weibull paper: the observed failures (Kaplan-Meier) and the model with its bounds at each share.
///
/// # Errors
/// When the file can't be written, or there is no failure to draw.
pub fn weibull_plot(
    path: &Path,
    title: &str,
    unit: &str,
    steps: &[SurvivalStep],
    model: &LifeModel,
    confidence: f64,
) -> Result<()> {
    let life = model.distribution();
    let shares: Vec<f64> = (1..=99).map(|i| f64::from(i) / 100.0).collect();
    let up = |share: f64| (-(-share).ln_1p()).ln();
    let points: Vec<(f64, f64)> = steps
        .iter()
        .scan(1.0, |before, step| {
            // The middle of the step: neither its foot nor its top is unbiased.
            let middle = 1.0 - (*before + step.survival) / 2.0;
            *before = step.survival;
            Some((step, middle))
        })
        .filter(|(step, share)| step.failures > 0 && *share > 0.0 && *share < 1.0 && step.age > 0.0)
        .map(|(step, share)| (step.age.ln(), up(share)))
        .collect();
    anyhow::ensure!(
        !points.is_empty(),
        "{}: there is no failure to draw",
        path.display()
    );
    let line: Vec<(f64, f64)> = shares.iter().map(|q| (life.quantile(*q).ln(), up(*q))).collect();
    let edges: Vec<(f64, f64, f64)> = shares
        .iter()
        .filter_map(|q| {
            let bounds = bounds_of_quantile(model, *q, confidence)?;
            Some((bounds.0.ln(), bounds.1.ln(), up(*q)))
        })
        .filter(|(low, high, _)| low.is_finite() && high.is_finite())
        .collect();
    let xs = || {
        let sides = edges.iter().flat_map(|(low, high, _)| [*low, *high]);
        points.iter().chain(&line).map(|(x, _)| *x).chain(sides)
    };
    let (low, high) = (
        xs().fold(f64::INFINITY, f64::min),
        xs().fold(f64::NEG_INFINITY, f64::max),
    );
    let decades =
        (low / std::f64::consts::LN_10).floor() as i32..=(high / std::f64::consts::LN_10).ceil() as i32;
    let ages =
        decades.flat_map(|power| [1.0, 2.0, 3.0, 5.0].map(|times: f64| (times * 10_f64.powi(power)).ln()));
    let x = Axis::new(low..high, format!("age, {unit}"))
        .ticks(ages)
        .labelled(|x| plain(&x.exp()));
    let paper = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.632, 0.8, 0.9, 0.95, 0.99];
    let y = Axis::new(up(0.009)..up(0.991), "share that failed")
        .ticks(paper.into_iter().map(up))
        .labelled(|y| format!("{} %", plain(&(-(-y.exp()).exp_m1() * 100.0))));
    let legend = Some(SeriesLabelPosition::LowerRight);
    chart(path, title, (x, y), legend, |chart| {
        let low = edges.iter().map(|(low, _, y)| (*low, *y));
        let high = edges.iter().map(|(_, high, y)| (*high, *y));
        chart
            .draw_series(LineSeries::new(low, BAND.stroke_width(2)))?
            .label(format!("{} bounds", percent(&confidence)))
            .legend(dash(BAND.stroke_width(2)));
        chart.draw_series(LineSeries::new(high, BAND.stroke_width(2)))?;
        chart
            .draw_series(LineSeries::new(line.iter().copied(), MAIN.stroke_width(2)))?
            .label("model")
            .legend(dash(MAIN.stroke_width(2)));
        chart
            .draw_series(points.iter().map(|point| Circle::new(*point, 4, OTHER.filled())))?
            .label("failures")
            .legend(dot(OTHER));
        Ok(())
    })
}

/// Ages by which a share has failed: the fit's bounds, or those of the scale where the shape is assumed.
fn bounds_of_quantile(model: &LifeModel, q: f64, confidence: f64) -> Option<(f64, f64)> {
    match model {
        LifeModel::Fitted(fit) => {
            let bounds = fit.quantile_bounds(q, confidence).ok()?;
            Some((bounds.low, bounds.high))
        }
        LifeModel::Weibayes(weibayes) => {
            let side = 0.5 + confidence / 2.0;
            let at = |eta: f64| {
                Weibull {
                    eta,
                    ..weibayes.distribution()
                }
                .quantile(q)
            };
            let low = at(weibayes.eta_lower(side).ok()?);
            let high = weibayes.eta_upper(side).ok()?.map_or(f64::INFINITY, at);
            Some((low, high))
        }
    }
}

/// Cost per unit of age over the age of a planned replacement, with the cheapest one.
///
/// # Errors
/// When the file can't be written.
pub fn cost_curve(
    path: &Path,
    title: &str,
    unit: &str,
    life: &Weibull,
    costs: Costs,
    best: &Replacement,
) -> Result<()> {
    let far = match best.policy {
        Policy::ReplaceAt { age } => (3.0 * age).max(life.quantile(0.5)),
        Policy::RunToFailure => 2.0 * life.mean(),
    };
    let curve: Vec<(f64, f64)> = (1..=300)
        .map(|i| far * f64::from(i) / 300.0)
        .map(|age| (age, cost_rate(life, costs, age)))
        .filter(|(_, cost)| cost.is_finite())
        .collect();
    let wait = best.run_to_failure_cost_rate;
    let most = 2.5 * wait.max(best.cost_rate);
    let x = Axis::new(0.0..far, format!("age of the planned replacement, {unit}"));
    let y = Axis::new(0.0..most, format!("cost per {unit}"));
    let legend = Some(SeriesLabelPosition::UpperRight);
    chart(path, title, (x, y), legend, |chart| {
        chart
            .draw_series(LineSeries::new([(0.0, wait), (far, wait)], INK.mix(0.5)))?
            .label("run to failure")
            .legend(dash(INK.mix(0.5)));
        let shown = curve.iter().copied().filter(|(_, cost)| *cost <= most);
        chart
            .draw_series(LineSeries::new(shown, MAIN.stroke_width(2)))?
            .label("replaced at this age")
            .legend(dash(MAIN.stroke_width(2)));
        if let Policy::ReplaceAt { age } = best.policy {
            chart
                .draw_series([Circle::new((age, best.cost_rate), 6, OTHER.filled())])?
                .label(format!("cheapest: {} {unit}", plain(&age)))
                .legend(dot(OTHER));
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reliability::replacement::optimal_replacement;
    use crate::reliability::survival::{Exit, kaplan_meier};
    use crate::reliability::{Life as Lived, fit_life};

    #[test]
    fn every_picture_is_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let bin = |p: f64, rows| ReliabilityBin {
            rows,
            mean_predicted: p,
            observed: p * 0.9,
        };
        reliability_table(
            &at("table.svg"),
            "t",
            &[bin(0.1, 900), bin(0.5, 10), bin(0.9, 40)],
        )
        .unwrap();
        let life = |truth: f64| Life {
            truth,
            predicted: truth + 3.0,
            low: truth - 10.0,
            high: truth + 9.0,
        };
        remaining_life(
            &at("rul.svg"),
            "r",
            "cycles",
            &[life(80.0), life(20.0), life(120.0)],
        )
        .unwrap();
        histogram(&at("lead.svg"), "l", "hours ahead", &[1.0, 24.0, f64::NAN, 23.0]).unwrap();
        let ages = [400.0, 700.0, 900.0, 1300.0, 1500.0];
        for lives in [
            Lived::from_lists(&ages, &[2000.0; 4]),
            Lived::from_lists(&ages[..1], &[2000.0; 4]),
        ] {
            let model = fit_life(&lives, 2.0).unwrap();
            let exits: Vec<Exit> = lives
                .iter()
                .map(|life| Exit::new(life.age(), life.is_failure()))
                .collect();
            let steps = kaplan_meier(&exits, 0.9).unwrap();
            weibull_plot(&at("weibull.svg"), "w", "h", &steps, &model, 0.9).unwrap();
            let costs = Costs {
                planned: 1.0,
                failure: 10.0,
            };
            let best = optimal_replacement(&model.distribution(), costs).unwrap();
            cost_curve(&at("cost.svg"), "c", "h", &model.distribution(), costs, &best).unwrap();
        }
        for name in ["table.svg", "rul.svg", "lead.svg", "weibull.svg", "cost.svg"] {
            let text = std::fs::read_to_string(at(name)).unwrap();
            assert!(
                text.starts_with("<svg") && text.contains("</svg>") && text.len() > 2000,
                "{name}: {}",
                text.len()
            );
        }
        // Axes say what they are and in which unit; ticks are where people look for them.
        for (name, words) in [
            (
                "table.svg",
                &["probability that was said", "as said", ">\n80 %"][..],
            ),
            (
                "rul.svg",
                &["remaining life, cycles", "80 % interval", "true", "predicted"],
            ),
            ("lead.svg", &["hours ahead", "number of failures"]),
            (
                "weibull.svg",
                &["age, h", "90 % bounds", "\n63.2 %", "\n500\n", "\n1000\n"],
            ),
            (
                "cost.svg",
                &[
                    "age of the planned replacement, h",
                    "cost per h",
                    "run to failure",
                    "cheapest: ",
                ],
            ),
        ] {
            let text = std::fs::read_to_string(at(name)).unwrap();
            for word in words {
                assert!(text.contains(word), "{name} lacks {word:?}");
            }
        }
        assert_eq!(round_steps(0.0, 1.0).len(), 6);
        assert_eq!(round_steps(-1.0, 100.0)[..3], [0.0, 20.0, 40.0]);
        assert_eq!(round_steps(3.0, 3.0), [3.0]);
        let error = histogram(Path::new("/nowhere/at/all.svg"), "l", "h", &[1.0])
            .unwrap_err()
            .to_string();
        assert!(error.contains("/nowhere/at/all.svg"), "{error}");
    }
}

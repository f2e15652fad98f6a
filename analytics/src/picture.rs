//! Pictures for people, as SVG: what a number can't show.

use std::fmt::Display;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
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

/// How a place on an axis is written.
type Label<'a> = &'a dyn Fn(&f64) -> String;

/// A chart with named axes, ready to draw in; then the picture is written.
fn chart(
    path: &Path,
    title: &str,
    (x, x_name): (std::ops::Range<f64>, &str),
    (y, y_name): (std::ops::Range<f64>, &str),
    labels: (Label<'_>, Label<'_>),
    draw: impl FnOnce(&mut Chart<'_, '_>) -> Result<()>,
) -> Result<()> {
    let area = area(path)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18).into_font().color(&INK))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(62)
        .build_cartesian_2d(x, y)
        .map_err(|error| bad(path, error))?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc(x_name)
        .y_desc(y_name)
        .x_label_formatter(&labels.0)
        .y_label_formatter(&labels.1)
        .axis_style(INK)
        .draw()
        .map_err(|error| bad(path, error))?;
    draw(&mut chart)?;
    area.present().map_err(|error| bad(path, error))
}

type Chart<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

fn plain(value: &f64) -> String {
    crate::detect::short(*value)
}

fn percent(value: &f64) -> String {
    format!("{:.0} %", value * 100.0)
}

/// Said against happened: points on the diagonal are calibrated; their area is the number of rows.
///
/// # Errors
/// When the file can't be written.
pub fn reliability_table(path: &Path, title: &str, bins: &[ReliabilityBin]) -> Result<()> {
    let most = bins.iter().map(|bin| bin.rows).max().unwrap_or(1).max(1) as f64;
    let axes = (
        (0.0..1.0, "probability that was said"),
        (0.0..1.0, "share that failed"),
    );
    chart(path, title, axes.0, axes.1, (&percent, &percent), |chart| {
        chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], INK.mix(0.4)))?;
        chart.draw_series(LineSeries::new(
            bins.iter().map(|bin| (bin.mean_predicted, bin.observed)),
            MAIN.stroke_width(2),
        ))?;
        chart.draw_series(bins.iter().map(|bin| {
            let radius = 3 + (9.0 * (bin.rows as f64 / most).sqrt()) as i32;
            Circle::new((bin.mean_predicted, bin.observed), radius, MAIN.filled())
        }))?;
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
    let name = format!("remaining life, {unit}");
    let x = (-1.0..sorted.len() as f64, "machines by their true remaining life");
    chart(
        path,
        title,
        x,
        (0.0..most * 1.05, &name),
        (&plain, &plain),
        |chart| {
            chart.draw_series(sorted.iter().enumerate().map(|(place, life)| {
                let x = place as f64;
                Rectangle::new([(x - 0.4, life.low), (x + 0.4, life.high)], BAND.filled())
            }))?;
            let points = || {
                sorted
                    .iter()
                    .enumerate()
                    .map(|(place, life)| (place as f64, *life))
            };
            chart
                .draw_series(points().map(|(x, life)| Circle::new((x, life.predicted), 3, MAIN.filled())))?;
            chart.draw_series(LineSeries::new(
                points().map(|(x, life)| (x, life.truth)),
                OTHER.stroke_width(2),
            ))?;
            Ok(())
        },
    )
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
    chart(
        path,
        title,
        (0.0..most, x_name),
        (0.0..highest * 1.1, "number"),
        (&plain, &plain),
        |chart| {
            chart.draw_series(counts.iter().enumerate().map(|(bin, n)| {
                let x = bin as f64 * width;
                Rectangle::new([(x, 0.0), (x + 0.92 * width, *n as f64)], MAIN.filled())
            }))?;
            Ok(())
        },
    )
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
    let name = format!("age, {unit}");
    let ages = |x: &f64| plain(&x.exp());
    let share = |y: &f64| format!("{:.1} %", -(-y.exp()).exp_m1() * 100.0);
    let (x, y) = (
        (low..high, name.as_str()),
        (up(0.01)..up(0.99), "share that failed"),
    );
    chart(path, title, x, y, (&ages, &share), |chart| {
        for side in [0, 1] {
            let edge = edges
                .iter()
                .map(|(low, high, y)| (if side == 0 { *low } else { *high }, *y));
            chart.draw_series(LineSeries::new(edge, BAND.stroke_width(2)))?;
        }
        chart.draw_series(LineSeries::new(line.iter().copied(), MAIN.stroke_width(2)))?;
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, OTHER.filled())))?;
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
    let (x, y) = (
        format!("age of the planned replacement, {unit}"),
        format!("cost per {unit}"),
    );
    chart(
        path,
        title,
        (0.0..far, &x),
        (0.0..most, &y),
        (&plain, &plain),
        |chart| {
            chart.draw_series(LineSeries::new([(0.0, wait), (far, wait)], INK.mix(0.5)))?;
            let shown = curve.iter().copied().filter(|(_, cost)| *cost <= most);
            chart.draw_series(LineSeries::new(shown, MAIN.stroke_width(2)))?;
            if let Policy::ReplaceAt { age } = best.policy {
                chart.draw_series([Circle::new((age, best.cost_rate), 6, OTHER.filled())])?;
            }
            Ok(())
        },
    )
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
        let error = histogram(Path::new("/nowhere/at/all.svg"), "l", "h", &[1.0])
            .unwrap_err()
            .to_string();
        assert!(error.contains("/nowhere/at/all.svg"), "{error}");
    }
}

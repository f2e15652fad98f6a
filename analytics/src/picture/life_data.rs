//! Pictures of life data: Weibull paper, and what a planned replacement costs.

use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;

use super::chart::{Axis, BAND, INK, MAIN, OTHER, chart, dash, dot, percent, plain};
use crate::reliability::replacement::{Costs, Policy, Replacement, cost_rate};
use crate::reliability::survival::SurvivalStep;
use crate::reliability::{LifeModel, Weibull};

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

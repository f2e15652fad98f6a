//! Pictures for people, as SVG: what a number can't show.

mod chart;
mod course;
mod life_data;

use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;

use self::chart::{Axis, BAND, INK, MAIN, OTHER, chart, dash, dot, percent};
use crate::backtest::metrics::ReliabilityBin;

pub use course::{Bars, Course, Line, bars, course};
pub use life_data::{cost_curve, weibull_plot};

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

/// Predicted against true remaining life, sorted by the truth, with the band of each where there are any.
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
        "predictions, in order of the true remaining life",
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
        let banded = || points().filter(|(_, life)| life.high > life.low);
        if banded().next().is_some() {
            chart
                .draw_series(banded().map(|(x, life)| {
                    Rectangle::new([(x - 0.4, life.low), (x + 0.4, life.high)], BAND.filled())
                }))?
                .label("80 % interval")
                .legend(dash(BAND.stroke_width(9)));
        }
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

#[cfg(test)]
mod tests {
    use super::chart::round_steps;
    use super::*;
    use crate::reliability::replacement::{Costs, optimal_replacement};
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

//! Courses over time and bars beside each other.

use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;
use serde::{Deserialize, Serialize};

use super::chart::{Axis, BAND, INK, MAIN, OTHER, chart, dash, dot};

const LINES: [RGBColor; 6] = [
    MAIN,
    OTHER,
    RGBColor(70, 140, 70),
    RGBColor(120, 80, 150),
    RGBColor(150, 120, 30),
    RGBColor(90, 100, 110),
];
/// Points of a line that a picture of this width can show: the lowest and the highest of each stretch are kept.
const MOST_POINTS: usize = 1600;

/// Points (x, y) in order of x, with a name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// What was measured, where something was wrong, and when it was said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Course {
    /// Of the file, without `.svg`.
    pub name: String,
    pub title: String,
    pub x_name: String,
    pub y_name: String,
    pub lines: Vec<Line>,
    /// Stretches of x that were marked by those who know, and what they are.
    pub marked: Vec<(f64, f64)>,
    pub marked_as: String,
    /// Points at which something was said, and what.
    pub said: Vec<(f64, f64)>,
    pub said_what: String,
}

impl Course {
    fn points(&self) -> impl Iterator<Item = &(f64, f64)> {
        self.lines.iter().flat_map(|line| &line.points).chain(&self.said)
    }

    /// Whether there is a point in it.
    pub fn can_be_drawn(&self) -> bool {
        self.points().next().is_some()
    }
}

/// A number for each name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bars {
    pub name: String,
    pub title: String,
    pub x_name: String,
    pub bars: Vec<(String, f64)>,
}

/// The lowest and the highest point of each stretch, in order.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let mut kept = Vec::with_capacity(MOST_POINTS);
    for stretch in points.chunks(points.len().div_ceil(MOST_POINTS / 2)) {
        let low = stretch.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let high = stretch.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let mut both: Vec<(f64, f64)> = low.into_iter().chain(high).copied().collect();
        both.sort_by(|a, b| a.0.total_cmp(&b.0));
        kept.extend(both);
    }
    kept
}

/// The lowest and the highest; 0 to 1 without any.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values
        .filter(|value| value.is_finite())
        .map(|value| (value, value))
        .reduce(|range, value| (range.0.min(value.0), range.1.max(value.1)))
        .unwrap_or((0.0, 1.0))
}

/// Lines over time with marked stretches and points.
///
/// # Errors
/// When the file can't be written.
pub fn course(path: &Path, course: &Course) -> Result<()> {
    let (x0, x1) = range(course.points().map(|p| p.0));
    let (y0, y1) = range(course.points().map(|p| p.1));
    let (wide, high) = ((x1 - x0).max(1e-9), (y1 - y0).max(1e-9));
    let (low, top) = (y0 - 0.05 * high, y1 + 0.15 * high);
    let axes = (
        Axis::new(x0..x0 + wide * 1.01, course.x_name.as_str()),
        Axis::new(low..top, course.y_name.as_str()),
    );
    let legend = Some(SeriesLabelPosition::UpperLeft);
    chart(path, &course.title, axes, legend, |chart| {
        if !course.marked.is_empty() {
            chart
                .draw_series(course.marked.iter().map(|(from, to)| {
                    let ends = [(from.max(x0), low), (to.min(x1).max(from + wide * 1e-3), top)];
                    Rectangle::new(ends, BAND.mix(0.6).filled())
                }))?
                .label(course.marked_as.as_str())
                .legend(dash(BAND.stroke_width(9)));
        }
        for (line, colour) in course.lines.iter().zip(LINES.iter().cycle()) {
            chart
                .draw_series(LineSeries::new(thinned(&line.points), *colour))?
                .label(line.name.as_str())
                .legend(dash(*colour));
        }
        if !course.said.is_empty() {
            chart
                .draw_series(
                    course
                        .said
                        .iter()
                        .map(|point| Circle::new(*point, 5, RGBColor(190, 30, 45).filled())),
                )?
                .label(course.said_what.as_str())
                .legend(dot(RGBColor(190, 30, 45)));
        }
        Ok(())
    })
}

/// Lying bars, the first on top.
///
/// # Errors
/// When the file can't be written.
pub fn bars(path: &Path, bars: &Bars) -> Result<()> {
    let most = range(bars.bars.iter().map(|bar| bar.1)).1.max(1e-9);
    let n = bars.bars.len().max(1) as f64;
    let axes = (
        Axis::new(0.0..most * 1.05, bars.x_name.as_str()),
        Axis::new(0.0..n, "").ticks(std::iter::empty()),
    );
    chart(path, &bars.title, axes, None, |chart| {
        let placed = || {
            let from_top = |place: usize| n - 1.0 - place as f64;
            bars.bars
                .iter()
                .enumerate()
                .map(move |(place, bar)| (from_top(place), bar))
        };
        chart.draw_series(placed().map(|(y, (_, value))| {
            Rectangle::new([(0.0, y + 0.1), (value.max(0.0), y + 0.9)], BAND.filled())
        }))?;
        let style = ("sans-serif", 14).into_font().color(&INK);
        chart.draw_series(placed().map(|(y, (name, value))| {
            let text = format!("{name}: {}", super::chart::plain(value));
            Text::new(text, (most * 0.01, y + 0.6), style.clone())
        }))?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn courses_and_bars_are_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let line = |name: &str| Line {
            name: name.to_owned(),
            points: (0..9000)
                .map(|i| {
                    (
                        f64::from(i),
                        f64::from(i % 100) + f64::from(u8::from(i == 4321)) * 500.0,
                    )
                })
                .collect(),
        };
        let mut drawn = Course {
            name: "run".to_owned(),
            title: "a run".to_owned(),
            x_name: "hours".to_owned(),
            y_name: "level".to_owned(),
            lines: vec![line("bearing 1"), line("bearing 2")],
            marked: vec![(100.0, 300.0)],
            marked_as: "labelled window".to_owned(),
            said: vec![(4321.0, 500.0)],
            said_what: "alarm".to_owned(),
        };
        course(&at("run.svg"), &drawn).unwrap();
        let text = std::fs::read_to_string(at("run.svg")).unwrap();
        for word in [
            "bearing 1",
            "bearing 2",
            "labelled window",
            "alarm",
            "level",
            "hours",
        ] {
            assert!(text.contains(word), "{word}");
        }
        // The one high point is not thinned away.
        assert!(thinned(&drawn.lines[0].points).iter().any(|p| p.1 > 500.0));
        assert!(thinned(&drawn.lines[0].points).len() <= MOST_POINTS + 2);
        drawn.lines.clear();
        drawn.said.clear();
        assert!(!drawn.can_be_drawn());
        course(&at("none.svg"), &drawn).unwrap();
        let shown = Bars {
            name: "f1".to_owned(),
            title: "f1 by part".to_owned(),
            x_name: "f1".to_owned(),
            bars: vec![("valve".to_owned(), 0.25), ("pump".to_owned(), 0.9)],
        };
        bars(&at("bars.svg"), &shown).unwrap();
        let text = std::fs::read_to_string(at("bars.svg")).unwrap();
        assert!(
            text.contains("valve: 0.25") && text.contains("pump: 0.9"),
            "{text}"
        );
        bars(&at("none.svg"), &Bars::default()).unwrap();
    }
}

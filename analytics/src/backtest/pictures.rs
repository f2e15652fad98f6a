//! Which pictures a result is drawn in.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::metrics::ReliabilityBin;
use crate::picture::{self, Bars, Course};

fn list<T: DeserializeOwned>(of: Option<&Value>, name: &str) -> Vec<T> {
    of.and_then(|of| serde_json::from_value(of[name].clone()).ok())
        .unwrap_or_default()
}

/// What it is about, for titles.
fn title(result: &Value) -> String {
    let mut title = result["set"].as_str().unwrap_or_default().to_owned();
    if let Some(subset) = result["subset"].as_str() {
        title = format!("{title} {subset}");
    }
    if let Some(hours) = result["horizon_h"].as_f64() {
        title = format!("{title}, failure within {hours} h");
    }
    title
}

/// The folder of the pictures, made when there is one to draw.
struct Drawing<'a> {
    folder: &'a Path,
    drawn: Vec<String>,
}

impl Drawing<'_> {
    fn place(&self, name: &str) -> Result<PathBuf> {
        std::fs::create_dir_all(self.folder).with_context(|| self.folder.display().to_string())?;
        Ok(self.folder.join(name))
    }

    fn one(&mut self, name: &str, draw: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        draw(&self.place(name)?)?;
        self.drawn.push(name.to_owned());
        Ok(())
    }
}

/// Pictures of what the result holds; returns their names.
pub(super) fn draw(result: &Value, detail: Option<&Value>, folder: &Path) -> Result<Vec<String>> {
    let title = title(result);
    let mut drawing = Drawing {
        folder,
        drawn: Vec::new(),
    };
    let lives: Vec<[f64; 4]> = list(detail, "lives");
    if !lives.is_empty() {
        let unit = detail
            .and_then(|detail| detail["unit"].as_str())
            .unwrap_or_default();
        let lives: Vec<picture::Life> = lives
            .into_iter()
            .map(|[truth, predicted, low, high]| picture::Life {
                truth,
                predicted,
                low,
                high,
            })
            .collect();
        let title = format!("{title}: predicted and true remaining life");
        drawing.one("remaining_life.svg", |path| {
            picture::remaining_life(path, &title, unit, &lives)
        })?;
    }
    for (file, of, at) in [
        ("reliability.svg", result, ""),
        (
            "reliability_natural.svg",
            &result["natural"],
            " at the natural base rate",
        ),
    ] {
        let bins: Vec<ReliabilityBin> = list(Some(of), "reliability");
        if !bins.is_empty() {
            let title = format!("{title}{at}: probability said and share that failed");
            drawing.one(file, |path| picture::reliability_table(path, &title, &bins))?;
        }
    }
    let leads: Vec<f64> = list(detail, "lead_times_h");
    if !leads.is_empty() {
        let title = format!("{title}: how long before the failure it was seen");
        drawing.one("lead_time.svg", |path| {
            picture::histogram(path, &title, "hours ahead", &leads)
        })?;
    }
    for course in list::<Course>(detail, "courses")
        .iter()
        .filter(|c| c.can_be_drawn())
    {
        drawing.one(&format!("{}.svg", course.name), |path| {
            picture::course(path, course)
        })?;
    }
    for bars in list::<Bars>(detail, "bars").iter().filter(|b| !b.bars.is_empty()) {
        drawing.one(&format!("{}.svg", bars.name), |path| picture::bars(path, bars))?;
    }
    Ok(drawing.drawn)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::picture::Line;

    #[test]
    fn a_folder_is_made_for_pictures_only() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("pictures");
        let nothing = json!({ "courses": [Course::default()], "bars": [Bars::default()], "lives": [] });
        let drawn = draw(&json!({ "set": "x" }), Some(&nothing), &folder).unwrap();
        assert!(drawn.is_empty() && !folder.exists());
        let line = Line {
            name: "a".to_owned(),
            points: vec![(0.0, 1.0), (1.0, 2.0)],
        };
        let course = Course {
            name: "run".to_owned(),
            lines: vec![line],
            ..Course::default()
        };
        let drawn = draw(
            &json!({ "set": "x" }),
            Some(&json!({ "courses": [course] })),
            &folder,
        )
        .unwrap();
        assert_eq!(drawn, ["run.svg"]);
        assert!(folder.join("run.svg").is_file());
    }
}

//! Pictures of what training found, for machines that were not seen.

use std::path::Path;

use anyhow::Context;

use super::train::Trained;
use crate::backtest::metrics::ReliabilityBin;
use crate::picture;

/// Draws into `folder` the reliability table of each horizon, or remaining lives beside what was said of them; returns the
/// files' names.
///
/// # Errors
/// When a picture can't be written.
pub fn draw(trained: &Trained, folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut drawn = Vec::new();
    let mut place = |name: String| -> anyhow::Result<_> {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let path = folder.join(&name);
        drawn.push(name);
        Ok(path)
    };
    if !trained.lives.is_empty() {
        let lives: Vec<picture::Life> = trained
            .lives
            .iter()
            .map(|&[truth, predicted, low, high]| picture::Life {
                truth,
                predicted,
                low,
                high,
            })
            .collect();
        let title = format!("{}: predicted and true remaining life", trained.class);
        picture::remaining_life(&place("remaining_life.svg".to_owned())?, &title, "h", &lives)?;
    }
    let figures = trained.figures.as_object().into_iter().flatten();
    for (horizon, of) in figures.filter(|(name, _)| name.ends_with('h')) {
        let bins: Vec<ReliabilityBin> = serde_json::from_value(of["reliability"].clone()).unwrap_or_default();
        if bins.is_empty() {
            continue;
        }
        let title = format!(
            "{}, failure within {horizon}: probability said and share that failed",
            trained.class
        );
        picture::reliability_table(&place(format!("reliability_{horizon}.svg"))?, &title, &bins)?;
    }
    Ok(drawn)
}

//! Pictures of a report, and why one is missing.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::picture;
use crate::reliability::LifeModel;
use crate::reliability::replacement::Replacement;
use crate::reliability::survival::SurvivalStep;

use super::{Args, Said};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Picture {
    pub file: String,
    /// Why it isn't there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Draws what can be drawn into a folder.
///
/// # Errors
/// When a file can't be written.
pub fn all(
    folder: &Path,
    args: &Args,
    model: &Said<LifeModel>,
    steps: &Said<Vec<SurvivalStep>>,
    best: Option<&Replacement>,
) -> Result<Vec<Picture>> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let mut pictures = Vec::new();
    let mut said = |file: &str, why: Option<String>| {
        pictures.push(Picture {
            file: folder.join(file).display().to_string(),
            why,
        });
    };
    let (file, path) = ("weibull.svg", folder.join("weibull.svg"));
    match (model, steps) {
        (Said::Found(model), Said::Found(steps)) if !steps.is_empty() => {
            let title = format!("Weibull plot: {}", model.basis());
            picture::weibull_plot(&path, &title, &args.unit, steps, model, args.confidence)?;
            said(file, None);
        }
        (Said::Found(_), _) => said(
            file,
            Some(
                "without a failure there is no point to draw; what bounds the life stands in the text"
                    .to_owned(),
            ),
        ),
        (Said::Not { why }, _) => said(file, Some(why.clone())),
    }
    if let Some(costs) = args.costs {
        let file = "cost.svg";
        match (model, best) {
            (Said::Found(model), Some(best)) => {
                picture::cost_curve(
                    &folder.join(file),
                    "Cost of planned replacement",
                    &args.unit,
                    &model.distribution(),
                    costs,
                    best,
                )?;
                said(file, None);
            }
            _ => said(
                file,
                Some("without a life distribution there is no cost over the age".to_owned()),
            ),
        }
    }
    Ok(pictures)
}

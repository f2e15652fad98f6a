//! What life data say, as one object: `forewarn reliability`.
//!
//! Lives come from a file or from a class's failure reports. A file has a header and the columns `age`
//! and `status` (`failed`, `suspended`, also F and S, 1 and 0). Further columns are understood where they
//! are there: `age_to` makes an interval (failed between the two ages); `system` makes recurring failures
//! of repaired systems, of which `suspended` is the end of the observation; `group` compares; `cause`
//! lets causes compete; `repair_h` is how long the repair took. Others are covariates where they are
//! named as such.
//!
//! What can't be estimated is there with its reason.

mod compare;
mod draw;
mod figures;
mod life;
mod planned;
mod read;
mod repair;
mod repaired;
mod text;

use std::path::Path;

use anyhow::{Result, bail, ensure};
use serde::Serialize;

use crate::reliability::availability::{Mtbf, mtbf};
use crate::reliability::recurrence::{Ending, History, ending_of};
use crate::reliability::replacement::Costs;
use crate::reliability::survival::SurvivalStep;
use crate::reliability::{Life, LifeModel};

use self::compare::{Causes, Covariates, Groups};
use self::draw::Picture;
use self::figures::{count, number};
use self::life::{Distribution, FailureFree};
use self::planned::Planned;
use self::repair::Repairs;
use self::repaired::{Recurrence, Trend};

pub use self::read::read;

/// What is asked for besides the lives.
#[derive(Clone, Debug, PartialEq)]
pub struct Args {
    pub confidence: f64,
    /// Shape that is assumed where failures are too few to fit one.
    pub shape: Option<f64>,
    /// For the optimal age of a planned replacement.
    pub costs: Option<Costs>,
    /// Unit of the ages, for people.
    pub unit: String,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            confidence: 0.9,
            shape: None,
            costs: None,
            unit: "h".to_owned(),
        }
    }
}

/// One life, with what tells it apart from others.
#[derive(Clone, Debug, PartialEq)]
pub struct Lived {
    pub life: Life,
    pub group: Option<String>,
    pub cause: Option<String>,
    pub covariates: Vec<f64>,
}

impl From<Life> for Lived {
    fn from(life: Life) -> Self {
        Self {
            life,
            group: None,
            cause: None,
            covariates: Vec::new(),
        }
    }
}

/// A repaired system.
#[derive(Clone, Debug, PartialEq)]
pub struct System {
    pub name: String,
    pub history: History,
}

/// Lives, and histories of systems where the file tells them apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lives {
    /// Of systems: the times between their failures, and from the last one to the end.
    pub lives: Vec<Lived>,
    pub systems: Vec<System>,
    /// Names of the columns of each life's covariates.
    pub covariates: Vec<String>,
    /// Hours of the repairs; None where nobody asked.
    pub repairs: Option<Vec<f64>>,
    /// Failures of a system that came at one age leave no time between them.
    pub touching: bool,
    /// To be said with the answer.
    pub notes: Vec<String>,
}

/// A result, or the sentence why there is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Said<T> {
    Found(T),
    Not { why: String },
}

impl<T> Said<T> {
    fn of(result: std::result::Result<T, impl std::fmt::Display>) -> Self {
        match result {
            Ok(found) => Self::Found(found),
            Err(error) => Self::not(&error.to_string()),
        }
    }

    fn not(why: &str) -> Self {
        Self::Not { why: why.to_owned() }
    }

    pub fn found(&self) -> Option<&T> {
        match self {
            Self::Found(found) => Some(found),
            Self::Not { .. } => None,
        }
    }

    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Found(_) => None,
            Self::Not { why } => Some(why),
        }
    }

    fn map<U>(self, to: impl FnOnce(T) -> U) -> Said<U> {
        match self {
            Self::Found(found) => Said::Found(to(found)),
            Self::Not { why } => Said::Not { why },
        }
    }

    fn and_then<U>(&self, to: impl FnOnce(&T) -> Said<U>) -> Said<U> {
        match self {
            Self::Found(found) => to(found),
            Self::Not { why } => Said::not(why),
        }
    }
}

/// Everything that can be said; what can't is there with its reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub lives: usize,
    pub failures: usize,
    pub suspensions: usize,
    /// Failures known to an interval.
    pub intervals: usize,
    pub confidence: f64,
    pub unit: String,
    /// The oldest age at which anything was seen.
    pub oldest: f64,
    /// What the distribution rests on.
    pub basis: String,
    /// What the reader must know of how the figures came about.
    pub notes: Vec<String>,
    /// What speaks against taking them at their word.
    pub doubts: Vec<String>,
    pub weibull: Said<Distribution>,
    pub weibull3: Said<FailureFree>,
    pub kaplan_meier: Said<Vec<SurvivalStep>>,
    pub mtbf: Said<Mtbf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recurrence: Option<Recurrence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Said<Groups>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causes: Option<Said<Causes>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covariates: Option<Said<Covariates>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repairs: Option<Repairs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replacement: Option<Said<Planned>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pictures: Option<Vec<Picture>>,
}

/// Looks at lives from every side. Draws into `svg` if given.
///
/// # Errors
/// No lives at all, costs or a shape that can't be, or a picture that can't be written.
pub fn report(lives: &Lives, args: &Args, svg: Option<&Path>) -> Result<Report> {
    check(lives, args)?;
    let c = args.confidence;
    let systems: Vec<History> = lives
        .systems
        .iter()
        .map(|system| system.history.clone())
        .collect();
    let recurrence = (!systems.is_empty()).then(|| repaired::look(&lives.systems, c));
    let of = life::plain(&lives.lives);
    let usable: Said<()> = match recurrence.as_ref().and_then(|r| no_lives(r, lives)) {
        Some(why) => Said::Not { why },
        None => Said::Found(()),
    };
    let model = usable.and_then(|()| life::model(&of, args.shape));
    let weibull = model.and_then(|model| Said::Found(life::distribution(model, &of, c)));
    let kaplan_meier = usable.and_then(|()| life::curve(&of, c));
    let failures = match &recurrence {
        Some(recurrence) => recurrence.failures,
        None => of.iter().filter(|life| life.is_failure()).count(),
    };
    let suspensions = match &recurrence {
        Some(_) => systems.iter().filter(|s| s.ending == Ending::Time).count(),
        None => of.len() - failures,
    };
    let exposure = match &recurrence {
        Some(recurrence) => recurrence.exposure,
        None => of.iter().map(Life::age).sum(),
    };
    let ending = match &recurrence {
        Some(_) => ending_of(&systems),
        None if suspensions == 0 => Ending::Failure,
        None => Ending::Time,
    };
    let oldest = of.iter().map(Life::age).fold(0.0, f64::max);
    let replacement = args
        .costs
        .map(|costs| model.and_then(|model| planned::look(model, costs, oldest, args)));
    let best = replacement
        .as_ref()
        .and_then(|of| of.found())
        .map(|planned| planned.best);
    let pictures = match svg {
        Some(folder) => Some(draw::all(folder, args, &model, &kaplan_meier, best.as_ref())?),
        None => None,
    };
    // Lives told apart are lives first: where they can't be taken for such, neither can their parts.
    let told = |there: bool| there.then_some(&usable);
    let mut report = Report {
        lives: of.len(),
        failures,
        suspensions,
        intervals: of
            .iter()
            .filter(|life| matches!(life, Life::FailedBefore(_) | Life::FailedBetween(..)))
            .count(),
        confidence: c,
        unit: args.unit.clone(),
        oldest,
        basis: basis(&model, recurrence.as_ref(), args),
        notes: lives.notes.clone(),
        doubts: Vec::new(),
        weibull3: usable.and_then(|()| life::failure_free(&of, c)),
        mtbf: Said::of(mtbf(failures, exposure, ending, c)),
        groups: told(lives.lives.iter().any(|lived| lived.group.is_some()))
            .map(|usable| usable.and_then(|()| compare::groups(&lives.lives, args))),
        causes: told(lives.lives.iter().any(|lived| lived.cause.is_some()))
            .map(|usable| usable.and_then(|()| compare::causes(&lives.lives, args))),
        covariates: told(!lives.covariates.is_empty())
            .map(|usable| usable.and_then(|()| compare::covariates(&lives.lives, &lives.covariates, c))),
        repairs: lives
            .repairs
            .as_ref()
            .map(|repairs| repair::look(repairs, failures, exposure, args)),
        weibull,
        kaplan_meier,
        recurrence,
        replacement,
        pictures,
    };
    report.remark();
    Ok(report)
}

fn check(lives: &Lives, args: &Args) -> Result<()> {
    if lives.lives.is_empty() && lives.systems.is_empty() {
        bail!("there are no lives to look at");
    }
    let c = args.confidence;
    ensure!(
        c > 0.0 && c < 1.0,
        "the confidence {c}: it must be between 0 and 1"
    );
    if let Some(shape) = args.shape {
        ensure!(
            (0.05..=20.0).contains(&shape),
            "the assumed shape {shape}: shapes of lives lie between 0.05 and 20"
        );
    }
    if let Some(costs) = args.costs {
        for (what, cost) in [
            ("a planned replacement", costs.planned),
            ("a failure", costs.failure),
        ] {
            ensure!(
                cost.is_finite() && cost > 0.0,
                "the cost of {what}, {cost}: it must be above zero"
            );
        }
    }
    Ok(())
}

/// Why the times between failures are not lives of one distribution, where they aren't.
fn no_lives(recurrence: &Recurrence, lives: &Lives) -> Option<String> {
    if lives.touching {
        return Some(
            "a system failed twice at one age, so that there is no time between; see the recurrence"
                .to_owned(),
        );
    }
    let how = match recurrence.trend {
        Trend::Faster => "faster",
        Trend::Slower => "more slowly",
        Trend::NotShown | Trend::Untested => return None,
    };
    Some(format!(
        "failures come {how} as the systems age ({}): the times between them are not lives of one distribution; see \
         the recurrence",
        recurrence.tests()
    ))
}

fn basis(model: &Said<LifeModel>, recurrence: Option<&Recurrence>, args: &Args) -> String {
    let observed = recurrence.map(|r| {
        let (exposure, unit) = (number(r.exposure), &args.unit);
        let (failures, systems) = (count(r.failures, "failure"), count(r.systems, "repaired system"));
        format!("{failures} of {systems} in {exposure} {unit}")
    });
    match (model, observed) {
        (Said::Found(model), None) => model.basis(),
        (Said::Found(model), Some(observed)) => format!("{observed}; between them: {}", model.basis()),
        (Said::Not { .. }, Some(observed)) => observed,
        (Said::Not { why }, None) => why.clone(),
    }
}

impl Report {
    /// Notes and doubts.
    fn remark(&mut self) {
        if self.intervals > 0 {
            let told = if self.groups.is_some() || self.causes.is_some() || self.covariates.is_some() {
                ", comparisons"
            } else {
                ""
            };
            let whose = match self.weibull.found() {
                Some(Distribution::Fitted(_)) => "the fit takes them so; ",
                _ => "",
            };
            self.notes.push(format!(
                "{} known to an interval: {whose}Kaplan-Meier, MTBF{told} and an assumed shape take them at its end, \
                 so that they err on the long side",
                count(self.intervals, "failure")
            ));
        }
        if let Some(recurrence) = &self.recurrence {
            let tests = recurrence.tests();
            match recurrence.trend {
                _ if self.weibull.found().is_none() => {}
                Trend::NotShown => self.notes.push(format!(
                    "the times between failures are taken for lives: no trend test speaks against it ({tests})"
                )),
                Trend::Untested => self.doubts.push(
                    "whether failures come faster can't be tested: each repair is taken to make it as good as new".to_owned(),
                ),
                Trend::Faster | Trend::Slower => {}
            }
            if matches!(recurrence.trend, Trend::Faster | Trend::Slower) {
                self.doubts
                    .push("MTBF is a mean over the whole observation, not what it is now".to_owned());
            }
        }
        if let Some(weibull) = self.weibull.found() {
            self.doubts.extend(life::doubts(weibull, self.oldest, &self.unit));
        }
    }
}

#[cfg(test)]
mod tests;

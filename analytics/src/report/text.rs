//! The report as text: the same figures as the object, with their doubts.

use std::fmt::{self, Write};

use crate::reliability::Interval;
use crate::reliability::recurrence::Ending;

use super::compare::{Causes, Covariates, Effect, Groups};
use super::figures::{between, between_as, count, factor, number, or_why, percent, probability, some};
use super::life::{Assumed, Distribution, Fitted};
use super::repaired::{Growth, Recurrence, Trend};
use super::{Report, Said};

/// As many systems are told one by one.
const SYSTEMS: usize = 10;

impl Report {
    /// As text for people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string can't fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let (unit, sure) = (self.unit.as_str(), percent(self.confidence));
        writeln!(out, "{}", self.basis)?;
        // Without systems the reason why there is none is the basis.
        if self.weibull.why() != Some(self.basis.as_str()) {
            or_why(out, "Weibull", &self.weibull, |out, found| match found {
                Distribution::Fitted(fit) => fitted(out, fit, unit, &sure),
                Distribution::Assumed(assumed) => scale_only(out, assumed, unit, &sure),
            })?;
        }
        if let (Some(Distribution::Fitted(two)), Some(three)) = (self.weibull.found(), self.weibull3.found())
            && three.aic + 2.0 < two.aic
        {
            let of = three.distribution;
            writeln!(
                out,
                "  a failure-free time fits better (AIC {} for {}): {} {unit} ({}), shape {} ({}), scale {} {unit}",
                number(three.aic),
                number(two.aic),
                number(of.gamma),
                between(&three.failure_free_bounds),
                number(of.beta),
                between(&three.shape_bounds),
                number(of.eta)
            )?;
        }
        if self.weibull.found().is_some() {
            or_why(out, "Kaplan-Meier", &self.kaplan_meier, |out, steps| {
                let what = if steps.is_empty() {
                    ": all survive what was seen"
                } else {
                    ""
                };
                writeln!(out, "Kaplan-Meier{what}")?;
                for step in some(steps) {
                    let bounds = step.survival_bounds.map_or_else(
                        || "no bounds: nobody is left".to_owned(),
                        |b| format!("{sure}: {} to {}", percent(b.low), percent(b.high)),
                    );
                    writeln!(
                        out,
                        "  {} survive {} {unit} ({bounds}), {} at risk",
                        percent(step.survival),
                        number(step.age),
                        step.at_risk
                    )?;
                }
                Ok(())
            })?;
        }
        or_why(out, "MTBF", &self.mtbf, |out, mtbf| {
            let value = mtbf.value.map_or_else(
                || "without a failure: ".to_owned(),
                |v| format!("{} {unit}, ", number(v)),
            );
            let high = mtbf.high.map_or_else(|| "open".to_owned(), number);
            writeln!(
                out,
                "MTBF {value}{} to {high} ({sure}, at a constant rate)",
                number(mtbf.low)
            )
        })?;
        if let Some(recurrence) = &self.recurrence {
            self.repaired(out, recurrence)?;
        }
        if let Some(groups) = &self.groups {
            or_why(out, "groups", groups, |out, groups| compared(out, groups, unit))?;
        }
        if let Some(causes) = &self.causes {
            or_why(out, "causes", causes, |out, causes| {
                competing(out, causes, unit, self.oldest)
            })?;
        }
        if let Some(covariates) = &self.covariates {
            or_why(out, "covariates", covariates, |out, of| effects(out, of, &sure))?;
        }
        if let Some(repairs) = &self.repairs {
            or_why(out, "MTTR", &repairs.mttr_h, |out, mttr| {
                writeln!(
                    out,
                    "MTTR {} h, {} to {} ({sure}; {}, {})",
                    number(mttr.value),
                    number(mttr.low),
                    number(mttr.high),
                    count(repairs.repairs, "repair"),
                    count(repairs.failures, "failure")
                )
            })?;
            or_why(out, "availability", &repairs.availability, |out, of| {
                writeln!(
                    out,
                    "availability {:.3} %, {:.3} to {:.3} % ({sure})",
                    of.value * 100.0,
                    of.low * 100.0,
                    of.high * 100.0
                )
            })?;
        }
        if let Some(replacement) = &self.replacement {
            or_why(out, "replacement", replacement, |out, planned| {
                writeln!(out, "{}", planned.text)
            })?;
        }
        for note in &self.notes {
            writeln!(out, "note: {note}")?;
        }
        for doubt in &self.doubts {
            writeln!(out, "doubt: {doubt}")?;
        }
        for picture in self.pictures.iter().flatten() {
            match &picture.why {
                None => writeln!(out, "drawn: {}", picture.file)?,
                Some(why) => writeln!(out, "not drawn: {}: {why}", picture.file)?,
            }
        }
        Ok(())
    }

    fn repaired(&self, out: &mut String, of: &Recurrence) -> fmt::Result {
        let (unit, sure) = (self.unit.as_str(), percent(self.confidence));
        let trend = match of.trend {
            Trend::Faster => "failures come faster",
            Trend::Slower => "failures come more slowly",
            Trend::NotShown => "no trend is shown",
            Trend::Untested => "too few failures to test a trend",
        };
        writeln!(out, "trend: {trend} at {sure} ({})", of.tests())?;
        or_why(out, "Crow-AMSAA", &of.power_law, |out, growth| {
            writeln!(out, "Crow-AMSAA: {}", power_law(growth, unit, &sure))?;
            let misfit = growth.fit.cramer_von_mises;
            writeln!(
                out,
                "  Cramér-von Mises {} (above about .17 the power law does not fit)",
                number(misfit)
            )
        })?;
        for one in of.crow_amsaa.iter().take(SYSTEMS) {
            let ended = match one.ending {
                Ending::Time => "observed to",
                Ending::Failure => "observed to its last failure at",
            };
            write!(
                out,
                "  {}: {}, {ended} {} {unit}",
                one.system,
                count(one.failures, "failure"),
                number(one.end)
            )?;
            match &one.growth {
                Said::Found(growth) if of.systems > 1 => {
                    writeln!(out, "; {}", power_law(growth, unit, &sure))?
                }
                Said::Found(_) => writeln!(out)?,
                Said::Not { why } => writeln!(out, "; no power law: {why}")?,
            }
            if let Some(line) = one.duane.found() {
                writeln!(
                    out,
                    "    Duane: slope {}, MTBF now {} {unit}",
                    number(line.fit.alpha),
                    number(line.mtbf_now)
                )?;
            }
        }
        if of.systems > SYSTEMS {
            writeln!(
                out,
                "  and {} systems more (--json has all)",
                of.systems - SYSTEMS
            )?;
        }
        or_why(out, "MCF", &of.mcf, |out, steps| {
            writeln!(out, "MCF, failures per system ({sure})")?;
            for step in some(steps) {
                let bounds = match step.bounds {
                    Some(bounds) => format!(" ({} to {})", number(bounds.low), number(bounds.high)),
                    None => String::new(),
                };
                writeln!(
                    out,
                    "  {} by {} {unit}{bounds}",
                    number(step.mcf),
                    number(step.age)
                )?;
            }
            Ok(())
        })?;
        match &of.mcf_bounds {
            Some(why) => writeln!(out, "  {why}"),
            None => Ok(()),
        }
    }
}

fn power_law(of: &Growth, unit: &str, sure: &str) -> String {
    format!(
        "shape {} ({sure}: {}), unbiased {}, growth {}; MTBF so far {} {unit}, now {} {unit}",
        number(of.fit.beta),
        between(&of.shape_bounds),
        number(of.fit.beta_unbiased),
        number(of.growth_rate),
        number(of.mtbf),
        number(of.mtbf_now)
    )
}

fn fitted(out: &mut String, fit: &Fitted, unit: &str, sure: &str) -> fmt::Result {
    let ratio = |bounds: &Interval| {
        format!(
            "; likelihood ratio {} to {}",
            number(bounds.low),
            number(bounds.high)
        )
    };
    let ratio = fit
        .likelihood_ratio_bounds
        .found()
        .map(|of| (ratio(&of.shape), ratio(&of.scale)));
    let (of_shape, of_scale) = ratio.unwrap_or_default();
    writeln!(
        out,
        "  shape {} ({sure}: {}{of_shape})",
        number(fit.shape),
        between(&fit.shape_bounds)
    )?;
    writeln!(
        out,
        "  scale {} {unit} ({sure}: {}{of_scale})",
        number(fit.scale),
        between(&fit.scale_bounds)
    )?;
    if let Some(why) = fit.likelihood_ratio_bounds.why() {
        writeln!(out, "  no likelihood-ratio bounds: {why}")?;
    }
    writeln!(
        out,
        "  B10   {} {unit} ({sure}: {})",
        number(fit.b10),
        between(&fit.b10_bounds)
    )?;
    writeln!(out, "  mean  {} {unit}", number(fit.mean))
}

fn scale_only(out: &mut String, of: &Assumed, unit: &str, sure: &str) -> fmt::Result {
    let side = |of: &Said<f64>| of.found().copied().map_or_else(|| "unknown".to_owned(), number);
    let most = match of.scale_at_most.found() {
        Some(Some(most)) => format!("at most {}", number(*most)),
        _ => "nothing limits it above".to_owned(),
    };
    writeln!(out, "  shape {} assumed", number(of.assumed_shape))?;
    writeln!(
        out,
        "  scale {} {unit} (at least {}, {most}; each with {sure})",
        number(of.scale),
        side(&of.scale_at_least)
    )?;
    match &of.why {
        Some(why) => writeln!(out, "  {why}"),
        None => Ok(()),
    }
}

/// One distribution in a few words.
fn brief(of: &Said<Distribution>, unit: &str) -> String {
    match of {
        Said::Found(Distribution::Fitted(fit)) => format!(
            "shape {} ({}), scale {} {unit} ({})",
            number(fit.shape),
            between(&fit.shape_bounds),
            number(fit.scale),
            between(&fit.scale_bounds)
        ),
        Said::Found(Distribution::Assumed(assumed)) => format!(
            "shape {} assumed, scale at least {} {unit}",
            number(assumed.assumed_shape),
            assumed
                .scale_at_least
                .found()
                .copied()
                .map_or_else(|| "unknown".to_owned(), number)
        ),
        Said::Not { why } => why.clone(),
    }
}

fn compared(out: &mut String, of: &Groups, unit: &str) -> fmt::Result {
    or_why(out, "log-rank", &of.log_rank, |out, test| {
        writeln!(
            out,
            "log-rank over {} groups: chi-square {}, {}",
            of.groups.len(),
            number(test.statistic),
            probability(test.p_value)
        )
    })?;
    for group in &of.groups {
        let half = group.median.map_or_else(
            || "more than half survive what was seen".to_owned(),
            |age| format!("half survive {} {unit}", number(age)),
        );
        writeln!(
            out,
            "  {}: {} lives, {}, {half}; {}",
            group.group,
            group.lives,
            count(group.failures, "failure"),
            brief(&group.weibull, unit)
        )?;
    }
    Ok(())
}

fn competing(out: &mut String, of: &Causes, unit: &str, oldest: f64) -> fmt::Result {
    writeln!(
        out,
        "causes, each with failures by others as suspensions (as if causes did not depend on each other):"
    )?;
    for cause in &of.causes {
        let share = cause.share.map_or_else(String::new, |share| {
            format!(", {} of all by {} {unit}", percent(share), number(oldest))
        });
        writeln!(
            out,
            "  {}: {}{share}; {}",
            cause.cause,
            count(cause.failures, "failure"),
            brief(&cause.weibull, unit)
        )?;
    }
    match of.cumulative_incidence.why() {
        Some(why) => writeln!(out, "  cumulative incidence: {why}"),
        None => Ok(()),
    }
}

fn effects(out: &mut String, of: &Covariates, sure: &str) -> fmt::Result {
    let each = |out: &mut String, what: &str, effects: &[Effect]| -> fmt::Result {
        for effect in effects {
            writeln!(
                out,
                "  {}: {what} times {} per unit ({sure}: {}), {}",
                effect.name,
                factor(effect.factor),
                between_as(&effect.factor_bounds, factor),
                probability(effect.p_value)
            )?;
        }
        Ok(())
    };
    or_why(out, "Cox: no result", &of.cox, |out, cox| {
        let together = probability(cox.p_value);
        let ranks = cox
            .concordance
            .map_or_else(String::new, |c| format!(", concordance {}", number(c)));
        writeln!(
            out,
            "Cox, proportional hazards: all columns together {together}{ranks}"
        )?;
        each(out, "failure rate", &cox.effects)
    })?;
    or_why(out, "Weibull AFT: no result", &of.weibull_aft, |out, aft| {
        writeln!(
            out,
            "Weibull AFT: shape {} ({sure}: {})",
            number(aft.shape),
            between(&aft.shape_bounds)
        )?;
        each(out, "life", &aft.effects)
    })
}

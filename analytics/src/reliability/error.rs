use thiserror::Error;

/// Why an estimate could not be given. The message is written for the planner, not for the statistician.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ReliabilityError {
    #[error("there are no observations")]
    NoData,
    #[error("observation {index}: {value} is not a usable {what}")]
    InvalidValue {
        index: usize,
        value: f64,
        what: &'static str,
    },
    #[error("no failure was observed, so the life cannot be fitted; only a lower bound can be given")]
    NoFailures,
    #[error("{found} {} too few, {needed} are needed", failures_are(*.found))]
    TooFewFailures { found: usize, needed: usize },
    #[error(
        "the failures carry no spread (one age, nothing survived beyond it), so the shape has no estimate"
    )]
    NoSpread,
    #[error(
        "the data put no limit on the estimate of {what}: one group or value predicts the outcome perfectly"
    )]
    Unbounded { what: String },
    #[error("the estimate did not converge after {iterations} steps: {reason}")]
    NotConverged { iterations: usize, reason: String },
    #[error("the columns {what} say the same thing, so their effects cannot be told apart")]
    Collinear { what: String },
    #[error(
        "the likelihood rises without end as the failure-free time nears the first failure; use two parameters"
    )]
    NoFailureFreeTime,
    #[error("the groups can't be compared: while one of them failed no other was under observation")]
    NotComparable,
    #[error("{what} must be {rule}, not {value}")]
    InvalidParameter {
        what: &'static str,
        rule: &'static str,
        value: f64,
    },
}

pub type Result<T> = std::result::Result<T, ReliabilityError>;

fn failures_are(found: usize) -> &'static str {
    if found == 1 { "failure is" } else { "failures are" }
}

/// Refuses a parameter that is not a finite number above zero.
pub(crate) fn positive(what: &'static str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        Ok(())
    } else {
        Err(ReliabilityError::InvalidParameter {
            what,
            rule: "above zero",
            value,
        })
    }
}

/// Refuses a confidence level outside (0, 1).
pub(crate) fn confidence_level(value: f64) -> Result<()> {
    if value > 0.0 && value < 1.0 {
        Ok(())
    } else {
        Err(ReliabilityError::InvalidParameter {
            what: "the confidence level",
            rule: "between 0 and 1",
            value,
        })
    }
}

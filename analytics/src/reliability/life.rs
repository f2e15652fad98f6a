use serde::{Deserialize, Serialize};

use super::error::{ReliabilityError, Result};

/// What is known about one life. The unit of age (hours, days, cycles) is the caller's, the same for all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Life {
    /// Failed at this age.
    Failed(f64),
    /// Still good, or taken out for another reason, at this age (right-censored; a *suspension*).
    Suspended(f64),
    /// Found failed at its first inspection at this age (left-censored).
    FailedBefore(f64),
    /// Good at the first age, found failed at the second (interval-censored).
    FailedBetween(f64, f64),
}

impl Life {
    pub fn is_failure(&self) -> bool {
        !matches!(self, Life::Suspended(_))
    }

    /// The latest age at which something is known.
    pub fn age(&self) -> f64 {
        match *self {
            Life::Failed(t) | Life::Suspended(t) | Life::FailedBefore(t) | Life::FailedBetween(_, t) => t,
        }
    }

    /// Lives from two lists, failures and suspensions.
    pub fn from_lists(failures: &[f64], suspensions: &[f64]) -> Vec<Life> {
        let failed = failures.iter().map(|&t| Life::Failed(t));
        failed
            .chain(suspensions.iter().map(|&t| Life::Suspended(t)))
            .collect()
    }
}

/// Checks every age and returns the number of failures.
///
/// # Errors
/// `NoData` without lives, `InvalidValue` for an age that is not finite, negative, zero for a failure, or reversed.
pub(crate) fn check(lives: &[Life]) -> Result<usize> {
    if lives.is_empty() {
        return Err(ReliabilityError::NoData);
    }
    for (index, life) in lives.iter().enumerate() {
        let (value, good) = match *life {
            Life::Failed(t) | Life::FailedBefore(t) => (t, t.is_finite() && t > 0.0),
            Life::Suspended(t) => (t, t.is_finite() && t >= 0.0),
            Life::FailedBetween(a, b) => (b, a.is_finite() && b.is_finite() && a >= 0.0 && b > a),
        };
        if !good {
            return Err(ReliabilityError::InvalidValue {
                index,
                value,
                what: "age",
            });
        }
    }
    Ok(lives.iter().filter(|life| life.is_failure()).count())
}

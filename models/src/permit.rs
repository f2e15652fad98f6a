//! Work permits and the risk they carry: likelihood times consequence on a matrix of five by five.
//!
//! The likelihood may come from a prediction: a machine that fails with 30 % before the work is done is
//! a hazard of that likelihood to those who stand beside it. High and extreme risks need the approval
//! of somebody else than the one who asks.

use serde::{Deserialize, Serialize};

use crate::people::words;
use crate::ticket::Gate;
use crate::time::Timestamp;

words! {
    RiskLevel ("risk_level") {
        Low = "low",
        Medium = "medium",
        High = "high",
        Extreme = "extreme",
    }
}

impl RiskLevel {
    /// Whether the one who asks can't approve it himself.
    pub const fn needs_approval(self) -> bool {
        matches!(self, Self::High | Self::Extreme)
    }
}

words! {
    PermitStatus ("permit_status") {
        Requested = "requested",
        Approved = "approved",
        Rejected = "rejected",
        Revoked = "revoked",
        Closed = "closed",
    }
}

words! {
    /// What somebody decides about a permit.
    PermitDecision ("permit_decision") {
        Approve = "approve",
        Reject = "reject",
        Revoke = "revoke",
        Close = "close",
    }
}

/// Likelihoods (rows) by consequences (columns), each from 1 to 5.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = RiskLevelMatrix))]
pub struct Matrix {
    /// The four probabilities, rising, that part the five likelihoods.
    pub bounds: [f64; 4],
    pub levels: [[RiskLevel; 5]; 5],
}

/// Why a matrix or a place on it can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatrixError {
    #[error("the bounds must rise and lie between 0 and 1")]
    Bounds,
    #[error("more likelihood or consequence can't mean less risk: row {row}, column {column}")]
    Falls { row: usize, column: usize },
    #[error("likelihood and consequence go from 1 to 5")]
    Outside,
}

impl Default for Matrix {
    /// Built in: rare, unlikely, possible, likely, almost certain by negligible to catastrophic.
    fn default() -> Self {
        use RiskLevel::{Extreme as X, High as H, Low as L, Medium as M};
        Self {
            bounds: [0.01, 0.05, 0.2, 0.5],
            levels: [
                [L, L, L, M, M],
                [L, L, M, M, H],
                [L, M, M, H, H],
                [M, M, H, H, X],
                [M, H, H, X, X],
            ],
        }
    }
}

impl Matrix {
    /// # Errors
    /// When bounds don't rise or a level falls along a row or column.
    pub fn check(&self) -> Result<(), MatrixError> {
        let rising = self.bounds.windows(2).all(|pair| pair[0] < pair[1]);
        if !rising
            || self
                .bounds
                .iter()
                .any(|bound| !(0.0..1.0).contains(bound) || *bound <= 0.0)
        {
            return Err(MatrixError::Bounds);
        }
        let level = |row: usize, column: usize| self.levels.get(row).and_then(|line| line.get(column));
        for row in 0..5 {
            for column in 0..5 {
                let here = level(row, column);
                if (row > 0 && level(row - 1, column) > here) || (column > 0 && level(row, column - 1) > here)
                {
                    return Err(MatrixError::Falls {
                        row: row + 1,
                        column: column + 1,
                    });
                }
            }
        }
        Ok(())
    }

    /// The likelihood, 1 to 5, of a probability.
    pub fn likelihood(&self, probability: f64) -> i16 {
        1 + self
            .bounds
            .iter()
            .map(|bound| i16::from(probability >= *bound))
            .sum::<i16>()
    }

    /// # Errors
    /// When one of the two is not 1 to 5.
    pub fn risk(&self, likelihood: i16, consequence: i16) -> Result<RiskLevel, MatrixError> {
        let index = |number: i16| usize::try_from(number - 1).ok();
        index(likelihood)
            .and_then(|row| self.levels.get(row))
            .zip(index(consequence))
            .and_then(|(row, column)| row.get(column))
            .copied()
            .ok_or(MatrixError::Outside)
    }
}

/// Why a permit can't be decided so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecisionError {
    #[error("a permit that is {0} can't be decided so: ask for a new one")]
    State(PermitStatus),
    #[error("a {0} risk is approved by somebody else than the one who asked for the permit")]
    FourEyes(RiskLevel),
    #[error("the permit ended at {0}: ask for a new one")]
    Expired(Timestamp),
    #[error("say why")]
    NoReason,
    #[error("sign with your name to approve")]
    NoSignature,
}

/// A decision with what it rests on.
#[derive(Clone, Copy, Debug)]
pub struct Deciding<'a> {
    pub status: PermitStatus,
    pub risk: RiskLevel,
    pub requested_by: &'a str,
    pub valid_until: Timestamp,
    pub by: &'a str,
    pub reason: Option<&'a str>,
    pub signature: Option<&'a str>,
    pub now: Timestamp,
}

/// The status after a decision.
///
/// # Errors
/// When the permit is past it, or the decision lacks reason, signature or a second person.
pub fn decide(facts: Deciding<'_>, decision: PermitDecision) -> Result<PermitStatus, DecisionError> {
    let given = |text: Option<&str>| text.is_some_and(|text| !text.trim().is_empty());
    match (facts.status, decision) {
        (PermitStatus::Requested, PermitDecision::Approve) => {
            if facts.now >= facts.valid_until {
                return Err(DecisionError::Expired(facts.valid_until));
            }
            if facts.risk.needs_approval() && facts.by == facts.requested_by {
                return Err(DecisionError::FourEyes(facts.risk));
            }
            if !given(facts.signature) {
                return Err(DecisionError::NoSignature);
            }
            Ok(PermitStatus::Approved)
        }
        (PermitStatus::Requested, PermitDecision::Reject)
        | (PermitStatus::Approved, PermitDecision::Revoke) => {
            if !given(facts.reason) {
                return Err(DecisionError::NoReason);
            }
            Ok(if decision == PermitDecision::Reject {
                PermitStatus::Rejected
            } else {
                PermitStatus::Revoked
            })
        }
        (PermitStatus::Approved | PermitStatus::Requested, PermitDecision::Close) => Ok(PermitStatus::Closed),
        (status, _) => Err(DecisionError::State(status)),
    }
}

/// A permit as the gate sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    pub status: PermitStatus,
    pub risk: RiskLevel,
    pub valid_from: Timestamp,
    pub valid_until: Timestamp,
}

/// Whether work that needs a permit may go on at `now`.
pub fn gate(needed: bool, permits: &[Held], now: Timestamp) -> Gate {
    if !needed {
        return Gate::NotNeeded;
    }
    let approved = permits
        .iter()
        .filter(|permit| permit.status == PermitStatus::Approved);
    if approved
        .clone()
        .any(|permit| permit.valid_from <= now && now < permit.valid_until)
    {
        return Gate::Satisfied;
    }
    let detail = match (
        approved.max_by_key(|permit| permit.valid_until),
        permits
            .iter()
            .find(|permit| permit.status == PermitStatus::Requested),
    ) {
        (Some(permit), _) if permit.valid_from > now => {
            format!(
                "the permit is valid from {} only: wait, or ask for an earlier one",
                permit.valid_from
            )
        }
        (_, Some(permit)) => format!("the permit ({} risk) waits for its approval", permit.risk),
        (Some(permit), None) => format!("the permit ended at {}: ask for a new one", permit.valid_until),
        (None, None) => "the work needs a permit: ask for one at /v1/work-permits".to_owned(),
    };
    Gate::Missing(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_secs(1_770_000_000 + hour * 3600)
    }

    #[test]
    fn a_predicted_probability_finds_its_row() {
        let matrix = Matrix::default();
        matrix.check().unwrap();
        for (probability, row) in [
            (0.0, 1),
            (0.009, 1),
            (0.01, 2),
            (0.19, 3),
            (0.3, 4),
            (0.5, 5),
            (1.0, 5),
        ] {
            assert_eq!(matrix.likelihood(probability), row, "{probability}");
        }
        assert_eq!(matrix.risk(4, 5), Ok(RiskLevel::Extreme));
        assert_eq!(matrix.risk(1, 1), Ok(RiskLevel::Low));
        for (likelihood, consequence) in [(0, 1), (6, 1), (1, 0), (1, 6), (-3, 2)] {
            assert_eq!(matrix.risk(likelihood, consequence), Err(MatrixError::Outside));
        }
    }

    #[test]
    fn a_matrix_that_makes_no_sense_is_refused() {
        let mut matrix = Matrix::default();
        matrix.levels[4][4] = RiskLevel::Low;
        assert_eq!(matrix.check(), Err(MatrixError::Falls { row: 5, column: 5 }));
        let flat = Matrix {
            bounds: [0.1, 0.1, 0.2, 0.3],
            ..Matrix::default()
        };
        assert_eq!(flat.check(), Err(MatrixError::Bounds));
        let beyond = Matrix {
            bounds: [0.1, 0.2, 0.3, 1.5],
            ..Matrix::default()
        };
        assert_eq!(beyond.check(), Err(MatrixError::Bounds));
    }

    #[test]
    fn every_status_and_decision() {
        let facts = |status| Deciding {
            status,
            risk: RiskLevel::High,
            requested_by: "usr_a",
            valid_until: at(8),
            by: "usr_b",
            reason: Some("too windy"),
            signature: Some("B."),
            now: at(0),
        };
        // Rows: status; columns: approve, reject, revoke, close.
        let table = [
            (
                PermitStatus::Requested,
                [
                    Some(PermitStatus::Approved),
                    Some(PermitStatus::Rejected),
                    None,
                    Some(PermitStatus::Closed),
                ],
            ),
            (
                PermitStatus::Approved,
                [
                    None,
                    None,
                    Some(PermitStatus::Revoked),
                    Some(PermitStatus::Closed),
                ],
            ),
            (PermitStatus::Rejected, [None; 4]),
            (PermitStatus::Revoked, [None; 4]),
            (PermitStatus::Closed, [None; 4]),
        ];
        for (status, row) in table {
            for (decision, to) in PermitDecision::ALL.iter().zip(row) {
                assert_eq!(
                    decide(facts(status), *decision),
                    to.ok_or(DecisionError::State(status)),
                    "{status} {decision}"
                );
            }
        }
        let requested = facts(PermitStatus::Requested);
        let own = Deciding {
            by: "usr_a",
            ..requested
        };
        assert_eq!(
            decide(own, PermitDecision::Approve),
            Err(DecisionError::FourEyes(RiskLevel::High))
        );
        assert_eq!(
            decide(
                Deciding {
                    risk: RiskLevel::Medium,
                    ..own
                },
                PermitDecision::Approve
            ),
            Ok(PermitStatus::Approved)
        );
        let late = Deciding {
            now: at(8),
            ..requested
        };
        assert_eq!(
            decide(late, PermitDecision::Approve),
            Err(DecisionError::Expired(at(8)))
        );
        let mute = Deciding {
            reason: Some(" "),
            signature: None,
            ..requested
        };
        assert_eq!(decide(mute, PermitDecision::Reject), Err(DecisionError::NoReason));
        assert_eq!(
            decide(mute, PermitDecision::Approve),
            Err(DecisionError::NoSignature)
        );
    }

    #[test]
    fn the_gate_says_what_to_do() {
        let permit = |status, from, to| Held {
            status,
            risk: RiskLevel::High,
            valid_from: at(from),
            valid_until: at(to),
        };
        assert_eq!(gate(false, &[], at(0)), Gate::NotNeeded);
        assert_eq!(
            gate(true, &[permit(PermitStatus::Approved, -1, 1)], at(0)),
            Gate::Satisfied
        );
        let table = [
            (vec![], "ask for one"),
            (
                vec![permit(PermitStatus::Requested, -1, 1)],
                "waits for its approval",
            ),
            (vec![permit(PermitStatus::Approved, -5, 0)], "ended at"),
            (vec![permit(PermitStatus::Approved, 2, 5)], "from"),
            (vec![permit(PermitStatus::Revoked, -1, 1)], "ask for one"),
        ];
        for (permits, part) in table {
            let Gate::Missing(detail) = gate(true, &permits, at(0)) else {
                panic!("{permits:?}")
            };
            assert!(detail.contains(part), "{detail}");
        }
    }
}

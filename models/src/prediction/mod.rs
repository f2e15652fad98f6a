//! Predictions: what a planner reviews. One row per asset, failure mode and horizon, revised with
//! every new score, never a second one beside it.
//!
//! | from | action | to |
//! |---|---|---|
//! | (none) | score above the publish threshold | new |
//! | new, in_review, snoozed | score | the same, one revision later; a snoozed one may wake |
//! | new | claim | in_review |
//! | new, in_review, snoozed | accept, attach, dismiss, snooze | accepted, attached, dismissed, snoozed |
//! | new, in_review, snoozed | below the clear threshold for the off-delay | expired |
//!
//! Acting on a new one claims it. An accepted or attached one goes on being revised while its ticket
//! is open; a dismissed one keeps the planner's word until the picture is clearly worse.

pub mod scorecard;

use serde::{Deserialize, Serialize};

use crate::ticket::Outcome;
use crate::time::Timestamp;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "db",
    derive(sqlx::Type),
    sqlx(type_name = "prediction_status", rename_all = "snake_case")
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = PredictionStatus))]
pub enum Status {
    #[default]
    New,
    InReview,
    Accepted,
    Attached,
    Dismissed,
    Snoozed,
    Expired,
}

impl Status {
    pub const ALL: [Self; 7] = [
        Self::New,
        Self::InReview,
        Self::Accepted,
        Self::Attached,
        Self::Dismissed,
        Self::Snoozed,
        Self::Expired,
    ];

    /// It waits for a planner.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::New | Self::InReview | Self::Snoozed)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::InReview => "in_review",
            Self::Accepted => "accepted",
            Self::Attached => "attached",
            Self::Dismissed => "dismissed",
            Self::Snoozed => "snoozed",
            Self::Expired => "expired",
        }
    }
}

/// Why a planner doesn't follow a prediction. A weak label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum DismissReason {
    FalseAlarm,
    SensorFault,
    KnownIssue,
    ExpectedOperation,
    AlreadyPlanned,
    NotEconomic,
    /// Needs a text.
    Other,
}

impl DismissReason {
    pub const fn name(self) -> &'static str {
        match self {
            Self::FalseAlarm => "false_alarm",
            Self::SensorFault => "sensor_fault",
            Self::KnownIssue => "known_issue",
            Self::ExpectedOperation => "expected_operation",
            Self::AlreadyPlanned => "already_planned",
            Self::NotEconomic => "not_economic",
            Self::Other => "other",
        }
    }
}

/// What a person does with a prediction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Action {
    Claim,
    Accept,
    /// To an open ticket.
    Attach,
    Dismiss {
        reason: DismissReason,
        text: Option<String>,
    },
    /// Until a moment, until the probability is above a value, until the asset stands still, or several
    /// of them: whichever comes first.
    Snooze {
        until: Option<Timestamp>,
        above: Option<f64>,
        #[serde(default)]
        shutdown: bool,
    },
}

impl Action {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Claim => "claimed",
            Self::Accept => "accepted",
            Self::Attach => "attached",
            Self::Dismiss { .. } => "dismissed",
            Self::Snooze { .. } => "snoozed",
        }
    }
}

/// Why an action was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error("the prediction is {} by now, nothing is left to decide", .status.name())]
    NotOpen { status: Status },
    #[error("somebody else has claimed it")]
    AlreadyClaimed,
    #[error("the reason `other` needs a text")]
    NoText,
    #[error(
        "a prediction is snoozed until a moment in the future, above a probability between 0 and 1, until the next shutdown, or several of them"
    )]
    SnoozeWithoutEnd,
    #[error("the ticket it is to be attached to does not exist or is done")]
    NoOpenTicket,
}

/// The state after an action; a second claim is refused.
///
/// # Errors
/// When the prediction is no longer open or the action is incomplete.
pub fn act(status: Status, action: &Action, now: Timestamp) -> Result<Status, Refusal> {
    if !status.is_open() {
        return Err(Refusal::NotOpen { status });
    }
    match action {
        Action::Claim if status == Status::InReview => Err(Refusal::AlreadyClaimed),
        Action::Claim => Ok(Status::InReview),
        Action::Accept => Ok(Status::Accepted),
        Action::Attach => Ok(Status::Attached),
        Action::Dismiss {
            reason: DismissReason::Other,
            text,
        } if text.as_deref().is_none_or(|text| text.trim().is_empty()) => Err(Refusal::NoText),
        Action::Dismiss { .. } => Ok(Status::Dismissed),
        Action::Snooze {
            until,
            above,
            shutdown,
        } => {
            let ends = until.is_none_or(|until| until > now)
                && above.is_none_or(|above| above > 0.0 && above < 1.0)
                && (until.is_some() || above.is_some() || *shutdown);
            if ends {
                Ok(Status::Snoozed)
            } else {
                Err(Refusal::SnoozeWithoutEnd)
            }
        }
    }
}

/// When a score becomes a prediction, and when one goes away.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Probability from which a prediction is made.
    pub publish_at: f64,
    /// Probability under which it goes away, after `clear_after_s` seconds.
    pub clear_below: f64,
    pub clear_after_s: f64,
    /// After a dismissal a new one needs this much more probability than the dismissed one ever had …
    pub worse_by: f64,
    /// … for so many seconds.
    pub respect_dismissal_s: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            publish_at: 0.3,
            clear_below: 0.15,
            clear_after_s: 6.0 * 3600.0,
            worse_by: 0.15,
            respect_dismissal_s: 14.0 * 86_400.0,
        }
    }
}

/// What is stored of a prediction that matters for the next score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Current {
    pub status: Status,
    pub claimed: bool,
    pub peak_probability: f64,
    pub below_since: Option<Timestamp>,
    pub snoozed_until: Option<Timestamp>,
    pub snooze_above: Option<f64>,
    pub closed_at: Option<Timestamp>,
    /// Its ticket is not done yet.
    pub ticket_open: bool,
}

/// What a new score means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing to say: too unlikely, or a planner has said that he knows.
    Quiet,
    Publish,
    /// Revise the stored one, with this state and this start of being below the clear threshold.
    Revise {
        status: Status,
        below_since: Option<Timestamp>,
    },
}

/// Judges a score at `at` against the newest prediction of the same asset, failure mode and horizon.
pub fn score(current: Option<&Current>, probability: f64, at: Timestamp, policy: &Policy) -> Verdict {
    let fresh = if probability >= policy.publish_at {
        Verdict::Publish
    } else {
        Verdict::Quiet
    };
    let Some(current) = current else { return fresh };
    match current.status {
        Status::New | Status::InReview | Status::Snoozed => {
            let below_since = (probability < policy.clear_below).then(|| current.below_since.unwrap_or(at));
            let expired = below_since.is_some_and(|since| at.seconds_since(since) >= policy.clear_after_s);
            let status = if expired {
                Status::Expired
            } else {
                awake(current, probability, at)
            };
            Verdict::Revise { status, below_since }
        }
        Status::Accepted | Status::Attached if current.ticket_open => Verdict::Revise {
            status: current.status,
            below_since: None,
        },
        Status::Dismissed => {
            let respected = current
                .closed_at
                .is_some_and(|closed_at| at.seconds_since(closed_at) < policy.respect_dismissal_s);
            if respected && probability < (current.peak_probability + policy.worse_by).min(1.0) {
                Verdict::Quiet
            } else {
                fresh
            }
        }
        Status::Accepted | Status::Attached | Status::Expired => fresh,
    }
}

/// A snoozed one wakes by itself: at its moment, or when it has become likelier than agreed.
fn awake(current: &Current, probability: f64, at: Timestamp) -> Status {
    let over = current.snoozed_until.is_some_and(|until| at >= until)
        || current.snooze_above.is_some_and(|above| probability > above);
    match current.status {
        Status::Snoozed if over && current.claimed => Status::InReview,
        Status::Snoozed if over => Status::New,
        status => status,
    }
}

/// What time does to one that waits, without a new score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// A snoozed one: its moment has come, or the asset stands still.
    Woke,
    /// Its horizon is over and no newer score spoke of it.
    HorizonOver,
}

/// Judges an open prediction by the clock. `stands_still` = the asset is down or in maintenance.
pub fn lapse(
    status: Status,
    snoozed_until: Option<Timestamp>,
    until_shutdown: bool,
    stands_still: bool,
    horizon_ends: Timestamp,
    now: Timestamp,
) -> Option<Lapse> {
    if !status.is_open() {
        return None;
    }
    if now >= horizon_ends {
        return Some(Lapse::HorizonOver);
    }
    let woken = snoozed_until.is_some_and(|until| now >= until) || (until_shutdown && stands_still);
    (status == Status::Snoozed && woken).then_some(Lapse::Woke)
}

/// What a failure says about a prediction that spoke of it in time. `ticket_closed` = its ticket has
/// been closed without saying so.
pub const fn label_by_failure(status: Status, ticket_closed: bool) -> Option<Label> {
    match status {
        Status::New | Status::InReview | Status::Snoozed => Some(Label::ConfirmedFailed),
        // The ticket says what was found, when it closes.
        Status::Accepted | Status::Attached if ticket_closed => Some(Label::ConfirmedFailed),
        Status::Accepted | Status::Attached => None,
        Status::Dismissed | Status::Expired => Some(Label::MissedAfterDismissal),
    }
}

/// Was the prediction right? Written when its ticket closes, or by what happened without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = PredictionLabel))]
pub enum Label {
    ConfirmedPrevented,
    ConfirmedFailed,
    DifferentFaultFound,
    NoFaultFound,
    Inconclusive,
    /// A failure came without a prediction.
    FalseNegative,
    /// A failure came although somebody had dismissed the prediction, or it had expired.
    MissedAfterDismissal,
}

impl Label {
    pub const ALL: [Self; 7] = [
        Self::ConfirmedPrevented,
        Self::ConfirmedFailed,
        Self::DifferentFaultFound,
        Self::NoFaultFound,
        Self::Inconclusive,
        Self::FalseNegative,
        Self::MissedAfterDismissal,
    ];

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|label| label.name() == text)
    }

    /// Whether a person may give it; the others follow from what happened.
    pub const fn is_by_person(self) -> bool {
        !matches!(self, Self::FalseNegative | Self::MissedAfterDismissal)
    }

    /// What a ticket's outcome says of a prediction; `of_another_mode` = it spoke of a failure mode that is
    /// not the one that was found.
    #[must_use]
    pub const fn for_prediction(self, of_another_mode: bool) -> Self {
        match self {
            Self::ConfirmedPrevented | Self::ConfirmedFailed if of_another_mode => Self::DifferentFaultFound,
            label => label,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::ConfirmedPrevented => "confirmed_prevented",
            Self::ConfirmedFailed => "confirmed_failed",
            Self::DifferentFaultFound => "different_fault_found",
            Self::NoFaultFound => "no_fault_found",
            Self::Inconclusive => "inconclusive",
            Self::FalseNegative => "false_negative",
            Self::MissedAfterDismissal => "missed_after_dismissal",
        }
    }

    /// How much a model may trust it, 0 to 1: what a technician saw counts fully, a guess less.
    pub const fn weight(self) -> f64 {
        match self {
            Self::ConfirmedPrevented
            | Self::ConfirmedFailed
            | Self::FalseNegative
            | Self::MissedAfterDismissal => 1.0,
            Self::NoFaultFound | Self::DifferentFaultFound => 0.8,
            Self::Inconclusive => 0.0,
        }
    }
}

impl From<Outcome> for Label {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::ConfirmedPrevented => Self::ConfirmedPrevented,
            Outcome::ConfirmedFailed => Self::ConfirmedFailed,
            Outcome::DifferentFaultFound => Self::DifferentFaultFound,
            Outcome::NoFaultFound => Self::NoFaultFound,
            Outcome::Inconclusive => Self::Inconclusive,
        }
    }
}

#[cfg(test)]
mod tests;

//! Tickets: twelve states and the guards between them.
//!
//! ```text
//! open ─► accepted ─► planned ─┬─────────────────────► scheduled ─► assigned ─► in_progress ─► completed ─► closed
//!                      │   ▲   └► waiting_window ─────────▲                      │    ▲   ▲        │
//!                      ▼   │                                                     ▼    │   └────────┘ reopen
//!               waiting_parts                                                  on_hold
//! any of them before work was reported ─► cancelled
//! ```
//!
//! A guard never asks a person or a database: it reads [`Facts`], which the caller has gathered, and
//! answers with everything that is missing at once, each with what to do about it. Later gates
//! (permits, lock-out, parts, skills) are further facts, not further code paths; a gate that a tenant
//! doesn't use is [`Gate::NotNeeded`].

mod guard;
mod task;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::alarm::Severity;
use crate::asset::Criticality;

pub use guard::{Facts, Gate, Missing, Refusal, Transition, check, transitions};
pub use task::{NewTask, TaskError, TaskKind, check_task, check_task_result};

/// What a ticket on hold can wait for. A service-level policy says which of them stop its clocks.
pub const HOLD_CODES: [&str; 7] = [
    "waiting_parts",
    "waiting_access",
    "waiting_vendor",
    "waiting_requester",
    "unsafe",
    "weather",
    "other",
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "db",
    derive(sqlx::Type),
    sqlx(type_name = "ticket_status", rename_all = "snake_case")
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = TicketStatus))]
pub enum Status {
    #[default]
    Open,
    Accepted,
    Planned,
    WaitingParts,
    WaitingWindow,
    Scheduled,
    Assigned,
    InProgress,
    OnHold,
    Completed,
    Closed,
    Cancelled,
}

impl Status {
    pub const ALL: [Self; 12] = [
        Self::Open,
        Self::Accepted,
        Self::Planned,
        Self::WaitingParts,
        Self::WaitingWindow,
        Self::Scheduled,
        Self::Assigned,
        Self::InProgress,
        Self::OnHold,
        Self::Completed,
        Self::Closed,
        Self::Cancelled,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Accepted => "accepted",
            Self::Planned => "planned",
            Self::WaitingParts => "waiting_parts",
            Self::WaitingWindow => "waiting_window",
            Self::Scheduled => "scheduled",
            Self::Assigned => "assigned",
            Self::InProgress => "in_progress",
            Self::OnHold => "on_hold",
            Self::Completed => "completed",
            Self::Closed => "closed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Nothing more can happen to it.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Closed | Self::Cancelled)
    }

    /// Work on the cause is still to be done: while it is so, a case gets no second ticket.
    pub const fn is_open(self) -> bool {
        !matches!(self, Self::Completed | Self::Closed | Self::Cancelled)
    }

    /// Nearer to the end: what the tenant's workflow can hold up. Putting on hold, giving back, reopening
    /// and cancelling are always free of it.
    pub fn leads_forward_to(self, to: Self) -> bool {
        !matches!(to, Self::OnHold | Self::Cancelled) && (to as u8) > (self as u8) && self != Self::OnHold
    }

    /// Where it can go from here, guards apart.
    pub const fn targets(self) -> &'static [Self] {
        use Status::*;
        match self {
            Open => &[Accepted, Cancelled],
            Accepted => &[Planned, Cancelled],
            Planned => &[WaitingParts, WaitingWindow, Scheduled, Cancelled],
            WaitingParts => &[Planned, Cancelled],
            WaitingWindow => &[Scheduled, Planned, Cancelled],
            Scheduled => &[Assigned, WaitingWindow, Planned, Cancelled],
            Assigned => &[InProgress, Scheduled, Cancelled],
            InProgress => &[OnHold, Completed, Cancelled],
            OnHold => &[InProgress, Cancelled],
            Completed => &[Closed, InProgress],
            Closed | Cancelled => &[],
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "db",
    derive(sqlx::Type),
    sqlx(type_name = "ticket_priority", rename_all = "snake_case")
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = TicketPriority))]
pub enum Priority {
    Low,
    #[default]
    Medium,
    High,
    Critical,
}

impl Priority {
    /// How bad it is times how much the asset matters; a failure that is more likely than not counts
    /// one step more.
    ///
    /// | | low | medium | high | critical asset |
    /// |---|---|---|---|---|
    /// | info | low | low | medium | medium |
    /// | warning | low | medium | medium | high |
    /// | serious | medium | medium | high | critical |
    /// | critical | medium | high | critical | critical |
    pub fn of(severity: Severity, criticality: Criticality, probability: Option<f64>) -> Self {
        let severity = match severity {
            Severity::Info => 0,
            Severity::Warning => 1,
            Severity::Serious => 2,
            Severity::Critical => 3,
        };
        let criticality = match criticality {
            Criticality::Low => 0,
            Criticality::Medium => 1,
            Criticality::High => 2,
            Criticality::Critical => 3,
        };
        let likely = u8::from(probability.is_some_and(|probability| probability >= 0.5));
        match severity + criticality + likely {
            0 | 1 => Self::Low,
            2 | 3 => Self::Medium,
            4 => Self::High,
            _ => Self::Critical,
        }
    }

    /// As `low`, `medium`, `high`, `critical`; anything else is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "low" => Some(Self::Low),
            "medium" => Some(Self::Medium),
            "high" => Some(Self::High),
            "critical" => Some(Self::Critical),
            _ => None,
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

/// What a ticket came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "db",
    derive(sqlx::Type),
    sqlx(type_name = "ticket_origin", rename_all = "snake_case")
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = TicketOrigin))]
pub enum Origin {
    Alarm,
    Prediction,
    Plan,
    Person,
    External,
}

impl Origin {
    /// Whether something was or seemed broken, so that what was found has to be said.
    pub const fn is_corrective(self) -> bool {
        matches!(self, Self::Alarm | Self::Prediction)
    }
}

/// What was found when a predicted or alarmed failure was looked after: the label of the models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = TicketOutcome))]
pub enum Outcome {
    /// Damage was found before it failed.
    ConfirmedPrevented,
    /// It had failed.
    ConfirmedFailed,
    /// Something else was wrong.
    DifferentFaultFound,
    NoFaultFound,
    Inconclusive,
}

impl Outcome {
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConfirmedPrevented => "confirmed_prevented",
            Self::ConfirmedFailed => "confirmed_failed",
            Self::DifferentFaultFound => "different_fault_found",
            Self::NoFaultFound => "no_fault_found",
            Self::Inconclusive => "inconclusive",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::ConfirmedPrevented,
            Self::ConfirmedFailed,
            Self::DifferentFaultFound,
            Self::NoFaultFound,
            Self::Inconclusive,
        ]
        .into_iter()
        .find(|outcome| outcome.name() == text)
    }
}

#[cfg(test)]
mod tests;

//! What each step of a ticket asks for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Outcome, Status};
use crate::time::Timestamp;

/// A condition outside the ticket: a permit, a lock-out, parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    #[default]
    NotNeeded,
    Satisfied,
    /// What is missing and what to do, for a person.
    Missing(String),
}

/// Everything the guards look at: the ticket, what surrounds it, and what the request brings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Said with this request: why it is cancelled, put on hold, reopened.
    pub reason: Option<String>,
    pub tasks: usize,
    /// Mandatory tasks that are not done, by their text.
    pub open_tasks: Vec<String>,
    /// Work was reported on it.
    pub has_actuals: bool,
    pub scheduled: Option<(Timestamp, Timestamp)>,
    pub has_assignee: bool,
    /// Why the person can't do it: skill, certificate, shift, overlap.
    pub assignee_problems: Vec<Missing>,
    /// Mandatory steps of the tenant's workflow in this state that are not done, each with whose they are.
    pub open_steps: Vec<String>,
    /// Numbers of the open tickets that must be done first.
    pub blocked_by: Vec<i32>,
    /// Number of another open ticket of the same case: a cause has one at most.
    pub case_ticket: Option<i32>,
    pub parts: Gate,
    /// Every reserved part is posted as used, or given back.
    pub parts_posted: Gate,
    pub permit: Gate,
    pub lockout: Gate,
    /// Every lock is off again.
    pub locks_removed: Gate,
    /// The time the asset stood still is confirmed.
    pub downtime: Gate,
    /// Something was or seemed broken: what was found must be said.
    pub corrective: bool,
    pub found_failure_mode: bool,
    pub cause: bool,
    pub remedy: bool,
    pub outcome: Option<Outcome>,
    pub completed_at: Option<Timestamp>,
    pub now: Option<Timestamp>,
}

/// One thing that stands in the way, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Missing {
    /// For programs: `tasks.open`, `permit`, …
    pub code: String,
    /// For people.
    pub detail: String,
}

/// One possible next state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = TicketTransition))]
pub struct Transition {
    pub to: Status,
    pub allowed: bool,
    pub missing: Vec<Missing>,
}

/// Why a transition was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("a ticket that is {from} can't become {to}{}", hint(*from))]
    NoSuchTransition { from: Status, to: Status },
    #[error("the ticket can't become {to} yet: {}", .missing.iter().map(|missing| missing.detail.as_str()).collect::<Vec<_>>().join("; "))]
    Missing { to: Status, missing: Vec<Missing> },
}

fn hint(from: Status) -> String {
    match from.targets() {
        [] => "; nothing more can happen to it".to_owned(),
        targets => format!(
            ", only {}",
            targets.iter().map(|to| to.name()).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// Days after completion in which a ticket can be reopened; later it is a new one.
pub(super) const REOPEN_DAYS: u64 = 14;

/// Every next state and what it still needs.
pub fn transitions(from: Status, facts: &Facts) -> Vec<Transition> {
    from.targets()
        .iter()
        .map(|to| {
            let missing = missing(from, *to, facts);
            Transition {
                to: *to,
                allowed: missing.is_empty(),
                missing,
            }
        })
        .collect()
}

/// # Errors
/// When there is no such step, or something is missing for it.
pub fn check(from: Status, to: Status, facts: &Facts) -> Result<(), Refusal> {
    if !from.targets().contains(&to) {
        return Err(Refusal::NoSuchTransition { from, to });
    }
    let missing = missing(from, to, facts);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Missing { to, missing })
    }
}

fn missing(from: Status, to: Status, facts: &Facts) -> Vec<Missing> {
    let mut list = List(Vec::new());
    // The tenant's own steps come on top of the gates below and can't take one away.
    if from.leads_forward_to(to) {
        for step in &facts.open_steps {
            list.add("workflow.step", format!("do the step {step}"));
        }
    }
    match to {
        Status::Open | Status::Accepted => {}
        Status::Planned => {
            list.unless(
                facts.tasks > 0,
                "tasks.none",
                "add at least one task: what is to be done",
            );
            if from == Status::WaitingParts {
                list.gate("parts", &facts.parts);
            }
        }
        Status::WaitingParts => list.unless(
            matches!(facts.parts, Gate::Missing(_)),
            "parts.none_missing",
            "no part is missing; go on to scheduled",
        ),
        Status::WaitingWindow => {}
        Status::Scheduled => {
            list.gate("parts", &facts.parts);
            list.unless(
                facts.scheduled.is_some_and(|(start, end)| start < end),
                "schedule.missing",
                "set scheduled_start and a later scheduled_end",
            );
        }
        Status::Assigned => {
            list.unless(
                facts.has_assignee,
                "assignee.missing",
                "name the person who does it: set assignee_id",
            );
            list.0.extend(facts.assignee_problems.iter().cloned());
        }
        Status::InProgress if from == Status::Completed => {
            list.reason(facts, "say why the work has to go on");
            let in_time = facts
                .completed_at
                .zip(facts.now)
                .is_some_and(|(completed_at, now)| {
                    now < completed_at + Duration::from_secs(REOPEN_DAYS * 86_400)
                });
            list.unless(
                in_time,
                "reopen.too_late",
                &format!("it was completed more than {REOPEN_DAYS} days ago: make a new ticket"),
            );
            if let Some(number) = facts.case_ticket {
                let detail =
                    format!("#{number} is open for the same cause: go on with that one, or cancel it first");
                list.add("reopen.other_ticket", detail);
            }
            list.start(facts);
        }
        Status::InProgress => list.start(facts),
        Status::OnHold => list.reason(facts, "say what it waits for"),
        Status::Completed => {
            for task in &facts.open_tasks {
                list.add("tasks.open", format!("do the task “{task}”"));
            }
            list.gate("locks_removed", &facts.locks_removed);
            list.gate("parts_posted", &facts.parts_posted);
            list.gate("downtime", &facts.downtime);
            if facts.corrective {
                let outcome_without_fault =
                    matches!(facts.outcome, Some(Outcome::NoFaultFound | Outcome::Inconclusive));
                list.unless(
                    facts.found_failure_mode || outcome_without_fault,
                    "coding.failure_mode",
                    "say which failure mode was found, or set the outcome to no_fault_found or inconclusive",
                );
                list.unless(
                    facts.cause || outcome_without_fault,
                    "coding.cause",
                    "say what caused it",
                );
                list.unless(
                    facts.remedy || outcome_without_fault,
                    "coding.remedy",
                    "say what was done about it",
                );
            }
        }
        Status::Closed => list.unless(
            !facts.corrective || facts.outcome.is_some(),
            "outcome.missing",
            "set the outcome: it is what the models learn from",
        ),
        Status::Cancelled => {
            list.reason(facts, "say why it is cancelled");
            list.unless(
                !facts.has_actuals,
                "actuals",
                "work was reported on it: complete it instead",
            );
        }
    }
    list.0
}

struct List(Vec<Missing>);

impl List {
    fn add(&mut self, code: &str, detail: String) {
        self.0.push(Missing {
            code: code.to_owned(),
            detail,
        });
    }

    fn unless(&mut self, satisfied: bool, code: &str, detail: &str) {
        if !satisfied {
            self.add(code, detail.to_owned());
        }
    }

    fn gate(&mut self, code: &str, gate: &Gate) {
        if let Gate::Missing(detail) = gate {
            self.add(code, detail.clone());
        }
    }

    /// What any work asks for before it goes on.
    fn start(&mut self, facts: &Facts) {
        self.gate("permit", &facts.permit);
        self.gate("lockout", &facts.lockout);
        if !facts.blocked_by.is_empty() {
            let numbers: Vec<_> = facts
                .blocked_by
                .iter()
                .map(|number| format!("#{number}"))
                .collect();
            self.add("blocked_by", format!("finish {} first", numbers.join(", ")));
        }
    }

    fn reason(&mut self, facts: &Facts, detail: &str) {
        let given = facts
            .reason
            .as_deref()
            .is_some_and(|reason| !reason.trim().is_empty());
        self.unless(given, "reason.missing", detail);
    }
}

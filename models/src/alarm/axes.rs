//! Acknowledgement and suppression, and what a reader is shown of all three axes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rule::{Condition, Suppression};
use crate::tenant::MemberRole;
use crate::time::Timestamp;

/// Why a person can't do that with an alarm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AxisError {
    #[error("the alarm has not been raised: there is nothing to acknowledge")]
    NotRaised,
    #[error("the alarm is closed")]
    Closed,
    #[error("the role {role:?} may not shelve alarms")]
    RoleMayNotShelve { role: MemberRole },
    #[error("the role {role:?} may shelve an alarm until {latest} at most")]
    TooLong { role: MemberRole, latest: Timestamp },
    #[error("an alarm is shelved until a moment in the future, and {until} is not")]
    NotInFuture { until: Timestamp },
    #[error("shelving needs a reason")]
    NoReason,
}

/// A person's order not to be told of an alarm for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shelf {
    pub until: Timestamp,
    pub reason: String,
}

/// The one word for an alarm's three axes, after ISA-18.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = AlarmDisplay))]
pub enum Display {
    Normal,
    Pending,
    Unacknowledged,
    Acknowledged,
    ReturnedUnacknowledged,
    Shelved,
    SuppressedByDesign,
    OutOfService,
}

/// The longest a role may shelve an alarm. `None` = not at all.
pub fn max_shelving(role: MemberRole) -> Option<Duration> {
    const HOUR: u64 = 3600;
    match role {
        MemberRole::Operator => Some(Duration::from_secs(8 * HOUR)),
        MemberRole::Technician => Some(Duration::from_secs(24 * HOUR)),
        MemberRole::Planner | MemberRole::ReliabilityEngineer | MemberRole::SafetyOfficer => {
            Some(Duration::from_secs(7 * 24 * HOUR))
        }
        MemberRole::TenantAdmin => Some(Duration::from_secs(30 * 24 * HOUR)),
        MemberRole::Viewer => None,
    }
}

/// # Errors
/// When the role may not, or not so long, the moment isn't in the future, or the reason is empty.
pub fn shelve(role: MemberRole, now: Timestamp, until: Timestamp, reason: &str) -> Result<Shelf, AxisError> {
    let longest = max_shelving(role).ok_or(AxisError::RoleMayNotShelve { role })?;
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(AxisError::NoReason);
    }
    if until <= now {
        return Err(AxisError::NotInFuture { until });
    }
    let latest = now + longest;
    if until > latest {
        return Err(AxisError::TooLong { role, latest });
    }
    Ok(Shelf {
        until,
        reason: reason.to_owned(),
    })
}

/// Whether an alarm may be acknowledged now; `raised` = it has been active. Doing it twice is no error
/// and changes nothing: the first person stays.
///
/// # Errors
/// When it never became active, or is closed.
pub fn acknowledge(raised: bool, condition: Condition, acked: bool) -> Result<bool, AxisError> {
    match (raised, is_closed(raised, condition, acked)) {
        (false, _) => Err(AxisError::NotRaised),
        (true, true) => Err(AxisError::Closed),
        (true, false) => Ok(!acked),
    }
}

/// An acknowledgement without a ticket counts for `timeout` only; then the alarm asks again.
pub fn acknowledgement_lapsed(
    acked_at: Timestamp,
    has_ticket: bool,
    now: Timestamp,
    timeout: Duration,
) -> bool {
    !has_ticket && now >= acked_at + timeout
}

/// How long people may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// Until the next level hears of an alarm that nobody has acknowledged.
    pub escalate_after: Duration,
    /// That an acknowledgement counts while there is no ticket.
    pub ack_lasts: Duration,
    /// Levels above the first.
    pub levels: i32,
}

/// What becomes of an alarm that waits for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escalation {
    /// Nobody has acknowledged it in time: the next level hears of it.
    NextLevel(i32),
    /// It was acknowledged long ago and nothing followed: it asks again, one level up.
    AsksAgain(i32),
}

/// Judges an alarm that is raised. `since` = when it was told last: raised, escalated or acknowledged.
pub fn escalation(
    acked: bool,
    has_ticket: bool,
    level: i32,
    since: Timestamp,
    now: Timestamp,
    patience: &Patience,
) -> Option<Escalation> {
    let next = (level + 1).min(patience.levels);
    if acked {
        acknowledgement_lapsed(since, has_ticket, now, patience.ack_lasts)
            .then_some(Escalation::AsksAgain(next))
    } else {
        (level < patience.levels && now >= since + patience.escalate_after)
            .then_some(Escalation::NextLevel(next))
    }
}

/// Over and known of. One that was only ever pending needs nobody's acknowledgement.
pub fn is_closed(raised: bool, condition: Condition, acked: bool) -> bool {
    condition == Condition::Inactive && (acked || !raised)
}

/// Whether suppression holds at `now`. A shelf ends by itself; the others end when their reason does.
pub fn is_suppressed(suppression: Suppression, until: Option<Timestamp>, now: Timestamp) -> bool {
    match suppression {
        Suppression::None => false,
        Suppression::Shelved => until.is_some_and(|until| now < until),
        Suppression::ByDesign | Suppression::OutOfService => true,
    }
}

pub fn display(
    condition: Condition,
    acked: bool,
    suppression: Suppression,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Display {
    if is_suppressed(suppression, until, now) {
        return match suppression {
            Suppression::ByDesign => Display::SuppressedByDesign,
            Suppression::OutOfService => Display::OutOfService,
            Suppression::Shelved | Suppression::None => Display::Shelved,
        };
    }
    match (condition, acked) {
        (Condition::Pending, _) => Display::Pending,
        (Condition::Active | Condition::Clearing, false) => Display::Unacknowledged,
        (Condition::Active | Condition::Clearing, true) => Display::Acknowledged,
        (Condition::Inactive, false) => Display::ReturnedUnacknowledged,
        (Condition::Inactive, true) => Display::Normal,
    }
}

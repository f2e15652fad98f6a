//! A case: an asset and the failure mode that several alarms and predictions point at. What a planner
//! sees instead of single alarms.

use std::time::Duration;

use crate::alarm::Severity;
use crate::ticket;
use crate::time::Timestamp;

/// What belongs to a case at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Alarms that are pending, active or clearing.
    pub running_alarms: usize,
    /// Predictions that are new, in review or snoozed.
    pub open_predictions: usize,
    /// The states of its tickets.
    pub tickets: Vec<ticket::Status>,
    /// When the last of its alarms returned to normal.
    pub quiet_since: Option<Timestamp>,
}

/// Why a case can be closed now, or `None` when it can't: something is still wrong, or being worked on.
///
/// A case whose work is done closes at once; one that never had a ticket waits for `linger`, so that
/// an alarm that comes back within it is the same case.
pub fn may_close(evidence: &Evidence, now: Timestamp, linger: Duration) -> Option<&'static str> {
    if evidence.running_alarms > 0 || evidence.open_predictions > 0 {
        return None;
    }
    if evidence.tickets.iter().any(|status| !status.is_terminal()) {
        return None;
    }
    if evidence.tickets.contains(&ticket::Status::Closed) {
        return Some("the ticket is closed and no alarm is active");
    }
    if !evidence.tickets.is_empty() {
        return Some("the ticket is cancelled and no alarm is active");
    }
    match evidence.quiet_since {
        Some(since) if now < since + linger => None,
        _ => Some("every alarm has returned to normal and no ticket was needed"),
    }
}

/// How cases are told of, after Alertmanager: together, not too often, and again while nothing happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grouping {
    /// From the first sign to the first notice: what comes within it is one notice. A case that closes
    /// within it is never told of.
    pub wait: Duration,
    /// Between two notices of news about the same case.
    pub interval: Duration,
    /// Between two notices of a case that nobody has made a ticket for or acknowledged.
    pub repeat: Duration,
}

impl Default for Grouping {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(30),
            interval: Duration::from_secs(300),
            repeat: Duration::from_secs(4 * 3600),
        }
    }
}

/// Why people hear of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    Opened,
    /// More has come to it since the last notice.
    News,
    /// It is as it was, and nobody has seen to it.
    Repeat,
}

impl Notice {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::News => "news",
            Self::Repeat => "repeat",
        }
    }
}

/// What a notice depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Telling {
    pub opened_at: Timestamp,
    /// When something was last added to it.
    pub news_at: Timestamp,
    pub notified_at: Option<Timestamp>,
    /// It has a ticket, or every alarm of it is acknowledged.
    pub seen_to: bool,
    /// Every sign of it is suppressed.
    pub silenced: bool,
}

/// Whether an open case is to be told of now.
pub fn notice(case: &Telling, now: Timestamp, grouping: &Grouping) -> Option<Notice> {
    if case.silenced {
        return None;
    }
    match case.notified_at {
        None => (now >= case.opened_at + grouping.wait).then_some(Notice::Opened),
        Some(told) if case.news_at > told => (now >= told + grouping.interval).then_some(Notice::News),
        Some(told) => (!case.seen_to && now >= told + grouping.repeat).then_some(Notice::Repeat),
    }
}

/// Why two cases can't be made one, or one two.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegroupError {
    #[error("a case can't be merged into itself")]
    Itself,
    #[error("the case {0} is closed: only open cases can be merged or split")]
    Closed(crate::id::CaseId),
    #[error("the case to merge with doesn't exist")]
    NoSuchCase,
    #[error(
        "both cases have a ticket that is worked on (#{of_this} and #{of_other}): complete or cancel one of them first"
    )]
    TwoTickets { of_this: i32, of_other: i32 },
    #[error("name at least one alarm or prediction of this case to split off")]
    Nothing,
    #[error("{0} does not belong to this case")]
    NotOfThisCase(String),
    #[error("a case must keep a sign: that is all of them")]
    Everything,
    #[error("the asset has the open case {0} for that failure mode: merge with it instead")]
    Exists(crate::id::CaseId),
    #[error("the signs belong to several assets: split off those of one at a time")]
    SeveralAssets,
}

/// The name of a case: what is wrong with which asset.
pub fn title(failure_mode: Option<&str>, first_sign: &str, asset: &str) -> String {
    match failure_mode {
        Some(mode) => format!("{mode}: {asset}"),
        None => format!("{first_sign}: {asset}"),
    }
}

/// A case is as bad as the worst that was ever part of it.
pub fn severity(current: Option<Severity>, sign: Severity) -> Severity {
    current.map_or(sign, |current| current.max(sign))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ticket::Status;

    #[test]
    fn a_case_closes_when_all_is_done() {
        let now = Timestamp::from_secs(1_750_000_000);
        let hour = Duration::from_secs(3600);
        let case = |running_alarms, open_predictions, tickets: &[Status], quiet_s: Option<f64>| {
            let quiet_since = quiet_s.map(|seconds| now.plus_seconds(-seconds));
            let evidence = Evidence {
                running_alarms,
                open_predictions,
                tickets: tickets.to_vec(),
                quiet_since,
            };
            may_close(&evidence, now, hour).is_some()
        };
        assert!(!case(1, 0, &[Status::Closed], None), "an alarm is active");
        assert!(!case(0, 1, &[Status::Closed], None), "a prediction is open");
        assert!(case(0, 0, &[Status::Closed], Some(0.0)));
        assert!(case(0, 0, &[Status::Cancelled], Some(0.0)));
        assert!(
            !case(0, 0, &[Status::Closed, Status::Open], Some(9999.0)),
            "a second ticket is open"
        );
        assert!(!case(0, 0, &[], Some(3599.0)), "it may come back");
        assert!(case(0, 0, &[], Some(3600.0)));
        for status in Status::ALL {
            assert_eq!(case(0, 0, &[status], Some(0.0)), status.is_terminal(), "{status}");
        }
    }

    #[test]
    fn people_are_told_together_not_too_often_and_again() {
        let at = |seconds: f64| Timestamp::from_secs(1_750_000_000).plus_seconds(seconds);
        let grouping = Grouping::default();
        // (news, notified, seen to, silenced, now) -> notice. Opened at 0.
        for (news, notified, seen_to, silenced, now, expect) in [
            (0.0, None, false, false, 29.0, None),
            (0.0, None, false, false, 30.0, Some(Notice::Opened)),
            (0.0, None, true, false, 30.0, Some(Notice::Opened)),
            (0.0, None, false, true, 9999.0, None),
            (40.0, Some(30.0), false, false, 329.0, None),
            (40.0, Some(30.0), false, false, 330.0, Some(Notice::News)),
            (40.0, Some(30.0), true, false, 330.0, Some(Notice::News)),
            (20.0, Some(30.0), false, false, 330.0, None),
            (20.0, Some(30.0), false, false, 14_430.0, Some(Notice::Repeat)),
            (20.0, Some(30.0), true, false, 99_999.0, None),
            (40.0, Some(30.0), false, true, 99_999.0, None),
        ] {
            let case = Telling {
                opened_at: at(0.0),
                news_at: at(news),
                notified_at: notified.map(at),
                seen_to,
                silenced,
            };
            assert_eq!(notice(&case, at(now), &grouping), expect, "{case:?} {now}");
        }
    }

    #[test]
    fn severity_only_rises() {
        assert_eq!(severity(None, Severity::Info), Severity::Info);
        assert_eq!(
            severity(Some(Severity::Serious), Severity::Warning),
            Severity::Serious
        );
        assert_eq!(
            severity(Some(Severity::Serious), Severity::Critical),
            Severity::Critical
        );
    }
}

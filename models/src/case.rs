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

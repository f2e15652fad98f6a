//! Whether an alarm makes a ticket. Pure: facts in, outcome and sentence out.

use models::asset::AssetStatus;
use models::db::dispatch::{Outcome, Related};
use models::time::Timestamp;

use super::Config;

/// What the decision depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmFacts<'a> {
    pub rule: &'a str,
    pub asset: &'a str,
    pub asset_status: AssetStatus,
    /// Name and status of the asset that this one is part of.
    pub parent: Option<(&'a str, AssetStatus)>,
    pub makes_ticket: bool,
    /// The plant's state doesn't silence it.
    pub never_suppressed: bool,
    /// Shelved or suppressed now, and why.
    pub suppressed: Option<String>,
    /// Still active, or clearing.
    pub raised: bool,
    pub active_at: Timestamp,
    pub cleared_at: Option<Timestamp>,
    /// Tickets for the same cause, open ones first, then the one that ended last.
    pub related: &'a [Related],
    pub now: Timestamp,
}

/// A decision with its reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict<'a> {
    pub outcome: Outcome,
    pub reason: String,
    /// Nothing can change it any more.
    pub last_word: bool,
    /// The ticket it is attached to, held back by, or a repeat of.
    pub ticket: Option<&'a Related>,
}

/// What can be said without knowing the case: a reason against any ticket, or `None`.
pub fn judge_alone<'a>(facts: &AlarmFacts<'a>, config: &Config) -> Option<Verdict<'a>> {
    let against = |outcome, reason, last_word| {
        Some(Verdict {
            outcome,
            reason,
            last_word,
            ticket: None,
        })
    };
    let lasted = facts
        .cleared_at
        .map(|cleared_at| cleared_at.seconds_since(facts.active_at));
    if !facts.asset_status.in_service() {
        let place = match facts.asset_status {
            AssetStatus::Disposed => "has been disposed of",
            _ => "is in storage",
        };
        let reason = format!("{} {place}: an alarm there needs no work.", facts.asset);
        return against(Outcome::AssetNotInService, reason, !facts.raised);
    }
    if let Some(why) = &facts.suppressed {
        return against(
            Outcome::Suppressed,
            format!("The alarm is suppressed: {why}."),
            !facts.raised,
        );
    }
    if facts.asset_status == AssetStatus::Maintenance && !facts.never_suppressed {
        let reason = format!(
            "{} is in maintenance: alarms are expected, and somebody is there.",
            facts.asset
        );
        return against(Outcome::Suppressed, reason, !facts.raised);
    }
    if let Some((parent, AssetStatus::Down | AssetStatus::Maintenance)) = facts.parent
        && !facts.never_suppressed
    {
        let reason = format!(
            "{parent}, which {} is part of, is down or in maintenance.",
            facts.asset
        );
        return against(Outcome::Suppressed, reason, !facts.raised);
    }
    if let Some(lasted) = lasted.filter(|lasted| *lasted < config.group_wait_s) {
        let reason = format!(
            "The alarm “{}” was over after {lasted:.0} s, sooner than the {:.0} s that an alarm must last to be followed up.",
            facts.rule, config.group_wait_s
        );
        return against(Outcome::BelowPolicy, reason, true);
    }
    None
}

/// Whether it is too early to decide: more alarms of the same cause may follow.
pub fn is_too_early(facts: &AlarmFacts<'_>, config: &Config) -> bool {
    facts.raised && facts.now.seconds_since(facts.active_at) < config.group_wait_s
}

/// The decision. The first reason that applies wins.
pub fn judge<'a>(facts: &AlarmFacts<'a>, config: &Config) -> Verdict<'a> {
    if let Some(verdict) = judge_alone(facts, config) {
        return verdict;
    }
    let newest = facts.related.first();
    if let Some(open) = newest.filter(|ticket| ticket.status.is_open()) {
        let reason = format!(
            "Ticket #{} for the same cause is {}: the alarm “{}” was added to it.",
            open.number,
            open.status.name().replace('_', " "),
            facts.rule
        );
        return Verdict {
            outcome: Outcome::Attached,
            reason,
            last_word: true,
            ticket: Some(open),
        };
    }
    if !facts.makes_ticket {
        let reason = format!(
            "The rule “{}” informs only: it is set to make no ticket.",
            facts.rule
        );
        return Verdict {
            outcome: Outcome::BelowPolicy,
            reason,
            last_word: true,
            ticket: None,
        };
    }
    let cool_down_s = config.cool_down_h * 3600.0;
    // One that is over is judged by when it was over, however late somebody looks at it.
    let until = match facts.cleared_at {
        Some(cleared_at) if !facts.raised => cleared_at,
        _ => facts.now,
    };
    if let Some(ended) = newest.filter(|ticket| until.seconds_since(ticket.ended_at) < cool_down_s) {
        return Verdict {
            outcome: Outcome::CoolDown,
            reason: held_back(facts, ended, until.seconds_since(ended.ended_at), config),
            last_word: !facts.raised,
            ticket: Some(ended),
        };
    }
    let reason = match newest {
        Some(earlier) => format!(
            "The alarm “{}” needs work, and no ticket for it is open; it repeats ticket #{}.",
            facts.rule, earlier.number
        ),
        None => format!(
            "The alarm “{}” needs work, and there is no ticket for it yet.",
            facts.rule
        ),
    };
    Verdict {
        outcome: Outcome::Created,
        reason,
        last_word: true,
        ticket: newest,
    }
}

/// Why there is no ticket so soon after one: `after_s` seconds, negative before its end.
fn held_back(facts: &AlarmFacts<'_>, ended: &Related, after_s: f64, config: &Config) -> String {
    let (number, status, after_h) = (ended.number, ended.status, after_s / 3600.0);
    let rule = format!("within {:.0} h no new one is made", config.cool_down_h);
    if facts.raised {
        format!(
            "Ticket #{number} for the same cause was {status} {after_h:.1} h ago: {rule}. If the alarm lasts longer, one \
             follows."
        )
    } else if after_s > 0.0 {
        format!(
            "The alarm “{}” was over {after_h:.1} h after ticket #{number} for the same cause was {status}: {rule}.",
            facts.rule
        )
    } else {
        format!(
            "The alarm “{}” was over before ticket #{number} for the same cause was {status}: it needs no other one.",
            facts.rule
        )
    }
}

#[cfg(test)]
mod tests {
    use models::id::TicketId;
    use models::ticket::{Priority, Status};

    use super::*;

    fn hour(hours: f64) -> Timestamp {
        Timestamp::from_secs(1_750_000_000).plus_seconds(hours * 3600.0)
    }

    /// What is said at `now` of an alarm that was raised an hour before it cleared, or one hour after the ticket of its
    /// cause was closed and still is.
    fn said(cleared_at: Option<f64>, now: f64) -> (Outcome, bool, String) {
        let related = [Related {
            id: TicketId::new(),
            number: 7,
            status: Status::Closed,
            priority: Priority::High,
            ended_at: hour(0.0),
        }];
        let facts = AlarmFacts {
            rule: "hot",
            asset: "P-1",
            asset_status: AssetStatus::Operational,
            parent: None,
            makes_ticket: true,
            never_suppressed: false,
            suppressed: None,
            raised: cleared_at.is_none(),
            active_at: hour(cleared_at.unwrap_or(2.0) - 1.0),
            cleared_at: cleared_at.map(hour),
            related: &related,
            now: hour(now),
        };
        let verdict = judge(&facts, &Config::default());
        (verdict.outcome, verdict.last_word, verdict.reason)
    }

    #[test]
    fn what_was_over_within_the_cool_down_needs_no_ticket_however_late_it_is_seen() {
        let over = "The alarm “hot” was over 2.0 h after ticket #7 for the same cause was closed: within 24 h no new one is \
                    made.";
        for now in [2.5, 23.0, 25.0, 24.0 * 20.0] {
            assert_eq!(said(Some(2.0), now), (Outcome::CoolDown, true, over.to_owned()));
        }
        let (outcome, last_word, reason) = said(Some(-1.0), 400.0);
        assert_eq!((outcome, last_word), (Outcome::CoolDown, true));
        assert!(reason.contains("was over before ticket #7"), "{reason}");
        // It outlasted the cool-down: it needs work, also where it is over by now.
        assert_eq!(said(Some(24.5), 25.0).0, Outcome::Created);
        assert_eq!(said(None, 24.5).0, Outcome::Created);
        let (outcome, last_word, reason) = said(None, 23.0);
        assert_eq!((outcome, last_word), (Outcome::CoolDown, false));
        assert!(
            reason.ends_with("If the alarm lasts longer, one follows."),
            "{reason}"
        );
    }
}

//! Acknowledging, shelving, and who is told when nobody does.

use std::time::Duration;

use super::*;
use crate::tenant::MemberRole;

#[test]
fn the_three_axes_make_one_word() {
    use Condition::*;
    let now = at(0);
    for condition in [Inactive, Pending, Active, Clearing] {
        for acked in [false, true] {
            let shown = |suppression, until| display(condition, acked, suppression, until, now);
            assert_eq!(shown(Suppression::Shelved, Some(at(1))), Display::Shelved);
            assert_eq!(
                shown(Suppression::Shelved, Some(at(0))),
                shown(Suppression::None, None),
                "a shelf ends by itself"
            );
            assert_eq!(shown(Suppression::ByDesign, None), Display::SuppressedByDesign);
            assert_eq!(shown(Suppression::OutOfService, None), Display::OutOfService);
            let expect = match (condition, acked) {
                (Inactive, true) => Display::Normal,
                (Inactive, false) => Display::ReturnedUnacknowledged,
                (Pending, _) => Display::Pending,
                (Active | Clearing, false) => Display::Unacknowledged,
                (Active | Clearing, true) => Display::Acknowledged,
            };
            assert_eq!(shown(Suppression::None, None), expect);
            let answer = acknowledge(true, condition, acked);
            match (condition, acked) {
                (Inactive, true) => assert_eq!(answer, Err(AxisError::Closed)),
                _ => assert_eq!(answer, Ok(!acked)),
            }
            assert_eq!(acknowledge(false, condition, acked), Err(AxisError::NotRaised));
        }
    }
}

#[test]
fn shelving_is_limited_by_role() {
    let now = at(0);
    assert!(
        shelve(
            MemberRole::Operator,
            now,
            at(8 * 3600),
            "noise from the pump next door"
        )
        .is_ok()
    );
    assert!(
        matches!(shelve(MemberRole::Operator, now, at(8 * 3600 + 1), "x"), Err(AxisError::TooLong { latest, .. }) if latest == at(8 * 3600))
    );
    assert!(shelve(MemberRole::Planner, now, at(24 * 3600), "x").is_ok());
    assert!(matches!(
        shelve(MemberRole::Viewer, now, at(60), "x"),
        Err(AxisError::RoleMayNotShelve { .. })
    ));
    assert_eq!(
        shelve(MemberRole::Planner, now, at(60), "  "),
        Err(AxisError::NoReason)
    );
    assert_eq!(
        shelve(MemberRole::Planner, now, now, "x"),
        Err(AxisError::NotInFuture { until: now })
    );
}

#[test]
fn an_acknowledgement_without_a_ticket_lapses() {
    let hour = Duration::from_secs(3600);
    assert!(!acknowledgement_lapsed(at(0), false, at(3599), hour));
    assert!(acknowledgement_lapsed(at(0), false, at(3600), hour));
    assert!(!acknowledgement_lapsed(at(0), true, at(99_999), hour));
}

#[test]
fn what_waits_for_people_escalates_by_table() {
    let patience = Patience {
        escalate_after: Duration::from_secs(600),
        ack_lasts: Duration::from_secs(3600),
        levels: 2,
    };
    // (acked, has a ticket, level, seconds since it was told) -> what happens.
    for (acked, ticket, level, seconds, expect) in [
        (false, false, 0, 599, None),
        (false, false, 0, 600, Some(Escalation::NextLevel(1))),
        (false, true, 1, 600, Some(Escalation::NextLevel(2))),
        (false, false, 2, 99_999, None),
        (true, false, 0, 3599, None),
        (true, false, 0, 3600, Some(Escalation::AsksAgain(1))),
        (true, false, 2, 3600, Some(Escalation::AsksAgain(2))),
        (true, true, 0, 99_999, None),
    ] {
        let found = escalation(acked, ticket, level, at(0), at(seconds), &patience);
        assert_eq!(found, expect, "{acked} {ticket} {level} {seconds}");
    }
}

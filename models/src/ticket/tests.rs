use proptest::prelude::*;

use super::*;
use crate::time::Timestamp;

/// Nothing stands in the way of anything.
fn ready() -> Facts {
    let now = Timestamp::from_secs(1_750_000_000);
    Facts {
        reason: Some("because".into()),
        tasks: 1,
        scheduled: Some((now, now.plus_seconds(3600.0))),
        has_assignee: true,
        corrective: true,
        found_failure_mode: true,
        cause: true,
        remedy: true,
        outcome: Some(Outcome::ConfirmedPrevented),
        completed_at: Some(now),
        now: Some(now),
        ..Facts::default()
    }
}

#[test]
fn every_state_to_every_state() {
    // Rows: from; columns in the order of Status::ALL. x = allowed when nothing is missing.
    let table = [
        ("open", ".x.........x"),
        ("accepted", "..x........x"),
        ("planned", "...xxx.....x"),
        ("waiting_parts", "..x........x"),
        ("waiting_window", "..x..x.....x"),
        ("scheduled", "..x.x.x....x"),
        ("assigned", ".....x.x...x"),
        ("in_progress", "........xx.x"),
        ("on_hold", ".......x...x"),
        ("completed", ".......x..x."),
        ("closed", "............"),
        ("cancelled", "............"),
    ];
    for (from, (name, row)) in Status::ALL.into_iter().zip(table) {
        assert_eq!(from.name(), name);
        for (to, cell) in Status::ALL.into_iter().zip(row.chars()) {
            let mut facts = ready();
            if to == Status::WaitingParts {
                facts.parts = Gate::Missing("bearing 6205".into());
            }
            let answer = check(from, to, &facts);
            if cell == 'x' {
                assert_eq!(answer, Ok(()), "{from} -> {to}");
            } else {
                assert_eq!(
                    answer,
                    Err(Refusal::NoSuchTransition { from, to }),
                    "{from} -> {to}"
                );
            }
        }
        assert_eq!(from.targets().is_empty(), from.is_terminal());
    }
}

#[test]
fn each_guard_names_what_is_missing() {
    use Status::*;
    let gate = || Gate::Missing("get it".into());
    type Change = fn(&mut Facts);
    let table: &[(Status, Status, Change, &[&str])] = &[
        (Open, Cancelled, |facts| facts.reason = None, &["reason.missing"]),
        (
            Open,
            Cancelled,
            |facts| facts.reason = Some("  ".into()),
            &["reason.missing"],
        ),
        (
            InProgress,
            Cancelled,
            |facts| facts.has_actuals = true,
            &["actuals"],
        ),
        (Accepted, Planned, |facts| facts.tasks = 0, &["tasks.none"]),
        (Planned, WaitingParts, |_| (), &["parts.none_missing"]),
        (
            WaitingParts,
            Planned,
            |facts| facts.parts = Gate::Missing("get it".into()),
            &["parts"],
        ),
        (
            Planned,
            Scheduled,
            |facts| facts.parts = Gate::Missing("get it".into()),
            &["parts"],
        ),
        (
            Planned,
            Scheduled,
            |facts| facts.scheduled = None,
            &["schedule.missing"],
        ),
        (
            WaitingWindow,
            Scheduled,
            |facts| facts.scheduled = facts.scheduled.map(|(a, b)| (b, a)),
            &["schedule.missing"],
        ),
        (
            Scheduled,
            Assigned,
            |facts| facts.has_assignee = false,
            &["assignee.missing"],
        ),
        (
            Scheduled,
            Assigned,
            |facts| {
                let missing = |code: &str| Missing {
                    code: code.into(),
                    detail: "x".into(),
                };
                facts.assignee_problems = vec![missing("assignee.skill"), missing("assignee.absent")];
            },
            &["assignee.skill", "assignee.absent"],
        ),
        (
            Assigned,
            InProgress,
            |facts| facts.permit = Gate::Missing("get it".into()),
            &["permit"],
        ),
        (
            Assigned,
            InProgress,
            |facts| facts.lockout = Gate::Missing("get it".into()),
            &["lockout"],
        ),
        (
            Assigned,
            InProgress,
            |facts| facts.blocked_by = vec![7, 9],
            &["blocked_by"],
        ),
        (
            OnHold,
            InProgress,
            |facts| facts.permit = Gate::Missing("it has expired".into()),
            &["permit"],
        ),
        (
            InProgress,
            OnHold,
            |facts| facts.reason = None,
            &["reason.missing"],
        ),
        (
            InProgress,
            Completed,
            |facts| facts.open_tasks = vec!["torque the bolts".into()],
            &["tasks.open"],
        ),
        (
            InProgress,
            Completed,
            |facts| facts.locks_removed = Gate::Missing("lock 12 is on".into()),
            &["locks_removed"],
        ),
        (
            InProgress,
            Completed,
            |facts| facts.parts_posted = Gate::Missing("post it".into()),
            &["parts_posted"],
        ),
        (
            Accepted,
            Planned,
            |facts| {
                (facts.open_steps, facts.tasks) = (vec!["budget (planner)".into()], 0);
            },
            &["workflow.step", "tasks.none"],
        ),
        (
            InProgress,
            Completed,
            |facts| facts.downtime = Gate::Missing("confirm it".into()),
            &["downtime"],
        ),
        (
            InProgress,
            Completed,
            |facts| {
                (facts.found_failure_mode, facts.cause, facts.remedy) = (false, false, false);
            },
            &["coding.failure_mode", "coding.cause", "coding.remedy"],
        ),
        (
            Completed,
            Closed,
            |facts| facts.outcome = None,
            &["outcome.missing"],
        ),
        (
            Completed,
            InProgress,
            |facts| facts.reason = None,
            &["reason.missing"],
        ),
        (
            Completed,
            InProgress,
            |facts| facts.now = facts.now.map(|now| now.plus_seconds(15.0 * 86_400.0)),
            &["reopen.too_late"],
        ),
    ];
    for (from, to, change, codes) in table {
        let mut facts = ready();
        change(&mut facts);
        let Err(Refusal::Missing { missing, .. }) = check(*from, *to, &facts) else {
            panic!("{from} -> {to} was not refused for {codes:?}");
        };
        assert_eq!(
            missing
                .iter()
                .map(|missing| missing.code.as_str())
                .collect::<Vec<_>>(),
            *codes,
            "{from} -> {to}"
        );
        assert!(missing.iter().all(|missing| !missing.detail.is_empty()));
    }
    // A permit that is missing for good never stops a cancellation.
    assert_eq!(
        check(
            Assigned,
            Cancelled,
            &Facts {
                permit: gate(),
                lockout: gate(),
                ..ready()
            }
        ),
        Ok(())
    );
}

#[test]
fn no_fault_needs_no_cause_and_preventive_work_no_coding() {
    let nothing_found = Facts {
        outcome: Some(Outcome::NoFaultFound),
        found_failure_mode: false,
        cause: false,
        remedy: false,
        ..ready()
    };
    assert_eq!(
        check(Status::InProgress, Status::Completed, &nothing_found),
        Ok(())
    );
    let preventive = Facts {
        corrective: false,
        outcome: None,
        ..nothing_found
    };
    assert_eq!(check(Status::InProgress, Status::Completed, &preventive), Ok(()));
    assert_eq!(check(Status::Completed, Status::Closed, &preventive), Ok(()));
}

#[test]
fn the_refusal_says_what_to_do() {
    let refusal = check(Status::Open, Status::Closed, &ready()).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "a ticket that is open can't become closed, only accepted, cancelled"
    );
    let refusal = check(
        Status::Assigned,
        Status::InProgress,
        &Facts {
            blocked_by: vec![7],
            ..ready()
        },
    )
    .unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "the ticket can't become in_progress yet: finish #7 first"
    );
}

#[test]
fn priority_by_table() {
    use Criticality as C;
    use Priority::*;
    let table = [
        (Severity::Info, [Low, Low, Medium, Medium]),
        (Severity::Warning, [Low, Medium, Medium, High]),
        (Severity::Serious, [Medium, Medium, High, Critical]),
        (Severity::Critical, [Medium, High, Critical, Critical]),
    ];
    for (severity, row) in table {
        for (criticality, expect) in [C::Low, C::Medium, C::High, C::Critical].into_iter().zip(row) {
            assert_eq!(
                Priority::of(severity, criticality, None),
                expect,
                "{severity} x {criticality:?}"
            );
            assert!(Priority::of(severity, criticality, Some(0.5)) >= expect);
            assert_eq!(Priority::of(severity, criticality, Some(0.49)), expect);
        }
    }
    assert_eq!(Priority::of(Severity::Serious, C::Medium, Some(0.9)), High);
}

proptest! {
    /// A workflow only ever adds to what is missing, and never holds up a hold, a step back or a cancellation.
    #[test]
    fn a_workflow_can_not_remove_a_gate(
        from in prop::sample::select(Status::ALL.to_vec()),
        bits in prop::array::uniform4(any::<bool>()),
        steps in prop::collection::vec("[a-z]{1,8}", 1..4),
    ) {
        let gate = |missing| if missing { Gate::Missing("x".into()) } else { Gate::NotNeeded };
        let plain = Facts {
            permit: gate(bits[0]),
            lockout: gate(bits[1]),
            locks_removed: gate(bits[2]),
            downtime: gate(bits[3]),
            ..ready()
        };
        let with = Facts { open_steps: steps.clone(), ..plain.clone() };
        for (without, with) in transitions(from, &plain).into_iter().zip(transitions(from, &with)) {
            prop_assert_eq!(without.to, with.to);
            for missing in &without.missing {
                prop_assert!(with.missing.contains(missing));
            }
            let added = if from.leads_forward_to(without.to) { steps.len() } else { 0 };
            prop_assert_eq!(with.missing.len(), without.missing.len() + added);
            if matches!(with.to, Status::Cancelled | Status::OnHold) {
                prop_assert_eq!(added, 0);
            }
        }
    }

    /// The list of transitions and the check agree for any facts, so that a page never offers what
    /// the API then refuses.
    #[test]
    fn what_is_offered_is_accepted(
        from in prop::sample::select(Status::ALL.to_vec()),
        bits in prop::array::uniform12(any::<bool>()),
    ) {
        let [reason, tasks, open, actuals, scheduled, assignee, permit, lockout, corrective, coded, outcome, parts] = bits;
        let gate = |missing| if missing { Gate::Missing("x".into()) } else { Gate::Satisfied };
        let facts = Facts {
            reason: reason.then(|| "x".into()),
            tasks: usize::from(tasks),
            open_tasks: if open { vec!["x".into()] } else { vec![] },
            has_actuals: actuals,
            scheduled: ready().scheduled.filter(|_| scheduled),
            has_assignee: assignee,
            permit: gate(permit),
            lockout: gate(lockout),
            parts: gate(parts),
            corrective,
            found_failure_mode: coded,
            cause: coded,
            remedy: coded,
            outcome: outcome.then_some(Outcome::ConfirmedFailed),
            ..Facts::default()
        };
        for transition in transitions(from, &facts) {
            prop_assert_eq!(transition.allowed, check(from, transition.to, &facts).is_ok());
            prop_assert_eq!(transition.allowed, transition.missing.is_empty());
        }
    }
}

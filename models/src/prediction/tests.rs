use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(1_750_000_000 + seconds)
}

fn current(status: Status) -> Current {
    Current {
        status,
        claimed: false,
        peak_probability: 0.5,
        below_since: None,
        snoozed_until: None,
        snooze_above: None,
        closed_at: None,
        ticket_open: false,
    }
}

#[test]
fn every_state_and_action() {
    let actions = [
        (Action::Claim, Status::InReview),
        (Action::Accept, Status::Accepted),
        (Action::Attach, Status::Attached),
        (
            Action::Dismiss {
                reason: DismissReason::KnownIssue,
                text: None,
            },
            Status::Dismissed,
        ),
        (
            Action::Snooze {
                until: Some(at(60)),
                above: None,
                shutdown: false,
            },
            Status::Snoozed,
        ),
    ];
    for status in Status::ALL {
        for (action, to) in &actions {
            let expect = match (status, action) {
                (Status::InReview, Action::Claim) => Err(Refusal::AlreadyClaimed),
                (Status::New | Status::InReview | Status::Snoozed, _) => Ok(*to),
                _ => Err(Refusal::NotOpen { status }),
            };
            assert_eq!(act(status, action, at(0)), expect, "{status:?} + {action:?}");
        }
    }
}

#[test]
fn incomplete_actions_are_refused() {
    let refused = |action: Action| act(Status::InReview, &action, at(0)).unwrap_err();
    let other = |text: Option<&str>| Action::Dismiss {
        reason: DismissReason::Other,
        text: text.map(str::to_owned),
    };
    assert_eq!(refused(other(None)), Refusal::NoText);
    assert_eq!(refused(other(Some(" "))), Refusal::NoText);
    assert_eq!(
        act(Status::InReview, &other(Some("new lubricant")), at(0)),
        Ok(Status::Dismissed)
    );
    for (until, above) in [
        (None, None),
        (Some(at(0)), None),
        (None, Some(1.0)),
        (Some(at(-1)), Some(0.5)),
    ] {
        assert_eq!(
            refused(Action::Snooze {
                until,
                above,
                shutdown: false
            }),
            Refusal::SnoozeWithoutEnd,
            "{until:?} {above:?}"
        );
    }
    assert!(
        act(
            Status::New,
            &Action::Snooze {
                until: None,
                above: Some(0.8),
                shutdown: false
            },
            at(0)
        )
        .is_ok()
    );
}

#[test]
fn scores_make_one_row_and_revise_it() {
    let policy = Policy::default();
    assert_eq!(score(None, 0.29, at(0), &policy), Verdict::Quiet);
    assert_eq!(score(None, 0.3, at(0), &policy), Verdict::Publish);
    for status in [Status::New, Status::InReview, Status::Snoozed] {
        for probability in [0.2, 0.9] {
            let verdict = score(Some(&current(status)), probability, at(0), &policy);
            assert_eq!(
                verdict,
                Verdict::Revise {
                    status,
                    below_since: None
                }
            );
        }
    }
    // While its ticket is open an accepted one is revised; afterwards the story begins anew.
    for status in [Status::Accepted, Status::Attached] {
        let working = Current {
            ticket_open: true,
            ..current(status)
        };
        assert_eq!(
            score(Some(&working), 0.9, at(0), &policy),
            Verdict::Revise {
                status,
                below_since: None
            }
        );
        assert_eq!(
            score(Some(&current(status)), 0.9, at(0), &policy),
            Verdict::Publish
        );
        assert_eq!(score(Some(&current(status)), 0.1, at(0), &policy), Verdict::Quiet);
    }
    assert_eq!(
        score(Some(&current(Status::Expired)), 0.9, at(0), &policy),
        Verdict::Publish
    );
}

#[test]
fn an_unlikely_one_expires_after_the_off_delay_only() {
    let policy = Policy {
        clear_after_s: 3600.0,
        ..Policy::default()
    };
    let one = current(Status::New);
    let Verdict::Revise { status, below_since } = score(Some(&one), 0.1, at(0), &policy) else {
        panic!()
    };
    assert_eq!((status, below_since), (Status::New, Some(at(0))));
    let one = Current { below_since, ..one };
    assert_eq!(
        score(Some(&one), 0.1, at(3599), &policy),
        Verdict::Revise {
            status: Status::New,
            below_since
        }
    );
    assert_eq!(
        score(Some(&one), 0.1, at(3600), &policy),
        Verdict::Revise {
            status: Status::Expired,
            below_since
        }
    );
    // One likely score in between begins the wait again.
    assert_eq!(
        score(Some(&one), 0.2, at(3600), &policy),
        Verdict::Revise {
            status: Status::New,
            below_since: None
        }
    );
}

#[test]
fn a_snoozed_one_wakes_by_itself() {
    let policy = Policy::default();
    let status_of =
        |one: &Current, probability, second| match score(Some(one), probability, at(second), &policy) {
            Verdict::Revise { status, .. } => status,
            other => panic!("{other:?}"),
        };
    let until = Current {
        snoozed_until: Some(at(100)),
        ..current(Status::Snoozed)
    };
    assert_eq!(status_of(&until, 0.9, 99), Status::Snoozed);
    assert_eq!(status_of(&until, 0.9, 100), Status::New);
    assert_eq!(
        status_of(
            &Current {
                claimed: true,
                ..until
            },
            0.9,
            100
        ),
        Status::InReview
    );
    let above = Current {
        snooze_above: Some(0.7),
        ..current(Status::Snoozed)
    };
    assert_eq!(status_of(&above, 0.7, 0), Status::Snoozed);
    assert_eq!(status_of(&above, 0.71, 0), Status::New);
}

#[test]
fn a_dismissal_is_respected_until_it_is_clearly_worse() {
    let policy = Policy {
        respect_dismissal_s: 1000.0,
        worse_by: 0.2,
        ..Policy::default()
    };
    let dismissed = Current {
        closed_at: Some(at(0)),
        ..current(Status::Dismissed)
    };
    assert_eq!(score(Some(&dismissed), 0.6, at(999), &policy), Verdict::Quiet);
    assert_eq!(score(Some(&dismissed), 0.7, at(999), &policy), Verdict::Publish);
    assert_eq!(score(Some(&dismissed), 0.6, at(1000), &policy), Verdict::Publish);
    // Nothing is likelier than certain: a dismissed 0.95 must not silence a 1.0.
    let high = Current {
        peak_probability: 0.95,
        ..dismissed
    };
    assert_eq!(score(Some(&high), 1.0, at(1), &policy), Verdict::Publish);
}

#[test]
fn the_clock_wakes_and_ends_what_waits() {
    use Lapse::{HorizonOver, Woke};
    let until = Some(at(100));
    // (status, until, until shutdown, stands still, now) -> lapse. The horizon ends at 1000.
    for (status, until, shutdown, still, now, expect) in [
        (Status::Snoozed, until, false, false, 99, None),
        (Status::Snoozed, until, false, false, 100, Some(Woke)),
        (Status::Snoozed, None, true, false, 999, None),
        (Status::Snoozed, None, true, true, 10, Some(Woke)),
        (Status::Snoozed, None, false, true, 10, None),
        (Status::New, None, false, true, 999, None),
        (Status::New, None, false, false, 1000, Some(HorizonOver)),
        (Status::InReview, None, false, false, 1000, Some(HorizonOver)),
        (Status::Snoozed, until, false, false, 1000, Some(HorizonOver)),
        (Status::Accepted, None, false, false, 9999, None),
        (Status::Attached, None, false, false, 9999, None),
        (Status::Dismissed, None, false, false, 9999, None),
        (Status::Expired, None, false, false, 9999, None),
    ] {
        assert_eq!(
            lapse(status, until, shutdown, still, at(1000), at(now)),
            expect,
            "{status:?} {now}"
        );
    }
}

#[test]
fn a_failure_labels_by_what_people_had_done() {
    for status in Status::ALL {
        let expect = match status {
            Status::Accepted | Status::Attached => None,
            Status::Dismissed | Status::Expired => Some(Label::MissedAfterDismissal),
            _ => Some(Label::ConfirmedFailed),
        };
        assert_eq!(label_by_failure(status, false), expect, "{status:?}");
        assert!(label_by_failure(status, true).is_some(), "{status:?}");
    }
    for label in Label::ALL {
        assert_eq!(Label::parse(label.name()), Some(label));
    }
    assert!(!Label::FalseNegative.is_by_person() && Label::NoFaultFound.is_by_person());
}

#[test]
fn a_snooze_until_the_shutdown_has_an_end() {
    let action = Action::Snooze {
        until: None,
        above: None,
        shutdown: true,
    };
    assert_eq!(act(Status::New, &action, at(0)), Ok(Status::Snoozed));
}

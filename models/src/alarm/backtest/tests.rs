use super::*;
use crate::alarm::{Params, Severity};
use crate::id::{AlarmRuleId, AssetId, ChannelId, TenantId};

fn rule() -> Rule {
    Rule {
        id: AlarmRuleId::new(),
        tenant: TenantId::new(),
        asset: AssetId::new(),
        channel: Some(ChannelId(1)),
        name: "test".into(),
        kind: Kind::High,
        limit: 10.0,
        deadband: 0.0,
        on_delay_s: 0.0,
        off_delay_s: 0.0,
        min_samples: 1,
        severity: Severity::Serious,
        failure_mode: None,
        makes_ticket: true,
        latched: false,
        params: Params {
            flap_crossings: 32,
            ..Params::default()
        },
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(1_750_000_000 + seconds)
}

/// One sample every ten seconds.
fn run(rule: &Rule, policy: Policy, values: impl Iterator<Item = f64>) -> Report {
    let mut backtest = Backtest::new(rule, policy);
    for (index, value) in values.enumerate() {
        backtest.push(at(index as i64 * 10), value, Quality::Good);
    }
    backtest.finish()
}

const DAY: usize = 8640;

#[test]
fn it_counts_what_the_machine_does_and_what_dispatch_would() {
    // An hour beyond the limit at noon of days 1, 2 and 9, and a blip of one sample on day 4.
    let values = (0..12 * DAY).map(|index| {
        let (day, step) = (index / DAY, index % DAY);
        let hour = (4320..4680).contains(&step) && [1, 2, 9].contains(&day);
        if hour || (day == 4 && step == 100) {
            12.0
        } else {
            5.0
        }
    });
    let rule = Rule {
        on_delay_s: 30.0,
        ..rule()
    };
    let report = run(&rule, Policy::default(), values);
    assert_eq!((report.fired, report.tickets, report.pended_only), (3, 2, 1));
    assert!((report.days - 12.0).abs() < 0.01, "{}", report.days);
    // The second one came 24 hours later: the ticket was just done.
    let made: Vec<bool> = report.firings.iter().map(|firing| firing.ticket).collect();
    assert_eq!(made, [true, false, true]);
    assert!(
        report.firings[1].why.contains("cool-down"),
        "{}",
        report.firings[1].why
    );
    assert_eq!(report.firings[0].active_at, at(((DAY + 4320) * 10 + 30) as i64));
    assert_eq!(report.firings[0].cleared_at, Some(at(((DAY + 4680) * 10) as i64)));
    assert!(
        report
            .summary
            .contains("fired 3 times in 12.0 days and made 2 tickets"),
        "{}",
        report.summary
    );
    let share = 3.0 * 3570.0 / (12.0 * 86_400.0);
    assert!(
        (report.active_share - share).abs() < 1e-4,
        "{}",
        report.active_share
    );
}

#[test]
fn an_alarm_that_outlasts_the_cool_down_makes_its_ticket_and_one_that_is_raised_still_counts() {
    let policy = Policy {
        work_h: 1.0,
        cool_down_h: 2.0,
        ..Policy::default()
    };
    let values = (0..DAY).map(|index| if !(100..600).contains(&index) { 12.0 } else { 5.0 });
    let report = run(&rule(), policy, values);
    assert_eq!((report.fired, report.tickets), (2, 2));
    assert_eq!(report.firings[1].cleared_at, None);
}

#[test]
fn the_proposal_takes_the_chatter_and_leaves_the_fault() {
    // Noise around 9.9 that crosses the limit of 10 all the time, and one real excursion of two hours.
    let mut seed = 7_u64;
    let mut noise = move || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((seed >> 33) as f64 / f64::from(1_u32 << 31) - 0.5) * 0.4
    };
    let values = (0..5 * DAY).map(move |index| {
        let fault = (3 * DAY..3 * DAY + 720).contains(&index);
        let drift = if index % 2000 < 100 { 9.95 } else { 9.0 };
        noise() + if fault { 14.0 } else { drift }
    });
    let report = run(&rule(), Policy::default(), values);
    let proposal = report.proposal.expect("there is enough history");
    assert!(report.fired > 50, "{}", report.fired);
    assert!((1..5).contains(&proposal.fired), "{proposal:?}");
    assert!(proposal.deadband > 0.2 && proposal.deadband < 1.0, "{proposal:?}");
    assert!(proposal.on_delay_s <= 7200.0 / 4.0);
    assert_eq!(proposal.cadence_s, 10.0);
    // What is proposed does what it says when it is tried.
    let better = Rule {
        deadband: proposal.deadband,
        on_delay_s: proposal.on_delay_s,
        off_delay_s: proposal.off_delay_s,
        ..rule()
    };
    let mut seed = 7_u64;
    let values = (0..5 * DAY).map(move |index| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let noise = ((seed >> 33) as f64 / f64::from(1_u32 << 31) - 0.5) * 0.4;
        let fault = (3 * DAY..3 * DAY + 720).contains(&index);
        noise
            + if fault {
                14.0
            } else if index % 2000 < 100 {
                9.95
            } else {
                9.0
            }
    });
    assert_eq!(run(&better, Policy::default(), values).fired, proposal.fired);
}

#[test]
fn no_history_is_said_and_nothing_is_proposed_from_little() {
    let report = run(&rule(), Policy::default(), std::iter::empty());
    assert_eq!((report.samples, report.fired, report.proposal), (0, 0, None));
    assert!(report.summary.contains("no history"), "{}", report.summary);
    let mut backtest_rule = rule();
    backtest_rule.makes_ticket = false;
    let report = run(
        &backtest_rule,
        Policy::default(),
        [5.0, 12.0, 12.0, 5.0].into_iter(),
    );
    assert_eq!((report.fired, report.tickets, report.proposal), (1, 0, None));
    assert_eq!(report.firings[0].why, "the rule informs only");
}

#[test]
fn two_digits_round_up() {
    for (value, rounded) in [
        (0.437_18, 0.44),
        (12.3, 13.0),
        (0.0, 0.0),
        (f64::NAN, 0.0),
        (0.001_01, 0.001_1),
    ] {
        assert!((two_digits(value) - rounded).abs() < 1e-9, "{value}");
    }
}

#[test]
fn silence_is_looked_at_as_the_assessment_does() {
    let rule = Rule {
        kind: Kind::NoData,
        limit: 300.0,
        on_delay_s: 120.0,
        ..rule()
    };
    let mut backtest = Backtest::new(&rule, Policy::default());
    let heard = [0, 60, 120, 500, 560, 4000, 4060];
    for pair in heard.windows(2) {
        backtest.heard(at(pair[0]), at(pair[1]));
    }
    let report = backtest.finish();
    // 380 s of silence are over before the delay; 3440 s are not.
    assert_eq!((report.fired, report.pended_only), (1, 1), "{report:?}");
    assert_eq!(report.firings[0].cleared_at, Some(at(4000)));
    assert!((report.firings[0].active_at.seconds_since(at(560)) - 421.0).abs() < 1e-6);
}

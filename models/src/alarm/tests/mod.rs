use super::*;
use crate::id::{AlarmRuleId, AssetId, ChannelId, TenantId};
use crate::reading::Quality;
use crate::time::Timestamp;

mod any_samples;
mod condition;
mod kinds;
mod people;

fn rule(kind: Kind) -> Rule {
    Rule {
        id: AlarmRuleId::new(),
        tenant: TenantId::new(),
        asset: AssetId::new(),
        channel: Some(ChannelId(1)),
        name: "test".into(),
        kind,
        limit: 10.0,
        deadband: 2.0,
        on_delay_s: 20.0,
        off_delay_s: 30.0,
        min_samples: 2,
        severity: Severity::Serious,
        failure_mode: None,
        makes_ticket: true,
        latched: false,
        params: Params::default(),
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(1_750_000_000 + seconds)
}

/// Feeds (seconds, value) and tells every change.
fn feed(rule: &Rule, samples: &[(i64, f64)]) -> (Machine, Vec<(i64, Change)>) {
    let mut machine = Machine::default();
    let mut changes = Vec::new();
    for (seconds, value) in samples {
        let (next, transition) = machine.step(rule, at(*seconds), *value, Quality::Good);
        machine = next;
        changes.extend(transition.map(|transition| (*seconds, transition.change)));
    }
    (machine, changes)
}

/// A machine in each state, by the samples that bring it there; the last sample is at 100 s.
fn in_state(condition: Condition) -> Vec<(i64, f64)> {
    match condition {
        Condition::Inactive => vec![(100, 1.0)],
        Condition::Pending => vec![(90, 11.0), (100, 11.0)],
        Condition::Active => vec![(70, 11.0), (90, 11.0), (100, 11.0)],
        Condition::Clearing => vec![(60, 11.0), (80, 11.0), (100, 1.0)],
    }
}

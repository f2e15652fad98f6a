//! Alarms that need a model: the value each rule is judged by. Judging itself is the pure machine of
//! `models::alarm`, the same one that ingest uses for limits.

use models::alarm::{Kind, Machine, Rule};
use models::assessment::Assessment;
use models::id::ChannelId;
use models::reading::Quality;
use models::time::Timestamp;

use crate::detect::Detection;

/// Horizon of `probability_above`.
const HORIZON_H: i32 = 720;

/// Rules with a value to judge. A rule whose value isn't known (no baseline yet, no life data) is left
/// as it stands: not knowing neither raises an alarm nor clears one.
pub fn samples(
    rules: Vec<(Rule, Machine)>,
    assessment: &Assessment,
    detection: Option<&Detection>,
    newest: &[(ChannelId, Timestamp)],
    now: Timestamp,
) -> Vec<(Rule, Machine, (Timestamp, f64, Quality))> {
    let at = assessment.window_end;
    let value = |rule: &Rule| match rule.kind {
        Kind::HealthBelow => Some((at, assessment.health)),
        Kind::ProbabilityAbove => assessment.p_within(HORIZON_H).map(|entry| (at, entry.p)),
        Kind::Deviation => {
            let channel = rule.channel?;
            detection?
                .channels
                .iter()
                .find(|verdict| verdict.channel == channel)
                .map(|verdict| (at, verdict.anomaly))
        }
        Kind::NoData => {
            let channel = rule.channel?;
            // Silence is measured by the clock; a channel that never spoke is not silent but unknown.
            newest
                .iter()
                .find(|(id, _)| *id == channel)
                .map(|(_, last)| (now, now.seconds_since(*last)))
        }
        Kind::High | Kind::Low | Kind::Rate | Kind::Stuck => None,
    };
    rules
        .into_iter()
        .filter_map(|(rule, machine)| {
            let (at, value) = value(&rule)?;
            Some((rule, machine, (at, value, Quality::Good)))
        })
        .collect()
}

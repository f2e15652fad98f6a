//! From what was read to what it means. Pure.

use models::alarm::{Machine, Rule};
use models::artifact::{Card, Envelope};
use models::assessment::Assessment;
use models::db::assessment::{AssetFacts, Features, NO_MODEL, Previous};
use models::reading::Quality;
use models::time::Timestamp;
use serde_json::Value;

use super::CODE_VERSION;
use super::load::{Inputs, Model};
use crate::advise::{Situation, advise};
use crate::alarms;
use crate::detect::baseline::ChannelBaseline;
use crate::detect::{Baseline, Detection, detect};
use crate::features::{LONG, NAMES};
use crate::health::{self, Kind, Reason, severity};
use crate::prognosis::{self, LifeFacts};

/// What a pass found, ready to be written.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its `model` is the stored one's, or to be filled in when `learned` is written.
    pub assessment: Assessment,
    pub previous: Option<Previous>,
    pub learned: Option<(Envelope, Card)>,
    pub features: Features,
    /// Rules with the value each is to be judged by.
    pub judged: Vec<(Rule, Machine, (Timestamp, f64, Quality))>,
}

/// # Errors
/// When features can't be computed or the model can't be sealed.
pub fn compute(inputs: Inputs) -> anyhow::Result<Outcome> {
    let Inputs {
        facts,
        modes,
        lives,
        model,
        window,
        newest,
        rules,
        previous,
        now,
    } = inputs;
    let mut notes = Vec::new();
    let (model_id, baseline, learned) = match model {
        Model::Stored(id, baseline) => (id, Some(*baseline), None),
        Model::Learn { window, provisional } => {
            match Baseline::learn(&window) {
                Ok(baseline) => {
                    let sealed = (Envelope::seal(&baseline)?, baseline.card(provisional));
                    if provisional {
                        notes.push(format!(
                            "the baseline is provisional: {} of history so far",
                            health::duration(window.hours(window.steps))
                        ));
                    }
                    (NO_MODEL, Some(baseline), Some(sealed))
                }
                Err(error) => {
                    notes.push(error.to_string());
                    notes.push("baselines of the class are not used yet: life data, usage and alarms alone are judged".to_owned());
                    (NO_MODEL, None, None)
                }
            }
        }
    };
    let detection = baseline
        .as_ref()
        .map(|baseline| detect(baseline, &window))
        .transpose()?;
    let life = life_facts(&facts, lives, &window.end);
    let prognosis = prognosis::prognose(
        &life,
        &modes,
        detection.as_ref().map(|detection| (detection, &window)),
    );
    let mut reasons = detection.as_ref().map(health::reasons).unwrap_or_default();
    reasons.extend(prognosis.reasons);
    reasons.extend(register_reasons(&facts));
    let health = health::index(reasons);
    notes.extend(
        detection
            .iter()
            .flat_map(|detection| detection.notes.iter().cloned()),
    );
    notes.extend(prognosis.notes);
    let coverage = window.coverage(LONG);
    if coverage < 0.8 {
        notes.push(format!(
            "only {:.0} % of the expected readings of the last {} came",
            coverage * 100.0,
            health::duration(window.hours(LONG.min(window.steps)))
        ));
    }
    let advice = advise(&Situation {
        at: window.end,
        health: health.value,
        p_fail: &prognosis.p_fail,
        rul: prognosis.rul,
        mode: prognosis.mode.map(|place| &modes[place]),
        downtime_cost_per_h: facts.downtime_cost_per_h,
    });
    let assessment = Assessment {
        tenant: facts.tenant_id,
        asset: facts.asset_id,
        model: model_id,
        window_start: window.start(),
        window_end: window.end,
        assessed_at: now,
        health: health.value,
        anomaly: detection.as_ref().map(|detection| detection.anomaly),
        coverage,
        freshness_s: now.seconds_since(window.end).max(0.0),
        failure_mode: prognosis.mode.map(|place| modes[place].id),
        p_fail: prognosis.p_fail,
        rul: prognosis.rul,
        factors: health.factors,
        advice,
        notes,
        code_version: CODE_VERSION.to_owned(),
    };
    let features = detection
        .as_ref()
        .zip(baseline.as_ref())
        .map(|(d, b)| features(d, &b.channels, &facts))
        .unwrap_or_default();
    let judged = alarms::samples(rules, &assessment, detection.as_ref(), &newest, now);
    Ok(Outcome {
        assessment,
        previous,
        learned,
        features,
        judged,
    })
}

fn life_facts(facts: &AssetFacts, lives: Vec<crate::reliability::Life>, at: &Timestamp) -> LifeFacts {
    let since_new_h = facts
        .installed_at
        .map(|installed| at.seconds_since(installed) / 3600.0)
        .filter(|hours| *hours > 0.0);
    let since_failure_h = facts
        .last_failure_at
        .map(|failed| at.seconds_since(failed) / 3600.0);
    let (age, in_use) = match (facts.running_h.filter(|hours| *hours > 0.0), since_new_h) {
        (Some(running), since_new) => {
            // A meter that counted more than the calendar allows (a replay, a wrong date) is believed.
            let in_use = since_new.map_or(1.0, |hours| (running / hours).clamp(0.01, 1.0));
            let running = match (facts.running_h_at_failure, since_failure_h) {
                (Some(at_failure), _) => (running - at_failure).max(0.0),
                (None, Some(hours)) => (hours * in_use).min(running),
                (None, None) => running,
            };
            (Some((running, "hour meter")), in_use)
        }
        (None, since_new) => {
            let hours = match (since_failure_h, since_new) {
                (Some(failure), _) => Some((failure, "date of the last failure")),
                (None, Some(new)) => Some((new, "date of installation")),
                (None, None) => None,
            };
            (hours, 1.0)
        }
    };
    LifeFacts {
        class: facts.class_name.clone(),
        shape: facts.weibull_shape,
        scale_h: facts.weibull_scale_h,
        lives,
        age,
        in_use,
    }
}

/// What the register knows: usage, alarms, error events.
fn register_reasons(facts: &AssetFacts) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut push = |kind, name: &str, severity: f64, value: f64, expected: Option<f64>, text: String| {
        if severity > 0.0 {
            reasons.push(Reason {
                kind,
                name: name.to_owned(),
                severity,
                value: Some(value),
                expected,
                channel: None,
                text,
            });
        }
    };
    if let Some(used) = facts.plan_use {
        push(
            Kind::Usage,
            "meter use",
            severity(Kind::Usage, used, 1.0, 0.25),
            used,
            Some(1.0),
            format!(
                "{} is overdue: {:.0} % of its interval are used",
                facts.plan_name.as_deref().unwrap_or("a plan"),
                used * 100.0
            ),
        );
    }
    let weight = 3.0 * facts.alarms_critical as f64
        + 1.5 * facts.alarms_serious as f64
        + 0.7 * facts.alarms_warning as f64;
    let alarms = facts.alarms_critical + facts.alarms_serious + facts.alarms_warning;
    push(
        Kind::Alarm,
        "alarms",
        severity(Kind::Alarm, weight, 0.0, 2.0),
        alarms as f64,
        Some(0.0),
        format!(
            "{alarms} limit {} active",
            if alarms == 1 { "alarm is" } else { "alarms are" }
        ),
    );
    push(
        Kind::Errors,
        "error events",
        severity(Kind::Errors, facts.errors_24h as f64, 2.0, 5.0),
        facts.errors_24h as f64,
        Some((facts.errors_7d - facts.errors_24h).max(0) as f64 / 6.0),
        format!("{} error events within 24 h", facts.errors_24h),
    );
    reasons
}

/// The features of the window's end by name, for the feature table.
fn features(detection: &Detection, channels: &[ChannelBaseline], facts: &AssetFacts) -> Features {
    let mut features = Features::new();
    let number = |value: Option<f64>| {
        value
            .and_then(serde_json::Number::from_f64)
            .map_or(Value::Null, Value::Number)
    };
    for (channel, series) in &detection.features {
        for name in NAMES {
            features.insert(format!("{channel}.{name}"), number(series.latest(name)));
        }
    }
    debug_assert_eq!(detection.features.len(), channels.len());
    features.insert(
        "regime".to_owned(),
        number(detection.regime.map(|regime| regime as f64)),
    );
    features.insert("errors_24h".to_owned(), number(Some(facts.errors_24h as f64)));
    features.insert("errors_7d".to_owned(), number(Some(facts.errors_7d as f64)));
    features.insert("running_h".to_owned(), number(facts.running_h));
    features
}

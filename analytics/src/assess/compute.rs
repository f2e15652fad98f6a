//! From what was read to what it means. Pure.

use std::fmt::Write as _;
use std::sync::Arc;

use models::alarm::{Machine, Rule};
use models::artifact::{Card, Envelope};
use models::assessment::Assessment;
use models::db::assessment::{AssetFacts, FeatureRow, NO_MODEL, Previous};
use models::id::ModelVersionId;
use models::reading::Quality;
use models::time::Timestamp;
use serde_json::json;

use super::CODE_VERSION;
use super::load::{ClassFacts, Inputs, Model};
use crate::advise::{Situation, advise};
use crate::alarms;
use crate::detect::{Baseline, Detection, judge};
use crate::features::{LONG, NAMES, SHORT, SeriesFeatures};
use crate::health::{self, Kind, Reason, severity};
use crate::learn;
use crate::prognosis::{self, LifeFacts};
use crate::window::Window;

/// What a pass found, ready to be written.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its `model` is the stored one's, or to be filled in when `learned` is written.
    pub assessment: Assessment,
    pub previous: Option<Previous>,
    pub learned: Option<(Envelope, Card)>,
    pub features: Option<FeatureRow>,
    /// Rules with the value each is to be judged by.
    pub judged: Vec<(Rule, Machine, (Timestamp, f64, Quality))>,
}

impl Outcome {
    /// What was not assessed since the pass before: from its window's end to this one's.
    pub fn gap(&self) -> Option<(Timestamp, Timestamp)> {
        let from = match (&self.learned, self.previous) {
            (_, Some(previous)) => Some(previous.window_end),
            (Some((_, card)), None) => Some(card.data_to),
            (None, None) => None,
        };
        from.map(|from| (from, self.assessment.window_end))
    }
}

/// # Errors
/// When features can't be computed or the model can't be sealed.
pub fn compute(inputs: Inputs) -> anyhow::Result<Outcome> {
    compute_many(vec![inputs])
        .pop()
        .unwrap_or_else(|| Err(anyhow::anyhow!("nothing was computed")))
}

/// An asset on its way: its baseline is there, its features not yet.
struct Begun {
    inputs: Inputs,
    model: ModelVersionId,
    baseline: Option<Arc<Baseline>>,
    learned: Option<(Envelope, Card)>,
    notes: Vec<String>,
}

/// As [`compute`] for several assets, whose features are computed in one table. In their order.
pub fn compute_many(inputs: Vec<Inputs>) -> Vec<anyhow::Result<Outcome>> {
    let begun: Vec<anyhow::Result<Begun>> = inputs.into_iter().map(begin).collect();
    let machines: Vec<(&Baseline, &Window)> = begun
        .iter()
        .flatten()
        .filter_map(|begun| Some((begun.baseline.as_deref()?, &begun.inputs.window)))
        .collect();
    let mut features = match Baseline::features_of(&machines, SHORT) {
        Ok(features) => features.into_iter(),
        Err(error) => {
            let text = format!("{error:#}");
            return begun
                .iter()
                .map(|_| Err(anyhow::anyhow!("features: {text}")))
                .collect();
        }
    };
    begun
        .into_iter()
        .map(|begun| {
            let begun = begun?;
            let own = begun.baseline.is_some().then(|| features.next()).flatten();
            finish(begun, own)
        })
        .collect()
}

fn begin(mut inputs: Inputs) -> anyhow::Result<Begun> {
    let mut notes = Vec::new();
    let (model, baseline, learned) = match std::mem::replace(&mut inputs.model, Model::None) {
        Model::None => (NO_MODEL, None, None),
        Model::Stored(id, baseline) => (id, Some(baseline), None),
        Model::Borrowed(baseline) => {
            let sealed = (Envelope::seal(&*baseline)?, baseline.card(false));
            (NO_MODEL, Some(baseline), Some(sealed))
        }
        Model::Learn { window, provisional } => match Baseline::learn(&window) {
            Ok(mut baseline) => {
                baseline.provisional = provisional;
                let sealed = (Envelope::seal(&baseline)?, baseline.card(provisional));
                (NO_MODEL, Some(Arc::new(baseline)), Some(sealed))
            }
            Err(error) => {
                notes.push(error.to_string());
                notes.push(format!(
                    "cold start: nothing is compared with a healthy past yet; probabilities rest on class {} alone",
                    inputs.facts.class_name
                ));
                (NO_MODEL, None, None)
            }
        },
    };
    if let Some(baseline) = baseline.as_ref().filter(|baseline| baseline.provisional) {
        notes.push(format!(
            "the baseline is provisional: {} of history so far",
            health::duration(baseline.steps as f64 * baseline.step_s as f64 / 3600.0)
        ));
    }
    if let Some(borrowed) = baseline.as_ref().and_then(|baseline| baseline.borrowed.as_ref()) {
        notes.push(format!(
            "compared with {} others of class {}: its own past is too short yet to say what is usual for it",
            borrowed.assets, borrowed.class
        ));
    }
    Ok(Begun {
        inputs,
        model,
        baseline,
        learned,
        notes,
    })
}

fn finish(begun: Begun, features: Option<Vec<SeriesFeatures>>) -> anyhow::Result<Outcome> {
    let Begun {
        inputs,
        model,
        baseline,
        learned,
        mut notes,
    } = begun;
    let Inputs {
        facts,
        class,
        model: _,
        window,
        newest,
        rules,
        previous,
        now,
    } = inputs;
    let modes = &class.modes;
    let detection = baseline
        .as_deref()
        .zip(features)
        .map(|(baseline, features)| judge(baseline, &window, features));
    let life = life_facts(&facts, &class, &window.end);
    let row = detection.as_ref().map(|detection| vector(detection, &window));
    let foreseen = row.as_ref().and_then(|row| {
        let row = learn::named(row, &facts, window.end);
        let mut foreseen = class.failure_model.as_ref().map(|(_, model)| model.foresee(&row));
        if let Some((_, model)) = &class.life_model {
            match model.foresee(&row) {
                Ok(left) => foreseen.get_or_insert_default().life = Some(left),
                Err(note) => notes.push(note),
            }
        }
        foreseen
    });
    let prognosis = prognosis::prognose(
        &life,
        modes,
        detection.as_ref().map(|detection| (detection, &window)),
        foreseen.as_ref(),
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
    let features = row.map(|row| FeatureRow {
        tenant: facts.tenant_id,
        asset: facts.asset_id,
        window_start: window.start(),
        window_end: window.end,
        features: json_text(&row, &facts, window.end, detection.as_ref()),
    });
    let mut inputs = json!({
        "facts": facts,
        "window": format!("{:016x}", window.digest()),
        "class": format!("{:016x}", class_digest(&class)),
        "step_s": window.step_s,
        "steps": window.steps,
    });
    if let Some((id, model)) = &class.life_model {
        (inputs["life_model"], inputs["life_cap_h"]) = (json!(id), json!(model.cap_h));
    }
    let assessment = Assessment {
        tenant: facts.tenant_id,
        asset: facts.asset_id,
        model,
        failure_model: class.failure_model.as_ref().map(|(id, _)| *id),
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
        inputs: Some(inputs),
    };
    let judged = alarms::samples(rules, &assessment, detection.as_ref(), &newest, now);
    Ok(Outcome {
        assessment,
        previous,
        learned,
        features,
        judged,
    })
}

/// A number that changes when what is known of the class does: its lives and its failure modes.
pub(super) fn class_digest(class: &ClassFacts) -> u64 {
    let mut digest = crate::stats::Digest::default();
    for life in class.lives.lives() {
        digest.number(life.age());
        digest.word(u64::from(life.is_failure()));
    }
    digest.text(&serde_json::to_string(&class.modes).unwrap_or_default());
    digest.value()
}

/// The features at the window's end: a channel's name and its numbers in the order of [`NAMES`], as
/// precise as they are stored.
fn vector(detection: &Detection, window: &Window) -> Vec<(String, Vec<f64>)> {
    detection
        .features
        .iter()
        .map(|(channel, features)| {
            let name = window
                .series
                .iter()
                .find(|series| series.channel.id == *channel)
                .map_or_else(|| channel.to_string(), |series| series.channel.name.clone());
            let numbers = NAMES
                .iter()
                .map(|name| features.latest(name).map_or(f64::NAN, learn::stored))
                .collect();
            (name, numbers)
        })
        .collect()
}

/// The row of the feature table. Written by hand: it is most of what a pass writes.
fn json_text(
    row: &[(String, Vec<f64>)],
    facts: &AssetFacts,
    at: Timestamp,
    detection: Option<&Detection>,
) -> String {
    let mut text = String::with_capacity(64 + row.len() * (16 + NAMES.len() * 11));
    text.push('{');
    for (name, numbers) in row {
        let _ = write!(text, "{}:[", serde_json::Value::from(name.as_str()));
        for (place, number) in numbers.iter().enumerate() {
            if place > 0 {
                text.push(',');
            }
            if number.is_finite() {
                let _ = write!(text, "{}", *number as f32);
            } else {
                text.push_str("null");
            }
        }
        text.push_str("],");
    }
    let regime = detection.and_then(|detection| detection.regime);
    let regime = regime.map_or_else(|| "null".to_owned(), |regime| regime.to_string());
    let _ = write!(text, "\"regime\":{regime}");
    for (name, value) in learn::asset_features(facts, at) {
        match value.filter(|value| value.is_finite()) {
            Some(value) => {
                let _ = write!(text, ",\"{name}\":{}", value as f32);
            }
            None => {
                let _ = write!(text, ",\"{name}\":null");
            }
        }
    }
    text.push('}');
    text
}

fn life_facts(facts: &AssetFacts, class: &ClassFacts, at: &Timestamp) -> LifeFacts {
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
        lives: class.lives.clone(),
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

#[cfg(test)]
mod tests {
    use models::db::assessment::ClassRow;
    use models::id::{AssetClassId, AssetId, TenantId};
    use proptest::prelude::*;

    use super::*;
    use crate::learn::data;

    fn facts(running_h: Option<f64>, maintained: Option<Timestamp>) -> AssetFacts {
        let facts = json!({
            "asset_id": AssetId::new(), "tenant_id": TenantId::new(), "name": "P-1", "class_id": AssetClassId::new(),
            "class_name": "pump", "status": "operational", "running_h": running_h, "running_h_at_failure": 12.7,
            "last_maintenance_at": maintained, "alarms_critical": 0, "alarms_serious": 0, "alarms_warning": 0,
            "errors_24h": 3, "errors_7d": 9,
        });
        serde_json::from_value(facts).unwrap()
    }

    proptest! {
        /// A model is learned from rows that went through the database and asked with rows that didn't: they are the same.
        #[test]
        fn training_reads_what_serving_saw_to_the_bit(
            numbers in prop::collection::vec(prop::option::of(any::<f64>()), 2 * NAMES.len()),
            running_h in prop::option::of(0.0..1e7),
            since_h in prop::option::of(0.0..1e5),
        ) {
            let at = Timestamp::from_secs(1_772_323_200);
            let facts = facts(running_h, since_h.map(|hours: f64| at.plus_seconds(-hours * 3600.0)));
            let row: Vec<(String, Vec<f64>)> = ["a \"quoted\" name", "b"]
                .into_iter()
                .zip(numbers.chunks(NAMES.len()))
                .map(|(name, numbers)| {
                    let stored = |number: &Option<f64>| number.map_or(f64::NAN, learn::stored);
                    (name.to_owned(), numbers.iter().map(stored).collect())
                })
                .collect();
            let text = json_text(&row, &facts, at, None);
            let kept = ClassRow {
                asset_id: facts.asset_id,
                window_end: at,
                features: serde_json::from_str(&text).unwrap(),
            };
            let rows = data::rows(&[kept], Vec::new(), at).unwrap();
            let served = rows.layout.vector(&learn::named(&row, &facts, at));
            prop_assert_eq!(served.len(), 2 * NAMES.len() + 5);
            for ((name, served), trained) in rows.layout.names().iter().zip(&served).zip(rows.x.row(0)) {
                let nothing = !served.is_finite() && !trained.is_finite();
                prop_assert!(nothing || served.to_bits() == trained.to_bits(), "{}: {} {}", name, served, trained);
            }
            let since = rows.layout.names().iter().position(|name| name == "hours_since_maintenance").unwrap();
            prop_assert_eq!(served[since].is_finite(), since_h.is_some());
        }
    }
}

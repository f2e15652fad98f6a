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
use crate::learn::{self, cause};
use crate::prognosis::{self, LifeFacts};
use crate::window::Window;

/// A meter that first showed less than this share of what the machine must have run was fitted later.
const FITTED_LATER: f64 = 0.1;

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
    let mut prognosis = prognosis::prognose(
        &life,
        modes,
        detection.as_ref().map(|detection| (detection, &window)),
        foreseen.as_ref(),
    );
    let known = cause::Known {
        causes: &class.causes,
        life: &life,
        modes,
        likeliest: prognosis.mode,
        foreseen: foreseen.as_ref(),
    };
    cause::split(&mut prognosis.p_fail, known);
    let mut reasons = detection.as_ref().map(health::reasons).unwrap_or_default();
    reasons.append(&mut prognosis.reasons);
    reasons.extend(register_reasons(&facts));
    let health = health::index(reasons);
    notes.extend(
        detection
            .iter()
            .flat_map(|detection| detection.notes.iter().cloned()),
    );
    notes.append(&mut prognosis.notes);
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
        prognosis: &prognosis,
        life: &life,
        modes,
        facts: &facts,
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
    for mode in class.causes.modes() {
        digest.text(&mode.map_or_else(String::new, |mode| mode.to_string()));
    }
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

/// How old it is, in running hours where a meter says how much of the calendar it runs. Age begins when it was new, when
/// it last failed, or when it was replaced in time; a meter that was fitted later has not seen all of it.
fn life_facts(facts: &AssetFacts, class: &ClassFacts, at: &Timestamp) -> LifeFacts {
    let hours = |from: Timestamp| at.seconds_since(from) / 3600.0;
    // A meter that didn't move, or has no past yet, says nothing about use.
    let in_use = facts.in_use.map_or(1.0, |rate| rate.clamp(0.01, 1.0));
    let running = facts.running_h.filter(|hours| *hours > 0.0);
    let began = [
        (
            facts.last_failure_at,
            facts.running_h_at_failure,
            "date of the last failure",
        ),
        (
            facts.renewed_at,
            facts.running_h_at_renewal,
            "date of the last replacement",
        ),
    ]
    .into_iter()
    .filter_map(|(at, running, words)| Some((at?, running, words)))
    .max_by_key(|(at, ..)| *at);
    let age = match (began, running) {
        (Some((_, Some(then), _)), Some(now)) => Some(((now - then).max(0.0), "hour meter")),
        (Some((since, ..)), Some(_)) if facts.in_use.is_some() => Some((hours(since) * in_use, "hour meter")),
        (Some((since, _, words)), _) => Some((hours(since), words)),
        (None, Some(now)) => Some((now + unmetered_h(facts, in_use), "hour meter")),
        (None, None) => facts
            .installed_at
            .map(hours)
            .filter(|hours| *hours > 0.0)
            .map(|hours| (hours, "date of installation")),
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

/// Running hours before the meter was fitted, at the use it has shown since; none where it was there all the time, which
/// it says itself by what it showed at first.
fn unmetered_h(facts: &AssetFacts, in_use: f64) -> f64 {
    let (Some(new), Some(from), Some(showed)) =
        (facts.installed_at, facts.metered_from, facts.metered_from_h)
    else {
        return 0.0;
    };
    let expected = from.seconds_since(new) / 3600.0 * in_use;
    if showed < FITTED_LATER * expected {
        expected - showed
    } else {
        0.0
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

    /// Age in running hours and hours of running for each of the calendar, of a machine installed 8,000 hours ago.
    #[track_caller]
    fn check_age(change: serde_json::Value, age_h: f64, from: &str, in_use: f64) {
        let at = Timestamp::from_secs(1_772_323_200);
        let hours_ago = |hours: f64| json!(at.plus_seconds(-hours * 3600.0));
        let mut object = serde_json::to_value(facts(None, None)).unwrap();
        object["running_h_at_failure"] = serde_json::Value::Null;
        object["installed_at"] = hours_ago(8000.0);
        for (name, value) in change.as_object().unwrap() {
            object[name] = match (name.ends_with("_at") || name == "metered_from", value.as_f64()) {
                (true, Some(hours)) => hours_ago(hours),
                _ => value.clone(),
            };
        }
        let class = ClassFacts {
            modes: Vec::new(),
            lives: Arc::default(),
            causes: Arc::default(),
            failure_model: None,
            life_model: None,
        };
        let life = life_facts(&serde_json::from_value(object).unwrap(), &class, &at);
        let (age, words) = life.age.unwrap();
        assert!((age - age_h).abs() < 1e-6, "{change}: {age}");
        assert_eq!((words, life.in_use), (from, in_use), "{change}");
    }

    #[test]
    fn age_begins_anew_and_a_meter_knows_only_what_it_has_seen() {
        check_age(json!({}), 8000.0, "date of installation", 1.0);
        // It stands at 0: nobody knows how much it runs.
        check_age(json!({ "running_h": 0.0 }), 8000.0, "date of installation", 1.0);
        let late = json!({ "running_h": 100.0, "in_use": 0.5, "metered_from": 200.0, "metered_from_h": 0.0 });
        check_age(late, 4000.0, "hour meter", 0.5);
        let dial =
            json!({ "running_h": 3500.0, "in_use": 0.5, "metered_from": 200.0, "metered_from_h": 3400.0 });
        check_age(dial, 3500.0, "hour meter", 0.5);
        let failed = json!({ "running_h": 3500.0, "in_use": 0.5, "last_failure_at": 600.0, "running_h_at_failure": 3250.0 });
        check_age(failed, 250.0, "hour meter", 0.5);
        let before = json!({ "running_h": 100.0, "in_use": 0.5, "metered_from": 200.0, "metered_from_h": 0.0, "last_failure_at": 600.0 });
        check_age(before, 300.0, "hour meter", 0.5);
        let renewed = json!({ "last_failure_at": 600.0, "renewed_at": 90.0 });
        check_age(renewed, 90.0, "date of the last replacement", 1.0);
        check_age(
            json!({ "last_failure_at": 60.0, "renewed_at": 90.0 }),
            60.0,
            "date of the last failure",
            1.0,
        );
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

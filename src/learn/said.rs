//! An assessment as text.

use std::fmt::Write as _;

use analytics::health::duration;
use models::assessment::{Assessment, percent};
use models::db::assessment::{self as db, NO_MODEL};
use sqlx::PgConnection;

/// The versions of models that the assessment names, in words.
///
/// # Errors
/// When the database does.
pub async fn versions(
    connection: &mut PgConnection,
    assessment: &Assessment,
) -> Result<Vec<String>, sqlx::Error> {
    let own = (assessment.model != NO_MODEL).then_some(assessment.model);
    let mut versions = Vec::new();
    for id in [own, assessment.failure_model, assessment.life_model()]
        .into_iter()
        .flatten()
    {
        versions.push(match db::model_get(connection, id).await? {
            Some(row) => format!("{} version {} ({id})", row.name, row.version),
            None => id.to_string(),
        });
    }
    Ok(versions)
}

/// What `forewarn assess` prints: the index and what lowers it, what is to be expected, what to do about it, and what all
/// of it rests on.
pub fn text(assessment: &Assessment, versions: &[String]) -> String {
    let mut text = String::new();
    let a = assessment;
    let _ = writeln!(text, "health {:.0}, window to {}", a.health, a.window_end);
    for factor in &a.factors {
        let _ = writeln!(text, "  -{:.1}  {}", factor.penalty, factor.text);
    }
    for p in &a.p_fail {
        let _ = writeln!(
            text,
            "  fails within {} h: {} % ({} to {} %): {}",
            p.horizon_h,
            percent(p.p),
            percent(p.low),
            percent(p.high),
            p.basis
        );
    }
    if let Some(rul) = a.rul {
        let far = rul
            .p90_h
            .map_or_else(|| "open".to_owned(), |p90| format!("{p90:.0} h"));
        let more = if a.life_is_beyond() { "more than " } else { "" };
        let _ = if rul.p50_h <= 0.0 {
            writeln!(text, "  left: nothing, a limit is passed")
        } else {
            writeln!(
                text,
                "  left: {more}{:.0} h ({:.0} h to {far})",
                rul.p50_h, rul.p10_h
            )
        };
    }
    advice(&mut text, a);
    for note in &a.notes {
        let _ = writeln!(text, "  note: {note}");
    }
    let _ = writeln!(
        text,
        "  rests on {:.0} % of the expected readings, the newest {} old when it was assessed",
        a.coverage * 100.0,
        duration(a.freshness_s / 3600.0)
    );
    let models = if versions.is_empty() {
        "no model yet".to_owned()
    } else {
        versions.join(", ")
    };
    let _ = writeln!(text, "  by {models}; code {}", a.code_version);
    text
}

fn advice(text: &mut String, a: &Assessment) {
    let advice = &a.advice;
    match (&advice.text, &advice.action) {
        (Some(words), _) => {
            let _ = writeln!(text, "  advice: {words}");
        }
        (None, Some(action)) => {
            let _ = writeln!(text, "  advice: {action}");
        }
        (None, None) => {}
    }
    for option in &advice.options {
        let at = option.at.map_or_else(String::new, |at| format!(" at {at}"));
        let before = option
            .p_before
            .filter(|p| *p > 0.0)
            .map_or_else(String::new, |p| format!(", fails before with {} %", percent(p)));
        let _ = writeln!(
            text,
            "    {}{at}: costs {:.0} ({:.0} to {:.0}){before}",
            option.action, option.cost, option.cost_low, option.cost_high
        );
    }
    if let Some(by) = advice.by {
        let _ = writeln!(text, "    before {by}");
    }
}

#[cfg(test)]
mod tests {
    use models::assessment::{Advice, AdviceOption, FailureProbability, RemainingLife};
    use models::id::{AssetId, TenantId};
    use models::time::Timestamp;

    use super::*;

    #[test]
    fn everything_that_an_assessment_rests_on_is_said() {
        let at: Timestamp = "2026-03-10T00:00:00Z".parse().unwrap();
        let assessment = Assessment {
            tenant: TenantId::new(),
            asset: AssetId::new(),
            model: NO_MODEL,
            failure_model: None,
            window_start: at,
            window_end: at,
            assessed_at: at,
            health: 12.0,
            anomaly: None,
            coverage: 0.42,
            freshness_s: 7200.0,
            failure_mode: None,
            p_fail: vec![FailureProbability {
                horizon_h: 720,
                p: 0.9,
                low: 0.0,
                high: 0.9995,
                basis: "a limit".to_owned(),
                modes: Vec::new(),
            }],
            rul: Some(RemainingLife {
                p10_h: 0.0,
                p50_h: 0.0,
                p90_h: Some(0.0),
            }),
            factors: Vec::new(),
            advice: Advice {
                action: Some("now".to_owned()),
                text: Some("work on filter now".to_owned()),
                options: vec![AdviceOption {
                    action: "now".to_owned(),
                    at: None,
                    cost: 100.0,
                    cost_low: 90.0,
                    cost_high: 110.0,
                    p_before: Some(0.0),
                }],
                by: Some(at),
                ..Advice::default()
            },
            notes: vec!["a note".to_owned()],
            code_version: "0.1.0".to_owned(),
            inputs: None,
        };
        let said = text(&assessment, &["baseline version 3 (x)".to_owned()]);
        for words in [
            "fails within 720 h: 90 % (<0.1 to >99.9 %)",
            "left: nothing, a limit is passed",
            "advice: work on filter now",
            "now: costs 100 (90 to 110)",
            "before 2026-03-10",
            "42 % of the expected readings, the newest 2 h old",
            "by baseline version 3 (x); code 0.1.0",
            "note: a note",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(text(&assessment, &[]).contains("by no model yet"));
    }
}

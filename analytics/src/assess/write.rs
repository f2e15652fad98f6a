//! What a pass writes: the model if it is new, features, assessment, alarms, and who should hear of it.

use models::alarm::Rule;
use models::assessment::Assessment;
use models::asset::HealthGrade;
use models::db::alarm::Watch;
use models::db::assessment::{self as db, Features, NO_MODEL, NewModel};
use models::db::outbox;
use models::time::Timestamp;
use serde_json::json;
use sqlx::PgConnection;

use super::CODE_VERSION;
use super::compute::Outcome;
use super::load::BASELINE;
use crate::config::Config;
use crate::metrics;

/// Points that health must move by to be news without crossing a border.
const NEWS_POINTS: f64 = 5.0;

/// Writes everything within the caller's transaction.
///
/// # Errors
/// When the database does.
pub async fn write(
    connection: &mut PgConnection,
    outcome: Outcome,
    config: &Config,
) -> Result<Assessment, sqlx::Error> {
    let Outcome {
        mut assessment,
        previous,
        learned,
        features,
        judged,
    } = outcome;
    if let Some((artifact, card)) = &learned {
        let scope = assessment.asset.to_string();
        let model = NewModel {
            tenant: assessment.tenant,
            name: BASELINE,
            scope: &scope,
            artifact,
            card,
            code_version: CODE_VERSION,
        };
        let (id, version) = db::insert_champion(connection, &model).await?;
        tracing::info!(asset = %assessment.asset, model = %id, version, steps = card.rows, "learned a baseline");
        metrics::baseline_learned();
        assessment.model = id;
    } else if assessment.model == NO_MODEL {
        db::ensure_no_model(connection, CODE_VERSION).await?;
    }
    store(connection, &assessment, &features, config).await?;
    if previous.is_none_or(|previous| is_news(previous.health, assessment.health)) {
        let data = json!({
            "health": assessment.health,
            "before": previous.map(|previous| previous.health),
            "top_factor": assessment.factors.first().map(|factor| &factor.text),
            "at": assessment.window_end,
        });
        let subject = assessment.asset.to_string();
        outbox::append(
            connection,
            assessment.tenant,
            "asset.health_changed",
            &subject,
            Some(assessment.asset),
            &data,
        )
        .await?;
    }
    if !judged.is_empty() {
        // Without a failure mode of its own a rule takes the one the assessment found.
        let rules: Vec<Rule> = judged
            .iter()
            .map(|(rule, ..)| Rule {
                failure_mode: rule.failure_mode.or(assessment.failure_mode),
                ..rule.clone()
            })
            .collect();
        let mut watches: Vec<Watch<'_>> = rules
            .iter()
            .zip(judged)
            .map(|(rule, (_, machine, sample))| Watch {
                rule,
                machine,
                samples: vec![sample],
            })
            .collect();
        let done = models::db::alarm::evaluate(connection, &mut watches, Timestamp::MIN, "analytics").await?;
        metrics::alarms(done.raised, done.cleared);
    }
    crate::predict::publish(connection, &assessment, config).await?;
    Ok(assessment)
}

/// The rows alone, without telling anybody: for windows of the past.
///
/// # Errors
/// When the database does.
pub async fn store(
    connection: &mut PgConnection,
    assessment: &Assessment,
    features: &Features,
    config: &Config,
) -> Result<(), sqlx::Error> {
    db::write_assessment(connection, assessment).await?;
    if !features.is_empty() {
        let whose = (assessment.tenant, assessment.asset);
        let window = (assessment.window_start, assessment.window_end);
        db::write_features(connection, whose, window, features, config.features_every_s).await?;
    }
    Ok(())
}

fn is_news(before: f64, after: f64) -> bool {
    (before - after).abs() >= NEWS_POINTS || HealthGrade::of(before) != HealthGrade::of(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_five_points_or_a_border() {
        for (before, after, news) in [
            (90.0, 86.0, false),
            (90.0, 85.0, true),
            (80.5, 79.5, true),
            (20.0, 24.0, false),
        ] {
            assert_eq!(is_news(before, after), news, "{before} {after}");
        }
    }
}

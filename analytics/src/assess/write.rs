//! What a pass writes: the model if it is new, features, assessment, alarms, and who should hear of it.

use std::collections::HashMap;

use models::alarm::Rule;
use models::assessment::Assessment;
use models::asset::HealthGrade;
use models::db::alarm::Watch;
use models::db::assessment::{self as db, FeatureRow, NO_MODEL, NewModel};
use models::db::outbox;
use models::id::AssetId;
use models::time::Timestamp;
use serde_json::json;
use sqlx::PgConnection;

use super::CODE_VERSION;
use super::compute::Outcome;
use super::load::BASELINE;
use crate::config::Config;
use crate::metrics;
use crate::predict::{HORIZON_H, publish};

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
    let mut written = write_many(connection, vec![outcome], config).await?;
    written.pop().ok_or(sqlx::Error::RowNotFound)
}

/// As [`write`] for several assets, each at most once. In their order.
///
/// # Errors
/// When the database does; then nothing of it may be committed.
pub async fn write_many(
    connection: &mut PgConnection,
    mut outcomes: Vec<Outcome>,
    config: &Config,
) -> Result<Vec<Assessment>, sqlx::Error> {
    for outcome in &mut outcomes {
        let assessment = &mut outcome.assessment;
        if let Some((artifact, card)) = &outcome.learned {
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
    }
    let rows: Vec<&Assessment> = outcomes.iter().map(|outcome| &outcome.assessment).collect();
    db::write_assessments(connection, &rows).await?;
    let features: Vec<FeatureRow> = outcomes
        .iter_mut()
        .filter_map(|outcome| outcome.features.take())
        .collect();
    if !features.is_empty() {
        db::write_features(connection, &features, config.features_every_s).await?;
    }
    let assets: Vec<AssetId> = outcomes.iter().map(|outcome| outcome.assessment.asset).collect();
    let mut open: HashMap<AssetId, Vec<_>> = HashMap::new();
    for (asset, mode, probability) in db::open_predictions(connection, &assets, HORIZON_H).await? {
        open.entry(asset).or_default().push((mode, probability));
    }
    let mut written = Vec::with_capacity(outcomes.len());
    for Outcome {
        assessment,
        previous,
        judged,
        ..
    } in outcomes
    {
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
            let done =
                models::db::alarm::evaluate(connection, &mut watches, Timestamp::MIN, "analytics").await?;
            metrics::alarms(done.raised, done.cleared);
        }
        let open = open.remove(&assessment.asset).unwrap_or_default();
        publish(connection, &assessment, &open, config).await?;
        written.push(assessment);
    }
    Ok(written)
}

/// The rows alone, without telling anybody: for windows of the past.
///
/// # Errors
/// When the database does.
pub async fn store(
    connection: &mut PgConnection,
    outcome: &Outcome,
    config: &Config,
) -> Result<(), sqlx::Error> {
    db::write_assessments(connection, &[&outcome.assessment]).await?;
    if let Some(features) = &outcome.features {
        db::write_features(
            connection,
            std::slice::from_ref(features),
            config.features_every_s,
        )
        .await?;
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

//! Predictions: when an assessment is worth a planner's look.

use models::assessment::Assessment;
use models::db::prediction::{self, Score, Scored};
use models::prediction::Policy;
use models::time::Timestamp;
use serde_json::json;
use sqlx::PgConnection;

use crate::config::Config;

/// Horizon of a prediction, hours.
pub const HORIZON_H: i32 = 720;

/// Whether the remaining life is so short that a planner has to know, however sure the probability is.
fn is_short(assessment: &Assessment, config: &Config) -> bool {
    assessment
        .rul
        .is_some_and(|rul| rul.p50_h < config.prediction_life_days * 24.0)
}

/// Whether the probability or the remaining life calls for a planner.
pub fn is_due(assessment: &Assessment, config: &Config) -> bool {
    let likely = assessment
        .p_within(HORIZON_H)
        .is_some_and(|entry| entry.p >= config.prediction_probability);
    likely || is_short(assessment, config)
}

/// Publishes the prediction of an assessment, revises the one there is, or lets it expire. An
/// assessment that knows no probability says nothing either way.
///
/// # Errors
/// When the database does.
pub async fn publish(
    connection: &mut PgConnection,
    assessment: &Assessment,
    _now: Timestamp,
    config: &Config,
) -> Result<(), sqlx::Error> {
    let Some(within) = assessment.p_within(HORIZON_H) else {
        return Ok(());
    };
    let publish_at = if is_due(assessment, config) {
        within.p
    } else {
        config.prediction_probability
    };
    let clear_below = if is_short(assessment, config) {
        0.0
    } else {
        config.prediction_probability / 2.0
    };
    let policy = Policy {
        publish_at,
        clear_below,
        ..Policy::default()
    };
    let rul = assessment.rul;
    let score = Score {
        tenant: assessment.tenant,
        asset: assessment.asset,
        failure_mode: assessment.failure_mode,
        horizon_h: HORIZON_H,
        probability: within.p,
        low: within.low,
        high: within.high,
        rul_h: [
            rul.map(|rul| rul.p10_h),
            rul.map(|rul| rul.p50_h),
            rul.and_then(|rul| rul.p90_h),
        ],
        factors: json!(assessment.factors),
        model_version: assessment.model,
        window_end: assessment.window_end,
    };
    if let Scored::Published(id) = prediction::score(connection, &score, &policy, "analytics").await? {
        tracing::info!(prediction = %id, asset = %assessment.asset, probability = within.p, "a failure is predicted");
        ::metrics::counter!("forewarn_analytics_predictions_total").increment(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use models::assessment::{Advice, FailureProbability, RemainingLife};
    use models::db::Role;
    use models::db::fixture::Plant;
    use models::db::testing::TestDatabase;
    use models::id::ModelVersionId;
    use models::prediction::Status;

    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_secs(1_750_000_000 + hours * 3600)
    }

    #[tokio::test]
    async fn an_assessment_becomes_one_prediction_and_takes_it_back() {
        let database = TestDatabase::new().await;
        let plant = Plant::new(&database.owner, "one").await;
        let model = ModelVersionId::new();
        sqlx::query(
            "INSERT INTO model_version (id, name, scope, version, status, artifact, card, code_version, trained_from, trained_to)
             VALUES ($1, 'failure_probability', 'test', 1, 'champion', '{}', '{}', 'test', now(), now())",
        )
        .bind(model)
        .execute(&database.owner)
        .await
        .unwrap();
        let asset = plant.machine("P-1").await.asset;
        let assessment = |hours: i64, p: f64, life_h: Option<f64>| Assessment {
            tenant: plant.tenant,
            asset,
            model,
            window_start: at(hours - 24),
            window_end: at(hours),
            assessed_at: at(hours),
            health: 60.0,
            anomaly: None,
            coverage: 1.0,
            freshness_s: 0.0,
            failure_mode: None,
            p_fail: vec![FailureProbability {
                horizon_h: HORIZON_H,
                p,
                low: p / 2.0,
                high: p,
                basis: String::new(),
            }],
            rul: life_h.map(|p50_h| RemainingLife {
                p10_h: p50_h / 2.0,
                p50_h,
                p90_h: None,
            }),
            factors: vec![],
            advice: Advice::default(),
            notes: vec![],
            code_version: "test".into(),
        };
        let pool = database.pool(Role::Analytics);
        let config = Config {
            prediction_probability: 0.5,
            prediction_life_days: 7.0,
            ..Config::default()
        };
        let mut seen = Vec::new();
        for (hours, p, life) in [
            (0, 0.4, None),        // not likely enough
            (1, 0.2, Some(100.0)), // a short life alone is enough
            (2, 0.6, None),        // revised
            (3, 0.1, None),        // unlikely: the wait begins
            (8, 0.1, None),
            (9, 0.1, None), // six hours later it is gone
        ] {
            let mut tx = pool.begin().await.unwrap();
            publish(&mut tx, &assessment(hours, p, life), at(hours), &config)
                .await
                .unwrap();
            tx.commit().await.unwrap();
            let rows: Vec<(Status, i32)> = sqlx::query_as("SELECT status, revision FROM prediction")
                .fetch_all(&database.owner)
                .await
                .unwrap();
            seen.push(rows);
        }
        let one = |status, revision| vec![(status, revision)];
        assert_eq!(
            seen,
            [
                vec![],
                one(Status::New, 1),
                one(Status::New, 2),
                one(Status::New, 3),
                one(Status::New, 4),
                one(Status::Expired, 5)
            ]
        );
        pool.close().await;
        database.drop_now().await;
    }
}

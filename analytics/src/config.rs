//! Configuration, section `[analytics]`.

use serde::{Deserialize, Serialize};

use crate::dispatch;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Seconds between two assessments of an asset; an alarm brings the next one forward.
    pub interval_s: f64,
    /// Passes within the shortest P-F interval of an asset's failure modes; slow ones are looked at less
    /// often than every `interval_s`, but at least every `most_interval_s`.
    pub passes_per_pf: f64,
    pub most_interval_s: f64,
    /// Batches of assets that are assessed at the same time by this process, and assets of a batch.
    pub workers: usize,
    pub batch: usize,
    /// Mebibytes for windows that are kept between passes; 0 = every pass reads its whole window.
    pub cache_mib: usize,
    /// Days of history that a baseline may be looked for in.
    pub history_days: f64,
    /// Hours of an asset's first history that are taken as healthy. `baseline_hours` among an asset's
    /// attributes wins over it.
    pub baseline_hours: f64,
    /// Seconds between two stored rows of features of an asset.
    pub features_every_s: f64,
    /// Windows of the past that are assessed when much history came at once.
    pub fill_points: usize,
    /// Probability of failing within 30 days from which a prediction is shown to planners.
    pub prediction_probability: f64,
    /// Remaining life (median, days) below which a prediction is shown to planners.
    pub prediction_life_days: f64,
    /// Seconds between two steps of meters and maintenance plans.
    pub meter_every_s: f64,
    /// Seconds between two looks of the dispatcher at what waits; news wake it at once.
    pub dispatch_every_s: f64,
    /// When an alarm or a prediction makes a ticket.
    pub dispatch: dispatch::Config,
    /// Days between two trainings of a class's models, the days of features it learns from, and
    /// days between two looks at drift.
    pub train_every_days: f64,
    pub train_days: f64,
    pub drift_every_days: f64,
    /// Promote a candidate that is better than the champion without asking anybody.
    pub promote: bool,
    /// Days that every assessment is kept; older ones are thinned to one an hour.
    pub keep_all_days: f64,
    /// Days that the thinned ones are kept.
    pub keep_days: f64,
    /// Seconds between two rounds of the rollups' refresher.
    pub rollup_every_s: f64,
    /// Seconds after its end that an hour is rolled up: what comes later is late and refreshed.
    pub rollup_delay_s: f64,
    /// How long readings and rollups are kept.
    pub retention: Retention,
}

/// Section `[analytics.retention]`: for tenants without a policy of their own. Days; 0 = for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    pub raw_days: u16,
    pub minute_days: u16,
    pub hour_days: u16,
    /// Age from which chunks of readings are compressed, where the edition can; 0 = never.
    pub compress_after_days: u16,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            raw_days: 0,
            minute_days: 0,
            hour_days: 0,
            compress_after_days: 30,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval_s: 60.0,
            passes_per_pf: 20_000.0,
            most_interval_s: 3600.0,
            workers: 2,
            batch: 64,
            cache_mib: 400,
            history_days: 90.0,
            baseline_hours: 48.0,
            features_every_s: 600.0,
            fill_points: 48,
            prediction_probability: 0.5,
            prediction_life_days: 7.0,
            meter_every_s: 15.0,
            dispatch_every_s: 5.0,
            dispatch: dispatch::Config::default(),
            train_every_days: 7.0,
            train_days: 365.0,
            drift_every_days: 1.0,
            promote: true,
            keep_all_days: 2.0,
            keep_days: 730.0,
            rollup_every_s: 10.0,
            rollup_delay_s: 300.0,
            retention: Retention::default(),
        }
    }
}

impl Config {
    /// # Errors
    /// Names the key that has a value nothing can work with.
    pub fn check(&self) -> anyhow::Result<()> {
        let positive = [
            ("interval_s", self.interval_s),
            ("passes_per_pf", self.passes_per_pf),
            ("most_interval_s", self.most_interval_s),
            ("train_every_days", self.train_every_days),
            ("train_days", self.train_days),
            ("drift_every_days", self.drift_every_days),
            ("history_days", self.history_days),
            ("baseline_hours", self.baseline_hours),
            ("meter_every_s", self.meter_every_s),
            ("dispatch_every_s", self.dispatch_every_s),
            ("keep_all_days", self.keep_all_days),
            ("keep_days", self.keep_days),
            ("rollup_every_s", self.rollup_every_s),
            ("rollup_delay_s", self.rollup_delay_s),
        ];
        for (key, value) in positive {
            anyhow::ensure!(
                value.is_finite() && value > 0.0,
                "analytics.{key} = {value}: it must be above 0"
            );
        }
        anyhow::ensure!(
            self.features_every_s >= 0.0,
            "analytics.features_every_s must not be negative"
        );
        anyhow::ensure!(
            (1..=64).contains(&self.workers),
            "analytics.workers = {}: 1 to 64 are possible",
            self.workers
        );
        anyhow::ensure!(
            (1..=1000).contains(&self.batch),
            "analytics.batch = {}: 1 to 1000 are possible",
            self.batch
        );
        let p = self.prediction_probability;
        anyhow::ensure!(
            p > 0.0 && p <= 1.0,
            "analytics.prediction_probability = {p}: it must be above 0 and at most 1"
        );
        let Retention {
            raw_days,
            minute_days,
            hour_days,
            ..
        } = self.retention;
        for (key, days) in [("minute_days", minute_days), ("hour_days", hour_days)] {
            anyhow::ensure!(
                days == 0 || (raw_days > 0 && days >= raw_days),
                "analytics.retention.{key} = {days}: rollups are not kept shorter than readings (raw_days = {raw_days}; 0 = for ever)"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_good_and_wrong_keys_are_refused() {
        Config::default().check().unwrap();
        let error = serde_json::from_str::<Config>(r#"{"interval": 3}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `interval`"), "{error}");
        let error = Config {
            workers: 0,
            ..Config::default()
        }
        .check()
        .unwrap_err();
        assert!(error.to_string().contains("analytics.workers"), "{error}");
    }
}

//! How machines fail: severity over time.

use models::time::Timestamp;
use serde::Deserialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Vibration and bearing temperature grow, first slowly, then exponentially.
    BearingWear,
    /// Flow and discharge pressure are lost.
    SealLeak,
    /// Efficiency is lost: more current, higher approach and oil temperature.
    Fouling,
    /// The filter's differential pressure grows, flow falls a little.
    FilterClogging,
}

/// One failure mode on its way.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wear {
    pub mode: Mode,
    /// Days from the first start; negative = in the past.
    pub onset_days: f64,
    /// Days from the onset to functional failure.
    pub full_days: f64,
}

impl Wear {
    /// 0 before the onset, 1 at functional failure, at most 1.25.
    pub fn severity(&self, at: Timestamp, first_start: Timestamp) -> f64 {
        let share = (at.seconds_since(first_start) / 86_400.0 - self.onset_days) / self.full_days;
        if share <= 0.0 {
            return 0.0;
        }
        let severity = match self.mode {
            // e^3 from end to end: half of it in the last quarter of the time.
            Mode::BearingWear => ((3.0 * share).exp() - 1.0) / (3.0_f64.exp() - 1.0),
            Mode::SealLeak => share.powf(1.5),
            Mode::Fouling => share,
            Mode::FilterClogging => share.powf(2.0),
        };
        severity.min(1.25)
    }
}

/// Severities of all modes at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Severities {
    pub bearing: f64,
    pub leak: f64,
    pub fouling: f64,
    pub clogging: f64,
}

impl Severities {
    pub fn at(wear: &[Wear], at: Timestamp, first_start: Timestamp) -> Self {
        let mut all = Self::default();
        for one in wear {
            let severity = one.severity(at, first_start);
            let slot = match one.mode {
                Mode::BearingWear => &mut all.bearing,
                Mode::SealLeak => &mut all.leak,
                Mode::Fouling => &mut all.fouling,
                Mode::FilterClogging => &mut all.clogging,
            };
            *slot = slot.max(severity);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_grows_from_onset_to_failure() {
        let start = Timestamp::from_secs(0);
        for mode in [
            Mode::BearingWear,
            Mode::SealLeak,
            Mode::Fouling,
            Mode::FilterClogging,
        ] {
            let wear = Wear {
                mode,
                onset_days: -2.0,
                full_days: 4.0,
            };
            let at = |days: f64| wear.severity(start.plus_seconds(days * 86_400.0), start);
            assert_eq!(at(-2.0), 0.0);
            assert!(at(0.0) > 0.0 && at(0.0) < at(1.0));
            assert!((at(2.0) - 1.0).abs() < 1e-9);
            assert_eq!(at(100.0), 1.25);
        }
    }
}

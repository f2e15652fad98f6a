//! How long repairs take, and what share of the time is left.

use serde::Serialize;

use crate::reliability::Estimate;
use crate::reliability::availability::{availability_bounds, inherent_availability, mttr};

use super::{Args, Said};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Repairs {
    pub repairs: usize,
    /// Failures with and without a known repair.
    pub failures: usize,
    pub mttr_h: Said<Estimate>,
    /// MTBF / (MTBF + MTTR): ages count operation, and nothing but failures stops it.
    pub availability: Said<Estimate>,
}

/// Hours in a unit of age.
fn hours(unit: &str) -> Option<f64> {
    match unit.to_ascii_lowercase().as_str() {
        "h" | "hour" | "hours" => Some(1.0),
        "d" | "day" | "days" => Some(24.0),
        "w" | "week" | "weeks" => Some(168.0),
        "min" | "minute" | "minutes" => Some(1.0 / 60.0),
        "s" | "second" | "seconds" => Some(1.0 / 3600.0),
        _ => None,
    }
}

/// `repairs` in hours; `exposure` in the unit of the ages.
pub fn look(repairs: &[f64], failures: usize, exposure: f64, args: &Args) -> Repairs {
    let c = args.confidence;
    let found = if repairs.is_empty() {
        Said::not("no repair with its time is known")
    } else {
        Said::of(mttr(repairs, c)).map(|(value, bounds)| Estimate {
            value,
            low: bounds.low,
            high: bounds.high,
        })
    };
    let availability = match (&found, hours(&args.unit)) {
        (Said::Not { why }, _) => Said::not(why),
        (Said::Found(_), None) => Said::not(&format!(
            "ages are in {} and repairs in hours; --unit h, min, s, d or w makes them comparable",
            args.unit
        )),
        (Said::Found(_), Some(_)) if failures == 0 => Said::not("no failure was observed"),
        (Said::Found(mttr), Some(hours)) => {
            let mtbf = exposure * hours / failures as f64;
            // Bounds rest on the fewer of failures and repairs.
            let cycles = repairs.len().min(failures);
            let n = cycles as f64;
            Said::of(availability_bounds(mtbf * n, mttr.value * n, cycles, c)).map(|bounds| Estimate {
                value: inherent_availability(mtbf, mttr.value),
                low: bounds.low,
                high: bounds.high,
            })
        }
    };
    Repairs {
        repairs: repairs.len(),
        failures,
        mttr_h: found,
        availability,
    }
}

//! Time stamps as JSON writes them.

use serde_json::Value;

use super::TimeFormat;
use crate::time::Timestamp;

/// Numbers from here on are milliseconds: as seconds they would lie in the year 5138.
const MILLIS_FROM: f64 = 1e11;

/// Microseconds since 1970; finer digits are cut off. `None` = no time in this format.
pub fn read(value: &Value, format: TimeFormat) -> Option<i64> {
    match (format, value) {
        (TimeFormat::Auto | TimeFormat::Rfc3339, Value::String(text)) => {
            text.parse::<Timestamp>().ok().map(Timestamp::micros)
        }
        (TimeFormat::Rfc3339, _) => None,
        (_, Value::Number(number)) => {
            let (times, divided) = match format {
                TimeFormat::UnixS => (1_000_000, 1),
                TimeFormat::UnixMs => (1_000, 1),
                TimeFormat::UnixUs => (1, 1),
                TimeFormat::UnixNs => (1, 1_000),
                _ if number.as_f64()?.abs() >= MILLIS_FROM => (1_000, 1),
                _ => (1_000_000, 1),
            };
            // Whole numbers stay whole: a double has no room for microseconds of today.
            if let Some(whole) = number.as_i64() {
                return whole.checked_mul(times).map(|micros| micros.div_euclid(divided));
            }
            let micros = number.as_f64()? * times as f64 / divided as f64;
            (micros.abs() < 9e18).then_some(micros.round() as i64)
        }
        // Numbers in quotes, where the format leaves no doubt what they count.
        (TimeFormat::Auto, _) => None,
        (_, Value::String(text)) => {
            let number: serde_json::Number = text.trim().parse().ok()?;
            read(&Value::Number(number), format)
        }
        _ => None,
    }
}

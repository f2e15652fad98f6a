//! A snapshot of vibration on `…/{device}/{channel}`: its features become channels below that name.
//!
//! | key | meaning |
//! |---|---|
//! | `samples`, `rate_hz` | the signal |
//! | `unit`, `ts`, `quality` | as of one value; `ts` is when it was taken |
//! | `shaft_hz`, `bearing` | turns a second, and geometry: `rolling_elements`, `element_diameter`, `pitch_diameter`, `contact_angle` |
//!
//! `{channel}/rms`, `/peak`, `/crest`, `/skewness`, `/kurtosis`, `/mean`, `/band_1` to `/band_4`, and with a bearing
//! `/ftf`, `/bpfo`, `/bpfi`, `/bsf` ([`models::vibration`]). The samples themselves are not stored.

use models::vibration::{BearingGeometry, Snapshot};
use serde_json::{Map, Value};

use super::json::{Place, wrong_shape};
use super::{Columns, Undecodable};

const KEYS: [&str; 7] = [
    "samples", "rate_hz", "shaft_hz", "bearing", "unit", "ts", "quality",
];

/// Puts the features of `object` into `columns`; `at` says where it stands in the payload.
pub(super) fn read(
    columns: &mut Columns,
    place: &Place<'_>,
    object: &Map<String, Value>,
    at: &str,
) -> Result<(), Undecodable> {
    if let Some(key) = object.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(malformed(format!(
            "{at}/{key}: unknown key of a snapshot; expected {}",
            KEYS.join(", ")
        )));
    }
    let samples = samples(object.get("samples").unwrap_or(&Value::Null), at)?;
    let rate_hz = number(object, "rate_hz", at)?
        .ok_or_else(|| malformed(format!("{at}/rate_hz is missing: samples a second")))?;
    let snapshot = Snapshot::new(&samples, rate_hz).map_err(|e| malformed(format!("{at}/samples: {e}")))?;
    let mut push = |name: &str, unit: Option<&str>, value: f64| {
        let channel = format!("{}/{name}", place.channel);
        columns.push(place.device, &channel, unit, place.ts, value, place.quality);
    };
    for (name, value, of_signal) in snapshot.features().named() {
        push(name, if of_signal { place.unit } else { Some("1") }, value);
    }
    let bearing = match object.get("bearing") {
        None | Some(Value::Null) => return Ok(()),
        Some(value) => serde_json::from_value::<BearingGeometry>(value.clone())
            .map_err(|e| malformed(format!("{at}/bearing: {e}")))?,
    };
    let shaft_hz = number(object, "shaft_hz", at)?.ok_or_else(|| {
        malformed(format!(
            "{at}/shaft_hz is missing: a bearing's lines follow the speed"
        ))
    })?;
    let faults = bearing
        .fault_frequencies(shaft_hz)
        .map_err(|e| malformed(format!("{at}/bearing: {e}")))?;
    for (name, value) in snapshot.fault_lines(&faults).named() {
        push(name, Some("1"), value);
    }
    Ok(())
}

fn malformed(detail: String) -> Undecodable {
    Undecodable::new("malformed_json", detail)
}

fn samples(value: &Value, at: &str) -> Result<Vec<f64>, Undecodable> {
    let Value::Array(values) = value else {
        return Err(wrong_shape(
            &format!("{at}/samples"),
            "an array of numbers",
            value,
        ));
    };
    let one = |(i, value): (usize, &Value)| {
        value
            .as_f64()
            .ok_or_else(|| wrong_shape(&format!("{at}/samples/{i}"), "a number", value))
    };
    values.iter().enumerate().map(one).collect()
}

fn number(object: &Map<String, Value>, key: &str, at: &str) -> Result<Option<f64>, Undecodable> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(number) => Ok(Some(number)),
            None => Err(wrong_shape(&format!("{at}/{key}"), "a number", value)),
        },
    }
}

#[cfg(test)]
mod tests {
    use models::time::Timestamp;
    use serde_json::json;

    use super::super::json::decode;

    const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

    fn snapshot(more: serde_json::Value) -> serde_json::Value {
        let samples: Vec<f64> = (0..4096).map(|i| f64::from(i * 7919 % 101) - 50.0).collect();
        let mut all = json!({ "ts": 1_767_225_600, "unit": "[g]", "rate_hz": 20_000, "samples": samples });
        for (key, value) in more.as_object().unwrap() {
            all[key] = value.clone();
        }
        all
    }

    #[test]
    fn its_features_become_channels() {
        let bearing = json!({ "rolling_elements": 16, "element_diameter": 0.331, "pitch_diameter": 2.815, "contact_angle": 15.17 });
        let payload =
            snapshot(json!({ "shaft_hz": 33.3, "bearing": bearing, "quality": "suspect" })).to_string();
        let decoded = decode(payload.as_bytes(), "rig", Some("bearing 1"), NOW).unwrap();
        let found: Vec<(&str, Option<&str>)> = decoded
            .columns
            .iter()
            .map(|column| (column.channel.as_str(), column.unit.as_deref()))
            .collect();
        // 4096 samples tell the cage's 15 Hz from nothing.
        assert_eq!(found.len(), 10 + 3, "{found:?}");
        assert_eq!(found[1], ("bearing 1/rms", Some("[g]")));
        assert_eq!(found[5], ("bearing 1/kurtosis", Some("1")));
        assert_eq!(found[10], ("bearing 1/bpfo", Some("1")));
        assert!(
            decoded
                .columns
                .iter()
                .all(|c| c.ts == [1_767_225_600_000_000] && c.qualities == [1])
        );
        let plain = decode(snapshot(json!({})).to_string().as_bytes(), "rig", Some("a"), NOW).unwrap();
        assert_eq!((plain.columns.len(), plain.rejects.len()), (10, 0));
    }

    #[test]
    fn says_where_and_what() {
        let detail = |more| {
            let payload = snapshot(more).to_string();
            decode(payload.as_bytes(), "rig", Some("a"), NOW)
                .unwrap_err()
                .detail
        };
        assert_eq!(
            detail(json!({ "samples": [1, 2] })),
            "/samples: 2 samples: a snapshot has 64 to 262144"
        );
        assert_eq!(
            detail(json!({ "samples": [1, "x"] })),
            "/samples/1: expected a number, got text \"x\""
        );
        assert_eq!(
            detail(json!({ "rate_hz": null })),
            "/rate_hz is missing: samples a second"
        );
        assert_eq!(
            detail(json!({ "rate_hz": 0 })),
            "/samples: the rate 0 Hz is not above 0"
        );
        let bearing = json!({ "rolling_elements": 9, "element_diameter": 0, "pitch_diameter": 2 });
        assert!(detail(json!({ "bearing": bearing })).starts_with("/shaft_hz is missing"));
        assert_eq!(
            detail(json!({ "bearing": bearing, "shaft_hz": 30 })),
            "/bearing: the element diameter must be above 0, got 0"
        );
        assert!(detail(json!({ "bearing": { "balls": 3 } })).contains("unknown field `balls`"));
        assert!(detail(json!({ "speed": 3 })).starts_with("/speed: unknown key of a snapshot"));
    }
}

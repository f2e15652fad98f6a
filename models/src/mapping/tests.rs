use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: i64 = 1_767_225_600_000_000;

fn mapping(json: serde_json::Value) -> Mapping {
    let mapping: Mapping = serde_json::from_value(json).unwrap();
    mapping.check().unwrap();
    mapping
}

fn read(mapping: &Mapping, topic: &str, payload: &str) -> Result<Mapped, Failure> {
    let (i, captures) = mapping.route(topic).expect("a route for the topic");
    apply(&mapping.routes[i], &captures, topic, payload.as_bytes(), NOW)
}

fn rows(mapping: &Mapping, topic: &str, payload: &str) -> Vec<(String, String, i64, f64)> {
    let mapped = read(mapping, topic, payload).unwrap();
    assert_eq!(mapped.misfits, []);
    mapped
        .readings
        .into_iter()
        .map(|row| (row.device, row.channel, (row.ts - NOW) / 1_000, row.value))
        .collect()
}

fn row(device: &str, channel: &str, ms: i64, value: f64) -> (String, String, i64, f64) {
    (device.into(), channel.into(), ms, value)
}

#[test]
fn pointers_times_and_names_from_the_topic() {
    let mapping = mapping(json!({"routes": [{
        "topic": "plant/+/status/#", "codec": "json", "device": "line-{1}",
        "each": "/samples", "time": {"pointer": "/t", "format": "unix_ms"},
        "values": [
            {"pointer": "/temp/value", "channel": "temperature", "unit": "Cel"},
            {"pointer": "/on"},
            {"pointer": "/axes/*/rms", "channel": "rms {1}"},
        ],
    }]}));
    let payload = r#"{"samples":[
        {"t":1767225600001,"temp":{"value":21.5},"on":true},
        {"t":1767225600002,"temp":{"value":22},"axes":{"x":{"rms":1},"y":{"rms":2}}}]}"#;
    assert_eq!(
        rows(&mapping, "plant/7/status/a/b", payload),
        [
            row("line-7", "temperature", 1, 21.5),
            row("line-7", "on", 1, 1.0),
            row("line-7", "temperature", 2, 22.0),
            row("line-7", "rms x", 2, 1.0),
            row("line-7", "rms y", 2, 2.0),
        ]
    );
    let mapped = read(&mapping, "plant/7/status", payload).unwrap();
    assert_eq!(mapped.readings[0].unit.as_deref(), Some("Cel"));
    assert!(mapping.route("plant/7/other").is_none());
}

#[test]
fn without_values_everything_nested_is_read() {
    let mapping = mapping(json!({"routes": [{
        "topic": "zigbee/+", "codec": "json", "device": "{/id}", "text": "ignore",
        "time": {"pointer": "/at"},
    }]}));
    assert_eq!(
        rows(
            &mapping,
            "zigbee/x",
            r#"{"id":"s1","at":1767225600.5,"a":{"b":[1,2]},"c":true,"name":"text"}"#
        ),
        [
            row("s1", "a.b.0", 500, 1.0),
            row("s1", "a.b.1", 500, 2.0),
            row("s1", "c", 500, 1.0),
        ]
    );
}

#[test]
fn one_value_of_a_topic() {
    let mapping = mapping(json!({"routes": [{
        "topic": "shellies/+/sensor/+", "codec": "json", "device": "{1}", "channel": "{2}", "text": "number",
    }]}));
    let topic = "shellies/plug/sensor/power";
    assert_eq!(rows(&mapping, topic, "12.5"), [row("plug", "power", 0, 12.5)]);
    assert_eq!(
        rows(&mapping, topic, r#""12.5""#),
        [row("plug", "power", 0, 12.5)]
    );
    assert_eq!(
        rows(&mapping, topic, r#"{"value":3}"#),
        [row("plug", "power", 0, 3.0)]
    );
}

#[test]
fn what_does_not_fit_names_its_field() {
    let mapping = mapping(json!({"routes": [{
        "topic": "a", "codec": "json", "device": "{/dev}", "each": "/rows",
        "time": {"pointer": "/t", "format": "unix_ms"},
        "values": [{"pointer": "/v", "required": true}],
    }]}));
    let refused = |payload: &str| {
        let failure = read(&mapping, "a", payload).unwrap_err();
        (failure.reason, failure.detail)
    };
    assert_eq!(refused("{").0, "malformed_json");
    assert_eq!(
        refused("{}"),
        (
            "mapping_misses",
            "/rows: the payload has nothing there (mapping: each)".into()
        )
    );
    assert_eq!(
        refused(r#"{"rows":[{"v":1}]}"#),
        (
            "mapping_misses",
            "/rows/0/t: the payload has no time there".into()
        )
    );
    assert_eq!(
        refused(r#"{"rows":[{"t":"noon","v":1}]}"#),
        (
            "bad_time",
            "/rows/0/t: expected milliseconds since 1970, got text \"noon\"".into()
        )
    );
    assert_eq!(
        refused(r#"{"rows":[{"t":1,"v":1}]}"#),
        (
            "mapping_misses",
            "/rows/0/dev: the payload names no device there".into()
        )
    );
    assert_eq!(
        refused(r#"{"dev":"d","rows":[{"t":1}]}"#),
        (
            "mapping_misses",
            "/rows/0/v: the payload has nothing there, and it is required".into()
        )
    );
    assert_eq!(refused(r#"{"dev":"d","rows":[]}"#).0, "mapping_misses");
    let mapped = read(&mapping, "a", r#"{"dev":"d","t":1,"rows":[{"v":"21,5"}]}"#).unwrap();
    assert_eq!(
        mapped.misfits[0].detail,
        "/rows/0/v: expected a number, true or false, got text \"21,5\""
    );
}

#[test]
fn a_mapping_that_can_not_be_says_where() {
    let wrong = |route: serde_json::Value| {
        let mapping: Mapping = serde_json::from_value(json!({ "routes": [route] })).unwrap();
        mapping.check().unwrap_err().pointer
    };
    assert_eq!(
        wrong(json!({"topic": "a/#/b", "codec": "json"})),
        "/routes/0/topic"
    );
    assert_eq!(
        wrong(json!({"topic": "$SYS/#", "codec": "json"})),
        "/routes/0/topic"
    );
    assert_eq!(
        wrong(json!({"topic": "a", "codec": "sparkplug"})),
        "/routes/0/codec"
    );
    assert_eq!(
        wrong(json!({"topic": "a/+", "codec": "json", "device": "{2}"})),
        "/routes/0/device"
    );
    assert_eq!(
        wrong(json!({"topic": "a", "codec": "influx", "each": "/x"})),
        "/routes/0/each"
    );
    assert_eq!(
        wrong(json!({"topic": "a", "codec": "json", "precision": "ms"})),
        "/routes/0/precision"
    );
    assert_eq!(
        wrong(json!({"topic": "a", "codec": "json", "values": [{"pointer": "x"}]})),
        "/routes/0/values/0/pointer"
    );
    let forbidden: Mapping =
        serde_json::from_value(json!({"protocols": ["native"], "routes": [{"topic": "a", "codec": "json"}]}))
            .unwrap();
    assert_eq!(forbidden.check().unwrap_err().pointer, "/routes/0/codec");
    assert!(serde_json::from_value::<Mapping>(json!({"routs": []})).is_err());
}

#[test]
fn hostile_nesting_is_refused_by_its_place() {
    let mapping = mapping(json!({"routes": [{"topic": "a", "codec": "json"}]}));
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    assert_eq!(read(&mapping, "a", &deep).unwrap_err().reason, "too_deep");
    let deeper = "[".repeat(100_000);
    assert_eq!(read(&mapping, "a", &deeper).unwrap_err().reason, "malformed_json");
    let wide = format!("[{}1]", "1,".repeat(100_000));
    assert_eq!(
        read(&mapping, "a", &wide).unwrap_err().reason,
        "too_many_readings"
    );
}

#[test]
fn times_in_every_format() {
    use serde_json::Value::{Number, String};
    let number = |text: &str| Number(text.parse().unwrap());
    for (value, format, expect) in [
        (number("1767225600"), TimeFormat::Auto, Some(NOW)),
        (number("1767225600000"), TimeFormat::Auto, Some(NOW)),
        (number("1767225600"), TimeFormat::UnixS, Some(NOW)),
        (number("1767225600000000999"), TimeFormat::UnixNs, Some(NOW)),
        (number("-1"), TimeFormat::UnixNs, Some(-1)),
        (String("1767225600000".into()), TimeFormat::UnixMs, Some(NOW)),
        (String("1767225600000".into()), TimeFormat::Auto, None),
        (String("2026-01-01T00:00:00Z".into()), TimeFormat::Auto, Some(NOW)),
        (number("1"), TimeFormat::Rfc3339, None),
        (number("1e300"), TimeFormat::Auto, None),
    ] {
        assert_eq!(read_time(&value, format), expect, "{value} {format:?}");
    }
}

#[test]
fn wildcards_capture() {
    assert_eq!(captures("a/+/b/#", "a/x/b/y/z"), Some(vec!["x", "y/z"]));
    assert_eq!(captures("a/#", "a"), Some(vec![""]));
    assert_eq!(captures("#", "$SYS/x"), None);
    assert_eq!(captures("a/+", "a"), None);
    assert_eq!(captures("a", "a/b"), None);
}

proptest! {
    #[test]
    fn noise_never_panics(payload in prop::collection::vec(any::<u8>(), 0..200), topic in "[a-z/$]{0,20}") {
        let mapping = mapping(json!({"routes": [
            {"topic": "a/+", "codec": "json", "device": "{1}{/x}", "values": [{"pointer": "/*/v"}]},
            {"topic": "#", "codec": "json"},
        ]}));
        if let Some((i, captures)) = mapping.route(&topic) {
            let _ = apply(&mapping.routes[i], &captures, &topic, &payload, NOW);
        }
    }

    #[test]
    fn what_was_written_is_read(values in prop::collection::vec((-1e12_f64..1e12, 0_i64..1_000_000), 1..50)) {
        let mapping = mapping(json!({"routes": [{
            "topic": "t", "codec": "json", "device": "d", "time": {"pointer": "/t", "format": "unix_us"},
            "values": [{"pointer": "/v", "channel": "c"}],
        }]}));
        let payload = json!(values.iter().map(|(v, t)| json!({"v": v, "t": t})).collect::<Vec<_>>());
        let mapped = read(&mapping, "t", &payload.to_string()).unwrap();
        let back: Vec<_> = mapped.readings.iter().map(|row| (row.value, row.ts)).collect();
        prop_assert_eq!(back, values);
    }
}

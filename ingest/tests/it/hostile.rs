//! Bad input of every codec and kind, through the front door: it is acknowledged, kept as a dead letter, and its reason names
//! the place in what was sent.

use ingest::sparkplug::proto::{Metric, Payload, Template, Value};
use models::wire::{Batch, Column, MAX_BATCH_BYTES};
use prost::Message;
use serde_json::json;

use crate::harness::start;

/// What is wrong with it: every codec has each of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Truncated,
    WrongType,
    Unknown,
    Huge,
    Hostile,
}
use Kind::{Hostile, Huge, Truncated, Unknown, WrongType};

/// One payload; `place` stands in the reason.
struct Bad {
    codec: &'static str,
    kind: Kind,
    topic: &'static str,
    payload: Vec<u8>,
    reason: &'static str,
    place: &'static str,
}

fn bad(
    codec: &'static str,
    kind: Kind,
    topic: &'static str,
    payload: impl Into<Vec<u8>>,
    (reason, place): (&'static str, &'static str),
) -> Bad {
    Bad {
        codec,
        kind,
        topic,
        payload: payload.into(),
        reason,
        place,
    }
}

/// Above what one payload may hold.
const MANY: usize = 100_001;

fn many(open: &str, one: impl Fn(usize) -> String, close: &str) -> String {
    let all: Vec<String> = (0..MANY).map(one).collect();
    format!("{open}{}{close}", all.join(","))
}

fn native() -> Vec<Bad> {
    let topic = "fw/v1/me/batch";
    let column = |values: usize, ts: usize| Column {
        device: "pump".into(),
        channel: "temp".into(),
        ts_deltas: vec![1; ts],
        values: vec![1.0; values],
        ..Column::default()
    };
    let batch = |columns| Batch {
        epoch: 1,
        seq: 1,
        columns,
        ..Batch::default()
    };
    let packed = |batch: Batch| batch.encode_compressed(1).unwrap();
    let good = packed(batch(vec![column(3, 3)]));
    // Field 1, `epoch`, as text.
    let text = zstd::bulk::compress(&[0x0a, 0x01, b'x'], 1).unwrap();
    // Unpacks to more than a batch may have.
    let bomb = zstd::bulk::compress(&vec![0; MAX_BATCH_BYTES + 1], 1).unwrap();
    vec![
        bad(
            "native",
            Truncated,
            topic,
            &good[..good.len() - 5],
            ("malformed_zstd", "zstd frame"),
        ),
        bad(
            "native",
            WrongType,
            topic,
            text,
            ("malformed_protobuf", "Batch.epoch"),
        ),
        bad(
            "native",
            Unknown,
            topic,
            packed(Batch {
                seq: 0,
                ..batch(vec![])
            }),
            ("malformed_batch", "sequence number 0"),
        ),
        bad("native", Huge, topic, bomb, ("malformed_zstd", "zstd frame")),
        bad(
            "native",
            Hostile,
            topic,
            packed(batch(vec![column(2, 1)])),
            ("malformed_batch", "column 0 (`pump`/`temp`)"),
        ),
    ]
}

fn json_forms() -> Vec<Bad> {
    let topic = "fw/v1/me/json/pump";
    vec![
        bad(
            "json",
            Truncated,
            topic,
            r#"{"temp": 21.5, "run"#,
            ("malformed_json", "column 19"),
        ),
        bad(
            "json",
            WrongType,
            topic,
            r#"{"temp": "21.5"}"#,
            ("not_a_number", "/temp"),
        ),
        bad(
            "json",
            Unknown,
            "fw/v1/me/json/pump/temp",
            r#"{"value": 1, "quality": "splendid"}"#,
            ("malformed_json", "/quality"),
        ),
        bad(
            "json",
            Huge,
            topic,
            many("{", |i| format!("\"c{i}\":1"), "}"),
            ("too_many_readings", "100001 readings"),
        ),
        bad(
            "json",
            Hostile,
            topic,
            "[".repeat(50_000),
            ("malformed_json", "recursion limit"),
        ),
    ]
}

/// By the mapping of [`mapping`].
fn mapped() -> Vec<Bad> {
    let topic = "plant/press";
    vec![
        bad(
            "mapped json",
            Truncated,
            topic,
            r#"{"m": {"temp":"#,
            ("malformed_json", "column 14"),
        ),
        bad(
            "mapped json",
            WrongType,
            topic,
            r#"{"m": {"temp": "hot"}}"#,
            ("not_a_number", "/m/temp"),
        ),
        bad(
            "mapped json",
            Unknown,
            topic,
            r#"{"m": {"tmp": 21}}"#,
            ("mapping_misses", "/m/temp"),
        ),
        bad(
            "mapped json",
            Huge,
            topic,
            many(r#"{"m": {"temp": 1}, "more": ["#, |_| "1".into(), "]}"),
            ("too_many_readings", "/more"),
        ),
        bad(
            "mapped json",
            Hostile,
            "deep/press",
            format!(r#"{{"more": {}1{}}}"#, "[".repeat(90), "]".repeat(90)),
            ("too_deep", "/more/0/0"),
        ),
    ]
}

fn mapping() -> serde_json::Value {
    json!({"routes": [{
        "topic": "plant/+", "codec": "json", "device": "{1}",
        "values": [{ "pointer": "/m/temp", "channel": "temp", "required": true }, { "pointer": "/more/*" }],
    }, { "topic": "deep/+", "codec": "json", "device": "{1}" }]})
}

fn sparkplug(metrics: Vec<Metric>) -> Vec<u8> {
    Payload {
        timestamp: Some(1_767_225_600_000),
        seq: Some(0),
        metrics,
        ..Payload::default()
    }
    .encode_to_vec()
}

fn metric(name: &str, value: Value) -> Metric {
    Metric {
        name: Some(name.into()),
        value: Some(value),
        ..Metric::default()
    }
}

fn sparkplug_b() -> Vec<Bad> {
    let topic = "spBv1.0/g/NBIRTH/n";
    let good = sparkplug(vec![metric("load", Value::Double(1.0))]);
    let mut nested = metric("leaf", Value::Int(1));
    for _ in 0..12 {
        nested = metric(
            "t",
            Value::Template(Box::new(Template {
                metrics: vec![nested],
                ..Template::default()
            })),
        );
    }
    let by_alias = Metric {
        alias: Some(99),
        value: Some(Value::Double(1.0)),
        ..Metric::default()
    };
    vec![
        bad(
            "sparkplug",
            Truncated,
            topic,
            &good[..good.len() - 3],
            ("malformed_protobuf", "Payload.metrics"),
        ),
        // The name as a number.
        bad(
            "sparkplug",
            WrongType,
            topic,
            [0x12, 0x02, 0x08, 0x05],
            ("malformed_protobuf", "Metric.name"),
        ),
        bad(
            "sparkplug",
            Unknown,
            topic,
            sparkplug(vec![by_alias]),
            ("unknown_alias", "metrics[0].alias: 99"),
        ),
        bad(
            "sparkplug",
            Huge,
            topic,
            sparkplug(vec![metric("a", Value::Int(1)); MANY]),
            ("too_many_readings", "metrics: 100001"),
        ),
        bad(
            "sparkplug",
            Hostile,
            topic,
            sparkplug(vec![nested]),
            ("too_deep", "metrics[0] `t/t/t"),
        ),
    ]
}

fn thingsboard() -> Vec<Bad> {
    let topic = "v1/gateway/telemetry";
    vec![
        bad(
            "thingsboard",
            Truncated,
            topic,
            r#"{"A":[{"ts":1"#,
            ("malformed_json", "column 13"),
        ),
        bad(
            "thingsboard",
            WrongType,
            topic,
            r#"{"A":[{"ts":1767225600000,"values":{"t":"21.5"}}]}"#,
            ("not_a_number", "/A/0/values/t"),
        ),
        bad(
            "thingsboard",
            Unknown,
            "v1/gateway/connect",
            r#"{"dev":"A"}"#,
            ("malformed_json", "/device"),
        ),
        bad(
            "thingsboard",
            Huge,
            topic,
            many(r#"{"A":{"#, |i| format!("\"c{i}\":1"), "}}"),
            ("too_many_readings", "/A/c"),
        ),
        bad(
            "thingsboard",
            Hostile,
            topic,
            r#"{"A":[7]}"#,
            ("malformed_json", "/A/0"),
        ),
    ]
}

fn line_protocol() -> Vec<Bad> {
    let topic = "telegraf/press";
    vec![
        bad(
            "influx",
            Truncated,
            topic,
            "cpu,host=a usage_id",
            ("malformed_line", "line 1, column 12"),
        ),
        bad(
            "influx",
            WrongType,
            topic,
            "cpu,host=a f=fast",
            ("malformed_line", "field `f`"),
        ),
        bad(
            "influx",
            Unknown,
            topic,
            "cpu,host=a f=1 noon",
            ("malformed_line", "column 16: expected a whole number"),
        ),
        bad(
            "influx",
            Huge,
            topic,
            "m f=1\n".repeat(MANY),
            ("too_many_readings", "line 100001"),
        ),
        bad(
            "influx",
            Hostile,
            topic,
            b"m f=1\nm f=\"\xff\xfe".to_vec(),
            ("malformed_line", "byte 11"),
        ),
    ]
}

fn senml() -> Vec<Bad> {
    let topic = "fw/v1/me/senml";
    vec![
        bad(
            "senml+json",
            Truncated,
            topic,
            r#"[{"n":"a","v":1"#,
            ("malformed_json", "column 15"),
        ),
        bad(
            "senml+json",
            WrongType,
            topic,
            r#"[{"n":"a","v":"1"}]"#,
            ("malformed_senml", "/0/v"),
        ),
        bad(
            "senml+json",
            Unknown,
            topic,
            r#"[{"n":"a","v":1,"w_":1}]"#,
            ("malformed_senml", "w_"),
        ),
        bad(
            "senml+json",
            Huge,
            topic,
            many("[", |_| r#"{"n":"a","v":1}"#.into(), "]"),
            ("too_many_readings", "100001 records"),
        ),
        bad(
            "senml+json",
            Hostile,
            topic,
            r#"[{"n":"a","v":1,"vb":true}]"#,
            ("malformed_senml", "/0/vb"),
        ),
        // An array of one map of two, which ends in its first value.
        bad(
            "senml+cbor",
            Truncated,
            topic,
            [0x81, 0xa2, 0x00, 0x61],
            ("malformed_cbor", "ends before the pack"),
        ),
        bad(
            "senml+cbor",
            WrongType,
            topic,
            [0x81, 0xa2, 0x00, 0x61, b'a', 0x02, 0x61, b'1'],
            ("malformed_senml", "/0/v"),
        ),
        // {n: "a", v: 1, "w_": 1}
        bad(
            "senml+cbor",
            Unknown,
            topic,
            [0x81, 0xa3, 0x00, 0x61, b'a', 0x02, 0x01, 0x62, b'w', b'_', 0x01],
            ("malformed_senml", "w_"),
        ),
        // Says that it has 2^32 - 1 elements.
        bad(
            "senml+cbor",
            Huge,
            topic,
            [0x9a, 0xff, 0xff, 0xff, 0xff],
            ("malformed_cbor", "ends before the pack"),
        ),
        bad(
            "senml+cbor",
            Hostile,
            topic,
            vec![0x9f; 50_000],
            ("malformed_cbor", "nested too deeply"),
        ),
    ]
}

fn all() -> Vec<Bad> {
    [
        native(),
        json_forms(),
        mapped(),
        sparkplug_b(),
        thingsboard(),
        line_protocol(),
        senml(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn every_codec_has_every_kind() {
    let mut kinds = std::collections::BTreeMap::<_, Vec<Kind>>::new();
    for one in all() {
        kinds.entry(one.codec).or_default().push(one.kind);
    }
    assert_eq!(kinds.len(), 8, "{kinds:?}");
    for (codec, mut of_it) in kinds {
        of_it.sort();
        assert_eq!(of_it, [Truncated, WrongType, Unknown, Huge, Hostile], "{codec}");
    }
}

#[tokio::test]
async fn bad_input_of_every_codec_is_kept_with_a_reason_that_names_its_place() {
    let service = start(|_| {}).await;
    let gateway = service.gateway("line-1").await;
    sqlx::query("INSERT INTO gateway_mapping (gateway_id, tenant_id, mapping, updated_by) VALUES ($1, $2, $3, 'test')")
        .bind(gateway)
        .bind(service.tenant)
        .bind(mapping())
        .execute(&service.database.owner)
        .await
        .unwrap();
    let mut client = service.client("line-1").await;
    for one in all() {
        let before = service.dead_letters().await.len();
        client.deliver(one.topic, one.payload).await;
        let letters = service.dead_letters().await;
        let what = format!("{} {:?}", one.codec, one.kind);
        assert_eq!(
            letters.len(),
            before + 1,
            "{what}: {:?}",
            &letters[before.min(letters.len())..]
        );
        let (reason, detail, _) = letters.last().unwrap();
        assert_eq!(reason, one.reason, "{what}: {detail}");
        assert!(detail.contains(one.place), "{what}: {detail}");
    }
    assert_eq!(service.number("SELECT count(*) FROM reading").await, 0);
    service.stop().await;
}

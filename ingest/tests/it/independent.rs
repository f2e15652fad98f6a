//! Sparkplug payloads against a decoder that is not ours: crate `srad`'s types. What the host publishes is read by it, and what
//! it writes, of every data type, is read by us.

use ingest::sparkplug::host::{rebirth, state};
use ingest::sparkplug::{Topic, decode_alone};
use models::time::Timestamp;
use srad_types::payload::{DataType, Message, Metric, Payload, StateBirthDeathCertificate, metric};
use srad_types::{MetricValue, traits};

const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

#[test]
fn what_the_host_publishes() {
    let command = Payload::decode(rebirth(NOW)).unwrap();
    assert_eq!((command.timestamp, command.seq), (Some(1_767_225_600_000), None));
    let [asked] = &command.metrics[..] else {
        panic!("{command:?}");
    };
    assert_eq!(
        asked.name.as_deref(),
        Some(srad_types::constants::NODE_CONTROL_REBIRTH)
    );
    assert_eq!(asked.datatype, Some(DataType::Boolean as u32));
    let asked = MetricValue::from(asked.value.clone().unwrap());
    assert!(bool::try_from(asked).unwrap());

    for online in [true, false] {
        let said = state(online, 1_767_225_600_000);
        let said = StateBirthDeathCertificate::try_from(&said[..]).unwrap();
        assert_eq!((said.online, said.timestamp), (online, 1_767_225_600_000));
    }
}

/// As srad writes a value of a type, with that type in front of it.
fn written<T: traits::MetricValue>(name: &str, value: T) -> Metric {
    let mut metric = Metric::new();
    metric
        .set_name(name.to_owned())
        .set_datatype(T::default_datatype())
        .set_timestamp(1_767_225_600_005);
    let value: MetricValue = value.into();
    metric.set_value(metric::Value::from(value));
    metric
}

#[test]
fn every_data_type_that_it_writes() {
    let payload = Payload {
        timestamp: Some(1_767_225_600_000),
        seq: Some(3),
        metrics: vec![
            written("i8", -5_i8),
            written("i16", -500_i16),
            written("i32", -70_000_i32),
            written("i64", -5_000_000_000_i64),
            written("u8", 250_u8),
            written("u16", 65_000_u16),
            written("u32", 4_000_000_000_u32),
            written("u64", 5_000_000_000_u64),
            written("float", 1.5_f32),
            written("double", 2.25_f64),
            written("bool", true),
            written("moment", srad_types::DateTime::new(1_500)),
            written("i8s", vec![-1_i8, 2]),
            written("i16s", vec![-300_i16, 300]),
            written("i32s", vec![-70_000_i32]),
            written("i64s", vec![-5_i64]),
            written("u8s", vec![255_u8, 0]),
            written("u16s", vec![60_040_u16]),
            written("u32s", vec![4_000_000_000_u32]),
            written("u64s", vec![5_u64]),
            written("floats", vec![89.5_f32]),
            written("doubles", vec![1.23_f64, -4.5]),
            written("bools", vec![false, true, true]),
            written("text", "pressed".to_owned()),
        ],
        ..Payload::default()
    };
    let topic = Topic::parse("spBv1.0/g/DDATA/n/d").unwrap();
    let decoded = decode_alone(&topic, &payload.encode_to_vec(), NOW).unwrap();
    assert_eq!(decoded.rejects, []);
    let read: Vec<(&str, f64)> = decoded
        .columns
        .iter()
        .map(|column| {
            assert_eq!(
                (column.device.as_str(), column.ts[0]),
                ("g/n/d", NOW.micros() + 5_000)
            );
            (column.channel.as_str(), column.values[0])
        })
        .collect();
    assert_eq!(
        read,
        [
            ("i8", -5.0),
            ("i16", -500.0),
            ("i32", -70_000.0),
            ("i64", -5e9),
            ("u8", 250.0),
            ("u16", 65_000.0),
            ("u32", 4e9),
            ("u64", 5e9),
            ("float", 1.5),
            ("double", 2.25),
            ("bool", 1.0),
            ("moment", 1.5),
            ("i8s[0]", -1.0),
            ("i8s[1]", 2.0),
            ("i16s[0]", -300.0),
            ("i16s[1]", 300.0),
            ("i32s[0]", -70_000.0),
            ("i64s[0]", -5.0),
            ("u8s[0]", 255.0),
            ("u8s[1]", 0.0),
            ("u16s[0]", 60_040.0),
            ("u32s[0]", 4e9),
            ("u64s[0]", 5.0),
            ("floats[0]", 89.5),
            ("doubles[0]", 1.23),
            ("doubles[1]", -4.5),
            ("bools[0]", 0.0),
            ("bools[1]", 1.0),
            ("bools[2]", 1.0),
        ]
    );
    let event = &decoded.events[0];
    assert_eq!(
        (event.code.as_str(), event.message.as_deref()),
        ("text", Some("pressed"))
    );
}

//! How many readings a second each codec reads, on one core: the decoding alone, from the bytes of a
//! payload to columns with names. No network, no database.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::ensure;
use models::mapping::{Codec, Route};
use models::time::Timestamp;
use models::wire::{Batch, Column};
use prost::Message;
use serde_json::{Value, json};

use crate::codec::{Decoded, Format, influx, thingsboard};
use crate::sparkplug::node::{Aliases, Known};
use crate::sparkplug::proto::{self, Metric, Payload, datatype};
use crate::sparkplug::{self, Topic};

#[derive(Clone, Copy, Debug)]
pub struct Args {
    /// For each codec.
    pub millis: u64,
}

impl Default for Args {
    fn default() -> Self {
        Self { millis: 2_000 }
    }
}

const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
/// Channels of a message, as a machine of medium size has.
const CHANNELS: usize = 20;

/// Payloads are made before, read over and over on this thread; `…_readings_per_s` of each codec.
///
/// # Errors
/// When a payload made here can't be read here.
pub fn run(args: Args) -> anyhow::Result<Value> {
    let time = Duration::from_millis(args.millis);
    let batch = native()?;
    let births = births();
    let topic = Topic {
        group: "plant".to_owned(),
        kind: sparkplug::Kind::DeviceData,
        node: "press".to_owned(),
        device: Some("gauge".to_owned()),
    };
    let data = sparkplug_data();
    let route: Route = serde_json::from_value(json!({
        "topic": "t", "codec": "json", "device": "d", "each": "/rows",
        "time": { "pointer": "/t", "format": "unix_ms" },
        "values": (0..CHANNELS).map(|i| json!({ "pointer": format!("/v/c{i}") })).collect::<Vec<_>>(),
    }))?;
    ensure!(route.codec == Codec::Json, "the route is for JSON");
    let mapped = Format::Mapped {
        route: route.into(),
        topic: "t".to_owned(),
    };
    let json = Format::Json {
        device: "d".to_owned(),
        channel: None,
    };
    let one = Format::Json {
        device: "d".to_owned(),
        channel: Some("c".to_owned()),
    };
    let lines = Format::Influx(influx::Options::default());
    let senml = Format::Senml { device: None };
    let gateway = Format::ThingsBoard {
        kind: thingsboard::Kind::GatewayTelemetry,
        own: "line-1".to_owned(),
    };
    let (rows, rows_tb, rows_mapped) = (json_rows(), thingsboard_rows(), mapped_rows());
    let (text, pack, cbor) = (influx_lines(), senml_pack(), senml_cbor()?);
    let value = br#"{"ts":1767225600123,"value":21.5,"unit":"Cel"}"#.as_slice();
    let by = |format: &Format, payload: &[u8]| rate(time, || format.decode(payload, NOW));
    Ok(json!({
        "native": by(&Format::Native, &batch)?,
        "sparkplug": rate(time, || sparkplug::decode(&topic, &data, &births, NOW))?,
        "json": by(&json, &rows)?,
        "json_one_value": by(&one, value)?,
        "json_mapped": by(&mapped, &rows_mapped)?,
        "thingsboard": by(&gateway, &rows_tb)?,
        "influx": by(&lines, &text)?,
        "senml_json": by(&senml, &pack)?,
        "senml_cbor": by(&senml, &cbor)?,
        "unit": "readings_per_s", "cores": 1, "millis_each": args.millis,
    }))
}

fn rate<E: std::fmt::Debug>(time: Duration, read: impl Fn() -> Result<Decoded, E>) -> anyhow::Result<u64> {
    let once = |read: &dyn Fn() -> Result<Decoded, E>| {
        let decoded = read().map_err(|error| anyhow::anyhow!("{error:?}"))?;
        ensure!(decoded.rejects.is_empty(), "{:?}", decoded.rejects[0]);
        anyhow::Ok(black_box(&decoded).readings())
    };
    for _ in 0..10 {
        once(&read)?;
    }
    let (mut readings, started) = (0, Instant::now());
    while started.elapsed() < time {
        for _ in 0..16 {
            readings += once(&read)?;
        }
    }
    Ok((readings as f64 / started.elapsed().as_secs_f64()) as u64)
}

fn value(i: usize) -> f64 {
    20.0 + (i * 31 % 997) as f64 / 64.0
}

fn millis(row: usize) -> i64 {
    NOW.micros() / 1_000 + row as i64 * 100
}

/// 25 rows of 20 channels: what `bench ingest` sends.
fn native() -> anyhow::Result<Vec<u8>> {
    let columns = (0..CHANNELS)
        .map(|channel| Column {
            device: "d".to_owned(),
            channel: format!("c{channel}"),
            ts_deltas: std::iter::once(NOW.micros())
                .chain((1..25).map(|_| 100_000))
                .collect(),
            values: (0..25).map(|row| value(channel * 7 + row)).collect(),
            ..Column::default()
        })
        .collect();
    let batch = Batch {
        epoch: 1,
        seq: 1,
        floor: 1,
        columns,
        ..Batch::default()
    };
    Ok(batch.encode_compressed(1)?)
}

fn births() -> Aliases {
    (0..100)
        .map(|alias| {
            let known = Known {
                name: format!("Area {}/Machine/Metric {alias}", alias % 5),
                datatype: 10,
                unit: Some("Cel".to_owned()),
            };
            (alias, known.into())
        })
        .collect()
}

/// A DDATA with 100 metrics by alias, as `sparkplug-client` and Tahu write it.
fn sparkplug_data() -> Vec<u8> {
    let metrics = (0..100_u64)
        .map(|alias| Metric {
            alias: Some(alias),
            timestamp: Some(millis(0).unsigned_abs()),
            datatype: Some(if alias % 4 == 0 { datatype::INT32 } else { 10 }),
            value: Some(if alias % 4 == 0 {
                proto::Value::Int(alias as u32)
            } else {
                proto::Value::Double(value(alias as usize))
            }),
            ..Metric::default()
        })
        .collect();
    let payload = Payload {
        timestamp: Some(millis(0).unsigned_abs()),
        seq: Some(7),
        metrics,
        ..Payload::default()
    };
    payload.encode_to_vec()
}

fn members() -> serde_json::Map<String, Value> {
    (0..CHANNELS)
        .map(|i| (format!("c{i}"), json!(value(i))))
        .collect()
}

fn json_rows() -> Vec<u8> {
    let rows: Vec<Value> = (0..10)
        .map(|row| json!({ "ts": millis(row), "values": members() }))
        .collect();
    Value::from(rows).to_string().into_bytes()
}

fn thingsboard_rows() -> Vec<u8> {
    let rows: Vec<Value> = (0..10)
        .map(|row| json!({ "ts": millis(row), "values": members() }))
        .collect();
    json!({ "Device A": rows }).to_string().into_bytes()
}

fn mapped_rows() -> Vec<u8> {
    let rows: Vec<Value> = (0..10)
        .map(|row| json!({ "t": millis(row), "v": members() }))
        .collect();
    json!({ "rows": rows }).to_string().into_bytes()
}

fn influx_lines() -> Vec<u8> {
    let mut text = String::new();
    for row in 0..10 {
        text.push_str("machine,host=press-3,line=7 ");
        let fields: Vec<String> = (0..CHANNELS).map(|i| format!("c{i}={}", value(i))).collect();
        text.push_str(&fields.join(","));
        text.push_str(&format!(" {}000000\n", millis(row)));
    }
    text.into_bytes()
}

fn senml_records() -> Vec<Value> {
    let mut records = vec![json!({ "bn": "urn:dev:mac:0024befffe804ff1:", "bt": 1_767_225_600 })];
    for row in 0..10 {
        for i in 0..CHANNELS {
            records.push(json!({ "n": format!("c{i}"), "u": "Cel", "v": value(i), "t": row }));
        }
    }
    records
}

fn senml_pack() -> Vec<u8> {
    Value::from(senml_records()).to_string().into_bytes()
}

fn senml_cbor() -> anyhow::Result<Vec<u8>> {
    let label = |name: &str| match name {
        "bn" => -2,
        "bt" => -3,
        "n" => 0,
        "u" => 1,
        "v" => 2,
        _ => 6,
    };
    let mut records = Vec::new();
    for record in senml_records() {
        let mut members = Vec::new();
        for (name, value) in record.as_object().into_iter().flatten() {
            members.push((
                ciborium::Value::from(label(name)),
                ciborium::Value::serialized(value)?,
            ));
        }
        records.push(ciborium::Value::Map(members));
    }
    let mut bytes = Vec::new();
    ciborium::into_writer(&ciborium::Value::Array(records), &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_reads_what_it_is_measured_with() {
        let result = run(Args { millis: 1 }).unwrap();
        for codec in [
            "native",
            "sparkplug",
            "json",
            "json_one_value",
            "json_mapped",
            "thingsboard",
            "influx",
            "senml_json",
            "senml_cbor",
        ] {
            assert!(result[codec].as_u64().unwrap() > 0, "{codec}: {result}");
        }
    }
}

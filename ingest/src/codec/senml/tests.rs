use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

type Row = (String, String, Option<String>, i64, f64);

fn rows_of(decoded: Decoded) -> Vec<Row> {
    let mut rows = Vec::new();
    for column in decoded.columns {
        for (ts, value) in column.ts.iter().zip(&column.values) {
            rows.push((
                column.device.clone(),
                column.channel.clone(),
                column.unit.clone(),
                *ts,
                *value,
            ));
        }
    }
    rows
}

fn rows(pack: &str) -> Vec<Row> {
    let decoded = decode(pack.as_bytes(), None, NOW).unwrap();
    assert_eq!(decoded.rejects, []);
    rows_of(decoded)
}

fn row(device: &str, channel: &str, unit: &str, micros: i64, value: f64) -> Row {
    (device.into(), channel.into(), Some(unit.into()), micros, value)
}

fn at(seconds: f64) -> i64 {
    (seconds * 1e6).round() as i64
}

#[test]
fn rfc_8428_5_1_1_single_data_point() {
    assert_eq!(
        rows(r#"[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]"#),
        [row("urn:dev:ow", "10e2073a01080063", "Cel", NOW.micros(), 23.1)]
    );
}

#[test]
fn rfc_8428_5_1_2_multiple_data_points() {
    let device = "urn:dev:ow:10e2073a01080063";
    assert_eq!(
        rows(
            r#"[{"bn":"urn:dev:ow:10e2073a01080063:","n":"voltage","u":"V","v":120.1},
                {"n":"current","u":"A","v":1.2}]"#
        ),
        [
            row(device, "voltage", "V", NOW.micros(), 120.1),
            row(device, "current", "A", NOW.micros(), 1.2),
        ]
    );
}

const SIX_SECONDS: &str = r#"[
    {"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
    {"n":"current","t":-5,"v":1.2},{"n":"current","t":-4,"v":1.3},{"n":"current","t":-3,"v":1.4},
    {"n":"current","t":-2,"v":1.5},{"n":"current","t":-1,"v":1.6},{"n":"current","v":1.7}]"#;

#[test]
fn rfc_8428_5_1_2_with_base_time_and_unit() {
    let device = "urn:dev:ow:10e2073a0108006";
    let base = 1_276_020_076_001_000;
    let mut expect = vec![row(device, "voltage", "V", base, 120.1)];
    for (i, value) in [1.2, 1.3, 1.4, 1.5, 1.6, 1.7].into_iter().enumerate() {
        expect.push(row(
            device,
            "current",
            "A",
            base - (5 - i as i64) * 1_000_000,
            value,
        ));
    }
    assert_eq!(rows(SIX_SECONDS), expect);
}

const TRAIN: &str = r#"[
    {"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":20},
    {"u":"lon","v":24.30621},{"u":"lat","v":60.07965},
    {"t":60,"v":20.3},{"u":"lon","t":60,"v":24.30622},{"u":"lat","t":60,"v":60.07965},
    {"t":120,"v":20.7},{"u":"lon","t":120,"v":24.30623},{"u":"lat","t":120,"v":60.07966},
    {"u":"%EL","t":150,"v":98},
    {"t":180,"v":21.2},{"u":"lon","t":180,"v":24.30628},{"u":"lat","t":180,"v":60.07967}]"#;

const TRAIN_RESOLVED: &str = r#"[
    {"n":"urn:dev:ow:10e2073a01080063","u":"%RH","t":1.320067464e+09,"v":20},
    {"n":"urn:dev:ow:10e2073a01080063","u":"lon","t":1.320067464e+09,"v":24.30621},
    {"n":"urn:dev:ow:10e2073a01080063","u":"lat","t":1.320067464e+09,"v":60.07965},
    {"n":"urn:dev:ow:10e2073a01080063","u":"%RH","t":1.320067524e+09,"v":20.3},
    {"n":"urn:dev:ow:10e2073a01080063","u":"lon","t":1.320067524e+09,"v":24.30622},
    {"n":"urn:dev:ow:10e2073a01080063","u":"lat","t":1.320067524e+09,"v":60.07965},
    {"n":"urn:dev:ow:10e2073a01080063","u":"%RH","t":1.320067584e+09,"v":20.7},
    {"n":"urn:dev:ow:10e2073a01080063","u":"lon","t":1.320067584e+09,"v":24.30623},
    {"n":"urn:dev:ow:10e2073a01080063","u":"lat","t":1.320067584e+09,"v":60.07966},
    {"n":"urn:dev:ow:10e2073a01080063","u":"%EL","t":1.320067614e+09,"v":98},
    {"n":"urn:dev:ow:10e2073a01080063","u":"%RH","t":1.320067644e+09,"v":21.2},
    {"n":"urn:dev:ow:10e2073a01080063","u":"lon","t":1.320067644e+09,"v":24.30628},
    {"n":"urn:dev:ow:10e2073a01080063","u":"lat","t":1.320067644e+09,"v":60.07967}]"#;

#[test]
fn rfc_8428_5_1_3_and_5_1_4_say_the_same() {
    let got = rows(TRAIN);
    assert_eq!(got, rows(TRAIN_RESOLVED));
    assert_eq!(got.len(), 13);
    let id = "10e2073a01080063";
    assert_eq!(got[0], row("urn:dev:ow", id, "%", at(1_320_067_464.0), 20.0));
    assert_eq!(got[1].1, format!("{id}"));
    assert!(got.contains(&row(
        "urn:dev:ow",
        &format!("{id}.lat"),
        "deg",
        at(1_320_067_644.0),
        60.07967
    )));
    assert!(got.contains(&row(
        "urn:dev:ow",
        &format!("{id}.%EL"),
        "%",
        at(1_320_067_614.0),
        98.0
    )));
}

#[test]
fn rfc_8428_5_1_5_multiple_data_types() {
    let decoded = decode(
        br#"[{"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},
             {"n":"label","vs":"Machine Room"},{"n":"open","vb":false},{"n":"nfc-reader","vd":"aGkgCg"}]"#,
        None,
        NOW,
    )
    .unwrap();
    let rejects: Vec<_> = decoded
        .rejects
        .iter()
        .map(|reject| reject.detail.as_str())
        .collect();
    assert_eq!(
        rejects,
        [
            "/1: `label` expected a number or truth value (v, vb), got text \"Machine Room\"",
            "/3: `nfc-reader` expected a number or truth value (v, vb), got text \"aGkgCg\"",
        ]
    );
    let values: Vec<_> = rows_of(decoded).into_iter().map(|row| (row.1, row.4)).collect();
    assert_eq!(values, [("temp".into(), 23.1), ("open".into(), 0.0)]);
}

#[test]
fn rfc_8428_5_1_6_collection_of_resources() {
    let base = at(1_320_078_429.0);
    assert_eq!(
        rows(
            r#"[{"bn":"2001:db8::2/","bt":1.320078429e+09,"n":"temperature","u":"Cel","v":25.2},
                {"n":"humidity","u":"%RH","v":30},
                {"bn":"2001:db8::1/","n":"temperature","u":"Cel","v":12.3},
                {"n":"humidity","u":"%RH","v":67}]"#
        ),
        [
            row("2001:db8::2", "temperature", "Cel", base, 25.2),
            row("2001:db8::2", "humidity", "%", base, 30.0),
            row("2001:db8::1", "temperature", "Cel", base, 12.3),
            row("2001:db8::1", "humidity", "%", base, 67.0),
        ]
    );
}

#[test]
fn rfc_8428_5_1_7_setting_an_actuator() {
    let device = "urn:dev:ow:10e2073a01080063";
    assert_eq!(
        rows(
            r#"[{"bn":"urn:dev:ow:10e2073a01080063:"},{"n":"temp","u":"Cel","v":23.1},
                {"n":"heat","u":"/","v":1},{"n":"fan","u":"/","v":0}]"#
        ),
        [
            row(device, "temp", "Cel", NOW.micros(), 23.1),
            row(device, "heat", "1", NOW.micros(), 1.0),
            row(device, "fan", "1", NOW.micros(), 0.0),
        ]
    );
    let lights = rows(
        r#"[{"bt":1.320078429e+09,"bu":"/","n":"2001:db8::3","v":0.5},{"n":"2001:db8::4","v":0.5},
            {"n":"2001:db8::3","t":0.1,"v":0},{"n":"2001:db8::4","t":0.1,"v":0}]"#,
    );
    assert_eq!(lights.len(), 4);
    assert_eq!(lights[1], row("2001:db8:", "3", "1", at(1_320_078_429.1), 0.0));
}

/// The same pack in CBOR, label by label (RFC 8428 § 6, table 4).
fn to_cbor(pack: &str) -> Vec<u8> {
    let records: Vec<serde_json::Map<String, Value>> = serde_json::from_str(pack).unwrap();
    let label = |name: &str| match name {
        "bver" => -1,
        "bn" => -2,
        "bt" => -3,
        "bu" => -4,
        "bv" => -5,
        "bs" => -6,
        "n" => 0,
        "u" => 1,
        "v" => 2,
        "vs" => 3,
        "vb" => 4,
        "s" => 5,
        "t" => 6,
        "ut" => 7,
        "vd" => 8,
        other => panic!("{other}"),
    };
    let array = records
        .into_iter()
        .map(|record| {
            let members = record.into_iter().map(|(name, value)| {
                let value = ciborium::Value::serialized(&value).unwrap();
                (ciborium::Value::from(label(&name)), value)
            });
            ciborium::Value::Map(members.collect())
        })
        .collect();
    let mut bytes = Vec::new();
    ciborium::into_writer(&ciborium::Value::Array(array), &mut bytes).unwrap();
    bytes
}

#[test]
fn cbor_says_the_same_as_json() {
    for pack in [SIX_SECONDS, TRAIN, TRAIN_RESOLVED] {
        let decoded = decode(&to_cbor(pack), None, NOW).unwrap();
        assert_eq!(rows_of(decoded), rows(pack));
    }
}

/// Written byte by byte from RFC 8949, so that not only our own encoder is trusted: a record with a
/// half-precision float, a decimal fraction and a byte string.
#[test]
fn cbor_by_hand() {
    let mut bytes = vec![0x83];
    bytes.extend([
        0xa3, 0x21, 0x62, b'd', b':', 0x00, 0x61, b'a', 0x02, 0xf9, 0x3e, 0x00,
    ]); // bn "d:", n "a", v 1.5 (half)
    bytes.extend([0xa2, 0x00, 0x61, b'b', 0x02, 0xc4, 0x82, 0x21, 0x19, 0x6a, 0xb3]); // n "b", v 27315e-2
    bytes.extend([0xa2, 0x00, 0x61, b'c', 0x08, 0x42, b'h', b'i']); // n "c", vd "hi"
    let decoded = decode(&bytes, None, NOW).unwrap();
    assert_eq!(decoded.rejects[0].value, "aGk");
    let values: Vec<_> = rows_of(decoded)
        .into_iter()
        .map(|row| (row.0, row.1, row.4))
        .collect();
    assert_eq!(
        values,
        [("d".into(), "a".into(), 1.5), ("d".into(), "b".into(), 273.15)]
    );
}

#[test]
fn base_values_and_sums() {
    let pack =
        r#"[{"bn":"d/","bv":100,"bs":10,"n":"a","u":"W","v":1},{"n":"b"},{"n":"c","s":5,"v":1,"u":"W"}]"#;
    let got: Vec<_> = rows(pack).into_iter().map(|row| (row.1, row.2, row.4)).collect();
    assert_eq!(
        got,
        [
            ("a".to_owned(), Some("W".to_owned()), 101.0),
            ("b".to_owned(), None, 100.0),
            ("c".to_owned(), Some("W".to_owned()), 101.0),
            ("c.sum".to_owned(), Some("W.s".to_owned()), 15.0),
        ]
    );
    let named = decode(br#"[{"bn":"a/","n":"b","v":1}]"#, Some("topic"), NOW).unwrap();
    assert_eq!(
        (
            named.columns[0].device.as_str(),
            named.columns[0].channel.as_str()
        ),
        ("topic", "a/b")
    );
}

#[test]
fn refusals_name_the_field() {
    let refused = |payload: &[u8]| {
        let error = decode(payload, None, NOW).unwrap_err();
        (error.reason, error.detail)
    };
    let json = |text: &str| refused(text.as_bytes());
    assert_eq!(json("").0, "malformed_json");
    assert_eq!(json("[{\"n\":\"a\",\"v\":").0, "malformed_json");
    assert_eq!(
        json("{}"),
        ("malformed_senml", "/: expected an array of records".into())
    );
    assert_eq!(
        json("[3]"),
        (
            "malformed_senml",
            "/0/: expected a record, that is an object".into()
        )
    );
    assert_eq!(
        json(r#"[{"n":"a","v":1},{"n":"b","v":"21.5"}]"#),
        (
            "malformed_senml",
            "/1/v: expected a number, got text \"21.5\"".into()
        )
    );
    assert_eq!(
        json(r#"[{"bver":11,"n":"a","v":1}]"#),
        ("malformed_senml", "/0/bver: version 11 is newer than 10".into())
    );
    assert_eq!(
        json(r#"[{"n":"a","v":1,"x_":1}]"#).1,
        "/0/x_: ends in _ and so must be understood (RFC 8428 § 4.4), and isn't"
    );
    assert_eq!(json(r#"[{"v":1}]"#).1, "/0/n: neither a name nor a base name");
    assert_eq!(
        json(r#"[{"n":"a"}]"#).1,
        "/0/v: the record has neither a value nor a sum"
    );
    assert_eq!(
        json(r#"[{"n":"a","v":1,"vb":true}]"#).1,
        "/0/vb: the record has a second value"
    );
    assert_eq!(json("[]").1, "/: the pack holds no value");
    assert_eq!(
        refused(&[0x82, 0xa1]),
        ("malformed_cbor", "ends before the pack does".into())
    );
    assert_eq!(refused(&[0x80, 0x00]).0, "malformed_cbor");
    assert_eq!(
        refused(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).0,
        "malformed_cbor"
    );
    let nested = [vec![0x81; 10_000], vec![0x80]].concat();
    assert_eq!(refused(&nested).0, "malformed_cbor");
    assert_eq!(json(r#"[{"n":"a","v":1,"t":1e300}]"#).0, "malformed_senml");
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        values in prop::collection::vec((-1e9_f64..1e9, 0_u32..1_000_000), 1..30),
        cbor in any::<bool>(),
    ) {
        let base = 1_600_000_000;
        let pack = json!(values.iter().enumerate().map(|(i, (v, t))| {
            if i == 0 { json!({"bn": "d/", "bt": base, "n": "c", "v": v, "t": t}) } else { json!({"n": "c", "v": v, "t": t}) }
        }).collect::<Vec<_>>()).to_string();
        let payload = if cbor { to_cbor(&pack) } else { pack.into_bytes() };
        let got: Vec<_> = rows_of(decode(&payload, None, NOW).unwrap()).into_iter().map(|row| (row.4, row.3)).collect();
        let expect: Vec<_> = values.iter().map(|(v, t)| (*v, (base + i64::from(*t)) * 1_000_000)).collect();
        prop_assert_eq!(got, expect);
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), first in 0x80_u8..0xa0) {
        drop(decode(&bytes, None, NOW));
        let mut cbor = bytes;
        cbor.insert(0, first);
        drop(decode(&cbor, None, NOW));
    }
}

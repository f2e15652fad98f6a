//! What a metric's value is, by its data type (specification, § 6.4.16 and 6.4.17).

use super::proto::{Cell, Metric, Scalar, Value, datatype};

/// Elements of one array or data set that become channels.
const MAX_ELEMENTS: usize = 1_024;

/// A value as far as a series of numbers can hold it.
#[derive(Debug, PartialEq)]
pub(super) enum Content {
    Number(f64),
    /// Seconds since 1970.
    Moment(f64),
    Text(String),
    /// Several numbers, each with what is added to the metric's name.
    Many(Vec<(String, f64)>),
    /// What it is, for the reason.
    Unsupported(String),
}

fn of_int(value: u32, datatype: u32) -> f64 {
    match datatype {
        // Two's complement in the low bits, whatever the encoder put above them.
        datatype::INT8 => f64::from(value as u8 as i8),
        datatype::INT16 => f64::from(value as u16 as i16),
        datatype::INT32 => f64::from(value as i32),
        datatype::BOOLEAN => f64::from(u8::from(value != 0)),
        _ => f64::from(value),
    }
}

fn of_long(value: u64, datatype: u32) -> f64 {
    match datatype {
        datatype::INT8 | datatype::INT16 | datatype::INT32 | datatype::INT64 => value as i64 as f64,
        _ => value as f64,
    }
}

pub(super) fn content(value: &Value, datatype: u32) -> Content {
    match value {
        Value::Int(number) => Content::Number(of_int(*number, datatype)),
        Value::Long(number) if datatype == datatype::DATE_TIME => Content::Moment(*number as f64 / 1e3),
        Value::Long(number) => Content::Number(of_long(*number, datatype)),
        Value::Float(number) => Content::Number((*number).into()),
        Value::Double(number) => Content::Number(*number),
        Value::Boolean(truth) => Content::Number(f64::from(u8::from(*truth))),
        Value::String(text) => Content::Text(text.clone()),
        Value::Bytes(bytes) => array(bytes, datatype),
        Value::DataSet(set) => {
            let cells = set.rows.iter().map(|row| row.elements.len()).sum::<usize>();
            if cells > MAX_ELEMENTS {
                return Content::Unsupported(format!(
                    "a data set of {cells} cells, more than {MAX_ELEMENTS}"
                ));
            }
            let mut many = Vec::new();
            for (i, row) in set.rows.iter().enumerate() {
                for (j, cell) in row.elements.iter().enumerate() {
                    let datatype = set.types.get(j).copied().unwrap_or(0);
                    let number = match &cell.value {
                        Some(Cell::Int(number)) => of_int(*number, datatype),
                        Some(Cell::Long(number)) => of_long(*number, datatype),
                        Some(Cell::Float(number)) => (*number).into(),
                        Some(Cell::Double(number)) => *number,
                        Some(Cell::Boolean(truth)) => f64::from(u8::from(*truth)),
                        Some(Cell::String(_)) | None => continue,
                    };
                    let column = set.columns.get(j).map_or("", String::as_str);
                    many.push((format!("[{i}].{column}"), number));
                }
            }
            Content::Many(many)
        }
        Value::Template(_) => Content::Unsupported("a template".to_owned()),
    }
}

/// Arrays are packed little-endian; truth values as a count and bits, the first one highest.
fn array(bytes: &[u8], datatype: u32) -> Content {
    let width = match datatype {
        datatype::INT8_ARRAY | datatype::UINT8_ARRAY => 1,
        datatype::INT16_ARRAY | datatype::UINT16_ARRAY => 2,
        datatype::INT32_ARRAY | datatype::UINT32_ARRAY | datatype::FLOAT_ARRAY => 4,
        datatype::INT64_ARRAY
        | datatype::UINT64_ARRAY
        | datatype::DOUBLE_ARRAY
        | datatype::DATE_TIME_ARRAY => 8,
        datatype::BOOLEAN_ARRAY => return booleans(bytes),
        _ => return Content::Unsupported(format!("{} bytes of data type {datatype}", bytes.len())),
    };
    if !bytes.len().is_multiple_of(width) {
        return Content::Unsupported(format!(
            "an array of {} bytes, which is no multiple of {width}",
            bytes.len()
        ));
    }
    if bytes.len() / width > MAX_ELEMENTS {
        return Content::Unsupported(format!(
            "an array of {} elements, more than {MAX_ELEMENTS}",
            bytes.len() / width
        ));
    }
    let number = |chunk: &[u8]| {
        let mut raw = [0; 8];
        raw[..width].copy_from_slice(chunk);
        let unsigned = u64::from_le_bytes(raw);
        match datatype {
            datatype::INT8_ARRAY => f64::from(unsigned as u8 as i8),
            datatype::INT16_ARRAY => f64::from(unsigned as u16 as i16),
            datatype::INT32_ARRAY => f64::from(unsigned as u32 as i32),
            datatype::INT64_ARRAY => unsigned as i64 as f64,
            datatype::FLOAT_ARRAY => f32::from_bits(unsigned as u32).into(),
            datatype::DOUBLE_ARRAY => f64::from_bits(unsigned),
            datatype::DATE_TIME_ARRAY => unsigned as f64 / 1e3,
            _ => unsigned as f64,
        }
    };
    Content::Many(
        bytes
            .chunks_exact(width)
            .enumerate()
            .map(|(i, chunk)| (format!("[{i}]"), number(chunk)))
            .collect(),
    )
}

fn booleans(bytes: &[u8]) -> Content {
    let Some((count, bits)) = bytes.split_first_chunk::<4>() else {
        return Content::Unsupported("a boolean array without its count".to_owned());
    };
    let count = u32::from_le_bytes(*count) as usize;
    if count > MAX_ELEMENTS || count > bits.len() * 8 {
        return Content::Unsupported(format!(
            "a boolean array of {count} elements in {} bytes",
            bits.len()
        ));
    }
    Content::Many(
        (0..count)
            .map(|i| (format!("[{i}]"), f64::from(bits[i / 8] >> (7 - i % 8) & 1)))
            .collect(),
    )
}

fn property<'a>(metric: &'a Metric, names: &[&str]) -> Option<&'a Scalar> {
    let set = metric.properties.as_ref()?;
    let at = set.keys.iter().position(|key| names.contains(&key.as_str()))?;
    set.values.get(at)?.value.as_ref()
}

/// The unit that the property `engUnit` names.
pub(super) fn unit(metric: &Metric) -> Option<String> {
    match property(metric, &["engUnit", "EngUnit", "unit", "Unit"])? {
        Scalar::String(text) if !text.trim().is_empty() && text.len() <= 64 => {
            Some(models::unit::from_spelling(text).to_owned())
        }
        _ => None,
    }
}

/// `Quality` (specification, § 6.4.8): 192 good, 500 stale, 0 bad.
pub(super) fn quality(metric: &Metric) -> u8 {
    use models::reading::Quality;
    let code = match property(metric, &["Quality", "quality"]) {
        None => return Quality::Good as u8,
        Some(Scalar::Int(code)) => u64::from(*code),
        Some(Scalar::Long(code)) => *code,
        Some(_) => return Quality::Suspect as u8,
    };
    let quality = match code {
        192 => Quality::Good,
        0 => Quality::Bad,
        _ => Quality::Suspect,
    };
    quality as u8
}

#[cfg(test)]
mod tests {
    use super::super::proto::{DataSet, DataSetValue, PropertySet, PropertyValue, Row};
    use super::*;

    #[test]
    fn numbers_of_every_type() {
        for (value, datatype, expect) in [
            (Value::Int(0xff), datatype::INT8, -1.0),
            (Value::Int(0xffff_ffff), datatype::INT8, -1.0),
            (Value::Int(0xfffe), datatype::INT16, -2.0),
            (Value::Int(0xffff_fffd), datatype::INT32, -3.0),
            (Value::Long(u64::MAX), datatype::INT64, -1.0),
            (Value::Int(200), 5, 200.0),
            (Value::Int(60_000), 6, 60_000.0),
            (Value::Int(u32::MAX), 7, 4_294_967_295.0),
            (Value::Long(4_294_967_295), 7, 4_294_967_295.0),
            (Value::Long(1 << 63), 8, 2_f64.powi(63)),
            (Value::Float(1.5), 9, 1.5),
            (Value::Double(2.25), 10, 2.25),
            (Value::Boolean(true), 11, 1.0),
            (Value::Int(7), 0, 7.0),
        ] {
            assert_eq!(
                content(&value, datatype),
                Content::Number(expect),
                "{value:?} {datatype}"
            );
        }
        assert_eq!(
            content(&Value::Long(1_500), datatype::DATE_TIME),
            Content::Moment(1.5)
        );
        assert_eq!(content(&Value::String("a".into()), 12), Content::Text("a".into()));
    }

    #[track_caller]
    fn check_array(bytes: Vec<u8>, datatype: u32, expect: &[f64]) {
        let Content::Many(many) = content(&Value::Bytes(bytes), datatype) else {
            panic!("not an array");
        };
        let values: Vec<f64> = many.iter().map(|(_, number)| *number).collect();
        assert_eq!(values, expect);
        assert!(many.first().is_none_or(|(name, _)| name == "[0]"));
    }

    /// The examples of § 6.4.17.
    #[test]
    fn arrays() {
        check_array(vec![0xef, 0x7b], datatype::INT8_ARRAY, &[-17.0, 123.0]);
        check_array(
            vec![0xd0, 0x8a, 0x30, 0x75],
            datatype::INT16_ARRAY,
            &[-30_000.0, 30_000.0],
        );
        check_array(vec![0x17, 0xfa], datatype::UINT8_ARRAY, &[23.0, 250.0]);
        check_array(
            vec![0x1e, 0x00, 0x88, 0xea],
            datatype::UINT16_ARRAY,
            &[30.0, 60_040.0],
        );
        check_array(1.23_f64.to_le_bytes().to_vec(), datatype::DOUBLE_ARRAY, &[1.23]);
        check_array(89.5_f32.to_le_bytes().to_vec(), datatype::FLOAT_ARRAY, &[89.5]);
        check_array((-7_i64).to_le_bytes().to_vec(), datatype::INT64_ARRAY, &[-7.0]);
        check_array(
            vec![0x0c, 0, 0, 0, 0x34, 0xd0],
            datatype::BOOLEAN_ARRAY,
            &[0., 0., 1., 1., 0., 1., 0., 0., 1., 1., 0., 1.],
        );
        for (bytes, datatype) in [
            (vec![1, 2, 3], datatype::INT16_ARRAY),
            (vec![0; 2_000], datatype::INT8_ARRAY),
            (vec![0xff; 5], datatype::BOOLEAN_ARRAY),
            (vec![1], datatype::BOOLEAN_ARRAY),
            (vec![1], 17),
        ] {
            assert!(matches!(
                content(&Value::Bytes(bytes), datatype),
                Content::Unsupported(_)
            ));
        }
    }

    #[test]
    fn data_sets_by_row_and_column() {
        let cell = |value| DataSetValue { value: Some(value) };
        let set = DataSet {
            num_of_columns: Some(2),
            columns: vec!["a".into(), "b".into()],
            types: vec![datatype::INT8, 12],
            rows: vec![Row {
                elements: vec![cell(Cell::Int(0xff)), cell(Cell::String("x".into()))],
            }],
        };
        assert_eq!(
            content(&Value::DataSet(Box::new(set)), 16),
            Content::Many(vec![("[0].a".into(), -1.0)])
        );
    }

    #[test]
    fn properties() {
        let metric = |key: &str, value| Metric {
            properties: Some(PropertySet {
                keys: vec!["other".into(), key.into()],
                values: vec![
                    PropertyValue::default(),
                    PropertyValue {
                        value: Some(value),
                        ..PropertyValue::default()
                    },
                ],
            }),
            ..Metric::default()
        };
        assert_eq!(quality(&metric("Quality", Scalar::Int(192))), 0);
        assert_eq!(quality(&metric("Quality", Scalar::Int(500))), 1);
        assert_eq!(quality(&metric("Quality", Scalar::Int(0))), 2);
        assert_eq!(quality(&Metric::default()), 0);
        assert_eq!(
            unit(&metric("engUnit", Scalar::String("°C".into()))).as_deref(),
            Some("Cel")
        );
        assert_eq!(unit(&metric("engUnit", Scalar::Int(1))), None);
    }
}

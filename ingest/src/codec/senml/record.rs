//! A record as JSON and CBOR write it: the same labels, as text or as small integers (RFC 8428,
//! tables 1 and 4).

use ciborium::value::Value as Cbor;
use serde_json::Value as Json;

use super::super::Undecodable;
use super::refuse;

/// Records that one pack may hold.
const MAX_RECORDS: usize = 100_000;

#[derive(Debug, PartialEq)]
pub(super) enum Content {
    Number(f64),
    Truth(bool),
    Text(String),
    /// Base64url without padding, as JSON has it.
    Data(String),
}

#[derive(Debug, Default)]
pub(super) struct Record {
    pub base_name: Option<String>,
    pub base_time: Option<f64>,
    pub base_unit: Option<String>,
    pub base_value: Option<f64>,
    pub base_sum: Option<f64>,
    pub base_version: Option<u64>,
    pub name: Option<String>,
    pub unit: Option<String>,
    pub value: Option<Content>,
    pub sum: Option<f64>,
    pub time: Option<f64>,
    /// A label that must be understood and isn't.
    pub unknown: Option<String>,
    /// Whether there is anything but base fields.
    pub has_own_field: bool,
}

/// What a field holds, whichever encoding it came in.
enum Field {
    Number(f64),
    Whole(i128),
    Text(String),
    Truth(bool),
    Bytes(Vec<u8>),
    Other(&'static str),
}

impl Field {
    fn kind(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Whole(number) => number.to_string(),
            Self::Text(text) => format!("text \"{}\"", text.chars().take(80).collect::<String>()),
            Self::Truth(truth) => truth.to_string(),
            Self::Bytes(_) => "bytes".to_owned(),
            Self::Other(what) => (*what).to_owned(),
        }
    }
}

pub(super) fn from_json(payload: &[u8]) -> Result<Vec<Record>, Undecodable> {
    let json: Json = serde_json::from_slice(payload)
        .map_err(|error| Undecodable::new("malformed_json", error.to_string()))?;
    let Json::Array(elements) = json else {
        return Err(Undecodable::new(
            "malformed_senml",
            "/: expected an array of records",
        ));
    };
    bounded(elements.len())?;
    elements
        .into_iter()
        .enumerate()
        .map(|(i, element)| {
            let Json::Object(members) = element else {
                return Err(refuse(i, "", "expected a record, that is an object"));
            };
            let mut record = Record::default();
            for (label, value) in members {
                let field = match value {
                    Json::Null => Field::Other("null"),
                    Json::Bool(truth) => Field::Truth(truth),
                    Json::Number(number) => match number.as_i64() {
                        Some(whole) => Field::Whole(whole.into()),
                        None => Field::Number(number.as_f64().unwrap_or(f64::NAN)),
                    },
                    Json::String(text) => Field::Text(text),
                    Json::Array(_) => Field::Other("an array"),
                    Json::Object(_) => Field::Other("an object"),
                };
                record.set(i, &label, field)?;
            }
            Ok(record)
        })
        .collect()
}

pub(super) fn from_cbor(payload: &[u8]) -> Result<Vec<Record>, Undecodable> {
    let mut rest = payload;
    let cbor: Cbor = ciborium::from_reader(&mut rest)
        .map_err(|error| Undecodable::new("malformed_cbor", cbor_error(&error)))?;
    if !rest.is_empty() {
        let at = payload.len() - rest.len();
        return Err(Undecodable::new(
            "malformed_cbor",
            format!("byte {at}: {} bytes behind the end of the pack", rest.len()),
        ));
    }
    let Cbor::Array(elements) = cbor else {
        return Err(Undecodable::new(
            "malformed_senml",
            "/: expected an array of records",
        ));
    };
    bounded(elements.len())?;
    elements
        .into_iter()
        .enumerate()
        .map(|(i, element)| {
            let Cbor::Map(members) = element else {
                return Err(refuse(i, "", "expected a record, that is a map"));
            };
            let mut record = Record::default();
            for (label, value) in members {
                let label = cbor_label(i, label)?;
                let value = match value {
                    // Decimal fractions (RFC 8949 § 3.4.4), which § 6 allows.
                    Cbor::Tag(4, inner) => {
                        decimal(&inner).unwrap_or(Field::Other("a malformed decimal fraction"))
                    }
                    Cbor::Integer(whole) => Field::Whole(whole.into()),
                    Cbor::Float(number) => Field::Number(number),
                    Cbor::Text(text) => Field::Text(text),
                    Cbor::Bool(truth) => Field::Truth(truth),
                    Cbor::Bytes(bytes) => Field::Bytes(bytes),
                    Cbor::Null => Field::Other("null"),
                    Cbor::Array(_) => Field::Other("an array"),
                    Cbor::Map(_) => Field::Other("a map"),
                    _ => Field::Other("something else"),
                };
                record.set(i, &label, value)?;
            }
            Ok(record)
        })
        .collect()
}

fn bounded(n: usize) -> Result<(), Undecodable> {
    if n > MAX_RECORDS {
        return Err(Undecodable::new(
            "too_many_readings",
            format!("/: {n} records, more than {MAX_RECORDS}: send smaller packs"),
        ));
    }
    Ok(())
}

fn cbor_error(error: &ciborium::de::Error<std::io::Error>) -> String {
    use ciborium::de::Error;
    match error {
        Error::Io(_) => "ends before the pack does".to_owned(),
        Error::Syntax(at) => format!("byte {at}: not CBOR"),
        Error::Semantic(at, what) => match at {
            Some(at) => format!("byte {at}: {what}"),
            None => what.clone(),
        },
        Error::RecursionLimitExceeded => "nested too deeply".to_owned(),
    }
}

fn cbor_label(i: usize, label: Cbor) -> Result<String, Undecodable> {
    let known = |number: i128| {
        Some(match number {
            -1 => "bver",
            -2 => "bn",
            -3 => "bt",
            -4 => "bu",
            -5 => "bv",
            -6 => "bs",
            0 => "n",
            1 => "u",
            2 => "v",
            3 => "vs",
            4 => "vb",
            5 => "s",
            6 => "t",
            7 => "ut",
            8 => "vd",
            _ => return None,
        })
    };
    match label {
        Cbor::Text(text) => Ok(text),
        Cbor::Integer(number) => {
            let number: i128 = number.into();
            // Unknown labels are ignored.
            Ok(known(number).map_or_else(|| number.to_string(), str::to_owned))
        }
        _ => Err(refuse(i, "", "a label is neither text nor a number")),
    }
}

fn decimal(inner: &Cbor) -> Option<Field> {
    let [exponent, mantissa] = inner.as_array()?.as_slice() else {
        return None;
    };
    let exponent: i128 = exponent.as_integer()?.into();
    let mantissa: i128 = mantissa.as_integer()?.into();
    let exponent = i32::try_from(exponent)
        .ok()
        .filter(|exponent| exponent.abs() <= 400)?;
    // Through text, so that 273.15 is the double nearest to it.
    format!("{mantissa}e{exponent}").parse().ok().map(Field::Number)
}

impl Record {
    fn set(&mut self, i: usize, label: &str, field: Field) -> Result<(), Undecodable> {
        let wrong = |expected: &str, field: &Field| {
            refuse(
                i,
                label,
                format_args!("expected {expected}, got {}", field.kind()),
            )
        };
        let number = |field: Field| match field {
            Field::Number(number) if number.is_finite() => Ok(number),
            Field::Whole(whole) => Ok(whole as f64),
            other => Err(wrong("a number", &other)),
        };
        let text = |field: Field| match field {
            Field::Text(text) => Ok(text),
            other => Err(wrong("text", &other)),
        };
        let one_value = |slot: &Option<Content>| match slot {
            Some(_) => Err(refuse(i, label, "the record has a second value")),
            None => Ok(()),
        };
        self.has_own_field |= !label.starts_with('b');
        match label {
            "bver" => match field {
                Field::Whole(version) if version > 0 => {
                    self.base_version = Some(u64::try_from(version).unwrap_or(u64::MAX));
                }
                other => return Err(wrong("a positive whole number", &other)),
            },
            "bn" => self.base_name = Some(text(field)?),
            "bt" => self.base_time = Some(number(field)?),
            "bu" => self.base_unit = Some(text(field)?),
            "bv" => self.base_value = Some(number(field)?),
            "bs" => self.base_sum = Some(number(field)?),
            "n" => self.name = Some(text(field)?),
            "u" => self.unit = Some(text(field)?),
            "t" => self.time = Some(number(field)?),
            "s" => self.sum = Some(number(field)?),
            "ut" => drop(number(field)?),
            "v" => {
                one_value(&self.value)?;
                self.value = Some(Content::Number(number(field)?));
            }
            "vb" => {
                one_value(&self.value)?;
                match field {
                    Field::Truth(truth) => self.value = Some(Content::Truth(truth)),
                    other => return Err(wrong("true or false", &other)),
                }
            }
            "vs" => {
                one_value(&self.value)?;
                self.value = Some(Content::Text(text(field)?));
            }
            "vd" => {
                one_value(&self.value)?;
                self.value = Some(Content::Data(match field {
                    Field::Bytes(bytes) => base64url(&bytes),
                    other => text(other)?,
                }));
            }
            _ if label.ends_with('_') => self.unknown = Some(label.to_owned()),
            _ => {}
        }
        Ok(())
    }
}

/// RFC 4648 § 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    text
}

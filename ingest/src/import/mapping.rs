//! Which column of a table means what.
//!
//! *Wide*: one row a moment, one column a channel. *Long*: one row a reading, with its channel's
//! name. Without a mapping the header decides: columns called `channel` and `value` make it long; the
//! time column is `ts`, `time`, `timestamp`, `datetime` or `date`; the device is the column `device`,
//! else the file's name. The files that `forewarn export` writes are read as they are.
//!
//! Line protocol names its channels itself; `columns` and `skip` mean them (see `lines`).

use anyhow::{bail, ensure};
use models::mapping::Text;
use serde::{Deserialize, Serialize};

/// A mapping file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mapping {
    /// Column of the time stamp.
    pub time: Option<String>,
    pub time_format: TimeFormat,
    /// IANA zone of stamps without an offset; UTC when left out.
    pub zone: Option<String>,
    /// Device of everything in the file.
    pub device: Option<String>,
    /// Column with the device's name.
    pub device_column: Option<String>,
    /// Long form: columns with the channel's name, the value, its unit (UCUM), its quality (good, suspect,
    /// bad or 0, 1, 2).
    pub channel_column: Option<String>,
    pub value_column: Option<String>,
    pub unit_column: Option<String>,
    pub quality_column: Option<String>,
    /// Unit of all values that have none of their own.
    pub unit: Option<String>,
    /// Wide form: what columns are called as channels. Others keep their names.
    pub columns: Vec<ColumnMap>,
    /// Wide form: columns that are no channels.
    pub skip: Vec<String>,
    /// CSV: what stands between fields; a comma when left out.
    pub delimiter: Option<char>,
    /// Line protocol: what becomes of texts. Not written when it is as usual: a file that was begun under an
    /// older version keeps its sequence.
    #[serde(skip_serializing_if = "is_usual")]
    pub text: Text,
}

fn is_usual(text: &Text) -> bool {
    *text == Text::default()
}

/// A column of a wide table as a channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColumnMap {
    /// As in the header.
    pub column: String,
    pub channel: Option<String>,
    pub device: Option<String>,
    pub unit: Option<String>,
}

/// How time is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum TimeFormat {
    /// RFC 3339, the same with a blank, or a number since 1970 whose unit its size tells.
    #[default]
    Auto,
    Rfc3339,
    UnixS,
    UnixMs,
    UnixUs,
    UnixNs,
    /// As strptime, such as `%d.%m.%Y %H:%M:%S`.
    Pattern(String),
}

impl From<String> for TimeFormat {
    fn from(text: String) -> Self {
        match text.as_str() {
            "auto" | "" => Self::Auto,
            "rfc3339" => Self::Rfc3339,
            "unix_s" => Self::UnixS,
            "unix_ms" => Self::UnixMs,
            "unix_us" => Self::UnixUs,
            "unix_ns" => Self::UnixNs,
            _ => Self::Pattern(text),
        }
    }
}

impl From<TimeFormat> for String {
    fn from(format: TimeFormat) -> Self {
        match format {
            TimeFormat::Auto => "auto".into(),
            TimeFormat::Rfc3339 => "rfc3339".into(),
            TimeFormat::UnixS => "unix_s".into(),
            TimeFormat::UnixMs => "unix_ms".into(),
            TimeFormat::UnixUs => "unix_us".into(),
            TimeFormat::UnixNs => "unix_ns".into(),
            TimeFormat::Pattern(text) => text,
        }
    }
}

/// Where a row's device stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DeviceFrom {
    Fixed(String),
    Column(usize),
}

/// A value column of a wide table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wide {
    pub at: usize,
    pub channel: String,
    /// Of its own, over the row's.
    pub device: Option<String>,
    pub unit: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Long {
        channel: usize,
        value: usize,
        unit: Option<usize>,
        quality: Option<usize>,
    },
    Wide(Vec<Wide>),
}

/// A mapping applied to a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub time: usize,
    pub device: DeviceFrom,
    /// Of values that have none of their own.
    pub unit: Option<String>,
    pub shape: Shape,
}

impl Layout {
    /// Values of one record.
    pub fn width(&self) -> usize {
        match &self.shape {
            Shape::Long { .. } => 1,
            Shape::Wide(columns) => columns.len().max(1),
        }
    }

    /// # Errors
    /// Names the column that is missing, or says that none holds the time.
    pub fn new(mapping: &Mapping, header: &[String], file_stem: &str) -> anyhow::Result<Self> {
        let find = |name: &str| header.iter().position(|column| column.trim() == name);
        let named = |name: &Option<String>, what: &str, usual: &[&str]| match name {
            Some(name) => match find(name) {
                Some(at) => Ok(Some(at)),
                None => bail!(
                    "{what} = \"{name}\": the header has no such column, it has {}",
                    header.join(", ")
                ),
            },
            None => Ok(header
                .iter()
                .position(|column| usual.contains(&column.trim().to_ascii_lowercase().as_str()))),
        };
        const TIMES: [&str; 6] = ["ts", "time", "timestamp", "datetime", "date", "_time"];
        let Some(time) = named(&mapping.time, "time", &TIMES)? else {
            bail!(
                "no column is called {}: name the time column in the mapping (--map), time = \"…\"; the header has {}",
                TIMES.join(", "),
                header.join(", ")
            );
        };
        let device_column = named(&mapping.device_column, "device_column", &["device"])?;
        let device = match (&mapping.device, device_column) {
            (Some(device), _) => DeviceFrom::Fixed(device.clone()),
            (None, Some(at)) => DeviceFrom::Column(at),
            (None, None) => DeviceFrom::Fixed(file_stem.to_owned()),
        };
        let channel = named(&mapping.channel_column, "channel_column", &["channel"])?;
        let value = named(&mapping.value_column, "value_column", &["value"])?;
        let unit = named(&mapping.unit_column, "unit_column", &["unit"])?;
        let quality = named(&mapping.quality_column, "quality_column", &["quality"])?;
        let shape = match (channel, value) {
            (Some(channel), Some(value)) => Shape::Long {
                channel,
                value,
                unit,
                quality,
            },
            (Some(_), None) if mapping.channel_column.is_some() => {
                bail!("channel_column is given and no column holds the value: name it, value_column = \"…\"")
            }
            _ => {
                for column in &mapping.columns {
                    ensure!(
                        find(&column.column).is_some(),
                        "columns: \"{}\" is not in the header, which has {}",
                        column.column,
                        header.join(", ")
                    );
                }
                let device_at = match device {
                    DeviceFrom::Column(at) => Some(at),
                    DeviceFrom::Fixed(_) => device_column,
                };
                let wide: Vec<Wide> = header
                    .iter()
                    .enumerate()
                    .filter(|(at, name)| {
                        *at != time
                            && Some(*at) != device_at
                            && !mapping.skip.iter().any(|skip| skip == name.trim())
                    })
                    .map(|(at, name)| {
                        let map = mapping.columns.iter().find(|map| map.column == name.trim());
                        Wide {
                            at,
                            channel: map
                                .and_then(|map| map.channel.clone())
                                .unwrap_or_else(|| name.trim().to_owned()),
                            device: map.and_then(|map| map.device.clone()),
                            unit: map
                                .and_then(|map| map.unit.clone())
                                .or_else(|| mapping.unit.clone()),
                        }
                    })
                    .collect();
                ensure!(
                    !wide.is_empty(),
                    "there is no column beside the time: nothing to import"
                );
                Shape::Wide(wide)
            }
        };
        Ok(Self {
            time,
            device,
            unit: mapping.unit.clone(),
            shape,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> Vec<String> {
        text.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn the_header_decides_when_nothing_is_said() {
        let long = Layout::new(
            &Mapping::default(),
            &header("gateway,device,channel,unit,ts,value,quality"),
            "f",
        )
        .unwrap();
        assert_eq!(
            (long.time, &long.device, long.width()),
            (4, &DeviceFrom::Column(1), 1)
        );
        let wide = Layout::new(&Mapping::default(), &header("Time,temp,flow"), "pump-7").unwrap();
        assert_eq!((wide.time, wide.width()), (0, 2));
        assert_eq!(wide.device, DeviceFrom::Fixed("pump-7".into()));
    }

    #[test]
    fn a_mapping_names_and_a_wrong_one_is_told() {
        let mapping = Mapping {
            time: Some("when".into()),
            columns: vec![ColumnMap {
                column: "t1".into(),
                channel: Some("temperature".into()),
                unit: Some("Cel".into()),
                device: None,
            }],
            skip: vec!["note".into()],
            ..Mapping::default()
        };
        let layout = Layout::new(&mapping, &header("when,t1,note,flow"), "f").unwrap();
        let Shape::Wide(wide) = layout.shape else { panic!() };
        assert_eq!(wide[0].channel, "temperature");
        assert_eq!((wide[0].unit.as_deref(), wide.len()), (Some("Cel"), 2));
        for (mapping, head, word) in [
            (
                Mapping {
                    time: Some("x".into()),
                    ..Mapping::default()
                },
                "a,b",
                "\"x\"",
            ),
            (Mapping::default(), "a,b", "time"),
            (mapping, "when,b", "\"t1\""),
            (Mapping::default(), "ts", "nothing to import"),
        ] {
            let error = Layout::new(&mapping, &header(head), "f").unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}

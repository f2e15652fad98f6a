//! Files of rows: CSV with any columns, and the two data sets whose columns are known.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};

use super::{Config, FileFormat, Series};
use crate::batch::Channel;

/// Values a file may hold; more is a task for an import.
const MAX_VALUES: usize = 4 << 20;

/// Column, channel, unit.
const IMS: [(&str, &str, &str); 5] = [
    ("rms", "rms", "[g]"),
    ("peak", "peak", "[g]"),
    ("kurtosis", "kurtosis", "1"),
    ("crest", "crest", "1"),
    ("mean", "mean", "[g]"),
];

const CMAPSS: [(&str, &str, &str); 15] = [
    ("cycle", "cycle", "{cycle}"),
    ("T24", "T24", "[degR]"),
    ("T30", "T30", "[degR]"),
    ("T50", "T50", "[degR]"),
    ("P30", "P30", "[psi]"),
    ("Nf", "Nf", "{rpm}"),
    ("Nc", "Nc", "{rpm}"),
    ("Ps30", "Ps30", "[psi]"),
    ("phi", "phi", "1"),
    ("NRf", "NRf", "{rpm}"),
    ("NRc", "NRc", "{rpm}"),
    ("BPR", "BPR", "1"),
    ("htBleed", "htBleed", "1"),
    ("W31", "W31", "[lb_av]/s"),
    ("W32", "W32", "[lb_av]/s"),
];

/// All columns of NASA's own text files, which have no header.
const CMAPSS_RAW: &str = "unit cycle setting1 setting2 setting3 T2 T24 T30 T50 P2 P15 P30 Nf Nc epr Ps30 phi NRf NRc BPR farB htBleed Nf_dmd PCNfR_dmd W31 W32";

/// A device's column, and column, channel and unit of the others.
pub(super) type Mapping<'a> = (Option<&'a str>, Vec<(&'a str, &'a str, &'a str)>);

fn mapping(config: &Config) -> anyhow::Result<Mapping<'_>> {
    Ok(match config.format {
        FileFormat::Ims => (Some("bearing"), IMS.to_vec()),
        FileFormat::Cmapss => (Some("unit"), CMAPSS.to_vec()),
        FileFormat::Csv | FileFormat::Parquet => {
            ensure!(
                !config.columns.is_empty(),
                "`format = \"csv\"` and `\"parquet\"` need [collect.columns]"
            );
            let columns = config.columns.iter();
            (
                config.device_column.as_deref(),
                columns
                    .map(|(c, to)| (c.as_str(), to.channel.as_str(), to.unit.as_str()))
                    .collect(),
            )
        }
    })
}

pub fn read(config: &Config, path: &Path) -> anyhow::Result<Vec<Series>> {
    let (device_column, mapping) = mapping(config)?;
    if config.format == FileFormat::Parquet {
        #[cfg(feature = "parquet")]
        return super::parquet::read(config, path, device_column, &mapping);
        #[cfg(not(feature = "parquet"))]
        bail!("this executable was built without Parquet");
    }
    let file = std::fs::File::open(path)?;
    let mut reader: Box<dyn BufRead> = if path.extension().is_some_and(|extension| extension == "gz") {
        Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(file)))
    } else {
        Box::new(BufReader::new(file))
    };
    // NASA's files have neither header nor commas.
    let raw =
        config.format == FileFormat::Cmapss && reader.fill_buf()?.first().is_some_and(u8::is_ascii_digit);
    if raw {
        let mut text = CMAPSS_RAW.replace(' ', ",");
        for line in reader.lines() {
            text.push('\n');
            text.push_str(&line?.split_whitespace().collect::<Vec<_>>().join(","));
        }
        read_rows(config, std::io::Cursor::new(text), device_column, &mapping)
    } else {
        read_rows(config, reader, device_column, &mapping)
    }
}

fn read_rows(
    config: &Config,
    reader: impl Read,
    device_column: Option<&str>,
    mapping: &[(&str, &str, &str)],
) -> anyhow::Result<Vec<Series>> {
    let mut csv = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(reader);
    let header = csv.headers()?.clone();
    let position = |name: &str| {
        header.iter().position(|column| column == name).with_context(|| {
            format!(
                "has no column `{name}`; it has {}",
                header.iter().collect::<Vec<_>>().join(", ")
            )
        })
    };
    let device_at = device_column.map(position).transpose()?;
    let columns: Vec<usize> = mapping
        .iter()
        .map(|(column, ..)| position(column))
        .collect::<anyhow::Result<_>>()?;
    let mut rows = Rows::new(config, device_column.is_some(), mapping);
    let mut values = vec![f64::NAN; mapping.len()];
    for (i, row) in csv.records().enumerate() {
        let row = row?;
        let line = i + 2;
        let key = device_at.map_or("", |at| row.get(at).unwrap_or_default());
        for ((value, column), (name, ..)) in values.iter_mut().zip(&columns).zip(mapping) {
            let text = row.get(*column).unwrap_or_default();
            *value = if text.is_empty() {
                f64::NAN
            } else {
                text.parse()
                    .with_context(|| format!("line {line}, column `{name}`: `{text}` is not a number"))?
            };
        }
        rows.push(key, &values)?;
    }
    Ok(rows.done())
}

/// Rows become series, one for each device.
pub(super) struct Rows<'a> {
    config: &'a Config,
    by_column: bool,
    mapping: &'a [(&'a str, &'a str, &'a str)],
    found: Vec<(String, Series)>,
    total: usize,
}

impl<'a> Rows<'a> {
    pub fn new(config: &'a Config, by_column: bool, mapping: &'a [(&'a str, &'a str, &'a str)]) -> Self {
        Self {
            config,
            by_column,
            mapping,
            found: Vec::new(),
            total: 0,
        }
    }

    /// One row: the device column's text and a value for each column; NaN = empty.
    pub fn push(&mut self, key: &str, values: &[f64]) -> anyhow::Result<()> {
        if let Some(units) = &self.config.units
            && !key.parse().is_ok_and(|unit: u32| units.contains(&unit))
        {
            return Ok(());
        }
        // Rows of a device usually follow each other; the last one found is the best guess.
        let at = match self.found.iter().rposition(|(name, _)| name == key) {
            Some(at) => at,
            None => self.add(key)?,
        };
        let series = &mut self.found[at].1;
        if self
            .config
            .max_rows
            .is_some_and(|max| series.rows() >= max as i64)
        {
            return Ok(());
        }
        series.values.extend_from_slice(values);
        self.total += values.len();
        ensure!(
            self.total <= MAX_VALUES,
            "holds more than {MAX_VALUES} values: import it instead"
        );
        Ok(())
    }

    fn add(&mut self, key: &str) -> anyhow::Result<usize> {
        let prefix = self.config.device_prefix.as_deref();
        let device: Arc<str> = match (self.by_column, prefix, self.config.device.as_deref()) {
            (true, prefix, None) => format!("{}{key}", prefix.unwrap_or_default()).into(),
            (false, None, Some(device)) => device.into(),
            _ => bail!("give `device`, or a column for it with `device_prefix`"),
        };
        let channel = |(_, name, unit): &(&str, &str, &str)| {
            Arc::new(Channel {
                device: Arc::clone(&device),
                name: (*name).to_owned(),
                unit: (*unit).to_owned(),
            })
        };
        let channels = self.mapping.iter().map(channel).collect();
        self.found.push((
            key.to_owned(),
            Series {
                channels,
                values: Vec::new(),
                past: 0,
            },
        ));
        Ok(self.found.len() - 1)
    }

    pub fn done(self) -> Vec<Series> {
        self.found.into_iter().map(|(_, series)| series).collect()
    }
}

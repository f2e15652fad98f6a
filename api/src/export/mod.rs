//! Readings as files: CSV, Parquet, Arrow stream; for the API and for the command line.
//!
//! Page by page: a page of one channel comes from the database ([`models::db::history::copy`]), is
//! encoded, goes out, and is forgotten, so that a year of a plant needs no more memory than a day of
//! a sensor. Columns: gateway, device, channel, unit, ts, value, quality; channel by channel, oldest
//! first. `forewarn import` reads all but the Arrow stream back as they are.

mod columnar;
mod csv;

use models::db::history::RawPoint;
use models::db::history::tree::ChannelPlace;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    #[default]
    Csv,
    Parquet,
    /// Arrow's streaming IPC form.
    Arrow,
}

impl ExportFormat {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    pub fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Arrow => "arrows",
        }
    }
}

impl std::str::FromStr for ExportFormat {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "csv" => Ok(Self::Csv),
            "parquet" => Ok(Self::Parquet),
            "arrow" | "arrows" => Ok(Self::Arrow),
            _ => anyhow::bail!("`{text}` is none of csv, parquet, arrow"),
        }
    }
}

/// The column names of every format.
pub const COLUMNS: [&str; 7] = ["gateway", "device", "channel", "unit", "ts", "value", "quality"];

/// Turns readings into bytes.
pub struct Encoder(Kind);

enum Kind {
    Csv(csv::Csv),
    Columnar(Box<columnar::Columnar>),
}

impl Encoder {
    /// # Errors
    /// When the format's head can't be written.
    pub fn new(format: ExportFormat) -> anyhow::Result<Self> {
        Ok(Self(match format {
            ExportFormat::Csv => Kind::Csv(csv::Csv::new()),
            ExportFormat::Parquet => Kind::Columnar(Box::new(columnar::Columnar::parquet()?)),
            ExportFormat::Arrow => Kind::Columnar(Box::new(columnar::Columnar::arrow()?)),
        }))
    }

    /// Takes readings of one channel in.
    ///
    /// # Errors
    /// When they can't be encoded.
    pub fn push(&mut self, place: &ChannelPlace, rows: &[RawPoint]) -> anyhow::Result<()> {
        match &mut self.0 {
            Kind::Csv(csv) => csv.push(place, rows),
            Kind::Columnar(columnar) => columnar.push(place, rows)?,
        }
        Ok(())
    }

    /// What is ready to go out.
    pub fn take(&mut self) -> Vec<u8> {
        match &mut self.0 {
            Kind::Csv(csv) => csv.take(),
            Kind::Columnar(columnar) => columnar.take(),
        }
    }

    /// The rest.
    ///
    /// # Errors
    /// When the format's end can't be written.
    pub fn finish(self) -> anyhow::Result<Vec<u8>> {
        match self.0 {
            Kind::Csv(mut csv) => Ok(csv.take()),
            Kind::Columnar(columnar) => columnar.finish(),
        }
    }
}

//! Parquet files, row by row, through the format's own record reader: no Arrow in the executable.

use std::path::Path;

use anyhow::{Context, ensure};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;

use super::table::Rows;
use super::{Config, Series};

pub fn read(
    config: &Config,
    path: &Path,
    device_column: Option<&str>,
    mapping: &[(&str, &str, &str)],
) -> anyhow::Result<Vec<Series>> {
    let file =
        SerializedFileReader::new(std::fs::File::open(path)?).context("not a Parquet file, or damaged")?;
    let schema = file.metadata().file_metadata().schema().clone();
    let fields = schema.get_fields();
    let names: Vec<&str> = fields.iter().map(|field| field.name()).collect();
    let wanted: Vec<&str> = device_column
        .into_iter()
        .chain(mapping.iter().map(|(column, ..)| *column))
        .collect();
    for column in &wanted {
        ensure!(
            names.contains(column),
            "has no column `{column}`; it has {}",
            names.join(", ")
        );
    }
    // Only the columns that are asked for are read from the file.
    let projected = Type::group_type_builder(schema.name())
        .with_fields(
            fields
                .iter()
                .filter(|field| wanted.contains(&field.name()))
                .cloned()
                .collect(),
        )
        .build()?;
    let mut rows = Rows::new(config, device_column.is_some(), mapping);
    let mut values = vec![f64::NAN; mapping.len()];
    for (i, row) in file.get_row_iter(Some(projected))?.enumerate() {
        let row: Row = row.with_context(|| format!("row {}", i + 1))?;
        let field = |name: &str| {
            row.get_column_iter()
                .find_map(|(column, field)| (column == name).then_some(field))
        };
        for (value, (name, ..)) in values.iter_mut().zip(mapping) {
            *value = number(field(name)).map_err(|found| {
                anyhow::anyhow!("row {}, column `{name}`: `{found}` is not a number", i + 1)
            })?;
        }
        let key = match device_column.and_then(field) {
            None | Some(Field::Null) => String::new(),
            Some(Field::Str(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        rows.push(&key, &values)?;
    }
    Ok(rows.done())
}

/// # Errors
/// The field as text, when it is no number.
fn number(field: Option<&Field>) -> Result<f64, String> {
    Ok(match field {
        None | Some(Field::Null) => f64::NAN,
        Some(Field::Bool(on)) => f64::from(u8::from(*on)),
        Some(Field::Byte(n)) => f64::from(*n),
        Some(Field::Short(n)) => f64::from(*n),
        Some(Field::Int(n)) => f64::from(*n),
        Some(Field::Long(n)) => *n as f64,
        Some(Field::UByte(n)) => f64::from(*n),
        Some(Field::UShort(n)) => f64::from(*n),
        Some(Field::UInt(n)) => f64::from(*n),
        Some(Field::ULong(n)) => *n as f64,
        Some(Field::Float(n)) => f64::from(*n),
        Some(Field::Double(n)) => *n,
        Some(other) => return Err(other.to_string()),
    })
}

//! Features and labels for notebooks: two Parquet files for a class.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::data::Rows;

/// Writes `features.parquet` (asset, window_end, one column for each feature, null = not known) and
/// `labels.parquet` (asset, failed_at, weight, source, failure_mode: null = not said) into `folder`. Returns rows written of each.
///
/// # Errors
/// When a file can't be written, by name.
pub fn write(rows: &Rows, folder: &Path) -> anyhow::Result<(usize, usize)> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let time = |name: &str| {
        Field::new(
            name,
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            false,
        )
    };
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let mut fields = vec![text("asset"), time("window_end")];
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            rows.asset.iter().map(ToString::to_string),
        )),
        Arc::new(
            TimestampMicrosecondArray::from_iter_values(rows.at.iter().map(|at| at.micros()))
                .with_timezone("UTC"),
        ),
    ];
    for (place, name) in rows.layout.names().iter().enumerate() {
        fields.push(Field::new(name, DataType::Float64, true));
        let column = rows.x.column(place);
        columns.push(Arc::new(Float64Array::from_iter(
            column.iter().map(|value| value.is_finite().then_some(*value)),
        )));
    }
    file(&folder.join("features.parquet"), fields, columns)?;
    let labels = &rows.labels;
    let fields = vec![
        text("asset"),
        time("failed_at"),
        Field::new("weight", DataType::Float64, false),
        text("source"),
        Field::new("failure_mode", DataType::Utf8, true),
    ];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            labels.iter().map(|label| label.asset.to_string()),
        )),
        Arc::new(
            TimestampMicrosecondArray::from_iter_values(labels.iter().map(|label| label.at.micros()))
                .with_timezone("UTC"),
        ),
        Arc::new(Float64Array::from_iter_values(
            labels.iter().map(|label| label.weight),
        )),
        Arc::new(StringArray::from_iter_values(
            labels.iter().map(|label| &label.source),
        )),
        Arc::new(StringArray::from_iter(
            labels
                .iter()
                .map(|label| label.mode.as_ref().map(|(_, name)| name)),
        )),
    ];
    file(&folder.join("labels.parquet"), fields, columns)?;
    Ok((rows.len(), labels.len()))
}

fn file(path: &Path, fields: Vec<Field>, columns: Vec<ArrayRef>) -> anyhow::Result<()> {
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), columns)?;
    let place = || path.display().to_string();
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let mut writer = ArrowWriter::try_new(
        std::fs::File::create(path).with_context(place)?,
        schema,
        Some(properties),
    )
    .with_context(place)?;
    writer.write(&batch).with_context(place)?;
    writer.close().with_context(place)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::learn::data::tests::fleet;

    #[test]
    fn what_is_written_can_be_read() {
        let rows = fleet(3, 60, |machine| (machine == 1).then_some(40));
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(write(&rows, folder.path()).unwrap(), (180, 1));
        let open = |name: &str| {
            let file = std::fs::File::open(folder.path().join(name)).unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(file)
                .unwrap()
                .build()
                .unwrap();
            reader.map(Result::unwrap).collect::<Vec<_>>().remove(0)
        };
        let features = open("features.parquet");
        assert_eq!(
            (features.num_rows(), features.num_columns()),
            (180, 2 + rows.layout.names().len())
        );
        let last = features.column_by_name("vibration.last").unwrap();
        let last = last.as_any().downcast_ref::<Float64Array>().unwrap();
        assert_eq!(last.value(7), rows.x[[7, 0]]);
        assert_eq!(open("labels.parquet").num_rows(), 1);
    }
}

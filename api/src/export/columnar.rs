//! Readings as Arrow batches, streamed as they are or gathered into Parquet row groups.

use std::io::Write;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use models::db::history::RawPoint;
use models::db::history::tree::ChannelPlace;
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

/// Rows of a Parquet row group: what is held in memory before it goes out.
const ROW_GROUP: usize = 262_144;

/// Where the writers write and [`Columnar::take`] takes from.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

enum Writer {
    Parquet(ArrowWriter<Buffer>),
    Arrow(StreamWriter<Buffer>),
}

pub(super) struct Columnar {
    schema: SchemaRef,
    buffer: Buffer,
    writer: Writer,
}

fn schema(text: DataType) -> SchemaRef {
    let name = |name: &str| Field::new(name, text.clone(), false);
    Arc::new(Schema::new(vec![
        name("gateway"),
        name("device"),
        name("channel"),
        name("unit"),
        Field::new(
            "ts",
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            false,
        ),
        Field::new("value", DataType::Float64, false),
        name("quality"),
    ]))
}

impl Columnar {
    /// # Errors
    /// When the writer refuses the schema.
    pub fn parquet() -> anyhow::Result<Self> {
        let schema = schema(DataType::Dictionary(
            Box::new(DataType::Int32),
            Box::new(DataType::Utf8),
        ));
        let buffer = Buffer::default();
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
            .set_max_row_group_row_count(Some(ROW_GROUP))
            .build();
        let writer = ArrowWriter::try_new(buffer.clone(), schema.clone(), Some(properties))?;
        Ok(Self {
            schema,
            buffer,
            writer: Writer::Parquet(writer),
        })
    }

    /// Text is plain there: dictionaries that change within a stream are not read by everybody.
    ///
    /// # Errors
    /// When the head can't be written.
    pub fn arrow() -> anyhow::Result<Self> {
        let schema = schema(DataType::Utf8);
        let buffer = Buffer::default();
        let writer = StreamWriter::try_new(buffer.clone(), &schema)?;
        Ok(Self {
            schema,
            buffer,
            writer: Writer::Arrow(writer),
        })
    }

    pub fn push(&mut self, place: &ChannelPlace, rows: &[RawPoint]) -> anyhow::Result<()> {
        let n = rows.len();
        let qualities = ["good", "suspect", "bad"];
        let code = |row: &RawPoint| i32::from(row.quality.clamp(0, 2));
        let names = [&place.gateway, &place.device, &place.name, &place.unit];
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(7);
        let quality: ArrayRef = match &self.writer {
            Writer::Parquet(_) => {
                for name in names {
                    let values = Arc::new(StringArray::from(vec![name.as_str()]));
                    let keys = Int32Array::from(vec![0; n]);
                    columns.push(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values)?));
                }
                let values = Arc::new(StringArray::from(qualities.to_vec()));
                let keys: Int32Array = rows.iter().map(|row| Some(code(row))).collect();
                Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values)?)
            }
            Writer::Arrow(_) => {
                for name in names {
                    let repeated = std::iter::repeat_n(name.as_str(), n);
                    columns.push(Arc::new(StringArray::from_iter_values(repeated)));
                }
                let words = rows.iter().map(|row| qualities[code(row) as usize]);
                Arc::new(StringArray::from_iter_values(words))
            }
        };
        let stamps = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.ts.micros()));
        columns.push(Arc::new(stamps.with_timezone("UTC")));
        columns.push(Arc::new(Float64Array::from_iter_values(
            rows.iter().map(|row| row.value),
        )));
        columns.push(quality);
        let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
        match &mut self.writer {
            Writer::Parquet(writer) => writer.write(&batch)?,
            Writer::Arrow(writer) => writer.write(&batch)?,
        }
        Ok(())
    }

    pub fn take(&mut self) -> Vec<u8> {
        self.buffer.take()
    }

    pub fn finish(self) -> anyhow::Result<Vec<u8>> {
        match self.writer {
            Writer::Parquet(writer) => {
                writer.close()?;
            }
            Writer::Arrow(mut writer) => writer.finish()?,
        }
        Ok(self.buffer.take())
    }
}

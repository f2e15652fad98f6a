//! Readings become batches: columns by channel, sorted by time, compressed.
//!
//! A chunk is what a collector hands over in one piece, with how far it is after it. A chunk is never
//! split over two batches, so that a record on the disk holds readings and progress that belong
//! together.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use models::reading::Quality;
use models::time::Timestamp;
use models::wire;
use prost::Message;
use tokio::sync::{mpsc, oneshot};

use crate::spool::Entry;
use crate::spool::writer::Job;

/// One series, as the wire names it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Channel {
    pub device: Arc<str>,
    pub name: String,
    /// UCUM code.
    pub unit: String,
}

#[derive(Clone, Debug)]
pub struct Reading {
    pub channel: Arc<Channel>,
    pub ts: Timestamp,
    pub value: f64,
    pub quality: Quality,
}

/// Told once what it came with is safe on the disk.
pub type Kept = oneshot::Sender<()>;

/// Readings of one collector.
#[derive(Debug)]
pub struct Chunk {
    pub collector: Arc<str>,
    pub readings: Vec<Reading>,
    pub events: Vec<wire::Event>,
    /// How far the collector is; kept with the readings. `None` = it can't go on where it stopped.
    pub resume: Option<Vec<u8>>,
    /// For a collector that answers only when the readings can't be lost any more.
    pub kept: Option<Kept>,
}

/// How far all collectors are.
#[derive(Clone, PartialEq, Message)]
struct Progress {
    #[prost(btree_map = "string, bytes", tag = "1")]
    collectors: BTreeMap<String, Vec<u8>>,
}

/// Reads what [`Batcher`] put into the newest record. Damage is treated as nothing known.
pub fn read_progress(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let plain = zstd::bulk::decompress(bytes, 16 << 20).unwrap_or_default();
    Progress::decode(plain.as_slice())
        .map(|progress| progress.collectors)
        .unwrap_or_default()
}

#[derive(Default)]
struct Column {
    ts: Vec<i64>,
    values: Vec<f64>,
    qualities: Vec<Quality>,
    sorted: bool,
}

/// Gathers chunks.
pub struct Batcher {
    columns: HashMap<Arc<Channel>, Column>,
    events: Vec<wire::Event>,
    kept: Vec<Kept>,
    progress: Progress,
    readings: usize,
    /// Chunks without readings may carry progress.
    news: bool,
    level: i32,
}

impl Batcher {
    /// `progress` is what [`read_progress`] returned.
    pub fn new(level: i32, progress: BTreeMap<String, Vec<u8>>) -> Self {
        Self {
            columns: HashMap::new(),
            events: Vec::new(),
            kept: Vec::new(),
            progress: Progress { collectors: progress },
            readings: 0,
            news: false,
            level,
        }
    }

    pub fn push(&mut self, chunk: Chunk) {
        self.readings += chunk.readings.len();
        self.news = true;
        for reading in chunk.readings {
            let column = match self.columns.get_mut(&reading.channel) {
                Some(column) => column,
                None => self.columns.entry(reading.channel).or_insert_with(|| Column {
                    sorted: true,
                    ..Column::default()
                }),
            };
            column.sorted &= column.ts.last().is_none_or(|last| *last <= reading.ts.micros());
            column.ts.push(reading.ts.micros());
            column.values.push(reading.value);
            column.qualities.push(reading.quality);
        }
        self.events.extend(chunk.events);
        self.kept.extend(chunk.kept);
        if let Some(resume) = chunk.resume {
            self.progress
                .collectors
                .insert(chunk.collector.to_string(), resume);
        }
    }

    pub fn readings(&self) -> usize {
        self.readings
    }

    pub fn is_empty(&self) -> bool {
        !self.news
    }

    /// Who waits for what [`Batcher::take`] returned to be safe.
    pub fn take_kept(&mut self) -> Vec<Kept> {
        std::mem::take(&mut self.kept)
    }

    /// Everything gathered, as one entry; the batch in it has neither number nor floor yet.
    ///
    /// # Errors
    /// When zstd fails, which needs no more than memory.
    pub fn take(&mut self) -> std::io::Result<Entry> {
        let mut columns: Vec<(Arc<Channel>, Column)> = self
            .columns
            .iter_mut()
            .filter(|(_, column)| !column.ts.is_empty())
            .map(|(channel, column)| (Arc::clone(channel), std::mem::take(column)))
            .collect();
        for column in self.columns.values_mut() {
            column.sorted = true;
        }
        // Neighbours in the batch are neighbours in the plant: their time stamps are the same bytes.
        columns.sort_unstable_by(|(a, _), (b, _)| (&a.device, &a.name).cmp(&(&b.device, &b.name)));
        let (mut oldest, mut newest) = (i64::MAX, i64::MIN);
        let mut batch = wire::Batch {
            events: std::mem::take(&mut self.events),
            ..wire::Batch::default()
        };
        for event in &batch.events {
            (oldest, newest) = (oldest.min(event.ts), newest.max(event.ts));
        }
        for (channel, column) in columns {
            let mut order: Vec<usize> = (0..column.ts.len()).collect();
            if !column.sorted {
                order.sort_by_key(|i| column.ts[*i]);
            }
            let mut out = wire::Column {
                device: channel.device.to_string(),
                channel: channel.name.clone(),
                unit: channel.unit.clone(),
                ..wire::Column::default()
            };
            let mut last = 0;
            for i in order {
                out.push(
                    &mut last,
                    Timestamp::from_micros(column.ts[i]),
                    column.values[i],
                    column.qualities[i],
                );
                (oldest, newest) = (oldest.min(column.ts[i]), newest.max(column.ts[i]));
            }
            batch.columns.push(out);
        }
        let readings = u32::try_from(self.readings).unwrap_or(u32::MAX);
        self.readings = 0;
        self.news = false;
        Ok(Entry {
            readings,
            span: if oldest <= newest {
                (oldest, newest)
            } else {
                (0, 0)
            },
            resume: zstd::bulk::compress(&self.progress.encode_to_vec(), 3)?,
            payload: zstd::bulk::compress(&batch.encode_to_vec(), self.level)?,
        })
    }
}

/// Completes a batch on its way out: number, floor and time of sending are known only now.
///
/// They are appended to the encoded message: of a field that occurs twice, the last one counts.
///
/// # Errors
/// When the payload is no zstd frame.
pub fn finish(payload: &[u8], epoch: u64, seq: u64, floor: u64, now: Timestamp) -> std::io::Result<Vec<u8>> {
    let mut plain = zstd::bulk::decompress(payload, wire::MAX_BATCH_BYTES)?;
    let head = wire::Batch {
        epoch,
        seq,
        floor,
        sent_at: now.micros(),
        ..wire::Batch::default()
    };
    plain.extend_from_slice(&head.encode_to_vec());
    zstd::bulk::compress(&plain, 1)
}

/// Gathers from `chunks` until they end, then hands over the rest.
///
/// # Errors
/// When compression fails, or the spool's writer is gone.
pub async fn run(
    mut batcher: Batcher,
    mut chunks: mpsc::Receiver<Chunk>,
    entries: mpsc::Sender<Job>,
    max_readings: usize,
    max_age: Duration,
) -> anyhow::Result<()> {
    let mut due: Option<tokio::time::Instant> = None;
    loop {
        let chunk = match due {
            Some(due) => tokio::time::timeout_at(due, chunks.recv()).await,
            None => Ok(chunks.recv().await),
        };
        let (full, ended) = match chunk {
            Ok(Some(chunk)) => {
                let more = chunk.readings.len();
                if !batcher.is_empty() && batcher.readings() + more > max_readings {
                    send(&mut batcher, &entries).await?;
                    due = None;
                }
                batcher.push(chunk);
                due.get_or_insert_with(|| tokio::time::Instant::now() + max_age);
                (batcher.readings() >= max_readings, false)
            }
            Ok(None) => (true, true),
            Err(_) => (true, false),
        };
        if full && !batcher.is_empty() {
            send(&mut batcher, &entries).await?;
            due = None;
        }
        if ended {
            return Ok(());
        }
    }
}

async fn send(batcher: &mut Batcher, entries: &mpsc::Sender<Job>) -> anyhow::Result<()> {
    let job = Job {
        entry: batcher.take()?,
        kept: batcher.take_kept(),
    };
    entries
        .send(job)
        .await
        .map_err(|_| anyhow::anyhow!("the spool's writer is gone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> Arc<Channel> {
        Arc::new(Channel {
            device: "d".into(),
            name: name.to_owned(),
            unit: "1".to_owned(),
        })
    }

    fn chunk(channel: &Arc<Channel>, ts: &[i64]) -> Chunk {
        let readings = ts
            .iter()
            .map(|ts| Reading {
                channel: Arc::clone(channel),
                ts: Timestamp::from_secs(*ts),
                value: *ts as f64,
                quality: Quality::Good,
            })
            .collect();
        Chunk {
            collector: "c".into(),
            readings,
            events: Vec::new(),
            resume: Some(ts.last().map_or(Vec::new(), |t| t.to_le_bytes().to_vec())),
            kept: None,
        }
    }

    #[test]
    fn a_batch_is_complete_only_when_sent() {
        let (a, b) = (channel("a"), channel("b"));
        let mut batcher = Batcher::new(3, BTreeMap::from([("other".to_owned(), vec![7])]));
        batcher.push(chunk(&b, &[5, 3, 4]));
        batcher.push(chunk(&a, &[1, 2]));
        let entry = batcher.take().unwrap();
        assert!(batcher.is_empty());
        assert_eq!((entry.readings, entry.span), (5, (1_000_000, 5_000_000)));
        let progress = read_progress(&entry.resume);
        assert_eq!(progress["other"], [7]);
        assert_eq!(progress["c"], 2_i64.to_le_bytes());
        let payload = finish(&entry.payload, 9, 4, 2, Timestamp::from_secs(6)).unwrap();
        let batch = wire::Batch::decode_compressed(&payload).unwrap();
        assert_eq!(
            (batch.epoch, batch.seq, batch.floor, batch.sent_at),
            (9, 4, 2, 6_000_000)
        );
        assert_eq!(
            batch
                .columns
                .iter()
                .map(|c| c.channel.as_str())
                .collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert_eq!(
            batch.columns[1].timestamps().collect::<Vec<_>>(),
            [3_000_000, 4_000_000, 5_000_000]
        );
        assert_eq!(batch.columns[1].values, [3.0, 4.0, 5.0]);
    }

    #[tokio::test(start_paused = true)]
    async fn chunks_are_not_split_and_age_counts() {
        let (chunks, from) = mpsc::channel(8);
        let (to, mut entries) = mpsc::channel(8);
        let a = channel("a");
        let task = tokio::spawn(run(
            Batcher::new(3, BTreeMap::new()),
            from,
            to,
            4,
            Duration::from_secs(1),
        ));
        chunks.send(chunk(&a, &[1, 2, 3])).await.unwrap();
        chunks.send(chunk(&a, &[4, 5])).await.unwrap();
        assert_eq!(entries.recv().await.unwrap().entry.readings, 3);
        assert_eq!(entries.recv().await.unwrap().entry.readings, 2, "by age");
        chunks.send(chunk(&a, &[6])).await.unwrap();
        drop(chunks);
        assert_eq!(
            entries.recv().await.unwrap().entry.readings,
            1,
            "the rest at the end"
        );
        task.await.unwrap().unwrap();
    }
}

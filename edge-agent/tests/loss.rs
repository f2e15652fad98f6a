//! Losses that can't be helped are told to the receiver, and nothing else is held up by them.

#![expect(clippy::unwrap_used, reason = "a panic is the answer of a test")]

use std::path::Path;
use std::sync::Arc;

use edge_agent::batch::{Batcher, Channel, Chunk, Reading};
use edge_agent::config::Config;
use edge_agent::sink::{Manners, Received, Sink};
use edge_agent::spool::disk::OsDisk;
use edge_agent::spool::{FullPolicy, Options, Spool};
use models::reading::Quality;
use models::time::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Fills a spool with batches of one reading each. Returns its epoch.
fn fill(dir: &Path, batches: u64, options: Options) -> u64 {
    let (mut spool, _) = Spool::open(OsDisk::new(dir).unwrap(), options, Timestamp::now()).unwrap();
    let channel = Arc::new(Channel {
        device: "d".into(),
        name: "c".to_owned(),
        unit: "1".to_owned(),
    });
    let mut batcher = Batcher::new(3, std::collections::BTreeMap::default());
    for i in 0..batches {
        let reading = Reading {
            channel: Arc::clone(&channel),
            ts: Timestamp::from_secs(i as i64),
            value: i as f64,
            quality: Quality::Good,
        };
        batcher.push(Chunk {
            collector: "t".into(),
            readings: vec![reading],
            events: Vec::new(),
            resume: None,
            kept: None,
        });
        spool.append(&batcher.take().unwrap(), Timestamp::now()).unwrap();
    }
    spool.sync(Timestamp::now()).unwrap();
    spool.epoch()
}

/// Runs an agent without sources until the receiver is `done`.
async fn empty(dir: &Path, received: &Arc<Mutex<Received>>, done: impl Fn(&Received) -> bool) {
    let manners = Manners {
        keep: true,
        ..Manners::default()
    };
    let mut sink = Sink::start(0, manners, Arc::clone(received)).await.unwrap();
    let path = dir.join("edge.toml");
    let text = format!(
        "[uplink]\nurl = \"mqtt://{}\"\ntenant = \"acme\"\ngateway = \"g\"\nsecret = \"s\"\nwindow = 4\nretry_max_s = 0.1\n[spool]\ndir = \"spool\"\n",
        sink.address
    );
    std::fs::write(&path, text).unwrap();
    let stop = CancellationToken::new();
    let agent = tokio::spawn(edge_agent::run(Config::load(&path).unwrap(), stop.clone()));
    sink.until(30, done).await.unwrap();
    stop.cancel();
    agent.await.unwrap().unwrap();
    sink.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_batch_is_told_and_the_others_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let epoch = fill(&spool, 100, Options::new(1 << 30));
    let segment = std::fs::read_dir(&spool)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    for byte in &mut bytes[middle..middle + 3] {
        *byte = !*byte;
    }
    std::fs::write(&segment, bytes).unwrap();
    let received = Arc::new(Mutex::new(Received::default()));
    empty(dir.path(), &received, |received| received.committed(epoch) == 100).await;
    let received = received.lock();
    assert_eq!(
        (received.batches.len(), received.lost, received.fault.clone()),
        (99, 1, None)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_batches_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        policy: FullPolicy::DropOldest,
        segment_bytes: 4_000,
        ..Options::new(20_000)
    };
    let epoch = fill(&dir.path().join("spool"), 1_000, options);
    let received = Arc::new(Mutex::new(Received::default()));
    empty(dir.path(), &received, |received| {
        received.committed(epoch) == 1_000
    })
    .await;
    let received = received.lock();
    assert!(received.lost > 500, "{}", received.lost);
    assert_eq!(received.batches.len() as u64 + received.lost, 1_000);
    assert_eq!(received.fault, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_restored_from_an_old_copy_begins_a_new_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let epoch = fill(&spool, 10, Options::new(1 << 30));
    let copy = dir.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(&spool).unwrap() {
        let from = entry.unwrap().path();
        std::fs::copy(&from, copy.join(from.file_name().unwrap())).unwrap();
    }
    fill(&spool, 40, Options::new(1 << 30));
    let received = Arc::new(Mutex::new(Received::default()));
    empty(dir.path(), &received, |received| received.committed(epoch) == 50).await;

    std::fs::remove_dir_all(&spool).unwrap();
    std::fs::rename(&copy, &spool).unwrap();
    let before = received.lock().batches.len();
    fill(&spool, 5, Options::new(1 << 30));
    empty(dir.path(), &received, |received| {
        received
            .batches
            .keys()
            .any(|(of, _)| *of > epoch && received.committed(*of) >= 15)
    })
    .await;
    let received = received.lock();
    let newer = received.batches.keys().filter(|(of, _)| *of > epoch).count();
    assert_eq!(
        newer, 15,
        "five new batches, which must not be taken for old ones of the same numbers, and all before"
    );
    assert_eq!(received.batches.len(), before + newer);
    assert_eq!(received.fault, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_spool_holds_up_the_collectors_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let received = Arc::new(Mutex::new(Received::default()));
    let manners = Manners {
        keep: true,
        ..Manners::default()
    };
    let sink = Sink::start(0, manners, Arc::clone(&received)).await.unwrap();
    let port = sink.address.port();
    sink.stop().await.unwrap();
    let path = dir.path().join("edge.toml");
    let text = format!(
        "[uplink]\nurl = \"mqtt://127.0.0.1:{port}\"\ntenant = \"acme\"\ngateway = \"g\"\nsecret = \"s\"\nretry_max_s = 0.1\n\
         [spool]\ndir = \"spool\"\nmax_bytes = 1048576\n[batch]\nmax_age_ms = 50\n\
         [[collect]]\nkind = \"simulate\"\ndevice = \"p\"\nmachine = \"pump\"\nhistory_days = 60\nhistory_step_s = 60\nlive_every_s = 60\n"
    );
    std::fs::write(&path, text).unwrap();
    let stop = CancellationToken::new();
    let agent = tokio::spawn(edge_agent::run(Config::load(&path).unwrap(), stop.clone()));
    let spool_bytes = || -> u64 {
        let Ok(entries) = std::fs::read_dir(dir.path().join("spool")) else {
            return 0;
        };
        entries
            .filter_map(|entry| entry.ok()?.metadata().ok())
            .map(|metadata| metadata.len())
            .sum()
    };
    // Nobody takes anything: it fills and stops, long before the past is over.
    let full = async {
        while spool_bytes() < 1_000_000 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), full)
        .await
        .unwrap();
    assert!(spool_bytes() < (1 << 20) + 10_000);

    let mut sink = Sink::start(port, manners, Arc::clone(&received)).await.unwrap();
    let past = 60 * 24 * 60 * 12;
    sink.until(60, |received| received.readings >= past)
        .await
        .unwrap();
    stop.cancel();
    agent.await.unwrap().unwrap();
    let received = received.lock();
    assert_eq!((received.lost, received.fault.clone()), (0, None));
}

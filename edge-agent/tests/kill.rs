//! The real executable under `kill -9`, cut connections and a receiver that comes and goes: what it
//! sent is what it made, each batch once, and nothing is trimmed before it is committed.

#![expect(clippy::unwrap_used, reason = "a panic is the answer of a test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use edge_agent::config::Config;
use edge_agent::sink::{Manners, Received, Sink};
use edge_agent::status::{self, Status};
use models::wire::Batch;
use parking_lot::Mutex;

/// Ends the process with the test, however that ends.
struct Agent(Child);

impl Agent {
    fn start(config: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_forewarn-edge"))
            .args(["run", "--config"])
            .arg(config)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGTERM, then waits for the ordered end.
    async fn stop(mut self) -> bool {
        let killed = Command::new("sh")
            .args(["-c", &format!("kill {}", self.0.id())])
            .status()
            .unwrap();
        assert!(killed.success());
        tokio::task::spawn_blocking(move || self.0.wait().unwrap().success())
            .await
            .unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Site {
    _dir: tempfile::TempDir,
    config: PathBuf,
}

const DEVICES: usize = 3;

fn site(port: u16, history_days: u32) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let mut text = format!(
        "[uplink]\nurl = \"mqtt://127.0.0.1:{port}\"\ntenant = \"acme\"\ngateway = \"line-1\"\nsecret = \"s\"\nretry_max_s = 0.2\n\
         [spool]\ndir = \"spool\"\nmax_bytes = 8000000\ngroup_ms = 5\n[batch]\nmax_readings = 1000\nmax_age_ms = 50\n"
    );
    for (i, machine) in ["pump", "compressor", "hvac"].iter().enumerate() {
        text += &format!(
            "[[collect]]\nkind = \"simulate\"\ndevice = \"m-{i}\"\nmachine = \"{machine}\"\nhistory_days = {history_days}\nhistory_step_s = 60\nlive_every_s = 0.2\n"
        );
    }
    let config = dir.path().join("edge.toml");
    std::fs::write(&config, text).unwrap();
    Site { _dir: dir, config }
}

fn status_of(site: &Site) -> Status {
    status::read(&Config::load(&site.config).unwrap()).unwrap()
}

/// device, channel, microseconds → bits of the value. Fails when a reading is there twice.
fn readings<'a>(batches: impl Iterator<Item = &'a Batch>) -> BTreeMap<(String, String, i64), u64> {
    let mut all = BTreeMap::new();
    for column in batches.flat_map(|batch| &batch.columns) {
        for (ts, value) in column.timestamps().zip(&column.values) {
            let key = (column.device.clone(), column.channel.clone(), ts);
            assert!(
                all.insert(key, value.to_bits()).is_none(),
                "{}/{} at {ts} is there twice",
                column.device,
                column.channel
            );
        }
    }
    all
}

#[tokio::test]
async fn what_was_sent_is_what_was_made() {
    let received = Arc::new(Mutex::new(Received::default()));
    let keep = Manners {
        keep: true,
        ..Manners::default()
    };
    let mut sink = Sink::start(
        0,
        Manners {
            cut_after: Some(7),
            ..keep
        },
        Arc::clone(&received),
    )
    .await
    .unwrap();
    let port = sink.address.port();
    let site = site(port, 20);

    // Rounds of killing the agent in the middle of its work, over connections that are cut.
    for round in 1..=6 {
        let agent = Agent::start(&site.config);
        let goal = received.lock().readings + 20_000;
        sink.until(60, |received| received.readings >= goal)
            .await
            .unwrap();
        if round % 2 == 0 {
            // The receiver goes away first; the agent spools on.
            sink.stop().await.unwrap();
            agent.kill();
            sink = Sink::start(
                port,
                Manners {
                    cut_after: Some(11),
                    ..keep
                },
                Arc::clone(&received),
            )
            .await
            .unwrap();
        } else {
            agent.kill();
        }
    }
    assert!(received.lock().connections > 20, "cut too seldom");

    // Then in peace: everything made arrives.
    sink.stop().await.unwrap();
    let mut sink = Sink::start(port, keep, Arc::clone(&received)).await.unwrap();
    let agent = Agent::start(&site.config);
    let made_past = 20 * 24 * 60 * (12 + 11 + 11);
    sink.until(120, |received| received.readings >= made_past)
        .await
        .unwrap();
    assert!(agent.stop().await, "an ordered end");
    let made = status_of(&site);
    let (epoch, last) = (made.spool.epoch, made.spool.next_seq - 1);
    // What the last moments brought is in the spool. An agent without sources empties it.
    let text = std::fs::read_to_string(&site.config).unwrap();
    std::fs::write(&site.config, text.split("[[collect]]").next().unwrap()).unwrap();
    let agent = Agent::start(&site.config);
    sink.until(60, |received| received.committed(epoch) >= last)
        .await
        .unwrap();
    assert!(agent.stop().await);

    let received = received.lock();
    assert_eq!(received.fault, None);
    assert_eq!(received.lost, 0);
    assert!(received.batches.keys().all(|(of, _)| *of == epoch), "one epoch");
    assert_eq!(received.committed(epoch), last);
    let stored = readings(received.batches.values());
    let produced: u64 = made.collectors.iter().map(|collector| collector.produced).sum();
    assert_eq!(stored.len() as u64, produced);
    // No row is missing: each device's channels have the same moments, a minute apart in the past.
    for i in 0..DEVICES {
        let device = format!("m-{i}");
        let of = |channel: &str| -> Vec<i64> {
            stored
                .keys()
                .filter(|(d, c, _)| *d == device && c == channel)
                .map(|(_, _, ts)| *ts)
                .collect()
        };
        let moments = of("power");
        assert_eq!(moments, of("run_hours"));
        let past: Vec<i64> = moments.iter().take(19 * 24 * 60).copied().collect();
        assert!(
            past.windows(2).all(|pair| pair[1] - pair[0] == 60_000_000),
            "a row of {device} is missing"
        );
    }
}

#[tokio::test]
async fn nothing_is_trimmed_before_it_is_committed() {
    let received = Arc::new(Mutex::new(Received::default()));
    // Takes and acknowledges by PUBACK, and never commits.
    let stall = Manners {
        stall: true,
        ..Manners::default()
    };
    let mut sink = Sink::start(0, stall, Arc::clone(&received)).await.unwrap();
    let port = sink.address.port();
    let site = site(port, 3);
    let agent = Agent::start(&site.config);
    sink.until(30, |received| received.readings >= 5_000)
        .await
        .unwrap();
    assert!(agent.stop().await);
    let before = status_of(&site);
    assert_eq!(before.spool.committed_seq, 0);
    assert_eq!(
        before.spool.records,
        before.spool.next_seq - 1,
        "all batches are still there"
    );
    sink.stop().await.unwrap();

    let again = Arc::new(Mutex::new(Received::default()));
    let mut sink = Sink::start(
        port,
        Manners {
            keep: true,
            ..Manners::default()
        },
        Arc::clone(&again),
    )
    .await
    .unwrap();
    let agent = Agent::start(&site.config);
    let (epoch, last) = (before.spool.epoch, before.spool.next_seq - 1);
    sink.until(30, |received| received.committed(epoch) >= last)
        .await
        .unwrap();
    assert!(agent.stop().await);
    // All but the window: the last watermarks may have crossed the signal.
    assert!(status_of(&site).spool.committed_seq + 16 >= last);
    let again = again.lock();
    assert_eq!((again.lost, again.fault.clone()), (0, None));
    let online = again
        .states
        .iter()
        .filter(|state| state.contains("\"online\":true"))
        .count();
    let offline = again
        .states
        .iter()
        .filter(|state| state.contains("\"online\":false"))
        .count();
    assert_eq!((online, offline), (1, 1), "{:?}", again.states);
}

#[tokio::test]
async fn a_refused_credential_is_named_and_not_hammered() {
    let received = Arc::new(Mutex::new(Received::default()));
    let mut sink = Sink::start(
        0,
        Manners {
            refuse: true,
            ..Manners::default()
        },
        Arc::clone(&received),
    )
    .await
    .unwrap();
    let site = site(sink.address.port(), 0);
    let text = std::fs::read_to_string(&site.config)
        .unwrap()
        .replace("retry_max_s = 0.2", "retry_max_s = 60");
    std::fs::write(&site.config, text).unwrap();
    let agent = Agent::start(&site.config);
    sink.until(30, |received| received.connections == 1)
        .await
        .unwrap();
    // The refusal is named in the file that the agent writes now and then.
    let named = async {
        let config = Config::load(&site.config).unwrap();
        let says = |error: &String| error.contains("acme/line-1");
        while !status::read(&config).is_ok_and(|status| status.uplink.last_error.as_ref().is_some_and(says)) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), named)
        .await
        .unwrap();
    // SIGTERM works while it waits.
    assert!(agent.stop().await);
    assert_eq!(received.lock().connections, 1);
}

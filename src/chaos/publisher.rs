//! A plain MQTT client whose clock jumps. It sends what was not acknowledged again after each
//! connection, with the time and value it had.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use models::time::Timestamp;
use rumqttc::mqttbytes::{QoS, v4};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::plant::Plant;

const EVERY: Duration = Duration::from_millis(10);
const PER_ROUND: u32 = 150;
const WINDOW: usize = 64;
/// A link that answers nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(5);
/// The jumps together stay within what the front door believes.
const MOST_JUMPED_S: i64 = 1_800;

/// Time in microseconds and value of a reading.
pub type Said = (i64, f64);

pub struct Publisher {
    total: u32,
    /// Seconds by which its clock is wrong.
    off: Arc<AtomicI64>,
    task: Option<JoinHandle<Vec<Said>>>,
}

impl Publisher {
    pub fn start(port: u16, plant: &Plant, rounds: u32) -> Self {
        let off = Arc::new(AtomicI64::new(0));
        let total = PER_ROUND * rounds;
        let state = State {
            port,
            login: plant.publisher_login(),
            secret: plant.secret.reveal().to_owned(),
            total,
            off: off.clone(),
            said: Vec::new(),
            waiting: VecDeque::new(),
            due: Instant::now(),
        };
        Self {
            total,
            off,
            task: Some(tokio::spawn(state.run())),
        }
    }

    pub fn total(&self) -> i64 {
        i64::from(self.total)
    }

    pub fn jump(&self, seconds: i64) {
        let off = self.off.load(Ordering::Relaxed) + seconds;
        self.off
            .store(off.clamp(-MOST_JUMPED_S, MOST_JUMPED_S), Ordering::Relaxed);
    }

    /// Everything it has said, once all is acknowledged.
    pub async fn finish(&mut self) -> anyhow::Result<Vec<Said>> {
        let task = self.task.take().context("finished before")?;
        // Every reading is stored by now, so only acknowledgements may be missing.
        let abort = task.abort_handle();
        match timeout(SILENCE * 6, task).await {
            Ok(said) => Ok(said?),
            Err(_) => {
                abort.abort();
                bail!("the publisher gets no acknowledgement")
            }
        }
    }
}

struct State {
    port: u16,
    login: String,
    secret: String,
    total: u32,
    off: Arc<AtomicI64>,
    said: Vec<Said>,
    /// Indices into `said` that are not acknowledged, oldest first.
    waiting: VecDeque<usize>,
    due: Instant,
}

impl State {
    async fn run(mut self) -> Vec<Said> {
        while self.said.len() < self.total as usize || !self.waiting.is_empty() {
            // Whatever it ended with: the next connection sends the rest.
            if self.connected().await.is_err() {
                sleep(Duration::from_millis(100)).await;
            }
        }
        self.said
    }

    /// A reading at the time that its clock shows. Jumps are whole seconds and stamps end on a
    /// microsecond of their number modulo 1000, so that no two of them are the same.
    fn produce(&mut self) {
        let n = self.said.len();
        let now = Timestamp::now().micros() + self.off.load(Ordering::Relaxed) * 1_000_000;
        let ts = now - now.rem_euclid(1_000_000) + (n as i64 % 1_000_000);
        self.said.push((ts, n as f64));
        self.waiting.push_back(n);
    }

    async fn connected(&mut self) -> anyhow::Result<()> {
        let mut stream = timeout(SILENCE, TcpStream::connect(("127.0.0.1", self.port))).await??;
        let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
        let mut connect = v4::Connect::new("chaos");
        connect.keep_alive = 30;
        connect.set_login(self.login.clone(), self.secret.clone());
        connect.write(&mut output)?;
        stream.write_all_buf(&mut output).await?;
        let answer = timeout(SILENCE, packet(&mut stream, &mut input)).await??;
        ensure!(
            matches!(&answer, v4::Packet::ConnAck(ack) if ack.code == v4::ConnectReturnCode::Success),
            "{answer:?}"
        );
        let mut sent = 0;
        loop {
            while sent < self.waiting.len() {
                self.write(self.waiting[sent], &mut output)?;
                sent += 1;
            }
            stream.write_all_buf(&mut output).await?;
            let all_said = self.said.len() >= self.total as usize;
            if all_said && self.waiting.is_empty() {
                return Ok(());
            }
            let may_say = !all_said && self.waiting.len() < WINDOW;
            tokio::select! {
                read = packet(&mut stream, &mut input), if !self.waiting.is_empty() => match read? {
                    v4::Packet::PubAck(ack) => {
                        let first = *self.waiting.front().context("an acknowledgement of nothing")?;
                        ensure!(ack.pkid == id(first), "acknowledged {} before {}", ack.pkid, id(first));
                        self.waiting.pop_front();
                        sent -= 1;
                    }
                    other => bail!("{other:?}"),
                },
                () = tokio::time::sleep_until(self.due), if may_say => {
                    self.produce();
                    self.due = (self.due + EVERY).max(Instant::now());
                }
                () = sleep(SILENCE), if !may_say => bail!("silence"),
            }
        }
    }

    fn write(&self, n: usize, output: &mut BytesMut) -> anyhow::Result<()> {
        let (ts, value) = self.said[n];
        let payload = format!("{{\"ts\":\"{}\",\"value\":{value}}}", Timestamp::from_micros(ts));
        let mut publish = v4::Publish::new("fw/v1/me/json/clock/n", QoS::AtLeastOnce, payload);
        publish.pkid = id(n);
        publish.write(output)?;
        Ok(())
    }
}

/// Packet ids go from 1 to 65535.
fn id(n: usize) -> u16 {
    u16::try_from(n % 65_535 + 1).unwrap_or(1)
}

async fn packet(stream: &mut TcpStream, input: &mut BytesMut) -> anyhow::Result<v4::Packet> {
    loop {
        if let Ok(packet) = v4::Packet::read(input, 1 << 20) {
            return Ok(packet);
        }
        ensure!(stream.read_buf(input).await? > 0, "closed");
    }
}

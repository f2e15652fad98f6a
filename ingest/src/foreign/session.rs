//! One connection to a foreign broker, from SUBACK to its end.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use models::db::leader::Lead;
use models::db::ledger;
use models::id::GatewayId;
use models::time::Timestamp;
use models::wire::{Committed, topic};
use rumqttc::mqttbytes::{QoS, v4};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::client::Connection;
use super::config::Foreign;
use super::inbound::{Gateways, Owner};
use super::outlet::{Outlets, Said};
use crate::codec::{Decoded, Format, Undecodable};
use crate::front_door::Door;
use crate::metrics;
use crate::registry::Gateway;
use crate::sparkplug::host;
use crate::writer::{Outcome, Payload, Reply};

/// How often gateways that send numbered batches are told how far they are committed.
const WATERMARKS_EVERY: Duration = Duration::from_millis(200);

struct Pending {
    number: u64,
    packet_id: u16,
    qos: QoS,
    settled: bool,
}

pub(super) struct Session<'a> {
    foreign: &'a Foreign,
    door: &'a Arc<Door>,
    outlets: &'a Outlets,
    connection: Connection,
    lead: Option<Lead>,
    shutdown: CancellationToken,
    pending: VecDeque<Pending>,
    next_number: u64,
    answers: mpsc::Receiver<(u64, Outcome)>,
    answer_to: mpsc::Sender<(u64, Outcome)>,
    /// Gateways that sent a numbered batch since the last watermark.
    to_tell: HashMap<GatewayId, Arc<Gateway>>,
    told: HashMap<GatewayId, Committed>,
}

impl<'a> Session<'a> {
    pub fn new(
        foreign: &'a Foreign,
        door: &'a Arc<Door>,
        outlets: &'a Outlets,
        connection: Connection,
        lead: Option<Lead>,
        shutdown: CancellationToken,
    ) -> Self {
        let (answer_to, answers) = mpsc::channel(usize::from(door.config.limits.in_flight) + 1);
        Self {
            foreign,
            door,
            outlets,
            connection,
            lead,
            shutdown,
            pending: VecDeque::new(),
            next_number: 0,
            answers,
            answer_to,
            to_tell: HashMap::new(),
            told: HashMap::new(),
        }
    }

    /// Until the connection breaks, which is the error, or `shutdown`.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let max_age = Duration::from_secs(self.door.config.register_max_age_s.max(1));
        let mut gateways = Gateways::new(self.foreign, max_age)?;
        let own = gateways.own(&self.door.pool).await?;
        self.door.intake.enter(&self.door.pool, own.id).await?;
        let said = self.foreign.sparkplug.then(|| self.outlets.open(own.id));
        let ended = self.serve(&mut gateways, said).await;
        if self.foreign.sparkplug {
            // Nothing of what is behind the broker is live any more, as far as anybody here knows.
            for payload in self.door.intake.sparkplug.lost(own.id, Timestamp::now()) {
                if self.door.writer(own.id).send(payload).await.is_err() {
                    break;
                }
            }
        }
        if let Some(lead) = self.lead.take() {
            // Broken or closed, the lock is free.
            drop(lead.give_up().await);
        }
        ended
    }

    async fn serve(
        &mut self,
        gateways: &mut Gateways,
        mut said: Option<mpsc::Receiver<Said>>,
    ) -> anyhow::Result<()> {
        for packet in self.connection.take_early() {
            self.take(packet, gateways).await?;
        }
        let in_flight = usize::from(self.door.config.limits.in_flight);
        let keep_alive = Duration::from_secs(self.foreign.keep_alive_s.into());
        let mut ping = tokio::time::interval(keep_alive / 2);
        let mut watermarks = tokio::time::interval(WATERMARKS_EVERY);
        let mut heard = Instant::now();
        let mut stopping: Option<Instant> = None;
        loop {
            self.connection.flush().await?;
            if let Some(since) = stopping
                && (self.pending.is_empty() || since.elapsed() > self.door.config.stop_within())
            {
                return self.close().await;
            }
            let reading = stopping.is_none() && self.pending.len() < in_flight;
            tokio::select! {
                biased;
                Some((number, outcome)) = self.answers.recv() => self.settle(number, outcome)?,
                Some((topic, payload)) = hear(&mut said) => {
                    self.connection.publish(topic, payload, QoS::AtMostOnce, false)?;
                }
                () = self.shutdown.cancelled(), if stopping.is_none() => stopping = Some(Instant::now()),
                _ = ping.tick() => {
                    // While nothing is read, the broker's answers are not seen either.
                    ensure!(!reading || heard.elapsed() < keep_alive * 3 / 2, "the broker is silent");
                    self.connection.send(v4::Packet::PingReq)?;
                    if let Some(lead) = &mut self.lead {
                        lead.hold().await?;
                    }
                }
                _ = watermarks.tick(), if !self.to_tell.is_empty() => self.tell_watermarks().await?,
                packet = self.connection.next(), if reading => {
                    heard = Instant::now();
                    self.take(packet?, gateways).await?;
                }
                () = tokio::time::sleep(Duration::from_millis(50)), if stopping.is_some() => {}
            }
            if !reading {
                heard = Instant::now();
            }
        }
    }

    async fn take(&mut self, packet: v4::Packet, gateways: &mut Gateways) -> anyhow::Result<()> {
        match packet {
            v4::Packet::Publish(publish) => self.publish(publish, gateways).await,
            v4::Packet::PingResp | v4::Packet::PubAck(_) => Ok(()),
            other => bail!("the broker sends an unexpected {other:?}"),
        }
    }

    async fn publish(&mut self, publish: v4::Publish, gateways: &mut Gateways) -> anyhow::Result<()> {
        ensure!(publish.qos != QoS::ExactlyOnce, "QoS 2 was not subscribed to");
        let number = self.next_number;
        self.next_number += 1;
        self.pending.push_back(Pending {
            number,
            packet_id: publish.pkid,
            qos: publish.qos,
            settled: false,
        });
        metrics::in_flight(1.0);
        let host_id = &self.door.config.sparkplug.host_id;
        if self.foreign.sparkplug && publish.topic == host::state_topic(host_id) {
            // A retained one was said before this host's birth, which has replaced it since.
            if !publish.retain {
                self.own_state(&publish)?;
            }
            return self.settle(number, Outcome::Committed);
        }
        if publish.retain {
            // What is delivered because somebody subscribed was said some time ago, nobody knows when.
            metrics::refused_publish("retained_on_foreign_broker");
            return self.settle(number, Outcome::Committed);
        }
        let (gateway, unknown) = match gateways.owner(&self.door.pool, &publish.topic).await? {
            Owner::Gateway(gateway) => (gateway, None),
            Owner::Unknown(gateway, why) => (gateway, Some(why)),
            Owner::Nothing => return self.settle(number, Outcome::Committed),
        };
        self.door.intake.enter(&self.door.pool, gateway.id).await?;
        let format = match &unknown {
            None => self.door.intake.route(&gateway, &publish.topic),
            Some(_) => None,
        };
        if format.is_none() && unknown.is_none() && self.foreign.sparkplug {
            // Commands to nodes and other hosts' STATE pass here too.
            return self.settle(number, Outcome::Committed);
        }
        let format = format.unwrap_or(Format::Unknown);
        if format == Format::Native {
            self.to_tell.insert(gateway.id, gateway.clone());
        }
        let share = u32::try_from(publish.payload.len().max(64)).unwrap_or(u32::MAX);
        let permit = self.door.bytes.clone().acquire_many_owned(share).await?;
        let received_at = Timestamp::now();
        let mut payload = Payload {
            gateway: gateway.clone(),
            topic: publish.topic,
            received_at,
            decoded: Ok(Decoded::default()),
            raw: publish.payload,
            format,
            reply: Some(Reply {
                number,
                to: self.answer_to.clone(),
            }),
            permit: Some(permit),
        };
        let ready = match unknown {
            Some(why) => {
                payload.decoded = Err(Undecodable::new("unknown_gateway", why));
                vec![payload]
            }
            None => self.door.intake.read(payload),
        };
        for payload in ready {
            ensure!(
                self.door.writer(gateway.id).send(payload).await.is_ok(),
                "the writers have stopped"
            );
        }
        Ok(())
    }

    /// Somebody says that this host application is away (an old will that came late): say otherwise
    /// (specification, § 5.8).
    fn own_state(&mut self, publish: &v4::Publish) -> anyhow::Result<()> {
        let said: serde_json::Value = serde_json::from_slice(&publish.payload).unwrap_or_default();
        if said["online"] == serde_json::json!(false) {
            tracing::warn!("somebody said that this Sparkplug host is away: saying that it is there");
            let online = host::state(true, self.connection.since);
            let topic = host::state_topic(&self.door.config.sparkplug.host_id);
            self.connection.publish(topic, online, QoS::AtLeastOnce, true)?;
        }
        Ok(())
    }

    /// Acknowledges what can be without overtaking.
    fn settle(&mut self, number: u64, outcome: Outcome) -> anyhow::Result<()> {
        ensure!(
            outcome != Outcome::Abandoned,
            "a message can neither be stored nor kept: it stays with the broker"
        );
        let first = self.pending.front().map_or(0, |pending| pending.number);
        if let Some(pending) = number
            .checked_sub(first)
            .and_then(|i| self.pending.get_mut(usize::try_from(i).ok()?))
        {
            pending.settled = true;
        }
        while self.pending.front().is_some_and(|pending| pending.settled) {
            if let Some(done) = self.pending.pop_front() {
                metrics::in_flight(-1.0);
                if done.qos == QoS::AtLeastOnce {
                    self.connection
                        .send(v4::Packet::PubAck(v4::PubAck::new(done.packet_id)))?;
                }
            }
        }
        Ok(())
    }

    /// Agents delete what is committed, not what the broker took.
    async fn tell_watermarks(&mut self) -> anyhow::Result<()> {
        let mut connection = self.door.pool.acquire().await?;
        let unsettled = !self.pending.is_empty();
        for (id, gateway) in std::mem::take(&mut self.to_tell) {
            let Some((epoch, seq)) = ledger::newest_cursor(&mut connection, id).await? else {
                continue;
            };
            let (Ok(epoch), Ok(seq)) = (u64::try_from(epoch), u64::try_from(seq)) else {
                continue;
            };
            let committed = Committed { epoch, seq };
            if self.told.insert(id, committed) != Some(committed) {
                let name = topic(&gateway.tenant_slug, &gateway.slug, "committed");
                let json = serde_json::to_vec(&committed)?;
                self.connection
                    .publish(name, json.into(), QoS::AtMostOnce, false)?;
            }
            if unsettled {
                self.to_tell.insert(id, gateway);
            }
        }
        Ok(())
    }

    async fn close(&mut self) -> anyhow::Result<()> {
        if self.foreign.sparkplug {
            let topic = host::state_topic(&self.door.config.sparkplug.host_id);
            let offline = host::state(false, Timestamp::now().micros() / 1_000);
            self.connection.publish(topic, offline, QoS::AtLeastOnce, true)?;
        }
        self.connection.close().await
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        metrics::in_flight(-(self.pending.len() as f64));
    }
}

/// Never answers when there is nobody to hear.
async fn hear(said: &mut Option<mpsc::Receiver<Said>>) -> Option<Said> {
    match said {
        Some(said) => said.recv().await,
        None => std::future::pending().await,
    }
}

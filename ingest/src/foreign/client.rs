//! The client's side of MQTT 3.1.1, over rumqttc's packet codec: connect, subscribe, packets in and
//! out. What is acknowledged, and when, is `session`'s.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::{Bytes, BytesMut};
use models::service::config::read_secret_file;
use models::time::Timestamp;
use rumqttc::mqttbytes::{self, QoS, v4};
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;

use super::config::Foreign;
use super::stream::{Connector, Stream};
use crate::front_door::Door;
use crate::sparkplug::host;

/// For CONNACK and SUBACK.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Connection {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    input: BytesMut,
    output: BytesMut,
    max_packet: usize,
    /// Publishes that came before the SUBACK: a persistent session delivers at once.
    early: Vec<v4::Packet>,
    /// When this host application went online, milliseconds; the same in will and birth.
    pub since: i64,
}

impl Connection {
    /// Connects, subscribes and, as a Sparkplug host, says that it is there.
    pub async fn open(foreign: &Foreign, connector: &Connector, door: &Door) -> anyhow::Result<Self> {
        let (reader, writer) = tokio::io::split(connector.open().await?);
        let mut connection = Self {
            reader,
            writer,
            input: BytesMut::with_capacity(64 * 1024),
            output: BytesMut::with_capacity(4096),
            max_packet: door.config.limits.max_packet_bytes,
            early: Vec::new(),
            since: Timestamp::now().micros() / 1_000,
        };
        let host_id = &door.config.sparkplug.host_id;
        timeout(ANSWER_WITHIN, connection.connect(foreign, host_id))
            .await
            .map_err(|_| anyhow::anyhow!("no CONNACK within {} s", ANSWER_WITHIN.as_secs()))??;
        timeout(
            ANSWER_WITHIN,
            connection.subscribe(&foreign.subscriptions(host_id)),
        )
        .await
        .map_err(|_| anyhow::anyhow!("no SUBACK within {} s", ANSWER_WITHIN.as_secs()))??;
        if foreign.sparkplug {
            let online = host::state(true, connection.since);
            connection.publish(host::state_topic(host_id), online, QoS::AtLeastOnce, true)?;
            connection.flush().await?;
        }
        Ok(connection)
    }

    async fn connect(&mut self, foreign: &Foreign, host_id: &str) -> anyhow::Result<()> {
        let mut connect = v4::Connect::new(foreign.client_id.as_str());
        connect.keep_alive = foreign.keep_alive_s;
        // Sparkplug asks for a clean session; everything else is kept until it is committed.
        connect.clean_session = foreign.sparkplug;
        if let Some(user) = &foreign.username {
            let password = match &foreign.password_file {
                Some(file) => read_secret_file(file)?.expose_secret().to_owned(),
                None => String::new(),
            };
            connect.set_login(user, password);
        }
        if foreign.sparkplug {
            connect.last_will = Some(v4::LastWill {
                topic: host::state_topic(host_id),
                message: host::state(false, self.since),
                qos: QoS::AtLeastOnce,
                retain: true,
            });
        }
        self.send(v4::Packet::Connect(connect))?;
        self.flush().await?;
        match self.next().await? {
            v4::Packet::ConnAck(ack) => {
                ensure!(
                    ack.code == v4::ConnectReturnCode::Success,
                    "the broker refuses the connection: {:?}",
                    ack.code
                );
                tracing::info!(
                    url = foreign.url,
                    session_present = ack.session_present,
                    "connected to the foreign broker"
                );
                Ok(())
            }
            other => bail!("expected CONNACK, got {other:?}"),
        }
    }

    async fn subscribe(&mut self, filters: &[String]) -> anyhow::Result<()> {
        let wanted = filters
            .iter()
            .map(|filter| v4::SubscribeFilter::new(filter.clone(), QoS::AtLeastOnce));
        let mut subscribe = v4::Subscribe::new_many(wanted);
        subscribe.pkid = 1;
        self.send(v4::Packet::Subscribe(subscribe))?;
        self.flush().await?;
        loop {
            match self.next().await? {
                v4::Packet::SubAck(ack) => {
                    for (filter, code) in filters.iter().zip(&ack.return_codes) {
                        ensure!(
                            *code != v4::SubscribeReasonCode::Failure,
                            "the broker refuses the subscription `{filter}`"
                        );
                    }
                    return Ok(());
                }
                packet @ v4::Packet::Publish(_) => self.early.push(packet),
                other => bail!("expected SUBACK, got {other:?}"),
            }
        }
    }

    pub fn send(&mut self, packet: v4::Packet) -> anyhow::Result<()> {
        packet
            .write(&mut self.output, usize::MAX)
            .context("a packet can't be written")?;
        Ok(())
    }

    pub fn publish(&mut self, topic: String, payload: Bytes, qos: QoS, retain: bool) -> anyhow::Result<()> {
        let mut publish = v4::Publish::from_bytes(topic, qos, payload);
        publish.retain = retain;
        // One at a time is on its way with QoS 1: STATE. Its number may stay the same.
        publish.pkid = u16::from(qos != QoS::AtMostOnce) * 2;
        self.send(v4::Packet::Publish(publish))
    }

    pub async fn flush(&mut self) -> anyhow::Result<()> {
        if !self.output.is_empty() {
            let sending = async {
                self.writer.write_all_buf(&mut self.output).await?;
                self.writer.flush().await
            };
            timeout(ANSWER_WITHIN, sending)
                .await
                .map_err(|_| anyhow::anyhow!("the broker takes nothing any more"))??;
        }
        Ok(())
    }

    /// The next packet. Cancel safe: what was read stays.
    pub async fn next(&mut self) -> anyhow::Result<v4::Packet> {
        loop {
            if let Some(packet) = self.buffered()? {
                return Ok(packet);
            }
            let n = self.reader.read_buf(&mut self.input).await?;
            ensure!(n > 0, "the broker closed the connection");
        }
    }

    fn buffered(&mut self) -> anyhow::Result<Option<v4::Packet>> {
        match v4::Packet::read(&mut self.input, self.max_packet) {
            Ok(packet) => Ok(Some(packet)),
            Err(mqttbytes::Error::InsufficientBytes(_)) => Ok(None),
            Err(mqttbytes::Error::PayloadSizeLimitExceeded(size)) => bail!(
                "the broker sends a packet of {size} bytes, more than ingest.limits.max_packet_bytes = {}: raise it, \
                 or the broker will send it for ever",
                self.max_packet
            ),
            Err(error) => bail!("the broker sends what is no MQTT: {error:?}"),
        }
    }

    /// Says goodbye and waits until the broker has heard it. A socket that is closed with something
    /// unread in it is reset, and then the broker takes the goodbye for a loss and publishes the will.
    pub async fn close(&mut self) -> anyhow::Result<()> {
        self.send(v4::Packet::Disconnect)?;
        self.flush().await?;
        let hearing = async {
            self.writer.shutdown().await?;
            while self.reader.read_buf(&mut self.input).await? > 0 {
                self.input.clear();
            }
            Ok::<_, std::io::Error>(())
        };
        // A broker that doesn't close is left; one that resets has closed as well.
        drop(timeout(Duration::from_secs(2), hearing).await);
        Ok(())
    }

    /// Publishes that came before there was anybody to take them.
    pub fn take_early(&mut self) -> Vec<v4::Packet> {
        std::mem::take(&mut self.early)
    }
}

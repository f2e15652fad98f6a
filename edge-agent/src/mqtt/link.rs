//! One connection: packets in, packets out, and keep-alive.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{Connect, ConnectReturnCode, Packet, Publish, Subscribe, SubscribeFilter};
use rumqttc::mqttbytes::{self, QoS};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Address;
use super::tls::Client;

/// TCP, TLS, or what a test makes.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// TCP, TLS and CONNACK together.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);

/// The receiver said no in its CONNACK.
#[derive(Debug, thiserror::Error)]
#[error("refused: {code:?}")]
pub struct Refused {
    pub code: ConnectReturnCode,
}

impl Refused {
    /// Whether it is about who we are: trying again soon can't help.
    pub fn is_credential(&self) -> bool {
        matches!(
            self.code,
            ConnectReturnCode::BadUserNamePassword
                | ConnectReturnCode::NotAuthorized
                | ConnectReturnCode::BadClientId
        )
    }
}

/// See the module.
pub struct Link {
    read: ReadHalf<Box<dyn Stream>>,
    write: WriteHalf<Box<dyn Stream>>,
    input: BytesMut,
    output: BytesMut,
    /// Written into the stream, perhaps still in its own buffer.
    unflushed: bool,
    max_packet: usize,
    last_id: u16,
    keep_alive: Option<KeepAlive>,
}

struct KeepAlive {
    every: Duration,
    heard_at: Instant,
    said_at: Instant,
    /// A PINGREQ is out and nothing came since.
    pinged_at: Option<Instant>,
}

impl KeepAlive {
    /// When to ping, or when to give up.
    fn due(&self) -> Instant {
        self.pinged_at.unwrap_or(self.said_at.min(self.heard_at)) + self.every
    }
}

impl Link {
    pub fn new(stream: Box<dyn Stream>, max_packet: usize) -> Self {
        let (read, write) = tokio::io::split(stream);
        Self {
            read,
            write,
            input: BytesMut::with_capacity(16 << 10),
            output: BytesMut::new(),
            unflushed: false,
            max_packet,
            last_id: 0,
            keep_alive: None,
        }
    }

    /// Connects and waits for CONNACK. `tls` must be there when the address wants it.
    ///
    /// # Errors
    /// Names the step that failed; a refusal is [`Refused`].
    pub async fn connect(
        address: &Address,
        tls: Option<&Client>,
        connect: Connect,
        max_packet: usize,
    ) -> anyhow::Result<Self> {
        let keep_alive = connect.keep_alive;
        let steps = async {
            let target = (address.host.as_str(), address.port);
            let tcp = TcpStream::connect(target)
                .await
                .with_context(|| format!("connect to {}:{}", address.host, address.port))?;
            tcp.set_nodelay(true)?;
            let stream: Box<dyn Stream> = match (address.tls, tls) {
                (false, _) => Box::new(tcp),
                (true, Some(tls)) => Box::new(tls.handshake(&address.host, tcp).await?),
                (true, None) => bail!("mqtts:// without TLS settings"),
            };
            let mut link = Self::new(stream, max_packet);
            link.queue(&Packet::Connect(connect))?;
            match link.next().await.context("waiting for CONNACK")? {
                Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Success => Ok(link),
                Packet::ConnAck(ack) => Err(Refused { code: ack.code }.into()),
                other => bail!("expected CONNACK, got {}", name(&other)),
            }
        };
        let mut link = tokio::time::timeout(CONNECT_WITHIN, steps)
            .await
            .with_context(|| format!("no connection within {} s", CONNECT_WITHIN.as_secs()))??;
        link.keep_alive = (keep_alive > 0).then(|| KeepAlive {
            every: Duration::from_secs(keep_alive.into()),
            heard_at: Instant::now(),
            said_at: Instant::now(),
            pinged_at: None,
        });
        Ok(link)
    }

    /// Puts a packet behind those to be written; [`Link::next`] writes them.
    ///
    /// # Errors
    /// When it is larger than allowed.
    pub fn queue(&mut self, packet: &Packet) -> anyhow::Result<()> {
        packet
            .write(&mut self.output, self.max_packet)
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(())
    }

    /// Publishes with QoS 1. Returns the packet id that its PUBACK will carry.
    ///
    /// # Errors
    /// As [`Link::queue`].
    pub fn publish(&mut self, topic: String, retain: bool, payload: Vec<u8>) -> anyhow::Result<u16> {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
        publish.retain = retain;
        publish.pkid = self.next_id();
        let id = publish.pkid;
        self.queue(&Packet::Publish(publish))?;
        Ok(id)
    }

    /// # Errors
    /// As [`Link::queue`].
    pub fn subscribe(&mut self, filters: impl IntoIterator<Item = String>) -> anyhow::Result<()> {
        let filters = filters
            .into_iter()
            .map(|path| SubscribeFilter::new(path, QoS::AtLeastOnce));
        let mut subscribe = Subscribe::new_many(filters);
        subscribe.pkid = self.next_id();
        self.queue(&Packet::Subscribe(subscribe))
    }

    /// Ids of 65,535 publishes ago are free again: windows are far smaller.
    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    /// Bytes that wait to be written.
    pub fn queued_bytes(&self) -> usize {
        self.output.len()
    }

    /// The next packet; meanwhile what is queued is written, and keep-alive kept. May be dropped at any
    /// moment and called again.
    ///
    /// # Errors
    /// When the connection ends, is silent for too long, or carries something that is not MQTT.
    pub async fn next(&mut self) -> anyhow::Result<Packet> {
        loop {
            match take(&mut self.input, self.max_packet)? {
                Some(Packet::PingResp) => continue,
                Some(packet) => return Ok(packet),
                None => {}
            }
            let ping_at = self.keep_alive.as_ref().map(KeepAlive::due);
            let (write, output, unflushed) = (&mut self.write, &mut self.output, &mut self.unflushed);
            let busy = !output.is_empty() || *unflushed;
            let push = async {
                if output.is_empty() {
                    write.flush().await?;
                    *unflushed = false;
                } else {
                    write.write_buf(output).await?;
                    *unflushed = true;
                }
                std::io::Result::Ok(())
            };
            tokio::select! {
                read = self.read.read_buf(&mut self.input) => {
                    if read.context("read")? == 0 {
                        bail!("the other side closed the connection");
                    }
                    if let Some(keep_alive) = &mut self.keep_alive {
                        keep_alive.heard_at = Instant::now();
                        keep_alive.pinged_at = None;
                    }
                }
                written = push, if busy => {
                    written.context("write")?;
                    if let Some(keep_alive) = &mut self.keep_alive {
                        keep_alive.said_at = Instant::now();
                    }
                }
                () = tokio::time::sleep_until(ping_at.unwrap_or_else(Instant::now)), if ping_at.is_some() => self.ping()?,
            }
        }
    }

    fn ping(&mut self) -> anyhow::Result<()> {
        let Some(keep_alive) = &mut self.keep_alive else {
            return Ok(());
        };
        if keep_alive.pinged_at.is_some() {
            bail!(
                "no sign of life for {} s",
                keep_alive.heard_at.elapsed().as_secs()
            );
        }
        keep_alive.pinged_at = Some(Instant::now());
        self.queue(&Packet::PingReq)
    }

    /// Writes everything that is queued.
    ///
    /// # Errors
    /// The connection's.
    pub async fn flush(&mut self) -> anyhow::Result<()> {
        self.write.write_all_buf(&mut self.output).await?;
        self.write.flush().await?;
        Ok(())
    }

    /// DISCONNECT, so that the will is not sent.
    ///
    /// # Errors
    /// The connection's.
    pub async fn close(mut self) -> anyhow::Result<()> {
        self.queue(&Packet::Disconnect)?;
        self.flush().await?;
        self.write.shutdown().await?;
        Ok(())
    }
}

/// Cuts the next packet out of `input`; `None` = not all of it is there. The codec calls a packet whose
/// inner lengths lie "more bytes needed" and has eaten it by then, so it only ever sees whole ones.
fn take(input: &mut BytesMut, max_packet: usize) -> anyhow::Result<Option<Packet>> {
    let len = match mqttbytes::check(input.iter(), max_packet) {
        Ok(header) => header.frame_length(),
        Err(mqttbytes::Error::InsufficientBytes(_)) => return Ok(None),
        Err(error) => bail!("not MQTT 3.1.1: {error}"),
    };
    let mut whole = input.split_to(len);
    match Packet::read(&mut whole, max_packet) {
        Ok(packet) => Ok(Some(packet)),
        Err(error) => bail!("malformed MQTT packet: {error}"),
    }
}

/// A packet's name in the standard.
pub fn name(packet: &Packet) -> &'static str {
    match packet {
        Packet::Connect(_) => "CONNECT",
        Packet::ConnAck(_) => "CONNACK",
        Packet::Publish(_) => "PUBLISH",
        Packet::PubAck(_) => "PUBACK",
        Packet::PubRec(_) => "PUBREC",
        Packet::PubRel(_) => "PUBREL",
        Packet::PubComp(_) => "PUBCOMP",
        Packet::Subscribe(_) => "SUBSCRIBE",
        Packet::SubAck(_) => "SUBACK",
        Packet::Unsubscribe(_) => "UNSUBSCRIBE",
        Packet::UnsubAck(_) => "UNSUBACK",
        Packet::PingReq => "PINGREQ",
        Packet::PingResp => "PINGRESP",
        Packet::Disconnect => "DISCONNECT",
    }
}

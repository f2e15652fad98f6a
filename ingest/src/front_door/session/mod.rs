//! One connection, from its first byte to its last.
//!
//! | file | does |
//! |---|---|
//! | `open` | CONNECT: who is it, may it come in |
//! | `serve` | reads, waits, answers |
//! | `publish` | what comes up |
//! | `down` | what goes down |
//! | `will` | what is said when it is gone |
//!
//! One task that reads, answers and waits in turn, so that there is one order of things: publishes
//! are answered in the order they came, whatever the writers do. `pending` is the window: when it
//! is full, nothing is read.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::Door;
use super::acl::{self, Identity};
use super::hub::{Key, Message, Registered};
use super::limits::Place;
use super::packet::{self, Accepted, Goodbye, PublishAnswer, Said, ToClient, Version};
use crate::metrics;
use crate::writer::Outcome;

mod down;
mod open;
mod publish;
mod serve;
pub(crate) mod will;

/// What is known of a connection before its first packet.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub address: SocketAddr,
    /// The client's certificate and those between it and an authority; verified against all that are known.
    pub chain: Vec<CertificateDer<'static>>,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// DISCONNECT; its will is void unless it said otherwise.
    Disconnected { publish_will: bool },
    /// The peer is gone, or takes nothing any more.
    Gone(&'static str),
    /// We end it, and say why as far as the version can.
    Told(Goodbye, Option<String>),
}

fn told(why: Goodbye) -> End {
    End::Told(why, None)
}

struct Pending {
    number: u64,
    packet_id: u16,
    qos: u8,
    answer: Option<(PublishAnswer, Option<Said>)>,
    /// The journal knows its packet identifier, where it has to.
    noted: bool,
    /// Told to subscribers once it is committed.
    echo: Option<Arc<Message>>,
}

/// A quota made it wait.
#[derive(Clone, Debug)]
struct Held {
    until: Instant,
    reason: Said,
}

struct Session<S> {
    door: Arc<Door>,
    identity: Identity,
    version: Version,
    registered: Registered,
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    input: BytesMut,
    output: BytesMut,
    pending: VecDeque<Pending>,
    next_number: u64,
    answers: mpsc::Receiver<(u64, Outcome)>,
    answer_to: mpsc::Sender<(u64, Outcome)>,
    keep_alive: Duration,
    /// The largest packet the client takes.
    max_packet: usize,
    /// Unacknowledged publishes the client takes.
    receive_max: u16,
    /// Whether the client wants reason strings.
    problem_info: bool,
    /// Seconds its session outlives it.
    session_expiry: u32,
    /// Watermarks said so far.
    said: BTreeMap<(String, u64), u64>,
    /// Aliases of the client.
    aliases_in: HashMap<u16, String>,
    /// Ours, as many as the client takes.
    aliases_out: HashMap<String, u16>,
    alias_max: u16,
    held: Option<Held>,
    /// The last quota's sentence that was said.
    held_said: Option<Instant>,
}

/// Serves a connection. Never fails: how it ended is counted and logged.
pub(crate) async fn run<S>(stream: S, peer: Peer, door: Arc<Door>, mut place: Place)
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut input = BytesMut::with_capacity(4096);
    let stop = door.stop.clone();
    let opening = tokio::select! {
        opening = timeout(door.config.connect_timeout(), open::open(&door, &peer, &mut reader, &mut input)) => opening,
        () = stop.cancelled() => return,
    };
    let opened = opening.unwrap_or(Err(open::Refusal::silent("connect_timeout")));
    let (connect, identity) = match opened {
        Ok(opened) => opened,
        Err(refusal) => return refusal.tell(&door, &peer, &mut writer).await,
    };
    place.authenticated();
    let limits = &door.config.limits;
    let (client_id, assigned) = if connect.client_id.is_empty() {
        let id = format!("auto-{}", uuid::Uuid::now_v7().simple());
        (id.clone(), Some(id))
    } else {
        (connect.client_id.clone(), None)
    };
    let key = Key {
        space: identity.space,
        owner: identity.owner(),
        client_id: client_id.clone(),
    };
    let asked = match connect.version {
        Version::V4 if connect.clean => 0,
        Version::V4 => u32::MAX,
        Version::V5 => connect.session_expiry.unwrap_or(0),
    };
    let session_expiry = asked.min(limits.session_expiry_s);
    let registered = door.hub.register(key, identity.credential, connect.clean);
    let keep_for = Duration::from_secs(session_expiry.into());
    door.hub.keep(&registered.session, keep_for);
    if registered.session_present {
        forget_rights(&door, &identity, &registered);
    }
    let keep_alive = match connect.keep_alive {
        0 => limits.max_keep_alive_s,
        asked => asked.min(limits.max_keep_alive_s),
    };
    let (answer_to, answers) = mpsc::channel(usize::from(limits.in_flight) + 1);
    let who = identity.to_string();
    let mut session = Session {
        version: connect.version,
        registered,
        reader,
        writer,
        input,
        output: BytesMut::with_capacity(1024),
        pending: VecDeque::new(),
        next_number: 0,
        answers,
        answer_to,
        keep_alive: Duration::from_secs(u64::from(keep_alive)) * 3 / 2,
        max_packet: connect.max_packet.map_or(usize::MAX, |max| max as usize),
        receive_max: connect.receive_max.min(limits.in_flight),
        problem_info: connect.problem_info,
        session_expiry,
        said: BTreeMap::new(),
        aliases_in: HashMap::new(),
        aliases_out: HashMap::new(),
        alias_max: connect.alias_max.min(limits.topic_aliases),
        held: None,
        held_said: None,
        identity,
        door: door.clone(),
    };
    if let Some(will) = &connect.will {
        will::keep(
            &door,
            &session.identity,
            &session.registered,
            will,
            session.keep_alive,
        );
    }
    session.say(ToClient::Accepted(Box::new(Accepted {
        session_present: session.registered.session_present,
        receive_max: limits.in_flight,
        max_packet: u32::try_from(limits.max_packet_bytes).unwrap_or(u32::MAX),
        alias_max: limits.topic_aliases,
        keep_alive: (keep_alive != connect.keep_alive).then_some(keep_alive),
        session_expiry: (session_expiry != asked).then_some(session_expiry),
        client_id: assigned,
        reason: session.quota_now(),
    })));
    session.say_again();
    tracing::debug!(peer = %peer.address, who, client_id, "connected");
    let end = match session.serve().await {
        Ok(never) => match never {},
        Err(end) => end,
    };
    metrics::in_flight(-(session.pending.len() as f64));
    let reason = session.finish(&end).await;
    let Session {
        registered,
        identity,
        session_expiry,
        ..
    } = session;
    metrics::closed_connection(reason);
    tracing::debug!(peer = %peer.address, who, client_id, reason, "closed");
    drop(place);
    let keep = (session_expiry > 0).then(|| Duration::from_secs(session_expiry.into()));
    let will = connect
        .will
        .filter(|_| end != End::Disconnected { publish_will: false });
    will::after(&door, &identity, &registered, keep, will).await;
}

/// Ends the subscriptions of an older connection that the credential of this one doesn't open.
fn forget_rights(door: &Door, identity: &Identity, registered: &Registered) {
    let given: Vec<String> = registered
        .session
        .with(|state| state.subscriptions.keys().cloned().collect());
    for filter in given {
        if let Err(denied) = acl::subscribe(identity, &filter) {
            let reason = denied.reason();
            tracing::warn!(who = %identity, filter, reason, "a subscription has lost its right: ending it");
            door.hub.unsubscribe(&registered.session, &filter);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Send> Session<S> {
    fn say(&mut self, packet: ToClient) {
        let before = self.output.len();
        let shorter = packet.without_reason();
        if let Err(error) = packet::write(self.version, packet, &mut self.output) {
            tracing::error!(%error, "a packet of ours can't be written");
            self.output.truncate(before);
        } else if self.output.len() - before > self.max_packet {
            // [MQTT-3.1.2-24] of 5.0: what is too large for the client is not sent.
            self.output.truncate(before);
            match shorter {
                // [MQTT-3.4.2-2], [MQTT-3.5.2-2], [MQTT-3.14.2-3]
                Some(shorter) => self.say(shorter),
                None => metrics::dropped_down("larger_than_the_client_takes"),
            }
        }
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.output.is_empty() {
            return Ok(());
        }
        let sending = async {
            self.writer.write_all_buf(&mut self.output).await?;
            self.writer.flush().await
        };
        match timeout(self.door.config.write_timeout(), sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone("connection_lost")),
            Err(_) => Err(End::Gone("write_timeout")),
        }
    }

    /// Says goodbye and closes. Returns the reason for the metric.
    async fn finish(&mut self, end: &End) -> &'static str {
        let reason = match end {
            End::Disconnected { .. } => "disconnected",
            End::Gone(reason) => reason,
            End::Told(why, reason) => {
                self.say(ToClient::Goodbye(*why, reason.clone()));
                match why {
                    Goodbye::ShuttingDown => "shutting_down",
                    Goodbye::TakenOver => "taken_over",
                    Goodbye::Withdrawn => "credential_withdrawn",
                    Goodbye::KeepAlive => "keep_alive",
                    Goodbye::Malformed => "malformed",
                    Goodbye::TooLarge => "packet_too_large",
                    Goodbye::Protocol => "protocol_error",
                    Goodbye::NotAuthorized => "not_authorized",
                    Goodbye::AliasInvalid => "topic_alias",
                    Goodbye::ReceiveMax => "receive_maximum",
                    Goodbye::QuotaExceeded => "quota_exceeded",
                    Goodbye::Error => "abandoned_payload",
                }
            }
        };
        if !matches!(end, End::Gone(_)) && self.flush().await.is_err() {
            tracing::debug!("the peer was gone before the last packet");
        }
        drop(timeout(Duration::from_secs(1), self.writer.shutdown()).await);
        reason
    }
}

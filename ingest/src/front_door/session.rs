//! One connection, from its first byte to its last.
//!
//! One task that reads, answers and waits in turn, so that there is one order of things: publishes
//! are answered in the order they came, whatever the writers do. `pending` is the window: when it
//! is full, nothing is read.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use models::db::ledger;
use models::time::Timestamp;
use models::wire::{Committed, topic};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::acl::{self, Destination};
use super::auth::{self, AuthError, Identity};
use super::hub::{Mail, Message, Registered};
use super::limits::Place;
use super::packet::{
    self, Connect, ConnectRefusal, FromClient, Goodbye, PacketError, Publish, PublishAnswer, ToClient,
    Version, Will,
};
use super::{Door, hub};
use crate::metrics;
use crate::writer::{Outcome, Payload, Reply};

/// The largest CONNECT: will and credential are short.
const MAX_CONNECT_BYTES: usize = 64 * 1024;
const MAX_CLIENT_ID_BYTES: usize = 256;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// DISCONNECT; its will is void unless it said otherwise.
    Disconnected { publish_will: bool },
    /// The peer is gone, or takes nothing any more.
    Gone(&'static str),
    /// We end it.
    Told(Goodbye),
}

struct Pending {
    number: u64,
    packet_id: u16,
    qos: u8,
    answer: Option<PublishAnswer>,
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
    max_packet: usize,
    /// Watermarks said so far.
    said: BTreeMap<u64, u64>,
}

/// Serves a connection. Never fails: how it ended is counted and logged.
pub(crate) async fn run<S>(stream: S, peer: SocketAddr, door: Arc<Door>, mut place: Place)
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut input = BytesMut::with_capacity(4096);
    let stop = door.stop.clone();
    let opening = tokio::select! {
        opening = timeout(door.config.connect_timeout(), open(&door, &mut reader, &mut input)) => opening,
        () = stop.cancelled() => return,
    };
    let (connect, identity) = match opening.unwrap_or(Err(Refusal {
        reason: "connect_timeout",
        answer: None,
    })) {
        Ok(opened) => opened,
        Err(refusal) => {
            tracing::info!(%peer, reason = refusal.reason, "connection refused");
            metrics::refused_connection(refusal.reason);
            if let Some((version, why)) = refusal.answer {
                let mut output = BytesMut::new();
                if packet::write(version, ToClient::Refused(why), &mut output).is_ok() {
                    // The peer may be gone by now: then nobody misses the answer.
                    let saying = async {
                        writer.write_all_buf(&mut output).await?;
                        writer.shutdown().await
                    };
                    drop(timeout(door.config.write_timeout(), saying).await);
                }
            }
            return;
        }
    };
    place.authenticated();
    let limits = &door.config.limits;
    let (client_id, assigned) = if connect.client_id.is_empty() {
        let id = format!("auto-{}", uuid::Uuid::now_v7().simple());
        (id.clone(), Some(id))
    } else {
        (connect.client_id.clone(), None)
    };
    let gateway = identity.gateway.clone();
    let registered = door
        .hub
        .register(gateway.id, &client_id, identity.credential, connect.clean);
    let number = registered.number;
    let asked = connect.keep_alive;
    let granted = if asked == 0 || asked > limits.max_keep_alive_s {
        limits.max_keep_alive_s
    } else {
        asked
    };
    let (answer_to, answers) = mpsc::channel(usize::from(limits.in_flight) + 1);
    let accepted = ToClient::Accepted {
        session_present: registered.session_present,
        receive_max: limits.in_flight,
        max_packet: u32::try_from(limits.max_packet_bytes).unwrap_or(u32::MAX),
        keep_alive: (granted != asked).then_some(granted),
        client_id: assigned,
    };
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
        keep_alive: Duration::from_secs(u64::from(granted)) * 3 / 2,
        max_packet: connect.max_packet.map_or(usize::MAX, |max| max as usize),
        said: BTreeMap::new(),
        identity,
        door: door.clone(),
    };
    session.say(accepted);
    tracing::debug!(%peer, gateway = %gateway.id, client_id, "connected");
    let end = match session.serve().await {
        Ok(never) => match never {},
        Err(end) => end,
    };
    metrics::in_flight(-(session.pending.len() as f64));
    let reason = session.finish(end).await;
    drop(session);
    metrics::closed_connection(reason);
    tracing::debug!(%peer, gateway = %gateway.id, client_id, reason, "closed");
    let keep = match connect.version {
        Version::V4 if !connect.clean => Some(limits.session_expiry_s),
        Version::V5 => connect
            .session_expiry
            .filter(|asked| *asked > 0)
            .map(|asked| asked.min(limits.session_expiry_s)),
        Version::V4 => None,
    };
    door.hub.unregister(
        gateway.id,
        &client_id,
        number,
        keep.map(|s| Duration::from_secs(s.into())),
    );
    let clean_end = matches!(end, End::Disconnected { publish_will: false });
    if let Some(will) = connect.will.filter(|_| !clean_end) {
        publish_will(&door, &gateway, will).await;
    }
}

struct Refusal {
    reason: &'static str,
    answer: Option<(Version, ConnectRefusal)>,
}

/// Reads CONNECT and finds out who it is.
async fn open<R: AsyncRead + Unpin>(
    door: &Door,
    reader: &mut R,
    input: &mut BytesMut,
) -> Result<(Connect, Identity), Refusal> {
    let silent = |reason| Refusal { reason, answer: None };
    let frame = loop {
        match packet::next_frame(input, MAX_CONNECT_BYTES) {
            Ok(Some(frame)) => break frame,
            Ok(None) => {}
            Err(_) => return Err(silent("malformed_connect")),
        }
        match reader.read_buf(input).await {
            Ok(n) if n > 0 => {}
            _ => return Err(silent("gone_before_connect")),
        }
    };
    let mut connect = packet::read_connect(frame).map_err(|error| match error {
        PacketError::UnknownVersion(_) => Refusal {
            reason: "protocol_version",
            answer: Some((Version::V4, ConnectRefusal::Version)),
        },
        _ => silent("malformed_connect"),
    })?;
    let version = connect.version;
    let refuse = |reason, why| Refusal {
        reason,
        answer: Some((version, why)),
    };
    let identity = auth::check(&door.pool, connect.login.take())
        .await
        .map_err(|error| match error {
            AuthError::Anonymous => refuse("anonymous", ConnectRefusal::NotAuthorized),
            AuthError::Wrong => refuse("bad_credential", ConnectRefusal::BadCredential),
            AuthError::Database(error) => {
                tracing::warn!(%error, "can't check a credential");
                refuse("database_unavailable", ConnectRefusal::Unavailable)
            }
        })?;
    let id = &connect.client_id;
    if id.len() > MAX_CLIENT_ID_BYTES || (id.is_empty() && version == Version::V4 && !connect.clean) {
        return Err(refuse("client_id", ConnectRefusal::ClientId));
    }
    if let Some(will) = &connect.will
        && (will.topic.len() > door.config.limits.max_topic_bytes
            || acl::publish(&identity.gateway, &will.topic).is_err())
    {
        return Err(refuse("will_not_allowed", ConnectRefusal::NotAuthorized));
    }
    Ok((connect, identity))
}

async fn publish_will(door: &Door, gateway: &Arc<crate::registry::Gateway>, will: Will) {
    match acl::publish(gateway, &will.topic) {
        Ok(Destination::State) => {
            let name = topic(&gateway.tenant_slug, &gateway.slug, "state");
            door.hub.state(gateway.id, name, will.payload, will.retain);
        }
        Ok(Destination::Writer(format)) => {
            let received_at = Timestamp::now();
            let payload = Payload {
                gateway: gateway.clone(),
                topic: will.topic,
                received_at,
                decoded: format.decode(&will.payload, received_at),
                raw: will.payload,
                format,
                reply: None,
                permit: None,
            };
            if door.writer(gateway.id).send(payload).await.is_err() {
                tracing::warn!(gateway = %gateway.id, "a will came after the writers had stopped");
                metrics::refused_publish("stopping");
            }
        }
        Err(_) => metrics::refused_publish("will_not_allowed"),
    }
}

impl<S: AsyncRead + AsyncWrite + Send> Session<S> {
    fn say(&mut self, packet: ToClient) {
        let before = self.output.len();
        if let Err(error) = packet::write(self.version, packet, &mut self.output) {
            tracing::error!(%error, "a packet of ours can't be written");
            self.output.truncate(before);
        } else if self.output.len() - before > self.max_packet {
            // [MQTT-3.1.2-24]: what is too large for the client is not sent.
            self.output.truncate(before);
            metrics::dropped_down("larger_than_the_client_takes");
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

    /// Serves until the end, which is the error.
    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        let in_flight = usize::from(self.door.config.limits.in_flight);
        let stop = self.door.stop.clone();
        let mailbox = self.registered.mailbox.clone();
        let mut heard = Instant::now();
        let mut stopping: Option<Instant> = None;
        loop {
            while stopping.is_none() && self.pending.len() < in_flight {
                let Some(frame) =
                    packet::next_frame(&mut self.input, self.door.config.limits.max_packet_bytes)
                        .map_err(|error| self.complain(&error))?
                else {
                    break;
                };
                let packet = packet::read(self.version, frame).map_err(|error| self.complain(&error))?;
                if let Some(packet) = packet {
                    self.handle(packet).await?;
                }
            }
            self.flush().await?;
            if stopping.is_some() && self.pending.is_empty() {
                return Err(End::Told(Goodbye::ShuttingDown));
            }
            let reading = stopping.is_none() && self.pending.len() < in_flight;
            let deadline = stopping.unwrap_or(heard + self.keep_alive);
            tokio::select! {
                biased;
                answer = self.answers.recv() => {
                    let mut next = answer;
                    while let Some((number, outcome)) = next {
                        self.settle(number, outcome)?;
                        next = self.answers.try_recv().ok();
                    }
                    if !reading {
                        // It could not speak: its silence doesn't count.
                        heard = Instant::now();
                    }
                }
                () = mailbox.news() => self.deliver(mailbox.take())?,
                () = stop.cancelled(), if stopping.is_none() => {
                    stopping = Some(Instant::now() + Duration::from_secs(self.door.config.shutdown_s));
                }
                read = self.reader.read_buf(&mut self.input), if reading => match read {
                    Ok(n) if n > 0 => heard = Instant::now(),
                    _ => return Err(End::Gone("connection_lost")),
                },
                () = tokio::time::sleep_until(deadline), if reading || stopping.is_some() => {
                    return Err(End::Told(if stopping.is_some() { Goodbye::ShuttingDown } else { Goodbye::KeepAlive }));
                }
            }
        }
    }

    fn complain(&self, error: &PacketError) -> End {
        tracing::info!(gateway = %self.identity.gateway.id, %error, "closing the connection");
        End::Told(match error {
            PacketError::TooLarge(_) => Goodbye::TooLarge,
            _ => Goodbye::Malformed,
        })
    }

    async fn handle(&mut self, packet: FromClient) -> Result<(), End> {
        match packet {
            FromClient::Publish(publish) => self.publish(publish).await?,
            FromClient::PubRel(packet_id) => {
                let known = self
                    .registered
                    .state
                    .lock()
                    .unreleased
                    .remove(&packet_id)
                    .is_some();
                self.say(ToClient::PubComp { packet_id, known });
            }
            FromClient::Subscribe { packet_id, filters } => self.subscribe(packet_id, &filters).await?,
            FromClient::Unsubscribe { packet_id, filters } => {
                let mut state = self.registered.state.lock();
                let mut existed = Vec::with_capacity(filters.len());
                for filter in filters {
                    let before = state.filters.len();
                    state.filters.retain(|granted| granted.given != filter);
                    existed.push(state.filters.len() < before);
                }
                drop(state);
                self.say(ToClient::UnsubAck(packet_id, existed));
            }
            FromClient::Ping => self.say(ToClient::Pong),
            FromClient::Disconnect { publish_will } => return Err(End::Disconnected { publish_will }),
        }
        Ok(())
    }

    fn pend(&mut self, packet_id: u16, qos: u8, answer: Option<PublishAnswer>) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.pending.push_back(Pending {
            number,
            packet_id,
            qos,
            answer,
        });
        metrics::in_flight(1.0);
        number
    }

    async fn publish(&mut self, publish: Publish) -> Result<(), End> {
        let Publish {
            topic: name,
            payload,
            qos,
            packet_id,
            retain,
            alias,
        } = publish;
        if alias {
            return Err(End::Told(Goodbye::AliasInvalid));
        }
        if qos == 2 {
            let seen = self.registered.state.lock().unreleased.get(&packet_id).copied();
            match seen {
                // Committed before: say so again. In flight: its answer will come.
                Some(true) => {
                    self.pend(packet_id, qos, Some(PublishAnswer::Success));
                    return self.answer();
                }
                Some(false) => return Ok(()),
                None => {}
            }
        }
        let gateway = self.identity.gateway.clone();
        let destination = if name.len() > self.door.config.limits.max_topic_bytes {
            Err(acl::Denied("topic_too_long"))
        } else {
            acl::publish(&gateway, &name)
        };
        match destination {
            Err(acl::Denied(reason)) => {
                metrics::refused_publish(reason);
                let shown: String = name.chars().take(200).collect();
                tracing::warn!(gateway = %gateway.id, topic = shown, reason, "publish refused");
                match (self.version, qos) {
                    (Version::V5, 0) => Ok(()),
                    (Version::V5, _) => {
                        self.pend(packet_id, qos, Some(PublishAnswer::NotAuthorized));
                        self.answer()
                    }
                    // [MQTT-3.3.5-2]: 3.1.1 has no word for no.
                    (Version::V4, _) => Err(End::Told(Goodbye::NotAuthorized)),
                }
            }
            Ok(Destination::State) => {
                let name = topic(&gateway.tenant_slug, &gateway.slug, "state");
                self.door.hub.state(gateway.id, name, payload, retain);
                if qos == 2 {
                    self.registered.state.lock().unreleased.insert(packet_id, true);
                }
                self.pend(packet_id, qos, Some(PublishAnswer::Success));
                self.answer()
            }
            Ok(Destination::Writer(format)) => {
                // What has been said so far must not wait for room.
                self.flush().await?;
                let share = u32::try_from(payload.len().max(64)).unwrap_or(u32::MAX);
                let permit = tokio::select! {
                    permit = self.door.bytes.clone().acquire_many_owned(share) => permit.ok(),
                    () = self.door.stop.cancelled() => None,
                };
                let Some(permit) = permit else {
                    return Err(End::Told(Goodbye::ShuttingDown));
                };
                let received_at = Timestamp::now();
                if qos == 2 {
                    self.registered.state.lock().unreleased.insert(packet_id, false);
                }
                let number = self.pend(packet_id, qos, None);
                let payload = Payload {
                    gateway: gateway.clone(),
                    topic: name,
                    received_at,
                    decoded: format.decode(&payload, received_at),
                    raw: payload,
                    format,
                    reply: Some(Reply {
                        number,
                        to: self.answer_to.clone(),
                    }),
                    permit: Some(permit),
                };
                match self.door.writer(gateway.id).send(payload).await {
                    Ok(()) => Ok(()),
                    Err(_) => Err(End::Told(Goodbye::ShuttingDown)),
                }
            }
        }
    }

    fn settle(&mut self, number: u64, outcome: Outcome) -> Result<(), End> {
        let answer = match outcome {
            Outcome::Committed => PublishAnswer::Success,
            Outcome::DeadLettered => PublishAnswer::Invalid,
            Outcome::Abandoned => return Err(End::Told(Goodbye::Error)),
        };
        let first = self.pending.front().map_or(0, |pending| pending.number);
        if let Some(pending) = number
            .checked_sub(first)
            .and_then(|i| self.pending.get_mut(i as usize))
        {
            pending.answer = Some(answer);
        }
        self.answer()
    }

    /// Answers what can be answered without overtaking.
    fn answer(&mut self) -> Result<(), End> {
        while let Some(Pending {
            packet_id,
            qos,
            answer: Some(answer),
            ..
        }) = self.pending.front()
        {
            let (packet_id, qos, answer) = (*packet_id, *qos, *answer);
            self.pending.pop_front();
            metrics::in_flight(-1.0);
            match qos {
                0 => {}
                1 => self.say(ToClient::PubAck(packet_id, answer)),
                _ => {
                    // A v5 PUBREC that says no ends the exchange; everything else waits for PUBREL.
                    let over = self.version == Version::V5 && answer != PublishAnswer::Success;
                    let mut state = self.registered.state.lock();
                    if over {
                        state.unreleased.remove(&packet_id);
                    } else {
                        state.unreleased.insert(packet_id, true);
                    }
                    drop(state);
                    self.say(ToClient::PubRec(packet_id, answer));
                }
            }
        }
        Ok(())
    }

    async fn subscribe(&mut self, packet_id: u16, filters: &[String]) -> Result<(), End> {
        let gateway = self.identity.gateway.clone();
        let most = self.door.config.limits.max_subscriptions;
        let mut codes = Vec::with_capacity(filters.len());
        let mut new = Vec::new();
        for filter in filters {
            match acl::subscribe(&gateway, filter) {
                Ok(granted) => {
                    let mut state = self.registered.state.lock();
                    state.filters.retain(|old| old.given != granted.given);
                    let room = state.filters.len() < most;
                    if room {
                        state.filters.push(granted.clone());
                        new.push(granted);
                    }
                    codes.push(room);
                }
                Err(acl::Denied(reason)) => {
                    tracing::warn!(gateway = %gateway.id, reason, "subscription refused");
                    codes.push(false);
                }
            }
        }
        self.say(ToClient::SubAck(packet_id, codes));
        let wants = |kind: &str| {
            let name = topic(&gateway.tenant_slug, &gateway.slug, kind);
            new.iter().any(|granted| acl::matches(&granted.canonical, &name))
        };
        if wants("state")
            && let Some(payload) = self.door.hub.retained_state(gateway.id)
        {
            let name = topic(&gateway.tenant_slug, &gateway.slug, "state");
            self.publish_down(&Message {
                topic: name,
                payload,
                retain: true,
            });
        }
        if wants("committed") {
            self.flush().await?;
            let asking = async {
                let mut connection = self.door.pool.acquire().await?;
                ledger::newest_cursor(&mut connection, gateway.id).await
            };
            match timeout(Duration::from_secs(2), asking).await {
                Ok(Ok(Some((epoch, seq)))) => {
                    if let (Ok(epoch), Ok(seq)) = (u64::try_from(epoch), u64::try_from(seq)) {
                        self.say_watermark(Committed { epoch, seq });
                    }
                }
                Ok(Ok(None)) => {}
                // The next commit says it.
                Ok(Err(error)) => tracing::warn!(%error, "can't read the cursor of a gateway"),
                Err(_) => tracing::warn!("the cursor of a gateway takes too long to read"),
            }
        }
        Ok(())
    }

    fn deliver(&mut self, mail: Mail) -> Result<(), End> {
        for (epoch, seq) in mail.committed {
            self.say_watermark(Committed { epoch, seq });
        }
        for message in mail.messages {
            self.publish_down(&message);
        }
        match mail.goodbye {
            Some(why) => Err(End::Told(why)),
            None => Ok(()),
        }
    }

    fn say_watermark(&mut self, committed: Committed) {
        let said = self.said.entry(committed.epoch).or_default();
        if committed.seq < *said {
            return;
        }
        *said = committed.seq;
        let gateway = &self.identity.gateway;
        let name = topic(&gateway.tenant_slug, &gateway.slug, "committed");
        match serde_json::to_vec(&committed) {
            Ok(json) => self.publish_down(&hub::Message {
                topic: name,
                payload: Bytes::from(json),
                retain: false,
            }),
            Err(error) => tracing::error!(%error, "a watermark can't be written as JSON"),
        }
    }

    /// Sends a message if it was subscribed to, under the name it was subscribed by.
    fn publish_down(&mut self, message: &Message) {
        let found = {
            let state = self.registered.state.lock();
            let mut matching = state
                .filters
                .iter()
                .filter(|granted| acl::matches(&granted.canonical, &message.topic));
            matching.next().map(|granted| granted.given == granted.canonical)
        };
        let Some(by_full_name) = found else { return };
        let gateway = &self.identity.gateway;
        let name = if by_full_name {
            message.topic.clone()
        } else {
            let prefix = topic(&gateway.tenant_slug, &gateway.slug, "");
            format!(
                "{}/me/{}",
                models::wire::PREFIX,
                message.topic.strip_prefix(&prefix).unwrap_or(&message.topic)
            )
        };
        self.say(ToClient::Publish {
            topic: name,
            payload: message.payload.clone(),
            retain: message.retain,
        });
    }

    /// Says goodbye and closes. Returns the reason for the metric.
    async fn finish(&mut self, end: End) -> &'static str {
        let reason = match end {
            End::Disconnected { .. } => "disconnected",
            End::Gone(reason) => reason,
            End::Told(why) => {
                self.say(ToClient::Goodbye(why));
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

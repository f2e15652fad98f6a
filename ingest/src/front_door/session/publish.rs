//! What comes up: to the writers or to subscribers.

use std::sync::Arc;

use models::db::auth::{Secret, SecretKind};
use models::db::registry;
use models::id::CredentialId;
use models::time::Timestamp;
use models::wire::{Refusal, topic};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};

use super::{End, Held, Pending, Session, told};
use crate::codec::{Decoded, Format};
use crate::front_door::acl::{self, Denied, Destination};
use crate::front_door::hub::{Message, NotTaken, Received, Taken};
use crate::front_door::packet::{Goodbye, Publish, PublishAnswer, Said, Version};
use crate::front_door::quota::Wait;
use crate::metrics;
use crate::registry::Gateway;
use crate::writer::{Outcome, Payload, Reply};

/// Of a refused topic, in logs.
const SHOWN: usize = 200;

impl<S: AsyncRead + AsyncWrite + Send> Session<S> {
    pub(super) async fn publish(&mut self, mut publish: Publish) -> Result<(), End> {
        self.resolve_alias(&mut publish)?;
        if publish.qos == 2 {
            let (seen, open) = self.registered.session.with(|state| {
                (
                    state.unreleased.get(&publish.packet_id).copied(),
                    state.unreleased.len(),
                )
            });
            match seen {
                // Committed before: say so again.
                Some(Received::Done) => {
                    self.pend_answered(&publish, PublishAnswer::Success, None);
                    return Ok(());
                }
                // In flight: its answer will come, unless it was for a connection that is gone.
                Some(stage) => {
                    let id = publish.packet_id;
                    let here = self.pending.iter().any(|one| one.qos == 2 && one.packet_id == id);
                    if stage == Received::Noting && !here {
                        self.pend_until_kept(&publish, true);
                    }
                    return Ok(());
                }
                None if self.version == Version::V5
                    && open >= usize::from(self.door.config.limits.in_flight) =>
                {
                    return Err(told(Goodbye::ReceiveMax));
                }
                None => {}
            }
        }
        let destination = if publish.topic.len() > self.door.config.limits.max_topic_bytes {
            Err(Denied::Right("topic_too_long"))
        } else {
            self.door.destination(&self.identity, &publish.topic)
        };
        match destination {
            Err(denied) => self.refuse(&publish, denied),
            Ok(Destination::Subscribers(name)) => self.for_subscribers(name, publish).await,
            Ok(Destination::Claim(hash)) => self.claim(hash, publish).await,
            Ok(Destination::Writer(gateway, format)) => self.for_writer(gateway, format, publish).await,
        }
    }

    /// [MQTT-3.3.2-7] to [MQTT-3.3.2-12] of 5.0.
    fn resolve_alias(&mut self, publish: &mut Publish) -> Result<(), End> {
        let Some(alias) = publish.alias else {
            return Ok(());
        };
        if alias > self.door.config.limits.topic_aliases {
            return Err(told(Goodbye::AliasInvalid));
        }
        if publish.topic.is_empty() {
            publish.topic = self
                .aliases_in
                .get(&alias)
                .cloned()
                .ok_or_else(|| told(Goodbye::Protocol))?;
        } else {
            self.aliases_in.insert(alias, publish.topic.clone());
        }
        Ok(())
    }

    fn pend_answered(&mut self, publish: &Publish, answer: PublishAnswer, reason: Option<Said>) {
        self.pend(Pending {
            number: self.next_number,
            packet_id: publish.packet_id,
            qos: publish.qos,
            answer: Some((answer, reason)),
            noted: true,
            echo: None,
        });
        self.answer();
    }

    fn refuse(&mut self, publish: &Publish, denied: Denied) -> Result<(), End> {
        let reason = denied.reason();
        metrics::refused_publish(reason);
        let shown: String = publish.topic.chars().take(SHOWN).collect();
        tracing::warn!(who = %self.identity, topic = shown, reason, "publish refused");
        let sentence = "this credential may not publish to that topic".to_owned();
        match (self.version, publish.qos) {
            (Version::V5, 0) => Ok(()),
            (Version::V5, _) => {
                self.pend_answered(publish, PublishAnswer::NotAuthorized, Some(sentence.into()));
                Ok(())
            }
            // [MQTT-3.3.5-2]: 3.1.1 has no word for no.
            (Version::V4, _) => Err(End::Told(Goodbye::NotAuthorized, Some(sentence))),
        }
    }

    /// `kept`: it is a command, which is to outlive the process where a session does.
    fn message(&self, name: String, publish: &Publish, kept: bool) -> Arc<Message> {
        let expiry = publish
            .expiry
            .map(|seconds| Timestamp::now().plus_seconds(seconds.into()));
        Arc::new(Message {
            topic: name,
            payload: publish.payload.clone(),
            qos: publish.qos,
            retain: publish.retain,
            expires_at: expiry,
            properties: publish.properties.clone(),
            from: self.registered.session.id,
            kept,
        })
    }

    async fn for_subscribers(&mut self, name: String, publish: Publish) -> Result<(), End> {
        let message = self.message(name, &publish, true);
        let space = self.identity.space;
        let mut deadline = None;
        let session = self.registered.session.clone();
        let taken = loop {
            let publishing = match publish.qos {
                2 => self
                    .door
                    .hub
                    .publish_once(space, &message, &session, publish.packet_id),
                qos => self.door.hub.publish(space, &message, qos > 0),
            };
            match publishing {
                Ok(taken) => break Ok(taken),
                Err(NotTaken::Kept) => break Err("as much waits in this tenant's sessions as may be kept"),
                Err(NotTaken::Retained) => break Err("there is no room for another retained message"),
                // A reader that is slow holds its writers back; one that takes nothing doesn't.
                // Another publisher may be quicker than this one when there is room: it waits again.
                Err(NotTaken::Queue(slow)) => {
                    self.flush().await?;
                    let most = self.door.config.write_timeout();
                    let deadline = *deadline.get_or_insert_with(|| Instant::now() + most);
                    let left = deadline.saturating_duration_since(Instant::now());
                    if slow.id == self.registered.session.id || !self.door.hub.room(&slow, left).await {
                        break Err("the queue of a subscriber is full");
                    }
                }
            }
        };
        let sentence = match taken {
            Ok(taken) => {
                self.state(&message);
                self.taken(&publish, taken);
                return Ok(());
            }
            Err(sentence) => sentence,
        };
        metrics::refused_publish("queue_full");
        tracing::warn!(who = %self.identity, topic = message.topic, sentence, "publish refused");
        match self.version {
            Version::V5 => {
                self.pend_answered(&publish, PublishAnswer::QuotaExceeded, Some(sentence.into()));
                Ok(())
            }
            // Not acknowledged, so not lost: the client will send it again.
            Version::V4 => Err(End::Told(Goodbye::QuotaExceeded, Some(sentence.to_owned()))),
        }
    }

    /// A gateway's own state says how its configuration stands.
    fn state(&self, message: &Message) {
        if let Some(gateway) = &self.identity.gateway
            && message.topic.ends_with("/state")
            && message.topic == topic(&gateway.tenant_slug, &gateway.slug, "state")
        {
            self.door.configurations.heard(gateway, &message.payload);
        }
    }

    /// What waits for a client that may be away is committed before it is acknowledged.
    fn taken(&mut self, publish: &Publish, taken: Taken) {
        if publish.qos == 2 {
            let stage = if taken.kept || taken.noted {
                Received::Noting
            } else {
                Received::Done
            };
            self.receive(publish.packet_id, stage);
        }
        if publish.qos == 0 || !(taken.kept || taken.noted) {
            return self.pend_answered(publish, PublishAnswer::Success, None);
        }
        self.pend_until_kept(publish, taken.kept);
    }

    fn receive(&self, packet_id: u16, stage: Received) {
        let session = &self.registered.session;
        session.with(|state| state.unreleased.insert(packet_id, stage));
    }

    /// Answers when what was noted so far is committed. `must`: and not at all if it never will be.
    fn pend_until_kept(&mut self, publish: &Publish, must: bool) {
        let number = self.pend(Pending {
            number: self.next_number,
            packet_id: publish.packet_id,
            qos: publish.qos,
            answer: None,
            noted: true,
            echo: None,
        });
        let to = self.answer_to.clone();
        self.door.hub.then(move |written| {
            // Else only the identifier can't be kept: the message is where it belongs.
            let outcome = if written || !must {
                Outcome::Committed
            } else {
                Outcome::Abandoned
            };
            // There is room for an answer to each; the connection may be gone.
            to.try_send((number, outcome)).unwrap_or_default();
        });
    }

    async fn for_writer(
        &mut self,
        gateway: Arc<Gateway>,
        format: Format,
        publish: Publish,
    ) -> Result<(), End> {
        // What has been said so far must not wait for room.
        self.flush().await?;
        let share = u32::try_from(publish.payload.len().max(64)).unwrap_or(u32::MAX);
        let permit = tokio::select! {
            permit = self.door.bytes.clone().acquire_many_owned(share) => permit.ok(),
            () = self.door.stop.cancelled() => None,
        };
        let Some(permit) = permit else {
            return Err(told(Goodbye::ShuttingDown));
        };
        let received_at = Timestamp::now();
        if publish.qos == 2 {
            self.receive(publish.packet_id, Received::Writing);
        }
        // ThingsBoard's topics are the same for every device: nobody may listen to another one's.
        let name = match (&format, acl::full_name(&gateway, &publish.topic)) {
            (_, Some(name)) => Some(name),
            (Format::ThingsBoard { .. }, None) => None,
            (_, None) => Some(publish.topic.clone()),
        };
        let echo = name
            .filter(|name| publish.retain || self.door.hub.is_wanted(self.identity.space, name))
            .map(|name| self.message(name, &publish, false));
        let number = self.pend(Pending {
            number: self.next_number,
            packet_id: publish.packet_id,
            qos: publish.qos,
            answer: None,
            noted: publish.qos != 2,
            echo,
        });
        let bytes = publish.payload.len();
        let ready = self.door.intake.read(Payload {
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
        });
        for decoded in ready.iter().filter_map(|payload| payload.decoded.as_ref().ok()) {
            self.door.clocks.heard(&gateway, decoded, received_at);
        }
        let readings: usize = ready.iter().map(Payload::readings).sum();
        self.charge(&gateway, readings.max(1), bytes);
        for payload in ready {
            if self.door.writer(gateway.id).send(payload).await.is_err() {
                return Err(told(Goodbye::ShuttingDown));
            }
        }
        Ok(())
    }

    /// Turns a claim code into a credential, once, and says it to who showed the code. The secret
    /// exists in this answer only: when it gets lost, a new code is needed.
    async fn claim(&mut self, hash: [u8; 32], publish: Publish) -> Result<(), End> {
        self.flush().await?;
        let secret = Secret::generate(SecretKind::Gateway);
        let claiming = async {
            let mut connection = self.door.pool.acquire().await?;
            registry::claim_gateway(&mut connection, &hash, CredentialId::new(), &secret.hash()).await
        };
        let answer = match timeout(self.door.config.connect_timeout(), claiming).await {
            Ok(Ok(Some(claimed))) => {
                tracing::info!(gateway = %claimed.gateway_id, "a claim code became a credential");
                json!({
                    "gateway": claimed.gateway_id,
                    "username": format!("{}/{}", claimed.tenant_slug, claimed.gateway_slug),
                    "password": secret.reveal(),
                })
            }
            Ok(Ok(None)) => json!({ "error": "this code was used, withdrawn or is too old" }),
            // Not acknowledged: it may ask again.
            Ok(Err(error)) => {
                tracing::warn!(%error, "a claim can't be written");
                return Err(told(Goodbye::Error));
            }
            Err(_) => return Err(told(Goodbye::Error)),
        };
        let message = Arc::new(Message {
            topic: acl::CLAIM_RESPONSE.to_owned(),
            payload: answer.to_string().into(),
            qos: 1,
            ..Message::default()
        });
        if !self.door.hub.tell_session(&self.registered.session, &message) {
            tracing::warn!("a claim code was used by a client that doesn't listen to the answer");
        }
        if publish.qos == 2 {
            self.receive(publish.packet_id, Received::Done);
        }
        self.pend_answered(&publish, PublishAnswer::Success, None);
        Ok(())
    }

    /// Takes readings and bytes from the tenant's quota. When there is less than nothing left,
    /// nothing more is read until there is; the payload itself is taken.
    fn charge(&mut self, gateway: &Gateway, readings: usize, bytes: usize) {
        let now = Instant::now();
        let Some(wait) = self
            .door
            .quotas
            .charge(gateway.tenant, readings, bytes, now.into_std())
        else {
            return;
        };
        let until = Instant::from_std(wait.until);
        metrics::quota_wait(wait.limit, until - now);
        let slowed = Slowed::by(&wait, now);
        let reason = slowed.said();
        if self.held_said.is_none_or(|until| until < now) {
            tracing::warn!(who = %self.identity, reason = reason.text, "a tenant's quota slows its gateways down");
            let refusal = Refusal {
                reason: "quota".to_owned(),
                detail: reason.text.clone(),
                until: Some(slowed.until),
                retry_after_s: Some(slowed.left_s),
                ..Refusal::default()
            };
            if let Ok(json) = serde_json::to_vec(&refusal) {
                let name = topic(&gateway.tenant_slug, &gateway.slug, "error");
                self.door.hub.refused(gateway, name, json.into());
            }
        }
        self.held_said = Some(until + std::time::Duration::from_secs(60));
        self.held = Some(Held { until, reason });
    }

    /// What the tenant's quota says at this moment.
    pub(super) fn quota_now(&self) -> Option<Said> {
        let gateway = self.identity.gateway.as_ref()?;
        let now = Instant::now();
        let wait = self.door.quotas.state(gateway.tenant, now.into_std())?;
        Some(Slowed::by(&wait, now).said())
    }

    pub(super) fn held_reason(&self) -> Option<Said> {
        self.held.as_ref().map(|held| held.reason.clone())
    }
}

/// A tenant's quota slows its gateways down.
struct Slowed {
    limit: &'static str,
    per_second: u32,
    /// By our clock, …
    until: Timestamp,
    /// … and how long that is, for whoever's clock is another.
    left_s: f64,
}

impl Slowed {
    fn by(wait: &Wait, now: Instant) -> Self {
        let left = Instant::from_std(wait.until).saturating_duration_since(now);
        Self {
            limit: wait.limit,
            per_second: wait.per_second,
            until: Timestamp::now().plus_seconds(left.as_secs_f64()),
            left_s: left.as_secs_f64(),
        }
    }

    fn said(&self) -> Said {
        let Self {
            limit,
            per_second,
            until,
            left_s,
        } = self;
        let property = |name: &str, value: String| (name.to_owned(), value);
        Said {
            text: format!(
                "slowed down until {until}: the tenant's limit of {per_second} {limit} a second is reached; nothing is lost"
            ),
            user: vec![
                property("limit", (*limit).to_owned()),
                property("limit_per_s", per_second.to_string()),
                property("until", until.to_string()),
                property("retry_after_s", format!("{left_s:.3}")),
            ],
        }
    }
}

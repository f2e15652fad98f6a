//! What goes down: answers to subscriptions, messages, watermarks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use models::db::ledger;
use models::time::Timestamp;
use models::wire::{Committed, topic};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::{End, Session, told};
use crate::front_door::acl::{self, Denied};
use crate::front_door::hub::outbox::{Again, Queued};
use crate::front_door::hub::{Subscription, filter};
use crate::front_door::packet::{Down, Filter, RetainHandling, SubscribeAnswer, ToClient, Version};
use crate::metrics;

/// Written to the socket at once, bytes.
const GULP: usize = 64 << 10;

impl<S: AsyncRead + AsyncWrite + Send> Session<S> {
    pub(super) async fn subscribe(
        &mut self,
        packet_id: u16,
        filters: Vec<Filter>,
        identifier: Option<u32>,
    ) -> Result<(), End> {
        let hub = self.door.hub.clone();
        let session = self.registered.session.clone();
        let most = self.door.config.limits.max_subscriptions;
        let mut answers = Vec::with_capacity(filters.len());
        let mut retained = Vec::new();
        for wanted in filters {
            let granted = match acl::subscribe(&self.identity, &wanted.filter) {
                Ok(granted) if wanted.filter.len() <= self.door.config.limits.max_topic_bytes => granted,
                Ok(_) | Err(Denied::Invalid) => {
                    answers.push(SubscribeAnswer::Invalid);
                    continue;
                }
                Err(Denied::Right(reason)) => {
                    tracing::warn!(who = %self.identity, reason, "subscription refused");
                    answers.push(SubscribeAnswer::NotAuthorized);
                    continue;
                }
            };
            let room = session.with(|state| {
                state.subscriptions.contains_key(&wanted.filter) || state.subscriptions.len() < most
            });
            if !room {
                answers.push(SubscribeAnswer::QuotaExceeded);
                continue;
            }
            let subscription = Subscription {
                given: wanted.filter,
                filter: granted.filter,
                group: granted.group,
                me: granted.me,
                qos: wanted.qos,
                no_local: wanted.no_local,
                retain_as_published: wanted.retain_as_published,
                identifier,
            };
            let new = hub.subscribe(&session, subscription.clone());
            answers.push(SubscribeAnswer::Granted(wanted.qos));
            // [MQTT-3.3.1-9] to [MQTT-3.3.1-11] of 5.0; [MQTT-4.8.2-3] has none for groups.
            let send = match wanted.retain_handling {
                RetainHandling::Send => true,
                RetainHandling::SendIfNew => new,
                RetainHandling::DontSend => false,
            };
            if send && subscription.group.is_none() {
                retained.push(subscription);
            }
        }
        if answers
            .iter()
            .any(|answer| matches!(answer, SubscribeAnswer::Granted(_)))
        {
            self.settle_session().await?;
        }
        self.say(ToClient::SubAck(packet_id, answers));
        for subscription in &retained {
            hub.send_retained(&session, subscription);
        }
        self.say_where_it_stands(&retained).await
    }

    /// Who subscribes to its watermark hears it at once.
    async fn say_where_it_stands(&mut self, new: &[Subscription]) -> Result<(), End> {
        let Some(gateway) = self.identity.gateway.clone() else {
            return Ok(());
        };
        let name = topic(&gateway.tenant_slug, &gateway.slug, "committed");
        if !new
            .iter()
            .any(|subscription| filter::matches(&subscription.filter, &name))
        {
            return Ok(());
        }
        self.flush().await?;
        let asking = async {
            let mut connection = self.door.pool.acquire().await?;
            ledger::newest_cursor(&mut connection, gateway.id).await
        };
        match timeout(Duration::from_secs(2), asking).await {
            Ok(Ok(Some((epoch, seq)))) => {
                if let (Ok(epoch), Ok(seq)) = (u64::try_from(epoch), u64::try_from(seq)) {
                    self.say_watermark(name, Committed { epoch, seq });
                }
            }
            Ok(Ok(None)) => {}
            // The next commit says it.
            Ok(Err(error)) => tracing::warn!(%error, "can't read the cursor of a gateway"),
            Err(_) => tracing::warn!("the cursor of a gateway takes too long to read"),
        }
        Ok(())
    }

    /// What was on its way when the last connection of this session ended.
    pub(super) fn say_again(&mut self) {
        let again = self
            .registered
            .session
            .with(|state| state.outbox.again(Timestamp::now()));
        for again in again {
            match again {
                Again::Publish(down) => self.say_down(*down),
                Again::PubRel(packet_id) => self.say(ToClient::PubRel {
                    packet_id,
                    known: true,
                }),
            }
        }
    }

    /// Says what waits. True = there is more than one gulp.
    pub(super) fn take_mail(&mut self) -> Result<bool, End> {
        let session = self.registered.session.clone();
        if let Some(why) = session.goodbye(self.registered.number) {
            return Err(told(why));
        }
        let (watermarks, releases, completions) = session.with(|state| {
            (
                std::mem::take(&mut state.watermarks),
                std::mem::take(&mut state.releases),
                std::mem::take(&mut state.completions),
            )
        });
        for packet_id in completions {
            self.say(ToClient::PubComp {
                packet_id,
                known: true,
            });
        }
        for packet_id in releases {
            self.say(ToClient::PubRel {
                packet_id,
                known: true,
            });
        }
        for ((name, epoch), seq) in watermarks {
            self.say_watermark(name, Committed { epoch, seq });
        }
        let mut gone = Vec::new();
        let mut sent = false;
        let more = loop {
            if self.output.len() >= GULP {
                break true;
            }
            let now = Timestamp::now();
            let next = session.with(|state| state.outbox.next(self.receive_max, now, &mut gone));
            match next {
                Some(down) => self.say_down(down),
                None => break false,
            }
            sent = true;
        };
        if sent || !gone.is_empty() {
            session.made_room();
        }
        self.door.hub.done(&session, gone);
        Ok(more)
    }

    fn say_down(&mut self, mut down: Down) {
        let packet_id = down.packet_id;
        if self.version == Version::V4 {
            down.expiry = None;
        } else if self.alias_max > 0 {
            let known = self.aliases_out.get(&down.topic).copied();
            if let Some(alias) = known {
                down.alias = Some(alias);
                down.topic.clear();
            } else if self.aliases_out.len() < usize::from(self.alias_max) {
                let alias = self.aliases_out.len() as u16 + 1;
                self.aliases_out.insert(down.topic.clone(), alias);
                down.alias = Some(alias);
            }
        }
        let new_alias = down.alias.filter(|_| !down.topic.is_empty());
        let name = down.topic.clone();
        let before = self.output.len();
        self.say(ToClient::Publish(Box::new(down)));
        if self.output.len() == before {
            // [MQTT-3.1.2-25] of 5.0: too large for the client counts as sent.
            if new_alias.is_some() {
                self.aliases_out.remove(&name);
            }
            if packet_id > 0 {
                let session = &self.registered.session;
                let left_out = session.with(|state| state.outbox.discard(packet_id));
                self.door.hub.done(session, left_out.map(|queued| queued.entry));
            }
        }
    }

    fn say_watermark(&mut self, name: String, committed: Committed) {
        let key = (name, committed.epoch);
        if self.said.get(&key).is_some_and(|said| committed.seq < *said) {
            return;
        }
        self.said.insert(key.clone(), committed.seq);
        let (name, _) = key;
        let found = self.registered.session.with(|state| {
            let mut all = state.subscriptions.values();
            all.find(|subscription| filter::matches(&subscription.filter, &name))
                .cloned()
        });
        let Some(subscription) = found else { return };
        match serde_json::to_vec(&committed) {
            Ok(json) => self.say_down(Down {
                topic: subscription.name(&name).unwrap_or(name),
                payload: Bytes::from(json),
                identifiers: subscription.identifier.into_iter().collect(),
                ..Down::default()
            }),
            Err(error) => tracing::error!(%error, "a watermark can't be written as JSON"),
        }
    }

    /// PUBACK, or a PUBREC that refuses.
    pub(super) fn acknowledged(&mut self, packet_id: u16, qos: u8) {
        let session = &self.registered.session;
        let done = session.with(|state| state.outbox.acknowledged(packet_id, qos));
        self.finished(done);
    }

    /// PUBREC: its PUBREL follows ([MQTT-4.3.3-1]), at once or when the journal knows.
    pub(super) fn received(&mut self, packet_id: u16) {
        let session = Arc::clone(&self.registered.session);
        match session.with(|state| state.outbox.received(packet_id)) {
            Some(Some(entry)) => self.door.hub.received(&session, entry),
            found => self.say(ToClient::PubRel {
                packet_id,
                known: found.is_some(),
            }),
        }
    }

    pub(super) fn completed(&mut self, packet_id: u16) {
        let session = &self.registered.session;
        let done = session.with(|state| state.outbox.completed(packet_id));
        self.finished(done);
    }

    fn finished(&self, done: Option<Queued>) {
        match done {
            Some(queued) => {
                self.door.hub.done(&self.registered.session, [queued.entry]);
                self.registered.session.made_room();
            }
            None => metrics::unknown_acknowledgement(),
        }
    }

    /// What a session that is kept has changed is committed before that is acknowledged. Where it never
    /// will be (`ingest.door` taken over, a stop without a database), it holds as long as the process.
    pub(super) async fn settle_session(&mut self) -> Result<(), End> {
        self.flush().await?;
        if !self.door.hub.settled(&self.registered.session).await {
            tracing::debug!(who = %self.identity, "a session can't be kept");
        }
        Ok(())
    }
}

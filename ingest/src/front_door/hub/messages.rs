//! Who subscribed to what, and what is said to whom.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use models::id::GatewayId;
use models::time::Timestamp;
use models::wire::{Committed, topic};

use super::outbox::Full;
use super::tree::Entry;
use super::{Hub, Message, NotTaken, Session, Space, Subscription, Taken, filter};
use crate::metrics;
use crate::registry::Gateway;

impl Hub {
    /// Adds a subscription. True = it is new, not in place of an older one.
    pub fn subscribe(&self, session: &Arc<Session>, subscription: Subscription) -> bool {
        let space = self.space(session.key.space);
        let mut inner = space.lock();
        let subscription = Arc::new(subscription);
        let old = session.with(|state| {
            if state.over {
                return None;
            }
            let old = state
                .subscriptions
                .insert(subscription.given.clone(), subscription.clone());
            self.note_session(session, state.persistent, state.persistent);
            Some(old)
        });
        let Some(old) = old else { return false };
        inner.tree.insert(Entry {
            session: session.clone(),
            subscription,
        });
        old.is_none()
    }

    /// True = there was such a subscription.
    pub fn unsubscribe(&self, session: &Arc<Session>, given: &str) -> bool {
        let space = self.space(session.key.space);
        let mut inner = space.lock();
        let old = session.with(|state| {
            let old = state.subscriptions.remove(given);
            self.note_session(session, state.persistent, state.persistent);
            old
        });
        match old {
            Some(old) => {
                inner.tree.remove(session.id, &old);
                true
            }
            None => false,
        }
    }

    /// Puts the retained messages that match into the session's outbox ([MQTT-3.3.1-6] of 3.1.1). When
    /// it is full, what it can't take is counted; the client may subscribe again.
    pub fn send_retained(&self, session: &Arc<Session>, subscription: &Subscription) {
        let space = self.space(session.key.space);
        // Held to the end: what a publisher found room for must not be filled meanwhile.
        let inner = space.lock();
        for message in inner.retained.find(&subscription.filter, Timestamp::now()) {
            if subscription.no_local && message.from == session.id {
                continue;
            }
            if self.push(session, &[subscription], &message, true).is_err() {
                metrics::dropped_down("retained_queue_full");
            }
        }
    }

    /// Whether anybody would get this message. Cheap: asked for each payload.
    pub fn is_wanted(&self, space: Space, topic: &str) -> bool {
        let space = self.space(space);
        let inner = space.lock();
        inner.tree.any(topic)
    }

    /// Publishes a message. With `must`, one that doesn't get in everywhere gets in nowhere and is
    /// refused; else it is dropped where it doesn't get in, and counted.
    ///
    /// # Errors
    /// Says where there was no room.
    pub fn publish(&self, space: Space, message: &Arc<Message>, must: bool) -> Result<Taken, NotTaken> {
        let tenant = space;
        let space = self.space(space);
        let mut inner = space.lock();
        let mut targets: BTreeMap<u64, (Arc<Session>, Vec<Arc<Subscription>>)> = BTreeMap::new();
        for entry in inner.tree.find(&message.topic) {
            if entry.subscription.no_local && message.from == entry.session.id {
                continue;
            }
            targets
                .entry(entry.session.id)
                .or_insert_with(|| (entry.session.clone(), Vec::new()))
                .1
                .push(entry.subscription);
        }
        if must && message.qos > 0 {
            let mut kept = 0;
            for (session, subscriptions) in targets.values() {
                let matters = subscriptions.iter().any(|subscription| subscription.qos > 0);
                let (room, persistent) = session.with(|state| (state.outbox.has_room(), state.persistent));
                if matters && !room {
                    return Err(NotTaken::Queue(session.clone()));
                }
                if matters && persistent && self.keeps(session, message) {
                    kept += message.size();
                }
            }
            if kept > 0 && inner.kept.load(Ordering::Relaxed) + kept > self.0.bounds.kept_bytes {
                return Err(NotTaken::Kept);
            }
        }
        let mut taken = Taken {
            sessions: targets.len(),
            ..Taken::default()
        };
        if message.retain {
            let before = inner.retained.is_kept(&message.topic);
            match inner.retained.set(message, Timestamp::now()) {
                Ok(_) => taken.kept = self.note_retained(tenant, message, before),
                Err(Full) if must => return Err(NotTaken::Retained),
                Err(Full) => metrics::dropped_down("retained_full"),
            }
        }
        // The lock is held until all have it: what two publishers say comes to all in one order.
        for (session, subscriptions) in targets.into_values() {
            let subscriptions: Vec<&Subscription> = subscriptions.iter().map(|one| &**one).collect();
            match self.push(&session, &subscriptions, message, false) {
                Ok(kept) => taken.kept |= kept,
                Err(Full) => metrics::dropped_down("queue_full"),
            }
        }
        Ok(taken)
    }

    /// Waits until `session` has room, its connection ends, or `most` is over.
    pub async fn room(&self, session: &Session, most: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + most;
        loop {
            let room = session.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if session.with(|state| state.over || state.outbox.has_room()) {
                return true;
            }
            if !session.is_connected() || tokio::time::timeout_at(deadline, room).await.is_err() {
                return false;
            }
        }
    }

    /// All native batches of a gateway up to this one are committed.
    pub fn committed(&self, gateway: Arc<Gateway>, committed: Committed) {
        let name = topic(&gateway.tenant_slug, &gateway.slug, "committed");
        let space = self.space(Space::Tenant(gateway.tenant));
        let found = space.lock().tree.find(&name);
        for entry in found {
            entry.session.tell(|state| {
                let seq = state
                    .watermarks
                    .entry((name.clone(), committed.epoch))
                    .or_default();
                *seq = committed.seq.max(*seq);
            });
        }
    }

    /// Says something, QoS 0, to whoever in the gateway's tenant subscribed to it.
    pub fn tell(&self, gateway: &Gateway, topic: String, payload: Bytes) {
        self.refused(gateway, topic, payload);
    }

    pub fn refused(&self, gateway: &Gateway, topic: String, payload: Bytes) {
        let message = Arc::new(Message {
            topic,
            payload,
            ..Message::default()
        });
        // QoS 0 and not retained: nothing can refuse it.
        drop(self.publish(Space::Tenant(gateway.tenant), &message, false));
    }

    /// Says a message to one session, if it subscribed to that. False = it didn't, or has no room.
    pub fn tell_session(&self, session: &Arc<Session>, message: &Arc<Message>) -> bool {
        let subscriptions: Vec<Arc<Subscription>> = session.with(|state| {
            let all = state.subscriptions.values();
            all.filter(|subscription| filter::matches(&subscription.filter, &message.topic))
                .cloned()
                .collect()
        });
        let matching: Vec<&Subscription> = subscriptions.iter().map(|one| &**one).collect();
        !matching.is_empty() && self.push(session, &matching, message, false).is_ok()
    }

    /// Says a message to those connections of a gateway that subscribed to it. False = none of them took it.
    pub fn tell_gateway(&self, gateway: GatewayId, message: &Arc<Message>) -> bool {
        let mut sessions = Vec::new();
        for space in self.all() {
            let inner = space.lock();
            let from = Bound::Included((gateway.uuid(), String::new()));
            let own = inner.sessions.range((from, Bound::Unbounded));
            let own = own.take_while(|((owner, _), _)| *owner == gateway.uuid());
            sessions.extend(own.map(|(_, session)| session.clone()));
        }
        sessions.retain(|session| session.is_connected() && self.tell_session(session, message));
        !sessions.is_empty()
    }
}

//! Who is connected, who subscribed to what, and what is said to whom: the broker behind the door.
//!
//! | file | does |
//! |---|---|
//! | `filter` | topic filters |
//! | `tree` | topic → subscriptions |
//! | `session` | what belongs to a client |
//! | `outbox` | what goes down to a client |
//! | `retained` | the last message of a topic |
//! | `journal`, `changes`, `rows` | what must outlive the process, in the database |
//! | `keeping` | what is noted there |
//! | `wills` | what is said of those who don't come back after a kill |
//!
//! Each tenant is a space of its own: no topic, filter or client id of one means anything in another
//! one. Publishing puts a message into the outboxes of those whose subscriptions it matches; each
//! connection empties its own. Before a message of QoS 1 or 2 is acknowledged, there was room for it
//! in every outbox it belongs to and, where a session outlives its connection, it is committed. What
//! doesn't fit is refused to the publisher, not dropped behind him.
//!
//! **Why rumqttd's router doesn't do this.** It was measured, `tests/it/rumqttd.rs` shows it: behind
//! a subscriber that falls behind, its commit log jumps and messages are gone after their PUBACK; a
//! publish without payload deletes the retained message whether it says retain or not; a new
//! subscriber gets the first hundred retained messages; a PUBREL after a reconnect loses its message;
//! a shared subscription whose member leaves with a message unacknowledged ends the router's thread,
//! and so the whole broker; a link's own API speaks QoS 0 only. Also, a link of it allocates its queues
//! ahead (tens of kilobytes for each of ten thousand gateways), building one blocks its thread, and
//! nothing in it outlives the process.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use models::id::CredentialId;
use models::time::Timestamp;
use models::wire::{Committed, topic};
use parking_lot::Mutex;
use uuid::Uuid;

use super::packet::{Goodbye, Properties};
use crate::metrics;
use crate::registry::Gateway;

mod changes;
pub mod filter;
pub mod journal;
mod keeping;
pub mod outbox;
pub mod retained;
mod rows;
pub mod session;
pub mod tree;
pub mod wills;

use journal::Journal;
use outbox::{Full, Outbox};
use retained::Retained;
use session::Connection;
pub use session::{Key, Received, Session, Space, Subscription};
use tree::{Entry, Tree};

/// A message that was published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Bytes,
    pub qos: u8,
    pub retain: bool,
    pub expires_at: Option<Timestamp>,
    pub properties: Properties,
    /// The session it came from; 0 = the server.
    pub from: u64,
    /// It is to outlive the process where a session does, or as a retained one. Not so readings, which
    /// are stored, and what the server says of itself.
    pub kept: bool,
}

impl Message {
    /// What it takes in a queue, bytes.
    pub fn size(&self) -> usize {
        self.payload.len() + self.topic.len() + 100
    }

    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Whole seconds until it expires, rounded up.
    pub fn seconds_left(&self, now: Timestamp) -> Option<u32> {
        let left = self.expires_at?.seconds_since(now).ceil();
        Some(left.clamp(0.0, f64::from(u32::MAX)) as u32)
    }
}

/// How much the hub keeps.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Messages that wait for one client, …
    pub queue_messages: usize,
    /// … their bytes.
    pub queue_bytes: usize,
    /// Retained messages of one space, …
    pub retained_messages: usize,
    /// … their bytes.
    pub retained_bytes: usize,
    /// Sessions without a connection of one gateway.
    pub kept_sessions: usize,
    /// What waits in the sessions of one space and outlives the process, bytes.
    pub kept_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            queue_messages: 1000,
            queue_bytes: 8 << 20,
            retained_messages: 10_000,
            retained_bytes: 16 << 20,
            kept_sessions: 64,
            kept_bytes: 64 << 20,
        }
    }
}

#[derive(Debug)]
struct Inner {
    tree: Tree,
    sessions: BTreeMap<(Uuid, String), Arc<Session>>,
    retained: Retained,
    /// Bytes in the journal.
    kept: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Shared {
    bounds: Bounds,
    spaces: Mutex<HashMap<Space, Arc<Mutex<Inner>>>>,
    connections: AtomicUsize,
    next: AtomicUsize,
    journal: Journal,
    /// Wills of before a restart whose clients are not back, by their old connections.
    wills: Mutex<HashMap<Key, i64>>,
}

#[derive(Clone, Debug)]
pub struct Hub(Arc<Shared>);

impl Default for Hub {
    fn default() -> Self {
        Self::new(Bounds::default())
    }
}

/// A registered connection.
#[derive(Debug)]
pub struct Registered {
    pub number: u64,
    pub session: Arc<Session>,
    pub session_present: bool,
}

/// What becomes of the will of a connection that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WillFate {
    Now,
    /// Unless the client is back by then.
    After(Duration),
    Never,
}

/// Why a message was not taken.
#[derive(Clone, Debug)]
pub enum NotTaken {
    /// A subscriber's queue is full.
    Queue(Arc<Session>),
    /// There are as many retained messages as there may be.
    Retained,
    /// As much waits in the sessions of this tenant as may be kept.
    Kept,
}

/// A message that was published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// How many have it, or will.
    pub sessions: usize,
    /// It was noted in the journal: ask by [`Hub::then`] when it is committed.
    pub kept: bool,
    /// Its packet identifier was.
    pub noted: bool,
}

impl Hub {
    pub fn new(bounds: Bounds) -> Self {
        Self::with_journal(bounds, Journal::default())
    }

    /// A hub of which something outlives the process.
    pub fn with_journal(bounds: Bounds, journal: Journal) -> Self {
        Self(Arc::new(Shared {
            bounds,
            spaces: Mutex::default(),
            connections: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            journal,
            wills: Mutex::default(),
        }))
    }

    fn number(&self) -> u64 {
        self.0.next.fetch_add(1, Ordering::Relaxed) as u64 + 1
    }

    /// Numbers up to this one were given before.
    fn number_from(&self, number: i64) {
        let number = usize::try_from(number).unwrap_or(0);
        self.0.next.fetch_max(number, Ordering::Relaxed);
    }

    fn space(&self, space: Space) -> Arc<Mutex<Inner>> {
        let bounds = self.0.bounds;
        let mut spaces = self.0.spaces.lock();
        let inner = spaces.entry(space).or_insert_with(|| {
            Arc::new(Mutex::new(Inner {
                tree: Tree::default(),
                sessions: BTreeMap::new(),
                retained: Retained::new(bounds.retained_messages, bounds.retained_bytes),
                kept: Arc::default(),
            }))
        });
        inner.clone()
    }

    fn all(&self) -> Vec<Arc<Mutex<Inner>>> {
        self.0.spaces.lock().values().cloned().collect()
    }

    fn count(&self, change: isize) {
        let before = self.0.connections.fetch_add(change as usize, Ordering::Relaxed);
        metrics::connections(before.wrapping_add(change as usize));
    }

    /// Registers a connection. An older one of the same gateway and client id is told to go
    /// ([MQTT-3.1.4-3]); another gateway's with the same client id is another client.
    pub fn register(&self, key: Key, credential: Option<CredentialId>, clean: bool) -> Registered {
        let number = self.number();
        self.is_back(&key);
        let space = self.space(key.space);
        let mut inner = space.lock();
        let name = (key.owner, key.client_id.clone());
        let older = inner.sessions.get(&name).cloned();
        let mut present = false;
        let session = match older {
            Some(older) => {
                let due = older.with(|state| state.ends_at.is_some_and(|at| at <= Instant::now()));
                if clean || due {
                    // [MQTT-3.1.2-4]
                    self.end(&mut inner, &older);
                    None
                } else {
                    present = true;
                    Some(older)
                }
            }
            None => None,
        };
        let session = session.unwrap_or_else(|| {
            let bounds = self.0.bounds;
            let outbox = Outbox::new(bounds.queue_messages, bounds.queue_bytes);
            let session = Session::new(self.number(), key, outbox, inner.kept.clone());
            inner.sessions.insert(name, session.clone());
            session
        });
        if !session.is_connected() {
            self.count(1);
        }
        session.set_connection(Some(Connection { number, credential }));
        session.tell(|state| {
            state.ends_at = None;
            // An older connection goes because its number is not this one's; what was said to it is void.
            state.goodbye = None;
            state.watermarks.clear();
            state.releases.clear();
            state.completions.clear();
            // What the writer had not committed when the connection broke is sent again.
            state
                .unreleased
                .retain(|_, received| *received != Received::Writing);
        });
        session.turned.notify_waiters();
        Registered {
            number,
            session,
            session_present: present,
        }
    }

    /// Ends a session: nothing is kept, and nothing gets in any more.
    fn end(&self, inner: &mut Inner, session: &Arc<Session>) {
        let name = (session.key.owner, session.key.client_id.clone());
        if inner
            .sessions
            .get(&name)
            .is_some_and(|current| current.id == session.id)
        {
            inner.sessions.remove(&name);
        }
        if session.is_connected() {
            session.set_connection(None);
            self.count(-1);
        }
        let (subscriptions, left) = session.tell(|state| {
            state.over = true;
            self.note_session(session, state.persistent, false);
            state.persistent = false;
            (std::mem::take(&mut state.subscriptions), state.outbox.drain())
        });
        for subscription in subscriptions.values() {
            inner.tree.remove(session.id, subscription);
        }
        session.turned.notify_waiters();
        session.made_room();
        // [MQTT-4.8.2-4]: what a member of a group leaves unacknowledged goes to another one.
        for queued in left.into_iter().filter(|queued| queued.qos == 1) {
            let group = subscriptions
                .values()
                .find(|subscription| {
                    subscription.group.is_some()
                        && filter::matches(&subscription.filter, &queued.message.topic)
                })
                .and_then(|subscription| subscription.group.clone());
            if group.is_some() {
                let others = inner.tree.find(&queued.message.topic);
                if let Some(entry) = others.into_iter().find(|entry| entry.subscription.group == group)
                    && self
                        .push(&entry.session, &[&entry.subscription], &queued.message, false)
                        .is_err()
                {
                    metrics::dropped_down("queue_full");
                }
            }
        }
    }

    /// A connection ended. With `keep`, its session is kept that long ([MQTT-3.1.2-5]); without, it
    /// ends. Returns what becomes of a will with this delay.
    pub fn unregister(
        &self,
        registered: &Registered,
        keep: Option<Duration>,
        will_delay: Duration,
    ) -> WillFate {
        let session = &registered.session;
        let space = self.space(session.key.space);
        let mut inner = space.lock();
        let (over, mine) = session.with(|state| {
            let mine = state
                .connection
                .is_some_and(|connection| connection.number == registered.number);
            (state.over, mine)
        });
        if over {
            return WillFate::Now;
        }
        if !mine {
            // Taken over: the session goes on with the newer connection.
            return if will_delay.is_zero() {
                WillFate::Now
            } else {
                WillFate::Never
            };
        }
        let Some(keep) = keep else {
            self.end(&mut inner, session);
            return WillFate::Now;
        };
        session.set_connection(None);
        self.count(-1);
        session.with(|state| {
            state.ends_at = Some(Instant::now() + keep);
            state.outbox.offline();
            state.goodbye = None;
            state.releases.clear();
            state.completions.clear();
            state.keep = keep;
            self.note_session(session, state.persistent, state.persistent);
        });
        self.bound_kept(&mut inner, session.key.owner);
        if will_delay.is_zero() {
            WillFate::Now
        } else {
            WillFate::After(will_delay.min(keep))
        }
    }

    /// Of one gateway's sessions without a connection, the one that would end first makes room.
    fn bound_kept(&self, inner: &mut Inner, owner: Uuid) {
        let from = Bound::Included((owner, String::new()));
        let mut kept: Vec<(Instant, Arc<Session>)> = inner
            .sessions
            .range((from, Bound::Unbounded))
            .take_while(|((of, _), _)| *of == owner)
            .filter_map(|(_, session)| Some((session.with(|state| state.ends_at)?, session.clone())))
            .collect();
        if kept.len() > self.0.bounds.kept_sessions {
            kept.sort_by_key(|(at, _)| *at);
            let (_, first) = kept.remove(0);
            tracing::warn!(
                client_id = first.key.client_id,
                "too many sessions are kept for a gateway: ending one"
            );
            metrics::dropped_down("too_many_sessions");
            self.end(inner, &first);
        }
    }

    /// Waits until a client is back or its session has ended; at most `delay`. True = it is back.
    pub async fn comes_back(&self, session: &Session, delay: Duration) -> bool {
        let turned = session.turned.notified();
        tokio::pin!(turned);
        turned.as_mut().enable();
        let is_back = || session.with(|state| !state.over && state.connection.is_some());
        let is_over = || session.with(|state| state.over);
        if !is_back() && !is_over() {
            drop(tokio::time::timeout(delay, turned).await);
        }
        is_back()
    }

    /// Ends the sessions whose time is over.
    pub fn expire(&self) {
        let now = Instant::now();
        for space in self.all() {
            let mut inner = space.lock();
            let due: Vec<_> = inner
                .sessions
                .values()
                .filter(|session| session.with(|state| state.ends_at.is_some_and(|at| at <= now)))
                .cloned()
                .collect();
            for session in due {
                self.end(&mut inner, &session);
            }
        }
    }

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

    /// Tells a gateway, and whoever listens, on one of its topics.
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

    /// The credentials that open connections hold.
    pub fn credentials(&self) -> Vec<CredentialId> {
        let mut all = Vec::new();
        for space in self.all() {
            for session in space.lock().sessions.values() {
                all.extend(
                    session.with(|state| state.connection.and_then(|connection| connection.credential)),
                );
            }
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Ends the connections of withdrawn credentials.
    pub fn withdraw(&self, credentials: &[CredentialId]) {
        for space in self.all() {
            for session in space.lock().sessions.values() {
                let held =
                    session.with(|state| state.connection.and_then(|connection| connection.credential));
                if held.is_some_and(|held| credentials.contains(&held)) {
                    session.tell(|state| state.goodbye = Some(Goodbye::Withdrawn));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

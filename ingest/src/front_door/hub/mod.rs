//! Who is connected, who subscribed to what, and what is said to whom: the broker behind the door.
//!
//! | file | does |
//! |---|---|
//! | `filter` | topic filters |
//! | `tree` | topic → subscriptions |
//! | `clients` | connections come and go, sessions begin and end |
//! | `messages` | who subscribed to what, and what is said to whom |
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
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use models::time::Timestamp;
use parking_lot::Mutex;
use uuid::Uuid;

use super::packet::Properties;
use crate::metrics;

mod changes;
mod clients;
pub mod filter;
pub mod journal;
mod keeping;
mod messages;
pub mod outbox;
pub mod retained;
mod rows;
pub mod session;
pub mod tree;
pub mod wills;

use journal::Journal;
use retained::Retained;
pub use session::{Key, Received, Session, Space, Subscription};
use tree::Tree;

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
}

#[cfg(test)]
mod tests;

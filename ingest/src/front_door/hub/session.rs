//! What belongs to a client and may outlive its connection ([MQTT-4.1.0-1]).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use models::id::{CredentialId, GatewayId, TenantId};
use models::wire;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use uuid::Uuid;

use super::outbox::{Outbox, Share};
use crate::front_door::packet::Goodbye;

/// Topics of one space are never seen in another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    Tenant(TenantId),
    /// Of clients without a credential, where the configuration lets them in.
    Anonymous,
    /// Of those who show a claim code and are nobody yet.
    Claims,
}

/// Whose session it is: a client id means something only together with its credential's gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub space: Space,
    /// The gateway; nil when there is none.
    pub owner: Uuid,
    pub client_id: String,
}

impl Key {
    /// Tenant and gateway of a session that may outlive the process; others have no place in the
    /// database.
    pub fn home(&self) -> Option<(TenantId, GatewayId)> {
        match self.space {
            Space::Tenant(tenant) if !self.owner.is_nil() => Some((tenant, GatewayId::from_uuid(self.owner))),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// As the client gave it.
    pub given: String,
    /// With the gateway's full name, without `$share/{group}/`.
    pub filter: String,
    pub group: Option<String>,
    /// `fw/v1/{tenant}/{gateway}/` when the client said `fw/v1/me/`.
    pub me: Option<String>,
    pub qos: u8,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub identifier: Option<u32>,
}

impl Subscription {
    /// The name by which the client knows `topic`, where it is another one.
    pub fn name(&self, topic: &str) -> Option<String> {
        let rest = topic.strip_prefix(self.me.as_deref()?)?;
        Some(format!("{}/me/{rest}", wire::PREFIX))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connection {
    pub number: u64,
    pub credential: Option<CredentialId>,
}

/// How far a publisher's QoS 2 message is, between its first PUBLISH and its PUBREL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// On its way to the writer.
    Writing,
    /// Taken; its packet identifier is on its way to the journal.
    Noting,
    /// PUBREC may be said, as often as it is asked for.
    Done,
}

#[derive(Debug)]
pub struct State {
    /// By packet identifier.
    pub unreleased: HashMap<u16, Received>,
    pub subscriptions: BTreeMap<String, Arc<Subscription>>,
    pub outbox: Outbox,
    /// Newest watermark of each topic and epoch that was not said yet: a slow reader gets fewer of
    /// them and never an old one last.
    pub watermarks: BTreeMap<(String, u64), u64>,
    /// PUBRELs that may be said now.
    pub releases: Vec<u16>,
    /// PUBCOMPs that may be said now.
    pub completions: Vec<u16>,
    pub(super) goodbye: Option<Goodbye>,
    pub(super) connection: Option<Connection>,
    /// When it ends, while there is no connection.
    pub(super) ends_at: Option<Instant>,
    /// It was ended: whoever still holds it must not add to it.
    pub(super) over: bool,
    /// It outlives its connection …
    pub persistent: bool,
    /// … so long.
    pub(super) keep: Duration,
}

#[derive(Debug)]
pub struct Session {
    pub id: u64,
    pub key: Key,
    connected: AtomicBool,
    /// Bytes in the journal, of all sessions of its space.
    kept: Arc<AtomicUsize>,
    state: Mutex<State>,
    /// Something for the connection.
    news: Notify,
    /// The queue has got room.
    pub(super) room: Notify,
    /// A connection came, or the session ended.
    pub(super) turned: Notify,
}

impl Session {
    pub(super) fn new(id: u64, key: Key, outbox: Outbox, kept: Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self {
            id,
            key,
            connected: AtomicBool::new(false),
            kept,
            state: Mutex::new(State {
                unreleased: HashMap::new(),
                subscriptions: BTreeMap::new(),
                outbox,
                watermarks: BTreeMap::new(),
                releases: Vec::new(),
                completions: Vec::new(),
                goodbye: None,
                connection: None,
                ends_at: None,
                over: false,
                persistent: false,
                keep: Duration::ZERO,
            }),
            news: Notify::new(),
            room: Notify::new(),
            turned: Notify::new(),
        })
    }

    #[cfg(test)]
    pub(super) fn for_test(id: u64) -> Arc<Self> {
        let key = Key {
            space: Space::Anonymous,
            owner: Uuid::nil(),
            client_id: id.to_string(),
        };
        Self::new(id, key, Outbox::new(100, 1 << 20), Arc::default())
    }

    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Changes the state and tells the connection.
    pub fn tell<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = change(&mut self.state.lock());
        self.news.notify_one();
        done
    }

    /// Looks at the state, or changes it from within the connection.
    pub fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock())
    }

    /// Returns at once when something was told since the last time.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// A part of what its tenant may have in the journal; `None` = there is no more.
    pub(super) fn share(&self, bytes: usize, most: usize) -> Option<Arc<Share>> {
        Share::take(&self.kept, bytes, most)
    }

    /// Room was made in the queue.
    pub fn made_room(&self) {
        self.room.notify_waiters();
    }

    pub(super) fn set_connection(&self, connection: Option<Connection>) {
        self.connected.store(connection.is_some(), Ordering::Relaxed);
        self.state.lock().connection = connection;
    }

    /// What ends the connection `number`: a goodbye, or a newer connection.
    pub fn goodbye(&self, number: u64) -> Option<Goodbye> {
        let mut state = self.state.lock();
        if state.over
            || state
                .connection
                .is_none_or(|connection| connection.number != number)
        {
            return Some(Goodbye::TakenOver);
        }
        state.goodbye.take()
    }
}

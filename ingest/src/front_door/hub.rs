//! Who is connected, and what is said to them.
//!
//! Whatever goes down to a gateway goes to that gateway's own connections only: rights allow no
//! other subscription. So the hub is a map from gateway to connections, and each connection has a
//! mailbox. A mailbox is bounded by what it means: of the watermarks only the newest of each epoch
//! is kept, so that a slow reader gets fewer of them and never an old one last; of other messages
//! the last 64.
//!
//! Why rumqttd's router doesn't do this: a link of it allocates its queues ahead (300
//! notifications, tens of kilobytes) for each of ten thousand gateways; it keeps a log for each
//! filter, of which a slow reader gets the oldest part and then a jump; making a link blocks its
//! thread; and its table of topics never shrinks.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use models::id::{CredentialId, GatewayId};
use models::wire::Committed;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::acl::Granted;
use super::packet::Goodbye;
use crate::metrics;
use crate::registry::Gateway;

const MAX_MESSAGES: usize = 64;

/// What a session keeps when its connection ends, if the client asked for that.
#[derive(Debug, Default)]
pub struct SessionState {
    /// QoS 2 packet ids between their first PUBLISH and their PUBREL; true = committed.
    pub unreleased: HashMap<u16, bool>,
    pub filters: Vec<Granted>,
}

/// A message to a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Bytes,
    pub retain: bool,
}

#[derive(Debug, Default)]
struct Inbox {
    committed: BTreeMap<u64, u64>,
    messages: VecDeque<Message>,
    goodbye: Option<Goodbye>,
}

/// What waits for one connection.
#[derive(Debug, Default)]
pub struct Mailbox {
    inbox: Mutex<Inbox>,
    news: Notify,
}

/// What a mailbox held.
#[derive(Debug, Default)]
pub struct Mail {
    pub committed: BTreeMap<u64, u64>,
    pub messages: VecDeque<Message>,
    pub goodbye: Option<Goodbye>,
}

impl Mailbox {
    pub fn watermark(&self, committed: Committed) {
        let mut inbox = self.inbox.lock();
        let seq = inbox.committed.entry(committed.epoch).or_default();
        *seq = committed.seq.max(*seq);
        drop(inbox);
        self.news.notify_one();
    }

    pub fn message(&self, message: Message) {
        let mut inbox = self.inbox.lock();
        if inbox.messages.len() == MAX_MESSAGES {
            inbox.messages.pop_front();
            metrics::dropped_down("slow_reader");
        }
        inbox.messages.push_back(message);
        drop(inbox);
        self.news.notify_one();
    }

    pub fn goodbye(&self, why: Goodbye) {
        self.inbox.lock().goodbye.get_or_insert(why);
        self.news.notify_one();
    }

    /// Returns at once when something came since the last [`Mailbox::take`].
    pub async fn news(&self) {
        self.news.notified().await;
    }

    pub fn take(&self) -> Mail {
        let mut inbox = self.inbox.lock();
        Mail {
            committed: std::mem::take(&mut inbox.committed),
            messages: std::mem::take(&mut inbox.messages),
            goodbye: inbox.goodbye.take(),
        }
    }
}

#[derive(Debug)]
struct Connection {
    number: u64,
    credential: CredentialId,
    mailbox: Arc<Mailbox>,
    state: Arc<Mutex<SessionState>>,
}

#[derive(Debug)]
struct Kept {
    state: Arc<Mutex<SessionState>>,
    until: Instant,
}

#[derive(Debug, Default)]
struct Inner {
    connections: HashMap<GatewayId, HashMap<String, Connection>>,
    kept: HashMap<(GatewayId, String), Kept>,
    /// The retained `state` message of each gateway.
    states: HashMap<GatewayId, Bytes>,
    count: usize,
    next: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Hub(Arc<Mutex<Inner>>);

/// A registered connection.
#[derive(Debug)]
pub struct Registered {
    pub number: u64,
    pub mailbox: Arc<Mailbox>,
    pub state: Arc<Mutex<SessionState>>,
    pub session_present: bool,
}

impl Hub {
    /// Registers a connection. An older one of the same gateway and client id is told to go;
    /// another gateway's with the same client id is another client.
    pub fn register(
        &self,
        gateway: GatewayId,
        client_id: &str,
        credential: CredentialId,
        clean: bool,
    ) -> Registered {
        let mut inner = self.0.lock();
        inner.next += 1;
        let number = inner.next;
        let kept = inner.kept.remove(&(gateway, client_id.to_owned()));
        let older = inner.connections.entry(gateway).or_default().remove(client_id);
        let mut state = kept
            .filter(|kept| kept.until > Instant::now())
            .map(|kept| kept.state);
        if let Some(older) = older {
            older.mailbox.goodbye(Goodbye::TakenOver);
            state = Some(older.state);
            inner.count -= 1;
        }
        let session_present = !clean && state.is_some();
        let state = state.filter(|_| !clean).unwrap_or_default();
        // What was not committed when the connection broke is sent again.
        state.lock().unreleased.retain(|_, committed| *committed);
        let mailbox = Arc::new(Mailbox::default());
        let connection = Connection {
            number,
            credential,
            mailbox: mailbox.clone(),
            state: state.clone(),
        };
        inner
            .connections
            .entry(gateway)
            .or_default()
            .insert(client_id.to_owned(), connection);
        inner.count += 1;
        metrics::connections(inner.count);
        Registered {
            number,
            mailbox,
            state,
            session_present,
        }
    }

    /// Forgets a connection, unless a newer one has taken its place. With `keep`, its session is
    /// kept that long.
    pub fn unregister(&self, gateway: GatewayId, client_id: &str, number: u64, keep: Option<Duration>) {
        let mut inner = self.0.lock();
        let Some(clients) = inner.connections.get_mut(&gateway) else {
            return;
        };
        if clients
            .get(client_id)
            .is_none_or(|connection| connection.number != number)
        {
            return;
        }
        let connection = clients.remove(client_id);
        if clients.is_empty() {
            inner.connections.remove(&gateway);
        }
        inner.count -= 1;
        metrics::connections(inner.count);
        let now = Instant::now();
        inner.kept.retain(|_, kept| kept.until > now);
        if let (Some(keep), Some(connection)) = (keep, connection) {
            let kept = Kept {
                state: connection.state,
                until: now + keep,
            };
            inner.kept.insert((gateway, client_id.to_owned()), kept);
        }
    }

    fn each(&self, gateway: GatewayId, mut tell: impl FnMut(&Mailbox)) {
        if let Some(clients) = self.0.lock().connections.get(&gateway) {
            for connection in clients.values() {
                tell(&connection.mailbox);
            }
        }
    }

    pub fn committed(&self, gateway: Arc<Gateway>, committed: Committed) {
        self.each(gateway.id, |mailbox| mailbox.watermark(committed));
    }

    pub fn refused(&self, gateway: GatewayId, topic: String, payload: Bytes) {
        let message = Message {
            topic,
            payload,
            retain: false,
        };
        self.each(gateway, |mailbox| mailbox.message(message.clone()));
    }

    /// A gateway's `state`. Retained and empty takes the retained one away.
    pub fn state(&self, gateway: GatewayId, topic: String, payload: Bytes, retain: bool) {
        if retain {
            let mut inner = self.0.lock();
            if payload.is_empty() {
                inner.states.remove(&gateway);
            } else {
                inner.states.insert(gateway, payload.clone());
            }
        }
        let message = Message {
            topic,
            payload,
            retain: false,
        };
        self.each(gateway, |mailbox| mailbox.message(message.clone()));
    }

    pub fn retained_state(&self, gateway: GatewayId) -> Option<Bytes> {
        self.0.lock().states.get(&gateway).cloned()
    }

    /// The credentials that open connections hold.
    pub fn credentials(&self) -> Vec<CredentialId> {
        let inner = self.0.lock();
        let mut all: Vec<_> = inner
            .connections
            .values()
            .flat_map(|clients| clients.values().map(|client| client.credential))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Ends the connections of withdrawn credentials.
    pub fn withdraw(&self, credentials: &[CredentialId]) {
        let inner = self.0.lock();
        for connection in inner.connections.values().flat_map(HashMap::values) {
            if credentials.contains(&connection.credential) {
                connection.mailbox.goodbye(Goodbye::Withdrawn);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_taken_over_by_its_own_gateway_only() {
        let hub = Hub::default();
        let (one, other) = (GatewayId::new(), GatewayId::new());
        let credential = CredentialId::new();
        let first = hub.register(one, "c", credential, true);
        let neighbour = hub.register(other, "c", credential, true);
        let second = hub.register(one, "c", credential, true);
        assert_eq!(first.mailbox.take().goodbye, Some(Goodbye::TakenOver));
        assert_eq!(neighbour.mailbox.take().goodbye, None);
        hub.unregister(one, "c", first.number, None);
        hub.state(one, "t".into(), Bytes::from_static(b"x"), true);
        assert_eq!(
            second.mailbox.take().messages.len(),
            1,
            "the newer connection is still there"
        );
    }

    #[test]
    fn watermarks_run_together_and_never_backwards() {
        let mailbox = Mailbox::default();
        for seq in [3, 9, 5] {
            mailbox.watermark(Committed { epoch: 1, seq });
        }
        assert_eq!(mailbox.take().committed, BTreeMap::from([(1, 9)]));
    }

    #[test]
    fn a_kept_session_remembers_what_was_committed() {
        let hub = Hub::default();
        let (gateway, credential) = (GatewayId::new(), CredentialId::new());
        let first = hub.register(gateway, "c", credential, false);
        first.state.lock().unreleased.extend([(1, true), (2, false)]);
        hub.unregister(gateway, "c", first.number, Some(Duration::from_secs(60)));
        let second = hub.register(gateway, "c", credential, false);
        assert!(second.session_present);
        assert_eq!(second.state.lock().unreleased, HashMap::from([(1, true)]));
        let clean = hub.register(gateway, "c", credential, true);
        assert!(!clean.session_present && clean.state.lock().unreleased.is_empty());
    }
}

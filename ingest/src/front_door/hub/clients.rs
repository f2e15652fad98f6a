//! Connections come and go, sessions begin and end.

use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use models::id::CredentialId;
use uuid::Uuid;

use super::outbox::Outbox;
use super::session::{Connection, Received};
use super::{Hub, Inner, Key, Registered, Session, WillFate, filter};
use crate::front_door::packet::Goodbye;
use crate::metrics;

impl Hub {
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

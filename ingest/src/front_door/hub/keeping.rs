//! What is noted in the journal, and when.

use std::sync::Arc;
use std::time::Duration;

use super::journal::Journal;
use super::outbox::{Full, Queued};
use super::{Hub, Message, NotTaken, Session, Space, Subscription, Taken};

impl Hub {
    pub(super) fn journal(&self) -> &Journal {
        &self.0.journal
    }

    /// Whether `message` is for the journal when it waits in this session, if that is persistent.
    pub(super) fn keeps(&self, session: &Session, message: &Message) -> bool {
        message.kept && self.0.journal.is_kept() && session.key.home().is_some()
    }

    /// A session outlives its connection by `keep`; zero = it doesn't.
    pub fn keep(&self, session: &Arc<Session>, keep: Duration) {
        session.with(|state| {
            if state.over {
                return;
            }
            let before = std::mem::replace(&mut state.persistent, !keep.is_zero());
            state.keep = keep;
            self.note_session(session, before, state.persistent);
        });
    }

    /// `before`, `now`: whether it was and is persistent. Under the session's lock.
    pub(super) fn note_session(&self, session: &Arc<Session>, before: bool, now: bool) {
        if session.key.home().is_none() || !(before || now) {
            return;
        }
        self.0.journal.note(|changes| {
            if now {
                changes.put_session(session.clone());
            } else {
                changes.drop_session(session.id as i64);
            }
        });
    }

    /// `before`: whether the journal has the topic's last message. True = there is something to wait for.
    pub(super) fn note_retained(&self, space: Space, message: &Arc<Message>, before: bool) -> bool {
        let Space::Tenant(tenant) = space else {
            return false;
        };
        if !self.0.journal.is_kept() || !(message.kept || before) {
            return false;
        }
        let kept = message.kept && !message.payload.is_empty();
        let now = kept.then(|| message.clone());
        self.0.journal.note(|changes| {
            changes.retained.insert((tenant, message.topic.clone()), now);
        });
        message.kept
    }

    /// Messages of a session that are done with, by their journal entries; 0 = not in there.
    pub fn done(&self, session: &Session, entries: impl IntoIterator<Item = i64>) {
        let mut entries = entries.into_iter().filter(|entry| *entry > 0).peekable();
        if entries.peek().is_some() {
            self.0.journal.note(|changes| {
                entries.for_each(|entry| changes.drop_queued((session.id as i64, entry)));
            });
        }
    }

    /// The PUBREC of a message in the journal came: its PUBREL is said when that is committed. Were it
    /// said before, a restart would send the message a second time.
    pub fn received(&self, session: &Arc<Session>, entry: i64) {
        let journal = &self.0.journal;
        journal.note(|changes| changes.release((session.id as i64, entry)));
        let session = session.clone();
        journal.then(move |written| {
            if written {
                session.tell(|state| {
                    let packet_id = state.outbox.released(entry);
                    state.releases.extend(packet_id);
                });
            }
        });
    }

    /// A publisher's QoS 2 message was taken: its PUBREC is said when its packet identifier is
    /// committed, so that it isn't taken a second time after a restart. `then` hears whether it is.
    /// False = there is nothing to wait for, and nobody is told.
    pub fn taken(
        &self,
        session: &Arc<Session>,
        packet_id: u16,
        then: impl FnOnce(bool) + Send + 'static,
    ) -> bool {
        let noted = self.note_received(session, packet_id, true);
        if noted {
            self.then(then);
        }
        noted
    }

    /// The PUBREL of a publisher came: its PUBCOMP is said when that is committed. False = it may be
    /// said now.
    pub fn released(&self, session: &Arc<Session>, packet_id: u16) -> bool {
        let noted = self.note_received(session, packet_id, false);
        if noted {
            let session = session.clone();
            // Where it can't be kept, nothing of the session is.
            self.then(move |_| session.tell(|state| state.completions.push(packet_id)));
        }
        noted
    }

    /// Publishes a message of QoS 2 and notes its packet identifier, both or neither in the journal.
    ///
    /// # Errors
    /// As [`Hub::publish`].
    pub fn publish_once(
        &self,
        space: Space,
        message: &Arc<Message>,
        from: &Arc<Session>,
        packet_id: u16,
    ) -> Result<Taken, NotTaken> {
        let _both = self.0.journal.together();
        let mut taken = self.publish(space, message, true)?;
        taken.noted = self.note_received(from, packet_id, true);
        Ok(taken)
    }

    /// True = it was noted, because the session outlives the process.
    fn note_received(&self, session: &Session, packet_id: u16, taken: bool) -> bool {
        let Some((tenant, _)) = session.key.home() else {
            return false;
        };
        let kept = self.0.journal.is_kept() && session.with(|state| state.persistent && !state.over);
        if kept {
            self.0.journal.note(|changes| {
                let tenant = taken.then_some(tenant);
                changes.received.insert((session.id as i64, packet_id), tenant);
            });
        }
        kept
    }

    /// Calls `done` when everything that was noted so far is committed, or never will be.
    pub fn then(&self, done: impl FnOnce(bool) + Send + 'static) {
        self.0.journal.then(done);
    }

    /// Waits until what is kept of a session is committed. False = it never will be.
    pub async fn settled(&self, session: &Session) -> bool {
        if session.key.home().is_none() || !session.with(|state| state.persistent) {
            return true;
        }
        let (done, written) = tokio::sync::oneshot::channel();
        // Whoever waited may be gone.
        self.then(move |written| done.send(written).unwrap_or_default());
        written.await.unwrap_or(false)
    }

    /// Puts a message into an outbox, once, however many of the session's subscriptions it matches, with
    /// the largest of their QoS and all their identifiers ([MQTT-3.3.4-2], [MQTT-3.3.4-4]). True = it was
    /// noted in the journal.
    pub(super) fn push(
        &self,
        session: &Arc<Session>,
        subscriptions: &[&Subscription],
        message: &Arc<Message>,
        from_retained: bool,
    ) -> Result<bool, Full> {
        let qos = subscriptions
            .iter()
            .map(|subscription| subscription.qos.min(message.qos))
            .max()
            .unwrap_or(0);
        if qos == 0 && !session.is_connected() {
            return Ok(false);
        }
        let as_published = subscriptions
            .iter()
            .any(|subscription| subscription.retain_as_published);
        let mut queued = Queued {
            message: message.clone(),
            qos,
            // [MQTT-3.3.1-8], [MQTT-3.3.1-9] of 3.1.1; [MQTT-3.3.1-12], [MQTT-3.3.1-13] of 5.0.
            retain: from_retained || as_published && message.retain,
            name: subscriptions
                .iter()
                .find_map(|subscription| subscription.name(&message.topic)),
            identifiers: subscriptions
                .iter()
                .filter_map(|subscription| subscription.identifier)
                .collect(),
            ..Queued::default()
        };
        session.tell(|state| {
            if state.over {
                return Ok(false);
            }
            let home = session
                .key
                .home()
                .filter(|_| qos > 0 && state.persistent && self.keeps(session, message));
            let Some((tenant, _)) = home else {
                return state.outbox.push(queued).map(|_| false);
            };
            let share = session.share(message.size(), self.0.bounds.kept_bytes);
            queued.share = Some(share.ok_or(Full)?);
            queued.entry = self.number() as i64;
            let packet_id = state.outbox.push(queued.clone())?;
            queued.packet_id = packet_id;
            // Under the session's lock: nothing about this entry can be noted before it.
            self.0
                .journal
                .note(|changes| changes.put_queued(session.id as i64, tenant, queued));
            Ok(true)
        })
    }
}
